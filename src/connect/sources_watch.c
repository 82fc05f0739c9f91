/* SPDX-License-Identifier: Apache-2.0 */
/* What is shown of sources. Nothing is asked of a loop: whoever looks, from any thread, looks under the lock. */
#include "connect/sources_inner.h"

const char *runner_state_name(enum runner_state state)
{
	static const char *const names[] = {"starting", "running", "paused", "failing",
					    "broken",   "held",    "stopped"};

	return names[state];
}

static bool view_of(struct entry *e, struct sources_view *view)
{
	if (!e->conf)
		return false;
	memset(view, 0, sizeof(*view));
	view->source = e->conf;
	view->from_file = e->file != NULL;
	view->figures.lag_records = view->figures.lag_ms = -1;
	if (e->runner)
		runner_figures(e->runner, &view->figures);
	return true;
}

void sources_each(struct sources *s, bool (*fn)(void *ctx, const struct sources_view *view), void *ctx)
{
	struct sources_view view;
	bool go_on = true;

	sources_lock(s);
	for (struct entry *e = s->first; e && go_on; e = e->next)
		if (view_of(e, &view))
			go_on = fn(ctx, &view);
	sources_unlock(s);
}

int sources_find(struct sources *s, struct slice name, struct sources_view *out)
{
	struct entry *e;
	int rc = ERR_UNKNOWN_SOURCE;

	sources_lock(s);
	e = entry_find(s, name);
	if (e && view_of(e, out)) {
		(void)conf_source_ref(out->source);
		rc = 0;
	}
	sources_unlock(s);
	return rc;
}

void sources_each_warning(struct sources *s, struct slice name, void (*fn)(void *ctx, const char *text),
			  void *ctx)
{
	struct entry *e;

	sources_lock(s);
	e = entry_find(s, name);
	if (e && e->runner)
		runner_warnings(e->runner, fn, ctx);
	sources_unlock(s);
}

struct part_walk {
	uint32_t left;
	bool (*fn)(void *ctx, struct slice part, const struct source_part_row *row);
	void *ctx;
};

static int walk_row(void *ctx, struct slice key, struct slice value)
{
	struct part_walk *w = ctx;
	struct source_row_key name;
	struct source_part_row row;

	if (source_row_read_key(key, &name) || source_row_read_part(value, &row))
		return 0;
	if (w->left == 0 || !w->fn(w->ctx, name.part, &row))
		return 1;
	w->left--;
	return 0;
}

void sources_each_part(struct sources *s, struct slice name, uint32_t most,
		       bool (*fn)(void *ctx, struct slice part, const struct source_part_row *row), void *ctx)
{
	struct part_walk w = {.left = most, .fn = fn, .ctx = ctx};
	struct source_row_key key = {'p', name, slice_null()};
	struct buf prefix;

	buf_init(&prefix, 1024);
	if (source_row_put_key(&prefix, &key) == 0) {
		log_enter_begin(s->shared.log);
		(void)source_rows_each(s->rows, buf_slice(&prefix), walk_row, &w);
		log_enter_end(s->shared.log);
	}
	buf_fini(&prefix);
}

int sources_each_run(struct sources *s, struct slice name, bool (*fn)(void *ctx, const struct run_view *view),
		     void *ctx)
{
	struct entry *e;

	sources_lock(s);
	e = entry_find(s, name);
	if (e && !e->conf)
		e = NULL;
	sources_unlock(s);
	if (!e)
		return ERR_UNKNOWN_SOURCE;
	runs_each(e->runs, fn, ctx);
	return 0;
}
