#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What an operator types wrong, for each command that takes it: unknown and ambiguous ids, changes that the state forbids,
bulk forms without a selector, negative durations, jobs that do not exist. One line, the right code, and nothing changed."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import shell
import tap

CHANGES = {"cancel": [], "retry": [], "fail": ["--reason", "r"], "dismiss": [], "recover": []}
OF_ONE = {**CHANGES, "show": [], "output": [], "logs": []}
OF_BATCH = {f"batch {verb}": [] for verb in ("show", "items", "watch", "pause", "resume", "cancel", "retry", "process-next", "results")}
PAST = {"cancel": "cancelled", "retry": "retried", "fail": "failed", "dismiss": "dismissed"}
# From which states a change of one leads somewhere, or finds itself done.
ALLOWED = {"cancel": {"queued", "processing", "cancelled"}, "retry": {"queued", "processing", "failed", "cancelled"},
           "fail": {"queued", "processing", "failed"}, "dismiss": {"processing", "completed", "failed", "cancelled"}}
TWINS = [f"0190a0b1-c2d3-7e4f-8a5b-{i:04d}0badcafe" for i in range(12)]


def typed(place, name, id, more=()):
    return place.run(*name.split(), id, *more)


def unchanged(place, before, name):
    tap.ok(shell.all_of(place) == before, name)


def test_unknown_ids(place):
    place.submit("x", "--model", "echo")
    shell.submit_batch(place, 1)
    before = shell.all_of(place)
    for id in ("deadbeef", "01890000-0000-7000-8000-0000deadbeef"):
        for name, more in OF_ONE.items():
            line = (f"{id} is neither a generation nor a batch job: .*genrun list.*genrun batch list" if name == "logs"
                    else f"generation {id} does not exist: .*genrun list.* shows the newest")
            tap.error_line(typed(place, name, id, more), 4, f"^genrun: {line}", f"{name} {id}")
        for name in OF_BATCH:
            tap.error_line(typed(place, name, id), 4, f"^genrun: batch job {id} does not exist: .*genrun batch list.* shows the newest", f"{name} {id}")
        for words in (["list", "--batch", id], ["cancel", "--batch", id, "--yes"], ["logs", id, "-f"]):
            tap.error_line(place.run(*words), 4, id, " ".join(words))
    tap.error_line(place.run("locks", "release", "account:ann:1"), 4, "^genrun: no lock is named 'account:ann:1': 'genrun locks' lists them$", "a lock")
    tap.error_line(place.run("models", "resume", "nobody"), 4, "^genrun: model nobody is not known here: .*genrun models.* lists them", "a model")
    unchanged(place, before, "nothing was changed")


def test_ambiguous_tails(place):
    place.submit("x", "--model", "echo")
    for id in TWINS:
        place.sql("INSERT INTO generations (id, prompt, model_id) VALUES (?, 'p', 'echo')", id)
    batches = [shell.submit_batch(place, 1) for _ in range(3)]
    place.sql("DROP TRIGGER batch_job_frozen")
    for i, id in enumerate(batches):
        place.sql("UPDATE batch_job SET id=? WHERE id=?", TWINS[i].replace("0badcafe", "0cafebad"), id)
    before = shell.all_of(place)
    for name, more in OF_ONE.items():
        r = typed(place, name, "0badcafe", more)
        tap.ok(r.code == 2 and r.out == "" and r.err.count("\n") == 1 and sum(id in r.err for id in TWINS) == 10, f"{name}: ten candidates", r)
    for name in OF_BATCH:
        r = typed(place, name, "0cafebad")
        tap.ok(r.code == 2 and r.out == "" and r.err.count("\n") == 1 and sum(id.replace("0badcafe", "0cafebad") in r.err for id in TWINS[:3]) == 3,
               f"{name}: all three", r)
    unchanged(place, before, "nothing was changed")
    tap.equal(place.run("cancel", "00110badcafe", "--json").json["id"], TWINS[11], "a longer tail names one")


