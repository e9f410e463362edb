#!/bin/bash
# A target that is away for longer than replacement_timeout: requests fail then, and nobody has to do anything for
# the disk to work again once the target is back; what had failed is not written late.
set -u
# shellcheck source=tests/e2e/harness.sh
. "$(dirname "$0")/harness.sh"
has loop || { skip away "$WHY_NOT"; exit 0; }
e2e_begin
iqn=iqn.2026-11.test.corelane:away
echo "node.session.timeo.replacement_timeout = 3" >"$E2E_DIR/etc/iscsid.conf"
start_targetd && start_corelaned || { fail start; e2e_end; }
cl target create $iqn >/dev/null && cl lun create $iqn --file "$E2E_DIR/disk.img" --size 16M >/dev/null || fail "LUN"
dev=$(cl attach $iqn --portal "$PORTAL" --lun 0) || { fail attach; e2e_end; }
state() { cl list --json | jq -r '.[0].state'; }
state_is() { [ "$(state)" = "$1" ]; }
head -c 1M /dev/urandom >"$E2E_DIR/before"
head -c 1M /dev/urandom >"$E2E_DIR/lost"
ok "written before" dd if="$E2E_DIR/before" of="$dev" bs=64k oflag=direct status=none
e2e_stop "$TARGETD" KILL
begin=$SECONDS
not_ok "a write ends with an error" timeout 30 dd if="$E2E_DIR/lost" of="$dev" bs=1M oflag=direct status=none
ok "not before replacement_timeout" test $((SECONDS - begin)) -ge 2
same "the disk is said to have failed" failed "$(state)"
same "its session logs in again and again" OFFLINE "$(cl session list --json | jq -r '.[0].state')"
not_ok "from then on at once" timeout 2 dd if="$dev" of=/dev/null bs=4k count=1 iflag=direct status=none
ok "a new attach is refused at once, with the reason" grep -q 'cannot connect to' \
    <(timeout 5 "$BUILD/corelane" attach $iqn --portal "$PORTAL" --lun 1 --export none 2>&1)
ok "the target comes back" start_targetd
ok "and with it the disk" e2e_wait 20 state_is up
ok "what was written before is there, and nothing of what failed" cmp -n 1048576 "$dev" "$E2E_DIR/before"
ok "it takes writes" dd if="$E2E_DIR/lost" of="$dev" bs=64k oflag=direct status=none
ok "and gives them back" cmp -n 1048576 "$dev" "$E2E_DIR/lost"
ok "detach, without force" cl detach "$dev"

# another unit in its place gets nothing
dev=$(cl attach $iqn --portal "$PORTAL" --lun 0) || { fail "attach again"; e2e_end; }
cl lun create $iqn --ram 16M --lun 1 >/dev/null
e2e_stop "$TARGETD" TERM
ok "it fails again" e2e_wait 20 state_is failed
jq '.targets[0].luns |= (map(select(.lun == 1)) | map(.lun = 0))' "$E2E_DIR/target.json" >"$E2E_DIR/t2" && cp "$E2E_DIR/t2" "$E2E_DIR/target.json"
ok "the target comes back with another unit" start_targetd
up() { [ "$(cl session list --json | jq -r '.[0].state')" = LOGGED_IN ]; }
ok "the session is up" e2e_wait 20 up
not_ok "nothing is read from the other unit" timeout 5 dd if="$dev" of=/dev/null bs=4k count=1 iflag=direct status=none
not_ok "or written to it" timeout 5 dd if="$E2E_DIR/lost" of="$dev" bs=4k count=1 oflag=direct status=none
ok "detach it: what the kernel still has for it goes nowhere, so by force" cl detach "$dev" --force
e2e_end
