# shellcheck shell=bash disable=SC2154 # variables are shared with those who source it
# bench/run.sh's part about shared memory between an initiator and a target on one host: beside TCP, and beside what this
# machine can do at all, measured in the same run.

shm_bench() { cl_bench "$1" --transport shm "${@:2}"; }
# While the target polls, its core is not free for others
target_stopped() {
    local rc
    kill -STOP "$TARGETD"
    "$@"
    rc=$?
    kill -CONT "$TARGETD"
    return $rc
}
ring_limit() { target_stopped "$BUILD/bench_ring" --cores 0,1 --time "$secs" "$@"; }
# Our datamover between the two cores, with a copy for each request: no sessions, no SCSI
dm_limit() {
    target_stopped "$BUILD/bench_loop" --cores 0,1 --mode poll --copy --time "$secs" "$@" |
        sed -n 's/.*: \([0-9]*\) IO\/s.*/\1/p'
}
memcpy_limit() { target_stopped "$BUILD/bench_mem" --core 1 --time "$secs" "$@"; }

part_loop() {
    loop_latency
    loop_rate
    loop_large
    loop_null
    loop_file
    loop_export
    loop_modes
}

loop_latency() {
    title "shared memory: 4 KiB random reads, depth 1 (mean latency, microseconds)"
    UNIT=latency ab "depth 1, shm" "shm_bench $ours --qd 1" "depth 1, TCP" "cl_bench $ours --qd 1"
    at_most "depth 1, shm" 5
    ratio "depth 1, TCP" "depth 1, shm" 15
}

loop_rate() {
    title "shared memory: 4 KiB, depth 32, one session (I/O per second)"
    ab "reads, shm" "shm_bench $ours" "bare ring and copy" "ring_limit --qd 32" \
       "datamover alone and copy" "dm_limit --qd 32" \
       "writes, shm" "shm_bench $ours --rw randwrite" "bare ring and copy, writes" "ring_limit --qd 32 --write" \
       "reads, shm, own buffers" "shm_bench $ours --own-buffers" "reads, TCP" "cl_bench $ours" \
       "bare ring, no copy" "ring_limit --qd 32 --no-copy"
    goal "reads, shm" 1000000
    ratio "reads, shm" "bare ring and copy" 0.8
    ratio "writes, shm" "reads, shm" 0.8
    ratio "reads, shm, own buffers" "reads, shm"
    ratio "reads, shm" "reads, TCP"
}

loop_large() {
    title "shared memory: 1 MiB sequential, depth 8 (MB per second)"
    UNIT=bytes ab "1 MiB reads, shm" "shm_bench $ours --rw read --bs 1M --qd 8" "memcpy" "memcpy_limit" \
       "1 MiB writes, shm" "shm_bench $ours --rw write --bs 1M --qd 8" "memcpy, writes" "memcpy_limit --write" \
       "1 MiB reads, TCP" "cl_bench $ours --rw read --bs 1M --qd 8"
    ratio "1 MiB reads, shm" "memcpy" 0.8
    ratio "1 MiB writes, shm" "memcpy, writes" 0.8
}

# A share of the target's core that did something in the second before
target_busy() { "$BUILD/corelane" layout show --json | jq '[."corelane-targetd".cores[].busy] | max'; }
null_bench() { # prints requests a second, and leaves what each core was busy for a request, nanoseconds, in null.busy
    local url=${ours%/0}/1 busy
    cl_bench_json "$url" --transport shm --qd 128 --time $((secs + 1)) >"$E2E_DIR/null.json" &
    sleep $((secs)).8
    busy=$(target_busy)
    wait $!
    jq -r --argjson t "${busy:-0}" '"\(.cpu.busy / .iops * 1e9 | floor) \($t / .iops * 1e9 | floor)"' \
        "$E2E_DIR/null.json" >>"$E2E_DIR/null.busy"
    jq '.iops | floor' "$E2E_DIR/null.json"
}
loop_null() {
    title "shared memory: null LUN, 4 KiB random reads, depth 128: the protocol's own cost"
    : >"$E2E_DIR/null.busy"
    ab "null, shm" null_bench "null, TCP" "cl_bench ${ours%/0}/1 --qd 128"
    awk -v n="${MED[null, shm]}" 'n > 0 {printf "  %-34s %10d\n", "ns between requests", 1e9 / n}' <<<''
    sort -n "$E2E_DIR/null.busy" | awk '{i[NR] = $1; t[NR] = $2} END {
        m = int((NR + 1) / 2); printf "  %-34s %10d\n  %-34s %10d\n", "ns busy, initiator", i[m], "ns busy, target", t[m]}'
    instructions shm null 128
}

# ---- a file on a disk ----------------------------------------------------------------------------------------------

file_make() { # FILE: 1 GiB, written, so that no read is answered from a hole
    local dir
    dir=$(dirname "$1")
    case $(stat -f -c %T "$dir") in tmpfs | ramfs) echo "  $dir is in memory: set BENCH_DIR to a directory on a disk"; return 1 ;; esac
    [ "$(df --output=avail -k "$dir" | tail -n 1)" -gt $((2 << 20)) ] || { echo "  no room for 1 GiB in $dir"; return 1; }
    e2e_remove "$1"
    fio --name=make --filename="$1" --size=1G --rw=write --bs=1M --iodepth=8 --ioengine=io_uring --direct=1 --refill_buffers \
        --output="$E2E_DIR/make.log" || { echo "  no direct I/O in $dir: set BENCH_DIR to a directory on a disk"; return 1; }
}

