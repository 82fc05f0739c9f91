/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_DELIVER_GROUP_INNER_H
#define WEIR_DELIVER_GROUP_INNER_H

#include "base/hash.h"
#include "base/table.h"
#include "deliver/deadlines.h"
#include "deliver/group.h"
#include "state/group_row.h"

/*
 * What the files of the coordinator share; only they include it.
 *
 *	groups.c           all of them: start, stop, time, views
 *	group.c            groups and members in memory: adding, taking out, choosing
 *	group_rebalance.c  from generation to generation: who joined, timeouts
 *	group_join.c       JoinGroup
 *	group_member.c     SyncGroup, Heartbeat, LeaveGroup, commits
 *	group_store.c      what stands in the journal: images, loading, expiry, deletion
 *
 * Two threads look at images: the coordinator's, and whoever writes the state again
 * (state_tidy). So they and their list change under the entry lock alone.
 */
#define MS_NS 1000000ll
#define GROUP_PROTOCOLS_MAX 64u
#define GROUP_NEW_MEMBER_MS (5 * 60 * 1000ll)      /* Kafka's NewMemberJoinTimeoutMs */
#define GROUPS_SWEEP_NS (10 * 60 * 1000ll * MS_NS) /* Kafka's offsets.retention.check.interval.ms */

/* The rows of a group as they stand in the journal, the group's own first. */
struct group_image {
	struct group_image *next, **prev;
	uint32_t count; /* rows that live; behind them those of the commit that let others go */
	uint32_t total;
	size_t bytes;
	struct state_row rows[];
};

struct group_member {
	struct table_node by_id; /* first; in groups->members */
	struct table_node by_instance;
	struct group *group;
	struct group_member *next, **prev; /* of the group, in the order of joining; or of its pending ones */
	struct slice id, instance_id;      /* owned, like the following */
	struct slice client_id, client_host;
	struct group_named *protocols; /* one block with what they point to */
	uint32_t protocol_count;
	struct slice assignment; /* in force */
	struct slice proposed;   /* by the leader, on its way to the disk */
	int64_t session_ms, rebalance_ms;
	struct group_wait *join, *sync;
	uint64_t stored_as; /* its join waits for this store; 0: for the group */
	struct deadline session;
	size_t bytes;
	bool pending;     /* was given its id and has not joined with it yet */
	bool is_new;      /* has not got through a rebalance */
	bool awaits_sync; /* was told the generation and has not asked for its assignment */
	bool skips;       /* knows skip_assignment */
	struct slice
		led_before; /* of a static join that waits for its store: the leader's id of before; owned */
};

struct group {
	struct table_node node; /* first */
	struct groups *groups;
	struct slice id;
	enum group_state state;
	int32_t generation;
	int64_t since_ms;
	struct slice protocol_type, protocol; /* owned; ptr NULL: none */
	struct group_member *members, **members_end;
	struct group_member *pending;
	struct group_member *leader; /* NULL: no members */
	uint32_t member_count, pending_count, awaiting_join, awaiting_sync;
	struct deadline rebalance, sync;
	bool initial;       /* the first rebalance: its deadline is the delay */
	bool members_added; /* since the delay began */
	int64_t delay_left_ms;
	struct slice led_by;       /* while loading: the leader's id */
	struct group_image *image; /* NULL: nothing is in the journal */
	uint64_t stored;           /* number of the last store */
	uint32_t stores;           /* in flight */
	bool dead;                 /* out of the table; goes with the last store */
	size_t bytes;
};

/* The coordinator's thread writes, any reads. As struct groups_stats. */
struct group_figures {
	_Atomic uint64_t groups, members, bytes, rebalances, expired_members, expired_offsets, held;
	_Atomic uint64_t by_state[GROUP_DEAD];
};

struct groups {
	struct groups_options options;
	struct groups_settings settings;
	const struct sys *sys;
	struct log_port *port;
	struct budget_share *share; /* NULL before the start */
	struct hash_key key;
	struct table table, members, instances;
	struct deadlines deadlines;
	struct group_image *images; /* under the entry lock, like the next two */
	bool has_images;            /* of every group that is in the journal */
	uint32_t image_rows, changed;
	struct group_wait *waits;
	int64_t sweep_ns;
	struct group_figures stats;
	bool started, stopped;
};

enum group_deadline { DEADLINE_SESSION, DEADLINE_REBALANCE, DEADLINE_SYNC };

/* ---- group.c ---- */

/* A copy, never NULL-pointered but without memory; freed with text_free. */
bool text_copy(struct slice from, struct slice *to);
void text_free(struct slice *text);

/* Memory that is held has changed from `before` to `now` bytes. */
void groups_hold(struct groups *g, size_t before, size_t now);

