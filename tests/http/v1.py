#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""OpenAI's Files and Batch API from outside, byte by byte: uploads of every form, the objects, each refusal of a file
and of a request, pages while batches are made, results while a batch runs, ends, requests that are sent again, what is
another's, and kill -9 in the middle. (The official clients are run against it by tests/clients/openai_batch.py.)"""
import ctypes
import http.client
import json
import os
import sqlite3
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap
from genrun import wait_until
from server import Server
from web import Web

CHAT = "/v1/chat/completions"
TERMINAL = ("completed", "failed", "expired", "cancelled")


def line(custom_id, prompt="hi", model="echo", **more):
    return {"custom_id": custom_id, "method": "POST", "url": CHAT,
            "body": {"model": model, "messages": [{"role": "user", "content": prompt}]}, **more}


def jsonl(lines):
    return "".join((x if isinstance(x, str) else json.dumps(x)) + "\n" for x in lines)


def form(parts, boundary="form-data-boundary-x7"):
    """A multipart body; a part is (name, content) or (name, content, filename)."""
    out = b""
    for name, content, *filename in parts:
        file = f'; filename="{filename[0]}"\r\nContent-Type: application/octet-stream' if filename else ""
        out += f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n'.encode()
        out += (content if isinstance(content, bytes) else content.encode()) + b"\r\n"
    return out + f"--{boundary}--\r\n".encode(), {"Content-Type": f"multipart/form-data; boundary={boundary}"}


def post_form(web, *parts, **kw):
    body, headers = form(parts)
    return web.request("POST", "/v1/files", body, headers=headers, **kw)


def upload(web, content, name="in.jsonl", purpose="batch", **kw):
    """The id of an uploaded file."""
    content = content if isinstance(content, (str, bytes)) else jsonl(content)
    r = post_form(web, ("purpose", purpose), ("file", content, name), **kw)
    if r.status != 200:
        raise RuntimeError(f"not uploaded: {r}")
    return r.json["id"]


def create(web, file, headers=None, key="", **more):
    return web.post("/v1/batches", {"input_file_id": file, "endpoint": CHAT, "completion_window": "24h", **more}, headers=headers, key=key)


def batch_of(web, lines, **more):
    r = create(web, upload(web, lines), **more)
    if r.status != 200:
        raise RuntimeError(f"not created: {r}")
    return r.json["id"]


def get(web, id, **kw):
    return web.get(f"/v1/batches/{id}", **kw).json


def wait_for(web, id, *statuses):
    return wait_until(lambda: (lambda b: b["status"] in statuses and b)(get(web, id)), 20, f"{id} {statuses}")


def content(web, id, **kw):
    r = web.get(f"/v1/files/{id}/content", headers={"Accept": "application/binary"}, **kw)
    return [json.loads(x) for x in r.body.decode().splitlines()] if r.status == 200 else r.status


# ---- shapes ----


