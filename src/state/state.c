/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writing the state again goes in rounds, and a round in pieces: commits of a few MiB, each entered when the one
 * before it is durable, so that others enter in between and a state of any size can be written. When the
 * last one is durable the internal partition is trimmed to the offset of the first.
 *
 * Why nothing is lost, and nothing comes back. A piece is gathered and entered under one holding of the entry lock,
 * when every table is as what has entered says. So each of its rows is true where it stands, and whatever
 * changes a row later stands behind it. A row that lives at the end of the round has lived when its part came, and
 * stands in that piece or behind; or it is younger, and so is its record. A row that is
 * gone went before its part came, and then its older records are before the trim and no piece has it; or
 * later, and then its null stands behind the piece. Until the trim everything before is there
 * too, so a crash costs the round and no more. While a trimmed state loads, tables may for a time lack rows
 * (never have one that did not live then): a row whose part had not come yet. So a table must take any row
 * without those of other tables, and the null of a row that it does not have.
 *
 * The place to go on is a table and a part of it: tables in the order of registration, and a part is what a row's hash,
 * or its place in an array that only grows, says. It says the same whatever happens to the table between two pieces,
 * so there is nothing to keep valid. Rejected: a cursor (each change of a table would have to move it), gathering all
 * keys first (memory as for half the state, and a table would need to be asked for one row),
 * gathering all rows and leaving out those that change meanwhile (memory for all of it, and every change would look).
 */
#include "state/state.h"

#include "base/buf.h"
#include "base/check.h"
#include "base/mem.h"
#include "log/topic_id.h"
#include "proto/batch/batch.h"

#define READ_BYTES (1u << 20)
#define TIDY_SLACK 1000
#define PIECE_BYTES ((size_t)4 << 20)
#define PARTS_MAX (1u << 20)

/* Where a round goes on. */
struct place {
	uint32_t table, part;
};

struct round {
	bool begun;   /* and not ended */
	bool entered; /* a piece is on its way to the disk */
	int64_t from; /* its first record; -1: none is durable yet */
	struct place at;
	size_t bytes[STATE_TABLES_MAX]; /* of rows, when it began */
	uint32_t parts[STATE_TABLES_MAX];
};

struct state {
	struct log *log;
	struct partition *partition;
	struct state_table tables[STATE_TABLES_MAX];
	uint32_t table_count;
	struct round round; /* under entry */
	uint32_t slack;
	size_t piece_bytes;
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
	state_set_piece(s, PIECE_BYTES);
	*out = s;
	return 0;
}

struct partition *state_partition(const struct state *s)
{
	return s->partition;
}

void state_set_slack(struct state *s, uint32_t records)
{
	s->slack = records;
	s->look_at = records;
}

void state_set_piece(struct state *s, size_t bytes)
{
	s->piece_bytes = bytes;
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
	bool piece; /* of a round */
	struct log_record records[];
};

static void piece_is_durable(struct state *s, int64_t offset);

