# SPDX-License-Identifier: MIT
"""A model server that is not ours (npm @copilotkit/aimock) on a free port of loopback, its journal of what it was
asked, and packages from npm, pinned and put into build/npm once."""
import fcntl
import json
import os
import re
import subprocess
import urllib.request

from genrun import ROOT, wait_until

NPM = os.path.join(ROOT, "build", "npm")
PACKAGE, VERSION = "@copilotkit/aimock", "1.43.0"


def installed_version(name):
    try:
        with open(os.path.join(NPM, "node_modules", name, "package.json"), encoding="utf-8") as f:
            return json.load(f)["version"]
    except (OSError, ValueError, KeyError):
        return None


def install(packages=()):
    """Puts aimock and the packages, (name here, package, version) each, into build/npm; the names are those of import.
    Tests that run side by side do so one after the other."""
    os.makedirs(NPM, exist_ok=True)
    with open(os.path.join(NPM, ".lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _install(packages)


def _install(packages):
    wanted = [(PACKAGE, PACKAGE, VERSION), *packages]
    missing = [f"{name}@npm:{package}@{version}" for name, package, version in wanted if installed_version(name) != version]
    if not missing:
        return
    done = subprocess.run(["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--save-exact", "--prefix", NPM, *missing],
                          cwd=NPM, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
    if done.returncode != 0:
        raise RuntimeError(f"npm install {' '.join(missing)} failed: {done.stdout}{done.stderr}")


class Server:
    """Use it in a `with`, or call stop(). `fixtures`: what it answers to what, as aimock documents it."""

    def __init__(self, place, fixtures):
        path = place.write("fixtures.json", json.dumps({"fixtures": fixtures}))
        self.log = place.path("aimock.log")
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                [os.path.join(NPM, "node_modules", ".bin", "llmock"), "-p", "0", "-f", path, "--journal-max", "0"],
                cwd=place.folder, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)
        try:
            self.port = wait_until(self.find_port, 30, "the start of the model server")
        except BaseException:
            self.stop()
            raise

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def find_port(self):
        with open(self.log, encoding="utf-8", errors="replace") as f:
            text = f.read()
        if self.process.poll() is not None:
            raise RuntimeError(f"the model server ended: {text}")
        found = re.search(r"listening on http://127\.0\.0\.1:(\d+)", text)
        return int(found.group(1)) if found else None

    def get(self, query):
        url = f"http://127.0.0.1:{self.port}/__aimock/journal{query}"
        return urllib.request.urlopen(url, timeout=90)

    def requests_so_far(self):
        with self.get("?limit=1") as answer:
            return int(answer.headers["X-Total-Count"])

    def journal(self):
        """The last message of each request, in the order in which they came, and the set of statuses answered."""
        with self.get("") as answer:
            # A client that was killed while it sent leaves a request without a body, which no model answered.
            entries = [entry for entry in json.load(answer) if entry["body"]]
        asked = [entry["body"]["messages"][-1]["content"] for entry in entries]
        return asked, {entry["response"]["status"] for entry in entries}

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(timeout=90)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
