/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/kafka/handlers.h"

static const struct {
	int16_t key;
	const struct kafka_handler *handler;
} handlers[] = {
#define HANDLER(symbol, noun) {KAFKA_##symbol, &kafka_handle_##noun},
#include "serve/kafka/handlers.def"
#undef HANDLER
};

const struct kafka_handler *kafka_handler_find(const struct kafka_api *api)
{
	for (size_t i = 0; i < sizeof(handlers) / sizeof(handlers[0]); i++)
		if (handlers[i].key == api->key)
			return handlers[i].handler;
	return NULL;
}
