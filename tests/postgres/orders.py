#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Orders typed into the mirror: carried out as the command would, each once, in the order typed; what is
illegal is refused and the row set back; and the runner does all of it by itself, away or not."""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap
from genrun import ROOT, Place, wait_until
from mirror import differences
from postgres import Postgres, Proxy, SqlError

SERVER = None
CONFIG = "[sync]\nnode = edge-1\nevery = 200ms\n"


def fresh(place, config=CONFIG):
    """A schema of the test's own, with a mirror."""
    SERVER.psql("DROP SCHEMA IF EXISTS mirror CASCADE")
    place.configure(config + "schema = mirror\n")
    place.env["GENRUN_SYNC_URL"] = SERVER.url_at(SERVER.port, options="?options=-csearch_path%3Dmirror")
    tap.equal(place.run("sync", "init").code, 0, "sync init")


def sql(text):
    SERVER.psql("SET search_path TO mirror;" + text)


def submit(place, *args):
    return place.run("submit", "--model", "echo", "hello", *args).id


def push(place):
    r = place.run("sync", "push", "--json")
    tap.equal(r.code, 0, f"sync push: {r.err}")
    return r.json


def here(place, id, columns="status"):
    return place.sql(f"SELECT {columns} FROM generations WHERE id='{id}'")[0]


def there(id, columns="status", table="generations"):
    return SERVER.rows(f"SELECT {columns} FROM mirror.{table} WHERE id='{id}'")[0]


def orders():
    return SERVER.rows("SELECT state, reason FROM mirror.genrun_orders ORDER BY id")


def test_legal(place):
    fresh(place)
    a, b, c, d = (submit(place) for _ in range(4))
    push(place)
    sql(f"UPDATE generations SET status='cancelled' WHERE id='{a}'")
    sql(f"UPDATE generations SET status='failed', error_message='no such thing' WHERE id='{b}'")
    sql(f"UPDATE generations SET priority=7, parameters=parameters||'{{\"k\": 1}}' WHERE id='{c}'")
    sql(f"UPDATE generations SET status='cancelled' WHERE id='{d}'")
    sql(f"UPDATE generations SET status='queued' WHERE id='{d}'")
    r = push(place)
    tap.equal((r["ordersApplied"], r["ordersRefused"], r["behind"]), (5, 0, 0), "all are carried out")
    tap.equal(here(place, a), ("cancelled",), "a cancel")
    tap.equal(here(place, b, "status, error_message, error_type"), ("failed", "no such thing", "OperatorError"), "a fail")
    tap.equal(here(place, c, "priority, json_extract(parameters,'$.k')"), (7, 1), "priority and parameters")
    tap.equal(here(place, d), ("queued",), "two of one row, in the order typed")
    tap.equal([x for x, in place.sql(f"SELECT event FROM logs WHERE generation_id='{d}' AND event LIKE 'generation.%' ORDER BY id")],
              ["generation.queued", "generation.cancelled", "generation.queued"], "each was done")
    tap.equal({tuple(o) for o in orders()}, {("applied", None)}, "and is told there")
    tap.equal(there(b, "status, error_type"), ["failed", "OperatorError"], "what came of it is there")
    sql(f"UPDATE generations SET dismissed_at=now() WHERE id='{b}'")
    push(place)
    tap.ok(here(place, b, "dismissed_at")[0] is not None, "dismissed")
    sql(f"UPDATE generations SET dismissed_at=NULL WHERE id='{b}'")
    push(place)
    tap.equal(here(place, b, "dismissed_at"), (None,), "and not any more")
    tap.equal(push(place)["rows"], 0, "nothing is written twice")


def test_refused(place):
    fresh(place)
    a = submit(place)
    place.run("run", "--drain")
    push(place)
    sql(f"UPDATE generations SET status='cancelled' WHERE id='{a}'")
    tap.equal(there(a), ["cancelled"], "a person sees what was typed")
    r = push(place)
    tap.equal((r["ordersApplied"], r["ordersRefused"]), (0, 1), "it is refused")
    tap.equal((here(place, a), there(a)), (("completed",), ["completed"]), "and set back")
    tap.matches(orders()[0][1], "completed generation is final", "with the reason there")
    tap.matches(place.sql(f"SELECT message FROM logs WHERE event='order.refused' AND generation_id='{a}'")[0][0],
                "completed generation is final", "and in the log")
    sql(f"UPDATE generations SET priority=5000 WHERE id='{a}'")
    push(place)
    tap.equal(there(a, "priority"), ["0"], "a bad value, too")
    b = submit(place)
    push(place)
    place.run("cancel", b)
    sql(f"UPDATE generations SET status='cancelled' WHERE id='{b}'")
    tap.equal(push(place)["ordersApplied"], 1, "what is so already is harmless")


