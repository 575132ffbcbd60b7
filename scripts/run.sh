#!/bin/sh
# run.sh HADAL MODEL STATE: starts the service on a free port of loopback, chats with it over HTTPS, and ends it.
#
# HADAL is the program; MODEL a model folder, made of random weights where there is none; STATE keeps the CA, the keys,
# and what one run needs (run-PID: its log, address and token), which is removed when all went well.
# With HADAL_PROMPT it is asked that and nothing else; without a terminal the prompt is read from standard input.
set -eu
[ $# -eq 3 ] || { echo "usage: run.sh HADAL MODEL STATE" >&2; exit 2; }
hadal=$1 model=$2 state=$3
prompt=${HADAL_PROMPT:-}
unset HADAL_PROMPT
umask 077
mkdir -p "$state"
run=$state/run-$$
rm -rf "$run" # of a process that had this number once
mkdir "$run"

serve="" chat="" ended=""
finish() {
  code=$?
  trap '' INT TERM HUP
  if [ -n "$chat" ]; then
    kill "$chat" 2>/dev/null || true
    wait "$chat" || true
  fi
  if [ -n "$serve" ]; then
    kill "$serve" 2>/dev/null || true
    wait "$serve" || true
  fi
  rm -f "$run/token" "$run/address"
  if [ "$code" -le 1 ] || [ -n "$ended" ]; then rm -rf "$run"; else echo "hadal: the service's log is $run/log" >&2; fi
}
trap finish EXIT
trap 'ended=1; exit 130' INT
trap 'ended=1; exit 143' TERM
trap 'ended=1; exit 129' HUP

# Two runs may begin at once; the second finds the model that the first has made.
if [ ! -e "$model/config.json" ]; then
  mkdir -p "$(dirname "$model")"
  (
    flock 9
    [ -e "$model/config.json" ] || "$hadal" synth --shape v3-tiny --weights bf16 --seed 1 --out "$model" >&2
  ) 9>"$(dirname "$model")/.lock"
fi

# In a session of its own, so that a Ctrl-C that is meant for an answer does not reach it.
setsid "$hadal" serve --model "$model" --state "$state" --listen 127.0.0.1:0 --ready-file "$run/address" --drain 2 \
  </dev/null >"$run/log" 2>&1 &
serve=$!
while [ ! -s "$run/address" ]; do
  if ! kill -0 "$serve" 2>/dev/null; then
    serve=""
    cat "$run/log" >&2
    echo "hadal: the service did not start" >&2
    exit 2
  fi
  sleep 0.05
done
read -r address <"$run/address"
[ ! -t 2 ] || echo "The service is at https://$address/v1, its log is $run/log, its CA $state/ca.crt." >&2
grep 'weights are random' "$run/log" >&2 || true
"$hadal" token issue --state "$state" --client make-run --scope infer --lifetime 1d >"$run/token"

set -- run --server "https://$address" --ca "$state/ca.crt" --token-file "$run/token"
[ -z "$prompt" ] || set -- "$@" -- "$prompt"
# Beside the shell, which can then end it on SIGTERM; it takes Ctrl-C itself, as a wish to end the answer.
exec 3<&0
"$hadal" "$@" <&3 &
chat=$!
trap : INT
while :; do
  code=0
  wait "$chat" || code=$?
  kill -0 "$chat" 2>/dev/null || break # else a signal ended the waiting
done
chat=""
exit "$code"
