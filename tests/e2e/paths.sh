#!/bin/bash
# A disk with several paths: shared memory and TCP, two portals and one behind a proxy. Verified I/O while paths fail, come
# back, go and come by command; a path that leads elsewhere; a daemon that was killed; multipath.conf; reservations.
set -u
# shellcheck source=tests/e2e/harness.sh
. "$(dirname "$0")/harness.sh"
for p in loop fio jq; do has $p || { skip paths "$WHY_NOT"; exit 0; }; done
e2e_begin
cat >"$E2E_DIR/etc/iscsid.conf" <<END
node.conn[0].timeo.login_timeout = 3
node.session.initial_login_retry_max = 0
END
iqn=iqn.2026-11.test.corelane:paths
p1=127.0.0.1:$(e2e_port)
p2=127.0.0.1:$(e2e_port)
front=127.0.0.1:$(e2e_port)
dead=127.0.0.1:$(e2e_port)
start_targetd --portal "$p1" --portal "$p2" || { fail start; e2e_end; }
cl target create $iqn >/dev/null && cl lun create $iqn --file "$E2E_DIR/disk.img" --size 64M >/dev/null &&
    cl lun create $iqn --ram 16M --lun 1 >/dev/null || fail "LUNs"
# Another target daemon, with a target of the same name and another LUN in it.
other=$E2E_DIR/other
mkdir -m 700 "$other"
p3=127.0.0.1:$(e2e_port)
"$BUILD/corelane-targetd" -f --run-dir "$other" --config "$other/target.json" --portal "$p3" >"$E2E_DIR/other.log" 2>&1 &
e2e_own $!
e2e_wait 30 "$BUILD/corelane" target list --run-dir "$other" || fail "another target daemon"
"$BUILD/corelane" target create $iqn --run-dir "$other" >/dev/null &&
    "$BUILD/corelane" lun create $iqn --ram 64M --run-dir "$other" >/dev/null || fail "another LUN"

front_to() { # ADDR: what the third portal leads to from now on
    [ -z "$PROXY" ] || e2e_stop "$PROXY" TERM
    rm -f "$E2E_DIR"/proxy.{ctl,log}
    "$BUILD/corelane-faultproxy" "$1" --listen "$front" --control "$E2E_DIR/proxy.ctl" >"$E2E_DIR/proxy.log" 2>&1 &
    PROXY=$!
    e2e_own $PROXY
    e2e_wait 30 grep -q 'listening at' "$E2E_DIR/proxy.log"
}
front_to "$p2"
start_corelaned --multipath-conf "$E2E_DIR/multipath.conf" || { fail start; e2e_end; }

path_of() { cl path list d --json | jq -r --arg p "$1" '[.[0].paths[] | select(.portal == $p)][0].name'; }
state_of() { cl path list d --json | jq -r --arg p "$1" '.[0].paths[] | select(.name == $p) | .state'; }
is() { [ "$(state_of "$1")" = "$2" ]; }
in_state() { cl path list d --json | jq -r --arg s "$1" '[.[0].paths[] | select(.state == $s)] | length'; }
are() { [ "$(in_state "$1")" = "$2" ]; }

# ---- four paths, and one that nobody answers at ------------------------------------------------------------------

dev=$(cl attach $iqn --portal "$dead" --portal "$p1,sessions=2" --portal "$p2,transport=tcp" --portal "$front,transport=tcp" \
    --lun 0 --name d 2>/dev/null) || { fail "attach over several portals"; e2e_end; }
ok "it can be used" test -b "$dev"
ok "the others join" e2e_wait 30 are active 4
same "two in shared memory, two over TCP" "2 2" \
    "$(cl path list d --json | jq -r '[.[0].paths[] | select(.state == "active") | .transport] | "\(map(select(. == "shm")) | length) \(map(select(. == "tcp")) | length)"')"
same "each has a session of its own" 4 "$(cl path list d --json | jq '[.[0].paths[] | select(.state == "active") | .session] | unique | length')"
same "the dead portal is a path that is none yet" "$dead" "$(cl path list d --json | jq -r '.[0].paths[] | select(.state != "active") | .portal')"
refused "with paths no request waits for one" 1 "do not wait for a path" cl path fail-queued d
same "list has how many are up" 4/5 "$(cl list | awk '$1 == "d" { print $6 }')"
p_dead=$(path_of "$dead")
p_front=$(path_of "$front")
p_tcp=$(path_of "$p2")
p_shm=$(path_of "$p1")
ok "the topology shows them" grep -q "$front tcp" <(cl path topology d)
ok "the path that is none goes" cl path remove d "$p_dead"
same "and is gone" "" "$(path_of "$dead" | grep -v null)"

# ---- I/O that goes on --------------------------------------------------------------------------------------------

