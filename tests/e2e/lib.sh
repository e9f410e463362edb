# What the end-to-end tests share. Source it first:  . "$(dirname "$0")/lib.sh"
# It makes a run directory, finds the programs in $BUILD, and at the end takes away whatever the test started:
# disks, mounts, loop devices, daemons (by pid only). A test prints its lines with ok, not_ok, skip and is.
#
#   start_targetd [OPTION]...    a target on a port the kernel chose; sets PORTAL and TARGETD_PID
#   start_corelaned [OPTION]...  sets CORELANED_PID
#   make_lun IQN OPTION...       target (if need be) and LUN in one
#   wait_for SECONDS COMMAND...  until the command succeeds
#   stop_pid PID [SIGNAL]        and waits until it is gone
# shellcheck shell=bash disable=SC2034

set -u
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 1
BUILD=$(realpath "${BUILD:-build}")
RUN=$(mktemp -d "${TMPDIR:-/tmp}/corelane-e2e-XXXXXX")
export CORELANE_RUN_DIR=$RUN
unset CORELANE_SECRET CORELANE_SECRET_IN
IQN=iqn.2026-11.org.example:disk
PORTAL='' TARGETD_PID='' CORELANED_PID=''
PIDS=() MOUNTS=()
FAILED=0

corelane() { "$BUILD/corelane" "$@"; }

# ---- lines --------------------------------------------------------------------------------------------------

ok() { echo "ok - $*"; }
not_ok() { # NAME [WHAT HAPPENED]
    echo "not ok - $1"
    shift
    [ $# = 0 ] || printf '%s\n' "$@" | sed 's/^/#   /'
    FAILED=$((FAILED + 1))
}
skip() { echo "skip - $1: $2"; } # NAME REASON
# is NAME COMMAND...: ok when the command succeeds. It runs in this very shell, so it may be start_targetd
is() {
    local name=$1 rc
    shift
    "$@" >"$RUN/is.out" 2>&1
    rc=$?
    if [ $rc = 0 ]; then ok "$name"; else not_ok "$name" "$* ended with $rc" "$(cat "$RUN/is.out")"; fi
}
# equals NAME GOT WANTED
equals() {
    if [ "$2" = "$3" ]; then ok "$1"; else not_ok "$1" "got:    $2" "wanted: $3"; fi
}
# refused NAME STATUS FRAGMENT COMMAND...: ends with that status, and says the fragment on stderr
refused() {
    local name=$1 want=$2 words=$3 rc err
    shift 3
    err=$("$@" 2>&1 >/dev/null </dev/null)
    rc=$?
    if [ $rc = "$want" ] && [[ $err == *"$words"* ]]; then
        ok "$name"
    else
        not_ok "$name" "$*" "ended with $rc instead of $want, and said:" "$err" "instead of: $words"
    fi
}

# ---- daemons ------------------------------------------------------------------------------------------------

wait_for() { # SECONDS COMMAND...
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.05
    done
}
gone() { ! kill -0 "$1" 2>/dev/null; }
stop_pid() { # PID [SIGNAL]
    kill -"${2:-TERM}" "$1" 2>/dev/null
    wait_for 10 gone "$1"
    wait "$1" 2>/dev/null
}
# Daemons run in the foreground here, so that their pid is known; their logs are in the run directory.
start_targetd() { # OPTION...
    local at=(--portal "${PORTAL:-127.0.0.1:0}")
    [[ " $* " != *" --portal "* ]] || at=()
    "$BUILD/corelane-targetd" -f --run-dir "$RUN" "${at[@]}" "$@" >/dev/null 2>>"$RUN/targetd.log" &
    TARGETD_PID=$!
    PIDS+=("$TARGETD_PID")
    if ! wait_for 10 corelane portal list --json; then
        echo "# corelane-targetd does not come up:"
        sed 's/^/#   /' "$RUN/targetd.log"
        return 1
    fi
    # the port that was found stays the same for a target that is started again
    PORTAL=$(corelane portal list --json | sed -n 's/.*"addr": "\(.*\)".*/\1/p' | head -n 1)
}
start_corelaned() { # OPTION...
    local dir=(--config-dir "$RUN/iscsi")
    [[ " $* " != *" --config-dir "* ]] || dir=()
    "$BUILD/corelaned" -f --run-dir "$RUN" "${dir[@]}" "$@" >/dev/null 2>>"$RUN/corelaned.log" &
    CORELANED_PID=$!
    PIDS+=("$CORELANED_PID")
    if ! wait_for 10 corelane list --json; then
        echo "# corelaned does not come up:"
        sed 's/^/#   /' "$RUN/corelaned.log"
        return 1
    fi
}
make_lun() { # IQN OPTION...
    local iqn=$1
    shift
    corelane target list --json | grep -q "\"$iqn\"" || corelane target create "$iqn" || return 1
    corelane lun create "$iqn" "$@" >/dev/null
}
mount_disk() { # DEVICE DIRECTORY
    mkdir -p "$2" && mount "$1" "$2" && MOUNTS+=("$2")
}
unmount_disk() { # DIRECTORY
    umount "$1"
}

# ---- what the machine can do ----------------------------------------------------------------------------------

# has KIND: whether a disk of that kind can be exported here; else why not is in $WHY_NOT
has() {
    case $1 in
    fuse) WHY_NOT="no /dev/fuse"; [ -c /dev/fuse ] && [ -w /dev/fuse ] ;;
    loop) WHY_NOT="needs root, /dev/fuse and loop devices"; [ "$(id -u)" = 0 ] && [ -c /dev/loop-control ] && has fuse ;;
    nbd) WHY_NOT="the kernel has no nbd driver"; [ "$(id -u)" = 0 ] && { [ -e /sys/module/nbd ] || modprobe -q nbd 2>/dev/null; } ;;
    ublk) WHY_NOT="the kernel has no ublk driver"; [ "$(id -u)" = 0 ] && { [ -e /dev/ublk-control ] || modprobe -q ublk_drv 2>/dev/null; } ;;
    *) WHY_NOT="$1 is not installed"; command -v "$1" >/dev/null ;;
    esac
}

