/* SPDX-License-Identifier: Apache-2.0 */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <unistd.h>
#include <cmocka.h>

#include "obs/say.h"

/* A clock that stands still until it is told, and a pipe in place of stderr. */
static int64_t clock_ns;
static int ends[2];

static int64_t read_clock(void *self)
{
	(void)self;
	return clock_ns;
}

static const struct sys_ops ops = {.wall_ns = read_clock, .monotonic_ns = read_clock};
static const struct sys sys = {.ops = &ops};

static void start(enum say_form form, uint32_t burst)
{
	const struct say_options options = {
		.sys = &sys, .level = SAY_INFO, .form = form, .fd = ends[1], .burst = burst};

	say_start(&options);
}

static int set_up(void **state)
{
	(void)state;
	clock_ns = INT64_C(1738317600123456789); /* 2025-01-31T10:00:00.123 */
	return pipe(ends);
}

static int tear_down(void **state)
{
	(void)state;
	say_stop();
	(void)close(ends[0]);
	return close(ends[1]);
}

/* All that was written since the last call. */
static const char *said(void)
{
	static char text[16 * SAY_LINE_MAX];
	ssize_t n;

	(void)!write(ends[1], "$", 1);
	n = read(ends[0], text, sizeof(text) - 1);
	if (n < 1 || text[n - 1] != '$')
		return "nothing could be read";
	text[n - 1] = '\0';
	return text;
}

#define HEAD "ts=2025-01-31T10:00:00.123Z level=info event=tried "

static void a_line_is_logfmt_with_a_sentence_and_fields(void **state)
{
	(void)state;
	start(SAY_LOGFMT, 100);
	say(SAY_INFO, "tried", "HTTP is served address=%s loops=%u took_s=%.3f", "127.0.0.1:8080", 2u, 0.25);
	assert_string_equal(said(),
			    HEAD "msg=\"HTTP is served\" address=127.0.0.1:8080 loops=2 took_s=0.250\n");
	say(SAY_INFO, "tried", "n=%d", -1);
	assert_string_equal(said(), HEAD "n=-1\n");
	say(SAY_INFO, "tried", "only words, 100 %%, a=b");
	assert_string_equal(said(), HEAD "msg=\"only words, 100 %, a=b\"\n");
}

static void every_conversion_takes_its_own_argument(void **state)
{
	(void)state;
	start(SAY_LOGFMT, 100);
	say(SAY_INFO, "tried", "%s %c%c a=%ld b=%llu c=%zu d=%x e=%.*s f=%d", "m", 'x', 'y', -5L, 6ULL,
	    (size_t)7, 255u, 2, "abc", 9);
	assert_string_equal(said(), HEAD "msg=\"m xy\" a=-5 b=6 c=7 d=ff e=ab f=9\n");
	say(SAY_INFO, "tried", "a=%lld b=%lu c=%i", LLONG_MIN, ULONG_MAX, 0);
	assert_string_equal(said(), HEAD "a=-9223372036854775808 b=18446744073709551615 c=0\n");
}

static void json_has_the_same_and_numbers_stay_numbers(void **state)
{
	(void)state;
	start(SAY_JSON, 100);
	say(SAY_INFO, "tried", "a \"word\" n=%d s=%s x=%x d=%.1f u=%ums r=%u/%u", 5, "12", 18u, 0.5, 3u, 4u,
	    5u);
	assert_string_equal(said(),
			    "{\"ts\":\"2025-01-31T10:00:00.123Z\",\"level\":\"info\",\"event\":\"tried\","
			    "\"msg\":\"a \\\"word\\\"\",\"n\":5,\"s\":\"12\",\"x\":\"12\",\"d\":0.5,"
			    "\"u\":\"3ms\",\"r\":\"4/5\"}\n");
}

static void a_value_never_becomes_a_field_or_a_line(void **state)
{
	(void)state;
	start(SAY_LOGFMT, 100);
	say(SAY_INFO, "tried", "hello %s s=%s", "x=1 level=error\n", "a\" level=error\nts=0\x01\xff\xc3\xa9");
	assert_string_equal(said(), HEAD "msg=\"hello x=1 level=error\\n\" "
					 "s=\"a\\\" level=error\\nts=0\\u0001\xef\xbf\xbd\xc3\xa9\"\n");
	say(SAY_INFO, "tried", "s=%s t=%s", "", "a b");
	assert_string_equal(said(), HEAD "s=\"\" t=\"a b\"\n");
}

