"""What must hold of a migrated database, one check a file."""

from __future__ import annotations

from opssight_migrate.checks.additions_change_nothing import AdditionsChangeNothing
from opssight_migrate.checks.assignments_hold import AssignmentsHold
from opssight_migrate.checks.audit_is_configured import AuditIsConfigured
from opssight_migrate.checks.audit_log_takes_rows import AuditLogTakesRows
from opssight_migrate.checks.base import Check
from opssight_migrate.checks.catalogue_is_golden import CatalogueIsGolden
from opssight_migrate.checks.every_row_has_an_organization import EveryRowHasAnOrganization
from opssight_migrate.checks.foreign_keys_are_enforced import ForeignKeysAreEnforced
from opssight_migrate.checks.journal_is_unbroken import JournalIsUnbroken
from opssight_migrate.checks.json_texts_parse import JsonTextsParse
from opssight_migrate.checks.labels_are_published import LabelsArePublished
from opssight_migrate.checks.owners_and_grants_are_alike import OwnersAndGrantsAreAlike
from opssight_migrate.checks.permissions_are_kept import PermissionsAreKept
from opssight_migrate.checks.platform_answers import PlatformAnswers
from opssight_migrate.checks.queries_are_as_fast import QueriesAreAsFast
from opssight_migrate.checks.queries_find_rows_by_index import QueriesFindRowsByIndex
from opssight_migrate.checks.references_exist import ReferencesExist
from opssight_migrate.checks.required_columns_have_values import RequiredColumnsHaveValues
from opssight_migrate.checks.roles_match_assignments import RolesMatchAssignments
from opssight_migrate.checks.rows_are_as_before import RowsAreAsBefore
from opssight_migrate.checks.runs_left_audit_rows import RunsLeftAuditRows
from opssight_migrate.checks.sequences_are_ahead import SequencesAreAhead
from opssight_migrate.checks.series_policies_are_as_configured import (
    SeriesPoliciesAreAsConfigured,
)
from opssight_migrate.checks.server_has_room import ServerHasRoom
from opssight_migrate.checks.somebody_administers import SomebodyAdministers
from opssight_migrate.checks.system_names_are_unique import SystemNamesAreUnique
from opssight_migrate.checks.tenants_do_not_mix import TenantsDoNotMix
from opssight_migrate.checks.time_buckets_answer import TimeBucketsAnswer
from opssight_migrate.checks.time_series_are_hypertables import TimeSeriesAreHypertables
from opssight_migrate.checks.way_back_loses_nothing import WayBackLosesNothing

CHECKS: tuple[Check, ...] = (
    CatalogueIsGolden(),
    AdditionsChangeNothing(),
    OwnersAndGrantsAreAlike(),
    RowsAreAsBefore(),
    SequencesAreAhead(),
    RequiredColumnsHaveValues(),
    JsonTextsParse(),
    ReferencesExist(),
    ForeignKeysAreEnforced(),
    EveryRowHasAnOrganization(),
    TenantsDoNotMix(),
    RolesMatchAssignments(),
    AssignmentsHold(),
    PermissionsAreKept(),
    SomebodyAdministers(),
    SystemNamesAreUnique(),
    LabelsArePublished(),
    TimeSeriesAreHypertables(),
    SeriesPoliciesAreAsConfigured(),
    TimeBucketsAnswer(),
    AuditIsConfigured(),
    RunsLeftAuditRows(),
    JournalIsUnbroken(),
    AuditLogTakesRows(),
    QueriesFindRowsByIndex(),
    QueriesAreAsFast(),
    ServerHasRoom(),
    PlatformAnswers(),
    WayBackLosesNothing(),
)
