/* SPDX-License-Identifier: Apache-2.0 */
#include "connect/schedule.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

#include "base/rand.h"

#define MINUTE 60000
#define HOUR (60 * MINUTE)
#define DAY (24 * HOUR)
#define T0 1780272000000 /* 2026-06-01 00:00 UTC, a Monday */

static struct schedule *make(struct schedule_options o)
{
	struct fault fault = {0};
	struct schedule *s = NULL;

	if (schedule_new(&o, &s, &fault))
		fail_msg("%s", fault.text);
	return s;
}

static struct schedule *make_cron(const char *text)
{
	return make((struct schedule_options){.kind = SCHEDULE_CRON, .cron = slice_str(text)});
}

static struct schedule *make_every(int64_t ms)
{
	return make((struct schedule_options){.kind = SCHEDULE_EVERY, .every_ms = ms, .seed = 12345});
}

static struct schedule_now now_at(int64_t wall, int64_t elapsed)
{
	return (struct schedule_now){.wall_ms = wall, .elapsed_ms = elapsed};
}

/* ---- against an oracle that steps minutes ---- */

/* Cron times as sets written out, for the oracle has no parser. */
struct simple {
	const char *text;
	int minute_step, minute; /* every so many minutes, or (0) at this one */
	int hour_from, hour_to, hour_step;
	int day, month, weekday; /* -1: any */
	bool hourly;
};

static const struct simple simples[] = {
	{"*/5 * * * *", 5, 0, 0, 23, 1, -1, -1, -1, true},
	{"30 * * * *", 0, 30, 0, 23, 1, -1, -1, -1, true},
	{"0 * * * *", 0, 0, 0, 23, 1, -1, -1, -1, true},
	{"30 2 * * *", 0, 30, 2, 2, 1, -1, -1, -1, false},
	{"0 0 * * *", 0, 0, 0, 0, 1, -1, -1, -1, false},
	{"30 1 * * 0", 0, 30, 1, 1, 1, -1, -1, 0, false},
	{"0 */2 * * *", 0, 0, 0, 23, 2, -1, -1, -1, false},
	{"*/15 1-3 * * *", 15, 0, 1, 3, 1, -1, -1, -1, false},
	{"0 12 30 12 *", 0, 0, 12, 12, 1, 30, 12, -1, false},
	{"59 23 31 * *", 0, 59, 23, 23, 1, 31, -1, -1, false},
};
enum { SIMPLES = sizeof(simples) / sizeof(simples[0]) };

static bool simple_fits(const struct simple *s, int64_t wall)
{
	int minute = (int)(wall / 60 % 60), hour = (int)(wall / 3600 % 24);
	time_t t = wall;
	struct tm tm;

	if (s->minute_step ? minute % s->minute_step : minute != s->minute)
		return false;
	if (hour < s->hour_from || hour > s->hour_to || (hour - s->hour_from) % s->hour_step)
		return false;
	assert_non_null(gmtime_r(&t, &tm)); /* the date, which takes a while, last */
	return (s->day < 0 || tm.tm_mday == s->day) && (s->month < 0 || tm.tm_mon + 1 == s->month) &&
	       (s->weekday < 0 || tm.tm_wday == s->weekday);
}

struct oracle {
	const char *zone;
	int64_t from, to;
	struct schedule *schedules[SIMPLES];
	int64_t next[SIMPLES]; /* what each schedule says, seconds */
};

/* The minute at `at`: the clock goes from `before` (the most it has shown) to `wall`. */
static void step_minute(struct oracle *o, int64_t at, int64_t before, int64_t wall)
{
	for (int i = 0; i < SIMPLES; i++) {
		bool run = simples[i].hourly && simple_fits(&simples[i], wall);
		for (int64_t w = before + 60; !simples[i].hourly && w <= wall; w += 60)
			run = run || simple_fits(&simples[i], w);
		if (run != (o->next[i] == at))
			fail_msg("%s in %s at %lld: %s", simples[i].text, o->zone, (long long)at,
				 run ? "should run" : "should not run");
		if (run)
			o->next[i] = schedule_run_after(o->schedules[i], at * 1000) / 1000;
		/* Asked from anywhere, within a repeated hour too, it is the same. */
		if (wall <= before || at % 997 == 0)
			assert_int_equal(schedule_run_after(o->schedules[i], at * 1000) / 1000, o->next[i]);
	}
}

