#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Who leaves: clients that wait for an answer and go, and a server that stops while requests are on their way."""
import json
import os
import re
import signal
import socket
import sqlite3
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap
from genrun import wait_until
from server import Server
from web import Web

GRACE = "[scheduler]\nshutdown_grace = 10m\n[model echo]\n"  # far longer than any test waits
SOON_S = 10  # less than a ping or a wait


def head(web, request, *headers):
    lines = [f"{request} HTTP/1.1", f"Host: 127.0.0.1:{web.port}", f"Authorization: Bearer {web.key}", *headers]
    return "\r\n".join(lines + ["", ""]).encode()


def connect(web, data):
    client = socket.create_connection(("127.0.0.1", web.port), timeout=30)
    client.sendall(data)
    return client


def rest(client):
    """What comes until the end; an answer that a reset follows counts, too."""
    got = b""
    try:
        while True:
            more = client.recv(65536)
            if not more:
                return got
            got += more
    except OSError:
        return got


def number(web, name):
    return int(float(re.search(rf"(?m)^{name} (\S+)$", web.get("/metrics").body.decode())[1]))


def numbers(web):
    return {name: number(web, name) for name in ("genrun_http_requests_waiting", "genrun_http_streams")}


def test_abandoned_waits(place):
    with Server(lambda x: x.wait_closed()) as model:
        place.configure(f"[scheduler]\nshutdown_grace = 1s\n[model m]\nbase_url = {model.url}\n")
        with Web(place) as web:
            id = web.post("/api/batch-jobs", {"items": ["x"] * 70, "modelId": "m", "paused": True}).json["id"]
            path = f"/api/batch-jobs/{id}/process-next"
            clients = [connect(web, head(web, f"POST {path}", "Content-Length: 0")) for _ in range(64)]
            wait_until(lambda: numbers(web)["genrun_http_requests_waiting"] == 64, 20, "64 that wait")
            tap.equal(web.post(path).error["code"], "too_many_waiting", "no more may wait")
            for i, client in enumerate(clients[1:]):
                if i % 2:
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
                client.close()
            wait_until(lambda: numbers(web)["genrun_http_requests_waiting"] == 1, SOON_S, "the end of those whose clients left")
            tap.ok(True, "a client that leaves, by an end or a reset, gives its place back at once")
            tap.equal(web.post(path + "?wait=1ms").status, 202, "for others")
            # Sent and left in one go: the end is there before the wait is.
            for _ in range(3):
                connect(web, head(web, f"POST {path}", "Content-Length: 0")).close()
            wait_until(lambda: place.value("SELECT processing_items FROM batch_jobs") == 68, 20, "their items")
            wait_until(lambda: numbers(web)["genrun_http_requests_waiting"] == 1, SOON_S, "the end of those that never waited")
            tap.ok(True, "so does one that leaves with its last byte; what it asked for runs all the same")
            clients[0].close()


def test_abandoned_streams(place):
    place.configure("[model echo]\n")
    with Web(place) as web:
        streams = [connect(web, head(web, "GET /api/events")) for _ in range(20)]
        for s in streams:
            s.recv(1000)
        wait_until(lambda: numbers(web)["genrun_http_streams"] == 20, SOON_S, "twenty streams")
        for s in streams[:19]:
            s.close()
        wait_until(lambda: numbers(web)["genrun_http_streams"] == 1, SOON_S, "the end of nineteen")
        tap.ok(True, "a client that leaves a silent stream is noticed at once")
        place.run("submit", "x")
        got = b""
        while b"generation.completed" not in got:
            got += streams[19].recv(65536)
        tap.ok(True, "the other stream goes on")
        streams[19].close()


