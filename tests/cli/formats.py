#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Batch files of every format in, guessed or told, hostile ones and odd ones; results out, also while they grow."""
import base64
import csv
import io
import json
import os
import resource
import signal
import subprocess
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap
from genrun import wait_until

ECHO = "[genrun]\ndefault_model = echo\n"
HEADER = ("id,custom_id,status,model,prompt,parameters,output,output_base64,output_count,error_type,error,input_tokens,output_tokens,"
          "cost,finish_reason,completed_at\n")


def rows(text):
    return list(csv.DictReader(io.StringIO(text, newline="")))


def submit(place, *args, **kw):
    return place.run("batch", "submit", *args, **kw)


# ---- in --------------------------------------------------------------------------------------


def test_csv(place):
    place.configure(ECHO)
    text = 'custom_id,prompt,temperature,stop\r\na,"two\r\nlines, ""quoted""",0.70,"0.5"\r\nb,=1+1,,\r\n'
    place.write("in.csv", text.encode())
    r = submit(place, "in.csv")
    tap.ok(r.code == 0 and len(r.out) == 37, "a .csv file: the id and nothing else on stdout", r)
    tap.matches(r.err, r"^genrun: in\.csv:2: stop is text because it is in quotes: .*\n$", "a number in quotes is told of")
    items = place.run("list", "--batch", r.id, "--json").jsonl
    tap.equal([(i["customId"], i["prompt"], i["parameters"]) for i in items],
              [("a", 'two\r\nlines, "quoted"', {"temperature": 0.7, "stop": "0.5"}), ("b", "=1+1", {})], "rows are items")
    tap.contains(place.value("SELECT parameters FROM generations WHERE custom_id = 'a'"), '"temperature":0.70', "numbers byte for byte")
    tap.equal(place.value("SELECT format FROM batch_jobs"), "csv", "the batch knows how it came")
    tap.equal(submit(place, "-q", "in.csv").err, "", "-q: no note")
    tap.equal(submit(place, "in.csv", "--format", "txt", "--dry-run", "--json").json["lines"], 4, "--format decides over the name")
    tap.equal(submit(place, "in.csv", "--dry-run", "--json").json["lines"], 2, "--dry-run counts rows")


def test_guesses(place):
    place.configure(ECHO)
    as_csv, as_jsonl, as_text = "prompt,n\na,1\n", '{"prompt":"a"}\n', "one\ntwo\n"
    for name, text, format, noted in [
        ("x.csv", as_csv, "csv", False), ("x.jsonl", as_jsonl, "jsonl", False), ("x.txt", as_text, "txt", False),
        ("x.json", as_jsonl, "jsonl", False), ("x", as_jsonl, "jsonl", False), ("x", as_csv, "csv", True), ("x", '"prompt"\n"a"\n', "csv", True), ("x.dat", as_text, "txt", True),
    ]:
        place.write(name, text)
        r = submit(place, name, "--dry-run", "--json")
        tap.equal((r.code, r.json["format"], f"read as {format}" in r.err), (0, format, noted), f"{name} of {format}, noted: {noted}")
    for text, format in [(as_csv, "csv"), (as_text, "txt")]:
        r = submit(place, "-", "--dry-run", "--json", input=text)
        tap.equal((r.json["format"], r.err.count("\n")), (format, 1), f"standard input of {format}: one note")
        tap.matches(r.err, rf"^genrun: standard input: read as {format}, .*: say --format ", "which says so")
        tap.equal(submit(place, "-q", "-", "--dry-run", "--json", input=text).err, "", "-q: none")
        tap.equal(submit(place, "-", "--dry-run", "--json", "--format", format, input=text).err, "", "told: none")
    for name, text, pattern in [
        ("x.csv", as_jsonl, "a .csv file with a JSON object"), ("x.jsonl", as_csv, "a JSON file that starts like CSV"),
        ("x.txt", as_jsonl, "a .txt file with a JSON object"), ("x.txt", as_csv, "a .txt file that starts like CSV"),
        ("x.tsv", "prompt\tn\n", "format tsv is not known"), ("x.csv", "prompt;n\n", "apart by semicolons"),
        ("x", "prompt;n\n", "like CSV with semicolons"), ("x.jsonl", as_text, "invalid JSON"),
    ]:
        place.write(name, text)
        tap.error_line(submit(place, name), 2, rf"{name}:1: .*{pattern}", f"{name}: {pattern}")
    tap.error_line(submit(place, "x", "--format", "tsv"), 2, "tsv", "another format")
    tap.ok(not os.path.exists(place.database) or place.value("SELECT count(*) FROM generation") == 0, "nothing is stored")


