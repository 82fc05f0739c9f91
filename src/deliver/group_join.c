/* SPDX-License-Identifier: Apache-2.0 */
/*
 * JoinGroup, case by case as Kafka's coordinator has it (GroupCoordinator.scala,
 * handleJoinGroup and what it calls; ClassicGroup.java since 3.5). KIP-394 is
 * the id that a new member gets first, KIP-345 static membership, KIP-814 skip_assignment.
 */
#include "base/mem.h"
#include "deliver/group_inner.h"

struct joining {
	struct groups *g;
	struct group *grp;
	const struct group_join *ask;
	struct group_wait *wait;
	int64_t now_ns;
};

static void refuse(const struct joining *j, int err)
{
	answer_error(j->wait, err, j->ask->member_id);
}

/* ---- new members ---- */

static void add_and_rebalance(const struct joining *j, struct slice id)
{
	struct group *grp = j->grp;
	struct group_member *m = member_new(grp, id, j->ask);
	struct slice type;

	if (!m || !text_copy(j->ask->protocol_type, &type)) {
		if (m) { /* in no list yet: put into one to be taken out whole */
			member_add(m);
			member_remove(m);
		}
		refuse(j, ERR_COORDINATOR);
		return;
	}
	if (grp->member_count == 0) {
		text_free(&grp->protocol_type);
		grp->protocol_type = type;
	} else {
		text_free(&type);
	}
	m->is_new = true;
	if (grp->state == GROUP_PREPARING)
		grp->members_added = true;
	member_add(m);
	member_park_join(m, j->wait);
	deadline_set(&j->g->deadlines, &m->session, j->now_ns + GROUP_NEW_MEMBER_MS * MS_NS);
	group_rebalance(grp, j->now_ns);
}

static void give_id(const struct joining *j, struct slice id)
{
	struct group_join bare = *j->ask;
	struct group_member *m;

	bare.protocol_count = 0;
	m = member_new(j->grp, id, &bare);
	if (!m) {
		refuse(j, ERR_COORDINATOR);
		return;
	}
	member_add_pending(m);
	member_heard(m, j->now_ns);
	answer_error(j->wait, ERR_MEMBER_ID_REQUIRED, m->id);
}

/* ---- static members that come back ---- */

/* With another id: the member of before is fenced, wherever it waits. */
static struct group_member *replace(const struct joining *j, struct group_member *m, struct slice id)
{
	struct slice fresh;

	if (!text_copy(id, &fresh))
		return NULL;
	if (!member_update(m, j->ask)) {
		text_free(&fresh);
		return NULL;
	}
	member_fail_join(m, ERR_FENCED_INSTANCE, m->id);
	member_answer_sync(m, ERR_FENCED_INSTANCE);
	member_rename(m, fresh);
	member_heard(m, j->now_ns);
	return m;
}

/*
 * In a stable group whose protocol stays the same it takes the place and the assignment of the one
 * before without a rebalance; but the new id must be in the journal before it is used.
 */
static void take_place(const struct joining *j, struct group_member *m, struct slice *led_before)
{
	member_park_join(m, j->wait);
	text_free(&m->led_before);
	m->led_before = *led_before;
	*led_before = slice_null();
	if (group_store(j->grp, STORE_STATIC)) {
		member_fail_join(m, ERR_COORDINATOR, SLICE_LIT(""));
		return;
	}
	m->stored_as = j->grp->stored;
}

static bool keeps_protocol(const struct group *grp)
{
	const struct group_named *next = group_choose(grp);

	return next && slice_eq(next->name, grp->protocol);
}

static void join_again_as_static(const struct joining *j, struct group_member *m, struct slice id)
{
	struct group *grp = j->grp;
	struct slice led_before;

	if (!text_copy(grp->leader->id, &led_before)) {
		refuse(j, ERR_COORDINATOR);
		return;
	}
	if (!replace(j, m, id)) {
		text_free(&led_before);
		refuse(j, ERR_COORDINATOR);
		return;
	}
	if (grp->state == GROUP_STABLE && keeps_protocol(grp)) {
		take_place(j, m, &led_before);
	} else {
		member_park_join(m, j->wait);
		group_rebalance(grp, j->now_ns); /* not while it prepares: then it is one of many that join */
	}
	text_free(&led_before);
}

static void join_new(const struct joining *j)
{
	const struct group_join *ask = j->ask;
	struct group_member *m = ask->instance_id.ptr ? member_of_instance(j->grp, ask->instance_id) : NULL;
	struct slice id;

	if (!group_supports(j->grp, ask)) {
		refuse(j, ERR_GROUP_PROTOCOL);
		return;
	}
	if (!member_id_make(j->g, ask->instance_id.ptr ? ask->instance_id : ask->client_id, &id)) {
		refuse(j, ERR_COORDINATOR);
		return;
	}
	if (m)
		join_again_as_static(j, m, id);
	else if (ask->id_required && !ask->instance_id.ptr)
		give_id(j, id);
	else
		add_and_rebalance(j, id);
	text_free(&id);
}

/* ---- known members ---- */

