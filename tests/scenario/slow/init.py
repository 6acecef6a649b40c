#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A runner as the first process of a container: SIGTERM ends it gracefully, though no signal has a default action
there, and what is orphaned does not stay as a zombie. It needs the right to make namespaces, which containers do not
give: so it stands among the slow ones."""
import os
import re
import signal
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "lib"))
import tap
from genrun import wait_until

CONFIG = """
[genrun]
default_model = echo
[scheduler]
concurrency = 2
shutdown_grace = {grace}
"""


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="utf-8") as f:
        return [int(word) for word in f.read().split()]


def is_first(pid):
    """Whether it is process 1 of a namespace."""
    with open(f"/proc/{pid}/status", encoding="utf-8") as f:
        return re.search(r"^NSpid:(\s+\d+)+\s+1$", f.read(), re.M) is not None


def namespace_of(place):
    """The words that run a command as process 1 of a namespace, with the rights that there are: root's, those of a user
    namespace, or sudo's."""
    if os.geteuid() == 0:
        return ["unshare", "--pid", "--fork", "--mount-proc"]
    own = ["unshare", "--user", "--map-root-user", "--pid", "--fork", "--mount-proc"]
    if subprocess.run([*own, "true"], stderr=subprocess.DEVNULL).returncode == 0:
        return own
    return ["sudo", "-n", "unshare", "--pid", "--fork", "--mount-proc", "setpriv", f"--reuid={os.geteuid()}", f"--regid={os.getegid()}",
            "--clear-groups", "env", *(f"{name}={value}" for name, value in place.environment().items())]


class Container:
    """A command that a shell becomes, as process 1 of a namespace of its own; `before` is what the shell does first."""

    def __init__(self, place, *args, before=""):
        self.err_path = place.path("container.err")
        with open(self.err_path, "wb") as err:
            self.process = subprocess.Popen(
                [*namespace_of(place), "sh", "-c", before + 'exec "$@"', "sh", *place.command(*args)],
                cwd=place.folder, env=place.environment(), stdin=subprocess.DEVNULL, stdout=err, stderr=err)

    @property
    def err(self):
        with open(self.err_path, encoding="utf-8") as f:
            return f.read()

    @property
    def first(self):
        """Process 1, as it is called out here."""
        pid = self.process.pid
        while not is_first(pid):
            pid = children(pid)[0]
        return pid

    def up(self):
        if self.process.poll() is not None:
            raise RuntimeError(f"it ended with {self.process.returncode}: {self.err}")
        return "runner started" in self.err

    def kill(self):
        if self.process.poll() is None:
            os.kill(self.first, signal.SIGKILL)
        self.process.wait()


def test_stop(place):
    place.configure(CONFIG.format(grace="0"))
    short, long = place.submit("short"), place.submit("long", "--param", "delay=60s")
    container = Container(place, "run")
    try:
        wait_until(container.up, 10, "the start")
        tap.ok(is_first(container.first), "it is process 1 of its namespace")
        place.wait_status(short, "completed")
        place.wait_status(long, "processing")
        os.kill(container.first, signal.SIGTERM)
        tap.equal(container.process.wait(20), 0, "SIGTERM ends it")
        tap.equal(place.status(long), "queued", "and what it had goes back to the queue")
    finally:
        container.kill()


def test_orphans(place):
    place.configure(CONFIG.format(grace="0"))
    container = Container(place, "run", before="(sleep 0.01 & sh -c 'sleep 0.2; exit 3' & sleep 1 & exec true); (read x <gate) & ")
    os.mkfifo(place.path("gate"))
    try:
        wait_until(container.up, 10, "the start")
        wait_until(lambda: len(children(container.first)) == 1, 10, "the end of the orphans")
        tap.ok(True, "orphans that end are reaped, also while nothing runs")
        id = place.submit("x")
        place.wait_status(id, "completed")
        tap.equal(len(children(container.first)), 1, "one that lives is left alone")
        with open(place.path("gate"), "w", encoding="utf-8") as f:
            f.write("go\n")
        wait_until(lambda: not children(container.first), 10, "its end")
        os.kill(container.first, signal.SIGTERM)
        tap.equal(container.process.wait(20), 0, "SIGTERM ends the runner")
    finally:
        container.kill()


tap.main(globals())
