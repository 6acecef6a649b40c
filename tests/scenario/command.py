#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Local programs as models: what they get and give, how they end, and that no process of theirs stays."""
import base64
import glob
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap
from genrun import wait_until


def marked(id):
    """The living processes that were started for the generation, wherever they went."""
    found = []
    for path in glob.glob("/proc/[0-9]*/environ"):
        try:
            with open(path, "rb") as f:
                if f"GENRUN_GENERATION_ID={id}".encode() in f.read().split(b"\0"):
                    found.append(int(path.split("/")[2]))
        except OSError:
            pass
    return found


def gone(id):
    wait_until(lambda: not marked(id), 10, f"the end of what runs for {id}")
    return True


def script(place, name, text, mode=0o755):
    os.chmod(place.write(name, text), mode)


def model(place, name, text, *options, scheduler="backoff_min = 10ms"):
    """A model whose command is a script of this text."""
    script(place, name, text)
    place.configure(f"[scheduler]\nconcurrency = 4\n{scheduler}\n[model {name}]\ncommand = ./{name}\n"
                    + "".join(f"{line}\n" for line in options))


def error_of(place, id):
    context = place.show(id)["parameters"]["errorContext"]
    return context["type"], context["message"]


def test_wait(place):
    model(place, "upper", "#!/bin/sh\necho working >&2\ntr a-z A-Z\n")
    r = place.run("submit", "--wait", "Say hello\n")
    tap.ok((r.code, r.out) == (0, "SAY HELLO\n"), "submit --wait prints what the program wrote", r)
    prompt = "".join(chr(97 + i % 26) for i in range(1 << 20))
    r = place.run("submit", "--wait", "-", input=prompt)
    tap.ok(r.code == 0 and r.out == prompt.upper() + "\n", "a prompt of 1 MB goes in while the answer comes out",
           f"code {r.code}, {len(r.out)} bytes, {r.err[:500]}")
    r = place.run("models", "check", "--json")
    tap.ok(r.code == 0 and r.jsonl[0]["ok"] and r.jsonl[0]["message"].endswith("/upper can be started"), "models check finds it", r)


def test_python_and_json(place):
    picture = base64.b64encode(b"\x89PNG\0\1").decode()
    model(place, "draw", f"""#!/usr/bin/env python3
import json, os, sys
request = json.load(sys.stdin)
print("progress 50%", file=sys.stderr, flush=True)
json.dump({{"outputs": [{{"text": json.dumps(request)}}, {{"mime": "image/png", "base64": "{picture}"}}],
           "usage": {{"input_tokens": 7, "output_tokens": 9}}}}, sys.stdout)
""", "input = json", "output = json", "model = painter", "price_input = 1000000", "price_request = 0.5")
    id = place.submit("a cat", "--param", "size=3")
    r = place.run("run", "--drain")
    tap.equal(r.code, 0, "it completes")
    row = place.show(id)
    outputs = place.sql("SELECT mime, content FROM outputs WHERE generation_id = ? ORDER BY idx", id)
    tap.equal(json.loads(outputs[0][1]), {"id": id, "model": "painter", "prompt": "a cat", "parameters": {"size": 3}, "attempt": 1},
              "it gets one JSON object")
    tap.equal(outputs[1], ("image/png", b"\x89PNG\0\1"), "and may give bytes")
    tap.equal((row["inputTokens"], row["outputTokens"], row["cost"]), (7, 9, 7.5), "with its tokens, and what it cost")


def test_failures(place):
    model(place, "fails", "#!/bin/sh\necho \"half of $(cat)\"\necho 'Traceback: it broke' >&2\nexit 3\n",
          scheduler="backoff_min = 10ms\nmax_attempts = 2")
    r = place.run("submit", "--wait", "x")
    tap.equal(r.code, 1, "a program that fails is a failed generation")
    tap.matches(r.err, r"failed: CommandError: exit status 3 of fails: Traceback: it broke\n$", "with its status and its last words")
    id = place.value("SELECT id FROM generations")
    row = place.show(id)
    tap.equal((row["attempts"], row["starts"]), (2, 2), "it was tried as often as others are")
    tap.matches(row["parameters"]["errorContext"]["stack"],
                f"^model fails, command {place.folder}/fails, attempt 2, at provider:(wait|stream)$", "the stack names the command")
    tap.equal(place.sql("SELECT content, partial FROM outputs"), [("half of x\n", 1)], "what it had written is kept as partial")
    place.configure(place.read("genrun.ini") + "on_exit.3 = fail\n")
    id = place.submit("y")
    place.run("run", "--drain")
    tap.equal(place.show(id)["starts"], 1, "on_exit decides otherwise")


def test_parked(place):
    place.configure("[model m]\ncommand = ./later\n")
    script(place, "later", "#!/bin/sh\necho here\n", 0o644)
    id = place.submit("x", "--model", "m")
    with_runner = place.start_runner()
    wait_until(lambda: place.value("SELECT state FROM models WHERE name = 'm'") == "parked"
               if place.value("SELECT 1 FROM sqlite_master WHERE name = 'models'") else
               "parked" in place.run("models").out, 10, "the parking")
    row = [m for m in place.run("models", "--json").jsonl if m["name"] == "m"][0]
    tap.equal(row["reason"], f"cannot start {place.folder}/later (Permission denied): this user may not execute it: make it an "
              "executable file (chmod +x) in folders that this user may enter", "models shows why nothing runs")
    tap.equal((place.status(id), place.show(id)["attempts"]), ("queued", 0), "the queue is kept, no attempt spent")
    os.chmod(place.path("later"), 0o755)
    tap.equal(place.run("models", "resume", "m").code, 0, "resumed by hand")
    place.wait_status(id, "completed")
    tap.equal(with_runner.stop(), 0, "it went on by itself then")


