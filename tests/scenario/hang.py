#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A runner that was stopped goes on as if nothing had been; one whose loop hangs ends itself, and the next one
takes its work back."""
import os
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap
from genrun import wait_until
from server import Server

STOP_S = 3.5  # beyond every clock below
FAULTS = {"GENRUN_ECHO_FAULTS": "1"}
CONFIG = """
[genrun]
default_model = echo
[scheduler]
concurrency = 4
max_attempts = {attempts}
backoff_min = 10ms
heartbeat_interval = 100ms
heartbeat_timeout = 1s
first_byte_timeout = {first}
progress_timeout = 2s
[model m]
base_url = {url}
[model echo]
"""


def configure(place, url="http://127.0.0.1:9/v1", attempts=1, first="2s"):
    place.configure(CONFIG.format(url=url, attempts=attempts, first=first))


def stuck(place):
    return dict(place.sql("SELECT id, why FROM stuck_generations"))


def test_stopped_and_continued(place):
    """Nothing is judged by the gap: neither a server that has not begun, nor one in mid-stream, nor a delay."""
    go = []

    def script(x):
        if x.prompt == "midway":
            x.begin_stream()
            x.event("half ")
        while not go and not x.wait_closed(0.02):
            pass
        if x.closed_at:
            return
        if x.prompt == "midway":
            x.event("done")
            x.event({}, "stop")
            x.send(b"data: [DONE]\n\n")
        else:
            x.chat("late")

    with Server(script) as server:
        configure(place, server.url)
        silent, midway = place.submit("silent", "--model", "m"), place.submit("midway", "--model", "m")
        runner = place.start_runner()
        wait_until(lambda: server.count == 2, 10, "both requests")
        wait_until(lambda: place.sql("SELECT last_step FROM generations WHERE id = ?", midway) == [("provider:stream",)], 10,
                   "a heartbeat that tells of the stream")
        tap.equal(stuck(place), {}, "a runner that beats: nothing is stuck")
        runner.signal(signal.SIGSTOP)
        stopped = time.monotonic()
        wait_until(lambda: len(stuck(place)) == 2, 5, "both stuck")
        tap.ok(all("no heartbeat for" in why for why in stuck(place).values()), "stopped past heartbeat_timeout: stuck, and why", stuck(place))
        tap.ok(silent in stuck(place) and midway in stuck(place), "both of them")
        tap.equal([r["id"] for r in sorted(place.run("list", "--status", "stuck", "--json").jsonl, key=lambda r: r["id"])],
                  sorted([silent, midway]), "list --status stuck shows them")
        tap.error_line(place.run("run"), 5, "another run", "it still owns the database: another runner is refused")
        wait_until(lambda: time.monotonic() - stopped > STOP_S, STOP_S + 5, "the stop to be longer than every clock")
        runner.signal(signal.SIGCONT)
        wait_until(lambda: "did not run for" in runner.err, 10, "the word of the gap")
        wait_until(lambda: not stuck(place), 10, "the heartbeat")
        tap.ok(True, "continued, it says so, and nothing is stuck any more")
        tap.equal({place.status(silent), place.status(midway)}, {"processing"}, "nothing was judged by the gap")
        go.append(True)
        place.wait_status(silent, "completed")
        place.wait_status(midway, "completed")
        tap.equal((server.count, server.failures), (2, []), "both complete, and each was sent once")
        tap.equal(place.value("SELECT count(*) FROM logs WHERE event IN ('generation.retrying', 'generation.recovered')"), 0,
                  "nothing was tried again")
        tap.equal(runner.stop(), 0, "the runner ends with 0")


def test_loop_that_hangs(place):
    configure(place, attempts=2)
    id = place.submit("x", "--param", "block=60s")
    runner = place.start_runner(env=FAULTS)
    code = runner.wait(20)
    tap.ok(code == 1 and "has not turned for heartbeat_timeout" in runner.err, "a hung loop ends its own process, and says why",
           f"{code} {runner.err}")
    wait_until(lambda: stuck(place), 5, "the stuck one")
    tap.ok(id in stuck(place), "its work is stuck until the next runner", stuck(place))
    runner = place.start_runner(env=FAULTS)
    row = place.sql("SELECT status, attempts FROM generations WHERE id = ?", id)[0]
    event = place.sql("SELECT level, json_extract(data, '$.type'), message FROM logs WHERE event = 'generation.recovered'"
                      " AND generation_id = ?", id)
    tap.ok(len(event) == 1 and event[0][:2] == ("warn", "HeartbeatTimeoutError"), "the next runner requeues it, the log says "
           "HeartbeatTimeoutError", event)
    tap.equal(row[1], 1, "with an attempt spent")
    tap.equal(place.value("SELECT end_reason FROM runners ORDER BY seq LIMIT 1"), "hung", "the first runner's end is known")
    # It hangs again; this time the whole process is stopped, too, and continued.
    wait_until(lambda: place.value("SELECT count(*) FROM generations WHERE id = ? AND starts = 2 AND status = 'processing'", id), 10, "its second start")
    runner.signal(signal.SIGSTOP)
    wait_until(lambda: "no heartbeat" in stuck(place).get(id, ""), 5, "no heartbeat")
    tap.ok(True, "stopped while its loop hangs: stuck, for want of a heartbeat")
    runner.signal(signal.SIGCONT)
    tap.equal(runner.wait(20), 1, "continued, it ends itself")
    r = place.run("run", "--drain", env=FAULTS)
    tap.equal(r.code, 1, "the third one fails it and drains")
    row = place.show(id)
    tap.equal((row["status"], row["parameters"]["errorContext"]["type"], row["attempts"], row["starts"]),
              ("failed", "HeartbeatTimeoutError", 2, 2), "max_attempts hangs are enough: HeartbeatTimeoutError")


tap.main(globals())
