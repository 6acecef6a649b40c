#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A runner as a service: what it tells a service manager, what the journal gets of its log, and keys that are
credentials of the service."""
import os
import signal
import socket
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap
from genrun import wait_until
from server import Server

CONFIG = """
[genrun]
default_model = echo
[scheduler]
concurrency = 2
shutdown_grace = {grace}
heartbeat_timeout = {timeout}
"""


class Manager:
    """The socket of a service manager: the lines that it was told, in order."""

    def __init__(self, place, address=None):
        self.address = address or place.path("notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind("\0" + self.address[1:] if self.address[0] == "@" else self.address)
        self.socket.setblocking(False)
        self.env = {"NOTIFY_SOCKET": self.address}
        self.told = []

    def lines(self):
        while True:
            try:
                self.told += self.socket.recv(4096).decode().splitlines()
            except BlockingIOError:
                return self.told

    def count(self, line):
        return self.lines().count(line)

    def close(self):
        self.socket.close()


def configure(place, grace="5s", timeout="60s", more=""):
    place.configure(CONFIG.format(grace=grace, timeout=timeout) + more)


def test_ready_and_stopping(place):
    configure(place)
    for manager in (Manager(place), Manager(place, f"@genrun-test-{os.getpid()}")):
        runner = place.start("run", env=manager.env)
        wait_until(lambda: manager.count("READY=1"), 10, "READY=1")
        tap.equal(place.value("SELECT count(*) FROM runners WHERE stopped_at IS NULL"), 1, "it is ready once it is the runner")
        tap.equal(manager.lines()[0], "READY=1", "that is the first thing it tells")
        wait_until(lambda: any(line.startswith("STATUS=0 running, 0 queued") for line in manager.lines()), 10, "the status")
        tap.equal(runner.stop(), 0, "SIGTERM ends it")
        lines = manager.lines()
        tap.ok("STOPPING=1" in lines and lines.index("STOPPING=1") > 1, "it tells that it stops", lines)
        tap.ok("EXTEND_TIMEOUT_USEC=35000000" in lines, "and asks for shutdown_grace and some more", lines)
        tap.equal((manager.count("READY=1"), manager.count("WATCHDOG=1")), (1, 0), "once each; no watchdog was asked for")
        manager.close()


def test_ready_after_recovery(place):
    configure(place)
    id = place.submit("x", "--param", "delay=60s")
    runner = place.start_runner()
    place.wait_status(id, "processing")
    runner.kill()
    manager = Manager(place)
    place.start("run", env=manager.env)
    wait_until(lambda: manager.count("READY=1"), 10, "READY=1")
    tap.equal(place.value("SELECT count(*) FROM logs WHERE event = 'generation.recovered'"), 1,
              "ready means that what the dead runner left is taken back")


def test_waits_for_the_database(place):
    configure(place)
    waiter = place.start("submit", "mine", "--wait", "--param", "delay=1s")
    wait_until(lambda: place.run("list", "--status", "processing", "--json").out, 10, "a command that has the database")
    manager = Manager(place)
    place.start("run", env=manager.env)
    wait_until(lambda: manager.count("READY=1"), 10, "READY=1")
    tap.equal(manager.lines()[:3], ["STATUS=waits for a command that has the database", "EXTEND_TIMEOUT_USEC=60000000", "READY=1"],
              "while another has the database it asks for time")


def test_status(place):
    configure(place)
    place.write("items.txt", "a\nb\nc\n")
    place.run("batch", "submit", "items.txt", "--param", "delay=60s")
    manager = Manager(place)
    runner = place.start("run", env=manager.env)
    wait_until(lambda: any(line.startswith("STATUS=") for line in manager.lines()), 10, "the first status")
    wait_until(lambda: "STATUS=2 running, 1 queued; since the start 0 completed, 0 failed" in manager.lines(), 20, "a status with work")
    tap.ok(True, "the status tells what runs and waits")
    before = len(manager.lines())
    time.sleep(6)  # longer than the pause between two: nothing changes, so nothing is told
    tap.equal(len(manager.lines()), before, "what does not change is not told again")
    tap.equal(place.run("cancel", "--all", "--yes").code, 0, "all is cancelled")
    wait_until(lambda: "STATUS=0 running, 0 queued; since the start 0 completed, 0 failed" in manager.lines(), 20, "the last status")
    tap.ok(sum(line.startswith("STATUS=") for line in manager.lines()) <= 5, "and few lines tell it all", manager.lines())
    runner.stop()


def test_watchdog(place):
    configure(place)
    id = place.submit("x", "--param", "block=60s", "--delay", "2s")
    manager = Manager(place)
    runner = place.start("run", env=dict(manager.env, WATCHDOG_USEC="400000", GENRUN_ECHO_FAULTS="1"))
    wait_until(lambda: manager.count("WATCHDOG=1") >= 4, 10, "beats")
    tap.ok(manager.lines().index("READY=1") == 0, "an idle loop beats, once it is ready", manager.lines())
    place.wait_status(id, "processing", 10)
    before = manager.count("WATCHDOG=1")
    time.sleep(1.5)  # seven beats of a loop that turns
    tap.ok(runner.running and manager.count("WATCHDOG=1") <= before + 1, "a loop that hangs does not beat", manager.lines())


def test_watchdog_of_another(place):
    configure(place)
    for value in ({"WATCHDOG_USEC": "200000", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "0"}, {"WATCHDOG_USEC": "soon"}):
        manager = Manager(place)
        runner = place.start("run", env=dict(manager.env, **value))
        wait_until(lambda: any(line.startswith("STATUS=") for line in manager.lines()), 10, "the status")
        tap.equal((runner.stop(), manager.count("WATCHDOG=1")), (0, 0), f"no beats for {value}")
        manager.close()
        os.remove(manager.address)


def test_deaf_manager(place):
    configure(place)
    for address, told in ((place.path("nothing"), "cannot tell the service manager"), ("nonsense", "neither a path"),
                          ("/" + "x" * 200, "neither a path")):
        runner = place.start_runner(env={"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "100000"})
        id = place.submit("x")
        place.wait_status(id, "completed")
        tap.equal(runner.stop(), 0, f"a manager that cannot be told ({address[:10]}): the work goes on")
        tap.equal(runner.err.count(told), 1, "which is told once")


def test_full_socket(place):
    """A manager that reads nothing must not hold the loop up."""
    configure(place)
    manager = Manager(place)
    sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    sender.setblocking(False)
    while True:
        try:
            sender.sendto(b"x", manager.address)
        except BlockingIOError:
            break
    runner = place.start_runner(env=manager.env)
    id = place.submit("x")
    place.wait_status(id, "completed")
    tap.equal(runner.stop(), 0, "the queue runs")


def test_only_run(place):
    configure(place)
    manager = Manager(place)
    tap.equal(place.run("submit", "x", "--wait", env=manager.env).code, 0, "another command that runs something")
    tap.equal(manager.lines(), [], "tells a service manager nothing")


def test_journal(place):
    configure(place)
    with open(place.path("journal"), "wb") as journal:
        st = os.fstat(journal.fileno())
        env = place.environment({"JOURNAL_STREAM": f"{st.st_dev}:{st.st_ino}"})
        runner = subprocess.Popen(place.command("run"), env=env, cwd=place.folder, stdin=subprocess.DEVNULL, stdout=journal,
                                  stderr=journal)
        wait_until(lambda: "runner started" in place.read("journal"), 10, "its first line")
        runner.send_signal(signal.SIGTERM)
        tap.equal(runner.wait(20), 0, "a runner whose stderr is the journal")
    lines = place.read("journal").splitlines()
    tap.ok(lines and all(line.startswith(("<6>info: ", "<4>warn: ")) for line in lines), "gives each line its priority, and leaves "
           "the time to the journal", lines)


def test_credentials(place):
    def script(x):
        x.chat(x.header("Authorization") or "none")

    with Server(script) as server:
        configure(place, more=f"[model m]\nbase_url = {server.url}\nstream = no\napi_key_file = $CREDENTIALS_DIRECTORY/genrun.openai\n")
        os.mkdir(place.path("credentials"))
        place.write("credentials/genrun.openai", "key-of-the-service\n")
        r = place.run("submit", "x", "--model", "m", "--wait", env={"CREDENTIALS_DIRECTORY": place.path("credentials")})
        tap.equal((r.code, r.out), (0, "Bearer key-of-the-service\n"), "a key that is a credential of the service")
        tap.equal(place.run("list").code, 0, "commands outside of the service read the same configuration")
        id = place.submit("y", "--model", "m")
        r = place.run("run", "--drain", "--drain-wait", "0")
        reason = place.run("models", "--json").jsonl
        tap.ok(r.code == 5 and "$CREDENTIALS_DIRECTORY/genrun.openai" in str(reason), "without the variable the model is parked, "
               "and the reason names the file as the configuration does", [r, reason])
        tap.equal(place.status(id), "queued", "and its work waits")
        for path in ("$HOME/key", "$CREDENTIALS_DIRECTORY"):
            configure(place, more=f"[model m]\nbase_url = {server.url}\napi_key_file = {path}\n")
            tap.error_line(place.run("list"), 3, r"genrun.ini:\d+: api_key_file begins with '\$'", f"{path} is refused")


tap.main(globals())
