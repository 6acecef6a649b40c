#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The views that reports are written on: the promised columns, and what they say."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import shell
import tap

# In the promised order; a view may have more after them only where its name is in MAY_HAVE_MORE.
COLUMNS = {
    "generations": "id status prompt model_id parameters user_id session_id batch_job_id custom_id topic tier template_id client_id"
                   " priority attempts starts error_message last_step last_heartbeat last_progress created_at started_at"
                   " completed_at dismissed_at input_tokens output_tokens cost",
    "outputs": "id generation_id idx mime content file bytes sha256 partial created_at",
    "batch_jobs": "id name status user_id model_id total_items completed_items successful_items failed_items cancelled_items"
                  " queued_items processing_items concurrency on_error estimated_cost actual_cost max_cost paused_reason"
                  " created_at started_at completed_at last_activity_at",
    "batch_items": "id batch_job_id item_index custom_id status topic tier parameters conversation_id error_message started_at completed_at",
    "logs": "id created_at level event generation_id batch_job_id attempt message data",
    "batch_job_logs": "id created_at level event generation_id batch_job_id attempt message data",
    "locks": "name user_id owner acquired_at expires_at reason",
    "profiles": "id display_name username email",
    "sessions": "id name project_id user_id",
    "projects": "id name user_id",
    "failed_generations_view": "id user_id model_id prompt status created_at error_message error_type user_display_name username"
                               " session_name project_name",
    "failure_stats": "model_id failure_count affected_users latest_failure",
    "recent_generations": "id status prompt_preview model_id created_at age_seconds output_count",
    "stuck_generations": "id status prompt_preview model_id created_at age_minutes error_message output_count last_step last_heartbeat why",
}
EXACT = {"outputs", "batch_items", "logs", "batch_job_logs", "locks", "profiles", "sessions", "projects", "failure_stats", "recent_generations"}


def test_columns(place):
    place.submit("x", "--model", "echo")
    for name, text in COLUMNS.items():
        promised = text.split()
        columns = [c for (c,) in place.sql(f"SELECT name FROM pragma_table_info('{name}') ORDER BY cid")]
        if name in EXACT:
            tap.equal(columns, promised, f"{name}: exactly the promised columns")
        else:
            kept = [c for c in columns if c in promised]
            tap.equal(kept if name not in ("generations", "batch_jobs") else sorted(kept),
                      promised if name not in ("generations", "batch_jobs") else sorted(promised), f"{name}: the promised columns")
        r = shell.run(place, f"SELECT * FROM {name}")
        tap.ok(r.code == 0 and r.err == "", f"{name}: can be read", r)
    for name in ("templates", "api_keys", "cursors", "runners"):
        tap.ok(shell.run(place, f"SELECT count(*) FROM {name}").code == 0, f"{name} is there")


def test_people(place):
    place.submit("x", "--model", "echo")
    shell.done(place, "INSERT INTO profiles VALUES ('u1', 'Ann A.', 'ann', 'ann@example.org')", "a profile")
    shell.done(place, "INSERT INTO projects VALUES ('p1', 'Site', 'u1')", "a project")
    shell.done(place, "INSERT INTO sessions VALUES ('s1', 'Monday', 'p1', 'u1')", "a session")
    a = place.submit("the whole prompt", "--model", "echo", "--user", "u1", "--session", "s1")
    b = place.submit("y", "--model", "echo", "--user", "u2")
    c = place.submit("z", "--model", "echo", "--user", "u1")
    for id in (a, b, c):
        shell.done(place, f"UPDATE generations SET status='failed', error_message='bad {id}' WHERE id='{id}'", "one fails")
    got = place.sql("SELECT id, user_id, model_id, prompt, status, error_message, error_type, user_display_name, username, session_name,"
                    " project_name FROM failed_generations_view WHERE id IN (?, ?) ORDER BY created_at", a, b)
    tap.equal(got, [(a, "u1", "echo", "the whole prompt", "failed", f"bad {a}", "OperatorError", "Ann A.", "ann", "Monday", "Site"),
                    (b, "u2", "echo", "y", "failed", f"bad {b}", "OperatorError", None, None, None, None)], "who, what and where, as far as known")
    latest = place.value("SELECT max(completed_at) FROM generations")
    tap.equal(place.sql("SELECT * FROM failure_stats"), [("echo", 3, 2, latest)], "failures by model, with the users they met")
    place.sql("UPDATE generation SET completed_at = completed_at - 86400000 - 5000 WHERE id=?", b)
    tap.equal(place.sql("SELECT failure_count, affected_users FROM failure_stats"), [(2, 1)], "of the last 24 hours")
    place.sql("UPDATE generations SET dismissed_at=1 WHERE id=?", a)
    tap.equal(place.sql("SELECT failure_count FROM failure_stats"), [(1,)], "without dismissed ones")
    tap.equal(place.value("SELECT count(*) FROM failed_generations_view"), 2, "in the list, too")


