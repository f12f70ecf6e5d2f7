"""What must hold of a migrated database, one check a file."""

from __future__ import annotations

from opssight_migrate.checks.audit_is_configured import AuditIsConfigured
from opssight_migrate.checks.base import Check
from opssight_migrate.checks.catalogue_is_golden import CatalogueIsGolden
from opssight_migrate.checks.every_row_has_an_organization import EveryRowHasAnOrganization
from opssight_migrate.checks.roles_match_assignments import RolesMatchAssignments
from opssight_migrate.checks.runs_left_audit_rows import RunsLeftAuditRows
from opssight_migrate.checks.tenants_do_not_mix import TenantsDoNotMix

CHECKS: tuple[Check, ...] = (
    CatalogueIsGolden(),
    EveryRowHasAnOrganization(),
    TenantsDoNotMix(),
    RolesMatchAssignments(),
    AuditIsConfigured(),
    RunsLeftAuditRows(),
)
