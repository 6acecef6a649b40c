#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The state machine, typed into the sqlite3 shell: what is illegal is refused with a message that names the
state and changes nothing, what is legal is stamped, counted and logged."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import shell
import tap
from shell import CLAIM, NOW, STATES

# From each state, what a person may type; and what the schema lets the runner do besides.
LEGAL = {
    "queued": {"failed", "cancelled"},
    "processing": {"queued", "failed", "cancelled"},
    "completed": set(),
    "failed": {"queued"},
    "cancelled": {"queued"},
}
LEGAL_OF_RUNNER = {("queued", "processing"), ("processing", "completed")}


def test_illegal_through_views(place):
    singles, items, _ = shell.zoo(place)
    for old in STATES:
        for new in STATES:
            if new == old or new in LEGAL[old]:
                continue
            message = f"illegal transition: a {old} generation"
            shell.refused(place, f"UPDATE generations SET status='{new}' WHERE id='{singles[old]}'", message,
                          f"generations: {old} -> {new}")
            shell.refused(place, f"UPDATE batch_items SET status='{new}' WHERE conversation_id='{items[old]}'", message,
                          f"batch_items: {old} -> {new}")


# What the row constraints ask of each state, so that the transition itself is judged.
FITTING = {
    "queued": "claim_token=NULL, completed_at=NULL",
    "processing": "claim_token='t', completed_at=NULL",
    "completed": "claim_token=NULL, completed_at=1",
    "failed": "claim_token=NULL, completed_at=1, error_type='OperatorError', error_message='x'",
    "cancelled": "claim_token=NULL, completed_at=1",
}


def test_illegal_on_the_table(place):
    singles, items, _ = shell.zoo(place)
    for old in STATES:
        for new in STATES:
            if new == old or new in LEGAL[old] or (old, new) in LEGAL_OF_RUNNER:
                continue
            for rows in (singles, items):
                shell.refused(place, f"UPDATE generation SET status='{new}', {FITTING[new]} WHERE id='{rows[old]}'",
                              f"illegal transition: a {old} generation", f"the table: {old} -> {new}")
    for state in ("queued", "completed", "failed", "cancelled"):
        for form in (f"UPDATE OR REPLACE generation SET status='processing', completed_at=NULL WHERE id='{singles[state]}'",
                     f"UPDATE generation SET status='processing', completed_at=NULL, claim_token=NULL WHERE id='{singles[state]}'"):
            shell.refused(place, form, "a processing generation has a claim token, and only the runner gives one",
                          f"the table: {state} -> processing without a claim token")
    shell.refused(place, f"UPDATE generation SET claim_token=NULL WHERE id='{singles['processing']}'",
                  "a processing generation has a claim token", "the table: a token is not taken from a running one")
    shell.refused(place, f"UPDATE generation SET claim_token='t' WHERE id='{singles['queued']}'",
                  "a processing generation has a claim token", "the table: a token is not given to a waiting one")
    for text in ("'done'", "'QUEUED'", "''", "5"):
        for target in (f"generations SET status={text} WHERE id='{singles['queued']}'",
                       f"batch_items SET status={text} WHERE conversation_id='{items['queued']}'",
                       f"generation SET status={text} WHERE id='{singles['queued']}'"):
            shell.refused(place, "UPDATE " + target, "a generation is queued, processing, completed, failed or cancelled",
                          f"{text} is no state: {target.split()[0]}")
    shell.refused(place, f"UPDATE generations SET status=NULL WHERE id='{singles['queued']}'",
                  "a generation is queued, processing, completed, failed or cancelled", "nor is NULL")
    shell.refused(place, f"UPDATE OR IGNORE generations SET status='done', priority=3 WHERE id='{singles['queued']}'",
                  "a generation is queued, processing", "OR IGNORE does not leave half of it")


