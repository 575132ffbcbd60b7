#!/bin/sh
# Puts what tests run and the build does not need into a folder: Debian's Prometheus (promtool, prometheus). The package
# is unpacked, not installed: installing would start a service, and needs root. Says nothing where it is there.
# usage: test_tools.sh FOLDER
set -eu
folder=$1
[ -x "$folder/usr/bin/prometheus" ] && [ -x "$folder/usr/bin/promtool" ] && exit 0
mkdir -p "$folder"
work=$(mktemp -d "$folder/fetch.XXXXXX")
trap 'rm -rf "$work"' EXIT
cd "$work"
if ! apt-get download -q prometheus >log 2>&1; then
  cat log >&2
  echo "hadal: Debian's package 'prometheus' could not be fetched; run 'apt-get update', or put prometheus and" \
       "promtool into $folder/usr/bin" >&2
  exit 2
fi
dpkg-deb --extract prometheus_*.deb unpacked
# The binaries are static but for libc; the rest of the package is its service and its web page's libraries.
mkdir -p "$folder/usr/bin"
mv unpacked/usr/bin/promtool "$folder/usr/bin/promtool"
mv unpacked/usr/bin/prometheus "$folder/usr/bin/prometheus"