def test_way(place):
    with Web(place) as web:
        r = post_form(web, ("purpose", "batch"), ("file", jsonl([line("a", "one"), line("b", "two")]), "some/where/in.jsonl"))
        file = r.json
        tap.equal(list(file), ["id", "object", "bytes", "created_at", "expires_at", "filename", "purpose", "status", "status_details"], "members of a file")
        tap.equal((r.status, file["object"], file["filename"], file["purpose"], file["status"]), (200, "file", "in.jsonl", "batch", "processed"), "what it says")
        tap.equal(file["expires_at"] - file["created_at"], 30 * 86400, "a file for a batch stays 30 days, in whole seconds")
        tap.ok(len(file["id"]) == 37 and abs(file["created_at"] - time.time()) < 60, "id and time")
        tap.equal(web.get(f"/v1/files/{file['id']}").json, file, "the same by its id")
        tap.equal(web.get(f"/v1/files/{file['id']}/content").body.decode(), jsonl([line("a", "one"), line("b", "two")]), "its content, byte for byte")
        made = create(web, file["id"], metadata={"name": "nightly"}).json
        tap.equal({k: v for k, v in made.items() if k not in ("id", "created_at", "expires_at", "usage")},
                  {"object": "batch", "endpoint": CHAT, "model": None, "errors": None, "input_file_id": file["id"], "completion_window": "24h",
                   "status": "validating", "output_file_id": None, "error_file_id": None, "in_progress_at": None, "finalizing_at": None,
                   "completed_at": None, "failed_at": None, "expired_at": None, "cancelling_at": None, "cancelled_at": None,
                   "request_counts": {"total": 0, "completed": 0, "failed": 0}, "metadata": {"name": "nightly"}}, "a new batch, null-filled")
        tap.equal(made["expires_at"] - made["created_at"], 86400, "its window")
        done = wait_for(web, made["id"], *TERMINAL)
        tap.equal((done["status"], done["request_counts"], done["error_file_id"], done["model"]),
                  ("completed", {"total": 2, "completed": 2, "failed": 0}, None, "echo"), "it ran; without a failure there is no error file")
        tap.ok(all(isinstance(done[k], int) for k in ("created_at", "in_progress_at", "completed_at")), "times in whole seconds")
        tap.equal(done["usage"]["total_tokens"], done["usage"]["input_tokens"] + done["usage"]["output_tokens"], "usage")
        out = content(web, done["output_file_id"])
        tap.equal({x["custom_id"]: x["response"]["body"]["choices"][0]["message"]["content"] for x in out}, {"a": "one", "b": "two"}, "results by custom_id")
        tap.ok(all(set(x) == {"id", "custom_id", "response", "error"} and x["error"] is None and x["response"]["status_code"] == 200 and
                   x["response"]["request_id"] for x in out), "lines of an output file")
        result = web.get(f"/v1/files/{done['output_file_id']}").json
        tap.equal((result["purpose"], result["bytes"]), ("batch_output", len(web.get(f"/v1/files/{done['output_file_id']}/content").body)), "the result file")
        part = web.get(f"/v1/files/{done['output_file_id']}/content", headers={"Range": "bytes=0-5"})
        tap.equal((part.status, part.body), (206, b'{"id":'), "a range of it")
        for wrong in ("bytes=5-2", "bytes=5x", "bytes=0-1,3-4", "lines=1"):
            whole = web.get(f"/v1/files/{done['output_file_id']}/content", headers={"Range": wrong})
            tap.equal((whole.status, len(whole.body)), (200, result["bytes"]), f"the whole of it for {wrong}, which is no range")
        tap.equal([f["id"] for f in web.get("/v1/files?purpose=batch_output").json["data"]], [done["output_file_id"]], "listed by purpose")
        tap.equal(web.delete(f"/v1/files/{file['id']}").json, {"id": file["id"], "object": "file", "deleted": True}, "deleted")
        tap.equal(os.listdir(place.database + ".files"), [".database"], "also from the disk")
        r = place.run("batch", "show", done["id"], "--json")
        tap.equal((r.code, r.json["clientId"], r.json["name"]), (0, done["id"], "in.jsonl"), "it is a batch job like any other")
        models = web.get("/v1/models").json
        tap.equal((models["object"], models["data"]), ("list", [{"id": "echo", "object": "model", "created": 0, "owned_by": "echo"}]), "models")
        tap.equal(web.get("/v1/models/echo").json, models["data"][0], "one model")
        tap.equal(web.get("/v1/models/x").status, 404, "none of that name")


def test_models(place):
    place.configure("[model org/m-1]\nprovider = echo\n[model *]\nprovider = echo\n")
    with Web(place) as web:
        tap.equal(sorted(m["id"] for m in web.get("/v1/models").json["data"]), ["echo", "org/m-1"], "the configured ones, by the names to ask for")
        for path in ("org/m-1", "org%2Fm-1"):
            tap.equal(web.get(f"/v1/models/{path}").json["id"], "org/m-1", f"a name with a slash: {path}")
        r = web.get("/v1/models/org/x")
        tap.equal((r.status, r.error["code"]), (404, "model_not_found"), "none of that name")


def chunks(data, size):
    for i in range(0, len(data), size):
        yield data[i:i + size]


