#!/bin/bash
# Runs the tests and prints what happened, last of all "N passed, N failed, N skipped".
#   tests/run.sh [PATTERN]     only files whose path matches the shell pattern *PATTERN*
# BUILD: where the programs are (default build); KERNEL=uml adds tests/kernel; SAN=1: built with sanitizers.
# A test file is a unit test program (TAP by cmocka), or a shell script that prints "ok - name",
# "not ok - name" and "skip - name: reason". A file that dies or says nothing counts as a failure.
set -u
cd "$(dirname "$0")/.." || exit 1
export BUILD=${BUILD:-build} SAN=${SAN:-}
only=${1:-}
logs=$BUILD/log
rm -rf "$logs"
mkdir -p "$logs"
pass=0 fail=0 skip=0 reasons=()
export ASAN_OPTIONS=${ASAN_OPTIONS:-detect_leaks=1:abort_on_error=0:detect_stack_use_after_return=0}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}

# tally NAME LOG STATUS SECONDS: reads the lines of one file's output
tally() {
    local name=$1 log=$2 rc=$3 p f s line
    # cmocka says "not ok N # SKIP name" of a test that skipped itself; the test has said why before
    s=$(grep -acE '^(not )?ok\b.*# SKIP|^skip - ' "$log")
    p=$(grep -aE '^ok\b' "$log" | grep -avc '# SKIP')
    f=$(grep -aE '^not ok\b' "$log" | grep -avc '# SKIP')
    while read -r line; do reasons+=("$name: $line"); done < <(grep -aE '^skip - |# SKIP|^# skipped: ' "$log")
    if [ "$f" = 0 ] && { [ "$rc" != 0 ] || [ $((p + s)) = 0 ]; }; then f=1; fi
    pass=$((pass + p)) fail=$((fail + f)) skip=$((skip + s))
    printf '%-44s %4d passed %3d failed %3d skipped %5s s\n' "$name" "$p" "$f" "$s" "$4"
    if [ "$f" != 0 ]; then
        grep -aE '^not ok' "$log" | grep -av '# SKIP' | sed 's/^/    /'
        echo "    ended with status $rc; the end of $log:"
        tail -n "${TAIL:-25}" "$log" | sed 's/^/    | /'
    fi
}
run() { # NAME LIMIT command...
    local name=$1 limit=$2 log t0=$SECONDS rc
    shift 2
    log=$logs/${name//\//-}.log
    timeout -k 10 "$limit" "$@" >"$log" 2>&1 </dev/null
    rc=$?
    [ $rc != 124 ] || echo "time limit of $limit s" >>"$log"
    tally "$name" "$log" "$rc" $((SECONDS - t0))
}
wanted() { [[ $1 == *$only* ]]; }

for t in $(find "$BUILD/unit" -type f -name 'test_*' ! -name '*.*' 2>/dev/null | sort); do
    n=unit/${t#"$BUILD"/unit/}
    wanted "$n" && CMOCKA_MESSAGE_OUTPUT=TAP run "$n" 300 "$t"
done
# Each fuzzer with the inputs that reached something new once, and those that broke it
for t in "$BUILD"/fuzz/fuzz_*; do
    n=${t##*/fuzz_}
    [ -x "$t" ] && [ ! -d "$t" ] && wanted "fuzz/$n" || continue
    dirs=()
    for d in tests/fuzz/{corpus,cases,crashes}/"$n"; do [ ! -d "$d" ] || dirs+=("$d"); done
    if [ ${#dirs[@]} = 0 ]; then
        run "fuzz/$n" 10 echo "skip - $n: no inputs are kept yet"
    else
        run "fuzz/$n" 300 "$t" "${dirs[@]}"
    fi
done
for t in check mutants; do
    wanted "sim/$t" && run "sim/$t" 1800 "tests/sim/$t.sh"
done
for t in tests/e2e/*.sh; do
    case ${t##*/} in harness.sh | demo.sh) continue ;; esac
    n=e2e/$(basename "$t" .sh)
    wanted "$n" && run "$n" 600 "$t"
done
wanted conformance && run conformance 900 tests/conformance/run.sh --tap
if [ -n "${KERNEL:-}" ]; then
    wanted kernel && run "kernel/$KERNEL" 1500 tests/kernel/run.sh --tap "$KERNEL"
fi

if [ ${#reasons[@]} != 0 ]; then
    echo
    echo "Skipped, and why:"
    printf '    %s\n' "${reasons[@]}"
fi
echo
echo "$pass passed, $fail failed, $skip skipped"
[ $fail = 0 ] && [ $pass != 0 ]
