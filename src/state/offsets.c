/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A row is an offset:
 *
 *	committed  key   1, group, topic's UUID, partition u32
 *	pending    key   2, producer id u64, group, topic's UUID, partition u32
 *	both       value version u8 = 1, offset i64, leader epoch i32, committed i64, expires i64, metadata
 *
 * (group and metadata with their length as u16 before them). In memory the same
 * entries in one hash table, and each in the list of its group; pending ones also by
 * producer, since that is how a transaction ends.
 *
 * Offsets name topics by UUID. So those of a topic that was deleted are out of reach at
 * once, and whoever sweeps takes them away when he comes by.
 *
 * Whoever changes holds the log's entry lock; the table's own lock is for those who look, on other
 * threads, and is taken for writing only while the table changes.
 *
 * Between a commit of a group and the end of a transaction that has sent an older offset
 * the later one wins, by the time at which it was committed, as in Kafka by position in the log.
 */
#include "state/offsets.h"

#include <pthread.h>
#include <stdatomic.h>

#include "base/check.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/table.h"
#include "base/wire.h"

#define ROW_VERSION 1u
#define KEY_COMMITTED 1u
#define KEY_PENDING 2u
#define PRODUCER_BUCKETS 1024u
#define TIDY_EVERY 1000u /* changed rows, and as many as there are */

struct holder; /* a group that has offsets */

struct entry {
	struct table_node node; /* first: by group, producer, topic and partition */
	struct holder *holder;
	struct entry *next, **prev; /* of the holder: committed or pending ones */
	struct entry *next_pending, **prev_pending;
	int64_t producer_id;
	struct offset_item item; /* metadata lies behind */
};

struct holder {
	struct table_node node; /* first */
	struct entry *committed, *pending;
	struct offsets_count count;
	size_t id_len;
	uint8_t id[];
};

struct offsets {
	struct log *log;
	struct state *state;
	pthread_rwlock_t lock;
	struct hash_key key;
	struct table entries, holders;
	struct entry *producers[PRODUCER_BUCKETS];
	struct offsets_stats stats;
	uint32_t changed; /* rows since the state was tidied */
};

/* One row of a change, and what becomes of the table. */
struct step {
	struct entry *fresh; /* goes in, in place of its like; NULL: none */
	struct entry *stale; /* goes out; NULL: none */
};

struct offsets_change {
	struct holder *holder; /* made in case there is none; NULL: not needed */
	struct step *steps;
	struct state_row *rows;
	uint8_t *bytes; /* of the rows */
	size_t used, cap;
	uint32_t count;
	uint32_t count_max;
};

/* ---- finding ---- */

static uint64_t hash_entry(const struct offsets *o, struct slice group, int64_t producer_id,
			   const struct topic_id *topic, uint32_t partition)
{
	uint8_t bytes[OFFSETS_GROUP_ID_MAX + 28];
	uint8_t *at = wire_put_bytes(bytes, slice_make(topic->bytes, sizeof(topic->bytes)));

	at = wire_put_u32(at, partition);
	at = wire_put_u64(at, (uint64_t)producer_id);
	at = wire_put_bytes(at, group);
	return hash_sip13(&o->key, slice_make(bytes, (size_t)(at - bytes)));
}

static struct slice id_of(const struct holder *h)
{
	return slice_make(h->id, h->id_len);
}

static struct holder *find_holder(const struct offsets *o, struct slice group)
{
	struct table_node *node = table_first(&o->holders, hash_sip13(&o->key, group));

	while (node && !slice_eq(id_of((struct holder *)node), group))
		node = table_next(node);
	return (struct holder *)node;
}

static struct entry *find_entry(const struct offsets *o, struct slice group, int64_t producer_id,
				const struct topic_id *topic, uint32_t partition)
{
	struct table_node *node;

	if (group.len > OFFSETS_GROUP_ID_MAX)
		return NULL;
	node = table_first(&o->entries, hash_entry(o, group, producer_id, topic, partition));
	for (; node; node = table_next(node)) {
		struct entry *e = (struct entry *)node;
		if (e->producer_id == producer_id && e->item.partition == partition &&
		    topic_id_eq(&e->item.topic, topic) && slice_eq(id_of(e->holder), group))
			return e;
	}
	return NULL;
}

