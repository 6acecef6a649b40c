#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""batch: submit files of all kinds, wait, watch, look, pause, resume, cancel, results."""
import json
import os
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap
from genrun import wait_until

OPENAI = "".join(json.dumps({"custom_id": f"c{i}", "method": "POST", "url": "/v1/chat/completions",
                             "body": {"model": "echo", "messages": [{"role": "user", "content": f"prompt {i}"}]}}) + "\n"
                 for i in range(3))
SIMPLE = "".join(json.dumps({"prompt": f"prompt {i}", "custom_id": f"c{i}"}) + "\n" for i in range(3))
PLAIN = "prompt 0\nprompt 1\nprompt 2\n"


def show(place, id):
    return place.run("batch", "show", id, "--json").json


def test_submit(place):
    for name, content in [("a.jsonl", OPENAI), ("b.jsonl", SIMPLE), ("c.txt", PLAIN)]:
        place.write(name, content)
        r = place.run("batch", "submit", name, "--model", "echo", "--user", "ann")
        tap.ok(r.code == 0 and len(r.out) == 37 and r.err == "", f"{name}: the id and nothing else", r)
        o = show(place, r.id)
        tap.equal((o["totalItems"], o["queuedItems"], o["status"], o["name"], o["userId"]), (3, 3, "queued", name, "ann"), f"{name}: as it is stored")
    r = place.run("batch", "submit", "-", "--model", "echo", "--format", "txt", "--name", "piped", input=PLAIN)
    tap.equal(show(place, r.id)["name"], "piped", "from standard input, with a name")
    r = place.run("batch", "submit", "c.txt", "--model", "echo", "--json")
    tap.equal(r.json["totalItems"], 3, "--json gives the row")
    tap.equal(len(place.run("batch", "list", "--json").jsonl), 5, "five are listed")
    tap.equal(place.run("batch", "list").lines[1][:8], r.json["id"][-8:], "newest first, by its tail")


def test_refused_lines(place):
    place.submit("x", "--model", "echo")
    for content, line, pattern in [
        ('{"prompt":"a"}\n{"prompt":\n', 2, ""),
        ('{"prompt":"a","custom_id":"x"}\n{"prompt":"b"}\n{"prompt":"c","custom_id":"x"}\n', 3, "custom_id"),
        ('{"prompt":"a"}\n{"prompt":"b","model":"ecko"}\n', 2, "echo"),
        (b'{"prompt":"a"}\n{"prompt":"\xff"}\n', 2, "UTF-8"),
        ('{"prompt":"a"}\n{"prompt":"\\u0000"}\n', 2, "u0000"),
    ]:
        place.write("bad.jsonl", content)
        r = place.run("batch", "submit", "bad.jsonl", "--model", "echo")
        tap.error_line(r, 2, rf"bad\.jsonl:{line}: .*{pattern}", f"line {line} is refused: {pattern}")
    place.write("empty.jsonl", "")
    tap.error_line(place.run("batch", "submit", "empty.jsonl", "--model", "echo"), 2, "empty", "an empty file")
    tap.equal(place.value("SELECT count(*) FROM generations"), 1, "nothing of them is stored")
    tap.equal(place.run("batch", "list", "--json").out, "", "no batch either")


def test_options(place):
    place.write("p.txt", PLAIN)
    id = place.run("batch", "submit", "p.txt", "--model", "echo", "--concurrency", "2", "--on-error", "stop",
                   "--max-failures", "5%", "--max-cost", "1.5", "--priority", "-3", "--param", "temperature=0.5", "--paused").id
    o = show(place, id)
    tap.equal((o["status"], o["concurrency"], o["onError"], o["maxCost"]), ("paused", 2, "stop", 1.5), "they are stored")
    item = place.run("list", "--batch", id, "--json", "--limit", "1").json
    tap.equal((item["parameters"], item["priority"]), ({"temperature": 0.5}, -3), "also on the items")
    a = place.run("batch", "submit", "p.txt", "--model", "echo", "--key", "k").id
    tap.equal(place.run("batch", "submit", "p.txt", "--model", "echo", "--key", "k").id, a, "the same key gives the first id")
    for name, text in (("other", PLAIN.replace("o", "u", 1)), ("more", PLAIN + "one more\n"), ("less", PLAIN.split("\n")[0] + "\n")):
        place.write("p2.txt", text)
        r = place.run("batch", "submit", "p2.txt", "--model", "echo", "--key", "k")
        tap.error_line(r, 5, "key k was used", f"with {name} lines: 5")


