#!/bin/bash
# Peers that send garbage, half a login, one byte at a time, or nothing: bounded memory, bounded time, no other session
# disturbed.
set -u
# shellcheck source=tests/e2e/harness.sh
. "$(dirname "$0")/harness.sh"
command -v python3 >/dev/null || { skip hostile "no python3"; exit 0; }
e2e_begin
iqn=iqn.2026-11.test.corelane:hostile
start_targetd --cores 1 || { fail start; e2e_end; }
cl target create $iqn >/dev/null && cl lun create $iqn --ram 64M >/dev/null || fail "LUN"
cl bench "iscsi://$PORTAL/$iqn/0" --rw randrw --bs 4k --qd 16 --time 12 --json >"$E2E_DIR/bench.json" 2>"$E2E_DIR/bench.err" &
bench=$!
sleep 1
rss() { awk '/^VmRSS/ {print $2}' "/proc/$TARGETD/status"; }
before=$(rss)
python3 - "${PORTAL##*:}" >"$E2E_DIR/hostile.log" 2>&1 <<'PY'
import os, random, socket, struct, sys, time
port = int(sys.argv[1])
random.seed(7)
def conn():
    s = socket.create_connection(("127.0.0.1", port), 5)
    s.settimeout(3)
    return s
def login(keys=b"InitiatorName=iqn.2026-11.test:x\0SessionType=Discovery\0", flags=0x87, data_len=None, op=0x43):
    n = len(keys) if data_len is None else data_len
    b = struct.pack(">BBBBB", op, flags, 0, 0, 0) + n.to_bytes(3, "big") + b"\x80\0\0\0\0\1" + b"\0\0" + struct.pack(">IHHII", 1, 0, 0, 1, 0) + bytes(16)
    return b + keys + bytes(-len(keys) % 4)
def drain(s):
    try:
        while s.recv(65536):
            pass
    except OSError:
        pass
cases = 0
for i in range(300):                        # garbage
    s = conn()
    try:
        s.sendall(os.urandom(random.choice((1, 47, 48, 49, 500, 9000, 70000))))
        if i % 10 == 0:
            drain(s)
    except OSError:
        pass
    s.close()
    cases += 1
for n in (8193, 0xffffff, 70000):           # lengths that are not to be believed
    s = conn(); s.sendall(login(data_len=n)[:48] + b"x" * 8192); drain(s); s.close(); cases += 1
whole = login()
for cut in range(1, len(whole)):            # half a login, then goodbye
    s = conn(); s.sendall(whole[:cut]); s.close(); cases += 1
for keys in (b"a=b\0" * 2000, b"=x\0", b"novalue\0", b"x" * 64 + b"=1\0", b"InitiatorName=" + b"i" * 300 + b"\0", b"X\xff=\xfe\0" * 10, b"k=v"):
    for flags in (0x87, 0x47, 0xc7, 0x88, 0x8f, 0x80, 0x04):
        s = conn(); s.sendall(login(keys, flags)); time.sleep(0.002); s.close(); cases += 1
s = conn()                                  # text that never ends
try:
    for i in range(2000):
        s.sendall(login(b"X-a%d=1\0" % i, 0x44))
        s.settimeout(0.05)
        try: s.recv(65536)
        except TimeoutError: pass
except OSError:
    pass
s.close(); cases += 1
idle = []                                   # connections that say nothing: more than are admitted at a time
for i in range(600):
    try: idle.append(conn())
    except OSError: break
slow = conn()                               # one byte at a time
for b in whole[:10]:
    try: slow.sendall(bytes([b]))
    except OSError: break
    time.sleep(0.05)
s = conn(); s.sendall(whole); r = b""
try: r = s.recv(48)
except OSError: pass
print("login while hundreds wait:", "answered" if r[:1] == b"\x23" else "held off")
for x in idle: x.close()
slow.close()
time.sleep(0.3)
s = conn(); s.sendall(whole); r = s.recv(48)    # a full-feature phase of a discovery session, then rubbish
assert r[:1] == b"\x23" and r[36] == 0, r
for op in range(64):
    try:
        s.sendall(bytes([op]) + os.urandom(3) + bytes(4) + os.urandom(40))
    except OSError:
        s.close(); s = conn(); s.sendall(whole); s.recv(48)
    cases += 1
s.close()
print("cases:", cases)
PY
same "the hostile peer got through its cases" 0 $?
sed 's/^/# /' "$E2E_DIR/hostile.log"
ok "the target is alive" kill -0 "$TARGETD"
after=$(rss)
echo "# resident: $before KiB before, $after KiB after"
ok "its memory is bounded (less than 64 MiB more)" test $((after - before)) -lt 65536
wait $bench
same "the other session ran on without an error" "0 0" "$? $(jq -r .errors "$E2E_DIR/bench.json")"
ok "and new ones are let in" timeout 20 "$BUILD/corelane" bench "iscsi://$PORTAL/$iqn/0" --time 1 --json
e2e_end
