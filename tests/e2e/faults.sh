#!/bin/bash
# Faults under verified load on an attached disk: connection resets, a blackhole, the target killed with -9 and
# restarted, the target frozen for 10 seconds. I/O goes on afterwards without an error.
set -u
# shellcheck source=tests/e2e/harness.sh
. "$(dirname "$0")/harness.sh"
[ "$(id -u)" = 0 ] || { skip faults "needs root for a loop device"; exit 0; }
e2e_begin
iqn=iqn.2026-11.test.corelane:faults
start_targetd && start_corelaned || { fail start; e2e_end; }
cl target create $iqn >/dev/null && cl lun create $iqn --file "$E2E_DIR/disk.img" --size 256M >/dev/null || fail "LUN"
start_proxy || { fail "the proxy starts"; e2e_end; }
dev=$(cl attach $iqn --portal "$FRONT" --lun 0) || { fail attach; e2e_end; }
ok "attached through the proxy" test -b "$dev"

# load FUNCTION NAME: fio with verify in the background while the function does its harm
load() {
    local harm=$1 name=$2 fio rc
    fio --verify_state_save=0 --name=f --filename="$dev" --direct=1 --ioengine=io_uring --rw=randwrite --bs=4k --iodepth=16 --size=64M --time_based \
        --runtime="${3:-6}" --verify=crc32c --verify_fatal=1 --verify_backlog=256 --output="$E2E_DIR/fio.log" &
    fio=$!
    sleep 1.5
    $harm
    wait $fio
    rc=$?
    same "$name: fio verified, no error" 0 $rc
    [ $rc = 0 ] || sed 's/^/# /' "$E2E_DIR/fio.log"
}
reconnects() { cl session list --json | jq '.[0].reconnects'; }
reconnected() { [ "$(reconnects)" -gt "$1" ]; }
resets() {
    local i n
    for i in 1 2 3 4 5 6; do
        n=$(reconnects)
        proxy_tell "now reset"
        e2e_wait 60 reconnected "$n"
    done
}
hole() { proxy_tell "now blackhole 12000"; }
killed() {
    e2e_stop "$TARGETD" KILL
    sleep 1
    start_targetd || fail "the target restarts"
}
frozen() { kill -STOP "$TARGETD"; sleep 10; kill -CONT "$TARGETD"; }
load resets "connection reset six times" 7
load killed "target killed with -9 and restarted" 8
load frozen "target frozen for 10 s" 16
load hole "connection swallowed for 12 s" 20
n=$(reconnects)
ok "the session counted its reconnects ($n)" test "${n:-0}" -ge 7
ok "a file system after all that" mkfs.ext4 -q -F "$dev"
ok "fsck" fsck.ext4 -f -n "$dev"
ok "detach" cl detach "$dev"

# the initiator's daemon killed: what it left is put away by the next one
dev=$(cl attach $iqn --portal "$FRONT" --lun 0) || fail "attach"
e2e_stop "$CORELANED" KILL
ok "corelaned starts again after kill -9" start_corelaned
dev=$(cl attach $iqn --portal "$FRONT" --lun 0)
ok "and attaches the same LUN" test -b "$dev"
ok "which works" dd if="$dev" of=/dev/null bs=1M count=16 iflag=direct status=none
ok "detach it" cl detach "$dev"
e2e_end
