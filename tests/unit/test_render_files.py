"""What is written to files: JSON lines, and the private log of a run."""

from __future__ import annotations

import json
import os
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from opssight_migrate.model.events import BatchDone, Blocked, LockAwaited, Noted, PlanMade
from opssight_migrate.model.plan import DatabaseFacts, Estimate, Plan, PlannedStep
from opssight_migrate.model.report import Report
from opssight_migrate.render.jsonl import JsonLines, event_name
from opssight_migrate.render.logfile import LogFile
from opssight_migrate.settings.places import default_log_dir

AT = datetime(2026, 11, 23, 23, 15, 0, 7_000, tzinfo=UTC)
REPORT = Report(
    tool="opssight-migrate 0.1.0",
    command="migrate",
    status="ok",
    exit_code=0,
    started_at=AT,
    duration_ms=1,
)
PLAN_MADE = PlanMade(
    plan=Plan(
        environment="staging",
        protected=False,
        origin="opssight.toml:3",
        database=DatabaseFacts(
            host="h",
            port=1,
            name="n",
            user="u",
            server_version="16",
            system_identifier="7",
            database_oid=1,
        ),
        revision_from=None,
        revision_to="d8b40ecdc203",
        steps=(PlannedStep(step_id="a", title="t", kind="data", estimate=Estimate(rows=5)),),
    )
)


def at() -> datetime:
    return AT


def test_an_event_is_one_line_of_ascii_json_with_a_utc_time() -> None:
    lines: list[str] = []
    emit = JsonLines(lines.append, now=at).emit
    emit(
        LockAwaited(
            step_id="a",
            relation="a\n\x1b[31m\u2028ü",
            mode="SHARE",
            waited_s=0.5,
            budget_s=300,
            blockers=(Blocked(pid=3),),
        )
    )
    emit(PLAN_MADE)

    assert all(line.isascii() and line.isprintable() for line in lines)
    waited, planned = map(json.loads, lines)
    assert waited["event"] == "lock_awaited"
    assert waited["time"] == "2026-11-23T23:15:00.007Z"
    assert waited["relation"] == "a\n\x1b[31m\u2028ü"
    assert waited["blockers"][0]["pid"] == 3
    assert planned["plan_digest"] == PLAN_MADE.plan.digest
    assert planned["plan"]["steps"][0]["estimate"]["rows"] == 5


def test_event_names_are_snake_case() -> None:
    batch = BatchDone(
        step_id="a", table="t", rows_done=1, rows_total=None, batch_rows=1, elapsed_s=1
    )
    assert event_name(batch) == "batch_done"


def test_a_log_is_private_from_the_first_moment_and_named_after_the_run(tmp_path: Path) -> None:
    old = os.umask(0)
    try:
        log = LogFile.open(tmp_path / "a" / "log", "migration", "eu/../west \x1b", now=at)
    finally:
        os.umask(old)
    log.close()

    assert log.path.name == "migration_eu_west__20261123T231500Z.log"
    for path in (log.path, log.path.with_suffix(".jsonl")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for directory in (tmp_path / "a", tmp_path / "a" / "log"):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_two_runs_in_one_second_have_two_logs(tmp_path: Path) -> None:
    logs = [LogFile.open(tmp_path, "migration", "local", now=at) for _ in range(3)]
    for log in logs:
        log.close()
    assert [log.path.name for log in logs] == [
        "migration_local_20261123T231500Z.log",
        "migration_local_20261123T231500Z-2.log",
        "migration_local_20261123T231500Z-3.log",
    ]


def test_each_line_of_a_log_has_its_time_and_no_control_character(tmp_path: Path) -> None:
    log = LogFile.open(tmp_path, "migration", "local", now=at)
    log.write(["opssight-migrate 0.1.0 migrate"])
    log.emit(PLAN_MADE)
    log.emit(Noted(severity="warning", message="two\nlines \x1b[31m"))
    log.finish(REPORT, "opssight.toml:3")
    log.close()

    lines = log.path.read_text().splitlines()
    assert all(line.startswith("2026-11-23T23:15:00.007Z") for line in lines)
    assert lines[0].endswith("opssight-migrate 0.1.0 migrate")
    assert any(line.endswith("warning: two\\nlines \\x1b[31m") for line in lines)
    assert lines[-1].endswith("migrate: done in <1 s")
    told = [json.loads(one) for one in log.path.with_suffix(".jsonl").read_text().splitlines()]
    assert [line.get("event") for line in told] == ["plan_made", "noted", None]
    assert told[-1]["schema_version"] == "1.0"


def test_a_directory_that_cannot_be_made_is_an_os_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        LogFile.open(tmp_path / "file" / "log", "migration", "local")


def test_logs_go_to_the_state_directory_of_the_user(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/somewhere/state")
    assert default_log_dir() == Path("/somewhere/state/opssight-migrate/log")
