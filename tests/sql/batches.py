#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Batch jobs by typed SQL: states follow the items, a person pauses, resumes and cancels, limits stop and
budgets pause, counters are right after any sequence."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import shell
import tap

ENDED = "nothing left to run"


def test_states_follow_the_items(place):
    job = shell.submit_batch(place, 3)
    ids = [shell.item(place, job, i) for i in range(3)]
    state = lambda: shell.batch(place, job)["status"]
    tap.equal((state(), shell.batch_events(place, job)), ("queued", ["batch.created"]), "queued: none started; one event for all items")
    place.sql(shell.CLAIM + "id=?", ids[0])
    b = shell.batch(place, job)
    tap.equal((b["status"], b["processing_items"], b["started_at"] is not None), ("processing", 1, True), "the first start")
    place.sql(shell.COMPLETE + "id=?", ids[0])
    shell.bring(place, f"id='{ids[1]}'", "failed")
    tap.equal(state(), "processing", "one still waits")
    shell.done(place, f"UPDATE batch_items SET status='cancelled' WHERE conversation_id='{ids[2]}'", "the last is cancelled by hand")
    b = shell.batch(place, job)
    tap.equal([b[k] for k in ("status", "total_items", "completed_items", "successful_items", "failed_items", "cancelled_items", "queued_items",
                              "processing_items")], ["completed", 3, 2, 1, 1, 1, 0, 0], "completed: all at an end, one succeeded")
    tap.ok(b["completed_at"] is not None and b["completed_at"] == b["last_activity_at"], "its end is stamped", b)
    tap.equal((b["actual_cost"], b["input_tokens"], b["output_tokens"]), (0.25, 3, 5), "what it cost is summed")
    shell.done(place, f"UPDATE generations SET status='queued' WHERE id='{ids[1]}'", "a retried item")
    b = shell.batch(place, job)
    tap.equal((b["status"], b["completed_at"], b["failed_items"]), ("processing", None, 0), "opens it again")
    shell.bring(place, f"id='{ids[1]}'", "completed")
    tap.equal((state(), shell.batch(place, job)["successful_items"]), ("completed", 2), "and it ends again")
    tap.equal(shell.batch_events(place, job), ["batch.created", "batch.processing", "batch.completed", "batch.reopened", "batch.completed"],
              "an event each")

    job = shell.submit_batch(place, 2)
    shell.done(place, f"UPDATE batch_items SET status='failed' WHERE batch_job_id='{job}'", "all items fail")
    tap.equal((state(), place.value("SELECT message FROM logs WHERE event='batch.failed'")), ("failed", "no item succeeded"), "failed: none succeeded")
    job = shell.submit_batch(place, 2)
    shell.done(place, f"UPDATE batch_items SET status='cancelled' WHERE batch_job_id='{job}'", "all items are cancelled")
    tap.equal(state(), "failed", "failed, too")
    tap.equal(shell.drift(place), [], "nothing has drifted")


def test_pause_resume_cancel(place):
    for started in (False, True):
        job = shell.submit_batch(place, 3)
        if started:
            place.sql(shell.CLAIM + "id=?", shell.item(place, job, 0))
        state = lambda: shell.batch(place, job)["status"]
        before = "processing" if started else "queued"
        shell.done(place, f"UPDATE batch_jobs SET status='paused' WHERE id='{job}'", f"pause a {before} one")
        b = shell.batch(place, job)
        tap.equal((b["status"], b["paused_reason"]), ("paused", "paused by hand"), "it says so")
        shell.silent(place, f"UPDATE batch_jobs SET status='paused' WHERE id='{job}'", "pausing it again changes nothing")
        shell.done(place, f"UPDATE batch_jobs SET paused_reason='lunch' WHERE id='{job}'", "another reason")
        tap.equal(shell.batch(place, job)["paused_reason"], "lunch", "is kept")
        if started:
            place.sql(shell.COMPLETE + "id=?", shell.item(place, job, 0))
            tap.equal((state(), shell.batch(place, job)["successful_items"]), ("paused", 1), "what ran finishes")
        shell.done(place, f"UPDATE batch_jobs SET status='{'queued' if started else 'processing'}' WHERE id='{job}'", "resume by either word")
        tap.equal((state(), shell.batch(place, job)["paused_reason"]), (before, None), "it is what it was")
        shell.silent(place, f"UPDATE batch_jobs SET status='{before}' WHERE id='{job}'", "resuming a running one changes nothing")
        other = "queued" if started else "processing"
        shell.refused(place, f"UPDATE batch_jobs SET status='{other}' WHERE id='{job}'", "illegal transition: only a paused batch job can be resumed",
                      f"{before} -> {other}")
        shell.done(place, f"UPDATE batch_jobs SET status='paused', paused_reason='tea' WHERE id='{job}'", "paused with a reason")
        shell.done(place, f"UPDATE batch_jobs SET status='cancelled', paused_reason='wrong file' WHERE id='{job}'", "cancelled with a reason")
        b = shell.batch(place, job)
        tap.ok(b["status"] == "cancelled" and b["status_reason"] == "wrong file" and b["completed_at"] is not None, "stamped and said", b)
        tap.equal(shell.batch_events(place, job)[-3:], ["batch.resumed", "batch.paused", "batch.cancelled"], "an event each")
        tap.equal(place.value("SELECT message FROM logs WHERE event='batch.cancelled' ORDER BY id DESC LIMIT 1"), "wrong file", "with the reason")
        for new in ("queued", "processing", "paused", "completed", "failed"):
            for form in ("batch_jobs", "batch_job"):
                shell.refused(place, f"UPDATE {form} SET status='{new}' WHERE id='{job}'", "illegal transition: a cancelled batch job is final",
                              f"{form}: cancelled -> {new}")


