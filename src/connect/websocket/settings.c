/* SPDX-License-Identifier: Apache-2.0 */
#include "connect/websocket/settings.h"

#include "conf/value.h"
#include "connect/text/template.h"
#include "connect/websocket/match.h"
#include "json/pointer.h"

#define IN(member) SETTING_MEMBER(struct websocket_settings, member)
#define SECONDS(n) ((int64_t)(n)*1000)
#define HOURS(n) SECONDS((n)*3600)
#define MIB(n) ((int64_t)(n) << 20)

static const char *const formats[] = {"json", "whole", NULL};

static bool is_url(struct slice s)
{
	return slice_starts(s, SLICE_LIT("ws://")) || slice_starts(s, SLICE_LIT("wss://"));
}

static bool is_answer(struct slice s)
{
	return s.len == 0 || match_valid(s);
}

static const char pointer_text[] = "a JSON pointer, such as /data/items";
static const char match_text[] = "POINTER=VALUE, such as /event=price, or a pointer alone";

const struct setting websocket_setting_table[WEBSOCKET_SETTING_COUNT] = {
	{"url", NULL, "Where the server is; {token} and {last} in it are replaced.", .type = SETTING_STRING,
	 .min = 6, .max = 8000, .shape = is_url, .shape_text = "ws://… or wss://…", .flags = SETTING_REQUIRED,
	 IN(url)},
	{"headers", NULL,
	 "Headers of the request that opens the connection; {token} in their values is replaced.",
	 .type = SETTING_MAP, .min = 0, .max = 8000, IN(headers)},
	{"protocol", NULL, "Subprotocol that is asked for.", .type = SETTING_STRING, .min = 1, .max = 200,
	 IN(protocol)},
	{"token", NULL, "What {token} stands for: never shown, whatever the server says.",
	 .type = SETTING_STRING, .min = 1, .max = 8000, .flags = SETTING_SECRET, IN(token)},
	{"subscribe", NULL,
	 "Messages that are sent once connected, in order; {token} and {last} in them are replaced, with JSON's escapes where they are JSON.",
	 .type = SETTING_LIST, .min = 1, .max = 100000, IN(subscribe)},
	{"answers", NULL,
	 "Which message answers the first of subscribe, the second, …: the next is sent when it has come. \"\" waits for none.",
	 .type = SETTING_LIST, .min = 0, .max = 1000, .shape = is_answer, .shape_text = match_text,
	 IN(answers)},
	{"refused", NULL,
	 "Which message says that the server refuses: the connection ends, and is tried again later.",
	 .type = SETTING_STRING, .min = 1, .max = 1000, .shape = match_valid, .shape_text = match_text,
	 IN(refused)},
	{"answer_timeout", "10s", "Time for each of answers to come.", .type = SETTING_DURATION, .min = 100,
	 .max = SECONDS(600), IN(answer_timeout_ms)},
	{"format", "json", "What a message is: a JSON document, or one record whatever it is.",
	 .type = SETTING_ENUM, .names = formats, IN(format)},
	{"messages", NULL, "Which messages have records: all of these must hold; others are passed over.",
	 .type = SETTING_LIST, .min = 1, .max = 1000, .shape = match_valid, .shape_text = match_text,
	 IN(messages)},
	{"records", "", "Where in a message the records are; an array is many, anything else one.",
	 .type = SETTING_STRING, .min = 0, .max = 1000, .shape = json_pointer_valid,
	 .shape_text = pointer_text, IN(records)},
	{"filter", NULL, "Which of the records are stored: all of these must hold; others are passed over.",
	 .type = SETTING_LIST, .min = 1, .max = 1000, .shape = match_valid, .shape_text = match_text,
	 IN(filter)},
	{"key", NULL, "Key of a record, such as {/symbol}: pointers into it.", .type = SETTING_STRING,
	 .min = 1, .max = 1000, IN(key)},
	{"id", NULL,
	 "Idempotency key of a record, such as {/symbol}-{/sequence}: stored once, however often it comes.",
	 .type = SETTING_STRING, .min = 1, .max = 1000, IN(id)},
	{"timestamp", NULL,
	 "Pointer to the record's time: RFC 3339, or a number of seconds, milli-, micro- or nanoseconds since 1970, told apart by its size.",
	 .type = SETTING_STRING, .min = 1, .max = 1000, .shape = json_pointer_valid,
	 .shape_text = pointer_text, IN(timestamp)},
	{"last", NULL,
	 "Pointer to a sequence number or time that the feed can go on behind: that of the record stored last is {last}.",
	 .type = SETTING_STRING, .min = 1, .max = 1000, .shape = json_pointer_valid,
	 .shape_text = pointer_text, IN(last)},
	{"last_initial", NULL, "{last} before anything is stored.", .type = SETTING_STRING, .min = 0,
	 .max = 1000, IN(last_initial)},
	{"gap", "true",
	 "Whether a record with the header gap tells that the connection was lost for a time, where the feed cannot go on behind last.",
	 .type = SETTING_BOOL, IN(gap)},
	{"gap_topic", NULL, "Topic of these records, in place of the source's.", .type = SETTING_STRING,
	 .min = 1, .max = 249, .shape = conf_is_topic_name,
	 .shape_text = "1 to 249 of a-z, A-Z, 0-9, '.', '_' and '-'", IN(gap_topic)},
	{"heartbeat.message", NULL, "Message that is sent again and again, as some servers want it.",
	 .type = SETTING_STRING, .min = 1, .max = 10000, IN(heartbeat_message)},
	{"heartbeat.every", "10s", "How often.", .type = SETTING_DURATION, .min = 100, .max = HOURS(24),
	 IN(heartbeat_every_ms)},
	{"ping", "20s", "How often a ping is sent, which the server's end answers by itself. 0: never.",
	 .type = SETTING_DURATION, .min = 0, .max = HOURS(24), IN(ping_ms)},
	{"silence", "60s",
	 "A connection on which nothing came for so long, no pong either, is lost. 0: never.",
	 .type = SETTING_DURATION, .min = 0, .max = HOURS(24), IN(silence_ms)},
	{"connect_timeout", "10s", "Time to connect, TLS included, and again for the server's answer.",
	 .type = SETTING_DURATION, .min = 100, .max = SECONDS(300), IN(connect_timeout_ms)},
	{"message_timeout", "60s", "Time for a message to come whole.", .type = SETTING_DURATION, .min = 100,
	 .max = HOURS(1), IN(message_timeout_ms)},
	{"reconnect.min", "500ms",
	 "Wait before a new connection after one that lasted less than 10 s; it doubles with each of them, less a random part.",
	 .type = SETTING_DURATION, .min = 0, .max = HOURS(1), IN(reconnect_min_ms)},
	{"reconnect.max", "60s", "Longest such wait.", .type = SETTING_DURATION, .min = 0, .max = HOURS(24),
	 IN(reconnect_max_ms)},
	{"max_message", "16MiB", "Largest message; a larger one ends the connection.", .type = SETTING_SIZE,
	 .min = 1024, .max = MIB(1024), IN(message_bytes_max)},
	{"tls.ca", NULL, "File with certificates of authorities, in place of the system's.",
	 .type = SETTING_STRING, .min = 1, .max = 4000, IN(tls_ca)},
	{"tls.cert", NULL, "File with weir's own certificate, its key in it or in tls.key.",
	 .type = SETTING_STRING, .min = 1, .max = 4000, IN(tls_cert)},
	{"tls.key", NULL, "File with its key.", .type = SETTING_STRING, .min = 1, .max = 4000, IN(tls_key)},
	{"tls.verify", "true", "Whether the server's certificate is looked at.", .type = SETTING_BOOL,
	 IN(tls_verify)},
};

