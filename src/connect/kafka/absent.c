/* SPDX-License-Identifier: Apache-2.0 */
/* The type kafka of a weir that was built without its library. */
#include "connect/kafka/kafka.h"
#include "connect/kafka/settings.h"

const struct source_type source_kafka = {
	.kind = KAFKA_KIND,
	.flags = SOURCE_STREAMS,
	.absent =
		"librdkafka, and reads no Kafka cluster; expected a build with it (librdkafka-dev on Debian)",
};
