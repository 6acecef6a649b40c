#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""contrib/kubernetes/cleanup-cronjob.yaml, read: every key is one that Kubernetes knows at its place, and it is shut in;
and its command, run here against a server: it takes back what is stuck, fails when it is refused, and shows the secret nowhere."""
import json
import os
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import plain_yaml
import tap
from genrun import ROOT
from web import SECRET, Web

# What may stand where, of the API's reference; a name is the object below, None: any value.
META = {"name": None, "labels": {"app.kubernetes.io/name": None, "app.kubernetes.io/component": None}}
CONTAINER = {"name": None, "image": None, "command": None, "resources": {"requests": {"cpu": None, "memory": None}, "limits": {"memory": None}},
             "env": {"name": None, "value": None, "valueFrom": {"secretKeyRef": {"name": None, "key": None}}},
             "securityContext": {"allowPrivilegeEscalation": None, "readOnlyRootFilesystem": None, "capabilities": {"drop": None}}}
POD = {"restartPolicy": None, "automountServiceAccountToken": None, "enableServiceLinks": None, "containers": CONTAINER,
       "securityContext": {"runAsNonRoot": None, "runAsUser": None, "runAsGroup": None, "seccompProfile": {"type": None}}}
JOB = {"backoffLimit": None, "activeDeadlineSeconds": None, "ttlSecondsAfterFinished": None, "template": {"metadata": META, "spec": POD}}
CRONJOB = {"apiVersion": None, "kind": None, "metadata": META, "spec": {
    "schedule": None, "concurrencyPolicy": None, "startingDeadlineSeconds": None, "successfulJobsHistoryLimit": None,
    "failedJobsHistoryLimit": None, "jobTemplate": {"spec": JOB}}}

with open(os.path.join(ROOT, "contrib", "kubernetes", "cleanup-cronjob.yaml"), encoding="utf-8") as manifest:
    MANIFEST = plain_yaml.read(manifest.read())
SPEC = MANIFEST["spec"]
TEMPLATE = SPEC["jobTemplate"]["spec"]["template"]["spec"]
ONE = TEMPLATE["containers"][0]


def unknown(value, known, where=""):
    """Paths of keys that are not known there."""
    if isinstance(value, list):
        return [path for one in value for path in unknown(one, known, where)]
    if known is None or not isinstance(value, dict):
        return []
    return [path for key, inner in value.items()
            for path in (unknown(inner, known[key], f"{where}.{key}") if key in known else [f"{where}.{key}"])]


def test_reader():
    for text in ("a: 1\na: 2", "a:\n\tb: 1", "a:\n  b: 1\n c: 2", "- a\nb: 1", "a: 'x'", "a: b: c", "a: b # c", "a: &x 1"):
        try:
            plain_yaml.read(text)
            tap.ok(False, f"refused: {text!r}")
        except ValueError:
            tap.ok(True, f"refused: {text!r}")
    tap.equal(plain_yaml.read('a:\n  - b: "x"\n    c: 1\n  - |\n    d\n      e\n  # f\nf: true\ng: [1, 2]\n'),
              {"a": [{"b": "x", "c": 1}, "d\n  e\n"], "f": True, "g": [1, 2]}, "read")


def test_manifest():
    tap.equal((MANIFEST["apiVersion"], MANIFEST["kind"]), ("batch/v1", "CronJob"), "it is a CronJob")
    tap.equal(unknown(MANIFEST, CRONJOB), [], "each key is known where it stands")
    tap.equal((SPEC["schedule"], SPEC["concurrencyPolicy"]), ("*/30 * * * *", "Forbid"), "every half hour, one at a time")
    job = SPEC["jobTemplate"]["spec"]
    tap.ok(0 < job["backoffLimit"] <= 3 and 0 < job["activeDeadlineSeconds"] < 1800, "it gives up before the next one begins")
    tap.equal((TEMPLATE["restartPolicy"], TEMPLATE["automountServiceAccountToken"], TEMPLATE["securityContext"]["runAsNonRoot"],
               TEMPLATE["securityContext"]["seccompProfile"]), ("Never", False, True, {"type": "RuntimeDefault"}), "the pod is shut in")
    tap.equal(ONE["securityContext"], {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}},
              "and its container")
    tap.ok(len(TEMPLATE["containers"]) == 1 and ":" in ONE["image"] and not ONE["image"].endswith(":latest"), "one image, pinned")
    env = {e["name"]: e for e in ONE["env"]}
    tap.equal(env["INTERNAL_API_SECRET"], {"name": "INTERNAL_API_SECRET", "valueFrom": {
        "secretKeyRef": {"name": "genrun", "key": "INTERNAL_API_SECRET"}}}, "the secret comes from a Secret")
    tap.equal(env["GENRUN_URL"]["value"], "http://genrun:8787", "genrun is a service of the cluster")


class Job:
    """Runs the command of the manifest, with a curl in its PATH that writes down its arguments."""

    def __init__(self, place):
        self.place = place
        os.makedirs(place.path("bin"), exist_ok=True)
        path = place.write("bin/curl", '#!/bin/sh\nprintf "%s\\n" "$@" >>arguments\nPATH=${PATH#*:} exec curl "$@"\n')
        os.chmod(path, 0o755)

    def run(self, url, secret):
        env = self.place.environment({"PATH": f"{self.place.path('bin')}:{self.place.env['PATH']}", "GENRUN_URL": url,
                                      "INTERNAL_API_SECRET": secret})
        # Nothing that would try again for half a minute.
        command = [word.replace("--retry 3 --retry-delay 5", "--retry 0") for word in ONE["command"]]
        return subprocess.run(command, cwd=self.place.folder, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=60, check=False)


def test_command(place):
    job = Job(place)
    with Web(place) as web:
        place.sql("INSERT INTO locks VALUES ('account:ann:1', 'ann', 'gone', 1, 2, 'x')")
        good = job.run(web.url, SECRET)
        tap.ok(good.returncode == 0 and json.loads(good.stdout)["found"] == 1, "it does the job, and prints what it found", repr(good))
        tap.equal(place.value("SELECT count(*) FROM locks"), 0, "a lock that nobody renews is gone")
        bad = job.run(web.url, "a-wrong-secret")
        tap.ok(bad.returncode == 22 and "401" in bad.stderr and '"error"' in bad.stdout, "a wrong secret fails it, and says why", repr(bad))
        tap.lacks(bad.stdout + bad.stderr, "a-wrong-secret", "without the secret")
        url = web.url
    gone = job.run(url, SECRET)
    tap.ok(gone.returncode not in (0, 22) and gone.stderr, "a server that is not there fails it", repr(gone))
    tap.lacks(place.read("arguments"), SECRET, "the secret stands in no list of processes")
    tap.contains(place.read("arguments"), "/api/admin/jobs/cleanup_stuck_generation", "the arguments were seen")


tap.main(globals())
