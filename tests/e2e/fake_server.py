#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""A stand-in for weir in plain Python: slow, small, and only as strict as it must be.

It speaks enough of the contract to develop the page and to test the tests
themselves (`WEIR_BIN=tests/e2e/fake_server.py tests/e2e/run.py ingest`): a suite
that fails on both this and weir is wrong about the contract. It is never shipped.
Its journal is a file of JSON lines handed to the kernel before each answer, which
survives SIGKILL but no power loss.
"""
import argparse
import asyncio
import base64
import fcntl
import hashlib
import json
import os
import re
import signal
import struct
import sys
import time
import urllib.parse
import uuid
import zlib

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from harness import murmur2, ROOT  # noqa: E402

RECORD_MAX, BODY_MAX, HEAD_MAX, RECORDS_MAX = 1 << 20, 16 << 20, 32 << 10, 100000
NAME = re.compile(r"[a-zA-Z0-9._-]{1,249}$")


class Problem(Exception):
    def __init__(self, status, code, detail="", close=False, headers=None, **more):
        self.status, self.code, self.detail, self.close = status, code, detail or code, close
        self.headers, self.more = headers or {}, more


def no_constant(x):
    raise ValueError(x)


def parse_json(data):
    return json.loads(data.decode("utf-8"), parse_constant=no_constant)


def is_json(data):
    try:
        parse_json(data)
        return True
    except (ValueError, RecursionError):
        return False


def b64(data):
    return base64.b64encode(data).decode()


def dumps(x):
    return json.dumps(x, ensure_ascii=False, separators=(",", ":"))


def utf8(data):
    try:
        return data.decode("utf-8")
    except ValueError:
        return None


class Record:
    __slots__ = ("offset", "time", "key", "value", "headers")

    def __init__(self, key=None, value=b"", headers=(), time=None):
        self.offset, self.key, self.value, self.headers, self.time = None, key, value, list(headers), time

    def json(self, topic, partition, cursor=None):
        out = ['"topic":%s,"partition":%d,"offset":%d,"timestamp":%d' % (dumps(topic), partition, self.offset, self.time)]
        if self.key is not None and utf8(self.key) is None:
            out.append('"key_base64":"%s"' % b64(self.key))
        else:
            out.append('"key":%s' % ("null" if self.key is None else dumps(utf8(self.key))))
        headers = {}
        for name, value in self.headers:
            text = utf8(value)
            headers.setdefault(name, []).append(text if text is not None else {"base64": b64(value)})
        out.append('"headers":%s' % dumps({k: v[0] if len(v) == 1 else v for k, v in headers.items()}))
        if self.value is None:
            out.append('"value":null,"tombstone":true')
        elif is_json(self.value):
            out.append('"value":' + self.value.decode())
        elif utf8(self.value) is not None:
            out.append('"value_text":' + dumps(utf8(self.value)))
        else:
            out.append('"value_base64":"%s"' % b64(self.value))
        if cursor:
            out.append('"cursor":"%s"' % cursor)
        return "{" + ",".join(out) + "}"


class Topic:
    def __init__(self, name, id=None, config=None):
        self.name, self.id = name, id or uuid.uuid4().hex[:8]
        self.config = dict({"partitions": 1, "retention": "7d", "durability": "fsync"}, **(config or {}))
        self.parts = [[] for _ in range(self.config["partitions"])]
        self.starts = [0] * len(self.parts)
        self.turn = 0

    def end(self, p):
        return self.starts[p] + len(self.parts[p])

    def show(self):
        return dict(self.config, name=self.name, managed_by_file=False, offsets=[
            {"partition": p, "start": self.starts[p], "end": self.end(p)} for p in range(len(self.parts))])


class Store:
    def __init__(self, dir):
        os.makedirs(dir, exist_ok=True)
        self.lock = open(os.path.join(dir, "LOCK"), "a+")
        try:
            fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self.lock.seek(0)
            sys.exit("the data directory is in use by pid %s" % self.lock.read())
        self.lock.truncate(0)
        self.lock.write(str(os.getpid()))
        self.lock.flush()
        self.topics, self.seen, self.dead = {}, {}, set()
        self.changed = None
        path = os.path.join(dir, "journal")
        if os.path.exists(path):
            with open(path, "rb") as f:
                whole = 0
                for line in f:
                    try:
                        self.apply(json.loads(line))
                        whole += len(line)
                    except ValueError:
                        print("cut a torn tail at", whole, file=sys.stderr)
                        break
            os.truncate(path, whole)
        self.journal = open(path, "ab", buffering=0)

    def commit(self, change):
        self.journal.write(dumps(change).encode() + b"\n")
        got = self.apply(change)
        if self.changed:
            self.changed.set_result(None)
            self.changed = None
        return got

    def wait(self):
        if self.changed is None:
            self.changed = asyncio.get_event_loop().create_future()
        return self.changed

    def apply(self, c):
        if c["do"] == "create":
            self.topics[c["name"]] = Topic(c["name"], c["id"], c["config"])
        elif c["do"] == "change":
            t = self.topics[c["name"]]
            t.config.update(c["config"])
            while len(t.parts) < t.config["partitions"]:
                t.parts.append([])
                t.starts.append(0)
        elif c["do"] == "delete":
            self.dead.add(self.topics.pop(c["name"]).id)
        elif c["do"] == "trim":
            t = self.topics[c["name"]]
            for p, before in enumerate(c["before"]):
                if before is not None and before > t.starts[p]:
                    del t.parts[p][:before - t.starts[p]]
                    t.starts[p] = before
        else:
            t, places = self.topics[c["name"]], []
            for p, key, value, headers, ts in c["records"]:
                r = Record(None if key is None else base64.b64decode(key),
                           None if value is None else base64.b64decode(value),
                           [(n, base64.b64decode(v)) for n, v in headers], ts)
                r.offset = t.end(p)
                t.parts[p].append(r)
                places.append((p, r.offset))
            for fp, key, first, count in c["keys"]:
                self.seen[t.id, key] = (fp, places[first:first + count])
            return places


# ---- the door in ----

def unquote_key(value):
    if value.startswith('"'):
        if len(value) < 2 or not value.endswith('"'):
            raise Problem(400, "invalid_idempotency_key")
        value = value[1:-1]
    if not value or len(value) > 256:
        raise Problem(400, "invalid_idempotency_key", "1 to 256 bytes")
    return value


def inflate(req):
    how = req.headers.get("content-encoding", "identity")
    if how == "identity":
        return req.body
    try:
        if how == "gzip":
            out, left = b"", req.body
            while left or not out:
                d = zlib.decompressobj(31)
                out += d.decompress(left, BODY_MAX + 1 - len(out))
                if len(out) > BODY_MAX:
                    raise Problem(413, "body_too_large")
                if not d.eof:
                    raise Problem(400, "invalid_content_encoding")
                left = d.unused_data
                if not left:
                    break
            return out
        if how == "zstd":
            import subprocess
            p = subprocess.run(["zstd", "-dcq"], input=req.body, capture_output=True)
            if p.returncode:
                raise Problem(400, "invalid_content_encoding")
            if len(p.stdout) > BODY_MAX:
                raise Problem(413, "body_too_large")
            return p.stdout
    except zlib.error:
        raise Problem(400, "invalid_content_encoding")
    raise Problem(415, "unsupported_media_type")


def header_values(headers):
    for name, value in headers.items():
        for v in value if isinstance(value, list) else [value]:
            yield name, base64.b64decode(v["base64"]) if isinstance(v, dict) else str(v).encode()


def raw_json(text, names):
    """The exact text of a member of each record, as the product keeps it."""
    from harness import members
    m = members(text)
    return m.get("value", "").encode()


def cloud_event(doc, text=None):
    if not isinstance(doc, dict):
        raise Problem(422, "invalid_cloudevent", "a CloudEvent is a JSON object")
    for need in ("id", "source", "specversion", "type"):
        if not isinstance(doc.get(need), str) or not doc[need]:
            raise Problem(422, "invalid_cloudevent", "the attribute %s is missing" % need)
    if doc["specversion"] != "1.0":
        raise Problem(422, "invalid_cloudevent", "specversion must be 1.0")
    headers = [("ce_" + k, str(v).encode()) for k, v in doc.items() if k not in ("data", "data_base64", "datacontenttype")]
    if "datacontenttype" in doc:
        headers.append(("content-type", doc["datacontenttype"].encode()))
    if "data_base64" in doc:
        value = base64.b64decode(doc["data_base64"])
    elif "data" not in doc:
        value = None
    elif isinstance(doc["data"], str) and "json" not in doc.get("datacontenttype", "application/json"):
        value = doc["data"].encode()
    else:
        from harness import members
        value = members(text)["data"].encode()
    return Record(None, value, headers), doc["source"] + "\n" + doc["id"]


def read_body(req, type, body):
    """[(record, key, partition, kind of key)], errors."""
    from harness import members, elements
    out, errors = [], []
    ce = {k[3:]: urllib.parse.unquote(v) for k, v in req.headers.items() if k.startswith("ce-")}
    if type == "application/x-ndjson":
        index = 0
        for number, line in enumerate(body.split(b"\n"), 1):
            line = line.strip(b" \t\r")
            if not line:
                continue
            if len(line) > RECORD_MAX:
                errors.append({"index": index, "line": number, "code": "record_too_large", "detail": "over 1 MiB"})
            elif is_json(line):
                out.append((index, Record(None, line), None, None, None))
            else:
                errors.append({"index": index, "line": number, "code": "invalid_json", "detail": "not JSON"})
            index += 1
    elif type == "application/vnd.weir.batch+json":
        if not is_json(body):
            raise Problem(400, "invalid_json")
        try:
            texts = elements(members(body.decode())["records"])
        except (KeyError, AssertionError, IndexError):
            raise Problem(422, "invalid_batch", 'want {"records":[…]}')
        for index, text in enumerate(texts):
            doc = json.loads(text)
            try:
                if not isinstance(doc, dict):
                    raise ValueError("a record is an object")
                extra = set(doc) - {"key", "value", "value_base64", "value_text", "tombstone", "headers",
                                    "partition", "idempotency_key", "timestamp", "key_base64"}
                if extra:
                    raise ValueError("unknown member %s" % extra.pop())
                given = [k for k in ("value", "value_base64", "value_text", "tombstone") if k in doc]
                if len(given) != 1:
                    raise ValueError("one of value, value_base64, value_text, tombstone")
                value = members(text)["value"].encode() if given == ["value"] else \
                    base64.b64decode(doc["value_base64"], validate=True) if given == ["value_base64"] else \
                    doc["value_text"].encode() if given == ["value_text"] else None
                if value and len(value) > RECORD_MAX:
                    errors.append({"index": index, "code": "record_too_large", "detail": "over 1 MiB"})
                    continue
                key = doc.get("key")
                if key is not None and not isinstance(key, str):
                    raise ValueError("key is a string")
                r = Record(key.encode() if key is not None else None, value,
                           header_values(doc.get("headers", {})), doc.get("timestamp"))
                out.append((index, r, doc.get("idempotency_key"), doc.get("partition"), "batch"))
            except (ValueError, TypeError) as e:
                errors.append({"index": index, "code": "invalid_record", "detail": str(e)})
    elif type in ("application/cloudevents+json", "application/cloudevents-batch+json"):
        if not is_json(body):
            raise Problem(400, "invalid_json")
        texts = elements(body.decode()) if "batch" in type else [body.decode()]
        for index, text in enumerate(texts):
            try:
                r, key = cloud_event(json.loads(text), text)
                out.append((index, r, key, None, "ce"))
            except Problem as e:
                errors.append({"index": index, "code": e.code, "detail": e.detail})
    elif ce:
        doc = dict(ce)
        if type:
            doc["datacontenttype"] = type
        r, key = cloud_event(doc)
        r.value = body
        out.append((0, r, key, None, "ce"))
    elif type == "application/json":
        if not is_json(body):
            raise Problem(400, "invalid_json", "the body is not well-formed JSON")
        out.append((0, Record(None, body), None, None, None))
    else:
        out.append((0, Record(None, body), None, None, None))
    if type in ("application/json",) or (not errors and len(out) == 1):
        if out and out[0][1].value and len(out[0][1].value) > RECORD_MAX and type != "application/x-ndjson":
            raise Problem(413, "record_too_large", "the limit is %d bytes" % RECORD_MAX)
    return out, errors


class Fake:
    def __init__(self, args):
        self.args, self.store = args, Store(args.data)
        config = open(args.c).read() if args.c else ""
        self.auto = "auto_create: false" not in config
        self.refused, self.flights, self.writers = {}, {}, set()

    def topic(self, name, create=False):
        if not NAME.match(name) or name.startswith("_") and create:
            raise Problem(400, "invalid_topic", "1 to 249 of a-z A-Z 0-9 . _ -")
        t = self.store.topics.get(name)
        if t is None and create and self.auto:
            self.store.commit({"do": "create", "name": name, "id": uuid.uuid4().hex[:8], "config": {}})
            t = self.store.topics[name]
        if t is None:
            raise Problem(404, "unknown_topic", "no topic named " + name)
        return t

    def ingest(self, req, name, path_key=None):
        q = req.query
        for k in q:
            if k not in ("key", "partition", "ack", "on_error", "results"):
                raise Problem(400, "unknown_parameter", k)
        for k, allowed in (("ack", ("durable", "none")), ("on_error", ("reject", "skip")), ("results", ("ranges", "records"))):
            if q.get(k, allowed[0]) not in allowed:
                raise Problem(400, "invalid_parameter", "%s is one of %s" % (k, ", ".join(allowed)))
        body = inflate(req)
        type = req.headers.get("content-type", "").split(";")[0].strip().lower()
        records, errors = read_body(req, type, body)
        total = len(records) + len(errors)
        if total > RECORDS_MAX:
            raise Problem(413, "too_many_records", "the limit is %d" % RECORDS_MAX)
        if not total:
            raise Problem(422, "invalid_batch", "no record in the body")
        skip = q.get("on_error") == "skip"
        unit = path_key
        if "idempotency-key" in req.headers:
            unit = unquote_key(req.headers["idempotency-key"])
        t = self.store.topics.get(name)
        count = len(t.parts) if t else 1
        if not t and not NAME.match(name):
            raise Problem(400, "invalid_topic")
        good = []
        if "partition" in q and (not q["partition"].isdigit() or int(q["partition"]) >= count):
            raise Problem(400, "partition_out_of_range" if q["partition"].isdigit() else "invalid_parameter")
        for index, r, key, p, kind in records:
            if r.key is None and "key" in q:
                r.key = q["key"].encode()
            p = p if p is not None else int(q["partition"]) if "partition" in q else None
            if p is not None and not 0 <= p < count:
                errors.append({"index": index, "code": "partition_out_of_range", "detail": "%d partitions" % count})
                continue
            good.append((index, r, key, p, kind))
        if errors and (not skip or not good):
            raise Problem(422, "invalid_batch", "%d of %d records are bad" % (len(errors), total),
                          errors=sorted(errors, key=lambda e: e["index"]))
        t = self.topic(name, create=True)
        now = int(time.time() * 1000)
        rows, keys, plan, dup = [], [], [], 0
        fp = hashlib.sha256(repr([(r.key, p, r.headers, r.value) for _, r, _, p, _ in good]).encode()).hexdigest()
        replay = None
        if unit:
            got = self.store.seen.get((t.id, unit))
            if got:
                if got[0] != fp:
                    raise Problem(422, "idempotency_key_reused")
                replay, dup = got[1], len(got[1])
            else:
                keys.append([fp, unit, 0, len(good)])
        here = {}
        for index, r, key, p, kind in good if replay is None else ():
            if key and not unit:
                got = self.store.seen.get((t.id, key))
                one = hashlib.sha256(repr((r.key, p, r.headers, r.value)).encode()).hexdigest()
                if (got and kind != "ce" and got[0] != one) or (key in here and kind != "ce" and here[key][0] != one):
                    raise Problem(422, "idempotency_key_reused" if total == 1 else "invalid_batch",
                                  errors=[{"index": index, "code": "idempotency_key_reused", "detail": "other payload"}])
                if got:
                    plan.append((index, got[1][0], None))
                    dup += 1
                    continue
                if key in here:
                    plan.append((index, None, here[key][1]))
                    dup += 1
                    continue
                keys.append([one, key, len(rows), 1])
                here[key] = (one, len(rows))
            if p is None:
                if r.key is not None:
                    p = (murmur2(r.key) & 0x7fffffff) % len(t.parts)
                else:
                    p = t.turn % len(t.parts)
                    t.turn += 1
            plan.append((index, None, len(rows)))
            headers = r.headers + ([("idempotency-key", (unit or key).encode())] if unit or key else [])
            rows.append([p, None if r.key is None else b64(r.key), None if r.value is None else b64(r.value),
                         [[n, b64(v)] for n, v in headers], r.time if r.time is not None else now])
        places = self.store.commit({"do": "append", "name": name, "records": rows, "keys": keys}) if rows else []
        if q.get("ack") == "none":
            return 202, {"topic": name, "entered": len(good)}, {}
        if replay is not None:
            results = [(i, place, True) for (i, *_), place in zip(good, replay)]
        else:
            results, fresh = [], set()
            for index, place, row in plan:
                results.append((index, place or places[row], place is not None or row in fresh))
                fresh.add(row)
        ranges = []
        for p, o in sorted({place for _, place, _ in results}):
            if ranges and ranges[-1]["partition"] == p and ranges[-1]["last"] == o - 1:
                ranges[-1]["last"] = o
            else:
                ranges.append({"partition": p, "first": o, "last": o})
        doc = {"topic": name, "accepted": len(results) - dup, "duplicates": dup, "rejected": len(errors), "offsets": ranges}
        if errors:
            doc["errors"] = errors
        if q.get("results") == "records":
            doc["results"] = sorted(
                [{"index": i, "partition": p, "offset": o, "status": "duplicate" if d else "accepted"}
                 for i, (p, o), d in results] +
                [{"index": e["index"], "status": "rejected", "code": e["code"]} for e in errors], key=lambda r: r["index"])
        return 200, doc, {"Idempotent-Replayed": "true"} if dup and dup == len(results) else {}

    # ---- the door out ----

    def seek(self, text, topics, default):
        """{topic name: {partition: offset}} for a cursor; topics that are not there yet are left out."""
        text = text or default
        pos = {}
        if text in ("earliest", "latest") or text.startswith("@"):
            at = None
            if text.startswith("@"):
                try:
                    if text[1:].isdigit():
                        at = int(text[1:])
                    else:
                        from datetime import datetime, timezone
                        d = datetime.fromisoformat(text[1:].replace("Z", "+00:00"))
                        at = int((d if d.tzinfo else d.replace(tzinfo=timezone.utc)).timestamp() * 1000)
                except ValueError:
                    raise Problem(400, "invalid_cursor")
            for name in topics:
                t = self.store.topics.get(name)
                if not t:
                    pos[name] = {}
                    continue
                pos[name] = {p: next((r.offset for r in t.parts[p] if r.time >= at), t.end(p)) if at is not None
                             else t.starts[p] if text == "earliest" else t.end(p) for p in range(len(t.parts))}
            return pos
        try:
            doc = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        except Exception:
            raise Problem(400, "invalid_cursor", "a cursor that weir gave, earliest, latest or @TIME")
        for name in topics:
            t = self.store.topics.get(name)
            entry = doc.get(name) if isinstance(doc, dict) else None
            if entry is None:
                raise Problem(400, "cursor_mismatch", "the cursor is of another topic")
            if t is None:
                pos[name] = {}
                continue
            if not isinstance(entry, dict) or not isinstance(entry.get("at"), dict) or not all(
                    isinstance(o, int) and o >= 0 for o in entry["at"].values()):
                raise Problem(400, "invalid_cursor")
            if entry.get("id") and entry["id"] != t.id:
                raise Problem(410, "cursor_gone", "the topic was made anew", cursor=self.cursor(self.seek("earliest", topics, "")))
            pos[name] = {p: entry["at"].get(str(p), t.starts[p] if str(p) not in entry["at"] else 0) for p in range(len(t.parts))}
            for p, o in pos[name].items():
                if o > t.end(p):
                    raise Problem(409, "cursor_ahead")
        return pos

    def cursor(self, pos):
        doc = {n: {"id": self.store.topics[n].id if n in self.store.topics else None, "at": at} for n, at in pos.items()}
        return base64.urlsafe_b64encode(dumps(doc).encode()).decode().rstrip("=")

    def behind(self, pos):
        """Moves positions behind the log forward; [(topic, partition, from, to)]."""
        out = []
        for n, at in pos.items():
            t = self.store.topics.get(n)
            for p in list(at) if t else ():
                if at[p] < t.starts[p]:
                    out.append((n, p, at[p], t.starts[p]))
                    at[p] = t.starts[p]
        return out

    def stream_check(self, names, q):
        total = sum(len(self.store.topics[n].parts) for n in names if n in self.store.topics)
        chosen = self.select(q, 0)
        if min(total, len(chosen) if chosen is not None else total) > 256:
            raise Problem(400, "too_many_partitions")
        if not self.auto:
            for n in names:
                self.topic(n)

    def select(self, q, count):
        if "partitions" not in q:
            return None
        out = set()
        for part in q["partitions"].split(","):
            m = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
            if not m:
                raise Problem(400, "invalid_parameter")
            low, high = int(m.group(1)), int(m.group(2) or m.group(1))
            if high < low:
                raise Problem(400, "invalid_parameter")
            out.update(range(low, high + 1))
        return out

    def pull(self, pos, limit, chosen=None, key=None):
        """Records from the position on, which moves: [(topic, partition, record, cursor after it)]."""
        out = []
        for n, at in pos.items():
            t = self.store.topics.get(n)
            if not t:
                continue
            for p in range(len(t.parts)):
                at.setdefault(p, 0)
            for p in sorted(at):
                if chosen is not None and p not in chosen:
                    continue
                while at[p] < t.end(p) and len(out) < limit:
                    r = t.parts[p][at[p] - t.starts[p]]
                    at[p] += 1
                    if key is None or r.key == key.encode():
                        out.append((n, p, r, self.cursor(pos)))
        return out

    def caught_up(self, pos, chosen):
        return all(at.get(p, 0) >= self.store.topics[n].end(p) for n, at in pos.items() if n in self.store.topics
                   for p in range(len(self.store.topics[n].parts)) if chosen is None or p in chosen)

    def number(self, q, name, default, low, high):
        if name not in q:
            return default
        if not q[name].isdigit() or not low <= int(q[name]) <= high:
            raise Problem(400, "invalid_parameter", "%s is %d to %d" % (name, low, high))
        return int(q[name])

    def wait_time(self, q):
        m = re.fullmatch(r"(\d+)(ms|s|m)", q.get("wait", "0s"), re.A)
        seconds = m and int(m.group(1)) * {"ms": 0.001, "s": 1, "m": 60}[m.group(2)]
        if seconds is None or seconds > 300:
            raise Problem(400, "invalid_parameter", "wait is at most 5m")
        return time.monotonic() + seconds

    async def poll(self, req, name):
        q = req.query
        for k in q:
            if k not in ("cursor", "limit", "wait", "partitions", "key"):
                raise Problem(400, "unknown_parameter", k)
        limit, end = self.number(q, "limit", 100, 1, 10000), self.wait_time(q)
        t = self.topic(name)
        pos, chosen = self.seek(q.get("cursor"), [name], "earliest"), self.select(q, len(t.parts))
        if chosen and max(chosen) >= len(t.parts):
            raise Problem(400, "partition_out_of_range")
        if self.behind(pos):
            raise Problem(410, "cursor_gone", "records before were trimmed", cursor=self.cursor(pos))
        while True:
            got = self.pull(pos, limit, chosen, q.get("key"))
            left = end - time.monotonic()
            if got or left <= 0:
                break
            await asyncio.wait([self.store.wait()], timeout=left)
        body = '{"records":[%s],"cursor":"%s","caught_up":%s}' % (
            ",".join(r.json(n, p) for n, p, r, _ in got), self.cursor(pos), dumps(self.caught_up(pos, chosen)))
        tag = '"%s"' % hashlib.sha1(body.encode()).hexdigest()
        if tag in req.headers.get("if-none-match", ""):
            return 304, None, {"ETag": tag}
        return 200, body.encode(), {"ETag": tag, "Content-Type": "application/json", "Cache-Control": "no-cache"}

    async def one_partition(self, req, name, p):
        q = req.query
        t = self.topic(name)
        if p >= len(t.parts):
            raise Problem(404, "unknown_partition")
        limit, end = self.number(q, "limit", 100, 1, 10000), self.wait_time(q)
        at = self.number(q, "offset", t.starts[p], 0, 1 << 62)
        if at < t.starts[p]:
            raise Problem(410, "cursor_gone", "", next_offset=t.starts[p])
        if at > t.end(p):
            raise Problem(409, "cursor_ahead")
        pos = {name: {p: at}}
        while True:
            got = self.pull(pos, limit, {p})
            left = end - time.monotonic()
            if got or left <= 0:
                break
            await asyncio.wait([self.store.wait()], timeout=left)
        body = '{"records":[%s],"next_offset":%d,"high_watermark":%d}' % (
            ",".join(r.json(n, p) for n, p, r, _ in got), pos[name][p], t.end(p))
        return 200, body.encode(), {"Content-Type": "application/json"}

    async def stream(self, names, cursor, q, emit, gap, idle):
        pos = self.seek(cursor, names, "latest")
        last, chosen = time.monotonic(), self.select(q, 0)
        while True:
            for n in names:
                if not pos.get(n) and n in self.store.topics:
                    pos[n] = {p: 0 for p in range(len(self.store.topics[n].parts))}
            for n, p, a, b in self.behind(pos):
                await gap(dict({"partition": p, "from": a, "to": b}, **({"topic": n} if len(names) > 1 else {})), self.cursor(pos))
            for n, p, r, c in self.pull(pos, 100, chosen, q.get("key")):
                await emit(n, p, r, c)
                last = time.monotonic()
            if not self.caught_up(pos, chosen):
                continue
            left = last + 15 - time.monotonic()
            if left <= 0:
                await idle()
                last = time.monotonic()
            else:
                await asyncio.wait([self.store.wait()], timeout=left)

    async def sse(self, req, names):
        w = req.writer
        self.stream_check(names, req.query)
        if req.method == "HEAD":
            return 200, b"", {"Content-Type": "text/event-stream"}
        cursor = req.headers.get("last-event-id") or req.query.get("cursor")
        self.seek(cursor, names, "latest")
        w.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\nTransfer-Encoding: chunked\r\n\r\n")

        async def say(text):
            data = text.encode()
            w.write(b"%x\r\n%s\r\n" % (len(data), data))
            await w.drain()

        async def emit(n, p, r, c):
            text = re.sub("\r\n|\r|\n", "\n", r.json(n, p))
            await say("id: %s\n%s\n\n" % (c, "\n".join("data: " + x for x in text.split("\n"))))

        async def gap(g, c):
            await say("id: %s\nevent: gap\ndata: %s\n\n" % (c, dumps({"gap": g})))

        await say("retry: 1000\n\n")
        stream = asyncio.ensure_future(self.stream(names, cursor, req.query, emit, gap, lambda: say(":\n\n")))
        await self.until_gone(req, stream)
        w.write(b"0\r\n\r\n")
        return "close"

    async def until_gone(self, req, *tasks):
        gone = asyncio.ensure_future(req.reader.read(1))
        await asyncio.wait([gone, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for t in (gone, *tasks):
            t.cancel()

    async def ws(self, req, names):
        h = req.headers
        if h.get("upgrade", "").lower() != "websocket" or "sec-websocket-key" not in h:
            raise Problem(426, "upgrade_required", headers={"Upgrade": "websocket", "Connection": "Upgrade"})
        if h.get("sec-websocket-version") != "13":
            raise Problem(426, "upgrade_required", headers={"Sec-WebSocket-Version": "13"})
        mode, v1 = req.query.get("mode", "subscribe"), "weir.v1" in [
            p.strip() for p in h.get("sec-websocket-protocol", "").split(",")]
        if mode not in ("subscribe", "publish", "both"):
            raise Problem(400, "invalid_parameter", "mode")
        cursor = req.query.get("cursor")
        self.stream_check(names, req.query)
        self.seek(cursor, names, "latest")
        accept = b64(hashlib.sha1((h["sec-websocket-key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest())
        w = req.writer
        w.write(("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n%s\r\n" % (
            accept, "Sec-WebSocket-Protocol: weir.v1\r\n" if v1 else "")).encode())
        raw = req.query.get("format") == "raw" or mode == "both" and not v1

        def frame(op, data):
            n = len(data)
            w.write(bytes([0x80 | op]) + (bytes([n]) if n < 126 else b"\x7e" + struct.pack(">H", n) if n < 65536
                                          else b"\x7f" + struct.pack(">Q", n)) + data)

        def close(code):
            frame(8, struct.pack(">H", code))
            raise EOFError

        async def emit(n, p, r, c):
            if raw:
                frame(1 if utf8(r.value or b"") is not None else 2, r.value or b"")
            elif v1:
                frame(1, ('{"record":%s}' % r.json(n, p, c)).encode())
            else:
                frame(1, r.json(n, p, c).encode())
            await w.drain()

        async def gap(g, c):
            frame(1, dumps({"gap": g, "cursor": c}).encode())

        async def idle():
            frame(9, b"")

        def publish(op, data):
            if mode == "subscribe":
                close(1008)
            fake = Request("POST", "", {}, {}, b"")
            if not v1:
                fake.body = data
                if "key" in req.query:
                    fake.query["key"] = req.query["key"]
                _, doc, _ = self.ingest(fake, names[0])
                if req.query.get("ack") == "1":
                    o = doc["offsets"][0]
                    frame(1, dumps({"ack": {"partition": o["partition"], "offset": o["first"]}}).encode())
                return
            from harness import members
            text = data.decode()
            try:
                m = members(members(text)["publish"])
            except Exception:
                frame(1, dumps({"error": {"id": None, "code": "invalid_json", "detail": "want publish"}}).encode())
                return
            id = json.loads(m.pop("id", "null"))
            rec = "{" + ",".join("%s:%s" % (dumps(k), v) for k, v in m.items()) + "}"
            fake.headers = {"content-type": "application/vnd.weir.batch+json"}
            fake.body = ('{"records":[%s]}' % rec).encode()
            fake.query = {"results": "records"}
            try:
                _, doc, _ = self.ingest(fake, names[0])
                o = doc["results"][0]
                frame(1, dumps({"ack": {"id": id, "partition": o["partition"], "offset": o["offset"],
                                        "duplicate": o["status"] == "duplicate"}}).encode())
            except Problem as e:
                code = e.more["errors"][0] if e.more.get("errors") else {"code": e.code, "detail": e.detail}
                frame(1, dumps({"error": {"id": id, "code": code["code"], "detail": code["detail"]}}).encode())

        async def take():
            kind, whole, rd = None, b"", req.reader
            while True:
                a, b = await rd.readexactly(2)
                op, n = a & 15, b & 127
                if a & 0x70 or not b & 128 or op in (3, 4, 5, 6, 7) or op > 10 or op >= 8 and (n > 125 or not a & 128):
                    close(1002)
                if n > 125:
                    n = int.from_bytes(await rd.readexactly(2 if n == 126 else 8), "big")
                if n + len(whole) > RECORD_MAX:
                    close(1009)
                key = await rd.readexactly(4)
                data = await rd.readexactly(n)
                data = (int.from_bytes(data, "big") ^ int.from_bytes((key * (n // 4 + 1))[:n], "big")).to_bytes(n, "big")
                if op == 8:
                    if len(data) == 1:
                        close(1002)
                    code = struct.unpack(">H", data[:2])[0] if data else 1000
                    if code < 1000 or code in (1004, 1005, 1006) or 1015 <= code < 3000 or code >= 5000:
                        close(1002)
                    if utf8(data[2:]) is None:
                        close(1007)
                    close(code)
                elif op == 9:
                    frame(10, data)
                elif op < 8:
                    if (op == 0) == (kind is None):
                        close(1002)
                    kind, whole = kind or op, whole + data
                    if a & 128:
                        if kind == 1 and utf8(whole) is None:
                            close(1007)
                        publish(kind, whole)
                        kind, whole = None, b""
                await w.drain()

        tasks = [asyncio.ensure_future(take())]
        if mode != "publish":
            tasks.append(asyncio.ensure_future(self.stream(names, cursor, req.query, emit, gap, idle)))
        try:
            done, rest = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for t in rest:
                t.cancel()
            for t in done:
                if t.exception() and not isinstance(t.exception(), (EOFError, ConnectionError)):
                    raise t.exception()
        except asyncio.CancelledError:
            frame(8, struct.pack(">H", 1001))
            for t in tasks:
                t.cancel()
            await w.drain()
            raise
        return "close"

    # ---- topics and the rest ----

    def put_topic(self, req, name):
        if not is_json(req.body or b"{}"):
            raise Problem(400, "invalid_json")
        config = parse_json(req.body or b"{}")
        known = ("partitions", "retention", "retention_bytes", "durability", "cleanup", "idempotency")
        for k in config:
            if k not in known:
                raise Problem(400, "invalid_topic_config", "unknown key " + k)
        n = config.get("partitions", 1)
        if not isinstance(n, int) or not 1 <= n <= 10000:
            raise Problem(400, "invalid_topic_config")
        if not NAME.match(name) or name.startswith("_"):
            raise Problem(400, "invalid_topic")
        t = self.store.topics.get(name)
        if t and n < len(t.parts) and "partitions" in config:
            raise Problem(400, "invalid_topic_config", "partitions may only grow")
        self.store.commit({"do": "change" if t else "create", "name": name, "id": uuid.uuid4().hex[:8], "config": config})
        return 200 if t else 201, self.store.topics[name].show(), {}

    def page(self, name):
        types = {"html": "text/html; charset=utf-8", "js": "text/javascript; charset=utf-8",
                 "css": "text/css; charset=utf-8", "svg": "image/svg+xml"}
        with open(os.path.join(ROOT, "web", name), "rb") as f:
            return 200, f.read(), {"Content-Type": types[name.split(".")[-1]], "Cache-Control": "no-cache",
                                   "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'",
                                   "X-Content-Type-Options": "nosniff"}

    async def route(self, req):
        path = [urllib.parse.unquote(p) for p in req.path.split("/")[1:]]
        if req.path == "/":
            path = ["index.html"]
        method = "GET" if req.method == "HEAD" else req.method
        if "origin" in req.headers and req.headers["origin"] != "http://" + req.headers["host"]:
            raise Problem(403, "forbidden_origin")
        if req.headers["host"].rsplit(":", 1)[0] not in ("127.0.0.1", "localhost", "[::1]"):
            raise Problem(403, "forbidden_host")

        def allow(**table):
            if req.method == "OPTIONS":
                return lambda: (204, None, {"Allow": ", ".join([*table, "OPTIONS"])})
            if method not in table:
                raise Problem(405, "method_not_allowed", headers={"Allow": ", ".join(
                    [*table] + (["HEAD"] if "GET" in table else []) + ["OPTIONS"])})
            return table[method]
        fn = None
        if len(path) == 1 and os.path.isfile(os.path.join(ROOT, "web", path[0])):
            fn = allow(GET=lambda: self.page(path[0]))
        elif path in (["healthz"], ["readyz"]):
            fn = allow(GET=lambda: (200, {"status": "ok"}, {}))
        elif path == ["metrics"]:
            fn = allow(GET=lambda: (200, "".join(
                ["# HELP weir_refused_total Requests refused by reason.\n# TYPE weir_refused_total counter\n"] +
                ['weir_refused_total{reason="%s"} %d\n' % i for i in self.refused.items()]).encode(),
                {"Content-Type": "text/plain; version=0.0.4"}))
        elif path == ["v1", "topics"]:
            fn = allow(GET=lambda: (200, {"topics": [self.store.topics[n].show() for n in sorted(self.store.topics)], "next": None}, {}))
        elif path[:2] == ["v1", "topics"] and len(path) > 2:
            name, rest = path[2], path[3:]
            if not rest:
                fn = allow(GET=lambda: (200, self.topic(name).show(), {}), PUT=lambda: self.put_topic(req, name),
                           DELETE=lambda: (self.topic(name), self.store.commit({"do": "delete", "name": name}), (204, None, {}))[2])
            elif rest == ["records"]:
                fn = allow(GET=lambda: self.poll(req, name), POST=lambda: self.ingest(req, name))
            elif len(rest) == 2 and rest[0] == "records":
                fn = allow(PUT=lambda: self.ingest(req, name, unquote_key(rest[1])))
            elif len(rest) == 3 and rest[0] == "partitions" and rest[2] == "records":
                if not rest[1].isdigit():
                    raise Problem(404, "unknown_partition")
                fn = allow(GET=lambda: self.one_partition(req, name, int(rest[1])))
            elif rest == ["sse"]:
                fn = allow(GET=lambda: self.sse(req, [name]))
            elif rest == ["ws"]:
                fn = allow(GET=lambda: self.ws(req, [name]))
            elif rest == ["trim"]:
                def trim():
                    pos = self.seek(parse_json(req.body)["before"], [name], "earliest")[name]
                    self.topic(name)
                    self.store.commit({"do": "trim", "name": name, "before": [pos.get(p) for p in sorted(pos)]})
                    return 200, self.topic(name).show(), {}
                fn = allow(POST=trim)
        elif path in (["v1", "sse"], ["v1", "ws"]):
            names = [n for n in req.query.get("topics", "").split(",") if n]
            if not names:
                raise Problem(400, "invalid_parameter", "topics=a,b")
            fn = allow(GET=lambda: (self.sse if path[1] == "sse" else self.ws)(req, names))
        if not fn:
            raise Problem(404, "not_found", "no such resource")
        got = fn()
        return await got if asyncio.iscoroutine(got) else got

    async def read_request(self, reader, writer):
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            raise Problem(431, "header_too_large", close=True)
        bad = Problem(400, "malformed_request", close=True)
        if len(head) > HEAD_MAX:
            raise Problem(431, "header_too_large", close=True)
        lines = head[:-4].split(b"\r\n")
        m = re.fullmatch(rb"([A-Z]+) (\S+) HTTP/1\.([01])", lines[0])
        if not m or re.search(rb"[\0\r\n]", head.replace(b"\r\n", b"")):
            raise bad
        headers, raw = {}, []
        for line in lines[1:]:
            if not re.match(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+:", line):
                raise bad
            name, _, value = line.partition(b":")
            name, value = name.decode().lower(), value.strip().decode("latin-1")
            if name in ("content-length", "host", "transfer-encoding") and name in headers:
                raise bad
            headers[name] = value
            raw.append(name)
        target = m.group(2).decode("latin-1")
        target = re.sub(r"^http://[^/]*", "", target)
        path, _, qs = target.partition("?")
        query = {}
        for part in qs.split("&") if qs else ():
            k, _, v = part.partition("=")
            query[urllib.parse.unquote_plus(k)] = urllib.parse.unquote_plus(v)
        if "host" not in headers:
            raise bad
        req = Request(m.group(1).decode(), path, query, headers, b"", reader, writer)
        if headers.get("expect"):
            if headers["expect"].lower() != "100-continue":
                raise Problem(417, "expectation_failed", close=True)
        if "transfer-encoding" in headers:
            if "content-length" in headers or headers["transfer-encoding"].lower() != "chunked":
                raise bad
            if "expect" in headers:
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            while True:
                size = (await reader.readuntil(b"\r\n"))[:-2].split(b";")[0]
                if not re.fullmatch(rb"[0-9a-fA-F]{1,16}", size):
                    raise bad
                n = int(size, 16)
                if n + len(req.body) > BODY_MAX:
                    raise Problem(413, "body_too_large", "the limit is %d bytes" % BODY_MAX, close=True)
                if n == 0:
                    while await reader.readuntil(b"\r\n") != b"\r\n":
                        pass
                    break
                req.body += await reader.readexactly(n)
                if await reader.readexactly(2) != b"\r\n":
                    raise bad
        elif "content-length" in headers:
            if not re.fullmatch(r"[0-9]{1,18}", headers["content-length"]):
                raise bad
            n = int(headers["content-length"])
            if n > BODY_MAX:
                raise Problem(413, "body_too_large", "the limit is %d bytes" % BODY_MAX, close=True)
            if "expect" in headers:
                writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            req.body = await reader.readexactly(n)
        elif req.method in ("POST", "PUT") and not path.startswith("/v1/topics/") and False:
            raise Problem(411, "length_required")
        return req

    async def serve(self, reader, writer):
        task = asyncio.current_task()
        self.writers.add(task)
        try:
            while True:
                req = None
                try:
                    try:
                        req = await asyncio.wait_for(self.read_request(reader, writer), 20)
                    except asyncio.TimeoutError:
                        raise Problem(408, "request_timeout", close=True)
                    got = await self.route(req)
                    if got == "close":
                        break
                    status, doc, headers = got
                except Problem as e:
                    self.refused[e.code] = self.refused.get(e.code, 0) + 1
                    status, headers = e.status, dict(e.headers, **{"Content-Type": "application/problem+json"})
                    doc = dumps(dict({"type": "about:blank", "title": e.code.replace("_", " "), "status": e.status,
                                      "code": e.code, "detail": e.detail}, **e.more)).encode()
                    if e.close:
                        headers["Connection"] = "close"
                body = b"" if doc is None else doc if isinstance(doc, bytes) else dumps(doc).encode()
                if doc is not None and not isinstance(doc, bytes):
                    headers = dict({"Content-Type": "application/json"}, **headers)
                if status not in (204, 304):
                    headers = dict(headers, **{"Content-Length": len(body)})
                writer.write(("HTTP/1.1 %d x\r\n" % status + "".join("%s: %s\r\n" % h for h in headers.items()) + "\r\n").encode() +
                             (b"" if req and req.method == "HEAD" or status in (204, 304) else body))
                await writer.drain()
                if not req or "close" in headers.get("Connection", "") or "close" in req.headers.get("connection", "").lower():
                    if headers.get("Connection"):
                        writer.write_eof()
                        try:
                            await asyncio.wait_for(reader.read(-1), 2)
                        except asyncio.TimeoutError:
                            pass
                    break
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError, OSError):
            pass
        finally:
            self.writers.discard(task)
            writer.close()


class Request:
    def __init__(self, method, path, query, headers, body, reader=None, writer=None):
        self.method, self.path, self.query, self.headers, self.body = method, path, query, headers, body
        self.reader, self.writer = reader, writer


async def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("command", choices=["serve"])
    ap.add_argument("-c")
    ap.add_argument("--data", default="./weir-data")
    ap.add_argument("--http", default="127.0.0.1:8080")
    ap.add_argument("--kafka", default="off")
    args = ap.parse_args()
    fake = Fake(args)
    host, port = args.http.rsplit(":", 1)
    try:
        server = await asyncio.start_server(fake.serve, host, int(port), limit=1 << 20, backlog=4096)
    except OSError as e:
        sys.exit(str(e))
    print("weir ready http=%s:%d data=%s" % (host, server.sockets[0].getsockname()[1], args.data), flush=True)
    stop = asyncio.get_running_loop().create_future()
    for s in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(s, lambda: stop.done() or stop.set_result(None))
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, lambda: None)
    await stop
    server.close()
    for t in list(fake.writers):
        t.cancel()
    await asyncio.sleep(0.1)


if __name__ == "__main__":
    asyncio.run(main())
