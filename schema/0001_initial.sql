-- genrun's database: every table, the state machine, and the views that people use.
--
-- Names in the singular are base tables: the program writes them. Names in the plural are what
-- people, scripts and other programs use: tables, or views with INSTEAD OF triggers through which
-- SELECT, UPDATE, INSERT and DELETE work when typed. The law (states, counters, log) stands on the
-- base tables, so no way in goes round it.
--
-- Times are Unix milliseconds. "Now" in SQL is CAST(round((julianday('now')-2440587.5)*86400000) AS INTEGER);
-- only what SQLite 3.38's bare shell knows is used. Three rules that cost dearly when broken:
--   * no IN (a, b, c) in CHECKs and triggers: from three literals on SQLite builds a temporary index each time;
--   * no trigger changes the status of a row of its own table: nested triggers are off by default;
--   * what changes state is a narrow row; texts stand apart and are written once.
-- To change the schema add schema/0002_….sql; a released file is never edited (checksums are kept).

---------------------------------------------------------------------------------------------------
-- Runners and their settings
---------------------------------------------------------------------------------------------------

-- One row for each start of a runner. The newest without stopped_at is the present one.
CREATE TABLE runners (
    seq                  INTEGER PRIMARY KEY AUTOINCREMENT, -- never used again: work of a dead one must not look like one's own
    id                   TEXT NOT NULL UNIQUE,  -- UUID of this start
    pid                  INTEGER NOT NULL,
    boot_id              TEXT NOT NULL,         -- the machine's boot: a crash of another boot counts for nobody
    host                 TEXT NOT NULL,
    version              TEXT NOT NULL,
    heartbeat_timeout_ms INTEGER NOT NULL,      -- no beat for so long: stuck
    started_at           INTEGER NOT NULL,
    heartbeat_at         INTEGER NOT NULL,      -- last beat; written only while work runs
    stopped_at           INTEGER,               -- a graceful end, or when the next runner found this one dead
    end_reason           TEXT                   -- stopped, drained, hung, crashed, rebooted
) STRICT;

-- What is known of a model beyond its configuration: why nothing is sent to it now.
CREATE TABLE model_state (
    model_id    TEXT PRIMARY KEY,
    state       TEXT NOT NULL DEFAULT 'ok'
        CONSTRAINT "the state of a model is ok, cooling or parked" CHECK (state='ok' OR state='cooling' OR state='parked'),
    reason      TEXT,             -- for people
    error_type  TEXT,
    since       INTEGER,          -- when it left ok
    until       INTEGER,          -- tried again then; NULL while parked: a person resumes it
    failures    INTEGER NOT NULL DEFAULT 0, -- unreachable so many times in a row
    unstreamed  INTEGER NOT NULL DEFAULT 0  -- its server refused to stream
) STRICT, WITHOUT ROWID;

---------------------------------------------------------------------------------------------------
-- Batch jobs
---------------------------------------------------------------------------------------------------

-- A named group of generations: what it is, and the state that its counters (batch_count) give it; only
-- paused and cancelled come from outside. Rows of it change seldom.
CREATE TABLE batch_job (
    seq            INTEGER PRIMARY KEY AUTOINCREMENT,
    id             TEXT NOT NULL UNIQUE,      -- UUIDv7
    name           TEXT,
    status         TEXT NOT NULL DEFAULT 'queued'
        CONSTRAINT "a batch job is queued, processing, paused, completed, failed or cancelled" CHECK (
            status='queued' OR status='processing' OR status='paused' OR status='completed'
            OR status='failed' OR status='cancelled'),
    user_id        TEXT,                      -- created by
    client_id      TEXT,                      -- idempotency key, unique for a user
    model_id       TEXT,                      -- for items that named none
    format         TEXT,                      -- openai, jsonl, txt: how it came
    priority       INTEGER NOT NULL DEFAULT 0,
    concurrency    INTEGER,                   -- items in flight at most; NULL: no limit of its own
    on_error       TEXT NOT NULL DEFAULT 'continue' CHECK (on_error='continue' OR on_error='stop'),
    max_failures   INTEGER,                   -- more failed items than this stop the batch
    estimated_cost REAL,                      -- USD
    max_cost       REAL,                      -- reaching it pauses the batch
    paused_reason  TEXT,
    cancel_reason  TEXT,
    stop_reason    TEXT,                      -- why no further item starts (on_error, max_failures)
    swept          INTEGER NOT NULL DEFAULT 0, -- 1: cancelled or stopped, and nothing of it waits any more
    over_budget    INTEGER NOT NULL DEFAULT 0, -- 1: it was paused by max_cost
    at_limit       INTEGER NOT NULL DEFAULT 0, -- 1: as many items in flight as `concurrency` allows
    writer         TEXT,                      -- process that fills it, until opened: boot:pid:start
    opened_at      INTEGER,                   -- NULL: still being filled; neither claimed nor listed
    created_at     INTEGER NOT NULL,
    completed_at   INTEGER,                   -- end of the batch
    -- Why its lanes are closed, as bits: 1 paused or cancelled, 4 at its own limit, 8 not opened, 16 stopped.
    blocked INTEGER GENERATED ALWAYS AS (
        (status='paused' OR status='cancelled') + 4 * at_limit + 8 * (opened_at IS NULL)
        + 16 * (stop_reason IS NOT NULL)) VIRTUAL
) STRICT;
CREATE UNIQUE INDEX batch_job_client ON batch_job (coalesce(user_id, ''), client_id) WHERE client_id IS NOT NULL;
CREATE INDEX batch_job_tail ON batch_job (substr(id, -8));
CREATE INDEX batch_job_unopened ON batch_job (seq) WHERE opened_at IS NULL;
-- Cancelled or stopped batches that may still hold waiting items: the runner sweeps them.
CREATE INDEX batch_job_sweep ON batch_job (seq) WHERE swept=0 AND (status='cancelled' OR stop_reason IS NOT NULL);

-- Counters, in narrow rows of their own since each transition changes one of them: of each batch job, and in
-- row 0 of all opened work together. Kept by the triggers of `generation`.
CREATE TABLE batch_count (
    batch_seq        INTEGER PRIMARY KEY,       -- batch_job.seq; 0: everything
    queued_items     INTEGER NOT NULL DEFAULT 0 CHECK (queued_items >= 0),
    processing_items INTEGER NOT NULL DEFAULT 0 CHECK (processing_items >= 0),
    successful_items INTEGER NOT NULL DEFAULT 0 CHECK (successful_items >= 0),
    failed_items     INTEGER NOT NULL DEFAULT 0 CHECK (failed_items >= 0),
    cancelled_items  INTEGER NOT NULL DEFAULT 0 CHECK (cancelled_items >= 0),
    input_tokens     INTEGER NOT NULL DEFAULT 0, -- of the last attempts
    output_tokens    INTEGER NOT NULL DEFAULT 0,
    actual_cost      REAL NOT NULL DEFAULT 0,    -- USD, failed attempts included
    concurrency      INTEGER,                    -- copy of batch_job.concurrency
    opened           INTEGER NOT NULL DEFAULT 0, -- 0: still being filled
    started_at       INTEGER,                    -- first start of an item
    last_activity_at INTEGER
) STRICT;
INSERT INTO batch_count (batch_seq, opened) VALUES (0, 1);

---------------------------------------------------------------------------------------------------
-- Lanes: where the claim looks
---------------------------------------------------------------------------------------------------

-- One row for each (model, user, batch, priority) that ever had work. The claim searches lanes, never
-- rows: what cannot run (parked model, paused batch, locked account) is left out by its lane, and
-- pausing a batch of a million items touches one lane.
CREATE TABLE lane (
    id        INTEGER PRIMARY KEY,
    model_id  TEXT NOT NULL,
    user_id   TEXT NOT NULL,                -- '' for none
    batch_seq INTEGER NOT NULL,             -- 0 for single generations
    priority  INTEGER NOT NULL,
    kind      INTEGER GENERATED ALWAYS AS (batch_seq <> 0) STORED, -- 0 single, 1 batch item: singles first
    blocked   INTEGER NOT NULL DEFAULT 0,   -- the batch's bits; 0: open
    ready     INTEGER NOT NULL DEFAULT 1,   -- 0: surely empty; 1 may be too high, never too low
    UNIQUE (model_id, user_id, batch_seq, priority)
) STRICT;
CREATE INDEX lane_open ON lane (model_id, priority DESC, kind, batch_seq, id) WHERE blocked=0 AND ready=1;
CREATE INDEX lane_batch ON lane (batch_seq) WHERE batch_seq<>0;

---------------------------------------------------------------------------------------------------
-- Generations
---------------------------------------------------------------------------------------------------

