#!/bin/bash
# Measures Corelane in one run: initiator on core 0, target on core 1. A and B alternate; medians and ratios are
# printed, and kept in bench/results/ under the commit they were taken at.
#   bench/run.sh [-n ROUNDS] [-s SECONDS] [-k] [PART]...
#     -k      keep the results even from a tree with changes, or of some parts only
#     PART    tcp: over TCP, beside what people use today; loop: shared memory on one host; lqd: four paths, one slow;
#             failover: a path breaks; moves: sessions move between cores; scale: 1 to 1,024 sessions. All if none is named
#   BENCH_DIR: where the file of the file LUN is made, on a real disk (default: the build directory)
set -u
cd "$(dirname "$0")/.." || exit 1
export BUILD=${BUILD:-build}
# shellcheck source=tests/e2e/harness.sh
. tests/e2e/harness.sh
usage() { sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; exit 2; }
rounds=3 secs=2 keep=
while getopts n:s:k o; do
    case $o in n) rounds=$OPTARG ;; s) secs=$OPTARG ;; k) keep=1 ;; *) usage ;; esac
done
shift $((OPTIND - 1))
all=(tcp loop lqd failover moves scale) parts=("$@")
[ $# != 0 ] || parts=("${all[@]}")
for p in "${parts[@]}"; do [[ " ${all[*]} " == *" $p "* ]] || usage; done
[ "$(nproc)" -ge 2 ] || { echo "bench: needs two cores: one for the initiator, one for the target" >&2; exit 1; }
for p in lib "${parts[@]}"; do
    # shellcheck source=bench/lib.sh
    . "bench/$p.sh"
done

commit=$(git rev-parse --short HEAD 2>/dev/null || echo none)
[ -z "$(git status --porcelain -- '*.c' '*.h' Makefile 2>/dev/null)" ] || commit=$commit-dirty
out=bench/results/$commit.txt
mkdir -p bench/results
[ "${parts[*]}" = "${all[*]}" ] && [ "$commit" = "${commit%-dirty}" ] || [ -n "$keep" ] || out=/dev/null
exec > >(tee "$out")
echo "Corelane $commit, $(uname -srm), $(nproc) cores, $(sed -n 's/^model name.*: //p;T;q' /proc/cpuinfo)"
echo "$rounds rounds of $secs s each, medians; initiator on core 0, target on core 1, both polling; RAM LUN"

e2e_begin
iqn=iqn.2026-11.test.corelane:bench
start_targetd --cores 1 --mode poll
cl target create $iqn >/dev/null && cl lun create $iqn --ram 512M --lun 0 >/dev/null &&
    cl lun create $iqn --null 512M --lun 1 >/dev/null || exit 1
ours=iscsi://$PORTAL/$iqn/0
# every page of the disk is there before anything is timed
fill "$ours" || exit 1
for p in "${parts[@]}"; do "part_$p"; done
[ "$out" = /dev/null ] && echo && echo "(only parts of it, or the tree has changes: not kept; -k keeps)"
exit 0
