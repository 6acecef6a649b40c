#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What holds for every command, whichever it is: the list comes from `genrun help`, so a new command is tested
when it is added. Help with examples that run; --json with nothing else on stdout; no escape in a pipe; readers
that go away; full disks; closed input; narrow terminals; ids by their tail."""
import json
import os
import re
import subprocess
import sys
import unicodedata

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap
from genrun import GENRUN, ROOT

INI = """[genrun]
default_model = echo
[model echo]
[model gpt-4o-mini]
base_url = http://127.0.0.1:9/v1
[webhook app]
url = http://127.0.0.1:9/hook
"""
WIDE = "漢字かな混じり文 and a rather long rest of the prompt"
# Why an example does not end with 0 here: nothing listens at that model's and that webhook's address, no Postgres is named; one that is delayed is left; nothing
# generates for ann, and no key has that id.
FAILS = {"genrun sync init": 3, "genrun sync push": 3, "genrun sync status": 3, "genrun models check gpt-4o-mini": 7, "genrun webhook test app": 7, "genrun run --drain": 5, "genrun locks release account:ann:1": 4, "genrun key revoke 4f1c22ab": 4}


def commands(place):
    """The names of all commands, as `genrun help` lists them."""
    listing = place.run("help", bare=True).out.split("\nCommands\n")[1].split("\n\n")[0]
    return [re.match(r"  (\S+(?: \S+)*?)(?:  | +\S* *$)", line + "  ").group(1) for line in listing.splitlines()]


def prepare(place):
    """A place in which what the examples name is there."""
    place.configure(INI)
    place.write("prompts.txt", "Name a river\nName a lake\n")
    place.write("requests.jsonl", '{"prompt": "a"}\n{"prompt": "b"}\n')
    place.write("rows.csv", "prompt,topic\na,x\nb,y\n")
    place.write("body.json", '{"prompt": "Describe {{topic}}"}')
    ended = place.run("submit", WIDE, "--wait", "--json").json["id"]
    failed = place.submit("fails", "--user", "ann")
    place.run("cancel", failed, "--reason", "a warning for the log")
    place.sql("INSERT INTO model_state (model_id, state, reason) VALUES ('gpt-4o-mini', 'parked', 'a test')")
    return {"generation": ended, "waiting": place.submit("waits", "--delay", "1h")}


def new_batch(place, count=2):
    r = place.run("batch", "submit", "-", "--format", "txt", "--name", WIDE, "--model", "echo", input="one\n" * count)
    if r.code != 0:
        raise RuntimeError(str(r))
    return r.id


def shell(place, line):
    """Types a line, in the place's folder; what would go on for ever is read to its first line."""
    path = os.path.dirname(GENRUN) + ":" + place.env["PATH"]
    if " -f" in line:
        line += " | head -n 1"
    env = place.environment({"PATH": path, "GENRUN_CONFIG": place.config, "GENRUN_DATABASE": place.database})
    return subprocess.run(["bash", "-o", "pipefail", "-c", line], cwd=place.folder, env=env, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE, universal_newlines=True, timeout=60)


def example_lines(place, name):
    shown = place.run("help", *name.split(), bare=True).out
    block = shown.split("\nExample\n")[1].split("\n\n")[0] if "\nExample\n" in shown else ""
    return [line.strip() for line in block.splitlines()]


def bring(place, name):
    """An id of what the command can be used on; whatever else it needs is there afterwards."""
    if not name.startswith("batch "):
        return prepared["generation"] if name in ("show", "output") else prepared["waiting"]
    batch = new_batch(place)
    if name in ("batch resume",):
        place.run("batch", "pause", batch)
    if name in ("batch watch", "batch results", "batch retry"):
        place.run("run", "--drain", "--drain-wait", "1ms")
    return batch


prepared = {}


def test_examples(place):
    prepared.update(prepare(place))
    names = commands(place)
    tap.ok(len(names) > 30, "help lists the commands", str(names))
    for name in names:
        lines = example_lines(place, name)
        tap.ok(any(f"genrun {name}" in re.sub(r" -[cd] \S+", "", line) for line in lines), f"{name}: help has an example of it", str(lines))
        for line in lines:
            done = shell(place, line.replace("4b7d91ce", bring(place, name)[-8:] if "4b7d91ce" in line else ""))
            tap.ok(done.returncode == FAILS.get(line, 0), f"it runs: {line}", f"{done.returncode}\n{done.stdout}\n{done.stderr}")
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as f:
        readme = set(re.findall(r"^    (genrun (?!run )\S.*?)(?:  +#.*)?$", f.read(), re.M))
    tap.ok(len(readme) > 3, "the README has commands", str(readme))
    for line in sorted(readme):
        line = line.replace("ID", new_batch(place)[-8:]).replace("llama3.2", "echo")
        done = shell(place, line)
        tap.equal(done.returncode, FAILS.get(line, 0), f"the README's runs: {line}")


