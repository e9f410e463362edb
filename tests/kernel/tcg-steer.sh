#!/bin/bash
# The kernel's own initiator on four CPUs, steered by us while data are written and verified: its work queue runs on one core
# and nowhere else, packets go there, a second session is found by the kernel's event and gets another core, a foreign change is
# seen, and everything goes back to the byte
# quiet
# lab: -c 4
# limit: 900
# shellcheck source=lib.sh source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
iqn=iqn.2026-11.org.example:lio
rps=/sys/class/net/lo/queues/rx-0/rps_cpus
recv=/sys/module/iscsi_tcp/parameters/recv_from_iscsi_q
trace=/sys/kernel/tracing
mkdir -m 700 $W/run
ok modprobe -a iscsi_tcp sd_mod
iscsid
truncate -s 64M $W/disk
lio $iqn $W/disk $((64 << 20)) 127.0.0.1:3260
ok iscsiadm -m discovery -t st -p 127.0.0.1:3260 >$W/discovery.log
kernel_login $iqn
say "LIO and a session: $dev"

hosts() { local s; for s in /sys/class/iscsi_session/session*; do readlink "$s" | sed 's|.*/host\([0-9]*\)/.*|\1|'; done; }
mask() { cat "/sys/devices/virtual/workqueue/iscsi_q_$1/cpumask"; }
values() { cat $rps $recv; mask "$first"; }
# the core that a host's session was brought to, -: none. Which one depends on what else the machine does
core_of() { corelane layout kernel --json | jq -r --argjson h "$1" '.sessions[] | select(.host == $h) | .core // "-"'; }
bits() { echo $((16#$(tr -d , <"$1"))); }
first=$(hosts)
say "host $first: queue '$(mask "$first")', packets '$(cat $rps)', receiving in the queue: $(cat $recv)"
[ -e /sys/devices/virtual/workqueue/iscsi_q_"$first"/cpumask ] || fail "no work queue of host $first"
values >$W/before

# verified I/O all the while
(
    while [ ! -e $W/stop ]; do
        fio --name=verify --filename="$dev" --rw=randwrite --bsrange=4k-64k --size=4m --direct=1 --ioengine=libaio --iodepth=8 \
            --verify=crc32c --verify_fatal=1 --do_verify=1 --thread --output=$W/fio.log >/dev/null || exit 1
        echo round >>$W/rounds
    done
) &
writer=$!
wait_for 60 test -s $W/rounds

ok corelane layout kernel plan >$W/plan.txt
sed 's/^/    /' $W/plan.txt
values | cmp - $W/before || fail "a plan changed something"
ok corelane layout kernel apply >$W/apply.txt 2>&1
sed 's/^/    /' $W/apply.txt
core=$(core_of "$first")
is "$(bits "/sys/devices/virtual/workqueue/iscsi_q_$first/cpumask")" $((1 << core)) "the queue's only core"
is "$(bits $rps)" $((1 << core)) "packets"
is "$(cat $recv)" Y
ok corelane layout kernel drift
say "steered to core $core"

# where the queue's work is done: by the kernel's own trace
ok mount -t tracefs none $trace
trace_on() { echo >$trace/trace; echo 1 >$trace/events/workqueue/workqueue_execute_start/enable; }
trace_off() { echo 0 >$trace/events/workqueue/workqueue_execute_start/enable; }
ran_on() { sed -n "s/^[^#].*\[\([0-9]*\)\].*$1.*/\1/p" $trace/trace | sort -u | paste -sd ' '; }
rounds=$(wc -l <$W/rounds)
more() { [ "$(wc -l <$W/rounds)" -gt $((rounds + 1)) ]; }
trace_on
wait_for 120 more
trace_off
is "$(ran_on iscsi_xmitworker)" "$(printf %03d "$core")" "the cores that sent"
say "all of the session's sending was done on core $core"

# somebody else's hand
foreign=$(printf %x $((15 ^ 1 << core)))
echo "$foreign" >/sys/devices/virtual/workqueue/iscsi_q_"$first"/cpumask
refused corelane layout kernel drift >$W/drift.txt
grep -q "iscsi_q_$first/cpumask.*changed by somebody else" $W/drift.txt || fail "no drift: $(cat $W/drift.txt)"
refused corelane layout undo 2>$W/undo.txt
grep -q "left alone" $W/undo.txt || fail "undo: $(cat $W/undo.txt)"
is "$(mask "$first")" "$foreign"
ok corelane layout undo --force >/dev/null
values | cmp - $W/before || fail "not as before: $(values)"
say "drift seen, and put back"

# a session that comes while we watch
corelane layout kernel apply --watch >$W/watch.log 2>&1 &
watcher=$!
steered() { [ "$(core_of "$1")" != - ]; }
wait_for 60 steered "$first"
core=$(core_of "$first")
wait_for 60 grep -q "listening to the kernel's iSCSI events" $W/watch.log
node_set $iqn node.session.nr_sessions 2
ok node $iqn --login
second=$(hosts | grep -vx "$first")
wait_for 60 steered "$second"
core2=$(core_of "$second")
[ "$core2" != "$core" ] || fail "both sessions on core $core while others are free"
wait_for 60 grep -q "event: session .* came (host $second)" $W/watch.log
is "$(core_of "$first")" "$core" "the first stays"
say "the second session: host $second, on core $core2; the first on $core"
both() { [ "$(bits $rps)" = $((1 << core | 1 << core2)) ]; }
wait_for 60 both
disk2=/dev/$(for s in /sys/class/iscsi_session/session*/device/target"$second":*/*/block/*; do echo "${s##*/}"; done)
trace_on
ok fio --name=second --filename="$disk2" --offset=32m --rw=randwrite --bs=16k --size=2m --direct=1 --ioengine=libaio --iodepth=8 \
    --verify=crc32c --verify_fatal=1 --do_verify=1 --thread --output=$W/fio2.log >/dev/null
trace_off
is "$(ran_on iscsi_sw_tcp_recv_data_work)" "$(printf %03d "$core2")" "the cores that received"
say "verified I/O on it, and all its receiving was done on core $core2"
sid2=$(for s in /sys/class/iscsi_session/session*; do readlink "$s" | sed -n "s|.*/host$second/session\([0-9]*\)/.*|\1|p"; done)
ok iscsiadm -m session -r "$sid2" -u >/dev/null
wait_for 60 grep -q "event: session $sid2 ended" $W/watch.log
kill $watcher
wait $watcher
is $? 0 "the watcher's exit status"
sed 's/^/    /' $W/watch.log

ok corelane layout undo >$W/undo.txt
sed 's/^/    /' $W/undo.txt
values | cmp - $W/before || fail "not as before: $(values)"
is "$(stat -c %s $W/run/kernel-settings.journal)" 0 "the journal"
touch $W/stop
wait $writer
is $? 0 "verified writing all the while"
say "$(wc -l <$W/rounds) rounds of verified writes meanwhile"
say PASS
