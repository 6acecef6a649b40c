#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""[sync] deletes: what retention or a person removes here is removed in the mirror with yes, whatever is cut or refused
meanwhile; with no it stays there, and nothing is kept for it here."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap
from genrun import wait_until
from mirror import differences
from postgres import Postgres

SERVER = None
KINDS = ("generations", "outputs", "batch_jobs")


def fresh(place, deletes="yes", more=""):
    """A schema of the test's own, with a mirror."""
    SERVER.psql("DROP SCHEMA IF EXISTS mirror CASCADE")
    place.configure(f"[retention]\ncompleted_after = 1ms\nfailed_after = 1ms\n[sync]\nnode = edge-1\nschema = mirror\n"
                    f"deletes = {deletes}\n{more}")
    place.env["GENRUN_SYNC_URL"] = SERVER.url_at(SERVER.port, options="?options=-csearch_path%3Dmirror")
    tap.equal(place.run("sync", "init").code, 0, "sync init")


def push(place):
    r = place.run("sync", "push", "--json")
    tap.equal(r.code, 0, f"sync push: {r.err}")
    return r.json


def there():
    return [int(SERVER.value(f"SELECT count(*) FROM mirror.{kind}")) for kind in KINDS]


def kept(place):
    return place.value("SELECT count(*) FROM sync_deleted")


def work(place, items=30, singles=3):
    """A batch job and single generations, ended and pushed. Returns the ids."""
    place.write("items.txt", "".join(f"item {i}\n" for i in range(items)))
    batch = place.run("batch", "submit", "items.txt", "--model", "echo").id
    ids = [place.submit(f"single {i}", "--model", "echo") for i in range(singles)]
    place.run("run", "--drain")
    push(place)
    tap.equal(there(), [items + singles, items + singles, 1], "all of it is in the mirror")
    return batch, ids


def same(place, name):
    found = differences(place.database, SERVER, "edge-1", "mirror", tables=KINDS)
    tap.ok(not found, name, "\n".join(found))


def test_retention(place):
    fresh(place, more="batch = 7\n")  # pages smaller than the batch job
    work(place)
    logs = int(SERVER.value("SELECT count(*) FROM mirror.logs"))
    tap.equal(place.run("job", "retention").code, 0, "retention runs")
    tap.equal((place.value("SELECT count(*) FROM generations"), place.value("SELECT count(*) FROM batch_jobs")), (0, 0), "all has had its time")
    tap.equal(kept(place), 34, "each delete is noted")
    push(place)
    tap.equal((there(), kept(place)), ([0, 0, 0], 0), "the mirror follows, and the notes go")
    tap.ok(int(SERVER.value("SELECT count(*) FROM mirror.logs")) >= logs, "the log there stays")
    tap.equal(push(place)["rows"], 0, "and there is nothing more to do")


def test_no(place):
    fresh(place, deletes="no")
    work(place)
    place.run("job", "retention")
    tap.equal((place.value("SELECT count(*) FROM generations"), kept(place)), (0, 0), "nothing is noted")
    push(place)
    tap.equal(there(), [33, 33, 1], "the mirror keeps all")
    # yes counts from its first sync on; no again forgets what was not passed on.
    place.env["GENRUN_SYNC_DELETES"] = "yes"
    push(place)
    one = place.submit("x", "--model", "echo")
    place.run("run", "--drain")
    push(place)
    place.sql("DELETE FROM generations WHERE id = ?", one)
    tap.equal(kept(place), 1, "with yes it is noted")
    place.env["GENRUN_SYNC_DELETES"] = "no"
    push(place)
    tap.equal((there(), kept(place)), ([34, 34, 1], 0), "with no it is forgotten and stays there")
    place.sql("DELETE FROM cursors")
    place.sql("INSERT INTO cursors VALUES ('sync', 0, 1, 'not JSON')")
    two = place.submit("y", "--model", "echo")
    place.run("cancel", two)
    place.sql("DELETE FROM generations WHERE id = ?", two)
    tap.equal((place.value("SELECT count(*) FROM generations"), kept(place)), (0, 0), "a strange cursor is in nobody's way")


