#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Where output goes: pipes closed early, full disks, closed descriptors, terminals of any width, colours."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap
from genrun import Result

LONG = "a prompt that is longer than any narrow terminal: " + "0123456789 " * 20


def fill(place, count=30):
    lines = "".join(f"{i} {LONG}\n" for i in range(count))
    r = place.run("batch", "submit", "-", "--model", "echo", "--format", "txt", "--name", "many", input=lines)
    if r.code != 0:
        raise RuntimeError(str(r))
    return r.id


def closed_early(place, *args):
    """Runs a command whose stdout is a pipe nobody reads."""
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        return place.run(*args, stdout=write_end)
    finally:
        os.close(write_end)


def test_closed_pipe(place):
    batch = fill(place)
    for args in (["list"], ["list", "--json"], ["batch", "list"], ["batch", "items", batch], ["logs"], ["stats"],
                 ["batch", "results", batch], ["models"], ["help"], ["--version"]):
        r = closed_early(place, *args)
        tap.ok(r.code == 0 and r.err == "", f"{' '.join(args[:2])}: a reader that has gone is no failure", r)


def test_reader_stops_in_the_middle(place):
    fill(place, 2000)
    command = place.command("list", "--limit", "2000")
    p = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                         cwd=place.folder, env=place.environment())
    p.stdout.read(10)
    p.stdout.close()
    err = p.stderr.read().decode()
    r = Result(command, p.wait(timeout=90), "", err)
    p.stderr.close()
    tap.ok(r.code == 0 and "cannot" not in r.err, "a list cut short by its reader ends with 0", r)


def test_full_disk(place):
    batch = fill(place)
    place.run("submit", "x", "--model", "echo")
    with open("/dev/full", "wb") as full:
        for args in (["list"], ["list", "--json"], ["batch", "items", batch], ["logs"], ["stats"], ["help"]):
            r = place.run(*args, stdout=full)
            tap.ok(r.code == 1 and r.err.count("\n") == 1 and r.err.startswith("genrun: cannot write to standard output (No space left"),
                   f"{' '.join(args[:2])}: a full disk is told of", r)
        r = place.run("submit", "x", "--model", "echo", stdout=full)
        tap.ok(r.code == 1 and "No space left" in r.err, "submit: also", r)


def test_closed_descriptors(place):
    id = place.submit("x", "--model", "echo")
    r = place.run("list", preexec_fn=lambda: os.close(1))
    tap.ok(r.code == 1 and "cannot write to standard output" in r.err, "a closed stdout is told of", r)
    r = place.run("submit", "y", "--model", "echo", preexec_fn=lambda: (os.close(0), os.close(1), os.close(2)))
    tap.equal(r.code, 1, "with all three closed the id cannot be told")
    tap.equal(place.value("PRAGMA integrity_check"), "ok", "and nothing was printed into the database")
    tap.equal(place.status(id), "queued", "what was there is there")


def test_terminal_width(place):
    batch = fill(place, 3)
    place.submit("\x1b[31mred\x07 漢字漢字漢字漢字漢字", "--model", "echo")
    for columns in (20, 40, 80, 133):
        for args in (["list"], ["batch", "list"], ["batch", "items", batch], ["models"]):
            r = place.run_pty(*args, columns=columns, env={"NO_COLOR": "1"})
            lines = [line for line in r.out.split("\r\n") if not line.startswith("genrun: ")]
            widest = max(sum(2 if ord(c) >= 0x2E80 else 1 for c in line) for line in lines)
            tap.ok(r.code == 0 and widest <= columns, f"{' '.join(args[:2])} fits {columns} columns", r)
    r = place.run_pty("list", columns=60, env={"NO_COLOR": "1"})
    tap.contains(r.out, "…", "what was cut is marked")
    tap.lacks(r.out, "\x1b", "an escape of a prompt does not reach the terminal")
    tap.lacks(r.out, "\x07", "nor a bell")
    r = place.run("list")
    tap.contains(r.out, LONG.rstrip(), "in a pipe nothing is cut")
    tap.contains(r.out, r"\x1b[31mred\x07", "and escapes are shown as text there too")
    r = place.run("list", env={"COLUMNS": "20"})
    tap.contains(r.out, LONG.rstrip(), "COLUMNS does not cut in a pipe")


def test_size_from_the_environment(place):
    fill(place, 3)
    r = place.run_pty("list", columns=0, env={"NO_COLOR": "1", "COLUMNS": "50"})
    widest = max(len(line) for line in r.out.split("\r\n"))
    tap.ok(r.code == 0 and 40 < widest <= 50, "a terminal that does not know its width takes COLUMNS", r)
    r = place.run_pty("list", columns=0, env={"NO_COLOR": "1", "COLUMNS": "x"})
    widest = max(len(line) for line in r.out.split("\r\n"))
    tap.ok(r.code == 0 and 60 < widest <= 80, "and else 80", r)


def test_colour(place):
    place.submit("x", "--model", "echo")
    tap.contains(place.run_pty("list").out, "\x1b[1m", "a terminal gets colours")
    tap.lacks(place.run_pty("list", env={"NO_COLOR": "1"}).out, "\x1b", "not with NO_COLOR")
    tap.contains(place.run_pty("list", env={"NO_COLOR": ""}).out, "\x1b[1m", "an empty NO_COLOR says nothing")
    tap.lacks(place.run_pty("list", env={"TERM": "dumb"}).out, "\x1b", "not with TERM=dumb")
    tap.lacks(place.run("list").out, "\x1b", "not in a pipe")
    tap.lacks(place.run_pty("list", "--json").out, "\x1b", "not with --json")


def test_empty_list_on_a_terminal(place):
    place.submit("x", "--model", "echo")
    r = place.run_pty("list", "--status", "failed")
    tap.contains(r.out, "no generation found", "a terminal is told that a list is empty")
    r = place.run("list", "--status", "failed")
    tap.ok(r.code == 0 and r.out == "" and r.err == "", "a pipe gets nothing", r)
    r = place.run_pty("-q", "list", "--status", "failed")
    tap.equal(r.out, "", "nor a quiet terminal")


tap.main(globals())
