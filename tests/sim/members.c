/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Consumer groups over the coordinator (deliver/group.h): three members of one group that join, are given
 * assignments, commit, leave and go on after a crash with what they were told; and one reader that commits without a
 * group's members. Each commit sets two partitions to the next number, so that both
 * have the same one or it was not whole. The group's time is its own: it only goes on, a
 * little at each turn, so that nobody's session ends unseen.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/check.h"
#include "world.h"

#define SESSION_MS 1800000
#define PARTS 2u

static const struct topic_id topic = {{0x51}};
static const char *const group_names[GROUP_KINDS] = {"members", "alone"};

/* Of no seed in `seeds`, which mean what they meant; and there are no producers beside them. */
bool members_are_on(const struct world *w)
{
	return (w->seed % 12 == 2 || w->seed % 12 == 6) && !w->profile.rot && !w->profile.allocs;
}

static struct slice id_of(const struct member *m)
{
	return slice_make(m->id, m->id_len);
}

static void forget_id(struct member *m)
{
	m->id_len = 0;
	m->told = 0;
	m->at = MEMBER_OUT;
}

/* What the leader of a generation gives to a member: known to everybody who knows both. */
static size_t assignment_of(int32_t generation, struct slice id, char text[MEMBER_TEXT])
{
	int n = snprintf(text, MEMBER_TEXT, "%d %.*s", generation, (int)id.len, (const char *)id.ptr);

	CHECK(n > 0 && n < (int)MEMBER_TEXT);
	return (size_t)n;
}

/* ---- answers ---- */

static void on_refused(struct member *m, int err)
{
	if (err == ERR_UNKNOWN_MEMBER)
		forget_id(m);
	m->at = MEMBER_OUT;
}

static void on_joined(struct group_wait *wait, const struct group_answer *a)
{
	struct member *m = (struct member *)wait;

	if (a->err) {
		on_refused(m, a->err);
		return;
	}
	CHECK(a->member_id.len < sizeof(m->id));
	if (m->told && a->generation < m->told)
		model_fail("a member that was told of generation %d joins %d", m->told, a->generation);
	memcpy(m->id, a->member_id.ptr, a->member_id.len);
	m->id_len = a->member_id.len;
	m->joined = a->generation;
	m->fellow_count = 0;
	for (uint32_t i = 0; i < a->member_count && i < MEMBERS_KNOWN; i++) {
		struct slice id = a->members[i].member_id;
		CHECK(id.len < MEMBER_TEXT);
		memcpy(m->fellows[i], id.ptr, id.len);
		m->fellow_len[i] = id.len;
		m->fellow_count++;
	}
	m->at = MEMBER_JOINED;
}

static void on_synced(struct group_wait *wait, const struct group_answer *a)
{
	struct member *m = (struct member *)wait;
	char text[MEMBER_TEXT];
	size_t n;

	if (a->err) {
		on_refused(m, a->err);
		return;
	}
	n = assignment_of(m->joined, id_of(m), text);
	if (!slice_eq(a->assignment, slice_make(text, n)))
		model_fail("a member is assigned \"%.*s\" and not \"%s\"", (int)a->assignment.len,
			   (const char *)a->assignment.ptr, text);
	m->told = m->joined;
	m->w->assignments++;
	m->at = MEMBER_IN;
}

/* ---- what they do ---- */

static void join(struct world *w, struct member *m)
{
	struct group_named protocol = {.name = SLICE_LIT("p"), .bytes = SLICE_LIT("what I want")};
	struct group_join ask = {.group = slice_str(group_names[GROUP_OF_MEMBERS]),
				 .member_id = m->id_len ? id_of(m) : SLICE_LIT(""),
				 .client_id = SLICE_LIT("sim"),
				 .client_host = SLICE_LIT("here"),
				 .protocol_type = SLICE_LIT("consumer"),
				 .protocols = &protocol,
				 .protocol_count = 1,
				 .session_ms = SESSION_MS,
				 .rebalance_ms = 1 + below(w, 5000)};

	m->at = MEMBER_JOINING;
	m->wait.answer = on_joined;
	groups_join(w->groups, &ask, &m->wait, w->group_ns);
}

