#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The house law, kept by reading the source and the symbols of its objects:
who may include whom, which library belongs to which room, how long a file or a
function may get, how global names begin, what library code may not call.
"""
import glob
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
SRC = os.path.join(ROOT, "src")
sys.path.insert(0, os.path.join(ROOT, "tests", "lib"))
import tap

BUILD = os.environ.get("GENRUN_BUILD", os.path.join(ROOT, "build", "release"))

# The floors: a folder includes only its own files and those of lower floors. The files at
# the top of src/ put everything together.
FLOOR = {"base": 0, "db": 1, "loop": 1, "queue": 2, "provider": 2, "run": 3, "batch": 3, "sync": 3, "lib": 4, "cli": 5,
         "http": 5}
TOP = ""
# The two faces see only this of what is below them.
FACES = {"cli", "http"}
FACE_SEES = {"base", "lib/config.h", "lib/host.h"}
# Rooms that may use the public header.
PUBLIC_HEADER_IN = {"lib", "cli", "http", TOP}
# Which rooms may call a library, by the prefix of its symbols.
LIBRARY_IN = {
    "sqlite3_": {"db", "queue", "sync", "lib"},
    "curl_": {"loop", "provider", "lib"},
    "ini_": {"lib"},
    "EVP_": {"base"},
    "CRYPTO_": {"base"},
    "MHD_": {"http"},
    "PQ": {"sync"},
}
FILE_LINES = 600
FUNCTION_LINES = 60
# What is longer, and why it may be: "src/x/y.c" or "src/x/y.c:function".
LONG = {}
# Beside the names of its files, what global names of a folder begin with.
PREFIXES = {
    "provider": {"outcome", "pacific_midnight_at"},
    "lib": {"genrun", "option"},
    "cli": {"cmd"},
}
# What library code does not call, and the files that may all the same.
FORBIDDEN = {name: {"base/mem"} for name in (
    "abort", "exit", "malloc", "calloc", "realloc", "reallocarray", "strdup", "strndup", "vasprintf")}
FORBIDDEN["abort"] = {"base/mem", "base/id"}  # id: a kernel that gives no random numbers
FORBIDDEN.update({name: set() for name in (
    "asprintf", "gets", "strcpy", "strcat", "sprintf", "vsprintf", "strtok", "system", "popen", "sleep", "rand",
    "gmtime", "localtime", "setenv", "longjmp", "alloca")})
# Writable data of static life, and why it is there.
STATE = {
    "base/log": "the settings of the log",
    "base/mem": "what to call when memory is gone",
    "base/id": "ids of one process sort in the order they were made",
    "loop/transfer": "libcurl is set up once a process",
    "db/owner": "POSIX locks belong to the process, and so does the descriptor that must not be closed",
    "lib/versions": "a text that is made once a process",
    "lib/watchdog": "a signal handler reaches nothing else",
    "cli/interrupt": "a signal handler reaches nothing else",
}


def sources():
    """Paths of all C files of src/, relative to it."""
    found = []
    for folder, _, names in os.walk(SRC):
        found += [os.path.relpath(os.path.join(folder, n), SRC) for n in names if n.endswith((".c", ".h"))]
    return sorted(found)


def text_of(path):
    with open(os.path.join(SRC, path), encoding="utf-8") as f:
        return f.read()


def room_of(path):
    return os.path.dirname(path)


# ---- what stands in the source --------------------------------------------------------


def why_not_include(path, included):
    """Why src/path may not include "included"; None when it may."""
    room, other = room_of(path), room_of(included)
    if included == "genrun.h":
        return None if room in PUBLIC_HEADER_IN else "the public header is not for this room"
    if not os.path.exists(os.path.join(SRC, included)):
        return "no such file below src/, from where includes are written"
    if other == room or room == TOP:
        return None
    if other == TOP or FLOOR[other] >= FLOOR[room]:
        return "it is not on a lower floor"
    if room in FACES and other not in FACE_SEES and included not in FACE_SEES:
        return "a face sees only genrun.h, " + ", ".join(sorted(FACE_SEES))
    return None


def test_floors():
    tap.equal({room_of(p) for p in sources()} - set(FLOOR) - {TOP}, set(), "each room stands on a floor")
    bad = []
    for path in sources():
        for included in re.findall(r'^\s*#\s*include\s*"([^"]+)"', text_of(path), re.M):
            reason = why_not_include(path, included)
            if reason:
                bad.append(f"src/{path} includes {included}: {reason}")
    tap.equal(bad, [], "each room includes only downward")


def test_floors_would_be_seen():
    for path, included, allowed in (
            ("queue/x.c", "base/err.h", True), ("base/x.c", "loop/loop.h", False),
            ("queue/x.c", "provider/model.h", False), ("cli/x.c", "lib/config.h", True),
            ("cli/x.c", "provider/model.h", False), ("run/x.c", "genrun.h", False), ("x.c", "run/settings.h", True)):
        tap.equal(why_not_include(path, included) is None, allowed, f"{path} may include {included}: {allowed}")


def test_openings():
    bad = []
    for path in sources():
        first, second = text_of(path).split("\n")[:2]
        if first != "// SPDX-License-Identifier: MIT":
            bad.append(f"src/{path}: its first line is not the licence's")
        elif not second.startswith("// ") and not os.path.exists(os.path.join(SRC, path[:-2] + ".h")):
            bad.append(f"src/{path}: neither it nor its header says its one job in its first lines")
        guard = "GENRUN_" + re.sub(r"[/.]", "_", path).upper()
        if path.endswith(".h") and f"#ifndef {guard}\n#define {guard}\n" not in text_of(path):
            bad.append(f"src/{path}: its guard is not {guard}")
    tap.equal(bad, [], "each file opens with its licence, its job and, a header, with its own guard")


def blank(code):
    """The code with comments, strings and characters blanked out; line breaks stay."""
    pattern = r'//(?:\\\n|[^\n])*|/\*.*?\*/|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''
    return re.sub(pattern, lambda m: re.sub(r"[^\n]", " ", m.group(0)), code, flags=re.S)


def functions(code):
    """(name, lines) of every function body: the braces at the outermost level whose head has
    parentheses and no "="."""
    depth, start, head = 0, 0, ""
    for number, line in enumerate(blank(code).split("\n")):
        if line.lstrip().startswith("#"):
            continue
        for c in line + "\n":
            if c == "{":
                if depth == 0:
                    start = number
                depth += 1
            elif c == "}":
                depth -= 1
                if depth == 0:
                    called = re.search(r"(\w+)\s*\(", head)
                    if called and "=" not in head:
                        yield called.group(1), number - start + 1
                    head = ""
            elif depth == 0:
                head = "" if c == ";" else head + c


def test_lengths():
    bad = []
    for path in sources():
        code = text_of(path)
        lines = code.count("\n")
        if lines > FILE_LINES and "src/" + path not in LONG:
            bad.append(f"src/{path} has {lines} lines, {FILE_LINES} at most")
        for name, length in functions(code):
            if length > FUNCTION_LINES and f"src/{path}:{name}" not in LONG:
                bad.append(f"src/{path}:{name} has {length} lines, {FUNCTION_LINES} at most")
    tap.equal(bad, [], "no file and no function is too long")


def test_lengths_are_measured():
    code = ("static int a(int b)\n{\n    char c = '{'; // }\n    return b;\n}\nstruct x {\n    int y;\n};\n"
            "int z[] = {f(1)};\nconst char *\nname(void)\n{\n    /* { */ return \"}\";\n}\n")
    tap.equal(list(functions(code)), [("a", 4), ("name", 3)], "braces count in code only")


# ---- what stands in the objects ---------------------------------------------------------


class Symbol:
    """One line of objdump -t: where ("base/mem"), name, whether global, its section."""

    def __init__(self, where, name, is_global, section):
        self.where, self.room, self.name = where, room_of(where), name
        self.is_global, self.section = is_global, section

    def is_undefined(self):
        return self.section == "*UND*"

    def is_writable(self):
        return self.section == "*COM*" or (
            self.section.startswith((".data", ".bss", ".tbss", ".tdata"))
            and not self.section.startswith(".data.rel.ro"))


def read_symbols():
    objects = [p[:-2] + ".o" for p in sources() if p.endswith(".c")]
    for o in objects:
        if not os.path.exists(os.path.join(BUILD, o)):
            raise RuntimeError(f"{o} is not in {BUILD}: build first")
    table = subprocess.run(["objdump", "-t", *objects], cwd=BUILD, stdout=subprocess.PIPE, check=True)
    found, where = [], None
    for line in table.stdout.decode().splitlines():
        head = re.match(r"(\S+)\.o:", line)
        if head:
            where = head.group(1)
        entry = re.match(r"[0-9a-f]+ (.)......\s+(\S+)\t[0-9a-f]+ (?:\.hidden )?(\S+)$", line)
        if entry and entry.group(3) != entry.group(2):  # sections name themselves
            found.append(Symbol(where, entry.group(3), entry.group(1) in "gu", entry.group(2)))
    return found


SYMBOLS = read_symbols()


def test_global_names():
    files = {}
    for path in sources():
        files.setdefault(room_of(path), set()).add(os.path.splitext(os.path.basename(path))[0])
    bad = []
    for s in SYMBOLS:
        if not s.is_global or s.is_undefined() or (s.room == TOP and s.name == "main"):
            continue
        starts = files[s.room] | PREFIXES.get(s.room, set()) | {s.room} - {TOP}
        if not any(re.match(re.escape(start) + "(s?_|$)", s.name) for start in starts):
            bad.append(f"src/{s.where}.c: {s.name}")
    tap.equal(bad, [], "each global name begins with the name of a file in its folder")


def test_no_state():
    bad = [f"src/{s.where}.c: {s.name}" for s in SYMBOLS if s.is_writable() and s.where not in STATE]
    tap.equal(bad, [], "nothing writable outlives a call but in structs")
    held = {s.where for s in SYMBOLS if s.is_writable()}
    tap.equal(set(STATE) & {s.where for s in SYMBOLS} - held, set(), "the exceptions are still needed")


def test_libraries():
    bad = []
    for s in SYMBOLS:
        for prefix, rooms in LIBRARY_IN.items():
            if s.is_undefined() and s.name.startswith(prefix) and s.room not in rooms:
                bad.append(f"src/{s.where}.c calls {s.name}: only {', '.join(sorted(rooms))} may")
    tap.equal(bad, [], "each library is called from its rooms only")


def test_scope():
    """A handle's scope holds because no id becomes a number beside it."""
    bad = [f"src/{s.where}.c calls {s.name}" for s in SYMBOLS
           if s.is_undefined() and s.name.startswith("queue_find_") and s.room == "lib" and s.where != "lib/scope"]
    tap.equal(bad, [], "the library finds generations and batch jobs through lib/scope.c only")
    unscoped = {s.name for s in SYMBOLS if s.is_undefined() and s.where == "lib/scope" and s.name.startswith("queue_find_")}
    tap.equal(unscoped, {"queue_find_own_generation", "queue_find_own_batch"}, "and lib/scope.c with the scope")
    with open(os.path.join(ROOT, "include", "genrun.h"), encoding="utf-8") as f:
        header = re.sub(r"/\*.*?\*/", "", f.read(), flags=re.S)
    takes_id = [name for name, parameters in re.findall(r"\b(genrun_\w+)\(([^()]*)\);", header)
                if re.search(r"const char \*(id|batch)\b|genrun_(event_)?filter \*", parameters) and "_user_" not in name and not name.endswith("_set")]
    with open(os.path.join(ROOT, "tests", "unit", "test_scope.c"), encoding="utf-8") as f:
        tested = f.read()
    tap.ok(len(takes_id) > 20, "many functions take an id or a filter", str(takes_id))
    tap.equal([n for n in takes_id if not re.search(rf"\b{n}\b", tested)], [], "each of them is tried with another's by test_scope")


