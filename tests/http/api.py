#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Each path of /api as an application uses it: what is submitted, listed, changed and told, and what is refused."""
import os
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import shell
import tap
from genrun import wait_until
from server import Server
from web import Web

NOBODY = "00000000-0000-7000-8000-000000000000"
# One slot, so that what is submitted behind a long one waits.
ECHO = "[genrun]\ndefault_model = echo\n[model echo]\nprovider = echo\n"


def submit(web, prompt="hi", **body):
    r = web.post("/api/generate", {"prompt": prompt, **body})
    if r.status != 202:
        raise RuntimeError(f"not accepted: {r}")
    return r.json["id"]


def later(web, prompt="later", **body):
    """One that waits for an hour."""
    return submit(web, prompt, delay="1h", **body)


def refused(r, status, part, name, code=None, param=None):
    e = r.error
    tap.ok(r.status == status and part in e["message"] and (code is None or e["code"] == code) and (param is None or e["param"] == param)
           and r.headers.get("x-request-id"), name, r)


def mass(web, count, **body):
    r = web.post("/api/batch-jobs", {"items": [f"p{i}" for i in range(count)], **body})
    if r.status != 202:
        raise RuntimeError(f"not accepted: {r}")
    return r.json["jobId"]


def ended(web, job):
    wait_until(lambda: web.get(f"/api/batch-jobs/{job}").json["status"] in ("completed", "failed", "cancelled"), 20, "the end of the batch job")
    return web.get(f"/api/batch-jobs/{job}").json


# ---- generations ----


