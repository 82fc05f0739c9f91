# SPDX-License-Identifier: Apache-2.0
"""Consumer groups over Kafka: by hand, and with librdkafka where Debian's python3-confluent-kafka is there."""
import json
import signal
import struct
import subprocess
import time

from harness import BIN, SLOW, Session, Skip, Sse, Weir, check, eq, expect, test, until
from kafka_wire import Kafka, address

FAST = "kafka: { group_initial_delay: 0s, session_timeout_min: 100ms }\n"
ILLEGAL_GENERATION, INCONSISTENT, BAD_GROUP, UNKNOWN_MEMBER, BAD_SESSION = 22, 23, 24, 25, 26
REBALANCING, NOT_EMPTY, NO_GROUP, ID_REQUIRED, FENCED = 27, 68, 69, 79, 82
UNKNOWN_TOPIC, METADATA_TOO_LARGE, SUBSCRIBED = 3, 12, 86


# ---- by hand ----

def subscription(*topics):
    return struct.pack(">hi", 0, len(topics)) + b"".join(
        struct.pack(">h", len(t)) + t.encode() for t in topics) + struct.pack(">i", -1)


class Member:
    """A member with a connection of its own."""

    def __init__(self, w, group, version=9, instance=None, topics=("t",), session=10000, id=""):
        self.k = Kafka(w)
        self.group, self.version, self.instance, self.topics = group, version, instance, topics
        self.id, self.generation, self.session = id, -1, session

    def close(self):
        self.k.close()

    def send_join(self, protocols=None, protocol_type="consumer"):
        said = subscription(*self.topics)
        self.k.send("JoinGroup", self.version, group_id=self.group, session_timeout_ms=self.session,
                    rebalance_timeout_ms=20000, member_id=self.id, group_instance_id=self.instance,
                    protocol_type=protocol_type,
                    protocols=[{"name": p, "metadata": said} for p in protocols or ["range"]])

    def joined(self):
        got = self.k.answer()
        if got["error_code"] in (0, ID_REQUIRED):
            self.id = got["member_id"]
        if got["error_code"] == 0:
            self.generation = got["generation_id"]
            self.leads = got["leader"] == self.id
            self.members = got["members"]
        return got

    def join(self, **args):
        self.send_join(**args)
        got = self.joined()
        if got["error_code"] == ID_REQUIRED:
            self.send_join(**args)
            got = self.joined()
        return got

    def send_sync(self, give=None, **fields):
        if give is None:
            give = {m["member_id"]: ("%d:" % self.generation + m["member_id"]).encode() for m in self.members}
        fields = dict({"protocol_type": "consumer", "protocol_name": "range"}, **fields)
        self.k.send("SyncGroup", 5, group_id=self.group, generation_id=self.generation, member_id=self.id,
                    group_instance_id=self.instance,
                    assignments=[{"member_id": m, "assignment": a} for m, a in give.items()], **fields)

    def sync(self, **args):
        self.send_sync(**args)
        return self.k.answer()

    def beat(self, generation=None):
        return self.k.call("Heartbeat", 4, group_id=self.group, member_id=self.id, group_instance_id=self.instance,
                           generation_id=self.generation if generation is None else generation)["error_code"]

    def commit(self, offset, topic="t", partition=0, generation=None, id=None, metadata=""):
        got = self.k.call("OffsetCommit", 8, group_id=self.group, member_id=self.id if id is None else id,
                          generation_id_or_member_epoch=self.generation if generation is None else generation,
                          group_instance_id=self.instance,
                          topics=[{"name": topic, "partitions": [{"partition_index": partition,
                                                                  "committed_offset": offset,
                                                                  "committed_metadata": metadata}]}])
        return got["topics"][0]["partitions"][0]["error_code"]

    def leave(self):
        got = self.k.call("LeaveGroup", 5, group_id=self.group,
                          members=[{"member_id": self.id, "group_instance_id": self.instance}])
        return got["error_code"] or got["members"][0]["error_code"]

    def offset(self, topic="t", partition=0):
        return fetched(self.k, self.group, topic, partition)