def test_wait(place):
    place.write("p.txt", PLAIN)
    r = place.run("batch", "submit", "p.txt", "--model", "echo", "--wait")
    tap.ok(r.code == 0 and len(r.out) == 37, "--wait: the id on stdout, exit 0", r)
    tap.matches(r.err, r"^p\.txt: 3/3 .*tokens  in \d+\.\ds\n$", "one line of progress at the end")
    tap.equal(show(place, r.id)["status"], "completed", "it is completed")
    r = place.run("-q", "batch", "submit", "p.txt", "--model", "echo", "--wait")
    tap.ok(r.code == 0 and r.err == "", "-q: no progress", r)
    r = place.run("batch", "submit", "p.txt", "--model", "echo", "--wait", "--json")
    tap.equal((r.code, r.json["status"], r.json["successfulItems"]), (0, "completed", 3), "--json: the row at the end")
    place.write("mixed.jsonl", '{"prompt":"a"}\n{"prompt":"b","fail":"InvalidRequestError"}\n')
    r = place.run("batch", "submit", "mixed.jsonl", "--model", "echo", "--wait")
    tap.ok(r.code == 1 and len(r.out) == 37 and "of 2 items 1 failed" in r.err, "one item failed: exit 1 and a line", r)
    r = place.run_pty("batch", "submit", "p.txt", "--model", "echo", "--wait", "--param", "delay=300ms", columns=60)
    tap.ok(r.code == 0 and "[" in r.out and "\x1b[K" in r.out and "3/3" in r.out, "a bar on a terminal", r)
    shown = max((len(part.split("\x1b[K")[0]) for part in r.out.replace("\n", "").split("\r")), default=0)
    tap.ok(shown < 60, "that fits it", shown)


def test_wait_interrupted(place):
    place.write("p.txt", PLAIN)
    r = place.start("batch", "submit", "p.txt", "--model", "echo", "--wait", "--param", "delay=60s")
    wait_until(lambda: len(r.out) == 37 and place.value("SELECT count(*) FROM generations WHERE status='processing'"),
               10, "the id, and the start of the work")
    r.signal(signal.SIGINT)
    tap.equal(r.wait(), 5, "SIGINT ends the wait with 5")
    tap.contains(r.err, "queue", "and tells that the work stays in the queue")
    tap.equal(place.sql("SELECT status, count(*) FROM generations GROUP BY 1"), [("queued", 3)], "and so it is")


def test_items_and_results(place):
    place.write("m.jsonl", '{"prompt":"a","custom_id":"one"}\n{"prompt":"b","custom_id":"two","fail":"InvalidRequestError"}\n'
                           '{"prompt":"c","custom_id":"three"}\n')
    id = place.run("batch", "submit", "m.jsonl", "--model", "echo", "--wait").id
    items = place.run("batch", "items", id, "--json").jsonl
    tap.equal([(i["customId"], i["status"]) for i in items], [("one", "completed"), ("two", "failed"), ("three", "completed")], "items in order")
    tap.equal([i["customId"] for i in place.run("batch", "items", id, "--status", "failed", "--json").jsonl], ["two"], "only the failed")
    r = place.run("batch", "items", id)
    tap.matches(r.lines[0], r"# +GENERATION +STATUS", "as a table")
    tap.equal(len(r.lines), 4, "with a line for each")
    r = place.run("batch", "items", id, "--limit", "2")
    tap.ok(len(r.lines) == 3 and "--after " in r.err, "by pages", r)
    rest = place.run("batch", "items", id, "--json", "--after", r.err.strip().split("--after ")[1]).jsonl
    tap.equal([i["customId"] for i in rest], ["three"], "and the next page")
    r = place.run("batch", "results", id)
    tap.equal([o["custom_id"] for o in r.jsonl], ["one", "three"], "results: the completed ones, in order")
    tap.equal([o["custom_id"] for o in place.run("batch", "results", id, "--errors").jsonl], ["two"], "--errors: the others")
    first = place.run("batch", "results", id, "--format", "openai").jsonl[0]
    tap.equal(first["response"]["status_code"], 200, "--format openai")
    tap.equal(len(place.run("batch", "results", id, "--order", "done").jsonl), 2, "--order done")
    tap.equal((place.run("batch", "results", id, "-o", "r.jsonl").code, place.read("r.jsonl")), (0, r.out), "-o FILE: the same")
    place.write("r.jsonl", "old")
    tap.error_line(place.run("batch", "results", "00000000-0000-7000-8000-000000000000", "-o", "r.jsonl"), 4, "0000", "no such batch")
    tap.equal(place.read("r.jsonl"), "old", "leaves what was there")
    tap.error_line(place.run("batch", "results", id, "-o", "/dev/full"), 1, "No space left", "a full disk: one line, 1")
    tap.ok(all(not n.startswith(".genrun") for n in os.listdir(place.folder)), "nothing is left behind")


