#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Webhooks against receivers that fail, hang, redirect, want no more, hold off and hang up: each event arrives at least
once, those of a generation in order, a retry under the same message id, and no secret is seen anywhere."""
import base64
import hashlib
import hmac
import json
import os
import re
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import server
import tap
from genrun import wait_until

KEY = b"genrun-test-secret-0123456789ab"
SECRET = {"HOOK_SECRET": "whsec_" + base64.b64encode(KEY).decode()}
SLOT = "T0SECRETSLOT"


class Receiver(server.Server):
    """Keeps what it was sent; `answers`: statuses (or functions of the exchange) for the first requests, then 200."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.had = []
        super().__init__(self.take)

    @property
    def hook(self):
        return self.url.rsplit("/v1", 1)[0] + "/" + SLOT

    def take(self, x):
        self.had.append(x)
        answer = self.answers.pop(0) if self.answers else 200
        if callable(answer):
            answer(x)
        else:
            x.answer(answer, "ok")

    def types(self):
        return [x.json["type"] for x in self.had]


def configure(place, url, *lines, name="app"):
    more = "\n".join(lines)
    place.configure(f"[webhook {name}]\nurl = {url}\nsecret_env = HOOK_SECRET\n{more}\n[model echo]\n")


def signed(x):
    content = b".".join([x.header("webhook-id").encode(), x.header("webhook-timestamp").encode(), x.body])
    return "v1," + base64.b64encode(hmac.new(KEY, content, hashlib.sha256).digest()).decode() == x.header("webhook-signature")


def again(place):
    """Whatever waits for its next attempt is due now."""
    place.sql("UPDATE delivery SET next_at=1 WHERE status='pending'")
    place.sql("UPDATE endpoint SET not_before=NULL, away_since=NULL")


def delivered(place, count):
    wait_until(lambda: place.value("SELECT count(*) FROM delivery WHERE status='delivered'") == count,
               what=f"{count} taken deliveries; there are {place.sql('SELECT status, last_error FROM delivery')}")


def quiet(place, *texts):
    for text in texts:
        tap.lacks(text, SLOT, "the URL is in no message")
        tap.lacks(text, SECRET["HOOK_SECRET"], "nor is the secret")
    place.sql("PRAGMA wal_checkpoint")
    raw = b"".join(open(os.path.join(place.folder, n), "rb").read() for n in os.listdir(place.folder)
                   if n.startswith("test.db") and os.path.isfile(os.path.join(place.folder, n)))
    tap.ok(SLOT.encode() not in raw and KEY not in raw, "the database holds neither URL nor secret")


def test_events_arrive_in_order_and_signed(place):
    with Receiver() as r:
        configure(place, r.hook, "events = generation.*")
        runner = place.start_runner(env=SECRET)
        id = place.submit("hello <secret>", "--model", "echo")
        delivered(place, 3)
        tap.equal(r.types(), ["generation.queued", "generation.processing", "generation.completed"], "in order")
        tap.ok(all(signed(x) for x in r.had), "signed with a new timestamp each")
        last = r.had[2].json
        tap.equal((last["data"]["id"], last["data"]["status"], last["data"]["modelId"]), (id, "completed", "echo"),
                  "the row is sent along")
        tap.equal(len({x.header("webhook-id") for x in r.had}), 3, "each has an id of its own")
        tap.equal(place.value("SELECT log_id>=(SELECT max(event_id) FROM delivery) FROM cursors WHERE name='webhook:app'"),
                  1, "the cursor is behind them")
        runner.stop()
        quiet(place, runner.err)


def test_failures_are_tried_again(place):
    def redirect(x):
        x.answer(302, "", {"Location": r.hook + "/elsewhere"})

    def hang_up(x):
        x.connection.close()

    def hang(x):
        x.wait_closed()
    with Receiver(500, redirect, hang_up, hang) as r:
        configure(place, r.hook, "events = generation.completed", "timeout = 300ms")
        runner = place.start_runner(env=SECRET)
        place.submit("a", "--model", "echo")
        reasons = []
        for attempts in range(1, 5):
            wait_until(lambda: place.value("SELECT attempts FROM delivery") == attempts, what=f"attempt {attempts}")
            reasons.append(place.value("SELECT last_error FROM delivery"))
            tap.ok(place.value("SELECT next_at > created_at + 3000 FROM delivery") == 1, "tried again later")
            again(place)
        delivered(place, 1)
        tap.equal(reasons[0], "HTTP 500", "a status is told")
        tap.contains(reasons[1], "redirect", "a redirect is told")
        tap.contains(reasons[3], "no answer within 300 ms", "a timeout is told")
        tap.equal({x.path for x in r.had}, {"/" + SLOT}, "no redirect was followed")
        tap.equal(len({x.header("webhook-id") for x in r.had}), 1, "one id in all attempts")
        tap.equal(len(r.had), 5, "five requests")
        runner.stop()
        quiet(place, runner.err, str(reasons))


