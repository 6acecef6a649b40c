#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""All rows that are there reach the mirror, also those of which the log does not tell any more: with the first sync, into a
mirror made anew, and from a database that was set back."""
import json
import os
import random
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import mirror_work as work
import tap
from genrun import wait_until
from mirror import differences
from postgres import Postgres, Proxy

SERVER = None


def fresh(place, page=100, more="", url=None):
    """A schema of the test's own, and work that has ended. No sync yet."""
    SERVER.psql("DROP SCHEMA IF EXISTS mirror CASCADE")
    work.configure(place, url or SERVER.url, page=page, more=f"[retention]\nlogs_after = 1ms\n{more}")
    place.env["GENRUN_SYNC_SCHEMA"] = "mirror"


def drain(place):
    r = place.run("run", "--drain", "--no-http", timeout_s=120, env={"GENRUN_SYNC_URL": None})
    if r.code not in (0, 1, 5):  # 5: what waits for its time
        raise RuntimeError(str(r))


def init(place):
    tap.equal(place.run("sync", "init").code, 0, "sync init")


def push(place):
    r = place.run("sync", "push", "--json", timeout_s=120)
    tap.equal(r.code, 0, f"sync push: {r.err}")
    return r.json


def same(place, name, **kw):
    found = differences(place.database, SERVER, "box", "mirror", **kw)
    tap.ok(not found, name, lambda: "\n".join(found))


def forget_log(place):
    """What retention does to the log in a year: job retention, as often as it has something to do."""
    time.sleep(0.005)  # the log is older than logs_after
    before = place.value("SELECT count(*) FROM event")
    place.run("job", "retention")
    left = place.value("SELECT count(*) FROM event")
    tap.ok(left < 20 < before, f"of {before} rows of the log {left} are left")


def there(table="generations"):
    return int(SERVER.value(f"SELECT count(*) FROM mirror.{table}"))


def position(place):
    return json.loads(place.value("SELECT data FROM cursors WHERE name = 'sync'"))


def test_log_is_gone(place):
    """A box that has run for a year, and is to sync from now on."""
    rng = random.Random(5)
    fresh(place)
    work.people(place)
    work.submit_batch(place, rng, "old", 700, delay_ms=0)
    for i in range(30):
        place.submit(f"single {i}", "--model", "echo")
    drain(place)
    forget_log(place)
    work.submit_batch(place, rng, "waits", 50)
    init(place)
    r = push(place)
    same(place, "every row is there, with a log that tells of none of them")
    tap.equal((there(), r["behind"], r["refused"]), (780, 0, 0), "780 generations")
    tap.equal(push(place)["rows"], 0, "and nothing is written again")
    drain(place)
    push(place)
    same(place, "what is done later follows the log")


def test_nothing_is_written_twice(place):
    """Rows that the walk brings and of which the log tells, too."""
    fresh(place, page=37)
    init(place)
    SERVER.psql("CREATE TABLE mirror.seen (t text); CREATE FUNCTION mirror.see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                "INSERT INTO mirror.seen VALUES (TG_TABLE_NAME || ' ' || TG_OP); RETURN NULL; END $$;"
                + "".join(f"CREATE TRIGGER see AFTER INSERT OR UPDATE ON mirror.{t} FOR EACH ROW EXECUTE FUNCTION mirror.see();"
                          for t in ("generations", "outputs", "batch_jobs")))
    work.submit_batch(place, random.Random(1), "b", 200, delay_ms=0)
    drain(place)
    push(place)
    same(place, "all is there")
    seen = dict(SERVER.rows("SELECT t, count(*) FROM mirror.seen GROUP BY 1"))
    tap.equal((seen.pop("generations INSERT"), seen.pop("batch_jobs INSERT"), sorted(seen)), ("200", "1", ["outputs INSERT"]),
              "each row was written once")


