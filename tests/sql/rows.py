#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Rows typed by hand: none is replaced or moved, live work is not deleted, reasons have one home each, the
caller's parameters are never lost, and a typed INSERT is work like any other."""
import json
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import shell
import tap
from shell import STATES

ISO = r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$"


def test_no_row_is_replaced(place):
    singles, items, job = shell.zoo(place)
    for state in STATES:
        message = f"a {state} generation with this"
        for verb in ("INSERT", "INSERT OR REPLACE", "REPLACE", "INSERT OR IGNORE", "INSERT OR FAIL", "INSERT OR ROLLBACK"):
            if state != "queued" and verb in ("INSERT OR FAIL", "INSERT OR ROLLBACK"):
                continue
            shell.refused(place, f"{verb} INTO generations (id, prompt, model_id) VALUES ('{singles[state]}', 'x', 'echo')",
                          message + " id exists: rows are never replaced", f"{verb} over a {state} row by id")
        shell.refused(place, "INSERT OR REPLACE INTO generations (prompt, model_id, user_id, client_id) VALUES "
                      f"('x', 'echo', 'ann', 'key-{state}')", message + " client_id of this user exists", f"over a {state} row by client_id")
        shell.refused(place, f"INSERT OR REPLACE INTO generations (id, prompt, model_id) VALUES ('{items[state]}', 'x', 'echo')",
                      message, f"over a {state} batch item")
        shell.refused(place, f"REPLACE INTO generations SELECT * FROM generations WHERE id='{singles[state]}'", message,
                      f"a copy of a {state} row over itself")
    for upsert in ("NOTHING", "UPDATE SET status='cancelled'"):
        shell.refused(place, f"INSERT INTO generations (id, prompt, model_id) VALUES ('{singles['completed']}', 'x', 'echo') "
                      f"ON CONFLICT (id) DO {upsert}", "cannot UPSERT a view", f"an upsert: DO {upsert}")
    shell.refused(place, "INSERT INTO generation (id, status, lane, model_id, created_at) "
                  f"SELECT id, 'queued', lane, model_id, 1 FROM generation WHERE id='{singles['completed']}' "
                  "ON CONFLICT (id) DO UPDATE SET status='queued', completed_at=NULL",
                  "illegal transition: a completed generation is final", "an upsert of the table is an update")
    shell.refused(place, f"UPDATE OR REPLACE generations SET id='{singles['completed']}' WHERE id='{singles['queued']}'",
                  "the id of a generation never changes", "UPDATE OR REPLACE into another's id")
    shell.refused(place, "INSERT OR REPLACE INTO batch_items (id, status) VALUES (1, 'queued')",
                  "items are added to a batch job by genrun batch submit only", "batch_items takes no row")
    shell.refused(place, f"INSERT OR REPLACE INTO batch_jobs (id, status) VALUES ('{job}', 'queued')",
                  "a batch job is made by genrun batch submit", "nor does batch_jobs")
    shell.refused(place, f"INSERT OR REPLACE INTO batch_job (id, created_at) VALUES ('{job}', 1)",
                  "a batch job with this id or client_id exists: rows are never replaced", "nor its table over a row")
    shell.refused(place, "REPLACE INTO batch_job (seq, id, created_at, opened_at) SELECT seq, 'other', 1, 1 FROM batch_job",
                  "a batch job with this id or client_id exists", "also by its number")


