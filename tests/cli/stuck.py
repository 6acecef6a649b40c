#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""stuck and recover: what hangs and why, what is only slow, and what becomes of it."""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import shell
import tap
from genrun import wait_until
from server import Server

CONFIG = """
[genrun]
default_model = m
[scheduler]
concurrency = 4
heartbeat_interval = 5s
[model m]
base_url = {url}
"""
KEYS = {"id", "status", "promptPreview", "modelId", "userId", "sessionId", "batchJobId", "createdAt", "startedAt", "ageMinutes",
        "errorMessage", "outputCount", "lastStep", "lastHeartbeat", "lastProgress", "why", "slow"}


def first_hangs(x):
    """The first request of a prompt gets half an answer and then nothing, later ones a whole one."""
    if sum(other.prompt == x.prompt for other in x.server.requests) > 1 or x.prompt.startswith("whole"):
        x.chat(x.prompt)
        return
    x.begin_stream()
    x.event("half")
    x.wait_closed()


def streaming(server, count):
    wait_until(lambda: server.count >= count and all(x.streaming for x in server.requests[:count]), 10, "the transfers")


def hang(place, id, heartbeat_ms=0, progress_ms=0, limit_ms="NULL"):
    """Makes one that runs look as if its signs of life were old."""
    place.sql(f"INSERT OR REPLACE INTO generation_live (seq, heartbeat_at, progress_at, progress_limit_ms, last_step)"
              f" SELECT seq, {shell.NOW} - {heartbeat_ms}, {shell.NOW} - {progress_ms}, {limit_ms}, 'provider:stream' FROM generation WHERE id=?", id)


def stuck(place, *args):
    return {o["id"]: o for o in place.run("stuck", "--json", *args).jsonl}


def events(place, id):
    return [e for (e,) in place.sql("SELECT event FROM logs WHERE generation_id = ? ORDER BY id", id)]


def test_its_runner_is_gone(place):
    with Server(first_hangs) as server:
        place.configure(CONFIG.format(url=server.url))
        id, waiting = place.submit("x" * 60, "--user", "ann", "--session", "s"), place.submit("later", "--delay", "1h")
        runner = place.start_runner()
        streaming(server, 1)
        tap.equal(stuck(place), {}, "with a living runner nothing is stuck")
        tap.equal(place.run("stuck").out, "", "nor printed")
        tap.contains(place.run_pty("stuck").out, "nothing is stuck", "a terminal is told so")
        runner.kill()
        o = stuck(place)
        tap.equal(set(o), {id}, "after its death what was in flight is")
        o = o[id]
        tap.equal(set(o), KEYS, "with the promised columns")
        tap.equal((o["status"], o["promptPreview"], o["modelId"], o["userId"], o["sessionId"], o["why"], o["slow"], o["errorMessage"]),
                  ("processing", "x" * 50, "m", "ann", "s", "its runner is gone", False, None), "and why")
        tap.equal([r["id"] for r in place.run("list", "--status", "stuck", "--json").jsonl], [id], "list --status stuck has the same")
        tap.equal((place.show(id)["stuck"], place.run("stats", "--json").json["stuck"]), (True, 1), "so have show and stats")
        r = place.run("stuck")
        tap.ok(r.lines[0].startswith("ID  ") and r.lines[1].startswith(f"{id[-8:]}  its runner is gone  m"), "as a table", r)
        tap.result(place.run("recover", waiting), 5, "one that waits is not stuck",
                   err=rf"^genrun: generation {waiting} is queued and not stuck, it waits: 'genrun show {waiting}' tells what for\n$")
        r = place.run("recover", id[-8:])
        tap.result(r, 0, "recover by the tail", out=rf"^{id} queued\n$")
        tap.equal(place.sql("SELECT level, message, attempt FROM logs WHERE event='generation.recovered'"),
                  [("warn", "recovered by hand: its runner is gone", 1)], "the log tells it, and why")
        tap.equal(stuck(place), {}, "and it is not stuck any more")
        tap.error_line(place.run("recover", id), 5, "is queued and not stuck", "nor is it a second time")
        tap.equal(place.run("run", "--drain", "--drain-wait", "0").code, 5, "the next runner runs it (and leaves the delayed one)")
        row = place.show(id)
        tap.equal((row["status"], row["starts"], row["attempts"], [(x["content"], x["partial"]) for x in row["outputs"]]),
                  ("completed", 2, 1, [("x" * 60, False)]), "and no attempt was spent")
        tap.error_line(place.run("recover", id), 5, r"is completed and not stuck, it has ended: 'genrun output", "a completed one is not stuck")