static void run_oracle(struct oracle *o)
{
	struct zone *z = NULL;
	int64_t most = INT64_MIN;

	assert_int_equal(zone_load(sys_kernel(), NULL, slice_str(o->zone), &z, NULL), 0);
	for (int i = 0; i < SIMPLES; i++) {
		o->schedules[i] = make((struct schedule_options){.kind = SCHEDULE_CRON,
								 .cron = slice_str(simples[i].text),
								 .zone = z});
		o->next[i] = schedule_run_after(o->schedules[i], o->from * 1000) / 1000;
	}
	setenv("TZ", o->zone, 1);
	tzset();
	for (int64_t at = o->from; at <= o->to; at += 60) {
		time_t t = at;
		struct tm tm;
		assert_non_null(localtime_r(&t, &tm));
		int64_t wall = at + tm.tm_gmtoff;
		if (at > o->from)
			step_minute(o, at, most, wall);
		most = wall > most ? wall : most;
	}
	for (int i = 0; i < SIMPLES; i++)
		schedule_free(o->schedules[i]);
	zone_free(z);
	unsetenv("TZ");
	tzset();
}

static int64_t year(int y)
{
	struct tm tm = {.tm_year = y - 1900, .tm_mday = 1};

	return timegm(&tm);
}

/* Years with what is odd about each zone: half hours, a skipped day, midnight, a change for good. */
static void runs_as_an_oracle_that_steps_minutes(void **state)
{
	static const struct {
		const char *zone;
		int from, to;
	} rows[] = {
		{"America/New_York", 2026, 2027},    {"Europe/Berlin", 2038, 2039},
		{"Australia/Lord_Howe", 2026, 2027}, {"Pacific/Apia", 2011, 2012},
		{"Asia/Kathmandu", 1985, 1986},      {"America/Sao_Paulo", 2018, 2019},
		{"Africa/Casablanca", 2026, 2026},   {"Europe/Moscow", 2014, 2014},
		{"Asia/Gaza", 2011, 2011},           {"Pacific/Kwajalein", 1993, 1993},
		{"Antarctica/Troll", 2026, 2026},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct oracle o = {.zone = rows[i].zone,
				   .from = year(rows[i].from),
				   .to = year(rows[i].to + 1)};
		run_oracle(&o);
	}
}

/* ---- a daemon in miniature ---- */

struct life {
	const struct schedule *s;
	struct schedule_state state;
	int64_t wall, elapsed;
	uint64_t runs;
};

static struct schedule_now life_now(const struct life *l)
{
	return now_at(l->wall, l->elapsed);
}

static void life_start(struct life *l, const struct schedule *s, int64_t wall)
{
	*l = (struct life){.s = s, .wall = wall, .elapsed = 7000};
	schedule_start(s, &l->state, slice_null(), life_now(l));
}

static void life_pass(struct life *l, int64_t ms)
{
	l->wall += ms;
	l->elapsed += ms;
}

/* A restart `ms` later, under another elapsed clock. */
static void life_restart(struct life *l, int64_t ms)
{
	uint8_t saved[SCHEDULE_STATE_BYTES];

	schedule_save(l->s, &l->state, saved);
	l->wall += ms;
	l->elapsed = l->elapsed * 31 % 1000003;
	memset(&l->state, 0xa5, sizeof(l->state));
	schedule_start(l->s, &l->state, slice_make(saved, sizeof(saved)), life_now(l));
}

