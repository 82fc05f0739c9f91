/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The settings table and what is done with a row. A row says where its member
 * lies (offset), how text becomes it (type, bounds, shape) and what to say of
 * it (doc). Everything that lists settings walks this table; nothing else knows
 * their names. Cross checks between settings are not here but in load.c.
 *
 * A list of X-macros was the alternative: it would generate the structure too,
 * but nobody can read or grep the members then.
 */
#include "conf/setting.h"

#include "base/check.h"
#include "conf/value.h"

#define KIB(n) ((int64_t)(n) << 10)
#define MIB(n) ((int64_t)(n) << 20)
#define GIB(n) ((int64_t)(n) << 30)
#define SECONDS(n) ((int64_t)(n)*1000)
#define DAYS(n) ((int64_t)(n)*86400000)
#define IN_FILE(member) .scope = SETTING_FILE, .offset = offsetof(struct conf, member)
#define IN_TOPIC(member) .scope = SETTING_TOPIC, .offset = offsetof(struct conf_topic, member)
#define IN_SOURCE(member) .scope = SETTING_SOURCE, .offset = offsetof(struct conf_source, member)
#define IN_WEBHOOK(member) .scope = SETTING_WEBHOOK, .offset = offsetof(struct conf_webhook, member)

static const char *const log_levels[] = {"error", "warning", "info", "debug", NULL};
static const char *const log_formats[] = {"text", "json", NULL};
static const char *const durabilities[] = {"fsync", "os", NULL};
static const char *const cleanups[] = {"delete", "compact", "compact_delete", NULL};
/* As Kafka's cleanup.policy spells it. */
static const struct setting_alias cleanup_aliases[] = {{"compact,delete", "compact_delete"},
						       {"delete,compact", "compact_delete"},
						       {NULL, NULL}};
static const char *const timestamps[] = {"create", "append", NULL};
/* As Kafka's message.timestamp.type spells it. */
static const struct setting_alias timestamp_aliases[] = {{"CreateTime", "create"},
							 {"LogAppendTime", "append"},
							 {NULL, NULL}};
static const char *const overlaps[] = {"skip", "queue", NULL};
static const char *const source_types[] = {"webhook", NULL};
static const char *const schemes[] = {"none",    "github",   "stripe",      "slack",
				      "shopify", "standard", "hmac_sha256", NULL};

static const char address_text[] = "HOST:PORT, such as 127.0.0.1:8080, [::1]:8080 or :8080";
static const char topic_text[] = "1 to 249 of a-z, A-Z, 0-9, '.', '_' and '-'";
static const char header_text[] = "the name of a header, such as X-GitHub-Delivery";

