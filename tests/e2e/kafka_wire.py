# SPDX-License-Identifier: Apache-2.0
"""Kafka's protocol by hand, for tests that say exactly what goes over the wire.

    with Kafka(w) as k:
        k.call("Metadata", 9, topics=[{"name": "t"}])["topics"][0]["error_code"]
        k.produce("t", batch([(b"key", b"value")]))          # acks=all, one partition
        k.send("Produce", 9, acks=0, ...); k.answer()         # pipelined, by hand

Messages are dicts with Kafka's field names in small_letters, read from the same
tables as weir's own (src/proto/kafka/*.def, which are held to Apache Kafka's
generated classes by their own test); what is not given has its default. Batches
are made and read here independently, in Python.
"""
import gzip
import os
import re
import socket
import struct

from harness import PATIENCE, Failed, ROOT, SLOW, eq

FOLDER = os.path.join(ROOT, "src", "proto", "kafka")

# ---- the tables ----

LAST = 127
WORDS = {"INT32_MAX": 2**31 - 1, "INT32_MIN": -2**31, "true": True}


class Field:
    def __init__(self, row, kind, of, name, first, last, rest):
        self.row, self.kind, self.of, self.name = row, kind, of, name
        self.first, self.last = first, last
        self.nullable, self.tag, self.default = None, None, None
        for word, arg in rest:
            if word == "NULLABLE":
                self.nullable = 0
            elif word == "NULLABLE_FROM":
                self.nullable = int(arg)
            elif word == "TAG":
                self.tag = int(arg)
            elif word == "DEFAULT":
                self.default = WORDS[arg] if arg in WORDS else int(arg)
            elif word == "DEFAULT_NULL":
                self.default = None
            else:
                raise ValueError("unknown word %s in the row of %s" % (word, name))
        if not any(w in ("DEFAULT", "DEFAULT_NULL") for w, _ in rest):
            self.default = {"TEXT": "", "BYTES": b"", "RECORDS": None, "BOOL": False, "UUID": bytes(16),
                            "FLOAT64": 0.0}.get(kind, 0)
            if row in ("LIST", "ARRAY"):
                self.default = []
            elif row == "PART":
                self.default = None

    def has(self, version):
        return self.first <= version <= self.last


def _load():
    structs, apis = {}, {}
    for name in sorted(os.listdir(FOLDER)):
        if not name.endswith(".def") or name == "kafka_vectors.def":
            continue
        with open(os.path.join(FOLDER, name)) as f:
            text = re.sub(r"/\*.*?\*/", "", f.read(), flags=re.S)
        current = None
        for line in text.splitlines():
            m = re.match(r"#define SELF (\w+)", line)
            if m:
                current = structs[m.group(1)] = []
            m = re.match(r"API\(\w+, (\d+), (\w+), (\w+), (\d+), (\d+), (\d+), (\w+)\)", line)
            if m:
                key, api, noun, told, served, last, flexible = m.groups()
                apis[api] = {"key": int(key), "noun": noun, "from": int(told), "served": int(served), "to": int(last),
                             "flexible": LAST if flexible == "NEVER" else int(flexible)}
            m = re.match(r"(FIELD|LIST|ARRAY|PART)\((\w+), (\w+), (\d+), (\w+)(.*)\)\s*$", line)
            if m:
                row, kind, field, first, last, rest = m.groups()
                words = re.findall(r"([A-Z_]+)(?:\(([^()]*)\))?", rest)
                of = kind if row in ("ARRAY", "PART") else None
                current.append(Field(row, kind, of, field, int(first), LAST if last == "LAST" else int(last), words))
    return structs, apis


STRUCTS, APIS = _load()

# ---- numbers ----

NUMBERS = {"INT8": ">b", "INT16": ">h", "INT32": ">i", "INT64": ">q", "FLOAT64": ">d"}


def uvarint(n):
    out = bytearray()
    while n > 127:
        out.append(n & 127 | 128)
        n >>= 7
    out.append(n)
    return bytes(out)


