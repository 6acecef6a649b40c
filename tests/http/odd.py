#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Clients that are hostile or naive within what HTTP allows: every filter and field with every wrong kind of value, requests
behind requests that wait, events of the future, many who change one row at once, times at both ends of the calendar."""
import json
import os
import socket
import sys
import threading
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import shell
import tap
from web import Web

WORDS = ["", " ", "-1", "0", "1e9", "0x10", "1.5", "NaN", "999999999999999999999", "9223372036854775808", "-9223372036854775809", "true", "null", "[]", "{}", "'", "\"",
         "%", "%s%n", "..", "\u202e", "\ud55c\uad6d", "x" * 5000, "1d", "-1d", "99999999999d", "c_", "c_-5", "c_+5", "c_ 5", "c_zzzzzzzzzzzzzzzzzzzzz", "c_5.", "c_5.5", "c_1y2p0ij32e8e7",
         "2026-01-01T00:00:00Z", "0000-00-00", "stuck", "batch_00000000000000000000000000000000"]
VALUES = [None, True, False, -1, 0, 1.5, 1e308, 2**53, 2**63, -2**63 - 1, "", " ", "x", "\u0001", "\u202e", "1d", [], ["x"], [None], {}, {"x": {}}, "y" * 5000]
NOBODY = "019af6b7-0000-7000-8000-000000000000"


def fine(r):
    """No fault of the server's: what is refused is refused by the error object, with a line of words."""
    if r.status < 400:
        return True
    return r.status in (400, 401, 404, 405, 409, 410, 413, 415) and "\n" not in r.error["message"] and r.error["message"].strip() != ""


def routes(web):
    return [r for r in web.get("/api").json["routes"] if r["path"] not in ("/api/events", "/session")]


def path_of(route):
    return route["path"].replace("{id}", NOBODY).replace("{index}", "0").replace("{name}", "nothing").replace("{owner}", "a").replace("{code}", "x")


def test_every_filter(place):
    place.configure("[model echo]\n")
    with Web(place) as web:
        web.post("/api/generate", {"prompt": "x"})
        for route in routes(web):
            bad = []
            for name in [f["name"] for f in route.get("query") or []] if route["method"] == "GET" else []:
                for word in WORDS:
                    r = web.get(path_of(route) + "?" + urllib.parse.urlencode({name: word}))
                    if not fine(r):
                        bad.append((name, word[:50], r))
            tap.ok(not bad, f"{route['method']} {route['path']}: every filter with every word", bad[:3])


def test_every_field(place):
    place.configure("[model echo]\n")
    with Web(place) as web:
        for route in routes(web):
            bad = []
            fields = route.get("body") or []
            # What a request needs besides, so that each value comes as far as it can.
            base = {"prompt": "x", "items": ["x"], "dryRun": True, "delay": "1h"}
            base = {f["name"]: base[f["name"]] for f in fields if f["name"] in base}
            for name in [f["name"] for f in fields]:
                for value in VALUES:
                    r = web.request(route["method"], path_of(route), {**base, name: value})
                    if not fine(r):
                        bad.append((name, str(value)[:50], r))
            tap.ok(not bad, f"{route['method']} {route['path']}: every field with every value", bad[:3])


def test_head(place):
    place.configure("[model echo]\n")
    with Web(place) as web:
        for route in routes(web):
            if route["method"] != "GET":
                continue
            get, head = web.get(path_of(route)), web.request("HEAD", path_of(route))
            same = head.status == get.status or route["path"] == "/session/{code}"
            tap.ok(same and head.body == b"" and head.headers.get("content-type") == get.headers.get("content-type"), f"HEAD {route['path']} is GET without its body", (get, head))


