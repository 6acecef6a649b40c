#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""template: kept, listed, shown, removed; filled at submit, matched by type and tier, refused with the line."""
import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import tap

NIL = "00000000-0000-0000-0000-000000000000"


def add(place, name, body, *options):
    place.write(f"{name}.txt", body)
    return place.run("template", "add", name, "--file", f"{name}.txt", *options)


def submit(place, *items, options=()):
    place.write("items.jsonl", "".join(json.dumps(item) + "\n" for item in items))
    return place.run("batch", "submit", "items.jsonl", "--model", "echo", *options)


def prompts(place, batch):
    return [row["prompt"] for row in place.run("list", "--batch", batch, "--json").jsonl]


def test_kept(place):
    r = add(place, "explain", "Explain {{topic}} to {{who}}.\n", "--type", "explain", "--tier", "gold")
    tap.ok(r.code == 0 and len(r.out) == 37, "add prints the id", r)
    tap.equal(place.run("template", "show", "explain").out, "Explain {{topic}} to {{who}}.\n", "show prints the text, byte for byte")
    row = place.run("template", "list", "--json").json
    tap.equal((row["id"], row["name"], row["type"], row["tier"], row["bytes"]), (r.id, "explain", "explain", "gold", 30), "list --json")
    tap.contains(place.run("template", "list").out, "explain", "list as a table")
    tap.equal(place.run("template", "show", r.id, "--json").json["body"], "Explain {{topic}} to {{who}}.\n", "by its id, too")
    tap.equal(place.run("template", "remove", "explain").out, "explain removed\n", "remove")
    tap.equal(place.run("template", "list", "--json").out, "", "and it is gone")


def test_filled(place):
    add(place, "explain", "Explain {{topic}} to {{who}}.")
    r = place.run("submit", "--template", "explain", "--param", "topic=x", "--param", "who=y", "--model", "echo")
    tap.error_line(r, 2, "topic is missing or empty: template explain needs it", "of a single one columns are columns, parameters parameters")
    add(place, "greet", "Say {{word}} to {{prompt}}.")
    r = place.run("submit", "you", "--template", "greet", "--param", "word=hello", "--param", "temperature=0.5", "--model", "echo", "--wait")
    tap.equal(r.out, "Say hello to you.\n", "submit --template fills and runs it")
    shown = json.loads(place.run("list", "--json").lines[0])
    tap.equal((shown["prompt"], shown["parameters"]), ("Say hello to you.", {"temperature": 0.5}), "what was used is no parameter any more")
    add(place, "body", '{"messages":[{"role":"user","content":"On {{topic}}"}],"n":{{n}}}')
    r = submit(place, {"topic": 'a "b"', "template_id": "body", "n": 2})
    tap.equal(place.run("list", "--batch", r.id, "--json").json["parameters"], {"messages": [{"role": "user", "content": 'On a "b"'}], "n": 2},
              "a JSON template is the whole request body, and safe")
    r = submit(place, {"topic": "t1", "who": "w1"}, {"topic": "t2", "who": "w2"}, options=("--template", "explain"))
    tap.equal(prompts(place, r.id), ["Explain t1 to w1.", "Explain t2 to w2."], "batch submit --template is for items that name none")
    place.write("names.txt", "Ann\nBo\n")
    r = place.run("batch", "submit", "names.txt", "--model", "echo", "--template", "greet", "--param", "word=hi")
    tap.equal(prompts(place, r.id), ["Say hi to Ann.", "Say hi to Bo."], "each line of a text is the prompt that it names")


def test_csv(place):
    add(place, "explain", "Explain {{topic}} to {{who}} {{n}} times.", "--type", "explain")
    place.write("items.csv", 'type,topic,who,n\nexplain,"tides, and more",sailors,2\n')
    r = place.run("batch", "submit", "items.csv", "--model", "echo")
    tap.equal(prompts(place, r.id), ["Explain tides, and more to sailors 2 times."], "a sheet needs no prompt where a template makes it")
    place.write("items.csv", "type,topic,who,n\nexplain,tides,sailors,\n")
    tap.error_line(place.run("batch", "submit", "items.csv", "--model", "echo"), 2, r"items\.csv:2: n is missing or empty", "an empty cell: the line")
    place.write("items.csv", "topic,who\ntides,sailors\n")
    tap.error_line(place.run("batch", "submit", "items.csv", "--model", "echo"), 2, r"items\.csv:2: prompt is missing", "no type: the line")


