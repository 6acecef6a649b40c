#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A night in which all goes wrong: 500 generations of 5 users, 3 models and 4 sessions hang, crash the runner and fail
with each type of error, while runners are killed, accounts locked, counters corrupted and the clock set. Then an
operator's commands alone bring every row to an end or to a wait that is named, nothing violates the promise, and the log
tells the story of each row. SEED=n repeats one (the choices; not the timing).

The clock is set by tests/scenario/shim.c, which leaves the monotonic one alone and can be set while a process runs."""
import json
import os
import random
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "lib"))
import ledger
import model
import shell
import tap
from genrun import wait_until
from server import Server
from shim import Shim

SEED = int(os.environ.get("SEED") or random.randrange(1 << 30))
HOUR, DAY = 3600, 86400
SINGLES, BATCHES, ITEMS = 200, 6, 50
USERS = ["ann", "bob", "cho", "dee", "eve"]
SESSIONS = ["s1", "s2", "s3", "s4"]
NIGHT_S = 14
MORNING_S = 120
TYPES = ["RateLimitError", "AuthenticationError", "QuotaError", "TimeoutError", "NetworkError", "ModelGenerationError",
         "InvalidRequestError", "ContentFilterError", "HeartbeatTimeoutError", "RunnerCrashError", "CommandError", "CancelledError",
         "ConfigurationError", "OperatorError", "DeadlineError", "InternalError"]
CONFIG = """
[genrun]
default_model = echo
[scheduler]
concurrency = 24
max_attempts = 2
max_crashes = 2
backoff_min = 20ms
backoff_max = 200ms
heartbeat_interval = 100ms
heartbeat_timeout = 5s
poll_interval = 100ms
shutdown_grace = 200ms
account_concurrency = 5
progress_timeout = 2s
first_byte_timeout = 3s
[cleanup]
every = 1d
stuck_after = 100ms
[model echo]
[model m]
base_url = {url}
concurrency = 10
[model sh]
command = ./model.sh
concurrency = 6
progress_timeout = 1h
first_byte_timeout = 1h
"""
# What the work of each model does, and how often.
KINDS = {
    "echo": {"ok": 30, "slow": 12, "once": 8, "hang": 2, "silent": 2, "crash": 1, "type": 16},
    "m": {"ok": 30, "400": 3, "500": 4, "429": 4, "401": 1, "402": 1, "cut": 3, "hang": 2, "half": 2, "filter": 2},
    "sh": {"ok": 20, "short": 6, "exit3": 2, "once": 4, "segv": 2, "kill": 2, "hang": 1, "deaf": 1, "tree": 1, "refusal": 2, "daemon": 2},
}


def compact(value):
    """As tests/lib/model.py reads it."""
    return json.dumps(value, separators=(",", ":"))


class Town:
    """What the work is: made of the seed alone."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.types = list(TYPES)  # each at least once

    def work(self, number):
        name = self.random.choice(list(KINDS))
        kind = self.random.choices(list(KINDS[name]), list(KINDS[name].values()))[0]
        if self.types and number % 10 == 0:
            name, kind = "echo", "type"
        if number in (5, 105):  # two at least
            name, kind = "echo", "crash"
        more = {"kind": kind, "item": f"w{number}"}
        if name == "echo":
            more.update({"slow": {"delay": self.random.randrange(50, 800)}, "once": {"fail": "NetworkError", "fail_times": 1},
                         "hang": {"hang": "connect"}, "silent": {"hang": "stream"}, "crash": {"crash": True, "delay": 100}}.get(kind, {}))
            if kind == "type":
                more["fail"] = self.types.pop() if self.types else self.random.choice(TYPES)
        return {"model": name, "prompt": f"{kind} w{number}", "user": self.random.choice(USERS), "session_id": self.random.choice(SESSIONS),
                "priority": self.random.choice([-5, 0, 0, 0, 5]), **more}


class Models:
    """The server of model m, which is mended in the morning."""

    def __init__(self):
        self.mended = False

    def __call__(self, x):
        kind = "ok" if self.mended else x.prompt.split()[0]
        if kind in ("400", "500", "401", "402"):
            x.error(int(kind), f"trouble {kind}")
        elif kind == "429":
            x.error(429, "Rate limit reached", {"Retry-After": "1"})
        elif kind == "filter":
            x.error(400, "The content was filtered", code="content_filter")
        elif kind == "hang":
            x.wait_closed(20)
        elif kind == "half":
            x.begin_stream()
            x.event("half of it ")
            x.wait_closed(20)
        elif kind != "cut":  # that is: the connection is closed without a word
            x.chat(f"answer to {x.prompt}")


