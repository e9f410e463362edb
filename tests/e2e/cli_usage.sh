#!/bin/bash
# Command lines that are wrong, and what is said about them; help and manual pages that agree.
set -u
# shellcheck source=tests/e2e/harness.sh
. "$(dirname "$0")/harness.sh"
e2e_begin
RUN=$CORELANE_RUN_DIR

d=$BUILD/corelaned t=$BUILD/corelane-targetd
man=$(dirname "$0")/../../man
I=iqn.2026-11.org.example:disk

# status | words | command; nothing of it gets as far as a daemon
while IFS='|' read -r want words args; do
    [ -n "$want" ] || continue
    # shellcheck disable=SC2086
    refused "corelane $args: $words" "$want" "$words" cl $args
done <<TABLE
2|usage: corelane COMMAND|
2|unknown command 'targt': did you mean 'target'?|targt
2|unknown command 'frobnicate'|frobnicate
2|target what? One of: create delete list|target
2|unknown command 'target creat': did you mean 'target create'?|target creat $I
2|lun what? One of: create resize delete list|lun frobnicate
2|IQN is missing|target create
2|'b' is one argument too many|target create a b
2|unknown option '--forse': did you mean '--force'?|target delete $I --forse
2|unknown option '-x'|target list -x
2|See 'corelane target list --help'|target list --nonsense
2|--force takes no value|target delete $I --force=yes
2|--run-dir needs a value: DIR|target list --run-dir
2|--run-dir: empty|target list --run-dir=
2|what is behind the LUN? Give --file, --block, --ram or --null|lun create $I
2|--file and --ram: a LUN is one of them|lun create $I --file /x --ram 1M
2|not a size from 4k to|lun create $I --ram 0
2|not a size from 4k to|lun create $I --ram 10X
2|not a size from 4k to|lun create $I --ram 99999999T
2|--size is for --file only|lun create $I --ram 1M --size 1M
2|give the whole path|lun create $I --file disk.img --size 1M
2|--lun 16384: not a number from 0 to 16383|lun create $I --ram 1M --lun 16384
2|--block-size 1024: not one of 512|lun create $I --ram 1M --block-size 1024
2|SIZE is missing|lun resize $I 0
2|'x' is not a number|lun resize $I x 1G
2|'1.5G' is not a size|lun resize $I 0 1.5G
2|INITIATOR is missing|acl add $I
2|for what? Give IQN or --discovery|chap set --user u
2|IQN and --discovery: give one of them|chap set $I --discovery --user u
2|--user is missing|chap set $I
2|the secret is missing: give --secret-file, or set CORELANE_SECRET|chap set $I --user u
2|unknown option '--secret': did you mean '--secret-file'?|chap set $I --user u --secret abcdefghijkl
1|no-such-file: No such file|chap set $I --user u --secret-file /no-such-file
2|ADDR[:PORT] is missing|discover
2|portal '127.0.0.1:99999'|discover 127.0.0.1:99999
2|--portal is missing|login $I
2|--sessions 0: not a number from 1 to 1024|login $I --portal 127.0.0.1 --sessions 0
2|--user needs a secret|login $I --portal 127.0.0.1 --user u
2|--secret-file needs --user|login $I --portal 127.0.0.1 --secret-file /x
2|URL is missing|attach
2|--portal is missing|attach $I
2|--lun is missing|attach $I --portal 127.0.0.1
2|--export iser: not one of auto|attach $I --portal 127.0.0.1 --lun 0 --export iser
2|the URL says portal and LUN|attach iscsi://127.0.0.1/$I/0 --lun 1
2|'iscsi://127.0.0.1'|attach iscsi://127.0.0.1
2|NAME is missing|detach
2|--target is missing|session logout 1
2|URL is missing|bench
2|'disk': |bench disk
2|--rw randomread: not one of randread|bench iscsi://127.0.0.1/$I/0 --rw randomread
2|--rwmixread is for --rw randrw|bench iscsi://127.0.0.1/$I/0 --rwmixread 50
2|--bs 1000: not a multiple of 512|bench iscsi://127.0.0.1/$I/0 --bs 1000
2|--transport rdma: not one of auto|bench iscsi://127.0.0.1/$I/0 --transport rdma
2|--transport rdma: not one of auto|attach iscsi://127.0.0.1/$I/0 --transport rdma
2|--transport rdma: not one of auto|login $I --portal 127.0.0.1 --transport rdma
2|--qd 0: not a number from 1|bench iscsi://127.0.0.1/$I/0 --qd 0
2|--rate 0: not a number from 1|bench iscsi://127.0.0.1/$I/0 --rate 0
2|core 99999 is not there|bench iscsi://127.0.0.1/$I/0 --cores 99999
1|start it with 'corelaned --run-dir $RUN'|list
1|start it with 'corelane-targetd --run-dir $RUN'|target list
1|start it with 'corelaned --run-dir $RUN'|status
1|longer than 87 bytes|list --run-dir /$(printf 'x%.0s' {1..100})
TABLE

