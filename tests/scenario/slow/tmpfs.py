#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A disk that is really full: the database on a file system of 4 MB of its own. As root it is mounted, else in
a user namespace. The same by a preloaded library, for machines that allow neither, is in ../disk.py."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "lib"))
import tap
from genrun import Place, wait_until
from server import Server

CONFIG = """
[genrun]
default_model = m
[scheduler]
concurrency = 3
max_attempts = 1
poll_interval = 200ms
heartbeat_interval = 200ms
[model m]
base_url = {url}
"""
TEXT = "words " * 20000  # 120 KB an answer


def mount(folder):
    return subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", folder], stderr=subprocess.DEVNULL).returncode == 0


def fill(path):
    with open(path, "wb", buffering=0) as f:
        try:
            while f.write(b"x" * 4096) == 4096:
                pass
        except OSError:
            pass  # full


def statuses(place):
    return dict(place.sql("SELECT status, count(*) FROM generations GROUP BY 1"))


def copy_to(place, disk):
    lines = "".join(f"{i} {TEXT}\n" for i in range(60))
    place.run("batch", "submit", "-", "--model", "echo", "--format", "txt", "--name", "big", input=lines)
    r = place.run("db", "backup", os.path.join(disk, "copy.db"))
    tap.error_line(r, 1, r"cannot write \S+/copy.db \(No space left on device\): nothing was kept", "a backup that does not fit is told of")
    tap.equal(os.listdir(disk), [], "and nothing of it is left")


def scenario(place, disk):
    copy_to(place, disk)
    place.database = os.path.join(disk, "test.db")
    ballast = os.path.join(disk, "ballast")
    gate = []

    def script(x):
        while not gate and not x.wait_closed(0.02):
            pass
        x.chat(f"{x.prompt} {TEXT}")

    with Server(script) as server:
        place.configure(CONFIG.format(url=server.url))
        for i in range(6):
            place.submit(f"item {i}")
        runner = place.start_runner()
        wait_until(lambda: server.count == 3, 10, "three in flight")
        fill(ballast)
        gate.append(True)
        wait_until(lambda: "nothing is claimed meanwhile" in runner.err, 20, "the word of the runner")
        tap.matches(runner.err, "disk is full|input or output failed", "the runner says what is wrong")
        tap.equal((server.count, statuses(place)), (3, {"processing": 3, "queued": 3}), "nothing more is claimed")
        r = place.run("submit", "one more")
        tap.error_line(r, 6, "full|input or output", "submit is refused with 6")
        tap.equal(place.run("list", "--limit", "3").code, 0, "reading goes on")
        os.unlink(ballast)
        wait_until(lambda: statuses(place) == {"completed": 6}, 20, "the rest")
        tap.ok(True, "space is freed: all results land")
        outputs = place.sql("SELECT g.prompt, o.content FROM generations g JOIN outputs o ON o.generation_id = g.id ORDER BY 1")
        tap.ok(outputs == [(f"item {i}", f"item {i} {TEXT}") for i in range(6)], "each output is there, once and whole")
        tap.equal((server.count, server.failures), (6, []), "nothing was sent twice")
        tap.equal(runner.stop(), 0, "the runner ends with 0")
        tap.equal(place.value("PRAGMA integrity_check"), "ok", "the database is whole")
        results_scenario(place, disk, ballast)


def results_scenario(place, disk, ballast):
    """Results onto the full disk: what was there stays, and nothing is added."""
    place.write("big.txt", "".join(f"{i} {TEXT}\n" for i in range(30)))
    batch = place.run("-d", place.path("other.db"), "batch", "submit", "big.txt", "--model", "echo", "--wait", "--name", "big").id
    out = os.path.join(disk, "results.csv")
    with open(out, "w", encoding="ascii") as f:
        f.write("old")
    fill(ballast)
    before = sorted(os.listdir(disk))
    for kind in ("csv", "jsonl", "openai"):
        r = place.run("-d", place.path("other.db"), "batch", "results", batch, "--format", kind, "-o", out)
        tap.error_line(r, 1, r"cannot write .*results\.csv \(No space left on device\): nothing was kept", f"results as {kind} onto a full disk")
        with open(out, encoding="ascii") as f:
            tap.equal((f.read(), sorted(os.listdir(disk))), ("old", before), "what was there stays, nothing is added")
    os.unlink(ballast)
    small = place.run("-d", place.path("other.db"), "batch", "results", batch, "--errors", "-o", out)
    with open(out, encoding="ascii") as f:
        tap.ok(small.code == 0 and f.read().startswith("id,custom_id,"), "with room again it goes in place of the old one", small)


def test_full_disk():
    with Place() as place:
        disk = place.path("disk")
        os.mkdir(disk)
        if not mount(disk):
            if os.environ.get("GENRUN_UNSHARED"):
                raise RuntimeError("no file system can be mounted here, not even in a user namespace")
            place.close()
            os.environ["GENRUN_UNSHARED"] = "1"
            sys.stdout.flush()
            os.execvp("unshare", ["unshare", "--user", "--map-root-user", "--mount", sys.executable] + sys.argv)
        try:
            scenario(place, disk)
        finally:
            for runner in place.runners:
                if runner.running:
                    runner.kill()
            subprocess.run(["umount", disk], check=True)


tap.main(globals())
