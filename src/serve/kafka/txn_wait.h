/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SERVE_KAFKA_TXN_WAIT_H
#define WEIR_SERVE_KAFKA_TXN_WAIT_H

#include "serve/kafka/call.h"

/* A call that waits for the coordinator of transactions: what the handlers of its requests have in common. */
struct txn_wait {
	struct txn_call txn; /* first */
	struct kafka_call *call;
	void (*answer)(struct txn_wait *w, int err);
};

/* `bytes` of the call, with this at their head. NULL: there is no memory, and the call has been failed. */
struct txn_wait *txn_wait_new(struct kafka_call *call, size_t bytes,
			      void (*answer)(struct txn_wait *w, int err));

/* With what the coordinator gave: answers now, or when it is durable. */
void txn_wait_result(struct txn_wait *w, int rc);

/*
 * Kafka's code. PRODUCER_FENCED is a newer name for INVALID_PRODUCER_EPOCH: versions below `fenced_from` get
 * the older (KIP-588).
 */
int16_t txn_code(const struct kafka_call *call, int err, int16_t fenced_from);

#endif
