#!/bin/bash
# Bugs planted on purpose (tests/sim/mutants/*.patch, built by `make mutants`): the simulation must find each within
# 2,000 seeds from the first on. What it prints must replay the failure, where the bug is not one of chance itself.
set -u
cd "$(dirname "$0")/../.." || exit 1
build=${BUILD:-build}
jobs=$(nproc)
dir=$(mktemp -d "${TMPDIR:-/tmp}/corelane-mutants.XXXXXX") || exit 1
trap 'rm -rf "$dir"' EXIT
failed=0
ulimit -c 0
if [ -n "${SAN:-}" ]; then
    echo "skip - planted bugs: they are built without sanitizers"
    exit 0
fi
for patch in tests/sim/mutants/*.patch; do
    name=$(basename "$patch" .patch)
    sim=$build/mutants/$name/corelane-sim
    scenes=()
    grep -q '^# paths' "$patch" && scenes=(--paths)
    "$sim" "${scenes[@]}" --seeds 2000 --jobs "$jobs" --stop-after 1 --limit 900 >"$dir/out" 2>&1
    rc=$?
    found=$(sed -n 's/.* failed (from 1), the first: \([0-9]*\)$/\1/p' "$dir/out")
    if [ $rc = 1 ] && [ -n "$found" ]; then
        echo "ok - planted, and found by seed $found: $name"
    else
        failed=1
        tail -n 20 "$dir/out" | sed 's/^/# /'
        echo "not ok - planted, and not found: $name"
        continue
    fi
    grep -q '^# replayable' "$patch" || continue
    read -ra again < <(sed -n 's/^ *replay it with: //p' "$dir/out")
    if ("${again[@]}" --quiet; exit $?) >"$dir/again" 2>&1; then
        failed=1
        echo "not ok - what it says replays $name: ${again[*]}"
    else
        echo "ok - what it says replays $name"
    fi
done
exit $failed
