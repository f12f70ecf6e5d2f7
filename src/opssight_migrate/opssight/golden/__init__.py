"""The golden catalogues: what each published revision of the chain looks like, object by object."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import NotRequired, TypedDict, cast

from opssight_migrate.opssight.revisions import is_published

CATALOGUE_FORMAT = 1


class Column(TypedDict):
    """One column, in its place. The last three keys stand only where there is something to say."""

    name: str
    type: str
    nullable: bool
    default: str | None
    identity: NotRequired[str]
    generated: NotRequired[str]
    collation: NotRequired[str]


class Key(TypedDict):
    """A primary key or a unique constraint."""

    name: str
    columns: list[str]
    deferrable: NotRequired[bool]


class ForeignKey(TypedDict):
    """A foreign key; the table it points at is qualified outside of ``public`` only."""

    name: str
    columns: list[str]
    references: str
    ref_columns: list[str]
    on_delete: str
    on_update: str
    deferrable: bool
    validated: bool


class CheckConstraint(TypedDict):
    """A check constraint with the server's own text of it."""

    name: str
    definition: str
    validated: bool


class Index(TypedDict):
    """An index; its definition says the table without ``public.``."""

    name: str
    unique: bool
    primary: bool
    backs_constraint: bool
    valid: bool
    definition: str


class Table(TypedDict):
    """One table: columns in their order, everything else by name."""

    columns: list[Column]
    primary_key: Key | None
    unique_constraints: list[Key]
    foreign_keys: list[ForeignKey]
    check_constraints: list[CheckConstraint]
    indexes: list[Index]


class Sequence(TypedDict):
    """A sequence; ``owned_by`` is ``table.column``, None where it stands alone."""

    type: str
    start: int
    increment: int
    min: int
    max: int
    cycle: bool
    owned_by: str | None


class Catalogue(TypedDict):
    """The schema ``public`` of one database, without alembic_version."""

    revision: str | None
    catalogue_format: int
    tables: dict[str, Table]
    enums: dict[str, list[str]]
    sequences: dict[str, Sequence]
    counts: dict[str, int]


@cache
def golden(revision: str) -> Catalogue:
    """Return the catalogue of a published revision, which all share: nobody changes it.

    Raises: KeyError, if the chain has no such revision.
    """
    if not is_published(revision):
        raise KeyError(revision)
    text = files(__name__).joinpath(f"{revision}.json").read_text(encoding="utf-8")
    return cast(Catalogue, json.loads(text))


def as_json(catalogue: Catalogue) -> str:
    """Return a catalogue as the published files spell it, byte for byte."""
    return json.dumps(catalogue, indent=1, ensure_ascii=False) + "\n"
