-- What the HTTP API keeps beside the queue itself. The rules of 0001_initial.sql hold here, too.

---------------------------------------------------------------------------------------------------
-- Files and batches of OpenAI's API
---------------------------------------------------------------------------------------------------

-- Uploaded files. The content is a file in the data folder that has the id for its name. Ids sort by age and are the
-- keyset of lists, so a page goes on behind a file that was deleted meanwhile.
CREATE TABLE file (
    id         TEXT PRIMARY KEY NOT NULL,       -- file- and the 32 hex digits of a UUIDv7
    user_id    TEXT,
    filename   TEXT NOT NULL,                   -- as the client named it: for people, never a path
    purpose    TEXT NOT NULL,                   -- batch, …
    bytes      INTEGER NOT NULL CHECK (bytes >= 0),
    created_at INTEGER NOT NULL,
    expires_at INTEGER                          -- gone from then on, and removed soon after; NULL: never
) STRICT;
CREATE INDEX file_user ON file (user_id, id) WHERE user_id IS NOT NULL;
CREATE INDEX file_purpose ON file (purpose, id);
CREATE INDEX file_expiry ON file (expires_at) WHERE expires_at IS NOT NULL;

-- What POST /v1/batches asked for. From the moment its file was read whole it is a batch job like any other, whose
-- counters and state are its own (view openai_batches); before that, and when the file is refused, it is only this.
CREATE TABLE openai_batch (
    id                   TEXT PRIMARY KEY NOT NULL, -- batch_ and the 32 hex digits of the id that its batch job gets
    user_id              TEXT,
    asked_by             TEXT NOT NULL,         -- name of the credential (not its value): a request is sent again by the same one
    input_file_id        TEXT NOT NULL,
    endpoint             TEXT NOT NULL,         -- that every line must name
    completion_window    TEXT NOT NULL,         -- as given: 24h, …, none
    metadata             TEXT,                  -- JSON object of strings, as given
    output_expires_after INTEGER,               -- seconds from the end until the result files are gone; NULL: never
    idempotency_key      TEXT,                  -- unique for a user
    batch_seq            INTEGER,               -- batch_job.seq; NULL: its file is not read yet, or never will be
    created_at           INTEGER NOT NULL,
    expires_at           INTEGER,               -- end of the window; NULL: none
    window_open          INTEGER NOT NULL DEFAULT 1 CHECK (window_open=0 OR window_open=1), -- 0: its end was seen to
    failed_at            INTEGER,               -- the file was refused
    cancelled_at         INTEGER,               -- before the file was read; later it is the batch job that is cancelled
    expired_at           INTEGER,               -- the window was over before all had ended
    errors               TEXT,                  -- why the file was refused: JSON array of {code, message, param, line}
    output_deleted_at    INTEGER,               -- the result files are made when they are read: deleted are their names only
    error_deleted_at     INTEGER,
    output_bytes         INTEGER,               -- their sizes, as counted when the batch job had
    error_bytes          INTEGER,
    sized_at             INTEGER                -- this last_activity_at
) STRICT;
CREATE INDEX openai_batch_user ON openai_batch (user_id, id) WHERE user_id IS NOT NULL;
CREATE UNIQUE INDEX openai_batch_key ON openai_batch (coalesce(user_id, ''), idempotency_key) WHERE idempotency_key IS NOT NULL;
CREATE UNIQUE INDEX openai_batch_job ON openai_batch (batch_seq) WHERE batch_seq IS NOT NULL;
CREATE INDEX openai_batch_file ON openai_batch (input_file_id, id);
-- Those whose file is still to be read.
CREATE INDEX openai_batch_validating ON openai_batch (input_file_id)
    WHERE batch_seq IS NULL AND failed_at IS NULL AND cancelled_at IS NULL AND expired_at IS NULL;
-- Those that ended before they became a batch job: retention removes them.
CREATE INDEX openai_batch_refused ON openai_batch (coalesce(failed_at, cancelled_at, expired_at)) WHERE batch_seq IS NULL;
CREATE INDEX openai_batch_window ON openai_batch (expires_at) WHERE window_open=1 AND expires_at IS NOT NULL;

