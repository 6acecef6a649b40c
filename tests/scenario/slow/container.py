#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The container, really built from its recipe and run: without a registry, on a base that debootstrap makes of this
system's own release. Needs root, or sudo."""
import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "lib"))
import tap
from genrun import ROOT

SUDO = [] if os.geteuid() == 0 else ["sudo"]
BASE = "docker.io/library/debian:stable-slim"


def run(*command):
    return subprocess.run(SUDO + list(command), cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, universal_newlines=True, timeout=900)


def must(*command):
    done = run(*command)
    if done.returncode != 0:
        raise RuntimeError(f"{command}\n{done.stdout[-3000:]}")
    return done.stdout


def release():
    with open("/etc/os-release", encoding="utf-8") as f:
        return re.search(r"^VERSION_CODENAME=(\w+)", f.read(), re.M).group(1)


def test_container():
    folder = tempfile.mkdtemp(prefix="genrun-container-")
    buildah = ["buildah", "--storage-driver", "vfs", "--root", f"{folder}/images", "--runroot", f"{folder}/run"]
    try:
        must("debootstrap", "--variant=minbase", release(), f"{folder}/base")
        first = must(*buildah, "from", "scratch").split()[-1]
        must(*buildah, "add", first, f"{folder}/base", "/")
        must(*buildah, "commit", "--rm", first, BASE)
        done = run(*buildah, "build", "--pull-never", "--isolation=chroot", "--format=docker", "-t", "genrun", "-f",
                   "contrib/container/Containerfile", ".")
        if not tap.ok(done.returncode == 0, "the recipe builds", done.stdout[-3000:]):
            return
        container = must(*buildah, "from", "--pull-never", "genrun").split()[-1]
        inside = lambda *words: run(*buildah, "run", "--isolation=chroot", container, "--", *words)  # noqa: E731
        tap.matches(inside("genrun", "--version").stdout, r"^genrun \d", "the program finds its libraries")
        shown = inside("sh", "-c", "id -un; genrun submit hello --model echo --wait; stat -c '%a %U' /var/lib/genrun/genrun.db")
        tap.equal(shown.stdout.split("\n")[:3], ["genrun", "hello", "600 genrun"], "as a user of its own it runs a generation and keeps it")
        tap.equal(inside("sh", "-c", "command -v gcc || true").stdout, "", "the compiler stayed behind")
    finally:
        run("rm", "-rf", folder)
        shutil.rmtree(folder, ignore_errors=True)


tap.main(globals())