def test_waiting_items_of_a_cancelled_batch(place):
    job = shell.submit_batch(place, 4)
    place.sql("UPDATE batch_jobs SET status='cancelled' WHERE id=?", job)
    tap.equal(place.value("SELECT min(blocked) FROM lane WHERE batch_seq<>0"), 1, "its lanes are closed with that commit")
    shell.done(place, f"UPDATE batch_items SET status='failed', error_message='mine' WHERE batch_job_id='{job}' AND item_index=0",
               "a person's next statement fails one with a text of its own")
    r = place.run("run", "--drain", "--no-http")
    tap.equal(place.sql("SELECT status, error_message FROM batch_items ORDER BY item_index"),
              [("failed", "mine")] + [("cancelled", "batch job cancelled by hand")] * 3, "the runner cancels the rest")
    tap.equal(shell.batch(place, job)["cancelled_items"], 3, f"counted (exit {r.code})")
    tap.equal(shell.drift(place), [], "nothing has drifted")


def test_not_by_hand(place):
    job = shell.submit_batch(place, 3)
    ids = [shell.item(place, job, i) for i in range(3)]
    by_items = "a batch job is completed or failed by its items, not by hand"
    for begin in (None, ids[0]):
        if begin:
            place.sql(shell.CLAIM + "id=?", begin)
        for new in ("completed", "failed"):
            for form in ("batch_jobs", "batch_job"):
                shell.refused(place, f"UPDATE {form} SET status='{new}' WHERE id='{job}'", by_items, f"{form}: -> {new}")
    shell.refused(place, f"UPDATE batch_job SET status='queued' WHERE id='{job}'", "queued or processing by its items, not by hand",
                  "batch_job: processing -> queued")
    place.sql("UPDATE batch_jobs SET status='paused' WHERE id=?", job)
    for new in ("completed", "failed"):
        shell.refused(place, f"UPDATE batch_jobs SET status='{new}' WHERE id='{job}'", by_items, f"paused -> {new}")
    place.sql("UPDATE batch_jobs SET status='processing' WHERE id=?", job)
    for word in ("'done'", "NULL", "''"):
        shell.refused(place, f"UPDATE batch_jobs SET status={word} WHERE id='{job}'", "a batch job is queued, processing, paused, completed, "
                      "failed or cancelled", f"{word} is no state")
    for column, value in (("id", "'x'"), ("name", "'x'"), ("total_items", "1"), ("queued_items", "0"), ("failed_items", "9"), ("max_cost", "9"),
                          ("concurrency", "9"), ("on_error", "'stop'"), ("created_at", "1"), ("completed_at", "1"), ("actual_cost", "1"),
                          ("priority", "5"), ("user_id", "'u'"), ("status_reason", "'x'")):
        shell.refused(place, f"UPDATE batch_jobs SET {column}={value} WHERE id='{job}'", "of a batch job only status", column)
    shell.bring(place, f"id IN ('{ids[1]}', '{ids[2]}')", "failed")
    place.sql(shell.COMPLETE + "id=?", ids[0])
    for new in ("queued", "processing", "paused", "cancelled", "failed"):
        for form in ("batch_jobs", "batch_job"):
            shell.refused(place, f"UPDATE {form} SET status='{new}' WHERE id='{job}'", f"a completed batch job has {ENDED}", f"{form}: completed -> {new}")
    job = shell.submit_batch(place, 1)
    place.sql("UPDATE batch_items SET status='failed' WHERE batch_job_id=?", job)
    for new in ("queued", "processing", "paused", "cancelled", "completed"):
        for form in ("batch_jobs", "batch_job"):
            shell.refused(place, f"UPDATE {form} SET status='{new}' WHERE id='{job}'", f"a failed batch job has {ENDED}", f"{form}: failed -> {new}")
    job = shell.submit_batch(place, 1)
    shell.done(place, f"UPDATE batch_job SET status='cancelled' WHERE id='{job}'", "the table takes a cancel")
    b = shell.batch(place, job)
    tap.ok(b["completed_at"] and b["status_reason"] == "batch job cancelled by hand", "and it is stamped there, too", b)


