#!/bin/bash
# kill -9 at random instants under verified load, through a proxy that has faults of its own: CYCLES times of the target,
# then CYCLES times of corelaned, now and then twice in a row. Every acknowledged write is logged, and is there in the
# end; none that was given up lands late; nothing stale is read; fio finds each block as it wrote it.
# CYCLES=N (default 5), E2E_SEED=N.
set -u
# shellcheck source=tests/e2e/harness.sh
. "$(dirname "$0")/harness.sh"
for p in loop fio python3 jq; do has $p || { skip proxy_kill "$WHY_NOT"; exit 0; }; done
e2e_begin
here=$(cd "$(dirname "$0")" && pwd)
cycles=${CYCLES:-5}
seed=${E2E_SEED:-$RANDOM}
iqn=iqn.2026-11.test.corelane:kill
RANDOM=$seed
echo "# seed $seed, $cycles cycles of each"
# what the network swallows is noticed soon, or most of the time would be spent waiting for it
cat >"$E2E_DIR/etc/iscsid.conf" <<END
node.conn[0].timeo.noop_out_interval = 1
node.conn[0].timeo.noop_out_timeout = 2
node.conn[0].timeo.login_timeout = 3
node.session.initial_login_retry_max = 100
node.session.timeo.replacement_timeout = 600
END
start_targetd && start_corelaned || { fail start; e2e_end; }
start_proxy --seed "$seed" --faults delay:8,split:2,slow:2,reset:4,half-close:2,drop,blackhole --every 1M || { fail start; e2e_end; }
ok "target" cl target create $iqn
for i in 0 1 2; do ok "LUN $i" cl lun create $iqn --file "$E2E_DIR/lun$i.img" --size 16M --lun $i; done

nap() { sleep "$(($1 / 1000)).$(printf %03d $(($1 % 1000)))"; }
acks() { cat "$E2E_DIR/$1".* 2>/dev/null | grep -c '^a'; }
more_acks() { [ "$(acks "$1")" -gt "$2" ]; }
# disk LUN: attaches it, however often the network is in the way; its path is in $disk then
disk_try() { disk=$(cl attach $iqn --portal "$FRONT" --lun "$1" --export fuse 2>"$E2E_DIR/attach.err"); }
disk() {
    local end=$((SECONDS + 300))
    until disk_try "$1"; do
        [ $SECONDS -lt $end ] || { sed 's/^/# /' "$E2E_DIR/attach.err"; return 1; }
        sleep 0.1
    done
}
fio_opened() { # both jobs have; or it is over
    local pid n=0
    gone $fio && return
    for pid in $(cat "/proc/$fio/task/$fio/children" 2>/dev/null); do
        find "/proc/$pid/fd" -lname "$1" 2>/dev/null | grep -q . && n=$((n + 1))
    done
    [ $n -ge 2 ]
}
# until it is interrupted, or the disk is gone. Returns when it has the disk open: the device's name may be given to another
# disk after a kill
fio_start() { # DISK
    fio --name=f --filename="$1" --direct=1 --ioengine=psync --rw=randwrite --bs=4k --size=4M --numjobs=2 \
        --offset_increment=8M --time_based --runtime=86400 --verify=crc32c --verify_fatal=1 --verify_backlog=64 \
        --verify_state_save=0 --randseed="$RANDOM" --output="$E2E_DIR/fio.log" >/dev/null 2>&1 &
    fio=$!
    disown $fio
    e2e_own $fio KILL
    e2e_wait 300 fio_opened "$1"
}
fio_wrong=0
fio_over() {
    e2e_wait 300 gone $fio
    if grep -qE 'bad magic|bad header|verify failed|got pattern' "$E2E_DIR/fio.log"; then
        fio_wrong=$((fio_wrong + 1))
        head -n 20 "$E2E_DIR/fio.log" | sed 's/^/# /'
    fi
}
writers_start() { # LOG PATH
    rm -f "$E2E_DIR/stop"
    python3 "$here/durable.py" write "$2" $((16 << 20)) "$E2E_DIR/$1" "$E2E_DIR/stop" "$seed" 4 >"$E2E_DIR/$1.said" 2>&1 &
    writers=$!
    e2e_own $writers KILL
}
# report WHAT LOG SINCE PATH FILE: ends the writers, checks through the disk at PATH and in the unit's FILE
report() {
    local what=$1 log=$2 began=$3 path=$4 file=$5
    proxy_tell calm
    touch "$E2E_DIR/stop"
    wait $writers
    same "$what killed: no write failed, no read was stale" 0 $?
    tail -n 3 "$E2E_DIR/$log.said" | cut -c 1-240 | sed 's/^/# while it went on: /'
    ok "$what killed: what was acknowledged is there, through the disk" python3 "$here/durable.py" check "$path" "$E2E_DIR/$log" 4
    tail -n 3 "$E2E_DIR/said" | cut -c 1-240 | sed 's/^/# through the disk: /'
    e2e_stop "$TARGETD" KILL
    ok "$what killed: and in the file, the target being dead" python3 "$here/durable.py" check "$file" "$E2E_DIR/$log" 4
    tail -n 3 "$E2E_DIR/said" | cut -c 1-240 | sed 's/^/# in the file: /'
    same "$what killed: fio found each block as written" 0 $fio_wrong
    echo "# $what: $kills kills, $(acks "$log") writes acknowledged, $(grep -c '\] byte' "$E2E_DIR/proxy.log") faults of the network so far, $((SECONDS - began)) s"
    ok "start the target again" start_targetd
    proxy_tell go
}

