/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The type http of a weir that was built without libcurl: its settings are known and
 * checked, and a source of it says why it does not run.
 */
#include "connect/http/http.h"

#include "connect/http/settings.h"

static int open_source(const struct source_setup *setup, void **self, struct fault *fault)
{
	(void)setup;
	(void)self;
	return fault_set(
		fault, ERR_NOT_IMPLEMENTED,
		"this weir was built without libcurl, and has no outbound HTTP; expected a build with it "
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

const struct source_type source_http = {
	.kind = {.name = "http",
		 .summary = "Records from HTTP APIs, page by page",
		 .settings = http_setting_table,
		 .setting_count = HTTP_SETTING_COUNT,
		 .settings_bytes = sizeof(struct http_settings),
		 .check = http_settings_check},
	.every_ms = 60000,
	.open = open_source,
	.close = close_source,
	.pull = pull,
};