const struct setting setting_table[] = {
	/* ---- the daemon ---- */
	{"data", "./weir-data", "Directory of the journal, the topics and the state, made where missing.",
	 .type = SETTING_STRING, .min = 1, .max = 4000, .flags = SETTING_RESTART, IN_FILE(data)},
	{"threads", "auto", "Network workers; auto is one for each processor.", .type = SETTING_INT,
	 .word = "auto", .word_value = 0, .min = 1, .max = 256, .flags = SETTING_RESTART, IN_FILE(threads)},
	{"memory", "512MiB",
	 "Budget for all that grows with what clients do: connections, requests and what is made of them, answers and streams that wait for their readers. Past it new requests get 503; slow readers together have half of it, connections a quarter.",
	 .type = SETTING_SIZE, .min = MIB(16), .max = GIB(1024), IN_FILE(memory_bytes)},
	{"drain_timeout", "2s", "How long a stop waits for peers that do not answer.",
	 .type = SETTING_DURATION, .min = 0, .max = SECONDS(600), IN_FILE(drain_timeout_ms)},
	{"log_level", "info", "The least important log lines to write to stderr.", .type = SETTING_ENUM,
	 .names = log_levels, IN_FILE(log_level)},
	{"log_format", "text", "Form of the log lines.", .type = SETTING_ENUM, .names = log_formats,
	 IN_FILE(log_format)},

	/* ---- http ---- */
	{"http.listen", "127.0.0.1:8080",
	 "Address of the HTTP listener; port 0 picks a free one, an empty host is every address.",
	 .type = SETTING_STRING, .min = 1, .max = 300, .shape = conf_is_address, .shape_text = address_text,
	 .flags = SETTING_RESTART, IN_FILE(http.listen)},
	{"http.max_connections", "65536", "Connections that may be open at once; the next one gets 503.",
	 .type = SETTING_INT, .min = 1, .max = 10000000, .flags = SETTING_RESTART,
	 IN_FILE(http.max_connections)},
	{"http.max_connections_per_address", "off",
	 "Connections that one address may have open (an IPv6 address by its first 64 bits); the next one gets 503. Loopback is not counted.",
	 .type = SETTING_INT, .word = "off", .word_value = 0, .min = 1, .max = 10000000,
	 .flags = SETTING_RESTART, IN_FILE(http.max_connections_per_address)},
	{"http.header_bytes_max", "32KiB", "Largest head of a request, request line and headers together.",
	 .type = SETTING_SIZE, .min = KIB(1), .max = MIB(1), .flags = SETTING_RESTART,
	 IN_FILE(http.header_bytes_max)},
	{"http.body_bytes_max", "16MiB", "Largest body of a request, after decoding.", .type = SETTING_SIZE,
	 .min = KIB(1), .max = GIB(1), .flags = SETTING_RESTART, IN_FILE(http.body_bytes_max)},
	{"http.record_bytes_max", "1MiB",
	 "Largest value of a record; its key and headers together may have 32 KiB.", .type = SETTING_SIZE,
	 .min = KIB(1), .max = MIB(64), IN_FILE(http.record_bytes_max)},
	{"http.records_max", "100000", "Most records in one request.", .type = SETTING_INT, .min = 1,
	 .max = 10000000, IN_FILE(http.records_max)},
	{"http.header_timeout", "10s", "Time for the head of a request to arrive, from its first byte.",
	 .type = SETTING_DURATION, .min = 100, .max = SECONDS(3600), .flags = SETTING_RESTART,
	 IN_FILE(http.header_timeout_ms)},
	{"http.body_min_rate", "1KiB",
	 "Slowest body that is waited for, after ten seconds of grace; 0 waits for any.",
	 .type = SETTING_SIZE, .unit = "bytes a second", .min = 0, .max = GIB(1), .flags = SETTING_RESTART,
	 IN_FILE(http.body_min_rate)},
	{"http.idle_timeout", "75s", "How long a connection without a request is kept.",
	 .type = SETTING_DURATION, .min = 100, .max = DAYS(1), .flags = SETTING_RESTART,
	 IN_FILE(http.idle_timeout_ms)},
	{"http.peer_timeout", "2m",
	 "How long a peer may stay silent that TCP asks for a sign of life, or that does not acknowledge what was sent; then it is gone.",
	 .type = SETTING_DURATION, .min = SECONDS(2), .max = DAYS(1), .flags = SETTING_RESTART,
	 IN_FILE(http.peer_timeout_ms)},
	{"http.allowed_origins", NULL,
	 "Origins whose pages may call weir from a browser; * is any. Its own pages always may.",
	 .type = SETTING_LIST, .min = 1, .max = 300, .shape = conf_is_origin,
	 .shape_text = "an origin, such as https://app.example.com, or *", .flags = SETTING_RESTART,
	 IN_FILE(http.allowed_origins)},
	{"http.allowed_hosts", NULL,
	 "Values of Host that are answered while no credentials are configured, beside loopback names.",
	 .type = SETTING_LIST, .min = 1, .max = 300, .shape = conf_is_host,
	 .shape_text = "a host name or address, with or without a port", .flags = SETTING_RESTART,
	 IN_FILE(http.allowed_hosts)},
	{"http.cors", "false", "Whether to send CORS headers to the allowed origins.", .type = SETTING_BOOL,
	 .flags = SETTING_RESTART, IN_FILE(http.cors)},

	/* ---- kafka ---- */
	{"kafka.listen", "127.0.0.1:9092", "Address of the Kafka listener, or off.", .type = SETTING_STRING,
	 .word = "off", .min = 1, .max = 300, .shape = conf_is_address,
	 .shape_text = "HOST:PORT, such as 127.0.0.1:9092", .flags = SETTING_RESTART, IN_FILE(kafka.listen)},
	{"kafka.advertised", NULL,
	 "Address that clients are told to connect to; without it, the one that they reached, which is right unless something translates addresses on the way.",
	 .type = SETTING_STRING, .min = 3, .max = 300, .shape = conf_is_peer,
	 .shape_text = "HOST:PORT with both, such as weir.example.com:9092", .flags = SETTING_RESTART,
	 IN_FILE(kafka.advertised)},
	{"kafka.users", NULL,
	 "Who may use the Kafka port, as NAME:PASSWORD each, by SASL PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; without any, nobody has to log in.",
	 .type = SETTING_LIST, .min = 3, .max = 600, .shape = conf_is_user, .shape_text = "NAME:PASSWORD",
	 .flags = SETTING_RESTART | SETTING_SECRET, IN_FILE(kafka.users)},
	{"kafka.max_connections", "65536", "Connections of the Kafka port that may be open at once.",
	 .type = SETTING_INT, .min = 1, .max = 10000000, .flags = SETTING_RESTART,
	 IN_FILE(kafka.max_connections)},
	{"kafka.max_connections_per_address", "off",
	 "Connections of the Kafka port that one address may have open; loopback is not counted.",
	 .type = SETTING_INT, .word = "off", .word_value = 0, .min = 1, .max = 10000000,
	 .flags = SETTING_RESTART, IN_FILE(kafka.max_connections_per_address)},
	{"kafka.request_bytes_max", "100MiB",
	 "Largest request of the Kafka port; a larger one closes its connection.", .type = SETTING_SIZE,
	 .min = KIB(64), .max = GIB(1), .flags = SETTING_RESTART, IN_FILE(kafka.request_bytes_max)},
	{"kafka.idle_timeout", "10m", "Time without a request after which a connection is closed.",
	 .type = SETTING_DURATION, .min = SECONDS(1), .max = DAYS(1), .flags = SETTING_RESTART,
	 IN_FILE(kafka.idle_timeout_ms)},
	{"kafka.peer_timeout", "2m",
	 "As http.peer_timeout: how long a peer may be silent that the kernel asks for a sign of life.",
	 .type = SETTING_DURATION, .min = SECONDS(2), .max = DAYS(1), .flags = SETTING_RESTART,
	 IN_FILE(kafka.peer_timeout_ms)},
	{"kafka.group_initial_delay", "250ms",
	 "How long the first members of an empty consumer group wait for others, so that those that start together begin with one rebalance; each that comes prolongs it.",
	 .type = SETTING_DURATION, .min = 0, .max = SECONDS(300), .flags = SETTING_RESTART,
	 IN_FILE(kafka.group_initial_delay_ms)},
	{"kafka.group_members_max", "unlimited", "Members that a consumer group may have.",
	 .type = SETTING_INT, .word = "unlimited", .word_value = INT32_MAX, .min = 1, .max = 1000000,
	 .flags = SETTING_RESTART, IN_FILE(kafka.group_members_max)},
	{"kafka.session_timeout_min", "6s", "Shortest session timeout that a member of a group may ask for.",
	 .type = SETTING_DURATION, .min = 1, .max = DAYS(1), .flags = SETTING_RESTART,
	 IN_FILE(kafka.session_timeout_min_ms)},
	{"kafka.session_timeout_max", "30m", "Longest session timeout that a member of a group may ask for.",
	 .type = SETTING_DURATION, .min = SECONDS(1), .max = DAYS(1), .flags = SETTING_RESTART,
	 IN_FILE(kafka.session_timeout_max_ms)},
	{"kafka.offsets_retention", "7d",
	 "How long committed offsets are kept after their group has become empty; those of a group that never had members, after the commit.",
	 .type = SETTING_DURATION, .min = SECONDS(1), .max = DAYS(36500), .flags = SETTING_RESTART,
	 IN_FILE(kafka.offsets_retention_ms)},

	/* ---- log ---- */
	{"log.journal_file_bytes", "auto", "Size of one journal file; auto is 64 MiB, less on a small disk.",
	 .type = SETTING_SIZE, .word = "auto", .word_value = 0, .min = MIB(1), .max = GIB(4),
	 .flags = SETTING_RESTART, IN_FILE(log.journal_file_bytes)},
	{"log.journal_bytes", "512MiB", "Largest journal; a storage checkpoint starts at half of it.",
	 .type = SETTING_SIZE, .min = MIB(4), .max = GIB(256), .flags = SETTING_RESTART,
	 IN_FILE(log.journal_bytes)},
	{"log.segment_bytes", "256MiB", "Size at which a segment is closed and the next one begun.",
	 .type = SETTING_SIZE, .min = MIB(1), .max = GIB(1), .flags = SETTING_RESTART,
	 IN_FILE(log.segment_bytes)},
	{"log.tail_bytes", "16MiB", "Memory for recent records that readers share.", .type = SETTING_SIZE,
	 .min = MIB(1), .max = GIB(256), .flags = SETTING_RESTART, IN_FILE(log.tail_bytes)},
	{"log.group_bytes", "8MiB", "Most bytes that are written and synced as one group.",
	 .type = SETTING_SIZE, .min = KIB(64), .max = GIB(1), .flags = SETTING_RESTART,
	 IN_FILE(log.group_bytes)},
	{"log.entered_bytes", "64MiB", "Most bytes waiting for their group; past it senders get 503.",
	 .type = SETTING_SIZE, .min = MIB(1), .max = GIB(64), .flags = SETTING_RESTART,
	 IN_FILE(log.entered_bytes)},
	{"log.pinned_bytes", "128MiB",
	 "Most bytes that are in the journal and not yet in segments; past it senders get 503.",
	 .type = SETTING_SIZE, .min = MIB(1), .max = GIB(64), .flags = SETTING_RESTART,
	 IN_FILE(log.pinned_bytes)},
	{"log.index_interval_bytes", "4KiB", "Bytes of a segment between two entries of its index.",
	 .type = SETTING_SIZE, .min = 512, .max = MIB(1), .flags = SETTING_RESTART,
	 IN_FILE(log.index_interval_bytes)},
	{"log.files_max", "auto", "Segment files kept open; auto follows the limit of the process.",
	 .type = SETTING_INT, .word = "auto", .word_value = 0, .min = 16, .max = 10000000,
	 .flags = SETTING_RESTART, IN_FILE(log.files_max)},
	{"log.clock_hold", "1d",
	 "How long a clock that jumped ahead is doubted before retention and the life of keys go by it; 0 believes it at once.",
	 .type = SETTING_DURATION, .min = 0, .max = DAYS(366), IN_FILE(log.clock_hold_ms)},
	{"log.readers", "2", "Threads that read from disk what is not in memory.", .type = SETTING_INT,
	 .min = 1, .max = 64, .flags = SETTING_RESTART, IN_FILE(log.readers)},
	{"log.rewrite_rate", "64MiB", "Most that compaction and recompression read and write, together.",
	 .type = SETTING_SIZE, .unit = "bytes a second", .word = "unlimited", .word_value = 0, .min = KIB(64),
	 .max = GIB(64), .flags = SETTING_RESTART, IN_FILE(log.rewrite_rate)},
	{"log.compaction_memory", "64MiB",
	 "Memory for the keys of one pass of compaction, 32 bytes each; more keys take several passes.",
	 .type = SETTING_SIZE, .min = MIB(1), .max = GIB(16), .flags = SETTING_RESTART,
	 IN_FILE(log.compaction_memory)},

	/* ---- stream ---- */
	{"stream.buffer_bytes", "1MiB",
	 "Bytes that may wait for one SSE or WebSocket reader before weir stops reading ahead for it.",
	 .type = SETTING_SIZE, .min = KIB(4), .max = MIB(256), .flags = SETTING_RESTART,
	 IN_FILE(stream.buffer_bytes)},
	{"stream.sse_comment_interval", "15s",
	 "Time without a record after which an SSE stream gets a comment.", .type = SETTING_DURATION,
	 .min = 100, .max = SECONDS(3600), .flags = SETTING_RESTART, IN_FILE(stream.sse_comment_interval_ms)},
	{"stream.ws_ping_interval", "30s",
	 "Time without a frame after which a WebSocket gets a ping; it is cut when a second one is due and nothing came.",
	 .type = SETTING_DURATION, .min = 100, .max = SECONDS(3600), .flags = SETTING_RESTART,
	 IN_FILE(stream.ws_ping_interval_ms)},
	{"stream.ws_message_bytes", "1MiB", "Largest WebSocket message that is taken, after inflation.",
	 .type = SETTING_SIZE, .min = 125, .max = MIB(64), .flags = SETTING_RESTART,
	 IN_FILE(stream.ws_message_bytes)},

	/* ---- a topic ---- */
	{"name", NULL, "Name of the topic; what begins with __weir or as Kafka's own topics do is kept.",
	 .type = SETTING_STRING, .min = 1, .max = 249, .shape = conf_is_topic_name, .shape_text = topic_text,
	 .flags = SETTING_REQUIRED | SETTING_ITEM_ONLY, IN_TOPIC(name)},
	{"partitions", "1", "Partitions of the topic; the number may grow, never shrink.",
	 .type = SETTING_INT, .min = 1, .max = 10000, IN_TOPIC(partitions)},
	{"retention", "7d", "How long a record is kept, counted from when it was appended.",
	 .type = SETTING_DURATION, .word = "forever", .word_value = -1, .min = 1, .max = DAYS(36500),
	 IN_TOPIC(retention_ms)},
	{"retention_bytes", "unlimited", "Most bytes kept in a partition; the oldest segments go first.",
	 .type = SETTING_SIZE, .word = "unlimited", .word_value = -1, .min = 1, .max = GIB(1 << 20),
	 IN_TOPIC(retention_bytes)},
	{"durability", "fsync",
	 "When a record is acknowledged: fsync is after the disk has it, os after the kernel has it.",
	 .type = SETTING_ENUM, .names = durabilities, IN_TOPIC(durability)},
	{"cleanup", "delete",
	 "What happens to old records: delete by age and size, compact to the last one of each key, or both; \"compact,delete\" is understood too.",
	 .type = SETTING_ENUM, .names = cleanups, .aliases = cleanup_aliases, IN_TOPIC(cleanup)},
	{"compaction.dirty_percent", "50",
	 "Share of a compacted partition's closed segments that must have come since the last pass before the next one begins.",
	 .type = SETTING_INT, .unit = "percent", .min = 1, .max = 100, IN_TOPIC(compaction_dirty_percent)},
	{"compaction.max_lag", "1d",
	 "Age of a record at which its partition is compacted however little has changed; forever leaves it to dirty_percent.",
	 .type = SETTING_DURATION, .word = "forever", .word_value = -1, .min = 1, .max = DAYS(36500),
	 IN_TOPIC(compaction_max_lag_ms)},
	{"compaction.min_lag", "0",
	 "How long a record is safe from compaction, so that slow readers see what a later one replaces.",
	 .type = SETTING_DURATION, .min = 0, .max = DAYS(36500), IN_TOPIC(compaction_min_lag_ms)},
	{"compaction.tombstone_retention", "1d",
	 "How long a tombstone stays in a compacted topic, from the first pass that meets it, so that slow readers see it.",
	 .type = SETTING_DURATION, .min = 0, .max = DAYS(36500), IN_TOPIC(compaction_tombstone_ms)},
	{"recompress_after", "never",
	 "Age of a closed segment at which it is written again with zstd; readers see no difference.",
	 .type = SETTING_DURATION, .word = "never", .word_value = 0, .min = SECONDS(1), .max = DAYS(36500),
	 IN_TOPIC(recompress_after_ms)},
	{"segment_bytes", "auto",
	 "Size at which a segment is closed and the next one begun; auto is log.segment_bytes.",
	 .type = SETTING_SIZE, .word = "auto", .word_value = 0, .min = KIB(1), .max = GIB(1),
	 IN_TOPIC(segment_bytes)},
	{"timestamps", "create",
	 "Whose time a record bears: create is the producer's where it gives one, append is always weir's.",
	 .type = SETTING_ENUM, .names = timestamps, .aliases = timestamp_aliases, IN_TOPIC(timestamps)},
	{"max_message_bytes", "1048588",
	 "Largest record batch that a Kafka producer may send, compressed as it comes. Over HTTP http.record_bytes_max counts.",
	 .type = SETTING_SIZE, .min = 1, .max = MIB(32), IN_TOPIC(max_message_bytes)},
	{"idempotency.ttl", "7d", "How long an idempotency key is remembered.", .type = SETTING_DURATION,
	 .min = SECONDS(1), .max = DAYS(366), IN_TOPIC(idempotency_ttl_ms)},
	{"dead_letters.retention", "30d",
	 "How long dead letters of the topic are kept: the retention that its topic of dead letters is made with.",
	 .type = SETTING_DURATION, .word = "forever", .word_value = -1, .min = 1, .max = DAYS(36500),
	 IN_TOPIC(dead_retention_ms)},
	{"dead_letters.max_bytes", "1GiB",
	 "Bytes of dead letters of the topic past which weir alerts: a line in its log, a warning in /readyz, weir_dead_letters_over_limit. None is deleted for it.",
	 .type = SETTING_SIZE, .word = "unlimited", .word_value = -1, .min = 1, .max = GIB(1 << 20),
	 IN_TOPIC(dead_max_bytes)},
	{"auto_create", "true", "Whether a topic is made when it is first written to.", .type = SETTING_BOOL,
	 .flags = SETTING_DEFAULTS_ONLY, IN_TOPIC(auto_create)},

	/* ---- a source that weir asks ---- */
	{"name", NULL, "Name of the source; what it has read so far is kept under it.",
	 .type = SETTING_STRING, .min = 1, .max = 249, .shape = conf_is_topic_name, .shape_text = topic_text,
	 .flags = SETTING_REQUIRED, IN_SOURCE(name)},
	{"type", NULL, "Kind of the source.", .type = SETTING_STRING, .min = 1, .max = 64,
	 .flags = SETTING_REQUIRED, IN_SOURCE(type)},
	{"topic", NULL, "Topic that gets the records.", .type = SETTING_STRING, .min = 1, .max = 249,
	 .shape = conf_is_topic_name, .shape_text = topic_text, .flags = SETTING_REQUIRED, IN_SOURCE(topic)},
	{"every", "auto",
	 "Time from the beginning of a run to that of the next; {min: …, max: …} follows what arrives. auto is the kind's own.",
	 .type = SETTING_DURATION, .word = "auto", .word_value = 0, .min = 1, .max = DAYS(366),
	 IN_SOURCE(every_ms)},
	{"every.min", "auto", "Shortest interval of an adaptive schedule.", .type = SETTING_DURATION,
	 .word = "auto", .word_value = 0, .min = 1, .max = DAYS(366), IN_SOURCE(every_min_ms)},
	{"every.max", "auto", "Longest interval of an adaptive schedule.", .type = SETTING_DURATION,
	 .word = "auto", .word_value = 0, .min = 1, .max = DAYS(366), IN_SOURCE(every_max_ms)},
	{"cron", NULL, "When it runs, as in crontab, in place of every.", .type = SETTING_STRING, .min = 1,
	 .max = 500, .shape_text = "five fields, such as \"*/5 * * * *\"", IN_SOURCE(cron)},
	{"timezone", "UTC", "Zone that cron and blackout mean.", .type = SETTING_STRING, .min = 1, .max = 64,
	 .shape_text = "a name such as Europe/Berlin", IN_SOURCE(timezone)},
	{"jitter", "0", "Each run begins up to so much later, by chance.", .type = SETTING_DURATION, .min = 0,
	 .max = DAYS(1), IN_SOURCE(jitter_ms)},
	{"overlap", "skip",
	 "What becomes of a run that is due while one is under way: skip it, or queue one for when that is over.",
	 .type = SETTING_ENUM, .names = overlaps, IN_SOURCE(overlap)},
	{"blackout", NULL, "Times at which no run begins.", .type = SETTING_LIST, .min = 1, .max = 200,
	 .shape_text = "days and times, such as \"Mon-Fri 09:00-17:00\"", IN_SOURCE(blackouts)},
	{"at_start", "false", "Whether weir's start is a reason for a run.", .type = SETTING_BOOL,
	 IN_SOURCE(at_start)},
	{"parallel", "4", "Parts of the source (files, key ranges, URLs) that are read at once.",
	 .type = SETTING_INT, .min = 1, .max = 64, IN_SOURCE(parallel)},
	{"retry.min", "1s", "Longest wait before the first try after a failure; it doubles with each.",
	 .type = SETTING_DURATION, .min = 1, .max = DAYS(1), IN_SOURCE(retry_min_ms)},
	{"retry.max", "5m", "Longest wait between tries while a source keeps failing.",
	 .type = SETTING_DURATION, .min = 1, .max = DAYS(7), IN_SOURCE(retry_max_ms)},
	{"rate_limit", "unlimited", "Records taken a second, on average.", .type = SETTING_INT,
	 .word = "unlimited", .word_value = -1, .min = 1, .max = 10000000, IN_SOURCE(rate_per_second)},
	{"batch.records", "2000", "Records that are stored in one commit.", .type = SETTING_INT, .min = 1,
	 .max = 100000, IN_SOURCE(batch_records)},
	{"batch.bytes", "4MiB", "Bytes that are stored in one commit.", .type = SETTING_SIZE, .min = KIB(1),
	 .max = MIB(16), IN_SOURCE(batch_bytes)},

	/* ---- a webhook source ---- */
	{"name", NULL, "Name of the source, the last part of its path /ingest/NAME.", .type = SETTING_STRING,
	 .min = 1, .max = 249, .shape = conf_is_topic_name, .shape_text = topic_text,
	 .flags = SETTING_REQUIRED | SETTING_LATER, IN_WEBHOOK(name)},
	{"type", NULL, "Kind of the source.", .type = SETTING_ENUM, .names = source_types,
	 .flags = SETTING_REQUIRED | SETTING_LATER, IN_WEBHOOK(type)},
	{"topic", NULL, "Topic that gets the records.", .type = SETTING_STRING, .min = 1, .max = 249,
	 .shape = conf_is_topic_name, .shape_text = topic_text, .flags = SETTING_REQUIRED | SETTING_LATER,
	 IN_WEBHOOK(topic)},
	{"verify.scheme", "none", "How deliveries are signed.", .type = SETTING_ENUM, .names = schemes,
	 .flags = SETTING_LATER, IN_WEBHOOK(verify_scheme)},
	{"verify.secrets", NULL,
	 "Secrets that a signature may be made with; several while one is being changed.",
	 .type = SETTING_LIST, .min = 1, .max = 4096, .flags = SETTING_SECRET | SETTING_LATER,
	 IN_WEBHOOK(verify_secrets)},
	{"verify.header", NULL, "Header that holds the signature, where the scheme does not say it.",
	 .type = SETTING_STRING, .min = 1, .max = 128, .shape = conf_is_header_name,
	 .shape_text = header_text, .flags = SETTING_LATER, IN_WEBHOOK(verify_header)},
	{"idempotency.header", NULL, "Header that holds the id of a delivery.", .type = SETTING_STRING,
	 .min = 1, .max = 128, .shape = conf_is_header_name, .shape_text = header_text,
	 .flags = SETTING_LATER, IN_WEBHOOK(idempotency_header)},
	{"idempotency.ttl", "7d", "How long an id is remembered.", .type = SETTING_DURATION,
	 .min = SECONDS(1), .max = DAYS(366), .flags = SETTING_LATER, IN_WEBHOOK(idempotency_ttl_ms)},
	{"rate_limit.per_second", "unlimited", "Deliveries taken a second; past it senders get 429.",
	 .type = SETTING_INT, .word = "unlimited", .word_value = -1, .min = 1, .max = 10000000,
	 .flags = SETTING_LATER, IN_WEBHOOK(rate_per_second)},
	{"rate_limit.burst", "1", "Deliveries taken at once above the rate.", .type = SETTING_INT, .min = 1,
	 .max = 10000000, .flags = SETTING_LATER, IN_WEBHOOK(rate_burst)},
};

