#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""wrk, as fast as it can on 64 connections, submits generations until genrun is killed with SIGKILL: everything that was
answered is stored, each once; and the next life answers all, without an error."""
import os
import re
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap
from genrun import wait_until
from web import SECRET, Web

SCRIPT = """\
wrk.method = "POST"
wrk.headers["Authorization"] = "Bearer " .. os.getenv("KEY")
wrk.headers["Content-Type"] = "application/json"
wrk.body = '{"prompt": "hello", "modelId": "echo", "parameters": {"delay": "1h"}}'
local threads = {}
function setup(thread)
    table.insert(threads, thread)
end
function init(args)
    accepted, others = 0, 0
end
function response(status)
    if status == 202 then accepted = accepted + 1 else others = others + 1 end
end
function done(summary, latency, requests)
    local sum, rest = 0, 0
    for _, thread in ipairs(threads) do
        sum, rest = sum + thread:get("accepted"), rest + thread:get("others")
    end
    print("accepted " .. sum .. " others " .. rest)
end
"""


def start(place, web, seconds):
    return subprocess.Popen(["wrk", "-t", "1", "-c", "64", "-d", f"{seconds}s", "-s", place.write("submit.lua", SCRIPT),
                             f"{web.url}/api/generate"], env=dict(place.env, KEY=SECRET), stdin=subprocess.DEVNULL,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def counts(process):
    said = process.communicate(timeout=60)[0]
    found = re.search(r"accepted (\d+) others (\d+)", said)
    tap.ok(process.returncode == 0 and found, "wrk ends well", said)
    return tuple(map(int, found.groups())) + (said,)


def stored(place):
    return place.value("SELECT count(*) FROM generations")


def test_answered_is_stored(place):
    place.configure("[scheduler]\nshutdown_grace = 100ms\n")
    with Web(place) as web:
        process = start(place, web, 2)
        wait_until(lambda: stored(place) > 500, 20, "some requests")
        web.process.kill()
        accepted, others, said = counts(process)
        tap.ok(500 <= accepted <= stored(place) <= accepted + 64, "all that was answered is stored, and of the rest what was in flight",
               f"{accepted} answered, {stored(place)} stored")
        tap.equal(others, 0, "no other answer")
        before = stored(place)
        web.start()
        accepted, others, said = counts(start(place, web, 2))
        tap.lacks(said, "Socket errors", "the next life answers every request")
        tap.ok(others == 0 and accepted <= stored(place) - before <= accepted + 64, "and stores it",
               f"{accepted} answered, {stored(place) - before} stored")


tap.main(globals())
