#!/bin/bash
# What carries a session: shared memory with our own target on this host, else TCP; both sides say which, and why. Asked
# for, forbidden, switched off, out of reach, and another maker's target. Then I/O of all sizes through it.
set -u
# shellcheck source=tests/e2e/harness.sh
. "$(dirname "$0")/harness.sh"
has jq || { skip loop_session "$WHY_NOT"; exit 0; }
e2e_begin
iqn=iqn.2026-11.test.corelane:loop
start_targetd && start_corelaned || { fail start; e2e_end; }
ok "target" cl target create $iqn
ok "RAM LUN" cl lun create $iqn --ram 64M --lun 0
ok "file LUN" cl lun create $iqn --file "$E2E_DIR/disk.img" --size 64M --lun 1

field() { cl session list --json "${@:2}" | jq -r ".[0].$1"; }
both() { echo "$(field transport) $(field transport --target)"; }
login() { cl login $iqn --portal "$PORTAL" "$@" >"$E2E_DIR/login.log" 2>&1; }
logout() { cl logout $iqn >/dev/null 2>&1; }
says() { [[ $(field transport_why "${@:2}") == *"$1"* ]] || { echo "it says '$(field transport_why "${@:2}")'"; return 1; }; }

# ---- shared memory ----------------------------------------------------------------------------------------------------

ok "login to an address of this host" login
same "goes over shared memory, and both sides say so" "shm shm" "$(both)"
ok "the initiator says why" says "this host"
ok "the target says why" says "this host" --target
ok "the table has it too" grep -qw shm <(cl session list)
same "without digests" "None None" "$(field HeaderDigest) $(field DataDigest)"
same "each session is on a connection of its own" 3 \
    "$(cl login $iqn --portal "$PORTAL" --sessions 3 --json | jq length)"
same "and all of them on shared memory" "shm shm shm" "$(cl session list --json | jq -r '[.[].transport] | join(" ")')"
ok "logout" logout
same "nothing is left at the target" 0 "$(cl session list --target --json | jq length)"
ok "login again" login
same "is over shared memory again" "shm shm" "$(both)"
old=$(field id --target)
target_logout() { cl session logout --target "$old"; }
ok "the target may ask for a logout" target_logout
same "and the session is back, over shared memory" "shm shm" "$(e2e_wait 30 eval '[ "$(field id --target)" != "$old" ] && [ "$(both)" = "shm shm" ]' && both)"
logout

# ---- asked for ----------------------------------------------------------------------------------------------------------

ok "--transport tcp" login --transport tcp
same "goes over TCP" "tcp tcp" "$(both)"
ok "as it was asked to" says "tcp"
logout
ok "--transport shm" login --transport shm
same "goes over shared memory when it is required" "shm shm" "$(both)"
logout
refused "another word is refused" 2 "transport" cl login $iqn --portal "$PORTAL" --transport rdma
disk=$(cl attach $iqn --portal "$PORTAL" --lun 0 --export none --transport shm) || fail "attach --transport shm"
same "attach takes it too" "shm shm" "$(both)"
ok "detach" cl detach "$disk"
logout

names_remedy() {
    cl login $iqn --portal "$PORTAL" --transport shm >"$E2E_DIR/login.log" 2>&1
    grep -qiE -e '--loopback|--transport|transport *=|corelane\.transport' "$E2E_DIR/login.log" || { cat "$E2E_DIR/login.log"; return 1; }
}

# ---- where it cannot be -------------------------------------------------------------------------------------------------

start_targetd_with() { e2e_stop "$TARGETD" && start_targetd "${TARGETD_ARGS[@]}" "$@"; }
args=("${TARGETD_ARGS[@]}")
ok "the target again, with --loopback no" start_targetd_with --loopback no
ok "login" login
same "is over TCP" "tcp tcp" "$(both)"
ok "and says why" says "target"
logout
refused "--transport shm fails" 1 "shared memory" cl login $iqn --portal "$PORTAL" --transport shm
ok "and names what to do" names_remedy
same "nothing is left of it" 0 "$(cl session list --json | jq length)"
TARGETD_ARGS=("${args[@]}")
ok "the target as it was" start_targetd_with
ok "login" login
same "is over shared memory" "shm shm" "$(both)"
logout

# The socket is there for the target's own user and for root.
if [ "$(id -u)" = 0 ]; then
    sock=$(find "$CORELANE_RUN_DIR" -type s | grep -i -e loop -e door | head -n 1)
    if [ -n "$sock" ]; then
        same "the socket is its owner's alone" 600 "$(stat -c %a "$sock")"
        mv "$sock" "$sock.away"
        ok "login while nobody can reach it" login
        same "is over TCP" "tcp tcp" "$(both)"
        ok "and says which socket" says "$sock"
        logout
        mv "$sock.away" "$sock"
    else
        fail "the target's socket is in its run directory"
    fi
else
    skip "a socket out of reach" "needs root"
fi