while IFS='|' read -r want words args; do
    # shellcheck disable=SC2086
    refused "corelaned $args: $words" "$want" "$words" timeout 10 "$d" $args
done <<TABLE
2|unknown option '--run-dirr': did you mean '--run-dir'?|--run-dirr
2|core 99999 is not there|-f --cores 99999
2|looks like 0,2-5|-f --cores 2-
2|--mode fast: not one of poll|-f --mode fast
2|'now' is one argument too many|now
1|/proc/no cannot be made|-f --run-dir /proc/no
TABLE
while IFS='|' read -r want words args; do
    # shellcheck disable=SC2086
    refused "corelane-targetd $args: $words" "$want" "$words" timeout 10 "$t" $args
done <<TABLE
2|--portal nonsense: not an address|-f --portal nonsense
2|--portal 127.0.0.1:70000: not an address|-f --portal 127.0.0.1:70000
2|--config: empty|-f --config=
2|--cores needs a value: LIST|-f --cores
2|--loopback maybe: not one of yes|-f --loopback maybe
TABLE

mkdir "$RUN/open" && chmod 777 "$RUN/open"
refused "a run directory that others may write to" 1 "may be written to by others" timeout 10 "$d" -f --run-dir "$RUN/open"
touch "$RUN/file"
refused "a run directory that is a file" 1 "$RUN/file" timeout 10 "$d" -f --run-dir "$RUN/file"

ok "options may stand before the command" bash -c \
    "'$BUILD/corelane' --run-dir '$RUN/none' list 2>&1 | grep -q '$RUN/none/corelaned.sock'"
refused "a full disk is a failure" 1 "" bash -c "exec '$BUILD/corelane' --help >/dev/full"

same "several commands have a help in common" 0 "$(cl path --help >"$E2E_DIR/help"; echo $?)"
ok "which names them" grep -q "path fail-queued DISK" "$E2E_DIR/help"
not_ok "and no others" grep -q layout "$E2E_DIR/help"

# ---- help and manual pages --------------------------------------------------------------------------------------

for p in corelane corelaned corelane-targetd; do
    same "$p --version" "$p 0.1.0" "$("$BUILD/$p" --version)"
    ok "$p --help" "$BUILD/$p" --help
done
commands=$(cl --help | sed -n 's/^  \([a-z][a-z -]*[a-z]\)\( .*\)\{0,1\}$/\1/p' | sed 's/ [A-Z].*//' | awk '{
    if ($1 ~ /^(target|lun|acl|alua|chap|portal|session|layout|path)$/) print $1 " " $2; else if ($1 == "detach" && $2 == "list") print $1 " " $2;
    else print $1 }' | sort -u)
ok "all commands are in the help" test "$(wc -l <<<"$commands")" -ge 25

# options_of_help COMMAND...: the long options that --help shows; options_of_page FILE: those the page documents
options_of_help() { "$@" --help | sed -n 's/^  .\{4\}--\([a-z-]*\).*/\1/p' | sort -u; }
options_of_page() { sed -n 's/^\.It .*Fl -\([a-z-]*\).*/\1/p' "$1" | sort -u; }
all=$(while read -r c; do
    # shellcheck disable=SC2086
    options_of_help "$BUILD/corelane" $c
done <<<"$commands" | sort -u)
same "corelane.1 documents the options of --help" "$all" "$(options_of_page "$man/corelane.1")"
for p in corelaned corelane-targetd; do
    same "$p.8 documents the options of --help" "$(options_of_help "$BUILD/$p")" "$(options_of_page "$man/$p.8")"
done
missing=$(while read -r c; do
    grep -q "^\.It Ic $c\b" "$man/corelane.1" || echo "$c"
done <<<"$commands")
same "corelane.1 documents every command" "" "$missing"
if has mandoc; then
    for m in "$man"/*.[18]; do ok "${m##*/} is well-formed" mandoc -T lint -W warning "$m"; done
else
    skip "manual pages are well-formed" "$WHY_NOT"
fi
e2e_end
