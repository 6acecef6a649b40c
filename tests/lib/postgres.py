# SPDX-License-Identifier: MIT
"""A PostgreSQL server of a test's own: its own data folder, a free port of 127.0.0.1 and a socket in its
folder, ended by its process id, also when the test dies. Postgres refuses to run as root: it then runs as
the user `postgres`.

    with Postgres() as pg:
        place.run("sync", "init", env={"GENRUN_SYNC_URL": pg.url})
        pg.value("SELECT count(*) FROM generations")

Start it from the main thread: it ends with the thread that started it. Proxy stands between a client and
the server, and can be cut, or fall silent, in mid-statement.
"""
import csv
import glob
import io
import os
import pwd
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

from genrun import wait_until

csv.field_size_limit(1 << 30)
NULL = "\x01null"  # how psql writes NULL: nothing else of a test looks so


def _bin():
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin"), key=lambda p: int(re.sub(r"\D", "", p) or 0))
    return found[-1] if found else os.path.dirname(shutil.which("postgres") or "")


BIN = _bin()
AVAILABLE = bool(BIN)


class SqlError(Exception):
    """What the server, or psql, said."""


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Postgres:
    """A server. `fsync`: as a real one. `password`: asked for on every connection, else nobody is asked."""

    def __init__(self, fsync=False, password=None, settings=None, user="genrun", database="genrun"):
        self.folder = tempfile.mkdtemp(prefix="genrun-pg-")
        self.data = os.path.join(self.folder, "data")
        self.log_path = os.path.join(self.folder, "server.log")
        self.port = free_port()
        self.password, self.user, self.database = password, user, database
        self.settings = {
            "listen_addresses": "127.0.0.1", "port": self.port, "unix_socket_directories": self.folder,
            "fsync": "on" if fsync else "off", "full_page_writes": "on" if fsync else "off",
            "max_connections": 30, "shared_buffers": "64MB", "max_wal_size": "512MB", "autovacuum": "off",
            "timezone": "Asia/Kathmandu",  # nothing may lean on the server's
            "log_min_messages": "warning",
            **(settings or {}),
        }
        self.process = None
        self._as = []
        self._owner = None
        if os.geteuid() == 0:
            self._owner = pwd.getpwnam("postgres")
            self._as = ["setpriv", "--reuid", "postgres", "--regid", str(self._owner.pw_gid), "--clear-groups"]
            os.chown(self.folder, self._owner.pw_uid, self._owner.pw_gid)
        try:
            # Made as a superuser that tests use for what an owner may not; the product gets a plain one.
            subprocess.run([*self._as, os.path.join(BIN, "initdb"), "-N", "-D", self.data, "-U", "postgres",
                            "-E", "UTF8", "--locale=C.UTF-8", "-A", "trust"],
                           check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd="/")
            self.start()
            self.psql(f"CREATE ROLE {user} LOGIN" + (f" PASSWORD '{password}'" if password else ""),
                      user="postgres", database="postgres")
            self.psql(f"CREATE DATABASE {database} OWNER {user}", user="postgres", database="postgres")
            if password:
                self._require_password()
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _require_password(self):
        with open(os.path.join(self.data, "pg_hba.conf"), "w", encoding="utf-8") as f:
            f.write("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
        self.process.send_signal(signal.SIGHUP)

        def is_asked():
            done = subprocess.run([os.path.join(BIN, "psql"), "-XAt", "-w", "-h", "127.0.0.1", "-p", str(self.port),
                                   "-U", self.user, "-c", "SELECT 1", self.database], capture_output=True, cwd="/")
            return done.returncode != 0
        wait_until(is_asked, 10, "the server asking for a password")

    # ---- its life ----

    def start(self):
        """Starts it and waits until it takes connections."""
        options = [x for name, value in self.settings.items() for x in ("-c", f"{name}={value}")]
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "QUIT", *self._as[1:], os.path.join(BIN, "postgres"), "-D", self.data, *options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True)
        wait_until(self._is_ready, 60, "the start of Postgres")

    def _is_ready(self):
        if self.process.poll() is not None:
            raise RuntimeError("Postgres ended: " + self.log)
        try:
            with open(os.path.join(self.data, "postmaster.pid"), encoding="utf-8") as f:
                lines = f.read().split("\n")
        except OSError:
            return False
        return len(lines) > 7 and lines[0] == str(self.process.pid) and lines[7].strip() == "ready"

    def stop(self, how="immediate", timeout_s=60):
        """Ends it as pg_ctl stop -m does: immediate (as a crash), fast or smart."""
        if self.process and self.process.poll() is None:
            self.process.send_signal({"immediate": signal.SIGQUIT, "fast": signal.SIGINT, "smart": signal.SIGTERM}[how])
            self.process.wait(timeout_s)

    def restart(self, how="immediate"):
        self.stop(how)
        self.start()

    def close(self):
        try:
            self.stop()
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        if not os.environ.get("GENRUN_KEEP"):
            shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as f:
            return f.read()

    # ---- where it is ----

    def url_at(self, port, host="127.0.0.1", options=""):
        secret = f":{self.password}" if self.password else ""
        return f"postgresql://{self.user}{secret}@{host}:{port}/{self.database}{options}"

    @property
    def url(self):
        return self.url_at(self.port)

    # ---- SQL ----

    def command(self, *more, user=None, database=None):
        """psql through the socket, where nobody is asked for a password."""
        return [os.path.join(BIN, "psql"), "-XqAt", "-v", "ON_ERROR_STOP=1", "-h", self.folder, "-p", str(self.port),
                "-U", user or self.user, *more, database or self.database]

    def psql(self, sql, user=None, database=None, timeout_s=60):
        """Runs statements as a person would type them; what they print. Raises SqlError."""
        done = subprocess.run(self.command(user=user, database=database), input=sql, capture_output=True, text=True,
                              timeout=timeout_s, cwd="/")
        if done.returncode != 0:
            raise SqlError(done.stderr.strip())
        return done.stdout

    def rows(self, sql, user=None):
        """The rows of one statement: lists of texts, None for NULL."""
        done = subprocess.run(self.command("--csv", "-P", f"null={NULL}", "-c", sql, user=user), capture_output=True,
                              timeout=120, cwd="/")
        if done.returncode != 0:
            raise SqlError(done.stderr.decode("utf-8", "replace").strip())
        text = io.StringIO(done.stdout.decode(), newline="")
        return [[None if v == NULL else v for v in row] for row in csv.reader(text)]

    def value(self, sql, user=None):
        """The first column of the first row, as text; None for NULL or no row."""
        rows = self.rows(sql, user)
        return rows[0][0] if rows else None

    def copy(self, query):
        """The rows of a query one by one, however many: lists of texts, None for NULL."""
        process = subprocess.Popen(self.command("-c", f"COPY ({query}) TO STDOUT"), stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, cwd="/")
        try:
            for line in process.stdout:
                yield [_from_copy(field) for field in line.rstrip(b"\n").split(b"\t")]
            if process.wait() != 0:
                raise SqlError(process.stderr.read().decode("utf-8", "replace").strip())
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
            process.stderr.close()


