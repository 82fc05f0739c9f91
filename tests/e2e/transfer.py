# SPDX-License-Identifier: Apache-2.0
"""Records of every kind, to be carried from one weir to another, and what must be the same of them there."""
import json

from harness import JSON, eq, expect

KINDS = 54


def give_kinds(w, topic, partitions=3):
    """KINDS records in a topic made for them: fifty under five keys, and those that are not plain JSON under a plain key."""
    expect(w.put("/v1/topics/" + topic, json.dumps({"partitions": partitions}), JSON), 201)
    w.batch(topic, [{"key": "k%d" % (i % 5), "value": {"n": i}, "headers": {"h": ["1", None], "b": {"base64": "/w=="}},
                     "timestamp": 1700000000000 + i} for i in range(50)])
    w.batch(topic, [{"key_base64": "/w==", "value_base64": "/wA="}, {"key": "t", "tombstone": True}, {"value_text": "x\u00e9"},
                    {"key": "", "value_text": ""}])


def contents(records):
    """What is the same of records in whatever topic and order they are."""
    return sorted(json.dumps({k: r[k] for k in r if k not in ("topic", "partition", "offset")}, sort_keys=True) for r in records)


def keys_in_order(records):
    for key in ("k0", "k1", "k2", "k3", "k4"):
        of = [r["value"]["n"] for r in records if r.get("key") == key]
        eq(len(of), 10, "records of " + key)
        eq(of, sorted(of), "order of " + key)
