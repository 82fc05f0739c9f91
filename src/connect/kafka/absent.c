/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The type kafka of a weir that was built without librdkafka: its settings are known and
 * checked, and a source of it says why it does not run.
 */
#include "connect/kafka/kafka.h"
#include "connect/kafka/settings.h"

static int open_source(const struct source_setup *setup, void **self, struct fault *fault)
{
	(void)setup;
	(void)self;
	return fault_set(
		fault, ERR_NOT_IMPLEMENTED,
		"this weir was built without librdkafka, and reads no Kafka cluster; expected a build with it "
		"(librdkafka-dev on Debian)");
}

static void close_source(void *self)
{
	(void)self;
}

static enum source_end pull(void *self, struct source_part *part, struct source_batch *batch)
{
	(void)self;
	(void)part;
	return source_fail(&batch->call, SOURCE_FINAL, "this weir was built without librdkafka");
}

const struct source_type source_kafka = {
	.kind = {.name = "kafka",
		 .summary = "Topics of a Kafka cluster",
		 .settings = kafka_setting_table,
		 .setting_count = KAFKA_SETTING_COUNT,
		 .settings_bytes = sizeof(struct kafka_settings),
		 .check = kafka_settings_check},
	.flags = SOURCE_STREAMS,
	.open = open_source,
	.close = close_source,
	.pull = pull,
};
