/* SPDX-License-Identifier: Apache-2.0 */
#include "connect/forget.h"

#include "base/mem.h"

#define ROWS_A_COMMIT 256u

struct forgetting {
	struct source_row *rows[ROWS_A_COMMIT];
	struct state_row changes[ROWS_A_COMMIT];
	struct slice name;
	const char *kinds;
	uint32_t count;
	bool no_memory;
};

static int gather_row(void *ctx, struct slice key, struct slice value)
{
	struct forgetting *f = ctx;
	struct source_row_key name;

	(void)value;
	if (source_row_read_key(key, &name) || !strchr(f->kinds, name.kind) ||
	    !slice_eq(name.source, f->name))
		return 0;
	f->rows[f->count] = source_row_new(key, slice_null());
	f->no_memory = !f->rows[f->count];
	if (f->no_memory)
		return 1;
	f->changes[f->count] = (struct state_row){.table = STATE_SOURCES, .key = key, .frees = true};
	f->count++;
	return f->count == ROWS_A_COMMIT;
}

/* Some rows, in one commit. 1: there may be more; 0; or what log_enter gives. */
static int forget_some(const struct runner_shared *s, const char *name, const char *kinds)
{
	struct forgetting *f = mem_zalloc(1, sizeof(*f));
	int rc = 0;

	if (!f)
		return ERR_NOMEM;
	f->name = slice_str(name);
	f->kinds = kinds;
	log_enter_begin(s->log);
	(void)source_rows_each(s->rows, slice_null(), gather_row, f);
	if (f->no_memory)
		rc = ERR_NOMEM;
	else if (f->count)
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

int source_forget(const struct runner_shared *shared, const char *name, const char *kinds)
{
	int rc = 1;

	while (rc == 1)
		rc = forget_some(shared, name, kinds);
	return rc;
}
