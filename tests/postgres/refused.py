#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Rows that Postgres does not take: found out, told, passed over, and tried again when its rules may have changed; by the
statement or only by the commit."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap
from genrun import wait_until
from mirror import differences
from postgres import Postgres, Proxy
from shim import Shim

SERVER = None
CONFIG = "[sync]\nnode = edge-1\nschema = mirror\nevery = 200ms\n"


def fresh(place, rules="", config=""):
    """A schema of the test's own, with a mirror and its owner's rules."""
    SERVER.psql("DROP SCHEMA IF EXISTS mirror CASCADE")
    place.configure(CONFIG + config)
    place.env["GENRUN_SYNC_URL"] = SERVER.url_at(SERVER.port, options="?options=-csearch_path%3Dmirror")
    tap.equal(place.run("sync", "init").code, 0, "sync init")
    sql(rules)


def sql(text):
    SERVER.psql("SET search_path TO mirror;" + text)


def push(place):
    r = place.run("sync", "push", "--json", timeout_s=120)
    tap.equal(r.code, 0, f"sync push: {r.err}")
    return r.json


def refused(place):
    return place.value("SELECT count(*) FROM sync_refused")


def same(place, name):
    found = differences(place.database, SERVER, "edge-1", "mirror")
    tap.ok(not found, name, lambda: "\n".join(found))


def submit(place, count, topic="good"):
    place.write("items.jsonl", "".join(f'{{"prompt":"{i}","topic":"{topic}"}}\n' for i in range(count)))
    return place.run("batch", "submit", "items.jsonl", "--model", "echo").id


def drain(place):
    place.run("run", "--drain", env={"GENRUN_SYNC_URL": None})


def test_tried_again(place):
    """The owner lifts a rule: nothing here changes, and the rows go there all the same."""
    fresh(place, "ALTER TABLE generations ADD CONSTRAINT rule CHECK (topic <> 'bad'); ALTER TABLE profiles ADD CHECK (id <> 'eve');"
          "ALTER TABLE outputs ADD CONSTRAINT small CHECK (bytes < 5)")
    place.run("user", "set", "eve", "--name", "Eve")
    submit(place, 300, "bad")
    submit(place, 20)
    place.submit("long enough", "--model", "echo")
    drain(place)
    tap.ok(push(place)["refused"] >= 302 and refused(place) == 302, "rows that are refused")
    tap.ok(push(place)["refused"] >= 302, "by hand they are tried again")
    tap.equal(place.value("SELECT count(*) FROM logs WHERE event = 'sync.refused'"), 302, "and told once")
    sql("ALTER TABLE generations DROP CONSTRAINT rule; ALTER TABLE generations ADD CONSTRAINT rule CHECK (topic <> 'bad' OR item_index < 150)")
    push(place)
    tap.equal(refused(place), 152, "what fits now is off the list")
    sql("ALTER TABLE generations DROP CONSTRAINT rule; ALTER TABLE outputs DROP CONSTRAINT small; ALTER TABLE profiles DROP CONSTRAINT profiles_id_check")
    push(place)
    tap.equal(refused(place), 0, "and then all is")
    push(place)
    same(place, "every row is there")


def test_gone(place):
    """A row that was refused and is here no more."""
    fresh(place, "ALTER TABLE generations ADD CHECK (topic <> 'bad')")
    submit(place, 1, "bad")
    push(place)
    tap.equal(refused(place), 1, "refused")
    drain(place)
    push(place)
    place.sql("DELETE FROM batch_jobs")
    push(place)
    tap.equal(refused(place), 0, "it is off the list")


def test_runner(place):
    """A runner tries again when it starts, and every hour; of very many so many in a round."""
    shim = Shim(place)
    fresh(place, "ALTER TABLE generations ADD CONSTRAINT rule CHECK (topic <> 'bad'); CREATE SEQUENCE tries;"
          "CREATE FUNCTION count_try() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM nextval('mirror.tries'); RETURN NEW; END $$;"
          "CREATE TRIGGER count_try BEFORE INSERT ON generations FOR EACH ROW WHEN (NEW.topic = 'bad') EXECUTE FUNCTION count_try()", config="batch = 3000\n")
    submit(place, 2500, "bad")
    drain(place)
    push(place)
    tap.equal(refused(place), 2500, "refused")
    tries = lambda: int(SERVER.value("SELECT last_value FROM mirror.tries"))
    rounds = []
    before = tries()
    with_shim = {**place.env, **shim.env}
    runner = place.start("run", "--no-http", env=with_shim)
    slept = 0
    for _ in range(3):
        wait_until(lambda: tries() > before, 30, "a round")
        quiet = -1
        while quiet != tries():  # until it is over: no try between two signs of life
            quiet = tries()
            told = SERVER.value("SELECT synced_at FROM mirror.genrun_nodes")
            submit(place, 1)
            wait_until(lambda: SERVER.value("SELECT synced_at FROM mirror.genrun_nodes") != told, 30, "a pass")
        rounds.append(tries() - before)
        before = tries()
        slept += 3700
        shim.set_slept(slept)
    tap.ok(all(100 < n < 1500 for n in rounds), "a round ends after some refusals", lambda: str(rounds))
    sql("ALTER TABLE generations DROP CONSTRAINT rule")

    def hour_by_hour():
        nonlocal slept
        slept += 3700
        shim.set_slept(slept)
        return refused(place) == 0
    wait_until(hour_by_hour, 60, "all of them")
    tap.ok(True, "and each hour it goes on, until all are there")
    tap.equal(runner.stop(), 0, "the runner ends")
    push(place)
    same(place, "every row is there")


