/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SERVE_KAFKA_CLUSTER_H
#define WEIR_SERVE_KAFKA_CLUSTER_H

#include "serve/kafka/call.h"

/* weir as Kafka's clients see it: a cluster of one broker, which leads everything. */
#define KAFKA_BROKER_ID 0
#define KAFKA_LEADER_EPOCH 0

/* Its name: 22 characters, the same for the life of the data directory. Memory of the call; empty without any. */
struct slice kafka_cluster_id(struct kafka_call *call);

/*
 * What a client that asks may do, as a set of bits, one for each of Kafka's
 * AclOperation codes: everything, while there are no scopes.
 */
#define KAFKA_OPERATION(code) (1 << (code))
#define KAFKA_TOPIC_OPERATIONS                                                                              \
	(KAFKA_OPERATION(3) /* read */ | KAFKA_OPERATION(4) /* write */ | KAFKA_OPERATION(5) /* create */ | \
	 KAFKA_OPERATION(6) /* delete */ | KAFKA_OPERATION(7) /* alter */ |                                 \
	 KAFKA_OPERATION(8) /* describe */ | KAFKA_OPERATION(10) /* describe configs */ |                   \
	 KAFKA_OPERATION(11) /* alter configs */)
#define KAFKA_GROUP_OPERATIONS \
	(KAFKA_OPERATION(3) /* read */ | KAFKA_OPERATION(6) /* delete */ | KAFKA_OPERATION(8) /* describe */)
#define KAFKA_CLUSTER_OPERATIONS                                                                \
	(KAFKA_OPERATION(5) /* create */ | KAFKA_OPERATION(7) /* alter */ |                     \
	 KAFKA_OPERATION(8) /* describe */ | KAFKA_OPERATION(9) /* cluster action */ |          \
	 KAFKA_OPERATION(10) /* describe configs */ | KAFKA_OPERATION(11) /* alter configs */ | \
	 KAFKA_OPERATION(12) /* idempotent write */)

#endif
