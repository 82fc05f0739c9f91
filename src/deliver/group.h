/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_DELIVER_GROUP_H
#define WEIR_DELIVER_GROUP_H

#include "base/budget.h"
#include "state/offsets.h"
#include "state/topics.h"

/*
 * The coordinator of consumer groups: who is in a group, of which generation it is,
 * which assignment each member has, and which commits of offsets are taken. What
 * it does is what Kafka's coordinator of classic groups does (docs/internals/group.md); what
 * members say to each other (subscriptions, assignments) it passes on unread.
 *
 * It knows no protocol, no connection and no clock: time is an argument (monotonic
 * nanoseconds), answers go through callbacks. It belongs to one thread, that of the
 * port it is started with. Errors are ERR_*; err.def has Kafka's code of each.
 *
 * An assignment stands in the journal before a member is told of it: generation, members and
 * assignments survive a restart, and so consumers go on where they were.
 */
struct groups;

struct groups_settings {
	int64_t session_min_ms, session_max_ms; /* bounds of session timeouts */
	int64_t initial_delay_ms;     /* how long the first members of an empty group wait for others */
	int64_t offsets_retention_ms; /* of offsets, after the group became empty */
	uint32_t members_max;         /* of one group */
};
/* 6 s, 30 min, 250 ms, 7 d, no bound. */
extern const struct groups_settings groups_settings_default;

struct groups_options {
	struct log *log;
	struct state *state;
	struct offsets *offsets;
	struct topics *topics;
	const struct groups_settings *settings; /* copied; NULL: the defaults */
};

/*
 * Members and what they say, of all groups together: past it who joins is told ERR_COORDINATOR and tries again.
 * The rows of one group are one commit (LOG_COMMIT_BYTES_MAX), so it is less than that.
 */
#define GROUPS_BYTES_MAX (32u << 20)

/* Registers its table; borrows all. Before state_load. ERR_NOMEM. */
int groups_new(const struct groups_options *options, struct groups **out);
void groups_free(struct groups *g); /* NULL is allowed; after groups_stop and log_stop */
void groups_set(struct groups *g, const struct groups_settings *settings);

/*
 * After state_load: from now on members have their session timeout to be heard of. Answers that wait for the disk
 * come through the port; `share` (kept, of its loop; NULL: nobody) is told of all memory that groups take.
 */
void groups_start(struct groups *g, struct log_port *port, struct budget_share *share, int64_t now_ns);

/* Everybody who waits is answered ERR_COORDINATOR, and so is whoever comes; nothing changes any more. */
void groups_stop(struct groups *g);

/* When groups_run is to be called next; INT64_MAX: never. `sooner` is told when that has come nearer; it must be quick. */
int64_t groups_next_ns(const struct groups *g);
void groups_watch(struct groups *g, void (*sooner)(void *ctx), void *ctx);

/* Timeouts that are due, and every ten minutes what has expired. May call answers. */
void groups_run(struct groups *g, int64_t now_ns);

/* ---- members: Kafka's JoinGroup, SyncGroup, Heartbeat, LeaveGroup ---- */

struct group_named {
	struct slice name;  /* a protocol (assignor), or a member id */
	struct slice bytes; /* what is said with it */
};

struct group_joined {
	struct slice member_id, instance_id; /* instance_id.ptr NULL: none */
	struct slice metadata;
};

/* Views, valid until the callback returns. */
struct group_answer {
	int err;
	int32_t generation;                   /* -1 with an error */
	struct slice protocol_type, protocol; /* ptr NULL: none */
	struct slice leader, member_id;       /* of joins */
	bool skip_assignment;                 /* of joins */
	const struct group_joined *members;   /* of the leader's join */
	uint32_t member_count;
	struct slice assignment; /* of syncs */
};

/*
 * Who waits for an answer: memory of the caller, kept until `answer` is called, which happens exactly once:
 * soon, or when the group has come together, perhaps inside the call that gave it.
 */
struct group_wait {
	void (*answer)(struct group_wait *wait, const struct group_answer *a);
	/* the group's: */
	struct group_wait *next, **prev; /* of all that wait */
	struct group_wait **holder;      /* the member's pointer to it */
};

