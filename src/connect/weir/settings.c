/* SPDX-License-Identifier: Apache-2.0 */
#include "connect/weir/settings.h"

#include "conf/value.h"

static bool is_url(struct slice s)
{
	return slice_starts(s, SLICE_LIT("http://")) || slice_starts(s, SLICE_LIT("https://"));
}

static bool is_start(struct slice s)
{
	return slice_eq_str(s, "earliest") || slice_eq_str(s, "latest") || (s.len > 1 && s.ptr[0] == '@');
}

#define IN(member) SETTING_MEMBER(struct weir_settings, member)

const struct setting weir_setting_table[WEIR_SETTING_COUNT] = {
	{"url", NULL, "Where the other weir is.", .type = SETTING_STRING, .min = 8, .max = 2000,
	 .shape = is_url, .shape_text = "http://HOST:PORT or https://…, without a path",
	 .flags = SETTING_REQUIRED, IN(url)},
	{"from", NULL, "Its topic that is read.", .type = SETTING_STRING, .min = 1, .max = 249,
	 .shape = conf_is_topic_name, .shape_text = "1 to 249 of a-z, A-Z, 0-9, '.', '_' and '-'",
	 .flags = SETTING_REQUIRED, IN(from)},
	{"start", "earliest", "Where to begin the first time: earliest, latest, or @ and a time.",
	 .type = SETTING_STRING, .min = 1, .max = 64, .shape = is_start,
	 .shape_text = "earliest, latest, or @ and a time, such as @2026-01-31T12:00:00Z", IN(start)},
	{"token", NULL, "Sent as a bearer token.", .type = SETTING_STRING, .min = 1, .max = 4000,
	 .flags = SETTING_SECRET, IN(token)},
	{"ca", NULL, "File with certificates of authorities, in place of the system's.",
	 .type = SETTING_STRING, .min = 1, .max = 4000, IN(ca)},
	{"wait", "20s", "How long a poll waits there for something new.", .type = SETTING_DURATION, .min = 0,
	 .max = 60000, IN(wait_ms)},
	{"limit", "5000", "Most records of a poll.", .type = SETTING_INT, .min = 1, .max = WEIR_LIMIT_MAX,
	 IN(limit)},
	{"keep_partitions", "false",
	 "Whether a record goes to the partition of the number that it has there.", .type = SETTING_BOOL,
	 IN(keep_partitions)},
};

#undef IN
#define IN(member) SETTING_MEMBER(struct weir_push_settings, member)

const struct setting weir_push_setting_table[WEIR_PUSH_SETTING_COUNT] = {
	{"url", NULL, "Where the other weir is.", .type = SETTING_STRING, .min = 8, .max = 2000,
	 .shape = is_url, .shape_text = "http://HOST:PORT or https://…, without a path",
	 .flags = SETTING_REQUIRED, IN(url)},
	{"from", NULL, "Topic of this weir that is sent; topic is the one there that gets it.",
	 .type = SETTING_STRING, .min = 1, .max = 249, .shape = conf_is_topic_name,
	 .shape_text = "1 to 249 of a-z, A-Z, 0-9, '.', '_' and '-'", .flags = SETTING_REQUIRED, IN(from)},
	{"token", NULL, "Sent as a bearer token.", .type = SETTING_STRING, .min = 1, .max = 4000,
	 .flags = SETTING_SECRET, IN(token)},
	{"ca", NULL, "File with certificates of authorities, in place of the system's.",
	 .type = SETTING_STRING, .min = 1, .max = 4000, IN(ca)},
	{"limit", "5000", "Most records of a request.", .type = SETTING_INT, .min = 1, .max = 100000,
	 IN(limit)},
};
