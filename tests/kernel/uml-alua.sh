#!/bin/bash
# dm-multipath follows the access states of our port groups: two kernel sessions, one to a portal of each group, and
# states that change under I/O, set from either side
# lab: -u
# shellcheck source=lib.sh source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
iqn=iqn.2026-11.org.example:disk
# tcg-alua.sh runs it where everything takes longer, and where the kernel asks for states by itself
slow=${ALUA_SLOW:-1}
ok modprobe -a iscsi_tcp sd_mod sg dm-multipath
[ "$slow" = 1 ] || ok modprobe scsi_dh_alua
iscsid
targetd 127.0.0.1:3260
ok corelane portal add 127.0.0.1:3261 --group 2
ok corelane target create $iqn
ok corelane lun create $iqn --file $W/disk --size 64M >/dev/null
ok corelane alua set $iqn --group 2 --state non-optimized
say "target ready"

# the paths, by the port that serves them
ok iscsiadm -m discovery -t st -p 127.0.0.1:3260 >$W/discovery.log
grep -q "^127.0.0.1:3261,2 $iqn$" $W/discovery.log || fail "not discovered: $(cat $W/discovery.log)"
ok iscsiadm -m node -T $iqn -o update -n node.session.timeo.replacement_timeout -v 5
ok iscsiadm -m node -T $iqn --login >$W/iscsiadm.log 2>&1
disks() {
    local d
    for d in /sys/class/iscsi_session/session*/device/target*/*/block/*; do [ -b "/dev/${d##*/}" ] && echo "/dev/${d##*/}"; done
}
two_disks() { [ "$(disks | wc -l)" = 2 ]; }
wait_for $((30 * slow)) two_disks
group_of() { sg_vpd -p di "$1" | sed -n 's/.*Target port group: 0x//p'; }
for d in $(disks); do
    case $(group_of "$d") in
    1) one=$d ;;
    2) two=$d ;;
    *) fail "$d is of no group: $(sg_vpd -p di "$d")" ;;
    esac
done
say "group 1: $one, group 2: $two"
[ -n "$one" ] && [ -n "$two" ] || fail "not a path by each group"
sg_vpd -p di "$two" | grep -q 'Relative target port: 0x2' || fail "$(sg_vpd -p di "$two")"
sg_inq "$one" | grep -q 'TPGS=3' || fail "$(sg_inq "$one")"

sg_rtpg -d "$one" >$W/rtpg.log 2>&1
ok sg_rtpg -e "$one" >/dev/null
grep -q 'non optimized' $W/rtpg.log || fail "$(cat $W/rtpg.log)"

if ! type multipathd >/dev/null 2>&1; then
    echo "no multipath-tools in this lab"
    exit 77
fi
cat >$W/multipath.conf <<'END'
defaults {
    user_friendly_names yes
    find_multipaths no
    path_grouping_policy group_by_prio
    prio alua
    path_checker tur
    polling_interval 1
    max_polling_interval 1
    failback immediate
    no_path_retry 10
    detect_prio no
    detect_checker no
}
END
mkdir -p /etc/multipath && cp $W/multipath.conf /etc/multipath.conf
multipathd -d -s >$W/multipathd.log 2>&1 &
mpd=$!
mapped() { multipath -ll 2>/dev/null | grep -q "${one##*/} "; }
wait_for $((30 * slow)) mapped
prio_of() { multipathd show paths raw format '%d %p' | awk -v d="${1##*/}" '$1 == d { print $2 }'; }
prios() { [ "$(prio_of "$one") $(prio_of "$two")" = "$1" ]; }
map=/dev/mapper/$(multipathd show maps raw format '%n' | head -n 1)
wait_for $((20 * slow)) prios "50 10"
multipath -ll
say "priorities 50 and 10"

# our command changes them under I/O
fio --name=verify --filename="$map" --rw=randwrite --bsrange=4k-32k --size=48m --direct=1 --ioengine=libaio --iodepth=8 --verify=crc32c \
    --verify_fatal=1 --do_verify=1 --thread --time_based --runtime=$((12 * slow)) --output=$W/fio.log >/dev/null &
fio=$!
ok corelane alua set $iqn --group 1 --state non-optimized
ok corelane alua set $iqn --group 2 --state optimized
wait_for $((20 * slow)) prios "10 50"
say "they follow the command"
ok corelane alua set $iqn --group 1 --state standby --transition-ms 300
wait_for $((20 * slow)) prios "1 50"
ok corelane alua set $iqn --group 2 --state optimized
ok corelane alua set $iqn --group 1 --state optimized
wait_for $((20 * slow)) prios "50 50"
# an initiator sets them, by the other path
sg_stpg --tp=1,2 --state=an,ao "$two" >$W/stpg.log 2>&1 || fail "not set: $(cat $W/stpg.log)"
wait_for $((20 * slow)) prios "10 50"
corelane alua list $iqn | grep -q 'non-optimized.*initiator' || fail "$(corelane alua list $iqn)"
say "and SET TARGET PORT GROUPS"
wait $fio || fail "fio: $(tail -n 5 $W/fio.log)"
say "verified"
sg_stpg --tp=9 --state=ao "$two" >$W/stpg.log 2>&1
grep -qi 'illegal request' $W/stpg.log || fail "a group that is not there: $(cat $W/stpg.log)"

multipathd shutdown >/dev/null 2>&1
wait $mpd
multipath -F
ok iscsiadm -m node -T $iqn --logout >$W/iscsiadm.log 2>&1
say PASS