const uint32_t setting_count = sizeof(setting_table) / sizeof(setting_table[0]);

const struct setting *setting_find(enum setting_scope scope, struct slice path)
{
	for (uint32_t i = 0; i < setting_count; i++)
		if (setting_table[i].scope == scope && slice_eq_str(path, setting_table[i].path))
			return &setting_table[i];
	return NULL;
}

static int store_fallback(const struct setting *s, void *object, struct arena *arena)
{
	int err = s->fallback ? setting_store(s, object, slice_str(s->fallback), arena) : 0;

	CHECK(err != ERR_BAD_CONFIG); /* a default must fit its own row */
	return err;
}

int setting_defaults(enum setting_scope scope, void *object, struct arena *arena)
{
	int err = 0;

	for (uint32_t i = 0; i < setting_count && !err; i++)
		if (setting_table[i].scope == scope)
			err = store_fallback(&setting_table[i], object, arena);
	return err;
}

int setting_table_defaults(const struct setting *table, uint32_t count, void *object, struct arena *arena)
{
	int err = 0;

	for (uint32_t i = 0; i < count && !err; i++)
		err = store_fallback(&table[i], object, arena);
	return err;
}

/* ---- text to value ---- */

static bool parse_number(const struct setting *s, struct slice text, int64_t *out)
{
	uint64_t plain;

	switch (s->type) {
	case SETTING_SIZE:
		return conf_parse_size(text, out);
	case SETTING_DURATION:
		return conf_parse_duration(text, out);
	default:
		if (!slice_to_u64(text, &plain) || plain > INT64_MAX)
			return false;
		*out = (int64_t)plain;
		return true;
	}
}

