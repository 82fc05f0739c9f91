/* SPDX-License-Identifier: Apache-2.0 */
/* A source at work over a real log: nothing twice and nothing lost, however it ends and begins again. */
#include "connect/world_test.h"

#include "base/wire.h"
#include "connect/lines_test.h"
#include "ingest/dead.h"

static struct world w;

static int set_up(void **state)
{
	(void)state;
	memset(&w, 0, sizeof(w));
	assert_true(test_dir_make(w.dir, "runner"));
	world_begin(&w, 0);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	world_end(&w);
	assert_int_equal(atomic_load(&w.held), 0);
	test_dir_remove(w.dir);
	return 0;
}

/* ---- a type that counts: every part has numbers from 0 on, and its checkpoint is the next ---- */

static struct {
	_Atomic uint32_t parts, limit; /* numbers a part */
	_Atomic uint32_t fail_one_in;  /* a pull fails behind its mark */
	_Atomic uint32_t settles, opens, drops, plans;
	_Atomic bool unsettled_pull; /* a part was pulled before its batch was settled */
	_Atomic bool plan_again;     /* each pull asks for a plan */
	_Atomic int unsettled;       /* batches that were pulled and not settled */
	_Atomic bool early_plan;     /* a plan began while there were such */
	_Atomic uint32_t bad_one_in;
	_Atomic bool keyed, settle, settle_fails, transient;
	_Atomic bool counts_not;                        /* how far it is is the machinery's to count */
	_Atomic bool linger, lingers;                   /* a pull waits until it is cancelled; one does */
	_Atomic uint32_t padding;                       /* bytes of each value behind its number */
	_Atomic uint32_t pulls, fail_pull, linger_pull; /* their number; which one fails, lingers: 0: none */
	_Atomic int64_t waiting;                        /* parts that gave WAIT */
	_Atomic uint32_t under_way, most_under_way;     /* parts that were begun and are not done */
	struct source_part *_Atomic part;
} numbers;

static int numbers_open(const struct source_setup *setup, void **self, struct fault *fault)
{
	(void)fault;
	*self = setup->source;
	atomic_fetch_add(&numbers.opens, 1);
	return 0;
}

static void numbers_close(void *self)
{
	(void)self;
}

static enum source_end numbers_plan(void *self, struct source_plan *plan)
{
	char name[16];

	(void)self;
	atomic_fetch_add(&numbers.plans, 1);
	if (atomic_load(&numbers.unsettled) > 0)
		atomic_store(&numbers.early_plan, true);
	for (uint32_t i = 0; i < atomic_load(&numbers.parts); i++) {
		snprintf(name, sizeof(name), "part%u", i);
		source_plan_add(plan, &(struct source_plan_part){.name = slice_str(name),
								 .total = atomic_load(&numbers.limit)});
	}
	return SOURCE_IDLE;
}

static uint64_t next_number(const struct source_part *part)
{
	return part->checkpoint.bytes.ptr ? wire_load_u64(part->checkpoint.bytes.ptr) : 0;
}

static void add_number(struct source_part *part, struct source_batch *batch, uint64_t n)
{
	static const char space[16384];
	struct source_record r = SOURCE_RECORD_INIT;
	struct source_header padding = {SLICE_LIT("space"),
					slice_make((const uint8_t *)space, atomic_load(&numbers.padding))};
	char value[64];

	r.headers = &padding;
	r.header_count = padding.value.len != 0;
	r.key = part->name;
	snprintf(value, sizeof(value), "%.*s/%llu", (int)part->name.len, (const char *)part->name.ptr,
		 (unsigned long long)n);
	r.value = slice_str(value);
	if (atomic_load(&numbers.keyed))
		r.idempotency_key = r.value;
	if (atomic_load(&numbers.bad_one_in) && n % atomic_load(&numbers.bad_one_in) == 1) {
		source_add_dead(batch, &(struct source_dead){.bytes = r.value,
							     .err = ERR_BAD_JSON,
							     .path = SLICE_LIT("numbers:1"),
							     .text = "is odd"});
		return;
	}
	source_add(batch, &r);
}

static void count_under_way(bool first, bool last)
{
	uint32_t now = first ? atomic_fetch_add(&numbers.under_way, 1) + 1 : 0;
	uint32_t most = atomic_load(&numbers.most_under_way);

	while (now > most && !atomic_compare_exchange_weak(&numbers.most_under_way, &most, now))
		;
	if (last)
		atomic_fetch_sub(&numbers.under_way, 1);
}

