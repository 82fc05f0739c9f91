/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rows that are new or changed since the last poll, by one or several columns that grow, and none lost that was
 * committed late. docs/internals/sql.md derives it; in short:
 *
 * A poll sees the rows of the transactions that had committed. A row that it did not see comes from a
 * transaction that was still open then, or began later. So each poll notes the database's own horizon: every
 * transaction below it had ended (PostgreSQL: the snapshot's xmin, compared with the xmin of each row; MariaDB:
 * when the oldest open transaction began; elsewhere: the time of `late_commits` ago). The next poll takes the rows
 * of transactions at or past the last horizon, whatever their cursor's value; some of them it has seen, and
 * their idempotency key says so.
 *
 * To find these by the index, the cursor has a lower bound: the greatest value that was visible when all
 * transactions that are open now, or not yet begun, had not begun. Values are given within a
 * transaction, so theirs are not lower. For that, polls keep a short history of pairs: where the transactions
 * stood, and the greatest value of before; on PostgreSQL a pair is made when all who were open at that value have ended
 * (mark.h).
 *
 * A scan runs in one snapshot, ordered by cursor and key, and is marked where the batches end. When it is
 * interrupted the next goes on behind the mark in a new snapshot and keeps the first one's horizon (or takes its own, which
 * is lower where the database has crashed), so that what appeared before the mark meanwhile is found by the poll after it.
 */
#include "base/mem.h"
#include "connect/sql/question.h"
#include "json/json_write.h"

struct state {
	struct sql_mark mark;
	struct sql_reader reader;
	struct buf written; /* as it was marked last: what the machinery should come back with */
	uint64_t closed; /* of the question before: what it told about transactions, every row read since has seen */
	struct buf print; /* of the window when it was scanned last, and the session that told it */
	uint64_t print_serial;
	/* Places of the mark's columns that fingerprints are made of: as many as the table has for each of the formers, and for those of now. */
	uint32_t *printed, printed_count[SQL_FORMERS_MAX + 1];
};

/* ---- a scan ---- */

/* Which columns the row may have been stored with: their number among the formers, or one more. */
static void put_former(struct buf *b, const struct sql_source *s, const struct sql_mark *m)
{
	if (!m->former_count)
		return;
	(void)buf_append_str(b, ", CASE");
	for (uint32_t i = 0; i < m->former_count; i++) {
		(void)buf_append_str(b, " WHEN ");
		sql_put_before(b, s, s->table.cursor, &m->formers[i].until, s->table.cursor_count, true);
		(void)buf_appendf(b, " THEN %u", i);
	}
	(void)buf_appendf(b, " ELSE %u END", m->former_count);
}

static void put_scan(struct buf *b, const struct sql_source *s, const struct state *st)
{
	const struct sql_table *t = &s->table;
	const struct sql_reader *r = &st->reader;

	(void)buf_appendf(b, "SELECT %s", t->asked);
	if (t->has_xid)
		(void)buf_append_str(b, ", xmin::text::bigint");
	else
		put_former(b, s, &st->mark);
	(void)buf_appendf(b, " FROM %s WHERE ", t->from);
	sql_put_conditions(b, s, &st->mark);
	if (r->has_place) {
		uint32_t columns[2 * SQL_KEY_MAX];
		(void)sql_order(t, columns);
		(void)buf_append_str(b, " AND ");
		sql_put_after(b, s, columns, &r->place, r->place.count, false);
	}
	sql_put_order(b, s);
}

/* Of the very snapshot that the rows of the reader come from. */
static int ask_horizon(struct sql_source *s, struct state *st, struct arena *arena, uint64_t *horizon,
		       struct sql_failure *why)
{
	struct sql_row row;
	int rc = sql_ask_one(s->driver, st->reader.held->session,
			     "SELECT txid_snapshot_xmin(txid_current_snapshot())", arena, &row, why);

	if (rc < 0)
		return rc;
	if (rc == 0 || !sql_read_number(row.values[0], horizon))
		return sql_failed(why, ERR_PROTOCOL, SOURCE_TRANSIENT, true, "",
				  "the answer about transactions cannot be read");
	return 0;
}

/* Which columns fingerprints are made of, by the mark: it does not change within a scan. */
static int find_printed(struct sql_source *s, struct state *st)
{
	const struct sql_table *t = &s->table;
	const struct sql_mark *m = &st->mark;

	mem_free(st->printed);
	st->printed = mem_alloc((t->count + 1) * (m->former_count + 1) * sizeof(*st->printed));
	if (!st->printed)
		return ERR_NOMEM;
	for (uint32_t i = 0; i <= m->former_count; i++)
		st->printed_count[i] = sql_find_columns(
			t, buf_slice(i < m->former_count ? &m->formers[i].columns : &m->columns),
			st->printed + i * t->count);
	return 0;
}

