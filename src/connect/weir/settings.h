/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_WEIR_SETTINGS_H
#define WEIR_CONNECT_WEIR_SETTINGS_H

#include "conf/conf.h"
#include "conf/setting.h"

/* What users say of the types `weir` and `weir_push`: known also to a weir that was built without their library. */
#define WEIR_LIMIT_MAX 10000u

struct weir_settings {
	const char *url, *from, *start, *token, *ca;
	int64_t wait_ms, limit;
	bool keep_partitions;
};

struct weir_push_settings {
	const char *url, *from, *token, *ca;
	int64_t limit;
};

#define WEIR_SETTING_COUNT 8u
extern const struct setting weir_setting_table[WEIR_SETTING_COUNT];

#define WEIR_PUSH_SETTING_COUNT 5u
extern const struct setting weir_push_setting_table[WEIR_PUSH_SETTING_COUNT];

/* struct conf_kind of the types, whether their library is built in or not. */
#define WEIR_KIND                                                                    \
	{                                                                            \
		.name = "weir", .summary = "A topic of another weir, by cursor",     \
		.settings = weir_setting_table, .setting_count = WEIR_SETTING_COUNT, \
		.settings_bytes = sizeof(struct weir_settings)                       \
	}

#define WEIR_PUSH_KIND                                                                         \
	{                                                                                      \
		.name = "weir_push", .summary = "A topic of this weir, sent to another",       \
		.settings = weir_push_setting_table, .setting_count = WEIR_PUSH_SETTING_COUNT, \
		.settings_bytes = sizeof(struct weir_push_settings)                            \
	}

#endif
