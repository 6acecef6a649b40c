-- The mirror in Postgres, version 1: what genrun keeps in SQLite, under the same names, from one box or several.
--
-- Run by `genrun sync init` in one transaction, with search_path set to the schema of [sync] schema. A released
-- file is never edited: changes come as a file with the next number.
--
-- Who may read or change what is the owner's to decide: row level security is neither switched on nor off here.
-- (Supabase: ALTER TABLE … ENABLE ROW LEVEL SECURITY and a policy for each role; the role that syncs must own the
-- tables or have BYPASSRLS.)

-- The versions that were applied.
CREATE TABLE IF NOT EXISTS genrun_migrations (
    version    integer PRIMARY KEY,
    name       text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);

-- The boxes that sync into this schema.
CREATE TABLE IF NOT EXISTS genrun_nodes (
    node                 text PRIMARY KEY,
    database_id          text NOT NULL,       -- of the box's database: two boxes cannot take one name
    version              text,                -- of genrun there
    sync_version         bigint NOT NULL DEFAULT 0, -- the log of the box was read up to this id
    runner_seq           bigint,              -- the runner that is up there; NULL: none was
    heartbeat_timeout_ms bigint,              -- of it
    synced_at            timestamptz          -- last contact
);

-- node: the box that owns the row. sync_version: the log of that box had been read up to this id when the row was
-- read; an older row never replaces a newer one.
CREATE TABLE IF NOT EXISTS generations (
    id                uuid PRIMARY KEY,
    node              text NOT NULL,
    seq               bigint NOT NULL,        -- its number on that box, in the order of submission
    sync_version      bigint NOT NULL,
    status            text NOT NULL CHECK (status IN ('queued', 'processing', 'completed', 'failed', 'cancelled')),
    prompt            text,
    model_id          text NOT NULL,
    parameters        jsonb NOT NULL DEFAULT '{}',
    user_id           text,
    session_id        text,
    batch_job_id      uuid,
    item_index        bigint,
    custom_id         text,
    topic             text,
    tier              text,
    type              text,
    template_id       text,
    endpoint          text,
    client_id         text,
    priority          integer NOT NULL DEFAULT 0,
    attempts          integer NOT NULL DEFAULT 0,
    starts            integer NOT NULL DEFAULT 0,
    error_type        text,
    error_message     text,
    last_step         text,
    last_heartbeat    timestamptz,
    last_progress     timestamptz,
    progress_limit_ms bigint,                 -- its own clock for progress
    runner_seq        bigint,                 -- the runner of the box that has it
    run_after         timestamptz,
    created_at        timestamptz NOT NULL,
    started_at        timestamptz,
    completed_at      timestamptz,
    dismissed_at      timestamptz,
    input_tokens      bigint,
    output_tokens     bigint,
    cost              double precision
);
CREATE INDEX IF NOT EXISTS generations_created ON generations (created_at DESC);
CREATE INDEX IF NOT EXISTS generations_failed ON generations (completed_at DESC) WHERE status = 'failed';
CREATE INDEX IF NOT EXISTS generations_live ON generations (started_at) WHERE status = 'processing';
CREATE INDEX IF NOT EXISTS generations_queued ON generations (created_at) WHERE status = 'queued';
CREATE INDEX IF NOT EXISTS generations_user ON generations (user_id, created_at DESC);
CREATE INDEX IF NOT EXISTS generations_session ON generations (session_id, created_at DESC);
CREATE INDEX IF NOT EXISTS generations_model ON generations (model_id, created_at DESC);
CREATE INDEX IF NOT EXISTS generations_batch ON generations (batch_job_id, item_index) WHERE batch_job_id IS NOT NULL;

CREATE TABLE IF NOT EXISTS outputs (
    node          text NOT NULL,
    id            bigint NOT NULL,
    generation_id uuid NOT NULL,
    idx           integer NOT NULL,
    sync_version  bigint NOT NULL,
    mime          text NOT NULL,
    content       text,                       -- when it is text that Postgres can hold
    content_bytes bytea,                      -- else
    file          text,
    bytes         bigint NOT NULL,
    sha256        text,
    partial       boolean NOT NULL DEFAULT false,
    created_at    timestamptz NOT NULL,
    PRIMARY KEY (node, id),
    UNIQUE (generation_id, idx)
);