static enum source_end numbers_pull(void *self, struct source_part *part, struct source_batch *batch)
{
	uint64_t n = next_number(part), first = n;
	uint8_t place[8];
	uint32_t fail = atomic_load(&numbers.fail_one_in), pull = atomic_fetch_add(&numbers.pulls, 1) + 1;

	if (atomic_load(&numbers.plan_again))
		source_plan_again(self);
	while ((atomic_load(&numbers.linger) || pull == atomic_load(&numbers.linger_pull)) &&
	       !source_cancelled(&batch->call)) {
		atomic_store(&numbers.lingers, true);
		world_nap();
	}
	if (part->state && atomic_load(&numbers.settle))
		atomic_store(&numbers.unsettled_pull, true);
	for (; n < atomic_load(&numbers.limit) && !source_full(batch); n++) {
		add_number(part, batch, n);
		if (n % 3 == 0) {
			wire_put_u64(place, n + 1);
			source_mark(batch, 1, slice_make(place, sizeof(place)));
		}
		if (pull == atomic_load(&numbers.fail_pull) && batch->record_count == 20)
			return source_fail(&batch->call, SOURCE_TRANSIENT, "pull %u", pull);
		if (fail && (n * 7 + batch->record_count) % fail == 3)
			return source_fail(&batch->call, SOURCE_TRANSIENT, "number %llu",
					   (unsigned long long)n);
	}
	wire_put_u64(place, n);
	source_mark(batch, 1, slice_make(place, sizeof(place)));
	batch->done = atomic_load(&numbers.counts_not) ? 0 : n;
	batch->settle = atomic_load(&numbers.settle);
	part->state = batch->settle ? &numbers : NULL;
	if (batch->settle)
		atomic_fetch_add(&numbers.unsettled, 1);
	count_under_way(first == 0, n == atomic_load(&numbers.limit));
	return n < atomic_load(&numbers.limit) ? SOURCE_MORE : SOURCE_DONE;
}

static enum source_end numbers_settle(void *self, struct source_part *part, struct source_settle *settle)
{
	(void)self;
	assert_true(settle->checkpoint.bytes.len == 8);
	atomic_fetch_add(&numbers.settles, 1);
	if (atomic_load(&numbers.settle_fails))
		return source_fail(&settle->call, SOURCE_TRANSIENT, "it is locked");
	if (part->state)
		atomic_fetch_sub(&numbers.unsettled, 1);
	part->state = NULL;
	return SOURCE_IDLE;
}

static const struct setting no_settings[1];

#define NUMBERS(flag)                                                                                        \
	{                                                                                                    \
		.kind = {.name = "numbers", .summary = "Numbers", .settings = no_settings}, .flags = (flag), \
		.every_ms = 20, .open = numbers_open, .close = numbers_close, .plan = numbers_plan,          \
		.pull = numbers_pull, .settle = numbers_settle,                                              \
	}

static const struct source_type source_numbers = NUMBERS(SOURCE_BLOCKS);
static const struct source_type source_numbers_on_loop = NUMBERS(0);
static const struct source_type source_numbers_held = NUMBERS(SOURCE_BLOCKS | SOURCE_HOLDS);

static void set_numbers(uint32_t parts, uint32_t limit)
{
	memset(&numbers, 0, sizeof(numbers));
	atomic_store(&numbers.parts, parts);
	atomic_store(&numbers.limit, limit);
}

/* What of each part has come: in order, each once. */
struct seen_numbers {
	uint32_t next[64];
};

static void look_at_number(void *ctx, const struct batch_record *r)
{
	struct seen_numbers *seen = ctx;
	uint64_t part, n;
	size_t slash = 4;

	while (slash < r->value.len && r->value.ptr[slash] != '/')
		slash++;
	assert_true(slice_to_u64(slice_make(r->value.ptr + 4, slash - 4), &part));
	assert_true(slice_to_u64(slice_from(r->value, slash + 1), &n));
	assert_int_equal(n, seen->next[part]);
	seen->next[part]++;
}

static void expect_all(uint32_t parts, uint32_t limit)
{
	struct seen_numbers seen = {{0}};

	assert_int_equal(world_read(&w, "t", look_at_number, &seen), parts * limit);
	for (uint32_t i = 0; i < parts; i++)
		assert_int_equal(seen.next[i], limit);
}

