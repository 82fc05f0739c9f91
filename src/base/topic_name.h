/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BASE_TOPIC_NAME_H
#define WEIR_BASE_TOPIC_NAME_H

#include "base/slice.h"

/*
 * Names of topics that nobody may make: what begins with __weir is weir's own, and the others are what
 * Kafka keeps for itself, so that nobody takes one of ours for one of those. All else is anybody's:
 * programs of Kafka's world make topics for themselves that begin with one underscore or two (_schemas,
 * _connect-configs, __debezium-heartbeat).
 */
static inline bool topic_name_is_reserved(struct slice name)
{
	static const char *const starts[] = {"__weir", "__consumer_offsets", "__transaction_state",
					     "__share_group_state", "__cluster_metadata"};

	for (size_t i = 0; i < sizeof(starts) / sizeof(starts[0]); i++)
		if (name.len >= strlen(starts[i]) && memcmp(name.ptr, starts[i], strlen(starts[i])) == 0)
			return true;
	return false;
}

#endif
