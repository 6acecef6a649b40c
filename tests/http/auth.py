#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Who is let in, from outside: every kind of credential against routes of every role, revoked in between, too many failures,
the link of a server without keys; and that no credential is anywhere but where it was told."""
import http.client
import json
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap
from genrun import wait_until
from web import SECRET, Reply, Web



def ask(web, path, *, source="127.0.0.1", method="GET", body=None, host=None, **headers):
    """A request with these headers only (X_Internal_Secret stands for X-Internal-Secret), from an address of loopback."""
    head = {name.replace("_", "-"): value for name, value in headers.items()}
    head["Host"] = host or f"127.0.0.1:{web.port}"
    if body is not None:
        body = json.dumps(body).encode()
        head["Content-Type"] = "application/json"
    connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=30, source_address=(source, 0))
    try:
        connection.request(method, path, body, head)
        answer = connection.getresponse()
        return Reply(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
    finally:
        connection.close()


def refused(r, status, code, part, name):
    error = r.error
    tap.equal((r.status, error["code"]), (status, code), name)
    tap.ok(part in error["message"] and "\n" not in error["message"], f"{name}: it says why", error)
    if status == 401:
        tap.equal((r.headers.get("www-authenticate"), error["type"]), ("Bearer", "authentication_error"), f"{name}: how to do better")


def key(place, *args):
    row = place.run("key", "add", "--json", *args).json
    return row["key"], row["id"]


def denied(place):
    return [json.loads(line) for line in place.run("logs", "--event", "http.denied", "--json").out.splitlines()]


def everything(place):
    """All bytes that the place has."""
    found = b""
    for folder, _, names in os.walk(place.folder):
        for name in names:
            with open(os.path.join(folder, name), "rb") as f:
                found += f.read()
    return found


def test_credentials(place):
    user, user_id = key(place, "--user", "ann")
    admin, _ = key(place)
    revoked, revoked_id = key(place, "--user", "bob")
    place.run("key", "revoke", revoked_id)
    unknown = "gr_" + "A" * 43
    with Web(place) as web:
        tap.matches(web.process.err, r"HTTP takes the admin secret \(environment variable INTERNAL_API_SECRET\) and 2 keys", "the start tells who may call")
        tap.lacks(web.process.err, "/session/", "and no link")
        for name, head, api, metrics in (
                ("the secret as Bearer", {"Authorization": f"Bearer {SECRET}"}, 200, 200),
                ("the secret by itself", {"X_Internal_Secret": SECRET}, 200, 200),
                ("an admin's key", {"Authorization": f"Bearer {admin}"}, 200, 200),
                ("a user's key", {"Authorization": f"Bearer {user}"}, 200, 403),
                ("a user's key with the secret", {"Authorization": f"Bearer {user}", "X_Internal_Secret": SECRET}, 200, 403)):
            r = ask(web, "/api", **head)
            tap.equal((r.status, ask(web, "/metrics", **head).status), (api, metrics), name)
        refused(ask(web, "/metrics", Authorization=f"Bearer {user}"), 403, "permission_denied", "this takes an admin's key", "a user's key on an admin's route")
        for n, (name, head, code, part) in enumerate((
                ("nothing", {}, "missing_credentials", "no credential was sent"),
                ("an unknown key", {"Authorization": f"Bearer {unknown}"}, "unknown_key", "the key in Authorization is not known"),
                ("OpenAI's", {"Authorization": "Bearer sk-proj-0123456789abcdefghijklm"}, "unknown_key", "the key in Authorization"),
                ("a revoked key", {"Authorization": f"Bearer {revoked}"}, "revoked_key", "the key in Authorization was revoked"),
                ("another scheme", {"Authorization": "Basic dXNlcjpzM2NyZXQtYmFzaWM="}, "malformed_credentials", "not of the form 'Bearer KEY'"),
                ("a key alone", {"Authorization": user}, "malformed_credentials", "not of the form 'Bearer KEY'"),
                ("an unset variable", {"Authorization": "Bearer "}, "malformed_credentials", "is the variable that it is made of set?"),
                ("an empty secret", {"X_Internal_Secret": ""}, "malformed_credentials", "X-Internal-Secret is empty"),
                ("a wrong secret", {"X_Internal_Secret": "not-the-secret-at-all"}, "unknown_key", "X-Internal-Secret is not the admin secret"),
                ("the right key with a wrong secret", {"Authorization": f"Bearer {user}", "X_Internal_Secret": "not-the-secret-at-all"}, "unknown_key", "X-Internal-Secret"),
                ("the right secret with a revoked key", {"Authorization": f"Bearer {revoked}", "X_Internal_Secret": SECRET}, "revoked_key", "Authorization"),
                ("a cookie of yesterday", {"Cookie": "genrun_session=of-another-process"}, "unknown_key", "the session in the cookie genrun_session has ended"))):
            refused(ask(web, "/api", source=f"127.0.1.{n + 1}", **head), 401, code, part, name)
        tap.equal(ask(web, "/healthz").status, 200, "/healthz needs none")
        tap.equal(ask(web, "/healthz", Authorization="Bearer x").status, 200, "and is not there to be refused")
        tap.equal(ask(web, "/no/such/path?key=in-the-query", Authorization="Bearer x").status, 404, "nor is what is not there")
        ask(web, "/api?token=in-the-query", source="127.0.1.200")
        wait_until(lambda: len(denied(place)) >= 14, 10, "the rows of the log")
        rows = denied(place)
        one = [row for row in rows if row["data"].get("remote") == "127.0.1.4"][0]
        tap.equal((one["level"], one["data"]), ("warn", {"status": 401, "code": "revoked_key", "remote": "127.0.1.4", "method": "GET", "path": "/api"}), "each is a row of the log")
        tap.equal(one["message"], "GET /api from 127.0.1.4 was refused (401 revoked_key): the key in Authorization was revoked: get another one", "for people, too")
        tap.equal([row["data"].get("key") for row in rows if row["data"]["status"] == 403], [f"key:{user_id}"], "that of a role with the key's id")
        wait_until(lambda: place.value("SELECT last_used_at FROM api_keys WHERE id=?", user_id), 10, "the use of a key")
        tap.equal(place.value("SELECT last_used_at FROM api_keys WHERE id=?", revoked_id), None, "that a key was used is noted, not that a revoked one was tried")
        place.run("key", "revoke", user_id)
        refused(ask(web, "/api", source="127.0.1.100", Authorization=f"Bearer {user}"), 401, "revoked_key", "revoked", "a key revoked meanwhile, at once")
        late, _ = key(place, "--user", "cleo")
        tap.equal(ask(web, "/api", Authorization=f"Bearer {late}").status, 200, "a key made meanwhile, too")
    left = everything(place)
    told = [SECRET, user, admin, revoked, late, unknown, "not-the-secret-at-all", "sk-proj-0123", "dXNlcjpz", "of-another-process", "in-the-query"]
    tap.equal([t for t in told if t[3:].encode() in left], [], "nothing of a credential is in a file, the log, or what the server said")


def test_streams_end_with_their_key(place):
    keys = [key(place, "--user", "ann"), key(place)]
    with Web(place) as web:
        streams = []
        for k, _ in keys:
            s = http.client.HTTPConnection("127.0.0.1", web.port, timeout=30)
            s.request("GET", "/api/events", headers={"Authorization": f"Bearer {k}"})
            streams.append((s, s.getresponse()))
        tap.equal([r.status for _, r in streams], [200, 200], "two follow the events")
        place.run("key", "revoke", keys[0][1])
        streams[0][1].read()  # to its end: without one this runs into its time
        tap.ok(True, "a key revoked meanwhile ends its stream")
        seen = b""
        while b"key.revoked" not in seen:
            seen += streams[1][1].readline()
        tap.ok(seen, "the other one goes on, and hears of it")
        for s, _ in streams:
            s.close()


def test_too_many_failures(place):
    good, _ = key(place, "--user", "ann")
    with Web(place) as web:
        for _ in range(10):
            last = ask(web, "/api", source="127.0.2.1", Authorization="Bearer wrong")
        tap.equal(last.status, 401, "ten failures are told as what they are")
        r = ask(web, "/api", source="127.0.2.1", Authorization="Bearer wrong")
        refused(r, 429, "too_many_failures", "too many requests from this address", "the next one")
        tap.ok(0 < int(r.headers["retry-after"]) <= 60, "says when to come back", r)
        tap.equal(ask(web, "/api", source="127.0.2.1", Authorization=f"Bearer {good}").status, 200, "a right one is let in all the same")
        tap.equal(ask(web, "/api", source="127.0.2.2", Authorization="Bearer wrong").status, 401, "others are not concerned")
        for _ in range(200):
            ask(web, "/api", source="127.0.2.1", Authorization="Bearer wrong")
        wait_until(lambda: denied(place), 10, "the log")
        # what a flood adds: at most a row in a second, while the requests of above took far less than one each
        tap.ok(len(denied(place)) < 50, "a flood does not fill the log", len(denied(place)))
    with Web(place, env={"GENRUN_HTTP_MAX_FAILURES": "0"}) as web:
        tap.equal({ask(web, "/api", Authorization="Bearer wrong").status for _ in range(15)}, {401}, "max_failures = 0: never")


def test_without_a_key(place):
    with Web(place, secret=None) as web:
        said = web.process.err
        code = re.search(rf"browser, once: http://127\.0\.0\.1:{web.port}/session/([\w-]{{43}})\n", said).group(1)
        token = re.search(r"programs: Authorization: Bearer (gs_[\w-]{43})\n", said).group(1)
        refused(ask(web, "/api"), 401, "missing_credentials", "the token that the server told at its start", "nothing is open")
        refused(ask(web, "/api", X_Internal_Secret="a guess"), 401, "unknown_key", "set the environment variable INTERNAL_API_SECRET", "no secret can be right")
        tap.equal((ask(web, "/api", Authorization=f"Bearer {token}").status, ask(web, "/metrics", Authorization=f"Bearer {token}").status), (200, 200), "the token is an admin's")
        tap.equal(ask(web, f"/session/{code}", method="HEAD").status, 425, "a look at the link does not use it up")
        tap.equal(ask(web, f"/session/{code}", Sec_Purpose="prefetch").status, 425, "nor does a browser that fetches beforehand")
        refused(ask(web, f"/session/{token}"), 404, "unknown_link", "use the one that it told at its last start", "another link")
        r = ask(web, f"/session/{code}")
        tap.equal((r.status, r.headers.get("location"), r.headers.get("cache-control")), (303, "/", "no-store"), "the link leads to the dashboard")
        cookie, rules = r.headers["set-cookie"].split(";", 1)
        tap.equal(rules, " HttpOnly; SameSite=Strict; Path=/", "with a cookie that scripts and other sites do not get at")
        refused(ask(web, f"/session/{code}"), 410, "link_used", "start the server again for a new link", "a second use")
        tap.equal((ask(web, "/metrics", Cookie=cookie).status, ask(web, "/session", Cookie=cookie).json), (200, {"role": "admin", "user": None, "name": "session"}), "the cookie is an admin's")
        good, _ = key(place, "--user", "ann")
        tap.equal((ask(web, "/metrics", Cookie=cookie).status, ask(web, "/api", Authorization=f"Bearer {token}").status), (200, 200), "a first key does not end the session")
        tap.equal(ask(web, "/api", Authorization=f"Bearer {good}").status, 200, "and is good itself")
        other = ask(web, "/session", method="POST", body={"key": token})
        tap.equal(other.status, 200, "a form takes the token, too")
    left = everything(place).replace(said.encode(), b"")
    tap.equal([t for t in (code, token[3:], cookie.split("=")[1], good[3:]) if t.encode() in left], [], "all of it was told once, and is nowhere else")
    with Web(place, secret=None) as web:
        tap.lacks(web.process.err, "/session/", "with a key there is no link")
        tap.equal((ask(web, "/api", Cookie=cookie).status, ask(web, "/api", Authorization=f"Bearer {token}").status), (401, 401), "and the session ended with its process")


def test_log_in(place):
    ann, ann_id = key(place, "--user", "ann")
    with Web(place) as web:
        r = ask(web, "/session")
        refused(r, 401, "missing_credentials", "POST /session with a key", "who is it: nobody")
        for body, code in (({}, "missing_required_parameter"), ({"key": 5}, "invalid_type"), ({"key": ""}, "invalid_value"), ({"key": "x", "more": 1}, "unknown_parameter")):
            r = ask(web, "/session", method="POST", body=body)
            tap.equal((r.status, r.error["code"]), (400, code), f"{body}")
        refused(ask(web, "/session", method="POST", body={"key": "not-a-known-key"}), 401, "unknown_key", "the key in the form is not known", "a wrong key")
        tap.ok("set-cookie" not in ask(web, "/session", method="POST", body={"key": " "}).headers, "gets no cookie")
        r = ask(web, "/session", method="POST", body={"key": ann})
        tap.equal((r.status, r.json), (200, {"role": "user", "user": "ann", "name": f"key:{ann_id}"}), "a right one")
        mine = r.headers["set-cookie"].split(";")[0]
        root = ask(web, "/session", method="POST", body={"key": SECRET}).headers["set-cookie"].split(";")[0]
        tap.equal([ask(web, p, Cookie=c).status for p in ("/api", "/metrics") for c in (mine, root)], [200, 200, 403, 200], "each is what its key is")
        tap.equal(ask(web, "/session", method="DELETE", Cookie=root).status, 204, "logging out")
        tap.equal(ask(web, "/api", Cookie=root).status, 401, "ends it")
        place.run("key", "revoke", ann_id)
        refused(ask(web, "/api", Cookie=mine), 401, "revoked_key", "revoked", "revoking its key ends a session")
        tap.lacks(json.dumps(denied(place)), "not-a-known-key", "what was typed into the form is not logged")


def test_pages_of_others(place):
    place.configure("[http]\nbase_url = https://genrun.example.org\ncors_origin = https://app.example.org\n")
    with Web(place) as web:
        own = f"http://127.0.0.1:{web.port}"
        key = {"Authorization": f"Bearer {SECRET}"}
        for host, status in ((f"localhost:{web.port}", 200), ("genrun.example.org", 200), ("evil.example", 421), (f"evil.example:{web.port}", 421), ("127.0.0.1", 421)):
            tap.equal(ask(web, "/api", host=host, **key).status, status, f"Host: {host}")
        for origin, status in ((own, 200), ("https://app.example.org", 200), ("https://evil.example", 403), ("null", 403), (f"http://localhost:{web.port}", 403)):
            r = ask(web, "/api", Origin=origin, **key)
            allowed = origin if origin.startswith("https://app") else None
            tap.equal((r.status, r.headers.get("access-control-allow-origin")), (status, allowed), f"Origin: {origin}")
        names = "authorization,content-type,x-stainless-retry-count"
        before = [ask(web, "/v1/files", method="OPTIONS", Origin=f"https://{who}.example.org", Access_Control_Request_Headers=names) for who in ("app", "evil")]
        tap.equal([(r.status, r.headers.get("access-control-allow-headers")) for r in before], [(204, names), (403, None)], "an OpenAI client in a page may send its headers")
        r = ask(web, "/session", method="POST", body={"key": SECRET}, Origin="https://evil.example")
        tap.ok(r.status == 403 and "set-cookie" not in r.headers, "no page of another site logs a browser in", r)
        r = ask(web, "/session", method="POST", body={"key": SECRET}, host="genrun.example.org", Origin="https://genrun.example.org")
        tap.matches(r.headers["set-cookie"], "; Secure$", "through the public address the cookie needs TLS")
        cookie = ask(web, "/session", method="POST", body={"key": SECRET}).headers["set-cookie"].split(";")[0]
        # (400: it was let in, and the body is wrong.)
        change = {"path": "/v1/batches", "method": "POST", "body": {}, "Cookie": cookie}
        for head, status in (({}, 403), ({"Sec_Fetch_Site": "same-site"}, 403), ({"Sec_Fetch_Site": "same-origin"}, 400), ({"Origin": own}, 400)):
            tap.equal(ask(web, **change, **head).status, status, f"a cookie with {head or 'nothing that says whose page it is'}".replace(own, "the own Origin"))
        refused(ask(web, **change), 403, "cross_site_request", "only counts for requests of this server's own pages", "which says why")



def test_start(place):
    r = place.run("run", "--listen", "0.0.0.0:0")
    tap.error_line(r, 3, r"0\.0\.0\.0:0 can be reached from other machines, and there is no key: set the admin secret in the environment "
                         r"variable INTERNAL_API_SECRET, make a key with 'genrun key add', or listen on 127.0.0.1", "not for other machines without a key")
    place.configure("[http]\nadmin_key_file = secret\n")
    tap.error_line(place.run("run", "--listen", "127.0.0.1:0"), 3, "admin_key_file .* cannot be read", "nor with a secret that cannot be read")
    place.write("secret", SECRET + "\n")
    with Web(place, secret=None) as web:
        tap.equal(ask(web, "/metrics", X_Internal_Secret=SECRET).status, 200, "the secret of a file")
        tap.lacks(web.process.err, SECRET, "which is not told")
    place.write("secret", "tooshort\n")
    with Web(place, secret=None) as web:
        tap.matches(web.process.err, r"the admin secret in admin_key_file /.*/secret is short enough to be guessed", "a short one is warned of")


tap.main(globals())
