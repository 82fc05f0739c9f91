# SPDX-License-Identifier: Apache-2.0
"""Figures of the door in."""
import re
import subprocess

from harness import (BODY_BYTES, CLIENT_CORE, POST, Nginx, Redis, Weir, describe_log, median, options, pair_ratio,
                     pinned, remove, rounds, run_json, say, scratch, table, tool, verdict, write_script, wrk)

# A storage checkpoint begins at half of log.journal_bytes; with 128 MiB in place
# of 512 MiB a run of a minute sees several.
LOG = "{ journal_bytes: 128MiB, journal_file_bytes: 16MiB }"
# One record at a time fills 4 KiB of the journal.
SMALL_LOG = "{ journal_bytes: 4MiB, journal_file_bytes: 1MiB, group_bytes: 2MiB }"
RECORDS = "/v1/topics/bench/records"
COLUMNS = [("rate", "requests/s", "%.0f"), ("cpu_us", "CPU us a request", "%.2f"), ("p50_us", "p50 us", "%.0f"),
           ("p99_us", "p99 us", "%.0f")]


def wrk_rounds(arms, connections):
    """arms: name to (server, url, script). Each once before, for connections, files and caches."""
    for server, url, script in arms.values():
        wrk(url, script, connections, seconds=1)
    return rounds({name: (lambda a=a: wrk(a[1], a[2], connections, server=a[0])) for name, a in arms.items()})


def post_nginx():
    """durable POST of 256 bytes, 64 keep-alive connections, against nginx answering 204"""
    folder = scratch("post-nginx")
    script = write_script(folder, "post", POST)
    with Nginx(folder) as nginx, Weir(folder, log=LOG) as weir:
        before = weir.metrics()
        results = wrk_rounds({"nginx": (nginx, nginx.url + "/", script), "weir": (weir, weir.url + RECORDS, script)},
                             64)
        table(results, COLUMNS)
        describe_log(before, weir.metrics())
    remove(folder)
    return (verdict("rate", pair_ratio(results, "weir", "nginx", "rate"), 0.8) &
            verdict("CPU a request", pair_ratio(results, "weir", "nginx", "cpu_us"), 1.5, at_most=True))


def post_builds():
    """the same for two builds of weir, --weir and --other, with nginx as the measure of the machine"""
    if not options.other:
        say("  (needs --other, the path of a second binary)")
        return True
    folder, second = scratch("post-a"), scratch("post-b")
    script = write_script(folder, "post", POST)
    with Nginx(folder) as nginx, Weir(folder, log=LOG) as a, Weir(second, binary=options.other, log=LOG) as b:
        results = wrk_rounds({"nginx": (nginx, nginx.url + "/", script), "weir": (a, a.url + RECORDS, script),
                              "other": (b, b.url + RECORDS, script)}, 64)
        table(results, COLUMNS)
    for key in ("rate", "cpu_us"):
        say("  %-7s weir / other %.3f; weir / nginx %.3f, other / nginx %.3f" %
            (key, pair_ratio(results, "weir", "other", key), pair_ratio(results, "weir", "nginx", key),
             pair_ratio(results, "other", "nginx", key)))
    remove(folder)
    remove(second)
    return True


# ---- Redis ----

def redis_benchmark(redis, count):
    before = redis.cpu()
    text = subprocess.run(pinned(CLIENT_CORE) + ["redis-benchmark", "-p", str(redis.port), "-c", "50", "-n", str(count),
                                                 "--csv", "XADD", "bench", "*", "v", "x" * BODY_BYTES],
                          stdout=subprocess.PIPE, check=True, universal_newlines=True).stdout
    cells = re.findall(r'"([^"]*)"', text.strip().splitlines()[-1])
    result = {"rate": float(cells[1]), "cpu_us": (redis.cpu() - before) / count * 1e6,
              "p50_us": float(cells[4]) * 1000, "p99_us": float(cells[6]) * 1000}
    redis.cli("DEL", "bench")
    return result


def post_redis():
    """the same with 50 connections, against Redis XADD with appendfsync always (redis-benchmark)"""
    folder = scratch("post-redis")
    script = write_script(folder, "post", POST)
    with Redis(folder, 0, "--appendonly", "yes", "--appendfsync", "always", "--auto-aof-rewrite-percentage", "0",
               ) as redis, Weir(folder, log=LOG) as weir:
        wrk(weir.url + RECORDS, script, 50, seconds=1)
        count = int(redis_benchmark(redis, 20000)["rate"] * options.seconds)
        before = weir.metrics()
        results = rounds({"redis": lambda: redis_benchmark(redis, count),
                          "weir": lambda: wrk(weir.url + RECORDS, script, 50, server=weir)})
        table(results, COLUMNS)
        describe_log(before, weir.metrics())
    remove(folder)
    return verdict("rate", pair_ratio(results, "weir", "redis", "rate"), 1.5)


# ---- many records a request ----

