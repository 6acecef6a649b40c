#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What promtool (of Prometheus) says of GET /metrics: nothing, neither of a fresh server nor of one that was used."""
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap
from genrun import wait_until
from web import Web


def judged(text):
    r = subprocess.run(["promtool", "check", "metrics"], input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False)
    return r.returncode, r.stdout.decode()


def test_promtool_has_teeth():
    for text in (b"# HELP a b\n# TYPE a gauge\na{b=\"c} 1\n", b"# TYPE a counter\na 1\n"):
        tap.ok(judged(text)[0] != 0, f"promtool refuses {text!r}")


def test_metrics(place):
    place.configure('[scheduler]\nconcurrency = 4\n[model gr\u00fc\u00df "e\\1]\nprovider = echo\n'
                    '[webhook app.v1]\nurl = http://127.0.0.1:9/x\nevents = *\n')
    with Web(place) as web:
        tap.equal(judged(web.get("/metrics").body), (0, ""), "a fresh server")
        for n in range(20):
            web.post("/api/generate", {"prompt": "x", "modelId": 'gr\u00fc\u00df "e\\1' if n % 2 else "echo",
                                       "parameters": {"fail": "ContentFilterError"} if n % 5 == 0 else {}})
        wait_until(lambda: place.value("SELECT count(*) FROM generations WHERE status IN ('completed', 'failed')") == 20, 20, "all ended")
        web.get("/api/generations/none")
        web.get("/healthz", key=None)
        text = web.get("/metrics").body
        tap.equal(judged(text), (0, ""), "one that was used, with a model of an odd name")
        tap.contains(text.decode(), 'gr\u00fc\u00df \\"e\\\\1', "which is there, escaped")
        tap.contains(text.decode(), 'genrun_webhook_attempts_total{endpoint="app.v1"', "as are webhooks")


tap.main(globals())
