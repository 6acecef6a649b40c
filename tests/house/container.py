#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The recipe of the container, read: what it copies is there, its packages are those of contrib/deps.sh, which know
every library of the program, and it runs as a user of its own, without a shell in between."""
import json
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests", "lib"))
import tap

BUILD = os.environ.get("GENRUN_BUILD", os.path.join(ROOT, "build", "release"))


def read(*path):
    with open(os.path.join(ROOT, *path), encoding="utf-8") as f:
        return f.read()


# (instruction, the rest), continued lines joined.
STEPS = [tuple(line.split(None, 1)) for line in re.sub(r"\\\n", " ", read("contrib", "container", "Containerfile")).splitlines()
         if line and not line.startswith("#")]
DEPS = [line.split()[:3] for line in read("contrib", "deps.sh").split("LIST'\n")[1].split("\nLIST")[0].splitlines()]


def all_of(instruction):
    return [rest for name, rest in STEPS if name == instruction]


def test_copies():
    ignored = read(".containerignore").split("\n")
    sources = [word for rest in all_of("COPY") if not rest.startswith("--from") for word in rest.split()[:-1]]
    tap.ok(len(sources) > 5, "it copies the sources", sources)
    tap.equal([s for s in sources if not os.path.exists(os.path.join(ROOT, s)) or s in ignored], [], "which are there, and not ignored")
    make = subprocess.run(["make", "-n", "-B", "install", "PREFIX=/usr", "DESTDIR=/stage"], cwd=ROOT, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, universal_newlines=True, env={k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS"))})
    used = set(re.findall(r"(?<![\w./])((?:contrib|include|schema|src|LICENSE|genrun\.ini)[\w./-]*)", make.stdout))
    used = {u for u in used if os.path.isfile(os.path.join(ROOT, u))}
    tap.ok("LICENSE" in used and "src/main.c" in used, "make install needs files", make.stdout[-300:])
    tap.equal([u for u in sorted(used) if not any(u == s or u.startswith(s + "/") for s in sources)], [], "all of which it copies")


def test_packages():
    runs = " ".join(all_of("RUN"))
    tap.equal(re.findall(r"deps\.sh (\w+)", runs), ["build", "run"], "its packages are those of contrib/deps.sh")
    tap.lacks(runs, "apt-get install", "and no others")
    needed = re.findall(r"NEEDED +(\S+)", subprocess.run(["objdump", "-p", os.path.join(BUILD, "genrun")], stdout=subprocess.PIPE,
                                                         universal_newlines=True, check=True).stdout)
    known = [probe[4:] for group, _, probe in DEPS if group == "run" and probe.startswith("lib:")]
    tap.equal(sorted(n for n in needed if n not in ("libc.so.6", "libm.so.6")), sorted(known),
              "contrib/deps.sh knows every library that a built program needs")


def test_process():
    tap.equal([s for s in STEPS if s[0] == "FROM"], [("FROM", "debian:stable-slim AS build"), ("FROM", "debian:stable-slim")],
              "it is built in one stage and run in another")
    tap.equal((json.loads(all_of("ENTRYPOINT")[0]), json.loads(all_of("CMD")[0])), (["genrun"], ["run"]),
              "no shell stands between the container and the program, which gets its signals")
    tap.equal((all_of("USER"), all_of("STOPSIGNAL"), all_of("VOLUME")), (["genrun"], ["SIGTERM"], ["/var/lib/genrun"]),
              "it runs as a user of its own, ends by SIGTERM and keeps the database in a volume")
    with open(os.path.join(ROOT, "genrun.ini"), encoding="utf-8") as f:
        tap.equal(all_of("EXPOSE"), [re.search(r"^#?listen = \S+:(\d+)$", f.read(), re.M).group(1)], "its port is that of the sample configuration")
    tap.contains(" ".join(all_of("ENV")), "GENRUN_DATABASE=/var/lib/genrun/", "where the database is looked for")


def test_health(place):
    """The check of the recipe, run here."""
    command = json.loads(all_of("HEALTHCHECK")[0].split(" CMD ", 1)[1])
    place.write("genrun.ini", "[genrun]\ndatabase = test.db\n")
    env = place.environment({"PATH": os.path.dirname(os.path.join(BUILD, "genrun")) + ":" + place.env["PATH"]})

    def healthy():
        return subprocess.run(command, cwd=place.folder, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0

    tap.ok(not healthy(), "without a database it is not healthy")
    place.submit("x", "--model", "echo")
    tap.ok(not healthy(), "nor without a runner")
    runner = place.start_runner()
    tap.ok(healthy(), "with one it is")
    runner.stop()


tap.main(globals())
