/* SPDX-License-Identifier: Apache-2.0 */
#include "connect/sql/sql.h"

void sql_reader_init(struct sql_reader *r)
{
	memset(r, 0, sizeof(*r));
	buf_init(&r->place_memory, SOURCE_CHECKPOINT_MAX);
}

void sql_reader_close(struct sql_source *s, struct sql_reader *r, bool usable)
{
	struct sql_failure why;

	if (!r->held)
		return;
	if (r->open)
		usable = usable && s->driver->stop(r->held->session) == 0;
	usable = usable && s->driver->run(r->held->session, "ROLLBACK", NULL, &why) == 0;
	sql_give(s, r->held, usable);
	r->held = NULL;
	r->open = false;
}

void sql_reader_fini(struct sql_source *s, struct sql_reader *r)
{
	sql_reader_close(s, r, true);
	if (r->writer_ready)
		sql_writer_fini(&r->writer);
	buf_fini(&r->place_memory);
}

int sql_reader_begin(struct sql_source *s, struct sql_reader *r, struct sql_failure *why)
{
	static const char *const texts[] = {
		[SQL_POSTGRESQL] = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
		[SQL_MARIADB] = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
		[SQL_SQLITE] = "BEGIN",
	};

	struct buf b;
	const char *text;
	int rc;

	if (!s->table.lockable)
		return s->driver->run(r->held->session, texts[s->driver->dialect], NULL, why);
	/* A table that is written anew between a snapshot and the statement that reads it would be empty: this comes before the snapshot. */
	buf_init(&b, 4096);
	(void)buf_appendf(&b, "%s; LOCK TABLE %s IN ACCESS SHARE MODE", texts[s->driver->dialect],
			  s->table.from);
	text = sql_text(&b);
	rc = text ? s->driver->run(r->held->session, text, NULL, why) : sql_no_memory(why);
	buf_fini(&b);
	return rc;
}

int sql_reader_open(struct sql_source *s, struct sql_reader *r, struct buf *text, uint32_t extras,
		    struct sql_failure *why)
{
	const char *statement = sql_text(text);
	int rc = statement ? s->driver->ask(r->held->session, statement, true, why) :
			     sql_failed(why, buf_status(text), SOURCE_FINAL, false, "",
					"the statement is too long");

	if (!rc)
		rc = sql_check_columns(s, r->held->session, extras, why);
	r->open = !rc;
	r->order_count = sql_order(&s->table, r->order);
	if (!rc && !r->writer_ready) {
		rc = sql_writer_init(&r->writer, s, s->table.columns, s->table.shown);
		r->writer_ready = !rc;
		r->generation = s->generation;
		if (rc)
			(void)sql_failed(why, rc, SOURCE_TRANSIENT, false, "", "out of memory");
	}
	return rc;
}

static int keep_place(struct sql_source *s, struct sql_reader *r, const struct sql_row *row)
{
	if (!r->order_count)
		return 0;
	r->place.count = 0;
	for (uint32_t i = 0; i < r->order_count; i++)
		sql_point_add(&r->place, row, s->table.columns, r->order[i]);
	r->has_place = true;
	return sql_point_keep(&r->place, &r->place_memory);
}

int sql_reader_take(struct sql_source *s, struct sql_reader *r, struct source_batch *batch, sql_id_fn *id,
		    void *ctx, struct sql_failure *why)
{
	const struct sql_table *t = &s->table;
	struct sql_row_id text;
	struct sql_row row;
	int rc = 0;

	sql_writer_begin(&r->writer, batch);
	while (!source_full(batch) && !source_cancelled(&batch->call)) {
		rc = s->driver->next(r->held->session, &row, why);
		if (rc <= 0)
			return rc;
		sql_complete_row(t, &row);
		rc = sql_write_row(&r->writer, &row, t->key, t->key_count,
				   id ? id(s, ctx, &row, &text) : slice_null());
		if (!rc)
			rc = keep_place(s, r, &row);
		if (rc)
			return sql_failed(why, rc, SOURCE_TRANSIENT, false, "", "the batch takes no more");
	}
	return 1;
}