struct group_join {
	struct slice group, member_id; /* member_id empty: a new one */
	struct slice instance_id;      /* ptr NULL: a dynamic member */
	struct slice client_id, client_host;
	struct slice protocol_type;
	const struct group_named *protocols; /* by preference */
	uint32_t protocol_count;
	int64_t session_ms, rebalance_ms;
	bool id_required; /* a new member is given its id first (from version 4) */
	bool skips;       /* knows skip_assignment (from version 9) */
};
void groups_join(struct groups *g, const struct group_join *ask, struct group_wait *wait, int64_t now_ns);

struct group_sync {
	struct slice group, member_id, instance_id;
	struct slice protocol_type, protocol; /* ptr NULL: not said */
	int32_t generation;
	const struct group_named *assignments; /* the leader's */
	uint32_t assignment_count;
};
void groups_sync(struct groups *g, const struct group_sync *ask, struct group_wait *wait, int64_t now_ns);

/* Who speaks, as what; empty and -1 where it is nobody of the group. */
struct group_who {
	struct slice group, member_id, instance_id;
	int32_t generation;
};
int groups_heartbeat(struct groups *g, const struct group_who *who, int64_t now_ns);

/* One member; `who` with an empty member id: whoever has the instance id. */
int groups_leave(struct groups *g, const struct group_who *who, int64_t now_ns);

/* ---- offsets ---- */

/*
 * May this member commit for its group now? With `transactional` as TxnOffsetCommit asks. 0, ERR_BAD_GROUP,
 * ERR_COORDINATOR, ERR_UNKNOWN_MEMBER, ERR_FENCED_INSTANCE, ERR_ILLEGAL_GENERATION, ERR_REBALANCING.
 */
int groups_check_commit(struct groups *g, const struct group_who *who, bool transactional);

/*
 * The same, and commits; it is as good as a heartbeat. `done` when it is durable; not with an
 * error. Besides the above what offsets_put and log_enter give. Takes the entry lock.
 */
int groups_commit(struct groups *g, const struct group_who *who, const struct offset_item *items,
		  uint32_t count, const struct state_done *done, int64_t now_ns);

/*
 * Deletes committed offsets (OffsetDelete): of `items` topic and partition count. errors[i] is 0 or
 * ERR_GROUP_SUBSCRIBED. *entered: `done` will come. ERR_UNKNOWN_GROUP, ERR_GROUP_ACTIVE, and as above.
 */
int groups_delete_offsets(struct groups *g, struct slice group, const struct offset_item *items,
			  uint32_t count, int *errors, const struct state_done *done, bool *entered);

/* ---- looking after them ---- */

enum group_state { GROUP_EMPTY, GROUP_PREPARING, GROUP_COMPLETING, GROUP_STABLE, GROUP_DEAD };
const char *group_state_name(enum group_state state); /* as Kafka calls it: "PreparingRebalance" */

struct group_view {
	struct slice id;
	enum group_state state;
	int32_t generation;
	struct slice protocol_type; /* empty: of no members yet */
	struct slice protocol;      /* empty where it is not Stable */
	uint32_t member_count;
	uint32_t offset_count;
};
struct group_member_view {
	struct slice id, instance_id, client_id, client_host; /* instance_id.ptr NULL: none */
	struct slice metadata, assignment;                    /* null where the group is not Stable */
};

/* False: there is no such group. Views live until something is asked or run. */
bool groups_view(struct groups *g, struct slice group, struct group_view *out);
typedef void group_member_fn(void *ctx, const struct group_member_view *member);
void groups_each_member(struct groups *g, struct slice group, group_member_fn *fn, void *ctx);

/* Every group, those of which only offsets are known too, in no order. fn asks nothing of this file. */
typedef void group_view_fn(void *ctx, const struct group_view *view);
void groups_each(struct groups *g, group_view_fn *fn, void *ctx);

/* A group without members, with its offsets. `done` when that is durable. ERR_BAD_GROUP, ERR_UNKNOWN_GROUP, ERR_GROUP_ACTIVE, and what log_enter gives. */
int groups_delete(struct groups *g, struct slice group, const struct state_done *done);

struct groups_stats {
	uint64_t groups, members, bytes, rebalances, expired_members, expired_offsets;
	uint64_t held;                 /* bytes: those, and their rows as they stand in the journal */
	uint64_t by_state[GROUP_DEAD]; /* groups */
};
/* On any thread. */
void groups_stats(const struct groups *g, struct groups_stats *out);

#endif
