#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The database cannot be written for a while: the disk is full, a limit on the size of files is reached, a
shell left a transaction open. What is running goes on, results are kept in memory, nothing new is claimed, and
afterwards nothing is lost and nothing was sent twice."""
import os
import resource
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap
from genrun import wait_until
from server import Server
from shim import Shim

CONFIG = """
[genrun]
default_model = m
[scheduler]
concurrency = 3
max_attempts = 1
poll_interval = 200ms
heartbeat_interval = 200ms
heartbeat_timeout = 1m
first_byte_timeout = {first}
[model m]
base_url = {url}
"""


def configure(place, server, first="10m"):
    place.configure(CONFIG.format(url=server.url, first=first))


class Gate:
    """Answers when it is opened, each request with a long text of its own."""

    def __init__(self):
        self.open = False
        self.answered = []

    def text(self, prompt):
        return f"{prompt}: " + "words " * 2000

    def __call__(self, x):
        while not self.open and not x.wait_closed(0.02):
            pass
        x.chat(self.text(x.prompt))
        self.answered.append(x.prompt)


def statuses(place):
    return dict(place.sql("SELECT status, count(*) FROM generations GROUP BY 1"))


def judge_end(place, server, gate, runner, count, name):
    """Space is there again."""
    wait_until(lambda: statuses(place) == {"completed": count}, 20, f"{name}: all completed")
    wait_until(lambda: "can be written again" in runner.err, 5, "the word of that")
    tap.ok(True, f"{name}: then all results land, and the runner says so")
    outputs = place.sql("SELECT g.prompt, o.content, o.partial FROM generations g JOIN outputs o ON o.generation_id = g.id ORDER BY 1")
    tap.equal(outputs, sorted((p, gate.text(p), 0) for p in gate.answered), f"{name}: each output is there, once and whole")
    tap.equal((server.count, server.failures), (count, []), f"{name}: nothing was sent twice")
    tap.equal(place.sql("SELECT DISTINCT starts, attempts FROM generations"), [(1, 1)], f"{name}: each started once")
    tap.equal(runner.stop(), 0, f"{name}: the runner ends with 0")
    tap.equal(place.value("PRAGMA integrity_check"), "ok", f"{name}: the database is whole")


def full(place, make_full, make_free, env, name, pattern):
    gate = Gate()
    with Server(gate) as server:
        configure(place, server)
        for i in range(8):
            place.submit(f"item {i}")
        runner = place.start_runner(env=env)
        wait_until(lambda: server.count == 3, 10, "three in flight")
        make_full(runner)
        gate.open = True
        wait_until(lambda: len(gate.answered) == 3, 10, "three answers")
        wait_until(lambda: "nothing is claimed meanwhile" in runner.err, 10, "the word of the runner")
        tap.matches(runner.err, pattern, f"{name}: the runner says on stderr what is wrong")
        tap.equal((server.count, statuses(place)), (3, {"processing": 3, "queued": 5}), f"{name}: nothing more is claimed")
        r = place.run("submit", "one more", env=env)
        if env:
            tap.error_line(r, 6, "full", f"{name}: submit is refused with 6")
        tap.ok(runner.running and runner.err.count("nothing is claimed meanwhile") == 1, f"{name}: it says so once", runner.err)
        make_free(runner)
        judge_end(place, server, gate, runner, 8 if r.code else 9, name)


def test_disk_full(place):
    shim = Shim(place)
    full(place, lambda _: shim.set_full(True), lambda _: shim.set_full(False), shim.env, "disk full", "disk is full: free some space")


def test_file_size_limit(place):
    """A real refusal by the kernel: the limit on the size of files of the runner's process."""
    def limit(runner, size):
        hard = resource.prlimit(runner.pid, resource.RLIMIT_FSIZE)[1]
        resource.prlimit(runner.pid, resource.RLIMIT_FSIZE, (size, hard))

    full(place, lambda r: limit(r, os.path.getsize(place.database + "-wal")), lambda r: limit(r, resource.RLIM_INFINITY), None,
         "file size limit", "database .*: input or output failed|cannot grow")


def test_open_transaction(place):
    """A shell holds the writer lock: the loop goes on, its clocks too, and results land after."""
    gate = Gate()

    def script(x):
        if x.prompt == "silent":
            x.wait_closed()
        else:
            gate(x)

    with Server(script) as server:
        configure(place, server, first="1500ms")
        silent = place.submit("silent", "--priority", "10")
        for i in range(5):
            place.submit(f"item {i}")
        runner = place.start_runner()
        wait_until(lambda: server.count == 3, 10, "three in flight")
        shell = subprocess.Popen(["sqlite3", "-batch", "-cmd", ".timeout 5000", place.database], stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE, text=True, bufsize=1, env=place.env)
        try:
            shell.stdin.write("BEGIN IMMEDIATE; SELECT 'mine';\n")
            tap.equal(shell.stdout.readline(), "mine\n", "a shell opens a transaction and leaves it open")
            gate.open = True
            wait_until(lambda: len(gate.answered) == 2, 10, "two answers")
            tap.ok(True, "answers are taken meanwhile")
            wait_until(lambda: any(x.closed_at for x in server.requests if x.prompt == "silent"), 10, "the end of the silent one")
            tap.ok(True, "clocks run meanwhile: the silent one is given up at first_byte_timeout")
            wait_until(lambda: "is locked by another process" in runner.err, 10, "the word of the runner")
            tap.ok("results are kept in memory" in runner.err, "the runner says what is wrong", runner.err)
            tap.equal((server.count, statuses(place)), (3, {"processing": 3, "queued": 3}), "nothing more is claimed")
            shell.stdin.write("COMMIT;\n")
            shell.stdin.flush()
        finally:
            shell.stdin.close()
            shell.wait(10)
        place.wait_status(silent, "failed", 20)
        wait_until(lambda: statuses(place) == {"completed": 5, "failed": 1}, 20, "the rest")
        tap.equal((server.count, server.failures), (6, []), "then all results land, nothing was sent twice")
        tap.contains(runner.err, "can be written again", "and the runner says so")
        tap.equal(runner.stop(), 0, "the runner ends with 0")


def test_stop_while_locked(place):
    """A runner that is told twice to stop ends also when it cannot write how its work ended."""
    with Server(Gate()) as server:
        configure(place, server)
        id = place.submit("x")
        runner = place.start_runner()
        wait_until(lambda: server.count == 1, 10, "the request")
        shell = subprocess.Popen(["sqlite3", "-batch", "-cmd", ".timeout 5000", place.database], stdin=subprocess.PIPE,
                                 stdout=subprocess.PIPE, text=True, bufsize=1, env=place.env)
        try:
            shell.stdin.write("BEGIN IMMEDIATE; SELECT 'mine';\n")
            shell.stdout.readline()
            runner.signal(signal.SIGTERM)
            wait_until(lambda: "signal" in runner.err, 5, "the word of the first signal")
            runner.signal(signal.SIGTERM)
            tap.equal(runner.wait(8), 6, "a second signal ends it soon, with 6")
            tap.matches(runner.err, r"genrun: 1 ends could not be written: ", "it says what it could not do")
            shell.stdin.write("COMMIT;\n")
        finally:
            shell.stdin.close()
            shell.wait(10)
        server.script = lambda x: x.chat("late")
        tap.equal(place.run("run", "--drain").code, 0, "the next runner does the work")
        tap.equal((place.status(id), server.count), ("completed", 2), "once more")


tap.main(globals())