def test_batch(place):
    fresh(place)
    place.write("items.txt", "one\ntwo\nthree\n")
    id = place.run("batch", "submit", "items.txt", "--model", "echo").id
    push(place)
    tap.equal(SERVER.value(f"SELECT count(*) FROM mirror.batch_items WHERE batch_job_id='{id}'"), "3", "the items are there")
    sql(f"UPDATE batch_jobs SET status='paused', paused_reason='lunch' WHERE id='{id}'")
    push(place)
    tap.equal(place.sql("SELECT status, paused_reason FROM batch_jobs"), [("paused", "lunch")], "paused with its reason")
    sql(f"UPDATE batch_jobs SET status='processing' WHERE id='{id}'")
    push(place)
    tap.equal(place.sql("SELECT status FROM batch_jobs"), [("queued",)], "resumed")
    tap.equal(there(id, "status", "batch_jobs"), ["queued"], "as the box says")
    sql(f"UPDATE batch_items SET status='failed', error_message='bad' WHERE batch_job_id='{id}' AND item_index=1")
    push(place)
    tap.equal(place.sql("SELECT status, error_message FROM batch_items ORDER BY item_index"),
              [("queued", None), ("failed", "bad"), ("queued", None)], "an item is failed")
    sql(f"UPDATE batch_jobs SET status='cancelled' WHERE id='{id}'")
    push(place)
    tap.equal(place.sql("SELECT status FROM batch_items ORDER BY item_index"),
              [("cancelled",), ("failed",), ("cancelled",)], "cancelled with its items, without a runner")
    tap.equal(SERVER.rows("SELECT status, cancelled_items FROM mirror.batch_jobs"), [["cancelled", "2"]], "there, too")
    sql(f"UPDATE batch_jobs SET status='processing' WHERE id='{id}'")
    tap.equal(push(place)["ordersRefused"], 1, "a cancelled one is final")
    tap.equal(there(id, "status", "batch_jobs"), ["cancelled"], "and set back")


def test_many(place):
    fresh(place)
    place.write("items.txt", "".join(f"{i}\n" for i in range(1000)))
    place.run("batch", "submit", "items.txt", "--model", "echo", "--user", "ann")
    push(place)
    sql("UPDATE generations SET status='cancelled' WHERE user_id='ann' AND created_at < now()")
    tap.equal(push(place)["ordersApplied"], 1000, "by user and by age")
    tap.equal(SERVER.rows("SELECT status, count(*) FROM mirror.generations GROUP BY 1"), [["cancelled", "1000"]], "all of them")


SHOWN = "status, error_message, parameters, priority, dismissed_at, attempts, started_at, completed_at"