def test_what_a_row_is(place):
    singles, items, job = shell.zoo(place)
    other = shell.submit_batch(place, 1)
    id = singles["queued"]
    shell.refused(place, f"UPDATE generations SET id='x' WHERE id='{id}'", "the id of a generation never changes", "id")
    for target in (f"'{other}'", "NULL"):
        shell.refused(place, f"UPDATE generations SET batch_job_id={target} WHERE id='{items['queued']}'",
                      "a generation never moves to another batch job", f"batch_job_id = {target}")
    shell.refused(place, f"UPDATE generations SET batch_job_id='{job}' WHERE id='{id}'",
                  "a generation never moves to another batch job", "nor into one")
    for column, value in (("prompt", "'y'"), ("model_id", "'gpt'"), ("user_id", "'bob'"), ("session_id", "'s'"), ("custom_id", "'c'"),
                          ("client_id", "'k'"), ("created_at", "1"), ("attempts", "7"), ("starts", "7"), ("cost", "1"),
                          ("completed_at", "1"), ("started_at", "1"), ("error_type", "'X'"), ("run_after", "1"), ("seq", "99"),
                          ("claim_token", "'t'"), ("last_step", "'x'"), ("input_tokens", "1"), ("item_index", "4")):
        shell.refused(place, f"UPDATE generations SET {column}={value} WHERE id='{id}'",
                      "of a generation only status, error_message, parameters, priority and dismissed_at can be changed", column)
    for column, value in (("id", "99"), ("batch_job_id", f"'{other}'"), ("item_index", "9"), ("custom_id", "'c'"), ("tier", "'x'"),
                          ("topic", "'x'"), ("parameters", "'{}'"), ("conversation_id", "'x'"), ("completed_at", "1")):
        shell.refused(place, f"UPDATE batch_items SET {column}={value}, status='cancelled' WHERE conversation_id='{items['queued']}'",
                      "of a batch item only status and error_message can be changed", f"batch_items: {column}")
    for column, value in (("id", "'x'"), ("seq", "99"), ("batch_seq", "NULL"), ("batch_seq", "2"), ("item_index", "9"), ("model_id", "'m'"),
                          ("user_id", "'u'"), ("client_id", "'c'"), ("created_at", "1")):
        shell.refused(place, f"UPDATE OR REPLACE generation SET {column}={value} WHERE id='{items['queued']}'",
                      "of a generation never change", f"the table: {column}")
    for column, value in (("id", "'x'"), ("seq", "99"), ("user_id", "'u'"), ("client_id", "'c'"), ("created_at", "1")):
        shell.refused(place, f"UPDATE OR REPLACE batch_job SET {column}={value} WHERE id='{job}'", "of a batch job never change",
                      f"a batch job's table: {column}")
    shell.refused(place, "UPDATE logs SET message='x'", "cannot modify logs because it is a view", "the log through its view")
    shell.refused(place, "UPDATE event SET message='x'", "the log is append-only", "and through its table")
    shell.refused(place, "UPDATE outputs SET content='x'", "cannot modify outputs because it is a view", "outputs")
    shell.refused(place, f"UPDATE generations SET priority=1001 WHERE id='{id}'", "a priority is between -1000 and 1000", "priority 1001")
    shell.refused(place, f"UPDATE generations SET priority=NULL WHERE id='{id}'", "a priority is between -1000 and 1000", "priority NULL")
    for row in (id, items["queued"], items["completed"]):
        shell.done(place, f"UPDATE generations SET priority=7 WHERE id='{row}'", "another priority moves the row to another lane")
        tap.equal(shell.row(place, row)["priority"], 7, "it is stored")
    shell.done(place, "UPDATE generations SET status='cancelled' WHERE status='queued' AND priority=0", "the rest goes")
    place.sql("UPDATE lane SET ready=0 WHERE priority=0")
    shell.done(place, "UPDATE generations SET priority=0 WHERE status='queued'", "back to lanes thought empty: they are woken")


def test_delete(place):
    singles, items, job = shell.zoo(place)
    for state in ("queued", "processing"):
        message = f"a {state} generation cannot be deleted: cancel it first"
        for sql in (f"DELETE FROM generations WHERE id='{singles[state]}'", f"DELETE FROM batch_items WHERE conversation_id='{items[state]}'",
                    f"DELETE FROM generation WHERE id='{singles[state]}'", f"DELETE FROM generation WHERE id='{items[state]}'"):
            shell.refused(place, sql, message, f"{state}: {sql.split(' WHERE')[0]}")
    shell.refused(place, "DELETE FROM generations", "generation cannot be deleted: cancel it first", "all at once")
    shell.refused(place, f"DELETE FROM batch_jobs WHERE id='{job}'", "a batch job with processing items cannot be deleted: cancel it first",
                  "a batch job that runs")
    place.sql("INSERT INTO output (key, mime, content, bytes, created_at) SELECT seq*1024, 'text/plain', 'x', 1, 1 FROM generation")
    place.sql("INSERT INTO response (seq, http_status) SELECT seq, 200 FROM generation")
    for state in ("completed", "failed", "cancelled"):
        seen = shell.events(place, singles[state])
        shell.done(place, f"DELETE FROM generations WHERE id='{singles[state]}'", f"a {state} row goes", recursive=state == "failed")
        tap.equal(shell.events(place, singles[state]), seen, "its log stays and keeps its name")
        shell.done(place, f"DELETE FROM batch_items WHERE conversation_id='{items[state]}'", f"a {state} item goes")
        shell.refused(place, f"INSERT INTO generations (id, prompt, model_id) VALUES ('{singles[state]}', 'x', 'echo')",
                      "a generation with this id was deleted and its log is kept", "its id is not used again")
    tap.equal([shell.batch(place, job)[k] for k in ("total_items", "completed_items", "status")], [3, 0, "processing"], "counted")
    shell.done(place, "UPDATE generations SET status='cancelled' WHERE status='processing'", "cancel what runs")
    shell.refused(place, f"DELETE FROM batch_jobs WHERE id='{job}'", "a batch job with queued items cannot be deleted: cancel it first",
                  "a batch job that waits")
    shell.done(place, "UPDATE generations SET status='cancelled' WHERE status='queued'", "cancel what waits")
    shell.done(place, f"DELETE FROM batch_jobs WHERE id='{job}'", "an ended batch job goes with its items")
    tap.equal(place.value("SELECT count(*) FROM generations WHERE batch_job_id IS NOT NULL"), 0, "none is left")
    tap.equal(place.value("SELECT count(*) FROM lane WHERE batch_seq<>0"), 0, "nor are its lanes")
    shell.done(place, "DELETE FROM generations", "then everything can go")
    tap.equal(place.sql("SELECT * FROM totals"), [(0, 0, 0, 0, 0)], "and nothing is counted")