struct group *group_find(const struct groups *g, struct slice id);
struct group *group_new(struct groups *g, struct slice id); /* NULL: no memory, or the bound */
void group_enter_state(struct group *grp, enum group_state state);
/* Takes it out of the table; its members and image must be gone. Freed when nothing waits for it. */
void group_kill(struct group *grp);
void group_release(struct group *grp); /* frees one that is dead and for which no store is in flight */
/* Nobody is in it or may come, and nothing of it was ever stored: goes. */
void group_kill_if_unused(struct group *grp);

struct group_member *member_find(const struct group *grp, struct slice id); /* pending ones too */
struct group_member *member_of_instance(const struct group *grp, struct slice instance_id);
/* NULL: no memory, or the bound. In no list yet. */
struct group_member *member_new(struct group *grp, struct slice id, const struct group_join *ask);
void member_add(struct group_member *m);
void member_add_pending(struct group_member *m);
/* Waits must be answered before. Frees. */
void member_remove(struct group_member *m);
/* Another id for a static member: takes `id`, a text. */
void member_rename(struct group_member *m, struct slice id);
/* What it says now; false without memory: nothing has changed. */
bool member_update(struct group_member *m, const struct group_join *ask);
bool member_says_the_same(const struct group_member *m, const struct group_join *ask);
/* NULL: none of that name. */
const struct group_named *member_protocol(const struct group_member *m, struct slice name);
void member_propose(struct group_member *m, struct slice text); /* takes a text; the null slice: none */
void member_adopt(struct group_member *m);                      /* what was proposed is in force */
/* "CLIENT-uuid"; false without memory. */
bool member_id_make(struct groups *g, struct slice prefix, struct slice *out);

/* Would a member with these fit in? */
bool group_supports(const struct group *grp, const struct group_join *ask);
/* The protocol that all know and most prefer; NULL: none, or no members. */
const struct group_named *group_choose(const struct group *grp);
int64_t group_rebalance_ms(const struct group *grp);

/* ---- waiting ---- */

void wait_begin(struct groups *g, struct group_wait **holder, struct group_wait *wait);
void wait_end(struct group_wait *wait, const struct group_answer *a);
void answer_error(struct group_wait *wait, int err, struct slice member_id);
void member_park_join(struct group_member *m,
		      struct group_wait *wait); /* one that waited before is told ERR_REBALANCING */
void member_answer_join(struct group_member *m, const struct group_answer *a);
void member_fail_join(struct group_member *m, int err, struct slice member_id);
void member_answer_sync(struct group_member *m, int err);
struct group_joined *group_list_members(
	const struct group *grp); /* for an answer; mem_free. NULL without memory */
/* The present generation, for a member's join; members for the leader where `with_members`. */
void group_answer_join(struct group *grp, struct group_member *m, struct group_wait *wait, bool with_members);

/* ---- group_rebalance.c ---- */

void member_heard(struct group_member *m, int64_t now_ns); /* its session begins anew */
void group_rebalance(struct group *grp, int64_t now_ns);   /* where the state allows it */
void group_prepare(struct group *grp, int64_t now_ns);
/* All have joined? Then the next generation. */
void group_try_complete(struct group *grp, int64_t now_ns);
/* One leaves or has timed out. */
void member_drop(struct group_member *m, int64_t now_ns);
void member_synced(struct group_member *m);
/* The assignment could not be stored: all who wait are told, and join again. */
void group_fail_sync(struct group *grp, int err, int64_t now_ns);
void group_due(struct group *grp, struct deadline *t, int64_t now_ns);
void member_due(struct group_member *m, int64_t now_ns);

/* ---- group_member.c ---- */

/* Is it this member? 0, ERR_UNKNOWN_MEMBER, ERR_FENCED_INSTANCE; *out on 0. */
int group_check_member(const struct group *grp, struct slice member_id, struct slice instance_id,
		       struct group_member **out);
/* 0, ERR_BAD_GROUP, ERR_COORDINATOR where it stops. */
int groups_check(const struct groups *g, struct slice group);

/* ---- group_store.c ---- */

enum group_store_kind { STORE_PLAIN, STORE_SYNC, STORE_STATIC };
/* The group as it is now, with what was proposed where `kind` is STORE_SYNC, goes into the journal. */
int group_store(struct group *grp, enum group_store_kind kind);
/* All its rows are loaded: its members begin their sessions. Under the entry lock. ERR_NOMEM. */
int group_loaded(struct group *grp, int64_t now_ns);
void group_drop_image(struct group *grp); /* under the entry lock */
int groups_table(struct groups *g);
void groups_sweep(struct groups *g);
bool group_reads(const struct group *grp, struct slice topic);

#endif
