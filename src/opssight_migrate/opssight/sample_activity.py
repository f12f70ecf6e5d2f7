"""SQL of the sample: clusters, accounts and costs, pipelines, runs, alerts, notifications."""

from __future__ import annotations

CLUSTERS = """
INSERT INTO clusters (id, cluster_id, name, display_name, version, status, health_score,
       last_health_check, provider, region, total_nodes, ready_nodes, node_details,
       total_cpu_cores, cpu_utilization_percent, config_data, labels, monitoring_enabled,
       cpu_alert_threshold, memory_alert_threshold, storage_alert_threshold, project_id,
       created_at, updated_at, last_sync)
SELECT 10 + 4 * n, 'cluster-' || n || '-' || left(md5(n::text), 6),
       coalesce((ARRAY['[/red]', 'prod', 'prod'])[n], 'cluster ' || n), 'Cluster ' || n,
       '1.' || 20 + n %% 12, (enum_range(NULL::clusterstatus))[1 + n %% 5],
       coalesce((ARRAY['NaN', 'Infinity', '-Infinity', '-0']::float8[])[n],
         n %% 100 / 3.0::float8),
       timestamptz '2026-06-01 00:00:00+00' + n * interval '1 minute',
       (ARRAY['aws', 'gcp', 'azure'])[1 + n %% 3], 'eu-west-' || n %% 3, n %% 40, n %% 38,
       CASE n WHEN 1 THEN '{broken' WHEN 2 THEN 'None' ELSE '{"nodes": []}' END,
       n %% 64 * 0.5::float8, n %% 97 * 1.1::float8, '{}', '{"env":"x","env":"y"}', n %% 5 > 0,
       80, 85, 90, CASE WHEN n %% 4 <> 1 THEN 50 + 5 * (1 + n * 13 %% %(projects)s) END,
       timestamptz '2026-01-05 00:00:00+00' + n * interval '1 hour',
       timestamptz '2026-02-05 00:00:00+00' + n * interval '1 hour', NULL
  FROM generate_series(1, %(clusters)s) AS n
"""

AWS_ACCOUNTS = """
INSERT INTO aws_accounts (id, account_id, account_name, access_key_id, secret_access_key, region,
       is_active, project_id, created_at, updated_at)
SELECT 5 + 2 * n, lpad(n::text, 12, '0'),
       CASE n WHEN 1 THEN '[bold]main[/bold]' ELSE 'account ' || n END,
       'AKIAEXAMPLE-not-a-secret-' || n, 'example-not-a-secret-' || md5('key' || n),
       'us-east-' || 1 + n %% 2, n %% 9 <> 4,
       CASE WHEN n %% 3 <> 1 THEN 50 + 5 * (1 + n * 11 %% %(projects)s) END,
       timestamptz '2026-01-06 00:00:00+00' + n * interval '1 hour',
       timestamptz '2026-02-06 00:00:00+00' + n * interval '1 hour'
  FROM generate_series(1, %(aws_accounts)s) AS n
"""

