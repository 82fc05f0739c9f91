/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A row is the marks of DEAD_CHUNK letters, a byte each:
 *
 *	key    topic's UUID, chunk u64 (offset / DEAD_CHUNK)
 *	value  version u8 = 1, then a byte a letter: state in the two low bits, above it how often it failed again
 *
 * Rows of a fixed size, written whole: so a mark costs 280 bytes of the journal whatever has been marked, and a
 * million letters a megabyte of memory. Chunks that lie before the start of their partition, or whose topic is gone,
 * are taken out when marks change, a few at a time.
 *
 * Rejected: ranges of offsets (a redrive by filter leaves as many of them as there are letters), a row a letter (for ever
 * hundreds of bytes of memory each), and a compacted topic of marks (a second log to be read before a letter can be shown).
 */
#include "state/dead_marks.h"

#include <pthread.h>

#include "base/check.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/table.h"
#include "base/wire.h"

#define ROW_VERSION 1u
#define KEY_BYTES 24u
#define STATE_BITS 2u
#define STATE_MASK 3u
#define TIDY_EVERY 1000u
#define SWEEP_MAX 64u

struct chunk {
	struct table_node node; /* first */
	struct topic_id topic;
	uint64_t number;
	uint8_t marks[DEAD_CHUNK];
};

struct dead_marks {
	struct log *log;
	struct state *state;
	struct topics *topics;
	pthread_rwlock_t lock; /* for writing only under the entry lock */
	struct hash_key key;
	struct table chunks;
	uint32_t changed; /* since the state was tidied */
};

/* ---- chunks ---- */

static uint64_t hash_of(const struct dead_marks *m, const struct topic_id *topic, uint64_t number)
{
	uint8_t bytes[KEY_BYTES];

	(void)wire_put_u64(wire_put_bytes(bytes, slice_make(topic->bytes, sizeof(topic->bytes))), number);
	return hash_sip13(&m->key, slice_make(bytes, sizeof(bytes)));
}

static struct chunk *find(const struct dead_marks *m, const struct topic_id *topic, uint64_t number)
{
	struct table_node *node = table_first(&m->chunks, hash_of(m, topic, number));

	for (; node; node = table_next(node)) {
		struct chunk *c = (struct chunk *)node;
		if (c->number == number && topic_id_eq(&c->topic, topic))
			return c;
	}
	return NULL;
}

static void add(struct dead_marks *m, struct chunk *c)
{
	table_add(&m->chunks, &c->node, hash_of(m, &c->topic, c->number));
}

static struct chunk *new_chunk(const struct topic_id *topic, uint64_t number)
{
	struct chunk *c = mem_zalloc(1, sizeof(*c));

	if (c) {
		c->topic = *topic;
		c->number = number;
	}
	return c;
}

static struct dead_mark mark_of(uint8_t byte)
{
	return (struct dead_mark){.state = byte & STATE_MASK, .failed = byte >> STATE_BITS};
}

/* ---- rows ---- */

static bool read_key(struct slice key, struct topic_id *topic, uint64_t *number)
{
	if (key.len != KEY_BYTES)
		return false;
	memcpy(topic->bytes, key.ptr, sizeof(topic->bytes));
	*number = wire_load_u64(key.ptr + sizeof(topic->bytes));
	return *number <= INT64_MAX / DEAD_CHUNK;
}

static void put_key(uint8_t *at, const struct topic_id *topic, uint64_t number)
{
	(void)wire_put_u64(wire_put_bytes(at, slice_make(topic->bytes, sizeof(topic->bytes))), number);
}

static bool is_value(struct slice value)
{
	return value.len == 1 + DEAD_CHUNK && value.ptr[0] == ROW_VERSION;
}

int dead_marks_row_check(struct slice key, struct slice value)
{
	struct topic_id topic;
	uint64_t number;

	return read_key(key, &topic, &number) && (!value.ptr || is_value(value)) ? 0 : ERR_CORRUPT;
}

static void take_out(struct dead_marks *m, struct chunk *c)
{
	table_remove(&m->chunks, &c->node);
	mem_free(c);
}

