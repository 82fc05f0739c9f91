/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SERVE_DEAD_WATCH_H
#define WEIR_SERVE_DEAD_WATCH_H

#include "obs/health.h"
#include "state/dead_marks.h"

/*
 * Watches the topics of dead letters: how much is in them, how old it is, and whether one has more than its
 * topic's dead_letters.max_bytes, which is told in the log once, in /readyz and in a metric. It looks
 * when it is asked or told that letters were added; it has no timer.
 */
struct dead_watch;

struct dead_figures {
	uint64_t open, letters, bytes;
	int64_t first_open; /* offset; -1: none is open */
	int64_t oldest_ms; /* when that was set aside; -1: none, or it is on a disk that has to be waited for */
	int64_t bytes_max; /* -1: none */
	bool over;
};

/* Keeps both. Returns owned. ERR_NOMEM. */
int dead_watch_new(struct topics *topics, struct dead_marks *marks, struct dead_watch **out);
void dead_watch_free(struct dead_watch *w); /* NULL is allowed */

/* Of one topic of dead letters. Tells of it in the log where it has just come over its limit. Any thread. */
void dead_watch_look(struct dead_watch *w, struct topic *dead, struct dead_figures *out);

/* Letters were added for this topic. Any thread, also under no lock. */
void dead_watch_added(struct dead_watch *w, struct slice topic);

/* Of all together; how many are over, and the name of one of them (empty: none). Any thread. */
struct dead_sum {
	uint64_t open, bytes, over;
	int64_t oldest_ms; /* -1: none */
	char name[TOPIC_NAME_MAX + 1];
};
void dead_watch_sum(struct dead_watch *w, struct dead_sum *out);

/* For health_probe: a warning where a topic is over its limit. ctx is the watch. */
health_probe_fn dead_watch_health;

#endif
