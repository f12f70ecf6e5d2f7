"""A server in recovery, which can be read and not written to."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
from tests.homes import new_home

from opssight_migrate.opssight.revisions import START
from opssight_migrate.postgres import chain
from opssight_migrate.postgres.cluster import Cluster
from opssight_migrate.postgres.session import Session


@contextmanager
def standing_by(server: Cluster) -> Iterator[str]:
    """Start a standby with an OpsSight at the start, by the programs of ``server``.

    It is started with standby.signal on the data of a primary that was stopped.
    """
    home = new_home("standby")
    try:
        with Cluster(home, server.bin_dir, durable=False) as primary:
            conninfo = primary.conninfo("postgres")
            with psycopg.connect(conninfo, autocommit=True) as connection:
                session = Session(connection)
                session.prepare()
                chain.upgrade(chain.Drive(session=session), START)
        (home / "data" / "standby.signal").touch(mode=0o644)
        settings = {"restore_command": "false"}
        with Cluster(home, server.bin_dir, durable=False, settings=settings) as replica:
            yield replica.conninfo("postgres")
    finally:
        shutil.rmtree(home)
