#!/bin/sh
# The files of deploy/prometheus as Prometheus reads them; every alert has severity, summary, description, a section of
# the runbook, and a test.
# usage: rules.sh SOURCE PROMTOOL
set -eu
source=$1
promtool=$2
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
fail() {
  echo "$*" >&2
  exit 1
}

cp -r "$source/deploy/prometheus/." "$folder"
mkdir "$folder/hadal"
: >"$folder/hadal/ca.crt"
: >"$folder/hadal/token"
"$promtool" check config "$folder/prometheus.yml"
"$promtool" test rules "$folder"/tests/*.yml

count=0
for alert in $(sed -n 's/^ *- alert: //p' "$folder"/rules/*.yml); do
  count=$((count + 1))
  rule=$(sed -n "/- alert: $alert\$/,/runbook_url:/p" "$folder"/rules/*.yml)
  anchor=$(echo "$alert" | tr '[:upper:]' '[:lower:]')
  for part in 'severity: ' 'summary: ' 'description: ' "runbook_url: docs/runbook.md#$anchor\$"; do
    echo "$rule" | grep -q "$part" || fail "alert $alert has no '$part'"
  done
  grep -q "^## $alert\$" "$source/docs/runbook.md" || fail "docs/runbook.md has no section $alert"
  grep -q "\"$alert\"" "$folder"/tests/*.yml || fail "no test in deploy/prometheus/tests names $alert"
done
[ "$count" -ge 15 ] || fail "only $count alerts found"

# Each threshold that a rule reads is set, each that is set is read, and its absence is noticed.
for threshold in $(grep -oh 'hadal:threshold:[a-z0-9_]*' "$folder"/rules/*.yml | sort -u); do
  grep -q "record: $threshold\$" "$folder/rules/thresholds.yml" || fail "$threshold is not set in thresholds.yml"
  grep -q "absent($threshold)" "$folder/rules/service.yml" || fail "HadalThresholdMissing does not know $threshold"
  grep -h "$threshold" "$folder/rules/service.yml" "$folder/rules/gpu.yml" | grep -qv absent || fail "no rule reads $threshold"
done
