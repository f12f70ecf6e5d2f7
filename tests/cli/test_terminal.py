"""The question and the progress on a real terminal, and a reader who goes away."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pexpect
import pytest

SOURCE = Path(__file__).parents[2] / "src"
PROGRAM = """
import time
from opssight_migrate.commands import migrate as command
from opssight_migrate.model.errors import MigrateError
from opssight_migrate.model.events import *
from opssight_migrate.model.plan import Blocker, DatabaseFacts, Estimate, Plan, PlannedStep
from opssight_migrate.model.report import Diagnostic, Environment, Report, utc_now

def migrate(settings, profile, request, *, confirm, emit):
    plan = Plan(
        environment=profile.name, protected=profile.protected, origin="opssight.toml:3",
        database=DatabaseFacts(host="db", port=5432, name="opssight", user="app",
            server_version="16.4", system_identifier="7", database_oid=5),
        revision_from=None, revision_to="80bd6a3c3fa1",
        steps=(PlannedStep(step_id="fill", title="Fill", kind="data", estimate=Estimate(rows=9)),),
        announcements=("x" * 300,),
        blockers=(Blocker(message="in the way"),) if request.to else (),
    )
    end = dict(tool="t", command="migrate", started_at=utc_now(), duration_ms=1,
        environment=Environment(name=profile.name, protected=profile.protected))
    def failed(error):
        return Report(status="refused", exit_code=int(error.exit_code), diagnostics=(Diagnostic(
            code=error.code, severity="error", message=error.message, hint=error.hint,
            state=error.touched.sentence),), **end)
    emit(PlanMade(plan=plan))
    if plan.blockers:
        return failed(MigrateError("in the way"))
    try:
        confirm(plan, False)
    except MigrateError as error:
        return failed(error)
    emit(StepStarted(step_id="fill", title="ARRAY[red]", number=1, steps_total=1))
    emit(Noted(severity="warning", message="[bold]look[/bold]"))
    time.sleep(0.5)
    emit(StepFinished(step_id="fill", title="Fill", rows=1234, elapsed_s=0.5))
    emit(RunFinished(run_id="m1", status="ok", elapsed_s=0.5))
    return Report(status="ok", exit_code=0, diagnostics=(
        Diagnostic(severity="warning", message="[bold]look[/bold]"),), **end)

command.migrate = migrate
from opssight_migrate.__main__ import main
main()
"""
CONFIG = """
[environments.staging]
service = "s"
[environments.production]
service = "p"
protected = true
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    (tmp_path / ".git").mkdir()
    (tmp_path / "opssight.toml").write_text(CONFIG)
    (tmp_path / "program.py").write_text(PROGRAM)
    return tmp_path


def environment(place: Path) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(SOURCE),
        "HOME": str(place),
        "TERM": "xterm-256color",
    }


def on_a_terminal(place: Path, *args: str, columns: int = 100, **env: str) -> pexpect.spawn:
    return pexpect.spawn(
        sys.executable,
        ["program.py", *args],
        cwd=str(place),
        env=environment(place) | env,
        encoding="utf-8",
        timeout=30,
        dimensions=(40, columns),
    )


def ended(child: pexpect.spawn) -> tuple[str, int | None]:
    child.expect(pexpect.EOF)
    child.close()
    return str(child.before), child.exitstatus


def plain(text: str) -> str:
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)


def test_a_person_reads_the_plan_and_says_yes(place: Path) -> None:
    child = on_a_terminal(place, "migrate", "-e", "staging")
    child.expect(r"Migrate app@db:5432/opssight \(staging\) as planned\? \[y/N\] ")
    before = plain(str(child.before))
    assert before.count("fill") == 1
    assert "x" * 300 in before.replace("\r\n", "")
    child.sendline("y")
    after, code = ended(child)
    assert code == 0
    assert "ARRAY[red]" in after
    assert plain(after).count("[bold]look[/bold]") == 1  # on one screen it is not said twice
    assert "  fill: done, 1,234 rows, <1 s" in plain(after)
    assert "migrate: done in <1 s" in plain(after)


