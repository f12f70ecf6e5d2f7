"""The database of the embedded server: a sample OpsSight at its first revision, made once."""

from __future__ import annotations

from psycopg import sql

from opssight_migrate.model.events import Emit, Noted
from opssight_migrate.opssight import revisions, sample
from opssight_migrate.postgres import chain, connect
from opssight_migrate.postgres.cluster import Cluster
from opssight_migrate.postgres.session import Session

DATABASE = "opssight"
_FILLING = "opssight_filling"
_LOCK = 0x5A3B1E
_IS_THERE = "SELECT EXISTS (SELECT FROM pg_database WHERE datname = %s)"


def ensure(cluster: Cluster, emit: Emit) -> str:
    """Return the connection string of the sample, filling it first if it is not there.

    It is filled under another name and renamed when complete, so a killed command leaves no half.
    """
    maintenance = connect.opened(
        cluster.conninfo("postgres"), application_name="opssight-migrate/sample"
    )
    try:
        maintenance.execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
        if not maintenance.scalar(_IS_THERE, (DATABASE,)):
            emit(Noted(severity="note", message="making the sample OpsSight (once)"))
            _fill(maintenance, cluster)
    finally:
        maintenance.close()
    return cluster.conninfo(DATABASE)


def _fill(maintenance: Session, cluster: Cluster) -> None:
    filling, name = sql.Identifier(_FILLING), sql.Identifier(DATABASE)
    maintenance.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(filling))
    maintenance.execute(sql.SQL("CREATE DATABASE {}").format(filling))
    session = connect.opened(cluster.conninfo(_FILLING), application_name="opssight-migrate/sample")
    try:
        chain.upgrade(chain.Drive(session=session), revisions.START)
        load(session)
    finally:
        session.close()
    maintenance.execute(sql.SQL("ALTER DATABASE {} RENAME TO {}").format(filling, name))


def load(session: Session, volume: sample.Volume = sample.USUAL) -> None:
    """Fill the empty tables of ``d8b40ecdc203`` with the sample, in one transaction."""
    with session.writing():
        session.execute("SELECT set_config('synchronous_commit', 'off', true)")
        for statement, parameters in sample.statements(volume):
            session.execute(statement, parameters)
    session.execute("ANALYZE")
