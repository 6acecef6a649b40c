# SPDX-License-Identifier: MIT
"""A server of the program under test, and requests to it as any client makes them.

    with Web(place) as web:                     # starts `run --listen 127.0.0.1:0`
        r = web.post("/api/generate", {"prompt": "hi"})
        r.status, r.headers["x-request-id"], r.json
"""
import http.client
import json
import re

from genrun import PATIENCE_S, wait_until

SECRET = "s3cret-of-the-tests-0123456789"


class Reply:
    """An answer: status, headers (names in lower case), body."""

    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def __repr__(self):
        return f"status: {self.status}\nheaders: {self.headers}\nbody: {self.body[:2000]!r}"

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def error(self):
        """The error object, of which all four members must be there."""
        error = self.json["error"]
        if set(error) != {"message", "type", "param", "code"}:
            raise AssertionError(f"not the documented error object: {self.body[:500]!r}")
        return error


class Web:
    """`run` with HTTP on a free port of loopback; `secret` None: without the admin secret."""

    def __init__(self, place, *args, secret=SECRET, env=None, port=0):
        self.place, self.secret = place, secret
        self.env = {**({"INTERNAL_API_SECRET": secret} if secret else {}), **(env or {})}
        self.args = args
        self.port = port
        self.key = secret  # what requests without a key of their own send
        self.process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        if self.process and self.process.running:
            self.process.stop()

    def start(self):
        """Starts the runner and waits until it says where it listens."""
        self.process = self.place.start("run", "--listen", f"127.0.0.1:{self.port}", *self.args, env=self.env)
        said = []

        def is_up():
            if not self.process.running:
                raise RuntimeError(f"the server ended: {self.process.err}")
            said[:] = re.findall(r"HTTP on http://127\.0\.0\.1:(\d+)", self.process.err)
            return said

        wait_until(is_up, 20, "HTTP")
        self.port = int(said[0])

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def request(self, method, path, body=None, key="", headers=None, timeout_s=30):
        """key "": the server's own; None: none. A body that is not bytes or text goes as JSON."""
        head = dict(headers or {})
        key = self.key if key == "" else key
        if key is not None:
            head.setdefault("Authorization", f"Bearer {key}")
        if body is not None and not isinstance(body, (bytes, str)) and not hasattr(body, "read"):
            body = json.dumps(body)
            head.setdefault("Content-Type", "application/json")
        if isinstance(body, str):
            body = body.encode()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=max(timeout_s, PATIENCE_S))
        try:
            connection.request(method, path, body, head)
            answer = connection.getresponse()
            return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def get(self, path, **kw):
        return self.request("GET", path, **kw)

    def post(self, path, body=None, **kw):
        return self.request("POST", path, body, **kw)

    def delete(self, path, **kw):
        return self.request("DELETE", path, **kw)

    def wait_status(self, id, status, deadline_s=20):
        """Until the generation has that status, as the API tells it."""
        wait_until(lambda: self.get(f"/api/generations/{id}").json["status"] == status, deadline_s, f"{id} {status}")