static int store_number(const struct setting *s, int64_t *member, struct slice text)
{
	int64_t value;

	/* Kafka's habit: -1 where a word says "no bound". */
	bool minus = s->word && s->word_value == -1 && slice_eq_str(text, "-1");
	if (minus || (s->word && slice_eq_str(text, s->word))) {
		*member = s->word_value;
		return 0;
	}
	if (!parse_number(s, text, &value) || value < s->min || value > s->max)
		return ERR_BAD_CONFIG;
	*member = value;
	return 0;
}

static int store_enum(const struct setting *s, int64_t *member, struct slice text)
{
	for (int64_t i = 0; s->names[i]; i++) {
		if (slice_eq_str(text, s->names[i])) {
			*member = i;
			return 0;
		}
	}
	for (const struct setting_alias *a = s->aliases; a && a->text; a++)
		if (slice_eq_str(text, a->text))
			return store_enum(s, member, slice_str(a->name));
	return ERR_BAD_CONFIG;
}

static int copy_string(const struct setting *s, struct slice text, struct arena *arena, const char **out)
{
	CHECK(arena);
	if (text.len < (size_t)s->min || text.len > (size_t)s->max || memchr(text.ptr, 0, text.len))
		return ERR_BAD_CONFIG;
	if (s->shape && !s->shape(text))
		return ERR_BAD_CONFIG;
	char *copy = arena_alloc(arena, text.len + 1);
	if (!copy)
		return ERR_NOMEM;
	memcpy(copy, text.ptr, text.len);
	copy[text.len] = 0;
	*out = copy;
	return 0;
}

