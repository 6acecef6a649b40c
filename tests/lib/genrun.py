# SPDX-License-Identifier: MIT
"""Helpers of all black-box tests: a folder of its own with a configuration and a
database, commands run in it, runners started and stopped by their pid, conditions
waited for by short polls with a deadline, and commands run on a terminal.
"""
import fcntl
import json
import os
import pty
import select
import shutil
import signal
import sqlite3
import struct
import subprocess
import tempfile
import termios
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
GENRUN = os.path.abspath(os.environ.get("GENRUN", os.path.join(ROOT, "build", "genrun")))
POLL_S = 0.01
# What must come is waited for at least this long, whatever shorter time is named: a slow machine fails no test.
PATIENCE_S = 90.0

# What runs in the background of a script has SIGINT ignored, and commands inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


class Result:
    """What a command left: its exit code (negative: the signal that ended it), stdout, stderr."""

    def __init__(self, args, code, out, err):
        self.args, self.code, self.out, self.err = args, code, out, err

    def __repr__(self):
        return f"command: {self.args}\ncode: {self.code}\nstdout: {self.out!r}\nstderr: {self.err!r}"

    @property
    def lines(self):
        return self.out.splitlines()

    @property
    def json(self):
        """stdout as one JSON value."""
        return json.loads(self.out)

    @property
    def jsonl(self):
        """stdout as one JSON value a line."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def id(self):
        """The last line of stdout: what submit and batch submit print."""
        return self.out.splitlines()[-1]


def wait_until(condition, deadline_s=10.0, what="the condition"):
    """Polls until condition() is true and returns its value; raises after the deadline."""
    deadline_s = max(deadline_s, PATIENCE_S)
    end = time.monotonic() + deadline_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not come true within {deadline_s} s")
        time.sleep(POLL_S)


class Runner:
    """A command that stays up, such as `run`; its stderr and stdout go to files."""

    def __init__(self, place, args, env):
        self.args = args
        number = place.next_number()
        self.out_path = os.path.join(place.folder, f"runner-{number}.out")
        self.err_path = os.path.join(place.folder, f"runner-{number}.err")
        with open(self.out_path, "wb") as out, open(self.err_path, "wb") as err:
            self.process = subprocess.Popen(args, stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                            cwd=place.folder, env=env)
        self.pid = self.process.pid

    @property
    def out(self):
        with open(self.out_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    @property
    def err(self):
        with open(self.err_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    @property
    def running(self):
        return self.process.poll() is None

    def signal(self, number):
        if self.running:
            self.process.send_signal(number)

    def wait(self, timeout_s=20.0):
        """Waits for its end; returns the exit code (negative: the signal)."""
        return self.process.wait(timeout=max(timeout_s, PATIENCE_S))

    def stop(self, timeout_s=20.0):
        """SIGTERM and wait: the graceful end. Returns the exit code."""
        self.signal(signal.SIGTERM)
        return self.wait(timeout_s)

    def kill(self):
        """SIGKILL and wait."""
        self.signal(signal.SIGKILL)
        return self.wait()


class Place:
    """A temporary folder with its database test.db and, once configure() was called, genrun.ini.
    Use it in a `with`; what still runs at its end is killed and the folder removed (kept when
    GENRUN_KEEP is set)."""

    def __init__(self, config=None):
        self.folder = tempfile.mkdtemp(prefix="genrun-test-")
        self.database = os.path.join(self.folder, "test.db")
        self.config = None
        self.runners = []
        self._number = 0
        self.env = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"),
            "HOME": self.folder,
            "LANG": "C.UTF-8",
            "TZ": "UTC",
            "TERM": "xterm",
        }
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "LD_PRELOAD", "LD_LIBRARY_PATH"):
            if name in os.environ:
                self.env[name] = os.environ[name]
        if config is not None:
            self.configure(config)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        for runner in self.runners:
            if runner.running:
                runner.signal(signal.SIGCONT)
                runner.kill()
        if os.environ.get("GENRUN_KEEP"):
            print(f"# kept {self.folder}")
        else:
            shutil.rmtree(self.folder, ignore_errors=True)

    def next_number(self):
        self._number += 1
        return self._number

    # ---- files ----

    def path(self, name):
        return os.path.join(self.folder, name)

    def write(self, name, content):
        """Writes a file (text or bytes) in the folder; returns its path."""
        mode, encoding = ("wb", None) if isinstance(content, bytes) else ("w", "utf-8")
        with open(self.path(name), mode, encoding=encoding) as f:
            f.write(content)
        return self.path(name)

    def read(self, name):
        with open(self.path(name), encoding="utf-8") as f:
            return f.read()

    def configure(self, text):
        """Makes genrun.ini with this text; commands get `-c` for it from then on."""
        self.config = self.write("genrun.ini", text)

    # ---- commands ----

    def command(self, *args, bare=False):
        """The argument list of a command: with -c and -d put first, unless bare."""
        head = [GENRUN]
        if not bare:
            if self.config:
                head += ["-c", self.config]
            head += ["-d", self.database]
        return head + [str(a) for a in args]

    def environment(self, env=None):
        merged = dict(self.env)
        for name, value in (env or {}).items():
            if value is None:
                merged.pop(name, None)
            else:
                merged[name] = value
        return merged

    def run(self, *args, input=None, env=None, timeout_s=30.0, bare=False, binary=False, **popen):
        """Runs a command to its end. `input` (text or bytes) becomes stdin, else it is /dev/null.
        `env` adds variables (None removes one). With binary, out and err are bytes."""
        command = self.command(*args, bare=bare)
        if isinstance(input, str):
            input = input.encode()
        if input is None:
            popen.setdefault("stdin", subprocess.DEVNULL)
        else:
            popen["input"] = input
        popen.setdefault("stdout", subprocess.PIPE)
        popen.setdefault("stderr", subprocess.PIPE)
        done = subprocess.run(command, cwd=self.folder, env=self.environment(env),
                              timeout=max(timeout_s, PATIENCE_S), **popen)
        out, err = done.stdout or b"", done.stderr or b""
        if not binary:
            out, err = out.decode("utf-8", "replace"), err.decode("utf-8", "replace")
        return Result(command, done.returncode, out, err)

    def run_pty(self, *args, columns=80, rows=24, input=None, env=None, timeout_s=30.0, bare=False,
                stdin=True):
        """Runs a command with a terminal as stdout and stderr (and stdin, unless stdin=False, then
        /dev/null). `input` (text) is typed at once. Result.out has all that it showed."""
        command = self.command(*args, bare=bare)
        master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        process = subprocess.Popen(command, cwd=self.folder, env=self.environment(env),
                                   stdin=slave if stdin else subprocess.DEVNULL, stdout=slave, stderr=slave,
                                   start_new_session=True)
        os.close(slave)
        if input:
            os.write(master, input.encode())
        shown, end = b"", time.monotonic() + max(timeout_s, PATIENCE_S)
        try:
            while time.monotonic() < end:
                if not select.select([master], [], [], 0.05)[0]:
                    continue
                try:
                    part = os.read(master, 65536)
                except OSError:  # EIO: the last writer is gone
                    break
                if not part:
                    break
                shown += part
            code = process.wait(timeout=max(0.1, end - time.monotonic()))
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
            os.close(master)
        return Result(command, code, shown.decode("utf-8", "replace"), "")

    def start(self, *args, env=None, bare=False):
        """Starts a command that stays up and returns its Runner; it is killed with the Place."""
        runner = Runner(self, self.command(*args, bare=bare), self.environment(env))
        self.runners.append(runner)
        return runner

    def start_runner(self, *args, env=None, deadline_s=10.0):
        """Starts `run` and waits until it owns the database: its runner.started event is stored."""
        before = self.value("SELECT coalesce(max(id), 0) FROM logs") if os.path.exists(self.database) else 0
        runner = self.start("run", *args, env=env)

        def is_up():
            if not runner.running:
                raise RuntimeError(f"the runner ended with {runner.process.returncode}: {runner.err}")
            try:
                return self.value("SELECT count(*) FROM logs WHERE event = 'runner.started' AND id > ?", before)
            except sqlite3.OperationalError:
                return False

        wait_until(is_up, deadline_s, "the start of the runner")
        return runner

    # ---- the database ----

    def sql(self, statement, *values):
        """Runs one statement as a person with a shell would; returns its rows. A statement
        that changes is committed. The schema's refusals come as sqlite3.IntegrityError."""
        connection = sqlite3.connect(self.database, timeout=PATIENCE_S)
        try:
            with connection:
                return connection.execute(statement, values).fetchall()
        finally:
            connection.close()

    def value(self, statement, *values):
        """The first column of the first row; None when there is no row."""
        rows = self.sql(statement, *values)
        return rows[0][0] if rows else None

    # ---- what tests do all the time ----

    def submit(self, *args, **kw):
        """submit that must succeed; returns the id."""
        r = self.run("submit", *args, **kw)
        if r.code != 0:
            raise RuntimeError(f"submit failed\n{r}")
        return r.id

    def show(self, id):
        """show --json that must succeed; returns the object."""
        r = self.run("show", id, "--json")
        if r.code != 0:
            raise RuntimeError(f"show failed\n{r}")
        return r.json

    def status(self, id):
        return self.value("SELECT status FROM generations WHERE id = ?", id)

    def wait_status(self, id, status, deadline_s=10.0):
        wait_until(lambda: self.status(id) == status, deadline_s, f"{id} becoming {status}")
