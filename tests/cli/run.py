#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""run: one runner a database, signals, and what a drain returns."""
import os
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap
from genrun import wait_until


def test_one_runner(place):
    runner = place.start_runner()
    tap.error_line(place.run("run"), 5, "another run", "a second runner is refused with 5")
    place.submit("later", "--model", "echo", "--delay", "1h")
    r = place.run("run", "--drain")
    tap.error_line(r, 5, "another run", "also one that would drain")
    tap.equal(r.out, "", "which does not list the other's work as left")
    id = place.submit("x", "--model", "echo")
    place.wait_status(id, "completed")
    tap.ok(True, "the first one goes on")
    tap.equal(runner.stop(), 0, "SIGTERM ends it with 0")
    runner = place.start_runner("--no-http")
    runner.signal(signal.SIGINT)
    tap.equal(runner.wait(), 0, "SIGINT too; --no-http is taken")


def test_graceful_stop(place):
    place.configure("[scheduler]\nshutdown_grace = 100ms\n")
    id = place.submit("x", "--model", "echo", "--param", "delay=60s")
    runner = place.start_runner()
    place.wait_status(id, "processing")
    tap.equal((runner.stop(), place.status(id)), (0, "queued"), "work that outlives the grace is queued again")
    place.configure("[scheduler]\nshutdown_grace = 60s\n")
    runner = place.start_runner()
    place.wait_status(id, "processing")
    runner.signal(signal.SIGTERM)
    wait_until(lambda: "signal" in runner.err, 5, "the word of the first signal")
    tap.ok(runner.running, "with a long grace it waits for live work")
    runner.signal(signal.SIGTERM)
    tap.equal((runner.wait(10), place.status(id)), (0, "queued"), "a second signal ends it at once")


def test_drain(place):
    place.submit("x", "--model", "echo")
    r = place.run("run", "--drain")
    tap.result(r, 0, "all completed: 0")
    tap.equal(place.value("SELECT status FROM generations"), "completed", "and they are")
    tap.result(place.run("run", "--drain"), 0, "nothing to do: 0")
    place.submit("y", "--model", "echo", "--param", "fail=InvalidRequestError")
    tap.equal(place.run("run", "--drain").code, 1, "one failed in this run: 1")
    tap.equal(place.run("run", "--drain").code, 0, "failures before this run do not count")
    place.submit("z", "--model", "echo", "--delay", "1h")
    r = place.run("run", "--drain", "--drain-wait", "0")
    tap.ok(r.code == 5 and "LEFT" in r.out and "echo" in r.out, "what is left is listed: 5", r)
    o = place.run("run", "--drain", "--drain-wait", "0", "--json").jsonl
    tap.equal([(x["count"], x["modelId"]) for x in o], [(1, "echo")], "also as JSON")


def test_log_settings(place):
    place.configure("[genrun]\nlog_level = debug\nlog_format = json\n")
    place.submit("x", "--model", "echo")
    r = place.run("run", "--drain")
    tap.ok(r.code == 0 and r.err.startswith("{"), "log_format = json", r)
    place.submit("x", "--model", "echo")
    r = place.run("-q", "run", "--drain")
    tap.ok(r.code == 0 and r.err == "", "-q goes before the configuration", r)


tap.main(globals())