def fetched(k, group, topic="t", partition=0, version=8):
    if version >= 8:
        got = k.call("OffsetFetch", version, require_stable=True,
                     groups=[{"group_id": group, "topics": [{"name": topic, "partition_indexes": [partition]}]}])
        got = got["groups"][0]
    else:
        got = k.call("OffsetFetch", version, group_id=group,
                     topics=[{"name": topic, "partition_indexes": [partition]}])
    eq(got.get("error_code", 0), 0)
    p = got["topics"][0]["partitions"][0]
    eq(p["error_code"], 0)
    return p["committed_offset"]


def put_topic(w, name, partitions=3):
    with Session(w) as s:
        r = s.request("PUT", "/v1/topics/" + name, json.dumps({"partitions": partitions}),
                      {"Content-Type": "application/json"})
        check(r.status in (200, 201), r)


def post(w, topic, values, partition=None):
    with Session(w) as s:
        query = "" if partition is None else "?partition=%d" % partition
        body = json.dumps({"records": [{"value_text": v} for v in values]})
        expect(s.request("POST", "/v1/topics/%s/records%s" % (topic, query), body,
                         {"Content-Type": "application/vnd.weir.batch+json"}), 200)


def pair(w, group, **args):
    """Two members, stable; the first leads."""
    a, b = Member(w, group, **args), Member(w, group, **args)
    eq(a.join()["error_code"], 0)
    b.send_join()
    if b.version >= 4 and b.instance is None:
        eq(b.joined()["error_code"], ID_REQUIRED)
        b.send_join()
    until(lambda: a.beat() == REBALANCING, what="the first member to hear of the second")
    eq(a.join()["error_code"], 0)
    eq(b.joined()["error_code"], 0)
    check(a.leads and not b.leads, "the first leads")
    b.send_sync(give={})
    for m in (a, b):
        got = m.sync() if m is a else m.k.answer()
        eq((got["error_code"], got["assignment"]), (0, ("%d:" % m.generation + m.id).encode()))
    return a, b


@test("the coordinator of every group and transaction is this broker", config=FAST)
def _(w):
    host, port = address(w)
    with Kafka(w) as k:
        for version in range(4):
            got = k.call("FindCoordinator", version, key="g")
            eq((got["error_code"], got["node_id"], got["host"], got["port"]), (0, 0, host, port))
        got = k.call("FindCoordinator", 4, key_type=1, coordinator_keys=["a", "b"])
        eq([(c["key"], c["node_id"], c["port"]) for c in got["coordinators"]], [("a", 0, port), ("b", 0, port)])
        eq(k.call("FindCoordinator", 2, key="g", key_type=9)["error_code"], 42)


@test("two members rebalance and share a generation; the third makes the next one", config=FAST)
def _(w):
    put_topic(w, "t")
    a, b = pair(w, "two")
    eq((a.generation, b.generation), (2, 2))
    eq(sorted(m["member_id"] for m in a.members), sorted([a.id, b.id]))
    eq(a.members[0]["metadata"], subscription("t"))
    got = b.k.call("DescribeGroups", 5, groups=["two", "nobody"], include_authorized_operations=True)["groups"]
    eq((got[0]["group_state"], got[0]["protocol_type"], got[0]["protocol_data"]), ("Stable", "consumer", "range"))
    eq((got[1]["group_state"], got[1]["error_code"]), ("Dead", 0))
    eq(got[0]["authorized_operations"], 328)
    by_id = {m["member_id"]: m for m in got[0]["members"]}
    eq(by_id[b.id]["member_assignment"], ("2:" + b.id).encode())
    eq(by_id[b.id]["client_host"], "/127.0.0.1")
    eq(a.leave(), 0)
    eq(b.beat(), REBALANCING)
    eq(b.join()["error_code"], 0)
    check(b.leads, "who is left leads")
    eq(b.generation, 3)


