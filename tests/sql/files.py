#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Files that are not, or cannot be, genrun's database: one clear line, the documented exit code, the file
byte for byte as it was and nothing left beside it."""
import ctypes
import os
import random
import resource
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import shell
import tap

READ = ("list",)
WRITE = ("submit", "x", "--model", "echo")
APPLICATION_ID = 0x67656E72
NOBODY = 65534
FOREIGN = "is a database of another program: name genrun's own file with -d"
NOT_A_DATABASE = "is not a database: name genrun's own file with -d"


def content(path):
    """The bytes of a file, without opening what would block."""
    if not stat.S_ISREG(os.stat(path).st_mode):
        return None
    with open(path, "rb") as f:
        return f.read()


def beside(path):
    """What has the file's name or begins with it, with sizes."""
    folder, name = os.path.split(path)
    return {n: os.lstat(os.path.join(folder, n)).st_size for n in os.listdir(folder) if n.startswith(name)}


def refused(place, path, pattern, name, code=6, commands=(READ, WRITE), **kw):
    before, around = content(path), beside(path)
    for command in commands:
        r = place.run("-d", path, *command, bare=True, **kw)
        tap.error_line(r, code, pattern, f"{name}: {command[0]}")
        tap.ok(content(path) == before and beside(path) == around, f"{name}: untouched, nothing beside it", f"{around}\nbecame\n{beside(path)}")


def made(place, name="own.db", wal=False):
    """A database of genrun's with one row, its log copied into it unless wal."""
    path = place.path(name)
    r = place.run("-d", path, *WRITE, bare=True)
    if r.code != 0:
        raise RuntimeError(r)
    if not wal:
        write(path, "PRAGMA wal_checkpoint(TRUNCATE)")
    return path


def write(path, *statements):
    db = sqlite3.connect(path, isolation_level=None)
    for statement in statements:
        db.execute(statement).fetchall()
    db.close()


def poke(path, offset, data):
    with open(path, "r+b") as f:
        f.seek(offset)
        f.write(data)


def test_of_another_program(place):
    tables = ("CREATE TABLE notes (text)", "INSERT INTO notes VALUES ('mine')")
    cases = {"plain": (), "wal": ("PRAGMA journal_mode=WAL",), "application id": ("PRAGMA application_id=77",),
             "version": ("PRAGMA user_version=1",)}
    for name, first in cases.items():
        path = place.path(f"foreign-{name.split()[0]}.db")
        write(path, *first, *tables)
        refused(place, path, FOREIGN, name)
    path = place.path("bare.db")
    write(path, "PRAGMA application_id=77")
    refused(place, path, FOREIGN, "an application id and no table")
    path = place.path("names.db")
    write(path, *(f"CREATE TABLE {t} (id)" for t in ("generation", "batch_job", "schema_migrations")), "PRAGMA user_version=1")
    refused(place, path, FOREIGN, "tables of our names")
    path = place.path("live.db")
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    for statement in tables:
        db.execute(statement)
    refused(place, path, FOREIGN, "all of it still in the log of a program that runs")
    for suffix in ("", "-wal"):
        shutil.copy(path + suffix, place.path("crashed.db") + suffix)
    db.close()
    refused(place, place.path("crashed.db"), FOREIGN, "of a program that died")
    tap.equal(sqlite3.connect(place.path("crashed.db")).execute("SELECT * FROM notes").fetchall(), [("mine",)], "it recovers as before")


def test_not_a_database(place):
    for name, data in (("text", b"hello\n"), ("one byte", b"S"), ("a page of zeros", bytes(4096)), ("noise", random.Random(1).randbytes(9000)),
                       ("a header cut short", b"SQLite format 3\0" + bytes(50)), ("an old format", b"** This file contains an SQLite 2.1 database **".ljust(1024))):
        refused(place, place.write(f"{name.replace(' ', '-')}.db", data), NOT_A_DATABASE, name)


def test_newer_and_edited(place):
    newer = r"has schema version 99 and this genrun knows \d+: use a newer genrun"
    path = made(place, "newer.db")
    write(path, "PRAGMA user_version=99")
    refused(place, path, newer, "newer")
    path = made(place, "newer-live.db")
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA user_version=99")
    refused(place, path, newer, "newer by its log")
    db.close()
    for name, statement, pattern in (
            ("an edited checksum", "UPDATE schema_migrations SET checksum='0123456789abcdef'", r"made by another edition of schema 0001_initial\.sql: use"),
            ("no list of migrations", "DELETE FROM schema_migrations", r"is damaged: its list of migrations has 0 rows for version \d+: restore"),
            ("no table of migrations", "DROP TABLE schema_migrations", r"is damaged \(no such table: schema_migrations\): restore a backup"),
            ("a negative version", "PRAGMA user_version=-2147483648", "is damaged: its list of migrations"),
            ("no version", "PRAGMA user_version=0", "is damaged: its list of migrations"),
            ("another application id", "PRAGMA application_id=1", FOREIGN),
            ("no application id", "PRAGMA application_id=0", FOREIGN)):
        path = made(place, name.replace(" ", "-") + ".db")
        write(path, statement)
        refused(place, path, pattern, name)