LONG = b"x" * (10 << 20)
DEEP = b"[" * 100000


def test_hostile(place):
    """Each is refused with its line, or taken whole, and nothing of a refused file is stored."""
    place.configure(ECHO)
    place.submit("the only one")
    files = {
        "jsonl": [(b'{"prompt":\n', 1, "invalid JSON"), (b'{"prompt":"a"}\n{"prompt":"\xff"}\n', 2, "UTF-8"),
                  (b'{"prompt":"a\\u0000"}\n', 1, "u0000"), (b'{"prompt":"a\0"}\n', 1, "NUL"),
                  (b'{"prompt":"a","custom_id":"x"}\n' * 2, 2, "custom_id"), (b'{"prompt":"a","model":"ecko"}\n', 1, "did you mean|echo"),
                  (b'{"prompt":"a","x":' + DEEP + b"}\n", 1, "nested deeper"), (b'{"prompt":"a","x":1e999}\n', 1, "too large"),
                  (b'{"prompt":"a","x":' + b"9" * 500 + b"}\n", 1, "63 characters"), (b"\xff\xfe{\0", 1, "UTF-16")],
        "csv": [(b'prompt\n"a\n', 2, "never closed"), (b"prompt\na\n\xff\n", 3, "UTF-8"), (b"prompt\na\0\n", 2, "NUL"),
                (b"prompt,custom_id\na,x\nb,x\n", 3, "custom_id"), (b"prompt,model\na,echo\nb,ecko\n", 3, "echo"),
                (b"prompt,n\na,1e999\n", 2, "too large"), (b"prompt,n\na,1,2\n", 2, "3 cells where the header has 2 columns"),
                (b"prompt,n,n\n", 1, "two columns"), (b",".join(b"c%d" % i for i in range(2001)) + b"\n", 1, "more than 2000 columns"),
                (b"prompt\n" + b'"' * 99999 + b"\n", 2, "never closed"), (b"\xfe\xff\0p", 1, "UTF-16")],
        "txt": [(b"a\n\xff\n", 2, "UTF-8"), (b"a\n\0\n", 2, "NUL"), (b"\x1f\x8b\x08", 1, "gzip"), (b"PK\x03\x04", 1, "zip")],
        "openai.jsonl": [(b'{"custom_id":"a","method":"POST","url":"/v1/x","body":{"model":"echo"\n', 1, "invalid JSON"),
                         (b'{"custom_id":"a","method":"POST","url":"/v1/x","body":{"model":"echo"}}\n' * 2, 2, "custom_id"),
                         (b'{"custom_id":"a","method":"POST","url":"/v1/x","body":{"model":"ecko"}}\n', 1, "echo"),
                         (b'{"custom_id":"a","method":"POST","url":"/v1/x","body":{"x":"\xff"}}\n', 1, "UTF-8|JSON")],
    }
    for ending, cases in files.items():
        name = f"bad.{ending}"
        for content, line, pattern in cases:
            place.write(name, content)
            tap.error_line(submit(place, name), 2, rf"^genrun: bad\.{ending}:{line}: .*({pattern})", f"{ending}, line {line}: {pattern}")
        for content in (b"", b"\n\r\n", b"\xef\xbb\xbf"):
            place.write(name, content)
            tap.error_line(submit(place, name), 2, "empty", f"{ending}: empty as {content}")
    tap.equal((place.value("SELECT count(*) FROM generation"), place.value("SELECT count(*) FROM batch_job")), (1, 0), "nothing of them is stored")