@test("every version of the requests of groups is answered", config=FAST)
def _(w):
    put_topic(w, "t")
    for version in range(10):
        m = Member(w, "v%d" % version, version=version)
        eq(m.join()["error_code"], 0)
        sync_version = min(version, 5)
        got = m.k.call("SyncGroup", sync_version, group_id=m.group, generation_id=1, member_id=m.id,
                       protocol_type="consumer", protocol_name="range",
                       assignments=[{"member_id": m.id, "assignment": b"x"}])
        eq((got["error_code"], got["assignment"]), (0, b"x"))
        eq(m.k.call("Heartbeat", min(version, 4), group_id=m.group, generation_id=1, member_id=m.id)["error_code"], 0)
        for commit in range(2, 9):
            got = m.k.call("OffsetCommit", commit, group_id=m.group, member_id=m.id, retention_time_ms=-1,
                           generation_id_or_member_epoch=1,
                           topics=[{"name": "t", "partitions": [{"partition_index": 0, "committed_offset": commit,
                                                                 "committed_metadata": "m"}]}])
            eq(got["topics"][0]["partitions"][0]["error_code"], 0)
            eq(fetched(m.k, m.group, version=commit), commit)
        eq(fetched(m.k, m.group, version=1), 8)
        for describe in range(6):
            eq(m.k.call("DescribeGroups", describe, groups=[m.group])["groups"][0]["group_state"], "Stable")
        leave = min(version, 5)
        got = m.k.call("LeaveGroup", leave, group_id=m.group, member_id=m.id, members=[{"member_id": m.id}])
        eq(got["error_code"], 0)
        eq(m.beat(1), UNKNOWN_MEMBER)
        m.close()
    with Kafka(w) as k:
        for version in range(5):
            names = [g["group_id"] for g in k.call("ListGroups", version)["groups"]]
            check(all("v%d" % v in names for v in range(10)), names)
        eq([g for g in k.call("ListGroups", 4, states_filter=["Stable"])["groups"] if g["group_id"] == "v1"], [])
        eq([(g["protocol_type"], g["group_state"])
            for g in k.call("ListGroups", 4, states_filter=["empty"])["groups"] if g["group_id"] == "v1"],
           [("consumer", "Empty")])


@test("whoever is not of the generation is told so", config=FAST)
def _(w):
    put_topic(w, "t")
    a, b = pair(w, "fence")
    eq(a.commit(5), 0)
    eq(a.offset(), 5)
    eq(a.commit(6, generation=1), ILLEGAL_GENERATION)
    eq(a.commit(6, id="nobody"), UNKNOWN_MEMBER)
    eq(a.commit(6, generation=-1, id=""), UNKNOWN_MEMBER)
    eq(a.commit(6, topic="none"), UNKNOWN_TOPIC)
    eq(a.commit(6, partition=3), UNKNOWN_TOPIC)
    eq(a.commit(6, metadata="x" * 4097), METADATA_TOO_LARGE)
    eq(a.offset(), 5)
    eq(a.beat(1), ILLEGAL_GENERATION)
    eq(b.sync(protocol_name="other")["error_code"], INCONSISTENT)
    eq(b.sync(protocol_name=None)["error_code"], INCONSISTENT)
    c = Member(w, "fence", id="nobody")
    eq(c.join()["error_code"], UNKNOWN_MEMBER)
    c.id = ""
    eq(c.join(protocol_type="connect")["error_code"], INCONSISTENT)
    eq(c.join(protocols=["else"])["error_code"], INCONSISTENT)
    c.session = 50
    eq(c.join()["error_code"], BAD_SESSION)
    c.group, c.session = "", 10000
    eq(c.join()["error_code"], BAD_GROUP)
    eq(a.beat(), 0, "nobody has disturbed the group")
    d = Member(w, "old", version=3)
    eq(d.commit(1, generation=3, id="x"), ILLEGAL_GENERATION)
    eq(d.commit(1, generation=-1, id=""), 0)
    eq(d.offset(), 1)


