#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""list, show, output, logs, stats, models: looking at what is there."""
import json
import os
import sqlite3
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap
from genrun import wait_until


def ids_of(r):
    return [o["id"] for o in r.jsonl]


def test_list_filters(place):
    a = place.submit("one", "--model", "echo", "--user", "ann", "--session", "s1")
    b = place.submit("two", "--model", "echo", "--user", "bob", "--session", "s1")
    place.run("submit", "three", "--model", "echo", "--wait")
    c = place.run("list", "--status", "completed", "--json").jsonl[0]["id"]
    tap.equal(ids_of(place.run("list", "--json")), [c, b, a], "newest first")
    tap.equal(ids_of(place.run("list", "--json", "--user", "ann")), [a], "--user")
    tap.equal(ids_of(place.run("list", "--json", "--session", "s1")), [b, a], "--session")
    tap.equal(ids_of(place.run("list", "--json", "--status", "queued", "--user", "bob")), [b], "two filters together")
    tap.equal(ids_of(place.run("list", "--json", "--model", "nothing")), [], "a model without any")
    tap.equal(ids_of(place.run("list", "--json", "--since", "1h")), [c, b, a], "--since 1h")
    tap.equal(ids_of(place.run("list", "--json", "--since", "0")), [], "--since 0")
    r = place.run("list")
    tap.matches(r.lines[0], r"^ID +STATUS +MODEL", "a title line")
    tap.equal([line[:8] for line in r.lines[1:]], [i[-8:] for i in (c, b, a)], "tails of the ids")


def test_list_pages(place):
    lines = "".join(f"prompt {i}\n" for i in range(25))
    batch = place.run("batch", "submit", "-", "--model", "echo", "--format", "txt", input=lines).id
    singles = [place.submit(f"single {i}", "--model", "echo") for i in range(5)]
    seen, cursor, pages = [], None, 0
    while True:
        args = ["list", "--json", "--limit", "7"] + (["--after", cursor] if cursor else [])
        r = place.run(*args)
        seen += ids_of(r)
        pages += 1
        if "--after " not in r.err:
            break
        cursor = r.err.strip().split("--after ")[1]
    tap.equal(pages, 5, "30 rows in pages of 7")
    tap.equal(len(set(seen)), 30, "each once")
    tap.equal(seen[:5], singles[::-1], "newest first")
    tap.equal(len(ids_of(place.run("list", "--json"))), 20, "20 without --limit")
    items = place.run("list", "--batch", batch[-8:], "--json", "--limit", "100").jsonl
    tap.equal([o["prompt"] for o in items], [f"prompt {i}" for i in range(25)], "--batch: in the order of the file")
    tap.ok("keyset" not in place.run("batch", "list", "--json").json, "what only pages go on from is not shown")
    tap.error_line(place.run("list", "--after", "no cursor"), 2, "no cursor is not a cursor", "a cursor that is none")
    tap.error_line(place.run("list", "--batch", "00000000"), 4, "00000000", "a batch that is none")


def test_list_passes_over_many(place):
    """Two filters that each have many rows and together few: the command goes on where pages end early."""
    place.submit("x", "--model", "echo")
    db = sqlite3.connect(place.database)
    db.executescript("""
        INSERT INTO generation (id, status, lane, model_id, user_id, completed_at, created_at)
            WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000) SELECT printf('%036d', i), 'cancelled', 1,
            CASE WHEN i % 2 OR i % 20000 = 0 THEN 'b' ELSE 'a' END, CASE WHEN i % 2 = 0 THEN 'u' ELSE 'v' END, 5, i FROM n;
        INSERT INTO generation_input (seq, prompt, parameters) SELECT seq, 'p', '{}' FROM generation WHERE seq > 1;
        UPDATE batch_count SET cancelled_items = 50000 WHERE batch_seq = 0;""")
    db.close()
    r = place.run("list", "--user", "u", "--model", "b", "--json")
    tap.equal(ids_of(r), [f"{i:036d}" for i in (40000, 20000)], "the two rows that have both")
    tap.lacks(r.err, "--after", "and there are no more")
    r = place.run("list", "--user", "u", "--model", "b", "--json", "--limit", "1")
    tap.equal((ids_of(r), "--after" in r.err), ([f"{40000:036d}"], True), "one of them, and more")
    r = place.run("list", "--user", "u", "--model", "b", "--json", "--after", r.err.strip().split("--after ")[1])
    tap.equal(ids_of(r), [f"{20000:036d}"], "which are found from there")