/* ---- the tables in memory: under the lock, for writing ---- */

static size_t row_bytes(const struct entry *e, size_t id_len)
{
	return 1 + 8 + 2 + id_len + 20 + 31 + e->item.metadata.len;
}

static void link_entry(struct offsets *o, struct holder *h, struct entry *e)
{
	struct entry **first = e->producer_id < 0 ? &h->committed : &h->pending;

	e->holder = h;
	e->next = *first;
	if (e->next)
		e->next->prev = &e->next;
	*first = e;
	e->prev = first;
	table_add(&o->entries, &e->node,
		  hash_entry(o, id_of(h), e->producer_id, &e->item.topic, e->item.partition));
	o->stats.bytes += row_bytes(e, h->id_len);
	if (e->producer_id < 0) {
		h->count.committed++;
		o->stats.committed++;
		return;
	}
	h->count.pending++;
	o->stats.pending++;
	first = &o->producers[(uint64_t)e->producer_id % PRODUCER_BUCKETS];
	e->next_pending = *first;
	if (e->next_pending)
		e->next_pending->prev_pending = &e->next_pending;
	*first = e;
	e->prev_pending = first;
}

static void unlink_entry(struct offsets *o, struct entry *e)
{
	struct holder *h = e->holder;

	*e->prev = e->next;
	if (e->next)
		e->next->prev = e->prev;
	table_remove(&o->entries, &e->node);
	o->stats.bytes -= row_bytes(e, h->id_len);
	if (e->producer_id < 0) {
		h->count.committed--;
		o->stats.committed--;
		return;
	}
	h->count.pending--;
	o->stats.pending--;
	*e->prev_pending = e->next_pending;
	if (e->next_pending)
		e->next_pending->prev_pending = e->prev_pending;
}

static void drop_entry(struct offsets *o, struct entry *e)
{
	struct holder *h = e->holder;

	unlink_entry(o, e);
	mem_free(e);
	if (h->count.committed || h->count.pending)
		return;
	table_remove(&o->holders, &h->node);
	mem_free(h);
	o->stats.groups--;
}

static void add_holder(struct offsets *o, struct holder *h)
{
	table_add(&o->holders, &h->node, hash_sip13(&o->key, id_of(h)));
	o->stats.groups++;
}

/* In place of the one that is there, if any. */
static void add_entry(struct offsets *o, struct holder *h, struct entry *e)
{
	struct entry *old = find_entry(o, id_of(h), e->producer_id, &e->item.topic, e->item.partition);

	if (old) {
		unlink_entry(o, old);
		mem_free(old);
	}
	link_entry(o, h, e);
}

static struct entry *new_entry(const struct offset_item *item, int64_t producer_id)
{
	struct entry *e = mem_zalloc(1, sizeof(*e) + item->metadata.len);

	if (!e)
		return NULL;
	e->producer_id = producer_id;
	e->item = *item;
	e->item.metadata = slice_make(e + 1, item->metadata.len);
	if (item->metadata.len)
		memcpy(e + 1, item->metadata.ptr, item->metadata.len);
	return e;
}

static struct holder *new_holder(struct slice group)
{
	struct holder *h = mem_zalloc(1, sizeof(*h) + group.len);

	if (!h)
		return NULL;
	h->id_len = group.len;
	if (group.len)
		memcpy(h->id, group.ptr, group.len);
	return h;
}

/* ---- rows ---- */

static uint8_t *put_text(uint8_t *at, struct slice text)
{
	return wire_put_bytes(wire_put_u16(at, (uint16_t)text.len), text);
}

static uint8_t *put_key(uint8_t *at, struct slice group, const struct entry *e)
{
	at = wire_put_u8(at, e->producer_id < 0 ? KEY_COMMITTED : KEY_PENDING);
	if (e->producer_id >= 0)
		at = wire_put_u64(at, (uint64_t)e->producer_id);
	at = put_text(at, group);
	at = wire_put_bytes(at, slice_make(e->item.topic.bytes, sizeof(e->item.topic.bytes)));
	return wire_put_u32(at, e->item.partition);
}

