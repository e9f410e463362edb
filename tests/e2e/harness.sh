# shellcheck shell=bash disable=SC2034 # some variables are for those who source it
# Helpers of the end-to-end tests, sourced by each. A test makes a temporary directory, starts daemons in it on
# ports that nobody uses, and leaves nothing behind: what was started is ended by pid, what was mounted or
# attached below the directory is taken away, also when the test fails or is interrupted. What sanitizers and
# assertions said in the daemons' logs is one more failure.
#
#   e2e_begin                      first: makes $E2E_DIR (also the daemons' run directory), sets the clean-up trap
#   start_targetd [options]        corelane-targetd -f in $E2E_DIR; pid in $TARGETD, first portal in $PORTAL
#   start_corelaned [options]      corelaned -f in $E2E_DIR, with an initiator name of its own; pid in $CORELANED
#   cl ...                         the corelane command against those daemons
#   start_proxy [options]          corelane-faultproxy before $PORTAL (or before $PROXY_TO); pid in $PROXY, its address in
#                                  $FRONT (sessions from now on are TCP), what it says in $E2E_DIR/proxy.log
#   proxy_tell LINE                has it do that now ("now reset", "calm"; see its --help), and waits until it has
#   proxy_did WORD                 prints how many faults of that kind it has done so far
#   ok NAME command...             one test: passes if the command does. not_ok NAME command...: if it fails
#   same NAME WANT GOT             one test: passes if they are equal
#   refused NAME STATUS TEXT command...   one test: it ends with that status and says TEXT on stderr
#   pass NAME, fail NAME [why], skip NAME why
#   has fuse|loop|PROGRAM          whether the machine can; else $WHY_NOT says why not
#   e2e_wait SECS command...       until it succeeds
#   e2e_port                       a free TCP port on 127.0.0.1
#   e2e_own PID [SIGNAL]           ended at the end;  e2e_remove PATH: removed at the end
#   e2e_stop PID [SIGNAL]          ended now, without a word from the shell;  gone PID: whether it is
#   e2e_end                        last: status 1 if anything failed

BUILD=$(readlink -m "${BUILD:-build}")
E2E_DIR='' TARGETD='' CORELANED='' PORTAL='' WHY_NOT='' E2E_FAILED=0
PROXY='' PROXY_TO='' FRONT=''
E2E_OWNED=() E2E_REMOVE=()

e2e_begin() {
    E2E_DIR=$(mktemp -d "${TMPDIR:-/tmp}/corelane-e2e.XXXXXX") || exit 1
    export CORELANE_RUN_DIR=$E2E_DIR/run
    unset CORELANE_SECRET CORELANE_SECRET_IN
    mkdir -m 700 "$CORELANE_RUN_DIR" "$E2E_DIR/etc"
    echo "InitiatorName=iqn.2026-11.test.corelane:e2e-$$" >"$E2E_DIR/etc/initiatorname.iscsi"
    trap e2e_clean EXIT
    trap 'exit 130' INT TERM HUP
}

e2e_mounts() { awk -v d="$E2E_DIR/" -v f="$1" 'index($2, d) == 1 && ($3 ~ /^fuse/) == f {print $2}' /proc/mounts | tac; }

