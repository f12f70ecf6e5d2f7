"""Time-series: metrics, log entries, events, summaries and thresholds.

Revision ID: b521a10e8182
Revises: 85832f9f86ce
"""

from opssight_migrate.postgres.chain import expanding, undoing
from opssight_migrate.postgres.ddl import Ddl
from opssight_migrate.postgres.new_table import tables_of

revision = "b521a10e8182"
down_revision = "85832f9f86ce"

TABLES = tables_of("""
CREATE TABLE events (
    id serial PRIMARY KEY, organization_id integer NOT NULL REFERENCES organizations,
    "timestamp" timestamptz NOT NULL, end_timestamp timestamptz, event_type varchar(50) NOT NULL,
    event_name varchar(255) NOT NULL, event_id varchar(128), title varchar(500) NOT NULL,
    description text, severity varchar(20) NOT NULL, service_name varchar(255),
    environment varchar(50), cluster_id integer REFERENCES clusters,
    project_id integer REFERENCES projects, source varchar(100), source_url varchar(1000),
    triggered_by integer REFERENCES users, status varchar(50) NOT NULL, resolved_at timestamptz,
    resolved_by integer REFERENCES users, resolution_notes text, affected_services jsonb,
    impact_level varchar(20), downtime_duration integer, event_data jsonb, labels jsonb,
    tags jsonb, parent_event_id integer REFERENCES events, correlation_id varchar(128),
    event_metadata jsonb, created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL,
    CONSTRAINT events_event_id_key UNIQUE (event_id)
);
CREATE INDEX ix_events_cluster_time ON events (cluster_id, "timestamp");
CREATE INDEX ix_events_correlation ON events (correlation_id);
CREATE INDEX ix_events_correlation_id ON events (correlation_id);
CREATE INDEX ix_events_environment ON events (environment);
CREATE INDEX ix_events_event_data_gin ON events USING gin (event_data jsonb_path_ops);
CREATE INDEX ix_events_event_name ON events (event_name);
CREATE INDEX ix_events_event_type ON events (event_type);
CREATE INDEX ix_events_labels_gin ON events USING gin (labels jsonb_path_ops);
CREATE INDEX ix_events_org_time_type ON events (organization_id, "timestamp", event_type);
CREATE INDEX ix_events_organization_id ON events (organization_id);
CREATE INDEX ix_events_project_time ON events (project_id, "timestamp");
CREATE INDEX ix_events_service_name ON events (service_name);
CREATE INDEX ix_events_service_time ON events (service_name, "timestamp");
CREATE INDEX ix_events_severity_time ON events (severity, "timestamp");
CREATE INDEX ix_events_status_time ON events (status, "timestamp");
CREATE INDEX ix_events_timestamp ON events ("timestamp");

CREATE TABLE log_entries (
    id serial PRIMARY KEY, organization_id integer NOT NULL REFERENCES organizations,
    "timestamp" timestamptz NOT NULL, log_level varchar(10) NOT NULL,
    source varchar(50) NOT NULL, source_id varchar(255), message text NOT NULL, raw_log text,
    service_name varchar(255), environment varchar(50), cluster_id integer REFERENCES clusters,
    project_id integer REFERENCES projects, application_name varchar(255), version varchar(100),
    instance_id varchar(255), trace_id varchar(128), span_id varchar(64),
    request_id varchar(128), user_id integer REFERENCES users, host varchar(255),
    container_name varchar(255), pod_name varchar(255), namespace varchar(255), labels jsonb,
    tags jsonb, structured_data jsonb, error_code varchar(50), stack_trace text,
    additional_metadata jsonb, parsed_at timestamptz, enriched_at timestamptz,
    created_at timestamptz NOT NULL
);
CREATE INDEX ix_log_entries_app_time ON log_entries (application_name, "timestamp");
CREATE INDEX ix_log_entries_application_name ON log_entries (application_name);
CREATE INDEX ix_log_entries_container_time ON log_entries (container_name, "timestamp");
CREATE INDEX ix_log_entries_environment ON log_entries (environment);
CREATE INDEX ix_log_entries_host ON log_entries (host);
CREATE INDEX ix_log_entries_host_time ON log_entries (host, "timestamp");
CREATE INDEX ix_log_entries_labels_gin ON log_entries USING gin (labels jsonb_path_ops);
CREATE INDEX ix_log_entries_log_level ON log_entries (log_level);
CREATE INDEX ix_log_entries_org_time_level ON log_entries (organization_id, "timestamp", log_level);
CREATE INDEX ix_log_entries_organization_id ON log_entries (organization_id);
CREATE INDEX ix_log_entries_pod_time ON log_entries (pod_name, "timestamp");
CREATE INDEX ix_log_entries_request_id ON log_entries (request_id);
CREATE INDEX ix_log_entries_service_name ON log_entries (service_name);
CREATE INDEX ix_log_entries_service_time ON log_entries (service_name, "timestamp");
CREATE INDEX ix_log_entries_source ON log_entries (source);
CREATE INDEX ix_log_entries_source_id ON log_entries (source_id);
CREATE INDEX ix_log_entries_source_time ON log_entries (source, source_id, "timestamp");
CREATE INDEX ix_log_entries_structured_gin
    ON log_entries USING gin (structured_data jsonb_path_ops);
CREATE INDEX ix_log_entries_timestamp ON log_entries ("timestamp");
CREATE INDEX ix_log_entries_trace_id ON log_entries (trace_id);

CREATE TABLE metric_summaries (
    id serial PRIMARY KEY, organization_id integer NOT NULL REFERENCES organizations,
    time_bucket timestamptz NOT NULL, resolution varchar(20) NOT NULL,
    metric_name varchar(255) NOT NULL, metric_type varchar(20) NOT NULL,
    source varchar(50) NOT NULL, service_name varchar(255), environment varchar(50),
    cluster_id integer REFERENCES clusters, project_id integer REFERENCES projects,
    avg_value double precision, min_value double precision, max_value double precision,
    sum_value double precision, count_value integer NOT NULL, stddev_value double precision,
    percentile_50 double precision, percentile_95 double precision,
    percentile_99 double precision, data_points integer NOT NULL,
    interpolated_points integer NOT NULL, missing_points integer NOT NULL,
    created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL
);
CREATE INDEX ix_metric_summaries_cluster_bucket ON metric_summaries (cluster_id, time_bucket);
CREATE INDEX ix_metric_summaries_environment ON metric_summaries (environment);
CREATE INDEX ix_metric_summaries_metric_name ON metric_summaries (metric_name);
CREATE INDEX ix_metric_summaries_name_bucket ON metric_summaries (metric_name, time_bucket);
CREATE INDEX ix_metric_summaries_org_bucket_resolution
    ON metric_summaries (organization_id, time_bucket, resolution);
CREATE INDEX ix_metric_summaries_organization_id ON metric_summaries (organization_id);
CREATE INDEX ix_metric_summaries_project_bucket ON metric_summaries (project_id, time_bucket);
CREATE INDEX ix_metric_summaries_service_bucket ON metric_summaries (service_name, time_bucket);
CREATE INDEX ix_metric_summaries_service_name ON metric_summaries (service_name);
CREATE INDEX ix_metric_summaries_time_bucket ON metric_summaries (time_bucket);

CREATE TABLE metric_thresholds (
    id serial PRIMARY KEY, organization_id integer NOT NULL REFERENCES organizations,
    metric_name varchar(255) NOT NULL, service_name varchar(255), environment varchar(50),
    cluster_id integer REFERENCES clusters, project_id integer REFERENCES projects,
    warning_min double precision, warning_max double precision, critical_min double precision,
    critical_max double precision, evaluation_window varchar(50) NOT NULL,
    consecutive_violations integer NOT NULL, is_active boolean NOT NULL, description text,
    threshold_metadata jsonb, created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL,
    created_by integer REFERENCES users
);
CREATE INDEX ix_metric_thresholds_active ON metric_thresholds (is_active);
CREATE INDEX ix_metric_thresholds_environment ON metric_thresholds (environment);
CREATE INDEX ix_metric_thresholds_metric_name ON metric_thresholds (metric_name);
CREATE INDEX ix_metric_thresholds_org_metric ON metric_thresholds (organization_id, metric_name);
CREATE INDEX ix_metric_thresholds_organization_id ON metric_thresholds (organization_id);
CREATE INDEX ix_metric_thresholds_service_metric ON metric_thresholds (service_name, metric_name);
CREATE INDEX ix_metric_thresholds_service_name ON metric_thresholds (service_name);

CREATE TABLE metrics (
    id serial PRIMARY KEY, organization_id integer NOT NULL REFERENCES organizations,
    "timestamp" timestamptz NOT NULL, metric_name varchar(255) NOT NULL,
    metric_type varchar(20) NOT NULL, source varchar(50) NOT NULL, source_id varchar(255),
    value double precision NOT NULL, unit varchar(50), service_name varchar(255),
    environment varchar(50), cluster_id integer REFERENCES clusters,
    project_id integer REFERENCES projects, labels jsonb, tags jsonb, additional_metadata jsonb,
    is_interpolated boolean NOT NULL, confidence_score double precision,
    created_at timestamptz NOT NULL, updated_at timestamptz NOT NULL
);
CREATE INDEX ix_metrics_cluster_time ON metrics (cluster_id, "timestamp");
CREATE INDEX ix_metrics_environment ON metrics (environment);
CREATE INDEX ix_metrics_labels_gin ON metrics USING gin (labels jsonb_path_ops);
CREATE INDEX ix_metrics_metric_name ON metrics (metric_name);
CREATE INDEX ix_metrics_org_time_name ON metrics (organization_id, "timestamp", metric_name);
CREATE INDEX ix_metrics_organization_id ON metrics (organization_id);
CREATE INDEX ix_metrics_project_time ON metrics (project_id, "timestamp");
CREATE INDEX ix_metrics_service_env_time ON metrics (service_name, environment, "timestamp");
CREATE INDEX ix_metrics_service_name ON metrics (service_name);
CREATE INDEX ix_metrics_source_id ON metrics (source_id);
CREATE INDEX ix_metrics_source_time ON metrics (source, source_id, "timestamp");
CREATE INDEX ix_metrics_tags_gin ON metrics USING gin (tags jsonb_path_ops);
CREATE INDEX ix_metrics_timestamp ON metrics ("timestamp");
""")


def upgrade() -> None:
    """Make the five tables, each with its indexes in one short transaction."""
    with expanding() as ddl:
        ddl.expand(_expand)


def _expand(ddl: Ddl) -> None:
    for table in TABLES:
        ddl.table(table)


def downgrade() -> None:
    """Take the five tables away, to the archive; refused with a row and without an archive."""
    with undoing() as ddl:
        ddl.refuse(tables=[table.name for table in TABLES])
        for table in reversed(TABLES):
            ddl.drop_table(table.name)
