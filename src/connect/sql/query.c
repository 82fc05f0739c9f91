/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any SELECT, run by the schedule. With `cursor` its parameter :cursor is the greatest value that a whole run has brought, and
 * the rows are ordered by it here, so that a run that was interrupted goes on behind its last row. With `key` alone they are ordered
 * by the key. Without either a run that is interrupted begins again.
 */
#include <stdio.h>
#include <time.h>

#include "base/mem.h"
#include "base/wire.h"
#include "connect/sql/sql.h"
#include "json/json_write.h"

#define VERSION 4u

/* The checkpoint, decoded. */
struct run {
	struct sql_point cursor; /* of the last whole run; count 0: there was none */
	int64_t last_ms, now_ms; /* when the last whole run began, and the present one; 0: none */
};

struct state {
	struct sql_progress at; /* its memory is the cursor's */
	struct run run;
};

/* ---- marks ---- */

static int write_mark(struct state *st)
{
	const struct sql_reader *r = &st->at.reader;
	uint8_t bytes[8];

	buf_clear(&st->at.written);
	sql_point_put(&st->at.written, &st->run.cursor);
	wire_put_u64(bytes, (uint64_t)st->run.last_ms);
	(void)buf_append(&st->at.written, bytes, sizeof(bytes));
	wire_put_u64(bytes, (uint64_t)st->run.now_ms);
	(void)buf_append(&st->at.written, bytes, sizeof(bytes));
	sql_point_put(&st->at.written, r->has_place && st->run.now_ms ? &r->place : &(struct sql_point){0});
	return buf_status(&st->at.written);
}

static bool read_mark(struct state *st, struct slice bytes)
{
	struct wire_reader r = wire_reader_make(bytes);

	if (!sql_point_read(&r, &st->run.cursor) || sql_point_keep(&st->run.cursor, &st->at.memory))
		return false;
	st->run.last_ms = (int64_t)wire_u64(&r);
	st->run.now_ms = (int64_t)wire_u64(&r);
	if (!sql_point_read(&r, &st->at.reader.place) ||
	    sql_point_keep(&st->at.reader.place, &st->at.reader.place_memory))
		return false;
	st->at.reader.has_place = st->at.reader.place.count > 0;
	return !r.bad && wire_left(&r) == 0;
}

static bool read_checkpoint(struct sql_progress *p, struct source_checkpoint checkpoint)
{
	return checkpoint.version == VERSION && read_mark((struct state *)p, checkpoint.bytes);
}

static struct state *state_of(struct sql_source *s, struct source_part *part)
{
	return (struct state *)sql_progress_of(s, part, sizeof(struct state), read_checkpoint);
}

/* ---- the statement ---- */

static struct slice time_text(int64_t ms, char text[40])
{
	time_t seconds = (time_t)(ms / 1000);
	struct tm t;

	if (!ms || !gmtime_r(&seconds, &t))
		return slice_null();
	return slice_make(text, (size_t)snprintf(text, 40, "%04d-%02d-%02d %02d:%02d:%02d.%03d",
						 t.tm_year + 1900, t.tm_mon + 1, t.tm_mday, t.tm_hour,
						 t.tm_min, t.tm_sec, (int)(ms % 1000)));
}

/* The user's text with its parameters, as a table to select from. */
static int put_from(struct buf *b, const struct sql_source *s, const struct state *st,
		    struct sql_failure *why)
{
	const struct source_window *w = s->setup.window;
	const struct run *run = &st->run;
	char now[40], last[40];
	struct sql_param params[] = {
		{"cursor", SQL_TEXT, slice_str(s->settings->start)},
		{"last_run", SQL_TEXT, time_text(run->last_ms, last)},
		{"now", SQL_TEXT, time_text(run->now_ms, now)},
		{"from", SQL_TEXT, w ? w->from : slice_null()},
		{"to", SQL_TEXT, w ? w->to : slice_null()},
	};
	int rc;

	if (run->cursor.count) {
		params[0].kind = run->cursor.kinds[0];
		params[0].value = run->cursor.values[0];
	}
	(void)buf_append_byte(b, '(');
	rc = sql_put_query(b, s->driver, s->settings->query, params, sizeof(params) / sizeof(params[0]), why);
	(void)buf_append_str(b, ") AS weir_rows");
	return rc ? rc : buf_status(b);
}

static int put_statement(struct buf *b, const struct sql_source *s, const struct state *st,
			 struct sql_failure *why)
{
	uint32_t columns[2 * SQL_KEY_MAX], n = sql_order(&s->table, columns);
	int rc;

	(void)buf_appendf(b, "SELECT %s FROM ", s->table.asked);
	rc = put_from(b, s, st, why);
	if (rc)
		return rc;
	if (st->at.reader.has_place && n == st->at.reader.place.count) {
		(void)buf_append_str(b, " WHERE ");
		sql_put_after(b, s, columns, &st->at.reader.place, n, false);
	}
	sql_put_order(b, s);
	return buf_status(b);
}

