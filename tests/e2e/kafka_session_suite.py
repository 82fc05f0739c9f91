# SPDX-License-Identifier: Apache-2.0
"""The Kafka port itself: frames, order, versions, logins, strangers, stop; Metadata."""
import base64
import hashlib
import hmac
import os
import re
import socket
import struct
import subprocess

from harness import BIN, Failed, Weir, check, eq, expect, patience, test, until
from kafka_wire import Kafka, address, request

USERS = 'kafka: { users: ["ann:secret", "bob:pass:word"] }\n'
UNKNOWN_TOPIC, INVALID_TOPIC, UNSUPPORTED, UNKNOWN_ID = 3, 17, 35, 100


def connect(w):
    s = socket.create_connection(address(w), timeout=patience())
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


def read_all(s):
    out = b""
    try:
        while True:
            got = s.recv(65536)
            if not got:
                return out
            out += got
    except ConnectionResetError:
        return out
    except socket.timeout:
        raise Failed("the connection stays open after %r" % out)


# ---- frames and order ----

@test("ApiVersions is answered in every version, and an unknown one with error 35 in the form of version 0")
def _(w):
    with Kafka(w) as k:
        for version in range(5):
            doc = k.call("ApiVersions", version, client_software_name="test", client_software_version="1")
            eq(doc["error_code"], 0)
            ranges = {a["api_key"]: (a["min_version"], a["max_version"]) for a in doc["api_keys"]}
            eq((ranges[3], ranges[18]), ((0, 12), (0, 4)))
        k.raw(struct.pack(">ihhih", 11, 18, 99, 77, 1) + b"x")
        frame = k.frame()
        eq(frame[:6], struct.pack(">ih", 77, UNSUPPORTED))
        eq(frame[6:], struct.pack(">ihhh", 1, 18, 0, 4))
        eq(k.call("ApiVersions", 0)["error_code"], 0, "the connection goes on")


@test("a request that comes byte by byte, and many in one packet, are answered in order")
def _(w):
    with connect(w) as s:
        one = request("Metadata", 9, correlation=5, topics=[])
        for i in range(len(one)):
            s.sendall(one[i:i + 1])
        def exactly(n):
            out = b""
            while len(out) < n:
                got = s.recv(n - len(out))
                check(got, "closed after %r" % out)
                out += got
            return out

        def answer():
            return exactly(struct.unpack(">i", exactly(4))[0])
        eq(answer()[:4], struct.pack(">i", 5))
        s.sendall(b"".join(request("ApiVersions", 0, correlation=i) if i % 3 else
                           request("Metadata", 1, correlation=i, topics=[]) for i in range(300)))
        eq([struct.unpack(">i", answer()[:4])[0] for _ in range(300)], list(range(300)))


@test("what is no request closes its connection and no other, with a line that says why")
def _(w):
    bad = {
        "an API or version that is not served": struct.pack(">ihhih", 10, 999, 0, 1, -1),
        "not well formed": struct.pack(">ihhih", 10, 3, 9, 1, -1)[:14],
        "is no request": struct.pack(">i", 0),
    }
    with Kafka(w) as other:
        for why, data in bad.items():
            with connect(w) as s:
                s.sendall(data)
                eq(read_all(s), b"")
            until(lambda: why in w.log(), what="a line with %r" % why)
        eq(other.call("ApiVersions", 0)["error_code"], 0)


@test("a body cut short and a count over the bytes close the connection; what is left over behind one is passed over")
def _(w):
    whole = request("Metadata", 1, topics=[{"name": "a"}])
    for body in (whole[4:-1], whole[4:-7] + struct.pack(">i", 0x7fffffff)):
        with connect(w) as s:
            s.sendall(struct.pack(">i", len(body)) + body)
            eq(read_all(s), b"")
    with Kafka(w) as k:  # as Kafka does: librdkafka 2.16 sends some bytes too many
        body = request("Metadata", 1, correlation=7, topics=[])[4:] + b"\0\0\0"
        k.raw(struct.pack(">i", len(body)) + body)
        eq(k.frame()[:4], struct.pack(">i", 7))
        eq(k.call("ApiVersions", 0)["error_code"], 0)