@test("a member that is silent is out after its session, and one whose connection is gone too", config=FAST)
def _(w):
    a, b = pair(w, "silent", session=1500)
    b.close()
    # Alive as long as the session lasts, and then the other is told.
    until(lambda: a.beat() == REBALANCING, what="the session of the one that is gone to end", every=0.2, timeout=10)
    eq(a.join()["error_code"], 0)
    eq(len(a.members), 1)


@test("a static member that starts again keeps its place without a rebalance", config=FAST)
def _(w):
    a = Member(w, "static", instance="one")
    b = Member(w, "static", instance="two")
    eq(a.join()["error_code"], 0)
    b.send_join()
    until(lambda: a.beat() == REBALANCING)
    a.join()
    eq(b.joined()["error_code"], 0)
    b.send_sync(give={})
    eq(a.sync()["error_code"], 0)
    mine = b.k.answer()["assignment"]
    again = Member(w, "static", instance="two")
    eq(again.join()["error_code"], 0)
    check(again.id != b.id, "it has another id")
    eq(again.generation, b.generation)
    eq(again.sync(give={})["assignment"], mine)
    eq(a.beat(), 0)
    eq(b.beat(), FENCED)
    eq(b.commit(1), FENCED)
    leader = Member(w, "static", instance="one")
    got = leader.join()
    eq((got["skip_assignment"], got["leader"], len(got["members"])), (True, leader.id, 2))
    with Kafka(w) as k:
        got = k.call("LeaveGroup", 4, group_id="static", members=[{"member_id": "", "group_instance_id": "two"},
                                                                 {"member_id": "", "group_instance_id": "three"}])
        eq([m["error_code"] for m in got["members"]], [0, UNKNOWN_MEMBER])


@test("a restart in the middle keeps generation, members, assignments and offsets", own=True)
def _():
    with Weir(FAST) as w:
        put_topic(w, "t")
        for hard in (False, True):
            group = "restart-%s" % hard
            a, b = pair(w, group)
            eq(a.commit(41), 0)
            waiting = Member(w, group)
            waiting.send_join()
            eq(waiting.joined()["error_code"], ID_REQUIRED)
            w.restart(hard=hard)
            for m in (a, b):
                m.k = Kafka(w)
                eq(m.beat(), 0)
                eq(m.sync(give={})["assignment"], ("2:" + m.id).encode())
            eq(b.offset(), 41)
            eq(b.commit(42), 0)
            eq(a.beat(), 0)
            a.close(), b.close()


@test("who waits for a group is answered when weir stops", own=True)
def _():
    with Weir("kafka: { group_initial_delay: 1m }\n") as w:
        a = Member(w, "stop", version=3)
        a.send_join()
        time.sleep(0.2)
        began = time.monotonic()
        w.signal(signal.SIGTERM)
        eq(a.joined()["error_code"], 15)
        eq(w.wait(), 0)
        check(time.monotonic() - began < 5 * SLOW, "weir stops at once")


@test("the first members of a group wait for each other", own=True)
def _():
    with Weir("kafka: { group_initial_delay: 1s }\n") as w:
        members = [Member(w, "together", version=3) for _ in range(4)]
        for m in members:
            m.send_join()
        eq([m.joined()["generation_id"] for m in members], [1] * 4)
        eq(sum(m.leads for m in members), 1)