def varint(n):
    return uvarint((n << 1) ^ (n >> 63) if n >= 0 else ((-n) << 1) - 1)


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def take(self, n):
        if n < 0 or self.at + n > len(self.data):
            raise Failed("a message of Kafka that is cut short: %d bytes at %d of %d" % (n, self.at, len(self.data)))
        self.at += n
        return self.data[self.at - n:self.at]

    def number(self, form):
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def uvarint(self):
        out = shift = 0
        while True:
            b = self.take(1)[0]
            out |= (b & 127) << shift
            shift += 7
            if b < 128:
                return out

    def varint(self):
        n = self.uvarint()
        return (n >> 1) ^ -(n & 1)

    def left(self):
        return len(self.data) - self.at

    def nullable(self):
        n = self.varint()
        return None if n < 0 else self.take(n)


# ---- messages ----

def _length(n, flexible, form):
    return uvarint(0 if n is None else n + 1) if flexible else struct.pack(form, -1 if n is None else n)


def _write_value(kind, value, flexible):
    if kind in NUMBERS:
        return struct.pack(NUMBERS[kind], value)
    if kind == "BOOL":
        return b"\1" if value else b"\0"
    if kind == "UUID":
        return value
    if isinstance(value, str):
        value = value.encode()
    form = ">h" if kind == "TEXT" else ">i"
    return _length(None if value is None else len(value), flexible, form) + (value or b"")


def _write_field(f, value, version, flexible):
    if f.row == "PART":
        return write(f.of, value, version, flexible)
    if f.row not in ("LIST", "ARRAY"):
        return _write_value(f.kind, value, flexible)
    out = [_length(None if value is None else len(value), flexible, ">i")]
    for item in value or []:
        out.append(write(f.of, item, version, flexible) if f.of else _write_value(f.kind, item, flexible))
    return b"".join(out)


def write(name, message, version, flexible):
    out, tags = [], []
    unknown = set(message) - {f.name for f in STRUCTS[name]}
    if unknown:
        raise KeyError("%s has no %s" % (name, ", ".join(sorted(unknown))))
    for f in STRUCTS[name]:
        if not f.has(version):
            continue
        value = message.get(f.name, f.default)
        if f.tag is None:
            out.append(_write_field(f, value, version, flexible))
        elif value != f.default:
            data = _write_field(f, value, version, flexible)
            tags.append((f.tag, uvarint(f.tag) + uvarint(len(data)) + data))
    if flexible:
        out.append(uvarint(len(tags)))
        out += [data for _, data in sorted(tags)]
    return b"".join(out)


def _read_length(r, flexible, form):
    n = r.uvarint() - 1 if flexible else r.number(form)
    return None if n < 0 else n


def _read_value(kind, r, flexible):
    if kind in NUMBERS:
        return r.number(NUMBERS[kind])
    if kind == "BOOL":
        return r.take(1) != b"\0"
    if kind == "UUID":
        return r.take(16)
    n = _read_length(r, flexible, ">h" if kind == "TEXT" else ">i")
    data = None if n is None else r.take(n)
    return data.decode() if kind == "TEXT" and data is not None else data


def _read_field(f, r, version, flexible):
    if f.row == "PART":
        return read(f.of, r, version, flexible)
    if f.row not in ("LIST", "ARRAY"):
        return _read_value(f.kind, r, flexible)
    n = _read_length(r, flexible, ">i")
    if n is None:
        return None
    return [read(f.of, r, version, flexible) if f.of else _read_value(f.kind, r, flexible) for _ in range(n)]


def read(name, r, version, flexible):
    out = {}
    for f in STRUCTS[name]:
        out[f.name] = f.default
        if f.tag is None and f.has(version):
            out[f.name] = _read_field(f, r, version, flexible)
    tags = {f.tag: f for f in STRUCTS[name] if f.tag is not None and f.has(version)}
    for _ in range(r.uvarint() if flexible else 0):
        tag, size = r.uvarint(), r.uvarint()
        inner = Reader(r.take(size))
        if tag in tags:
            out[tags[tag].name] = _read_field(tags[tag], inner, version, flexible)
    return out


def request(api, version, correlation=1, client="wire", body=None, **fields):
    """A whole frame. `body`: these bytes in place of a message made of the fields."""
    a = APIS[api]
    flexible = version >= a["flexible"]
    head = struct.pack(">hhi", a["key"], version, correlation) + _write_value("TEXT", client, False)
    if flexible:
        head += b"\0"
    if body is None:
        body = write("kafka_%s_request" % a["noun"], fields, version, flexible)
    return struct.pack(">i", len(head + body)) + head + body