def test_under_a_living_runner(place):
    """No heartbeat, no progress: recovering one ends its transfer at once, what comes late is not taken, and it runs again."""
    with Server(first_hangs) as server:
        place.configure(CONFIG.format(url=server.url))
        beat, progress, fine = place.submit("beat"), place.submit("progress"), place.submit("fine")
        runner = place.start_runner()
        streaming(server, 3)
        hang(place, beat, heartbeat_ms=61000)
        hang(place, progress, progress_ms=31000, limit_ms=30000)
        hang(place, fine, progress_ms=31000)
        o = stuck(place)
        tap.equal(set(o), {beat, progress}, "no heartbeat, and no progress past its own clock")
        tap.matches(o[beat]["why"], r"^no heartbeat for 6\d s$", "why: the heartbeat")
        tap.matches(o[progress]["why"], r"^no progress for 3\d s$", "why: the progress")
        tap.error_line(place.run("recover", fine), 5, rf"generation {fine} is processing and not stuck, its runner is up, with a heartbeat "
                       rf"\d+ s and progress 3\d s ago: 'genrun cancel {fine}' ends it$", "one without a clock is not stuck")
        tap.result(place.run("recover", "--all"), 2, "without a terminal --yes is needed", err="--yes does it")
        tap.result(place.run("recover", "--all", "--dry-run"), 0, "--dry-run counts", out=r"^2 generations would be recovered\n$")
        tap.result(place.run("recover", "--user", "nobody", "--yes"), 0, "filters select", out=r"^0 generations recovered\n$")
        since = time.monotonic()
        tap.result(place.run("recover", "--all", "--yes"), 0, "recover --all", out=r"^2 generations recovered\n$")
        for x in server.requests[:3]:
            if x.prompt != "fine":
                wait_until(lambda x=x: x.closed_at, 10, f"the end of the transfer of {x.prompt}")
                tap.note(f"{x.prompt}: closed after {(x.closed_at - since) * 1000:.0f} ms")
        place.wait_status(beat, "completed")
        place.wait_status(progress, "completed")
        tap.equal((place.status(fine), server.count), ("processing", 5), "they run again, and the other goes on")
        for id in (beat, progress):
            tap.equal(place.sql("SELECT content, partial FROM outputs WHERE generation_id=?", id), [(place.show(id)["prompt"], 0)],
                      "the old half does not come back")
            tap.equal(events(place, id), ["generation.queued", "generation.processing", "generation.recovered", "generation.processing",
                                          "generation.completed"], "the log tells the story")
        runner.kill()


def test_slow(place):
    with Server(first_hangs) as server:
        place.configure(CONFIG.format(url=server.url))
        slow, young = place.submit("slow"), place.submit("young")
        runner = place.start_runner()
        streaming(server, 2)
        place.sql("UPDATE generation SET started_at = started_at - 600000 WHERE id=?", slow)
        hang(place, slow)
        tap.equal(stuck(place), {}, "what lives is not stuck, however long it takes")
        o = stuck(place, "--older-than", "5m")
        tap.equal((set(o), o[slow]["slow"]), ({slow}, True), "--older-than lists it all the same, marked")
        tap.matches(o[slow]["why"], r"^slow: running for 60\d s$", "and says so")
        tap.matches(place.run("stuck", "--older-than", "5m").out, rf"(?m)^{slow[-8:]}  slow: running for", "in the table, too")
        tap.equal(place.run("list", "--status", "stuck", "--json").out, "", "but it is not stuck")
        tap.result(place.run("recover", "--all", "--yes"), 0, "and not touched", out="^0 generations recovered")
        tap.error_line(place.run("recover", slow), 5, "is processing and not stuck", "by its id neither")
        hang(place, young, heartbeat_ms=100000)
        rows = place.run("stuck", "--older-than", "5m", "--json").jsonl
        tap.equal([(o["id"], o["slow"]) for o in rows], [(young, False), (slow, True)], "what is stuck comes first")
        tap.equal([o["id"] for o in place.run("stuck", "--older-than", "5m", "--limit", "1", "--json").jsonl], [young], "--limit")
        runner.kill()