@test("offsets of all topics, of several groups, and of none", config=FAST)
def _(w):
    put_topic(w, "t")
    put_topic(w, "u", 2)  # deleted below
    with Kafka(w) as k:
        for group in ("first", "second"):
            for topic, partition in (("t", 2), ("t", 0), ("u", 1)):
                m = Member(w, group)
                eq(m.commit(7 + partition, topic=topic, partition=partition, metadata=group), 0)
                m.close()
        got = k.call("OffsetFetch", 8, groups=[{"group_id": g, "topics": None} for g in ("first", "none")] +
                     [{"group_id": "second", "topics": [{"name": "t", "partition_indexes": [0, 1, 99]},
                                                     {"name": "nowhere", "partition_indexes": [0]}]}])
        flat = [(g["group_id"], t["name"], p["partition_index"], p["committed_offset"], p["metadata"], p["error_code"])
                for g in got["groups"] for t in g["topics"] for p in t["partitions"]]
        eq(sorted(f for f in flat if f[0] == "first"),
           [("first", "t", 0, 7, "first", 0), ("first", "t", 2, 9, "first", 0), ("first", "u", 1, 8, "first", 0)])
        eq([f[1:] for f in flat if f[0] == "second"],
           [("t", 0, 7, "second", 0), ("t", 1, -1, "", 0), ("t", 99, -1, "", 0), ("nowhere", 0, -1, "", 0)])
        eq([f for f in flat if f[0] == "none"], [])
        got = k.call("OffsetFetch", 5, group_id="first", topics=None)
        eq(sorted(t["name"] for t in got["topics"]), ["t", "u"])
        # A topic that is deleted takes its offsets along, and its successor has none.
        with Session(w) as s:
            expect(s.request("DELETE", "/v1/topics/u"), 204)
        eq([t["name"] for t in k.call("OffsetFetch", 5, group_id="first", topics=None)["topics"]], ["t"])
        put_topic(w, "u", 2)
        eq(fetched(k, "first", "u", 1), -1)


@test("groups and offsets are deleted where nobody needs them", config=FAST)
def _(w):
    put_topic(w, "t")
    put_topic(w, "other")
    a, b = pair(w, "gone")
    eq(a.commit(5), 0)
    eq(a.commit(6, topic="other"), 0)
    with Kafka(w) as k:
        got = k.call("DeleteGroups", 2, groups_names=["gone", "never", ""])["results"]
        eq([g["error_code"] for g in got], [NOT_EMPTY, NO_GROUP, BAD_GROUP])
        got = k.call("OffsetDelete", 0, group_id="gone",
                     topics=[{"name": n, "partitions": [{"partition_index": 0}]} for n in ("t", "other", "no")])
        eq((got["error_code"], [t["partitions"][0]["error_code"] for t in got["topics"]]),
           (0, [SUBSCRIBED, 0, UNKNOWN_TOPIC]))
        eq((fetched(k, "gone"), fetched(k, "gone", "other")), (5, -1))
        eq(k.call("OffsetDelete", 0, group_id="never", topics=[])["error_code"], NO_GROUP)
        eq((a.leave(), b.leave()), (0, 0))
        for version in range(3):
            eq(k.call("DeleteGroups", version, groups_names=["gone"])["results"][0]["error_code"],
               0 if version == 0 else NO_GROUP)
        eq(fetched(k, "gone"), -1)


@test("weir verify reads the rows of groups and offsets", own=True)
def _():
    with Weir(FAST) as w:
        put_topic(w, "t")
        a, _ = pair(w, "g")
        eq(a.commit(3), 0)
        w.stop()
        out = subprocess.run([BIN, "verify", w.data], capture_output=True, text=True)
        eq(out.returncode, 0, out.stdout + out.stderr)


# ---- over HTTP ----

def put_offsets(w, group, body):
    with Session(w) as s:
        return s.request("PUT", "/v1/groups/%s/offsets" % group, json.dumps(body), {"Content-Type": "application/json"})


def get(w, path):
    with Session(w) as s:
        return s.request("GET", path)


