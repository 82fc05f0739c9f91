/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The type websocket of a weir that was built without libcurl: its settings are known and
 * checked, and a source of it says why it does not run.
 */
#include "connect/websocket/websocket.h"

#include "connect/websocket/settings.h"

static int open_source(const struct source_setup *setup, void **self, struct fault *fault)
{
	(void)setup;
	(void)self;
	return fault_set(
		fault, ERR_NOT_IMPLEMENTED,
		"this weir was built without libcurl, and has no outbound connections; expected a build with it "
		"(libcurl4-openssl-dev on Debian)");
}

static void close_source(void *self)
{
	(void)self;
}

static enum source_end pull(void *self, struct source_part *part, struct source_batch *batch)
{
	(void)self;
	(void)part;
	return source_fail(&batch->call, SOURCE_FINAL, "this weir was built without libcurl");
}

const struct source_type source_websocket = {
	.kind = {.name = "websocket",
		 .summary = "Messages of a WebSocket server, as they come",
		 .settings = websocket_setting_table,
		 .setting_count = WEBSOCKET_SETTING_COUNT,
		 .settings_bytes = sizeof(struct websocket_settings),
		 .check = websocket_settings_check},
	.flags = SOURCE_STREAMS,
	.open = open_source,
	.close = close_source,
	.pull = pull,
};
