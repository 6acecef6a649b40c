#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""doctor: every place that can be broken is broken, and the row that tells of it must be wrong, with its advice."""
import hashlib
import os
import resource
import signal
import sqlite3
import stat
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap
from genrun import Place, wait_until
from server import Server
from shim import Shim

CONFIG = "[genrun]\ndefault_model = echo\n"
# Checks of a place without models of its own, in their order.
CHECKS = ["configuration", "database", "permissions", "log", "schema", "integrity", "rows", "writer lock", "runner", "stuck", "http",
          "sync", "SQLite", "libcurl", "disk", "temporary folder", "clock", "open files", "inotify"]


def fill(place):
    place.configure(CONFIG)
    os.chmod(place.config, 0o644)
    place.run("submit", "x", "--wait")
    tap.ok(os.path.exists(place.database), "there is a database")


def picture(place):
    """Every file of the place but a shim's: its mode, and what is in it."""
    found = {}
    for name in sorted(os.listdir(place.folder)):
        if os.path.isfile(place.path(name)) and not name.startswith(("shim", "runner-")):
            with open(place.path(name), "rb") as f:
                found[name] = (oct(os.stat(place.path(name)).st_mode), hashlib.sha256(f.read()).hexdigest())
    return found


def rows_of(place, *more, **how):
    r = place.run("doctor", "--json", "--offline", *more, **how)
    return r.jsonl, r


def judge(place, check, state, message, advice, *more, code=None, **how):
    """The row that is in this state, and whether the exit code follows."""
    rows, r = rows_of(place, *more, **how)
    found = [o for o in rows if o["check"] == check and o["state"] == state]
    good = found and any(tap.re.search(message, o["message"]) and tap.re.search(advice, o["advice"] or "") for o in found)
    tap.ok(good, f"{check} is {state}: {message}", r)
    any_wrong = any(o["state"] == "wrong" for o in rows)
    tap.equal(r.code, 1 if any_wrong else 0, f"{check}: exit 1 exactly when a row is wrong")
    if state == "wrong":
        tap.matches(r.err, r"^genrun: \d+ of \d+ checks? found something wrong: do what stands below each\n$", f"{check}: and a line")
    tap.ok(all(o["advice"] for o in rows if o["state"] == "wrong"), f"{check}: what is wrong has its advice", r)
    return rows


def test_healthy(place):
    fill(place)
    os.remove(place.database + "-wal")
    os.remove(place.database + "-shm")
    shim = Shim(place)
    before = picture(place)
    rows, r = rows_of(place, env=shim.env)
    tap.equal([o["check"] for o in rows], CHECKS, "every check, in its order")
    version = tuple(int(n) for n in place.run("--version").out.split("SQLite ")[1].split()[0].split("."))
    buggy = (3, 7, 0) <= version < (3, 51, 3) and not (3, 44, 6) <= version < (3, 45) and not (3, 50, 7) <= version < (3, 51)
    notes = ["SQLite"] if buggy else []
    tap.equal([o["check"] for o in rows if o["state"] != "ok"], notes, "nothing is wrong; the SQLite of this machine has its bug or not")
    if notes:
        o = [o for o in rows if o["check"] == "SQLite"][0]
        tap.ok("WAL-reset bug" in o["message"] and "works around" in o["message"] and "no litestream" in o["advice"], "and what not to do is told", o)
    tap.equal((r.code, r.err), (0, ""), "exit 0, not a word on stderr")
    tap.ok(all(set(o) == {"check", "state", "message", "advice"} for o in rows), "objects of four", r)
    tap.equal(picture(place), before, "nothing was changed or made")
    tap.equal(place.run("list", "--json").json["status"], "completed", "and the database is as it was")


def test_text(place):
    fill(place)
    shim = Shim(place)
    os.chmod(place.database, 0o644)
    env = shim.env
    r = place.run("doctor", "--offline", env=env)
    tap.matches(r.out, r"(?m)^ok     configuration     /.*/genrun.ini has no mistake$", "aligned")
    tap.matches(r.out, rf"(?m)^wrong  permissions       {place.database} holds .* \(mode 0644\)\n {{25}}chmod 600 {place.database}$",
                "the advice stands below")
    r = place.run("-q", "doctor", "--offline", env=env)
    tap.ok(r.code == 1 and not tap.re.search("(?m)^ok", r.out) and "wrong" in r.out, "-q: without what is ok", r)
    r = place.run_pty("doctor", "--offline", env=env, columns=70)
    tap.contains(r.out, "\x1b[31mwrong", "red on a terminal")
    plain = tap.re.sub("\x1b\\[[0-9]*m", "", r.out)
    long_words = [line for line in plain.splitlines() if not line.startswith("genrun: ") and len(line) > 70 and " " in line[25:].strip()]
    tap.equal(long_words, [], "lines fit it, words whole")
    r = place.run_pty("doctor", "--offline", env={**env, "NO_COLOR": "1"}, columns=70)
    tap.lacks(r.out, "\x1b[", "NO_COLOR")


