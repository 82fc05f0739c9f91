/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/kafka/handlers.h"

/* In the order of kafka_apis. */
static const struct kafka_handler *const handlers[KAFKA_APIS_COUNT] = {
#define API(symbol, number, title, noun, ...) &kafka_handle_##noun,
#include "proto/kafka/kafka_api.def"
#undef API
};

const struct kafka_handler *kafka_handler_of(const struct kafka_api *api)
{
	return handlers[api - kafka_apis];
}
