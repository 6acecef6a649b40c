#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Retention: what has had its time goes, an item only with its whole batch job, nothing before every reader of the log
has passed it; and a clock that was set wrong does not empty the database."""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import shell
import tap
from genrun import wait_until
from shim import Shim

DAY = 86400 * 1000
CONFIG = "[retention]\nevery = {every}\ncompleted_after = {completed}\nfailed_after = {failed}\nlogs_after = {logs}\n"


def configure(place, completed="0", failed="0", logs="0", every="0"):
    place.configure(CONFIG.format(completed=completed, failed=failed, logs=logs, every=every))


def age(place, days, where="1"):
    """Everything of these generations happened so many days ago."""
    ms = days * DAY
    place.sql("DROP TRIGGER IF EXISTS generation_frozen")
    place.sql("DROP TRIGGER IF EXISTS batch_job_frozen")
    place.sql("DROP TRIGGER IF EXISTS event_frozen")
    seqs = f"(SELECT seq FROM generation WHERE {where})"
    place.sql(f"UPDATE generation SET created_at=created_at-{ms}, completed_at=completed_at-{ms} WHERE seq IN {seqs}")
    place.sql(f"UPDATE batch_job SET created_at=created_at-{ms}, completed_at=completed_at-{ms} WHERE seq IN (SELECT batch_seq FROM generation WHERE seq IN {seqs})")
    place.sql(f"UPDATE event SET created_at=created_at-{ms} WHERE generation_seq IN {seqs} OR batch_seq IN (SELECT batch_seq FROM generation WHERE seq IN {seqs})")


def job(place, *options):
    r = place.run("job", "retention", "--json", *options)
    if r.code != 0:
        raise RuntimeError(f"the job failed\n{r}")
    return r.json


def left(place):
    return dict(place.sql("SELECT status, count(*) FROM generations GROUP BY status"))


def sound(place):
    """Drift, but for what age() did to times; and that all triggers' tables fit."""
    return [line for line in shell.drift(place) if "by the log" not in line and "event " not in line]


def test_off(place):
    shell.zoo(place)
    age(place, 1000)
    r = place.run("job", "retention")
    tap.equal((r.code, r.err), (0, "genrun: nothing is removed: [retention] sets no time after which\n"), "off unless set, and it says so")
    tap.equal(sum(left(place).values()), 11, "nothing is gone")


def test_singles(place):
    singles, items, batch = shell.zoo(place)
    configure(place, completed="30d", failed="60d")
    tap.equal(job(place)["found"], 0, "nothing is old")
    age(place, 45)
    dry = job(place, "--dry-run")
    tap.equal((dry["found"], dry["fixed"], sum(left(place).values())), (1, 0, 11), "a dry run counts")
    o = job(place)
    tap.equal([(f["kind"], f["count"], f["fixed"]) for f in o["findings"]], [("generation", 1, True)], "after 45 days: the completed single one")
    tap.equal(place.sql("SELECT count(*) FROM generations WHERE id=?", singles["completed"]), [(0,)], "is gone")
    tap.equal(place.value("SELECT count(*) FROM generations WHERE batch_job_id IS NOT NULL"), 6, "items stay: their batch job has not ended")
    names = {n for n, in place.sql("SELECT DISTINCT generation_id FROM logs")}
    tap.ok(singles["completed"] in names, "its log rows stay, and keep its name")
    age(place, 45)
    tap.equal(job(place)["found"], 2, "after 90 days the failed and cancelled one")
    tap.equal((left(place), sound(place)), ({"queued": 3, "processing": 2, "completed": 1, "failed": 1, "cancelled": 1}, []), "what waits and runs stays, counters fit")
    tap.equal(place.sql("SELECT count(*) FROM output WHERE key/1024 NOT IN (SELECT seq FROM generation)"), [(0,)], "outputs went with their rows")


def test_whole_batches(place):
    done, mixed, open_one = shell.submit_batch(place, 3), shell.submit_batch(place, 3), shell.submit_batch(place, 3)
    shell.bring(place, "batch_seq=1", "completed")
    shell.bring(place, "batch_seq=2 AND item_index<2", "completed")
    shell.bring(place, "batch_seq=2 AND item_index=2", "failed")
    shell.bring(place, "batch_seq=3 AND item_index<2", "completed")
    configure(place, completed="30d")
    age(place, 100)
    o = job(place)
    tap.equal([(f["kind"], f["id"], f["count"], f["fixed"]) for f in o["findings"]], [("batch", done, 3, True)], "a batch job whose items all had their time")
    tap.equal([b for b, in place.sql("SELECT id FROM batch_jobs ORDER BY seq")], [mixed, open_one],
              "one with a failed item stays while failed ones are kept for ever, as does one that has not ended")
    tap.equal(place.value("SELECT count(*) FROM lane WHERE batch_seq=1"), 0, "its lane went, too")
    configure(place, completed="30d", failed="60d")
    tap.equal(job(place)["found"], 3, "with a time for failed ones it goes, too")
    tap.equal((place.value("SELECT count(*) FROM generations"), sound(place)), (3, []), "the open one is left whole")