def test_stop_with_half_requests(place):
    place.configure(GRACE)
    with Web(place) as web:
        halves = {
            "an upload": head(web, "POST /v1/files", "Content-Type: multipart/form-data; boundary=b", "Content-Length: 100000") + b"--b\r\n",
            "lines": head(web, "POST /api/batch-jobs", "Content-Type: application/jsonl", "Content-Length: 100000") + b'{"prompt":"x"}\n',
            "a body": head(web, "POST /api/generate", "Content-Type: application/json", "Content-Length: 100") + b'{"prompt":',
            "chunks": head(web, "POST /api/generate", "Content-Type: application/json", "Transfer-Encoding: chunked") + b"5\r\n{\"pro\r\n",
            "a body that was asked for": head(web, "POST /v1/files", "Content-Type: multipart/form-data; boundary=b", "Content-Length: 99", "Expect: 100-continue"),
            "a refused body": head(web, "POST /api/nothing", "Content-Length: 100") + b"x",
            "half a head": b"POST /api/generate HT",
        }
        clients = {what: connect(web, data) for what, data in halves.items()}
        tap.equal(web.get("/healthz").status, 200, "all of them were read")
        clients["a body that was asked for"].recv(100)
        web.process.signal(signal.SIGTERM)
        tap.equal(web.process.wait(20), 0, "the runner ends without waiting for them")
        for what, client in clients.items():
            got = rest(client)
            if what == "half a head":
                tap.equal(got, b"", "half a head gets no answer")
                continue
            top, _, body = got.partition(b"\r\n\r\n")
            tap.ok(top.startswith(b"HTTP/1.1 503 ") and b"x-request-id: req_" in top and json.loads(body)["error"]["code"] == "stopping",
                   f"{what}: told to come back, by the error object", got)
        tap.equal(place.sql("SELECT count(*) FROM generations"), [(0,)], "nothing of them was stored")


def test_files_left_to_read(place):
    """A batch of OpenAI's API whose file was not read yet when the runner died: the next one reads it, also without HTTP."""
    place.configure("[model echo]\n")
    with Web(place) as web:
        line = json.dumps({"custom_id": "%d", "method": "POST", "url": "/v1/chat/completions", "body": {"model": "echo", "messages": [{"role": "user", "content": "x" * 9000}]}})
        lines = "".join((line % i) + "\n" for i in range(2000))
        form = f'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n--b\r\nContent-Disposition: form-data; name="file"; filename="f.jsonl"\r\n\r\n{lines}\r\n--b--\r\n'
        file = web.post("/v1/files", form.encode(), headers={"Content-Type": "multipart/form-data; boundary=b"}).json["id"]
        batch = web.post("/v1/batches", {"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"}).json
        web.process.kill()
        web.process.wait(20)
        tap.equal((batch["status"], place.value("SELECT batch_seq FROM openai_batch")), ("validating", None), "it died before the file was read")
    r = place.run("run", "--no-http", "--drain", timeout_s=120)
    tap.equal((r.code, place.sql("SELECT status, successful_items FROM batch_jobs")), (0, [("completed", 2000)]), "a runner without HTTP reads it and runs its items")


def test_stop_with_whole_requests(place):
    """What is there as a whole when the stop begins is written, and answered."""
    place.configure(GRACE)
    with Web(place) as web:
        blocker = sqlite3.connect(place.database, isolation_level=None)
        blocker.execute("BEGIN IMMEDIATE")
        body = b'{"prompt":"kept"}'
        whole = connect(web, head(web, "POST /api/generate", "Content-Type: application/json", f"Content-Length: {len(body)}") + body)
        late = connect(web, head(web, "POST /api/generate", "Content-Type: application/json", "Content-Length: 100"))
        # Not by a request of its own: that would wait, too.
        wait_until(lambda: re.search(r"genrun_http_connections [2-9]", web.get("/metrics").body.decode()), SOON_S, "both connections")
        web.process.signal(signal.SIGTERM)
        wait_until(lambda: "signal" in web.process.err, SOON_S, "the word of the signal")
        tap.contains(rest(late), b"stopping", "the half one is dropped at once")
        tap.ok(web.process.running, "the whole one is waited for")
        blocker.execute("COMMIT")
        blocker.close()
        got = rest(whole)
        tap.ok(got.startswith(b"HTTP/1.1 202 "), "it is written and acknowledged", got)
        tap.equal(web.process.wait(20), 0, "then the runner ends")
        tap.equal(place.sql("SELECT prompt FROM generations"), [("kept",)], "and it is there")


tap.main(globals())