# fio has the machine to itself: the target is stopped meanwhile. Which core it does better on depends on where the disk's
# interrupts come in, so it may have either.
loop_file() {
    local file url rw qd
    file=$(readlink -m "${BENCH_DIR:-$BUILD}")/corelane-bench.$$
    title "a file LUN on a disk beside fio on that very file (I/O per second)"
    file_make "$file" || return
    cl lun create "$iqn" --file "$file" --lun 2 >/dev/null || return
    url=${ours%/0}/2
    for qd in 1 32; do
        for rw in randread randwrite; do
            ab "fio $rw $qd, core 0" "target_stopped fio_bench 0 $file $rw 4k $qd" \
               "fio $rw $qd, core 1" "target_stopped fio_bench 1 $file $rw 4k $qd" \
               "file LUN, shm $rw $qd" "shm_bench $url --rw $rw --qd $qd"
            best "the better fio, $rw $qd" "fio $rw $qd, core 0" "fio $rw $qd, core 1"
            ratio "file LUN, shm $rw $qd" "the better fio, $rw $qd" 0.98
            [ $qd != 1 ] || awk -v f="${MED[the better fio, $rw $qd]}" -v o="${MED[file LUN, shm $rw $qd]}" \
                'BEGIN {if (f && o) printf "  %-34s %10.1f\n  %-34s %10.1f\n", "us each, fio", 1e6 / f, "us each, file LUN", 1e6 / o}'
        done
    done
    cl lun delete "$iqn" 2 >/dev/null
}

# ---- through a disk of the host ------------------------------------------------------------------------------------

loop_export() {
    local t rw args=()
    local -A dev=() lun=([shm]=0 [tcp]=3) # one for each: a LUN is attached once
    title "through an exported disk: fio on core 0, beside corelaned (adaptive)"
    has loop || { echo "  $WHY_NOT"; return; }
    cl lun create "$iqn" --ram 512M --lun 3 >/dev/null && fill "${ours%/0}/3" && start_corelaned --cores 0 --mode adaptive || return
    for t in shm tcp; do
        dev[$t]=$(cl attach "$iqn" --portal "$PORTAL" --lun ${lun[$t]} --transport $t 2>>"$E2E_DIR/attach.err") ||
            { echo "  attach: $(tail -n 1 "$E2E_DIR/attach.err")"; return; }
    done
    for rw in "randread 4k 1" "randread 4k 32" "read 1M 8"; do
        args=()
        for t in shm tcp; do args+=("$rw, $t" "fio_bench 0 ${dev[$t]} $rw"); done
        UNIT=$([ "${rw#read}" = "$rw" ] || echo bytes) ab "${args[@]}"
        ratio "$rw, shm" "$rw, tcp"
    done
    for t in shm tcp; do cl detach "${dev[$t]}" >/dev/null; done
    stop_corelaned
    cl lun delete "$iqn" 3 >/dev/null
}

# ---- modes ---------------------------------------------------------------------------------------------------------

cpu_ns() { awk '{n += $1} END {printf "%.0f\n", n}' /proc/"$1"/task/*/schedstat; }
# mode_run MODE RATE: adds a line to modes.MODE.RATE: latency mean, p99, I/O per second, shares of a core in percent
mode_run() {
    local cpu at
    cl_bench_json "$ours" --transport shm --mode "$1" --rate "$2" >"$E2E_DIR/mode.json" &
    sleep 0.5                               # it has logged in
    cpu=$(cpu_ns "$TARGETD") at=$(clock_ns)
    sleep $((secs - 1)).2
    cpu=$(($(cpu_ns "$TARGETD") - cpu)) at=$(($(clock_ns) - at))
    wait $!
    jq -r --argjson t "$cpu" --argjson w "$at" '[.lat_us.mean, .lat_us.p99, .iops, (.cpu.user + .cpu.sys) * 100, $t / $w * 100] |
        map(tostring) | join(" ")' "$E2E_DIR/mode.json" >>"$E2E_DIR/modes.$1.$2"
}
loop_modes() {
    local mode load full r portal=$PORTAL rates=()
    title "shared memory: how cores wait, 4 KiB random reads that come at even distances (both daemons in the same mode)"
    full=$(shm_bench "$ours" --qd 1)
    [ "${full:-0}" -ge 100 ] || { echo "  ${full:-0} requests a second are too few to take a share of"; return; }
    for load in 1 10 100; do rates+=($((full * load / 100))); done
    for mode in adaptive interrupt poll; do # what comes after this part has the target polling again
        e2e_stop "$TARGETD" TERM
        start_targetd --cores 1 --mode $mode --portal "$portal" || return
        fill "$ours"
        for ((r = 0; r < rounds; r++)); do
            for load in "${rates[@]}"; do mode_run $mode "$load"; done
        done
    done
    printf '  %-10s %6s %10s %10s %10s %12s %10s\n' mode load I/O/s "mean us" "p99 us" "initiator %" "target %"
    for mode in poll adaptive interrupt; do
        for load in 1 10 100; do
            sort -n "$E2E_DIR/modes.$mode.$((full * load / 100))" | awk -v m=$mode -v l=$load '
                {line[NR] = $0} END {split(line[int((NR + 1) / 2)], a, " ")
                printf "  %-10s %5d%% %10d %10.1f %10.1f %12.1f %10.1f\n", m, l, a[3], a[1], a[2], a[4], a[5]}'
        done
    done
    echo "  (100 % is what polling does at depth 1; latency runs from when a request was due)"
}