/* ---- between settings ---- */

static bool in_request(const struct websocket_settings *s, const char *name)
{
	bool has = template_has(slice_str(s->url), name);

	for (uint32_t i = 0; i < s->subscribe.count; i++)
		has = has || template_has(slice_str(s->subscribe.items[i]), name);
	for (uint32_t i = 0; i < s->headers.count; i++)
		has = has || template_has(slice_str(s->headers.values[i]), name);
	return has;
}

static void check_place(const struct websocket_settings *s, struct conf_check *check)
{
	if (s->last && !in_request(s, "last"))
		conf_check_fail(check, "last", "it needs {last} in url, headers or subscribe");
	if (!s->last && in_request(s, "last"))
		conf_check_fail(check, "subscribe", "{last} needs last: where in a record it is");
	if (s->last && !s->last_initial)
		conf_check_fail(check, "last", "it needs last_initial: what {last} is at the first time");
	if (s->last && !s->id)
		conf_check_warn(check, "last",
				"without id a record that the feed repeats after a loss is stored twice");
	if (s->gap_topic && !s->gap)
		conf_check_fail(check, "gap_topic", "gap is false: there are no such records");
}

void websocket_settings_check(const void *settings, struct conf_check *check)
{
	const struct websocket_settings *s = settings;

	check_place(s, check);
	if (!s->token && (in_request(s, "token") ||
			  (s->heartbeat_message && template_has(slice_str(s->heartbeat_message), "token"))))
		conf_check_fail(check, "token", "{token} needs it");
	if (s->answers.count > s->subscribe.count)
		conf_check_fail(check, "answers", "there are more of them than messages in subscribe");
	if (s->format == WEBSOCKET_FORMAT_WHOLE &&
	    (s->key || s->id || s->timestamp || s->last || s->messages.count || s->filter.count ||
	     s->answers.count || s->refused || *s->records))
		conf_check_fail(check, "format", "pointers find something in JSON alone");
	if (s->silence_ms && !s->ping_ms)
		conf_check_warn(check, "ping",
				"without pings a feed that is quiet for so long as silence is taken for lost");
	if (s->ping_ms && s->silence_ms && s->ping_ms >= s->silence_ms)
		conf_check_fail(check, "silence", "expected more than ping");
	if (s->reconnect_min_ms > s->reconnect_max_ms)
		conf_check_fail(check, "reconnect.min", "expected at most reconnect.max");
	if (s->tls_key && !s->tls_cert)
		conf_check_fail(check, "tls.key", "it needs tls.cert");
	if (!s->tls_verify)
		conf_check_warn(check, "tls.verify",
				"whoever stands in between may read and change everything");
}