def test_damaged(place):
    own = made(place)
    size = os.path.getsize(own)
    cases = {"page size": (16, b"\x00\x03", NOT_A_DATABASE), "magic": (0, b"X", NOT_A_DATABASE), "file format": (18, b"\x09\x09", "genrun: "),
             "schema page": (100, bytes(300), "damaged|malformed"), "schema text": (content(own).index(b"CREATE TABLE runners") + 7, b"TABBLE", "damaged|malformed"),
             "no bytes after the header": (None, 108, "damaged|not a database")}
    for name, (offset, data, pattern) in cases.items():
        path = place.path(name.replace(" ", "-") + ".db")
        shutil.copy(own, path)
        if offset is None:
            os.truncate(path, data)
        else:
            poke(path, offset, data)
        refused(place, path, pattern, name, commands=(READ,))
    rng, wrong = random.Random(7), []
    for turn in range(24):
        path = place.path("flipped.db")
        shutil.copy(own, path)
        for _ in range(3):
            poke(path, rng.randrange(100) if turn % 2 else rng.randrange(size), rng.randbytes(1 + turn % 8))
        r = place.run("-d", path, *READ, bare=True)
        if r.code not in (0, 6) or r.err.count("\n") != (r.code == 6) or (r.code == 6 and not r.err.startswith("genrun: ")):
            wrong.append(repr(r))
        for name in beside(path):
            os.unlink(place.path(name))
    tap.ok(not wrong, "bytes turned at random: the rows or one line, never a crash", "\n".join(wrong[:3]))


def test_fresh_files(place):
    for name, prepare in (("missing", None), ("empty", lambda p: open(p, "wb").close()), ("without tables", lambda p: write(p, "VACUUM")),
                          ("without tables, with a log", lambda p: write(p, "PRAGMA journal_mode=WAL")),
                          ("marked by a maker that died", lambda p: write(p, f"PRAGMA application_id={APPLICATION_ID}"))):
        path = place.path(name.replace(" ", "-") + ".db")
        if prepare:
            prepare(path)
            refused(place, path, "is empty: submit something, or name another with -d", name, code=4, commands=(READ,))
        r = place.run("-d", path, *WRITE, bare=True)
        tap.result(r, 0, f"{name}: submit makes a database of it", err="^$")
        tap.equal(place.run("-d", path, *READ, "--json", bare=True).json["id"], r.id, "with its row")
    path = made(place, "moved.db", wal=True)
    for name, statement in (("journal", "PRAGMA journal_mode=DELETE"), ("vacuum", "VACUUM"), ("dump", f"VACUUM INTO '{place.path('copy.db')}'")):
        write(path, statement)
        tap.result(place.run("-d", path, *WRITE, bare=True), 0, f"after {statement.split(' INTO')[0]} it goes on")
    for row in place.run("-d", place.path("copy.db"), *READ, "--json", bare=True).jsonl:
        tap.equal(row["prompt"], "x", "a copy is a database, too")
    os.symlink("moved.db", place.path("by-link.db"))
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA user_version=99")
    before = content(path), beside(path)
    tap.error_line(place.run("-d", place.path("by-link.db"), *READ, bare=True), 6, "has schema version 99", "newer by its log, named by a link")
    tap.equal((content(path), beside(path)), before, "untouched, its log not copied")
    db.close()
    path = place.path("missing.db")
    tap.equal(stat.S_IMODE(os.stat(path).st_mode), 0o600, "a new file is its owner's alone")
    tap.equal({stat.S_IMODE(os.stat(path + s).st_mode) for s in ("-wal", "-shm")}, {0o600}, "what is beside it, too")
    r = place.run("-d", place.path("sub/folder/new.db"), *WRITE, bare=True)
    tap.result(r, 0, "folders are made")