static int store_string(const struct setting *s, const char **member, struct slice text, struct arena *arena)
{
	if (s->word && slice_eq_str(text, s->word)) {
		*member = NULL;
		return 0;
	}
	return copy_string(s, text, arena, member);
}

/* The room doubles whenever the count reaches a power of two. */
static int make_room(const char ***items, uint32_t count, struct arena *arena)
{
	const char **more;

	if (count & (count - 1))
		return 0;
	more = arena_zalloc(arena, count ? (size_t)count * 2 : 1, sizeof(*more));
	if (!more)
		return ERR_NOMEM;
	if (count > 0)
		memcpy(more, *items, count * sizeof(*more));
	*items = more;
	return 0;
}

static int store_item(const struct setting *s, struct conf_list *list, struct slice text, struct arena *arena)
{
	const char *item;

	int err = copy_string(s, text, arena, &item);
	if (!err)
		err = make_room(&list->items, list->count, arena);
	if (!err)
		list->items[list->count++] = item;
	return err;
}

#define MAP_NAME_MAX 256u

int setting_store_pair(const struct setting *s, void *object, struct slice name, struct slice text,
		       struct arena *arena)
{
	struct conf_map *map = (void *)((char *)object + s->offset);
	const char *value;

	CHECK(s->type == SETTING_MAP);
	if (name.len == 0 || name.len > MAP_NAME_MAX || memchr(name.ptr, 0, name.len))
		return ERR_BAD_CONFIG;
	for (uint32_t i = 0; i < map->count; i++)
		if (slice_eq_str(name, map->names[i]))
			return ERR_BAD_CONFIG;
	int err = copy_string(s, text, arena, &value);
	if (!err)
		err = make_room(&map->names, map->count, arena);
	if (!err)
		err = make_room(&map->values, map->count, arena);
	if (err)
		return err;
	char *text_name = arena_alloc(arena, name.len + 1);
	if (!text_name)
		return ERR_NOMEM;
	memcpy(text_name, name.ptr, name.len);
	text_name[name.len] = 0;
	map->names[map->count] = text_name;
	map->values[map->count++] = value;
	return 0;
}

