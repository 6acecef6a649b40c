#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A batch file of 200 MB, sent by curl as it sends large files (Expect: 100-continue) and, without a length, in chunks; read,
imported and taken back as a whole: all in the memory of a small one."""
import json
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "lib"))
import tap
from genrun import wait_until
from web import Web

BYTES = 200 * 1000 * 1000
TEXT = "x" * 10000
MORE_KB = 24 * 1024  # what 200 MB may add to the memory


def peak_kb(web):
    with open(f"/proc/{web.process.pid}/status", encoding="ascii") as f:
        return int(re.search(r"VmHWM:\s+(\d+) kB", f.read()).group(1))


def write_file(path):
    lines = 0
    with open(path, "w", encoding="ascii") as f:
        while f.tell() < BYTES - 20000:
            f.write(json.dumps({"custom_id": f"line-{lines}", "method": "POST", "url": "/v1/chat/completions",
                                "body": {"model": "m", "messages": [{"role": "user", "content": TEXT}]}}) + "\n")
            lines += 1
    return lines


def curl(web, *args):
    done = subprocess.run(["curl", "-sSv", "-H", f"Authorization: Bearer {web.key}", *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)
    return done.stdout, done.stderr.decode("utf-8", "replace")


def test_upload(place):
    place.configure("[scheduler]\nconcurrency = 64\n[model m]\nprovider = echo\nconcurrency = 64\n")
    lines = write_file(place.path("big.jsonl"))
    size = os.path.getsize(place.path("big.jsonl"))
    with Web(place) as web:
        web.get("/v1/files")
        before = peak_kb(web)
        out, said = curl(web, "-F", "purpose=batch", "-F", f"file=@{place.path('big.jsonl')}", f"{web.url}/v1/files")
        tap.ok("Expect: 100-continue" in said and "100 Continue" in said and "Done waiting" not in said, "curl asked first, and was answered")
        tap.equal(json.loads(out)["bytes"], size, f"{size} bytes are stored")
        file = json.loads(out)["id"]
        tap.ok(peak_kb(web) - before < MORE_KB, "in the memory of a small one", f"{before} kB, then {peak_kb(web)} kB")
        out, _ = curl(web, "-H", "Transfer-Encoding: chunked", "-H", "Expect:", "-F", "purpose=batch", "-F", f"file=@{place.path('big.jsonl')}",
                      f"{web.url}/v1/files")
        tap.equal(json.loads(out)["bytes"], size, "the same in chunks")
        tap.equal(web.delete(f"/v1/files/{json.loads(out)['id']}").status, 200, "and deleted")
        id = web.post("/v1/batches", {"input_file_id": file, "endpoint": "/v1/chat/completions", "completion_window": "24h"}).json["id"]
        state = wait_until(lambda: (lambda b: b["status"] != "validating" and b)(web.get(f"/v1/batches/{id}").json), 100, "the file being read")
        tap.equal((state["status"] in ("in_progress", "completed"), state["request_counts"]["total"]), (True, lines), "all lines are items")
        tap.ok(peak_kb(web) - before < 2 * MORE_KB, "reading it takes no more", f"{before} kB, then {peak_kb(web)} kB")
        done = wait_until(lambda: (lambda b: b["status"] == "completed" and b)(web.get(f"/v1/batches/{id}").json), 100, "the end")
        peak = peak_kb(web)
        curl(web, "-o", place.path("out.jsonl"), f"{web.url}/v1/files/{done['output_file_id']}/content")
        with open(place.path("out.jsonl"), "rb") as f:
            tap.equal(sum(1 for _ in f), lines, "all lines have results")
        tap.ok(peak_kb(web) - peak < MORE_KB, "which are sent in little memory, too", f"{peak} kB, then {peak_kb(web)} kB")


tap.main(globals())
