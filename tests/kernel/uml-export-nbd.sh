#!/bin/bash
# The nbd export of a disk in memory: size, blocks, data, flush and FUA, discard, errors, resize, who may close it
# shellcheck source=lib.sh source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
probe a nbd 32
is "$(blockdev --getsize64 "$dev")" $((32 << 20))
is "$(blockdev --getss "$dev")" 512
ext4_round "$dev" 4096
[ "$(ask a count unmap)" -gt 0 ] || fail "no discard reached the disk"
[ "$(ask a count flush)" -gt 0 ] || fail "no flush reached the disk"
[ "$(ask a fua)" -gt 0 ] || fail "no FUA reached the disk"
say "ext4 round done"
fio_verify "$dev" 4
[ "$(ask a placed)" -gt 0 ] || fail "no data lay in the shared buffer"
say "fio verified"
# larger requests than a tag's buffer
echo 8192 >"/sys/block/${dev##*/}/queue/max_sectors_kb"
ok dd if=/dev/urandom of=$W/big bs=8M count=2 status=none
ok dd if=$W/big of="$dev" bs=8M oflag=direct status=none
ok cmp -n $((16 << 20)) $W/big <(dd if="$dev" bs=8M count=2 iflag=direct status=none)
say "8 MiB requests done"
is "$(ask a resize 48)" ok
wait_for 5 has_size "$dev" $((48 << 20))
# an error is an error, and over when it is over
is "$(ask a fail write 5)" ok
refused dd if=/dev/zero of="$dev" bs=4k count=1 oflag=direct status=none 2>$W/dd.log
grep -q "Input/output error" $W/dd.log || fail "not EIO"
is "$(ask a fail write 0)" ok
ok dd if=/dev/zero of="$dev" bs=4k count=1 oflag=direct status=none
say "errors and resize done"
# mounted, or held open: not taken away
ok mkfs.ext4 -q "$dev"
ok mount "$dev" $W/m
[[ $(ask a close) == refused*mounted* ]] || fail "taken away while mounted"
ok umount $W/m
sleep 100 3<"$dev" &
[[ $(ask a close) == refused*sleep* ]] || fail "taken away while open"
kill $!
wait $! 2>/dev/null
is "$(ask a close)" closed
is "$(cat "/sys/block/${dev##*/}/size")" 0
[ ! -e $W/run/devices/probe ] || fail "the record is still there"
say "closed"
# by force, with requests that the disk does not answer: they fail at once
probe f nbd 32
is "$(ask f delay 3000)" ok
(
    dd if="$dev" of=/dev/null bs=4k count=1 iflag=direct status=none 2>/dev/null
    echo $? >$W/rc
) &
reader=$!
sleep 0.3
is "$(ask f force)" closed
wait $reader
is "$(cat $W/rc)" 1 "a read that was under way"
say "forced"
# a server that dies: the next one cleans up, and takes the same name
probe b nbd 32 4096
is "$(blockdev --getss "$dev")" 4096
kill -9 "${probe_pid[b]}"
wait "${probe_pid[b]}" 2>/dev/null
[ -e $W/run/devices/probe ] || fail "no record"
probe c nbd 32
grep -q "was disconnected" $W/c.log || fail "not cleaned up"
# taken away by somebody else: noticed
ok nbd-client -d "$dev" >/dev/null
for _ in {1..20}; do [ "$(ask c lost)" = 1 ] && break; sleep 0.1; done
is "$(ask c lost)" 1
is "$(ask c close)" closed
say PASS
