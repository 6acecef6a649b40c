#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Nothing is lost and nothing comes twice, whatever is killed: while a runner works and syncs, Postgres is stopped as by a
crash, the network is cut in mid-statement or falls silent, and genrun is killed with -9 at random moments. At the end every
row is equal on both sides, column by column, and the queue's own work went on all the time.

    tests/postgres/chaos.py [--items 5000] [--rounds 30] [--seed N] [NAME …]

GENRUN_KEEP=1 keeps the folders.
"""
import argparse
import os
import random
import sqlite3
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import ledger
import mirror
import mirror_work as work
import tap
from genrun import wait_until
from postgres import Postgres, Proxy

ARGS = argparse.ArgumentParser(description=__doc__.split("\n")[0])
ARGS.add_argument("--items", type=int, default=5000)
ARGS.add_argument("--rounds", type=int, default=30)
ARGS.add_argument("--seed", type=int, default=None)
ARGS.add_argument("names", nargs="*")


def rng_of():
    seed = OPTIONS.seed if OPTIONS.seed is not None else random.SystemRandom().randrange(1 << 32)
    tap.note(f"--seed {seed}")
    return random.Random(seed)


def behind(place):
    """Rows of the log that are not there yet, as sync status tells, whether Postgres answers or not."""
    return place.run("sync", "status", "--json").json["behind"]


def await_synced(place, deadline_s=120.0):
    wait_until(lambda: behind(place) == 0, deadline_s, "the sync having caught up")


def judge(place, pg, what):
    broken = mirror.differences(place.database, pg, "box")
    rows = [int(pg.value(f"SELECT count(*) FROM {table}")) for table in mirror.TABLES]
    tap.ok(not broken, f"{what}: every row is equal on both sides ({sum(rows)} looked at)", lambda: "\n".join(broken))
    return rows[0]


def judge_box(place):
    db = sqlite3.connect(f"file:{place.database}?mode=ro", uri=True, isolation_level=None)
    try:
        broken = ledger.drift(db)
    finally:
        db.close()
    tap.ok(not broken, "the queue's own books are right", lambda: "\n".join(broken[:10]))


def work_left(place):
    return place.value("SELECT queued + processing FROM totals")


class Chaos:
    """The runner, Postgres and the network, and what may become of each."""

    def __init__(self, place, pg, proxy, rng):
        self.place, self.pg, self.proxy, self.rng = place, pg, proxy, rng
        self.outages = self.kills = self.met = 0
        self.runner = place.start("run", "--no-http")

    def pause(self, most_s=0.3):
        time.sleep(self.rng.uniform(0.0, most_s))

    def server_crashes(self):
        self.pg.stop("immediate")
        self.pause()
        self.pg.start()
        self.outages += 1

    def network_is_cut(self):
        self.proxy.cut()
        self.outages += 1

    def cut_in_mid_statement(self):
        self.proxy.cut_after = self.proxy.passed + self.rng.randint(1, 300000)
        self.outages += 1

    def network_refuses(self):
        self.proxy.refusing = True
        self.proxy.cut()
        self.pause(1.0)
        self.proxy.refusing = False
        self.outages += 1

    def network_is_silent(self):
        self.proxy.silent = True
        self.pause(0.6)
        if self.rng.random() < 0.5:
            self.proxy.cut()
            self.outages += 1
        self.proxy.silent = False

    def genrun_is_killed(self):
        self.runner.kill()
        self.kills += 1
        self.runner = self.place.start("run", "--no-http")

    def killed_in_its_start(self):
        self.genrun_is_killed()
        time.sleep(self.rng.uniform(0.0, 0.1))
        self.genrun_is_killed()

    def commit_is_not_heard(self):
        """The server's answer is lost: the page is there, and nobody here knows."""
        self.proxy.cut_after = self.proxy.passed + self.rng.randint(1, 300000)
        self.pause(0.1)
        self.genrun_is_killed()
        self.outages += 1

    def await_traffic(self):
        """Until a push is at work, so that the blow meets it; not for long, as the sync may be waiting for its next try."""
        passed, end = self.proxy.passed, time.monotonic() + 2.5
        while self.proxy.passed < passed + 2000 and time.monotonic() < end:
            time.sleep(0.002)
        self.met += self.proxy.passed > passed

    def strike(self):
        what = self.rng.choice((self.server_crashes, self.network_is_cut, self.cut_in_mid_statement, self.cut_in_mid_statement,
                                self.network_refuses, self.network_is_silent, self.genrun_is_killed, self.genrun_is_killed,
                                self.killed_in_its_start, self.commit_is_not_heard))
        tap.note(what.__name__)
        what()


