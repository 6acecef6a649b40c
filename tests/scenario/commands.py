#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A local program as the model, which succeeds, fails, hangs, forks, floods and ignores signals as a seed draws it:
every item comes to its right end, none is ever started while something of its former start lives, and nothing stays,
also when the runner is killed again and again. SEED repeats the draws.

    tests/scenario/commands.py [NAME …]    ITEMS, KILLS and CONCURRENCY in the environment make it longer
"""
import json
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import model
import shell
import tap
from genrun import wait_until

SEED = int(os.environ.get("SEED", "0")) or random.randrange(1, 10**6)
ITEMS, KILLS = int(os.environ.get("ITEMS", "200")), int(os.environ.get("KILLS", "4"))
CONCURRENCY = int(os.environ.get("CONCURRENCY", "8"))
MOST_ATTEMPTS = 2
CONFIG = """
[genrun]
default_model = m
max_output = 200K
[scheduler]
concurrency = {concurrency}
max_attempts = {attempts}
max_crashes = 1000
backoff_min = 10ms
backoff_max = 20ms
shutdown_grace = {grace}
[model m]
command = ./model.sh
on_exit.9 = fail
[model hasty]
command = ./model.sh
first_byte_timeout = 400ms
[model lively]
command = ./model.sh
first_byte_timeout = 1300ms
progress_timeout = 1300ms
[model json]
command = ./model.sh
output = json
"""


def done(output="answer {item}\n", attempts=1, **more):
    return {"status": "completed", "type": None, "attempts": attempts, "output": output, **more}


def failed(kind, attempts, says):
    return {"status": "failed", "type": kind, "attempts": attempts, "says": says}


# kind: how often it is drawn, its model, how it must end
KINDS = {
    "ok": (12, "m", done()),
    "unread": (5, "m", done()),
    "exit1": (4, "m", failed("CommandError", MOST_ATTEMPTS, "exit status 1 of model.sh: no luck with {item}")),
    "exit9": (3, "m", failed("CommandError", 1, "exit status 9 of model.sh")),
    "exit64": (3, "m", failed("InvalidRequestError", 1, "exit status 64 of model.sh")),
    "exit75": (2, "m", failed("CommandError", MOST_ATTEMPTS, "exit status 75 of model.sh")),
    "once": (4, "m", done(attempts=2)),
    "segv": (3, "m", failed("CommandError", MOST_ATTEMPTS, "killed by signal 11")),
    "kill": (2, "m", failed("CommandError", MOST_ATTEMPTS, "killed by signal 9")),
    "hang": (3, "hasty", failed("TimeoutError", MOST_ATTEMPTS, "first_byte_timeout")),
    "deaf": (3, "hasty", failed("TimeoutError", MOST_ATTEMPTS, "first_byte_timeout")),
    "tree": (3, "hasty", failed("TimeoutError", MOST_ATTEMPTS, "first_byte_timeout")),
    "fork": (4, "m", done()),
    "daemon": (4, "m", done()),
    "zombie": (2, "m", done()),
    "big": (3, "m", done("x" * 150000)),
    "flood": (3, "m", failed("InvalidRequestError", 1, "max_output")),
    "noise": (2, "m", done()),
    "both": (2, "m", done("x" * 150000)),
    "closed": (2, "m", done("")),
    "lines": (2, "lively", done()),
    "usage": (3, "json", done("answer {item}", tokens=(3, 5))),
    "refusal": (3, "json", failed("InvalidRequestError", 1, "not this one")),
    "garbage": (2, "json", failed("ModelGenerationError", MOST_ATTEMPTS, "no JSON")),
}


def configure(place, concurrency=CONCURRENCY, grace="500ms"):
    place.configure(CONFIG.format(concurrency=concurrency, attempts=MOST_ATTEMPTS, grace=grace))
    model.install(place)


def line_of(item, kind, model_id):
    prompt = "a long one " * 30000 if kind in ("unread", "big", "closed") else "a prompt"
    # Without spaces, as the script reads it.
    return json.dumps({"custom_id": item, "prompt": prompt, "model": model_id or KINDS[kind][1], "kind": kind, "item": item},
                      separators=(",", ":"))


def submit(place, kinds, model_id=None):
    """A batch of items (name -> kind), each for its model unless that is given; returns its id."""
    place.write("items.jsonl", "".join(line_of(item, kind, model_id) + "\n" for item, kind in kinds.items()))
    r = place.run("batch", "submit", "items.jsonl")
    if r.code != 0:
        raise RuntimeError(f"batch submit failed\n{r}")
    return r.id


def draw(rng, count):
    """Every kind once, and then by its weight, in any order."""
    names, weights = list(KINDS), [weight for weight, _, _ in KINDS.values()]
    kinds = names[:count] + rng.choices(names, weights, k=max(0, count - len(names)))
    rng.shuffle(kinds)
    return {f"{kind}-{number}": kind for number, kind in enumerate(kinds)}


def judge(place, kinds):
    """What does not fit, one line each."""
    wrong = []
    outputs = dict(place.sql("SELECT generation_id, content FROM outputs WHERE NOT partial"))
    begun = model.starts(place)
    for id, item, status, type_, attempts, starts, message, tokens_in, tokens_out in place.sql(
            "SELECT id, custom_id, status, error_type, attempts, starts, error_message, input_tokens, output_tokens FROM generations"):
        end = dict(KINDS[kinds[item]][2])
        if kinds[item] == "once" and starts > attempts == 1:
            end["attempts"] = 1  # its failure was not stored yet when the runner was killed
        got = {"status": status, "type": type_, "attempts": attempts}
        output = outputs.get(id)
        wrong += [f"{item}: {key} is {value}, expected {end[key]}: {message}" for key, value in got.items() if end[key] != value]
        if status == "completed" and output != end.get("output", "").format(item=item):
            wrong.append(f"{item}: its output is {output and output[:60]!r} ({output and len(output)})")
        if status == "failed" and end.get("says", "").format(item=item) not in (message or ""):
            wrong.append(f"{item}: its message is {message!r}")
        if end.get("tokens", (tokens_in, tokens_out)) != (tokens_in, tokens_out):
            wrong.append(f"{item}: its tokens are {tokens_in}, {tokens_out}")
        # A start is counted before it is made: a kill in between leaves one that never was.
        if not attempts <= begun.get(item, 0) <= starts:
            wrong.append(f"{item}: started {begun.get(item, 0)} times, starts {starts}, attempts {attempts}")
    return wrong


def check_quiet(place, name):
    """Nothing of what the runners started lives."""
    left = model.processes(place)
    tap.equal(left, set(), f"{name}: no process is left, by mark, group, session and lock")
    tap.equal(model.lines(place, "doubles"), [], f"{name}: nothing was started while something of its former start lived")
    model.end_all(place)


def statuses(place):
    return dict(place.sql("SELECT status, count(*) FROM generations GROUP BY 1"))


def check_ends(place, batch, kinds, runner, name):
    wrong = judge(place, kinds)
    tap.ok(not wrong, f"{name}: every item is at its right end", "\n".join(wrong[:20]))
    good = sum(KINDS[kind][2]["status"] == "completed" for kind in kinds.values())
    shown = place.run("batch", "show", batch, "--json").json
    tap.equal((shown["status"], shown["successfulItems"], shown["failedItems"]), ("completed", good, len(kinds) - good),
              f"{name}: the batch job counts them")
    tap.equal(runner.code, 1, f"{name}: the drain tells that some failed")
    tap.equal(shell.drift(place), [], f"{name}: nothing has drifted in the database")


def test_batch(place):
    rng = random.Random(SEED)
    tap.note(f"SEED={SEED}: {ITEMS} items, {KILLS} kills, concurrency {CONCURRENCY}")
    configure(place)
    kinds = draw(rng, ITEMS)
    batch = submit(place, kinds)
    hits = 0
    for kill in range(KILLS):
        runner = place.start_runner()
        wanted = len(model.lines(place, "ledger")) + rng.randint(1, max(2, ITEMS // (KILLS + 2)))
        wait_until(lambda: len(model.lines(place, "ledger")) >= wanted or not {"queued", "processing"} & set(statuses(place)), 60,
                   f"{wanted} starts")
        runner.kill()
        hits += len(model.processes(place)) > 0
    tap.ok(hits > 0, f"the kills left processes, {hits} of {KILLS}")
    r = place.run("run", "--drain", timeout_s=280)
    check_quiet(place, "batch")
    check_ends(place, batch, kinds, r, "batch")
    told = place.sql("SELECT generation_id IS NOT NULL, level, json_extract(data, '$.pid') > 1, json_extract(data, '$.program') <> '' "
                     "FROM logs WHERE event = 'process.killed'")
    tap.ok(told and all(row[1:] == ("warn", 1, 1) for row in told) and any(row[0] for row in told),
           "the log tells of each process that a dead runner had left", told)


def wait_held(place, *items):
    """Until all run, and have started what they start."""
    wait_until(lambda: set(items) <= set(model.starts(place)) and all(model.held(place, i) for i in items), 20, f"{items} at work")


def test_cancel(place):
    configure(place)
    submit(place, {"tree": "tree", "deaf": "deaf"} | {f"typed-{kind}": kind for kind in ("tree", "deaf")} | {"batch": "hang"}, "m")
    runner = place.start_runner()
    wait_held(place, "tree", "deaf", "typed-tree", "typed-deaf", "batch")
    ids = dict(place.sql("SELECT custom_id, id FROM generations"))
    tap.equal(place.run("cancel", ids["tree"], ids["deaf"]).code, 0, "two are cancelled by command")
    shell.run(place, "UPDATE generations SET status='cancelled' WHERE custom_id GLOB 'typed-*'")
    wait_until(lambda: not any(model.held(place, i) for i in ids if i != "batch"), 20, "the end of all that they had started")
    tap.ok(model.held(place, "batch"), "the one beside them runs on")
    batch = place.value("SELECT id FROM batch_jobs")
    tap.equal(place.run("batch", "cancel", batch).code, 0, "its batch job is cancelled")
    wait_until(lambda: not model.held(place, "batch"), 20, "its end, too")
    wait_until(lambda: not model.processes(place), 20, "quiet")
    tap.equal(statuses(place), {"cancelled": 5}, "all are cancelled")
    tap.equal(runner.stop(), 0, "the runner ends well")
    check_quiet(place, "cancel")


def test_between_two_runners(place):
    """Cancelled and retried while no runner was up: no row tells any more that they may still run."""
    configure(place)
    submit(place, {"first": "tree", "second": "daemon"}, "m")
    runner = place.start_runner()
    wait_held(place, "first")
    runner.kill()
    tap.ok(model.held(place, "first"), "what a runner started outlives its kill -9")
    id = place.value("SELECT id FROM generations WHERE custom_id = 'first'")
    tap.equal((place.run("cancel", id).code, place.run("retry", id).code), (0, 0), "it is cancelled and retried meanwhile")
    runner = place.start_runner()
    wait_until(lambda: model.starts(place).get("first") == 2, 20, "its second start")
    killed = place.value("SELECT min(id) FROM logs WHERE event = 'process.killed' AND generation_id = ?", id)
    begun = place.value("SELECT max(id) FROM logs WHERE event = 'generation.processing' AND generation_id = ?", id)
    tap.ok(killed and killed < begun, "its first process was ended before it started anew", f"{killed} {begun}")
    tap.equal(place.run("cancel", id).code, 0, "then it is cancelled for good")
    wait_until(lambda: not model.processes(place), 20, "quiet")
    tap.equal(runner.stop(), 0, "the runner ends well")
    check_quiet(place, "between two runners")


def test_without_marks(place):
    """A clean environment, a session of its own and no parent: only the runner that it falls to can know it."""
    configure(place)
    submit(place, {"bare": "bare", "fork": "fork"}, "m")
    tap.equal(place.run("run", "--drain").code, 0, "what let go of them is completed")
    check_quiet(place, "without marks")


def test_clean_ends_cost_no_search(place):
    configure(place)
    submit(place, {"ok": "ok"})
    for _ in range(2):
        tap.equal(place.run("run", "--drain").code, 0, "a drain ends well")
    tap.equal(place.value("SELECT count(*) FROM logs WHERE event GLOB 'process.*'"), 0, "and leaves nothing to the next runner")


def test_stop(place):
    configure(place, grace="5s")
    submit(place, {"short": "short", "hang": "hang", "deaf": "deaf", "tree": "tree"}, "m")
    runner = place.start_runner()
    wait_held(place, "hang", "deaf", "tree")
    place.wait_status(place.value("SELECT id FROM generations WHERE custom_id = 'short'"), "completed")
    # What ends within the grace is no matter of time here: it has ended. The others are to be ended.
    submit(place, {"late": "short"}, "m")
    wait_until(lambda: "late" in model.starts(place), 10, "another short one")
    tap.equal(runner.stop(30), 0, "SIGTERM: the runner ends with 0")
    check_quiet(place, "stop")
    rows = {item: rest for item, *rest in place.sql("SELECT custom_id, status, starts, attempts FROM generations")}
    tap.equal(rows, {"short": ["completed", 1, 1], "late": ["completed", 1, 1], "hang": ["queued", 1, 0], "deaf": ["queued", 1, 0],
                     "tree": ["queued", 1, 0]},
              "what ends within shutdown_grace is completed, the rest goes back without an attempt spent")


tap.main(globals())
