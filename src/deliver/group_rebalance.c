/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From generation to generation, as Kafka's coordinator goes:
 *
 *	            first join                 all have joined, or the timeout
 *	  Empty ───────────────▶ Preparing ──────────────────────▶ Completing
 *	    ▲  nobody is left       ▲  a join, a leave, a timeout      │ the leader's assignment
 *	    └───────────────────────┤                                  │ is in the journal
 *	                            └────────────── Stable ◀───────────┘
 *
 * Preparing: who is in the group learns of it by his heartbeat and joins again; at the
 * deadline (the longest rebalance timeout) dynamic members that did not are out, static ones
 * stay until their session ends. An empty group waits a little at first, since members that start
 * together would otherwise begin with as many rebalances; each that comes prolongs it, up to the rebalance timeout.
 */
#include "base/check.h"
#include "deliver/group_inner.h"

#define AGAIN_MS 1000 /* at least, whatever timeout the members asked for */

static void enter_state(struct group *grp, enum group_state state)
{
	group_enter_state(grp, state);
	grp->since_ms = sys_wall_ms(grp->groups->sys);
}

static void set_deadline(struct group *grp, struct deadline *t, int64_t now_ns, int64_t after_ms)
{
	deadline_set(&grp->groups->deadlines, t, now_ns + after_ms * MS_NS);
}

void member_heard(struct group_member *m, int64_t now_ns)
{
	deadline_set(&m->group->groups->deadlines, &m->session, now_ns + m->session_ms * MS_NS);
}

/* ---- preparing ---- */

static void answer_syncs(struct group *grp, int err, int64_t now_ns)
{
	for (struct group_member *m = grp->members; m; m = m->next) {
		if (!m->sync)
			continue;
		/* Whose session ended while he waited was let be: it begins anew. */
		member_answer_sync(m, err);
		member_heard(m, now_ns);
	}
}

static void forget_assignments(struct group *grp)
{
	for (struct group_member *m = grp->members; m; m = m->next) {
		member_propose(m, slice_null());
		member_adopt(m);
	}
}

void group_prepare(struct group *grp, int64_t now_ns)
{
	const struct groups_settings *s = &grp->groups->settings;
	int64_t timeout_ms = group_rebalance_ms(grp);
	bool was_empty = grp->state == GROUP_EMPTY;

	if (grp->state == GROUP_COMPLETING) {
		forget_assignments(grp);
		answer_syncs(grp, ERR_REBALANCING, now_ns);
	}
	deadline_clear(&grp->groups->deadlines, &grp->sync);
	enter_state(grp, GROUP_PREPARING);
	grp->groups->stats.rebalances++;
	grp->initial = was_empty && s->initial_delay_ms > 0;
	if (grp->initial) {
		grp->members_added = false;
		grp->delay_left_ms = timeout_ms > s->initial_delay_ms ? timeout_ms - s->initial_delay_ms : 0;
		timeout_ms = s->initial_delay_ms;
	}
	set_deadline(grp, &grp->rebalance, now_ns, timeout_ms);
	group_try_complete(grp, now_ns);
}

void group_rebalance(struct group *grp, int64_t now_ns)
{
	if (grp->state == GROUP_STABLE || grp->state == GROUP_COMPLETING || grp->state == GROUP_EMPTY)
		group_prepare(grp, now_ns);
}

/* ---- the next generation ---- */

static void drop_absent(struct group *grp)
{
	struct group_member *next;

	for (struct group_member *m = grp->members; m; m = next) {
		next = m->next;
		if (!m->join && !m->instance_id.ptr)
			member_remove(m);
	}
}

/* False: nobody has joined, so nobody could lead. */
static bool elect(struct group *grp)
{
	struct group_member *m = grp->members;

	if (grp->leader && grp->leader->join)
		return true;
	while (m && !m->join)
		m = m->next;
	if (m)
		grp->leader = m;
	return m != NULL;
}

static void begin_generation(struct group *grp)
{
	const struct group_named *chosen = group_choose(grp);
	struct slice name = slice_null();

	grp->generation = grp->generation == INT32_MAX ? 1 : grp->generation + 1;
	if (chosen && text_copy(chosen->name, &name)) {
		text_free(&grp->protocol);
		grp->protocol = name;
	}
	for (struct group_member *m = grp->members; m; m = m->next)
		m->awaits_sync = false;
	grp->awaiting_sync = 0;
}

static void end_empty(struct group *grp)
{
	begin_generation(grp);
	text_free(&grp->protocol);
	enter_state(grp, GROUP_EMPTY);
	/* Where it cannot be stored now, the members that it had are loaded after a restart, and time out. */
	(void)group_store(grp, STORE_PLAIN);
}