@test("groups are listed, shown and deleted over HTTP", config=FAST)
def _(w):
    put_topic(w, "t")
    a, b = pair(w, "web-a")
    eq(a.commit(0, partition=1), 0)
    m = Member(w, "web-b")
    eq(m.commit(0), 0)
    got = expect(get(w, "/v1/groups?after=web&limit=1"), 200).json()
    eq((got["groups"][0]["group"], got["next"]), ("web-a", "web-a"))
    got = expect(get(w, "/v1/groups?after=web-a&limit=1"), 200).json()
    eq(got["groups"][0], {"group": "web-b", "state": "Empty", "generation": 0, "protocol_type": "", "offsets": 1,
                          "members": 0})
    got = expect(get(w, "/v1/groups/web-a"), 200).json()
    eq((got["state"], got["generation"], got["protocol_type"], got["protocol"], got["offsets"]),
       ("Stable", 2, "consumer", "range", 1))
    eq(sorted(x["id"] for x in got["members"]), sorted([a.id, b.id]))
    eq((got["members"][0]["host"], got["members"][0]["instance_id"]), ("127.0.0.1", None))
    with Session(w) as s:
        expect(s.request("DELETE", "/v1/groups/web-a"), 409, "group_active")
        eq((a.leave(), b.leave()), (0, 0))
        expect(s.request("DELETE", "/v1/groups/web-a"), 204)
        expect(s.request("DELETE", "/v1/groups/web-a"), 404, "unknown_group")
    expect(get(w, "/v1/groups/web-a"), 404, "unknown_group")
    expect(get(w, "/v1/groups/web-a/offsets"), 404, "unknown_group")
    expect(get(w, "/v1/groups?limit=0"), 400, "invalid_parameter")


@test("offsets are set over HTTP while nobody is in the group, and read over Kafka", config=FAST)
def _(w):
    put_topic(w, "set", 2)
    post(w, "set", ["r%d" % i for i in range(9)], partition=0)
    body = {"topics": [{"topic": "set", "partitions": [{"partition": 0, "offset": 7}, {"partition": 1, "offset": 0}]}]}
    got = expect(put_offsets(w, "web-set", body), 200).json()
    eq(got["topics"], [{"topic": "set", "partitions": [{"partition": 0, "offset": 7, "end": 9, "lag": 2},
                                                       {"partition": 1, "offset": 0, "end": 0, "lag": 0}]}])
    with Kafka(w) as k:
        eq(fetched(k, "web-set", "set"), 7)
        expect(put_offsets(w, "web-set", got), 200)  # what was shown may be sent back
        expect(put_offsets(w, "web-set", {"cursor": "earliest", "topics": ["set"]}), 200)
        eq(fetched(k, "web-set", "set"), 0)
        expect(put_offsets(w, "web-set", {"cursor": "latest", "topics": ["set"]}), 200)
        eq(fetched(k, "web-set", "set"), 9)
    for bad, status, code in (
            ({}, 400, "invalid_parameter"), ({"cursor": "latest"}, 400, "invalid_parameter"),
            ({"cursor": "nonsense"}, 400, "invalid_cursor"), ({"cursor": "@2026-01-01T00:00:00Z"}, 400, "invalid_cursor"),
            ({"topics": ["nowhere"]}, 404, "unknown_topic"), ([], 400, "invalid_json"),
            ({"topics": [{"topic": "set", "partitions": [{"partition": 2, "offset": 0}]}]}, 400,
             "partition_out_of_range"),
            ({"topics": [{"topic": "set", "partitions": [{"partition": 0, "offset": 10}]}]}, 409, "cursor_ahead"),
            ({"topics": [{"topic": "set", "partitions": [{"partition": 0, "offset": "1"}]}]}, 400,
             "invalid_parameter"),
            ({"topics": [{"partitions": []}]}, 400, "invalid_parameter")):
        expect(put_offsets(w, "web-set", bad), status, code)
    m = Member(w, "web-set", topics=("set",))
    eq(m.join()["error_code"], 0)
    expect(put_offsets(w, "web-set", body), 409, "group_active")
    expect(get(w, "/v1/groups/web-set/offsets?topics=nowhere"), 404, "unknown_topic")


