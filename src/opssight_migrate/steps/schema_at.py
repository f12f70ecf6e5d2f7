"""Bring the schema to at least one revision of the chain; never downgrade."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

from opssight_migrate.model.plan import (
    Blocker,
    Estimate,
    Finding,
    Obstacle,
    PromisedLock,
    Severity,
    Undo,
)
from opssight_migrate.opssight import rates, revisions, shims
from opssight_migrate.opssight.golden import golden
from opssight_migrate.opssight.lockings import locked_up, narrowed
from opssight_migrate.opssight.tables import TABLES_AT_START
from opssight_migrate.postgres import catalog, chain, sizes
from opssight_migrate.postgres.journal import Audit
from opssight_migrate.steps.base import Step, StepContext


@dataclass(slots=True)
class _Changes:
    """What a revision does to tables that are there: which, and the columns it indexes anew.

    ``pieces`` is in how many short transactions it does all of it, about.
    """

    altered: list[str]
    indexed: dict[str, list[str]]
    pieces: int


class SchemaAt(Step):
    """One revision as a step. Alembic stamps it, and its journal row commits with the stamp."""

    kind: Literal["schema", "data"] = "schema"
    atomic = False
    audit = Audit(operation="UPDATE", severity="MEDIUM", table="alembic_version")

    def __init__(self, revision: str) -> None:
        place = [r.id for r in revisions.REVISIONS].index(revision)
        self.revision = revisions.REVISIONS[place]
        self.before = revisions.REVISIONS[place - 1].id if place else None
        self.id = revision
        self.title = self.revision.title
        self.needs = revision
        # The first revision's tables are never archived: they go empty, or not at all.
        self.undo_kind = Undo.ARCHIVE if place else Undo.EXACT

    def preconditions(self, ctx: StepContext) -> Iterable[Blocker]:
        """A name that the revision needs must be free, or taken by the revision's own object."""
        for name in self._new_names():
            kind = catalog.relation_kind(ctx.session, name)
            if kind is not None and kind not in ("table", "partitioned table"):
                yield Blocker(
                    message=f"a {kind} named {name} is in the way of revision {self.id}",
                    where=f"public.{name}",
                    hint=f"rename it: ALTER {kind.upper()} public.{name} RENAME TO …",
                    kind=Obstacle.SHAPE,
                )
        for name, definition in self._new_indexes().items():
            state = catalog.index_state(ctx.session, name)
            if state is not None and state.valid and state.definition != definition:
                yield Blocker(
                    message=f"another index named {name} is in the way of revision {self.id}",
                    where=f"public.{name}",
                    hint=f"rename it: ALTER INDEX public.{name} RENAME TO …",
                    kind=Obstacle.SHAPE,
                )

    def estimate(self, ctx: StepContext) -> Estimate:
        """A revision writes no row; its strong locks are short and taken at the door."""
        changes = self._changes()
        tables = [table for table in changes.altered if sizes.rows(ctx.session, table)]
        seconds = rates.PIECE_S * changes.pieces
        wal_bytes = 0
        for table in tables:
            rows = sizes.rows(ctx.session, table)
            seconds += len(changes.indexed[table]) * rows / rates.INDEX_ROWS_PER_S
            seconds += rows / rates.VALIDATED_ROWS_PER_S
            for column in changes.indexed[table]:
                width = sizes.key_width_bytes(ctx.session, table, (column,))
                wal_bytes += rows * (width + rates.INDEX_ENTRY_BYTES)
        return Estimate(
            locks=self._promise(ctx), reference_s=round(seconds, 3), wal_bytes=wal_bytes
        )

    def _promise(self, ctx: StepContext) -> tuple[PromisedLock, ...]:
        if not catalog.any_has_rows(ctx.session, TABLES_AT_START):
            return ()
        # What an earlier step of the same plan makes is not there yet, and nobody uses it.
        promised = locked_up(self.id)
        return narrowed(
            promised,
            [p.relation for p in promised if catalog.relation_exists(ctx.session, p.relation)],
        )

    def verify(self, ctx: StepContext) -> Iterable[Finding]:
        """The database is stamped with this revision or a later one."""
        current = catalog.current_revision(ctx.session)
        if not revisions.is_at_least(current, self.id):
            yield Finding(
                check_id=self.id,
                severity=Severity.FAIL,
                message=f"the database is at {current}, before {self.id}",
            )

    def apply(self, ctx: StepContext) -> None:
        """Let Alembic run the revision."""
        chain.upgrade(replace(ctx.drive, step_id=self.id), self.id)

    def undo(self, ctx: StepContext) -> None:
        """Let Alembic take the revision back, or do it ourselves where it died before its stamp."""
        drive = replace(ctx.drive, step_id=self.id)
        if revisions.is_at_least(catalog.current_revision(ctx.session), self.id):
            chain.downgrade(drive, self.before or "base")
        else:
            chain.undo_unstamped(drive, self.id)

    def _changes(self) -> _Changes:
        old = golden(self.before)["tables"] if self.before else {}
        changes = _Changes(altered=[], indexed={}, pieces=0)
        for name, table in golden(self.id)["tables"].items():
            if name not in old:
                changes.pieces += 1 + 2 * len(table["foreign_keys"])
                continue
            known = {index["definition"] for index in old[name]["indexes"]}
            new = [i for i in table["indexes"] if i["definition"] not in known]
            if new or len(table["columns"]) != len(old[name]["columns"]):
                changes.altered.append(name)
                changes.indexed[name] = [i["definition"].split("(")[1][:-1] for i in new]
                changes.pieces += 4 + 2 * len(new)
        return changes

    def _new_indexes(self) -> dict[str, str]:
        """The names that are free before this revision, with the definition they get."""
        old = golden(self.before)["tables"] if self.before else {}
        taken = {index["name"] for table in old.values() for index in table["indexes"]}
        return {
            index["name"]: index["definition"]
            for table in golden(self.id)["tables"].values()
            for index in table["indexes"]
            if index["name"] not in taken
        }

    def _new_names(self) -> list[str]:
        old = golden(self.before)["tables"] if self.before else {}
        return [name for name in golden(self.id)["tables"] if name not in old]


def shims_after(current: str | None, target: str, *, populated: bool) -> tuple[str, ...]:
    """Name the shims that the revisions between ``current`` and ``target`` will leave."""
    if not populated:
        return ()
    coming = {revision.id for revision in revisions.between(current, target)}
    defaults = (shim.name for shim in shims.DEFAULTS if shim.revision in coming)
    indexes = (shim.name for shim in shims.ONCE_UNIQUE if shim.revision in coming)
    return (*defaults, *indexes)
