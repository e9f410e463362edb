#!/bin/bash
# Faults before the first byte of data: connections that break, stall or crumble during login are tried again, and
# what did not get through in the end is told as an error. A target that has seen all that still serves.
set -u
# shellcheck source=tests/e2e/harness.sh
. "$(dirname "$0")/harness.sh"
has jq || { skip proxy_login "$WHY_NOT"; exit 0; }
e2e_begin
cat >"$E2E_DIR/etc/iscsid.conf" <<END
node.conn[0].timeo.login_timeout = 2
node.session.initial_login_retry_max = 30
END
iqn=iqn.2026-11.test.corelane:login
start_targetd && start_corelaned || { fail start; e2e_end; }
cl target create $iqn >/dev/null && cl lun create $iqn --ram 16M >/dev/null || fail "LUN"
printf 'a secret of 20 bytes' | cl chap set $iqn --user alice --secret-file - >/dev/null || fail "CHAP"

# through NAME PLAN N: an attach through a proxy that follows the plan, of which at least N steps come to pass
through() {
    printf '%b' "$2" >"$E2E_DIR/plan"
    start_proxy --plan "$E2E_DIR/plan" || { fail "$1: the proxy starts"; return; }
    ok "$1: attach" env CORELANE_SECRET='a secret of 20 bytes' "$BUILD/corelane" attach $iqn --portal "$FRONT" --lun 0 \
        --user alice --export none --name login
    ok "$1: and detach" cl detach login
    ok "$1: the proxy did it" test "$(grep -cE '\] (byte|at)' "$E2E_DIR/proxy.log")" -ge "$3"
    e2e_stop $PROXY
}
through "resets at five places" "byte 0 conn 1 up reset\nbyte 47 conn 2 up reset\nbyte 48 conn 3 up reset
byte 10 conn 4 down reset\nbyte 300 conn 5 up reset\n" 5
through "ends at four places" "byte 0 conn 1 up half-close\nbyte 100 conn 2 up half-close
byte 0 conn 3 down half-close\nbyte 60 conn 4 down half-close\n" 4
through "silence" "byte 30 conn 1 up drop\nbyte 50 conn 2 down drop\nbyte 0 conn 3 up blackhole 10000\n" 3
through "byte by byte" "byte 0 split 100000\n" 2
through "late" "byte 48 delay 300\nbyte 100 slow 2000 600\n" 4
printf 'byte 100 up reset\n' >"$E2E_DIR/plan"
sed -i 's/retry_max = .*/retry_max = 2/' "$E2E_DIR/etc/iscsid.conf"
start_proxy --plan "$E2E_DIR/plan"
refused "never through: an error that names the place" 1 "$FRONT" env CORELANE_SECRET='a secret of 20 bytes' \
    "$BUILD/corelane" attach $iqn --portal "$FRONT" --lun 0 --user alice --export none
nothing_left() { [ "$(cl list --json | jq length) $(cl session list --json | jq length)" = "0 0" ]; }
ok "and nothing is left of it" e2e_wait 30 nothing_left
ok "the target serves as before" env CORELANE_SECRET='a secret of 20 bytes' "$BUILD/corelane" attach $iqn \
    --portal "$PORTAL" --lun 0 --user alice --export none --name login
ok "detach" cl detach login
e2e_end