def test_paths(place):
    folder = place.path("folder")
    os.mkdir(folder)
    not_regular = "is not a regular file: name a file with -d"
    refused(place, folder, not_regular, "a folder")
    os.mkfifo(place.path("fifo"))
    refused(place, place.path("fifo"), not_regular, "a FIFO")
    refused(place, "/dev/null", not_regular, "a device")
    os.symlink("loop-b", place.path("loop-a"))
    os.symlink("loop-a", place.path("loop-b"))
    missing = "does not exist: submit something, or name another with -d"
    for path, read_code, read_text, write_text, name in (
            ("loop-a", 6, "is a chain of links without end: name the file itself", "is a chain of links without end", "links in a circle"),
            ("absent/link", 4, missing, "it is a link into a folder that does not exist: make that folder", "a link into no folder"),
            ("text/x.db", 6, r"\(Not a directory\): check the path", r"\(Not a directory\): check the path", "a file for a folder"),
            ("n" * 300, 6, r"\(File name too long\): check the path", r"\(File name too long\): check the path", "a long name")):
        place.write("text", "x")
        if path == "absent/link":
            os.symlink("nowhere/x.db", place.path("link"))
            path = "link"
        tap.error_line(place.run("-d", place.path(path), *READ, bare=True), read_code, read_text, f"{name}: list")
        tap.error_line(place.run("-d", place.path(path), *WRITE, bare=True), 6, write_text, f"{name}: submit")
    for command in (READ, ("show", "abcdef01"), ("logs",), ("stats",), ("batch", "list")):
        tap.error_line(place.run("-d", place.path("missing.db"), *command, bare=True), 4, missing, f"a missing file: {' '.join(command)}")
    os.symlink("target.db", place.path("dangling"))
    tap.error_line(place.run("-d", place.path("dangling"), *READ, bare=True), 4, missing, "a link to no file: list")
    tap.result(place.run("-d", place.path("dangling"), *WRITE, bare=True), 0, "submit makes the file it names")
    tap.equal(place.run("-d", place.path("target.db"), *READ, "--json", bare=True).json["prompt"], "x", "which is the database by either name")
    tap.equal(sorted(beside(place.path("missing.db"))), [], "nothing was made by reading")


def as_nobody(place):
    """Options for commands that run without root's rights, and their program; None where that cannot be."""
    if os.geteuid() != 0:
        return {}
    os.chmod(place.folder, 0o755)
    return {"user": NOBODY, "group": NOBODY, "extra_groups": []}


def test_read_only(place):
    who = as_nobody(place)
    program = shutil.copy(place.command(bare=True)[0], place.path("genrun-copy"))
    os.chmod(program, 0o755)

    def run(path, *command):
        done = subprocess.run([program, "-d", path, *command], cwd="/", env=place.env, capture_output=True, text=True, check=False, timeout=90, **who)
        return type("Result", (), {"code": done.returncode, "out": done.stdout, "err": done.stderr, "__repr__": lambda _: repr(done)})()

    cases = (("file", 0o444, 0o777, "is read-only: check the rights of the file and its folder"),
             ("unreadable", 0o000, 0o777, "cannot be opened: check the rights of the file and its folders"),
             ("folder", 0o666, 0o555, "check the rights of the file and its folder"),
             ("closed", 0o666, 0o000, "check the rights of the file and its folder"))
    for name, file_mode, folder_mode, pattern in cases:
        folder = place.path(name)
        os.mkdir(folder)
        path = made(place, f"{name}/x.db")
        for leftover in ("-wal", "-shm"):
            if os.path.exists(path + leftover):
                os.unlink(path + leftover)
        before = content(path)
        os.chmod(path, file_mode)
        os.chmod(folder, folder_mode)
        for command in (READ, WRITE):
            tap.error_line(run(path, *command), 6, pattern, f"{name} without rights: {command[0]}")
        os.chmod(folder, 0o777)
        os.chmod(path, 0o666)
        tap.ok(content(path) == before and list(beside(path)) == ["x.db"], f"{name}: untouched", beside(path))
    os.chmod(place.path("folder"), 0o555)
    tap.error_line(run(place.path("folder/new.db"), *WRITE), 6, "check the rights of the file and its folders", "no new file in such a folder")
    os.chmod(place.path("folder"), 0o755)


def test_locked(place):
    """Waits are 5 s long, so all of them at once."""
    own, other, exclusive = made(place, "own.db"), made(place, "other.db"), made(place, "exclusive.db")
    plain = place.path("plain.db")
    write(plain, "PRAGMA application_id=%d" % APPLICATION_ID)
    # Read first: closing a file takes away the locks that this process has on it.
    before = [content(path) for path in (own, exclusive, plain)]
    holders = [sqlite3.connect(path, isolation_level=None) for path in (own, exclusive, plain)]
    holders[0].execute("BEGIN IMMEDIATE")
    holders[1].execute("PRAGMA locking_mode=EXCLUSIVE")
    holders[1].execute("BEGIN IMMEDIATE")
    holders[2].execute("BEGIN EXCLUSIVE")
    tap.result(place.run("-d", own, *READ, bare=True), 0, "a writer's open transaction does not stop readers")
    locked = "is locked by another process: end its open transaction and try again"
    cases = [(own, WRITE), (exclusive, READ), (exclusive, WRITE), (plain, READ), (plain, WRITE)]
    with ThreadPoolExecutor(len(cases)) as pool:
        results = list(pool.map(lambda c: place.run("-d", c[0], *c[1], bare=True), cases))
    for (path, command), r in zip(cases, results):
        tap.error_line(r, 6, locked, f"{os.path.basename(path)}: {command[0]}")
    for holder in holders:
        holder.execute("ROLLBACK")
        holder.close()
    tap.equal([content(path) for path in (own, exclusive, plain)], before, "untouched")
    tap.result(place.run("-d", other, *WRITE, bare=True), 0, "other files are not concerned")


