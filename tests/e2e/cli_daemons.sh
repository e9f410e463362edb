#!/bin/bash
# The daemons as a service: readiness, one of each in a run directory, bounded ends, restarts; and what they keep.
. "$(dirname "$0")/lib.sh"

# ---- background, lock, end ----------------------------------------------------------------------------------------

is "corelaned goes to the background and is ready when its parent ends" \
    "$BUILD/corelaned" --run-dir "$RUN" --config-dir "$RUN/iscsi"
pid=$(cat "$RUN/corelaned.pid" 2>/dev/null)
PIDS+=("$pid")
is "it answers at once" corelane list --json
is "its log is in the run directory" grep -q "ready at $RUN/corelaned.sock" "$RUN/corelaned.log"
refused "a second one in the same run directory" 1 "corelaned runs already in $RUN (pid $pid)" \
    timeout 10 "$BUILD/corelaned" -f --run-dir "$RUN" --config-dir "$RUN/iscsi"
refused "also when it goes to the background" 1 "(pid $pid)" timeout 10 "$BUILD/corelaned" --run-dir "$RUN"
equals "the run directory is its owner's alone" "$(stat -c %a "$RUN")" 700
equals "and so is the socket" "$(stat -c %a "$RUN/corelaned.sock")" 600
kill "$pid"
is "it ends within two seconds of SIGTERM" wait_for 3 gone "$pid"
is "and takes socket and lock with it" test ! -e "$RUN/corelaned.sock" -a ! -e "$RUN/corelaned.pid"

is "the target starts" start_targetd
stop_pid "$TARGETD_PID" KILL
is "and again over the socket of one that was killed" start_targetd
refused "a second target in the same run directory" 1 "(pid $TARGETD_PID)" \
    timeout 10 "$BUILD/corelane-targetd" -f --run-dir "$RUN" --portal 127.0.0.1:0
refused "a target whose port is taken, in the background" 1 "${PORTAL##*:}" \
    timeout 10 "$BUILD/corelane-targetd" --run-dir "$RUN/other" --portal "$PORTAL"

# ---- targets ------------------------------------------------------------------------------------------------------

is "a target is made" corelane target create "$IQN"
refused "a target of the same name" 1 "$IQN" corelane target create "$IQN"
refused "a name that is none" 1 "disk" corelane target create disk
is "a LUN of memory" corelane lun create "$IQN" --ram 16M
is "a LUN of nothing, with a number" corelane lun create "$IQN" --null 1G --lun 7 --block-size 4096
is "a LUN on a file" corelane lun create "$IQN" --file "$RUN/disk.img" --size 8M
refused "a LUN on a file that is not there" 1 "$RUN/nothing.img" corelane lun create "$IQN" --file "$RUN/nothing.img"
refused "a LUN number that is in use" 1 "7" corelane lun create "$IQN" --ram 1M --lun 7
refused "a LUN of a target that is not there" 1 "$IQN-not" corelane lun create "$IQN-not" --ram 1M
is "a LUN grows" corelane lun resize "$IQN" 1 16M
equals "and says so" "$(corelane lun list "$IQN" | awk '$2 == 1 { print $4 }')" 16M
is "an initiator is admitted" corelane acl add "$IQN" iqn.2026-11.org.example:host --lun 0 --lun 1 --readonly
equals "with its LUNs" "$(corelane acl list | awk 'NR == 2 { print $2, $3, $4 }')" "iqn.2026-11.org.example:host yes 0,1"
is "and no longer" corelane acl remove "$IQN" iqn.2026-11.org.example:host
is "a secret comes from a file" bash -c "echo abcdefghijkl >'$RUN/s' && '$BUILD/corelane' chap set $IQN --user u --secret-file '$RUN/s'"
is "from standard input" bash -c "echo bcdefghijklm | '$BUILD/corelane' chap set --discovery --user d --secret-file -"
refused "a secret that is too short" 1 "12" env CORELANE_SECRET=short "$BUILD/corelane" chap set "$IQN" --user v
equals "secrets go in and never come out" "$(corelane chap list --json | grep -c -e abcdefghijkl -e bcdefghijklm)" 0
stop_pid "$TARGETD_PID"
is "all of it is there after a restart" start_targetd
equals "targets and LUNs" "$(corelane target list | awk 'NR == 2 { print $1, $2 }')" "$IQN 3"
equals "and secrets" "$(corelane chap list | awk 'NR > 1' | wc -l)" 2

# ---- sessions and disks ---------------------------------------------------------------------------------------------

