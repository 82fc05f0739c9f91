/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SERVE_KAFKA_OFFSET_LIST_H
#define WEIR_SERVE_KAFKA_OFFSET_LIST_H

#include "serve/kafka/group_call.h"

/*
 * The offsets that an OffsetCommit or a TxnOffsetCommit brings, and the answer that grows beside them.
 * What is wrong with one partition (it is not there, its metadata is too long) is said of it alone; the others
 * become items to be committed. All of it is in the memory of the call.
 */
struct offset_list {
	struct kafka_call *call;
	struct kafka_offset_commit_response_topic *topics;
	size_t topics_count;
	struct offset_item *items;
	uint32_t count;
	int64_t now_ms, expires_ms;
	struct topic *topic; /* of the partitions that come; NULL: there is none */
};

/* Room for so many topics, and partitions of all together. Kept for retention_ms where that is not negative. False: no memory. */
bool offset_list_init(struct offset_list *l, struct kafka_call *call, size_t topics, size_t partitions,
		      int64_t retention_ms);

/* The next topic, then each of its partitions in order. False: no memory. */
bool offset_list_topic(struct offset_list *l, struct slice name, size_t partitions);

struct offset_asked {
	int32_t partition, leader_epoch;
	int64_t offset;
	struct slice metadata;
};
void offset_list_partition(struct offset_list *l, const struct offset_asked *asked);

/* Says Kafka's code of all that became items. */
void offset_list_say(struct offset_list *l, int16_t code);

#endif