def test_uploads(place):
    with Web(place) as web:
        text = jsonl([line("a")])
        for what, parts in (("the file first", [("file", text, "x.jsonl"), ("purpose", "batch")]),
                            ("the purpose first", [("purpose", "batch"), ("file", text, "x.jsonl")]),
                            ("with a time", [("file", text, "x.jsonl"), ("purpose", "batch"), ("expires_after[anchor]", "created_at"),
                                             ("expires_after[seconds]", "3600")])):
            r = post_form(web, *parts)
            tap.equal((r.status, r.json.get("bytes")), (200, len(text)), what)
        tap.equal(r.json["expires_at"] - r.json["created_at"], 3600, "expires_after holds")
        body, headers = form([("file", text * 500, "x.jsonl"), ("purpose", "vision")])
        connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=30)
        connection.request("POST", "/v1/files", chunks(body, 977), {**headers, "Authorization": f"Bearer {web.key}"}, encode_chunked=True)
        answer = connection.getresponse()
        sent = json.loads(answer.read())
        tap.equal((answer.status, sent["bytes"], sent["purpose"], sent["expires_at"]), (200, 500 * len(text), "vision", None), "in chunks, without a length")
        connection.close()
        for parts, code, param, what in (
                ([("file", text, "x")], "missing_required_parameter", "purpose", "no purpose"),
                ([("purpose", "batch")], "missing_required_parameter", "file", "no file"),
                ([("file", text, "x"), ("purpose", "nope")], "invalid_value", "purpose", "a purpose that is none"),
                ([("file", text, "x"), ("purpose", "batch"), ("expires_after[anchor]", "created_at"), ("expires_after[seconds]", "5")],
                 "invalid_value", "expires_after[seconds]", "gone too soon"),
                ([("file", text, "x"), ("purpose", "batch"), ("expires_after[seconds]", "3600")],
                 "missing_required_parameter", "expires_after[anchor]", "no anchor")):
            r = post_form(web, *parts)
            tap.equal((r.status, r.error["type"], r.error["code"], r.error["param"]), (400, "invalid_request_error", code, param), what)
        r = web.post("/v1/files", {"purpose": "batch"})
        tap.equal((r.status, r.error["type"]), (400, "invalid_request_error"), "JSON is no form")
        tap.equal(len(os.listdir(place.database + ".files")), 5, "what was refused leaves nothing")
        kept = [f["id"] for f in web.get("/v1/files").json["data"]]
        seen = []
        while True:  # as a client does that deletes what it is shown
            page = web.get("/v1/files?limit=1" + (f"&after={seen[-1]}" if seen else "")).json
            seen += [f["id"] for f in page["data"]]
            web.delete(f"/v1/files/{seen[-1]}")
            if not page["has_more"]:
                break
        tap.equal(seen, kept, "each page goes on behind a file that is gone")
        tap.equal(web.get("/v1/files?limit=0").status, 400, "limit 0")


# ---- refusals ----


def test_lines(place):
    """Every row of the table of OpenAI's validation errors."""
    b = {"model": "echo", "messages": []}
    with Web(place) as web:
        for lines, expected in (
                ([line("1"), "{nope"], ("invalid_json_line", "This line is not parseable as valid JSON.", None, 2)),
                ([{k: v for k, v in line("1").items() if k != "custom_id"}], ("missing_required_parameter", "Missing required parameter: 'custom_id'.", "custom_id", 1)),
                ([{k: v for k, v in line("1").items() if k != "body"}], ("missing_required_parameter", "Missing required parameter: 'body'.", "body", 1)),
                ([line("1", url="/v1/embeddings")],
                 ("invalid_url", "The URL provided for this request does not match the batch endpoint.", "url", 1)),
                ([line("1", body={**b, "stream": True})],
                 ("streaming_unsupported", "Chat Completions: Streaming is not supported in the Batch API.", "body.stream", 1)),
                ([line("1", model="x")], ("model_not_found", "The provided model 'x' is not supported by the Batch API.", "body.model", 1)),
                ([line("1", body={"messages": []})], ("invalid_request", "Model parameter is required.", "body.model", 1)),
                ([line("1", body={"model": "echo"})], ("invalid_request", "Messages parameter is required.", "body.messages", 1))):
            failed = wait_for(web, batch_of(web, lines), *TERMINAL)
            error = failed["errors"]["data"][0] if failed["errors"] else {}
            tap.equal((failed["status"], failed["errors"] and failed["errors"]["object"], [error.get(k) for k in ("code", "message", "param", "line")]),
                      ("failed", "list", list(expected)), expected[1])
        tap.equal((failed["request_counts"]["total"], failed["in_progress_at"]), (0, None), "nothing of it ran")
        tap.ok(isinstance(failed["failed_at"], int), "when it failed")
        tap.equal(place.value("SELECT count(*) FROM batch_jobs"), 0, "and no batch job was made")
        failed = create(web, "file-nope").json
        tap.equal((failed["status"], failed["errors"]["data"][0]["code"], failed["errors"]["data"][0]["param"], failed["errors"]["data"][0]["line"]),
                  ("failed", "invalid_request", "file_id", None), "a file that is not there")
        tap.ok(failed["errors"]["data"][0]["message"].startswith("Cannot find file file-nope, or organization "), "in OpenAI's words")
        many = wait_for(web, batch_of(web, ["x"] * 300), *TERMINAL)
        tap.equal(len(many["errors"]["data"]), 100, "a hundred mistakes are kept")
        r = place.run("logs", "--event", "batch.refused", "--json")
        tap.ok(len(r.jsonl) == 10 and r.jsonl[0]["data"]["openaiBatchId"].startswith("batch_"), "each is in the log", r.out)


