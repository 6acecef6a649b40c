# SPDX-License-Identifier: MIT
"""The sqlite3 shell as a person uses it on genrun's database, and rows in every state to use it on."""
import json
import sqlite3
import subprocess

import ledger
import tap
from genrun import PATIENCE_S

NOW = "CAST(round((julianday('now')-2440587.5)*86400000) AS INTEGER)"
STATES = ledger.STATES
CLEANUP = "cleanup_stuck_generation"
# What the runner writes (src/queue/claim.c, settle.c).
CLAIM = ("UPDATE generation SET status='processing', claim_token=lower(hex(randomblob(8))), runner_seq=0, started_at=" + NOW +
         ", starts=starts+1, last_step='process:claim', note=NULL WHERE ")
SETTLE = "UPDATE generation SET claim_token=NULL, note=NULL, waiting_since=NULL, completed_at=" + NOW + ", attempts=attempts+1, "
COMPLETE = SETTLE + "status='completed', last_step='outputs:store', input_tokens=3, output_tokens=5, cost=0.25 WHERE status='processing' AND "
FAIL = SETTLE + ("status='failed', error_type='ModelGenerationError', error_message='the model said no',"
                 " error_detail='{\"stack\":\"model echo, attempt 1\",\"httpStatus\":500}' WHERE status='processing' AND ")

# Tables that hold what a refused statement must not touch.
WATCHED = ("generation", "generation_input", "generation_live", "output", "response", "batch_job", "batch_count", "lane", "event",
           "generation_tombstone")


class Typed:
    """What the shell answered."""

    def __init__(self, sql, code, out, err):
        self.sql, self.code, self.out, self.err = sql, code, out, err

    def __repr__(self):
        return f"typed: {self.sql}\ncode: {self.code}\nstdout: {self.out!r}\nstderr: {self.err!r}"

    @property
    def json(self):
        return json.loads(self.out)


RECURSIVE = "PRAGMA recursive_triggers=ON"


def run(place, *statements, options=()):
    """Types statements, each as one line, into one sqlite3 shell, whatever becomes of them."""
    command = ["sqlite3", "-batch", "-cmd", ".timeout 60000", *options, place.database]
    done = subprocess.run(command, input=";\n".join(statements).encode() + b";\n", capture_output=True, timeout=PATIENCE_S, check=False,
                          cwd=place.folder, env=place.env)
    return Typed(statements, done.returncode, done.stdout.decode("utf-8", "replace").rstrip("\n"),
                 done.stderr.decode("utf-8", "replace"))


def foreign(place, *statements):
    """Writes as somebody does who knows neither triggers nor checks. A statement is a text, or a text and its values."""
    db = sqlite3.connect(place.database, timeout=PATIENCE_S, isolation_level=None)
    db.execute("PRAGMA ignore_check_constraints=ON")
    db.execute("BEGIN IMMEDIATE")
    triggers = db.execute("SELECT name, sql FROM sqlite_schema WHERE type='trigger'").fetchall()
    for name, _ in triggers:
        db.execute(f"DROP TRIGGER {name}")
    for statement in statements:
        db.execute(*([statement] if isinstance(statement, str) else statement))
    for _, sql in triggers:
        db.execute(sql)
    db.execute("COMMIT")
    db.close()


def all_of(place):
    """Everything that is watched."""
    db = sqlite3.connect(f"file:{place.database}?mode=ro", uri=True, timeout=PATIENCE_S)
    try:
        return {table: db.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall() for table in WATCHED}
    finally:
        db.close()


_watchers = {}


def commits(place):
    """A number that changes with every commit to the database."""
    if place.database not in _watchers:
        _watchers[place.database] = sqlite3.connect(f"file:{place.database}?mode=ro", uri=True, timeout=PATIENCE_S)
    return _watchers[place.database].execute("PRAGMA data_version").fetchone()[0]