def test_gone(place):
    """Rows that the box has not any more: what was typed into them does not stay."""
    fresh(place)
    place.write("items.txt", "one\ntwo\n")
    batch = place.run("batch", "submit", "items.txt", "--model", "echo").id
    a, b, c = (submit(place, "--param", "k=1") for _ in range(3))
    place.run("run", "--drain")
    push(place)
    was = [there(id, SHOWN) for id in (a, b, c)]
    was_batch = there(batch, "*", "batch_jobs")
    place.sql("DELETE FROM generations WHERE batch_job_id IS NULL")
    place.sql("DELETE FROM batch_jobs")
    sql(f"UPDATE generations SET status='queued', completed_at=NULL, started_at=NULL, attempts=0 WHERE id='{a}'")
    sql(f"UPDATE generations SET status='failed', error_message='no', completed_at=now() WHERE id='{a}'")
    sql(f"SET timezone TO 'Asia/Tokyo'; UPDATE generations SET dismissed_at=now(), parameters=parameters||'{{\"k\": 2}}' WHERE id='{a}'")
    sql(f"UPDATE generations SET priority=9 WHERE id='{a}'; UPDATE generations SET priority=5, dismissed_at=NULL WHERE id='{a}'")
    sql(f"UPDATE generations SET status='cancelled' WHERE id='{b}'")
    sql(f"UPDATE batch_jobs SET status='paused', paused_reason='lunch', last_activity_at=NULL WHERE id='{batch}'")
    tap.equal(there(a, "status, priority"), ["failed", "5"], "a person sees what was typed")
    r = push(place)
    tap.equal((r["ordersApplied"], r["ordersRefused"]), (0, 7), "all is refused")
    tap.equal([there(id, SHOWN) for id in (a, b, c)], was, "several orders of a row: it is what it was before the first")
    tap.equal(there(batch, "*", "batch_jobs"), was_batch, "a batch job, too")
    tap.equal({(s, "removed from the box" in r) for s, r in orders()}, {("refused", True)}, "with the reason there")
    tap.equal(place.value("SELECT count(*) FROM logs WHERE event='order.refused' AND message LIKE '%removed from the box%'"), 7, "and in the log")
    for id, event in place.sql("SELECT id, event FROM logs WHERE event LIKE 'order%'"):
        tap.equal(SERVER.rows(f"SELECT event FROM mirror.logs WHERE id={id}"), [[event]], "which is there, too")
    sql(f"UPDATE generations SET status='failed', error_message='no' WHERE id='{a}'; UPDATE generations SET status='completed' WHERE id='{a}'")
    push(place)
    tap.equal(there(a, SHOWN), was[0], "typed again it is set back again")
    before = there(a, "xmin")
    push(place)
    tap.equal(there(a, "xmin"), before, "and not written otherwise")


def test_gone_in_pages(place):
    """More orders of a row than a page, and a push that ends between carrying out and telling."""
    fresh(place)
    a = submit(place)
    push(place)
    place.run("cancel", a)
    push(place)
    was = there(a, SHOWN)
    place.sql("DELETE FROM generations")
    sql("".join(f"UPDATE generations SET status='{s}', priority=priority+1;" for s in ("queued", "failed", "queued", "cancelled") * 50))
    r = push(place)
    tap.equal((r["ordersRefused"], there(a, SHOWN)), (200, was), "200 orders of a row that is gone")
    sql("UPDATE generations SET priority=7")
    # The outcome is noted here, and was not told there.
    typed = int(SERVER.value("SELECT (extract(epoch FROM typed_at) * 1000000)::bigint FROM mirror.genrun_orders WHERE state='open'"))
    place.sql("INSERT INTO sync_order SELECT 201, ?, outcome, reason, ended_at FROM sync_order WHERE order_id = 1", typed)
    push(place)
    tap.equal((there(a, SHOWN), orders()[-1][0]), (was, "refused"), "an outcome that was not heard is told again")
    tap.equal(place.value("SELECT count(*) FROM logs WHERE event='order.refused'"), 200, "and not done twice")


def test_habits(place):
    """Columns that go with a change of state by habit."""
    fresh(place)
    a = submit(place)
    place.run("run", "--drain")
    push(place)
    was = there(a, SHOWN)
    sql("UPDATE generations SET completed_at=NULL, attempts=7")
    tap.equal((there(a, SHOWN), orders()), (was, []), "typed alone they are the box's, and no order")


def test_typed_by(place):
    """Who typed it: the role, and behind it who the token of a web request says it was."""
    fresh(place)
    submit(place)
    push(place)
    cases = [("", "genrun"), ('{"sub": "5f0c-1", "role": "authenticated", "email": "x@y"}', "genrun (role authenticated, sub 5f0c-1)"),
             ('{"role": "service_role"}', "genrun (role service_role)"), ('{"sub": 12}', "genrun (sub 12)"), ("{}", "genrun"),
             ('{"sub": null, "role": null}', "genrun"), ("no json", "genrun"), ("[1]", "genrun"), ('"sub"', "genrun"), ("{", "genrun"),
             ('{"sub": "' + "x" * 500 + '"}', "genrun (sub " + "x" * 128 + ")"), ("[" * 100000, "genrun"),
             ('{"sub": "a\\u0000"}', "genrun"), ('{"sub": "\\u00fc \\n"}', "genrun (sub \u00fc \n)")]
    for claims, by in cases:
        sql(f"SET request.jwt.claims = '{claims}'; UPDATE generations SET priority=priority+1")
        tap.equal(SERVER.value("SELECT typed_by FROM mirror.genrun_orders ORDER BY id DESC LIMIT 1"), by, f"claims {claims[:40]!r}")
    push(place)
    tap.equal(place.value("SELECT count(*) FROM logs WHERE event='order.applied' AND message LIKE '%(role authenticated, sub 5f0c-1)%'"), 1,
              "who typed it stands in the log")