def quiet(place, outages):
    """The log says when Postgres goes and comes, not each try."""
    counts = dict(place.sql("SELECT event, count(*) FROM logs WHERE event LIKE 'sync.%' GROUP BY event"))
    most = 2 * outages + 2
    tap.ok(sum(counts.values()) <= 2 * most, f"the log is quiet: {counts} for {outages} outages")
    tap.ok(counts.get("sync.refused", 0) == 0, "and nothing was refused", lambda: str(place.sql("SELECT * FROM sync_refused")))


def test_chaos(place):
    rng = rng_of()
    with Postgres() as pg, Proxy(pg.port) as proxy:
        work.configure(place, pg.url_at(proxy.port), accounts=2)
        tap.result(place.run("sync", "init"), 0, "sync init makes the mirror")
        work.people(place)
        chaos = Chaos(place, pg, proxy, rng)
        ends, per_round = {}, max(1, OPTIONS.items // OPTIONS.rounds)
        for i in range(OPTIONS.rounds):
            ends.update(work.submit_batch(place, rng, f"b{i}", per_round, delay_ms=30))
            place.submit("--user", "bob", "--", rng.choice(work.HOSTILE))
            chaos.await_traffic()
            chaos.strike()
        tap.ok(chaos.met > OPTIONS.rounds / 4, f"{chaos.met} of {OPTIONS.rounds} blows met a push at work")
        wait_until(lambda: work_left(place) == 0, 600, "the end of the work")
        proxy.cut_after = None
        await_synced(place)
        tap.equal(behind(place), 0, "sync status says that nothing is behind")
        wrong = work.wrong_ends(place, ends)
        tap.ok(not wrong, f"all {len(ends)} items ended as they must, through {chaos.outages} outages and {chaos.kills} kills",
               lambda: "\n".join(wrong[:10]))
        chaos.runner.stop()
        tap.result(place.run("sync", "push"), 0, "a push by hand")
        count = judge(place, pg, "after it all")
        tap.equal(count, len(ends) + OPTIONS.rounds, "of all that was handed in")
        judge_box(place)
        quiet(place, chaos.outages + chaos.kills)
        # A comparison that cannot fail would say nothing.
        pg.psql("SET genrun.writer TO 'sync'; UPDATE outputs SET content = content || ' ' WHERE (node, id) IN "
                "(SELECT node, id FROM outputs WHERE content IS NOT NULL ORDER BY id LIMIT 1)")
        tap.equal(len(mirror.differences(place.database, pg, "box")), 1, "and the comparison finds one changed blank")


def test_killed_pushes(place):
    """sync push, killed again and again: each goes on behind the page that was kept."""
    rng = rng_of()
    with Postgres() as pg, Proxy(pg.port) as proxy:
        work.configure(place, pg.url_at(proxy.port), page=50)
        work.people(place)
        for i in range(2):
            work.submit_batch(place, rng, f"b{i}", 500, delay_ms=0)
        place.run("run", "--no-http", "--drain", timeout_s=120, env={"GENRUN_SYNC_URL": None})
        tap.result(place.run("sync", "init"), 0, "sync init")
        kills = hits = 0
        while True:
            push = place.start("sync", "push")
            if kills % 3 == 2:
                proxy.cut_after = proxy.passed + rng.randint(1, 200000)
            time.sleep(rng.uniform(0.0, 0.25))
            if kills >= 25:
                break
            hits += push.running
            push.kill()
            kills += 1
        proxy.cut_after = None
        push.wait(60)
        r = place.run("sync", "push", timeout_s=60)
        tap.result(r, 0, f"a push that nobody killed, after {kills} that were, {hits} at work")
        tap.equal(behind(place), 0, "and nothing is behind")
        tap.ok(hits > 0, "kills hit a push at work")
        judge(place, pg, "after it")


def test_work_goes_on_without_postgres(place):
    """A runner whose Postgres is away, hangs, or is silent: the same work, as if it were not asked to sync."""
    rng = rng_of()
    with Postgres() as pg, Proxy(pg.port) as proxy:
        work.configure(place, pg.url_at(proxy.port))
        place.run("sync", "init")
        proxy.silent = True
        runner = place.start_runner("--no-http")
        ends = work.submit_batch(place, rng, "silent", 300)
        wait_until(lambda: work_left(place) == 0, 60, "the work while the network is silent")
        tap.ok(not work.wrong_ends(place, ends), "a silent network stops no work")
        proxy.refusing = True
        proxy.cut()
        proxy.silent = False
        ends = work.submit_batch(place, rng, "away", 300)
        wait_until(lambda: work_left(place) == 0, 60, "the work while Postgres is away")
        tap.ok(not work.wrong_ends(place, ends), "nor does a Postgres that is away")
        wait_until(lambda: place.value("SELECT count(*) FROM logs WHERE event = 'sync.offline'"), 60, "the log telling it")
        proxy.refusing = False
        await_synced(place)
        wait_until(lambda: place.value("SELECT count(*) FROM logs WHERE event = 'sync.online'"), 60, "the log telling its return")
        tap.equal(place.value("SELECT count(*) FROM logs WHERE event IN ('sync.offline', 'sync.online')"), 2,
                  "one row when it went away, one when it came back")
        proxy.silent = True
        work.submit_batch(place, rng, "last", 20)
        began = time.monotonic()
        tap.equal(runner.stop(), 0, "a runner stops while the network is silent")
        tap.ok(time.monotonic() - began < 15, "without waiting for it")


def test_restart_without_rows_rewritten(place):
    """An unchanged row is never written again: whoever has a trigger there hears of each change once."""
    rng = rng_of()
    with Postgres() as pg:
        work.configure(place, pg.url)
        place.run("sync", "init")
        pg.psql("CREATE SCHEMA audit; CREATE TABLE audit.changes (t text, op text, id text);"
                "CREATE FUNCTION audit.note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                "INSERT INTO audit.changes VALUES (TG_TABLE_NAME, TG_OP, NEW.id::text); RETURN NULL; END $$;"
                + "".join(f"CREATE TRIGGER audit AFTER INSERT OR UPDATE ON {t} FOR EACH ROW EXECUTE FUNCTION audit.note();"
                          for t in ("generations", "outputs", "batch_jobs", "logs")))
        ends = work.submit_batch(place, rng, "b", 200, delay_ms=0)
        place.run("run", "--no-http", "--drain", timeout_s=60, env={"GENRUN_SYNC_URL": None})
        place.run("sync", "push")
        twice = pg.rows("SELECT t, op, id, count(*) FROM audit.changes GROUP BY 1, 2, 3 HAVING count(*) > 1")
        tap.ok(not [r for r in twice if r[1] == "INSERT"], "each row is inserted once", lambda: str(twice[:5]))
        before = pg.value("SELECT count(*) FROM audit.changes WHERE t <> 'logs'")
        tap.ok(int(before) >= len(ends) * 2 - 40, "the trigger counts")
        # Its place in the log forgotten: all is pushed anew, and nothing is written.
        connection = sqlite3.connect(place.database)
        with connection:
            connection.execute("UPDATE cursors SET log_id = 0 WHERE name = 'sync'")
        connection.close()
        tap.result(place.run("sync", "push"), 0, "all is pushed again")
        tap.equal(pg.value("SELECT count(*) FROM audit.changes WHERE t <> 'logs'"), before,
                  "and not one row that is the same is written again")
        judge(place, pg, "then")


OPTIONS = ARGS.parse_args()
sys.argv[1:] = OPTIONS.names
tap.main(globals())
