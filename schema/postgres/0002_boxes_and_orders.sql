-- The mirror in Postgres, version 2: each box leaves a mark of how far its log had come, what its clock says and what it has
-- said of people; orders know what the row was before, and by whom they were typed; items are not deleted through their view;
-- and what runs with the owner's rights is safe from other roles.

---------------------------------------------------------------------------------------------------
-- Boxes
---------------------------------------------------------------------------------------------------

-- Written in one transaction with the rows: the log of the box had come to row log_id, of which log_digest is the digest,
-- when they were read. A box that has another row there, or has not come so far, was set back, as by a backup.
-- told_at: what the box's own clock said at synced_at. every_ms: how often a runner there tells of its live work; NULL: it
-- is told by hand.
ALTER TABLE genrun_nodes ADD COLUMN IF NOT EXISTS log_id bigint, ADD COLUMN IF NOT EXISTS log_digest text,
    ADD COLUMN IF NOT EXISTS told_at timestamptz, ADD COLUMN IF NOT EXISTS every_ms bigint;

-- What hangs, as far as its box has told: of a box that is away nobody knows. Its heartbeats are by its own clock, which may
-- be a wrong one, and are some time on the way.
CREATE OR REPLACE VIEW stuck_generations AS
SELECT g.id, g.status, left(g.prompt, 50) AS prompt_preview, g.model_id, g.user_id, g.session_id, g.batch_job_id,
    g.created_at, g.started_at, floor(extract(epoch FROM coalesce(n.at, now()) - g.created_at) / 60)::bigint AS age_minutes, g.error_message,
    (SELECT count(*) FROM outputs o WHERE o.generation_id = g.id) AS output_count,
    g.last_step, g.last_heartbeat, g.last_progress,
    CASE WHEN g.runner_seq IS DISTINCT FROM n.runner_seq THEN 'its runner is gone'
         WHEN g.last_heartbeat + n.heartbeat_timeout + n.every < n.at
            THEN 'no heartbeat for ' || floor(extract(epoch FROM n.at - g.last_heartbeat))::bigint || ' s'
         ELSE 'no progress for ' || floor(extract(epoch FROM n.at - g.last_progress))::bigint || ' s' END AS why
FROM generations g LEFT JOIN (
    SELECT node, runner_seq, coalesce(told_at + (now() - synced_at), now()) AS at,
        make_interval(secs => heartbeat_timeout_ms / 1000.0) AS heartbeat_timeout,
        make_interval(secs => coalesce(every_ms, 0) / 1000.0) AS every
    FROM genrun_nodes) n ON n.node = g.node
WHERE g.status = 'processing' AND g.dismissed_at IS NULL AND (
    g.runner_seq IS DISTINCT FROM n.runner_seq
    OR g.last_heartbeat + n.heartbeat_timeout + n.every < n.at
    OR g.last_progress + make_interval(secs => g.progress_limit_ms / 1000.0) + n.every < n.at);
DO $$
BEGIN
    IF current_setting('server_version_num')::integer >= 150000 THEN
        ALTER VIEW stuck_generations SET (security_invoker = true);
    END IF;
END $$;

-- What each box has said of people and places, which belong to no box: only what it has changed since may replace what
-- others said meanwhile.
CREATE TABLE IF NOT EXISTS genrun_told (
    node   text NOT NULL,
    kind   text NOT NULL, -- the table
    id     text NOT NULL,
    digest text NOT NULL, -- of the row
    PRIMARY KEY (node, kind, id)
);

---------------------------------------------------------------------------------------------------
-- Orders
---------------------------------------------------------------------------------------------------

-- before: what stood in the columns that were changed. gone: refused since the box has no such row any more; its row here,
-- which no box writes again, was set back.
ALTER TABLE genrun_orders ADD COLUMN IF NOT EXISTS before jsonb, ADD COLUMN IF NOT EXISTS gone boolean NOT NULL DEFAULT false;

