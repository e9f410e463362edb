#!/bin/bash
# File systems on LUNs of this host's own target, written and dirtied by mapping, almost twice the machine's memory, while
# a hog leaves next to nothing free and the writers' control group admits even less: what has to be written out to get
# memory goes through both daemons, which must not wait for that memory. It ends, and every byte is there. (The
# daemons give some of what they keep back, reactor/uring/rt_reserve.c, in a quarter of the runs. With 10 MiB less and twice as
# much to write it was all of them, and without it one in four to ten stood still for good; but the kernel killed writers and
# judge once in seven.)
# quiet
# lab: -m 232M -d ubdb=DISK
# limit: 300
# shellcheck source=lib.sh source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
transport=${TRANSPORT:-shm}
PRESSURE=$BUILD/unit/export/exp_pressure
iqn=iqn.2026-11.org.example:pressure
[ -b /dev/ubdb ] || mknod /dev/ubdb b 98 16 || fail "no second disk"
ok mkfs.ext4 -q /dev/ubdb
mkdir -p $W/back $W/m1 /sys/fs/cgroup
ok mount /dev/ubdb $W/back
targetd 127.0.0.1:3260
ok corelane target create $iqn >/dev/null
ok corelane lun create $iqn --file $W/back/disk --size 200M --lun 0 >/dev/null
ok corelane lun create $iqn --ram 32M --lun 1 >/dev/null
initiatord
attach $iqn --portal 127.0.0.1:3260 --lun 0 --export fuse --transport "$transport"
ok mkfs.ext4 -q "$dev"
ok mount "$dev" $W/m
attach $iqn --portal 127.0.0.1:3260 --lun 1 --export nbd --transport "$transport"
ok mkfs.ext4 -q -O ^has_journal "$dev"
ok mount "$dev" $W/m1
is "$(corelane session list --json | sed -n 's/.*"transport": *"\([a-z]*\)".*/\1/p' | sort -u)" "$transport"
grep -H -E 'VmRSS|VmLck' /proc/$targetd_pid/status /proc/$initiatord_pid/status

mountpoint -q /sys/fs/cgroup || mount -t cgroup2 none /sys/fs/cgroup
echo +memory >/sys/fs/cgroup/cgroup.subtree_control && mkdir /sys/fs/cgroup/w && echo 40M >/sys/fs/cgroup/w/memory.max ||
    fail "no control group that limits memory"
faults() { awk '{ print $1 + 0 }' <(sed 's/.*) //' "/proc/$1/stat" | awk '{ print $8 }'); }
# who judges is not killed for want of memory, those who write are late; the hog says of itself that it is first
echo -900 >/proc/$$/oom_score_adj
f_t=$(faults $targetd_pid) f_i=$(faults $initiatord_pid)
"$PRESSURE" hog 20 &
hog=$!
limited() { (
    echo -500 >/proc/self/oom_score_adj
    echo $BASHPID >/sys/fs/cgroup/w/cgroup.procs
    exec "$PRESSURE" "$@"
) & }
pids=()
limited write $W/m/a 64 3
pids+=($!)
limited dirty $W/m/b 24 3
pids+=($!)
# without that limit, so that the hog is who presses
"$PRESSURE" dirty $W/m1/c 16 3 &
pids+=($!)
"$PRESSURE" write $W/m/d 40 3 &
pids+=($!)
(
    while sleep 5; do say "$(awk '/^(MemAvailable|Dirty|Writeback):/ { printf "%s %d MiB, ", $1, $2 / 1024 }' /proc/meminfo)"; done
) &
watch=$!
for p in "${pids[@]}"; do wait "$p" || fail "a writer ended with status $?"; done
say "all is written; page faults meanwhile: target $(($(faults $targetd_pid) - f_t)), initiator $(($(faults $initiatord_pid) - f_i))"
kill $watch
sync
echo 3 >/proc/sys/vm/drop_caches
for f in "m/a 64 3" "m/b 24 3" "m1/c 16 3" "m/d 40 3"; do
    # shellcheck disable=SC2086 # words
    ok "$PRESSURE" check $W/$f
done
say "verified"
grep -h "kept back" $W/*.log
kill -9 $hog
ok umount $W/m $W/m1
for n in $(corelane list --json | sed -n 's/.*"name": *"\([^"]*\)".*/\1/p'); do ok corelane detach "$n" >/dev/null; done
ok kill -0 $targetd_pid $initiatord_pid
dmesg | grep -qE 'corelane.*(blocked for more|Out of memory)|Killed process [0-9]+ \(corelane' && fail "the kernel complains about the daemons"
grep -H -E 'VmRSS' /proc/$targetd_pid/status /proc/$initiatord_pid/status
say PASS