is "the initiator starts" start_corelaned
refused "discovery without the secret" 1 "discovery at $PORTAL" corelane discover "$PORTAL"
equals "discovery with it" "$(CORELANE_SECRET=bcdefghijklm corelane discover "$PORTAL" --user d)" "$PORTAL,1 $IQN"
is "leaves a node record" test -f "$RUN/iscsi/nodes/$IQN/${PORTAL%:*},${PORTAL##*:},1/default"
refused "login without the secret" 1 "login to $IQN at $PORTAL" corelane login "$IQN" --portal "$PORTAL"
equals "nothing is left of it" "$(corelane session list --json | tr -d ' \n')" "[]"
export CORELANE_SECRET=abcdefghijkl
is "login with it, two sessions" corelane login "$IQN" --portal "$PORTAL" --user u --sessions 2
is "login again adds none" corelane login "$IQN" --portal "$PORTAL" --user u --sessions 2
if has jq; then
    equals "there are two" "$(corelane session list --json | jq length)" 2
    if [ "$(nproc)" -gt 1 ]; then
        equals "on two cores" "$(corelane session list --json | jq '[.[].core] | unique | length')" 2
        equals "as the layout shows" \
            "$(corelane layout show --json | jq -c '[.corelaned.cores[] | select(.sessions | length > 0) | .sessions | length][:2]')" "[1,1]"
    fi
    equals "session list has what was negotiated" "$(corelane session list --json | jq -r '.[0].ImmediateData')" Yes
    equals "the target sees them" "$(corelane session list --target --json | jq length)" 2
    equals "status has both daemons" "$(corelane status --json | jq -r '[.corelaned.sessions, ."corelane-targetd".sessions] | join(" ")')" "2 2"
else
    skip "what the listings say" "$WHY_NOT"
fi
equals "attach prints the name of a disk without device" \
    "$(corelane attach "$IQN" --portal "$PORTAL" --lun 0 --export none)" disk-0
refused "the same LUN twice" 1 "is attached already, as disk-0" corelane attach "$IQN" --portal "$PORTAL" --lun 0 --export none
refused "a LUN that is not there" 1 "LUN 99" corelane attach "$IQN" --portal "$PORTAL" --lun 99 --export none
equals "attach by URL, with a name" \
    "$(corelane attach "iscsi://u%abcdefghijkl@$PORTAL/$IQN/7" --export none --name null)" null
refused "a name that is in use" 1 "name 'null' is in use" corelane attach "$IQN" --portal "$PORTAL" --lun 1 --export none --name null
refused "logout under a disk" 1 "detach it first" corelane logout "$IQN"
equals "list shows them" "$(corelane list | awk 'NR > 1 { print $1, $3 }' | sort | tr '\n' ';')" "disk-0 up;null up;"
is "detach" corelane detach disk-0
refused "detach twice" 1 "there is no disk 'disk-0'" corelane detach disk-0
is "logout with force detaches what is left" corelane logout "$IQN" --force
equals "and no session is left" "$(corelane session list --json | tr -d ' \n')" "[]"
if has loop; then
    dev=$(corelane attach "$IQN" --portal "$PORTAL" --lun 1 --user u --export fuse)
    is "attach prints the device alone" test -b "$dev"
    equals "of the LUN's size" "$(blockdev --getsize64 "$dev")" $((16 << 20))
    is "a file system on it" bash -c "mkfs.ext4 -q '$dev'"
    is "is mounted" mount_disk "$dev" "$RUN/mnt"
    refused "detach while mounted" 1 "mounted" corelane detach "$dev"
    is "unmounted" unmount_disk "$RUN/mnt"
    is "detach by path" corelane detach "$dev"
    equals "the session that attach made goes with it" "$(corelane session list --json | tr -d ' \n')" "[]"
else
    skip "a FUSE disk" "$WHY_NOT"
fi

# ---- bench ------------------------------------------------------------------------------------------------------------

url=iscsi://u%abcdefghijkl@$PORTAL/$IQN/0
if has jq; then
    out=$(corelane bench "$url" --time 1 --qd 4 --json)
    equals "bench --json has its keys" "$(jq -r '[.iops > 0, .bytes_per_s > 0, (.lat_us | .mean > 0 and .p50 <= .p99 and .p99 <= .p999 and .p999 <= .max),
        (.core | type), .transport, (.cpu | has("user") and has("sys") and has("busy")), .errors] | map(tostring) | join(" ")' <<<"$out")" \
        "true true true number tcp true 0"
fi
out=$(corelane bench "$url" --time 1 --rw randrw --rwmixread 70 --jobs 2 --bs 8k 2>"$RUN/progress")
is "bench shows progress" grep -q "IO/s" "$RUN/progress"
is "and a histogram" grep -q "us \.\." <<<"$out"
refused "bench of a LUN that is not there" 1 "LUN" corelane bench "${url%/0}/99" --time 1
refused "bench larger than the LUN" 1 "larger than the LUN" corelane bench "${url%/0}/0" --bs 32M --qd 1 --time 1

stop_pid "$CORELANED_PID"
is "the initiator ended" gone "$CORELANED_PID"
kill "$TARGETD_PID"
is "the target ends within three seconds" wait_for 3 gone "$TARGETD_PID"
