"""The tests that need a real server cannot run here; what they are made of can."""

from __future__ import annotations

import time

from psycopg.conninfo import make_conninfo
from tests.conftest import NewDatabase
from tests.timescale import live, rows, series_traffic

ON_EVERY_SERVER = False


def test_their_database_is_filled_and_takes_the_load_without_a_failure(
    new_database: NewDatabase,
) -> None:
    server = make_conninfo(new_database())

    with live.database(server) as conninfo:
        live.filled(conninfo, 500)
        with series_traffic.driving(conninfo) as driven:
            time.sleep(0.5)

        traffic = driven.ended
        with live.connected(conninfo) as session:
            written = len(traffic.written["metrics"])
            assert rows.digests(session)["metrics"][0] == 500 + written
    assert traffic.failed == ()
    assert {one.kind for one in traffic.statements} == {"insert", "newest", "by key"}
    assert traffic.latencies().statements > 30


def test_a_server_that_cannot_be_used_is_said_in_words(new_database: NewDatabase) -> None:
    server = make_conninfo(new_database())

    assert live.why_unusable(server) == "TimescaleDB is not on this server"
    unreachable = str(live.why_unusable(make_conninfo(server, host="127.0.0.1", port=1)))
    assert unreachable.startswith("the server cannot be used: ")
