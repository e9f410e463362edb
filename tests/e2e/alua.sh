#!/bin/bash
# Portal groups and their access states: set by the command, told to initiators, served, kept over a restart
set -u
# shellcheck source=tests/e2e/harness.sh
. "$(dirname "$0")/harness.sh"
e2e_begin
iqn=iqn.2026-11.test.corelane:alua
p1=127.0.0.1:$(e2e_port)
start_targetd --portal "$p1" || { fail start; e2e_end; }
cl target create $iqn >/dev/null && cl lun create $iqn --file "$E2E_DIR/disk.img" --size 32M --lun 0 >/dev/null &&
    cl lun create $iqn --ram 8M --lun 1 >/dev/null || fail "LUNs"
p2=127.0.0.1:$(e2e_port)
url1=iscsi://$p1/$iqn url2=iscsi://$p2/$iqn

state() { cl alua list $iqn --json | jq -r --argjson l "$1" --argjson g "$2" '.[] | select(.lun == $l and .group == $g) | .state'; }
groups_of() { iscsi-inq -e 1 -c 131 "$1" 2>&1; }
writes() { cl bench "$1" --rw randwrite --bs 4k --qd 4 --time 1 --transport tcp --json; }

# --- portals and groups
ok "portal add" cl portal add "$p2" --group 2
same "portal list has both groups" "$p1,1 $p2,2" "$(cl portal list --json | jq -r '[.[] | "\(.addr),\(.tpgt)"] | join(" ")')"
refused "the same portal twice" 1 "it is a portal already" cl portal add "$p2" --group 3
refused "a group that is none" 2 "--group" cl portal add 127.0.0.1:1 --group 0
refused "an address that is none" 1 "is no portal" cl portal add nowhere
said=$(iscsi-ls "iscsi://$p1" 2>&1)
ok "libiscsi discovers a portal of each group" test "$(grep -c "Portal:$p1,1\|Portal:$p2,2" <<<"$said")" = 2
ok "VPD 83 names the port of the first" grep -q "$iqn,t,0x0001" <(groups_of "$url1/0")
ok "and of the second" grep -q "$iqn,t,0x0002" <(groups_of "$url2/0")

# --- states
refused "without a state" 2 "are both needed" cl alua set $iqn --group 2
refused "a state that is none" 2 "--state" cl alua set $iqn --group 2 --state fast
refused "a group without portals" 1 "no portal is of group 7" cl alua set $iqn --group 7 --state standby
refused "no such LUN" 1 "has no LUN 9" cl alua set $iqn --group 2 --state standby --lun 9
same "all is optimized at first" "optimized optimized" "$(state 0 1) $(state 0 2)"
ok "non-optimized" cl alua set $iqn --group 2 --state non-optimized
ok "is written and read by" writes "$url2/0"
ok "standby, for one LUN" cl alua set $iqn --group 2 --state standby --lun 0 --transition-ms 50
same "the other LUN is as it was" "standby non-optimized" "$(state 0 2) $(state 1 2)"
not_ok "standby serves no writes" writes "$url2/0"
ok "the other LUN does by that portal" writes "$url2/1"
ok "and the first by the other portal" writes "$url1/0"
for s in unavailable offline; do
    ok "$s" cl alua set $iqn --group 2 --state $s
    not_ok "$s serves no writes" writes "$url2/0"
    ok "the other portal does" writes "$url1/0"
done
ok "alua list says who" grep -q "offline.*target" <(cl alua list $iqn)

# --- over a restart
ok "a preferred group" cl alua set $iqn --group 2 --state non-optimized --preferred
before=$(cl alua list --json | jq -S 'map(del(.changed_by))')
e2e_stop "$TARGETD"
start_targetd || { fail restart; e2e_end; }
same "portals and states are kept" "$before" "$(cl alua list --json | jq -S 'map(del(.changed_by))')"
ok "it serves" writes "$url2/0"

# --- a disk of ours over both groups goes by the states, while it is written and verified
if has loop && has fio; then
    ok "both optimized" cl alua set $iqn --group 2 --state optimized
    start_corelaned || fail "corelaned"
    ok "one is unavailable" cl alua set $iqn --group 2 --state unavailable
    refused "a disk over that alone" 1 "cannot be reached through this port now" cl attach $iqn --portal "$p2,transport=tcp" --lun 0 --name d
    dev=$(cl attach $iqn --portal "$p1,transport=tcp" --portal "$p2,transport=tcp" --lun 0 --name d 2>/dev/null) || fail "attach"
    told() { cl path list d --json | jq -r --arg p "$1" '.[0].paths[] | select(.portal == $p) | .alua.state'; }
    is_told() { [ "$(told "$1")" = "$2" ]; }
    requests() { cl path list d --json | jq --arg p "$1" '.[0].paths[] | select(.portal == $p) | .requests'; }
    busy() { [ "$(requests "$1")" -gt "$2" ]; }
    ok "the other is enough" is_told "$p1" active/optimized
    ok "and it is there again" cl alua set $iqn --group 2 --state optimized
    ok "it has both paths" e2e_wait 60 is_told "$p2" active/optimized
    fio --verify_state_save=0 --name=v --filename="$dev" --direct=1 --ioengine=io_uring --rw=randwrite --bs=4k --iodepth=8 --size=16M \
        --time_based --runtime=600 --verify=crc32c --verify_fatal=1 --verify_backlog=64 --output="$E2E_DIR/fio.log" &
    FIO=$!
    e2e_own $FIO INT
    for round in "$p1 1 $p2 standby" "$p2 2 $p1 unavailable" "$p1 1 $p2 offline"; do
        read -r there tag other state <<<"$round"
        ok "group $tag $state" cl alua set $iqn --group "$tag" --state "$state" --transition-ms 100
        ok "the disk hears of it" e2e_wait 60 is_told "$there" "$state"
        ok "and goes on by the other path" e2e_wait 60 busy "$other" "$(requests "$other")"
        ok "group $tag optimized" cl alua set $iqn --group "$tag" --state optimized
        ok "the disk hears of that" e2e_wait 60 is_told "$there" active/optimized
        ok "and uses the path again" e2e_wait 60 busy "$there" "$(requests "$there")"
    done
    kill -INT $FIO
    wait $FIO
    rc=$?
    [ $rc = 128 ] && rc=0 # interrupted, as it should be
    grep -qE 'verify: |err= *[1-9]' "$E2E_DIR/fio.log" && rc=1
    same "fio verified all of it, without an error" 0 $rc
    ok "detach" cl detach d
    e2e_stop "$CORELANED"
else
    skip "a disk over both groups" "$WHY_NOT"
fi

# --- away
ok "portal remove" cl portal remove "$p2"
same "its group is gone" "" "$(state 0 2)"
not_ok "nobody listens there" iscsi-inq "$url2/0"
refused "the last one stays" 1 "is the last" cl portal remove "$p1"
refused "one that is none" 1 "there is no portal" cl portal remove "$p2"
e2e_end
