#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The commands of the sync where there is no Postgres: not configured, not to be reached, and what is told of it. With one:
tests/postgres."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap
from genrun import wait_until
from postgres import free_port

SECRET = "p4ss-w0rd"
COMMANDS = (("sync", "init"), ("sync", "push"), ("sync", "status"))


def url():
    return f"postgresql://ann:{SECRET}@127.0.0.1:{free_port()}/work"


def test_not_configured(place):
    place.submit("--model", "echo", "hello")
    for args in COMMANDS + (("job", "sync"),):
        tap.error_line(place.run(*args), 3, r"set the environment variable GENRUN_SYNC_URL to the connection string of Postgres", " ".join(args))
    place.configure("[sync]\nurl_file = nowhere\n")
    tap.error_line(place.run("sync", "push"), 3, r"url_file .*nowhere cannot be read: write the connection string there", "a file that is not there")
    tap.equal(place.run("config", "check").code, 3, "config check finds it")
    place.write("nowhere", "\n")
    tap.error_line(place.run("sync", "push"), 3, r"holds no connection string", "an empty one")
    place.configure("[sync]\nevery = 1ms\nbatch = 0\ndeletes = maybe\n")
    r = place.run("config", "check")
    tap.equal((r.code, sum(f"genrun.ini:{n}: " in r.out + r.err for n in (2, 3, 4))), (3, 3), "bad values, each with its line")


def test_not_to_be_reached(place):
    place.env["GENRUN_SYNC_URL"] = url()
    place.submit("--model", "echo", "hello")
    for args in COMMANDS:
        r = place.run(*args)
        tap.result(r, 7, " ".join(args), err=r"cannot connect to Postgres \(127\.0\.0\.1:\d+/work\)")
        tap.lacks(r.out + r.err, SECRET, f"{' '.join(args)} does not tell the password")
    r = place.run("sync", "status", "--json")
    tap.equal((r.code, r.json["reachable"], r.json["behind"] > 0, r.json["offlineSince"] is not None), (7, False, True, True), "what is known here")
    tap.equal(place.sql("SELECT event, count(*) FROM logs WHERE event LIKE 'sync.%' GROUP BY 1"), [("sync.offline", 1)], "told once")
    r = place.run("doctor")
    tap.matches(r.out, r"sync.*cannot connect to Postgres", "doctor tells of it")
    for args in (("config", "show"), ("config", "check"), ("doctor", "--offline")):
        r = place.run(*args)
        tap.lacks(r.out + r.err, SECRET, f"{' '.join(args)} does not tell the password")
    tap.matches(place.run("config", "show").out, r"url_env = GENRUN_SYNC_URL +; default, set \(from env GENRUN_SYNC_URL\)", "but that it is there")
    place.env["GENRUN_SYNC_URL"] = f"nonsense {SECRET}"
    r = place.run("sync", "push")
    tap.result(r, 3, "a string that cannot be read", err="cannot be read: write it as postgresql://")
    tap.lacks(r.err, SECRET, "is not repeated")


def test_the_runner_goes_on(place):
    place.env["GENRUN_SYNC_URL"] = url()
    runner = place.start("run")
    id = place.submit("--model", "echo", "hello")
    place.wait_status(id, "completed")
    wait_until(lambda: "sync: cannot connect" in runner.err, 10, "its message")
    tap.equal(runner.stop(), 0, "it stops at once")
    tap.equal(runner.err.count("sync: cannot connect"), 1, "told once")
    tap.lacks(runner.err, SECRET, "without the password")


tap.main(globals())
