#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""batch process-next: exactly one item a call, with and without a runner, paused or not, in races."""
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap
from genrun import wait_until


def submit(place, lines, *options):
    place.write("p.txt", "".join(f"{line}\n" for line in lines))
    return place.run("batch", "submit", "p.txt", "--model", "echo", *options).id


def states(place, id):
    return [o["status"] for o in place.run("batch", "items", id, "--json").jsonl]


def test_without_a_runner(place):
    id = submit(place, ["a", "b"], "--paused")
    r = place.run("batch", "process-next", id[-8:])
    tap.ok(r.code == 0 and r.out.endswith(" completed, 1 left\n"), "the first item runs here, though the batch is paused", r)
    tap.equal(states(place, id), ["completed", "queued"], "exactly one, in the order of the file")
    tap.equal(place.run("batch", "show", id, "--json").json["status"], "paused", "and the batch stays paused")
    r = place.run("batch", "process-next", id, "--json").json
    tap.equal((r["processed"], r["remaining"], r["status"]), (1, 0, "completed"), "--json: {processed, remaining, status}")
    r = place.run("batch", "process-next", id, "--json")
    tap.equal((r.code, r.json), (0, {"processed": 0, "remaining": 0, "status": "empty"}), "nothing is left: 0, and said")
    tap.equal(place.value("SELECT count(*) FROM run_request"), 0, "no request is left behind")


def test_failing_items(place):
    place.write("f.jsonl", '{"prompt":"x","fail":"InvalidRequestError"}\n{"prompt":"y","fail":"NetworkError"}\n')
    id = place.run("batch", "submit", "f.jsonl", "--model", "echo").id
    r = place.run("batch", "process-next", id)
    tap.ok(r.code == 1 and " failed, 1 left" in r.out and "failed: InvalidRequestError: " in r.err, "a failed one: 1, and why", r)
    r = place.run("batch", "process-next", id)
    tap.ok(r.code == 1 and " queued, 1 left" in r.out, "one that will be tried again: its attempt is over, so it returns", r)
    r = place.run("batch", "process-next", id)
    tap.ok(r.code == 1 and place.value("SELECT starts FROM generations WHERE prompt='y'") == 2,
           "asked for again it does not wait for its time", r)


def test_refusals(place):
    tap.error_line(place.run("batch", "process-next", "00000000-0000-7000-8000-000000000000"), 4, "", "unknown: 4")
    id = submit(place, ["a"])
    place.run("batch", "cancel", id)
    tap.error_line(place.run("batch", "process-next", id), 5, "cancelled", "a cancelled batch: 5")
    id = submit(place, ["a"])
    place.sql("INSERT OR REPLACE INTO model_state (model_id, state, reason, since) VALUES ('echo', 'parked', 'no key', 1)")
    tap.error_line(place.run("batch", "process-next", id), 5, "parked.*no key.*models resume echo", "a parked model: 5, and what to do")
    tap.equal(states(place, id), ["queued"], "and the item waits as before")


def test_what_can_run_comes_first(place):
    place.configure("[model *]\nprovider = echo\n")
    place.write("p.jsonl", '{"prompt":"a","model":"closed"}\n{"prompt":"b","model":"open"}\n')
    id = place.run("batch", "submit", "p.jsonl").id
    place.sql("INSERT INTO model_state (model_id, state, reason, since) VALUES ('closed', 'parked', 'no key', 1)")
    r = place.run("batch", "process-next", id)
    tap.ok(r.code == 0 and " completed, 1 left" in r.out, "an item of a parked model does not keep the others", r)
    tap.error_line(place.run("batch", "process-next", id), 5, "closed is parked", "when it is the only one: 5")
    place.sql("DELETE FROM model_state")
    place.sql("UPDATE generation SET suspect = 1 WHERE status = 'queued'")
    tap.error_line(place.run("batch", "process-next", id), 5, "in flight when runners crashed.*genrun run",
                   "what must run alone waits, and that is said")


def test_with_a_runner(place):
    busy = place.submit("busy", "--model", "echo", "--param", "delay=60s")
    runner = place.start_runner()
    place.wait_status(busy, "processing")
    id = submit(place, ["a", "b", "c", "d"], "--paused")
    r = place.run("batch", "process-next", id)
    tap.ok(r.code == 0 and " completed, 3 left" in r.out, "the runner does it, though its only slot is taken", r)
    racing = [subprocess.Popen(place.command("batch", "process-next", id, "--json"), cwd=place.folder,
                               env=place.environment(), stdout=subprocess.PIPE, text=True) for _ in range(2)]
    ids = {json.loads(p.communicate(timeout=60)[0])["id"] for p in racing}
    tap.equal((len(ids), states(place, id)), (2, ["completed"] * 3 + ["queued"]), "two callers that race get an item each")
    tap.ok(runner.running and place.status(busy) == "processing", "the runner and its own work go on", runner.err)


def test_beside_who_waits_for_the_batch(place):
    place.write("p.jsonl", '{"prompt":"busy","delay":"60s"}\n{"prompt":"a"}\n')
    waits = place.start("batch", "submit", "p.jsonl", "--model", "echo", "--wait")
    wait_until(lambda: os.path.exists(place.database) and "processing" in place.run("list").out, 10, "the first item")
    id = place.run("batch", "list", "--json").json["id"]
    place.run("batch", "pause", id)
    r = place.run("batch", "process-next", id)
    tap.ok(r.code == 0 and " completed, 0 left" in r.out, "who waits for the paused batch job runs the item", r)
    tap.ok(waits.running, "and waits on", waits.err)


def test_behind_what_cannot_start(place):
    place.configure("[model *]\nprovider = echo\n")
    place.write("p.jsonl", "".join(f'{{"prompt":"{n}","model":"closed"}}\n' for n in range(17)))
    closed = place.run("batch", "submit", "p.jsonl", "--paused").id
    id = submit(place, ["free"], "--paused")
    place.sql("INSERT INTO model_state (model_id, state, reason, since, until) VALUES ('closed', 'parked', 'quota', 1, 9999999999999)")
    place.sql("INSERT INTO run_request SELECT seq, 1 FROM generation WHERE model_id = 'closed'")
    place.start_runner()
    r = place.run("batch", "process-next", id)
    tap.ok(r.code == 0 and " completed, 0 left" in r.out, "requests that wait for a parked model do not stand in the way of others", r)
    tap.equal(set(states(place, closed)), {"queued"}, "and wait on")


tap.main(globals())
