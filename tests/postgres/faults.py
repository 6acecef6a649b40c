#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What is wrong with the mirror is told as that, and not as if Postgres were away: a table that is gone, rights that are
missing, a version that does not fit, a server that takes no writes. And what puts it right is said where people look."""
import os
import random
import shutil
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import mirror
import mirror_work as work
import tap
from genrun import wait_until
from postgres import Postgres


def ready(place, pg):
    work.configure(place, pg.url)
    tap.result(place.run("sync", "init"), 0, "sync init")
    work.submit_batch(place, random.Random(31), "b", 60, delay_ms=0)
    r = place.run("run", "--no-http", "--drain", timeout_s=60)
    tap.ok(r.code in (0, 1), "work that is there", str(r))


def equal(place, pg, name):
    broken = mirror.differences(place.database, pg, "box")
    tap.ok(not broken, f"{name}: every row is equal on both sides", lambda: "\n".join(broken))


def events(place):
    return [e for (e,) in place.sql("SELECT event FROM logs WHERE event LIKE 'sync.%' ORDER BY id")]


def fails(place, pg, code, said, what):
    """A push, and what is told of it everywhere."""
    place.submit("more", "--model", "echo")
    r = place.run("sync", "push")
    tap.result(r, code, f"{what}: a push fails", err="genrun: .*" + said)
    r = place.run("sync", "status", "--json")
    tap.equal((r.json["reachable"], r.json["offlineSince"], r.json["failedSince"] is not None), (True, None, True), f"{what}: status says failing, not away")
    tap.matches(r.json["lastError"], said, f"{what}: and what to do")
    out = place.run("sync", "status").out
    tap.matches(out, r"failing since .*\nlast error .*" + said, f"{what}: so does the text")
    r = place.run("doctor")
    tap.ok(r.code == 1, f"{what}: doctor finds it", str(r))
    tap.matches(r.out, "wrong +sync.*" + said.replace(": ", r"(: |\s+)"), f"{what}: and says what to do")
    tap.equal(place.value("SELECT message FROM logs WHERE event LIKE 'sync.%' ORDER BY id DESC LIMIT 1"),
              place.run("sync", "status", "--json").json["lastError"], f"{what}: as the log does")


def mended(place, pg, what):
    tap.result(place.run("sync", "push", timeout_s=60), 0, f"{what}: a push goes through again")
    r = place.run("sync", "status", "--json")
    tap.equal((r.code, r.json["failedSince"], r.json["behind"]), (0, None, 0), f"{what}: status says that it is well")
    equal(place, pg, what)
    r = place.run("doctor")
    tap.lacks(r.out, "the last tries failed", f"{what}: so does doctor")


def test_a_table_is_gone(place):
    with Postgres() as pg:
        ready(place, pg)
        pg.psql("DROP TABLE outputs CASCADE")
        place.run("submit", "one", "--model", "echo")
        place.run("run", "--no-http", "--drain", env={"GENRUN_SYNC_URL": None})
        fails(place, pg, 3, r"relation \"outputs\" does not exist: run 'genrun sync init'", "no table")
        tap.result(place.run("sync", "init"), 0, "sync init makes it anew", out="1 table of the mirror had been dropped: every box brings its rows there anew")
        tap.equal(pg.value("SELECT count(*) FROM outputs"), "0", "it is there, and empty")
        mended(place, pg, "a table made anew")
        tap.equal(events(place), ["sync.failed", "sync.resumed"], "told once each, and never as if it were away")
        tap.equal(place.run("sync", "init", "--json").json["mended"], 0, "nothing is left to mend")


def test_a_column_is_gone(place):
    with Postgres() as pg:
        ready(place, pg)
        tap.result(place.run("sync", "push"), 0, "all is there")
        pg.psql("ALTER TABLE generations RENAME COLUMN prompt TO renamed")
        fails(place, pg, 3, r"column \"prompt\" of relation \"generations\" does not exist: run 'genrun sync init'", "a renamed column")
        tap.result(place.run("sync", "init"), 5, "sync init asks", err=r"generations.prompt is missing.*--adopt")
        tap.result(place.run("sync", "init", "--adopt"), 0, "and adds it", out="1 column of the mirror had been dropped: every box brings its rows there anew")
        mended(place, pg, "a column made anew, filled in all rows,")


def test_forgotten_under_a_runner(place):
    """Another box's `sync init` has made a table anew: a runner that stays connected brings its rows there, too."""
    with Postgres() as pg:
        ready(place, pg)
        place.run("user", "set", "ann", "--name", "Ann")
        runner = place.start_runner("--no-http")
        wait_until(lambda: place.run("sync", "status", "--json").json["behind"] == 0, 60, "all being there")
        wait_until(lambda: pg.value("SELECT count(*) FROM profiles WHERE id = 'ann'") == "1", 60, "people, too")
        pg.psql("TRUNCATE outputs; UPDATE profiles SET display_name = 'else'; DELETE FROM genrun_nodes")
        place.submit("one", "--model", "echo")
        wait_until(lambda: not mirror.differences(place.database, pg, "box", tables=["outputs"]), 60, "the rows being there again")
        tap.equal(runner.stop(), 0, "the runner stops")
        equal(place, pg, "a box that was forgotten")
        tap.equal(events(place), [], "it was no failure")


