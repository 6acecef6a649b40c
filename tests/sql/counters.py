#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Counters, states and lanes that are not what the rows give them, as a foreign write or a restored backup leaves
them: genrun job cleanup_stuck_generation puts each right, logs it, and changes nothing else."""
import json
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import shell
import tap

JOB = "cleanup_stuck_generation"
COUNTERS = ("queued_items", "processing_items", "successful_items", "failed_items", "cancelled_items")


def job(place, *options):
    r = place.run("job", JOB, "--json", *options)
    if r.code != 0:
        raise RuntimeError(f"the job failed\n{r}")
    return r.json


def rows_of(place):
    """All that the job must leave alone."""
    kept = shell.all_of(place)
    return {table: kept[table] for table in ("generation", "generation_input", "generation_live", "output", "response")}


def batch_seq(place, id):
    return place.value("SELECT seq FROM batch_job WHERE id=?", id)


def mended(place, name, kinds=None):
    """The job finds something (a dry run the same, changing nothing), fixes all of it, and nothing is left."""
    tap.ok(shell.drift(place) != [], f"{name}: it is wrong at first")
    before = shell.all_of(place)
    dry = job(place, "--dry-run")
    tap.ok(shell.all_of(place) == before and dry["found"] > 0 and dry["fixed"] == 0 and dry["dryRun"] is True,
           f"{name}: a dry run finds it and changes nothing", dry)
    rows = rows_of(place)
    done = job(place)
    tap.ok(done["found"] == done["fixed"] == dry["found"], f"{name}: found and fixed", (dry, done))
    tap.equal(shell.drift(place), [], f"{name}: nothing is wrong afterwards")
    if kinds is not None:
        tap.equal([f["kind"] for f in done["findings"]], kinds, f"{name}: what was found")
    tap.ok(rows_of(place) == rows, f"{name}: no generation was touched")
    again = job(place)
    tap.equal((again["found"], again["findings"]), (0, []), f"{name}: a second run finds nothing")
    return done


def test_each_counter(place):
    shell.zoo(place)
    seq = place.value("SELECT max(seq) FROM batch_job")
    for counter in COUNTERS + ("input_tokens", "output_tokens", "actual_cost"):
        for change in ("7", f"{counter}-{counter}", "-3"):
            shell.foreign(place, f"UPDATE batch_count SET {counter}={change} WHERE batch_seq={seq}")
            if shell.drift(place):
                done = mended(place, f"{counter}={change}", ["batch"])
                f = done["findings"][0]
                tap.ok(f["before"] != f["after"] or "tokens" in counter or "cost" in counter, "with before and after", f)
    for counter in COUNTERS:
        for change in ("99", "0", "-1"):
            shell.foreign(place, f"UPDATE batch_count SET {counter}={change} WHERE batch_seq=0")
            done = mended(place, f"total of {counter}={change}", ["totals"])
    e = json.loads(place.value("SELECT data FROM logs WHERE event='totals.repaired' ORDER BY id DESC LIMIT 1"))
    tap.equal((e["before"]["cancelled"], e["after"]["cancelled"]), (-1, 2), "the log has the difference")
    shell.foreign(place, "DELETE FROM batch_count")
    mended(place, "no counters at all", ["batch", "totals"])


def test_three_ways_to_be_wrong(place):
    """Accounted for and not marked; nothing left and incomplete; counters that do not add up."""
    ended = shell.submit_batch(place, 3)
    shell.bring(place, "batch_seq=1", "completed")
    left = shell.submit_batch(place, 3)
    shell.bring(place, "batch_seq=2", "failed")
    sums = shell.submit_batch(place, 4)
    shell.bring(place, "batch_seq=3 AND item_index=0", "completed")
    shell.foreign(place, "UPDATE batch_job SET status='processing', completed_at=NULL WHERE seq=1",
            "UPDATE batch_job SET status='queued', completed_at=NULL WHERE seq=2",
            "UPDATE batch_count SET queued_items=1, processing_items=2, failed_items=0 WHERE batch_seq=2",
            "UPDATE batch_count SET successful_items=4, queued_items=0 WHERE batch_seq=3")
    done = mended(place, "all three", ["batch", "batch", "batch"])
    by = {f["id"]: f for f in done["findings"]}
    tap.contains(by[ended]["what"], "not marked so", "accounted for, not marked")
    tap.contains(by[left]["what"], "nothing of it waits or runs", "nothing left, incomplete")
    tap.contains(by[sums]["what"], "do not add up", "counters that do not add up")
    tap.equal([shell.batch(place, i)["status"] for i in (ended, left, sums)], ["completed", "failed", "processing"], "each has its state")
    tap.equal(place.sql("SELECT event FROM logs WHERE event='batch.repaired' AND level='warn'"), [("batch.repaired",)] * 3, "each is logged")
    tap.equal((by[left]["before"]["processing"], by[left]["after"]), (2, {"status": "failed", "queued": 0, "processing": 0, "successful": 0,
                                                                          "failed": 3, "cancelled": 0}), "before and after")
    shell.foreign(place, "UPDATE batch_job SET status='completed', completed_at=5 WHERE seq=3")
    mended(place, "an end that is none", ["batch"])
    tap.equal(shell.batch(place, sums)["status"], "processing", "it is open again")
    shell.foreign(place, "UPDATE batch_job SET status='completed' WHERE seq=2")
    mended(place, "the wrong end", ["batch"])
    tap.equal((shell.batch(place, left)["status"], shell.batch_events(place, left)[-1]), ("failed", "batch.repaired"), "it is the right one")


def test_beside_the_counters(place):
    job_id = shell.submit_batch(place, 3, "--concurrency", "1")
    place.sql(shell.CLAIM + "item_index=0")
    for name, statement in (("the limit reached", "UPDATE batch_job SET at_limit=0"), ("its copy", "UPDATE batch_count SET concurrency=NULL WHERE batch_seq=1"),
                            ("not opened", "UPDATE batch_count SET opened=0 WHERE batch_seq=1"),
                            ("no first start", "UPDATE batch_count SET started_at=NULL WHERE batch_seq=1")):
        shell.foreign(place, statement)
        before = shell.batch(place, job_id)
        done = job(place)
        tap.ok(done["fixed"] >= 1, f"{name}: fixed", done)
        tap.equal(shell.drift(place), [], f"{name}: nothing is wrong afterwards")
        tap.equal(job(place)["found"], 0, f"{name}: once")
        tap.equal(shell.batch(place, job_id)["status"], before["status"], f"{name}: its state stays")
    tap.equal(place.sql("SELECT blocked FROM lane WHERE batch_seq=1"), [(4,)], "the lane is closed by the limit")
    # A stopped batch job stays stopped, and what waits in it is swept.
    stopped = shell.submit_batch(place, 3, "--on-error", "stop")
    shell.bring(place, f"batch_seq={batch_seq(place, stopped)} AND item_index=0", "failed")
    reason = shell.batch(place, stopped)["status_reason"]
    shell.foreign(place, f"UPDATE batch_count SET queued_items=0 WHERE batch_seq={batch_seq(place, stopped)}",
            f"UPDATE batch_job SET swept=1 WHERE seq={batch_seq(place, stopped)}")
    mended(place, "a stopped one", ["batch"])
    tap.ok(reason and shell.batch(place, stopped)["status_reason"] == reason, "no retry is seen in the repair", reason)
    place.run("run", "--drain", "--no-http")
    tap.equal(shell.batch(place, stopped)["status"], "failed", "it ends")


def test_lanes(place):
    shell.zoo(place)
    other = shell.submit_batch(place, 2)
    shell.foreign(place, "UPDATE lane SET ready=0")
    mended(place, "lanes marked as empty", ["lane", "lane", "lane"])
    shell.foreign(place, "UPDATE lane SET blocked=17")
    done = mended(place, "lanes blocked for nothing")
    tap.equal({f["kind"] for f in done["findings"]}, {"lane"}, "lanes")
    place.sql("UPDATE batch_jobs SET status='paused' WHERE id=?", other)
    shell.foreign(place, "UPDATE lane SET blocked=0")
    mended(place, "a paused one that is open", ["lane"])
    shell.foreign(place, "DELETE FROM lane")
    tap.equal(place.run("stats", "--json").json["violations"], place.value("SELECT count(*) FROM generation WHERE status='queued'")
              + place.value("SELECT count(*) FROM generation WHERE status='processing'"), "what waits in no lane is a violation, as what nobody runs")
    place.sql("UPDATE generation SET suspect=1 WHERE seq=(SELECT min(seq) FROM generation WHERE status='queued')")
    job(place)
    missing = "SELECT count(*) FROM generation g WHERE g.status='queued' AND NOT EXISTS (SELECT 1 FROM lane l WHERE l.id=g.lane AND l.model_id=g.model_id)"
    tap.equal(place.value(missing), 0, "without any lane: what waits gets its own, suspects, too")
    tap.equal(place.value("SELECT blocked FROM lane WHERE batch_seq=?", batch_seq(place, other)), 1, "with the bits of its batch job")
    shell.foreign(place, "UPDATE generation SET lane=(SELECT max(id) FROM lane) WHERE status='queued'")
    job(place)
    tap.equal(place.value("SELECT count(*) FROM generation g JOIN lane l ON l.id=g.lane WHERE g.status='queued' AND (l.model_id, l.user_id, l.batch_seq, l.priority)"
                          " IS NOT (g.model_id, coalesce(g.user_id,''), coalesce(g.batch_seq,0), g.priority)"), 0, "in the lane of another: moved to its own")
    place.sql("UPDATE generation SET claim_token=NULL, status='queued', note=NULL WHERE status='processing'")
    place.sql("UPDATE batch_jobs SET status='processing' WHERE id=?", other)
    r = place.run("run", "--drain", "--no-http")
    tap.equal((place.sql("SELECT queued, processing FROM totals"), place.run("stats", "--json").json["violations"]), ([(0, 0)], 0), f"all of it runs (exit {r.code})")


def test_any_of_it(place):
    """Random counters, states and marks of many batch jobs in all states."""
    rng = random.Random(4)
    for i in range(14):
        id = shell.submit_batch(place, 5, *rng.choice([[], ["--concurrency", "2"], ["--on-error", "stop"], ["--max-failures", "1"], ["--max-cost", "0.3"]]))
        for seq, in place.sql("SELECT seq FROM generation WHERE batch_seq=?", i + 1):
            shell.bring(place, f"seq={seq}", rng.choice(shell.STATES))
        if rng.random() < 0.2:
            place.sql("UPDATE batch_jobs SET status='cancelled' WHERE id=? AND status IN ('queued','processing','paused')", id)
    tap.equal(shell.drift(place), [], "fourteen batch jobs in all states")
    place.sql("DELETE FROM generation WHERE batch_seq=3 AND item_index=0 AND status IN ('completed','failed','cancelled')")
    truth = place.sql("SELECT id, status FROM batch_jobs WHERE seq<>3 ORDER BY seq")
    for turn in range(12):
        statements = []
        for seq in range(0, 15):
            if rng.random() < 0.5:
                values = ", ".join(f"{c}={rng.randint(-1, 6)}" for c in rng.sample(COUNTERS, rng.randint(1, 5)))
                statements.append(f"UPDATE batch_count SET {values} WHERE batch_seq={seq}")
            if seq and rng.random() < 0.3 and truth[0] and place.value("SELECT status FROM batch_job WHERE seq=?", seq) not in ("cancelled", "paused"):
                statements.append(f"UPDATE batch_job SET status='{rng.choice(['queued', 'processing', 'completed', 'failed'])}' WHERE seq={seq} AND seq<>3")
            if seq and rng.random() < 0.2:
                statements.append(f"UPDATE batch_job SET at_limit={rng.randint(0, 1)}, completed_at={rng.choice(['NULL', '9'])} WHERE seq={seq}")
        shell.foreign(place, *statements)
        done = job(place)
        drift = shell.drift(place)
        tap.ok(done["found"] == done["fixed"] and drift == [], f"turn {turn}: {done['found']} put right", lambda: f"{statements}\n{drift}")
    tap.equal(place.sql("SELECT id, status FROM batch_jobs WHERE seq<>3 ORDER BY seq"), truth, "each batch job has the state of its rows again")


tap.main(globals())
