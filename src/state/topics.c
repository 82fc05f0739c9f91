/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two tables: topics (key: UUID; value: name and configuration) and trims (key:
 * UUID; value: the log start of each partition that was moved by hand).
 * In memory a hash table by name and one by UUID share the objects. Lookups take
 * a read lock; changes are made under the log's entry lock and take the write
 * lock for the moment in which the tables change.
 */
#include "state/topics.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/wire.h"

/*
 * 1 knows nothing of compaction and recompression, 2 nothing of timestamps, message and segment sizes and
 * min_lag, 3 nothing of dead letters
 */
#define TOPIC_ROW_VERSION 4u
#define TRIM_ROW_VERSION 1u
#define ROW_BYTES_MAX (144u + TOPIC_NAME_MAX)
#define DAY_MS 86400000

struct slot {
	struct slot *next_name, *next_id;
	uint64_t name_hash;
	int64_t *trims; /* by partition, -1: none; NULL: no trim ever */
	uint32_t trim_count;
	struct topic topic;
};

struct topics {
	struct log *log;
	const struct sys *sys;
	struct state *state;
	pthread_rwlock_t lock;
	struct hash_key key;
	struct slot **by_name, **by_id;
	uint32_t bucket_count, count, all_count;
	uint64_t partition_sum; /* of the topics that are not deleted */
	struct slot **all;      /* every object ever made, for the end */
	uint32_t all_cap;
	struct partition ***old_arrays;
	uint32_t old_count, old_cap;
	struct topic_config defaults; /* under lock */
	bool auto_create;
	_Atomic uint64_t generation;
	void (*watcher)(void *ctx);
	void *watcher_ctx;
};

static struct slot *slot_of(struct topic *topic)
{
	return (struct slot *)((char *)topic - offsetof(struct slot, topic));
}

/* ---- the tables in memory ---- */

static uint32_t id_bucket(const struct topics *t, const struct topic_id *id)
{
	return (uint32_t)hash_sip13(&t->key, slice_make(id->bytes, sizeof(id->bytes))) &
	       (t->bucket_count - 1);
}

static struct slot *find_name(const struct topics *t, struct slice name)
{
	uint64_t hash = hash_sip13(&t->key, name);
	struct slot *s = t->by_name[hash & (t->bucket_count - 1)];

	while (s && (s->name_hash != hash || !slice_eq_str(name, s->topic.name)))
		s = s->next_name;
	return s;
}

static struct slot *find_id(const struct topics *t, const struct topic_id *id)
{
	struct slot *s = t->by_id[id_bucket(t, id)];

	while (s && !topic_id_eq(&s->topic.id, id))
		s = s->next_id;
	return s;
}

static void link_slot(struct topics *t, struct slot *s)
{
	struct slot **name = &t->by_name[s->name_hash & (t->bucket_count - 1)];
	struct slot **id = &t->by_id[id_bucket(t, &s->topic.id)];

	s->next_name = *name;
	*name = s;
	s->next_id = *id;
	*id = s;
}

static int grow_tables(struct topics *t)
{
	uint32_t bucket_count = t->bucket_count * 4;
	struct slot **by_name = mem_zalloc(bucket_count, sizeof(struct slot *));
	struct slot **by_id = mem_zalloc(bucket_count, sizeof(struct slot *));

	if (!by_name || !by_id) {
		mem_free(by_name);
		mem_free(by_id);
		return ERR_NOMEM;
	}
	mem_free(t->by_name);
	mem_free(t->by_id);
	t->by_name = by_name;
	t->by_id = by_id;
	t->bucket_count = bucket_count;
	for (uint32_t i = 0; i < t->all_count; i++)
		if (!atomic_load(&t->all[i]->topic.deleted))
			link_slot(t, t->all[i]);
	return 0;
}

static int keep_pointer(void ***list, uint32_t *count, uint32_t *cap, void *pointer)
{
	if (*count == *cap) {
		uint32_t grown_cap = *cap ? *cap * 2 : 16;
		void **grown = mem_realloc(*list, grown_cap * sizeof(void *));
		if (!grown)
			return ERR_NOMEM;
		*list = grown;
		*cap = grown_cap;
	}
	(*list)[(*count)++] = pointer;
	return 0;
}

