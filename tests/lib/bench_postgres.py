# SPDX-License-Identifier: MIT
"""The push to Postgres beside a plain multi-row upsert of the same rows by libpq, which has read all of them into
memory before its clock starts. The server is one of its own, with fsync as it comes."""
import os
import re
import statistics
import subprocess

from bench_ground import *
from postgres import Postgres

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
