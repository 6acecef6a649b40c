#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A day's work from end to end, by commands alone: keys, priorities, delays, retries, and all that one looks at."""
import json
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap
from genrun import wait_until
from server import Server

CONFIG = """
[genrun]
default_model = m
[scheduler]
concurrency = {concurrency}
max_attempts = 3
backoff_min = 200ms
backoff_max = 10s
heartbeat_interval = 200ms
[model m]
base_url = {url}
price_input = 1
price_output = 10
"""


def configure(place, server, concurrency=1):
    place.configure(CONFIG.format(url=server.url, concurrency=concurrency))


def drain(place, code=0):
    r = place.run("run", "--drain")
    if r.code != code:
        raise RuntimeError(f"the drain ended with {r.code}\n{r}")


def test_same_key(place):
    with Server() as server:
        configure(place, server)
        first = place.submit("pay the bill", "--key", "order-17", "--user", "ann")
        tap.equal(place.submit("pay the bill", "--key", "order-17", "--user", "ann"), first, "the same key gives the first id")
        tap.ok(place.submit("pay the bill", "--key", "order-17", "--user", "bob") != first, "another user's is another one")
        tap.ok(place.submit("pay the bill", "--key", "order-17") not in (first,), "and nobody's")
        tap.error_line(place.run("submit", "pay twice", "--key", "order-17", "--user", "ann"), 5, "order-17",
                       "with another prompt: a conflict that names the key")
        drain(place)
        tap.equal(place.submit("pay the bill", "--key", "order-17", "--user", "ann"), first, "also when it is completed")
        r = place.run("submit", "pay the bill", "--key", "order-17", "--user", "ann", "--wait")
        tap.equal((r.code, r.out), (0, "pay the bill\n"), "--wait gives the first one's output")
        drain(place)
        tap.equal((server.count, place.value("SELECT count(*) FROM generations")), (3, 3), "nothing was stored or sent twice")
        place.write("items.txt", "a\nb\n")
        batch = place.run("batch", "submit", "items.txt", "--key", "nightly").id
        tap.equal(place.run("batch", "submit", "items.txt", "--key", "nightly").id, batch, "batch submit --key likewise")
        tap.equal(place.value("SELECT count(*) FROM batch_jobs"), 1, "there is one batch")


def test_retries_with_backoff(place):
    def script(x):
        if x.number < 3:
            x.error(500, f"internal trouble {x.number}")
        else:
            x.chat("at last")

    with Server(script) as server:
        configure(place, server)
        id = place.submit("x")
        drain(place)
        gaps = [b.at - a.at for a, b in zip(server.requests, server.requests[1:])]
        tap.ok(gaps[0] >= 0.09 and gaps[1] >= 0.19, "two failures: pauses of 100-200 and 200-400 ms", gaps)
        logs = [e for e in place.run("logs", id, "--json").jsonl if e["event"] == "generation.retrying"]
        tap.equal([e["message"] for e in logs], ["HTTP 500: internal trouble 1", "HTTP 500: internal trouble 2"], "the log has each failure's reason")
        waits = [e["data"]["waitMs"] for e in logs]
        tap.ok(100 <= waits[0] <= 200 and 200 <= waits[1] <= 400, "and the pause, which doubles", waits)
        tap.equal([(e["attempt"], e["data"]["httpStatus"], e["data"]["type"]) for e in logs],
                  [(1, 500, "ModelGenerationError"), (2, 500, "ModelGenerationError")], "the attempt, the status, the type")
        text = place.run("logs", id).out
        tap.ok(all(word in text for word in ("internal trouble 1", "generation.retrying", "generation.completed")), "as text, too", text)
        row = place.show(id)
        tap.equal((row["status"], row["attempts"], row["errorMessage"]), ("completed", 3, None), "the third attempt completes it")

    with Server(lambda x: x.error(500, "still down")) as server:
        configure(place, server)
        id = place.submit("y")
        drain(place, 1)
        row = place.show(id)
        tap.equal((row["status"], row["attempts"], server.count), ("failed", 3, 3), "max_attempts failures end it")
        tap.equal(row["errorMessage"], "HTTP 500: still down", "with the last reason")
        tap.ok("500" in row["parameters"]["errorContext"]["stack"], "and where", row["parameters"])


