#!/bin/bash
# Each fault of the proxy while fio verifies an attached disk: I/O goes on without an error, whatever happens to the
# connection; and what was written is there in the end.
set -u
# shellcheck source=tests/e2e/harness.sh
. "$(dirname "$0")/harness.sh"
for p in loop fio jq; do has $p || { skip proxy_faults "$WHY_NOT"; exit 0; }; done
e2e_begin
# a dead connection is noticed soon, so that the test is over soon: nothing else depends on it
cat >"$E2E_DIR/etc/iscsid.conf" <<END
node.conn[0].timeo.noop_out_interval = 1
node.conn[0].timeo.noop_out_timeout = 2
node.conn[0].timeo.login_timeout = 5
node.session.timeo.replacement_timeout = 300
END
iqn=iqn.2026-11.test.corelane:proxy
start_targetd && start_corelaned && start_proxy || { fail start; e2e_end; }
cl target create $iqn >/dev/null && cl lun create $iqn --file "$E2E_DIR/disk.img" --size 64M >/dev/null || fail "LUN"
dev=$(cl attach $iqn --portal "$FRONT" --lun 0 2>/dev/null) || { fail "attach through the proxy"; e2e_end; }

ios() { awk '{print $1 + $5}' "/sys/block/${dev##*/}/stat"; }
moved() { [ "$(ios)" -gt "$1" ]; }
under_way() { e2e_wait 60 moved "$(ios)"; }
# load NAME LINE...: fio with verify while the proxy does each of them, I/O being under way every time
load() {
    local name=$1 fio rc line
    shift
    rm -f "$E2E_DIR/fio.log"
    fio --verify_state_save=0 --name=f --filename="$dev" --direct=1 --ioengine=io_uring --rw=randwrite \
        --bsrange=512-32k --bs_unaligned=0 --blockalign=512 --iodepth=16 --size=16M --time_based --runtime=600 \
        --verify=crc32c --verify_fatal=1 --verify_backlog=64 --output="$E2E_DIR/fio.log" &
    fio=$!
    e2e_own $fio INT
    under_way
    for line; do
        proxy_tell "now $line"
        under_way || fail "$name: I/O goes on after '$line'"
    done
    kill -INT $fio
    wait $fio
    rc=$?
    [ $rc = 128 ] && rc=0 # interrupted, as it should be
    grep -qE 'verify: |err= *[1-9]' "$E2E_DIR/fio.log" && rc=1
    same "$name: fio verified, no error" 0 $rc
    [ $rc = 0 ] || sed 's/^/# /' "$E2E_DIR/fio.log"
}
load delay "delay 200" "up delay 500" "down delay 500"
load split "split 20000" "up split 20000"
load slow "slow 200000 500" "up slow 50000 500" "down slow 50000 500"
load reset reset reset reset reset
load half-close "up half-close" "down half-close" "half-close"
load drop "up drop" "down drop"
load blackhole "conn $(sed -n 's/.*# conn \([0-9]*\) open/\1/p' "$E2E_DIR/proxy.log" | tail -n 1) blackhole 20000" "blackhole 1500"
same "each kind was done" "" \
    "$(for k in delay split slow reset half-close drop blackhole; do [ "$(proxy_did $k)" -gt 0 ] || echo $k; done)"
n=$(cl session list --json | jq '.[0].reconnects')
ok "the session counted its reconnects ($n)" test "${n:-0}" -ge 4
ok "a file system after all that" mkfs.ext4 -q -F "$dev"
ok "fsck" fsck.ext4 -f -n "$dev"
ok "detach" cl detach "$dev"
e2e_end
