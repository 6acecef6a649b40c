#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Who may what: every route of GET /api x {no key, a wrong one, a revoked one, a user, another user, an admin}. A route that is not
told of here fails the test; so does one that another user can tell from one that is not there."""
import http.client
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap
from web import Reply, Web

ECHO = "[genrun]\ndefault_model = echo\n[model echo]\nprovider = echo\n"
UNKNOWN = "gr_" + "A" * 43
LINE = '{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":{"model":"echo","messages":[{"role":"user","content":"x"}]}}\n'
FORM = ("multipart/form-data; boundary=xx", '--xx\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        f'--xx\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n{LINE}\r\n--xx--\r\n')


class Route:
    """How a route is asked, and what a user and an admin are answered. `make` makes what {id} names, of ann; `other`: what
    another user is answered where that is not 404 for an {id} and the user's answer else."""

    def __init__(self, role="user", user=200, admin=None, make=None, body=None, other=None, query="", name=None):
        self.role, self.user, self.make, self.body, self.query, self.name = role, user, make, body, query, name
        self.admin = user if admin is None else admin
        self.other = other if other is not None else 404 if make else user


# ---- what is ann's ----


def queued(ask):
    return ask("POST", "/api/generate", {"prompt": "x", "delay": "1h"}).json["id"]


def cancelled(ask):
    id = queued(ask)
    ask("POST", f"/api/generations/{id}/cancel")
    return id


def paused(ask):
    return ask("POST", "/api/batch-jobs", {"items": ["x", "y"], "paused": True}).json["id"]


def file(ask):
    return ask("POST", "/v1/files", FORM).json["id"]


def batch(ask):
    return ask("POST", "/v1/batches", batch_of(file(ask))).json["id"]


def batch_of(file_id):
    return {"input_file_id": file_id, "endpoint": "/v1/chat/completions", "completion_window": "24h"}


def named(id):
    return {"generationId": id}


ADMIN, ANYONE = "admin", "anyone"
ROUTES = {
    "GET /api": Route(),
    "POST /api/generate": Route(user=202, body={"prompt": "x", "delay": "1h"}),
    "POST /api/generate/process": Route(user=202, admin=(200, 202), make=queued, body=named),
    "GET /api/generations": Route(),
    "GET /api/generations/failed": Route(),
    "GET /api/generations/{id}": Route(make=queued),
    "GET /api/generations/{id}/logs": Route(make=queued),
    "GET /api/generations/{id}/outputs/{index}": Route(user=404, make=queued),
    "POST /api/generations/{id}/cancel": Route(make=queued),
    "POST /api/generations/{id}/fail": Route(make=queued),
    "POST /api/generations/{id}/retry": Route(make=cancelled, admin=(200, 409)),
    "POST /api/generations/{id}/dismiss": Route(make=cancelled),
    "POST /api/generations/{id}/recover": Route(make=queued, user=409),
    "POST /api/batch-jobs": Route(user=202, body={"items": ["x"], "paused": True}),
    "GET /api/batch-jobs": Route(),
    "GET /api/batch-jobs/{id}": Route(make=paused),
    "GET /api/batch-jobs/{id}/items": Route(make=paused),
    "GET /api/batch-jobs/{id}/logs": Route(make=paused),
    "GET /api/batch-jobs/{id}/results": Route(make=paused),
    "POST /api/batch-jobs/{id}/cancel": Route(make=paused),
    "POST /api/batch-jobs/{id}/pause": Route(make=paused),
    "POST /api/batch-jobs/{id}/resume": Route(make=paused, admin=(200, 409)),
    "POST /api/batch-jobs/{id}/retry": Route(make=paused),
    "POST /api/batch-jobs/{id}/process-next": Route(make=paused),
    "GET /api/events": Route(),
    "GET /api/failures": Route(),
    "GET /api/models": Route(),
    "POST /api/models/{name}/resume": Route(ADMIN, name="echo"),
    "GET /api/templates": Route(),
    "GET /api/stats": Route(ADMIN),
    "GET /api/locks": Route(ADMIN),
    "POST /api/locks/{name}/release": Route(ADMIN, admin=404, name="none"),
    "GET /api/jobs": Route(ADMIN),
    "GET /api/webhooks": Route(ADMIN),
    "GET /api/webhooks/{name}/deliveries": Route(ADMIN, admin=404, name="none"),
    "POST /api/webhooks/{name}/test": Route(ADMIN, admin=404, name="none"),
    "POST /api/webhooks/{name}/redeliver": Route(ADMIN, admin=404, name="none"),
    "POST /api/webhooks/{name}/enable": Route(ADMIN, admin=404, name="none"),
    "POST /api/admin/jobs/{name}": Route(ADMIN, body={"dryRun": True}, name="retention"),
    "POST /api/admin/recover-generation": Route(ADMIN, admin=409, make=queued, body=named),
    "GET /api/admin/failed-generations": Route(ADMIN),
    "POST /v1/files": Route(body=FORM),
    "GET /v1/files": Route(),
    "GET /v1/files/{id}": Route(make=file),
    "GET /v1/files/{id}/content": Route(make=file),
    "DELETE /v1/files/{id}": Route(make=file, admin=404),
    "POST /v1/batches": Route(make=file, body=batch_of, other=200),  # made, and failed at once: as OpenAI does
    "GET /v1/batches": Route(),
    "GET /v1/batches/{id}": Route(make=batch),
    "POST /v1/batches/{id}/cancel": Route(make=batch, admin=(200, 409), user=(200, 409)),
    "GET /v1/models": Route(),
    "GET /v1/models/{id}": Route(name="echo"),
    "GET /v1/models/{owner}/{id}": Route(user=404, name="none"),
    "GET /metrics": Route(ADMIN),
    "GET /healthz": Route(ANYONE),
    "GET /": Route(ANYONE),
    "GET /assets/{name}": Route(ANYONE, user=404, name="none"),
    "GET /session": Route(ANYONE, user=(200, 401)),
    "POST /session": Route(ANYONE, user=401, body={"key": UNKNOWN}),
    "DELETE /session": Route(ANYONE, user=(200, 204)),
    "GET /session/{code}": Route(ANYONE, user=(401, 403, 404, 410), name="none"),
}