def test_limits(place):
    job = shell.submit_batch(place, 4, "--on-error", "stop")
    ids = [shell.item(place, job, i) for i in range(4)]
    shell.bring(place, f"id='{ids[0]}'", "completed")
    shell.done(place, f"UPDATE batch_items SET status='failed' WHERE conversation_id='{ids[1]}'", "on_error stop: an item fails")
    b = shell.batch(place, job)
    tap.equal((b["status"], b["status_reason"]), ("processing", "stopped: an item failed and on_error is stop"), "it is stopped, two still wait")
    tap.equal(place.value("SELECT blocked FROM lane WHERE batch_seq<>0"), 16, "no further item starts")
    place.run("run", "--drain", "--no-http")
    b = shell.batch(place, job)
    tap.equal((b["status"], b["successful_items"], b["failed_items"], b["cancelled_items"]), ("failed", 1, 1, 2), "the rest is cancelled, the batch failed")
    tap.equal(shell.batch_events(place, job), ["batch.created", "batch.processing", "batch.stopped", "batch.failed"], "an event each")
    shell.done(place, f"UPDATE batch_items SET status='queued' WHERE conversation_id='{ids[1]}'", "a retry by hand")
    b = shell.batch(place, job)
    tap.equal((b["status"], b["status_reason"]), ("processing", None), "opens a stopped batch again")
    shell.bring(place, f"id='{ids[1]}'", "completed")
    tap.equal(shell.batch(place, job)["status"], "completed", "which can then be completed")

    for count, last in ((3, "cancelled"), (2, "")):
        job = shell.submit_batch(place, count, "--on-error", "stop")
        shell.bring(place, f"id='{shell.item(place, job, 0)}'", "completed")
        shell.bring(place, f"id='{shell.item(place, job, 1)}'", "failed")
        if last:
            shell.done(place, f"UPDATE batch_items SET status='cancelled' WHERE batch_job_id='{job}' AND item_index=2", "what waits is cancelled")
        tap.equal((shell.batch(place, job)["status"], shell.batch_events(place, job)),
                  ("failed", ["batch.created", "batch.processing", "batch.stopped", "batch.failed"]), "stopped by its last item or before: failed once")

    job = shell.submit_batch(place, 5, "--max-failures", "1")
    place.sql("UPDATE batch_items SET status='failed' WHERE batch_job_id=? AND item_index=0", job)
    tap.equal(shell.batch(place, job)["status_reason"], None, "max_failures 1: one is allowed")
    shell.done(place, f"UPDATE batch_items SET status='failed' WHERE batch_job_id='{job}' AND item_index=1", "a second one")
    tap.equal(shell.batch(place, job)["status_reason"], "stopped: more than 1 items failed", "stops it")
    shell.done(place, f"UPDATE batch_items SET status='failed' WHERE batch_job_id='{job}' AND item_index>1", "several rows at once")
    tap.equal(shell.batch_events(place, job).count("batch.stopped"), 1, "it is stopped once")

    job = shell.submit_batch(place, 4, "--max-cost", "0.4")
    ids = [shell.item(place, job, i) for i in range(4)]
    shell.bring(place, f"id='{ids[0]}'", "completed")
    tap.equal(shell.batch(place, job)["status"], "processing", "max_cost 0.4: 0.25 are spent")
    place.sql(shell.CLAIM + "id=?", ids[2])
    shell.bring(place, f"id='{ids[1]}'", "completed")
    b = shell.batch(place, job)
    tap.equal((b["status"], b["paused_reason"], b["actual_cost"]), ("paused", "the budget of 0.4 USD is spent", 0.5), "0.5 are: paused")
    shell.done(place, f"UPDATE batch_jobs SET status='processing' WHERE id='{job}'", "a person goes on all the same")
    place.sql(shell.COMPLETE + "id=?", ids[2])
    tap.equal(shell.batch(place, job)["status"], "processing", "and is not stopped again")
    job = shell.submit_batch(place, 2, "--max-cost", "0.2")
    ids = [shell.item(place, job, i) for i in range(2)]
    place.sql(shell.CLAIM + "id=?", ids[1])
    shell.bring(place, f"id='{ids[0]}'", "completed")
    place.sql("UPDATE generations SET status='queued' WHERE id=?", ids[1])
    tap.equal(shell.batch(place, job)["status"], "paused", "spent while the last one runs: should it go back, it does not start again")
    tap.equal(shell.drift(place), [], "nothing has drifted")


