# SPDX-License-Identifier: MIT
"""The push to Postgres beside a plain multi-row upsert of the same rows by libpq, which has read all of them into
memory before its clock starts. The server is one of its own, with fsync as it comes."""
import os
import re
import signal
import statistics
import subprocess
import time
import urllib.request

from bench_ground import *
from postgres import Postgres, free_port

TABLES = "generations, outputs, batch_jobs, logs"


def drive(pg, *args):
    push = os.path.join(BUILD, "bench", "push")
    done = subprocess.run([push, *map(str, args)], env={**os.environ, "GENRUN_SYNC_URL": pg.url}, check=True,
                          stdout=subprocess.PIPE).stdout.decode()
    found = re.search(r"rows (\d+).* ms (\d+)", done)
    return int(found[1]) / int(found[2]) * 1000 if found else None


def bench_sync(table, options, folder):
    folder = os.path.join(folder, "sync")
    place = Place(folder, 64)
    path = os.path.join(folder, "prompts.jsonl")
    write_prompts(path, options.items, PROMPT_BYTES, "jsonl")
    place.run("batch", "submit", path, "--model", "echo")
    place.run("run", "--drain")
    rates, cursor = {"push": [], 100: [], 500: []}, os.path.join(folder, "cursor")
    with Postgres(fsync=True) as pg:
        drive(pg, "init", "public")
        for _ in range(options.rounds):
            for kind, values in rates.items():
                pg.psql(f"TRUNCATE {TABLES}")
                if os.path.exists(cursor):
                    os.remove(cursor)
                args = ["run", "public", place.database, "box", 1000, cursor]
                if kind != "push":
                    args = ["plain", "public", place.database, "box", kind]
                values.append(drive(pg, *args))
    rates = {kind: statistics.median(values) for kind, values in rates.items()}
    best = max(rates[100], rates[500])
    table.row(f"a plain upsert of {options.items:,} generations, outputs and their log", best, "rows/s")
    table.row("sync push of them", rates["push"], "rows/s")
    table.row("  push / plain", rates["push"] / best, "", 0.7, at_least=True)
    turns(table, place, path, options)


def turns_of(port):
    """The histogram of the loop's turns: [bound in seconds, turns within it]."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/metrics", headers={"X-Internal-Secret": SECRET})
    with urllib.request.urlopen(request) as answer:
        text = answer.read().decode()
    return [(float(bound), int(count))
            for bound, count in re.findall(r'genrun_turn_duration_seconds_bucket{le="([^"]+)"} (\d+)', text)]


def longest_ms(before, after):
    """The bound that 99.9 % of the turns between two looks stayed within."""
    within = [(bound, a - b) for (bound, a), (_, b) in zip(after, before)]
    return next(bound * 1000 for bound, count in within if count >= 0.999 * within[-1][1])


SECRET = "for the bench only"


def turns(table, place, path, options):
    """How long the loop could not answer while it works and all that the box ever did is pushed beside it. The server
    stands for another machine's: it does not wait for this machine's disk, which the loop commits to."""
    count = 0
    for synced in (False, True):
        worst = []
        for _ in range(options.rounds):
            with Postgres() as pg:
                env = {**ENV, "INTERNAL_API_SECRET": SECRET}
                if synced:
                    env["GENRUN_SYNC_URL"] = pg.url
                    subprocess.run([GENRUN, "-q", "sync", "init"], cwd=place.folder, env=env, check=True)
                subprocess.run([GENRUN, "-q", "batch", "submit", path, "--model", "echo", "--param", "delay=100ms"],
                               cwd=place.folder, env=ENV, stdout=subprocess.DEVNULL, check=True)
                port = free_port()
                runner = subprocess.Popen([GENRUN, "-q", "run", "--listen", f"127.0.0.1:{port}"], cwd=place.folder, env=env)
                try:
                    time.sleep(2)  # its start is no part of it
                    before = turns_of(port)
                    time.sleep(15)
                    after = turns_of(port)
                    worst.append(longest_ms(before, after))
                    count = after[-1][1] - before[-1][1]
                    pushed = int(pg.value("SELECT count(*) FROM generations")) if synced else 0
                    if synced and not pushed:
                        raise RuntimeError("nothing was pushed")
                finally:
                    runner.send_signal(signal.SIGTERM)
                    runner.wait()
                place.run("cancel", "--all", "--yes")
        what = "the loop's turns while all of it is pushed" if synced else "the loop's turns at work, without a sync"
        table.row(f"{what}: 99.9 % within", statistics.median(worst), "ms", 10 if synced else None, note=f" ({count:,} turns)")
