#!/bin/bash
# The fault proxy's own word: what it refuses, that a seed repeats a run, and that what it says of a run is a plan of it.
set -u
# shellcheck source=tests/e2e/harness.sh
. "$(dirname "$0")/harness.sh"
has jq || { skip proxy_itself "$WHY_NOT"; exit 0; }
e2e_begin
px=$BUILD/corelane-faultproxy
ok "--help names every fault" sh -c "for k in delay drop reset half-close split flip blackhole slow; do '$px' --help | grep -q \"^  \$k\" || exit 1; done"
refused "no target" 2 "TARGET is missing" "$px"
refused "a name for an address" 2 "not an address" "$px" localhost:3260
refused "faults, but not how often" 2 "go together" "$px" 127.0.0.1:1 --faults all
refused "how often, but no faults" 2 "go together" "$px" 127.0.0.1:1 --every 1M
refused "a fault that there is not" 2 "explode" "$px" 127.0.0.1:1 --faults explode --every 1M
printf 'byte 0 reset\n\nat 5 explode\n' >"$E2E_DIR/plan"
refused "a plan with a mistake" 1 "line 3" "$px" 127.0.0.1:1 --plan "$E2E_DIR/plan"
refused "no plan" 1 "No such file" "$px" 127.0.0.1:1 --plan "$E2E_DIR/none"

# Discovery sends the same number of bytes each time.
start_targetd && start_corelaned || { fail start; e2e_end; }
for i in 1 2 3 4; do cl target create iqn.2026-11.test.corelane:itself$i >/dev/null; done
run() { # NAME [options]: what the proxy did while somebody discovered through it
    local name=$1
    shift
    start_proxy "$@"
    ok "$name: discovery" cl discover "$FRONT"
    e2e_stop $PROXY
    sed -n 's/^\[.*\] \([^#]\)/\1/p' "$E2E_DIR/proxy.log" | sort >"$E2E_DIR/did"
}
run "a seed" --seed 7 --faults delay,split:3 --every 40
cp "$E2E_DIR/did" "$E2E_DIR/first"
n=$(wc -l <"$E2E_DIR/first")
ok "there were faults ($n)" test "$n" -ge 3
run "the same seed" --seed 7 --faults delay,split:3 --every 40
ok "it did the same" cmp "$E2E_DIR/first" "$E2E_DIR/did"
run "another seed" --seed 8 --faults delay,split:3 --every 40
not_ok "it did something else" cmp -s "$E2E_DIR/first" "$E2E_DIR/did"
run "what it said as a plan" --plan "$E2E_DIR/first"
ok "it did the same again" cmp "$E2E_DIR/first" "$E2E_DIR/did"
start_proxy
proxy_tell "now nonsense"
ok "nonsense while it runs is answered" grep -q "# 'now nonsense': a fault is wanted" "$E2E_DIR/proxy.log"
proxy_tell "at 5 reset"
ok "and what it cannot do then" grep -q "only 'now' can be told" "$E2E_DIR/proxy.log"
e2e_end