/* A new scan is of the columns that there are. */
static int note_columns(struct sql_source *s, struct state *st, const struct sql_question *asked)
{
	struct buf b;
	int rc;

	if (s->table.has_xid)
		return 0;
	buf_init(&b, SQL_COLUMNS_MAX * 4);
	sql_put_columns(&b, &s->table);
	rc = buf_status(&b) ? ERR_NOMEM :
			      sql_mark_columns(&st->mark, buf_slice(&b), &asked->top, asked->stood);
	buf_fini(&b);
	return rc;
}

/*
 * The horizon of a scan that begins. PostgreSQL tells it of the snapshot; elsewhere it is the question's, which was
 * asked before the snapshot was taken.
 */
static int begin_scan(struct sql_source *s, struct state *st, const struct sql_question *asked,
		      struct arena *arena, struct sql_failure *why)
{
	uint64_t horizon = asked->horizon;
	int rc = s->table.has_xid ? ask_horizon(s, st, arena, &horizon, why) : 0;

	if (rc)
		return rc;
	if (note_columns(s, st, asked))
		return sql_no_memory(why);
	st->mark.scanning = true;
	st->reader.has_place = false;
	st->mark.scan_horizon = horizon;
	buf_clear(&st->print);
	(void)buf_append_slice(&st->print, asked->print);
	st->print_serial = buf_status(&st->print) ? 0 : st->reader.held->serial;
	return 0;
}

/*
 * A scan that was interrupted goes on in another snapshot. Where the database has crashed meanwhile, transactions may be open
 * whose numbers were given before, to others that had ended: what the first snapshot told does not hold of them.
 */
static int resume_scan(struct sql_source *s, struct state *st, struct arena *arena, struct sql_failure *why)
{
	uint64_t horizon = st->mark.scan_horizon;
	int rc = s->table.has_xid ? ask_horizon(s, st, arena, &horizon, why) : 0;

	if (rc == 0 && horizon < st->mark.scan_horizon)
		st->mark.scan_horizon = horizon;
	return rc;
}

/* Was the window as it is now scanned already? Nothing is taken then. */
static bool is_nothing_new(const struct sql_source *s, const struct state *st, const struct sql_question *q)
{
	if (!q->has_top)
		return true;
	if (s->table.has_xid)
		return !q->some;
	return slice_eq(buf_slice(&st->print), q->print) &&
	       (s->driver->dialect == SQL_SQLITE ? st->print_serial == st->reader.held->serial :
						   st->print_serial != 0);
}

/*
 * Where rows tell who wrote them: the horizon that a question told, but not past the newest transaction that a row was
 * seen of. A transaction that was rolled back leaves nothing that must reach the disk, so after a crash PostgreSQL gives its
 * number, and those behind it, once more. No row between the two was seen, so nothing is read twice for it.
 */
static uint64_t certain(const struct sql_source *s, const struct sql_mark *m, uint64_t horizon)
{
	return s->table.has_xid && m->ceiling < horizon ? m->ceiling : horizon;
}

/* Nothing was stored, so nothing need be: the mark that is stored says the same, and would read a little more. */
static int end_idle(struct sql_source *s, struct state *st, const struct sql_question *q,
		    struct sql_failure *why)
{
	int rc;

	st->mark.horizon = certain(s, &st->mark, q->horizon);
	sql_give(s, st->reader.held, true);
	st->reader.held = NULL;
	rc = sql_mark_raise(&st->mark, st->closed);
	st->closed = st->mark.horizon;
	return rc ? sql_no_memory(why) : 0;
}

/* A pair for the history, or what will be one. */
static int remember(const struct sql_source *s, struct sql_mark *m, const struct sql_question *q)
{
	const struct sql_point *top = q->has_top ? &q->top : NULL;

	return s->table.has_xid ? sql_mark_await(m, q->stood, top, q->open) :
				  sql_mark_remember(m, q->stood, top);
}

/* A new scan, or one that was interrupted: 1 where rows are on their way, 0 where there are none. */
static int ask_and_open(struct sql_source *s, struct state *st, struct source_batch *batch,
			struct arena *arena, struct sql_failure *why)
{
	struct sql_session *session = st->reader.held->session;
	struct sql_question q = {0};
	struct buf b;
	int rc = 0;

