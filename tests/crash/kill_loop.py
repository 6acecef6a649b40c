#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""kill -9, again and again: a runner on the echo model is killed at random moments and
started anew, and after the first tick of each start the whole database is judged from one
snapshot: nothing is `processing` under a dead runner, the counters equal the counts, the log
replays to exactly the states in the table, what is completed has each output once and right.
At the end everything is drained and every item ended as its script says.

    tests/crash/kill_loop.py [--kills 200] [--concurrency 8] [--seed N]

The random moments differ from run to run; --seed repeats the draws (not the machine's timing).
GENRUN_KEEP=1 keeps the folder.
"""
import argparse
import json
import os
import random
import sqlite3
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap
from genrun import Place, wait_until

ARGS = argparse.ArgumentParser(description=__doc__.split("\n")[0])
ARGS.add_argument("--kills", type=int, default=200)
ARGS.add_argument("--concurrency", type=int, default=8)
ARGS.add_argument("--seed", type=int, default=None)

MAX_ATTEMPTS = 3
LOW_WATER = 60  # fewer items than this waiting: another batch is submitted
BATCH_SIZE = 300

CONFIG = """
[genrun]
default_model = echo
[scheduler]
concurrency = {concurrency}
max_attempts = {attempts}
max_crashes = 100000
backoff_min = 10ms
backoff_max = 60ms
heartbeat_interval = 100ms
heartbeat_timeout = 60s
"""

# What an event of a generation does to its state. Names that are not here change none.
LEGAL = {
    "generation.queued": ({None, "failed", "cancelled"}, "queued"),
    "generation.processing": ({"queued"}, "processing"),
    "generation.completed": ({"processing"}, "completed"),
    "generation.failed": ({"processing", "queued"}, "failed"),
    "generation.cancelled": ({"processing", "queued"}, "cancelled"),
    "generation.retrying": ({"processing"}, "queued"),
    "generation.parked": ({"processing"}, "queued"),
    "generation.recovered": ({"processing"}, "queued"),
}
STATES = ("queued", "processing", "completed", "failed", "cancelled")


def script(rng, name):
    """One item: its line of the batch file, and how it must end."""
    prompt = f"{name}: " + " ".join(rng.choice(("rain", "snow", "wind", "häil", "☀")) for _ in range(rng.randint(1, 30)))
    line = {"custom_id": name, "prompt": prompt, "delay": rng.randint(0, 40)}
    end = {"status": "completed", "content": prompt}
    if rng.random() < 0.5:
        line["chunks"] = rng.randint(2, 5)
    draw = rng.random()
    if draw < 0.10:
        line["repeat"] = 3
        end["content"] = prompt * 3
    elif draw < 0.25:
        line.update(fail=rng.choice(("NetworkError", "ModelGenerationError")), fail_times=rng.randint(1, 2))
    elif draw < 0.33:
        line.update(fail="InvalidRequestError")
        end = {"status": "failed", "type": "InvalidRequestError", "attempts": 1}
    elif draw < 0.38:
        line.update(fail="ModelGenerationError")
        end = {"status": "failed", "type": "ModelGenerationError", "attempts": MAX_ATTEMPTS}
    if rng.random() < 0.1:
        line["priority"] = rng.choice((-5, 5))
    return line, end


class Judge:
    """Holds what was handed in and how far the log was read, and judges snapshots."""

    def __init__(self, place):
        self.place = place
        self.expected = {}  # custom_id or id -> end
        self.batches = {}  # id -> number of items
        self.state = {}  # generation id -> state by the log
        self.starts = {}  # generation id -> number of processing events
        self.last_log = 0
        self.recovered = 0  # events of the last look
        self.remaining = 0

    def connect(self):
        # Read-only: it never checkpoints and never removes the log that the dead runner left.
        return sqlite3.connect(f"file:{self.place.database}?mode=ro", uri=True, timeout=10.0, isolation_level=None)

    def replay(self, db, broken):
        self.recovered = 0
        rows = db.execute("SELECT id, event, generation_id, attempt FROM logs WHERE id > ? AND generation_id IS NOT NULL "
                          "ORDER BY id", (self.last_log,)).fetchall()
        newest = db.execute("SELECT coalesce(max(id), 0) FROM logs").fetchone()[0]
        if newest < self.last_log:
            broken.append(f"the log ended at {self.last_log} before and ends at {newest} now")
        self.last_log = newest
        for log_id, event, generation, attempt in rows:
            if event not in LEGAL:
                continue
            before = self.state.get(generation)
            # The items of a batch are queued by batch.created, without events of their own.
            if before is None and event != "generation.queued":
                before = "queued"
            legal, after = LEGAL[event]
            if before not in legal:
                broken.append(f"log {log_id}: {event} of {generation}, which was {before}")
            self.state[generation] = after
            if event == "generation.recovered":
                self.recovered += 1
            if event == "generation.processing":
                self.starts[generation] = self.starts.get(generation, 0) + 1
                if attempt != self.starts[generation]:
                    broken.append(f"log {log_id}: start {attempt} of {generation}, expected {self.starts[generation]}")

    def judge_rows(self, db, broken):
        present = db.execute("SELECT max(seq) FROM runners").fetchone()[0]
        counts = dict.fromkeys(STATES, 0)
        per_batch = {}
        completed = {}
        seen = 0
        for (id, status, starts, attempts, runner, token, custom_id, batch) in db.execute(
                "SELECT id, status, starts, attempts, runner_seq, claim_token, custom_id, batch_job_id FROM generations"):
            seen += 1
            counts[status] += 1
            if batch:
                per_batch.setdefault(batch, dict.fromkeys(STATES, 0))[status] += 1
            if status == "processing" and runner != present:
                broken.append(f"{id} is processing under runner {runner}, the present one is {present}")
            if (status == "processing") != (token is not None):
                broken.append(f"{id} is {status}, its claim token is {token}")
            if self.state.get(id, "queued") != status:
                broken.append(f"{id} is {status}, by the log it is {self.state.get(id, 'queued')}")
            if starts != self.starts.get(id, 0):
                broken.append(f"{id} has starts={starts}, the log has {self.starts.get(id, 0)}")
            if not 0 <= attempts <= min(starts, MAX_ATTEMPTS):
                broken.append(f"{id} has attempts={attempts}, starts={starts}")
            end = self.expected.get(custom_id or id)
            if end is None:
                broken.append(f"{id} was never handed in (custom_id {custom_id})")
            elif status not in ("queued", "processing") and status != end["status"]:
                broken.append(f"{id} ({custom_id}) is {status}, its script says {end['status']}")
            elif status == "completed":
                completed[id] = end["content"]
        if seen != len(self.expected):
            broken.append(f"{seen} generations, {len(self.expected)} were handed in")
        self.remaining = counts["queued"] + counts["processing"]
        total = dict(zip(STATES, db.execute("SELECT queued_items, processing_items, successful_items, failed_items, "
                                            "cancelled_items FROM batch_count WHERE batch_seq=0").fetchone()))
        if total != counts:
            broken.append(f"counts by state: kept {total}, counted {counts}")
        return completed, per_batch

    def judge_batches(self, db, per_batch, broken):
        kept = {}
        for row in db.execute("SELECT id, status, queued_items, processing_items, successful_items, failed_items, "
                              "cancelled_items, completed_items, total_items FROM batch_jobs"):
            id, status, counters = row[0], row[1], dict(zip(STATES, row[2:7]))
            kept[id] = status
            counted = per_batch.get(id)
            if counters != counted:
                broken.append(f"batch {id}: counters {counters}, counted {counted}")
                continue
            if row[7] != counted["completed"] + counted["failed"] or row[8] != self.batches.get(id):
                broken.append(f"batch {id}: completed_items {row[7]}, total_items {row[8]} of {self.batches.get(id)}")
            left = counted["queued"] + counted["processing"]
            if (status == "completed") != (left == 0):
                broken.append(f"batch {id} is {status} with {left} items left")
        if set(kept) != set(self.batches):
            broken.append(f"batches {sorted(kept)}, submitted {sorted(self.batches)}")

    def judge_outputs(self, db, completed, broken):
        found = {}
        for generation, idx, mime, content, partial in db.execute(
                "SELECT generation_id, idx, mime, content, partial FROM outputs"):
            if generation not in completed:
                if not partial:
                    broken.append(f"{generation} has a whole output {idx} and is not completed")
                continue
            found[generation] = found.get(generation, 0) + 1
            if (idx, mime, partial) != (0, "text/plain", 0) or content != completed[generation]:
                broken.append(f"{generation}: output {idx} {mime} partial={partial} {content!r}, "
                              f"expected {completed[generation]!r}")
        for generation in completed:
            if found.get(generation) != 1:
                broken.append(f"{generation} is completed with {found.get(generation, 0)} outputs")

    def look(self, whole=False):
        """Judges one snapshot; returns what is broken."""
        broken = []
        db = self.connect()
        try:
            db.execute("BEGIN")
            self.replay(db, broken)
            completed, per_batch = self.judge_rows(db, broken)
            self.judge_batches(db, per_batch, broken)
            self.judge_outputs(db, completed, broken)
            stuck = db.execute("SELECT id, why FROM stuck_generations").fetchall()
            if stuck:
                broken.append(f"stuck: {stuck}")
            if whole:
                check = db.execute("PRAGMA quick_check").fetchall()
                if check != [("ok",)]:
                    broken.append(f"the file: {check[:5]}")
        finally:
            db.close()
        return broken

    def await_first_tick(self, runner):
        """Until the runner's own start is in the log, and what dead ones left is judged, which waits for the end of their processes."""

        def is_up():
            if not runner.running:
                raise RuntimeError(f"the runner ended with {runner.process.returncode}: {runner.err}")
            try:
                db = self.connect()
                try:
                    return db.execute(
                        "SELECT count(*) FROM runners r WHERE r.seq = (SELECT max(seq) FROM runners) AND r.pid = ? AND EXISTS "
                        "(SELECT 1 FROM logs WHERE event = 'runner.started' AND created_at >= r.started_at) "
                        "AND NOT EXISTS (SELECT 1 FROM generation WHERE status = 'processing' AND runner_seq <> r.seq)",
                        (runner.pid,)).fetchone()[0]
                finally:
                    db.close()
            except sqlite3.OperationalError:
                return False

        wait_until(is_up, 20.0, "the first tick of a new runner and its recovery")


def submit_batch(place, judge, rng):
    number = len(judge.batches)
    lines = []
    for i in range(BATCH_SIZE):
        name = f"b{number}-{i}"
        line, end = script(rng, name)
        judge.expected[name] = end
        lines.append(json.dumps(line, ensure_ascii=rng.random() < 0.5))
    r = place.run("batch", "submit", place.write("batch.jsonl", "\n".join(lines) + "\n"))
    if r.code != 0:
        raise RuntimeError(f"batch submit failed\n{r}")
    judge.batches[r.id] = BATCH_SIZE


def submit_single(place, judge, rng):
    prompt = f"single {rng.random()}"
    judge.expected[place.submit(prompt, "--param", f"delay={rng.randint(0, 60)}")] = {
        "status": "completed", "content": prompt}


def show_broken(broken):
    more = [f"… and {len(broken) - 10} more"] if len(broken) > 10 else []
    return "\n".join(broken[:10] + more)


def kill_after(runner, wait_s):
    time.sleep(wait_s)
    if not runner.running:
        raise RuntimeError(f"the runner ended by itself with {runner.process.returncode}: {runner.err}")
    runner.kill()
    return f"{wait_s * 1000:.0f} ms"


def kill_often(place, judge, rng, kills):
    """The loop; returns how many kills hit work in flight."""
    hits = 0
    for kill in range(1, kills + 1):
        if judge.remaining < LOW_WATER:
            submit_batch(place, judge, rng)
        runner = place.start("run", "--no-http")
        judge.await_first_tick(runner)
        if kill > 1:
            hits += check(judge, f"after kill {kill - 1}", kill % 20 == 0)
        if rng.random() < 0.1:
            submit_single(place, judge, rng)
        tap.note(f"kill {kill}: at work, after {kill_after(runner, rng.uniform(0.005, 0.250))}")
        if rng.random() < 0.25:
            runner = place.start("run", "--no-http")
            tap.note(f"and one more in its start, after {kill_after(runner, rng.uniform(0.001, 0.060))}")
    judge.await_first_tick(place.start("run", "--no-http"))
    hits += check(judge, f"after kill {kills}", True)
    place.runners[-1].kill()
    return hits


def check(judge, name, whole):
    broken = judge.look(whole)
    tap.ok(not broken, f"{name}: all invariants hold", lambda: show_broken(broken))
    return judge.recovered > 0


def drain(place, judge):
    failed_before = place.value("SELECT count(*) FROM generations WHERE status = 'failed'")
    r = place.run("run", "--no-http", "--drain", "--drain-wait", "60s", timeout_s=300.0)
    failed_after = place.value("SELECT count(*) FROM generations WHERE status = 'failed'")
    tap.result(r, 1 if failed_after > failed_before else 0, "run --drain ends the rest")


def judge_ends(place, judge):
    wrong = []
    for id, status, error_type, attempts, custom_id in place.sql(
            "SELECT id, status, error_type, attempts, custom_id FROM generations"):
        end = judge.expected[custom_id or id]
        got = {"status": status, "type": error_type, "attempts": attempts}
        for key in got:
            if key in end and got[key] != end[key]:
                wrong.append(f"{custom_id or id}: {key} is {got[key]}, its script says {end[key]}")
    tap.ok(not wrong, "every generation ended as its script says", lambda: show_broken(wrong))
    states = place.sql("SELECT status, count(*) FROM batch_jobs GROUP BY status")
    tap.equal(states, [("completed", len(judge.batches))], "every batch job is completed")
    results = errors = 0
    for id in judge.batches:
        results += len(place.run("batch", "results", id).lines)
        errors += len(place.run("batch", "results", id, "--errors").lines)
    ends = [end["status"] for name, end in judge.expected.items() if name.startswith("b")]
    tap.equal((results, errors), (ends.count("completed"), ends.count("failed")),
              "batch results has each item once, in one of its two files")


def test_kill_loop(place):
    seed = OPTIONS.seed if OPTIONS.seed is not None else random.SystemRandom().randrange(1 << 32)
    tap.note(f"seed {seed}, {OPTIONS.kills} kills, concurrency {OPTIONS.concurrency}")
    rng = random.Random(seed)
    place.configure(CONFIG.format(concurrency=OPTIONS.concurrency, attempts=MAX_ATTEMPTS))
    judge = Judge(place)
    hits = kill_often(place, judge, rng, OPTIONS.kills)
    tap.ok(hits > 0, f"kills hit work in flight: the runners after {hits} of them recovered some")
    drain(place, judge)
    check(judge, "at the end", True)
    tap.equal(judge.remaining, 0, "nothing is left")
    judge_ends(place, judge)


OPTIONS = ARGS.parse_args()
sys.argv[1:] = []
tap.main(globals())
