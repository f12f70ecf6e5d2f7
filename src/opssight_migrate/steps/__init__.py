"""The ordered list: schema revisions and data steps, one after the other."""

from __future__ import annotations

from opssight_migrate.opssight import revisions
from opssight_migrate.steps.assign_roles import AssignRoles
from opssight_migrate.steps.base import BaseStep
from opssight_migrate.steps.initialise_audit import InitialiseAudit
from opssight_migrate.steps.schema_at import SchemaAt
from opssight_migrate.steps.set_up_time_series import SetUpTimeSeries
from opssight_migrate.steps.settle_organizations import SettleOrganizations

STEPS: tuple[BaseStep, ...] = (
    SchemaAt(revisions.START),
    SchemaAt(revisions.MULTI_TENANCY),
    SettleOrganizations(),
    SchemaAt(revisions.RBAC),
    AssignRoles(),
    SchemaAt(revisions.TIME_SERIES),
    SetUpTimeSeries(),
    SchemaAt(revisions.AUDIT),
    InitialiseAudit(),
    SchemaAt("e988b93edd68"),
    SchemaAt(revisions.HEAD),
)
