#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Webhooks over HTTP: the endpoints, their deliveries page by page, a test, sending again, enabling; the same objects as the
commands print with --json, and no secret in any of them. (Who may ask is in tests/http/roles.py.)"""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap
from genrun import wait_until
from server import Server
from web import Web

SLOT, KEY = "T0SECRETSLOT", "s3cret-of-the-signature-012345"
ENV = {"HOOK": KEY}


class Hook(Server):
    """Answers with the first of `answers`, then with 200."""

    def __init__(self, *answers):
        self.answers = list(answers)
        super().__init__(lambda x: x.answer(self.answers.pop(0) if self.answers else 200, "ok"))


def configure(place, **hooks):
    place.configure("".join(f"[webhook {n}]\nurl = {h.url}/{SLOT}\nsecret_env = HOOK\nevents = generation.completed\n"
                            for n, h in hooks.items()) + "[model echo]\n")


def states(place, endpoint="app"):
    return dict(place.sql("SELECT status, count(*) FROM delivery WHERE endpoint=? GROUP BY 1", endpoint))


def json_of(place, *args):
    return place.run("--json", *args, env=ENV).jsonl


def quiet(replies):
    for r in replies:
        tap.ok(SLOT.encode() not in r.body and KEY.encode() not in r.body, "neither URL nor secret is in it", r)


def same_but_time(a, b):
    """Objects of two looks: what is told of this moment may differ."""
    return [{k: v for k, v in o.items() if k != "behind"} for o in a] == [{k: v for k, v in o.items() if k != "behind"} for o in b]


def test_list(place):
    with Hook() as app, Hook(410) as gone:
        configure(place, app=app, gone=gone)
        with Web(place, env=ENV) as web:
            tap.equal([(o["name"], o["pending"], o["lastAt"]) for o in web.get("/api/webhooks").json["data"]],
                      [("app", 0, None), ("gone", 0, None)], "both are listed, and were sent nothing")
            place.wait_status(place.submit("x", "--model", "echo"), "completed")
            wait_until(lambda: states(place) == {"delivered": 1} and states(place, "gone") == {"failed": 1}, what="the answers")
            r = web.get("/api/webhooks")
            tap.equal([(o["name"], o["state"], o["failed"], o["format"]) for o in r.json["data"]],
                      [("app", "ok", 0, "standard"), ("gone", "disabled", 1, "standard")], "how they fare")
            tap.contains(r.json["data"][1]["reason"], "410", "and why")
            tap.ok(same_but_time(r.json["data"], json_of(place, "webhook", "list")), "the same objects as those of the command", r)
            quiet([r])


def test_deliveries(place):
    with Hook(500) as app:
        configure(place, app=app)
        with Web(place, env=ENV) as web:
            ids = []
            for n in range(7):
                ids.insert(0, place.submit("x", "--model", "echo"))
                wait_until(lambda: (place.value("SELECT sum(attempts) FROM delivery") or 0) >= n + 1, what=f"delivery {n}")
            place.sql("UPDATE delivery SET next_at=created_at + 86400000 WHERE status='pending'")
            path = "/api/webhooks/app/deliveries"
            whole = web.get(path)
            tap.equal([o["generationId"] for o in whole.json["data"]], ids, "all, the newest first")
            last, first = whole.json["data"][-1], whole.json["data"][0]
            tap.equal((last["status"], last["attempts"], last["lastStatus"], last["lastError"], last["endedAt"], last["held"]),
                      ("pending", 1, 500, "HTTP 500", None, False), "one that failed and is tried again")
            tap.ok(last["nextAt"] is not None and first["nextAt"] is None, "and when", whole)
            tap.equal((first["status"], first["endpoint"], first["event"], first["lastStatus"], first["batchJobId"]),
                      ("delivered", "app", "generation.completed", 200, None), "one that was taken")
            tap.equal((first["messageId"], first["logId"]), place.sql("SELECT message_id, event_id FROM delivery ORDER BY id DESC")[0],
                      "its message, and its row of the log")
            tap.equal(whole.json["nextCursor"], None, "that is all")
            tap.equal(whole.json["data"], json_of(place, "webhook", "deliveries", "app"), "the same objects as those of the command")
            got, cursor = [], None
            replies = [whole]
            for _ in range(4):
                replies.append(web.get(f"{path}?limit=2" + (f"&after={cursor}" if cursor else "")))
                got += replies[-1].json["data"]
                cursor = replies[-1].json["nextCursor"]
                # What comes meanwhile is on no later page.
                place.submit("y", "--model", "echo")
            tap.equal((got, cursor), (whole.json["data"], None), "page by page the same")
            wait_until(lambda: states(place) == {"delivered": 10, "pending": 1}, what="what came meanwhile")
            for status, count in (("pending", 1), ("failed", 0), ("dropped", 0)):
                replies.append(web.get(f"{path}?status={status}"))
                tap.equal([o["status"] for o in replies[-1].json["data"]], [status] * count, f"only those that are {status}")
            replies.append(web.get(f"{path}?status=delivered&limit=1"))
            tap.equal([o["status"] for o in replies[-1].json["data"]], ["delivered"], "or delivered")
            first, rest = (place.run("--json", "webhook", "deliveries", "app", "--status", "delivered", *more)
                           for more in (["--limit", "1"], ["--after", replies[-1].json["nextCursor"]]))
            tap.ok(first.jsonl[0]["id"] > rest.jsonl[0]["id"], "the command takes the same cursor")
            for bad in ("status=lost", "limit=0", "after=xyz", "other=1"):
                r = web.get(f"{path}?{bad}")
                tap.ok(r.status == 400 and r.error["message"], f"{bad}: 400", r)
            r = web.get("/api/webhooks/apq/deliveries")
            tap.ok(r.status == 404 and "did you mean 'app'" in r.error["message"], "another name: 404", r)
            tap.error_line(place.run("webhook", "deliveries", "apq"), 4, "did you mean 'app'", "the command says the same")
            quiet(replies)


def test_deliveries_of_one_that_is_gone(place):
    with Server(listening=False) as away:
        configure(place, app=away)
        runner = place.start_runner(env=ENV)
        place.wait_status(place.submit("x", "--model", "echo"), "completed")
        wait_until(lambda: states(place) == {"pending": 1}, what="what waits")
        runner.stop()
        place.configure("[model echo]\n")
        with Web(place) as web:
            wait_until(lambda: states(place) == {"dropped": 1}, what="the end of what waited")
            tap.equal(web.get("/api/webhooks").json["data"], [], "what is not configured is not listed")
            data = web.get("/api/webhooks/app/deliveries").json["data"]
            tap.equal([(o["status"], o["endedAt"] is None) for o in data], [("dropped", False)], "what it was to get still is")
            tap.error_line(place.run("webhook", "redeliver", str(data[0]["id"])), 4, "there is no webhook 'app'", "but it cannot be sent again")
            tap.equal(states(place), {"dropped": 1}, "it would wait for ever")


def test_test(place):
    with Hook() as app:
        configure(place, app=app)
        with Web(place, env=ENV) as web:
            r = web.post("/api/webhooks/app/test")
            tap.equal((r.status, r.json["name"], r.json["status"], r.json["error"]), (200, "app", 200, None), "it is taken")
            tap.equal(set(r.json), set(json_of(place, "webhook", "test", "app")[0]), "the same object as that of the command")
            tap.equal((app.requests[0].json["type"], app.requests[0].header("webhook-id")), ("webhook.test", r.json["messageId"]), "it arrived")
            app.answers = [500]
            bad = web.post("/api/webhooks/app/test")
            tap.ok(bad.status == 503 and "did not take the test: HTTP 500" in bad.error["message"], "one that is not taken is an error", bad)
            r2 = web.post("/api/webhooks/apq/test")
            tap.ok(r2.status == 404 and "did you mean 'app'" in r2.error["message"], "another name: 404", r2)
            quiet([r, bad, r2])


def test_redeliver_and_enable(place):
    with Hook(410) as app, Hook() as other:
        configure(place, app=app, other=other)
        with Web(place, env=ENV) as web:
            place.wait_status(place.submit("x", "--model", "echo"), "completed")
            wait_until(lambda: states(place) == {"failed": 1}, what="the refusal")
            wait_until(lambda: states(place, "other") == {"delivered": 1}, what="the other")
            tap.equal(web.post("/api/webhooks/app/enable").json, {"name": "app", "enabled": True}, "enabled")
            tap.equal(web.get("/api/webhooks").json["data"][0]["state"], "ok", "it is")
            tap.equal(json_of(place, "webhook", "enable", "app"), [{"name": "app", "enabled": True}], "again changes nothing")
            tap.equal(web.post("/api/webhooks/app/redeliver").json, {"count": 1}, "all that failed is sent again")
            wait_until(lambda: states(place) == {"delivered": 1}, what="its end")
            had = {x.header("webhook-id") for x in app.requests}
            tap.equal((len(app.requests), len(had)), (2, 1), "with the same message id")
            tap.equal(web.post("/api/webhooks/app/redeliver").json, {"count": 0}, "nothing is left")
            id, message = place.sql("SELECT id, message_id FROM delivery WHERE endpoint='app'")[0]
            for n, body in enumerate(({"id": id}, {"messageId": message})):
                tap.equal(web.post("/api/webhooks/app/redeliver", body).json, {"count": 1}, f"one by {list(body)[0]}")
                wait_until(lambda: len(app.requests) == 3 + n and states(place) == {"delivered": 1}, what="its end")
            tap.equal(json_of(place, "webhook", "redeliver", str(id)), [{"count": 1}], "the command says the same")
            for name, body, status in (("other", {"id": id}, 404), ("other", {"messageId": message}, 404), ("app", {"id": 999}, 404),
                                       ("app", {"id": id, "messageId": message}, 400), ("app", {"id": "x"}, 400), ("none", {}, 404)):
                r = web.post(f"/api/webhooks/{name}/redeliver", body)
                tap.ok(r.status == status and r.error["message"], f"{name} {body}: {status}", r)
            tap.equal(len(other.requests), 1, "the other was sent nothing more")


# ---- batches as OpenAI's clients know them ----


def line(id, model="echo", **body):
    return {"custom_id": id, "method": "POST", "url": "/v1/chat/completions",
            "body": {"model": model, "messages": [{"role": "user", "content": "hi"}], **body}}


def make_batch(web, *lines, **more):
    text = "".join(json.dumps(x) + "\n" if isinstance(x, dict) else x + "\n" for x in lines)
    parts = "".join(f'--b\r\nContent-Disposition: form-data; name="{n}"{more}\r\n\r\n{v}\r\n' for n, more, v in
                    (("purpose", "", "batch"), ("file", '; filename="a.jsonl"', text)))
    file = web.request("POST", "/v1/files", (parts + "--b--\r\n").encode(), headers={"Content-Type": "multipart/form-data; boundary=b"}).json["id"]
    return web.post("/v1/batches", {"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h", **more}).json["id"]


def test_openai_events(place):
    """Each end of a batch is one event, with the id of /v1/batches; who asks for the batch then sees that it has ended so."""
    told = []

    def take(x):
        event = x.json
        told.append((event["type"], event["data"], web.get(f"/v1/batches/{event['data']['id']}").json["status"]))
        x.answer(200, "")

    def wait(*ends):
        wait_until(lambda: len(told) >= len(ends), 20, f"{ends}; told was {told}")
        tap.equal(told, [(f"batch.{status}", {"id": id}, status) for id, status in ends], f"batch.{ends[-1][1]}")

    with Server(lambda x: x.wait_closed()) as model, Server(take) as app:
        place.configure(f"[webhook app]\nurl = {app.url}\nformat = openai\nsecret_env = HOOK\n[model m]\nbase_url = {model.url}\nconcurrency = 1\n[model echo]\n")
        with Web(place, env=ENV) as web:
            ends = [(make_batch(web, line("a"), line("b")), "completed")]
            wait(*ends)
            ends.append((make_batch(web, "no JSON"), "failed"))
            wait(*ends)
            for status in ("cancelled", "expired"):
                id = make_batch(web, *[line(str(n), "m") for n in range(2500)])
                ends.append((id, status))
                wait_until(lambda: web.get(f"/v1/batches/{id}").json["status"] == "in_progress", 20, "it runs")
                if status == "cancelled":
                    web.post(f"/v1/batches/{id}/cancel")
                else:
                    place.sql("UPDATE openai_batch SET expires_at=1000 WHERE id=?", id)
                wait(*ends)
            tap.equal({x.json["object"] for x in app.requests} | {x.json["id"][:4] for x in app.requests}, {"event", "evt_"}, "they are OpenAI's")
            tap.equal(len({x.json["id"] for x in app.requests}), 4, "each with an id of its own")


def test_openai_events_before_the_file_was_read(place):
    """A batch that is cancelled, or whose window is over, before its file was read has ended as well."""
    with Hook() as app, Hook() as others:
        place.configure(f"[webhook app]\nurl = {app.url}\nformat = openai\n[webhook others]\nurl = {others.url}\nformat = openai\nusers = bob\n"
                        "[model echo]\n")
        with Web(place, env=ENV) as web:
            ids = [f"batch_{'0' * 31}{n}" for n in range(2)]
            make_batch(web, line("a"))
            wait_until(lambda: app.count == 1, what="the first")
            file = place.value("SELECT input_file_id FROM openai_batch")
            # None is read that fast, so they are put beside.
            for id in ids:
                place.sql("INSERT INTO openai_batch (id, asked_by, user_id, input_file_id, endpoint, completion_window, created_at, expires_at)"
                          " VALUES (?, 'x', 'ann', ?, '/v1/chat/completions', '24h', 1, 4000000000000)", id, file)
            tap.equal(web.post(f"/v1/batches/{ids[0]}/cancel").json["status"], "cancelled", "cancelled at once")
            place.sql("UPDATE openai_batch SET expires_at=1000 WHERE id=?", ids[1])
            wait_until(lambda: app.count == 3, 20, f"both; had were {[x.json for x in app.requests]}")
            tap.equal({(x.json["type"], x.json["data"]["id"]) for x in app.requests[1:]}, {("batch.cancelled", ids[0]), ("batch.expired", ids[1])},
                      "both are told")
            wait_until(lambda: place.value("SELECT log_id>=(SELECT max(id) FROM logs WHERE event LIKE 'batch.%') FROM cursors WHERE name='webhook:others'"),
                       20, "that the others' reader has passed")
            tap.equal(others.count, 0, "but not to who wants another user's")


tap.main(globals())
