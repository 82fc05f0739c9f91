/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_WEBSOCKET_SETTINGS_H
#define WEIR_CONNECT_WEBSOCKET_SETTINGS_H

#include "conf/setting.h"

/* What a source of type websocket is told. docs/guide/sources-websocket.md has each with an example. */

enum websocket_format { WEBSOCKET_FORMAT_JSON, WEBSOCKET_FORMAT_WHOLE };

struct websocket_settings {
	const char *url;
	struct conf_map headers;
	const char *protocol;
	const char *token;
	struct conf_list subscribe, answers;
	const char *refused;
	int64_t answer_timeout_ms;
	int64_t format; /* enum websocket_format */
	struct conf_list messages, filter;
	const char *records; /* JSON pointer */
	const char *key, *id, *timestamp;
	const char *last, *last_initial;
	bool gap;
	const char *gap_topic;
	const char *heartbeat_message;
	int64_t heartbeat_every_ms, ping_ms, silence_ms;
	int64_t connect_timeout_ms, message_timeout_ms;
	int64_t reconnect_min_ms, reconnect_max_ms;
	int64_t message_bytes_max;
	const char *tls_ca, *tls_cert, *tls_key;
	bool tls_verify;
};

#define WEBSOCKET_SETTING_COUNT 32u
extern const struct setting websocket_setting_table[WEBSOCKET_SETTING_COUNT];

/* Between settings; see conf_kind.check. */
void websocket_settings_check(const void *settings, struct conf_check *check);

/* struct conf_kind of the type, whether its library is built in or not. */
#define WEBSOCKET_KIND                                                                                 \
	{                                                                                              \
		.name = "websocket", .summary = "Messages of a WebSocket server, as they come",        \
		.settings = websocket_setting_table, .setting_count = WEBSOCKET_SETTING_COUNT,         \
		.settings_bytes = sizeof(struct websocket_settings), .check = websocket_settings_check \
	}

#endif