def test_illegal_changes(place):
    singles, items, _ = shell.zoo(place)
    before = shell.all_of(place)
    for name, states in ALLOWED.items():
        for state, id in [*singles.items(), *items.items()]:
            if state not in states:
                tap.error_line(typed(place, name, id, CHANGES[name]), 5, f"^genrun: generation {id} is {state} and cannot be {PAST[name]}: .*genrun show {id}.* tells more",
                               f"{name} of a {state} one")
    for state, id in singles.items():
        if state != "processing":
            tap.error_line(typed(place, "recover", id), 5, f"^genrun: generation {id} is {state} and not stuck, it .+: .*genrun ", f"recover of a {state} one")
    unchanged(place, before, "nothing was changed")


def test_illegal_changes_of_batches(place):
    ids = {}
    for state, how in (("completed", "completed"), ("failed", "failed"), ("cancelled", None)):
        ids[state] = shell.submit_batch(place, 1)
        if how:
            shell.bring(place, f"batch_seq=(SELECT seq FROM batch_job WHERE id='{ids[state]}')", how)
        else:
            place.run("batch", "cancel", ids[state])
    before = shell.all_of(place)
    for state, id in ids.items():
        for verb in ("pause", "resume", "cancel", "retry", "process-next"):
            if (verb, state) in (("cancel", "cancelled"), ("retry", "completed"), ("retry", "failed"), ("process-next", "completed"), ("process-next", "failed")):
                continue
            tap.error_line(place.run("batch", verb, id), 5, state, f"batch {verb} of a {state} one")
    unchanged(place, before, "nothing was changed")


def test_no_selector(place):
    place.submit("x", "--model", "echo")
    before = shell.all_of(place)
    for name, more in CHANGES.items():
        for words in ([], ["--yes"], ["--dry-run"], ["--json"]):
            tap.error_line(place.run(name, *more, *words), 2, f"^genrun: '{name}' needs ids, a filter or --all: 'genrun help {name}' shows how$", f"{name} {words}")
    for name in OF_BATCH:
        tap.error_line(place.run(*name.split()), 2, f"^genrun: '{name}' needs ID…?: 'genrun help {name}' shows how$", f"{name} of nothing")
    tap.error_line(place.run("locks", "release"), 2, "needs NAME", "locks release of nothing")
    unchanged(place, before, "nothing was changed")


def test_negative_durations(place):
    place.submit("x", "--model", "echo")
    before = shell.all_of(place)
    commands = [["submit", "x", "--delay"], ["list", "--since"], ["logs", "--since"], ["failures", "--since"], ["stuck", "--older-than"], ["run", "--drain", "--drain-wait"],
                *([name, *more, "--yes", "--older-than"] for name, more in CHANGES.items())]
    for words in commands:
        for value in ("-5m", "-1", "soon", "5 m", ""):
            tap.error_line(place.run(*words, value), 2, f"^genrun: {words[-1]} is '{value}', which is not a duration: give one such as 90s, 5m, 3h, 7d$",
                           f"{' '.join(words)} {value!r}")
    for name in ("CLEANUP_STUCK_AFTER", "CLEANUP_EVERY", "SCHEDULER_MAX_RUNTIME", "ALERTS_STUCK_AFTER"):
        tap.error_line(place.run("list", env={f"GENRUN_{name}": "-3h"}), 3, "-3h", f"{name} of the configuration")
    unchanged(place, before, "nothing was changed")


def test_jobs(place):
    place.submit("x", "--model", "echo")
    before = shell.all_of(place)
    for name, hint in (("clean_stuck_generation", "did you mean 'cleanup_stuck_generation'"), ("retenton", "did you mean 'retention'"),
                       ("Checkpoint", "did you mean 'checkpoint'"), ("nightly", "'genrun job list' lists them")):
        for words in (["job", name], ["-job", name], ["job", name, "--dry-run"]):
            tap.error_line(place.run(*words), 2, f"^genrun: there is no job '{name}': {hint}", " ".join(words))
    tap.error_line(place.run("job"), 2, "^genrun: 'job' needs NAME: 'genrun help job' shows how$", "job of nothing")
    unchanged(place, before, "nothing was changed")


tap.main(globals())
