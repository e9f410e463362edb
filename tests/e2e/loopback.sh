#!/bin/bash
# Shared memory between corelaned and the target of one host: it is had without asking, seen, required and forbidden;
# and verified I/O goes on over it while the target is killed, frozen, started without it and with it again.
set -u
# shellcheck source=tests/e2e/harness.sh
. "$(dirname "$0")/harness.sh"
has jq || { skip loopback "$WHY_NOT"; exit 0; }
e2e_begin
iqn=iqn.2026-11.test.corelane:loopback
cat >"$E2E_DIR/etc/iscsid.conf" <<END
node.conn[0].timeo.noop_out_interval = 1
node.conn[0].timeo.noop_out_timeout = 5
node.session.timeo.replacement_timeout = 300
END
start_targetd && start_corelaned || { fail start; e2e_end; }
cl target create $iqn >/dev/null && cl lun create $iqn --file "$E2E_DIR/disk.img" --size 64M >/dev/null || fail "LUN"

target_again() { start_targetd --portal "$PORTAL" --loopback "$1" || fail "the target starts again, loopback $1"; }
over() { cl session list --json | jq -r '[.[] | .transport] | join(" ")'; }
is_over() { [ "$(over)" = "$1" ]; }
why() { cl session list --json | jq -r '.[0].transport_why'; }

# --- which it is, and why
ok "login" cl login $iqn --portal "$PORTAL"
same "shared memory without asking" shm "$(over)"
same "and why" "the target is on this host" "$(why)"
ok "session list says so to people" grep -q 'transport: the target is on this host' <(cl session list)
same "the target says so too" shm "$(cl session list --target --json | jq -r '.[0].transport')"
same "digests are none" "None None" "$(cl session list --json | jq -r '.[0] | "\(.header_digest) \(.data_digest)"')"
ok "one over TCP beside it" cl login $iqn --portal "$PORTAL" --transport tcp
same "is another session" "shm tcp" "$(over)"
ok "the same again" cl login $iqn --portal "$PORTAL" --transport tcp
same "is the same session" "shm tcp" "$(over)"
ok "logout" cl logout $iqn
echo 'node.session.corelane.transport = tcp' >>"$E2E_DIR/etc/iscsid.conf"
ok "login with a setting of tcp" cl login $iqn --portal "$PORTAL"
same "is over TCP" tcp "$(over)"
same "because it was asked for" "asked for (transport = tcp)" "$(why)"
ok "who demands it gets shared memory all the same" cl login $iqn --portal "$PORTAL" --transport shm
same "on a session of its own" "tcp shm" "$(over)"
ok "logout of both" cl logout $iqn
sed -i '/corelane.transport/d' "$E2E_DIR/etc/iscsid.conf"

# --- a target that does not do it
e2e_stop "$TARGETD" TERM
target_again no
refused "a demand fails" 1 "transport = shm" cl login $iqn --portal "$PORTAL" --transport shm
ok "who takes either gets TCP" cl login $iqn --portal "$PORTAL"
same "TCP it is" tcp "$(over)"
ok "with a reason" grep -q . <(why)
ok "logout from there" cl logout $iqn
e2e_stop "$TARGETD" TERM
target_again yes

# --- a disk
if ! { has loop && has fio; }; then skip "a disk over shared memory" "$WHY_NOT"; e2e_end; fi
dev=$(cl attach $iqn --portal "$PORTAL" --lun 0 --export fuse --transport shm 2>/dev/null) || { fail attach; e2e_end; }
same "the disk's session" shm "$(over)"
same "the demand is kept with the disk" shm "$(jq -r '.disks[0].transport' "$CORELANE_RUN_DIR/attachments.json")"

# load FUNCTION NAME: fio with verify in the background while the function does its harm
load() {
    local fio rc
    fio --verify_state_save=0 --name=f --filename="$dev" --direct=1 --ioengine=io_uring --rw=randwrite --bs=4k-64k --iodepth=16 \
        --size=48M --time_based --runtime=8 --verify=crc32c --verify_fatal=1 --verify_backlog=256 --output="$E2E_DIR/fio.log" &
    fio=$!
    sleep 1.5
    "$1"
    wait $fio
    rc=$?
    [ $rc = 0 ] && pass "$2" || fail "$2" "fio ended with $rc: $(tail -n 3 "$E2E_DIR/fio.log")"
}
killed() {
    e2e_stop "$TARGETD" KILL
    target_again yes
}
frozen() {
    kill -STOP "$TARGETD"
    sleep 3
    kill -CONT "$TARGETD"
}
load killed "I/O over a killed target"
ok "and shared memory again" e2e_wait 60 is_over shm
load frozen "I/O over a frozen target"
ok "and shared memory still" e2e_wait 60 is_over shm
ok "detach" cl detach "$dev"

dev=$(cl attach $iqn --portal "$PORTAL" --lun 0 --export fuse 2>/dev/null) || { fail "attach with either"; e2e_end; }
without() {
    e2e_stop "$TARGETD" KILL
    target_again no
}
load without "I/O from shared memory to TCP"
same "TCP it is now" tcp "$(over)"
load killed "I/O from TCP to shared memory"
ok "shared memory it is again" e2e_wait 60 is_over shm
ok "detach at last" cl detach "$dev"
e2e_end