/* Sleeps to the next run and runs it for `ms`; the wall time of the run. */
static int64_t life_run(struct life *l, int64_t ms)
{
	int64_t wait = schedule_wait(l->s, &l->state, life_now(l)), at;

	assert_true(wait >= 0 && wait != SCHEDULE_NEVER);
	if (wait > 0) {
		life_pass(l, wait - 1);
		assert_int_equal(schedule_wait(l->s, &l->state, life_now(l)), 1);
		life_pass(l, 1);
	}
	assert_int_equal(schedule_wait(l->s, &l->state, life_now(l)), 0);
	at = l->wall;
	schedule_begin(l->s, &l->state, life_now(l));
	assert_int_equal(schedule_wait(l->s, &l->state, life_now(l)), SCHEDULE_NEVER);
	life_pass(l, ms);
	schedule_end(l->s, &l->state, life_now(l));
	l->runs++;
	return at;
}

static void every_keeps_its_row(void **state)
{
	struct schedule *s = make_every(10000);
	struct life l;

	(void)state;
	life_start(&l, s, T0);
	assert_int_equal(life_run(&l, 10), T0); /* a new one runs at once */
	int64_t first = life_run(&l, 10);
	assert_int_equal(first, T0 + 12345 % 10000);
	for (int i = 1; i < 100; i++)
		assert_int_equal(life_run(&l, 10 + i * 90), first + i * 10000);
	/* A run that takes longer than the distance is over with the slots that it missed. */
	assert_int_equal(life_run(&l, 25000), first + 100 * 10000);
	assert_int_equal(life_run(&l, 10), first + 103 * 10000);
	schedule_free(s);
}

static void a_restart_neither_skips_nor_repeats_an_interval(void **state)
{
	struct schedule *s = make_every(10000);
	struct rand r;
	struct life l;

	(void)state;
	rand_seed(&r, 2);
	life_start(&l, s, T0);
	(void)life_run(&l, 5);
	int64_t last = life_run(&l, 5);
	for (int i = 0; i < 2000; i++) {
		life_pass(&l, (int64_t)rand_below(&r, 3000));
		life_restart(&l, (int64_t)rand_below(&r, 3000));
		int64_t at = life_run(&l, 5);
		assert_int_equal(at, last + 10000);
		last = at;
	}
	/* Away for an hour: one run for all that were missed, within its distance. */
	life_restart(&l, HOUR);
	int64_t back = l.wall, at = life_run(&l, 5);
	assert_true(at >= back && at < back + 10000);
	assert_int_equal(life_run(&l, 5), at + 10000);
	/* The clock was put back by a year meanwhile: no longer than the distance. */
	life_restart(&l, -365 * (int64_t)DAY);
	back = l.wall;
	assert_true(life_run(&l, 5) <= back + 10000);
	schedule_free(s);
}

static void an_interval_does_not_know_the_wall_clock(void **state)
{
	struct schedule *s = make_every(10000);
	struct rand r;
	struct life l;

	(void)state;
	rand_seed(&r, 3);
	life_start(&l, s, T0);
	(void)life_run(&l, 5);
	(void)life_run(&l, 5);
	for (int i = 0; i < 1000; i++) {
		int64_t before = l.elapsed;
		l.wall = T0 + (int64_t)rand_below(&r, 1000ull * DAY);
		(void)life_run(&l, 5);
		assert_int_equal(l.elapsed, before + 10000);
	}
	schedule_free(s);
}

/* Restarts at random moments, some over many slots: what should have run has, once. */
static void a_restart_neither_skips_nor_repeats_a_cron_time(void **state)
{
	struct schedule *s = make_cron("*/10 * * * *");
	struct rand r;
	struct life l;

	(void)state;
	rand_seed(&r, 4);
	life_start(&l, s, T0 + 1000);
	int64_t taken = T0; /* slots up to here are over */
	for (int i = 0; i < 3000; i++) {
		if (rand_below(&r, 3) == 0)
			life_restart(&l, (int64_t)rand_below(&r, rand_below(&r, 2) ? 2 * HOUR : 5000));
		int64_t due = taken + 10 * MINUTE, began = l.wall;
		int64_t at = life_run(&l, (int64_t)rand_below(&r, 30000));
		assert_int_equal(at, due > began ? due : began);
		taken = at / (10 * MINUTE) * (10 * MINUTE);
		/* One slot that came while it ran is over with it. */
		if (l.wall / (10 * MINUTE) * (10 * MINUTE) > taken)
			taken = l.wall / (10 * MINUTE) * (10 * MINUTE);
	}
	/* After a crash before the commit the slot comes again. */
	uint8_t saved[SCHEDULE_STATE_BYTES];
	schedule_save(s, &l.state, saved);
	int64_t at = life_run(&l, 5);
	schedule_start(s, &l.state, slice_make(saved, sizeof(saved)), life_now(&l));
	assert_int_equal(life_run(&l, 5), at + 5);
	schedule_free(s);
}

