#!/bin/bash
# Peers that nobody here wrote: our target under libiscsi's tools and qemu's iSCSI driver, our initiator against tgt.
set -u
# shellcheck source=tests/e2e/harness.sh
. "$(dirname "$0")/harness.sh"
e2e_begin
iqn=iqn.2026-11.test.corelane:peers
printf 'a secret of 20 bytes' >"$E2E_DIR/secret"
printf 'another one, 21 bytes' >"$E2E_DIR/secret2"
start_targetd --portal "127.0.0.1:$(e2e_port)" --portal "[::1]:$(e2e_port)" || { fail start; e2e_end; }
cl target create $iqn >/dev/null && cl lun create $iqn --file "$E2E_DIR/disk.img" --size 64M --lun 0 >/dev/null &&
    cl lun create $iqn --ram 32M --lun 5 >/dev/null || fail "LUNs"
url=iscsi://$PORTAL/$iqn

# --- libiscsi's tools
ok "iscsi-ls finds the target" grep -q "$iqn" <(iscsi-ls "iscsi://$PORTAL" 2>&1)
ok "iscsi-ls -s shows both LUNs (over each portal)" test "$(iscsi-ls -s "iscsi://$PORTAL" 2>&1 | grep -c '^Lun:')" -ge 2
ok "iscsi-inq" grep -qi CORELANE <(iscsi-inq "$url/0" 2>&1)
ok "iscsi-inq, VPD 83" iscsi-inq -e 1 -c 0x83 "$url/0"
ok "iscsi-readcapacity16" grep -q 131071 <(iscsi-readcapacity16 "$url/0" 2>&1)
ok "iscsi-swp" iscsi-swp "$url/0"
p6=$(cl portal list --json | jq -r '.[1].addr')
ok "over IPv6" grep -qi CORELANE <(iscsi-inq "iscsi://$p6/$iqn/0" 2>&1)

# --- qemu's driver
dd if=/dev/urandom of="$E2E_DIR/src" bs=1M count=64 status=none
ok "qemu-img convert to the LUN" qemu-img convert -n -f raw -O raw "$E2E_DIR/src" "$url/0"
ok "qemu-img compare" qemu-img compare -f raw -F raw "$E2E_DIR/src" "$url/0"
ok "qemu-io: write, zero, discard, read with pattern" qemu-io -f raw -c 'write -P 0xa5 0 1M' -c 'write -z 256k 64k' -c 'discard 512k 64k' \
    -c 'read -P 0xa5 0 256k' -c 'read -P 0 256k 64k' -c 'read -P 0xa5 320k 128k' -c flush "$url/5"
not_ok "qemu-io sees a wrong pattern (the test can fail)" sh -c "qemu-io -f raw -c 'read -P 0xa5 256k 64k' '$url/5' | grep -q . && ! qemu-io -f raw -c 'read -P 0xa5 256k 64k' '$url/5' 2>&1 | grep -qi 'verification failed'"

# --- CHAP and ACLs, judged by libiscsi
ok "chap set" cl chap set $iqn --user alice --secret-file "$E2E_DIR/secret"
not_ok "without a secret: refused" iscsi-inq "$url/0"
not_ok "with a wrong one: refused" iscsi-inq "iscsi://alice%a%20wrong%20secret%20xx@$PORTAL/$iqn/0"
sec='a secret of 20 bytes'
export LIBISCSI_CHAP_USERNAME=alice LIBISCSI_CHAP_PASSWORD=$sec
ok "with the right one: in" iscsi-inq "$url/0"
export LIBISCSI_CHAP_TARGET_USERNAME=bob LIBISCSI_CHAP_TARGET_PASSWORD='another one, 21 bytes'
not_ok "mutual asked, none configured: refused" iscsi-inq "$url/0"
ok "chap set --direction out" cl chap set $iqn --direction out --user bob --secret-file "$E2E_DIR/secret2"
ok "mutual CHAP" iscsi-inq "$url/0"
unset LIBISCSI_CHAP_USERNAME LIBISCSI_CHAP_PASSWORD LIBISCSI_CHAP_TARGET_USERNAME LIBISCSI_CHAP_TARGET_PASSWORD
ok "chap clear" sh -c "'$BUILD/corelane' chap clear $iqn --direction in && '$BUILD/corelane' chap clear $iqn --direction out"
ok "open again" iscsi-inq "$url/0"
ok "acl add" cl acl add $iqn iqn.2026-11.test:friend --lun 5
not_ok "a stranger is refused" iscsi-inq -i iqn.2026-11.test:stranger "$url/5"
ok "a friend is not" iscsi-inq -i iqn.2026-11.test:friend "$url/5"
not_ok "but sees no masked LUN" sh -c "iscsi-readcapacity16 -i iqn.2026-11.test:friend '$url/0'"
ok "acl remove" cl acl remove $iqn iqn.2026-11.test:friend

# --- our initiator and our target, with every digest and CHAP digest
for d in '' --header-digest --data-digest '--header-digest --data-digest'; do
    # shellcheck disable=SC2086
    ok "bench writes and reads ${d:-without digests}" cl bench "$url/5" --rw randrw --bs 16k --qd 8 --time 1 --transport tcp --json $d
done

# --- our initiator against tgt
if ! command -v tgtd >/dev/null; then
    skip "our initiator against tgt" "no tgtd here"
    e2e_end
fi
ctl=$((RANDOM % 20000 + 1000)) port=$(e2e_port) tiqn=iqn.2026-11.test.tgt:peer
truncate -s 64M "$E2E_DIR/tgt.img"
tgtd -f -C $ctl --iscsi "portal=127.0.0.1:$port" >"$E2E_DIR/tgtd.log" 2>&1 &
e2e_own $! KILL
e2e_wait 10 tgtadm -C $ctl --lld iscsi --op show --mode target
adm() { tgtadm -C $ctl --lld iscsi "$@"; }
ok "tgt: a LUN" adm --op new --mode target --tid 1 -T $tiqn
adm --op new --mode logicalunit --tid 1 --lun 1 -b "$E2E_DIR/tgt.img" && adm --op bind --mode target --tid 1 -I ALL || fail "tgt"
ok "bench against tgt" cl bench "iscsi://127.0.0.1:$port/$tiqn/1" --rw randrw --bs 4k --qd 32 --time 1 --json
start_corelaned --cores 0 || fail "corelaned"
ok "discover tgt" grep -q "$tiqn" <(cl discover "127.0.0.1:$port")
if [ "$(id -u)" = 0 ]; then
    dev=$(cl attach $tiqn --portal "127.0.0.1:$port" --lun 1) || fail "attach tgt's LUN"
    ok "fio verify on tgt's LUN" fio --verify_state_save=0 --name=v --filename="$dev" --direct=1 --ioengine=io_uring --rw=randwrite --bs=4k --iodepth=32 --size=16M \
        --verify=crc32c --verify_fatal=1 --output="$E2E_DIR/fio.log"
    ok "detach" cl detach "$dev"
else
    skip "fio verify on tgt's LUN" "needs root for a loop device"
fi
adm --op new --mode account --user alice --password "$sec" && adm --op bind --mode account --tid 1 --user alice
not_ok "tgt with CHAP: refused without" cl bench "iscsi://127.0.0.1:$port/$tiqn/1" --time 1 --json
ok "tgt with CHAP: in (it takes MD5 from the list, or alone)" cl bench "iscsi://alice%a%20secret%20of%2020%20bytes@127.0.0.1:$port/$tiqn/1" --time 1 --json
e2e_end
