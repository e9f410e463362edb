#!/bin/bash
# Our initiator and our target, the LUN as an nbd device: discard gives space back, a LUN that grows is seen, read-only
# is read-only, and a target that is killed and started again under a mounted file system costs time and nothing else
# shellcheck source=lib.sh source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
iqn=iqn.2026-11.org.example:disk
targetd 127.0.0.1:3260
ok corelane target create $iqn
ok corelane lun create $iqn --file $W/disk --size 64M >/dev/null
initiatord
attach iscsi://127.0.0.1/$iqn/0 --export nbd
ok dd if=/dev/urandom of="$dev" bs=1M count=16 oflag=direct status=none
full=$(stat -c %b $W/disk)
ok blkdiscard -o 0 -l $((16 << 20)) "$dev"
[ "$(stat -c %b $W/disk)" -lt $((full / 4)) ] || fail "discard gave nothing back: $full blocks, then $(stat -c %b $W/disk)"
ok mkfs.ext4 -q "$dev"
ok mount "$dev" $W/m
ok corelane lun resize $iqn 0 96M
wait_for 20 has_size "$dev" $((96 << 20))
ok resize2fs "$dev" >$W/resize.log 2>&1
say "discard and resize done"
# the target dies with writes under way
dd if=/dev/urandom of=$W/data bs=64k count=256 status=none
(
    dd if=$W/data of=$W/m/data bs=64k conv=fsync status=none
    echo $? >$W/rc
) &
copy=$!
sleep 0.1
kill -9 $targetd_pid
wait $targetd_pid 2>/dev/null
sleep 1
targetd 127.0.0.1:3260
wait $copy
is "$(cat $W/rc)" 0 "writing across the target's death"
ok umount $W/m
ok blockdev --flushbufs "$dev"
ok fsck.ext4 -f -n "$dev" >$W/fsck.log 2>&1
ok mount "$dev" $W/m
ok cmp $W/data $W/m/data
ok umount $W/m
ok corelane detach "$dev"
say "the target died and came back"
attach $iqn --portal 127.0.0.1 --lun 0 --export nbd --readonly
is "$(blockdev --getro "$dev")" 1
ok mount -o ro "$dev" $W/m
ok cmp $W/data $W/m/data
refused corelane detach "$dev" 2>$W/detach.log
ok umount $W/m
ok corelane detach "$dev"
say PASS
