#!/bin/bash
# Our initiator and our target, the LUN as a ublk device: a file system, verified writes, and corelaned killed with writes
# under way on a mounted file system; the next one takes the device over, and nothing is lost
# shellcheck source=lib.sh source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
iqn=iqn.2026-11.org.example:disk
targetd 127.0.0.1:3260
ok corelane target create $iqn
ok corelane lun create $iqn --ram 64M >/dev/null
initiatord
attach $iqn --portal 127.0.0.1 --lun 0
is "$dev" /dev/ublkb0 "auto takes ublk"
is "$(blockdev --getsize64 "$dev")" $((64 << 20))
ext4_round "$dev" 4096
fio_verify "$dev" 4
say "ext4 round and fio verify done"
ok mkfs.ext4 -q "$dev"
ok mount "$dev" $W/m
dd if=/dev/urandom of=$W/data bs=64k count=256 status=none
for round in 1 2; do
    (
        dd if=$W/data of=$W/m/data$round bs=64k conv=fsync status=none
        echo $? >$W/rc
    ) &
    copy=$!
    sleep 0.2
    kill -9 $initiatord_pid
    wait $initiatord_pid 2>/dev/null
    [ -b /dev/ublkb0 ] || fail "the device died with its server"
    initiatord
    wait $copy
    is "$(cat $W/rc)" 0 "writing across the kill"
    ok cmp $W/data $W/m/data$round
    say "round $round: killed and recovered"
done
wait_for 20 eval 'corelane list | grep -q /dev/ublkb0'
refused corelane detach "$(disk_name)" 2>$W/detach.log
ok umount $W/m
ok blockdev --flushbufs "$dev"
ok fsck.ext4 -f -n "$dev" >$W/fsck.log 2>&1
ok mount "$dev" $W/m
ok cmp $W/data $W/m/data1
ok cmp $W/data $W/m/data2
ok umount $W/m
ok corelane detach "$(disk_name)"
[ ! -e /dev/ublkb0 ] || fail "/dev/ublkb0 is still there"
say PASS
