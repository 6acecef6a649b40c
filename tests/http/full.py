#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A database that takes nothing, behind the HTTP API: the disk is full, a shell left a transaction open. Requests that
write get 503 and store nothing, those that read are answered, /healthz names the reason, and afterwards the same
requests are stored once."""
import concurrent.futures
import os
import sqlite3
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap
from genrun import wait_until
from shim import Shim
from web import Web

CONFIG = """
[scheduler]
poll_interval = 1m
heartbeat_interval = 100ms
"""


def reasons(web):
    r = web.get("/healthz")
    return r.status, " ".join(r.json.get("reasons", []))


def ask(web, i):
    return web.post("/api/generate", {"prompt": f"{i} " + "x" * 5000, "modelId": "echo", "clientId": f"c{i}"})


def ask_all(web, count):
    with concurrent.futures.ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda i: ask(web, i), range(count)))


def test_a_full_disk(place):
    place.configure(CONFIG)
    shim = Shim(place)
    with Web(place, env=shim.env) as web:
        tap.equal(web.get("/healthz").status, 200, "well at first")
        shim.set_full(True)
        answers = ask_all(web, 12)
        tap.equal({r.status for r in answers}, {503}, "nothing is taken while the disk is full")
        tap.ok(all(r.headers.get("retry-after") for r in answers), "and when to come again is told")
        tap.contains(answers[0].error["message"], "disk is full", "with the reason")
        tap.equal(web.get("/api/generations").status, 200, "what only reads is answered")
        # A tick that has nothing to write finds the disk well again, so it is asked right after a refusal.
        wait_until(lambda: ask(web, 0).status == 503 and reasons(web)[0] == 503, 20, "not well")
        wait_until(lambda: ask(web, 0).status == 503 and "disk is full" in reasons(web)[1], 20, "because of the disk")
        tap.ok(True, "not well, because of the disk")
        shim.set_full(False)
        wait_until(lambda: web.get("/healthz").status == 200, 20, "well again")
        tap.equal({r.status for r in ask_all(web, 12)}, {202}, "then the same are stored")
        wait_until(lambda: place.sql("SELECT completed FROM totals") == [(12,)], 20, "all completed")
        tap.equal(place.sql("SELECT count(*) FROM generations"), [(12,)], "each once")
        tap.equal(web.process.stop(), 0, "a clean end")


def test_a_shell_with_an_open_transaction(place):
    place.configure(CONFIG)
    with Web(place) as web:
        shell = sqlite3.connect(place.database, isolation_level=None, timeout=60)
        shell.execute("BEGIN IMMEDIATE")
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(ask, web, 1)
            wait_until(lambda: web.get("/healthz").status == 503, 20, "not well")
            status, said = reasons(web)
            tap.contains(said, f"the process with id {os.getpid()} has it locked", "and whose lock it is")
            tap.ok(not waiting.done(), "the request waits meanwhile")
            shell.execute("COMMIT")
            tap.equal(waiting.result().status, 202, "and is stored when the lock is free")
        shell.close()
        wait_until(lambda: web.get("/healthz").status == 200, 20, "well again")


tap.main(globals())
