#!/bin/bash
# make demo: a target with a file-backed LUN, the initiator, an attached disk with a file system on it, which goes on when one of
# its two portals goes; everything in a temporary directory, nothing left behind.
set -u
cd "$(dirname "$0")/../.." || exit 1
# shellcheck source=tests/e2e/harness.sh
. tests/e2e/harness.sh
step() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
run() { printf '   $ %s\n' "$*" | sed "s|$BUILD/||g; s|\$ cl |$ corelane |"; "$@" 2>&1 | sed 's/^/   /'; return "${PIPESTATUS[0]}"; }
die() {
    echo "demo: $*" >&2
    tail -n 20 "$E2E_DIR"/*.log >&2
    exit 1
}
[ "$(id -u)" = 0 ] || die "attaching a disk to the host needs root: run it as root, or with sudo"

e2e_begin
iqn=iqn.2026-11.org.example:demo
last=$(($(nproc) - 1))
img=$E2E_DIR/disk.img mnt=$E2E_DIR/mnt
mkdir "$mnt"

step "A target on core $last, with a LUN of 1 GiB in a file"
second=127.0.0.1:$(e2e_port)
start_targetd --cores "$last" --portal "127.0.0.1:$(e2e_port)" --portal "$second" || die "the target does not start"
run cl target create $iqn || die "no target"
run cl lun create $iqn --file "$img" --size 1G || die "no LUN"

step "The initiator on core 0: discover, attach"
start_corelaned --cores 0 || die "the initiator does not start"
run cl discover "$PORTAL" || die "no discovery"
echo "   \$ corelane attach $iqn --portal $PORTAL --lun 0"
dev=$(cl attach $iqn --portal "$PORTAL" --lun 0 2>"$E2E_DIR/why") || { cat "$E2E_DIR/why" >&2; die "no disk"; }
sed 's/^/   /' "$E2E_DIR/why"
echo "   $dev"

if [ -b "$dev" ]; then
    step "An ext4 file system on $dev; a copy of /usr/share/doc on it"
    run mkfs.ext4 -q -F "$dev" || die "mkfs"
    run mount "$dev" "$mnt" || die "mount"
    src=/usr/share/doc
    cp -a $src "$mnt/" || die "copy"
    sums() { (cd "$1" && find . -type f -print0 | sort -z | xargs -0 sha256sum); }
    sums $src >"$E2E_DIR/want"
    echo "   $(wc -l <"$E2E_DIR/want") files, $(du -sh $src | cut -f1)"

    step "Unmount, mount again, compare checksums"
    run umount "$mnt" || die "umount"
    run fsck.ext4 -f -n "$dev" >"$E2E_DIR/fsck" || { cat "$E2E_DIR/fsck"; die "fsck"; }
    run mount "$dev" "$mnt" || die "mount"
    sums "$mnt/doc" >"$E2E_DIR/got"
    cmp "$E2E_DIR/want" "$E2E_DIR/got" || die "the copy differs"
    echo "   all checksums agree"

    step "A second path, by another portal and over TCP; then the first portal goes, while files are copied"
    run cl path add "$dev" "$second" --transport tcp || die "no second path"
    run cl path topology
    { cp -a $src "$mnt/again" && sync -f "$mnt"; } &
    copy=$!
    both() { [ "$(cl path list --json | jq '[.[0].paths[].in_flight] | min')" -gt 0 ]; }
    e2e_wait 10 both
    run cl portal remove "$PORTAL" --force || die "the portal stays"
    wait $copy || die "copy"
    run umount "$mnt" || die "umount"
    run mount "$dev" "$mnt" || die "mount"
    sums "$mnt/again" >"$E2E_DIR/got"
    cmp "$E2E_DIR/want" "$E2E_DIR/got" || die "the copy differs"
    echo "   all checksums agree"
    run cl path topology
    run cl path events
    run umount "$mnt" || die "umount"
else
    echo "   no loop device can be had here, so the disk is a file: $dev"
    cp "$dev" /dev/null || die "read"
fi

step "Which session sits on which core, and why"
run cl session list
run cl layout show
run cl layout explain "$(cl session list --json | jq -r '.[0].name')"

step "4 KiB random reads for 5 seconds, straight from the initiator library: a session of its own, depth 32"
run cl bench "iscsi://$second/$iqn/0" --rw randread --bs 4k --qd 32 --time 5 || die "bench"

step "Detach and stop"
run cl detach "$dev" || die "detach"
echo "   done: nothing is left behind"