-- Who types. With PostgREST all come as one role, and say who they are in the claims of their token. Anybody can say that:
-- so it stands behind the name that Postgres knows.
CREATE OR REPLACE FUNCTION genrun_typed_by() RETURNS text LANGUAGE plpgsql STABLE SET search_path TO pg_catalog, pg_temp AS $$
DECLARE
    said text := current_setting('request.jwt.claims', true);
    claims jsonb;
BEGIN
    IF coalesce(said, '') = '' THEN
        RETURN session_user;
    END IF;
    BEGIN
        claims := said::jsonb;
    EXCEPTION WHEN OTHERS THEN
        RETURN session_user; -- no JSON is no reason to refuse an order
    END;
    RETURN session_user::text || coalesce(' (' || nullif(concat_ws(', ', 'role ' || left(claims ->> 'role', 64),
        'sub ' || left(claims ->> 'sub', 128)), '') || ')', '');
END $$;

-- These run with the rights of their owner: every name in them is found in pg_catalog, or is written with its schema, so
-- that no table or function of another role can stand in for it.
DO $migration$
BEGIN
    EXECUTE format($function$
CREATE OR REPLACE FUNCTION %1$I.genrun_order_generation() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path TO pg_catalog, pg_temp SET timezone TO 'UTC' AS $body$
DECLARE
    change jsonb := '{}';
    before jsonb := '{}';
BEGIN
    IF TG_RELID <> %2$L::regclass THEN
        RAISE EXCEPTION 'orders are typed into the mirror''s own tables';
    END IF;
    IF OLD.node = '' THEN -- it was there before the mirror, and is no box's
        RETURN NEW;
    END IF;
    IF NEW.status IS DISTINCT FROM OLD.status THEN
        change := change || jsonb_build_object('status', NEW.status);
        before := before || jsonb_build_object('status', OLD.status);
    END IF;
    IF NEW.error_message IS DISTINCT FROM OLD.error_message THEN
        change := change || jsonb_build_object('error_message', NEW.error_message);
        before := before || jsonb_build_object('error_message', OLD.error_message);
    END IF;
    IF NEW.parameters IS DISTINCT FROM OLD.parameters THEN
        change := change || jsonb_build_object('parameters', NEW.parameters);
        before := before || jsonb_build_object('parameters', OLD.parameters);
    END IF;
    IF NEW.priority IS DISTINCT FROM OLD.priority THEN
        change := change || jsonb_build_object('priority', NEW.priority);
        before := before || jsonb_build_object('priority', OLD.priority);
    END IF;
    IF NEW.dismissed_at IS DISTINCT FROM OLD.dismissed_at THEN
        change := change || jsonb_build_object('dismissed_at', NEW.dismissed_at);
        before := before || jsonb_build_object('dismissed_at', OLD.dismissed_at);
    END IF;
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
    -- These go with a change of state by habit; the box stamps them itself.
    IF change = '{}' THEN
        NEW.attempts := OLD.attempts;
        NEW.started_at := OLD.started_at;
        NEW.completed_at := OLD.completed_at;
        RETURN NEW;
    END IF;
    before := before || jsonb_build_object('attempts', OLD.attempts, 'started_at', OLD.started_at,
        'completed_at', OLD.completed_at);
    INSERT INTO %1$I.genrun_orders (node, kind, target, change, before, typed_by)
    VALUES (OLD.node, 'generation', OLD.id, change, before, %1$I.genrun_typed_by());
    RETURN NEW;
END $body$
$function$, current_schema(), format('%I.generations', current_schema()));

    EXECUTE format($function$
CREATE OR REPLACE FUNCTION %1$I.genrun_order_batch_job() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER
SET search_path TO pg_catalog, pg_temp SET timezone TO 'UTC' AS $body$
DECLARE
    change jsonb := '{}';
    before jsonb := '{}';
BEGIN
    IF TG_RELID <> %2$L::regclass THEN
        RAISE EXCEPTION 'orders are typed into the mirror''s own tables';
    END IF;
    IF OLD.node = '' THEN
        RETURN NEW;
    END IF;
    IF NEW.status IS DISTINCT FROM OLD.status THEN
        change := change || jsonb_build_object('status', NEW.status);
        before := before || jsonb_build_object('status', OLD.status);
    END IF;
    IF NEW.paused_reason IS DISTINCT FROM OLD.paused_reason THEN
        change := change || jsonb_build_object('paused_reason', NEW.paused_reason);
        before := before || jsonb_build_object('paused_reason', OLD.paused_reason);
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
    IF change = '{}' THEN
        NEW.started_at := OLD.started_at;
        NEW.completed_at := OLD.completed_at;
        NEW.last_activity_at := OLD.last_activity_at;
        RETURN NEW;
    END IF;
    before := before || jsonb_build_object('started_at', OLD.started_at, 'completed_at', OLD.completed_at,
        'last_activity_at', OLD.last_activity_at);
    INSERT INTO %1$I.genrun_orders (node, kind, target, change, before, typed_by)
    VALUES (OLD.node, 'batch_job', OLD.id, change, before, %1$I.genrun_typed_by());
    RETURN NEW;
END $body$
$function$, current_schema(), format('%I.batch_jobs', current_schema()));

    -- Who may not write what the sync writes beside the rows does not pass for it either.
    EXECUTE format($trigger$
CREATE OR REPLACE TRIGGER genrun_order BEFORE UPDATE ON %1$I.generations FOR EACH ROW
WHEN (current_setting('genrun.writer', true) IS DISTINCT FROM 'sync'
    OR NOT has_table_privilege(%2$L::regclass, 'UPDATE')) EXECUTE FUNCTION %1$I.genrun_order_generation();
CREATE OR REPLACE TRIGGER genrun_order BEFORE UPDATE ON %1$I.batch_jobs FOR EACH ROW
WHEN (current_setting('genrun.writer', true) IS DISTINCT FROM 'sync'
    OR NOT has_table_privilege(%2$L::regclass, 'UPDATE')) EXECUTE FUNCTION %1$I.genrun_order_batch_job();
ALTER FUNCTION %1$I.genrun_order_item() SET search_path TO %1$I, pg_temp;
$trigger$, current_schema(), format('%I.genrun_nodes', current_schema()));
END $migration$;

