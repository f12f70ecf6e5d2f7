"""The shapes of database that go by the name of OpsSight, told apart by their tables."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from enum import StrEnum

_CHAIN_CORE = frozenset({"users", "roles", "permissions", "projects", "teams", "clusters"})
_ONLY_DB_MODELS = frozenset({"deployments", "environments", "metric_records", "system_health"})
_ONLY_MODELS = frozenset({"audit_logs_legacy", "push_tokens"})


class Shape(StrEnum):
    """What kind of database this is. Only A_CHAIN, and EMPTY, can be migrated."""

    A_CHAIN = "chain"
    B_CREATE_ALL_MODELS = "create_all of app.models"
    C_CREATE_ALL_DB_MODELS = "create_all of app.db.models"
    UNKNOWN = "unknown"
    EMPTY = "empty"

    @property
    def sentence(self) -> str:
        """Say to the operator what was recognised, and what follows from it."""
        return _SENTENCES[self]


_SENTENCES = {
    Shape.A_CHAIN: "made by OpsSight's Alembic chain",
    Shape.B_CREATE_ALL_MODELS: (
        "made by create_all() of app.models, without Alembic; it never was single-tenant, and no"
        " revision of the chain describes it"
    ),
    Shape.C_CREATE_ALL_DB_MODELS: (
        "made by create_all() of app.db.models (backend/create_tables.py); its tables share names"
        " with the chain's and have other columns"
    ),
    Shape.UNKNOWN: "not made by OpsSight's Alembic chain, nor in any way known to us",
    Shape.EMPTY: "empty: there is no table in the schema public",
}


def shape_of(tables: Mapping[str, AbstractSet[str]], has_alembic_version: bool) -> Shape:
    """Recognise a database by its tables (name to column names).

    ``has_alembic_version`` says whether Alembic has stamped it: alembic_version with a row.
    A stamped database with the chain's tables counts as the chain even where somebody added
    tables or columns by hand; whether it is altered is for the catalogue's comparison.
    """
    return recognised(tables, has_alembic_version)[0]


def recognised(
    tables: Mapping[str, AbstractSet[str]], has_alembic_version: bool
) -> tuple[Shape, tuple[str, ...]]:
    """Return the shape of a database and the signs it was told by, in words."""
    present = {name: columns for name, columns in tables.items() if name != "alembic_version"}
    if not present:
        return Shape.EMPTY, ("there is no table",)
    if signs := _db_models_signs(present):
        return Shape.C_CREATE_ALL_DB_MODELS, signs
    stamp = "it has" if has_alembic_version else "it has no"
    missing = sorted(_CHAIN_CORE - present.keys())
    if missing:
        return Shape.UNKNOWN, (*_foreign_signs(present), f"table {missing[0]} is missing")
    if has_alembic_version:
        return Shape.A_CHAIN, (f"{stamp} a row in alembic_version",)
    if signs := _models_signs(present):
        return Shape.B_CREATE_ALL_MODELS, (f"{stamp} alembic_version", *signs)
    return Shape.UNKNOWN, (
        f"{stamp} row in alembic_version, so its revision is not known",
        *_foreign_signs(present),
    )


def _db_models_signs(tables: Mapping[str, AbstractSet[str]]) -> tuple[str, ...]:
    users = tables.get("users", frozenset[str]())
    if not {"username", "is_admin"} <= users or "role_id" in users:
        return ()
    only = sorted(_ONLY_DB_MODELS & tables.keys())
    return ("users has username and is_admin, and no role_id", *(f"table {t} exists" for t in only))


def _models_signs(tables: Mapping[str, AbstractSet[str]]) -> tuple[str, ...]:
    signs = [f"table {name} exists" for name in sorted(_ONLY_MODELS & tables.keys())]
    if "password_hash" in tables["users"]:
        signs.append("users has password_hash")
    if "event_type" in tables.get("audit_logs", ()):
        signs.append("audit_logs has event_type")
    return tuple(signs)


def _foreign_signs(tables: Mapping[str, AbstractSet[str]]) -> tuple[str, ...]:
    if "_prisma_migrations" in tables:
        return ("table _prisma_migrations exists: Prisma manages it",)
    return ()
