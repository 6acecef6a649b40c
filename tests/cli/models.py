#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""models and models check: each kind of server, and what is said of it."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap
from genrun import wait_until
from server import Server

KEY = "sk-of-the-tests-0123456789"
LIST = {"object": "list", "data": [{"id": "llama3.2:latest"}, {"id": "gpt-small"}, {"id": "gpt-large"}]}


def with_key(x):
    """A server that wants the key, lists three models and knows them by name."""
    if x.header("authorization") != f"Bearer {KEY}":
        x.error(401, f"Incorrect API key provided: {x.header('authorization')}")
    elif x.path == "/v1/models":
        x.answer(200, LIST)
    elif x.path.startswith("/v1/models/") and x.path.split("/", 3)[3] in ("gpt-small", "alias"):
        x.answer(200, {"id": x.path.split("/", 3)[3]})
    else:
        x.error(404, "no such thing")


def ask(place, server, *more, model="gpt-small", key=KEY, url=None):
    """Checks one model of a server; the row, and the Result."""
    options = "".join(f"{line}\n" for line in more)
    url = url or (server.url if server else "")
    key_line = "api_key_env = TEST_KEY\n" if key else ""
    place.configure(f"[model {model}]\nbase_url = {url}\n{key_line}{options}")
    r = place.run("models", "check", "--json", env={"TEST_KEY": key} if key else None)
    rows = [o for o in r.jsonl if o["name"] == model]
    if key:
        tap.lacks(r.out + r.err, key, "the key is not shown")
    return rows[0], r


def answers(row):
    return row["reachable"], row["key"], row["model"]


def judge(place, server, name, expected, code, message, advice=None, **how):
    row, r = ask(place, server, **how)
    tap.ok(r.code == code and answers(row) == expected and row["ok"] == (code == 0), f"{name}: {expected}, exit {code}", r)
    tap.matches(row["message"], message, f"{name}: what was found")
    if advice:
        tap.matches(row["advice"] or "", advice, f"{name}: what to do")
    else:
        tap.equal(row["advice"], None, f"{name}: nothing to do")
    if code:
        tap.ok(r.err == f"genrun: model {row['name']}: {row['message']}: {row['advice']}\n", f"{name}: one line on stderr", r)
    else:
        tap.equal(r.err, "", f"{name}: not a word on stderr")
    return row


def test_fine(place):
    with Server(with_key) as server:
        row = judge(place, server, "fine", ("yes", "yes", "yes"), 0, r"/v1/models knows gpt-small$")
        tap.equal((row["httpStatus"], row["provider"]), (200, "openai"), "with the server's status")
        tap.ok(0 <= row["latencyMs"] < 10000, "and how long it took", row)
        tap.equal([x.method for x in server.requests], ["GET", "GET"], "nothing is generated")
        tap.ok(all(x.body == b"" and x.header("content-type") is None for x in server.requests), "and nothing sent along")
        r = place.run("models", "check", env={"TEST_KEY": KEY})
        tap.matches(r.lines[0], r"^MODEL +PROVIDER +CHECK +REACHABLE +KEY +KNOWN +MS +FOUND$", "as a table")
        tap.matches(r.out, r"(?m)^gpt-small +openai +ok +yes +yes +yes +\d+ ", "with its row")
        tap.matches(r.out, r"(?m)^echo +echo +ok +yes +yes +yes +- +it is built in$", "echo is always fine")
        judge(place, server, "an alias", ("yes", "yes", "yes"), 0, "knows alias$", model="alias")
        judge(place, server, "without its tag", ("yes", "yes", "yes"), 0, "knows llama3.2$", model="llama3.2")
        tap.equal(server.failures, [], "the server had no complaint")