/* Makes an object findable. Under the write lock. */
/* Room for one more, so that add_slot cannot fail. Under the lock, for writing. */
static int reserve_slot(struct topics *t)
{
	if (t->count >= t->bucket_count && grow_tables(t))
		return ERR_NOMEM;
	if (keep_pointer((void ***)&t->all, &t->all_count, &t->all_cap, NULL))
		return ERR_NOMEM;
	t->all_count--; /* kept for the place alone */
	return 0;
}

static int add_slot(struct topics *t, struct slot *s)
{
	if (t->count >= t->bucket_count && grow_tables(t))
		return ERR_NOMEM;
	if (keep_pointer((void ***)&t->all, &t->all_count, &t->all_cap, s))
		return ERR_NOMEM;
	s->name_hash = hash_sip13(&t->key, slice_str(s->topic.name));
	link_slot(t, s);
	t->count++;
	t->partition_sum += s->topic.config.partitions;
	return 0;
}

static void remove_slot(struct topics *t, struct slot *s)
{
	struct slot **at;

	for (at = &t->by_name[s->name_hash & (t->bucket_count - 1)]; *at != s;)
		at = &(*at)->next_name;
	*at = s->next_name;
	for (at = &t->by_id[id_bucket(t, &s->topic.id)]; *at != s;)
		at = &(*at)->next_id;
	*at = s->next_id;
	t->count--;
	t->partition_sum -= s->topic.config.partitions;
	atomic_store(&s->topic.deleted, true);
}

static struct slot *new_slot(struct slice name, const struct topic_id *id)
{
	struct slot *s = mem_zalloc(1, sizeof(*s));

	if (!s)
		return NULL;
	memcpy(s->topic.name, name.ptr, name.len);
	s->topic.id = *id;
	s->topic.internal = topic_name_is_reserved(name);
	return s;
}

/* ---- rows ---- */

static struct slice write_row(const struct topic *topic, const struct topic_config *c, bool from_file,
			      uint8_t *bytes)
{
	size_t name_len = strlen(topic->name);
	uint8_t *at = wire_put_u8(bytes, TOPIC_ROW_VERSION);

	at = wire_put_u8(at, (uint8_t)name_len);
	at = wire_put_bytes(at, slice_make(topic->name, name_len));
	at = wire_put_u64(at, (uint64_t)topic->created_ms);
	at = wire_put_u32(at, c->partitions);
	at = wire_put_u64(at, (uint64_t)c->retention_ms);
	at = wire_put_u64(at, (uint64_t)c->retention_bytes);
	at = wire_put_u8(at, (uint8_t)c->durability);
	at = wire_put_u8(at, (uint8_t)c->cleanup);
	at = wire_put_u64(at, (uint64_t)c->idempotency_ttl_ms);
	at = wire_put_u8(at, from_file);
	at = wire_put_u32(at, c->compaction_dirty_percent);
	at = wire_put_u64(at, (uint64_t)c->compaction_max_lag_ms);
	at = wire_put_u64(at, (uint64_t)c->compaction_tombstone_ms);
	at = wire_put_u64(at, (uint64_t)c->recompress_after_ms);
	at = wire_put_u64(at, (uint64_t)c->compaction_min_lag_ms);
	at = wire_put_u8(at, (uint8_t)c->timestamps);
	at = wire_put_u32(at, c->max_message_bytes);
	at = wire_put_u64(at, c->segment_bytes);
	at = wire_put_u64(at, (uint64_t)c->dead_retention_ms);
	at = wire_put_u64(at, (uint64_t)c->dead_max_bytes);
	return slice_make(bytes, (size_t)(at - bytes));
}

