# SPDX-License-Identifier: MIT
"""A local program as the model, that behaves as the parameter `kind` says, and what can be seen of it from
outside. It holds a lock file of its item as long as it, or anything that it started, lives; it writes every start
of an item to a ledger, and to another one when the lock of its item was still held.
"""
import fcntl
import os
import signal

SCRIPT = r"""#!/bin/sh
# What is asked for: {"item":"NAME","kind":"KIND"}
kind=${GENRUN_PARAMETERS#*'"kind":"'}; kind=${kind%%'"'*}
item=${GENRUN_PARAMETERS#*'"item":"'}; item=${item%%'"'*}
held() {
    # Who still holds it, for people.
    for p in /proc/[0-9]*; do
        [ "$(readlink "$p/fd/9")" = "$PWD/locks/$item" ] && holders="$holders $(tr '\0' ' ' <"$p/cmdline")(${p#/proc/});"
    done
    echo "$item, start $GENRUN_ATTEMPT, beside:$holders $(date +%T.%N)" >>doubles
}
exec 9>>"locks/$item"
flock -n 9 || held
echo "$item $$ $GENRUN_ATTEMPT" >>ledger
answer() { echo "answer $item"; }
hang() { while :; do sleep 60; done; }
blow() { head -c "$1" /dev/zero | tr '\0' x; }
case $kind in
ok) cat >/dev/null; answer ;;
short) sleep 0.3; answer ;;
unread) answer ;;
exit*) echo "no luck with $item" >&2; exit "${kind#exit}" ;;
once) [ -e "locks/$item.once" ] || { : >"locks/$item.once"; exit 1; }; answer ;;
segv) kill -SEGV $$ ;;
kill) kill -KILL $$ ;;
hang) hang ;;
deaf) trap '' TERM INT HUP; hang ;;
tree) sleep 60 & (sleep 60 & setsid sleep 60 & hang) & setsid -f sleep 60; hang ;;
fork) sleep 60 & setsid sleep 60 & answer ;;
daemon) setsid -f sh -c 'sleep 60 & setsid -f sleep 60; sleep 60' </dev/null >/dev/null 2>&1; answer ;;
bare) setsid -f env -i sleep 60; answer ;;
zombie) true & answer; exec sleep 0.1 ;;
big) blow 150000 ;;
flood) blow 10000000; answer ;;
noise) blow 3000000 >&2; answer ;;
both) blow 3000000 >&2 & blow 150000; wait ;;
closed) exec >&-; sleep 0.1 ;;
lines) for n in 1 2 3 4 5 6 7 8; do echo "progress $n/8" >&2; sleep 0.2; done; answer ;;
usage) printf '{"output":"answer %s","usage":{"input_tokens":3,"output_tokens":5}}\n' "$item" ;;
refusal) printf '{"error":{"message":"not this one","type":"InvalidRequestError"}}\n' ;;
garbage) echo 'no JSON' ;;
*) echo "unknown kind: $kind" >&2; exit 64 ;;
esac
"""


def install(place):
    """Writes the script and its folder; the configuration names it as ./model.sh."""
    os.chmod(place.write("model.sh", SCRIPT), 0o755)
    os.makedirs(place.path("locks"), exist_ok=True)


def lines(place, name):
    if not os.path.exists(place.path(name)):
        return []
    return place.read(name).splitlines()


def starts(place):
    """item -> how often the script was started for it."""
    counts = {}
    for line in lines(place, "ledger"):
        item = line.split()[0]
        counts[item] = counts.get(item, 0) + 1
    return counts


def held(place, item):
    """Something that was started for the item still lives."""
    with open(place.path(f"locks/{item}"), "a", encoding="ascii") as f:
        try:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _stat(pid):
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return fields[0], int(fields[2]), int(fields[3])  # state, group, session


def _environment(pid):
    try:
        with open(f"/proc/{pid}/environ", "rb") as f:
            return f.read()
    except OSError:
        return b""


def processes(place):
    """Pids of all that lives of what runners of this database started: by their marks, groups, sessions and locks."""
    marks = [b"GENRUN_RUNNER=" + id.encode() + b"\0" for (id,) in place.sql("SELECT id FROM runners")]
    leaders = {int(line.split()[1]) for line in lines(place, "ledger")}
    locks = os.path.realpath(place.path("locks"))
    found = set()
    for pid in (int(n) for n in os.listdir("/proc") if n.isdigit()):
        try:
            state, group, session = _stat(pid)
            holds = any(os.readlink(f"/proc/{pid}/fd/{fd}").startswith(locks) for fd in os.listdir(f"/proc/{pid}/fd"))
        except OSError:  # it ended meanwhile
            continue
        environment = _environment(pid)
        if state not in "ZX" and pid != os.getpid() and (
                holds or group in leaders or session in leaders or any(mark in environment for mark in marks)):
            found.add(pid)
    return found


def end_all(place):
    """For the end of a test that failed: nothing of it stays."""
    for pid in processes(place):
        os.kill(pid, signal.SIGKILL)