def test_keys(place):
    with Server(with_key) as server:
        judge(place, server, "a wrong key", ("yes", "no", "unknown"), 7,
              r"refuses the key in the environment variable TEST_KEY \(401\): Incorrect API key provided", "set a valid one there",
              key="sk-another-one-987654321")
        judge(place, server, "no key", ("yes", "no", "unknown"), 7, r"wants a key \(401\)", r"api_key_env or api_key_file in \[model gpt-small\]", key=None)
        place.write("key", "sk-in-a-file-987654321\n")
        place.configure(f"[model gpt-small]\nbase_url = {server.url}\napi_key_file = key\n")
        r = place.run("models", "check", "gpt-small", "--json")
        tap.matches(r.json["message"], r"refuses the key in /.*/key \(401\)", "a wrong key in a file is named by the file")
    with Server(lambda x: x.error(403, "not for you")) as server:
        judge(place, server, "a forbidden key", ("yes", "no", "unknown"), 7, r"\(403\): not for you", "set a valid one")
    place.configure("[model m]\nbase_url = http://127.0.0.1:9/v1\napi_key_env = TEST_KEY\n")
    r = place.run("models", "check", "m", "--json")
    tap.ok(r.code == 3 and answers(r.json) == ("unknown", "no", "unknown"), "a key that is missing here: 3", r)
    tap.equal(r.err, "genrun: model m: no key for model m: set the environment variable TEST_KEY\n", "in a line")
    place.configure("[model m]\nbase_url = http://127.0.0.1:9/v1\napi_key_env = TEST_KEY\n[model n]\nbase_url = http://127.0.0.1:9/v1\n")
    tap.equal(place.run("models", "check").code, 7, "the worse one counts: 7")


def test_key_that_is_not_tried(place):
    with Server(lambda x: x.answer(200, LIST)) as server:
        judge(place, server, "a public list", ("yes", "unknown", "yes"), 0, "shows its list to anybody, so the key was not tried")
        judge(place, server, "no key is needed", ("yes", "yes", "yes"), 0, "knows gpt-small$", key=None)


def test_names(place):
    with Server(with_key) as server:
        judge(place, server, "a name with a mistake", ("yes", "yes", "no"), 7, "does not know the model gpt-smal$",
              r"did you mean gpt-small\? Set model in \[model gpt-smal\] to it", model="gpt-smal")
        judge(place, server, "a name like no other", ("yes", "yes", "no"), 7, "does not know the model q$",
              r"set model in \[model q\] to one of its names, such as llama3.2:latest, gpt-small, gpt-large", model="q")
        row, r = ask(place, server, "model = gpt-large", model="mine")
        tap.ok(r.code == 0 and row["model"] == "yes", "the name sent is the one that counts", r)
        row, r = ask(place, server, model="*")
        tap.ok(r.code == 0 and answers(row) == ("yes", "yes", "unknown"), "[model *]: reachable and key", r)
        r = place.run("models", "check", "gpt-larg", env={"TEST_KEY": KEY})
        tap.ok(r.code == 7 and "did you mean gpt-large?" in r.err, "a name that [model *] would serve", r)
    for shape, body in {"a bare list": LIST["data"], "Gemini": {"models": [{"name": "models/gpt-small"}]},
                        "llama.cpp": {"data": [{"id": "/models/any.gguf", "owned_by": "llamacpp"}]}}.items():
        with Server(lambda x: x.answer(200, body)) as server:
            judge(place, server, shape, ("yes", "yes", "yes"), 0, "knows gpt-small$", key=None)
    with Server(lambda x: x.answer(200, {"data": [], "has_more": True}) if x.path.endswith("/models") else x.error(405, "no")) as server:
        judge(place, server, "a part of a list", ("yes", "yes", "unknown"), 0, "lists only a part", key=None)
    with Server(lambda x: x.answer(200, {"data": []}) if x.path.endswith("/models") else x.error(404, "no")) as server:
        judge(place, server, "an empty list", ("yes", "yes", "no"), 7, "does not know", "load a model there", key=None)
    place.configure("[model known]\nbase_url = http://127.0.0.1:9/v1\n")
    tap.error_line(place.run("models", "check", "knwon"), 4, "did you mean 'known'", "a name that is not configured: 4")
    tap.error_line(place.run("models", "check", "a", "b"), 2, "one argument too many", "one name at most")


