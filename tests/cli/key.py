#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""key add, key list, key revoke: a key is told once, and nothing of it is kept but its hash."""
import hashlib
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap

KEY = r"gr_[A-Za-z0-9_-]{43}"


def add(place, *args):
    r = place.run("key", "add", *args)
    tap.result(r, 0, f"key add {' '.join(args)}", out=rf"^{KEY}\n$", err=r"(?s)^genrun: key [0-9a-f-]{36}: only its hash is kept, so store it now\n$")
    return r.out.strip(), re.search(r"key ([0-9a-f-]{36})", r.err).group(1)


def test_add(place):
    key, id = add(place, "--user", "ann", "--name", "laptop")
    tap.equal(place.sql("SELECT id, name, role, user_id, hash, last_used_at, revoked_at FROM api_keys"),
              [(id, "laptop", "user", "ann", hashlib.sha256(key.encode()).hexdigest(), None, None)], "its hash is kept")
    add(place)
    add(place, "--user", "ann", "--role", "admin")
    tap.equal(place.sql("SELECT role, user_id FROM api_keys ORDER BY id"), [("user", "ann"), ("admin", None), ("admin", "ann")], "roles")
    r = place.run("-q", "key", "add", "--json", "--user", "bob")
    tap.equal((r.code, r.err, sorted(r.json)), (0, "", ["createdAt", "id", "key", "lastUsedAt", "name", "revokedAt", "role", "userId"]), "as JSON")
    tap.matches(r.json["key"], f"^{KEY}$", "with the key")
    tap.equal(place.sql("SELECT level, event, message FROM logs WHERE event LIKE 'key.%' ORDER BY id LIMIT 1"),
              [("info", "key.added", f"key {id} of role user of ann was added")], "the log tells of it")


def test_list_and_revoke(place):
    tap.equal(place.run("key", "list").code, 4, "without a database there is no list")
    ann, id = add(place, "--user", "ann", "--name", "it's mine")
    bob, other = add(place, "--user", "bob")
    r = place.run("key", "list")
    tap.result(r, 0, "key list", out=rf"(?s)^ID +ROLE +USER +NAME +AGE +USED +STATE\n{id[-8:]} +user +ann +it's mine +\S+ +never +good\n{other[-8:]} ")
    tap.equal([row["id"] for row in place.run("key", "list", "--json").jsonl], [id, other], "as JSON, the oldest first")
    tap.ok("hash" not in place.run("key", "list", "--json").out, "never the hash")
    tap.result(place.run("key", "revoke", id[-8:]), 0, "key revoke by the tail", out=rf"^{id[-8:]} revoked\n$")
    at = place.value("SELECT revoked_at FROM api_keys WHERE id=?", id)
    tap.ok(at, "it is marked")
    tap.result(place.run("key", "revoke", id, "--json"), 0, "again", out=r'"revoked":true')
    tap.equal(place.value("SELECT revoked_at FROM api_keys WHERE id=?", id), at, "changes nothing")
    tap.equal(place.value("SELECT count(*) FROM logs WHERE event='key.revoked'"), 1, "and is not logged twice")
    tap.matches(place.run("key", "list").out, rf"(?m)^{id[-8:]} .* revoked$", "the list shows it")
    tap.equal([r["revokedAt"] is None for r in place.run("key", "list", "--json").jsonl], [False, True], "also as JSON")
    everything = b"".join(open(place.path(n), "rb").read() for n in os.listdir(place.folder))
    everything += (place.run("logs", "--json").out + place.run("doctor", "--offline").out).encode()
    tap.equal([k for k in (ann, bob) if k[3:].encode() in everything], [], "no key is in a file, the log or the doctor's words")


def test_misuse(place):
    for args, code, pattern in [
        (["add", "--role", "user"], 2, "--role user needs --user"),
        (["add", "--role", "root"], 2, "--role"),
        (["add", "--user", ""], 2, "--user is empty"),
        (["add", "--user", "a\nb"], 2, "the user has a control character"),
        (["add", "--name", "\x1b[2J"], 2, "the name has a control character"),
        (["add", "ann"], 2, "'ann' is one argument too many"),
        (["revoke"], 2, "'key revoke' needs ID"),
        (["revok"], 2, "did you mean 'key revoke'"),
        ([], 2, "'key' needs a command"),
    ]:
        tap.error_line(place.run("key", *args), code, pattern, f"refused: {args!r}")
    tap.ok(not os.path.exists(place.database), "and nothing was made for them")
    add(place)
    for id, code, pattern in [("00000000", 4, "key 00000000 does not exist: 'genrun key list' shows them"), ("xyz", 2, "xyz is not an id")]:
        tap.error_line(place.run("key", "revoke", id), code, pattern, f"revoke {id}")
    r = place.run("key", "revoke", "00000000", place.value("SELECT id FROM api_keys"))
    tap.equal((r.code, place.value("SELECT count(*) FROM api_keys WHERE revoked_at IS NULL")), (4, 0), "of several each is tried")


def test_open_to_others(place):
    place.configure("[http]\nlisten = 0.0.0.0:8787\n")
    pattern = r"genrun.ini:2: 0.0.0.0:8787 can be reached from other machines, and there is no key: set the admin secret"
    tap.matches(place.run("config", "check").out + place.run("config", "check").err, pattern, "config check finds it")
    tap.equal(place.run("config", "check").code, 3, "and fails")
    _, id = add(place)
    tap.equal(place.run("config", "check").code, 0, "with a key it is fine")
    place.run("key", "revoke", id)
    tap.equal(place.run("config", "check").code, 3, "not with one that is revoked")
    secret = "a secret of some length"
    for args in (["config", "check"], ["config", "show"], ["doctor", "--offline"]):
        r = place.run(*args, env={"INTERNAL_API_SECRET": secret})
        tap.ok(secret not in r.out + r.err, f"{' '.join(args)} does not tell the secret", r)
    r = place.run("config", "show", env={"INTERNAL_API_SECRET": secret})
    tap.matches(r.out, r"(?m)^admin_key_env = INTERNAL_API_SECRET +; default, set \(from env INTERNAL_API_SECRET\)$", "but that it is there")


tap.main(globals())