static void a_clock_that_is_put_back_repeats_nothing(void **state)
{
	static const int64_t back[] = {400, 1000, 30000, 5 * MINUTE, 59 * MINUTE, 3 * HOUR, 23 * HOUR};
	struct schedule *s = make_cron("0 2 * * *");
	struct life l;

	(void)state;
	for (size_t i = 0; i < sizeof(back) / sizeof(back[0]); i++) {
		life_start(&l, s, T0);
		assert_int_equal(life_run(&l, 100), T0 + 2 * HOUR);
		l.wall -= back[i];
		assert_int_equal(life_run(&l, 100), T0 + DAY + 2 * HOUR);
		life_start(&l, s, T0);
		assert_int_equal(life_run(&l, 100), T0 + 2 * HOUR);
		life_restart(&l, -back[i]);
		assert_int_equal(life_run(&l, 100), T0 + DAY + 2 * HOUR);
	}
	schedule_free(s);
}

/* The clock was wrong by a year and is corrected: a daily run comes within two days. */
static void a_clock_that_was_ahead_stops_nothing(void **state)
{
	struct schedule *s = make_cron("0 2 * * *"), *often = make_cron("*/5 * * * *");
	struct life l;

	(void)state;
	life_start(&l, s, T0 + 365 * (int64_t)DAY);
	(void)life_run(&l, 100);
	l.wall -= 365 * (int64_t)DAY;
	assert_int_equal(life_run(&l, 100), T0 + DAY + 2 * HOUR);
	assert_int_equal(life_run(&l, 100), T0 + 2 * DAY + 2 * HOUR);
	schedule_free(s);
	/* An often one goes on at its distance, an hour back. */
	life_start(&l, often, T0 + 2 * MINUTE);
	assert_int_equal(life_run(&l, 100), T0 + 5 * MINUTE);
	l.wall -= HOUR;
	for (int i = 1; i < 30; i++)
		assert_int_equal(life_run(&l, 100), T0 - HOUR + 5 * MINUTE + i * 5 * MINUTE);
	schedule_free(often);
}

static void a_clock_that_jumps_ahead_runs_once(void **state)
{
	struct schedule *s = make_cron("*/5 * * * *");
	struct life l;

	(void)state;
	life_start(&l, s, T0);
	assert_int_equal(life_run(&l, 100), T0 + 5 * MINUTE);
	l.wall = T0 + 10 * (int64_t)DAY + MINUTE;
	assert_int_equal(life_run(&l, 100), T0 + 10 * (int64_t)DAY + MINUTE);
	assert_int_equal(life_run(&l, 100), T0 + 10 * (int64_t)DAY + 5 * MINUTE);
	assert_true(schedule_clock_moved(now_at(0, 0), now_at(3600000, 1000)));
	assert_true(schedule_clock_moved(now_at(5000, 0), now_at(0, 1000)));
	assert_false(schedule_clock_moved(now_at(0, 0), now_at(60400, 60000)));
	schedule_free(s);
}