PIPELINES = """
INSERT INTO pipelines (id, pipeline_id, name, pipeline_type, status, branch, commit_sha,
       commit_message, started_at, duration_seconds, build_number, repository_url,
       repository_name, repository_owner, error_message, environment, config_data, labels,
       triggered_by_user_id, project_id, cpu_usage_percent, memory_usage_mb,
       is_production_deploy, is_rollback, is_scheduled, created_at, updated_at)
SELECT 200 + 3 * n, 'pipe-' || n || '-' || left(md5(n::text), 8),
       coalesce((ARRAY['[/red] build', '<script>alert(1)</script>'])[n], 'pipeline ' || n),
       (enum_range(NULL::pipelinetype))[1 + n %% 6],
       (enum_range(NULL::pipelinestatus))[1 + n / 6 %% 6],
       (ARRAY['main', 'develop', 'feature/x'])[1 + n %% 3], md5('c' || n) || left(md5(n::text), 8),
       'Fix [bold]#' || n, timestamptz '2026-02-01 00:00:00+00' + n * interval '9 minutes',
       n %% 1000 / 7.0::float8, n, 'https://git.example.com/r/' || n %% 400, 'repo-' || n %% 400,
       'owner-' || n %% 40, CASE WHEN n %% 12 = 0 THEN '[/red] exit status 1' END,
       (ARRAY['production', 'staging', NULL])[1 + n %% 3],
       (ARRAY['{"a": 1}', '{broken', 'None', '', NULL])[1 + n %% 5], NULL,
       CASE WHEN n %% 6 > 0 THEN 1000 + 7 * (1 + n * 31 %% %(users)s) END,
       CASE WHEN n %% 5 > 0 THEN 50 + 5 * (1 + n * 31 / 7 %% %(projects)s) END,
       coalesce((ARRAY['NaN', 'Infinity', '-Infinity', '-0']::float8[])[n], n %% 100),
       n %% 512 * 1.25::float8, n %% 10 = 0, n %% 30 = 4, n %% 7 = 0,
       timestamptz '2026-02-01 00:00:00+00' + n * interval '9 minutes',
       timestamptz '2026-03-01 00:00:00+00' + n * interval '9 minutes'
  FROM generate_series(1, %(pipelines)s) AS n
"""

PIPELINE_RUNS = """
INSERT INTO pipeline_runs (id, pipeline_id, external_id, run_number, status, branch, commit_sha,
       commit_message, started_at, completed_at, duration_seconds, environment, error_message,
       queue_time_seconds, labels, triggered_by_user_id, created_at, updated_at)
SELECT 7000 + 3 * n, 200 + 3 * (1 + n * 31 / 7 %% %(pipelines)s), 'run-' || n, n / 15,
       (enum_range(NULL::pipelinestatus))[1 + n %% 6],
       (ARRAY['main', 'develop', 'feature/x'])[1 + n %% 3], md5('r' || n),
       CASE WHEN n %% 5 = 0 THEN 'Merge [/red] ' || n END,
       timestamptz '2026-02-01 00:00:00+00' + n * interval '3 minutes',
       CASE WHEN n %% 6 > 1
         THEN timestamptz '2026-02-01 00:10:00+00' + n * interval '3 minutes' END,
       n %% 3000 / 11.0::float8, NULL, CASE WHEN n %% 6 = 3 THEN 'exit status ' || n %% 128 END,
       n %% 60 * 0.1::float8, CASE n WHEN 1 THEN '{broken' END,
       CASE WHEN n %% 4 = 0 THEN 1000 + 7 * (1 + n * 17 %% %(users)s) END,
       timestamptz '2026-02-01 00:00:00+00' + n * interval '3 minutes',
       timestamptz '2026-02-01 00:11:00+00' + n * interval '3 minutes'
  FROM generate_series(1, %(pipeline_runs)s) AS n
"""