@test("a reader leaves Kafka for SSE at the same record, and comes back", config=FAST)
def _(w):
    put_topic(w, "hop", 1)
    put_topic(w, "untouched", 1)
    post(w, "hop", ["r%d" % i for i in range(10)])
    m = Member(w, "hop", topics=("hop",))
    eq(m.join()["error_code"], 0)
    eq(m.sync()["error_code"], 0)
    eq(m.commit(4, topic="hop"), 0)
    cursor = expect(get(w, "/v1/groups/hop/offsets?topics=hop"), 200).json()["cursor"]
    with Sse(w, "/v1/topics/hop/sse?cursor=" + cursor) as sse:
        events = sse.take(3)
        eq([e.json()["value_text"] for e in events], ["r4", "r5", "r6"])
    eq(m.leave(), 0)
    expect(put_offsets(w, "hop", {"cursor": events[-1].id}), 200)
    eq(m.offset("hop"), 7)
    # Of topics without an offset the cursor is at the beginning, where a group would be with auto.offset.reset=earliest.
    post(w, "untouched", ["first"])
    cursor = expect(get(w, "/v1/groups/hop/offsets?topics=hop,untouched"), 200).json()["cursor"]
    with Sse(w, "/v1/sse?topics=hop,untouched&cursor=" + cursor) as sse:
        eq(sorted(e.json()["value_text"] for e in sse.take(4)), ["first", "r7", "r8", "r9"])


@test("weir group lists, shows, resets and deletes", config=FAST)
def _(w):
    def weir(*args, code=0):
        out = subprocess.run([BIN, "group"] + list(args) + ["--server", w.url], capture_output=True, text=True,
                             stdin=subprocess.DEVNULL)
        eq(out.returncode, code, out.stdout + out.stderr)
        return out.stdout if code == 0 else out.stderr

    put_topic(w, "cmd", 1)
    post(w, "cmd", ["a", "b"])
    out = weir("reset", "cmd/1", "--to", "latest", "--topics", "cmd")
    eq(out.split()[:5], ["cmd", "0", "2", "2", "0"])
    check([line.split()[:4] for line in weir("list").splitlines() if line.startswith("cmd/1")] ==
          [["cmd/1", "Empty", "0", "1"]], "the list")
    check({"cmd/1"} <= {g["group"] for g in json.loads(weir("list", "--json"))["groups"]}, "the list as JSON")
    out = weir("show", "cmd/1")
    check("state: Empty" in out and ["cmd", "0", "2", "2", "0"] in [line.split() for line in out.splitlines()], out)
    m = Member(w, "cmd/1", topics=("cmd",))
    eq(m.join()["error_code"], 0)
    check("group_active" in weir("delete", "cmd/1", code=1), "why not")
    eq(m.leave(), 0)
    weir("delete", "cmd/1")
    check("unknown_group" in weir("show", "cmd/1", code=1), "it is gone")
    weir("reset", "cmd/1", code=2)
    weir("reset", "cmd/1", "--to", "earliest", code=2)


# ---- librdkafka ----

def rdkafka():
    try:
        import confluent_kafka
    except ImportError:
        raise Skip("python3-confluent-kafka is not installed")
    return confluent_kafka


def consumer(w, group, **args):
    c = rdkafka().Consumer(dict({"bootstrap.servers": "%s:%d" % address(w), "group.id": group,
                                 "auto.offset.reset": "earliest", "session.timeout.ms": 6000,
                                 "heartbeat.interval.ms": 300, "enable.auto.commit": False}, **args))
    return c


def take(c, count, timeout=20):
    out, end = [], time.monotonic() + timeout * SLOW
    while len(out) < count and time.monotonic() < end:
        m = c.poll(0.2)
        if m is not None:
            check(not m.error(), m.error())
            out.append(m)
    eq(len(out), count, "records")
    return out


