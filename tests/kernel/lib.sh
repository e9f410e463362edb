# shellcheck shell=bash
# shellcheck disable=SC2034 # set here, used by the tests
# What the kernel tests share; sourced inside a guest. BUILD: the directory of the programs.
HERE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
BUILD=$(readlink -f "${BUILD:-$HERE/../../build}")
PATH=$BUILD:$PATH
W=/run/w
mkdir -p $W/m
export CORELANE_RUN_DIR=$W/run
t0=$(date +%s%N)
say() { local n; n=$(date +%s%N); printf '[%6d ms] %s\n' $(((n - t0) / 1000000)) "$*"; }
fail() {
    say "FAIL: $*"
    for f in "$W"/*.log; do [ -s "$f" ] && { echo "-- the end of ${f##*/}:"; tail -n 20 "$f"; }; done
    echo "-- the kernel's last words:"
    dmesg | sed '1,/lab: command starts/d' | tail -n 20
    exit 1
}
ok() { "$@" || fail "$*"; }
refused() { ! "$@" || fail "not refused: $*"; }
# wait_for SECS command...: until the command succeeds
wait_for() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || fail "no '$*' in time"
        sleep 0.1
    done
}
has_size() { [ "$(blockdev --getsize64 "$1")" = "$2" ]; } # DEV BYTES
tcp_up() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
is() { [ "$1" = "$2" ] || fail "'$1' where '$2' was expected${3:+: $3}"; }

# ext4_round DEV [KIB]: mkfs, write, unmount, fsck, read back
ext4_round() {
    local sum kib=${2:-8192}
    ok mkfs.ext4 -q "$1"
    ok mount "$1" $W/m
    ok dd if=/dev/urandom of=$W/m/data bs=64k count=$((kib / 64)) conv=fsync status=none
    sum=$(sha256sum <$W/m/data)
    ok fstrim $W/m
    ok umount $W/m
    ok blockdev --flushbufs "$1"
    ok fsck.ext4 -f -n "$1" >$W/fsck.log 2>&1
    ok mount "$1" $W/m
    [ "$(sha256sum <$W/m/data)" = "$sum" ] || fail "data differ"
    ok umount $W/m
}
# fio_verify DEV [MIB]: random writes with a checksum and a place in each block, read back
fio_verify() {
    ok fio --name=verify --filename="$1" --rw=randwrite --bsrange=4k-64k --size="${2:-16}m" --direct=1 --ioengine=libaio \
        --iodepth=16 --verify=crc32c --verify_fatal=1 --do_verify=1 --thread --output=$W/fio.log >/dev/null
}
# A program that answers a line for a line: probe NAME KIND MIB [BLOCK]; ask NAME words...; probe_end NAME
declare -A probe_in probe_out probe_pid
PROBE=$BUILD/unit/export/exp_probe
probe() { # NAME KIND MIB [BLOCK]: sets dev
    local line in out
    mkfifo "$W/$1.in" "$W/$1.out" 2>/dev/null
    "$PROBE" "$2" "$W/run" "$3" "${4:-512}" <"$W/$1.in" >"$W/$1.out" 2>"$W/$1.log" &
    probe_pid[$1]=$!
    exec {in}>"$W/$1.in" {out}<"$W/$1.out"
    probe_in[$1]=$in probe_out[$1]=$out
    read -r -t 30 line <&"${probe_out[$1]}" || fail "no answer of the probe $1"
    say "$line"
    [[ $line == ready* ]] || fail "$line"
    read -r _ dev _ <<<"$line"
}
ask() { # NAME words...: prints the answer
    local n=$1 line
    shift
    echo "$*" >&"${probe_in[$n]}"
    read -r -t 30 line <&"${probe_out[$n]}" || fail "no answer to $*"
    echo "$line"
}

# ---- our programs
targetd() { # PORTAL...: in the foreground, its log in W
    local p args=()
    for p; do args+=(--portal "$p"); done
    corelane-targetd -f "${args[@]}" >$W/targetd.log 2>&1 &
    targetd_pid=$!
    wait_for 20 corelane target list
}
initiatord() {
    mkdir -p $W/iscsi
    echo InitiatorName=iqn.2026-11.org.example:kernel-test >$W/iscsi/initiatorname.iscsi
    corelaned -f --config-dir $W/iscsi >>$W/corelaned.log 2>&1 &
    initiatord_pid=$!
    wait_for 20 corelane list
}
attach() { # ARGS...: sets dev
    dev=$(corelane attach "$@" 2>$W/attach.log) || fail "attach $*: $(cat $W/attach.log)"
    say "attached: $dev ($(sed 's/^corelane: //' $W/attach.log))"
}
disk_name() { corelane list --json | sed -n 's/.*"name": *"\([^"]*\)".*/\1/p' | head -n 1; }

# ---- the kernel's initiator
# disk_of IQN: the disk that it made for a target
disk_of() {
    local s d
    for s in /sys/class/iscsi_session/session*; do
        [ "$(cat "$s/targetname" 2>/dev/null)" = "$1" ] || continue
        for d in "$s"/device/target*/*/block/*; do [ -e "$d" ] && echo "${d##*/}"; done
    done | head -n 1
}
have_disk() { [ -n "$(disk_of "$1")" ] && [ -b "/dev/$(disk_of "$1")" ]; }
no_disk() { ! have_disk "$1"; }
node() { # IQN ARGS...
    local iqn=$1
    shift
    iscsiadm -m node -T "$iqn" -p 127.0.0.1:3260 "$@" >$W/iscsiadm.log 2>&1
}
node_set() { ok node "$1" -o update -n "$2" -v "$3"; }
kernel_login() { # IQN: sets dev
    ok node "$1" --login
    wait_for 20 have_disk "$1"
    dev=/dev/$(disk_of "$1")
}
kernel_logout() {
    ok node "$1" --logout
    wait_for 10 no_disk "$1"
}

# ---- the kernel's target
lio() { # IQN FILE BYTES PORTAL: demo mode (any initiator, writable)
    local c=/sys/kernel/config/target t
    ok modprobe -a target_core_mod target_core_file iscsi_target_mod
    ok mkdir -p $c/core/fileio_0/d $c/iscsi
    echo "fd_dev_name=$2,fd_dev_size=$3" >$c/core/fileio_0/d/control
    echo corelane-test >$c/core/fileio_0/d/wwn/vpd_unit_serial
    ok eval "echo 1 >$c/core/fileio_0/d/enable"
    echo 1 >$c/core/fileio_0/d/attrib/emulate_tpu   # before "enable" it brings LIO down
    t=$c/iscsi/$1/tpgt_1
    ok mkdir -p "$t/lun/lun_0"
    ok ln -s $c/core/fileio_0/d "$t/lun/lun_0/d"
    ok mkdir "$t/np/$4"
    echo 0 >"$t/attrib/authentication"
    echo 1 >"$t/attrib/generate_node_acls"
    echo 0 >"$t/attrib/demo_mode_write_protect"
    ok eval "echo 1 >$t/enable"
}
