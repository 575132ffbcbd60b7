#!/bin/sh
# Installs what is missing of the packages of scripts/packages.txt, of node and npm, and of the clients that
# tests/clients pins. Says nothing and asks nothing of the network when all are there.
set -eu
cd "$(dirname "$0")"
packages=$(grep -v '^#' packages.txt)
missing=""
for package in $packages; do
  status=$(dpkg-query -W -f '${db:Status-Abbrev}' "$package" 2>/dev/null) || status=""
  case "$status" in ii*) ;; *) missing="$missing $package" ;; esac
done
# By command and not by package: where node comes from elsewhere it brings npm, and Debian's packages would clash with it.
command -v node >/dev/null || missing="$missing nodejs"
command -v npm >/dev/null || missing="$missing npm"

# A copy of the lock file is left beside what it installed: the same again needs no network.
install_clients() {
  clients=../tests/clients
  cmp -s $clients/package-lock.json $clients/node_modules/.installed-lock && return
  echo "Installing the clients that are tested against (tests/clients)"
  log=$(mktemp)
  if ! npm ci --prefix $clients --no-audit --no-fund --ignore-scripts >"$log" 2>&1; then
    cat "$log" >&2
    echo "hadal: npm could not install the clients of tests/clients; building goes on, but their tests will fail" >&2
  else
    cp $clients/package-lock.json $clients/node_modules/.installed-lock
  fi
  rm -f "$log"
}

if [ -z "$missing" ]; then
  install_clients
  exit 0
fi

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
install_clients
