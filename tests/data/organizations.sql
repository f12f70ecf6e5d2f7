-- Two more organizations beside the default one, each with people and things of its own, as the
-- new release would have made them: ids 501 and 502, their rows from id * 1000 on.
INSERT INTO organizations (id, name, slug, display_name, timezone, currency, date_format, is_active,
    is_verified, subscription_tier, max_users, max_projects, max_clusters, storage_limit_gb)
SELECT o, 'Org ' || o, 'org-' || o, '<script>alert(' || o || ')</script> [red]', 'UTC', 'USD',
       'YYYY-MM-DD', true, true, 'pro', 100, 100, 100, 100
  FROM unnest(ARRAY[501, 502]) AS o;

INSERT INTO users (id, github_id, github_username, email, full_name, is_active, is_superuser,
    organization_id, role_id)
SELECT o * 1000 + n, 'g' || o || '-' || n, 'login-' || o || '-' || n,
       'user' || n || '@org' || o || '.example', 'User ' || n, true, false, o,
       (SELECT id FROM roles WHERE name::text = (ARRAY['MANAGER', 'ENGINEER', 'VIEWER'])[1 + n % 3]
           AND organization_id IS NULL)
  FROM unnest(ARRAY[501, 502]) AS o, generate_series(0, 39) AS n;
INSERT INTO user_roles (user_id, role_id, organization_id, is_active)
SELECT id, role_id, organization_id, true FROM users WHERE organization_id IN (501, 502);
-- One guest: at home in 501, assigned to 502 as well, where it has made a project.
INSERT INTO user_roles (user_id, role_id, organization_id, is_active, expires_at)
SELECT 501001, id, 502, true, now() + interval '1 year' FROM roles WHERE name::text = 'VIEWER';

INSERT INTO teams (id, name, slug, is_active, max_members, default_role, created_by_user_id,
    organization_id)
SELECT o * 1000 + n, 'team ' || o || ' ' || n, 'team-' || o || '-' || n, true, 50, 'MEMBER',
       o * 1000 + n, o
  FROM unnest(ARRAY[501, 502]) AS o, generate_series(0, 4) AS n;
INSERT INTO team_memberships (team_id, user_id, role)
SELECT o * 1000 + n % 5, o * 1000 + n, 'MEMBER'
  FROM unnest(ARRAY[501, 502]) AS o, generate_series(0, 39) AS n;
INSERT INTO projects (id, name, slug, is_active, is_public, default_branch, team_id,
    created_by_user_id, organization_id)
SELECT o * 1000 + n, 'project ' || o || ' ' || n, 'p-' || o || '-' || n, true, false, 'main',
       o * 1000 + n % 5, o * 1000 + n, o
  FROM unnest(ARRAY[501, 502]) AS o, generate_series(0, 9) AS n;
UPDATE projects SET created_by_user_id = 501001 WHERE id = 502003;
INSERT INTO clusters (id, cluster_id, name, status, monitoring_enabled, cpu_alert_threshold,
    memory_alert_threshold, storage_alert_threshold, organization_id, project_id)
SELECT o * 1000 + n, 'c-' || o || '-' || n, 'c', 'HEALTHY', true, 80, 80, 80, o, o * 1000 + n
  FROM unnest(ARRAY[501, 502]) AS o, generate_series(0, 4) AS n;
INSERT INTO aws_accounts (id, account_id, account_name, access_key_id, secret_access_key, region,
    is_active, organization_id, project_id)
SELECT o * 1000 + n, 'a-' || o || '-' || n, 'a', 'key', 'secret', 'eu-west-1', true, o, o * 1000 + n
  FROM unnest(ARRAY[501, 502]) AS o, generate_series(0, 2) AS n;
INSERT INTO pipelines (id, pipeline_id, name, pipeline_type, status, branch, commit_sha,
    repository_url, repository_name, repository_owner, is_production_deploy, is_rollback,
    is_scheduled, project_id, triggered_by_user_id)
SELECT o * 1000 + n, 'pl-' || o || '-' || n, 'build', 'BUILD', 'SUCCESS', 'main', 'abc', 'u', 'r',
       'o', false, false, false, o * 1000 + n % 10, o * 1000 + n
  FROM unnest(ARRAY[501, 502]) AS o, generate_series(0, 19) AS n;
INSERT INTO pipeline_runs (id, pipeline_id, status, branch, commit_sha, triggered_by_user_id)
SELECT o * 1000 + n, o * 1000 + n % 20, 'SUCCESS', 'main', 'abc', o * 1000 + n % 40
  FROM unnest(ARRAY[501, 502]) AS o, generate_series(0, 99) AS n;
INSERT INTO alerts (id, alert_id, title, message, severity, status, source, project_id,
    acknowledged_by_user_id)
SELECT o * 1000 + n, 'al-' || o || '-' || n, 'down', 'it is', 'HIGH', 'ACTIVE', 'probe',
       o * 1000 + n % 10, o * 1000 + n
  FROM unnest(ARRAY[501, 502]) AS o, generate_series(0, 29) AS n;

INSERT INTO metrics (id, organization_id, timestamp, metric_name, metric_type, source, value,
    is_interpolated, created_at, updated_at, project_id, cluster_id)
SELECT o * 1000 + n, o, now() - n * interval '1 minute', 'cpu', 'gauge', 'custom', n, false, now(),
       now(), o * 1000 + n % 10, o * 1000 + n % 5
  FROM unnest(ARRAY[501, 502]) AS o, generate_series(0, 299) AS n;
INSERT INTO log_entries (id, organization_id, timestamp, log_level, source, message, created_at,
    project_id, user_id)
SELECT o * 1000 + n, o, now(), 'info', 'application', 'line ' || n, now(), o * 1000 + n % 10,
       o * 1000 + n % 40
  FROM unnest(ARRAY[501, 502]) AS o, generate_series(0, 299) AS n;
INSERT INTO events (id, organization_id, timestamp, event_type, event_name, title, severity, status,
    created_at, updated_at, project_id, triggered_by, parent_event_id)
SELECT o * 1000 + n, o, now(), 'custom', 'deploy', 'deployed', 'info', 'open', now(), now(),
       o * 1000 + n % 10, o * 1000 + n % 40, CASE WHEN n > 0 THEN o * 1000 END
  FROM unnest(ARRAY[501, 502]) AS o, generate_series(0, 49) AS n;

INSERT INTO audit_configurations (organization_id, table_name, operation, is_enabled,
    include_old_values, include_new_values, created_at, updated_at)
SELECT DISTINCT o, c.table_name, c.operation, true, true, true, now(), now()
  FROM unnest(ARRAY[501, 502]) AS o, audit_configurations AS c;

SELECT setval(pg_get_serial_sequence('public.' || t, 'id'), 503000)
  FROM unnest(ARRAY['users', 'teams', 'projects', 'clusters', 'aws_accounts', 'pipelines',
       'pipeline_runs', 'alerts', 'metrics', 'log_entries', 'events', 'organizations']) AS t;
