/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_SOURCES_INNER_H
#define WEIR_CONNECT_SOURCES_INNER_H

#include <pthread.h>

#include "connect/sources.h"

/*
 * What the files of sources.h share:
 *
 *	sources.c           which sources there are: of the file, over the API, of an earlier life
 *	sources_entry.c     what is at work for one of them, on its loop
 *	sources_ask.c       what is asked of one, and what is made over the API
 *	sources_watch.c     what is shown
 */
#define LOOPS_MAX 64u

struct entry {
	struct sources *sources;
	struct entry *next; /* in order of name */
	struct table_node named;
	struct conf_source *listed; /* by the configuration that is being applied */
	const struct runner_loop *home;
	/* Under the lock. */
	struct conf_source *file; /* as the configuration names it; NULL: it does not */
	struct conf_source *made; /* as it was made over the API; NULL: it was not */
	struct conf_source
		*conf; /* the one of them that counts, the file's before the other; NULL: no longer */
	struct runner *runner;
	struct runs *runs; /* beside the schedule; has a lock of its own */
	/* On the loop. */
	bool stopping, closed;
	struct sources_request *resetting; /* waits until the runner has stopped */
	struct sources_request *asking;    /* its row is on its way to the disk */
	struct loop_msg msg;               /* the runner has stopped */
	struct loop_msg apply;             /* what counts has changed; posted while applying */
	_Atomic bool applying;
	char name[];
};

struct sources {
	struct state *state;
	struct source_rows *rows;
	struct runner_shared shared;
	struct runner_loop homes[LOOPS_MAX];
	uint32_t home_count;
	pthread_mutex_t lock;
	struct entry *first;
	struct table names; /* entries */
	bool closing, loaded;
};

static inline void sources_lock(struct sources *s)
{
	(void)pthread_mutex_lock(&s->lock);
}

static inline void sources_unlock(struct sources *s)
{
	(void)pthread_mutex_unlock(&s->lock);
}

/* ---- sources.c ---- */

/* Under the lock. */
struct entry *entry_find(struct sources *s, struct slice name);

/* Under the lock: a new one, in order. NULL: no memory. */
struct entry *entry_add(struct sources *s, const char *name);

/* It was made over the API, or changed; NULL: deleted. Shares. */
void entry_set_made(struct entry *e, struct conf_source *made);

/* ---- sources_entry.c ---- */

void entry_init(struct entry *e); /* its part of a new one */

/* What counts of it has changed, or weir stops: its loop will know. Any thread. */
void entry_apply(struct entry *e);

/*
 * On the loop: forgets how far it has read (and, where r deletes it, its runs), between one runner and the next, then answers. None is
 * being reset.
 */
void entry_reset(struct entry *e, struct sources_request *r);

/* ---- sources_ask.c ---- */

void sources_answer(struct sources_request *r, int err);

/* Who, told of a commit on the loop, answers r: what a user was told of outlives a crash. */
struct state_done sources_answer_durable(struct sources_request *r);

#endif
