/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table, and the few rules that its rows share. A rule is three functions: text to
 * setting, setting to text, and what is allowed in words.
 *
 * Where weir does something else than a value asks for there are three ways out, and each row has chosen
 * one. What no client can see is taken: how often files are flushed, how large an index is. What a
 * client may count on and weir does not do is refused (a second replica, an earlier time refused): better at the
 * start than when it matters. A bound that weir has elsewhere than Kafka is put in place of what was
 * asked where the difference is one of degree (a retention of 0 ms is one of 1 ms).
 *
 * Kafka keeps the text that was set and gives it back. weir tells what is in force: one truth for
 * HTTP, the file and Kafka.
 */
#include "conf/kafka_topic.h"

#include <stdio.h>
#include <stdlib.h>

#include "conf/setting.h"
#include "conf/value.h"

#define LONG_TEXT "9223372036854775807"
#define SHOWN(s) (int)((s).len > 100 ? 100 : (s).len), (const char *)(s).ptr
#define IN(member) .offset = offsetof(struct conf_topic, member)

struct kafka_topic_rule {
	bool (*set)(const struct kafka_topic_row *row, struct conf_topic *topic, struct slice value);
	int (*text)(const struct kafka_topic_row *row, const struct conf_topic *topic, struct buf *out);
	int (*expected)(const struct kafka_topic_row *row, struct buf *out);
	bool keeps; /* a reset leaves it */
};

static int64_t *member(const struct kafka_topic_row *row, struct conf_topic *topic)
{
	return (int64_t *)((char *)topic + row->offset);
}

static int64_t member_of(const struct kafka_topic_row *row, const struct conf_topic *topic)
{
	return *(const int64_t *)((const char *)topic + row->offset);
}

static const struct setting *setting_of(const struct kafka_topic_row *row)
{
	return row->key ? setting_find(SETTING_TOPIC, slice_str(row->key)) : NULL;
}

/* ---- numbers ---- */

static int expect_number(const struct kafka_topic_row *row, struct buf *out)
{
	buf_append_str(out, "a whole number from ");
	buf_append_i64(out, row->min);
	if (row->max != INT64_MAX) {
		buf_append_str(out, " to ");
		buf_append_i64(out, row->max);
	}
	return row->min < 0 && row->unbounded ? buf_append_str(out, ", -1 being without a bound") :
						buf_status(out);
}

static bool set_number(const struct kafka_topic_row *row, struct conf_topic *topic, struct slice value)
{
	const struct setting *s = setting_of(row);
	int64_t n;

	if (!slice_to_i64(value, &n) || n < row->min || n > row->max)
		return false;
	if (row->unbounded && (n == row->unbounded || n > s->max))
		n = -1;
	else if (n < s->min)
		n = s->min;
	else if (n > s->max)
		n = s->max;
	*member(row, topic) = n;
	return true;
}

static int number_text(const struct kafka_topic_row *row, const struct conf_topic *topic, struct buf *out)
{
	int64_t n = member_of(row, topic);

	return buf_append_i64(out, n < 0 && row->unbounded ? row->unbounded : n);
}

static const struct kafka_topic_rule number = {set_number, number_text, expect_number, false};

/* ---- a share, which weir has in percent ---- */

static int expect_share(const struct kafka_topic_row *row, struct buf *out)
{
	(void)row;
	return buf_append_str(out, "a number from 0 to 1, such as 0.5");
}

static bool set_share(const struct kafka_topic_row *row, struct conf_topic *topic, struct slice value)
{
	char text[40];
	char *end;
	double share;

	if (value.len == 0 || value.len >= sizeof(text))
		return false;
	memcpy(text, value.ptr, value.len);
	text[value.len] = 0;
	if (strspn(text, "0123456789.eE+-") != value.len)
		return false;
	share = strtod(text, &end);
	if (*end || !(share >= 0 && share <= 1))
		return false;
	*member(row, topic) = (int64_t)(share * 100 + 0.5);
	if (*member(row, topic) == 0) /* 0 is: always; weir says that with 1 */
		*member(row, topic) = 1;
	return true;
}

