#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Servers that refuse, limit, redirect or are not there: what waits, what is parked, and how it goes on. And
keys: whatever happens, they are nowhere but in the request."""
import json
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap
from genrun import wait_until
from server import Server

WRONG, RIGHT = "sk-wrong-4f1d2c7a9be0", "sk-right-93ab55d07c21"
CONFIG = """
[genrun]
default_model = m
log_level = debug
[scheduler]
concurrency = {concurrency}
max_attempts = {attempts}
backoff_min = 10ms
backoff_max = 50ms
max_wait = {wait}
[model m]
base_url = {url}
"""


def configure(place, server, more="", concurrency=2, attempts=2, wait="7d"):
    place.configure(CONFIG.format(url=server.url, concurrency=concurrency, attempts=attempts, wait=wait) + more)


def submit_batch(place, count):
    place.write("items.jsonl", "".join(json.dumps({"custom_id": f"{i}", "prompt": f"item {i}"}) + "\n" for i in range(count)))
    r = place.run("batch", "submit", "items.jsonl")
    if r.code != 0:
        raise RuntimeError(f"batch submit failed\n{r}")
    return r.id


def counts(place):
    return dict(place.sql("SELECT status, count(*) FROM generations GROUP BY 1"))


def model(place):
    return next(m for m in place.run("models", "--json").jsonl if m["name"] == "m")


def wait_state(place, state):
    wait_until(lambda: place.value("SELECT state FROM model_state WHERE model_id = 'm'") == state, 10, f"the model {state}")


def files_with(place, secret, besides=()):
    """Every file of the folder (database, logs, outputs of commands) that has the secret in it."""
    found = []
    for name in sorted(os.listdir(place.folder)):
        with open(place.path(name), "rb") as f:
            if name not in besides and secret.encode() in f.read():
                found.append(name)
    return found


def proc(runner, what):
    with open(f"/proc/{runner.pid}/{what}", "rb") as f:
        return f.read().decode(errors="replace")


def check_key(x):
    """A server that wants the right key, and repeats the wrong one in its error, as some do."""
    key = (x.header("authorization") or "").removeprefix("Bearer ")
    if key == RIGHT:
        x.chat(x.prompt)
    else:
        x.error(401, f"Incorrect API key provided: {key}. You can find your key at …", code="invalid_api_key",
                type="invalid_request_error", headers={"X-Request-Id": f"req-{key}"})


def test_wrong_key(place):
    with Server(check_key) as server:
        configure(place, server, f"api_key_file = {place.path('key')}\n")
        place.write("key", WRONG + "\n")
        submit_batch(place, 6)
        runner = place.start_runner()
        wait_state(place, "parked")
        wait_until(lambda: counts(place) == {"queued": 6}, 10, "all back in the queue")
        sent = server.count
        tap.ok(sent <= 2, "a 401 parks the model: nothing more is sent than what was in flight", sent)
        tap.equal(place.sql("SELECT DISTINCT attempts FROM generations"), [(0,)], "no attempt is spent")
        m = model(place)
        tap.ok(m["state"] == "parked" and m["until"] is None and "Incorrect API key" in m["reason"], "models tells that, and why", m)
        parked = json.loads(place.run("stats", "--json").out)["parkedModels"]
        tap.ok(len(parked) == 1 and parked[0]["name"] == "m", "so does stats", parked)
        events = place.sql("SELECT event, level FROM logs WHERE event LIKE '%.parked' GROUP BY 1")
        tap.equal(sorted(e for e, _ in events), ["generation.parked", "model.parked"], "so does the log")
        tap.equal(runner.err.count("model m is parked, its work waits: "), 1, "so does the runner, once")
        place.submit("one more")
        wait_until(lambda: counts(place) == {"queued": 7}, 5, "one more")
        tap.equal(place.run("run", "--drain").code, 5, "another runner is refused, this one goes on")
        # The key is fixed, a person resumes the model.
        place.write("key", RIGHT + "\n")
        tap.equal(server.count, sent, "by itself it sends nothing")
        tap.error_line(place.run("models", "resume", "mm"), 4, "not known", "models resume of another name: 4")
        r = place.run("models", "resume", "m")
        tap.equal((r.code, r.out), (0, "m ok\n"), "models resume")
        wait_until(lambda: counts(place) == {"completed": 7}, 10, "all of them")
        tap.equal(server.count - sent, 7, "all complete, each sent once more")
        tap.equal(place.sql("SELECT DISTINCT attempts FROM generations"), [(1,)], "with one attempt")
        tap.equal(model(place)["state"], "ok", "the model is ok")
        tap.equal(runner.err.count("model m is sent to again"), 1, "the runner says so")
        arguments = proc(runner, "cmdline")
        tap.equal(runner.stop(), 0, "the runner ends with 0")
        for name, key in (("wrong", WRONG), ("right", RIGHT)):
            tap.equal(files_with(place, key, ("key",)), [], f"the {name} key is in no database, log or output")
            tap.lacks(arguments, key, f"nor in the arguments ({name})")
        for args in (("logs", "--limit", "1000"), ("list",), ("models",), ("logs", "--json")):
            out = place.run(*args)
            tap.ok(WRONG not in out.out + out.err, f"nor does {args[0]} show it", out)


def test_key_of_the_environment(place):
    """Where the key is a variable it is fixed by a restart, which gives a parked model one try."""
    with Server(check_key) as server:
        configure(place, server, "api_key_env = MODEL_KEY\n")
        ids = [place.submit(f"item {i}") for i in range(3)]
        r = place.run("run", "--drain", "--drain-wait", "1s")
        tap.ok(r.code == 5 and "set the environment variable MODEL_KEY" in r.out, "a variable that is not set parks, and the reason names it", r)
        tap.equal(server.count, 0, "nothing was sent")
        r = place.run("run", "--drain", "--drain-wait", "1s", env={"MODEL_KEY": WRONG})
        tap.ok(r.code == 5 and "Incorrect API key" in r.out and WRONG not in r.out + r.err, "a wrong key parks, unnamed", r)
        tap.equal(server.count, 1, "after one try")
        tap.equal(place.run("run", "--drain", env={"MODEL_KEY": RIGHT}).code, 0, "a new runner with the right key completes all")
        tap.equal([place.status(id) for id in ids], ["completed"] * 3, "each of them")
        tap.equal(files_with(place, WRONG) + files_with(place, RIGHT), [], "no key in any file")


def test_parked_for_too_long(place):
    with Server(lambda x: x.error(402, "Your credit balance is too low")) as server:
        configure(place, server, wait="1s")
        id = place.submit("x")
        runner = place.start_runner()
        wait_state(place, "parked")
        place.wait_status(id, "failed")
        row = place.show(id)
        tap.equal((row["parameters"]["errorContext"]["type"], row["attempts"]), ("DeadlineError", 0), "after max_wait: DeadlineError")
        tap.contains(row["errorMessage"], "credit balance", "with the reason it waited for")
        tap.equal(runner.stop(), 0, "the runner goes on")


def test_server_down(place):
    with Server(listening=False) as server:
        configure(place, server, attempts=3)
        submit_batch(place, 10)
        runner = place.start_runner()
        wait_state(place, "parked")
        wait_until(lambda: counts(place) == {"queued": 10}, 10, "all back in the queue")
        m = model(place)
        tap.ok("cannot be reached" in m["reason"] and m["until"], "connection refused: parked, with a time to try again", m)
        tap.ok(place.value("SELECT sum(attempts) FROM generations") <= 3, "a few attempts are spent, not more",
               place.sql("SELECT attempts FROM generations"))
        starts = place.value("SELECT sum(starts) FROM generations")
        tap.ok(starts <= 6, "and few starts", starts)
        server.listen()
        since = time.monotonic()
        wait_until(lambda: counts(place) == {"completed": 10}, 20, "all of them")
        tap.note(f"it went on {time.monotonic() - since:.1f} s after the server came up")
        tap.equal((server.count, model(place)["state"]), (10, "ok"), "the server comes up: all complete by themselves, each sent once")
        tap.equal(runner.stop(), 0, "the runner ends with 0")


def test_rate_limit(place):
    def script(x):
        if x.number <= 2:
            x.error(429, "Rate limit reached for requests", {"Retry-After": "1"}, code="rate_limit_exceeded")
        else:
            x.chat(x.prompt)

    with Server(script) as server:
        configure(place, server, attempts=1, concurrency=1)
        ids = [place.submit(f"item {i}") for i in range(3)]
        runner = place.start_runner()
        wait_state(place, "cooling")
        m = model(place)
        tap.ok("Rate limit" in m["reason"] and m["until"], "429: the model cools down, models tells until when and why", m)
        for id in ids:
            place.wait_status(id, "completed")
        gaps = [b.at - a.at for a, b in zip(server.requests, server.requests[1:])]
        tap.ok(gaps[0] >= 0.95 and gaps[1] >= 0.95, "Retry-After: 1 is waited for, each time", gaps)
        rows = place.sql("SELECT attempts, starts FROM generations ORDER BY created_at, id")
        tap.equal((sorted(rows), server.count), ([(1, 1), (1, 1), (1, 3)], 5), "with max_attempts = 1: no attempt was spent for it")
        tap.equal(place.value("SELECT count(*) FROM logs WHERE event = 'generation.retrying'"), 2, "the log has each refusal")
        tap.equal(runner.stop(), 0, "the runner ends with 0")


def test_streaming_refused(place):
    def script(x):
        if "stream" in x.json or "stream_options" in x.json:
            x.error(400, "Unsupported parameter: stream_options", param="stream_options")
        else:
            x.chat(x.prompt)

    with Server(script) as server:
        configure(place, server, attempts=1, concurrency=1)
        first, second = place.submit("first"), place.submit("second")
        tap.equal(place.run("run", "--drain").code, 0, "a 400 that names stream: it goes on unstreamed")
        rows = [place.show(id) for id in (first, second)]
        tap.equal([(r["status"], r["attempts"], r["starts"]) for r in rows], [("completed", 1, 2), ("completed", 1, 1)],
                  "no attempt is spent, the second one asks unstreamed at once")
        third = place.submit("third")
        tap.equal(place.run("run", "--drain").code, 0, "another runner")
        tap.equal((place.status(third), server.count), ("completed", 4), "remembers it")
        tap.equal([x.prompt for x in server.requests], ["first", "first", "second", "third"], "in this order")


def test_redirect(place):
    with Server() as other, Server(lambda x: x.answer(307, "", {"Location": other.url + "/chat/completions"})) as server:
        configure(place, server, "api_key_env = MODEL_KEY\n", attempts=1)
        id = place.submit("x")
        r = place.run("run", "--drain", env={"MODEL_KEY": RIGHT})
        tap.equal((server.count, other.connections), (1, 0), "a redirect is not followed")
        tap.ok(r.code == 5 and "base_url" in r.out, "the model is parked, and the reason says what to set", r)
        tap.equal((place.status(id), place.show(id)["attempts"]), ("queued", 0), "its work waits for that")
        tap.equal(files_with(place, RIGHT), [], "no key in any file")


tap.main(globals())