static void overlap_skips_or_queues_one(void **state)
{
	struct schedule_options o = {.kind = SCHEDULE_CRON,
				     .cron = SLICE_LIT("*/5 * * * *"),
				     .overlap = SCHEDULE_QUEUE};
	struct schedule *skip = make_cron("*/5 * * * *"), *queue = make(o);
	struct life l;

	(void)state;
	life_start(&l, skip, T0);
	assert_int_equal(life_run(&l, 12 * MINUTE), T0 + 5 * MINUTE); /* to 17 */
	assert_int_equal(life_run(&l, 0), T0 + 20 * MINUTE);
	life_start(&l, queue, T0);
	assert_int_equal(life_run(&l, 12 * MINUTE), T0 + 5 * MINUTE);
	assert_int_equal(life_run(&l, MINUTE), T0 + 17 * MINUTE); /* for 10 and 15 */
	assert_int_equal(life_run(&l, 0), T0 + 20 * MINUTE);
	schedule_free(skip);
	schedule_free(queue);
}

/* No run in the dark; what fell into it comes once, when it ends. */
static void blackouts_put_off_runs(void **state)
{
	static const struct slice dark[] = {SLICE_LIT("Mon-Fri 09:00-17:00"), SLICE_LIT("Sat 22:00-02:00"),
					    SLICE_LIT("Sun 02:00-02:30")};
	struct schedule_options o = {.kind = SCHEDULE_CRON,
				     .cron = SLICE_LIT("30 */3 * * *"),
				     .blackouts = dark,
				     .blackout_count = 3};
	struct schedule *s = make(o), *every;
	struct life l;

	(void)state;
	life_start(&l, s, T0);
	static const int64_t hours[] = {30, 210, 390, 1020, 1110, 1290, 1440 + 30};
	for (size_t i = 0; i < sizeof(hours) / sizeof(hours[0]); i++)
		assert_int_equal(life_run(&l, 100), T0 + hours[i] * MINUTE);
	while (l.wall < T0 + 5 * (int64_t)DAY + 21 * HOUR)
		(void)life_run(&l, 100);
	assert_int_equal(life_run(&l, 100),
			 T0 + 6 * (int64_t)DAY + 150 * MINUTE); /* three windows in a row */
	schedule_free(s);

	o = (struct schedule_options){.kind = SCHEDULE_EVERY,
				      .every_ms = 7 * MINUTE,
				      .blackouts = dark,
				      .blackout_count = 3,
				      .jitter_ms = MINUTE,
				      .seed = 9};
	every = make(o);
	life_start(&l, every, T0);
	for (int i = 0; i < 3000; i++) {
		int64_t at = (life_run(&l, 100) - T0) % (7 * (int64_t)DAY), day = at / DAY,
			minute = at % DAY / MINUTE;
		assert_false(day < 5 && minute >= 540 && minute < 1020);
		assert_false((day == 5 && minute >= 1320) || (day == 6 && minute < 150));
	}
	schedule_free(every);

	/* What waited for the light does not come in step. */
	int64_t runs[2];
	for (uint64_t seed = 0; seed < 2; seed++) {
		o = (struct schedule_options){.kind = SCHEDULE_CRON,
					      .cron = SLICE_LIT("0 12 * * *"),
					      .blackouts = dark,
					      .blackout_count = 3,
					      .jitter_ms = HOUR,
					      .seed = seed + 1};
		s = make(o);
		runs[seed] = schedule_run_after(s, T0);
		assert_true(runs[seed] >= T0 + 17 * HOUR && runs[seed] <= T0 + 18 * HOUR);
		schedule_free(s);
	}
	assert_int_not_equal(runs[0], runs[1]);
}

static void blackouts_follow_the_zone(void **state)
{
	static const struct slice dark[] = {SLICE_LIT("00:00-04:00")};
	struct zone *z = NULL;

	(void)state;
	assert_int_equal(zone_load(sys_kernel(), NULL, SLICE_LIT("Europe/Berlin"), &z, NULL), 0);
	struct schedule *s = make((struct schedule_options){.kind = SCHEDULE_CRON,
							    .cron = SLICE_LIT("0 1 * * *"),
							    .zone = z,
							    .blackouts = dark,
							    .blackout_count = 1});
	struct life l;
	life_start(&l, s, 1774634400000);                             /* 2026-03-27 18:00 UTC */
	assert_int_equal(life_run(&l, 1), 1774634400000 + 9 * HOUR);  /* 28 March 04:00 +01 */
	assert_int_equal(life_run(&l, 1), 1774634400000 + 32 * HOUR); /* 29 March 04:00 +02 */
	schedule_free(s);
	zone_free(z);
}

