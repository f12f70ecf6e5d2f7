"""TimescaleDB on a server that has none: it is said so, and nothing depends on it."""

from __future__ import annotations

from opssight_migrate.postgres import timescale
from opssight_migrate.postgres.session import Session


def test_a_server_without_the_package_offers_nothing_and_says_what_to_install(
    session: Session,
) -> None:
    offer = timescale.offered(session)

    assert offer.installed is None
    assert offer.reason == "TimescaleDB is not on this server"
    assert "timescaledb-2-postgresql" in str(offer.hint)


def test_no_table_is_a_hypertable_without_the_extension(populated: Session) -> None:
    assert not timescale.is_hypertable(populated, "users")
    assert not timescale.is_hypertable(populated, "there_is_none")


def test_what_a_version_will_give_is_known_before_it_is_installed() -> None:
    newest = timescale.promised("2.28.3", None)
    assert (newest.attaches, newest.splits, newest.has_columnstore) == (True,) * 3
    assert newest.named == "TimescaleDB 2.28.3, licence not known"
    older = timescale.promised("2.9.1", "timescale")
    assert (older.attaches, older.has_columnstore) == (False,) * 2
    assert not timescale.promised("2.28.3", "apache").attaches
