# SPDX-License-Identifier: MIT
"""Recounts a database: what the triggers keep (counters, states of batch jobs, lanes, the
log) against what the rows say. drift(connection) returns what does not fit, one line each.
"""
STATES = ("queued", "processing", "completed", "failed", "cancelled")

# What an event of a generation does to its state. Names that are not here change none.
LEGAL = {
    "generation.queued": ({None, "processing", "failed", "cancelled"}, "queued"),
    "generation.processing": ({"queued"}, "processing"),
    "generation.completed": ({"processing"}, "completed"),
    "generation.failed": ({"processing", "queued"}, "failed"),
    "generation.cancelled": ({"processing", "queued"}, "cancelled"),
    "generation.retrying": ({"processing"}, "queued"),
    "generation.parked": ({"processing"}, "queued"),
    "generation.recovered": ({"processing"}, "queued"),
}


def _rows(db, sql, *values):
    cursor = db.execute(sql, values)
    names = [d[0] for d in cursor.description]
    return [dict(zip(names, row)) for row in cursor]


def _log(db, rows):
    broken = []
    state = {}
    for id, created_at, event, seq, batch in db.execute(
            "SELECT id, created_at, event, generation_seq, batch_seq FROM event WHERE generation_seq IS NOT NULL ORDER BY id"):
        if event not in LEGAL:
            continue
        # The items of a batch are queued by batch.created, without events of their own.
        before = state.get(seq, "queued" if batch else None)
        legal, after = LEGAL[event]
        if before not in legal:
            broken.append(f"event {id}: {event} of {seq}, which was {before}")
        state[seq] = after
        if not created_at:
            broken.append(f"event {id}: no time")
    gone = {seq for (seq,) in db.execute("SELECT seq FROM generation_tombstone")}
    known = {r["seq"] for r in rows}
    for seq in state:
        if seq not in known and seq not in gone:
            broken.append(f"events of {seq}, which has neither row nor tombstone")
    for r in rows:
        by_log = state.get(r["seq"], "queued" if r["batch_seq"] else None)
        if r["status"] != by_log:
            broken.append(f"{r['seq']} is {r['status']}, by the log it is {by_log}")
    return broken


def _rows_fit(rows):
    broken = []
    for r in rows:
        who = f"{r['seq']} ({r['status']})"
        ended = r["status"] in ("completed", "failed", "cancelled")
        if (r["completed_at"] is not None) != ended:
            broken.append(f"{who}: completed_at {r['completed_at']}")
        if (r["claim_token"] is not None) != (r["status"] == "processing"):
            broken.append(f"{who}: claim token {r['claim_token']}")
        if r["status"] == "failed" and not (r["error_type"] and r["error_message"] is not None):
            broken.append(f"{who}: without an error")
        if r["status"] == "cancelled" and not r["cancel_reason"]:
            broken.append(f"{who}: without a reason")
        if r["status"] == "queued" and r["cancel_reason"]:
            broken.append(f"{who}: still with a reason")
        if r["input"] != 1:
            broken.append(f"{who}: {r['input']} inputs")
    return broken


def _expected_state(b, counts, deleted):
    """None: any end is right (rows of it were deleted since)."""
    if b["status"] == "cancelled":
        return "cancelled"
    if b["opened_at"] is None:
        return "queued"
    if counts["queued"] + counts["processing"] == 0:
        if deleted:
            return None
        return "completed" if counts["completed"] and not b["stop_reason"] else "failed"
    if b["status"] == "paused":
        return "paused"
    return "processing" if b["started_at"] is not None else "queued"


def _blocked(b):
    return ((b["status"] in ("paused", "cancelled"))
            + 4 * (b["concurrency"] is not None and b["processing_items"] >= b["concurrency"])
            + 8 * (b["opened_at"] is None) + 16 * (b["stop_reason"] is not None))