_ESCAPES = {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}


def _from_copy(field):
    if field == b"\\N":
        return None
    if b"\\" in field:
        field = re.sub(rb"\\(.)", lambda m: _ESCAPES.get(m.group(1), m.group(1)), field, flags=re.S)
    return field.decode()


class Proxy:
    """Passes connections on to a port of 127.0.0.1. cut() closes all of them, also in mid-statement; while
    refusing is set new ones are closed at once; while silent is set nothing is passed on, and nobody is told.
    cut_after (bytes towards the server) cuts by itself, once."""

    def __init__(self, port):
        self.target = port
        self.silent = self.refusing = False
        self.cut_after = None
        self.passed = 0  # bytes towards the server
        self.connections = 0
        self._pairs = set()
        self._mutex = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            if self.refusing:
                client.close()
                continue
            try:
                server = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                client.close()
                continue
            pair = (client, server)
            with self._mutex:
                self._pairs.add(pair)
            threading.Thread(target=self._pass, args=(client, server, pair, True), daemon=True).start()
            threading.Thread(target=self._pass, args=(server, client, pair, False), daemon=True).start()

    def _pass(self, source, sink, pair, counted):
        try:
            while True:
                data = source.recv(65536)
                if not data:
                    break
                while self.silent:
                    time.sleep(0.01)
                if counted and self.cut_after is not None and self.passed + len(data) >= self.cut_after:
                    part = data[:max(0, self.cut_after - self.passed)]
                    self.cut_after = None
                    sink.sendall(part)
                    self.passed += len(part)
                    self.cut()
                    return
                sink.sendall(data)
                if counted:
                    self.passed += len(data)
        except OSError:
            pass
        self._end(pair)

    def _end(self, pair):
        with self._mutex:
            self._pairs.discard(pair)
        for end in pair:
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
            end.close()

    def cut(self):
        with self._mutex:
            pairs = list(self._pairs)
        for pair in pairs:
            self._end(pair)

    def close(self):
        self.silent = False
        try:  # wakes accept()
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._listener.close()
        self.cut()
