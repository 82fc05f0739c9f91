/* SPDX-License-Identifier: Apache-2.0 */
#include "connect/row_commit.h"

#include "base/mem.h"

int row_commit(const struct runner_shared *shared, struct slice key, struct slice value, bool frees,
	       const struct state_done *done)
{
	struct state_row change = {.table = STATE_SOURCES, .key = key, .value = value, .frees = frees};
	struct source_row *row = source_row_new(key, value);
	int rc;

	if (!row)
		return ERR_NOMEM;
	log_enter_begin(shared->log);
	rc = state_put(shared->state, &change, 1, done);
	if (rc == 0)
		source_rows_set(shared->rows, row);
	log_enter_end(shared->log);
	if (rc)
		source_row_free(row);
	return rc;
}

/* ---- forgetting ---- */

#define ROWS_A_COMMIT 256u

struct forgetting {
	struct source_row *rows[ROWS_A_COMMIT];
	struct state_row changes[ROWS_A_COMMIT];
	uint32_t count;
	bool no_memory;
};

static int gather_row(void *ctx, struct slice key, struct slice value)
{
	struct forgetting *f = ctx;

	(void)value;
	f->rows[f->count] = source_row_new(key, slice_null());
	f->no_memory = !f->rows[f->count];
	if (f->no_memory)
		return 1;
	f->changes[f->count] = (struct state_row){.table = STATE_SOURCES, .key = key, .frees = true};
	f->count++;
	return f->count == ROWS_A_COMMIT;
}

/* Rows of the name, of every kind, until they are enough for a commit. */
static int gather(const struct runner_shared *s, const char *name, const char *kinds, struct forgetting *f)
{
	struct buf prefix;
	int rc = 0;

	buf_init(&prefix, 1024);
	for (; *kinds && rc == 0 && f->count < ROWS_A_COMMIT; kinds++) {
		struct source_row_key key = {*kinds, slice_str(name), slice_null()};
		buf_clear(&prefix);
		rc = source_row_put_key(&prefix, &key);
		if (rc == 0)
			(void)source_rows_each(s->rows, buf_slice(&prefix), gather_row, f);
		if (f->no_memory)
			rc = ERR_NOMEM;
	}
	buf_fini(&prefix);
	return rc;
}

/* Some rows, in one commit. 1: there may be more; 0; or what log_enter gives. */
static int forget_some(const struct runner_shared *s, const char *name, const char *kinds)
{
	struct forgetting *f = mem_zalloc(1, sizeof(*f));
	int rc = 0;

	if (!f)
		return ERR_NOMEM;
	log_enter_begin(s->log);
	rc = gather(s, name, kinds, f);
	if (rc == 0 && f->count)
		rc = state_put(s->state, f->changes, f->count, NULL);
	for (uint32_t i = 0; i < f->count; i++) {
		if (rc)
			source_row_free(f->rows[i]);
		else
			source_rows_set(s->rows, f->rows[i]);
	}
	state_tidy(s->state);
	log_enter_end(s->log);
	if (rc == 0)
		rc = f->count == ROWS_A_COMMIT;
	mem_free(f);
	return rc;
}

/* The last word: a commit behind all others, which there is also where the rows went before and are on their way. */
static int forget_last(const struct runner_shared *shared, const char *name, char kind,
		       const struct state_done *done)
{
	struct source_row_key name_of = {kind, slice_str(name), slice_null()};
	struct buf key;
	int rc;

	buf_init(&key, 1024);
	rc = source_row_put_key(&key, &name_of);
	if (rc == 0)
		rc = row_commit(shared, buf_slice(&key), slice_null(), true, done);
	buf_fini(&key);
	return rc;
}

int row_commit_forget(const struct runner_shared *shared, const char *name, const char *kinds,
		      const struct state_done *done)
{
	int rc = 1;

	while (rc == 1)
		rc = forget_some(shared, name, kinds);
	return rc || !done ? rc : forget_last(shared, name, kinds[0], done);
}
