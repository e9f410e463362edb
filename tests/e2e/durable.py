#!/usr/bin/env python3
"""Writes blocks that must last, and checks later that they did.

durable.py write PATH BYTES LOG STOP SEED THREADS   until the file STOP is there; status 1 when anything is wrong
durable.py check PATH LOG THREADS                   what LOG.* says against what is in PATH

PATH may be @FILE: FILE holds the path of a loop device and the file that must be behind it, and is replaced when the disk
is another device after a crash of what served it: names of devices are given again, to other disks. Then an error is no
failure: the writers wait for the next, look what is there now, and go on.

Each thread overwrites blocks of a region of its own, one write (O_DIRECT | O_DSYNC) at a time. Before a write it
notes "t SEQ OFFSET" in its log, after the acknowledgement "a SEQ OFFSET", and of each block that it finds after a
crash "o SEQ OFFSET". A block may hold what was acknowledged or found last, or a write tried after that and never
acknowledged. Anything else is wrong, in one of three ways:
  lost   an older write that had been acknowledged: the newer one is gone
  stale  a write that was never acknowledged, and older than what was acknowledged or found: it landed late
  bad    nothing that was ever written there
Now and then a block is read back at once: a stale one is found while it is stale.
"""
import mmap
import os
import random
import sys
import threading
import time

LEN = 4096
BLOCKS = 128            # a thread's region: small, so that blocks are overwritten many times
WAIT_MAX = 300          # seconds for another disk: only a hang takes that long


def content(seed, seq, off):
    head = b"%016x %016x %016x\n" % (seed, seq, off)
    return head + random.Random(seed << 64 | seq).randbytes(LEN - len(head))


class Wrong(Exception):
    pass


class Region:
    """What may be in a thread's blocks, by its log."""

    def __init__(self, seed=None):
        self.seed = seed
        self.sure = {}          # offset: seq that was acknowledged or found last; 0: nothing yet
        self.maybe = {}         # offset: seqs tried since
        self.acked = set()
        self.counts = {"lost": 0, "stale": 0, "bad": 0}

    def tried(self, seq, off):
        self.maybe.setdefault(off, set()).add(seq)

    def settled(self, seq, off):
        self.sure[off] = seq
        self.maybe[off] = set()

    def wrote(self, seq, off):
        self.acked.add(seq)
        self.settled(seq, off)

    def offsets(self):
        return sorted(set(self.sure) | set(self.maybe))

    def found(self, data, off):
        """The seq of what is there. Raises Wrong if it may not be there."""
        data = bytes(data)      # any() of an mmap asks whether its bytes are objects
        sure, maybe = self.sure.get(off, 0), self.maybe.get(off, set())
        seq = self.read(data, off)
        if seq is not None and (seq == sure or seq in maybe):
            return seq
        kind = "bad" if seq is None else "lost" if seq in self.acked or not seq else "stale"
        self.counts[kind] += 1
        raise Wrong(f"{kind}: at {off} there is {data[:51]!r}, and {sure} was sure, {sorted(maybe)} possible")

    def read(self, data, off):
        if not any(data):
            return 0
        try:
            seed, seq, at = (int(word, 16) for word in data[:50].split())
        except ValueError:
            return None
        return seq if (seed, at) == (self.seed, off) and data == content(seed, seq, off) else None


def backing(fd):
    """The file behind a loop device, which stays so while fd is open."""
    dev = os.fstat(fd).st_rdev
    with open(f"/sys/dev/block/{os.major(dev)}:{os.minor(dev)}/loop/backing_file", encoding="utf-8") as f:
        return f.read().strip()


class Disk:
    """The disk's path, which may be another one after a crash."""

    def __init__(self, path, stop):
        self.file = path[1:] if path.startswith("@") else None
        self.path, self.stop = path, stop
        self.seen = None

    def stopped(self):
        return os.path.exists(self.stop)

    def open(self):
        """Return: a descriptor, or None when it is over."""
        end = time.monotonic() + WAIT_MAX
        while self.file:
            if self.stopped():
                return None
            if time.monotonic() > end:
                raise Wrong("bad: no other disk in time")
            fd = self.try_open()
            if fd is not None:
                return fd
            time.sleep(0.02)
        return os.open(self.path, os.O_RDWR | os.O_DIRECT | os.O_DSYNC)


    def try_open(self):
        fd = None
        try:
            with open(self.file, encoding="utf-8") as f:
                generation = os.fstat(f.fileno()).st_mtime_ns
                self.path, behind = f.read().split()
            if generation == self.seen:
                return None
            fd = os.open(self.path, os.O_RDWR | os.O_DIRECT | os.O_DSYNC)
            if backing(fd) == behind:
                self.seen = generation
                return fd
        except OSError:
            pass
        if fd is not None:
            os.close(fd)
        return None


