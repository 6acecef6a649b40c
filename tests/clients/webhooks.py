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


def test_openai_events(place):
    had = []
    with Server(lambda x: (had.append(x), x.answer(200, ""))) as r:
        place.configure(f"[webhook app]\nurl = {r.url}\nformat = openai\nsecret_env = HOOK\n[model echo]\n")
        with Web(place, env={"HOOK": SECRET}) as web:
            line = {"custom_id": "a", "method": "POST", "url": "/v1/chat/completions",
                    "body": {"model": "echo", "messages": [{"role": "user", "content": "hi"}]}}
            file = upload(web, json.dumps(line) + "\n")
            batch = web.post("/v1/batches", {"input_file_id": file, "endpoint": "/v1/chat/completions",
                                             "completion_window": "24h"}).json["id"]
            wait_until(lambda: had, what="the end of the batch")
            expect_accepted(had[0], "an event of the batch is accepted by both")
            tap.equal((had[0].json["type"], had[0].json["object"], had[0].json["data"]), ("batch.completed", "event", {"id": batch}),
                      "it is OpenAI's, with its id")


def upload(web, text):
    boundary = "frontier"
    parts = "".join(f'--{boundary}\r\nContent-Disposition: form-data; name="{n}"{more}\r\n\r\n{v}\r\n' for n, more, v in
                    (("purpose", "", "batch"), ("file", '; filename="a.jsonl"', text)))
    return web.request("POST", "/v1/files", (parts + f"--{boundary}--\r\n").encode(),
                       headers={"Content-Type": f"multipart/form-data; boundary={boundary}"}).json["id"]


if __name__ == "__main__":
    tap.main(globals())
