#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What is refused over HTTP names fields and paths, never options and commands: a table of what clients get wrong, and
of what answers them. `param` is the field's name as the client wrote it."""
import json
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap
from web import Web

# No word of the command line: an option, or a command between quotes.
COMMAND_LINE = re.compile(r"(^|[\s'(])--[a-z]|'genrun |genrun \w+ [A-Z]{2}")
CONFIG = ("[model fine]\nprovider = echo\n[model parked]\nprovider = openai\nbase_url = http://127.0.0.1:1/v1\napi_key_env = NO_SUCH_KEY_OF_TESTS\n"
          "[model other]\nprovider = echo\n")
NOBODY = "019af6b7-0000-7000-8000-000000000000"


def submit(**body):
    return "POST", "/api/generate", {"prompt": "x", "modelId": "echo", **body}


def without(body, *names):
    return {k: v for k, v in body.items() if k not in names}


def items(*list, **more):
    return "POST", "/api/batch-jobs", {"items": list, "modelId": "echo", **more}


def lines(text, query="", kind="application/jsonl"):
    return "POST", "/api/batch-jobs" + query, text, kind


def get(path):
    return "GET", path, None


def post(path, body=None):
    return "POST", path, body


def cases(ids):
    """(what, request, status, param, what the message says)"""
    queued, done, cancelled, batch, mixed, parked, over = (ids[k] for k in ("queued", "done", "cancelled", "batch", "mixed", "parked", "over"))
    p = "/api/generations/"
    return [
        # ---- one generation ----
        ("an unknown model", submit(modelId="ecko"), 400, "modelId", "unknown model 'ecko': did you mean 'echo'"),
        ("one by the other name", ("POST", "/api/generate", {"prompt": "x", "model": "nothing-like-it"}), 400, "model", "unknown model"),
        ("no model", ("POST", "/api/generate", {"prompt": "x"}), 400, "modelId", "give modelId"),
        ("an empty model", submit(modelId=""), 400, "modelId", "modelId"),
        ("a model of control characters", submit(modelId="a\nb"), 400, "modelId", "is not the name of a model"),
        ("no prompt", ("POST", "/api/generate", {"modelId": "echo"}), 400, "prompt", "give a prompt"),
        ("a prompt that is a number", submit(prompt=5), 400, "prompt", "prompt"),
        ("parameters that are a list", submit(parameters=[1]), 400, "parameters", "parameters"),
        ("a priority beyond the range", submit(priority=1001), 400, "priority", "priority"),
        ("a delay of no time", submit(delay="soon"), 400, "delay", "delay"),
        ("an endpoint without a slash", submit(endpoint="v1/embeddings"), 400, "endpoint", "must begin with /"),
        ("an unknown template", submit(templateId="none"), 400, "templateId", "GET /api/templates"),
        ("a type without a template", ("POST", "/api/generate", {"modelId": "echo", "type": "t"}), 400, "type", "no template is for type t"),
        ("a clientId of another prompt", submit(clientId="k", prompt="y"), 409, "clientId", "another clientId"),
        ("an unknown field", submit(promt="x"), 400, "promt", "promt"),
        # ---- items ----
        ("an item with an unknown model", items({"prompt": "x"}, {"prompt": "y", "modelId": "ecko"}), 400, "items[1].modelId", r"items\[1\]"),
        ("one by the other name", items({"prompt": "y", "model": "ecko"}), 400, "items[0].model", r"items\[0\]"),
        ("items of an unknown model", items("x", modelId="ecko"), 400, "modelId", "did you mean 'echo'"),
        ("items without a model", ("POST", "/api/batch-jobs", {"items": ["x"]}), 400, "modelId", "give modelId"),
        ("an item without a prompt", items("x", "y", {"customId": "a"}), 400, "items[2].prompt", "give each item"),
        ("an item whose prompt is a number", items({"prompt": 1}), 400, "items[0].prompt", r"items\[0\].*prompt is a number"),
        ("an item with a prompt and messages", items({"prompt": "x", "messages": []}), 400, "items[0].messages", "keep one"),
        ("an item with messages that are none", items({"messages": "hi"}), 400, "items[0].messages", "make it an array"),
        ("an item with a priority in words", items({"prompt": "x", "priority": "high"}), 400, "items[0].priority", "whole number"),
        ("an item with a priority too high", items({"prompt": "x", "priority": 5000}), 400, "items[0].priority", "-1000 to 1000"),
        ("two items of one customId", items({"prompt": "x", "customId": "a"}, "z", {"prompt": "y", "customId": "a"}), 400, "items[2].customId",
         r"customId is the same as in items\[0\]: give each item"),
        ("a customId that is a number", items({"prompt": "x", "customId": 7}), 400, "items[0].customId", "customId is a number"),
        ("an item with an unknown template", items({"prompt": "x", "templateId": "none"}), 400, "items[0].templateId", "GET /api/templates"),
        ("items of an unknown template", items("x", templateId="none"), 404, "templateId", "GET /api/templates"),
        ("an item that is a number", items("x", 5), 400, "items[1]", "neither an object nor a string"),
        ("an item with a user", items({"prompt": "x", "userId": "u"}), 400, "items[0].userId", "belongs to the batch job"),
        ("no items", items(), 400, "items", "items"),
        ("failures in words", items("x", maxFailures="many"), 400, "maxFailures", "number of failures"),
        ("a budget below 0", items("x", maxCost=-1), 400, "maxCost", "negative"),
        ("a concurrency of 0", items("x", concurrency=0), 400, "concurrency", "concurrency"),
        ("a key of other items", items("other", clientId="kb"), 409, "clientId", "another clientId"),
        ("an item in OpenAI's form without a name", items({"method": "POST", "url": "/v1/x", "body": {}}), 400, "items[0].custom_id", "custom_id is missing"),
        ("one with another method", items({"custom_id": "a", "method": "GET", "url": "/v1/x", "body": {}}), 400, "items[0].method", "method"),
        ("one whose url is none", items({"custom_id": "a", "method": "POST", "url": "x", "body": {}}), 400, "items[0].url", "url does not start"),
        ("one whose body is a list", items({"custom_id": "a", "method": "POST", "url": "/x", "body": []}), 400, "items[0].body", "body is an array"),
        ("one whose model is a number", items({"custom_id": "a", "method": "POST", "url": "/x", "body": {"model": 5}}), 400, "items[0].body.model", "body.model is a number"),
        ("one that streams", items({"custom_id": "a", "method": "POST", "url": "/x", "body": {"stream": True}}), 400, "items[0].body.stream", "stream"),
        # ---- files of lines ----
        ("a line with an unknown model", lines('{"prompt":"x"}\n{"prompt":"y","model":"ecko"}\n', "?modelId=echo"), 400, "file", "upload.jsonl:2: unknown model"),
        ("lines of an unknown model", lines('{"prompt":"x"}\n', "?model=ecko"), 400, "model", "did you mean 'echo'"),
        ("lines of nothing", lines("\n\n"), 400, "file", "empty"),
        ("a line that is no JSON", lines('{"prompt":"x"}\n{\n', "?modelId=echo"), 400, "file", "upload.jsonl:2: a lone {"),
        ("a line without a model", lines('{"prompt":"x"}\n'), 400, "modelId", "upload.jsonl:1: no model is named: give modelId"),
        ("text that begins like JSON", lines("{x}\n", "?modelId=echo", "application/octet-stream"), 400, "format", "give format txt"),
        ("a list", lines("[1,2]\n", "?modelId=echo", "application/octet-stream"), 400, "format", "give format txt"),
        ("JSON that is sent as a sheet", lines('{"prompt":"x"}\n', "?modelId=echo", "text/csv"), 400, "format", "give format jsonl or openai"),
        ("a sheet that is sent as JSON", lines("prompt,topic\nx,y\n", "?modelId=echo", "application/jsonl"), 400, "format", "give format csv or txt"),
        ("an object that is sent as text", lines('{"prompt":"x"}\n', "?modelId=echo", "text/plain"), 400, "format", "give format txt or jsonl"),
        ("a format that is none", lines("x\n", "?format=xml"), 400, "format", "format"),
        # ---- ids and changes ----
        ("what is no id", get(p + "nope"), 400, "id", "is not an id"),
        ("an id of nothing", get(p + NOBODY), 404, "id", "GET /api/generations shows"),
        ("a batch job's id", get(p + batch), 404, "id", f"GET /api/batch-jobs/{batch} tells"),
        ("a generation's id", get("/api/batch-jobs/" + queued), 404, "id", f"GET /api/generations/{queued} tells"),
        ("a batch job of nothing", get("/api/batch-jobs/" + NOBODY), 404, "id", "GET /api/batch-jobs shows"),
        ("a retry of what is done", post(p + done + "/retry"), 409, None, f"GET /api/generations/{done} tells more"),
        ("a cancel of what is done", post(p + done + "/cancel"), 409, None, f"GET /api/generations/{done} tells more"),
        ("a failing of what is done", post(p + done + "/fail"), 409, None, f"GET /api/generations/{done} tells more"),
        ("a failing of what is cancelled", post(p + cancelled + "/fail", {"reason": "r"}), 409, None, "tells more"),
        ("a dismissal of what waits", post(p + queued + "/dismiss"), 409, None, "tells more"),
        ("a recovery of what waits", post(p + queued + "/recover"), 409, None, f"GET /api/generations/{queued} tells what for"),
        ("a recovery of what is done", post(p + done + "/recover"), 409, None, f"GET /api/generations/{done}/outputs/0"),
        ("a recovery of what is cancelled", post(p + cancelled + "/recover"), 409, None, f"POST /api/generations/{cancelled}/retry"),
        ("one by name", post("/api/admin/recover-generation", {"generationId": done}), 409, None, "outputs/0"),
        ("a name of nothing", post("/api/admin/recover-generation", {"generationId": NOBODY}), 404, "generationId", "does not exist"),
        ("what is no name", post("/api/generate/process", {"generationId": "x"}), 400, "generationId", "is not an id"),
        ("a wish for what its model cannot run", post("/api/generate/process", {"generationId": parked}), 409, None, "POST /api/models/parked/resume"),
        ("an item of what is over", post(f"/api/batch-jobs/{over}/process-next"), 409, None, "cancelled"),
        ("a pause of what has ended", post(f"/api/batch-jobs/{over}/pause"), 409, None, "batch job"),
        ("a retry of a cancelled batch", post(f"/api/batch-jobs/{over}/retry"), 409, None, "cancelled"),
        ("a reason of a number", post(p + queued + "/cancel", {"reason": 5}), 400, "reason", "reason"),
        # ---- lists ----
        ("a cursor of nowhere", get("/api/generations?after=zz"), 400, "after", "is not a cursor"),
        ("a batch of nowhere", get("/api/generations?batchId=" + NOBODY), 404, "batchId", "does not exist"),
        ("one by the other name", get("/api/generations?batch=x"), 400, "batch", "is not an id"),
        ("an unknown type of error", get("/api/failures?type=Nothing"), 400, "type", r"GET /api/failures\?by=type&since=3650d"),
        ("a state of items", get(f"/api/batch-jobs/{mixed}/items?status=stuck"), 400, "status", "status"),
        ("events of nothing", get("/api/events?generationId=" + NOBODY), 404, "generationId", "does not exist"),
        ("events of no batch", get("/api/events?batchId=zz"), 400, "batchId", "is not an id"),
        # ---- what operators do ----
        ("an unknown job", post("/api/admin/jobs/nothing"), 404, "name", "cleanup_stuck_generation.*retention"),
        ("one that is nearly one", post("/api/admin/jobs/retension"), 404, "name", "retention"),
        ("an unknown model", post("/api/models/nothing/resume"), 404, "name", "GET /api/models lists"),
        ("an unknown lock", post("/api/locks/nothing/release"), 404, "name", "GET /api/locks lists"),
        # ---- OpenAI's API ----
        ("an unknown model", get("/v1/models/ecko"), 404, "model", "ecko"),
        ("an unknown file", get("/v1/files/file-1"), 404, "id", "No such File object"),
        ("an unknown batch", get("/v1/batches/batch_1"), 404, "id", "No batch found"),
        ("a page behind no batch", get("/v1/batches?after=x"), 400, "after", "after|id of a batch"),
        ("a page behind no file", get("/v1/files?after=x"), 400, "after", "after|id of a file"),
    ]