def test_fine(place):
    """What looks odd and is fine, in each format."""
    place.configure(ECHO)
    bom = b"\xef\xbb\xbf"
    for name, lines in [("a.jsonl", [b'{"prompt":"a"}', b'{"prompt":"b"}']), ("a.csv", [b"prompt", b"a", b"b"]), ("a.txt", [b"a", b"b"])]:
        for what, content in [("BOM, CRLF, no last line end", bom + b"\r\n".join(lines)), ("LF and blank lines", b"\n \n".join(lines) + b"\n\n")]:
            place.write(name, content)
            r = submit(place, name)
            tap.equal((r.code, [i["prompt"] for i in place.run("list", "--batch", r.id, "--json").jsonl]), (0, ["a", "b"]), f"{name}: {what}")
    for name, head, tail in [("l.jsonl", b'{"prompt":"', b'"}\n'), ("l.csv", b'prompt\n"', b'"\n'), ("l.txt", b"", b"\n")]:
        place.write(name, head + LONG + tail)
        r = submit(place, name)
        tap.equal((r.code, place.value("SELECT length(prompt) FROM generations WHERE batch_job_id = ?", r.id)), (0, len(LONG)), f"{name}: 10 MB")


def test_no_files(place):
    place.configure(ECHO)
    os.mkdir(place.path("folder.csv"))
    tap.error_line(submit(place, "folder.csv"), 2, "folder.csv.*directory", "a directory")
    tap.error_line(submit(place, "-", stdin=os.open(place.folder, os.O_RDONLY)), 2, "standard input.*directory", "a directory as standard input")
    tap.error_line(submit(place, "nowhere.csv"), 2, "No such file", "no file")
    tap.error_line(submit(place, "/dev/null"), 2, "/dev/null: empty", "/dev/null")
    tap.error_line(submit(place, "/dev/zero"), 2, "/dev/zero:1: the line is longer than 64 MiB", "/dev/zero ends")
    tap.error_line(submit(place, "/dev/full", "--format", "csv"), 2, "64 MiB", "/dev/full too")
    tap.error_line(submit(place, "/dev/urandom"), 2, "/dev/urandom:1: ", "/dev/urandom")
    tap.error_line(submit(place, "/proc/self/mem"), 2, "cannot be read", "what cannot be read")
    tap.error_line(submit(place, "-", preexec_fn=lambda: os.close(0)), 2, "standard input", "a closed standard input")


def test_pipes(place):
    place.configure(ECHO)
    os.mkfifo(place.path("pipe.csv"))
    r = place.start("batch", "submit", "pipe.csv")
    with open(place.path("pipe.csv"), "w", encoding="utf-8") as f:
        f.write("prompt,custom_id\n" + "".join(f"p{i},c{i}\n" for i in range(3000)) + "\"the last\n")
        f.flush()
        f.write("one\",x")
    tap.equal((r.wait(), place.value("SELECT count(*) FROM generations")), (0, 3001), "a FIFO, written in parts")
    tap.equal(place.value("SELECT prompt FROM generations WHERE custom_id = 'x'"), "the last\none", "its last row too")
    r = place.start("batch", "submit", "pipe.csv")
    with open(place.path("pipe.csv"), "w", encoding="utf-8") as f:
        f.write("prompt\n\"half a row\n")
    tap.equal((r.wait(), r.err), (2, "genrun: pipe.csv:2: the quote that opens cell 1 is never closed: close it, or double it\n"),
              "a writer that dies in a row")
    r = place.start("batch", "submit", "pipe.csv")
    with open(place.path("pipe.csv"), "w", encoding="utf-8") as f:
        f.write("prompt\na\n")
        f.flush()
        wait_until(lambda: place.value("SELECT count(*) FROM batch_job") == 2, 10, "the begin of the batch")
        r.signal(signal.SIGINT)
        tap.equal((r.wait(), r.err.splitlines()[-1:]), (5, ["genrun: interrupted after 1 lines: nothing was stored"]), "SIGINT while it waits for more")
    tap.equal(place.value("SELECT count(*) FROM batch_job"), 1, "and nothing is stored")


