#!/bin/bash
# Faults under verified load on an attached disk: connection resets, a blackhole, the target killed with -9 and
# restarted, the target frozen for 10 seconds. I/O goes on afterwards without an error.
set -u
# shellcheck source=tests/e2e/harness.sh
. "$(dirname "$0")/harness.sh"
[ "$(id -u)" = 0 ] || { skip faults "needs root for a loop device"; exit 0; }
command -v python3 >/dev/null || { skip faults "no python3 for the proxy"; exit 0; }
e2e_begin
iqn=iqn.2026-11.test.corelane:faults
# an address of its own in front, so that the proxy's port is what the initiator knows
start_targetd && start_corelaned || { fail start; e2e_end; }
cl target create $iqn >/dev/null && cl lun create $iqn --file "$E2E_DIR/disk.img" --size 256M >/dev/null || fail "LUN"
front=$(e2e_port)
python3 "$(dirname "$0")/proxy.py" "$front" "${PORTAL##*:}" >"$E2E_DIR/proxy.log" 2>&1 &
proxy=$!
e2e_own $proxy
e2e_wait 10 bash -c "exec 3<>/dev/tcp/127.0.0.1/$front"
dev=$(cl attach $iqn --portal "127.0.0.1:$front" --lun 0) || { fail attach; e2e_end; }
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
resets() { local i; for i in 1 2 3 4 5 6; do kill -USR1 $proxy; sleep 0.6; done; }
hole() { kill -USR2 $proxy; sleep 12; kill -USR2 $proxy; }
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
n=$(cl session list --json | jq '.[0].reconnects')
ok "the session counted its reconnects ($n)" test "${n:-0}" -ge 7
ok "a file system after all that" mkfs.ext4 -q -F "$dev"
ok "fsck" fsck.ext4 -f -n "$dev"
ok "detach" cl detach "$dev"

# the initiator's daemon killed: what it left is put away by the next one
dev=$(cl attach $iqn --portal "127.0.0.1:$front" --lun 0) || fail "attach"
e2e_stop "$CORELANED" KILL
ok "corelaned starts again after kill -9" start_corelaned
dev=$(cl attach $iqn --portal "127.0.0.1:$front" --lun 0)
ok "and attaches the same LUN" test -b "$dev"
ok "which works" dd if="$dev" of=/dev/null bs=1M count=16 iflag=direct status=none
ok "detach it" cl detach "$dev"
e2e_end
