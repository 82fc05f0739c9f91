/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SERVE_KAFKA_GROUP_CALL_H
#define WEIR_SERVE_KAFKA_GROUP_CALL_H

#include "proto/kafka/kafka_error.h"
#include "serve/kafka/call.h"

/* What the requests of groups share. */

/* A join or a sync that waits for its group. */
struct group_call {
	struct group_wait wait; /* first */
	struct kafka_call *call;
};

/* NULL without memory: the call has failed then. */
struct group_call *group_call_new(struct kafka_call *call,
				  void (*answer)(struct group_wait *wait, const struct group_answer *a));

/* A copy in the memory of the call, which may be null; false without any. */
bool group_call_copy(struct kafka_call *call, struct slice from, struct slice *to);

/* No memory is left for an answer: the call ends. */
void group_call_no_memory(struct kafka_call *call);

/*
 * Kafka's code for what a coordinator answers: what a client does not know to act on, such as
 * a full disk, is COORDINATOR_NOT_AVAILABLE, which it tries again.
 */
int16_t group_code(int err);

/* Of the wall clock. */
int64_t group_call_now_ms(const struct kafka_call *call);

/*
 * Several changes that are told as durable: the call is answered behind the last one. Each that has
 * entered counts once.
 */
struct group_changes {
	struct kafka_call *call;
	void (*answer)(struct kafka_call *call);
	uint32_t pending;
	struct state_done done;
};
struct group_changes *group_changes_new(struct kafka_call *call, void (*answer)(struct kafka_call *call));
void group_changes_entered(struct group_changes *c);
/* All have been tried; answers now where none has entered. */
void group_changes_end(struct group_changes *c);

#endif
