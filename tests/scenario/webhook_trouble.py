#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Webhooks in trouble: answers that break off, never end or drip; broken TLS and names; receivers that hang; kills,
changed secrets and addresses, endpoints taken away, odd pauses, clocks that jump."""
import base64
import email.utils
import hashlib
import hmac
import os
import ssl
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap
from genrun import wait_until
from server import Server
from shim import Shim

DAY = 86400


class Hook(Server):
    """Answers with the first of `answers` (statuses, or functions of the exchange), then with 200."""

    def __init__(self, *answers, **kw):
        self.answers = list(answers)
        super().__init__(self.take, **kw)

    def take(self, x):
        answer = self.answers.pop(0) if self.answers else 200
        if callable(answer):
            answer(x)
        else:
            x.answer(answer, "ok")

    def ids(self):
        return [x.header("webhook-id") for x in self.requests]


def section(name, hook, *lines):
    return f"[webhook {name}]\nurl = {hook if isinstance(hook, str) else hook.url}\nevents = generation.completed\n" + "".join(f"{x}\n" for x in lines)


def configure(place, *sections):
    place.configure("".join(sections) + "[scheduler]\nconcurrency = 8\n[model echo]\n")


def again(place):
    place.sql("UPDATE delivery SET next_at=1 WHERE status='pending'")
    place.sql("UPDATE endpoint SET not_before=NULL")


def status_of(place):
    return place.sql("SELECT status, attempts, last_error FROM delivery")


def wait_attempt(place, number):
    wait_until(lambda: place.value("SELECT attempts FROM delivery") == number, what=f"attempt {number}")
    return place.value("SELECT last_error FROM delivery")


# ---- answers ----


def early(x):
    x.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhello")


def large(x):
    x.answer(200, b"x" * (10 << 20))


def endless(x):
    x.send(b"HTTP/1.1 200 OK\r\n\r\n")
    while x.send(b"x" * 65536):
        pass


def chunks_that_break(x):
    x.send(b"HTTP/1.1 204 No Content\r\n\r\n")


def after_continue(x):
    x.send(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


def test_answers_that_are_good(place):
    """The head counts: the event was taken, whatever becomes of the body. Nothing waits for its end."""
    answers = [early, large, endless, chunks_that_break, after_continue]
    with Hook(*answers) as r:
        configure(place, section("app", r, "timeout = 5m"))
        runner = place.start_runner()
        for n, answer in enumerate(answers, 1):
            place.submit("x", "--model", "echo")
            wait_until(lambda: place.value("SELECT count(*) FROM delivery WHERE status='delivered'") == n, 20, f"{answer.__name__}")
            tap.equal(place.sql("SELECT attempts, last_error FROM delivery ORDER BY id DESC LIMIT 1"), [(1, None)], f"{answer.__name__}: taken at once")
        tap.equal(len(r.requests), len(answers), "each was sent once")
        runner.stop()


def nothing(x):
    x.connection.close()


def half_a_head(x):
    x.send(b"HTTP/1.1 200 OK\r\nContent-Le")


def no_http(x):
    x.send(b"220 mail.example.org ESMTP\r\n")


def dripping_head(x):
    x.send(b"HTTP/1.1 200 OK\r\n")
    while x.send(b"X-A: b\r\n") and not x.wait_closed(0.02):
        pass


def dripping_line(x):
    x.send(b"HTTP/1.1 200 ")
    while x.send(b"O") and not x.wait_closed(0.02):
        pass


def large_head(x):
    x.send(b"HTTP/1.1 200 OK\r\n" + b"X-A: " + b"b" * 1000 + b"\r\n")
    while x.send((b"X-A: " + b"b" * 1000 + b"\r\n") * 10):
        pass


def only_continue(x):
    x.send(b"HTTP/1.1 100 Continue\r\n\r\n")
    x.wait_closed()


def test_answers_that_are_none(place):
    answers = {nothing: ".", half_a_head: ".", no_http: ".", dripping_head: "no answer within 500 ms", dripping_line: ".",
               large_head: "64 KiB of headers", only_continue: "no answer within 500 ms"}
    with Hook(*answers) as r:
        configure(place, section("app", r, "timeout = 500ms"))
        runner = place.start_runner()
        place.submit("x", "--model", "echo")
        for n, (answer, words) in enumerate(answers.items(), 1):
            reason = wait_attempt(place, n)
            tap.matches(reason or "", words, f"{answer.__name__}: not taken, and why")
            tap.equal(place.value("SELECT last_status FROM delivery"), None, "that is no answer")
            again(place)
        wait_until(lambda: place.value("SELECT status FROM delivery") == "delivered", what="the end")
        tap.equal((len(set(r.ids())), len(r.ids())), (1, len(answers) + 1), "one message in all attempts")
        tap.equal(place.value("SELECT count(*) FROM logs WHERE event LIKE 'webhook.%'"), 0, "it was there all the time")
        runner.stop()


# ---- connections ----


class Secure(Server):
    """Speaks TLS with a certificate that nobody knows."""

    def __init__(self, place):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
                        "/CN=127.0.0.1", "-keyout", place.path("key.pem"), "-out", place.path("cert.pem")], check=True, capture_output=True)
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(place.path("cert.pem"), place.path("key.pem"))
        super().__init__(lambda x: x.answer(200, "ok"))

    def _serve(self, connection):
        try:
            connection = self.context.wrap_socket(connection, server_side=True)
        except OSError:
            return
        super()._serve(connection)


def expect_away(place, env, reason, name):
    """It waits, spends no attempt, and is told once, in words."""
    runner = place.start_runner(env=env)
    place.submit("x", "--model", "echo")
    wait_until(lambda: place.value("SELECT count(*) FROM logs WHERE event='webhook.away'") == 1, what=name)
    tap.matches(place.value("SELECT message FROM logs WHERE event='webhook.away'"), "^webhook app cannot be reached: .*" + reason, name)
    tap.equal(place.sql("SELECT status, attempts FROM delivery"), [("pending", 0)], "it spends no attempt")
    tap.contains(place.run("doctor", env=env).out, "app cannot be reached", "the doctor tells it")
    runner.stop()


def test_a_certificate_that_nobody_knows(place):
    with Secure(place) as r:
        configure(place, section("app", f"https://127.0.0.1:{r.port}/x"))
        expect_away(place, None, "certificate", "a certificate that nobody knows")
        tap.equal(r.count, 0, "nothing is sent")


def test_no_tls_there(place):
    with Hook() as r:
        configure(place, section("app", f"https://127.0.0.1:{r.port}/x"))
        expect_away(place, None, "(SSL|TLS)", "no TLS at all")


def test_no_such_name(place):
    shim = Shim(place)
    env = shim.knowing({"hooks.test": []})
    with Hook() as r:
        configure(place, section("app", f"http://hooks.test:{r.port}/x"))
        expect_away(place, env, "resolve", "a name that is not known")
        shim.know({"hooks.test": ["203.0.113.1"]})
        again(place)
        runner = place.start_runner(env=env)
        wait_until(lambda: place.value("SELECT status FROM delivery") == "delivered", what="the delivery")
        tap.equal(r.count, 1, "when it is known the event arrives")
        runner.stop()


def test_those_that_hang_delay_no_other(place):
    """Five receivers that hang, each with more to get than may be on its way at once, and one that is well."""
    with Hook(*[lambda x: x.wait_closed()] * 1000) as hung, Hook() as well:
        configure(place, *[section(f"hung{n}", hung, "timeout = 5m") for n in range(5)], section("well", well))
        runner = place.start_runner()
        for _ in range(30):
            place.sql("INSERT INTO generations (prompt, model_id) VALUES ('x', 'echo')")
        wait_until(lambda: len(well.requests) == 30, what="all of the one that is well")
        wait_until(lambda: place.value("SELECT count(*) FROM delivery WHERE endpoint='well' AND status='delivered'") == 30, what="their end")
        tap.equal(place.value("SELECT count(*) FROM delivery WHERE endpoint LIKE 'hung%' AND status='pending'"), 150, "the others wait")
        tap.ok(hung.count <= 20, "with few of them on their way", hung.count)
        runner.stop()


# ---- changes on the way ----


def test_killed_before_it_was_written_down(place):
    """The receiver has it, the process dies before it knows: it comes once more, as the same message."""
    arrived, go = threading.Event(), threading.Event()

    def hold(x):
        arrived.set()
        go.wait(20)
        x.answer(200, "ok")
    with Hook(hold) as r:
        configure(place, section("app", r))
        runner = place.start_runner()
        place.submit("x", "--model", "echo")
        tap.ok(arrived.wait(20), "it has arrived")
        runner.kill()
        go.set()
        runner = place.start_runner()
        wait_until(lambda: place.value("SELECT status FROM delivery") == "delivered", what="the end")
        tap.equal((len(r.ids()), len(set(r.ids())), r.requests[0].body == r.requests[1].body), (2, 1, True), "twice the same message")
        runner.stop()


def signed_with(x, key):
    content = b".".join([x.header("webhook-id").encode(), x.header("webhook-timestamp").encode(), x.body])
    return x.header("webhook-signature") == "v1," + base64.b64encode(hmac.new(key, content, hashlib.sha256).digest()).decode()


def test_another_secret_and_another_url(place):
    with Hook(500, 500, 500) as r, Hook() as other:
        place.write("secret", "the-first-secret-0123456789")
        configure(place, section("app", r, "secret_file = secret"))
        runner = place.start_runner()
        place.submit("x", "--model", "echo")
        wait_attempt(place, 1)
        place.write("secret", "another-secret-0123456789")
        again(place)
        wait_attempt(place, 2)
        tap.equal([signed_with(x, k) for x, k in zip(r.requests, (b"the-first-secret-0123456789", b"another-secret-0123456789"))], [True, True],
                  "each attempt is signed with the secret of that moment")
        os.unlink(place.path("secret"))
        again(place)
        wait_until(lambda: "secret_file" in place.run("--json", "webhook", "list").jsonl[0]["reason"], what="the problem")
        runner.stop()
        tap.equal((len(r.requests), place.value("SELECT attempts FROM delivery")), (2, 2), "without a secret nothing is sent, and nothing spent")
        place.write("secret", "another-secret-0123456789")
        configure(place, section("app", other, "secret_file = secret"))
        runner = place.start_runner()
        again(place)
        wait_until(lambda: place.value("SELECT status FROM delivery") == "delivered", what="the end")
        tap.equal((len(r.requests), other.ids()), (2, r.ids()[:1]), "at another address the same message")
        runner.stop()


def test_taken_away_and_back(place):
    with Hook(listening=False) as r, Hook() as other:
        both = section("app", r), section("other", other)
        configure(place, *both)
        runner = place.start_runner()
        place.sql("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<500)"
                  " INSERT INTO generations (prompt, model_id) SELECT 'x', 'echo' FROM n")
        wait_until(lambda: place.value("SELECT count(*) FROM delivery WHERE endpoint='app'") == 500, 30, "what waits")
        runner.stop()
        configure(place, both[1])
        runner = place.start_runner()
        wait_until(lambda: place.value("SELECT count(*) FROM logs WHERE event='webhook.removed'") == 1, what="the news")
        tap.equal(place.sql("SELECT status, count(*), min(last_error IS NOT NULL) FROM delivery WHERE endpoint='app' GROUP BY 1"), [("dropped", 500, 1)],
                  "what waited is dropped, and says why")
        tap.equal(place.sql("SELECT name FROM cursors WHERE name LIKE 'webhook:%'"), [("webhook:other",)], "nothing of the log is kept for it")
        wait_until(lambda: place.value("SELECT count(*) FROM delivery WHERE endpoint='other' AND status='delivered'") == 500, 30, "the other")
        runner.stop()
        r.listen()
        configure(place, *both)
        runner = place.start_runner()
        id = place.submit("x", "--model", "echo")
        wait_until(lambda: r.count == 1, what="what is new")
        tap.equal(r.requests[0].json["data"]["id"], id, "configured again it begins with what is new")
        tap.equal(place.run("webhook", "redeliver", "--failed", "--webhook", "app").out, "500 to be sent again\n", "and what was dropped can be sent")
        wait_until(lambda: place.value("SELECT count(*) FROM delivery WHERE endpoint='app' AND status='delivered'") == 501, 30, "all")
        runner.stop()


# ---- time ----


def test_pauses_that_are_asked_for(place):
    in_time = email.utils.formatdate(time.time() + 2000, usegmt=True)
    past = email.utils.formatdate(time.time() - 2000, usegmt=True)
    # Retry-After, status, and for how long at least and at most the endpoint is left alone (None: it is not).
    cases = [("1000", 429, 900, 1100), (in_time, 503, 1900, 2100), ("99999999999999999999", 429, DAY - 100, DAY + 100), (str(1 << 33), 429, DAY - 100, DAY + 100),
             (past, 429, 0, 10), ("-5", 429, 0, 10), ("soon", 429, 0, 10), ("0", 503, 0, 10), (None, 502, 0, 10), (None, 504, 0, 10), ("1000", 500, None, None),
             (None, 500, None, None)]

    def refuse(asked, status):
        return lambda x: x.answer(status, "", {"Retry-After": asked} if asked else None)
    for asked, status, least, most in cases:
        with Hook(refuse(asked, status)) as r:
            place.sql("DELETE FROM delivery") if os.path.exists(place.database) else None
            configure(place, section("app", r))
            runner = place.start_runner()
            place.submit("x", "--model", "echo")
            wait_attempt(place, 1)
            runner.kill()
            now = time.time() * 1000
            pause = place.value("SELECT not_before FROM endpoint")
            tap.ok(pause is None if least is None else pause is not None and least * 1000 - 5000 <= pause - now <= most * 1000,
                   f"HTTP {status}, Retry-After {asked}: the endpoint", f"{pause and pause - now}")
            due = place.value("SELECT next_at FROM delivery")
            wanted = 1000 if asked == "1000" else least or 0
            tap.ok(wanted * 1000 - 10000 <= due - now <= max(most or 0, wanted + 10, 20) * 1000, "and the delivery", f"{due - now}")


def wrong_clock(place, while_up):
    shim = Shim(place)
    with Hook(500) as r:
        place.configure(f"[webhook app]\nurl = {r.url}\nevents = generation.*\n[model echo]\n")
        shim.set_clock(3650 * DAY)
        runner = place.start_runner(env=shim.env)
        place.submit("x", "--model", "echo", env=shim.env)
        wait_until(lambda: place.value("SELECT count(*) FROM delivery") == 3 and place.value("SELECT sum(attempts) FROM delivery") >= 1, what="a failure")
        if not while_up:
            runner.stop()
            place.sql("UPDATE endpoint SET not_before=(SELECT max(next_at) FROM delivery)")
        shim.set_clock(0)
        if not while_up:
            runner = place.start_runner(env=shim.env)
        wait_until(lambda: place.value("SELECT count(*) FROM delivery WHERE status='delivered'") == 3, 20, "all")
        tap.equal([x.json["type"] for x in r.requests], ["generation.queued"] + ["generation.queued", "generation.processing", "generation.completed"], "in order")
        runner.stop()


def test_a_clock_that_was_wrong(place):
    """Ten years ahead, then right: what was put off by that clock is sent, also what waits behind another."""
    wrong_clock(place, while_up=False)


def test_a_clock_that_is_set_right(place):
    """The same under a runner, where the rest of the pause goes on."""
    wrong_clock(place, while_up=True)


def test_a_clock_that_jumps_ahead(place):
    """A month without power, or a clock that comes right late: what waits gets its try before it is too old."""
    shim = Shim(place)
    with Hook(listening=False) as r:
        configure(place, section("app", r))
        runner = place.start_runner(env=shim.env)
        place.submit("x", "--model", "echo")
        wait_until(lambda: place.value("SELECT away_since FROM endpoint"), what="that it is away")
        runner.stop()
        shim.set_clock(60 * DAY)
        r.listen()
        tap.result(place.run("job", "webhooks", env=shim.env), 0, "two months later")
        tap.equal((status_of(place), r.count), ([("delivered", 1, None)], 1), "it arrives")


if __name__ == "__main__":
    tap.main(globals())
