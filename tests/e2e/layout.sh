#!/bin/bash
# Which session is on which core: shown, explained, moved under verified load, pinned over logins and restarts, saved,
# edited, compared and restored; and what is refused.
set -u
# shellcheck source=tests/e2e/harness.sh
. "$(dirname "$0")/harness.sh"
has jq || { skip layout "$WHY_NOT"; exit 0; }
[ "$(nproc)" -gt 1 ] || { skip layout "one core"; exit 0; }
e2e_begin
iqn=iqn.2026-11.test.corelane:layout
start_targetd && start_corelaned || { fail start; e2e_end; }
cl target create $iqn >/dev/null && cl lun create $iqn --file "$E2E_DIR/disk.img" --size 128M >/dev/null || fail "LUN"
mapfile -t cores < <(cl layout show --json | jq '.corelaned.cores[].core')
A=${cores[0]} B=${cores[1]}
core_of() { cl session list --json | jq -r --arg n "$1" '.[] | select(.name == $n) | .core'; }
other() { if [ "$1" = "$A" ]; then echo "$B"; else echo "$A"; fi; }
where() { cl layout show --json | jq -r --argjson i "$1" '.corelaned.sessions[] | select(.index == $i) | .core'; }

# ---- looking ------------------------------------------------------------------------------------------------------

refused "explain without a session" 1 "there is no session s1" cl layout explain s1
ok "three sessions" cl login $iqn --portal "$PORTAL" --sessions 3
# a core that another program uses up is no place for a session
if cl session list --json | grep -q "free cores are used up"; then
    skip "the first two are on cores of their own" "others use one core up"
else
    same "the first two are on cores of their own" 2 \
        "$(cl layout show --json | jq '[.corelaned.sessions[] | select(.index < 2) | .core] | unique | length')"
fi
same "show has them, in order" "0 1 2" "$(cl layout show --json | jq -r '[.corelaned.sessions[].index] | join(" ")')"
ok "show has the session with its target" grep -q "s1 .*$iqn at $PORTAL" <(cl layout show)
same "show --json keeps what it had" true \
    "$(cl layout show --json | jq '.corelaned.cores | all(has("core") and has("mode") and has("busy") and has("poll") and has("sleep") and has("sessions"))')"
same "explain knows each core and the one that was chosen" "placed ${#cores[@]} $(core_of s1)" \
    "$(cl layout explain s1 --json | jq -r '.entries[0] | "\(.event) \(.cores | length) \(.cores[] | select(.chosen) | .core)"')"
ok "and says it in words" grep -q "core $(core_of s1) .*chosen" <(cl layout explain s1)
ok "plan says where more would go" grep -q "   2  core" <(cl layout plan 2)
same "policy" free-core "$(cl layout policy)"
ok "rebalancing is advice at first" grep -q "^advise, 6 moves" <(cl layout rebalance)
ok "advice" grep -q "^rebalance advise" <(cl layout advice)

# ---- moving -------------------------------------------------------------------------------------------------------

from=$(core_of s1) to=$(other "$(core_of s1)")
ok "a session moves and the pause is told" grep -Eq "^s1: core $to, was on $from; pause [0-9.]+ ms" <(cl layout move s1 "$to")
same "it is there" "$to" "$(core_of s1)"
same "the journal knows" "moved request $from $to" \
    "$(cl layout explain "$iqn#0" --json | jq -r '.entries[-1] | "\(.event) \(.by) \(.from) \(.core)"')"
refused "to where it is" 1 "on that core already" cl layout move s1 "$to"
refused "to a core that has no reactor" 1 "has no reactor on core 60000; it has some on $A" cl layout move s1 60000
refused "a session that is not there" 1 "there is no session s99" cl layout move s99 "$A"
refused "one of several" 1 "are 3 sessions" cl layout move $iqn "$A"
refused "no core at all" 2 "'x'" cl layout move s1 x
ok "and back" cl layout move "$iqn@$PORTAL#0" "$from"

# ---- pins ---------------------------------------------------------------------------------------------------------

to=$(other "$(core_of s2)")
ok "a pin moves a session" cl layout pin s2 "$to"
same "to its core" "$to" "$(core_of s2)"
refused "from where it is not moved" 1 "is pinned to core $to" cl layout move s2 "$(other "$to")"
ok "show marks it" grep -q "s2 .*\[pinned\]" <(cl layout show)
from=$(core_of s3)
ok "a pin for the next login" cl layout pin s3 "$(other "$from")" --no-move
same "leaves it where it is" "$from" "$(core_of s3)"
pin2=$to pin3=$(other "$from")
ok "logout" cl logout $iqn
ok "login again" cl login $iqn --portal "$PORTAL" --sessions 3
same "they come to their cores" "$pin2 $pin3" "$(where 1) $(where 2)"
ok "a policy is set" cl layout policy spread
ok "and rebalancing switched off" cl layout rebalance off
e2e_stop "$CORELANED"
ok "corelaned starts again" start_corelaned
ok "login after the restart" cl login $iqn --portal "$PORTAL" --sessions 3
same "they come to their cores then, too" "$pin2 $pin3" "$(where 1) $(where 2)"
same "the policy was kept" spread "$(cl layout policy)"
ok "and rebalancing is off" grep -q "^off" <(cl layout rebalance)
same "the journal knows of the time before" true \
    "$(cl layout explain "$iqn@$PORTAL#1" --json | jq '[.entries[] | select(.event == "placed")] | length >= 3')"