static const char small_batches[] = "    batch: { records: 50 }\n    retry: { min: 1ms, max: 5ms }\n";

static void parts_are_pulled_at_once_and_each_in_order(void **state)
{
	struct runner_figures f;
	struct runner *r;

	(void)state;
	set_numbers(9, 1000);
	r = world_start(&w, &source_numbers, small_batches);
	world_await(r, 9000);
	world_stop(&w, r);
	expect_all(9, 1000);
	r = world_start(&w, &source_numbers, small_batches);
	for (int i = 0; i < 100; i++)
		world_nap();
	runner_figures(r, &f);
	assert_int_equal(f.parts_done, 9);
	assert_int_equal(f.done, 9000);
	assert_int_equal(f.total, 9000);
	assert_int_equal(f.records, 9000);
	world_stop(&w, r);
	expect_all(9, 1000);
}

static void how_far_a_part_is_is_counted_for_its_type_over_restarts_too(void **state)
{
	struct runner_figures f;
	struct runner *r;

	(void)state;
	set_numbers(2, 500);
	atomic_store(&numbers.counts_not, true);
	atomic_store(&numbers.linger_pull, 6);
	r = world_start(&w, &source_numbers, small_batches);
	world_await(r, 100);
	world_stop(&w, r);
	r = world_start(&w, &source_numbers, small_batches);
	world_await(r, 1000);
	runner_figures(r, &f);
	assert_int_equal(f.done, 1000);
	assert_int_equal(f.total, 1000);
	world_stop(&w, r);
}

static void the_next_try_is_shown_while_it_fails(void **state)
{
	struct runner_figures f;
	struct runner *r;

	(void)state;
	set_numbers(1, 500);
	atomic_store(&numbers.fail_one_in, 5);
	r = world_start(&w, &source_numbers, "    retry: { min: 1h, max: 1h }\n");
	for (int i = 0; i < 20000; i++) {
		runner_figures(r, &f);
		if (f.failures)
			break;
		world_nap();
	}
	for (int i = 0; i < 50; i++)
		world_nap();
	runner_figures(r, &f);
	assert_int_equal(f.failures, 1);
	assert_true(f.next_ms > f.error_ms);
	world_stop(&w, r);
}

static void parts_that_hold_connections_are_finished_before_others_begin(void **state)
{
	struct runner *r;

	(void)state;
	set_numbers(12, 500);
	r = world_start(&w, &source_numbers_held, "    batch: { records: 50 }\n    parallel: 3\n");
	world_await(r, 6000);
	world_stop(&w, r);
	expect_all(12, 500);
	assert_in_range(atomic_load(&numbers.most_under_way), 1, 3);
}

static void those_that_failed_leave_their_place_to_others(void **state)
{
	struct runner_figures f;
	struct runner *r;

	(void)state;
	set_numbers(6, 300);
	atomic_store(&numbers.fail_one_in, 40);
	r = world_start(&w, &source_numbers_held,
			"    batch: { records: 50 }\n    parallel: 2\n    retry: { min: 1ms, max: 5ms }\n");
	for (int i = 0; i < 20000; i++) {
		runner_figures(r, &f);
		if (f.records > 300)
			break;
		world_nap();
	}
	assert_true(f.errors > 0);
	atomic_store(&numbers.fail_one_in, 0);
	world_await(r, 1800);
	world_stop(&w, r);
	expect_all(6, 300);
}

static void a_type_on_the_loop_does_the_same(void **state)
{
	struct runner *r;

	(void)state;
	set_numbers(5, 500);
	r = world_start(&w, &source_numbers_on_loop, small_batches);
	world_await(r, 2500);
	world_stop(&w, r);
	expect_all(5, 500);
}

static void failed_pulls_are_entered_up_to_their_mark_and_go_on_from_there(void **state)
{
	struct runner_figures f;
	struct runner *r;

	(void)state;
	set_numbers(4, 600);
	atomic_store(&numbers.fail_one_in, 40);
	r = world_start(&w, &source_numbers, small_batches);
	for (int i = 0; i < 20000; i++) {
		runner_figures(r, &f);
		if (f.records > 600)
			break;
		world_nap();
	}
	assert_true(f.errors > 0);
	atomic_store(&numbers.fail_one_in, 0);
	world_await(r, 2400);
	runner_figures(r, &f);
	assert_string_equal(f.error, "");
	world_stop(&w, r);
	expect_all(4, 600);
}

