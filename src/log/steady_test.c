/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "log/steady.h"
#include "sys/sim/sim.h"

#define SECOND 1000LL
#define HOUR (3600 * SECOND)
#define DAY (24 * HOUR)
#define YEAR (365 * DAY)

struct clocks {
	int64_t wall_ms, elapsed_ms;
};

static int64_t wall(void *self)
{
	return ((struct clocks *)self)->wall_ms * 1000000;
}

static int64_t elapsed(void *self)
{
	return ((struct clocks *)self)->elapsed_ms * 1000000;
}

static const struct sys_ops ops = {.wall_ns = wall, .monotonic_ns = elapsed};
static struct clocks now;
static struct sys sys = {.ops = &ops, .self = &now};
static struct steady s;

static int begin(void **state)
{
	(void)state;
	now = (struct clocks){.wall_ms = 50 * YEAR, .elapsed_ms = 7 * HOUR};
	steady_init(&s, &sys, DAY, 0, false);
	return 0;
}

static void pass(int64_t ms)
{
	now.wall_ms += ms;
	now.elapsed_ms += ms;
}

static void a_clock_that_goes_is_followed(void **state)
{
	(void)state;
	for (int i = 0; i < 1000; i++) {
		pass(HOUR);
		now.wall_ms += i % 3 == 0 ? 30 * SECOND : -10 * SECOND; /* corrections */
		assert_int_equal(steady_look(&s), STEADY_NONE);
		assert_int_equal(steady_now_ms(&s), now.wall_ms);
	}
	assert_int_equal(atomic_load(&s.ahead_ms), 0);
}

static void a_jump_ahead_is_doubted_for_the_time_of_the_hold(void **state)
{
	int64_t before = now.wall_ms;

	(void)state;
	now.wall_ms += YEAR;
	assert_int_equal(steady_now_ms(&s), before); /* before anybody has looked */
	assert_int_equal(steady_look(&s), STEADY_DOUBTED);
	assert_int_equal(atomic_load(&s.ahead_ms), YEAR);
	assert_int_equal(steady_wait_ms(&s), DAY + 1);
	pass(23 * HOUR);
	assert_int_equal(steady_look(&s), STEADY_NONE);
	assert_int_equal(steady_now_ms(&s), before + 23 * HOUR);
	pass(HOUR);
	assert_int_equal(steady_look(&s), STEADY_BELIEVED);
	assert_int_equal(steady_now_ms(&s), now.wall_ms);
	assert_int_equal(steady_wait_ms(&s), INT64_MAX);
}

static void a_jump_that_is_taken_back_never_counts(void **state)
{
	int64_t before = now.wall_ms;

	(void)state;
	now.wall_ms += YEAR;
	assert_int_equal(steady_look(&s), STEADY_DOUBTED);
	pass(HOUR);
	now.wall_ms -= YEAR;
	assert_int_equal(steady_look(&s), STEADY_RETURNED);
	assert_int_equal(steady_now_ms(&s), before + HOUR);
}

static void each_further_jump_is_doubted_anew(void **state)
{
	int64_t before = now.wall_ms;

	(void)state;
	for (int i = 0; i < 10; i++) {
		now.wall_ms += YEAR;
		assert_int_equal(steady_look(&s), STEADY_DOUBTED);
		pass(23 * HOUR);
		assert_int_equal(steady_look(&s), STEADY_NONE);
	}
	assert_int_equal(steady_now_ms(&s), before + 230 * HOUR);
}

static void a_clock_that_goes_back_is_taken_at_its_word_and_its_return_is_no_jump(void **state)
{
	(void)state;
	now.wall_ms -= YEAR;
	assert_int_equal(steady_look(&s), STEADY_DOUBTED);
	assert_int_equal(steady_now_ms(&s), now.wall_ms); /* nothing is forgotten before its time */
	pass(HOUR);
	now.wall_ms += YEAR;
	assert_int_equal(steady_look(&s), STEADY_RETURNED);
	now.wall_ms -= YEAR;
	assert_int_equal(steady_look(&s), STEADY_DOUBTED);
	pass(DAY);
	assert_int_equal(steady_look(&s), STEADY_BELIEVED);
	now.wall_ms += YEAR; /* that would be one now */
	assert_int_equal(steady_look(&s), STEADY_DOUBTED);
	assert_int_equal(steady_now_ms(&s), now.wall_ms - YEAR);
}