def refused(place, sql, message, name):
    """The statement is refused with one readable line, with nested triggers off and on, and nothing is written."""
    before = commits(place)
    r = run(place, sql, RECURSIVE, sql)
    lines = r.err.splitlines()
    good = r.code != 0 and r.out == "" and len(lines) == 2 and all(message in line for line in lines)
    return tap.ok(good and commits(place) == before, name, lambda: f"expected: refused with {message!r}, nothing written\n{r}")


def done(place, sql, name, recursive=False):
    """The statement works without a word, and nothing has drifted."""
    r = run(place, *([RECURSIVE] if recursive else []), sql)
    broken = drift(place)
    tap.ok(r.code == 0 and r.err == "" and not broken, name, lambda: f"{r}\n" + "\n".join(broken))
    return r


def silent(place, sql, name):
    """The statement works and changes nothing at all."""
    before = all_of(place)
    r = run(place, sql)
    after = all_of(place)
    changed = [table for table in WATCHED if before[table] != after[table]]
    tap.ok(r.code == 0 and r.err == "" and not changed, name, lambda: f"changed: {changed}\n{r}")


def drift(place):
    db = sqlite3.connect(f"file:{place.database}?mode=ro", uri=True, timeout=PATIENCE_S)
    try:
        return ledger.drift(db)
    finally:
        db.close()


def row(place, id, columns="*"):
    """One generation as a dictionary, parameters parsed."""
    db = sqlite3.connect(f"file:{place.database}?mode=ro", uri=True, timeout=PATIENCE_S)
    db.row_factory = sqlite3.Row
    try:
        r = dict(db.execute(f"SELECT {columns} FROM generations WHERE id=?", (id,)).fetchone())
    finally:
        db.close()
    if "parameters" in r:
        r["parameters"] = json.loads(r["parameters"])
    return r


def batch(place, id):
    db = sqlite3.connect(f"file:{place.database}?mode=ro", uri=True, timeout=PATIENCE_S)
    db.row_factory = sqlite3.Row
    try:
        return dict(db.execute("SELECT * FROM batch_jobs WHERE id=?", (id,)).fetchone())
    finally:
        db.close()


def events(place, id):
    """The names of a generation's events, in order."""
    return [e for (e,) in place.sql("SELECT event FROM logs WHERE generation_id=? ORDER BY id", id)]


def batch_events(place, id):
    return [e for (e,) in place.sql("SELECT event FROM logs WHERE batch_job_id=? AND generation_id IS NULL ORDER BY id", id)]


def submit_batch(place, count, *options, name="items.jsonl"):
    """A batch of `count` items on the model echo; its id."""
    text = "".join(json.dumps({"custom_id": f"i{i}", "prompt": f"item {i}", "delay": 1}) + "\n" for i in range(count))
    r = place.run("batch", "submit", place.write(name, text), "--model", "echo", *options)
    if r.code != 0:
        raise RuntimeError(f"batch submit failed\n{r}")
    return r.id


def bring(place, where, state):
    """Brings queued generations (by a condition on `generation`) to a state, as the runner or a person does."""
    steps = {"queued": [], "processing": [CLAIM], "completed": [CLAIM, COMPLETE], "failed": [CLAIM, FAIL],
             "cancelled": ["UPDATE generations SET status='cancelled' WHERE "]}[state]
    for step in steps:
        place.sql(step + where)


def item(place, batch_id, index):
    return place.value("SELECT conversation_id FROM batch_items WHERE batch_job_id=? AND item_index=?", batch_id, index)


def zoo(place):
    """One single generation and one batch item in each state, and a sixth item that waits.
    Returns (singles by state, items by state, batch id)."""
    singles = {}
    for state in STATES:
        singles[state] = place.submit(f"a {state} one", "--model", "echo", "--user", "ann", "--key", f"key-{state}",
                                      "--param", "temperature=0.5")
        bring(place, f"id='{singles[state]}'", state)
    job = submit_batch(place, 6)
    items = {}
    for i, state in enumerate(STATES):
        items[state] = item(place, job, i)
        bring(place, f"id='{items[state]}'", state)
    return singles, items, job
