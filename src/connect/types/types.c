/* SPDX-License-Identifier: Apache-2.0 */
/* The table of types. A type is in it, or it does not exist: nothing else names one. */
#include "connect/types/types.h"

#include "connect/source_schedule.h"

/* Each in the room of its name, which shows nothing else. */
extern const struct source_type source_files;
extern const struct source_type source_http;
extern const struct source_type source_kafka;
extern const struct source_type source_sql;
extern const struct source_type source_weir;
extern const struct source_type source_weir_push;
extern const struct source_type source_websocket;

/* One row a type, ended by NULL. */
static const struct source_type *const types[] = {
	&source_files, &source_http,      &source_kafka,     &source_sql,
	&source_weir,  &source_weir_push, &source_websocket, NULL,
};

#define TYPES_MAX (sizeof(types) / sizeof(types[0]))

static uint32_t type_count(void)
{
	uint32_t n = 0;

	while (types[n])
		n++;
	return n;
}

/* ---- checks that all sources share ---- */

static void check_schedule_keys(const struct conf_source *source, struct conf_check *check)
{
	bool adaptive = source->every_min_ms || source->every_max_ms;

	if (source->cron && (source->every_ms || adaptive))
		conf_check_fail(check, "cron", "every stands there too: a source has one or the other");
	if (adaptive && !(source->every_min_ms && source->every_max_ms))
		conf_check_fail(check, source->every_min_ms ? "every.min" : "every.max",
				"expected both, every: {min: 1s, max: 10m}");
	if (source->every_min_ms > source->every_max_ms)
		conf_check_fail(check, "every.min", "expected at most every.max");
	if (source->retry_min_ms > source->retry_max_ms)
		conf_check_fail(check, "retry.min", "expected at most retry.max");
}

/* The key that a schedule's fault is about, by the word in it. */
static const char *key_of(const char *text)
{
	static const char *const words[][2] = {{"time zone", "timezone"}, {"blackout", "blackout"},
					       {"jitter", "jitter"},      {"every.min", "every.min"},
					       {"every", "every"},        {"cron", "cron"}};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strstr(text, words[i][0]))
			return words[i][1];
	return "cron";
}

static void check_source(const struct conf_source *source, struct conf_check *check)
{
	struct schedule *schedule;
	struct zone *zone;
	struct fault fault = {0};

	check_schedule_keys(source, check);
	if (source_schedule(source, source_type_of(source->kind), sys_kernel(), &schedule, &zone, &fault)) {
		conf_check_fail(check, key_of(fault.text), "%s", fault.text);
		return;
	}
	schedule_free(schedule);
	zone_free(zone);
}

/* ---- kinds ---- */

const struct conf_kinds *source_kinds(void)
{
	static const struct conf_kind *list[TYPES_MAX];
	static struct conf_kinds kinds = {.list = list, .check = check_source};

	kinds.count = type_count();
	for (uint32_t i = 0; i < kinds.count; i++)
		list[i] = &types[i]->kind;
	return &kinds;
}