-- The narrow row that changes state.
CREATE TABLE generation (
    seq           INTEGER PRIMARY KEY AUTOINCREMENT,
    id            TEXT NOT NULL UNIQUE,         -- UUIDv7
    status        TEXT NOT NULL
        CONSTRAINT "a generation is queued, processing, completed, failed or cancelled" CHECK (
            status='queued' OR status='processing' OR status='completed' OR status='failed' OR status='cancelled'),
    lane          INTEGER NOT NULL,             -- lane.id
    run_after     INTEGER,                      -- not before; NULL: now
    suspect       INTEGER NOT NULL DEFAULT 0,   -- 1: was in flight in crashes; runs alone
    claim_token   TEXT,                         -- random, of the attempt in flight: the fence of every finish
    runner_seq    INTEGER,                      -- who runs or ran it last
    starts        INTEGER NOT NULL DEFAULT 0,   -- every start; never falls
    attempts      INTEGER NOT NULL DEFAULT 0,   -- starts that count against max_attempts
    started_at    INTEGER,                      -- of the last start
    completed_at  INTEGER,                      -- of the end
    last_step     TEXT,                         -- process:claim, provider:…, outputs:store
    note          TEXT,                         -- what the last transition was, for its event: {"event","level","message","data"}
    error_type    TEXT,
    error_message TEXT,
    error_detail  TEXT,                         -- further members of errorContext, JSON object
    cancel_reason TEXT,
    waiting_since INTEGER,                      -- first WAIT or PARK since the last success of anything
    crashes       INTEGER NOT NULL DEFAULT 0,   -- ends of a runner while in flight beside others
    crashes_alone INTEGER NOT NULL DEFAULT 0,   -- ends of a runner while it ran alone
    input_tokens  INTEGER,
    output_tokens INTEGER,
    cost          REAL,                         -- USD, failed attempts included
    dismissed_at  INTEGER,
    model_id      TEXT NOT NULL,
    user_id       TEXT,
    session_id    TEXT,
    batch_seq     INTEGER,                      -- batch_job.seq
    item_index    INTEGER,                      -- place in the batch, from 0
    client_id     TEXT,                         -- idempotency key, unique for a user
    priority      INTEGER NOT NULL DEFAULT 0
        CONSTRAINT "a priority is between -1000 and 1000" CHECK (priority BETWEEN -1000 AND 1000),
    created_at    INTEGER NOT NULL,
    CONSTRAINT "a processing generation has a claim token, and only the runner gives one"
        CHECK ((status='processing') = (claim_token IS NOT NULL)),
    CONSTRAINT "a generation has completed_at exactly when it is completed, failed or cancelled"
        CHECK ((completed_at IS NULL) = (status='queued' OR status='processing')),
    CONSTRAINT "a failed generation has error_type and error_message"
        CHECK (status<>'failed' OR (error_type IS NOT NULL AND error_message IS NOT NULL))
) STRICT;
CREATE INDEX generation_ready ON generation (lane, seq) WHERE status='queued' AND run_after IS NULL AND suspect=0;
CREATE INDEX generation_delayed ON generation (run_after) WHERE status='queued' AND run_after IS NOT NULL;
CREATE INDEX generation_suspect ON generation (crashes_alone, seq) WHERE status='queued' AND suspect=1;
CREATE INDEX generation_processing ON generation (started_at) WHERE status='processing';
CREATE INDEX generation_failed ON generation (completed_at) WHERE status='failed';
CREATE INDEX generation_failed_seq ON generation (seq) WHERE status='failed';
CREATE INDEX generation_cancelled_seq ON generation (seq) WHERE status='cancelled';
CREATE INDEX generation_batch ON generation (batch_seq, item_index) WHERE batch_seq IS NOT NULL;
CREATE INDEX generation_user ON generation (user_id, seq) WHERE user_id IS NOT NULL;
CREATE INDEX generation_session ON generation (session_id, seq) WHERE session_id IS NOT NULL;
CREATE INDEX generation_model ON generation (model_id, seq);
CREATE INDEX generation_tail ON generation (substr(id, -8));
CREATE UNIQUE INDEX generation_client ON generation (coalesce(user_id, ''), client_id) WHERE client_id IS NOT NULL;

-- What was asked: written once.
CREATE TABLE generation_input (
    seq         INTEGER PRIMARY KEY,            -- generation.seq
    prompt      TEXT,                           -- NULL: parameters is the whole request body
    parameters  TEXT NOT NULL,                  -- JSON object, byte for byte as given
    endpoint    TEXT,                           -- NULL: the model's
    custom_id   TEXT,                           -- the caller's name of a batch item
    topic       TEXT,
    tier        TEXT,
    type        TEXT,
    template_id TEXT
) STRICT;

-- Signs of life of what runs longer than a heartbeat; gone when it ends.
CREATE TABLE generation_live (
    seq               INTEGER PRIMARY KEY,
    heartbeat_at      INTEGER NOT NULL,
    progress_at       INTEGER NOT NULL,         -- last real progress
    progress_limit_ms INTEGER,                  -- its own clock for progress; NULL: none
    last_step         TEXT NOT NULL,
    output_bytes      INTEGER NOT NULL DEFAULT 0
) STRICT;

-- What came: key = generation.seq * 1024 + idx, so the outputs of a generation are one range.
CREATE TABLE output (
    key        INTEGER PRIMARY KEY,
    mime       TEXT NOT NULL,
    content    ANY,                             -- TEXT when valid UTF-8, else BLOB; NULL: in `file`
    file       TEXT,
    bytes      INTEGER NOT NULL,
    sha256     TEXT,
    partial    INTEGER NOT NULL DEFAULT 0,      -- 1: what there was when it was cut short
    created_at INTEGER NOT NULL
) STRICT;

-- The answer of the server around the outputs: for exact results files.
CREATE TABLE response (
    seq           INTEGER PRIMARY KEY,          -- generation.seq
    http_status   INTEGER,
    request_id    TEXT,
    finish_reason TEXT,
    body          ANY                           -- NULL: the same bytes as output 0
) STRICT;

-- Ids of deleted generations, so that their log rows keep their name.
CREATE TABLE generation_tombstone (
    seq INTEGER PRIMARY KEY,
    id  TEXT NOT NULL UNIQUE
) STRICT;

-- What ended in each minute, written by the runner once a tick: throughput and cost without a scan.
CREATE TABLE throughput (
    minute    INTEGER PRIMARY KEY,              -- Unix time / 60 s
    completed INTEGER NOT NULL DEFAULT 0,
    failed    INTEGER NOT NULL DEFAULT 0,
    cost      REAL NOT NULL DEFAULT 0           -- USD, failed attempts included
) STRICT;

-- The one log: audit trail, live feed and outbox. Append-only; ids are never used again.
CREATE TABLE event (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    created_at     INTEGER NOT NULL,
    level          TEXT NOT NULL,               -- debug, info, warn, error
    event          TEXT NOT NULL,               -- noun.verb
    generation_seq INTEGER,
    batch_seq      INTEGER,
    attempt        INTEGER,                     -- number of the start
    message        TEXT,
    data           TEXT                         -- JSON object
) STRICT;
CREATE INDEX event_generation ON event (generation_seq, id) WHERE generation_seq IS NOT NULL;
CREATE INDEX event_batch ON event (batch_seq, id) WHERE batch_seq IS NOT NULL AND generation_seq IS NULL;
-- Rows of no generation are few: in order, for the view `logs`.
CREATE INDEX event_other ON event (id) WHERE generation_seq IS NULL;

---------------------------------------------------------------------------------------------------
-- People, places, rights
---------------------------------------------------------------------------------------------------

-- Named, expiring rights: account:<user>:<n> while it generates, job:<name> while it works.
CREATE TABLE locks (
    name        TEXT PRIMARY KEY,
    user_id     TEXT,
    owner       TEXT NOT NULL,                  -- id of the runner or process
    acquired_at INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL,
    reason      TEXT                            -- such as the generation's id
) STRICT, WITHOUT ROWID;

