/* SPDX-License-Identifier: Apache-2.0 */
/* All groups together: start, stop, time, and views of them. */
#include "base/check.h"
#include "base/mem.h"
#include "deliver/group_inner.h"

const struct groups_settings groups_settings_default = {
	.session_min_ms = 6000,
	.session_max_ms = 1800000,
	.initial_delay_ms = 250,
	.offsets_retention_ms = 7 * 86400000ll,
	.members_max = INT32_MAX,
};

int groups_new(const struct groups_options *options, struct groups **out)
{
	struct groups *g = mem_zalloc(1, sizeof(*g));

	if (!g)
		return ERR_NOMEM;
	g->options = *options;
	g->settings = options->settings ? *options->settings : groups_settings_default;
	g->options.settings = NULL;
	g->sys = log_sys(options->log);
	(void)g->sys->ops->random(g->sys->self, &g->key, sizeof(g->key));
	if (table_init(&g->table) || table_init(&g->members) || table_init(&g->instances) ||
	    groups_table(g)) {
		groups_free(g);
		return ERR_NOMEM;
	}
	*out = g;
	return 0;
}

void groups_free(struct groups *g)
{
	struct table_node *node;

	if (!g)
		return;
	g->share = NULL; /* its loop has ended */
	while (g->table.count && (node = table_walk(&g->table, NULL))) {
		struct group *grp = (struct group *)node;
		group_drop_image(grp);
		while (grp->members)
			member_remove(grp->members);
		group_kill(grp);
	}
	table_fini(&g->table);
	table_fini(&g->members);
	table_fini(&g->instances);
	deadlines_fini(&g->deadlines);
	CHECK(g->stats.held == 0);
	mem_free(g);
}

void groups_set(struct groups *g, const struct groups_settings *settings)
{
	g->settings = *settings;
}

void groups_start(struct groups *g, struct log_port *port, struct budget_share *share, int64_t now_ns)
{
	struct table_node *node;

	g->port = port;
	g->share = share;
	if (share)
		budget_add(share, g->stats.held);
	log_enter_begin(g->options.log);
	g->has_images = true;
	for (node = table_walk(&g->table, NULL); node; node = table_walk(&g->table, node))
		if (group_loaded((struct group *)node, now_ns))
			g->has_images =
				false; /* the state is not written again in this life: its rows would not be in it */
	log_enter_end(g->options.log);
	g->sweep_ns = now_ns + GROUPS_SWEEP_NS;
	g->started = true;
}

void groups_stop(struct groups *g)
{
	struct table_node *node;

	g->stopped = true;
	for (node = table_walk(&g->members, NULL); node; node = table_walk(&g->members, node)) {
		struct group_member *m = (struct group_member *)node;
		member_fail_join(m, ERR_COORDINATOR, m->id);
		member_answer_sync(m, ERR_COORDINATOR);
	}
	CHECK(!g->waits);
}

/* ---- time ---- */

int64_t groups_next_ns(const struct groups *g)
{
	int64_t next = deadlines_next(&g->deadlines);

	if (!g->started || g->stopped)
		return INT64_MAX;
	return next < g->sweep_ns ? next : g->sweep_ns;
}

void groups_watch(struct groups *g, void (*sooner)(void *ctx), void *ctx)
{
	g->deadlines.ctx = ctx;
	g->deadlines.sooner = sooner;
}

void groups_run(struct groups *g, int64_t now_ns)
{
	struct deadline *t;

	if (!g->started || g->stopped)
		return;
	while ((t = deadlines_take(&g->deadlines, now_ns))) {
		if (t->kind == DEADLINE_SESSION)
			member_due(t->owner, now_ns);
		else
			group_due(t->owner, t, now_ns);
	}
	if (now_ns < g->sweep_ns)
		return;
	g->sweep_ns = now_ns + GROUPS_SWEEP_NS;
	groups_sweep(g);
}

/* ---- views ---- */

const char *group_state_name(enum group_state state)
{
	static const char *const names[] = {
		[GROUP_EMPTY] = "Empty",   [GROUP_PREPARING] = "PreparingRebalance",
		[GROUP_STABLE] = "Stable", [GROUP_COMPLETING] = "CompletingRebalance",
		[GROUP_DEAD] = "Dead",
	};

	return names[state];
}

static struct group_view view_of(struct groups *g, const struct group *grp)
{
	return (struct group_view){.id = grp->id,
				   .state = grp->state,
				   .generation = grp->generation,
				   .protocol_type = grp->protocol_type,
				   .protocol = grp->state == GROUP_STABLE ? grp->protocol : slice_null(),
				   .member_count = grp->member_count,
				   .offset_count = offsets_of(g->options.offsets, grp->id).committed};
}

bool groups_view(struct groups *g, struct slice group, struct group_view *out)
{
	const struct group *grp = group_find(g, group);
	struct offsets_count count;

	if (grp) {
		*out = view_of(g, grp);
		return true;
	}
	count = offsets_of(g->options.offsets, group);
	if (count.committed == 0 && count.pending == 0)
		return false;
	*out = (struct group_view){.id = group, .offset_count = count.committed};
	return true;
}

void groups_each_member(struct groups *g, struct slice group, group_member_fn *fn, void *ctx)
{
	const struct group *grp = group_find(g, group);
	bool stable = grp && grp->state == GROUP_STABLE;

	for (const struct group_member *m = grp ? grp->members : NULL; m; m = m->next) {
		const struct group_named *said = stable ? member_protocol(m, grp->protocol) : NULL;
		fn(ctx, &(struct group_member_view){.id = m->id,
						    .instance_id = m->instance_id,
						    .client_id = m->client_id,
						    .client_host = m->client_host,
						    .metadata = said ? said->bytes : slice_null(),
						    .assignment = stable ? m->assignment : slice_null()});
	}
}

struct listing {
	struct groups *g;
	group_view_fn *fn;
	void *ctx;
};

static bool list_offsets(void *ctx, struct slice id, struct offsets_count count)
{
	const struct listing *l = ctx;

	if (!group_find(l->g, id))
		l->fn(l->ctx, &(struct group_view){.id = id, .offset_count = count.committed});
	return true;
}

void groups_each(struct groups *g, group_view_fn *fn, void *ctx)
{
	struct listing l = {.g = g, .fn = fn, .ctx = ctx};
	struct table_node *node;

	for (node = table_walk(&g->table, NULL); node; node = table_walk(&g->table, node)) {
		struct group_view view = view_of(g, (struct group *)node);
		fn(ctx, &view);
	}
	offsets_each_group(g->options.offsets, list_offsets, &l);
}

void groups_stats(const struct groups *g, struct groups_stats *out)
{
	const struct group_figures *f = &g->stats;

	*out = (struct groups_stats){.groups = f->groups,
				     .members = f->members,
				     .bytes = f->bytes,
				     .held = f->held,
				     .rebalances = f->rebalances,
				     .expired_members = f->expired_members,
				     .expired_offsets = f->expired_offsets};
	for (int i = 0; i < GROUP_DEAD; i++)
		out->by_state[i] = f->by_state[i];
}
