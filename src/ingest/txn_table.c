/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Partitions stand in a sorted array that is replaced when it grows: a transaction adds them a few times
 * and is asked for each batch that it writes. The row holds them by topic:
 *
 *	version u8 = 1, state u8, producer id i64, last producer id i64, epoch i16, last epoch i16,
 *	timeout i32, start i64, update i64,
 *	partitions u32, then per topic: UUID, how many u32, their numbers u32 each
 *	groups u32, each with its length as u32 before it
 */
#include "ingest/txn_table.h"

#include <stdlib.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/mem.h"
#include "base/wire.h"

#define ROW_VERSION 1u
#define ROW_TXN 1u

int txn_table_init(struct txn_table *t, const struct sys *sys)
{
	*t = (struct txn_table){0};
	t->ongoing.end = &t->ongoing.first;
	t->idle.end = &t->idle.first;
	(void)sys->ops->random(sys->self, &t->key, sizeof(t->key));
	return table_init(&t->ids) || table_init(&t->producers) ? ERR_NOMEM : 0;
}

static struct txn *txn_of_id(struct table_node *node)
{
	return node ? (struct txn *)((char *)node - offsetof(struct txn, by_id)) : NULL;
}

void txn_table_fini(struct txn_table *t)
{
	struct txn *x;

	while (t->ids.buckets && (x = txn_of_id(table_walk(&t->ids, NULL))))
		txn_drop(t, x);
	table_fini(&t->ids);
	table_fini(&t->producers);
}

/* ---- finding ---- */

static uint64_t hash_producer(const struct txn_table *t, int64_t producer_id)
{
	return hash_sip13(&t->key, slice_make(&producer_id, sizeof(producer_id)));
}

struct txn *txn_find(const struct txn_table *t, struct slice id)
{
	struct table_node *node = table_first(&t->ids, hash_sip13(&t->key, id));

	while (node && !slice_eq(txn_id(txn_of_id(node)), id))
		node = table_next(node);
	return txn_of_id(node);
}

struct txn *txn_find_producer(const struct txn_table *t, int64_t producer_id)
{
	struct table_node *node = table_first(&t->producers, hash_producer(t, producer_id));

	for (; node; node = table_next(node)) {
		struct txn *x = (struct txn *)((char *)node - offsetof(struct txn, by_producer));
		if (x->now.producer_id == producer_id)
			return x;
	}
	return NULL;
}

struct txn_group *txn_find_group(const struct txn *x, struct slice name)
{
	struct txn_group *g = x->now.groups;

	while (g && !slice_eq(txn_group_name(g), name))
		g = g->next;
	return g;
}

static int order_partitions(const void *a, const void *b)
{
	const struct txn_partition *x = a, *y = b;
	int rc = memcmp(x->topic.bytes, y->topic.bytes, sizeof(x->topic.bytes));

	return rc ? rc : (x->number > y->number) - (x->number < y->number);
}

bool txn_has_partition(const struct txn_fields *f, const struct txn_partition *at)
{
	return f->partition_count &&
	       bsearch(at, f->partitions, f->partition_count, sizeof(*at), order_partitions);
}

int txn_table_walk(const struct txn_table *t, int (*fn)(void *ctx, const struct txn *x), void *ctx)
{
	int rc = 0;

	for (struct table_node *node = table_walk(&t->ids, NULL); node && rc == 0;
	     node = table_walk(&t->ids, node))
		rc = fn(ctx, txn_of_id(node));
	return rc;
}

/* ---- memory ---- */

struct txn *txn_new(struct slice id)
{
	struct txn *x = mem_zalloc(1, sizeof(*x) + id.len);

	if (!x)
		return NULL;
	x->id_len = (uint32_t)id.len;
	memcpy(x->id, id.ptr, id.len);
	x->now = (struct txn_fields){.producer_id = -1,
				     .last_producer_id = -1,
				     .start_ms = -1,
				     .epoch = -1,
				     .last_epoch = -1,
				     .state = TXN_EMPTY};
	return x;
}

