#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Every event that is written is one that a webhook may be told of, and no other: the names in src/lib/event_name.c
are those of the sources and the schema."""
import glob
import os
import re
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(ROOT, "tests", "lib"))
import tap

LIST = "src/lib/event_name.c"
# Written from parts: 'generation.' || NEW.status, 'batch.' || NEW.status, "model.%s", "alert.%s%s"; or only sent.
MADE = {f"generation.{s}" for s in ("queued", "processing", "completed", "failed", "cancelled", "retrying", "parked", "recovered")}
MADE |= {f"batch.{s}" for s in ("queued", "processing", "completed", "failed", "cancelled", "paused", "resumed", "reopened")}
MADE |= {f"model.{s}" for s in ("parked", "cooling", "resumed")}
MADE |= {f"alert.{n}{o}" for n in ("stuck", "failure_rate", "reader_behind") for o in ("", "_over")}
MADE |= {"batch.expired"}


def listed_names():
    return set(re.findall(r'"([a-z_.]+)"', read(LIST).partition("names[] = {")[2].partition("};")[0]))


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as f:
        return f.read()


def test_names():
    listed = listed_names()
    nouns = {name.split(".")[0] for name in listed} | {"webhook"}
    paths = [p for room in ("queue", "run", "lib", "http", "sync") for p in glob.glob(os.path.join(ROOT, "src", room, "*.c"))]
    text = "".join(read(p) for p in paths if not p.endswith(LIST)) + "".join(read(p) for p in glob.glob(os.path.join(ROOT, "schema", "*.sql")))
    # As they stand in calls and statements; what ends in "*" is a pattern, and models.dev or key.pem are no events.
    written = set(re.findall(r"""["']((?:%s)\.[a-z_]+)["']""" % "|".join(sorted(nouns)), text))
    written = {name for name in written if not name.startswith("webhook.")}
    tap.equal(sorted(written - listed), [], f"what is written stands in {LIST}")
    tap.equal(sorted(listed - written - MADE), [], "and what stands there is written")
    tap.equal(sorted(MADE - listed), [], "those made of parts stand there, too")


def test_dashboard():
    listed = listed_names() - {"batch.expired"}
    kinds = dict(re.findall(r'^    ([a-z]+): \[(.*?)\],$', read("src/web/live.js"), re.M | re.S))
    followed = {f"{noun}.{verb}" for noun, verbs in kinds.items() for verb in re.findall(r'"(\w+)"', verbs)}
    tap.equal(sorted(followed), sorted(n for n in listed if n.split(".")[0] in kinds), "the dashboard follows those of its kinds")


if __name__ == "__main__":
    tap.main(globals())
