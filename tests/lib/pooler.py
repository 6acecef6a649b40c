# SPDX-License-Identifier: MIT
"""A PgBouncer of a test's own before a Postgres: its own folder, a free port of 127.0.0.1, ended by its process id, also
when the test dies.

    with Postgres() as pg, Pooler(pg) as pooler:
        place.run("sync", "push", env={"GENRUN_SYNC_URL": pooler.url})

`mode` is whom a connection of the server belongs to: a transaction, or a session. With `connections=1` everybody shares
one backend, so that whatever anybody leaves standing in it meets the next one.
"""
import os
import pwd
import shutil
import socket
import subprocess
import tempfile

from genrun import wait_until
from postgres import BIN, SqlError, free_port

PGBOUNCER = shutil.which("pgbouncer", path=os.environ.get("PATH", "") + ":/usr/sbin")
CONFIG = """
[databases]
{database} = host=127.0.0.1 port={server} dbname={database}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {folder}/users
pool_mode = {mode}
default_pool_size = {connections}
max_client_conn = 100
logfile = {folder}/pooler.log
"""


class Pooler:
    def __init__(self, pg, mode="transaction", connections=1):
        self.pg = pg
        self.folder = tempfile.mkdtemp(prefix="genrun-pooler-")
        self.port = free_port()
        self._as = []
        with open(os.path.join(self.folder, "users"), "w", encoding="utf-8") as f:
            f.write(f'"{pg.user}" ""\n')
        config = os.path.join(self.folder, "pgbouncer.ini")
        with open(config, "w", encoding="utf-8") as f:
            f.write(CONFIG.format(database=pg.database, server=pg.port, port=self.port, folder=self.folder, mode=mode,
                                  connections=connections))
        if os.geteuid() == 0:  # it refuses to run as root
            owner = pwd.getpwnam("postgres")
            self._as = ["--reuid", "postgres", "--regid", str(owner.pw_gid), "--clear-groups"]
            for path in (self.folder, config, os.path.join(self.folder, "users")):
                os.chown(path, owner.pw_uid, owner.pw_gid)
        self._config = config
        self.process = None
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    def start(self):
        self.process = subprocess.Popen(["setpriv", "--pdeathsig", "INT", *self._as, PGBOUNCER, "-q", self._config],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                        cwd="/", start_new_session=True)
        wait_until(self._is_ready, 20, "the start of PgBouncer")

    def kill(self):
        """SIGKILL: every connection through it is cut."""
        self.process.kill()
        self.process.wait()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def _is_ready(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"PgBouncer ended with {self.process.returncode}")
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0

    @property
    def url(self):
        return self.pg.url_at(self.port)

    def psql(self, sql, timeout_s=60):
        """Statements typed by a person through the pooler, one by one; what they print. Raises SqlError."""
        done = subprocess.run([os.path.join(BIN, "psql"), "-XqAt", "-w", "-v", "ON_ERROR_STOP=1", self.url], input=sql,
                              capture_output=True, text=True, timeout=timeout_s, cwd="/")
        if done.returncode != 0:
            raise SqlError(done.stderr.strip())
        return done.stdout

    def close(self):
        if self.process:
            self.kill()
        if not os.environ.get("GENRUN_KEEP"):
            shutil.rmtree(self.folder, ignore_errors=True)
