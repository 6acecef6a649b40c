#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""cancel and retry: by id, in bulk, asking, and what is refused."""
import os
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap
from genrun import wait_until
from server import Server

CONFIG = """
[genrun]
default_model = m
[scheduler]
concurrency = 8
poll_interval = 30s
[model m]
base_url = {url}
"""


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


def test_retry_beside_a_cancelled_batch(place):
    """Items of a cancelled batch stay as they are, so a count beforehand leaves them out, too."""
    lines = "".join(f"{i}\n" for i in range(300))
    batch = place.run("batch", "submit", "-", "--model", "echo", "--format", "txt", input=lines).id
    place.run("batch", "cancel", batch)
    place.run("cancel", "--batch", batch, "--yes")
    place.run("cancel", place.submit("x", "--model", "echo"))
    tap.equal(place.value("SELECT count(*) FROM generations WHERE status='cancelled'"), 301, "all are cancelled")
    for args, count in ((["--batch", batch], 0), (["--all"], 1)):
        dry = place.run("retry", *args, "--dry-run", "--json").json
        tap.equal((dry["queued"], place.run("retry", *args, "--yes", "--json").json["queued"]), (count, count), f"retry {args[0]}: as many as a dry run counts")


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


def half_then_silence(x):
    x.begin_stream()
    x.event("half")
    x.wait_closed()


def partial_of(place, id):
    return place.sql("SELECT content, partial FROM outputs WHERE generation_id=?", id)


def submit_many(place, count, *args):
    return [place.submit(f"{i}", "--param", f"keep={i}", *args) for i in range(count)]


