/* SPDX-License-Identifier: Apache-2.0 */
#include "log/log_dir_world_test.h"

static void what_is_answered_is_read_also_after_a_clean_stop(void **state)
{
	struct fixture *f = *state;
	struct partition *p;

	p = start_one(f);
	append(f, p, 0, 1000);
	assert_int_equal(check_all(p, 0), 1000);
	close_log(f);
	p = start_one(f);
	assert_int_equal(check_all(p, 0), 1000);
	append(f, p, 1000, 10);
	assert_int_equal(check_all(p, 995), 1010);
	close_log(f);
}

static void steps_do_what_threads_do(void **state)
{
	struct fixture *f = *state;
	struct request r = {0};
	struct partition *p;

	f->options.steps = true;
	p = start_one(f);
	r.records[0] = (struct log_record){.partition = p, .timestamp_ms = -1, .value = SLICE_LIT("0")};
	r.commit.record_count = 1;
	f->done = 0;
	enter(f, &r);
	assert_int_equal(log_step(f->log, LOG_STEP_MOVE), 0);
	log_port_run(f->port);
	assert_int_equal(f->done, 0);
	assert_int_equal(log_step(f->log, LOG_STEP_COMMIT), 1);
	log_port_run(f->port);
	assert_int_equal(f->done, 1);
	assert_true(log_step(f->log, LOG_STEP_MOVE) > 0);
	assert_int_equal(log_step(f->log, LOG_STEP_MOVE), 0);
	assert_int_equal(log_step(f->log, LOG_STEP_READ), 0);
	assert_int_equal(check_all(p, 0), 1);
	close_log(f);
}

static void a_second_log_on_the_directory_is_refused(void **state)
{
	struct fixture *f = *state;
	struct fault fault = {0};
	struct log *other;
	char pid[16];

	open_log(f);
	assert_int_equal(log_open(&f->options, &other, &fault), ERR_IN_USE);
	(void)snprintf(pid, sizeof(pid), "%d", (int)getpid());
	assert_non_null(strstr(fault.text, pid));
	log_close(f->log);
}

static void one_commit_over_many_partitions_is_one_group(void **state)
{
	struct fixture *f = *state;
	struct partition *p[8];
	struct request r = {0};
	struct log_stats before, after;

	open_log(f);
	for (uint32_t i = 0; i < 8; i++)
		assert_int_equal(partition_open(f->log, &topic_a, i, &keep_all, &p[i]), 0);
	start_log(f);
	log_stats(f->log, &before);
	for (uint32_t i = 0; i < 8; i++)
		r.records[i] =
			(struct log_record){.partition = p[i], .timestamp_ms = -1, .value = SLICE_LIT("0")};
	r.commit.record_count = 8;
	enter_and_wait(f, &r);
	log_stats(f->log, &after);
	assert_int_equal(after.syncs - before.syncs, 1);
	for (uint32_t i = 0; i < 8; i++)
		assert_int_equal(check_all(p[i], 0), 1);
	close_log(f);
}

static uint32_t ready_calls;

static void on_ready(void *ctx, struct partition *p)
{
	(void)ctx;
	(void)p;
	ready_calls++;
}

static void watches_tell_a_loop_once(void **state)
{
	struct fixture *f = *state;
	struct partition *p;
	struct log_watch *w;

	p = start_one(f);
	assert_int_equal(log_watch_start(f->port, p, on_ready, NULL, &w), 0);
	ready_calls = 0;
	append(f, p, 0, 100);
	assert_true(ready_calls >= 1);
	assert_true(ready_calls <= 100);
	log_watch_stop(w);
	ready_calls = 0;
	append(f, p, 100, 10);
	assert_int_equal(ready_calls, 0);
	close_log(f);
}

static uint32_t partition_count(struct fixture *f)
{
	struct log_stats stats;

	log_stats(f->log, &stats);
	return (uint32_t)stats.partitions;
}

/* Who still holds one is told that it is gone; checkpoints and looks at retention do not come by any more. */
static void what_was_deleted_is_walked_over_no_more(void **state)
{
	enum { COUNT = 50 };
	struct fixture *f = *state;
	struct partition *p[COUNT], *kept;
	struct partition_edges edges;
	struct log_view view;
	struct log_watch *w;
	char path[2 * TEST_DIR_BYTES];
	uint32_t before;

	kept = start_one(f);
	append(f, kept, 0, 1);
	before = partition_count(f);
	for (uint8_t round = 0; round < 3; round++) {
		struct topic_id topic = {{2, round}};
		for (uint32_t i = 0; i < COUNT; i++) {
			assert_int_equal(partition_open(f->log, &topic, i, &keep_all, &p[i]), 0);
			append(f, p[i], 0, 2);
		}
		assert_int_equal(partition_count(f), before + COUNT);
		assert_int_equal(log_watch_start(f->port, p[0], on_ready, NULL, &w), 0);
		for (uint32_t i = 0; i < COUNT; i++) {
			log_enter_begin(f->log);
			partition_close(p[i]);
			log_enter_end(f->log);
			partition_drop(p[i]);
		}
		assert_int_equal(log_checkpoint(f->log, &(struct fault){0}), 0);
		assert_int_equal(log_checkpoint(f->log, &(struct fault){0}), 0);
		assert_int_equal(partition_count(f), before);
		assert_int_equal(partition_edges(p[0], &edges), ERR_UNKNOWN_TOPIC);
		assert_int_equal(log_read(p[0], 0, 4096, &view), ERR_UNKNOWN_TOPIC);
		log_watch_stop(w);
	}
	(void)snprintf(path, sizeof(path), "test $(ls %s/topics | wc -l) -le 2", f->dir);
	assert_int_equal(system(path), 0); /* the internal one's, and of what is kept */
	append(f, kept, 1, 1);
	assert_int_equal(check_all(kept, 0), 2);
	close_log(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_is_answered_is_read_also_after_a_clean_stop),
		TEST(steps_do_what_threads_do),
		TEST(a_second_log_on_the_directory_is_refused),
		TEST(one_commit_over_many_partitions_is_one_group),
		TEST(watches_tell_a_loop_once),
		TEST(what_was_deleted_is_walked_over_no_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
