"""How a catalogue differs from the golden one, object by object, and what would mend it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Sequence as Many
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from opssight_migrate.opssight.golden import Catalogue, Column, Index, Key, Sequence, Table
from opssight_migrate.postgres import comparable, mending
from opssight_migrate.postgres.comparable import Comparable


class Kind(StrEnum):
    """What is wrong. MISSING and ALTERED are refused, ADDITIONAL and ORDER are only told."""

    MISSING = "missing"
    ALTERED = "altered"
    ADDITIONAL = "additional"
    ORDER = "order"


class Thing(StrEnum):
    """The kind of object that differs."""

    TABLE = "table"
    COLUMN = "column"
    PRIMARY_KEY = "primary key"
    UNIQUE_CONSTRAINT = "unique constraint"
    FOREIGN_KEY = "foreign key"
    CHECK_CONSTRAINT = "check constraint"
    INDEX = "index"
    ENUM = "enum"
    SEQUENCE = "sequence"


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One difference. ``table`` is None for enums, sequences and tables themselves.

    ``part`` says what of the object differs, None where it is the whole of it: a column's type,
    nullable, default, identity, generated, collation or position; a constraint's or index's
    name, definition, validity or constraint; an enum's label or order; a sequence's fields.
    ``expected`` and ``found`` are text, None for nothing. ``mending`` is SQL, one statement a
    line, that makes the object golden; None where that takes judgement.
    """

    kind: Kind
    thing: Thing
    table: str | None
    name: str
    part: str | None = None
    expected: str | None = None
    found: str | None = None
    mending: str | None = None

    @property
    def refuses(self) -> bool:
        """Whether a run may not begin with this."""
        return self.kind in (Kind.MISSING, Kind.ALTERED)

    @property
    def where(self) -> str:
        """The object's name, with its table's."""
        return self.name if self.table is None else f"{self.table}.{self.name}"

    @property
    def sentence(self) -> str:
        """Say the difference in words."""
        subject = f"{self.thing} {self.where}"
        if self.kind is Kind.ORDER:
            return f"{subject} stands at another position"
        if self.part is None:
            return f"{subject} is {self.kind}"
        if self.kind is Kind.ADDITIONAL:
            return f"{subject} has an additional {self.part}: {self.found}"
        return (
            f"{subject} is {self.kind}: {self.part} is {self.found or 'nothing'},"
            f" not {self.expected or 'nothing'}"
        )


def differences(golden: Catalogue, actual: Catalogue) -> list[Difference]:
    """Return every difference between two catalogues; empty when their objects are equal.

    The revisions they carry are not compared. One object that differs is one difference, but for
    columns and sequences, which have one for each part, and enums, one for each label.
    """
    found: list[Difference] = []
    for name in _either(golden["tables"], actual["tables"]):
        table, other = golden["tables"].get(name), actual["tables"].get(name)
        if table is None or other is None:
            found.append(_whole(Thing.TABLE, None, name, missing=other is None))
        else:
            found.extend(table_differences(name, table, other))
    for name in _either(golden["enums"], actual["enums"]):
        found.extend(_enum(name, golden["enums"].get(name), actual["enums"].get(name)))
    for name in _either(golden["sequences"], actual["sequences"]):
        found.extend(_sequence(name, golden["sequences"].get(name), actual["sequences"].get(name)))
    return found


def table_differences(name: str, golden: Table, actual: Table) -> list[Difference]:
    """Return every difference between two tables of one name."""
    keys = [
        *_primary_key(name, golden["primary_key"], actual["primary_key"]),
        *_objects(
            Thing.UNIQUE_CONSTRAINT,
            name,
            [comparable.of_key(key, "UNIQUE") for key in golden["unique_constraints"]],
            [comparable.of_key(key, "UNIQUE") for key in actual["unique_constraints"]],
        ),
    ]
    told = _told(keys, golden["indexes"], actual["indexes"])
    return [
        *_columns(name, golden["columns"], actual["columns"]),
        *keys,
        *_objects(
            Thing.FOREIGN_KEY,
            name,
            [comparable.of_foreign_key(item) for item in golden["foreign_keys"]],
            [comparable.of_foreign_key(item) for item in actual["foreign_keys"]],
        ),
        *_objects(
            Thing.CHECK_CONSTRAINT,
            name,
            [comparable.of_check(item) for item in golden["check_constraints"]],
            [comparable.of_check(item) for item in actual["check_constraints"]],
        ),
        *_objects(
            Thing.INDEX,
            name,
            [comparable.of_index(item) for item in golden["indexes"] if item["name"] not in told],
            [comparable.of_index(item) for item in actual["indexes"] if item["name"] not in told],
        ),
    ]