static void free_groups(struct txn_group *g)
{
	while (g) {
		struct txn_group *next = g->next;
		mem_free(g);
		g = next;
	}
}

void txn_free(struct txn *x)
{
	mem_free(x->now.partitions);
	free_groups(x->now.groups);
	mem_free(x);
}

struct txn_group *txn_group_new(struct slice name)
{
	struct txn_group *g = mem_zalloc(1, sizeof(*g) + name.len);

	if (!g)
		return NULL;
	g->name_len = (uint32_t)name.len;
	if (name.len)
		memcpy(g->name, name.ptr, name.len);
	return g;
}

static size_t bytes_of(const struct txn *x)
{
	size_t bytes = sizeof(*x) + x->id_len + x->now.partition_count * sizeof(*x->now.partitions);

	for (const struct txn_group *g = x->now.groups; g; g = g->next)
		bytes += sizeof(*g) + g->name_len;
	return bytes;
}

/* What it takes of memory has changed. */
static void count_again(struct txn_table *t, struct txn *x, size_t bytes)
{
	t->bytes += bytes - x->bytes;
	if (t->share && bytes > x->bytes)
		budget_add(t->share, bytes - x->bytes);
	if (t->share && bytes < x->bytes)
		budget_sub(t->share, x->bytes - bytes);
	x->bytes = bytes;
}

/* ---- changing ---- */

static struct txn_list *list_of(struct txn_table *t, const struct txn *x)
{
	return x->now.state == TXN_ONGOING ? &t->ongoing : &t->idle;
}

static void leave_list(struct txn_table *t, struct txn *x)
{
	*x->prev = x->next;
	if (x->next)
		x->next->prev = x->prev;
	else
		list_of(t, x)->end = x->prev;
	t->ongoing_count -= x->now.state == TXN_ONGOING;
}

static void join_list(struct txn_table *t, struct txn *x)
{
	struct txn_list *list = list_of(t, x);

	x->next = NULL;
	x->prev = list->end;
	*list->end = x;
	list->end = &x->next;
	t->ongoing_count += x->now.state == TXN_ONGOING;
}

void txn_add(struct txn_table *t, struct txn *x)
{
	table_add(&t->ids, &x->by_id, hash_sip13(&t->key, txn_id(x)));
	table_add(&t->producers, &x->by_producer, hash_producer(t, x->now.producer_id));
	join_list(t, x);
	t->id_count++;
	count_again(t, x, bytes_of(x));
}

void txn_drop(struct txn_table *t, struct txn *x)
{
	leave_list(t, x);
	t->id_count--;
	table_remove(&t->ids, &x->by_id);
	table_remove(&t->producers, &x->by_producer);
	count_again(t, x, 0);
	txn_free(x);
}

/* Groups are only added to a list, or all of them go. */
static void change_groups(struct txn *x, struct txn_group *groups)
{
	if (!groups)
		free_groups(x->now.groups);
	x->now.groups = groups;
}

void txn_set(struct txn_table *t, struct txn *x, const struct txn_fields *fields)
{
	if (x->now.producer_id != fields->producer_id) {
		table_remove(&t->producers, &x->by_producer);
		table_add(&t->producers, &x->by_producer, hash_producer(t, fields->producer_id));
	}
	if (x->now.partitions != fields->partitions)
		mem_free(x->now.partitions);
	change_groups(x, fields->groups);
	leave_list(t, x);
	x->now = *fields;
	join_list(t, x);
	count_again(t, x, bytes_of(x));
}

static int order_updates(const void *a, const void *b)
{
	const struct txn *const *x = a, *const *y = b;

	return ((*x)->now.update_ms > (*y)->now.update_ms) - ((*x)->now.update_ms < (*y)->now.update_ms);
}

