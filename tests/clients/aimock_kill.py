#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""2,000 prompts through a model server that is not ours (npm @copilotkit/aimock), 16 at a
time, while the runner is killed with SIGKILL at ten random moments. All complete, each has
one set of outputs, and the server's journal shows that nothing was sent again whose result
had been committed, and that a kill costs at most the requests that were in flight.

The seed of the moments is printed; GENRUN_SEED repeats a run.
"""
import json
import os
import random
import re
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import aimock
import tap

PROMPTS = 2000
CONCURRENCY = 16
KILLS = 10
LONGEST_LIFE_S = 1.2  # of a runner until it is killed
CHUNK_PAUSE_MS = 10  # with the chunks below an answer takes about 80 ms

CONFIG = """\
[scheduler]
concurrency = %d
max_crashes = 1000

[model mock]
provider = openai
base_url = http://127.0.0.1:%d/v1
"""


def item(number):
    """What makes a prompt unique; the stop keeps item-1 out of item-10."""
    return f"item-{number:04d}."


def fixtures():
    return [{"match": {"userMessage": item(n)}, "response": {"content": f"the answer to {item(n)} in a few words"},
             "latency": CHUNK_PAUSE_MS, "chunkSize": 7} for n in range(PROMPTS)]


class Kill:
    """What was true when a runner had just died."""

    def __init__(self, place, server):
        self.sent = server.requests_so_far()
        self.completed = {row[0] for row in place.sql(
            "SELECT custom_id FROM generations WHERE status = 'completed'")}
        self.in_flight = place.value("SELECT count(*) FROM generations WHERE status = 'processing'")


def run_with_kills(place, server, moments):
    kills = []
    for number in range(KILLS):
        runner = place.start("run", "--no-http")
        time.sleep(moments.uniform(0.05, LONGEST_LIFE_S))  # the random moment is the test
        tap.ok(runner.running, f"runner {number + 1} lives until it is killed", lambda r=runner: r.err)
        runner.kill()
        kill = Kill(place, server)
        kills.append(kill)
        tap.note(f"kill {number + 1}: {len(kill.completed)} completed, {kill.in_flight} in flight, "
                 f"{kill.sent} requests so far")
    return kills


def check_journal(server, kills):
    messages, statuses = server.journal()
    asked = [re.search(r"item-\d+\.", message).group(0) for message in messages]
    tap.equal(statuses, {200}, "the server refused nothing")
    tap.equal(sorted(set(asked) ^ {item(n) for n in range(PROMPTS)}), [], "each prompt was sent, and no other")
    again = [(number + 1, name) for number, kill in enumerate(kills)
             for name in asked[kill.sent:] if name in kill.completed]
    tap.equal(again, [], "nothing was sent again whose result had been committed")
    bounds = [0] + [kill.sent for kill in kills] + [len(asked)]
    seen, twice = set(), []
    for start, end in zip(bounds, bounds[1:]):  # the life of one runner
        twice.append(0)
        for name in asked[start:end]:
            twice[-1] += name in seen
            seen.add(name)
    tap.equal(twice[0], 0, "nothing is sent twice before the first kill")
    # summed up, as what one kill interrupted may wait for its turn until after the next
    lost = [sum(kill.in_flight for kill in kills[:n]) for n in range(KILLS + 1)]
    tap.ok(all(sum(twice[:n + 1]) <= lost[n] for n in range(KILLS + 1)),
           f"only what was in flight at a kill, at most {CONCURRENCY}, is sent again",
           lambda: f"sent again in each life: {twice}\nin flight at the kills so far: {lost}")
    tap.equal(len(asked), PROMPTS + sum(twice), "all requests are accounted for")
    tap.note(f"sent again after the kills: {twice[1:]}")


def check_database(place, batch):
    tap.equal(place.sql("SELECT status, count(*) FROM generations GROUP BY status"), [("completed", PROMPTS)],
              f"{PROMPTS} completed")
    tap.equal(place.sql("SELECT g.custom_id, count(o.id) FROM generations g LEFT JOIN outputs o "
                        "ON o.generation_id = g.id GROUP BY g.id HAVING count(o.id) <> 1"), [],
              "one set of outputs each")
    tap.equal(place.value("SELECT count(*) FROM outputs"), PROMPTS, "no output without its generation")
    tap.equal(place.value("SELECT count(*) FROM outputs WHERE partial <> 0"), 0, "no output is a part")
    tap.equal(place.sql("SELECT g.custom_id FROM generations g JOIN outputs o ON o.generation_id = g.id "
                        "WHERE instr(o.content, 'the answer to ' || g.custom_id || ' in a few words') = 0"), [],
              "each output answers its own prompt")
    tap.equal(place.sql("SELECT status, total_items, completed_items, successful_items, failed_items, "
                        "cancelled_items, queued_items, processing_items FROM batch_jobs WHERE id = ?", batch),
              [("completed", PROMPTS, PROMPTS, PROMPTS, 0, 0, 0, 0)], "the batch counts them")
    tap.equal(place.value("SELECT count(*) FROM (SELECT 1 FROM logs WHERE event = 'generation.completed' "
                          "GROUP BY generation_id)"), PROMPTS, "each completion is in the log")
    tap.equal(place.value("SELECT count(*) FROM logs WHERE event = 'generation.completed'"), PROMPTS,
              "and none is there twice")


def test_kill_at_random_moments(place):
    seed = int(os.environ.get("GENRUN_SEED") or random.SystemRandom().randrange(1 << 32))
    tap.note(f"GENRUN_SEED={seed}")
    aimock.install()
    with aimock.Server(place, fixtures()) as server:
        place.configure(CONFIG % (CONCURRENCY, server.port))
        lines = [json.dumps({"custom_id": item(n), "prompt": f"Please answer {item(n)}", "model": "mock"})
                 for n in range(PROMPTS)]
        place.write("prompts.jsonl", "\n".join(lines) + "\n")
        r = place.run("batch", "submit", "prompts.jsonl")
        if not tap.result(r, 0, "the batch is taken"):
            return
        batch = r.id
        kills = run_with_kills(place, server, random.Random(seed))
        tap.ok(len(kills[-1].completed) < PROMPTS, "work was left at every kill")
        tap.ok(any(kill.in_flight > 0 for kill in kills), "a kill hit work in flight")
        tap.ok(all(kill.in_flight <= CONCURRENCY for kill in kills), "never more in flight than configured")
        r = place.run("run", "--drain", "--no-http", timeout_s=180)
        tap.result(r, 0, "the last runner completes the rest")
        check_database(place, batch)
        check_journal(server, kills)


tap.main(globals())