class Writer(threading.Thread):
    def __init__(self, path, size, log, stop, seed, number, of, errors):
        super().__init__()
        self.disk = Disk(path, stop)
        self.base = size // of // LEN * LEN * number
        self.log = open(f"{log}.{number}", "w", encoding="ascii", buffering=1)
        self.log.write(f"s {seed}\n")
        self.rng = random.Random(seed * 1000 + number)
        self.region = Region(seed)
        self.seq = 0
        self.number, self.errors = number, errors
        self.buf = mmap.mmap(-1, LEN)                           # aligned, as O_DIRECT wants it

    def note(self, letter, seq, off):
        self.log.write(f"{letter} {seq} {off}\n")

    def look(self, fd, off):
        if os.preadv(fd, [self.buf], off) != LEN:
            raise OSError("short read")
        return self.region.found(self.buf, off)

    def look_all(self, fd):
        for off in self.region.offsets():
            seq = self.look(fd, off)
            self.region.settled(seq, off)
            self.note("o", seq, off)

    def step(self, fd):
        off = self.base + self.rng.randrange(BLOCKS) * LEN
        if off in self.region.sure and self.rng.randrange(4) == 0:
            self.look(fd, off)
            return
        self.seq += 1
        self.buf[:] = content(self.region.seed, self.seq, off)
        self.note("t", self.seq, off)
        self.region.tried(self.seq, off)
        if os.pwritev(fd, [self.buf], off) != LEN:
            raise OSError("short write")
        self.note("a", self.seq, off)
        self.region.wrote(self.seq, off)

    def life(self):
        fd = self.disk.open()
        if fd is None:
            return False
        try:
            self.look_all(fd)
            while not self.disk.stopped() and not self.errors:
                self.step(fd)
            return False
        except OSError:
            if not self.disk.file:
                raise
            return True
        finally:
            os.close(fd)

    def run(self):
        try:
            while self.life():
                pass
        except (OSError, Wrong) as e:
            self.errors.append(f"thread {self.number}, after seq {self.seq}: {e}")
        self.log.close()


def total(regions):
    return ", ".join(f"{sum(r.counts[k] for r in regions)} {k}" for k in ("lost", "stale", "bad"))


def write(path, size, log, stop, seed, threads):
    errors = []
    writers = [Writer(path, size, log, stop, seed, i, threads, errors) for i in range(threads)]
    for w in writers:
        w.start()
    for w in writers:
        w.join()
    for e in errors:
        print(e)
    print(f"{sum(len(w.region.acked) for w in writers)} writes acknowledged, {total([w.region for w in writers])}")
    return 1 if errors else 0


def log_read(name):
    region = Region()
    does = {"t": region.tried, "a": region.wrote, "o": region.settled}
    with open(name, encoding="ascii") as f:
        for line in f:
            word = line.split()
            if word[0] == "s":
                region.seed = int(word[1])
            else:
                does[word[0]](int(word[1]), int(word[2]))
    return region


def check(path, log, threads):
    fd = os.open(path, os.O_RDONLY)
    regions = [log_read(f"{log}.{i}") for i in range(threads)]
    for r in regions:
        for off in r.offsets():
            try:
                r.found(os.pread(fd, LEN, off), off)
            except Wrong as e:
                print(e)
    acked = sum(len(r.acked) for r in regions)
    print(f"{acked} writes to {sum(len(r.offsets()) for r in regions)} blocks acknowledged, {total(regions)}")
    return 1 if not acked or any(any(r.counts.values()) for r in regions) else 0


if __name__ == "__main__":
    a = sys.argv
    if a[1:2] == ["write"] and len(a) == 8:
        sys.exit(write(a[2], int(a[3]), a[4], a[5], int(a[6]), int(a[7])))
    if a[1:2] == ["check"] and len(a) == 5:
        sys.exit(check(a[2], a[3], int(a[4])))
    sys.exit(__doc__)
