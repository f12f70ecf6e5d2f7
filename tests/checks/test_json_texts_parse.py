"""json-texts-parse counts texts that a new release may stumble on, and calls none a fault."""

from __future__ import annotations

from tests.checks.conftest import outcome

from opssight_migrate.checks.json_texts_parse import JsonTextsParse
from opssight_migrate.model.plan import Severity
from opssight_migrate.postgres.session import Session

ON_EVERY_SERVER = False


def test_texts_that_parse_are_not_mentioned(migrated: Session) -> None:
    migrated.execute(
        "UPDATE projects SET settings = '{\"a\": [1, null]}', environment_config = NULL"
    )
    migrated.execute("UPDATE projects SET notification_config = '[]'")
    migrated.execute("UPDATE teams SET settings = '{}', permissions = '\"text\"'")

    assert outcome(JsonTextsParse(), migrated).findings == ()


def test_texts_that_do_not_parse_are_a_note_with_their_keys(migrated: Session) -> None:
    migrated.execute("UPDATE projects SET settings = '{}', environment_config = NULL")
    migrated.execute("UPDATE projects SET notification_config = NULL")
    migrated.execute("UPDATE teams SET settings = NULL, permissions = NULL")
    first, second = (key for (key,) in migrated.rows("SELECT id FROM projects ORDER BY id LIMIT 2"))
    migrated.execute("UPDATE projects SET settings = '{''a'': 1}' WHERE id = %s", (second,))
    migrated.execute("UPDATE projects SET settings = '' WHERE id = %s", (first,))

    (found,) = outcome(JsonTextsParse(), migrated).findings

    assert (found.severity, found.where, found.rows) == (Severity.NOTE, "projects.settings", 2)
    assert found.keys == (str(first), str(second))