def test_configuration(place):
    fill(place)
    place.write("genrun.ini", CONFIG + "log_levle = info\n[scheduler]\nconcurrency = many\n")
    rows = judge(place, "configuration", "wrong", r"genrun\.ini:3: unknown option 'log_levle'", "did you mean log_level")
    wrong = [o["message"] for o in rows if o["state"] == "wrong"]
    tap.ok(len(wrong) == 2 and "genrun.ini:5" in wrong[1], "each mistake is a row", wrong)
    tap.ok(any(o["check"] == "rows" and o["state"] == "ok" for o in rows), "and the database is looked at all the same", rows)
    place.configure(CONFIG)
    os.chmod(place.config, 0o666)
    judge(place, "configuration", "wrong", r"can be changed by others \(mode 0666\)", "chmod go-w /")
    os.remove(place.config)
    rows = judge(place, "configuration", "wrong", "No such file", "check the path given with -c")
    tap.ok(any(o["check"] == "rows" and o["state"] == "ok" for o in rows), "-d names the database then", rows)
    os.mkdir(place.config)
    judge(place, "configuration", "wrong", "is a folder", "give the path of the file")
    place.database, database = "", place.database
    rows, r = rows_of(place, "-c", place.config, bare=True)
    tap.ok(r.code == 1 and [o["state"] for o in rows if o["check"] == "database"] == ["note"], "without it the database is not known", r)
    place.database = database
    os.rmdir(place.config)
    place.config = None
    rows, r = rows_of(place)
    tap.ok(any("the defaults hold" in o["message"] for o in rows), "none is fine", r)


def test_file_of_another_program(place):
    for name, content in (("text", "not a database\n"), ("shop.db", None)):
        place.database = place.path(name)
        if content:
            place.write(name, content)
        else:
            place.sql("CREATE TABLE goods (id)")
        os.chmod(place.database, 0o644)
        rows = judge(place, "database", "wrong", "is (not a|a) database", "name genrun's own file")
        tap.equal([o for o in rows if o["check"] in ("permissions", "log")], [], f"{name}: its rights are not judged")


def test_database_files(place):
    fill(place)
    for suffix in ("", "-wal", "-shm"):
        os.chmod(place.database + suffix, 0o640)
        judge(place, "permissions", "wrong", rf"test\.db{suffix} holds prompts .*\(mode 0640\)", rf"^chmod 600 /.*test\.db{suffix}$")
        os.chmod(place.database + suffix, 0o600)
    shim = Shim(place)
    judge(place, "permissions", "wrong", "test.db-shm belongs to .* and the database to", "^chown .*test.db-shm$", env=shim.lacking("owner"))
    judge(place, "permissions", "note", "test.db belongs to .*, this is", "use genrun as", env=shim.lacking("self"))
    judge(place, "database", "wrong", r"network file system \(NFS\)", "use a local disk", env=shim.lacking("local"))
    os.truncate(place.database + "-wal", 65 << 20)
    judge(place, "log", "note", r"has 65\.0 MiB", "start a runner")


def test_database_missing(place):
    place.configure(CONFIG)
    judge(place, "database", "note", "does not exist yet", "first submission")
    tap.ok(not os.path.exists(place.database), "it is not made")
    place.write("test.db", "")
    judge(place, "database", "note", "or is empty", "first submission")
    place.write("test.db", "this is no database\n" * 100)
    judge(place, "database", "wrong", "is not a database", "name genrun's own file")
    os.remove(place.database)
    os.mkdir(place.database)
    judge(place, "database", "wrong", "not a regular file", "name a file with -d")
    os.rmdir(place.database)
    place.sql("CREATE TABLE other (a)")
    judge(place, "database", "wrong", "of another program", "name genrun's own file")


def test_database_content(place):
    fill(place)
    place.sql("UPDATE batch_count SET failed_items = 7 WHERE batch_seq = 0")
    judge(place, "rows", "wrong", "failed", ".")
    place.sql("UPDATE batch_count SET failed_items = 0 WHERE batch_seq = 0")
    place.sql("DROP TRIGGER generation_dismissal")
    judge(place, "schema", "wrong", "trigger generation_dismissal is missing", "put it back")
    place.sql("PRAGMA user_version = 99")
    judge(place, "database", "wrong", "schema version 99", "use a newer genrun")