AUTOMATION_RUNS = r"""
INSERT INTO automation_runs (id, automation_id, name, automation_type, status, playbook_name,
       started_at, duration_seconds, total_hosts, failed_hosts, host_results, error_message,
       log_output, extra_vars, vault_password_file, tags, environment, dry_run, check_mode,
       coverage_percentage, triggered_by_user_id, project_id, is_scheduled, is_manual_trigger,
       has_failures, created_at, updated_at)
SELECT 300 + 2 * n, 'auto-' || n || '-' || left(md5(n::text), 8), 'run of site ' || n %% 300,
       (enum_range(NULL::automationtype))[1 + n %% 5],
       (enum_range(NULL::automationstatus))[1 + n %% 7], 'site-' || n %% 30 || '.yml',
       timestamptz '2026-02-02 00:00:00+00' + n * interval '13 minutes', n %% 900 / 7.0::float8,
       n %% 30, n %% 3, (ARRAY['{"ok": 1}', '{broken', 'None', ''])[1 + n %% 4],
       CASE WHEN n %% 7 = 3 THEN '[/red] unreachable' END,
       coalesce(long.log, CASE WHEN n %% 3 = 0 THEN repeat('ok: [host] ' || n || E'\n', 5) END),
       CASE WHEN n %% 4 = 0 THEN '{"db_password": "not-a-secret-' || n || '"}' END,
       CASE WHEN n %% 8 = 0 THEN '/etc/not-a-secret/vault-' || n END, '["deploy"]',
       (ARRAY['production', 'staging'])[1 + n %% 2], n %% 10 = 0, n %% 15 = 0,
       coalesce((ARRAY['NaN', '-0']::float8[])[n], n %% 100),
       CASE WHEN n %% 5 > 0 THEN 1000 + 7 * (1 + n * 17 %% %(users)s) END,
       CASE WHEN n %% 4 > 0 THEN 50 + 5 * (1 + n * 31 / 7 %% %(projects)s) END,
       n %% 6 = 0, n %% 6 > 0, n %% 7 = 3,
       timestamptz '2026-02-02 00:00:00+00' + n * interval '13 minutes',
       timestamptz '2026-02-02 01:00:00+00' + n * interval '13 minutes'
  FROM generate_series(1, %(automation_runs)s) AS n
  LEFT JOIN (SELECT i %% 2 + 1 AS n, string_agg(md5('log' || i), '' ORDER BY i) AS log
               FROM generate_series(1, 12800) AS i GROUP BY 1) AS long USING (n)
 ORDER BY n
"""

INFRASTRUCTURE_CHANGES = """
INSERT INTO infrastructure_changes (id, change_id, name, change_type, status, workspace,
       resource_type, resource_name, resource_address, plan_json, planned_at, environment,
       commit_sha, variables, estimated_cost_change, requires_approval, approved_by_user_id,
       resources_to_add, resources_to_change, resources_to_destroy, apply_log,
       triggered_by_user_id, project_id, is_automated, is_rollback, is_dry_run,
       affects_production, created_at, updated_at)
SELECT 400 + 3 * n, 'chg-' || n || '-' || left(md5(n::text), 8), 'change ' || n,
       (enum_range(NULL::changetype))[1 + n %% 5], (enum_range(NULL::changestatus))[1 + n %% 7],
       'ws-' || n %% 20, (enum_range(NULL::resourcetype))[1 + n %% 8], 'web[' || n || ']',
       'aws_instance.web[' || n || ']', (ARRAY['{"a":1,"a":2}', '{broken', NULL])[1 + n %% 3],
       timestamptz '2026-02-03 00:00:00+00' + n * interval '17 minutes',
       (ARRAY['production', 'staging'])[1 + n %% 2], md5('i' || n),
       CASE WHEN n %% 3 = 0 THEN '{"api_key": "not-a-secret-' || n || '"}' END,
       coalesce((ARRAY['Infinity', '-0']::float8[])[n], (n %% 200 - 100) * 0.1::float8),
       n %% 2 = 0, CASE WHEN n %% 8 = 0 THEN 1000 + 7 * (1 + n * 31 %% %(users)s) END,
       n %% 5, n %% 3, n %% 2, CASE WHEN n %% 4 = 0 THEN '[green]Apply complete![/green]' END,
       CASE WHEN n %% 3 > 0 THEN 1000 + 7 * (1 + n * 17 %% %(users)s) END,
       CASE WHEN n %% 6 > 0 THEN 50 + 5 * (1 + n * 31 / 7 %% %(projects)s) END,
       n %% 3 = 0, n %% 20 = 0, n %% 9 = 0, n %% 2 = 0,
       timestamptz '2026-02-03 00:00:00+00' + n * interval '17 minutes',
       timestamptz '2026-02-03 02:00:00+00' + n * interval '17 minutes'
  FROM generate_series(1, %(infrastructure_changes)s) AS n
"""

