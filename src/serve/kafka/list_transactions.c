/* SPDX-License-Identifier: Apache-2.0 */
/* ListTransactions: every transactional id, or those in some states, of some producers, or older than so much. */
#include "serve/kafka/call.h"

struct listing {
	struct kafka_call *call;
	struct kafka_list_transactions_response_state *list;
	size_t count, cap;
	int64_t now_ms;
	bool failed;
};

static bool names_state(struct slice name)
{
	for (int i = 0; i < TXN_STATES; i++)
		if (slice_eq_str(name, txn_state_name((enum txn_state)i)))
			return true;
	return false;
}

static bool wants_state(const struct kafka_list_transactions_request *in, enum txn_state state)
{
	for (size_t i = 0; i < in->state_filters_count; i++)
		if (slice_eq_str(in->state_filters[i], txn_state_name(state)))
			return true;
	return in->state_filters_count == 0;
}

static bool wants_producer(const struct kafka_list_transactions_request *in, int64_t producer_id)
{
	for (size_t i = 0; i < in->producer_id_filters_count; i++)
		if (in->producer_id_filters[i] == producer_id)
			return true;
	return in->producer_id_filters_count == 0;
}

/* TransactionStateManager.listTransactionStates */
static bool is_wanted(const struct listing *l, const struct txn_view *view)
{
	const struct kafka_list_transactions_request *in = l->call->request;

	if (!wants_producer(in, view->producer_id) || !wants_state(in, view->state))
		return false;
	return in->duration_filter < 0 ||
	       (view->start_ms >= 0 && l->now_ms - view->start_ms > in->duration_filter);
}

/* The id may be gone before the answer is written. */
static struct slice copy(struct kafka_call *call, struct slice id)
{
	uint8_t *to = kafka_call_new(call, id.len);

	if (to)
		memcpy(to, id.ptr, id.len);
	return slice_make(to, id.len);
}

static bool take(void *ctx, const struct txn_view *view)
{
	struct listing *l = ctx;
	struct kafka_list_transactions_response_state *out;

	if (!is_wanted(l, view))
		return true;
	out = &l->list[l->count++];
	out->transactional_id = copy(l->call, view->id);
	out->producer_id = view->producer_id;
	out->transaction_state = slice_str(txn_state_name(view->state));
	l->failed = !out->transactional_id.ptr;
	return !l->failed;
}

static bool count_wanted(void *ctx, const struct txn_view *view)
{
	struct listing *l = ctx;

	l->cap += is_wanted(l, view);
	return true;
}

static bool find_unknown(struct kafka_call *call, struct kafka_list_transactions_response *out)
{
	const struct kafka_list_transactions_request *in = call->request;
	struct slice *unknown = kafka_call_new(call, (in->state_filters_count + 1) * sizeof(*unknown));

	if (!unknown)
		return false;
	for (size_t i = 0; i < in->state_filters_count; i++)
		if (!names_state(in->state_filters[i]))
			unknown[out->unknown_state_filters_count++] = in->state_filters[i];
	out->unknown_state_filters = unknown;
	return true;
}

static void run_list_transactions(struct kafka_call *call)
{
	struct kafka_list_transactions_response *out = kafka_call_response(call);
	struct listing l = {.call = call, .now_ms = log_now_ms(call->app->log)};

	txns_each(call->app->txns, count_wanted, &l);
	l.list = kafka_call_array(call, &kafka_list_transactions_response_state_layout, l.cap);
	l.failed = (l.cap && !l.list) || !find_unknown(call, out);
	if (!l.failed)
		txns_each(call->app->txns, take, &l);
	if (l.failed) {
		kafka_call_fail(call, "no memory for an answer");
		return;
	}
	out->transaction_states = l.list;
	out->transaction_states_count = l.count;
	kafka_call_answer(call, out);
}

const struct kafka_handler kafka_handle_list_transactions = {.run = run_list_transactions, .home = true};
