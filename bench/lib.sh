# shellcheck shell=bash disable=SC2034,SC2154 # variables are shared with those who source it
# How bench/run.sh measures: each *_bench prints one number.

declare -A MED=()
BENCH_PORT=''
pin0() { taskset -c 0 "$@"; }

# Corelane's own initiator, polling on core 0; options replace the defaults
cl_bench() { # URL [options]
    local url=$1 key=.iops o args=()
    local -A set=([--rw]=randread [--bs]=4k [--qd]=32 [--time]=$secs [--mode]=poll [--cores]=0)
    shift
    while [ $# -gt 1 ]; do set[$1]=$2; shift 2; done
    for o in "${!set[@]}"; do args+=("$o" "${set[$o]}"); done
    [ "${UNIT:-}" != bytes ] || key='.bytes_per_s / 1000000'
    "$BUILD/corelane" bench "$url" "${args[@]}" --json 2>"$E2E_DIR/bench.err" | jq -r "$key | floor"
}
# libiscsi's own load generator
li_perf() { # URL [DEPTH]
    pin0 iscsi-perf -m "${2:-32}" -b 8 -t $((secs + 1)) -r "$1" 2>&1 | tr '\r' '\n' |
        sed -n 's/^iops average \([0-9]*\).*/\1/p' | tail -n 1
}
# qemu's iSCSI driver; a count that takes about a second
qemu_bench() { # URL
    local n=60000
    pin0 qemu-img bench -c $n -d 32 -s 4096 -S 4096 -n -f raw "$1" |
        awk -v n=$n '/completed in/ {printf "%d\n", n / $4}'
}
fill() { "$BUILD/corelane" bench "$1" --rw write --bs 1M --qd 8 --time 2 --cores 0 --json >/dev/null; }

# bench_tgtd SIZE: tgt on core 1 with a file in memory; BENCH_TGT_URL
bench_tgtd() {
    local img=/dev/shm/corelane-bench.$$ ctl=$((RANDOM % 20000 + 1000)) iqn=iqn.2026-11.test.tgt:bench
    truncate -s "$1" "$img"
    BENCH_PORT=$(e2e_port)
    taskset -c 1 tgtd -f -C $ctl --iscsi "portal=127.0.0.1:$BENCH_PORT" >"$E2E_DIR/tgtd.log" 2>&1 &
    e2e_own $! KILL
    e2e_remove "$img"
    e2e_wait 10 tgtadm -C $ctl --lld iscsi --op show --mode target || return 1
    tgtadm -C $ctl --lld iscsi --op new --mode target --tid 1 -T $iqn &&
        tgtadm -C $ctl --lld iscsi --op new --mode logicalunit --tid 1 --lun 1 -b "$img" &&
        tgtadm -C $ctl --lld iscsi --op bind --mode target --tid 1 -I ALL || return 1
    BENCH_TGT_URL=iscsi://127.0.0.1:$BENCH_PORT/$iqn/1
}

# ab NAME COMMAND [NAME COMMAND]...: alternate them, print the median and the spread of each
ab() {
    local names=() cmds=() i r v
    while [ $# -gt 1 ]; do names+=("$1") cmds+=("$2"); shift 2; done
    for i in "${!names[@]}"; do : >"$E2E_DIR/ab.$i"; done
    for ((r = 0; r < rounds; r++)); do
        for i in "${!names[@]}"; do
            v=$(${cmds[i]})
            echo "${v:-0}" >>"$E2E_DIR/ab.$i"
        done
    done
    for i in "${!names[@]}"; do
        sort -n "$E2E_DIR/ab.$i" >"$E2E_DIR/ab.sorted"
        MED[${names[i]}]=$(awk '{a[NR] = $1} END {print a[int((NR + 1) / 2)]}' "$E2E_DIR/ab.sorted")
        printf '  %-34s %10d   (%d to %d)\n' "${names[i]}" "${MED[${names[i]}]}" \
            "$(head -n 1 "$E2E_DIR/ab.sorted")" "$(tail -n 1 "$E2E_DIR/ab.sorted")"
    done
}
ratio() { # A B [AT_LEAST]
    awk -v a="${MED[$1]}" -v b="${MED[$2]}" -v n="$1 : $2" -v g="${3:-}" 'BEGIN {
        r = b ? a / b : 0; printf "  %-50s %6.2f%s\n", n, r, g == "" ? "" : sprintf("   (asked: %s, %s)", g, r >= g ? "met" : "not met")}'
}
goal() { # A NUMBER
    awk -v a="${MED[$1]}" -v n="$1" -v g="$2" 'BEGIN {printf "  %-34s %10d   (asked: %d, %s)\n", n, a, g, (a >= g ? "met" : "not met")}'
}

# Instructions a 4 KiB read costs on each side, in user space, by callgrind: the difference of two runs of
# known counts, so that set-up cancels out.
instructions() {
    echo "== instructions per 4 KiB read in user space, depth 32 (callgrind)"
    command -v valgrind >/dev/null || { echo "  no valgrind"; return; }
    BUILD=$BUILD bench/instructions.sh "$E2E_DIR"
}
# Peak and present memory of both daemons, with 1 and with 256 idle sessions
memory() {
    echo "== memory of idle sessions (KiB: resident, peak)"
    BUILD=$BUILD bench/memory.sh "$E2E_DIR"
}
