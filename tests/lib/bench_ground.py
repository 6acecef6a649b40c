# SPDX-License-Identifier: MIT
"""What the parts of the bench share: the table, places to run genrun in, and databases to run it on."""
import glob
import os
import shutil
import sqlite3
import statistics
import subprocess
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
GENRUN = os.environ.get("GENRUN", os.path.join(ROOT, "build", "genrun"))
BUILD = os.environ.get("GENRUN_BUILD", os.path.join(ROOT, "build", "release"))
ENV = {k: v for k, v in os.environ.items() if not k.startswith(("GENRUN", "OPENAI"))}
PROMPT_BYTES = 500
FILE_SYSTEMS_IN_MEMORY = {"tmpfs", "ramfs"}


def text_of(number):
    return f"{number:,.0f}" if number >= 1000 else f"{number:.3g}"


class Table:
    """Rows of what, measured, hold, ratio; printed as they come, so that a long run shows something."""

    WIDTHS = (60, 24, 26, 13)

    def __init__(self):
        self.print("what", "measured", "to hold", "measured/hold")

    def print(self, *cells):
        print("  ".join(str(c).ljust(w) for c, w in zip(cells, self.WIDTHS)).rstrip(), flush=True)

    def row(self, what, measured, unit, hold=None, at_least=False, note=""):
        """`hold`: the number of the design, in the same unit."""
        if hold is None:
            self.print(what, f"{text_of(measured)} {unit}{note}", "", "")
            return
        word = "at least" if at_least else "at most"
        self.print(what, f"{text_of(measured)} {unit}{note}", f"{word} {text_of(hold)} {unit}", f"{measured / hold:.2f}")


class Place:
    """A folder with a configuration and one database, made anew."""

    def __init__(self, folder, concurrency):
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        self.folder, self.database = folder, os.path.join(folder, "bench.db")
        self.configure(concurrency)

    def configure(self, concurrency):
        with open(os.path.join(self.folder, "genrun.ini"), "w", encoding="utf-8") as f:
            f.write(f"[genrun]\ndatabase = bench.db\n\n[scheduler]\nconcurrency = {concurrency}\n")

    def start(self, *args, **popen):
        return subprocess.Popen([GENRUN, "-q", *args], cwd=self.folder, env=ENV, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, **popen)

    def run(self, *args):
        """Runs a command; returns (stdout, seconds, bytes written to disk, peak resident memory)."""
        began = time.monotonic()
        process = self.start(*args)
        out = process.stdout.read().decode()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        seconds = time.monotonic() - began
        written = written_by(process.pid)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            raise RuntimeError(f"genrun {' '.join(args)} ended with {process.returncode}")
        return out, seconds, written, usage.ru_maxrss * 1024

    def rows(self, sql, *values):
        connection = sqlite3.connect(self.database, timeout=10)
        try:
            return connection.execute(sql, values).fetchall()
        finally:
            connection.close()


def written_by(pid):
    """Bytes a process caused to be written to disk; readable until it is waited for."""
    with open(f"/proc/{pid}/io", encoding="ascii") as f:
        return int(dict(line.split(": ") for line in f.read().splitlines())["write_bytes"])


def cpu_s_of(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def peak_memory_of(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return int(next(line.split()[1] for line in f if line.startswith("VmHWM:"))) * 1024


LINE = {"jsonl": '{{"prompt": "{}"}}\n', "csv": '"{}"\n', "txt": "{}\n"}


def write_prompts(path, count, size, kind):
    """One prompt of `size` bytes a line, each different."""
    with open(path, "w", encoding="ascii") as f:
        if kind == "csv":
            f.write("prompt\n")
        for i in range(count):
            f.write(LINE[kind].format(f"prompt {i} ".ljust(size, "x")))


def database_without_triggers(folder):
    """A database of the same schema in a folder made anew, for a yardstick; its path."""
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    path = os.path.join(folder, "bare.db")
    db = sqlite3.connect(path)
    for script in sorted(glob.glob(os.path.join(ROOT, "schema", "*.sql"))):
        with open(script, encoding="utf-8") as f:
            db.executescript(f.read())
    for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        db.execute(f'DROP TRIGGER "{name}"')
    db.commit()
    db.close()
    return path


def median_of(results, key):
    return statistics.median(r[key] for r in results)


# ---- a large database ----

RECENT_FAILURES = 2000
# The oldest wait, newer ones have ended: what a list looks for may lie far from where it begins.
MIXED = """
INSERT INTO lane (id, model_id, user_id, batch_seq, priority)
    SELECT 1 + value, 'echo', 'u' || value, 0, 0 FROM json_each('[0,1,2,3,4,5,6,7,8,9]');
CREATE TEMP TABLE n AS WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < :rows - 1)
    SELECT i, CASE WHEN i < :rows * 3 / 10 THEN 'queued' WHEN i < :rows * 7 / 10 THEN 'completed'
        WHEN i < :rows * 8 / 10 THEN 'cancelled' ELSE 'failed' END AS s FROM n;
INSERT INTO generation (id, status, lane, model_id, user_id, session_id, completed_at, error_type, error_message, starts, created_at)
    SELECT printf('01900000-0000-7000-8000-%012x', i * 2654435761 & 281474976710655), s, 1 + i % 10, 'echo', 'u' || (i % 10),
        's' || (i % 5), CASE WHEN s <> 'queued' THEN CASE WHEN s = 'failed' AND i >= :rows - :recent
            THEN CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) - 1000 - i % 1000 * 100 ELSE 1000 + i END END,
        CASE WHEN s = 'failed' THEN substr('NetworkError TimeoutError', 1 + i % 2 * 13, 12) END,
        CASE WHEN s = 'failed' THEN 'no' END, 1, 1000 + i FROM n;
INSERT INTO generation_input (seq, prompt, parameters) SELECT seq, 'a prompt of ' || seq, '{}' FROM generation;
INSERT INTO output (key, mime, content, bytes, created_at)
    SELECT seq * 1024, 'text/plain', 'an output', 9, 1 FROM generation WHERE status = 'completed';
INSERT INTO event (created_at, level, event, generation_seq) SELECT 1, 'info', 'generation.queued', seq FROM generation;
UPDATE batch_count SET (queued_items, successful_items, cancelled_items, failed_items) = (SELECT sum(status = 'queued'),
    sum(status = 'completed'), sum(status = 'cancelled'), sum(status = 'failed') FROM generation) WHERE batch_seq = 0;
"""


def mixed(folder, rows, model="echo"):
    place = Place(folder, 1)
    place.run("user", "set", "u3", "--name", "Ann")
    db = sqlite3.connect(place.database)
    db.executescript("BEGIN;" + MIXED.replace(":rows", str(rows)).replace(":recent", str(RECENT_FAILURES)).replace("'echo'", f"'{model}'") + "COMMIT;")
    db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    return place