static void a_part_is_settled_before_it_is_pulled_again(void **state)
{
	struct runner *r;

	(void)state;
	set_numbers(2, 300);
	atomic_store(&numbers.settle, true);
	r = world_start(&w, &source_numbers, small_batches);
	world_await(r, 600);
	world_stop(&w, r);
	assert_false(atomic_load(&numbers.unsettled_pull));
	assert_true(atomic_load(&numbers.settles) >= 12);
	expect_all(2, 300);
	/* What was found at the start is settled once more: it may have been missed. */
	atomic_store(&numbers.settles, 0);
	r = world_start(&w, &source_numbers, small_batches);
	for (int i = 0; i < 20000 && atomic_load(&numbers.settles) < 2; i++)
		world_nap();
	world_stop(&w, r);
	assert_int_equal(atomic_load(&numbers.settles), 2);
}

/* What a batch says of its part was so before the plan: it would take back what the plan has changed. */
static void a_plan_waits_until_no_batch_is_on_its_way(void **state)
{
	struct runner *r;

	(void)state;
	set_numbers(3, 300);
	atomic_store(&numbers.settle, true);
	atomic_store(&numbers.plan_again, true);
	r = world_start(&w, &source_numbers_on_loop, small_batches);
	world_await(r, 900);
	world_stop(&w, r);
	assert_true(atomic_load(&numbers.plans) > 3);
	assert_false(atomic_load(&numbers.early_plan));
	expect_all(3, 300);
}

/* Also in a box whose pull was cancelled in an earlier life: one is given up, the other has failed. */
static void a_settling_that_fails_is_told_and_tried_again(void **state)
{
	struct runner_figures f;
	struct runner *r;

	(void)state;
	set_numbers(1, 300);
	atomic_store(&numbers.settle, true);
	r = world_start(&w, &source_numbers, small_batches);
	world_await(r, 50);
	atomic_store(&numbers.linger, true);
	for (int i = 0; i < 20000 && !atomic_load(&numbers.lingers); i++)
		world_nap();
	world_stop(&w, r);
	atomic_store(&numbers.linger, false);
	atomic_store(&numbers.settle_fails, true);
	atomic_store(&numbers.settles, 0);
	r = world_start(&w, &source_numbers, small_batches);
	for (int i = 0; i < 20000 && atomic_load(&numbers.settles) < 4; i++)
		world_nap();
	runner_figures(r, &f);
	assert_true(f.errors >= 3);
	assert_string_equal(f.error, "part0: it is locked");
	atomic_store(&numbers.settle_fails, false);
	world_await(r, 300);
	world_stop(&w, r);
	assert_false(atomic_load(&numbers.unsettled_pull));
	expect_all(1, 300);
}

static void stopped_in_the_middle_it_goes_on_where_it_was(void **state)
{
	struct runner_figures f;

	(void)state;
	set_numbers(3, 4000);
	for (int life = 0; life < 200; life++) {
		struct runner *r = world_start(&w, &source_numbers, small_batches);
		for (int i = 0; i < life % 7; i++)
			world_nap();
		runner_figures(r, &f);
		world_stop(&w, r);
		if (life % 10 == 9) {
			world_end(&w);
			world_begin(&w, 0);
		}
		if (f.records == 12000)
			break;
	}
	struct runner *r = world_start(&w, &source_numbers, small_batches);
	world_await(r, 12000);
	world_stop(&w, r);
	expect_all(3, 4000);
}

static void what_is_no_record_becomes_a_dead_letter(void **state)
{
	struct runner_figures f;
	struct runner *r;

	(void)state;
	set_numbers(1, 100);
	atomic_store(&numbers.bad_one_in, 2);
	r = world_start(&w, &source_numbers, small_batches);
	world_await(r, 50);
	for (int i = 0; i < 20000; i++) {
		runner_figures(r, &f);
		if (f.dead == 50)
			break;
		world_nap();
	}
	world_stop(&w, r);
	assert_int_equal(world_read(&w, "t", NULL, NULL), 50);
	assert_int_equal(world_read(&w, "t.dead", NULL, NULL), 50);
}

static void a_log_that_refuses_holds_the_source_and_loses_nothing(void **state)
{
	struct runner *r;

	(void)state;
	world_end(&w);
	world_begin(&w, 6000); /* so little may wait for the disk that most batches are refused at first */
	set_numbers(8, 500);
	r = world_start(&w, &source_numbers, small_batches);
	world_await(r, 4000);
	world_stop(&w, r);
	expect_all(8, 500);
}