ok "unpin" cl layout unpin "$iqn#1"
refused "twice" 1 "is not pinned" cl layout unpin "$iqn#1"
refused "a policy that is none" 2 "POLICY 'fast': not one of free-core|" cl layout policy fast
ok "the policy of before" cl layout policy free-core

# ---- files --------------------------------------------------------------------------------------------------------

F=$E2E_DIR/layout
ok "save" cl layout save "$F"
same "to standard output it is the same" "$(cat "$F")" "$(cl layout save -)"
ok "nothing differs from what was saved" cl layout diff "$F"
now=$(where 0)
sed -i -E "s/^(session .* 0) core $now\$/\1 core $(other "$now")/; s/^policy .*/policy pack/; s/^(session .* 2) pin/\1 core/" "$F"
cl layout diff "$F" >"$E2E_DIR/diff"
same "diff of what was edited has diff's status" 1 $?
ok "and names the move" grep -q "#0: core $now -> $(other "$now")" "$E2E_DIR/diff"
ok "the policy" grep -q "^policy free-core -> pack" "$E2E_DIR/diff"
ok "and the pin" grep -q "#2: unpin" "$E2E_DIR/diff"
ok "a dry run" cl layout restore "$F" --dry-run
same "changes nothing" "$now" "$(where 0)"
ok "restore" cl layout restore "$F"
same "moves it" "$(other "$now")" "$(where 0)"
same "sets the policy" pack "$(cl layout policy)"
ok "and nothing differs any more" cl layout diff "$F"
cp "$F" "$F.bad"
echo "session $iqn $PORTAL 0 at 3" >>"$F.bad"
refused "a wrong line is told with file and line" 1 "$F.bad:$(wc -l <"$F.bad"): " cl layout restore "$F.bad"
cl layout diff "$F.bad" >/dev/null 2>&1
same "for diff that is trouble" 2 $?
echo "session $iqn $PORTAL 0 core 60000" >"$F.far"
refused "a core that is not there, too" 1 "$F.far:1: corelaned has no reactor on core 60000" cl layout restore "$F.far"
refused "nothing is not taken for a layout without pins" 1 "standard input: there is no layout in it" cl layout restore -
ln -s "$E2E_DIR/elsewhere" "$F.link"
refused "a link is not replaced by a file" 1 "no regular file; '-' is standard output" cl layout save "$F.link"
refused "a file that is not there" 1 "$F.none" cl layout restore "$F.none"

# ---- a target that is away ------------------------------------------------------------------------------------------

is_down() { cl session list --json | jq -e 'any(.name == "s1" and .state == "RECOVERY")'; }
is_up() { cl session list --json | jq -e 'all(.state == "LOGGED_IN")'; }
e2e_stop "$TARGETD" KILL
ok "the target is gone" e2e_wait 30 is_down
now=$(core_of s1)
refused "a session that is not logged in does not move" 1 "s1 stays on core $now: it cannot move now" \
    cl layout move s1 "$(other "$now")"
ok "the target is there again" start_targetd
ok "and the sessions" e2e_wait 60 is_up
ok "it moves then" cl layout move s1 "$(other "$now")"
ok "logout" cl logout $iqn

# ---- under load ---------------------------------------------------------------------------------------------------

if ! has loop || ! has fio; then
    skip "moves under load" "$WHY_NOT"
    e2e_end
fi
# One path over TCP, one over shared memory, then two of each: while a session is away its requests wait, or go elsewhere.
for paths in tcp shm both; do
    portals=(--portal "$PORTAL,transport=$paths")
    [ $paths != both ] || portals=(--portal "$PORTAL,sessions=2,transport=tcp" --portal "$PORTAL,sessions=2,transport=shm")
    dev=$(cl attach $iqn "${portals[@]}" --lun 0) || { fail "attach over $paths"; continue; }
    e2e_wait 30 is_up
    mapfile -t names < <(cl session list --json | jq -r '.[].name')
    fio --name=f --filename="$dev" --direct=1 --ioengine=libaio --rw=randrw --bs=4k --iodepth=16 --size=64M --time_based \
        --runtime=5 --verify=crc32c --verify_fatal=1 --verify_backlog=256 --verify_state_save=0 \
        --output="$E2E_DIR/fio.log" &
    fio=$!
    moves=0 failed=0
    while kill -0 $fio 2>/dev/null; do
        name=${names[RANDOM % ${#names[@]}]}
        if cl layout move "$name" "$(other "$(core_of "$name")")" --limit 60000 >"$E2E_DIR/move" 2>&1; then
            moves=$((moves + 1))
        # a busy machine may be silent long enough for a path to be dropped, where there are others
        elif [ $paths != both ] || ! grep -q "cannot move now" "$E2E_DIR/move"; then
            failed=$((failed + 1))
            sed 's/^/# /' "$E2E_DIR/move"
        fi
    done
    wait $fio
    rc=$?
    same "$paths: verified I/O goes on while sessions move" 0 $rc
    [ $rc = 0 ] || sed 's/^/# /' "$E2E_DIR/fio.log"
    same "$paths: no move failed" 0 $failed
    ok "$paths: they moved ($moves times)" test $moves -gt 3
    same "$paths: no disk had an error" 0 "$(cl list --json | jq '[.[].errors] | add')"
    [ $paths = both ] || same "$paths: nobody had to log in again" 0 "$(cl session list --json | jq '[.[].reconnects] | add')"
    ok "$paths: detach" cl detach "$dev"
done
e2e_end
