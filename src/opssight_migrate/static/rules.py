"""The rules of the static check: what each forbids, why, and what to write in its stead."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule. ``id`` is what a comment allows, ``why`` what it costs, ``instead`` what to do."""

    id: str
    title: str
    why: str
    instead: str


CHAIN: tuple[Rule, ...] = (
    Rule(
        id="two-heads",
        title="The chain has one head",
        why="alembic upgrade head refuses to choose between two, and every deploy stops there.",
        instead="set the down_revision of the newer one to the other head",
    ),
    Rule(
        id="two-bases",
        title="The chain has one beginning",
        why="A second base is a second chain: an empty database gets both, in any order.",
        instead="give one of them a down_revision",
    ),
    Rule(
        id="gap",
        title="Every down_revision is there",
        why="Alembic cannot load a chain of which a link is missing.",
        instead="bring the missing file back, or name the revision before it",
    ),
    Rule(
        id="cycle",
        title="No revision comes before itself",
        why="Alembic cannot order a circle.",
        instead="correct the down_revision that points forward",
    ),
    Rule(
        id="duplicate-id",
        title="Every revision id is used once",
        why="Alembic takes one of the two files and does not say which.",
        instead="give the newer file an id of its own",
    ),
    Rule(
        id="edited-revision",
        title="A published revision is never edited",
        why="Databases that have run it already never see the edit, so they differ for ever.",
        instead="take the edit back, and write it as a new revision",
    ),
    Rule(
        id="missing-revision",
        title="A published revision is never deleted",
        why="A database that is stamped with it cannot be moved any more.",
        instead="bring the file back",
    ),
    Rule(
        id="no-downgrade",
        title="Every revision has a downgrade",
        why="Without one there is no way back but a backup.",
        instead="undo in downgrade() what upgrade() does",
    ),
    Rule(
        id="unreadable-revision",
        title="Every revision file can be read",
        why="Alembic loads every file of the folder; one that fails stops all of them.",
        instead="correct the file",
    ),
)

HAZARDS: tuple[Rule, ...] = (
    Rule(
        id="index-not-concurrent",
        title="Indexes are built and dropped CONCURRENTLY",
        why="CREATE INDEX keeps every writer out until it is done; DROP INDEX keeps all out.",
        instead="CREATE INDEX CONCURRENTLY inside op.get_context().autocommit_block()",
    ),
    Rule(
        id="concurrently-in-transaction",
        title="CONCURRENTLY stands outside of a transaction",
        why="PostgreSQL refuses it inside one, so the revision fails.",
        instead="put it into: with op.get_context().autocommit_block():",
    ),
    Rule(
        id="not-null-without-default",
        title="A new NOT NULL column has a default",
        why="On a table with one row it fails, and the old release's INSERTs fail with it.",
        instead="give it a constant server_default, or add it nullable and fill it in batches",
    ),
    Rule(
        id="volatile-default",
        title="A new column's default is a constant",
        why="A default that is computed for each row rewrites the table under ACCESS EXCLUSIVE.",
        instead="add the column without it, set the default afterwards, fill the rows in batches",
    ),
    Rule(
        id="set-not-null-without-check",
        title="SET NOT NULL finds a validated CHECK",
        why="Without one it reads the whole table under ACCESS EXCLUSIVE.",
        instead="ADD CONSTRAINT … CHECK (x IS NOT NULL) NOT VALID, VALIDATE CONSTRAINT, then this",
    ),
    Rule(
        id="constraint-validates",
        title="Foreign keys and checks are added NOT VALID",
        why="Adding one that is valid reads the whole table and keeps writers out of both.",
        instead="add it NOT VALID, then VALIDATE CONSTRAINT in a transaction of its own",
    ),
    Rule(
        id="unique-without-index",
        title="Unique constraints take an index that is there",
        why="Otherwise the index is built under ACCESS EXCLUSIVE.",
        instead="CREATE UNIQUE INDEX CONCURRENTLY, then ADD CONSTRAINT … USING INDEX",
    ),
    Rule(
        id="type-change",
        title="A column keeps its type",
        why="Most changes of type rewrite the table and its indexes under ACCESS EXCLUSIVE.",
        instead="add a second column, fill it in batches, switch over, drop the first one later",
    ),
    Rule(
        id="drop-column",
        title="An upgrade drops no column",
        why="The release that is still running reads it, and its values cannot come back.",
        instead="drop it in a cleanup, once no release needs it",
    ),
    Rule(
        id="drop-table",
        title="An upgrade drops no table",
        why="The release that is still running reads it, and its rows cannot come back.",
        instead="drop it in a cleanup, once no release needs it",
    ),
    Rule(
        id="rename",
        title="Nothing is renamed",
        why="The release that is still running knows the old name only.",
        instead="add the new one beside it, and drop the old one in a cleanup",
    ),
    Rule(
        id="lock-table",
        title="No table is locked by hand",
        why="A request that waits stalls everybody who comes after it.",
        instead="take the weakest lock that the change needs, with a short lock_timeout",
    ),
    Rule(
        id="whole-table-write",
        title="A revision writes no whole table",
        why="It holds every row's lock, and doubles the table, in one transaction.",
        instead="write the rows in batches, in a data step",
    ),
    Rule(
        id="table-rewrite",
        title="No table is rewritten",
        why="CLUSTER, VACUUM FULL, SET LOGGED and the like copy it under ACCESS EXCLUSIVE.",
        instead="do it in a window, by hand",
    ),
)

COMMENTS: tuple[Rule, ...] = (
    Rule(
        id="allowed-without-reason",
        title="A comment that allows a rule says why",
        why="Whoever reads it later must know whether it still holds.",
        instead="# opssight: allow RULE because …",
    ),
    Rule(
        id="allowed-for-nothing",
        title="A comment that allows a rule is needed",
        why="It would hide the next one that really matters.",
        instead="take the comment out",
    ),
)

CONFIGURATION: tuple[Rule, ...] = (
    Rule(
        id="configuration",
        title="opssight.toml is valid",
        why="A verb would stop with exit 4 before it connects.",
        instead="correct the line that is named",
    ),
)

RULES = {rule.id: rule for rule in (*CHAIN, *HAZARDS, *COMMENTS, *CONFIGURATION)}
