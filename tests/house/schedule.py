#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The examples that run the periodic jobs without a runner: a crontab whose every line cron takes and genrun does, and a
systemd timer that systemd finds no fault with."""
import os
import re
import shlex
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap
from genrun import GENRUN, ROOT

# What a field of crontab(5) may hold, as numbers.
FIELDS = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 7))


def takes(field, low, high):
    for part in field.split(","):
        m = re.fullmatch(r"(\*|\d+(-\d+)?)(/\d+)?", part)
        if not m:
            return False
        numbers = [int(n) for n in re.findall(r"\d+", m.group(1))]
        if any(not low <= n <= high for n in numbers) or numbers != sorted(numbers):
            return False
        if m.group(3) and (not 1 <= int(m.group(3)[1:]) <= high or (m.group(1) != "*" and not m.group(2))):
            return False
    return True


def entries(text):
    """(user, command) of each line of a system crontab; raises where cron would refuse one."""
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip() or line.startswith("#") or re.match(r"[A-Za-z_]+\s*=", line):
            continue
        parts = line.split(None, 6)
        if len(parts) < 7 or not all(takes(f, *limits) for f, limits in zip(parts, FIELDS)):
            raise ValueError(f"line {number}: {line}")
        if "%" in parts[6]:
            raise ValueError(f"line {number}: cron ends a command at %")
        found.append((parts[5], parts[6]))
    return found


def test_parser():
    for line in ("60 * * * * u c", "* * * 0 * u c", "*/0 * * * * u c", "5/2 * * * * u c", "9-3 * * * * u c", "a * * * * u c", "* * * * * u"):
        try:
            entries(line)
            tap.ok(False, f"refused: {line}")
        except ValueError:
            tap.ok(True, f"refused: {line}")
    tap.equal(entries("A=b\n# c\n\n1,5-9/2 */4 1 12 0-7 root do it\n"), [("root", "do it")], "a line with all that there is")


def test_crontab(place):
    with open(os.path.join(ROOT, "contrib", "cron", "genrun"), encoding="utf-8") as f:
        text = f.read()
    tap.ok(text.endswith("\n"), "the crontab ends with a line end, without which cron passes over its last line")
    commands = entries(text)
    tap.equal([c.split()[-1] for _, c in commands], ["cleanup_stuck_generation", "retention"], "one line for each job")
    place.submit("x", "--model", "echo")
    place.configure(f"[genrun]\ndatabase = {place.database}\n")
    for user, command in commands:
        words = shlex.split(command)
        tap.equal((user, words[:3]), ("genrun", ["genrun", "-c", "/etc/genrun.ini"]), f"{words[-1]}: as a user of its own")
        r = place.run("-c", place.config, *words[3:], bare=True)
        tap.equal((r.code, r.out), (0, ""), f"{words[-1]}: done, without a word for cron to mail")
        tap.lacks(r.err, "error", f"{words[-1]}: and without an error")
    place.configure("[cleanup]\nevery = never\n")
    r = place.run("-c", place.config, *shlex.split(commands[0][1])[3:], bare=True)
    tap.error_line(r, 3, "every = 'never'", "what is wrong is one line for cron to mail")


def test_units(place):
    folder = os.path.join(ROOT, "contrib", "systemd")
    for name in ("genrun-cleanup.service", "genrun-cleanup.timer"):
        with open(os.path.join(folder, name), encoding="utf-8") as f:
            place.write(name, f.read().replace("/usr/local/bin/genrun", GENRUN))
    judged = subprocess.run(["systemd-analyze", "verify", "--man=no", place.path("genrun-cleanup.timer"), place.path("genrun-cleanup.service")],
                            capture_output=True, text=True, timeout=60, check=False)
    faults = [line for line in (judged.stdout + judged.stderr).splitlines() if "genrun" in line]
    tap.equal((judged.returncode, faults), (0, []), "systemd finds no fault with the timer and its service")
    calendar = re.search(r"^OnCalendar=(.*)$", place.read("genrun-cleanup.timer"), re.M).group(1)
    said = subprocess.run(["systemd-analyze", "calendar", calendar], capture_output=True, text=True, timeout=60, check=False)
    tap.ok(said.returncode == 0 and "*-*-* *:00/30:00" in said.stdout, "every half hour", said.stdout + said.stderr)
    command = shlex.split(re.search(r"^ExecStart=(.*)$", place.read("genrun-cleanup.service"), re.M).group(1))
    place.submit("x", "--model", "echo")
    place.configure(f"[genrun]\ndatabase = {place.database}\n")
    r = place.run(*[place.config if w == "/etc/genrun.ini" else w for w in command[1:]], bare=True)
    tap.equal((r.code, r.out), (0, ""), "its command does the job")


tap.main(globals())