def test_order(place):
    with Server() as server:
        configure(place, server)
        for name, priority in (("low", -10), ("normal 1", 0), ("high", 10), ("normal 2", 0), ("highest", 1000)):
            place.submit(name, "--priority", priority)
        delayed = place.submit("delayed", "--delay", "1500ms", "--priority", "500")
        since = time.monotonic()
        drain(place)
        order = [x.prompt for x in server.requests]
        tap.equal(order[:-1], ["highest", "high", "normal 1", "normal 2", "low"], "higher first, else in the order of submission")
        tap.equal(order[-1], "delayed", "a delayed one runs last, whatever its priority")
        tap.ok(server.requests[-1].at - since > 1.2, "not before its time", server.requests[-1].at - since)
        row = place.show(delayed)
        tap.ok(row["startedAt"] > row["createdAt"], "and show tells when", row)


def test_from_end_to_end(place):
    def script(x):
        if x.prompt == "bad":
            x.error(400, "no such parameter: colour", param="colour", code="unknown_parameter")
        elif x.prompt == "endless":
            x.begin_stream()
            x.event("and so on")
            x.wait_closed()
        else:
            x.chat(f"the answer to {x.prompt}")

    with Server(script) as server:
        configure(place, server, concurrency=4)
        runner = place.start_runner()
        good = place.submit("good", "--user", "ann", "--session", "s1", "--param", "temperature=0.5")
        bad = place.submit("bad", "--user", "ann")
        endless = place.submit("endless", "--user", "bob")
        later = place.submit("later", "--delay", "1h")
        place.wait_status(good, "completed")
        place.wait_status(bad, "failed")
        wait_until(lambda: any(x.prompt == "endless" and x.streaming for x in server.requests), 10, "the stream")

        request = next(x for x in server.requests if x.prompt == "good")
        tap.equal((request.path, request.json["model"], request.json["temperature"]), ("/v1/chat/completions", "m", 0.5),
                  "the request has the model and the parameters")
        r = place.run("output", good)
        tap.equal((r.code, r.out), (0, "the answer to good"), "output prints what the model gave, as it is")
        r = place.run("output", good[-8:], "-o", "answer.txt")
        tap.equal((r.code, place.read("answer.txt")), (0, "the answer to good"), "by the last 8 characters, into a file")
        tap.equal(place.run("output", "ffffffff").code, 4, "of what is not there: 4")

        row = place.show(good)
        tap.equal((row["inputTokens"], row["outputTokens"], row["cost"]), (3, 4, 4.3e-05), "show: tokens and what they cost")
        tap.equal(row["parameters"], {"temperature": 0.5}, "its parameters")
        tap.equal([e["event"] for e in row["events"]], ["generation.queued", "generation.processing", "generation.completed"],
                  "its events")
        text = place.run("show", good).out
        tap.ok("completed" in text and "good" in text and "the answer to good" in text, "as text, too", text)
        row = place.show(bad)
        tap.equal((row["attempts"], row["parameters"]["errorContext"]["type"], row["parameters"]["errorContext"]["userId"]),
                  (1, "InvalidRequestError", "ann"), "a deterministic failure is not tried again")
        tap.contains(row["errorMessage"], "no such parameter: colour", "its message is the server's")

        def ids(*args):
            return [x["id"] for x in place.run("list", "--json", *args).jsonl]

        tap.equal(ids(), [later, endless, bad, good], "list: newest first")
        tap.equal((ids("--status", "failed"), ids("--user", "ann"), ids("--session", "s1")), ([bad], [bad, good], [good]),
                  "by state, user and session")
        tap.equal(ids("--limit", "2"), [later, endless], "a page of two")
        r = place.run("stats", "--json").json
        tap.equal((r["queued"], r["processing"], r["completed"], r["failed"], r["runnerPid"]), (1, 1, 1, 1, runner.pid),
                  "stats: the counts, and who runs")
        wait_until(lambda: place.run("stats", "--json").json["costToday"] > 0, 10, "the next count of what ended")
        r = place.run("stats", "--json").json
        tap.ok(abs(r["costToday"] - 4.3e-05) < 1e-9 and r["completedLastMinute"] == 1, "the cost of today and the throughput, soon after", r)

        r = place.run("cancel", endless, later, "--reason", "enough of it")
        tap.equal(r.code, 0, "cancel of a running and a waiting one")
        wait_until(lambda: all(x.closed_at for x in server.requests if x.prompt == "endless"), 10, "the end of the transfer")
        tap.equal((place.status(endless), place.status(later)), ("cancelled", "cancelled"), "ends the transfer, and both")
        tap.equal(place.show(endless)["parameters"]["cancelledReason"], "enough of it", "with the reason")
        tap.equal(place.run("cancel", endless).code, 0, "once more changes nothing: 0")
        tap.error_line(place.run("cancel", good), 5, "completed", "what is completed stays so: 5, with the state")
        tap.error_line(place.run("retry", good), 5, "completed", "and is not tried again")

        server.script = lambda x: x.chat("better now")
        tap.equal(place.run("retry", bad, endless).code, 0, "retry of a failed and a cancelled one")
        place.wait_status(bad, "completed")
        place.wait_status(endless, "completed")
        row = place.show(bad)
        tap.equal((row["starts"], row["attempts"], row["errorMessage"], row["parameters"]), (2, 1, None, {}),
                  "runs it again, its error is gone, the starts are counted on")
        tap.equal(place.run("output", endless).out, "better now", "and replaces the partial text")
        tap.equal(place.run("retry", "--status", "cancelled", "--dry-run", "--json").json, {"queued": 1, "dryRun": True},
                  "a bulk retry counts first")
        events = [e["event"] for e in place.run("logs", "--json", "--limit", "1000").jsonl]
        tap.equal((events.count("generation.cancelled"), events.count("generation.failed"), events.count("generation.completed"),
                   events[0]), (2, 1, 3, "runner.started"), "logs has all of it")
        tap.equal(runner.stop(), 0, "the runner ends with 0")
        tap.equal(json.loads(place.run("stats", "--json").out)["completed"], 3, "stats without a runner")
        tap.equal((server.count, server.failures), (5, []), "the server was asked as often as told")