-- A batch job is opened for it in the same moment in which it counts as read: killed at any point, a process leaves
-- one that is to be read (again), or one that runs. What ended meanwhile is not opened.
CREATE TRIGGER openai_batch_open AFTER UPDATE OF opened_at ON batch_job
WHEN OLD.opened_at IS NULL AND NEW.opened_at IS NOT NULL AND NEW.client_id IS NOT NULL
BEGIN
    SELECT RAISE(ABORT, 'the batch was cancelled, or its window was over, before its file was read')
    FROM openai_batch WHERE id = NEW.client_id AND user_id IS NEW.user_id
        AND (failed_at IS NOT NULL OR cancelled_at IS NOT NULL OR expired_at IS NOT NULL);
    UPDATE openai_batch SET batch_seq = NEW.seq WHERE id = NEW.client_id AND user_id IS NEW.user_id AND batch_seq IS NULL;
END;
-- It goes with its batch job.
CREATE TRIGGER openai_batch_delete AFTER DELETE ON batch_job WHEN OLD.opened_at IS NOT NULL
BEGIN
    DELETE FROM openai_batch WHERE batch_seq = OLD.seq;
END;
CREATE TRIGGER file_delete_guard BEFORE DELETE ON file
WHEN EXISTS (SELECT 1 FROM openai_batch WHERE input_file_id = OLD.id
    AND batch_seq IS NULL AND failed_at IS NULL AND cancelled_at IS NULL AND expired_at IS NULL)
BEGIN
    SELECT RAISE(ABORT, 'a batch has not read this file yet: wait for that, or cancel the batch first');
END;

-- The batches as OpenAI's API shows them.
CREATE VIEW openai_batches AS
SELECT o.id, o.user_id,
    CASE WHEN o.failed_at IS NOT NULL THEN 'failed'
         WHEN o.batch_seq IS NULL THEN CASE WHEN o.cancelled_at IS NOT NULL THEN 'cancelled'
            WHEN o.expired_at IS NOT NULL THEN 'expired' ELSE 'validating' END
         WHEN c.queued_items + c.processing_items > 0 THEN CASE WHEN o.expired_at IS NOT NULL THEN 'finalizing'
            WHEN b.status='cancelled' THEN 'cancelling' ELSE 'in_progress' END
         WHEN o.expired_at IS NOT NULL THEN 'expired'
         WHEN b.status='cancelled' THEN 'cancelled'
         ELSE 'completed' END AS status,
    o.input_file_id, o.endpoint, o.completion_window, o.metadata, o.output_expires_after, o.errors, b.id AS batch_job_id,
    o.created_at, o.expires_at, b.opened_at AS in_progress_at, o.failed_at, o.expired_at,
    CASE WHEN o.expired_at IS NULL THEN coalesce(o.cancelled_at, CASE WHEN b.status='cancelled' THEN b.completed_at END) END
        AS cancelling_at,
    CASE WHEN c.queued_items + c.processing_items = 0 THEN max(coalesce(b.completed_at, 0), c.last_activity_at) END AS ended_at,
    coalesce(c.queued_items + c.processing_items + c.successful_items + c.failed_items + c.cancelled_items, 0) AS total,
    coalesce(c.successful_items, 0) AS completed, coalesce(c.failed_items + c.cancelled_items, 0) AS failed,
    coalesce(c.input_tokens, 0) AS input_tokens, coalesce(c.output_tokens, 0) AS output_tokens,
    (SELECT CASE WHEN min(model_id)=max(model_id) THEN min(model_id) END FROM lane
        WHERE batch_seq = o.batch_seq AND batch_seq <> 0) AS model,
    b.status='paused' AS paused, b.paused_reason, o.batch_seq, o.output_deleted_at, o.error_deleted_at,
    CASE WHEN o.sized_at = c.last_activity_at THEN o.output_bytes END AS output_bytes,
    CASE WHEN o.sized_at = c.last_activity_at THEN o.error_bytes END AS error_bytes, c.last_activity_at
FROM openai_batch o
LEFT JOIN batch_job b ON b.seq = o.batch_seq
LEFT JOIN batch_count c ON c.batch_seq = o.batch_seq;

---------------------------------------------------------------------------------------------------
-- Lists of a user's batch jobs
---------------------------------------------------------------------------------------------------

CREATE INDEX batch_job_user ON batch_job (user_id, seq) WHERE user_id IS NOT NULL;

---------------------------------------------------------------------------------------------------
-- Keys, by the end of their ids as people type it, and those that are good
---------------------------------------------------------------------------------------------------

CREATE INDEX api_keys_tail ON api_keys (substr(id, -8));
CREATE INDEX api_keys_good ON api_keys (id) WHERE revoked_at IS NULL;
CREATE INDEX api_keys_revoked ON api_keys (revoked_at) WHERE revoked_at IS NOT NULL;
