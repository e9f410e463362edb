#!/bin/bash
# The daemon is asked to end while a disk's target is gone: flushing the disk waits for the target, in a thread of the very
# daemon that carries the disk, so that neither could end.
set -u
# shellcheck source=tests/e2e/harness.sh
. "$(dirname "$0")/harness.sh"
for p in loop jq; do has $p || { skip stop_dead "$WHY_NOT"; exit 0; }; done
e2e_begin
iqn=iqn.2026-11.test.corelane:stop
p1=127.0.0.1:$(e2e_port)
p2=127.0.0.1:$(e2e_port)

up() { [ "$(cl list --json | jq '.[0].paths_up')" = "$1" ]; }
stops() { # WHAT SIGNALS PORTAL...: a disk over those, with something in the host's cache, and then no target
    local what=$1 signals=$2 dev pid writer portals=() p
    shift 2
    for p; do portals+=(--portal "$p"); done
    start_targetd --portal "$p1" --portal "$p2" || { fail start; e2e_end; }
    cl target list --json | jq -e 'length > 0' >/dev/null ||
        { cl target create $iqn && cl lun create $iqn --file "$E2E_DIR/disk.img" --size 64M; } >/dev/null || fail "a LUN"
    start_corelaned || { fail start; e2e_end; }
    dev=$(cl attach $iqn "${portals[@]}" --lun 0 --name d --export fuse) || { fail "$what: attach"; e2e_end; }
    e2e_wait 30 up $# || fail "$what: its paths"
    e2e_stop "$TARGETD" KILL
    e2e_wait 30 up 0 || fail "$what: no path is left"
    dd if=/dev/zero "of=$dev" bs=64k count=1 conv=notrunc 2>/dev/null &
    writer=$!
    e2e_own $writer KILL
    pid=$CORELANED
    kill "$pid"
    [ "$signals" = 1 ] || { e2e_wait 30 grep -q "asked to end" "$E2E_DIR/corelaned.log" && kill "$pid"; }
    ok "$what: it ends" e2e_wait 30 gone "$pid"
    ok "$what: whoever wrote does not wait any more" e2e_wait 30 gone "$writer"
    : >"$E2E_DIR/corelaned.log"
}

stops "one path" 1 "$p1"
stops "two paths" 1 "$p1" "$p2"
stops "two paths, a second signal" 2 "$p1" "$p2"
start_corelaned || fail "another one starts"
same "and nothing is left" "[] 0" "$(cl list --json | tr -d ' \n') $(losetup -ln -O BACK-FILE | grep -c "^$E2E_DIR/")"
e2e_end