class Client:
    """Requests with one credential. Each comes from an address of its own, so that no failure slows the next one down."""

    count = 0

    def __init__(self, web, key):
        self.web, self.key = web, key

    def __call__(self, method, path, body=None):
        Client.count += 1
        head = {"Host": f"127.0.0.1:{self.web.port}"}
        if self.key:
            head["Authorization"] = f"Bearer {self.key}"
        if isinstance(body, tuple):
            head["Content-Type"], body = body[0], body[1].encode()
        elif body is not None:
            head["Content-Type"], body = "application/json", json.dumps(body).encode()
        source = f"127.9.{Client.count // 200}.{Client.count % 200 + 1}"
        connection = http.client.HTTPConnection("127.0.0.1", self.web.port, timeout=30, source_address=(source, 0))
        try:
            connection.request(method, path, body, head)
            answer = connection.getresponse()
            streams = answer.getheader("content-type", "").startswith("text/event-stream")
            return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, b"" if streams else answer.read())
        finally:
            connection.close()


def fits(status, wanted):
    return status in (wanted if isinstance(wanted, tuple) else (wanted,))


def ask_route(client, what, route, id):
    method, path = what.split()
    for name in ("{id}", "{name}", "{code}", "{owner}"):
        path = path.replace(name, id or route.name or "")
    path = path.replace("{index}", "0") + route.query
    return client(method, path, route.body(id) if callable(route.body) else route.body)


def as_unknown(client, what, route, id, r):
    """What is another's is told in the words of what never was."""
    nobody = id[:-12] + "0" * 12
    other = ask_route(client, what, route, nobody)
    return (other.status, other.body.replace(nobody.encode(), b"*")) == (r.status, r.body.replace(id.encode(), b"*"))


def test_every_route(place):
    place.configure(ECHO)
    ann, bob, admin = (place.run("key", "add", "--json", *args).json["key"] for args in (("--user", "ann"), ("--user", "bob"), ()))
    revoked = place.run("key", "add", "--json", "--user", "ann").json
    place.run("key", "revoke", revoked["id"])
    with Web(place) as web:
        listed = {f"{r['method']} {r['path']}": r["role"] for r in web.get("/api").json["routes"]}
        tap.equal(sorted(set(listed) ^ set(ROUTES)), [], "every route of GET /api is told of here")
        tap.equal({k: v for k, v in listed.items() if k in ROUTES and v != ROUTES[k].role}, {}, "and asks for the role that it has here")
        as_ann = Client(web, ann)
        for what, route in ROUTES.items():
            id = route.make(as_ann) if route.make else None
            denied = route.user if route.role == ANYONE else 401
            got = {"no key": (ask_route(Client(web, None), what, route, id), denied), "a wrong key": (ask_route(Client(web, UNKNOWN), what, route, id), denied),
                   "a revoked key": (ask_route(Client(web, revoked["key"]), what, route, id), denied)}
            # Another user first: what that would change would show.
            other = ask_route(Client(web, bob), what, route, id)
            got["another user"] = (other, 403 if route.role == ADMIN else route.other)
            got["the user"] = (ask_route(as_ann, what, route, id), 403 if route.role == ADMIN else route.user)
            got["an admin"] = (ask_route(Client(web, admin), what, route, id), route.admin)
            wrong = [f"{who}: {r.status}, not {wanted}: {r.body[:300]!r}" for who, (r, wanted) in got.items() if not fits(r.status, wanted)]
            wrong += [f"{who}: not the error object: {r.body[:300]!r}" for who, (r, _) in got.items()
                      if r.status >= 400 and not (r.body and set(r.json.get("error", {})) == {"message", "type", "param", "code"})]
            if what == "POST /v1/batches" and "Cannot find file" not in other.json["errors"]["data"][0]["message"]:
                wrong.append(f"another user's batch has the file: {other.body!r}")
            elif other.status == 404 and route.make and not as_unknown(Client(web, bob), what, route, id, other):
                wrong.append(f"another user is told more than of an unknown id: {other.body[:300]!r}")
            tap.ok(not wrong, what, "\n".join(wrong))