def test_show(place):
    r = place.run("submit", "The prompt", "--model", "echo", "--param", "repeat=2", "--user", "ann", "--wait", "--json")
    id = r.json["id"]
    r = place.run("show", id)
    for part in (id, "completed", "echo", "ann", "The prompt", '"repeat":2', "Output 0", "generation.completed"):
        tap.contains(r.out, part, f"show has {part}")
    o = place.run("show", id[-8:], "--json").json
    tap.equal(o["id"], id, "by the tail of the id")
    tap.equal(o["parameters"]["repeat"], 2, "parameters are JSON")
    tap.equal(len(o["outputs"]), 1, "with its output")
    tap.ok(any(e["event"] == "generation.completed" for e in o["events"]), "and its events", o)
    tap.equal(o["modelId"], "echo", "names in camelCase")
    tap.equal(place.run("--json", "show", id).out.count("\n"), 1, "one line")
    tap.equal((o["stuck"], o["outputs"][0]["partial"]), (False, False), "yes and no are JSON's")
    place.run("submit", "x", "--model", "echo", "--wait", "--param", "fail=InvalidRequestError")
    failed = ids_of(place.run("list", "--status", "failed", "--json"))[0]
    tap.matches(place.run("show", failed).out, r"error +InvalidRequestError: ", "the error with its type")
    tap.equal(place.show(failed)["parameters"]["errorContext"]["type"], "InvalidRequestError", "also in the parameters")


def test_ids(place):
    place.submit("x", "--model", "echo")
    for args in (["show"], ["output"], ["cancel"], ["retry"], ["batch", "show"], ["batch", "items"], ["batch", "watch"],
                 ["batch", "results"], ["batch", "pause"], ["batch", "resume"], ["batch", "cancel"], ["batch", "retry"]):
        name = " ".join(args)
        tap.error_line(place.run(*args, "00000000-0000-7000-8000-000000000000"), 4, "00000000", f"{name}: no such id: 4")
        tap.ok(place.run(*args, "short").code in (2, 4), f"{name}: too short to be one")
        tap.ok(place.run(*args, "' OR 1=1 --x").code in (2, 4), f"{name}: hostile")
    tap.contains(place.run("batch", "show", "00000000").err, "genrun batch list", "batch jobs are listed by another command")
    first = place.submit("a", "--model", "echo")
    tap.equal(place.run("show", first[-12:]).code, 0, "a longer tail serves too")


def test_ambiguous(place):
    tail = "0123456789ab"
    place.submit("x", "--model", "echo")
    for head in ("01890000-0000-7000-8000-", "01890000-0000-7000-8001-"):
        place.sql("INSERT INTO generations (id, status, prompt, model_id) VALUES (?, 'queued', 'twin', 'echo')", head + tail)
    r = place.run("show", tail[-8:])
    tap.error_line(r, 2, "01890000-0000-7000-8000-0123456789ab.*01890000-0000-7000-8001-0123456789ab|8001.*8000",
                   "two candidates are named")
    tap.equal(place.run("show", "8001-" + tail).code, 0, "with more characters it is one")


def test_output(place):
    text = "line one\nline two\x1b[31m\ttab"
    place.run("submit", text, "--model", "echo", "--wait")
    id = ids_of(place.run("list", "--json"))[0]
    tap.equal(place.run("output", id, binary=True).out, text.encode(), "byte for byte")
    r = place.run_pty("output", id)
    tap.ok(r.code == 0 and "\x1b" not in r.out and r"\x1b[31m" in r.out and "line one\r\nline two" in r.out,
           "a terminal sees no escape, but lines", r)
    r = place.run("output", id, "-o", "out.txt")
    tap.ok(r.code == 0 and r.out == "" and r.err == "" and place.read("out.txt") == text, "-o FILE", r)
    place.write("out.txt", "old")
    tap.equal((place.run("output", id, "-o", "out.txt").code, place.read("out.txt")), (0, text), "-o replaces")
    r = place.run("output", id, "-o", "missing/out.txt")
    tap.error_line(r, 2, "missing/out.txt", "-o into a folder that is not there")
    tap.error_line(place.run("output", id, "-o", "/dev/full"), 1, "No space left", "-o on a full disk")
    tap.equal(place.run("output", id, "-o", "-").out, text, "-o - is stdout")
    o = place.run("output", id, "--json").json
    tap.equal(o["content"], text, "--json: the output as an object")
    queued = place.submit("x", "--model", "echo")
    before = sorted(os.listdir(place.folder))
    r = place.run("output", queued, "-o", "none.txt")
    tap.ok(r.code == 4 and r.err.count("\n") == 1 and "queued" in r.err, "one that has none: 4, one line", r)
    tap.equal(sorted(os.listdir(place.folder)), before, "and leaves no file")


