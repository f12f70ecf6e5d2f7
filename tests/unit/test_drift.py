"""Each planted change of a golden catalogue is named, with what mends it."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import cast

import pytest

from opssight_migrate.opssight.golden import Catalogue, Column, Table, as_json, golden
from opssight_migrate.opssight.revisions import REVISIONS
from opssight_migrate.postgres.drift import Difference, Kind, Thing, differences

_DATA = Path(__file__).parents[1] / "data"
_AUDIT = "80bd6a3c3fa1"


@pytest.fixture
def actual() -> Catalogue:
    """A copy of the golden catalogue at 80bd6a3c3fa1, to be altered."""
    return deepcopy(golden(_AUDIT))


def _differences(actual: Catalogue) -> list[Difference]:
    return differences(golden(_AUDIT), actual)


def _only(actual: Catalogue) -> Difference:
    (found,) = _differences(actual)
    return found


def _column(table: Table, name: str) -> Column:
    return next(column for column in table["columns"] if column["name"] == name)


@pytest.mark.parametrize("revision", [revision.id for revision in REVISIONS])
def test_the_packaged_catalogue_is_the_published_one(revision: str) -> None:
    published = (_DATA / f"schema_{revision}.json").read_text(encoding="utf-8")
    assert as_json(golden(revision)) == published
    assert differences(golden(revision), json.loads(published)) == []


def test_an_unknown_revision_has_no_catalogue() -> None:
    with pytest.raises(KeyError, match="80bd"):
        golden("80bd")


def test_tables_missing_and_additional_are_one_difference_each(actual: Catalogue) -> None:
    tables = actual["tables"]
    tables["users_backup"] = deepcopy(tables["users"])
    del tables["alerts"]
    found = _differences(actual)
    assert [(d.kind, d.thing, d.name, d.refuses) for d in found] == [
        (Kind.MISSING, Thing.TABLE, "alerts", True),
        (Kind.ADDITIONAL, Thing.TABLE, "users_backup", False),
    ]
    assert found[0].sentence == "table alerts is missing"


def test_a_missing_column_is_named_and_mended_where_it_may_be_empty(actual: Catalogue) -> None:
    users = actual["tables"]["users"]
    users["columns"] = [c for c in users["columns"] if c["name"] not in ("bio", "email", "id")]
    id_, email, bio = _differences(actual)
    assert (id_.where, id_.mending) == ("users.id", None)
    assert (email.where, email.kind) == ("users.email", Kind.MISSING)
    assert bio.mending == 'ALTER TABLE "users" ADD COLUMN "bio" text;'


def test_an_additional_column_is_only_told(actual: Catalogue) -> None:
    extra: Column = {"name": "password_hash", "type": "text", "nullable": True, "default": None}
    actual["tables"]["users"]["columns"].insert(3, extra)
    found = _only(actual)
    assert (found.kind, found.where, found.found) == (
        Kind.ADDITIONAL,
        "users.password_hash",
        "text",
    )
    assert not found.refuses


def test_columns_in_another_order_are_a_note(actual: Catalogue) -> None:
    columns = actual["tables"]["users"]["columns"]
    columns.append(columns.pop(1))
    found = _only(actual)
    assert (found.kind, found.where, found.part) == (
        Kind.ORDER,
        "users.github_id",
        "position",
    )
    assert not found.refuses
    assert found.sentence == "column users.github_id stands at another position"


def test_a_default_that_a_shim_leaves_can_be_told_from_others(actual: Catalogue) -> None:
    _column(actual["tables"]["users"], "organization_id")["default"] = "1"
    found = _only(actual)
    assert (found.kind, found.thing, found.table, found.name, found.part) == (
        Kind.ALTERED,
        Thing.COLUMN,
        "users",
        "organization_id",
        "default",
    )
    assert (found.expected, found.found) == (None, "1")
    assert found.mending == 'ALTER TABLE "users" ALTER COLUMN "organization_id" DROP DEFAULT;'
    assert found.sentence == ("column users.organization_id is altered: default is 1, not nothing")


def test_each_part_of_a_column_is_a_difference_of_its_own(actual: Catalogue) -> None:
    column = _column(actual["tables"]["users"], "organization_id")
    column["nullable"] = True
    column["type"] = "bigint"
    column["identity"] = "a"
    assert [(d.part, d.expected, d.found) for d in _differences(actual)] == [
        ("type", "integer", "bigint"),
        ("nullable", "false", "true"),
        ("identity", None, "a"),
    ]


def test_not_null_is_mended_through_a_check(actual: Catalogue) -> None:
    _column(actual["tables"]["users"], "organization_id")["nullable"] = True
    mending = _only(actual).mending
    assert mending is not None
    assert mending.splitlines() == [
        'ALTER TABLE "users" ADD CONSTRAINT "organization_id_not_null"'
        ' CHECK ("organization_id" IS NOT NULL) NOT VALID;',
        'ALTER TABLE "users" VALIDATE CONSTRAINT "organization_id_not_null";',
        'ALTER TABLE "users" ALTER COLUMN "organization_id" SET NOT NULL;',
        'ALTER TABLE "users" DROP CONSTRAINT "organization_id_not_null";',
    ]


def test_a_primary_key_missing_altered_and_renamed_is_one_difference(actual: Catalogue) -> None:
    users = actual["tables"]["users"]
    users["primary_key"] = None
    users["indexes"] = [i for i in users["indexes"] if i["name"] != "users_pkey"]
    metrics = actual["tables"]["metrics"]
    metrics["primary_key"] = {"name": "metrics_pkey", "columns": ["id", "timestamp"]}
    for index in metrics["indexes"]:
        if index["name"] == "metrics_pkey":
            index["definition"] = index["definition"].replace("(id)", '(id, "timestamp")')
    roles = actual["tables"]["roles"]
    roles["primary_key"] = {"name": "pk_roles", "columns": ["id"]}
    for index in roles["indexes"]:
        if index["name"] == "roles_pkey":
            index["name"] = "pk_roles"
            index["definition"] = index["definition"].replace("roles_pkey", "pk_roles")
    altered, renamed, missing = _differences(actual)
    assert (altered.thing, altered.part, altered.found, altered.mending) == (
        Thing.PRIMARY_KEY,
        "definition",
        "PRIMARY KEY (id, timestamp)",
        None,
    )
    assert renamed.mending == 'ALTER TABLE "roles" RENAME CONSTRAINT "pk_roles" TO "roles_pkey";'
    assert (missing.kind, missing.where) == (Kind.MISSING, "users.users_pkey")
    assert missing.mending == (
        'CREATE UNIQUE INDEX CONCURRENTLY "users_pkey" ON "users" ("id");\n'
        'ALTER TABLE "users" ADD CONSTRAINT "users_pkey" PRIMARY KEY USING INDEX "users_pkey";'
    )


def test_a_missing_unique_constraint_is_named_once(actual: Catalogue) -> None:
    roles = actual["tables"]["roles"]
    roles["unique_constraints"] = []
    roles["indexes"] = [i for i in roles["indexes"] if i["name"] != "_role_name_org_uc"]
    found = _only(actual)
    assert (found.kind, found.thing, found.name) == (
        Kind.MISSING,
        Thing.UNIQUE_CONSTRAINT,
        "_role_name_org_uc",
    )
    assert found.mending is not None
    assert found.mending.endswith('UNIQUE USING INDEX "_role_name_org_uc";')


def test_a_foreign_key_missing_unvalidated_cascading_or_renamed_is_named(
    actual: Catalogue,
) -> None:
    keys = actual["tables"]["alerts"]["foreign_keys"]
    names = [key["name"] for key in keys]
    keys[0]["validated"] = False
    keys[1]["on_delete"] = "CASCADE"
    keys[2]["name"] = "zz_by_hand"
    del keys[3]
    unvalidated, cascading, renamed, missing = _differences(actual)
    assert [d.part for d in (unvalidated, cascading, renamed, missing)] == [
        "validity",
        "definition",
        "name",
        None,
    ]
    assert unvalidated.mending == f'ALTER TABLE "alerts" VALIDATE CONSTRAINT "{names[0]}";'
    assert cascading.found is not None
    assert cascading.found.endswith("ON DELETE CASCADE")
    assert renamed.found == "zz_by_hand"
    assert missing.name == names[3]
    assert missing.mending is not None
    assert "NOT VALID;\nALTER TABLE" in missing.mending


def test_an_additional_check_is_only_told(actual: Catalogue) -> None:
    actual["tables"]["users"]["check_constraints"].append(
        {"name": "polite", "definition": "CHECK ((bio <> ''::text))", "validated": True}
    )
    found = _only(actual)
    assert (found.kind, found.thing, found.refuses) == (
        Kind.ADDITIONAL,
        Thing.CHECK_CONSTRAINT,
        False,
    )


def test_indexes_missing_altered_invalid_and_renamed_are_named(actual: Catalogue) -> None:
    indexes = {index["name"]: index for index in actual["tables"]["users"]["indexes"]}
    indexes["ix_users_email"]["definition"] = (
        "CREATE UNIQUE INDEX ix_users_email ON users USING btree (email)"
    )
    indexes["ix_users_email"]["unique"] = True
    indexes["ix_users_github_id"]["valid"] = False
    indexes["ix_users_id"]["name"] = "users_by_id"
    indexes["ix_users_id"]["definition"] = "CREATE INDEX users_by_id ON users USING btree (id)"
    del indexes["ix_users_github_username"]
    actual["tables"]["users"]["indexes"] = list(indexes.values())
    found = {difference.name: difference for difference in _differences(actual)}
    assert {name: (d.kind, d.part) for name, d in found.items()} == {
        "ix_users_email": (Kind.ALTERED, "definition"),
        "ix_users_github_id": (Kind.ALTERED, "validity"),
        "ix_users_id": (Kind.ALTERED, "name"),
        "ix_users_github_username": (Kind.MISSING, None),
    }
    assert found["ix_users_email"].mending == (
        'ALTER INDEX "ix_users_email" RENAME TO "ix_users_email_altered";\n'
        "CREATE INDEX CONCURRENTLY ix_users_email ON users USING btree (email);\n"
        'DROP INDEX CONCURRENTLY "ix_users_email_altered";'
    )
    assert found["ix_users_github_id"].mending == (
        'REINDEX INDEX CONCURRENTLY "ix_users_github_id";'
    )
    assert found["ix_users_id"].mending == 'ALTER INDEX "users_by_id" RENAME TO "ix_users_id";'


def test_an_index_that_a_constraint_took_over_is_altered(actual: Catalogue) -> None:
    users = actual["tables"]["users"]
    users["unique_constraints"].append({"name": "ix_users_email", "columns": ["email"]})
    for index in users["indexes"]:
        if index["name"] == "ix_users_email":
            index["backs_constraint"] = True
    constraint, index_difference = _differences(actual)
    assert constraint.kind is Kind.ADDITIONAL
    assert (index_difference.kind, index_difference.part, index_difference.mending) == (
        Kind.ALTERED,
        "constraint",
        None,
    )


def test_a_renamed_unique_index_beside_its_golden_twin_is_additional(actual: Catalogue) -> None:
    unique = deepcopy(
        next(i for i in actual["tables"]["users"]["indexes"] if i["name"] == "ix_users_email")
    )
    unique["name"] = "ix_users_email_once_unique"
    unique["unique"] = True
    unique["definition"] = (
        "CREATE UNIQUE INDEX ix_users_email_once_unique ON users USING btree (email)"
    )
    actual["tables"]["users"]["indexes"].append(unique)
    found = _only(actual)
    assert (found.kind, found.thing, found.name) == (
        Kind.ADDITIONAL,
        Thing.INDEX,
        "ix_users_email_once_unique",
    )


def test_enum_labels_missing_additional_and_out_of_order_are_named(actual: Catalogue) -> None:
    enums = actual["enums"]
    enums["systemrole"] = ["ADMIN", "MANAGER", "VIEWER", "API_ONLY"]
    enums["teamrole"] = ["ADMIN", "OWNER", "MEMBER", "VIEWER"]
    enums["mood"] = ["GLAD"]
    del enums["alertstatus"]
    found = [(d.kind, d.name, d.part, d.expected or d.found) for d in _differences(actual)]
    assert found == [
        (Kind.MISSING, "alertstatus", None, "ACTIVE, ACKNOWLEDGED, RESOLVED, SUPPRESSED"),
        (Kind.ADDITIONAL, "mood", None, "GLAD"),
        (Kind.ALTERED, "systemrole", "label", "SUPER_ADMIN"),
        (Kind.ALTERED, "systemrole", "label", "ENGINEER"),
        (Kind.ADDITIONAL, "systemrole", "label", "API_ONLY"),
        (Kind.ALTERED, "teamrole", "order", "OWNER, ADMIN, MEMBER, VIEWER"),
    ]
    mendings = [d.mending for d in _differences(actual) if d.name == "systemrole"]
    assert mendings == [
        "ALTER TYPE \"systemrole\" ADD VALUE 'SUPER_ADMIN' BEFORE 'ADMIN';",
        "ALTER TYPE \"systemrole\" ADD VALUE 'ENGINEER' AFTER 'MANAGER';",
        None,
    ]


def test_sequences_missing_altered_and_additional_are_named(actual: Catalogue) -> None:
    sequences = actual["sequences"]
    sequences["by_hand"] = deepcopy(sequences["users_id_seq"])
    sequences["users_id_seq"]["owned_by"] = None
    sequences["roles_id_seq"]["type"] = "bigint"
    del sequences["teams_id_seq"]
    found = [(d.kind, d.name, d.part, d.mending) for d in _differences(actual)]
    assert found == [
        (Kind.ADDITIONAL, "by_hand", None, None),
        (Kind.ALTERED, "roles_id_seq", "type", None),
        (Kind.MISSING, "teams_id_seq", None, None),
        (
            Kind.ALTERED,
            "users_id_seq",
            "owned_by",
            'ALTER SEQUENCE "users_id_seq" OWNED BY "users"."id";',
        ),
    ]


def test_the_next_revision_differs_by_what_it_adds() -> None:
    found = differences(golden("e988b93edd68"), golden("3fd5b7393728"))
    assert {(d.kind, d.thing, d.where) for d in found} == {
        (Kind.ADDITIONAL, Thing.COLUMN, "user_permissions.granted_by"),
        (Kind.ADDITIONAL, Thing.FOREIGN_KEY, "user_permissions.user_permissions_granted_by_fkey"),
        (Kind.ADDITIONAL, Thing.INDEX, "user_permissions.ix_user_permissions_granted_by"),
    }


def test_the_application_models_database_differs_from_the_head() -> None:
    text = (_DATA / "schema_createall_app_models.json").read_text(encoding="utf-8")
    found = differences(golden("3fd5b7393728"), cast(Catalogue, json.loads(text)))
    assert "table audit_logs is missing" in [difference.sentence for difference in found]
