#!/bin/sh
# build.sh PRESET [TARGET…]: configures (once) and builds; silent when there is nothing to do.
set -eu
cd "$(dirname "$0")/.."
preset=$1
shift
folder=build/$preset
if [ ! -f "$folder/build.ninja" ]; then
  log=$(mktemp)
  cmake --preset "$preset" >"$log" 2>&1 || { cat "$log" >&2; exit 2; }
  rm -f "$log"
fi
ninja -C "$folder" -n "$@" 2>/dev/null | grep -q 'no work to do' && exit 0
if [ -t 1 ]; then
  ninja -C "$folder" "$@"
else
  ninja -C "$folder" --quiet "$@"
fi
