/* SPDX-License-Identifier: Apache-2.0 */
/* Writing the state again, with a table of 60 MiB: offsets, whose committer is stepped by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "base/rand.h"
#include "state/offsets.h"
#include "sys/test_dir.h"

#define ROWS 15000u /* of some 4 KiB each */
#define MORE 2000u  /* that come later */
#define BATCH 500u

struct world {
	char dir[TEST_DIR_BYTES];
	struct log *log;
	struct state *state;
	struct offsets *offsets;
	struct arena arena;
	struct rand rand;
	uint32_t asked, done;          /* changes, and those of them that are durable */
	bool refuses;                  /* a table that cannot give its rows */
	int64_t expected[ROWS + MORE]; /* offset by partition; 0: none */
};

static uint8_t note[OFFSETS_METADATA_MAX];

static int apply_nothing(void *ctx, struct slice key, struct slice value)
{
	(void)ctx;
	(void)key;
	(void)value;
	return 0;
}

static int each_or_refuse(void *ctx, state_row_fn *fn, void *fn_ctx)
{
	(void)fn;
	(void)fn_ctx;
	return ((struct world *)ctx)->refuses;
}

static void up(struct world *w)
{
	struct log_options options = {.sys = sys_kernel(),
				      .dir = w->dir,
				      .journal_file_bytes = 16u << 20,
				      .pinned_bytes_max = 1u << 30,
				      .steps = true};
	struct state_table refusing = {.id = STATE_GROUPS,
				       .name = "refusing",
				       .apply = apply_nothing,
				       .each = each_or_refuse,
				       .ctx = w};
	struct fault fault = {0};

	if (log_open(&options, &w->log, &fault))
		fail_msg("%s", fault.text);
	assert_int_equal(state_new(w->log, &w->state), 0);
	assert_int_equal(offsets_new(w->log, w->state, &w->offsets), 0);
	assert_int_equal(state_register(w->state, &refusing), 0);
	state_set_slack(w->state, UINT32_MAX);
	if (state_load(w->state, &fault))
		fail_msg("%s", fault.text);
	assert_int_equal(log_start(w->log, &fault), 0);
}

static bool step(struct world *w)
{
	bool any = log_step(w->log, LOG_STEP_COMMIT) > 0;

	while (log_step(w->log, LOG_STEP_MOVE) > 0)
		;
	(void)log_step(w->log, LOG_STEP_MAINTAIN);
	return any;
}

static void settle(struct world *w)
{
	while (step(w))
		;
}

static void down(struct world *w)
{
	struct fault fault = {0};

	if (log_stop(w->log, &fault))
		fail_msg("%s", fault.text);
	offsets_free(w->offsets);
	state_free(w->state);
	log_close(w->log);
}

static void on_done(void *ctx)
{
	((struct world *)ctx)->done++;
}

/* Within the entry lock, which is left before the test looks at what came of it. */
static int enter(struct world *w, struct offsets_change *change)
{
	struct state_done done = {.fn = on_done, .ctx = w};
	int rc = change ? offsets_change_enter(w->offsets, change, &done) : ERR_NOT_FOUND;

	w->asked += rc == 0;
	return rc;
}

/* Offsets of `count` partitions from `first`, with a note of so many bytes. */
static void put(struct world *w, uint32_t first, uint32_t count, int64_t offset, size_t bytes)
{
	struct offset_item items[BATCH];
	struct offsets_change *change = NULL;

	for (uint32_t i = 0; i < count; i++) {
		items[i] = (struct offset_item){.partition = first + i,
						.offset = offset,
						.expires_ms = -1,
						.metadata = slice_make(note, bytes)};
		w->expected[first + i] = offset;
	}
	log_enter_begin(w->log);
	int made = offsets_put(w->offsets, SLICE_LIT("g"), -1, items, count, &change);
	int entered = enter(w, change);
	log_enter_end(w->log);
	assert_int_equal(made, 0);
	assert_int_equal(entered, 0);
}

static bool is_partition(void *ctx, const struct offset_item *item, int64_t producer_id)
{
	(void)producer_id;
	return item->partition == *(uint32_t *)ctx;
}

static void drop(struct world *w, uint32_t partition)
{
	struct offsets_change *change = NULL;

	if (w->expected[partition] == 0)
		return;
	w->expected[partition] = 0;
	log_enter_begin(w->log);
	int made = offsets_drop(w->offsets, SLICE_LIT("g"), is_partition, &partition, &change);
	int entered = enter(w, change);
	log_enter_end(w->log);
	assert_int_equal(made, 0);
	assert_int_equal(entered, 0);
}

static void tidy(struct world *w)
{
	state_set_slack(w->state, 0);
	log_enter_begin(w->log);
	state_tidy(w->state);
	log_enter_end(w->log);
	state_set_slack(w->state, UINT32_MAX);
}

