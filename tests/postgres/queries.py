#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The questions about failures and stuck work that people type into the SQL console of a Supabase project: the mirror
answers them as the box does, while it is pushed and after. And what they paste there, such as a view of their own in
place of ours, is taken.
"""
import itertools
import os
import random
import re
import sqlite3
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import mirror_work as work
import tap
from genrun import wait_until
from postgres import Postgres

DAY = ("now() - interval '24 hours'", "(CAST(round((julianday('now')-2440587.5)*86400000) AS INTEGER) - 86400000)")

# What is asked there; and here, where it is not the same.
QUESTIONS = {
    "failures of the last 24 hours with people, sessions and projects": (
        "SELECT g.id, g.user_id, p.display_name, p.email, g.model_id, g.prompt, g.error_message, "
        "g.parameters ->> 'error', s.name, j.name FROM generations g LEFT JOIN profiles p ON p.id = g.user_id "
        "LEFT JOIN sessions s ON s.id = g.session_id LEFT JOIN projects j ON j.id = s.project_id "
        "WHERE g.status = 'failed' AND g.created_at > {day} ORDER BY g.id", None),
    "by user": (
        "SELECT g.user_id, p.display_name, p.username, count(*) AS failures, count(DISTINCT g.model_id) FROM generations g "
        "LEFT JOIN profiles p ON p.id = g.user_id WHERE g.status = 'failed' AND g.created_at > {day} GROUP BY 1, 2, 3 "
        "ORDER BY failures DESC, g.user_id", None),
    "by model, with affected users": (
        "SELECT model_id, count(*) AS failures, count(DISTINCT user_id) AS affected_users FROM generations "
        "WHERE status = 'failed' AND created_at > {day} GROUP BY model_id ORDER BY failures DESC, model_id", None),
    "by type of error": (
        "SELECT parameters -> 'errorContext' ->> 'type' AS type, count(*) AS failures FROM generations "
        "WHERE status = 'failed' GROUP BY 1 ORDER BY failures DESC, type", None),
    "by message": (
        "SELECT parameters ->> 'error' AS error, count(*) FROM generations WHERE status = 'failed' AND "
        "parameters ->> 'error' LIKE '%echo%' GROUP BY 1 ORDER BY 1", None),
    "of one user": (
        "SELECT id, status, error_message, error_type FROM generations WHERE user_id = 'ann' AND status = 'failed' "
        "ORDER BY id", None),
    "of one session": (
        "SELECT id, status, error_message FROM generations WHERE session_id = 'session-2' AND status = 'failed' ORDER BY id",
        None),
    "stuck by age": (
        "SELECT id, status, left(prompt, 50), model_id, error_message FROM generations WHERE status = 'processing' AND "
        "created_at < now() - interval '1 second' ORDER BY created_at, id",
        "SELECT id, status, substr(prompt, 1, 50), model_id, error_message FROM generations WHERE status = 'processing' AND "
        "created_at < (CAST(round((julianday('now')-2440587.5)*86400000) AS INTEGER) - 1000) ORDER BY created_at, id"),
    "stuck with the number of outputs": (
        "SELECT g.id, g.last_step, count(o.id) FROM generations g LEFT JOIN outputs o ON o.generation_id = g.id "
        "WHERE g.status IN ('processing', 'queued') GROUP BY g.id, g.last_step ORDER BY g.id", None),
    "stuck_generations": ("SELECT id, status, prompt_preview, model_id, output_count, last_step, why FROM stuck_generations "
                          "ORDER BY id", None),
    "failed_generations_view": (
        "SELECT id, user_id, model_id, prompt, status, error_message, error_type, user_display_name, username, "
        "session_name, project_name FROM failed_generations_view ORDER BY id", None),
    "failure_stats": (
        "SELECT model_id, failure_count, affected_users, (extract(epoch FROM latest_failure) * 1000)::bigint FROM failure_stats",
        "SELECT model_id, failure_count, affected_users, latest_failure FROM failure_stats"),
    "get_failure_stats(24)": (
        "SELECT model_id, failure_count, affected_users, (extract(epoch FROM latest_failure) * 1000)::bigint "
        "FROM get_failure_stats(24)", "SELECT model_id, failure_count, affected_users, latest_failure FROM failure_stats"),
    "get_failure_stats()": (
        "SELECT model_id, failure_count, affected_users FROM get_failure_stats()",
        "SELECT model_id, failure_count, affected_users FROM failure_stats"),
    "recent_generations": ("SELECT id, status, prompt_preview, model_id, output_count FROM recent_generations", None),
    "batch_items": (
        "SELECT batch_job_id, item_index, custom_id, status, topic, tier, conversation_id, error_message FROM batch_items "
        "ORDER BY batch_job_id, item_index", None),
    "failed items of batch jobs": (
        "SELECT b.name, i.item_index, i.error_message FROM batch_items i JOIN batch_jobs b ON b.id = i.batch_job_id "
        "WHERE i.status = 'failed' ORDER BY b.id, i.item_index", None),
    "batch_jobs": (
        "SELECT id, name, status, total_items, completed_items, successful_items, failed_items, cancelled_items, "
        "queued_items, processing_items FROM batch_jobs ORDER BY id", None),
    "batch_job_logs": (
        "SELECT id, level, event, generation_id, batch_job_id, attempt, message FROM batch_job_logs ORDER BY id", None),
    "a generation's story": (
        "SELECT event, level, attempt, message FROM logs WHERE generation_id = (SELECT max(generation_id::text) FROM logs "
        "WHERE level = 'error')::uuid ORDER BY id",
        "SELECT event, level, attempt, message FROM logs WHERE generation_id = (SELECT max(generation_id) FROM logs "
        "WHERE level = 'error') ORDER BY id"),
    "error rate by hour": (
        "SELECT to_char(date_trunc('hour', created_at AT TIME ZONE 'UTC'), 'YYYY-MM-DD HH24') AS hour, count(*), "
        "count(*) FILTER (WHERE status = 'failed') FROM generations GROUP BY 1 ORDER BY 1",
        "SELECT strftime('%Y-%m-%d %H', created_at / 1000.0, 'unixepoch') AS hour, count(*), "
        "count(*) FILTER (WHERE status = 'failed') FROM generations GROUP BY 1 ORDER BY 1"),
    "cost and tokens": (
        "SELECT model_id, sum(input_tokens)::bigint, sum(output_tokens)::bigint FROM generations WHERE status = 'completed' "
        "GROUP BY model_id ORDER BY model_id",
        "SELECT model_id, sum(input_tokens), sum(output_tokens) FROM generations WHERE status = 'completed' "
        "GROUP BY model_id ORDER BY model_id"),
}
MAY_BE_EMPTY = ("stuck_generations", "stuck by age", "stuck with the number of outputs")

VIEW = """CREATE OR REPLACE VIEW failed_generations_view AS
SELECT g.id, g.user_id, g.model_id, g.prompt, g.status, g.created_at,
  coalesce(g.parameters->>'error', g.error_message) AS error_message,
  g.parameters->'errorContext'->>'type' AS error_type,
  p.display_name AS user_display_name, p.username, s.name AS session_name, pr.name AS project_name