# A program that is deaf to SIGTERM, with a deaf child in its group and one in a session of its own.
DEAF = """#!/bin/sh
trap '' TERM
(setsid sh -c "trap '' TERM; sleep 1000; :" &)
sh -c "sleep 1000; :" &
%s
sleep 1000
:
"""


def test_cancel(place):
    model(place, "deaf", DEAF % "echo here")
    runner = place.start_runner()
    id = place.submit("x")
    wait_until(lambda: len(marked(id)) >= 5, 10, "its processes")
    place.run("cancel", id)
    place.wait_status(id, "cancelled")
    tap.ok(gone(id), "a cancel ends the program and all that it started")
    tap.equal(runner.stop(), 0, "the runner goes on")


def test_clocks(place):
    for name, say, options, message in (
            ("silent", "", ("first_byte_timeout = 200ms",), "no first byte came for 200ms (first_byte_timeout)"),
            ("wedged", "echo begun", ("progress_timeout = 200ms",), "no progress for 200ms (progress_timeout)"),
            ("endless", "while :; do echo more >&2; sleep 0.05; done", ("max_runtime = 500ms",), "it ran for 500ms (max_runtime)")):
        model(place, name, DEAF % say, *options, scheduler="max_attempts = 1")
        id = place.submit("x")
        r = place.run("run", "--drain")
        tap.equal((r.code, marked(id)), (1, []), f"{name}: a drain ends when its processes are gone")
        kind, text = error_of(place, id)
        tap.ok(kind == "TimeoutError" and text.startswith(message), f"{name}: {message}", text)


def test_one_at_a_time(place):
    # Who dies lets go of the lock, whatever it ignores; who comes too early writes so.
    model(place, "single", "#!/bin/sh\ntrap '' TERM\nexec 9>lock\nflock -n 9 || echo two >>log\n"
          "[ $(cat) = hang ] && sleep 1000\n:\n", "concurrency = 1", "first_byte_timeout = 300ms",
          scheduler="max_attempts = 1")
    place.submit("hang")
    for n in range(3):
        place.submit(f"short {n}")
    r = place.run("run", "--drain")
    tap.equal(r.code, 1, "one hangs, and is ended")
    tap.equal(place.sql("SELECT status, count(*) FROM generations GROUP BY 1 ORDER BY 1"), [("completed", 3), ("failed", 1)],
              "the others complete")
    tap.equal(os.path.exists(place.path("log")), False, "none started before the process of the first was gone")


def test_stop_of_the_runner(place):
    model(place, "deaf", DEAF % "echo here", scheduler="shutdown_grace = 100ms")
    runner = place.start_runner()
    id = place.submit("x")
    wait_until(lambda: len(marked(id)) >= 5, 10, "its processes")
    tap.equal(runner.stop(), 0, "SIGTERM stops the runner")
    tap.equal((place.status(id), marked(id)), ("queued", []), "its work is queued again, and no process of it is left")
    runner = place.start_runner()
    wait_until(lambda: len(marked(id)) >= 5, 10, "its processes")
    runner.signal(15)
    runner.signal(15)
    tap.equal(runner.wait(), 0, "two of them at once")
    tap.ok(gone(id), "leave nothing, either")


def test_forks_and_lets_go(place):
    model(place, "lets-go", "#!/bin/sh\n(setsid sh -c 'sleep 1000; :' >/dev/null 2>&1 &)\nsetsid sleep 1000 &\nsleep 0 &\n"
          "echo $$\nsleep 0.05\n")
    for how in ("submit --wait", "run"):
        r = place.run("submit", "--wait", "x") if how == "submit --wait" else None
        if r is None:
            place.submit("x")
            r = place.run("run", "--drain")
        tap.equal(r.code, 0, f"{how}: it completes")
        id = place.value("SELECT id FROM generations ORDER BY created_at DESC LIMIT 1")
        tap.ok(gone(id), f"{how}: and what it left behind is ended")


def test_limits(place):
    model(place, "flood", "#!/bin/sh\nexec yes\n")
    place.configure(place.read("genrun.ini") + "[genrun]\nmax_output = 64K\n")
    r = place.run("submit", "--wait", "x")
    tap.matches(r.err, r"InvalidRequestError: the command's output is larger than max_output \(65536 bytes\): raise it, or let the "
                r"command write less\n$", "a flood ends at max_output")
    id = place.value("SELECT id FROM generations")
    tap.ok(gone(id), "and with it the program")
    place.run("batch", "submit", "-", input=json.dumps({"prompt": "x", "long": "x" * 200000}))
    place.run("run", "--drain")
    kind, text = error_of(place, place.value("SELECT id FROM generations WHERE batch_job_id IS NOT NULL"))
    tap.equal(kind, "InvalidRequestError", "parameters that no environment holds are refused")
    tap.matches(text, r"the parameters have 200\d+ bytes, and GENRUN_PARAMETERS holds 100K: set input = json for model flood, so",
                "with what to do")


def test_bad_configuration(place):
    for text, message in (
            ("command = 'open\n", "command has a quote that is left open"),
            ("provider = command\n", "[model m] has provider command and no command: add command = PROGRAM"),
            ("command = a\nprovider = echo\n", "[model m] has a command, and provider echo: remove one of the two lines")):
        place.configure("[model m]\n" + text)
        r = place.run("list")
        tap.ok(r.code == 3 and f"genrun.ini:2: {message}" in r.err, message, r)


tap.main(globals())
