/* SPDX-License-Identifier: Apache-2.0 */
/* The C library's own reading of the same files is what zones are compared with. */
#include "connect/zone.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "base/rand.h"
#include "base/wire.h"

static const char *const names[] = {
	"America/New_York", "Europe/Berlin",  "Europe/Dublin",     "Australia/Lord_Howe",
	"Pacific/Apia",     "Asia/Kathmandu", "America/Sao_Paulo", "Africa/Casablanca",
	"Africa/Cairo",     "Asia/Gaza",      "America/Nuuk",      "Pacific/Chatham",
	"Antarctica/Troll", "Asia/Kolkata",   "Europe/Moscow",     "Asia/Manila",
	"America/Caracas",  "Asia/Pyongyang", "Pacific/Kwajalein", "Africa/Monrovia",
};

static struct zone *load(const char *name)
{
	struct fault fault = {0};
	struct zone *z = NULL;

	if (zone_load(sys_kernel(), NULL, slice_str(name), &z, &fault))
		fail_msg("%s: %s", name, fault.text);
	return z;
}

static void compare(const struct zone *z, const char *name, int64_t at)
{
	time_t t = at;
	struct tm tm;

	assert_non_null(localtime_r(&t, &tm));
	if (zone_offset(z, at) != tm.tm_gmtoff)
		fail_msg("%s at %lld: %d, not %ld", name, (long long)at, zone_offset(z, at), tm.tm_gmtoff);
}

static void shows_what_the_c_library_shows(void **state)
{
	const int64_t last = 7258118400; /* 2200 */
	struct rand r;

	(void)state;
	rand_seed(&r, 1);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		struct zone *z = load(names[i]);
		uint32_t changes = 0;
		setenv("TZ", names[i], 1);
		tzset();
		for (int n = 0; n < 5000; n++)
			compare(z, names[i],
				(int64_t)rand_below(&r, (uint64_t)(last + 2208988800)) - 2208988800);
		for (int64_t at = -2208988800; (at = zone_next_change(z, at)) < last; changes++) {
			assert_int_not_equal(zone_offset(z, at), zone_offset(z, at - 1));
			compare(z, names[i], at - 1);
			compare(z, names[i], at);
		}
		assert_true(changes > 0);
		zone_free(z);
	}
	unsetenv("TZ");
	tzset();
}

/* Every change of the offset is one that zone_next_change names. */
static void misses_no_change(void **state)
{
	(void)state;
	for (size_t i = 0; i < 8; i++) {
		struct zone *z = load(names[i]);
		int64_t next = zone_next_change(z, 0);
		for (int64_t at = 900; at < 2240524800; at += 900) {
			bool changed = zone_offset(z, at) != zone_offset(z, at - 900);
			assert_int_equal(changed, next > at - 900 && next <= at);
			if (next <= at)
				next = zone_next_change(z, at);
		}
		zone_free(z);
	}
}

/* By seconds, around each change of three years, against the running maximum. */
static void a_time_is_reached_once(void **state)
{
	static const char *const few[] = {"America/New_York", "Australia/Lord_Howe", "Pacific/Apia",
					  "America/Sao_Paulo"};

	(void)state;
	for (size_t i = 0; i < sizeof(few) / sizeof(few[0]); i++) {
		struct zone *z = load(few[i]);
		int64_t change = 1293840000; /* 2011 */
		while ((change = zone_next_change(z, change)) < 1388534400) {
			int64_t most = INT64_MIN;
			for (int64_t at = change - 7200;
			     at<change + 2 * 86400; at += at> change + 7300 ? 97 : 1) {
				int64_t wall = zone_wall(z, at);
				int64_t before = most == INT64_MIN ? wall - 1 : most;
				most = wall > before ? wall : before;
				assert_int_equal(zone_wall_reached(z, at), most);
				if (at > change + 7300)
					continue;
				for (int64_t w = before + 1; w <= most; w += 1 + (most - w) / 2)
					assert_int_equal(zone_first(z, w), at);
			}
		}
		zone_free(z);
	}
}

static void utc_needs_no_file(void **state)
{
	struct zone *z = NULL;

	(void)state;
	assert_int_equal(zone_load(sys_kernel(), "/nowhere", SLICE_LIT("UTC"), &z, NULL), 0);
	assert_int_equal(zone_offset(z, 1000000000), 0);
	assert_int_equal(zone_next_change(z, INT64_MIN), ZONE_NEVER);
	assert_int_equal(zone_first(z, 12345), 12345);
	zone_free(z);
}

static void refuses_what_is_no_zone(void **state)
{
	static const char *const bad[] = {"",       "/etc/passwd",    "../../etc/passwd", "Mars/Olympus",
					  "Europe", "Europe/Berlin ", "zone.tab",         "tzdata.zi"};
	struct fault fault;
	struct zone *z;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		fault.text[0] = 0;
		assert_int_equal(zone_load(sys_kernel(), NULL, slice_str(bad[i]), &z, &fault),
				 ERR_BAD_CONFIG);
		assert_true(fault.text[0]);
	}
}

