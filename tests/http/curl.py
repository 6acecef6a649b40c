#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""curl, as a person types it: what the README has, and more, each of which must be taken. GENERATION, BATCH and FILE stand
for ids that an answer before had."""
import json
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap
from genrun import ROOT, wait_until
from web import Web

API = 'api() { curl -sS -H "Authorization: Bearer $KEY" "http://127.0.0.1:8787$@"; }'
# The example, and what its answer must have.
EXAMPLES = [
    ("api /api/generate -d '{\"prompt\": \"Name a colour\", \"modelId\": \"echo\"}'", r'"status":"queued"'),
    ("api /api/generations/GENERATION", r'"prompt":"Name a colour"'),
    ("api '/api/generations?status=completed&limit=5'", r'"nextCursor"'),
    ("api /api/batch-jobs -F file=@prompts.jsonl -F modelId=echo", r'"jobId"'),
    ("api /api/batch-jobs/BATCH", r'"totalItems":2'),
    ("api /api/batch-jobs/BATCH/results", r""),
    ("api /api/batch-jobs/BATCH/pause -X POST", r'"success":true'),
    ("api /api/batch-jobs/BATCH/resume -X POST", r'"success":true'),
    ("api /v1/files -F purpose=batch -F file=@requests.jsonl", r'"status":\s?"processed"'),
    ("api /v1/batches -d '{\"input_file_id\": \"FILE\", \"endpoint\": \"/v1/chat/completions\", \"completion_window\": \"24h\"}'",
     r'"object":\s?"batch"'),
    ("api /v1/models", r'"id":\s?"echo"'),
]
IDS = {"GENERATION": ("/api/generate", "id"), "BATCH": ("/api/batch-jobs", "jobId"), "FILE": ("/v1/files", "id")}


class Shell:
    """Types lines as they stand in the README, to a server of its own; curl fails where an answer is an error."""

    def __init__(self, place, web, key):
        self.place, self.web = place, web
        place.write(".curlrc", "fail-with-body\nnoproxy = *\nmax-time = 20\n")
        self.env = place.environment({"KEY": key, "INTERNAL_API_SECRET": key})
        self.known = {}

    def start(self, line):
        return subprocess.Popen(["sh", "-c", "exec " * line.startswith("curl ") + line.replace(":8787", f":{self.web.port}")],
                                cwd=self.place.folder, env=self.env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, text=True)

    def type(self, line):
        for name, id in self.known.items():
            line = line.replace(name, id)
        process = self.start(f"{API}\n{line}")
        out, err = process.communicate(timeout=60)
        r = subprocess.CompletedProcess(line, process.returncode, out, err)
        for name, (path, member) in IDS.items():
            if r.returncode == 0 and re.match(rf"api {path} -", line):
                self.known.setdefault(name, json.loads(r.stdout)[member])
        return r


def test_examples(place):
    place.configure("[scheduler]\nconcurrency = 4\nshutdown_grace = 100ms\n")
    place.write("prompts.jsonl", '{"prompt": "red", "delay": "60s"}\n{"prompt": "green", "delay": "60s"}\n')
    place.write("requests.jsonl", json.dumps({
        "custom_id": "r1", "method": "POST", "url": "/v1/chat/completions",
        "body": {"model": "echo", "messages": [{"role": "user", "content": "hello"}]}}) + "\n")
    with Web(place) as web:
        shell = Shell(place, web, place.run("key", "add", "--user", "ann").lines[-1].strip())
        for line, expected in EXAMPLES:
            r = shell.type(line)
            tap.ok(r.returncode == 0 and re.search(expected, r.stdout), line, f"{r}")
        tap.equal(sorted(shell.known), sorted(IDS), "the ids came")
        r = shell.type("api /api/generations/no-such-one")
        tap.ok(r.returncode != 0 and '"error"' in r.stdout, "one that is refused would be seen", f"{r}")
        wrong = Shell(place, web, "no-such-key").type("api /api/generations")
        tap.ok(wrong.returncode != 0 and "no-such-key" not in wrong.stdout + wrong.stderr, "so would a wrong key, which is not repeated", f"{wrong}")


def readme():
    with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as f:
        return re.findall(r"^    (curl .*)$", re.sub(r"\\\n\s*", "", f.read()), re.M)


def test_readme(place):
    place.configure("[model llama3.2]\nprovider = echo\n")
    with Web(place) as web:
        shell = Shell(place, web, web.secret)
        commands = readme()
        for line in commands:
            if " -N " not in line:
                r = shell.type(line)
                tap.ok(r.returncode == 0 and json.loads(r.stdout), line, f"{r}")
                continue
            process = shell.start(line)
            wait_until(lambda: b"\ngenrun_http_streams 1\n" in web.get("/metrics").body, 20, "the stream")
            place.submit("x", "--model", "echo")
            said = process.stdout.readline()
            while said and not said.startswith("data: "):
                said = process.stdout.readline()
            process.kill()
            process.communicate()
            tap.ok(said.startswith("data: {"), line, said)
        tap.ok(len(commands) >= 2, "the README has examples", repr(commands))


tap.main(globals())
