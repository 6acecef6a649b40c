#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The unit of the systemd service, as installed: systemd itself takes it and finds it well shut in, and its times fit
those of the program."""
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests", "lib"))
import tap

EXPOSURE = 1.5
SECONDS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


def run(*command):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          timeout=300, universal_newlines=True)


def installed(prefix):
    done = run("make", "-s", f"CC={os.environ.get('CC', 'gcc')}", "install", f"PREFIX={prefix}")
    if done.returncode != 0:
        raise RuntimeError(done.stdout)
    return f"{prefix}/lib/systemd/system/genrun.service"


def seconds(text):
    number, unit = re.fullmatch(r"(\d+)([a-z]*)", text).groups()
    return int(number) * SECONDS[unit]


def test_systemd_takes_it():
    with tempfile.TemporaryDirectory() as prefix:
        unit = installed(prefix)
        r = run("systemd-analyze", "verify", "--man=no", unit)
        tap.equal((r.returncode, r.stdout), (0, ""), "systemd-analyze verify has nothing to say")
        r = run("systemd-analyze", "security", "--offline=yes", "--no-pager", unit)
        level = re.search(r"Overall exposure level for genrun\.service: ([\d.]+)", r.stdout)
        tap.ok(level is not None and float(level.group(1)) <= EXPOSURE, f"its exposure is at most {EXPOSURE}", r.stdout[-300:])
        # With everything that the example for local commands opens, it is still a valid unit.
        os.mkdir(f"{unit}.d")
        with open(f"{prefix}/share/doc/genrun/examples/local-commands.conf", encoding="utf-8") as f, \
                open(f"{unit}.d/local-commands.conf", "w", encoding="utf-8") as out:
            out.write(f.read())
        r = run("systemd-analyze", "verify", "--man=no", unit)
        tap.equal((r.returncode, r.stdout), (0, ""), "nor of the example for local commands")
        with open(unit, "a", encoding="utf-8") as f:
            f.write("[Service]\nTypo=yes\n")
        tap.contains(run("systemd-analyze", "verify", "--man=no", unit).stdout, "Typo", "which would tell of a mistake")


def test_times():
    with open(os.path.join(ROOT, "contrib", "systemd", "genrun.service"), encoding="utf-8") as f:
        unit = dict(line.strip().split("=", 1) for line in f if re.match(r"[A-Z]\w+=", line))
    with open(os.path.join(ROOT, "genrun.ini"), encoding="utf-8") as f:
        ini = dict(re.findall(r"^#(\w+) = (\S+)$", f.read(), re.M))
    tap.equal((unit["Type"], unit["KillMode"], unit["UMask"], unit["Restart"]), ("notify", "mixed", "0077", "on-failure"),
              "it waits until the runner is ready, ends it gently, and starts it again")
    tap.ok(seconds(unit["TimeoutStopSec"]) > seconds(ini["shutdown_grace"]) + 10, "a stop has the time of shutdown_grace")
    tap.ok(seconds(unit["WatchdogSec"]) > seconds(ini["heartbeat_timeout"]) + 10,
           "a runner that hangs has the time to end itself first, as only it can tell that it hung")
    tap.contains(unit["RestartPreventExitStatus"].split(), "3", "a bad configuration does not start it again and again")


tap.main(globals())
