#!/bin/bash
# Either side killed while both work in shared memory: under fio with verify the target is killed and started again, comes back
# without shared memory and then with it; corelaned is killed with I/O under way, and the target keeps nothing of it.
set -u
# shellcheck source=tests/e2e/harness.sh
. "$(dirname "$0")/harness.sh"
for p in fuse fio jq; do has $p || { skip loop_restart "$WHY_NOT"; exit 0; }; done
e2e_begin
iqn=iqn.2026-11.test.corelane:restart
start_targetd && start_corelaned || { fail start; e2e_end; }
args=("${TARGETD_ARGS[@]}")
ok "target" cl target create $iqn
ok "file LUN" cl lun create $iqn --file "$E2E_DIR/disk.img" --size 64M --lun 0
disk=$(cl attach $iqn --portal "$PORTAL" --lun 0 --export fuse --transport auto) || { fail attach; e2e_end; }
over() { cl session list --json | jq -r '.[0] | "\(.transport) \(.state)"'; }
is_over() { [ "$(over)" = "$1 LOGGED_IN" ]; }
same "over shared memory" "shm LOGGED_IN" "$(over)"

# ---- the target ---------------------------------------------------------------------------------------------------------

fio --name=f --filename="$disk" --direct=1 --ioengine=io_uring --iodepth=8 --rw=randwrite --bsrange=4k-64k --size=48M --time_based \
    --runtime=600 --verify=crc32c --verify_fatal=1 --verify_backlog=64 --verify_state_save=0 --output="$E2E_DIR/fio.log" &
fio=$!
e2e_own $fio
io_goes_on() { # more is written than before
    local before
    before=$(cl session list --json | jq '.[0].write_bytes')
    e2e_wait 60 eval "[ \"\$(cl session list --json | jq '.[0].write_bytes')\" -gt $((before + (1 << 20))) ]"
}
ok "fio writes" io_goes_on
back() { # OPTIONS...: the target is killed, and starts again with them
    e2e_stop "$TARGETD" KILL
    TARGETD_ARGS=("${args[@]}" "$@")
    start_targetd
}
for i in 1 2 3; do
    ok "the target is killed and starts again ($i)" back
    ok "the session is back, over shared memory" e2e_wait 60 is_over shm
    ok "and so is the I/O" io_goes_on
done
ok "killed, it comes back without shared memory" back --loopback no
ok "the session is back, over TCP" e2e_wait 60 is_over tcp
ok "and so is the I/O" io_goes_on
ok "killed, it comes back with it" back
ok "the session is over shared memory again" e2e_wait 60 is_over shm
ok "and so is the I/O" io_goes_on
kill -INT $fio
wait $fio
rc=$?
[ $rc = 128 ] && rc=0 # interrupted, as it should be
grep -qE 'verify: |err= *[1-9]' "$E2E_DIR/fio.log" && rc=1
same "fio found every block as written" 0 $rc
ok "detach" cl detach "$disk"

# ---- the initiator ------------------------------------------------------------------------------------------------------

maps() { grep -c memfd: "/proc/$TARGETD/maps"; }
fds() { local f; for f in "/proc/$TARGETD/fd"/*; do echo "$f"; done | wc -l; }
rss_kib() { awk '/^Rss:/ { n += $2 } END { print n + 0 }' "/proc/$TARGETD/smaps_rollup"; }
as_before() { [ "$(maps)" = "$maps0" ] && [ "$(fds)" -le "$fds0" ] && [ "$(cl session list --target --json | jq length)" = 0 ]; }
cl logout $iqn >/dev/null 2>&1
settled() { [ "$(cl session list --target --json | jq length)" = 0 ]; }
ok "nobody is at the target" e2e_wait 30 settled
sleep 0.5
maps0=$(maps) fds0=$(fds) rss0=$(rss_kib)
same "nothing of a session that logged out is mapped at the target" 0 "$maps0"
for i in 1 2 3 4 5; do
    disk=$(cl attach $iqn --portal "$PORTAL" --lun 0 --export fuse) || { fail "attach, round $i"; break; }
    [ "$(over)" = "shm LOGGED_IN" ] && [ "$(maps)" -ge 2 ] || fail "over shared memory, round $i" "$(over), $(maps) memories"
    fio --name=k --filename="$disk" --direct=1 --ioengine=io_uring --rw=randrw --bs=64k --iodepth=16 --size=48M --time_based \
        --runtime=60 --output=/dev/null >/dev/null 2>&1 &
    fio=$!
    e2e_own $fio KILL
    sleep 0.$((RANDOM % 900 + 100))
    disown "$CORELANED"
    kill -KILL "$CORELANED"
    e2e_wait 60 gone "$CORELANED" || { fail "killed, corelaned ends, round $i"; break; }
    e2e_wait 60 gone $fio || kill -KILL $fio 2>/dev/null
    if e2e_wait 60 as_before; then
        pass "corelaned is killed with I/O under way: the target keeps nothing of it ($i)"
    else
        fail "the target keeps nothing of a corelaned that was killed ($i)" \
            "$(maps) memories for $maps0, $(fds) descriptors for $fds0, $(cl session list --target --json | jq length) sessions"
    fi
    ok "the next corelaned starts" start_corelaned
    detached() { [ "$(cl list --json | jq '[.[] | select(.state != "up")] | length')" = 0 ]; }
    e2e_wait 30 detached >/dev/null
    for n in $(cl list --json | jq -r '.[].name'); do cl detach "$n" --force >/dev/null 2>&1; done
    cl logout $iqn >/dev/null 2>&1
done
ok "nobody is at the target" e2e_wait 30 settled
echo "# resident at the target: $rss0 KiB before, $(rss_kib) KiB after 5 killed initiators"
# a leaked arena would be 32 MiB each
ok "its memory is what it was" test "$(rss_kib)" -lt $((rss0 + 32 * 1024))
e2e_end
