# SPDX-License-Identifier: MIT
"""Work whose rows are hard to carry: every kind of end, texts that break arrays, quoting and encodings, outputs that are no
text. Each item says how it must end.
"""
import json

ERRORS = ("RateLimitError", "AuthenticationError", "QuotaError", "TimeoutError", "NetworkError", "ModelGenerationError",
          "InvalidRequestError", "ContentFilterError")
HOSTILE = (
    "NULL", "null", "{}", "{NULL}", '{"a","b"}', "\\", "\\\\", '"', '\\"', "a\\", "\\N", "\\x00ff", "'; DROP TABLE generations; --",
    "$1", "%s %n", ",", "a,b", " ", "  lead and trail  ", "line\nline", "cr\r\nlf", "tab\tbell\u0007\u001b[31m", "\u0001\u007f\u0085",
    "häil ☀ 漢字 \U0001f600 \U0010ffff", "\ufeffbom", "\ufffd\ufffe\uffff", "\u202eright to left", "e\u0301 and \u00e9", "\u2028\u2029",
    "x" * 70000, '{"' + '\\' * 1000 + '"}', "}" * 50, "\u00a0", "0", "-0", "1e400", "NaN", "infinity", "2026-01-01", "epoch",
)

CONFIG = """
[genrun]
default_model = echo
[scheduler]
concurrency = 8
max_attempts = 2
max_crashes = 100000
backoff_min = 10ms
backoff_max = 40ms
heartbeat_interval = 100ms
heartbeat_timeout = 60s
account_concurrency = {accounts}
[sync]
node = {node}
every = {every}
batch = {page}
[model bytes]
command = ./bytes.sh
"""


def configure(place, url, node="box", page=200, every="200ms", more="", accounts=0):
    """A box that syncs. The string is given in the environment of every command."""
    place.env["GENRUN_SYNC_URL"] = url
    place.configure(CONFIG.format(node=node, every=every, page=page, accounts=accounts) + more)
    import os
    # Bytes that are no text, and a NUL in what else is one.
    os.chmod(place.write("bytes.sh", "#!/bin/sh\ncat >/dev/null\nprintf 'a\\000b\\377\\200'\n"), 0o755)


def item(rng, name, delay_ms=15):
    """One line of a batch file, and the status it must end with."""
    line = {"custom_id": name, "prompt": f"{name} " + rng.choice(HOSTILE)}
    end = "completed"
    for column in ("topic", "tier", "type"):
        if rng.random() < 0.2:
            line[column] = rng.choice(HOSTILE[:30])
    if rng.random() < 0.3:
        line["session_id"] = f"session-{rng.randint(1, 5)}"
    if rng.random() < 0.2:
        line["extra"] = {"deep": [rng.choice(HOSTILE), 1.5, -0.0, 12345678901234567, None, True, {"": ""}]}
    if rng.random() < 0.3:
        line.update(delay=rng.randint(0, delay_ms), chunks=rng.randint(1, 3))
    draw = rng.random()
    if draw < 0.10:
        line.update(fail="NetworkError", fail_times=1)
    elif draw < 0.20:
        line.update(fail=rng.choice(("InvalidRequestError", "ContentFilterError", "ModelGenerationError")))
        end = "failed"
    elif draw < 0.25:
        line["priority"] = rng.randint(-5, 5)
    elif draw < 0.27:
        line["model"] = "bytes"
    return line, end


def submit_batch(place, rng, name, count, delay_ms=15):
    """A batch job of such items; {custom_id: end}."""
    ends, lines = {}, []
    for i in range(count):
        line, end = item(rng, f"{name}-{i}", delay_ms)
        ends[line["custom_id"]] = end
        lines.append(json.dumps(line, ensure_ascii=rng.random() < 0.5))
    r = place.run("batch", "submit", place.write(f"{name}.jsonl", "\n".join(lines) + "\n"), "--name", rng.choice(HOSTILE[:29]),
                  "--user", rng.choice(("ann", "bob", "o'hara", "ü{,}\"\\")), timeout_s=300)
    if r.code != 0:
        raise RuntimeError(f"batch submit failed\n{r}")
    return ends


def people(place):
    for user, name, mail in (("ann", "Ann", "ann@example.org"), ("bob", 'Bob "the {builder}"', "bob@example.org"),
                             ("o'hara", "O'Hara \\", "o@example.org")):
        place.run("user", "set", user, "--name", name, "--username", user, "--email", mail)
    for i in range(1, 4):
        place.run("project", "set", f"project-{i}", "--name", f"Project {i}")
    for i in range(1, 6):
        place.run("session", "set", f"session-{i}", "--name", f"Session {i}, 漢", "--project", f"project-{(i - 1) % 3 + 1}")


def wrong_ends(place, ends):
    """Items that did not end as they must, one line each."""
    got = dict(place.sql("SELECT custom_id, status FROM generations WHERE custom_id IS NOT NULL"))
    return [f"{name} is {got.get(name)}, must be {end}" for name, end in ends.items() if got.get(name) != end]