def test_requests(place):
    with Web(place) as web:
        file = upload(web, [line("1")])
        for more, code, param in (
                ({"endpoint": "/v1/bad"}, "invalid_value", "endpoint"), ({"completion_window": "12y"}, "invalid_value", "completion_window"),
                ({"completion_window": None}, "invalid_type", "completion_window"),
                ({"metadata": {"tags": ["a"]}}, "invalid_type", "metadata.tags"), ({"metadata": "x"}, "invalid_type", "metadata"),
                ({"metadata": {"k": "v" * 513}}, "string_above_max_length", "metadata.k"),
                ({"metadata": {f"k{i}": "v" for i in range(17)}}, "object_above_max_properties", "metadata"),
                ({"output_expires_after": {"anchor": "x", "seconds": 3600}}, "invalid_value", "output_expires_after.anchor"),
                ({"output_expires_after": {"anchor": "created_at", "seconds": 0}}, "integer_below_min_value", "output_expires_after.seconds"),
                ({"output_expires_after": {"anchor": "created_at"}}, "missing_required_parameter", "output_expires_after.seconds"),
                ({"input_file_id": 7}, "invalid_type", "input_file_id"), ({"unknown": 1}, "unknown_parameter", "unknown")):
            r = create(web, file, **more) if "input_file_id" not in more else web.post(
                "/v1/batches", {"endpoint": CHAT, "completion_window": "24h", **more})
            tap.equal((r.status, r.error["type"], r.error["code"], r.error["param"]), (400, "invalid_request_error", code, param), json.dumps(more)[:60])
        r = create(web, file, metadata={"tags": ["a"]})
        tap.equal(r.error["message"], "Invalid type for 'metadata.tags': expected a string, but got an array instead.", "OpenAI's words")
        tap.equal(place.value("SELECT count(*) FROM openai_batch"), 0, "nothing was stored")
        for method, path, param in (("GET", "/v1/batches/batch_nope", "id"), ("POST", "/v1/batches/batch_nope/cancel", "id"), ("GET", "/v1/files/file-nope", "id"),
                                    ("GET", "/v1/files/file-nope/content", "id"), ("DELETE", "/v1/files/file-nope", "id"),
                                    ("GET", "/v1/files/..%2Ftest.db/content", None)):
            r = web.request(method, path)
            tap.ok(r.status in (400, 404) and r.error["type"] == "invalid_request_error" and (not param or (r.status, r.error["param"]) == (404, param)),
                   f"{method} {path}: not there", r)
        done = wait_for(web, create(web, file).json["id"], "completed")
        r = web.post(f"/v1/batches/{done['id']}/cancel")
        tap.equal((r.status, r.error, r.headers.get("x-should-retry")),
                  (409, {"message": "Cannot cancel a batch with status 'completed'.", "type": "invalid_request_error", "param": None, "code": None}, "false"),
                  "an ended one is not cancelled, and there is no use in asking again")
        for path in ("/v1/batches?limit=101", "/v1/batches?after=x", "/v1/files?order=up"):
            tap.equal(web.get(path).status, 400, path)
        r = create(web, file, completion_window="none").json
        tap.equal(r["expires_at"], None, "a batch without a window")


