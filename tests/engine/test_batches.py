"""A batch that fails is halved, down to the row to blame."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opssight_migrate.commands.migrate import MigrateRequest, migrate
from opssight_migrate.engine.batches import FEWEST_ROWS, FIRST_ROWS, MOST_ROWS, BatchSize
from opssight_migrate.opssight.revisions import RBAC
from opssight_migrate.postgres.session import Session

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False

_TRIP = """
CREATE FUNCTION trip() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN
    IF NEW.user_id = (SELECT id FROM users ORDER BY id OFFSET 120 LIMIT 1) THEN
        RAISE EXCEPTION 'no role for this one';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER trip BEFORE INSERT ON user_roles FOR EACH ROW EXECUTE FUNCTION trip()
"""


def test_the_row_that_cannot_be_done_is_named_and_the_rows_before_it_are_kept(
    database_at: Callable[[str], str],
    opened: Callable[[str], Session],
    settings_for: Callable[[str], Any],
) -> None:
    conninfo = database_at(RBAC)
    session = opened(conninfo)
    session.execute(_TRIP)
    settings = settings_for(conninfo)
    profile = settings.profile(None)

    def run() -> Any:
        return migrate(
            settings, profile, MigrateRequest(), confirm=lambda *_: None, emit=lambda _: None
        )

    stumbled = run()

    culprit = session.scalar("SELECT id FROM users ORDER BY id OFFSET 120 LIMIT 1")
    assert (stumbled.exit_code, stumbled.status) == (9, "partial")
    assert f"users with id {culprit} cannot be done" in stumbled.diagnostics[-1].message
    assert "no role for this one" in stumbled.diagnostics[-1].message
    assert session.scalar("SELECT count(*) FROM user_roles") == 120

    session.execute("DROP TRIGGER trip ON user_roles")
    assert run().status == "ok"
    assert session.scalar("SELECT count(*) FROM user_roles") == session.scalar(
        "SELECT count(*) FROM users"
    )


def test_the_size_of_a_batch_follows_its_time_within_bounds() -> None:
    size = BatchSize(target_s=0.04)

    size.learn(0.04)
    assert size.rows == FIRST_ROWS
    size.learn(0.001)
    assert size.rows == 2 * FIRST_ROWS
    for _ in range(20):
        size.learn(0.0001)
    assert size.rows == MOST_ROWS
    size.learn(0.08)
    assert size.rows == MOST_ROWS // 2
    for _ in range(20):
        size.learn(10.0)
    assert size.rows == FEWEST_ROWS


def test_a_batch_that_was_halved_grows_again() -> None:
    size = BatchSize(target_s=0.04, rows=1)

    for _ in range(12):
        size.learn(0.01)

    assert size.rows > FEWEST_ROWS
