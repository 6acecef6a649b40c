#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A database that takes nothing, behind the HTTP API: the disk is full, a shell left a transaction open. Requests that
write get 503 and store nothing, those that read are answered, /healthz names the reason, and afterwards the same
requests are stored once."""
import concurrent.futures
import os
import re
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


def failed(web):
    return int(re.search(r"^genrun_transactions_failed_total (\d+)", web.get("/metrics").body.decode(), re.M)[1])


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
        wait_until(lambda: reasons(web)[0] == 503, 20, "not well")
        # Nobody asks for anything meanwhile.
        tries, looks = failed(web), []
        wait_until(lambda: looks.append(reasons(web)) or failed(web) >= tries + 3, 60, "more tries")
        tap.equal({status for status, _ in looks}, {503}, "not well as long as the disk is full")
        tap.contains(looks[-1][1], "disk is full", "because of the disk")
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
