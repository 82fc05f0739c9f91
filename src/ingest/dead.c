/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The block of headers begins with dead-letter, whose value is the version, and the last one of that name in a
 * record is where it begins: so a dead letter that was itself a dead letter keeps the block that it came with.
 *
 * Rejected: an envelope (JSON with the bytes in base64). It would cost a third more, a Kafka consumer could not hand
 * the value on as it is, and compaction, keys and filters would see the envelope.
 */
#include "ingest/dead.h"

#include <stdio.h>

#include "base/utf8.h"
#include "base/wire.h"

#define BLOCK SLICE_LIT("dead-letter")
#define VERSION SLICE_LIT("1")
#define FIELDS_MAX 20u
#define NUMBER_BYTES 24u

static const struct slice from_words[] = {
	[DEAD_FROM_UNKNOWN] = SLICE_LIT("unknown"),
	[DEAD_FROM_DOOR] = SLICE_LIT("door"),
	[DEAD_FROM_SOURCE] = SLICE_LIT("source"),
	[DEAD_FROM_DELIVERY] = SLICE_LIT("delivery"),
};

void dead_letter_init(struct dead_letter *d)
{
	*d = (struct dead_letter){.partition = -1, .timestamp_ms = -1, .tries = 1, .edited = -1};
}

/* ---- writing ---- */

struct fields {
	struct {
		struct slice name, value;
	} list[FIELDS_MAX];
	uint32_t count;
	size_t bytes;
	char numbers[5][NUMBER_BYTES];
	uint32_t number_count;
};

static void add(struct fields *f, const char *name, struct slice value)
{
	if (!value.ptr)
		return;
	f->list[f->count].name = slice_str(name);
	f->list[f->count++].value = value;
	f->bytes += batch_header_bytes(slice_str(name), value);
}

/* Cut between characters. */
static void add_cut(struct fields *f, const char *name, struct slice value, size_t max)
{
	if (value.len > max) {
		value.len = max;
		while (value.len && (value.ptr[value.len] & 0xc0) == 0x80)
			value.len--;
	}
	add(f, name, value);
}

static void add_number(struct fields *f, const char *name, int64_t value)
{
	char *text = f->numbers[f->number_count];

	if (value < 0)
		return;
	f->number_count++;
	(void)snprintf(text, NUMBER_BYTES, "%lld", (long long)value);
	add(f, name, slice_str(text));
}

static void gather(struct fields *f, const struct dead_letter *d)
{
	struct slice undo = d->undo;

	if (!undo.ptr)
		undo = slice_str(dead_undo(d->code));
	add(f, "dead-letter", VERSION);
	add(f, "dead-from", from_words[d->from]);
	add_cut(f, "dead-name", d->name, DEAD_PLACE_MAX);
	add(f, "dead-topic", d->topic);
	add_cut(f, "dead-place", d->place, DEAD_PLACE_MAX);
	add_number(f, "dead-at", d->at_ms);
	add_number(f, "dead-tries", d->tries);
	add(f, "dead-code", d->code);
	add_cut(f, "dead-path", d->path, DEAD_TEXT_MAX);
	add_cut(f, "dead-text", d->text, DEAD_TEXT_MAX);
	add_cut(f, "dead-undo", undo, DEAD_TEXT_MAX);
	add(f, "dead-form", d->form);
	add(f, "dead-idempotency-key", d->idempotency_key);
	add_number(f, "dead-partition", d->partition);
	add_number(f, "dead-timestamp", d->timestamp_ms);
	add_number(f, "dead-edited", d->edited);
}

int dead_letter_record(const struct dead_letter *d, struct arena *arena, struct log_record *out)
{
	struct fields f;
	uint8_t *at;

	f.count = f.number_count = 0;
	f.bytes = 0;
	gather(&f, d);
	at = arena_alloc(arena, d->headers.len + f.bytes);
	if (!at)
		return ERR_NOMEM;
	*out = (struct log_record){.timestamp_ms = -1,
				   .key = d->key,
				   .value = d->value,
				   .headers = slice_make(at, d->headers.len + f.bytes),
				   .header_count = d->header_count + f.count,
				   .offset = -1};
	at = wire_put_bytes(at, d->headers);
	for (uint32_t i = 0; i < f.count; i++)
		at = batch_header_put(at, f.list[i].name, f.list[i].value);
	return 0;
}

/* ---- reading ---- */

/* A number from 0 on that snprintf has written; false: anything else. */
static bool read_number(struct slice text, int64_t *out)
{
	uint64_t value;

	if (!slice_to_u64(text, &value) || value > INT64_MAX)
		return false;
	*out = (int64_t)value;
	return true;
}

static bool take_field(struct dead_letter *d, struct slice name, struct slice value)
{
	const struct {
		const char *name;
		struct slice *text;
	} texts[] = {
		{"dead-name", &d->name},
		{"dead-topic", &d->topic},
		{"dead-place", &d->place},
		{"dead-code", &d->code},
		{"dead-path", &d->path},
		{"dead-text", &d->text},
		{"dead-undo", &d->undo},
		{"dead-form", &d->form},
		{"dead-idempotency-key", &d->idempotency_key},
	};
	const struct {
		const char *name;
		int64_t *number;
	} numbers[] = {
		{"dead-at", &d->at_ms},
		{"dead-partition", &d->partition},
		{"dead-timestamp", &d->timestamp_ms},
		{"dead-edited", &d->edited},
	};
	int64_t tries;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		if (slice_eq_str(name, texts[i].name)) {
			*texts[i].text = value;
			return value.ptr && utf8_valid(value);
		}
	}
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		if (slice_eq_str(name, numbers[i].name))
			return read_number(value, numbers[i].number);
	if (slice_eq_str(name, "dead-tries")) {
		bool is_number = read_number(value, &tries) && tries <= UINT32_MAX;
		d->tries = is_number ? (uint32_t)tries : 0;
		return is_number;
	}
	for (uint32_t i = DEAD_FROM_DOOR; slice_eq_str(name, "dead-from") && i <= DEAD_FROM_DELIVERY; i++)
		if (slice_eq(value, from_words[i]))
			d->from = (enum dead_from)i;
	return true; /* of a later version of the block: passed over */
}