def test_running_work_ends_at_once(place):
    with Server(half_then_silence) as server:
        place.configure(CONFIG.format(url=server.url))
        ids = submit_many(place, 6, "--user", "ann")
        runner = place.start_runner()
        wait_until(lambda: server.count == 6 and all(x.streaming for x in server.requests), 10, "the transfers")
        steps = ((["cancel", ids[0], "--reason", "mine"], 1), (["cancel", ids[1]], 1), (["fail", ids[2], "--reason", "no use"], 1),
                 (["cancel", "--user", "ann", "--status", "processing", "--reason", "all of them", "--yes"], 3))
        done = 0
        for args, count in steps:
            since = time.monotonic()
            tap.equal(place.run(*args).code, 0, f"{args[0]} of what runs")
            done += count
            wait_until(lambda: sum(1 for x in server.requests if x.closed_at) == done, 10, "the end of the transfers")
            tap.note(f"{args[0]}: closed after {(max(x.closed_at for x in server.requests if x.closed_at) - since) * 1000:.0f} ms")
        tap.equal([place.status(id) for id in ids], ["cancelled", "cancelled", "failed", "cancelled", "cancelled", "cancelled"], "they end as they were told")
        for i, id in enumerate(ids):
            wait_until(lambda id=id: partial_of(place, id), 10, "the partial text")
            tap.equal(partial_of(place, id), [("half", 1)], "what had come is kept, marked")
            tap.equal(place.show(id)["parameters"]["keep"], i, "beside the other parameters")
        p = place.show(ids[0])["parameters"]
        tap.ok(set(p) == {"keep", "cancelledAt", "cancelledReason"} and p["cancelledReason"] == "mine", "when and why", p)
        tap.matches(p["cancelledAt"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$", "as RFC 3339")
        tap.equal(place.show(ids[1])["parameters"]["cancelledReason"], "cancelled", "also without a reason")
        tap.equal(place.show(ids[3])["parameters"]["cancelledReason"], "all of them", "also in bulk")
        p = place.show(ids[2])["parameters"]
        tap.equal((p["error"], p["errorContext"]["type"], p["errorContext"]["message"], p["errorContext"]["userId"], p["errorContext"]["stack"]),
                  ("no use", "OperatorError", "no use", "ann", "failed by hand, from processing, model m, attempt 1"), "a failed one has its context")
        tap.equal(place.sql("SELECT count(*) FROM logs WHERE event='generation.cancelled'"), [(5,)], "the log has each")
        tap.ok(runner.running and server.count == 6, "the runner goes on and sends nothing again", runner.err)
        tap.equal(runner.stop(), 0, "and ends with 0")


def test_a_late_result(place):
    """The answer is there before the runner could see that its generation was cancelled: it is not taken."""
    go, told = [], []

    def script(x):
        wait_until(lambda: go, 20, "the word")
        x.chat("late")
        told.append(x)

    with Server(script) as server:
        place.configure(CONFIG.format(url=server.url))
        ids = submit_many(place, 2)
        runner = place.start_runner()
        wait_until(lambda: server.count == 2, 10, "the requests")
        runner.signal(signal.SIGSTOP)
        tap.equal(place.run("cancel", ids[0]).code, 0, "cancelled while the runner is held")
        tap.equal(place.run("fail", ids[1], "--reason", "enough").code, 0, "and failed")
        go.append(True)
        wait_until(lambda: len(told) == 2, 10, "the answers")
        runner.signal(signal.SIGCONT)
        later = place.submit("later")
        place.wait_status(later, "completed")
        for id, status in zip(ids, ("cancelled", "failed")):
            tap.equal(place.status(id), status, f"it stays {status}")
            dropped = place.value("SELECT count(*) FROM logs WHERE event='generation.dropped' AND level='warn' AND generation_id=?", id)
            tap.ok(dropped == 1 or partial_of(place, id) in ([], [("late", 1)]), "the late result is dropped and logged, or was cut off", partial_of(place, id))
            tap.ok(all(p == 1 for _, p in partial_of(place, id)), "and never passes for the result", partial_of(place, id))
        tap.equal(runner.stop(), 0, "the runner ends with 0")


def group_of(place, name):
    """The processes that hold the folder's file `name` open."""
    held = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            held += [pid for fd in os.listdir(f"/proc/{pid}/fd") if os.readlink(f"/proc/{pid}/fd/{fd}") == place.path(name)]
        except OSError:
            pass  # it ended, or is another user's
    return held


def test_processes_end_too(place):
    """A command with a child of its own that ignores SIGTERM: all of its group is gone after a cancel."""
    place.write("model.sh", "#!/bin/sh\nexec 9>held\ntrap '' TERM\necho half\nsleep 300 &\nsleep 300\n")
    os.chmod(place.path("model.sh"), 0o755)
    place.configure(f"[scheduler]\npoll_interval = 30s\n[model m]\nprovider = command\ncommand = {place.path('model.sh')}\n")
    for change in (["cancel"], ["fail", "--reason", "enough"]):
        id = place.submit("x", "--model", "m")
        runner = place.start_runner()
        wait_until(lambda: len(group_of(place, "held")) >= 3, 10, "the shell and its children")
        tap.equal(place.run(*change, id).code, 0, f"{change[0]} of a running command")
        wait_until(lambda: not group_of(place, "held"), 20, "the end of its processes")
        tap.ok(runner.running, "its process group is gone, the runner is not", runner.err)
        tap.equal(runner.stop(), 0, "which ends with 0")
        tap.equal(place.status(id), change[0] + ("led" if change[0] == "cancel" else "ed"), "it ended as it was told")


def test_fail(place):
    id, other = place.submit("x", "--model", "echo", "--user", "ann", "--param", "keep=1"), place.submit("y", "--model", "echo", "--user", "bob")
    tap.error_line(place.run("fail", id), 2, "'fail' needs --reason TEXT", "without a reason")
    r = place.run("fail", id[-8:], "--reason", "wrong prompt")
    tap.result(r, 0, "fail by the tail", out=rf"^{id} failed\n$")
    o = place.show(id)
    tap.equal((o["errorMessage"], o["errorType"], o["parameters"]["keep"], o["parameters"]["error"]), ("wrong prompt", "OperatorError", 1, "wrong prompt"),
              "with the reason; nothing lost")
    tap.result(place.run("fail", id, "--reason", "again"), 0, "failing it again changes nothing", out="failed")
    tap.equal(place.show(id)["errorMessage"], "wrong prompt", "also not the reason")
    tap.equal([o["id"] for o in place.run("failures", "--type", "OperatorError", "--json").jsonl], [id], "failures has it")
    r = place.run("fail", "--user", "bob", "--reason", "no more", "--yes", "--json")
    tap.equal((r.code, r.json, place.status(other)), (0, {"failed": 1, "dryRun": False}, "failed"), "all of a user")
    tap.equal(place.run("cancel", other).code, 5, "a failed one is not cancelled")
    tap.equal(place.run("retry", id, other).code, 0, "but retried")
    tap.ok("error" not in place.show(id)["parameters"], "and is as new")
    place.run("cancel", id)
    tap.error_line(place.run("fail", id, "--reason", "x"), 5, rf"generation {id} is cancelled and cannot be failed: 'genrun show {id}' tells more", "a cancelled one is not failed")


def test_dismiss(place):
    ids = [place.submit(f"{i}", "--model", "echo") for i in range(5)]
    tap.error_line(place.run("dismiss", ids[0]), 5, rf"generation {ids[0]} is queued and cannot be dismissed: 'genrun show", "a queued one is not dismissed")
    for id in ids[:3]:
        place.run("fail", id, "--reason", "x")
    place.run("cancel", ids[3])
    tap.result(place.run("dismiss", ids[0]), 0, "a failed one is", out=rf"^{ids[0]} failed, dismissed\n$")
    at = place.show(ids[0])["dismissedAt"]
    tap.result(place.run("dismiss", ids[0], "--json"), 0, "again changes nothing", out=at)
    tap.result(place.run("dismiss", "--all", "--dry-run"), 0, "what is dismissed is not counted again", out="^3 generations would be dismissed")
    tap.result(place.run("dismiss", "--status", "failed", "--yes"), 0, "by state", out="^2 generations dismissed")
    tap.equal(place.show(ids[0])["dismissedAt"], at, "the first one keeps its time")
    tap.result(place.run("dismiss", "--undo", ids[3]), 0, "undoing what was not done changes nothing", out=rf"^{ids[3]} cancelled\n$")
    tap.result(place.run("dismiss", "--undo", "--all", "--yes"), 0, "undone in bulk", out="^3 generations undismissed")
    tap.equal(place.value("SELECT count(*) FROM generations WHERE dismissed_at IS NOT NULL"), 0, "none is dismissed")
    place.run("dismiss", ids[1])
    place.run("retry", ids[1])
    tap.equal(place.show(ids[1])["dismissedAt"], None, "a retry takes the mark away")
    names = [e for (e,) in place.sql("SELECT event FROM logs WHERE generation_id=? ORDER BY id", ids[0])]
    tap.equal(names, ["generation.queued", "generation.failed", "generation.dismissed", "generation.undismissed"], "the log has it")
    place.run("retry", ids[0], ids[3])
    tap.equal(place.sql("SELECT level, message FROM logs WHERE event='generation.queued' AND message IS NOT NULL ORDER BY id"),
              [("info", f"retried by hand, it was {state}") for state in ("failed", "failed", "cancelled")], "a retry says so, and what it was")


def test_bulk_selectors(place):
    """Each filter selects what it says, for each change; several narrow it down."""
    batch = place.run("batch", "submit", "-", "--model", "echo", "--format", "txt", "--user", "bat", input="1\n2\n3\n").id
    ann = [place.submit("x", "--model", "echo", "--user", "ann", "--session", s) for s in ("s1", "s2", "s2")]
    nobody = place.submit("x", "--model", "echo")
    place.sql("DROP TRIGGER generation_frozen")
    place.sql("UPDATE generation SET created_at = created_at - 7200000 WHERE id IN (?, ?)", ann[0], nobody)

    def count(*args):
        r = place.run(*args, "--dry-run", "--json")
        return r.json if r.code else list(r.json.values())[0]

    tap.equal([count("cancel", *f) for f in (["--all"], ["--user", "ann"], ["--session", "s2"], ["--batch", batch[-8:]], ["--model", "echo"], ["--model", "m"],
                                              ["--status", "queued"], ["--status", "processing"], ["--older-than", "1h"], ["--older-than", "3h"],
                                              ["--user", "ann", "--older-than", "1h"], ["--batch", batch, "--user", "ann"])],
              [7, 3, 2, 3, 7, 0, 7, 0, 2, 0, 1, 0], "cancel")
    tap.equal(place.run("fail", "--user", "ann", "--session", "s2", "--reason", "r", "--yes").out, "2 generations failed\n", "fail")
    tap.equal(place.run("cancel", "--older-than", "1h", "--yes").out, "2 generations cancelled\n", "cancel")
    tap.equal([count("retry", *f) for f in (["--all"], ["--status", "failed"], ["--status", "cancelled"], ["--type", "OperatorError"], ["--type", "QuotaError"],
                                             ["--session", "s1"], ["--user", "ann"], ["--older-than", "1h"], ["--model", "echo", "--type", "OperatorError"])],
              [4, 2, 2, 2, 0, 1, 3, 2, 2], "retry")
    tap.equal([count("dismiss", *f) for f in (["--all"], ["--type", "OperatorError"], ["--status", "completed"], ["--batch", batch])], [4, 2, 0, 0], "dismiss")
    tap.equal(place.run("retry", "--type", "OperatorError", "--yes").out, "2 generations queued\n", "and in earnest")
    tap.error_line(place.run("cancel", "--batch", "00000000", "--yes"), 4, "batch job 00000000 does not exist: 'genrun batch list' shows the newest", "a batch job that is none")


def test_misuse(place):
    id = place.submit("x", "--model", "echo")
    tap.error_line(place.run("cancel"), 2, "needs ids, a filter or --all", "neither ids nor filters")
    tap.error_line(place.run("cancel", "--yes"), 2, "needs ids, a filter or --all", "--yes selects nothing")
    tap.error_line(place.run("cancel", id, "--all", "--yes"), 2, "exclude each other", "both")
    tap.error_line(place.run("cancel", id, "--dry-run"), 2, "--dry-run", "--dry-run with ids")
    tap.error_line(place.run("cancel", "--status", "completed", "--yes"), 2, "one of queued", "a state that nothing leads out of")
    tap.error_line(place.run("retry", "--status", "queued", "--yes"), 2, r"one of failed\|cancelled", "or not this way")
    tap.error_line(place.run("retry", id, "--reason", "x"), 2, "unknown option --reason", "retry takes no reason")
    for name in (["cancel"], ["retry"], ["recover"], ["dismiss"], ["fail", "--reason", "r"]):
        tap.error_line(place.run(*name), 2, f"'{name[0]}' needs ids, a filter or --all: 'genrun help {name[0]}' shows how", f"{name[0]} without a selector")
        tap.error_line(place.run(*name, "--all"), 2, "without a terminal nobody can be asked; --yes does it, --dry-run counts", f"{name[0]} without --yes")
        tap.error_line(place.run(*name, "--older-than", "-1h", "--yes"), 2, r"--older-than is '-1h', which is not a duration", f"{name[0]}: a negative duration")
        tap.error_line(place.run(*name, "00000000-0000-7000-8000-000000000000"), 4, "generation 00000000-0000-7000-8000-000000000000 does not exist: 'genrun list' shows the newest", f"{name[0]}: an unknown id")
        tap.error_line(place.run(*name, "short"), 2, "short is not an id: give a whole id, or its last 8 or more characters", f"{name[0]}: what cannot be one")
        tap.error_line(place.run(*name, "--all", "--user", b"\xff".decode("utf-8", "surrogateescape"), "--yes"), 2, "the user is not valid UTF-8", f"{name[0]}: broken text")
    tap.equal(place.status(id), "queued", "nothing was changed")


tap.main(globals())
