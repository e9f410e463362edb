#!/bin/bash
# Memory of both daemons with 1 and with 256 idle sessions, KiB resident and peak.
#   bench/memory.sh DIR                DIR: scratch
set -u
dir=$1
# shellcheck source=tests/e2e/harness.sh
. tests/e2e/harness.sh
export CORELANE_RUN_DIR=$dir/memrun
mkdir -p "$CORELANE_RUN_DIR/etc"
iqn=iqn.2026-11.test.corelane:memory
pids=()
trap 'kill "${pids[@]}" 2>/dev/null; wait' EXIT
"$BUILD/corelane-targetd" -f --config "$CORELANE_RUN_DIR/t.json" --portal "127.0.0.1:$(e2e_port)" --cores 1 >"$dir/mem.log" 2>&1 &
t=$!
pids+=("$t")
echo "InitiatorName=iqn.2026-11.test.corelane:mem" >"$CORELANE_RUN_DIR/etc/initiatorname.iscsi"
"$BUILD/corelaned" -f --config-dir "$CORELANE_RUN_DIR/etc" --cores 0 >>"$dir/mem.log" 2>&1 &
i=$!
pids+=("$i")
e2e_wait 15 "$BUILD/corelane" target list && e2e_wait 15 "$BUILD/corelane" list || exit 1
"$BUILD/corelane" target create $iqn >/dev/null && "$BUILD/corelane" lun create $iqn --ram 64M >/dev/null || exit 1
portal=$("$BUILD/corelane" portal list --json | jq -r '.[0].addr')
mem() { awk -v n="$2" '/^VmHWM/ {p = $2} /^VmRSS/ {r = $2} END {printf "  %-40s %9d %9d\n", n, r, p}' "/proc/$1/status"; }
rss() { awk '/^VmRSS/ {print $2}' "/proc/$1/status"; }
"$BUILD/corelane" login $iqn --portal "$portal" --sessions 1 >/dev/null || exit 1
sleep 1
mem $i "initiator, 1 session"
mem $t "target, 1 session"
i1=$(rss $i) t1=$(rss $t)
"$BUILD/corelane" login $iqn --portal "$portal" --sessions 256 >/dev/null || exit 1
sleep 2
n=$("$BUILD/corelane" session list --json | jq '[.[] | select(.state == "LOGGED_IN")] | length')
mem $i "initiator, $n sessions"
mem $t "target, $n sessions"
echo "  per further session: initiator $((($(rss $i) - i1) / (n > 1 ? n - 1 : 1))) KiB, target $((($(rss $t) - t1) / (n > 1 ? n - 1 : 1))) KiB"
