#!/bin/bash
# The kernel's own initiator (open-iscsi) against our target: discovery, login with and without digests and CHAP, a file
# system, verified writes, and a LUN that grows while it is in use
# shellcheck source=lib.sh source-path=SCRIPTDIR
. "$(dirname "$0")/lib.sh"
iqn=iqn.2026-11.org.example:disk
ok modprobe -a iscsi_tcp sd_mod
iscsid
targetd 127.0.0.1:3260
ok corelane target create $iqn
ok corelane lun create $iqn --file $W/disk --size 64M >/dev/null
ok corelane lun create $iqn --ram 8M --readonly >/dev/null
say "target ready"
ok iscsiadm -m discovery -t st -p 127.0.0.1:3260 >$W/discovery.log
grep -q "^127.0.0.1:3260,1 $iqn$" $W/discovery.log || fail "not discovered: $(cat $W/discovery.log)"
for digest in None CRC32C; do
    node_set $iqn 'node.conn[0].iscsi.HeaderDigest' $digest
    node_set $iqn 'node.conn[0].iscsi.DataDigest' $digest
    kernel_login $iqn
    is "$(blockdev --getsize64 "$dev")" $((64 << 20))
    iscsiadm -m session -P 2 | grep -q "DataDigest: $digest" || fail "no data digest $digest"
    ext4_round "$dev" 4096
    fio_verify "$dev" 4
    kernel_logout $iqn
    say "digest $digest done"
done
# CHAP, wrong, one-way, mutual
echo 'initiator-secret-1' >$W/in
echo 'target-secret-22' >$W/out
ok corelane chap set $iqn --user alice --secret-file $W/in
refused node $iqn --login
node_set $iqn node.session.auth.authmethod CHAP
node_set $iqn node.session.auth.username alice
node_set $iqn node.session.auth.password wrong-secret-12
refused node $iqn --login
node_set $iqn node.session.auth.password initiator-secret-1
kernel_login $iqn
kernel_logout $iqn
ok corelane chap set $iqn --user target --secret-file $W/out --direction out
node_set $iqn node.session.auth.username_in target
node_set $iqn node.session.auth.password_in other-secret-22
refused node $iqn --login
node_set $iqn node.session.auth.password_in target-secret-22
kernel_login $iqn
say "CHAP done"
# grows under a mounted file system
ok mkfs.ext4 -q "$dev"
ok mount "$dev" $W/m
ok corelane lun resize $iqn 0 96M
ok iscsiadm -m node -T $iqn -R >/dev/null
wait_for 10 has_size "$dev" $((96 << 20))
ok resize2fs "$dev" >$W/resize.log 2>&1
[ "$(df --output=size -k $W/m | tail -n 1)" -gt $((80 << 10)) ] || fail "the file system did not grow"
ok umount $W/m
ok fsck.ext4 -f -n "$dev" >$W/fsck.log 2>&1
say "resize done"
kernel_logout $iqn
say PASS
