#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""db check, backup, vacuum and migrate: what is wrong is found, a copy is whole or not there, and neither
disturbs a runner that is at work."""
import os
import re
import resource
import signal
import sqlite3
import stat
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import shell
import tap
from genrun import ROOT, wait_until

NEWEST = len([n for n in os.listdir(os.path.join(ROOT, "schema")) if n.endswith(".sql")])
# What breaks a rule of src/queue/audit.c, and what is then told of it. In their order there.
BROKEN = [
    ("UPDATE batch_count SET queued_items = queued_items + 3 WHERE batch_seq = 1",
     r"^counters: the counters of batch job \S+ say 5 queued, 1 processing, .*; its items are 2 queued, 1 processing"),
    ("UPDATE batch_count SET failed_items = 9 WHERE batch_seq = 0", r"^counters: the counters of everything say .* 9 failed.*; there are .* 2 failed"),
    ("UPDATE batch_count SET actual_cost = 0.1 WHERE batch_seq = 1", r"^counters: batch job \S+ cost 0\.1 with 3 and 5 tokens; its items cost 0\.25"),
    ("DELETE FROM batch_count WHERE batch_seq = 1", r"^counters: batch job \S+ has no counters"),
    ("DROP TRIGGER batch_job_status; UPDATE batch_job SET status = 'completed', completed_at = 1",
     r"^batch jobs: batch job \S+ is completed; by its items it is processing"),
    ("DROP TRIGGER batch_job_status; UPDATE batch_job SET completed_at = 1", r"^batch jobs: batch job \S+ is processing and has a time of its end"),
    ("UPDATE generation SET cancel_reason = NULL WHERE status = 'cancelled'", r"^generations: generation \S+ is cancelled without a reason"),
    ("DELETE FROM generation_input WHERE seq = 2", r"^generations: generation \S+ \(processing\) has lost what was asked"),
    ("DROP TRIGGER batch_job_delete_guard; DELETE FROM batch_job", r"^generations: generation \S+ belongs to batch job number 1, which is not there"),
    ("UPDATE generation SET lane = 99 WHERE seq = 3", r"^lanes: generation \S+ stands in lane 99, which is not there"),
    ("UPDATE generation SET lane = (SELECT lane FROM generation WHERE seq = 7) WHERE seq = 3",
     r"^lanes: generation \S+ stands in lane \d+, which is not its own"),
    ("UPDATE lane SET ready = 0", r"^lanes: lane \d+ of model echo is marked as empty, and generations wait in it"),
    ("UPDATE lane SET blocked = 4 WHERE batch_seq = 1", r"^lanes: lane \d+ of batch job \S+ is blocked with 4 where it should be 0"),
    ("DROP TRIGGER lane_insert; INSERT INTO lane (model_id, user_id, batch_seq, priority) VALUES ('m', '', 77, 0)",
     r"^orphans: lane \d+ is of batch job number 77, which is not there"),
    ("INSERT INTO batch_count (batch_seq) VALUES (77)", r"^orphans: row 77 of batch_count is of no batch job"),
    ("INSERT INTO generation_input (seq, parameters) VALUES (77, '{}')", r"^orphans: row 77 of generation_input is of no generation"),
    ("INSERT INTO generation_live (seq, heartbeat_at, progress_at, last_step) VALUES (1, 1, 1, 'x')",
     r"^orphans: row 1 of generation_live is of no generation that runs"),
    ("INSERT INTO response (seq) VALUES (77)", r"^orphans: row 77 of response is of no generation"),
    ("INSERT INTO output (key, mime, bytes, created_at) VALUES (78848, 'text/plain', 0, 1)", r"^orphans: row 78848 of output is of no generation"),
    ("INSERT INTO event (created_at, level, event, generation_seq) VALUES (1, 'info', 'generation.queued', 77)",
     r"^orphans: event \d+ is of a generation that nothing is known of"),
    # The schema and the file.
    ("DROP INDEX generation_user", r"^schema: the index generation_user is missing: put it back"),
    ("DROP TRIGGER event_frozen; CREATE TRIGGER event_frozen BEFORE UPDATE ON event BEGIN SELECT 1; END",
     r"^schema: the trigger event_frozen is not as genrun made it"),
    ("CREATE TRIGGER mine AFTER INSERT ON generation BEGIN SELECT 1; END",
     r"^schema: the trigger mine on generation is not genrun's: remove it with DROP TRIGGER mine"),
    ("CREATE INDEX mine ON generation (cost)", r"^schema: the index mine on generation is not genrun's: remove it with DROP INDEX mine"),
    ("PRAGMA ignore_check_constraints=ON; UPDATE generation SET claim_token = 'x' WHERE seq = 1", r"^generations: generation \S+ is queued and its claim token does not fit"),
    ("PRAGMA ignore_check_constraints=ON; UPDATE generation SET claim_token = 'x' WHERE seq = 1", r"^integrity: CHECK constraint failed in generation"),
]


def check(place, *args):
    return place.run("db", "check", *args)


def copy_of(place, name):
    """A copy of the database to break; its path."""
    path = place.path(name)
    source, target = sqlite3.connect(place.database), sqlite3.connect(path)
    source.backup(target)
    source.close()
    target.close()
    return path


def test_every_rule(place):
    shell.zoo(place)
    r = check(place)
    tap.ok(r.code == 0 and r.out == "no problem was found\n" and r.err == "", "nothing is wrong with rows in every state", r)
    tap.equal(check(place, "--json").out, "", "with --json that is nothing")
    for number, (statement, pattern) in enumerate(BROKEN):
        path = copy_of(place, f"broken-{number}.db")
        db = sqlite3.connect(path)
        names = {name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'")}
        for part in statement.split("; "):
            if part.startswith("DROP TRIGGER ") and part.split()[2] not in ("event_frozen",):
                kind = part.split()[2].split("_")[0]  # whatever stands in the way
                for name in names:
                    if name.startswith(kind + "_"):
                        db.execute(f"DROP TRIGGER {name}")
            elif part.startswith("CREATE TRIGGER"):
                db.execute(statement[statement.index(part):])
                break
            else:
                db.execute(part)
        db.commit()
        db.close()
        r = place.run("-d", path, "db", "check", bare=True)
        told = [line for line in r.out.splitlines() if re.search(pattern, line)]
        tap.ok(r.code == 6 and told and told[0].count(": ") >= 2 and re.fullmatch(r"genrun: database \S+ has \d+ problems?: do what each line says\n", r.err),
               f"found: {statement}", r)
    with open(os.path.join(ROOT, "src", "queue", "audit.c"), encoding="utf-8") as f:
        rules = re.findall(r'^    \{"(\w[\w ]*)",', f.read(), re.M)
    tried = [re.match(r"\^([\w ]+):", pattern).group(1) for _, pattern in BROKEN]
    tap.ok(len(rules) >= 19 and all(tried.count(name) >= rules.count(name) for name in set(rules)), "each rule was broken", f"{rules}\n{tried}")


def test_json(place):
    place.submit("x", "--model", "echo")
    place.sql("DELETE FROM generation_input")
    r = check(place, "--json")
    tap.ok(r.code == 6 and [sorted(o) for o in r.jsonl] == [["advice", "check", "problem"]], "one object for each problem", r)
    place.sql("CREATE VIEW mine AS SELECT * FROM generations")
    place.sql("CREATE TABLE notes (text TEXT)")
    tap.equal(len(check(place, "--json").jsonl), 1, "a person's own tables and views are no problem")


def test_many_problems(place):
    lines = "".join(f"{i}\n" for i in range(300))
    place.run("batch", "submit", "-", "--model", "echo", "--format", "txt", "--name", "n", input=lines)
    place.sql("DELETE FROM generation_input")
    r = check(place)
    tap.ok(r.code == 6 and len(r.lines) == 101 and "there are more than 100 problems of this kind" in r.lines[-1], "of very many the first are told", r)


def test_damage(place):
    place.run("batch", "submit", "-", "--model", "echo", "--format", "txt", "--name", "n", input="word " * 40 + "\n" + "x\n" * 3000)
    place.run("db", "vacuum")
    path = place.path("damaged.db")
    tap.equal(place.run("db", "backup", path).code, 0, "a copy to damage")
    with open(path, "r+b") as f:  # pages of a table: indexes are made anew in a copy
        f.seek(f.read().index(b"word word") // 4096 * 4096)
        f.write(b"\xa5" * 8192)
    for args in ([], ["--quick"]):
        r = place.run("-d", path, "db", "check", *args, bare=True)
        tap.ok(r.code == 6 and r.err.startswith("genrun: database ") and r.err.count("\n") == 1, f"damaged pages are found {args}", r)
    r = place.run("-d", path, "db", "backup", place.path("of-damaged.db"), bare=True)
    tap.ok(r.code != 0 and r.err.count("\n") == 1 and not [n for n in os.listdir(place.folder) if n.startswith("of-")], "and are not copied", r)
    with open(place.path("other.db"), "w", encoding="utf-8") as f:
        f.write("not a database " * 100)
    tap.error_line(place.run("-d", place.path("other.db"), "db", "check", bare=True), 6, "is not a database: name genrun's own", "another file")
    for command in (["check"], ["backup", "x"], ["vacuum"], ["migrate"]):
        r = place.run("-d", place.path("none.db"), "db", *command, bare=True)
        tap.error_line(r, 4, "does not exist: submit something", f"db {command[0]} makes no database")


def test_backup(place):
    ids = [place.submit(f"prompt {i}", "--model", "echo", "--wait", "--json", timeout_s=30) for i in range(2)]
    os.umask(0)
    r = place.run("db", "backup", "copy.db")
    os.umask(0o022)
    path = place.path("copy.db")
    tap.ok(r.code == 0 and r.out == "copy.db\n" and r.err == "", "a backup tells its name", r)
    tap.equal(stat.S_IMODE(os.stat(path).st_mode), 0o600, "only its owner can read it")
    tap.equal(len(ids), len(place.run("-d", path, "list", "--json", bare=True).jsonl), "it has everything")
    for pragma in ("application_id", "user_version"):
        held = sqlite3.connect(path).execute(f"PRAGMA {pragma}").fetchone()
        tap.equal(held, (place.value(f"PRAGMA {pragma}"),), f"and the {pragma}")
    tap.equal(place.run("-d", path, "db", "check", bare=True).code, 0, "and is whole")
    before = os.stat(path).st_mtime_ns
    tap.error_line(place.run("db", "backup", "copy.db"), 2, "copy.db exists already: name a new file", "an existing file is refused")
    tap.equal(os.stat(path).st_mtime_ns, before, "and untouched")
    os.symlink("nowhere", place.path("link"))
    tap.error_line(place.run("db", "backup", "link"), 2, "link exists already", "so is a link, wherever it leads")
    tap.error_line(place.run("db", "backup", "no/such/folder/x.db"), 2, r"cannot write no/such/folder/x.db \(No such file", "a folder that is not there")
    tap.error_line(place.run("db", "backup", "."), 2, r"\. exists already", "a folder")
    tap.error_line(place.run("db", "backup", "-"), 2, "a backup goes to a file, not to standard output: 'genrun help db backup'", "no stream")
    tap.equal(place.run("--json", "db", "backup", "second.db").json, {"file": "second.db"}, "--json")
    tap.equal(parts(place), [], "no half-made file is left")


def parts(place):
    return [n for n in os.listdir(place.folder) if ".part-" in n]


def fill(place, megabytes):
    text = "0123456789abcdef" * 4096
    lines = "".join(f"{i} {text}\n" for i in range(megabytes * 16))
    r = place.run("batch", "submit", "-", "--model", "echo", "--format", "txt", "--name", "big", input=lines, timeout_s=60)
    if r.code != 0:
        raise RuntimeError(str(r))
    return r.id


def test_full_disk(place):
    fill(place, 8)
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
    r = place.run("db", "backup", "full.db", preexec_fn=limit)
    tap.error_line(r, 1, r"cannot write full.db \(File too large\): nothing was kept", "a file that cannot grow is told of in one line")
    tap.equal((parts(place), os.path.exists(place.path("full.db"))), ([], False), "and nothing is left of the copy")


def test_interrupted(place):
    fill(place, 48)
    command = place.command("db", "backup", "copy.db")
    for number in (signal.SIGINT, signal.SIGTERM):
        p = subprocess.Popen(command, cwd=place.folder, env=place.environment(), stdin=subprocess.DEVNULL,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        wait_until(lambda: parts(place) or p.poll() is not None, 20, "the copying")
        p.send_signal(number)
        out, err = p.communicate(timeout=90)
        tap.ok(p.returncode == 5 and err == b"genrun: interrupted: nothing was kept\n" and out == b"",
               f"{signal.Signals(number).name} ends a backup with one line", f"{p.returncode} {err}")
        tap.equal((parts(place), os.path.exists(place.path("copy.db"))), ([], False), "and leaves nothing of it")


def test_beside_a_runner(place):
    place.configure("[scheduler]\nconcurrency = 4\n")
    runner = place.start_runner()
    batch = place.run("batch", "submit", "-", "--model", "echo", "--format", "jsonl", "--name", "n",
                      input="".join('{"prompt": "%d", "delay": 2}\n' % i for i in range(3000))).id
    counts = []
    for i in range(4):
        r = check(place)
        tap.ok(r.code == 0 and r.err == "", "a check beside a runner at work finds nothing wrong", r)
        r = place.run("db", "backup", f"copy-{i}.db")
        tap.equal(r.code, 0, "a backup beside it")
        path = place.path(f"copy-{i}.db")
        tap.equal(place.run("-d", path, "db", "check", bare=True).code, 0, "is of one moment")
        counts.append(sqlite3.connect(path).execute("SELECT completed_items FROM batch_jobs").fetchone()[0])
    tap.ok(counts == sorted(counts) and counts[0] < 3000, "and of different ones", str(counts))
    r = place.run("db", "vacuum")
    tap.error_line(r, 5, rf"the runner with process id {runner.pid} has database \S+: stop it first", "a vacuum is refused")
    tap.result(place.run("db", "migrate"), 0, "with nothing to migrate nothing is needed", out=f"^the schema is current: version {NEWEST}\n$")
    wait_until(lambda: place.run("batch", "show", batch, "--json").json["status"] == "completed", 30, "the batch")
    tap.equal(runner.stop(), 0, "the runner was not disturbed")
    tap.equal(check(place).code, 0, "and all is well")


def test_vacuum(place):
    batch = fill(place, 8)
    place.run("batch", "cancel", batch)
    wait_until(lambda: place.run("run", "--drain").code == 0, 30, "the sweep")
    place.sql("DELETE FROM generations")
    before = os.stat(place.database).st_size
    r = place.run("db", "vacuum")
    told = re.fullmatch(r"(\d+) bytes before, (\d+) after\n", r.out)
    after = os.stat(place.database).st_size
    tap.ok(r.code == 0 and told and int(told.group(2)) < int(told.group(1)), "a vacuum tells what it brought", r)
    tap.ok(after < before / 4, "and gave the space back", f"{before} {after}")
    tap.ok(os.stat(place.database + "-wal").st_size < 16384, "the copy does not stay in the log")
    tap.equal(check(place).code, 0, "nothing is wrong afterwards")
    tap.equal(sorted(place.run("--json", "db", "vacuum").json), ["after", "before"], "--json")
    place.submit("still there", "--model", "echo", "--wait")
    tap.equal(stat.S_IMODE(os.stat(place.database).st_mode), 0o600, "its rights are what they were")


def test_versions(place):
    place.submit("x", "--model", "echo")
    tap.equal(place.run("db", "migrate", "--json").json, {"from": NEWEST, "to": NEWEST, "dryRun": False}, "--json")
    place.sql("PRAGMA user_version = 99")
    place.sql("PRAGMA wal_checkpoint(TRUNCATE)")
    for command in (["check"], ["backup", "copy.db"], ["vacuum"], ["migrate"]):
        r = place.run("db", *command)
        tap.error_line(r, 6, f"has schema version 99 and this genrun knows {NEWEST}: use a newer genrun", f"db {command[0]} refuses a newer file")
    tap.ok(not os.path.exists(place.path("copy.db")), "and makes none")


tap.main(globals())
