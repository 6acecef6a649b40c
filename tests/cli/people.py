#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""user set, session set, project set: what is given is kept, what is not given stays."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap


def test_users(place):
    r = place.run("user", "set", "u-1", "--name", "Ann Älder")
    tap.result(r, 0, "user set makes the database too", out="^u-1 set\n$")
    tap.equal(place.sql("SELECT * FROM profiles"), [("u-1", "Ann Älder", None, None)], "and the user")
    r = place.run("user", "set", "u-1", "--email", "ann@example.org", "--json")
    tap.equal((r.code, r.json), (0, {"id": "u-1", "displayName": "Ann Älder", "username": None, "email": "ann@example.org"}),
              "what is not given stays")
    tap.equal(place.run("-q", "user", "set", "u-1", "--username", "ann", "--name", "Ann B.").out, "", "-q says nothing")
    tap.equal(place.sql("SELECT * FROM profiles"), [("u-1", "Ann B.", "ann", "ann@example.org")], "what is given replaces")


def test_places(place):
    tap.equal(place.run("project", "set", "p-1", "--name", "Site", "--json").json, {"id": "p-1", "name": "Site", "userId": None}, "a project")
    tap.equal(place.run("project", "set", "p-1", "--user", "u-1", "--json").json, {"id": "p-1", "name": "Site", "userId": "u-1"}, "of a user")
    tap.equal(place.run("session", "set", "s-1", "--name", "Monday", "--project", "p-1", "--json").json,
              {"id": "s-1", "name": "Monday", "projectId": "p-1", "userId": None}, "a session of a project")
    tap.equal(place.run("session", "set", "s-1", "--name", "Tuesday", "--json").json,
              {"id": "s-1", "name": "Tuesday", "projectId": "p-1", "userId": None}, "renamed, it stays there")
    tap.equal(place.run("session", "set", "s-1", "--user", "u-1", "--project", "p-2", "--json").json,
              {"id": "s-1", "name": "Tuesday", "projectId": "p-2", "userId": "u-1"}, "or moves")
    tap.equal(place.sql("SELECT (SELECT count(*) FROM projects), (SELECT count(*) FROM sessions)"), [(1, 1)], "one row each")


def test_misuse(place):
    for args, pattern in [
        (["user", "set"], "'user set' needs ID"),
        (["user", "set", "u"], "'user set' needs --name, --username or --email: 'genrun help user set' shows how"),
        (["session", "set", "s"], "'session set' needs --name, --project or --user"),
        (["project", "set", "p"], "'project set' needs --name or --user"),
        (["user", "set", "u", "--name", ""], "--name is empty"),
        (["user", "set", "", "--name", "x"], "an argument of 'user set' is empty"),
        (["user", "set", "u", "v", "--name", "x"], "'v' is one argument too many"),
        (["user", "set", "u", "--name", "a\nb"], "the name has a control character: leave it out"),
        (["user", "set", "u", "--username", "a\x1b[2Jb"], "the username has a control character: leave it out"),
        (["user", "set", "u", "--email", "a\x7f"], "the email has a control character"),
        (["user", "set", "u\t", "--name", "x"], "the user's id has a control character"),
        (["session", "set", "s", "--project", "a\u0085"], "the project has a control character"),
        (["session", "set", "s", "--user", "\x01"], "the user has a control character"),
        (["project", "set", "p\r", "--name", "x"], "the project's id has a control character"),
        (["user", "set", "u", "--name", b"\xff\xfe".decode("utf-8", "surrogateescape")], "the name is not valid UTF-8: convert it"),
        (["user", "set", "u", "--project", "p"], "unknown option --project"),
        (["user", "st", "u"], "did you mean 'user set'"),
        (["user"], "'user' needs a command"),
    ]:
        tap.error_line(place.run(*args), 2, pattern, f"refused: {args!r}".encode("ascii", "backslashreplace").decode())
    tap.ok(not os.path.exists(place.database), "and nothing was made for them")
    tap.equal(place.run("user", "set", "u", "--name", "'; DROP TABLE profiles; --").code, 0, "a hostile name is a name")
    tap.equal(place.sql("SELECT display_name FROM profiles"), [("'; DROP TABLE profiles; --",)], "kept as it is")


tap.main(globals())