	if (!st->mark.scanning) {
		batch->call.requests++;
		rc = sql_question_ask(s, session, &st->mark, arena, &q, why);
		if (!rc && q.durable > st->mark.ceiling)
			st->mark.ceiling = q.durable;
		if (!rc && is_nothing_new(s, st, &q)) {
			rc = end_idle(
				s, st, &q,
				why); /* first: a pair of this question says what only a later one has seen */
			return !rc && remember(s, &st->mark, &q) ? sql_no_memory(why) : rc;
		}
		if (!rc && remember(s, &st->mark, &q))
			rc = sql_no_memory(why);
	}
	batch->call.requests++;
	if (!rc)
		rc = sql_reader_begin(s, &st->reader, why);
	if (!rc)
		rc = st->mark.scanning ? resume_scan(s, st, arena, why) : begin_scan(s, st, &q, arena, why);
	if (!rc && find_printed(s, st))
		rc = sql_no_memory(why);
	if (rc)
		return rc;
	buf_init(&b, SQL_STATEMENT_MAX);
	put_scan(&b, s, st);
	rc = sql_reader_open(s, &st->reader, &b, s->table.has_xid || st->mark.former_count, why);
	buf_fini(&b);
	return rc ? rc : 1;
}

static int begin_poll(struct sql_source *s, struct source_part *part, struct state *st,
		      struct source_batch *batch, struct sql_failure *why)
{
	struct arena arena;
	int rc = 0;

	st->reader.held = sql_take(s, part, why);
	if (!st->reader.held)
		return ERR_IO;
	arena_init(&arena, 4096, 4u << 20);
	rc = sql_learn_table(s, st->reader.held->session, why);
	if (!rc && !s->table.key_count)
		rc = sql_failed(why, ERR_BAD_CONFIG, SOURCE_FINAL, false, "",
				"there is no primary key: name the columns that make a row unique with `key`");
	if (!rc)
		rc = ask_and_open(s, st, batch, &arena, why);
	arena_fini(&arena);
	return rc;
}

/* ---- rows ---- */

/* The whole number of the transaction that wrote a row: the one of its low 32 bits that is nearest to the horizon. */
static uint64_t whole_xid(uint64_t low, uint64_t near)
{
	return near + (uint64_t)(int64_t)(int32_t)((uint32_t)low - (uint32_t)near);
}

/*
 * Rows that a poll before this one may have brought, or a later one may, get a key that says which version of which row they are.
 * What the first scan of all reads of transactions that had ended needs none: no other poll asks for it.
 */
static struct slice id_of(struct sql_source *s, void *ctx, const struct sql_row *row, struct sql_row_id *id)
{
	struct state *st = ctx;
	const struct sql_table *t = &s->table;
	uint8_t print[16];
	uint64_t xid;

	if (!t->has_xid) {
		uint64_t which = 0;
		if (st->mark.former_count &&
		    (!sql_read_number(row->values[sql_extra(t)], &which) || which > st->mark.former_count))
			which = st->mark.former_count;
		sql_row_print(row, st->printed + which * t->count, st->printed_count[which], print);
		return sql_row_id(s, row, t->key, t->key_count, slice_make(print, sizeof(print)), id);
	}
	if (!sql_read_number(row->values[sql_extra(t)], &xid))
		return slice_null();
	xid = whole_xid(xid, st->mark.scan_horizon);
	if (xid >= st->mark.ceiling)
		st->mark.ceiling = xid + 1;
	if (!st->mark.horizon && xid < st->mark.scan_horizon)
		return slice_null();
	return sql_row_id(s, row, t->key, t->key_count, row->values[sql_extra(t)], id);
}

static int end_scan(struct sql_source *s, struct state *st)
{
	struct sql_mark *m = &st->mark;

	sql_reader_close(s, &st->reader, true);
	/* As little as the horizon: a number past the ceiling may be that of a transaction to come. */
	m->horizon = st->closed = certain(s, m, m->scan_horizon);
	m->scanning = st->reader.has_place = false;
	return sql_mark_raise(m, st->closed);
}

/* ---- pulls ---- */

static struct state *state_new(struct source_part *part)
{
	struct state *st = mem_zalloc(1, sizeof(*st));

	if (!st)
		return NULL;
	sql_mark_init(&st->mark);
	sql_reader_init(&st->reader);
	buf_init(&st->written, SOURCE_CHECKPOINT_MAX);
	buf_init(&st->print, 4096);
	part->state = st;
	return st;
}

