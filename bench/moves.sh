# shellcheck shell=bash disable=SC2154 # variables are shared with those who source it
# bench/run.sh's part about sessions that move to another core while they are used.

MOVES=${MOVES:-1000} # of each

part_moves() {
    local t args name
    title "$MOVES live moves each, writes to one block submitted in pairs, depth 32 (pause, ms: median, 99 %, longest)"
    for t in tcp shm; do
        args=(--moves "$MOVES" --cores "0,1")
        [ $t = tcp ] || args+=(--shm)
        name="no error, nothing reordered"
        timeout 120 "$BUILD/bench_moves" "${args[@]}" "$ours" >"$E2E_DIR/moves.ms" 2>"$E2E_DIR/moves.err" || name=FAILED
        printf '  %-8s %s: %s\n    %-34s %s\n' $t "$name" "$(tail -n 1 "$E2E_DIR/moves.err")" pause "$(quantiles "$E2E_DIR/moves.ms" 1)"
        [ "$name" != FAILED ] || head -n 3 "$E2E_DIR/moves.err"
    done
    moves_daemon
}

# Through corelaned: two disks of one session each, both written and verified by fio; each session goes to and fro
moves_daemon() {
    local t i n k rc=0 fio=() p
    local -A dev=() lun=([shm]=4 [tcp]=5) sess=() first=()
    title "$MOVES live moves each by command, through corelaned, disks verified by fio (pause, ms: median, 99 %, longest)"
    has loop || { echo "  $WHY_NOT"; return; }
    start_corelaned --cores 0,1 --mode adaptive || return
    for t in shm tcp; do
        cl lun create "$iqn" --ram 64M --lun "${lun[$t]}" >/dev/null &&
            dev[$t]=$(cl attach "$iqn" --portal "$PORTAL" --lun "${lun[$t]}" --transport $t --name move-$t 2>"$E2E_DIR/attach.err") ||
            { echo "  attach: $(tail -n 1 "$E2E_DIR/attach.err")"; return; }
        sess[$t]=$(cl path list move-$t --json | jq -r '.[0].paths[0].session')
        first[$t]=$(cl path list move-$t --json | jq '1 - .[0].paths[0].core')
        fio --verify_state_save=0 --name=$t --filename="${dev[$t]}" --direct=1 --ioengine=io_uring --rw=randwrite \
            --bsrange=512-32k --blockalign=512 --bs_unaligned=0 --iodepth=16 --size=64M --time_based --runtime=600 \
            --verify=crc32c --verify_fatal=1 --verify_backlog=64 --output="$E2E_DIR/move-$t.fio" &
        fio+=($!)
        e2e_own $! INT
        : >"$E2E_DIR/moves.$t"
    done
    sleep 1
    for ((i = 0; i < MOVES; i++)); do
        for t in shm tcp; do
            cl layout move "${sess[$t]}" $(((i + first[$t]) % 2)) >>"$E2E_DIR/moves.$t" 2>>"$E2E_DIR/moves.err.$t"
        done
    done
    for p in "${fio[@]}"; do
        kill -INT "$p"
        wait "$p"
        k=$?
        [ $k = 0 ] || [ $k = 128 ] || rc=1
    done
    for t in shm tcp; do
        n=$(grep -c 'pause' "$E2E_DIR/moves.$t")
        k=$(sed -n 's/.*err= *\([0-9]*\).*/\1/p' "$E2E_DIR/move-$t.fio" | head -n 1)
        ! grep -q 'verify: ' "$E2E_DIR/move-$t.fio" || rc=1
        printf '  %-8s %5d moves, %s refused; fio: %s requests verified or written, error %s, %s\n' "$t" "$n" \
            "$(grep -c . "$E2E_DIR/moves.err.$t")" \
            "$(cl path list move-$t --json | jq '.[0].paths[0].requests')" "${k:-unknown}" "$([ $rc = 0 ] && echo "all right" || echo "NOT RIGHT")"
        sed -n 's/.*pause \([0-9.]*\) ms.*/\1/p' "$E2E_DIR/moves.$t" >"$E2E_DIR/moves.ms"
        printf '    %-34s %s\n' "pause" "$(quantiles "$E2E_DIR/moves.ms" 1)"
        cl detach move-$t >/dev/null
        cl lun delete "$iqn" "${lun[$t]}" >/dev/null
    done
    stop_corelaned
}