static void pause_it(void *ctx)
{
	assert_int_equal(runner_pause(ctx, true, NULL), 0);
}

static void resume_it(void *ctx)
{
	assert_int_equal(runner_pause(ctx, false, NULL), 0);
}

static void a_pause_outlives_a_restart(void **state)
{
	struct runner_figures f;
	struct runner *r;
	uint64_t before;

	(void)state;
	set_numbers(2, 2000);
	r = world_start(&w, &source_numbers, small_batches);
	world_await(r, 100);
	world_do(&w, pause_it, r);
	world_stop(&w, r);
	before = world_read(&w, "t", NULL, NULL);
	world_end(&w);
	world_begin(&w, 0);
	r = world_start(&w, &source_numbers, small_batches);
	for (int i = 0; i < 100; i++)
		world_nap();
	runner_figures(r, &f);
	assert_int_equal(f.state, RUNNER_PAUSED);
	assert_int_equal(world_read(&w, "t", NULL, NULL), before);
	world_do(&w, resume_it, r);
	for (int i = 0; i < 20000 && world_read(&w, "t", NULL, NULL) < 4000; i++)
		world_nap();
	world_stop(&w, r);
	expect_all(2, 2000);
}

/* ---- several on their way ---- */

static void await_pulls(uint32_t pulls)
{
	for (int i = 0; i < 30000 && atomic_load(&numbers.pulls) < pulls; i++)
		world_nap();
	assert_int_equal(atomic_load(&numbers.pulls), pulls);
}

static void nothing_is_pulled(void)
{
	uint32_t pulls = atomic_load(&numbers.pulls);

	for (int i = 0; i < 100; i++)
		world_nap();
	assert_int_equal(atomic_load(&numbers.pulls), pulls);
}

static void sixteen_batches_of_a_part_are_on_their_way_and_no_more(void **state)
{
	struct runner *r;

	(void)state;
	set_numbers(1, 3000);
	world_be_deaf(&w, true);
	r = world_start(&w, &source_numbers, small_batches);
	await_pulls(16);
	nothing_is_pulled();
	world_be_deaf(&w, false);
	world_await(r, 3000);
	world_stop(&w, r);
	expect_all(1, 3000);
}

/* A batch of 500 records of 10 KB holds 5 MiB: two are always allowed, a third is not. */
static void large_batches_wait_for_the_disk_sooner(void **state)
{
	struct runner *r;

	(void)state;
	set_numbers(1, 2500);
	atomic_store(&numbers.padding, 10000);
	world_be_deaf(&w, true);
	r = world_start(&w, &source_numbers, "    batch: { records: 500, bytes: 8MiB }\n");
	await_pulls(2);
	nothing_is_pulled();
	world_be_deaf(&w, false);
	world_await(r, 2500);
	world_stop(&w, r);
	expect_all(1, 2500);
}

/* Those behind the one that fails begin where it was entered up to. */
static void the_third_of_five_that_fails_is_tried_again_before_those_behind_it(void **state)
{
	struct runner_figures f;
	struct runner *r;

	(void)state;
	set_numbers(1, 250);
	atomic_store(&numbers.fail_pull, 3);
	world_be_deaf(&w, true);
	r = world_start(&w, &source_numbers, small_batches);
	await_pulls(6);
	runner_figures(r, &f);
	assert_int_equal(f.errors, 1);
	world_be_deaf(&w, false);
	world_await(r, 250);
	world_stop(&w, r);
	expect_all(1, 250);
}

static void a_pause_leaves_those_on_their_way_and_goes_on_behind_them(void **state)
{
	struct runner *r;

	(void)state;
	set_numbers(1, 1000);
	atomic_store(&numbers.linger_pull, 6);
	world_be_deaf(&w, true);
	r = world_start(&w, &source_numbers, small_batches);
	await_pulls(6);
	world_do(&w, pause_it, r);
	nothing_is_pulled();
	world_do(&w, resume_it, r);
	await_pulls(
		16); /* those before the pause are still among the sixteen: one more was cut short, so it counts too */
	world_be_deaf(&w, false);
	world_await(r, 1000);
	world_stop(&w, r);
	expect_all(1, 1000);
}

