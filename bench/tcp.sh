# shellcheck shell=bash disable=SC2154 # variables are shared with those who source it
# bench/run.sh's part about TCP over loopback: Corelane's two ends beside tgt and libiscsi, in all combinations.

part_tcp() {
    local theirs
    bench_tgtd 512M
    theirs=$BENCH_TGT_URL
    fill "$theirs" || exit 1

    title "TCP: 4 KiB random reads, depth 32, one session (I/O per second)"
    ab "corelane -> corelane" "cl_bench $ours" "corelane -> tgt" "cl_bench $theirs" \
       "libiscsi -> corelane" "li_perf $ours" "libiscsi -> tgt" "li_perf $theirs"
    ratio "corelane -> corelane" "libiscsi -> tgt" 4
    ratio "libiscsi -> corelane" "libiscsi -> tgt" 3
    goal "corelane -> corelane" 100000

    title "TCP: the same with qemu-img bench"
    ab "qemu -> corelane" "qemu_bench $ours" "qemu -> tgt" "qemu_bench $theirs"
    ratio "corelane -> corelane" "qemu -> tgt" 4
    ratio "qemu -> corelane" "qemu -> tgt" 3

    title "TCP: 4 KiB random reads, depth 32 each, four sessions; depth 1"
    ab "4 sessions" "cl_bench $ours --jobs 4 --cores 0" "1 session" "cl_bench $ours" \
       "depth 1" "cl_bench $ours --qd 1" "depth 1, libiscsi -> tgt" "li_perf $theirs 1"
    ratio "4 sessions" "1 session" 1
    ratio "depth 1" "depth 1, libiscsi -> tgt"

    title "TCP: 4 KiB random writes, depth 32; mixed 70/30"
    ab "writes" "cl_bench $ours --rw randwrite" "writes, corelane -> tgt" "cl_bench $theirs --rw randwrite" \
       "mixed" "cl_bench $ours --rw randrw --rwmixread 70"
    ratio "writes" "writes, corelane -> tgt"

    title "TCP: 1 MiB sequential (MB per second)"
    UNIT=bytes ab "read 1 MiB" "cl_bench $ours --rw read --bs 1M --qd 8" \
       "write 1 MiB" "cl_bench $ours --rw write --bs 1M --qd 8" \
       "read 1 MiB, corelane -> tgt" "cl_bench $theirs --rw read --bs 1M --qd 8"
    goal "read 1 MiB" 2000
    goal "write 1 MiB" 2000

    title "TCP: null LUN, 4 KiB random reads, depth 128: the protocol's own cost"
    ab "null" "cl_bench ${ours%/0}/1 --qd 128"
    instructions tcp
    memory
}