/* What rows of earlier versions do not say. */
static void read_lifecycle(struct wire_reader *r, uint32_t version, struct topic_config *c)
{
	c->compaction_dirty_percent = version == 1 ? 50 : wire_u32(r);
	c->compaction_max_lag_ms = version == 1 ? DAY_MS : (int64_t)wire_u64(r);
	c->compaction_tombstone_ms = version == 1 ? DAY_MS : (int64_t)wire_u64(r);
	c->recompress_after_ms = version == 1 ? 0 : (int64_t)wire_u64(r);
	c->compaction_min_lag_ms = version < 3 ? 0 : (int64_t)wire_u64(r);
	c->timestamps = version < 3 ? TOPIC_CREATE_TIME : (enum topic_timestamps)wire_u8(r);
	c->max_message_bytes = version < 3 ? TOPIC_MESSAGE_BYTES : wire_u32(r);
	c->segment_bytes = version < 3 ? 0 : wire_u64(r);
	c->dead_retention_ms = version < 4 ? TOPIC_DEAD_RETENTION_MS : (int64_t)wire_u64(r);
	c->dead_max_bytes = version < 4 ? TOPIC_DEAD_MAX_BYTES : (int64_t)wire_u64(r);
}

static bool read_row(struct slice value, struct slice *name, struct topic *out)
{
	struct wire_reader r = wire_reader_make(value);
	struct topic_config *c = &out->config;
	uint32_t version = wire_u8(&r);

	if (version == 0 || version > TOPIC_ROW_VERSION)
		return false;
	*name = wire_bytes(&r, wire_u8(&r));
	out->created_ms = (int64_t)wire_u64(&r);
	c->partitions = wire_u32(&r);
	c->retention_ms = (int64_t)wire_u64(&r);
	c->retention_bytes = (int64_t)wire_u64(&r);
	c->durability = (enum topic_durability)wire_u8(&r);
	c->cleanup = (enum topic_cleanup)wire_u8(&r);
	c->idempotency_ttl_ms = (int64_t)wire_u64(&r);
	out->from_file = wire_u8(&r) != 0;
	read_lifecycle(&r, version, c);
	return !r.bad && name->len > 0 && name->len <= TOPIC_NAME_MAX && c->partitions > 0 &&
	       c->partitions <= TOPIC_PARTITIONS_MAX && c->durability <= TOPIC_OS &&
	       c->cleanup <= TOPIC_COMPACT_DELETE && c->timestamps <= TOPIC_APPEND_TIME;
}

static bool read_id(struct slice key, struct topic_id *id)
{
	if (key.len != sizeof(id->bytes))
		return false;
	memcpy(id->bytes, key.ptr, key.len);
	return true;
}

int topic_row_read(struct slice key, struct slice value, struct topic_id *id, struct slice *name,
		   struct topic_config *config)
{
	struct topic fields = {0};

	*name = slice_null();
	if (!read_id(key, id) || (value.ptr && !read_row(value, name, &fields)))
		return ERR_CORRUPT;
	*config = fields.config;
	return 0;
}

static int apply_topic(void *ctx, struct slice key, struct slice value)
{
	struct topics *t = ctx;
	struct topic_id id;
	struct topic fields = {0};
	struct slice name;
	struct slot *s;

	if (!read_id(key, &id))
		return ERR_CORRUPT;
	s = find_id(t, &id);
	if (!value.ptr) {
		if (s)
			remove_slot(t, s);
		return 0;
	}
	if (!read_row(value, &name, &fields))
		return ERR_CORRUPT;
	if (!s) {
		s = new_slot(name, &id);
		if (!s || add_slot(t, s))
			return ERR_NOMEM;
	}
	t->partition_sum += (uint64_t)fields.config.partitions - s->topic.config.partitions;
	s->topic.created_ms = fields.created_ms;
	s->topic.config = fields.config;
	s->topic.from_file = fields.from_file;
	return 0;
}

/* A part is by the place in the list of all, which only grows. */
static int each_topic(void *ctx, uint32_t part, uint32_t parts, state_row_fn *fn, void *fn_ctx)
{
	struct topics *t = ctx;
	uint8_t row[ROW_BYTES_MAX];

	for (uint32_t i = part; i < t->all_count; i += parts) {
		struct topic *topic = &t->all[i]->topic;
		if (atomic_load(&topic->deleted))
			continue;
		if (fn(fn_ctx, slice_make(topic->id.bytes, sizeof(topic->id.bytes)),
		       write_row(topic, &topic->config, topic->from_file, row)))
			return 1;
	}
	return 0;
}