/* A file of no changes and a footer. */
static size_t make_file(uint8_t *out, const char *footer)
{
	uint8_t *at = out;

	for (int block = 0; block < 2; block++) {
		memset(at, 0, 44);
		memcpy(at, "TZif3", 5);
		(void)wire_put_u32(at + 36, 1); /* typecnt */
		(void)wire_put_u32(at + 40, 4); /* charcnt */
		at += 44;
		memset(at, 0, 10);
		at += 10;
	}
	return (size_t)(at - out) + (size_t)snprintf((char *)at, 200, "\n%s\n", footer);
}

static void reads_the_rules_of_footers(void **state)
{
	/* The offset on 1 January 2030 and 1 July 2030, UTC noon. */
	static const struct {
		const char *text;
		int32_t january, july;
	} rows[] = {
		{"UTC0", 0, 0},
		{"<-03>3", -10800, -10800},
		{"EST5EDT,M3.2.0,M11.1.0", -18000, -14400},
		{"IST-2IDT,M3.4.4/26,M10.5.0", 7200, 10800},
		{"<-02>2<-01>,M3.5.0/-1,M10.5.0/0", -7200, -3600},
		{"<+1030>-10:30<+11>-11,M10.1.0,M4.1.0", 39600, 37800},
		{"IST-1GMT0,M10.5.0,M3.5.0/1", 0, 3600},
		{"AAA3BBB,J60/0,J300/0", -10800, -7200},
		{"AAA3BBB,59/0,299/0", -10800, -7200},
		{"XXX3EDT4,0/0,J365/23", -14400,
		 -14400}, /* daylight saving for ever (RFC 8536 section 3.3.1) */
	};
	static const char *const bad[] = {"U0",
					  "UTC",
					  "EST5EDT",
					  "EST5EDT,M3.2.0",
					  "EST25",
					  "EST5EDT,M13.1.0,M1.1.0",
					  "EST5EDT,M3.6.0,M1.1.0",
					  "EST5EDT,M3.2.0,M11.1.0x",
					  "<-03",
					  "EST5:",
					  "EST5EDT,J0,J1"};
	uint8_t file[400];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct zone *z = NULL;
		size_t n = make_file(file, rows[i].text);
		if (zone_parse(slice_make(file, n), &z, NULL))
			fail_msg("%s is refused", rows[i].text);
		assert_int_equal(zone_offset(z, 1893499200), rows[i].january);
		assert_int_equal(zone_offset(z, 1909137600), rows[i].july);
		zone_free(z);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct zone *z = NULL;
		size_t n = make_file(file, bad[i]);
		if (zone_parse(slice_make(file, n), &z, NULL) != ERR_BAD_CONFIG)
			fail_msg("%s is taken", bad[i]);
	}
}

/* The rule holds from the last change on, so it has to agree with it. */
static void refuses_a_footer_that_contradicts_the_table(void **state)
{
	static const struct {
		const char *footer;
		int want;
	} rows[] = {{"AAA0", 0}, {"AAA-1", ERR_BAD_CONFIG}};
	uint8_t file[400];

	(void)state;
	for (size_t i = 0; i < 2; i++) {
		struct zone *z = NULL;
		size_t head = make_file(file, "") - 2; /* without footer */
		uint8_t *block = file + 54; /* the second: header, then one change of the name alone */
		(void)wire_put_u32(block + 32, 1);
		memmove(block + 53, block + 44, 10);
		(void)wire_put_u64(block + 44, 1000000000);
		block[52] = 0;
		size_t n = head + 9;
		n += (size_t)snprintf((char *)file + n, 100, "\n%s\n", rows[i].footer);
		assert_int_equal(zone_parse(slice_make(file, n), &z, NULL), rows[i].want);
		if (!rows[i].want)
			assert_int_equal(zone_next_change(z, 0), ZONE_NEVER);
		zone_free(z);
	}
}

/* Cut at every byte, a file is refused and never read past. */
static void refuses_a_file_that_is_cut(void **state)
{
	uint8_t file[400];
	size_t n = make_file(file, "EST5EDT,M3.2.0,M11.1.0");
	struct zone *z = NULL;

	(void)state;
	for (size_t cut = 0; cut < n; cut++) {
		uint8_t *copy = malloc(cut ? cut : 1);
		assert_non_null(copy);
		memcpy(copy, file, cut);
		assert_int_equal(zone_parse(slice_make(copy, cut), &z, NULL), ERR_BAD_CONFIG);
		free(copy);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(shows_what_the_c_library_shows),
		cmocka_unit_test(misses_no_change),
		cmocka_unit_test(a_time_is_reached_once),
		cmocka_unit_test(utc_needs_no_file),
		cmocka_unit_test(refuses_what_is_no_zone),
		cmocka_unit_test(reads_the_rules_of_footers),
		cmocka_unit_test(refuses_a_footer_that_contradicts_the_table),
		cmocka_unit_test(refuses_a_file_that_is_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