def test_a_failed_one_holds_its_generation_only(place):
    def pick(x):
        x.answer(500 if x.json["data"]["id"] == bad[0] and not healed else 200, "")
    bad, healed = [None], []
    with Receiver() as r:
        r.answers = [pick] * 1000
        configure(place, r.hook, "events = generation.*")
        bad[0] = place.submit("a", "--model", "echo")
        runner = place.start_runner(env=SECRET)
        place.sql("UPDATE generations SET status='cancelled' WHERE status='queued'")
        good = place.submit("b", "--model", "echo")
        place.wait_status(good, "completed")
        wait_until(lambda: place.value("SELECT count(*) FROM delivery WHERE status='delivered'") >= 3, what="the other one")
        left = place.sql("SELECT held, attempts FROM delivery WHERE status='pending' ORDER BY id")
        if left:
            tap.equal([h for h, _ in left], [0] + [1] * (len(left) - 1), "later ones of the same generation wait")
            healed.append(1)
            again(place)
        total = place.value("SELECT count(*) FROM delivery")
        delivered(place, total)
        for id in (bad[0], good):
            ids = [x.json["data"]["log"]["id"] for x in r.had if x.json["data"]["id"] == id]
            tap.equal(ids, sorted(ids), "in the order of the log")
        runner.stop()


def test_gone_disables(place):
    with Receiver(410) as r:
        configure(place, r.hook, "events = generation.completed")
        runner = place.start_runner(env=SECRET)
        place.submit("a", "--model", "echo")
        wait_until(lambda: place.value("SELECT disabled_at IS NOT NULL FROM endpoint") == 1, what="the end of the endpoint")
        tap.equal(place.value("SELECT count(*) FROM logs WHERE event='webhook.disabled'"), 1, "it is in the log")
        id = place.submit("b", "--model", "echo")
        place.wait_status(id, "completed")
        row = place.run("--json", "webhook", "list", env=SECRET).jsonl[0]
        tap.equal((row["state"], row["failed"]), ("disabled", 1), "it is listed as that")
        tap.contains(place.run("doctor", env=SECRET).out, "is disabled", "and told by the doctor")
        tap.result(place.run("webhook", "enable", "app"), 0, "enabled again")
        tap.result(place.run("webhook", "redeliver", "--failed"), 0, "what failed goes again", out=r"1 to be sent again")
        delivered(place, 1)
        tap.equal(len({x.header("webhook-id") for x in r.had}), 1, "under its id")
        runner.stop()


def test_gone_drops_many(place):
    with Receiver(*[410] * 4) as r:
        configure(place, r.hook, "events = generation.completed")
        runner = place.start_runner(env=SECRET)
        runner.stop()
        place.submit("a", "--model", "echo")
        place.run("run", "--no-http", "--drain", env={"HOOK_SECRET": None})
        place.sql("WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 1000) INSERT INTO delivery (endpoint, "
                  "event_id, event, message_id, body, next_at, created_at) SELECT 'app', -i, 'x.y', 'msg_' || i, '{}', 1, 1 FROM n")
        runner = place.start_runner(env=SECRET)
        wait_until(lambda: place.value("SELECT count(*) FROM delivery WHERE status='dropped'") >= 990, what="the end of what waited")
        wait_until(lambda: place.value("SELECT count(*) FROM delivery WHERE status='pending'") == 0, what="the end of all")
        tap.ok(len(r.had) <= 4, "nothing more is sent to it")
        runner.stop()


def test_held_off(place):
    def later(x):
        x.answer(429, "", {"Retry-After": "1000"})
    with Receiver(later) as r:
        configure(place, r.hook, "events = generation.completed")
        runner = place.start_runner(env=SECRET)
        place.submit("a", "--model", "echo")
        wait_until(lambda: place.value("SELECT attempts FROM delivery") == 1, what="the refusal")
        now = time.time() * 1000
        tap.ok(place.value("SELECT next_at FROM delivery") > now + 900_000, "Retry-After holds for the delivery")
        tap.ok(place.value("SELECT not_before FROM endpoint") > now + 900_000, "and for the endpoint")
        tap.equal(place.run("--json", "webhook", "list", env=SECRET).jsonl[0]["state"], "paused", "which is listed")
        again(place)
        delivered(place, 1)
        runner.stop()


