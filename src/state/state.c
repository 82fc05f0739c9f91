/* SPDX-License-Identifier: Apache-2.0 */
#include "state/state.h"

#include <stdatomic.h>

#include "base/check.h"
#include "base/mem.h"
#include "log/topic_id.h"
#include "proto/batch/batch.h"

#define READ_BYTES (1u << 20)
#define TIDY_SLACK 1000

struct state {
	struct log *log;
	struct partition *partition;
	struct state_table tables[STATE_TABLES_MAX];
	uint32_t table_count;
	_Atomic bool tidying;
	uint32_t slack;
	int64_t look_at; /* under entry: shorter than this it is not written again, and rows are not counted */
};

int state_new(struct log *l, struct state **out)
{
	struct state *s = mem_zalloc(1, sizeof(*s));

	if (!s)
		return ERR_NOMEM;
	s->log = l;
	s->partition = log_internal(l);
	state_set_slack(s, TIDY_SLACK);
	*out = s;
	return 0;
}

void state_set_slack(struct state *s, uint32_t records)
{
	s->slack = records;
	s->look_at = records;
}

void state_free(struct state *s)
{
	mem_free(s);
}

int state_register(struct state *s, const struct state_table *table)
{
	if (s->table_count == STATE_TABLES_MAX)
		return ERR_LIMIT;
	s->tables[s->table_count++] = *table;
	return 0;
}

/* ---- loading ---- */

static const struct state_table *find_table(const struct state *s, uint8_t id)
{
	for (uint32_t i = 0; i < s->table_count; i++)
		if ((uint8_t)s->tables[i].id == id)
			return &s->tables[i];
	return NULL;
}

static int apply_record(struct state *s, const struct batch_record *r, struct fault *fault)
{
	const struct state_table *table = r->key.len ? find_table(s, r->key.ptr[0]) : NULL;

	if (!table)
		return fault_set(fault, ERR_BAD_VERSION,
				 "the state holds a row of a table that this weir does not know (offset %lld)",
				 (long long)r->offset);
	if (table->apply(table->ctx, slice_from(r->key, 1), r->value))
		return fault_set(fault, ERR_CORRUPT, "a row of table %s cannot be read (offset %lld)",
				 table->name, (long long)r->offset);
	return 0;
}

static int apply_batches(struct state *s, struct slice rest, int64_t from, struct fault *fault)
{
	while (rest.len) {
		struct batch_walk walk;
		struct batch_record r;
		int rc = batch_walk_start(&walk, rest);
		if (rc)
			return fault_set(fault, ERR_CORRUPT, "the state holds a batch that cannot be read");
		while ((rc = batch_walk_next(&walk, &r)) == 1) {
			rc = r.offset < from ? 0 : apply_record(s, &r, fault);
			if (rc)
				return rc;
		}
		if (rc)
			return fault_set(fault, ERR_CORRUPT, "the state holds a record that cannot be read");
		rest = slice_from(rest, walk.head.bytes);
	}
	return 0;
}

int state_load(struct state *s, struct fault *fault)
{
	struct partition_range range;
	struct log_view view;
	char id[37];
	int64_t at;
	int rc = 0;

	topic_id_text(partition_topic(s->partition), id);
	partition_range(s->partition, &range);
	for (at = range.start; rc == 0 && at < range.end; at = view.next_offset) {
		rc = log_read_wait(s->partition, at, READ_BYTES, &view);
		if (rc)
			return fault_set(fault, rc < 0 ? rc : ERR_CORRUPT,
					 "the state cannot be read from offset %lld", (long long)at);
		if (view.gap.from != view.gap.to && !view.gap.set_aside)
			rc = fault_set(
				fault, ERR_CORRUPT,
				"the state is damaged: offsets %lld to %lld of topics/%s/0 are not whole "
				"(`weir verify` names the bytes, `weir verify --repair` starts without them)",
				(long long)view.gap.from, (long long)view.gap.to - 1, id);
		else
			rc = apply_batches(s, view.batches, at, fault);
		blob_unref(view.blob);
	}
	return rc;
}

/* ---- changing ---- */

/* A commit that owns everything it needs. */
struct change {
	struct log_commit commit;
	struct state *state;
	struct state_done done;
	bool tidy;
	struct log_record records[];
};

static void on_committed(struct log_commit *c)
{
	struct change *change = (struct change *)c;

	if (change->tidy) {
		partition_trim(change->state->partition, change->records[0].offset);
		atomic_store(&change->state->tidying, false);
	}
	if (change->done.fn)
		change->done.fn(change->done.ctx);
	mem_free(change);
}

static struct slice copy_slice(uint8_t **at, struct slice from)
{
	struct slice copy = {.ptr = from.ptr ? *at : NULL, .len = from.len};

	if (from.len)
		memcpy(*at, from.ptr, from.len);
	*at += from.len;
	return copy;
}

