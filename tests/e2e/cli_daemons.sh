#!/bin/bash
# The daemons as a service: readiness, one of each in a run directory, bounded ends, restarts; and what they keep.
set -u
# shellcheck source=tests/e2e/harness.sh
. "$(dirname "$0")/harness.sh"
e2e_begin
RUN=$CORELANE_RUN_DIR IQN=iqn.2026-11.org.example:disk

# ---- background, lock, end ----------------------------------------------------------------------------------------

ok "corelaned goes to the background and is ready when its parent ends" \
    "$BUILD/corelaned" --run-dir "$RUN" --config-dir "$E2E_DIR/iscsi"
pid=$(cat "$RUN/corelaned.pid" 2>/dev/null)
e2e_own "$pid"
ok "it answers at once" cl list --json
ok "it has made up a name for this host" grep -q '^InitiatorName=iqn' "$E2E_DIR/iscsi/initiatorname.iscsi"
ok "its log is in the run directory" grep -q "ready at $RUN/corelaned.sock" "$RUN/corelaned.log"
refused "a second one in the same run directory" 1 "corelaned runs already in $RUN (pid $pid)" \
    timeout 10 "$BUILD/corelaned" -f --run-dir "$RUN" --config-dir "$E2E_DIR/iscsi"
refused "also when it goes to the background" 1 "(pid $pid)" timeout 10 "$BUILD/corelaned" --run-dir "$RUN"
same "the run directory is its owner's alone" 700 "$(stat -c %a "$RUN")"
same "and so is the socket" 600 "$(stat -c %a "$RUN/corelaned.sock")"
kill "$pid"
ok "it ends within two seconds of SIGTERM" e2e_wait 3 gone "$pid"
ok "and takes socket and lock with it" test ! -e "$RUN/corelaned.sock" -a ! -e "$RUN/corelaned.pid"

ok "the target starts" start_targetd
e2e_stop "$TARGETD" KILL
ok "and again over the socket of one that was killed" start_targetd
refused "a second target in the same run directory" 1 "(pid $TARGETD)" \
    timeout 60 "$BUILD/corelane-targetd" -f --run-dir "$RUN" --portal 127.0.0.1:0
refused "a target whose port is taken, in the background" 1 "${PORTAL##*:}" \
    timeout 60 "$BUILD/corelane-targetd" --run-dir "$RUN/other" --portal "$PORTAL"

# ---- targets ------------------------------------------------------------------------------------------------------

ok "a target is made" cl target create "$IQN"
refused "a target of the same name" 1 "$IQN" cl target create "$IQN"
refused "a name that is none" 1 "disk" cl target create disk
ok "a LUN of memory" cl lun create "$IQN" --ram 16M
ok "a LUN of nothing, with a number" cl lun create "$IQN" --null 1G --lun 7 --block-size 4096
ok "a LUN on a file" cl lun create "$IQN" --file "$E2E_DIR/disk.img" --size 8M
refused "a LUN on a file that is not there" 1 "$E2E_DIR/nothing.img" cl lun create "$IQN" --file "$E2E_DIR/nothing.img"
refused "a LUN number that is in use" 1 "7" cl lun create "$IQN" --ram 1M --lun 7
refused "a LUN of a target that is not there" 1 "$IQN-not" cl lun create "$IQN-not" --ram 1M
ok "a LUN grows" cl lun resize "$IQN" 1 16M
same "and says so" 16M "$(cl lun list "$IQN" | awk '$2 == 1 { print $4 }')"
ok "an initiator is admitted" cl acl add "$IQN" iqn.2026-11.org.example:host --lun 0 --lun 1 --readonly
same "with its LUNs" "iqn.2026-11.org.example:host yes 0,1" "$(cl acl list | awk 'NR == 2 { print $2, $3, $4 }')"
ok "and no longer" cl acl remove "$IQN" iqn.2026-11.org.example:host
ok "a secret comes from a file" bash -c "echo abcdefghijkl >'$E2E_DIR/s' && '$BUILD/corelane' chap set $IQN --user u --secret-file '$E2E_DIR/s'"
ok "from standard input" bash -c "echo bcdefghijklm | '$BUILD/corelane' chap set --discovery --user d --secret-file -"
refused "a secret that is too short" 1 "12" env CORELANE_SECRET=short "$BUILD/corelane" chap set "$IQN" --user v
same "secrets go in and never come out" 0 "$(cl chap list --json | grep -c -e abcdefghijkl -e bcdefghijklm)"
e2e_stop "$TARGETD"
ok "all of it is there after a restart" start_targetd
same "targets and LUNs" "$IQN 3" "$(cl target list | awk 'NR == 2 { print $1, $2 }')"
same "and secrets" 2 "$(cl chap list | awk 'NR > 1' | wc -l)"

