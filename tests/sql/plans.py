#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""How SQLite answers what people type: each question by its index, no table of work read from end to end.
(The plans of lists are read by tests/unit/test_queue_list.c; that no statement of the program grows with the rows is
counted by tests/unit/test_queue_cost.c.)"""
import os
import re
import sqlite3
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import shell
import tap

# Reading one of these from end to end: generation g, generation_input i, event e, output o.
WALK = re.compile(r"SCAN (generation|generation_input|event|output|response|[gieo])\b(?! USING INDEX (generation_processing|generation_delayed_seq|event_other))")
BY_ID = "g USING INDEX sqlite_autoindex_generation_1 (id=?)"

# question: what must stand in its plan
PLANS = {
    "SELECT * FROM generations WHERE id='x'": [BY_ID],
    "SELECT * FROM generations WHERE seq=5": ["g USING INTEGER PRIMARY KEY (rowid=?)"],
    "SELECT * FROM generations WHERE substr(id, -8)='abcdef01'": ["g USING INDEX generation_tail"],
    "SELECT * FROM generations WHERE user_id='u' ORDER BY seq DESC LIMIT 20": ["g USING INDEX generation_user (user_id=?)"],
    "SELECT * FROM generations WHERE session_id='s' ORDER BY seq DESC LIMIT 20": ["g USING INDEX generation_session (session_id=?)"],
    "SELECT * FROM generations WHERE model_id='m' ORDER BY seq DESC LIMIT 20": ["g USING INDEX generation_model (model_id=?)"],
    "SELECT * FROM generations WHERE user_id='u' AND seq<100 ORDER BY seq DESC LIMIT 20": ["generation_user (user_id=? AND rowid<?)|generation_user (user_id=? AND seq<?)"],
    "SELECT * FROM generations WHERE seq<100 ORDER BY seq DESC LIMIT 20": ["g USING INTEGER PRIMARY KEY (rowid<?)"],
    "SELECT * FROM generations WHERE batch_job_id='b' ORDER BY item_index LIMIT 20": ["sqlite_autoindex_batch_job_1 (id=?)", "generation_batch (batch_seq=?)"],
    "SELECT * FROM generations WHERE status='processing'": ["generation_processing"],
    "SELECT * FROM generations WHERE status='queued' AND run_after IS NOT NULL ORDER BY seq DESC LIMIT 20": ["generation_delayed_seq"],
    "SELECT * FROM generations WHERE status='failed' AND completed_at>5 ORDER BY completed_at DESC LIMIT 20": ["generation_failed (completed_at>?)"],
    "SELECT * FROM batch_items WHERE batch_job_id='b' ORDER BY item_index": ["generation_batch (batch_seq=?)"],
    "SELECT * FROM batch_items WHERE id=5": ["g USING INTEGER PRIMARY KEY (rowid=?)"],
    "SELECT * FROM batch_items WHERE conversation_id='x'": [BY_ID],
    "SELECT * FROM batch_jobs WHERE id='b'": ["sqlite_autoindex_batch_job_1 (id=?)"],
    "SELECT * FROM batch_jobs ORDER BY seq DESC LIMIT 20": [],
    "SELECT * FROM batch_jobs WHERE seq<9 AND user_id='u' ORDER BY seq DESC LIMIT 20": ["batch_job_user (user_id=? AND rowid<?)|batch_job_user (user_id=? AND seq<?)"],
    "SELECT * FROM outputs WHERE generation_id='x'": ["sqlite_autoindex_generation_1 (id=?)", "o USING INTEGER PRIMARY KEY (rowid>? AND rowid<?)"],
    "SELECT * FROM outputs WHERE id=1024": ["o USING INTEGER PRIMARY KEY (rowid=?)", "g USING INTEGER PRIMARY KEY (rowid=?)"],
    "SELECT * FROM logs WHERE generation_id='x' ORDER BY id": ["event_generation (generation_seq=?)", "sqlite_autoindex_generation_tombstone_1 (id=?)"],
    "SELECT * FROM logs WHERE batch_job_id='b' ORDER BY id": ["event_batch (batch_seq=?)", "generation_batch (batch_seq=?)"],
    "SELECT * FROM logs WHERE id>5 ORDER BY id LIMIT 20": ["e USING INTEGER PRIMARY KEY (rowid>?)", "event_other (rowid>?)|event_other (id>?)"],
    "SELECT * FROM logs WHERE id=5": ["e USING INTEGER PRIMARY KEY (rowid=?)"],
    "SELECT * FROM batch_job_logs WHERE batch_job_id='b' ORDER BY id": ["event_batch (batch_seq=?)"],
    "SELECT * FROM stuck_generations": ["g USING INDEX generation_processing"],
    "SELECT seq FROM generation INDEXED BY generation_failed WHERE status='failed' AND completed_at>=5 AND completed_at=9 AND seq<7 ORDER BY seq DESC LIMIT 20":
        ["generation_failed (completed_at=? AND rowid<?)"],  # pages of failures: those of one moment, then those before it
    "SELECT seq FROM generation INDEXED BY generation_failed WHERE status='failed' AND completed_at>=5 AND completed_at<9 ORDER BY completed_at DESC, seq DESC LIMIT 20":
        ["generation_failed (completed_at>? AND completed_at<?)"],
    "SELECT * FROM failure_stats": ["generation_failed (completed_at>?)"],
    "SELECT * FROM failed_generations_view WHERE completed_at>5 ORDER BY completed_at DESC LIMIT 20": ["generation_failed (completed_at>?)"],
    "SELECT * FROM failed_generations_view WHERE user_id='u'": ["generation_user (user_id=?)|generation_failed"],
    "SELECT * FROM totals": ["batch_count USING INTEGER PRIMARY KEY (rowid=?)"],
    "UPDATE generations SET status='cancelled' WHERE id='x'": [BY_ID],
    "UPDATE batch_items SET status='cancelled' WHERE batch_job_id='b' AND status='queued'": ["generation_batch (batch_seq=?)"],
    "UPDATE generations SET status='queued' WHERE status='failed' AND completed_at>5": ["generation_failed (completed_at>?)"],
    "DELETE FROM generations WHERE id='x'": [BY_ID],
    "SELECT id FROM api_keys WHERE hash='x'": ["sqlite_autoindex_api_keys_2 (hash=?)"],
    "SELECT id FROM api_keys WHERE substr(id, -8)='abcdef01'": ["api_keys_tail"],
    "SELECT count(*) FROM api_keys WHERE revoked_at IS NULL": ["INDEX api_keys_good"],
    "SELECT max(revoked_at) FROM api_keys WHERE revoked_at IS NOT NULL": ["SEARCH api_keys USING COVERING INDEX api_keys_revoked"],
    # The sync with Postgres.
    "SELECT seq FROM generation WHERE seq < ?1 ORDER BY seq DESC LIMIT ?2": ["generation USING INTEGER PRIMARY KEY (rowid<?)"],
    "SELECT seq FROM batch_job WHERE seq < ?1 ORDER BY seq DESC LIMIT ?2": ["batch_job USING INTEGER PRIMARY KEY (rowid<?)"],
    "SELECT e.id FROM event e LEFT JOIN generation g ON g.seq = e.generation_seq WHERE e.id > ?1 ORDER BY e.id LIMIT ?2": ["e USING INTEGER PRIMARY KEY (rowid>?)"],
    "SELECT max(?1, coalesce((SELECT min(id) FROM event), (SELECT seq + 1 FROM sqlite_sequence WHERE name = 'event')) - 1)": ["SEARCH event"],
    "SELECT max(0, min((SELECT max(seq) FROM generation)+1, ?)-(SELECT min(seq) FROM generation))": ["SEARCH generation"],
    "SELECT quote(id) FROM event WHERE id = ?1": ["event USING INTEGER PRIMARY KEY (rowid=?)"],
    "SELECT row_key FROM sync_refused WHERE table_name = ?1 AND row_key > ?2 ORDER BY row_key LIMIT ?3": ["PRIMARY KEY (table_name=? AND row_key>?)"],
    "SELECT 1 FROM sync_refused WHERE table_name = ?1 AND row_key = ?2 AND reason = ?3": ["PRIMARY KEY (table_name=? AND row_key=?)"],
    "DELETE FROM sync_refused WHERE table_name=?1 AND row_key IN (SELECT value FROM json_each(?2))": ["PRIMARY KEY (table_name=? AND row_key=?)"],
    "SELECT outcome, reason FROM sync_order WHERE order_id=? AND typed_at=?": ["PRIMARY KEY (order_id=? AND typed_at=?)"],
}

# Walks in the order of the rowid that end with their LIMIT.
ENDS = {
    "SELECT * FROM recent_generations": "SCAN g\n",
    "SELECT * FROM generations ORDER BY seq DESC LIMIT 20": "SCAN g\n",
    "SELECT * FROM logs ORDER BY id DESC LIMIT 20": "SCAN e\n",
}


def plan(db, sql):
    return "".join(row[3] + "\n" for row in db.execute("EXPLAIN QUERY PLAN " + sql, (1,) * sql.count("?")))


def test_plans(place):
    place.submit("x", "--model", "echo")
    db = sqlite3.connect(place.database)
    for sql, parts in PLANS.items():
        p = plan(db, sql)
        missing = [part for part in parts if not any(one in p for one in part.split("|"))]
        tap.ok(not missing and not WALK.search(p), sql, f"not in its plan: {missing}\n{p}")
    for sql, walk in ENDS.items():
        p = plan(db, sql)
        tap.ok(walk in p and "TEMP B-TREE" not in p.replace("USE TEMP B-TREE FOR ORDER BY", "", 1 if "logs" in sql else 0), sql + ": no sorting", p)
    db.close()


def test_the_same_after_analyze(place):
    """A person may type ANALYZE or PRAGMA optimize: the plans must stand it."""
    shell.zoo(place)
    for i in range(30):
        place.sql("INSERT INTO generations (prompt, model_id, user_id) VALUES ('x', 'echo', 'u')")
    place.sql("ANALYZE")
    db = sqlite3.connect(place.database)
    for sql in ("SELECT * FROM generations WHERE id='x'", "SELECT * FROM outputs WHERE generation_id='x'", "SELECT * FROM logs WHERE generation_id='x'",
                "SELECT * FROM logs WHERE id>5 ORDER BY id LIMIT 20", "SELECT * FROM batch_items WHERE batch_job_id='b'", "SELECT * FROM failure_stats"):
        p = plan(db, sql)
        tap.ok(not WALK.search(p), "after ANALYZE: " + sql, p)
    db.close()
    r = place.run("run", "--drain", "--no-http")
    tap.equal(place.sql("SELECT queued, processing FROM totals"), [(0, 0)], f"the runner goes on (exit {r.code})")
    tap.equal(shell.drift(place), [], "nothing has drifted")


tap.main(globals())
