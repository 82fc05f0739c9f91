/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SERVE_KAFKA_HANDLERS_H
#define WEIR_SERVE_KAFKA_HANDLERS_H

#include "serve/kafka/call.h"

/* Of every API of kafka_api.def one: kafka_handle_<noun>, in <noun>.c. */
#define API(symbol, number, title, noun, ...) extern const struct kafka_handler kafka_handle_##noun;
#include "proto/kafka/kafka_api.def"
#undef API

const struct kafka_handler *kafka_handler_of(const struct kafka_api *api);

#endif