def test_recent(place):
    ids = [place.submit(f"{i} " + "long " * 20, "--model", "echo") for i in range(22)]
    shell.submit_batch(place, 1)
    got = place.sql("SELECT id, status, prompt_preview, model_id, age_seconds, output_count FROM recent_generations")
    tap.equal(len(got), 20, "the 20 newest")
    tap.equal([g[0] for g in got[1:]], list(reversed(ids))[:19], "newest first")
    tap.equal((got[1][1:4], got[1][5], 0 <= got[1][4] < 60), (("queued", ("21 " + "long " * 20)[:30], "echo"), 0, True), "as promised")
    place.sql("INSERT INTO output (key, mime, content, bytes, created_at) SELECT seq*1024 + 1, 'text/plain', 'x', 1, 1 FROM generation")
    place.sql("INSERT INTO output (key, mime, content, bytes, created_at) SELECT seq*1024, 'text/plain', 'y', 1, 1 FROM generation WHERE id=?", ids[21])
    tap.equal(place.sql("SELECT output_count FROM recent_generations WHERE id=?", ids[21]), [(2,)], "with their outputs counted")
    tap.equal(place.sql("SELECT idx, content, id % 1024 FROM outputs WHERE generation_id=? ORDER BY idx", ids[21]), [(0, "y", 0), (1, "x", 1)], "outputs by generation")
    tap.equal(place.value("SELECT count(*) FROM outputs"), 24, "all outputs")


def test_stuck(place):
    ids = [place.submit(f"prompt {i} " + "x" * 60, "--model", "echo") for i in range(7)]
    now = place.value(f"SELECT {shell.NOW}")
    place.sql("INSERT INTO runners (seq, id, pid, boot_id, host, version, heartbeat_timeout_ms, started_at, heartbeat_at, stopped_at) "
              "VALUES (1, 'old', 1, 'b', 'h', 'v', 600000, 1, 1, 2), (2, 'now', 2, 'b', 'h', 'v', 600000, 1, 1, NULL)")
    for id in ids[:6]:
        place.sql(shell.CLAIM + "id=?", id)
    place.sql("UPDATE generation SET runner_seq=2 WHERE id<>?", ids[0])
    live = "INSERT INTO generation_live (seq, heartbeat_at, progress_at, progress_limit_ms, last_step) SELECT seq, ?, ?, ?, 'provider:stream' FROM generation WHERE id=?"
    place.sql(live, now - 601000, now - 601000, None, ids[1])
    place.sql(live, now, now - 601000, 600000, ids[2])
    place.sql(live, now, now - 601000, None, ids[3])
    place.sql(live, now, now - 1000, 600000, ids[4])
    place.sql("UPDATE generation SET started_at=? WHERE id=?", now - 1000000, ids[5])
    got = dict(place.sql("SELECT id, why FROM stuck_generations"))
    tap.equal(set(got), {ids[0], ids[1], ids[2], ids[5]}, "stuck: another runner's, without heartbeat, without progress, never seen since it started")
    tap.equal(got[ids[0]], "its runner is gone", "says which: the runner")
    tap.matches(got[ids[1]], r"^no heartbeat for 6\d\d s$", "the heartbeat")
    tap.matches(got[ids[2]], r"^no progress for 6\d\d s$", "the progress")
    r = place.sql("SELECT prompt_preview, status, age_minutes, output_count, last_step, error_message FROM stuck_generations WHERE id=?", ids[2])
    tap.equal(r, [(("prompt 2 " + "x" * 60)[:50], "processing", 0, 0, "provider:stream", None)], "its columns")
    place.sql("UPDATE generations SET dismissed_at=1 WHERE id=?", ids[2])
    tap.equal(place.value("SELECT count(*) FROM stuck_generations"), 3, "not what is dismissed")
    shell.done(place, "UPDATE generations SET status='queued' WHERE id IN (SELECT id FROM stuck_generations)", "typed recovery of all that is stuck")
    tap.equal(place.value("SELECT count(*) FROM stuck_generations"), 0, "none is left")
    place.sql("UPDATE runners SET stopped_at=3")
    tap.equal(place.value("SELECT count(*) FROM stuck_generations"), 2, "all that is processing, when its runner ended")
    place.sql("DELETE FROM runners")
    tap.equal(place.value("SELECT count(*) FROM stuck_generations"), 2, "or there never was one")


def test_logs(place):
    singles, items, job = shell.zoo(place)
    tap.equal(place.value("SELECT count(*) FROM logs"), place.value("SELECT count(*) FROM event"), "each event is in the log once")
    tap.equal(place.value("SELECT count(*) FROM logs WHERE batch_job_id=?", job), place.value("SELECT count(*) FROM batch_job_logs"), "those of batches")
    tap.equal(place.sql("SELECT event, attempt, level, message, json_extract(data, '$.type') FROM logs WHERE generation_id=? ORDER BY id", singles["failed"]),
              [("generation.queued", None, "info", None, None), ("generation.processing", 1, "info", None, None),
               ("generation.failed", 1, "error", "the model said no", "ModelGenerationError")], "the life of one")
    tap.equal(place.sql("SELECT DISTINCT batch_job_id FROM logs WHERE generation_id=?", items["failed"]), [(job,)], "an item's log names its batch")
    place.sql("DELETE FROM generations WHERE id IN (?, ?)", singles["failed"], items["failed"])
    tap.equal(place.value("SELECT count(*) FROM logs"), place.value("SELECT count(*) FROM event"), "each event once, also of deleted rows")
    tap.equal(place.value("SELECT count(*) FROM logs WHERE generation_id=?", singles["failed"]), 3, "by the name of a deleted one")
    tap.equal(place.value("SELECT count(*) FROM batch_job_logs WHERE generation_id=?", items["failed"]), 2, "by a deleted item")


tap.main(globals())
