#!/usr/bin/env python3
"""Writes blocks that must last, and checks later that they did.

durable.py write PATH BYTES LOG STOP SEED THREADS   until the file STOP is there; status 1 when anything fails
durable.py check PATH LOG THREADS                   every block acknowledged according to LOG.* is in PATH

Each thread overwrites blocks of a region of its own, one write (O_DIRECT | O_DSYNC) at a time. Before a write it
notes "t SEQ OFFSET" in its log, after the acknowledgement "a SEQ OFFSET CRC". A block may hold what was
acknowledged last or a write tried after that and never acknowledged; anything else was lost, or landed late.
Now and then a block is read back at once: a stale one is found while it is stale.
"""
import mmap
import os
import random
import sys
import threading
import zlib

LEN = 4096
BLOCKS = 128            # a thread's region: small, so that blocks are overwritten many times


def content(seed, seq, off):
    head = b"%016x %016x %016x\n" % (seed, seq, off)
    return head + random.Random(seed << 64 | seq).randbytes(LEN - len(head))


def region(size, thread, threads):
    return size // threads // LEN * LEN * thread


def writer(path, size, log, stop, seed, thread, threads, errors):
    rng = random.Random(seed * 1000 + thread)
    fd = os.open(path, os.O_RDWR | os.O_DIRECT | os.O_DSYNC)
    buf = mmap.mmap(-1, LEN)                            # aligned, as O_DIRECT wants it
    crcs = {}
    seq = 0
    with open(f"{log}.{thread}", "w", encoding="ascii", buffering=1) as out:
        out.write(f"s {seed}\n")
        while not os.path.exists(stop) and not errors:
            seq += 1
            off = region(size, thread, threads) + rng.randrange(BLOCKS) * LEN
            if off in crcs and rng.randrange(4) == 0:
                if os.preadv(fd, [buf], off) != LEN or zlib.crc32(buf) != crcs[off]:
                    errors.append(f"stale at {off}, before seq {seq}: {bytes(buf[:51])!r}")
                continue
            buf[:] = content(seed, seq, off)
            crc = zlib.crc32(buf)
            out.write(f"t {seq} {off}\n")
            if os.pwritev(fd, [buf], off) != LEN:
                errors.append(f"short write at {off}")
                break
            out.write(f"a {seq} {off} {crc}\n")
            crcs[off] = crc
    os.close(fd)


def guarded(args):
    try:
        writer(*args)
    except OSError as e:
        args[-1].append(f"thread {args[5]}: {e}")


def write(path, size, log, stop, seed, threads):
    errors = []
    all_of = [threading.Thread(target=guarded, args=((path, size, log, stop, seed, i, threads, errors),))
              for i in range(threads)]
    for t in all_of:
        t.start()
    for t in all_of:
        t.join()
    for e in errors:
        print(e)
    return 1 if errors else 0


def check_one(fd, log):
    acked, tried, bad, writes = {}, {}, 0, 0
    with open(log, encoding="ascii") as f:
        for line in f:
            word = line.split()
            if word[0] == "s":
                seed = int(word[1])
            elif word[0] == "t":
                tried[int(word[2])] = int(word[1])
            elif word[0] == "a":
                acked[int(word[2])] = (int(word[1]), int(word[3]))
                writes += 1
    for off, (seq, crc) in sorted(acked.items()):
        data = os.pread(fd, LEN, off)
        if zlib.crc32(data) == crc or data == content(seed, tried[off], off):
            continue
        print(f"{off}: seq {seq} was acknowledged, there is {data[:51]!r}")
        bad += 1
    return bad, len(acked), writes


def check(path, log, threads):
    fd = os.open(path, os.O_RDONLY)
    bad = blocks = writes = 0
    for i in range(threads):
        b, n, w = check_one(fd, f"{log}.{i}")
        bad, blocks, writes = bad + b, blocks + n, writes + w
    print(f"{writes} writes to {blocks} blocks were acknowledged, {bad} blocks are wrong")
    return 1 if bad or not writes else 0


if __name__ == "__main__":
    a = sys.argv
    if a[1:2] == ["write"] and len(a) == 8:
        sys.exit(write(a[2], int(a[3]), a[4], a[5], int(a[6]), int(a[7])))
    if a[1:2] == ["check"] and len(a) == 5:
        sys.exit(check(a[2], a[3], int(a[4])))
    sys.exit(__doc__)
