#!/bin/bash
# Instructions that a 4 KiB random read costs in user space, for each side, by callgrind: the totals of two runs with
# different counts, subtracted, so that start and login cancel out.
#   bench/instructions.sh DIR [tcp|shm] [ram|null] [DEPTH]          DIR: scratch
set -u
dir=$1 transport=${2:-tcp} kind=${3:-ram} qd=${4:-32}
A=4000 B=20000
# shellcheck source=tests/e2e/harness.sh
. tests/e2e/harness.sh
unset CORELANE_RUN_DIR
scratch=$(mktemp -d "$dir/instr.XXXXXX")
iqn=iqn.2026-11.test.corelane:instr
pid=''
trap '[ -z "$pid" ] || kill "$pid" 2>/dev/null; wait' EXIT
total() { awk '/^summary:|^totals:/ {print $2; exit}' "$1"; }
export CORELANE_RUN_DIR=$scratch/run
port=$(e2e_port)
url=iscsi://127.0.0.1:$port/$iqn/0
serve() { # [command prefix]: starts the target
    mkdir -p "$CORELANE_RUN_DIR"
    "$@" "$BUILD/corelane-targetd" -f --config "$scratch/t.json" --portal "127.0.0.1:$port" --cores 1 \
        --mode interrupt >"$scratch/targetd.log" 2>&1 &
    pid=$!
    e2e_wait 60 "$BUILD/corelane" target list
}
stop() { kill "$pid"; wait "$pid" 2>/dev/null; pid=''; }
load() { # COUNT [prefix]
    local n=$1
    shift
    "$@" "$BUILD/corelane" bench "$url" --rw randread --bs 4k --qd "$qd" --count "$n" --cores 0 --mode interrupt \
        --transport "$transport" --json >/dev/null 2>&1
}
# memcpy and memset by loops, as everywhere else in valgrind one instruction is one: it counts each byte of a `rep movsb`
tunables=glibc.cpu.x86_rep_movsb_threshold=1073741824:glibc.cpu.x86_rep_stosb_threshold=1073741824
cg() { echo env GLIBC_TUNABLES=$tunables valgrind --tool=callgrind --callgrind-out-file="$1"; }

# The LUN is configured natively: valgrind runs one thread at a time, and saving needs a second.
serve && "$BUILD/corelane" target create $iqn >/dev/null && "$BUILD/corelane" lun create $iqn "--$kind" 64M >/dev/null ||
    { echo "  the target does not start"; exit 1; }
for n in $A $B; do
    # shellcheck disable=SC2046
    load $n $(cg "$scratch/i.$n")
done
stop
i=$((($(total "$scratch/i.$B") - $(total "$scratch/i.$A")) / (B - A)))
for n in $A $B; do
    # shellcheck disable=SC2046
    serve $(cg "$scratch/t.$n") || { echo "  the target does not start under valgrind"; exit 1; }
    load $n
    stop
done
t=$((($(total "$scratch/t.$B") - $(total "$scratch/t.$A")) / (B - A)))
for side in "initiator $i" "target $t"; do
    [ "${side#* }" -gt 0 ] || side="${side% *} unknown" # valgrind left no totals of one of the runs
    # shellcheck disable=SC2086 # two words
    printf '  %-34s %10s\n' $side
done
