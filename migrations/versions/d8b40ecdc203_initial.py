"""The single-tenant OpsSight: 22 tables, 17 enum types.

Revision ID: d8b40ecdc203
Revises: (nothing)
"""

from opssight_migrate.postgres.chain import expanding, undoing
from opssight_migrate.postgres.ddl import Ddl
from opssight_migrate.postgres.new_table import tables_of

revision = "d8b40ecdc203"
down_revision = None

ENUMS = {
    "alertseverity": "LOW MEDIUM HIGH CRITICAL",
    "alertstatus": "ACTIVE ACKNOWLEDGED RESOLVED SUPPRESSED",
    "automationstatus": "PENDING RUNNING SUCCESS FAILED CANCELLED SKIPPED PARTIAL_SUCCESS",
    "automationtype": "PLAYBOOK ROLE TASK AD_HOC TOWER_JOB",
    "changestatus": "PLANNED APPLYING APPLIED FAILED CANCELLED DESTROYED DESTROYING",
    "changetype": "CREATE UPDATE DELETE REPLACE NO_CHANGE",
    "clusterstatus": "HEALTHY WARNING CRITICAL UNKNOWN OFFLINE",
    "deliverystatus": "PENDING SENT DELIVERED FAILED BOUNCED REJECTED",
    "notificationchannel": "EMAIL SLACK WEBHOOK SMS TEAMS DISCORD",
    "notificationfrequency": "IMMEDIATE HOURLY DAILY WEEKLY NEVER",
    "notificationtype": (
        "ALERT_CRITICAL ALERT_HIGH ALERT_MEDIUM ALERT_LOW PIPELINE_SUCCESS PIPELINE_FAILURE "
        "DEPLOYMENT_SUCCESS DEPLOYMENT_FAILURE INFRASTRUCTURE_CHANGE AUTOMATION_RUN "
        "TEAM_ACTIVITY SYSTEM_MAINTENANCE DIGEST_DAILY DIGEST_WEEKLY"
    ),
    "permissiontype": (
        "CREATE_USERS UPDATE_USERS DELETE_USERS VIEW_USERS CREATE_TEAMS UPDATE_TEAMS "
        "DELETE_TEAMS VIEW_TEAMS MANAGE_TEAM_MEMBERS CREATE_PROJECTS UPDATE_PROJECTS "
        "DELETE_PROJECTS VIEW_PROJECTS VIEW_INFRASTRUCTURE MANAGE_INFRASTRUCTURE "
        "DEPLOY_INFRASTRUCTURE VIEW_PIPELINES TRIGGER_PIPELINES MANAGE_PIPELINES "
        "VIEW_AUTOMATION TRIGGER_AUTOMATION MANAGE_AUTOMATION VIEW_ALERTS ACKNOWLEDGE_ALERTS "
        "RESOLVE_ALERTS MANAGE_ALERTS VIEW_COSTS MANAGE_COST_BUDGETS VIEW_ROLES MANAGE_ROLES "
        "VIEW_SYSTEM_LOGS MANAGE_SYSTEM_SETTINGS"
    ),
    "pipelinestatus": "PENDING RUNNING SUCCESS FAILED CANCELLED SKIPPED",
    "pipelinetype": "BUILD TEST DEPLOY RELEASE ROLLBACK SCHEDULED",
    "resourcetype": "COMPUTE NETWORK STORAGE DATABASE SECURITY IAM MONITORING OTHER",
    "systemrole": "SUPER_ADMIN ADMIN MANAGER ENGINEER VIEWER",
    "teamrole": "OWNER ADMIN MEMBER VIEWER",
}

