/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_DELIVER_HUB_H
#define WEIR_DELIVER_HUB_H

#include "base/budget.h"
#include "log/log.h"
#include "state/topics.h"

/*
 * Where the readers of one loop meet the log: one log_watch a partition and
 * loop, however many readers stand behind it. What the log tells marks readers
 * ready; hub_run then calls each of them once, however many of its partitions
 * moved. A parked reader costs its own bytes and nothing else.
 *
 * The hub also watches the partition of weir's own state: that is how readers
 * learn of topics that were created, grew or were deleted. There is no timer.
 */
struct hub;

struct hub_options {
	struct log *log;
	struct topics *topics;
	struct log_port *port;      /* the loop's */
	struct budget_share *share; /* the loop's: what readers hold is counted there; NULL: nowhere */
};

/* Everything is borrowed for the hub's life. Returns owned; ERR_NOMEM. */
int hub_new(const struct hub_options *options, struct hub **out);

/*
 * After its readers were closed, and after log_stop (a read under way is the
 * log's until then). log_port_run must not be called any more. NULL is allowed.
 */
void hub_free(struct hub *hub);

/* On the loop, always right after log_port_run: calls on_ready of the readers that have something. */
void hub_run(struct hub *hub);

struct hub_stats {
	uint32_t readers; /* open */
	uint32_t watches; /* partitions watched */
	uint32_t parked;  /* fetches that wait for more */
	uint64_t wakes;   /* of readers and fetches so far */
};
void hub_stats(const struct hub *hub, struct hub_stats *out);

/*
 * How far the open readers are behind the ends of their partitions, in records,
 * by the tag they were opened with. Looks at every reader: for a scrape.
 */
#define HUB_TAGS 8u
struct hub_lag {
	int64_t sum;
	int64_t max; /* of one reader */
};
void hub_lag(const struct hub *hub, struct hub_lag lag[HUB_TAGS]);

#endif
