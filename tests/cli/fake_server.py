# SPDX-License-Identifier: Apache-2.0
"""A server with a log in memory and faults on demand, for the client commands.

It speaks as much of the contract as produce, tail and topic need: appends with
idempotency keys, polls, event streams, topics. Faults are set from the test:
  later(n, status)   answers the next n appends with a status that says "later"
  cut_after(n)       drops the connection after n more appends were stored, before their answers leave
  stop() / start()   closes everything; the log lives on, as weir's does
"""
import base64
import json
import socket
import threading
import time
import urllib.parse


class FakeServer:
    def __init__(self):
        self.log = []          # records as JSON objects
        self.keys = {}         # idempotency key -> offset
        self.topics = {}
        self.page = 1000       # topics in one answer
        self.port = 0
        self.later_left, self.later_status = 0, 503
        self.cut_left = None
        self.refuse = {}       # value -> (status, problem)
        self.connections = 0
        self.requests = []
        self.lock = threading.Condition()
        self.sockets = set()
        self.listener = None

    # ---- life ----

    def start(self):
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", self.port))
        self.listener.listen(64)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, args=(self.listener,), daemon=True).start()
        return self

    def stop(self):
        with self.lock:
            sockets = list(self.sockets)
            self.lock.notify_all()
        try:
            self.listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.listener.close()
        for s in sockets:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    @property
    def url(self):
        return "http://127.0.0.1:%d" % self.port

    def later(self, count, status=503):
        self.later_left, self.later_status = count, status

    def cut_after(self, count):
        self.cut_left = count

    def append(self, value):
        with self.lock:
            self.log.append(self.record(len(self.log), value, {}))
            self.lock.notify_all()

    @staticmethod
    def record(offset, value, headers):
        r = {"topic": "t", "partition": 0, "offset": offset, "timestamp": 1, "key": None, "headers": headers}
        try:
            r["value"] = json.loads(value)
        except ValueError:
            r["value_base64"] = base64.b64encode(value).decode()
        return r

    # ---- HTTP ----

    def accept(self, listener):
        while True:
            try:
                s, _ = listener.accept()
            except OSError:
                return
            with self.lock:
                self.connections += 1
                self.sockets.add(s)
            threading.Thread(target=self.session, args=(s,), daemon=True).start()

    def session(self, s):
        f = s.makefile("rb")
        try:
            while self.request(s, f):
                pass
        except (OSError, ValueError):
            pass
        with self.lock:
            self.sockets.discard(s)
        s.close()

    def request(self, s, f):
        line = f.readline()
        if not line:
            return False
        method, target, _ = line.decode().split(" ")
        headers = {}
        while True:
            h = f.readline().strip()
            if not h:
                break
            name, value = h.decode().split(":", 1)
            headers[name.lower()] = value.strip()
        body = f.read(int(headers.get("content-length", 0)))
        url = urllib.parse.urlsplit(target)
        query = dict(urllib.parse.parse_qsl(url.query))
        with self.lock:
            self.requests.append((method, target, headers, body))
        parts = [urllib.parse.unquote(p) for p in url.path.split("/")[1:]]
        if parts[-1] == "sse":
            self.stream(s, query)
            return False
        if parts[-1] == "records" and method == "POST":
            return self.post(s, headers, body)
        if parts[-1] == "records":
            return self.poll(s, query)
        return self.topic(s, method, parts, body, query)

    @staticmethod
    def answer(s, status, document, extra=""):
        data = json.dumps(document).encode()
        s.sendall(("HTTP/1.1 %d X\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n"
                   % (status, extra, len(data))).encode() + data)
        return True

    def post(self, s, headers, body):
        with self.lock:
            if self.later_left > 0:
                self.later_left -= 1
                return self.answer(s, self.later_status, {"code": "overloaded", "detail": "not now"}, "Retry-After: 0\r\n")
            if headers["content-type"].startswith("application/vnd.weir.batch"):
                one = json.loads(body)["records"][0]
                record_headers = one["headers"]
                body = one["value_text"].encode() if "value_text" in one else base64.b64decode(one["value_base64"])
            else:
                record_headers = {}
            if body in self.refuse:
                status, problem = self.refuse[body]
                return self.answer(s, status, problem)
            key = headers.get("idempotency-key")
            if key is not None and key in self.keys:
                return self.answer(s, 200, {"accepted": 0, "duplicates": 1}, "Idempotent-Replayed: true\r\n")
            if key is not None:
                self.keys[key] = len(self.log)
            self.log.append(self.record(len(self.log), body, record_headers))
            self.lock.notify_all()
            if self.cut_left is not None:
                self.cut_left -= 1
                if self.cut_left < 0:
                    self.cut_left = None
                    s.shutdown(socket.SHUT_RDWR)
                    return False
        return self.answer(s, 200, {"accepted": 1, "duplicates": 0})

    def position(self, cursor):
        if cursor == "earliest":
            return 0
        if cursor == "latest":
            return len(self.log)
        return 0 if cursor.startswith("@") else int(cursor[1:])

    def poll(self, s, query):
        with self.lock:
            if self.later_left > 0:
                self.later_left -= 1
                return self.answer(s, self.later_status, {"code": "overloaded", "detail": "not now"})
            at = self.position(query.get("cursor", "earliest"))
            records = self.log[at:at + min(int(query.get("limit", 100)), 7)]
            at += len(records)
            return self.answer(s, 200, {"records": records, "cursor": "c%d" % at, "caught_up": at == len(self.log)})

    def stream(self, s, query):
        s.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        with self.lock:
            at = self.position(query.get("cursor", "latest"))
        while True:
            with self.lock:
                while at >= len(self.log):
                    self.lock.wait(0.2)
                    if s.fileno() < 0 or s not in self.sockets:
                        return
                    if self.listener.fileno() < 0:
                        return
                record = self.log[at]
                cut = self.cut_left is not None
                if cut:
                    self.cut_left -= 1
                    cut = self.cut_left < 0
                    if cut:
                        self.cut_left = None
            at += 1
            text = json.dumps(record, indent=1)
            event = "id: c%d\n" % at + "".join("data: %s\n" % x for x in text.split("\n")) + "\n"
            data = event.encode()
            if cut:
                s.sendall(b"%x\r\n" % len(data) + data[:len(data) // 2])
                s.shutdown(socket.SHUT_RDWR)
                return
            s.sendall(b"%x\r\n" % len(data) + data + b"\r\n")

    def topic(self, s, method, parts, body, query):
        if method == "GET" and parts == ["v1", "topics"]:
            rest = [dict(t, name=n) for n, t in sorted(self.topics.items()) if n > query.get("after", "")]
            page = rest[:self.page]
            return self.answer(s, 200, {"topics": page, "next": page[-1]["name"] if len(rest) > len(page) else None})
        name = parts[2]
        if method == "PUT":
            self.topics[name] = json.loads(body)
            return self.answer(s, 201, dict(self.topics[name], name=name))
        if name not in self.topics:
            return self.answer(s, 404, {"code": "unknown_topic", "detail": "there is no topic %s" % name})
        if method == "DELETE":
            del self.topics[name]
            s.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
            return True
        if parts[-1] == "trim":
            return self.answer(s, 200, json.loads(body))
        return self.answer(s, 200, dict(self.topics[name], name=name))
