# shellcheck shell=bash disable=SC2154 # variables are shared with those who source it
# bench/run.sh's part about a disk with four paths, one of which becomes slow: what each policy makes of it.

# lqd_bench DIRECTION DEPTH POLICY FOURTH: prints requests a second; each path's share is left in lqd.share.FOURTH.POLICY.
# The fourth path is "none", "good" or "slow"; the others are two in shared memory and one over TCP.
lqd_bench() {
    local args=(--path "shm:$ours" --path "tcp:$ours")
    case $4 in good) args+=(--path "tcp:$ours") ;; slow) args+=(--path "tcp:${ours/"$PORTAL"/$FRONT}") ;; esac
    cl_bench_json "$ours" --transport shm --rw "$1" --qd "$2" --policy "$3" "${args[@]}" >"$E2E_DIR/lqd.json" || return 1
    jq -r '(.paths | map(.requests) | add) as $n |
        [.paths[] | "\(.transport) \(.requests / $n * 1000 | round / 10)%"] | join(", ")' "$E2E_DIR/lqd.json" >"$E2E_DIR/lqd.share.$4.$3"
    jq '.iops | floor' "$E2E_DIR/lqd.json"
}
lqd_shares() { # FOURTH POLICY
    printf '    %-32s %s\n' "shares, $1 fourth, $2" "$(cat "$E2E_DIR/lqd.share.$1.$2")"
}

part_lqd() {
    local rw qd p lqd=least-queue-depth
    echo "byte 0 down lag 5" >"$E2E_DIR/lag.plan"
    start_proxy --plan "$E2E_DIR/lag.plan" || return
    for qd in 32 128; do
        for rw in randread randwrite; do
            title "one LUN, 2 shared memory and 2 TCP paths; 4 KiB $rw, depth $qd (I/O per second)"
            ab "4 good paths" "lqd_bench $rw $qd $lqd good" "3 paths" "lqd_bench $rw $qd $lqd none" \
               "4, one 5 ms slower" "lqd_bench $rw $qd $lqd slow" \
               "the same, round-robin" "lqd_bench $rw $qd round-robin slow" \
               "the same, service-time" "lqd_bench $rw $qd service-time slow"
            lqd_shares good $lqd
            for p in $lqd round-robin service-time; do lqd_shares slow $p; done
            ratio "4, one 5 ms slower" "3 paths" 0.9
            ratio "the same, round-robin" "3 paths"
            ratio "the same, service-time" "3 paths"
            ratio "4 good paths" "3 paths"
        done
    done
    lqd_daemon
    e2e_stop "$PROXY" TERM
}

# Through corelaned: sessions on two cores, the disk on one of them
lqd_daemon() {
    local dev p args=()
    title "the same four paths through corelaned, sessions on cores 0 and 1: fio, 4 KiB randread, depth 32 (I/O per second)"
    has loop || { echo "  $WHY_NOT"; return; }
    cl lun create "$iqn" --ram 512M --lun 4 >/dev/null && fill "${ours%/0}/4" && start_corelaned --cores 0,1 --mode adaptive || return
    dev=$(cl attach "$iqn" --portal "$PORTAL,sessions=2,transport=shm" --portal "$PORTAL,transport=tcp" --portal "$FRONT,transport=tcp" \
        --lun 4 --name lqd 2>"$E2E_DIR/attach.err") || { echo "  attach: $(tail -n 1 "$E2E_DIR/attach.err")"; return; }
    four() { [ "$(cl path list lqd --json | jq '[.[0].paths[] | select(.state == "active")] | length')" = 4 ]; }
    e2e_wait 30 four || { cl path list lqd; return; }
    daemon_bench() { cl path policy lqd "$1" >/dev/null && fio_bench 0 "$dev" randread 4k 32; }
    for p in least-queue-depth round-robin service-time; do args+=("$p" "daemon_bench $p"); done
    ab "${args[@]}"
    cl path list lqd --json | jq -r '.[0].paths[] | "    \(.session) core \(.core) \(.transport) \(.portal): \(.requests) requests"'
    p=$(cl path list lqd --json | jq -r --arg p "$FRONT" '[.[0].paths[] | select(.portal == $p)][0].name')
    cl path remove lqd "$p" >/dev/null
    ab "without the slow path" "daemon_bench least-queue-depth"
    ratio least-queue-depth "without the slow path"
    ratio round-robin "without the slow path"
    cl detach lqd >/dev/null
    stop_corelaned
    cl lun delete "$iqn" 4 >/dev/null
}