static uint8_t *put_value(uint8_t *at, const struct offset_item *item)
{
	at = wire_put_u8(at, ROW_VERSION);
	at = wire_put_u64(at, (uint64_t)item->offset);
	at = wire_put_u32(at, (uint32_t)item->leader_epoch);
	at = wire_put_u64(at, (uint64_t)item->committed_ms);
	at = wire_put_u64(at, (uint64_t)item->expires_ms);
	return put_text(at, item->metadata);
}

static bool read_key(struct slice key, struct slice *group, int64_t *producer_id, struct offset_item *item)
{
	struct wire_reader r = wire_reader_make(key);
	uint8_t kind = wire_u8(&r);
	struct slice id;

	*producer_id = kind == KEY_PENDING ? (int64_t)wire_u64(&r) : OFFSETS_COMMITTED;
	*group = wire_bytes(&r, wire_u16(&r));
	id = wire_bytes(&r, sizeof(item->topic.bytes));
	item->partition = wire_u32(&r);
	if (r.bad || wire_left(&r) || (kind != KEY_COMMITTED && kind != KEY_PENDING))
		return false;
	memcpy(item->topic.bytes, id.ptr, id.len);
	return group->len <= OFFSETS_GROUP_ID_MAX && (kind == KEY_COMMITTED || *producer_id >= 0);
}

static bool read_value(struct slice value, struct offset_item *item)
{
	struct wire_reader r = wire_reader_make(value);

	if (wire_u8(&r) != ROW_VERSION)
		return false;
	item->offset = (int64_t)wire_u64(&r);
	item->leader_epoch = (int32_t)wire_u32(&r);
	item->committed_ms = (int64_t)wire_u64(&r);
	item->expires_ms = (int64_t)wire_u64(&r);
	item->metadata = wire_bytes(&r, wire_u16(&r));
	return !r.bad && wire_left(&r) == 0 && item->metadata.len <= OFFSETS_METADATA_MAX;
}

int offsets_row_check(struct slice key, struct slice value)
{
	struct offset_item item;
	struct slice group;
	int64_t producer_id;

	if (!read_key(key, &group, &producer_id, &item) || (value.ptr && !read_value(value, &item)))
		return ERR_CORRUPT;
	return 0;
}

static int load(struct offsets *o, struct slice group, int64_t producer_id, const struct offset_item *item)
{
	struct holder *h = find_holder(o, group);
	struct entry *e = new_entry(item, producer_id);

	if (!e)
		return ERR_NOMEM;
	if (!h) {
		h = new_holder(group);
		if (!h) {
			mem_free(e);
			return ERR_NOMEM;
		}
		add_holder(o, h);
	}
	add_entry(o, h, e);
	return 0;
}

static int apply_row(void *ctx, struct slice key, struct slice value)
{
	struct offsets *o = ctx;
	struct offset_item item;
	struct slice group;
	int64_t producer_id;
	struct entry *e;

	if (!read_key(key, &group, &producer_id, &item))
		return ERR_CORRUPT;
	if (value.ptr)
		return read_value(value, &item) ? load(o, group, producer_id, &item) : ERR_CORRUPT;
	e = find_entry(o, group, producer_id, &item.topic, item.partition);
	if (e)
		drop_entry(o, e);
	return 0;
}

static int each_row(void *ctx, uint32_t part, uint32_t parts, state_row_fn *fn, void *fn_ctx)
{
	struct offsets *o = ctx;
	uint8_t key[OFFSETS_GROUP_ID_MAX + 40], value[OFFSETS_METADATA_MAX + 40];

	for (struct table_node *node = table_walk_part(&o->entries, NULL, part, parts); node;
	     node = table_walk_part(&o->entries, node, part, parts)) {
		const struct entry *e = (struct entry *)node;
		size_t key_len = (size_t)(put_key(key, id_of(e->holder), e) - key);
		if (fn(fn_ctx, slice_make(key, key_len),
		       slice_make(value, (size_t)(put_value(value, &e->item) - value))))
			return 1;
	}
	return 0;
}

