#!/bin/bash
# A session over shared memory that nobody uses costs no CPU within a second, on either side, in `adaptive` and in
# `interrupt`; and wakes up when there is something to do.
set -u
# shellcheck source=tests/e2e/harness.sh
. "$(dirname "$0")/harness.sh"
has jq || { skip loop_idle "$WHY_NOT"; exit 0; }
e2e_begin
iqn=iqn.2026-11.test.corelane:idle

# CPU time, not how long anything takes: what else runs on the machine does not count.
cpu_ms() { # PID: milliseconds, user and system
    local stat
    stat=$(<"/proc/$1/stat")
    # shellcheck disable=SC2086 # words
    set -- ${stat##*) }
    echo $(((${12} + ${13}) * 1000 / $(getconf CLK_TCK)))
}
idle() { # PID: at most 20 ms in two seconds
    local before spent
    sleep 1
    before=$(cpu_ms "$1")
    sleep 2
    spent=$(($(cpu_ms "$1") - before))
    echo "# $spent ms in 2 s"
    [ $spent -le 20 ]
}
work() { cl bench "iscsi://$PORTAL/$iqn/0" --transport shm --rw randread --qd 4 --time 1; }
same_session() { [ "$(cl session list --json | jq -r '.[0] | "\(.transport) \(.state)"')" = "shm LOGGED_IN" ]; }

for mode in adaptive interrupt; do
    start_targetd --mode $mode && start_corelaned --mode $mode || { fail "start, $mode"; e2e_end; }
    ok "$mode: target" cl target create $iqn
    ok "$mode: LUN" cl lun create $iqn --ram 16M --lun 0
    ok "$mode: login" cl login $iqn --portal "$PORTAL" --transport shm
    ok "$mode: some I/O" work
    ok "$mode: the target sleeps" idle "$TARGETD"
    sed -n 's/^# /# target: /p' "$E2E_DIR/said"
    ok "$mode: the initiator sleeps" idle "$CORELANED"
    sed -n 's/^# /# initiator: /p' "$E2E_DIR/said"
    ok "$mode: the session lives" same_session
    ok "$mode: and both wake up for more" work
    if has fuse; then
        disk=$(cl attach $iqn --portal "$PORTAL" --lun 0 --export fuse) || fail "$mode: attach"
        ok "$mode: a disk is read" dd if="$disk" of=/dev/null bs=4k count=100 iflag=direct status=none
        ok "$mode: and with a disk attached the initiator sleeps again" idle "$CORELANED"
        sed -n 's/^# /# initiator with a disk: /p' "$E2E_DIR/said"
        ok "$mode: a disk is read after a sleep" dd if="$disk" of=/dev/null bs=4k count=1 iflag=direct status=none
        ok "$mode: detach" cl detach "$disk"
    else
        skip "$mode: a disk" "$WHY_NOT"
    fi
    e2e_stop "$CORELANED"
    e2e_stop "$TARGETD"
    rm -f "$E2E_DIR/target.json"
    TARGETD_ARGS=()
done
e2e_end