static int share_text(const struct kafka_topic_row *row, const struct conf_topic *topic, struct buf *out)
{
	int n = (int)member_of(row, topic);

	return n % 10 == 0 ? buf_appendf(out, "%d.%d", n / 100, n % 100 / 10) :
			     buf_appendf(out, "%d.%02d", n / 100, n % 100);
}

static const struct kafka_topic_rule share = {set_share, share_text, expect_share, false};

/* ---- words ---- */

static int expect_words(const struct kafka_topic_row *row, struct buf *out)
{
	for (uint32_t i = 0; row->words[i]; i++) {
		const char *joint = i == 0 ? "" : row->words[i + 1] ? ", " : " or ";
		buf_appendf(out, "%s%s", joint, row->words[i]);
	}
	return buf_status(out);
}

static bool is_word(const struct kafka_topic_row *row, struct slice value, int64_t *index)
{
	for (*index = 0; row->words[*index]; ++*index)
		if (slice_eq_str(value, row->words[*index]))
			return true;
	return false;
}

/* The words are in the order of weir's enum. */
static bool set_word(const struct kafka_topic_row *row, struct conf_topic *topic, struct slice value)
{
	int64_t index;

	if (!is_word(row, value, &index))
		return false;
	*member(row, topic) = index;
	return true;
}

static int word_text(const struct kafka_topic_row *row, const struct conf_topic *topic, struct buf *out)
{
	return buf_append_str(out, row->words[member_of(row, topic)]);
}

static const struct kafka_topic_rule word = {set_word, word_text, expect_words, false};

/* ---- cleanup.policy: a list, of which weir has the combinations ---- */

enum { HAS_DELETE = 1, HAS_COMPACT = 2 };

static const int64_t cleanup_of[] = {-1, CONF_CLEANUP_DELETE, CONF_CLEANUP_COMPACT,
				     CONF_CLEANUP_COMPACT_DELETE};

/* The bits of a list; -1: something else is in it. */
static int policies_of(struct slice value)
{
	int bits = 0;

	while (value.ptr) {
		const uint8_t *comma = value.len ? memchr(value.ptr, ',', value.len) : NULL;
		struct slice item =
			slice_trim(comma ? slice_make(value.ptr, (size_t)(comma - value.ptr)) : value);
		if (slice_eq_str(item, "delete"))
			bits |= HAS_DELETE;
		else if (slice_eq_str(item, "compact"))
			bits |= HAS_COMPACT;
		else
			return -1;
		value = comma ? slice_from(value, (size_t)(comma + 1 - value.ptr)) : slice_null();
	}
	return bits;
}

static int bits_of(const struct conf_topic *topic)
{
	return topic->cleanup == CONF_CLEANUP_COMPACT        ? HAS_COMPACT :
	       topic->cleanup == CONF_CLEANUP_COMPACT_DELETE ? HAS_COMPACT | HAS_DELETE :
							       HAS_DELETE;
}

static bool set_policies(const struct kafka_topic_row *row, struct conf_topic *topic, struct slice value)
{
	int bits = policies_of(value);

	(void)row;
	if (bits <= 0)
		return false;
	topic->cleanup = cleanup_of[bits];
	return true;
}

static int policies_text(const struct kafka_topic_row *row, const struct conf_topic *topic, struct buf *out)
{
	static const char *const texts[] = {"", "delete", "compact", "compact,delete"};

	(void)row;
	return buf_append_str(out, texts[bits_of(topic)]);
}

static int expect_policies(const struct kafka_topic_row *row, struct buf *out)
{
	(void)row;
	return buf_append_str(out, "compact, delete, or both with a comma between them");
}

static const struct kafka_topic_rule policies = {set_policies, policies_text, expect_policies, false};

/* ---- flush.messages: 1 is what weir does, unless the topic's durability is os ---- */

