#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Where webhooks are never sent: names that lead to addresses which are not public, however they are written, also when their
answer changes, or a redirect leads there; and what the owner of the configuration may mean all the same. Names are looked
up in a file, and 203.0.113.* is this machine (shim.c)."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap
from genrun import wait_until
from server import Server
from shim import Shim

PUBLIC = "203.0.113.7"
# What names must not lead to.
PRIVATE = ["127.0.0.1", "127.9.9.9", "::1", "0.0.0.0", "::", "10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "169.254.169.254", "224.0.0.1",
           "255.255.255.255", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "fe80::1", "fc00::1", "fd00:ec2::254", "64:ff9b::7f00:1", "2002:7f00:1::1"]
LINK_LOCAL = {"169.254.169.254", "fe80::1"}


def configure(place, host, port, *lines):
    place.configure(f"[webhook app]\nurl = http://{host}:{port}/hook\ntimeout = 2s\nevents = generation.completed\n" + "\n".join(lines) +
                    "\n[model echo]\n")


def refused(place, env, name, words=r"not public"):
    tap.error_line(place.run("webhook", "test", "app", env=env), 7, words, name)


def taken(place, env, name):
    tap.result(place.run("webhook", "test", "app", env=env), 0, name, out="taken: HTTP 200")


def test_names(place):
    shim = Shim(place)
    with Server(lambda x: x.answer(200, "ok")) as r:
        env = shim.knowing({"hooks.test": [PUBLIC]})
        configure(place, "hooks.test", r.port)
        taken(place, env, "a name of a public address")
        for address in PRIVATE:
            shim.know({"hooks.test": [address]})
            refused(place, env, f"a name that leads to {address}", "not public: set private = yes if that is meant")
        for host in ("a.localhost", "localhost.", "hooks.test."):
            shim.know({"hooks.test.": ["127.0.0.1"], "localhost.": ["127.0.0.1"], "hooks.test": ["127.0.0.1"]})
            configure(place, host, r.port)
            refused(place, env, f"{host} is a name, too")
        tap.equal(r.count, 1, "nothing came to this machine")
        configure(place, "hooks.test", r.port)
        shim.know({"hooks.test": ["127.0.0.1", "10.0.0.1", PUBLIC]})
        taken(place, env, "of several addresses the public one is taken")
        tap.equal(r.count, 2, "once")


def test_what_is_meant(place):
    shim = Shim(place)
    with Server(lambda x: x.answer(200, "ok")) as r:
        env = shim.knowing({"hooks.test": ["127.0.0.1"]})
        configure(place, "hooks.test", r.port, "private = yes")
        taken(place, env, "private = yes: a name may lead to this machine")
        for address in sorted(LINK_LOCAL):
            shim.know({"hooks.test": [address]})
            refused(place, env, f"but not to {address}", "link-local, not public")
        # An address is not looked up: who writes it means it, however it is written.
        for host in ("127.0.0.1", "localhost", "127.1", "0177.0.0.1", "0x7f.0.0.1", "2130706433", "017700000001", "[::ffff:127.0.0.1]", "0.0.0.0"):
            configure(place, host, r.port)
            taken(place, env, f"{host} in the url is meant")
        count = r.count
        for host in ("169.254.169.254", "2852039166", "0xa9fea9fe", "0251.0376.0251.0376", "[::ffff:169.254.169.254]", "[::ffff:a9fe:a9fe]", "[fe80::1]"):
            configure(place, host, r.port)
            refused(place, env, f"{host} in the url: never", "link-local, not public")
        tap.equal(r.count, count, "none of those came")


def test_an_answer_that_changes(place):
    """What counts is the address that is connected to, each time."""
    shim = Shim(place)
    answers = [500]
    with Server(lambda x: x.answer(answers.pop(0) if answers else 200, "ok")) as r:
        env = shim.knowing({"hooks.test": [PUBLIC]})
        configure(place, "hooks.test", r.port)
        place.submit("x", "--model", "echo")
        for addresses, done in (([PUBLIC], "HTTP 500"), (["127.0.0.1"], "its name leads to"), ([PUBLIC], "")):
            # An answer is good for a minute in one process, and so is what came of the look at it.
            shim.know({"hooks.test": addresses})
            place.sql("UPDATE delivery SET next_at=1")
            runner = place.start_runner(env=env)
            wait_until(lambda: place.sql("SELECT attempts, coalesce(last_error, '') FROM delivery") and
                       place.value("SELECT coalesce(last_error, '') FROM delivery").startswith(done) and
                       (done or place.value("SELECT status FROM delivery") == "delivered"), what=f"the attempt with {addresses}")
            runner.stop()
            tap.equal((r.count, place.value("SELECT away_since FROM endpoint")), (2 if not done else 1, None),
                      f"{addresses}: nothing else came, and it is not taken for away")
        tap.equal(len({x.header("webhook-id") for x in r.requests}), 1, "all with the same message")


def test_a_redirect(place):
    shim = Shim(place)
    with Server(lambda x: x.answer(200, "ok")) as inner:
        for status in (301, 302, 303, 307, 308):
            with Server(lambda x: x.answer(status, "", {"Location": f"http://127.0.0.1:{inner.port}/inner"})) as r:
                configure(place, "hooks.test", r.port)
                refused(place, shim.knowing({"hooks.test": [PUBLIC]}), f"{status} is told", rf"HTTP {status}, a redirect, which is not followed")
        tap.equal(inner.count, 0, "and nobody went where it led")


def test_no_proxy_of_the_environment(place):
    shim = Shim(place)
    with Server(lambda x: x.answer(200, "ok")) as proxy, Server(lambda x: x.answer(200, "ok")) as r:
        env = shim.knowing({"hooks.test": [PUBLIC]})
        env.update({name: f"http://127.0.0.1:{proxy.port}" for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")})
        configure(place, "hooks.test", r.port)
        taken(place, env, "sent")
        tap.equal((proxy.count, r.count), (0, 1), "not by way of a proxy, which would look the name up again")


tap.main(globals())
