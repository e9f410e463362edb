#!/bin/bash
# A LUN attached as a disk of the host: file system, fio with verify, discard, zeroes, flush, resize, read-only,
# errors as errno, two disks at once, detach refused while mounted.
set -u
# shellcheck source=tests/e2e/harness.sh
. "$(dirname "$0")/harness.sh"
[ "$(id -u)" = 0 ] || { skip attach "needs root for a loop device"; exit 0; }
e2e_begin
iqn=iqn.2026-11.test.corelane:attach
start_targetd --cores 1 && start_corelaned --cores 0 || { fail start; e2e_end; }
ok "target create" cl target create $iqn
ok "file LUN" cl lun create $iqn --file "$E2E_DIR/disk.img" --size 256M --lun 0
ok "RAM LUN with 4 KiB blocks" cl lun create $iqn --ram 64M --lun 1 --block-size 4096
ok "read-only LUN" cl lun create $iqn --ram 16M --lun 2 --readonly

dev=$(cl attach $iqn --portal "$PORTAL" --lun 0) || { fail "attach prints a path"; e2e_end; }
ok "attach returns a usable block device" test -b "$dev"
same "its size" $((256 << 20)) "$(blockdev --getsize64 "$dev")"
same "its logical block" 512 "$(blockdev --getss "$dev")"

verify() { # NAME DEVICE [fio options]
    local n=$1 d=$2
    shift 2
    ok "$n" fio --verify_state_save=0 --name=v --filename="$d" --direct=1 --ioengine=io_uring --verify=crc32c --verify_fatal=1 --do_verify=1 \
        --verify_backlog=512 --output="$E2E_DIR/fio.log" "$@"
}
verify "fio verify: 4 KiB random writes, depth 32" "$dev" --rw=randwrite --bs=4k --iodepth=32 --size=32M
verify "fio verify: 1 MiB sequential, depth 8" "$dev" --rw=write --bs=1M --iodepth=8 --size=128M
verify "fio verify: 512 to 64 KiB mixed" "$dev" --rw=randrw --bsrange=512-64k --bs_unaligned=0 --blockalign=512 --iodepth=16 --size=16M

mkdir "$E2E_DIR/mnt"
ok "mkfs" mkfs.ext4 -q -F "$dev"
ok "mount" mount "$dev" "$E2E_DIR/mnt"
ok "write" dd if=/dev/urandom of="$E2E_DIR/mnt/data" bs=64k count=512 conv=fsync status=none
sum=$(sha256sum <"$E2E_DIR/mnt/data")
before=$(du -k "$E2E_DIR/disk.img" | cut -f1)
not_ok "detach is refused while mounted" cl detach "$dev"
ok "and says why" grep -qi -e mounted -e 'in use' -e busy <(cl detach "$dev" 2>&1)
ok "fstrim after rm gives space back (discard reaches the file)" sh -c "
    rm '$E2E_DIR/mnt/data' && sync && fstrim '$E2E_DIR/mnt' && sync '$E2E_DIR/disk.img' &&
    test \$(du -k '$E2E_DIR/disk.img' | cut -f1) -lt $before"
ok "write again" dd if=/dev/urandom of="$E2E_DIR/mnt/data" bs=64k count=512 conv=fsync status=none
sum=$(sha256sum <"$E2E_DIR/mnt/data")
ok "umount" umount "$E2E_DIR/mnt"
ok "fsck" fsck.ext4 -f -n "$dev"
ok "mount again" mount "$dev" "$E2E_DIR/mnt"
same "the data are there" "$sum" "$(sha256sum <"$E2E_DIR/mnt/data")"
ok "umount again" umount "$E2E_DIR/mnt"
ok "blkdiscard" blkdiscard -o 0 -l 1M "$dev"
ok "discarded blocks read as zeroes" cmp -n $((1 << 20)) "$dev" /dev/zero
dd if=/dev/urandom of="$dev" bs=1M count=2 oflag=direct status=none
ok "blkdiscard -z (write zeroes)" blkdiscard -z -o 0 -l 1M "$dev"
ok "zeroed blocks read as zeroes" cmp -n $((1 << 20)) "$dev" /dev/zero
not_ok "and only those" cmp -s -i 1048576 -n $((1 << 20)) "$dev" /dev/zero

ok "lun resize" cl lun resize $iqn 0 384M
grown() { [ "$(blockdev --getsize64 "$dev")" = $((384 << 20)) ]; }
fio --name=touch --filename="$dev" --rw=randread --bs=4k --number_ios=20 --direct=1 --output=/dev/null
ok "the new size is seen by the host" e2e_wait 15 grown
verify "fio verify in what was added" "$dev" --rw=write --bs=256k --iodepth=4 --offset=256M --size=64M

dev1=$(cl attach "iscsi://$PORTAL/$iqn/1")
same "attach by URL; logical block of 4 KiB" 4096 "$(blockdev --getss "$dev1")"
verify "fio verify with 4 KiB blocks" "$dev1" --rw=randwrite --bs=4k --iodepth=16 --size=16M
dev2=$(cl attach $iqn --portal "$PORTAL" --lun 2)
same "read-only LUN makes a read-only disk" 1 "$(blockdev --getro "$dev2")"
not_ok "which refuses a write" dd if=/dev/zero of="$dev2" bs=4k count=1 oflag=direct status=none
same "three disks are listed" 3 "$(cl list --json | jq length)"
same "and share a session" 1 "$(cl session list --json | jq length)"
not_ok "attach of a LUN that is not there fails" cl attach $iqn --portal "$PORTAL" --lun 9
ok "and says so" grep -q 9 <(cl attach $iqn --portal "$PORTAL" --lun 9 2>&1)

ok "detach by path" cl detach "$dev1"
ok "its device is gone" sh -c "test \"\$(blockdev --getsize64 $dev1 2>/dev/null || echo 0)\" = 0"
ok "detach" cl detach "$dev2"
verify "the other disk goes on" "$dev" --rw=randwrite --bs=4k --iodepth=8 --size=4M
none=$(cl attach "iscsi://$PORTAL/$iqn/1" --export none)
ok "attach --export none gives a name" test -n "$none"
ok "detach by name" cl detach "$none"
cl lun delete $iqn 0 >"$E2E_DIR/del" 2>&1
gone() { ! dd if="$dev" of=/dev/null bs=4k count=1 iflag=direct status=none 2>/dev/null; }
ok "a LUN that is deleted gives errors, not hangs" e2e_wait 15 gone
ok "and can be detached" timeout 20 "$BUILD/corelane" detach "$dev" --force
ok "corelaned ends on SIGTERM" sh -c "kill $CORELANED; for i in \$(seq 50); do kill -0 $CORELANED 2>/dev/null || exit 0; sleep 0.1; done; exit 1"
same "no loop device left" "" "$(losetup -ln -O NAME,BACK-FILE | grep "$E2E_DIR")"
e2e_end
