#!/bin/bash
# Runs the fuzzers that `make fuzz` has built, or minimises what they found.
#   run.sh fuzz|merge ONLY TIME RUNS NAME...
# ONLY: names that contain it; TIME: seconds for each, RUNS: executions for each (neither: 60 seconds).
# BUILD: where they are. There, run/NAME/new holds what was found since the last merge, run/NAME.execs how often the
# fuzzer has run in all. An input that breaks one goes to tests/fuzz/crashes/NAME, and the status is not 0.
set -u
cd "$(dirname "$0")/../.." || exit 1
what=$1 only=$2 time=$3 runs=$4
shift 4
[ -n "$time$runs" ] || time=60
run=$BUILD/run
# Stacks of allocations are short and freed memory is kept for a short while: both cost more than the parsers do.
# A crash is looked at again by a plain run, with the defaults.
export ASAN_OPTIONS=malloc_context_size=2:quarantine_size_mb=8:detect_stack_use_after_return=0${ASAN_OPTIONS:+:$ASAN_OPTIONS}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}
status=0

# options NAME: what libFuzzer is told about it. No input may make a fuzzer allocate more than 64 MiB at once, or
# stop it for two minutes. Entropic scheduling costs more than it finds where an execution takes microseconds.
options() {
    sed -n "s/^$1[[:space:]]\+//p" tests/fuzz/options
    [ ! -f "tests/fuzz/dict/$1.dict" ] || echo "-dict=tests/fuzz/dict/$1.dict"
    echo -rss_limit_mb=1024 -malloc_limit_mb=64 -timeout=120 -entropic=0
}

fuzz_one() { # NAME
    local name=$1 dirs=("$run/$1/new" "tests/fuzz/corpus/$1") log=$run/$1.log n total rc limit=() cases=()
    mkdir -p "${dirs[@]}" "tests/fuzz/crashes/$name"
    [ ! -d "tests/fuzz/cases/$name" ] || cases=("tests/fuzz/cases/$name")
    [ -z "$time" ] || limit+=("-max_total_time=$time")
    [ -z "$runs" ] || limit+=("-runs=$runs")
    # shellcheck disable=SC2046
    "$BUILD/fuzz/fuzz_$name" $(options "$name") "${limit[@]}" -print_final_stats=1 -verbosity=1 \
        -artifact_prefix="tests/fuzz/crashes/$name/" "${dirs[@]}" "tests/fuzz/crashes/$name" "${cases[@]}" >"$log" 2>&1
    rc=$?
    n=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log" | tail -n 1)
    total=$(($(cat "$run/$name.execs" 2>/dev/null || echo 0) + ${n:-0}))
    echo "$total" >"$run/$name.execs"
    rmdir "tests/fuzz/crashes/$name" 2>/dev/null
    printf '%-16s %12d %9d %12d %6d  %s\n' "$name" "${n:-0}" \
        "$(sed -n 's/^stat::average_exec_per_sec: *//p' "$log" | tail -n 1)" "$total" \
        "$(find "${dirs[@]}" -type f | wc -l)" "$([ $rc = 0 ] && echo ok || echo "FAILED: $log")"
    [ $rc = 0 ] || status=1
}

merge_one() { # NAME
    local name=$1 corpus=tests/fuzz/corpus/$1 fresh=$run/$1/merged
    mkdir -p "$run/$name/new" "$corpus"
    rm -rf "$fresh"
    mkdir "$fresh"
    # shellcheck disable=SC2046
    if ! "$BUILD/fuzz/fuzz_$name" $(options "$name") -merge=1 "$fresh" "$corpus" "$run/$name/new" \
        >"$run/$name.log" 2>&1; then
        echo "$name: not merged: $run/$name.log" >&2
        status=1
        return
    fi
    find "$corpus" -type f -delete
    cp "$fresh"/* "$corpus/"
    rm -rf "$fresh" "$run/$name/new"
    printf '%-16s %6d inputs %8d bytes\n' "$name" "$(find "$corpus" -type f | wc -l)" \
        "$(find "$corpus" -type f -printf '%s\n' | awk '{ n += $1 } END { print n + 0 }')"
}

mkdir -p "$run"
[ "$what" != fuzz ] || printf '%-16s %12s %9s %12s %6s\n' fuzzer executions a-second in-all inputs
for name; do
    [[ $name == *$only* ]] || continue
    case $what in fuzz) fuzz_one "$name" ;; merge) merge_one "$name" ;; esac
done
exit $status
