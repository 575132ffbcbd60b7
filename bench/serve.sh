#!/bin/bash
# What the server makes of the engine, in one run: what it adds to a request alone, and its throughput with 16 at once
# against `hadal bench model` at batch 16, of the same work: 512 tokens prefilled, 128 decoded behind them. Starts a real
# server on loopback; prints a table a model folder.
#
#   bench/serve.sh [--rounds N] [--build DIR] [--model DIR]... [--out DIR]
#
# Without --model it makes v3-small in bf16 and int4 of random weights. DIR of --out keeps them, and what each run
# printed; the default is build/bench. The rounds alternate (A B A B), and the figures are their medians.
set -euo pipefail

usage() { sed -n '6,9s/^# \{0,1\}//p' "$0"; }
root=$(cd "$(dirname "$0")/.." && pwd)
build=$root/build/release out=$root/build/bench rounds=5 models=()
while (($#)); do
  case $1 in
    --rounds) rounds=$2; shift 2 ;;
    --build) build=$2; shift 2 ;;
    --model) models+=("$(realpath "$2")"); shift 2 ;;
    --out) out=$2; shift 2 ;;
    --help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
  esac
done
hadal=$build/hadal overhead=$build/serve_overhead
for program in "$hadal" "$overhead"; do
  [[ -x $program ]] || { echo "bench/serve.sh: no $program; build it (ninja -C $build), or give --build" >&2; exit 2; }
done
mkdir -p "$out"
if ((${#models[@]} == 0)); then
  for format in bf16 int4; do
    [[ -d $out/v3-small-$format ]] || "$hadal" synth --shape v3-small --weights $format --seed 1 --out "$out/v3-small-$format" >&2
    models+=("$out/v3-small-$format")
  done
fi

work=$(mktemp -d)
server=0
cleanup() {
  ((server == 0)) || { kill "$server" 2>/dev/null || true; wait "$server" 2>/dev/null || true; }
  server=0
}
trap 'cleanup; rm -rf "$work"' EXIT

# start_server MODEL THREADS; 0: all processors.
start_server() {
  rm -f "$work/ready"
  "$hadal" serve --model "$1" --threads "$2" --state "$work/state" --listen 127.0.0.1:0 --name bench --ready-file "$work/ready" \
    --context 1024 --max-running 16 > "$out/serve.log" 2>&1 &
  server=$!
  until [[ -f $work/ready ]]; do
    kill -0 "$server" 2>/dev/null || { cat "$out/serve.log" >&2; exit 2; }
    sleep 0.05
  done
  url=https://$(cat "$work/ready")/v1
  (umask 077 && "$hadal" token issue --state "$work/state" --client bench --scope infer > "$work/token")
}

# The first number of a key in indented JSON; of the `nth` one.
number() { awk -v key="\"$2\":" -v nth="${3:-1}" '$1 == key && ++n == nth { gsub(/,/, "", $2); print $2; exit }' "$1"; }
median() { sort -g | awk '{ v[NR] = $1 } END { print (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2 }'; }

# What the server adds is its own and the client's work; an engine on all processors would lose a step to either, so here
# it leaves one free. A short prompt, since a long one's time differs by more than what is to be found.
spare=$(($(nproc) > 1 ? $(nproc) - 1 : 1))
for model in "${models[@]}"; do
  name=$(basename "$model")
  echo "== $name"
  start_server "$model" $spare
  client=(--url "$url" --ca "$work/state/ca.crt" --token-file "$work/token" --model bench)
  "$overhead" "${client[@]}" --model-dir "$model" --requests $((12 * rounds)) --input 16 --output 64 --threads $spare |
    tee "$out/$name-overhead.txt"
  cleanup
  start_server "$model" 0
  client=(--url "$url" --ca "$work/state/ca.crt" --token-file "$work/token" --model bench)
  "$overhead" "${client[@]}" --model-dir "$model" --requests "$rounds" --concurrency 16 | tee "$out/$name-overhead-16.txt"
  : > "$out/$name-shares.txt"
  for ((round = 0; round < rounds; ++round)); do
    "$hadal" bench model --model "$model" --batch 16 --prompt 512 --generate 1 --repeat 3 --json > "$out/$name-prefill.json"
    "$hadal" bench model --model "$model" --batch 16 --prompt 1 --depth 512 --generate 128 --repeat 3 --json \
      > "$out/$name-decode.json"
    "$hadal" bench serve "${client[@]}" --concurrency 16 --requests 64 --input 512 --output 128 --seed "$round" \
      --json "$out/$name-serve.json" > /dev/null
    # Of the pretty JSON: bench model's medians, prefill first; bench serve's output tokens a second.
    prefill=$(number "$out/$name-prefill.json" median) decode=$(number "$out/$name-decode.json" median 2)
    served=$(number "$out/$name-serve.json" output_tokens 2)  # the first is the length asked for
    awk -v p="$prefill" -v d="$decode" -v s="$served" \
      'BEGIN { ideal = 128 / (512 / p + 127 / d); printf "%.4f %.1f %.1f %.1f %.1f\n", s / ideal, s, ideal, p, d }' |
      tee -a "$out/$name-shares.txt" | awk '{ printf "  served %s of %s tokens/s, %.1f %%\n", $2, $3, 100 * $1 }'
  done
  cleanup
  echo "throughput at 16, share of bench model's   $(awk '{ print 100 * $1 }' "$out/$name-shares.txt" | median) %  (median of $rounds)"
done