# ---- the end --------------------------------------------------------------------------------------------------

show_logs() {
    local f
    for f in "$RUN"/*.log; do
        [ -s "$f" ] || continue
        echo "# ${f##*/}:"
        tail -n 30 "$f" | sed 's/^/#   /'
    done
}
cleanup() {
    local rc=$? i m
    trap - EXIT INT TERM
    [ $FAILED = 0 ] || show_logs
    for ((i = ${#MOUNTS[@]} - 1; i >= 0; i--)); do
        umount "${MOUNTS[i]}" 2>/dev/null || umount -l "${MOUNTS[i]}" 2>/dev/null
    done
    for ((i = ${#PIDS[@]} - 1; i >= 0; i--)); do
        kill "${PIDS[i]}" 2>/dev/null && { wait_for 4 gone "${PIDS[i]}" || kill -9 "${PIDS[i]}" 2>/dev/null; }
    done
    if grep -qE 'ERROR: (Address|Leak)Sanitizer|runtime error:|Assertion .* failed' "$RUN"/*.log 2>/dev/null; then
        not_ok "the daemons' logs have no findings of sanitizers and no failed assertion" \
            "$(grep -hE -A 20 'ERROR: (Address|Leak)Sanitizer|runtime error:|Assertion .* failed' "$RUN"/*.log | head -n 60)"
    fi
    # what a daemon that was killed left: loop devices over files below the run directory, then those mounts
    losetup -n -O NAME,BACK-FILE 2>/dev/null | while read -r dev back; do
        [[ $back == "$RUN"/* ]] && losetup -d "$dev"
    done
    while read -r _ m _; do
        [[ $m == "$RUN"/* ]] && { umount "$m" 2>/dev/null || umount -l "$m"; }
    done </proc/self/mounts
    rm -rf "$RUN"
    [ $FAILED = 0 ] || rc=1
    exit $rc
}
trap cleanup EXIT
trap 'exit 130' INT TERM
