#!/bin/bash
# corelaned killed while one of its threads waits for a disk of its own, which only itself could serve: it ends all the same, and
# lets go of its lock. The next one starts, and the disk can be attached again.
set -u
# shellcheck source=tests/e2e/harness.sh
. "$(dirname "$0")/harness.sh"
for p in loop jq; do has $p || { skip stuck "$WHY_NOT"; exit 0; }; done
e2e_begin
over=''
trap 'rc=$?; [ -z "$over" ] || losetup -d "$over" 2>/dev/null; (exit $rc); e2e_clean' EXIT
# the target is not to be given up while it is frozen
echo 'node.conn[0].timeo.noop_out_interval = 0' >"$E2E_DIR/etc/iscsid.conf"
iqn=iqn.2026-11.test.corelane:stuck
start_targetd && start_corelaned || { fail start; e2e_end; }
cl target create $iqn >/dev/null && cl lun create $iqn --file "$E2E_DIR/disk.img" --size 16M >/dev/null || fail "LUN"
attach() { cl attach $iqn --portal "$PORTAL" --lun 0 --export fuse --name stuck 2>/dev/null; }
dev=$(attach) || { fail attach; e2e_end; }

# Dirty blocks in the cache that nobody waits for: a second loop device over the first keeps it from being closed.
over=$(losetup -f --show "$dev") || { fail "a loop device over the disk"; e2e_end; }
kill -STOP "$TARGETD"
dd if=/dev/urandom of="$dev" bs=64k count=16 conv=notrunc status=none
cl detach stuck >/dev/null 2>&1 & # syncs the device, that is waits for corelaned, that is for the target
e2e_own $! KILL
thread_waits() { # for good: many times in a row
    local _
    for _ in {1..10}; do grep -q '^State:.D' /proc/"$CORELANED"/task/*/status || return 1; sleep 0.03; done
}
ok "a thread waits for the disk" e2e_wait 60 thread_waits
disown "$CORELANED"
kill -KILL "$CORELANED"
ok "killed, corelaned ends" e2e_wait 60 gone "$CORELANED"
ok "the next one starts" start_corelaned
losetup -d "$over" && over=''
kill -CONT "$TARGETD"
dev=$(attach) || { fail "attach again"; e2e_end; }
ok "the disk is there again" dd if="$dev" of=/dev/null bs=1M count=4 iflag=direct status=none
refused "one daemon for a run directory, as ever" 1 "pid $CORELANED" timeout 30 "$BUILD/corelaned" -f --config-dir "$E2E_DIR/etc"
ok "detach" cl detach "$dev"
e2e_end
