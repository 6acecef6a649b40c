#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Requests that no honest client sends: each gets the documented error object or a closed connection, and the
server goes on as before, with no descriptor more. What is not even HTTP, or too large for the memory of one
connection, the library below the server refuses in its own words, and closes."""
import http.client
import json
import os
import re
import resource
import select
import socket
import sys
import time
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap
from genrun import wait_until
from web import Web

CUT = (None, None)  # the connection is closed without an answer
WAIT_S = 15  # the longest that any of it may take


def library(status):
    return (status, "of the library")


class Client:
    """A connection, and what came of it so far."""

    def __init__(self, web, data=b"", half_close=False):
        self.socket = socket.create_connection(("127.0.0.1", web.port), timeout=WAIT_S)
        self.got, self.closed = b"", False
        try:
            self.socket.sendall(data)
            if half_close:
                self.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # refused while we were sending: the answer tells

    def take(self):
        try:
            got = self.socket.recv(65536)
        except OSError:
            got = b""
        self.got += got
        self.closed = not got

    def answer(self):
        """(status, code, headers) of the first answer; CUT without one; None when there is none yet."""
        head, end, body = self.got.partition(b"\r\n\r\n")
        if not end:
            return (*CUT, {}) if self.closed else None
        lines = head.decode("latin-1").split("\r\n")
        headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in lines[1:])}
        status = int(lines[0].split()[1])
        if len(body) < int(headers.get("content-length", 0)) and not self.closed:
            return None
        if "x-request-id" not in headers:
            return (*library(status), headers) if self.closed else None  # those must be followed by the end
        if status < 400:
            return status, None, headers
        error = json.loads(body)["error"]
        if set(error) != {"message", "type", "param", "code"}:
            raise AssertionError(f"not the documented error object: {body[:500]!r}")
        return status, error["code"], headers


def answers(clients):
    """Waits until each has its answer or end."""
    end = time.monotonic() + WAIT_S
    open_ones = {c.socket: c for c in clients}
    while open_ones and time.monotonic() < end:
        for s in select.select(list(open_ones), [], [], 1)[0]:
            open_ones[s].take()
            if open_ones[s].answer():
                del open_ones[s]
    found = [c.answer() for c in clients]
    for c in clients:
        c.socket.close()
    return found


def descriptors(web):
    return len(os.listdir(f"/proc/{web.process.pid}/fd"))


def start(place, more=""):
    place.configure(f"[http]\nidle_timeout = 1s\nmax_body = 1K\n{more}[model echo]\n")
    return Web(place)


def is_as_before(web, before, after):
    """The server answers, and has no descriptor more than it had."""
    tap.equal(web.get("/api").status, 200, f"the server goes on after {after}")
    try:
        wait_until(lambda: descriptors(web) <= before, WAIT_S, "the descriptors")
        tap.ok(True, f"and has closed what {after} opened")
    except Exception as e:
        tap.ok(False, f"and has closed what {after} opened", e)


def drip(web, head):
    """A byte at a time keeps the library's own clock from ever running out."""
    client, end = Client(web, head), time.monotonic() + WAIT_S
    while not client.closed and time.monotonic() < end:
        try:
            client.socket.sendall(b" ")
        except OSError:
            client.closed = True
        if select.select([client.socket], [], [], 0.1)[0]:
            client.take()
    client.socket.close()
    return client.closed