ios() { awk '{print $1 + $5}' "/sys/block/${dev##*/}/stat"; }
moved() { [ "$(ios)" -gt "$1" ]; }
under_way() { e2e_wait 60 moved "$(ios)"; }
fio --verify_state_save=0 --name=f --filename="$dev" --direct=1 --ioengine=io_uring --rw=randwrite \
    --bsrange=512-32k --bs_unaligned=0 --blockalign=512 --iodepth=16 --size=16M --time_based --runtime=600 \
    --verify=crc32c --verify_fatal=1 --verify_backlog=64 --output="$E2E_DIR/fio.log" &
FIO=$!
e2e_own $FIO INT
under_way
used() { [ "$(cl path list d --json | jq '[.[0].paths[] | select(.requests > 0)] | length')" = 4 ]; }
ok "under load all four are used" e2e_wait 60 used
for what in "path fail d $p_shm" "path fail d $p_tcp" "path reinstate d ${p_shm#p}" "path reinstate d $p_tcp" \
    "path policy d round-robin" "path policy d failover-only" "path policy d service-time --scope lun" "path policy d --reset"; do
    # shellcheck disable=SC2086
    ok "$what" cl $what
    ok "I/O goes on" under_way
done
ok "weights" cl path policy d weighted
ok "for a path" cl path set d "$p_shm" --weight 3
ok "I/O goes on" under_way
same "which is shown" 3 "$(cl path list d --json | jq --arg p "$p_shm" '.[0].paths[] | select(.name == $p) | .weight')"
ok "a priority puts it in a group of its own" cl path set d "$p_shm" --prio 99
alone() { [ "$(cl path list d --json | jq -r '[.[0].paths[] | select(.in_use) | .name] | join(" ")')" = "$p_shm" ]; }
ok "which is used alone" e2e_wait 30 alone
ok "I/O goes on" under_way
refused "what is to be set" 2 "--weight or --prio" cl path set d "$p_shm"
cl path set d "$p_shm" --prio 0 --weight 1
cl path policy d --reset
same "the policy is as it was" least-queue-depth "$(cl path policy d --json | jq -r .policy.policy)"
ok "all are back" e2e_wait 30 are active 4
proxy_tell "now reset"
ok "I/O goes on after a reset" under_way
ok "the path is back" e2e_wait 60 is "$p_front" active
ok "and counted it" test "$(cl path list d --json | jq --arg p "$p_front" '.[0].paths[] | select(.name == $p) | .downs')" -ge 1
proxy_tell "now blackhole 5000"
ok "I/O goes on in a blackhole" under_way
e2e_stop "$PROXY" KILL
ok "a portal dies: its path is down" e2e_wait 60 is "$p_front" down
ok "I/O goes on" under_way
same "which the events say" true "$(cl path events --json | jq --arg p "$p_front" 'any(.[]; .disk == "d" and .path == $p)')"
front_to "$p2"
back() { is "$p_front" active || is "$p_front" marginal; }
ok "the portal is back, and so is its path" e2e_wait 120 back
ok "a marginal one is reinstated" cl path reinstate d "$p_front"
ok "and active" e2e_wait 30 is "$p_front" active
ok "a path is taken away" cl path remove d "$p_tcp"
ok "I/O goes on" under_way
ok "and one is added" cl path add d "$p2" --transport tcp
ok "all are there" e2e_wait 30 are active 4
for p in $(cl path list d --json | jq -r '.[0].paths[].name'); do cl path fail d "$p"; done
ok "with all failed there is none" e2e_wait 30 are failed 4
same "and the disk says so" "no path" "$(cl path list d --json | jq -r '.[0].state')"
for p in $(cl path list d --json | jq -r '.[0].paths[].name'); do cl path reinstate d "$p"; done
ok "reinstated, what waited goes on" under_way
kill -INT $FIO
wait $FIO
rc=$?
[ $rc = 128 ] && rc=0 # interrupted, as it should be
grep -qE 'verify: |err= *[1-9]' "$E2E_DIR/fio.log" && rc=1
same "fio verified all of it, without an error" 0 $rc
[ $rc = 0 ] || sed 's/^/# /' "$E2E_DIR/fio.log"

# ---- no path left ------------------------------------------------------------------------------------------------