/* The block's headers, or what there is of them where they are broken. False there. */
static bool read_block(struct slice rest, struct dead_letter *d)
{
	struct slice name, value;
	int rc;

	while ((rc = batch_header_next(&rest, &name, &value)) == 1)
		if (!take_field(d, name, value))
			return false;
	return rc == 0 && d->from != DEAD_FROM_UNKNOWN;
}

/* Where the last block begins: headers in front of it in *count; ptr NULL: there is none. */
static struct slice find_block(const struct batch_record *r, uint32_t *count)
{
	struct slice rest = r->headers, found = slice_null(), name, value;
	uint32_t n = 0;

	for (struct slice at = rest; batch_header_next(&rest, &name, &value) == 1; at = rest, n++) {
		if (slice_eq(name, BLOCK) && slice_eq(value, VERSION)) {
			found = at;
			*count = n;
		}
	}
	return found;
}

void dead_letter_read(const struct batch_record *r, struct dead_letter *out)
{
	uint32_t count = 0;
	struct slice block = find_block(r, &count);

	dead_letter_init(out);
	if (block.ptr && read_block(block, out)) {
		out->headers = slice_make(r->headers.ptr, (size_t)(block.ptr - r->headers.ptr));
		out->header_count = count;
	} else {
		dead_letter_init(out);
		out->headers = r->headers;
		out->header_count = r->header_count;
		out->at_ms = r->timestamp;
		out->code = SLICE_LIT("unknown");
	}
	out->key = r->key;
	out->value = r->value;
}

/* ---- what would undo it ---- */

const char *dead_undo(struct slice code)
{
	static const struct {
		const char *code, *undo;
	} rows[] = {
		{"invalid_json", "make the value well-formed JSON (weir dead edit), then redrive"},
		{"record_too_large", "raise http.record_bytes_max, or make the record smaller, then redrive"},
		{"partition_out_of_range", "give the topic more partitions, then redrive"},
		{"key_required", "give the record a key (weir dead edit --key), then redrive"},
		{"idempotency_key_reused",
		 "the first record with this key is stored: drop this one, or give it another key"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (slice_eq_str(code, rows[i].code))
			return rows[i].undo;
	return "mend the record (weir dead edit) or what refused it, then redrive";
}

/* ---- topics ---- */

bool dead_topic_is(struct slice name)
{
	const size_t suffix = sizeof(DEAD_SUFFIX) - 1;

	return name.len > suffix && memcmp(name.ptr + name.len - suffix, DEAD_SUFFIX, suffix) == 0;
}

struct slice dead_topic_parent(struct slice name)
{
	return slice_make(name.ptr, name.len - (sizeof(DEAD_SUFFIX) - 1));
}

/* As the topic's settings say; none there: as the defaults do. */
static void config_of(struct topics *topics, struct slice parent, struct topic_config *out)
{
	struct topic *topic = topics_find(topics, parent);
	struct topic_config theirs;
	bool auto_create;

	topics_defaults(topics, out, &auto_create);
	theirs = *out;
	if (topic)
		topic_config(topics, topic, &theirs);
	out->partitions = 1;
	out->cleanup = TOPIC_DELETE;
	out->durability = TOPIC_FSYNC;
	out->retention_ms = theirs.dead_retention_ms;
	out->retention_bytes = -1;
	out->timestamps = TOPIC_APPEND_TIME;
}

int dead_partition(struct topics *topics, struct slice parent, struct partition **out, struct fault *fault)
{
	char name[TOPIC_NAME_MAX + 1];
	struct topic_config config;
	struct topic *topic;
	size_t suffix = sizeof(DEAD_SUFFIX) - 1;
	int rc = 0;

	if (parent.len + suffix > TOPIC_NAME_MAX)
		return fault_set(
			fault, ERR_BAD_TOPIC,
			"Dead letters need a topic of their own, and its name would be over %u bytes: "
			"give the topic one of at most %zu",
			TOPIC_NAME_MAX, TOPIC_NAME_MAX - suffix);
	memcpy(name, parent.ptr, parent.len);
	memcpy(name + parent.len, DEAD_SUFFIX, suffix + 1);
	topic = topics_find(topics, slice_str(name));
	if (!topic) {
		config_of(topics, parent, &config);
		rc = topics_create(topics, slice_str(name), &config, false, NULL, &topic, fault);
		if (rc)
			return rc;
	}
	*out = topic_partition(topic, 0);
	return 0;
}

void dead_follow(struct topics *topics, struct slice parent)
{
	char name[TOPIC_NAME_MAX + 1];
	struct topic_config wanted, now;
	struct topic *dead;

	if (parent.len + sizeof(DEAD_SUFFIX) > sizeof(name))
		return;
	(void)snprintf(name, sizeof(name), "%.*s" DEAD_SUFFIX, (int)parent.len, (const char *)parent.ptr);
	dead = topics_find(topics, slice_str(name));
	if (!dead || dead->from_file)
		return;
	config_of(topics, parent, &wanted);
	topic_config(topics, dead, &now);
	if (now.retention_ms == wanted.retention_ms)
		return;
	now.retention_ms = wanted.retention_ms;
	(void)topics_change(topics, dead, &now, false, NULL, NULL);
}
