#!/bin/bash
# File systems on LUNs of this host's own target, written by programs whose control group has a fraction of the memory that they
# dirty: to get memory they have to wait until their own dirty pages are at the target, which is on this host. It ends, and
# every byte is there. (tests/kernel/uml-loop-pressure.sh takes the memory from the whole machine, which cannot be done here.)
set -u
# shellcheck source=tests/e2e/harness.sh
. "$(dirname "$0")/harness.sh"
for p in loop jq mkfs.ext4; do has $p || { skip loop_pressure "$WHY_NOT"; exit 0; }; done
pressure=$BUILD/unit/export/exp_pressure
[ -x "$pressure" ] || { skip loop_pressure "$pressure is not built (make check does)"; exit 0; }
e2e_begin

# A group that limits memory, of either version.
group_make() {
    local v1=/sys/fs/cgroup/memory v2=/sys/fs/cgroup
    if [ -e $v1/memory.limit_in_bytes ] && mkdir "$v1/corelane-$$" 2>/dev/null; then
        group=$v1/corelane-$$ limit=memory.limit_in_bytes
    elif grep -qw memory $v2/cgroup.subtree_control 2>/dev/null && mkdir "$v2/corelane-$$" 2>/dev/null; then
        group=$v2/corelane-$$ limit=memory.max
    else
        return 1
    fi
}
group='' limit=''
group_make || { skip loop_pressure "no control group for memory can be made here"; exit 0; }
# beside the rest: it can go when those in it are gone
group_end() { for _ in {1..600}; do rmdir "$group" 2>/dev/null && return; sleep 0.1; done; }
trap 'rc=$?; group_end & (exit $rc); e2e_clean' EXIT
echo 32M >"$group/$limit" || { skip loop_pressure "the group's limit cannot be set"; exit 0; }

iqn=iqn.2026-11.test.corelane:pressure
start_targetd && start_corelaned || { fail start; e2e_end; }
ok "target" cl target create $iqn
ok "file LUN" cl lun create $iqn --file "$E2E_DIR/disk.img" --size 512M --lun 0
ok "RAM LUN" cl lun create $iqn --ram 256M --lun 1
for lun in 0 1; do
    dev=$(cl attach $iqn --portal "$PORTAL" --lun $lun --export fuse --transport shm) || { fail "attach LUN $lun"; e2e_end; }
    mkdir "$E2E_DIR/m$lun"
    ok "file system on LUN $lun" mkfs.ext4 -q "$dev"
    ok "mounted" mount "$dev" "$E2E_DIR/m$lun"
done
same "over shared memory" shm "$(cl session list --json | jq -r '[.[].transport] | unique | join(" ")')"
pids=()
limited() {
    (
        echo $BASHPID >"$group/cgroup.procs" && exec timeout -s KILL 300 "$pressure" "$@"
    ) &
    pids+=($!)
    e2e_own $! KILL
}
limited write "$E2E_DIR/m0/a" 128 2
limited dirty "$E2E_DIR/m0/b" 24 2
limited write "$E2E_DIR/m1/a" 96 2
limited dirty "$E2E_DIR/m1/b" 24 2
rc=0
for p in "${pids[@]}"; do wait "$p" || rc=$?; done
same "all that was dirtied is written out" 0 $rc
sync -f "$E2E_DIR/m0" "$E2E_DIR/m1"
for f in "m0/a 128 2" "m0/b 24 2" "m1/a 96 2" "m1/b 24 2"; do
    # shellcheck disable=SC2086 # words
    set -- $f
    ok "$1 holds what was written last" "$pressure" check "$E2E_DIR/$1" "$2" "$3"
done
for lun in 0 1; do ok "umount" umount "$E2E_DIR/m$lun"; done
for n in $(cl list --json | jq -r '.[].name'); do ok "detach $n" cl detach "$n"; done
e2e_end