# How to call each command so that it does its work. ID is a fresh one of what it is for.
CALLS = {
    "run": ["--drain", "--drain-wait", "1ms"], "submit": ["x"], "show": ["ID"], "output": ["ID"], "cancel": ["ID"], "retry": ["ID"],
    "fail": ["ID", "--reason", "x"], "recover": ["--all", "--yes"], "dismiss": ["ID"],
    "user set": ["u", "--name", "U"], "session set": ["s", "--name", "S"], "project set": ["p", "--name", "P"],
    "models check": ["echo"], "models resume": ["echo"], "batch submit": ["prompts.txt"], "template add": ["FRESH", "--file", "body.json"],
    "template show": ["TEMPLATE"], "template remove": ["TEMPLATE"], "db backup": ["FRESH"], "help": [],
    "locks release": ["LOCK"], "key revoke": ["KEY"], "job": ["checkpoint"],
    "webhook deliveries": ["app"], "webhook test": ["app"], "webhook redeliver": ["--failed"], "webhook enable": ["app"],
}
# What is not JSON though --json is given: text for people, and the lines of results, which have a format of their own.
NOT_JSON = {"help", "template show"}
# Exit codes other than 0 that these calls rightly end with.
CODES = {"sync init": {3}, "sync push": {3}, "sync status": {3}, "webhook test": {7}, "models resume": {0, 4}, "run": {0, 5}, "doctor": {0, 1}}
_fresh = [0]


def call(place, name):
    words = CALLS.get(name, ["ID"] if name.startswith("batch ") and name != "batch list" else [])
    _fresh[0] += 1
    if "ID" in words:
        id = bring(place, name)
        if name in ("cancel", "retry", "fail", "dismiss"):
            id = place.submit("to change", "--delay", "1h")
        if name in ("retry", "dismiss"):
            place.run("cancel", id)
        words = [id[-8:] if w == "ID" else w for w in words]
    if "LOCK" in words:
        place.sql("INSERT OR REPLACE INTO locks (name, owner, acquired_at, expires_at) VALUES ('job:sync', 'a test', 1, 99999999999999)")
        words = ["job:sync"]
    if "KEY" in words:
        words = [place.run("key", "add", "--json").json["id"][-8:]]
    if "TEMPLATE" in words:
        place.run("template", "add", f"t{_fresh[0]}", "--file", "body.json")
        words = [f"t{_fresh[0]}"]
    return name.split() + [f"backup-{_fresh[0]}.db" if w == "FRESH" else w for w in words]


def is_json_lines(text):
    try:
        return all(isinstance(json.loads(line), dict) for line in text.splitlines())
    except ValueError:
        return False


def test_json(place):
    prepared.update(prepare(place))
    for name in commands(place):
        words = call(place, name)
        r = place.run(*words, "--json")
        fine = r.code in CODES.get(name, {0}) and (name in NOT_JSON or is_json_lines(r.out))
        tap.ok(fine and "\x1b" not in r.out + r.err, f"{' '.join(words)} --json: objects, one a line, and nothing else", r)


def test_plain_streams(place):
    prepared.update(prepare(place))
    for name in commands(place):
        words = call(place, name)
        r = place.run(*words, preexec_fn=lambda: os.close(0))
        tap.ok(r.code in CODES.get(name, {0}) and "\x1b" not in r.out + r.err, f"{name}: without a terminal and an input, no escape", r)
        words = call(place, name)
        read_end, write_end = os.pipe()
        os.close(read_end)
        r = place.run(*words, stdout=write_end)
        os.close(write_end)
        tap.ok(r.code in CODES.get(name, {0}) and "cannot write" not in r.err, f"{name}: a reader that has gone is no failure", r)
        words = call(place, name)
        prints = place.run(*words).out != ""
        words = call(place, name)
        with open("/dev/full", "wb") as full:
            r = place.run(*words, stdout=full)
        told = r.err.count("cannot write to standard output (No space left on device)") == 1
        tap.ok((r.code != 0 and told) or (not prints and not told), f"{name}: a full disk is told of", r)


def columns_of(line):
    return sum(0 if unicodedata.combining(c) else 2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in line)


