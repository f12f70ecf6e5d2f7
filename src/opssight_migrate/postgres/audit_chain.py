"""The audit rows of the journal as a chain: each holds its own digest and that of all before it."""

from __future__ import annotations

from dataclasses import dataclass

from psycopg import sql

from opssight_migrate.postgres.session import Session

SCHEMA = """
ALTER TABLE opssight_migrate.audit_rows
    ADD COLUMN IF NOT EXISTS digest text, ADD COLUMN IF NOT EXISTS chain text;
ALTER TABLE opssight_migrate.runs ADD COLUMN IF NOT EXISTS last_link text;
CREATE TABLE IF NOT EXISTS opssight_migrate.audit_forgotten (
    id bigint PRIMARY KEY,
    audit_id uuid NOT NULL,
    digest text,
    chain text
);
"""
# What cleanup takes out of the journal leaves its link behind, and the chain holds.
_FORGOTTEN = """
INSERT INTO opssight_migrate.audit_forgotten (id, audit_id, digest, chain)
SELECT id, audit_id, digest, chain FROM opssight_migrate.audit_rows WHERE run_id = %s
"""
# A chain that lost its end still holds; so a run remembers the last link there was when it ended.
_RUN_ENDED = """
UPDATE opssight_migrate.runs
   SET status = %(status)s, error = %(error)s, finished_at = clock_timestamp(),
       last_link = (SELECT chain FROM opssight_migrate.audit_rows ORDER BY id DESC LIMIT 1)
 WHERE id = %(run)s
"""
_TORN = """
SELECT r.id FROM opssight_migrate.runs AS r
 WHERE r.last_link IS NOT NULL
   AND r.last_link NOT IN (SELECT chain FROM opssight_migrate.audit_rows WHERE chain IS NOT NULL
                           UNION ALL
                           SELECT chain FROM opssight_migrate.audit_forgotten
                            WHERE chain IS NOT NULL)
 ORDER BY r.epoch
"""
_REMEMBERS = """
SELECT EXISTS (SELECT FROM pg_attribute
                WHERE attrelid = to_regclass('opssight_migrate.runs') AND attname = 'last_link')
"""
# The time as a number, so that no session's time zone is part of it.
_DIGEST = sql.SQL("""
encode(sha256(convert_to(jsonb_build_array(
    a.audit_id, a.run_id, extract(epoch FROM a.at)::text, a.operation, a.severity, a.table_name,
    a.record_id, a.description, a.context)::text, 'UTF8')), 'hex')
""")
_LINK = sql.SQL("""
WITH own AS (
    SELECT a.id, {digest} AS digest,
           (SELECT b.chain
              FROM (SELECT id, chain FROM opssight_migrate.audit_rows
                    UNION ALL SELECT id, chain FROM opssight_migrate.audit_forgotten) AS b
             WHERE b.id < a.id ORDER BY b.id DESC LIMIT 1) AS before
      FROM opssight_migrate.audit_rows AS a
     WHERE a.audit_id = %s
)
UPDATE opssight_migrate.audit_rows AS a
   SET digest = own.digest,
       chain = encode(sha256(convert_to(coalesce(own.before, '') || own.digest, 'UTF8')), 'hex')
  FROM own WHERE a.id = own.id
""").format(digest=_DIGEST)
_BROKEN = sql.SQL("""
WITH every AS (
    SELECT a.id, a.audit_id, a.digest, a.chain, {digest} AS actual
      FROM opssight_migrate.audit_rows AS a
    UNION ALL
    SELECT f.id, f.audit_id, f.digest, f.chain, f.digest
      FROM opssight_migrate.audit_forgotten AS f
), linked AS (
    SELECT e.*, lag(e.chain) OVER (ORDER BY e.id) AS before,
           lag(e.id) OVER (ORDER BY e.id) AS previous
      FROM every AS e
)
SELECT CASE WHEN digest IS DISTINCT FROM actual THEN 'edited' ELSE 'removed' END,
       id, audit_id::text, coalesce(previous, 0)
  FROM linked
 WHERE digest IS DISTINCT FROM actual
    OR chain IS DISTINCT FROM
       encode(sha256(convert_to(coalesce(before, '') || digest, 'UTF8')), 'hex')
 ORDER BY id
""").format(digest=_DIGEST)
_IS_CHAINED = """
SELECT to_regclass('opssight_migrate.audit_forgotten') IS NOT NULL
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """A row whose content is not what its digest says, or before which rows are missing.

    ``after`` is the number of the last row before the gap.
    """

    was: str
    number: int
    audit_id: str
    after: int


def link(session: Session, audit_id: object) -> None:
    """Tie the newest row to the chain; in the transaction that wrote it."""
    session.execute(_LINK, (audit_id,))


def forget(session: Session, run_id: str) -> None:
    """Keep the links of a run's rows, which are about to be taken out; same transaction."""
    session.execute(_FORGOTTEN, (run_id,))


def end_run(session: Session, run_id: str, status: str, error: str | None) -> None:
    """Write how a run ended, and which link is the last at that moment."""
    session.execute(_RUN_ENDED, {"status": status, "error": error, "run": run_id})


def torn(session: Session) -> list[str]:
    """Return the runs whose last link is in the chain no more; none where none was remembered."""
    if not session.scalar(_REMEMBERS):
        return []
    return [run_id for (run_id,) in session.rows(_TORN)]


def is_kept(session: Session) -> bool:
    """Tell whether this database's journal has a chain at all."""
    return bool(session.scalar(_IS_CHAINED))


def broken(session: Session) -> list[Broken]:
    """Return where the chain does not hold."""
    return [
        Broken(was=was, number=number, audit_id=audit_id, after=after)
        for was, number, audit_id, after in session.rows(_BROKEN)
    ]
