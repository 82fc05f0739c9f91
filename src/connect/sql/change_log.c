/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A table of pending changes: rows are taken in the order of their key, and deleted or marked when they are durable
 * here. Nothing is skipped, whoever commits late, as there is no position: what stands in the table is pending.
 *
 * The checkpoint names the rows of the last batch, each with a fingerprint of all its values. Settling looks at them
 * again under a lock and touches only those that are still the same: a row that was changed since, or that was
 * deleted and made anew with its old key, is a new change and comes with a later batch. So doing it twice does no harm.
 * The checkpoint begins with the names of the columns that the fingerprints are made of, as others may be there by then.
 */
#include "base/mem.h"
#include "base/wire.h"
#include "connect/sql/sql.h"
#include "json/json_write.h"

#define VERSION 5u
#define UNNAMED_VERSION 3u /* fingerprints of all columns, as they were then */
#define STATEMENT_MAX (4u << 20)
#define PRINT_BYTES 16u
#define CHUNK 200u                                     /* rows a statement of settling */
#define CHECKPOINT_MAX (SOURCE_CHECKPOINT_MAX - 4096u) /* room for one more key */

struct entry {
	struct sql_point key;
	const uint8_t *print;
};

/* ---- taking ---- */

static void put_question(struct buf *b, const struct sql_source *s, uint32_t most)
{
	(void)buf_appendf(b, "SELECT %s FROM %s", s->table.asked, s->table.from);
	sql_put_where(b, s, " WHERE ");
	sql_put_order(b, s);
	(void)buf_appendf(b, " LIMIT %u", most);
}

/* How many columns there are, and their names. */
static void put_head(const struct sql_source *s, struct buf *pending)
{
	uint8_t count[2];

	wire_put_u16(count, (uint16_t)s->table.count);
	(void)buf_append(pending, count, sizeof(count));
	sql_put_columns(pending, &s->table);
}

static struct slice read_head(struct wire_reader *r, uint8_t version)
{
	return version == VERSION ? wire_bytes(r, wire_u16(r) * (size_t)4) : slice_null();
}

static int remember(const struct sql_source *s, const struct sql_row *row, struct buf *pending)
{
	struct sql_point key = {0};
	uint8_t print[PRINT_BYTES];

	for (uint32_t i = 0; i < s->table.key_count; i++)
		sql_point_add(&key, row, s->table.columns, s->table.key[i]);
	if (pending->len == 0)
		put_head(s, pending);
	sql_row_print(row, NULL, s->table.count, print);
	sql_point_put(pending, &key);
	(void)buf_append(pending, print, sizeof(print));
	return buf_status(pending);
}

static int take_rows(struct sql_source *s, struct sql_session *session, struct source_batch *batch,
		     struct buf *pending, struct sql_failure *why)
{
	const struct sql_table *t = &s->table;
	struct sql_writer w;
	struct sql_row row;
	int rc = sql_writer_init(&w, s, t->columns, t->shown);

	if (rc)
		return sql_failed(why, rc, SOURCE_TRANSIENT, false, "", "out of memory");
	sql_writer_begin(&w, batch);
	rc = 1;
	while (!source_full(batch) && !source_cancelled(&batch->call) && pending->len < CHECKPOINT_MAX) {
		rc = s->driver->next(session, &row, why);
		if (rc <= 0)
			break;
		sql_complete_row(t, &row);
		rc = sql_write_row(&w, &row, t->key, t->key_count, slice_null());
		if (!rc)
			rc = remember(s, &row, pending);
		if (rc) {
			rc = sql_failed(why, rc, SOURCE_TRANSIENT, false, "", "the batch takes no more");
			break;
		}
		rc = 1;
	}
	sql_writer_fini(&w);
	return rc;
}

static int take(struct sql_source *s, struct sql_session *session, struct source_batch *batch,
		struct buf *pending, struct sql_failure *why)
{
	const char *text;
	struct buf b;
	int rc = sql_learn_table(s, session, why);

	if (!rc && !s->table.key_count)
		rc = sql_failed(why, ERR_BAD_CONFIG, SOURCE_FINAL, false, "",
				"there is no primary key: name the columns that make a row unique with `key`");
	if (rc)
		return rc;
	buf_init(&b, STATEMENT_MAX);
	put_question(&b, s, batch->records_max);
	text = sql_text(&b);
	batch->call.requests++;
	rc = text ? s->driver->ask(session, text, false, why) : sql_no_memory(why);
	buf_fini(&b);
	if (!rc)
		rc = sql_check_columns(s, session, 0, why);
	return rc ? rc : take_rows(s, session, batch, pending, why);
}

