#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""GET /metrics, read as strictly as Prometheus does, and its numbers against what was done; GET /healthz, which says
whether genrun is well to everybody, and why not to an admin only. (promtool judges the same text in tests/clients.)"""
import os
import re
import sqlite3
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap
from genrun import wait_until
from server import Server
from web import Web

SAMPLE = re.compile(r'([a-z_:][a-z0-9_:]*)(?:\{((?:[a-z_]+="(?:[^"\\\n]|\\[\\"n])*",?)*)\})? (NaN|[+-]Inf|-?[0-9.]+(?:e[+-]?\d+)?)$')
LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')


class Metrics:
    """The families of an answer: type, help, and {labels: value} of each line."""

    def __init__(self, text):
        self.types, self.lines = {}, {}
        family = None
        if not text.endswith("\n"):
            raise ValueError("no line end at the end")
        for line in text[:-1].split("\n"):
            head = re.match(r"# (HELP|TYPE) (\S+) (.+)$", line)
            if head and head.group(1) == "HELP":
                if head.group(2) in self.types:
                    raise ValueError(f"told twice: {line}")
                family = head.group(2)
                self.types[family] = None
            elif head:
                if head.group(2) != family or self.types[family] or head.group(3) not in ("counter", "gauge", "histogram"):
                    raise ValueError(f"not the type of the family: {line}")
                self.types[family] = head.group(3)
            else:
                self.sample(family, line)

    def sample(self, family, line):
        found = SAMPLE.match(line)
        if not found or not self.types.get(family):
            raise ValueError(f"not a sample: {line}")
        name, labels, value = found.groups()
        suffixes = ("_bucket", "_sum", "_count") if self.types[family] == "histogram" else ("",)
        if name not in {family + s for s in suffixes}:
            raise ValueError(f"not of the family {family}: {line}")
        key = (name, tuple(sorted(LABEL.findall(labels or ""))))
        if key in self.lines:
            raise ValueError(f"there twice: {line}")
        self.lines[key] = float(value)

    def value(self, name, **labels):
        return self.lines.get((name, tuple(sorted(labels.items()))))

    def sum(self, name, **labels):
        return sum(v for (n, have), v in self.lines.items() if n == name and set(labels.items()) <= set(have))

    def bad_histograms(self):
        """Those whose buckets fall, or whose last bucket is not +Inf with their count."""
        bad, rows = [], {}
        for (name, labels), value in self.lines.items():
            if name.endswith("_bucket") and self.types.get(name[:-7]) == "histogram":
                rest = tuple(x for x in labels if x[0] != "le")
                rows.setdefault((name[:-7], rest), []).append((float(dict(labels)["le"]), value))
        for (name, rest), buckets in rows.items():
            values = [v for _, v in buckets]
            if buckets != sorted(buckets) or values != sorted(values) or buckets[-1][0] != float("inf") \
                    or buckets[-1][1] != self.value(name + "_count", **dict(rest)) or self.value(name + "_sum", **dict(rest)) is None:
                bad.append((name, rest, buckets))
        return bad


def scrape(web):
    r = web.get("/metrics")
    tap.equal((r.status, r.headers["content-type"]), (200, "text/plain; version=0.0.4; charset=utf-8"), "an answer for Prometheus")
    return Metrics(r.body.decode())


def test_reader():
    for text in ("a 1", "# HELP a b\na 1\n", "# HELP a b\n# TYPE a gauge\na{b=\"c} 1\n", "# HELP a b\n# TYPE a gauge\na 1\na 1\n",
                 "# HELP a b\n# TYPE a gauge\nc 1\n", "# HELP a b\n# TYPE a gauge\na 1\n# HELP a b\n# TYPE a gauge\n"):
        try:
            Metrics(text)
            tap.ok(False, f"refused: {text!r}")
        except (ValueError, KeyError):
            tap.ok(True, f"refused: {text!r}")


def test_metrics(place):
    place.configure('[model odd "name\\ü]\nprovider = echo\n')
    with Web(place) as web:
        before = scrape(web)
        tap.equal(before.bad_histograms(), [], "histograms add up")
        done = [place.submit("x", "--model", model) for model in ("echo", "echo", 'odd "name\\ü')]
        failed = place.submit("x", "--model", "echo", "--param", "fail=ContentFilterError")
        for id in done:
            place.wait_status(id, "completed")
        place.wait_status(failed, "failed")
        for _ in range(3):
            web.get("/api")
            web.get("/metrics", key=None)
        m = scrape(web)
        tap.equal(m.bad_histograms(), [], "histograms add up")
        route = {"method": "GET", "route": "/api"}
        tap.equal(m.value("genrun_http_requests_total", status="2xx", **route), 3.0, "requests are counted by route")
        tap.equal(m.value("genrun_http_request_duration_seconds_count", **route), 3.0, "their times, too")
        tap.equal(m.value("genrun_http_requests_total", method="GET", route="/metrics", status="4xx"), 3.0, "and by status")
        tap.ok(m.value("genrun_http_connections") >= 1, "there is at least this connection")
        tap.equal(sum(v for (n, labels), v in m.lines.items() if n == "genrun_build_info" and dict(labels)["version"]), 1.0, "the version")
        for family, kind in m.types.items():
            tap.ok(family.startswith("genrun_") and (kind == "counter") == family.endswith("_total"), f"{family}: a good name")
        tap.equal({n: v for n, v in m.lines.items() if v != v or v < 0}, {}, "no number is missing or below 0")


def test_webhooks(place):
    def answer(x):
        x.answer(answers.pop(0) if answers else 200, "", {"Retry-After": "1000"})
    answers = [200, 500, 429]
    with Server(answer) as good, Server(lambda x: x.answer(410, "")) as gone, Server(listening=False) as away:
        place.configure("".join(f"[webhook {n}]\nurl = {s.url}\nevents = generation.completed\n" for n, s in
                                (("good", good), ("gone", gone), ("away", away), ("idle", good))).replace(
                                    "[webhook idle]\nurl", "[webhook idle]\nmodels = none\nurl") +
                        f"[webhook blocked]\nurl = http://a.localhost:{good.port}/x\nevents = generation.completed\n[model echo]\n")
        with Web(place) as web:
            tap.equal(scrape(web).value("genrun_webhook_oldest_pending_age_seconds", endpoint="good"), 0.0, "nothing is pending")
            for n in range(1, 4):
                place.submit("x", "--model", "echo")
                wait_until(lambda: place.value("SELECT sum(attempts) FROM delivery WHERE endpoint='good'") == n, what=f"attempt {n}")
            wait_until(lambda: place.value("SELECT sum(attempts) FROM delivery WHERE endpoint='blocked'") >= 3, what="attempts")
            wait_until(lambda: place.value("SELECT count(*) FROM endpoint WHERE disabled_at IS NOT NULL OR away_since IS NOT NULL") == 2,
                       what="two that take nothing")
            wait_until(lambda: place.value("SELECT count(*) FROM delivery WHERE endpoint='gone' AND status<>'pending'") >= 1, what="the end")
            m = scrape(web)
            ends = {r: int(m.value("genrun_webhook_attempts_total", endpoint="good", result=r)) for r in ("taken", "failed", "held_off", "gone")}
            tap.equal(ends, {"taken": 1, "failed": 1, "held_off": 1, "gone": 0}, "attempts are counted by what came of them")
            tap.equal(m.value("genrun_webhook_attempts_total", endpoint="idle", result="taken"), 0.0, "of each endpoint, from 0 on")
            for endpoint, result, least in (("blocked", "blocked", 3), ("away", "unreachable", 1), ("gone", "gone", 1)):
                tap.ok(m.value("genrun_webhook_attempts_total", endpoint=endpoint, result=result) >= least, f"{result} ones, too")
            tap.equal([m.value("genrun_webhook_deliveries", endpoint=e, status="pending") for e in ("good", "away", "idle")],
                      [2.0, 3.0, 0.0], "what is pending")
            tap.ok(m.value("genrun_webhook_deliveries", endpoint="gone", status="failed") >= 1, "what failed")
            tap.ok(m.value("genrun_webhook_oldest_pending_age_seconds", endpoint="away") > 0, "since when")
            tap.equal([(m.value("genrun_webhook_disabled", endpoint=e), m.value("genrun_webhook_away", endpoint=e))
                       for e in ("good", "gone", "away")], [(0, 0), (1, 0), (0, 1)], "and who takes nothing")
            tap.ok(m.value("genrun_webhook_unread_events", endpoint="good") is not None, "how far they have read")


def test_roles(place):
    with Web(place) as web:
        user = place.run("key", "add", "--user", "u").lines[-1].strip()
        tap.equal([web.get("/metrics", key=k).status for k in (None, "no-such-key", user)], [401, 401, 403], "metrics are for an admin")
        for key, body in ((None, {"status": "ok"}), (user, {"status": "ok"}), ("", {"status": "ok", "reasons": []})):
            r = web.get("/healthz", key=key)
            tap.equal((r.status, r.json, r.headers["cache-control"]), (200, body, "no-store"), "it is well")
        tap.equal(web.request("HEAD", "/healthz", key=None).status, 200, "HEAD does for a load balancer")


def test_not_well(place):
    place.configure("[scheduler]\nheartbeat_interval = 100ms\nshutdown_grace = 100ms\n")
    with Web(place) as web:
        place.wait_status(place.submit("x", "--model", "echo", "--param", "delay=60s"), "processing")
        shell = sqlite3.connect(place.database, isolation_level=None)
        shell.execute("BEGIN IMMEDIATE")  # as a person who went to lunch
        wait_until(lambda: web.get("/healthz", key=None).status == 503, 20, "a database that cannot be written")
        tap.equal(web.get("/healthz", key=None).json, {"status": "unavailable"}, "everybody is told that it is not well")
        reasons = web.get("/healthz").json["reasons"]
        tap.ok(len(reasons) == 1 and f"the process with id {os.getpid()} has it locked" in reasons[0], "an admin why, and by whom", repr(reasons))
        tap.ok(scrape(web).value("genrun_database_trouble_seconds") > 0, "metrics, too, still answer")
        shell.execute("ROLLBACK")
        wait_until(lambda: web.get("/healthz", key=None).status == 200, 20, "being well again")
        tap.ok(True, "and it is well again by itself")
        shell.close()


tap.main(globals())
