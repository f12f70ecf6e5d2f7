"""The default organization: the tenant to which everything belongs that was there before."""

from __future__ import annotations

import re

from opssight_migrate.model.errors import StepFailedError
from opssight_migrate.postgres import catalog
from opssight_migrate.postgres.session import Session

_BY_SLUG_OR_NAME = """
SELECT id FROM organizations
 WHERE slug = %(slug)s OR name = %(name)s
 ORDER BY slug = %(slug)s DESC
 LIMIT 1
"""
# The application's own limits (10 users, 5 projects, 3 clusters) would lock out every real
# installation at once, so each is at least twice what is there.
_CREATED = """
INSERT INTO organizations
    (name, slug, display_name, timezone, currency, date_format, is_active, is_verified,
     subscription_tier, max_users, max_projects, max_clusters, storage_limit_gb,
     features, settings, org_metadata)
SELECT %(name)s, %(slug)s, %(name)s, 'UTC', 'USD', 'YYYY-MM-DD', true, false, 'free',
       greatest(10, 2 * (SELECT count(*) FROM users)),
       greatest(5, 2 * (SELECT count(*) FROM projects)),
       greatest(3, 2 * (SELECT count(*) FROM clusters)),
       greatest(10, 2 * (pg_database_size(current_database()) / 1073741824 + 1)),
       '{}', '{"timezone": "UTC", "default_retention_days": 90, "audit_enabled": true}',
       '{"created_by": "opssight-migrate"}'
    ON CONFLICT DO NOTHING
RETURNING id
"""


_EXISTS = "SELECT EXISTS (SELECT FROM organizations WHERE id = %s)"
# The shim's default is a constant; a column without one has had it dropped by cleanup.
_NUMBER = re.compile(r"\d+")


def exists(session: Session, organization: int) -> bool:
    """Tell whether there is an organization of this id."""
    return bool(session.scalar(_EXISTS, (organization,)))


def usual_of(session: Session, table: str, name: str, slug: str) -> int | None:
    """Return the organization that a table's rows have if nobody said otherwise; None if unknown.

    That is the column's default while the shim stands, and the default organization after it.
    """
    state = catalog.column_state(session, table, "organization_id")
    if state is not None and state.default and _NUMBER.fullmatch(state.default):
        return int(state.default)
    if not catalog.relation_exists(session, "organizations"):
        return None
    return default_organization(session, name, slug)


def default_organization(session: Session, name: str, slug: str) -> int | None:
    """Return the id of the organization with this slug, else with this name, or None."""
    found = session.scalar(_BY_SLUG_OR_NAME, {"name": name, "slug": slug})
    return None if found is None else int(found)


def ensure_default_organization(session: Session, name: str, slug: str) -> int:
    """Return the id of the default organization, made with roomy limits if it is missing.

    Raises: StepFailedError, where the sequence gives an id that is taken.
    """
    found = default_organization(session, name, slug)
    if found is None:
        session.scalar(_CREATED, {"name": name, "slug": slug})
        found = default_organization(session, name, slug)
    if found is None:
        raise StepFailedError(
            "no organization can be added: the sequence organizations_id_seq is behind the ids",
            where="organizations_id_seq",
            hint="SELECT setval('organizations_id_seq', (SELECT max(id) FROM organizations));"
            " then the same command again",
        )
    return found