def test_database_damaged(place):
    fill(place)
    connection = sqlite3.connect(place.database)
    page = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'generation_input'").fetchone()[0]
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()
    with open(place.database, "r+b") as f:
        f.seek((page - 1) * 4096)
        f.write(b"\xff" * 4096)
    judge(place, "integrity", "wrong", ".", "backup")


def test_locks(place):
    fill(place)
    holder = sqlite3.connect(place.database, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    judge(place, "writer lock", "wrong", rf"process {os.getpid()} \(python.*\) has kept others from writing", rf"process {os.getpid()} has open")
    holder.execute("ROLLBACK")
    judge(place, "writer lock", "ok", "nobody keeps it", "")
    holder.execute("PRAGMA locking_mode = EXCLUSIVE")
    holder.close()
    holder = sqlite3.connect(place.database, isolation_level=None)
    holder.execute("PRAGMA locking_mode = EXCLUSIVE")
    holder.execute("BEGIN IMMEDIATE")
    judge(place, "database", "wrong", "is locked by another process", "end its open transaction")
    holder.close()


def test_runner(place):
    place.configure(CONFIG + "[scheduler]\nheartbeat_interval = 10m\nheartbeat_timeout = 20m\n")
    place.submit("x", "--delay", "1h")
    judge(place, "runner", "note", "none is up, and 1 generation waits", "genrun run")
    runner = place.start_runner()
    judge(place, "runner", "ok", rf"process {runner.pid} is up for .*, nothing is in work", "")
    id = place.submit("x", "--param", "hang=connect")
    place.wait_status(id, "processing")
    judge(place, "runner", "ok", rf"process {runner.pid} is up for .* 1 in work", "")
    place.sql("UPDATE runners SET heartbeat_at = 1")
    judge(place, "runner", "wrong", rf"process {runner.pid} hangs: it has work and has not beaten for", rf"kill -KILL {runner.pid}")
    place.sql("INSERT INTO generation_live SELECT seq, 1, 1, NULL, 'provider:connect', 0 FROM generation WHERE status = 'processing'")
    judge(place, "stuck", "wrong", "1 generation is stuck$", "genrun list --status stuck")
    runner.signal(signal.SIGSTOP)
    judge(place, "runner", "wrong", rf"process {runner.pid} is stopped", rf"kill -CONT {runner.pid}")
    runner.signal(signal.SIGCONT)
    runner.kill()
    judge(place, "stuck", "wrong", "1 generation is stuck: nobody runs", "start a runner with 'genrun run'")
    place.sql("INSERT INTO model_state (model_id, state, reason, since) VALUES ('m', 'parked', 'a wrong key', 1767225600000)")
    judge(place, "model m", "wrong", "parked since 2026-01-01T00:00:00.000Z, with 0 in its queue: a wrong key", "genrun models resume m")
    place.sql("UPDATE model_state SET state = 'cooling', until = 1767225660000")
    judge(place, "model m", "note", r"cooling since .*, until 2026-01-01T00:01:00.000Z", "")


def test_http(place):
    fill(place)
    secret = "a secret of some length"
    judge(place, "http", "ok", r"it is not configured \(\[http\] listen\)", "")
    place.configure(CONFIG + "[http]\nlisten = 127.0.0.1:8787\n")
    judge(place, "http", "ok", r"127\.0\.0\.1:8787, for this machine; .* so the runner tells a link and a token", "")
    rows = judge(place, "http", "ok", r"8787; the admin secret \(environment variable INTERNAL_API_SECRET\) is set; 0 good keys", "", env={"INTERNAL_API_SECRET": secret})
    tap.lacks(str(rows), secret, "but not what it is")
    judge(place, "http", "note", "fewer than 16 characters", "take a longer one", env={"INTERNAL_API_SECRET": "hunter2"})
    place.configure(CONFIG + "[http]\nlisten = 0.0.0.0:8787\n")
    judge(place, "http", "wrong", "0.0.0.0:8787 can be reached from other machines, and there is no key", "make a key with 'genrun key add'")
    place.run("key", "add")
    judge(place, "http", "ok", r"is not set here; 1 good key$", "")
    place.configure(CONFIG + "[http]\nadmin_key_file = key\n")
    judge(place, "http", "wrong", "admin_key_file .*/key cannot be read", "write the secret there")
    os.chmod(place.write("key", secret), 0o644)
    judge(place, "http", "note", r"key can be read by others \(mode 0644\)", "chmod 600")


def test_clock(place):
    fill(place)
    shim = Shim(place)
    judge(place, "clock", "ok", "synchronised", "", env=shim.env)
    judge(place, "clock", "note", "nothing synchronises", "NTP", env=shim.lacking("sync"))
    shim.set_clock(-3600)
    judge(place, "clock", "wrong", "the clock was set back", "set the clock right", env=shim.env)
    shim.set_clock(-20 * 365 * 86400)
    judge(place, "clock", "wrong", "the clock shows the year 20", "set it", env=shim.env)


def test_system(place):
    fill(place)
    shim = Shim(place)
    for check in ("disk", "temporary folder"):
        judge(place, check, "wrong", r"has \d\.\d MiB left", "free some space", env=shim.lacking("space"))
        judge(place, check, "note", r"has 100\.\d MiB left", "free some space soon", env=shim.lacking("much-space"))
        judge(place, check, "wrong", "has 5 inodes left", "remove small files", env=shim.lacking("inodes"))
        judge(place, check, "note", "has 500 inodes left", "remove small files soon", env=shim.lacking("many-inodes"))
    judge(place, "temporary folder", "wrong", "/no/such/folder", "TMPDIR|check the folder", env={"TMPDIR": "/no/such/folder"})
    judge(place, "inotify", "note", "no watch is left", "max_user_instances", env=shim.lacking("instances"))
    judge(place, "inotify", "note", "no watch is left", "max_user_watches", env=shim.lacking("watches"))
    place.configure(CONFIG + "[scheduler]\nconcurrency = 100\n")

    def few_files():
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, 100))

    judge(place, "open files", "wrong", "100 may be open at once, concurrency 100 needs 164", "raise the limit to 164", preexec_fn=few_files)
    place.configure(CONFIG + "[scheduler]\nconcurrency = 30\n[model c]\nprovider = command\ncommand = cat\n")
    judge(place, "open files", "wrong", "concurrency 30 needs 184", "lower concurrency", preexec_fn=few_files)