static void a_long_line_is_cut_and_stays_well_formed(void **state)
{
	char text[3 * SAY_LINE_MAX];
	size_t n;

	(void)state;
	for (n = 0; n < sizeof(text); n += 7) {
		const char *line;

		memset(text, n % 2 ? '"' : 'a', sizeof(text));
		text[n] = '\0';
		start(n % 3 ? SAY_JSON : SAY_LOGFMT, 100000);
		say(SAY_INFO, "tried", "words a=%s b=%d", text, 5);
		line = said();
		assert_true(strlen(line) <= SAY_LINE_MAX);
		if (n % 3)
			assert_string_equal(line + strlen(line) - 2, "}\n");
		if (n > SAY_LINE_MAX)
			assert_non_null(strstr(line, n % 3 ? "\",\"cut\":true}\n" : " cut=true\n"));
		else if (n < SAY_LINE_MAX / 3)
			assert_non_null(strstr(line, n % 3 ? ",\"b\":5}\n" : " b=5\n"));
	}
}

static void levels_above_the_limit_are_not_written(void **state)
{
	(void)state;
	start(SAY_LOGFMT, 100);
	say(SAY_DEBUG, "tried", "quiet");
	assert_string_equal(said(), "");
	assert_false(say_enabled(SAY_DEBUG));
	say_text(NULL, 0, "tried", "100 % loud");
	assert_string_equal(said(),
			    "ts=2025-01-31T10:00:00.123Z level=error event=tried msg=\"100 % loud\"\n");
}

static void repeats_are_held_back_and_told(void **state)
{
	unsigned i;

	(void)state;
	start(SAY_LOGFMT, 3);
	for (i = 0; i < 10; i++)
		say(SAY_INFO, "tried", "n=%u", i);
	assert_string_equal(said(), HEAD "n=0\n" HEAD "n=1\n" HEAD "n=2\n");
	say(SAY_INFO, "else", "n=%u", 1u);
	assert_non_null(strstr(said(), "event=else n=1\n"));
	clock_ns += INT64_C(11000000000);
	say(SAY_INFO, "tried", "n=%u", 10u);
	assert_non_null(strstr(said(), "event=tried n=10 repeated=7\n"));
}

static void what_was_held_back_is_told_by_another_event_or_at_the_stop(void **state)
{
	unsigned i;

	(void)state;
	start(SAY_LOGFMT, 1);
	for (i = 0; i < 4; i++)
		say(SAY_INFO, "tried", "n=%u", i);
	(void)said();
	clock_ns += INT64_C(11000000000);
	say(SAY_INFO, "else", "n=%u", 1u);
	assert_non_null(
		strstr(said(),
		       "event=repeated msg=\"lines of one event were held back\" of=tried repeated=3\n"));
	say(SAY_INFO, "else", "n=%u", 2u);
	assert_string_equal(said(), "");
	say_stop();
	assert_non_null(strstr(said(), "of=else repeated=1\n"));
}

static void more_events_than_places_are_written_all_the_same(void **state)
{
	static char names[300][8];
	unsigned i, round;

	(void)state;
	start(SAY_LOGFMT, 2);
	for (i = 0; i < 300; i++) {
		(void)snprintf(names[i], sizeof(names[i]), "e%u", i);
		for (round = 0; round < 2; round++) {
			say(SAY_INFO, names[i], "x");
			assert_non_null(strstr(said(), names[i]));
		}
	}
}

static void words_of_the_configuration_are_read(void **state)
{
	enum say_level level;
	enum say_form form;

	(void)state;
	assert_true(say_level_parse(SLICE_LIT("warning"), &level) && level == SAY_WARNING);
	assert_false(say_level_parse(SLICE_LIT("warn"), &level));
	assert_true(say_form_parse(SLICE_LIT("json"), &form) && form == SAY_JSON);
	assert_false(say_form_parse(SLICE_LIT(""), &form));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_line_is_logfmt_with_a_sentence_and_fields),
		TEST(every_conversion_takes_its_own_argument),
		TEST(json_has_the_same_and_numbers_stay_numbers),
		TEST(a_value_never_becomes_a_field_or_a_line),
		TEST(a_long_line_is_cut_and_stays_well_formed),
		TEST(levels_above_the_limit_are_not_written),
		TEST(repeats_are_held_back_and_told),
		TEST(what_was_held_back_is_told_by_another_event_or_at_the_stop),
		TEST(more_events_than_places_are_written_all_the_same),
		TEST(words_of_the_configuration_are_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