def test_an_ended_batch_stays_as_it_ended(place):
    job = shell.submit_batch(place, 3)
    shell.bring(place, f"id='{shell.item(place, job, 0)}'", "completed")
    shell.bring(place, "item_index>0", "failed")
    seen = shell.batch_events(place, job)
    shell.done(place, "DELETE FROM batch_items WHERE status='completed'", "its only success is deleted")
    tap.equal(shell.batch(place, job)["status"], "completed", "it stays completed")
    shell.done(place, "DELETE FROM generations", "all are")
    tap.equal((shell.batch(place, job)["status"], shell.batch_events(place, job)), ("completed", seen), "and nothing is logged")


def test_error_has_one_home(place):
    singles, items, _ = shell.zoo(place)

    def both(id):
        r = shell.row(place, id)
        return r["error_message"], r["parameters"].get("error")

    for id in (singles["failed"], items["failed"]):
        tap.equal(both(id), ("the model said no",) * 2, "failed: the same text in both")
        shell.done(place, f"UPDATE generations SET error_message='it''s one' WHERE id='{id}'", "error_message is set")
        tap.equal(both(id), ("it's one",) * 2, "parameters.error follows")
        tap.equal(shell.row(place, id)["parameters"]["errorContext"]["message"], "it's one", "so does errorContext.message")
        shell.done(place, f"UPDATE generations SET parameters=json_set(parameters, '$.error', 'two') WHERE id='{id}'", "parameters.error is set")
        tap.equal(both(id), ("two",) * 2, "error_message follows")
        shell.done(place, f"UPDATE generations SET parameters='{{\"mine\":1}}' WHERE id='{id}'", "parameters without an error")
        tap.equal(both(id), ("two",) * 2, "the error of a failed one stays")
        tap.equal(shell.row(place, id)["parameters"]["mine"], 1, "what was given is kept")
        for none in ("NULL", "''"):
            shell.refused(place, f"UPDATE generations SET error_message={none} WHERE id='{id}'", "a failed generation keeps an error_message",
                          f"a failed one without a message: {none}")
        shell.done(place, f"UPDATE generations SET status='queued', error_message=NULL WHERE id='{id}'", "cleared by a retry in one statement")
        tap.equal((both(id), "errorContext" in shell.row(place, id)["parameters"]), ((None, None), False), "nothing of it is left")
    for state in ("queued", "processing", "completed", "cancelled"):
        id = singles[state]
        shell.done(place, f"UPDATE generations SET error_message='a note' WHERE id='{id}'", f"{state}: error_message is set")
        tap.equal(both(id), ("a note",) * 2, "in both")
        shell.done(place, f"UPDATE generations SET parameters=json_set(parameters, '$.error', 'other') WHERE id='{id}'", "parameters.error is set")
        tap.equal(both(id), ("other",) * 2, "in both")
        shell.done(place, f"UPDATE generations SET parameters=json_remove(parameters, '$.error') WHERE id='{id}'", "and removed")
        tap.equal(both(id), (None, None), "from both")
    shell.done(place, f"UPDATE batch_items SET error_message='by item' WHERE conversation_id='{items['completed']}'", "through batch_items")
    tap.equal(both(items["completed"]), ("by item",) * 2, "in both")
    shell.done(place, f"UPDATE generations SET error_message='winner', parameters=json_set(parameters, '$.error', 'loser') "
               f"WHERE id='{singles['completed']}'", "both at once")
    tap.equal(both(singles["completed"]), ("winner",) * 2, "the column wins")


