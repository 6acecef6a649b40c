#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""cancel and retry: by id, in bulk, asking, and what is refused."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap


def test_cancel_and_retry(place):
    id = place.submit("x", "--model", "echo", "--param", "keep=1")
    r = place.run("cancel", id[-8:], "--reason", "not needed")
    tap.result(r, 0, "cancel by the tail", out=rf"^{id} cancelled\n$")
    parameters = place.show(id)["parameters"]
    tap.equal((parameters["cancelledReason"], parameters["keep"]), ("not needed", 1), "with its reason; nothing lost")
    r = place.run("cancel", id)
    tap.result(r, 0, "cancelling it again changes nothing", out="cancelled")
    tap.equal(place.show(id)["parameters"]["cancelledReason"], "not needed", "also not the reason")
    tap.result(place.run("retry", id), 0, "retry", out=rf"^{id} queued\n$")
    tap.result(place.run("retry", id), 0, "retrying a queued one changes nothing", out="queued")
    r = place.run("cancel", id, "--json")
    tap.equal((r.code, r.json["id"], r.json["status"]), (0, id, "cancelled"), "--json gives the row")
    tap.equal(place.run("-q", "retry", id).out, "", "-q says nothing")


def test_conflicts(place):
    place.run("submit", "x", "--model", "echo", "--wait")
    done = place.run("list", "--json").json["id"]
    tap.error_line(place.run("cancel", done), 5, "completed", "a completed one is not cancelled")
    tap.error_line(place.run("retry", done), 5, "completed", "nor retried")


def test_several_ids(place):
    a, b = place.submit("a", "--model", "echo"), place.submit("b", "--model", "echo")
    place.run("submit", "c", "--model", "echo", "--wait")
    done = place.run("list", "--status", "completed", "--json").json["id"]
    r = place.run("cancel", a, "00000000-0000-7000-8000-000000000000", b)
    tap.equal((r.code, place.status(a), place.status(b)), (4, "cancelled", "cancelled"), "each is tried, 4 of one returned")
    r = place.run("retry", a, done, "00000000-0000-7000-8000-000000000000", b)
    tap.equal((r.code, place.status(a), place.status(b)), (5, "queued", "queued"), "the worst code is returned")
    tap.equal((r.out.count("\n"), r.err.count("\n")), (2, 2), "a line for each")


def test_bulk(place):
    for i in range(3):
        place.submit(f"a{i}", "--model", "echo", "--user", "ann")
        place.submit(f"b{i}", "--model", "echo", "--user", "bob", "--session", "s")
    tap.error_line(place.run("cancel", "--all"), 2, "--yes", "without a terminal --yes is needed")
    tap.result(place.run("cancel", "--all", "--dry-run"), 0, "--dry-run counts", out=r"^6 generations would be cancelled\n$")
    tap.equal(place.value("SELECT count(*) FROM generations WHERE status='queued'"), 6, "and changes nothing")
    r = place.run("cancel", "--user", "ann", "--yes", "--json")
    tap.equal((r.code, r.json), (0, {"cancelled": 3, "dryRun": False}), "those of a user")
    tap.result(place.run("cancel", "--session", "s", "-y", "--older-than", "1h"), 0, "none is older than 1h", out=r"^0 generations cancelled\n$")
    tap.result(place.run("cancel", "--session", "s", "-y"), 0, "those of a session", out=r"^3 generations cancelled\n$")
    tap.result(place.run("retry", "--user", "ann", "--status", "cancelled", "-y"), 0, "retry those of a user", out=r"^3 generations queued\n$")
    tap.equal(dict(place.sql("SELECT status, count(*) FROM generations GROUP BY 1")), {"queued": 3, "cancelled": 3}, "as they are now")
    tap.result(place.run("retry", "--all", "-y"), 0, "retry all", out=r"^3 generations queued\n$")


def test_bulk_by_type(place):
    for kind in ("InvalidRequestError", "ContentFilterError"):
        place.run("submit", kind, "--model", "echo", "--wait", "--param", f"fail={kind}")
    r = place.run("retry", "--type", "ContentFilterError", "--yes")
    tap.result(r, 0, "retry by error type", out=r"^1 generation queued\n$")
    tap.equal(dict(place.sql("SELECT prompt, status FROM generations")),
              {"InvalidRequestError": "failed", "ContentFilterError": "queued"}, "only that one")


def test_bulk_of_a_batch(place):
    lines = "".join(f"{i}\n" for i in range(300))
    batch = place.run("batch", "submit", "-", "--model", "echo", "--format", "txt", input=lines).id
    single = place.submit("x", "--model", "echo")
    tap.result(place.run("cancel", "--batch", batch, "--yes"), 0, "those of a batch", out=r"^300 generations cancelled\n$")
    tap.equal(place.status(single), "queued", "and no other")
    o = place.run("batch", "show", batch, "--json").json
    tap.equal((o["cancelledItems"], o["queuedItems"]), (300, 0), "the batch counts them")


def test_asking(place):
    id = place.submit("x", "--model", "echo")
    r = place.run_pty("cancel", "--all", input="n\n")
    tap.ok(r.code == 2 and "cancel 1 generation? [y/N]" in r.out and place.status(id) == "queued", "n changes nothing", r)
    r = place.run_pty("cancel", "--all", input="\n")
    tap.equal((r.code, place.status(id)), (2, "queued"), "an empty answer is no")
    r = place.run_pty("cancel", "--all", input="y\n")
    tap.ok(r.code == 0 and "1 generation cancelled" in r.out and place.status(id) == "cancelled", "y does it", r)
    r = place.run_pty("cancel", "--all", stdin=False)
    tap.equal(r.code, 2, "without a terminal to read from --yes is needed")
    r = place.run_pty("cancel", "--all")
    tap.ok(r.code == 0 and "[y/N]" not in r.out, "of nothing it does not ask", r)


def test_misuse(place):
    id = place.submit("x", "--model", "echo")
    tap.error_line(place.run("cancel"), 2, "needs ids, a filter or --all", "neither ids nor filters")
    tap.error_line(place.run("cancel", "--yes"), 2, "needs ids, a filter or --all", "--yes selects nothing")
    tap.error_line(place.run("cancel", id, "--all", "--yes"), 2, "exclude each other", "both")
    tap.error_line(place.run("cancel", id, "--dry-run"), 2, "--dry-run", "--dry-run with ids")
    tap.error_line(place.run("cancel", "--status", "completed", "--yes"), 2, "one of queued", "a state that nothing leads out of")
    tap.error_line(place.run("retry", "--status", "queued", "--yes"), 2, r"one of failed\|cancelled", "or not this way")
    tap.error_line(place.run("retry", id, "--reason", "x"), 2, "unknown option --reason", "retry takes no reason")
    tap.equal(place.status(id), "queued", "nothing was changed")


tap.main(globals())
