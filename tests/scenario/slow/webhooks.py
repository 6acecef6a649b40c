#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A receiver of webhooks that is down for long, with more events than may wait for it."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "lib"))
import tap
from genrun import wait_until
from server import Server


def rss_kb(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return int(next(line for line in f if line.startswith("VmRSS")).split()[1])


def test_down_for_long(place):
    """12,000 events while nobody is there: rows and memory are bounded, the log keeps the rest; then all arrive, in order."""
    with Server(lambda x: x.answer(200, "ok"), listening=False) as r:
        place.configure(f"[webhook app]\nurl = {r.url}\nevents = generation.*\n[scheduler]\nconcurrency = 64\n"
                        "[retention]\nlogs_after = 1ms\n[model echo]\n")
        runner = place.start_runner()
        before = rss_kb(runner.pid)
        for _ in range(4):
            place.sql("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<1000)"
                      " INSERT INTO generations (prompt, model_id) SELECT 'x', 'echo' FROM n")
        wait_until(lambda: place.value("SELECT count(*) FROM generations WHERE status='completed'") == 4000, 60, "the work")
        wait_until(lambda: place.value("SELECT count(*) FROM delivery") >= 10000, 30, "as many as may wait")
        tap.equal(place.value("SELECT count(*) FROM logs WHERE event='webhook.away'"), 1, "it is told once that it is away")
        place.run("job", "retention")
        logged = {i for (i,) in place.sql("SELECT id FROM logs WHERE event LIKE 'generation.%'")}
        waits = place.value("SELECT count(*) FROM delivery")
        tap.ok(10000 <= waits <= 10100, "rows are bounded", waits)
        position = place.value("SELECT log_id FROM cursors WHERE name='webhook:app'")
        tap.equal(len([i for i in logged if i > position]), 12000 - waits, "the log keeps the rest")
        if "ASAN_OPTIONS" not in os.environ:
            tap.ok(rss_kb(runner.pid) - before < 32 * 1024, "memory, too", rss_kb(runner.pid) - before)
        r.listen()
        place.sql("UPDATE endpoint SET not_before=NULL")
        wait_until(lambda: place.value("SELECT count(*) FROM delivery WHERE status='delivered'") == 12000, 120, "all of them")
        story = {}
        for x in r.requests:
            story.setdefault(x.json["data"]["id"], []).append(x.json["type"])
        tap.equal({tuple(types) for types in story.values()}, {("generation.queued", "generation.processing", "generation.completed")},
                  "each once, in order")
        tap.equal((len(story), place.value("SELECT count(*) FROM logs WHERE event='webhook.back'")), (4000, 1), "of all, and it is told that it is back")
        runner.stop()


tap.main(globals())
