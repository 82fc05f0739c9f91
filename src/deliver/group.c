/* SPDX-License-Identifier: Apache-2.0 */
/* Groups and members in memory. What they are allowed to do is decided in the other files. */
#include <stdio.h>

#include "base/check.h"
#include "base/mem.h"
#include "deliver/group_inner.h"

#define MEMBER_BYTES (sizeof(struct group_member) + 128)
#define GROUP_BYTES (sizeof(struct group) + 128)

/* ---- texts ---- */

bool text_copy(struct slice from, struct slice *to)
{
	uint8_t *bytes = mem_alloc(from.len);

	if (!bytes)
		return false;
	if (from.len)
		memcpy(bytes, from.ptr, from.len);
	*to = slice_make(bytes, from.len);
	return true;
}

void text_free(struct slice *text)
{
	mem_free((void *)(uintptr_t)text->ptr);
	*text = slice_null();
}

void groups_hold(struct groups *g, size_t before, size_t now)
{
	g->stats.held += now - before;
	if (g->share && now > before)
		budget_add(g->share, now - before);
	if (g->share && now < before)
		budget_sub(g->share, before - now);
}

static void count_bytes(struct groups *g, size_t *holder, size_t now)
{
	groups_hold(g, *holder, now);
	g->stats.bytes += now - *holder;
	*holder = now;
}

static bool has_room(const struct groups *g, size_t bytes)
{
	/* While it loads, members of before and after are there together for a moment. */
	return !g->started || g->stats.bytes + bytes <= GROUPS_BYTES_MAX;
}

/* ---- groups ---- */

struct group *group_find(const struct groups *g, struct slice id)
{
	struct table_node *node = table_first(&g->table, hash_sip13(&g->key, id));

	while (node && !slice_eq(((struct group *)node)->id, id))
		node = table_next(node);
	return (struct group *)node;
}

struct group *group_new(struct groups *g, struct slice id)
{
	struct group *grp;

	if (!has_room(g, GROUP_BYTES + id.len))
		return NULL;
	grp = mem_zalloc(1, sizeof(*grp));
	if (!grp)
		return NULL;
	if (!text_copy(id, &grp->id) || deadlines_reserve(&g->deadlines, 2)) {
		text_free(&grp->id);
		mem_free(grp);
		return NULL;
	}
	grp->groups = g;
	grp->members_end = &grp->members;
	grp->since_ms = sys_wall_ms(g->sys);
	grp->rebalance = (struct deadline){.kind = DEADLINE_REBALANCE, .owner = grp};
	grp->sync = (struct deadline){.kind = DEADLINE_SYNC, .owner = grp};
	table_add(&g->table, &grp->node, hash_sip13(&g->key, id));
	g->stats.groups++;
	g->stats.by_state[grp->state]++;
	count_bytes(g, &grp->bytes, GROUP_BYTES + id.len);
	return grp;
}

void group_enter_state(struct group *grp, enum group_state state)
{
	grp->groups->stats.by_state[grp->state]--;
	grp->groups->stats.by_state[state]++;
	grp->state = state;
}

void group_release(struct group *grp)
{
	if (!grp->dead || grp->stores)
		return;
	text_free(&grp->id);
	text_free(&grp->led_by);
	text_free(&grp->protocol_type);
	text_free(&grp->protocol);
	mem_free(grp);
}

void group_kill(struct group *grp)
{
	struct groups *g = grp->groups;

	CHECK(!grp->members && !grp->image);
	while (grp->pending)
		member_remove(grp->pending);
	deadline_clear(&g->deadlines, &grp->rebalance);
	deadline_clear(&g->deadlines, &grp->sync);
	deadlines_release(&g->deadlines, 2);
	table_remove(&g->table, &grp->node);
	g->stats.groups--;
	g->stats.by_state[grp->state]--;
	count_bytes(g, &grp->bytes, 0);
	grp->state = GROUP_DEAD;
	grp->dead = true;
	group_release(grp);
}

void group_kill_if_unused(struct group *grp)
{
	if (grp->state == GROUP_EMPTY && !grp->pending && !grp->image && grp->generation == 0)
		group_kill(grp);
}

/* ---- members: tables and lists ---- */

static uint64_t hash_in_group(const struct group *grp, struct slice id)
{
	/* The group's own hash, which is keyed, makes the same id in two groups two. */
	return hash_sip13(&grp->groups->key, id) ^ grp->node.hash * 0x9e3779b97f4a7c15u;
}

struct group_member *member_find(const struct group *grp, struct slice id)
{
	struct table_node *node = table_first(&grp->groups->members, hash_in_group(grp, id));