static int apply_row(void *ctx, struct slice key, struct slice value)
{
	struct dead_marks *m = ctx;
	struct topic_id topic;
	struct chunk *c;
	uint64_t number;

	if (!read_key(key, &topic, &number) || (value.ptr && !is_value(value)))
		return ERR_CORRUPT;
	c = find(m, &topic, number);
	if (!value.ptr) {
		if (c)
			take_out(m, c);
		return 0;
	}
	if (!c) {
		c = new_chunk(&topic, number);
		if (!c)
			return ERR_NOMEM;
		add(m, c);
	}
	memcpy(c->marks, value.ptr + 1, DEAD_CHUNK);
	return 0;
}

static int each_row(void *ctx, uint32_t part, uint32_t parts, state_row_fn *fn, void *fn_ctx)
{
	struct dead_marks *m = ctx;
	uint8_t key[KEY_BYTES], value[1 + DEAD_CHUNK];
	int rc;

	for (struct table_node *node = table_walk_part(&m->chunks, NULL, part, parts); node;
	     node = table_walk_part(&m->chunks, node, part, parts)) {
		const struct chunk *c = (const struct chunk *)node;
		put_key(key, &c->topic, c->number);
		value[0] = ROW_VERSION;
		memcpy(value + 1, c->marks, DEAD_CHUNK);
		rc = fn(fn_ctx, slice_make(key, sizeof(key)), slice_make(value, sizeof(value)));
		if (rc)
			return rc;
	}
	return 0;
}

int dead_marks_new(struct log *l, struct state *state, struct topics *topics, struct dead_marks **out)
{
	struct dead_marks *m = mem_zalloc(1, sizeof(*m));
	struct state_table table = {
		.id = STATE_DEAD, .name = "dead", .apply = apply_row, .each_part = each_row, .ctx = m};
	const struct sys *sys = log_sys(l);
	int rc;

	if (!m)
		return ERR_NOMEM;
	m->log = l;
	m->state = state;
	m->topics = topics;
	(void)sys->ops->random(sys->self, &m->key, sizeof(m->key));
	rc = table_init(&m->chunks);
	if (rc == 0)
		rc = state_register(state, &table);
	if (rc) {
		table_fini(&m->chunks);
		mem_free(m);
		return rc;
	}
	(void)pthread_rwlock_init(&m->lock, NULL);
	*out = m;
	return 0;
}

void dead_marks_free(struct dead_marks *m)
{
	struct table_node *node;

	if (!m)
		return;
	while ((node = table_walk(&m->chunks, NULL)) != NULL)
		take_out(m, (struct chunk *)node);
	table_fini(&m->chunks);
	(void)pthread_rwlock_destroy(&m->lock);
	mem_free(m);
}

/* ---- changing ---- */

int dead_marks_change(struct dead_marks *m, const struct topic_id *topic, int64_t offset, enum dead_state to,
		      struct dead_change *out)
{
	uint64_t number = (uint64_t)offset / DEAD_CHUNK;
	struct chunk *c = find(m, topic, number);
	uint8_t *byte = &out->value[1 + (uint64_t)offset % DEAD_CHUNK];
	struct dead_mark mark;

	out->fresh = NULL;
	if (!c) {
		c = new_chunk(topic, number);
		if (!c)
			return ERR_NOMEM;
		out->fresh = c;
	}
	out->key[0] = STATE_DEAD;
	put_key(out->key + 1, topic, number);
	out->value[0] = ROW_VERSION;
	memcpy(out->value + 1, c->marks, DEAD_CHUNK);
	mark = mark_of(*byte);
	if (mark.state != DEAD_OPEN) {
		dead_marks_forget(out);
		return ERR_CONFLICT;
	}
	if (to == DEAD_OPEN && mark.failed < DEAD_FAILED_MAX)
		mark.failed++;
	*byte = (uint8_t)(mark.failed << STATE_BITS | to);
	return 0;
}

void dead_marks_forget(const struct dead_change *c)
{
	mem_free(c->fresh);
}

void dead_marks_record(struct dead_marks *m, const struct dead_change *c, struct log_record *out)
{
	*out = (struct log_record){.partition = log_internal(m->log),
				   .timestamp_ms = -1,
				   .key = slice_make(c->key, sizeof(c->key)),
				   .value = slice_make(c->value, sizeof(c->value)),
				   .offset = -1};
}