def test_concurrency(place):
    job = shell.submit_batch(place, 3, "--concurrency", "1")
    blocked = lambda: place.value("SELECT blocked FROM lane WHERE batch_seq<>0")
    tap.equal(blocked(), 0, "open")
    place.sql(shell.CLAIM + "id=?", shell.item(place, job, 0))
    tap.equal(blocked(), 4, "at its own limit: closed")
    shell.done(place, "UPDATE batch_items SET status='cancelled' WHERE status='processing'", "the running one is cancelled by hand")
    tap.equal(blocked(), 0, "open again")
    shell.done(place, f"UPDATE generations SET priority=3 WHERE id='{shell.item(place, job, 1)}'", "another priority in a batch")
    shell.done(place, f"UPDATE batch_jobs SET status='paused' WHERE id='{job}'", "pause")
    tap.equal(place.sql("SELECT priority, blocked FROM lane WHERE batch_seq<>0 ORDER BY 1"), [(0, 1), (3, 1)], "both lanes are closed")
    shell.done(place, f"UPDATE generations SET priority=-3 WHERE id='{shell.item(place, job, 2)}'", "a new lane of a paused batch")
    tap.equal(place.sql("SELECT priority, blocked FROM lane WHERE batch_seq<>0 ORDER BY 1"), [(-3, 1), (0, 1), (3, 1)], "is closed, too")


def test_being_filled(place):
    """Rows of a batch that is not open are nobody's business but its writer's."""
    place.submit("x", "--model", "echo")
    job = shell.submit_batch(place, 2)
    # As batch submit leaves it before it opens.
    place.sql("INSERT INTO batch_job (id, writer, created_at) VALUES ('filling', 'boot:1:1', 1)")
    place.sql("INSERT INTO lane (model_id, user_id, batch_seq, priority) VALUES ('echo', '', 2, 0)")
    place.sql("INSERT INTO generation (id, status, lane, model_id, batch_seq, item_index, created_at) SELECT 'f' || value, 'queued', "
              "(SELECT max(id) FROM lane), 'echo', 2, value, 1 FROM json_each('[0,1,2]')")
    place.sql("INSERT INTO generation_input (seq, prompt, parameters) SELECT seq, 'x', '{}' FROM generation WHERE batch_seq=2")
    place.sql("UPDATE batch_count SET queued_items=3 WHERE batch_seq=2")
    tap.equal(shell.drift(place), [], "three rows are in")
    tap.equal(place.sql("SELECT count(*) FROM generations UNION ALL SELECT count(*) FROM batch_jobs UNION ALL SELECT count(*) FROM batch_items"),
              [(3,), (1,), (2,)], "none of them is seen")
    for verb in ("UPDATE", "UPDATE OR IGNORE"):
        shell.refused(place, f"{verb} generation SET status='cancelled', completed_at=1 WHERE batch_seq=2",
                      "the items of a batch job that is still being filled are queued", f"they are not cancelled through the table: {verb}")
    for new in ("paused", "cancelled"):
        shell.refused(place, f"UPDATE batch_job SET status='{new}' WHERE seq=2", "this batch job is still being filled", f"nor is it {new}")
    shell.done(place, "UPDATE generations SET status='cancelled'", "what is seen can be cancelled whole")
    shell.done(place, "DELETE FROM generations", "and deleted whole")
    shell.done(place, f"DELETE FROM batch_jobs WHERE id='{job}'", "with its batch job")
    shell.done(place, "UPDATE batch_job SET opened_at=5 WHERE seq=2", "it is opened")
    tap.equal(place.sql("SELECT queued FROM totals"), [(3,)], "then it counts")


tap.main(globals())