	for (; node; node = table_next(node)) {
		struct group_member *m = (struct group_member *)node;
		if (m->group == grp && slice_eq(m->id, id))
			return m;
	}
	return NULL;
}

struct group_member *member_of_instance(const struct group *grp, struct slice instance_id)
{
	struct table_node *node = table_first(&grp->groups->instances, hash_in_group(grp, instance_id));

	for (; node; node = table_next(node)) {
		struct group_member *m =
			(struct group_member *)((char *)node - offsetof(struct group_member, by_instance));
		if (m->group == grp && slice_eq(m->instance_id, instance_id))
			return m;
	}
	return NULL;
}

static size_t protocols_bytes(const struct group_named *list, uint32_t count)
{
	size_t bytes = count * sizeof(*list);

	for (uint32_t i = 0; i < count; i++)
		bytes += list[i].name.len + list[i].bytes.len;
	return bytes;
}

/* One block: the array, then the bytes of its items. */
static struct group_named *copy_protocols(const struct group_named *from, uint32_t count)
{
	struct group_named *list = mem_alloc(protocols_bytes(from, count));
	uint8_t *at = (uint8_t *)(list + count);

	for (uint32_t i = 0; list && i < count; i++) {
		list[i].name = slice_make(at, from[i].name.len);
		if (from[i].name.len)
			memcpy(at, from[i].name.ptr, from[i].name.len);
		at += from[i].name.len;
		list[i].bytes = slice_make(at, from[i].bytes.len);
		if (from[i].bytes.len)
			memcpy(at, from[i].bytes.ptr, from[i].bytes.len);
		at += from[i].bytes.len;
	}
	return list;
}

static void weigh(struct group_member *m)
{
	size_t bytes = MEMBER_BYTES + m->id.len + m->instance_id.len + m->client_id.len + m->client_host.len +
		       m->assignment.len + m->proposed.len + protocols_bytes(m->protocols, m->protocol_count);

	count_bytes(m->group->groups, &m->bytes, bytes);
}

static void free_member(struct group_member *m)
{
	text_free(&m->id);
	text_free(&m->instance_id);
	text_free(&m->client_id);
	text_free(&m->client_host);
	text_free(&m->assignment);
	text_free(&m->proposed);
	text_free(&m->led_before);
	mem_free(m->protocols);
	mem_free(m);
}

static bool fill_member(struct group_member *m, struct slice id, const struct group_join *ask)
{
	if (!text_copy(id, &m->id) || !text_copy(ask->client_id, &m->client_id) ||
	    !text_copy(ask->client_host, &m->client_host))
		return false;
	if (ask->instance_id.ptr && !text_copy(ask->instance_id, &m->instance_id))
		return false;
	m->protocols = copy_protocols(ask->protocols, ask->protocol_count);
	m->protocol_count = ask->protocol_count;
	m->session_ms = ask->session_ms;
	m->rebalance_ms = ask->rebalance_ms;
	m->skips = ask->skips;
	return m->protocols != NULL;
}

struct group_member *member_new(struct group *grp, struct slice id, const struct group_join *ask)
{
	struct groups *g = grp->groups;
	struct group_member *m;

	if (!has_room(g, MEMBER_BYTES + id.len + protocols_bytes(ask->protocols, ask->protocol_count)))
		return NULL;
	m = mem_zalloc(1, sizeof(*m));
	if (!m)
		return NULL;
	m->group = grp;
	m->session = (struct deadline){.kind = DEADLINE_SESSION, .owner = m};
	if (!fill_member(m, id, ask) || deadlines_reserve(&g->deadlines, 1)) {
		m->protocol_count = 0;
		free_member(m);
		return NULL;
	}
	weigh(m);
	return m;
}

static void enlist(struct group_member *m, struct group_member **at)
{
	m->next = *at;
	if (m->next)
		m->next->prev = &m->next;
	*at = m;
	m->prev = at;
	table_add(&m->group->groups->members, &m->by_id, hash_in_group(m->group, m->id));
}

void member_add(struct group_member *m)
{
	struct group *grp = m->group;

	enlist(m, grp->members_end);
	grp->members_end = &m->next;
	if (m->instance_id.ptr)
		table_add(&grp->groups->instances, &m->by_instance, hash_in_group(grp, m->instance_id));
	grp->member_count++;
	grp->groups->stats.members++;
	if (!grp->leader)
		grp->leader = m;
}

void member_add_pending(struct group_member *m)
{
	m->pending = true;
	enlist(m, &m->group->pending);
	m->group->pending_count++;
}

