#!/bin/bash
# The FUSE export with a loop device, of a disk in memory: a file system, discard, errors, resize, taken away by force, and
# what a server that was killed left behind
# shellcheck source=lib.sh source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
probe a fuse 32 4096
is "$(blockdev --getss "$dev")" 4096
is "$(cat "/sys/block/${dev##*/}/loop/dio")" 1 "direct I/O"
ext4_round "$dev" 4096
[ "$(ask a count zero)" -gt 0 ] || fail "no discard reached the disk"
[ "$(ask a count flush)" -gt 0 ] || fail "no flush reached the disk"
fio_verify "$dev" 4
[ "$(ask a placed)" -gt 0 ] || fail "no data lay in the shared buffer"
say "ext4 round and fio verify done"
is "$(ask a fail write 28)" ok
refused dd if=/dev/zero of="$dev" bs=4k count=1 oflag=direct status=none 2>$W/dd.log
grep -q "No space left" $W/dd.log || fail "not ENOSPC: $(cat $W/dd.log)"
is "$(ask a fail write 0)" ok
is "$(ask a resize 48)" ok
wait_for 5 has_size "$dev" $((48 << 20))
say "errors and resize done"
# by force, under a mounted file system: errors, no hang
ok mkfs.ext4 -q "$dev"
ok mount "$dev" $W/m
[[ $(ask a close) == refused*mounted* ]] || fail "taken away while mounted"
is "$(ask a force)" closed
refused dd if=/dev/zero of=$W/m/x bs=64k count=1 conv=fsync status=none 2>/dev/null
ok umount $W/m
grep -q fuse.corelane /proc/mounts && fail "left a mount behind"
say "forced"
# killed under a mounted file system: the next one cleans up and starts afresh
probe b fuse 32
ok mkfs.ext4 -q "$dev"
ok mount "$dev" $W/m
kill -9 "${probe_pid[b]}"
wait "${probe_pid[b]}" 2>/dev/null
probe c fuse 32
grep -q "was unmounted" $W/c.log || fail "the mount was not cleaned up"
ok umount $W/m
wait_for 5 eval '[ "$(cat /sys/block/loop*/loop/backing_file | wc -l)" = 1 ]'
ok dd if="$dev" of=/dev/null bs=1M iflag=direct status=none
is "$(ask c close)" closed
say "cleaned up"
# somebody detached the loop device, and gave its number to another file: that one stays
probe d fuse 32
losetup -d "$dev"
truncate -s 1M $W/other
is "$(losetup -f --show $W/other)" "$dev"
is "$(ask d close)" closed
grep -q $W/other "/sys/block/${dev##*/}/loop/backing_file" || fail "another's loop device was taken away"
say PASS