static void on_committed(struct log_commit *c)
{
	struct change *change = (struct change *)c;

	if (change->piece)
		piece_is_durable(change->state, change->records[0].offset);
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

/* Rows of a table, counted. */
struct count {
	uint32_t rows;
	size_t bytes;
};

static int count_row(void *ctx, struct slice key, struct slice value)
{
	struct count *c = ctx;

	c->rows++;
	c->bytes += key.len + value.len;
	return 0;
}

static int each_row_of(const struct state *s, struct place at, uint32_t parts, state_row_fn *fn, void *fn_ctx)
{
	const struct state_table *t = &s->tables[at.table];

	return t->each_part ? t->each_part(t->ctx, at.part, parts, fn, fn_ctx) : t->each(t->ctx, fn, fn_ctx);
}

static uint32_t parts_for(const struct state *s, const struct state_table *t, size_t bytes)
{
	uint32_t parts = 1;

	while (t->each_part && parts < PARTS_MAX && bytes / parts > s->piece_bytes)
		parts *= 2;
	return parts;
}

/* False where a table cannot give all its rows now. */
static bool count_all(struct state *s, uint64_t *rows)
{
	*rows = 0;
	for (uint32_t i = 0; i < s->table_count; i++) {
		struct count c = {0};
		if (each_row_of(s, (struct place){.table = i}, 1, count_row, &c))
			return false;
		*rows += c.rows;
		s->round.bytes[i] = c.bytes;
		s->round.parts[i] = parts_for(s, &s->tables[i], c.bytes);
	}
	return true;
}

/* The rows of a piece, and where the next one begins. */
struct piece {
	struct place next;
	enum state_table_id table;
	struct buf bytes; /* keys and values */
	struct buf rows;  /* whose slices have no address until all are there */
};

static int gather_row(void *ctx, struct slice key, struct slice value)
{
	struct piece *p = ctx;
	struct state_row row = {.table = p->table,
				.key = slice_make(NULL, key.len),
				.value = slice_make(NULL, value.len)};

	(void)buf_append(&p->bytes, key.ptr, key.len);
	(void)buf_append(&p->bytes, value.ptr, value.len);
	(void)buf_append(&p->rows, &row, sizeof(row));
	return buf_status(&p->bytes) || buf_status(&p->rows);
}

/* As many parts as make a piece, and one at least that has rows. False without memory. */
static bool gather(const struct state *s, struct piece *p)
{
	const struct round *r = &s->round;

	while (p->next.table < s->table_count) {
		uint32_t table = p->next.table;
		if (p->rows.len && p->bytes.len + r->bytes[table] / r->parts[table] > s->piece_bytes)
			break;
		p->table = s->tables[table].id;
		if (each_row_of(s, p->next, r->parts[table], gather_row, p))
			return false;
		if (++p->next.part == r->parts[table])
			p->next = (struct place){.table = table + 1};
	}
	return true;
}

static struct change *change_of(struct state *s, const struct piece *p)
{
	struct state_row *rows = (struct state_row *)(void *)p->rows.ptr;
	uint32_t count = (uint32_t)(p->rows.len / sizeof(*rows));
	const uint8_t *at = p->bytes.ptr;
	struct change *change;

	for (uint32_t i = 0; i < count; i++) {
		rows[i].key.ptr = at;
		rows[i].value.ptr = at + rows[i].key.len;
		at += rows[i].key.len + rows[i].value.len;
	}
	change = new_change(s, rows, count, NULL, 0);
	if (change)
		change->piece = true;
	return change;
}

static int enter_piece(struct state *s, const struct piece *p)
{
	struct change *change = change_of(s, p);
	int rc = change ? enter_change(s, change) : ERR_NOMEM;

	if (rc == 0) {
		s->round.at = p->next;
		s->round.entered = true;
	}
	return rc;
}

static void end_round(struct state *s)
{
	if (s->round.from >= 0)
		partition_trim(s->partition, s->round.from);
	s->round.begun = false;
}

static int64_t length_of(const struct state *s)
{
	struct partition_range range;

	partition_range(s->partition, &range);
	return range.end - range.start;
}

/*
 * What cannot be entered now is tried again from the same place, when there are some more records. But where nothing is
 * written yet, or a table has become too large for its parts, the next round cuts it anew.
 */
static void put_off(struct state *s, int rc)
{
	if (s->round.from < 0 || rc == ERR_LIMIT)
		s->round.begun = false;
	s->look_at = length_of(s) + s->slack;
}

/* Under the entry lock, none of the round's pieces being on its way. */
static void go_on(struct state *s)
{
	struct piece p = {.next = s->round.at};
	int rc;

	buf_init(&p.bytes, SIZE_MAX / 2);
	buf_init(&p.rows, SIZE_MAX / 2);
	rc = buf_reserve(&p.bytes, 1); /* an empty value has an address: it is not null */
	if (rc == 0 && !gather(s, &p))
		rc = ERR_NOMEM;
	if (rc == 0 && p.rows.len)
		rc = enter_piece(s, &p);
	else if (rc == 0)
		end_round(s);
	if (rc)
		put_off(s, rc);
	buf_fini(&p.bytes);
	buf_fini(&p.rows);
}

/* On the committer's thread. */
static void piece_is_durable(struct state *s, int64_t offset)
{
	log_enter_begin(s->log);
	s->round.entered = false;
	if (s->round.from < 0)
		s->round.from = offset;
	go_on(s);
	log_enter_end(s->log);
}

void state_tidy(struct state *s)
{
	uint64_t rows;
	int64_t length;

	if (s->round.entered)
		return;
	length = length_of(s);
	if (length < s->look_at)
		return;
	if (s->round.begun) {
		go_on(s);
		return;
	}
	/* Counting looks at every row: not again before there may be more than twice as many records as now rows. */
	if (!count_all(s, &rows))
		return;
	s->look_at = 2 * (int64_t)rows + s->slack;
	if (rows == 0 || length < s->look_at)
		return;
	s->round.begun = true;
	s->round.from = -1;
	s->round.at = (struct place){0};
	go_on(s);
}