TABLES = {"list": ["ID", "STATUS", "PROMPT"], "batch list": ["ID", "STATUS", "DONE", "NAME"], "batch items": ["GENERATION", "STATUS"],
          "models": ["MODEL", "STATE"], "models check": ["MODEL", "CHECK", "FOUND"], "failures": ["ID", "ERROR"],
          "job list": ["JOB", "LAST"], "template list": ["NAME", "TYPE"], "locks": ["NAME", "AGE"]}


def test_narrow(place):
    prepared.update(prepare(place))
    new_batch(place)
    place.run("fail", place.submit("x", "--delay", "1h"), "--reason", WIDE)
    place.run("template", "add", "wide", "--file", "body.json", "--type", WIDE)
    place.sql("INSERT INTO locks (name, user_id, owner, acquired_at, expires_at, reason) "
              "VALUES ('account:ann:1', 'ann', 'another', 1, 4102444800000, 'a test')")
    for name, wanted in TABLES.items():
        words = call(place, name)
        for columns in (20, 40, 60, 200):
            r = place.run_pty(*words, columns=columns, env={"NO_COLOR": "1"})
            lines = [line for line in r.out.split("\r\n") if not line.startswith("genrun: ")]
            tap.ok(r.code == 0 and max(map(columns_of, lines)) <= columns, f"{name} fits {columns} columns", r)
            titles = lines[0].split()
            kept = wanted if columns >= 40 else wanted[:1]
            tap.ok(all(t in titles for t in kept), f"{name} in {columns} columns keeps {', '.join(kept)}", r)
    r = place.run_pty("list", columns=200, env={"NO_COLOR": "1"})
    tap.contains(r.out, WIDE, "on a wide terminal nothing is cut")
    tap.ok({"MODEL", "USER", "AGE", "TOOK"} <= set(r.out.split("\r\n")[0].split()), "and nothing left out", r)


def test_narrow_help(place):
    for name in commands(place) + ["", "batch"]:
        r = place.run_pty("help", *name.split(), columns=80, bare=True)
        head = r.out.partition("\r\nExample\r\n")[0]
        wide = [line for line in head.split("\r\n") if columns_of(line) > 80]
        tap.ok(r.code == 0 and wide == [], f"help {name} fits 80 columns", wide)
        plain = place.run("help", *name.split(), bare=True).out.partition("\nExample\n")[0]
        tap.equal(head.split(), plain.split(), "and says what it says elsewhere")


def test_output_to_stdout_by_name(place):
    place.configure(INI)
    id = place.run("submit", "answer", "--model", "echo", "--wait", "--json").json["id"]
    done = shell(place, f"{{ echo before; genrun output {id} -o /dev/stdout; echo; echo after; }} > all.txt")
    tap.equal((done.returncode, place.read("all.txt")), (0, "before\nanswer\nafter\n"), "-o /dev/stdout does not replace the file behind it")


def test_ids_of_the_other_kind(place):
    batch, id = new_batch(place), place.submit("x", "--model", "echo")
    for words in (["show"], ["output"], ["cancel"], ["retry"]):
        tap.error_line(place.run(*words, batch[-8:]), 4, f"{batch[-8:]} is a batch job, not a generation: 'genrun batch show {batch[-8:]}' tells of it", f"{words[0]} of a batch job")
    for words in (["batch", "show"], ["batch", "results"], ["batch", "cancel"]):
        tap.error_line(place.run(*words, id), 4, f"{id} is a generation, not a batch job: 'genrun show {id}' tells of it", f"{' '.join(words)} of a generation")


def test_ids(place):
    ids = [f"0190a0b1-c2d3-7e4f-8a5b-{i:04d}0badcafe" for i in range(12)]
    place.submit("x", "--model", "echo")
    for id in ids:
        place.sql("INSERT INTO generations (id, prompt, model_id) VALUES (?, 'p', 'echo')", id)
    for words in (["show"], ["output"], ["cancel"], ["retry"], ["logs"]):
        r = place.run(*words, "0badcafe")
        tap.ok(r.code == 2 and r.out == "" and r.err.count("\n") == 1 and sum(id in r.err for id in ids) == 10,
               f"{words[0]}: an ambiguous id is refused with ten candidates", r)
        r = place.run(*words, "badcafe")
        tap.error_line(r, 2, "8", f"{words[0]}: fewer than 8 characters are refused")
    tap.equal(place.run("show", "00110badcafe", "--json").json["id"], ids[11], "a longer tail names one")


tap.main(globals())