# ---- a connection ----

def address(w):
    """(host, port) of weir's Kafka port, from its ready line."""
    m = re.search(r" kafka=(\S+):(\d+)", w.ready)
    if not m:
        raise Failed("no Kafka port in %r" % w.ready)
    return m.group(1), int(m.group(2))


class Kafka:
    def __init__(self, w, timeout=PATIENCE, client="wire"):
        """w: a Weir of the harness, or (host, port)."""
        where = w if isinstance(w, tuple) else address(w)
        self.sock = socket.create_connection(where, timeout=timeout * SLOW)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.client, self.correlation, self.waiting = client, 0, []

    def __enter__(self):
        return self

    def __exit__(self, *a):
        self.close()

    def close(self):
        self.sock.close()

    def raw(self, data):
        self.sock.sendall(data)

    def send(self, api, version, silent=False, **fields):
        """`silent`: no answer will come for it (acks=0)."""
        self.correlation += 1
        if not silent:
            self.waiting.append((api, version, self.correlation))
        self.raw(request(api, version, self.correlation, self.client, **fields))

    def exactly(self, n):
        out = bytearray()
        while len(out) < n:
            got = self.sock.recv(min(n - len(out), 1 << 20))
            if not got:
                raise EOFError("closed after %d of %d bytes" % (len(out), n))
            out += got
        return bytes(out)

    def frame(self):
        n = struct.unpack(">i", self.exactly(4))[0]
        return self.exactly(n)

    def answer(self):
        """The answer to the oldest request without one. Nothing may be left over behind it."""
        api, version, correlation = self.waiting.pop(0)
        a = APIS[api]
        r = Reader(self.frame())
        eq(r.number(">i"), correlation, "correlation id of the answer to " + api)
        flexible = version >= a["flexible"]
        if flexible and api != "ApiVersions":
            eq(r.uvarint(), 0, "tags of the answer's header")
        out = read("kafka_%s_response" % a["noun"], r, version, flexible)
        eq(r.left(), 0, "bytes behind the answer to " + api)
        return out

    def call(self, api, version, **fields):
        self.send(api, version, **fields)
        return self.answer()

    def closed(self, timeout=PATIENCE):
        """True when the other side ends the stream and says nothing more before."""
        self.sock.settimeout(timeout * SLOW)
        try:
            return self.sock.recv(1) == b""
        except ConnectionResetError:
            return True
        except socket.timeout:
            return False

    def produce(self, topic, records, partition=0, version=9, acks=-1, transactional_id=None):
        """One partition; gives its part of the answer."""
        got = self.call("Produce", version, acks=acks, timeout_ms=30000, transactional_id=transactional_id,
                        topic_data=[{"name": topic, "partition_data": [{"index": partition, "records": records}]}])
        return got["responses"][0]["partition_responses"][0]

    def fetch(self, topic, partition=0, offset=0, version=11, max_wait_ms=0, min_bytes=1, max_bytes=1 << 24,
              isolation_level=0):
        """One partition; gives its part of the answer."""
        got = self.call("Fetch", version, max_wait_ms=max_wait_ms, min_bytes=min_bytes, max_bytes=max_bytes,
                        isolation_level=isolation_level, session_id=0,
                        topics=[{"topic": topic, "partitions": [{"partition": partition, "fetch_offset": offset,
                                                                 "partition_max_bytes": max_bytes}]}])
        eq(got["error_code"], 0, "error of the fetch")
        return got["responses"][0]["partitions"][0]


# ---- batches ----

def _table():
    out = []
    for n in range(256):
        for _ in range(8):
            n = n >> 1 ^ (0x82F63B78 if n & 1 else 0)
        out.append(n)
    return out


_CRC = _table()


def crc32c(data):
    crc = 0xFFFFFFFF
    for b in data:
        crc = _CRC[(crc ^ b) & 255] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def _nullable(data):
    return varint(-1) if data is None else varint(len(data)) + data


