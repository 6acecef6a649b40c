#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What `make install` puts where, that a program builds against it by pkg-config alone
and runs, that the public header stands alone, and that `make uninstall` leaves nothing.
"""
import os
import re
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests", "lib"))
import tap

BUILD = os.environ.get("GENRUN_BUILD", os.path.join(ROOT, "build", "release"))
FILES = ["bin/genrun", "include/genrun.h", "lib/libgenrun.a", "lib/pkgconfig/genrun.pc", "lib/systemd/system/genrun.service",
         "share/bash-completion/completions/genrun", "share/doc/genrun/LICENSE", "share/doc/genrun/examples/genrun.ini",
         "share/doc/genrun/examples/local-commands.conf", "share/man/man1/genrun.1", "share/man/man5/genrun.ini.5"]

HOST = r"""
#include <genrun.h>
#include <stdlib.h>
#include <stdio.h>
/* Names that the library uses inside: a host's own must not meet them. */
void log_error(const char *format, ...);
void log_error(const char *format, ...)
{
    (void)format;
    abort();
}
int json_parse(void);
int json_parse(void)
{
    abort();
    return 0;
}
int main(int argc, char **argv)
{
    genrun *g = NULL;
    genrun_options options = GENRUN_OPTIONS_INIT;
    genrun_spec spec = GENRUN_SPEC_INIT;
    char id[GENRUN_ID_SIZE];
    if (argc < 2)
        return json_parse();
    options.database = argv[1];
    options.create = 1;
    spec.prompt = "hello from a host";
    spec.model = "echo";
    if (genrun_open(&g, &options) || genrun_submit(g, id, NULL, &spec) || genrun_wait(g, id, 0, NULL, NULL) ||
        genrun_write_output(g, id, stdout))
        fprintf(stderr, "%s\n", genrun_message(g));
    genrun_close(g);
    return 0;
}
"""


def run(*command, **popen):
    env = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS", "GENRUN", "OPENAI"))}
    env.update(popen.pop("env", {}))
    return subprocess.run(command, cwd=ROOT, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, universal_newlines=True, timeout=300, **popen)


def make(*words, **popen):
    done = run("make", "-s", f"CC={os.environ.get('CC', 'gcc')}", *words, **popen)
    if done.returncode != 0:
        raise RuntimeError(f"make {words}\n{done.stdout}")


def files_below(folder):
    return sorted(os.path.relpath(os.path.join(where, n), folder) for where, _, names in os.walk(folder) for n in names)


def contents(folder):
    found = {}
    for name in files_below(folder):
        with open(os.path.join(folder, name), "rb") as f:
            found[name] = f.read()
    return found


def modes(folder):
    """What is not as files (0644) and folders (0755) for everyone are."""
    odd = {}
    for where, folders, names in os.walk(folder):
        for name in folders + names:
            mode = os.stat(os.path.join(where, name)).st_mode & 0o7777
            if mode != (0o755 if name in folders else 0o644):
                odd[os.path.relpath(os.path.join(where, name), folder)] = mode
    return odd


def test_destdir():
    with tempfile.TemporaryDirectory() as stage:
        make("install", f"DESTDIR={stage}", "PREFIX=/opt/genrun", umask=0o077)
        tap.equal(files_below(stage), [f"opt/genrun/{f}" for f in FILES], "install puts these files below DESTDIR")
        with open(f"{stage}/opt/genrun/lib/pkgconfig/genrun.pc", encoding="utf-8") as f:
            pc = f.read()
        tap.contains(pc, "prefix=/opt/genrun\n", "genrun.pc names the prefix")
        tap.lacks(pc, stage, "genrun.pc does not name DESTDIR")
        with open(f"{stage}/opt/genrun/lib/systemd/system/genrun.service", encoding="utf-8") as f:
            tap.contains(f.read(), "\nExecStart=/opt/genrun/bin/genrun run ", "the unit of the service runs the program installed")
        tap.equal(modes(stage), {"opt/genrun/bin/genrun": 0o755}, "the program may be run, everything be read, whatever the umask")
        before = contents(stage)
        make("install", f"DESTDIR={stage}", "PREFIX=/opt/genrun")
        tap.ok(contents(stage) == before, "installed once more: the same files")
        with open(f"{stage}/opt/genrun/share/doc/genrun/other", "w", encoding="utf-8") as f:
            f.write("someone else's")
        make("uninstall", f"DESTDIR={stage}", "PREFIX=/opt/genrun")
        tap.equal(files_below(stage), ["opt/genrun/share/doc/genrun/other"], "uninstall removes them, and nothing else")
        os.remove(f"{stage}/opt/genrun/share/doc/genrun/other")
        make("uninstall", f"DESTDIR={stage}", "PREFIX=/opt/genrun")
        tap.equal([d for d, _, _ in os.walk(stage) if "genrun/" in d and d.endswith(("/genrun", "/examples"))], [],
                  "its own folders go, too; uninstalling twice is fine")


def test_home():
    with tempfile.TemporaryDirectory() as home:
        make("install", f"PREFIX={home}/.local")
        shown = run("genrun", "help", "run", env={"HOME": home, "PATH": f"{home}/.local/bin:{os.environ['PATH']}"})
        tap.contains(shown.stdout, "Usage: genrun run", "below a home it takes no more than its bin in the PATH")
        make("uninstall", f"PREFIX={home}/.local")
        tap.equal(files_below(home), [], "and goes without a trace")


def test_names():
    table = run("nm", "--defined-only", "--extern-only", os.path.join(BUILD, "libgenrun.a"))
    names = {line.split()[-1] for line in table.stdout.splitlines() if len(line.split()) == 3}
    with open(f"{ROOT}/include/genrun.h", encoding="utf-8") as f:
        declared = set(re.findall(r"^(?:int|void|const char \*|const void \*|int64_t|double|)\s*(genrun_\w+)\(", f.read(), re.M))
    tap.equal(names, declared, "the library has the functions of genrun.h, each of them, and shows no other name")


def test_host():
    with tempfile.TemporaryDirectory() as prefix:
        make("install", f"PREFIX={prefix}")
        source, host = f"{prefix}/host.c", f"{prefix}/host"
        with open(source, "w", encoding="utf-8") as f:
            f.write(HOST)
        pc = run("pkg-config", "--cflags", "--libs", "genrun",
                 env={"PKG_CONFIG_PATH": f"{prefix}/lib/pkgconfig"})
        tap.equal(pc.returncode, 0, "pkg-config knows genrun")
        version = run("pkg-config", "--modversion", "genrun", env={"PKG_CONFIG_PATH": f"{prefix}/lib/pkgconfig"})
        shown = run(f"{prefix}/bin/genrun", "--version")
        tap.contains(shown.stdout, version.stdout.strip(), "genrun.pc and --version agree")
        built = run("gcc", "-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-o", host, source, *pc.stdout.split())
        tap.equal((built.returncode, built.stdout), (0, ""), "a host in C99 builds without a warning")
        ran = run(host, f"{prefix}/host.db")
        tap.equal(ran.stdout, "hello from a host", "and runs a generation in its own process")


tap.main(globals())