def _batches(db, rows, batches):
    broken = []
    gone = {seq for (seq,) in db.execute(
        "SELECT DISTINCT e.batch_seq FROM generation_tombstone t JOIN event e ON e.generation_seq = t.seq")}
    for b in batches.values():
        mine = [r for r in rows if r["batch_seq"] == b["seq"]]
        counts = {s: sum(r["status"] == s for r in mine) for s in STATES}
        kept = {"queued": b["queued_items"], "processing": b["processing_items"], "completed": b["successful_items"],
                "failed": b["failed_items"], "cancelled": b["cancelled_items"]}
        who = f"batch {b['seq']} ({b['status']})"
        if kept != counts:
            broken.append(f"{who}: counters {kept}, counted {counts}")
        if b["total_items"] != len(mine) or b["completed_items"] != counts["completed"] + counts["failed"]:
            broken.append(f"{who}: total {b['total_items']}, completed {b['completed_items']} of {counts}")
        expected = _expected_state(b, counts, b["seq"] in gone)
        if b["status"] != expected and not (expected is None and b["status"] in ("completed", "failed")):
            broken.append(f"{who}: by its items it is {expected}")
        ended = b["status"] in ("completed", "failed", "cancelled")
        if (b["completed_at"] is not None) != ended:
            broken.append(f"{who}: completed_at {b['completed_at']}")
        if b["seq"] not in gone:
            for mine_sum, name in ((sum(r["cost"] or 0 for r in mine), "actual_cost"),
                                   (sum(r["input_tokens"] or 0 for r in mine), "input_tokens"),
                                   (sum(r["output_tokens"] or 0 for r in mine), "output_tokens")):
                if abs(mine_sum - b[name]) > 1e-6:
                    broken.append(f"{who}: {name} {b[name]}, counted {mine_sum}")
    return broken


def _lanes(db, rows, batches):
    broken = []
    lanes = {lane["id"]: lane for lane in _rows(db, "SELECT * FROM lane")}
    for lane in lanes.values():
        batch = batches.get(lane["batch_seq"])
        expected = _blocked(batch) if batch else 0
        if lane["blocked"] != expected:
            broken.append(f"lane {lane['id']}: blocked {lane['blocked']}, should be {expected}")
        if lane["batch_seq"] and not batch:
            broken.append(f"lane {lane['id']} of batch {lane['batch_seq']}, which is gone")
    for r in rows:
        lane = lanes.get(r["lane"])
        own = (r["model_id"], r["user_id"] or "", r["batch_seq"] or 0, r["priority"])
        if lane is None:
            broken.append(f"{r['seq']}: no lane {r['lane']}")
        elif (lane["model_id"], lane["user_id"], lane["batch_seq"], lane["priority"]) != own:
            broken.append(f"{r['seq']} {own} stands in the lane of another: {lane}")
        elif r["status"] == "queued" and r["run_after"] is None and not r["suspect"] and not lane["ready"]:
            broken.append(f"{r['seq']} can be claimed, but its lane {lane['id']} is not ready")
    return broken


def drift(db):
    rows = _rows(db, "SELECT g.*, (SELECT count(*) FROM generation_input i WHERE i.seq = g.seq) AS input FROM generation g")
    batches = {b["seq"]: b for b in _rows(
        db, "SELECT b.*, c.*, c.queued_items + c.processing_items + c.successful_items + c.failed_items + c.cancelled_items AS "
            "total_items, c.successful_items + c.failed_items AS completed_items, b.concurrency AS concurrency "
            "FROM batch_job b JOIN batch_count c ON c.batch_seq = b.seq")}
    unopened = {seq for seq, b in batches.items() if b["opened_at"] is None}
    broken = _rows_fit(rows) + _log(db, rows) + _batches(db, rows, batches) + _lanes(db, rows, batches)
    counted = tuple(sum(r["status"] == s and r["batch_seq"] not in unopened for r in rows) for s in STATES)
    kept = db.execute(f"SELECT {', '.join(STATES)} FROM totals").fetchone()
    if kept != counted:
        broken.append(f"total: kept {kept}, counted {counted}")
    for table, key in (("generation_input", "seq"), ("generation_live", "seq"), ("response", "seq"), ("output", "key / 1024")):
        left = db.execute(f"SELECT count(*) FROM {table} WHERE {key} NOT IN (SELECT seq FROM generation)").fetchone()[0]
        if left:
            broken.append(f"{table}: {left} rows of no generation")
    live = db.execute("SELECT count(*) FROM generation_live l JOIN generation g ON g.seq = l.seq WHERE g.status <> 'processing'")
    if live.fetchone()[0]:
        broken.append("generation_live has rows of what does not run")
    return broken
