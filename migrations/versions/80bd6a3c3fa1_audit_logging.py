"""Audit logging: audit_logs and audit_configurations with their two enum types.

Revision ID: 80bd6a3c3fa1
Revises: b521a10e8182
"""

from opssight_migrate.postgres.chain import expanding, undoing
from opssight_migrate.postgres.ddl import Ddl
from opssight_migrate.postgres.new_table import tables_of

revision = "80bd6a3c3fa1"
down_revision = "b521a10e8182"

ENUMS = {
    "auditoperation": "INSERT UPDATE DELETE SELECT LOGIN LOGOUT PERMISSION_CHANGE EXPORT IMPORT",
    "auditseverity": "LOW MEDIUM HIGH CRITICAL",
}

TABLES = tables_of("""
CREATE TABLE audit_configurations (
    id serial PRIMARY KEY, organization_id integer REFERENCES organizations,
    table_name varchar(100) NOT NULL, operation auditoperation NOT NULL,
    is_enabled boolean NOT NULL, include_old_values boolean NOT NULL,
    include_new_values boolean NOT NULL, excluded_fields jsonb, sensitive_fields jsonb,
    required_fields jsonb, retention_days integer, severity_override auditseverity,
    category_override varchar(50), created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL, created_by integer REFERENCES users
);
CREATE INDEX ix_audit_config_lookup ON audit_configurations (table_name, operation);
CREATE UNIQUE INDEX ix_audit_config_unique
    ON audit_configurations (organization_id, table_name, operation);
CREATE INDEX ix_audit_configurations_id ON audit_configurations (id);
CREATE INDEX ix_audit_configurations_operation ON audit_configurations (operation);
CREATE INDEX ix_audit_configurations_organization_id ON audit_configurations (organization_id);
CREATE INDEX ix_audit_configurations_table_name ON audit_configurations (table_name);

CREATE TABLE audit_logs (
    id serial PRIMARY KEY, audit_id uuid NOT NULL,
    organization_id integer REFERENCES organizations, operation auditoperation NOT NULL,
    table_name varchar(100) NOT NULL, record_id varchar(50), "timestamp" timestamptz NOT NULL,
    user_id integer REFERENCES users, session_id varchar(128), ip_address varchar(45),
    user_agent text, old_values jsonb, new_values jsonb, changed_fields jsonb,
    severity auditseverity NOT NULL, category varchar(50), description text,
    additional_context jsonb, request_id varchar(128), correlation_id varchar(128),
    api_endpoint varchar(200), http_method varchar(10), duration_ms integer, error_message text,
    stack_trace text, sensitivity_level varchar(20), retention_until timestamptz
);
CREATE UNIQUE INDEX ix_audit_logs_audit_id ON audit_logs (audit_id);
CREATE INDEX ix_audit_logs_category ON audit_logs (category);
CREATE INDEX ix_audit_logs_context_gin ON audit_logs USING gin (additional_context jsonb_path_ops);
CREATE INDEX ix_audit_logs_correlation ON audit_logs (correlation_id, "timestamp");
CREATE INDEX ix_audit_logs_correlation_id ON audit_logs (correlation_id);
CREATE INDEX ix_audit_logs_id ON audit_logs (id);
CREATE INDEX ix_audit_logs_new_values_gin ON audit_logs USING gin (new_values jsonb_path_ops);
CREATE INDEX ix_audit_logs_old_values_gin ON audit_logs USING gin (old_values jsonb_path_ops);
CREATE INDEX ix_audit_logs_operation ON audit_logs (operation);
CREATE INDEX ix_audit_logs_operation_time ON audit_logs (operation, "timestamp");
CREATE INDEX ix_audit_logs_org_time ON audit_logs (organization_id, "timestamp");
CREATE INDEX ix_audit_logs_organization_id ON audit_logs (organization_id);
CREATE INDEX ix_audit_logs_record_id ON audit_logs (record_id);
CREATE INDEX ix_audit_logs_record_lookup ON audit_logs (table_name, record_id);
CREATE INDEX ix_audit_logs_request_id ON audit_logs (request_id);
CREATE INDEX ix_audit_logs_session_id ON audit_logs (session_id);
CREATE INDEX ix_audit_logs_session_tracking ON audit_logs (session_id, "timestamp");
CREATE INDEX ix_audit_logs_severity ON audit_logs (severity);
CREATE INDEX ix_audit_logs_severity_time ON audit_logs (severity, "timestamp");
CREATE INDEX ix_audit_logs_table_name ON audit_logs (table_name);
CREATE INDEX ix_audit_logs_table_time ON audit_logs (table_name, "timestamp");
CREATE INDEX ix_audit_logs_timestamp ON audit_logs ("timestamp");
CREATE INDEX ix_audit_logs_user_id ON audit_logs (user_id);
CREATE INDEX ix_audit_logs_user_time ON audit_logs (user_id, "timestamp");
""")


def upgrade() -> None:
    """Make the two types and the two tables."""
    with expanding() as ddl:
        ddl.expand(_expand)


def _expand(ddl: Ddl) -> None:
    for name, labels in ENUMS.items():
        ddl.enum(name, labels.split())
    for table in TABLES:
        ddl.table(table)


def downgrade() -> None:
    """Take tables and types away, to the archive; refused with a row and without an archive."""
    with undoing() as ddl:
        ddl.refuse(tables=[table.name for table in TABLES], enums=ENUMS)
        for table in reversed(TABLES):
            ddl.drop_table(table.name)
        for name in ENUMS:
            ddl.drop_enum(name)