static int expect_any(const struct kafka_topic_row *row, struct buf *out);
static bool set_any(const struct kafka_topic_row *row, struct conf_topic *topic, struct slice value);

static bool set_flush(const struct kafka_topic_row *row, struct conf_topic *topic, struct slice value)
{
	if (!set_any(row, topic, value))
		return false;
	if (slice_eq_str(value, "1"))
		topic->durability = CONF_DURABILITY_FSYNC;
	return true;
}

static int flush_text(const struct kafka_topic_row *row, const struct conf_topic *topic, struct buf *out)
{
	(void)row;
	return buf_append_str(out, topic->durability == CONF_DURABILITY_FSYNC ? "1" : LONG_TEXT);
}

static const struct kafka_topic_rule flush = {set_flush, flush_text, expect_any, true};

/* ---- what weir has no setting for ---- */

static bool is_bool(struct slice value)
{
	return slice_eq_nocase(value, SLICE_LIT("true")) || slice_eq_nocase(value, SLICE_LIT("false"));
}

/* Any value that Kafka would take. */
static bool set_any(const struct kafka_topic_row *row, struct conf_topic *topic, struct slice value)
{
	int64_t n;

	(void)topic;
	switch (row->type) {
	case KAFKA_TOPIC_BOOLEAN:
		return is_bool(value);
	case KAFKA_TOPIC_STRING:
		return is_word(row, value, &n);
	case KAFKA_TOPIC_LIST:
		return true;
	case KAFKA_TOPIC_INT:
	case KAFKA_TOPIC_LONG:
	case KAFKA_TOPIC_DOUBLE:
		break;
	}
	return slice_to_i64(value, &n) && n >= row->min && n <= row->max;
}

static int fixed_text(const struct kafka_topic_row *row, const struct conf_topic *topic, struct buf *out)
{
	(void)topic;
	return buf_append_str(out, row->fixed);
}

static int expect_any(const struct kafka_topic_row *row, struct buf *out)
{
	if (row->type == KAFKA_TOPIC_BOOLEAN)
		return buf_append_str(out, "true or false");
	if (row->type == KAFKA_TOPIC_STRING)
		return expect_words(row, out);
	if (row->type == KAFKA_TOPIC_LIST)
		return buf_append_str(out, "anything");
	return expect_number(row, out);
}

static const struct kafka_topic_rule any = {set_any, fixed_text, expect_any, true};

/* The value in force, and no other. */
static bool set_same(const struct kafka_topic_row *row, struct conf_topic *topic, struct slice value)
{
	(void)topic;
	return slice_eq_nocase(value, slice_str(row->fixed));
}

static int expect_same(const struct kafka_topic_row *row, struct buf *out)
{
	return buf_appendf(out, "%s, the only value that weir has for it", row->fixed);
}

static const struct kafka_topic_rule only = {set_same, fixed_text, expect_same, true};

/* message.format.version: all that have record batches of magic 2, as 0.11 and later do. */
static bool set_format(const struct kafka_topic_row *row, struct conf_topic *topic, struct slice value)
{
	(void)row;
	(void)topic;
	return slice_starts(value, SLICE_LIT("0.11.")) ||
	       (value.len >= 3 && value.len <= 16 && value.ptr[0] >= '1' && value.ptr[0] <= '9' &&
		value.ptr[1] == '.');
}

static int expect_format(const struct kafka_topic_row *row, struct buf *out)
{
	(void)row;
	return buf_append_str(out, "0.11.0 or a later version, such as 3.0-IV1");
}

static const struct kafka_topic_rule format = {set_format, fixed_text, expect_format, true};

/* ---- the table ---- */

static const char *const timestamp_words[] = {"CreateTime", "LogAppendTime", NULL};
static const char *const codec_words[] = {"producer", "uncompressed", "gzip", "snappy", "lz4", "zstd", NULL};

