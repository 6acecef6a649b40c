#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The periodic jobs and the locks from outside: names, forms, who is at it already, what is written, what is refused."""
import os
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import shell
import tap

CLEANUP = "cleanup_stuck_generation"
HOUR = 3600 * 1000


def now_ms():
    return int(time.time() * 1000)


def identity(pid):
    """A process as locks name it (src/base/process.c)."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as f:
        boot = f.read().strip()
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
        started = f.read().rsplit(")", 1)[1].split()[19]
    return f"{boot}:{os.stat('/proc/self/ns/pid').st_ino}:{pid}:{started}:0badcafe"


def hold(place, owner, expires, name=f"job:{CLEANUP}"):
    place.sql("INSERT OR REPLACE INTO locks (name, owner, acquired_at, expires_at, reason) VALUES (?,?,?,?,'command, pid 7')", name, owner,
              now_ms() - 1000, expires)


def test_names(place):
    r = place.run("job", "list", "--json")
    tap.equal([j["name"] for j in r.jsonl], [CLEANUP, "retention", "checkpoint", "expire", "sync", "webhooks"], "job list, also before there is a database")
    tap.equal([j["everyMs"] for j in r.jsonl], [1800000, 0, 300000, 2000, 0, 0], "how often the runner does each: without an option retention is off")
    tap.error_line(place.run("job", CLEANUP), 4, "does not exist", "there is no database")
    place.submit("x", "--model", "echo")
    for args in (["job", CLEANUP], ["-job", CLEANUP], [f"-job={CLEANUP}"], ["--json", "-job", CLEANUP]):
        tap.result(place.run(*args), 0, " ".join(args), out="cleanup_stuck_generation")
    r = place.run("job", CLEANUP)
    tap.matches(r.out, r"^cleanup_stuck_generation: 0 found, 0 fixed, in \d+", "what came of it, in a line")
    tap.equal(r.err, "genrun: 1 generation waits for a runner, and none is up: start one with 'genrun run'\n", "what waits its turn is not stuck")
    tap.equal(place.run("job", CLEANUP, "-q").out, "", "nothing with -q")
    tap.error_line(place.run("job", "clean_stuck_generation"), 2, f"there is no job 'clean_stuck_generation': did you mean '{CLEANUP}'", "the nearest name")
    tap.error_line(place.run("-job", "retentoin"), 2, "did you mean 'retention'", "in the old form, too")
    tap.error_line(place.run("job", "sweep"), 2, "'genrun job list' lists them", "none is near")
    tap.error_line(place.run("job"), 2, "'job' needs NAME", "no name")
    tap.error_line(place.run("-job"), 2, "'job' needs NAME", "no name in the old form")
    tap.error_line(place.run("job", CLEANUP, "retention"), 2, "one argument too many", "two names")


def test_what_is_written(place):
    place.submit("x", "--model", "echo")
    before = shell.commits(place)
    for name in (CLEANUP, "retention", "checkpoint"):
        tap.result(place.run("job", name, "--dry-run"), 0, f"{name} --dry-run")
    tap.equal(shell.commits(place), before, "a dry run writes nothing at all")
    place.run("job", CLEANUP)
    tap.equal(place.sql("SELECT name, outcome, found, fixed, message FROM jobs"), [(CLEANUP, "done", 0, 0, None)], "the last run is written down")
    tap.equal(place.sql("SELECT * FROM locks"), [], "its lock is gone")
    tap.equal(place.value("SELECT count(*) FROM logs WHERE event LIKE 'job.%'"), 0, "the log does not tell of a run that found nothing")
    hold(place, "gone", 5, "account:ann:1")
    o = place.run("job", CLEANUP, "--json").json
    tap.equal((o["found"], o["fixed"], [(f["kind"], f["id"], f["fixed"]) for f in o["findings"]]), (1, 1, [("lock", "account:ann:1", True)]), "an expired lock")
    tap.equal(place.sql("SELECT event, level FROM logs WHERE event LIKE 'job.%' OR event LIKE 'lock.%' ORDER BY id"),
              [("lock.expired", "warn"), ("job.completed", "info")], "both are in the log")
    j = [j for j in place.run("job", "list", "--json").jsonl if j["name"] == CLEANUP][0]
    tap.ok(j["found"] == 1 and j["outcome"] == "done" and j["lockedBy"] is None and j["runBy"].startswith("command, pid "), "job list tells of it", j)
    tap.matches(place.run("job", "list").out, rf"{CLEANUP} +30m +\S+ +done +1 +1 +command, pid \d+", "as a table")


def test_one_at_a_time(place):
    place.submit("x", "--model", "echo")
    hold(place, identity(os.getpid()), now_ms() + HOUR)
    r = place.run("job", CLEANUP)
    tap.error_line(r, 5, rf"job {CLEANUP} is at work already, since \S+Z \(command, pid 7\): wait", "held by a process that lives")
    tap.equal(place.value("SELECT count(*) FROM jobs"), 0, "which is not this one's run to write down")
    tap.result(place.run("job", CLEANUP, "--dry-run"), 0, "a dry run does not ask")
    tap.result(place.run("job", "retention"), 0, "another job is free")
    tap.equal([j["lockedBy"] for j in place.run("job", "list", "--json").jsonl], ["command, pid 7", None, None, None, None, None], "job list says who is at it")
    dead = subprocess.Popen(["true"])
    gone = identity(dead.pid) if os.path.exists(f"/proc/{dead.pid}/stat") else None
    dead.wait()
    for name, owner, expires in (("a dead process", gone, now_ms() + HOUR), ("of another boot", "0-0:1:1:1", now_ms() + HOUR),
                                 ("a process id that is used again", identity(os.getpid()).rsplit(":", 2)[0] + ":1:x", now_ms() + HOUR),
                                 ("one that did not renew it", identity(os.getpid()), now_ms() - 1)):
        hold(place, owner, expires)
        tap.result(place.run("job", CLEANUP), 0, f"taken over: {name}")
        tap.equal(place.value("SELECT count(*) FROM locks"), 0, f"and given back: {name}")
    tap.equal(place.value("SELECT count(*) FROM logs WHERE event='lock.expired' AND message LIKE '%taken over'"), 4, "each is in the log")


def test_two_callers(place):
    for i in range(3):
        shell.submit_batch(place, 2000, name=f"b{i}.jsonl")
    codes = []
    for _ in range(3):
        running = [place.start("job", CLEANUP, "--json") for _ in range(4)]
        codes += [r.wait() for r in running]
    tap.ok(0 in codes and set(codes) <= {0, 5}, "of callers at once each does it, or is told that another does", codes)
    tap.equal((place.value("SELECT count(*) FROM locks"), shell.drift(place)), (0, []), "no lock is left, nothing has drifted")


def test_locks(place):
    place.submit("x", "--model", "echo")
    tap.equal(place.run("locks", "--json").out, "", "nothing is locked")
    hold(place, "gone", now_ms() + HOUR, "account:ann:1")
    hold(place, identity(os.getpid()), now_ms() + HOUR)
    a, j = place.run("locks", "--json").jsonl
    tap.equal((a["name"], a["live"], j["name"], j["live"]), ("account:ann:1", False, f"job:{CLEANUP}", True), "whose owner lives")
    tap.matches(place.run("locks").out, rf"job:{CLEANUP} +- +\S+ +yes +1s +(59m|1h)\S* +command, pid 7", "as a table")
    tap.error_line(place.run("locks", "release", "account:an:1"), 4, "no lock is named 'account:an:1': did you mean 'account:ann:1'", "the nearest name")
    tap.error_line(place.run("locks", "release", "zzz"), 4, "'genrun locks' lists them", "none is near")
    tap.error_line(place.run("locks", "release"), 2, "needs NAME", "no name")
    r = place.run("locks", "release", "account:ann:1", "nothing", f"job:{CLEANUP}")
    tap.equal((r.code, r.out), (4, f"account:ann:1 released\njob:{CLEANUP} released\n"), "each is tried, the worst code returned")
    tap.contains(r.err, f"the work that job:{CLEANUP} was held for goes on", "released from live work, with a warning")
    tap.lacks(r.err, "account:ann:1 was held", "not from what is gone")
    tap.equal(place.sql("SELECT event, json_extract(data, '$.name') FROM logs WHERE event='lock.released' ORDER BY id"),
              [("lock.released", "account:ann:1"), ("lock.released", f"job:{CLEANUP}")], "in the log")
    hold(place, "gone", now_ms() + HOUR, "account:\x1b[31m:1")
    tap.equal(place.run("locks", "release", "account:\x1b[31m:1").out, "account:\\x1b[31m:1 released\n", "a hostile name is escaped")
    hold(place, "gone", now_ms() + HOUR, "account:a\"b:1")
    tap.equal(place.run("locks", "release", 'account:a"b:1', "--json").json, {"name": 'account:a"b:1', "released": True, "live": False}, "--json")


def test_many_findings(place):
    """A dry run counts what a run puts right, also where that takes many transactions."""
    place.submit("x", "--model", "echo")
    place.sql("WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<450) INSERT INTO locks (name, owner, acquired_at, expires_at)"
              " SELECT 'account:u'||i||':1', 'gone', 1, 2 FROM n")
    dry, done = place.run("job", CLEANUP, "--dry-run", "--json").json, place.run("job", CLEANUP, "--json").json
    tap.equal((dry["found"], dry["fixed"], done["found"], done["fixed"]), (450, 0, 450, 450), "450 locks that nobody renews")


def test_what_cannot_work(place):
    place.submit("x", "--model", "echo")
    place.configure("[cleanup]\nstuck_after = soon\n")
    tap.error_line(place.run("job", CLEANUP), 3, r"genrun.ini:2: stuck_after = 'soon'", "the configuration")
    place.configure("[cleanup]\nlock_expiry = 5s\n")
    tap.error_line(place.run("job", CLEANUP), 3, r"genrun.ini:2: lock_expiry of \[cleanup\] is not longer than heartbeat_interval", "locks that lapse")
    place.configure("")
    blocker = subprocess.Popen(["sqlite3", place.database], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    blocker.stdin.write("BEGIN IMMEDIATE;\nSELECT 'held';\n")
    blocker.stdin.flush()
    tap.equal(blocker.stdout.readline(), "held\n", "a shell has the database")
    tap.error_line(place.run("job", CLEANUP), 6, "is locked by another process: end its open transaction", "a database that is locked for good")
    blocker.communicate("ROLLBACK;\n")
    if os.geteuid() == 0:
        with open(place.database, "r+b") as f:
            f.seek(100)
            f.write(b"\xff" * 200)
        tap.error_line(place.run("job", CLEANUP), 6, "is damaged", "a damaged one")
    else:
        os.chmod(place.database, 0o400)
        tap.error_line(place.run("job", CLEANUP), 6, "read-only", "one that may not be written")


def test_checkpoint(place):
    place.submit("x", "--model", "echo")
    r = place.run("job", "checkpoint")
    tap.result(r, 0, "without a runner", out="^checkpoint: 0 found")
    size = os.path.getsize(place.database)
    for i in range(40):
        place.sql("INSERT INTO generations (prompt, model_id, priority) VALUES (?, 'echo', ?)", "x" * 20000, -i)
    place.run("job", "checkpoint")
    tap.ok(os.path.getsize(place.database) > size + 40 * 20000, "the log is in the file", os.path.getsize(place.database))
    runner = place.start_runner()
    r = place.run("job", "checkpoint")
    tap.equal((r.code, r.err), (0, "genrun: a runner is up, which does this by itself\n"), "beside a runner it is the runner's")
    tap.equal(runner.stop(), 0, "the runner ends with 0")


def test_stats(place):
    tap.equal(place.run("stats", "--json").code, 4, "no database yet")
    place.submit("x", "--model", "echo")
    tap.equal(place.run("stats", "--json").json["violations"], 0, "what waits for a runner violates nothing")
    place.sql("UPDATE lane SET ready=0")
    tap.equal(place.run("stats", "--json").json["violations"], 1, "what nobody would find does")
    tap.matches(place.run("stats").out, r"violations +1\n", "in the table, too")
    place.run("job", CLEANUP)
    tap.equal(place.run("stats", "--json").json["violations"], 0, "the job ends it")


tap.main(globals())
