-- What the readers of the log keep: webhooks and the sync with Postgres. The log (table event) is their outbox, and how
-- far each has come stands in `cursors` as 'webhook:<name>' and 'sync'. The rules of 0001_initial.sql hold here, too.

---------------------------------------------------------------------------------------------------
-- Webhooks
---------------------------------------------------------------------------------------------------

-- What is known of an endpoint beyond its configuration. Its URL may be a secret, so only a digest of it is kept.
CREATE TABLE endpoint (
    name        TEXT PRIMARY KEY,               -- of [webhook NAME]
    url_digest  TEXT NOT NULL,                  -- start of SHA-256 in hex: another URL lifts what stood against the old one
    disabled_at INTEGER,                        -- it answered 410; NULL: it is sent to
    reason      TEXT,                           -- why it is disabled, away or held off, for people
    away_since  INTEGER,                        -- it cannot be reached since; NULL: it can, as far as is known
    not_before  INTEGER,                        -- nothing is sent before: it asked for a pause (Retry-After), or is away
    last_at     INTEGER,                        -- last delivery that it took
    updated_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- An event on its way to an endpoint, written in one transaction with the cursor of its reader: none is lost, none twice.
CREATE TABLE delivery (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    endpoint       TEXT NOT NULL,
    event_id       INTEGER NOT NULL,            -- event.id; the row of the log may be gone
    event          TEXT NOT NULL,               -- type as it is sent: generation.failed, …
    generation_seq INTEGER,                     -- whose story it belongs to: deliveries of one go out in order …
    batch_seq      INTEGER,                     -- … and so do those of a batch job's own events (then the other is NULL)
    message_id     TEXT NOT NULL UNIQUE,        -- msg_…: the same on every attempt, for receivers that know what they had
    body           TEXT NOT NULL,               -- that is sent, as it was when the event was read; of format slack its lines
    status         TEXT NOT NULL DEFAULT 'pending'
        CHECK (status='pending' OR status='delivered' OR status='failed' OR status='dropped'),
    held           INTEGER NOT NULL DEFAULT 0 CHECK (held=0 OR held=1), -- an earlier one of the same story is not out yet
    attempts       INTEGER NOT NULL DEFAULT 0,  -- those that reached the endpoint
    next_at        INTEGER NOT NULL,            -- not before
    last_status    INTEGER,                     -- HTTP status of the last answer
    last_error     TEXT,                        -- why the last attempt failed; no secret, no URL
    created_at     INTEGER NOT NULL,
    ended_at       INTEGER,
    CHECK ((status='pending') = (ended_at IS NULL))
) STRICT;
CREATE UNIQUE INDEX delivery_event ON delivery (endpoint, event_id);
-- Those that can go out, and those that wait for another.
CREATE INDEX delivery_due ON delivery (endpoint, next_at, id) WHERE status='pending' AND held=0;
CREATE INDEX delivery_pending ON delivery (endpoint, id) WHERE status='pending';
CREATE INDEX delivery_generation ON delivery (endpoint, generation_seq, id) WHERE status='pending' AND generation_seq IS NOT NULL;
CREATE INDEX delivery_batch ON delivery (endpoint, batch_seq, id)
    WHERE status='pending' AND generation_seq IS NULL AND batch_seq IS NOT NULL;
-- What went wrong, by endpoint; and what has ended, by age.
CREATE INDEX delivery_failed ON delivery (endpoint, id) WHERE status='failed';
CREATE INDEX delivery_dropped ON delivery (endpoint, id) WHERE status='dropped';
CREATE INDEX delivery_ended ON delivery (ended_at) WHERE ended_at IS NOT NULL;

-- The next one of a story may go out when the one before has ended.
CREATE TRIGGER delivery_released AFTER UPDATE OF status ON delivery WHEN OLD.status='pending' AND NEW.status<>'pending'
BEGIN
    UPDATE delivery SET held = 0 WHERE held = 1 AND id = (SELECT min(id) FROM delivery
        WHERE endpoint = NEW.endpoint AND generation_seq = NEW.generation_seq AND generation_seq IS NOT NULL AND status='pending');
    UPDATE delivery SET held = 0 WHERE held = 1 AND id = (SELECT min(id) FROM delivery
        WHERE endpoint = NEW.endpoint AND batch_seq = NEW.batch_seq AND batch_seq IS NOT NULL
        AND generation_seq IS NULL AND NEW.generation_seq IS NULL AND status='pending');
END;
CREATE TRIGGER delivery_removed AFTER DELETE ON delivery WHEN OLD.status='pending'
BEGIN
    UPDATE delivery SET held = 0 WHERE held = 1 AND id = (SELECT min(id) FROM delivery
        WHERE endpoint = OLD.endpoint AND generation_seq = OLD.generation_seq AND generation_seq IS NOT NULL AND status='pending');
    UPDATE delivery SET held = 0 WHERE held = 1 AND id = (SELECT min(id) FROM delivery
        WHERE endpoint = OLD.endpoint AND batch_seq = OLD.batch_seq AND batch_seq IS NOT NULL
        AND generation_seq IS NULL AND OLD.generation_seq IS NULL AND status='pending');
END;

---------------------------------------------------------------------------------------------------
-- The sync with Postgres
---------------------------------------------------------------------------------------------------

-- The row 'sync' of cursors has in data: node (what this box is called there), databaseId (of this database, so that two
-- boxes never take one name), batchSeq and itemIndex (of a batch job whose items are on their way), offlineSince and
-- reason (while Postgres cannot be reached).

-- Rows that Postgres does not take, while it takes the others.
CREATE TABLE sync_refused (
    table_name TEXT NOT NULL,
    row_key    TEXT NOT NULL,                   -- what the row is known by here: its number, or its id
    reason     TEXT NOT NULL,                   -- what Postgres said
    since      INTEGER NOT NULL,
    PRIMARY KEY (table_name, row_key)
) STRICT, WITHOUT ROWID;

-- Orders typed in Postgres that were carried out here, written in one transaction with what they changed: none twice.
CREATE TABLE sync_order (
    order_id INTEGER NOT NULL,                  -- genrun_orders.id there
    typed_at INTEGER NOT NULL,                  -- microseconds: a mirror made anew counts from 1 again
    outcome  TEXT NOT NULL CHECK (outcome='applied' OR outcome='refused'),
    reason   TEXT,                              -- of a refused one
    ended_at INTEGER NOT NULL,
    PRIMARY KEY (order_id, typed_at)
) STRICT, WITHOUT ROWID;
CREATE INDEX sync_order_ended ON sync_order (ended_at);

---------------------------------------------------------------------------------------------------
-- What readers of the log would not see
---------------------------------------------------------------------------------------------------

-- A person's change that moves no state: without a row of the log it would never reach a mirror.
CREATE TRIGGER generation_changed AFTER UPDATE OF priority, error_message, cancel_reason ON generation
WHEN OLD.status = NEW.status AND (OLD.priority <> NEW.priority OR OLD.error_message IS NOT NEW.error_message
    OR OLD.cancel_reason IS NOT NEW.cancel_reason)
BEGIN
    INSERT INTO event (created_at, level, event, generation_seq, batch_seq, message)
    VALUES (CAST(round((julianday('now')-2440587.5)*86400000) AS INTEGER), 'info', 'generation.changed', NEW.seq, NEW.batch_seq,
        CASE WHEN OLD.priority <> NEW.priority THEN 'priority' ELSE 'reason' END);
END;
CREATE TRIGGER generation_input_changed AFTER UPDATE OF parameters ON generation_input WHEN OLD.parameters <> NEW.parameters
BEGIN
    INSERT INTO event (created_at, level, event, generation_seq, batch_seq, message)
    SELECT CAST(round((julianday('now')-2440587.5)*86400000) AS INTEGER), 'info', 'generation.changed', seq, batch_seq, 'parameters'
    FROM generation WHERE seq = NEW.seq;
END;

---------------------------------------------------------------------------------------------------
-- What was deleted here and stands in a mirror
---------------------------------------------------------------------------------------------------

-- With [sync] deletes = yes, which the sync notes as deletes = 1 in the data of its cursor: on its way to Postgres. The
-- log cannot tell it: it may be gone together with the row. Without the note a delete costs a look at the cursor.
CREATE TABLE sync_deleted (
    place     INTEGER PRIMARY KEY AUTOINCREMENT, -- in the order of the deletes, never used again
    is_batch  INTEGER NOT NULL CHECK (is_batch=0 OR is_batch=1), -- of a batch job, else of a generation
    seq       INTEGER NOT NULL,                 -- its number here
    id        TEXT NOT NULL,
    batch_seq INTEGER                           -- of an item: its batch job, whose counts have changed
) STRICT;

CREATE TRIGGER generation_deleted AFTER DELETE ON generation
WHEN (SELECT CASE WHEN json_valid(data) THEN json_extract(data,'$.deletes') END FROM cursors WHERE name='sync') = 1
BEGIN
    INSERT INTO sync_deleted (is_batch, seq, id, batch_seq) VALUES (0, OLD.seq, OLD.id, OLD.batch_seq);
END;
CREATE TRIGGER batch_job_deleted AFTER DELETE ON batch_job
WHEN (SELECT CASE WHEN json_valid(data) THEN json_extract(data,'$.deletes') END FROM cursors WHERE name='sync') = 1
BEGIN
    INSERT INTO sync_deleted (is_batch, seq, id) VALUES (1, OLD.seq, OLD.id);
END;