static void forget_member(struct group_member *m)
{
	struct group *grp = m->group;

	if (grp->members_end == &m->next)
		grp->members_end = m->prev;
	if (m->instance_id.ptr)
		table_remove(&grp->groups->instances, &m->by_instance);
	if (m->awaits_sync)
		grp->awaiting_sync--;
	grp->member_count--;
	grp->groups->stats.members--;
}

void member_remove(struct group_member *m)
{
	struct group *grp = m->group;
	struct groups *g = grp->groups;

	CHECK(!m->join && !m->sync);
	if (m->pending)
		grp->pending_count--;
	else
		forget_member(m);
	*m->prev = m->next;
	if (m->next)
		m->next->prev = m->prev;
	if (grp->leader == m)
		grp->leader = grp->members;
	table_remove(&g->members, &m->by_id);
	deadline_clear(&g->deadlines, &m->session);
	deadlines_release(&g->deadlines, 1);
	count_bytes(g, &m->bytes, 0);
	free_member(m);
}

void member_rename(struct group_member *m, struct slice id)
{
	struct table *members = &m->group->groups->members;

	table_remove(members, &m->by_id);
	text_free(&m->id);
	m->id = id;
	table_add(members, &m->by_id, hash_in_group(m->group, id));
	weigh(m);
}

/* ---- what members say ---- */

bool member_update(struct group_member *m, const struct group_join *ask)
{
	struct group_named *protocols;

	if (!has_room(m->group->groups, protocols_bytes(ask->protocols, ask->protocol_count)))
		return false;
	protocols = copy_protocols(ask->protocols, ask->protocol_count);
	if (!protocols)
		return false;
	mem_free(m->protocols);
	m->protocols = protocols;
	m->protocol_count = ask->protocol_count;
	m->session_ms = ask->session_ms;
	m->rebalance_ms = ask->rebalance_ms;
	m->skips = ask->skips;
	weigh(m);
	return true;
}

bool member_says_the_same(const struct group_member *m, const struct group_join *ask)
{
	if (m->protocol_count != ask->protocol_count)
		return false;
	for (uint32_t i = 0; i < m->protocol_count; i++)
		if (!slice_eq(m->protocols[i].name, ask->protocols[i].name) ||
		    !slice_eq(m->protocols[i].bytes, ask->protocols[i].bytes))
			return false;
	return true;
}

const struct group_named *member_protocol(const struct group_member *m, struct slice name)
{
	for (uint32_t i = 0; i < m->protocol_count; i++)
		if (slice_eq(m->protocols[i].name, name))
			return &m->protocols[i];
	return NULL;
}

void member_propose(struct group_member *m, struct slice text)
{
	text_free(&m->proposed);
	m->proposed = text;
	weigh(m);
}

void member_adopt(struct group_member *m)
{
	text_free(&m->assignment);
	m->assignment = m->proposed;
	m->proposed = slice_null();
	weigh(m);
}

bool member_id_make(struct groups *g, struct slice prefix, struct slice *out)
{
	struct topic_id id; /* a UUID, as Kafka appends one */
	uint8_t *bytes = mem_alloc(prefix.len + 38);
	char text[37];

	if (!bytes)
		return false;
	(void)g->sys->ops->random(g->sys->self, id.bytes, sizeof(id.bytes));
	id.bytes[6] = (uint8_t)((id.bytes[6] & 0x0f) | 0x40);
	id.bytes[8] = (uint8_t)((id.bytes[8] & 0x3f) | 0x80);
	topic_id_text(&id, text);
	if (prefix.len)
		memcpy(bytes, prefix.ptr, prefix.len);
	bytes[prefix.len] = '-';
	memcpy(bytes + prefix.len + 1, text, 36);
	*out = slice_make(bytes, prefix.len + 37);
	return true;
}

/* ---- what a group has in common ---- */

static bool all_know(const struct group *grp, struct slice protocol)
{
	for (const struct group_member *m = grp->members; m; m = m->next)
		if (!member_protocol(m, protocol))
			return false;
	return true;
}

bool group_supports(const struct group *grp, const struct group_join *ask)
{
	if (grp->state == GROUP_EMPTY)
		return ask->protocol_type.len > 0 && ask->protocol_count > 0;
	if (!slice_eq(grp->protocol_type, ask->protocol_type))
		return false;
	for (uint32_t i = 0; i < ask->protocol_count; i++)
		if (all_know(grp, ask->protocols[i].name))
			return true;
	return false;
}

