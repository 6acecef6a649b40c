#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Real deliveries, judged by npm's standardwebhooks and by the webhooks.unwrap of OpenAI's own client: what genrun signs
they accept, and a changed body, another secret or an old time they refuse."""
import base64
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import aimock
import tap
from genrun import wait_until
from server import Server
from web import Web

SECRET = "whsec_" + base64.b64encode(b"genrun-test-secret-0123456789ab").decode()
aimock.install([("standardwebhooks", "standardwebhooks", "1.1.1"), ("openai7", "openai", "7.57.0")])

JUDGE = """
import { Webhook } from "standardwebhooks";
import OpenAI from "openai7";
const { headers, body, secret } = JSON.parse(await new Promise((done) => {
  let text = ""; process.stdin.on("data", (d) => (text += d)).on("end", () => done(text)); }));
const said = {};
try { said.standard = new Webhook(secret).verify(body, headers); } catch (e) { said.standard = String(e); }
try { said.openai = await new OpenAI({ apiKey: "x", webhookSecret: secret }).webhooks.unwrap(body, headers); }
catch (e) { said.openai = String(e); }
console.log(JSON.stringify(said));
"""


def judge(x, secret=SECRET, body=None, **headers):
    path = os.path.join(aimock.NPM, "judge_webhook.mjs")
    with open(path, "w", encoding="utf-8") as f:
        f.write(JUDGE)
    names = ("webhook-id", "webhook-timestamp", "webhook-signature")
    asked = {"headers": {n: headers.get(n.split("-")[1], x.header(n)) for n in names},
             "body": body or x.body.decode(), "secret": secret}
    done = subprocess.run(["node", path], input=json.dumps(asked), capture_output=True, text=True, timeout=60, cwd=aimock.NPM)
    if done.returncode:
        raise RuntimeError(f"the judge did not run: {done.stderr}")
    return json.loads(done.stdout)


def expect_accepted(x, name):
    said = judge(x)
    tap.equal(said, {"standard": x.json, "openai": x.json}, name)


def test_deliveries_are_accepted(place):
    had = []
    with Server(lambda x: (had.append(x), x.answer(200, ""))) as r:
        place.configure(f"[webhook app]\nurl = {r.url}\nevents = generation.completed\nsecret_env = HOOK\n[model echo]\n")
        env = {"HOOK": SECRET}
        runner = place.start_runner(env=env)
        place.submit("snow: \u2603 \"quoted\"", "--model", "echo")
        wait_until(lambda: len(had) == 1, what="the delivery")
        place.run("webhook", "test", "app", env=env)
        expect_accepted(had[0], "a delivery is accepted by both")
        expect_accepted(had[1], "and a test")
        other = "whsec_" + base64.b64encode(b"another-secret-another-secret-12").decode()
        for what, changed in (("a changed body", {"body": had[0].body.decode() + " "}), ("another secret", {"secret": other}),
                              ("an old time", {"timestamp": "1700000000"})):
            said = judge(had[0], **changed)
            tap.ok(all(isinstance(v, str) for v in said.values()), f"{what} is refused by both", said)
        runner.stop()


def make_batch(web, text):
    return web.post("/v1/batches", {"input_file_id": upload(web, text), "endpoint": "/v1/chat/completions", "completion_window": "24h"}).json["id"]


def test_openai_events(place):
    """Each end of a batch, as a handler that was written for OpenAI's reads it."""
    with Server(lambda x: x.answer(200, "")) as r, Server(lambda x: x.wait_closed()) as model:
        place.configure(f"[webhook app]\nurl = {r.url}\nformat = openai\nsecret_env = HOOK\n[model m]\nbase_url = {model.url}\n[model echo]\n")
        with Web(place, env={"HOOK": SECRET}) as web:
            for n, status in enumerate(("completed", "failed", "cancelled", "expired")):
                line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions",
                        "body": {"model": "echo" if n < 2 else "m", "messages": [{"role": "user", "content": "hi"}]}}
                batch = make_batch(web, "no JSON\n" if status == "failed" else json.dumps(line) + "\n")
                if n >= 2:
                    wait_until(lambda: web.get(f"/v1/batches/{batch}").json["status"] == "in_progress", what="its start")
                if status == "cancelled":
                    web.post(f"/v1/batches/{batch}/cancel")
                elif status == "expired":
                    place.sql("UPDATE openai_batch SET expires_at=1000 WHERE id=?", batch)
                wait_until(lambda: r.count == n + 1, 20, f"the event of one that is {status}")
                x = r.requests[n]
                expect_accepted(x, f"batch.{status} is accepted by both")
                tap.equal((x.json["type"], x.json["object"], x.json["data"]), (f"batch.{status}", "event", {"id": batch}), "it is OpenAI's, with its id")


def upload(web, text):
    boundary = "frontier"
    parts = "".join(f'--{boundary}\r\nContent-Disposition: form-data; name="{n}"{more}\r\n\r\n{v}\r\n' for n, more, v in
                    (("purpose", "", "batch"), ("file", '; filename="a.jsonl"', text)))
    return web.request("POST", "/v1/files", (parts + f"--{boundary}--\r\n").encode(),
                       headers={"Content-Type": f"multipart/form-data; boundary={boundary}"}).json["id"]


if __name__ == "__main__":
    tap.main(globals())
