"""Rows for the two series: gaps in the ids, NULLs, long texts, several organizations."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from opssight_migrate.postgres import digest
from opssight_migrate.postgres.session import Session

SERIES = ("metrics", "log_entries")
BEGIN = datetime(2026, 3, 1, tzinfo=UTC)

_ORGANIZATIONS = """
INSERT INTO organizations (id, name, slug, timezone, currency, date_format, is_active, is_verified,
       subscription_tier, max_users, max_projects, max_clusters, storage_limit_gb, created_at,
       updated_at)
SELECT g, 'Organization ' || g, 'o' || g, 'UTC', 'USD', 'Y', true, false, 'free', 1, 1, 1, 1,
       now(), now() FROM generate_series(1, 3) AS g
"""
_METRICS = """
INSERT INTO metrics (id, organization_id, "timestamp", metric_name, metric_type, source, value,
       labels, is_interpolated, created_at, updated_at)
SELECT g * 3, g %% 3 + 1, %(begin)s::timestamptz + g * %(every)s::interval,
       'metric ' || g %% 7, 'gauge', 'custom', g * 0.5,
       CASE WHEN g %% 5 = 0 THEN NULL ELSE jsonb_build_object('ß', repeat('x', g %% 50)) END,
       false, now(), now()
  FROM generate_series(1, %(rows)s) AS g
"""
_LOGS = """
INSERT INTO log_entries (id, organization_id, "timestamp", log_level, source, message, created_at)
SELECT g * 2, g %% 3 + 1, %(begin)s::timestamptz + g * %(every)s::interval, 'info',
       'application', CASE WHEN g = 7 THEN repeat('länge ', 30000) ELSE 'entry ' || g END, now()
  FROM generate_series(1, %(rows)s) AS g
"""
_SEQUENCES = """
SELECT setval('metrics_id_seq', %(rows)s * 3 + 5), setval('log_entries_id_seq', %(rows)s * 2 + 5),
       setval('organizations_id_seq', 4)
"""


def fill(
    session: Session, rows: int, *, begin: datetime = BEGIN, every: timedelta = timedelta(hours=1)
) -> None:
    """Fill both series, a row each time from ``begin`` on, and what they point at."""
    session.execute(_ORGANIZATIONS)
    for statement in (_METRICS, _LOGS, _SEQUENCES):
        session.execute(statement, {"rows": rows, "begin": begin, "every": every})


def write_metric(session: Session, at: str) -> int:
    """Write a metric as the application does, and return its id."""
    return int(
        session.scalar(
            "INSERT INTO metrics (organization_id, timestamp, metric_name, metric_type, source,"
            " value, is_interpolated, created_at, updated_at)"
            " VALUES (1, %s, 'late', 'gauge', 'custom', 1, false, now(), now()) RETURNING id",
            (at,),
        )
    )


def digests(session: Session) -> dict[str, tuple[int, str]]:
    """Return rows and digest of both series."""
    found = digest.digest_database(session, digest.columns_by_table(session, SERIES))
    return {table: (one.rows, one.value) for table, one in found.items()}