#define INTEGER .type = KAFKA_TOPIC_INT
#define LONG .type = KAFKA_TOPIC_LONG
#define BOOLEAN .type = KAFKA_TOPIC_BOOLEAN
#define STRING .type = KAFKA_TOPIC_STRING
#define LIST .type = KAFKA_TOPIC_LIST

const struct kafka_topic_row kafka_topic_table[] = {
	{"cleanup.policy", "log.cleanup.policy", "cleanup",
	 "What happens to old records: delete by age and size, compact to the last one of each key, or both.",
	 &policies, LIST, IN(cleanup)},
	{"compression.gzip.level", "compression.gzip.level", NULL,
	 "Of a broker that compresses again. weir does not.", &any, "-1", .min = -1, .max = 9, INTEGER},
	{"compression.lz4.level", "compression.lz4.level", NULL,
	 "Of a broker that compresses again. weir does not.", &any, "9", .min = 1, .max = 17, INTEGER},
	{"compression.type", "compression.type", NULL,
	 "Batches are kept as the producer compressed them, whatever is set; every reader reads every codec.",
	 &any, "producer", .words = codec_words, STRING},
	{"compression.zstd.level", "compression.zstd.level", NULL,
	 "Of a broker that compresses again. weir does not.", &any, "3", .min = -131072, .max = 22, INTEGER},
	{"delete.retention.ms", "log.cleaner.delete.retention.ms", "compaction.tombstone_retention",
	 "How long a tombstone stays in a compacted topic.", &number, .min = 0, .max = INT64_MAX, LONG,
	 IN(compaction_tombstone_ms)},
	{"file.delete.delay.ms", "log.segment.delete.delay.ms", NULL,
	 "Files of deleted segments go with the next storage checkpoint.", &any, "0", .min = 0,
	 .max = INT64_MAX, LONG},
	{"flush.messages", "log.flush.interval.messages", "durability",
	 "1: every record is on the disk before it is answered, which is durability: fsync. Setting 1 sets that; any other number is taken and changes nothing.",
	 &flush, .min = 1, .max = INT64_MAX, LONG, IN(durability)},
	{"flush.ms", "log.flush.interval.ms", NULL, "weir syncs before it answers, not by time.", &any,
	 LONG_TEXT, .min = 0, .max = INT64_MAX, LONG},
	{"follower.replication.throttled.replicas", NULL, NULL, "There are no followers.", &any, "", LIST},
	{"index.interval.bytes", "log.index.interval.bytes", NULL,
	 "Of weir as a whole: log.index_interval_bytes.", &any, "4096", .min = 0, .max = INT32_MAX, INTEGER},
	{"leader.replication.throttled.replicas", NULL, NULL, "There are no followers.", &any, "", LIST},
	{"local.retention.bytes", "log.local.retention.bytes", NULL,
	 "Everything is kept here: as retention.bytes.", &only, "-2", LONG},
	{"local.retention.ms", "log.local.retention.ms", NULL, "Everything is kept here: as retention.ms.",
	 &only, "-2", LONG},
	{"max.compaction.lag.ms", "log.cleaner.max.compaction.lag.ms", "compaction.max_lag",
	 "Age of a record at which its partition is compacted however little has changed.", &number, .min = 1,
	 .max = INT64_MAX, .unbounded = INT64_MAX, LONG, IN(compaction_max_lag_ms)},
	{"max.message.bytes", "message.max.bytes", "max_message_bytes",
	 "Largest record batch that a producer may send, compressed as it comes.", &number, .min = 0,
	 .max = 32 << 20, INTEGER, IN(max_message_bytes)},
	{"message.downconversion.enable", "log.message.downconversion.enable", NULL,
	 "Batches are never converted for old consumers; Fetch 4 and later need none.", &any, "false",
	 BOOLEAN},
	{"message.format.version", "log.message.format.version", NULL,
	 "Records are kept as batches of magic 2, which is 0.11.0 and later.", &format, "3.0-IV1", STRING},
	{"message.timestamp.after.max.ms", "log.message.timestamp.after.max.ms", NULL,
	 "Any timestamp is taken.", &only, LONG_TEXT, LONG},
	{"message.timestamp.before.max.ms", "log.message.timestamp.before.max.ms", NULL,
	 "Any timestamp is taken.", &only, LONG_TEXT, LONG},
	{"message.timestamp.difference.max.ms", "log.message.timestamp.difference.max.ms", NULL,
	 "Any timestamp is taken.", &only, LONG_TEXT, LONG},
	{"message.timestamp.type", "log.message.timestamp.type", "timestamps",
	 "Whose time a record bears: CreateTime is the producer's, LogAppendTime weir's.", &word,
	 .words = timestamp_words, STRING, IN(timestamps)},
	{"min.cleanable.dirty.ratio", "log.cleaner.min.cleanable.ratio", "compaction.dirty_percent",
	 "Share of a compacted partition that must be new before it is compacted again; kept in whole percent, at least 1.",
	 &share, .type = KAFKA_TOPIC_DOUBLE, IN(compaction_dirty_percent)},
	{"min.compaction.lag.ms", "log.cleaner.min.compaction.lag.ms", "compaction.min_lag",
	 "How long a record is safe from compaction.", &number, .min = 0, .max = INT64_MAX, LONG,
	 IN(compaction_min_lag_ms)},
	{"min.insync.replicas", "min.insync.replicas", NULL,
	 "There is one copy, synced before a producer with acks=all is answered.", &only, "1", INTEGER},
	{"preallocate", "log.preallocate", NULL, "Files of segments grow as they are written.", &any, "false",
	 BOOLEAN},
	{"remote.log.copy.disable", NULL, NULL, "There is no remote storage.", &only, "false", BOOLEAN},
	{"remote.log.delete.on.disable", NULL, NULL, "There is no remote storage.", &only, "false", BOOLEAN},
	{"remote.storage.enable", NULL, NULL, "There is no remote storage.", &only, "false", BOOLEAN},
	{"retention.bytes", "log.retention.bytes", "retention_bytes",
	 "Most bytes kept in a partition; the oldest segments go first.", &number, .min = -1,
	 .max = INT64_MAX, .unbounded = -1, LONG, IN(retention_bytes)},
	{"retention.ms", "log.retention.ms", "retention",
	 "How long a record is kept, counted from when it was appended.", &number, .min = -1,
	 .max = INT64_MAX, .unbounded = -1, LONG, IN(retention_ms)},
	{"segment.bytes", "log.segment.bytes", "segment_bytes",
	 "Size at which a segment is closed and the next one begun; from 1 KiB to 1 GiB, what is beyond is brought there.",
	 &number, .min = 14, .max = INT32_MAX, INTEGER, IN(segment_bytes)},
	{"segment.index.bytes", "log.index.size.max.bytes", NULL, "Indexes grow as they must.", &any,
	 "10485760", .min = 4, .max = INT32_MAX, INTEGER},
	{"segment.jitter.ms", "log.roll.jitter.ms", NULL, "Segments are not closed by age.", &any, "0",
	 .min = 0, .max = INT64_MAX, LONG},
	{"segment.ms", "log.roll.ms", NULL,
	 "Segments are not closed by age: retention takes the one that is written to as well.", &any,
	 LONG_TEXT, .min = 1, .max = INT64_MAX, LONG},
	{"unclean.leader.election.enable", "unclean.leader.election.enable", NULL,
	 "There is one copy and no election; nothing acknowledged is ever given up.", &any, "false", BOOLEAN},
};

