# SPDX-License-Identifier: MIT
"""Claims beside the number of model names: one section serves all of them, as `[model *]` does for Ollama's."""
import os
import shutil
import signal
import sqlite3
import time

from bench_ground import *

ITEMS = {1: 1000, 64: 20000}  # measured, by the number in flight
IDLE = (1, 100, 1000, 10000)
MANY = 1000
DAY_MS = 86400000

LANES = """
WITH RECURSIVE n(i) AS (SELECT :first UNION ALL SELECT i + 1 FROM n WHERE i < :last)
INSERT INTO lane (model_id, user_id, batch_seq, priority, ready) SELECT printf('m%06d', i), '', 0, 0, :ready FROM n
"""
# Each lane in turn, so that all have work for as long as there is some.
WORK = """
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < :rows - 1)
INSERT INTO generation (id, status, lane, model_id, created_at)
    SELECT lower(hex(randomblob(16))), 'queued', l.id, l.model_id, 1000 + i
    FROM n JOIN lane l ON l.model_id = printf('m%06d', :first + i % (:last - :first + 1)) ORDER BY i
"""
REST = """
INSERT INTO generation_input (seq, prompt, parameters) SELECT seq, 'a prompt of ' || seq, '{}' FROM generation;
UPDATE batch_count SET queued_items = (SELECT count(*) FROM generation) WHERE batch_seq = 0;
"""
PARKED = "INSERT INTO model_state (model_id, state, reason, error_type, since, until) SELECT DISTINCT model_id, 'parked', 'no', 'QuotaError', :now, :until FROM lane WHERE model_id > 'm000000'"


def fill(folder, concurrency, idle, working, parked):
    """`working` names have all the work that is measured, `parked` others some, `idle` others had some once."""
    place = Place(folder, concurrency)
    with open(os.path.join(folder, "genrun.ini"), "a", encoding="utf-8") as f:
        f.write("\n[model *]\nprovider = echo\n")
    place.run("user", "set", "u", "--name", "Ann")
    db = sqlite3.connect(place.database, isolation_level=None)
    db.execute("BEGIN")
    now = int(time.time() * 1000)
    for first, count, ready, rows in ((0, working, 1, ITEMS[concurrency] * 3 // 2), (working, parked, 1, 2 * parked),
                                      (working + parked, idle, 0, 0)):
        if count:
            db.execute(LANES, {"first": first, "last": first + count - 1, "ready": ready})
        if rows:
            db.execute(WORK, {"first": first, "last": first + count - 1, "rows": rows})
    for statement in REST.strip().rstrip(";").split(";"):
        db.execute(statement)
    if parked:
        db.execute(PARKED, {"now": now, "until": now + DAY_MS})
    db.execute("COMMIT")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    return place


def claims_per_second(place, items):
    """Of the first `items`: claim, echo, settle."""
    runner = place.start("run")
    try:
        while place.rows("SELECT completed FROM totals")[0][0] < items:
            time.sleep(0.2)
        memory, cpu_us = peak_memory_of(runner.pid), cpu_s_of(runner.pid) * 1e6
    finally:
        runner.send_signal(signal.SIGTERM)
        runner.wait()
    first, last, count = place.rows(
        "SELECT min(created_at), max(created_at), count(*) FROM (SELECT created_at FROM logs "
        "WHERE event = 'generation.completed' ORDER BY id LIMIT ?)", items)[0]
    ended = place.rows("SELECT completed FROM totals")[0][0]
    return {"rate": (count - 1) * 1000 / (last - first), "memory": memory / 1048576, "cpu_us": cpu_us / ended}


def bench_names(table, options, folder):
    cases = [(f"{n:,} names without work", n - 1, 1, 0) for n in IDLE]
    cases.append((f"{MANY:,} names, all with work", 0, MANY, 0))
    cases.append((f"{MANY:,} names, all but one parked with work", 0, 1, MANY - 1))
    for concurrency, items in ITEMS.items():
        runs = {c: [] for c in cases}
        for _ in range(options.rounds):
            for case in cases:
                place = fill(os.path.join(folder, "names"), concurrency, *case[1:])
                runs[case].append(claims_per_second(place, items))
                shutil.rmtree(place.folder)
        alone = median_of(runs[cases[0]], "rate")
        for case in cases:
            rate = median_of(runs[case], "rate")
            table.row(f"{concurrency} in flight, {case[0]}", rate, "items/s",
                      note=f", {median_of(runs[case], 'cpu_us'):.0f} us CPU each, {median_of(runs[case], 'memory'):.0f} MiB")
            if case != cases[0]:
                table.row("  time of an item / with one name", alone / rate, "", 1.5)