def record(delta, key=None, value=b"", headers=(), time_delta=0):
    """One record, encoded. Headers: (name, value or None)."""
    body = b"\0" + varint(time_delta) + varint(delta) + _nullable(key) + _nullable(value) + varint(len(headers))
    for name, v in headers:
        body += _nullable(name if isinstance(name, bytes) else name.encode()) + _nullable(v)
    return varint(len(body)) + body


CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4}


def raw_snappy(data):
    """Snappy that compresses nothing: literals alone."""
    out = [uvarint(len(data))]
    for at in range(0, len(data), 65536):
        piece = data[at:at + 65536]
        out.append(b"\xf4" + struct.pack("<H", len(piece) - 1) + piece)
    return b"".join(out)


def zstd_of_one_byte(count, byte=b"\0"):
    """A frame of zstd that inflates to `count` times one byte, four bytes for each 128 KiB."""
    out = [b"\x28\xb5\x2f\xfd\x00\x58"]  # no checksum, no size, a window of 2 MiB
    while True:
        n = min(count, 128 << 10)
        count -= n
        out.append(struct.pack("<I", n << 3 | 1 << 1 | (count == 0))[:3] + byte)
        if count == 0:
            return b"".join(out)


def compress(codec, data):
    codec = CODECS.get(codec, codec)
    if codec == 1:
        return gzip.compress(data, 6)
    if codec == 2:
        return raw_snappy(data)
    if codec == 0:
        return data
    raise ValueError("this Python has no such codec: %r" % codec)


def batch(records, codec=0, first_time=1700000000000, max_time=None, pid=-1, epoch=-1, sequence=-1,
          transactional=False, control=False, base=0, magic=2, attributes=0, count=None, last_delta=None,
          crc=None, length=None, plain=None, block=None, leader_epoch=-1):
    """
    A batch of magic 2. A record is a value, or (key, value), or (key, value, headers), or (key, value,
    headers, milliseconds after first_time), or a dict for record(). What would follow from the records can be said otherwise
    to make it wrong: count, last_delta, crc, length, plain (the records' bytes), block (as compressed).
    """
    parts, latest = [], first_time
    for i, r in enumerate(records):
        if not isinstance(r, dict):
            r = (None, r) if isinstance(r, bytes) else tuple(r)
            r = dict(zip(("key", "value", "headers", "time_delta"), r))
        r.setdefault("delta", i)
        latest = max(latest, first_time + r.get("time_delta", 0))
        parts.append(record(**r))
    codec = CODECS.get(codec, codec)
    if block is None:
        block = compress(codec, b"".join(parts) if plain is None else plain)
    attributes |= codec | (16 if transactional else 0) | (32 if control else 0)
    tail = struct.pack(">HiqqqhiI", attributes, len(records) - 1 if last_delta is None else last_delta, first_time,
                       latest if max_time is None else max_time, pid, epoch, sequence,
                       len(records) if count is None else count) + block
    head = struct.pack(">ibI", leader_epoch, magic, crc32c(tail) if crc is None else crc)
    return struct.pack(">qi", base, len(head) + len(tail) if length is None else length) + head + tail


class Batch:
    def __init__(self, data):
        r = Reader(data)
        self.base, self.bytes = r.number(">q"), r.number(">i") + 12
        self.leader_epoch, self.magic, self.crc = r.number(">i"), r.number(">b"), r.number(">I")
        eq(crc32c(data[21:self.bytes]), self.crc, "checksum of a batch")
        self.attributes, self.last_delta = r.number(">H"), r.number(">i")
        self.first_time, self.max_time = r.number(">q"), r.number(">q")
        self.pid, self.epoch, self.sequence, self.count = (r.number(">q"), r.number(">h"), r.number(">i"),
                                                           r.number(">i"))
        self.codec = self.attributes & 7
        self.transactional, self.control = bool(self.attributes & 16), bool(self.attributes & 32)
        self.block = r.take(self.bytes - 61)

    def plain(self):
        if self.codec == 1:
            return gzip.decompress(self.block)
        if self.codec:
            raise ValueError("this Python has no codec %d" % self.codec)
        return self.block

    def records(self):
        """[{offset, timestamp, key, value, headers: [(name, value)]}]"""
        out, r = [], Reader(self.plain())
        for _ in range(self.count):
            body = Reader(r.take(r.varint()))
            body.take(1)
            time = self.first_time + body.varint()
            one = {"offset": self.base + body.varint(),
                   "timestamp": self.max_time if self.attributes & 8 else time,
                   "key": body.nullable(), "value": body.nullable()}
            one["headers"] = [(body.nullable().decode(), body.nullable()) for _ in range(body.varint())]
            eq(body.left(), 0, "bytes behind a record")
            out.append(one)
        eq(r.left(), 0, "bytes behind the records of a batch")
        return out