static void sync_up(struct world *w, struct member *m)
{
	struct group_named list[MEMBERS_KNOWN];
	char texts[MEMBERS_KNOWN][MEMBER_TEXT];
	struct group_sync ask = {.group = slice_str(group_names[GROUP_OF_MEMBERS]),
				 .member_id = id_of(m),
				 .generation = m->joined,
				 .assignments = list,
				 .assignment_count = m->fellow_count};

	for (uint32_t i = 0; i < m->fellow_count; i++) {
		struct slice id = slice_make(m->fellows[i], m->fellow_len[i]);
		list[i].name = id;
		list[i].bytes = slice_make(texts[i], assignment_of(m->joined, id, texts[i]));
	}
	m->w = w;
	m->at = MEMBER_SYNCING;
	m->wait.answer = on_synced;
	groups_sync(w->groups, &ask, &m->wait, w->group_ns);
}

static void on_committed(void *ctx)
{
	struct committing *c = ctx;
	struct committed *of = &c->w->committed[c->kind];

	c->used = false;
	if (c->number > of->answered)
		of->answered = c->number;
}

static int commit(struct world *w, enum group_kind kind, const struct group_who *who)
{
	struct committed *of = &w->committed[kind];
	struct offset_item items[PARTS];
	struct committing *c = NULL;
	struct state_done done;
	int rc;

	for (uint32_t i = 0; i < COMMITTING_MAX; i++)
		if (!w->committing[i].used)
			c = &w->committing[i];
	if (!c)
		return 0;
	for (uint32_t i = 0; i < PARTS; i++)
		items[i] = (struct offset_item){.topic = topic,
						.partition = i,
						.leader_epoch = -1,
						.offset = of->entered + 1,
						.committed_ms = 1,
						.expires_ms = -1,
						.metadata = SLICE_LIT("m")};
	*c = (struct committing){.used = true, .w = w, .kind = kind, .number = of->entered + 1};
	done = (struct state_done){.port = w->port, .fn = on_committed, .ctx = c};
	rc = groups_commit(w->groups, who, items, PARTS, &done, w->group_ns);
	if (rc)
		c->used = false;
	else
		of->entered++;
	return rc;
}

static void live_in_it(struct world *w, struct member *m)
{
	struct group_who who = {.group = slice_str(group_names[GROUP_OF_MEMBERS]),
				.member_id = id_of(m),
				.generation = m->told};
	int rc;

	if (chance(w, 15)) {
		(void)groups_leave(w->groups, &who, w->group_ns);
		forget_id(m);
		return;
	}
	rc = chance(w, 2) ? groups_heartbeat(w->groups, &who, w->group_ns) :
			    commit(w, GROUP_OF_MEMBERS, &who);
	if (rc == ERR_UNKNOWN_MEMBER || rc == ERR_ILLEGAL_GENERATION || rc == ERR_REBALANCING)
		on_refused(m, rc);
}

void members_turn(struct world *w)
{
	struct member *m = &w->members[below(w, MEMBERS)];
	struct group_who nobody = {.group = slice_str(group_names[GROUP_ALONE]), .generation = -1};

	w->group_ns += (int64_t)below(w, 100) * 1000000;
	groups_run(w->groups, w->group_ns);
	if (chance(w, 3)) {
		(void)commit(w, GROUP_ALONE, &nobody);
		return;
	}
	switch (m->at) {
	case MEMBER_OUT:
		join(w, m);
		break;
	case MEMBER_JOINED:
		sync_up(w, m);
		break;
	case MEMBER_IN:
		live_in_it(w, m);
		break;
	case MEMBER_JOINING:
	case MEMBER_SYNCING:
		break;
	}
}

