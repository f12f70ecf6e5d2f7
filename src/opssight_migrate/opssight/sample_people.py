"""SQL of the sample: roles and permissions, users, teams, and the projects they own."""

from __future__ import annotations

ROLES = """
INSERT INTO roles (id, name, display_name, description, is_active, is_default, priority,
       created_at, updated_at)
SELECT f.id, f.label::systemrole, f.shown, 'The ' || lower(f.shown) || ' role',
       f.label <> 'ADMIN', f.label = 'VIEWER', f.priority,
       timestamptz '2025-01-01 00:00:00+00', timestamptz '2025-06-01 12:00:00.000001+00'
  FROM unnest(%(ids)s::int[], %(labels)s::text[], %(shown)s::text[], %(priorities)s::int[])
    AS f (id, label, shown, priority)
"""

PERMISSIONS = """
INSERT INTO permissions (id, name, display_name, description, category, is_active,
       created_at, updated_at)
SELECT 7 + 2 * f.n, f.label::permissiontype, f.shown, f.description, f.category,
       f.label <> 'VIEW_SYSTEM_LOGS',
       timestamptz '2025-01-01 00:00:00+00', timestamptz '2025-06-01 12:00:00+00'
  FROM unnest(%(labels)s::text[], %(shown)s::text[], %(descriptions)s::text[],
              %(categories)s::text[])
  WITH ORDINALITY AS f (label, shown, description, category, n)
"""

GRANTS = """
INSERT INTO role_permissions (role_id, permission_id, created_at)
SELECT r.id, p.id, timestamptz '2025-01-02 00:00:00+00' + p.id * interval '1 second'
  FROM roles AS r, permissions AS p
 WHERE r.name = %(role)s::text::systemrole AND p.name::text = ANY(%(labels)s::text[])
"""

USERS = r"""
INSERT INTO users (id, github_id, github_username, email, full_name, avatar_url, bio, company,
       location, blog, is_active, is_superuser, role_id, github_access_token, github_scope,
       created_at, updated_at, last_login)
SELECT 1000 + 7 * n, (900000 + 3 * n)::text,
       coalesce((ARRAY['anna', 'Anna', 'padded ', 'no-mail', E'zo\u00EB', E'zoe\u0308',
         E'\U0001F680', E'\u0645\u0631\u064A\u0645', '[/red]', '<script>alert(1)</script>',
         $$'; DROP TABLE users; --$$, repeat('long-login', 100), E'tab\tand\nline'])[n],
         'user' || n),
       CASE WHEN n <= 13 THEN (ARRAY['Anna@example.com', 'anna@example.com',
         '  padded@example.com ', '', E'zo\u00EB@example.com', E'zoe\u0308@example.com'])[n]
         WHEN n %% 3 > 0 THEN 'user' || n || '@example.com' END,
       coalesce((ARRAY['Anna Berg', '\N', ' Padded  Name ', '', E'Zo\u00EB', E'Zoe\u0308',
         E'\U0001F469\u200D\U0001F4BB Rocket', E'\u0645\u0631\u064A\u0645', '[bold]Bo',
         '<b>Bo</b>', '100%% sure', repeat('Long Name ', 200), E'back\\slash'])[n], 'User ' || n),
       CASE WHEN n %% 2 = 0 THEN 'https://example.com/' || md5(n::text) || '.png' END,
       CASE WHEN n %% 7 = 0 THEN repeat('Likes pipelines. ', n %% 9) END,
       CASE WHEN n %% 4 = 0 THEN 'Company ' || n %% 50 END,
       (ARRAY['Oslo', 'Tokyo', E'S\u00E3o Paulo', '', NULL])[1 + n %% 5], NULL,
       n %% 20 <> 13 AND n <> 20, n IN (14, 15, 16, 17, 18, 33),
       r.id,
       CASE WHEN n %% 3 = 0 THEN 'gho_example_not-a-secret_' || md5('token' || n) END,
       CASE WHEN n %% 3 = 0 THEN 'repo,user:email' END,
       CASE n WHEN 2 THEN timestamptz '0001-01-01 00:00:00+00'
         ELSE timestamptz '2026-01-01 00:00:00+00' + n * interval '7 minutes 0.000003 seconds' END,
       timestamptz '2026-05-01 00:00:00+00' + n * interval '11 seconds',
       CASE WHEN n = 3 THEN timestamptz '9999-12-31 23:59:59.999999+00'
         WHEN n %% 4 > 0 THEN timestamptz '2026-06-01 00:00:00+00' + n * interval '1 minute' END
  FROM generate_series(1, %(users)s) AS n
  LEFT JOIN roles AS r ON r.name::text = CASE
         WHEN n IN (14, 15) OR n %% 100 BETWEEN 20 AND 26 THEN NULL
         WHEN n IN (18, 19) THEN 'SUPER_ADMIN'
         ELSE (ARRAY['VIEWER', 'VIEWER', 'VIEWER', 'VIEWER', 'VIEWER', 'ENGINEER', 'ENGINEER',
                     'VIEWER', 'MANAGER', 'ADMIN'])[1 + n %% 10] END
 ORDER BY n
"""

