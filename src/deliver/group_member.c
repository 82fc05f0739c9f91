/* SPDX-License-Identifier: Apache-2.0 */
/* What members ask besides joining: SyncGroup, Heartbeat, LeaveGroup, and commits of offsets. */
#include "base/mem.h"
#include "deliver/group_inner.h"

int groups_check(const struct groups *g, struct slice group)
{
	if (g->stopped || !g->started)
		return ERR_COORDINATOR;
	return group.len == 0 || group.len > OFFSETS_GROUP_ID_MAX ? ERR_BAD_GROUP : 0;
}

int group_check_member(const struct group *grp, struct slice member_id, struct slice instance_id,
		       struct group_member **out)
{
	struct group_member *m;

	if (instance_id.ptr) {
		m = member_of_instance(grp, instance_id);
		if (!m)
			return ERR_UNKNOWN_MEMBER;
		if (!slice_eq(m->id, member_id))
			return ERR_FENCED_INSTANCE;
	} else {
		m = member_find(grp, member_id);
		if (!m || m->pending)
			return ERR_UNKNOWN_MEMBER;
	}
	*out = m;
	return 0;
}

/* ---- sync ---- */

static bool differs(struct slice said, struct slice is)
{
	return said.ptr && !slice_eq(said, is);
}

/* The leader's proposal; who is left out gets nothing. ERR_NOMEM, ERR_LIMIT. */
static int take_proposal(struct group *grp, const struct group_sync *ask)
{
	for (struct group_member *m = grp->members; m; m = m->next)
		member_propose(m, slice_null());
	for (uint32_t i = 0; i < ask->assignment_count; i++) {
		struct group_member *m = member_find(grp, ask->assignments[i].name);
		struct slice text;
		if (!m || m->pending)
			continue;
		if (ask->assignments[i].bytes.len > GROUP_ROW_BYTES_MAX ||
		    grp->groups->stats.bytes + ask->assignments[i].bytes.len > GROUPS_BYTES_MAX)
			return ERR_LIMIT;
		if (!text_copy(ask->assignments[i].bytes, &text))
			return ERR_NOMEM;
		member_propose(m, text);
	}
	return 0;
}

static void sync_completing(struct group *grp, struct group_member *m, const struct group_sync *ask,
			    struct group_wait *wait, int64_t now_ns)
{
	int rc;

	member_answer_sync(m, ERR_REBALANCING); /* of before */
	wait_begin(grp->groups, &m->sync, wait);
	member_synced(m);
	if (m != grp->leader)
		return;
	rc = take_proposal(grp, ask);
	if (rc == 0)
		rc = group_store(grp, STORE_SYNC);
	if (rc)
		group_fail_sync(grp, ERR_COORDINATOR, now_ns);
}

static int check_sync(const struct group *grp, const struct group_sync *ask, struct group_member **m)
{
	int rc = group_check_member(grp, ask->member_id, ask->instance_id, m);

	if (rc)
		return rc;
	if (ask->generation != grp->generation)
		return ERR_ILLEGAL_GENERATION;
	if (differs(ask->protocol_type, grp->protocol_type) || differs(ask->protocol, grp->protocol))
		return ERR_GROUP_PROTOCOL;
	if (grp->state == GROUP_EMPTY)
		return ERR_UNKNOWN_MEMBER;
	return grp->state == GROUP_PREPARING ? ERR_REBALANCING : 0;
}

void groups_sync(struct groups *g, const struct group_sync *ask, struct group_wait *wait, int64_t now_ns)
{
	struct group_member *m = NULL;
	struct group *grp = NULL;
	int rc = groups_check(g, ask->group);

	if (rc == 0) {
		grp = group_find(g, ask->group);
		rc = grp ? check_sync(grp, ask, &m) : ERR_UNKNOWN_MEMBER;
	}
	if (rc) {
		answer_error(wait, rc, slice_null());
		return;
	}
	if (grp->state == GROUP_COMPLETING) {
		sync_completing(grp, m, ask, wait, now_ns);
		return;
	}
	member_synced(m);
	member_heard(m, now_ns);
	wait->answer(wait, &(struct group_answer){.generation = grp->generation,
						  .protocol_type = grp->protocol_type,
						  .protocol = grp->protocol,
						  .assignment = m->assignment});
}

