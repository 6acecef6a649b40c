#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The man pages: clean for mandoc's lint, and as rendered they have what help and genrun.ini have."""
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests", "lib"))
import tap

BUILD = os.environ.get("GENRUN_BUILD", os.path.join(ROOT, "build", "release"))
PAGES = [os.path.join(BUILD, "man", name) for name in ("genrun.1", "genrun.ini.5")]


def rendered(page):
    """The page as a reader sees it on a wide terminal, without the overstrikes of bold and underlined text."""
    text = subprocess.run(["mandoc", "-Tutf8", "-Owidth=200", page], stdout=subprocess.PIPE, check=True).stdout.decode()
    return re.sub(".\b", "", text)


def words(text):
    return " ".join(text.split())


def test_lint():
    for page in PAGES:
        r = subprocess.run(["mandoc", "-Tlint", "-Wwarning", page], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        tap.equal((r.returncode, r.stdout), (0, b""), f"{os.path.basename(page)} is clean for mandoc's lint")
        bad = os.path.join(BUILD, "man", "bad")
        with open(page, "rb") as f, open(bad, "wb") as out:
            out.write(f.read() + b".El\n")
        r = subprocess.run(["mandoc", "-Tlint", "-Wwarning", bad], stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        os.remove(bad)
        tap.ok(r.returncode != 0, "which would tell of a mistake")


def test_program(place):
    page = rendered(PAGES[0])
    text = words(page)
    for line in ("GENRUN(1) General Commands Manual GENRUN(1)",
                 "genrun [-c FILE] [-d DATABASE] [--json] [-q | -v] COMMAND [ARGUMENT ...]",
                 "-c, --config FILE the configuration (else $GENRUN_CONFIG, ./genrun.ini, …)",
                 "genrun submit [PROMPT | -] [--model M]", "genrun batch submit FILE|- [--name N]", "genrun cancel [ID…] [--all]",
                 "--drain exits with 0 when all completed", "5 Conflict. What was asked for", "genrun submit \"Name a colour\" --model echo --wait",
                 "printf 'Name a colour\\nName a fruit\\n' > prompts.txt", "/etc/genrun.ini", "NO_COLOR", "INTERNAL_API_SECRET", "with .files behind", "sqlite3(1), genrun.ini(5)"):
        tap.contains(text, line, f"genrun(1) has: {line}")
    commands = re.findall(r"^  (\w+(?: \w+)?)  +\S", place.run("help", bare=True).out.split("\nOptions")[0], re.M)
    tap.ok(len(commands) > 15, "help lists the commands", commands)
    for name in commands:
        shown = place.run("help", *name.split(), bare=True).out
        section = re.search(rf"(?ms)^   genrun {name}$(.*?)(?=^\S|^   \S)", page)
        missing = [o for o in re.findall(r"--[a-z-]+", shown.split("\nEverywhere")[0]) if not section or o not in section.group(1)]
        tap.equal(missing, [], f"and a section of '{name}' with each of its options")
    tap.equal([w for w in re.findall(r"\\\S+|^\.\S+", page, re.M) if w not in ("\\nName", "\\n'")], [], "no markup is left in it")


def test_configuration():
    text = words(rendered(PAGES[1]))
    tap.contains(text, "max_runtime No attempt runs longer than this. Takes: duration from 10ms to 30d; default 3h; "
                       "environment GENRUN_SCHEDULER_MAX_RUNTIME.", "genrun.ini(5) tells default, range and variable of an option")
    with open(os.path.join(ROOT, "genrun.ini"), encoding="utf-8") as f:
        sample = f.read()
    names = re.findall(r"^#([a-z_]+(?:\.[\w-]+)?) = ", sample.split("# Further examples")[0], re.M)
    tap.ok(len(names) > 30, "the sample file has the options", names)
    for name in sorted({re.sub(r"\..*", ".", n) for n in names}):
        tap.ok(re.search(rf"(?<![\w.]){re.escape(name)}\w* [A-Z]\S* ", text), f"and has {name}")
    for line in ("[model NAME]", "USD per million tokens", "header.X-Title = genrun", "Durations: 500ms, 90s, 5m, 3h, 7d."):
        tap.contains(text, line, f"and: {line}")


def test_same_again(place):
    for page in PAGES:
        name = os.path.basename(page)
        with open(page, encoding="utf-8") as f:
            tap.equal(place.run("help", "--man", name, bare=True, env={"TZ": "Asia/Tokyo", "LANG": "C"}).out, f.read(),
                      f"{name} depends on nothing but the program")
    tap.error_line(place.run("help", "--man", "genrun.7", bare=True), 2, "give one of genrun.1", "there is no other page")
    tap.error_line(place.run("help", "run", "--man", "genrun.1", bare=True), 2, "stand alone", "a page of one command is refused")


tap.main(globals())