static void says_what_is_wrong(void **state)
{
	static const char *const bad[] = {"",
					  "Mon-",
					  "Mon 9-17",
					  "Mon 09:00-09:00",
					  "Mon 24:00-01:00",
					  "09:00",
					  "Mon-Fri 09:00-25:00",
					  "Mon 09:00-17:00 x",
					  "Monday",
					  "25:00-26:00",
					  "Mon,,Tue"};
	struct schedule *s;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct slice text = slice_str(bad[i]);
		struct schedule_options o = {.kind = SCHEDULE_MANUAL,
					     .blackouts = &text,
					     .blackout_count = 1};
		if (schedule_new(&o, &s, NULL) != ERR_BAD_CONFIG)
			fail_msg("'%s' is taken", bad[i]);
	}
	struct slice all[] = {SLICE_LIT("Mon-Sun")},
		     halves[] = {SLICE_LIT("06:00-18:00"), SLICE_LIT("18:00-06:00")};
	struct schedule_options o = {.kind = SCHEDULE_MANUAL, .blackouts = all, .blackout_count = 1};
	assert_int_equal(schedule_new(&o, &s, NULL), ERR_BAD_CONFIG);
	o = (struct schedule_options){.kind = SCHEDULE_MANUAL, .blackouts = halves, .blackout_count = 2};
	assert_int_equal(schedule_new(&o, &s, NULL), ERR_BAD_CONFIG);
	o = (struct schedule_options){.kind = SCHEDULE_EVERY, .every_ms = 1000, .jitter_ms = 1001};
	assert_int_equal(schedule_new(&o, &s, NULL), ERR_BAD_CONFIG);
	o = (struct schedule_options){.kind = SCHEDULE_CRON, .cron = SLICE_LIT("0 0 31 2 *")};
	assert_int_equal(schedule_new(&o, &s, NULL), ERR_BAD_CONFIG);
}

/* Each slot once, at its own delay, the same after a restart. */
static void jitter_moves_runs_not_slots(void **state)
{
	struct schedule_options o = {.kind = SCHEDULE_CRON,
				     .cron = SLICE_LIT("*/5 * * * *"),
				     .jitter_ms = 20 * MINUTE,
				     .seed = 4};
	struct schedule *s = make(o);
	struct life l, other;
	int64_t distinct = 0, last = -1;

	(void)state;
	life_start(&l, s, T0);
	life_start(&other, s, T0);
	for (int64_t i = 1; i <= 300; i++) {
		int64_t at = life_run(&l, 0), slot = T0 + i * 5 * MINUTE;
		assert_true(at >= slot && at < slot + 5 * MINUTE);
		distinct += at - slot != last;
		last = at - slot;
		life_restart(&other, 1);
		assert_int_equal(life_run(&other, 0), at);
	}
	assert_true(distinct > 290);
	schedule_free(s);
}

static void at_start_is_a_run_of_its_own(void **state)
{
	struct schedule_options o = {.kind = SCHEDULE_CRON, .cron = SLICE_LIT("0 2 * * *"), .at_start = true};
	struct schedule *s = make(o), *manual = make((struct schedule_options){.kind = SCHEDULE_MANUAL});
	struct life l;

	(void)state;
	life_start(&l, s, T0);
	assert_int_equal(life_run(&l, 100), T0);
	assert_int_equal(life_run(&l, 100), T0 + 2 * HOUR);
	life_restart(&l, HOUR);
	assert_int_equal(life_run(&l, 100), T0 + 3 * HOUR + 100);
	assert_int_equal(life_run(&l, 100), T0 + DAY + 2 * HOUR);
	life_start(&l, manual, T0);
	assert_int_equal(schedule_wait(manual, &l.state, life_now(&l)), SCHEDULE_NEVER);
	schedule_begin(manual, &l.state, life_now(&l));
	schedule_end(manual, &l.state, life_now(&l));
	schedule_free(s);
	schedule_free(manual);
}