def test_deferred(place):
    """What is refused by the commit alone."""
    fresh(place, "CREATE TABLE users (id text PRIMARY KEY); INSERT INTO users VALUES ('ann');"
          "ALTER TABLE generations ADD FOREIGN KEY (user_id) REFERENCES users DEFERRABLE INITIALLY DEFERRED,"
          "  ADD CONSTRAINT job FOREIGN KEY (batch_job_id) REFERENCES batch_jobs DEFERRABLE INITIALLY DEFERRED;"
          "ALTER TABLE outputs ADD CONSTRAINT whose FOREIGN KEY (generation_id) REFERENCES generations DEFERRABLE INITIALLY DEFERRED;"
          "ALTER TABLE sessions ADD FOREIGN KEY (user_id) REFERENCES users DEFERRABLE INITIALLY DEFERRED")
    submit(place, 60)
    drain(place)
    push(place)
    same(place, "rows that point to later ones of their page are taken")
    for i, user in enumerate(["ann"] * 20 + ["bob"] + ["ann"] * 20 + ["eve"]):
        place.submit(f"p{i}", "--model", "echo", "--user", user)
    place.run("session", "set", "s1", "--name", "A", "--user", "ann")
    place.run("session", "set", "s2", "--name", "B", "--user", "bob")
    submit(place, 30)
    drain(place)
    r = push(place)
    keys = place.sql("SELECT table_name, count(*) FROM sync_refused GROUP BY 1")
    tap.equal(keys, [("generations", 2), ("outputs", 2), ("sessions", 1)], "those that the commit refuses are found")
    tap.equal((r["behind"], SERVER.value("SELECT count(*) FROM mirror.generations")), (0, "130"), "all others are there")
    tap.matches(place.value("SELECT reason FROM sync_refused WHERE table_name='generations'"), "foreign key", "with the reason")
    more = place.submit("later", "--model", "echo", "--user", "ann")
    tap.equal((push(place)["behind"], SERVER.value(f"SELECT status FROM mirror.generations WHERE id='{more}'")), (0, "queued"), "the sync goes on")
    sql("INSERT INTO users VALUES ('bob'), ('eve')")
    push(place)
    tap.equal(refused(place), 0, "and when the other rows are there, they fit")
    push(place)
    same(place, "every row is there")


def test_outputs_held(place):
    """Somebody's own table points to an output that a retry takes away."""
    fresh(place, "CREATE TABLE album (node text, id bigint, FOREIGN KEY (node, id) REFERENCES outputs)")
    a, b = place.submit("a", "--model", "echo"), place.submit("b", "--model", "echo")
    drain(place)
    push(place)
    sql("INSERT INTO album SELECT node, id FROM outputs")
    seq = place.value("SELECT seq FROM generations WHERE id = ?", a)
    place.sql("DELETE FROM output WHERE key = ?", seq * 1024)
    place.sql("UPDATE generation SET starts = 2 WHERE seq = ?", seq)
    place.sql("INSERT INTO event (created_at, level, event, generation_seq) VALUES (1, 'info', 'generation.noted', ?)", seq)
    c = place.submit("c", "--model", "echo")
    push(place)
    tap.equal(SERVER.value(f"SELECT status FROM mirror.generations WHERE id='{c}'"), "queued", "is in nobody's way")
    tap.equal(place.sql("SELECT table_name, row_key FROM sync_refused"), [("generations", str(seq))], "and told")
    sql("DELETE FROM album")
    push(place)
    tap.equal(refused(place), 0, "until it lets go")
    push(place)
    same(place, "every row is there")


def test_not_lost(place):
    """Taken off the list only when the row is there for good."""
    fresh(place, "ALTER TABLE generations ADD CONSTRAINT rule CHECK (topic <> 'bad')")
    submit(place, 200, "bad")
    push(place)
    tap.equal(refused(place), 200, "refused")
    sql("ALTER TABLE generations DROP CONSTRAINT rule")
    url = place.env["GENRUN_SYNC_URL"]
    with Proxy(SERVER.port) as proxy:
        place.env["GENRUN_SYNC_URL"] = SERVER.url_at(proxy.port)
        for cut in range(1000, 60000, 6000):
            proxy.cut_after = proxy.passed + cut
            place.run("sync", "push")
            there = int(SERVER.value("SELECT count(*) FROM mirror.generations"))
            tap.ok(there + refused(place) >= 200, f"cut after {cut} bytes: {there} are there, {refused(place)} on the list")
    place.env["GENRUN_SYNC_URL"] = url
    push(place)
    tap.equal(refused(place), 0, "none is left")
    push(place)
    same(place, "every row is there")


if __name__ == "__main__":
    with Postgres() as SERVER:
        tap.main(globals())
