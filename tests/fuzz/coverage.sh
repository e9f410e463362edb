#!/bin/bash
# How much of the protocol code the corpora reach by themselves: a table of lines, file by file, and the total.
#   coverage.sh NAME...
# BUILD: where `make coverage` has built the fuzzers, with counters. NAMEs that have no corpus are left out, and named.
# What counts as protocol code is tests/fuzz/protocol-files, with the reasons for what does not.
set -eu
cd "$(dirname "$0")/../.."
tool() { command -v "$1" || command -v "$1-14"; }
cov=$(tool llvm-cov) profdata=$(tool llvm-profdata)
work=$BUILD/cov
rm -rf "$work"
mkdir -p "$work"
objects=()
for name; do
    dirs=()
    for d in tests/fuzz/{corpus,cases,crashes}/"$name"; do [ ! -d "$d" ] || dirs+=("$d"); done
    if [ ${#dirs[@]} = 0 ]; then
        echo "$name: no corpus" >&2
        continue
    fi
    LLVM_PROFILE_FILE=$work/$name.profraw "$BUILD/fuzz/fuzz_$name" "${dirs[@]}" >"$work/$name.log" 2>&1 ||
        { tail -n 5 "$work/$name.log" >&2; exit 1; }
    objects+=(-object "$BUILD/fuzz/fuzz_$name")
done
"$profdata" merge -o "$work/all.profdata" "$work"/*.profraw
files=() missing=0
while read -r pattern; do
    for f in $pattern; do
        files+=("$f")
        # The object too: code that no fuzzer links is code that no fuzzer runs, and must count
        if [ -f "$BUILD/${f%.c}.o" ]; then objects+=(-object "$BUILD/${f%.c}.o"); else
            echo "$f: not built" >&2
            missing=1
        fi
    done
done < <(sed 's/#.*//; /^[[:space:]]*$/d' tests/fuzz/protocol-files)
[ $missing = 0 ]
"$cov" report -instr-profile="$work/all.profdata" "${objects[@]:1}" "${files[@]}" >"$work/report.txt" 2>"$work/cov.log" ||
    { cat "$work/cov.log" >&2; exit 1; }
# "llvm-cov show" of one file with what was not reached: see docs/testing.md
awk '$1 ~ /\.c$|^TOTAL$/ { if ($1 == "TOTAL") print ""; printf "%-32s %6d lines %6d not reached %8s\n", $1, $8, $9, $10 }' \
    "$work/report.txt"