@test("HTTP, TLS and requests over the limit are named in the log and closed", own=True)
def _():
    with Weir("kafka: { request_bytes_max: 64KiB }\n") as w:
        for data, line in ((b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP is served at http://"),
                           (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc", "TLS handshake"),
                           (struct.pack(">i", 65537) + b"x" * 100, "bytes=65537 limit=65536")):
            with connect(w) as s:
                s.sendall(data)
                eq(read_all(s), b"")
            until(lambda: line in w.log(), what="a line with %r" % line)
        check("peer=127.0.0.1:" in w.log(), w.log())


@test("clients that vanish in a frame, send nothing or read nothing hold up nobody", own=True, timeout=60)
def _():
    with Weir() as w:
        idle = [connect(w) for _ in range(1000)]
        for i, s in enumerate(idle):
            if i % 3 == 0:
                s.sendall(struct.pack(">i", 1 << 20) + b"\0" * 500)
            elif i % 3 == 1:
                s.sendall(request("Metadata", 9, topics=None) * 50)
        with Kafka(w) as k:
            for _ in range(100):
                eq(k.call("Metadata", 9, topics=[])["controller_id"], 0)
        for s in idle[::2]:
            s.close()
        with Kafka(w) as k:
            eq(k.call("Metadata", 9, topics=[])["controller_id"], 0)
        for s in idle[1::2]:
            s.close()


# ---- Metadata ----

@test("Metadata names the broker as it was reached, and the same cluster after a restart", own=True)
def _():
    with Weir() as w:
        with Kafka(w) as k:
            doc = k.call("Metadata", 9, topics=[])
            eq([(b["node_id"], b["host"], b["port"]) for b in doc["brokers"]], [(0,) + address(w)])
            name = doc["cluster_id"]
            eq(len(name), 22)
            other = k.call("DescribeCluster", 1)
            eq([k.call("DescribeCluster", 1, endpoint_type=kind)["error_code"] for kind in (1, 2, 3)], [0, 114, 115])
            eq((other["cluster_id"], other["controller_id"]), (name, 0))
        w.restart(hard=True)
        with Kafka(w) as k:
            eq(k.call("Metadata", 12, topics=[])["cluster_id"], name)


@test("the advertised address is told where one is configured", own=True)
def _():
    with Weir("kafka: { advertised: 'weir.example.com:1234' }\n") as w, Kafka(w) as k:
        eq([(b["host"], b["port"]) for b in k.call("Metadata", 9, topics=[])["brokers"]], [("weir.example.com", 1234)])


@test("Metadata makes a topic where client and configuration want it, and shows it by name and by id")
def _(w):
    name = w.topic()
    with Kafka(w) as k:
        ask = {"topics": [{"name": name}, {"name": "bad name"}]}
        eq([t["error_code"] for t in k.call("Metadata", 9, allow_auto_topic_creation=False, **ask)["topics"]],
           [UNKNOWN_TOPIC, INVALID_TOPIC])
        expect(w.get("/v1/topics/" + name), 404)
        made, bad = k.call("Metadata", 9, allow_auto_topic_creation=True, **ask)["topics"]
        eq((made["error_code"], bad["error_code"]), (0, INVALID_TOPIC))
        eq([(p["partition_index"], p["leader_id"], p["leader_epoch"], p["replica_nodes"], p["isr_nodes"])
            for p in made["partitions"]], [(0, 0, 0, [0], [0])])
        doc = expect(w.get("/v1/topics/" + name), 200).json()
        found = k.call("Metadata", 12, topics=[{"name": None, "topic_id": bytes.fromhex(doc["id"].replace("-", ""))},
                                               {"name": None, "topic_id": b"\1" * 16}])["topics"]
        eq([(t["error_code"], t["name"]) for t in found], [(0, name), (UNKNOWN_ID, None)])
        check(name in [t["name"] for t in k.call("Metadata", 1, topics=None)["topics"]], "all topics with null")
        check(name in [t["name"] for t in k.call("Metadata", 0, topics=[])["topics"]], "all topics with none in version 0")
        eq(k.call("Metadata", 1, topics=[])["topics"], [])


@test("no topic is made where the configuration says no", own=True)
def _():
    with Weir("topic_defaults: { auto_create: false }\n") as w, Kafka(w) as k:
        eq(k.call("Metadata", 9, topics=[{"name": "t"}])["topics"][0]["error_code"], UNKNOWN_TOPIC)


# ---- logins ----

def scram(k, user, password, name, digest, ask):
    """A whole exchange by hand; gives what the last message of the server was."""
    mine = base64.b64encode(os.urandom(18)).decode()
    bare = "n=%s,r=%s" % (user, mine)
    first = ask("n,," + bare)
    fields = dict(f.split("=", 1) for f in first.split(","))
    check(fields["r"].startswith(mine) and len(fields["r"]) > len(mine) + 16, first)
    salt, rounds = base64.b64decode(fields["s"]), int(fields["i"])
    check(rounds >= 4096, first)
    salted = hashlib.pbkdf2_hmac(name, password.encode(), salt, rounds)
    key = hmac.new(salted, b"Client Key", name).digest()
    stored = hashlib.new(name, key).digest()
    unproved = "c=biws,r=" + fields["r"]
    message = ",".join((bare, first, unproved)).encode()
    proof = bytes(a ^ b for a, b in zip(key, hmac.new(stored, message, name).digest()))
    last = ask(unproved + ",p=" + base64.b64encode(proof).decode())
    server = hmac.new(hmac.new(salted, b"Server Key", name).digest(), message, name).digest()
    if last:
        eq(last, "v=" + base64.b64encode(server).decode(), "the server proves itself")
    return last


def authenticate(k, mechanism, user, password):
    eq(k.call("SaslHandshake", 1, mechanism=mechanism)["error_code"], 0)
    code = []

    def ask(text):
        doc = k.call("SaslAuthenticate", 2, auth_bytes=text.encode())
        code.append(doc["error_code"])
        return doc["auth_bytes"].decode()
    if mechanism == "PLAIN":
        ask("\0%s\0%s" % (user, password))
    else:
        name = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}[mechanism]
        scram(k, user, password, name, None, ask)
    return code[-1]


@test("users log in with PLAIN, SCRAM-SHA-256 and SCRAM-SHA-512; a wrong password or name is 58 and tells nothing", own=True)
def _():
    with Weir(USERS) as w:
        for mechanism in ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"):
            for user, password, code in (("ann", "secret", 0), ("bob", "pass:word", 0), ("ann", "Secret", 58),
                                         ("nobody", "secret", 58), ("bob", "pass", 58)):
                with Kafka(w) as k:
                    eq(k.call("ApiVersions", 3)["error_code"], 0)
                    eq(authenticate(k, mechanism, user, password), code, "%s %s %s" % (mechanism, user, password))
                    if code == 0:
                        eq(k.call("Metadata", 9, topics=[])["controller_id"], 0)
                    else:
                        check(k.closed(), "open after a wrong password")
        until(lambda: w.log().count('a login was refused" peer=127.0.0.1:') == 9, what="a line for each that was refused")
        with Kafka(w) as k:  # a second guess in the same packet is none
            k.raw(b"".join(request("SaslAuthenticate" if token else "SaslHandshake", 1, correlation=i, **(
                {"auth_bytes": token} if token else {"mechanism": "PLAIN"}))
                for i, token in enumerate((None, b"\0ann\0Secret", b"\0ann\0secret"))) + request("Metadata", 9, correlation=3, topics=[]))
            eq([k.frame()[:6] for _ in range(2)], [struct.pack(">ih", i, code) for i, code in ((0, 0), (1, 58))])
            check(k.closed(), "answered after a wrong password")
        for secret in ("secret", "pass:word"):
            check(secret not in w.log(), "a password in the log")


@test("before the login nothing but ApiVersions and Sasl* is answered; an unknown mechanism is 33", own=True)
def _():
    with Weir(USERS) as w:
        with Kafka(w) as k:
            doc = k.call("SaslHandshake", 1, mechanism="GSSAPI")
            eq((doc["error_code"], doc["mechanisms"]), (33, ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"]))
            eq(k.call("SaslAuthenticate", 1, auth_bytes=b"x")["error_code"], 34)
            k.send("Metadata", 9, topics=[])
            check(k.closed(), "open after a request before the login")
        until(lambda: "before the login" in w.log(), what="a line in the log")


@test("after SaslHandshake 0 tokens come without headers, as kafka-python 2.0.2 sends them", own=True)
def _():
    with Weir(USERS) as w:
        with Kafka(w) as k:
            eq(k.call("SaslHandshake", 0, mechanism="PLAIN")["error_code"], 0)
            token = b"\0ann\0secret"
            k.raw(struct.pack(">i", len(token)) + token)
            eq(k.frame(), b"")
            eq(k.call("Metadata", 1, topics=[])["controller_id"], 0)
        with Kafka(w) as k:
            eq(k.call("SaslHandshake", 0, mechanism="SCRAM-SHA-256")["error_code"], 0)

            def ask(text):
                k.raw(struct.pack(">i", len(text)) + text.encode())
                return k.frame().decode()
            scram(k, "ann", "secret", "sha256", None, ask)
            eq(k.call("Metadata", 1, topics=[])["controller_id"], 0)
        with Kafka(w) as k:
            eq(k.call("SaslHandshake", 0, mechanism="PLAIN")["error_code"], 0)
            k.raw(struct.pack(">i", 5) + b"\0a\0b\0")
            check(k.closed(), "open after a wrong token")


@test("without users a login is refused and not needed")
def _(w):
    with Kafka(w) as k:
        eq(k.call("SaslHandshake", 1, mechanism="PLAIN")["error_code"], 34)
        eq(k.call("Metadata", 9, topics=[])["controller_id"], 0)


@test("a client that goes while its fetch waits takes its memory along", own=True)
def _():
    with Weir("memory: 16MiB\n") as w:  # which is counted in small steps
        name = w.topic()
        w.push(name, b"1")

        def held():
            return int(re.search(r"^weir_memory_used_bytes (\d+)", w.get("/metrics").text, re.M).group(1))
        waiting = [Kafka(w) for _ in range(1000)]
        for k in waiting:
            k.send("Fetch", 11, max_wait_ms=290000, min_bytes=1, max_bytes=1 << 20, isolation_level=0, session_id=0,
                   topics=[{"topic": name, "partitions": [{"partition": 0, "fetch_offset": 1, "partition_max_bytes": 1 << 20}]}])
        until(lambda: held() > 2000 * 1000, what="the fetches to wait")
        for k in waiting:
            k.close()
        until(lambda: held() < 500 * 1000, what="their memory to be given back")


# ---- stop ----

@test("SIGTERM ends idle connections at once, and weir with exit 0", own=True)
def _():
    with Weir() as w:
        held = [Kafka(w) for _ in range(20)]
        for k in held:
            k.call("ApiVersions", 0)
        w.stop()
        check("event=peers_cut" not in w.log(), "it waited for connections that owe nothing")
        for k in held:
            check(k.closed(), "open after the stop")
            k.close()


@test("SIGTERM answers fetches that wait, and does not wait for their clients", own=True)
def _():
    with Weir() as w:
        name = w.topic()
        w.push(name, b"1")
        waiting = [Kafka(w) for _ in range(10)]
        for k in waiting:
            k.send("Fetch", 11, max_wait_ms=60000, min_bytes=1, max_bytes=1 << 20, isolation_level=0, session_id=0,
                   topics=[{"topic": name, "partitions": [{"partition": 0, "fetch_offset": 1, "partition_max_bytes": 1 << 20}]}])
        until(lambda: w.metrics()['weir_connections{listener="kafka"}'] == 10, what="ten connections")
        w.stop()
        check("event=peers_cut" not in w.log(), "it waited for clients that have their answers")
        for k in waiting:
            eq(k.answer()["responses"][0]["partitions"][0]["error_code"], 0)
            check(k.closed(), "open after the stop")
            k.close()


@test("an address that is taken is an error, off is no port", own=True)
def _():
    with Weir(kafka="off") as w:
        check("kafka=" not in w.ready, w.ready)
    with Weir() as w:
        other = subprocess.run([BIN, "serve", "--data", w.data + "2", "--http", "127.0.0.1:0", "--kafka",
                                "%s:%d" % address(w)], capture_output=True, timeout=patience())
        eq(other.returncode, 1)
        check(b"kafka.listen" in other.stderr, other.stderr)