int setting_store(const struct setting *s, void *object, struct slice text, struct arena *arena)
{
	void *member = (char *)object + s->offset;

	if (!text.ptr)
		text = SLICE_LIT("");
	switch (s->type) {
	case SETTING_BOOL:
		if (!slice_eq_str(text, "true") && !slice_eq_str(text, "false"))
			return ERR_BAD_CONFIG;
		*(bool *)member = text.len == 4;
		return 0;
	case SETTING_STRING:
		return store_string(s, member, text, arena);
	case SETTING_LIST:
		return store_item(s, member, text, arena);
	case SETTING_MAP:
		return ERR_BAD_CONFIG;
	case SETTING_ENUM:
		return store_enum(s, member, text);
	case SETTING_INT:
	case SETTING_SIZE:
	case SETTING_DURATION:
		return store_number(s, member, text);
	}
	return ERR_BAD_CONFIG;
}

/* ---- value to text ---- */

int setting_number_text(const struct setting *s, int64_t value, struct buf *out)
{
	if (s->type == SETTING_SIZE)
		return conf_format_size(out, value);
	if (s->type == SETTING_DURATION)
		return conf_format_duration(out, value);
	return buf_append_i64(out, value);
}

static int number_text(const struct setting *s, int64_t value, struct buf *out)
{
	if (s->word && value == s->word_value)
		return buf_append_str(out, s->word);
	return setting_number_text(s, value, out);
}

