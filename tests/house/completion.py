#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The completion of bash, made by the program: what a TAB gives, asked of bash itself."""
import fcntl
import os
import pty
import select
import shlex
import struct
import subprocess
import sys
import termios
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests", "lib"))
import tap
from genrun import GENRUN

BUILD = os.environ.get("GENRUN_BUILD", os.path.join(ROOT, "build", "release"))
SCRIPT = os.path.join(BUILD, "completion", "genrun")
CONFIG = """
[genrun]
database = test.db
[model llama3.2:latest]
base_url = http://127.0.0.1:9/v1
[model llama3.2:1b]
base_url = http://127.0.0.1:9/v1
[model $(touch hurt)]
provider = echo
"""
GLOBALS = ["--config", "-c", "--database", "-d", "--json", "--quiet", "-q", "--verbose", "-v", "--help", "-h", "--version"]

# Sets COMP_WORDS as readline does for the line $1 and prints what the function gives, a line each.
ASK = r"""
set -u
. "$SCRIPT"
ask() {
    COMP_LINE=$1
    local rest=$1 word
    COMP_WORDS=()
    while [[ $rest =~ ^[[:space:]]*([:=]+|[^[:space:]:=]+)(.*)$ ]]; do
        COMP_WORDS+=("${BASH_REMATCH[1]}")
        rest=${BASH_REMATCH[2]}
    done
    [[ $1 != *[[:space:]] ]] || COMP_WORDS+=('')
    COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
    _genrun
    for word in ${COMPREPLY[@]+"${COMPREPLY[@]}"}; do printf '%s\n' "$word"; done
}
ask "$1"
"""


def ask(place, line):
    r = subprocess.run(["bash", "-c", ASK, "ask", line], cwd=place.folder, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                       stderr=subprocess.PIPE, timeout=90, universal_newlines=True,
                       env=place.environment({"SCRIPT": SCRIPT, "PATH": os.path.dirname(GENRUN) + ":" + place.env["PATH"]}))
    return r.stdout.splitlines() if r.stderr == "" else r.stderr


def begin(start, ids):
    """The tails that begin so; ids made by one process are much alike."""
    return sorted(i[-8:] for i in ids if i[-8:].startswith(start))


def fill(place):
    place.configure(CONFIG)
    place.config = None  # genrun.ini of the folder is found as a person's is
    place.write("prompts.txt", "one\ntwo\n")
    return place.submit("x", "--model", "echo"), place.run("batch", "submit", "prompts.txt", "--model", "echo").id


def test_clean():
    r = subprocess.run(["shellcheck", SCRIPT], stdout=subprocess.PIPE, universal_newlines=True)
    tap.equal((r.returncode, r.stdout), (0, ""), "the script is clean for shellcheck")


def test_same(place):
    with open(SCRIPT, encoding="utf-8") as f:
        tap.equal(place.run("help", "--completion", "bash", bare=True).out, f.read(), "it is what the program writes")
    tap.error_line(place.run("help", "--completion", "fish", bare=True), 2, "give one of bash", "there is none for another shell")


def test_commands(place):
    listed = [line.split()[0] for line in place.run("help", bare=True).out.split("Commands\n")[1].split("\n\n")[0].splitlines()]
    tap.equal(ask(place, "genrun "), list(dict.fromkeys(listed)), "a blank line: the commands and groups, each once")
    for line, expected in (
            ("genrun --json stat", ["stats"]),
            ("genrun -c some.ini stat", ["stats"]),
            ("genrun -d=x.db li", ["list"]),
            ("genrun --config=some.ini stat", ["stats"]),
            ("genrun batch resu", ["results", "resume"]),
            ("genrun -q batch pa", ["pause"]),
            ("genrun models resu", ["resume"]),
            ("genrun help ba", ["batch"]),
            ("genrun help batch wa", ["watch"]),
            ("genrun stats ", []),
            ("genrun nonsense ", []),
            ("genrun show list ", [])):
        tap.equal(sorted(ask(place, line)), expected, f"{line!r}: {expected}")


def test_options(place):
    tap.equal(ask(place, "genrun -"), GLOBALS, "a dash: the options of all commands")
    shown = ask(place, "genrun run -")
    tap.ok(shown[:2] == ["--drain", "--drain-wait"] and shown[-len(GLOBALS):] == GLOBALS, "behind a command also its own", shown)
    tap.ok(not os.path.exists(place.database), "that makes no database")
    for line, expected in (
            ("genrun run --dr", ["--drain", "--drain-wait"]),
            ("genrun batch submit f --on", ["--on-error"]),
            ("genrun submit --params {} --pri", ["--priority"]),
            ("genrun submit --json --", None),
            ("genrun submit -- --w", []),
            ("genrun batch submit --on-error ", ["continue", "stop"]),
            ("genrun batch submit --on-error=", ["continue", "stop"]),
            ("genrun batch submit --on-error=s", ["stop"]),
            ("genrun list --status fa", ["failed"]),
            ("genrun list --limit ", []),
            ("genrun list --json=", []),
            ("genrun submit --param model=", []),
            ("genrun help --man genrun.i", ["genrun.ini.5"])):
        got = ask(place, line)
        tap.ok(len(got) > 10 if expected is None else got == expected, f"{line!r}: {expected or 'many'}", got)


