#!/bin/sh
# Includes point down only: prints every include in src/ that reaches a layer its own may not use.
set -eu
cd "$(dirname "$0")/../src"
allowed() {
  case $1 in
    base) echo "" ;;
    tensor) echo "base" ;;
    kernels | parallel) echo "base tensor" ;;
    text | vault) echo "base" ;;
    model) echo "base tensor kernels parallel vault" ;;
    engine | train) echo "base tensor kernels parallel vault model text" ;;
    server) echo "base tensor kernels parallel vault model text engine train" ;;
    ops) echo "base tensor kernels parallel vault model text engine train server" ;;
    cli) echo "base tensor kernels parallel vault model text engine train server ops" ;;
    *) echo "unknown" ;;
  esac
}
bad=0
checked=0
for layer in *; do
  [ -d "$layer" ] || continue
  may="$layer $(allowed "$layer")"
  if [ "$may" = "$layer unknown" ]; then
    echo "src/$layer is no layer of docs/design.md"
    bad=$((bad + 1))
    continue
  fi
  for line in $(grep -rnoE --include='*.h' --include='*.cc' '#include "[a-z_]+/' "$layer" | sed 's/#include "//; s/ //g'); do
    target=$(printf '%s' "$line" | sed 's/.*:\([a-z_]*\)\/$/\1/')
    checked=$((checked + 1))
    case " $may " in
      *" $target "*) ;;
      *) echo "src/$line: $layer may include only: $may"; bad=$((bad + 1)) ;;
    esac
  done
done
echo "$checked includes checked, $bad point up"
[ "$checked" -gt 0 ] && [ "$bad" -eq 0 ]
