/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_INGEST_PRODUCER_IDS_H
#define WEIR_INGEST_PRODUCER_IDS_H

#include "state/state.h"

/*
 * Numbers for producers, none given twice, whatever happens in between. They are
 * taken in blocks: a row of state says where the next block begins, and no number
 * leaves weir before the row that is behind it is durable. What is left of a block at a crash is
 * never given. One thread.
 */
struct producer_ids;

#define PRODUCER_IDS_BLOCK 1000

/* Registers its table. ERR_NOMEM, ERR_LIMIT. */
int producer_ids_new(struct state *state, struct producer_ids **out);
void producer_ids_free(struct producer_ids *p);

/* Before the first number is taken: where it is told what is durable. */
void producer_ids_start(struct producer_ids *p, struct log_port *port);

/* Who waits until a number may be told: the caller's memory until on_durable. */
struct producer_ids_waiter {
	void (*on_durable)(struct producer_ids_waiter *w);
	int64_t id; /* its number */
	struct producer_ids_waiter *next;
};

/*
 * Under log_enter_begin. 0: *id may be told at once; 1: it may be told when on_durable was called, on
 * the port's thread (waiter NULL: the caller knows by a commit that enters later). Errors as state_put.
 */
int producer_ids_take(struct producer_ids *p, struct producer_ids_waiter *waiter, int64_t *id);

/* For verification: whether a stored row can be read. 0, ERR_CORRUPT. */
int producer_ids_row_check(struct slice key, struct slice value);

#endif
