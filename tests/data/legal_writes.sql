-- What the new release and the old one write in a day: marked by updated_at, as the ORM does it.
UPDATE users SET last_login = now(), updated_at = now() WHERE id % 3 = 0;
UPDATE users SET email = 'new@example.com', updated_at = now() WHERE id = 501004;
UPDATE projects SET description = 'changed', updated_at = now() WHERE id % 2 = 0;
INSERT INTO users (github_id, github_username, is_active, is_superuser, organization_id, role_id,
    created_at, updated_at)
SELECT 'late', 'late', true, false, 501, id, now(), now() FROM roles WHERE name::text = 'VIEWER';
INSERT INTO user_roles (user_id, role_id, organization_id, is_active)
SELECT id, role_id, organization_id, true FROM users WHERE github_id = 'late';
INSERT INTO metrics (organization_id, timestamp, metric_name, metric_type, source, value,
    is_interpolated, created_at, updated_at, project_id)
VALUES (501, now(), 'cpu', 'gauge', 'custom', 1, false, now(), now(), 501001);
DELETE FROM notification_logs WHERE id IN (SELECT id FROM notification_logs ORDER BY id LIMIT 3);
DELETE FROM team_memberships WHERE user_id = 501005;
UPDATE team_memberships SET role = 'ADMIN' WHERE user_id = 501006;
INSERT INTO role_permissions (role_id, permission_id)
SELECT r.id, p.id FROM roles AS r, permissions AS p
 WHERE r.name::text = 'VIEWER' AND p.name::text = 'VIEW_ROLES' ON CONFLICT DO NOTHING;
INSERT INTO audit_logs (audit_id, operation, table_name, timestamp, severity, organization_id)
VALUES ('00000000-0000-0000-0000-00000000000a', 'LOGIN', 'users', now(), 'LOW', 501);
SELECT pg_stat_force_next_flush();
