# SPDX-License-Identifier: MIT
"""TAP for black-box tests: checks print one line each, tap.main() runs the
functions named test_* of a file and prints the plan last.

    import sys, os
    sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
    import tap
    from genrun import Place

    def test_list_is_empty_at_first(place):      # a fresh Place for each function that takes one
        r = place.run("list")
        tap.equal(r.code, 0, "list of nothing is fine")

    tap.main(globals())

A function that raises counts as one failed check; the others still run. Names
given on the command line select functions: `tests/cli/list.py empty` runs those
that have "empty" in their name.
"""
import inspect
import re
import sys
import traceback

_count = 0
_failed = 0


def note(text, file=None):
    """Prints a diagnostic; every line of it as a TAP comment. A harness shows what stands on stderr."""
    for line in str(text).split("\n"):
        print("# " + line, file=file)
    sys.stdout.flush()


def ok(condition, name, detail=None):
    """One check. `detail` (text, or a function that makes it) is shown when it fails."""
    global _count, _failed
    _count += 1
    name = str(name).replace("\n", " ").replace("#", "\\#")
    if condition:
        print(f"ok {_count} - {name}")
    else:
        _failed += 1
        print(f"not ok {_count} - {name}")
        caller = inspect.stack()[1]
        for frame in inspect.stack()[1:]:
            if frame.filename != __file__:
                caller = frame
                break
        note(f"not ok {_count} - {name}\nat {caller.filename}:{caller.lineno} ({caller.function})", sys.stderr)
        if detail is not None:
            note(detail() if callable(detail) else detail, sys.stderr)
    sys.stdout.flush()
    return bool(condition)


def equal(got, expected, name):
    return ok(got == expected, name, lambda: f"got:      {got!r}\nexpected: {expected!r}")


def contains(text, part, name):
    return ok(part in text, name, lambda: f"{part!r} is not in:\n{text!r}")


def lacks(text, part, name):
    return ok(part not in text, name, lambda: f"{part!r} is in:\n{text!r}")


def matches(text, pattern, name):
    """re.search of `pattern` in `text`."""
    return ok(re.search(pattern, text) is not None, name, lambda: f"{pattern!r} does not match:\n{text!r}")


def result(r, code, name, out=None, err=None):
    """Checks a Result of genrun.Place.run: the exit code and, as patterns, its output."""
    return ok(
        r.code == code
        and (out is None or re.search(out, r.out) is not None)
        and (err is None or re.search(err, r.err) is not None),
        name,
        lambda: f"expected: code {code}, out {out!r}, err {err!r}\n{r}",
    )


def error_line(r, code, pattern, name):
    """The house rule for a refusal: the exit code, nothing on stdout, and on stderr exactly
    one line of the form "genrun: what was wrong: what to do" that matches `pattern`."""
    lines = r.err.split("\n")
    good = (
        r.code == code
        and r.out == ""
        and len(lines) == 2
        and lines[1] == ""
        and re.match(r"genrun: .+: .+", lines[0]) is not None
        and re.search(pattern, lines[0]) is not None
    )
    return ok(good, name, lambda: f"expected: code {code}, one line matching {pattern!r}\n{r}")


def main(names):
    """Runs every test_* function of `names` (globals()), prints the plan, exits 0 or 1."""
    from genrun import Place

    wanted = sys.argv[1:]
    tests = [(n, f) for n, f in names.items() if n.startswith("test_") and callable(f)]
    if wanted:
        tests = [(n, f) for n, f in tests if any(w in n for w in wanted)]
    for name, function in tests:
        note(name)
        try:
            if inspect.signature(function).parameters:
                with Place() as place:
                    function(place)
            else:
                function()
        except Exception:
            ok(False, f"{name} ran to its end", traceback.format_exc())
    if _count == 0:
        ok(False, "there was something to check")
    print(f"1..{_count}")
    sys.stdout.flush()
    sys.exit(1 if _failed else 0)
