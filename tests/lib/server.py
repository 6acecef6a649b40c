# SPDX-License-Identifier: MIT
"""A model server for tests, scripted in Python, on a free port of 127.0.0.1. Every request runs
`script(exchange)` in a thread of its own; what it does with the connection is up to it, so it
can answer, stream, fail, be silent, or wait for the client to leave.

    with Server(lambda x: x.chat("hello")) as server:
        place.configure(f"[model m]\\nbase_url = {server.url}\\n")

A server made with listening=False holds its port and refuses connections until listen().
"""
import json
import select
import socket
import threading
import time

IDLE_S = 60.0  # nobody waits longer than this for a peer


class Exchange:
    """One request, and the means to answer it. `closed_at`: when the client was seen to leave."""

    def __init__(self, server, connection, method, path, headers, body):
        self.server, self.connection = server, connection
        self.method, self.path, self.headers, self.body = method, path, headers, body
        self.number = 0  # of this request, from 1
        self.at = time.monotonic()
        self.closed_at = None
        self.keep = False  # the connection may serve another request
        self.streaming = False

    def header(self, name):
        return self.headers.get(name.lower())

    @property
    def json(self):
        return json.loads(self.body)

    @property
    def prompt(self):
        """The last message's content of a chat request."""
        return self.json["messages"][-1]["content"]

    @property
    def wants_stream(self):
        return bool(self.json.get("stream"))

    def send(self, data):
        """Raw bytes; False when the client is gone."""
        try:
            self.connection.sendall(data)
            return True
        except OSError:
            self.closed_at = self.closed_at or time.monotonic()
            return False

    def answer(self, status, body, headers=None, mime="application/json"):
        """A whole answer with a body (text, bytes, or what becomes JSON)."""
        if not isinstance(body, (str, bytes)):
            body = json.dumps(body)
        if isinstance(body, str):
            body = body.encode()
        head = {"Content-Type": mime, "Content-Length": len(body), **(headers or {})}
        lines = [f"HTTP/1.1 {status} Scripted"] + [f"{name}: {value}" for name, value in head.items()]
        self.keep = self.send("\r\n".join(lines).encode() + b"\r\n\r\n" + body)

    def error(self, status, message, headers=None, **more):
        self.answer(status, {"error": {"message": message, **more}}, headers)

    def begin_stream(self):
        self.streaming = True
        return self.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n")

    def event(self, delta, finish=None):
        """One chunk of a chat completion with this delta (a text is its content)."""
        if isinstance(delta, str):
            delta = {"content": delta}
        chunk = {"id": f"chatcmpl-{self.number}", "object": "chat.completion.chunk", "created": 1, "model": "m",
                 "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}
        return self.send(b"data: " + json.dumps(chunk).encode() + b"\n\n")

    def chat(self, text):
        """What a well-behaved server answers: streamed when asked to, else whole."""
        usage = {"prompt_tokens": 3, "completion_tokens": len(text.split()), "total_tokens": 3 + len(text.split())}
        if not self.wants_stream:
            self.answer(200, {"id": f"chatcmpl-{self.number}", "object": "chat.completion", "created": 1, "model": "m",
                              "choices": [{"index": 0, "message": {"role": "assistant", "content": text},
                                           "finish_reason": "stop"}],
                              "usage": usage})
            return
        self.begin_stream()
        self.event({"role": "assistant", "content": ""})
        self.event(text)
        self.event({}, "stop")
        self.send(b"data: " + json.dumps({"id": f"chatcmpl-{self.number}", "object": "chat.completion.chunk", "created": 1,
                                          "model": "m", "choices": [], "usage": usage}).encode() + b"\n\n")
        self.send(b"data: [DONE]\n\n")

    def wait_closed(self, timeout_s=IDLE_S, each=None, every_s=0.02):
        """Waits until the client closes the connection, calling each() meanwhile; False when it does not."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end and not self.server.stopping:
            if self.closed_at:
                return True
            if select.select([self.connection], [], [], every_s)[0]:
                try:
                    gone = not self.connection.recv(4096)
                except OSError:
                    gone = True
                if gone:
                    self.closed_at = time.monotonic()
                    return True
            if each:
                each()
        return False


class Server:
    def __init__(self, script=None, listening=True):
        self.script = script or (lambda x: x.chat(x.prompt))
        self.requests = []  # of all exchanges, in the order they came
        self.connections = 0
        self.failures = []  # what scripts raised
        self.stopping = False
        self._lock = threading.Lock()
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._socket.bind(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        if listening:
            self.listen()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def listen(self):
        self._socket.listen(256)
        threading.Thread(target=self._accept, daemon=True).start()

    def stop(self):
        self.stopping = True
        self._socket.close()

    @property
    def count(self):
        return len(self.requests)

    def _accept(self):
        while not self.stopping:
            try:
                if not select.select([self._socket], [], [], 0.05)[0]:
                    continue
                connection = self._socket.accept()[0]
            except (OSError, ValueError):  # it was closed
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        connection.settimeout(IDLE_S)
        try:
            stream = connection.makefile("rb")
            while not self.stopping:
                exchange = self._read(connection, stream)
                if not exchange:
                    return
                with self._lock:
                    self.requests.append(exchange)
                    exchange.number = len(self.requests)
                self.script(exchange)
                if not exchange.keep:
                    return
        except OSError:
            pass  # the client is gone, or was silent for too long
        except Exception as reason:  # a mistake in a script must be seen by the test
            self.failures.append(repr(reason))
        finally:
            connection.close()

    def _read(self, connection, stream):
        """The next request; None when there is none, or its client was gone before the whole of it was here."""
        line = stream.readline(65536)
        if not line.endswith(b"\n"):
            return None
        method, path, _ = line.decode("latin-1").split(" ", 2)
        headers = {}
        while True:
            line = stream.readline(65536)
            if not line.endswith(b"\n"):
                return None
            line = line.decode("latin-1").strip()
            if not line:
                break
            name, value = line.split(":", 1)
            headers[name.lower()] = value.strip()
        wanted = int(headers.get("content-length", "0"))
        body = stream.read(wanted)
        return Exchange(self, connection, method, path, headers, body) if len(body) == wanted else None