def test_file_that_changes(place):
    """While it is read it grows, and shrinks: what was read is a whole file or is refused, never a torn one."""
    place.configure(ECHO)
    line = '{"prompt":"%08d"}\n'
    path = place.write("grows.jsonl", "".join(line % i for i in range(50000)))
    going = threading.Event()

    def grow():
        with open(path, "a", encoding="utf-8", buffering=1) as f:
            i = 50000
            while not going.is_set() and i < 60000:
                f.write(line % i)
                i += 1

    writer = threading.Thread(target=grow)
    writer.start()
    r = submit(place, "grows.jsonl")
    going.set()
    writer.join()
    stored = place.sql("SELECT prompt FROM generations ORDER BY item_index")
    tap.ok(r.code == 0 and len(stored) >= 50000 and stored == [("%08d" % i,) for i in range(len(stored))], "a file that grows: a whole beginning of it", r)
    submitter = place.start("batch", "submit", "grows.jsonl")
    os.truncate(path, len(line % 0) * 30000 + 5)
    code = submitter.wait()
    count = place.value("SELECT count(*) FROM generations")
    tap.ok((code == 2 and "invalid JSON" in submitter.err and count == len(stored)) or (code == 0 and count > len(stored)),
           "a file that shrinks: refused, or read before", (code, submitter.err, count))


def test_progress(place):
    place.configure(ECHO)
    place.write("p.csv", "prompt\n" + "".join(f"{i} {'x' * 500}\n" for i in range(30000)))
    r = place.run_pty("batch", "submit", "p.csv", columns=60)
    tap.ok(r.code == 0 and "storing  [" in r.out and "kB/s" in r.out, "a bar on a terminal", r)
    tap.ok(all(len(part.split("\x1b[K")[0]) < 60 for part in r.out.split("\r")), "that fits it", r)
    tap.lacks(place.run_pty("-q", "batch", "submit", "p.csv").out, "storing", "-q: none")


# ---- out -------------------------------------------------------------------------------------


def mixed(place):
    place.configure(ECHO)
    place.write("m.jsonl", "".join(json.dumps(o) + "\n" for o in (
        {"prompt": 'a "b", c\nd', "custom_id": "007", "n": 1}, {"prompt": "=1+1"}, {"prompt": "x", "fail": "InvalidRequestError"})))
    return submit(place, "m.jsonl", "--wait").id


def test_results(place):
    id = mixed(place)
    r = place.run("batch", "results", id, "--format", "csv")
    tap.ok(r.code == 0 and r.out.startswith(HEADER) and "\r" not in r.out, "the header, and LF", r)
    first, second = rows(r.out)
    tap.equal((first["custom_id"], first["prompt"], first["output"], json.loads(first["parameters"]), first["status"]),
              ("007", 'a "b", c\nd', 'a "b", c\nd', {"n": 1}, "completed"), "all comes back")
    tap.equal((second["custom_id"], second["prompt"], second["error"]), ("", "=1+1", ""), "formulas stay what they are")
    r = place.run("batch", "results", id, "--format", "csv", "--errors")
    tap.equal([(x["prompt"], x["error_type"]) for x in rows(r.out)], [("x", "InvalidRequestError")], "--errors")
    r = place.run("batch", "results", id, "--format", "csv", "--order", "done")
    tap.equal(sorted(x["prompt"] for x in rows(r.out)), ["=1+1", 'a "b", c\nd'], "--order done")
    tap.equal(place.run("batch", "results", id).jsonl[0]["parameters"], {"n": 1}, "jsonl: as it came, with parameters")
    place.run("batch", "results", id, "-o", "r.csv")
    tap.ok(place.read("r.csv").startswith(HEADER), "-o r.csv: CSV by its name")
    place.write("in.csv", "prompt\na\n")
    id = submit(place, "in.csv", "--wait").id
    tap.ok(place.run("batch", "results", id).out.startswith(HEADER), "what came as CSV goes as CSV")
    place.run("batch", "results", id, "-o", "r.jsonl")
    tap.equal(json.loads(place.read("r.jsonl"))["output"], "a", "-o r.jsonl: JSONL by its name")
    id = submit(place, "in.csv").id
    tap.equal(place.run("batch", "results", id).out, HEADER, "of nothing: the header")


