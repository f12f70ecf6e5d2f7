"""Databases that go by the name of OpsSight are told apart."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from opssight_migrate.opssight.revisions import REVISIONS
from opssight_migrate.opssight.shapes import Shape, recognised, shape_of

_DATA = Path(__file__).parents[1] / "data"


def _tables(name: str) -> dict[str, set[str]]:
    catalogue = json.loads((_DATA / f"schema_{name}.json").read_text(encoding="utf-8"))
    return {
        table: {column["name"] for column in parts["columns"]}
        for table, parts in catalogue["tables"].items()
    }


@pytest.mark.parametrize("revision", [revision.id for revision in REVISIONS])
def test_every_stamped_revision_is_the_chain(revision: str) -> None:
    assert shape_of(_tables(revision), True) is Shape.A_CHAIN


def test_the_chain_without_a_stamp_is_unknown_and_says_why() -> None:
    shape, signs = recognised(_tables("80bd6a3c3fa1"), False)
    assert shape is Shape.UNKNOWN
    assert signs == ("it has no row in alembic_version, so its revision is not known",)


def test_the_application_models_are_recognised() -> None:
    shape, signs = recognised(_tables("createall_app_models"), False)
    assert shape is Shape.B_CREATE_ALL_MODELS
    assert signs == (
        "it has no alembic_version",
        "table audit_logs_legacy exists",
        "users has password_hash",
    )


def test_the_application_models_with_push_tokens_are_recognised() -> None:
    tables = _tables("createall_app_models")
    tables["push_tokens"] = {"id"}
    tables["audit_logs"] = {"id", "event_type"}
    assert shape_of(tables, False) is Shape.B_CREATE_ALL_MODELS


@pytest.mark.parametrize("stamped", [False, True])
def test_the_database_models_are_recognised_stamped_or_not(stamped: bool) -> None:
    shape, signs = recognised(_tables("createall_app_db_models"), stamped)
    assert shape is Shape.C_CREATE_ALL_DB_MODELS
    assert signs[0] == "users has username and is_admin, and no role_id"


def test_a_stamped_chain_with_a_column_added_by_hand_is_still_the_chain() -> None:
    tables = _tables("d8b40ecdc203")
    tables["users"].add("password_hash")
    assert shape_of(tables, True) is Shape.A_CHAIN


@pytest.mark.parametrize("stamped", [False, True])
def test_somebody_elses_tables_are_unknown(stamped: bool) -> None:
    shape, signs = recognised({"User": {"id"}, "_prisma_migrations": {"id"}}, stamped)
    assert shape is Shape.UNKNOWN
    assert signs[0] == "table _prisma_migrations exists: Prisma manages it"


def test_a_database_without_tables_is_empty() -> None:
    assert shape_of({}, False) is Shape.EMPTY
    assert shape_of({"alembic_version": {"version_num"}}, False) is Shape.EMPTY


@pytest.mark.parametrize("shape", list(Shape))
def test_every_shape_has_its_sentence(shape: Shape) -> None:
    assert shape.sentence