def _told(keys: Iterable[Difference], *sides: Many[Index]) -> set[str]:
    """Return the indexes that differ only because their constraint does, which was told."""
    names: set[str] = set()
    for key in keys:
        names.add(key.name)
        if key.part == "name" and key.found is not None:
            names.add(key.found)
    plain = {i["name"] for side in sides for i in side if not i["backs_constraint"]}
    return names - plain


def _columns(table: str, golden: Many[Column], actual: Many[Column]) -> Iterator[Difference]:
    wanted = {column["name"]: column for column in golden}
    present = {column["name"]: column for column in actual}
    for name, column in wanted.items():
        if name in present:
            yield from _column(table, column, present[name])
        else:
            mend = mending.missing_column(table, column)
            yield _whole(Thing.COLUMN, table, name, missing=True, text=column["type"], mend=mend)
    for name, column in present.items():
        if name not in wanted:
            yield _whole(Thing.COLUMN, table, name, missing=False, text=column["type"])
    # Additional columns between the golden ones do not count.
    expected = [name for name in wanted if name in present]
    found = [name for name in present if name in wanted]
    for name, other in zip(expected, found, strict=True):
        if name != other:
            yield Difference(
                kind=Kind.ORDER,
                thing=Thing.COLUMN,
                table=table,
                name=name,
                part="position",
                expected=", ".join(expected),
                found=", ".join(found),
            )
            return


def _column(table: str, golden: Column, actual: Column) -> Iterator[Difference]:
    for part, expected, found in _parts(golden, actual):
        yield Difference(
            kind=Kind.ALTERED,
            thing=Thing.COLUMN,
            table=table,
            name=golden["name"],
            part=part,
            expected=expected,
            found=found,
            mending=_column_mending(table, golden, actual, part),
        )


def _column_mending(table: str, golden: Column, actual: Column, part: str) -> str | None:
    # An identity or generated column takes no SET DEFAULT.
    if "identity" in actual or "generated" in actual:
        return None
    return mending.altered_column(table, golden, part)


def _primary_key(table: str, golden: Key | None, actual: Key | None) -> Iterator[Difference]:
    thing = Thing.PRIMARY_KEY
    wanted = [comparable.of_key(golden, "PRIMARY KEY")] if golden else []
    present = [comparable.of_key(actual, "PRIMARY KEY")] if actual else []
    if golden and actual and wanted[0].definition != present[0].definition:
        # A table has one primary key at the most, so two of them are the same object.
        yield _altered(thing, table, wanted[0], present[0], "definition")
    else:
        yield from _objects(thing, table, wanted, present)


def _objects(
    thing: Thing, table: str, golden: Many[Comparable], actual: Many[Comparable]
) -> Iterator[Difference]:
    """Compare by name; what is missing by name and there by another name was renamed."""
    wanted = {item.name for item in golden}
    present = {item.name: item for item in actual}
    spare = {name: item for name, item in present.items() if name not in wanted}
    for item in golden:
        other = present.get(item.name)
        if other is None:
            twin = next((name for name in spare if spare[name].body == item.body), None)
            if twin is None:
                mend = _missing_mending(thing, table, item)
                text = item.definition
                yield _whole(thing, table, item.name, missing=True, text=text, mend=mend)
            else:
                yield _altered(thing, table, item, spare.pop(twin), "name")
        elif other.definition != item.definition:
            yield _altered(thing, table, item, other, "definition")
        elif other.valid != item.valid:
            yield _altered(thing, table, item, other, "validity")
        elif other.backs_constraint != item.backs_constraint:
            yield _altered(thing, table, item, other, "constraint")
    for name, item in spare.items():
        yield _whole(thing, table, name, missing=False, text=item.definition)


def _whole(
    thing: Thing,
    table: str | None,
    name: str,
    *,
    missing: bool,
    text: str | None = None,
    mend: str | None = None,
) -> Difference:
    return Difference(
        kind=Kind.MISSING if missing else Kind.ADDITIONAL,
        thing=thing,
        table=table,
        name=name,
        expected=text if missing else None,
        found=None if missing else text,
        mending=mend,
    )