static int learn(struct sql_source *s, struct state *st, struct sql_failure *why)
{
	struct buf b;
	const char *text;
	int rc;

	buf_init(&b, SQL_STATEMENT_MAX);
	rc = put_from(&b, s, st, why);
	text = rc ? NULL : sql_text(&b);
	if (!rc && !text)
		rc = sql_failed(why, ERR_LIMIT, SOURCE_FINAL, false, "", "the statement is too long");
	if (!rc)
		rc = sql_learn_query(s, st->at.reader.held->session, text, why);
	buf_fini(&b);
	if (!rc && !s->table.key_count && !s->table.cursor_count)
		source_warn(
			s->setup.source,
			"the query has neither `cursor` nor `key`: a run that is interrupted begins again, and its "
			"first rows come twice");
	return rc;
}

static int open_run(struct sql_source *s, struct source_part *part, struct state *st, struct sql_failure *why)
{
	struct sql_reader *r = &st->at.reader;
	struct buf b;
	int rc;

	r->held = sql_take(s, part, why);
	if (!r->held)
		return ERR_IO;
	if (!st->run.now_ms) {
		st->run.now_ms = s->setup.sys->ops->wall_ns(s->setup.sys->self) / 1000000;
		r->has_place = false;
	}
	rc = learn(s, st, why);
	if (!rc)
		rc = sql_reader_begin(s, r, why);
	if (rc)
		return rc;
	buf_init(&b, SQL_STATEMENT_MAX);
	rc = put_statement(&b, s, st, why);
	if (!rc)
		rc = sql_reader_open(s, r, &b, 0, why);
	buf_fini(&b);
	return rc;
}

/* ---- pulls ---- */

/* With a cursor rows may come again by the user's own overlap; a version of a row is stored once. */
static struct slice id_of(struct sql_source *s, void *ctx, const struct sql_row *row, struct sql_row_id *id)
{
	uint8_t print[16];

	(void)ctx;
	sql_row_print(row, NULL, s->table.count, print);
	return sql_row_id(s, row, s->table.key, s->table.key_count, slice_make(print, sizeof(print)), id);
}

/* NULLs are the first or the last as the database likes: a place is kept only where there is a value. */
static int end_run(struct sql_source *s, struct state *st)
{
	struct sql_reader *r = &st->at.reader;

	sql_reader_close(s, r, true);
	st->run.last_ms = st->run.now_ms;
	st->run.now_ms = 0;
	if (r->has_place && s->table.cursor_count && r->place.values[0].ptr) {
		st->run.cursor = r->place;
		st->run.cursor.count = s->table.cursor_count;
		if (sql_point_keep(&st->run.cursor, &st->at.memory))
			return ERR_NOMEM;
	}
	r->has_place = false;
	return 0;
}

static enum source_end query_pull(struct sql_source *s, struct source_part *part, struct source_batch *batch)
{
	struct state *st = state_of(s, part);
	struct sql_failure why = {0};
	bool keyed;
	int rc = 0;

	if (!st)
		return source_fail(&batch->call, SOURCE_FINAL, "the checkpoint is none that this weir reads");
	if (!st->at.reader.open) {
		batch->call.requests++;
		rc = open_run(s, part, st, &why);
	}
	keyed = s->table.key_count && s->table.cursor_count;
	if (!rc)
		rc = sql_reader_take(s, &st->at.reader, batch, keyed ? id_of : NULL, NULL, &why);
	if (rc == 0 && end_run(s, st))
		rc = sql_no_memory(&why);
	/* An interrupted run without an order has no place to go on from: it begins again. */
	if ((rc >= 0 || st->at.reader.has_place) && write_mark(st) == 0)
		(void)source_mark(batch, VERSION, buf_slice(&st->at.written));
	if (rc < 0) {
		sql_reader_close(s, &st->at.reader, !why.lost);
		return sql_fail(&batch->call, s, "running the query", &why);
	}
	batch->unchanged = !rc && batch->record_count + batch->dead_count == 0;
	return rc ? SOURCE_MORE : SOURCE_IDLE;
}

static void query_show(uint8_t version, struct slice checkpoint, struct buf *json)
{
	struct state *st = mem_zalloc(1, sizeof(*st));
	char text[40];

	(void)version;
	json_put_open(json, '{');
	if (st) {
		sql_reader_init(&st->at.reader);
		buf_init(&st->at.memory, SOURCE_CHECKPOINT_MAX);
		if (read_mark(st, checkpoint)) {
			if (st->run.cursor.count && st->run.cursor.values[0].ptr) {
				json_put_name(json, "cursor");
				json_put_string_lossy(json, st->run.cursor.values[0]);
			}
			if (st->run.last_ms)
				json_put_member_string(json, "last_run", time_text(st->run.last_ms, text));
			json_put_member_bool(json, "running", st->run.now_ms != 0);
		}
		buf_fini(&st->at.memory);
		buf_fini(&st->at.reader.place_memory);
	}
	json_put_close(json, '}');
	mem_free(st);
}

const struct sql_mode_ops sql_query_mode = {
	.pull = query_pull,
	.drop = sql_progress_drop,
	.reader = sql_progress_reader,
	.show = query_show,
};
