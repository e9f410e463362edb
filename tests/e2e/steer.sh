#!/bin/bash
# Sessions of the stock kernel on a made-up /sys: looked at, steered, watched, put back; and what is refused. With a real kernel:
# tests/kernel/tcg-steer.sh
set -u
# shellcheck source=tests/e2e/harness.sh
. "$(dirname "$0")/harness.sh"
e2e_begin
R=$E2E_DIR/root
S=$R/sys
JOURNAL=$CORELANE_RUN_DIR/kernel-settings.journal

put() { mkdir -p "$(dirname "$R/$1")" && echo "$2" >"$R/$1"; } # PATH TEXT: keeps the file that is there, as sysfs does
session() { # SID HOST PORTAL MASK
    local d=sys/devices/platform/host$2/session$1
    put "$d/iscsi_session/session$1/targetname" iqn.2026-11.org.example:disk
    put "$d/iscsi_session/session$1/state" LOGGED_IN
    put "$d/target$2:0:0/$2:0:0:0/block/sd$1/size" 1
    ln -s ../../../session"$1" "$R/$d/iscsi_session/session$1/device"
    put "sys/class/iscsi_connection/connection$1:0/persistent_address" "$3"
    put "sys/class/iscsi_connection/connection$1:0/persistent_port" 3260
    put "sys/class/iscsi_connection/connection$1:0/address" "$3"
    put "sys/class/iscsi_connection/connection$1:0/port" 3260
    put "sys/class/scsi_host/host$2/proc_name" iscsi_tcp
    put "sys/class/iscsi_host/host$2/netdev" eth0
    put "sys/devices/virtual/workqueue/iscsi_q_$2/cpumask" "$4"
    mkdir -p "$S/class/iscsi_session"
    ln -s "../../devices/platform/host$2/session$1/iscsi_session/session$1" "$S/class/iscsi_session/session$1"
}
WQ=$S/devices/virtual/workqueue
RECV=$S/module/iscsi_tcp/parameters/recv_from_iscsi_q
RPS=$S/class/net/eth0/queues/rx-0/rps_cpus
put sys/devices/system/cpu/online 0-3
put sys/devices/system/cpu/isolated 3
put sys/module/iscsi_tcp/parameters/recv_from_iscsi_q N
put sys/class/net/eth0/queues/rx-0/rps_cpus 00000000
put proc/sys/kernel/random/boot_id 5e7a1c44-0000
lk() { cl layout kernel "$@" --root "$R"; }
files() { (cd "$R" && find . -type f -exec cat {} + | sha256sum); }
says() { local n=$1 w=$2; shift 2; ok "$n" bash -c "\"\$@\" 2>&1 | grep -q -- '$w'" says "$BUILD/corelane" "$@"; } # NAME WORDS ARGS...

# ---- nothing there
ok "without sessions: show" lk
says "it says so" "no sessions" layout kernel --root "$R"
ok "without sessions: apply" lk apply
ok "without sessions: undo" lk undo
ok "without sessions: no drift" lk drift

session 1 3 192.0.2.9 00000000,0000000f
session 2 4 192.0.2.9 f
before=$(files)
ok "plan" lk plan
says "it names the first core's queue" "iscsi_q_3/cpumask" layout kernel plan --root "$R"
same "a plan changes nothing" "$before" "$(files)"
ok "apply --dry-run" lk apply --dry-run
same "nor does a dry run" "$before" "$(files)"
same "plan --json" "0 1" "$(lk plan --json | jq -r '[.sessions[].core] | join(" ")')"

# ---- steered and put back
ok "apply" lk apply
same "one queue to core 0" 1 "$(cat "$WQ/iscsi_q_3/cpumask")"
same "the other to core 1" 2 "$(cat "$WQ/iscsi_q_4/cpumask")"
same "receiving in the queue" Y "$(cat "$RECV")"
same "packets to both" 3 "$(cat "$RPS")"
ok "no drift" lk drift
says "apply again changes nothing" "nothing to change" layout kernel apply --root "$R"
same "show says which is where" "0 1" "$(lk show --json | jq -r '[.sessions[].core] | join(" ")')"
same "and what was set" 4 "$(lk --json | jq '.settings | length')"
ok "undo --dry-run" lk undo --dry-run
same "leaves it" 1 "$(cat "$WQ/iscsi_q_3/cpumask")"
ok "layout undo" cl layout undo --root "$R"
same "every byte is back" "$before" "$(files)"
same "and the journal is empty" 0 "$(stat -c %s "$JOURNAL")"
ok "undo again" lk undo

# ---- drift
ok "apply once more" lk apply
echo 4 >"$WQ/iscsi_q_4/cpumask"
not_ok "drift ends with 1" lk drift
says "and names it" "iscsi_q_4/cpumask.*changed by somebody else" layout kernel drift --root "$R"
refused "undo leaves what somebody else has set" 1 "left alone" lk undo
same "so it is" 4 "$(cat "$WQ/iscsi_q_4/cpumask")"
same "the rest is back" 00000000,0000000f "$(cat "$WQ/iscsi_q_3/cpumask")"
ok "undo --force" lk undo --force
same "all is back" "$before" "$(files)"