# Another maker's target
if has tgtd && has tgtadm && [ "$(id -u)" = 0 ]; then
    ctl=$((RANDOM % 30000 + 2000)) port=$(e2e_port) other=iqn.2026-11.test.corelane:tgt
    tgt() { tgtadm -C $ctl --lld iscsi "$@"; }
    dd if=/dev/zero of="$E2E_DIR/tgt.img" bs=1M count=16 status=none
    tgtd -f -C $ctl --iscsi "portal=127.0.0.1:$port" >"$E2E_DIR/tgtd.log" 2>&1 &
    e2e_own $! KILL
    e2e_remove "/var/run/tgtd/socket.$ctl"
    e2e_remove "/var/run/tgtd/socket.$ctl.lock"
    ok "tgt starts" e2e_wait 30 tgt --mode target --op show
    ok "with a target" eval "tgt --mode target --op new --tid 1 -T $other &&
        tgt --mode logicalunit --op new --tid 1 --lun 1 -b '$E2E_DIR/tgt.img' && tgt --mode target --op bind --tid 1 -I ALL"
    ok "login to tgt" cl login $other --portal "127.0.0.1:$port"
    same "is over TCP" tcp "$(field transport)"
    ok "and says why" says "target"
    ok "it works" cl bench "iscsi://127.0.0.1:$port/$other/1" --rw randread --time 1
    cl logout $other >/dev/null
    refused "--transport shm with it fails" 1 "shared memory" cl login $other --portal "127.0.0.1:$port" --transport shm
else
    skip "another maker's target" "${WHY_NOT:-needs root}"
fi

# Another network namespace is another host as far as addresses go.
ns=corelane-$$
if [ "$(id -u)" = 0 ] && has ip && ip netns add $ns 2>/dev/null; then
    trap 'rc=$?; ip netns del $ns 2>/dev/null; (exit $rc); e2e_clean' EXIT
    net=10.$((RANDOM % 100 + 100)).$((RANDOM % 250))
    if ip link add "cl$$" type veth peer name "cm$$" netns $ns && ip addr add $net.1/24 dev "cl$$" && ip link set "cl$$" up &&
        ip -n $ns addr add $net.2/24 dev "cm$$" && ip -n $ns link set "cm$$" up && ip -n $ns link set lo up; then
        here=$CORELANE_RUN_DIR
        ok "a target on all addresses" start_targetd_with --portal "$net.1:$(e2e_port)"
        far=$(cl portal list --json | jq -r --arg n "$net" '[.[].addr | select(startswith($n))][0]')
        export CORELANE_RUN_DIR=$E2E_DIR/run-ns
        mkdir -m 700 "$CORELANE_RUN_DIR"
        ip netns exec $ns "$BUILD/corelaned" -f --config-dir "$E2E_DIR/etc" >>"$E2E_DIR/corelaned-ns.log" 2>&1 &
        e2e_own $!
        ok "an initiator in another network namespace" e2e_wait 60 cl list
        ok "logs in" cl login $iqn --portal "$far"
        same "over TCP" tcp "$(field transport)"
        ok "and says why" says "address of this host"
        cl logout $iqn >/dev/null
        ok "--transport shm, though, logs in" cl login $iqn --portal "$far" --transport shm
        same "over shared memory: a unix socket does not ask for the network" shm "$(field transport)"
        cl logout $iqn >/dev/null
        export CORELANE_RUN_DIR=$here
        TARGETD_ARGS=("${args[@]}")
        ok "the target as it was, once more" start_targetd_with
    else
        skip "another network namespace" "no veth devices here"
    fi
else
    skip "another network namespace" "needs root, ip, and network namespaces"
fi

# ---- I/O ------------------------------------------------------------------------------------------------------------------

for bs in 512 4k 12k 256k 1m 4m; do
    ok "bench over shared memory, $bs" cl bench "iscsi://$PORTAL/$iqn/0" --transport shm --rw randrw --bs $bs --qd 16 --time 1
done
ok "bench with memory of its own" cl bench "iscsi://$PORTAL/$iqn/1" --transport shm --own-buffers --rw randrw --bs 64k --qd 8 --time 1
if has fuse && has fio; then
    for lun in 0 1; do
        disk=$(cl attach $iqn --portal "$PORTAL" --lun $lun --export fuse --transport shm) || { fail "attach LUN $lun"; continue; }
        for job in '--bs=4k --iodepth=32' '--bsrange=512-256k --blockalign=512 --iodepth=16' '--bs=1m --iodepth=8' \
            '--bs=5k --iodepth=4 --direct=0'; do
            # shellcheck disable=SC2086 # words
            ok "fio verify, LUN $lun, $job" fio --name=v --filename="$disk" --direct=1 --ioengine=io_uring --rw=randwrite --size=24m \
                --verify=crc32c --verify_fatal=1 --do_verify=1 --verify_state_save=0 --output="$E2E_DIR/fio.log" $job
        done
        same "all of it over shared memory" "shm shm" "$(both)"
        ok "detach" cl detach "$disk"
    done
else
    skip "fio verify through an attached disk" "$WHY_NOT"
fi
ok "what was written is in the target's file" test "$(du -k "$E2E_DIR/disk.img" | cut -f1)" -gt 20000
e2e_end