/* ---- opening ---- */

int offsets_new(struct log *l, struct state *state, struct offsets **out)
{
	struct offsets *o = mem_zalloc(1, sizeof(*o));
	const struct sys *sys = log_sys(l);
	struct state_table table = {
		.id = STATE_OFFSETS, .name = "offsets", .apply = apply_row, .each_part = each_row, .ctx = o};

	if (!o)
		return ERR_NOMEM;
	o->log = l;
	o->state = state;
	(void)pthread_rwlock_init(&o->lock, NULL);
	(void)sys->ops->random(sys->self, &o->key, sizeof(o->key));
	if (table_init(&o->entries) || table_init(&o->holders) || state_register(state, &table)) {
		offsets_free(o);
		return ERR_NOMEM;
	}
	*out = o;
	return 0;
}

void offsets_free(struct offsets *o)
{
	struct table_node *node;

	if (!o)
		return;
	while (o->entries.count && (node = table_walk(&o->entries, NULL)))
		drop_entry(o, (struct entry *)node);
	table_fini(&o->entries);
	table_fini(&o->holders);
	(void)pthread_rwlock_destroy(&o->lock);
	mem_free(o);
}

/* ---- changes ---- */

void offsets_change_free(struct offsets_change *c)
{
	if (!c)
		return;
	for (uint32_t i = 0; c->steps && i < c->count; i++)
		mem_free(c->steps[i].fresh);
	mem_free(c->holder);
	mem_free(c->steps);
	mem_free(c->rows);
	mem_free(c->bytes);
	mem_free(c);
}

static struct offsets_change *new_change(uint32_t rows, size_t bytes)
{
	struct offsets_change *c = mem_zalloc(1, sizeof(*c));

	if (!c)
		return NULL;
	c->count_max = rows;
	c->cap = bytes;
	c->steps = mem_zalloc(rows, sizeof(*c->steps));
	c->rows = mem_zalloc(rows, sizeof(*c->rows));
	c->bytes = mem_alloc(bytes);
	if (!c->steps || !c->rows || !c->bytes) {
		offsets_change_free(c);
		return NULL;
	}
	return c;
}

/* A row for an entry: its value, or where it goes none. */
static void add_row(struct offsets_change *c, struct slice group, const struct entry *e, bool goes)
{
	struct state_row *row = &c->rows[c->count];
	uint8_t *key = c->bytes + c->used, *value, *end;

	CHECK(c->count < c->count_max);
	value = end = put_key(key, group, e);
	if (!goes)
		end = put_value(value, &e->item);
	c->used += (size_t)(end - key);
	CHECK(c->used <= c->cap);
	/* What consumers say they have done is taken on a full disk: else they would do it again. */
	*row = (struct state_row){.table = STATE_OFFSETS,
				  .key = slice_make(key, (size_t)(value - key)),
				  .frees = true};
	if (!goes)
		row->value = slice_make(value, (size_t)(end - value));
	c->count++;
}

static int add_items(struct offsets_change *c, struct slice group, int64_t producer_id,
		     const struct offset_item *items, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++) {
		struct entry *e = new_entry(&items[i], producer_id);
		if (!e)
			return ERR_NOMEM;
		c->steps[c->count].fresh = e;
		add_row(c, group, e, false);
	}
	return 0;
}

