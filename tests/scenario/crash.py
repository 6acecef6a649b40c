#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Work that takes the runner down: quarantined when it did so alone; no bystander is ever condemned."""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap
from genrun import wait_until

FAULTS = {"GENRUN_ECHO_FAULTS": "1"}


def configure(place, concurrency):
    place.configure(f"[genrun]\ndefault_model = echo\n[scheduler]\nconcurrency = {concurrency}\nmax_crashes = 3\n")


def submit_batch(place, lines):
    """Returns the batch's id."""
    place.write("items.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    r = place.run("batch", "submit", "items.jsonl")
    if r.code != 0:
        raise RuntimeError(f"batch submit failed\n{r}")
    return r.id


def supervise(place, most):
    """Restarts `run --drain` as a service manager would, until it ends by itself. Returns the ends before that."""
    ends = []
    while len(ends) <= most:
        runner = place.start("run", "--drain", env=FAULTS)
        runner.wait(60)
        if runner.process.returncode >= 0:
            return ends, runner
        ends.append(runner.process.returncode)
    raise RuntimeError(f"more than {most} runners died: {ends}")


def row(place, custom_id):
    return place.sql("SELECT status, starts, attempts, error_type, error_message, id FROM generations WHERE custom_id = ?",
                     custom_id)[0]


def judge_batch(place, batch, others, name):
    b = place.run("batch", "show", batch, "--json").json
    tap.equal((b["successfulItems"], b["failedItems"], b["queuedItems"], b["processingItems"], b["status"]),
              (others, 1, 0, 0, "completed"), f"{name}: the rest of the batch is completed, one failed")
    tap.equal(place.sql("SELECT status, count(*) FROM generations WHERE custom_id <> 'bomb' GROUP BY 1"),
              [("completed", others)], f"{name}: no neighbour is condemned")
    tap.equal(place.value("SELECT count(*) FROM outputs WHERE NOT partial"), others, f"{name}: each with one output")


def judge_bomb(place, name):
    status, starts, _, kind, message, id = row(place, "bomb")
    tap.equal((status, kind), ("failed", "RunnerCrashError"), f"{name}: what crashes is quarantined as RunnerCrashError")
    tap.matches(message, r"died 3 times while this ran alone.*: ", f"{name}: the message says what happened and what to do")
    context = place.show(id)["parameters"]["errorContext"]
    tap.equal((context["type"], context["message"]), ("RunnerCrashError", message), f"{name}: so does errorContext")
    tap.equal(place.value("SELECT count(*) FROM logs WHERE event = 'generation.recovered' AND generation_id = ?", id), starts - 1,
              f"{name}: each earlier crash is in the log")
    return starts


def test_alone(place):
    configure(place, 1)
    batch = submit_batch(place, [{"custom_id": f"a{i}", "prompt": "x"} for i in range(3)] +
                         [{"custom_id": "bomb", "prompt": "x", "crash": True}] +
                         [{"custom_id": f"b{i}", "prompt": "x"} for i in range(5)])
    ends, last = supervise(place, 3)
    tap.equal((ends, last.process.returncode), ([-9] * 3, 1), "three runners die, the fourth ends its drain with 1")
    tap.equal(judge_bomb(place, "concurrency 1"), 3, "it was started max_crashes times")
    judge_batch(place, batch, 8, "concurrency 1")
    # By hand it gets its chance again.
    id = row(place, "bomb")[5]
    tap.equal(place.run("retry", id).code, 0, "retry takes it back")
    ends, last = supervise(place, 3)
    tap.equal((ends, row(place, "bomb")[:2]), ([-9] * 3, ("failed", 6)), "with the count of crashes anew, and starts going on")


def test_in_company(place):
    configure(place, 4)
    batch = submit_batch(place, [{"custom_id": f"a{i}", "prompt": "x", "delay": 30 + 17 * i % 60} for i in range(20)] +
                         [{"custom_id": "bomb", "prompt": "x", "crash": True, "delay": 40}] +
                         [{"custom_id": f"b{i}", "prompt": "x", "delay": 30 + 13 * i % 60} for i in range(20)])
    ends, last = supervise(place, 5)
    tap.ok(3 <= len(ends) <= 5 and last.process.returncode == 1, "3 to 5 runners die, the next ends its drain with 1",
           f"{ends} {last.process.returncode}")
    starts = judge_bomb(place, "concurrency 4")
    tap.equal(starts, len(ends), "each death was a start of it")
    judge_batch(place, batch, 40, "concurrency 4")
    # A suspect's trials come when the others are done: they were not held up by it.
    ended = place.value("SELECT max(completed_at) FROM generations WHERE status = 'completed' AND custom_id <> 'bomb'")
    failed = place.value("SELECT completed_at FROM generations WHERE custom_id = 'bomb'")
    tap.ok(ended <= failed, "the rest of the batch completed meanwhile", f"{ended} {failed}")


def test_suspects_that_wait(place):
    """What was in flight in two crashes is told of like all other work: paused, left, cancelled with its batch."""
    configure(place, 4)
    batch = submit_batch(place, [{"custom_id": f"{i}", "prompt": "x", "delay": 60000} for i in range(6)])
    for _ in range(2):
        runner = place.start_runner()
        wait_until(lambda: place.value("SELECT count(*) FROM generations WHERE status = 'processing'") == 4, 10, "four in flight")
        runner.kill()
    tap.equal(place.start_runner().stop(), 0, "the next runner takes them back")
    tap.equal(place.run("batch", "pause", batch).code, 0, "their batch is paused")
    r = place.run("run", "--drain", "--json")
    tap.equal((r.code, r.jsonl), (5, [{"reason": "its batch job is paused: paused by hand", "modelId": "echo", "count": 6}]),
              "a drain tells that all six wait for that")
    tap.equal(place.run("models", "--json").jsonl[0]["queued"], 6, "models counts all of them")
    tap.equal(place.run("batch", "cancel", batch).code, 0, "their batch is cancelled")
    tap.equal(place.run("run", "--drain").code, 0, "nothing is left")
    tap.equal(place.sql("SELECT status, count(*) FROM generations GROUP BY 1"), [("cancelled", 6)], "all six are cancelled")


tap.main(globals())
