#!/bin/sh
# build.sh PRESET [TARGET…]: configures (once) and builds; away from a terminal, silent unless it fails.
set -eu
cd "$(dirname "$0")/.."
preset=$1
shift
folder=build/$preset
mkdir -p build
exec 9>"build/.$preset.lock" # of two at once, the second finds all built
flock 9
if [ ! -f "$folder/build.ninja" ]; then
  log=$(mktemp)
  cmake --preset "$preset" >"$log" 2>&1 || { cat "$log" >&2; exit 2; }
  rm -f "$log"
fi
if [ -t 1 ]; then
  ninja -C "$folder" "$@"
else  # nobody watches: speak only of failure
  output=$(ninja -C "$folder" --quiet "$@" 2>&1) || { printf '%s\n' "$output" >&2; exit 2; }
fi