CREATE TABLE IF NOT EXISTS batch_jobs (
    id               uuid PRIMARY KEY,
    node             text NOT NULL,
    sync_version     bigint NOT NULL,
    name             text,
    status           text NOT NULL CHECK (status IN ('queued', 'processing', 'paused', 'completed', 'failed', 'cancelled')),
    user_id          text,
    model_id         text,
    total_items      bigint NOT NULL DEFAULT 0,
    completed_items  bigint NOT NULL DEFAULT 0, -- success and failure
    successful_items bigint NOT NULL DEFAULT 0,
    failed_items     bigint NOT NULL DEFAULT 0,
    cancelled_items  bigint NOT NULL DEFAULT 0,
    queued_items     bigint NOT NULL DEFAULT 0,
    processing_items bigint NOT NULL DEFAULT 0,
    input_tokens     bigint,
    output_tokens    bigint,
    concurrency      bigint,
    on_error         text,
    max_failures     text,
    estimated_cost   double precision,
    actual_cost      double precision,
    max_cost         double precision,
    paused_reason    text,
    status_reason    text,
    format           text,
    client_id        text,
    priority         integer NOT NULL DEFAULT 0,
    created_at       timestamptz NOT NULL,
    started_at       timestamptz,
    completed_at     timestamptz,
    last_activity_at timestamptz
);
CREATE INDEX IF NOT EXISTS batch_jobs_created ON batch_jobs (created_at DESC);
CREATE INDEX IF NOT EXISTS batch_jobs_user ON batch_jobs (user_id, created_at DESC);

CREATE TABLE IF NOT EXISTS logs (
    node          text NOT NULL,
    id            bigint NOT NULL,
    created_at    timestamptz NOT NULL,
    level         text NOT NULL,
    event         text NOT NULL,
    generation_id uuid,
    batch_job_id  uuid,
    attempt       integer,
    message       text,
    data          jsonb,
    PRIMARY KEY (node, id)
);
CREATE INDEX IF NOT EXISTS logs_created ON logs (created_at DESC);
CREATE INDEX IF NOT EXISTS logs_generation ON logs (generation_id, id) WHERE generation_id IS NOT NULL;
CREATE INDEX IF NOT EXISTS logs_batch ON logs (batch_job_id, id) WHERE batch_job_id IS NOT NULL;

CREATE TABLE IF NOT EXISTS locks (
    node        text NOT NULL,
    name        text NOT NULL,
    user_id     text,
    owner       text NOT NULL,
    acquired_at timestamptz NOT NULL,
    expires_at  timestamptz NOT NULL,
    reason      text,
    PRIMARY KEY (node, name)
);

-- People and places are the same on every box: the last box that changed one has said so.
CREATE TABLE IF NOT EXISTS profiles (
    id           text PRIMARY KEY,
    node         text NOT NULL,
    display_name text,
    username     text,
    email        text
);
CREATE TABLE IF NOT EXISTS sessions (
    id         text PRIMARY KEY,
    node       text NOT NULL,
    name       text,
    project_id text,
    user_id    text
);
CREATE TABLE IF NOT EXISTS projects (
    id      text PRIMARY KEY,
    node    text NOT NULL,
    name    text,
    user_id text
);

---------------------------------------------------------------------------------------------------
-- Orders: what a person types here, for the box that owns the row
---------------------------------------------------------------------------------------------------