def test_logs(place):
    id = place.submit("x", "--model", "echo")
    place.run("submit", "y", "--model", "echo", "--wait", "--param", "fail=InvalidRequestError")
    every = place.run("logs", "--json").jsonl
    tap.equal([e["id"] for e in every], sorted(e["id"] for e in every), "oldest first")
    tap.equal({e["event"] for e in place.run("logs", id, "--json").jsonl}, {"generation.queued"}, "of one generation")
    tap.equal({e["event"] for e in place.run("logs", "--event", "generation.failed", "--json").jsonl},
              {"generation.failed"}, "of one event")
    kinds = {e["event"].split(".")[0] for e in place.run("logs", "--event", "generation.", "--json").jsonl}
    tap.equal(kinds, {"generation"}, "of a kind of events")
    levels = {e["level"] for e in place.run("logs", "--level", "warn", "--json").jsonl}
    tap.ok(levels and levels <= {"warn", "error"}, "of a level and above", levels)
    tap.equal(place.run("logs", "--limit", "1", "--json").jsonl, every[-1:], "the newest one")
    tap.equal(place.run("logs", "--since", "0", "--json").out, "", "--since 0")
    tap.matches(place.run("logs", id).out, rf"^\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{{3}} \w+ +generation\.queued +{id[-8:]}",
                "a line: time, level, event, id")
    tap.error_line(place.run("logs", "00000000-0000-7000-8000-000000000000"), 4, "0000", "no such id")


def test_logs_follow(place):
    place.submit("x", "--model", "echo")
    follower = place.start("logs", "-f", "--json", "--limit", "0")
    wait_until(lambda: "generation.queued" in follower.out, 5, "the first event")
    id = place.submit("y", "--model", "echo")
    wait_until(lambda: id in follower.out, 5, "the event of another process")
    events = [json.loads(line)["id"] for line in follower.out.splitlines()]
    tap.equal(events, sorted(set(events)), "each event once, in order")
    follower.kill()
    p = subprocess.Popen(place.command("logs", "-f"), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE, cwd=place.folder, env=place.environment())
    p.stdout.readline()
    p.stdout.close()
    tap.equal(p.wait(timeout=90), 0, "logs -f ends when its reader has gone, also when nothing happens")
    tap.equal(p.stderr.read(), b"", "without a word")
    p.stderr.close()


def test_stats(place):
    place.submit("x", "--model", "echo", "--delay", "1h")
    place.run("submit", "y", "--model", "echo", "--wait")
    place.run("submit", "z", "--model", "echo", "--wait", "--param", "fail=InvalidRequestError")
    o = place.run("stats", "--json").json
    tap.equal([o[k] for k in ("queued", "processing", "completed", "failed", "cancelled", "stuck")], [1, 0, 1, 1, 0, 0], "counts")
    tap.equal((o["completedLastMinute"], o["failedLastHour"], o["runnerPid"]), (1, 1, None), "throughput, no runner")
    r = place.run("stats")
    tap.matches(r.out, r"(?m)^completed +1$", "as lines")
    tap.contains(r.out, "none is up", "it says that no runner is up")
    runner = place.start_runner()
    tap.equal(place.run("stats", "--json").json["runnerPid"], runner.pid, "with a runner: its pid")
    runner.stop()


def test_models(place):
    place.configure("[model a-model]\nprovider = openai\nbase_url = http://127.0.0.1:9/v1\n")
    r = place.run("submit", "x", "--model", "echo")
    o = {m["name"]: m for m in place.run("models", "--json").jsonl}
    tap.equal(o["echo"]["provider"], "echo", "echo is always there")
    tap.equal((o["echo"]["queued"], o["echo"]["state"]), (1, "ok"), "with its queue and state")
    tap.equal(o["a-model"]["provider"], "openai", "and what is configured")
    tap.matches(place.run("models").out, r"(?m)^a-model +openai +ok ", "as a table")


def test_no_database(place):
    for args in (["list"], ["show", "0123456789"], ["stats"], ["logs"], ["batch", "list"], ["cancel", "--all", "-y"]):
        r = place.run(*args)
        tap.ok(r.code in (4, 6) and r.err.count("\n") == 1 and place.database in r.err, f"{args[0]}: no database is told of", r)
    tap.ok(not os.path.exists(place.database), "and none is made by looking")
    place.write("test.db", "this is no database\n" * 100)
    r = place.run("list")
    tap.ok(r.code == 6 and r.err.count("\n") == 1, "a file of another kind: 6, one line", r)
    tap.equal(place.read("test.db"), "this is no database\n" * 100, "and it is untouched")


def test_configuration_errors(place):
    place.configure("[genrun]\nlog_levle = info\n[scheduler]\nconcurrency = many\n")
    r = place.run("list")
    tap.ok(r.code == 3 and r.out == "" and r.err.count("\n") == 2, "each mistake on a line, exit 3", r)
    tap.ok(all(line.startswith("genrun: ") and "genrun.ini:" in line for line in r.err.splitlines()), "with file and line", r)
    tap.contains(r.err, "log_level", "and the nearest name")


tap.main(globals())