NDJSON = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/x-ndjson"
wrk.body = string.rep('{"v":"' .. string.rep("x", %d) .. '"}\\n', 1000)
""" % (BODY_BYTES - 8)


def ndjson():
    """NDJSON, 1000 records of 256 bytes a request, 4 connections, one core for the server"""
    folder = scratch("ndjson")
    script = write_script(folder, "ndjson", NDJSON)

    def load():
        result = wrk(weir.url + RECORDS, script, 4, server=weir)
        result["records"] = result["rate"] * 1000
        return result
    with Weir(folder, topics="[{ name: bench, retention_bytes: 1GiB }]") as weir:
        wrk(weir.url + RECORDS, script, 4, seconds=1)
        before = weir.metrics()
        results = rounds({"weir": load})
        table(results, [("records", "records/s", "%.0f"), ("cpu_us", "CPU us a request", "%.0f"),
                        ("p50_us", "p50 us", "%.0f"), ("p99_us", "p99 us", "%.0f")])
        describe_log(before, weir.metrics())
    remove(folder)
    return verdict("records/s", median(results, "weir", "records"), 700000, form="%.0f")


# ---- keys ----

# The clock at the start keeps the keys of each run of wrk apart.
KEYED = """
local head = "%s"
local base = string.format("%%x%%x-", os.time(), math.floor(os.clock() * 1e6)) .. tostring({}):sub(8) .. "-"
local count = 0
local headers = { ["Content-Type"] = "application/json" }
local body = '{"v":"' .. string.rep("x", %d) .. '"}'
request = function()
  count = count + 1
  headers[head] = base .. count
  return wrk.format("POST", nil, headers, body)
end
"""


def keys():
    """ask and remember one key, with 10 million remembered; against a hash table and RocksDB"""
    folder = scratch("keys")
    text = subprocess.run([tool("seen_bench"), folder, "10"], stdout=subprocess.PIPE, check=True,
                          universal_newlines=True).stdout
    say(text.rstrip())
    remove(folder)
    return verdict("ns", float(re.search(r"^weir seen\s+(\d+)", text, re.M).group(1)), 1000, at_most=True, form="%.0f")


def post_keys():
    """post-nginx with a fresh Idempotency-Key a request, against a header that says nothing"""
    folder = scratch("post-keys")
    arms = {}
    with Weir(folder, log=LOG) as weir:
        for name, head in (("without", "X-Request-Token"), ("with key", "Idempotency-Key")):
            script = write_script(folder, head, KEYED % (head, BODY_BYTES - 8))
            arms[name] = (weir, weir.url + RECORDS, script)
        before = weir.metrics()
        results = wrk_rounds(arms, 64)
        table(results, COLUMNS)
        after = weir.metrics()
        describe_log(before, after)
        say("  keys remembered: %d, duplicates: %d" % (after.get("weir_seen_keys"),
                                                      after.get("weir_ingest_duplicates_total")))
    remove(folder)
    return verdict("rate with keys", pair_ratio(results, "with key", "without", "rate"), 0.85)


# ---- one at a time ----

def one_at_a_time():
    """one connection, one durable record at a time, both cores, against a bare write, sync and round trip"""
    folder = scratch("lone")
    with Weir(folder, core=None, log=SMALL_LOG) as weir:
        before = weir.metrics()
        turns = max(5, int(options.seconds * 5))
        results = rounds({"turns of 100": lambda: run_json([tool("lone"), str(weir.port), folder, str(turns)],
                                                           core=None)})
        for r in results["turns of 100"]:
            r["ratio"] = r["weir_p50_us"] / r["bare_p50_us"]
        table(results, [("weir_p50_us", "weir p50 us", "%.0f"), ("bare_p50_us", "bare p50 us", "%.0f"),
                        ("weir_p99_us", "weir p99 us", "%.0f"), ("bare_p99_us", "bare p99 us", "%.0f"),
                        ("ratio", "ratio", "%.2f")])
        describe_log(before, weir.metrics())
    remove(folder)
    return verdict("median", median(results, "turns of 100", "ratio"), 1.6, at_most=True)


# ---- many topics ----

TOPICS = """
local topics, count = %d, 0
local body = '{"v":"' .. string.rep("x", %d) .. '"}'
local headers = { ["Content-Type"] = "application/json" }
request = function()
  count = (count + 1) %% topics
  return wrk.format("POST", "/v1/topics/many-" .. count .. "/records", headers, body)
end
"""


def many_topics():
    """post-nginx with 1, 100 and 10 000 topics written round robin"""
    folder = scratch("topics")
    arms = {}
    with Weir(folder, log=LOG) as weir:
        for count in (1, 100, 10000):
            script = write_script(folder, "topics-%d" % count, TOPICS % (count, BODY_BYTES - 8))
            arms["%d topics" % count] = (weir, weir.url + "/", script)
        wrk(weir.url + "/", arms["10000 topics"][2], 64, seconds=3)  # makes them
        before = weir.metrics()
        results = wrk_rounds(arms, 64)
        table(results, COLUMNS)
        describe_log(before, weir.metrics())
        say("  topics: %d" % weir.metrics().get("weir_topics"))
    remove(folder)
    return (verdict("100 topics against 1", pair_ratio(results, "100 topics", "1 topics", "rate"), 0.8) &
            verdict("10000 topics against 1", pair_ratio(results, "10000 topics", "1 topics", "rate"), 0.8))


ROWS = {
    "post-nginx": post_nginx,
    "post-redis": post_redis,
    "ndjson": ndjson,
    "keys": keys,
    "post-keys": post_keys,
    "one-at-a-time": one_at_a_time,
    "many-topics": many_topics,
}
TOOLS = {"post-builds": post_builds}