def test_readers_of_the_log(place):
    shell.submit_batch(place, 3)
    shell.bring(place, "batch_seq=1", "completed")
    single = place.submit("x", "--model", "echo")
    shell.bring(place, f"id='{single}'", "completed")
    configure(place, completed="30d", logs="30d")
    age(place, 100)
    last = place.value("SELECT max(id) FROM event")
    place.sql("INSERT INTO cursors (name, log_id, updated_at) VALUES ('fast', ?, 1), ('slow', 0, 1)", last)
    o = job(place)
    tap.equal((o["found"], sum(left(place).values()), place.value("SELECT count(*) FROM event") >= last), (0, 4, True), "nothing goes before every reader has passed it")
    tap.equal(o["note"], "4 generations wait for a reader of the log that has not come so far (table cursors)", "which is told")
    batch_end = place.value("SELECT max(id) FROM event WHERE batch_seq=1")
    place.sql("UPDATE cursors SET log_id=? WHERE name='slow'", batch_end)
    o = job(place)
    tap.equal([f["kind"] for f in o["findings"]], ["batch", "event"], "what all have passed goes")
    tap.equal((left(place), place.value("SELECT count(*) FROM event WHERE id<=?", batch_end)), ({"completed": 1}, 0), "row by row of the log")
    place.sql("UPDATE cursors SET log_id=? WHERE name='slow'", last)
    tap.equal(job(place)["findings"][0]["kind"], "generation", "and then the rest")
    tap.equal((left(place), sound(place)), ({}, []), "all gone")


def test_logs(place):
    singles, items, batch = shell.zoo(place)
    configure(place, logs="30d")
    age(place, 45)
    before = place.value("SELECT max(id) FROM event")
    of_batch = place.value("SELECT count(*) FROM logs WHERE batch_job_id=?", batch)
    new = place.submit("new", "--model", "echo")
    o = job(place)
    tap.ok(o["findings"][0]["kind"] == "event" and o["fixed"] > 0, "old log rows go", o)
    tap.equal([len(shell.events(place, singles[s])) for s in shell.STATES], [1, 2, 0, 0, 0], "not the story of what waits or runs")
    tap.equal(place.value("SELECT count(*) FROM logs WHERE batch_job_id=?", batch), of_batch, "nor that of a batch job that has not ended")
    tap.equal(shell.events(place, new), ["generation.queued"], "nor what is young")
    place.submit("newer", "--model", "echo")
    ids = [i for i, in place.sql("SELECT id FROM event ORDER BY id")]
    tap.ok(ids[-1] > before, "ids go on", ids)
    for state in ("completed", "failed", "cancelled"):
        place.sql("DELETE FROM generations WHERE id=?", singles[state])
    tap.equal(job(place)["found"], 0, "nothing else is old")
    place.sql("DELETE FROM event WHERE id>(SELECT min(id) FROM event)")
    tap.ok(place.value("SELECT count(*) FROM generation_tombstone") == 0, "what has no log row needs no name kept")
    last = place.value("SELECT max(id) FROM event")
    shell.run(place, "UPDATE sqlite_sequence SET seq=seq WHERE name='event'")
    place.submit("newest", "--model", "echo")
    tap.ok(place.value("SELECT max(id) FROM event") > max(ids[-1], last), "ids of deleted log rows are never used again")


def test_a_clock_far_ahead(place):
    """Thirty years ahead everything is old: a run removes a tenth at most."""
    shim = Shim(place)
    rows = 100300
    place.submit("x", "--model", "echo")
    lane = place.value("SELECT lane FROM generation")
    place.sql(f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<{rows}) INSERT INTO generation (id, status, lane, model_id, completed_at, created_at)"
              f" SELECT printf('01900000-0000-7000-8000-%012x', i), 'completed', {lane}, 'echo', {shell.NOW}, {shell.NOW} FROM n")
    place.sql("INSERT INTO generation_input (seq, prompt, parameters) SELECT seq, 'p', '{}' FROM generation WHERE status='completed'")
    place.sql(f"UPDATE batch_count SET successful_items={rows} WHERE batch_seq=0")
    configure(place, completed="30d")
    shim.set_clock(30 * 365 * 86400)
    dry = place.run("job", "retention", "--dry-run", "--json", env=shim.env)
    r = place.run("job", "retention", "--json", env=shim.env)
    tap.equal((dry.json["found"], r.json["fixed"]), (10030, 10030), "a run takes a tenth, as a dry run says")
    tap.equal(left(place), {"queued": 1, "completed": rows - r.json["fixed"]}, "the rest stays")
    shim.set_clock(0)
    tap.equal((job(place)["found"], sound(place)), (0, []), "and the clock set right nothing more goes")


def test_by_the_runner(place):
    configure(place, completed="1d", logs="1d", every="300ms")
    batch = shell.submit_batch(place, 600)
    shell.bring(place, "batch_seq=1", "completed")
    age(place, 10)
    runner = place.start_runner()
    id = place.submit("young", "--model", "echo", "--wait")
    wait_until(lambda: place.value("SELECT count(*) FROM generations") == 1 and place.value("SELECT count(*) FROM batch_jobs") == 0, 20, "the old ones")
    wait_until(lambda: place.value("SELECT count(*) FROM generation_tombstone") == 0, 20, "their names")
    wait_until(lambda: place.value("SELECT count(*) FROM logs WHERE event='job.completed' AND json_extract(data, '$.job')='retention'"), 20, "the log telling of it")
    tap.ok(True, "the old batch job goes by itself, and the log tells of it")
    wait_until(lambda: place.value("SELECT found FROM jobs WHERE name='retention'") == 0, 20, "a run that finds nothing")
    version = shell.commits(place)

    time.sleep(1.0)
    tap.equal(shell.commits(place), version, "then nothing is written any more")
    tap.equal((place.value("SELECT count(*) FROM generations"), runner.stop()), (1, 0), "the young one stays")


tap.main(globals())