def test_results_on_a_terminal(place):
    hostile = "a \x1b]0;title\x07\x1b[2J \x9b31m \u202e b"
    batch = place.run("batch", "submit", "-", "--format", "txt", "--model", "echo", "--wait", input=f"{hostile}\nlast\n").id
    for name in ("csv", "jsonl", "openai"):
        r = place.run_pty("batch", "results", batch, "--format", name)
        tap.ok(r.code == 0 and not set(r.out) & set("\x1b\x07\x9b\u202e") and "title" in r.out, f"{name}: no control reaches a terminal", r)
        piped = place.run("batch", "results", batch, "--format", name).out
        tap.equal(r.out.count("\r\n"), piped.count("\n"), "and every line is there")
    tap.contains(place.run("batch", "results", batch, "--format", "csv").out, hostile, "a pipe gets them as they are")


def test_bytes(place):
    """An output that is no text stands in a column of its own."""
    id = mixed(place)
    png = b"\x89PNG\r\n\x1a\n\0"
    place.sql("UPDATE output SET content = ?, mime = 'image/png', bytes = ?", png, len(png))
    for row in rows(place.run("batch", "results", id, "--format", "csv").out):
        tap.equal((row["output"], base64.b64decode(row["output_base64"])), ("", png), "csv")
    tap.equal(base64.b64decode(place.run("batch", "results", id).jsonl[0]["output_base64"]), png, "jsonl")


def test_round_trip(place):
    """Prompts, names and parameters of a CSV come back, and once more from a CSV made of the results."""
    place.configure(ECHO)
    texts = ["a", "12", "true", " x ", "-", '"', ",", "\r\n", "=x", "'", "é", "null", "1e5", "a\nb", "\t"]
    out = io.StringIO(newline="")
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["custom_id", "prompt", "temperature", "word"])
    for i, text in enumerate(texts):
        writer.writerow([f"c{i}", text, "0.70", "w"])
    place.write("in.csv", out.getvalue().encode())
    first = rows(place.run("batch", "results", submit(place, "in.csv", "--wait").id).out)
    tap.equal([(r["custom_id"], r["prompt"], r["output"], r["parameters"]) for r in first],
              [(f"c{i}", t, t, '{"temperature":0.70,"word":"w"}') for i, t in enumerate(texts)], "all comes back")
    whole = place.run("batch", "results", place.value("SELECT id FROM batch_jobs"), binary=True).out
    place.write("again.csv", whole)
    id = submit(place, "-q", "again.csv").id
    items = place.run("list", "--batch", id, "--json").jsonl
    tap.equal([(i["customId"], i["prompt"], i["parameters"]["output"]) for i in items],
              [(f"c{i}", t, t) for i, t in enumerate(texts)], "results as a batch file: text is still text")


