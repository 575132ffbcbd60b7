#!/bin/bash
# Prints our rows of the table of speeds for shape S (v3-small): prefill 512 and decode 128 by format, batch
# and depth, each with its share of what the machine reaches in the same run. The model has random weights.
#
#   bench/model.sh [--threads N] [--repeat N] [--out DIR]
#
# DIR keeps the model folders (1 GB; made once) and what each run printed; the default is build/bench.
set -euo pipefail

usage() { sed -n '5,7s/^# \{0,1\}//p' "$0"; }
root=$(cd "$(dirname "$0")/.." && pwd)
hadal=${HADAL:-$root/build/release/hadal}
threads=$(nproc) repeat=5 out=$root/build/bench
while (($#)); do
  case $1 in
    --threads) threads=$2; shift 2 ;;
    --repeat) repeat=$2; shift 2 ;;
    --out) out=$2; shift 2 ;;
    --help) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
  esac
done
[[ -x $hadal ]] || { echo "bench/model.sh: no $hadal; run make build, or set HADAL" >&2; exit 2; }

mkdir -p "$out"
model=$out/v3-small-bf16
[[ -d $model ]] || "$hadal" synth --shape v3-small --weights bf16 --out "$model" >&2

# One row per batch size, out of the table that the program prints. 4 and 8 bits are quantised at load, in
# groups of 32, the head in 8 bits.
run() {
  local weights=$1 batches=$2 depth=$3 log=$out/$1-$3.txt
  "$hadal" bench model --model "$model" --weights "$weights" --batch "$batches" --depth "$depth" \
    --prompt 512 --generate 128 --threads "$threads" --repeat "$repeat" > "$log"
  awk -F'|' -v format="$weights" '
    NF == 3 && $1 ~ /^ +[0-9]/ {
      split($1, sizes, " "); split($2, prefill, " "); split($3, decode, " ")
      printf "| %s | %s | %s | %s %s | %s | %s %s | %s |\n", format, sizes[1], sizes[2], prefill[1],
             prefill[2], prefill[3], decode[1], decode[2], decode[3]
    }' "$log"
}

echo "| format | batch | depth | prefill 512, tokens/s | share | decode 128, tokens/s | share |"
echo "|---|---|---|---|---|---|---|"
run int4 1,4,16 0
run int8 1,4,16 0
run as-stored 1,4,16 0
run int4 1 4096
run int8 1 4096
echo
sed -n 2p "$out/int4-0.txt"
for log in int4-0 int8-0 as-stored-0 int4-4096 int8-4096; do sed -n '/^limits/,$p' "$out/$log.txt"; done |
  awk 'NR == 1 || !/^limits/'