def heads(web):
    host = f"Host: 127.0.0.1:{web.port}\r\n".encode()
    h = host + f"Authorization: Bearer {web.key}\r\n".encode()

    def get(target, headers=h, method=b"GET"):
        return method + b" " + target + b" HTTP/1.1\r\n" + headers + b"\r\n"

    not_found = (404, "unknown_path")
    return [
        ("nothing at all", b"", CUT),
        ("binary garbage", b"\x00\x01\x02\xff\r\n\r\n", CUT),
        ("TLS to a port without", b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", CUT),
        ("half a request line", b"GET /ap", CUT),
        ("half a head", b"GET /api HTTP/1.1\r\nHos", CUT),
        ("a request line without a version", b"GET /api\r\n\r\n", library(400)),
        ("a version to come", get(b"/api").replace(b"1.1\r", b"9.9\r", 1), library(505)),
        ("the preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", library(505)),
        ("a line that is no header", get(b"/api", b"Nonsense\r\n" + h), library(400)),
        ("no Host", get(b"/api", b""), (400, "missing_host")),
        ("two Hosts", get(b"/api", h + b"Host: x\r\n"), (400, "duplicate_header")),
        ("a foreign Host", get(b"/api", b"Host: evil.example\r\n"), (421, "wrong_host")),
        ("an empty Host", get(b"/api", b"Host: \r\n"), (421, "wrong_host")),
        ("a page of another site", get(b"/api", h + b"Origin: http://evil.example\r\n"), (403, "foreign_origin")),
        ("a null Origin", get(b"/api", h + b"Origin: null\r\n"), (403, "foreign_origin")),
        ("two keys", get(b"/api", h + b"Authorization: Bearer x\r\n"), (400, "duplicate_header")),
        ("a blank before the colon", get(b"/api", h + b"Content-Length : 5\r\n"), (400, "invalid_header")),
        ("an absolute target", get(b"http://evil.example/api"), not_found),
        ("a target of two slashes", get(b"//evil.example/api"), not_found),
        ("an asterisk", get(b"*", h, b"OPTIONS"), not_found),
        ("CONNECT", get(b"evil.example:443", h, b"CONNECT"), not_found),
        ("TRACE", get(b"/api", h, b"TRACE"), (405, "method_not_allowed")),
        ("a wrong method", get(b"/api", h, b"DELETE"), (405, "method_not_allowed")),
        ("an unknown method", get(b"/api", h, b"BREW"), (405, "method_not_allowed")),
        ("a method in small letters", get(b"/api", h, b"get"), (405, "method_not_allowed")),
        ("traversal", get(b"/../../etc/passwd"), not_found),
        ("traversal in percents", get(b"/assets/%2e%2e%2f%2e%2e%2fetc%2fpasswd"), not_found),
        ("a segment of two dots", get(b"/assets/.."), not_found),
        ("an empty segment", get(b"/assets//x"), not_found),
        ("a slash at the end", get(b"/api/"), not_found),
        ("a bad percent", get(b"/assets/%zz"), not_found),
        ("a NUL in percents", get(b"/assets/a%00b"), not_found),
        ("a line end in percents", get(b"/assets/a%0d%0ab"), not_found),
        ("what is not UTF-8", get(b"/assets/%ff"), not_found),
        ("raw bytes in the path", get(b"/assets/\xff\xfe"), not_found),
        ("a blank in the target", get(b"/api x"), not_found),
        ("a fragment", get(b"/api#x"), not_found),
        ("a bad percent in the query", get(b"/api?a=%zz"), (400, "invalid_query")),
        ("a NUL in the query", get(b"/api?a=%00"), (400, "invalid_query")),
        ("a name given twice", get(b"/api?a=1&a=2"), (400, "invalid_query")),
        ("too many parameters", get(b"/api?" + b"&".join(b"a%d" % i for i in range(100))), (400, "invalid_query")),
        ("an unknown parameter", get(b"/api?a=1"), (400, "unknown_parameter")),
        ("a flood of headers", get(b"/api", h + b"".join(b"X-%d: y\r\n" % i for i in range(9000))), library(431)),
        ("a header without an end", get(b"/api", h + b"X: " + b"y" * 100000), library(431)),
        ("a target without an end", get(b"/" + b"y" * 100000), library(414)),
        ("a wish to be HTTP/2", get(b"/api?x=1", h + b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"),
         (400, "unknown_parameter")),
    ]


def bodies(web):
    def post(body, *headers, kind=b"application/json"):
        return (f"POST /session HTTP/1.1\r\nHost: 127.0.0.1:{web.port}\r\n".encode() + b"Content-Type: " + kind + b"\r\n" +
                b"".join(x + b"\r\n" for x in headers) + b"\r\n" + body)

    chunked = b"Transfer-Encoding: chunked"
    return [
        ("two lengths", post(b"{}x", b"Content-Length: 2", b"Content-Length: 3"), (400, "duplicate_header")),
        ("two lengths, both too long", post(b"", b"Content-Length: 70", b"Content-Length: 99"), (400, "duplicate_header")),
        ("a length and chunks", post(b"2\r\n{}\r\n0\r\n\r\n", b"Content-Length: 2", chunked), (400, "ambiguous_length")),
        ("a length and chunks that never come", post(b"", b"Content-Length: 2", chunked), (400, "ambiguous_length")),
        ("two codings", post(b"0\r\n\r\n", chunked, chunked), (400, "duplicate_header")),
        ("an unknown coding", post(b"xx", b"Transfer-Encoding: gzip"), (501, "unknown_transfer_encoding")),
        ("a coding and another", post(b"", b"Transfer-Encoding: gzip, chunked"), (501, "unknown_transfer_encoding")),
        ("a negative length", post(b"", b"Content-Length: -1"), library(400)),
        ("a length in words", post(b"", b"Content-Length: two"), library(400)),
        ("a length beyond numbers", post(b"", b"Content-Length: " + b"9" * 30), library(413)),
        ("a length beyond the limit", post(b"", b"Content-Length: 1000000000000"), (413, "body_too_large")),
        ("a length beyond the limit, asked first", post(b"", b"Content-Length: 1000000000000", b"Expect: 100-continue"),
         (413, "body_too_large")),
        ("a body beyond the limit", post(b" " * 2000, b"Content-Length: 2000"), (413, "body_too_large")),
        ("chunks beyond the limit", post(b"400\r\n" + b" " * 1024 + b"\r\n8\r\n        \r\n0\r\n\r\n", chunked), (413, "body_too_large")),
        ("chunks without an end", post((b"4000\r\n" + b" " * 16384 + b"\r\n") * 100, chunked), CUT),
        ("a chunk of no length", post(b"zz\r\n{}\r\n0\r\n\r\n", chunked), library(400)),
        ("a chunk of a negative length", post(b"-2\r\n{}\r\n0\r\n\r\n", chunked), library(400)),
        ("a chunk beyond numbers", post(b"f" * 18 + b"\r\n{}\r\n0\r\n\r\n", chunked), library(413)),
        ("a chunk longer than it says", post(b"2\r\n{}{}\r\n0\r\n\r\n", chunked), library(400)),
        ("half a chunk", post(b"5\r\n{}", chunked), CUT),
        ("half a body", post(b"{", b"Content-Length: 5"), CUT),
        ("half a body, and the end", post(b"{", b"Content-Length: 5"), CUT, True),
        ("a body that is encoded", post(b"\x1f\x8b", b"Content-Length: 2", b"Content-Encoding: gzip"), (415, "unsupported_content_encoding")),
        ("a body of another kind", post(b"<a/>", b"Content-Length: 4", kind=b"application/xml"), (415, "unsupported_media_type")),
        ("no JSON", post(b"{,}", b"Content-Length: 3"), (400, "invalid_json")),
        ("a list", post(b"[]", b"Content-Length: 2"), (400, "invalid_json")),
        ("JSON nested deep", post(b"[" * 900, b"Content-Length: 900"), (400, "invalid_json")),
        ("a NUL in JSON", post(b'{"key":"\\u0000"}', b"Content-Length: 16"), (400, "invalid_json")),
        ("what is not UTF-8", post(b'{"key":"\xff"}', b"Content-Length: 11"), (400, "invalid_json")),
        ("a member twice", post(b'{"key":"a","key":"b"}', b"Content-Length: 21"), (400, "invalid_json")),
        ("a wrong type", post(b'{"key":1}', b"Content-Length: 9"), (400, "invalid_type")),
        ("an unknown member", post(b'{"kez":"1"}', b"Content-Length: 11"), (400, "unknown_parameter")),
    ]


def form(*parts):
    return b"".join(b"--b\r\nContent-Disposition: form-data; " + head + b"\r\n\r\n" + content + b"\r\n" for head, content in parts) + b"--b--\r\n"


def uploads(web):
    def post(body, kind=b"multipart/form-data; boundary=b", length=None, chunked=False):
        framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % (len(body) if length is None else length)
        return (f"POST /v1/files HTTP/1.1\r\nHost: 127.0.0.1:{web.port}\r\nAuthorization: Bearer {web.key}\r\n".encode() +
                b"Content-Type: " + kind + b"\r\n" + framing + b"\r\n\r\n" + body)

    def chunks(body, size):
        return b"".join(b"%x\r\n%s\r\n" % (len(body[i:i + size]), body[i:i + size]) for i in range(0, len(body), size)) + b"0\r\n\r\n"

    file, purpose = (b'name="file"; filename="x.jsonl"', b"{}\n"), (b'name="purpose"', b"batch")
    fine, large = form(file, purpose), form((file[0], b"x" * 1025), purpose)
    invalid, unknown, missing = (400, "invalid_form"), (400, "unknown_parameter"), (400, "missing_required_parameter")
    return [
        ("a form byte by byte", post(chunks(fine, 1), chunked=True), (200, None)),
        ("no boundary", post(fine, b"multipart/form-data"), invalid),
        ("a boundary that is not allowed", post(fine, b'multipart/form-data; boundary="\xff"'), invalid),
        ("a boundary too long", post(fine, b"multipart/form-data; boundary=" + b"b" * 71), invalid),
        ("another boundary", post(fine, b"multipart/form-data; boundary=c"), invalid),
        ("another kind of parts", post(fine, b"multipart/mixed; boundary=b"), invalid),
        ("no parts", post(b"--b--"), missing),
        ("nothing", post(b""), invalid),
        ("JSON that says it is a form", post(b"{}"), invalid),
        ("a form that was cut", post(fine[:-6]), invalid),
        ("a part without a name", post(form((b"x=y", b""))), invalid),
        ("headers of a part without an end", post(b"--b\r\nX: " + b"y" * 9000), invalid),
        ("too many parts", post(form(*[(b'name="p%d"' % i, b"x") for i in range(40)])), invalid),
        ("two files", post(form(file, file)), invalid),
        ("a file in another part", post(form((b'name="data"; filename="x"', b""), purpose)), invalid),
        ("a field twice", post(form(purpose, purpose, file)), invalid),
        ("a field that is too long", post(form((b'name="purpose"', b"x" * 70000), file)), (413, "field_too_large")),
        ("a field that is no text", post(form((b'name="purpose"', b"\xff"), file)), invalid),
        ("an unknown field", post(form(file, purpose, (b'name="porpoise"', b"x"))), unknown),
        ("no file", post(form(purpose)), missing),
        ("no purpose", post(form(file)), missing),
        ("an unknown purpose", post(form(file, (b'name="purpose"', b"x"))), (400, "invalid_value")),
        ("a file beyond the limit", post(large), (413, "file_too_large")),
        ("a file beyond the limit, in chunks", post(chunks(large, 100), chunked=True), (413, "file_too_large")),
        ("a form whose client stays away", post(fine[:-20], length=len(fine)), CUT),
        ("a form whose client leaves", post(fine[:-20], length=len(fine)), CUT, True),
    ]


def test_requests(place):
    with start(place) as web:
        before = descriptors(web)
        cases = heads(web) + bodies(web) + uploads(web)
        clients = [Client(web, data, *rest) for _, data, _, *rest in cases]
        tap.ok(drip(web, f"POST /session HTTP/1.1\r\nHost: 127.0.0.1:{web.port}\r\nContent-Length: 1000\r\n\r\n".encode()), "a body that drips is cut")
        for (name, _, expected, *_), found in zip(cases, answers(clients)):
            tap.equal(found and found[:2], expected, name)
        for given, told in ((b"x y.jsonl", 'filename="x y.jsonl"'), (b"\xc3\xbc 1.jsonl", "filename=\"__ 1.jsonl\"; filename*=UTF-8''%C3%BC%201.jsonl"),
                            (b'a\\"; x=\\"b', "filename=\"a_; x=_b\"; filename*=UTF-8''a%22%3B%20x%3D%22b")):
            r = web.post("/v1/files", form((b'name="file"; filename="' + given + b'"', b"{}\n"), (b'name="purpose"', b"batch")),
                         headers={"Content-Type": "multipart/form-data; boundary=b"})
            id = r.json["id"]
            tap.equal(web.get(f"/v1/files/{id}/content").headers["content-disposition"], f"attachment; {told}", "a name of a file comes back, and nothing else of it")
            web.delete(f"/v1/files/{id}")
        is_as_before(web, before, "requests of all kinds")
        tap.equal(len(os.listdir(place.path("test.db.files"))), 2, "on disk, with the mark whose folder it is, is the one file that was fine, and nothing of the others")


def test_every_route(place):
    """What no route may answer with is a 5xx, or an error that is not the documented object."""
    segments = ["nope", "'; DROP TABLE generations; --", "\U0001f600", "a" * 3000, "-1", "9" * 30, "a/b", "%", "*", "\u202e"]
    queries = ["limit=0", "limit=-1", "limit=1e9", "limit=x", "cursor=x", "cursor=eyJ4Ijox", "after=nope", "status=x", "hoursAgo=0",
               "hoursAgo=999999999999", "userId=", "userId=%27--", "since=x", "order=x", "format=x", "x=1"]
    bodies = [b"", b"{}", b"[]", b"{", b"null", b'{"x":1}', b'{"prompt":{}}', b'{"prompt":"","modelId":""}', b'{"items":[1]}', b'{"items":[{}]}',
              b'{"generationId":"nope"}', b'{"generationId":1}', b'{"prompt":"x","priority":9e99}', b'{"reason":"' + b"r" * 100000 + b'"}']
    place.configure("[model echo]\n")
    with Web(place) as web:
        connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=WAIT_S)
        count, bad = 0, []

        def ask(method, path, body=None):
            connection.request(method, path, body, {"Authorization": "Bearer " + web.key, **({"Content-Type": "application/json"} if body is not None else {})})
            r = connection.getresponse()
            content = r.read()
            if r.status >= 500 or (r.status >= 400 and set(json.loads(content)["error"]) != {"message", "type", "param", "code"}):
                bad.append((method, path, body, r.status, content[:300]))
            return 1

        for route in web.get("/api").json["routes"]:
            method, pattern = route["method"], route["path"]
            if pattern == "/api/events":  # it would not end
                continue
            paths = [re.sub(r"\{\w+\}", urllib.parse.quote(s, safe=""), pattern) for s in segments] if "{" in pattern else [pattern]
            count += sum(ask(method, path) for path in paths)
            count += sum(ask(method, f"{paths[0]}?{query}") for query in queries)
            count += sum(ask(method, paths[0], body) for body in bodies if method != "GET")
        large = b"{" + b" " * 300000 + b"}"
        for method, path in (("GET", "/healthz"), ("POST", "/session"), ("GET", "/metrics"), ("GET", "/api/events"), ("GET", "/api/generations"), ("POST", "/api/generations/x/retry")):
            r = web.request(method, path, large)
            tap.equal((r.status, r.json["error"]["code"]), (413, "body_too_large"), f"what is answered on the loop stays there: {method} {path}")
        tap.ok(count > 1000 and not bad, "every route takes what is wrong for what it is", f"{count} requests: {bad[:5]}")
        connection.close()
        r = web.post("/api/batch-jobs", {"items": ["x"] * 100000, "modelId": "echo", "parameters": {"k": "v" * 60000}})
        tap.equal((r.status, r.error["param"]), (400, "parameters"), "parameters that would fill the disk, once for each item")
        r = web.post("/api/batch-jobs", {"items": [{"prompt": "x", **{f"k{n}": n for n in range(40000)}}], "modelId": "echo", "dryRun": True}, timeout_s=WAIT_S)
        tap.equal(r.status, 200, "an item with many members takes no longer than their number")
        tap.equal(place.run("doctor").code, 0, "and nothing of it has harmed the database")


def test_a_thousand_connections(place):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 4096)), hard))
    with start(place, "max_connections = 500\n") as web:
        before = descriptors(web)
        idle = [b"", b"GET /api HTTP/1.1\r\nHos", b"POST /session HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n{"]
        clients = [Client(web, idle[i % len(idle)]) for i in range(1000)]
        tap.ok(descriptors(web) <= before + 510, "a thousand connections take no more than they may", descriptors(web))
        tap.equal(web.get("/api").status, 200, "a request is answered among a thousand connections that are of no use")
        for c in clients:
            c.socket.close()
        is_as_before(web, before, "a thousand connections")
        id = place.submit("after all", "--model", "echo")
        place.wait_status(id, "completed")
        web.process.signal(15)
        tap.equal(web.process.wait(), 0, "and the server ends well")