# Some alerts have no project while their pipeline or cluster has one, and the other way round.
ALERTS = """
INSERT INTO alerts (id, alert_id, title, message, severity, status, source, category, channels,
       context_data, labels, pipeline_id, cluster_id, automation_run_id, infrastructure_change_id,
       project_id, acknowledged_by_user_id, acknowledged_at, resolution_comment, triggered_at,
       created_at, updated_at)
SELECT 500 + 2 * n, 'alert-' || n || '-' || left(md5(n::text), 8),
       (ARRAY['[/red] disk full', 'CPU high', '<script>alert(1)</script>', 'Job'])[1 + n %% 4],
       'Alert ' || n || ' on [host]', (enum_range(NULL::alertseverity))[1 + n %% 4],
       (enum_range(NULL::alertstatus))[1 + n / 4 %% 4], (ARRAY['prometheus', 'ci'])[1 + n %% 2],
       (ARRAY['infra', 'build', NULL])[1 + n %% 3], '["slack"]',
       (ARRAY['{"v": 1.0}', '{"v": 1.00}', '{broken', 'None', ''])[1 + n %% 5], NULL,
       CASE WHEN n %% 5 = 1 THEN 200 + 3 * (1 + n * 31 / 7 %% %(pipelines)s) END,
       CASE WHEN n %% 5 = 2 THEN 10 + 4 * (1 + n * 31 / 7 %% %(clusters)s) END,
       CASE WHEN n %% 5 = 3 THEN 300 + 2 * (1 + n * 31 / 7 %% %(automation_runs)s) END,
       CASE WHEN n %% 5 = 4 THEN 400 + 3 * (1 + n * 31 / 7 %% %(infrastructure_changes)s) END,
       CASE WHEN n %% 3 > 0 THEN 50 + 5 * (1 + n * 13 / 3 %% %(projects)s) END,
       CASE WHEN n / 4 %% 4 = 1 THEN 1000 + 7 * (1 + n * 17 %% %(users)s) END,
       CASE WHEN n / 4 %% 4 = 1 THEN timestamptz '2026-03-05 00:00:00+00' END,
       CASE WHEN n / 4 %% 4 = 2 THEN 'restarted' END,
       timestamptz '2026-03-04 00:00:00+00' + n * interval '6 minutes',
       timestamptz '2026-03-04 00:00:00+00' + n * interval '6 minutes',
       timestamptz '2026-03-04 00:30:00+00' + n * interval '6 minutes'
  FROM generate_series(1, %(alerts)s) AS n
"""

NOTIFICATION_PREFERENCES = """
INSERT INTO notification_preferences (id, user_id, notification_type, channel, frequency,
       is_enabled, channel_settings, team_id, project_id, quiet_hours_start, quiet_hours_end,
       timezone, created_at, updated_at)
SELECT 600 + 5 * n, 1000 + 7 * (1 + n * 31 %% %(users)s),
       (enum_range(NULL::notificationtype))[1 + n %% 14],
       (enum_range(NULL::notificationchannel))[1 + n %% 6],
       (enum_range(NULL::notificationfrequency))[1 + n %% 5], n %% 8 > 0,
       CASE n %% 6 WHEN 1 THEN '{"webhook": "https://hooks.example.com/not-a-secret-' || n || '"}'
         WHEN 2 THEN '{"token": "not-a-secret-' || n || '", broken' END,
       CASE WHEN n %% 4 = 0 THEN 20 + 3 * (1 + n * 7 %% %(teams)s) END,
       CASE WHEN n %% 5 = 0 THEN 50 + 5 * (1 + n * 13 / 3 %% %(projects)s) END,
       CASE WHEN n %% 3 = 0 THEN '22:00' END, CASE WHEN n %% 3 = 0 THEN '7' END,
       (ARRAY['UTC', 'Europe/Oslo', '', NULL])[1 + n %% 4],
       timestamptz '2026-01-07 00:00:00+00' + n * interval '1 minute',
       timestamptz '2026-02-07 00:00:00+00' + n * interval '1 minute'
  FROM generate_series(1, %(notification_preferences)s) AS n
"""

