#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A program with a loop of its own runs the queue inside (genrun_step), with several handles on one file."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import build
import tap
from genrun import wait_until
from server import Server

CONFIG = """
[genrun]
default_model = m
[scheduler]
concurrency = 4
shutdown_grace = 100ms
[model m]
base_url = {url}
"""


class Host:
    def __init__(self, place):
        program = build.program(place, "host")
        self.err = open(place.path("host.err"), "w+", encoding="utf-8")
        self.process = subprocess.Popen([program, place.config, place.database], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=self.err, text=True, bufsize=1, env=place.env)

    def tell(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def end(self):
        self.process.stdin.write("end\n")
        self.process.stdin.close()
        return self.process.wait(20)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.err.close()


def test_host(place):
    go = []

    def script(x):
        while x.prompt == "endless" and not go and not x.wait_closed(0.02):
            pass
        x.chat(x.prompt.upper())

    with Server(script) as server:
        place.configure(CONFIG.format(url=server.url))
        host = Host(place)
        try:
            first = host.tell("submit one")
            place.wait_status(first, "completed")
            tap.equal(place.run("output", first).out, "ONE", "a program that takes turns runs what its other handle submits")
            outside = place.submit("two")
            place.wait_status(outside, "completed")
            tap.ok(True, "and what other processes submit")
            tap.error_line(place.run("run"), 5, "another run", "run beside it is refused")
            r = place.run("submit", "three", "--wait")
            tap.equal((r.code, r.out), (0, "THREE\n"), "submit --wait follows it")
            tap.equal(host.tell("close"), "closed", "one handle is closed")
            tap.error_line(place.run("run"), 5, "another run", "the other one still owns the database")
            # The locks of SQLite belong to the process: a handle that was closed must not have dropped them.
            for i in range(20):
                place.sql("INSERT INTO generations (prompt, model_id) VALUES (?, 'm')", f"typed {i}")
            ids = [host.tell(f"submit inside {i}") for i in range(20)]
            wait_until(lambda: place.value("SELECT count(*) FROM generations WHERE status = 'completed'") == 43, 10, "all of them")
            tap.equal(len(set(ids)), 20, "both go on writing side by side")
            endless = host.tell("submit endless")
            wait_until(lambda: any(x.prompt == "endless" for x in server.requests), 10, "its request")
            tap.equal(host.end(), 0, "the program ends")
            tap.equal(place.status(endless), "queued", "what it ran goes back to the queue")
            host.err.seek(0)
            tap.equal(host.err.read(), "", "it had nothing to complain of")
        finally:
            host.close()
        go.append(True)
        tap.equal(place.run("run", "--drain").code, 0, "a runner completes the rest")
        tap.equal((place.status(endless), place.value("PRAGMA integrity_check")), ("completed", "ok"), "the database is whole")
        tap.equal(place.sql("SELECT DISTINCT attempts FROM generations"), [(1,)], "with one attempt each")


tap.main(globals())
