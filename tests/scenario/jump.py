#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The wall clock is set, forward by hours and back by a day, while work runs, waits and is delayed: nothing is
ended, revived or put off by it. Only the processes of the test see that clock (shim.c)."""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap
from genrun import wait_until
from server import Server
from shim import Shim

HOUR, DAY = 3600, 86400
CONFIG = """
[genrun]
default_model = echo
[scheduler]
concurrency = 8
max_attempts = 2
backoff_min = 2500ms
backoff_max = 2500ms
heartbeat_interval = 100ms
heartbeat_timeout = 5s
poll_interval = 100ms
first_byte_timeout = 10m
progress_timeout = 2m
max_runtime = 1h
max_wait = 1h
[model echo]
[model m]
base_url = {url}
[model limited]
base_url = {limited}
[model unpaid]
base_url = {unpaid}
"""


def jump(place, seconds, name):
    shim = Shim(place)
    go, tries = [], {}

    def script(x):
        x.begin_stream()
        x.event("half ")
        while not go and not x.wait_closed(0.02):
            pass
        x.event("done", "stop")
        x.send(b"data: [DONE]\n\n")

    def limited(x):
        tries.setdefault("limited", []).append(time.monotonic())
        if len(tries["limited"]) == 1:
            x.error(429, "Rate limit reached", {"Retry-After": "2"})
        else:
            x.chat("after the limit")

    def stuck():
        return place.run("list", "--status", "stuck", "--json", env=shim.env).jsonl

    with Server(script) as m, Server(limited) as l, Server(lambda x: x.error(402, "pay first")) as u:
        place.configure(CONFIG.format(url=m.url, limited=l.url, unpaid=u.url))

        def submit(*args):
            return place.submit(*args, env=shim.env)

        running = submit("running", "--model", "m")
        waiting = submit("waiting", "--model", "limited")
        parked = submit("parked", "--model", "unpaid")
        retried = submit("retried", "--param", "fail=NetworkError", "--param", "fail_times=1")
        runner = place.start_runner(env=shim.env)
        begin = time.monotonic()
        soon = submit("soon", "--delay", "3s")
        late = submit("late", "--delay", "8h")
        wait_until(lambda: m.count == 1 and l.count == 1 and u.count == 1, 10, "all requests")
        wait_until(lambda: place.value("SELECT count(*) FROM generations WHERE id = ? AND starts > 0 AND status <> 'processing'", retried),
                   5, "the end of its first attempt")
        before = place.value("SELECT run_after FROM generations WHERE id = ?", late)
        shim.set_clock(seconds)
        wait_until(lambda: place.value("SELECT count(*) FROM logs WHERE event = 'runner.clock_jumped'") == 1, 5, "the notice")
        tap.ok("the clock was set" in runner.err, f"{name}: the runner says that the clock was set", runner.err)
        moved = place.value("SELECT run_after FROM generations WHERE id = ?", late) - before
        tap.ok(abs(moved - seconds * 1000) < 60000, f"{name}: a delay moves along with the clock", moved)
        wait_until(lambda: not stuck(), 5, "the next heartbeat")
        tap.ok(True, f"{name}: nothing is stuck by the new time")
        place.wait_status(retried, "completed", 8)
        place.wait_status(waiting, "completed", 8)
        place.wait_status(soon, "completed", 8)
        took = time.monotonic() - begin
        tap.ok(took > 2.7, f"{name}: a delay of 3 s takes its 3 s", took)
        gap = tries["limited"][1] - tries["limited"][0]
        tap.ok(gap > 1.9, f"{name}: a Retry-After of 2 s takes its 2 s", gap)
        tap.equal((place.status(running), place.status(late), place.status(parked)), ("processing", "queued", "queued"),
                  f"{name}: what runs goes on, what is delayed for hours waits, what is parked is not overdue")
        go.append(True)
        place.wait_status(running, "completed")
        shim.set_clock(0)
        wait_until(lambda: place.value("SELECT count(*) FROM logs WHERE event = 'runner.clock_jumped'") == 2, 5, "the notice")
        after = place.value("SELECT run_after FROM generations WHERE id = ?", late)
        tap.ok(abs(after - before) < 60000, f"{name}: set right again, the delay is what it was", after - before)
        tap.equal((runner.stop(), place.status(parked), place.status(late)), (0, "queued", "queued"), f"{name}: the runner ends with 0")
        tap.equal(place.value("SELECT count(*) FROM logs WHERE event IN ('generation.failed', 'generation.recovered')"), 0,
                  f"{name}: nothing failed or was taken back")
        counts = (m.count, u.count, place.value("SELECT starts FROM generations WHERE id = ?", retried))
        tap.equal(counts, (1, 1, 2), f"{name}: nothing was sent or started more often than it should")


def test_forward(place):
    jump(place, 3 * HOUR, "3 h forward")


def test_back(place):
    jump(place, -DAY, "a day back")


def test_suspended(place):
    """A laptop sleeps for two hours, in the middle of an answer and of a server's Retry-After of one."""
    shim = Shim(place)
    go = []

    def script(x):
        x.begin_stream()
        x.event("half ")
        while not go and not x.wait_closed(0.02):
            pass
        x.event("done", "stop")
        x.send(b"data: [DONE]\n\n")

    def limited(x):
        if l.count == 1:
            x.error(429, "Rate limit reached", {"Retry-After": "3000"})
        else:
            x.chat("after the limit")

    with Server(script) as m, Server(limited) as l, Server(lambda x: x.error(402, "pay first")) as u:
        place.configure(CONFIG.format(url=m.url, limited=l.url, unpaid=u.url).replace("progress_timeout = 2m", "progress_timeout = 1m"))
        running = place.submit("running", "--model", "m", env=shim.env)
        waiting = place.submit("waiting", "--model", "limited", env=shim.env)
        delayed = place.submit("delayed", "--delay", "1h", env=shim.env)
        runner = place.start_runner(env=shim.env)
        wait_until(lambda: m.count == 1 and place.value(
            "SELECT count(*) FROM generations WHERE id = ? AND starts = 1 AND status = 'queued'", waiting), 10, "the refusal")
        shim.set_slept(2 * HOUR)
        place.wait_status(waiting, "completed", 8)
        place.wait_status(delayed, "completed", 8)
        tap.ok(True, "what waited for a time that passed in the sleep goes on")
        tap.equal(place.status(running), "processing", "what runs is not judged by the sleep")
        tap.equal(place.value("SELECT count(*) FROM logs WHERE event = 'runner.clock_jumped'"), 0, "the clock was not set")
        wait_until(lambda: not place.run("list", "--status", "stuck", "--json", env=shim.env).jsonl, 5, "the next heartbeat")
        go.append(True)
        place.wait_status(running, "completed")
        tap.equal((runner.stop(), m.count, l.count), (0, 1, 2), "nothing was sent more often than it should")


tap.main(globals())
