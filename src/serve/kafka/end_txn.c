/* SPDX-License-Identifier: Apache-2.0 */
/* EndTxn: commits or aborts. Answered when markers, offsets and state are on disk, all together. */
#include "serve/kafka/txn_wait.h"

static void answer(struct txn_wait *w, int err)
{
	struct kafka_end_txn_response *out = kafka_call_response(w->call);

	out->error_code = txn_code(w->call, err, 2);
	kafka_call_answer(w->call, out);
}

static void run_end_txn(struct kafka_call *call)
{
	const struct kafka_end_txn_request *in = call->request;
	struct txn_wait *w = txn_wait_new(call, sizeof(*w), answer);
	struct txn_who who = {.id = in->transactional_id,
			      .producer_id = in->producer_id,
			      .epoch = in->producer_epoch};

	if (w)
		txn_wait_result(w, txn_end(call->app->txns, &w->txn, &who, in->committed,
					   log_now_ms(call->app->log)));
}

const struct kafka_handler kafka_handle_end_txn = {.run = run_end_txn, .home = true};