const uint32_t kafka_topic_count = sizeof(kafka_topic_table) / sizeof(kafka_topic_table[0]);

/* ---- what is done with a row ---- */

const struct kafka_topic_row *kafka_topic_find(struct slice name)
{
	for (uint32_t i = 0; i < kafka_topic_count; i++)
		if (slice_eq_str(name, kafka_topic_table[i].name))
			return &kafka_topic_table[i];
	return NULL;
}

int kafka_topic_unknown(struct slice name, struct fault *fault)
{
	const char *names[64];
	const char *nearest;

	for (uint32_t i = 0; i < kafka_topic_count && i < 64; i++)
		names[i] = kafka_topic_table[i].name;
	nearest = conf_nearest(name, names, kafka_topic_count < 64 ? kafka_topic_count : 64);
	return fault_set(fault, ERR_BAD_TOPIC_CONFIG, "Unknown topic config name: %.*s%s%s%s", SHOWN(name),
			 nearest ? "; did you mean " : "", nearest ? nearest : "", nearest ? "?" : "");
}

static int refuse(const struct kafka_topic_row *row, struct slice value, struct fault *fault)
{
	struct buf expected;

	if (!fault)
		return ERR_BAD_TOPIC_CONFIG;
	buf_init(&expected, 300);
	(void)kafka_topic_expected(row, &expected);
	(void)fault_set(fault, ERR_BAD_TOPIC_CONFIG, "Invalid value %.*s for configuration %s: expected %.*s",
			SHOWN(value), row->name, SHOWN(buf_slice(&expected)));
	buf_fini(&expected);
	return ERR_BAD_TOPIC_CONFIG;
}