static enum source_end change_log_pull(struct sql_source *s, struct source_part *part,
				       struct source_batch *batch)
{
	struct sql_failure why = {0};
	struct sql_held *held = sql_take(s, part, &why);
	uint32_t taken;
	struct buf pending;
	int rc = ERR_IO;

	buf_init(&pending, SOURCE_CHECKPOINT_MAX);
	if (held)
		rc = take(s, held->session, batch, &pending, &why);
	if (held)
		sql_give(s, held, s->driver->stop(held->session) == 0 && !why.lost);
	taken = batch->record_count + batch->dead_count;
	/* An empty mark after a full one: what was settled is not looked for again at a start. */
	if (taken || part->checkpoint.bytes.len)
		(void)source_mark(batch, VERSION, pending.ptr ? buf_slice(&pending) : slice_make("", 0));
	buf_fini(&pending);
	batch->settle = taken && !batch->test;
	if (rc < 0)
		return sql_fail(&batch->call, s, "reading the changes", &why);
	batch->unchanged = !taken;
	return taken && (rc > 0 || taken == batch->records_max) ? SOURCE_MORE : SOURCE_IDLE;
}

/* ---- settling ---- */

static void put_key_is(struct buf *b, const struct sql_source *s, const struct sql_point *key)
{
	(void)buf_append_byte(b, '(');
	for (uint32_t i = 0; i < key->count; i++) {
		if (i)
			(void)buf_append_str(b, " AND ");
		sql_put_names(b, s, &s->table.key[i], 1, " = ");
		sql_put_literal(b, s->driver, key->kinds[i], key->values[i]);
	}
	(void)buf_append_byte(b, ')');
}

static void put_any(struct buf *b, const struct sql_source *s, const struct entry *entries,
		    const bool *wanted, uint32_t count)
{
	bool first = true;

	for (uint32_t i = 0; i < count; i++) {
		if (wanted && !wanted[i])
			continue;
		if (!first)
			(void)buf_append_str(b, " OR ");
		first = false;
		put_key_is(b, s, &entries[i].key);
	}
}

static bool is_key_of(const struct sql_source *s, const struct sql_row *row, const struct sql_point *key)
{
	for (uint32_t i = 0; i < key->count; i++) {
		struct slice v = row->values[s->table.key[i]];
		if (!v.ptr != !key->values[i].ptr || !slice_eq(v, key->values[i]))
			return false;
	}
	return true;
}

/* What is being settled. */
struct settling {
	struct wire_reader left;
	uint32_t *columns; /* that fingerprints are made of */
	uint32_t column_count;
	struct entry entries[CHUNK];
};

/* Which of them stand in the table as they were taken; locked until the transaction ends. */
static int find_same(struct sql_source *s, struct sql_session *session, const struct settling *what,
		     bool *same, uint32_t count, struct sql_failure *why)
{
	const struct entry *entries = what->entries;
	uint8_t print[PRINT_BYTES];
	struct sql_row row;
	const char *text;
	struct buf b;
	int rc;

	buf_init(&b, STATEMENT_MAX);
	(void)buf_appendf(&b, "SELECT %s FROM %s WHERE ", s->table.list, s->table.from);
	put_any(&b, s, entries, NULL, count);
	if (s->driver->dialect != SQL_SQLITE)
		(void)buf_append_str(&b, " FOR UPDATE");
	text = sql_text(&b);
	rc = text ? s->driver->ask(session, text, false, why) : sql_no_memory(why);
	buf_fini(&b);
	while (!rc && (rc = s->driver->next(session, &row, why)) > 0) {
		rc = 0;
		sql_row_print(&row, what->columns, what->column_count, print);
		for (uint32_t i = 0; i < count; i++)
			if (is_key_of(s, &row, &entries[i].key) &&
			    memcmp(entries[i].print, print, sizeof(print)) == 0)
				same[i] = true;
	}
	return rc;
}

static int settle_chunk(struct sql_source *s, struct sql_session *session, const struct settling *what,
			uint32_t count, struct sql_failure *why)
{
	bool same[CHUNK] = {false}, some = false;
	const char *text;
	struct buf b;
	int rc = find_same(s, session, what, same, count, why);

	for (uint32_t i = 0; i < count; i++)
		some = some || same[i];
	if (rc || !some)
		return rc;
	buf_init(&b, STATEMENT_MAX);
	if (s->settings->after == SQL_MARK)
		(void)buf_appendf(&b, "UPDATE %s SET %s WHERE ", s->table.from, s->settings->mark);
	else
		(void)buf_appendf(&b, "DELETE FROM %s WHERE ", s->table.from);
	put_any(&b, s, what->entries, same, count);
	text = sql_text(&b);
	rc = text ? s->driver->run(session, text, NULL, why) : sql_no_memory(why);
	buf_fini(&b);
	return rc;
}

