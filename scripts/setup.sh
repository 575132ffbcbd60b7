#!/bin/sh
# Installs the packages of scripts/packages.txt that are missing. Says nothing and asks nothing of the network when
# all are there.
set -eu
cd "$(dirname "$0")"
packages=$(grep -v '^#' packages.txt)
missing=""
for package in $packages; do
  status=$(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null) || status=""
  case "$status" in ii*) ;; *) missing="$missing $package" ;; esac
done
[ -z "$missing" ] && exit 0

if ! command -v apt-get >/dev/null; then
  echo "hadal: this set-up needs Debian's apt-get; install by hand:$missing" >&2
  exit 2
fi
root=""
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "hadal: become root or install sudo to install:$missing" >&2; exit 2; }
  root=sudo
fi
echo "Installing$missing"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
if ! { $root apt-get update -q && $root apt-get install -q -y --no-install-recommends $missing; } >"$log" 2>&1; then
  cat "$log" >&2
  echo "hadal: the packages above could not be installed (full log: $log)" >&2
  exit 2
fi
rm -f "$log"
