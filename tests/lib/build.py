# SPDX-License-Identifier: MIT
"""Compiles a C program of the tests against libgenrun.a, as its users do, with the sanitizers of the build under test."""
import os
import shlex
import subprocess

from genrun import GENRUN, ROOT


def program(place, name):
    """Builds tests/scenario/NAME.c; returns the path of the program."""
    build = os.environ.get("GENRUN_BUILD") or os.path.dirname(os.path.realpath(GENRUN))
    variant = os.path.basename(build)
    sanitize = ["-fsanitize=" + variant.split("san-")[1].replace("-clang", "").replace("-", ",")] if "san-" in variant else []
    optional = ["libpq"] if subprocess.run(["pkg-config", "--exists", "libpq"], check=False).returncode == 0 else []
    libs = subprocess.run(["pkg-config", "--libs", "sqlite3", "libcurl", "libcjson", "inih", "libcrypto", *optional],
                          stdout=subprocess.PIPE, text=True, check=True).stdout.split()
    path = place.path(name)
    subprocess.run(shlex.split(os.environ.get("CC") or "gcc") + sanitize +
                   ["-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-I", os.path.join(ROOT, "include"), "-o", path,
                    os.path.join(ROOT, "tests", "scenario", name + ".c"), os.path.join(build, "libgenrun.a")] +
                   libs + ["-lpthread", "-lm"], check=True)
    return path
