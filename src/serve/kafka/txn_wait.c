/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/kafka/txn_wait.h"

#include "proto/kafka/kafka_error.h"

static void on_done(struct txn_call *txn)
{
	struct txn_wait *w = (struct txn_wait *)txn;

	w->answer(w, 0);
}

struct txn_wait *txn_wait_new(struct kafka_call *call, size_t bytes,
			      void (*answer)(struct txn_wait *w, int err))
{
	struct txn_wait *w = kafka_call_new(call, bytes);

	if (!w) {
		kafka_call_fail(call, "no memory for an answer");
		return NULL;
	}
	w->txn.on_done = on_done;
	w->call = call;
	w->answer = answer;
	return w;
}

void txn_wait_result(struct txn_wait *w, int rc)
{
	if (rc != TXN_LATER)
		w->answer(w, rc);
}

int16_t txn_code(const struct kafka_call *call, int err, int16_t fenced_from)
{
	if (err == ERR_PRODUCER_FENCED && call->header.version < fenced_from)
		return KAFKA_INVALID_PRODUCER_EPOCH;
	return kafka_code(err);
}
