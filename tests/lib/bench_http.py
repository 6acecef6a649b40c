# SPDX-License-Identifier: MIT
"""The rows of the bench for HTTP: genrun beside bare_http (libmicrohttpd and SQLite, and nothing else), by wrk with 64
connections, in turn; and the same beside 200 clients of server-sent events, which must miss nothing."""
import json
import os
import re
import shutil
import signal
import statistics
import subprocess

from bench_ground import BUILD, ENV, GENRUN, ROOT, Place, database_without_triggers, median_of, mixed

SECRET = "the-secret-of-the-bench-0123456789"
HEADER = "Authorization: Bearer " + SECRET
CONNECTIONS, SECONDS, CLIENTS = 64, 5, 200
ANSWER_BYTES = 79  # of POST /api/generate
ITEMS = 2000
# What is posted waits for a model that is busy, so that nothing but HTTP is measured.
CONFIG = """
[model held]
command = sleep 1000000
concurrency = 1

[model echo]
provider = echo
concurrency = 4

[http]
max_connections = 400
max_streams = 250
"""


class Server:
    """genrun of a place, or bare_http on a database; `port` once it is up."""

    def __init__(self, place=None, database=None):
        if place:
            with open(os.path.join(place.folder, "genrun.ini"), "a", encoding="utf-8") as f:
                f.write(CONFIG)
            self.process = subprocess.Popen([GENRUN, "run", "--listen", "127.0.0.1:0"], cwd=place.folder, stdin=subprocess.DEVNULL,
                                            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                                            env={**ENV, "INTERNAL_API_SECRET": SECRET})
            for line in self.process.stderr:
                found = re.search(r"HTTP on http://127\.0\.0\.1:(\d+)", line)
                if found:
                    break
            else:
                raise RuntimeError("genrun run ended without listening")
            self.port = int(found.group(1))
        else:
            self.process = subprocess.Popen([os.path.join(BUILD, "bench", "bare_http"), database, str(ANSWER_BYTES)],
                                            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
            self.port = int(self.process.stdout.readline())

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        (self.process.stderr or self.process.stdout).close()
        self.process.wait()


def wrk(port, script):
    """Requests a second and the 99th percentile of the latency in ms."""
    done = subprocess.run(["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "-s", os.path.join(ROOT, "tests", "bench", script),
                           f"http://127.0.0.1:{port}", "--", HEADER], stdout=subprocess.PIPE, check=True, text=True)
    said = json.loads(done.stdout.splitlines()[-1])
    if said["errors"]:
        raise RuntimeError(f"{said['errors']} requests failed")
    return {"rate": said["requests"] / said["us"] * 1e6, "p99_ms": said["p99_us"] / 1000}


def rows(table, what, hers, bares):
    rate, bare_rate = median_of(hers, "rate"), median_of(bares, "rate")
    table.row(what, rate, f"requests/s, p99 {median_of(hers, 'p99_ms'):.1f} ms")
    table.row("  libmicrohttpd and SQLite alone", bare_rate, f"requests/s, p99 {median_of(bares, 'p99_ms'):.1f} ms")
    table.row("  genrun / alone", statistics.median(h["rate"] / b["rate"] for h, b in zip(hers, bares)), "", 0.5, at_least=True)


def in_turn(options, one, other, script):
    """Both in each round, so that a busy machine is so for both."""
    hers, bares = [], []
    for _ in range(options.rounds):
        hers.append(wrk(one.port, script))
        bares.append(wrk(other.port, script))
    return hers, bares


def bench_http(table, options, folder):
    if not shutil.which("wrk"):
        table.print("HTTP", "needs wrk: install it", "", "")
        return
    place = Place(os.path.join(folder, "http"), 8)
    bare = Server(database=database_without_triggers(os.path.join(folder, "bare")))
    server = Server(place)
    rows(table, f"POST /api/generate, durable, {CONNECTIONS} connections", *in_turn(options, server, bare, "post.lua"))
    server.stop()
    bare.stop()
    shutil.rmtree(place.folder)

    place = mixed(os.path.join(folder, "http"), options.rows, "held")
    server, bare = Server(place), Server(database=place.database)
    rows(table, f"GET /api/generations, {options.rows:,} rows", *in_turn(options, server, bare, "list.lua"))
    server.stop()
    bare.stop()
    shutil.rmtree(place.folder)
    bench_streams(table, folder)


def bench_streams(table, folder):
    """wrk posts while a batch job runs that 200 clients follow."""
    place = Place(os.path.join(folder, "http"), 8)
    path = os.path.join(place.folder, "items.jsonl")
    with open(path, "w", encoding="ascii") as f:
        f.writelines('{"prompt": "x", "model": "echo", "parameters": {"delay": "8ms"}}\n' for _ in range(ITEMS))
    batch = place.run("batch", "submit", path, "--paused")[0].split()[-1]
    server = Server(place)
    after = place.rows("SELECT max(id) FROM logs")[0][0]
    listening = subprocess.Popen([os.path.join(BUILD, "bench", "listen"), str(server.port), str(CLIENTS),
                                  f"/api/events?batchId={batch}&after={after}", HEADER],
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    if listening.stdout.readline() != "ready\n":
        raise RuntimeError("the streams do not open")
    place.run("batch", "resume", batch)
    posted = wrk(server.port, "post.lua")
    while place.rows("SELECT completed_at FROM batch_jobs")[0][0] is None:
        listening.poll()
    count, total, last = place.rows("SELECT count(*), sum(id), max(id) FROM logs WHERE batch_job_id = ? AND id > ?", batch, after)[0]
    got = json.loads(listening.communicate(f"{last}\n")[0])
    server.stop()
    table.row(f"POST /api/generate beside {CLIENTS} streams of a batch job", posted["rate"], f"requests/s, p99 {posted['p99_ms']:.1f} ms")
    whole = got["least"] == got["most"] == count and got["least_sum"] == got["most_sum"] == total
    table.print("  events that any of them missed, or got twice", str(count - got["least"] if not whole else 0) + f" of {count:,}",
                "0", "" if whole and not got["broken"] else f"WRONG: {got}")
    shutil.rmtree(place.folder)
