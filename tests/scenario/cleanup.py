#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The cleanup beside a runner and without one: what is stuck is taken back, what lives is never touched however old it
looks, counters are put right under load and when they refuse the runner its work, and a dead caller leaves nothing behind."""
import os
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import shell
import tap
from genrun import wait_until
from server import Server
from shim import Shim

JOB = "cleanup_stuck_generation"
CONFIG = """
[genrun]
default_model = m
[scheduler]
concurrency = 4
heartbeat_interval = 100ms
heartbeat_timeout = {timeout}
poll_interval = 100ms
shutdown_grace = 100ms
{more}
[model m]
base_url = {url}
[model echo]
concurrency = 64
"""
AT_ONCE = {"GENRUN_CLEANUP_STUCK_AFTER": "100ms"}


class Slow:
    """A model that streams a word now and then until it is let go."""

    def __init__(self):
        self.go, self.prompts = [], []

    def __call__(self, x):
        self.prompts.append(x.prompt)
        x.begin_stream()
        x.event("half ")
        while not self.go:
            if x.wait_closed(0.03):
                return
            x.event(".")
        x.event("done", "stop")
        x.send(b"data: [DONE]\n\n")


def configure(place, server, timeout="2s", more=""):
    place.configure(CONFIG.format(url=server.url, timeout=timeout, more=more))


def job(place, **kw):
    r = place.run("job", JOB, "--json", **kw)
    if r.code != 0:
        raise RuntimeError(f"the job failed\n{r}")
    return r.json


def violations(place):
    return place.run("stats", "--json").json["violations"]


def test_dead_runners_work(place):
    slow = Slow()
    with Server(slow) as server:
        configure(place, server)
        ids = [place.submit(f"p{i}", "--user", "ann") for i in range(3)]
        runner = place.start_runner()
        wait_until(lambda: len(slow.prompts) == 3, 10, "three in flight")
        runner.kill()
        waiting = place.submit("later")
        tap.equal(violations(place), 3, "without a runner what is processing has no owner that lives")
        tap.equal((job(place)["found"], [place.status(i) for i in ids]), (0, ["processing"] * 3), "stuck for less than stuck_after: not touched")
        time.sleep(0.2)
        o = job(place, env=AT_ONCE)
        tap.equal([(f["kind"], f["id"], f["userId"], f["what"], f["fixed"]) for f in o["findings"]],
                  [("generation", i, "ann", "its runner is gone: queued again", True) for i in ids], "stuck for longer: queued again")
        tap.contains(o["note"], "4 generations wait for a runner", "what waits its turn is told, and not touched")
        tap.equal((place.status(waiting), violations(place), shell.drift(place)), ("queued", 0, []), "all wait for a runner")
        e = place.sql("SELECT level, message, json_extract(data, '$.type') FROM logs WHERE event='generation.recovered'")
        tap.equal(e, [("warn", "its runner is gone", "RunnerCrashError")] * 3, "the log tells why")
        tap.equal(place.sql("SELECT DISTINCT crashes, attempts FROM generation WHERE starts=1"), [(1, 0)], "a crash each, no attempt")
        runner = place.start_runner()
        wait_until(lambda: len(slow.prompts) == 7, 10, "all in flight")
        runner.kill()
        time.sleep(0.2)
        o = job(place, env={**AT_ONCE, "GENRUN_CLEANUP_REQUEUE": "no"})
        tap.equal((o["found"], o["fixed"], [place.status(i) for i in ids]), (4, 4, ["failed"] * 3), "requeue = no: failed")
        row = shell.row(place, ids[0])
        tap.equal((row["error_type"], row["error_message"], row["parameters"]["errorContext"]["type"]),
                  ("RunnerCrashError", "stuck: its runner is gone", "RunnerCrashError"), "with the reason")
        tap.equal((violations(place), shell.drift(place)), (0, []), "nothing has drifted")


def test_live_and_old(place):
    """What has a live owner whose clocks hold, however old; and clocks that were set."""
    slow, shim = Slow(), Shim(place)
    with Server(slow) as server:
        configure(place, server, timeout="5s")
        id = place.submit("old")
        runner = place.start_runner(env=shim.env)
        wait_until(lambda: slow.prompts, 10, "it in flight")
        wait_until(lambda: place.value("SELECT count(*) FROM generation_live"), 10, "a heartbeat")
        shell.foreign(place, "UPDATE generation SET started_at=started_at-864000000, created_at=created_at-864000000")
        tap.equal((job(place, env=AT_ONCE)["found"], place.status(id)), (0, "processing"), "started ten days ago, and alive")
        tap.equal(violations(place), 0, "no violation")
        for seconds in (3 * 3600, -86400, 0):
            shim.set_clock(seconds)
            o = job(place, env={**shim.env, **AT_ONCE})
            tap.equal((o["found"], place.status(id)), (0, "processing"), f"the clock is set to {seconds} s: not touched")
        slow.go.append(True)
        place.wait_status(id, "completed")
        tap.equal((len(slow.prompts), place.value("SELECT starts FROM generation")), (1, 1), "it completes in its one start")
        tap.equal(runner.stop(), 0, "the runner ends with 0")


def test_silent_runner(place):
    """A runner that is stopped does not beat: its work is taken from it, and it finds that out."""
    slow = Slow()
    with Server(slow) as server:
        configure(place, server, timeout="400ms")
        id = place.submit("held up")
        runner = place.start_runner()
        wait_until(lambda: slow.prompts, 10, "it in flight")
        wait_until(lambda: place.value("SELECT count(*) FROM generation_live"), 10, "a heartbeat")
        runner.signal(signal.SIGSTOP)
        before = place.value("SELECT last_heartbeat FROM generations")
        wait_until(lambda: time.time() * 1000 > before + 700, 10, "silence")
        o = job(place, env=AT_ONCE)
        tap.equal([(f["id"], f["fixed"]) for f in o["findings"]], [(id, True)], "it has been silent for too long")
        tap.matches(o["findings"][0]["what"], r"^no heartbeat for \d+ s: queued again$", "and that is told")
        slow.go.append(True)
        runner.signal(signal.SIGCONT)
        # The watchdog may have ended it: the next one goes on.
        wait_until(lambda: not runner.running or place.status(id) == "completed", 10, "an end")
        if not runner.running:
            runner = place.start_runner()
        place.wait_status(id, "completed")
        tap.equal(place.value("SELECT count(*) FROM logs WHERE event='generation.completed'"), 1, "it is completed once")
        tap.equal(shell.drift(place), [], "nothing has drifted")
        runner.stop()


def test_strays(place):
    """Processing under a runner that never was, as a foreign write leaves it: the runner that is up takes it back by itself."""
    slow = Slow()
    with Server(slow) as server:
        configure(place, server, timeout="400ms")
        runner = place.start_runner()
        live = place.submit("lives")
        wait_until(lambda: slow.prompts, 10, "one in flight")
        stray = place.submit("stray", "--delay", "1h")
        place.sql("UPDATE generation SET run_after=NULL, status='processing', claim_token='0', runner_seq=99, started_at=1, starts=1 WHERE id=?", stray)
        tap.equal((violations(place), [r["id"] for r in place.run("list", "--status", "stuck", "--json").jsonl]), (1, [stray]), "stuck, and a violation")
        wait_until(lambda: "stray" in slow.prompts, 20, "the stray running")
        tap.equal((violations(place), place.status(live), shell.events(place, stray)[-2:]), (0, "processing", ["generation.recovered", "generation.processing"]),
                  "taken back, and the other left alone")
        slow.go.append(True)
        place.wait_status(stray, "completed")
        tap.equal(runner.stop(), 0, "the runner ends with 0")


def test_hidden_work(place):
    """What waits where the claim does not look is found by the runner itself, long before the job is due."""
    place.configure("[model echo]\nconcurrency = 4\n")
    ids = [place.submit(f"p{i}", "--model", "echo") for i in range(3)]
    shell.foreign(place, "UPDATE lane SET ready=0")
    tap.equal(violations(place), 3, "each is a violation")
    runner = place.start_runner()
    for id in ids:
        place.wait_status(id, "completed", 15)
    tap.equal((violations(place), runner.stop()), (0, 0), "and ends without a person")


def test_counters_that_refuse(place):
    """Counters that say too little refuse every claim and every end: the runner repairs them and goes on."""
    slow = Slow()
    with Server(slow) as server:
        configure(place, server)
        runner = place.start_runner()
        ids = [place.submit(f"p{i}") for i in range(3)]
        batch = shell.submit_batch(place, 30)
        wait_until(lambda: shell.batch(place, batch)["status"] == "completed" and len(slow.prompts) == 3, 20, "three in flight, a batch job done")
        shell.foreign(place, "UPDATE batch_count SET processing_items=0, queued_items=0")
        batch = shell.submit_batch(place, 30)
        slow.go.append(True)
        for id in ids:
            place.wait_status(id, "completed", 20)
        wait_until(lambda: shell.batch(place, batch)["status"] == "completed", 20, "the batch job")
        tap.equal(shell.drift(place), [], "ends that were refused are written, nothing has drifted")
        tap.ok(place.value("SELECT count(*) FROM logs WHERE event='totals.repaired'") >= 1, "the log tells of the repair")
        wait_until(lambda: place.sql("SELECT outcome, run_by LIKE 'runner, pid %' FROM jobs") == [("done", 1)], 10, "the end of the repair")
        slow.go.clear()
        more = [place.submit(f"q{i}") for i in range(3)]
        wait_until(lambda: len(slow.prompts) == 6, 10, "three in flight")
        runner.kill()
        shell.foreign(place, "UPDATE batch_count SET processing_items=0 WHERE batch_seq=0")
        slow.go.append(True)
        runner = place.start_runner()
        for id in more:
            place.wait_status(id, "completed", 20)
        tap.contains(runner.err, "the database refused the start", "a start that is refused is repaired and tried again")
        tap.equal((shell.drift(place), runner.stop()), ([], 0), "nothing has drifted")


def test_under_load(place):
    """Counters are repaired while the runner changes them."""
    place.configure("[scheduler]\nconcurrency = 64\n[model echo]\nconcurrency = 64\n")
    batches = [shell.submit_batch(place, 6000, name=f"b{i}.jsonl") for i in range(3)]
    shell.foreign(place, *(f"UPDATE batch_count SET queued_items=queued_items+{7 + i}, failed_items={i}, processing_items={i % 3} WHERE batch_seq={i}"
                     for i in range(4)))
    runner = place.start_runner()
    fixed, runs = 0, 0
    while not all(shell.batch(place, b)["queued_items"] == 0 for b in batches):
        fixed += job(place)["fixed"]
        runs += 1
    wait_until(lambda: place.value("SELECT count(*) FROM generation WHERE status='processing'") == 0, 30, "the last ones")
    tap.equal((fixed, shell.drift(place)), (4, []), f"put right once each, and right at the end ({runs} runs)")
    tap.equal([shell.batch(place, b)["status"] for b in batches], ["completed"] * 3, "each batch job is completed")
    tap.equal(runner.stop(), 0, "the runner ends with 0")


def test_killed(place):
    """A caller that dies anywhere leaves its lock and nothing half done; the next one goes on."""
    place.configure("[scheduler]\nconcurrency = 64\n[model echo]\nconcurrency = 64\n")
    for i in range(4):
        shell.submit_batch(place, 3000, name=f"b{i}.jsonl")
    ended = 0
    for delay in (2, 5, 8, 12, 16, 20, 25, 30, 40, 60):
        shell.foreign(place, "UPDATE batch_count SET queued_items=queued_items+5, failed_items=2", "UPDATE lane SET ready=0")
        caller = place.start("job", JOB)
        time.sleep(delay / 1000)
        ended += not caller.running
        caller.kill()
        place.run("job", JOB)
        drift = [line for line in shell.drift(place)]
        tap.equal((drift, place.value("SELECT count(*) FROM locks")), ([], 0), f"killed after {delay} ms: the next run ends the work")
    tap.ok(ended < 10, "some were killed in mid-run", ended)


def test_by_itself(place):
    """The runner does it on its schedule; an idle one writes to no disk."""
    place.configure("[scheduler]\nheartbeat_interval = 100ms\n[cleanup]\nevery = 300ms\nlock_expiry = 1s\n")
    place.submit("x", "--model", "echo")
    runner = place.start_runner()
    wait_until(lambda: place.value("SELECT completed FROM totals") == 1, 10, "some work")
    wait_until(lambda: place.value("SELECT count(*) FROM throughput") == 1, 10, "its count")
    version = shell.commits(place)
    wrote = lambda: int([line for line in open(f"/proc/{runner.pid}/io", encoding="ascii") if line.startswith("write_bytes")][0].split()[1])
    # A reader's mark in the -shm counts as a page once after the kernel has written that back, which happens in some of the
    # times looked at; who writes at each run of the job writes in all of them.
    written = []
    while 0 not in written and len(written) < 5:
        before = wrote()
        time.sleep(2.0)
        written.append(wrote() - before)
    tap.equal((shell.commits(place) - version, written[-1]), (0, 0), f"idle for some runs of the job: nothing is committed, nothing written ({written})")
    place.sql("INSERT INTO locks VALUES ('account:ann:1', 'ann', 'gone', 1, 2, 'x')")
    wait_until(lambda: place.value("SELECT count(*) FROM locks") == 0, 10, "the expired lock")
    wait_until(lambda: place.value("SELECT count(*) FROM jobs") == 1, 10, "the run written down")
    tap.equal(place.sql("SELECT name, found, fixed, run_by LIKE 'runner, pid %' FROM jobs"), [(JOB, 1, 1, 1)], "what found something is written down")
    wait_until(lambda: place.value("SELECT found FROM jobs") == 0, 10, "the run after it")
    tap.ok(True, "and that it was put right")
    version = shell.commits(place)
    time.sleep(1.0)
    tap.equal(shell.commits(place), version, "and then no more")
    tap.equal(runner.stop(), 0, "the runner ends with 0")


def test_account_waits(place):
    slow = Slow()
    with Server(slow) as server:
        configure(place, server, more="account_concurrency = 1")
        first, second, other = place.submit("a", "--user", "ann"), place.submit("b", "--user", "ann"), place.submit("c", "--user", "bob")
        tap.equal(place.show(second)["waitsFor"], "a runner: none is up, start one with 'genrun run'", "without a runner")
        runner = place.start_runner()
        wait_until(lambda: len(slow.prompts) == 2, 10, "one of each account")
        tap.matches(place.show(second)["waitsFor"], rf"^the account's lock account:ann:1, held by {first} until \S+Z at the latest$", "the second says why it waits")
        tap.equal((place.show(first)["waitsFor"], place.status(other)), (None, "processing"), "the others run")
        tap.matches(place.run("show", second).out, r"waits for +the account's lock", "for people, too")
        names = [(k["name"], k["userId"], k["live"], k["reason"]) for k in place.run("locks", "--json").jsonl]
        tap.equal(names, [("account:ann:1", "ann", True, first), ("account:bob:1", "bob", True, other)], "locks")
        r = place.run("locks", "release", "account:ann:1")
        tap.contains(r.err, "goes on beside what starts now", "a release says what it means")
        wait_until(lambda: len(slow.prompts) == 3, 10, "the second one beside the first")
        place.sql("INSERT INTO locks SELECT 'account:ann:7', 'ann', owner, 1, expires_at, ? FROM locks WHERE name='account:bob:1'", second[:-1])
        tap.equal([(f["id"], f["what"]) for f in job(place)["findings"]], [("account:ann:7", "what it was held for does not run")],
                  "one that the runner renews for nothing is ended, the others are not")
        slow.go.append(True)
        for id in (first, second, other):
            place.wait_status(id, "completed")
        wait_until(lambda: place.value("SELECT count(*) FROM locks") == 0, 10, "no lock left")
        tap.equal([e for e in shell.events(place, other) if e.startswith("lock.")], ["lock.acquired", "lock.released"], "the log of each has its lock")
        paused = shell.submit_batch(place, 1, "--paused")
        tap.matches(place.show(shell.item(place, paused, 0))["waitsFor"], r"^its batch job, which is paused", "a paused batch job")
        tap.matches(place.show(place.submit("d", "--delay", "1h"))["waitsFor"], r"^its time, \S+Z$", "a time")
        tap.equal(runner.stop(), 0, "the runner ends with 0")


def test_account_of_a_frozen_runner(place):
    """Work taken back from a frozen runner starts anew when it goes on; the end of the old attempt leaves the new one its lock."""
    place.configure(CONFIG.format(url="http://127.0.0.1:1", timeout="2s", more="account_concurrency = 1") + "[model long]\nprovider = command\ncommand = sleep 3600\n")
    runner = place.start_runner()
    ids = [place.submit(f"{i}", "--model", "long", "--user", "ann") for i in range(2)]
    place.wait_status(ids[0], "processing")
    runner.signal(signal.SIGSTOP)
    wait_until(lambda: place.run("stuck", "--json").jsonl, 10, "no heartbeat")
    wait_until(lambda: job(place, env=AT_ONCE)["fixed"] == 1, 10, "it to be taken back")
    runner.signal(signal.SIGCONT)
    # The watchdog may have ended it: the next one goes on.
    wait_until(lambda: not runner.running or place.value("SELECT starts FROM generation WHERE id=?", ids[0]) == 2, 10, "its second start")
    if not runner.running:
        runner = place.start_runner()
    done = place.submit("other", "--model", "echo", "--user", "bob")
    place.wait_status(done, "completed")
    tap.equal(place.sql("SELECT name, reason FROM locks WHERE user_id='ann'"), [("account:ann:1", ids[0])], "its lock stays with the new attempt")
    tap.equal([place.status(id) for id in ids], ["processing", "queued"], "one at a time of an account")
    tap.equal(runner.stop(), 0, "the runner ends with 0, and what it ran with it")


def alerts(place):
    return [e for e, in place.sql("SELECT event FROM logs WHERE event LIKE 'alert.%' ORDER BY id")]


def test_alerts(place):
    with Server(lambda x: x.error(400, "no") if "bad" in x.prompt else x.chat("fine")) as server:
        configure(place, server, timeout="1h", more="[alerts]\nstuck_after = 300ms\nfailure_rate = 0.5\n")
        runner = place.start_runner()
        place.submit("fine", "--wait")
        stray = place.submit("stray", "--delay", "1h")
        place.sql("UPDATE generation SET run_after=NULL, status='processing', claim_token='0', runner_seq=99, started_at=?, starts=1 WHERE id=?",
                  int(time.time() * 1000) - 60000, stray)
        wait_until(lambda: alerts(place) == ["alert.stuck"], 15, "the alert")
        tap.matches(place.value("SELECT message FROM logs WHERE event='alert.stuck'"), rf"^1 generation is stuck for more than 0 s; the longest: {stray}, its runner is gone",
                    "it says which")
        for i in range(12):
            place.run("submit", f"bad {i}", "--wait")
        wait_until(lambda: alerts(place) == ["alert.stuck", "alert.failure_rate"], 15, "the other alert")
        tap.matches(place.value("SELECT message FROM logs WHERE event='alert.failure_rate'"), r"^\d+ of the \d+ generations that ended in the last hour failed", "with its numbers")
        tap.equal(place.sql("SELECT name FROM alerts ORDER BY name"), [("failure_rate",), ("stuck",)], "what is crossed now stands in a table")
        runner.stop()
        runner = place.start_runner()
        time.sleep(2.5)
        tap.equal(alerts(place)[:2], ["alert.stuck", "alert.failure_rate"], "once each")
        wait_until(lambda: "alert.stuck_over" in alerts(place), 15, "the end of the first")
        tap.equal(alerts(place), ["alert.stuck", "alert.failure_rate", "alert.stuck_over"], "also over a restart, which took the stray back")
        for i in range(20):
            place.run("submit", f"fine {i}", "--wait")
        wait_until(lambda: alerts(place)[-1] == "alert.failure_rate_over", 15, "the end of the other")
        tap.equal((len(alerts(place)), place.sql("SELECT * FROM alerts")), (4, []), "each ends once")
        runner.stop()


def test_a_reader_that_stays_behind(place):
    """Retention keeps what a reader of the log has not read: when that goes on for a day, it is said."""
    place.submit("x", "--model", "echo")
    place.sql("INSERT INTO cursors (name, log_id, updated_at) VALUES ('sync', 0, 1)")
    place.run("job", "cleanup_stuck_generation")
    tap.equal(alerts(place), [], "a reader that is a moment behind is none")
    place.sql("UPDATE cursors SET log_id = (SELECT max(id) FROM event)")
    place.sql("INSERT INTO event (created_at, level, event) VALUES (?, 'info', 'runner.started')", int(time.time() * 1000) - 90000000)
    for _ in range(2):
        place.run("job", "cleanup_stuck_generation")
    tap.equal(place.sql("SELECT event, message FROM logs WHERE event LIKE 'alert.%'"),
              [("alert.reader_behind", "the reader sync of the log is 25 h behind: retention keeps all that it has not read")], "said once, with its name")
    place.sql("UPDATE cursors SET log_id = (SELECT max(id) FROM event)")
    place.run("job", "cleanup_stuck_generation")
    tap.equal(alerts(place), ["alert.reader_behind", "alert.reader_behind_over"], "and when it is over")


tap.main(globals())
