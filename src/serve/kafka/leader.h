/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SERVE_KAFKA_LEADER_H
#define WEIR_SERVE_KAFKA_LEADER_H

#include "serve/kafka/call.h"

/*
 * The partition that a client means, where it and weir agree on who leads it: 0 and *out (borrowed: lives until
 * the log closes), or the error code for it. topic NULL: there is none. `epoch` is the one that the
 * client knows of, -1: none; weir's never changes (cluster.h), and a client that knows another has it
 * from another cluster: Kafka's FENCED_LEADER_EPOCH and UNKNOWN_LEADER_EPOCH.
 */
int16_t kafka_leader_find(struct topic *topic, int32_t partition, int32_t epoch, struct partition **out);

#endif