/* ---- heartbeat, leave ---- */

int groups_heartbeat(struct groups *g, const struct group_who *who, int64_t now_ns)
{
	struct group_member *m;
	struct group *grp;
	int rc = groups_check(g, who->group);

	if (rc)
		return rc;
	grp = group_find(g, who->group);
	if (!grp)
		return ERR_UNKNOWN_MEMBER;
	rc = group_check_member(grp, who->member_id, who->instance_id, &m);
	if (rc)
		return rc;
	if (who->generation != grp->generation)
		return ERR_ILLEGAL_GENERATION;
	if (grp->state == GROUP_EMPTY)
		return ERR_UNKNOWN_MEMBER;
	member_heard(m, now_ns);
	return grp->state == GROUP_PREPARING ? ERR_REBALANCING : 0;
}

int groups_leave(struct groups *g, const struct group_who *who, int64_t now_ns)
{
	struct group_member *m;
	struct group *grp;
	int rc = groups_check(g, who->group);

	if (rc)
		return rc;
	grp = group_find(g, who->group);
	if (!grp)
		return ERR_UNKNOWN_MEMBER;
	m = member_find(grp, who->member_id);
	if (who->member_id.len == 0) { /* an admin client: whoever has the instance id */
		m = who->instance_id.ptr ? member_of_instance(grp, who->instance_id) : NULL;
		rc = m ? 0 : ERR_UNKNOWN_MEMBER;
	} else if (!m || !m->pending) {
		rc = group_check_member(grp, who->member_id, who->instance_id, &m);
	}
	if (rc)
		return rc;
	member_drop(m, now_ns);
	group_kill_if_unused(grp);
	return 0;
}

/* ---- commits ---- */

/* ClassicGroup.validateOffsetCommit. *m is NULL for who is no member. */
static int check_commit(const struct group *grp, const struct group_who *who, bool transactional,
			struct group_member **m)
{
	bool member = who->generation >= 0 || who->member_id.len > 0 || who->instance_id.ptr;
	int rc;

	/* An admin client, or a consumer with partitions of its own choice. */
	if (who->generation < 0 && grp->state == GROUP_EMPTY)
		return 0;
	if (member) {
		rc = group_check_member(grp, who->member_id, who->instance_id, m);
		if (rc)
			return rc;
		if (who->generation != grp->generation)
			return ERR_ILLEGAL_GENERATION;
	} else if (!transactional && grp->state != GROUP_EMPTY) {
		return ERR_UNKNOWN_MEMBER;
	}
	/* While it completes, what the member had may be another's next: it learns so and joins. */
	return !transactional && grp->state == GROUP_COMPLETING ? ERR_REBALANCING : 0;
}

static int find_committer(struct groups *g, const struct group_who *who, bool transactional,
			  struct group_member **m)
{
	struct group *grp;

	*m = NULL;
	if (g->stopped || !g->started)
		return ERR_COORDINATOR;
	/* An empty one is allowed to commit, but not within a transaction (GroupCoordinator.validateGroupStatus). */
	if (who->group.len > OFFSETS_GROUP_ID_MAX || (transactional && who->group.len == 0))
		return ERR_BAD_GROUP;
	grp = group_find(g, who->group);
	if (grp)
		return check_commit(grp, who, transactional, m);
	return who->generation < 0 ? 0 : ERR_ILLEGAL_GENERATION;
}

int groups_check_commit(struct groups *g, const struct group_who *who, bool transactional)
{
	struct group_member *m;

	return find_committer(g, who, transactional, &m);
}

int groups_commit(struct groups *g, const struct group_who *who, const struct offset_item *items,
		  uint32_t count, const struct state_done *done, int64_t now_ns)
{
	struct offsets_change *change;
	struct group_member *m;
	int rc = find_committer(g, who, false, &m);

	if (rc)
		return rc;
	if (m)
		member_heard(m, now_ns);
	rc = offsets_put(g->options.offsets, who->group, OFFSETS_COMMITTED, items, count, &change);
	if (rc)
		return rc;
	log_enter_begin(g->options.log);
	rc = offsets_change_enter(g->options.offsets, change, done);
	log_enter_end(g->options.log);
	return rc;
}
