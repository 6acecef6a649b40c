# SPDX-License-Identifier: MIT
"""A browser without a window: the distribution's Chromium, driven over its own pipe (Chrome DevTools Protocol: JSON
that ends in NUL on descriptors 3 and 4), so nothing else has to be installed and no port is open.

    with Browser() as browser:
        page = browser.page()
        page.open(url)
        page.wait("document.querySelector('h1')")
        page.problems      # console errors, exceptions, refusals of the Content-Security-Policy
"""
import base64
import json
import os
import select
import shutil
import subprocess
import tempfile
import time

DEADLINE_S = 90.0


class BrowserError(Exception):
    """The browser refused a command, or a script threw."""


class Page:
    """One tab with cookies of its own."""

    def __init__(self, browser, context):
        self.browser = browser
        self.target = browser.call("Target.createTarget", {"url": "about:blank", "browserContextId": context})["targetId"]
        self.session = browser.call("Target.attachToTarget", {"targetId": self.target, "flatten": True})["sessionId"]
        browser.pages[self.session] = self
        self.problems = []
        self.requests = []
        for domain in ("Page", "Runtime", "Log", "Network", "Audits"):
            self.call(domain + ".enable")

    def call(self, method, params=None):
        return self.browser.call(method, params, self.session)

    def close(self):
        self.browser.call("Target.closeTarget", {"targetId": self.target})
        del self.browser.pages[self.session]

    def forgive(self, *parts):
        """Takes the problems that name one of these parts away: they were meant."""
        self.js("new Promise((done) => setTimeout(done))")  # what is under way is heard first
        self.problems = [p for p in self.problems if not any(part in p for part in parts)]

    def on_event(self, method, params):
        if method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning", "assert"):
            self.problems.append("console: " + " ".join(str(a.get("value", a.get("description"))) for a in params["args"]))
        elif method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.problems.append("exception: " + details.get("exception", {}).get("description", details["text"]))
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            entry = params["entry"]
            self.problems.append(f"log: {entry['source']}: {entry['text']} {entry.get('url', '')}")
        elif method == "Audits.issueAdded" and params["issue"]["code"] == "ContentSecurityPolicyIssue":
            self.problems.append("policy: " + json.dumps(params["issue"]["details"]))
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])

    def open(self, url):
        self.call("Page.navigate", {"url": url})

    def js(self, expression):
        """The value of an expression (a promise is waited for)."""
        answer = self.call("Runtime.evaluate", {"expression": expression, "returnByValue": True, "awaitPromise": True, "userGesture": True})
        if "exceptionDetails" in answer:
            raise BrowserError(answer["exceptionDetails"].get("exception", {}).get("description", "?") + "\nin: " + expression)
        return answer["result"].get("value")

    def wait(self, expression, what=None, deadline_s=DEADLINE_S):
        """Waits until the expression is true in the page, looking at each frame; returns its value."""
        end = time.monotonic() + deadline_s
        while True:
            try:
                value = self.js(f"Promise.race([new Promise((done) => {{ const look = () => {{ const v = ({expression}); if (v) done(v === true ? true : String(v)); "
                                "else setTimeout(look, 15); }; look(); }), new Promise((done) => setTimeout(() => done(null), 1000))])")
            except BrowserError as e:  # the page was just replaced
                if time.monotonic() > end:
                    raise
                if "context" not in str(e) and "navigated" not in str(e):
                    raise
                value = None
            if value:
                return value
            if time.monotonic() > end:
                raise TimeoutError(f"{what or expression} did not come true in the page, which shows:\n{self.text()}")

    def text(self, selector="body"):
        return self.js(f"document.querySelector({json.dumps(selector)})?.innerText ?? null")

    def find(self, selector, text=None):
        """JavaScript for the first visible element of a selector whose text has `text`."""
        return (f"[...document.querySelectorAll({json.dumps(selector)})].find((e) => e.checkVisibility()"
                + (f" && e.textContent.includes({json.dumps(text)})" if text else "") + ")")

    def click(self, selector, text=None):
        """A click with the mouse in the middle of an element, once it can be had."""
        element = self.find(selector, text)
        self.wait(f"{element} && !{element}.disabled", f"{selector} {text or ''}")
        x, y = self.js(f"(() => {{ const e = {element}; e.scrollIntoView({{block: 'center'}}); const r = e.getBoundingClientRect(); "
                       "return [r.x + r.width / 2, r.y + r.height / 2]; })()")
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", {"type": kind, "x": x, "y": y, "button": "left", "clickCount": 1})

    def label(self, text):
        """JavaScript for the control of a label."""
        return f"[...document.querySelectorAll('label')].find((e) => e.checkVisibility() && e.textContent.trim().startsWith({json.dumps(text)}))?.control"

    def type(self, label, text):
        """Types into the control of a label, in place of what is there."""
        self.wait(self.label(label) + " && true", f"the label {label}")
        self.js(f"(() => {{ const e = {self.label(label)}; e.focus(); e.select?.(); }})()")
        self.call("Input.insertText", {"text": text})

    def press(self, key, code=None):
        """One key by its name, such as Tab, Enter, Escape."""
        codes = {"Tab": 9, "Enter": 13, "Escape": 27, " ": 32}
        params = {"key": key, "code": code or key, "windowsVirtualKeyCode": codes[key]}
        if key == "Enter":
            params["text"] = "\r"
        self.call("Input.dispatchKeyEvent", {"type": "keyDown", **params})
        self.call("Input.dispatchKeyEvent", {"type": "keyUp", **params})

    def choose_file(self, selector, path):
        """Picks a file for an input, once it is there."""
        self.wait(self.find(selector) + " && true", selector)
        element = self.call("Runtime.evaluate", {"expression": self.find(selector)})["result"]
        self.call("DOM.setFileInputFiles", {"files": [path], "objectId": element["objectId"]})

    def viewport(self, width, height, phone=False):
        self.call("Emulation.setDeviceMetricsOverride", {"width": width, "height": height, "deviceScaleFactor": 2 if phone else 1, "mobile": phone})

    def colours(self, scheme):
        self.call("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})

    def screenshot(self, path):
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as f:
            f.write(base64.b64decode(self.call("Page.captureScreenshot", {"format": "png"})["data"]))


class Browser:
    """Chromium with a profile of its own, ended and removed with the `with`."""

    def __init__(self):
        program = shutil.which("chromium") or shutil.which("google-chrome")
        if program is None:
            raise BrowserError("no chromium: sh contrib/deps.sh browser")
        self.profile = tempfile.mkdtemp(prefix="genrun-browser-")
        commands, to_browser = os.pipe()
        from_browser, answers = os.pipe()
        args = [program, "--headless=new", "--remote-debugging-pipe", "--user-data-dir=" + self.profile, "--no-first-run", "--no-sandbox",
                "--disable-gpu", "--disable-dev-shm-usage", "--disable-background-networking", "--disable-component-update", "--disable-extensions",
                "--disable-sync", "--no-default-browser-check", "--hide-scrollbars"]

        def descriptors():
            # Above 4 first, so that neither overwrites the other.
            high = (os.dup(commands), os.dup(answers))
            high = tuple(os.dup2(fd, 10 + i) for i, fd in enumerate(high))
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        self.errors = open(os.path.join(self.profile, "stderr"), "w+b")
        self.process = subprocess.Popen(args, preexec_fn=descriptors, close_fds=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                        stderr=self.errors, env={**os.environ, "HOME": self.profile})
        os.close(commands)
        os.close(answers)
        self.write_fd, self.read_fd = to_browser, from_browser
        self.number, self.buffer, self.pages = 0, b"", {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        try:
            self.call("Browser.close")
            self.process.wait(timeout=90)
        except Exception:  # pylint: disable=broad-except
            self.process.kill()
            self.process.wait()
        os.close(self.write_fd)
        os.close(self.read_fd)
        self.errors.close()
        shutil.rmtree(self.profile, ignore_errors=True)

    def page(self):
        return Page(self, self.call("Target.createBrowserContext", {})["browserContextId"])

    def message(self, timeout_s):
        while b"\0" not in self.buffer:
            if not select.select([self.read_fd], [], [], timeout_s)[0]:
                raise TimeoutError("the browser does not answer")
            part = os.read(self.read_fd, 1 << 20)
            if not part:
                self.errors.seek(0)
                raise BrowserError("the browser ended: " + self.errors.read().decode(errors="replace")[-2000:])
            self.buffer += part
        one, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(one)

    def call(self, method, params=None, session=None):
        self.number += 1
        number = self.number
        command = {"id": number, "method": method, "params": params or {}}
        if session:
            command["sessionId"] = session
        data = json.dumps(command).encode() + b"\0"
        while data:
            data = data[os.write(self.write_fd, data):]
        while True:
            message = self.message(60.0)
            if message.get("id") == number:
                if "error" in message:
                    raise BrowserError(f"{method}: {message['error']['message']}")
                return message["result"]
            page = self.pages.get(message.get("sessionId"))
            if page and "method" in message:
                page.on_event(message["method"], message["params"])
