"""``rollback --type data``: the backup takes the database's place, and the old one is kept."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import make_conninfo
from pydantic import SecretStr
from tests.backups.conftest import new_key
from tests.commands.conftest import Asked, error_of, everything, run
from tests.conftest import DatabaseAt, SettingsFor
from tests.least import OWNER, as_superuser

from opssight_migrate.backups import comparison, replacement
from opssight_migrate.commands import backup, rollback_data
from opssight_migrate.commands.rollback_data import RestoreRequest
from opssight_migrate.model.errors import NotConfirmedError, RefusedError
from opssight_migrate.model.events import unheard
from opssight_migrate.model.plan import Plan
from opssight_migrate.model.report import Report
from opssight_migrate.opssight.revisions import MULTI_TENANCY, START, TARGET
from opssight_migrate.postgres import properties, swap
from opssight_migrate.postgres.session import Session
from opssight_migrate.settings import Settings

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False
pytestmark = pytest.mark.needs_further_grants("a swap renames the database and makes another")

_DATABASES = "SELECT datname::text FROM pg_database ORDER BY 1"
_REVISION = "SELECT version_num FROM alembic_version"
KEY = new_key()


@pytest.fixture
def settings(database_at: DatabaseAt, settings_for: SettingsFor, tmp_path: Path) -> Settings:
    """Settings of a populated database at the start, with sealed backups."""
    (tmp_path / "identity.txt").write_text(KEY.text)
    keys = {
        "url": database_at(START),
        "backup_dir": str(tmp_path / "shelf"),
        "backup_recipients": [KEY.public],
        "backup_identity_command": f"cat {tmp_path / 'identity.txt'}",
    }
    return settings_for("", environments={"test": keys})


def conninfo_of(settings: Settings) -> str:
    """Return the conninfo of the default environment."""
    url = settings.profile(None).url
    assert url is not None
    return url.get_secret_value()


def backed_up(settings: Settings) -> Path:
    """Make a backup and return its path."""
    report = backup.create(settings, settings.profile(None), proves=False, emit=unheard)
    assert report.exit_code == 0, report.diagnostics
    return Path(report.artifacts[0].path)


def restored(
    settings: Settings,
    path: Path,
    confirm: Callable[[Plan, bool], None] | None = None,
    **request: Any,
) -> Report:
    """Go back to a backup, and say yes."""
    return rollback_data.rollback_data(
        settings,
        settings.profile(None),
        RestoreRequest(backup_file=path, **request),
        confirm=confirm or Asked(),
        emit=unheard,
    )


def dropped(conninfo: str, *names: str) -> None:
    """Drop databases that a test left, once they are looked at."""
    with psycopg.connect(as_superuser(conninfo), autocommit=True) as connection:
        for name in names:
            statement = sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
            connection.execute(statement)


def test_the_backup_takes_the_place_and_the_old_database_is_kept(
    settings: Settings, opened: Callable[[str], Session]
) -> None:
    conninfo = conninfo_of(settings)
    session = opened(conninfo)
    name = session.connection.info.dbname
    session.execute(
        sql.SQL("ALTER DATABASE {} SET search_path TO public, pg_catalog").format(
            sql.Identifier(name)
        )
    )
    session.execute(sql.SQL("COMMENT ON DATABASE {} IS 'ours'").format(sql.Identifier(name)))
    session.execute(
        sql.SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC").format(sql.Identifier(name))
    )
    before = everything(session)
    kept = properties.read_properties(session)
    session.close()
    path = backed_up(settings)
    assert run(settings).exit_code == 0
    asked = Asked()

    report = restored(settings, path, asked)

    assert report.exit_code == 0, report.diagnostics
    assert report.run_id
    [plan] = asked.plans
    assert (plan.revision_from, plan.revision_to) == (TARGET, START)
    lost = {one.what.split(",")[0]: one.rows for one in plan.losses}
    assert lost["user_roles"] == 200
    assert "users" not in lost
    again = opened(conninfo)
    after = everything(again)
    assert after.catalogue == before.catalogue
    assert after.extras == before.extras
    assert {t: after.rows[t] for t in before.rows} == before.rows
    assert properties.read_properties(again) == kept
    runs = again.rows("SELECT command, status FROM opssight_migrate.runs ORDER BY epoch")
    assert runs == [("migrate", "ok"), ("rollback-data", "ok")]
    retired = swap.retired_name(name, report.run_id)
    assert again.scalar("SELECT true FROM pg_database WHERE datname = %s", (retired,))
    old = opened(psycopg.conninfo.make_conninfo(conninfo, dbname=retired))
    assert old.scalar(_REVISION) == TARGET
    old.close()
    # It is not taken for a copy, and goes forward again.
    assert run(settings).exit_code == 0
    assert again.scalar(_REVISION) == TARGET
    dropped(conninfo, retired)


def test_what_a_dry_run_names_next_does_what_was_looked_at_and_no_more(
    settings: Settings, tmp_path: Path
) -> None:
    path = backed_up(settings)
    key = tmp_path / "identity.txt"

    planned = restored(settings, path, dry_run=True, into="beside it", identity=key)

    [further] = planned.next
    assert shlex.split(further.command) == [
        *("opssight-migrate", "rollback", "--type", "data", "--backup-file", str(path)),
        *("--identity", str(key), "--into", "beside it"),
    ]


def test_clients_are_refused_or_ended(settings: Settings, joined: Callable[[str], Session]) -> None:
    conninfo = conninfo_of(settings)
    path = backed_up(settings)
    client = joined(make_conninfo(conninfo, user=OWNER))

    refused = restored(settings, path)

    assert (refused.exit_code, error_of(refused)[0]) == (7, "OM301")
    assert "1 client is connected" in error_of(refused)[1]
    report = restored(settings, path, terminates=True)
    assert report.exit_code == 0, report.diagnostics
    with pytest.raises(Exception, match="connection"):
        client.scalar("SELECT 1")
    dropped(conninfo, swap.retired_name(client.connection.info.dbname, str(report.run_id)))


def test_into_restores_beside_and_touches_nothing(
    settings: Settings, opened: Callable[[str], Session]
) -> None:
    conninfo = conninfo_of(settings)
    session = opened(conninfo)
    dumped = everything(session).rows
    path = backed_up(settings)
    session.execute("UPDATE alembic_version SET version_num = %s", (MULTI_TENANCY,))
    before = everything(session)

    report = restored(settings, path, into="beside_for_a_test")

    assert report.exit_code == 0, report.diagnostics
    assert report.revision is not None
    assert (report.revision.from_, report.revision.to) == (MULTI_TENANCY, MULTI_TENANCY)
    assert f"as database beside_for_a_test, at revision {START};" in report.announcements[-1]
    assert everything(session) == before
    beside = opened(psycopg.conninfo.make_conninfo(conninfo, dbname="beside_for_a_test"))
    assert everything(beside).rows == dumped
    beside.close()
    taken = restored(settings, path, into="beside_for_a_test")
    assert (taken.exit_code, error_of(taken)[0]) == (7, "OM301")
    dropped(conninfo, "beside_for_a_test")


def test_whatever_goes_wrong_leaves_the_live_database_and_no_other(
    settings: Settings, joined: Callable[[str], Session], monkeypatch: pytest.MonkeyPatch
) -> None:
    conninfo = conninfo_of(settings)
    path = backed_up(settings)
    session = joined(conninfo)
    session.named("opssight-migrate/looking")
    before, databases = everything(session), session.rows(_DATABASES)

    def declined(_: Plan, __: bool) -> None:
        raise NotConfirmedError("declined")

    report = restored(settings, path, declined)
    assert report.exit_code == 11

    def refuse(*_: object, **__: object) -> None:
        raise RefusedError("no")

    for module, function in (
        (replacement, "carry_journal"),
        (comparison, "refuse_differences"),
        (properties, "apply"),
        (swap, "swap"),
    ):
        with monkeypatch.context() as patch:
            patch.setattr(module, function, refuse)
            failed = restored(settings, path)
        assert failed.exit_code == 7, failed.diagnostics
        assert session.rows(_DATABASES) == databases
    assert everything(session) == before
    content = path.read_bytes()
    path.write_bytes(content[:-1])
    assert restored(settings, path).exit_code == 10
    assert session.rows(_DATABASES) == databases


def test_a_name_is_cut_by_us_and_keeps_its_run() -> None:
    assert swap.retired_name("opssight", "r1") == "opssight_before_r1"
    cut = swap.retired_name("ä" * 31, "r0123456789")
    assert len(cut.encode()) <= 63
    assert cut.endswith("_before_r0123456789")


def test_a_person_is_asked_for_the_passphrase_of_the_backup(
    settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "secret.txt").write_text("open sesame")
    keys = {
        "backup_recipients": (),
        "backup_passphrase_command": SecretStr(f"cat {tmp_path / 'secret.txt'}"),
    }
    environment = settings.environments["test"]
    sealing = settings.model_copy(
        update={"environments": {"test": environment.model_copy(update=keys)}}
    )
    path = backed_up(sealing)
    asked: list[str] = []

    def ask(name: str) -> SecretStr:
        asked.append(name)
        return SecretStr("open sesame" if len(asked) > 1 else "wrong")

    def attempt() -> Report:
        return rollback_data.rollback_data(
            settings,
            settings.profile(None),
            RestoreRequest(backup_file=path, dry_run=True),
            confirm=Asked(),
            emit=unheard,
            ask=ask,
        )

    wrong, right = attempt(), attempt()

    assert (wrong.exit_code, error_of(wrong)[0]) == (10, "OM803")
    assert right.status == "pending", right.diagnostics
    assert asked == [path.name] * 2
    alone = restored(settings, path, dry_run=True)
    assert alone.exit_code == 4