static int list_text(const struct conf_list *list, struct buf *out)
{
	buf_append_str(out, "[");
	for (uint32_t i = 0; i < list->count; i++)
		buf_appendf(out, "%s%s", i ? ", " : "", list->items[i]);
	return buf_append_str(out, "]");
}

static int map_text(const struct conf_map *map, struct buf *out)
{
	buf_append_str(out, "{");
	for (uint32_t i = 0; i < map->count; i++)
		buf_appendf(out, "%s%s: %s", i ? ", " : "", map->names[i], map->values[i]);
	return buf_append_str(out, "}");
}

int setting_text(const struct setting *s, const void *object, struct buf *out)
{
	const void *member = (const char *)object + s->offset;
	const char *text;

	if (s->flags & SETTING_SECRET)
		return buf_append_str(out, "***");
	switch (s->type) {
	case SETTING_BOOL:
		return buf_append_str(out, *(const bool *)member ? "true" : "false");
	case SETTING_STRING:
		text = *(const char *const *)member;
		return buf_append_str(out, text ? text : s->word ? s->word : "");
	case SETTING_LIST:
		return list_text(member, out);
	case SETTING_MAP:
		return map_text(member, out);
	case SETTING_ENUM:
		return buf_append_str(out, s->names[*(const int64_t *)member]);
	case SETTING_INT:
	case SETTING_SIZE:
	case SETTING_DURATION:
		return number_text(s, *(const int64_t *)member, out);
	}
	return 0;
}