static void state_free(struct sql_source *s, struct state *st)
{
	sql_reader_fini(s, &st->reader);
	sql_mark_fini(&st->mark);
	buf_fini(&st->written);
	buf_fini(&st->print);
	mem_free(st->printed);
	mem_free(st);
}

static void incremental_drop(struct sql_source *s, struct source_part *part)
{
	if (part->state)
		state_free(s, part->state);
	part->state = NULL;
}

static const struct sql_reader *incremental_reader(const struct source_part *part)
{
	return &((const struct state *)part->state)->reader;
}

/* Does the mark in memory stand where the machinery stands? A batch that was not entered took it too far. */
static bool is_current(const struct state *st, const struct source_part *part)
{
	return part->checkpoint.bytes.ptr ? slice_eq(part->checkpoint.bytes, buf_slice(&st->written)) :
					    st->written.len == 0;
}

static struct state *state_of(struct sql_source *s, struct source_part *part, struct source_batch *batch,
			      enum source_end *end)
{
	struct state *st = part->state;

	if (st && is_current(st, part))
		return st;
	incremental_drop(s, part);
	st = state_new(part);
	if (!st) {
		*end = source_fail(&batch->call, SOURCE_TRANSIENT, "out of memory");
		return NULL;
	}
	if (!part->checkpoint.bytes.ptr)
		return st;
	if (part->checkpoint.version == SQL_MARK_VERSION &&
	    sql_mark_read(&st->mark, &st->reader, part->checkpoint.bytes) &&
	    buf_append_slice(&st->written, part->checkpoint.bytes) == 0)
		return st;
	incremental_drop(s, part);
	*end = source_fail(&batch->call, SOURCE_FINAL,
			   "the checkpoint is of version %u, which this weir does not read",
			   part->checkpoint.version);
	return NULL;
}

static void put_mark(struct state *st, struct source_batch *batch)
{
	if (sql_mark_write(&st->mark, &st->reader, &st->written) == 0)
		(void)source_mark(batch, SQL_MARK_VERSION, buf_slice(&st->written));
}

static enum source_end incremental_pull(struct sql_source *s, struct source_part *part,
					struct source_batch *batch)
{
	struct sql_failure why = {0};
	enum source_end end = SOURCE_FAILED;
	struct state *st = state_of(s, part, batch, &end);
	uint32_t before;
	int rc = 1;

	if (!st)
		return end;
	if (!st->reader.open)
		rc = begin_poll(s, part, st, batch, &why);
	if (rc == 0) {
		batch->unchanged = true;
		return SOURCE_IDLE;
	}
	before = batch->record_count + batch->dead_count;
	if (rc > 0)
		rc = sql_reader_take(s, &st->reader, batch, id_of, st, &why);
	if (rc == 0 && end_scan(s, st))
		rc = sql_no_memory(&why);
	if (rc >= 0 || batch->record_count + batch->dead_count > before)
		put_mark(st, batch);
	if (rc < 0) {
		sql_reader_close(s, &st->reader, !why.lost);
		return sql_fail(&batch->call, s, "reading what is new", &why);
	}
	return rc ? SOURCE_MORE : SOURCE_IDLE;
}

/* ---- showing ---- */

static void put_values(struct buf *json, const char *name, const struct sql_point *p)
{
	json_put_name(json, name);
	json_put_open(json, '[');
	for (uint32_t i = 0; i < p->count; i++) {
		json_put_item(json);
		if (p->values[i].ptr)
			json_put_string_lossy(json, p->values[i]);
		else
			json_put_null(json);
	}
	json_put_close(json, ']');
}

static void incremental_show(uint8_t version, struct slice checkpoint, struct buf *json)
{
	struct sql_reader r;
	struct sql_mark m;

	(void)version;
	sql_mark_init(&m);
	sql_reader_init(&r);
	json_put_open(json, '{');
	if (sql_mark_read(&m, &r, checkpoint)) {
		json_put_member_u64(json, "horizon", m.horizon);
		if (m.has_low)
			put_values(json, "from", &m.low);
		if (m.past_count)
			put_values(json, "greatest", &m.past[m.past_count - 1].top);
		json_put_member_bool(json, "scanning", m.scanning);
		if (r.has_place)
			put_values(json, "at", &r.place);
	}
	json_put_close(json, '}');
	sql_mark_fini(&m);
	buf_fini(&r.place_memory);
}

const struct sql_mode_ops sql_incremental = {
	.pull = incremental_pull,
	.drop = incremental_drop,
	.reader = incremental_reader,
	.show = incremental_show,
};
