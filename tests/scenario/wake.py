#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A writer that stays open is served as soon as it has committed. poll_interval is 30 s here, so only the
notice of the write can serve it in time; the delays are printed beside the 300 ms that are to be held."""
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import build
import tap
from genrun import wait_until

HOLD_MS = 300
DEADLINE_S = 10.0  # far below poll_interval
CONFIG = """
[genrun]
default_model = echo
[scheduler]
poll_interval = 30s
concurrency = 4
"""


def judge(delays, name):
    ms = sorted(d * 1000 for d in delays)
    tap.note(f"{name}: {len(ms)} commits, served after {ms[len(ms) // 2]:.1f} ms (median), {ms[-1]:.1f} ms (worst); hold {HOLD_MS}")
    tap.ok(ms[-1] < DEADLINE_S * 1000, f"{name}: every commit was served long before the next poll")


def serve(place, commit, name, count):
    """Commits, waits for the end of what was committed, again and again."""
    delays = []
    for n in range(count):
        commit(f"{name} {n}")
        since = time.monotonic()
        wait_until(lambda: place.value("SELECT count(*) FROM generations WHERE prompt = ? AND status = 'completed'",
                                       f"{name} {n}"), DEADLINE_S, f"{name} {n}")
        delays.append(time.monotonic() - since)
    judge(delays, name)


def test_interactive_shell(place):
    """One sqlite3 shell over a pipe that stays connected: open before the runner, and all the time."""
    place.configure(CONFIG)
    place.submit("first")
    shell = subprocess.Popen(["sqlite3", "-batch", place.database], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                             text=True, bufsize=1, env=place.env)

    def typed(statement, answer="SELECT 'done';"):
        shell.stdin.write(statement + answer + "\n")
        shell.stdin.flush()
        return shell.stdout.readline().strip()

    try:
        typed(".timeout 5000\n")
        runner = place.start_runner()
        wait_until(lambda: place.value("SELECT count(*) FROM generations WHERE status = 'completed'") == 1, 10, "the first one")

        def commit(prompt):
            got = typed(f"INSERT INTO generations (prompt, model_id) VALUES ('{prompt}', 'echo');")
            if got != "done":
                raise RuntimeError(f"the shell said {got!r}")

        serve(place, commit, "an open shell", 40)

        # Several statements in one transaction, which is open for a moment.
        def slowly(prompt):
            typed("BEGIN IMMEDIATE;")
            typed(f"INSERT INTO generations (prompt, model_id) VALUES ('{prompt}', 'echo');")
            time.sleep(0.02)  # a person thinks
            typed("COMMIT;")

        serve(place, slowly, "transactions of an open shell", 10)
        tap.equal(place.value("SELECT count(*) FROM generations WHERE status = 'completed'"), 51, "all of it ran")
    finally:
        shell.stdin.close()
        shell.wait(10)
    tap.equal(runner.stop(), 0, "the runner ends with 0")


def test_program_with_libgenrun(place):
    program = build.program(place, "writer")
    place.configure(CONFIG)
    runner = place.start_runner()
    writer = subprocess.Popen([program, place.config, place.database], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                              text=True, bufsize=1, env=place.env)
    ids = []

    def commit(prompt):
        writer.stdin.write(prompt + "\n")
        writer.stdin.flush()
        ids.append(writer.stdout.readline().strip())

    try:
        serve(place, commit, "a program with libgenrun", 60)
        # As fast as it can, without waiting for any of them.
        for n in range(60):
            commit(f"burst {n}")
        wait_until(lambda: place.value("SELECT count(*) FROM generations WHERE status = 'completed'") == 120, DEADLINE_S,
                   "the burst")
        tap.ok(True, "a burst of commits is served to its end")
        # A second runner after the first one: the writer's handle still serves.
        tap.equal(runner.stop(), 0, "the runner ends with 0")
        commit("between two runners")
        runner = place.start_runner()
        serve(place, commit, "after a new runner", 10)
        wait_until(lambda: place.value("SELECT count(*) FROM generations WHERE status = 'completed'") == 131, DEADLINE_S,
                   "what came between")
        tap.equal(sorted(ids), sorted(i for (i,) in place.sql("SELECT id FROM generations")), "each id it printed is there, once")
    finally:
        writer.stdin.close()
        writer.wait(10)
    tap.equal((writer.returncode, runner.stop()), (0, 0), "both end with 0")


def test_by_a_link(place):
    """The runner knows the file by a link, the writer by its name, and the other way round."""
    place.configure(CONFIG)
    place.submit("first")
    os.mkdir(place.path("elsewhere"))
    file, link = place.database, place.path("elsewhere/link.db")
    os.symlink(file, link)
    for runner_path, writer_path, name in ((link, file, "a runner by a link"), (file, link, "a writer by a link")):
        place.database = runner_path
        runner = place.start_runner()
        place.database = writer_path
        serve(place, place.submit, name, 5)
        tap.lacks(runner.err, "cannot be watched", f"{name}: no word of trouble")
        tap.equal(runner.stop(), 0, f"{name}: the runner ends with 0")


tap.main(globals())