def batches(data):
    """What a fetch gave: whole batches (a cut one at the end is left out)."""
    out, data = [], data or b""
    while len(data) >= 12 and len(data) >= struct.unpack(">i", data[8:12])[0] + 12:
        out.append(Batch(data))
        data = data[out[-1].bytes:]
    return out


def records(data):
    return [r for b in batches(data) if not b.control for r in b.records()]


# ---- transactions ----

class Producer:
    """A transactional producer by hand, one connection, each API in the version asked for."""

    def __init__(self, k, tid, version=None, timeout_ms=900000):
        self.k, self.tid, self.version, self.sequence = k, tid, version, {}
        got = self.init(timeout_ms)
        eq(got["error_code"], 0, "InitProducerId")
        self.pid, self.epoch = got["producer_id"], got["producer_epoch"]

    def at(self, api):
        return min(self.version if self.version is not None else 99, APIS[api]["to"])

    def init(self, timeout_ms=900000, pid=-1, epoch=-1):
        return self.k.call("InitProducerId", self.at("InitProducerId"), transactional_id=self.tid,
                           transaction_timeout_ms=timeout_ms, producer_id=pid, producer_epoch=epoch)

    def who(self):
        return {"transactional_id": self.tid, "producer_id": self.pid, "producer_epoch": self.epoch}

    def add(self, **topics):
        got = self.k.call("AddPartitionsToTxn", self.at("AddPartitionsToTxn"),
                          v3_and_below_topics=[{"name": t, "partitions": p} for t, p in topics.items()],
                          **{"v3_and_below_" + f: v for f, v in self.who().items()})
        return {(t["name"], p["partition_index"]): p["partition_error_code"]
                for t in got["results_by_topic_v3_and_below"] for p in t["results_by_partition"]}

    def add_group(self, group):
        return self.k.call("AddOffsetsToTxn", self.at("AddOffsetsToTxn"), group_id=group, **self.who())["error_code"]

    def commit_offset(self, group, topic, offset, partition=0, **more):
        got = self.k.call("TxnOffsetCommit", self.at("TxnOffsetCommit"), group_id=group, topics=[{
            "name": topic, "partitions": [{"partition_index": partition, "committed_offset": offset,
                                           "committed_metadata": "m"}]}], **self.who(), **more)
        return got["topics"][0]["partitions"][0]["error_code"]

    def end(self, commit):
        return self.k.call("EndTxn", self.at("EndTxn"), committed=commit, **self.who())["error_code"]

    def write(self, topic, *values, partition=0):
        sequence = self.sequence.get((topic, partition), 0)
        got = self.k.produce(topic, batch(list(values), pid=self.pid, epoch=self.epoch, sequence=sequence,
                                          transactional=True), partition=partition, transactional_id=self.tid)
        if got["error_code"] == 0:
            self.sequence[(topic, partition)] = sequence + len(values)
        return got["error_code"]


def seen(k, topic, partition=0, committed=True):
    """The values that a consumer would give, as the Java client finds them: CompletedFetch.nextFetchedRecord."""
    out, offset = [], 0
    while True:
        got = k.fetch(topic, partition, offset, isolation_level=int(committed))
        eq(got["error_code"], 0, "fetch")
        aborted = sorted((a["first_offset"], a["producer_id"]) for a in got["aborted_transactions"] or [])
        if not got["records"]:
            return out
        gone = set()
        for b in batches(got["records"]):
            while committed and aborted and aborted[0][0] <= b.base:
                gone.add(aborted.pop(0)[1])
            if b.attributes & 32:
                gone.discard(b.pid)
            elif b.pid not in gone:
                out += [r["value"] for r in b.records()]
            offset = b.base + b.last_delta + 1
