/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/kafka/group_call.h"

struct listing {
	struct kafka_call *call;
	struct kafka_list_groups_response_group *list; /* NULL: they are counted */
	uint32_t count, cap;
	bool no_memory;
};

static bool is_wanted(const struct kafka_list_groups_request *in, const char *state)
{
	for (size_t i = 0; i < in->states_filter_count; i++)
		if (slice_eq_nocase(in->states_filter[i], slice_str(state)))
			return true;
	return in->states_filter_count == 0;
}

static void list_one(void *ctx, const struct group_view *view)
{
	struct listing *l = ctx;
	const char *state = group_state_name(view->state);

	if (!is_wanted(l->call->request, state))
		return;
	if (l->list && l->count < l->cap) {
		struct kafka_list_groups_response_group *g = &l->list[l->count];
		if (!group_call_copy(l->call, view->id, &g->group_id) ||
		    !group_call_copy(l->call, view->protocol_type, &g->protocol_type))
			l->no_memory = true;
		g->group_state = slice_str(state);
	}
	l->count++;
}

static void run_list_groups(struct kafka_call *call)
{
	struct kafka_list_groups_response *out = kafka_call_response(call);
	struct listing l = {.call = call};

	groups_each(call->app->groups, list_one, &l);
	l.cap = l.count;
	l.list = kafka_call_array(call, &kafka_list_groups_response_group_layout, l.cap);
	if (l.cap && !l.list) {
		group_call_no_memory(call);
		return;
	}
	l.count = 0;
	if (l.list)
		groups_each(call->app->groups, list_one, &l);
	if (l.no_memory) {
		group_call_no_memory(call);
		return;
	}
	out->groups = l.list;
	out->groups_count = l.count < l.cap ? l.count : l.cap;
	kafka_call_answer(call, out);
}

const struct kafka_handler kafka_handle_list_groups = {.run = run_list_groups, .home = true};