def test_pipelines(place):
    """Answers come in the order of the requests, also behind those that wait for a commit or a worker."""
    place.configure("[model echo]\n")
    with Web(place) as web:
        top = f"Host: 127.0.0.1:{web.port}\r\nAuthorization: Bearer {web.key}\r\n"
        requests = []
        for i in range(30):
            body = json.dumps({"prompt": f"p{i}", "customId": f"c{i}"})
            requests += [f"POST /api/generate HTTP/1.1\r\n{top}Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}",
                         f"GET /api/failures HTTP/1.1\r\n{top}\r\n", f"GET /api/generations/n{i} HTTP/1.1\r\n{top}\r\n"]
        client = socket.create_connection(("127.0.0.1", web.port), timeout=60)
        client.sendall("".join(requests).encode())
        stream, got = client.makefile("rb"), []
        for _ in requests:
            status, length = int(stream.readline().split()[1]), 0
            while (line := stream.readline().strip()):
                if line.lower().startswith(b"content-length:"):
                    length = int(line.split(b":")[1])
            got.append((status, stream.read(length)))
        client.close()
        tap.equal([s for s, _ in got], [202, 200, 400] * 30, "ninety requests in one go: each has its answer, in order")
        tap.ok(all(f"n{i} ".encode() in got[3 * i + 2][1] for i in range(30)), "and not another's")
        prompts = [web.get("/api/generations/" + json.loads(b)["id"]).json["prompt"] for _, b in got[::3]]
        tap.equal(prompts, [f"p{i}" for i in range(30)], "each id is that of its prompt")


def test_last_event_ids(place):
    place.configure("[model echo]\n")
    with Web(place) as web:
        for last, status in (("999999999999999999", (200, 400, 404)), ("-1", (400,)), ("1" * 40, (400,)), ("0x5", (400,)), ("5 ", (200, 400, 404)), ("\u00e9", (400,)), ("1e3", (400,))):
            client = socket.create_connection(("127.0.0.1", web.port), timeout=30)
            client.sendall(f"GET /api/events HTTP/1.1\r\nHost: 127.0.0.1:{web.port}\r\nAuthorization: Bearer {web.key}\r\nLast-Event-ID: {last}\r\n\r\n".encode())
            got = client.recv(65536)
            tap.ok(int(got.split()[1]) in status, f"Last-Event-ID {last!r}", got[:500])
            client.close()
        tap.equal(web.get("/healthz").status, 200, "the server goes on")


def test_fifty_at_one_row(place):
    place.configure("[model echo]\n")
    with Web(place) as web:
        id = web.post("/api/generate", {"prompt": "x", "delay": "1h"}).json["id"]
        found = []

        def turn(i):
            for k in range(4):
                found.append(web.post(f"/api/generations/{id}/{'cancel' if (i + k) % 2 else 'retry'}", timeout_s=120).status)

        threads = [threading.Thread(target=turn, args=(i,)) for i in range(50)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        tap.ok(len(found) == 200 and set(found) <= {200, 409}, "fifty clients cancel and retry one row: each is told what became of it", sorted(set(found)))
        r = web.get(f"/api/generations/{id}/logs?limit=1000").json["data"]
        words = [e["event"] for e in r if e["event"] in ("generation.cancelled", "generation.queued")]
        tap.ok(len(words) > 1 and all(a != b for a, b in zip(words, words[1:])), "the log tells of each change once, in turn", words)
        tap.equal(shell.drift(place), [], "and no counter has drifted")


def test_ends_of_the_calendar(place):
    place.configure("[scheduler]\nmax_attempts = 1\n[model echo]\n")
    with Web(place) as web:
        times = {-62167219200000: "0000-01-01T00:00:00.000Z", 253402300799999: "9999-12-31T23:59:59.999Z", 0: "1970-01-01T00:00:00.000Z"}
        ids = [web.post("/api/generate", {"prompt": "x", "parameters": {"fail": "InvalidRequestError"}}).json["id"] for _ in times]
        for id, at in zip(ids, times):
            web.wait_status(id, "failed")
            place.sql("UPDATE generation SET completed_at=? WHERE id=?", at, id)
        for id, text in zip(ids, times.values()):
            r = web.get(f"/api/generations/{id}")
            tap.ok(r.status == 200 and r.json["completedAt"] == text, f"a row that ended at {text}", r)
        for path in ("/api/failures?since=20000d", "/api/failures?since=20000d&limit=1", "/api/failures?by=hour&since=20000d", "/api/generations", "/api/admin/failed-generations?hoursAgo=87600"):
            tap.equal(web.get(path).status, 200, f"{path} with such rows")
        tap.equal([o["id"] for o in web.get("/api/failures").json["data"]], [ids[1]], "what ends in the future failed within the last day")


tap.main(globals())
