#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Alerts at real receivers, of format standard and slack: each is sent once when its condition comes, once when it is over, and
again when it comes back; a share of failures that hovers about its limit, a restart and more looks say nothing new."""
import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap
from genrun import wait_until
from server import Server

MINUTE = 60
DAY = 86400


class Receivers:
    """One of each format, and what they were told so far."""

    def __enter__(self):
        self.standard, self.slack = (Server(lambda x: x.answer(200, "ok")) for _ in range(2))
        return self

    def __exit__(self, *_):
        self.standard.stop()
        self.slack.stop()

    def configure(self, place, *more):
        place.configure(f"[webhook app]\nurl = {self.standard.url}\n[webhook chat]\nurl = {self.slack.url}\nformat = slack\n" + "\n".join(more) +
                        "\n[alerts]\nstuck_after = 1s\nfailure_rate = 0.5\n[cleanup]\nstuck_after = 100d\n[model echo]\n")

    def told(self):
        """The types that the first was sent; and the lines of the second, which may come together."""
        types = [x.json["type"] for x in self.standard.requests if x.json["type"].startswith("alert.")]
        lines = [line for x in self.slack.requests for line in x.json["text"].split("\n") if line.startswith("*alert.")]
        return types, lines

    def wait(self, names):
        """Until they were told exactly that; the last message and the last line of each name."""
        wait_until(lambda: sorted(self.told()[0]) == sorted(names) and len(self.told()[1]) == len(names), 20,
                   f"{names}; there are {self.told()}")
        return {x.json["type"]: x.json for x in self.standard.requests}, {line.split("*")[1]: line for line in self.told()[1]}


def stray(place):
    """A generation that a runner which is gone has left behind long ago."""
    id = place.submit("x", "--delay", "1h", "--model", "echo")
    place.sql("UPDATE generation SET run_after=NULL, status='processing', claim_token='0', runner_seq=99, started_at=?, starts=1 WHERE id=?",
              int(time.time() * 1000) - 60000, id)
    return id


def ended(place, failed, completed):
    """What ended in the last hour."""
    place.sql("DELETE FROM throughput")
    place.sql("INSERT INTO throughput (minute, failed, completed) VALUES (?, ?, ?)", int(time.time()) // MINUTE - 5, failed, completed)


def behind(place):
    """A reader of the log that has not come on for more than a day."""
    place.sql("INSERT INTO event (created_at, level, event) VALUES (?, 'info', 'runner.started')", int((time.time() - DAY - 3600) * 1000))
    id = place.value("SELECT max(id) FROM event")
    place.sql("INSERT INTO cursors (name, log_id, updated_at) VALUES ('sync', ?, 1) ON CONFLICT (name) DO UPDATE SET log_id=excluded.log_id", id - 1)


# alert: how its condition comes, how it goes, and what people read.
ALERTS = {
    "stuck": (stray, lambda place: place.run("recover", "--all", "--yes"),
              r"1 generation is stuck for more than 1 s; the longest: [0-9a-f-]{36}, "),
    "failure_rate": (lambda place: ended(place, 12, 8), lambda place: ended(place, 1, 30),
                     r"12 of the 20 generations that ended in the last hour failed"),
    "reader_behind": (behind, lambda place: place.sql("UPDATE cursors SET log_id=(SELECT max(id) FROM event) WHERE name='sync'"),
                      r"the reader sync of the log is 25 h behind: "),
}


def test_each(place):
    with Receivers() as r:
        r.configure(place)
        runner = place.start_runner()
        told = []
        for turn in ("first", "again"):
            for come, _, _ in ALERTS.values():
                come(place)
            told += [f"alert.{name}" for name in ALERTS]
            messages, lines = r.wait(told)
            for name, (_, _, words) in ALERTS.items():
                log = messages[f"alert.{name}"]["data"]["log"]
                tap.ok(log["level"] == "error" and log["data"]["value"] > 0, f"{turn}: {name} is told", log)
                tap.matches(log["message"], "^" + words, "in words")
                tap.matches(lines[f"alert.{name}"], rf"^\*alert\.{name}\*: " + words, "to slack, too")
            for _, go, _ in ALERTS.values():
                go(place)
            told += [f"alert.{name}_over" for name in ALERTS]
            messages, lines = r.wait(told)
            for name in ALERTS:
                log = messages[f"alert.{name}_over"]["data"]["log"]
                tap.ok(log["level"] == "info" and log["message"], f"{turn}: and that {name} is over", log)
                tap.contains(lines[f"alert.{name}_over"], log["message"], "to slack, too")
        runner.stop()


def look(place, times=1):
    """Without a runner the commands look, and send."""
    for _ in range(times):
        tap.result(place.run("job", "cleanup_stuck_generation"), 0, "a look")
    place.run("job", "webhooks")


def test_no_noise(place):
    with Receivers() as r:
        r.configure(place)
        place.submit("x", "--model", "echo", "--delay", "1h")
        look(place)
        tap.equal(r.told(), ([], []), "nothing is wrong")
        stray(place)
        behind(place)
        ended(place, 12, 8)
        look(place, 3)
        types = ["alert.stuck", "alert.failure_rate", "alert.reader_behind"]
        tap.equal((sorted(r.told()[0]), len(r.told()[1]), len(r.slack.requests)), (sorted(types), 3, 1), "each once, to slack in one message")
        stray(place)
        # About the limit, and where too few have ended to say anything: it is not over, and does not come again.
        for failed, completed in ((10, 10), (12, 8), (9, 11), (11, 9), (5, 2), (12, 8)):
            ended(place, failed, completed)
            look(place)
        tap.equal(sorted(r.told()[0]), sorted(types), "more of the same, and a share that hovers about the limit, say nothing")
        runner = place.start_runner("--no-http")
        tap.equal(runner.stop(), 0, "a runner comes and goes")
        look(place, 2)
        wait_until(lambda: r.told()[0].count("alert.stuck_over") == 1, what="the end that the runner brought")
        tap.equal(sorted(set(r.told()[0]) - {"alert.stuck_over"}), sorted(types), "and says only what is over by it")
        ended(place, 7, 13)
        look(place)
        tap.equal(r.told()[0].count("alert.failure_rate_over"), 1, "clearly below the limit it is over")
        ended(place, 0, 0)
        look(place)
        tap.equal((r.told()[0].count("alert.failure_rate_over"), r.told()[0].count("alert.failure_rate")), (1, 1), "and stays so")
        tap.equal(len(r.told()[0]), len(r.told()[1]), "slack had as many lines")


def test_to_others_while_one_is_away(place):
    """The alert that a reader is behind also goes out when the one that is behind is itself a webhook."""
    with Receivers() as r:
        r.configure(place, "[webhook lost]", "url_env = LOST", "events = *")
        place.submit("x", "--model", "echo", "--delay", "1h")
        look(place)
        place.sql("INSERT INTO event (created_at, level, event) VALUES (?, 'info', 'runner.started')", int((time.time() - DAY - 3600) * 1000))
        place.sql("UPDATE cursors SET log_id=(SELECT max(id) FROM event) - (name='webhook:lost')")
        tap.result(place.run("job", "cleanup_stuck_generation"), 0, "a look")
        place.run("job", "webhooks")
        wait_until(lambda: "alert.reader_behind" in r.told()[0], what="the alert")
        tap.contains(r.told()[1][0], "the reader webhook:lost of the log", "it says which")


tap.main(globals())