def test_statuses(place):
    cases = [
        (404, ("yes", "unknown", "unknown"), 0, r"answers, but lists no models \(404\)", None),
        (405, ("yes", "unknown", "unknown"), 0, r"lists no models \(405\)", None),
        (429, ("yes", "unknown", "unknown"), 0, r"asks to slow down \(429\)", None),
        (402, ("yes", "yes", "unknown"), 7, r"not paid for \(402\)", "pay the provider"),
        (302, ("yes", "unknown", "unknown"), 7, r"redirects \(302\)", "final address"),
        (503, ("yes", "unknown", "unknown"), 7, r"is up, but fails \(503\): words of the server", "log"),
        (400, ("yes", "unknown", "unknown"), 7, "answers 400: words of the server", "check base_url"),
    ]
    for status, expected, code, message, advice in cases:
        with Server(lambda x: x.error(status, "words of the server")) as server:
            judge(place, server, str(status), expected, code, message, advice)


def test_wrong_addresses(place):
    page = "<!DOCTYPE html><html><head><title>Welcome</title></head></html>"
    with Server(lambda x: x.answer(200, page, mime="text/html")) as server:
        judge(place, server, "a web page", ("yes", "unknown", "unknown"), 7, "answers with a web page", "address of the API")
        judge(place, server, "TLS where there is none", ("no", "unknown", "unknown"), 7, "cannot connect to https://", "does not speak TLS there",
              url=server.url.replace("http:", "https:"))
    with Server(lambda x: x.answer(200, {"hello": "world"})) as server:
        judge(place, server, "JSON of another kind", ("yes", "unknown", "unknown"), 7, "something else instead", "address of the API")
    with Server(lambda x: x.answer(200, LIST) if x.path == "/v1/models" else x.answer(404, "404 page not found", mime="text/plain")) as server:
        judge(place, server, "base_url without /v1", ("yes", "unknown", "unknown"), 7, "base_url lacks /v1", r"add /v1 to the base_url of \[model gpt-small\]",
              url=server.url[:-3])
        row, r = ask(place, server, "endpoint = /v1/chat/completions", url=server.url[:-3])
        tap.equal((r.code, answers(row)), (0, ("yes", "unknown", "yes")), "an endpoint with /v1 has it")
    with Server(lambda x: x.send(b"SSH-2.0-OpenSSH_9.2\r\n")) as server:
        judge(place, server, "no HTTP", ("no", "unknown", "unknown"), 7, "no answer from", "check the port")
    with Server(listening=False) as server:
        judge(place, server, "a refused connection", ("no", "unknown", "unknown"), 7, "cannot connect to .*Couldn't connect", "start the server")
    judge(place, None, "a host that is none", ("no", "unknown", "unknown"), 7, "Could not resolve host: no-host.invalid", "DNS",
          url="http://no-host.invalid/v1")


