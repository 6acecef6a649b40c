#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""GET /api/events: every client gets every event of the log that is for it, once and in order, whatever happens to the
server, to the client, and to the others."""
import json
import os
import signal
import sqlite3
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap
from genrun import wait_until
from listen import Stream, opened, pump, stream
from web import Web


def logged(place, where="1", after=0):
    """The ids that the log has."""
    return [id for (id,) in place.sql(f"SELECT id FROM logs WHERE id > {after} AND {where} ORDER BY id")]


def batch_of(place, count, *args, delay=None):
    lines = [json.dumps({"prompt": f"p{i}", **({"parameters": {"delay": delay}} if delay else {})}) for i in range(count)]
    path = place.write("items.jsonl", "\n".join(lines) + "\n")
    return place.run("batch", "submit", path, "--model", "echo", *args).id


def ended(place, *args):
    """Submits one and waits for its end."""
    id = place.run("submit", "hi", "--model", "echo", *args).id
    wait_until(lambda: place.sql("SELECT 1 FROM generations WHERE id = ? AND status = 'completed'", id), what="its end")
    return id


def all_ended(place):
    return place.sql("SELECT queued + processing FROM totals") == [(0,)]


def test_what_an_event_is(place):
    with Web(place) as web:
        s = stream(web)
        tap.equal((s.status, s.headers["content-type"], s.headers["cache-control"]), (200, "text/event-stream", "no-cache"),
                  "a stream opens")
        tap.equal(s.retry, 2000, "and says how long to wait before the next try")
        id = ended(place)
        pump([s], lambda: "generation.completed" in s.names)
        tap.equal(s.names, ["generation.queued", "generation.processing", "generation.completed"],
                  "what another process submits is told from its first event to its last")
        rows = place.run("logs", id, "--json").jsonl
        tap.equal([json.loads(data) for _, _, data in s.events], rows, "an event's data is its row, as `logs --json` shows it")
        tap.equal([(i, e) for i, e, _ in s.events], [(r["id"], r["event"]) for r in rows], "its id that of the row, its name the row's")
        late = stream(web, "/api/events?after=0")
        pump([late], lambda: late.last >= s.last)
        tap.equal(late.ids, logged(place), "after=0 begins with the oldest")
        head = web.request("HEAD", "/api/events")
        tap.equal((head.status, head.body), (200, b""), "HEAD does not wait for events")


def test_filters(place):
    with Web(place) as web:
        batch = batch_of(place, 5, "--paused")
        other = batch_of(place, 5, "--paused")
        single = ended(place)
        filters = {f"batchId={batch}": f"batch_job_id = '{batch}'", f"batchId={batch[-8:]}": f"batch_job_id = '{batch}'",
                   f"generationId={single}": f"generation_id = '{single}'", "event=generation.completed": "event = 'generation.completed'",
                   "event=batch.": "event GLOB 'batch.*'", "level=warn": "level IN ('warn', 'error')", "level=debug": "1",
                   f"batchId={batch}&event=generation.": f"batch_job_id = '{batch}' AND event GLOB 'generation.*'"}
        before = opened([Stream(web, "/api/events?after=0&" + f) for f in filters])
        live = opened([Stream(web, "/api/events?" + f) for f in filters])
        tap.equal({s.status for s in before + live}, {200}, "every filter is taken")
        first = logged(place)[-1]
        place.run("batch", "resume", batch)
        place.run("batch", "resume", other)
        wait_until(lambda: all_ended(place), what="the batch jobs")
        last = ended(place)
        for s, l, (f, where) in zip(before, live, filters.items()):
            pump([s, l], lambda: s.last >= (logged(place, where) or [0])[-1] and l.last >= (logged(place, where, first) or [0])[-1])
            tap.equal(s.ids, logged(place, where), f"{f}: all of them, with after=0")
            tap.equal(l.ids, logged(place, where, first), f"{f}: and what comes, without")
        tap.ok(logged(place, f"generation_id = '{last}'") and logged(place, f"batch_job_id = '{other}'"), "there were others")
        tap.equal(len(logged(place, f"batch_job_id = '{batch}' AND event = 'generation.queued'")), 0,
                  "batch.created stands for the items' queued events")


def test_refusals(place):
    with Web(place) as web:
        for path, last, status, param in [
                ("/api/events?level=loud", None, 400, "level"), ("/api/events?after=x", None, 400, "after"),
                ("/api/events?after=-1", None, 400, "after"), ("/api/events?batch=1", None, 400, "batch"),
                ("/api/events?event=%0Aid:%201", None, 400, "event"), ("/api/events", "x", 400, "Last-Event-ID"),
                ("/api/events", "-5", 400, "Last-Event-ID"), ("/api/events", "1" * 30, 400, "Last-Event-ID"),
                ("/api/events?batchId=01900000-0000-7000-8000-000000000000", None, 404, "batchId"),
                ("/api/events?generationId=01900000-0000-7000-8000-000000000000", None, 404, "generationId")]:
            r = web.get(path, headers={"Last-Event-ID": last} if last else None)
            tap.equal((r.status, r.error["param"]), (status, param), f"{path} {last or ''}")
        tap.equal(web.get("/api/events", key=None).status, 401, "without a key nothing is open")
        tap.equal(web.post("/api/events", {}).status, 405, "POST is not a method of it")


def test_a_user_sees_their_own(place):
    keys = {user: place.run("key", "add", "--user", user).id for user in ("ann", "bob")}
    place.write("items.txt", "one\ntwo\n")
    with Web(place) as web:
        streams = opened([Stream(web, key=keys["ann"]), Stream(web, key=keys["bob"]), Stream(web),
                          Stream(web, "/api/events?after=0", key=keys["ann"])])
        batch = place.run("batch", "submit", "items.txt", "--model", "echo", "--user", "bob", "--wait").id
        for user in ("ann", "bob", "ann"):
            ended(place, "--user", user)
        ended(place)
        whose = {row[0]: row[1] for row in place.sql(
            "SELECT l.id, coalesce(g.user_id, b.user_id) FROM logs l LEFT JOIN generations g ON g.id = l.generation_id "
            "LEFT JOIN batch_jobs b ON b.id = l.batch_job_id")}
        mine = {user: [id for id, owner in sorted(whose.items()) if owner == user] for user in ("ann", "bob")}
        ann, bob, admin, again = streams
        pump(streams, lambda: ann.last >= mine["ann"][-1] and again.last >= mine["ann"][-1] and bob.last >= mine["bob"][-1]
             and admin.last >= max(whose))
        tap.equal(ann.ids, mine["ann"], "a user's key sees the events of that user")
        tap.equal(again.ids, mine["ann"], "also those of before")
        tap.equal(bob.ids, mine["bob"], "with those of their batch job and its items")
        tap.equal(admin.ids, [id for id in sorted(whose) if id > (admin.ids or [0])[0] - 1], "an admin sees all")
        tap.equal(web.get("/api/events?batchId=" + batch, key=keys["ann"]).status, 404, "another's batch job is not found")
        id = next(k["id"] for k in place.run("key", "list", "--json").jsonl if k["userId"] == "ann")
        place.run("key", "revoke", id)
        pump(streams, lambda: ann.ended and again.ended)
        ended(place)
        pump([bob, admin], lambda: admin.last >= logged(place)[-1])
        tap.ok(not bob.ended, "a stream ends when its key is revoked, and no other")


def test_restarts(place):
    """kill -9 and a graceful stop under a batch job: what a client gets in all is the log, nothing lost, nothing twice."""
    place.configure("[scheduler]\nconcurrency = 4\n")
    batch_of(place, 200, delay="5ms")
    web, got = Web(place), []
    for how in ("kill", "stop", None):
        web.start()
        s = stream(web, "/api/events" + ("" if got else "?after=0"), last=got[-1] if got else None)
        if how:
            pump([s], lambda: len(s.events) >= 60)
            getattr(web.process, how)()
            pump([s], lambda: s.ended)
        else:
            wait_until(lambda: all_ended(place), what="the batch job")
            pump([s], lambda: s.last >= logged(place)[-1])
        if how == "stop":
            tap.ok(not s.chunked or not s.text, "a graceful stop ends a stream between two events", s.text)
        got += s.ids
    web.process.stop()
    tap.equal(got, [id for id in logged(place) if id <= got[-1]], "three servers, one log: no event lost, none twice")
    tap.ok("generation.recovered" in [e for (e,) in place.sql("SELECT event FROM logs")], "the kill hit something")


def test_what_was_deleted(place):
    with Web(place) as web:
        for i in range(5):
            ended(place)
        newest = logged(place)[-1]
        place.sql("DELETE FROM event WHERE id BETWEEN 4 AND 6")
        for last, what in ((2, "what it has not seen was deleted"), (newest + 100, "the log has not come so far: it is another")):
            s = stream(web, last=last)
            pump([s], lambda: s.events)
            tap.equal([(i, e) for i, e, _ in s.events], [(newest, "reset")], f"a client is told to begin anew when {what}")
            ended(place)
            pump([s], lambda: len(s.events) == 4)
            tap.equal(s.ids[1:], logged(place, after=newest), "and gets what comes then")
            newest = logged(place)[-1]
        s = stream(web, last=6)
        pump([s], lambda: s.last >= newest)
        tap.equal(s.ids, logged(place, after=6), "one that needs nothing of it gets all the rest")


def test_two_hundred(place):
    place.configure("[scheduler]\nconcurrency = 8\n\n[http]\nmax_connections = 300\nmax_streams = 220\n")
    with Web(place) as web:
        streams = opened([Stream(web) for _ in range(200)])
        tap.equal({s.status for s in streams}, {200}, "200 clients are taken")
        first = logged(place)[-1]
        batch_of(place, 100)
        tap.equal(web.get("/api").status, 200, "others are served meanwhile")
        pump(streams, lambda: all_ended(place) and min(s.last for s in streams) >= logged(place)[-1])
        wanted = logged(place, after=first)
        tap.equal([i for i, s in enumerate(streams) if s.ids != wanted], [], "each got every event, once and in order")


def test_the_cap(place):
    place.configure("[http]\nmax_streams = 3\n")
    with Web(place) as web:
        streams = opened([Stream(web) for _ in range(3)])
        r = web.get("/api/events")
        tap.equal((r.status, r.error["code"]), (503, "too_many_streams"), "one more than max_streams is refused")
        tap.ok(int(r.headers["retry-after"]) > 0, "with a time to come back")
        tap.equal(web.get("/api").status, 200, "everything else is served")
        streams.pop().close()

        def is_free():
            place.run("submit", "hi", "--model", "echo")  # the next event meets a closed connection
            s = opened([Stream(web)])[0]
            streams.append(s)
            return s.status == 200

        wait_until(is_free, what="a free place")
        tap.ok(True, "a client that went away is noticed with the next event, and its place is free")
        ended(place)
        pump(streams[:2] + streams[-1:], lambda: min(s.last for s in streams[:2] + streams[-1:]) >= logged(place)[-1])


def resident_mb(process):
    with open(f"/proc/{process.pid}/status", encoding="ascii") as f:
        return int(next(line.split()[1] for line in f if line.startswith("VmRSS:"))) / 1024


def test_slow_readers(place):
    """24 MB of events while some clients never read: they cost no memory, and the others get all."""
    with Web(place) as web:
        ended(place)
        slow = [Stream(web, receive_buffer=None if i == 0 else 4096) for i in range(6)]
        quick = stream(web)
        db = sqlite3.connect(place.database, timeout=10)
        most, first = resident_mb(web.process), logged(place)[-1]
        start = most
        for _ in range(12):
            db.executemany("INSERT INTO event (created_at, level, event, data) VALUES (1, 'info', 'test.large', ?)",
                           [(json.dumps("x" * 10000),)] * 200)
            db.commit()
            last = logged(place)[-1]
            pump([quick], lambda: quick.last >= last)
            most = max(most, resident_mb(web.process))
        db.close()
        tap.equal(quick.ids, logged(place, after=first), "one that reads gets all of them")
        if "fsanitize" not in os.environ.get("GENRUN", "") and "san-" not in os.environ.get("GENRUN", ""):
            tap.ok(most - start < 20, "those that do not read cost no memory", f"from {start:.1f} to {most:.1f} MB")
        # And they have lost nothing: read now, they get it all.
        pump(slow[:1], lambda: slow[0].last >= last)
        tap.equal(slow[0].ids, logged(place, after=first), "one that begins to read late gets all of them, too")


tap.main(globals())
