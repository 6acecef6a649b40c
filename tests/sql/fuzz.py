#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Random statements, those of people and those of the runner, legal and illegal, on one database; then
everything the triggers keep is recounted.

    tests/sql/fuzz.py [--runs 60] [--statements 300] [--seed N]

Each seed runs with nested triggers off and on; a failure names it.
"""
import argparse
import json
import os
import random
import re
import sqlite3
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import ledger
import tap

ARGS = argparse.ArgumentParser()
ARGS.add_argument("--runs", type=int, default=60)
ARGS.add_argument("--statements", type=int, default=300)
ARGS.add_argument("--seed", type=int, default=20260801)
ARGS.add_argument("--every", type=int, default=100, help="recount after so many statements")

GIVEN = "(SELECT value FROM json_each(?))"
STATES = ledger.STATES + ("nonsense",)
MODELS, USERS = ("echo", "slow"), (None, "ann", "bob")
NOW = 2000000000000
# Refusals that no person should see: the mark of a trigger that met a row it did not expect.
UNREADABLE = re.compile(r"UNIQUE|NOT NULL|FOREIGN|no such|syntax|malformed|misuse|datatype|>= 0")


def settle(status, more):
    return (f"UPDATE generation SET status='{status}', claim_token=NULL, attempts=attempts+1, {more} "
            "WHERE seq=:seq AND claim_token=:token AND status='processing'")


# The statements of src/queue/: claim.c, settle.c, runner.c, schedule.c.
CLAIM = ("UPDATE generation SET status='processing', claim_token=lower(hex(randomblob(8))), runner_seq=1, started_at=:now, starts=starts+1,"
         " last_step='process:claim', note=NULL WHERE seq IN ({}) RETURNING seq")
READY = ("SELECT seq FROM generation INDEXED BY generation_ready WHERE lane=:lane AND status='queued' AND run_after IS NULL AND suspect=0"
         " ORDER BY seq LIMIT :limit")
COMPLETE = settle("completed", "completed_at=:now, waiting_since=NULL, input_tokens=3, output_tokens=5, cost=coalesce(cost, 0)+0.25")
FAIL = settle("failed", "completed_at=:now, error_type='NetworkError', error_message='no', error_detail='{\"stack\":\"x\"}', note=NULL,"
              " cost=coalesce(cost, 0)+0.125")
AGAIN = settle("queued", "run_after=nullif(:delay, 0), waiting_since=:now, input_tokens=7, cost=coalesce(cost, 0)+0.125, note=:note")
ORPHAN = ("UPDATE generation SET status='queued', claim_token=NULL, run_after=NULL, crashes=crashes+1, suspect=:suspect, note=:note"
          " WHERE seq=:seq AND status='processing'")
SWEEP = ("UPDATE generation SET status='cancelled', completed_at=:now, run_after=NULL, note=NULL, waiting_since=NULL, cancel_reason='swept'"
         " WHERE seq IN (SELECT g.seq FROM batch_job b JOIN generation g ON g.batch_seq=b.seq AND g.status='queued'"
         " WHERE (b.status='cancelled' OR b.stop_reason IS NOT NULL) LIMIT :limit)")
RETRY = ("UPDATE generation SET status='queued', completed_at=NULL, run_after=NULL, note=NULL, waiting_since=NULL, attempts=0, suspect=0,"
         " crashes=0, crashes_alone=0, error_type=NULL, error_message=NULL, error_detail=NULL, cancel_reason=NULL, dismissed_at=NULL"
         " WHERE seq=:seq AND (status='failed' OR status='cancelled')")


class Fuzz:
    def __init__(self, db, seed):
        self.rng = random.Random(seed)
        self.db = db
        self.refusals, self.unreadable, self.done, self.number = 0, [], [], 0

    # ---- choosing ----

    def some(self, sql, limit):
        rows = [r[0] for r in self.db.execute(sql + " ORDER BY 1")]
        return self.rng.sample(rows, min(len(rows), self.rng.randint(1, limit)))

    def seqs(self, limit=4):
        """Some rows, for IN."""
        return (json.dumps(self.some("SELECT seq FROM generation", limit)),)

    def batches(self, limit=1):
        return (json.dumps(self.some("SELECT seq FROM batch_job", limit)),)

    def running(self):
        rows = self.db.execute("SELECT seq, claim_token FROM generation WHERE status='processing'").fetchall()
        seq, token = self.rng.choice(rows) if rows else (0, "")
        return {"seq": seq, "token": token if self.rng.random() < 0.9 else "stale", "now": NOW + self.number}

    def verb(self):
        return "UPDATE" + self.rng.choice(["", "", "", " OR REPLACE", " OR IGNORE", " OR FAIL", " OR ABORT"])

    # ---- doing ----

    def execute(self, sql, values=()):
        self.done.append(sql)
        try:
            return self.db.execute(sql, values).fetchall()
        except sqlite3.IntegrityError as e:
            self.refusals += 1
            if UNREADABLE.search(str(e)):
                self.unreadable.append(f"{e}: {sql}")
        except sqlite3.OperationalError as e:
            # Views refuse what has no trigger in words of SQLite's own.
            self.refusals += 1
            if "because it is a view" not in str(e):
                self.unreadable.append(f"{e}: {sql}")
        return []

    # ---- people ----

    def insert(self):
        rng = self.rng
        rows = json.dumps([[rng.choice(MODELS), rng.choice(USERS), rng.choice([-1, 0, 0, 0, 2, 5000]), rng.choice([None, None, NOW + 50])]
                           for _ in range(rng.randint(1, 3))])
        verb = rng.choice(["INSERT", "INSERT OR REPLACE", "INSERT OR IGNORE"])
        self.execute(f"{verb} INTO generations (prompt, model_id, user_id, priority, run_after) SELECT 'p', value->>0, value->>1, value->>2,"
                     " value->>3 FROM json_each(?)", (rows,))

    def replace(self):
        id = self.db.execute("SELECT id FROM generation WHERE seq IN " + GIVEN, self.seqs(1)).fetchone()
        self.execute(f"{self.rng.choice(['INSERT OR REPLACE', 'REPLACE', 'INSERT OR IGNORE'])} INTO generations (id, prompt, model_id) "
                     "VALUES (?, 'again', 'echo')", id or ("x",))

    def set_status(self):
        set_more = self.rng.choice(["", "", ", error_message='why'", ", parameters=json_set(parameters, '$.k', 1)", ", priority=1",
                                    ", dismissed_at=5", ", error_message=NULL"])
        self.execute(f"{self.verb()} generations SET status='{self.rng.choice(STATES)}'{set_more} WHERE seq IN " + GIVEN, self.seqs())

    def set_item_status(self):
        self.execute(f"{self.verb()} batch_items SET status='{self.rng.choice(STATES)}' WHERE id IN " + GIVEN, self.seqs())

    def set_all(self):
        where = self.rng.choice(["status='queued'", "status IN ('queued', 'processing')", "status IN ('failed', 'cancelled')", "1"])
        self.execute(f"UPDATE generations SET status='{self.rng.choice(STATES)}' WHERE {where} AND seq % 3 = {self.rng.randrange(3)}")

    def set_column(self):
        what = self.rng.choice(["priority=2", "priority=-1", "dismissed_at=7", "dismissed_at=NULL", "error_message='e'", "parameters='{\"a\":1}'",
                                "parameters=json_set(parameters, '$.error', 'x')", "id='x'", "batch_job_id=NULL", "claim_token='t'", "seq=5"])
        self.execute(f"{self.verb()} generations SET {what} WHERE seq IN " + GIVEN, self.seqs())

    def set_on_table(self):
        what = self.rng.choice(["status='completed', claim_token=NULL, completed_at=1", "status='processing'", "id='x'", "batch_seq=1",
                                "status='failed', claim_token=NULL, completed_at=1, error_type='X', error_message='y', cancel_reason=NULL",
                                "status='cancelled', claim_token=NULL, completed_at=1, cancel_reason='z', error_message=NULL"])
        self.execute(f"{self.verb()} generation SET {what} WHERE seq IN " + GIVEN, self.seqs(2))

    def delete(self):
        view, key = self.rng.choice([("generations", "seq"), ("batch_items", "id"), ("generation", "seq")])
        self.execute(f"DELETE FROM {view} WHERE {key} IN " + GIVEN, self.seqs(2))

    def delete_batch(self):
        self.execute("DELETE FROM batch_jobs WHERE seq IN " + GIVEN, self.batches())

    def set_batch(self):
        what = self.rng.choice(["paused", "paused", "processing", "processing", "queued", "cancelled", "completed", "failed"])
        form = self.rng.choice(["batch_jobs", "batch_jobs", "batch_jobs", "batch_job"]) if what != "processing" else "batch_jobs"
        self.execute(f"{self.verb()} {form} SET status='{what}' WHERE seq IN " + GIVEN, self.batches())

    def undone(self):
        self.db.execute("SAVEPOINT undone")
        self.set_status()
        self.insert()
        self.db.execute("ROLLBACK TO undone")
        self.db.execute("RELEASE undone")

    # ---- the runner and the submitter ----

    def open_lane(self, model):
        return self.db.execute("SELECT id, batch_seq FROM lane INDEXED BY lane_open WHERE model_id=? AND blocked=0 AND ready=1"
                               " ORDER BY priority DESC, kind, batch_seq, id LIMIT 1", (model,)).fetchone()

    def claim(self, model=None):
        lane = self.open_lane(model or self.rng.choice(MODELS))
        if not lane:
            return False
        left = self.db.execute("SELECT max(0, concurrency - processing_items) FROM batch_count WHERE batch_seq=?", (lane[1],)).fetchone()
        limit = min(self.rng.randint(1, 3), left[0] if left and left[0] is not None else 3)
        values = {"now": NOW + self.number, "lane": lane[0], "limit": limit}
        if not self.execute(CLAIM.format(READY), values):
            self.execute("UPDATE lane SET ready=0 WHERE id=:lane", values)
        return True

    def claim_suspect(self):
        self.execute(CLAIM.format("SELECT seq FROM generation WHERE status='queued' AND suspect=1 AND batch_seq IS NULL LIMIT 1"), {"now": NOW})

    def beat(self):
        self.execute("INSERT INTO generation_live (seq, heartbeat_at, progress_at, last_step) SELECT seq, :now, :now, 'provider:wait' FROM generation"
                     " WHERE seq=:seq AND claim_token=:token AND status='processing' ON CONFLICT (seq) DO UPDATE SET heartbeat_at=:now", self.running())

    def complete(self):
        values = self.running()
        self.execute(COMPLETE, values)
        self.execute("INSERT OR IGNORE INTO output (key, mime, content, bytes, created_at) SELECT seq*1024, 'text/plain', 'x', 1, 1 FROM generation"
                     " WHERE seq=:seq AND status='completed'", values)

    def fail(self):
        self.execute(FAIL, self.running())

    def again(self):
        event = self.rng.choice(["retrying", "parked", "queued", "recovered"])
        self.execute(AGAIN, self.running() | {"delay": self.rng.choice([0, NOW + 30, NOW + 400]), "note": f'{{"event":"{event}","level":"warn","data":{{}}}}'})

    def orphan(self):
        self.execute(ORPHAN, self.running() | {"suspect": int(self.rng.random() < 0.4), "note": '{"event":"recovered"}'})

    def retry(self):
        self.execute(RETRY, {"seq": (self.some("SELECT seq FROM generation", 1) or [0])[0]})

    def promote(self):
        self.execute("UPDATE generation SET run_after=NULL WHERE status='queued' AND run_after IS NOT NULL AND run_after<=:now", {"now": NOW + self.number})

    def sweep(self):
        self.execute(SWEEP, {"now": NOW + self.number, "limit": self.rng.randint(1, 5)})

    def fill(self):
        """A batch as batch submit writes it: not open yet, in two slices."""
        rng = self.rng
        self.execute("INSERT INTO batch_job (id, writer, created_at, concurrency, on_error, max_failures, max_cost) VALUES (?,?,?,?,?,?,?)",
                     (f"b{self.number}", "boot:1:1", 1, rng.choice([None, 1, 2]), rng.choice(["continue", "continue", "stop"]),
                      rng.choice([None, 1]), rng.choice([None, None, 0.5])))
        job = self.db.execute("SELECT max(seq) FROM batch_job").fetchone()[0]
        place = 0
        for part in range(2):
            count = rng.randint(1, 4)
            for _ in range(count):
                model = rng.choice(MODELS)
                self.execute("INSERT OR IGNORE INTO lane (model_id, user_id, batch_seq, priority) VALUES (?, '', ?, 0)", (model, job))
                self.execute("UPDATE lane SET ready=1 WHERE model_id=? AND batch_seq=?", (model, job))
                self.execute("INSERT INTO generation (id, status, lane, model_id, batch_seq, item_index, created_at) SELECT ?, 'queued', id, model_id,"
                             " batch_seq, ?, 1 FROM lane WHERE model_id=? AND batch_seq=? AND priority=0", (f"g{self.number}-{place}", place, model, job))
                self.execute("INSERT INTO generation_input (seq, prompt, parameters) SELECT max(seq), 'p', '{}' FROM generation")
                place += 1
            self.execute("UPDATE batch_count SET queued_items=queued_items+? WHERE batch_seq=?", (count, job))
            if part == 0 and rng.random() < 0.3:
                rng.choice([self.set_status, self.delete, self.set_batch, self.claim])()
        if rng.random() < 0.85:
            self.execute("UPDATE batch_job SET opened_at=?, writer=NULL WHERE seq=?", (NOW, job))

    def abandon(self):
        """The sweep of a batch whose writer died."""
        job = self.db.execute("SELECT seq FROM batch_job WHERE opened_at IS NULL").fetchone()
        if job:
            self.execute("DELETE FROM generation WHERE seq IN (SELECT seq FROM generation WHERE batch_seq=? LIMIT 3)", job)
            if not self.db.execute("SELECT 1 FROM generation WHERE batch_seq=?", job).fetchone():
                self.execute("DELETE FROM batch_job WHERE seq=? AND opened_at IS NULL", job)

    STEPS = ((insert, 8), (replace, 2), (set_status, 14), (set_item_status, 8), (set_all, 1), (set_column, 8), (set_on_table, 6), (delete, 5),
             (delete_batch, 1), (set_batch, 6), (undone, 1), (claim, 22), (claim_suspect, 2), (beat, 4), (complete, 9), (fail, 5), (again, 5),
             (orphan, 4), (retry, 4), (promote, 2), (sweep, 2), (fill, 3), (abandon, 1))

    def run(self, statements, every):
        steps, weights = zip(*self.STEPS)
        broken = []
        for self.number in range(1, statements + 1):
            self.rng.choices(steps, weights)[0](self)
            if self.number % every == 0 or self.number == statements:
                broken = ledger.drift(self.db)
                if broken:
                    broken.append(f"found after statement {self.number}")
                    break
        return broken + self.unreadable

    def drain(self):
        """Claims by lanes until they are all empty or blocked; what could run and was not reached."""
        claimed = True
        while claimed:
            for row in self.db.execute("SELECT seq, claim_token FROM generation WHERE status='processing'").fetchall():
                self.execute(COMPLETE, {"seq": row[0], "token": row[1], "now": NOW})
            claimed = any([self.claim(model) for model in MODELS])
        return [f"{seq} was not reached" for (seq,) in self.db.execute(
            "SELECT g.seq FROM generation g JOIN lane l ON l.id=g.lane WHERE g.status='queued' AND g.run_after IS NULL AND g.suspect=0 AND l.blocked=0")]


def fuzz(db, seed):
    """One run, undone at its end; returns (what is broken, its statements, refusals, events)."""
    db.execute("BEGIN")
    run = Fuzz(db, seed)
    broken = run.run(OPTIONS.statements, OPTIONS.every) or run.drain() or ledger.drift(db)
    events = {e for (e,) in db.execute("SELECT DISTINCT event FROM event")}
    db.execute("ROLLBACK")
    if broken:
        broken += run.done[-3:]
    return broken, len(run.done), run.refusals, events


def test_fuzz(place):
    place.submit("first", "--model", "echo")
    statements = refusals = 0
    seen = set()
    for recursive in (False, True):
        db = sqlite3.connect(":memory:", isolation_level=None, cached_statements=1000)
        template = sqlite3.connect(place.database)
        template.backup(db)
        template.close()
        db.execute(f"PRAGMA recursive_triggers={'ON' if recursive else 'OFF'}")
        for seed in range(OPTIONS.seed, OPTIONS.seed + (OPTIONS.runs + 1) // 2):
            broken, tried, refused, events = fuzz(db, seed)
            seen |= events
            statements, refusals = statements + tried, refusals + refused
            if broken:
                tap.ok(False, f"--runs 1 --seed {seed}, recursive_triggers {recursive}: nothing has drifted", "\n".join(broken[:15]))
        db.close()
    tap.ok(True, f"{OPTIONS.runs} runs recounted")
    tap.ok(statements > OPTIONS.runs * OPTIONS.statements and statements / 20 < refusals < statements * 0.8,
           f"{statements} statements, {refusals} of them refused: both kinds were tried")
    unseen = (set(ledger.LEGAL) | {f"batch.{e}" for e in ("created", "processing", "paused", "resumed", "completed", "failed", "stopped", "reopened",
                                                          "cancelled")}) - seen
    tap.ok(OPTIONS.runs < 60 or not unseen, "every transition was met", unseen)


OPTIONS = ARGS.parse_args()
sys.argv[1:] = []
tap.main(globals())