CREATE TABLE profiles (                         -- users, for reports
    id           TEXT PRIMARY KEY,
    display_name TEXT,
    username     TEXT,
    email        TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE projects (
    id      TEXT PRIMARY KEY,
    name    TEXT,
    user_id TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE sessions (
    id         TEXT PRIMARY KEY,
    name       TEXT,
    project_id TEXT,
    user_id    TEXT
) STRICT, WITHOUT ROWID;

CREATE TABLE templates (                        -- request bodies with {{column}}
    id         TEXT PRIMARY KEY,
    name       TEXT NOT NULL UNIQUE,
    type       TEXT,                            -- matches items of this type
    tier       TEXT,                            -- and of this tier
    body       TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE api_keys (                         -- only hashes: a key is shown once, when made
    id           TEXT PRIMARY KEY,
    name         TEXT,
    role         TEXT NOT NULL CHECK (role='admin' OR role='user'),
    user_id      TEXT,
    hash         TEXT NOT NULL UNIQUE,
    created_at   INTEGER NOT NULL,
    last_used_at INTEGER,
    revoked_at   INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE cursors (                          -- how far each reader of the log has come
    name       TEXT PRIMARY KEY,
    log_id     INTEGER NOT NULL,
    updated_at INTEGER NOT NULL,
    data       TEXT                             -- JSON, the reader's own
) STRICT, WITHOUT ROWID;

---------------------------------------------------------------------------------------------------
-- The law of generations
---------------------------------------------------------------------------------------------------

-- Every change of state: is it legal; the counters; the lane; the log. In this order, in one body,
-- since SQLite does not promise an order between triggers.
CREATE TRIGGER generation_transition AFTER UPDATE OF status ON generation WHEN OLD.status <> NEW.status
BEGIN
    SELECT CASE
        WHEN OLD.status='completed' THEN RAISE(ABORT, 'illegal transition: a completed generation is final')
        WHEN OLD.status='failed' AND NEW.status<>'queued' THEN
            RAISE(ABORT, 'illegal transition: a failed generation can only go back to queued')
        WHEN OLD.status='cancelled' AND NEW.status<>'queued' THEN
            RAISE(ABORT, 'illegal transition: a cancelled generation can only go back to queued')
        WHEN OLD.status='queued' AND NEW.status='completed' THEN
            RAISE(ABORT, 'illegal transition: a queued generation cannot be completed before it was processing')
        WHEN NEW.status='queued' AND (OLD.status='failed' OR OLD.status='cancelled') AND NEW.batch_seq IS NOT NULL
            AND (SELECT status='cancelled' FROM batch_job WHERE seq=NEW.batch_seq) THEN
            RAISE(ABORT, 'illegal transition: the batch job of this generation is cancelled, so it cannot be queued again')
    END;
    UPDATE batch_count SET
        queued_items     = queued_items     - (OLD.status='queued')     + (NEW.status='queued'),
        processing_items = processing_items - (OLD.status='processing') + (NEW.status='processing'),
        successful_items = successful_items                             + (NEW.status='completed'),
        failed_items     = failed_items     - (OLD.status='failed')     + (NEW.status='failed'),
        cancelled_items  = cancelled_items  - (OLD.status='cancelled')  + (NEW.status='cancelled'),
        input_tokens     = input_tokens  + coalesce(NEW.input_tokens, 0)  - coalesce(OLD.input_tokens, 0),
        output_tokens    = output_tokens + coalesce(NEW.output_tokens, 0) - coalesce(OLD.output_tokens, 0),
        actual_cost      = actual_cost   + coalesce(NEW.cost, 0)          - coalesce(OLD.cost, 0),
        started_at       = CASE WHEN started_at IS NULL AND NEW.status='processing' THEN NEW.started_at ELSE started_at END,
        last_activity_at = coalesce(NEW.completed_at, CASE WHEN NEW.status='processing' THEN NEW.started_at END,
            CAST(round((julianday('now')-2440587.5)*86400000) AS INTEGER))
    WHERE batch_seq = NEW.batch_seq;
    UPDATE batch_count SET
        queued_items     = queued_items     - (OLD.status='queued')     + (NEW.status='queued'),
        processing_items = processing_items - (OLD.status='processing') + (NEW.status='processing'),
        successful_items = successful_items                             + (NEW.status='completed'),
        failed_items     = failed_items     - (OLD.status='failed')     + (NEW.status='failed'),
        cancelled_items  = cancelled_items  - (OLD.status='cancelled')  + (NEW.status='cancelled')
    WHERE batch_seq = 0;
    UPDATE lane SET ready = 1 WHERE id = NEW.lane AND ready = 0 AND NEW.status = 'queued';
    DELETE FROM generation_live WHERE seq = NEW.seq AND OLD.status = 'processing';
    INSERT INTO event (created_at, level, event, generation_seq, batch_seq, attempt, message, data)
    VALUES (
        coalesce(NEW.completed_at, CASE WHEN NEW.status='processing' THEN NEW.started_at END,
            CAST(round((julianday('now')-2440587.5)*86400000) AS INTEGER)),
        CASE WHEN NEW.note IS NOT NULL AND NEW.note IS NOT OLD.note THEN coalesce(json_extract(NEW.note, '$.level'), 'info')
             WHEN NEW.status='failed' THEN 'error' WHEN NEW.status='cancelled' THEN 'warn' ELSE 'info' END,
        'generation.' || CASE WHEN NEW.note IS NOT NULL AND NEW.note IS NOT OLD.note
            THEN coalesce(json_extract(NEW.note, '$.event'), NEW.status) ELSE NEW.status END,
        NEW.seq, NEW.batch_seq, nullif(NEW.starts, 0),
        CASE WHEN NEW.note IS NOT NULL AND NEW.note IS NOT OLD.note THEN json_extract(NEW.note, '$.message')
             WHEN NEW.status='failed' THEN NEW.error_message WHEN NEW.status='cancelled' THEN NEW.cancel_reason END,
        CASE WHEN NEW.note IS NOT NULL AND NEW.note IS NOT OLD.note THEN json_extract(NEW.note, '$.data')
             WHEN NEW.status='failed' THEN json_object('type', NEW.error_type) END);
END;

-- A dismissal is an event, too.
CREATE TRIGGER generation_dismissal AFTER UPDATE OF dismissed_at ON generation
WHEN (OLD.dismissed_at IS NULL) <> (NEW.dismissed_at IS NULL) AND NEW.status <> 'queued'
BEGIN
    INSERT INTO event (created_at, level, event, generation_seq, batch_seq)
    VALUES (CAST(round((julianday('now')-2440587.5)*86400000) AS INTEGER), 'info',
        CASE WHEN NEW.dismissed_at IS NULL THEN 'generation.undismissed' ELSE 'generation.dismissed' END,
        NEW.seq, NEW.batch_seq);
END;

-- What a row is never changes: its identity and where it belongs.
CREATE TRIGGER generation_frozen BEFORE UPDATE OF seq, id, batch_seq, item_index, model_id, user_id, client_id, created_at
ON generation
WHEN NEW.seq <> OLD.seq OR NEW.id <> OLD.id OR NEW.batch_seq IS NOT OLD.batch_seq OR NEW.item_index IS NOT OLD.item_index
    OR NEW.model_id <> OLD.model_id OR NEW.user_id IS NOT OLD.user_id OR NEW.client_id IS NOT OLD.client_id
    OR NEW.created_at <> OLD.created_at
BEGIN
    SELECT RAISE(ABORT, 'id, batch job, place, model, user, client id and creation time of a generation never change');
END;

-- A row whose waiting time or suspicion was lifted can be claimed: its lane must know.
CREATE TRIGGER generation_due AFTER UPDATE OF run_after, suspect ON generation
WHEN NEW.status='queued' AND OLD.status='queued' AND NEW.run_after IS NULL AND NEW.suspect=0
    AND (OLD.run_after IS NOT NULL OR OLD.suspect<>0)
BEGIN
    UPDATE lane SET ready = 1 WHERE id = NEW.lane AND ready = 0;
END;

-- A row that moved to another lane (its priority changed) wakes that lane.
CREATE TRIGGER generation_lane AFTER UPDATE OF lane ON generation WHEN NEW.lane <> OLD.lane AND NEW.status='queued'
BEGIN
    UPDATE lane SET ready = 1 WHERE id = NEW.lane AND ready = 0;
END;

-- Live work is not deleted (rows of a batch that was never opened are not work yet).
CREATE TRIGGER generation_delete_guard BEFORE DELETE ON generation
WHEN (OLD.status='queued' OR OLD.status='processing')
    AND NOT EXISTS (SELECT 1 FROM batch_job WHERE seq = OLD.batch_seq AND opened_at IS NULL)
BEGIN
    SELECT CASE OLD.status
        WHEN 'queued' THEN RAISE(ABORT, 'a queued generation cannot be deleted: cancel it first')
        ELSE RAISE(ABORT, 'a processing generation cannot be deleted: cancel it first') END;
END;

-- With a row go its texts and its place in the counters; its log rows stay and keep its name.
CREATE TRIGGER generation_delete AFTER DELETE ON generation
BEGIN
    DELETE FROM generation_input WHERE seq = OLD.seq;
    DELETE FROM generation_live WHERE seq = OLD.seq;
    DELETE FROM response WHERE seq = OLD.seq;
    DELETE FROM output WHERE key BETWEEN OLD.seq * 1024 AND OLD.seq * 1024 + 1023;
    INSERT INTO generation_tombstone (seq, id)
        SELECT OLD.seq, OLD.id WHERE EXISTS (SELECT 1 FROM event WHERE generation_seq = OLD.seq)
            AND NOT EXISTS (SELECT 1 FROM generation_tombstone WHERE seq = OLD.seq);
    UPDATE batch_count SET
        queued_items = queued_items - (OLD.status='queued'), processing_items = processing_items - (OLD.status='processing'),
        successful_items = successful_items - (OLD.status='completed'), failed_items = failed_items - (OLD.status='failed'),
        cancelled_items = cancelled_items - (OLD.status='cancelled')
    WHERE batch_seq = OLD.batch_seq
        OR (batch_seq = 0 AND NOT EXISTS (SELECT 1 FROM batch_job WHERE seq = OLD.batch_seq AND opened_at IS NULL));
END;

-- The log is append-only in what happened.
CREATE TRIGGER event_frozen BEFORE UPDATE ON event
BEGIN
    SELECT RAISE(ABORT, 'the log is append-only: its rows never change');
END;

---------------------------------------------------------------------------------------------------
-- The law of batch jobs
---------------------------------------------------------------------------------------------------

-- The state that the counters give. An end stays what it was when its rows are deleted one by one.
CREATE VIEW batch_derived AS
SELECT b.seq, CASE
        WHEN b.status='cancelled' THEN 'cancelled'
        WHEN b.opened_at IS NULL THEN 'queued'
        WHEN c.queued_items + c.processing_items = 0 THEN
            CASE WHEN b.status='completed' OR b.status='failed' THEN b.status
                 WHEN b.stop_reason IS NOT NULL OR c.successful_items = 0 THEN 'failed' ELSE 'completed' END
        WHEN b.status='paused' THEN 'paused'
        WHEN c.started_at IS NOT NULL THEN 'processing'
        ELSE 'queued' END AS derived, c.last_activity_at
FROM batch_job b JOIN batch_count c ON c.batch_seq = b.seq;

CREATE TRIGGER batch_job_insert AFTER INSERT ON batch_job
BEGIN
    INSERT INTO batch_count (batch_seq, concurrency, opened) VALUES (NEW.seq, NEW.concurrency, NEW.opened_at IS NOT NULL);
END;

-- Seldom does a counter mean more than itself: at the first start, at the last end, with a failure, with money
-- spent, at the batch's own limit, with a way back. This trigger stands in the hot path and a trigger costs by the
-- size of its program even when its WHEN is false, so it only says what happened (bits: 1 a failure, 2 retried by
-- a person, 4 money spent) to the view batch_turn, which holds nothing: its trigger is what follows.
CREATE VIEW batch_turn AS SELECT 0 AS seq, 0 AS what WHERE 0;
CREATE TRIGGER batch_count_turn AFTER UPDATE ON batch_count
WHEN NEW.batch_seq <> 0 AND (
    NEW.failed_items > OLD.failed_items OR NEW.queued_items > OLD.queued_items
    OR NEW.actual_cost > OLD.actual_cost OR (NEW.started_at IS NOT NULL AND OLD.started_at IS NULL)
    OR NEW.queued_items + NEW.processing_items = 0 OR (NEW.opened = 0 AND NEW.queued_items < OLD.queued_items)
    OR (NEW.processing_items >= NEW.concurrency) IS NOT (OLD.processing_items >= OLD.concurrency))
BEGIN
    INSERT INTO batch_turn (seq, what) VALUES (NEW.batch_seq, (NEW.failed_items > OLD.failed_items)
        + 2 * (NEW.queued_items > OLD.queued_items AND NEW.processing_items = OLD.processing_items)
        + 4 * (NEW.actual_cost > OLD.actual_cost));
END;

CREATE TRIGGER batch_turn_insert INSTEAD OF INSERT ON batch_turn
BEGIN
    -- (Not a CHECK: UPDATE OR IGNORE would pass over it.)
    SELECT RAISE(ABORT, 'the items of a batch job that is still being filled are queued, and stay so until it is opened')
    FROM batch_count WHERE batch_seq = NEW.seq AND opened = 0
        AND processing_items + successful_items + failed_items + cancelled_items > 0;
    -- A retry by hand opens a stopped batch again; what comes back into a swept one must be swept, too.
    UPDATE batch_job SET stop_reason = NULL WHERE seq = NEW.seq AND NEW.what & 2 AND stop_reason IS NOT NULL;
    UPDATE batch_job SET swept = 0 WHERE seq = NEW.seq AND swept = 1
        AND (SELECT queued_items > 0 FROM batch_count WHERE batch_seq = NEW.seq);
    -- Limits of failures stop a batch: what waits is then cancelled in slices by the runner.
    UPDATE batch_job SET stop_reason = CASE WHEN on_error='stop' THEN 'stopped: an item failed and on_error is stop'
        ELSE 'stopped: more than ' || max_failures || ' items failed' END
    WHERE seq = NEW.seq AND NEW.what & 1 AND stop_reason IS NULL
        AND (on_error='stop' OR max_failures < (SELECT failed_items FROM batch_count WHERE batch_seq = NEW.seq));
    -- A budget pauses a batch, once: a person who resumes it has decided.
    UPDATE batch_job SET over_budget = 1, paused_reason = 'the budget of ' || max_cost || ' USD is spent', status = 'paused'
    WHERE seq = NEW.seq AND NEW.what & 4 AND over_budget = 0 AND (status='queued' OR status='processing')
        AND (SELECT actual_cost >= batch_job.max_cost AND queued_items + processing_items > 0 FROM batch_count
            WHERE batch_seq = NEW.seq);
    UPDATE batch_job SET at_limit = 1 - at_limit
    WHERE seq = NEW.seq AND concurrency IS NOT NULL
        AND at_limit <> (SELECT processing_items >= batch_job.concurrency FROM batch_count WHERE batch_seq = NEW.seq);
    UPDATE batch_job SET
        status = (SELECT derived FROM batch_derived WHERE seq = NEW.seq),
        completed_at = (SELECT CASE WHEN derived='completed' OR derived='failed' THEN last_activity_at END
            FROM batch_derived WHERE seq = NEW.seq)
    WHERE seq = NEW.seq AND status <> (SELECT derived FROM batch_derived WHERE seq = NEW.seq);
END;
CREATE TRIGGER batch_job_derive AFTER UPDATE OF opened_at, stop_reason ON batch_job
WHEN NEW.status <> (SELECT derived FROM batch_derived WHERE seq = NEW.seq)
BEGIN
    UPDATE batch_job SET
        status = (SELECT derived FROM batch_derived WHERE seq = NEW.seq),
        completed_at = (SELECT CASE WHEN derived='completed' OR derived='failed' THEN last_activity_at END
            FROM batch_derived WHERE seq = NEW.seq)
    WHERE seq = NEW.seq;
END;

-- Every change of a batch's state: is it legal; the log.
CREATE TRIGGER batch_job_transition AFTER UPDATE OF status ON batch_job WHEN OLD.status <> NEW.status
BEGIN
    SELECT CASE
        WHEN OLD.status='cancelled' THEN RAISE(ABORT, 'illegal transition: a cancelled batch job is final')
        WHEN OLD.status='completed' AND (SELECT queued_items + processing_items = 0 FROM batch_count WHERE batch_seq = NEW.seq) THEN
            RAISE(ABORT, 'illegal transition: a completed batch job has nothing left to run; retry single items')
        WHEN OLD.status='failed' AND (SELECT queued_items + processing_items = 0 FROM batch_count WHERE batch_seq = NEW.seq) THEN
            RAISE(ABORT, 'illegal transition: a failed batch job has nothing left to run; retry single items')
        WHEN NEW.opened_at IS NULL THEN RAISE(ABORT, 'illegal transition: this batch job is still being filled')
        WHEN (NEW.status='completed' OR NEW.status='failed')
            AND (SELECT derived FROM batch_derived WHERE seq = NEW.seq) <> NEW.status THEN
            RAISE(ABORT, 'illegal transition: a batch job is completed or failed by its items, not by hand')
        WHEN (SELECT derived FROM batch_derived WHERE seq = NEW.seq) <> NEW.status THEN
            RAISE(ABORT, 'illegal transition: a batch job is queued or processing by its items, not by hand')
    END;
    UPDATE batch_job SET
        completed_at = coalesce(completed_at, CAST(round((julianday('now')-2440587.5)*86400000) AS INTEGER)),
        cancel_reason = coalesce(cancel_reason, 'batch job cancelled by hand')
    WHERE seq = NEW.seq AND NEW.status='cancelled' AND (completed_at IS NULL OR cancel_reason IS NULL);
    INSERT INTO event (created_at, level, event, batch_seq, message, data)
    SELECT CAST(round((julianday('now')-2440587.5)*86400000) AS INTEGER),
        CASE WHEN NEW.status='failed' THEN 'error'
             WHEN NEW.status='cancelled' OR NEW.status='paused' THEN 'warn' ELSE 'info' END,
        'batch.' || CASE WHEN OLD.status='paused' AND (NEW.status='queued' OR NEW.status='processing') THEN 'resumed'
                         WHEN OLD.status='completed' OR OLD.status='failed' THEN 'reopened'
                         ELSE NEW.status END,
        NEW.seq,
        CASE NEW.status WHEN 'paused' THEN coalesce(NEW.paused_reason, 'paused by hand')
             WHEN 'cancelled' THEN coalesce(NEW.cancel_reason, 'batch job cancelled by hand')
             WHEN 'failed' THEN coalesce(NEW.stop_reason, 'no item succeeded') END,
        json_object('total', queued_items + processing_items + successful_items + failed_items + cancelled_items,
            'successful', successful_items, 'failed', failed_items, 'cancelled', cancelled_items, 'queued', queued_items)
    FROM batch_count WHERE batch_seq = NEW.seq;
END;

-- What a batch job is never changes, and no row takes its place.
CREATE TRIGGER batch_job_frozen BEFORE UPDATE OF seq, id, user_id, client_id, created_at ON batch_job
WHEN NEW.seq <> OLD.seq OR NEW.id <> OLD.id OR NEW.user_id IS NOT OLD.user_id OR NEW.client_id IS NOT OLD.client_id
    OR NEW.created_at <> OLD.created_at
BEGIN
    SELECT RAISE(ABORT, 'id, user, client id and creation time of a batch job never change');
END;
CREATE TRIGGER batch_job_insert_guard BEFORE INSERT ON batch_job
WHEN EXISTS (SELECT 1 FROM batch_job WHERE id = NEW.id) OR EXISTS (SELECT 1 FROM batch_job WHERE seq = NEW.seq)
    OR EXISTS (SELECT 1 FROM batch_job WHERE client_id IS NOT NULL
        AND coalesce(user_id, '') = coalesce(NEW.user_id, '') AND client_id = NEW.client_id)
BEGIN
    SELECT RAISE(ABORT, 'a batch job with this id or client_id exists: rows are never replaced');
END;

-- Pause, cancel, stop, limit and opening are one bit field on the batch's lanes.
CREATE TRIGGER batch_job_lanes AFTER UPDATE ON batch_job WHEN OLD.blocked <> NEW.blocked
BEGIN
    UPDATE lane SET blocked = (SELECT blocked FROM batch_job WHERE seq = NEW.seq) WHERE batch_seq = NEW.seq AND batch_seq <> 0;
END;
CREATE TRIGGER lane_inherit AFTER INSERT ON lane WHEN NEW.batch_seq <> 0
BEGIN
    UPDATE lane SET blocked = (SELECT blocked FROM batch_job WHERE seq = NEW.batch_seq) WHERE id = NEW.id;
END;

-- Opening makes a filled batch visible: one event stands for the queueing of all its items.
CREATE TRIGGER batch_job_open AFTER UPDATE OF opened_at ON batch_job WHEN OLD.opened_at IS NULL AND NEW.opened_at IS NOT NULL
BEGIN
    UPDATE batch_count SET queued_items = queued_items + (SELECT queued_items FROM batch_count WHERE batch_seq = NEW.seq)
    WHERE batch_seq = 0;
    UPDATE batch_count SET opened = 1, last_activity_at = NEW.opened_at WHERE batch_seq = NEW.seq;
    INSERT INTO event (created_at, level, event, batch_seq, message, data)
    SELECT NEW.opened_at, 'info', 'batch.created', NEW.seq, NEW.name, json_object('total', queued_items)
    FROM batch_count WHERE batch_seq = NEW.seq;
END;

CREATE TRIGGER batch_job_stopped AFTER UPDATE OF stop_reason ON batch_job
WHEN OLD.stop_reason IS NULL AND NEW.stop_reason IS NOT NULL
BEGIN
    INSERT INTO event (created_at, level, event, batch_seq, message)
    VALUES (CAST(round((julianday('now')-2440587.5)*86400000) AS INTEGER), 'error', 'batch.stopped', NEW.seq, NEW.stop_reason);
END;

-- Live batches are not deleted; with an ended one go its items and lanes.
CREATE TRIGGER batch_job_delete_guard BEFORE DELETE ON batch_job
BEGIN
    SELECT CASE
        WHEN OLD.opened_at IS NOT NULL AND (SELECT processing_items > 0 FROM batch_count WHERE batch_seq = OLD.seq) THEN
            RAISE(ABORT, 'a batch job with processing items cannot be deleted: cancel it first')
        WHEN OLD.opened_at IS NOT NULL AND (SELECT queued_items > 0 FROM batch_count WHERE batch_seq = OLD.seq) THEN
            RAISE(ABORT, 'a batch job with queued items cannot be deleted: cancel it first') END;
END;
CREATE TRIGGER batch_job_delete AFTER DELETE ON batch_job
BEGIN
    DELETE FROM generation WHERE batch_seq = OLD.seq;
    DELETE FROM lane WHERE batch_seq = OLD.seq AND batch_seq <> 0;
    DELETE FROM batch_count WHERE batch_seq = OLD.seq AND batch_seq <> 0;
END;

---------------------------------------------------------------------------------------------------
-- Views
---------------------------------------------------------------------------------------------------

CREATE VIEW generations AS
SELECT g.seq, g.id, g.status,
    coalesce(i.prompt, json_extract(i.parameters, '$.messages[#-1].content'), json_extract(i.parameters, '$.prompt'),
        json_extract(i.parameters, '$.input')) AS prompt,
    g.model_id,
    CASE
        WHEN g.status='cancelled' THEN json_set(
            CASE WHEN g.error_message IS NOT NULL THEN json_set(i.parameters, '$.error', g.error_message) ELSE i.parameters END,
            '$.cancelledAt', strftime('%Y-%m-%dT%H:%M:%fZ', g.completed_at / 1000.0, 'unixepoch'),
            '$.cancelledReason', g.cancel_reason)
        WHEN g.status='failed' THEN json_set(i.parameters, '$.error', g.error_message, '$.errorContext',
            -- The detail adds to what stands in columns, it never contradicts it.
            json_patch(
                json_patch(json_object('message', '', 'type', '', 'timestamp', '', 'userId', g.user_id,
                    'stack', 'model ' || g.model_id || ', attempt ' || g.starts), coalesce(g.error_detail, '{}')),
                json_object('message', g.error_message, 'type', g.error_type,
                    'timestamp', strftime('%Y-%m-%dT%H:%M:%fZ', g.completed_at / 1000.0, 'unixepoch'))))
        WHEN g.error_message IS NOT NULL THEN json_set(i.parameters, '$.error', g.error_message)
        ELSE i.parameters END AS parameters,
    g.user_id, g.session_id, b.id AS batch_job_id, g.item_index, i.custom_id, i.topic, i.tier, i.type, i.template_id,
    i.endpoint, g.client_id, g.priority, g.attempts, g.starts, g.error_type, g.error_message,
    CASE WHEN g.starts = 0 THEN 'generate:create' ELSE coalesce(l.last_step, g.last_step) END AS last_step,
    CASE WHEN g.status='processing' THEN coalesce(l.heartbeat_at, g.started_at) END AS last_heartbeat,
    CASE WHEN g.status='processing' THEN coalesce(l.progress_at, g.started_at) END AS last_progress,
    g.run_after, g.created_at, g.started_at, g.completed_at, g.dismissed_at,
    g.input_tokens, g.output_tokens, g.cost, g.claim_token, g.runner_seq
FROM generation g
JOIN generation_input i ON i.seq = g.seq
LEFT JOIN generation_live l ON l.seq = g.seq
LEFT JOIN batch_job b ON b.seq = g.batch_seq
WHERE g.batch_seq IS NULL OR b.opened_at IS NOT NULL;

-- A queued generation, typed: INSERT INTO generations (prompt, model_id) VALUES ('…', 'echo').
-- All that can be wrong is refused first, so that OR IGNORE cannot leave half of it.
CREATE TRIGGER generations_insert INSTEAD OF INSERT ON generations
BEGIN
    SELECT CASE
        WHEN EXISTS (SELECT 1 FROM generation WHERE id = NEW.id) THEN
            CASE (SELECT status FROM generation WHERE id = NEW.id)
                WHEN 'queued' THEN RAISE(ABORT, 'a queued generation with this id exists: rows are never replaced')
                WHEN 'processing' THEN RAISE(ABORT, 'a processing generation with this id exists: rows are never replaced')
                WHEN 'completed' THEN RAISE(ABORT, 'a completed generation with this id exists: rows are never replaced')
                WHEN 'failed' THEN RAISE(ABORT, 'a failed generation with this id exists: rows are never replaced')
                ELSE RAISE(ABORT, 'a cancelled generation with this id exists: rows are never replaced') END
        WHEN NEW.client_id IS NOT NULL THEN
            CASE (SELECT status FROM generation WHERE coalesce(user_id, '') = coalesce(NEW.user_id, '') AND client_id = NEW.client_id)
                WHEN 'queued' THEN RAISE(ABORT, 'a queued generation with this client_id of this user exists: rows are never replaced')
                WHEN 'processing' THEN RAISE(ABORT, 'a processing generation with this client_id of this user exists: rows are never replaced')
                WHEN 'completed' THEN RAISE(ABORT, 'a completed generation with this client_id of this user exists: rows are never replaced')
                WHEN 'failed' THEN RAISE(ABORT, 'a failed generation with this client_id of this user exists: rows are never replaced')
                WHEN 'cancelled' THEN RAISE(ABORT, 'a cancelled generation with this client_id of this user exists: rows are never replaced') END
    END;
    SELECT CASE
        WHEN NEW.id IS NOT NULL AND (length(NEW.id) <> 36 OR NEW.id GLOB '*[^0-9a-f-]*' OR NEW.id NOT LIKE '________-____-____-____-____________'
            OR length(replace(NEW.id, '-', '')) <> 32) THEN
            RAISE(ABORT, 'the id of a generation is a UUID in lower case; leave it out to get one')
        WHEN EXISTS (SELECT 1 FROM generation_tombstone WHERE id = NEW.id) THEN
            RAISE(ABORT, 'a generation with this id was deleted and its log is kept: leave id out to get another')
        WHEN NEW.status <> 'queued' THEN RAISE(ABORT, 'a new generation is queued: leave status out')
        WHEN NEW.model_id IS NULL THEN RAISE(ABORT, 'a generation needs a model_id')
        WHEN NEW.prompt IS NULL AND NEW.parameters IS NULL THEN RAISE(ABORT, 'a generation needs a prompt, or a request body in parameters')
        WHEN NEW.batch_job_id IS NOT NULL OR NEW.item_index IS NOT NULL THEN
            RAISE(ABORT, 'items are added to a batch job by genrun batch submit only')
        WHEN NEW.priority NOT BETWEEN -1000 AND 1000 THEN RAISE(ABORT, 'a priority is between -1000 and 1000')
        WHEN NEW.parameters IS NOT NULL AND NOT json_valid(NEW.parameters) THEN RAISE(ABORT, 'parameters must be a JSON object')
        WHEN NEW.parameters IS NOT NULL AND json_type(NEW.parameters) <> 'object' THEN RAISE(ABORT, 'parameters must be a JSON object')
        WHEN coalesce(NEW.seq, NEW.attempts, NEW.starts, NEW.error_type, NEW.error_message, NEW.last_step, NEW.last_heartbeat,
            NEW.last_progress, NEW.started_at, NEW.completed_at, NEW.dismissed_at, NEW.input_tokens, NEW.output_tokens, NEW.cost,
            NEW.claim_token, NEW.runner_seq) IS NOT NULL THEN
            RAISE(ABORT, 'a new generation takes only what is asked: what comes of it (seq, attempts, errors, times, tokens) is written by genrun')
    END;
    INSERT INTO lane (model_id, user_id, batch_seq, priority)
        SELECT NEW.model_id, coalesce(NEW.user_id, ''), 0, coalesce(NEW.priority, 0)
        WHERE NOT EXISTS (SELECT 1 FROM lane WHERE model_id = NEW.model_id AND user_id = coalesce(NEW.user_id, '')
            AND batch_seq = 0 AND priority = coalesce(NEW.priority, 0));
    INSERT INTO generation (id, status, lane, run_after, model_id, user_id, session_id, client_id, priority, created_at)
    VALUES (
        coalesce(NEW.id, printf('%08x-%04x-7%03x-%04x-%012x',
            (CAST(round((julianday('now')-2440587.5)*86400000) AS INTEGER) >> 16) & 4294967295,
            CAST(round((julianday('now')-2440587.5)*86400000) AS INTEGER) & 65535,
            random() & 4095, 32768 | (random() & 16383), random() & 281474976710655)),
        'queued',
        (SELECT id FROM lane WHERE model_id = NEW.model_id AND user_id = coalesce(NEW.user_id, '')
            AND batch_seq = 0 AND priority = coalesce(NEW.priority, 0)),
        NEW.run_after, NEW.model_id, NEW.user_id, NEW.session_id, NEW.client_id, coalesce(NEW.priority, 0),
        coalesce(NEW.created_at, CAST(round((julianday('now')-2440587.5)*86400000) AS INTEGER)));
    -- Inside a trigger last_insert_rowid() is that of its own inserts: here and below the new seq.
    INSERT INTO generation_input (seq, prompt, parameters, endpoint, custom_id, topic, tier, type, template_id)
    VALUES (last_insert_rowid(), NEW.prompt,
        CASE WHEN NEW.parameters IS NULL THEN '{}'
             WHEN json_type(NEW.parameters, '$.error') IS NULL AND json_type(NEW.parameters, '$.errorContext') IS NULL
                AND json_type(NEW.parameters, '$.cancelledAt') IS NULL AND json_type(NEW.parameters, '$.cancelledReason') IS NULL
             THEN NEW.parameters
             ELSE json_remove(NEW.parameters, '$.error', '$.errorContext', '$.cancelledAt', '$.cancelledReason') END,
        NEW.endpoint, NEW.custom_id, NEW.topic, NEW.tier, NEW.type, NEW.template_id);
    UPDATE lane SET ready = 1 WHERE id = (SELECT lane FROM generation WHERE seq = last_insert_rowid()) AND ready = 0;
    UPDATE batch_count SET queued_items = queued_items + 1 WHERE batch_seq = 0;
    INSERT INTO event (created_at, level, event, generation_seq)
    VALUES (CAST(round((julianday('now')-2440587.5)*86400000) AS INTEGER), 'info', 'generation.queued', last_insert_rowid());
END;

CREATE TRIGGER generations_update INSTEAD OF UPDATE ON generations
BEGIN
    SELECT CASE
        WHEN NEW.id IS NOT OLD.id THEN RAISE(ABORT, 'the id of a generation never changes')
        WHEN NEW.batch_job_id IS NOT OLD.batch_job_id THEN RAISE(ABORT, 'a generation never moves to another batch job')
        WHEN NEW.seq IS NOT OLD.seq OR NEW.prompt IS NOT OLD.prompt OR NEW.model_id IS NOT OLD.model_id
            OR NEW.user_id IS NOT OLD.user_id OR NEW.session_id IS NOT OLD.session_id OR NEW.item_index IS NOT OLD.item_index
            OR NEW.custom_id IS NOT OLD.custom_id OR NEW.topic IS NOT OLD.topic OR NEW.tier IS NOT OLD.tier
            OR NEW.type IS NOT OLD.type OR NEW.template_id IS NOT OLD.template_id OR NEW.endpoint IS NOT OLD.endpoint
            OR NEW.client_id IS NOT OLD.client_id OR NEW.attempts IS NOT OLD.attempts OR NEW.starts IS NOT OLD.starts
            OR NEW.error_type IS NOT OLD.error_type OR NEW.last_step IS NOT OLD.last_step
            OR NEW.last_heartbeat IS NOT OLD.last_heartbeat OR NEW.last_progress IS NOT OLD.last_progress
            OR NEW.run_after IS NOT OLD.run_after OR NEW.created_at IS NOT OLD.created_at OR NEW.started_at IS NOT OLD.started_at
            OR NEW.completed_at IS NOT OLD.completed_at OR NEW.input_tokens IS NOT OLD.input_tokens
            OR NEW.output_tokens IS NOT OLD.output_tokens OR NEW.cost IS NOT OLD.cost
            OR NEW.claim_token IS NOT OLD.claim_token OR NEW.runner_seq IS NOT OLD.runner_seq THEN
            RAISE(ABORT, 'of a generation only status, error_message, parameters, priority and dismissed_at can be changed')
        WHEN NEW.status IS NULL OR NOT (NEW.status='queued' OR NEW.status='processing' OR NEW.status='completed'
            OR NEW.status='failed' OR NEW.status='cancelled') THEN
            RAISE(ABORT, 'a generation is queued, processing, completed, failed or cancelled')
        WHEN NEW.status='processing' AND OLD.status<>'processing' THEN CASE OLD.status
            WHEN 'queued' THEN RAISE(ABORT, 'illegal transition: a queued generation becomes processing only by the runner, with a claim token')
            WHEN 'completed' THEN RAISE(ABORT, 'illegal transition: a completed generation is final')
            WHEN 'failed' THEN RAISE(ABORT, 'illegal transition: a failed generation can only go back to queued')
            ELSE RAISE(ABORT, 'illegal transition: a cancelled generation can only go back to queued') END
        WHEN NEW.status='completed' AND OLD.status='processing' THEN
            RAISE(ABORT, 'illegal transition: a processing generation is completed only by the runner, with its result')
        WHEN NEW.priority IS NOT OLD.priority AND (NEW.priority IS NULL OR NEW.priority NOT BETWEEN -1000 AND 1000) THEN
            RAISE(ABORT, 'a priority is between -1000 and 1000')
        WHEN NEW.parameters IS NOT OLD.parameters AND (NEW.parameters IS NULL OR NOT json_valid(NEW.parameters)) THEN
            RAISE(ABORT, 'parameters must be a JSON object')
        WHEN NEW.parameters IS NOT OLD.parameters AND json_type(NEW.parameters) <> 'object' THEN
            RAISE(ABORT, 'parameters must be a JSON object')
        WHEN NEW.status='failed' AND OLD.status='failed' AND OLD.error_message<>'' AND coalesce(NEW.error_message, '')='' THEN
            RAISE(ABORT, 'a failed generation keeps an error_message: give another one, or queue it again')
    END;
    UPDATE generation_input SET
        parameters = json_remove(NEW.parameters, '$.error', '$.errorContext', '$.cancelledAt', '$.cancelledReason')
    WHERE seq = OLD.seq AND NEW.parameters IS NOT OLD.parameters;
    -- The reasons of a row that keeps its state: they have one home each. (Parameters without an error leave that of
    -- a failed row as it is.)
    UPDATE generation SET
        error_message = CASE WHEN NEW.error_message IS NOT OLD.error_message THEN NEW.error_message
            ELSE json_extract(NEW.parameters, '$.error') END
    WHERE seq = OLD.seq AND NEW.status = OLD.status
        AND (NEW.error_message IS NOT OLD.error_message
            OR (NEW.parameters IS NOT OLD.parameters AND json_extract(NEW.parameters, '$.error') IS NOT OLD.error_message
                AND NOT (OLD.status='failed' AND coalesce(json_extract(NEW.parameters, '$.error'), '')='')));
    UPDATE generation SET cancel_reason = json_extract(NEW.parameters, '$.cancelledReason')
    WHERE seq = OLD.seq AND NEW.status='cancelled' AND OLD.status='cancelled' AND NEW.parameters IS NOT OLD.parameters
        AND json_extract(NEW.parameters, '$.cancelledReason') IS NOT NULL;
    UPDATE generation SET dismissed_at = NEW.dismissed_at WHERE seq = OLD.seq AND NEW.dismissed_at IS NOT OLD.dismissed_at;
    INSERT INTO lane (model_id, user_id, batch_seq, priority)
        SELECT model_id, user_id, batch_seq, NEW.priority FROM lane
        WHERE NEW.priority IS NOT OLD.priority AND id = (SELECT lane FROM generation WHERE seq = OLD.seq)
            AND NOT EXISTS (SELECT 1 FROM lane t WHERE t.model_id = lane.model_id AND t.user_id = lane.user_id
                AND t.batch_seq = lane.batch_seq AND t.priority = NEW.priority);
    UPDATE generation SET
        priority = NEW.priority,
        lane = (SELECT t.id FROM lane o JOIN lane t ON t.model_id = o.model_id AND t.user_id = o.user_id
            AND t.batch_seq = o.batch_seq AND t.priority = NEW.priority WHERE o.id = generation.lane)
    WHERE seq = OLD.seq AND NEW.priority IS NOT OLD.priority;
    UPDATE generation SET
        status = NEW.status,
        claim_token = NULL,
        note = NULL,
        run_after = NULL,
        suspect = CASE WHEN NEW.status='queued' AND OLD.status<>'processing' THEN 0 ELSE suspect END,
        crashes = CASE WHEN NEW.status='queued' AND OLD.status<>'processing' THEN 0 ELSE crashes END,
        crashes_alone = CASE WHEN NEW.status='queued' AND OLD.status<>'processing' THEN 0 ELSE crashes_alone END,
        attempts = CASE WHEN NEW.status='queued' AND OLD.status<>'processing' THEN 0 ELSE attempts END,
        waiting_since = NULL,
        completed_at = CASE WHEN NEW.status='queued' THEN NULL
            ELSE CAST(round((julianday('now')-2440587.5)*86400000) AS INTEGER) END,
        dismissed_at = CASE WHEN NEW.status='queued' THEN NULL ELSE NEW.dismissed_at END,
        error_type = CASE WHEN NEW.status='failed' THEN 'OperatorError' END,
        error_message = CASE WHEN NEW.status='failed' THEN coalesce(
            CASE WHEN NEW.error_message IS NOT OLD.error_message THEN NEW.error_message
                 WHEN NEW.parameters IS NOT OLD.parameters THEN json_extract(NEW.parameters, '$.error') END,
            NEW.error_message, 'failed by hand') END,
        error_detail = CASE WHEN NEW.status='failed' THEN json_object('action', 'fail',
            'stack', 'failed by hand in SQL, from ' || OLD.status || ', model ' || OLD.model_id || ', attempt ' || OLD.starts) END,
        cancel_reason = CASE WHEN NEW.status='cancelled' THEN coalesce(
            CASE WHEN NEW.parameters IS NOT OLD.parameters THEN json_extract(NEW.parameters, '$.cancelledReason') END,
            CASE WHEN NEW.error_message IS NOT OLD.error_message THEN NEW.error_message END,
            'cancelled by hand') END
    WHERE seq = OLD.seq AND NEW.status <> OLD.status;
END;

CREATE TRIGGER generations_delete INSTEAD OF DELETE ON generations
BEGIN
    DELETE FROM generation WHERE seq = OLD.seq;
END;

CREATE VIEW outputs AS
SELECT o.key AS id, g.id AS generation_id, o.key - g.seq * 1024 AS idx, o.mime, o.content, o.file, o.bytes, o.sha256,
    o.partial, o.created_at
FROM generation g JOIN output o ON o.key BETWEEN g.seq * 1024 AND g.seq * 1024 + 1023 AND g.seq = o.key / 1024;

CREATE VIEW batch_jobs AS
SELECT b.seq, b.id, b.name, b.status, b.user_id, b.model_id,
    c.queued_items + c.processing_items + c.successful_items + c.failed_items + c.cancelled_items AS total_items,
    c.successful_items + c.failed_items AS completed_items, c.successful_items, c.failed_items, c.cancelled_items,
    c.queued_items, c.processing_items, c.input_tokens, c.output_tokens, b.concurrency, b.on_error, b.max_failures,
    b.estimated_cost, c.actual_cost, b.max_cost, b.paused_reason, coalesce(b.stop_reason, b.cancel_reason) AS status_reason,
    b.format, b.client_id, b.priority, b.created_at, c.started_at, b.completed_at, c.last_activity_at
FROM batch_job b JOIN batch_count c ON c.batch_seq = b.seq WHERE b.opened_at IS NOT NULL;

-- Counts by state of everything that is listed, without counting.
CREATE VIEW totals AS
SELECT queued_items AS queued, processing_items AS processing, successful_items AS completed, failed_items AS failed,
    cancelled_items AS cancelled
FROM batch_count WHERE batch_seq = 0;

CREATE TRIGGER batch_jobs_insert INSTEAD OF INSERT ON batch_jobs
BEGIN
    SELECT RAISE(ABORT, 'a batch job is made by genrun batch submit, with its items');
END;

CREATE TRIGGER batch_jobs_update INSTEAD OF UPDATE ON batch_jobs
BEGIN
    SELECT CASE
        WHEN NEW.seq IS NOT OLD.seq OR NEW.id IS NOT OLD.id OR NEW.name IS NOT OLD.name OR NEW.user_id IS NOT OLD.user_id
            OR NEW.model_id IS NOT OLD.model_id OR NEW.total_items IS NOT OLD.total_items
            OR NEW.completed_items IS NOT OLD.completed_items OR NEW.successful_items IS NOT OLD.successful_items
            OR NEW.failed_items IS NOT OLD.failed_items OR NEW.cancelled_items IS NOT OLD.cancelled_items
            OR NEW.queued_items IS NOT OLD.queued_items OR NEW.processing_items IS NOT OLD.processing_items
            OR NEW.input_tokens IS NOT OLD.input_tokens OR NEW.output_tokens IS NOT OLD.output_tokens
            OR NEW.concurrency IS NOT OLD.concurrency OR NEW.on_error IS NOT OLD.on_error
            OR NEW.max_failures IS NOT OLD.max_failures OR NEW.estimated_cost IS NOT OLD.estimated_cost
            OR NEW.actual_cost IS NOT OLD.actual_cost OR NEW.max_cost IS NOT OLD.max_cost
            OR NEW.status_reason IS NOT OLD.status_reason OR NEW.format IS NOT OLD.format
            OR NEW.client_id IS NOT OLD.client_id OR NEW.priority IS NOT OLD.priority
            OR NEW.created_at IS NOT OLD.created_at OR NEW.started_at IS NOT OLD.started_at
            OR NEW.completed_at IS NOT OLD.completed_at OR NEW.last_activity_at IS NOT OLD.last_activity_at THEN
            RAISE(ABORT, 'of a batch job only status (paused, cancelled; queued or processing to resume) and paused_reason can be changed')
        WHEN NEW.status IS NULL THEN RAISE(ABORT, 'a batch job is queued, processing, paused, completed, failed or cancelled')
        WHEN NEW.status <> OLD.status THEN CASE
            WHEN OLD.status='cancelled' THEN RAISE(ABORT, 'illegal transition: a cancelled batch job is final')
            WHEN OLD.status='completed' THEN RAISE(ABORT, 'illegal transition: a completed batch job has nothing left to run; retry single items')
            WHEN OLD.status='failed' THEN RAISE(ABORT, 'illegal transition: a failed batch job has nothing left to run; retry single items')
            WHEN NEW.status='completed' OR NEW.status='failed' THEN
                RAISE(ABORT, 'illegal transition: a batch job is completed or failed by its items, not by hand')
            WHEN (NEW.status='queued' OR NEW.status='processing') AND OLD.status<>'paused' THEN
                RAISE(ABORT, 'illegal transition: only a paused batch job can be resumed')
        END
    END;
    UPDATE batch_job SET
        paused_reason = CASE
            WHEN NEW.status='paused' AND OLD.status<>'paused' AND NEW.paused_reason IS OLD.paused_reason THEN 'paused by hand'
            WHEN OLD.status='paused' AND NEW.status<>'paused' THEN NULL
            ELSE NEW.paused_reason END,
        cancel_reason = CASE WHEN NEW.status='cancelled' AND OLD.status<>'cancelled' THEN coalesce(
            CASE WHEN NEW.paused_reason IS NOT OLD.paused_reason THEN NEW.paused_reason END, 'batch job cancelled by hand')
            ELSE cancel_reason END,
        completed_at = CASE WHEN NEW.status='cancelled' AND OLD.status<>'cancelled'
            THEN CAST(round((julianday('now')-2440587.5)*86400000) AS INTEGER) ELSE completed_at END,
        status = CASE
            WHEN (NEW.status='queued' OR NEW.status='processing') AND OLD.status='paused'
                THEN CASE WHEN OLD.started_at IS NULL THEN 'queued' ELSE 'processing' END
            ELSE NEW.status END
    WHERE seq = OLD.seq;
    UPDATE batch_count SET last_activity_at = CAST(round((julianday('now')-2440587.5)*86400000) AS INTEGER)
    WHERE batch_seq = OLD.seq AND NEW.status <> OLD.status;
END;

CREATE TRIGGER batch_jobs_delete INSTEAD OF DELETE ON batch_jobs
BEGIN
    DELETE FROM batch_job WHERE seq = OLD.seq;
END;

-- The items of batch jobs under the names that reports use; status and error_message can be changed.
CREATE VIEW batch_items AS
SELECT g.seq AS id, g.batch_job_id, g.item_index, g.custom_id, g.status, g.topic, g.tier, g.parameters,
    g.id AS conversation_id, coalesce(g.error_message, CASE WHEN g.status='cancelled'
        THEN json_extract(g.parameters, '$.cancelledReason') END) AS error_message, g.started_at, g.completed_at
FROM generations g WHERE g.batch_job_id IS NOT NULL;

CREATE TRIGGER batch_items_update INSTEAD OF UPDATE ON batch_items
BEGIN
    SELECT RAISE(ABORT, 'of a batch item only status and error_message can be changed')
    WHERE NEW.id IS NOT OLD.id OR NEW.batch_job_id IS NOT OLD.batch_job_id OR NEW.item_index IS NOT OLD.item_index
        OR NEW.custom_id IS NOT OLD.custom_id OR NEW.topic IS NOT OLD.topic OR NEW.tier IS NOT OLD.tier
        OR NEW.parameters IS NOT OLD.parameters OR NEW.conversation_id IS NOT OLD.conversation_id
        OR NEW.started_at IS NOT OLD.started_at OR NEW.completed_at IS NOT OLD.completed_at;
    UPDATE generations SET status = NEW.status,
        error_message = CASE WHEN NEW.error_message IS NOT OLD.error_message THEN NEW.error_message ELSE error_message END
    WHERE id = OLD.conversation_id;
END;

CREATE TRIGGER batch_items_insert INSTEAD OF INSERT ON batch_items
BEGIN
    SELECT RAISE(ABORT, 'items are added to a batch job by genrun batch submit only');
END;

CREATE TRIGGER batch_items_delete INSTEAD OF DELETE ON batch_items
BEGIN
    DELETE FROM generation WHERE seq = OLD.id;
END;

-- Three arms, so that each question (by generation, by batch job, newest rows) finds its index: rows of
-- generations, of deleted ones (by way of their few tombstones) and of everything else.
CREATE VIEW logs AS
SELECT e.id, e.created_at, e.level, e.event, g.id AS generation_id, b.id AS batch_job_id, e.attempt, e.message, e.data
FROM event e JOIN generation g ON g.seq = e.generation_seq LEFT JOIN batch_job b ON b.seq = g.batch_seq
UNION ALL
SELECT e.id, e.created_at, e.level, e.event, t.id, b.id, e.attempt, e.message, e.data
FROM generation_tombstone t CROSS JOIN event e ON e.generation_seq = t.seq LEFT JOIN batch_job b ON b.seq = e.batch_seq
UNION ALL
SELECT e.id, e.created_at, e.level, e.event, CAST(NULL AS TEXT), b.id, e.attempt, e.message, e.data
FROM event e LEFT JOIN batch_job b ON b.seq = e.batch_seq WHERE e.generation_seq IS NULL;

CREATE VIEW batch_job_logs AS
SELECT id, created_at, level, event, generation_id, batch_job_id, attempt, message, data FROM logs
WHERE batch_job_id IS NOT NULL;

-- What is stuck, and why: processing under a runner that is not the present one, without a heartbeat, or
-- without progress past its own clock.
CREATE VIEW stuck_generations AS
WITH present (seq, timeout) AS (
    SELECT seq, heartbeat_timeout_ms FROM runners ORDER BY seq DESC LIMIT 1
), clock (now) AS (SELECT CAST(round((julianday('now')-2440587.5)*86400000) AS INTEGER))
SELECT id, status, substr(prompt, 1, 50) AS prompt_preview, model_id, user_id, session_id, batch_job_id, created_at, started_at,
    (clock.now - created_at) / 60000 AS age_minutes, error_message,
    (SELECT count(*) FROM output o WHERE o.key BETWEEN g.seq * 1024 AND g.seq * 1024 + 1023) AS output_count,
    last_step, last_heartbeat, last_progress,
    CASE WHEN g.runner_seq IS NOT (SELECT r.seq FROM runners r WHERE r.seq = (SELECT seq FROM present) AND r.stopped_at IS NULL)
            THEN 'its runner is gone'
         WHEN last_heartbeat + (SELECT timeout FROM present) < clock.now
            THEN 'no heartbeat for ' || ((clock.now - last_heartbeat) / 1000) || ' s'
         ELSE 'no progress for ' || ((clock.now - last_progress) / 1000) || ' s' END AS why
FROM generations g, clock
WHERE status='processing' AND dismissed_at IS NULL AND (
    g.runner_seq IS NOT (SELECT r.seq FROM runners r WHERE r.seq = (SELECT seq FROM present) AND r.stopped_at IS NULL)
    OR last_heartbeat + (SELECT timeout FROM present) < clock.now
    OR last_progress + (SELECT progress_limit_ms FROM generation_live l WHERE l.seq = g.seq) < clock.now);

CREATE VIEW failed_generations_view AS
SELECT g.id, g.user_id, g.model_id, g.prompt, g.status, g.created_at, g.error_message, g.error_type,
    p.display_name AS user_display_name, p.username, s.name AS session_name, j.name AS project_name, g.completed_at
FROM generations g
LEFT JOIN profiles p ON p.id = g.user_id
LEFT JOIN sessions s ON s.id = g.session_id
LEFT JOIN projects j ON j.id = s.project_id
WHERE g.status='failed' AND g.dismissed_at IS NULL;

-- Failures of the last 24 hours by model.
CREATE VIEW failure_stats AS
SELECT model_id, count(*) AS failure_count, count(DISTINCT user_id) AS affected_users, max(completed_at) AS latest_failure
FROM generation INDEXED BY generation_failed
WHERE status='failed' AND dismissed_at IS NULL
    AND completed_at >= CAST(round((julianday('now')-2440587.5)*86400000) AS INTEGER) - 86400000
GROUP BY model_id ORDER BY failure_count DESC, model_id;

CREATE VIEW recent_generations AS
SELECT id, status, substr(prompt, 1, 30) AS prompt_preview, model_id, created_at,
    (CAST(round((julianday('now')-2440587.5)*86400000) AS INTEGER) - created_at) / 1000 AS age_seconds,
    (SELECT count(*) FROM output o WHERE o.key BETWEEN g.seq * 1024 AND g.seq * 1024 + 1023) AS output_count
FROM generations g ORDER BY g.seq DESC LIMIT 20;