bool members_waiting(const struct world *w)
{
	for (uint32_t i = 0; i < COMMITTING_MAX; i++)
		if (w->committing[i].used)
			return true;
	return false;
}

/* ---- the machine comes and goes ---- */

int members_open(struct world *w)
{
	struct groups_options o = {.log = w->log, .state = w->state, .topics = w->topics};
	int rc = offsets_new(w->log, w->state, &w->offsets);

	o.offsets = w->offsets;
	return rc ? rc : groups_new(&o, &w->groups);
}

void members_start(struct world *w)
{
	w->group_ns = 1;
	groups_start(w->groups, w->port, NULL, w->group_ns);
}

void members_stop(struct world *w)
{
	groups_stop(w->groups);
}

void members_close(struct world *w)
{
	groups_free(w->groups);
	offsets_free(w->offsets);
}

void members_forget(struct world *w)
{
	for (uint32_t i = 0; i < COMMITTING_MAX; i++)
		w->committing[i].used = false;
	for (uint32_t i = 0; i < MEMBERS; i++) {
		struct member *m = &w->members[i];
		if (m->at != MEMBER_IN)
			m->at = MEMBER_OUT;
	}
}

void members_reset(struct world *w)
{
	memset(w->members, 0, sizeof(w->members));
	memset(w->committed, 0, sizeof(w->committed));
	memset(w->committing, 0, sizeof(w->committing));
}

/* ---- the oracle ---- */

static void check_offsets(struct world *w, enum group_kind kind)
{
	struct committed *of = &w->committed[kind];
	int64_t found[PARTS];
	struct arena arena;

	arena_init(&arena, 4096, 1u << 20);
	for (uint32_t i = 0; i < PARTS; i++) {
		struct offset_item item;
		int rc = offsets_find(w->offsets, slice_str(group_names[kind]), &topic, i, &arena, &item);
		CHECK(rc >= 0);
		found[i] = rc ? item.offset : 0;
	}
	arena_fini(&arena);
	if (found[0] != found[1])
		model_fail("a commit of offsets is there in part: %" PRId64 " and %" PRId64, found[0],
			   found[1]);
	if (found[0] < of->answered || found[0] > of->entered)
		model_fail("offset %" PRId64 " of group %s was answered, and it is at %" PRId64, of->answered,
			   group_names[kind], found[0]);
	of->answered = of->entered = found[0];
	w->offsets_found += found[0] > 0;
}

struct looking {
	const struct member *member;
	bool found;
};

static void look(void *ctx, const struct group_member_view *view)
{
	struct looking *l = ctx;
	char text[MEMBER_TEXT];

	if (!slice_eq(view->id, id_of(l->member)))
		return;
	l->found = slice_eq(view->assignment,
			    slice_make(text, assignment_of(l->member->told, id_of(l->member), text)));
}

/* Who was told its assignment has it, or the group has gone on to another generation. */
static void check_member(struct world *w, const struct member *m)
{
	struct slice name = slice_str(group_names[GROUP_OF_MEMBERS]);
	struct group_who who = {.group = name, .member_id = id_of(m), .generation = m->told};
	struct looking l = {.member = m};
	struct group_view view;

	if (!m->told)
		return;
	if (!groups_view(w->groups, name, &view) || view.generation < m->told)
		model_fail("a member was told of generation %d, and the group does not know of it", m->told);
	if (view.generation > m->told)
		return;
	groups_each_member(w->groups, name, look, &l);
	if (!l.found)
		model_fail("a member of generation %d has lost its assignment", m->told);
	if (groups_heartbeat(w->groups, &who, w->group_ns))
		model_fail("a member of generation %d is refused after a start", m->told);
}

void members_check(struct world *w)
{
	for (uint32_t i = 0; i < GROUP_KINDS; i++)
		check_offsets(w, (enum group_kind)i);
	for (uint32_t i = 0; i < MEMBERS; i++)
		check_member(w, &w->members[i]);
}
