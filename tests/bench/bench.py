#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What this machine does beside the numbers to hold: one table of measured value,
number and ratio. Medians of interleaved runs; nothing here passes or fails by time.

    tests/bench/bench.py [--items 40000] [--rows 1000000] [--rounds 3] [--folder DIR]

The folder (build/bench/work unless given) should be on a real disk.
"""
import argparse
import json
import os
import shutil
import signal
import sqlite3
import statistics
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from bench_ground import *
from bench_http import bench_http
from bench_names import bench_names
from bench_postgres import bench_sync


# ---- the two things that are compared ------------------------------------------------------


def bare(folder, items, concurrency, prompts):
    """The bare loop on the schema without triggers; what bare.c prints."""
    path = database_without_triggers(folder)
    with open(prompts, "rb") as f:
        done = subprocess.run([os.path.join(BUILD, "bench", "bare"), path, str(items), str(concurrency)], stdin=f,
                              stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def end_to_end(folder, items, concurrency, prompts):
    """Submit a file, then run it; the same keys as bare()."""
    place = Place(folder, concurrency)
    _, submitted, _, memory = place.run("batch", "submit", prompts, "--model", "echo")
    _, _, written, run_memory = place.run("run", "--drain")
    first, last, count = place.rows("SELECT min(started_at), max(completed_at), sum(status = 'completed') "
                                    "FROM generations")[0]
    if count != items:
        raise RuntimeError(f"{count} of {items} completed")
    return {"insert_s": submitted, "run_s": (last - first) / 1000, "run_bytes": written, "submit_memory": memory,
            "run_memory": run_memory}


def bench_throughput(table, options, folder):
    lines, plain = os.path.join(folder, "prompts.jsonl"), os.path.join(folder, "prompts.txt")
    write_prompts(lines, options.items, PROMPT_BYTES, "jsonl")
    write_prompts(plain, options.items, PROMPT_BYTES, "txt")
    few = max(1, options.items // 10)
    few_lines = os.path.join(folder, "few.jsonl")
    write_prompts(few_lines, few, PROMPT_BYTES, "jsonl")
    many, many_bare, single, single_bare = [], [], [], []
    for _ in range(options.rounds):
        many.append(end_to_end(os.path.join(folder, "many"), options.items, 64, lines))
        many_bare.append(bare(os.path.join(folder, "bare"), options.items, 64, plain))
        single.append(end_to_end(os.path.join(folder, "single"), few, 1, few_lines))
        single_bare.append(bare(os.path.join(folder, "bare"), few, 1, plain))

    rate, bare_rate = options.items / median_of(many, "run_s"), options.items / median_of(many_bare, "run_s")
    table.row("end to end, 64 in flight", rate, "items/s", 20000, at_least=True)
    table.row("  the bare loop writing the same rows", bare_rate, "items/s")
    table.row("  end to end / bare", rate / bare_rate, "", 0.5, at_least=True)
    rate, bare_rate = few / median_of(single, "run_s"), few / median_of(single_bare, "run_s")
    table.row("end to end, one at a time", rate, "items/s")
    table.row("  the bare loop writing the same rows", bare_rate, "items/s")
    table.row("  end to end / bare", rate / bare_rate, "")
    fsync_ms = 1000 / bare_rate
    table.row("from an item's start to the next one's, one at a time", 1000 / rate, "ms", 2 + fsync_ms)
    table.row("written to disk an item, 64 in flight", median_of(many, "run_bytes") / options.items / 1024, "KiB", 4)
    table.row("  by the bare loop", median_of(many_bare, "run_bytes") / options.items / 1024, "KiB")
    table.row("written to disk an item, one at a time", median_of(single, "run_bytes") / few / 1024, "KiB", 45)
    table.row("  by the bare loop", median_of(single_bare, "run_bytes") / few / 1024, "KiB")
    table.row(f"batch submit of {options.items:,} lines: peak memory / that of {few:,} lines", median_of(many, "submit_memory") / median_of(single, "submit_memory"),
              "", 1.5)


# ---- files in and out -----------------------------------------------------------------------


def seconds_of_submit(folder, path):
    place = Place(folder, 64)
    out, seconds, _, _ = place.run("batch", "submit", path, "--model", "echo")
    return place, out.strip(), seconds


def seconds_of_results(place, id, kind):
    path = os.path.join(place.folder, "results." + kind)
    seconds = place.run("batch", "results", id, "--format", kind, "-o", path)[1]
    with open(path, "rb") as f:
        if f.read().count(b"\n") < 1:
            raise RuntimeError("no results")
    return seconds


def bare_export(place):
    with open(os.path.join(place.folder, "results.bare"), "wb") as out:
        done = subprocess.run([os.path.join(BUILD, "bench", "bare"), place.database], stdout=out, stderr=subprocess.PIPE, check=True)
        os.fsync(out.fileno())
    return json.loads(done.stderr)["export_s"]


def bench_formats(table, options, folder):
    """Batch files of the same prompts in each format, and their results."""
    kinds = ("jsonl", "csv", "txt")
    paths = {k: os.path.join(folder, "formats." + k) for k in kinds}
    for kind, path in paths.items():
        write_prompts(path, options.items, PROMPT_BYTES, kind)
    submits, results = {k: [] for k in (*kinds, "bare")}, {k: [] for k in ("jsonl", "csv", "bare")}
    place, id, _ = seconds_of_submit(os.path.join(folder, "done"), paths["txt"])
    place.run("run", "--drain")
    for _ in range(options.rounds):
        for kind in kinds:
            submits[kind].append(seconds_of_submit(os.path.join(folder, "in"), paths[kind])[2])
        submits["bare"].append(bare(os.path.join(folder, "bare"), options.items, 64, paths["txt"])["insert_s"])
        for kind in ("jsonl", "csv"):
            results[kind].append(seconds_of_results(place, id, kind))
        results["bare"].append(bare_export(place))
    rates = {k: options.items / statistics.median(v) for k, v in submits.items()}
    table.row(f"the bare insert of {options.items:,} prompts of {PROMPT_BYTES} bytes", rates["bare"], "rows/s")
    for kind in kinds:
        table.row(f"batch submit of {kind}", rates[kind], "lines/s")
        table.row("  submit / bare", rates[kind] / rates["bare"], "", 0.7, at_least=True)
    rates = {k: options.items / statistics.median(v) for k, v in results.items()}
    table.row("the bare SELECT and write of as many results", rates["bare"], "rows/s")
    for kind in ("jsonl", "csv"):
        table.row(f"batch results as {kind}", rates[kind], "lines/s")
        table.row("  results / bare", rates[kind] / rates["bare"], "")


# ---- the size of the queue ------------------------------------------------------------------


def fill(folder, rows):
    """A database of `rows` queued generations."""
    place = Place(folder, 1)
    path = os.path.join(folder, "prompts.jsonl")
    write_prompts(path, rows, 40, "jsonl")
    place.run("batch", "submit", path, "--model", "echo")
    os.remove(path)
    return place


def last_log_id(place):
    return place.rows("SELECT coalesce(max(id), 0) FROM logs")[0][0]


def claim_us(place, items):
    """Microseconds an item, one at a time: claim, echo, settle."""
    before = last_log_id(place)
    runner = place.start("run")
    try:
        while place.rows("SELECT count(*) FROM (SELECT 1 FROM logs WHERE id > ? LIMIT ?)", before, 2 * items + 10)[0][0] < 2 * items + 10:
            time.sleep(0.05)
    finally:
        runner.send_signal(signal.SIGTERM)
        runner.wait()
    first, last, count = place.rows(
        "SELECT min(created_at), max(created_at), count(*) FROM (SELECT created_at FROM logs "
        "WHERE id > ? AND event = 'generation.completed' ORDER BY id LIMIT ?)", before, items)[0]
    return (last - first) * 1000 / (count - 1)


def bench_size(table, options, folder):
    small, large = fill(os.path.join(folder, "small"), options.rows // 100), fill(os.path.join(folder, "large"), options.rows)
    times = {small: [], large: []}
    for _ in range(options.rounds):
        for place, results in times.items():
            results.append({"claim": claim_us(place, options.rows // 1000)})
    compare(table, options, times[small], times[large])
    bench_restart(table, options, large)
    for place in times:
        shutil.rmtree(place.folder)


def compare(table, options, small, large):
    """Medians in microseconds at two sizes of the database."""
    for what in small[0]:
        few, many = median_of(small, what), median_of(large, what)
        table.row(f"{what}: {many:,.0f} us at {options.rows:,} / {few:,.0f} us at {options.rows // 100:,}", many / few, "", 1.5)


# ---- lists and reports ----------------------------------------------------------------------

def bench_looks(table, options, folder):
    small, large = mixed(os.path.join(folder, "small"), options.rows // 100), mixed(os.path.join(folder, "large"), options.rows)
    args = [a for place in (small, large) for a in (place.database, place.rows("SELECT id FROM generations WHERE seq = 7")[0][0])]
    looks = []
    for _ in range(options.rounds):
        done = subprocess.run([os.path.join(BUILD, "bench", "look"), *args], cwd=folder, env=ENV, stdout=subprocess.PIPE, check=True)
        looks.append(json.loads(done.stdout))
    compare(table, options, *([{what: pair[i] for what, pair in look.items()} for look in looks] for i in (0, 1)))
    for place in (small, large):
        shutil.rmtree(place.folder)


# ---- changes of many ------------------------------------------------------------------------

BULK_ROWS = 100000


def bench_bulk(table, options, folder):
    """Cancel and retry of many rows in slices, while a runner works on others at full load."""
    place = Place(os.path.join(folder, "bulk"), 64)
    path = os.path.join(folder, "bulk.jsonl")
    write_prompts(path, BULK_ROWS, 40, "jsonl")
    batch = place.run("batch", "submit", path, "--model", "echo", "--paused", "--priority", "-5")[0].split()[-1]
    write_prompts(path, 10 * BULK_ROWS, 40, "jsonl")
    place.run("batch", "submit", path, "--model", "echo")
    os.remove(path)
    runner = place.start("run")
    ended = lambda: place.rows("SELECT completed FROM totals")[0][0]
    seconds = {"cancel": [], "retry": [], "alone": []}
    rates = {"cancel": [], "retry": [], "alone": []}
    for _ in range(options.rounds):
        for what in ("alone", "cancel", "retry"):
            before, began = ended(), time.monotonic()
            if what == "alone":
                time.sleep(2)
            else:
                out = place.run(what, "--batch", batch, "--yes", "--json")[0]
                if BULK_ROWS not in json.loads(out).values():
                    raise RuntimeError(f"{what}: {out}")
            seconds[what].append(time.monotonic() - began)
            rates[what].append((ended() - before) / seconds[what][-1])
    runner.send_signal(signal.SIGTERM)
    runner.wait()
    for what in ("cancel", "retry"):
        table.row(f"{what} of {BULK_ROWS:,} rows beside a working runner", statistics.median(seconds[what]), "s", 5)
        table.row("  its rate meanwhile / alone", statistics.median(rates[what]) / statistics.median(rates["alone"]), "")
    shutil.rmtree(place.folder)


def bench_restart(table, options, place):
    """kill -9 under 64 in flight on the large queue, and memory before it."""
    place.configure(64)
    runner, memory, waits = place.start("run"), 0, []
    for _ in range(options.rounds):
        time.sleep(1.5)
        memory = max(memory, peak_memory_of(runner.pid))
        runner.kill()
        runner.wait()
        before, spawned_at = last_log_id(place), time.time() * 1000
        runner = place.start("run")
        first = None
        while first is None:
            time.sleep(0.02)
            first = place.rows("SELECT min(created_at) FROM (SELECT created_at FROM logs WHERE id > ? "
                               "AND event = 'generation.processing' LIMIT 1)", before)[0][0]
        waits.append(first - spawned_at)
    runner.send_signal(signal.SIGTERM)
    runner.wait()
    table.row(f"restart after kill -9 to the first item, {options.rows:,} rows", statistics.median(waits), "ms", 200)
    table.row(f"peak resident memory, {options.rows:,} rows, 64 in flight", memory / 1048576, "MiB", 32)


def bench_idle(table, _, folder):
    place = Place(os.path.join(folder, "idle"), 64)
    place.run("submit", "the first and only", "--model", "echo", "--wait")
    runner = place.start("run")
    time.sleep(2)
    written, cpu, began = written_by(runner.pid), cpu_s_of(runner.pid), time.monotonic()
    time.sleep(20)
    seconds = time.monotonic() - began
    written, cpu = written_by(runner.pid) - written, cpu_s_of(runner.pid) - cpu
    runner.send_signal(signal.SIGTERM)
    runner.wait()
    table.print(f"idle for {seconds:.0f} s: written to disk", f"{written} bytes", "0 bytes", "")
    table.row("idle: CPU", 100 * cpu / seconds, "%", 0.1, note=" of a core")


def bench_commands(table, options, folder):
    """A local program that does nothing as the model, beside starting it alone."""
    count, program = max(1, options.items // 40), shutil.which("true")
    prompts = os.path.join(folder, "prompts.txt")
    write_prompts(prompts, count, PROMPT_BYTES, "txt")
    for concurrency in (1, 8):
        runs, spawns = [], []
        for _ in range(options.rounds):
            place = Place(os.path.join(folder, "commands"), concurrency)
            with open(os.path.join(place.folder, "genrun.ini"), "a", encoding="utf-8") as f:
                f.write(f"\n[model nothing]\ncommand = {program}\n")
            place.run("batch", "submit", prompts, "--model", "nothing")
            place.run("run", "--drain")
            first, last, completed = place.rows("SELECT min(started_at), max(completed_at), sum(status = 'completed') "
                                                "FROM generations")[0]
            if completed != count:
                raise RuntimeError(f"{completed} of {count} completed")
            runs.append((last - first) / 1000)
            done = subprocess.run([os.path.join(BUILD, "bench", "spawn"), str(count), str(concurrency), program],
                                  stdout=subprocess.PIPE, check=True)
            spawns.append(json.loads(done.stdout)["run_s"])
        rate, bare_rate = count / statistics.median(runs), count / statistics.median(spawns)
        table.row(f"local program that does nothing, {concurrency} at a time", rate, "items/s")
        table.row("  posix_spawn and wait alone", bare_rate, "programs/s")
        table.row("  items / programs", rate / bare_rate, "")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--items", type=int, default=40000)
    parser.add_argument("--rows", type=int, default=1000000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", default=os.path.join(ROOT, "build", "bench", "work"))
    parser.add_argument("only", nargs="*", help="throughput, commands, formats, size, names, looks, http, bulk, sync, idle; all of them unless named")
    options = parser.parse_args()
    parts = {"throughput": bench_throughput, "commands": bench_commands, "formats": bench_formats, "size": bench_size, "names": bench_names,
             "looks": bench_looks, "http": bench_http, "bulk": bench_bulk, "sync": bench_sync,
             "idle": bench_idle}
    unknown = set(options.only) - set(parts)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    shutil.rmtree(options.folder, ignore_errors=True)
    os.makedirs(options.folder)
    kind = subprocess.run(["stat", "-f", "-c", "%T", options.folder], stdout=subprocess.PIPE, check=True).stdout.decode().strip()
    if kind in FILE_SYSTEMS_IN_MEMORY:
        print(f"note: {options.folder} is in memory ({kind}): nothing is fsynced to a disk", file=sys.stderr)
    print(f"{options.rounds} interleaved rounds, medians; synchronous=FULL on {kind}; {os.cpu_count()} cores")
    table = Table()
    try:
        for name in options.only or parts:
            parts[name](table, options, options.folder)
    finally:
        shutil.rmtree(options.folder, ignore_errors=True)


if __name__ == "__main__":
    main()
