#!/bin/bash
# The simulation's part of `make check`: 500 seeds are green, a seed is the same each time it is played, and what
# corelane-sim says of failures can be used. BUILD: where corelane-sim is; SEEDS: how many (fewer with sanitizers).
set -u
cd "$(dirname "$0")/../.." || exit 1
sim=${BUILD:-build}/corelane-sim
seeds=${SEEDS:-$([ -n "${SAN:-}" ] && echo 60 || echo 500)}
few=$((seeds / 20))
paths=$((seeds / 4)) # of those with several paths, beside every fifth of the others
jobs=$(nproc)
dir=$(mktemp -d "${TMPDIR:-/tmp}/corelane-sim.XXXXXX") || exit 1
trap 'rm -rf "$dir"' EXIT
failed=0
ok() { # NAME command...
    local name=$1
    shift
    if "$@" >"$dir/out" 2>&1; then
        echo "ok - $name"
    else
        failed=1
        sed 's/^/# /' "$dir/out"
        echo "not ok - $name"
    fi
}
fingerprint() { "$sim" "$@" | sed -n 's/.*fingerprint \([0-9a-f]*\)$/\1/p' | tail -n 1; }
same() { [ -n "$1" ] && [ "$1" = "$2" ]; }
usage() { "$sim" "$@"; [ $? = 2 ]; }

"$sim" --seeds "$seeds" --jobs "$jobs" --limit 900 >"$dir/seeds" 2>&1
rc=$?
sed 's/^/# /' "$dir/seeds"
ok "$seeds seeds are green" test $rc = 0
"$sim" --paths --seeds "$paths" --jobs "$jobs" --limit 900 >"$dir/seeds" 2>&1
rc=$?
sed 's/^/# /' "$dir/seeds"
ok "$paths seeds with several paths are green" test $rc = 0
ok "one with several paths is the same when it is played again" "$sim" --paths --seeds "$few" --jobs "$jobs" --twice --limit 900
ok "a seed is the same when it is played again" "$sim" --seeds "$few" --jobs "$jobs" --twice --limit 900
ok "and in whatever process it is played" same "$(fingerprint --seeds 6 --jobs 1)" "$(fingerprint --seeds 6 --jobs 3)"
ok "one seed alone says the same of itself" same "$(fingerprint --seed 3 --quiet)" \
    "$("$sim" --seeds 1 --from 3 --each | sed -n 's/^seed 3: .*fingerprint \([0-9a-f]*\)$/\1/p')"
ok "a full log does not change it" same "$(fingerprint --seed 3)" "$(fingerprint --seed 3 --quiet)"
ok "a number that is none is refused" usage --seed many
ok "a seed and a count of them exclude each other" usage --seed 1 --seeds 2
exit $failed