class Full:
    """A folder on a disk with little space: a small tmpfs, or, without the right to mount, a limit to the size of files."""

    def __init__(self, place, kilobytes):
        self.place, self.folder = place, place.path("small")
        os.mkdir(self.folder)
        libc = ctypes.CDLL(None, use_errno=True)
        self.mounted = libc.mount(b"none", self.folder.encode(), b"tmpfs", 0, f"size={kilobytes}k".encode()) == 0
        self.kilobytes = kilobytes

    def options(self, kilobytes=None):
        """For commands that run when nothing more can be written than `kilobytes` into one file."""
        if self.mounted:
            return {}
        limit = (kilobytes or 0) * 1024

        def limit_files():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

        return {"preexec_fn": limit_files, "restore_signals": False}

    def fill(self):
        if self.mounted:
            try:
                with open(os.path.join(self.folder, "filler"), "wb", buffering=0) as f:
                    while True:
                        f.write(bytes(4096))
            except OSError:
                pass

    def free(self):
        if self.mounted:
            os.unlink(os.path.join(self.folder, "filler"))

    def close(self):
        if self.mounted:
            ctypes.CDLL(None).umount2(self.folder.encode(), 2)


def test_full_disk(place):
    disk = Full(place, 2048)
    tap.note("on a small tmpfs" if disk.mounted else "with a limit to the size of files")
    no_space = "the disk is full: free some space|input or output failed .*: check the disk"
    try:
        path = made(place, "small/own.db")
        disk.fill()
        before = content(path)
        tap.error_line(place.run("-d", path, "submit", "x" * 100000, "--model", "echo", bare=True, **disk.options()), 6, no_space, "a submit that does not fit")
        tap.equal(content(path), before, "untouched")
        tap.error_line(place.run("-d", place.path("small/new.db"), *WRITE, bare=True, **disk.options()), 6, no_space, "no room for a new one")
        tap.ok(all(size == 0 for size in beside(place.path("small/new.db")).values()), "nothing of it is written", beside(place.path("small/new.db")))
        disk.free()
        tap.result(place.run("-d", path, *WRITE, bare=True), 0, "with some space it goes on")
        db = sqlite3.connect(path)
        tap.equal((db.execute("SELECT count(*) FROM generations").fetchone(), db.execute("PRAGMA integrity_check").fetchone()), ((2,), ("ok",)), "whole, with what was accepted")
        db.close()
        if not disk.mounted:
            return
        # Room for the first pages, not for the schema.
        with open(place.path("small/filler"), "wb", buffering=0) as f:
            stats = os.statvfs(disk.folder)
            f.write(bytes(max(0, stats.f_bavail * stats.f_frsize - 120 * 1024)))
        tap.error_line(place.run("-d", place.path("small/late.db"), *WRITE, bare=True), 6, no_space, "full while the schema is written")
        disk.free()
        tap.result(place.run("-d", place.path("small/late.db"), *WRITE, bare=True), 0, "with some space it is made whole")
    finally:
        disk.close()


def test_at_once(place):
    """Processes that find no database make one together."""
    for turn in range(3):
        path = place.path(f"together-{turn}.db")
        processes = [subprocess.Popen(place.command("-d", path, *WRITE, bare=True), cwd=place.folder, env=place.env, stdin=subprocess.DEVNULL,
                                      stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(6)]
        results = [(p.communicate(timeout=90), p.returncode) for p in processes]
        tap.ok(all(code == 0 and err == "" for (_, err), code in results), "six at once: each is served", results)
        db = sqlite3.connect(path)
        tap.equal((db.execute("SELECT count(*) FROM schema_migrations").fetchone(), sorted(i for (i,) in db.execute("SELECT id FROM generations"))),
                  ((len([n for n in os.listdir(os.path.join(os.path.dirname(__file__), "..", "..", "schema")) if n.endswith(".sql")]),), sorted(out.strip() for (out, _), _ in results)), "the schema is applied once, each row is in")
        db.close()


tap.main(globals())