def test_batch_from_end_to_end(place):
    def script(x):
        if x.prompt == "refuse":
            x.error(400, "refused")
        else:
            x.chat(x.prompt.upper())

    with Server(script) as server:
        configure(place, server, concurrency=4)
        lines = [{"custom_id": f"r{i}", "method": "POST", "url": "/v1/chat/completions",
                  "body": {"model": "m", "messages": [{"role": "user", "content": "refuse" if i == 5 else f"item {i}"}]}}
                 for i in range(20)]
        place.write("requests.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
        r = place.run("batch", "submit", "requests.jsonl", "--wait")
        tap.ok(r.code == 1, "batch submit --wait runs it here; one item failed: 1", r)
        batch = r.id
        b = place.run("batch", "show", batch, "--json").json
        tap.equal((b["status"], b["totalItems"], b["successfulItems"], b["failedItems"]), ("completed", 20, 19, 1), "batch show")
        results = place.run("batch", "results", batch).jsonl
        tap.equal([x["custom_id"] for x in results], [f"r{i}" for i in range(20) if i != 5], "batch results, in the order of the file")
        tap.equal({x["custom_id"]: x["response"]["body"]["choices"][0]["message"]["content"] for x in results},
                  {f"r{i}": f"ITEM {i}" for i in range(20) if i != 5}, "as OpenAI's lines")
        errors = place.run("batch", "results", batch, "--errors").jsonl
        tap.ok(len(errors) == 1 and errors[0]["custom_id"] == "r5" and errors[0]["response"]["status_code"] == 400,
               "--errors has the failed one", errors)
        items = place.run("batch", "items", batch, "--status", "failed", "--json").jsonl
        tap.equal([(x["itemIndex"], x["customId"]) for x in items], [(5, "r5")], "batch items --status failed")
        tap.equal(server.count, 20, "each was sent once")


tap.main(globals())