CREATE TABLE IF NOT EXISTS genrun_orders (
    id       bigserial PRIMARY KEY,           -- in the order typed
    node     text NOT NULL,                   -- who is to do it
    kind     text NOT NULL CHECK (kind IN ('generation', 'batch_job')),
    target   uuid NOT NULL,
    change   jsonb NOT NULL,                  -- the columns that were changed: {"status": "cancelled"}
    typed_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    typed_by text NOT NULL DEFAULT session_user,
    state    text NOT NULL DEFAULT 'open' CHECK (state IN ('open', 'applied', 'refused')),
    reason   text,                            -- why it was refused
    ended_at timestamptz
);
CREATE INDEX IF NOT EXISTS genrun_orders_open ON genrun_orders (node, id) WHERE state = 'open';
CREATE INDEX IF NOT EXISTS genrun_orders_target ON genrun_orders (target, id);

-- The sync says who it is with SET genrun.writer = 'sync'. Whoever else changes a row gives an order; for that they
-- need no right on the table of orders.
CREATE OR REPLACE FUNCTION genrun_order_generation() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    change jsonb := '{}';
BEGIN
    IF NEW.status IS DISTINCT FROM OLD.status THEN
        change := change || jsonb_build_object('status', NEW.status);
    END IF;
    IF NEW.error_message IS DISTINCT FROM OLD.error_message THEN
        change := change || jsonb_build_object('error_message', NEW.error_message);
    END IF;
    IF NEW.parameters IS DISTINCT FROM OLD.parameters THEN
        change := change || jsonb_build_object('parameters', NEW.parameters);
    END IF;
    IF NEW.priority IS DISTINCT FROM OLD.priority THEN
        change := change || jsonb_build_object('priority', NEW.priority);
    END IF;
    IF NEW.dismissed_at IS DISTINCT FROM OLD.dismissed_at THEN
        change := change || jsonb_build_object('dismissed_at', NEW.dismissed_at);
    END IF;
    -- completed_at, started_at and attempts go with a change of state by habit; the box stamps them itself. Columns
    -- that somebody added are theirs.
    IF ROW(NEW.id, NEW.node, NEW.seq, NEW.sync_version, NEW.prompt, NEW.model_id, NEW.user_id, NEW.session_id,
        NEW.batch_job_id, NEW.item_index, NEW.custom_id, NEW.topic, NEW.tier, NEW.type, NEW.template_id,
        NEW.endpoint, NEW.client_id, NEW.starts, NEW.error_type, NEW.last_step, NEW.last_heartbeat,
        NEW.last_progress, NEW.progress_limit_ms, NEW.runner_seq, NEW.run_after, NEW.created_at, NEW.input_tokens,
        NEW.output_tokens, NEW.cost)
        IS DISTINCT FROM ROW(OLD.id, OLD.node, OLD.seq, OLD.sync_version, OLD.prompt, OLD.model_id, OLD.user_id, OLD.session_id,
        OLD.batch_job_id, OLD.item_index, OLD.custom_id, OLD.topic, OLD.tier, OLD.type, OLD.template_id,
        OLD.endpoint, OLD.client_id, OLD.starts, OLD.error_type, OLD.last_step, OLD.last_heartbeat,
        OLD.last_progress, OLD.progress_limit_ms, OLD.runner_seq, OLD.run_after, OLD.created_at, OLD.input_tokens,
        OLD.output_tokens, OLD.cost) THEN
        RAISE EXCEPTION 'of a generation only status, error_message, parameters, priority and dismissed_at can be changed here'
            USING HINT = 'The box that owns the row keeps all other columns.';
    END IF;
    IF change <> '{}' THEN
        INSERT INTO genrun_orders (node, kind, target, change) VALUES (OLD.node, 'generation', OLD.id, change);
    END IF;
    RETURN NEW;
END $$;

CREATE OR REPLACE FUNCTION genrun_order_batch_job() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER SET search_path FROM CURRENT AS $$
DECLARE
    change jsonb := '{}';