class Night:
    def __init__(self, place, server):
        self.place, self.shim = place, Shim(place)
        self.town = Town(SEED)
        self.random = random.Random(SEED + 1)
        self.env = {**self.shim.env, "GENRUN_ECHO_FAULTS": "1"}
        self.runner, self.crashes, self.commands, self.surprises = None, 0, 0, []
        self.ids, self.batches, self.nexts = [], [], []
        place.configure(CONFIG.format(url=server.url))
        model.install(place)

    def run(self, *args, codes=(0,)):
        """A command that must answer by the rules, whatever the hour: one of the codes, and at most one line of complaint for each id."""
        r = self.place.run(*args, env=self.env, timeout_s=60)
        self.commands += 1
        complaints = [line for line in r.err.splitlines() if line.startswith("genrun: ")]
        if r.code not in codes or (r.code != 0 and not complaints):
            self.surprises.append(repr(r))
        return r

    def submit(self):
        for n in range(SINGLES):
            w = self.town.work(n)
            head = [w.pop("prompt"), "--model", w.pop("model"), "--user", w.pop("user"), "--session", w.pop("session_id"),
                    "--priority", w.pop("priority")]
            self.ids.append(self.run("submit", *head, "--params", compact(w)).id)
        options = [(), ("--concurrency", "3"), ("--on-error", "stop"), ("--max-failures", "20%"), ("--paused",), ()]
        for b in range(BATCHES):
            lines, user = [], USERS[b % len(USERS)]
            for i in range(ITEMS):
                w = self.town.work(SINGLES + b * ITEMS + i)
                w.pop("user")
                lines.append(compact({**w, "custom_id": f"c{i}"}) + "\n")
            file = self.place.write(f"batch{b}.jsonl", "".join(lines))
            self.batches.append(self.run("batch", "submit", file, "--user", user, "--name", f"batch {b}", *options[b]).id)

    # ---- the night ----

    def keep_up(self):
        """As a service manager does: a runner that ended is started again."""
        if self.runner and not self.runner.running:
            self.crashes += 1
            if self.runner.process.returncode != -9:
                self.surprises.append(f"the runner ended with {self.runner.process.returncode}: {self.runner.err[-500:]}")
            self.runner = None
        if not self.runner:
            self.runner = self.place.start("run", env=self.env)

    def some(self, status):
        rows = self.place.sql("SELECT id FROM generations WHERE status=? ORDER BY id", status)
        return self.random.choice(rows)[0] if rows else self.random.choice(self.ids)

    def meddle(self):
        """What a person does in the dark, right or wrong."""
        pick, batch = self.random.choice, self.random.choice(self.batches)
        self.run(*pick([
            lambda: ("cancel", self.some("processing"), "--reason", "it takes too long"),
            lambda: ("cancel", self.some("queued"), "--reason", "not needed"),
            lambda: ("fail", self.some("processing"), "--reason", "by the operator"),
            lambda: ("retry", self.some("failed")),
            lambda: ("retry", self.some("cancelled"), self.some("failed")),
            lambda: ("retry", "--type", pick(TYPES), "--yes"),
            lambda: ("retry", self.some("completed")),
            lambda: ("recover", self.some("processing")),
            lambda: ("recover", "--all", "--yes"),
            lambda: ("dismiss", self.some("failed")),
            lambda: ("dismiss", "--undo", self.some("failed")),
            lambda: ("batch", "pause", batch, "--reason", "a look at it"),
            lambda: ("batch", "resume", batch),
            lambda: ("batch", "retry", batch),
            lambda: ("models", "resume", "echo"),
            lambda: ("models", "resume", pick(list(KINDS))),
            lambda: ("job", shell.CLEANUP),
            lambda: ("stuck",),
            lambda: ("failures", "--by", pick(["model", "user", "type", "hour"])),
            lambda: ("show", self.some("processing")),
            lambda: ("stats",),
            lambda: ("locks",),
        ])(), codes=(0, 5))

    def corrupt(self):
        n = self.random.randrange(1, 9)
        shell.foreign(self.place, f"UPDATE batch_count SET queued_items=queued_items+{n}, failed_items=failed_items+{n % 3}",
                      "UPDATE batch_count SET processing_items=0 WHERE batch_seq=0", "UPDATE lane SET ready=0")

    def strangers_lock(self):
        for n in range(1, 6):
            self.place.sql("INSERT INTO locks VALUES (?, 'cho', 'a stranger', ?, ?, 'by hand') ON CONFLICT DO UPDATE SET owner='a stranger',"
                           " expires_at=excluded.expires_at", f"account:cho:{n}", 0, int((time.time() + 10 * DAY) * 1000))

    def happenings(self):
        """(when, what): the disasters, in their order."""
        jobs = [self.corrupt, lambda: self.runner.kill(), lambda: self.shim.set_clock(3 * HOUR), self.strangers_lock,
                lambda: self.runner.kill(), lambda: self.place.sql("UPDATE locks SET expires_at=1 WHERE owner<>'a stranger'"),
                lambda: self.shim.set_clock(-DAY), self.corrupt, lambda: self.runner.kill(), lambda: self.shim.set_clock(0)]
        return [((i + 1) * NIGHT_S / (len(jobs) + 1), what) for i, what in enumerate(jobs)]

    def pass_by(self):
        begin, left = time.monotonic(), self.happenings()
        while left or time.monotonic() < begin + NIGHT_S:
            self.keep_up()
            if left and time.monotonic() >= begin + left[0][0] and self.runner.running:
                left.pop(0)[1]()
                self.keep_up()
            self.meddle()

    # ---- the morning ----

    def list(self, *args):
        return self.run(*args, "--json").jsonl

    def tidy(self):
        """One round of what an operator does with what is shown: nothing here knows what the work is."""
        for o in self.list("models"):
            if o["state"] == "parked":
                # What keeps parking it, of the work that waits for it, will not do so tomorrow either.
                for e in self.list("logs", "--event", "generation.parked", "--since", "2d", "--limit", "5"):
                    self.run("fail", e["generationId"], "--reason", f"it parks its model: {e['message']}", codes=(0, 5))
                self.run("models", "resume", o["name"], codes=(0, 5))
        for o in self.list("locks"):
            if o["owner"] == "a stranger":
                self.run("locks", "release", o["name"], codes=(0, 4))
        for o in self.list("stuck", "--older-than", "6s"):
            if o["why"].startswith("slow") or "slow" in o:
                self.run("cancel", o["id"], "--reason", "it hangs", codes=(0, 5))
            else:
                self.run("recover", o["id"], codes=(0, 5))
        for o in self.list("batch", "list"):
            if o["status"] == "paused":
                # Not waited for: the next item may hang until somebody ends it.
                self.nexts.append(self.place.start("batch", "process-next", o["id"], env=self.env))
                self.run("batch", "resume", o["id"], codes=(0, 5))

    def open_rows(self):
        return self.place.value("SELECT count(*) FROM generations WHERE status IN ('queued', 'processing')")

    def clear_up(self):
        self.run("job", shell.CLEANUP)
        self.run("retry", "--type", "TimeoutError", "--yes")
        end = time.monotonic() + MORNING_S
        while self.open_rows() > 0 and time.monotonic() < end:
            self.keep_up()
            self.tidy()
            # A limit that never ends is waited for (max_wait) as long as nobody says otherwise.
            for id in {e["generationId"] for e in self.list("logs", "--event", "generation.retrying", "--limit", "60")
                       if e["data"]["type"] == "RateLimitError" and e["attempt"] > 4}:
                self.run("fail", id, "--reason", "its limit does not end", codes=(0, 5))