all_paths() { # fail|reinstate
    for p in $(cl path list d --json | jq -r '.[0].paths[].name'); do cl path "$1" d "$p" || return 1; done
}
one_read() { dd if="$dev" of=/dev/null bs=4k count=1 iflag=direct status=none; }
ok "no path is left" all_paths fail
one_read 2>/dev/null &
read=$!
waits() { [ "$(cl path list d --json | jq '.[0].in_flight')" -gt 0 ]; }
ok "a request waits" e2e_wait 30 waits
ok "until it is to fail" cl path fail-queued d
wait $read
same "which it does" 1 $?
not_ok "and so does the next, at once" one_read
ok "but with a path it is served" all_paths reinstate
ok "as before" one_read
ok "requests are to fail without a path" cl path policy d --no-path fail
all_paths fail
not_ok "they do" one_read
ok "or when they have waited for a second" cl path policy d --no-path 1
not_ok "they do then" one_read
ok "or never" cl path policy d --no-path queue
all_paths reinstate
all_paths fail
one_read 2>/dev/null &
read=$!
ok "this one waits" e2e_wait 30 waits
ok "all paths are tried at once" cl path resume d
ok "and it is served when there is one" all_paths reinstate
wait $read
same "without an error" 0 $?
cl path policy d --reset

# ---- what is refused ---------------------------------------------------------------------------------------------