def test_those_who_left(place):
    """In the middle of a body; the clocks for slow ones are still far from their ends."""
    place.configure("[model echo]\n")
    with Web(place) as web:
        before = descriptors(web)
        head = f"POST /v1/files HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {web.key}\r\nContent-Type: multipart/form-data; boundary=b\r\n".replace("Host: x", f"Host: 127.0.0.1:{web.port}")
        for body in ("Content-Length: 1000\r\n\r\n--b", "Transfer-Encoding: chunked\r\n\r\n3\r\n--b"):
            for _ in range(20):
                Client(web, (head + body).encode()).socket.close()
        is_as_before(web, before, "clients that left")


def test_answers_nobody_takes(place):
    """They stay in memory until they are taken or cut, and there is an end to that."""
    place.configure("[model echo]\n")
    with Web(place) as web:
        id = web.post("/api/generate", {"prompt": "x" * 20_000_000, "modelId": "echo", "delay": "1h"}).json["id"]
        head = f"GET /api/generations/{id} HTTP/1.1\r\nHost: 127.0.0.1:{web.port}\r\nAuthorization: Bearer {web.key}\r\n\r\n".encode()
        clients = []
        for _ in range(10):
            clients.append(Client(web, head))
            select.select([clients[-1].socket], [], [], WAIT_S)
        statuses = [c.socket.recv(12) for c in clients]
        tap.equal((statuses[0], statuses[-1]), (b"HTTP/1.1 200", b"HTTP/1.1 503"), "large answers that nobody takes have an end")
        tap.equal(web.get("/api").status, 200, "small ones go on")
        for c in clients:
            c.socket.close()
        wait_until(lambda: web.get(f"/api/generations/{id}").status == 200, WAIT_S, "an answer when they are gone")
        tap.ok(True, "and large ones, when those are gone")


tap.main(globals())
