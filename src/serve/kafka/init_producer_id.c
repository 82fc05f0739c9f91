/* SPDX-License-Identifier: Apache-2.0 */
/* InitProducerId: who begins to produce gets a number and an epoch. */
#include "serve/kafka/txn_wait.h"

static void answer(struct txn_wait *w, int err)
{
	struct kafka_init_producer_id_response *out = kafka_call_response(w->call);

	out->error_code = txn_code(w->call, err, 4);
	out->producer_id = err ? -1 : w->txn.producer_id;
	out->producer_epoch = err ? -1 : w->txn.producer_epoch;
	kafka_call_answer(w->call, out);
}

static void run_init_producer_id(struct kafka_call *call)
{
	const struct kafka_init_producer_id_request *in = call->request;
	struct txn_wait *w = txn_wait_new(call, sizeof(*w), answer);
	struct txn_init ask = {.id = in->transactional_id,
			       .timeout_ms = in->transaction_timeout_ms,
			       .producer_id = in->producer_id,
			       .epoch = in->producer_epoch};

	if (w)
		txn_wait_result(w, txn_init(call->app->txns, &w->txn, &ask, log_now_ms(call->app->log)));
}

const struct kafka_handler kafka_handle_init_producer_id = {.run = run_init_producer_id, .home = true};