def refused_sql(text, part, name):
    try:
        SERVER.psql(text, user="eve")
    except SqlError as reason:
        tap.contains(str(reason), part, name)
        return
    tap.ok(False, name, "it was taken")


GIVEN = "ALTER DEFAULT PRIVILEGES FOR ROLE genrun {} ALL ON {} {} eve"
# Names of hers in front of ours, and a function that fits better than that of Postgres.
STEAL = """CREATE TEMP TABLE genrun_orders (id int, node text, kind text, target uuid, change jsonb, before jsonb, typed_by text);
CREATE TEMP TABLE generations (LIKE mirror.generations);
CREATE FUNCTION pg_temp.genrun_typed_by() RETURNS text LANGUAGE sql AS $$ SELECT 'stolen' $$;
CREATE FUNCTION mirror.jsonb_build_object(text, text) RETURNS jsonb LANGUAGE sql AS $$ SELECT '{"stolen": 1}'::jsonb $$;
SET search_path TO pg_temp, mirror;
UPDATE mirror.generations SET status = 'cancelled';
SELECT count(*) FROM genrun_orders;"""


def test_rights(place):
    """A role that may change generations gives orders for them, and no more than that, whatever it brings along."""
    fresh(place)
    a = submit(place)
    SERVER.psql("DROP SCHEMA mirror CASCADE; CREATE ROLE eve LOGIN; GRANT CREATE ON DATABASE genrun TO eve", user="postgres")
    # As Supabase does: everything that is made is open to all roles.
    for kind in ("TABLES", "FUNCTIONS", "SEQUENCES"):
        SERVER.psql(GIVEN.format("GRANT", kind, "TO"), user="postgres")
    tap.equal(place.run("sync", "init").code, 0, "sync init")
    SERVER.psql("GRANT USAGE, CREATE ON SCHEMA mirror TO eve")
    push(place)
    tap.equal(SERVER.psql(STEAL, user="eve").split(), ["0"], "a temporary table takes no order")
    tap.equal(SERVER.rows("SELECT change, typed_by FROM mirror.genrun_orders"), [['{"status": "cancelled"}', "eve"]], "it stands in ours")
    push(place)
    tap.equal(here(place, a), ("cancelled",), "and is carried out")
    for text, name in (("INSERT INTO mirror.genrun_orders (node, kind, target, change) VALUES ('edge-1', 'generation', gen_random_uuid(), '{}')",
                        "forge an order"),
                       ("SELECT * FROM mirror.genrun_orders", "read orders"), ("UPDATE mirror.genrun_orders SET state = 'open'", "change orders"),
                       ("DELETE FROM mirror.genrun_orders", "delete orders"), ("UPDATE mirror.genrun_nodes SET node = 'x'", "change a node"),
                       ("DELETE FROM mirror.genrun_migrations", "undo a version"),
                       ("SELECT nextval('mirror.genrun_orders_id_seq')", "use the numbers of orders"),
                       ("SELECT mirror.genrun_set_back('edge-1', '{}')", "set rows back"),
                       ("CREATE SCHEMA hers; CREATE TABLE hers.generations (LIKE mirror.generations); CREATE TRIGGER t BEFORE UPDATE ON "
                        "hers.generations FOR EACH ROW EXECUTE FUNCTION mirror.genrun_order_generation()", "hang our trigger to a table of hers")):
        refused_sql(text, "permission denied", f"she cannot {name}")
    refused_sql("SET genrun.writer = 'sync'; UPDATE mirror.generations SET node = 'other'", "can be changed here", "she cannot pass for the sync")
    tap.equal(SERVER.value("SELECT count(*) FROM mirror.stuck_generations", user="eve"), "0", "the views are hers to read")
    for kind in ("TABLES", "FUNCTIONS", "SEQUENCES"):
        SERVER.psql(GIVEN.format("REVOKE", kind, "FROM"), user="postgres")