# ---- sessions and disks ---------------------------------------------------------------------------------------------

ok "the initiator starts" start_corelaned
refused "discovery without the secret" 1 "discovery at $PORTAL" cl discover "$PORTAL"
same "discovery with it" "$PORTAL,1 $IQN" "$(CORELANE_SECRET=bcdefghijklm cl discover "$PORTAL" --user d)"
ok "leaves a node record" test -f "$E2E_DIR/etc/nodes/$IQN/${PORTAL%:*},${PORTAL##*:},1/default"
printf 'discovery.sendtargets.auth.%s\n' 'username = d' 'password = bcdefghijklm' >"$E2E_DIR/etc/iscsid.conf"
same "discovery with what iscsid.conf says" "$PORTAL,1 $IQN" "$(cl discover "$PORTAL")"
refused "what is given on the command line comes before it" 1 "discovery at $PORTAL" \
    env CORELANE_SECRET=not-the-secret "$BUILD/corelane" discover "$PORTAL" --user d
refused "login without the secret" 1 "login to $IQN at $PORTAL" cl login "$IQN" --portal "$PORTAL"
same "nothing is left of it" "[]" "$(cl session list --json | tr -d ' \n')"
export CORELANE_SECRET=abcdefghijkl
ok "login with it, two sessions" cl login "$IQN" --portal "$PORTAL" --user u --sessions 2
ok "login again adds none" cl login "$IQN" --portal "$PORTAL" --user u --sessions 2
if has jq; then
    sed -i 's/^node.session.nr_sessions = .*/node.session.nr_sessions = 3/' "$E2E_DIR/etc/nodes/$IQN"/*/default
    same "without a number nr_sessions says how many" 3 "$(cl login "$IQN" --portal "$PORTAL" --user u --json | jq length)"
    cl logout "$IQN" >/dev/null
    same "and --sessions comes before it" 2 "$(cl login "$IQN" --portal "$PORTAL" --user u --sessions 2 --json | jq length)"
fi
if has jq; then
    same "there are two" 2 "$(cl session list --json | jq length)"
    # a core that another program uses up is no place for a session
    if cl session list --json | grep -q "free cores are used up"; then
        skip "on two cores" "others use the second core up"
    elif [ "$(nproc)" -gt 1 ]; then
        same "on two cores" 2 "$(cl session list --json | jq '[.[].core] | unique | length')"
        same "as the layout shows" "[1,1]" \
            "$(cl layout show --json | jq -c '[.corelaned.cores[] | select(.sessions | length > 0) | .sessions | length][:2]')"
    fi
    same "session list has what was negotiated" Yes "$(cl session list --json | jq -r '.[0].ImmediateData')"
    same "the target sees them" 2 "$(cl session list --target --json | jq length)"
    same "status has both daemons" "2 2" "$(cl status --json | jq -r '[.corelaned.sessions, ."corelane-targetd".sessions] | join(" ")')"
else
    skip "what the listings say" "$WHY_NOT"
fi
same "attach prints the name of a disk without device" disk-0 "$(cl attach "$IQN" --portal "$PORTAL" --lun 0 --export none)"
refused "the same LUN twice" 1 "is attached already, as disk-0" cl attach "$IQN" --portal "$PORTAL" --lun 0 --export none
refused "a LUN that is not there" 1 "LUN 99" cl attach "$IQN" --portal "$PORTAL" --lun 99 --export none
same "attach by URL, with a name" null "$(cl attach "iscsi://u%abcdefghijkl@$PORTAL/$IQN/7" --export none --name null)"
refused "a name that is in use" 1 "name 'null' is in use" cl attach "$IQN" --portal "$PORTAL" --lun 1 --export none --name null
refused "logout under a disk" 1 "detach it first" cl logout "$IQN"
same "list shows them" "disk-0 up;null up;" "$(cl list | awk 'NR > 1 { print $1, $3 }' | sort | tr '\n' ';')"
ok "detach" cl detach disk-0
refused "detach twice" 1 "there is no disk 'disk-0'" cl detach disk-0
ok "logout with force detaches what is left" cl logout "$IQN" --force
same "and no session is left" "[]" "$(cl session list --json | tr -d ' \n')"
if has loop; then
    dev=$(cl attach "$IQN" --portal "$PORTAL" --lun 1 --user u --export fuse)
    ok "attach prints the device alone" test -b "$dev"
    same "of the LUN's size" $((16 << 20)) "$(blockdev --getsize64 "$dev")"
    ok "a file system on it" bash -c "mkfs.ext4 -q '$dev'"
    mkdir "$E2E_DIR/mnt"
    ok "is mounted" mount "$dev" "$E2E_DIR/mnt"
    refused "detach while mounted" 1 "mounted" cl detach "$dev"
    ok "unmounted" umount "$E2E_DIR/mnt"
    ok "detach by path" cl detach "$dev"
    no_session() { [ "$(cl session list --json | tr -d ' \n')" = "[]" ]; }
    ok "the session that attach made goes with it" e2e_wait 30 no_session # detach does not wait for its logout
else
    skip "a FUSE disk" "$WHY_NOT"
fi

# ---- bench ------------------------------------------------------------------------------------------------------------

url=iscsi://u%abcdefghijkl@$PORTAL/$IQN/0
if has jq; then
    out=$(cl bench "$url" --time 1 --qd 4 --json)
    same "bench --json has its keys" "true true true number shm true 0" \
        "$(jq -r '[.iops > 0, .bytes_per_s > 0, (.lat_us | .mean > 0 and .p50 <= .p99 and .p99 <= .p999 and .p999 <= .max),
        (.core | type), .transport, (.cpu | has("user") and has("sys") and has("busy")), .errors] | map(tostring) | join(" ")' <<<"$out")"
fi
if has jq; then
    same "bench over what it is told, from memory of its own" "tcp true" \
        "$(cl bench "$url" --count 10 --transport tcp --own-buffers --json | jq -r '[.transport, .own_buffers] | map(tostring) | join(" ")')"
    same "several jobs share one core, and a count ends them" "[0] 5 1001" \
        "$(cl bench "$url" --jobs 5 --cores 0 --count 1001 --json | jq -r '[(.cores | tostring), .jobs, .ios] | join(" ")')"
    same "requests come at --rate, over all jobs, and not before they are due" "50 100 0 true" \
        "$(cl bench "$url" --cores 0 --jobs 3 --count 50 --rate 100 --json | jq -r '[.ios, .rate, .errors, .time_s >= 0.49] | join(" ")')"
    same "--time ends those at --rate too, however few are begun" "true 0" \
        "$(cl bench "$url" --time 1 --rate 3 --json | jq -r '[.ios > 0 and .ios <= 4, .errors] | join(" ")')"
    same "of an option given twice the last counts" 8192 \
        "$(cl bench "$url" --count 10 --bs 4k --bs 8k --json | jq .bs)"
fi
out=$(cl bench "$url" --time 1 --rw randrw --rwmixread 70 --jobs 2 --bs 8k 2>"$E2E_DIR/progress")
ok "bench shows progress" grep -q "IO/s" "$E2E_DIR/progress"
ok "and a histogram" grep -q "us \.\." <<<"$out"
refused "bench of a LUN that is not there" 1 "LUN" cl bench "${url%/0}/99" --time 1
refused "bench larger than the LUN" 1 "larger than the LUN" cl bench "${url%/0}/0" --bs 32M --qd 1 --time 1

for c in list "session list" "session list --target" "layout show" status "target list" "chap list" "acl list"; do
    # shellcheck disable=SC2086
    cl $c
    # shellcheck disable=SC2086
    cl $c --json
done >"$E2E_DIR/all" 2>&1
not_ok "no secret in what any command says, or in a log" \
    grep -e abcdefghijkl -e bcdefghijklm "$E2E_DIR/all" "$E2E_DIR/corelaned.log" "$E2E_DIR/targetd.log" "$RUN/corelaned.log"

e2e_stop "$CORELANED"
ok "the initiator ended" gone "$CORELANED"
kill "$TARGETD"
ok "the target ends within three seconds" e2e_wait 3 gone "$TARGETD"
e2e_end
