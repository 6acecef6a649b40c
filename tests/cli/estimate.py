#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""batch submit --dry-run: what would be, and nothing stored."""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap

PRICED = """[model small]
provider = openai
base_url = http://127.0.0.1:9/v1
price_input = 2
price_output = 10
"""


def estimate(place, *args, **kw):
    return place.run("batch", "submit", "--dry-run", "--json", *args, **kw)


def test_counts(place):
    place.configure(PRICED)
    lines = [{"prompt": "x" * 400, "model": "small", "max_tokens": 50}] * 3 + [{"prompt": "y" * 4, "max_tokens": 10}]
    place.write("a.jsonl", "".join(json.dumps(o) + "\n" for o in lines))
    r = estimate(place, "a.jsonl", "--model", "echo")
    tap.equal((r.code, r.err), (0, ""), "exits with 0, and says nothing else with --json")
    o = r.json
    tap.equal((o["lines"], o["format"]), (4, "jsonl"), "lines and format")
    tap.equal(o["models"], [{"name": "small", "items": 3}, {"name": "echo", "items": 1}], "items of each model")
    tap.equal((o["inputTokens"], o["outputTokens"]), (301, 160), "tokens")
    tap.ok(abs(o["estimatedCost"] - (300 * 2 + 150 * 10) / 1e6) < 1e-12, "cost by the prices of each model", o)
    tap.ok(not os.path.exists(place.database), "no database is made")
    r = place.run("batch", "submit", "--dry-run", "a.jsonl", "--model", "echo")
    tap.matches(r.out, r"(?m)^lines +4$", "for people: the lines")
    tap.matches(r.out, r"(?m)^cost +about \$0\.0021$", "and the cost")
    tap.contains(r.err, "nothing was stored", "and that nothing was stored")


def test_unknown_parts(place):
    o = estimate(place, "-", "--model", "echo", "--format", "txt", input="one\ntwo\n").json
    tap.equal((o["lines"], o["outputTokens"], o["estimatedCost"]), (2, None, None), "what is not known is null")
    r = place.run("batch", "submit", "--dry-run", "-", "--model", "echo", "--format", "txt", input="one\n")
    tap.ok("out unknown" in r.out and "no prices" in r.out, "and said", r)


def test_refusals(place):
    place.write("bad.jsonl", '{"prompt":"a"}\n{"prompt":\n')
    tap.error_line(estimate(place, "bad.jsonl", "--model", "echo"), 2, r"bad\.jsonl:2: ", "a broken line")
    place.write("two.jsonl", '{"prompt":"a","custom_id":"x"}\n{"prompt":"b","custom_id":"x"}\n')
    tap.error_line(estimate(place, "two.jsonl", "--model", "echo"), 2, r"two\.jsonl:2: .*custom_id", "a duplicate custom_id")
    tap.error_line(estimate(place, "two.jsonl", "--model", "ecko"), 2, "echo", "an unknown model")
    place.write("m.jsonl", '{"prompt":"a","model":"ecko"}\n')
    tap.error_line(estimate(place, "m.jsonl"), 2, r"m\.jsonl:1: .*echo", "an unknown model of a line")
    tap.ok(not os.path.exists(place.database), "no database is made")


def test_many_models(place):
    place.configure("[model *]\nprovider = openai\nbase_url = http://127.0.0.1:9/v1\n")
    lines = "".join(json.dumps({"prompt": "a", "model": f"m{i}"}) + "\n" for i in range(150))
    o = estimate(place, "-", "--format", "jsonl", input=lines).json
    tap.equal((len(o["models"]), o["models"][-1]), (101, {"name": None, "items": 50}), "beyond a hundred models they are counted together")


def test_stores_nothing_beside_others(place):
    place.submit("x", "--model", "echo")
    estimate(place, "-", "--model", "echo", "--format", "txt", input="one\n" * 1000)
    tap.equal(place.value("SELECT count(*) FROM generations"), 1, "the queue is as it was")


tap.main(globals())