def ask(web, request):
    method, path, body = request[:3]
    headers = {"Content-Type": request[3]} if len(request) > 3 else None
    return web.request(method, path, body, headers=headers)


def ground(web):
    """One of each state."""
    def make(**body):
        return web.post("/api/generate", {"prompt": "x", "modelId": "echo", **body}).json["id"]

    ids = {"queued": make(delay="1h"), "done": make(), "cancelled": make(delay="1h"), "parked": make(modelId="parked")}
    web.post(f"/api/generations/{ids['cancelled']}/cancel")
    make(clientId="k", delay="1h")
    for name, more in (("batch", {"paused": True}), ("mixed", {}), ("over", {"paused": True}), ("known", {"clientId": "kb"})):
        ids[name] = web.post("/api/batch-jobs", {"items": ["a", "b"], "modelId": "echo", **more}).json["id"]
    web.post(f"/api/batch-jobs/{ids['over']}/cancel")
    web.wait_status(ids["done"], "completed")
    return ids


def test_words(place):
    place.configure(CONFIG)
    with Web(place) as web:
        for what, request, status, param, words in cases(ground(web)):
            r = ask(web, request)
            error = r.json.get("error", {})
            good = (r.status == status and error.get("param") == param and re.search(words, error.get("message", ""))
                    and not COMMAND_LINE.search(error["message"]))
            tap.ok(good, f"{request[0]} {request[1].split('?')[0].split('019')[0]}: {what}", f"expected {status}, param {param}, {words!r}\n{r}")


