#!/bin/bash
# The target killed with -9 at random instants, again and again, under load: verified by fio on one disk, by a log
# of every acknowledged write on another, while sessions of the library read both. Nothing acknowledged is
# lost, no old write lands on a newer one, no read is stale, and no I/O fails. Seed: E2E_SEED=N. CYCLES=N: how often; over
# shared memory, or TRANSPORT=tcp.
set -u
# shellcheck source=tests/e2e/harness.sh
. "$(dirname "$0")/harness.sh"
for p in fuse fio python3 jq; do has $p || { skip killer "$WHY_NOT"; exit 0; }; done
e2e_begin
here=$(cd "$(dirname "$0")" && pwd)
seed=${E2E_SEED:-$RANDOM}
cycles=${CYCLES:-10}
transport=${TRANSPORT:-shm}
iqn=iqn.2026-11.test.corelane:killer
RANDOM=$seed
echo "# seed $seed"
start_targetd && start_corelaned || { fail start; e2e_end; }
ok "target" cl target create $iqn
ok "LUN for fio" cl lun create $iqn --file "$E2E_DIR/fio.img" --size 64M --lun 0
ok "LUN for the log" cl lun create $iqn --file "$E2E_DIR/log.img" --size 16M --lun 1
disk0=$(cl attach $iqn --portal "$PORTAL" --lun 0 --transport "$transport") || { fail "attach LUN 0"; e2e_end; }
disk1=$(cl attach $iqn --portal "$PORTAL" --lun 1 --transport "$transport") || { fail "attach LUN 1"; e2e_end; }

fio --name=f --filename="$disk0" --direct=1 --ioengine=psync --rw=randwrite --bs=4k --size=24M --numjobs=2 \
    --offset_increment=32M --time_based --runtime=$((600 + 10 * cycles)) --verify=crc32c --verify_fatal=1 --verify_backlog=64 \
    --verify_state_save=0 --randseed="$seed" --output="$E2E_DIR/fio.log" &
fio=$!
python3 "$here/durable.py" write "$disk1" $((16 << 20)) "$E2E_DIR/acks" "$E2E_DIR/stop" "$seed" 4 \
    >"$E2E_DIR/durable.log" 2>&1 &
writer=$!
bench=()
for i in 0 1; do
    cl bench "iscsi://$PORTAL/$iqn/$i" --rw randread --qd 2 --time $((600 + 10 * cycles)) --transport "$transport" >"$E2E_DIR/bench$i.log" 2>&1 &
    bench+=($!)
done
for p in $fio $writer "${bench[@]}"; do e2e_own "$p"; done
nap() { sleep "$(($1 / 1000)).$(printf %03d $(($1 % 1000)))"; }

for ((i = 1; i <= cycles; i++)); do
    nap $((300 + RANDOM % 1200))
    e2e_stop "$TARGETD" KILL
    nap $((RANDOM % 300))
    start_targetd || { fail "the target starts again, cycle $i"; e2e_end; }
    acks=$(cat "$E2E_DIR"/acks.* | grep -c '^a')
    # the log goes on before the next one: a cycle in which nothing was written would show nothing
    e2e_wait 20 eval "[ \$(cat '$E2E_DIR'/acks.* | grep -c '^a') -gt $((acks + 20)) ]" ||
        { fail "I/O goes on, cycle $i"; break; }
done
same "the disks' sessions are what was asked for" "$transport" "$(cl session list --json | jq -r '[.[].transport] | unique | join(" ")')"
ok "the readers beside them live" kill -0 "${bench[@]}"
for p in "${bench[@]}"; do e2e_stop "$p" TERM; done
kill -INT $fio 2>/dev/null
touch "$E2E_DIR/stop"
wait $writer
same "every write of the log was acknowledged, no read was stale" 0 $?
wait $fio
rc=$?
[ $rc = 128 ] && rc=0 # interrupted, as it should be
grep -qE 'verify: |err= *[1-9]' "$E2E_DIR/fio.log" && rc=1
same "fio found every block as written" 0 $rc
sed 's/^/# /' "$E2E_DIR/durable.log"
ok "what was acknowledged is there, through the disk" python3 "$here/durable.py" check "$disk1" "$E2E_DIR/acks" 4
sed 's/^/# /' "$E2E_DIR/said"
# without a chance to write anything late
e2e_stop "$TARGETD" KILL
ok "and in the target's file after a last kill" python3 "$here/durable.py" check "$E2E_DIR/log.img" "$E2E_DIR/acks" 4
e2e_end