int offsets_put(struct offsets *o, struct slice group, int64_t producer_id, const struct offset_item *items,
		uint32_t count, struct offsets_change **out)
{
	struct offsets_change *c;
	struct offsets_stats stats;
	size_t bytes = 0;
	int rc;

	CHECK(count > 0);
	if (group.len > OFFSETS_GROUP_ID_MAX)
		return ERR_LIMIT;
	for (uint32_t i = 0; i < count; i++) {
		if (items[i].metadata.len > OFFSETS_METADATA_MAX)
			return ERR_LIMIT;
		bytes += 80 + group.len + items[i].metadata.len;
	}
	offsets_stats(o, &stats);
	if (stats.bytes + bytes > OFFSETS_BYTES_MAX)
		return ERR_OVERLOADED;
	c = new_change(count, bytes);
	if (!c)
		return ERR_NOMEM;
	c->holder = new_holder(group);
	rc = c->holder ? add_items(c, group, producer_id, items, count) : ERR_NOMEM;
	if (rc) {
		offsets_change_free(c);
		return rc;
	}
	*out = c;
	return 0;
}

static bool is_overtaken(const struct offsets *o, const struct entry *pending)
{
	const struct entry *e = find_entry(o, id_of(pending->holder), OFFSETS_COMMITTED, &pending->item.topic,
					   pending->item.partition);

	return e && e->item.committed_ms > pending->item.committed_ms;
}

static int add_end(struct offsets *o, struct offsets_change *c, struct entry *pending, bool commit)
{
	struct slice group = id_of(pending->holder);
	struct entry *e;

	c->steps[c->count].stale = pending;
	add_row(c, group, pending, true);
	if (!commit || is_overtaken(o, pending))
		return 0;
	e = new_entry(&pending->item, OFFSETS_COMMITTED);
	if (!e)
		return ERR_NOMEM;
	e->holder = pending->holder; /* it stays: this one goes in before the other goes out */
	c->steps[c->count].fresh = e;
	add_row(c, group, e, false);
	return 0;
}

int offsets_end(struct offsets *o, int64_t producer_id, bool commit, struct offsets_change **out)
{
	struct entry *first = o->producers[(uint64_t)producer_id % PRODUCER_BUCKETS];
	struct offsets_change *c;
	uint32_t count = 0;
	size_t bytes = 0;
	int rc = 0;

	*out = NULL;
	for (struct entry *e = first; e; e = e->next_pending) {
		if (e->producer_id != producer_id)
			continue;
		count++;
		bytes += 2 * row_bytes(e, e->holder->id_len);
	}
	if (count == 0)
		return 0;
	c = new_change(2 * count, bytes);
	if (!c)
		return ERR_NOMEM;
	for (struct entry *e = first; e && rc == 0; e = e->next_pending)
		if (e->producer_id == producer_id)
			rc = add_end(o, c, e, commit);
	if (rc) {
		offsets_change_free(c);
		return rc;
	}
	*out = c;
	return 0;
}

/* One list of a holder, counted (c NULL) or put down. */
static void pick(struct entry *e, offsets_which_fn *which, void *ctx, struct offsets_change *c,
		 uint32_t *count, size_t *bytes)
{
	for (; e; e = e->next) {
		if (which && !which(ctx, &e->item, e->producer_id))
			continue;
		*count += 1;
		*bytes += row_bytes(e, e->holder->id_len);
		if (c) {
			c->steps[c->count].stale = e;
			add_row(c, id_of(e->holder), e, true);
		}
	}
}

int offsets_drop(struct offsets *o, struct slice group, offsets_which_fn *which, void *ctx,
		 struct offsets_change **out)
{
	struct holder *h = find_holder(o, group);
	uint32_t count = 0;
	size_t bytes = 0;

	*out = NULL;
	if (!h)
		return 0;
	pick(h->committed, which, ctx, NULL, &count, &bytes);
	pick(h->pending, which, ctx, NULL, &count, &bytes);
	if (count == 0)
		return 0;
	*out = new_change(count, bytes);
	if (!*out)
		return ERR_NOMEM;
	pick(h->committed, which, ctx, *out, &count, &bytes);
	pick(h->pending, which, ctx, *out, &count, &bytes);
	return 0;
}

const struct state_row *offsets_change_rows(const struct offsets_change *c, uint32_t *count)
{
	*count = c->count;
	return c->rows;
}