/* The next entries of the checkpoint: their count, or ERR_CORRUPT. */
static int read_entries(const struct sql_source *s, struct settling *what, struct sql_failure *why)
{
	struct wire_reader *r = &what->left;
	int n = 0;

	for (; n < (int)CHUNK && wire_left(r); n++) {
		struct entry *e = &what->entries[n];
		bool ok = sql_point_read(r, &e->key);
		e->print = wire_bytes(r, PRINT_BYTES).ptr;
		if (!ok || r->bad || e->key.count != s->table.key_count)
			return sql_failed(
				why, ERR_CORRUPT, SOURCE_FINAL, false, "",
				"the checkpoint names rows by another key than the table has: reset the source");
	}
	return n;
}

/* A transaction a chunk: locks are short, and what was settled stays so. */
static int settle_chunks(struct sql_source *s, struct sql_session *session, struct settling *what,
			 struct sql_failure *why)
{
	const char *begin = s->driver->dialect == SQL_SQLITE ? "BEGIN IMMEDIATE" : "BEGIN";
	int rc = 0;

	while (!rc && wire_left(&what->left)) {
		int n = read_entries(s, what, why);
		rc = n < 0 ? n : s->driver->run(session, begin, NULL, why);
		if (!rc)
			rc = settle_chunk(s, session, what, (uint32_t)n, why);
		if (!rc)
			rc = s->driver->run(session, "COMMIT", NULL, why);
	}
	return rc;
}

static int settle_all(struct sql_source *s, struct sql_session *session, struct source_checkpoint checkpoint,
		      struct sql_failure *why)
{
	struct settling *what = mem_zalloc(1, sizeof(*what));
	struct slice names;
	int rc = ERR_NOMEM;

	if (!what)
		return sql_failed(why, rc, SOURCE_TRANSIENT, false, "", "out of memory");
	what->left = wire_reader_make(checkpoint.bytes);
	names = read_head(&what->left, checkpoint.version);
	what->column_count = s->table.count;
	if (names.ptr) {
		what->columns = mem_alloc((s->table.count + 1) * sizeof(*what->columns));
		if (what->columns)
			what->column_count = sql_find_columns(&s->table, names, what->columns);
	}
	rc = names.ptr && !what->columns ? sql_no_memory(why) : settle_chunks(s, session, what, why);
	mem_free(what->columns);
	mem_free(what);
	return rc;
}

static enum source_end change_log_settle(struct sql_source *s, struct source_part *part,
					 struct source_settle *settle)
{
	struct sql_failure why = {0}, ignored;
	struct sql_held *held;
	int rc;

	if (settle->checkpoint.bytes.len == 0)
		return SOURCE_IDLE;
	if (settle->checkpoint.version != VERSION && settle->checkpoint.version != UNNAMED_VERSION)
		return source_fail(&settle->call, SOURCE_FINAL,
				   "the checkpoint is none that this weir reads");
	held = sql_take(s, part, &why);
	if (!held)
		return sql_fail(&settle->call, s, "connecting", &why);
	settle->call.requests++;
	rc = sql_learn_table(s, held->session, &why);
	if (!rc)
		rc = settle_all(s, held->session, settle->checkpoint, &why);
	if (rc && !why.lost)
		why.lost = s->driver->stop(held->session) ||
			   s->driver->run(held->session, "ROLLBACK", NULL, &ignored);
	sql_give(s, held, !why.lost);
	return rc ? sql_fail(&settle->call, s,
			     s->settings->after == SQL_MARK ? "marking what was taken" :
							      "deleting what was taken",
			     &why) :
		    SOURCE_IDLE;
}

static void change_log_drop(struct sql_source *s, struct source_part *part)
{
	(void)s, (void)part;
}

static void change_log_show(uint8_t version, struct slice checkpoint, struct buf *json)
{
	struct wire_reader r = wire_reader_make(checkpoint);
	uint64_t n = 0;
	struct sql_point key;

	if (checkpoint.len)
		(void)read_head(&r, version);
	while (wire_left(&r) && sql_point_read(&r, &key)) {
		(void)wire_bytes(&r, PRINT_BYTES);
		n += !r.bad;
	}
	json_put_open(json, '{');
	json_put_member_u64(json, "taken_last", n);
	json_put_close(json, '}');
}

const struct sql_mode_ops sql_change_log = {
	.pull = change_log_pull,
	.settle = change_log_settle,
	.drop = change_log_drop,
	.show = change_log_show,
};