static void check_rows(struct world *w)
{
	struct offsets_stats stats;
	uint64_t live = 0;

	for (uint32_t i = 0; i < ROWS + MORE; i++) {
		struct offset_item item = {0};
		int rc = offsets_find(w->offsets, SLICE_LIT("g"), &(struct topic_id){0}, i, &w->arena, &item);
		if (rc != (w->expected[i] != 0) || (rc && item.offset != w->expected[i]))
			fail_msg("partition %u: %lld instead of %lld", i, rc ? (long long)item.offset : 0ll,
				 (long long)w->expected[i]);
		live += w->expected[i] != 0;
		arena_reset(&w->arena);
	}
	offsets_stats(w->offsets, &stats);
	assert_int_equal(stats.committed, live);
}

/* What would be loaded, were it killed here: from a copy of its files. */
static void check_after_a_crash(struct world *w)
{
	struct world copy = *w;
	char command[3 * TEST_DIR_BYTES];

	assert_true(test_dir_make(copy.dir, "state-test"));
	(void)snprintf(command, sizeof(command), "cp -r '%s/.' '%s'", w->dir, copy.dir);
	assert_int_equal(system(command), 0);
	up(&copy);
	check_rows(&copy);
	down(&copy);
	w->arena = copy.arena;
	assert_true(test_dir_remove(copy.dir));
}

static struct partition_range range_of(struct world *w)
{
	struct partition_range range;

	partition_range(log_internal(w->log), &range);
	return range;
}

static struct world *begin(void)
{
	struct world *w = mem_zalloc(1, sizeof(*w));

	assert_non_null(w);
	memset(note, 'n', sizeof(note));
	assert_true(test_dir_make(w->dir, "state-test"));
	arena_init(&w->arena, 4096, 1 << 22);
	rand_seed(&w->rand, 7);
	up(w);
	for (uint32_t i = 0; i < ROWS; i += BATCH) {
		put(w, i, BATCH, 1, sizeof(note));
		settle(w);
	}
	return w;
}

static void end(struct world *w)
{
	down(w);
	arena_fini(&w->arena);
	assert_true(test_dir_remove(w->dir));
	mem_free(w);
}

/* So that there are more than twice as many records as rows. */
static void grow(struct world *w)
{
	for (uint32_t i = 0; i < ROWS + BATCH; i += BATCH) {
		put(w, ROWS, BATCH, 1, 0);
		settle(w);
	}
	for (uint32_t i = 0; i < BATCH; i++)
		drop(w, ROWS + i);
	settle(w);
}

/* Rows change, go, come back, and come: any of them before its part is written, or behind. */
static void change_some(struct world *w, int64_t offset)
{
	for (uint32_t i = 0; i < 20; i++) {
		put(w, (uint32_t)rand_below(&w->rand, ROWS), 1, offset, 10);
		drop(w, (uint32_t)rand_below(&w->rand, ROWS + MORE));
		put(w, ROWS + (uint32_t)rand_below(&w->rand, MORE), 1, offset, 100);
	}
}

static void a_large_state_is_written_again_in_pieces(void **state)
{
	struct world *w = begin();
	struct partition_range before;
	uint32_t steps = 0, crashes = 0;

	(void)state;
	grow(w);
	before = range_of(w);
	assert_true(before.end - before.start > 2 * (int64_t)ROWS);
	tidy(w);
	while (step(w)) {
		if (range_of(w).start > before.start)
			break;
		steps++;
		if (w->done == w->asked && (steps == 1 || steps % 6 == 0)) {
			check_after_a_crash(w);
			crashes++;
		}
		change_some(w, 10 + steps);
	}
	assert_in_range(steps, 14, 100);
	assert_in_range(crashes, 2, 20);
	assert_int_equal(range_of(w).start, before.end); /* of the first piece, and nothing was between */
	assert_in_range(range_of(w).end - range_of(w).start, ROWS - 2000, ROWS + 80 * steps);
	settle(w);
	check_after_a_crash(w);
	check_rows(w);
	down(w);
	up(w);
	check_rows(w);
	end(w);
}

/* A round that the next life, or a table, does not let end is begun again. */
static void a_round_that_stops_costs_itself_alone(void **state)
{
	struct world *w = begin();
	int64_t start;

	(void)state;
	grow(w);
	start = range_of(w).start;
	w->refuses = true; /* it stands behind the offsets */
	tidy(w);
	settle(w);
	assert_int_equal(range_of(w).start, start);
	w->refuses = false;
	tidy(w);
	for (int i = 0; i < 3; i++)
		assert_true(step(w));
	down(w); /* in the middle: nothing enters any more */
	up(w);
	assert_int_equal(range_of(w).start, start);
	check_rows(w);
	tidy(w);
	for (int i = 0; i < 3; i++)
		assert_true(step(w));
	w->refuses = true;
	settle(w);
	assert_int_equal(range_of(w).start, start);
	change_some(w, 5);
	settle(w);
	w->refuses = false;
	tidy(w);
	settle(w);
	assert_true(range_of(w).start > start);
	check_after_a_crash(w);
	end(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_large_state_is_written_again_in_pieces),
		cmocka_unit_test(a_round_that_stops_costs_itself_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
