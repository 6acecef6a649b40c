#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The README says what is so: its example runs, as printed, against a model server of
this test; its configuration loads; its commands, options and files exist; and its table
of packages is what `make deps` installs.
"""
import http.server
import json
import os
import re
import subprocess
import sys
import threading

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests", "lib"))
import tap
from genrun import GENRUN

with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as f:
    README = f.read()
# Indented blocks, by their order: the two commands, Ollama, genrun.ini, OpenAI.
BLOCKS = [re.sub("^    ", "", b, flags=re.M) for b in re.findall(r"(?:^    .*\n(?:\n(?=    ))?)+", README, re.M)]


def block_with(part):
    return next(b for b in BLOCKS if part in b)


class Model(http.server.BaseHTTPRequestHandler):
    """Answers a chat completion with the last message in capitals."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = body["messages"][-1]["content"].upper()
        chunks = [{"id": "c", "object": "chat.completion.chunk", "created": 1, "model": body["model"], "choices": [
            {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None}]},
            {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": body["model"], "choices": [
                {"index": 0, "delta": {}, "finish_reason": "stop"}]}]
        answer = "".join(f"data: {json.dumps(c)}\n\n" for c in chunks) + "data: [DONE]\n\n"
        self.send_response(200 if self.path == "/v1/chat/completions" else 404)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer.encode())

    def log_message(self, *_):
        pass


def shell(place, script, **env):
    """Runs lines as a reader would type them, in the place's folder, with genrun in the PATH."""
    path = os.path.dirname(GENRUN) + ":" + place.env["PATH"]
    return subprocess.run(["sh", "-e", "-c", script], cwd=place.folder, env=place.environment(dict(env, PATH=path)),
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          universal_newlines=True, timeout=90)


def with_model(function):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Model)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        function(f"http://127.0.0.1:{server.server_address[1]}/v1")
    finally:
        server.shutdown()
        server.server_close()


def test_local_example(place):
    def run(url):
        script = block_with("OPENAI_BASE_URL").replace("http://localhost:11434/v1", url)
        submit, results = script.split("genrun batch results ID")
        shown = shell(place, submit)
        tap.equal(shown.returncode, 0, "the example against a local server: the batch completes")
        batch = shown.stdout.splitlines()[-1]
        shown = shell(place, f"genrun batch results {batch}{results}")
        outputs = [json.loads(line)["output"] for line in shown.stdout.splitlines()]
        tap.equal(outputs, ["NAME THREE RIVERS.", "NAME THREE LAKES."], "and its results are the answers in order")

    with_model(run)


def test_configuration(place):
    ini, script = block_with("[model "), block_with("genrun submit")
    submit = next(line for line in script.splitlines() if line.startswith("genrun submit"))

    def run(url):
        place.write("genrun.ini", re.sub("^base_url = .*$", f"base_url = {url}", ini, flags=re.M))
        shown = shell(place, submit, OPENAI_API_KEY="sk-not-a-key")
        tap.equal((shown.returncode, shown.stdout.splitlines()[-1:]), (0, ["SAY HELLO IN BASQUE"]),
                  "the example with genrun.ini: submit --wait prints the output")

    with_model(run)


def test_statement(place):
    ended = place.run("submit", "done", "--model", "echo", "--wait", "--json").json["id"]
    waiting = [place.submit("x", "--model", "echo") for _ in range(2)]
    shown = shell(place, block_with("sqlite3").replace("gpt-4o", "echo").replace("genrun.db", place.database))
    tap.equal((shown.returncode, shown.stderr), (0, ""), "the typed statement is taken, also beside what has ended")
    tap.equal([place.status(i) for i in [ended] + waiting], ["completed", "cancelled", "cancelled"], "and cancels the rest")


def test_commands(place):
    used = set()
    for line in re.findall(r"(?:^|`|[| ])genrun ([a-z].*?)(?:`|\s#|\s{2}|$)", "\n".join(BLOCKS) + README, re.M):
        words = line.split()
        name = " ".join(words[:2] if words[0] in ("batch", "key") else words[:1])
        used.add((name, tuple(w for w in words if w.startswith("--"))))
    tap.ok({"batch submit", "run", "submit"} <= {name for name, _ in used}, "the README names commands", str(used))
    for name, options in sorted(used):
        r = place.run("help", *name.split(), bare=True)
        tap.equal(r.code, 0, f"genrun {name} exists")
        for option in options:
            tap.contains(r.out, option, f"genrun {name} takes {option}")


def test_files():
    paths = set(re.findall(r"`((?:src|schema|tests|contrib)/[\w./-]*\w)/?`", README)) | set(re.findall(r"\]\((\w[\w.]*)\)", README))
    missing = [p for p in sorted(paths) if "NNNN" not in p and "NAME" not in p and not os.path.exists(os.path.join(ROOT, p))]
    tap.ok(len(paths) > 5, "the README names files", str(paths))
    tap.equal(missing, [], "each of them exists")


def test_targets():
    with open(os.path.join(ROOT, "Makefile"), encoding="utf-8") as f:
        makefile = f.read()
    targets = {t for words in re.findall(r"\bmake ((?:[a-z-]+ ?)+)(?=`|\s{2}|$)", README, re.M) for t in words.split()}
    tap.ok({"deps", "demo", "check", "install"} <= targets, "the README names targets of make", str(targets))
    tap.equal([t for t in sorted(targets) if not re.search(rf"^{t}:", makefile, re.M)], [], "each of them exists")


def test_packages():
    with open(os.path.join(ROOT, "contrib", "deps.sh"), encoding="utf-8") as f:
        listed = set(re.findall(r"^(?:build|test)\s+\S+\s+\S+\s+(SQLite|libcurl|cJSON|inih|libmicrohttpd|libcrypto|cmocka)\b", f.read(), re.M))
    table = README.split("## Dependencies")[1].split("\n## ")[0]
    tap.equal({n for n in listed if n not in table}, set(), "its table has the libraries that make deps installs")
    tap.equal(len(listed), 7, "which are seven")


tap.main(globals())