OLDER = os.path.join(ROOT, "schema", "postgres", "0001_mirror.sql")


def test_upgrade(place):
    """A mirror of version 1, with rows and an order that was typed there before."""
    fresh(place)
    place.write("items.txt", "one\ntwo\n")
    place.run("batch", "submit", "items.txt", "--model", "echo")
    place.run("run", "--drain")
    a, b = submit(place, "--delay", "1h"), submit(place)
    push(place)
    with open(OLDER, encoding="utf-8") as f:
        older = f.read()
    SERVER.psql("DROP SCHEMA IF EXISTS older CASCADE; CREATE SCHEMA older; SET search_path TO older, pg_temp;" + older +
                "; INSERT INTO genrun_migrations (version, name) VALUES (1, '0001_mirror.sql')")
    for table, columns in SERVER.rows("SELECT table_name, string_agg(column_name, ',') FROM information_schema.columns JOIN "
                                      "information_schema.tables t USING (table_schema, table_name) WHERE table_schema='older' AND "
                                      "table_type='BASE TABLE' AND table_name NOT IN ('genrun_migrations', 'genrun_orders') GROUP BY 1"):
        SERVER.psql(f"INSERT INTO older.{table} ({columns}) SELECT {columns} FROM mirror.{table}")
    SERVER.psql(f"UPDATE older.generations SET status='cancelled' WHERE id='{a}'")
    place.configure(CONFIG + "schema = older\n")
    r = place.run("sync", "push")
    tap.result(r, 3, "an older mirror is not written", err="the mirror in schema older is of an older genrun: run 'genrun sync init'")
    tap.equal(SERVER.value("SELECT state FROM older.genrun_orders"), "open", "nor are its orders fetched")
    runner = place.start("run")
    wait_until(lambda: "run 'genrun sync init'" in runner.err, 20, "a runner says so, too")
    place.wait_status(b, "completed")
    tap.equal(runner.stop(), 0, "and works on")
    r = place.run("sync", "init", "--json")
    tap.equal((r.code, r.json["before"], r.json["after"]), (0, 1, 2), "sync init makes it version 2")
    tap.equal((push(place)["ordersApplied"], here(place, a)), (1, ("cancelled",)), "the order typed before is carried out")
    tap.equal(SERVER.value("SELECT state FROM older.genrun_orders"), "applied", "and told")
    found = differences(place.database, SERVER, "edge-1", "older")
    tap.ok(not found, "all rows are equal", "\n".join(found))
    SERVER.psql(f"UPDATE older.generations SET dismissed_at=now() WHERE id='{a}'")
    place.sql("DELETE FROM generations WHERE id = ?", a)
    push(place)
    tap.equal(SERVER.rows(f"SELECT dismissed_at FROM older.generations WHERE id='{a}'"), [[None]], "what is new in version 2 holds")


def test_names(place):
    fresh(place)
    submit(place)
    push(place)
    with Place("[sync]\nnode = edge-1\nschema = mirror\n") as other:
        other.env["GENRUN_SYNC_URL"] = SERVER.url
        submit(other)
        r = other.run("sync", "push")
        tap.result(r, 5, "another box under this name", err="another box, or an earlier database .* node edge-1")
        other.configure("[sync]\nnode = edge-2\nschema = mirror\n")
        tap.equal(other.run("sync", "push").code, 0, "it takes a name of its own")
        other.configure("[sync]\nnode = edge-3\nschema = mirror\n")
        tap.result(other.run("sync", "push"), 5, "a name is for good", err="has synced as node edge-2")
        other.configure("[sync]\nschema = mirror\n")
        tap.equal(other.run("sync", "push", "--json").json["node"], "edge-2", "and is remembered")
    tap.equal(SERVER.rows("SELECT node FROM mirror.genrun_nodes ORDER BY 1"), [["edge-1"], ["edge-2"]], "the nodes")


def test_new_mirror(place):
    fresh(place)
    a = submit(place)
    push(place)
    fresh(place)
    push(place)
    tap.equal(there(a), ["queued"], "a mirror made anew gets all")
    sql(f"UPDATE generations SET status='cancelled' WHERE id='{a}'")
    tap.equal(push(place)["ordersApplied"], 1, "and its orders, which count from 1 again")


