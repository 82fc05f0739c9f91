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
}
