/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Types whose client library was not there when this weir was built, one each. Their settings are known and checked as ever;
 * a source of one is refused when it is opened, with what is missing (source_open).
 */
#include "connect/http/http.h"
#include "connect/http/settings.h"
#include "connect/kafka/kafka.h"
#include "connect/kafka/settings.h"
#include "connect/weir/settings.h"
#include "connect/weir/weir.h"
#include "connect/websocket/settings.h"
#include "connect/websocket/websocket.h"

#ifndef WEIR_WITH_CURL
const struct source_type source_http = {
	.kind = HTTP_KIND,
	.every_ms = 60000,
	.absent =
		"libcurl, and has no outbound HTTP; expected a build with it (libcurl4-openssl-dev on Debian)",
};

const struct source_type source_websocket = {
	.kind = WEBSOCKET_KIND,
	.flags = SOURCE_STREAMS,
	.absent =
		"libcurl, and has no outbound connections; expected a build with it (libcurl4-openssl-dev on Debian)",
};

const struct source_type source_weir = {
	.kind = WEIR_KIND,
	.flags = SOURCE_STREAMS,
	.absent =
		"libcurl, and reaches no other weir; expected a build with it (libcurl4-openssl-dev on Debian)",
};

const struct source_type source_weir_push = {
	.kind = WEIR_PUSH_KIND,
	.every_ms = 1000,
	.absent =
		"libcurl, and reaches no other weir; expected a build with it (libcurl4-openssl-dev on Debian)",
};
#endif

#ifndef WEIR_WITH_LIBRDKAFKA
const struct source_type source_kafka = {
	.kind = KAFKA_KIND,
	.flags = SOURCE_STREAMS,
	.absent =
		"librdkafka, and reads no Kafka cluster; expected a build with it (librdkafka-dev on Debian)",
};
#endif
