# SPDX-License-Identifier: Apache-2.0
"""Producer ids and transactions over Kafka: by hand in every version, with a client, over crashes."""
import os
import threading
import time

from harness import Failed, Session, Skip, Weir, check, eq, expect, poll_values, test, until
from kafka_wire import APIS, Batch, Kafka, address, batch, batches

UNKNOWN_TOPIC, INVALID_REQUEST, EPOCH, STATE, MAPPING, TIMEOUT, NOT_ATTEMPTED = 3, 42, 47, 48, 49, 50, 55
FENCED, NOT_FOUND = 90, 105


def make_topic(w, name, partitions=1):
    with Session(w) as s:
        expect(s.request("PUT", "/v1/topics/" + name, b'{"partitions": %d}' % partitions), 201)


class Producer:
    """A transactional producer by hand, one connection, each API in the version asked for."""

    def __init__(self, k, tid, version=None, timeout_ms=60000):
        self.k, self.tid, self.version, self.sequence = k, tid, version, {}
        got = self.init(timeout_ms)
        eq(got["error_code"], 0, "InitProducerId")
        self.pid, self.epoch = got["producer_id"], got["producer_epoch"]

    def at(self, api):
        return min(self.version if self.version is not None else 99, APIS[api]["to"])

    def init(self, timeout_ms=60000, pid=-1, epoch=-1):
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
    """The values that a consumer would be given."""
    out, offset = [], 0
    while True:
        got = k.fetch(topic, partition, offset, isolation_level=int(committed))
        eq(got["error_code"], 0, "fetch")
        aborted = {(a["producer_id"], a["first_offset"]) for a in got["aborted_transactions"] or []}
        blob = got["records"] or b""
        if not blob:
            return out
        gone = set()
        for b in batches(blob):
            last = b.base + b.last_delta
            if b.attributes & 32:
                gone.discard(b.pid)
            elif not committed or not (b.pid in gone or any(p == b.pid and f <= b.base for p, f in aborted)):
                out += [r["value"] for r in b.records()]
            elif b.attributes & 16:
                gone.add(b.pid)
            offset = last + 1


# ---- each request by hand ----

@test("a producer gets an id of its own in every version, and none is given twice over a restart", own=True)
def _():
    with Weir() as w:
        ids = []
        for life in range(3):
            with Kafka(w) as k:
                for version in range(6):
                    got = k.call("InitProducerId", version, transactional_id=None, transaction_timeout_ms=0)
                    eq((got["error_code"], got["producer_epoch"]), (0, 0))
                    ids.append(got["producer_id"])
            w.restart(hard=life == 0)
        eq(len(set(ids)), 18)
        eq(ids, sorted(ids))


@test("a transaction goes through in every version of its requests")
def _(w):
    make_topic(w, "each", 4)
    with Kafka(w) as k:
        for version in range(6):
            p = Producer(k, "tx-%d" % version, version)
            eq(p.add(each=[0, 3]), {("each", 0): 0, ("each", 3): 0})
            eq(p.add(each=[0]), {("each", 0): 0})
            eq(p.add_group("g"), 0)
            eq(p.commit_offset("g", "each", 5), 0)
            eq(p.commit_offset("g", "nowhere", 5), UNKNOWN_TOPIC)
            eq(p.end(True), 0)
            eq(p.end(True), 0, "again")
            eq(p.end(False), STATE)


@test("what a producer may not is refused with Kafka's codes, older names of them in older versions")
def _(w):
    make_topic(w, "may", 2)
    with Kafka(w) as k:
        eq(k.call("InitProducerId", 4, transactional_id="", transaction_timeout_ms=1)["error_code"], INVALID_REQUEST)
        for timeout_ms in (0, -1, 15 * 60000 + 1):
            got = k.call("InitProducerId", 4, transactional_id="t", transaction_timeout_ms=timeout_ms)
            eq((got["error_code"], got["producer_id"], got["producer_epoch"]), (TIMEOUT, -1, -1))
        for version in range(6):
            fenced = lambda since: FENCED if version >= since else EPOCH
            old = Producer(k, "may-%d" % version, version)
            new = Producer(k, "may-%d" % version, version)
            eq((new.pid, new.epoch), (old.pid, old.epoch + 1))
            eq(old.add(may=[0]), {("may", 0): fenced(2)})
            eq(old.add_group("g"), fenced(2))
            eq(old.end(True), fenced(2))
            eq(old.commit_offset("g", "may", 1), EPOCH)
            if version >= 3:
                eq(new.init(pid=new.pid, epoch=new.epoch - 1)["error_code"], fenced(4))
                eq(new.init(pid=new.pid, epoch=-1)["error_code"], INVALID_REQUEST)
            eq(new.end(True), STATE)
            eq(new.commit_offset("g", "may", 1), STATE)
            eq(new.add(may=[0, 2], nowhere=[0]), {("may", 0): NOT_ATTEMPTED, ("may", 2): UNKNOWN_TOPIC,
                                                  ("nowhere", 0): UNKNOWN_TOPIC})
            new.pid += 1000000
            eq(new.add(may=[0]), {("may", 0): MAPPING})
            eq(new.end(True), MAPPING)


