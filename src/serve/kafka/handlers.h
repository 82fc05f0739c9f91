/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SERVE_KAFKA_HANDLERS_H
#define WEIR_SERVE_KAFKA_HANDLERS_H

#include "serve/kafka/call.h"

/* Every request that is served. */
#define HANDLER(symbol, noun) extern const struct kafka_handler kafka_handle_##noun;
#include "serve/kafka/handlers.def"
#undef HANDLER

/* NULL where nobody handles it. */
const struct kafka_handler *kafka_handler_find(const struct kafka_api *api);

#endif