def test_keys(place):
    place.configure("[model m]\nbase_url = http://127.0.0.1:9/v1\napi_key_env = TEST_KEY\n")
    key = "sk-of-the-tests-0123456789"
    judge(place, "key of m", "wrong", "no key for model m", "set the environment variable TEST_KEY")
    rows = judge(place, "key of m", "ok", "set by the environment variable TEST_KEY; a runner started elsewhere has its own", "", env={"TEST_KEY": key})
    tap.ok(key not in str(rows), "its value is not shown")
    place.submit("x", "--model", "echo")
    runner = place.start_runner(env={"TEST_KEY": key})
    judge(place, "key of m", "note", "no key for model m", "set the environment variable TEST_KEY")
    runner.stop()
    place.configure("[model m]\nbase_url = http://127.0.0.1:9/v1\napi_key_file = key\n")
    judge(place, "key of m", "wrong", "cannot read api_key_file", "write the key there")
    place.write("key", key + "\n")
    os.chmod(place.path("key"), 0o644)
    judge(place, "key of m", "wrong", r"/key is open to others \(mode 0644\)", "chmod 600 /.*/key")
    os.chmod(place.path("key"), 0o600)
    rows = judge(place, "key of m", "ok", "in /.*/key", "")
    tap.ok(key not in str(rows), "its value is not shown")


def test_models(place):
    with Server(lambda x: x.answer(200, {"data": [{"id": "good"}]})) as server:
        place.configure(f"[model good]\nbase_url = {server.url}\n[model bad]\nbase_url = http://127.0.0.1:9/v1\n")
        r = place.run("doctor", "--json")
        models = {o["check"]: o for o in r.jsonl if o["check"].startswith("model ")}
        tap.equal({n: o["state"] for n, o in models.items()}, {"model good": "ok", "model bad": "wrong", "model echo": "ok"}, "each model is asked")
        tap.ok(r.code == 1 and "start the server" in models["model bad"]["advice"], "and what to do is told", r)
        asked = server.count
        rows, r = rows_of(place)
        tap.ok(server.count == asked and not any(o["check"].startswith("model ") for o in rows), "--offline asks none", r)


def test_usage(place):
    tap.error_line(place.run("doctor", "all"), 2, "'all' is one argument too many", "no operand")
    r = place.run("help", "doctor")
    tap.ok("genrun doctor --offline" in r.out and "Exits with 1" in r.out, "help with an example", r)


tap.main(globals())