FROM generations g
LEFT JOIN profiles p ON g.user_id = p.id
LEFT JOIN sessions s ON g.session_id = s.id
LEFT JOIN projects pr ON s.project_id = pr.id
WHERE g.status = 'failed' ORDER BY g.created_at DESC;"""
FUNCTION = """CREATE OR REPLACE FUNCTION get_failure_stats(hours_back INTEGER DEFAULT 24)
RETURNS TABLE (model_id TEXT, failure_count BIGINT, affected_users BIGINT, latest_failure TIMESTAMPTZ) AS $$
BEGIN
  RETURN QUERY SELECT g.model_id, count(*), count(DISTINCT g.user_id), max(g.completed_at) FROM generations g
  WHERE g.status = 'failed' AND g.created_at > now() - (hours_back || ' hours')::interval
  GROUP BY g.model_id ORDER BY 2 DESC, 1;
END; $$ LANGUAGE plpgsql;"""


def texts(rows):
    return [[None if v is None else str(v) for v in row] for row in rows]


def here(place, sql):
    return texts(place.sql(sql))


def ask_all(place, pg, when, snapshot):
    """Each question to both; `snapshot` is a copy of the box as it was when the mirror was last written."""
    for name, (there, mine) in QUESTIONS.items():
        mine = (mine or there).replace("{day}", DAY[1])
        got = list(pg.copy(there.replace("{day}", DAY[0])))
        db = sqlite3.connect(snapshot)
        try:
            expected = texts(db.execute(mine).fetchall())
        finally:
            db.close()
        tap.ok(got == expected, f"{when}, {name}: {len(expected)} rows",
               lambda: "\n".join(f"{a}\n{b}" for a, b in itertools.zip_longest(got, expected) if a != b)[:2000])
        if name not in MAY_BE_EMPTY:
            tap.ok(expected, f"{name} has something to tell")


def copy_of(place, name):
    source, target = sqlite3.connect(place.database), sqlite3.connect(place.path(name))
    with target:
        source.backup(target)
    source.close()
    target.close()
    return place.path(name)


def make(place, pg):
    rng = random.Random(7)
    work.configure(place, pg.url, page=100, more="[model echo-2]\nprovider = echo\n")
    tap.result(place.run("sync", "init"), 0, "sync init")
    work.people(place)
    for i in range(2):
        work.submit_batch(place, rng, f"b{i}", 150, delay_ms=5)
    for i in range(24):
        place.submit(f"single {i}", "--user", ("ann", "bob")[i % 2], "--session", f"session-{i % 5 + 1}", "--model",
                     ("echo", "echo-2")[i % 3 == 0], *(["--param", "fail=InvalidRequestError"] if i % 4 == 0 else []))


def stuck_by_clocks(pg):
    """Of one live generation of a box whose clock is wrong, and which tells of it once an hour."""
    stuck = lambda: pg.value("SELECT string_agg(regexp_replace(why, '[0-9]+', 'N'), ', ') FROM stuck_generations")
    move = lambda by: pg.psql(f"SET genrun.writer = 'sync'; UPDATE generations SET last_heartbeat = last_heartbeat + interval '{by}', "
                              f"last_progress = last_progress + interval '{by}' WHERE status = 'processing'; "
                              f"UPDATE genrun_nodes SET told_at = told_at + interval '{by}'")
    pg.psql("UPDATE genrun_nodes SET every_ms = 3600000, synced_at = now(); "
            "UPDATE genrun_nodes n SET told_at = (SELECT max(last_heartbeat) FROM generations WHERE status = 'processing')")
    tap.equal(stuck(), None, "what lives is not stuck")
    move("-1 day")
    tap.equal(stuck(), None, "nor with a clock that is a day behind")
    move("2 days")
    tap.equal(stuck(), None, "or ahead")
    pg.psql("UPDATE genrun_nodes SET synced_at = synced_at - interval '50 minutes'")
    tap.equal(stuck(), None, "nor before the box is to tell of it again")
    pg.psql("UPDATE genrun_nodes SET synced_at = synced_at - interval '1 hour'")
    tap.equal(stuck(), "no heartbeat for N s", "but when it does not")
    move("-1 day")


def test_while_and_after(place):
    with Postgres() as pg:
        make(place, pg)
        runner = place.start_runner("--no-http")
        # While it is pushed the mirror is behind, and never wrong: what it has failed has failed here.
        seen, batches = 0, 0
        while True:
            working = place.value("SELECT queued + processing FROM totals")
            failed = pg.rows("SELECT id, error_message, error_type FROM failed_generations_view")
            mine = {r[0]: r[1:] for r in texts(place.sql("SELECT id, error_message, error_type FROM failed_generations_view"))}
            wrong = [r for r in failed if mine.get(r[0]) != r[1:]]
            seen += len(failed)
            if wrong:
                tap.equal(wrong, [], "what failed there has failed here")
                break
            if not working and (seen or batches == 20):
                break
            if not working:  # all was done before the first of it was there
                batches += 1
                work.submit_batch(place, random.Random(batches), f"more {batches}", 150, delay_ms=5)
        place.submit("stays", "--param", "delay=1h", "--user", "ann")
        wait_until(lambda: place.value("SELECT count(*) FROM generations WHERE status = 'processing'"), 10, "its start")
        # A heartbeat tells the step that lasts; until then it could change between two questions.
        wait_until(lambda: pg.value("SELECT count(*) FROM generations WHERE status = 'processing' AND last_step = 'provider:wait'") == "1", 90,
                   "its coming there, and its first heartbeat")
        wait_until(lambda: place.run("sync", "status", "--json").json["behind"] == 0, 60, "the push")
        tap.ok(seen > 0, "failures were seen while it was pushed")
        ask_all(place, pg, "while a runner works", copy_of(place, "during.db"))
        runner.kill()
        stuck_by_clocks(pg)
        tap.result(place.run("sync", "push"), 0, "a push after the runner was killed")
        pg.rows("SELECT pg_sleep(1)")
        ask_all(place, pg, "after it was killed", place.database)


def test_pasted(place):
    with Postgres() as pg:
        make(place, pg)
        place.run("run", "--no-http", "--drain", timeout_s=60, env={"GENRUN_SYNC_URL": None})
        tap.result(place.run("sync", "push"), 0, "a push")
        before = pg.value("SELECT count(*) FROM failed_generations_view")
        tap.equal(pg.psql(VIEW), "", "a view of the same shape can be pasted over ours")
        tap.equal(pg.value("SELECT count(*) FROM failed_generations_view"), before, "and tells the same")
        tap.equal(pg.psql(FUNCTION), "", "so can the function")
        tap.equal(pg.rows("SELECT model_id, failure_count::text, affected_users::text FROM get_failure_stats(24)"),
                  here(place, "SELECT model_id, failure_count, affected_users FROM failure_stats"), "and tells the same")
        pg.psql("CREATE INDEX mine ON generations (tier); ALTER TABLE generations ADD COLUMN mine text;"
                "UPDATE generations SET mine = 'seen' WHERE status = 'failed'")
        place.submit("one more")
        place.run("run", "--no-http", "--drain", timeout_s=60, env={"GENRUN_SYNC_URL": None})
        tap.result(place.run("sync", "push"), 0, "a column of their own is in nobody's way")
        tap.equal(pg.value("SELECT count(*) FROM generations WHERE mine = 'seen'"), before, "and keeps its value")
        tap.result(place.run("sync", "init"), 0, "sync init again")
        tap.equal(pg.value("SELECT count(*) FROM genrun_orders"), "0", "and none of it was an order")


# Each statement is explained as it runs, and what an index can serve is served by one.
EXPLAINED = {"session_preload_libraries": "auto_explain", "auto_explain.log_min_duration": "0",
             "auto_explain.log_nested_statements": "on", "enable_seqscan": "off"}
NODE = re.compile(r"(Seq Scan|(?:Bitmap )?(?:Index|Heap)(?: Only)? Scan(?: Backward)?)(?: using (\w+))? on (generations|outputs|batch_jobs|logs|genrun_orders)\b")


def plans_of(log):
    """[(statement, its plan)] of auto_explain."""
    found = re.findall(r"duration: [\d.]+ ms  plan:\n\tQuery Text: ((?:.*\n)(?:\t.*\n)*)", log)
    plans = []
    for text in found:
        lines = text.replace("\t", "").split("\n")
        at = next(i for i, line in enumerate(lines) if "(cost=" in line)
        plans.append((" ".join(lines[:at]), lines[at:]))
    return plans


def walks(plan):
    """Nodes that read a table from end to end: no condition of theirs is one of an index."""
    found = []
    for i, line in enumerate(plan):
        node = NODE.search(line)
        below = list(itertools.takewhile(lambda l: "(cost=" not in l, plan[i + 1:]))
        if node and (node[1] == "Seq Scan" or not re.search(r"(Index|Recheck) Cond:", "".join(below))):
            found.append(line.strip())
        if node and node[3] == "outputs" and not re.search(r"Cond:.*\b(id|generation_id)\b", "".join(below)):
            found.append("by its box alone: " + line.strip())
    return found


def test_plans(place):
    """No statement of the sync grows with the mirror: each by its index."""
    with Postgres(settings=EXPLAINED) as pg:
        work.configure(place, pg.url, page=200)
        place.env["GENRUN_SYNC_DELETES"] = "yes"
        tap.result(place.run("sync", "init"), 0, "sync init")
        work.people(place)
        rng = random.Random(8)
        work.submit_batch(place, rng, "b", 400, delay_ms=0)
        place.run("run", "--no-http", "--drain", timeout_s=60, env={"GENRUN_SYNC_URL": None})
        singles = [place.submit(f"p{i}", "--delay", "1h") for i in range(8)]
        tap.result(place.run("sync", "push"), 0, "a push of all")
        pg.psql("ANALYZE; ALTER TABLE generations ADD CHECK (topic <> 'bad')")
        before = len(plans_of(pg.log))
        work.submit_batch(place, rng, "c", 30, delay_ms=0)
        place.submit("bad", "--delay", "1h")
        place.sql("INSERT INTO generations (prompt, model_id, topic) VALUES ('x', 'echo', 'bad')")
        place.run("run", "--no-http", "--drain", timeout_s=60, env={"GENRUN_SYNC_URL": None})
        pg.psql(f"UPDATE generations SET status='cancelled' WHERE id='{singles[0]}'; UPDATE generations SET priority=9 WHERE id='{singles[1]}'")
        for id in singles[1:3]:
            place.run("cancel", id)
            place.sql("DELETE FROM generations WHERE id = ?", id)
        pg.psql(f"UPDATE generations SET status='queued' WHERE id='{singles[1]}'")
        place.env["GENRUN_SYNC_DELETES"] = "no"
        place.run("sync", "push")
        place.env["GENRUN_SYNC_DELETES"] = "yes"
        place.run("sync", "push")
        place.run("cancel", singles[4])
        place.sql("DELETE FROM generations WHERE id = ?", singles[4])
        tap.result(place.run("sync", "push"), 0, "a push of changes, orders, deletes and what is refused")
        tap.result(place.run("sync", "status"), 0, "sync status")
        plans = [(s, p) for s, p in plans_of(pg.log)[before:] if "EXPLAIN" not in s]
        for what in ("INSERT INTO generations", "INSERT INTO outputs", "INSERT INTO batch_jobs", "INSERT INTO logs", "FROM genrun_orders WHERE node",
                     "UPDATE genrun_orders", "genrun_set_back", "DELETE FROM generations", "DELETE FROM outputs", "UPDATE genrun_nodes",
                     "INSERT INTO public.genrun_orders", "UPDATE generations SET status = now"):
            tap.ok(any(what in s for s, _ in plans), f"there is the plan of {what}")
        bad = {s[:160]: w for s, p in plans if (w := walks(p))}
        tap.ok(not bad, f"none of {len(plans)} statements reads a table from end to end", lambda: "\n".join(f"{s}\n    {w}" for s, w in bad.items()))
        tap.ok(walks(["Seq Scan on generations g  (cost=0.0)"]) and walks(["Index Scan using logs_pkey on logs  (cost=1)", "  Filter: x"]),
               "and one that did would be found")


tap.main(globals())
