"""The tables of the journal: each may be made again on every run, and then stays as it is."""

SCHEMA = """
CREATE TABLE IF NOT EXISTS opssight_migrate.installation (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    environment text NOT NULL,
    system_identifier text NOT NULL,
    database_oid bigint NOT NULL,
    epoch bigint NOT NULL DEFAULT 0,
    marked_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE IF NOT EXISTS opssight_migrate.runs (
    id text PRIMARY KEY,
    lineage text[] NOT NULL,
    epoch bigint NOT NULL,
    command text NOT NULL,
    environment text NOT NULL,
    operator text NOT NULL,
    os_user text NOT NULL,
    host text NOT NULL,
    pid integer NOT NULL,
    tool_version text NOT NULL,
    server_version text NOT NULL,
    settings_digest text NOT NULL,
    plan_digest text NOT NULL,
    revision_from text,
    revision_to text NOT NULL,
    status text NOT NULL DEFAULT 'running',
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz,
    error text
);
CREATE TABLE IF NOT EXISTS opssight_migrate.steps (
    run_id text NOT NULL REFERENCES opssight_migrate.runs,
    step_id text NOT NULL,
    kind text NOT NULL,
    status text NOT NULL DEFAULT 'running',
    rows bigint,
    forecast_ms bigint,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    finished_at timestamptz,
    PRIMARY KEY (run_id, step_id)
);
CREATE TABLE IF NOT EXISTS opssight_migrate.batches (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id text NOT NULL REFERENCES opssight_migrate.runs,
    step_id text NOT NULL,
    walk text NOT NULL,
    last_key text,
    rows bigint NOT NULL,
    done_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX IF NOT EXISTS batches_walk ON opssight_migrate.batches (step_id, walk, id);
CREATE TABLE IF NOT EXISTS opssight_migrate.lock_receipts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id text NOT NULL REFERENCES opssight_migrate.runs,
    step_id text NOT NULL,
    relation text NOT NULL,
    mode text NOT NULL,
    waited_ms bigint NOT NULL,
    held_ms bigint NOT NULL,
    victims jsonb NOT NULL
);
CREATE TABLE IF NOT EXISTS opssight_migrate.audit_rows (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    audit_id uuid NOT NULL UNIQUE,
    run_id text NOT NULL REFERENCES opssight_migrate.runs,
    at timestamptz NOT NULL DEFAULT clock_timestamp(),
    operation text NOT NULL,
    severity text NOT NULL,
    table_name text NOT NULL,
    record_id text,
    description text NOT NULL,
    context jsonb NOT NULL,
    written_at timestamptz
);
CREATE TABLE IF NOT EXISTS opssight_migrate.snapshots (
    run_id text NOT NULL REFERENCES opssight_migrate.runs,
    table_name text NOT NULL,
    columns text[] NOT NULL,
    rows bigint NOT NULL,
    digest text NOT NULL,
    writes bigint NOT NULL,
    taken_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (run_id, table_name)
);
"""