int txn_table_sort(struct txn_table *t)
{
	struct txn **all = mem_alloc((t->ids.count + 1) * sizeof(struct txn *));
	uint32_t count = 0;

	if (!all)
		return ERR_NOMEM;
	for (struct txn *x = t->idle.first; x; x = x->next)
		all[count++] = x;
	qsort(all, count, sizeof(struct txn *), order_updates);
	t->idle.end = &t->idle.first;
	t->idle.first = NULL;
	for (uint32_t i = 0; i < count; i++)
		join_list(t, all[i]);
	mem_free(all);
	return 0;
}

struct txn_partition *txn_partitions_merge(const struct txn_fields *had, const struct txn_partition *more,
					   uint32_t count, uint32_t *out_count)
{
	uint32_t sum = had->partition_count + count;
	struct txn_partition *list = mem_alloc(sum * sizeof(*list));

	if (!list)
		return NULL;
	if (had->partition_count)
		memcpy(list, had->partitions, had->partition_count * sizeof(*list));
	if (count)
		memcpy(list + had->partition_count, more, count * sizeof(*list));
	qsort(list, sum, sizeof(*list), order_partitions);
	*out_count = 0;
	for (uint32_t i = 0; i < sum; i++)
		if (i == 0 || order_partitions(&list[i], &list[i - 1]) != 0)
			list[(*out_count)++] = list[i];
	return list;
}

/* ---- rows ---- */

static void put_number(struct buf *out, uint64_t value, size_t bytes)
{
	uint8_t wide[8];

	(void)wire_put_u64(wide, value);
	(void)buf_append(out, wide + 8 - bytes, bytes);
}

static void put_text(struct buf *out, struct slice s)
{
	put_number(out, s.len, 4);
	(void)buf_append_slice(out, s);
}

void txn_row_key(struct buf *out, struct slice id)
{
	(void)buf_append_byte(out, ROW_TXN);
	(void)buf_append_slice(out, id);
}

/* A topic, how many partitions of it, and their numbers. */
static void put_partitions(struct buf *out, const struct txn_fields *f)
{
	uint32_t end;

	put_number(out, f->partition_count, 4);
	for (uint32_t i = 0; i < f->partition_count; i = end) {
		const struct topic_id *topic = &f->partitions[i].topic;
		for (end = i; end < f->partition_count && topic_id_eq(&f->partitions[end].topic, topic);)
			end++;
		(void)buf_append(out, topic->bytes, sizeof(topic->bytes));
		put_number(out, end - i, 4);
		for (uint32_t k = i; k < end; k++)
			put_number(out, f->partitions[k].number, 4);
	}
}

void txn_row_write(struct buf *out, const struct txn_fields *f)
{
	uint32_t groups = 0;

	(void)buf_append_byte(out, ROW_VERSION);
	(void)buf_append_byte(out, (uint8_t)f->state);
	put_number(out, (uint64_t)f->producer_id, 8);
	put_number(out, (uint64_t)f->last_producer_id, 8);
	put_number(out, (uint16_t)f->epoch, 2);
	put_number(out, (uint16_t)f->last_epoch, 2);
	put_number(out, (uint32_t)f->timeout_ms, 4);
	put_number(out, (uint64_t)f->start_ms, 8);
	put_number(out, (uint64_t)f->update_ms, 8);
	put_partitions(out, f);
	for (const struct txn_group *g = f->groups; g; g = g->next)
		groups++;
	put_number(out, groups, 4);
	for (const struct txn_group *g = f->groups; g; g = g->next)
		put_text(out, txn_group_name(g));
}

