#!/bin/bash
# uml-run.sh [options] [--] command [args...]
# Runs a command as root under a User-Mode-Linux kernel: uniprocessor, native
# speed.  The guest sees the host's root filesystem; what it writes goes to
# memory and is lost, except under the current directory (and -w DIR).
#   -m MEM    guest memory (default 512M)
#   -w DIR    also let the guest write the host's DIR (repeatable)
#   -r        keep even the current directory unwritten
#   -t SECS   give up after SECS (status 124)
#   -u        start systemd-udevd in the guest first
#   -k FILE   write the kernel's log to FILE
#   -n        network: a TAP to the current network namespace, which must not
#             be the machine's own (run under `unshare -n`); host side
#             10.77.0.1, guest 10.77.0.2
#   -c CPU    the CPU to keep to (default: the idlest; UML is 2-3 times slower
#             when its processes are spread over CPUs)
#   -d DEV    raw UML kernel argument, e.g. virtio_uml.device=SOCK:2 (repeatable)
#   -i        give the command our standard input (all of it is read first)
# Needs a Debian package mirror the first time; the cache is $KERNEL_LAB_CACHE,
# default ~/.cache/kernel-lab.  Exit status: the command's; 125 when the lab itself failed, 124 at the time limit.
set -u
# shellcheck source=lab-lib.sh source-path=SCRIPTDIR
. "$(dirname "$(readlink -f "$0")")/lab-lib.sh"
mem=512M cpu='' limit='' klog='' net='' udev='' stdin='' ro='' dirs=() kargs=()
while getopts m:w:rt:uk:nc:d:ih o; do
    case $o in
    m) mem=$OPTARG ;; w) dirs+=("$(readlink -f "$OPTARG")") ;; r) ro=1 ;; t) limit=$OPTARG ;;
    u) udev=1 ;; k) klog=$(readlink -m "$OPTARG") ;; n) net=1 ;; c) cpu=$OPTARG ;; d) kargs+=("$OPTARG") ;; i) stdin=1 ;;
    *) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; exit 125 ;;
    esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || lab_die "no command (try -h)"
lab_once uml lab_fill_uml
lab_once busybox lab_fill_busybox
layer=$(lab_layer_name)
lab_once "$layer" lab_fill_layer
[ -n "$ro" ] || [ "$(pwd -P)" = / ] || dirs+=("$(pwd -P)")

run=$(mktemp -d "${TMPDIR:-/tmp}/uml-run.XXXXXX") || exit 125
pid='' tap=''
# shellcheck disable=SC2317
cleanup() {
    [ -z "$pid" ] || kill -TERM "$pid" 2>/dev/null
    [ -z "$tap" ] || ip link del "$tap" 2>/dev/null
    rm -rf "$run"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

mods=$(echo "$LAB_CACHE"/uml/usr/lib/uml/modules/*)
if [ -n "$net" ]; then
    tap=umltap$$
    lab_tap "$tap"
    kargs+=("vec0:transport=tap,ifname=$tap,depth=128,gro=1")
fi
in=''
[ -z "$stdin" ] || { in=$run/stdin; cat >"$in"; }
lab_write_run "$run" uml "$mods" "$layer" "$@"
{
    echo "LAB_OVERLAY_KO=$mods/kernel/fs/overlayfs/overlay.ko"
    echo "LAB_OUT=/dev/ttyS0 LAB_ERR=/dev/ttyS1 LAB_IN=$in"
    echo "LAB_UDEV=$udev LAB_NIC=vec0 LAB_IP=${net:+10.77.0.2/24}"
} >>"$run/conf"
printf '%s\n' "${dirs[@]}" >"$run/writable"

# the allowed CPU that idled most during a tenth of a second
idlest() {
    local allowed
    allowed=$(taskset -cp $$ | sed 's/.*: //')
    { grep '^cpu[0-9]' /proc/stat; sleep 0.1; grep '^cpu[0-9]' /proc/stat; } |
        awk -v a="$allowed" 'BEGIN {n = split(a, r, ","); for (i = 1; i <= n; i++) {
                m = split(r[i], e, "-"); for (c = e[1]; c <= e[m]; c++) ok[c] = 1}}
            {c = substr($1, 4)} !(c in ok) {next}
            c in was {d = $5 - was[c]; if (best == "" || d > most) {best = c; most = d}}
            {was[c] = $5} END {print best}'
}
[ -n "$cpu" ] || cpu=$(idlest)

# UML keeps its memory in a file: in /dev/shm unless that is too small (containers)
shm=$(df --output=avail -B1M /dev/shm 2>/dev/null | tail -n 1)
if [ "${shm:-0}" -gt $(($(numfmt --from=iec "$mem") >> 20)) ]; then unset TMP TEMP TMPDIR; else export TMPDIR=${TMPDIR:-/tmp}; fi

# fifos between UML and our own output: UML would set a terminal to raw mode
sinks=()
lab_sinks "$run"
# die with us, even if we are killed
die=(setpriv --pdeathsig TERM)
"${die[@]}" ${limit:+timeout -k 5 "$limit" "${die[@]}"} taskset -c "$cpu" "$LAB_CACHE/uml/usr/bin/linux.uml" \
    mem="$mem" rootfstype=hostfs rootflags=/ ro init="$LAB_HERE/guest-init.sh" "LAB_RUN=$run" \
    con=null ssl=null con0=null,fd:3 ssl0=null,fd:4 ssl1=null,fd:5 \
    noreboot panic=1 umid="${run##*/}" uml_dir="$run/" "${kargs[@]}" \
    3>"$run/log" 4>"$run/out" 5>"$run/err" </dev/null >"$run/stdout" 2>&1 &
pid=$!
wait "$pid"
rc=$?
pid=''
lab_finish "$run" "$limit" "$rc"
