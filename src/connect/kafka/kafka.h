/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_KAFKA_KAFKA_H
#define WEIR_CONNECT_KAFKA_KAFKA_H

#include "connect/source.h"

/* Topics of a Kafka cluster. docs/internals/source-kafka.md */
extern const struct source_type source_kafka;

#endif