def test_killed(place):
    """kill -9 again and again: it goes on where it was."""
    rng = random.Random()
    with Proxy(SERVER.port) as proxy:
        fresh(place, page=20, url=SERVER.url_at(proxy.port))
        work.submit_batch(place, rng, "old", 1200, delay_ms=0)
        drain(place)
        forget_log(place)
        init(place)
        places, hits = [], 0
        for i in range(15):
            until = proxy.passed + rng.randint(1000, 900000)
            proxy.cut_after = until if i % 3 == 2 else None
            one = place.start("sync", "push")
            wait_until(lambda: proxy.passed >= until or not one.running, 60, "a push at work")
            hits += one.running
            one.kill()
            proxy.cut_after = None
            if place.value("SELECT count(*) FROM cursors"):
                at = position(place)
                if at.get("walk") == 2:
                    places.append(at["walkBefore"])
        tap.ok(places == sorted(places, reverse=True), "no kill sets it back", lambda: str(places))
        tap.ok(hits > 0 and len(set(places)) > 1, f"{hits} kills hit a push at work, at {len(set(places))} places of the walk")
        push(place)
    same(place, "every row is there")
    tap.equal(place.value("SELECT count(*) FROM logs WHERE event = 'sync.restored'"), 0, "and no kill was taken for a backup")


def test_new_mirror(place):
    """A mirror that was lost, when the log has long forgotten; and work that goes on while it is filled."""
    rng = random.Random(7)
    fresh(place)
    init(place)
    work.submit_batch(place, rng, "old", 300, delay_ms=0)
    drain(place)
    push(place)
    forget_log(place)
    fresh(place)
    init(place)
    runner = place.start_runner("--no-http")
    ends = work.submit_batch(place, rng, "new", 300)
    for name in list(ends)[-1:]:
        place.wait_status(place.value("SELECT id FROM generations WHERE custom_id = ?", name), ends[name], deadline_s=60)
    tap.equal(runner.stop(), 0, "a runner fills it")
    drain(place)
    push(place)
    same(place, "all is there again")


def test_older_box(place):
    """A box that has synced by the log alone, with rows of which it did not tell."""
    fresh(place)
    init(place)
    work.submit_batch(place, random.Random(3), "b", 50, delay_ms=0)
    drain(place)
    push(place)
    SERVER.psql("DELETE FROM mirror.generations WHERE item_index < 20; DELETE FROM mirror.outputs WHERE id % 2048 < 1024")
    place.sql("UPDATE cursors SET data = json_remove(data, '$.walk', '$.walkBefore', '$.walked') WHERE name = 'sync'")
    push(place)
    same(place, "is walked through once")
    SERVER.psql("DELETE FROM mirror.generations WHERE item_index < 20")
    tap.equal((push(place)["rows"], there()), (0, 30), "and once only: what the owner of the mirror removes stays so")
    place.sql("UPDATE cursors SET log_id = 0 WHERE name = 'sync'")
    push(place)
    same(place, "unless the position is set to 0")


# ---- set back ----


def restore(place, copy):
    for end in ("-wal", "-shm"):
        if os.path.exists(place.database + end):
            os.remove(place.database + end)
    os.replace(copy, place.database)


def prune(lost):
    """Rows that the box has lost stay in the mirror, which has them alone: not compared."""
    ids = ",".join(f"'{id}'" for id in lost)
    SERVER.psql(f"DELETE FROM mirror.generations WHERE id IN ({ids}); DELETE FROM mirror.outputs WHERE generation_id IN ({ids})")