def test_held_off_beside_a_failure(place):
    both, settled = threading.Barrier(2), threading.Event()

    def later(x):
        both.wait(20)
        x.answer(429, "", {"Retry-After": "1000"})

    def fail(x):
        both.wait(20)
        settled.wait(20)
        x.answer(500, "")
    with Receiver(later, fail) as r:
        configure(place, r.hook, "events = generation.completed")
        runner = place.start_runner(env=SECRET)
        for name in "ab":
            place.submit(name, "--model", "echo")
        wait_until(lambda: place.value("SELECT not_before FROM endpoint"), what="the pause")
        settled.set()
        wait_until(lambda: place.value("SELECT sum(attempts) FROM delivery") == 2, what="the failure")
        tap.ok((place.value("SELECT not_before FROM endpoint") or 0) > time.time() * 1000 + 900_000,
               "a failure beside it does not end the pause")
        runner.stop()


def test_away_and_back(place):
    with server.Server(listening=False) as r:
        had = []
        r.script = lambda x: (had.append(x), x.answer(200, ""))
        configure(place, r.url, "events = generation.completed")
        runner = place.start_runner(env=SECRET)
        for i in range(3):
            place.submit(str(i), "--model", "echo")
        wait_until(lambda: place.value("SELECT count(*) FROM logs WHERE event='webhook.away'") == 1, what="the news")
        tap.equal(place.value("SELECT max(attempts) FROM delivery"), 0, "it spends no attempt")
        place.sql("UPDATE endpoint SET not_before=NULL")
        wait_until(lambda: place.value("SELECT not_before IS NOT NULL FROM endpoint") == 1, what="another try")
        tap.equal(place.value("SELECT count(*) FROM logs WHERE event='webhook.away'"), 1, "told once")
        r.listen()
        place.sql("UPDATE endpoint SET not_before=NULL")
        delivered(place, 3)
        tap.equal(place.value("SELECT count(*) FROM logs WHERE event='webhook.back'"), 1, "and once that it is back")
        runner.stop()


def test_the_end_of_all_attempts(place):
    with Receiver(*[500] * 2) as r:
        configure(place, r.hook, "events = generation.queued")
        runner = place.start_runner(env=SECRET)
        runner.stop()
        place.submit("a", "--model", "echo")
        place.run("job", "webhooks", env=SECRET)
        tap.equal(len(r.had), 1, "a command sends, too")
        place.sql("UPDATE delivery SET attempts=9, next_at=1 WHERE status='pending'")
        tap.result(place.run("job", "webhooks", env=SECRET), 0, "the last attempt")
        tap.equal(place.value("SELECT count(*) FROM delivery WHERE status='failed'"), 1, "then it has failed")
        tap.equal(place.value("SELECT count(*) FROM logs WHERE event='webhook.failed'"), 1, "which is logged")
        place.run("job", "webhooks", env=SECRET)
        tap.equal(place.value("SELECT count(*) FROM delivery WHERE event LIKE 'webhook.%'"), 0, "and is no event to send")
        id = place.run("--json", "webhook", "list", "app", env=SECRET).jsonl[0]["id"]
        tap.result(place.run("webhook", "redeliver", str(id)), 0, "sent again by its id")
        place.run("job", "webhooks", env=SECRET)
        tap.equal(place.value("SELECT status FROM delivery"), "delivered", "and taken")
        tap.equal(place.run("webhook", "redeliver", "999").code, 4, "an unknown one is 4")


def test_kill(place):
    with Receiver() as r:
        configure(place, r.hook, "events = generation.*")
        runner = place.start_runner(env=SECRET)
        for round in range(3):
            seen = len(r.had)
            place.sql("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<20)"
                      " INSERT INTO generations (prompt, model_id) SELECT 'x', 'echo' FROM n")
            wait_until(lambda: len(r.had) > seen + 5, what="some deliveries")
            runner.kill()
            runner = place.start_runner(env=SECRET)
        wait_until(lambda: place.value("SELECT count(*) FROM generations WHERE status='completed'") == 60, what="the end")
        want = place.value("SELECT count(*) FROM logs WHERE event LIKE 'generation.%'")
        wait_until(lambda: place.value("SELECT count(*) FROM delivery WHERE status='delivered'") == want, what="all")
        logged = {i for (i,) in place.sql("SELECT id FROM logs WHERE event LIKE 'generation.%'")}
        got = {}
        for x in r.had:
            got.setdefault(x.json["data"]["log"]["id"], set()).add(x.header("webhook-id"))
        tap.equal(set(got), logged, "each event at least once")
        tap.equal(max(len(ids) for ids in got.values()), 1, "one message id each")
        story = {}
        for x in r.had:
            first = story.setdefault(x.json["data"]["id"], [])
            if x.json["data"]["log"]["id"] not in first:
                first.append(x.json["data"]["log"]["id"])
        tap.ok(all(ids == sorted(ids) for ids in story.values()), "in order for each generation")
        runner.stop()


