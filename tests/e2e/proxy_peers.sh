#!/bin/bash
# The proxy between peers that are not both ours: our initiator and tgt, our target and qemu's initiator (libiscsi).
# Seed: E2E_SEED=N.
set -u
# shellcheck source=tests/e2e/harness.sh
. "$(dirname "$0")/harness.sh"
for p in loop fio jq qemu-io tgtd; do has $p || { skip proxy_peers "$WHY_NOT"; exit 0; }; done
e2e_begin
seed=${E2E_SEED:-$RANDOM}
echo "# seed $seed"
cat >"$E2E_DIR/etc/iscsid.conf" <<END
node.conn[0].timeo.noop_out_interval = 1
node.conn[0].timeo.noop_out_timeout = 2
node.session.timeo.replacement_timeout = 300
END

# --- our initiator, tgt
ctl=$((RANDOM % 20000 + 1000)) port=$(e2e_port) tiqn=iqn.2026-11.test.tgt:proxy
truncate -s 32M "$E2E_DIR/tgt.img"
tgtd -f -C $ctl --iscsi "portal=127.0.0.1:$port" >"$E2E_DIR/tgtd.log" 2>&1 &
e2e_own $! KILL
adm() { tgtadm -C $ctl --lld iscsi "$@"; }
e2e_wait 30 adm --op show --mode target
adm --op new --mode target --tid 1 -T $tiqn &&
    adm --op new --mode logicalunit --tid 1 --lun 1 -b "$E2E_DIR/tgt.img" &&
    adm --op bind --mode target --tid 1 -I ALL || { fail "tgt"; e2e_end; }
PROXY_TO=127.0.0.1:$port
start_corelaned && start_proxy --seed "$seed" --faults delay:3,reset,half-close,split,slow,blackhole --every 4M ||
    { fail start; e2e_end; }
dev=$(cl attach $tiqn --portal "$FRONT" --lun 1 2>/dev/null) || { fail "attach tgt's LUN"; e2e_end; }
ok "fio verify on tgt's LUN, with faults" fio --verify_state_save=0 --name=v --filename="$dev" --direct=1 \
    --ioengine=io_uring --rw=randwrite --bs=16k --iodepth=16 --size=32M --verify=crc32c --verify_fatal=1 \
    --output="$E2E_DIR/fio.log"
n=$(grep -c '\] byte' "$E2E_DIR/proxy.log")
ok "there were faults ($n)" test "$n" -ge 3
proxy_tell calm
ok "detach" cl detach "$dev"
e2e_stop $PROXY

# --- qemu's initiator, our target: it has no recovery of its own from what breaks a connection
iqn=iqn.2026-11.test.corelane:proxypeer
start_targetd || { fail start; e2e_end; }
cl target create $iqn >/dev/null && cl lun create $iqn --ram 16M >/dev/null || fail "LUN"
PROXY_TO=$PORTAL
start_proxy --seed "$seed" --faults delay,split:3,slow --every 1M || { fail "the proxy starts"; e2e_end; }
uri="iscsi://$FRONT/$iqn/0"
ok "qemu-io writes and reads through delays and single bytes" qemu-io -f raw -t none -c 'write -P 0x11 0 4M' \
    -c 'write -P 0x22 4M 4M' -c 'write -P 0x33 1234k 100k' -c 'read -P 0x33 1234k 100k' -c 'read -P 0x22 4M 4M' "$uri"
not_ok "which finds what was not written" grep -q 'Pattern verification failed' "$E2E_DIR/said"
n=$(grep -c '\] byte' "$E2E_DIR/proxy.log")
ok "there were faults ($n)" test "$n" -ge 3
proxy_tell "now up drop"
ok "the target goes on serving" qemu-io -f raw -t none -c 'read -P 0x11 0 1M' "iscsi://$PORTAL/$iqn/0"
e2e_end
