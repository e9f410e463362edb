#!/bin/bash
# A target that is frozen with I/O in flight: a forced detach, one that is asked for while a plain one waits, and the
# end of corelaned take seconds, not replacement_timeout.
set -u
# shellcheck source=tests/e2e/harness.sh
. "$(dirname "$0")/harness.sh"
[ "$(id -u)" = 0 ] || { skip detach_force "needs root for a loop device"; exit 0; }
e2e_begin
iqn=iqn.2026-11.test.corelane:force
# for ever, so that nothing but force ends the wait
echo 'node.session.timeo.replacement_timeout = -1' >"$E2E_DIR/etc/iscsid.conf"
start_targetd && start_corelaned || { fail start; e2e_end; }
cl target create $iqn >/dev/null && cl lun create $iqn --ram 64M --lun 0 >/dev/null &&
    cl lun create $iqn --ram 64M --lun 1 >/dev/null || fail "LUNs"

within() { # SECONDS NAME command...: it succeeds in that time
    local most=$1 name=$2 t0=$SECONDS rc
    shift 2
    timeout 60 "$@" >"$E2E_DIR/within.log" 2>&1
    rc=$?
    if [ $rc = 0 ] && [ $((SECONDS - t0)) -le "$most" ]; then
        pass "$name ($((SECONDS - t0)) s)"
    else
        fail "$name" "status $rc after $((SECONDS - t0)) s: $(cat "$E2E_DIR/within.log")"
    fi
}
# freeze MODE BYTES QD: the target stops while such I/O runs on $dev
freeze() {
    fio --name=f --filename="$dev" --direct=1 --ioengine=io_uring --rw="$1" --bs="$2" --iodepth="$3" --size=32M --time_based \
        --runtime=30 --output=/dev/null 2>/dev/null &
    fio=$!
    e2e_own $fio KILL
    sleep 1
    kill -STOP "$TARGETD"
    sleep "${4:-1}"
}
thaw() {
    kill -CONT "$TARGETD"
    kill -KILL $fio 2>/dev/null
    wait $fio 2>/dev/null
}

for io in 'randread 4k 16 1' 'write 1m 8 1' 'randwrite 4k 16 13'; do
    # shellcheck disable=SC2086 # words
    set -- $io
    dev=$(cl attach $iqn --portal "$PORTAL" --lun 0 --name stuck) || { fail "attach ($io)"; continue; }
    freeze "$@"
    within 8 "detach --force, $1 $2, frozen for $4 s" "$BUILD/corelane" detach stuck --force
    thaw
    ok "$1 $2: the LUN is attached again" cl attach $iqn --portal "$PORTAL" --lun 0 --name again 2>/dev/null
    ok "$1 $2: and detached" cl detach again
done

# the other LUN of the same session does not notice but by the wait
dev=$(cl attach $iqn --portal "$PORTAL" --lun 0 --name stuck) || fail attach
other=$(cl attach $iqn --portal "$PORTAL" --lun 1 --name other) || fail attach
freeze randwrite 4k 16
dd if=/dev/urandom of="$E2E_DIR/data" bs=1M count=8 status=none
dd if="$E2E_DIR/data" of="$other" bs=1M oflag=direct status=none &
copy=$!
e2e_own $copy KILL
within 8 "detach --force beside another disk" "$BUILD/corelane" detach stuck --force
thaw
ok "the other disk's write goes through" wait $copy
ok "and holds" cmp -n 8388608 "$E2E_DIR/data" "$other"
ok "detach it" cl detach other

# a plain detach waits; force makes it end, for both who asked
dev=$(cl attach $iqn --portal "$PORTAL" --lun 0 --name stuck) || fail attach
dd if=/dev/zero of="$dev" bs=1M count=16 status=none
freeze randwrite 4k 16
kill -KILL $fio
"$BUILD/corelane" detach stuck >/dev/null 2>&1 &
plain=$!
sleep 1
within 10 "force after a plain detach that waits" "$BUILD/corelane" detach stuck --force
ok "the plain one has its answer too" e2e_wait 5 gone $plain
thaw

dev=$(cl attach $iqn --portal "$PORTAL" --lun 0 --name last) || fail attach
freeze randread 4k 16
within 8 "detach --force" "$BUILD/corelane" detach last --force
kill -TERM "$CORELANED"
ok "corelaned ends within seconds, its target still frozen" e2e_wait 8 gone "$CORELANED"
thaw
e2e_end