def story(events, batch):
    """What is wrong with the events of one generation: (mistakes, the state that they end in, its starts)."""
    wrong, state, starts = [], "queued" if batch else None, 0
    for e in events:
        name = e["event"]
        if name not in ledger.LEGAL:
            continue
        legal, after = ledger.LEGAL[name]
        if state not in legal:
            wrong.append(f"{name} of what was {state}")
        by_hand = name == "generation.queued" and state is not None
        turn = name in ("generation.failed", "generation.cancelled", "generation.retrying", "generation.parked", "generation.recovered")
        if (turn or by_hand) and (not e["message"] or "Unknown error" in e["message"]):
            wrong.append(f"{name} without a reason: {e}")
        if name == "generation.failed" and (e["data"] or {}).get("type") not in TYPES:
            wrong.append(f"{name} without a type: {e}")
        if name == "generation.processing":
            starts += 1
            if e["attempt"] != starts:
                wrong.append(f"start {starts} says {e['attempt']}")
        state = after
    return wrong, state, starts


def check_stories(night):
    place = night.place
    wrong, waiting, seen, logs = [], {}, set(), {}
    for e in night.list("logs", "--limit", "0"):
        logs.setdefault(e["generationId"], []).append(e)
    for row in night.list("list", "--limit", "1000"):
        events = logs[row["id"]]
        if night.random.random() < 0.1 and night.list("logs", row["id"], "--limit", "0") != events:
            wrong.append(f"{row['id']}: logs ID tells another story than logs")
        mistakes, state, starts = story(events, row["batchJobId"])
        if state != row["status"]:
            mistakes.append(f"it is {row['status']}, by its log {state}")
        shown = place.run("show", row["id"], "--json", env=night.env).json
        if starts != shown["starts"]:
            mistakes.append(f"{shown['starts']} starts, by its log {starts}")
        if row["status"] == "queued":
            waiting[row["id"]] = shown["waitsFor"]
        if row["status"] == "completed" and not shown["outputs"]:
            mistakes.append("completed without an output")
        if mistakes:
            wrong.append(f"{row['id']} ({row['status']}): {mistakes[0]}, and {len(mistakes) - 1} more")
        seen.add(row["id"])
    tap.equal(len(seen), SINGLES + BATCHES * ITEMS + 2, "every row is listed")
    tap.ok(not wrong, "the log tells a lawful story of each row, from queued to where it is, with a reason at each turn", "\n".join(wrong[:20]))
    return waiting


