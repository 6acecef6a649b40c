#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The three clocks of an attempt, against a server that is silent, stops, or only keeps the line open."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap
from server import Server

CONFIG = """
[genrun]
default_model = m
[scheduler]
concurrency = 4
max_attempts = {attempts}
backoff_min = 10ms
backoff_max = 20ms
first_byte_timeout = {first}
progress_timeout = {progress}
max_runtime = {total}
[model m]
base_url = {url}
"""


def configure(place, server, attempts=1, first="400ms", progress="400ms", total="1m"):
    place.configure(CONFIG.format(url=server.url, attempts=attempts, first=first, progress=progress, total=total))


def drain(place, code):
    r = place.run("run", "--drain")
    tap.equal(r.code, code, f"the drain ends with {code}")
    return r


def judge(place, id, named, limit, name):
    """The failed row tells which clock ran out, everywhere where one looks."""
    row = place.show(id)
    context = row["parameters"]["errorContext"]
    tap.equal((row["status"], context["type"]), ("failed", "TimeoutError"), f"{name}: failed, a TimeoutError")
    tap.ok(named in row["errorMessage"] and limit in row["errorMessage"], f"{name}: the message names {named} and {limit}",
           row["errorMessage"])
    tap.equal((row["parameters"]["error"], context["message"]), (row["errorMessage"],) * 2, f"{name}: the same text in parameters")
    tap.ok("model m" in context["stack"] and "attempt" in context["stack"], f"{name}: the context tells where", context["stack"])
    event = place.sql("SELECT level, message FROM logs WHERE event = 'generation.failed' AND generation_id = ?", id)
    tap.ok(len(event) == 1 and event[0][0] == "error" and named in event[0][1], f"{name}: the log has it once", event)
    tap.contains(place.run("show", id).out, row["errorMessage"], f"{name}: show prints it")
    return row


def partial(place, id):
    return place.sql("SELECT idx, content, partial FROM outputs WHERE generation_id = ?", id)


def test_silent_server(place):
    with Server(lambda x: x.wait_closed()) as server:
        configure(place, server)
        id = place.submit("x")
        drain(place, 1)
        row = judge(place, id, "first_byte_timeout", "400ms", "accepts and never answers")
        x = server.requests[0]
        tap.equal(server.count, 1, "it was sent once")
        x.wait_closed(5)
        tap.ok(x.closed_at and x.closed_at - x.at > 0.35, "the server sees the connection close, not before its time")
        tap.equal((row["lastStep"], partial(place, id)), ("provider:wait", []), "it waited for the server, nothing came")


def test_stops_in_midstream(place):
    def script(x):
        x.begin_stream()
        x.event({"role": "assistant", "content": ""})
        for word in ("The ", "answer ", "is "):
            x.event(word)
        x.wait_closed()

    with Server(script) as server:
        configure(place, server, first="10s")
        id = place.submit("x")
        drain(place, 1)
        row = judge(place, id, "progress_timeout", "400ms", "stops in mid-stream")
        tap.equal(partial(place, id), [(0, "The answer is ", 1)], "its partial text is kept, and marked")
        tap.equal(row["lastStep"], "provider:stream", "the step is told")
        r = place.run("output", id)
        tap.ok("The answer is" in r.out, "output gives it", r)


def test_connection_without_progress(place):
    """Comments, pings and empty deltas prove the connection, not progress."""
    def signs(x):
        x.send(b": keep-alive\n\n")
        x.send(b'event: ping\ndata: {"type": "ping"}\n\n')
        x.event({})
        x.event("")

    def before(x):
        x.begin_stream()
        x.wait_closed(each=lambda: signs(x))

    def after(x):
        x.begin_stream()
        x.event("half")
        x.wait_closed(each=lambda: signs(x))

    with Server(lambda x: before(x) if x.prompt == "before" else after(x)) as server:
        configure(place, server, first="500ms", progress="300ms")
        ids = [place.submit("before"), place.submit("after")]
        drain(place, 1)
        judge(place, ids[0], "first_byte_timeout", "500ms", "signs before the first text")
        judge(place, ids[1], "progress_timeout", "300ms", "signs after the first text")
        tap.equal((partial(place, ids[0]), partial(place, ids[1])), ([], [(0, "half", 1)]), "only the second has a text")


def test_progress_keeps_it_alive(place):
    """Words that come slowly outlive every clock but the total one."""
    def script(x):
        x.begin_stream()
        for i in range(12):
            if not x.event(f"{i} ") or x.wait_closed(0.1):
                return
        x.event({}, "stop")
        x.send(b"data: [DONE]\n\n")

    with Server(script) as server:
        configure(place, server, first="600ms", progress="600ms")
        id = place.submit("x")
        drain(place, 0)
        tap.equal(partial(place, id), [(0, "".join(f"{i} " for i in range(12)), 0)], "complete after 1.2 s of progress")
        configure(place, server, first="600ms", progress="600ms", total="700ms")
        id = place.submit("x")
        drain(place, 1)
        judge(place, id, "max_runtime", "700ms", "a hard end")
        tap.ok(partial(place, id)[0][1].startswith("0 1 2 "), "and its text so far is kept", lambda: partial(place, id))


def test_unstreamed_has_no_progress_clock(place):
    def script(x):
        x.wait_closed(0.5)
        x.chat("late")

    with Server(script) as server:
        configure(place, server, first="10s", progress="50ms")
        place.configure(place.read("genrun.ini") + "stream = no\n")
        id = place.submit("x")
        drain(place, 0)
        tap.equal(partial(place, id), [(0, "late", 0)], "only first_byte_timeout and max_runtime count for it")


def test_attempts_after_a_timeout(place):
    """A timeout spends an attempt; a later answer replaces the partial one."""
    def script(x):
        if x.number == 1:
            x.begin_stream()
            x.event("broken")
            x.wait_closed()
        else:
            x.chat("whole")

    with Server(script) as server:
        configure(place, server, attempts=3)
        id = place.submit("x")
        drain(place, 0)
        row = place.show(id)
        tap.equal((row["attempts"], row["starts"], partial(place, id)), (2, 2, [(0, "whole", 0)]), "the second attempt completes")
        events = [e for (e,) in place.sql("SELECT event FROM logs WHERE generation_id = ? ORDER BY id", id)]
        tap.equal(events, ["generation.queued", "generation.processing", "generation.retrying", "generation.processing",
                           "generation.completed"], "and the log has the whole story")


tap.main(globals())
