#!/bin/bash
# tcg-run.sh [options] [--] command [args...]
# Runs a command as root under Debian's backports kernel in qemu's emulator
# (TCG): SMP, everything Debian builds as a module, but slow.  The guest sees
# the host's root filesystem; what it writes goes to memory and is lost, except
# under the current directory (and -w DIR).
#   -m MEM    guest memory (default 1G)
#   -c CPUS   virtual CPUs (default 2)
#   -w DIR    also let the guest write the host's DIR (repeatable)
#   -r        keep even the current directory unwritten
#   -t SECS   give up after SECS (status 124)
#   -u        start systemd-udevd in the guest first
#   -k FILE   write the kernel's log to FILE
#   -n        network: a TAP to the current network namespace, which must not
#             be the machine's own (run under `unshare -n`); host side
#             10.77.0.1, guest 10.77.0.2
#   -d ARG    raw qemu argument (repeatable: -d -device -d virtio-...)
#   -S        guest memory in a memfd that vhost-user servers can map
#   -i        give the command our standard input (all of it is read first)
# Needs a Debian package mirror the first time; the cache is $KERNEL_LAB_CACHE,
# default ~/.cache/kernel-lab.  Exit status: the command's; 125 when the lab itself failed, 124 at the time limit.
set -u
# shellcheck source=lab-lib.sh source-path=SCRIPTDIR
. "$(dirname "$(readlink -f "$0")")/lab-lib.sh"
mem=1G cpus=2 limit='' klog='' net='' udev='' stdin='' ro='' dirs=() qargs=() shared=''
while getopts m:c:w:rt:uk:nd:Sih o; do
    case $o in
    m) mem=$OPTARG ;; c) cpus=$OPTARG ;; w) dirs+=("$(readlink -f "$OPTARG")") ;; r) ro=1 ;; t) limit=$OPTARG ;;
    u) udev=1 ;; k) klog=$(readlink -m "$OPTARG") ;; n) net=1 ;; d) qargs+=("$OPTARG") ;; S) shared=1 ;; i) stdin=1 ;;
    *) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; exit 125 ;;
    esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || lab_die "no command (try -h)"
qemu=()
lab_qemu
lab_once busybox lab_fill_busybox
layer=$(lab_layer_name)
lab_once "$layer" lab_fill_layer
lab_once tcg lab_fill_tcg
[ -n "$ro" ] || [ "$(pwd -P)" = / ] || dirs+=("$(pwd -P)")

run=$(mktemp -d "${TMPDIR:-/tmp}/tcg-run.XXXXXX") || exit 125
pid='' tap=''
# shellcheck disable=SC2317
cleanup() {
    [ -z "$pid" ] || kill -TERM "$pid" 2>/dev/null
    [ -z "$tap" ] || ip link del "$tap" 2>/dev/null
    rm -rf "$run"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

mods=$(echo "$LAB_CACHE"/tcg/lib/modules/*)
if [ -n "$net" ]; then
    tap=tcgtap$$
    lab_tap "$tap"
    qargs+=(-netdev "tap,id=n0,ifname=$tap,script=no,downscript=no" -device "virtio-net-pci,netdev=n0,romfile=")
fi
[ -z "$shared" ] || qargs+=(-object "memory-backend-memfd,id=mem,size=$mem,share=on" -numa "node,memdev=mem")
lab_write_run "$run" tcg "$mods" "$layer" "$@"
in=''
[ -z "$stdin" ] || { in=$run/stdin; cat >"$in"; }
{
    [ -z "$net" ] || echo "LAB_MODPROBE+=' virtio_net'"
    echo "LAB_OUT=/dev/vport0p1 LAB_ERR=/dev/vport0p2 LAB_IN=$in LAB_OVERLAY_KO="
    echo "LAB_UDEV=$udev LAB_NIC=eth0 LAB_IP=${net:+10.77.0.2/24}"
} >>"$run/conf"
printf '%s\n' "${dirs[@]}" >"$run/writable"
# the 9p shares: tag and directory
n=0
share() { # TAG DIR OPTS
    echo "$1 $2" >>"$run/shares"
    qargs+=(-fsdev "local,id=$1,path=${2//,/,,},security_model=none,multidevs=remap$3" -device "virtio-9p-pci,fsdev=$1,mount_tag=$1")
}
share root / ,readonly=on
share layer "$LAB_CACHE/$layer/root" ,readonly=on
share run "$run" ''
for d in "${dirs[@]}"; do
    n=$((n + 1))
    share "rw$n" "$d" ''
done

sinks=()
lab_sinks "$run"
# die with us, even if we are killed
die=(setpriv --pdeathsig TERM)
"${die[@]}" ${limit:+timeout -k 5 "$limit" "${die[@]}"} "${qemu[@]}" \
    -accel tcg,thread=multi,tb-size=256 -M q35 -cpu "${KERNEL_LAB_CPU:-max,la57=off}" -smp "$cpus" -m "$mem" \
    -nodefaults -no-user-config -display none -no-reboot -nic none \
    -kernel "$(echo "$LAB_CACHE"/tcg/boot/vmlinuz-*)" -initrd "$LAB_CACHE/tcg/initrd.gz" \
    -append "console=ttyS0 panic=-1 mitigations=off nopti audit=0 selinux=0 apparmor=0 net.ifnames=0 tsc=reliable LAB_INIT=$LAB_HERE/guest-init.sh LAB_RUN=$run ${KERNEL_LAB_APPEND:-}" \
    -chardev file,id=log,path=/dev/fd/3 -serial chardev:log \
    -chardev file,id=out,path=/dev/fd/4 -chardev file,id=err,path=/dev/fd/5 \
    -device virtio-serial-pci -device virtserialport,chardev=out,nr=1 -device virtserialport,chardev=err,nr=2 \
    -object rng-random,id=rng,filename=/dev/urandom -device virtio-rng-pci,rng=rng \
    "${qargs[@]}" \
    3>"$run/log" 4>"$run/out" 5>"$run/err" </dev/null >"$run/stdout" 2>&1 &
pid=$!
wait "$pid"
rc=$?
pid=''
lab_finish "$run" "$limit" "$rc"
