#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Nothing that the sync waits for lasts for ever, and all of it is told: another sync, who holds the tables, a server that
falls silent, a name server that does not answer; and a run that ends waits for its last push, but for nobody who is away."""
import os
import random
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import mirror
import mirror_work as work
import tap
from genrun import wait_until
from postgres import Postgres, Proxy
from shim import Shim

SHORT = {"GENRUN_SYNC_TIMEOUT": "1s"}  # for one command: the runner's own is longer


def ready(place, pg, url=None, **kw):
    work.configure(place, pg.url, **kw)
    tap.result(place.run("sync", "init"), 0, "sync init")
    place.env["GENRUN_SYNC_URL"] = url or pg.url


def equal(place, pg, name):
    broken = mirror.differences(place.database, pg, "box")
    tap.ok(not broken, f"{name}: every row is equal on both sides", lambda: "\n".join(broken))


def events(place):
    return [e for (e,) in place.sql("SELECT event FROM logs WHERE event LIKE 'sync.%' ORDER BY id")]


def behind(place):
    return place.run("sync", "status", "--json").json["behind"]


class Psql:
    """A person's session, in which a transaction is open."""

    def __init__(self, pg, sql):
        self.process = subprocess.Popen(pg.command(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd="/")
        self.process.stdin.write(f"BEGIN; {sql}; SELECT 'open';\n")
        self.process.stdin.flush()
        while self.process.stdout.readline() != "open\n":
            pass

    def end(self):
        self.process.communicate("COMMIT;\n", timeout=30)


def test_a_runner_that_hangs(place):
    with Postgres() as pg, Proxy(pg.port) as proxy:
        ready(place, pg, pg.url_at(proxy.port))
        runner = place.start_runner("--no-http")
        first = place.submit("--model", "echo", "first")
        wait_until(lambda: pg.value(f"SELECT status FROM generations WHERE id = '{first}'") == "completed", 20, "its first push")
        proxy.silent = True
        place.submit("--model", "echo", "second")
        # Until the runner is in its push, this one connects for itself, and is not answered, either.
        r = wait_until(lambda: (lambda r: r if r.code != 7 else None)(place.run("sync", "push", env=SHORT)), 30, "a push beside it")
        tap.result(r, 5, "a push beside a runner that hangs gives up",
                   err=r"genrun: another process has been syncing this database for 1 s: a runner brings all by itself")
        tap.contains(r.err, "waiting for another process, such as a runner, that is syncing this database\n", "and said what it waits for")
        proxy.silent = False
        tap.result(place.run("sync", "push"), 0, "when it goes on again, a push gets its turn")
        equal(place, pg, "then")
        tap.equal(runner.stop(), 0, "the runner stops")


def test_a_runner_that_is_busy(place):
    """It has a long way to go, in small pages; who pushes by hand is let in, and need not wait for its end."""
    rng = random.Random(21)
    with Postgres() as pg:
        ready(place, pg, page=1)
        work.submit_batch(place, rng, "b", 3000, delay_ms=0)
        place.run("run", "--no-http", "--drain", timeout_s=120, env={"GENRUN_SYNC_URL": None})
        runner = place.start_runner("--no-http")
        wait_until(lambda: int(pg.value("SELECT count(*) FROM generations")) > 10, 30, "its push at work")
        tap.ok(behind(place) > 1000, "the runner has a long way to go")
        tap.result(place.run("sync", "push", env={"GENRUN_SYNC_BATCH": "1000"}, timeout_s=60), 0, "a push by hand beside it")
        tap.ok(behind(place) < 20, "has brought all of it")
        tap.equal(runner.stop(), 0, "the runner stops")
        equal(place, pg, "after both")


def test_held_tables(place):
    with Postgres() as pg:
        ready(place, pg)
        psql = Psql(pg, "LOCK TABLE genrun_migrations")
        r = place.run("sync", "init", env=SHORT)
        tap.result(r, 5, "sync init gives up, and says who it is",
                   err=r"genrun: others have used the tables in schema public for \d+ s, such as process \d+ there "
                       r"\(psql, idle in transaction\): end that, and try again")
        tap.contains(r.err, "waiting for others that use the tables of the mirror", "and what it waits for")
        init = place.start("sync", "init")
        wait_until(lambda: "waiting for others" in init.err, 20, "its message")
        psql.end()
        tap.equal(init.wait(30), 0, "sync init goes on when they have ended")


def test_a_silent_server(place):
    """It takes what is sent, and answers nothing, in mid-push."""
    rng = random.Random(22)
    with Postgres() as pg, Proxy(pg.port) as proxy:
        ready(place, pg, pg.url_at(proxy.port), page=50)
        place.env.update(SHORT)
        runner = place.start_runner("--no-http")
        passed = proxy.passed
        work.submit_batch(place, rng, "b", 300)
        wait_until(lambda: proxy.passed > passed + 20000, 20, "a push at work")
        proxy.silent = True
        wait_until(lambda: "sync.offline" in events(place), 30, "the log telling it")
        one = place.submit("--model", "echo", "meanwhile")
        place.wait_status(one, "completed")
        tap.ok(True, "the runner works on")
        tap.matches(place.value("SELECT message FROM logs WHERE event = 'sync.offline'"), r"no answer within 2 s", "the log says why")
        proxy.silent = False
        wait_until(lambda: place.value("SELECT queued + processing FROM totals") == 0 and behind(place) == 0, 60, "all of it there")
        tap.equal(runner.stop(), 0, "the runner stops")
        equal(place, pg, "it has caught up")
        tap.equal(events(place), ["sync.offline", "sync.online"], "told once each")
        tap.matches(place.run("sync", "status").out, r"last error .*no answer within 2 s", "status keeps what it was")


def test_a_stopped_backend(place):
    """One process of the server stands still: its transaction holds what the next one needs."""
    rng = random.Random(23)
    with Postgres() as pg:
        ready(place, pg, page=50)
        place.env.update(SHORT)
        runner = place.start_runner("--no-http")
        wait_until(lambda: pg.value("SELECT synced_at IS NOT NULL FROM genrun_nodes") == "t", 20, "the first contact")
        pid = int(pg.value("SELECT pid FROM pg_stat_activity WHERE application_name = 'genrun'"))
        os.kill(pid, signal.SIGSTOP)
        try:
            work.submit_batch(place, rng, "b", 100)
            wait_until(lambda: "sync.offline" in events(place), 30, "the log telling it")
            wait_until(lambda: place.value("SELECT queued + processing FROM totals") == 0, 60, "the work going on")
        finally:
            os.kill(pid, signal.SIGCONT)
        wait_until(lambda: behind(place) == 0, 60, "all of it there")
        tap.equal(runner.stop(), 0, "the runner stops")
        tap.equal(events(place).count("sync.offline"), 1, "told once")
        equal(place, pg, "it has caught up")


def test_ends(place):
    """What ended is in Postgres when the command is back."""
    rng = random.Random(24)
    with Postgres() as pg:
        ready(place, pg)
        for i in range(3):
            work.submit_batch(place, rng, f"b{i}", 40, delay_ms=0)
            r = place.run("run", "--no-http", "--drain", timeout_s=60)
            tap.ok(r.code in (0, 1), f"drained, {i}", str(r))
            equal(place, pg, "run --drain brings all there, its own end, too")
            tap.equal(pg.value("SELECT runner_seq FROM genrun_nodes"), None, "and that no runner is up")
        place.submit("one", "--model", "echo")
        runner = place.start("run", "--no-http")
        wait_until(lambda: place.value("SELECT queued + processing FROM totals") == 0, 20, "the work")
        tap.equal(runner.stop(), 0, "a runner stops")
        equal(place, pg, "a stop as well")
        pg.stop("fast")
        place.submit("two", "--model", "echo")
        r = place.run("run", "--no-http", "--drain")
        tap.result(r, 0, "without Postgres a drained run ends, too")
        pg.start()
        tap.result(place.run("run", "--no-http", "--drain"), 0, "with nothing to do it catches up")
        equal(place, pg, "what was left is there")


def test_second_signal(place):
    with Postgres() as pg, Proxy(pg.port) as proxy:
        ready(place, pg, pg.url_at(proxy.port))
        runner = place.start_runner("--no-http", env={"GENRUN_SCHEDULER_SHUTDOWN_GRACE": "1h"})
        wait_until(lambda: pg.value("SELECT synced_at IS NOT NULL FROM genrun_nodes") == "t", 20, "the first contact")
        psql = Psql(pg, "LOCK TABLE logs")  # so that the last push waits, and the server answers all the same
        runner.signal(signal.SIGTERM)
        wait_until(lambda: "runner stopped" in runner.err, 20, "the end of the work")
        runner.signal(signal.SIGTERM)
        tap.equal(runner.wait(), 0, "a second signal ends the wait for the last push")
        tap.contains(runner.err, "the last push was left at a second signal: the next run, or 'genrun sync push', brings the rest", "which is told")
        psql.end()


def test_no_name_server(place):
    with Postgres() as pg:
        work.configure(place, pg.url)
        shim = Shim(place)
        place.env["GENRUN_SYNC_URL"] = f"postgresql://genrun@db.example.org:{pg.port}/genrun?sslmode=disable"
        runner = place.start_runner("--no-http", env=shim.lacking("names"))
        wait_until(lambda: os.path.exists(shim.path + ".asked"), 20, "the question for its address")
        one = place.submit("--model", "echo", "hello")
        place.wait_status(one, "completed")
        tap.equal(runner.stop(), 0, "a runner stops while a name server does not answer")
        r = place.run("sync", "push", env={**shim.lacking("names"), **SHORT})
        tap.error_line(r, 7, r"cannot connect to Postgres \(db\.example\.org:\d+/genrun\): no name server has answered within 1 s", "a push says so")


def test_ways_to_connect(place):
    """Each form of a connection string still works: lists, sockets, addresses, services."""
    with Postgres() as pg:
        ready(place, pg)
        place.submit("one", "--model", "echo")
        services = place.write("services", f"[box]\nhost=127.0.0.1\nport={pg.port}\nuser=genrun\ndbname=genrun\n")
        for url, what in ((f"host={pg.folder} port={pg.port} user=genrun dbname=genrun", "a socket"),
                          (f"postgresql://genrun@127.0.0.1:1,localhost:{pg.port}/genrun", "a list, of which the first is away"),
                          (f"host=db.example.org hostaddr=127.0.0.1 port={pg.port} user=genrun dbname=genrun sslmode=disable", "an address"),
                          ("service=box sslmode=disable", "a service"), ("", "the environment")):
            env = {"GENRUN_SYNC_URL": url or "postgresql://", "PGSERVICEFILE": services}
            if not url:
                env.update(PGHOST="127.0.0.1", PGPORT=str(pg.port), PGUSER="genrun", PGDATABASE="genrun")
            tap.result(place.run("sync", "status", env=env), 0, what, out=r"\(direct\)")


tap.main(globals())
