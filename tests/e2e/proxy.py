#!/usr/bin/env python3
"""A TCP proxy between an initiator and a target that can be told to misbehave.

proxy.py LISTEN_PORT TARGET_PORT: on 127.0.0.1. Signals: USR1 resets every connection (RST both ways), USR2 toggles a
blackhole (nothing passes, nothing closes).
"""
import os, select, signal, socket, struct, sys

listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", int(sys.argv[1])))
listener.listen(64)
pairs = {}
wake_r, wake_w = os.pipe()
os.set_blocking(wake_w, False)
signal.set_wakeup_fd(wake_w)
for s in (signal.SIGUSR1, signal.SIGUSR2):
    signal.signal(s, lambda *_: None)
hole = False


def drop(s, reset=False):
    if s not in pairs:
        return
    for x in (s, pairs[s]):
        del pairs[x]
        if reset:
            x.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        x.close()


while True:
    ready, _, _ = select.select([listener, wake_r] + ([] if hole else list(pairs)), [], [])
    for s in ready:
        if s is wake_r:
            for sig in os.read(wake_r, 64):
                if sig == signal.SIGUSR1:
                    for p in list(pairs):
                        drop(p, True)
                else:
                    hole = not hole
        elif s is listener:
            c, _ = s.accept()
            try:
                t = socket.create_connection(("127.0.0.1", int(sys.argv[2])), 5)
            except OSError:
                c.close()
                continue
            for x in (c, t):
                x.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pairs[c], pairs[t] = t, c
        elif s in pairs:
            try:
                data = s.recv(1 << 18)
                if data:
                    pairs[s].sendall(data)
                else:
                    drop(s)
            except OSError:
                drop(s)
