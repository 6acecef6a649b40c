#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Command lines as such: help, versions, names that are nearly right, options anywhere."""
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap

COMMANDS = ["run", "submit", "list", "show", "output", "logs", "cancel", "retry", "fail", "recover", "dismiss",
            "stuck", "failures", "user set", "session set", "project set", "stats", "models", "help",
            "batch submit", "batch list", "batch show", "batch items", "batch watch", "batch results",
            "batch pause", "batch resume", "batch cancel", "config show", "config check",
            "db check", "db backup", "db vacuum", "db migrate",
            "job", "job list", "locks", "locks release"]


def test_version(place):
    r = place.run("--version", bare=True)
    tap.result(r, 0, "--version exits with 0", out=r"^genrun \d+\.\d+\.\d+")
    tap.contains(r.out.lower(), "sqlite", "it tells the version of SQLite")
    tap.contains(r.out.lower(), "curl", "it tells the version of libcurl")
    tap.equal(r.out[-1:], "\n", "it ends with a line end")


def test_help_of_all(place):
    r = place.run("help", bare=True)
    tap.result(r, 0, "help exits with 0")
    for name in COMMANDS:
        tap.matches(r.out, rf"(?m)^  {name} ", f"help lists '{name}'")
    tap.equal(place.run("--help", bare=True).out, r.out, "--help is help")
    tap.equal(place.run("-h", bare=True).out, r.out, "-h is help")
    tap.error_line(place.run(bare=True), 2, "a command is missing", "no command at all is refused")


def test_help_of_each(place):
    for name in COMMANDS:
        r = place.run("help", *name.split(), bare=True)
        good = r.code == 0 and r.err == "" and r.out.startswith(f"Usage: genrun {name}")
        tap.ok(good and "\nExample\n  " in r.out, f"help {name}: usage and an example", r)
        again = place.run(*name.split(), "--help", bare=True)
        tap.ok(again.code == 0 and again.out == r.out, f"{name} --help is the same", again)
    r = place.run("help", "batch", bare=True)
    tap.result(r, 0, "help of a group", out=r"(?m)^  batch results ")
    tap.equal(place.run("batch", "--help", bare=True).out, r.out, "batch --help is the same")
    tap.ok(not os.path.exists(place.database), "help makes no database")


def test_unknown_commands(place):
    tap.error_line(place.run("sumbit", "x"), 2, "did you mean 'submit'", "a nearly right command is named")
    tap.error_line(place.run("bach", "list"), 2, "did you mean 'batch'", "a nearly right group is named")
    tap.error_line(place.run("batch", "lsit"), 2, "did you mean 'batch list'", "one in a group is named")
    tap.error_line(place.run("qqqqqqqq"), 2, "unknown command 'qqqqqqqq'", "a far one is not")
    tap.error_line(place.run("batch"), 2, "needs a command", "a group alone is refused")
    tap.error_line(place.run("help", "lsit"), 2, "did you mean 'list'", "help of a nearly right one")
    tap.error_line(place.run("help", "list", "x"), 2, "no 'list x'", "help of what is no group")
    tap.error_line(place.run("a\x1b[31m"), 2, r"'a\\x1b\[31m'", "a hostile name is escaped")
    tap.ok(not os.path.exists(place.database), "refused commands make no database")


def test_unknown_options(place):
    tap.error_line(place.run("list", "--statsu", "failed"), 2, "did you mean --status", "the nearest option is named")
    tap.error_line(place.run("list", "--jsno"), 2, "did you mean --json", "also one of all commands")
    tap.error_line(place.run("list", "-x"), 2, "unknown option -x", "a letter that is none")
    tap.error_line(place.run("run", "-drain"), 2, "did you mean --drain", "one dash where two are meant")
    tap.error_line(place.run("--model", "echo", "submit", "x"), 2, "behind its name", "an option before its command")
    tap.ok(not os.path.exists(place.database), "refused options make no database")


def test_bad_values(place):
    for args, pattern in [
        (["list", "--limit", "0"], "--limit is 0"),
        (["list", "--limit", "many"], "not a whole number"),
        (["list", "--limit"], "--limit lacks its value"),
        (["run", "--listen", "127.0.0.1:0", "--no-http"], "--listen and --no-http exclude each other"),
        (["list", "--since", "yesterday"], "not a duration"),
        (["list", "--status", "done"], r"one of queued\|processing"),
        (["list", "--status", "--json"], "--status lacks its value"),
        (["list", "--json=1"], "takes no value"),
        (["list", "x"], "'x' is one argument too many"),
        (["-q", "-v", "list"], "exclude each other"),
        (["show"], "'show' needs ID"),
        (["show", "a", "b"], "'b' is one argument too many"),
        (["submit", "x", "--priority", "1001"], "--priority is 1001"),
        (["submit", "x", "--delay", "-1s"], "not a duration"),
        (["submit", "x", "--model", ""], "--model is empty"),
        (["batch", "submit"], "'batch submit' needs FILE"),
        (["batch", "submit", "f", "--on-error", "ignore"], r"one of continue\|stop"),
    ]:
        tap.error_line(place.run(*args), 2, pattern, f"refused: {' '.join(args)}")
    tap.ok(not os.path.exists(place.database), "and nothing was made for them")


def test_refused_values(place):
    for args, pattern in [
        (["submit", ""], "an argument of 'submit' is empty"),
        (["show", ""], "an argument of 'show' is empty"),
        (["cancel", "12345678", ""], "an argument of 'cancel' is empty"),
        (["run", "--drain-wait", "5s"], "goes with --drain"),
        (["submit", "x", "--param", "novalue"], "not of the form K=V"),
        (["submit", "x", "--params", "[1]"], "--params"),
        (["submit", "x", "--params", "{"], "--params"),
        (["batch", "submit", "f", "--max-failures", "a lot"], "--max-failures"),
        (["batch", "submit", "f", "--max-failures", "101%"], "--max-failures"),
        (["batch", "submit", "f", "--paused", "--wait"], "exclude each other"),
        (["batch", "submit", "no-such-file"], r"cannot read no-such-file \(No such file"),
        (["batch", "submit", "/"], r"cannot read / \(Is a directory"),
    ]:
        tap.error_line(place.run(*args), 2, pattern, f"refused: {' '.join(args)}")
    tap.ok(not os.path.exists(place.database), "and nothing was made for these either")


def test_options_anywhere(place):
    id = place.submit("one", "--model", "echo")
    want = place.run("list", "--json", "--limit", "5").out
    tap.contains(want, id, "list --json gives it")
    for args in (["--json", "list", "--limit=5"], ["list", "--limit", "5", "--json"]):
        tap.equal(place.run(*args).out, want, f"the same: {' '.join(args)}")
    for args in (["list", "--json", "-d", place.database], [f"-d{place.database}", "--json", "list"],
                 ["list", f"--database={place.database}", "--json"]):
        tap.equal(place.run(*args, bare=True).out, want, f"the same with {args[0][:2]}, {args[1][:6]}")
    tap.error_line(place.run("list", "--", "--json"), 2, "'--json' is one argument too many", "behind -- all are operands")
    r = place.run("submit", "--model", "echo", "--wait", "--", "--wait")
    tap.equal(r.out, "--wait\n", "behind -- a prompt may look like an option")
    tap.equal(place.run("--json", "submit", "--wait", "two", "--model=echo").json["prompt"], "two", "a mix of forms")


tap.main(globals())