refused "another LUN is no path of it" 1 "are not one" cl path add d "iscsi://$p1/$iqn/1"
ok "with both identities in the message" test "$(cl path add d "iscsi://$p1/$iqn/1" 2>&1 | grep -o '36[0-9a-f]\{31\}' | sort -u | wc -l)" = 2
refused "nor one that does not answer" 1 "$dead" cl path add d "$dead"
refused "a path that is not there" 1 "has no path 'p99'" cl path fail d p99
refused "a policy that is none" 2 "POLICY 'fastest': not one of least-queue-depth|" cl path policy d fastest
refused "the same LUN at the same portal" 1 "attached already, as d" cl attach $iqn --portal "$p1" --lun 0
localhost=localhost:${p1##*:}
refused "by another name of the portal, as a disk of its own" 1 "attached as d already" \
    cl attach $iqn --portal "$localhost" --lun 0 --separate
same "else it is a path of that disk" "$dev" "$(cl attach $iqn --portal "$localhost" --lun 0 2>"$E2E_DIR/err")"
ok "which is said" grep -q 'attached as d: it is a path of that disk now' "$E2E_DIR/err"
ok "and so it is" e2e_wait 30 are active 5
ok "it goes again" cl path remove d "$(path_of "$localhost")"

# ---- a portal that leads elsewhere -------------------------------------------------------------------------------

front_to "$p3"
ok "a path that leads to another unit is in quarantine" e2e_wait 60 is "$p_front" quarantine
ok "with an alarm" grep -qi 'another unit\|quarantine' "$E2E_DIR/corelaned.log"
ok "nothing is written there" dd if=/dev/urandom of="$dev" bs=64k count=64 oflag=direct status=none
same "not a byte" 0 "$("$BUILD/corelane" lun list --json --run-dir "$other" | jq '.[0].write_bytes')"
front_to "$p2"
ok "it leads to the right one again, and is used when that is said" e2e_wait 60 eval "cl path reinstate d '$p_front'; is '$p_front' active"

# ---- reservations ------------------------------------------------------------------------------------------------

refused "a reservation that one path alone could use" 1 "not registered" cl reserve d reserve write-exclusive
ok "register" cl reserve d register 0xabc
same "over each path" 4 "$(cl reserve d show --json | jq '[.keys[] | select(. == "0xabc")] | length')"
refused "for several paths it must be one that they share" 1 "of several paths" cl reserve d reserve write-exclusive
ok "reserve" cl reserve d reserve write-exclusive-registrants-only
ok "one path more registers before it is used" cl path add d "$p2" --transport tcp
same "so there are five" 5 "$(cl reserve d show --json | jq '[.keys[] | select(. == "0xabc")] | length')"
ok "all write" fio --name=w --filename="$dev" --direct=1 --ioengine=io_uring --rw=randwrite --bs=4k --iodepth=32 --size=8M \
    --output=/dev/null
ok "release" cl reserve d release
same "nobody has it" null "$(cl reserve d show --json | jq .holder)"
ok "unregister" cl reserve d unregister
same "no key is left" 0 "$(cl reserve d show --json | jq '.keys | length')"

# ---- multipath.conf ----------------------------------------------------------------------------------------------

wwid=$(cl path list d --json | jq -r '.[0].wwid')
cat >"$E2E_DIR/multipath.conf" <<END
defaults {
    no_path_retry 4
    path_selector "round-robin 0"
    colour red
}
multipaths {
    multipath {
        wwid $wwid
        alias data
    }
}
END
ok "multipath.conf is read again" grep -q '1 remark' <(cl path reconfigure)
same "and holds for a disk that is there" "round-robin 20" "$(cl path policy d --json | jq -r '"\(.policy.policy) \(.policy.no_path)"')"
ok "a command goes before it" cl path policy d least-queue-depth
ok "detach" cl detach d
no_sessions() { [ "$(cl session list --json | jq length)" = 0 ]; }
ok "no session is left" e2e_wait 30 no_sessions
dev=$(cl attach $iqn --portal "$p1" --portal "$p2" --lun 0 2>/dev/null)
same "an alias is the name" data "$(cl list --json | jq -r '.[0].name')"
ok "detach" cl detach data
cat >"$E2E_DIR/multipath.conf" <<END
blacklist {
    wwid "^$wwid$"
}
END
ok "a blacklist" cl path reconfigure
cl attach $iqn --portal "$p1" --portal "$p2" --lun 0 --name d >/dev/null 2>&1 || fail "attach of a unit on the blacklist"
listed() { cl path list d --json | jq -e '.[0].paths[] | select(.why | test("blacklist"))'; }
ok "is one of one path" e2e_wait 30 listed
ok "which is told" are active 1
ok "detach" cl detach d
rm -f "$E2E_DIR/multipath.conf"
ok "without the file" grep -q 'not there' <(cl path reconfigure)

# ---- a daemon that was killed ------------------------------------------------------------------------------------

cl attach $iqn --portal "$p1" --portal "$front,transport=tcp" --lun 0 --name d --export none >/dev/null 2>&1 || fail "attach"
ok "two paths" e2e_wait 30 are active 2
same "both are on record" 2 "$(jq '.disks[0] | [.portal] + [.paths[].portal] | length' "$CORELANE_RUN_DIR/attachments.json")"
e2e_stop "$CORELANED" KILL
e2e_stop "$PROXY" KILL
start_corelaned || fail "start again"
ok "attach, though a portal that was used before is gone" cl attach $iqn --portal "$p2,transport=tcp" --lun 0 --name d --export none
ok "the unit was reset first, as something might have been left by that portal" grep -q 'the unit is reset' "$E2E_DIR/corelaned.log"
ok "detach" cl detach d

# What only a disk of the kernel's own would do: it waits for the next daemon, which has to end all that was left by the first
# before it is served. There may be no such disk here; how far it gets without is in the log.
cl attach $iqn --portal "$p1" --portal "$p2,transport=tcp" --lun 0 --name d --export none >/dev/null 2>&1 || fail "attach"
ok "two paths" e2e_wait 30 are active 2
e2e_stop "$CORELANED" KILL
books=$CORELANE_RUN_DIR/attachments.json
jq --arg dead "$dead" '.disks[0].export = "ublk" | .disks[0].paths[0].portal = $dead' "$books" >"$E2E_DIR/books" &&
    cat "$E2E_DIR/books" >"$books"
: >"$E2E_DIR/corelaned.log"
start_corelaned || fail "start again"
taken() { grep -q 'd: the unit is reset\|d: not every session of before could log in again' "$E2E_DIR/corelaned.log"; }
ok "a disk that is taken over waits for its other session, then has the unit reset" e2e_wait 60 taken
refused "meanwhile it is not detached" 1 "force" cl detach d
ok "but by force" cl detach d --force
none_left() { [ "$(cl list --json | jq length)" = 0 ]; }
ok "and is gone" e2e_wait 30 none_left

# ---- how many sessions files say ----------------------------------------------------------------------------------------

echo 'node.session.nr_sessions = 2' >>"$E2E_DIR/etc/iscsid.conf"
cl attach $iqn --portal "$p1" --portal "$p2,sessions=1" --lun 0 --name d --export none >/dev/null 2>&1 || fail "attach"
ok "node.session.nr_sessions, where the portal does not say it" e2e_wait 30 are active 3
ok "detach" cl detach d
sed -i /nr_sessions/d "$E2E_DIR/etc/iscsid.conf"

# ---- a session that is over for good -------------------------------------------------------------------------------

e2e_stop "$CORELANED"
echo 'node.session.reopen_max = 1' >>"$E2E_DIR/etc/iscsid.conf"
front_to "$p2"
start_corelaned || fail "start again"
cl attach $iqn --portal "$p1" --portal "$front,transport=tcp" --lun 0 --name d --export none >/dev/null 2>&1 || fail "attach"
ok "two paths" e2e_wait 30 are active 2
p_front=$(path_of "$front")
e2e_stop "$PROXY" KILL
given_up() { case $(state_of "$p_front") in waiting | connecting) ;; *) false ;; esac; }
ok "a path whose session gives up leaves the disk" e2e_wait 60 given_up
front_to "$p2"
ok "and joins again with another" e2e_wait 60 is "$p_front" active
refused "logout of a portal that a disk uses" 1 "other paths" cl logout $iqn --portal "$front"
ok "forced, it takes the path away" cl logout $iqn --portal "$front" --force
same "and the disk has the other" "$p1" "$(cl path list d --json | jq -r '[.[0].paths[].portal] | join(" ")')"
ok "of the last portal it takes the disk" cl logout $iqn --portal "$p1" --force
same "nothing is left" "0 0" "$(cl list --json | jq length) $(cl session list --json | jq length)"
e2e_end
