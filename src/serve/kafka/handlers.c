/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/kafka/handlers.h"

const struct kafka_handler *kafka_handler_find(const struct kafka_api *api)
{
	switch ((enum kafka_key)api->key) {
#define HANDLER(symbol, noun) \
	case KAFKA_##symbol:  \
		return &kafka_handle_##noun;
#include "serve/kafka/handlers.def"
#undef HANDLER
	default:
		return NULL;
	}
}