def test_names(place):
    fill(place)
    place.write("t.txt", "of {{topic}}")
    place.run("template", "add", "explain", "--file", "t.txt")
    place.sql("INSERT INTO locks (name, user_id, owner, acquired_at, expires_at, reason) "
              "VALUES ('account:ann:1', 'ann', 'another', 1, 4102444800000, 'a test')")
    for line, expected in (
            ("genrun job ", ["checkpoint", "cleanup_stuck_generation", "expire", "list", "retention", "sync", "webhooks"]),
            ("genrun job clean", ["cleanup_stuck_generation"]),
            ("genrun template show ", ["explain"]),
            ("genrun template remove ex", ["explain"]),
            ("genrun template add ", []),
            ("genrun locks release ac", ["account:ann:1"]),
            ("genrun models resume ec", ["echo"])):
        tap.equal(sorted(ask(place, line)), expected, f"{line!r}: {expected}")


def test_values(place):
    id, batch = fill(place)
    newest = [row["id"] for row in place.run("list", "--json").jsonl]
    tap.equal((id in newest, len(newest)), (True, 3), "three generations")
    place.write("with blank.txt", "x\n")
    os.mkdir(place.path("proc"))
    for line, expected in (
            ("genrun batch submit pro", ["proc", "prompts.txt"]),
            ("genrun batch submit wit", ["with\\ blank.txt"]),
            ("genrun output -o pro", ["proc", "prompts.txt"]),
            ("genrun -d test.db-w", ["test.db-wal"]),
            ("genrun --database=prom", ["prompts.txt"]),
            ("genrun submit --model ", ["\\$\\(touch\\ hurt\\)", "echo", "llama3.2:1b", "llama3.2:latest"]),
            ("genrun submit --model llama3.2:l", ["latest"]),
            ("genrun submit --model=llama3.2:", ["1b", "latest"]),
            ("genrun submit --model=ec", ["echo"]),
            ("genrun models resume ec", ["echo"]),
            ("genrun show ", sorted(i[-8:] for i in newest)),
            (f"genrun show {id[:30]}", [id]),
            (f"genrun show {id[-8:-2]}", begin(id[-8:-2], newest)),
            (f"genrun cancel {id} {id[-8:-1]}", begin(id[-8:-1], newest)),
            ("genrun batch show ", [batch[-8:]]),
            ("genrun list --batch ", [batch[-8:]]),
            (f"genrun logs {batch[-8:-2]}", begin(batch[-8:-2], newest + [batch])),
            (f"genrun -d {place.path('none.db')} show ", []),
            ("genrun -c none.ini submit --model ", [])):
        got = ask(place, line)
        tap.equal(sorted(got) if isinstance(got, list) else got, expected, f"{line!r}: {expected}")
    tap.ok(not os.path.exists(place.path("hurt")), "the name of a model is not run")
    tap.ok(not os.path.exists(place.path("none.db")), "nor is a database made")


def typed(place, keys):
    """What a line holds after these keys in a bash of its own: it is run as an argument of printf."""
    place.write("rc", f"PS1='> '\nPATH={shlex.quote(os.path.dirname(GENRUN))}:$PATH\n. {shlex.quote(SCRIPT)}\nbind 'set bell-style none'\n"
                      "bind 'set enable-bracketed-paste off'\n")
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(place.folder)
        os.execvpe("bash", ["bash", "--noprofile", "--rcfile", "rc", "-i"], place.environment({"INPUTRC": "/dev/null"}))
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 200, 0, 0))
    shown, end, waiting = b"", time.monotonic() + 20, 1
    while waiting and time.monotonic() < end:
        if select.select([terminal], [], [], 0.1)[0]:
            shown += os.read(terminal, 4096)
        if shown.endswith(b"> "):
            os.write(terminal, keys.encode() if waiting == 1 else b"exit\r")
            shown, waiting = shown + b"\n", 2 if waiting == 1 else 0
    os.close(terminal)
    os.waitpid(pid, 0)
    return shown.decode("utf-8", "replace")


def test_typed(place):
    fill(place)
    line = "genrun bat\tsub\t--on-e\tst\t--model=llama3.2:l\tpromp\t--dry\t\r"
    shown = typed(place, line)
    tap.contains(shown, "genrun batch submit --on-error stop --model=llama3.2:latest prompts.txt --dry-run", "TABs in a real bash complete a line")
    tap.contains(shown, "nothing was stored", "which the program takes")


tap.main(globals())