# ---- pages ----


def test_pages(place):
    with Web(place) as web:
        made = [create(web, "file-none").json["id"] for _ in range(7)]
        stop = threading.Event()

        def go_on():
            while not stop.is_set():
                create(web, "file-none")

        maker = threading.Thread(target=go_on)
        maker.start()
        seen, after = [], ""
        while True:
            page = web.get(f"/v1/batches?limit=1{after}").json
            if (page["object"], len(page["data"]), page["first_id"], page["last_id"]) != ("list", 1, page["data"][0]["id"], page["data"][0]["id"]):
                raise RuntimeError(page)
            seen.append(page["data"][0]["id"])
            after = f"&after={seen[-1]}"
            if not page["has_more"]:
                break
        stop.set()
        maker.join()
        tap.equal([s for s in seen if s in made], made[::-1], "one by one, the newest first, while others are made: all, in order")
        tap.equal(len(set(seen)), len(seen), "none twice")
        for _ in range(14):
            create(web, "file-none")
        tap.equal((len(web.get("/v1/batches").json["data"]), len(web.get("/v1/batches?limit=21").json["data"])), (20, 21), "20 a page, or as many as asked for")


# ---- while it runs ----


def test_running(place):
    gate, broken = threading.Event(), threading.Event()

    def script(x):
        if x.prompt == "bad":
            return x.error(400, "no such thing", code="nope")
        if x.prompt == "wait":
            while not gate.is_set() and not x.closed_at and not x.wait_closed(0.02):
                pass
        return x.chat(x.prompt) if not x.closed_at else None

    with Server(script) as server:
        place.configure(f"[model m]\nbase_url = {server.url}\nconcurrency = 2\n[scheduler]\nconcurrency = 2\n")
        with Web(place) as web:
            id = batch_of(web, [line("1", "one", "m"), line("2", "bad", "m"), line("3", "wait", "m"), line("4", "four", "m"), line("5", "wait", "m")])
            now = wait_until(lambda: (lambda b: b["request_counts"]["completed"] == 2 and b["error_file_id"] and b)(get(web, id)), 20, "results")
            tap.equal((now["status"], now["request_counts"]), ("in_progress", {"total": 5, "completed": 2, "failed": 1}), "in the middle")
            tap.equal(sorted(x["custom_id"] for x in content(web, now["output_file_id"])), ["1", "4"], "results while it runs")
            error = content(web, now["error_file_id"])[0]
            tap.equal((error["custom_id"], error["response"]["status_code"], error["response"]["body"]["error"]["code"], error["error"]), ("2", 400, "nope", None),
                      "what the server refused is in the error file, with its answer")
            tap.equal(web.get("/v1/files?purpose=batch_output").json["data"], [], "listed only at the end")
            tap.result(place.run("batch", "pause", id, "--reason", "lunch"), 0, "paused by a command")
            now = get(web, id)
            tap.equal((now["status"], now["genrun"]["paused"], now["genrun"]["reason"]), ("in_progress", True, "lunch"), "a pause is told beside the status")
            tap.result(place.run("batch", "resume", id), 0, "and goes on")
            file = upload(web, [line("9", "wait", "m")])
            r = web.post(f"/v1/batches/{id}/cancel")
            tap.equal((r.status, r.json["status"]), (200, "cancelling"), "cancelled, without a body")
            tap.ok(isinstance(r.json["cancelling_at"], int) and r.json["cancelled_at"] is None, "when")
            end = wait_for(web, id, *TERMINAL)
            tap.equal((end["status"], end["request_counts"]), ("cancelled", {"total": 5, "completed": 2, "failed": 3}), "cancelled: what did not run has failed")
            codes = {x["custom_id"]: (x["error"] or {}).get("code") for x in content(web, end["error_file_id"])}
            tap.equal(codes, {"2": None, "3": "batch_cancelled", "5": "batch_cancelled"}, "lines of the error file")
            tap.equal(sorted(x["custom_id"] for x in content(web, end["output_file_id"])), ["1", "4"], "results stay")
            tap.equal(web.post(f"/v1/batches/{id}/cancel").json["status"], "cancelled", "cancelling a cancelled one is fine")
            tap.equal(len(web.get("/v1/files?purpose=batch_output").json["data"]), 2, "both result files are listed")
            late = create(web, file, completion_window="1h").json["id"]
            wait_until(lambda: server.count >= 5 and get(web, late)["status"] == "in_progress", 20, "it runs")
            place.sql("UPDATE openai_batch SET expires_at = 1000 WHERE id = ?", late)
            end = wait_for(web, late, *TERMINAL)
            tap.equal((end["status"], end["request_counts"]), ("expired", {"total": 1, "completed": 0, "failed": 1}), "the runner ends what is over")
            tap.ok(isinstance(end["expired_at"], int) and end["cancelled_at"] is None and end["output_file_id"] is None, "as expired, not as cancelled")
            tap.equal(content(web, end["error_file_id"])[0]["error"],
                      {"code": "batch_expired", "message": "This request could not be executed before the completion window expired."}, "its line")
            tap.equal(web.delete(f"/v1/files/{end['error_file_id']}").status, 200, "a result file is deleted")
            tap.equal(content(web, end["error_file_id"]), 404, "and gone")


