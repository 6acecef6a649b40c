#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A million lines in, and out again, in each format: the same prompts, names and parameters, the same outputs,
in memory that does not grow with the file; and a submit that is stopped in its midst, which leaves nothing.
ITEMS=20000 makes it short."""
import csv
import json
import os
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "lib"))
import tap
from genrun import wait_until

ITEMS = int(os.environ.get("ITEMS", "1000000"))
FEW = ITEMS // 100
SOME = ITEMS // 5
CONFIG = "[genrun]\ndefault_model = echo\n[scheduler]\nconcurrency = 64\n"
MEMORY = 40 << 20  # bytes that no command may need, whatever the number of lines
ODD = ['say "hi", please', "=1+1", "-", " blanks ", "tab\there", "caf\u00e9 \U0001f600", "12", "true", "a\\nb"]


def prompt(i):
    return f"prompt {i} {ODD[i % len(ODD)]}"


def in_csv(text):
    """Text as a cell that is text, whatever it looks like."""
    return '"' + text.replace('"', '""') + '"'


def write(place, kind, count):
    path = place.path(f"in.{kind}")
    with open(path, "w", encoding="utf-8", newline="") as f:
        if kind == "csv":
            f.write("custom_id,prompt,temperature,seed,note\r\n")
        for i in range(count):
            if kind == "txt":
                f.write(prompt(i) + "\n")
            elif kind == "jsonl":
                f.write(json.dumps({"custom_id": f"c{i}", "prompt": prompt(i)}, ensure_ascii=i % 2 == 0)[:-1]
                        + f', "temperature":0.{i % 10}0, "seed":{10**20 + i}}}\n')
            else:
                f.write(f"c{i},{in_csv(prompt(i))},0.{i % 10}0,{10**20 + i},{in_csv(f'line {i}' + chr(10))}\r\n")
    return path


def peak_of(pid):
    """The most memory that was resident so far; 0 once the process has ended."""
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return next((int(line.split()[1]) * 1024 for line in f if line.startswith("VmHWM:")), 0)


def run(place, *args):
    """Runs a command; returns (code, peak resident memory in bytes, the last line of stdout)."""
    began, memory = time.monotonic(), 0
    with open(place.path("out"), "w+b") as out:
        process = subprocess.Popen(place.command("-q", *args), stdin=subprocess.DEVNULL, stdout=out, cwd=place.folder,
                                   env=place.environment())
        while process.poll() is None:  # wait4 would tell of this process, too, from before the exec
            memory = max(memory, peak_of(process.pid))
            time.sleep(0.01)
        out.seek(0)
        lines = out.read().decode().splitlines()
    tap.note(f"{' '.join(args[:2])}: {time.monotonic() - began:.1f} s, {memory / 1048576:.0f} MiB")
    return process.returncode, memory, lines[-1] if lines else ""


def submit(place, kind, count):
    code, memory, id = run(place, "batch", "submit", write(place, kind, count), "--param", "fresh=1")
    tap.equal((code, place.value("SELECT total_items FROM batch_jobs WHERE id = ?", id)), (0, count), f"{kind}: all {count} are stored")
    tap.ok(memory < MEMORY, f"{kind}: in little memory", f"{memory} bytes")
    return id


def submit_and_cancel(place, kind):
    """All lines go in; of a batch of some the results are written, cancelled, so that nothing need run."""
    place.configure(CONFIG)
    submit(place, kind, ITEMS)
    id = submit(place, kind, SOME)
    tap.equal(run(place, "batch", "cancel", id)[0], 0, f"{kind}: {SOME} are cancelled")
    return id


def results(place, id, kind, *options, memory_most=MEMORY):
    code, memory, _ = run(place, "batch", "results", id, "-o", f"out.{kind}", *options)
    tap.ok(code == 0 and memory < memory_most, f"{kind}: results too", (code, memory))
    return open(place.path(f"out.{kind}"), encoding="utf-8", newline="")


def differences(got, expected):
    """How many differ, a missing or surplus one too, and the first."""
    count, first, end = 0, None, object()
    got, expected = iter(got), iter(expected)
    while True:
        g, x = next(got, end), next(expected, end)
        if g is end and x is end:
            return count, first
        if g != x:
            count, first = count + 1, first or (g, x)
        if g is end or x is end:
            return count, first


def test_text(place):
    """Through the model that echoes: each output is its line, byte for byte."""
    place.configure(CONFIG)
    id = submit(place, "txt", ITEMS)
    code, memory, _ = run(place, "run", "--drain")
    tap.ok(code == 0 and memory < MEMORY, "txt: all are run, in little memory", (code, memory))
    with results(place, id, "jsonl") as out, open(place.path("in.txt"), encoding="utf-8", newline="") as lines:
        tap.equal(differences((json.loads(x)["output"] + "\n" for x in out), lines), (0, None), "txt: the outputs are the lines, in order")
    # The one that must sort: some numbers an item, whatever its texts.
    with results(place, id, "csv", "--order", "done", memory_most=MEMORY + 64 * ITEMS) as out:
        tap.equal(sorted(int(r["prompt"].split()[1]) for r in csv.DictReader(out)), list(range(ITEMS)), "txt: each once, as they ended")


def test_jsonl(place):
    """What stands in the file comes back, what is left of a line without its columns byte for byte."""
    id = submit_and_cancel(place, "jsonl")

    def given():
        for i in range(SOME):
            yield f"c{i}", prompt(i), f'{{ "temperature":0.{i % 10}0, "seed":{10**20 + i},"fresh":1}}'

    def came(out):
        for line in out:
            o = json.loads(line)
            yield o["custom_id"], o["prompt"], line.split('"parameters":', 1)[1].split("}", 1)[0] + "}"

    with results(place, id, "jsonl", "--errors") as out:
        tap.equal(differences(came(out), given()), (0, None), "jsonl: all come back, in order")


def test_csv(place):
    """Each cell comes back: text as text, numbers as they were written."""
    id = submit_and_cancel(place, "csv")

    def given():
        for i in range(SOME):
            yield f"c{i}", prompt(i), f'{{"temperature":0.{i % 10}0,"seed":{10**20 + i},"note":"line {i}\\n","fresh":1}}'

    with results(place, id, "csv", "--errors") as out:
        tap.equal(differences(((r["custom_id"], r["prompt"], r["parameters"]) for r in csv.DictReader(out)), given()), (0, None),
                  "csv: all come back, in order")


def test_stopped(place):
    """In the midst of the file: by signals that can be answered, and by one that cannot."""
    place.configure(CONFIG)
    place.submit("the first")
    path = write(place, "csv", SOME)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        submitter = place.start("batch", "submit", path)
        stored = place.value("SELECT count(*) FROM generation")
        wait_until(lambda: place.value("SELECT count(*) FROM generation") > stored + FEW, 30, "a part of the file")
        submitter.signal(number)
        code = submitter.wait(120)
        if number == signal.SIGKILL:
            tap.equal(code, -number, "SIGKILL ends it")
        else:
            tap.matches(submitter.err, r"(?m)^genrun: interrupted after \d+ lines: nothing was stored$", f"{number.name}: it says so")
            tap.equal((code, submitter.out), (5, ""), f"{number.name}: 5, and no id")
            tap.equal(place.value("SELECT count(*) FROM generation"), 1, f"{number.name}: what was written is taken back")
        tap.equal(place.run("batch", "list", "--json").out, "", f"{number.name}: no batch is seen")
        tap.equal(place.value("SELECT count(*) FROM generations"), 1, f"{number.name}: nor an item of it")
    tap.ok(place.value("SELECT count(*) FROM generation") > 1, "after SIGKILL something is left in the file")
    runner = place.start_runner()
    wait_until(lambda: place.value("SELECT count(*) FROM generation") == 1, 120, "the end of what was left")
    tap.equal((runner.stop(), place.value("PRAGMA integrity_check")), (0, "ok"), "the next runner sweeps it away")


tap.main(globals())
