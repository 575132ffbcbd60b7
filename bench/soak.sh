#!/bin/bash
# The soak test by hand: starts a server on loopback and lets visitors of every kind at it (hadal bench soak).
#
#   bench/soak.sh [--seconds N] [--build DIR] [--model DIR]
#
# The default is an hour with a tiny model of random weights. The exit code is that of the checks.
set -euo pipefail

usage() { sed -n '4,6s/^# \{0,1\}//p' "$0"; }
root=$(cd "$(dirname "$0")/.." && pwd)
build=$root/build/release seconds=3600 model=
while (($#)); do
  case $1 in
    --seconds) seconds=$2; shift 2 ;;
    --build) build=$2; shift 2 ;;
    --model) model=$(realpath "$2"); shift 2 ;;
    --help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
  esac
done
hadal=$build/hadal
[[ -x $hadal ]] || { echo "bench/soak.sh: no $hadal; run make build, or give --build" >&2; exit 2; }

work=$(mktemp -d)
server=0
trap '((server == 0)) || { kill "$server" 2>/dev/null || true; wait "$server" || true; }; rm -rf "$work"' EXIT
if [[ -z $model ]]; then
  model=$work/model
  "$hadal" synth --shape v3-tiny --seed 1 --out "$model" >&2
fi
"$hadal" serve --model "$model" --state "$work/state" --listen 127.0.0.1:0 --name soak --ready-file "$work/ready" \
  --max-running 8 --max-waiting 16 --context 512 > "$work/log" 2>&1 &
server=$!
until [[ -f $work/ready ]]; do
  kill -0 "$server" 2>/dev/null || { cat "$work/log" >&2; exit 2; }
  sleep 0.05
done
(umask 077
 "$hadal" token issue --state "$work/state" --client soak --scope infer > "$work/token"
 "$hadal" token issue --state "$work/state" --client watch --scope metrics > "$work/metrics-token")
"$hadal" bench soak --url "https://$(cat "$work/ready")/v1" --ca "$work/state/ca.crt" --model soak \
  --token-file "$work/token" --metrics-token-file "$work/metrics-token" --duration "$seconds" --visitors 16 --pid "$server"