NOTIFICATION_LOGS = r"""
INSERT INTO notification_logs (id, notification_id, digest_id, user_id, channel,
       recipient_address, notification_type, subject, content, source_type, source_id, team_id,
       project_id, status, delivery_attempts, delivered_at, error_message, notification_metadata,
       priority, deduplication_key, created_at, updated_at)
SELECT 900 + 2 * n, 'note-' || n || '-' || left(md5(n::text), 8),
       CASE WHEN n %% 9 = 0 THEN 'digest-' || n / 9 END, 1000 + 7 * (1 + n * 17 %% %(users)s),
       (ARRAY['email', 'slack', 'EMAIL'])[1 + n %% 3], 'user' || n || '@example.com',
       (ARRAY['alert_high', 'pipeline_failure', 'digest_daily'])[1 + n %% 3],
       'Re: [/red] build ' || n,
       CASE WHEN n <= 3 THEN repeat(md5(n::text), 6400)
         ELSE E'Build <b>' || n || E'</b> failed \U0001F525\r\n\\.\n' END,
       CASE WHEN n %% 2 = 0 THEN 'pipeline' END, CASE WHEN n %% 2 = 0 THEN n END,
       CASE WHEN n %% 10 = 0 THEN 20 + 3 * (1 + n * 7 %% %(teams)s) END,
       CASE WHEN n %% 5 = 0 THEN 50 + 5 * (1 + n * 13 / 3 %% %(projects)s) END,
       (enum_range(NULL::deliverystatus))[1 + n %% 6], n %% 4,
       CASE WHEN n %% 6 IN (1, 2) THEN timestamptz '2026-03-10 00:00:00+00' END,
       CASE WHEN n %% 6 = 3 THEN 'SMTP 550 <no such user>' END,
       (ARRAY['{"k": 1}', '{broken', 'None', '', NULL])[1 + n %% 5],
       (ARRAY['normal', 'high', NULL])[1 + n %% 3], CASE WHEN n %% 4 = 0 THEN md5('k' || n) END,
       timestamptz '2026-03-09 00:00:00+00' + n * interval '2 minutes',
       timestamptz '2026-03-09 00:01:00+00' + n * interval '2 minutes'
  FROM generate_series(1, %(notification_logs)s) AS n
"""

AWS_COST_DATA = r"""
INSERT INTO aws_cost_data (id, aws_account_id, start_date, end_date, granularity, service_name,
       region, usage_type, linked_account_id, unblended_cost, blended_cost, net_unblended_cost,
       net_blended_cost, amortized_cost, usage_quantity, usage_unit, currency, raw_data,
       created_at, updated_at)
SELECT 700 + 3 * n, 5 + 2 * (1 + n %% %(aws_accounts)s), date '2025-01-01' + n %% 400,
       CASE n WHEN 1 THEN date '9999-12-31' ELSE date '2025-01-02' + n %% 400 END, 'DAILY',
       (ARRAY['AmazonEC2', 'AmazonS3', '[/red]', NULL])[1 + n %% 4], 'us-east-' || 1 + n %% 2,
       'BoxUsage:t3.' || n %% 9, lpad((n %% 50)::text, 12, '0'),
       CASE n WHEN 1 THEN 99999999.9999 WHEN 2 THEN -0.0001 ELSE n / 100.0 END,
       n / 100.0, n / 125.0, n / 125.0, 1.00, CASE n WHEN 3 THEN 'NaN' ELSE n / 3.0 END, 'Hrs',
       'USD', (ARRAY['{"a": "\u0000"}', '{"a": 1, "a": 2}', E' { "cost" :\t1.0 } ',
         '{"cost":1.00}', '{"n": 1e999999}', '[]', 'null', NULL])[1 + n %% 8]::json,
       timestamptz '2026-03-11 00:00:00+00' + n * interval '1 minute',
       timestamptz '2026-03-12 00:00:00+00' + n * interval '1 minute'
  FROM generate_series(1, %(aws_cost_data)s) AS n
"""

