#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The dashboard's files as they are served: all that src/web has, byte for byte, to anyone, with types, tags and a policy.
What they do is tried by tests/browser/dashboard.py.
"""
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests", "lib"))
import tap
from web import Web

WEB = os.path.join(ROOT, "src", "web")
TYPES = {".html": "text/html; charset=utf-8", ".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml"}


def content(name):
    with open(os.path.join(WEB, name), "rb") as f:
        return f.read()


def test_files(place):
    with Web(place) as web:
        page = web.get("/", key=None)
        tap.equal((page.status, page.body), (200, content("index.html")), "the page is there for anyone")
        for name in sorted(os.listdir(WEB)):
            r = web.get("/assets/" + name, key=None)
            tap.equal((r.status, r.body, r.headers["content-type"]), (200, content(name), TYPES[os.path.splitext(name)[1]]), f"{name} is served as it is")
        for name in re.findall(r'(?:href|src)="([^"]+)"', page.body.decode()):
            tap.equal(web.get("/" + name, key=None).status, 200, f"{name}, which the page names, is there")
        tags = {web.get("/assets/" + name, key=None).headers["etag"] for name in os.listdir(WEB)}
        tap.equal(len(tags), len(os.listdir(WEB)), "each file has a tag of its own")
        tap.equal(page.headers["cache-control"], "no-cache", "a browser asks whether it is still the same")
        again = web.get("/", key=None, headers={"If-None-Match": page.headers["etag"]})
        tap.equal((again.status, again.body), (304, b""), "and is told so without the bytes")
        tap.equal(web.get("/", key=None, headers={"If-None-Match": '"other"'}).status, 200, "another tag gets the page")
        head = web.request("HEAD", "/", key=None)
        tap.equal((head.status, head.body, head.headers["content-length"]), (200, b"", str(len(page.body))), "HEAD tells the length")
        policy = page.headers["content-security-policy"]
        tap.contains(policy, "default-src 'self'", "only what comes from here runs")
        tap.ok("unsafe" not in policy and "frame-ancestors 'none'" in policy and "require-trusted-types-for 'script'" in policy,
               "nothing inline, no frames, no markup made of text", policy)
        tap.equal(page.headers["x-content-type-options"], "nosniff", "types are as said")


def test_what_is_not_there(place):
    with Web(place) as web:
        for path in ("/assets/none.js", "/assets/", "/assets/../routes.c", "/assets/%2e%2e%2froutes.c", "/assets/%2e%2e/routes.c", "/assets/app.js/", "/index.html"):
            r = web.get(path, key=None)
            tap.equal(r.status, 404, f"{path} is not there")
            tap.ok(r.error["message"], "as the error object says")
        tap.equal(web.post("/", key=None).status, 405, "the page takes no POST")


def test_nothing_inline():
    page = content("index.html").decode()
    tap.equal(re.findall(r"<script(?![^>]*\ssrc=)|<style|\sstyle=|\son\w+=|https?://", page), [], "the page has no inline script or style, and names no other server")
    for name in sorted(os.listdir(WEB)):
        text = content(name).decode()
        tap.ok(text.count("\n") <= 600, f"{name} is not too long")
        found = re.findall(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|createContextualFragment|DOMParser", text)
        tap.equal(found, [], f"{name} makes no markup of text")
        # (An SVG names its own format.)
        tap.equal(re.findall(r"https?://(?!www\.w3\.org/2000/svg)[^\s\"']*", text), [], f"{name} names no other server")


tap.main(globals())
