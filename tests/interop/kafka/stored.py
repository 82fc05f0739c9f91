# SPDX-License-Identifier: Apache-2.0
"""Record batches as they lie on disk: what a client really sent, looked at without any client.

Segments of weir and of Kafka are batches of magic 2 one behind the other
(docs/internals/storage.md), in a folder a partition.
"""
import collections
import glob
import os
import struct

CODECS = ["none", "gzip", "snappy", "lz4", "zstd"]
HEAD = struct.Struct(">qiibIhiqqqhii")
Batch = collections.namedtuple("Batch", "partition offset bytes codec records producer epoch sequence transactional control")


def batches_of(path, partition):
    with open(path, "rb") as f:
        data = f.read()
    at = 0
    while at + HEAD.size <= len(data):
        base, length, _, magic, _, attributes, _, _, _, producer, epoch, sequence, count = HEAD.unpack_from(data, at)
        if magic != 2 or length < HEAD.size - 12 or at + 12 + length > len(data):
            break  # room made ahead of time
        yield Batch(partition, base, 12 + length, CODECS[attributes & 7], count, producer, epoch, sequence,
                    bool(attributes & 16), bool(attributes & 32))
        at += 12 + length


def partition_folders(folders):
    out = []
    for partition, folder in folders:
        for path in sorted(glob.glob(os.path.join(folder, "*.log"))):
            out += batches_of(path, partition)
    return out


def weir(data, topic_id):
    root = os.path.join(data, "topics", topic_id)
    return partition_folders((int(p), os.path.join(root, p)) for p in sorted(os.listdir(root)) if p.isdigit())


def kafka(data, topic):
    found = []
    for folder in glob.glob(os.path.join(data, glob.escape(topic) + "-*")):
        tail = folder.rsplit("-", 1)[1]
        if tail.isdigit() and os.path.basename(folder) == "%s-%s" % (topic, tail):
            found.append((int(tail), folder))
    return partition_folders(sorted(found))