AWS_COST_SUMMARIES = """
INSERT INTO aws_cost_summaries (id, aws_account_id, summary_date, summary_type, total_cost,
       total_usage_cost, total_ri_cost, total_savings_plans_cost, top_services,
       previous_period_cost, cost_change_amount, cost_change_percentage, currency,
       created_at, updated_at)
SELECT 30 + 2 * n, 5 + 2 * (1 + n %% %(aws_accounts)s), date '2025-01-01' + n %% 500,
       (ARRAY['daily', 'weekly', 'monthly'])[1 + n %% 3], n * 10.01, n * 9.5, 0, 0.5100,
       CASE WHEN n %% 2 = 0 THEN '[{"service":"AmazonEC2",  "cost":1.10}]'::json END,
       n * 9, n * 1.01, CASE n WHEN 1 THEN -999.99 ELSE n %% 900 + 0.25 END, 'USD',
       timestamptz '2026-03-13 00:00:00+00' + n * interval '1 minute',
       timestamptz '2026-03-14 00:00:00+00' + n * interval '1 minute'
  FROM generate_series(1, %(aws_cost_summaries)s) AS n
"""

AWS_COST_BUDGETS = """
INSERT INTO aws_cost_budgets (id, aws_account_id, name, budget_type, time_unit, budget_limit,
       currency, start_date, end_date, service_filters, alert_thresholds, is_active,
       created_at, updated_at)
SELECT 40 + 2 * n, 5 + 2 * (1 + n %% %(aws_accounts)s), 'budget [bold]' || n, 'COST', 'MONTHLY',
       n * 1000, 'USD', date '2026-01-01', CASE n WHEN 1 THEN date '9999-12-31' END,
       '{"a":1,"a":2}', '[50,  80.0, 100.00]', n %% 7 > 0,
       CASE n WHEN 2 THEN timestamp '0001-01-01 00:00:00'
         ELSE timestamp '2026-01-01 00:00:00' + n * interval '1 hour' END,
       timestamp '2026-02-01 00:00:00' + n * interval '1 hour'
  FROM generate_series(1, %(aws_cost_budgets)s) AS n
"""

AWS_COST_ANOMALIES = r"""
INSERT INTO aws_cost_anomalies (id, aws_account_id, anomaly_type, detected_date, severity,
       service_name, expected_cost, actual_cost, cost_variance, variance_percentage,
       detection_method, confidence_score, is_resolved, resolved_at, alert_sent, raw_data,
       created_at, updated_at)
SELECT 60 + 3 * n, 5 + 2 * (1 + n %% %(aws_accounts)s), 'spike', date '2025-06-01' + n %% 300,
       (ARRAY['low', 'medium', 'high', 'critical'])[1 + n %% 4], 'AmazonEC2', n * 10, n * 15,
       n * 5, CASE n WHEN 1 THEN 999.99 ELSE 50.00 END, 'zscore',
       CASE n WHEN 1 THEN 9.99 ELSE n %% 100 / 100.0 END, n %% 3 = 0,
       CASE WHEN n %% 3 = 0 THEN timestamp '2026-03-15 00:00:00' END, n %% 2 = 0,
       (ARRAY['{"a": "\u0000"}', '{"z": -1.50,  "z": 1}', NULL])[1 + n %% 3]::json,
       timestamptz '2026-03-15 00:00:00+00' + n * interval '1 minute',
       timestamptz '2026-03-16 00:00:00+00' + n * interval '1 minute'
  FROM generate_series(1, %(aws_cost_anomalies)s) AS n
"""

AWS_COST_FORECASTS = """
INSERT INTO aws_cost_forecasts (id, aws_account_id, forecast_date, forecast_type, service_name,
       predicted_cost, confidence_interval_lower, confidence_interval_upper, confidence_level,
       model_type, model_accuracy, training_period_days, currency, created_at)
SELECT 80 + 3 * n, 5 + 2 * (1 + n %% %(aws_accounts)s), date '2026-07-01' + n %% 90, 'monthly',
       CASE WHEN n %% 2 = 0 THEN 'AmazonS3' END, n * 12.3456, n * 10, n * 14, 0.80, 'linear',
       CASE n WHEN 1 THEN 9.9999 ELSE n %% 1000 / 1000.0 END, 90, 'USD',
       timestamp '2026-06-01 00:00:00' + n * interval '1 minute'
  FROM generate_series(1, %(aws_cost_forecasts)s) AS n
"""