BEGIN
    IF NEW.status IS DISTINCT FROM OLD.status THEN
        change := change || jsonb_build_object('status', NEW.status);
    END IF;
    IF NEW.paused_reason IS DISTINCT FROM OLD.paused_reason THEN
        change := change || jsonb_build_object('paused_reason', NEW.paused_reason);
    END IF;
    IF ROW(NEW.id, NEW.node, NEW.sync_version, NEW.name, NEW.user_id, NEW.model_id, NEW.total_items,
        NEW.completed_items, NEW.successful_items, NEW.failed_items, NEW.cancelled_items, NEW.queued_items,
        NEW.processing_items, NEW.input_tokens, NEW.output_tokens, NEW.concurrency, NEW.on_error, NEW.max_failures,
        NEW.estimated_cost, NEW.actual_cost, NEW.max_cost, NEW.status_reason, NEW.format, NEW.client_id,
        NEW.priority, NEW.created_at)
        IS DISTINCT FROM ROW(OLD.id, OLD.node, OLD.sync_version, OLD.name, OLD.user_id, OLD.model_id, OLD.total_items,
        OLD.completed_items, OLD.successful_items, OLD.failed_items, OLD.cancelled_items, OLD.queued_items,
        OLD.processing_items, OLD.input_tokens, OLD.output_tokens, OLD.concurrency, OLD.on_error, OLD.max_failures,
        OLD.estimated_cost, OLD.actual_cost, OLD.max_cost, OLD.status_reason, OLD.format, OLD.client_id,
        OLD.priority, OLD.created_at) THEN
        RAISE EXCEPTION 'of a batch job only status and paused_reason can be changed here'
            USING HINT = 'The box that owns the row keeps all other columns.';
    END IF;
    IF change <> '{}' THEN
        INSERT INTO genrun_orders (node, kind, target, change) VALUES (OLD.node, 'batch_job', OLD.id, change);
    END IF;
    RETURN NEW;
END $$;

CREATE OR REPLACE TRIGGER genrun_order BEFORE UPDATE ON generations FOR EACH ROW
WHEN (current_setting('genrun.writer', true) IS DISTINCT FROM 'sync') EXECUTE FUNCTION genrun_order_generation();
CREATE OR REPLACE TRIGGER genrun_order BEFORE UPDATE ON batch_jobs FOR EACH ROW
WHEN (current_setting('genrun.writer', true) IS DISTINCT FROM 'sync') EXECUTE FUNCTION genrun_order_batch_job();

---------------------------------------------------------------------------------------------------
-- Views and the function, as people's SQL knows them
---------------------------------------------------------------------------------------------------

CREATE OR REPLACE VIEW batch_items AS
SELECT g.seq AS id, g.batch_job_id, g.item_index,
    g.custom_id, g.status, g.topic, g.tier, g.parameters, g.id AS conversation_id,
    coalesce(g.error_message, CASE WHEN g.status = 'cancelled' THEN g.parameters ->> 'cancelledReason' END) AS error_message,
    g.started_at, g.completed_at
FROM generations g WHERE g.batch_job_id IS NOT NULL;

CREATE OR REPLACE VIEW batch_job_logs AS
SELECT node, id, created_at, level, event, generation_id, batch_job_id, attempt, message, data
FROM logs WHERE batch_job_id IS NOT NULL;

-- Exactly these columns in this order: whoever pastes a replacement of the same shape succeeds.
CREATE OR REPLACE VIEW failed_generations_view AS
SELECT g.id, g.user_id, g.model_id, g.prompt, g.status, g.created_at, g.error_message, g.error_type,
    p.display_name AS user_display_name, p.username, s.name AS session_name, j.name AS project_name
FROM generations g
LEFT JOIN profiles p ON p.id = g.user_id
LEFT JOIN sessions s ON s.id = g.session_id
LEFT JOIN projects j ON j.id = s.project_id
WHERE g.status = 'failed' AND g.dismissed_at IS NULL;

CREATE OR REPLACE VIEW failure_stats AS
SELECT model_id, count(*) AS failure_count, count(DISTINCT user_id) AS affected_users, max(completed_at) AS latest_failure
FROM generations
WHERE status = 'failed' AND dismissed_at IS NULL AND completed_at >= now() - interval '24 hours'
GROUP BY model_id ORDER BY failure_count DESC, model_id;