def test_results_in_order(place):
    """More than a page, the later lines done first."""
    place.write("many.jsonl", "".join(json.dumps({"prompt": str(i), "custom_id": f"c{i}", "priority": i}) + "\n" for i in range(150)))
    id = place.run("batch", "submit", "many.jsonl", "--model", "echo").id
    tap.result(place.run("run", "--drain"), 0, "150 items are done")

    def names(*order):
        return [x["custom_id"] for x in place.run("batch", "results", id, *order).jsonl]

    there = [f"c{i}" for i in range(150)]
    tap.equal(names(), there, "results stand in the order of the file")
    done = [x[0] for x in place.sql("SELECT g.custom_id FROM logs l JOIN generations g ON g.id = l.generation_id "
                                           "WHERE l.event = 'generation.completed' ORDER BY l.id")]
    tap.equal(names("--order", "done"), done, "--order done: in the order of their ends")
    tap.ok(done != there, "which is another one")


def test_pause_resume_cancel(place):
    place.write("p.txt", PLAIN)
    id = place.run("batch", "submit", "p.txt", "--model", "echo").id
    tap.result(place.run("batch", "pause", id[-8:], "--reason", "lunch"), 0, "pause", out=rf"^{id} paused\n$")
    tap.equal(show(place, id)["pausedReason"], "lunch", "with its reason")
    tap.contains(place.run("batch", "show", id).out, "lunch", "which show tells")
    r = place.run("run", "--drain")
    tap.ok(r.code == 5 and "paused" in r.out + r.err, "a drain leaves it and says why: 5", r)
    r = place.run("batch", "resume", id, "--json")
    tap.equal((r.code, r.json["status"]), (0, "queued"), "resume")
    tap.result(place.run("batch", "cancel", id, "--reason", "wrong file"), 0, "cancel", out=rf"^{id} cancelled\n$")
    r = place.run("batch", "show", id)
    tap.ok("wrong file" in r.out and "paused" not in r.out, "a cancelled one has its reason once, and is not paused", r)
    tap.result(place.run("batch", "cancel", id), 0, "again changes nothing", out="cancelled")
    tap.error_line(place.run("batch", "resume", id), 5, "cancelled", "a cancelled one is not resumed")
    tap.error_line(place.run("batch", "pause", id), 5, "cancelled", "nor paused")


def test_retry(place):
    place.write("m.jsonl", "".join(json.dumps({"prompt": str(i), "custom_id": f"c{i}", "fail": "InvalidRequestError", "fail_times": 1}
                                              if i % 3 else {"prompt": str(i), "custom_id": f"c{i}"}) + "\n" for i in range(9)))
    id = place.run("batch", "submit", "m.jsonl", "--model", "echo", "--wait").id
    tap.equal((show(place, id)["status"], show(place, id)["failedItems"]), ("completed", 6), "six of nine fail at their first start")
    r = place.run("batch", "retry", id, "--dry-run")
    tap.result(r, 0, "--dry-run counts", out=rf"^{id} completed, 6 items would be queued\n$")
    r = place.run("batch", "retry", id, "--dry-run", "--json")
    tap.equal(r.json, {"id": id, "queued": 6, "dryRun": True}, "also as JSON")
    tap.equal(show(place, id)["failedItems"], 6, "and changes nothing")
    r = place.run("batch", "retry", id[-8:])
    tap.result(r, 0, "retry: the state and how many", out=rf"^{id} processing, 6 items queued\n$")
    tap.equal({e["event"] for e in place.run("logs", id, "--event", "batch.reopened", "--json").jsonl}, {"batch.reopened"},
              "the batch job is open again")
    tap.equal(place.run("run", "--drain").code, 0, "a drain does what was queued")
    o = show(place, id)
    tap.equal((o["status"], o["successfulItems"], o["failedItems"]), ("completed", 9, 0), "and all succeed")
    r = place.run("batch", "retry", id)
    tap.result(r, 0, "nothing failed: nothing changes", out=rf"^{id} completed, 0 items queued\n$")


