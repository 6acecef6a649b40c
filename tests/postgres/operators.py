#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Orders: operators type UPDATEs into the mirror, as the plain owner of its tables, and the box that owns the rows carries
them out as its own commands would; what is illegal there is set back here and said.
"""
import os
import random
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import mirror
import mirror_work as work
import tap
from genrun import Place, wait_until
from postgres import Postgres, Proxy, SqlError


def begin(place, pg, node="box", **kw):
    """A box whose work waits: no runner."""
    work.configure(place, pg.url, node=node, **kw)
    r = place.run("sync", "init")
    if r.code != 0:
        raise RuntimeError(f"sync init failed\n{r}")


def push(place, name="a push"):
    r = place.run("sync", "push", "--json", timeout_s=60)
    tap.result(r, 0, name)
    return r.json


def drain(place):
    place.run("run", "--no-http", "--drain", timeout_s=60, env={"GENRUN_SYNC_URL": None})


def equal(place, pg, name, node="box"):
    broken = mirror.differences(place.database, pg, node)
    tap.ok(not broken, f"{name}: both sides are equal", lambda: "\n".join(broken))


def outcomes(pg, node="box"):
    return [tuple(r) for r in pg.rows(f"SELECT state, reason FROM genrun_orders WHERE node = '{node}' ORDER BY id")]


def states(pg, node="box"):
    return [state for state, _ in outcomes(pg, node)]


def test_generations(place):
    with Postgres() as pg:
        begin(place, pg)
        ids = [place.submit(f"p{i}", "--session", "s1" if i < 4 else "s2", "--user", "ann") for i in range(8)]
        failing = place.submit("fails", "--param", "fail=InvalidRequestError", "--priority", "9")
        push(place)
        tap.equal(pg.value("SELECT rolsuper FROM pg_roles WHERE rolname = current_user"), "f", "the operator is no superuser")

        pg.psql(f"UPDATE generations SET status='cancelled' WHERE id='{ids[4]}'")
        tap.equal(place.status(ids[4]), "queued", "nothing happens here before the next sync")
        r = push(place, "a push carries it out")
        tap.equal((place.status(ids[4]), r["ordersApplied"], r["ordersRefused"]), ("cancelled", 1, 0), "cancelled by id")
        tap.equal(pg.value(f"SELECT parameters ->> 'cancelledReason' FROM generations WHERE id='{ids[4]}'") is not None, True,
                  "and what the box stamps comes back with the same push")

        pg.psql("UPDATE generations SET status='cancelled' WHERE session_id='s1' AND status='queued'")
        push(place)
        tap.equal([place.status(i) for i in ids[:4]], ["cancelled"] * 4, "by session")

        pg.psql("UPDATE generations SET status='cancelled', error_message='too old', completed_at=now() "
                "WHERE status='queued' AND created_at < now() - interval '0 seconds' AND prompt <> 'fails'")
        push(place)
        tap.equal([place.status(i) for i in ids[5:]], ["cancelled"] * 3, "by age, with the columns that go with it by habit")
        tap.equal(place.value("SELECT json_extract(parameters, '$.cancelledReason') FROM generations WHERE id = ?", ids[7]),
                  "too old", "and the reason typed")

        pg.psql(f"UPDATE generations SET status='queued' WHERE id='{ids[0]}';"
                f"UPDATE generations SET status='failed', error_message='by hand, \"quoted\" \\ ☀' WHERE id='{ids[1]}'")
        push(place)
        tap.equal(place.status(ids[0]), "queued", "back to queued")
        # A cancelled one cannot fail: the law of the box.
        tap.equal(place.status(ids[1]), "cancelled", "an illegal one is refused")
        tap.equal(outcomes(pg)[-1][0], "refused", "and said there")
        tap.ok("illegal transition" in (outcomes(pg)[-1][1] or ""), "with the reason", lambda: str(outcomes(pg)[-1]))
        tap.equal(pg.value(f"SELECT status FROM generations WHERE id='{ids[1]}'"), "cancelled", "the row is set back")
        tap.equal(place.value("SELECT count(*) FROM logs WHERE event = 'order.refused'"), 1, "and the log has it")

        pg.psql(f"UPDATE generations SET status='failed', error_message='by hand' WHERE id='{ids[0]}'")
        push(place)
        tap.equal(place.sql("SELECT status, error_type, error_message FROM generations WHERE id = ?", ids[0]),
                  [("failed", "OperatorError", "by hand")], "failed by hand")

        pg.psql(f"UPDATE generations SET dismissed_at=now() WHERE id='{ids[0]}';"
                f"UPDATE generations SET priority=7 WHERE id='{failing}';"
                f"UPDATE generations SET parameters=parameters || '{{\"note\": \"kept\"}}' WHERE id='{failing}'")
        push(place)
        tap.ok(place.value("SELECT dismissed_at IS NOT NULL FROM generations WHERE id = ?", ids[0]), "dismissed")
        tap.equal(place.sql("SELECT priority, json_extract(parameters, '$.note') FROM generations WHERE id = ?", failing),
                  [(7, "kept")], "priority and parameters")
        equal(place, pg, "after all orders")
        drain(place)
        push(place)
        equal(place, pg, "after the work")


def test_in_the_order_typed(place):
    with Postgres() as pg:
        begin(place, pg)
        a, b = place.submit("a"), place.submit("b")
        push(place)
        for status in ("cancelled", "queued", "failed", "queued", "cancelled"):
            pg.psql(f"UPDATE generations SET status='{status}' WHERE id='{a}'")
        for status in ("cancelled", "queued"):
            pg.psql(f"UPDATE generations SET status='{status}' WHERE id='{b}'")
        push(place)
        tap.equal((place.status(a), place.status(b)), ("cancelled", "queued"), "several on one row: the last word stands")
        tap.equal([e for (e,) in place.sql("SELECT event FROM logs WHERE generation_id = ? AND event LIKE 'generation.%' "
                                           "ORDER BY id", a)],
                  ["generation.queued", "generation.cancelled", "generation.queued", "generation.failed", "generation.queued",
                   "generation.cancelled"], "each was carried out, in the order typed")
        tap.equal(states(pg), ["applied"] * 7, "and told")
        equal(place, pg, "then")


def test_batches(place):
    with Postgres() as pg:
        begin(place, pg)
        names = ("paused", "cancelled", "items")
        jobs = {n: place.run("batch", "submit", place.write(f"{n}.jsonl", "".join(f'{{"prompt":"{n}{i}"}}\n' for i in range(5)))).id
                for n in names}
        push(place)
        pg.psql(f"UPDATE batch_jobs SET status='paused', paused_reason='lunch' WHERE id='{jobs['paused']}';"
                f"UPDATE batch_jobs SET status='cancelled', completed_at=now() WHERE id='{jobs['cancelled']}';"
                f"UPDATE batch_items SET status='cancelled' WHERE batch_job_id='{jobs['items']}' AND item_index < 2;"
                f"UPDATE batch_items SET status='failed', error_message='bad' WHERE batch_job_id='{jobs['items']}' AND item_index = 2")
        push(place)
        state = lambda n: place.sql("SELECT status, paused_reason FROM batch_jobs WHERE id = ?", jobs[n])[0]
        tap.equal(state("paused"), ("paused", "lunch"), "a batch job is paused")
        tap.equal(state("cancelled")[0], "cancelled", "one is cancelled")
        items = lambda n: [s for (s,) in place.sql("SELECT status FROM batch_items WHERE batch_job_id = ? ORDER BY item_index", jobs[n])]
        wait_until(lambda: items("cancelled") == ["cancelled"] * 5, 5, "its items")
        tap.equal(items("cancelled"), ["cancelled"] * 5, "and with it what waits in it")
        tap.equal(items("items"), ["cancelled", "cancelled", "failed", "queued", "queued"], "items by their view")
        equal(place, pg, "after it")
        pg.psql(f"UPDATE batch_jobs SET status='processing' WHERE id='{jobs['paused']}';"
                f"UPDATE batch_items SET status='queued', error_message=NULL WHERE batch_job_id='{jobs['items']}' AND status <> 'queued'")
        push(place)
        tap.ok(state("paused")[0] in ("queued", "processing"), "it is resumed")
        tap.equal(items("items"), ["queued"] * 5, "items again")
        tap.equal(set(states(pg)), {"applied"}, "all were carried out", )
        drain(place)
        push(place)
        tap.equal((state("paused")[0], state("items")[0]), ("completed", "completed"), "and run")
        equal(place, pg, "then")
        pg.psql(f"UPDATE batch_jobs SET status='cancelled' WHERE id='{jobs['paused']}'")
        push(place)
        tap.equal((state("paused")[0], states(pg)[-1]), ("completed", "refused"), "an ended batch job is final")
        tap.equal(pg.value(f"SELECT status FROM batch_jobs WHERE id='{jobs['paused']}'"), "completed", "and set back there")
        equal(place, pg, "at the end")


def refused(pg, sql, part, name):
    try:
        pg.psql(sql)
    except SqlError as reason:
        tap.contains(str(reason), part, name)
        return
    tap.ok(False, name, "it was taken")


def test_illegal(place):
    with Postgres() as pg:
        begin(place, pg)
        done = place.submit("done")
        drain(place)
        waits = place.submit("waits")
        push(place)
        refused(pg, f"UPDATE generations SET status='done' WHERE id='{waits}'", "check constraint", "an unknown status")
        for column, value in (("prompt", "'x'"), ("user_id", "'eve'"), ("cost", "0"), ("node", "'other'"), ("sync_version", "0"),
                              ("model_id", "'x'"), ("created_at", "now()")):
            refused(pg, f"UPDATE generations SET {column}={value} WHERE id='{waits}'", "can be changed here", f"{column} is the box's")
        tap.equal(states(pg), [], "none of it is an order")
        pg.psql(f"UPDATE generations SET status='queued' WHERE id='{done}';"
                f"UPDATE generations SET status='processing' WHERE id='{waits}';"
                f"UPDATE generations SET priority=5000 WHERE id='{waits}';"
                f"UPDATE generations SET parameters='[1]' WHERE id='{waits}'")
        r = push(place, "a push with illegal orders ends well")
        tap.equal((states(pg), r["ordersRefused"]), (["refused"] * 4, 4), "all are refused")
        tap.ok(all(reason for _, reason in outcomes(pg)), "each with its reason", lambda: str(outcomes(pg)))
        tap.equal(pg.rows(f"SELECT status, priority, parameters FROM generations WHERE id IN ('{done}', '{waits}') ORDER BY seq"),
                  [["completed", "0", "{}"], ["queued", "0", "{}"]], "and the rows are set back")
        equal(place, pg, "then")
        tap.equal(push(place)["ordersRefused"], 0, "and not said again")


def test_with_a_runner(place):
    """Orders reach what is running."""
    with Postgres() as pg:
        begin(place, pg)
        runner = place.start_runner("--no-http")
        ids = [place.submit(f"p{i}", "--param", "delay=1h") for i in range(3)]
        wait_until(lambda: pg.value("SELECT count(*) FROM generations WHERE status='processing'") == "3", 20, "all running, there")
        pg.psql(f"UPDATE generations SET status='cancelled' WHERE id='{ids[0]}';"
                f"UPDATE generations SET status='failed', error_message='enough' WHERE id='{ids[1]}';")
        place.wait_status(ids[0], "cancelled")
        place.wait_status(ids[1], "failed")
        tap.ok(True, "what runs is cancelled and failed from there")
        wait_until(lambda: states(pg) == ["applied"] * 2, 10, "the outcome there")
        # Away and back.
        runner.stop()
        pg.psql(f"UPDATE generations SET status='cancelled' WHERE id='{ids[2]}'")
        tap.equal(states(pg)[-1], "open", "a box that is away has its orders wait")
        runner = place.start_runner("--no-http")
        place.wait_status(ids[2], "cancelled")
        wait_until(lambda: states(pg)[-1] == "applied", 10, "the outcome there")
        runner.stop()
        push(place)
        equal(place, pg, "then")


def test_two_boxes(place):
    with Postgres() as pg, Place() as other:
        begin(place, pg, node="one")
        begin(other, pg, node="two")
        ids = {box: [box.submit(f"p{i}", "--user", "ann", "--session", "s") for i in range(3)] for box in (place, other)}
        push(place)
        push(other)
        tap.equal(pg.rows("SELECT node, count(*)::text FROM generations GROUP BY node ORDER BY node"), [["one", "3"], ["two", "3"]],
                  "two boxes, one mirror")
        pg.psql("UPDATE generations SET status='cancelled' WHERE session_id='s'")
        r = push(place)
        tap.equal(r["ordersApplied"], 3, "each gets its own orders only")
        tap.equal(states(pg, "two"), ["open"] * 3, "those of the other wait")
        tap.equal([other.status(i) for i in ids[other]], ["queued"] * 3, "and it did nothing yet")
        push(other)
        tap.equal([b.status(i) for b in ids for i in ids[b]], ["cancelled"] * 6, "until it comes")
        equal(place, pg, "one", node="one")
        equal(other, pg, "two", node="two")
        with Place() as third:
            work.configure(third, pg.url, node="one")
            third.submit("x")
            tap.error_line(third.run("sync", "push"), 5, "one", "a third box cannot take a name")
        equal(place, pg, "and has changed nothing", node="one")


def test_applied_once(place):
    """Killed between carrying out and telling: carried out once."""
    rng = random.Random()
    with Postgres() as pg, Proxy(pg.port) as proxy:
        begin(place, pg)
        place.env["GENRUN_SYNC_URL"] = pg.url_at(proxy.port)
        ids = [place.submit(f"p{i}") for i in range(40)]
        push(place)
        for i in range(12):
            pg.psql("UPDATE generations SET status='cancelled'; UPDATE generations SET status='queued';"
                    if i % 2 else "UPDATE generations SET status='cancelled';")
            one = place.start("sync", "push")
            if i % 3 == 0:
                proxy.cut_after = proxy.passed + rng.randint(1, 20000)
            time.sleep(rng.uniform(0.0, 0.15))
            if one.running:
                one.kill()
            proxy.cut_after = None
        push(place, "a push that nobody killed")
        orders = int(pg.value("SELECT count(*) FROM genrun_orders"))
        tap.equal(pg.value("SELECT count(*) FROM genrun_orders WHERE state = 'open'"), "0", f"all {orders} orders have ended")
        told = place.value("SELECT count(*) FROM logs WHERE event LIKE 'order.%'")
        tap.equal(told, orders, "each was carried out once")
        tap.equal(pg.value("SELECT count(*) FROM genrun_orders WHERE state = 'refused'"),
                  str(place.value("SELECT count(*) FROM logs WHERE event = 'order.refused'")), "with the outcome that the box noted")
        equal(place, pg, "then")
        tap.equal(len({place.status(i) for i in ids}), 1, "one state for all")


tap.main(globals())