static struct slice write_trims(const int64_t *trims, uint32_t count, uint8_t *bytes)
{
	uint8_t *at = wire_put_u8(bytes, TRIM_ROW_VERSION);

	for (uint32_t i = 0; i < count; i++)
		at = wire_put_u64(at, (uint64_t)trims[i]);
	return slice_make(bytes, (size_t)(at - bytes));
}

static int set_trims(struct slot *s, const int64_t *trims, uint32_t count)
{
	int64_t *copy = mem_alloc(count * sizeof(*copy) + 1);

	if (!copy)
		return ERR_NOMEM;
	memcpy(copy, trims, count * sizeof(*copy));
	mem_free(s->trims);
	s->trims = copy;
	s->trim_count = count;
	return 0;
}

int topic_trims_read(struct slice key, struct slice value, struct topic_id *id, int64_t *trims,
		     uint32_t *count)
{
	struct wire_reader r = wire_reader_make(value);

	*count = 0;
	if (!read_id(key, id))
		return ERR_CORRUPT;
	if (!value.ptr)
		return 0;
	if (wire_u8(&r) != TRIM_ROW_VERSION)
		return ERR_CORRUPT;
	while (wire_left(&r) && *count < TOPIC_PARTITIONS_MAX)
		trims[(*count)++] = (int64_t)wire_u64(&r);
	return r.bad ? ERR_CORRUPT : 0;
}

static int apply_trim(void *ctx, struct slice key, struct slice value)
{
	struct topics *t = ctx;
	int64_t trims[TOPIC_PARTITIONS_MAX];
	struct topic_id id;
	struct slot *s;
	uint32_t count;

	if (topic_trims_read(key, value, &id, trims, &count))
		return ERR_CORRUPT;
	s = find_id(t, &id);
	return s && value.ptr ? set_trims(s, trims, count) : 0;
}

static int each_trim(void *ctx, uint32_t part, uint32_t parts, state_row_fn *fn, void *fn_ctx)
{
	struct topics *t = ctx;
	uint8_t *row = mem_alloc(1 + TOPIC_PARTITIONS_MAX * sizeof(int64_t));
	int rc = row ? 0 : 1;

	for (uint32_t i = part; i < t->all_count && rc == 0; i += parts) {
		struct slot *s = t->all[i];
		if (atomic_load(&s->topic.deleted) || !s->trims)
			continue;
		rc = fn(fn_ctx, slice_make(s->topic.id.bytes, sizeof(s->topic.id.bytes)),
			write_trims(s->trims, s->trim_count, row));
	}
	mem_free(row);
	return rc;
}

/* ---- partitions ---- */

static struct partition_options partition_settings(const struct topic_config *c)
{
	bool forever = c->cleanup == TOPIC_COMPACT;

	return (struct partition_options){.segment_bytes = c->segment_bytes,
					  .append_time = c->timestamps == TOPIC_APPEND_TIME,
					  .retention_ms = forever ? -1 : c->retention_ms,
					  .retention_bytes = forever ? -1 : c->retention_bytes,
					  .compact = topic_is_compacted(c),
					  .dirty_percent = c->compaction_dirty_percent,
					  .max_lag_ms = c->compaction_max_lag_ms,
					  .min_lag_ms = c->compaction_min_lag_ms,
					  .tombstone_ms = c->compaction_tombstone_ms,
					  .recompress_ms = c->recompress_after_ms};
}

