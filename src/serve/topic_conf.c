/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/topic_conf.h"

#include "ingest/dead.h"

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
		.dead_retention_ms = from->dead_retention_ms,
		.dead_max_bytes = from->dead_max_bytes,
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
	to->dead_retention_ms = from->dead_retention_ms;
	to->dead_max_bytes = from->dead_max_bytes;
}

void topic_conf_of(struct topics *topics, struct topic *topic, struct conf_topic *out)
{
	struct topic_config config;

	topic_config(topics, topic, &config);
	topic_conf_from(&config, out);
}

void topic_conf_defaults(struct topics *topics, struct conf_topic *out)
{
	struct topic_config config;
	bool auto_create;

	topics_defaults(topics, &config, &auto_create);
	topic_conf_from(&config, out);
}

int topic_conf_check_name(struct slice name, struct fault *fault)
{
	int rc = topic_name_check(name, fault);

	if (rc == 0 && topic_name_is_reserved(name))
		rc = fault_set(fault, ERR_FORBIDDEN, "topics of this name are kept for weir itself");
	return rc;
}

int topic_conf_create(struct topics *topics, struct slice name, const struct conf_topic *settings,
		      const struct state_done *done, struct topic **out, struct fault *fault)
{
	struct topic_config config;
	int rc = topic_conf_check_name(name, fault);

	if (rc)
		return rc;
	topic_conf_to(settings, &config);
	rc = topics_create(topics, name, &config, false, done, out, fault);
	if (rc == 0)
		dead_follow(topics, name);
	return rc;
}

int topic_conf_change(struct topics *topics, struct topic *topic, const struct conf_topic *settings,
		      const struct state_done *done, struct fault *fault)
{
	struct topic_config config, before;
	int rc;

	if (topic->from_file)
		return fault_set(fault, ERR_MANAGED_BY_FILE,
				 "topic %s is in the configuration file: change it there", topic->name);
	topic_conf_to(settings, &config);
	topic_config(topics, topic, &before);
	rc = topics_change(topics, topic, &config, false, done, fault);
	if (rc == 0 && config.dead_retention_ms != before.dead_retention_ms)
		dead_follow(topics, slice_str(topic->name));
	return rc;
}

int topic_conf_delete(struct topics *topics, struct topic *topic, const struct state_done *done,
		      struct fault *fault)
{
	int rc;

	if (topic->from_file)
		return fault_set(fault, ERR_MANAGED_BY_FILE,
				 "topic %s is in the configuration file: take it out there first",
				 topic->name);
	rc = topics_delete(topics, topic, done);
	return rc ? fault_set(fault, rc, "the topic cannot be deleted now") : 0;
}

int topic_conf_auto_create(struct topics *topics, struct slice name, const struct state_done *done,
			   struct topic **out, struct fault *fault)
{
	struct topic_config config;
	bool auto_create;
	int rc = topic_conf_check_name(name, fault);

	if (rc)
		return rc;
	topics_defaults(topics, &config, &auto_create);
	if (!auto_create)
		return fault_set(fault, ERR_UNKNOWN_TOPIC,
				 "there is no topic %.*s, and topics are not made on use", (int)name.len,
				 (const char *)name.ptr);
	return topics_create(topics, name, &config, false, done, out, fault);
}