static void a_stop_waits_for_those_on_their_way(void **state)
{
	struct world_stopping s;
	struct runner *r;

	(void)state;
	set_numbers(1, 1000);
	atomic_store(&numbers.linger_pull, 6);
	world_be_deaf(&w, true);
	r = s.runner = world_start(&w, &source_numbers, small_batches);
	await_pulls(6);
	sem_init(&s.done, 0, 0);
	world_do(&w, world_stop_it, &s);
	nothing_is_pulled();
	assert_int_not_equal(sem_trywait(&s.done), 0);
	world_be_deaf(&w, false);
	while (sem_wait(&s.done) != 0)
		;
	world_do(&w, world_want_flush, &w);
	runner_free(r);
	sem_destroy(&s.done);
	r = world_start(&w, &source_numbers, small_batches);
	world_await(r, 1000);
	world_stop(&w, r);
	expect_all(1, 1000);
}

/* All is done, which is a reason for a plan; and the next run was due long ago. */
static void a_run_is_over_when_all_of_it_is_durable(void **state)
{
	struct runner *r;

	(void)state;
	set_numbers(1, 250);
	world_be_deaf(&w, true);
	r = world_start(&w, &source_numbers, small_batches);
	await_pulls(5);
	nothing_is_pulled();
	assert_int_equal(atomic_load(&numbers.plans), 1);
	world_be_deaf(&w, false);
	for (int i = 0; i < 30000 && atomic_load(&numbers.plans) < 2; i++)
		world_nap();
	world_stop(&w, r);
	assert_true(atomic_load(&numbers.plans) >= 2);
	expect_all(1, 250);
}

static void a_run_that_brought_nothing_is_not_made_again_after_a_restart(void **state)
{
	struct source_row_key name = {'s', SLICE_LIT("s"), slice_null()};
	struct runner *r;
	struct slice row = slice_null();
	uint32_t plans;
	struct buf key;

	(void)state;
	set_numbers(1, 0);
	buf_init(&key, 100);
	(void)source_row_put_key(&key, &name);
	r = world_start(&w, &source_numbers_on_loop, "    every: 2h\n    retry: { min: 1ms, max: 5ms }\n");
	for (int i = 0; i < 20000 && !row.ptr; i++) {
		world_nap();
		log_enter_begin(w.log);
		row = source_rows_find(w.rows, buf_slice(&key));
		log_enter_end(w.log);
	}
	assert_non_null(row.ptr); /* though nothing was brought, and nothing has stopped */
	world_stop(&w, r);
	plans = atomic_load(&numbers.plans);
	assert_true(plans > 0);
	world_end(&w);
	world_begin(&w, 0);
	r = world_start(&w, &source_numbers_on_loop, "    every: 2h\n    retry: { min: 1ms, max: 5ms }\n");
	for (int i = 0; i < 100; i++)
		world_nap();
	world_stop(&w, r);
	assert_int_equal(atomic_load(&numbers.plans), plans);
	buf_fini(&key);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_run_that_brought_nothing_is_not_made_again_after_a_restart,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(parts_are_pulled_at_once_and_each_in_order, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(how_far_a_part_is_is_counted_for_its_type_over_restarts_too,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_next_try_is_shown_while_it_fails, set_up, tear_down),
		cmocka_unit_test_setup_teardown(parts_that_hold_connections_are_finished_before_others_begin,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(those_that_failed_leave_their_place_to_others, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_type_on_the_loop_does_the_same, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			failed_pulls_are_entered_up_to_their_mark_and_go_on_from_there, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_part_is_settled_before_it_is_pulled_again, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_plan_waits_until_no_batch_is_on_its_way, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_settling_that_fails_is_told_and_tried_again, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(stopped_in_the_middle_it_goes_on_where_it_was, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(what_is_no_record_becomes_a_dead_letter, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_pause_outlives_a_restart, set_up, tear_down),
		cmocka_unit_test_setup_teardown(sixteen_batches_of_a_part_are_on_their_way_and_no_more,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(large_batches_wait_for_the_disk_sooner, set_up, tear_down),
		cmocka_unit_test_setup_teardown(
			the_third_of_five_that_fails_is_tried_again_before_those_behind_it, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(a_pause_leaves_those_on_their_way_and_goes_on_behind_them,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_stop_waits_for_those_on_their_way, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_run_is_over_when_all_of_it_is_durable, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_log_that_refuses_holds_the_source_and_loses_nothing, set_up,
						tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