def test_in_the_runner(place):
    with Postgres() as pg:
        ready(place, pg)
        runner = place.start_runner("--no-http")
        pg.psql("ALTER TABLE logs RENAME TO gone")
        place.submit("one", "--model", "echo")
        wait_until(lambda: "sync.failed" in events(place), 20, "the log telling it")
        wait_until(lambda: "it is tried again" in runner.err, 20, "its message")
        tap.matches(runner.err, r"sync: .*relation \"logs\" does not exist: run 'genrun sync init'", "the runner says what to do")
        pg.psql("ALTER TABLE gone RENAME TO logs")
        wait_until(lambda: "sync.resumed" in events(place), 60, "the log telling its end")
        tap.equal(runner.stop(), 0, "the runner stops")
        equal(place, pg, "put right under a runner")
        tap.lacks(" ".join(events(place)), "offline", "it was never away")


def test_no_rights(place):
    with Postgres() as pg:
        ready(place, pg)
        pg.psql("ALTER TABLE generations OWNER TO postgres; REVOKE ALL ON generations FROM genrun", user="postgres")
        fails(place, pg, 3, "permission denied for table generations: the role that syncs must own the mirror's tables", "no right")
        pg.psql("ALTER TABLE generations OWNER TO genrun", user="postgres")
        mended(place, pg, "the rights given back")
        tap.equal(events(place), ["sync.failed", "sync.resumed"], "told once each")


def test_policies(place):
    """A role that does not pass the policies is told so, and no row is marked as refused."""
    with Postgres() as pg:
        ready(place, pg)
        pg.psql("ALTER TABLE generations ENABLE ROW LEVEL SECURITY; ALTER TABLE generations FORCE ROW LEVEL SECURITY")
        place.submit("more", "--model", "echo")
        tap.result(place.run("sync", "push"), 3, "the policies of the table refuse it", err="row-level security.*pass their policies")
        tap.equal(place.value("SELECT count(*) FROM sync_refused"), 0, "that is no fault of the rows")
        pg.psql("ALTER TABLE generations NO FORCE ROW LEVEL SECURITY")
        mended(place, pg, "passed over by the owner")


def test_a_trigger_of_theirs(place):
    """A database webhook whose extension is missing: no table of the mirror is at fault, and the trigger is named."""
    with Postgres() as pg:
        ready(place, pg)
        pg.psql("CREATE FUNCTION hook() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM net.http_post('x'); RETURN NEW; END $$; "
                "CREATE TRIGGER hook AFTER INSERT ON generations FOR EACH ROW EXECUTE FUNCTION hook()")
        fails(place, pg, 3, r"schema \"net\" does not exist: PL/pgSQL function hook\(\) line 1 at PERFORM: mend or drop the trigger",
              "a broken trigger")
        pg.psql("DROP TRIGGER hook ON generations")
        mended(place, pg, "without the trigger")


def test_version(place):
    with Postgres() as pg:
        ready(place, pg)
        pg.psql("INSERT INTO genrun_migrations VALUES (99, 'later')")
        fails(place, pg, 3, r"is of a newer genrun \(version 99, not \d+\): update this one", "a newer mirror")
        pg.psql("DELETE FROM genrun_migrations WHERE version > 1")
        fails(place, pg, 3, "is of an older genrun: run 'genrun sync init'", "an older mirror")
        tap.result(place.run("sync", "init"), 0, "sync init brings it up to date")
        mended(place, pg, "the right version")
        tap.equal(events(place), ["sync.failed", "sync.failed", "sync.resumed"], "each reason once")


def test_read_only(place):
    with Postgres() as pg:
        ready(place, pg)
        pg.psql("ALTER DATABASE genrun SET default_transaction_read_only = on")
        place.submit("more", "--model", "echo")
        tap.result(place.run("sync", "push"), 7, "a server that takes no writes", err="read-only transaction: it takes no writes now")
        tap.equal(events(place), ["sync.failed"], "it is not away")
        pg.psql("SET default_transaction_read_only = off; ALTER DATABASE genrun RESET default_transaction_read_only")
        mended(place, pg, "when it takes them again")


def test_own_authority(place):
    """A server elsewhere, whose certificate is of an authority that nobody knows."""
    with Postgres() as pg:
        pg.stop("fast")
        key, certificate = os.path.join(pg.data, "server.key"), os.path.join(pg.data, "server.crt")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=db.example.org",
                        "-keyout", key, "-out", certificate], check=True, capture_output=True)
        for path in (key, certificate):
            os.chmod(path, 0o600)
            if os.geteuid() == 0:
                shutil.chown(path, "postgres", "postgres")
        pg.settings["ssl"] = "on"
        pg.start()
        elsewhere = f"host=db.example.org hostaddr=127.0.0.1 port={pg.port} user=genrun dbname=genrun"
        work.configure(place, elsewhere)
        tap.error_line(place.run("sync", "init"), 7, r"certificate verify failed: give its authority with sslrootcert=FILE in the connection string",
                       "it is not trusted, and what to do is said")
        known = place.write("root.crt", open(certificate, encoding="ascii").read())
        tap.result(place.run("sync", "init", env={"GENRUN_SYNC_URL": f"{elsewhere} sslrootcert={known}"}), 0, "known, it is")


tap.main(globals())