/* Opens partitions up to the count in force; a larger array replaces the old one, which readers may still look at. */
static int open_partitions(struct topics *t, struct slot *s, const struct topic_config *c)
{
	struct partition_options options = partition_settings(c);
	struct partition **old = atomic_load(&s->topic.partitions);
	struct partition **fresh = mem_zalloc(c->partitions, sizeof(struct partition *));
	uint32_t had = atomic_load(&s->topic.partition_count);

	if (!fresh)
		return ERR_NOMEM;
	for (uint32_t i = 0; i < c->partitions; i++) {
		int rc = partition_open(t->log, &s->topic.id, i, &options, &fresh[i]);
		if (rc) {
			mem_free(fresh);
			return rc;
		}
		if (i >= had && i < s->trim_count && s->trims[i] >= 0)
			partition_trim(fresh[i], s->trims[i]);
	}
	if (old && keep_pointer((void ***)&t->old_arrays, &t->old_count, &t->old_cap, old)) {
		mem_free(fresh);
		return ERR_NOMEM;
	}
	atomic_store(&s->topic.partitions, fresh);
	atomic_store(&s->topic.partition_count, c->partitions);
	return 0;
}

/* ---- opening ---- */

int topics_new(struct log *l, struct state *state, const struct topic_config *defaults, bool auto_create,
	       struct topics **out)
{
	struct topics *t = mem_zalloc(1, sizeof(*t));
	const struct sys *sys = log_sys(l);

	if (!t)
		return ERR_NOMEM;
	t->log = l;
	t->sys = sys;
	t->state = state;
	t->defaults = *defaults;
	t->auto_create = auto_create;
	t->bucket_count = 64;
	t->by_name = mem_zalloc(t->bucket_count, sizeof(struct slot *));
	t->by_id = mem_zalloc(t->bucket_count, sizeof(struct slot *));
	(void)pthread_rwlock_init(&t->lock, NULL);
	(void)sys->ops->random(sys->self, &t->key, sizeof(t->key));
	if (!t->by_name || !t->by_id ||
	    state_register(state, &(struct state_table){.id = STATE_TOPICS,
							.name = "topics",
							.apply = apply_topic,
							.each_part = each_topic,
							.ctx = t}) ||
	    state_register(state, &(struct state_table){.id = STATE_TRIMS,
							.name = "trims",
							.apply = apply_trim,
							.each_part = each_trim,
							.ctx = t})) {
		topics_free(t);
		return ERR_NOMEM;
	}
	*out = t;
	return 0;
}

int topics_ready(struct topics *t, struct fault *fault)
{
	for (uint32_t i = 0; i < t->all_count; i++) {
		struct slot *s = t->all[i];
		if (atomic_load(&s->topic.deleted))
			continue;
		if (open_partitions(t, s, &s->topic.config))
			return fault_set(fault, ERR_NOMEM, "no memory for the partitions of topic %s",
					 s->topic.name);
	}
	return 0;
}

void topics_free(struct topics *t)
{
	for (uint32_t i = 0; i < t->all_count; i++) {
		mem_free(atomic_load(&t->all[i]->topic.partitions));
		mem_free(t->all[i]->trims);
		mem_free(t->all[i]);
	}
	for (uint32_t i = 0; i < t->old_count; i++)
		mem_free(t->old_arrays[i]);
	mem_free(t->old_arrays);
	mem_free(t->all);
	mem_free(t->by_name);
	mem_free(t->by_id);
	(void)pthread_rwlock_destroy(&t->lock);
	mem_free(t);
}

void topics_set_defaults(struct topics *t, const struct topic_config *defaults, bool auto_create)
{
	(void)pthread_rwlock_wrlock(&t->lock);
	t->defaults = *defaults;
	t->auto_create = auto_create;
	(void)pthread_rwlock_unlock(&t->lock);
}

void topics_defaults(struct topics *t, struct topic_config *defaults, bool *auto_create)
{
	(void)pthread_rwlock_rdlock(&t->lock);
	*defaults = t->defaults;
	*auto_create = t->auto_create;
	(void)pthread_rwlock_unlock(&t->lock);
}

/* ---- asking ---- */

static bool is_name_byte(uint8_t c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
	       c == '_' || c == '-';
}