def test_a_person_says_no(place: Path) -> None:
    child = on_a_terminal(place, "migrate", "-e", "staging")
    child.expect(r"\[y/N\] ")
    child.sendline("")
    after, code = ended(child)
    assert code == 11
    assert "error[OM601]: declined" in plain(after)


def test_ctrl_d_and_ctrl_c_are_no_consent(place: Path) -> None:
    child = on_a_terminal(place, "migrate", "-e", "staging")
    child.expect(r"\[y/N\] ")
    child.sendeof()
    assert ended(child)[1] == 11
    child = on_a_terminal(place, "migrate", "-e", "staging")
    child.expect(r"\[y/N\] ")
    child.sendintr()
    after, code = ended(child)
    assert code == 130
    assert "state: nothing was changed" in plain(after)


def test_a_protected_environment_wants_its_name_typed_even_with_yes(place: Path) -> None:
    child = on_a_terminal(place, "migrate", "-e", "production", "--yes")
    child.expect("Type the environment's name: ")
    child.sendline("y")
    assert ended(child)[1] == 11
    child = on_a_terminal(place, "migrate", "-e", "production")
    child.expect("Type the environment's name: ")
    child.sendline("production")
    assert ended(child)[1] == 0


def test_no_input_never_asks_on_a_terminal_either(place: Path) -> None:
    after, code = ended(on_a_terminal(place, "migrate", "-e", "staging", "--no-input"))
    assert code == 11
    assert "[y/N]" not in after


@pytest.mark.parametrize("args", [["-o", "json"], ["-q"], ["--output-file", "o.txt"]])
def test_whoever_is_asked_has_seen_the_plan(place: Path, args: list[str]) -> None:
    child = on_a_terminal(place, "migrate", "-e", "staging", *args)
    child.expect(r"\[y/N\] ")
    assert "revision an empty database -> 80bd6a3c3fa1" in plain(str(child.before))
    child.sendline("n")
    assert ended(child)[1] == 11


def test_blockers_in_the_plan_are_not_told_again_on_the_same_screen(place: Path) -> None:
    after, code = ended(on_a_terminal(place, "migrate", "-e", "staging", "--to", "80bd6a3c3fa1"))
    assert code == 70
    assert plain(after).count("in the way") == 2
    assert "error[OM700]: the plan above says what stands in the way" in plain(after)


@pytest.mark.parametrize("args", [["--color", "never"], ["--progress", "plain"]])
def test_no_colour_where_none_is_wanted(place: Path, args: list[str]) -> None:
    child = on_a_terminal(place, "migrate", "-e", "staging", "--yes", *args)
    after, code = ended(child)
    assert code == 0
    assert "\x1b[3" not in after


@pytest.mark.parametrize("columns", [80, 160])
def test_colours_can_be_read_on_light_and_on_dark_at_any_width(place: Path, columns: int) -> None:
    child = on_a_terminal(place, "migrate", "-e", "staging", "--yes", columns=columns)
    after, code = ended(child)
    assert code == 0
    assert "x" * 300 in after.replace("\r\n", "")  # a long line is the terminal's to fold
    colours = [one for sgr in re.findall(r"\x1b\[([\d;]*)m", after) for one in sgr.split(";")]
    # Red and magenta can be read on black and on white; no other colour, and no ground of our own.
    assert "35" in colours
    assert {one for one in colours if len(one) > 1} <= {"31", "35"}
    assert not {"7", "8"} & set(colours)


def test_a_terminal_without_utf_8_gets_plain_letters(place: Path) -> None:
    child = on_a_terminal(
        place, "migrate", "-e", "staging", "--yes", PYTHONIOENCODING="ascii", LC_ALL="C"
    )
    after, code = ended(child)
    assert code == 0
    assert after.isascii()
    assert "migrate: done in <1 s" in plain(after)


def test_a_reader_who_goes_away_changes_neither_the_work_nor_the_exit_code(place: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "program.py", "migrate", "-e", "staging", "--yes"],
        cwd=place,
        env=environment(place),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        told = process.stderr.read()
        assert process.wait(30) == 0
    assert told == "warning: [bold]look[/bold]\n"
    (log,) = (place / ".local/state/opssight-migrate/log").glob("*.log")
    assert "migrate: done in" in log.read_text()
