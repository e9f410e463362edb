#!/bin/bash
# Bits that flip on the way, with both digests: each is noticed by the side that gets it, no I/O fails, and no wrong
# byte is read or written. Seed: E2E_SEED=N.
set -u
# shellcheck source=tests/e2e/harness.sh
. "$(dirname "$0")/harness.sh"
for p in loop fio jq; do has $p || { skip proxy_digest "$WHY_NOT"; exit 0; }; done
e2e_begin
seed=${E2E_SEED:-$RANDOM}
echo "# seed $seed"
cat >"$E2E_DIR/etc/iscsid.conf" <<END
node.conn[0].iscsi.HeaderDigest = CRC32C
node.conn[0].iscsi.DataDigest = CRC32C
node.conn[0].timeo.noop_out_interval = 1
node.conn[0].timeo.noop_out_timeout = 2
node.session.timeo.replacement_timeout = 300
END
iqn=iqn.2026-11.test.corelane:digest
start_targetd && start_corelaned && start_proxy --seed "$seed" --faults flip --every 4M || { fail start; e2e_end; }
cl target create $iqn >/dev/null && cl lun create $iqn --file "$E2E_DIR/disk.img" --size 32M >/dev/null || fail "LUN"
dev=$(cl attach $iqn --portal "$FRONT" --lun 0 2>/dev/null) || { fail "attach through the proxy"; e2e_end; }
ok "fio verify while bits flip" fio --verify_state_save=0 --name=f --filename="$dev" --direct=1 --ioengine=io_uring \
    --rw=randwrite --bsrange=512-64k --bs_unaligned=0 --blockalign=512 --iodepth=16 --size=32M --verify=crc32c \
    --verify_fatal=1 --output="$E2E_DIR/fio.log"
n=$(proxy_did flip)
ok "bits were flipped ($n)" test "$n" -ge 3
proxy_tell calm
ok "a file system" mkfs.ext4 -q -F "$dev"
ok "fsck" fsck.ext4 -f -n "$dev"
ok "detach" cl detach "$dev"

# what the target holds, past the proxy
dev=$(cl attach $iqn --portal "$PORTAL" --lun 0 2>/dev/null) || { fail "attach past the proxy"; e2e_end; }
ok "the file system past the proxy" fsck.ext4 -f -n "$dev"
ok "detach again" cl detach "$dev"
e2e_end