def test_segments(place):
    """Whatever stands where a path has a name or an id: 404, or 400 for what cannot be an id; never another route or a file."""
    strange = {"unknown": "nobody-knows-this", "empty": "", "overlong": "x" * 8000, "two dots": "..", "two dots in percents": "%2e%2e",
               "a way up": "..%2f..%2fetc%2fpasswd", "a way up from a name": "echo%2f..", "a slash": "%2f", "a NUL": "a%00", "a line end": "a%0d%0a", "a bad percent": "%zz",
               "not UTF-8": "%ff", "unicode": "%F0%9F%90%88", "a wildcard": "%25", "a quote": "%27%20OR%201=1--", "a number beyond all": "9" * 100,
               "an id of nothing": NOBODY, "a tail in capitals": "ABCDEFAB", "hyphens": "--------"}
    place.configure("[model echo]\n")
    with Web(place) as web:
        id = web.post("/api/generate", {"prompt": "x"}).json["id"]
        web.wait_status(id, "completed")
        for route in web.get("/api").json["routes"]:
            for part in re.findall(r"\{(\w+)\}", route["path"]):
                path = re.sub(r"\{(\w+)\}", lambda m: "\n" if m[1] == part else {"id": id, "index": "0", "owner": "a"}.get(m[1], "x"), route["path"])
                found = {}
                for what, value in strange.items():
                    r = web.request(route["method"], path.replace("\n", value), {} if route["method"] == "POST" else None)
                    found[what] = (r.status, r.error["message"][:200])
                fine = all(status in (400, 404) and "\n" not in message and len(message) < 1100 for status, message in found.values())
                tap.ok(fine, f"{route['method']} {route['path']}: {{{part}}}", json.dumps(found, indent=1))
        encoded = "".join(f"%{ord(c):02x}" for c in id)
        tap.equal(web.get(f"/api/generations/{encoded}").json["id"], id, "an id in percents is that id")
        tap.equal(web.get("/api/generations/" + id.upper()).json["id"], id, "and so it is in capitals")