static void an_adaptive_interval_is_what_it_is_told(void **state)
{
	struct schedule_options o = {.kind = SCHEDULE_ADAPTIVE, .every_min_ms = 1000, .every_max_ms = 600000};
	struct schedule *s = make(o);
	struct life l;

	(void)state;
	life_start(&l, s, T0);
	assert_int_equal(life_run(&l, 0), T0);
	schedule_set_interval(s, &l.state, 5000);
	assert_int_equal(life_run(&l, 0), T0 + 5000);
	schedule_set_interval(s, &l.state, 10);
	assert_int_equal(life_run(&l, 0), T0 + 6000);
	schedule_set_interval(s, &l.state, 900000); /* the source asked for more than max */
	assert_int_equal(life_run(&l, 0), T0 + 906000);
	schedule_set_interval(s, &l.state, 60000);
	life_restart(&l, 20000);
	assert_int_equal(life_run(&l, 0), T0 + 966000);
	/* A slow source is left alone for the least distance. */
	schedule_set_interval(s, &l.state, 2000);
	assert_int_equal(life_run(&l, 30000), T0 + 968000);
	assert_int_equal(life_run(&l, 0), T0 + 999000);
	schedule_free(s);
}

/* Any bytes of an earlier life leave a state in which time goes on. */
static void rubbish_is_as_nothing(void **state)
{
	struct schedule *kinds[] = {make_every(1000), make_cron("0 * * * *"),
				    make((struct schedule_options){.kind = SCHEDULE_ADAPTIVE,
								   .every_min_ms = 5,
								   .every_max_ms = 10})};
	uint8_t bytes[SCHEDULE_STATE_BYTES + 1];
	struct rand r;

	(void)state;
	rand_seed(&r, 6);
	for (int i = 0; i < 30000; i++) {
		struct schedule *s = kinds[i % 3];
		struct life l = {.s = s, .wall = T0, .elapsed = 10};
		for (size_t n = 0; n < sizeof(bytes); n++)
			bytes[n] = rand_below(&r, 4) ? (uint8_t)rand_next(&r) : 0;
		schedule_save(s, &(struct schedule_state){0}, (uint8_t[SCHEDULE_STATE_BYTES]){0});
		bytes[0] = (uint8_t)(0x10 | (i % 3 == 0 ? SCHEDULE_EVERY :
					     i % 3 == 1 ? SCHEDULE_CRON :
							  SCHEDULE_ADAPTIVE));
		schedule_start(s, &l.state, slice_make(bytes, SCHEDULE_STATE_BYTES + (i % 50 == 0)),
			       life_now(&l));
		int64_t wait = schedule_wait(s, &l.state, life_now(&l));
		assert_true(wait >= 0);
		if (i % 3 == 0)
			assert_true(wait <= 1000);
	}
	for (int i = 0; i < 3; i++)
		schedule_free(kinds[i]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(runs_as_an_oracle_that_steps_minutes),
		cmocka_unit_test(every_keeps_its_row),
		cmocka_unit_test(a_restart_neither_skips_nor_repeats_an_interval),
		cmocka_unit_test(an_interval_does_not_know_the_wall_clock),
		cmocka_unit_test(a_restart_neither_skips_nor_repeats_a_cron_time),
		cmocka_unit_test(a_clock_that_is_put_back_repeats_nothing),
		cmocka_unit_test(a_clock_that_was_ahead_stops_nothing),
		cmocka_unit_test(a_clock_that_jumps_ahead_runs_once),
		cmocka_unit_test(overlap_skips_or_queues_one),
		cmocka_unit_test(blackouts_put_off_runs),
		cmocka_unit_test(blackouts_follow_the_zone),
		cmocka_unit_test(says_what_is_wrong),
		cmocka_unit_test(jitter_moves_runs_not_slots),
		cmocka_unit_test(at_start_is_a_run_of_its_own),
		cmocka_unit_test(an_adaptive_interval_is_what_it_is_told),
		cmocka_unit_test(rubbish_is_as_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
