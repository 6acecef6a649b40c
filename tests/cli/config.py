#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""config show and config check: what holds, where it comes from, what is wrong, and no key anywhere."""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap

SECRET = "sk-a-key-that-nobody-may-ever-see"
INI = """[genrun]
default_model = gpt

[scheduler]
first_byte_timeout = 90s

[model gpt]
base_url = http://127.0.0.1:9/v1
api_key_env = TEST_KEY
price_input = 0.15
header.X-Title = two words
header.X-Gateway-Token = internal
on_status.404 = retry

[model file]
provider = openai
api_key_file = key
"""


def entries(place, *args, **kw):
    r = place.run(*args, "config", "show", "--json", **kw)
    tap.result(r, 0, "config show --json", err="^$")
    return {(e["section"], e["option"]): e for e in r.jsonl}


def test_origins(place):
    place.configure(INI)
    place.write("key", SECRET)
    found = entries(place, env={"GENRUN_SCHEDULER_CONCURRENCY": "7", "TEST_KEY": SECRET})
    ini = place.config
    for section, option, value, origin in [
            ("genrun", "database", place.database, "command line"),
            ("genrun", "default_model", "gpt", f"{ini}:2"),
            ("genrun", "log_level", "info", "default"),
            ("scheduler", "concurrency", "7", "environment GENRUN_SCHEDULER_CONCURRENCY"),
            ("scheduler", "first_byte_timeout", "90s", f"{ini}:5"),
            ("model gpt", "first_byte_timeout", "90s", f"{ini}:5"),
            ("model gpt", "provider", "openai", "default"),
            ("model gpt", "price_input", "0.15", f"{ini}:10"),
            ("model gpt", "header.X-Title", "two words", f"{ini}:11"),
            ("model gpt", "on_status.404", "retry", f"{ini}:13"),
            ("model echo", "provider", "echo", "default"),
            ("model gpt", "model", None, "default")]:
        e = found[(section, option)]
        tap.equal((e["value"], e["origin"]), (value, origin), f"[{section}] {option}")
    tap.equal(found[("model gpt", "api_key_env")]["note"], "set (from env TEST_KEY)", "a key in the environment is there")
    tap.equal(found[("model file", "api_key_file")]["note"], f"set (from file {place.path('key')})", "and one in a file")
    hidden = found[("model gpt", "header.X-Gateway-Token")]
    tap.equal((hidden["value"], hidden["note"]), (None, "not shown"), "a header whose name tells of a secret is not shown")
    tap.equal(set(hidden), {"section", "option", "value", "origin", "default", "note"}, "each object has these members")
    r = place.run("config", "show")
    tap.contains(r.out, "; " + ini, "the text names the file")
    tap.matches(r.out, rf"(?m)^api_key_env = TEST_KEY +; {ini}:9, missing$", "a key that is not there is told of")
    tap.ok(not os.path.exists(place.database), "and no database was made")


def test_no_key_is_shown(place):
    place.configure(INI)
    place.write("key", SECRET)
    for args in (["config", "show"], ["config", "show", "--json"], ["config", "check"], ["config", "check", "--json"]):
        r = place.run(*args, env={"TEST_KEY": SECRET, "OPENAI_API_KEY": SECRET})
        tap.ok(r.code == 0 and SECRET not in r.out + r.err and "internal" not in r.out + r.err, f"no key in {' '.join(args)}", r)
    place.configure("[model m]\nbase_url = https://user:hunter2@example.com/v1\n")
    r = place.run("config", "check")
    tap.ok(r.code == 3 and "hunter2" not in r.out + r.err, "nor that of a refused address", r)


def test_it_can_be_read_again(place):
    place.configure(INI)
    place.write("key", SECRET)
    first = entries(place)
    text = place.run("config", "show").out
    place.configure(text)
    second = entries(place)
    hidden = ("model gpt", "header.X-Gateway-Token")
    tap.equal({k: e["value"] for k, e in first.items() if k != hidden}, {k: e["value"] for k, e in second.items()},
              "what config show prints gives the same configuration")
    changed = [e for e in second.values() if e["value"] is not None and e["origin"] == "default" and e["section"] != "model echo"]
    tap.equal(changed, [], "and sets all of it")
    tap.lacks(text, "\x1b", "without an escape")