def _altered(
    thing: Thing, table: str, golden: Comparable, actual: Comparable, part: str
) -> Difference:
    expected, found = {
        "name": (golden.name, actual.name),
        "definition": (golden.definition, actual.definition),
        "validity": (_valid(golden.valid), _valid(actual.valid)),
        "constraint": (_backing(golden), _backing(actual)),
    }[part]
    return Difference(
        kind=Kind.ALTERED,
        thing=thing,
        table=table,
        name=golden.name,
        part=part,
        expected=expected,
        found=found,
        mending=_altered_mending(thing, table, golden, actual, part),
    )


def _valid(valid: bool) -> str:
    return "valid" if valid else "not valid"


def _backing(item: Comparable) -> str:
    return "of a constraint" if item.backs_constraint else "of no constraint"


def _missing_mending(thing: Thing, table: str, item: Comparable) -> str | None:
    if thing in (Thing.PRIMARY_KEY, Thing.UNIQUE_CONSTRAINT):
        kind = "PRIMARY KEY" if thing is Thing.PRIMARY_KEY else "UNIQUE"
        return mending.missing_key(table, item.name, item.columns, kind)
    if thing is Thing.INDEX:
        return None if item.backs_constraint else mending.missing_index(item.full)
    return mending.missing_constraint(table, item.name, item.definition)


def _altered_mending(
    thing: Thing, table: str, golden: Comparable, actual: Comparable, part: str
) -> str | None:
    if part == "name":
        if thing is Thing.INDEX:
            return mending.renamed_index(golden.name, actual.name)
        return mending.renamed_constraint(table, golden.name, actual.name)
    if thing is Thing.INDEX:
        if part == "validity" and golden.valid:
            return mending.altered_index(golden.name, golden.full, only_invalid=True)
        if golden.backs_constraint or actual.backs_constraint:
            return None
        return mending.altered_index(golden.name, golden.full, only_invalid=False)
    if thing in (Thing.PRIMARY_KEY, Thing.UNIQUE_CONSTRAINT):
        return None
    return mending.altered_constraint(
        table, golden.name, golden.definition, only_unvalidated=part == "validity"
    )


def _enum(name: str, golden: list[str] | None, actual: list[str] | None) -> Iterator[Difference]:
    if golden is None or actual is None:
        text = ", ".join(golden or actual or [])
        mend = mending.missing_enum(name, golden) if golden is not None else None
        yield _whole(Thing.ENUM, None, name, missing=actual is None, text=text, mend=mend)
        return
    for label in golden:
        if label not in actual:
            yield Difference(
                kind=Kind.ALTERED,
                thing=Thing.ENUM,
                table=None,
                name=name,
                part="label",
                expected=label,
                mending=mending.missing_label(name, golden, label, actual),
            )
    for label in actual:
        if label not in golden:
            yield Difference(
                kind=Kind.ADDITIONAL,
                thing=Thing.ENUM,
                table=None,
                name=name,
                part="label",
                found=label,
            )
    expected = [label for label in golden if label in actual]
    found = [label for label in actual if label in golden]
    if expected != found:
        yield Difference(
            kind=Kind.ALTERED,
            thing=Thing.ENUM,
            table=None,
            name=name,
            part="order",
            expected=", ".join(expected),
            found=", ".join(found),
        )


def _sequence(name: str, golden: Sequence | None, actual: Sequence | None) -> Iterator[Difference]:
    if golden is None or actual is None:
        yield _whole(Thing.SEQUENCE, None, name, missing=actual is None)
        return
    for part, expected, found in _parts(golden, actual):
        yield Difference(
            kind=Kind.ALTERED,
            thing=Thing.SEQUENCE,
            table=None,
            name=name,
            part=part,
            expected=expected,
            found=found,
            mending=mending.altered_sequence(name, golden, part),
        )


def _parts(
    golden: Mapping[str, Any], actual: Mapping[str, Any]
) -> Iterator[tuple[str, str | None, str | None]]:
    """Name each key whose values differ, with both as text."""
    for part in dict.fromkeys([*golden, *actual]):
        expected, found = golden.get(part), actual.get(part)
        if expected != found:
            yield part, _text(expected), _text(found)


def _text(value: object) -> str | None:
    if value is None:
        return None
    return str(value).lower() if isinstance(value, bool) else str(value)


def _either(golden: Mapping[str, object], actual: Mapping[str, object]) -> list[str]:
    return sorted({*golden, *actual})
