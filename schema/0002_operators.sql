-- What people who run genrun need beside the queue itself: periodic jobs and alerts; reports.
-- The rules of 0001_initial.sql hold here, too.

---------------------------------------------------------------------------------------------------
-- Periodic jobs and alerts
---------------------------------------------------------------------------------------------------

-- The last run of each periodic job that is worth knowing: one that a person or cron asked for, or that found
-- something or failed. A runner's run that finds nothing is not written down: an idle box writes to no disk.
-- Who works on one now holds the lock job:<name> in `locks`.
CREATE TABLE jobs (
    name       TEXT PRIMARY KEY,
    started_at INTEGER NOT NULL,
    ended_at   INTEGER NOT NULL,
    outcome    TEXT NOT NULL CHECK (outcome='done' OR outcome='failed'),
    found      INTEGER NOT NULL DEFAULT 0,  -- what was wrong, or had its time
    fixed      INTEGER NOT NULL DEFAULT 0,  -- how much of that is right again, or gone
    message    TEXT,                        -- of a failure: what was wrong and what to do
    run_by     TEXT NOT NULL                -- runner or command, and its process id
) STRICT, WITHOUT ROWID;

-- Thresholds that are crossed now: a row comes with the event alert.<name> and goes with alert.<name>_over.
CREATE TABLE alerts (
    name    TEXT PRIMARY KEY,               -- stuck, failure_rate
    since   INTEGER NOT NULL,
    value   REAL NOT NULL,                  -- when it was crossed: generations, or a share of 1
    message TEXT NOT NULL
) STRICT, WITHOUT ROWID;

---------------------------------------------------------------------------------------------------
-- Lists and reports
---------------------------------------------------------------------------------------------------

-- Delayed rows in the order of lists. (An index of all that waits, or of all that is completed, would cost every item
-- a page; what is claimed without a delay never stands in this one.)
CREATE INDEX generation_delayed_seq ON generation (seq) WHERE status='queued' AND run_after IS NOT NULL;

-- Each completed one has an output, if an empty one: lists of them go by the outputs.
INSERT INTO output (key, mime, content, bytes, created_at)
    SELECT g.seq * 1024, 'text/plain', '', 0, g.completed_at FROM generation g
    WHERE g.status='completed' AND NOT EXISTS (SELECT 1 FROM output o WHERE o.key = g.seq * 1024);

-- As before, but a runner whose end is known (end_reason) is gone also before the next one has swept up behind it
-- (stopped_at): a command that finds the owner's lock free writes that down.
DROP VIEW stuck_generations;
CREATE VIEW stuck_generations AS
WITH present (seq, timeout, lives) AS (
    SELECT seq, heartbeat_timeout_ms, stopped_at IS NULL AND end_reason IS NULL FROM runners ORDER BY seq DESC LIMIT 1
), clock (now) AS (SELECT CAST(round((julianday('now')-2440587.5)*86400000) AS INTEGER))
SELECT id, status, substr(prompt, 1, 50) AS prompt_preview, model_id, user_id, session_id, batch_job_id, created_at, started_at,
    (clock.now - created_at) / 60000 AS age_minutes, error_message,
    (SELECT count(*) FROM output o WHERE o.key BETWEEN g.seq * 1024 AND g.seq * 1024 + 1023) AS output_count,
    last_step, last_heartbeat, last_progress,
    CASE WHEN g.runner_seq IS NOT (SELECT seq FROM present WHERE lives)
            THEN 'its runner is gone'
         WHEN last_heartbeat + (SELECT timeout FROM present) < clock.now
            THEN 'no heartbeat for ' || ((clock.now - last_heartbeat) / 1000) || ' s'
         ELSE 'no progress for ' || ((clock.now - last_progress) / 1000) || ' s' END AS why
FROM generations g, clock
WHERE status='processing' AND dismissed_at IS NULL AND (
    g.runner_seq IS NOT (SELECT seq FROM present WHERE lives)
    OR last_heartbeat + (SELECT timeout FROM present) < clock.now
    OR last_progress + (SELECT progress_limit_ms FROM generation_live l WHERE l.seq = g.seq) < clock.now);

---------------------------------------------------------------------------------------------------
-- Requests
---------------------------------------------------------------------------------------------------

-- Queued generations that a person asked to be run next, beside every limit of concurrency, also while their batch
-- job is paused. The claim ends the request, so each is served once, whichever runner does it.
CREATE TABLE run_request (
    generation_seq INTEGER PRIMARY KEY,     -- generation.seq
    requested_at   INTEGER NOT NULL
) STRICT;
