#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""submit: prompts from anywhere, parameters, keys, --wait and its exit codes."""
import json
import os
import re
import signal
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap
from genrun import wait_until

UUID7 = re.compile(r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$")


def row(place, id):
    return place.sql("SELECT status, prompt, model_id, parameters, user_id, session_id, client_id, priority "
                     "FROM generations WHERE id = ?", id)[0]


def test_prints_its_id(place):
    r = place.run("submit", "Name a colour", "--model", "echo", "--user", "ann", "--session", "s1", "--priority", "7")
    tap.ok(r.code == 0 and r.err == "" and UUID7.match(r.out[:-1]) and r.out[-1] == "\n", "one line: a UUIDv7", r)
    tap.equal(row(place, r.id), ("queued", "Name a colour", "echo", "{}", "ann", "s1", None, 7), "all of it is stored")
    r = place.run("submit", "x", "--model", "echo", "--json")
    tap.ok(r.code == 0 and UUID7.match(r.json["id"]) and r.json["status"] == "queued", "--json gives the row", r)
    tap.ok("createdAt" in r.json and re.match(r"^\d{4}-\d\d-\d\dT[\d:.]+Z$", r.json["createdAt"]), "with its times", r)


def test_prompt_from_stdin(place):
    for text, prompt in [("one line\n", "one line"), ("no end", "no end"), ("crlf\r\n", "crlf"), ("two\n\n", "two\n"),
                         ("many\nlines\n", "many\nlines"), ("漢字", "漢字"), (" spaces ", " spaces ")]:
        for operands in (["-"], []):
            r = place.run("submit", "--model", "echo", *operands, input=text)
            tap.ok(r.code == 0 and row(place, r.id)[1] == prompt, f"{text!r} on stdin, operands {operands}", r)
    big = "x" * (3 << 20)
    r = place.run("submit", "-", "--model", "echo", input=big)
    tap.ok(r.code == 0 and len(row(place, r.id)[1]) == len(big), "a prompt of 3 MiB", lambda: repr(r)[:500])
    before = place.value("SELECT count(*) FROM generations")
    tap.error_line(place.run("submit", "--model", "echo", input=""), 2, "there is no prompt", "nothing on stdin")
    tap.error_line(place.run("submit", "-", "--model", "echo", input="\n"), 2, "there is no prompt", "an empty line")
    tap.error_line(place.run("submit", "-", "--model", "echo", input=b"a\0b"), 2, "NUL byte", "a NUL byte on stdin")
    tap.error_line(place.run("submit", "-", "--model", "echo", input=b"a\xffb"), 2, "UTF-8", "invalid UTF-8 on stdin")
    tap.error_line(place.run("submit", b"a\xffb".decode("utf-8", "surrogateescape"), "--model", "echo"), 2, "UTF-8",
                   "invalid UTF-8 as an operand")
    tap.equal(place.value("SELECT count(*) FROM generations"), before, "what was refused is not stored")
    r = place.run_pty("submit", "--model", "echo")
    tap.ok(r.code == 2 and "a prompt is missing" in r.out, "at a terminal it does not wait for typing", r)


def test_parameters(place):
    id = place.submit("x", "--model", "echo", "--params", '{"temperature": 0.50, "big": 12345678901234567890}',
                      "--param", "n=3", "--param", "stop=[1, 2]", "--param", "name=a=b", "--param=flag=true",
                      "--param", "temperature=1", "--param", "text=007")
    stored = row(place, id)[3]
    tap.contains(stored, "12345678901234567890", "a big number is kept as typed")
    tap.equal(json.loads(stored), {"temperature": 1, "big": 12345678901234567890, "n": 3, "stop": [1, 2], "name": "a=b",
                                   "flag": True, "text": "007"}, "merged: --param goes before --params")
    body = {"messages": [{"role": "user", "content": "whole body"}], "temperature": 0}
    r = place.run("submit", "--model", "echo", "--params", json.dumps(body), "--wait")
    tap.result(r, 0, "parameters alone may be the whole request", out="^whole body\n$")
    r = place.run("submit", "--model", "echo", "--params", '{"temperature":0}', "--wait", input="piped\n")
    tap.result(r, 0, "else stdin is the prompt", out="^piped\n$")
    tap.error_line(place.run("submit", "x", "--model", "echo", "--param", "b=\udcff"), 2, "UTF-8", "invalid UTF-8 in --param")


def test_models(place):
    tap.error_line(place.run("submit", "x", "--model", "ecko"), 2, "echo", "an unknown model is refused, the nearest named")
    place.configure("[genrun]\ndefault_model = echo\n")
    tap.equal(row(place, place.submit("x"))[2], "echo", "without --model: the default one")


def test_keys(place):
    first = place.submit("x", "--model", "echo", "--key", "k1")
    tap.equal(place.submit("x", "--model", "echo", "--key", "k1"), first, "the same key gives the first id")
    tap.ok(place.submit("x", "--model", "echo", "--key", "k1", "--user", "ann") != first, "another user's key is another key")
    tap.ok(place.submit("x", "--model", "echo", "--key", "k2") != first, "another key is another one")
    tap.equal(place.value("SELECT count(*) FROM generations"), 3, "three are stored")
    tap.error_line(place.run("submit", "y", "--model", "echo", "--key", "k1"), 5, "k1", "another prompt with that key: conflict")
    r = place.run("-v", "submit", "x", "--model", "echo", "--key", "k1")
    tap.ok(r.code == 0 and r.out == first + "\n" and "is known" in r.err, "-v tells that the key is known", r)


def test_wait(place):
    r = place.run("submit", "red\ngreen", "--model", "echo", "--wait")
    tap.ok(r.code == 0 and r.out == "red\ngreen\n" and r.err == "", "--wait prints the output and nothing else", r)
    r = place.run("submit", "red", "--model", "echo", "--wait", "--json")
    tap.ok(r.code == 0 and r.json["status"] == "completed" and r.json["outputs"][0]["content"] == "red",
           "--wait --json prints the row with its outputs", r)
    r = place.run("submit", "x", "--model", "echo", "--wait", "--param", "fail=InvalidRequestError")
    tap.ok(r.code == 1 and r.out == "" and re.match(r"^genrun: [0-9a-f-]{36} failed: InvalidRequestError: .+\n$", r.err),
           "a failed one: exit 1, its type and message", r)
    r = place.run("submit", "x", "--model", "echo", "--wait", "--json", "--param", "fail=ContentFilterError")
    tap.ok(r.code == 1 and r.json["status"] == "failed" and "ContentFilterError" in r.err, "also with --json", r)
    left = place.submit("left alone", "--model", "echo")
    place.run("submit", "x", "--model", "echo", "--wait")
    tap.equal(place.status(left), "queued", "--wait runs nothing else of the queue")


def test_wait_beside_a_runner(place):
    place.submit("x", "--model", "echo")
    runner = place.start_runner()
    r = place.run("submit", "done by the runner", "--model", "echo", "--wait")
    tap.result(r, 0, "--wait follows a runner", out="^done by the runner\n$")
    tap.equal(runner.stop(), 0, "which stops well")


def test_wait_interrupted(place):
    r = place.start("submit", "x", "--model", "echo", "--wait", "--param", "delay=60s")
    wait_until(lambda: os.path.exists(place.database) and place.value("SELECT count(*) FROM sqlite_master") and
               place.value("SELECT count(*) FROM generations WHERE status='processing'"), 10, "the start of the work")
    r.signal(signal.SIGINT)
    tap.equal(r.wait(), 5, "SIGINT ends the wait with 5")
    tap.ok(r.out == "" and r.err.count("\n") == 1 and "queue" in r.err, "and one line tells that the work stays queued", r.err)
    tap.contains(r.err, place.value("SELECT id FROM generations"), "which one that is: its id was not printed yet")
    tap.equal(place.value("SELECT status FROM generations"), "queued", "and so it is")


def test_delay(place):
    id = place.submit("x", "--model", "echo", "--delay", "1h")
    ahead = place.value("SELECT run_after - created_at FROM generations WHERE id = ?", id)
    tap.ok(3590_000 <= ahead <= 3610_000, "--delay 1h: not before an hour from now", ahead)
    r = place.run("run", "--drain", "--drain-wait", "0")
    tap.equal((r.code, place.status(id)), (5, "queued"), "a runner leaves it")


tap.main(globals())