def test_again(place):
    with Web(place) as web:
        file = upload(web, [line("1")])
        first = create(web, file, metadata={"a": "b"}).json["id"]
        for headers, more, same, what in (
                ({}, {"metadata": {"a": "b"}}, False, "asked for twice: two batches"),
                ({"x-stainless-retry-count": "0"}, {"metadata": {"a": "b"}}, False, "a first try is none that is sent again"),
                ({"x-stainless-retry-count": "1"}, {"metadata": {"a": "c"}}, False, "with other metadata: another one"),
                ({"x-stainless-retry-count": "1"}, {}, False, "without: another one")):
            r = create(web, file, headers=headers, **more)
            tap.equal((r.status, r.json["id"] == first), (200, same), what)
        last = web.get("/v1/batches?limit=1").json["data"][0]["id"]
        r = create(web, file, headers={"x-stainless-retry-count": "2"})
        tap.equal((r.status, r.json["id"]), (200, last), "sent again: the same one")
        count = place.value("SELECT count(*) FROM openai_batch")
        key = {"Idempotency-Key": "once"}
        once = create(web, file, headers=key).json["id"]
        tap.equal(create(web, file, headers=key).json["id"], once, "the same key: the same one")
        r = create(web, file, headers=key, metadata={"x": "y"})
        tap.equal((r.status, r.headers.get("x-should-retry")), (409, "false"), "with other parameters: a conflict")
        tap.equal(place.value("SELECT count(*) FROM openai_batch"), count + 1, "one was made")


def test_others(place):
    with Web(place) as web:
        ann, bob = (place.run("key", "add", "--user", u).lines[-1] for u in ("ann", "bob"))
        file = upload(web, [line("1")], key=ann)
        id = create(web, file, key=ann).json["id"]
        done = wait_until(lambda: (lambda b: b["status"] == "completed" and b)(get(web, id, key=ann)), 20, "the end")
        for method, path in (("GET", f"/v1/files/{file}"), ("GET", f"/v1/files/{file}/content"), ("DELETE", f"/v1/files/{file}"), ("GET", f"/v1/batches/{id}"),
                             ("POST", f"/v1/batches/{id}/cancel"), ("GET", f"/v1/files/{done['output_file_id']}/content"), ("GET", f"/v1/files/{done['output_file_id']}")):
            tap.equal(web.request(method, path, key=bob).status, 404, f"{method} {path[:12]}… of another")
        tap.equal(create(web, file, key=bob).json["errors"]["data"][0]["param"], "file_id", "nor is another's file read")
        tap.equal([len(web.get(p, key=k).json["data"]) for p in ("/v1/files", "/v1/batches") for k in (ann, bob, web.key)], [2, 0, 2, 1, 1, 2],
                  "lists: ann's, bob's, the admin's")
        tap.equal(place.value("SELECT user_id FROM batch_jobs"), "ann", "the batch job is ann's")
        key = {"Idempotency-Key": "k"}
        tap.ok(create(web, file, key=ann, headers=key).json["id"] != create(web, file, key=bob, headers=key).json["id"], "a key is one's own")