def test_submit(place):
    place.configure(ECHO)
    with Web(place) as web:
        body = {"prompt": "hello", "modelId": "echo", "parameters": {"seed": 1}, "sessionId": "s", "clientId": "c", "priority": 7, "userId": "ann"}
        r = web.post("/api/generate", body)
        id = r.json["id"]
        tap.ok(r.status == 202 and r.json["status"] == "queued" and r.headers["location"] == f"/api/generations/{id}", "202, its id, where to look", r)
        web.wait_status(id, "completed")
        o = web.get(f"/api/generations/{id}").json
        tap.equal({k: o[k] for k in ("prompt", "modelId", "parameters", "sessionId", "clientId", "priority", "userId", "stuck", "lastStep", "lastHeartbeat")},
                  {"prompt": "hello", "modelId": "echo", "parameters": {"seed": 1}, "sessionId": "s", "clientId": "c", "priority": 7, "userId": "ann",
                   "stuck": False, "lastStep": "outputs:store", "lastHeartbeat": None}, "the row, in camelCase")
        tap.equal(o["outputs"], [{"index": 0, "mime": "text/plain", "bytes": 5, "partial": False, "content": "hello"}], "with its output")
        tap.matches(o["completedAt"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$", "times in RFC 3339")
        tap.equal(web.get(f"/api/generations/{id[-8:]}").json["id"], id, "the end of an id serves")
        r = web.get(f"/api/generations/{id}/outputs/0")
        tap.ok(r.body == b"hello" and "sandbox" in r.headers["content-security-policy"] and r.headers["content-disposition"].startswith("attachment"),
               "the bytes of an output, which a browser does not run as ours", r)
        tap.equal([e["event"] for e in web.get(f"/api/generations/{id}/logs").json["data"]],
                  ["generation.queued", "generation.processing", "generation.completed"], "its events")
        shown = place.run("list", "--json").jsonl[0]
        tap.equal(web.get("/api/generations").json["data"], [shown], "lists print the objects of --json")

        r = web.post("/api/generate", body)
        tap.ok(r.status == 200 and r.json["id"] == id and r.json["status"] == "completed", "the same clientId: 200, and the first", r)
        refused(web.post("/api/generate", {**body, "prompt": "other"}), 409, "other prompt", "with another prompt: 409", "conflict")
        tap.equal(web.post("/api/generate", {**body, "userId": "bob"}).status, 202, "of another user it is another one")
        big = b'{"prompt":"x","parameters":{"n":12345678901234567890, "f": 1.50}}'
        r = web.request("POST", "/api/generate", big, headers={"Content-Type": "application/json"})
        tap.contains(web.get(f"/api/generations/{r.json['id']}").body.decode(), '{"n":12345678901234567890, "f": 1.50}', "parameters are kept to the byte")
        for body, part, param in (({"prompt": "x", "modelid": "echo"}, "did you mean 'modelId'?", "modelid"), ({"prompt": 5}, "expected a string", "prompt"),
                                  ({"prompt": "x", "modelId": "ecko"}, "did you mean 'echo'?", None), ({}, "neither a prompt", None),
                                  ({"prompt": "x", "priority": 1001}, "from -1000 to 1000", "priority"), ({"prompt": "x", "parameters": []}, "expected an object", "parameters")):
            refused(web.post("/api/generate", body), 400, part, f"refused: {body}", param=param)
        refused(web.request("POST", "/api/generate", b'{"prompt": "x",}', headers={"Content-Type": "application/json"}), 400, "byte 16", "broken JSON, with its place")
        tap.equal(web.get("/api/stats").json["completed"] + web.get("/api/stats").json["queued"] + web.get("/api/stats").json["processing"], 3,
                  "nothing that was refused was stored")


def test_large_outputs(place):
    place.configure(ECHO)
    with Web(place) as web:
        id = submit(web, "0123456789abcdef", parameters={"repeat": 70000})
        web.wait_status(id, "completed")
        output = web.get(f"/api/generations/{id}").json["outputs"][0]
        tap.ok(output["content"] is None and output["bytes"] > 1 << 20, "a large output is told, without its content", output)
        tap.equal(len(web.get(f"/api/generations/{id}/outputs/0").body), output["bytes"], "and is there by its own path")
        refused(web.get(f"/api/generations/{id}/outputs/1"), 404, "no output 1", "one that is not: 404", "not_found")
        refused(web.get(f"/api/generations/{id}/outputs/x"), 404, "no such output", "nor by a word")


def test_changes(place):
    place.configure(ECHO)
    with Web(place) as web:
        id = later(web)

        def change(what, status, body=None):
            r = web.post(f"/api/generations/{id}/{what}", body)
            tap.ok(r.status == 200 and set(r.json) == {"success", "status", "message"} and r.json["success"] is True and r.json["status"] == status,
                   f"{what}: {status}", r)

        change("cancel", "cancelled", {"reason": "not needed"})
        change("cancel", "cancelled")
        tap.equal(web.get(f"/api/generations/{id}").json["parameters"]["cancelledReason"], "not needed", "the reason is kept")
        refused(web.post(f"/api/generations/{id}/fail"), 409, "is cancelled", "an illegal one: 409, with the state", "conflict")
        change("dismiss", "cancelled")
        tap.ok(web.get(f"/api/generations/{id}").json["dismissedAt"], "dismissed")
        change("dismiss", "cancelled", {"undo": True})
        tap.equal(web.get(f"/api/generations/{id}").json["dismissedAt"], None, "and not any more")
        change("retry", "queued")
        web.wait_status(id, "completed")
        r = web.post(f"/api/generations/{id}/retry")
        refused(r, 409, "is completed", "retry of a completed one: 409")
        tap.equal(r.headers.get("x-should-retry"), "false", "and clients are told not to try again")
        refused(web.post(f"/api/generations/{id}/recover"), 409, "not stuck", "recover of one that is not stuck: 409")
        id = later(web)
        change("fail", "failed", {"reason": "by hand"})
        tap.equal(web.get(f"/api/generations/{id}").json["errorType"], "OperatorError", "failed by hand")
        for path in ("", "/outputs/0", "/logs"):
            refused(web.get(f"/api/generations/{NOBODY}{path}"), 404, "does not exist", f"an unknown id{path}: 404", "not_found")
        refused(web.get("/api/generations/x"), 400, "is not an id", "no id at all: 400")
        refused(web.post(f"/api/generations/{id}/cancel", {"reasons": "x"}), 400, "did you mean 'reason'?", "unknown members are refused", param="reasons")


def test_process(place):
    place.configure(ECHO)
    with Web(place) as web:
        id = later(web, userId="ann")
        r = web.post("/api/generate/process", {"generationId": id})
        tap.ok(r.status == 202 and r.json["status"] == "queued" and not r.json["skipped"], "one that waits runs next", r)
        web.wait_status(id, "completed")
        r = web.post("/api/generate/process", {"generationId": id})
        tap.ok(r.status == 200 and r.json["status"] == "completed", "a finished one is answered as it is", r)
        tap.equal(web.get(f"/api/generations/{id}").json["starts"], 1, "and runs once")
        id = later(web)
        web.post(f"/api/generations/{id}/cancel")
        r = web.post("/api/generate/process", {"generationId": id})
        tap.ok(r.status == 200 and r.json["status"] == "cancelled" and r.json["skipped"], "a cancelled one is skipped", r)
        refused(web.post("/api/generate/process", {"generationId": NOBODY}), 404, "does not exist", "an unknown one: 404")
        refused(web.post("/api/generate/process", {}), 400, "generationId", "none: 400", "missing_required_parameter", "generationId")


def test_filters(place):
    place.configure(ECHO)
    with Web(place) as web:
        ids = [later(web, f"p{i}", userId="ann" if i % 2 else "bob", sessionId=f"s{i % 3}") for i in range(6)]
        job = mass(web, 3, paused=True)

        def listed(query):
            r = web.get(f"/api/generations?{query}")
            if r.status != 200:
                raise RuntimeError(f"{query}: {r}")
            return [o["id"] for o in r.json["data"]]

        tap.equal(listed("user=ann"), [ids[5], ids[3], ids[1]], "of a user, the newest first")
        tap.equal(listed("userId=bob&sessionId=s0"), [ids[0]], "of a user in a session")
        tap.equal(listed("batch=" + job), [o["conversationId"] for o in web.get(f"/api/batch-jobs/{job}/items").json["data"]], "of a batch job, in its order")
        tap.equal(len(listed("status=queued&model=echo")), 9, "of a model in a state")
        tap.equal((listed("status=stuck"), listed("status=failed"), len(listed("since=1h"))), ([], [], 9), "stuck, failed, of the last hour")
        for query, part, param in (("status=running", "'stuck'", "status"), ("limit=0", "from 1 to 1000", "limit"), ("limit=1001", "from 1 to 1000", "limit"),
                                   ("usr=ann", "did you mean 'user'?", "usr"), ("after=x", "is not a cursor", None), ("since=yesterday", "duration", "since"),
                                   ("user=ann&user=bob", "twice", None), ("limit=", "empty", "limit")):
            refused(web.get(f"/api/generations?{query}"), 400, part, f"refused: ?{query}", param=param)
        refused(web.get(f"/api/generations?batch={NOBODY}"), 404, "does not exist", "an unknown batch job: 404")


def test_pages_while_rows_arrive(place):
    place.configure(ECHO)
    with Web(place) as web:
        first = [later(web, f"old {i}") for i in range(25)]
        stop = threading.Event()
        new = []

        def arrive():
            while not stop.is_set():
                new.append(later(web, "new"))

        feeder = threading.Thread(target=arrive)
        wait_until(lambda: len(first) == 25, 1, "the first ones")
        feeder.start()
        seen, cursor, pages = [], "", 0
        while True:
            r = web.get(f"/api/generations?limit=2{cursor}").json
            seen += [o["id"] for o in r["data"]]
            pages += 1
            if r["nextCursor"] is None:
                break
            wait_until(lambda: len(new) > pages, 10, "new rows")
            cursor = f"&after={r['nextCursor']}"
        stop.set()
        feeder.join()
        tap.equal(len(seen), len(set(seen)), "no row twice")
        tap.equal([id for id in seen if id in first], first[::-1], "and none is skipped")
        whole = web.get("/api/generations?limit=1000").json
        tap.ok(len(whole["data"]) == 25 + len(new) and whole["nextCursor"] is None, "all in one page", len(whole["data"]))


# ---- batch jobs ----


def test_batch_of_items(place):
    place.configure(ECHO)
    with Web(place) as web:
        items = ["plain \"]\" and \\ , \\", {"prompt": "b", "customId": "two", "parameters": {"temperature": 0.5}, "topic": "t", "sessionId": "s"},
                 {"messages": [{"role": "user", "content": "c"}], "seed": 7, "priority": 3}, {"prompt": "d\nd", "model": "echo"}]
        r = web.post("/api/batch-jobs", {"name": "four", "items": items, "modelId": "echo", "parameters": {"top_p": 0.9}, "concurrency": 2, "onError": "stop",
                                         "maxFailures": "50%", "maxCost": 1.5, "clientId": "k", "userId": "ann"})
        job = r.json["jobId"]
        tap.ok(r.status == 202 and r.json["id"] == job and r.json["totalItems"] == 4 and r.headers["location"] == f"/api/batch-jobs/{job}", "202, jobId and id", r)
        tap.equal({k: r.json[k] for k in ("name", "createdBy", "userId", "modelId", "concurrency", "onError", "maxCost", "format")},
                  {"name": "four", "createdBy": "ann", "userId": "ann", "modelId": "echo", "concurrency": 2, "onError": "stop", "maxCost": 1.5, "format": "jsonl"}, "as asked")
        tap.equal(ended(web, job)["successfulItems"], 4, "all of it runs")
        got = web.get(f"/api/batch-jobs/{job}/items").json["data"]
        tap.equal([(o["itemIndex"], o["status"], o["customId"], o["topic"]) for o in got],
                  [(0, "completed", None, None), (1, "completed", "two", "t"), (2, "completed", None, None), (3, "completed", None, None)], "its items, in their order")
        tap.equal(got[1]["parameters"], {"temperature": 0.5, "top_p": 0.9}, "parameters over the defaults")
        outputs = [web.get(f"/api/generations/{o['conversationId']}").json["outputs"][0]["content"] for o in got]
        tap.equal(outputs, ["plain \"]\" and \\ , \\", "b", "c", "d\nd"], "each prompt as it was given")
        again = web.post("/api/batch-jobs", {"items": items, "modelId": "echo", "parameters": {"top_p": 0.9}, "clientId": "k", "userId": "ann"})
        tap.ok(again.status == 200 and again.json["jobId"] == job, "the same clientId: 200, and the first", again)
        refused(web.post("/api/batch-jobs", {"items": ["x"], "clientId": "k", "userId": "ann"}), 409, "other prompts", "with other items: 409")
        tap.equal([o["id"] for o in web.get("/api/batch-jobs?user=ann&status=completed").json["data"]], [job], "listed")
        events = [e["event"] for e in web.get(f"/api/batch-jobs/{job}/logs").json["data"]]
        tap.ok(events[0] == "batch.created" and "batch.completed" in events and events.count("generation.completed") == 4, "its log", events)
        seen, after = [], 0
        while after is not None:
            r = web.get(f"/api/batch-jobs/{job}/logs?limit=3&after={after}").json
            seen += [e["event"] for e in r["data"]]
            after = r["nextCursor"]
        tap.equal(seen, events, "in pages, too")
        seen, before = [], 10**15
        while before is not None:
            r = web.get(f"/api/batch-jobs/{job}/logs?limit=3&before={before}").json
            seen += [e["event"] for e in r["data"]]
            before = r["nextCursor"]
        tap.equal(seen, events[::-1], "and backwards")
        for body, part, param in (({"items": []}, "it is empty", "items"), ({}, "items", "items"), ({"items": ["a", 5]}, "items[1] is neither", "items[1]"),
                                  ({"items": ["a", {"topic": "t"}]}, "items[1]: prompt is missing", "items[1].prompt"), ({"items": [{"prompt": "a", "modelId": "ecko"}]}, "did you mean 'echo'?", None),
                                  ({"items": [{"prompt": "a", "userId": "x"}]}, "belongs to the batch job", "items[0].userId"),
                                  ({"items": ["a"], "onError": "go"}, "'continue' or 'stop'", "onError"), ({"items": ["a"], "maxFailures": "many"}, "not a number of failures", None),
                                  ({"items": [{"prompt": "a", "customId": "1"}, {"prompt": "b", "customId": "1"}]}, "items[1]: customId", "items[1].customId")):
            refused(web.post("/api/batch-jobs", body), 400, part, f"refused: {body}", param=param)
        tap.equal(len(web.get("/api/batch-jobs").json["data"]), 1, "all items or none: nothing of what was refused is left")
        r = web.post("/api/batch-jobs", {"items": ["a", "b"], "dryRun": True})
        tap.ok(r.status == 200 and r.json["lines"] == 2 and len(web.get("/api/batch-jobs").json["data"]) == 1, "a dry run estimates, and stores nothing", r)


def form(fields, content, filename="up.jsonl"):
    parts = [f'--xx\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n'.encode() for k, v in fields.items()]
    parts.append(f'--xx\r\nContent-Disposition: form-data; name="file"; filename="{filename}"\r\n\r\n'.encode() + content + b"\r\n--xx--\r\n")
    return b"".join(parts)


def test_batch_of_a_file(place):
    place.configure(ECHO)
    with Web(place) as web:
        def upload(path, mime, content):
            return web.request("POST", path, content, headers={"Content-Type": mime})

        openai = b'{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"echo","messages":[{"role":"user","content":"hi"}]}}\n'
        for mime, content, format, items in (("application/jsonl", b'{"prompt":"a"}\n{"prompt":"b"}\n', "jsonl", 2), ("text/csv", b"prompt,topic\na,x\nb,y\n", "csv", 2),
                                             ("text/plain; charset=utf-8", b"one\ntwo\nthree\n", "txt", 3), ("application/x-ndjson", openai, "openai", 1)):
            r = upload("/api/batch-jobs?name=n&concurrency=3&paused=true", mime, content)
            tap.ok(r.status == 202 and (r.json["format"], r.json["totalItems"], r.json["name"], r.json["concurrency"], r.json["status"]) == (format, items, "n", 3, "paused"),
                   f"{mime}: {format}, the options in the query", r)
        r = upload("/api/batch-jobs", "multipart/form-data; boundary=xx", form({"name": "of a form", "maxCost": "0.5", "priority": "-2"}, b'{"prompt":"a"}\n'))
        tap.ok(r.status == 202 and (r.json["name"], r.json["maxCost"], r.json["priority"], r.json["format"]) == ("of a form", 0.5, -2, "jsonl"), "a form with a part file", r)
        refused(upload("/api/batch-jobs", "application/jsonl", b'{"prompt":"a"}\n{"prompt":\n'), 400, "upload.jsonl:2: invalid JSON", "a bad line, with its number")
        refused(upload("/api/batch-jobs?format=txt", "application/octet-stream", b""), 400, "empty", "an empty file")
        refused(upload("/api/batch-jobs?concurency=3", "text/plain", b"a\n"), 400, "did you mean 'concurrency'?", "an option that is none")
        refused(upload("/api/batch-jobs", "multipart/form-data; boundary=xx", form({"concurency": "3"}, b"a\n")), 400, "did you mean 'concurrency'?", "nor in a form")
        refused(upload("/api/batch-jobs", "multipart/form-data; boundary=xx", b'--xx\r\nContent-Disposition: form-data; name="name"\r\n\r\nx\r\n--xx--\r\n'), 400, "'file'", "a form without a file")
        tap.equal(len(web.get("/api/batch-jobs").json["data"]), 5, "nothing of what was refused is left")


def test_batch_results(place):
    place.configure(ECHO)
    with Web(place) as web:
        r = web.post("/api/batch-jobs", {"items": [{"prompt": "slow", "delay": "50ms"}, {"prompt": "bad", "fail": "InvalidRequestError"}, "fast"], "modelId": "echo"})
        job = r.json["jobId"]
        ended(web, job)
        r = web.get(f"/api/batch-jobs/{job}/results")
        tap.equal(r.body.decode(), place.run("batch", "results", job).out, "results as the command writes them")
        tap.ok(r.headers["content-type"] == "application/jsonl" and f'filename="{job}_results.jsonl"' in r.headers["content-disposition"], "as a file", r.headers)
        for query, args in (("errors=true", ["--errors"]), ("format=csv&order=done", ["--format", "csv", "--order", "done"]), ("format=openai", ["--format", "openai"])):
            tap.equal(web.get(f"/api/batch-jobs/{job}/results?{query}").body.decode(), place.run("batch", "results", job, *args).out, query)
        refused(web.get(f"/api/batch-jobs/{job}/results?format=xml"), 400, "'csv'", "another format")
        refused(web.get(f"/api/batch-jobs/{NOBODY}/results"), 404, "does not exist", "of an unknown one: 404")
        r = web.post(f"/api/batch-jobs/{job}/retry", {"dryRun": True})
        tap.ok("1 item" in r.json["message"] and r.json["status"] == "completed", "a dry run of a retry counts", r)
        r = web.post(f"/api/batch-jobs/{job}/retry")
        tap.ok(r.status == 200 and r.json["success"] and "1 item" in r.json["message"], "its failed item is queued again", r)
        ended(web, job)
        starts = [web.get(f"/api/generations/{o['conversationId']}").json["starts"] for o in web.get(f"/api/batch-jobs/{job}/items").json["data"]]
        tap.equal(starts, [1, 2, 1], "and only that ran again")


def test_no_room_for_results(place):
    place.write("file", "x")
    place.configure(ECHO.replace("[genrun]", "[genrun]\ndata_dir = file"))
    with Web(place) as web:
        job = mass(web, 1)
        ended(web, job)
        r = web.get(f"/api/batch-jobs/{job}/results")
        refused(r, 507, "cannot be written to the server's disk", "a disk that takes nothing: 507, and why", "storage_failed")


def test_batch_steered(place):
    place.configure(ECHO)
    with Web(place) as web:
        job = mass(web, 2, paused=True)

        def steer(what, status, body=None):
            r = web.post(f"/api/batch-jobs/{job}/{what}", body)
            tap.ok(r.status == 200 and set(r.json) == {"success", "status", "message"} and r.json["status"] == status, f"{what}: {status}", r)

        r = web.post(f"/api/batch-jobs/{job}/process-next")
        tap.ok(r.status == 200 and (r.json["processed"], r.json["remaining"], r.json["status"]) == (1, 1, "completed"), "exactly one item, though it is paused", r)
        tap.equal(web.get(f"/api/batch-jobs/{job}").json["status"], "paused", "and stays so")
        steer("resume", "processing")
        ended(web, job)
        r = web.post(f"/api/batch-jobs/{job}/process-next")
        tap.equal((r.status, r.json), (200, {"processed": 0, "remaining": 0, "status": "empty", "id": None, "item": None}), "none waits any more")
        refused(web.post(f"/api/batch-jobs/{job}/cancel"), 409, "completed", "what has ended cannot be cancelled: 409", "conflict")
        job = mass(web, 2, paused=True)
        steer("pause", "paused", {"reason": "for now"})
        steer("cancel", "cancelled", {"reason": "enough"})
        steer("cancel", "cancelled")
        for what in ("resume", "pause", "retry", "process-next"):
            refused(web.post(f"/api/batch-jobs/{job}/{what}"), 409, "cancelled", f"{what} of a cancelled one: 409")
        for what in ("cancel", "pause", "resume", "retry", "process-next"):
            refused(web.post(f"/api/batch-jobs/{NOBODY}/{what}"), 404, "does not exist", f"{what} of an unknown one: 404")


def test_process_next_waits(place):
    def hold(x):
        x.wait_closed() if x.prompt == "held" else x.chat(x.prompt)

    with Server(hold) as server:
        place.configure(f"[scheduler]\nconcurrency = 4\n[model m]\nbase_url = {server.url}\n")
        with Web(place) as web:
            job = web.post("/api/batch-jobs", {"items": ["held", "quick"], "paused": True}).json["jobId"]
            r = web.post(f"/api/batch-jobs/{job}/process-next?wait=1ms")
            tap.ok(r.status == 202 and r.json["processed"] == 0 and r.json["status"] in ("processing", "queued"), "an attempt that takes longer than its wait: 202", r)
            answers = []
            waiter = threading.Thread(target=lambda: answers.append(web.post(f"/api/batch-jobs/{job}/process-next")))
            waiter.start()
            waiter.join(20)
            tap.equal([(a.status, a.json["status"]) for a in answers], [(200, "completed")], "meanwhile others are served")
            held = web.get(f"/api/batch-jobs/{job}/items").json["data"][0]["conversationId"]
            web.post(f"/api/generations/{held}/cancel")
            web.wait_status(held, "cancelled")


def test_process_next_races(place):
    place.configure(ECHO)
    with Web(place) as web:
        job = mass(web, 20, paused=True)
        answers = []
        callers = [threading.Thread(target=lambda: answers.append(web.post(f"/api/batch-jobs/{job}/process-next"))) for _ in range(24)]
        for caller in callers:
            caller.start()
        for caller in callers:
            caller.join(20)
        done = [a.json["id"] for a in answers if a.json["processed"]]
        tap.equal((len(answers), len(done), len(set(done))), (24, 20, 20), "callers that race get an item each, those beyond the last none")
        tap.equal({o["status"] for o in web.get(f"/api/batch-jobs/{job}/items").json["data"]}, {"completed"}, "and each item ran")


# ---- reports and upkeep ----


def test_reports(place):
    place.configure(ECHO)
    place.run("user", "set", "ann", "--name", "Ann", "--email", "ann@example.org")
    with Web(place) as web:
        for i in range(5):
            submit(web, f"p{i}", userId="ann" if i < 3 else None, sessionId="s" if i == 0 else None, parameters={"fail": "InvalidRequestError"})
        stuck = later(web, "stuck", userId="bob")
        wait_until(lambda: web.get("/api/stats").json["failed"] == 5, 10, "the failures")
        # As a runner that is gone would have left it.
        place.sql("UPDATE generation SET run_after=NULL, status='processing', starts=1, claim_token='x', started_at=1, runner_seq=NULL WHERE id=?", stuck)
        r = web.get("/api/admin/failed-generations").json
        tap.equal((r["total"], r["summary"]), (6, {"failed": 5, "stuck": 1}), "what failed and what is stuck")
        tap.equal(r["byUser"], [{"userId": "ann", "displayName": "Ann", "email": "ann@example.org", "count": 3}, {"userId": None, "displayName": None, "email": None, "count": 2},
                                {"userId": "bob", "displayName": None, "email": None, "count": 1}], "by user, the most first")
        tap.equal((len(r["generations"]), r["generations"][0]["id"]), (6, stuck), "each of them, what is stuck first")
        r = web.get("/api/admin/failed-generations?status=failed&userId=ann&limit=2").json
        tap.equal((r["total"], r["summary"], len(r["generations"])), (3, {"failed": 3, "stuck": 0}, 2), "of a user, counted beyond the limit")
        r = web.get("/api/admin/failed-generations?status=stuck&hoursAgo=1").json
        tap.equal((r["total"], [o["id"] for o in r["generations"]]), (1, [stuck]), "only what is stuck")
        o = web.get(f"/api/generations/{stuck}").json
        tap.equal((o["stuck"], [x["id"] for x in web.get("/api/generations?status=stuck").json["data"]]), (True, [stuck]), "stuck, as lists tell it")
        r = web.post("/api/admin/recover-generation", {"generationId": stuck})
        tap.ok(r.status == 200 and r.json["success"] and r.json["status"] == "queued", "stuck: queued again", r)
        web.wait_status(stuck, "completed")
        refused(web.post("/api/admin/recover-generation", {"generationId": stuck}), 409, "completed", "not stuck: 409")

        tap.equal(len(web.get("/api/generations/failed").json["data"]), 5, "what failed, of all for an admin")
        tap.equal(len(web.get("/api/generations/failed?hoursAgo=24&sessionId=s").json["data"]), 1, "in a session")
        refused(web.get("/api/generations/failed?hoursAgo=0"), 400, "from 1 to", "no hours")
        r = web.get("/api/failures?by=user").json["data"]
        tap.equal([(o["userId"], o["failureCount"]) for o in r], [("ann", 3), (None, 2)], "failures by user")
        shown = place.run("failures", "--json").jsonl
        tap.equal(web.get("/api/failures").json["data"], shown, "failures as the command gives them")
        for path, name in (("/api/failures", "failures"), ("/api/generations/failed", "what failed")):
            got, cursor = [], ""
            while cursor is not None and len(got) < 10:
                page = web.get(f"{path}?limit=2{cursor and '&after=' + cursor}").json
                got += [o["id"] for o in page["data"]]
                cursor = page["nextCursor"]
            tap.equal(got, [o["id"] for o in shown], f"{name}, page by page")
        other = web.get("/api/generations?limit=1").json["nextCursor"]
        refused(web.get(f"/api/failures?after={other}"), 400, "not a cursor of what failed", "another list's cursor", param="after")
        refused(web.get("/api/failures?by=type&after=c_5.5"), 400, "counts have no pages", "pages of counts", param="after")
        whole = [o["id"] for o in web.get(f"/api/generations/{shown[0]['id']}/logs").json["data"]]
        back, before = [], 10**15
        while before is not None and len(back) < 20:
            page = web.get(f"/api/generations/{shown[0]['id']}/logs?limit=2&before={before}").json
            back, before = back + [o["id"] for o in page["data"]], page["nextCursor"]
        tap.ok(len(whole) > 2 and back == whole[::-1], "the log of one backwards, page by page", (whole, back))
        refused(web.get(f"/api/generations/{shown[0]['id']}/logs?before=5&after=3"), 400, "exclude each other", "both ways", param="before")
        refused(web.get(f"/api/generations/{shown[0]['id']}/logs?before=0"), 400, "before", "before nothing", param="before")
        refused(web.get("/api/failures?by=moon"), 400, "'hour'", "by something else")


def test_upkeep(place):
    place.configure(ECHO)
    with Web(place) as web:
        tap.equal([o["name"] for o in web.get("/api/models").json["data"]], ["echo"], "the models")
        place.sql("INSERT OR REPLACE INTO model_state (model_id, state, reason, since) VALUES ('echo', 'parked', 'no key', 1)")
        tap.equal(web.get("/api/models").json["data"][0]["state"], "parked", "one that is parked")
        r = web.post("/api/models/echo/resume")
        tap.ok(r.status == 200 and r.json["status"] == "ok" and web.get("/api/models").json["data"][0]["state"] == "ok", "open again", r)
        refused(web.post("/api/models/nobody/resume"), 404, "not known", "an unknown one: 404")
        tap.contains([o["name"] for o in web.get("/api/jobs").json["data"]], "cleanup_stuck_generation", "the jobs")
        place.sql("INSERT INTO locks (name, owner, acquired_at, expires_at, reason) VALUES ('account:a/b:1', 'x', 1, 9e12, 'test')".replace("9e12", "9000000000000"))
        tap.equal([o["name"] for o in web.get("/api/locks").json["data"]], ["account:a/b:1"], "the locks")
        r = web.post("/api/locks/account:a%2Fb:1/release")
        tap.ok(r.status == 200 and r.json["status"] == "released" and web.get("/api/locks").json["data"] == [], "released", r)
        refused(web.post("/api/locks/account:a%2Fb:1/release"), 404, "no lock", "none of that name: 404")
        place.sql("UPDATE batch_count SET successful_items=successful_items+5 WHERE batch_seq=0")
        r = web.post("/api/admin/jobs/cleanup_stuck_generation", {"dryRun": True})
        tap.ok(r.status == 200 and r.json["found"] == 1 and r.json["fixed"] == 0 and r.json["findings"][0]["kind"] == "totals", "a dry run of a job finds", r)
        r = web.post("/api/admin/jobs/cleanup_stuck_generation")
        tap.ok(r.status == 200 and r.json["fixed"] == 1, "and a run repairs", r)
        tap.equal(shell.drift(place), [], "nothing has drifted")
        refused(web.post("/api/admin/jobs/cleanup"), 404, "there is no job", "an unknown job")
        stats = web.get("/api/stats").json
        tap.ok({"queued", "processing", "completed", "failed", "cancelled", "stuck", "oldestQueuedAt", "parkedModels", "costToday", "runnerPid"} <= set(stats), "stats", stats)


def test_what_there_is(place):
    with Web(place) as web:
        routes = web.get("/api").json["routes"]
        known = {(r["method"], r["path"]) for r in routes}
        wanted = {("POST", "/api/generate"), ("GET", "/api/generations"), ("GET", "/api/generations/{id}"), ("GET", "/api/generations/failed"),
                  ("POST", "/api/generate/process"), ("POST", "/api/admin/recover-generation"), ("GET", "/api/admin/failed-generations"), ("POST", "/api/batch-jobs"),
                  ("GET", "/api/batch-jobs"), ("GET", "/api/batch-jobs/{id}"), ("GET", "/api/batch-jobs/{id}/items"), ("GET", "/api/batch-jobs/{id}/logs"),
                  ("GET", "/api/batch-jobs/{id}/results"), ("GET", "/api/stats"), ("GET", "/api/failures"), ("GET", "/api/models"), ("GET", "/api/locks"), ("GET", "/api/jobs"),
                  ("POST", "/api/models/{name}/resume"), ("POST", "/api/locks/{name}/release"), ("POST", "/api/admin/jobs/{name}")}
        wanted |= {("POST", f"/api/generations/{{id}}/{w}") for w in ("cancel", "retry", "dismiss")}
        wanted |= {("POST", f"/api/batch-jobs/{{id}}/{w}") for w in ("cancel", "pause", "resume", "retry", "process-next")}
        tap.equal(wanted - known, set(), "GET /api lists every path")
        tap.equal([r for r in routes if not r["summary"] or r["role"] not in ("anyone", "user", "admin")], [], "each says what it is and for whom")


tap.main(globals())