static void a_stop_of_an_hour_is_no_jump_and_one_of_a_year_is(void **state)
{
	int64_t last = now.wall_ms;

	(void)state;
	pass(HOUR);
	steady_init(&s, &sys, DAY, last, false);
	assert_int_equal(steady_look(&s), STEADY_NONE);
	assert_int_equal(steady_now_ms(&s), now.wall_ms);
	now = (struct clocks){.wall_ms = last + YEAR, .elapsed_ms = SECOND};
	steady_init(&s, &sys, DAY, last, false);
	assert_int_equal(steady_now_ms(&s), last);
	assert_int_equal(steady_look(&s), STEADY_DOUBTED);
	pass(DAY);
	assert_int_equal(steady_look(&s), STEADY_BELIEVED);
}

static void a_machine_whose_clock_has_no_battery_is_corrected_without_a_doubt(void **state)
{
	int64_t last = now.wall_ms;

	(void)state;
	now = (struct clocks){.wall_ms = 0, .elapsed_ms = SECOND};
	steady_init(&s, &sys, DAY, last, false);
	assert_int_equal(steady_look(&s), STEADY_DOUBTED);
	assert_int_equal(steady_now_ms(&s), 0);
	now.wall_ms = last + 3 * HOUR; /* NTP */
	assert_int_equal(steady_look(&s), STEADY_RETURNED);
	assert_int_equal(steady_now_ms(&s), now.wall_ms);
}

static void what_was_doubted_before_a_restart_is_doubted_behind_it(void **state)
{
	int64_t kept;

	(void)state;
	now.wall_ms += HOUR;
	assert_int_equal(steady_look(&s), STEADY_DOUBTED);
	kept = steady_now_ms(&s);
	pass(SECOND);
	steady_init(&s, &sys, DAY, kept, true);
	assert_int_equal(steady_now_ms(&s), kept);
	assert_int_equal(steady_look(&s), STEADY_DOUBTED);
}

static void without_a_hold_the_clock_is_believed(void **state)
{
	(void)state;
	now.wall_ms += YEAR;
	assert_int_equal(steady_look(&s), STEADY_DOUBTED);
	atomic_store(&s.hold_ms, 0);
	assert_int_equal(steady_now_ms(&s), now.wall_ms);
	assert_int_equal(steady_look(&s), STEADY_BELIEVED);
	assert_int_equal(atomic_load(&s.ahead_ms), 0);
}

/* And over a power cut: its bytes, and its name. */
static void what_is_kept_is_on_the_disk(void **state)
{
	struct sim_options options = {.seed = 1};
	const struct sys *disk;
	struct sim *sim;

	(void)state;
	assert_int_equal(sim_new(&options, &sim), 0);
	disk = sim_sys(sim);
	assert_int_equal(disk->ops->mkdir(disk->self, "data"), 0);
	assert_int_equal(disk->ops->sync_dir(disk->self, "."), 0);
	steady_init(&s, disk, DAY, sys_wall_ms(disk) - YEAR, true);
	(void)steady_look(&s);
	assert_true(atomic_load(&s.ahead_ms) > 0);
	assert_int_equal(steady_keep(&s, "data"), 0);
	sim_cut(sim, SIM_CUT_LOSE);
	assert_true(steady_kept_ms(disk, "data") > 0);
	sim_free(sim);
}

#define TEST(name) cmocka_unit_test_setup(name, begin)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_clock_that_goes_is_followed),
		TEST(a_jump_ahead_is_doubted_for_the_time_of_the_hold),
		TEST(a_jump_that_is_taken_back_never_counts),
		TEST(each_further_jump_is_doubted_anew),
		TEST(a_clock_that_goes_back_is_taken_at_its_word_and_its_return_is_no_jump),
		TEST(a_stop_of_an_hour_is_no_jump_and_one_of_a_year_is),
		TEST(a_machine_whose_clock_has_no_battery_is_corrected_without_a_doubt),
		TEST(what_was_doubted_before_a_restart_is_doubted_behind_it),
		TEST(what_is_kept_is_on_the_disk),
		TEST(without_a_hold_the_clock_is_believed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