def test_what_a_user_sees(place):
    place.configure(ECHO)
    ann, bob = (place.run("key", "add", "--json", "--user", u).json["key"] for u in ("ann", "bob"))
    with Web(place) as web:
        as_ann, as_bob, as_admin = Client(web, ann), Client(web, bob), Client(web, web.secret)
        mine = [queued(as_ann), cancelled(as_ann)]
        job = paused(as_ann)
        queued(as_admin)
        as_ann("POST", f"/api/generations/{mine[0]}/fail")
        for path in ("/api/generations", "/api/batch-jobs", "/api/failures", "/api/failures?by=user", "/api/generations/failed", "/v1/files", "/v1/batches"):
            r = as_bob("GET", path)
            tap.ok(r.status == 200 and r.json["data"] == [], f"{path}: nothing of others", r)
        tap.equal(len(as_ann("GET", "/api/generations").json["data"]), 4, "one's own, all of it")
        tap.equal(len(as_admin("GET", "/api/generations").json["data"]), 5, "an admin sees all")
        tap.equal([o["id"] for o in as_ann("GET", "/api/failures").json["data"]], [mine[0]], "failures: one's own")
        tap.equal({o["userId"] for o in as_ann("GET", "/api/generations").json["data"]}, {"ann"}, "what a key submits is its user's")
        tap.equal(as_ann("GET", f"/api/batch-jobs/{job}").json["createdBy"], "ann", "batch jobs, too")
        for body in ({"prompt": "x", "userId": "bob"}, {"items": ["x"], "userId": "bob"}):
            r = as_ann("POST", "/api/batch-jobs" if "items" in body else "/api/generate", body)
            tap.ok(r.status == 400 and "not yours" in r.error["message"], "nobody submits in another's name", r)
        r = as_bob("GET", "/api/generations?user=ann")
        tap.ok(r.status == 400 and "not yours" in r.error["message"], "nor lists it", r)
        for query in (f"generationId={mine[0]}", f"batchId={job}"):
            tap.equal((as_bob("GET", f"/api/events?{query}").status, as_ann("GET", f"/api/events?{query}").status), (404, 200), "nor follows it")
        for tail in (mine[0][-8:], job[-8:]):
            r = as_bob("GET", f"/api/generations/{tail}")
            tap.ok(r.status == 404 and "batch job" not in r.error["message"], "ends of ids are as silent", r)
        lost = place.run("key", "add", "--json", "--user", "eve").json
        place.sql("UPDATE api_keys SET user_id=NULL WHERE id=?", lost["id"])
        r = Client(web, lost["key"])("GET", "/api/generations")
        tap.ok(r.status != 200 or r.json["data"] == [], "a user's key that lost its user sees nothing", r)
        same = {"prompt": "x", "clientId": "k", "delay": "1h"}
        one, two = as_ann("POST", "/api/generate", same), as_bob("POST", "/api/generate", same)
        tap.ok((one.status, two.status) == (202, 202) and one.json["id"] != two.json["id"], "each user has keys of their own", two)


def test_models_of_others(place):
    place.configure("[model *]\nprovider = echo\n")
    ann, bob = (place.run("key", "add", "--json", "--user", u).json["key"] for u in ("ann", "bob"))
    with Web(place) as web:
        Client(web, ann)("POST", "/api/generate", {"prompt": "x", "modelId": "anns-own", "delay": "1h"})
        as_bob, as_admin = Client(web, bob), Client(web, web.secret)
        tap.ok("anns-own" in str(as_admin("GET", "/api/models").json), "an admin sees the models that others name")
        for path in ("/api/models", "/v1/models"):
            r = as_bob("GET", path)
            tap.ok(r.status == 200 and b"anns-own" not in r.body, f"{path}: a user does not", r)
        tap.equal(as_bob("GET", "/v1/models/anns-own").status, 404, "nor by asking for one")
        tap.ok(all("queued" not in m and "running" not in m for m in as_bob("GET", "/api/models").json["data"]), "nor how much there is of others' work")


tap.main(globals())
