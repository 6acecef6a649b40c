#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The push to Postgres and the making of the mirror: every column equal on both sides, whatever is in it and
whatever is killed, cut or refused meanwhile."""
import glob
import json
import os
import random
import re
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap
from genrun import ROOT, Place, Result
from mirror import differences
from postgres import Postgres, Proxy, SqlError

PUSH = os.path.join(os.environ.get("GENRUN_BUILD", os.path.join(ROOT, "build", "release")), "bench", "push")
NEWEST = len(glob.glob(os.path.join(ROOT, "schema", "postgres", "*.sql")))
servers = []


def server():
    """One for all tests; each has a schema of its own."""
    if not servers:
        servers.append(Postgres(password="hush-4711"))
    return servers[0]


def start(*args, url=None):
    return subprocess.Popen([PUSH, *map(str, args)], env={**os.environ, "GENRUN_SYNC_URL": url or server().url},
                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def drive(*args, url=None, timeout_s=60):
    process = start(*args, url=url)
    out, err = process.communicate(timeout=timeout_s)
    return Result(args, process.returncode, out.decode(), err.decode())


def push(place, schema, page=1000, node="box", url=None):
    return drive("run", schema, place.database, node, page, place.path("cursor"), url=url)


def ready(place, schema, config=""):
    """A mirror in a schema of its own, and a configuration."""
    tap.result(drive("init", schema), 0, f"the mirror in {schema} is made")
    place.configure("[scheduler]\nconcurrency = 8\nbackoff_min = 1ms\nbackoff_max = 1ms\n" + config)
    place.run("user", "set", "u0", "--name", "Ü")  # makes the database


def same(place, schema, name, **kw):
    found = differences(place.database, server(), "box", schema, **kw)
    tap.ok(not found, name, "\n".join(found))


def drain(place):
    r = place.run("run", "--drain")
    if r.code not in (0, 1):
        raise RuntimeError(str(r))


def batch(place, n, name="in.jsonl", prompt="p %d"):
    place.write(name, "".join(json.dumps({"prompt": prompt % i, "custom_id": f"c{i}"}) + "\n" for i in range(n)))
    return place.run("batch", "submit", place.path(name), "--model", "echo").id


HOSTILE = ['quote "x" and \'y\'', "back\\slash \\n \\\\", "{braces},{\"a\":1}", "NULL", "", "  ", "\\N", "emoji 🦊 ü \u202e",
           "tab\there\nline", "{}", "\"", "\\", ",", "x" * 3_000_000]


def test_hostile(place):
    schema = "hostile"
    ready(place, schema)
    for text in HOSTILE:
        place.sql("INSERT INTO generations (prompt, model_id, user_id, session_id, topic, parameters) VALUES (?,?,?,?,?,?)",
                  text, "echo", text[:20], None, text[:40],
                  json.dumps({"k" + text[:30]: text[:200], "big": 1}).replace(": 1}", ': 123456789012345678901234567890.125e30, "n": -0.0}'))
    place.sql("INSERT INTO generations (prompt, model_id, created_at) VALUES ('far', 'echo', 400000000000000)")
    place.sql("INSERT INTO profiles VALUES ('u''1', 'A \"B\" \\ {', NULL, '')")
    place.sql("INSERT INTO sessions VALUES ('s', '', 'p', NULL)")
    place.sql("INSERT INTO projects VALUES ('p', 'P', NULL)")
    place.sql("INSERT INTO locks VALUES ('a\"b\\,{}', 'u', 'me', 1, 253402300800000, NULL)")
    drain(place)
    # What a model can answer, as it lies on disk.
    keys = [k for (k,) in place.sql("SELECT key FROM output ORDER BY key")]
    for key, content in zip(keys, [b"\xff\xfe\x00", "nul\0in text", "", b"", None, "z" * 10_000_000, os.urandom(1_000_000)]):
        place.sql("UPDATE output SET content=?, bytes=? WHERE key=?", content, len(content or b""), key)
    tap.result(push(place, schema), 0, "hostile data is pushed", out=r"refused 0 ")
    same(place, schema, "every column of hostile data is equal")
    tap.equal(server().value(f"SELECT count(*) FROM {schema}.locks"), "1", "a lock is there")
    place.sql("DELETE FROM locks")
    tap.result(push(place, schema), 0, "pushed again", out=r"rows 0 ")
    tap.equal(server().value(f"SELECT count(*) FROM {schema}.locks"), "0", "and gone when it is gone here")


def test_no_row_is_rewritten_and_retries_shrink(place):
    schema = "once"
    ready(place, schema)
    pg = server()
    pg.psql(f"""SET search_path TO {schema};
        CREATE TABLE seen (what text, at bigserial);
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
            INSERT INTO {schema}.seen VALUES (TG_TABLE_NAME || ' ' || TG_OP); RETURN NULL; END $$;
        CREATE TRIGGER hook AFTER INSERT OR UPDATE OR DELETE ON generations FOR EACH ROW EXECUTE FUNCTION note();
        CREATE TRIGGER hook AFTER INSERT OR UPDATE OR DELETE ON outputs FOR EACH ROW EXECUTE FUNCTION note();
        CREATE TRIGGER hook AFTER INSERT OR UPDATE OR DELETE ON logs FOR EACH ROW EXECUTE FUNCTION note();""")
    batch(place, 60)
    drain(place)
    tap.result(push(place, schema, page=7), 0, "pages smaller than the batch job")
    same(place, schema, "all of the batch job is there")
    seen = dict(pg.rows(f"SELECT what, count(*) FROM {schema}.seen GROUP BY 1"))
    tap.equal(seen.get("generations INSERT"), "60", "each generation came once")
    tap.equal(seen.get("generations UPDATE"), None, "and was not written again by what the log said before")
    os.unlink(place.path("cursor"))
    before = pg.value(f"SELECT count(*) FROM {schema}.seen")
    tap.result(push(place, schema), 0, "all of the log again, as after a lost cursor", out=r"rows 0 ")
    tap.equal(pg.value(f"SELECT count(*) FROM {schema}.seen"), before, "nothing was written by it")
    # A later attempt gave fewer outputs.
    seq = place.value("SELECT max(seq) FROM generations")
    place.sql("INSERT INTO output SELECT key + 1, mime, 'second', file, 6, sha256, partial, created_at FROM output WHERE key = ?", seq * 1024)
    place.sql("INSERT INTO event (created_at, level, event, generation_seq) VALUES (1, 'info', 'generation.noted', ?)", seq)
    push(place, schema)
    tap.equal(pg.value(f"SELECT count(*) FROM {schema}.outputs"), "61", "two outputs of one generation")
    place.sql("DELETE FROM output WHERE key = ?", seq * 1024 + 1)
    place.sql("UPDATE generation SET starts = 2 WHERE seq = ?", seq)
    place.sql("INSERT INTO event (created_at, level, event, generation_seq) VALUES (2, 'info', 'generation.noted', ?)", seq)
    push(place, schema)
    same(place, schema, "outputs that a retry took away are gone there, too")


def test_older_never_over_newer_and_boxes(place):
    schema = "older"
    ready(place, schema)
    pg = server()
    one = place.submit("first", "--model", "echo")
    push(place, schema)
    pg.psql(f"SET genrun.writer = 'sync'; UPDATE {schema}.generations SET sync_version = 1000000, topic = 'newer'")
    drain(place)
    tap.result(push(place, schema), 0, "an older row is pushed")
    tap.equal(pg.value(f"SELECT topic FROM {schema}.generations WHERE id = '{one}'"), "newer", "and does not replace a newer one")
    pg.psql(f"SET genrun.writer = 'sync'; UPDATE {schema}.generations SET sync_version = 0")
    os.unlink(place.path("cursor"))
    push(place, schema)
    same(place, schema, "a newer one does")
    with Place() as other:
        other.configure("")
        other.submit("second", "--model", "echo")
        drain(other)
        tap.result(push(other, schema, node="other"), 0, "another box pushes into the same mirror")
        found = differences(other.database, pg, "other", schema) + differences(place.database, pg, "box", schema)
        tap.ok(not found, "the rows of both are there", "\n".join(found))


def test_people_of_two_boxes(place):
    schema = "people"
    ready(place, schema)
    pg = server()
    names = lambda: pg.value(f"SELECT string_agg(id || ' ' || display_name, ', ' ORDER BY id) FROM {schema}.profiles")
    count = lambda: pg.value(f"SELECT count(*) FROM {schema}.told")
    pg.psql(f"CREATE TABLE {schema}.told (id text); CREATE FUNCTION {schema}.told() RETURNS trigger LANGUAGE plpgsql AS $$ "
            f"BEGIN INSERT INTO {schema}.told VALUES (NEW.id); RETURN NEW; END $$; CREATE TRIGGER told AFTER INSERT OR UPDATE "
            f"ON {schema}.profiles FOR EACH ROW EXECUTE FUNCTION {schema}.told()")
    place.run("user", "set", "ann", "--name", "Old")
    tap.result(push(place, schema), 0, "one box has a person")
    with Place() as other:
        other.configure("")
        other.run("user", "set", "ann", "--name", "New")
        tap.result(push(other, schema, node="other"), 0, "another one renames that person")
        before = count()
        tap.result(push(place, schema), 0, "the first one connects anew, and has changed nothing")
        tap.equal((names(), count()), ("ann New, u0 Ü", before), "what it said before does not come back")
        place.run("user", "set", "ben", "--name", "Ben")
        push(place, schema)
        tap.equal(names(), "ann New, ben Ben, u0 Ü", "nor with what it has changed")
        place.run("user", "set", "ann", "--name", "Newest")
        push(place, schema)
        push(other, schema, node="other")
        tap.equal(names(), "ann Newest, ben Ben, u0 Ü", "the last one to change it has said so")
    pg.psql(f"DELETE FROM {schema}.profiles WHERE id = 'ben'")
    push(place, schema)
    tap.equal(names(), "ann Newest, ben Ben, u0 Ü", "who is missing there is brought again")


def test_poison(place):
    schema = "poison"
    ready(place, schema)
    pg = server()
    pg.psql(f"ALTER TABLE {schema}.generations ADD CONSTRAINT c CHECK (topic <> 'bad'); "
            f"ALTER TABLE {schema}.logs ADD CONSTRAINT d CHECK (message NOT LIKE 'bad%')")
    for i in range(40):
        place.sql("INSERT INTO generations (prompt, model_id, topic) VALUES (?, 'echo', ?)", f"p{i}", "bad" if i in (7, 31) else "good")
    place.sql("INSERT INTO generations (prompt, model_id, parameters) VALUES ('u', 'echo', '{\"a\": \"\\u0000\"}')")
    place.sql("INSERT INTO generations (prompt, model_id) VALUES (CAST(x'610062' AS TEXT), 'echo')")
    place.sql("INSERT INTO generations (prompt, model_id) VALUES (CAST(x'61ff62' AS TEXT), 'echo')")
    place.sql("INSERT INTO generations (prompt, model_id, parameters) VALUES ('n', 'echo', '{\"a\": 1e200000}')")
    place.sql("INSERT INTO event (created_at, level, event, message) VALUES (1, 'info', 'runner.noted', 'bad one')")
    r = push(place, schema)
    tap.result(r, 0, "poison rows do not stop the push")
    told = [line for line in r.lines if line.startswith("refused")]
    tap.equal(len(told), 7, "each is told once")
    for key, reason in ((8, "check constraint"), (32, "check constraint"), (41, "Unicode"), (42, "NUL"), (43, "UTF8"),
                        (44, "overflow|out of range")):
        tap.matches(r.out, rf"refused generations {key}: .*({reason})", f"generation {key} with the reason")
    tap.equal(pg.value(f"SELECT count(*) FROM {schema}.generations"), "38", "all others are there")
    tap.equal(pg.value(f"SELECT count(*) FROM {schema}.logs"), str(int(place.value("SELECT count(*) FROM logs")) - 1),
              "so are all rows of the log but one")
    place.sql("INSERT INTO sync_refused (table_name, row_key, reason, since) VALUES ('generations', '8', 'x', 1)")
    pg.psql(f"ALTER TABLE {schema}.generations DROP CONSTRAINT c")
    place.sql("UPDATE generations SET status = 'cancelled' WHERE seq = 8")
    r = push(place, schema)
    tap.contains(r.out, 'taken generations ["8"]', "a refused row that changed is tried again, and told when it is taken")
    tap.equal(pg.value(f"SELECT status FROM {schema}.generations WHERE seq = 8"), "cancelled", "and is there")


def test_killed_and_cut(place):
    schema = "chaos"
    ready(place, schema)
    rng = random.Random(4)
    batch(place, 800)
    drain(place)
    with Proxy(server().port) as proxy:
        url = server().url_at(proxy.port)
        for i in range(8):
            if i % 2:
                process = start("run", schema, place.database, "box", 200, place.path("cursor"))
                time.sleep(rng.random() * 0.15)
                process.kill()
                process.communicate()
            else:
                proxy.cut_after = proxy.passed + rng.randrange(2_000, 250_000)
                r = push(place, schema, page=200, url=url)
                tap.ok(r.code in (0, 7), f"cut in mid-statement: code {r.code}", str(r))
                tap.lacks(r.err, "hush-4711", "and no password told")
    tap.result(push(place, schema, page=200), 0, "the rest")
    same(place, schema, "after kills and cuts every row is equal")
    tap.equal(server().value(f"SELECT count(*) FROM {schema}.generations"), "800", "and none is there twice")


def test_connecting(place):
    schema = "connecting"
    ready(place, schema)
    pg = server()
    place.submit("x", "--model", "echo")
    wrong = pg.url.replace("hush-4711", "wrong-0815")
    r = push(place, schema, url=wrong)
    tap.result(r, 7, "a wrong password is refused", err="password authentication failed")
    tap.lacks(r.err, "0815", "and not shown")
    r = push(place, schema, url="postgresql://u:secret-1@[::1")
    tap.result(r, 3, "a string that cannot be read is refused")
    tap.lacks(r.err, "secret-1", "and not shown")
    # libpq takes what follows a bare @ or / in a password for the host, the port or the database.
    for password in ("se@cret", "se/cret", "12/cret", "s@e/cret", "s/e@cret", "se/c?ret", "se@c?ret", "se%cret"):
        for command in (("sync", "init"), ("doctor",), ("sync", "status", "--json")):
            r = place.run(*command, env={"GENRUN_SYNC_URL": f"postgres://user:{password}@127.0.0.1:{pg.port}/genrun"})
            tap.equal(r.code, 1 if command == ("doctor",) else 3, f"{command[-1]}: a password {password} must be written otherwise")
            tap.matches(r.out + r.err, "%40 for @", "and it says how")
            tap.ok(not re.search("se@|se/|12|cret|s@e|s/e", r.out.replace("127.0", "").replace(place.folder, "") + r.err),
                   "without showing it", str(r))
    r = push(place, schema, url="postgresql://u:p@127.0.0.1:1/x")
    tap.result(r, 7, "no server", err=r"cannot connect.*Connection refused Is the server running")
    # 127.0.0.1 under another name is not this machine for libpq: the certificate must be verified.
    r = push(place, schema, url=f"host=db.example hostaddr=127.0.0.1 port={pg.port} user=genrun password=x dbname=genrun")
    tap.result(r, 7, "a server elsewhere must show its certificate", err="SSL|certificate")
    r = push(place, schema, url=f"host=db.example hostaddr=127.0.0.1 port={pg.port} user=genrun password=hush-4711 "
             "dbname=genrun sslmode=disable")
    tap.result(r, 0, "unless sslmode says otherwise")
    pg.psql(f"ALTER DATABASE genrun SET default_transaction_read_only = on")
    r = push(place, schema)
    pg.psql(f"SET default_transaction_read_only = off; ALTER DATABASE genrun RESET default_transaction_read_only")
    tap.ok(r.code in (0, 7), "a read-only server is no fault of the rows", str(r))
    tap.lacks(r.out, "refused gen", "none is marked")


OLD_TABLE = "CREATE SCHEMA {0}; CREATE TABLE {0}.generations (id uuid PRIMARY KEY, status text, prompt text, {1})"


def test_init(place):
    pg = server()
    tap.result(drive("init", "again"), 0, "a mirror is made", out=f"from 0 to {NEWEST}, schema made 1")
    tap.result(drive("init", "again"), 0, "made again it stays as it is", out=f"from {NEWEST} to {NEWEST}, schema made 0")
    two = [start("init", "both") for _ in range(3)]
    codes = sorted(p.wait(60) for p in two)
    [p.communicate() for p in two]
    tap.equal(codes, [0, 0, 0], "three boxes at once")
    pg.psql("INSERT INTO again.genrun_migrations VALUES (99, 'later')")
    tap.result(drive("init", "again"), 5, "a newer mirror is refused", err=f"version 99 and this genrun knows {NEWEST}: use a newer")
    pg.psql("DELETE FROM again.genrun_migrations WHERE version = 99; ALTER TABLE again.outputs DROP COLUMN sha256")
    tap.result(drive("init", "again"), 5, "a column that is missing is told", err="outputs.sha256 is missing")
    tap.result(drive("init", "again", "adopt"), 0, "and added", out="added 1")
    pg.psql(OLD_TABLE.format("theirs", "own text"))
    tap.result(drive("init", "theirs"), 5, "tables of others are left alone", err="did not make \\(generations\\).*--adopt")
    tap.equal(pg.value("SELECT count(*) FROM information_schema.tables WHERE table_schema = 'theirs'"), "1", "nothing was made")
    pg.psql("INSERT INTO theirs.generations VALUES (gen_random_uuid(), 'completed', 'old', 'mine')")
    tap.result(drive("init", "theirs", "adopt"), 0, "adopted with a row in it", out="adopted 1")
    tap.equal(pg.rows("SELECT own, node FROM theirs.generations"), [["mine", ""]], "the row is there as it was, of no box")
    place.submit("x", "--model", "echo")
    tap.result(push(place, "theirs"), 0, "and it is pushed into", out="refused 0")
    same(place, "theirs", "all is there")
    pg.psql(OLD_TABLE.format("differs", "user_id uuid, must text NOT NULL"))
    r = drive("init", "differs", "adopt")
    tap.result(r, 5, "what cannot be used is told", err="user_id is uuid and not text")
    tap.contains(r.err, "generations.must must have a value", "all of it")
    pg.psql("CREATE SCHEMA narrow; CREATE TABLE narrow.logs (id bigserial PRIMARY KEY, message text)")
    r = drive("init", "narrow", "adopt")
    tap.result(r, 5, "a key that keeps a second box out is told", err=r"logs may have the same id on two boxes.*logs_pkey forbids \(the key is node, id\)")
    pg.psql("ALTER TABLE narrow.logs DROP CONSTRAINT logs_pkey; CREATE UNIQUE INDEX ON narrow.logs (id, message)")
    tap.result(drive("init", "narrow", "adopt"), 0, "and is no matter without it", out="adopted 1")
    pg.psql("CREATE SCHEMA viewed; CREATE TABLE viewed.batch_items (id int)")
    tap.result(drive("init", "viewed", "adopt"), 5, "a table in place of a view", err="batch_items is no view")
    r = drive("init", "nowhere", url=pg.url.replace("genrun:hush-4711", "postgres"))
    tap.ok(r.code == 7, "another role needs its own right", str(r))


def test_shape(place):
    schema = "shape"
    ready(place, schema)
    pg = server()
    columns = [c for (c,) in pg.rows("SELECT column_name FROM information_schema.columns WHERE table_schema = 'shape' "
                                     "AND table_name = 'failed_generations_view' ORDER BY ordinal_position")]
    tap.equal(columns, "id user_id model_id prompt status created_at error_message error_type user_display_name username "
              "session_name project_name".split(), "the view of failures has the contract's columns in order")
    pg.psql(f"""SET search_path TO {schema};
        CREATE OR REPLACE VIEW failed_generations_view AS SELECT g.id, g.user_id, g.model_id, g.prompt, g.status, g.created_at,
            g.parameters->>'error' AS error_message, g.parameters->'errorContext'->>'type' AS error_type,
            p.display_name AS user_display_name, p.username, s.name AS session_name, pr.name AS project_name
        FROM generations g LEFT JOIN profiles p ON g.user_id = p.id LEFT JOIN sessions s ON g.session_id = s.id
        LEFT JOIN projects pr ON s.project_id = pr.id WHERE g.status = 'failed' ORDER BY g.created_at DESC;
        CREATE OR REPLACE FUNCTION get_failure_stats(hours_back INTEGER DEFAULT 24)
        RETURNS TABLE (model_id TEXT, failure_count BIGINT, affected_users BIGINT, latest_failure TIMESTAMPTZ) AS $$
        BEGIN RETURN QUERY SELECT g.model_id, COUNT(*)::BIGINT, COUNT(DISTINCT g.user_id)::BIGINT, MAX(g.created_at)
        FROM generations g WHERE g.status = 'failed' AND g.created_at > NOW() - (hours_back || ' hours')::INTERVAL
        GROUP BY g.model_id; END; $$ LANGUAGE plpgsql;""")
    tap.ok(True, "replacements of the same shape are taken")
    tap.equal(pg.value("SELECT count(*) FROM pg_class WHERE relnamespace = 'shape'::regnamespace AND relrowsecurity"), "0",
              "row level security is the owner's")
    # Orders: what a person types is noted, what the sync writes is not.
    id = batch(place, 3)
    one = place.submit("x", "--model", "echo")
    push(place, schema)
    tap.equal(pg.value("SELECT count(*) FROM shape.genrun_orders"), "0", "the push gives no orders")
    pg.psql(f"SET search_path TO shape; UPDATE generations SET status = 'cancelled', completed_at = now() WHERE id = '{one}'; "
            f"UPDATE batch_items SET status = 'failed', error_message = 'no' WHERE item_index = 1; "
            f"UPDATE batch_jobs SET status = 'paused' WHERE id = '{id}'; UPDATE generations SET priority = priority")
    got = [[k, t, json.loads(c)] for k, t, c in pg.rows("SELECT kind, target, change FROM shape.genrun_orders ORDER BY id")]
    item = place.value("SELECT conversation_id FROM batch_items WHERE item_index = 1")
    tap.equal(got, [["generation", one, {"status": "cancelled"}],
                    ["generation", item, {"status": "failed", "error_message": "no"}],
                    ["batch_job", id, {"status": "paused"}]], "orders in the order typed, with what was changed")
    for sql, what in ((f"UPDATE shape.generations SET prompt = 'y'", "a generation"), ("UPDATE shape.batch_jobs SET name = 'y'", "a batch job"),
                      ("UPDATE shape.batch_items SET topic = 'y'", "an item"), ("DELETE FROM shape.batch_items", "a batch by its items")):
        try:
            pg.psql(sql)
            tap.ok(False, f"what is not to be changed of {what} is refused")
        except SqlError as e:
            tap.matches(str(e), "can be changed here|goes with its batch job", f"what is not to be changed of {what} is refused")
    # A person without any right on the table of orders.
    pg.psql("CREATE ROLE helper LOGIN; GRANT USAGE ON SCHEMA shape TO helper; GRANT SELECT, UPDATE ON shape.generations TO helper",
            user="postgres")
    pg.psql(f"UPDATE shape.generations SET status = 'cancelled' WHERE item_index = 2", user="helper")
    tap.equal(pg.value("SELECT typed_by FROM shape.genrun_orders ORDER BY id DESC LIMIT 1"), "helper", "who may update may order, by name")
    pg.psql("ALTER TABLE shape.generations ENABLE ROW LEVEL SECURITY; GRANT SELECT ON shape.stuck_generations, "
            "shape.recent_generations, shape.outputs TO helper")
    tap.equal(pg.value("SELECT count(*) FROM shape.recent_generations", user="helper"), "0", "views follow row level security")
    place.run("cancel", one)
    tap.result(push(place, schema), 0, "the owner syncs past it", out="refused 0")


try:
    tap.main(globals())
finally:
    for each in servers:
        each.close()
