# SPDX-License-Identifier: Apache-2.0
"""What the fault suites stand on: calls that fail to order, small disks, and the oracle."""
import contextlib
import ctypes
import errno
import json
import mmap
import os
import shutil
import struct
import subprocess
import tempfile
import time

from harness import Failed, Skip, check, eq, until

HERE = os.path.dirname(os.path.abspath(__file__))
WHOLE = bool(os.environ.get("WEIR_FAULT_WHOLE"))


def spread(count, most, first=1):
    """The numbers to try of first..count: all in the whole form, else at most so many, evenly."""
    every = list(range(first, count + 1))
    if WHOLE or len(every) <= most:
        return every
    return sorted({every[i * (len(every) - 1) // (most - 1)] for i in range(most)})


# ---- calls that fail ----

# The same order as enum op in shim.c.
OPS = ["pwrite", "fdatasync", "fsync", "rename", "truncate", "unlink", "allocate", "open", "pread", "mkdir", "rmdir",
       "syncfs", "recv", "send", "memory", "thread", "eventfd", "epoll", "watch", "socket", "listen", "accept", "map", "inotify"]
COUNT, KILL_BEFORE, KILL_AFTER, FAIL, TEAR, SHORT, DELAY, HOLD = range(8)
WRITING = ["pwrite", "fdatasync", "fsync", "rename", "truncate", "unlink", "allocate", "mkdir", "rmdir", "syncfs"]


class Rule(ctypes.Structure):
    _fields_ = [("armed", ctypes.c_uint32), ("ops", ctypes.c_uint32), ("action", ctypes.c_uint32), ("error", ctypes.c_int32),
                ("when", ctypes.c_uint64), ("times", ctypes.c_uint64), ("every", ctypes.c_uint64), ("amount", ctypes.c_uint64),
                ("thread", ctypes.c_char * 16), ("path", ctypes.c_char * 96), ("count", ctypes.c_uint64),
                ("hits", ctypes.c_uint64)]


class Page(ctypes.Structure):
    _fields_ = [("wall_shift_ns", ctypes.c_int64), ("tracing", ctypes.c_uint32), ("unused", ctypes.c_uint32),
                ("rules", Rule * 4)]


def build_shim():
    """The shim as a library, compiled where it is older than its source."""
    source = os.path.join(HERE, "shim.c")
    out = os.path.join(tempfile.gettempdir(), "weir-fault-shim-%d-%d.so" % (os.getuid(), os.stat(source).st_mtime_ns))
    if not os.path.exists(out):
        cc = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
        if not cc:
            raise Skip("no C compiler for the shim")
        part = out + ".%d" % os.getpid()
        p = subprocess.run([cc, "-O2", "-shared", "-fPIC", "-o", part, source, "-ldl"], capture_output=True, text=True)
        if p.returncode:
            raise Failed("the shim does not compile:\n" + p.stderr)
        os.rename(part, out)
    return out


class Shim:
    """A page of rules that a weir started with `env=shim.env` obeys at once. `with Shim() as shim`."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="weir-shim-")
        path = os.path.join(self.dir, "page")
        self.trace_path = os.path.join(self.dir, "trace")
        with open(path, "wb") as f:
            f.write(b"\0" * ctypes.sizeof(Page))
        with open(path, "r+b") as f:
            self.map = mmap.mmap(f.fileno(), ctypes.sizeof(Page))
        self.page = Page.from_buffer(self.map)
        self.env = {"LD_PRELOAD": build_shim(), "FAULT_PAGE": path, "FAULT_TRACE": self.trace_path}

    def __enter__(self):
        return self

    def __exit__(self, *a):
        shutil.rmtree(self.dir, ignore_errors=True)

    def rule(self, ops, action=FAIL, error=errno.EIO, when=1, times=0, every=1, amount=0, thread="", path="", slot=0):
        r = self.page.rules[slot]
        r.armed = 0
        r.ops = sum(1 << OPS.index(op) for op in ([ops] if isinstance(ops, str) else ops))
        r.action, r.error, r.when, r.times, r.every, r.amount = action, error, when, times, every, amount
        r.thread, r.path, r.count, r.hits = thread.encode(), path.encode(), 0, 0
        r.armed = 1
        return r

    @contextlib.contextmanager
    def held(self, ops, path=""):
        """Within it such calls do not return; gives a function that waits until the first of them is made."""
        rule = self.rule(ops, HOLD, path=path)
        try:
            yield lambda: until(lambda: rule.hits, what="a call of %s" % ops)
        finally:
            self.clear()

    def clear(self, slot=None):
        for r in self.page.rules if slot is None else [self.page.rules[slot]]:
            r.armed = 0

    def shift(self, seconds):
        self.page.wall_shift_ns = int(seconds * 1e9)

    def trace(self, on=True):
        self.page.tracing = int(on)

    def traced(self):
        try:
            with open(self.trace_path) as f:
                return f.read().splitlines()
        except FileNotFoundError:
            return []


# ---- small disks ----

_own_mounts = False


def own_mounts():
    """Mounts of this process are seen by nobody else and end with it."""
    global _own_mounts
    if _own_mounts:
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(0x00020000):
        raise Skip("mounting is not allowed here: %s" % os.strerror(ctypes.get_errno()))
    subprocess.run(["mount", "--make-rprivate", "/"], check=False, capture_output=True)
    _own_mounts = True


class Disk:
    """A file system of its own of so many MiB: ext4 on a loop device, tmpfs where that cannot be."""

    def __init__(self, mib, kind=None):
        own_mounts()
        self.dir = tempfile.mkdtemp(prefix="weir-disk-", dir=os.environ.get("WEIR_TMP"))
        self.path = os.path.join(self.dir, "mnt")
        os.mkdir(self.path)
        self.kind = None
        if kind in (None, "ext4") and self._ext4(mib):
            self.kind = "ext4"
        elif kind in (None, "tmpfs") and not self._run("mount", "-t", "tmpfs", "-o", "size=%dm" % mib, "none", self.path):
            self.kind = "tmpfs"
        if not self.kind:
            shutil.rmtree(self.dir, ignore_errors=True)
            raise Skip("neither a loop device nor a tmpfs can be mounted: " + self.said.strip())
        self.data = os.path.join(self.path, "data")

    def _run(self, *cmd):
        p = subprocess.run(cmd, capture_output=True, text=True)
        self.said = p.stderr
        return p.returncode

    def _ext4(self, mib):
        image = os.path.join(self.dir, "image")
        with open(image, "wb") as f:
            f.truncate(mib << 20)
        return shutil.which("mkfs.ext4") and not self._run("mkfs.ext4", "-q", "-m", "0", image) and not self._run(
            "mount", "-o", "loop", image, self.path)

    def __enter__(self):
        return self

    def __exit__(self, *a):
        subprocess.run(["umount", "-l", self.path], capture_output=True)
        shutil.rmtree(self.dir, ignore_errors=True)

    def free(self):
        st = os.statvfs(self.path)
        return st.f_bavail * st.f_frsize

    def fill(self, leave=0):
        """Another program takes all that is free, but so many bytes."""
        with open(os.path.join(self.path, "filler"), "ab") as f:
            for piece in (8 << 20, 1 << 20, 64 << 10, 4096):
                while self.free() >= leave + piece:
                    try:
                        os.posix_fallocate(f.fileno(), os.fstat(f.fileno()).st_size, piece)
                    except OSError:
                        break

    def unfill(self):
        os.unlink(os.path.join(self.path, "filler"))


# ---- memory ----

CACHES = 32 << 20  # log.tail_bytes and log.pinned_bytes as they are set below
FREED = 16 << 20   # what the allocator has not given back yet


def stays(refused):
    """
    Whether a disk is full for good: a storage checkpoint gives journal files back, and records are
    taken again for a while after it, until there is nothing more to give.
    """
    for _ in range(100):
        if not refused():
            return False
        time.sleep(0.02)
    return True


def charged(w):
    return int(w.metrics()["weir_memory_used_bytes"])


def check_memory(w, idle, count, memory):
    """Resident memory is what is charged, within the budget, what is cached, and 4 KiB for each connection."""
    used, grown = charged(w), w.rss() - idle
    check(used <= memory, "%d MiB are charged" % (used >> 20))
    check(grown <= used + CACHES + FREED + count * (4 << 10),
          "memory grew by %d MiB, of which %d are charged" % (grown >> 20, used >> 20))


# ---- the oracle ----

def body_of(n, size):
    """A value that tells its number and cannot be squeezed."""
    pad = struct.pack(">Q", n * 0x9e3779b97f4a7c15 & 0xffffffffffffffff).hex()
    return json.dumps({"n": n, "pad": (pad * (size // 16 + 1))[:size]})


class Sender:
    """Sends numbered records one by one and notes what became of each."""

    def __init__(self, w, topic, size=200):
        self.w, self.topic, self.size = w, topic, size
        self.next, self.acked, self.unknown, self.refused = 0, [], [], []

    def send(self, count=1, stop_on=()):
        """Gives the last response, or None where the connection was lost."""
        r = None
        for _ in range(count):
            n, self.next = self.next, self.next + 1
            try:
                r = self.w.post("/v1/topics/%s/records" % self.topic, body_of(n, self.size),
                                {"Content-Type": "application/json", "Idempotency-Key": "n%d" % n})
            except (OSError, Exception) as e:
                if isinstance(e, Failed):
                    raise
                self.unknown.append(n)
                return None
            (self.acked if r.status == 200 else self.refused).append(n)
            if r.status != 200:
                return r
        return r

    def audit(self, w=None, trimmed=0):
        """What was acknowledged is there, whole and once; what was refused is not; what is unknown may be; in order."""
        w = w or self.w
        if not self.acked and w.get("/v1/topics/%s" % self.topic).status == 404:
            return 0
        records = w.all(self.topic)
        got = [r["value"]["n"] for r in records]
        for r in records:
            eq(r["value"], json.loads(body_of(r["value"]["n"], self.size)), "a record's bytes")
        check(len(set(got)) == len(got), "something is there twice: %r" % got)
        lost = [n for n in self.acked if n not in set(got) and n >= trimmed]
        check(not lost, "acknowledged and lost: %r; there is %r" % (lost[:10], got[-10:]))
        wrong = sorted(set(got) & set(self.refused))
        check(not wrong, "refused and there: %r" % wrong[:10])
        eq(got, sorted(got), "the order")
        offsets = [r["offset"] for r in records]
        eq(offsets, list(range(offsets[0], offsets[0] + len(offsets))) if offsets else [], "offsets")
        return len(got)
