# shellcheck shell=bash disable=SC2034,SC2154 # variables are shared with those who source it
# bench/run.sh's part about many sessions: what they do together, what each costs, how fast they come.

SCALE=(1 4 16 64 256 1024)

scale_bench() { cl_bench "$ours" --jobs "$1" --qd "$2"; } # SESSIONS DEPTH
# Each session with the same load; then the same load in all, which the more sessions there are the less there is to put into
# one send
scale_rate() {
    local n args=() all=()
    title "TCP: 1 to 1,024 sessions on one core, 4 KiB random reads, depth 32 each (I/O per second)"
    for n in "${SCALE[@]}"; do args+=("sessions: $n" "scale_bench $n 32") all+=("sessions: $n"); done
    ab "${args[@]}"
    best "the best" "${all[@]}"
    for n in "${all[@]}"; do ratio "$n" "the best" 0.9; done

    title "TCP: the same, 1,024 outstanding in all, so depth 1 with the most sessions"
    args=()
    for n in "${SCALE[@]}"; do args+=("$n x depth $((1024 / n))" "scale_bench $n $((1024 / n))"); done
    ab "${args[@]}"
}

# Private and shared, resident, KiB
rss_of() { awk '/^VmRSS/ {print $2}' "/proc/$1/status"; }
logged_in() { [ "$(cl session list --json | jq '[.[] | select(.state == "LOGGED_IN")] | length')" = "$1" ]; }
# scale_idle TRANSPORT FEW MANY: memory between so many and so many sessions, so that what is there once does not count
scale_idle() {
    local n at i t i0=0 t0=0 rate=0
    title "$1: memory between $2 and $3 idle sessions through corelaned"
    echo "node.session.corelane.transport = $1" >"$E2E_DIR/etc/iscsid.conf"
    e2e_stop "$TARGETD" TERM
    start_targetd --cores 1 --mode adaptive --portal "$PORTAL" && start_corelaned --cores 0 --mode adaptive || return
    for n in "$2" "$3"; do
        at=$(clock_ns)
        cl login "$iqn" --portal "$PORTAL" --sessions "$n" >/dev/null 2>"$E2E_DIR/login.err" && e2e_wait 120 logged_in "$n" ||
            { echo "  $n sessions: $(tail -n 1 "$E2E_DIR/login.err")"; stop_corelaned; return; }
        rate=$(((n > $2 ? n - $2 : n) * 1000000000 / ($(clock_ns) - at)))
        sleep 2
        i=$(rss_of "$CORELANED") t=$(rss_of "$TARGETD")
        [ "$n" != "$2" ] || { i0=$i t0=$t; }
    done
    MED["KiB a session, initiator, $1"]=$(((i - i0) / ($3 - $2))) MED["KiB a session, target, $1"]=$(((t - t0) / ($3 - $2)))
    at_most "KiB a session, initiator, $1" 64
    at_most "KiB a session, target, $1" 64
    printf '  %-34s %10d\n' "logins a second" $rate
    stop_corelaned
    e2e_stop "$TARGETD" TERM
    start_targetd --cores 1 --mode poll --portal "$PORTAL"
}

part_scale() {
    scale_rate
    scale_idle tcp 256 1024
    scale_idle shm 16 64 # a target shares a part of the host's memory at most, so there are not as many
    fill "$ours"
}
