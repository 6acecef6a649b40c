#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The dashboard in a real browser, against a real runner: signing in by the one-time link and by a key, what is seen
at first, live changes, submitting, batches, failures and their retry, hostile texts, a phone, the keyboard, contrast, and
what a user's key may see. Pictures of it are left in build/screens.
"""
import base64
import contextlib
import json
import os
import re
import struct
import sys
import zlib

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests", "lib"))
import shell
import tap
from browser import Browser
from genrun import wait_until
from server import Server
from web import Web

SCREENS = os.path.join(ROOT, "build", "screens")
# `slow` waits for the file "go", `fragile` fails until there is "healed", `keyless` is parked.
CONFIG = """[genrun]
default_model = echo
[scheduler]
concurrency = 2
heartbeat_interval = 30s
max_attempts = 1
[model fragile]
command = sh -c "if [ -e healed ]; then cat; else echo the disk is full >&2; exit 3; fi"
[model slow]
command = sh -c "while ! [ -e go ]; do sleep 0.05; done; cat"
[model painter]
command = cat painting.json
output = json
[model keyless]
provider = openai
base_url = http://127.0.0.1:9/v1
api_key_env = NOT_SET_ANYWHERE
"""
HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script> \x1b[31mred \u202eright to left"
VIEWS = ["generations", "batches", "failures", "stuck", "models", "locks", "jobs", "webhooks", "new"]
browser = Browser()


def shot(page, name):
    page.screenshot(os.path.join(SCREENS, name + ".png"))


def pixels(page, name):
    """Both schemes of colours."""
    for scheme in ("light", "dark"):
        page.colours(scheme)
        shot(page, f"{name}-{scheme}")
    page.colours("light")


@contextlib.contextmanager
def dashboard(place, sign_in=True, secret=None, width=1280, height=860, phone=False):
    """A runner with HTTP, and a page of it, signed in by the one-time link; at the end the page must have had no trouble."""
    if not place.config:
        place.configure(CONFIG)
    with Web(place, secret=secret) as web:
        page = browser.page()
        page.viewport(width, height, phone)
        if sign_in:
            page.open(one_time_link(web))
            page.wait("document.querySelector('#summary li')", "the counts")
            page.wait("document.querySelector('#live')?.textContent === 'live'", "the event stream")
        yield web, page
        tap.equal(page.problems, [], "no console error, no exception, nothing against the Content-Security-Policy")
        tap.equal([u for u in page.requests if not u.startswith((web.url, "data:", "about:"))], [], "nothing was asked of another server")
        page.close()


def one_time_link(web):
    return wait_until(lambda: re.search(r"http://\S+/session/\S+", web.process.err), what="the one-time link").group(0)


def go(page, address):
    page.js(f"location.hash = {json.dumps(address)}")


def open_view(page, name):
    """Goes to a view and waits until it has what it asked for, which must be no error."""
    go(page, "#/" + name)
    page.wait(f"document.querySelector('main h2')?.textContent.toLowerCase() === {json.dumps(name)} && !document.querySelector('main').textContent.includes('Loading …')", name)
    tap.equal(page.js("document.querySelector('main .problem')?.textContent ?? null"), None, f"{name} shows no error")


def number_of(state):
    """JavaScript for the number beside a state at the top of the page."""
    return f"[...document.querySelectorAll('#summary li')].find((e) => e.textContent.includes({json.dumps(state)}))?.querySelector('strong').textContent"


def wait_count(page, state, number):
    page.wait(f"{number_of(state)} === {json.dumps(str(number))}", f"{number} {state}")


def wait_text(page, selector, text):
    page.wait(f"document.querySelector({json.dumps(selector)})?.textContent.includes({json.dumps(text)})", f"{text!r} in {selector}")


def wait_state(page, state):
    wait_text(page, "#side .badge", state)


def wait_rows(page, number):
    page.wait(f"document.querySelectorAll('main .list tbody tr').length === {number}", f"{number} rows")


def confirm(page, label, reason=None):
    if reason:
        page.type("Reason", reason)
    page.click("dialog button", label)
    page.wait("!document.querySelector('dialog')", "the end of the question")


def test_first_sight(place):
    place.configure(CONFIG)
    for i in range(3):
        place.run("submit", f"Name {i + 1} rivers of Europe", "--user", "ann")
    place.run("submit", "never", "--model", "keyless")
    with dashboard(place) as (web, page):
        wait_count(page, "completed", 3)
        tap.equal(page.js(number_of("queued")), "1", "what waits for the parked model is counted")
        wait_text(page, ".parked-model", "keyless")
        tap.matches(page.text(".parked-model"), r"keyless[\s\S]*NOT_SET_ANYWHERE[\s\S]*Resume", "a parked model stands at the top, with the reason")
        tap.matches(page.text("#signs"), r"running[\s\S]*healthy", "the runner and its health are seen")
        tap.matches(page.text("#summary"), r"throughput[\s\S]*oldest queued[\s\S]*cost today", "throughput, age and cost are seen")
        wait_rows(page, 4)
        pixels(page, "first")
        page.click(".parked-model button", "Resume")
        confirm(page, "Resume")
        wait_text(page, ".notices", "keyless goes on")
        for name in VIEWS:
            open_view(page, name)
            shot(page, name)
        open_view(page, "jobs")
        page.click(".act button", "Dry run")
        wait_text(page, ".notices", "cleanup_stuck_generation, dry run")
        open_view(page, "generations")
        page.type("User", "nobody")
        page.press("Enter")
        wait_text(page, "main .state", "Nothing fits the filter")
        page.click("main a", "Clear")
        wait_rows(page, 4)
        page.js(page.label("Model") + ".focus()")
        page.call("Input.insertText", {"text": "echo"})
        page.press("Tab")
        wait_rows(page, 3)
        tap.equal(page.js("document.activeElement.name"), "user", "a filter can be set and cleared, and the focus stays in it")


def test_submit_is_seen_live(place):
    with dashboard(place) as (web, page):
        page.click("#views a", "New")
        page.type("Prompt", "Say hello\nin Basque")
        page.type("Model", "echo")
        loaded = page.js("window.loaded = Math.random()")
        page.click("button", "Submit")
        wait_state(page, "completed")
        page.wait("document.querySelectorAll('#side .timeline li').length >= 2 && document.querySelectorAll('#side pre').length === 2", "prompt, output and events")
        tap.equal(page.js("[...document.querySelectorAll('#side pre')].map((e) => e.textContent)"), ["Say hello\nin Basque"] * 2, "the prompt and the output keep their lines")
        tap.equal(page.js("window.loaded"), loaded, "without a reload")
        place.run("submit", "from the command line")
        page.wait("[...document.querySelectorAll('.list tbody tr')].some((e) => e.textContent.includes('from the command line') && e.textContent.includes('completed'))",
                  "another process's generation comes up by itself")
        wait_count(page, "completed", 2)
        place.run("submit", "will be cancelled", "--model", "slow")
        page.click(".list .prompt", "will be cancelled")
        wait_state(page, "processing")
        page.click("#side button", "Cancel it")
        page.press("Escape")
        page.wait("!document.querySelector('dialog')", "the end of the question")
        tap.ok(page.js("!document.querySelector('#side').hidden"), "Escape in a question is a no, and closes nothing else")
        page.click("#side button", "Cancel it")
        confirm(page, "Cancel it", reason="changed my mind")
        wait_state(page, "cancelled")
        wait_text(page, "#side", "changed my mind")
        tap.equal(place.value("SELECT json_extract(parameters, '$.cancelledReason') FROM generations WHERE status='cancelled'"), "changed my mind", "the reason is stored")
        page.click("#side button", "Dismiss")
        confirm(page, "Dismiss")
        page.click("#side button", "Undo dismissal")
        page.wait(page.find("#side button", "Dismiss") + " && " + "!document.querySelector('#side').textContent.includes('Undo')", "the dismissal is undone")


def test_failure_and_retry(place):
    with dashboard(place) as (web, page):
        place.run("submit", "store it", "--model", "fragile", "--user", "bob")
        open_view(page, "failures")
        wait_text(page, ".list tbody", "the disk is full")
        wait_text(page, ".groups", "bob")
        tap.matches(page.text(".groups"), r"fragile[\s\S]*CommandError[\s\S]*bob", "failures are counted by model, type and user")
        pixels(page, "failures")
        page.click(".list .prompt", "store it")
        wait_state(page, "failed")
        tap.matches(page.text("#side .error"), r"CommandError[\s\S]*the disk is full[\s\S]*by hand", "its type, reason and what to do are seen")
        pixels(page, "detail")
        place.write("healed", "")
        page.click("#side button", "Retry")
        confirm(page, "Retry")
        wait_state(page, "completed")
        wait_rows(page, 0)
        page.press("Escape")
        page.wait("document.querySelector('#side').hidden", "Escape closes the detail")


def test_stuck_and_recover(place):
    with dashboard(place) as (web, page):
        id = place.run("submit", "hangs", "--model", "slow").id
        wait_count(page, "processing", 1)
        # As if its last sign of progress were old.
        place.sql(f"INSERT OR REPLACE INTO generation_live (seq, heartbeat_at, progress_at, progress_limit_ms, last_step)"
                  f" SELECT seq, {shell.NOW}, {shell.NOW} - 100000, 1000, 'provider:stream' FROM generation WHERE id=?", id)
        wait_count(page, "stuck", 1)
        page.click("#summary a", "stuck")
        wait_text(page, ".list tbody", "no progress for")
        shot(page, "stuck")
        page.click(".list .act button", "Recover")
        confirm(page, "Recover")
        wait_text(page, "main .state", "Nothing is stuck")
        place.write("go", "")
        wait_count(page, "completed", 1)
        tap.equal(place.value("SELECT starts FROM generations"), 2, "a stuck one is shown with the reason, and a person gets it going")


def test_outputs(place):
    picture = b"\x89PNG\r\n\x1a\n" + b"".join(struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in (
        (b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(b"".join(b"\0" + b"\x20\x60\xc0" * 8 for _ in range(8)))), (b"IEND", b"")))
    drawing = '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><script>parent.document.title="owned"</script></svg>'
    place.configure(CONFIG)
    place.write("painting.json", json.dumps({"outputs": [
        {"mime": "image/png", "base64": base64.b64encode(picture).decode()}, {"mime": "image/svg+xml", "text": drawing},
        {"mime": "text/html", "text": "<script>document.title='owned'</script>"}, {"mime": "application/octet-stream", "base64": "AAEC"},
        {"mime": "text/plain", "text": "x" * 1200000}]}))
    with dashboard(place) as (web, page):
        place.run("submit", "paint", "--model", "painter")
        page.click(".list .prompt", "paint")
        wait_state(page, "completed")
        page.wait("document.querySelectorAll('#side img').length === 2 && [...document.querySelectorAll('#side img')].every((e) => e.complete)", "the images")
        tap.equal(page.js("[...document.querySelectorAll('#side img')].map((e) => e.naturalWidth)"), [8, 9], "images are shown, drawings as images only")
        tap.contains(page.text("#side"), "<script>document.title='owned'</script>", "a page that a model made is text")
        tap.contains(page.text("#side"), "It is not text.", "bytes are told to be no text")
        tap.contains(page.text("#side"), "It is too long to be shown.", "what is too long is told")
        tap.equal(page.js("Promise.all([...document.querySelectorAll('#side .output-title a')].map((a) => fetch(a.href).then((r) => r.arrayBuffer()).then((b) => b.byteLength)))"),
                  [len(picture), len(drawing), 39, 3, 1200000], "all can be downloaded")
        tap.lacks(page.js("document.title"), "owned", "none of it ran")
        shot(page, "outputs")


def test_pages_and_floods(place):
    place.configure(CONFIG)
    place.run("batch", "submit", "-", input="".join(f"line {i}\n" for i in range(120)), timeout_s=60)
    with dashboard(place) as (web, page):
        wait_count(page, "completed", 120)
        wait_rows(page, 50)
        page.click(".more", "More")
        wait_rows(page, 100)
        place.run("submit", "newest")
        wait_text(page, ".list tbody tr", "newest")
        page.click(".more", "More")
        wait_rows(page, 121)
        tap.equal(page.js("new Set([...document.querySelectorAll('.list tbody tr')].map((e) => e.dataset.key)).size"), 121, "pages neither repeat nor skip while rows arrive")
        tap.ok(page.js("document.querySelector('.more').hidden"), "the last page ends the list")
        asked = len(page.requests)
        place.run("batch", "submit", "-", input="".join(f"flood {i}\n" for i in range(3000)), timeout_s=60)
        wait_count(page, "completed", "3,121")
        asked = len(page.requests) - asked
        tap.ok(asked < 600, f"six thousand events cause few looks ({asked} requests)")
        place.run("submit", "after the flood")
        wait_text(page, ".list tbody tr", "after the flood")


def batch_count(place_of_state):
    return f"document.querySelector('main .counts li:nth-child({place_of_state}) strong')?.textContent"


def test_batch(place):
    with dashboard(place) as (web, page):
        page.click("#views a", "New")
        page.choose_file("#file", place.write("forty.csv", "prompt,custom_id\n" + "".join(f"line {i},c-{i}\n" for i in range(40))))
        page.type("Name", "Forty lines")
        page.type("Model (for", "slow")
        page.click("button", "Upload")
        wait_text(page, "main h2", "Forty lines")
        wait_text(page, ".state-line", "processing")
        page.wait(batch_count(2) + " === '2'", "two run")
        page.click("main button", "Pause")
        confirm(page, "Pause", reason="lunch")
        wait_text(page, ".state-line", "paused")
        wait_text(page, "main .waits", "lunch")
        wait_rows(page, 40)
        pixels(page, "batch")
        place.write("go", "")
        page.wait(batch_count(3) + " === '2'", "what ran is finished")
        page.click("main button", "Process next")
        confirm(page, "Process next")
        page.wait(batch_count(3) + " === '3'", "exactly one more")
        os.unlink(place.path("go"))
        page.click("main button", "Resume")
        wait_text(page, ".state-line", "processing")
        page.click("main button", "Cancel batch")
        confirm(page, "Cancel batch")
        wait_text(page, ".state-line", "cancelled")
        page.wait(batch_count(5) + " === '37'", "what did not run is cancelled")
        page.click("summary", "Log")
        wait_text(page, ".log .timeline", "paused")
        results = page.js("fetch(document.querySelector('.downloads a').href).then((r) => r.text())")
        tap.equal(len(results.splitlines()), 3, "the results can be downloaded")
        sheet = page.js("fetch(document.querySelectorAll('.downloads a')[1].href).then((r) => r.text())")
        tap.matches(sheet.splitlines()[0], "custom_id", "as a sheet, too")
        page.click("main a", "Batches")
        page.wait("document.querySelector('.list .progress')", "the list with its bar")
        pixels(page, "batches")
        place.write("healed.jsonl", "".join(json.dumps({"prompt": f"p {i}", "model": "fragile" if i == 1 else "echo"}) + "\n" for i in range(3)))
        place.run("batch", "submit", place.path("healed.jsonl"), "--name", "mixed")
        page.click(".list .prompt", "mixed")
        wait_text(page, ".list tbody", "the disk is full")
        place.write("healed", "")
        page.click("main button", "Retry failed")
        confirm(page, "Retry failed")
        page.wait(batch_count(3) + " === '3'", "all succeeded in the end")


def test_large_batch(place):
    """An upload that takes a while tells how far it is, and the log of what came of it begins with its end."""
    place.configure(CONFIG)
    with dashboard(place) as (web, page):
        page.click("#views a", "New")
        # Each line with a word of its own, so that it is tens of megabytes for the network, and few items for the model.
        page.choose_file("#file", place.write("large.jsonl", "".join(json.dumps({"prompt": f"line {i}", "model": "echo", "padding": "x" * 50000}) + "\n" for i in range(600))))
        page.js("""(() => { window.told = []; new MutationObserver(() => { const p = document.querySelector('form progress');
                   if (p) window.told.push([p.value, p.max, p.parentElement.textContent.trim()]); }).observe(document.querySelector('main'),
                   {subtree: true, childList: true, attributes: true, characterData: true}); })()""")
        page.click("button", "Upload")
        wait_text(page, "main h2", "large.jsonl")
        told = page.js("window.told")
        values = [value for value, most, words in told if most > 1]
        tap.ok(values and values == sorted(values) and values[-1] == told[-1][1] > 30e6, "the upload tells how far it is, up to its end", told[:3] + told[-3:])
        tap.ok(any("MB of" in words or "MiB of" in words for _, _, words in told) or any("lines are read" in words for _, _, words in told), "in words, too", told[-3:])
        wait_text(page, ".state-line", "completed")
        page.click("summary", "Log")
        first = "document.querySelector('.log .timeline li')?.textContent"
        page.wait(f"{first}?.includes('completed') && document.querySelectorAll('.log .timeline li').length === 200", "the newest rows")
        tap.contains(page.js(first), "completed", "the log begins with the newest")
        tap.lacks(page.text(".log .timeline"), "created", "and not with the oldest")
        while page.js("!document.querySelector('.log button').hidden"):
            seen = page.js("document.querySelectorAll('.log .timeline li').length")
            page.click(".log button", "More")
            page.wait(f"document.querySelectorAll('.log .timeline li').length > {seen} || document.querySelector('.log button').hidden", "older rows")
        tap.contains(page.js("[...document.querySelectorAll('.log .timeline li')].at(-1).textContent"), "created", "page by page it goes back to its beginning")
        rows = place.value("SELECT count(*) FROM logs WHERE batch_job_id IS NOT NULL")
        tap.equal(page.js("document.querySelectorAll('.log .timeline li').length"), rows, "each row once")
        id = place.value("SELECT id FROM generations WHERE status='completed' LIMIT 1")
        place.run("dismiss", id)
        page.wait(f"{first}?.includes('dismissed')", "what is new stands before")
        tap.equal(page.js("document.querySelectorAll('.log .timeline li').length"), rows + 1, "and is added alone")


def test_bad_input(place):
    with dashboard(place) as (web, page):
        open_view(page, "new")
        page.choose_file("#file", place.write("bad.jsonl", '{"prompt": "fine"}\n{"prompt": \n'))
        page.click("button", "Upload")
        page.wait("document.querySelector('.problem')", "the refusal")
        tap.matches(page.text(".problem"), r"2.*\(request \S+\)$", "a bad line is refused in one line, with its number and the request's id")
        page.type("Prompt", "fine")
        page.type("Model", "nothing like it")
        page.click("button", "Submit")
        page.wait("document.querySelectorAll('.problem').length === 2", "the refusal")
        tap.matches(page.js("document.querySelector('.problem').textContent"), r"nothing like it.*\(request \S+\)$", "so is an unknown model")
        page.click("form summary", "More")
        page.type("Parameters", "[1]")
        page.click("button", "Submit")
        wait_text(page, ".problem", "not a JSON object")
        go(page, "#/generations?show=nothing-of-this-name")
        page.wait("document.querySelector('#side .problem')", "the refusal")
        tap.matches(page.text("#side .problem"), r"nothing-of-this-name.*\(request \S+\)$", "so is an unknown id")
        go(page, "#/%E0%A4%A")
        page.wait("document.querySelector('main h2')?.textContent === 'Generations'", "an address without sense shows the generations")
        tap.equal(place.value("SELECT count(*) FROM generations"), 0, "nothing was stored")
        page.forgive("status of 400", "status of 404")  # the browser logs each refused request


def test_hostile_text(place):
    with dashboard(place) as (web, page):
        place.run("submit", HOSTILE, "--user", "<b>eve</b>", "--session", "<i>s</i>")
        place.run("submit", "-", "--model", "fragile", input=HOSTILE)
        wait_rows(page, 2)
        text = page.text(".list")
        tap.contains(text, "<img src=x onerror=", "markup in a prompt is text")
        tap.contains(text, "\\x1b[31mred", "control characters are shown as escapes")
        tap.contains(text, "\\u202eright", "so are those that turn text round")
        tap.contains(text, "<b>eve</b>", "markup in a user's name is text")
        page.click(".list tr:last-child .prompt")
        wait_state(page, "completed")
        page.wait("document.querySelectorAll('#side pre').length === 2", "the detail")
        tap.equal(page.js("[...document.querySelectorAll('#side pre')].map((e) => e.textContent)"),
                  [HOSTILE.replace("\x1b", "\\x1b").replace("\u202e", "\\u202e")] * 2, "prompt and output are text in the detail, too")
        shot(page, "hostile")
        tap.equal(page.js("document.querySelectorAll('main img, main b, main i, main script, #side b, #side i, #side script, #side img').length"), 0, "none of it became an element")
        go(page, "#/generations?user=" + "%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E")
        wait_text(page, "main .state", "Nothing fits the filter")
        tap.lacks(page.js("document.title"), "owned", "none of it ran")
        page.forgive()
        tap.ok(page.js("(() => { try { document.createElement('p').innerHTML = '<b>x</b>'; return false; } catch { return true; } })()"),
               "the browser itself refuses markup that is made of text")
        tap.ok(page.problems, "and such a refusal would be seen here")
        page.forgive("TrustedHTML", "require-trusted-types-for")


def test_phone(place):
    place.configure(CONFIG)
    place.run("submit", "a" * 300 + " " + "long word " * 30)
    place.run("submit", "keyless", "--model", "keyless")
    place.run("batch", "submit", "-", "--name", "x" * 120, input="one\ntwo\n")
    with dashboard(place, width=360, height=740, phone=True) as (web, page):
        wide = "document.documentElement.scrollWidth"
        for name in VIEWS:
            open_view(page, name)
            tap.equal(page.js(wide), 360, f"{name} does not scroll sideways")
            shot(page, "phone-" + name)
        open_view(page, "generations")
        page.click(".list .prompt", "aaa")
        wait_state(page, "completed")
        tap.equal(page.js(wide), 360, "nor does a detail")
        tap.equal(page.js("[...document.querySelectorAll('button, select, input:not([type=checkbox]), #views a')].filter((e) => e.checkVisibility() && "
                          "e.getBoundingClientRect().height < 24).map((e) => e.outerHTML)"), [], "what is touched is large enough")
        shot(page, "phone-detail")
        open_view(page, "batches")
        page.click(".list .prompt", "xxx")
        wait_rows(page, 2)
        tap.equal(page.js(wide), 360, "nor does a batch")
        shot(page, "phone-batch")


NAMELESS = """[...document.querySelectorAll('a, button, input, select, textarea, summary, [role=progressbar], [role=region], img')].filter((e) => e.checkVisibility() &&
    !(e.textContent.trim() || e.getAttribute('aria-label') || e.labels?.length || e.hasAttribute('alt'))).map((e) => e.outerHTML.slice(0, 120))"""
# Texts whose contrast with what is behind them is under 4.5.
FAINT = """(() => {
    const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
    const rgba = (css) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = css; canvas.fillRect(0, 0, 1, 1); return [...canvas.getImageData(0, 0, 1, 1).data]; };
    const light = (c) => [0.2126, 0.7152, 0.0722].reduce((sum, w, i) => { const v = c[i] / 255; return sum + w * (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); }, 0);
    const behind = (e) => { for (; e; e = e.parentElement) { const c = rgba(getComputedStyle(e).backgroundColor); if (c[3] === 255) return c; } return [255, 255, 255, 255]; };
    const found = [];
    for (const e of document.querySelectorAll('body *')) {
        if (!e.checkVisibility() || e.disabled || ![...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim()))
            continue;
        const [a, b] = [light(rgba(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
        if ((a + 0.05) / (b + 0.05) < 4.5)
            found.push(e.className + ': ' + e.textContent.slice(0, 30) + ' ' + ((a + 0.05) / (b + 0.05)).toFixed(2));
    }
    return found;
})()"""


def test_accessible(place):
    place.configure(CONFIG)
    place.run("submit", "fine")
    place.run("submit", "fails", "--model", "fragile")
    place.run("submit", "waits", "--model", "keyless")
    with dashboard(place) as (web, page):
        wait_count(page, "failed", 1)
        for name in VIEWS + ["detail"]:
            open_view(page, name if name != "detail" else "generations")
            if name == "detail":
                page.click(".list .prompt", "fails")
                wait_state(page, "failed")
            tap.equal(page.js(NAMELESS), [], f"{name}: all controls have names")
            for scheme in ("light", "dark"):
                page.colours(scheme)
                tap.equal(page.js(FAINT), [], f"{name}: all texts can be read, {scheme}")
            page.colours("light")
        tap.equal(page.js("['header', 'nav', 'main', 'aside', 'h1'].map((e) => [...document.querySelectorAll(e)].filter((x) => !x.closest('article')).length)"), [1] * 5, "the page has its landmarks")
        page.press("Escape")
        page.wait("document.querySelector('#side').hidden", "the end of the detail")
        wait_rows(page, 3)
        page.js("document.getElementById('skip').focus()")
        page.press("Enter")
        tap.equal(page.js("document.activeElement.id"), "main", "one can skip to the content")
        for _ in range(12):
            page.press("Tab")
            if page.js("document.activeElement.className") == "prompt":
                break
        page.press("Enter")
        page.wait("document.querySelector('#side .badge')", "what Enter on a row opens")
        tap.equal(page.js("document.activeElement.className"), "detail", "the focus goes with it")
        page.press("Escape")
        page.wait("document.querySelector('#side').hidden", "Escape closes it")
        tap.equal(page.js("document.activeElement.className"), "prompt", "and goes back to the row")
        page.js("history.back()")
        wait_state(page, "queued")
        page.js("location.reload()")
        page.wait("document.querySelector('tr[data-open] .prompt')?.textContent === 'waits' && document.querySelector('#side .badge')", "the address keeps the place, also over a reload")


def test_a_user_sees_their_own(place):
    place.configure(CONFIG)
    key = place.run("key", "add", "--user", "ann").id
    place.run("submit", "of ann", "--user", "ann")
    place.run("submit", "of bob", "--user", "bob")
    with dashboard(place, sign_in=False) as (web, page):
        page.open(web.url + "/")
        page.type("Key", "no such key")
        page.press("Enter")
        page.wait("document.querySelector('.problem')", "the refusal")
        shot(page, "login")
        page.type("Key", key)
        page.press("Enter")
        wait_text(page, ".list tbody", "of ann")
        tap.lacks(page.text(), "of bob", "nothing of others")
        tap.equal(page.js("[...document.querySelectorAll('#views a')].map((e) => e.textContent)"), ["Generations", "Batches", "Failures", "Stuck", "New"], "what a user may not do is hidden")
        for name in ("batches", "failures", "stuck", "new", "generations"):
            open_view(page, name)
        wait_text(page, ".list tbody", "of ann")
        shot(page, "user")
        page.wait("document.querySelector('#live')?.textContent === 'live'", "a user has a stream")
        place.run("submit", "another of bob", "--user", "bob")
        place.run("submit", "another of ann", "--user", "ann")
        wait_text(page, ".list tbody", "another of ann")
        tap.lacks(page.text(), "of bob", "her own comes live, and still nothing of others")
        tap.lacks(page.js("document.documentElement.outerHTML + document.cookie + JSON.stringify(localStorage) + JSON.stringify(sessionStorage)"), key,
                  "the key is neither in the page nor where scripts can read it")
        page.click("button", "Sign out")
        page.wait("document.querySelector('.login')", "signed out")
        tap.equal(page.js("fetch('/api/generations').then((r) => r.status)"), 401, "the session has ended")
        page.forgive("status of 401")  # the browser logs each refused request


def test_webhooks(place):
    """How endpoints fare, and what an admin does about it."""
    def cells():
        return ("[...document.querySelectorAll('main .list tbody tr')].map((r) => [...r.children].slice(0, 6).map((c) => "
                "c.firstChild?.textContent ?? '').join(' ') + ' ' + [...r.querySelectorAll('button')].map((b) => b.textContent).join(' ')).join('; ')")

    def wait_cells(pattern, what):
        page.wait(f"new RegExp({json.dumps(pattern)}).test({cells()})", f"{what}; there is {page.js(cells())}")
        tap.ok(True, what)

    answers = [410]
    with Server(lambda x: x.answer(answers.pop(0) if answers else 200, "")) as app, Server(listening=False) as lost:
        place.configure(f"[webhook app]\nurl = {app.url}\nevents = generation.completed\n[webhook lost]\nurl = {lost.url}\nevents = generation.completed\n" + CONFIG)
        with dashboard(place) as (web, page):
            open_view(page, "webhooks")
            wait_cells("ok app standard 0 0 0 Test; .*ok lost standard 0 0 0 Test$", "both, before the first event")
            place.wait_status(place.submit("x"), "completed")
            wait_cells("disabled app standard 0 1 0 Enable Redeliver Test; .*away lost standard 1.* 0 0 Test$", "one wants no more, the other is away")
            tap.contains(page.text("main"), "410", "and why")
            pixels(page, "webhooks")
            page.click("main button", "Enable")
            confirm(page, "Enable")
            wait_cells("ok app standard 0 1 0 Redeliver Test;", "enabled")
            page.click("main button", "Redeliver")
            confirm(page, "Redeliver")
            wait_cells("ok app standard 0 0 0 Test;", "what failed was sent again, and taken")
            page.click("main button", "Test")
            wait_text(page, "#notices", "app took it: HTTP 200")
            tap.equal([x.json["type"] for x in app.requests], ["generation.completed", "generation.completed", "webhook.test"], "and a test")
            page.click("[aria-label='Test lost']")
            wait_text(page, "#notices .bad", "did not take the test")
            tap.equal(web.process.err.count("lost cannot be reached"), 1, "one that is not taken is told")
            page.problems.clear()  # a browser tells of each answer that is an error


def test_without_a_stream(place):
    with dashboard(place, sign_in=False) as (web, page):
        page.call("Network.setBlockedURLs", {"urls": ["*/api/events*"]})
        page.open(one_time_link(web))
        wait_text(page, "#live", "polling")
        place.run("submit", "seen all the same")
        page.wait("/seen all the same/.test(document.querySelector('.list tbody')?.textContent) && /completed/.test(document.querySelector('.list tbody').textContent)", "the row")
        tap.ok(True, "without the event stream the page looks every few seconds")
        page.forgive("/api/events")


def test_the_server_comes_back(place):
    with dashboard(place) as (web, page):
        place.run("submit", "before")
        wait_count(page, "completed", 1)
        web.process.stop()
        wait_text(page, "#signs", "not reachable")
        tap.ok(True, "a server that is gone is told")
        page.forgive("")


try:
    tap.main(globals())
finally:
    browser.close()