def test_set_back(place):
    """A database from a backup (or that lost its end with the power) counts on from numbers that are there already."""
    fresh(place)
    a = submit(place)
    push(place)
    copy = os.path.join(os.path.dirname(place.database), "copy.db")
    tap.equal(place.run("db", "backup", copy).code, 0, "a backup")
    lost = [submit(place) for _ in range(9)]
    push(place)
    for end in ("-wal", "-shm"):
        if os.path.exists(place.database + end):
            os.remove(place.database + end)
    os.replace(copy, place.database)
    c = submit(place, "--user", "ann")
    place.run("cancel", a)
    r = place.run("sync", "push", "--json")
    tap.result(r, 0, "a push of a database that was set back", err="older than what it brought")
    tap.equal([there(a), there(c), there(lost[0])], [["cancelled"], ["queued"], ["queued"]], "what is done since is there")
    for id, event in place.sql("SELECT id, event FROM logs"):
        tap.equal(there(id, "event", "logs"), [event], "each row of its log is there")
    tap.equal(place.value("SELECT count(*) FROM logs WHERE event='sync.restored'"), 1, "it is told in the log")
    tap.equal(push(place)["rows"], 0, "and once only")
    place.run("cancel", c)
    push(place)
    tap.equal(there(c), ["cancelled"], "later changes come there")


def test_status(place):
    fresh(place)
    submit(place)
    r = place.run("sync", "status", "--json")
    tap.equal((r.code, r.json["reachable"], r.json["behind"] > 0, r.json["node"]), (0, True, True, "edge-1"), "before")
    push(place)
    r = place.run("sync", "status")
    tap.result(r, 0, "sync status", out=r"(?s)schema mirror, node edge-1\n0 rows of the log behind\n.*0 orders to carry out\n0 rows refused there")
    tap.ok(SERVER.url not in r.out, "without the URL")
    r = place.run("job", "sync")
    tap.result(r, 0, "job sync", out="")
    r = place.run("doctor", "--offline")
    tap.matches(r.out, "sync", "doctor tells of it")


def test_runner(place):
    fresh(place)
    with Proxy(SERVER.port) as proxy:
        place.env["GENRUN_SYNC_URL"] = SERVER.url_at(proxy.port)
        runner = place.start("run")
        a = submit(place)
        wait_until(lambda: SERVER.rows(f"SELECT status FROM mirror.generations WHERE id='{a}'") == [["completed"]], 20, "the row there")
        b = submit(place, "--delay", "1h")
        wait_until(lambda: SERVER.rows(f"SELECT status FROM mirror.generations WHERE id='{b}'") == [["queued"]], 20, "the queued one")
        sql(f"UPDATE generations SET status='failed', error_message='by hand' WHERE id='{b}'")
        wait_until(lambda: orders() == [["applied", None]], 20, "the order")
        tap.equal(here(place, b, "status, error_message"), ("failed", "by hand"), "it was carried out")
        proxy.refusing = True
        proxy.cut()
        c = submit(place)
        wait_until(lambda: here(place, c) == ("completed",), 20, "work goes on")
        wait_until(lambda: place.sql("SELECT count(*) FROM logs WHERE event='sync.offline'") == [(1,)], 20, "it is told")
        sql(f"UPDATE generations SET dismissed_at=now() WHERE id='{b}'")
        proxy.refusing = False
        wait_until(lambda: SERVER.rows(f"SELECT status FROM mirror.generations WHERE id='{c}'") == [["completed"]], 30, "what was done meanwhile")
        wait_until(lambda: here(place, b, "dismissed_at") != (None,), 20, "the order of a box that was away")
        wait_until(lambda: place.sql("SELECT event FROM logs WHERE event LIKE 'sync.o%' ORDER BY id") == [("sync.offline",), ("sync.online",)], 20, "told once each")
        proxy.silent = True
        submit(place)
        tap.equal(runner.stop(), 0, "a stop while the network is silent")
        proxy.silent = False
    tap.ok(SERVER.url not in runner.err, "no URL in its messages")


if __name__ == "__main__":
    with Postgres(password="p4ss-w0rd") as SERVER:
        tap.main(globals())
