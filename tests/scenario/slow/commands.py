#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The long form of tests/scenario/commands.py: more items, more kills, other concurrencies."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "lib"))
import tap

SHORT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "commands.py")


def run(items, kills, concurrency):
    env = dict(os.environ, ITEMS=str(items), KILLS=str(kills), CONCURRENCY=str(concurrency))
    done = subprocess.run([sys.executable, SHORT, "batch"], env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                          timeout=900, check=False)
    tap.note(next(line for line in done.stdout.splitlines() if "SEED" in line))
    tap.equal(done.returncode, 0, f"{items} items, {kills} kills, concurrency {concurrency}")
    if done.returncode:
        tap.note(done.stdout, sys.stderr)


def test_one_at_a_time():
    run(60, 8, 1)


def test_few():
    run(300, 12, 4)


def test_many():
    run(600, 20, 32)


tap.main(globals())
