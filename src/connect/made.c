/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The text is kept, not what was read of it: so a later weir reads it by its own tables, with the checks and the
 * defaults of its types, as it does with the file. It stands in the data directory with its secrets, as a file would.
 */
#include "connect/made.h"

#include <errno.h>

#include "connect/row_commit.h"

#define ROW_VERSION 1u

/* ---- reading ---- */

static const char *no_variable(void *self, const char *name)
{
	(void)self;
	(void)name;
	return NULL;
}

static int no_file(void *self, const char *path, size_t bytes_max, struct buf *out, uint32_t *mode)
{
	(void)self;
	(void)path;
	(void)bytes_max;
	(void)out;
	(void)mode;
	return -EACCES;
}

/* Without the lines themselves: there may be secrets in them. */
static void put_problems(const struct conf_problems *problems, struct buf *why)
{
	for (uint32_t i = 0; i < problems->count; i++) {
		const struct conf_problem *p = &problems->list[i];
		if (p->warning)
			continue;
		if (why->len)
			(void)buf_append_str(why, "; ");
		if (p->at.line)
			(void)buf_appendf(why, "line %u, column %u: ", p->at.line, p->at.column);
		(void)buf_append_str(why, p->text);
	}
}

int made_read(const struct conf_kinds *kinds, const char *name, struct slice text, struct conf_source **out,
	      struct buf *why)
{
	const struct conf_world world = {.variable = no_variable, .file = no_file, .kinds = kinds};
	struct conf_problems problems;
	int rc;

	conf_problems_init(&problems);
	rc = conf_source_load(text, name, &world, out, &problems);
	if (rc == 0)
		(*out)->guarded = true;
	else
		put_problems(&problems, why);
	conf_problems_fini(&problems);
	return rc;
}

/* ---- rows ---- */

int made_put(const struct runner_shared *s, const char *name, struct slice text,
	     const struct state_done *done)
{
	struct source_row_key row_key = {'c', slice_str(name), slice_null()};
	struct buf key, value;
	int rc;

	buf_init(&key, 1024);
	buf_init(&value, MADE_BYTES_MAX + 16);
	(void)source_row_put_key(&key, &row_key);
	(void)buf_append_byte(&value, ROW_VERSION);
	(void)buf_append_slice(&value, text.ptr ? text : SLICE_LIT(""));
	rc = buf_status(&key) ? buf_status(&key) : buf_status(&value);
	if (rc == 0)
		rc = row_commit(s, buf_slice(&key), text.ptr ? buf_slice(&value) : slice_null(), !text.ptr,
				done);
	buf_fini(&key);
	buf_fini(&value);
	return rc;
}

struct walking {
	int (*fn)(void *ctx, struct slice name, struct slice text);
	void *ctx;
};

static int walk_row(void *ctx, struct slice key, struct slice value)
{
	struct walking *w = ctx;
	struct source_row_key name;

	if (source_row_read_key(key, &name) || value.len < 1 || value.ptr[0] > ROW_VERSION)
		return 0;
	return w->fn(w->ctx, name.source, slice_from(value, 1));
}

int made_each(const struct runner_shared *shared, int (*fn)(void *ctx, struct slice name, struct slice text),
	      void *ctx)
{
	struct walking w = {.fn = fn, .ctx = ctx};
	int rc;

	log_enter_begin(shared->log);
	rc = source_rows_each(shared->rows, SLICE_LIT("c"), walk_row, &w);
	log_enter_end(shared->log);
	return rc;
}