def test_failed_by_hand(place):
    for how, text, set_clause in (("without a text", "failed by hand", ""), ("with a text", "no good", ", error_message='no good'"),
                                  ("in parameters", "worse", ", parameters=json_set(parameters, '$.error', 'worse')")):
        for state in ("queued", "processing"):
            id = place.submit("x", "--model", "echo", "--user", "ann", "--param", "temperature=0.5")
            shell.bring(place, f"id='{id}'", state)
            shell.done(place, f"UPDATE generations SET status='failed'{set_clause} WHERE id='{id}'", f"a {state} one failed by hand {how}")
            r = shell.row(place, id)
            context = r["parameters"]["errorContext"]
            tap.equal((r["error_message"], r["parameters"]["error"], r["error_type"]), (text, text, "OperatorError"), "its error")
            tap.equal(list(context)[:5], ["message", "type", "timestamp", "userId", "stack"], "its errorContext")
            tap.ok(context["message"] == text and context["type"] == "OperatorError" and re.match(ISO, context["timestamp"])
                   and context["userId"] == "ann" and "by hand" in context["stack"] and state in context["stack"], "as promised", context)
            tap.equal(r["parameters"]["temperature"], 0.5, "beside the caller's own")
            log = place.sql("SELECT level, message FROM logs WHERE generation_id=? ORDER BY id DESC LIMIT 1", id)
            tap.equal(log, [("error", text)], "its event says why")
    id = place.submit("x", "--model", "echo")
    shell.done(place, f"UPDATE generations SET status='failed' WHERE id='{id}'", "one without a user")
    tap.ok("userId" in shell.row(place, id)["parameters"]["errorContext"], "has userId null", shell.row(place, id))
    job = shell.submit_batch(place, 1)
    shell.done(place, f"UPDATE batch_items SET status='failed', error_message='item text' WHERE batch_job_id='{job}'", "a batch item")
    r = shell.row(place, shell.item(place, job, 0))
    tap.equal((r["error_message"], r["parameters"]["errorContext"]["type"]), ("item text", "OperatorError"), "has its context, too")


def test_cancelled(place):
    for reason, set_clause in (("cancelled by hand", ""), ("not needed", ", error_message='not needed'"),
                               ("too dear", ", parameters=json_set(parameters, '$.cancelledReason', 'too dear')")):
        id = place.submit("x", "--model", "echo", "--param", "temperature=0.5")
        shell.done(place, f"UPDATE generations SET status='cancelled'{set_clause} WHERE id='{id}'", f"cancelled: {reason}")
        r = shell.row(place, id)
        tap.ok(re.match(ISO, r["parameters"]["cancelledAt"]) and r["parameters"]["cancelledReason"] == reason
               and r["error_message"] is None and r["parameters"]["temperature"] == 0.5, "cancelledAt and cancelledReason", r)
        log = place.sql("SELECT level, message FROM logs WHERE generation_id=? ORDER BY id DESC LIMIT 1", id)
        tap.equal(log, [("warn", reason)], "its event says why")
        shell.done(place, f"UPDATE generations SET parameters=json_set(parameters, '$.cancelledReason', 'on second thought') WHERE id='{id}'",
                   "another reason")
        tap.equal(shell.row(place, id)["parameters"]["cancelledReason"], "on second thought", "is kept")
        shell.done(place, f"UPDATE generations SET status='queued' WHERE id='{id}'", "queued again")
        tap.equal(shell.row(place, id)["parameters"], {"temperature": 0.5}, "neither is left")
    job = shell.submit_batch(place, 1)
    shell.done(place, f"UPDATE batch_items SET status='cancelled', error_message='item reason' WHERE batch_job_id='{job}'", "a batch item")
    tap.equal(place.sql("SELECT error_message, parameters->>'$.cancelledReason' FROM batch_items"), [("item reason",) * 2], "its reason")