def set_back(place, rng, noted):
    """Backup, work and sync, restore, more work than before; `noted`: whether the mirror's note came so far."""
    fresh(place)
    init(place)
    work.submit_batch(place, rng, "first", 40, delay_ms=0)
    waits = [place.submit(f"waits {i}", "--model", "echo", "--delay", "1h") for i in range(6)]
    drain(place)
    push(place)
    before = SERVER.value("SELECT sync_version FROM mirror.genrun_nodes")
    copy = place.path("copy.db")
    tap.equal(place.run("db", "backup", copy).code, 0, "a backup")
    known = {id for id, in place.sql("SELECT id FROM generations")}
    for id in waits[:3]:
        place.run("cancel", id)
    place.run("fail", waits[3], "--reason", "no")
    place.run("retry", waits[0])
    work.submit_batch(place, rng, "lost", 30, delay_ms=0)
    drain(place)
    push(place)
    lost = {id for id, in place.sql("SELECT id FROM generations")} - known
    logs = place.value("SELECT max(id) FROM event")
    if not noted:  # as when it is killed behind its pages
        SERVER.psql(f"UPDATE mirror.genrun_nodes SET sync_version = {before}")
    restore(place, copy)
    place.run("cancel", waits[5])
    work.submit_batch(place, rng, "since", 60, delay_ms=0)
    drain(place)
    tap.ok(place.value("SELECT max(id) FROM event") > logs, "its log has counted past all that the mirror knows")
    r = place.run("sync", "push")
    tap.result(r, 0, "a push of it", err="older than what it brought")
    prune(lost)
    SERVER.psql(f"DELETE FROM mirror.batch_jobs WHERE name IS NOT NULL AND id NOT IN (SELECT batch_job_id FROM mirror.generations "
                "WHERE batch_job_id IS NOT NULL)")
    same(place, "every row is as it is here")
    tap.equal(place.value("SELECT count(*) FROM logs WHERE event = 'sync.restored'"), 1, "it is told in the log")
    tap.equal(push(place)["rows"], 0, "and once only")
    place.run("cancel", waits[1])
    push(place)
    same(place, "later changes come there")


def test_set_back(place):
    set_back(place, random.Random(1), noted=True)


def test_set_back_before_it_was_noted(place):
    set_back(place, random.Random(2), noted=False)


def test_mirror_set_back(place):
    """The mirror from a backup of it, twice: what was brought there since comes there once more."""
    rng, tables = random.Random(3), ("generations", "outputs", "batch_jobs", "logs", "genrun_nodes")
    fresh(place)
    init(place)
    work.submit_batch(place, rng, "first", 40, delay_ms=0)
    push(place)
    SERVER.psql("DROP SCHEMA IF EXISTS kept CASCADE; CREATE SCHEMA kept; " +
                "".join(f"CREATE TABLE kept.{t} AS SELECT * FROM mirror.{t}; " for t in tables))
    drain(place)
    work.submit_batch(place, rng, "since", 30, delay_ms=0)
    push(place)
    for again in range(2):
        SERVER.psql("TRUNCATE " + ", ".join(f"mirror.{t}" for t in tables) + "; " +
                    "".join(f"INSERT INTO mirror.{t} SELECT * FROM kept.{t}; " for t in tables))
        if again:
            forget_log(place)
        told = place.value("SELECT max(id) FROM event")
        r = place.run("sync", "push")
        tap.result(r, 0, "a push into it", err="the mirror is older than what was brought there")
        # What retention has taken out of the log is told to nobody any more.
        same(place, "every row is there again", tables=("generations", "outputs", "batch_jobs"))
        tap.equal(push(place)["rows"], 0, "and once is enough")
        tap.ok(place.value("SELECT max(id) FROM event WHERE event = 'sync.restored'") > told, "it is told in the log")
    place.submit("later", "--model", "echo")
    push(place)
    same(place, "what follows comes there", tables=("generations", "outputs", "batch_jobs"))


def test_not_set_back(place):
    """What looks like it: a log that retention has emptied up to the end, and a position that somebody has set to 0."""
    fresh(place)
    init(place)
    ids = [place.submit(f"p{i}", "--model", "echo") for i in range(40)]
    drain(place)
    push(place)
    for again in range(2):
        place.sql("DELETE FROM event" if again else "DELETE FROM event WHERE id < (SELECT max(id) FROM event)")
        push(place)
        place.run("dismiss", place.submit("x", "--model", "echo", "--param", "fail=InvalidRequestError"))
        drain(place)
        push(place)
    place.sql("UPDATE cursors SET log_id = 0 WHERE name = 'sync'")
    push(place)
    tap.equal(place.value("SELECT count(*) FROM logs WHERE event = 'sync.restored'"), 0, "neither is taken for a backup")
    same(place, "and all is there", tables=("generations", "outputs", "batch_jobs"))
    tap.equal(len(ids) + 2, there(), "once")


if __name__ == "__main__":
    with Postgres() as SERVER:
        tap.main(globals())
