#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The database is moved away, deleted or replaced under a running runner: it notices at once, ends with one line that
says where everything is, and nothing is lost or mixed into what is there now."""
import contextlib
import os
import re
import shutil
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import shell
import tap
from genrun import Place, wait_until

# Only the kernel's notice can wake it in time.
CONFIG = "[genrun]\ndefault_model = echo\n[scheduler]\nconcurrency = 4\npoll_interval = 1h\nshutdown_grace = 1h\n"
TO_DO = "put the right one in its place and start again$"


def another():
    """A database of another place, whole in one file."""
    with Place(CONFIG) as p:
        p.submit("of another place")
        p.run("db", "backup", "whole.db")
        with open(p.path("whole.db"), "rb") as f:
            return f.read()


def befall(place, act, pattern):
    """A runner with work done, in flight and waiting meets `act`; returns the ids of the three."""
    place.configure(CONFIG)
    runner = place.start_runner()
    done, running = place.submit("done"), place.submit("running", "--param", "delay=1h")
    waiting = place.submit("waiting", "--delay", "1h")
    place.wait_status(done, "completed")
    place.wait_status(running, "processing")
    act()
    tap.equal(runner.wait(), 6, "the runner ends with 6")
    lines = [line for line in runner.err.splitlines() if line.startswith("genrun: ")]
    tap.ok(len(lines) == 1 and re.match("genrun: database " + re.escape(place.database) + " was " + pattern, lines[0]), "and one line", runner.err)
    return done, running, waiting


def goes_on(place, ids):
    """What is at the path has all of it, and is run on."""
    done, running, waiting = ids
    tap.equal([(place.status(id), place.value("SELECT starts FROM generations WHERE id=?", id)) for id in ids],
              [("completed", 1), ("queued", 1), ("queued", 0)], "all is there: what was done, what ran is queued again, what waited waits")
    tap.equal((place.run("output", done).out, place.run("db", "check").code, shell.drift(place)), ("done", 0, []), "whole")
    place.run("cancel", running)
    runner = place.start_runner()
    tap.equal(place.run("submit", "after", "--wait").out, "after\n", "and it goes on")
    tap.equal((runner.stop(), place.status(waiting)), (0, "queued"), "as ever")


def test_moved(place):
    other = place.path("other.db")
    ids = befall(place, lambda: os.rename(place.database, other), f"moved away while it was in use: all that it held is in {re.escape(other)}, {TO_DO}")
    tap.error_line(place.run("list"), 4, "test.db does not exist: submit something, or name another with -d", "at the path there is nothing")
    fresh = place.submit("fresh")
    tap.equal((place.sql("SELECT id FROM generations"), place.run("db", "check").code), ([(fresh,)], 0), "a new one there is new")
    place.database = other
    goes_on(place, ids)


def test_moved_with_its_log(place):
    os.mkdir(place.path("archive"))

    def act():
        for end in ("-wal", "-shm", ""):
            os.rename(place.database + end, place.path("archive/test.db" + end))
    ids = befall(place, act, f"moved away while it was in use: all that it held is in {re.escape(place.path('archive/test.db'))}, {TO_DO}")
    place.database = place.path("archive/test.db")
    goes_on(place, ids)


def test_deleted(place):
    ids = befall(place, lambda: os.unlink(place.database), rf"deleted while it was in use: all that it held is saved as {re.escape(place.database)}\.saved-[0-9a-f]{{8}}, {TO_DO}")
    saved = [name for name in os.listdir(place.folder) if ".saved-" in name]
    tap.equal(len(saved), 1, "one file is saved")
    os.rename(place.path(saved[0]), place.database)
    goes_on(place, ids)


def test_another_in_its_place(place):
    new = place.write("new.db", another())
    kept = place.path("kept.db")

    def act():
        os.rename(place.database, kept)
        os.rename(new, place.database)
    ids = befall(place, act, f"(moved away|replaced by another file) while it was in use: all that it held is in {re.escape(kept)}, {TO_DO}")
    tap.equal((place.sql("SELECT prompt FROM generations"), place.run("db", "check").code, shell.drift(place)), ([("of another place",)], 0, []),
              "the other one is as it was")
    place.database = kept
    goes_on(place, ids)


def test_another_over_it(place):
    new = place.write("new.db", another())
    ids = befall(place, lambda: os.rename(new, place.database),
                 rf"replaced by another file while it was in use: all that it held is saved as {re.escape(place.database)}\.saved-[0-9a-f]{{8}}, {TO_DO}")
    tap.equal((place.sql("SELECT prompt FROM generations"), place.run("db", "check").code, shell.drift(place)), ([("of another place",)], 0, []),
              "the other one is as it was")
    place.database = place.path(next(name for name in os.listdir(place.folder) if ".saved-" in name))
    goes_on(place, ids)


def test_what_it_names_stays(place):
    """Other names of the file come and go, and it is used by a link."""
    place.configure(CONFIG)
    place.submit("x")
    os.symlink(place.database, place.path("link.db"))
    place.database = place.path("link.db")
    runner = place.start_runner()
    os.link(place.path("test.db"), place.path("second.db"))
    os.unlink(place.path("second.db"))
    os.chmod(place.path("test.db"), 0o600)
    tap.equal(place.run("submit", "y", "--wait").out, "y\n", "it runs on")
    tap.equal(runner.stop(), 0, "and ends as ever")


def test_a_command_meanwhile(place):
    """A submit that is under way stores nothing in a file that is not there any more."""
    place.configure(CONFIG)
    first = place.submit("first")
    os.mkfifo(place.path("items.txt"))
    command = place.start("batch", "submit", place.path("items.txt"), "--format", "txt")
    # It may see the move, and end, before it has read all that is written.
    with contextlib.suppress(BrokenPipeError), open(place.path("items.txt"), "w", encoding="ascii") as f:
        f.write("one\n" * 5000)
        f.flush()
        wait_until(lambda: place.value("SELECT count(*) FROM batch_job"), 10, "the batch job being filled")
        shutil.move(place.database, place.path("other.db"))
        f.write("two\n" * 5000)
    tap.equal((command.wait(), command.out), (6, ""), "it is refused")
    tap.matches(command.err, r"^genrun: \S+items.txt:\d+: database \S+test.db was moved, deleted or replaced meanwhile: see what is there and try again\n$", "in one line")
    shutil.move(place.path("other.db"), place.database)
    tap.equal(place.sql("SELECT id FROM generations"), [(first,)], "none of its lines is listed")


tap.main(globals())