/* Where the letters of this topic begin; INT64_MAX: the topic is gone. */
static int64_t start_of(struct dead_marks *m, const struct topic_id *topic)
{
	struct topic *t = topics_find_id(m->topics, topic);
	struct partition_edges edges;

	return t && partition_edges(topic_partition(t, 0), &edges) == 0 ? edges.start : INT64_MAX;
}

/* Chunks that nobody can ask for any more go, SWEEP_MAX at most. What cannot enter now goes another time. */
static void sweep(struct dead_marks *m)
{
	struct chunk *old[SWEEP_MAX];
	uint32_t count = 0;

	for (struct table_node *node = table_walk(&m->chunks, NULL); node && count < SWEEP_MAX;
	     node = table_walk(&m->chunks, node)) {
		struct chunk *c = (struct chunk *)node;
		if ((int64_t)((c->number + 1) * DEAD_CHUNK) <= start_of(m, &c->topic))
			old[count++] = c;
	}
	for (uint32_t i = 0; i < count; i++) {
		uint8_t key[KEY_BYTES];
		struct state_row row = {.table = STATE_DEAD, .key = slice_make(key, sizeof(key))};
		put_key(key, &old[i]->topic, old[i]->number);
		if (state_put(m->state, &row, 1, NULL))
			return;
		(void)pthread_rwlock_wrlock(&m->lock);
		take_out(m, old[i]);
		(void)pthread_rwlock_unlock(&m->lock);
	}
}

void dead_marks_apply(struct dead_marks *m, const struct dead_change *change)
{
	struct slice key = slice_make(change->key + 1, KEY_BYTES);
	struct topic_id topic;
	uint64_t number;
	struct chunk *c;

	CHECK(read_key(key, &topic, &number));
	(void)pthread_rwlock_wrlock(&m->lock);
	c = find(m, &topic, number);
	if (!c) {
		c = change->fresh;
		CHECK(c);
		add(m, c);
	}
	memcpy(c->marks, change->value + 1, DEAD_CHUNK);
	(void)pthread_rwlock_unlock(&m->lock);
	if (++m->changed < TIDY_EVERY)
		return;
	m->changed = 0;
	sweep(m);
	state_tidy(m->state);
}

int dead_marks_put(struct dead_marks *m, const struct topic_id *topic, int64_t offset, enum dead_state to,
		   const struct state_done *done)
{
	struct dead_change change;
	struct state_row row = {.table = STATE_DEAD,
				.key = slice_make(change.key + 1, KEY_BYTES),
				.value = slice_make(change.value, sizeof(change.value))};
	int rc = dead_marks_change(m, topic, offset, to, &change);

	if (rc)
		return rc;
	rc = state_put(m->state, &row, 1, done);
	if (rc)
		dead_marks_forget(&change);
	else
		dead_marks_apply(m, &change);
	return rc;
}

/* ---- asking ---- */

struct dead_mark dead_marks_get(struct dead_marks *m, const struct topic_id *topic, int64_t offset)
{
	struct dead_mark mark = {.state = DEAD_OPEN};
	const struct chunk *c;

	(void)pthread_rwlock_rdlock(&m->lock);
	c = find(m, topic, (uint64_t)offset / DEAD_CHUNK);
	if (c)
		mark = mark_of(c->marks[(uint64_t)offset % DEAD_CHUNK]);
	(void)pthread_rwlock_unlock(&m->lock);
	return mark;
}

/* Those of one chunk; c NULL: nothing in it is marked. */
static void count_open(const struct chunk *c, int64_t from, int64_t to, struct dead_open *open)
{
	for (int64_t at = from; at < to; at++) {
		if (c && mark_of(c->marks[at % DEAD_CHUNK]).state != DEAD_OPEN)
			continue;
		if (open->count++ == 0)
			open->first = at;
		if (!c) {
			open->count += (uint64_t)(to - at - 1);
			return;
		}
	}
}

struct dead_open dead_marks_open(struct dead_marks *m, const struct topic_id *topic, int64_t from, int64_t to)
{
	struct dead_open open = {.first = to};

	(void)pthread_rwlock_rdlock(&m->lock);
	while (from < to) {
		int64_t end = (from / DEAD_CHUNK + 1) * DEAD_CHUNK;
		if (end > to)
			end = to;
		count_open(find(m, topic, (uint64_t)from / DEAD_CHUNK), from, end, &open);
		from = end;
	}
	(void)pthread_rwlock_unlock(&m->lock);
	return open;
}
