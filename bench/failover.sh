# shellcheck shell=bash disable=SC2154 # variables are shared with those who source it
# bench/run.sh's part about a path that breaks: what requests see of it, as distributions.

FAILOVER_PID=''
FAILOVER_TRIALS=${FAILOVER_TRIALS:-200} # of the two that are asked for; the others have a quarter

# A target of its own with two portal groups, whose core sleeps when it has nothing to do: trials wait most of the time,
# and several are under way at once
failover_target() {
    export CORELANE_RUN_DIR=$E2E_DIR/failover
    mkdir -m 700 "$CORELANE_RUN_DIR"
    local p1 p2 i
    p1=127.0.0.1:$(e2e_port) p2=127.0.0.1:$(e2e_port)
    "$BUILD/corelane-targetd" -f --config "$E2E_DIR/failover.json" --portal "$p1" --portal "$p2,2" --cores 1 \
        --mode adaptive >"$E2E_DIR/failover.log" 2>&1 &
    FAILOVER_PID=$!
    e2e_own $!
    e2e_wait 30 "$BUILD/corelane" target list && cl target create "$iqn" >/dev/null || return 1
    for i in {0..3}; do cl lun create "$iqn" --ram 16M --lun "$i" >/dev/null || return 1; done
    FAILOVER_URL=iscsi://$p1/$iqn FAILOVER_OTHER=iscsi://$p2/$iqn
}

# failover NAME TRIALS JOBS GOAL_MS FAULT URL OTHER [options]: so many trials, by so many processes at once. Each has a unit of
# its own: some of the cases are settled by a reset of the unit, and that ends what others have under way there, too
failover() {
    local name=$1 trials=$2 jobs=$3 goal=$4 out pids=() what i rc=0
    out=$(mktemp "$E2E_DIR/failover.XXXXXX")
    shift 4
    for ((i = 0; i < jobs; i++)); do
        timeout 300 "$BUILD/bench_failover" --trials $(((trials + jobs - 1) / jobs)) \
            --proxy "$BUILD/corelane-faultproxy" --dir "$E2E_DIR" "${@:4}" "$1" "$2/$i" "$3/$i" >"$out.$i" 2>"$out.$i.err" &
        pids+=($!)
    done
    for i in "${pids[@]}"; do wait "$i" || rc=1; done
    cat "$out".[0-9] >"$out"
    printf '  %s: %d trials, %s\n' "$name" "$(wc -l <"$out")" \
        "$([ $rc = 0 ] && echo "no error, no wrong byte" || echo "FAILED: $(grep -h bench_failover: "$out".*.err | head -n 3)")"
    i=1
    for what in "first completion of a new request" "longest time without a completion" "longest request"; do
        printf '    %-34s %s%s\n' "$what" "$(quantiles "$out" $i)" \
            "$(awk -v c=$i -v g="$goal" -v rc=$rc '$c > g {n++} END {
                printf "   (asked: at most %d, %s)", g, n ? "not met by " n : NR && !rc ? "met" : "not met"}' "$out")"
        i=$((i + 1))
    done
}

part_failover() {
    local run=$CORELANE_RUN_DIR
    title "failover: 2 TCP paths, one breaks; verified 4 KiB reads and writes, depth 32, default settings (ms: median, 99 %, longest)"
    kill -STOP "$TARGETD" # it polls
    failover_target && failover_all
    e2e_stop "$FAILOVER_PID" TERM
    export CORELANE_RUN_DIR=$run
    kill -CONT "$TARGETD"
}

failover_all() {
    local pg1=$FAILOVER_URL few=$(((FAILOVER_TRIALS + 3) / 4))
    failover "reset" "$FAILOVER_TRIALS" 1 50 reset "$pg1" "$pg1"
    failover "reset, failover-only policy" $few 1 50 reset "$pg1" "$pg1" --policy failover-only
    failover "reset, then the portal refuses" $few 1 50 dead "$pg1" "$pg1"
    failover "the same, the other path in another portal group" $few 1 50 dead "$pg1" "$FAILOVER_OTHER"
    failover "blackhole" "$FAILOVER_TRIALS" 4 1500 blackhole "$pg1" "$pg1"
    failover "blackhole, failover-only policy" $few 4 1500 blackhole "$pg1" "$pg1" --policy failover-only
    failover "blackhole, the other path in another portal group" $few 4 1500 blackhole "$pg1" "$FAILOVER_OTHER"
}