# Numbers beyond 2^63 and beyond doubles, duplicate and empty keys, escapes, deep nesting: all text to be kept.
HARD = ('{"zeta":1,"seed":18446744073709551615,"huge":123456789012345678901234567890,"precise":0.1000000000000000055511151231257827,'
        '"exp":1E+2,"neg":-0,"alpha":{"z":[1,2,{"y":null}],"a":"\\u00e9\\ud83d\\ude00\\"\\\\/"},"":"empty","ключ":"значение","deep":'
        + "[" * 60 + "]" * 60 + ',"true":true}')


def test_parameters_are_never_lost(place):
    id = place.submit("x", "--model", "echo", "--params", HARD)
    job = place.run("batch", "submit", place.write("hard.jsonl", '{"prompt":"x","custom_id":"h",' + HARD[1:] + "\n"), "--model", "echo").id
    for who in (id, shell.item(place, job, 0)):
        def now():
            return shell.run(place, f"SELECT parameters FROM generations WHERE id='{who}'").out

        tap.equal(now(), HARD, "as given, byte for byte")
        place.sql(shell.CLAIM + "id=?", who)
        shell.done(place, f"UPDATE generations SET status='failed', error_message='e' WHERE id='{who}'", "failed")
        tap.equal(now()[:len(HARD) - 1], HARD[:-1], "failed: every key in its order, every digit")
        shell.done(place, f"UPDATE generations SET parameters=json_set(parameters, '$.error', 'f') WHERE id='{who}'", "edited")
        shell.done(place, f"UPDATE generations SET status='queued' WHERE id='{who}'", "queued again")
        tap.equal(now(), HARD, "as given again")
        shell.done(place, f"UPDATE generations SET status='cancelled' WHERE id='{who}'", "cancelled")
        tap.equal(now()[:len(HARD) - 1], HARD[:-1], "cancelled: every key in its order, every digit")
        shell.done(place, f"UPDATE generations SET parameters=json_set(parameters, '$.more', 1) WHERE id='{who}'", "a key more")
        shell.done(place, f"UPDATE generations SET status='queued' WHERE id='{who}'", "queued again")
        tap.equal(now(), HARD[:-1] + ',"more":1}', "with that key")
        for bad in ("NULL", "'{'", "'[]'", "'5'", "''", "'{\"a\":1} x'"):
            shell.refused(place, f"UPDATE generations SET parameters={bad} WHERE id='{who}'", "parameters must be a JSON object", f"parameters {bad}")
    tap.ok(all(json.loads(p) is not None for (p,) in place.sql("SELECT parameters FROM generations")), "never NULL")


def test_dismiss(place):
    singles, _, _ = shell.zoo(place)
    id = singles["failed"]
    seen = shell.events(place, id)
    shell.done(place, f"UPDATE generations SET dismissed_at=1 WHERE id='{id}'", "dismissed")
    shell.done(place, f"UPDATE generations SET dismissed_at=2 WHERE id='{id}'", "again")
    tap.equal(shell.events(place, id), seen + ["generation.dismissed"], "one event")
    tap.equal(place.value("SELECT count(*) FROM failed_generations_view WHERE id=?", id), 0, "not among the failures")
    shell.done(place, f"UPDATE generations SET dismissed_at=NULL WHERE id='{id}'", "undone")
    shell.done(place, f"UPDATE generations SET dismissed_at=3 WHERE id='{id}'", "dismissed")
    shell.done(place, f"UPDATE generations SET status='queued' WHERE id='{id}'", "queued again")
    tap.equal(shell.row(place, id)["dismissed_at"], None, "is not dismissed any more")


