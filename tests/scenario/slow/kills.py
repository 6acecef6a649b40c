#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""64 items of some time each and kill -9 at random moments, from outside: whoever is in flight is innocent,
so nobody may be condemned, however often a runner dies. SEED repeats the draws."""
import json
import os
import random
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "lib"))
import tap
from genrun import wait_until

SEED = int(os.environ.get("SEED", "0")) or random.randrange(1, 10**6)
ITEMS, KILLS = 64, 10


def statuses(place):
    return dict(place.sql("SELECT status, count(*) FROM generations GROUP BY 1"))


def run(place, concurrency, length_ms):
    name = f"concurrency {concurrency}, items of {length_ms} ms"
    tap.note(f"{name}: SEED={SEED}")
    rng = random.Random(SEED)
    place.configure(f"[genrun]\ndefault_model = echo\n[scheduler]\nconcurrency = {concurrency}\nmax_crashes = 3\n")
    place.write("items.jsonl", "".join(json.dumps({"custom_id": f"{i}", "prompt": f"item {i}", "delay": length_ms, "chunks": 4}) + "\n"
                                       for i in range(ITEMS)))
    batch = place.run("batch", "submit", "items.jsonl").id
    hits = suspects = 0
    for _ in range(KILLS):
        runner = place.start_runner()
        wait_until(lambda: {"processing"} & set(statuses(place)) or set(statuses(place)) == {"completed"}, 30, "work in flight")
        time.sleep(rng.uniform(0, length_ms / 2000))  # the moment of the kill is what is tried; before all have ended
        runner.kill()
        hits += statuses(place).get("processing", 0) > 0
        suspects = max(suspects, place.value("SELECT count(*) FROM generation WHERE suspect = 1"))
    tap.ok(hits >= KILLS / 2, f"{name}: most kills hit work in flight", f"{hits} of {KILLS}")
    tap.note(f"{name}: {hits} of {KILLS} kills hit, {suspects} suspects at most")
    r = place.run("run", "--drain", timeout_s=300)
    tap.equal(r.code, 0, f"{name}: the last runner completes the rest")
    b = place.run("batch", "show", batch, "--json").json
    tap.equal((b["status"], b["successfulItems"], b["failedItems"]), ("completed", ITEMS, 0), f"{name}: nobody is condemned")
    outputs = place.sql("SELECT g.prompt, o.content FROM generations g JOIN outputs o ON o.generation_id = g.id WHERE NOT o.partial")
    tap.equal(sorted(outputs), sorted((f"item {i}",) * 2 for i in range(ITEMS)), f"{name}: one output each, the right one")
    tap.equal(place.value("SELECT count(*) FROM logs WHERE event IN ('generation.failed', 'generation.cancelled')"), 0,
              f"{name}: no failure in the log")


def test_all_in_flight(place):
    """Every item is in flight at each death: all become suspects and run alone, one by one."""
    run(place, ITEMS, 400)


def test_some_in_flight(place):
    run(place, 8, 500)


def test_few_in_flight(place):
    """Nearly alone in flight at each death."""
    run(place, 2, 150)


tap.main(globals())