# ---- kill -9 ----

ITEMS = 12000


def unopened(place):
    try:
        return place.value("SELECT count(*) FROM batch_job WHERE opened_at IS NULL")
    except sqlite3.OperationalError:
        return False


def test_kill_validating(place):
    place.configure("[model m]\nprovider = echo\nconcurrency = 1\n")
    with Web(place) as web:
        id = batch_of(web, [line(str(i), "x", "m") for i in range(ITEMS)])
        wait_until(lambda: unopened(place), 20, "the file being read")
        web.process.kill()
        state = place.value("SELECT status FROM openai_batches WHERE id = ?", id)
        tap.ok(state in ("validating", "in_progress"), "killed while its file was read", state)
        open(os.path.join(place.database + ".files", "file-stray"), "w").close()
        web.start()
        now = wait_for(web, id, "in_progress", "completed")
        tap.equal(now["request_counts"]["total"], ITEMS, "after the restart it is read to its end")
        tap.equal(place.value("SELECT count(*) FROM generation"), ITEMS, "and nothing is there twice")
        tap.equal(place.value("SELECT count(*) FROM batch_job"), 1, "one batch job")
        tap.ok("file-stray" not in os.listdir(place.database + ".files"), "what a crash left of an upload is removed")
        web.post(f"/v1/batches/{id}/cancel")


def test_window_without_http(place):
    with Server(lambda x: x.wait_closed() and None) as server:
        place.configure(f"[model m]\nbase_url = {server.url}\n")
        with Web(place) as web:
            id = batch_of(web, [line("1", "x", "m"), line("2", "x", "m")])
            wait_for(web, id, "in_progress")
            web.process.kill()
        place.sql("UPDATE openai_batch SET expires_at = 1000")
        place.start_runner()
        wait_until(lambda: place.value("SELECT status FROM openai_batches WHERE id = ?", id) == "expired", 20, "the end of the window")
        r = place.run("batch", "results", id, "--errors", "--format", "openai")
        tap.equal([x["error"]["code"] for x in r.jsonl], ["batch_expired"] * 2, "a runner without HTTP ends what is over, after a restart, too")


def test_unreadable(place):
    with Web(place) as web:
        file = upload(web, [line("1")])
        path = os.path.join(place.database + ".files", file)
        os.rename(path, place.path("kept"))  # out of the folder: what is nobody's there is swept away
        os.mkdir(path)
        id = create(web, file).json["id"]
        wait_until(lambda: "the file of a batch could not be read now" in web.process.err, 20, "the trouble")
        tap.equal(get(web, id)["status"], "validating", "what is not the file's fault is no refusal")
        # In one step (renameat2, exchanged): the file is never missing, which would be its end.
        tap.equal(ctypes.CDLL(None).renameat2(-100, place.path("kept").encode(), -100, path.encode(), 2), 0, "the file is back")
        tap.equal(wait_for(web, id, *TERMINAL)["status"], "completed", "and is tried again when its state is asked for")


def test_kill_running(place):
    gate = threading.Event()
    with Server(lambda x: x.chat(x.prompt) if int(x.prompt) < 10 or gate.wait(20) else None) as server:
        place.configure(f"[model m]\nbase_url = {server.url}\nconcurrency = 4\n[scheduler]\nconcurrency = 4\n")
        with Web(place) as web:
            id = batch_of(web, [line(str(i), str(i), "m") for i in range(30)])
            wait_until(lambda: get(web, id)["request_counts"]["completed"] == 10 and server.count >= 14, 20, "the middle")
            web.process.kill()
            gate.set()
            web.start()
            done = wait_for(web, id, *TERMINAL)
            tap.equal((done["status"], done["request_counts"]), ("completed", {"total": 30, "completed": 30, "failed": 0}), "the client's poll simply goes on")
            prompts = [x.prompt for x in server.requests]
            tap.equal([p for p in range(10) if prompts.count(str(p)) != 1], [], "no finished line was run again")
            tap.equal(sorted(int(x["custom_id"]) for x in content(web, done["output_file_id"])), list(range(30)), "each line once in the output")


tap.main(globals())