e2e_clean() {
    local rc=$? i p sig m
    trap - EXIT
    set +e
    for m in $(e2e_mounts 0); do umount "$m" 2>/dev/null || umount -l "$m"; done
    if [ -n "$CORELANED" ] && kill -0 "$CORELANED" 2>/dev/null; then
        for i in $(timeout 5 "$BUILD/corelane" list --json 2>/dev/null | jq -r '.[].name' 2>/dev/null); do
            timeout 10 "$BUILD/corelane" detach "$i" --force >/dev/null 2>&1
        done
    fi
    for p in "$CORELANED" "$TARGETD"; do e2e_stop "$p" TERM; done
    for ((i = ${#E2E_OWNED[@]} - 1; i >= 0; i--)); do
        read -r p sig <<<"${E2E_OWNED[i]}"
        e2e_stop "$p" "$sig"
    done
    # what a killed daemon could not take away itself; first what it may be waiting for, or a loop device would wait with it
    for m in $(e2e_mounts 1); do timeout 10 umount -f "$m" 2>/dev/null; done
    for i in $(losetup -ln -O NAME,BACK-FILE 2>/dev/null | awk -v d="$E2E_DIR/" 'index($2, d) == 1 {print $1}'); do
        losetup -d "$i" 2>/dev/null
    done
    for m in $(e2e_mounts 1); do umount -l "$m"; done
    for p in "${E2E_REMOVE[@]}"; do rm -rf "$p"; done
    e2e_findings || rc=1
    if [ -n "${E2E_KEEP:-}" ]; then echo "# kept: $E2E_DIR"; else rm -rf --one-file-system "$E2E_DIR"; fi
    exit "$rc"
}

# Only now: a leak is found when a daemon ends
e2e_findings() {
    local what='ERROR: (Address|Leak)Sanitizer|runtime error:|Assertion .* failed'
    grep -qE "$what" "$E2E_DIR"/*.log "$CORELANE_RUN_DIR"/*.log 2>/dev/null || return 0
    fail "no findings of sanitizers and no failed assertion in the logs"
    grep -hE -A 20 "$what" "$E2E_DIR"/*.log "$CORELANE_RUN_DIR"/*.log 2>/dev/null | head -n 60 | sed 's/^/#   /'
    return 1
}

gone() { ! kill -0 "$1" 2>/dev/null; }
e2e_stop() { # PID SIGNAL: ends a process of ours; KILL after 5 s
    local n
    [ -n "$1" ] && ! gone "$1" || return 0
    disown "$1" 2>/dev/null # or bash would have something to say about its end
    kill "-${2:-TERM}" "$1" 2>/dev/null
    kill -CONT "$1" 2>/dev/null
    for n in {1..100}; do ! gone "$1" || break; sleep 0.05; done
    kill -KILL "$1" 2>/dev/null && echo "# process $1 had to be killed ($n)"
    for n in {1..100}; do ! gone "$1" || break; sleep 0.05; done
}
e2e_own() { E2E_OWNED+=("$1 ${2:-TERM}"); }
e2e_remove() { E2E_REMOVE+=("$1"); }

e2e_wait() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ $SECONDS -lt $end ] || { echo "# no '$*' in time"; return 1; }
        sleep 0.05
    done
}
# Not in the range the kernel gives to connections, and nobody answers there.
e2e_port() {
    local p
    while :; do
        p=$((RANDOM % 20000 + 10000))
        (exec 3<>"/dev/tcp/127.0.0.1/$p") 2>/dev/null || { echo $p; return; }
    done
}

cl() { "$BUILD/corelane" "$@"; }
target_up() { kill -0 "$TARGETD" && cl target list; }
initiator_up() { kill -0 "$CORELANED" && cl list; }

# Without --portal: 127.0.0.1 and a free port. Options are remembered, so that a restart has the same.
TARGETD_ARGS=()
start_targetd() {
    [ $# = 0 ] || TARGETD_ARGS=("$@")
    case " ${TARGETD_ARGS[*]} " in *" --portal "*) ;; *) TARGETD_ARGS+=(--portal "127.0.0.1:$(e2e_port)") ;; esac
    "$BUILD/corelane-targetd" -f --config "$E2E_DIR/target.json" "${TARGETD_ARGS[@]}" >>"$E2E_DIR/targetd.log" 2>&1 &
    TARGETD=$!
    e2e_wait 60 target_up || { echo "# corelane-targetd does not start:"; sed 's/^/# /' "$E2E_DIR/targetd.log"; return 1; }
    PORTAL=$(cl portal list --json | jq -r '.[0].addr')
}
start_corelaned() {
    "$BUILD/corelaned" -f --config-dir "$E2E_DIR/etc" "$@" >>"$E2E_DIR/corelaned.log" 2>&1 &
    CORELANED=$!
    e2e_wait 60 initiator_up || { echo "# corelaned does not start:"; sed 's/^/# /' "$E2E_DIR/corelaned.log"; return 1; }
}

start_proxy() {
    # sessions to a target of this host would go around it
    grep -qs corelane.transport "$E2E_DIR/etc/iscsid.conf" ||
        echo 'node.session.corelane.transport = tcp' >>"$E2E_DIR/etc/iscsid.conf"
    rm -f "$E2E_DIR"/proxy.{ctl,log} # what an earlier one said is not to be taken for this one's word
    "$BUILD/corelane-faultproxy" "${PROXY_TO:-$PORTAL}" --control "$E2E_DIR/proxy.ctl" "$@" >"$E2E_DIR/proxy.log" 2>&1 &
    PROXY=$!
    e2e_own $PROXY
    e2e_wait 30 grep -q 'listening at' "$E2E_DIR/proxy.log" ||
        { echo "# the proxy does not start:"; sed 's/^/# /' "$E2E_DIR/proxy.log"; return 1; }
    FRONT=$(sed -n 's/.*listening at //p' "$E2E_DIR/proxy.log")
}
proxy_told() { [ "$(grep -c '# done:' "$E2E_DIR/proxy.log")" -gt "$1" ]; }
proxy_tell() {
    local before
    before=$(grep -c '# done:' "$E2E_DIR/proxy.log")
    echo "$1" 1<>"$E2E_DIR/proxy.ctl" # opened for reading too: never waits for a proxy that is gone
    e2e_wait 30 proxy_told "$before"
}
proxy_did() { grep -cE "^\\[.*\\] [^#]*\\b$1\\b" "$E2E_DIR/proxy.log"; }

pass() { echo "ok - $1"; }
fail() { echo "not ok - $1${2:+: $2}"; E2E_FAILED=1; }
skip() { echo "skip - $1: $2"; }
# what the command says is shown when it surprises
e2e_quiet() { "$@" >"$E2E_DIR/said" 2>&1; }
e2e_said() { head -n 8 "$E2E_DIR/said" | sed 's/^/# /'; }
ok() { local n=$1; shift; if e2e_quiet "$@"; then pass "$n"; else fail "$n"; e2e_said; fi; }
not_ok() { local n=$1; shift; if e2e_quiet "$@"; then fail "$n"; e2e_said; else pass "$n"; fi; }
refused() {
    local n=$1 want=$2 words=$3 rc err
    shift 3
    err=$("$@" 2>&1 >/dev/null </dev/null)
    rc=$?
    if [ $rc = "$want" ] && [[ $err == *"$words"* ]]; then
        pass "$n"
    else
        fail "$n" "status $rc instead of $want, and it said '$err'"
    fi
}
same() { if [ "$2" = "$3" ]; then pass "$1"; else fail "$1" "wanted '$2', got '$3'"; fi; }

has() {
    case $1 in
    fuse) WHY_NOT="no /dev/fuse"; [ -c /dev/fuse ] && [ -w /dev/fuse ] ;;
    loop) WHY_NOT="needs root, /dev/fuse and loop devices"; [ "$(id -u)" = 0 ] && [ -c /dev/loop-control ] && has fuse ;;
    *) WHY_NOT="$1 is not installed"; command -v "$1" >/dev/null ;;
    esac
}

e2e_end() {
    local f
    if [ $E2E_FAILED != 0 ]; then
        for f in "$E2E_DIR"/*.log; do [ -e "$f" ] && { echo "# --- ${f##*/}"; tail -n 30 "$f" | sed 's/^/# /'; }; done
    fi
    exit $E2E_FAILED
}