TEAMS = r"""
INSERT INTO teams (id, name, display_name, description, slug, is_active, max_members,
       default_role, settings, permissions, created_by_user_id, created_at, updated_at)
SELECT 20 + 3 * n,
       coalesce((ARRAY['[bold]Ops[/bold]', '[/red]', '<script>alert(1)</script>',
         E'\u6771\u4EAC', ' ops ', 'Ops'])[n], 'Team ' || n),
       CASE n WHEN 1 THEN repeat(E'\u03A9mega ', 900) WHEN 2 THEN '' ELSE 'The team ' || n END,
       CASE WHEN n %% 2 = 0 THEN E'It''s [bold]team[/bold] \\N ' || n END,
       coalesce((ARRAY['ops', '', 'script', E'\u6771\u4EAC', '-ops-', 'OPS'])[n], 'team-' || n),
       n %% 13 <> 5, 50, (enum_range(NULL::teamrole))[1 + n %% 4],
       CASE WHEN n <= 6 THEN (ARRAY['{broken', '[red] not json', 'None', '',
         '{"tz":"UTC","tz":"CET"}'])[n] ELSE '{"tz": "UTC"}' END,
       CASE WHEN n %% 3 > 0 THEN '["VIEW_USERS"]' END,
       1000 + 7 * (1 + n * 31 %% %(users)s),
       timestamptz '2026-01-02 00:00:00+00' + n * interval '1 hour',
       timestamptz '2026-02-02 00:00:00+00' + n * interval '1 hour'
  FROM generate_series(1, %(teams)s) AS n
"""

PROJECTS = r"""
INSERT INTO projects (id, name, display_name, description, slug, is_active, is_public,
       repository_url, repository_provider, default_branch, settings, environment_config,
       notification_config, team_id, created_by_user_id, created_at, updated_at)
SELECT 50 + 5 * n,
       coalesce((ARRAY['!!!', '[/red]', '<script>alert(1)</script>', E'\U0001F680\U0001F680',
         repeat('very-long-name-', 40), ' spaced  out '])[n], 'project ' || n),
       CASE n WHEN 1 THEN '!!!' WHEN 5 THEN repeat('Very Long Name ', 400) WHEN 6 THEN ''
         ELSE 'Project ' || n END,
       CASE WHEN n %% 3 = 0 THEN 'About project ' || n END,
       coalesce((ARRAY['', 'red', 'script', E'\U0001F680', repeat('very-long-name-', 40)])[n],
         'project-' || n),
       n %% 11 <> 6, n %% 9 = 0, 'https://git.example.com/p/' || n,
       (ARRAY['github', 'gitlab', NULL])[1 + n %% 3], 'main',
       CASE WHEN n <= 6 THEN (ARRAY['{broken', '[red] not json', 'None', '',
         '{"a":1,"a":2}'])[n] ELSE '{"ci": true}' END,
       CASE WHEN n %% 4 = 0 THEN '{ "env" :  "prod" }' END, NULL,
       20 + 3 * (1 + n * 7 %% %(teams)s), 1000 + 7 * (1 + n * 17 %% %(users)s),
       timestamptz '2026-01-03 00:00:00+00' + n * interval '1 hour',
       timestamptz '2026-02-03 00:00:00+00' + n * interval '1 hour'
  FROM generate_series(1, %(projects)s) AS n
"""

TEAM_MEMBERSHIPS = """
INSERT INTO team_memberships (team_id, user_id, role, joined_at, invited_by_user_id)
SELECT 20 + 3 * (1 + ((n - 1) %% %(users)s * 7 + (n - 1) / %(users)s) %% %(teams)s),
       1000 + 7 * (1 + (n - 1) %% %(users)s), (enum_range(NULL::teamrole))[1 + n %% 4],
       timestamptz '2026-01-04 00:00:00+00' + n * interval '5 minutes',
       CASE WHEN n %% 3 = 0 THEN 1000 + 7 * (1 + n * 31 %% %(users)s) END
  FROM generate_series(1, %(team_memberships)s) AS n
"""

# Every 50th user is in other teams here; every tenth row has another role.
USER_TEAMS = """
INSERT INTO user_teams (user_id, team_id, role, is_active, joined_at, invited_by_user_id,
       invited_at, created_at, updated_at)
SELECT 1000 + 7 * (1 + k),
       20 + 3 * (1 + (k * 7 + (n - 1) / %(users)s + CASE k %% 50 WHEN 0 THEN 2 ELSE 0 END)
                 %% %(teams)s),
       (enum_range(NULL::teamrole))[1 + (n + CASE n %% 10 WHEN 0 THEN 1 ELSE 0 END) %% 4],
       n %% 12 <> 5, timestamptz '2026-01-04 00:00:00+00' + n * interval '5 minutes', NULL,
       CASE WHEN n %% 6 = 0 THEN timestamptz '2026-01-03 00:00:00+00' END,
       timestamptz '2026-01-04 00:00:00+00' + n * interval '5 minutes',
       timestamptz '2026-03-04 00:00:00+00' + n * interval '1 minute'
  FROM generate_series(1, %(user_teams)s) AS n
 CROSS JOIN LATERAL (SELECT (n - 1) %% %(users)s AS k) AS user_number
"""
