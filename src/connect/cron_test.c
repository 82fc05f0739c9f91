/* SPDX-License-Identifier: Apache-2.0 */
#include "connect/cron.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

static int64_t moment(const char *text)
{
	struct tm tm = {0};

	assert_non_null(strptime(text, "%Y-%m-%d %H:%M", &tm));
	return timegm(&tm);
}

static struct cron parse(const char *text)
{
	struct fault fault = {0};
	struct cron c = {0};

	if (cron_parse(slice_str(text), &c, &fault))
		fail_msg("%s: %s", text, fault.text);
	return c;
}

/* A cron time, a moment, and what comes next. */
static void finds_the_next_time(void **state)
{
	static const char *const rows[][3] = {
		{"* * * * *", "2026-01-01 00:00", "2026-01-01 00:01"},
		{"*/5 * * * *", "2026-01-01 00:56", "2026-01-01 01:00"},
		{"5-59/15 * * * *", "2026-01-01 00:50", "2026-01-01 01:05"},
		{"30 2 29 2 *", "2025-01-01 00:00", "2028-02-29 02:30"},
		{"30 2 29 2 *", "2096-03-01 00:00", "2104-02-29 02:30"},
		{"0 9 * * mon-fri", "2026-11-20 09:00", "2026-11-23 09:00"},
		{"0 9 * * 1-5", "2026-11-21 12:00", "2026-11-23 09:00"},
		{"0 9 * * fri-sun", "2026-11-23 09:00", "2026-11-27 09:00"},
		{"0 9 * * 7", "2026-11-21 12:00", "2026-11-22 09:00"},
		{"0 9 * * 0", "2026-11-21 12:00", "2026-11-22 09:00"},
		/* Both days: either is enough, but not where one begins with a star. */
		{"0 0 13 * 5", "2026-11-21 12:00", "2026-11-27 00:00"},
		{"0 0 13 * 5", "2026-11-27 00:00", "2026-12-04 00:00"},
		{"0 0 13 * *", "2026-11-21 12:00", "2026-12-13 00:00"},
		{"0 0 */2 * 1", "2026-11-21 12:00", "2026-11-23 00:00"},
		{"0 0 */2 * 1", "2026-11-23 00:00", "2026-12-07 00:00"},
		{"0 0 31 * *", "2026-11-21 12:00", "2026-12-31 00:00"},
		{"0 0 31 */2 *", "2026-11-21 12:00", "2027-01-31 00:00"},
		{"59 23 31 12 *", "2026-12-31 23:59", "2027-12-31 23:59"},
		{" 1,2,10-12\t3  * Jan,mar * ", "2026-01-31 03:12", "2026-03-01 03:01"},
		{"@hourly", "2026-01-01 00:00", "2026-01-01 01:00"},
		{"@Weekly", "2026-11-21 12:00", "2026-11-22 00:00"},
		{"@yearly", "2026-01-01 00:00", "2027-01-01 00:00"},
		{"0 0 * * *", "1969-12-30 12:00", "1969-12-31 00:00"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct cron c = parse(rows[i][0]);
		if (cron_next(&c, moment(rows[i][1])) != moment(rows[i][2]))
			fail_msg("%s after %s is not %s", rows[i][0], rows[i][1], rows[i][2]);
	}
}

static void says_what_is_wrong(void **state)
{
	static const char *const rows[][2] = {
		{"", "five fields"},
		{"* * * *", "five fields"},
		{"0 * * * * *", "for seconds there is every"},
		{"60 * * * *", "it goes from 0 to 59"},
		{"* 24 * * *", "hour of a cron time is 24"},
		{"* * 0 * *", "from 1 to 31"},
		{"* * * 13 *", "month of a cron time is 13"},
		{"* * * * 8", "from 0 to 7"},
		{"* * * * mo", "day of week"},
		{"5-1 * * * *", "backwards"},
		{"* * * * sat-mon", "backwards"},
		{"*/0 * * * *", "above 0"},
		{"*/60 * * * *", "the first value alone"},
		{"5/15 * * * *", "such as 5-59/15"},
		{"1,,2 * * * *", "a number"},
		{"* * L * *", "day of month"},
		{"* * ? * *", "day of month"},
		{"0 0 31 2 *", "never comes"},
		{"0 0 30,31 2 *", "never comes"},
		{"0 0 31 4,6,9,11 *", "never comes"},
		{"@reboot", "at_start"},
		{"@every 5m", "@hourly"},
		{"99999999999999999999 * * * *", "a number"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct fault fault = {0};
		struct cron c;
		assert_int_equal(cron_parse(slice_str(rows[i][0]), &c, &fault), ERR_BAD_CONFIG);
		if (!strstr(fault.text, rows[i][1]))
			fail_msg("'%s': %s", rows[i][0], fault.text);
	}
}

static void knows_the_calendar(void **state)
{
	(void)state;
	for (int64_t day = -800000; day <= 800000; day += 7) {
		struct tm tm;
		time_t at = day * 86400;
		struct cron_date d = cron_date(day);
		assert_non_null(gmtime_r(&at, &tm));
		assert_int_equal(d.year, tm.tm_year + 1900);
		assert_int_equal(d.month, tm.tm_mon + 1);
		assert_int_equal(d.day, tm.tm_mday);
		assert_int_equal(cron_days(d), day);
	}
}

static void ends_with_the_year_9999(void **state)
{
	struct cron c = parse("0 0 29 2 *");

	(void)state;
	assert_int_equal(cron_next(&c, moment("9996-03-01 00:00")), CRON_NEVER);
	assert_int_equal(cron_next(&c, INT64_MAX / 2), CRON_NEVER);
}

static void tells_the_hourly_ones(void **state)
{
	struct cron yes = parse("*/5 * * * 1"), too = parse("0 0-23 * * *"), no = parse("0 */2 * * *");

	(void)state;
	assert_true(cron_is_hourly(&yes) && cron_is_hourly(&too));
	assert_false(cron_is_hourly(&no));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(finds_the_next_time),   cmocka_unit_test(says_what_is_wrong),
		cmocka_unit_test(knows_the_calendar),    cmocka_unit_test(ends_with_the_year_9999),
		cmocka_unit_test(tells_the_hourly_ones),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
