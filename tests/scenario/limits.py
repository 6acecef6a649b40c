#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Limits as the server sees them: of the scheduler, a model, a batch, an account, per minute; what stops or
pauses a batch; and how batches and singles share."""
import json
import os
import signal
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap
from genrun import wait_until
from server import Server

CONFIG = """
[genrun]
default_model = m
[scheduler]
concurrency = {concurrency}
max_attempts = 1
account_concurrency = {account}
[model m]
base_url = {url}
price_request = 0.01
{more}
"""


class Counter:
    """Answers after a moment and counts who was in flight at the same time, by the word before the blank."""

    def __init__(self, hold_s=0.06, script=None):
        self.lock, self.hold_s, self.script = threading.Lock(), hold_s, script
        self.now, self.most, self.order = {}, {}, []

    def __call__(self, x):
        key = x.prompt.split(" ")[0]
        with self.lock:
            self.order.append(key)
            for k in (key, "all"):
                self.now[k] = self.now.get(k, 0) + 1
                self.most[k] = max(self.most.get(k, 0), self.now[k])
        x.wait_closed(self.hold_s)
        with self.lock:
            for k in (key, "all"):
                self.now[k] -= 1
        if not self.script or not self.script(x):
            x.chat(x.prompt)


def configure(place, server, concurrency=8, account=0, more=""):
    place.configure(CONFIG.format(url=server.url, concurrency=concurrency, account=account, more=more))


def batch(place, name, count, *args):
    file = f"{name}.jsonl"
    place.write(file, "".join(json.dumps({"prompt": f"{name} {i}", "custom_id": f"{i}"}) + "\n" for i in range(count)))
    r = place.run("batch", "submit", file, "--name", name, *args)
    if r.code != 0:
        raise RuntimeError(f"batch submit failed\n{r}")
    return r.id


def show(place, id):
    return place.run("batch", "show", id, "--json").json


def drain(place):
    return place.run("run", "--drain", timeout_s=60)


def test_in_flight(place):
    counter = Counter()
    with Server(counter) as server:
        configure(place, server, concurrency=6)
        batch(place, "narrow", 12, "--concurrency", "2")
        batch(place, "wide", 40)
        tap.equal(drain(place).code, 0, "two batches complete")
        tap.equal((counter.most["all"], counter.most["narrow"]), (6, 2), "concurrency is reached and held: of the scheduler and the batch")
        configure(place, server, concurrency=6, more="concurrency = 3")
        counter.most.clear()
        batch(place, "again", 12)
        tap.equal((drain(place).code, counter.most["all"]), (0, 3), "and of the model")


def test_per_minute(place):
    with Server() as server:
        configure(place, server, more="requests_per_minute = 240")
        batch(place, "paced", 9)
        tap.equal(drain(place).code, 0, "a paced batch completes")
        times = [x.at - server.requests[0].at for x in server.requests]
        tap.ok(all(later >= 0.2 * (i - 4) for i, later in enumerate(times)) and times[-1] >= 0.9,
               "240 requests a minute are not exceeded by more than a second's worth", times)


def test_accounts(place):
    counter = Counter(0.1)
    with Server(counter) as server:
        configure(place, server, account=1)
        for i in range(4):
            for user in ("ann", "bob"):
                place.submit(f"{user} {i}", "--user", user)
            place.submit(f"nobody {i}")
        runner = place.start_runner()
        wait_until(lambda: server.count >= 3, 10, "work in flight")
        locks = place.sql("SELECT name, user_id FROM locks ORDER BY 1")
        tap.ok(locks and set(locks) <= {("account:ann:1", "ann"), ("account:bob:1", "bob")}, "a lock for each account that generates", locks)
        runner.kill()
        tap.equal(drain(place).code, 0, "after a kill the next runner is not locked out")
        tap.equal((counter.most["ann"], counter.most["bob"]), (1, 1), "never two of one account")
        tap.ok(counter.most["nobody"] > 1, "without a user nothing is locked", counter.most)
        tap.equal(place.value("SELECT count(*) FROM locks"), 0, "no lock is left")


def refuse(*numbers):
    def script(x):
        if int(x.prompt.split(" ")[1]) not in numbers:
            return False
        x.error(400, "refused")
        return True
    return script


def test_stop_on_error(place):
    with Server(Counter(script=refuse(3))) as server:
        configure(place, server, concurrency=2)
        id = batch(place, "careful", 30, "--on-error", "stop")
        other = batch(place, "other", 10)
        r = drain(place)
        b = show(place, id)
        tap.equal((r.code, b["status"], b["failedItems"]), (1, "failed", 1), "--on-error stop: the first failure stops the batch")
        tap.ok(b["cancelledItems"] >= 24 and b["queuedItems"] + b["processingItems"] == 0, "what it leaves unrun is cancelled", b)
        reasons = place.sql("SELECT DISTINCT json_extract(parameters, '$.cancelledReason') FROM generations WHERE status = 'cancelled'")
        tap.ok(len(reasons) == 1 and reasons[0][0], "with a reason", reasons)
        tap.equal(show(place, other)["failedItems"], 1, "another batch does not care")
        tap.equal(show(place, other)["status"], "completed", "and completes")


def test_max_failures(place):
    with Server(Counter(script=refuse(1, 2, 3, 4, 5))) as server:
        configure(place, server, concurrency=1)
        two = batch(place, "two", 20, "--max-failures", "2")
        share = batch(place, "share", 20, "--max-failures", "10%")
        many = batch(place, "many", 20, "--max-failures", "50%")
        drain(place)
        rows = [(b["status"], b["failedItems"], b["successfulItems"], b["cancelledItems"]) for b in map(lambda i: show(place, i), (two, share, many))]
        tap.equal(rows, [("failed", 3, 1, 16), ("failed", 3, 1, 16), ("completed", 5, 15, 0)],
                  "--max-failures 2 and 10% of 20: the third failure stops the batch; 50% does not")


def test_max_cost(place):
    with Server() as server:
        configure(place, server, concurrency=1)
        id = batch(place, "dear", 10, "--max-cost", "0.035")
        r = drain(place)
        b = show(place, id)
        tap.ok(r.code == 5 and "budget" in r.out, "a drain tells of it: 5", r)
        tap.equal((b["status"], b["successfulItems"], b["queuedItems"], round(b["actualCost"], 6)), ("paused", 4, 6, 0.04),
                  "--max-cost: the batch pauses when it is reached")
        tap.ok("budget of 0.035 USD" in (b["pausedReason"] or ""), "and tells why", b)


def test_sharing(place):
    """Of two batches neither gets less than 40 % of the starts; singles get at least half, batches one in four."""
    counter = Counter(0)
    with Server(counter) as server:
        configure(place, server, concurrency=4)
        batch(place, "first", 150)
        batch(place, "second", 150)
        tap.equal(drain(place).code, 0, "two batches complete")
        starts = counter.order[:200]
        shares = [starts[i:i + 100].count("first") for i in (0, 50, 100)]
        tap.ok(all(40 <= n <= 60 for n in shares), "of each 100 starts neither batch has less than 40", shares)
        counter.order.clear()
        batch(place, "batch", 60)
        for i in range(40):
            place.submit(f"single {i}")
        tap.equal(drain(place).code, 0, "singles beside a batch complete")
        singles = counter.order[:40].count("single")
        tap.ok(20 <= singles <= 30, "of 40 starts at least half are singles, at least one in four of the batch", singles)


def test_interrupted_submit(place):
    """A batch whose writer dies half-way is never seen and swept away; the runner works on meanwhile."""
    with Server() as server:
        configure(place, server)
        runner = place.start_runner()
        line = json.dumps({"prompt": "half " + "x" * 4000}) + "\n"
        for number in (signal.SIGKILL, signal.SIGINT):
            writer = subprocess.Popen(place.command("batch", "submit", "-"), stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      stderr=subprocess.DEVNULL, text=True, cwd=place.folder, env=place.env)
            for _ in range(2000):
                writer.stdin.write(line)
            writer.stdin.flush()
            wait_until(lambda: place.value("SELECT count(*) FROM generation WHERE batch_seq IS NOT NULL") > 0, 10, "rows of the half batch")
            id = place.submit("meanwhile")
            place.wait_status(id, "completed")
            tap.ok(True, "a half-written batch does not hold up others")
            tap.equal((place.value("SELECT count(*) FROM batch_jobs"), server.count, place.run("batch", "list", "--json").out),
                      (0, server.count, ""), "it is not seen")
            writer.send_signal(number)
            out, _ = writer.communicate()
            tap.ok(writer.returncode != 0 and out == "", f"signal {int(number)}: no id is printed", f"{writer.returncode} {out}")
            wait_until(lambda: place.value("SELECT (SELECT count(*) FROM generation WHERE batch_seq IS NOT NULL)"
                                           " + (SELECT count(*) FROM batch_job)") == 0, 20, "the sweep")
            tap.ok(True, "it is swept away, rows and all")
        tap.equal([x.prompt for x in server.requests], ["meanwhile"] * 2, "none of it was sent")
        stats = place.run("stats", "--json").json
        tap.equal((stats["queued"], stats["processing"], stats["completed"]), (0, 0, 2), "and the counts are right")
        tap.equal(runner.stop(), 0, "the runner ends with 0")


tap.main(globals())