-- What was typed into rows that their box has not any more: the orders of a row are taken back from the last to the first,
-- each where the row still shows what was typed. (The columns that go with an order by habit: as they were before it.)
CREATE OR REPLACE FUNCTION genrun_set_back(box text, targets uuid[]) RETURNS void LANGUAGE plpgsql
SET search_path FROM CURRENT SET timezone TO 'UTC' AS $$
DECLARE
    one uuid;
    job boolean;
    was jsonb;
    now jsonb;
    o record;
BEGIN
    FOR one, job IN SELECT DISTINCT t, d.kind = 'batch_job' FROM unnest(targets) AS t
        JOIN genrun_orders d ON d.target = t AND d.node = box AND d.gone
        WHERE NOT EXISTS (SELECT FROM genrun_orders x WHERE x.target = t AND x.node = box AND x.state = 'open') LOOP
        IF job THEN
            SELECT jsonb_build_object('status', b.status, 'paused_reason', b.paused_reason, 'started_at', b.started_at,
                'completed_at', b.completed_at, 'last_activity_at', b.last_activity_at)
            INTO was FROM batch_jobs b WHERE b.id = one AND b.node = box FOR UPDATE;
        ELSE
            SELECT jsonb_build_object('status', g.status, 'error_message', g.error_message, 'parameters', g.parameters,
                'priority', g.priority, 'dismissed_at', g.dismissed_at, 'attempts', g.attempts,
                'started_at', g.started_at, 'completed_at', g.completed_at)
            INTO was FROM generations g WHERE g.id = one AND g.node = box FOR UPDATE;
        END IF;
        now := was;
        FOR o IN SELECT d.change, d.before FROM genrun_orders d
            WHERE d.target = one AND d.node = box AND d.gone AND d.before IS NOT NULL ORDER BY d.id DESC LOOP
            SELECT now || coalesce(jsonb_object_agg(k.key, k.value), '{}') INTO now FROM jsonb_each(o.before) k
            WHERE NOT o.change ? k.key OR o.change -> k.key = now -> k.key;
        END LOOP;
        CONTINUE WHEN now IS NOT DISTINCT FROM was;
        IF job THEN
            UPDATE batch_jobs SET status = now ->> 'status', paused_reason = now ->> 'paused_reason',
                started_at = (now ->> 'started_at')::timestamptz, completed_at = (now ->> 'completed_at')::timestamptz,
                last_activity_at = (now ->> 'last_activity_at')::timestamptz
            WHERE id = one AND node = box;
        ELSE
            UPDATE generations SET status = now ->> 'status', error_message = now ->> 'error_message',
                parameters = now -> 'parameters', priority = (now ->> 'priority')::integer,
                dismissed_at = (now ->> 'dismissed_at')::timestamptz, attempts = (now ->> 'attempts')::integer,
                started_at = (now ->> 'started_at')::timestamptz, completed_at = (now ->> 'completed_at')::timestamptz
            WHERE id = one AND node = box;
        END IF;
    END LOOP;
