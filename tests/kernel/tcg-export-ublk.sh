#!/bin/bash
# The ublk export of a disk in memory: data, flush and FUA, discard, errors, who may close it, and a server that is killed
# while a file system is mounted and written: the next one takes the device over and nothing is lost
# shellcheck source=lib.sh source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
probe a auto 32
is "$dev" /dev/ublkb0 "auto takes ublk"
is "$(blockdev --getsize64 "$dev")" $((32 << 20))
ext4_round "$dev" 4096
[ "$(ask a count unmap)" -gt 0 ] || fail "no discard reached the disk"
[ "$(ask a count flush)" -gt 0 ] || fail "no flush reached the disk"
[ "$(ask a fua)" -gt 0 ] || fail "no FUA reached the disk"
say "ext4 round done"
fio_verify "$dev" 4
[ "$(ask a placed)" -gt 0 ] || fail "no data lay in the shared buffer"
say "fio verified"
ok blkdiscard -z -o 4096 -l 65536 "$dev"
[ "$(ask a count zero)" -gt 0 ] || fail "no write zeroes reached the disk"
# errors as they are: no space is not an I/O error
is "$(ask a fail write 28)" ok
refused dd if=/dev/zero of="$dev" bs=4k count=1 oflag=direct status=none 2>$W/dd.log
grep -q "No space left" $W/dd.log || fail "not ENOSPC"
is "$(ask a fail write 0)" ok
say "errors done"
ok mkfs.ext4 -q "$dev"
ok mount "$dev" $W/m
[[ $(ask a close) == refused*mounted* ]] || fail "taken away while mounted"
ok umount $W/m
is "$(ask a close)" closed
[ ! -e /dev/ublkb0 ] || fail "/dev/ublkb0 is still there"
say "closed"
# killed under a mounted file system, with writes under way
export FAKE_FILE=$W/disk
probe b ublk 32
ok mkfs.ext4 -q "$dev"
ok mount "$dev" $W/m
dd if=/dev/urandom of=$W/data bs=64k count=128 status=none
(
    dd if=$W/data of=$W/m/data bs=64k conv=fsync status=none
    echo $? >$W/rc
) &
copy=$!
sleep 0.3
kill -9 "${probe_pid[b]}"
wait "${probe_pid[b]}" 2>/dev/null
say "killed"
[ -b /dev/ublkb0 ] || fail "the device died with its server"
is "$("$PROBE" nbd $W/run 32 </dev/null 2>/dev/null | grep -o 'waits to be served again')" "waits to be served again"
probe c auto 32
is "$dev" /dev/ublkb0 "the same device"
wait $copy
is "$(cat $W/rc)" 0 "writing across the kill"
ok cmp $W/data $W/m/data
ok umount $W/m
ok blockdev --flushbufs "$dev"
ok fsck.ext4 -f -n "$dev" >$W/fsck.log 2>&1
ok mount "$dev" $W/m
ok cmp $W/data $W/m/data
ok umount $W/m
say "recovered"
is "$(ask c close)" closed
[ ! -e $W/run/devices/probe ] || fail "the record is still there"
say PASS
