#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Each report beside the same question in plain SQL, on generated rows: with ties in time, generations without a user,
users and sessions without a name, renamed ones, a project without a session, dismissed ones, old ones and items of batch
jobs."""
import os
import random
import re
import sqlite3
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import shell
import tap
from genrun import wait_until

TYPES = ["RateLimitError", "AuthenticationError", "QuotaError", "TimeoutError", "NetworkError", "ModelGenerationError"]
HOUR = 3600000
ROWS = 700


def fill(place, seed):
    """ROWS generations in all states, most of them failed within 3 days; the times of their ends come in few values."""
    rng = random.Random(seed)
    place.submit("x", "--model", "echo")
    shell.submit_batch(place, 40, "--user", "u1")
    db = sqlite3.connect(place.database, timeout=60)
    now = db.execute(f"SELECT {shell.NOW}").fetchone()[0]
    with db:
        for _ in range(ROWS):
            user, session = rng.choice(["u1", "u2", "u3", "nameless", None]), rng.choice(["s1", "s2", "nowhere", None])
            db.execute("INSERT INTO generations (prompt, model_id, user_id, session_id) VALUES (?, ?, ?, ?)",
                       (f"prompt {rng.random()} " + "y" * rng.choice([0, 80]), rng.choice(["a", "b", "c"]), user, session))
        for seq, in db.execute("SELECT seq FROM generation ORDER BY seq").fetchall():
            state = rng.choices(["failed", "queued", "completed", "cancelled"], [6, 1, 1, 1])[0]
            if state == "cancelled":
                db.execute("UPDATE generations SET status='cancelled' WHERE seq=?", (seq,))
            elif state != "queued":
                db.execute(shell.CLAIM + "seq=?", (seq,))
                db.execute((shell.FAIL if state == "failed" else shell.COMPLETE) + "seq=?", (seq,))
        # Ends: 40 values of time within three days, so that many are the same.
        times = [now - rng.randrange(1000, 72 * HOUR) for _ in range(40)]
        for seq, in db.execute("SELECT seq FROM generation WHERE status='failed'").fetchall():
            db.execute("UPDATE generation SET completed_at=?, error_type=?, error_message=? WHERE seq=?",
                       (rng.choice(times), rng.choice(TYPES), f"reason {rng.randrange(9)}", seq))
        db.execute("UPDATE generations SET dismissed_at=1 WHERE status='failed' AND seq % 11 = 3")
    db.close()
    for args in (["user", "set", "u1", "--name", "Old name", "--username", "ann"], ["user", "set", "u1", "--name", "Ann"],
                 ["user", "set", "u2", "--email", "bob@example.org"], ["user", "set", "u3", "--name", "Ann"],
                 ["project", "set", "p1", "--name", "Site"], ["project", "set", "p2", "--name", "Other"],
                 ["session", "set", "s1", "--name", "Monday", "--project", "p1"], ["session", "set", "s1", "--name", "Tuesday"],
                 ["session", "set", "s2", "--name", "Alone"]):
        if place.run(*args).code != 0:
            raise RuntimeError(f"{args} failed")
    return now


def camel(name):
    return re.sub(r"_(\w)", lambda m: m.group(1).upper(), name)


def plain(place, sql, *values):
    """Rows of plain SQL as dictionaries with the names of JSON."""
    db = sqlite3.connect(f"file:{place.database}?mode=ro", uri=True, timeout=60)
    try:
        cursor = db.execute(sql, values)
        names = [camel(d[0]) for d in cursor.description]
        return [dict(zip(names, row)) for row in cursor]
    finally:
        db.close()


ISO = "strftime('%Y-%m-%dT%H:%M:%fZ', {} / 1000.0, 'unixepoch')"
# The failures as a person would write them down: no view, nothing of the program.
FAILED = ("FROM generation g LEFT JOIN profiles p ON p.id = g.user_id LEFT JOIN sessions s ON s.id = g.session_id"
          " LEFT JOIN projects j ON j.id = s.project_id WHERE g.status = 'failed' AND g.completed_at >= {since}")
COLUMNS = ("g.id, g.user_id, g.model_id, g.session_id, g.error_type, g.error_message, p.display_name AS user_display_name,"
           " p.username, p.email, s.name AS session_name, j.name AS project_name, " + ISO.format("g.completed_at") + " AS completed_at,"
           " (SELECT prompt FROM generation_input i WHERE i.seq = g.seq) AS prompt")
FILTERS = [([], ""), (["--user", "u1"], "g.user_id = 'u1'"), (["--user", "u2", "--type", "QuotaError"], "g.user_id = 'u2' AND g.error_type = 'QuotaError'"),
           (["--model", "b"], "g.model_id = 'b'"), (["--session", "s1"], "g.session_id = 's1'"), (["--session", "nowhere", "--model", "a"], "g.session_id = 'nowhere' AND g.model_id = 'a'"),
           (["--type", "RateLimitError"], "g.error_type = 'RateLimitError'"), (["--user", "nobody"], "g.user_id = 'nobody'")]
# As the command lists them: the newest first. Of those that ended at once the newest row first.
ORDER = " ORDER BY g.completed_at DESC, g.seq DESC"


def conditions(where, all_of_them):
    return (f" AND {where}" if where else "") + ("" if all_of_them else " AND g.dismissed_at IS NULL")


def hours_ago(place, hours):
    return place.value(f"SELECT {shell.NOW}") - hours * HOUR


def test_failures(place):
    fill(place, 1)
    for seen, (args, where) in enumerate(FILTERS):
        for hours, extra in ((24, []), (48, ["--since", "48h"]), (24 * 30, ["--since", "30d", "--all"])):
            r = place.run("failures", "--json", "--limit", "1000", *args, *extra)
            # The window moves by the milliseconds between the two: no end lies that close to its edge.
            want = plain(place, f"SELECT {COLUMNS} {FAILED}{conditions(where, '--all' in extra)}{ORDER}".format(since=hours_ago(place, hours)))
            got = [{k: o[k] for k in want[0]} for o in r.jsonl] if want else r.jsonl
            tap.equal(got, want, f"failures {' '.join(args + extra)}: {len(want)} as plain SQL has them")
            if seen == 0:
                tap.ok(len(want) > 100 or hours == 24, "there are many", len(want))
    first = place.run("failures", "--json", "--since", "3d").jsonl
    tap.equal(len(first), 20, "20 of them without --limit")
    tap.equal(first, place.run("failures", "--json", "--since", "3d", "--limit", "500").jsonl[:20], "the newest 20")
    many = plain(place, "SELECT count(*) AS n, count(DISTINCT completed_at) AS times FROM generation WHERE status='failed'")[0]
    tap.ok(many["n"] > 5 * many["times"], "there were ties", many)


def test_pages(place):
    """More than the command takes at once, all ended in the same millisecond."""
    place.submit("x", "--model", "echo")
    shell.submit_batch(place, 900)
    tap.equal(place.run("fail", "--all", "--reason", "because", "--yes").code, 0, "901 fail")
    place.sql("UPDATE generation SET completed_at=(SELECT max(completed_at) FROM generation)")
    ids = [o["id"] for o in place.run("failures", "--json", "--limit", "5000").jsonl]
    tap.equal(ids, [i for (i,) in place.sql("SELECT id FROM generation ORDER BY seq DESC")], "each once, in order")
    tap.equal([o["id"] for o in place.run("failures", "--json", "--limit", "300").jsonl], ids[:300], "or so many of them")


GROUPS = {
    "model": ("g.model_id AS model_id", "count(DISTINCT g.user_id) AS affected_users", "failure_count DESC, g.model_id"),
    "user": ("g.user_id AS user_id, p.display_name AS user_display_name, p.username, p.email", "count(DISTINCT g.model_id) AS affected_models",
             "failure_count DESC, g.user_id"),
    "type": ("g.error_type AS error_type", "count(DISTINCT g.user_id) AS affected_users, count(DISTINCT g.model_id) AS affected_models",
             "failure_count DESC, g.error_type"),
    "hour": (ISO.format("(g.completed_at / 3600000 * 3600000)") + " AS hour_at",
             "count(DISTINCT g.user_id) AS affected_users, count(DISTINCT g.model_id) AS affected_models", "hour_at DESC"),
}


def test_groups(place):
    fill(place, 2)
    for by, (key, counts, order) in GROUPS.items():
        for args, where in FILTERS:
            for hours, extra in ((24, []), (24 * 30, ["--since", "30d", "--all"])):
                sql = (f"SELECT {key}, count(*) AS failure_count, {counts}, " + ISO.format("max(g.completed_at)") + " AS latest_failure "
                       + FAILED + conditions(where, "--all" in extra) + f" GROUP BY 1 ORDER BY {order}").format(since=hours_ago(place, hours))
                got = place.run("failures", "--json", "--by", by, *args, *extra).jsonl
                tap.equal(got, plain(place, sql), f"failures --by {by} {' '.join(args + extra)}: {len(got)} as plain SQL has them")
    got = place.run("failures", "--by", "hour", "--since", "3d", "--json").jsonl
    tap.equal(place.run("failures", "--by", "hour", "--since", "3d", "--json", "--limit", "3").jsonl, got[:3], "--limit: the newest hours")
    tap.ok(any(o["userId"] is None for o in place.run("failures", "--by", "user", "--json", "--since", "3d").jsonl), "those of nobody are a group")


def test_views(place):
    fill(place, 3)
    want = plain(place, "SELECT g.model_id, count(*) AS failure_count, count(DISTINCT g.user_id) AS affected_users, max(g.completed_at) AS latest_failure"
                        " FROM generation g WHERE g.status='failed' AND g.dismissed_at IS NULL AND g.completed_at >= ?"
                        " GROUP BY 1 ORDER BY 2 DESC, 1", hours_ago(place, 24))
    tap.equal(plain(place, "SELECT * FROM failure_stats"), want, "failure_stats")
    by_command = [{**o, "latestFailure": None} for o in place.run("failures", "--by", "model", "--json").jsonl]
    tap.equal(by_command, [{**o, "latestFailure": None} for o in want], "as failures --by model has it")
    names = ("id, user_id, model_id, prompt, status, created_at, error_message, error_type, user_display_name, username, session_name, project_name")
    want = plain(place, "SELECT g.id, g.user_id, g.model_id, i.prompt, g.status, g.created_at, g.error_message, g.error_type,"
                        " p.display_name AS user_display_name, p.username, s.name AS session_name, j.name AS project_name"
                        " FROM generation g JOIN generation_input i ON i.seq=g.seq LEFT JOIN profiles p ON p.id=g.user_id"
                        " LEFT JOIN sessions s ON s.id=g.session_id LEFT JOIN projects j ON j.id=s.project_id"
                        " WHERE g.status='failed' AND g.dismissed_at IS NULL ORDER BY g.id")
    tap.equal(plain(place, f"SELECT {names} FROM failed_generations_view ORDER BY id"), want, f"failed_generations_view: {len(want)} rows")
    tap.ok({"Tuesday", "Alone", None} <= {o["sessionName"] for o in want} and "Monday" not in {o["sessionName"] for o in want}, "with the names of now")


def test_stuck(place):
    """stuck and the view beside the definition, with signs of life on either side of each limit."""
    rng = random.Random(4)
    place.configure("[scheduler]\nheartbeat_timeout = 1h\n")
    place.submit("x", "--model", "echo")
    # A runner that is up and does nothing but its own.
    holder = place.start("submit", "own", "--model", "echo", "--param", "delay=60s", "--wait")
    wait_until(lambda: place.value("SELECT count(*) FROM generations WHERE status='processing'"), 10, "its start")
    db = sqlite3.connect(place.database, timeout=60)
    now = db.execute(f"SELECT {shell.NOW}").fetchone()[0]
    with db:
        for i in range(80):
            db.execute("INSERT INTO generations (prompt, model_id, user_id) VALUES (?, ?, ?)", (f"p{i} " + "z" * 60, rng.choice("ab"), rng.choice(["u1", None])))
        db.execute(shell.CLAIM + "status='queued' AND seq > 2 AND seq < 73")
        for seq in range(3, 73):
            db.execute("UPDATE generation SET runner_seq=(SELECT max(seq) FROM runners) - ?, started_at=?, dismissed_at=? WHERE seq=?",
                       (rng.choice([1, 0, 0, 0]), now - rng.choice([60000, 1800000, 3000000, 12000000, 240000000]), rng.choice([None] * 5 + [7]), seq))
            if rng.random() < 0.7:
                db.execute("INSERT INTO generation_live (seq, heartbeat_at, progress_at, progress_limit_ms, last_step) VALUES (?, ?, ?, ?, 'provider:stream')",
                           (seq, now - rng.choice([0, 1200000, 5400000]), now - rng.choice([0, 2400000]), rng.choice([None, 1800000, 5400000])))
    db.close()
    want = plain(place, f"""
        SELECT g.id, CASE WHEN g.runner_seq <> (SELECT max(seq) FROM runners) THEN 'its runner is gone'
            WHEN {shell.NOW} - coalesce(l.heartbeat_at, g.started_at) > 3600000 THEN 'no heartbeat'
            WHEN {shell.NOW} - l.progress_at > l.progress_limit_ms THEN 'no progress'
            WHEN {shell.NOW} - g.started_at > 6000000 THEN 'slow' END AS why
        FROM generation g LEFT JOIN generation_live l ON l.seq = g.seq WHERE g.status='processing' AND g.dismissed_at IS NULL""")
    tap.equal({o["why"] for o in want}, {"its runner is gone", "no heartbeat", "no progress", "slow", None}, "there is one of each kind")
    stuck = {o["id"]: o["why"] for o in want if o["why"] not in (None, "slow")}
    slow = {o["id"] for o in want if o["why"] == "slow"}
    rows = place.run("stuck", "--json", "--older-than", "100m").jsonl
    tap.equal({o["id"]: re.sub(r" for \d+ s$", "", o["why"]) for o in rows if not o["slow"]}, stuck, f"stuck: {len(stuck)} as plain SQL has them, with the reason")
    tap.equal({o["id"] for o in rows if o["slow"]}, slow, f"and {len(slow)} slow ones")
    keys = [(o["slow"], o["startedAt"], o["id"]) for o in rows]
    tap.equal(keys, sorted(keys), "the longest running first, slow ones behind")
    tap.equal({i for (i,) in place.sql("SELECT id FROM stuck_generations")}, set(stuck), "the view has the same")
    tap.equal({o["id"] for o in place.run("list", "--status", "stuck", "--json", "--limit", "100").jsonl}, set(stuck), "and so has the list")
    tap.equal(place.run("stats", "--json").json["stuck"], len(stuck), "and stats")
    holder.kill()
    rest = set(i for (i,) in place.sql("SELECT id FROM generations WHERE status='processing' AND dismissed_at IS NULL"))
    tap.equal({o["why"] for o in place.run("stuck", "--json").jsonl}, {"its runner is gone"}, "when the runner has died")
    tap.equal({i for (i,) in place.sql("SELECT id FROM stuck_generations")}, rest, "all that is processing is stuck, in plain SQL, too")


tap.main(globals())