def test_typed(place):
    fresh(place)
    batch, (a, b, c) = work(place)
    SERVER.psql(f"SET genrun.writer = 'sync'; UPDATE mirror.generations SET node = 'other' WHERE id = '{c}'")
    place.sql("DELETE FROM generations WHERE id = ?", a)
    place.sql("DELETE FROM generations WHERE id = ?", c)
    place.sql("DELETE FROM batch_items WHERE batch_job_id = ? AND item_index < 10", batch)
    push(place)
    tap.equal(SERVER.value(f"SELECT node FROM mirror.generations WHERE id = '{c}'"), "other", "another box's row stays")
    SERVER.psql(f"DELETE FROM mirror.generations WHERE id = '{c}'")
    same(place, "rows, outputs and the counts of the batch job are as here")
    # Deleted here before it was pushed; an id that was free again is another row's.
    d = place.submit("never seen", "--model", "echo")
    place.run("cancel", d)
    place.sql("DELETE FROM generations WHERE id = ?", d)
    place.sql("DELETE FROM generations WHERE id = ?", b)
    place.sql("DELETE FROM generation_tombstone")
    place.sql("INSERT INTO generations (id, prompt, model_id) VALUES (?, 'again', 'echo')", b)
    place.run("run", "--drain")
    tap.equal(push(place)["refused"], 0, "nothing is refused")
    same(place, "a row typed anew under a deleted one's id is there")
    place.sql("DELETE FROM batch_jobs WHERE id = ?", batch)
    push(place)
    tap.equal((there(), kept(place)), ([1, 1, 0], 0), "a batch job goes with its items")


def test_killed_between(place):
    """Committed there, and the process gone before the notes went: they are worked through once more."""
    fresh(place)
    work(place)
    place.sql("CREATE TABLE again AS SELECT * FROM sync_deleted")
    place.run("job", "retention")
    place.sql("INSERT INTO again SELECT * FROM sync_deleted")
    push(place)
    place.sql("INSERT INTO sync_deleted SELECT * FROM again")
    place.sql("DROP TABLE again")
    keep = place.submit("stays", "--model", "echo")
    r = push(place)
    tap.equal((there(), kept(place), r["refused"]), ([1, 0, 0], 0, 0), "the same again, and no more")
    # Away meanwhile: they wait.
    place.run("cancel", keep)
    place.sql("DELETE FROM generations WHERE id = ?", keep)
    url = place.env["GENRUN_SYNC_URL"]
    place.env["GENRUN_SYNC_URL"] = "postgresql://u:p@127.0.0.1:1/x"
    tap.equal((place.run("sync", "push").code, kept(place)), (7, 1), "Postgres is away")
    place.env["GENRUN_SYNC_URL"] = url
    push(place)
    tap.equal((there(), kept(place)), ([0, 0, 0], 0), "and back")


def test_refused(place):
    fresh(place)
    _, (a, b, c) = work(place, items=2)
    SERVER.psql(f"CREATE TABLE mirror.album (g uuid REFERENCES mirror.generations (id)); INSERT INTO mirror.album VALUES ('{b}')")
    place.sql("DELETE FROM generations WHERE batch_job_id IS NULL")
    tap.equal(push(place)["refused"], 1, "a delete that Postgres refuses")
    tap.equal(SERVER.rows("SELECT id FROM mirror.generations WHERE batch_job_id IS NULL"), [[b]], "is in no other's way")
    tap.matches(place.value("SELECT reason FROM sync_refused WHERE table_name = 'generations'"), "foreign key", "and told with the reason")
    SERVER.psql("DROP TABLE mirror.album")
    push(place)
    tap.equal((there(), kept(place), place.value("SELECT count(*) FROM sync_refused")), ([2, 2, 1], 0, 0), "it is tried again, and lifted")


def test_runner(place):
    fresh(place, more="every = 1d\n")
    batch, (a, b, c) = work(place)
    runner = place.start_runner()
    place.sql("DELETE FROM generations WHERE id = ?", a)
    # A commit of another process is seen with the runner's next one.
    place.submit("news", "--model", "echo")
    wait_until(lambda: SERVER.value(f"SELECT count(*) FROM mirror.generations WHERE id = '{a}'") == "0", 20, "a typed delete goes there by itself")
    wait_until(lambda: kept(place) == 0, 20, "and its note goes")
    tap.equal(runner.stop(), 0, "the runner stops")


if __name__ == "__main__":
    with Postgres(password="p4ss-w0rd") as SERVER:
        tap.main(globals())