# ---- a crash between journal and write: the line is there, the setting as it was
ino=$(stat -c %i "$RECV")
echo '{"op":"set","name":"sys/module/iscsi_tcp/parameters/recv_from_iscsi_q","id":'"$ino"',"boot":"5e7a1c44-0000","time":1,"old":"N","new":"Y","why":""}' >>"$JOURNAL"
printf '{"op":"set","name":"sys/mod' >>"$JOURNAL"
ok "undo after a crash" lk undo
same "changes nothing" "$before" "$(files)"
echo '{"op":"set","name":"proc/sys/kernel/core_pattern","id":1,"boot":"","time":1,"old":"|/bin/x","new":"core","why":""}' >"$JOURNAL"
refused "a journal with what we would never write" 1 "line 1" lk undo --force
: >"$JOURNAL"

# ---- killed at any instant, again and again. Forced in the end: a file of a made-up tree, unlike one of sysfs, can be half written
killed=0
for i in {1..40}; do
    timeout -s KILL "0.0$((RANDOM % 3))$((RANDOM % 10))" "$BUILD/corelane" layout kernel "$([ $((i % 2)) = 0 ] && echo undo || echo apply)" \
        --root "$R" >/dev/null 2>&1
    [ $? != 137 ] || killed=$((killed + 1))
done
echo "# $killed of 40 were killed at work"
# the last that was killed has the lock until it is quite gone
ok "undo after all that" e2e_wait 10 lk undo --force
same "every byte is back after kills" "$before" "$(files)"

# ---- which settings and cores
ok "only the queues" lk apply --only wq --cores 2-3
same "a named core, also an isolated one" 8 "$(cat "$WQ/iscsi_q_4/cpumask")"
same "receiving stays" N "$(cat "$RECV")"
same "packets stay" 00000000 "$(cat "$RPS")"
ok "undo that" lk undo
ok "siblings last" lk apply --topology "pack:1 core:2 pu:2" --cores 0-3
same "whole cores first" "1 4" "$(cat "$WQ"/iscsi_q_{3,4}/cpumask | paste -sd ' ')"
ok "undo that too" lk undo
same "all is back again" "$before" "$(files)"

# ---- watching
"$BUILD/corelane" layout kernel apply --watch --root "$R" >"$E2E_DIR/watch.log" 2>&1 &
watcher=$!
e2e_own $watcher
# shellcheck disable=SC2317 # called by e2e_wait
is_steered() { [ "$(cat "$WQ/iscsi_q_$1/cpumask")" = "$2" ]; }
ok "the watcher steers what there is" e2e_wait 30 is_steered 4 2
refused "one at a time" 1 "another" lk undo
ok "looking is free" lk
session 5 7 192.0.2.9 f
ok "a new session is found and steered" e2e_wait 30 is_steered 7 4
ok "and gets packets" e2e_wait 30 grep -qx 7 "$RPS"
echo f >"$WQ/iscsi_q_7/cpumask"
ok "what somebody puts back is told" e2e_wait 30 grep -q "drift: .*iscsi_q_7" "$E2E_DIR/watch.log"
same "and left alone" f "$(cat "$WQ/iscsi_q_7/cpumask")"
kill -TERM $watcher
wait $watcher
same "TERM ends it with status 0" 0 $?
same "and leaves what is set" 2 "$(cat "$WQ/iscsi_q_4/cpumask")"
rm -r "$S/class/iscsi_session/session5" "$WQ/iscsi_q_7"
says "undo after a session has ended says so" "iscsi_q_7/cpumask: gone" layout undo --root "$R"
same "and has nothing left to do" 0 "$(stat -c %s "$JOURNAL")"
same "the others' queues are back" f "$(cat "$WQ/iscsi_q_4/cpumask")"
same "and packet steering" 00000000 "$(cat "$RPS")"

# ---- hostile trees and wrong words
ln -sfn /etc "$S/class/net/eth1"
rm -r "$WQ/iscsi_q_3"
ln -s /etc "$WQ/iscsi_q_3"
cp /etc/hostname "$E2E_DIR/hostname"
printf 'iqn\033[2J' >"$S/devices/platform/host4/session2/iscsi_session/session2/targetname"
ok "a tree that leads out of itself" lk apply
ok "nothing outside was written" cmp /etc/hostname "$E2E_DIR/hostname"
ok "nothing for the terminal comes through" bash -c "! '$BUILD/corelane' layout kernel --root '$R' | grep -q $'\033'"
ok "and undone" lk undo
refused "no such tree" 1 "No such file" cl layout kernel --root "$E2E_DIR/none"
refused "an unknown action" 2 "did you mean 'apply'" lk aply
refused "an unknown policy" 2 "not one of" lk plan --policy fast
refused "pinned is not for it" 2 "not one of" lk plan --policy pinned
refused "an unknown setting" 2 "--only wq,irq" lk plan --only wq,irq
refused "a core that is not there" 2 "core 9 is not there" lk plan --cores 0,9
refused "no list" 2 "looks like 0,2-5" lk plan --cores x
refused "an option of another action" 2 "--watch is not for 'undo'" lk undo --watch
refused "force is for undo" 2 "--force is not for 'apply'" lk apply --force
refused "watch or dry run" 2 "give one of them" lk apply --watch --dry-run
rm "$S/devices/system/cpu/online"
refused "a tree that does not say which CPUs there are" 1 "cpu/online" lk plan
e2e_end
