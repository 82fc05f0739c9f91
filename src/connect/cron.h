/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_CRON_H
#define WEIR_CONNECT_CRON_H

#include "base/err.h"
#include "base/slice.h"

/*
 * Crontab times: five fields (minute, hour, day of month, month, day of week)
 * of `*`, numbers, names of months and days, ranges, lists and steps, or one of
 * @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually. Where both
 * days are restricted (neither field begins with `*`) a day that fits one of
 * them fits. It knows neither zones nor the present time: it answers for a
 * clock on the wall, see connect/zone.h for what a wall time is.
 */
struct cron {
	uint64_t minutes; /* bit n: n fits */
	uint32_t hours;
	uint32_t days;    /* of the month, bits 1 to 31 */
	uint16_t months;  /* bits 1 to 12 */
	uint8_t weekdays; /* bit 0 is Sunday */
	bool either_day;  /* both days are restricted: one of them is enough */
};

#define CRON_NEVER INT64_MAX

/* Parses; ERR_BAD_CONFIG with *fault (may be NULL) where it is none, or would never come, such as 0 0 31 2 *. */
int cron_parse(struct slice text, struct cron *out, struct fault *fault);

/*
 * The first fitting wall time after `wall`, in seconds, on a whole minute.
 * CRON_NEVER past the year 9999. Bounded: at most some hundred steps.
 */
int64_t cron_next(const struct cron *c, int64_t wall);

/* True where it comes in each hour of its days: such go by what the clock shows, see docs/internals/schedule.md. */
bool cron_is_hourly(const struct cron *c);

/* Monday..Sunday and January..December as crontab names them: the number of a name (sun 0, jan 1), or -1. */
int cron_weekday(struct slice name);

/* A date of the Gregorian calendar to days since 1970-01-01 and back. */
struct cron_date {
	int64_t year;
	int32_t month, day; /* from 1 */
};
int64_t cron_days(struct cron_date date);
struct cron_date cron_date(int64_t days);

#endif
