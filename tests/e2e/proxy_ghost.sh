#!/bin/bash
# Writes that are still on their way when corelaned is killed must not land on newer ones: not when it is killed again
# before it has logged in anywhere, and not when they were on several sessions of which one is enough afterwards.
# The network holds them back, and lets them go when the blocks have been written anew.
set -u
# shellcheck source=tests/e2e/harness.sh
. "$(dirname "$0")/harness.sh"
for p in loop jq; do has $p || { skip proxy_ghost "$WHY_NOT"; exit 0; }; done
e2e_begin
# nobody is to notice that the network holds back, before the kill
echo 'node.conn[0].timeo.noop_out_interval = 0' >"$E2E_DIR/etc/iscsid.conf"
iqn=iqn.2026-11.test.corelane:ghosts
start_targetd && start_corelaned && start_proxy || { fail start; e2e_end; }
cl target create $iqn >/dev/null || fail target
for i in 0 1; do cl lun create $iqn --file "$E2E_DIR/disk$i.img" --size 16M --lun $i >/dev/null || fail "LUN $i"; done
attach() { cl attach $iqn --portal "$FRONT" --lun "$1" --export fuse 2>/dev/null; }
block() { head -c 65536 /dev/zero | tr '\0' "$1"; }
held() { # CONN: the proxy has bytes of it that it has not sent on
    local gone came
    proxy_tell show
    read -r gone came < <(sed -n "s/.*# conn $1 is open: up \([0-9]*\) of \([0-9]*\) .*/\1 \2/p" "$E2E_DIR/proxy.log" | tail -n 1)
    [ "$came" -gt $((gone + 65536)) ]
}
over() { grep -qE "# conn $1 (closed|reset)" "$E2E_DIR/proxy.log"; }

ok "two sessions" cl login $iqn --portal "$FRONT" --sessions 2
for i in 0 1; do dev[i]=$(attach $i) || { fail "attach LUN $i"; e2e_end; }; done
same "a disk on each" 2 "$(cl list --json | jq '[.[].session] | unique | length')"
old=$(cl session list --json | jq -r '[.[].isid] | sort | join(" ")')
proxy_tell "now up delay 3600000"
for i in 0 1; do
    block A | dd of="${dev[i]}" bs=64k oflag=direct conv=notrunc status=none 2>/dev/null &
    e2e_own $! KILL
done
for i in 1 2; do ok "the write of connection $i is on its way" e2e_wait 60 held $i; done
for i in first second; do
    e2e_stop "$CORELANED" KILL
    ok "corelaned starts after its $i kill" start_corelaned
done
for i in 0 1; do dev[i]=$(attach $i) || { fail "attach LUN $i again"; e2e_end; }; done
same "one session is enough now" 1 "$(cl session list --json | jq length)"
ok "it has an identity of before" grep -q "$(cl session list --json | jq -r '.[0].isid')" <<<"$old"
for i in 0 1; do block B | dd of="${dev[i]}" bs=64k oflag=direct conv=notrunc status=none || fail "write anew"; done
proxy_tell calm
for i in 1 2; do ok "what was held back of connection $i is over" e2e_wait 60 over $i; done
for i in 0 1; do same "the newer write stands on LUN $i" B "$(head -c 65536 "$E2E_DIR/disk$i.img" | tr -s 'A-Z')"; done
for i in 0 1; do ok "detach LUN $i" cl detach "${dev[i]}"; done
settled() { [ "$(jq '.identities | length' "$CORELANE_RUN_DIR/attachments.json")" = 0 ]; }
ok "nothing of it is on record any more" e2e_wait 30 settled
e2e_end
