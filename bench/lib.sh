# shellcheck shell=bash disable=SC2034,SC2154 # variables are shared with those who source it
# How bench/run.sh measures: each *_bench prints one number. UNIT says which, where there is a choice: requests a
# second if it is not set, bytes (10^6 a second), or latency (mean, microseconds).

declare -A MED=()
BENCH_PORT=''
pin0() { taskset -c 0 "$@"; }
clock_ns() { date +%s%N; }
title() { echo && echo "== $*"; }

# Corelane's own initiator, polling on core 0, over TCP; options replace the defaults
cl_bench_json() { # URL [options]
    local url=$1 o args=()
    local -A set=([--rw]=randread [--bs]=4k [--qd]=32 [--time]=$secs [--mode]=poll [--cores]=0 [--transport]=tcp)
    shift
    while [ $# -gt 0 ]; do
        case $1 in --own-buffers) args+=("$1"); shift ;; --path) args+=("$1" "$2"); shift 2 ;; *) set[$1]=$2; shift 2 ;; esac
    done
    for o in "${!set[@]}"; do args+=("$o" "${set[$o]}"); done
    "$BUILD/corelane" bench "$url" "${args[@]}" --json 2>"$E2E_DIR/bench.err" ||
        { echo "bench: corelane bench $url ${args[*]}: $(tail -n 1 "$E2E_DIR/bench.err")" >&2; return 1; }
}
cl_bench() { # URL [options]
    local key='.iops | floor'
    case ${UNIT:-} in bytes) key='.bytes_per_s / 1000000 | floor' ;; latency) key='.lat_us.mean * 100 | round / 100' ;; esac
    cl_bench_json "$@" | jq -r "$key"
}
# fio with io_uring and direct I/O
fio_bench() { # CORE FILE RW BS DEPTH
    local key='.jobs[0] | .read.iops + .write.iops | floor'
    [ "${UNIT:-}" != bytes ] || key='.jobs[0] | .read.bw_bytes + .write.bw_bytes | . / 1000000 | floor'
    taskset -c "$1" fio --name=bench --filename="$2" --rw="$3" --bs="$4" --iodepth="$5" --ioengine=io_uring --direct=1 \
        --time_based --runtime="$secs" --norandommap --output-format=json 2>"$E2E_DIR/fio.err" | jq -r "$key"
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
# Each page of a disk of 512 MiB is there afterwards: the first write to one costs what it takes to get it from the system
fill() { "$BUILD/corelane" bench "$1" --rw write --bs 1M --qd 8 --count 512 --cores 0 --json >/dev/null; }

stop_corelaned() {
    local p=$CORELANED
    CORELANED=''
    e2e_stop "$p" TERM
}

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
        printf '  %-34s %10s   (%s to %s)\n' "${names[i]}" "${MED[${names[i]}]}" \
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
at_most() { # A NUMBER
    awk -v a="${MED[$1]}" -v n="$1" -v g="$2" 'BEGIN {
        printf "  %-34s %10s   (asked: at most %s, %s)\n", n, a, g, (a > 0 && a <= g ? "met" : "not met")}'
}
quantiles() { # FILE COLUMN: median, 99 %, longest
    awk -v c="$2" '{print $c}' "$1" | sort -n | awk '{a[NR] = $1} END {
        if (NR) printf "%9.2f %9.2f %9.2f\n", a[int((NR + 1) / 2)], a[int(NR * .99 + .999)], a[NR]}'
}
best() { # NAME A...: the largest of those becomes NAME
    local name=$1 n
    shift
    MED[$name]=0
    for n in "$@"; do MED[$name]=$(awk -v a="${MED[$name]}" -v b="${MED[$n]}" 'BEGIN {print (b > a ? b : a)}'); done
}

# Instructions a 4 KiB read costs on each side, in user space, by callgrind: the difference of two runs of
# known counts, so that set-up cancels out. Cores sleep there, as turns that find nothing are not to be counted.
instructions() { # tcp|shm [KIND OF LUN] [DEPTH]
    title "$1: instructions per 4 KiB read in user space, ${2:-ram} LUN, depth ${3:-32} (callgrind)"
    command -v valgrind >/dev/null || { echo "  no valgrind"; return; }
    BUILD=$BUILD bench/instructions.sh "$E2E_DIR" "$@"
}
# Peak and present memory of both daemons, with 1 and with 256 idle sessions
memory() {
    title "memory of idle sessions (KiB: resident, peak)"
    BUILD=$BUILD bench/memory.sh "$E2E_DIR"
}
