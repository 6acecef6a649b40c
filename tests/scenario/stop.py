#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""How a runner ends, and who runs what is waited for: signals, drains, one owner at a time, submit --wait."""
import json
import os
import signal
import sqlite3
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap
from genrun import wait_until
from server import Server

CONFIG = """
[genrun]
default_model = echo
[scheduler]
concurrency = {concurrency}
shutdown_grace = {grace}
max_attempts = 1
[model echo]
"""


def configure(place, concurrency=2, grace="60s", more=""):
    place.configure(CONFIG.format(concurrency=concurrency, grace=grace) + more)


def rows(place):
    """prompt -> [status, starts, attempts]; empty while the database is being made."""
    if not os.path.exists(place.database):
        return {}
    try:
        found = place.sql("SELECT prompt, status, starts, attempts FROM generations")
    except sqlite3.OperationalError:
        return {}
    return dict((p, rest) for p, *rest in found)


def test_grace(place):
    configure(place, grace="2s")
    short, long = place.submit("short", "--param", "delay=1s"), place.submit("long", "--param", "delay=60s", "--param", "chunks=2")
    place.submit("waiting")
    runner = place.start_runner()
    place.wait_status(short, "processing")
    place.wait_status(long, "processing")
    tap.equal(runner.stop(), 0, "SIGTERM: the runner ends with 0")
    tap.equal(rows(place), {"short": ["completed", 1, 1], "long": ["queued", 1, 0], "waiting": ["queued", 0, 0]},
              "what lives finishes within the grace, the rest goes back without an attempt spent, nothing more starts")
    last = place.sql("SELECT event, message FROM logs WHERE generation_id = ? ORDER BY id DESC LIMIT 1", long)[0]
    tap.ok(last[0] == "generation.recovered" and "stopped" in last[1], "the log tells why it was queued again", last)
    tap.equal(place.sql("SELECT end_reason, stopped_at IS NOT NULL FROM runners"), [("stopped", 1)], "the runner's end is stored")
    tap.equal(place.value("SELECT count(*) FROM stuck_generations"), 0, "nothing is stuck")


def test_second_signal(place):
    with Server(lambda x: x.wait_closed()) as server:
        configure(place, more=f"[model m]\nbase_url = {server.url}\n")
        id = place.submit("x", "--model", "m")
        runner = place.start_runner()
        wait_until(lambda: server.count == 1, 10, "the request")
        runner.signal(signal.SIGINT)
        wait_until(lambda: "signal" in runner.err, 5, "the word of the first signal")
        tap.ok(runner.running and place.status(id) == "processing", "SIGINT: it waits for live work")
        # What is submitted meanwhile waits for the next runner.
        later = place.submit("later")
        runner.signal(signal.SIGTERM)
        tap.equal(runner.wait(10), 0, "a second signal ends it at once, with 0")
        wait_until(lambda: server.requests[0].closed_at, 5, "the end of the transfer")
        tap.equal((place.status(id), place.status(later)), ("queued", "queued"), "both wait for the next runner")


def test_drain_tells_what_is_left(place):
    configure(place, more="[model down]\nbase_url = http://127.0.0.1:9/v1\napi_key_env = NO_SUCH_KEY\n")
    place.write("items.txt", "one\ntwo\nthree\n")
    batch = place.run("batch", "submit", "items.txt", "--paused").id
    place.submit("x", "--model", "down")
    place.submit("y")
    r = place.run("run", "--drain", "--json")
    tap.equal(r.code, 5, "work is left: 5")
    left = {(x["modelId"], x["count"]): x["reason"] for x in r.jsonl}
    tap.ok(set(left) == {("echo", 3), ("down", 1)}, "it tells how many of which model", r)
    tap.ok("paused" in left.get(("echo", 3), "") and "NO_SUCH_KEY" in left.get(("down", 1), ""), "and why", r)
    tap.matches(r.err, r"genrun: .*4 generations", "and says so on stderr")
    tap.equal(place.run("batch", "resume", batch).code, 0, "resumed")
    tap.equal(place.run("run", "--drain", env={"NO_SUCH_KEY": "k"}).code, 1, "one failed in this run: 1")
    tap.equal(rows(place)["x"][0], "failed", "the one whose server is down, tried once its key was there")
    tap.equal(place.run("run", "--drain").code, 0, "nothing is left: 0")
    tap.equal(place.value("SELECT group_concat(DISTINCT end_reason) FROM runners"), "drained", "each ended as drained")


def test_drain_waits(place):
    """A drain waits for delays and retries, but not longer than it was told."""
    configure(place)
    place.submit("soon", "--delay", "1s")
    place.submit("later", "--delay", "1h")
    r = place.run("run", "--drain", "--drain-wait", "10s")
    tap.equal((r.code, rows(place)["soon"][0], rows(place)["later"][0]), (5, "completed", "queued"),
              "what is due within --drain-wait runs, the rest is left: 5")