/* Blanks and line ends at both ends, as Java's trim() takes them. */
static struct slice trim(struct slice value)
{
	while (value.len && value.ptr[0] <= ' ')
		value = slice_from(value, 1);
	while (value.len && value.ptr[value.len - 1] <= ' ')
		value.len--;
	return value;
}

int kafka_topic_set(const struct kafka_topic_row *row, struct conf_topic *topic, struct slice value,
		    struct fault *fault)
{
	if (value.ptr && row->rule->set(row, topic, trim(value)))
		return 0;
	return refuse(row, value.ptr ? value : SLICE_LIT("null"), fault);
}

static int check_list(const struct kafka_topic_row *row, struct fault *fault)
{
	if (row->type == KAFKA_TOPIC_LIST)
		return 0;
	return fault_set(fault, ERR_BAD_TOPIC_CONFIG,
			 "Can't APPEND to or SUBTRACT from key %s because its type is not LIST", row->name);
}

/* Of the lists only cleanup.policy says anything, and it never says nothing. */
static int change_policies(const struct kafka_topic_row *row, struct conf_topic *topic, struct slice value,
			   bool append, struct fault *fault)
{
	int rc = check_list(row, fault), bits;

	if (rc || row->rule != &policies)
		return rc;
	bits = value.ptr ? policies_of(trim(value)) : -1;
	if (bits >= 0)
		bits = append ? bits_of(topic) | bits : bits_of(topic) & ~bits;
	if (bits <= 0)
		return refuse(row, value.ptr ? value : SLICE_LIT("null"), fault);
	topic->cleanup = cleanup_of[bits];
	return 0;
}

int kafka_topic_append(const struct kafka_topic_row *row, struct conf_topic *topic, struct slice value,
		       struct fault *fault)
{
	return change_policies(row, topic, value, true, fault);
}

int kafka_topic_subtract(const struct kafka_topic_row *row, struct conf_topic *topic, struct slice value,
			 struct fault *fault)
{
	return change_policies(row, topic, value, false, fault);
}

void kafka_topic_reset(const struct kafka_topic_row *row, struct conf_topic *topic,
		       const struct conf_topic *defaults)
{
	if (!row->rule->keeps)
		*member(row, topic) = member_of(row, defaults);
}

int kafka_topic_text(const struct kafka_topic_row *row, const struct conf_topic *topic, struct buf *out)
{
	return row->rule->text(row, topic, out);
}

int kafka_topic_expected(const struct kafka_topic_row *row, struct buf *out)
{
	return row->rule->expected(row, out);
}

bool kafka_topic_same(const struct kafka_topic_row *row, const struct conf_topic *a,
		      const struct conf_topic *b)
{
	return !row->key || member_of(row, a) == member_of(row, b);
}