def test_retention_waits_for_a_reader(place):
    with Receiver() as r:
        configure(place, r.hook, "events = generation.completed", "[retention]", "logs_after = 1ms")
        runner = place.start_runner(env=SECRET)
        runner.stop()
        place.sql("INSERT INTO generations (prompt, model_id) VALUES ('x', 'echo')")
        before = place.value("SELECT log_id FROM cursors")
        tap.result(place.run("job", "retention", env=SECRET), 0, "retention runs")
        tap.ok(place.value("SELECT count(*) FROM event WHERE id>?", before) > 0, "what is not read stays")
        tap.equal(place.run("run", "--drain", env=SECRET).code, 0, "a drain ends")
        tap.equal(r.types(), ["generation.completed"], "after it has sent")


def test_slack_gets_bursts(place):
    with Receiver() as r:
        place.configure(f"[webhook chat]\nurl_env = CHAT\nformat = slack\nevents = generation.completed\n[model echo]\n")
        env = {"CHAT": r.hook}
        runner = place.start_runner(env=env)
        begun = time.monotonic()
        for _ in range(30):
            place.sql("INSERT INTO generations (prompt, model_id) VALUES ('x', 'echo')")
        delivered(place, 30)
        # However slow this machine is just now.
        tap.ok(len(r.had) <= 2 + (time.monotonic() - begun), "one message a second", len(r.had))
        tap.ok(all(set(x.json) == {"text"} for x in r.had), "of text")
        tap.contains(r.had[0].json["text"], "*generation.completed* `", "with a line for each")
        runner.stop()
        quiet(place, runner.err, place.run("config", "show", env=env).out)


def test_filters(place):
    with Receiver() as r:
        place.configure(f"[webhook app]\nurl = {r.hook}\nevents = generation.completed\nusers = ann, bob\nmodels = echo\n"
                        "[model echo]\n")
        runner = place.start_runner()
        for user in ("ann", "eve", "bob"):
            place.wait_status(place.submit("x", "--model", "echo", "--user", user), "completed")
        delivered(place, 2)
        tap.equal([x.json["data"]["userId"] for x in r.had], ["ann", "bob"], "only those of the users")
        tap.ok(all(x.header("webhook-signature") is None for x in r.had), "unsigned without a secret")
        runner.stop()


def test_a_batch_is_of_the_models_of_its_lines(place):
    with Receiver() as r:
        place.configure(f"[webhook app]\nurl = {r.hook}\nevents = batch.completed\nmodels = other\n[model echo]\n[model other]\nprovider = echo\n")
        place.write("mixed.jsonl", '{"prompt": "a", "model": "echo"}\n{"prompt": "b", "model": "other"}\n')
        place.write("echo.jsonl", '{"prompt": "a", "model": "echo"}\n')
        runner = place.start_runner()
        for file in ("echo.jsonl", "mixed.jsonl"):
            id = place.run("batch", "submit", file, "--wait").id
        delivered(place, 1)
        tap.equal([x.json["data"]["id"] for x in r.had], [id], "the one that has such a line")
        runner.stop()


def test_test(place):
    with Receiver(200, 500) as r:
        configure(place, r.hook)
        tap.result(place.run("webhook", "test", "app", env=SECRET), 0, "taken", out=r"taken: HTTP 200")
        tap.ok(r.had[0].json["type"] == "webhook.test" and signed(r.had[0]), "signed as all others")
        tap.error_line(place.run("webhook", "test", "app", env=SECRET), 7, r"did not take the test: HTTP 500", "refused: 7")
        tap.error_line(place.run("webhook", "test", "app"), 3, r"HOOK_SECRET is not set", "no secret: 3")
        tap.error_line(place.run("webhook", "test", "apq", env=SECRET), 4, r"did you mean 'app'", "unknown: 4")


def test_private_addresses(place):
    with Receiver() as r:
        port = re.search(r":(\d+)/", r.hook).group(1)
        configure(place, f"http://a.localhost:{port}/x")
        tap.error_line(place.run("webhook", "test", "app", env=SECRET), 7, r"not public", "a name for loopback is refused")
        configure(place, f"http://a.localhost:{port}/x", "private = yes")
        tap.result(place.run("webhook", "test", "app", env=SECRET), 0, "unless that is meant")
        configure(place, "http://169.254.169.254/latest", "private = yes", "timeout = 1s")
        tap.error_line(place.run("webhook", "test", "app", env=SECRET), 7, r"not public", "link-local never")
        tap.equal(len(r.had), 1, "only one came")


if __name__ == "__main__":
    tap.main(globals())