def test_retry_beside_a_runner(place):
    """More than a slice, and the runner works on meanwhile."""
    place.configure("[scheduler]\nconcurrency = 16\n")
    place.write("m.jsonl", '{"prompt":"x","fail":"InvalidRequestError","fail_times":1}\n' * 1200)
    id = place.run("batch", "submit", "m.jsonl", "--model", "echo").id
    runner = place.start_runner()
    wait_until(lambda: show(place, id)["failedItems"] == 1200, 30, "1,200 failures")
    tap.result(place.run("batch", "retry", id), 0, "1,200 are queued", out=r" (processing|completed), 1200 items queued\n$")
    wait_until(lambda: show(place, id)["status"] == "completed", 30, "the end")
    tap.equal(show(place, id)["successfulItems"], 1200, "each ran again, once")
    tap.equal(place.value("SELECT max(starts) FROM generations"), 2, "and not more often")
    runner.stop()
    tap.result(place.run("db", "check"), 0, "the counters are right")


def test_retry_stopped_paused_cancelled(place):
    place.write("s.jsonl", "".join(json.dumps({"prompt": str(i), **({"fail": "InvalidRequestError", "fail_times": 1} if i == 0 else {})}) + "\n"
                                   for i in range(4)))
    id = place.run("batch", "submit", "s.jsonl", "--model", "echo", "--on-error", "stop").id
    place.run("run", "--drain")
    o = show(place, id)
    tap.equal((o["status"], o["failedItems"], o["cancelledItems"]), ("failed", 1, 3), "stopped by its first item")
    r = place.run("batch", "retry", id, "--json")
    tap.equal((r.json["id"], r.json["status"], r.json["queuedItems"], r.json["cancelledItems"]), (id, "processing", 1, 3),
              "the failed one is queued, the cancelled ones are not; --json is the batch job")
    tap.equal(place.run("run", "--drain").code, 0, "it goes on")
    tap.equal(show(place, id)["status"], "completed", "and ends")
    place.write("f.jsonl", '{"prompt":"a","fail":"InvalidRequestError"}\n' * 2 + '{"prompt":"b","delay":"1h"}\n')
    id = place.run("batch", "submit", "f.jsonl", "--model", "echo", "--concurrency", "1").id
    runner = place.start_runner()
    wait_until(lambda: show(place, id)["failedItems"] == 2, 10, "two failures")
    place.run("batch", "pause", id)
    tap.result(place.run("batch", "retry", id), 0, "a paused one", out=rf"^{id} paused, 2 items queued\n$")
    place.run("batch", "cancel", id)
    wait_until(lambda: show(place, id)["cancelledItems"] == 3, 10, "the cancel")
    runner.stop()
    tap.error_line(place.run("batch", "retry", id), 5, "cancelled.*new one", "a cancelled one is refused")
    r = place.run("batch", "retry", "00000000", id)
    tap.ok(r.code == 5 and r.err.count("\n") == 2, "of several the worst counts", r)


def test_watch(place):
    place.write("p.txt", PLAIN)
    id = place.run("batch", "submit", "p.txt", "--model", "echo", "--param", "delay=100ms").id
    watcher = place.start("batch", "watch", id)
    wait_until(lambda: "no runner is up" in watcher.err, 5, "the word that nobody runs it")
    tap.equal(place.value("SELECT count(*) FROM generations WHERE status<>'queued'"), 0, "watch runs nothing itself")
    tap.equal(place.run("run", "--drain").code, 0, "a drain does the work")
    tap.equal(watcher.wait(), 0, "watch ends with it")
    tap.matches(watcher.err, r"p\.txt: 3/3", "and has told of it")
    r = place.run("batch", "watch", id, "--json")
    tap.equal((r.code, r.json["status"]), (0, "completed"), "of an ended one it ends at once")
    watcher = place.start("batch", "watch", place.run("batch", "submit", "p.txt", "--model", "echo").id)
    wait_until(lambda: "no runner" in watcher.err, 5, "it is up")
    watcher.signal(signal.SIGINT)
    watcher.wait()
    tap.equal(place.value("SELECT count(*) FROM generations WHERE status='queued'"), 3, "an interrupted watch does no harm")


tap.main(globals())
