#!/bin/sh
# run_script.sh HADAL: scripts/run.sh from an empty folder, without a terminal, twice at once, and when things fail.
set -eu
hadal=$1
script=$(cd "$(dirname "$0")/.." && pwd)/scripts/run.sh
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
echo "$folder/state" >pattern # for grep, whose own command line must not have it
unset HADAL_MODEL HADAL_STATE HADAL_TOKEN HADAL_CONFIG || true
fail() { echo "FAILED: $1" >&2; for f in out* err*; do echo "--- $f"; cat "$f"; done >&2; exit 1; }
nothing_left() {
  [ -z "$(find "$folder/state" -name 'run-*')" ] || fail "$1: files of the run are left"
  ! grep -lFf pattern /proc/[0-9]*/cmdline 2>/dev/null || fail "$1: a process is left"
}
run() { HADAL_SAMPLING_MAX_TOKENS=5 "$script" "$hadal" "$folder/models/default" "$folder/state"; }

# One question, from nothing.
HADAL_PROMPT='$HOME -- why?' run >out 2>err || fail "a first run"
[ -s out ] || fail "no answer"
nothing_left "a first run"

# Two at once, their prompts from standard input.
(echo one | run >out1 2>err1) & first=$!
(echo two | run >out2 2>err2) & second=$!
wait "$first" || fail "the first of two"
wait "$second" || fail "the second of two"
[ -s out1 ] && [ -s out2 ] || fail "two runs, no two answers"
nothing_left "two at once"

# A service that cannot start: its error is shown, and the log is kept.
mkdir broken
echo '{}' >broken/config.json
code=0
HADAL_PROMPT=x "$script" "$hadal" "$folder/broken" "$folder/state" >out 2>err || code=$?
[ "$code" -eq 2 ] || fail "a service that cannot start: exit code $code"
grep -q "config.json" err || fail "the service's error is not shown"
grep -q "the service did not start" err || fail "the end is not told"
rm -rf "$folder"/state/run-*

# SIGTERM in the middle of a chat that waits for input.
mkfifo input
HADAL_SAMPLING_MAX_TOKENS=5 "$script" "$hadal" "$folder/models/default" "$folder/state" <input >out 2>err &
script_pid=$!
exec 4>input
while ! ls "$folder"/state/run-*/token >/dev/null 2>&1; do
  kill -0 "$script_pid" || fail "the run ended early"
  sleep 0.05
done
[ "$(stat -c %a "$folder"/state/run-*/token)" = 600 ] || fail "the token's file is open to others"
kill -TERM "$script_pid"
code=0
wait "$script_pid" || code=$?
[ "$code" -eq 143 ] || fail "SIGTERM: exit code $code"
exec 4>&-
nothing_left "SIGTERM"