TABLES = tables_of("""
CREATE TABLE permissions (
    id serial PRIMARY KEY, name permissiontype NOT NULL, display_name varchar NOT NULL,
    description text, category varchar NOT NULL, is_active boolean NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ix_permissions_id ON permissions (id);
CREATE UNIQUE INDEX ix_permissions_name ON permissions (name);

CREATE TABLE roles (
    id serial PRIMARY KEY, name systemrole NOT NULL, display_name varchar NOT NULL,
    description text, is_active boolean NOT NULL, is_default boolean NOT NULL,
    priority integer NOT NULL, created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ix_roles_id ON roles (id);
CREATE UNIQUE INDEX ix_roles_name ON roles (name);

CREATE TABLE role_permissions (
    role_id integer NOT NULL REFERENCES roles,
    permission_id integer NOT NULL REFERENCES permissions,
    created_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (role_id, permission_id)
);

CREATE TABLE users (
    id serial PRIMARY KEY, github_id varchar NOT NULL, github_username varchar NOT NULL,
    email varchar, full_name varchar, avatar_url varchar, bio text, company varchar,
    location varchar, blog varchar, is_active boolean NOT NULL, is_superuser boolean NOT NULL,
    role_id integer REFERENCES roles, github_access_token varchar, github_scope varchar,
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now(),
    last_login timestamptz
);
CREATE UNIQUE INDEX ix_users_email ON users (email);
CREATE UNIQUE INDEX ix_users_github_id ON users (github_id);
CREATE UNIQUE INDEX ix_users_github_username ON users (github_username);
CREATE INDEX ix_users_id ON users (id);

CREATE TABLE teams (
    id serial PRIMARY KEY, name varchar NOT NULL, display_name varchar, description text,
    slug varchar NOT NULL, is_active boolean NOT NULL, max_members integer NOT NULL,
    default_role teamrole NOT NULL, settings text, permissions text,
    created_by_user_id integer NOT NULL REFERENCES users,
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ix_teams_id ON teams (id);
CREATE UNIQUE INDEX ix_teams_name ON teams (name);
CREATE UNIQUE INDEX ix_teams_slug ON teams (slug);

CREATE TABLE projects (
    id serial PRIMARY KEY, name varchar NOT NULL, display_name varchar, description text,
    slug varchar NOT NULL, is_active boolean NOT NULL, is_public boolean NOT NULL,
    repository_url varchar, repository_provider varchar, default_branch varchar NOT NULL,
    settings text, environment_config text, notification_config text,
    team_id integer NOT NULL REFERENCES teams,
    created_by_user_id integer NOT NULL REFERENCES users,
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ix_projects_id ON projects (id);
CREATE UNIQUE INDEX ix_projects_name ON projects (name);
CREATE UNIQUE INDEX ix_projects_slug ON projects (slug);

CREATE TABLE automation_runs (
    id serial PRIMARY KEY, automation_id varchar NOT NULL, name varchar NOT NULL,
    automation_type automationtype NOT NULL, status automationstatus NOT NULL,
    playbook_name varchar, inventory_name varchar, started_at timestamptz,
    completed_at timestamptz, duration_seconds double precision, ansible_version varchar,
    python_version varchar, command_line text, working_directory varchar, total_hosts integer,
    successful_hosts integer, failed_hosts integer, unreachable_hosts integer,
    skipped_hosts integer, total_tasks integer, successful_tasks integer, failed_tasks integer,
    skipped_tasks integer, changed_tasks integer, host_results text, task_results text,
    play_results text, error_message text, log_output text, log_url varchar, extra_vars text,
    vault_password_file varchar, tags text, skip_tags text, repository_url varchar,
    repository_branch varchar, commit_sha varchar, playbook_path varchar, environment varchar,
    target_group varchar, dry_run boolean NOT NULL, check_mode boolean NOT NULL,
    setup_time_seconds double precision, execution_time_seconds double precision,
    teardown_time_seconds double precision, coverage_percentage double precision,
    automation_score double precision, triggered_by_user_id integer REFERENCES users,
    project_id integer REFERENCES projects, is_scheduled boolean NOT NULL,
    is_manual_trigger boolean NOT NULL, has_failures boolean NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX ix_automation_runs_automation_id ON automation_runs (automation_id);
CREATE INDEX ix_automation_runs_id ON automation_runs (id);
CREATE INDEX ix_automation_runs_name ON automation_runs (name);
CREATE INDEX ix_automation_runs_playbook_name ON automation_runs (playbook_name);

CREATE TABLE aws_accounts (
    id serial PRIMARY KEY, account_id varchar(12) NOT NULL, account_name varchar(255) NOT NULL,
    access_key_id varchar(255) NOT NULL, secret_access_key varchar(255) NOT NULL,
    region varchar(50) NOT NULL, is_active boolean NOT NULL,
    project_id integer REFERENCES projects, created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX ix_aws_accounts_account_id ON aws_accounts (account_id);
CREATE INDEX ix_aws_accounts_id ON aws_accounts (id);

CREATE TABLE aws_cost_anomalies (
    id serial PRIMARY KEY, aws_account_id integer NOT NULL REFERENCES aws_accounts,
    anomaly_type varchar(50) NOT NULL, detected_date date NOT NULL,
    severity varchar(20) NOT NULL, service_name varchar(255), region varchar(50),
    resource_identifier varchar(500), expected_cost numeric(12,4) NOT NULL,
    actual_cost numeric(12,4) NOT NULL, cost_variance numeric(12,4) NOT NULL,
    variance_percentage numeric(5,2) NOT NULL, detection_method varchar(100) NOT NULL,
    confidence_score numeric(3,2) NOT NULL, threshold_breached numeric(12,4),
    is_resolved boolean NOT NULL, resolution_notes text, resolved_at timestamp,
    resolved_by varchar(255), alert_sent boolean NOT NULL, alert_sent_at timestamp,
    raw_data json, created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ix_aws_cost_anomalies_detected_date ON aws_cost_anomalies (detected_date);
CREATE INDEX ix_aws_cost_anomalies_id ON aws_cost_anomalies (id);

CREATE TABLE aws_cost_budgets (
    id serial PRIMARY KEY, aws_account_id integer NOT NULL REFERENCES aws_accounts,
    name varchar(255) NOT NULL, budget_type varchar(50) NOT NULL, time_unit varchar(20) NOT NULL,
    budget_limit numeric(12,4) NOT NULL, currency varchar(3) NOT NULL, start_date date NOT NULL,
    end_date date, service_filters json, region_filters json, tag_filters json,
    alert_thresholds json NOT NULL, is_active boolean NOT NULL, created_at timestamp NOT NULL,
    updated_at timestamp NOT NULL
);
CREATE INDEX ix_aws_cost_budgets_id ON aws_cost_budgets (id);

CREATE TABLE aws_cost_data (
    id serial PRIMARY KEY, aws_account_id integer NOT NULL REFERENCES aws_accounts,
    start_date date NOT NULL, end_date date NOT NULL, granularity varchar(20) NOT NULL,
    service_name varchar(255), region varchar(50), usage_type varchar(255),
    operation varchar(255), linked_account_id varchar(12), instance_type varchar(100),
    unblended_cost numeric(12,4) NOT NULL, blended_cost numeric(12,4) NOT NULL,
    net_unblended_cost numeric(12,4) NOT NULL, net_blended_cost numeric(12,4) NOT NULL,
    amortized_cost numeric(12,4) NOT NULL, usage_quantity numeric(15,6), usage_unit varchar(50),
    currency varchar(3) NOT NULL, raw_data json, created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ix_aws_cost_data_end_date ON aws_cost_data (end_date);
CREATE INDEX ix_aws_cost_data_id ON aws_cost_data (id);
CREATE INDEX ix_aws_cost_data_region ON aws_cost_data (region);
CREATE INDEX ix_aws_cost_data_service_name ON aws_cost_data (service_name);
CREATE INDEX ix_aws_cost_data_start_date ON aws_cost_data (start_date);

CREATE TABLE aws_cost_forecasts (
    id serial PRIMARY KEY, aws_account_id integer NOT NULL REFERENCES aws_accounts,
    forecast_date date NOT NULL, forecast_type varchar(50) NOT NULL, service_name varchar(255),
    region varchar(50), predicted_cost numeric(12,4) NOT NULL,
    confidence_interval_lower numeric(12,4), confidence_interval_upper numeric(12,4),
    confidence_level numeric(3,2) NOT NULL, model_type varchar(100) NOT NULL,
    model_accuracy numeric(5,4), training_period_days integer NOT NULL,
    currency varchar(3) NOT NULL, created_at timestamp NOT NULL
);
CREATE INDEX ix_aws_cost_forecasts_forecast_date ON aws_cost_forecasts (forecast_date);
CREATE INDEX ix_aws_cost_forecasts_id ON aws_cost_forecasts (id);
CREATE INDEX ix_aws_cost_forecasts_service_name ON aws_cost_forecasts (service_name);

CREATE TABLE aws_cost_summaries (
    id serial PRIMARY KEY, aws_account_id integer NOT NULL REFERENCES aws_accounts,
    summary_date date NOT NULL, summary_type varchar(20) NOT NULL,
    total_cost numeric(12,4) NOT NULL, total_usage_cost numeric(12,4) NOT NULL,
    total_ri_cost numeric(12,4) NOT NULL, total_savings_plans_cost numeric(12,4) NOT NULL,
    top_services json, previous_period_cost numeric(12,4), cost_change_amount numeric(12,4),
    cost_change_percentage numeric(5,2), currency varchar(3) NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ix_aws_cost_summaries_id ON aws_cost_summaries (id);
CREATE INDEX ix_aws_cost_summaries_summary_date ON aws_cost_summaries (summary_date);

CREATE TABLE clusters (
    id serial PRIMARY KEY, cluster_id varchar NOT NULL, name varchar NOT NULL,
    display_name varchar, version varchar, status clusterstatus NOT NULL,
    health_score double precision, last_health_check timestamptz, provider varchar,
    region varchar, zone varchar, endpoint_url varchar, total_nodes integer, ready_nodes integer,
    not_ready_nodes integer, node_details text, total_pods integer, running_pods integer,
    pending_pods integer, failed_pods integer, total_cpu_cores double precision,
    allocatable_cpu_cores double precision, used_cpu_cores double precision,
    cpu_utilization_percent double precision, total_memory_gb double precision,
    allocatable_memory_gb double precision, used_memory_gb double precision,
    memory_utilization_percent double precision, total_storage_gb double precision,
    used_storage_gb double precision, storage_utilization_percent double precision,
    network_in_bytes double precision, network_out_bytes double precision,
    network_errors integer, total_namespaces integer, total_services integer,
    total_ingresses integer, total_deployments integer, total_statefulsets integer,
    total_daemonsets integer, config_data text, labels text, annotations text,
    monitoring_enabled boolean NOT NULL, prometheus_endpoint varchar,
    grafana_dashboard_url varchar, log_aggregation_url varchar,
    cpu_alert_threshold double precision NOT NULL,
    memory_alert_threshold double precision NOT NULL,
    storage_alert_threshold double precision NOT NULL, project_id integer REFERENCES projects,
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now(),
    last_sync timestamptz
);
CREATE UNIQUE INDEX ix_clusters_cluster_id ON clusters (cluster_id);
CREATE INDEX ix_clusters_id ON clusters (id);
CREATE INDEX ix_clusters_name ON clusters (name);

CREATE TABLE infrastructure_changes (
    id serial PRIMARY KEY, change_id varchar NOT NULL, name varchar NOT NULL,
    change_type changetype NOT NULL, status changestatus NOT NULL, terraform_version varchar,
    workspace varchar, resource_type resourcetype, resource_name varchar NOT NULL,
    resource_address varchar NOT NULL, provider_name varchar, plan_summary text, plan_json text,
    diff_output text, planned_at timestamptz, started_at timestamptz, completed_at timestamptz,
    duration_seconds double precision, environment varchar, region varchar,
    availability_zone varchar, repository_url varchar, repository_branch varchar,
    commit_sha varchar, terraform_config_path varchar, resource_config text,
    previous_config text, variables text, estimated_cost_change double precision,
    risk_level varchar, impact_scope varchar, requires_approval boolean NOT NULL,
    approved_by_user_id integer REFERENCES users, approved_at timestamptz, approval_comment text,
    resources_to_add integer NOT NULL, resources_to_change integer NOT NULL,
    resources_to_destroy integer NOT NULL, error_message text, apply_log text,
    state_file_url varchar, plan_file_url varchar, compliance_tags text, resource_tags text,
    triggered_by_user_id integer REFERENCES users, project_id integer REFERENCES projects,
    is_automated boolean NOT NULL, is_rollback boolean NOT NULL, is_dry_run boolean NOT NULL,
    affects_production boolean NOT NULL, created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX ix_infrastructure_changes_change_id ON infrastructure_changes (change_id);
CREATE INDEX ix_infrastructure_changes_commit_sha ON infrastructure_changes (commit_sha);
CREATE INDEX ix_infrastructure_changes_environment ON infrastructure_changes (environment);
CREATE INDEX ix_infrastructure_changes_id ON infrastructure_changes (id);
CREATE INDEX ix_infrastructure_changes_name ON infrastructure_changes (name);
CREATE INDEX ix_infrastructure_changes_resource_name ON infrastructure_changes (resource_name);
CREATE INDEX ix_infrastructure_changes_workspace ON infrastructure_changes (workspace);

CREATE TABLE notification_logs (
    id serial PRIMARY KEY, notification_id varchar NOT NULL, digest_id varchar,
    user_id integer NOT NULL REFERENCES users, channel varchar NOT NULL,
    recipient_address varchar NOT NULL, notification_type varchar NOT NULL, subject varchar,
    content text NOT NULL, template_name varchar, source_type varchar, source_id integer,
    team_id integer REFERENCES teams, project_id integer REFERENCES projects,
    status deliverystatus NOT NULL, delivery_attempts integer NOT NULL,
    last_delivery_attempt timestamptz, delivered_at timestamptz, error_message text,
    error_details text, provider_message_id varchar, provider_response text,
    notification_metadata text, priority varchar, deduplication_key varchar,
    scheduled_at timestamptz, created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ix_notification_logs_channel ON notification_logs (channel);
CREATE INDEX ix_notification_logs_deduplication_key ON notification_logs (deduplication_key);
CREATE INDEX ix_notification_logs_digest_id ON notification_logs (digest_id);
CREATE INDEX ix_notification_logs_id ON notification_logs (id);
CREATE UNIQUE INDEX ix_notification_logs_notification_id ON notification_logs (notification_id);
CREATE INDEX ix_notification_logs_notification_type ON notification_logs (notification_type);
CREATE INDEX ix_notification_logs_user_id ON notification_logs (user_id);

CREATE TABLE notification_preferences (
    id serial PRIMARY KEY, user_id integer NOT NULL REFERENCES users,
    notification_type notificationtype NOT NULL, channel notificationchannel NOT NULL,
    frequency notificationfrequency NOT NULL, is_enabled boolean NOT NULL, channel_settings text,
    team_id integer REFERENCES teams, project_id integer REFERENCES projects,
    quiet_hours_start varchar, quiet_hours_end varchar, timezone varchar,
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ix_notification_preferences_id ON notification_preferences (id);
CREATE INDEX ix_notification_preferences_notification_type
    ON notification_preferences (notification_type);
CREATE INDEX ix_notification_preferences_user_id ON notification_preferences (user_id);

CREATE TABLE pipelines (
    id serial PRIMARY KEY, pipeline_id varchar NOT NULL, name varchar NOT NULL,
    pipeline_type pipelinetype NOT NULL, status pipelinestatus NOT NULL, branch varchar NOT NULL,
    commit_sha varchar NOT NULL, commit_message text, started_at timestamptz,
    completed_at timestamptz, duration_seconds double precision, build_number integer,
    workflow_name varchar, job_name varchar, repository_url varchar NOT NULL,
    repository_name varchar NOT NULL, repository_owner varchar NOT NULL, error_message text,
    log_url varchar, artifacts_url varchar, environment varchar, config_data text, labels text,
    triggered_by_user_id integer REFERENCES users, project_id integer REFERENCES projects,
    queue_time_seconds double precision, setup_time_seconds double precision,
    execution_time_seconds double precision, teardown_time_seconds double precision,
    cpu_usage_percent double precision, memory_usage_mb double precision,
    storage_usage_mb double precision, is_production_deploy boolean NOT NULL,
    is_rollback boolean NOT NULL, is_scheduled boolean NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ix_pipelines_branch ON pipelines (branch);
CREATE INDEX ix_pipelines_commit_sha ON pipelines (commit_sha);
CREATE INDEX ix_pipelines_id ON pipelines (id);
CREATE INDEX ix_pipelines_name ON pipelines (name);
CREATE UNIQUE INDEX ix_pipelines_pipeline_id ON pipelines (pipeline_id);
CREATE INDEX ix_pipelines_repository_name ON pipelines (repository_name);
CREATE INDEX ix_pipelines_repository_owner ON pipelines (repository_owner);

CREATE TABLE alerts (
    id serial PRIMARY KEY, alert_id varchar NOT NULL, title varchar NOT NULL,
    message text NOT NULL, severity alertseverity NOT NULL, status alertstatus NOT NULL,
    source varchar NOT NULL, category varchar, channels text, context_data text, labels text,
    annotations text, pipeline_id integer REFERENCES pipelines,
    cluster_id integer REFERENCES clusters, automation_run_id integer REFERENCES automation_runs,
    infrastructure_change_id integer REFERENCES infrastructure_changes,
    project_id integer REFERENCES projects, acknowledged_by_user_id integer REFERENCES users,
    acknowledged_at timestamptz, resolved_by_user_id integer REFERENCES users,
    resolved_at timestamptz, resolution_comment text,
    triggered_at timestamptz NOT NULL DEFAULT now(),
    created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX ix_alerts_alert_id ON alerts (alert_id);
CREATE INDEX ix_alerts_category ON alerts (category);
CREATE INDEX ix_alerts_id ON alerts (id);
CREATE INDEX ix_alerts_source ON alerts (source);
CREATE INDEX ix_alerts_title ON alerts (title);

CREATE TABLE pipeline_runs (
    id serial PRIMARY KEY, pipeline_id integer NOT NULL REFERENCES pipelines,
    external_id varchar, run_number integer, status pipelinestatus NOT NULL,
    branch varchar NOT NULL, commit_sha varchar NOT NULL, commit_message text,
    started_at timestamptz, completed_at timestamptz, duration_seconds double precision,
    workflow_name varchar, job_name varchar, environment varchar, error_message text,
    log_url varchar, artifacts_url varchar, test_results_url varchar,
    queue_time_seconds double precision, setup_time_seconds double precision,
    execution_time_seconds double precision, teardown_time_seconds double precision,
    cpu_usage_percent double precision, memory_usage_mb double precision,
    storage_usage_mb double precision, config_data text, labels text,
    triggered_by_user_id integer REFERENCES users, created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ix_pipeline_runs_branch ON pipeline_runs (branch);
CREATE INDEX ix_pipeline_runs_commit_sha ON pipeline_runs (commit_sha);
CREATE INDEX ix_pipeline_runs_external_id ON pipeline_runs (external_id);
CREATE INDEX ix_pipeline_runs_id ON pipeline_runs (id);
CREATE INDEX ix_pipeline_runs_pipeline_id ON pipeline_runs (pipeline_id);

CREATE TABLE team_memberships (
    team_id integer NOT NULL REFERENCES teams, user_id integer NOT NULL REFERENCES users,
    role teamrole NOT NULL, joined_at timestamptz NOT NULL DEFAULT now(),
    invited_by_user_id integer REFERENCES users, PRIMARY KEY (team_id, user_id)
);

CREATE TABLE user_teams (
    user_id integer NOT NULL REFERENCES users, team_id integer NOT NULL REFERENCES teams,
    role teamrole NOT NULL, is_active boolean NOT NULL,
    joined_at timestamptz NOT NULL DEFAULT now(), invited_by_user_id integer REFERENCES users,
    invited_at timestamptz, created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (user_id, team_id)
);
""")


def upgrade() -> None:
    """Make what is missing of the 22 tables; on an empty database in one transaction."""
    with expanding() as ddl:
        ddl.expand(_expand)


def _expand(ddl: Ddl) -> None:
    for name, labels in ENUMS.items():
        ddl.enum(name, labels.split())
    for table in TABLES:
        ddl.table(table)


def downgrade() -> None:
    """Take the tables and their types away; refused while one of them has a row."""
    with undoing(archives=False) as ddl:
        ddl.refuse(tables=[table.name for table in TABLES], enums=ENUMS)
        for table in reversed(TABLES):
            ddl.drop_table(table.name)
        for name in ENUMS:
            ddl.drop_enum(name)
