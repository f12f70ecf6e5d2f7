"""The plan names every lock that stops others, and no lock is taken that it does not name."""

from __future__ import annotations

from collections.abc import Callable

from tests.commands.conftest import Asked, run
from tests.conftest import DatabaseAt, SettingsFor

from opssight_migrate.commands.migrate import MigrateRequest
from opssight_migrate.commands.promises import broken
from opssight_migrate.commands.rollback import RollbackRequest, rollback
from opssight_migrate.model.events import unheard
from opssight_migrate.model.report import LockPromise, LockReceipt, Report, ReportStep
from opssight_migrate.opssight.revisions import HEAD, RBAC, START
from opssight_migrate.postgres.session import Session

# Nothing here depends on the version of the server.
ON_EVERY_SERVER = False

STOPS_OTHERS = ("ACCESS EXCLUSIVE", "SHARE ROW EXCLUSIVE")
EVERY_NEW_TABLE: tuple[str, ...] = (
    """
INSERT INTO user_permissions (user_id, permission_id, is_active)
SELECT min(u.id), min(p.id), true FROM users AS u, permissions AS p
""",
    """
INSERT INTO events (organization_id, "timestamp", event_type, event_name, title, severity, source,
       status, triggered_by, created_at, updated_at)
SELECT organization_id, now(), 'custom', 'e' || id, 't', 'info', 's', 'open', id, now(), now()
  FROM users
""",
)


def promised(report: Report) -> dict[str, set[tuple[str, str]]]:
    return {s.id: {(p.relation, p.mode) for p in s.promised_locks} for s in report.steps}


def taken(report: Report, in_use: tuple[str, ...]) -> dict[str, set[tuple[str, str]]]:
    """What each step locked against others: of several locks on one table the strongest."""
    found: dict[str, set[tuple[str, str]]] = {}
    for step in report.steps:
        locks = {(one.relation, one.mode) for one in step.locks if one.mode in STOPS_OTHERS}
        strongest = {relation for relation, mode in locks if mode == STOPS_OTHERS[0]}
        found[step.id] = {
            (relation, mode)
            for relation, mode in locks
            if relation in in_use and (mode == STOPS_OTHERS[0] or relation not in strongest)
        }
    return found


def test_up_and_down_what_is_locked_is_just_what_the_plan_names(
    database_at: DatabaseAt, settings_for: SettingsFor, opened: Callable[[str], Session]
) -> None:
    conninfo = database_at(START)
    settings = settings_for(conninfo)
    asked = Asked()

    up = run(settings, MigrateRequest(to=HEAD), asked=asked)
    for statement in EVERY_NEW_TABLE:
        opened(conninfo).execute(statement)
    down = rollback(
        settings,
        settings.profile(None),
        RollbackRequest(to_revision=START),
        confirm=asked,
        emit=unheard,
    )

    assert (up.status, down.status) == ("ok", "ok")
    for report, plan in zip((up, down), asked.plans, strict=True):
        assert taken(report, plan.in_use) == promised(report)
        assert not [d for d in report.diagnostics if "did not name" in d.message]
    assert ("users", "ACCESS EXCLUSIVE") in promised(down)["b521a10e8182"]
    assert ("users", "SHARE ROW EXCLUSIVE") in promised(up)["b521a10e8182"]


def test_an_empty_database_has_nobody_to_promise_anything(
    database_at: DatabaseAt, settings_for: SettingsFor
) -> None:
    asked = Asked()
    report = run(settings_for(database_at(START, False)), MigrateRequest(to=RBAC), asked=asked)
    assert asked.plans[0].in_use == ()
    assert not any(step.promised_locks for step in report.steps)
    assert not [d for d in report.diagnostics if "the plan" in d.message]


def test_a_lock_that_was_not_named_is_told_once_and_of_those_held_for_longer_the_worst() -> None:
    def receipt(relation: str, mode: str, held_ms: int = 7) -> LockReceipt:
        return LockReceipt(relation=relation, mode=mode, waited_ms=0, held_ms=held_ms)

    def step(step_id: str, *locks: LockReceipt) -> ReportStep:
        promised = (
            LockPromise(relation="users", mode="ACCESS EXCLUSIVE", at_most_ms=50),
            LockPromise(relation="teams", mode="SHARE ROW EXCLUSIVE", at_most_ms=50),
        )
        return ReportStep(
            id=step_id, title="t", kind="schema", status="done", promised_locks=promised,
            locks=locks,
        )  # fmt: skip

    first = step(
        "85f9",
        receipt("users", "SHARE ROW EXCLUSIVE"),
        receipt("users", "ACCESS EXCLUSIVE", 51),
        receipt("teams", "ACCESS EXCLUSIVE"),
        receipt("teams", "ACCESS EXCLUSIVE"),
        receipt("roles", "SHARE UPDATE EXCLUSIVE", 900),
        receipt("made_by_this_run", "ACCESS EXCLUSIVE", 900),
    )
    second = step("8583", receipt("teams", "SHARE ROW EXCLUSIVE", 71), receipt("users", "x", 900))
    in_use = frozenset({"users", "teams", "roles"})
    unnamed = "85f9: ACCESS EXCLUSIVE on teams was taken; the plan did not name it"

    assert list(broken([first], in_use)) == [
        unnamed,
        "85f9: ACCESS EXCLUSIVE on users was held for 51 ms; the plan promised less than 50 ms",
    ]
    assert list(broken([first, second], in_use)) == [
        unnamed,
        "8583: SHARE ROW EXCLUSIVE on teams was held for 71 ms; the plan promised less than 50 ms;"
        " of 5 strong locks 2 were held for longer",
    ]
    assert list(broken([step("b521")], in_use)) == []