def test_without_a_file(place):
    r = place.run("config", "show", env={"OPENAI_BASE_URL": "http://127.0.0.1:9/v1"})
    tap.result(r, 0, "config show without a file", out=r"(?s)^; no configuration file was found\n.*\n#\[model \*\]")
    tap.matches(r.out, r"(?m)^#base_url = http://127.0.0.1:9/v1 +; environment OPENAI_BASE_URL$", "implied models stand behind a #")
    r = place.run("config", "check")
    tap.result(r, 0, "config check without a file", out="^the configuration is fine")
    place.submit("x", "--model", "echo")
    tap.equal(place.run("config", "check").out, "the configuration is fine\n", "with a database there is nothing to note")


def test_every_mistake(place):
    place.configure("[genrun]\nlog_level = loud\ndefault_model = nobody\n[scheduler]\nconcurency = 2\n[model a]\nbase_url = ftp://x\n")
    r = place.run("config", "check")
    lines = r.err.splitlines()
    tap.ok(r.code == 3 and r.out == "" and len(lines) == 4 and all(line.startswith("genrun: ") for line in lines), "each mistake has a line", r)
    for part in ("genrun.ini:2: log_level", "genrun.ini:3: default_model: unknown model 'nobody'",
                 "genrun.ini:5: unknown option 'concurency' in [scheduler]: did you mean concurrency?", "genrun.ini:7: base_url"):
        tap.contains(r.err, part, f"told: {part}")
    r = place.run("config", "check", "--json")
    tap.ok(r.code == 3 and len(r.json["mistakes"]) == 4 and r.json["fine"] is False and r.err == "", "--json has them too", r)
    tap.equal(place.run("config", "show").code, 3, "config show refuses it")
    place.configure("[scheduler]\n" + "".join(f"concurrency_{i} = 1\n" for i in range(70)))
    r = place.run("config", "check")
    tap.ok(r.code == 3 and len(r.err.splitlines()) == 65 and "and 6 more mistakes" in r.err, "of very many the rest is counted", r)


def test_what_cannot_be_used(place):
    place.configure("[model a]\napi_key_file = nothing\n[model b]\napi_key_env = NOT_THERE\n")
    r = place.run("config", "check")
    tap.result(r, 3, "a key file that is not there", err=r"genrun.ini:2: model a: cannot read api_key_file \S*/nothing: write the key there")
    tap.contains(r.err, "note: ", "what may be set elsewhere is a note")
    place.write("nothing", "k")
    os.chmod(place.path("nothing"), 0o644)
    r = place.run("config", "check")
    tap.result(r, 0, "it is there now", err="can be read by others: chmod 600 it")
    place.write("a-file", "")
    r = place.run("-d", place.path("a-file/x.db"), "config", "check")
    tap.result(r, 3, "a database below a file", err="a-file is not a folder: name another place")
    r = place.run("-d", place.folder, "config", "check")
    tap.result(r, 3, "a database that is a folder", err="is not a regular file: name a file")
    open(place.path("plain"), "w").close()
    os.mkdir(place.path("taken"))
    open(place.path("other.db"), "w").close()
    os.symlink(place.path("other.db"), place.path("taken/.database"))
    for folder, said in (("no/such", "no is not a folder: make it, or set data_dir"), ("plain", "plain, for files, is not a folder: set data_dir"),
                         ("taken", r"taken holds the files of database \S+/other.db: set a data_dir of its own")):
        r = place.run("config", "check", env={"GENRUN_DATA_DIR": place.path(folder)})
        tap.result(r, 3, f"a data_dir that cannot be used: {folder}")
        tap.matches(r.err, said, "which says so")
    r = place.run("-d", place.path("new/deep/x.db"), "config", "check")
    tap.result(r, 0, "one whose folders will be made", err="does not exist yet: the first submission makes it")
    tap.ok(not os.path.exists(place.path("new")), "and they are not made by the check")
    r = place.run("-c", place.path("none.ini"), "config", "check", bare=True)
    tap.error_line(r, 3, "none.ini': No such file or directory: check the path given with -c", "a file that is not there")


def test_comments(place):
    place.configure("[genrun]\nlog_level = warn  ; two blanks begin a comment\nmax_output = 2M\t\t; so do two tabs\n")
    tap.equal(entries(place)[("genrun", "log_level")]["value"], "warn", "a comment behind a value")
    place.configure("[genrun]\nlog_level = warn ; one does not\n")
    tap.error_line(place.run("config", "check"), 3, "genrun.ini:2: ' ;' would begin a comment", "one blank is refused")


tap.main(globals())
