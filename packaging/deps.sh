#!/bin/sh
# Installs the Debian packages that a step needs and that are not there yet: deps.sh build|test|lint...
# `build` is what it takes to compile and to run the demonstration, `test` what the tests run against, `lint` the
# checkers. Needs root, or sudo, only when something is missing.
set -eu

build='gcc make pkg-config libc6-dev liburing-dev libnl-3-dev libnl-genl-3-dev libhwloc-dev libisal-dev libssl-dev
 libjansson-dev libfuse3-dev libsystemd-dev fuse3 e2fsprogs util-linux mount jq'
test='libcmocka-dev libiscsi-bin tgt open-iscsi fio qemu-utils qemu-block-extra procps iproute2 python3-minimal
 mandoc xxd kmod udev xz-utils patch'
lint='clang clang-format clang-tidy cppcheck libclang-rt-14-dev shellcheck universal-ctags'
fuzz='clang libclang-rt-14-dev llvm'
bench='libiscsi-bin tgt fio qemu-utils qemu-block-extra valgrind jq'

missing=
for set in "${@:-build}"; do
    case $set in
    build) list=$build ;; test) list=$test ;; lint) list=$lint ;; bench) list=$bench ;;
    fuzz) list=$fuzz ;;
    *) echo "deps.sh: no set of packages '$set'; there are build, test, lint, fuzz and bench" >&2; exit 2 ;;
    esac
    for p in $list; do
        [ "$(dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null)" = installed ] || missing="$missing $p"
    done
done
[ -n "$missing" ] || exit 0

sudo=
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || { echo "deps.sh: needs root to install:$missing" >&2; exit 1; }
    sudo=sudo
fi
echo "installing:$missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
# a daemon that a test package brings (tgt, iscsid) is not to start on this machine by itself
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
for try in 1 2 3; do
    # shellcheck disable=SC2086
    if { $sudo apt-get -q update && $sudo env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1 \
        apt-get install -q -y --no-install-recommends $missing; } >"$log" 2>&1; then
        exit 0
    fi
    sleep $((try * 3))
done
cat "$log" >&2
echo "deps.sh: apt-get could not install:$missing" >&2
exit 1