int topic_name_check(struct slice name, struct fault *fault)
{
	if (name.len == 0 || name.len > TOPIC_NAME_MAX)
		return fault_set(fault, ERR_BAD_TOPIC, "a topic name has 1 to %u bytes, this one %zu",
				 TOPIC_NAME_MAX, name.len);
	if (slice_eq_str(name, ".") || slice_eq_str(name, ".."))
		return fault_set(fault, ERR_BAD_TOPIC, "\".\" and \"..\" are no topic names");
	for (size_t i = 0; i < name.len; i++)
		if (!is_name_byte(name.ptr[i]))
			return fault_set(
				fault, ERR_BAD_TOPIC,
				"a topic name holds letters, digits, '.', '_' and '-'; byte %zu is 0x%02x", i,
				name.ptr[i]);
	return 0;
}

struct topic *topics_find(struct topics *t, struct slice name)
{
	struct slot *s;

	(void)pthread_rwlock_rdlock(&t->lock);
	s = find_name(t, name);
	(void)pthread_rwlock_unlock(&t->lock);
	return s ? &s->topic : NULL;
}

struct topic *topics_find_id(struct topics *t, const struct topic_id *id)
{
	struct slot *s;

	(void)pthread_rwlock_rdlock(&t->lock);
	s = find_id(t, id);
	(void)pthread_rwlock_unlock(&t->lock);
	return s ? &s->topic : NULL;
}

uint64_t topics_generation(const struct topics *t)
{
	return atomic_load(&t->generation);
}

void topics_set_watcher(struct topics *t, void (*fn)(void *ctx), void *ctx)
{
	t->watcher_ctx = ctx;
	t->watcher = fn;
}

uint32_t topics_count(struct topics *t)
{
	uint32_t count;

	(void)pthread_rwlock_rdlock(&t->lock);
	count = t->count;
	(void)pthread_rwlock_unlock(&t->lock);
	return count;
}

static int order_by_name(const void *a, const void *b)
{
	const struct topic *const *x = a, *const *y = b;

	return strcmp((*x)->name, (*y)->name);
}

void topics_each(struct topics *t, struct slice after, bool (*fn)(void *ctx, struct topic *topic), void *ctx)
{
	struct topic **list;
	uint32_t count = 0;

	(void)pthread_rwlock_rdlock(&t->lock);
	list = mem_alloc((t->count + 1) * sizeof(struct topic *));
	for (uint32_t i = 0; list && i < t->all_count; i++)
		if (!atomic_load(&t->all[i]->topic.deleted) &&
		    slice_cmp(slice_str(t->all[i]->topic.name), after) > 0)
			list[count++] = &t->all[i]->topic;
	(void)pthread_rwlock_unlock(&t->lock);
	if (!list)
		return;
	qsort(list, count, sizeof(struct topic *), order_by_name);
	for (uint32_t i = 0; i < count; i++)
		if (!fn(ctx, list[i]))
			break;
	mem_free(list);
}

void topic_config(struct topics *t, struct topic *topic, struct topic_config *out)
{
	(void)pthread_rwlock_rdlock(&t->lock);
	*out = topic->config;
	(void)pthread_rwlock_unlock(&t->lock);
}

struct partition *topic_partition(struct topic *topic, uint32_t number)
{
	/* The count is stored after the array: whoever sees the count sees the array that holds as many. */
	if (number >= atomic_load(&topic->partition_count))
		return NULL;
	return atomic_load(&topic->partitions)[number];
}

/* ---- changing ---- */

static void changed(struct topics *t)
{
	atomic_fetch_add(&t->generation, 1);
	if (t->watcher)
		t->watcher(t->watcher_ctx);
	state_tidy(t->state);
}

static int check_config(const struct topic_config *c, struct fault *fault)
{
	if (c->partitions == 0 || c->partitions > TOPIC_PARTITIONS_MAX)
		return fault_set(fault, ERR_BAD_TOPIC_CONFIG, "partitions is %u; it must be between 1 and %u",
				 c->partitions, TOPIC_PARTITIONS_MAX);
	if (c->compaction_dirty_percent > 100 || c->compaction_tombstone_ms < 0 ||
	    c->compaction_min_lag_ms < 0)
		return fault_set(fault, ERR_BAD_TOPIC_CONFIG,
				 "compaction.dirty_percent is at most 100, and no duration negative");
	if (c->idempotency_ttl_ms < 0)
		return fault_set(fault, ERR_BAD_TOPIC_CONFIG, "idempotency.ttl must not be negative");
	return 0;
}