@test("librdkafka: two consumers share the partitions, one is killed, the other goes on", timeout=60, config=FAST)
def _(w):
    rdkafka()
    put_topic(w, "share", 4)
    for p in range(4):
        post(w, "share", ["p%d-%d" % (p, i) for i in range(5)], partition=p)
    a = consumer(w, "share")
    a.subscribe(["share"])
    take(a, 20)
    a.commit(asynchronous=False)
    code = ("import sys, confluent_kafka as k\n"
            "c = k.Consumer({'bootstrap.servers': sys.argv[1], 'group.id': 'share', 'session.timeout.ms': 6000,"
            "'heartbeat.interval.ms': 300})\n"
            "c.subscribe(['share'], on_assign=lambda c, p: print(len(p), flush=True))\n"
            "while True: c.poll(0.2)\n")
    other = subprocess.Popen(["/usr/bin/python3", "-c", code, "%s:%d" % address(w)], stdout=subprocess.PIPE, text=True)
    try:
        until(lambda: (a.poll(0.1), len(a.assignment()) == 2)[1], what="the partitions to be shared", timeout=20)
        eq(other.stdout.readline().strip(), "2")
    finally:
        other.kill()
        other.wait()
    until(lambda: (a.poll(0.1), len(a.assignment()) == 4)[1], what="the session of the killed one to end", timeout=25)
    for p in range(4):
        post(w, "share", ["again-%d" % p], partition=p)
    eq(sorted(m.value().decode() for m in take(a, 4)), ["again-%d" % p for p in range(4)])
    a.close()


@test("librdkafka: a consumer goes on over a restart of weir and repeats nothing", timeout=60, own=True)
def _():
    with Weir(FAST) as w:
        rdkafka()
        put_topic(w, "go", 2)
        post(w, "go", ["a%d" % i for i in range(6)], partition=0)
        c = consumer(w, "go")
        rebalances = []
        c.subscribe(["go"], on_assign=lambda c, p: rebalances.append(p))
        take(c, 6)
        c.commit(asynchronous=False)
        w.restart(hard=True)
        post(w, "go", ["b%d" % i for i in range(6)], partition=1)
        eq(sorted(m.value().decode() for m in take(c, 6)), ["b%d" % i for i in range(6)])
        c.commit(asynchronous=False)
        eq(len(rebalances), 1, "assignments")
        c.close()
        with Kafka(w) as k:
            eq((fetched(k, "go", "go", 0), fetched(k, "go", "go", 1)), (6, 6))
        again = consumer(w, "go")
        again.subscribe(["go"])
        post(w, "go", ["last"])
        eq([m.value() for m in take(again, 1)], [b"last"])
        again.close()


@test("librdkafka: cooperative assignment and a static member", timeout=60, config=FAST)
def _(w):
    rdkafka()
    put_topic(w, "coop", 2)
    for p in range(2):
        post(w, "coop", ["x"], partition=p)
    args = {"partition.assignment.strategy": "cooperative-sticky"}
    a = consumer(w, "coop", **dict(args, **{"group.instance.id": "a"}))
    a.subscribe(["coop"])
    take(a, 2)
    b = consumer(w, "coop", **args)
    b.subscribe(["coop"])
    until(lambda: (a.poll(0.1), b.poll(0.1), len(a.assignment()) == len(b.assignment()) == 1)[2],
          what="each to have one partition", timeout=25)
    generation = expect(get(w, "/v1/groups/coop"), 200).json()["generation"]
    a.close()  # a static member does not leave
    a = consumer(w, "coop", **dict(args, **{"group.instance.id": "a"}))
    a.subscribe(["coop"])
    until(lambda: (a.poll(0.1), b.poll(0.1), len(a.assignment()) == 1)[2], what="its partition", timeout=20)
    eq(expect(get(w, "/v1/groups/coop"), 200).json()["generation"], generation)
    a.close()
    b.close()