@test("an answer that was lost is given again to the producer that asks as who it was (KIP-360)", own=True)
def _():
    with Weir() as w:
        with Kafka(w) as k:
            p = Producer(k, "tx", 4)
            first = p.init(pid=p.pid, epoch=p.epoch)
        w.restart(hard=True)
        with Kafka(w) as k:
            p.k = k
            second = p.init(pid=p.pid, epoch=p.epoch)
            eq((first["producer_epoch"], second["error_code"], second["producer_epoch"]), (1, 0, 1))
            eq(p.init()["producer_epoch"], 2)
            eq(p.init(pid=p.pid, epoch=1)["error_code"], FENCED)


@test("transactions are listed and described, and are there after a kill", own=True)
def _():
    with Weir() as w:
        make_topic(w, "b", 3)
        make_topic(w, "a", 1)
        with Kafka(w) as k:
            p, idle = Producer(k, "works"), Producer(k, "idle", timeout_ms=1234)
            p.add(b=[2, 0], a=[0])
        w.restart(hard=True)
        with Kafka(w) as k:
            got = k.call("DescribeTransactions", 0, transactional_ids=["works", "idle", "nobody", ""])["transaction_states"]
            works = got[0]
            eq((works["transaction_state"], works["producer_id"], works["producer_epoch"]), ("Ongoing", p.pid, 0))
            eq({t["topic"]: t["partitions"] for t in works["topics"]}, {"b": [0, 2], "a": [0]})
            check(abs(works["transaction_start_time_ms"] / 1000 - time.time()) < 60, "the start: %r" % works)
            eq((got[1]["transaction_state"], got[1]["transaction_timeout_ms"], got[1]["topics"]), ("Empty", 1234, []))
            eq([g["error_code"] for g in got], [0, 0, NOT_FOUND, INVALID_REQUEST])
            for version in (0, 1):
                def listed(**filters):
                    out = k.call("ListTransactions", version, **filters)
                    eq(out["error_code"], 0)
                    return sorted(t["transactional_id"] for t in out["transaction_states"]), out["unknown_state_filters"]
                eq(listed(), (["idle", "works"], []))
                eq(listed(state_filters=["Ongoing", "Nonsense"]), (["works"], ["Nonsense"]))
                eq(listed(state_filters=["Nonsense"]), ([], ["Nonsense"]))
                eq(listed(producer_id_filters=[idle.pid]), (["idle"], []))
            eq(k.call("ListTransactions", 1, duration_filter=3600000)["transaction_states"], [])
            eq([t["transactional_id"] for t in
                k.call("ListTransactions", 1, duration_filter=0)["transaction_states"]], ["works"])


@test("a transaction that takes longer than its timeout is aborted, also where weir was down meanwhile", own=True)
def _():
    with Weir() as w:
        make_topic(w, "t")
        with Kafka(w) as k:
            for down in (False, True):
                p = Producer(k, "slow-%d" % down, timeout_ms=1500)
                eq(p.add(t=[0]), {("t", 0): 0})
                state = lambda: k.call("DescribeTransactions", 0, transactional_ids=[p.tid]
                                       )["transaction_states"][0]["transaction_state"]
                eq(state(), "Ongoing")
                if down:
                    w.kill()
                    time.sleep(1)
                    w.start()
                    k.close()
                    p.k = k = Kafka(w)
                until(lambda: state() == "CompleteAbort", 10, "the end of a transaction that took too long")
                eq(p.end(True), FENCED)
                eq(p.end(False), FENCED)
                eq(p.add(t=[0]), {("t", 0): FENCED})
                eq(Producer(k, p.tid).epoch, 2)