def test_dismissed(place):
    with Server(first_hangs) as server:
        place.configure(CONFIG.format(url=server.url))
        id = place.submit("x")
        runner = place.start_runner()
        streaming(server, 1)
        runner.kill()
        tap.result(place.run("dismiss", id), 0, "a stuck one is dismissed", out=rf"^{id} processing, dismissed\n$")
        tap.equal((stuck(place), stuck(place, "--older-than", "0")), ({}, {}), "and left out, also of the slow ones")
        tap.error_line(place.run("recover", id), 5, "is processing and dismissed, so it does not count as stuck: 'genrun dismiss --undo", "nor recovered")
        tap.equal(place.value("SELECT processing FROM totals"), 1, "but counted")
        tap.equal(place.run("dismiss", "--undo", id).code, 0, "undone")
        tap.equal(set(stuck(place)), {id}, "it is listed again")
        tap.result(place.run("dismiss", "--status", "stuck", "--yes"), 0, "all that is stuck", out="^1 generation dismissed")
        tap.equal(place.run("run", "--drain").code, 0, "a runner takes it back all the same")


def test_fail_and_cancel_what_is_stuck(place):
    with Server(first_hangs) as server:
        place.configure(CONFIG.format(url=server.url))
        ids = [place.submit(f"{i}") for i in range(3)]
        runner = place.start_runner()
        streaming(server, 3)
        runner.kill()
        tap.result(place.run("fail", ids[0], "--reason", "lost"), 0, "fail one", out=rf"^{ids[0]} failed\n$")
        tap.result(place.run("fail", "--status", "stuck", "--reason", "lost, too", "--yes", "--older-than", "1h"), 0, "none is that old", out="^0 generations failed")
        tap.result(place.run("cancel", "--status", "stuck", "--yes", "--reason", "enough", "--json"), 0, "cancel the rest", out='^{"cancelled":2,"dryRun":false}\n$')
        tap.equal(stuck(place), {}, "nothing is stuck")
        tap.equal([place.show(id)["parameters"].get("cancelledReason") for id in ids], [None, "enough", "enough"], "with the reason")


def test_misuse(place):
    place.submit("x", "--model", "echo")
    tap.error_line(place.run("stuck", "--older-than", "-5m"), 2, r"--older-than is '-5m', which is not a duration: give one such as 90s", "a negative duration")
    tap.error_line(place.run("stuck", "--older-than", "soon"), 2, "not a duration", "none at all")
    tap.error_line(place.run("stuck", "--limit", "0"), 2, "--limit is 0", "no rows")
    tap.error_line(place.run("stuck", "x"), 2, "one argument too many", "an operand")
    tap.error_line(place.run("recover"), 2, "'recover' needs ids, a filter or --all: 'genrun help recover' shows how", "recover without anything")
    tap.error_line(place.run("recover", "--status", "failed", "--yes"), 2, "one of stuck", "a state that cannot be recovered")
    tap.error_line(place.run("recover", "00000000"), 4, "generation 00000000 does not exist: 'genrun list' shows the newest", "an unknown id")
    tap.error_line(place.run("recover", "--batch", "00000000", "--yes"), 4, "batch job 00000000 does not exist: 'genrun batch list' shows", "an unknown batch job")


tap.main(globals())