static void update_and_rebalance(const struct joining *j, struct group_member *m)
{
	if (!member_update(m, j->ask)) {
		refuse(j, ERR_COORDINATOR);
		return;
	}
	member_park_join(m, j->wait);
	group_rebalance(j->grp, j->now_ns);
}

static void join_known(const struct joining *j, struct group_member *m)
{
	struct group *grp = j->grp;

	switch (grp->state) {
	case GROUP_PREPARING:
		update_and_rebalance(j, m);
		break;
	case GROUP_COMPLETING:
		/* With the same as before it has missed the answer: here it is again. */
		if (member_says_the_same(m, j->ask))
			group_answer_join(grp, m, j->wait, m == grp->leader);
		else
			update_and_rebalance(j, m);
		break;
	case GROUP_STABLE:
		/* A leader that joins has seen something, such as new partitions, that needs another assignment. */
		if (m == grp->leader || !member_says_the_same(m, j->ask))
			update_and_rebalance(j, m);
		else
			group_answer_join(grp, m, j->wait, false);
		break;
	case GROUP_EMPTY:
	case GROUP_DEAD:
		refuse(j, ERR_UNKNOWN_MEMBER);
		break;
	}
}

/* It was given its id, and is now a member. */
static void join_pending(const struct joining *j, struct group_member *pending)
{
	struct slice id;

	if (j->ask->instance_id.ptr) { /* the id was given to a dynamic member */
		refuse(j, ERR_UNKNOWN_MEMBER);
		return;
	}
	if (!text_copy(pending->id, &id)) {
		refuse(j, ERR_COORDINATOR);
		return;
	}
	member_remove(pending);
	add_and_rebalance(j, id);
	text_free(&id);
}

static void join_with_id(const struct joining *j)
{
	struct group_member *m = member_find(j->grp, j->ask->member_id);
	int rc;

	if (!group_supports(j->grp, j->ask)) {
		refuse(j, ERR_GROUP_PROTOCOL);
		return;
	}
	if (m && m->pending) {
		join_pending(j, m);
		return;
	}
	rc = group_check_member(j->grp, j->ask->member_id, j->ask->instance_id, &m);
	if (rc)
		refuse(j, rc);
	else
		join_known(j, m);
}

/* ---- the door ---- */

static int check_ask(const struct groups *g, const struct group_join *ask)
{
	int rc = groups_check(g, ask->group);

	if (rc)
		return rc;
	if (ask->session_ms < g->settings.session_min_ms || ask->session_ms > g->settings.session_max_ms)
		return ERR_SESSION_TIMEOUT;
	if (ask->instance_id.len > GROUP_ROW_TEXT_MAX / 2 || ask->client_id.len > GROUP_ROW_TEXT_MAX / 2 ||
	    ask->client_host.len > GROUP_ROW_TEXT_MAX || ask->protocol_type.len > GROUP_ROW_TEXT_MAX)
		return ERR_MALFORMED;
	if (ask->protocol_count > GROUP_PROTOCOLS_MAX)
		return ERR_GROUP_PROTOCOL;
	for (uint32_t i = 0; i < ask->protocol_count; i++)
		if (ask->protocols[i].name.len > GROUP_ROW_TEXT_MAX ||
		    ask->protocols[i].bytes.len > GROUP_ROW_BYTES_MAX)
			return ERR_MALFORMED;
	return ask->instance_id.ptr && ask->instance_id.len == 0 ? ERR_MALFORMED : 0;
}

/* As Kafka: those that wait are counted while the group prepares, else those that are in it. */
static bool takes_one_more(const struct group *grp, const struct group_member *m)
{
	uint32_t most = grp->groups->settings.members_max;

	switch (grp->state) {
	case GROUP_PREPARING:
		return (m && m->join) || grp->awaiting_join < most;
	case GROUP_COMPLETING:
	case GROUP_STABLE:
		return (m && !m->pending) || grp->member_count < most;
	default:
		return true;
	}
}

static void turn_away(const struct joining *j, struct group_member *m)
{
	if (m) {
		member_fail_join(m, ERR_GROUP_FULL, SLICE_LIT(""));
		member_answer_sync(m, ERR_GROUP_FULL);
		member_remove(m);
	}
	answer_error(j->wait, ERR_GROUP_FULL, SLICE_LIT(""));
}

void groups_join(struct groups *g, const struct group_join *ask, struct group_wait *wait, int64_t now_ns)
{
	struct joining j = {.g = g, .ask = ask, .wait = wait, .now_ns = now_ns};
	struct group_member *m;
	int rc = check_ask(g, ask);

	if (rc) {
		refuse(&j, rc);
		return;
	}
	j.grp = group_find(g, ask->group);
	if (!j.grp && ask->member_id.len == 0)
		j.grp = group_new(g, ask->group);
	if (!j.grp) {
		refuse(&j, ask->member_id.len ? ERR_UNKNOWN_MEMBER : ERR_COORDINATOR);
		return;
	}
	m = ask->member_id.len ? member_find(j.grp, ask->member_id) : NULL;
	if (!takes_one_more(j.grp, m))
		turn_away(&j, m);
	else if (ask->member_id.len == 0)
		join_new(&j);
	else
		join_with_id(&j);
	group_try_complete(j.grp, now_ns);
	group_kill_if_unused(j.grp);
}