# --- the target
began=$SECONDS kills=0
disk 0 && fio_start "$disk" || fail "attach LUN 0"
disk 1 || fail "attach LUN 1"
writers_start target "$disk"
e2e_wait 300 more_acks target 20
for ((i = 1; i <= cycles; i++)); do
    nap $((RANDOM % 700))
    e2e_stop "$TARGETD" KILL
    kills=$((kills + 1))
    nap $((RANDOM % 200))
    start_targetd || { fail "the target starts again, cycle $i"; break; }
    # the log goes on before the next one: a cycle in which nothing was written would show nothing
    e2e_wait 300 more_acks target $(($(acks target) + 20)) || { fail "I/O goes on, cycle $i"; break; }
done
kill -INT $fio 2>/dev/null
fio_over
grep -E 'err= *[1-9]' "$E2E_DIR/fio.log" && fio_wrong=1
report target target $began "$disk" "$E2E_DIR/lun1.img"

# --- corelaned
began=$SECONDS kills=0
here_is() { echo "$1 $CORELANE_RUN_DIR/disks/kill-2/disk" >"$E2E_DIR/disk.new" && mv "$E2E_DIR/disk.new" "$E2E_DIR/disk"; }
daemon_kill() {
    e2e_stop "$CORELANED" KILL
    kills=$((kills + 1))
    start_corelaned || fail "corelaned starts after kill $kills"
}
disk 2 && here_is "$disk" || fail "attach LUN 2"
writers_start daemon "@$E2E_DIR/disk"
e2e_wait 300 more_acks daemon 20
while [ $kills -lt "$cycles" ]; do
    nap $((RANDOM % 400))
    # half of the time with writes on their way that are in no hurry
    [ $((RANDOM % 2)) = 0 ] || { proxy_tell "now up delay $((RANDOM % 1500 + 1))"; nap $((RANDOM % 50)); }
    daemon_kill
    [ $((RANDOM % 3)) != 0 ] || [ $kills -ge "$cycles" ] || { nap $((RANDOM % 100)); daemon_kill; }
    disk 2 || { fail "attach again, after kill $kills"; break; }
    here_is "$disk"
    e2e_wait 300 more_acks daemon $(($(acks daemon) + 20)) || { fail "I/O goes on, after kill $kills"; break; }
    if gone $fio; then # with its disk, as it should be
        fio_over
        disk 0 && fio_start "$disk"
    fi
done
kill -INT $fio 2>/dev/null
fio_over
read -r disk _ <"$E2E_DIR/disk"
report corelaned daemon $began "$disk" "$E2E_DIR/lun2.img"
e2e_end