/* A record of another partition, with what it points to. */
static void copy_record(struct log_record *to, const struct log_record *from, uint8_t **at)
{
	*to = *from;
	to->key = copy_slice(at, from->key);
	to->value = copy_slice(at, from->value);
	to->headers = copy_slice(at, from->headers);
}

static struct change *new_change(struct state *s, const struct state_row *rows, uint32_t count,
				 const struct log_record *others, uint32_t other_count)
{
	size_t bytes = sizeof(struct change) + ((size_t)count + other_count) * sizeof(struct log_record);
	struct change *change;
	uint8_t *at;

	for (uint32_t i = 0; i < count; i++)
		bytes += 1 + rows[i].key.len + rows[i].value.len;
	for (uint32_t i = 0; i < other_count; i++)
		bytes += others[i].key.len + others[i].value.len + others[i].headers.len;
	change = mem_zalloc(1, bytes);
	if (!change)
		return NULL;
	change->state = s;
	at = (uint8_t *)(change->records + count + other_count);
	for (uint32_t i = 0; i < count; i++) {
		struct log_record *r = &change->records[i];
		r->partition = s->partition;
		r->timestamp_ms = -1;
		r->key = slice_make(at, 1 + rows[i].key.len);
		*at++ = (uint8_t)rows[i].table;
		(void)copy_slice(&at, rows[i].key);
		r->value = copy_slice(&at, rows[i].value);
	}
	for (uint32_t i = 0; i < other_count; i++)
		copy_record(&change->records[count + i], &others[i], &at);
	change->commit.frees = rows[0].frees;
	change->commit.records = change->records;
	change->commit.record_count = count + other_count;
	change->commit.on_done = on_committed;
	return change;
}

static int enter_change(struct state *s, struct change *change)
{
	int rc = log_enter(s->log, &change->commit);

	if (rc)
		mem_free(change);
	return rc;
}

int state_put(struct state *s, const struct state_row *rows, uint32_t count, const struct state_done *done)
{
	return state_put_with(s, rows, count, NULL, 0, done);
}

int state_put_with(struct state *s, const struct state_row *rows, uint32_t count,
		   const struct log_record *records, uint32_t record_count, const struct state_done *done)
{
	struct change *change;

	CHECK(count > 0);
	change = new_change(s, rows, count, records, record_count);
	if (!change)
		return ERR_NOMEM;
	if (done) {
		change->done = *done;
		change->commit.port = done->port;
	}
	return enter_change(s, change);
}

/* ---- tidying ---- */

struct gather {
	struct state_row *rows; /* NULL: count alone */
	uint32_t count, cap;
	enum state_table_id table;
	uint8_t *bytes;
	size_t used, bytes_cap;
	size_t bytes_needed;
};

static int gather_row(void *ctx, struct slice key, struct slice value)
{
	struct gather *g = ctx;

	g->bytes_needed += key.len + value.len;
	if (g->rows) {
		uint8_t *at = g->bytes + g->used;
		if (g->count == g->cap || key.len + value.len > g->bytes_cap - g->used)
			return 1;
		memcpy(at, key.ptr, key.len);
		memcpy(at + key.len, value.ptr, value.len);
		g->used += key.len + value.len;
		g->rows[g->count] = (struct state_row){.table = g->table,
						       .key = slice_make(at, key.len),
						       .value = slice_make(at + key.len, value.len)};
	}
	g->count++;
	return 0;
}

static void gather_all(struct state *s, struct gather *g)
{
	for (uint32_t i = 0; i < s->table_count; i++) {
		g->table = s->tables[i].id;
		(void)s->tables[i].each(s->tables[i].ctx, gather_row, g);
	}
}

static void append_again(struct state *s, const struct gather *counted)
{
	struct gather g = {.cap = counted->count, .bytes_cap = counted->bytes_needed};
	struct change *change;

	g.rows = mem_alloc((size_t)counted->count * sizeof(*g.rows));
	g.bytes = mem_alloc(counted->bytes_needed + 1);
	if (g.rows && g.bytes) {
		gather_all(s, &g);
		change = g.count == counted->count ? new_change(s, g.rows, g.count, NULL, 0) : NULL;
		if (change) {
			change->tidy = true;
			atomic_store(&s->tidying, true);
			if (enter_change(s, change))
				atomic_store(&s->tidying, false);
		}
	}
	mem_free(g.rows);
	mem_free(g.bytes);
}

void state_tidy(struct state *s)
{
	struct gather counted = {0};
	struct partition_range range;
	int64_t length;

	if (atomic_load(&s->tidying))
		return;
	partition_range(s->partition, &range);
	length = range.end - range.start;
	if (length < s->look_at)
		return;
	/* Counting looks at every row: not again before there may be more than twice as many records as now rows. */
	gather_all(s, &counted);
	s->look_at = 2 * (int64_t)counted.count + s->slack;
	if (counted.count == 0 || length < s->look_at)
		return;
	append_again(s, &counted);
}
