#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""failures: who, what, when and why, by a command; counts by model, user, type and hour; what is left out.
(That the numbers are right is compared with plain SQL in tests/sql/reports.py.)"""
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap
from server import Server

CONFIG = """
[genrun]
default_model = m
[scheduler]
concurrency = 4
max_attempts = 1
max_wait = 1s
[model m]
base_url = {url}
api_key_env = TEST_KEY
"""


def fail(place, prompt, kind, *args):
    r = place.run("submit", prompt, "--model", "echo", "--param", f"fail={kind}", "--wait", *args)
    if r.code != 1:
        raise RuntimeError(f"it did not fail\n{r}")
    return place.value("SELECT id FROM generations ORDER BY seq DESC")


def test_who_what_when(place):
    tap.result(place.run("failures"), 4, "without a database", err="does not exist")
    a = fail(place, "one", "InvalidRequestError", "--user", "u-1", "--session", "s-1")
    b = fail(place, "two", "ContentFilterError", "--user", "u-2", "--session", "s-2")
    c = fail(place, "three", "InvalidRequestError")
    place.submit("waits", "--model", "echo")
    place.run("user", "set", "u-1", "--name", "Ann\u202e Alder", "--email", "ann@example.org")
    place.run("user", "set", "u-2", "--username", "bob")
    place.run("session", "set", "s-1", "--name", "Monday", "--project", "p-1")
    place.run("project", "set", "p-1", "--name", "Site")
    r = place.run("failures")
    tap.matches(r.lines[0], r"^ID +FAILED +MODEL +USER +SESSION +PROJECT +TYPE +ERROR$", "a table")
    tap.equal([line[:8] for line in r.lines[1:]], [i[-8:] for i in (c, b, a)], "newest first, only what failed")
    tap.matches(r.lines[3], r"(now|[0-9]+s) +echo +Ann\\u202e Alder +Monday +Site +InvalidRequestError +the echo model was told to fail", "with names, escaped")
    tap.matches(r.lines[2], r"(now|[0-9]+s) +echo +bob +s-2 +- +ContentFilterError", "or the next best")
    tap.matches(r.lines[1], r"(now|[0-9]+s) +echo +- +- +- +InvalidRequestError", "or nothing")
    o = place.run("failures", "--user", "u-1", "--json").json
    tap.equal((o["id"], o["userId"], o["userDisplayName"], o["username"], o["email"], o["sessionName"], o["projectName"], o["errorType"], o["modelId"],
               o["prompt"], o["status"], o["attempts"], o["dismissedAt"]),
              (a, "u-1", "Ann\u202e Alder", None, "ann@example.org", "Monday", "Site", "InvalidRequestError", "echo", "one", "failed", 1, None),
              "--json has all of it")
    tap.equal(o["completedAt"][-1:], "Z", "times are RFC 3339")
    tap.equal([len(place.run("failures", "--json", *x).jsonl) for x in (["--session", "s-2"], ["--model", "echo"], ["--model", "other"],
              ["--type", "InvalidRequestError"], ["--type", "InvalidRequestError", "--user", "u-2"], ["--since", "0"], ["--limit", "2"])],
              [1, 3, 0, 2, 0, 0, 2], "filters")
    tap.contains(place.run_pty("failures", "--type", "QuotaError").out, "nothing failed", "a terminal is told of nothing")
    lines = place.run_pty("failures", columns=60, env={"NO_COLOR": "1"}).out.splitlines()
    tap.ok(all(len(line) <= 60 for line in lines) and len(lines) == 4, "a terminal's width is kept", lines)


def test_counts(place):
    for kind, user in (("InvalidRequestError", "u-1"), ("InvalidRequestError", "u-2"), ("ContentFilterError", "u-1"), ("InvalidRequestError", None)):
        fail(place, "x", kind, *(["--user", user] if user else []))
    place.run("user", "set", "u-1", "--name", "Ann")
    r = place.run("failures", "--by", "model")
    tap.ok(r.lines[0].split() == ["MODEL", "FAILURES", "USERS", "LATEST"] and r.lines[1].split() == ["echo", "4", "2", "now"], "by model, with the users they met", r)
    r = place.run("failures", "--by", "type")
    tap.equal([line.split()[:3] for line in r.lines[1:]], [["InvalidRequestError", "3", "2"], ["ContentFilterError", "1", "1"]], "by type, the largest first")
    r = place.run("failures", "--by", "user")
    tap.equal([line.split()[:3] for line in r.lines[1:]], [["Ann", "2", "1"], ["-", "1", "1"], ["u-2", "1", "1"]], "by user, by name where there is one")
    r = place.run("failures", "--by", "hour")
    tap.matches(r.lines[1], r"^\d{4}-\d\d-\d\d \d\d:00:00 +\d+ +\d +(now|\d+s)$", "by hour")
    tap.equal(sum(o["failureCount"] for o in place.run("failures", "--by", "hour", "--json").jsonl), 4, "all of them")
    place.sql("UPDATE generation SET completed_at = completed_at - 7200000 WHERE error_type='ContentFilterError'")
    o = place.run("failures", "--by", "hour", "--json").jsonl
    tap.ok(len(o) >= 2 and o[0]["hourAt"] > o[-1]["hourAt"] and o[-1]["hourAt"].endswith(":00:00.000Z"), "the newest hour first", o)
    tap.equal(place.run("failures", "--by", "hour", "--since", "1h", "--type", "ContentFilterError", "--json").out, "", "filters hold")


def test_pages(place):
    """Pages neither repeat nor skip, also where many ended in one moment, and while rows come and go."""
    for i in range(7):
        fail(place, f"p{i}", "InvalidRequestError")
    place.sql("UPDATE generation SET completed_at = (SELECT max(completed_at) FROM generation) WHERE seq BETWEEN 2 AND 5")
    whole = [o["id"] for o in place.run("failures", "--json", "--limit", "100").jsonl]
    got, more, pages = [], [], 0
    while pages < 10:
        r = place.run("failures", "--json", "--limit", "2", *more)
        got += [o["id"] for o in r.jsonl]
        pages += 1
        if pages == 1:
            fail(place, "newer", "InvalidRequestError")
        if pages == 2:  # the row that the cursor names is gone from the list
            place.run("retry", got[-1])
        said = re.findall(r"there are more: go on with --after (\S+)$", r.err.strip())
        if not said:
            break
        more = ["--after", said[0]]
    tap.ok(len(whole) == 7 and got == whole and pages == 4, "each once, the newest first", f"{whole}\n{got}\n{pages}")
    tap.error_line(place.run("failures", "--after", "c_5"), 2, "not a cursor of what failed", "another list's cursor is none")
    tap.error_line(place.run("list", *more), 2, "is not a cursor", "nor is this one another list's")
    tap.error_line(place.run("failures", "--by", "model", *more), 2, "counts have no pages", "counts have no pages")


def test_dismissed(place):
    id = fail(place, "x", "InvalidRequestError")
    before = place.run("stats", "--json").json["failed"]
    tap.equal(place.run("dismiss", id).code, 0, "dismissed")
    tap.equal([place.run("failures", "--json", *x).out for x in ([], ["--by", "model"], ["--by", "hour"])], ["", "", ""], "left out of the report")
    tap.equal([o["id"] for o in place.run("failures", "--all", "--json").jsonl], [id], "but for --all")
    tap.equal(place.run("stats", "--json").json["failed"], before, "counted as before")
    tap.matches(place.run("list").out, rf"(?m)^{id[-8:]}  failed, dismissed  ", "and marked in lists")
    tap.ok(place.run("list", "--json").json["dismissedAt"] is not None, "also in JSON")
    tap.equal(place.run("dismiss", "--undo", id).code, 0, "undone")
    tap.equal([o["id"] for o in place.run("failures", "--json").jsonl], [id], "it is there again")


def test_context(place):
    """What errorContext tells of an answer: by SQL, by show, and nothing of the key."""
    def script(x):
        x.answer(400, {"error": {"message": "no such thing", "code": "bad_thing", "type": "invalid_request_error"}}, {"x-request-id": "req-77"})

    with Server(script) as server:
        place.configure(CONFIG.format(url=server.url))
        id = place.submit("x", "--user", "ann")
        place.run("run", "--drain", env={"TEST_KEY": "sk-secret-key"})
        context = place.show(id)["parameters"]["errorContext"]
        tap.equal((context["type"], context["userId"], context["model"], context["httpStatus"], context["requestId"], context["attempt"], context["action"]),
                  ("InvalidRequestError", "ann", "m", 400, "req-77", 1, "fail"), "errorContext has what helps")
        tap.equal(context["message"], place.show(id)["errorMessage"], "the message is the error's")
        tap.matches(context["timestamp"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$", "when")
        tap.ok("model m" in context["stack"] and "HTTP status 400" in context["stack"] and "attempt 1" in context["stack"], "and where", context["stack"])
        tap.lacks(repr(place.sql("SELECT * FROM generations")) + place.run("failures", "--json").out + place.run("show", id).out, "sk-secret-key", "never the key")


def test_rate_limits(place):
    """In one command; one that was waited out is no failure, and the log tells of it."""
    def script(x):
        if x.prompt == "in vain" or x.number == 1:
            x.error(429, "slow down", {"retry-after-ms": "50"})
        else:
            x.chat("fine")

    with Server(script) as server:
        place.configure(CONFIG.format(url=server.url))
        patient = place.submit("patient")
        tap.equal(place.run("run", "--drain", env={"TEST_KEY": "k"}).code, 0, "one that waits completes")
        tap.equal(place.run("failures", "--type", "RateLimitError").out, "", "and is no failure")
        waits = place.run("logs", "--event", "generation.retrying", "--json").jsonl
        tap.equal([(e["generationId"], e["data"]["type"]) for e in waits], [(patient, "RateLimitError")], "the log has its wait")
        id = place.submit("in vain")
        place.run("run", "--drain", env={"TEST_KEY": "k"})
        context = place.show(id)["parameters"]["errorContext"]
        tap.equal((context["type"], context["waitedFor"]), ("DeadlineError", "RateLimitError"), "one that waited in vain says what for")


def test_misuse(place):
    place.submit("x", "--model", "echo")
    for args, pattern in [
        (["--since", "-1h"], r"--since is '-1h', which is not a duration"), (["--since", "yesterday"], "not a duration"),
        (["--by", "day"], r"--by .*one of model\|user\|type\|hour"), (["--limit", "0"], "--limit is 0"), (["--limit", "-1"], "--limit"), (["x"], "one argument too many"),
        (["--status", "failed"], "unknown option --status"),
    ]:
        tap.error_line(place.run("failures", *args), 2, pattern, f"refused: {' '.join(args)}")


def test_unknown_types(place):
    place.submit("x", "--model", "echo")
    for words in (["failures"], ["retry", "--yes"], ["cancel", "--yes"]):
        tap.error_line(place.run(*words, "--type", "RateLimitEror"), 2, "did you mean 'RateLimitError'", f"{words[0]}: a misspelt type is none")


tap.main(globals())
