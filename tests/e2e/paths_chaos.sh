#!/bin/bash
# Paths come, go, fail, are reinstated and move to other cores at random, connections break and fall silent, while fio verifies:
# no error, nothing lost. SEED=N repeats a run's commands, SECS=N has it run longer.
set -u
# shellcheck source=tests/e2e/harness.sh
. "$(dirname "$0")/harness.sh"
for p in loop fio jq; do has $p || { skip paths_chaos "$WHY_NOT"; exit 0; }; done
e2e_begin
cat >"$E2E_DIR/etc/iscsid.conf" <<END
node.conn[0].timeo.login_timeout = 3
node.session.initial_login_retry_max = 0
END
iqn=iqn.2026-11.test.corelane:chaos
p1=127.0.0.1:$(e2e_port)
p2=127.0.0.1:$(e2e_port)
front=127.0.0.1:$(e2e_port)
start_targetd --portal "$p1" --portal "$p2,2" && start_corelaned || { fail start; e2e_end; }
"$BUILD/corelane-faultproxy" "$p2" --listen "$front" --control "$E2E_DIR/proxy.ctl" >"$E2E_DIR/proxy.log" 2>&1 &
PROXY=$!
e2e_own $PROXY
e2e_wait 30 grep -q 'listening at' "$E2E_DIR/proxy.log" || { fail "the proxy"; e2e_end; }
cl target create $iqn >/dev/null && cl lun create $iqn --file "$E2E_DIR/disk.img" --size 64M >/dev/null || fail "LUN"
dev=$(cl attach $iqn --portal "$p1,sessions=2" --portal "$front,transport=tcp" --lun 0 --name d 2>/dev/null) ||
    { fail "attach"; e2e_end; }
fio --verify_state_save=0 --name=f --filename="$dev" --direct=1 --ioengine=io_uring --rw=randwrite \
    --bsrange=512-32k --bs_unaligned=0 --blockalign=512 --iodepth=16 --size=16M --time_based --runtime=6000 \
    --verify=crc32c --verify_fatal=1 --verify_backlog=64 --output="$E2E_DIR/fio.log" &
FIO=$!
e2e_own $FIO INT

seed=${SEED:-$RANDOM}
echo "# SEED=$seed"
RANDOM=$seed
pick() { eval "shift $((RANDOM % $#))"; echo "$1"; }
mapfile -t cores < <(cl status --json | jq -r '.corelaned.cores[]')
end=$((SECONDS + ${SECS:-20})) done_nr=0
while [ $SECONDS -lt $end ]; do
    mapfile -t paths < <(cl path list d --json | jq -r '.[0].paths[].name')
    mapfile -t sessions < <(cl session list --json | jq -r '.[].name')
    [ ${#paths[@]} -gt 0 ] && [ ${#sessions[@]} -gt 0 ] || { fail "corelaned answers"; break; }
    p=$(pick "${paths[@]}") what=$((RANDOM % 14))
    case $what in
    0) [ ${#paths[@]} -lt 3 ] || cl path remove d "$p" ;;
    1 | 2) [ ${#paths[@]} -gt 6 ] || cl path add d "$(pick "$p1" "$front")" --transport "$(pick auto tcp)" ;;
    3) cl path fail d "$p" ;;
    4 | 5) cl path reinstate d "$p" ;;
    6 | 7) cl layout move "$(pick "${sessions[@]}")" "$(pick "${cores[@]}")" ;;
    8) proxy_tell "now reset" ;;
    9) proxy_tell "now blackhole 1200" ;;
    10) cl path policy d "$(pick round-robin least-queue-depth service-time weighted failover-only)" ;;
    11) cl path set d "$p" --weight $((RANDOM % 9 + 1)) --prio $((RANDOM % 3)) ;;
    12) cl path policy d --scope "$(pick nexus lun)" --grouping "$(pick multibus failover group_by_prio group_by_tpg)" ;;
    13) cl path resume d ;;
    esac >>"$E2E_DIR/chaos.log" 2>&1 # some are refused: what cannot be now is not what is asked here
    done_nr=$((done_nr + 1))
done
for p in $(cl path list d --json | jq -r '.[0].paths[].name'); do cl path reinstate d "$p" 2>/dev/null; done
ios() { awk '{print $1 + $5}' "/sys/block/${dev##*/}/stat"; }
moved() { [ "$(ios)" -gt "$1" ]; }
ok "after $done_nr commands I/O goes on" e2e_wait 120 moved "$(ios)"
kill -INT $FIO
wait $FIO
rc=$?
[ $rc = 128 ] && rc=0 # interrupted, as it should be
grep -qE 'verify: |err= *[1-9]' "$E2E_DIR/fio.log" && rc=1
same "fio verified all of it, without an error" 0 $rc
ok "a file system after all that" mkfs.ext4 -q -F "$dev"
ok "fsck" fsck.ext4 -f -n "$dev"
ok "detach" cl detach d
no_sessions() { [ "$(cl session list --json | jq length)" = 0 ]; }
ok "no session is left" e2e_wait 60 no_sessions
e2e_end
