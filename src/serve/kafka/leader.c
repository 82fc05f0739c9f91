/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/kafka/leader.h"

#include "proto/kafka/kafka_error.h"
#include "serve/kafka/cluster.h"

int16_t kafka_leader_find(struct topic *topic, int32_t partition, int32_t epoch, struct partition **out)
{
	*out = topic && partition >= 0 ? topic_partition(topic, (uint32_t)partition) : NULL;
	if (!*out)
		return KAFKA_UNKNOWN_TOPIC_OR_PARTITION;
	if (epoch == -1 || epoch == KAFKA_LEADER_EPOCH)
		return 0;
	return epoch < KAFKA_LEADER_EPOCH ? KAFKA_FENCED_LEADER_EPOCH : KAFKA_UNKNOWN_LEADER_EPOCH;
}