END $$;

-- A view of one table would pass a DELETE on to it.
CREATE OR REPLACE FUNCTION genrun_refuse_item() RETURNS trigger LANGUAGE plpgsql SET search_path TO pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION 'an item goes with its batch job: delete on the box that owns it, with deletes = yes in [sync]';
END $$;
CREATE OR REPLACE TRIGGER genrun_refuse INSTEAD OF DELETE ON batch_items FOR EACH ROW EXECUTE FUNCTION genrun_refuse_item();

---------------------------------------------------------------------------------------------------
-- Rights
---------------------------------------------------------------------------------------------------

-- What is ours alone is not for others, whatever the default privileges of the schema give away: with EXECUTE on a trigger's
-- function a role could hang it to a table of its own and give orders for any row; with a right on the table of orders it
-- could read those of others, and forge some. Whoever is to read them is given SELECT after this. (Roles that pass by row
-- level security, too, are trusted: one of them may be the sync's.)
DO $$
DECLARE
    revoke text;
BEGIN
    FOR revoke IN
        SELECT format('REVOKE ALL ON FUNCTION %s FROM %s CASCADE', p.oid::regprocedure,
            coalesce(quote_ident(r.rolname), 'PUBLIC'))
        FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace AND n.nspname = current_schema()
        CROSS JOIN LATERAL aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
        LEFT JOIN pg_roles r ON r.oid = a.grantee
        WHERE p.proname IN ('genrun_typed_by', 'genrun_order_generation', 'genrun_order_batch_job', 'genrun_order_item',
            'genrun_refuse_item', 'genrun_set_back') AND a.grantee <> p.proowner AND r.rolbypassrls IS NOT TRUE
        UNION
        SELECT format(CASE WHEN c.relkind = 'S' THEN 'REVOKE ALL ON SEQUENCE %s FROM %s CASCADE'
            WHEN c.relname = 'genrun_orders' THEN 'REVOKE ALL ON TABLE %s FROM %s CASCADE'
            ELSE 'REVOKE INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER ON TABLE %s FROM %s CASCADE' END,
            c.oid::regclass, coalesce(quote_ident(r.rolname), 'PUBLIC'))
        FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace AND n.nspname = current_schema()
        CROSS JOIN LATERAL aclexplode(c.relacl) a
        LEFT JOIN pg_roles r ON r.oid = a.grantee
        WHERE c.relname IN ('genrun_orders', 'genrun_orders_id_seq', 'genrun_nodes', 'genrun_told', 'genrun_migrations')
            AND a.grantee <> c.relowner AND r.rolbypassrls IS NOT TRUE
    LOOP
        EXECUTE revoke;
    END LOOP;
END $$;
