#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What is large must not hold the loop: while an answer with a prompt or an output of many megabytes is made,
others are answered. (On the loop at most one that came in the same moment would be.)"""
import json
import os
import select
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap
from web import Web

PROMPT = 'he said "yes"\n' * (1 << 20)  # 14 MB, 18 as JSON
MEANWHILE = 5


def request(web, path, method="GET", body=b""):
    return (f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{web.port}\r\nAuthorization: Bearer {web.key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body


def connect(web):
    return socket.create_connection(("127.0.0.1", web.port), timeout=60)


def read_answer(stream):
    status, length = int(stream.readline().split()[1]), 0
    while (line := stream.readline().strip()):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            length = int(value)
    return status, stream.read(length)


def beside(web, path, method="GET", body=b""):
    """The answer, and how many others were answered before it began."""
    other, others = connect(web), 0
    stream = other.makefile("rb")
    with connect(web) as s:
        s.sendall(request(web, path, method, body))
        while not select.select([s], [], [], 0)[0]:
            other.sendall(request(web, "/healthz"))
            if read_answer(stream)[0] != 200:
                raise RuntimeError("it is not well")
            others += 1
        status, answer = read_answer(s.makefile("rb"))
    other.close()
    return status, json.loads(answer), others


def submit(web, **members):
    return web.post("/api/generate", {"modelId": "echo", **members}).json["id"]


def test_a_large_prompt(place):
    with Web(place) as web:
        small = submit(web, prompt="small", delay="1h")
        id = submit(web, prompt=PROMPT, delay="1h", sessionId="s")
        status, answer, others = beside(web, f"/api/generations/{id}")
        tap.equal((status, answer["id"], answer["prompt"] == PROMPT), (200, id, True), "a large prompt is shown whole")
        tap.ok(others >= MEANWHILE, "others are answered meanwhile", others)
        for path in ("/api/generations", "/api/generations?sessionId=s", "/api/generations?limit=1"):
            status, answer, others = beside(web, path)
            rows = answer["data"]
            tap.equal((status, rows[0]["id"], rows[0]["prompt"] == PROMPT), (200, id, True), f"{path} has it, too")
            tap.ok(others >= MEANWHILE, "others are answered meanwhile", others)
        tap.equal([r["id"] for r in web.get(f"/api/generations?limit=1&after={answer['nextCursor']}").json["data"]], [small],
                  "the pages go on behind it")
        # What changes it needs none of the text.
        for verb, state in (("cancel", "cancelled"), ("dismiss", "cancelled")):
            r = web.post(f"/api/generations/{id[-12:]}/{verb}", {})
            tap.equal((r.status, r.json["status"], id in r.json["message"]), (200, state, True), f"{verb} tells its state and its whole id")
        r = web.post("/api/generate/process", {"generationId": id[-12:]})
        tap.equal((r.status, r.json["id"], r.json["status"]), (200, id, "cancelled"), "so does what asks to run it next")


def test_many_that_are_not_small(place):
    with Web(place) as web:
        ids = [submit(web, prompt=f"{n} " + PROMPT[:60000], delay="1h") for n in range(12)]
        status, answer, _ = beside(web, "/api/generations")
        tap.equal((status, [r["id"] for r in answer["data"]]), (200, ids[::-1]), "a page of many is whole")
        tap.equal({len(r["prompt"]) > 60000 for r in answer["data"]}, {True}, "with their prompts")


def test_large_parameters_and_outputs(place):
    place.configure("[model echo]\n")
    with Web(place) as web:
        id = submit(web, prompt="p", parameters={"note": PROMPT}, delay="1h")
        status, answer, others = beside(web, f"/api/generations/{id}")
        tap.equal((status, answer["parameters"]["note"] == PROMPT), (200, True), "large parameters are shown whole")
        tap.ok(others >= MEANWHILE, "others are answered meanwhile", others)
        text = PROMPT[:1000000]
        id = submit(web, prompt=text)
        web.wait_status(id, "completed")
        status, answer, _ = beside(web, f"/api/generations/{id}")
        tap.equal((status, answer["outputs"][0]["content"] == text), (200, True), "so is an output of a megabyte")
        # Too large to stand in the answer: fetched by itself.
        id = submit(web, prompt=PROMPT)
        web.wait_status(id, "completed")
        status, answer, others = beside(web, f"/api/generations/{id}")
        tap.equal((status, answer["outputs"][0]["content"], answer["outputs"][0]["bytes"]), (200, None, len(PROMPT)), "a larger one is only told of")
        tap.ok(others >= MEANWHILE, "others are answered meanwhile", others)


def test_items(place):
    place.configure("[model echo]\n")
    place.write("items.jsonl", json.dumps({"prompt": PROMPT, "parameters": {"note": PROMPT}, "custom_id": "large"}) + "\n" + json.dumps({"prompt": "p"}) + "\n")
    batch = place.run("batch", "submit", "items.jsonl", "--model", "echo", "--paused").out.split()[-1]
    with Web(place) as web:
        status, answer, others = beside(web, f"/api/batch-jobs/{batch}/items")
        tap.equal((status, len(answer["data"]), answer["data"][0]["customId"]), (200, 1, "large"), "an item with large parameters is listed")
        tap.ok(others >= MEANWHILE, "others are answered meanwhile", others)
        answer = web.get(f"/api/batch-jobs/{batch}/items?after={answer['nextCursor']}").json
        tap.equal((len(answer["data"]), answer["nextCursor"]), (1, None), "and the one behind it on the next page")
        status, answer, _ = beside(web, f"/api/batch-jobs/{batch}/process-next", "POST", b"{}")
        tap.equal((status, answer["processed"], answer["item"]["customId"], answer["item"]["prompt"] == PROMPT), (200, 1, "large", True),
                  "the item that was run next is told whole")
        tap.equal((answer["remaining"], answer["status"]), (1, "completed"), "with what is left")


tap.main(globals())
