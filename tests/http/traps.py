#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What an HTTP server on the runner's loop can get wrong: spinning for an idle stream, dying with
one, letting streams keep requests out, answers that wait for the next turn, sockets that children
inherit, requests that come in one packet."""
import json
import os
import socket
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap
from genrun import wait_until
from web import Web


def connect(web, data):
    s = socket.create_connection(("127.0.0.1", web.port), timeout=90)
    s.sendall(data)
    return s


def request(web, path="/api", method="GET", body=b"", more=""):
    return (f"{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{web.port}\r\nAuthorization: Bearer {web.key}\r\n"
            f"Content-Length: {len(body)}\r\n{more}\r\n").encode() + body


def read_answers(s, count):
    """The status lines and bodies of so many answers on one connection."""
    stream = s.makefile("rb")
    answers = []
    for _ in range(count):
        status = int(stream.readline().split()[1])
        length = 0
        while (line := stream.readline().strip()):
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        answers.append((status, stream.read(length)))
    return answers


def stream(web):
    """An open stream of events, its head read."""
    s = connect(web, request(web, "/api/events"))
    head = b""
    while b"\r\n\r\n" not in head:
        got = s.recv(4096)
        if not got:
            raise RuntimeError(f"no stream: {head}")
        head += got
    return s, head


def turns(web):
    """Passes of the loop so far."""
    text = web.get("/metrics").body.decode()
    return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith("genrun_turn_duration_seconds_count"))


def test_idle_streams_cost_nothing(place):
    with Web(place) as web:
        streams = [stream(web)[0] for _ in range(5)]
        before = turns(web)
        # The time that a few submissions through another process take.
        for n in range(5):
            place.submit(f"{n}", "--model", "echo")
        passes = turns(web) - before
        tap.ok(passes < 2000, "the loop does not spin for idle streams", passes)
        for s in streams:
            s.close()


def test_stop_with_open_streams(place):
    with Web(place) as web:
        streams = [stream(web)[0] for _ in range(20)]
        half = connect(web, b"POST /api/generate HTTP/1.1\r\nHost: x\r\nContent-Le")
        place.submit("last", "--model", "echo")
        web.process.signal(15)
        tap.equal(web.process.wait(), 0, "a stop with open streams and a half request ends well")
        text = b""
        for s in streams:
            while (got := s.recv(65536)):
                text += got
        tap.ok(text.count(b"event: runner.stopp") + text.count(b"event: generation.completed") >= 20, "and the streams end with what was committed",
               text[-2000:])
        half.close()
    tap.equal(place.value("SELECT count(*) FROM generations WHERE status = 'processing'"), 0, "nothing is left processing")


def test_streams_do_not_keep_requests_out(place):
    place.configure("[http]\nmax_connections = 12\nmax_streams = 4\n[model echo]\n")
    with Web(place) as web:
        streams = [stream(web)[0] for _ in range(4)]
        r = web.get("/api/events")
        tap.equal((r.status, r.error["code"], "retry-after" in r.headers), (503, "too_many_streams", True), "one too many is told so")
        idle = [connect(web, b"") for _ in range(30)]
        tap.equal(web.get("/api").status, 200, "requests are answered, also when idle connections have used up the limit")
        for s in streams + idle:
            s.close()


def test_answers_come_with_the_commit(place):
    """Nothing but the answer itself wakes the loop here: one that waited for the next turn would not come."""
    place.configure("[scheduler]\npoll_interval = 1h\n[model echo]\n")
    with Web(place) as web:
        place.sql("SELECT 1")
        s = connect(web, b"".join(request(web, "/api/generate", "POST", json.dumps({"prompt": f"p{n}", "modelId": "echo"}).encode(),
                                          "Content-Type: application/json\r\n") for n in range(20)))
        answers = read_answers(s, 20)
        tap.equal([status for status, _ in answers], [202] * 20, "twenty requests in one packet are answered in turn")
        ids = [json.loads(body)["id"] for _, body in answers]
        tap.equal(len(place.sql(f"SELECT id FROM generations WHERE id IN ({','.join('?' * 20)})", *ids)), 20, "each is on disk")
        s.close()


def test_old_and_odd_clients(place):
    with Web(place) as web:
        s = connect(web, f"GET /healthz HTTP/1.0\r\n\r\n".encode())
        tap.ok(s.recv(4096).startswith(b"HTTP/1."), "HTTP/1.0 without a Host is served")
        s.close()
        r = web.request("HEAD", "/api")
        tap.equal((r.status, r.body, int(r.headers["content-length"]) > 100), (200, b"", True), "HEAD gives the head of GET")
        r = web.request("PUT", "/api")
        tap.equal((r.status, r.headers["allow"], r.error["code"]), (405, "GET, HEAD", "method_not_allowed"), "a wrong method tells the right ones")
        r = web.get("/api/nothing")
        tap.equal((r.status, r.error["code"]), (404, "unknown_path"), "an unknown path is told")


def test_children_inherit_no_socket(place):
    place.write("fds.sh", "#!/bin/sh\nls -l /proc/self/fd\n")
    os.chmod(place.path("fds.sh"), 0o755)
    place.configure("[model ls]\ncommand = ./fds.sh\n")
    with Web(place) as web:
        s = connect(web, b"GET /api HTTP/1.1\r\n")
        id = place.submit("x", "--model", "ls")
        place.wait_status(id, "completed")
        out = place.run("output", id).out
        tap.ok("socket:" not in out and "fd" in out or "pipe" in out and "socket:" not in out, "a command has no socket of the server", out)
        s.close()


def test_a_port_in_use(place):
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen(1)
    port = taken.getsockname()[1]
    r = place.run("run", "--listen", f"127.0.0.1:{port}", "--drain")
    tap.ok(r.code == 3 and "Address already in use" in r.err and r.err.count("\n") == 1, "a port in use is told in one line, with 3", r)
    taken.close()
    r = place.run("run", "--listen", "here", "--drain")
    tap.ok(r.code == 3 and "no address" in r.err, "so is what is no address", r)


tap.main(globals())