def test_notes(place):
    place.configure("")
    with Web(place) as web:
        r = web.request("POST", "/api/batch-jobs?modelId=echo", "x\ny\n", headers={"Content-Type": "application/octet-stream"})
        tap.ok(r.status == 202 and "give format csv if" in r.json["notes"] and "--" not in r.json["notes"], "what a file was read as is told in the API's words", r)
        r = web.get("/api/templates")
        tap.ok(r.status == 200 and r.json["data"] == [], "there is no template", r)
        place.run("template", "add", "t", "--file", place.write("t.txt", "Say {{prompt}}"))
        tap.equal([t["name"] for t in web.get("/api/templates").json["data"]], ["t"], "templates can be listed")


def test_every_advice(place):
    """Each command and option that the library's messages name has its path or field: also those that no case brings about."""
    root = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")
    with open(os.path.join(root, "src/http/words.c"), encoding="utf-8") as f:
        known = f.read()
    named = []
    for folder in ("queue", "batch", "lib"):
        for name in sorted(os.listdir(os.path.join(root, "src", folder))):
            # Those that only commands and the configuration reach.
            if not name.endswith(".c") or name.startswith(("doctor", "options", "value", "config", "sync", "models_check", "running", "host_health", "watchdog")):
                continue
            with open(os.path.join(root, "src", folder, name), encoding="utf-8") as f:
                text = re.sub(r'"\s*\n\s*"', "", f.read())
            named += [(f"{folder}/{name}", c) for c in re.findall(r"'genrun ((?:[a-z_]+ ?|--[a-z]+ ?|\d+d ?)+)", text)]
    tap.ok(len(named) > 15, "the library names commands", named)
    for where, command in named:
        tap.ok(f'"{command.strip()}"' in known, f"{where}: 'genrun {command.strip()}' has its path", "add it to src/http/words.c")


tap.main(globals())