static int read_partitions(struct wire_reader *r, struct txn_fields *f)
{
	uint32_t count = wire_u32(r), at = 0;

	if (r->bad || count > wire_left(r) / 4)
		return ERR_CORRUPT;
	f->partitions = count ? mem_alloc(count * sizeof(*f->partitions)) : NULL;
	if (count && !f->partitions)
		return ERR_NOMEM;
	while (at < count && !r->bad) {
		struct slice topic = wire_bytes(r, sizeof(f->partitions->topic.bytes));
		uint32_t numbers = wire_u32(r);
		if (r->bad || numbers == 0 || numbers > count - at)
			return ERR_CORRUPT;
		for (uint32_t end = at + numbers; at < end; at++) {
			memcpy(f->partitions[at].topic.bytes, topic.ptr, topic.len);
			f->partitions[at].number = wire_u32(r);
		}
	}
	f->partition_count = at;
	return r->bad ? ERR_CORRUPT : 0;
}

static int read_groups(struct wire_reader *r, struct txn_fields *f)
{
	uint32_t count = wire_u32(r);
	struct txn_group **last = &f->groups;

	for (uint32_t i = 0; i < count && !r->bad; i++) {
		struct slice name = wire_bytes(r, wire_u32(r));
		if (r->bad)
			break;
		*last = txn_group_new(name);
		if (!*last)
			return ERR_NOMEM;
		last = &(*last)->next;
	}
	return r->bad || wire_left(r) ? ERR_CORRUPT : 0;
}

/* What it has taken memory for is the caller's, also on errors. */
static int read_row(struct slice value, struct txn_fields *f)
{
	struct wire_reader r = wire_reader_make(value);
	uint8_t version = wire_u8(&r);
	uint8_t state = wire_u8(&r);
	int rc;

	*f = (struct txn_fields){.state = (enum txn_state)state};
	f->producer_id = (int64_t)wire_u64(&r);
	f->last_producer_id = (int64_t)wire_u64(&r);
	f->epoch = (int16_t)wire_u16(&r);
	f->last_epoch = (int16_t)wire_u16(&r);
	f->timeout_ms = (int32_t)wire_u32(&r);
	f->start_ms = (int64_t)wire_u64(&r);
	f->update_ms = (int64_t)wire_u64(&r);
	if (r.bad || version != ROW_VERSION || state >= TXN_DEAD || f->epoch < 0 || f->producer_id < 0)
		return ERR_CORRUPT;
	rc = read_partitions(&r, f);
	return rc ? rc : read_groups(&r, f);
}

static int apply_txn(struct txn_table *t, struct slice id, struct slice value)
{
	struct txn *x = txn_find(t, id);
	struct txn_fields f;
	int rc;

	if (!value.ptr) {
		if (x)
			txn_drop(t, x);
		return 0;
	}
	rc = read_row(value, &f);
	if (rc == 0 && !x) {
		x = txn_new(id);
		if (x)
			txn_add(t, x);
		else
			rc = ERR_NOMEM;
	}
	if (rc) {
		mem_free(f.partitions);
		free_groups(f.groups);
		return rc;
	}
	change_groups(x, NULL);
	txn_set(t, x, &f);
	return 0;
}

int txn_table_apply(struct txn_table *t, struct slice key, struct slice value)
{
	if (key.len > 1 && key.ptr[0] == ROW_TXN)
		return apply_txn(t, slice_from(key, 1), value);
	return ERR_CORRUPT;
}

int txn_table_each(const struct txn_table *t, uint32_t part, uint32_t parts, state_row_fn *fn, void *fn_ctx)
{
	struct table_node *node = NULL;
	struct buf key, value;
	int rc = 0;

	buf_init(&key, STATE_ROW_BYTES_MAX);
	buf_init(&value, STATE_ROW_BYTES_MAX);
	while (rc == 0 && (node = table_walk_part(&t->ids, node, part, parts))) {
		const struct txn *x = txn_of_id(node);
		buf_clear(&key);
		buf_clear(&value);
		txn_row_key(&key, txn_id(x));
		txn_row_write(&value, &x->now);
		rc = buf_status(&key) || buf_status(&value) || fn(fn_ctx, buf_slice(&key), buf_slice(&value));
	}
	buf_fini(&key);
	buf_fini(&value);
	return rc;
}