def test_wait_without_runner(place):
    configure(place)
    other = place.submit("other")
    r = place.run("submit", "mine", "--wait")
    tap.equal((r.code, r.out.rstrip("\n")), (0, "mine"), "submit --wait without a runner runs its own and prints the output")
    tap.equal(place.status(other), "queued", "and nothing else of the queue")
    r = place.run("submit", "bad", "--wait", "--param", "fail=InvalidRequestError")
    tap.error_line(r, 1, "InvalidRequestError", "what fails: 1, with the reason")
    place.write("items.txt", "one\ntwo\n")
    r = place.run("batch", "submit", "items.txt", "--wait")
    tap.ok(r.code == 0, "batch submit --wait too", r)
    tap.equal(place.sql("SELECT status, count(*) FROM generations GROUP BY 1 ORDER BY 1"),
              [("completed", 3), ("failed", 1), ("queued", 1)], "only what was waited for ran")
    tap.equal(place.value("SELECT count(*) FROM runners WHERE stopped_at IS NULL"), 0, "and it gave the database back")


def test_run_waits_for_a_waiter(place):
    """A command that owns the database for a moment is waited for; two that wait do not hinder each other."""
    configure(place)
    waiter = place.start("submit", "mine", "--wait", "--param", "delay=1500ms")
    wait_until(lambda: rows(place).get("mine", [""])[0] == "processing", 10, "its start")
    second = place.start("submit", "second", "--wait", "--param", "delay=10ms")
    wait_until(lambda: "second" in rows(place), 10, "the second one's row")
    runner = place.start_runner()
    tap.equal((waiter.wait(20), waiter.out), (0, "mine\n"), "the first one completes its own")
    tap.equal((second.wait(20), second.out), (0, "second\n"), "so does the second one, or the runner for it")
    tap.ok(runner.running, "run came up after them")
    tap.equal(runner.stop(), 0, "and ends with 0")


def test_takes_over_from_one_that_waits(place):
    """A command that waits for what is parked has the database: that must not keep the whole queue from running."""
    configure(place)
    waiter = place.start("submit", "unpaid", "--param", "fail=QuotaError", "--wait")
    wait_until(lambda: "unpaid" in rows(place) and place.value("SELECT count(*) FROM logs WHERE event = 'generation.parked'") == 1, 10,
               "the parking")
    place.configure(place.read("genrun.ini") + "[model other]\nprovider = echo\n")
    place.submit("other", "--model", "other")
    runner = place.start_runner()
    wait_until(lambda: rows(place)["other"][0] == "completed", 10, "the rest of the queue")
    tap.ok(waiter.running and "takes over" in runner.err, "a runner takes over from one that waits", runner.err)
    runner.stop()
    waiter.signal(signal.SIGINT)
    tap.equal(waiter.wait(10), 5, "which was still there")
    # What it has in flight is not cut off.
    waiter = place.start("submit", "long", "--model", "other", "--param", "delay=1s", "--wait")
    wait_until(lambda: rows(place).get("long", [""])[0] == "processing", 10, "its start")
    r = place.run("run", "--drain", "--drain-wait", "0")
    tap.equal((r.code, waiter.wait(10), waiter.out), (5, 0, "long\n"), "what runs there ends there")
    tap.equal(rows(place)["long"], ["completed", 1, 1], "after one start")


def test_wait_beside_a_runner(place):
    configure(place)
    runner = place.start_runner()
    place.submit("other", "--param", "delay=60s")
    r = place.run("submit", "mine", "--wait")
    tap.equal((r.code, r.out), (0, "mine\n"), "with a runner up it follows the runner")
    tap.equal(place.value("SELECT count(*) FROM runners"), 1, "which did the work")
    waiter = place.start("submit", "taken over", "--wait", "--param", "delay=700ms")
    wait_until(lambda: rows(place).get("taken over", [""])[0] == "processing", 10, "its start by the runner")
    place.submit("bystander")
    runner.kill()
    tap.equal((waiter.wait(20), waiter.out), (0, "taken over\n"), "the runner is killed: the one that waits takes over")
    state = rows(place)
    tap.equal(state["taken over"], ["completed", 2, 1], "its work was started again")
    tap.equal((state["other"], state["bystander"]), (["queued", 1, 0], ["queued", 0, 0]),
              "what was in flight beside it is back in the queue; that and the rest are left to a runner")
    tap.equal(place.value("SELECT count(*) FROM stuck_generations"), 0, "nothing is stuck")


def test_interrupted_wait(place):
    configure(place)
    waiter = place.start("submit", "mine", "--wait", "--param", "delay=60s")
    wait_until(lambda: rows(place).get("mine", [""])[0] == "processing", 10, "its start")
    waiter.signal(signal.SIGINT)
    code = waiter.wait(10)
    tap.ok(code == 5 and "stays in the queue" in waiter.err, "SIGINT ends the wait, and says what becomes of the work",
           f"{code} {waiter.err}")
    tap.equal(rows(place)["mine"], ["queued", 1, 0], "which is queued again, no attempt spent")


def test_one_owner(place):
    configure(place)
    runner = place.start_runner()
    for args in (("run",), ("run", "--drain")):
        tap.error_line(place.run(*args), 5, "another run", f"{' '.join(args)} beside a runner: 5")
    os.symlink(place.database, place.path("alias.db"))
    r = place.run("-d", place.path("alias.db"), "run", bare=True)
    tap.ok(r.code == 5, "also by another name of the file", r)
    id = place.submit("x")
    place.wait_status(id, "completed")
    tap.equal(runner.stop(), 0, "the runner is not disturbed")
    tap.equal(json.loads(place.run("stats", "--json").out)["runnerPid"], None, "stats tells that no runner is up")


tap.main(globals())