CREATE OR REPLACE FUNCTION get_failure_stats(hours_back INTEGER DEFAULT 24)
RETURNS TABLE (model_id text, failure_count bigint, affected_users bigint, latest_failure timestamptz)
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
    SELECT g.model_id, count(*), count(DISTINCT g.user_id), max(g.completed_at)
    FROM generations g
    WHERE g.status = 'failed' AND g.dismissed_at IS NULL AND g.completed_at >= now() - make_interval(hours => hours_back)
    GROUP BY g.model_id ORDER BY count(*) DESC, g.model_id
$$;

CREATE OR REPLACE VIEW recent_generations AS
SELECT g.id, g.status, left(g.prompt, 30) AS prompt_preview, g.model_id, g.created_at,
    floor(extract(epoch FROM now() - g.created_at))::bigint AS age_seconds,
    (SELECT count(*) FROM outputs o WHERE o.generation_id = g.id) AS output_count
FROM generations g ORDER BY g.created_at DESC, g.id DESC LIMIT 20;

-- What hangs, as far as its box has told: of a box that is away nobody knows.
CREATE OR REPLACE VIEW stuck_generations AS
SELECT g.id, g.status, left(g.prompt, 50) AS prompt_preview, g.model_id, g.user_id, g.session_id, g.batch_job_id,
    g.created_at, g.started_at, floor(extract(epoch FROM now() - g.created_at) / 60)::bigint AS age_minutes, g.error_message,
    (SELECT count(*) FROM outputs o WHERE o.generation_id = g.id) AS output_count,
    g.last_step, g.last_heartbeat, g.last_progress,
    CASE WHEN g.runner_seq IS DISTINCT FROM n.runner_seq THEN 'its runner is gone'
         WHEN g.last_heartbeat + make_interval(secs => n.heartbeat_timeout_ms / 1000.0) < now()
            THEN 'no heartbeat for ' || floor(extract(epoch FROM now() - g.last_heartbeat))::bigint || ' s'
         ELSE 'no progress for ' || floor(extract(epoch FROM now() - g.last_progress))::bigint || ' s' END AS why
FROM generations g LEFT JOIN genrun_nodes n ON n.node = g.node
WHERE g.status = 'processing' AND g.dismissed_at IS NULL AND (
    g.runner_seq IS DISTINCT FROM n.runner_seq
    OR g.last_heartbeat + make_interval(secs => n.heartbeat_timeout_ms / 1000.0) < now()
    OR g.last_progress + make_interval(secs => g.progress_limit_ms / 1000.0) < now());

CREATE OR REPLACE FUNCTION genrun_order_item() RETURNS trigger LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
BEGIN
    IF (NEW.id, NEW.batch_job_id, NEW.item_index, NEW.custom_id, NEW.topic, NEW.tier, NEW.conversation_id, NEW.parameters)
        IS DISTINCT FROM (OLD.id, OLD.batch_job_id, OLD.item_index, OLD.custom_id, OLD.topic, OLD.tier, OLD.conversation_id, OLD.parameters) THEN
        RAISE EXCEPTION 'of a batch item only status and error_message can be changed here';
    END IF;
    UPDATE generations SET status = NEW.status,
        error_message = CASE WHEN NEW.error_message IS DISTINCT FROM OLD.error_message THEN NEW.error_message ELSE error_message END
    WHERE id = OLD.conversation_id;
    RETURN NEW;
END $$;
CREATE OR REPLACE TRIGGER genrun_order INSTEAD OF UPDATE ON batch_items FOR EACH ROW EXECUTE FUNCTION genrun_order_item();

-- Whoever asks a view sees what the policies of the tables let them see (from Postgres 15 on; before, a view shows
-- what its owner may see).
DO $$
DECLARE
    name text;
BEGIN
    IF current_setting('server_version_num')::integer >= 150000 THEN
        FOREACH name IN ARRAY ARRAY['batch_items', 'batch_job_logs', 'failed_generations_view', 'failure_stats',
            'recent_generations', 'stuck_generations'] LOOP
            EXECUTE format('ALTER VIEW %I SET (security_invoker = true)', name);
        END LOOP;
    END IF;
END $$;