static void tell_generation(struct group *grp, int64_t now_ns)
{
	for (struct group_member *m = grp->members; m; m = m->next) {
		if (m->join)
			group_answer_join(grp, m, m->join, m == grp->leader);
		member_heard(m, now_ns);
		m->is_new = false;
		m->awaits_sync = true;
		grp->awaiting_sync++;
	}
	set_deadline(grp, &grp->sync, now_ns, group_rebalance_ms(grp));
}

static void complete(struct group *grp, int64_t now_ns)
{
	deadline_clear(&grp->groups->deadlines, &grp->rebalance);
	drop_absent(grp);
	if (!grp->members) {
		end_empty(grp);
	} else if (!elect(grp)) {
		/* Static members alone, and none has come back: their sessions decide. */
		int64_t again_ms = group_rebalance_ms(grp);
		set_deadline(grp, &grp->rebalance, now_ns, again_ms < AGAIN_MS ? AGAIN_MS : again_ms);
	} else {
		begin_generation(grp);
		enter_state(grp, GROUP_COMPLETING);
		tell_generation(grp, now_ns);
	}
}

void group_try_complete(struct group *grp, int64_t now_ns)
{
	if (grp->state == GROUP_PREPARING && !grp->initial && grp->awaiting_join == grp->member_count &&
	    grp->pending_count == 0)
		complete(grp, now_ns);
}

void group_fail_sync(struct group *grp, int err, int64_t now_ns)
{
	forget_assignments(grp);
	answer_syncs(grp, err, now_ns);
	group_rebalance(grp, now_ns);
}

/* ---- who goes ---- */

void member_drop(struct group_member *m, int64_t now_ns)
{
	struct group *grp = m->group;
	bool pending = m->pending;

	member_fail_join(m, ERR_UNKNOWN_MEMBER, SLICE_LIT(""));
	member_answer_sync(m, ERR_UNKNOWN_MEMBER);
	member_remove(m);
	if (grp->state == GROUP_PREPARING)
		group_try_complete(grp, now_ns);
	else if (!pending && (grp->state == GROUP_STABLE || grp->state == GROUP_COMPLETING))
		group_prepare(grp, now_ns);
}

void member_synced(struct group_member *m)
{
	struct group *grp = m->group;

	if (!m->awaits_sync)
		return;
	m->awaits_sync = false;
	if (--grp->awaiting_sync == 0)
		deadline_clear(&grp->groups->deadlines, &grp->sync);
}

/* ---- deadlines ---- */

void member_due(struct group_member *m, int64_t now_ns)
{
	struct group *grp = m->group;

	/*
	 * Who waits for the group cannot send heartbeats, and gets a new session with his answer. A new
	 * member is not waited for so long: its client may have gone and come back under another id.
	 */
	if (!m->pending && !m->is_new && (m->join || m->sync))
		return;
	if (!m->pending)
		grp->groups->stats.expired_members++;
	member_drop(m, now_ns);
	group_kill_if_unused(grp);
}

static void rebalance_due(struct group *grp, int64_t now_ns)
{
	const struct groups_settings *s = &grp->groups->settings;
	int64_t delay_ms =
		s->initial_delay_ms < grp->delay_left_ms ? s->initial_delay_ms : grp->delay_left_ms;

	if (grp->initial && grp->members_added && delay_ms > 0) {
		grp->members_added = false;
		grp->delay_left_ms -= delay_ms;
		set_deadline(grp, &grp->rebalance, now_ns, delay_ms);
		return;
	}
	grp->initial = false;
	complete(grp, now_ns);
}

/* Members that were told the generation and never asked for their assignment. */
static void sync_due(struct group *grp, int64_t now_ns)
{
	struct group_member *next;

	if (grp->state != GROUP_COMPLETING && grp->state != GROUP_STABLE)
		return;
	for (struct group_member *m = grp->members; m; m = next) {
		next = m->next;
		if (!m->awaits_sync)
			continue;
		member_fail_join(m, ERR_UNKNOWN_MEMBER, SLICE_LIT(""));
		member_answer_sync(m, ERR_UNKNOWN_MEMBER);
		member_remove(m);
	}
	group_rebalance(grp, now_ns);
}

void group_due(struct group *grp, struct deadline *t, int64_t now_ns)
{
	if (t->kind == DEADLINE_REBALANCE)
		rebalance_due(grp, now_ns);
	else
		sync_due(grp, now_ns);
}
