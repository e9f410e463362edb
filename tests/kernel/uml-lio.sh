#!/bin/bash
# Our initiator against the kernel's target (LIO): the LUN as an nbd device, and as a loop device over FUSE; a file system
# and verified writes on each, then detached with nothing left behind
# shellcheck source=lib.sh source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
iqn=iqn.2026-11.org.example:lio
truncate -s 64M $W/disk
lio $iqn $W/disk $((64 << 20)) 127.0.0.1:3260
say "LIO ready"
initiatord
corelane discover 127.0.0.1 >$W/discover.log || fail "discover: $(cat $W/discover.log)"
grep -q "$iqn" $W/discover.log || fail "not discovered: $(cat $W/discover.log)"
for kind in nbd fuse; do
    attach $iqn --portal 127.0.0.1 --lun 0 --export $kind
    [ $kind = fuse ] && want=/dev/loop || want=/dev/nbd
    [[ $dev == $want* ]] || fail "$dev for --export $kind"
    is "$(blockdev --getsize64 "$dev")" $((64 << 20))
    ext4_round "$dev" 4096
    fio_verify "$dev" 4
    say "$kind: ext4 round and fio verify done"
    # in use: not taken away
    ok mkfs.ext4 -q "$dev"
    ok mount "$dev" $W/m
    refused corelane detach "$(disk_name)" 2>$W/detach.log
    grep -q mounted $W/detach.log || fail "no word of the mount: $(cat $W/detach.log)"
    echo "$kind" >$W/m/kind
    ok umount $W/m
    ok corelane detach "$(disk_name)"
    [ -z "$(grep -l corelane /sys/block/*/backend /sys/block/loop*/loop/backing_file 2>/dev/null)" ] || fail "left a device behind"
    grep -q fuse.corelane /proc/mounts && fail "left a mount behind"
done
# what one wrote the other reads: the disk is the target's
ok mount -o loop $W/disk $W/m
is "$(cat $W/m/kind)" fuse
ok umount $W/m
say "detached"
kill $initiatord_pid
wait $initiatord_pid
is $? 0 "corelaned's exit status"
say PASS