def test_forbidden():
    bad = []
    for s in SYMBOLS:
        called = re.sub(r"^__(\w+)_chk$", r"\1", s.name)  # the form _FORTIFY_SOURCE gives it
        if s.is_undefined() and s.room not in FACES | {TOP} and s.where not in FORBIDDEN.get(called, {s.where}):
            bad.append(f"src/{s.where}.c calls {called}")
    tap.equal(bad, [], "library code does not end the process, nor allocate beside base/mem.h")


def test_schema():
    schema = os.path.join(ROOT, "schema")
    names = sorted(n for n in os.listdir(schema) if n.endswith(".sql"))
    wrong = [n for n in names if not re.fullmatch(r"\d{4}_[a-z0-9_]+\.sql", n)]
    tap.equal(wrong, [], "migrations are named NNNN_name.sql")
    numbers = [int(n[:4]) for n in names if n not in wrong]
    tap.equal(numbers, list(range(1, len(names) + 1)), "migrations are numbered without gaps")
    with open(os.path.join(BUILD, "inside.a"), "rb") as f:
        library = f.read()
    for name in names:
        with open(os.path.join(schema, name), "rb") as f:
            tap.ok(f.read() + b"\0" in library, f"{name} is embedded byte for byte")


def test_programs():
    bad = []
    for folder in os.listdir(os.path.join(ROOT, "tests")):
        for path in glob.glob(os.path.join(ROOT, "tests", folder, "*.py")):
            with open(path, encoding="utf-8") as f:
                is_program = f.readline() == "#!/usr/bin/env python3\n"
            if is_program != os.access(path, os.X_OK) or is_program == (folder == "lib"):
                bad.append(os.path.relpath(path, ROOT))
    tap.equal(bad, [], "each test in Python begins with #!/usr/bin/env python3 and is executable")


def test_nothing_is_skipped():
    bad = []
    for folder, _, names in os.walk(os.path.join(ROOT, "tests")):
        for path in (os.path.join(folder, n) for n in names if n.endswith((".c", ".h", ".py", ".sh"))):
            with open(path, encoding="utf-8") as f:
                for number, line in enumerate(f, 1):
                    if path != os.path.abspath(__file__) and re.search(r"\bskip\s*\(|#\s*(skip|todo)\b", line, re.I):
                        bad.append(f"{os.path.relpath(path, ROOT)}:{number}: {line.strip()}")
    tap.equal(bad, [], "no test skips a check")


tap.main(globals())
