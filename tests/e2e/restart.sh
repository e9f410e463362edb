#!/bin/bash
# The target's configuration: saved atomically with mode 0600, restored at start, refused with a message when it is
# damaged; identity and data of LUNs survive.
set -u
# shellcheck source=tests/e2e/harness.sh
. "$(dirname "$0")/harness.sh"
e2e_begin
iqn=iqn.2026-11.test.corelane:restart
start_targetd || { fail start; e2e_end; }
cl target create $iqn >/dev/null
cl lun create $iqn --file "$E2E_DIR/disk.img" --size 32M --lun 3 >/dev/null
cl acl add $iqn iqn.2026-11.test:friend >/dev/null
printf 'a secret of 20 bytes' | cl chap set $iqn --user alice --secret-file - >/dev/null
naa=$(cl lun list --json | jq -r '.[0].naa')
same "configuration has mode 600" 600 "$(stat -c %a "$E2E_DIR/target.json")"
not_ok "no secret in any listing" grep -q 'a secret of' <(cl target list --json; cl chap list --json; cl status --json)
many=()
for i in {1..12}; do cl target create "iqn.2026-11.test.corelane:n$i" >/dev/null & many+=($!); done
wait "${many[@]}"
e2e_stop "$TARGETD" KILL
ok "it is whole after kill -9" jq -e . "$E2E_DIR/target.json"
touch "$E2E_DIR/.target.json.0123456789abcdef" "$E2E_DIR/state/.x.pr.0123456789abcdef" # saves that were killed half way
ok "restart" start_targetd
same "what was half written is gone" "" "$(find "$E2E_DIR" -name '.*.0123456789abcdef')"
same "all targets are there" 13 "$(cl target list --json | jq length)"
same "the LUN has its identity" "$naa" "$(cl lun list --json | jq -r '.[] | select(.lun == 3) | .naa')"
same "the ACL too" iqn.2026-11.test:friend "$(cl acl list --json | jq -r '.[0].initiator')"
same "the CHAP user too" alice "$(cl chap list --json | jq -r '.[0].user')"
e2e_stop "$TARGETD" TERM
cp "$E2E_DIR/target.json" "$E2E_DIR/good"
config_refused() { # NAME TEXT PATTERN
    local rc out
    printf '%s' "$2" >"$E2E_DIR/target.json"
    out=$(timeout 60 "$BUILD/corelane-targetd" -f --config "$E2E_DIR/target.json" --portal "127.0.0.1:$(e2e_port)" 2>&1)
    rc=$?
    if [ $rc = 1 ] && grep -qiE "$3" <<<"$out"; then pass "$1"; else fail "$1" "status $rc: $out"; fi
}
config_refused "truncated configuration" "$(head -c 40 "$E2E_DIR/good")" target.json
config_refused "no JSON" "hello" target.json
config_refused "unknown version" '{"version": 99, "targets": []}' version
config_refused "unknown key" "$(jq '. + {bogus: 1}' "$E2E_DIR/good")" bogus
config_refused "bad name" "$(jq '.targets[0].iqn = "nonsense"' "$E2E_DIR/good")" nonsense
cp "$E2E_DIR/good" "$E2E_DIR/target.json"
rm "$E2E_DIR/disk.img"
ok "a missing backing file does not keep the others down" start_targetd
ok "and is named" grep -q disk.img <(cl lun list --json)
same "nothing was lost from the configuration" 13 "$(jq '.targets | length' "$E2E_DIR/target.json")"
e2e_end
