#!/bin/bash
# Runs the kernel tests, each in a kernel of its own (lab/README.md), and prints a line for each:
#   ok NAME seconds | FAILED NAME | skipped NAME: reason      and last of all "N passed, N failed, N skipped"
#
#   tests/kernel/run.sh [--tap] [uml|tcg|PATTERN]...     default: all
#
# A test is uml-NAME.sh or tcg-NAME.sh; its PATTERN matches a part of that. BUILD: where the programs are (default
# build). What it wants of its guest stands in it, as "# lab: OPTIONS" of the lab's script, in which DISK is an empty file of
# 512 MiB, and as "# limit: SECS" how long it may take where that is not what its like may; "# quiet" leaves it out of
# `make check`. --tap: "ok - NAME", "not ok - NAME", "skip - NAME: reason", and the output of what failed.
set -u
BUILD=$(readlink -m "${BUILD:-$(dirname "$0")/../../build}")    # before the directory changes: it may be relative
export BUILD
cd "$(dirname "$0")" || exit 1
here=$PWD
for p in corelane corelaned corelane-targetd unit/export/exp_{probe,pressure}; do
    [ -x "$BUILD/$p" ] || { echo "$0: $BUILD/$p is not there: build it first (make check-kernel does)" >&2; exit 1; }
done
tap=''
[ "${1:-}" != --tap ] || { tap=1; shift; }
[ $# -gt 0 ] || set -- ''
logs=$BUILD/log/kernel
mkdir -p "$logs"
pass=0 fail=0 skip=0
declare -A limit=([uml]=120 [tcg]=400)

report() { # ok|not ok|skip NAME REST
    if [ -n "$tap" ]; then
        printf '%s - %s%s\n' "$1" "$2" "${3:+${3/#/ }}"
        return
    fi
    case $1 in
    ok) printf 'ok %s %s\n' "$2" "$3" ;;
    skip) printf 'skipped %s\n' "$2$3" ;;
    *) printf 'FAILED %s\n' "$2" ;;
    esac
}
# Whether a lab of this kind can be had; what it needs is fetched at the first use.
declare -A usable=()
lab_usable() { # KIND
    if [ -z "${usable[$1]:-}" ]; then
        usable[$1]=yes
        # a cold cache is filled here, outside any test's time
        lab/"$1"-run.sh -r -t 900 -- true >"$logs/$1-lab.log" 2>&1 || usable[$1]="no $1 lab: $(tail -n 1 "$logs/$1-lab.log")"
    fi
    [ "${usable[$1]}" = yes ]
}
run() { # FILE
    local name=${1%.sh} kind=${1%%-*} log rc t secs args
    log=$logs/$name.log
    if ! lab_usable "$kind"; then
        skip=$((skip + 1))
        report skip "$name" ": ${usable[$kind]}"
        return
    fi
    secs=$(sed -n 's/^# limit: //p' "$1")
    : "${secs:=${limit[$kind]}}"
    read -ra args < <(sed -n 's/^# lab: //p' "$1")
    rm -f "$log.disk"
    truncate -s 512M "$log.disk"
    t=$SECONDS
    timeout -k 10 $((secs + 30)) lab/"$kind"-run.sh -r -t "$secs" -k "$log.kernel" "${args[@]//DISK/$log.disk}" -- \
        "$here/$1" >"$log" 2>&1
    rc=$?
    rm -f "$log.disk"
    if [ $rc = 0 ] && grep -q 'PASS$' "$log"; then
        pass=$((pass + 1))
        report ok "$name" $((SECONDS - t))
    elif [ $rc = 77 ]; then
        skip=$((skip + 1))
        report skip "$name" ": $(tail -n 1 "$log")"
    else
        fail=$((fail + 1))
        report 'not ok' "$name" ''
        echo "    ended with status $rc; the end of $log:"
        tail -n 40 "$log" | sed 's/^/    | /'
    fi
}
# What takes a machine's memory away wants a quiet machine, and its time: not among the tests that everybody runs
later() { [ -n "$tap" ] && grep -q '^# quiet' "$1"; }
for f in uml-*.sh tcg-*.sh; do
    for p; do
        [[ $f == *"$p"* ]] || continue
        if later "$f"; then
            skip=$((skip + 1))
            report skip "${f%.sh}" ": takes minutes and a quiet machine; make check-kernel runs it"
        else
            run "$f"
        fi
        break
    done
done
[ -n "$tap" ] || echo "$pass passed, $fail failed, $skip skipped"
[ $fail = 0 ] && [ $((pass + skip)) -gt 0 ]
