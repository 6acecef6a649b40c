#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What servers do, and what becomes of the generation: its state, type, attempts, what is kept and what the
model is taken for. One server plays all parts, each under a model name of its own."""
import json
import os
import socket
import struct
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap
from server import Server

CONFIG = """
[scheduler]
concurrency = 8
max_attempts = 2
backoff_min = 10ms
backoff_max = 20ms
[model *]
base_url = {url}
"""


def reset(x):
    """Ends the connection with a reset instead of an orderly end."""
    x.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    x.connection.close()


def broken_stream(x):
    x.begin_stream()
    x.event("half an ")
    x.event("answer")
    reset(x)


def cut_stream(x):
    x.begin_stream()
    x.event("half an answer")


def error_in_stream(x):
    x.begin_stream()
    x.event("half an answer")
    x.send(b'data: {"error": {"message": "the engine has died", "type": "server_error"}}\n\n')


def whole(content, **more):
    return {"id": "c", "object": "chat.completion", "choices": [
        {"index": 0, "message": {"role": "assistant", "content": content, **more}, "finish_reason": "stop"}]}


# name: what the server does, then state, error type, attempts, part of the message, (text, partial) kept
CASES = {
    "reset": (reset, "failed", "NetworkError", 2, "", None),
    "broken": (broken_stream, "failed", "NetworkError", 2, "broke", ("half an answer", 1)),
    "cut": (cut_stream, "failed", "ModelGenerationError", 2, "without finish_reason", ("half an answer", 1)),
    "dies": (error_in_stream, "failed", "ModelGenerationError", 2, "the engine has died", ("half an answer", 1)),
    "garbage": (lambda x: x.send(b"\x00\xff\xfe not http at all\r\n\r\n"), "failed", "ModelGenerationError", 2, "HTTP", None),
    "page": (lambda x: x.answer(200, "<html>Welcome to your proxy</html>", mime="text/html"), "failed", "ModelGenerationError",
             2, "", None),
    "empty": (lambda x: x.answer(200, ""), "failed", "ModelGenerationError", 2, "", None),
    "no-choice": (lambda x: x.answer(200, {"choices": []}), "failed", "ModelGenerationError", 2, "", None),
    "error-in-200": (lambda x: x.answer(200, {"error": {"message": "provider down", "code": 502}}), "failed",
                     "ModelGenerationError", 2, "provider down", None),
    "500": (lambda x: x.error(500, "oh no"), "failed", "ModelGenerationError", 2, "oh no", None),
    "504": (lambda x: x.answer(504, "<html>504 Gateway Time-out</html>", mime="text/html"), "failed", "TimeoutError", 2, "504", None),
    "400": (lambda x: x.error(400, "bad colour"), "failed", "InvalidRequestError", 1, "bad colour", None),
    "404": (lambda x: x.error(404, "The model does not exist", code="model_not_found"), "failed", "InvalidRequestError", 1,
            "does not exist", None),
    "413": (lambda x: x.answer(413, "too large", mime="text/plain"), "failed", "InvalidRequestError", 1, "413", None),
    "too-long": (lambda x: x.error(400, "maximum context length is 8192 tokens", code="context_length_exceeded"), "failed",
                 "InvalidRequestError", 1, "8192", None),
    "filtered": (lambda x: x.error(400, "flagged", code="content_filter"), "failed", "ContentFilterError", 1, "flagged", None),
    "401": (lambda x: x.error(401, "no key"), "queued", None, 0, "", None),
    "403": (lambda x: x.error(403, "not for you"), "queued", None, 0, "", None),
    "quota": (lambda x: x.error(429, "You exceeded your current quota", code="insufficient_quota"), "queued", None, 0, "", None),
    "plain": (lambda x: x.chat("fine"), "completed", None, 1, "", ("fine", 0)),
    "unasked": (lambda x: x.answer(200, whole("not streamed")), "completed", None, 1, "", ("not streamed", 0)),
    "unicode": (lambda x: x.chat("häil ☀ 雨 🌧"), "completed", None, 1, "", ("häil ☀ 雨 🌧", 0)),
    "long": (lambda x: x.chat("long " * 600000), "completed", None, 1, "", ("long " * 600000, 0)),
}


def test_answers(place):
    with Server(lambda x: CASES[x.json["model"]][0](x)) as server:
        place.configure(CONFIG.format(url=server.url))
        ids = {name: place.submit("x", "--model", name) for name in CASES}
        r = place.run("run", "--drain", "--drain-wait", "3s", timeout_s=60)
        tap.equal(r.code, 5, "the drain leaves what is parked")
        for name, (_, status, kind, attempts, message, output) in CASES.items():
            row = place.show(ids[name])
            context = row["parameters"].get("errorContext") or {}
            tap.equal((row["status"], context.get("type"), row["attempts"]), (status, kind, attempts), f"{name}: state, type, attempts")
            tap.ok(message in (row["errorMessage"] or "") and (kind is None or row["errorMessage"]), f"{name}: the message",
                   row["errorMessage"])
            kept = place.sql("SELECT content, partial FROM outputs WHERE generation_id = ?", ids[name])
            tap.ok(kept == ([output] if output else []), f"{name}: what is kept", lambda: str(kept)[:500])
        parked = [m["name"] for m in place.run("models", "--json").jsonl if m["state"] == "parked"]
        tap.equal(sorted(parked), ["401", "403", "quota"], "parked are those that a person must see to")
        errors = place.value("SELECT count(*) FROM logs WHERE event IN ('generation.failed', 'generation.retrying', 'generation.parked')"
                             " AND (message IS NULL OR message = '' OR lower(message) LIKE '%unknown error%')")
        tap.equal((errors, server.failures), (0, []), "every failure in the log has a reason")


def test_many_outputs(place):
    """As many as a generation keeps, and one more, which is a failure that says so: none is lost in silence."""
    def script(x):
        count = int(x.prompt)
        x.answer(200, {"choices": [{"index": i, "message": {"role": "assistant", "content": f"choice {i}"}, "finish_reason": "stop"}
                                   for i in range(count)]})

    with Server(script) as server:
        place.configure(CONFIG.format(url=server.url))
        most, more = (place.submit(str(n), "--model", "m", "--param", f"n={n}") for n in (1024, 1025))
        tap.equal(place.run("run", "--drain").code, 1, "one of two fails")
        all_1024 = [(f"choice {i}",) for i in range(1024)]
        for id, status, partial in ((most, "completed", 0), (more, "failed", 1)):
            kept = place.sql("SELECT content FROM outputs WHERE generation_id = ? AND partial = ? ORDER BY idx", id, partial)
            tap.ok((place.status(id), kept) == (status, all_1024), f"{status}: 1024 are kept", lambda: str(kept)[:200])
        row = place.show(more)
        tap.equal((row["errorMessage"], row["attempts"]), ("the answer has 1025 outputs, and a generation keeps at most 1024: ask for fewer", 1),
                  "with the reason, and not tried again")


def test_requests_go_out_as_given(place):
    """A whole body goes out as it is, but for the model's name and what makes it stream."""
    body = {"model": "name-of-the-caller", "messages": [{"role": "user", "content": "a"}], "temperature": 0.7, "seed": 12345678901234567890,
            "tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}], "x_unknown": [1, None, {"y": True}]}
    with Server(lambda x: x.answer(200, whole("ok"))) as server:
        place.configure(CONFIG.format(url=server.url))
        place.write("b.jsonl", json.dumps({"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": body}) + "\n" +
                    json.dumps({"custom_id": "2", "method": "POST", "url": "/v1/embeddings",
                                "body": {"model": "e", "input": ["a", "b"]}}) + "\n")
        r = place.run("batch", "submit", "b.jsonl", "--wait")
        chat = next(x for x in server.requests if x.path == "/v1/chat/completions")
        sent = chat.json
        tap.equal({k: v for k, v in sent.items() if k not in ("stream", "stream_options")}, body, "the chat request is the caller's")
        tap.equal(b"12345678901234567890" in chat.body, True, "to the last digit")
        embedding = next(x for x in server.requests if x.path != "/v1/chat/completions")
        tap.equal((embedding.path, embedding.json), ("/v1/embeddings", {"model": "e", "input": ["a", "b"]}), "so is that of an embedding")
        results = place.run("batch", "results", r.id).jsonl
        tap.equal([x["response"]["body"] for x in results], [whole("ok")] * 2, "an unstreamed answer comes back as it was")


def test_a_retry_avoids_kept_connections(place):
    """A server that was restarted has closed each kept connection: the second attempt does not meet another of them."""
    all_of_them = threading.Barrier(8, timeout=60)
    used = {}

    def script(x):
        used[x.connection] = used.get(x.connection, 0) + 1
        if used[x.connection] == 1:
            if x.prompt.startswith("first"):
                all_of_them.wait()  # so each has a connection of its own
            x.chat(x.prompt)

    with Server(script) as server:
        place.configure(CONFIG.format(url=server.url) + "stream = no\n")
        place.start_runner()
        for prompts in ("first", "second"):
            place.write("items.txt", "".join(f"{prompts} {i}\n" for i in range(8)))
            r = place.run("batch", "submit", "items.txt", "--model", "m")
            tap.ok(place.run("batch", "watch", r.id).code == 0, f"{prompts}: all complete")


def test_connections_that_end(place):
    """A server closes each connection without saying so: a request that meets that is not sent again unasked."""
    def script(x):
        x.chat(x.prompt)
        x.keep = False

    with Server(script) as server:
        place.configure(CONFIG.format(url=server.url) + "stream = no\n")
        place.write("items.txt", "".join(f"item {i}\n" for i in range(60)))
        r = place.run("batch", "submit", "items.txt", "--model", "m", "--wait")
        tap.ok(r.code == 0, "60 items complete", r)
        starts = dict(place.sql("SELECT prompt, starts FROM generations"))
        sent = [x.prompt for x in server.requests]
        tap.ok(all(1 <= sent.count(prompt) <= starts[prompt] for prompt in starts), "nothing was sent behind the back of an attempt",
               [(prompt, sent.count(prompt), n) for prompt, n in starts.items() if sent.count(prompt) > n])
        tap.note(f"{server.connections} connections, {sum(starts.values())} starts")


tap.main(globals())
