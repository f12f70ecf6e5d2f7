"""What the server offers is read from the server."""

from __future__ import annotations

from opssight_migrate.postgres.session import Session
from opssight_migrate.postgres.timescale import is_hypertable, offered


def test_a_community_server_attaches_compresses_and_has_a_columnstore(
    timescale: Session,
) -> None:
    offer = offered(timescale)

    assert (offer.reason, offer.licence) == (None, "timescale")
    assert str(offer.installed).startswith("2.23")
    assert (offer.attaches, offer.compresses, offer.has_columnstore) == (True,) * 3
    assert not is_hypertable(timescale, "metrics")
