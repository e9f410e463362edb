# shellcheck shell=bash disable=SC2154 # variables are shared with those who source it
# bench/run.sh's part about many sessions: what they do together, what each costs, how fast they come.

SCALE=(1 4 16 64 256 1024)

scale_bench() { # SESSIONS TRANSPORT: with 1,024 requests outstanding in all
    cl_bench "$ours" --transport "$2" --jobs "$1" --qd $((1024 / $1))
}
scale_rate() { # TRANSPORT
    local n args=() all=()
    title "$1: 1 to 1,024 sessions, 4 KiB random reads, 1,024 outstanding in all (I/O per second)"
    for n in "${SCALE[@]}"; do args+=("$n sessions, $1" "scale_bench $n $1") all+=("$n sessions, $1"); done
    ab "${args[@]}"
    best "the best, $1" "${all[@]}"
    for n in "${all[@]}"; do ratio "$n" "the best, $1" 0.9; done
}

# Private and shared, resident, KiB
rss_of() { awk '/^VmRSS/ {print $2}' "/proc/$1/status"; }
logged_in() { [ "$(cl session list --json | jq '[.[] | select(.state == "LOGGED_IN")] | length')" = "$1" ]; }
# Memory between 256 and 1,024 sessions, so that what is there once does not count
scale_idle() { # TRANSPORT
    local n at i t i0=0 t0=0 rate=0
    title "$1: idle sessions through corelaned"
    echo "node.session.corelane.transport = $1" >"$E2E_DIR/etc/iscsid.conf"
    e2e_stop "$TARGETD" TERM
    start_targetd --cores 1 --mode adaptive --portal "$PORTAL" && start_corelaned --cores 0 --mode adaptive || return
    for n in 256 1024; do
        at=$(clock_ns)
        cl login "$iqn" --portal "$PORTAL" --sessions $n >/dev/null 2>"$E2E_DIR/login.err" && e2e_wait 120 logged_in $n ||
            { echo "  $n sessions: $(tail -n 1 "$E2E_DIR/login.err")"; return; }
        rate=$(((n > 256 ? n - 256 : n) * 1000000000 / ($(clock_ns) - at)))
        sleep 2
        i=$(rss_of "$CORELANED") t=$(rss_of "$TARGETD")
        [ $n != 256 ] || { i0=$i t0=$t; }
    done
    MED["KiB a session, initiator, $1"]=$(((i - i0 + 767) / 768)) MED["KiB a session, target, $1"]=$(((t - t0 + 767) / 768))
    at_most "KiB a session, initiator, $1" 64
    at_most "KiB a session, target, $1" 64
    printf '  %-34s %10d\n' "logins a second, 257th to 1,024th" $rate
    n=$CORELANED CORELANED=''
    e2e_stop "$n" TERM
    e2e_stop "$TARGETD" TERM
    start_targetd --cores 1 --mode poll --portal "$PORTAL"
}

part_scale() {
    scale_rate tcp
    scale_idle tcp
    scale_idle shm
    fill "$ours"
}
