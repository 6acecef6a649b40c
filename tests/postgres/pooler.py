#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The sync through a real PgBouncer, that gives the server's connections to one transaction after another: everything comes
there, orders are noticed, nothing of one session shows in another one, whatever is killed. With one connection to the
server for all, so that the sync and people meet in the same backend."""
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import mirror
import mirror_work as work
import tap
from genrun import wait_until
from pooler import Pooler
from postgres import Postgres, Proxy

# What a session of Postgres can keep: settings, locks, prepared statements, temporary tables, notices asked for.
LEFT = """SELECT 'writer ' || coalesce(current_setting('genrun.writer', true), '');
SELECT 'path ' || current_setting('search_path');
SELECT 'timeouts ' || current_setting('statement_timeout') || current_setting('lock_timeout')
    || current_setting('idle_in_transaction_session_timeout');
SELECT 'zone ' || current_setting('timezone');
SELECT 'locks ' || count(*) FROM pg_locks WHERE locktype = 'advisory';
SELECT 'prepared ' || count(*) FROM pg_prepared_statements;
SELECT 'temporary ' || count(*) FROM pg_class WHERE relpersistence = 't';
SELECT 'channels ' || count(*) FROM pg_listening_channels();"""


def equal(place, pg, name):
    broken = mirror.differences(place.database, pg, "box")
    tap.ok(not broken, f"{name}: every row is equal on both sides", lambda: "\n".join(broken))


def left(pooler):
    return pooler.psql(LEFT).splitlines()


def prepare(place, pooler, **kw):
    work.configure(place, pooler.url, **kw)
    tap.result(place.run("sync", "init"), 0, "sync init through the pooler", out="the mirror is made")


def drain(place):
    r = place.run("run", "--no-http", "--drain", timeout_s=120, env={"GENRUN_SYNC_URL": None})
    if r.code not in (0, 1, 5):  # 5: what is delayed is left
        raise RuntimeError(str(r))


def push(place, name, **kw):
    r = place.run("sync", "push", "--json", timeout_s=90, **kw)
    tap.result(r, 0, name)
    return r.json


def test_push_and_orders(place):
    rng = random.Random(11)
    with Postgres() as pg, Pooler(pg) as pooler:
        clean = left(pooler)
        prepare(place, pooler)
        tap.equal(left(pooler), clean, "and nothing of it stays in the backend")
        work.people(place)
        work.submit_batch(place, rng, "b", 400, delay_ms=0)
        waits = [place.submit(f"waits {i}", "--delay", "7d") for i in range(4)]
        drain(place)
        push(place, "a push through it")
        equal(place, pg, "after it")
        tap.equal(left(pooler), clean, "nothing of the push stays in the backend")
        # A person's statement in the backend that the sync has just used: an order, and no write of the sync.
        for i, id in enumerate(waits[:3]):
            backend = pooler.psql("SELECT pg_backend_pid()")
            pooler.psql(f"UPDATE generations SET status = 'cancelled' WHERE id = '{id}'")
            tap.equal(pg.value("SELECT count(*) FROM genrun_orders WHERE state = 'open'"), "1", f"order {i} is noted")
            r = push(place, "the next push")
            tap.equal((place.status(id), r["ordersApplied"], pooler.psql("SELECT pg_backend_pid()") == backend),
                      ("cancelled", 1, True), "carries it out, in the same backend")
        equal(place, pg, "with the outcomes")
        r = place.run("sync", "status", "--json")
        tap.equal((r.code, r.json["connection"], r.json["reachable"]), (0, "pooler", True), "status knows that it is a pooler")
        tap.matches(place.run("sync", "status").out, r"\(through a pooler\), schema public", "and says so")
        tap.matches(place.run("doctor").out, r"sync .*through a pooler.*last contact 2", "so does doctor")
        tap.equal(place.run("sync", "status", "--json", env={"GENRUN_SYNC_URL": pg.url}).json["connection"], "direct",
                  "a direct one is told from it")


def test_runner(place):
    """A runner that syncs all the time while a person types through the same backend."""
    rng = random.Random(12)
    with Postgres() as pg, Pooler(pg) as pooler:
        clean = left(pooler)
        prepare(place, pooler)
        waits = [place.submit(f"waits {i}", "--delay", "7d") for i in range(30)]
        runner = place.start_runner("--no-http")
        wait_until(lambda: pg.value("SELECT count(*) FROM generations") == "30", 20, "the first rows there")
        for i, id in enumerate(waits):
            if i % 10 == 0:
                work.submit_batch(place, rng, f"b{i}", 100)
            pooler.psql(f"UPDATE generations SET status = 'cancelled', error_message = 'typed' WHERE id = '{id}'")
        wait_until(lambda: place.value("SELECT count(*) FROM generations WHERE status = 'cancelled'") == 30, 30, "all orders carried out")
        tap.ok(True, "of 30 typed UPDATEs none passed unnoticed")
        wait_until(lambda: place.value("SELECT queued + processing FROM totals") == 0, 60, "the end of the work")
        tap.equal(runner.stop(), 0, "the runner stops")
        equal(place, pg, "when it is back")
        tap.equal(left(pooler), clean, "and the backend is as it was")
        tap.equal(place.value("SELECT count(*) FROM logs WHERE event LIKE 'sync.%'"), 0, "nothing failed")


def test_killed(place):
    """Killed in mid-push, again and again: whatever the pooler still carries out of it, the next one brings all there."""
    rng = random.Random(13)
    with Postgres() as pg, Pooler(pg, connections=2) as pooler, Proxy(pooler.port) as proxy:
        work.configure(place, pg.url_at(proxy.port), page=50)
        place.run("sync", "init")
        work.people(place)
        waits = [place.submit(f"waits {i}", "--delay", "7d") for i in range(8)]
        push(place, "what orders are typed for is there")
        work.submit_batch(place, rng, "b", 1500, delay_ms=0)
        drain(place)
        hits = 0
        for i in range(20):
            passed = proxy.passed
            command = place.start("sync", "push")
            wait_until(lambda: not command.running or proxy.passed > passed + rng.randrange(3000, 60000), 30, "a push at work")
            hits += command.running
            command.kill()
            if i % 3 == 0:
                tap.result(place.run("sync", "status"), 0, "status in between")
            if i >= 12:
                pooler.psql(f"UPDATE generations SET status = 'cancelled' WHERE id = '{waits[i - 12]}'")
        tap.ok(hits > 5, f"{hits} of 20 kills hit a push at work")
        tap.result(place.run("sync", "push", timeout_s=90), 0, "a push that nobody killed")
        tap.equal([place.status(i) for i in waits], ["cancelled"] * 8, "every order that was typed meanwhile is carried out")
        push(place, "and once more")
        equal(place, pg, "after it all")
        tap.equal(pg.value("SELECT count(*) FROM genrun_orders WHERE state = 'open'"), "0", "no order is left")


def test_runner_killed(place):
    """The runner and the pooler itself, in turn."""
    rng = random.Random(16)
    with Postgres() as pg, Pooler(pg, connections=2) as pooler, Proxy(pooler.port) as proxy:
        work.configure(place, pg.url_at(proxy.port), page=50)
        place.run("sync", "init")
        waits = [place.submit(f"waits {i}", "--delay", "7d") for i in range(10)]
        push(place, "what orders are typed for is there")
        runner = place.start("run", "--no-http")
        for i, id in enumerate(waits):
            passed = proxy.passed
            work.submit_batch(place, rng, f"b{i}", 150)
            wait_until(lambda: proxy.passed > passed + 5000, 60, "a push at work")
            if i % 3 == 2:
                pooler.kill()
                pooler.start()
            else:
                runner.kill()
                runner = place.start("run", "--no-http")
            pooler.psql(f"UPDATE generations SET status = 'cancelled' WHERE id = '{id}'")
        wait_until(lambda: place.value("SELECT count(*) FROM generations WHERE status IN ('queued', 'processing')") == 0, 120,
                   "the work and the orders")
        tap.equal(runner.stop(), 0, "a runner that nobody killed stops")
        tap.equal([place.status(i) for i in waits], ["cancelled"] * 10, "every order is carried out")
        tap.equal(place.value("SELECT count(*) FROM logs WHERE event IN ('sync.failed', 'sync.refused')"), 0, "nothing was at fault")
        push(place, "and once more")
        equal(place, pg, "after it all")


def test_by_session(place):
    rng = random.Random(14)
    with Postgres() as pg, Pooler(pg, mode="session", connections=3) as pooler:
        prepare(place, pooler)
        work.submit_batch(place, rng, "b", 300, delay_ms=0)
        drain(place)
        push(place, "a push through a pooler by session")
        equal(place, pg, "after it")


def test_two_boxes(place):
    """Boxes share the backend, too."""
    from genrun import Place
    rng = random.Random(15)
    with Postgres() as pg, Pooler(pg) as pooler, Place() as other:
        prepare(place, pooler)
        work.configure(other, pooler.url, node="other", page=20)
        runners = []
        for each in (place, other):
            work.submit_batch(each, rng, "b", 300)
            runners.append(each.start("run", "--no-http"))
        for each, runner in zip((place, other), runners):
            wait_until(lambda: each.value("SELECT queued + processing FROM totals") == 0, 60, "the end of the work")
            tap.equal(runner.stop(), 0, "a box stops")
        equal(place, pg, "the first box")
        broken = mirror.differences(other.database, pg, "other")
        tap.ok(not broken, "the other one: every row is equal", lambda: "\n".join(broken))


tap.main(globals())