def test_typed_insert(place):
    place.submit("first", "--model", "echo")
    shell.done(place, "INSERT INTO generations (prompt, model_id) VALUES ('one', 'echo'), ('two', 'echo')", "two rows in one statement")
    shell.done(place, "INSERT INTO generations (prompt, model_id, user_id, priority, parameters, client_id, session_id, custom_id, topic, "
               "tier, type, status) VALUES ('three', 'echo', 'ann', 5, '{\"repeat\":2}', 'k', 's', 'c', 't', 'gold', 'y', 'queued')",
               "with all that can be given", recursive=True)
    shell.done(place, "INSERT INTO generations (prompt, model_id, priority) SELECT prompt || ' copied', model_id, 5 FROM generations "
               "WHERE prompt IN ('one', 'two')", "from a SELECT")
    shell.done(place, "INSERT INTO generations (id, prompt, model_id) VALUES ('01234567-89ab-7def-8123-456789abcdef', 'own id', 'echo')",
               "with an id of one's own")
    ids = [i for (i,) in place.sql("SELECT id FROM generations")]
    tap.ok(len(set(ids)) == 7 and all(re.match(r"^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$", i) for i in ids),
           "each has a UUID", ids)
    tap.equal(place.value("SELECT count(*) FROM logs WHERE event='generation.queued'"), 7, "each has its event")
    for values, message in (
            ("(prompt) VALUES ('x')", "a generation needs a model_id"),
            ("(model_id) VALUES ('echo')", "a generation needs a prompt, or a request body in parameters"),
            ("(prompt, model_id, status) VALUES ('x', 'echo', 'completed')", "a new generation is queued: leave status out"),
            ("(prompt, model_id, id) VALUES ('x', 'echo', 'mine')", "the id of a generation is a UUID in lower case"),
            ("(prompt, model_id, id) VALUES ('x', 'echo', '0123456789ab-7def-8123-456789abcdef0')", "the id of a generation is a UUID"),
            ("(prompt, model_id, id) VALUES ('x', 'echo', '01234567-89AB-7def-8123-456789abcdee')", "the id of a generation is a UUID"),
            ("(prompt, model_id, parameters) VALUES ('x', 'echo', '[1]')", "parameters must be a JSON object"),
            ("(prompt, model_id, parameters) VALUES ('x', 'echo', '{')", "parameters must be a JSON object"),
            ("(prompt, model_id, priority) VALUES ('x', 'echo', 1001)", "a priority is between -1000 and 1000"),
            ("(prompt, model_id, priority) VALUES ('x', 'echo', 'high')", "a priority is between -1000 and 1000"),
            ("(prompt, model_id, batch_job_id) VALUES ('x', 'echo', 'b')", "items are added to a batch job by genrun batch submit only"),
            ("(prompt, model_id, error_message) VALUES ('x', 'echo', 'e')", "a new generation takes only what is asked"),
            ("(prompt, model_id, completed_at) VALUES ('x', 'echo', 1)", "a new generation takes only what is asked"),
            ("(prompt, model_id, attempts) VALUES ('x', 'echo', 0)", "a new generation takes only what is asked"),
            ("(prompt, model_id, created_at) VALUES ('x', 'echo', 'today')", "cannot store TEXT value in INTEGER column"),
            ("(prompt, model_id) VALUES ('good', 'echo'), ('bad', NULL)", "a generation needs a model_id")):
        for verb in ("INSERT", "INSERT OR IGNORE"):
            shell.refused(place, f"{verb} INTO generations {values}", message, f"{verb} {values}")
    r = place.run("run", "--drain", "--no-http")
    tap.result(r, 0, "the runner runs them")
    got = place.sql("SELECT g.prompt, g.status, o.content FROM generations g JOIN outputs o ON o.generation_id=g.id ORDER BY g.started_at, g.seq")
    tap.equal(sorted(got), sorted((p, "completed", p * 2 if p == "three" else p) for p in
                                  ("first", "one", "two", "three", "one copied", "two copied", "own id")), "all are completed, each with its output")
    order = [p for (p,) in place.sql("SELECT g.prompt FROM logs l JOIN generations g ON g.id=l.generation_id WHERE l.event='generation.processing' ORDER BY l.id")]
    tap.equal(set(order[:3]), {"three", "one copied", "two copied"}, "those of higher priority first")
    tap.equal(shell.drift(place), [], "and nothing has drifted")
    shell.done(place, "INSERT INTO generations (model_id, parameters) VALUES ('echo', '{\"messages\":[{\"role\":\"user\",\"content\":\"body\"}],"
               "\"error\":\"x\",\"cancelledAt\":1}')", "a request body; names that genrun writes are left out")
    tap.equal(place.sql("SELECT prompt, parameters, error_message FROM generations WHERE status='queued'"),
              [("body", '{"messages":[{"role":"user","content":"body"}]}', None)], "its prompt is shown")
    shell.done(place, "INSERT INTO generations (prompt, model_id, run_after) VALUES ('later', 'echo', 4102444800000)", "a delayed one")
    place.run("run", "--drain", "--no-http")
    tap.equal(place.value("SELECT status FROM generations WHERE prompt='later'"), "queued", "waits")


def test_safe_shell(place):
    id = place.submit("x", "--model", "echo")
    r = shell.run(place, f"UPDATE generations SET status='cancelled' WHERE id='{id}'; SELECT status FROM generations", options=["-safe"])
    tap.ok(r.code == 0 and r.out == "cancelled" and r.err == "", "sqlite3 -safe works, too", r)


tap.main(globals())
