"""Constraints and indexes, reduced to what is compared of them."""

from __future__ import annotations

from dataclasses import dataclass

from opssight_migrate.opssight.golden import CheckConstraint, ForeignKey, Index, Key


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparable:
    """A constraint or index: ``definition`` has no name in it.

    ``columns`` are those of a key, ``full`` an index's definition with its name.
    """

    name: str
    definition: str
    valid: bool = True
    backs_constraint: bool = False
    columns: tuple[str, ...] = ()
    full: str = ""

    @property
    def body(self) -> tuple[str, bool, bool]:
        """Everything but the name: two objects of one body are one that was renamed."""
        return self.definition, self.valid, self.backs_constraint


def of_key(key: Key, kind: str) -> Comparable:
    """Return what of it is compared."""
    deferrable = " DEFERRABLE" if key.get("deferrable") else ""
    columns = tuple(key["columns"])
    definition = f"{kind} ({', '.join(columns)}){deferrable}"
    return Comparable(name=key["name"], definition=definition, columns=columns)


def of_foreign_key(key: ForeignKey) -> Comparable:
    """Return what of it is compared."""
    text = (
        f"FOREIGN KEY ({', '.join(key['columns'])})"
        f" REFERENCES {key['references']} ({', '.join(key['ref_columns'])})"
    )
    for event, action in (("DELETE", key["on_delete"]), ("UPDATE", key["on_update"])):
        if action != "NO ACTION":
            text += f" ON {event} {action}"
    if key["deferrable"]:
        text += " DEFERRABLE"
    return Comparable(name=key["name"], definition=text, valid=key["validated"])


def of_check(check: CheckConstraint) -> Comparable:
    """Return what of it is compared."""
    text = check["definition"].removesuffix(" NOT VALID")
    return Comparable(name=check["name"], definition=text, valid=check["validated"])


def of_index(index: Index) -> Comparable:
    """Return what of it is compared."""
    # The server quotes a name where it must; both spellings are taken out.
    full = index["definition"]
    quoted = '"' + index["name"].replace('"', '""') + '"'
    text = full
    for name in (index["name"], quoted):
        text = text.replace(f"INDEX {name} ON ", "INDEX ON ", 1)
    return Comparable(
        name=index["name"],
        definition=text,
        valid=index["valid"],
        backs_constraint=index["backs_constraint"],
        full=full,
    )