def test_legal(place):
    for view, key in (("generations", "id"), ("batch_items", "conversation_id")):
        for old in STATES:
            for new in LEGAL[old]:
                if view == "generations":
                    id = place.submit("x", "--model", "echo", "--user", "ann")
                else:
                    id = shell.item(place, shell.submit_batch(place, 2), 0)
                shell.bring(place, f"id='{id}'", old)
                before = place.value(f"SELECT {NOW}")
                seen = shell.events(place, id)
                shell.done(place, f"UPDATE {view} SET status='{new}' WHERE {key}='{id}'", f"{view}: {old} -> {new}",
                           recursive=old == "queued")
                r = shell.row(place, id)
                stamped = r["completed_at"] is not None and before <= r["completed_at"] <= place.value(f"SELECT {NOW}")
                tap.ok(r["status"] == new and r["claim_token"] is None and (r["completed_at"] is None if new == "queued" else stamped),
                       f"{view}: {old} -> {new} is stamped", r)
                tap.equal(shell.events(place, id), seen + [f"generation.{new}"], f"{view}: {old} -> {new} is one event")
                if new == "queued":
                    tap.equal((r["error_message"], r["error_type"], r["dismissed_at"], set(r["parameters"])),
                              (None, None, None, {"delay"} if view == "batch_items" else set()), "what ended it is cleared")
                    tap.equal((r["attempts"], r["starts"]), (0, old != "cancelled"), "spent attempts fall to 0, starts do not")


def test_many_rows(place):
    singles, items, _ = shell.zoo(place)
    shell.refused(place, "UPDATE generations SET status='cancelled'", "illegal transition: a", "one bad row stops all of them")
    shell.refused(place, "UPDATE batch_items SET status='failed' WHERE status<>'completed'",
                  "illegal transition: a cancelled generation", "also among batch items")
    r = shell.run(place, "BEGIN", f"UPDATE generations SET status='cancelled' WHERE id='{singles['queued']}'",
                  "UPDATE generations SET status='queued'", "SELECT group_concat(status) FROM generations", "ROLLBACK")
    tap.ok("a completed generation is final" in r.err and r.out == "cancelled,processing,completed,failed,cancelled,"
           "queued,processing,completed,failed,cancelled,queued", "in a transaction the statement is undone and the rest kept", r)
    seen = len(place.sql("SELECT 1 FROM event"))
    shell.done(place, "UPDATE generations SET status='cancelled' WHERE status='queued' OR status='processing'",
               "all that can be cancelled in one statement")
    tap.equal(place.value("SELECT count(*) FROM event") - seen, 6, "five rows and the end of their batch, one event each")
    tap.equal(place.sql("SELECT queued, processing, completed, failed, cancelled FROM totals"), [(0, 0, 2, 2, 7)], "counted")
    shell.done(place, "UPDATE batch_items SET status='queued' WHERE status IN ('failed', 'cancelled', 'queued')", "and back")
    tap.equal(len(items), 5, "the zoo was whole")


def test_same_state(place):
    singles, items, job = shell.zoo(place)
    for state in STATES:
        shell.silent(place, f"UPDATE generations SET status='{state}' WHERE id='{singles[state]}'", f"generations: {state} stays")
        shell.silent(place, f"UPDATE batch_items SET status='{state}' WHERE conversation_id='{items[state]}'", f"batch_items: {state} stays")
        shell.silent(place, f"UPDATE generation SET status=status WHERE id='{singles[state]}'", f"the table: {state} stays")
        shell.silent(place, f"UPDATE OR REPLACE generations SET id=id, batch_job_id=batch_job_id, parameters=parameters,"
                     f" error_message=error_message, prompt=prompt WHERE id='{items[state]}'", f"{state}: all to themselves")
    shell.silent(place, f"UPDATE batch_jobs SET status=status, name=name WHERE id='{job}'", "batch_jobs")


def test_processing_again_is_legal_for_the_runner(place):
    id = place.submit("x", "--model", "echo")
    for turn in (1, 2):
        place.sql(CLAIM + "id=?", id)
        r = shell.row(place, id)
        tap.equal((r["status"], r["starts"], r["last_step"]), ("processing", turn, "process:claim"), f"start {turn}")
        shell.done(place, "UPDATE generations SET status='queued'", "typed back into the queue")


def test_in_a_cancelled_batch(place):
    _, items, job = shell.zoo(place)
    shell.done(place, f"UPDATE batch_jobs SET status='cancelled' WHERE id='{job}'", "cancel the batch job")
    for state in ("failed", "cancelled"):
        for view, key in (("generations", "id"), ("batch_items", "conversation_id")):
            shell.refused(place, f"UPDATE {view} SET status='queued' WHERE {key}='{items[state]}'",
                          "the batch job of this generation is cancelled, so it cannot be queued again", f"{view}: no retry of a {state} one")
    shell.done(place, f"UPDATE generations SET status='failed', error_message='too late' WHERE id='{items['queued']}'",
               "what still waits may be failed with a text of its own")
    shell.done(place, f"UPDATE generations SET status='queued' WHERE id='{items['processing']}'", "what runs may go back")


tap.main(globals())