/* What is new goes in first, so that a holder never lacks entries in between. */
static void run_steps(struct offsets *o, struct offsets_change *c)
{
	struct holder *h = c->holder ? find_holder(o, id_of(c->holder)) : NULL;

	if (c->holder && !h) {
		h = c->holder;
		c->holder = NULL;
		add_holder(o, h);
	}
	for (uint32_t i = 0; i < c->count; i++) {
		struct entry *e = c->steps[i].fresh;
		if (e)
			add_entry(o, h ? h : e->holder, e);
		c->steps[i].fresh = NULL;
	}
	for (uint32_t i = 0; i < c->count; i++)
		if (c->steps[i].stale)
			drop_entry(o, c->steps[i].stale);
}

void offsets_change_apply(struct offsets *o, struct offsets_change *c)
{
	(void)pthread_rwlock_wrlock(&o->lock);
	run_steps(o, c);
	(void)pthread_rwlock_unlock(&o->lock);
	o->changed += c->count;
	offsets_change_free(c);
}

void offsets_tidy(struct offsets *o)
{
	/* Tidying looks at every row, so it is asked for as seldom as it can be of use. */
	if (o->changed <= TIDY_EVERY || o->changed <= o->entries.count)
		return;
	o->changed = 0;
	state_tidy(o->state);
}

int offsets_change_enter(struct offsets *o, struct offsets_change *c, const struct state_done *done)
{
	int rc = state_put(o->state, c->rows, c->count, done);

	if (rc) {
		offsets_change_free(c);
		return rc;
	}
	offsets_change_apply(o, c);
	offsets_tidy(o);
	return 0;
}

/* ---- asking ---- */

int offsets_find(struct offsets *o, struct slice group, const struct topic_id *topic, uint32_t partition,
		 struct arena *arena, struct offset_item *out)
{
	const struct entry *e;
	int rc = 0;

	(void)pthread_rwlock_rdlock(&o->lock);
	e = find_entry(o, group, OFFSETS_COMMITTED, topic, partition);
	if (e) {
		*out = e->item;
		out->metadata = arena_copy(arena, e->item.metadata);
		rc = out->metadata.ptr ? 1 : ERR_NOMEM;
	}
	(void)pthread_rwlock_unlock(&o->lock);
	return rc;
}

bool offsets_pending(struct offsets *o, struct slice group, const struct topic_id *topic, uint32_t partition)
{
	const struct holder *h;
	bool found = false;

	(void)pthread_rwlock_rdlock(&o->lock);
	h = find_holder(o, group);
	for (const struct entry *e = h ? h->pending : NULL; e && !found; e = e->next)
		found = e->item.partition == partition && topic_id_eq(&e->item.topic, topic);
	(void)pthread_rwlock_unlock(&o->lock);
	return found;
}

struct offsets_count offsets_of(struct offsets *o, struct slice group)
{
	const struct holder *h;
	struct offsets_count count = {0};

	(void)pthread_rwlock_rdlock(&o->lock);
	h = find_holder(o, group);
	if (h)
		count = h->count;
	(void)pthread_rwlock_unlock(&o->lock);
	return count;
}

void offsets_each(struct offsets *o, struct slice group, offsets_item_fn *fn, void *ctx)
{
	const struct holder *h;

	(void)pthread_rwlock_rdlock(&o->lock);
	h = find_holder(o, group);
	for (const struct entry *e = h ? h->committed : NULL; e; e = e->next)
		if (!fn(ctx, &e->item))
			break;
	(void)pthread_rwlock_unlock(&o->lock);
}

void offsets_each_group(struct offsets *o, offsets_group_fn *fn, void *ctx)
{
	(void)pthread_rwlock_rdlock(&o->lock);
	for (struct table_node *node = table_walk(&o->holders, NULL); node;
	     node = table_walk(&o->holders, node)) {
		const struct holder *h = (struct holder *)node;
		if (!fn(ctx, id_of(h), h->count))
			break;
	}
	(void)pthread_rwlock_unlock(&o->lock);
}

void offsets_stats(struct offsets *o, struct offsets_stats *out)
{
	(void)pthread_rwlock_rdlock(&o->lock);
	*out = o->stats;
	(void)pthread_rwlock_unlock(&o->lock);
}
