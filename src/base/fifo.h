/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BASE_FIFO_H
#define WEIR_BASE_FIFO_H

#include <stddef.h>

/*
 * A list in which things wait their turn: put at the end, taken from the front. The node is the
 * first member of what waits, so that a node is cast to it. No memory, no lock: its owner's.
 */
struct fifo_node {
	struct fifo_node *next;
};

struct fifo {
	struct fifo_node *first, **end; /* first NULL: empty */
};

static inline void fifo_init(struct fifo *q)
{
	q->first = NULL;
	q->end = &q->first;
}

/* Keeps the node, which is in no queue. */
static inline void fifo_put(struct fifo *q, struct fifo_node *node)
{
	node->next = NULL;
	*q->end = node;
	q->end = &node->next;
}

/* NULL: it is empty. */
static inline void *fifo_take(struct fifo *q)
{
	struct fifo_node *node = q->first;

	if (node) {
		q->first = node->next;
		if (!q->first)
			q->end = &q->first;
	}
	return node;
}

/* All of `from` to a queue that is made by it; `from` is empty then. */
static inline void fifo_move(struct fifo *to, struct fifo *from)
{
	*to = *from;
	if (!to->first)
		to->end = &to->first;
	fifo_init(from);
}

/* All of `from` in front of what `to` has; `from` is empty then. */
static inline void fifo_put_before(struct fifo *to, struct fifo *from)
{
	if (!from->first)
		return;
	*from->end = to->first;
	if (!to->first)
		to->end = from->end;
	to->first = from->first;
	fifo_init(from);
}

#endif
