#!/bin/sh
# Real ranks under mpirun: every primitive; a rank that hangs and one that is killed are named by the others.
# Usage: mpi.sh MPI_CHECK
set -eu
check=$1
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_btl_base_warn_component_unused=0
launch() {
  mpirun --oversubscribe -n "$1" "$check" "$dir" ${2:-} >"$dir/out" 2>&1
}
expect() {
  grep -q "$1" "$dir/out" || { echo "expected '$1' in:"; cat "$dir/out"; exit 1; }
}
for ranks in 2 3 4; do
  launch "$ranks" || { cat "$dir/out"; exit 1; }
  expect "ok: $ranks ranks"
done
if launch 3 hang; then echo "a rank that hangs was not noticed"; exit 1; fi
expect "rank [01] waited 2.0 s in 'gradients'; rank 2 (host .*) computes or hangs: its last operation was 'last step'"
if grep -q "rank [01] (host" "$dir/out"; then echo "a rank that waited was blamed:"; cat "$dir/out"; exit 1; fi
if launch 3 kill; then echo "a rank that died was not noticed"; exit 1; fi
expect "rank 2 (host .*) is gone: its last operation was 'last step'\|rank 2 .*exited on signal 9"
if launch 3 split; then echo "a rank that did not come to a split was not noticed"; exit 1; fi
expect "rank [01] waited 2.0 s in 'split'; rank 2 (host .*) computes or hangs"
# A rank that announced long work is waited for beyond the limit, but not when it is gone.
launch 3 work || { cat "$dir/out"; exit 1; }
if launch 3 work-kill; then echo "a rank that died at its work was not noticed"; exit 1; fi
expect "rank 2 (host .*) is gone: its last operation was 'export'\|rank 2 .*exited on signal 9"