/* One request can ask for more than any memory holds. What was stored before is opened, however many it is. */
static int check_sum(const struct topics *t, uint32_t had, const struct topic_config *c, struct fault *fault)
{
	if (c->partitions <= had || t->partition_sum + c->partitions - had <= TOPICS_PARTITIONS_MAX)
		return 0;
	return fault_set(fault, ERR_PARTITIONS_FULL,
			 "there are %llu partitions, and %u more would be more than %u",
			 (unsigned long long)t->partition_sum, c->partitions - had, TOPICS_PARTITIONS_MAX);
}

static void make_id(const struct sys *sys, struct topic_id *id)
{
	(void)sys->ops->random(sys->self, id->bytes, sizeof(id->bytes));
	id->bytes[6] = (uint8_t)((id->bytes[6] & 0x0f) | 0x40); /* RFC 9562: version 4 */
	id->bytes[8] = (uint8_t)((id->bytes[8] & 0x3f) | 0x80);
}

static int put_topic(struct topics *t, const struct topic *topic, const struct topic_config *c,
		     bool from_file, const struct state_done *done)
{
	uint8_t bytes[ROW_BYTES_MAX];
	struct state_row row = {.table = STATE_TOPICS,
				.key = slice_make(topic->id.bytes, sizeof(topic->id.bytes))};

	row.value = write_row(topic, c, from_file, bytes);
	return state_put(t->state, &row, 1, done);
}

int topics_create(struct topics *t, struct slice name, const struct topic_config *config, bool from_file,
		  const struct state_done *done, struct topic **out, struct fault *fault)
{
	struct topic_id id;
	struct slot *s;
	int rc = topic_name_check(name, fault);

	if (rc == 0)
		rc = check_config(config, fault);
	if (rc)
		return rc;
	s = find_name(t, name); /* changes happen under the entry lock alone, so no lock is needed to look */
	if (s) {
		*out = &s->topic;
		return ERR_TOPIC_EXISTS;
	}
	rc = check_sum(t, 0, config, fault);
	if (rc)
		return rc;
	make_id(t->sys, &id);
	s = new_slot(name, &id);
	if (!s)
		return fault_set(fault, ERR_NOMEM, "no memory for a topic");
	s->topic.created_ms = sys_wall_ms(t->sys);
	s->topic.config = *config;
	s->topic.from_file = from_file;
	(void)pthread_rwlock_wrlock(&t->lock);
	rc = reserve_slot(t);
	(void)pthread_rwlock_unlock(&t->lock);
	if (rc == 0)
		rc = open_partitions(t, s, config);
	if (rc == 0)
		rc = put_topic(t, &s->topic, config, from_file, done);
	if (rc) { /* the partitions stay behind, empty and without a name */
		mem_free(atomic_load(&s->topic.partitions));
		mem_free(s);
		return fault_set(fault, rc, "the topic cannot be created now");
	}
	(void)pthread_rwlock_wrlock(&t->lock);
	rc = add_slot(t, s);
	(void)pthread_rwlock_unlock(&t->lock);
	CHECK(rc == 0); /* entered already: the process must not go on without it */
	*out = &s->topic;
	changed(t);
	return 0;
}