def test_matched(place):
    for name, options in [("both", ("--type", "a", "--tier", "gold")), ("type", ("--type", "a")), ("tier", ("--tier", "gold"))]:
        add(place, name, name + " {{x}}", *options)
    r = submit(place, {"type": "a", "tier": "gold", "x": 1}, {"type": "a", "tier": "tin", "x": 2}, {"type": "b", "tier": "gold", "x": 3},
               {"type": "a", "template_id": NIL, "x": 4}, {"prompt": "its own", "type": "a"})
    tap.equal(prompts(place, r.id), ["both 1", "type 2", "tier 3", "type 4", "its own"], "by type and tier, the nearest counts; a prompt stays")
    tap.error_line(submit(place, {"type": "a", "x": 1}, {"type": "b", "x": 1}), 2, r"items\.jsonl:2: no template is for type b", "no match: the line")
    tap.error_line(submit(place, {"type": "a"}), 2, r"items\.jsonl:1: x is missing", "a missing column: the line")
    tap.error_line(submit(place, {"x": 1}), 2, r"items\.jsonl:1: prompt is missing", "neither prompt nor anything to match by")
    tap.error_line(submit(place, {"template_id": "none"}), 2, r"items\.jsonl:1: there is no template none", "an unknown template: the line")
    tap.equal(place.value("SELECT count(*) FROM batch_jobs"), 1, "nothing of the refused files is stored")
    tap.error_line(submit(place, {"type": "b", "x": 1}, options=("--dry-run",)), 2, "no template is for type b", "--dry-run refuses the same")


def test_holes_where_not_every_value_fits(place):
    holes = [("digit", '{"prompt": "p", "n": 1{{x}}}', "abc"), ("sign", '{"prompt": "p", "n": -{{x}}}', "abc"),
             ("backslash", '{"prompt": "\\{{x}}n"}', '" ,'), ("name", '{"prompt": "p", "{{x}}": 1}', "prompt")]
    for name, body, value in holes:
        tap.equal(add(place, name, body).code, 0, f"{name}: with most values it is a request")
        tap.error_line(submit(place, {"template_id": name, "x": value}), 2, rf"items\.jsonl:1: template {name}, filled, is no request: ",
                       f"{name}: with this one it is not: the line")
    add(place, "twice", '{"prompt": "p", "n": -{{x}}, "{{y}}": 1}')
    tap.equal(submit(place, {"template_id": "twice", "x": 1, "y": "z"}).code, 0, "what fits is taken")
    tap.equal(place.run("list", "--json").jsonl[0]["parameters"], {"prompt": "p", "n": -1, "z": 1}, "and nothing else was stored")
    add(place, "error", '{"prompt": "{{q}}", "error": "none", "{{k}}": 1}')
    submit(place, {"template_id": "error", "q": "x", "k": "errorContext"})
    tap.equal(place.run("list", "--json").jsonl[0]["parameters"], {"prompt": "x"}, "no request looks like a failed one")
    add(place, "long", "{{x}}" * 70)
    tap.error_line(submit(place, {"template_id": "long", "x": "y" * (1 << 20)}), 2, r"items\.jsonl:1: template long, filled, is longer than 64 MiB",
                   "a short template can make much of a long value")


def test_refusals(place):
    place.submit("x", "--model", "echo")
    tap.error_line(place.run("template", "show", "none"), 4, "there is no template none", "an unknown name: 4")
    tap.error_line(add(place, "t", "{{a"), 2, r"t\.txt: line 1: \{\{ is not closed", "an open brace")
    tap.error_line(add(place, "t", '{"a": {{x}}'), 2, "JSON", "a broken JSON body")
    tap.error_line(add(place, "t", ""), 2, "empty", "an empty file")
    tap.error_line(place.run("template", "add", "t", "--file", "missing.txt"), 2, "missing.txt", "no such file")
    tap.error_line(place.run("template", "add", "t"), 2, "--file is missing", "no file named")
    tap.equal(add(place, "t", "x", "--type", "a").code, 0, "a good one")
    tap.error_line(add(place, "t", "x"), 5, "template t exists", "its name is taken: 5")
    tap.error_line(add(place, "u", "x", "--type", "a"), 5, "template t has the type a", "its type is taken: 5")


tap.main(globals())
