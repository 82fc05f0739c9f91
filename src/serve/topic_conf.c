/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/topic_conf.h"

void topic_conf_to(const struct conf_topic *from, struct topic_config *to)
{
	*to = (struct topic_config){
		.partitions = (uint32_t)from->partitions,
		.retention_ms = from->retention_ms,
		.retention_bytes = from->retention_bytes,
		.durability = from->durability == CONF_DURABILITY_OS ? TOPIC_OS : TOPIC_FSYNC,
		.cleanup = from->cleanup == CONF_CLEANUP_COMPACT        ? TOPIC_COMPACT :
			   from->cleanup == CONF_CLEANUP_COMPACT_DELETE ? TOPIC_COMPACT_DELETE :
									  TOPIC_DELETE,
		.compaction_dirty_percent = (uint32_t)from->compaction_dirty_percent,
		.compaction_max_lag_ms = from->compaction_max_lag_ms,
		.compaction_tombstone_ms = from->compaction_tombstone_ms,
		.recompress_after_ms = from->recompress_after_ms,
		.idempotency_ttl_ms = from->idempotency_ttl_ms,
		.compaction_min_lag_ms = from->compaction_min_lag_ms,
		.timestamps =
			from->timestamps == CONF_TIMESTAMPS_APPEND ? TOPIC_APPEND_TIME : TOPIC_CREATE_TIME,
		.max_message_bytes = (uint32_t)from->max_message_bytes,
		.segment_bytes = (uint64_t)from->segment_bytes,
	};
}

void topic_conf_from(const struct topic_config *from, struct conf_topic *to)
{
	conf_topic_init(to);
	to->partitions = from->partitions;
	to->retention_ms = from->retention_ms;
	to->retention_bytes = from->retention_bytes;
	to->durability = from->durability == TOPIC_OS ? CONF_DURABILITY_OS : CONF_DURABILITY_FSYNC;
	to->cleanup = from->cleanup == TOPIC_COMPACT        ? CONF_CLEANUP_COMPACT :
		      from->cleanup == TOPIC_COMPACT_DELETE ? CONF_CLEANUP_COMPACT_DELETE :
							      CONF_CLEANUP_DELETE;
	to->compaction_dirty_percent = from->compaction_dirty_percent;
	to->compaction_max_lag_ms = from->compaction_max_lag_ms;
	to->compaction_tombstone_ms = from->compaction_tombstone_ms;
	to->recompress_after_ms = from->recompress_after_ms;
	to->idempotency_ttl_ms = from->idempotency_ttl_ms;
	to->compaction_min_lag_ms = from->compaction_min_lag_ms;
	to->timestamps =
		from->timestamps == TOPIC_APPEND_TIME ? CONF_TIMESTAMPS_APPEND : CONF_TIMESTAMPS_CREATE;
	to->max_message_bytes = from->max_message_bytes;
	to->segment_bytes = (int64_t)from->segment_bytes;
}