int topics_change(struct topics *t, struct topic *topic, const struct topic_config *config, bool from_file,
		  const struct state_done *done, struct fault *fault)
{
	int rc = check_config(config, fault);

	if (rc)
		return rc;
	if (atomic_load(&topic->deleted))
		return fault_set(fault, ERR_UNKNOWN_TOPIC, "the topic was deleted");
	if (config->partitions < atomic_load(&topic->partition_count))
		return fault_set(fault, ERR_BAD_TOPIC_CONFIG,
				 "the topic has %u partitions; they can only become more",
				 atomic_load(&topic->partition_count));
	rc = check_sum(t, topic->config.partitions, config, fault);
	if (rc)
		return rc;
	rc = put_topic(t, topic, config, from_file, done);
	if (rc)
		return fault_set(fault, rc, "the topic cannot be changed now");
	(void)pthread_rwlock_wrlock(&t->lock);
	t->partition_sum += (uint64_t)config->partitions - topic->config.partitions;
	topic->config = *config;
	topic->from_file = from_file;
	(void)pthread_rwlock_unlock(&t->lock);
	rc = open_partitions(t, slot_of(topic), config);
	CHECK(rc == 0);
	changed(t);
	return 0;
}

/* Files and readers go when the deletion is durable. */
struct deletion {
	struct topic *topic;
	struct state_done done;
};

static void on_deleted(void *ctx)
{
	struct deletion *d = ctx;
	uint32_t count = atomic_load(&d->topic->partition_count);

	for (uint32_t i = 0; i < count; i++)
		partition_drop(topic_partition(d->topic, i));
	if (d->done.fn)
		d->done.fn(d->done.ctx);
	mem_free(d);
}

int topics_delete(struct topics *t, struct topic *topic, const struct state_done *done)
{
	struct slice key = slice_make(topic->id.bytes, sizeof(topic->id.bytes));
	struct state_row rows[2] = {{.table = STATE_TOPICS, .key = key, .frees = true},
				    {.table = STATE_TRIMS, .key = key}};
	struct slot *s = slot_of(topic);
	struct state_done told = {.fn = on_deleted};
	struct deletion *d;
	int rc;

	if (atomic_load(&topic->deleted))
		return ERR_UNKNOWN_TOPIC;
	d = mem_zalloc(1, sizeof(*d));
	if (!d)
		return ERR_NOMEM;
	d->topic = topic;
	if (done)
		d->done = *done;
	told.ctx = d;
	told.port = d->done.port;
	rc = state_put(t->state, rows, s->trims ? 2 : 1, &told);
	if (rc) {
		mem_free(d);
		return rc;
	}
	for (uint32_t i = 0; i < atomic_load(&topic->partition_count); i++)
		partition_close(topic_partition(topic, i));
	(void)pthread_rwlock_wrlock(&t->lock);
	remove_slot(t, s);
	(void)pthread_rwlock_unlock(&t->lock);
	changed(t);
	return 0;
}

int topics_trim(struct topics *t, struct topic *topic, const int64_t *before, uint32_t count,
		const struct state_done *done)
{
	struct slot *s = slot_of(topic);
	struct state_row row = {.table = STATE_TRIMS,
				.key = slice_make(topic->id.bytes, sizeof(topic->id.bytes)),
				.frees = true};
	uint32_t partitions = atomic_load(&topic->partition_count);
	int64_t *trims = mem_alloc(partitions * sizeof(*trims));
	uint8_t *bytes = mem_alloc(1 + partitions * sizeof(*trims));
	int rc = trims && bytes ? 0 : ERR_NOMEM;

	if (atomic_load(&topic->deleted))
		rc = ERR_UNKNOWN_TOPIC;
	for (uint32_t i = 0; i < partitions && rc == 0; i++) {
		struct partition_range range;
		int64_t had = i < s->trim_count ? s->trims[i] : -1;
		partition_range(topic_partition(topic, i), &range);
		trims[i] = had;
		if (i < count && before[i] > had)
			trims[i] = before[i] < range.end ? before[i] : range.end;
	}
	if (rc == 0) {
		row.value = write_trims(trims, partitions, bytes);
		rc = state_put(t->state, &row, 1, done);
	}
	if (rc == 0) {
		CHECK(set_trims(s, trims, partitions) == 0);
		for (uint32_t i = 0; i < partitions; i++)
			if (trims[i] >= 0)
				partition_trim(topic_partition(topic, i), trims[i]);
		state_tidy(t->state);
	}
	mem_free(trims);
	mem_free(bytes);
	return rc;
}
