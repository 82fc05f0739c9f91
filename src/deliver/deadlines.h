/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_DELIVER_DEADLINES_H
#define WEIR_DELIVER_DEADLINES_H

#include <stdbool.h>
#include <stdint.h>

/*
 * Times at which something is due, the earliest first: a heap of nodes that are
 * embedded in what is due. For a core that is given the time and has no timers of its own.
 * Room is made before (deadlines_reserve), so that setting one cannot fail.
 */
struct deadline {
	int64_t at_ns;
	uint32_t place; /* 1 + its index in the heap; 0: not set */
	uint8_t kind;   /* the owner's, like `owner` */
	void *owner;
};

struct deadlines {
	struct deadline **heap;
	uint32_t count, cap, reserved;
	void (*sooner)(void *ctx); /* told when the earliest became earlier; may be NULL */
	void *ctx;
};

/* So many more may be set at once; given back with deadlines_release. ERR_NOMEM. */
int deadlines_reserve(struct deadlines *d, uint32_t more);
void deadlines_release(struct deadlines *d, uint32_t fewer);
void deadlines_fini(struct deadlines *d);

/* Moves it where it is set. */
void deadline_set(struct deadlines *d, struct deadline *t, int64_t at_ns);
void deadline_clear(struct deadlines *d, struct deadline *t);

static inline bool deadline_is_set(const struct deadline *t)
{
	return t->place != 0;
}

/* INT64_MAX: none. */
int64_t deadlines_next(const struct deadlines *d);

/* Takes out one that is due; NULL: none. */
struct deadline *deadlines_take(struct deadlines *d, int64_t now_ns);

#endif
