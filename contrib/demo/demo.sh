#!/bin/sh
# SPDX-License-Identifier: MIT
# The main job in a quarter of a minute, without any model server: a batch of prompts goes through the
# built-in model `echo` with its progress shown, results and errors are read, then a second batch is
# killed half-way with kill -9 and goes on as if nothing had happened. Every command is printed before it
# runs. Fails when something is not as it says.
set -eu

root=$(cd "$(dirname "$0")/../.." && pwd)
genrun=${GENRUN:-$root/build/genrun}
[ -x "$genrun" ] || { echo "demo: $genrun is not there: run make first" >&2; exit 1; }
place=$(mktemp -d "${TMPDIR:-/tmp}/genrun-demo.XXXXXX")
runner=
trap '[ -z "$runner" ] || kill -9 $runner 2>/dev/null || :; rm -rf "$place"' EXIT
trap 'exit 130' INT TERM
cd "$place"
unset GENRUN_CONFIG OPENAI_BASE_URL OPENAI_API_KEY
PATH=$(dirname "$genrun"):$PATH
if [ -t 1 ]; then bold=$(printf '\033[1m') plain=$(printf '\033[0m'); else bold='' plain=''; fi

say() { printf '\n%s\n' "$*"; }
show() { printf '%s$ %s%s\n' "$bold" "$*" "$plain"; }
run() { show "$*"; "$@"; }
expect() { [ "$2" = "$3" ] || { echo "demo: $1: $2, expected $3" >&2; exit 1; }; }

printf '[genrun]\ndatabase = demo.db\n\n[scheduler]\nconcurrency = 8\n' >genrun.ini
# 60 prompts; each answer takes 400 ms and comes in 4 pieces. One is refused by the "model" on purpose.
prompts() {
    i=1
    while [ $i -le 60 ]; do
        fail=
        [ "$1$i" != first17 ] || fail=', "fail": "ContentFilterError"'
        printf '{"custom_id": "%s-%d", "prompt": "Say %d in a haiku", "delay": "400ms", "chunks": 4%s}\n' "$1" $i $i "$fail"
        i=$((i + 1))
    done
}
prompts first >first.jsonl
prompts second >second.jsonl

say "60 prompts, one a line. The built-in model \"echo\" needs no server; its answers take 400 ms each."
run head -n 2 first.jsonl
run cat genrun.ini

say "Submit them as one batch and wait for the end (exit status 1: an item failed, on purpose):"
show 'genrun batch submit first.jsonl --model echo --wait'
status=0
genrun batch submit first.jsonl --model echo --wait >first.id || status=$?
cat first.id
first=$(tail -n 1 first.id)
expect "exit status" $status 1

say "Results stand in the order of the file, and can be read while it runs:"
show "genrun batch results $first | head -n 3"
genrun batch results "$first" >first.results
head -n 3 first.results
expect results "$(wc -l <first.results | tr -d ' ')" 59
run genrun batch results "$first" --errors
run genrun stats

say "Now the same with an accident. A second batch, a runner, and kill -9 in the middle of it:"
show 'genrun batch submit second.jsonl --model echo'
second=$(genrun batch submit second.jsonl --model echo | tail -n 1)
echo "$second"
show 'genrun run --drain &'
genrun run --drain &
runner=$!
done=0
while [ "$done" -lt 16 ]; do
    kill -0 $runner || { echo "demo: the runner ended early" >&2; exit 1; }
    sleep 0.1
    done=$(genrun batch results "$second" | wc -l | tr -d ' ')
done
show "kill -9 $runner"
kill -9 $runner
wait $runner 2>/dev/null || :
runner=
run genrun batch show "$second"

say "The next runner finds what the dead one had in hand, and goes on:"
run genrun run --drain
show "genrun batch results $second | wc -l"
genrun batch results "$second" >second.results
wc -l <second.results
expect results "$(wc -l <second.results | tr -d ' ')" 60
expect "different answers" "$(sort -u second.results | wc -l | tr -d ' ')" 60
show 'genrun logs --event generation.recovered'
genrun logs --event generation.recovered

say "60 of 60, each once: what was committed was kept, only what was in flight ran again."
say "It is all in one SQLite file; ask it what you like:"
show 'sqlite3 demo.db "SELECT status, count(*), sum(starts) FROM generations GROUP BY status"'
sqlite3 -header -column demo.db "SELECT status, count(*), sum(starts) FROM generations GROUP BY status"
