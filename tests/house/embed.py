#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The library for others: contrib/embed builds from an installed tree with nothing but pkg-config, and works; the
header stands alone in every C and C++ that it promises; each of its functions is called by a test."""
import glob
import os
import re
import shlex
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests", "lib"))
import tap

CC = shlex.split(os.environ.get("CC") or "gcc")
STRICT = ["-pedantic", "-Wall", "-Wextra", "-Werror"]
with open(os.path.join(ROOT, "include", "genrun.h"), encoding="utf-8") as f:
    HEADER = f.read()


def run(*command, cwd=ROOT, input="", **env):
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS", "GENRUN", "OPENAI"))}
    return subprocess.run(command, cwd=cwd, env=dict(kept, **env), input=input, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, universal_newlines=True, timeout=300)


def test_examples(place):
    prefix = place.path("tree")
    installed = run("make", "-s", f"CC={' '.join(CC)}", "install", f"PREFIX={prefix}")
    tap.equal(installed.returncode, 0, "genrun is installed below a folder of its own")
    work = shutil.copytree(os.path.join(ROOT, "contrib", "embed"), place.path("embed"))
    env = {"PKG_CONFIG_PATH": f"{prefix}/lib/pkgconfig", "HOME": place.folder}
    built = run("make", "-s", f"CC={' '.join(CC)}", "CFLAGS=-O1 -Werror", cwd=work, **env)
    tap.ok(built.returncode == 0 and built.stdout == "", "the examples build against it, without a warning", built.stdout)
    database = place.path("embedded.db")
    ran = run("./once", database, "echo", "Hello", cwd=work, **env)
    tap.equal((ran.returncode, ran.stdout), (0, "Hello\n"), "one prompt, one answer")
    ran = run("./once", database, "nobody", "Hello", cwd=work, **env)
    tap.ok(ran.returncode == 2 and ran.stdout.startswith("once: unknown model 'nobody': "), "a refusal is one line and a code", ran.stdout)
    lines = [f"line {i} {'x' * i}" for i in range(40)]
    ran = run("./loop", database, "echo", cwd=work, input="\n".join(lines), **env)
    tap.equal((ran.returncode, sorted(ran.stdout.splitlines())), (0, sorted(["Hello"] + lines)),
              "a host with a loop of its own prints each answer, also those of before")
    ran = run("./loop", cwd=work, **env)
    tap.equal((ran.returncode, ran.stdout), (2, "usage: loop DATABASE MODEL\n"), "without arguments it says how")


def test_header():
    standards = ["-std=c99", "-std=c11"]
    compilers = {s: CC + ["-x", "c"] for s in standards}
    if "clang" in CC[0]:  # which brings C++ with it
        for s in ("-std=c++98", "-std=c++17"):
            compilers[s] = [CC[0].replace("clang", "clang++")] + CC[1:] + ["-x", "c++"]
    for standard, compiler in compilers.items():
        built = run(*compiler, standard, *STRICT, "-fsyntax-only", os.path.join(ROOT, "include", "genrun.h"))
        tap.equal((built.returncode, built.stdout), (0, ""), f"genrun.h alone, {standard} -pedantic")


def test_every_function_is_tested():
    names = set(re.findall(r"\b(genrun_\w+)\(", re.sub(r"/\*.*?\*/", "", HEADER, flags=re.S)))
    tap.ok(len(names) > 50, "the header has functions", str(len(names)))
    used = ""
    for path in glob.glob(os.path.join(ROOT, "tests", "unit", "*.c")):
        with open(path, encoding="utf-8") as f:
            used += f.read()
    tap.equal(sorted(n for n in names if not re.search(rf"\b{n}\(", used)), [], "each of them is called by a test")


tap.main(globals())