def test_while_it_runs(place):
    """Each item once, whenever one looks; what has ended stays where it stood."""
    place.configure(ECHO + "[scheduler]\nconcurrency = 8\n")
    place.write("p.txt", "".join(f"{i}\n" for i in range(400)))
    id = submit(place, "p.txt", "--param", "delay=20ms").id
    runner = place.start_runner()
    before, looks = [], 0
    while len(before) < 400:
        r = place.run("batch", "results", id, "--order", "done")
        done = [x["prompt"] for x in r.jsonl]
        if r.code != 0 or done[:len(before)] != before or len(set(done)) != len(done):
            tap.ok(False, "--order done only grows", (before, done))
            return
        looks += 0 < len(done) < 400
        before = done
        there = [int(x["prompt"]) for x in place.run("batch", "results", id).jsonl]
        if there != sorted(set(there)) or not set(map(str, there)) >= set(done):
            tap.ok(False, "in the order of the file, each once", there)
            return
        wait_until(lambda: place.value("SELECT completed_items FROM batch_jobs") > len(before) or len(before) == 400, 20, "another end")
    tap.ok(looks >= 2, "results were looked at while they grew", looks)
    tap.equal(sorted(map(int, before)), list(range(400)), "in the end all are there, each once")
    runner.stop()


def test_output_file(place):
    id = mixed(place)
    good = place.run("batch", "results", id).out
    os.mkdir(place.path("folder"))
    place.write("there.jsonl", "old")
    os.chmod(place.path("there.jsonl"), 0o640)
    os.symlink("there.jsonl", place.path("link.jsonl"))
    r = place.run("batch", "results", id, "-o", "link.jsonl")
    tap.ok((r.code, r.out, place.read("there.jsonl")) == (0, "", good) and os.path.islink(place.path("link.jsonl")), "through a link, in place of what was there", r)
    tap.equal(os.stat(place.path("there.jsonl")).st_mode & 0o777, 0o640, "with its rights")
    for path, code, pattern in [("folder", 2, "is a directory"), ("nowhere/x", 2, "No such file"), ("there.jsonl/x", 2, "Not a directory"),
                                ("/dev/full", 1, "No space left")]:
        tap.error_line(place.run("batch", "results", id, "-o", path), code, pattern, f"-o {path}: {pattern}")
    r = place.run("batch", "results", id, "-o", "/dev/stdout")
    tap.equal((r.code, r.out), (0, good), "-o /dev/stdout")
    tap.error_line(place.run("batch", "results", id, "--format", "txt"), 2, "openai", "another format")
    left = sorted(n for n in os.listdir(place.folder) if n not in ("test.db", "test.db-wal", "test.db-shm", "genrun.ini", "m.jsonl"))
    tap.equal(left, ["folder", "link.jsonl", "there.jsonl"], "nothing half-written is left")


def limit_files():
    resource.setrlimit(resource.RLIMIT_FSIZE, (200000, 200000))


def test_output_is_cut(place):
    """By a reader that goes away, a full disk, a limit."""
    place.configure(ECHO)
    place.write("p.txt", "".join(f"{i} {'x' * 200}\n" for i in range(3000)))
    id = submit(place, "p.txt").id
    place.run("batch", "cancel", id)
    for kind in ("csv", "jsonl", "openai"):
        command = place.command("batch", "results", id, "--errors", "--format", kind)
        p = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=place.folder,
                             env=place.environment())
        p.stdout.read(100)
        p.stdout.close()
        err = p.stderr.read().decode()
        p.stderr.close()
        tap.equal((p.wait(20), err), (0, ""), f"{kind}: a reader that goes away is no failure")
        with open("/dev/full", "wb") as full:
            r = place.run("batch", "results", id, "--errors", "--format", kind, stdout=full)
        tap.ok(r.code == 1 and r.err.count("\n") == 1 and "No space left" in r.err, f"{kind}: a full disk is", r)
        before = os.listdir(place.folder)
        r = place.run("batch", "results", id, "--errors", "--format", kind, "-o", "out", preexec_fn=limit_files)
        tap.error_line(r, 1, r"cannot write .*out \(File too large\): nothing was kept", f"{kind}: a limit on the size of files is, too")
        tap.equal(set(os.listdir(place.folder)) - {"test.db-wal", "test.db-shm"}, set(before) - {"test.db-wal", "test.db-shm"}, "nothing half-written is left")


tap.main(globals())