def test_night(place):
    tap.note(f"SEED={SEED}")
    models = Models()
    with Server(models) as server:
        night = Night(place, server)
        night.submit()
        tap.equal(place.value("SELECT count(*) FROM generations"), SINGLES + BATCHES * ITEMS, "500 are accepted")
        tap.equal(place.sql("SELECT count(DISTINCT user_id), count(DISTINCT model_id), count(DISTINCT session_id) FROM generations"), [(5, 3, 4)],
                  "of 5 users, 3 models, 4 sessions")
        night.pass_by()
        tap.note(f"the night: {night.crashes} ends of runners, {night.commands} commands, {night.open_rows()} rows not at an end")
        met = {t for t, in place.sql("SELECT DISTINCT json_extract(data, '$.type') FROM logs")}
        tap.ok(not {"TimeoutError", "RunnerCrashError", "OperatorError", "AuthenticationError", "RateLimitError"} - met, "errors of many types came up", met)

        models.mended = True
        begin = time.monotonic()
        night.clear_up()
        tap.note(f"the morning: {time.monotonic() - begin:.0f} s, {night.commands} commands")
        tap.equal(night.open_rows(), 0, "commands alone bring every row to an end")
        codes = {p.wait() for p in night.nexts}
        tap.ok(codes and codes <= {0, 1, 5, -9}, "each process-next ended with its item (or by it, when no runner was up)", codes)
        tap.ok(night.crashes > 3, "runners died of the work, too, not only by hand", night.crashes)
        later = [night.run("submit", "tomorrow", "--delay", "8h").id, night.run("submit", "pending", "--delay", "7d").id]
        waiting = check_stories(night)
        tap.ok(set(waiting) == set(later) and all(waiting.values()), "what waits says for what", waiting)
        stats = place.run("stats", "--json", env=night.env).json
        tap.equal((stats["violations"], stats["stuck"], stats["processing"], stats["parkedModels"]), (0, 0, 0, []), "stats: 0 violations, nothing stuck, running or parked")
        tap.equal(night.runner.stop(), 0, "the runner ends with 0")
        tap.equal(shell.drift(place), [], "counters, states, lanes and log agree")
        tap.equal(place.sql("SELECT name FROM locks"), [], "no lock is left")
        tap.equal({s for s, in place.sql("SELECT DISTINCT status FROM batch_jobs")} - {"completed", "failed"}, set(), "each batch job is at its end")
        tap.equal(model.processes(place), set(), "no process of a command is left")
        tap.equal(server.failures, [], "the server was never surprised")
        r = place.run("db", "check")
        tap.equal(r.code, 0, "db check finds nothing")
        tap.ok(not night.surprises, "each command answered by the rules", "\n".join(night.surprises[:8]))
    model.end_all(place)


tap.main(globals())
