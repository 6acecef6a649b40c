#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What people type into the sqlite3 shell while the runner works: it takes effect at once, the log and the
counters are right, and what is illegal is refused with a message."""
import json
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap
from genrun import wait_until
from server import Server

POLL_S = 5.0  # long enough to be told from a wake-up
CONFIG = """
[genrun]
default_model = m
[scheduler]
concurrency = 4
poll_interval = 5s
[model m]
base_url = {url}
"""


def half_then_silence(x):
    """Streams half an answer and waits until the client leaves; a prompt `whole …` is answered."""
    if x.prompt.startswith("whole"):
        x.chat(x.prompt)
        return
    x.begin_stream()
    x.event("half an answer")
    x.wait_closed()


def shell(place, statement):
    """Types a statement into the sqlite3 shell; returns (exit code, stdout, stderr)."""
    r = subprocess.run(["sqlite3", "-cmd", ".timeout 5000", place.database, statement], stdin=subprocess.DEVNULL,
                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=90, env=place.env)
    return r.returncode, r.stdout, r.stderr


def counts(place):
    return dict(place.sql("SELECT status, count(*) FROM generations GROUP BY 1"))


def kept_counts(place):
    """The counts that the triggers keep."""
    names = ("queued", "processing", "completed", "failed", "cancelled")
    row = place.sql(f"SELECT {', '.join(names)} FROM totals")[0]
    return {name: n for name, n in zip(names, row) if n}


def streaming(place, server, count):
    """Waits until so many transfers stand in mid-stream."""
    wait_until(lambda: server.count >= count and all(x.streaming for x in server.requests), 10, "the transfers")


def seen_closed(x, since, name):
    wait_until(lambda: x.closed_at, 10, f"{name}: the end of the transfer")
    took = x.closed_at - since
    tap.ok(took < POLL_S, f"{name}: the transfer ends within one poll interval")
    tap.note(f"{name}: the server saw it close after {took * 1000:.0f} ms")


def submit_batch(place, prompts, *args):
    place.write("items.jsonl", "".join(json.dumps({"custom_id": f"{i}", "prompt": p}) + "\n" for i, p in enumerate(prompts)))
    r = place.run("batch", "submit", "items.jsonl", *args)
    if r.code != 0:
        raise RuntimeError(f"batch submit failed\n{r}")
    return r.id


def test_cancel_a_running_one(place):
    with Server(half_then_silence) as server:
        place.configure(CONFIG.format(url=server.url))
        id, other = place.submit("x"), place.submit("y")
        runner = place.start_runner()
        streaming(place, server, 2)
        since = time.monotonic()
        code = shell(place, f"UPDATE generations SET status='cancelled' WHERE id='{id}'")
        tap.equal(code, (0, "", ""), "UPDATE … SET status='cancelled' is taken")
        x = next(x for x in server.requests if x.prompt == "x")
        seen_closed(x, since, "cancelled in the shell")
        row = place.show(id)
        tap.equal((row["status"], row["parameters"]["cancelledReason"]), ("cancelled", "cancelled by hand"), "it is cancelled")
        tap.ok("cancelledAt" in row["parameters"], "and cancelledAt is set", row["parameters"])
        wait_until(lambda: place.value("SELECT partial FROM outputs WHERE generation_id = ?", id) == 1, 10, "its partial text")
        tap.equal(place.value("SELECT content FROM outputs WHERE generation_id = ?", id), "half an answer", "what had come is kept")
        events = [e for (e,) in place.sql("SELECT event FROM logs WHERE generation_id = ? ORDER BY id", id)]
        tap.equal(events, ["generation.queued", "generation.processing", "generation.cancelled"], "the log has the transition")
        tap.equal((place.status(other), counts(place)), ("processing", {"cancelled": 1, "processing": 1}), "the other goes on")
        tap.equal(kept_counts(place), counts(place), "the counts by state are right")
        # Failed, with a text of one's own.
        since = time.monotonic()
        tap.equal(shell(place, f"UPDATE generations SET status='failed', error_message='enough' WHERE id='{other}'")[0], 0,
                  "UPDATE … SET status='failed' with a text is taken")
        seen_closed(next(x for x in server.requests if x.prompt == "y"), since, "failed in the shell")
        row = place.show(other)
        tap.equal((row["status"], row["errorMessage"], row["parameters"]["error"], row["parameters"]["errorContext"]["type"]),
                  ("failed", "enough", "enough", "OperatorError"), "it is failed, with its errorContext")
        tap.ok(runner.running and not server.failures, "the runner goes on", runner.err)
        tap.equal(runner.stop(), 0, "and ends with 0")
        tap.equal((counts(place), kept_counts(place)), ({"cancelled": 1, "failed": 1},) * 2, "nothing came back")


def test_completed_is_final(place):
    with Server(half_then_silence) as server:
        place.configure(CONFIG.format(url=server.url))
        id = place.submit("whole answer")
        tap.equal(place.run("run", "--drain").code, 0, "one is completed")
        for status in ("queued", "processing", "failed", "cancelled"):
            code, _, err = shell(place, f"UPDATE generations SET status='{status}' WHERE id='{id}'")
            tap.ok(code != 0 and "completed generation is final" in err, f"{status} is refused, with a message naming the state", err)
        code, _, err = shell(place, f"UPDATE generations SET status='done' WHERE id='{id}'")
        tap.ok(code != 0 and "queued, processing, completed, failed or cancelled" in err, "so is a word that is no state", err)
        code, _, err = shell(place, f"UPDATE batch_items SET status='queued' WHERE conversation_id='{id}'; SELECT changes()")
        tap.equal(code, 0, "it is no batch item")
        tap.equal((place.status(id), server.count), ("completed", 1), "it stays completed")
        code, _, err = shell(place, f"UPDATE generations SET status='completed' WHERE id='{id}'")
        tap.equal((code, err), (0, ""), "the state it has is taken, and changes nothing")
        tap.equal(place.value("SELECT count(*) FROM logs WHERE generation_id = ?", id), 3, "nothing of this is in the log")


def test_queued_by_hand_runs(place):
    """failed → queued in the shell is a retry: it runs at once."""
    answers = []

    def script(x):
        answers.append(x.number)
        if x.number == 1:
            x.error(400, "no such thing")
        else:
            x.chat("fine now")

    with Server(script) as server:
        place.configure(CONFIG.format(url=server.url))
        id = place.submit("x")
        runner = place.start_runner()
        place.wait_status(id, "failed")
        tap.equal(shell(place, f"UPDATE generations SET status='queued' WHERE id='{id}'")[0], 0, "failed → queued is taken")
        place.wait_status(id, "completed", POLL_S)
        row = place.show(id)
        tap.equal((row["attempts"], row["starts"], row["errorMessage"]), (1, 2, None), "it ran again and its error is gone")
        tap.ok("error" not in row["parameters"] and "errorContext" not in row["parameters"], "also from parameters", row)
        code = shell(place, "INSERT INTO generations (prompt, model_id) VALUES ('typed', 'm')")
        tap.equal(code, (0, "", ""), "an INSERT typed by hand is taken")
        wait_until(lambda: counts(place) == {"completed": 2}, POLL_S, "the typed one")
        tap.ok(True, "and runs")
        tap.equal(runner.stop(), 0, "the runner ends with 0")


def test_cancelled_and_queued_at_once(place):
    """In one transaction, so the runner sees only that the row is not its own any more, and starts it anew."""
    def script(x):
        x.begin_stream()
        x.event("old" if x.number == 1 else "new")
        if x.number == 1:
            x.wait_closed()
        else:
            x.event({}, "stop")
            x.send(b"data: [DONE]\n\n")

    with Server(script) as server:
        place.configure(CONFIG.format(url=server.url))
        id = place.submit("x")
        runner = place.start_runner()
        streaming(place, server, 1)
        since = time.monotonic()
        code = shell(place, f"BEGIN; UPDATE generations SET status='cancelled' WHERE id='{id}';"
                            f" UPDATE generations SET status='queued' WHERE id='{id}'; COMMIT;")
        tap.equal(code, (0, "", ""), "cancelled and queued again in one transaction")
        seen_closed(server.requests[0], since, "cancelled and queued again")
        place.wait_status(id, "completed")
        tap.equal(place.sql("SELECT content, partial FROM outputs WHERE generation_id = ?", id), [("new", 0)],
                  "it runs anew, and the old text does not come back")
        tap.equal((server.count, place.sql("SELECT attempts, starts FROM generations")), (2, [(1, 2)]), "in a start of its own")
        tap.equal(runner.stop(), 0, "the runner ends with 0")


def test_cancel_a_batch(place):
    with Server(half_then_silence) as server:
        place.configure(CONFIG.format(url=server.url))
        batch = submit_batch(place, [f"item {i}" for i in range(10)])
        runner = place.start_runner()
        streaming(place, server, 4)
        since = time.monotonic()
        code = shell(place, f"UPDATE batch_jobs SET status='cancelled' WHERE id='{batch}'")
        tap.equal(code, (0, "", ""), "UPDATE batch_jobs SET status='cancelled' is taken")
        for x in server.requests[:4]:
            seen_closed(x, since, f"item {x.number} of the cancelled batch")
        wait_until(lambda: counts(place) == {"cancelled": 10}, 10, "all items cancelled")
        tap.equal(server.count, 4, "no further item was sent")
        b = place.run("batch", "show", batch, "--json").json
        tap.equal((b["status"], b["totalItems"], b["cancelledItems"], b["queuedItems"], b["processingItems"]),
                  ("cancelled", 10, 10, 0, 0), "the batch's counters are right")
        tap.equal(kept_counts(place), {"cancelled": 10}, "and the counts by state")
        reasons = place.sql("SELECT DISTINCT json_extract(parameters, '$.cancelledReason') FROM generations")
        tap.equal(reasons, [("batch job cancelled by hand",)], "each item tells why")
        tap.equal(place.value("SELECT count(*) FROM logs WHERE event = 'generation.cancelled'"), 10, "the log has each of them once")
        tap.equal(place.value("SELECT count(*) FROM logs WHERE event = 'batch.cancelled'"), 1, "and the batch")
        code, _, err = shell(place, f"UPDATE batch_jobs SET status='processing' WHERE id='{batch}'")
        tap.ok(code != 0 and "cancelled batch job is final" in err, "a cancelled batch stays so", err)
        tap.equal(runner.stop(), 0, "the runner ends with 0")


def test_pause_a_batch(place):
    go = []

    def script(x):
        while not go and not x.wait_closed(0.02):
            pass
        x.chat(x.prompt)

    with Server(script) as server:
        place.configure(CONFIG.format(url=server.url))
        batch = submit_batch(place, [f"item {i}" for i in range(12)])
        runner = place.start_runner()
        wait_until(lambda: server.count == 4, 10, "four in flight")
        tap.equal(shell(place, f"UPDATE batch_jobs SET status='paused' WHERE id='{batch}'"), (0, "", ""), "status='paused' is taken")
        go.append(True)
        wait_until(lambda: counts(place) == {"completed": 4, "queued": 8}, 10, "those in flight finish")
        tap.ok(True, "what was in flight finishes")
        single = place.submit("whole single")
        place.wait_status(single, "completed")
        tap.equal((server.count, counts(place)), (5, {"completed": 5, "queued": 8}), "others run meanwhile, nothing of the batch does")
        tap.equal(place.value("SELECT paused_reason FROM batch_jobs"), "paused by hand", "the reason is told")
        tap.equal(shell(place, f"UPDATE batch_jobs SET status='processing' WHERE id='{batch}'"), (0, "", ""), "and resumed")
        wait_until(lambda: counts(place) == {"completed": 13}, 10, "the rest")
        tap.equal(place.value("SELECT status FROM batch_jobs"), "completed", "it completes")
        tap.equal((server.count, server.failures), (13, []), "each was sent once")
        tap.equal(runner.stop(), 0, "the runner ends with 0")


tap.main(globals())
