#!/bin/bash
# Measures Corelane beside what people use today, all in one run: initiator on core 0, target on core 1, RAM LUN,
# TCP over loopback. A and B alternate; medians and ratios are printed, and kept in bench/results/ under the
# commit they were taken at.
#   bench/run.sh [-n ROUNDS] [-s SECONDS] [-k]     -k: keep the results even from a tree with changes
set -u
cd "$(dirname "$0")/.." || exit 1
export BUILD=${BUILD:-build}
# shellcheck source=tests/e2e/harness.sh
. tests/e2e/harness.sh
rounds=3 secs=3 keep=
while getopts n:s:k o; do
    case $o in n) rounds=$OPTARG ;; s) secs=$OPTARG ;; k) keep=1 ;; *) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; exit 2 ;; esac
done
[ "$(nproc)" -ge 2 ] || { echo "bench: needs two cores: one for the initiator, one for the target" >&2; exit 1; }
# shellcheck source=bench/lib.sh
. bench/lib.sh

commit=$(git rev-parse --short HEAD 2>/dev/null || echo none)
[ -z "$(git status --porcelain -- '*.c' '*.h' Makefile 2>/dev/null)" ] || commit=$commit-dirty
out=bench/results/$commit.txt
mkdir -p bench/results
[ "$commit" = "${commit%-dirty}" ] || [ -n "$keep" ] || out=/dev/null
exec > >(tee "$out")
echo "Corelane $commit, $(uname -srm), $(nproc) cores, $(sed -n 's/^model name.*: //p;T;q' /proc/cpuinfo)"
echo "$rounds rounds of $secs s each, medians; initiator on core 0, target on core 1, TCP over loopback, RAM LUN"
echo

e2e_begin
iqn=iqn.2026-11.test.corelane:bench
start_targetd --cores 1 --mode poll
cl target create $iqn >/dev/null && cl lun create $iqn --ram 512M --lun 0 >/dev/null &&
    cl lun create $iqn --null 512M --lun 1 >/dev/null || exit 1
ours=iscsi://$(cl target list --json | jq -r '.[0].portals[0]')/$iqn/0
bench_tgtd 512M
theirs=$BENCH_TGT_URL
# every page of both disks is there before anything is timed
fill "$ours" && fill "$theirs" || exit 1

echo "== 4 KiB random reads, depth 32, one session (I/O per second)"
ab "corelane -> corelane" "cl_bench $ours" "corelane -> tgt" "cl_bench $theirs" \
   "libiscsi -> corelane" "li_perf $ours" "libiscsi -> tgt" "li_perf $theirs"
ratio "corelane -> corelane" "libiscsi -> tgt" 4
ratio "libiscsi -> corelane" "libiscsi -> tgt" 3
goal "corelane -> corelane" 100000
echo
echo "== the same with qemu-img bench"
ab "qemu -> corelane" "qemu_bench $ours" "qemu -> tgt" "qemu_bench $theirs"
ratio "corelane -> corelane" "qemu -> tgt" 4
ratio "qemu -> corelane" "qemu -> tgt" 3
echo
echo "== 4 KiB random reads, depth 32 each, four sessions; depth 1"
ab "4 sessions" "cl_bench $ours --jobs 4 --cores 0" "1 session" "cl_bench $ours" \
   "depth 1" "cl_bench $ours --qd 1" "depth 1, libiscsi -> tgt" "li_perf $theirs 1"
ratio "4 sessions" "1 session" 1
ratio "depth 1" "depth 1, libiscsi -> tgt"
echo
echo "== 4 KiB random writes, depth 32; mixed 70/30"
ab "writes" "cl_bench $ours --rw randwrite" "writes, corelane -> tgt" "cl_bench $theirs --rw randwrite" \
   "mixed" "cl_bench $ours --rw randrw --rwmixread 70"
ratio "writes" "writes, corelane -> tgt"
echo
echo "== 1 MiB sequential (MB per second)"
UNIT=bytes ab "read 1 MiB" "cl_bench $ours --rw read --bs 1M --qd 8" "write 1 MiB" "cl_bench $ours --rw write --bs 1M --qd 8" \
   "read 1 MiB, corelane -> tgt" "cl_bench $theirs --rw read --bs 1M --qd 8"
goal "read 1 MiB" 2000
goal "write 1 MiB" 2000
echo
echo "== null LUN, 4 KiB random reads, depth 128: the protocol's own cost"
ab "null" "cl_bench ${ours%/0}/1 --qd 128"
echo
instructions
echo
memory
[ "$out" = /dev/null ] && echo && echo "(the tree has changes: not kept; -k keeps)"
exit 0