def test_silence(place):
    limits = ("first_byte_timeout = 200ms",)
    for name, script, message in [
        ("a server that hangs", lambda x: x.wait_closed(), r"takes the connection, but does not answer within \d+ms"),
        ("an answer without end", lambda x: (x.send(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"),)
         and None, "broke off"),
    ]:
        with Server(script) as server:
            row, r = ask(place, server, *limits)
            tap.ok(r.code == 7 and row["ok"] is False, f"{name}: 7", r)
            tap.matches(row["message"], message, f"{name}: what was found")
            tap.matches(row["advice"], "log", f"{name}: what to do")
    with Server(lambda x: wait_until(lambda: server.count == 8)) as server:
        sections = "".join(f"[model m{i}]\nbase_url = {server.url}\nfirst_byte_timeout = 10m\n" for i in range(8))
        place.configure(sections)
        r = place.run("models", "check")
        tap.equal((r.code, server.count), (7, 8), "eight that answer none before the last is asked are asked at once")
        tap.equal([line.split()[0] for line in r.lines[1:]], [f"m{i}" for i in range(8)] + ["echo"], "and told of in their order")


def test_commands(place):
    for name, content, mode in (("good", "#!/bin/sh\n", 0o755), ("plain", "#!/bin/sh\n", 0o644), ("lost", "#!/no/such/sh\n", 0o755),
                                ("empty", "", 0o755)):
        os.chmod(place.write(name, content), mode)
    cases = [
        ("./good", 0, "/good can be started$", None),
        ("sh -c true", 0, "/sh can be started$", None),
        ("./missing", 3, r"cannot start .*/missing \(No such file", "there is no such file"),
        ("no-such-program", 3, r"cannot start .*no-such-program \(No such file", "no such program in PATH"),
        ("./plain", 3, r"cannot start .*/plain \(Permission denied", "chmod"),
        ("./lost", 3, r"cannot start .*/lost \(No such file", "the interpreter that its first line names"),
        ("./empty", 3, r"cannot start .*/empty \(Exec format error", "#!/bin/sh"),
    ]
    for command, code, message, advice in cases:
        place.configure(f"[model c]\nprovider = command\ncommand = {command}\n")
        r = place.run("models", "check", "c", "--json")
        tap.ok(r.code == code and r.json["reachable"] == ("no" if code else "yes"), f"{command}: exit {code}", r)
        tap.matches(r.json["message"], message, f"{command}: what was found")
        tap.matches(r.json["advice"] or "", advice or "^$", f"{command}: what to do")
    place.configure("[model c]\nprovider = command\ncommand = ./good\napi_key_env = TEST_KEY\n")
    r = place.run("models", "check", "c", "--json")
    tap.ok(r.code == 3 and r.json["key"] == "no" and r.json["advice"] == "set the environment variable TEST_KEY", "its key is missing: 3", r)


def test_parked(place):
    with Server(with_key) as server:
        place.configure(f"[model gpt-small]\nbase_url = {server.url}\napi_key_env = TEST_KEY\n")
        place.submit("x", "--model", "gpt-small")
        place.sql("INSERT INTO model_state (model_id, state, reason) VALUES ('gpt-small', 'parked', 'a wrong key')")
        r = place.run("models", "check", "gpt-small", "--json", env={"TEST_KEY": KEY})
        tap.ok(r.code == 0 and "genrun models resume gpt-small" in r.json["advice"], "one that is fine now, but parked", r)
        tap.contains(r.err, "genrun models resume gpt-small", "which is told of")
        tap.equal(place.run("-q", "models", "check", "gpt-small", env={"TEST_KEY": KEY}).err, "", "but not with -q")
        tap.equal(place.value("SELECT state FROM model_state"), "parked", "it stays so")
        tap.equal(place.value("SELECT count(*) FROM generations WHERE status='queued'"), 1, "and nothing ran")


def test_models(place):
    place.configure("[model unused]\nbase_url = http://127.0.0.1:9/v1\n")
    place.submit("x", "--model", "echo")
    place.submit("x", "--model", "echo", "--delay", "1h")
    place.sql("INSERT INTO model_state (model_id, state, reason, since) VALUES ('echo', 'parked', 'a reason', 1767225600000)")
    o = {m["name"]: m for m in place.run("models", "--json").jsonl}
    tap.equal((o["echo"]["queued"], o["echo"]["since"]), (2, "2026-01-01T00:00:00.000Z"), "models: what is delayed is queued, too; since when it is parked")
    tap.equal((o["unused"]["queued"], o["unused"]["since"]), (0, None), "one that was never used")
    tap.result(place.run("models", "resume", "unused"), 0, "it is open", out="^unused ok\n$")
    tap.error_line(place.run("models", "resume", "unsued"), 4, "not known", "a name that is none: 4")


def test_without_database(place):
    r = place.run("models", "check", "--json")
    tap.equal((r.code, r.json["name"]), (0, "echo"), "no database is needed")
    tap.ok(not os.path.exists(place.database), "and none is made")


tap.main(globals())