static bool same_string(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

static bool same_list(const struct conf_list *a, const struct conf_list *b)
{
	if (a->count != b->count)
		return false;
	for (uint32_t i = 0; i < a->count; i++)
		if (strcmp(a->items[i], b->items[i]) != 0)
			return false;
	return true;
}

static bool same_map(const struct conf_map *a, const struct conf_map *b)
{
	if (a->count != b->count)
		return false;
	for (uint32_t i = 0; i < a->count; i++)
		if (strcmp(a->names[i], b->names[i]) != 0 || strcmp(a->values[i], b->values[i]) != 0)
			return false;
	return true;
}

bool setting_same(const struct setting *s, const void *a, const void *b)
{
	const void *left = (const char *)a + s->offset;
	const void *right = (const char *)b + s->offset;

	switch (s->type) {
	case SETTING_BOOL:
		return *(const bool *)left == *(const bool *)right;
	case SETTING_STRING:
		return same_string(*(const char *const *)left, *(const char *const *)right);
	case SETTING_LIST:
		return same_list(left, right);
	case SETTING_MAP:
		return same_map(left, right);
	default:
		return *(const int64_t *)left == *(const int64_t *)right;
	}
}

/* ---- what would be right ---- */

static void expected_number(const struct setting *s, struct buf *out)
{
	const char *noun = s->type == SETTING_SIZE     ? "a size" :
			   s->type == SETTING_DURATION ? "a duration" :
							 "a whole number";
	bool example =
		s->type != SETTING_INT && s->fallback && (!s->word || strcmp(s->word, s->fallback) != 0);

	buf_appendf(out, "%s from ", noun);
	setting_number_text(s, s->min, out);
	buf_append_str(out, " to ");
	setting_number_text(s, s->max, out);
	if (example)
		buf_appendf(out, ", such as %s", s->fallback);
	if (s->word)
		buf_appendf(out, ", or %s", s->word);
}

static void expected_enum(const struct setting *s, struct buf *out)
{
	for (uint32_t i = 0; s->names[i]; i++) {
		const char *joint = i == 0 ? "" : s->names[i + 1] ? ", " : " or ";
		buf_appendf(out, "%s%s", joint, s->names[i]);
	}
}

int setting_expected(const struct setting *s, struct buf *out)
{
	switch (s->type) {
	case SETTING_BOOL:
		return buf_append_str(out, "true or false");
	case SETTING_ENUM:
		expected_enum(s, out);
		return buf_status(out);
	case SETTING_STRING:
	case SETTING_LIST:
	case SETTING_MAP:
		if (s->type == SETTING_MAP)
			buf_append_str(out, "a mapping, NAME: VALUE, each value ");
		if (s->shape_text)
			buf_append_str(out, s->shape_text);
		else
			buf_appendf(out, "text of %d to %d bytes", (int)s->min, (int)s->max);
		if (s->word)
			buf_appendf(out, ", or %s", s->word);
		return buf_status(out);
	case SETTING_INT:
	case SETTING_SIZE:
	case SETTING_DURATION:
		expected_number(s, out);
		return buf_status(out);
	}
	return 0;
}

const char *setting_nearest(const struct setting *s, struct slice text)
{
	static const char *const bools[] = {"true", "false"};
	size_t count = 0;

	if (s->type == SETTING_BOOL)
		return conf_nearest(text, bools, 2);
	if (s->type != SETTING_ENUM)
		return s->word ? conf_nearest(text, &s->word, 1) : NULL;
	while (s->names[count])
		count++;
	return conf_nearest(text, s->names, count);
}
