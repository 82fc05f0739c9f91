/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SERVE_STREAM_SILENCE_H
#define WEIR_SERVE_STREAM_SILENCE_H

#include "net/net.h"

/*
 * Who has been silent for too long: one timer for all streams of a loop. The
 * limit is the same for all of them, so a list in the order of their last sign
 * of life is a list in the order of their deadlines; a sign of life moves its
 * stream to the end. With nobody in the list no timer is armed.
 */
struct silence {
	struct silence *next, *prev; /* next NULL: in no list */
	int64_t since_ns;
};

struct silence_list {
	struct loop *loop;
	struct silence head; /* of the ring: first is the one silent longest */
	struct loop_timer timer;
	int64_t limit_ns;
	bool (*on_silent)(void *ctx, struct silence *s);
	void *ctx;
};

/*
 * on_silent is called each time a member has been silent for the limit. It may
 * stop any member, and gives false where that has freed the list itself. Keeps ctx.
 */
void silence_init(struct silence_list *list, struct loop *loop, int64_t limit_ns,
		  bool (*on_silent)(void *ctx, struct silence *s), void *ctx);

/* Before the list is freed; it is empty by then. */
void silence_fini(struct silence_list *list);

/* Embedded in its owner and zeroed; silent from now on. */
void silence_start(struct silence_list *list, struct silence *s);

/* A sign of life. */
void silence_break(struct silence_list *list, struct silence *s);

/* Does nothing where it is in no list. */
void silence_stop(struct silence_list *list, struct silence *s);

/* The first member, or NULL; the one after s, or NULL: for walks over all, in which the present one may be stopped. */
struct silence *silence_first(const struct silence_list *list);
struct silence *silence_after(const struct silence_list *list, const struct silence *s);

#endif
