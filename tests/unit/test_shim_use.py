"""Which statements need a shim: read from their text, as pg_stat_statements keeps it."""

from __future__ import annotations

import pytest

from opssight_migrate.postgres.shim_use import Use, uses

_USERS = "default of users.organization_id"


@pytest.mark.parametrize(
    ("text", "needs"),
    [
        ("INSERT INTO users (email, is_active) VALUES ($1, $2)", {_USERS}),
        ("INSERT INTO users (email, organization_id) VALUES ($1, $2)", set()),
        ('insert into "public"."users" ("email", "organization_id") values ($1, $2)', set()),
        ("INSERT INTO public . users AS u (email) VALUES ($1)", {_USERS}),
        ("INSERT INTO users VALUES ($1, $2)", {_USERS}),
        (
            "INSERT /* organization_id */ INTO users (email -- organization_id\n) SELECT $1",
            {_USERS},
        ),
        (
            "WITH made AS (INSERT INTO users (email) VALUES ($1) RETURNING id)"
            " INSERT INTO teams (name, organization_id) SELECT $2, $3 FROM made",
            {_USERS},
        ),
        (
            "INSERT INTO users (email, organization_id) VALUES ($1, $2)"
            " ON CONFLICT (email) DO UPDATE SET full_name = $3",
            {"unique index ix_users_email_once_unique"},
        ),
        (
            "INSERT INTO users (email, organization_id) SELECT $1 ON CONFLICT (id) DO NOTHING",
            set(),
        ),
        ("INSERT INTO roles (name) VALUES ($1)", {"default of roles.is_system_role"}),
        ("INSERT INTO pipelines (name) VALUES ($1)", set()),
        ("UPDATE users SET email = $1", set()),
        ("SELECT * FROM users", set()),
    ],
)
def test_a_statement_needs_the_shims_of_the_columns_that_it_does_not_name(
    text: str, needs: set[str]
) -> None:
    assert set(uses(text)) == needs


def test_a_use_is_said_with_its_calls_and_cut() -> None:
    use = Use(shim=_USERS, sql="INSERT INTO users (\n  email) " + "x" * 200, calls=1_200)

    assert use.sentence.startswith("INSERT INTO users ( email) xxx")
    assert use.sentence.endswith(f"… needs {_USERS}, called 1,200 times since the last reset")
    hidden = Use(shim=None, sql="", calls=3)
    assert hidden.sentence == "3 calls of statements that are hidden from this role"
