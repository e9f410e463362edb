#!/bin/bash
# libiscsi's iscsi-test-cu, all of it, destructive tests on, against a RAM LUN of our target with a second path.
# Prints run, failed, skipped and "clean passes = run - failed - skipped": the suite itself counts a test that
# said [SKIPPED] as passed. Fails when a test failed or more than $SKIPS_MAX were skipped.
#   --tap     also one line for the summary of all tests
#   --list    name every skipped test
set -u
cd "$(dirname "$0")/../.." || exit 1
SKIPS_MAX=${SKIPS_MAX:-55}
export BUILD=${BUILD:-build}
# shellcheck source=tests/e2e/harness.sh
. tests/e2e/harness.sh
tap='' list=''
for a in "$@"; do case $a in --tap) tap=1 ;; --list) list=1 ;; *) echo "usage: $0 [--tap] [--list]" >&2; exit 2 ;; esac; done

e2e_begin
start_targetd --portal 127.0.0.1:0 --portal '[::1]:0'
iqn=iqn.2026-11.test.corelane:conformance
cl target create $iqn >/dev/null && cl lun create $iqn --ram 128M --lun 0 >/dev/null || exit 1
mapfile -t portals < <(cl target list --json | jq -r '.[0].portals[]')
log=$E2E_DIR/cu.log
one=iscsi://${portals[0]}/$iqn/0
two=iscsi://${portals[1]:-${portals[0]}}/$iqn/0
timeout 800 iscsi-test-cu -d -S -t ALL "$one" "$two" >"$log" 2>&1
rc=$?
mkdir -p "$BUILD/log" && cp "$log" "$BUILD/log/iscsi-test-cu.txt"

# CUnit's table: Type Total Ran Passed Failed Inactive
read -r total ran failed < <(awk '$1 == "tests" {print $2, $3, $5}' "$log")
if [ -z "${ran:-}" ]; then
    echo "iscsi-test-cu ended with status $rc and no summary; the end of its output:"
    tail -n 30 "$log"
    [ -z "$tap" ] || echo "not ok - iscsi-test-cu"
    exit 1
fi
# a test is "Test: NAME ... passed" or "...FAILED", with what it said before the verdict
skips=$(awk '/^ *Test: / {name = $2; said = 0} /\[SKIPPED\]/ && !said {said = 1; print suite "." name} /^Suite: / {suite = $2}' "$log")
skipped=$(printf '%s' "$skips" | grep -c .)
echo "iscsi-test-cu: $total tests, $ran run, $failed failed, $skipped skipped"
echo "clean passes = $ran - $failed - $skipped = $((ran - failed - skipped))"
[ "$failed" = 0 ] || grep -aE 'FAILED|^ +[0-9]+\. ' "$log" | head -40
[ -z "$list" ] || printf '%s\n' "$skips"
if [ "$failed" = 0 ] && [ "$ran" = "$total" ] && [ "$skipped" -le "$SKIPS_MAX" ]; then
    [ -z "$tap" ] || echo "ok - iscsi-test-cu: $((ran - failed - skipped)) clean passes of $ran"
    exit 0
fi
[ -z "$tap" ] || echo "not ok - iscsi-test-cu: $failed failed, $skipped skipped (at most $SKIPS_MAX)"
exit 1
