#!/bin/bash
# A write that was given up must not land on a newer one: a target freezes with a write on its way to it, the disk
# is detached by force and attached again, and the block is written anew. The new session has the old one's
# identity, so the target ends the old one first.
set -u
# shellcheck source=tests/e2e/harness.sh
. "$(dirname "$0")/harness.sh"
has fuse || { skip ghost "$WHY_NOT"; exit 0; }
e2e_begin
iqn=iqn.2026-11.test.corelane:ghost
start_targetd && start_corelaned || { fail start; e2e_end; }
ok "target" cl target create $iqn
ok "LUN" cl lun create $iqn --file "$E2E_DIR/disk.img" --size 16M
isid() { cl session list --json | jq -r '.[0].isid'; }
attach() { cl attach $iqn --portal "$PORTAL" --lun 0 --name ghost 2>/dev/null; }
block() { head -c 65536 /dev/zero | tr '\0' "$1"; }
first=''
for letter in B C D; do
    dev=$(attach) || { fail "attach"; e2e_end; }
    [ -n "$first" ] || first=$(isid)
    kill -STOP "$TARGETD"
    block A | dd of="$dev" bs=64k oflag=direct conv=notrunc status=none 2>/dev/null &
    writer=$!
    e2e_own $writer KILL
    sleep 0.3
    ok "detached by force while the target is frozen" cl detach ghost --force
    (sleep 0.5; kill -CONT "$TARGETD") &
    dev=$(attach) || { fail "attach again"; e2e_end; }
    same "the session has the identity of the one before" "$first" "$(isid)"
    block $letter | dd of="$dev" bs=64k oflag=direct conv=notrunc status=none
    wait $writer 2>/dev/null
    sleep 0.5
    same "the newer write stands" "$letter" "$(head -c 65536 "$E2E_DIR/disk.img" | tr -s "$letter")"
    ok "detach" cl detach ghost
done
e2e_end