/* The place in the list of the first of its protocols that all know. */
static uint32_t vote(const struct group_member *m, const struct group_member *list, const bool *common)
{
	for (uint32_t i = 0; i < m->protocol_count; i++)
		for (uint32_t j = 0; j < list->protocol_count; j++)
			if (common[j] && slice_eq(m->protocols[i].name, list->protocols[j].name))
				return j;
	return 0;
}

/* What all know, the leader knows; among equals his order counts. */
const struct group_named *group_choose(const struct group *grp)
{
	const struct group_member *leader = grp->leader;
	uint32_t votes[GROUP_PROTOCOLS_MAX] = {0}, best = 0;
	bool common[GROUP_PROTOCOLS_MAX], any = false;

	if (!leader)
		return NULL;
	for (uint32_t i = 0; i < leader->protocol_count; i++) {
		common[i] = all_know(grp, leader->protocols[i].name);
		any = any || common[i];
	}
	if (!any)
		return NULL;
	for (const struct group_member *m = grp->members; m; m = m->next)
		votes[vote(m, leader, common)]++;
	for (uint32_t i = 1; i < leader->protocol_count; i++)
		if (votes[i] > votes[best])
			best = i;
	return &leader->protocols[best];
}

int64_t group_rebalance_ms(const struct group *grp)
{
	int64_t most = 0;

	for (const struct group_member *m = grp->members; m; m = m->next)
		if (m->rebalance_ms > most)
			most = m->rebalance_ms;
	return most;
}

/* ---- waiting ---- */

void wait_begin(struct groups *g, struct group_wait **holder, struct group_wait *wait)
{
	wait->holder = holder;
	*holder = wait;
	wait->next = g->waits;
	if (wait->next)
		wait->next->prev = &wait->next;
	g->waits = wait;
	wait->prev = &g->waits;
}

void wait_end(struct group_wait *wait, const struct group_answer *a)
{
	*wait->prev = wait->next;
	if (wait->next)
		wait->next->prev = wait->prev;
	*wait->holder = NULL;
	wait->answer(wait, a);
}

void answer_error(struct group_wait *wait, int err, struct slice member_id)
{
	wait->answer(wait, &(struct group_answer){.err = err, .generation = -1, .member_id = member_id});
}

void member_answer_join(struct group_member *m, const struct group_answer *a)
{
	if (!m->join)
		return;
	m->group->awaiting_join--;
	m->stored_as = 0;
	wait_end(m->join, a);
}

void member_fail_join(struct group_member *m, int err, struct slice member_id)
{
	member_answer_join(m, &(struct group_answer){.err = err, .generation = -1, .member_id = member_id});
}

void member_park_join(struct group_member *m, struct group_wait *wait)
{
	member_fail_join(m, ERR_REBALANCING, m->id);
	m->group->awaiting_join++;
	wait_begin(m->group->groups, &m->join, wait);
}

void member_answer_sync(struct group_member *m, int err)
{
	struct group_answer a = {.err = err, .generation = -1};

	if (!m->sync)
		return;
	if (err == 0) {
		a.generation = m->group->generation;
		a.protocol_type = m->group->protocol_type;
		a.protocol = m->group->protocol;
		a.assignment = m->assignment;
	}
	wait_end(m->sync, &a);
}

/* The members with what they said for the protocol; NULL without memory. */
struct group_joined *group_list_members(const struct group *grp)
{
	struct group_joined *list = mem_zalloc(grp->member_count, sizeof(*list));
	uint32_t i = 0;

	for (const struct group_member *m = grp->members; list && m; m = m->next) {
		const struct group_named *said = member_protocol(m, grp->protocol);
		list[i++] = (struct group_joined){.member_id = m->id,
						  .instance_id = m->instance_id,
						  .metadata = said ? said->bytes : SLICE_LIT("")};
	}
	return list;
}

void group_answer_join(struct group *grp, struct group_member *m, struct group_wait *wait, bool with_members)
{
	struct group_joined *list = with_members ? group_list_members(grp) : NULL;
	struct group_answer a = {.generation = grp->generation,
				 .protocol_type = grp->protocol_type,
				 .protocol = grp->protocol,
				 .leader = grp->leader->id,
				 .member_id = m->id,
				 .members = list,
				 .member_count = list ? grp->member_count : 0};

	if (with_members && !list)
		a = (struct group_answer){.err = ERR_COORDINATOR, .generation = -1, .member_id = m->id};
	if (wait == m->join)
		member_answer_join(m, &a);
	else
		wait->answer(wait, &a);
	mem_free(list);
}
