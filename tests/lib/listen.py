# SPDX-License-Identifier: MIT
"""Clients of server-sent events: any number of them, read in one thread, each as a browser reads.

    stream = Stream(web, "/api/events?batchId=" + id)      # sends the request
    pump([stream], lambda: stream.last >= 7)                # reads what comes until that is so
    stream.status, stream.headers, stream.events, stream.ended
"""
import select
import socket
import time


class Stream:
    """One connection. `events` has (id, event, data) of what came so far; a client that never reads is one that
    nobody pumps."""

    def __init__(self, web, path="/api/events", key="", last=None, headers=None, receive_buffer=None):
        key = web.key if key == "" else key
        head = {"Host": f"127.0.0.1:{web.port}", "Accept": "text/event-stream", **(headers or {})}
        if key is not None:
            head["Authorization"] = "Bearer " + key
        if last is not None:
            head["Last-Event-ID"] = str(last)
        self.status, self.headers, self.events, self.comments, self.retry = None, {}, [], 0, None
        self.ended = False
        self.chunked = False
        self.raw, self.text, self.fields = b"", b"", {}
        self.socket = socket.socket()
        if receive_buffer:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.connect(("127.0.0.1", web.port))
        lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        self.socket.sendall(f"GET {path} HTTP/1.1\r\n{lines}\r\n".encode())
        self.socket.setblocking(False)

    @property
    def ids(self):
        return [id for id, _, _ in self.events]

    @property
    def names(self):
        return [event for _, event, _ in self.events]

    @property
    def last(self):
        return self.events[-1][0] if self.events else 0

    def close(self):
        self.socket.close()

    def read(self):
        """What is there now; False: the end."""
        try:
            part = self.socket.recv(262144)
        except BlockingIOError:
            return True
        except ConnectionError:
            part = b""
        self.raw += part
        if not part:
            self.ended = True
        if self.status is None:
            self._take_head()
        if self.status is not None:
            self._take_body()
        return not self.ended

    def _take_head(self):
        head, mark, rest = self.raw.partition(b"\r\n\r\n")
        if not mark:
            return
        first, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(first.split()[1])
        self.headers = {n.lower(): v for n, v in (line.split(": ", 1) for line in lines)}
        self.chunked = self.headers.get("transfer-encoding") == "chunked"
        self.raw = rest

    def _take_body(self):
        while self.chunked:
            line, mark, rest = self.raw.partition(b"\r\n")
            size = int(line, 16) if mark else None
            if size is None or len(rest) < size + 2:
                break
            self.text += rest[:size]
            self.raw = rest[size + 2:]
            if size == 0:
                self.ended = True
                break
        if not self.chunked:
            self.text, self.raw = self.text + self.raw, b""
        if self.headers.get("content-type", "").startswith("text/event-stream"):
            *blocks, self.text = self.text.split(b"\n\n")
            for block in blocks:
                self._take_event(block.decode())

    def _take_event(self, block):
        """By the rules of the HTML standard, as far as a server here goes."""
        fields = {"event": "message", "data": []}
        for line in block.split("\n"):
            name, _, value = line.partition(":")
            value = value[1:] if value.startswith(" ") else value
            if name == "":
                self.comments += 1
            elif name == "data":
                fields["data"].append(value)
            elif name == "retry":
                self.retry = int(value)
            else:
                fields[name] = value
        if fields["data"]:
            self.events.append((int(fields["id"]), fields["event"], "\n".join(fields["data"])))


def pump(streams, until=lambda: False, deadline_s=90.0, what="the events"):
    """Reads all of them until until() holds; raises after the deadline, or when all have ended and it does not hold."""
    end = time.monotonic() + deadline_s
    poll = select.epoll()
    open_ones = {s.socket.fileno(): s for s in streams if not s.ended}
    for fd in open_ones:
        poll.register(fd, select.EPOLLIN)
    try:
        while not until():
            if not open_ones:
                raise RuntimeError(f"{what}: the streams have ended")
            if time.monotonic() > end:
                raise TimeoutError(f"{what} did not come within {deadline_s} s")
            for fd, _ in poll.poll(0.05):
                if not open_ones[fd].read():
                    poll.unregister(fd)
                    del open_ones[fd]
    finally:
        poll.close()


def opened(streams):
    """Until each of them has its answer; returns them."""
    pump(streams, lambda: all(s.status and (s.status != 200 or s.retry) for s in streams), what="the answers")
    return streams


def stream(web, *args, **kw):
    """One that is open."""
    return opened([Stream(web, *args, **kw)])[0]
