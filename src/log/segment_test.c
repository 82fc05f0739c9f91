/* SPDX-License-Identifier: Apache-2.0 */
#include "log/log_dir_world_test.h"

static void segments_roll_and_cold_reads_find_every_offset(void **state)
{
	struct fixture *f = *state;
	struct partition *p;
	struct partition_range range;

	f->options.tail_bytes_max = 1;
	f->options.segment_bytes = 4096;
	p = start_one(f);
	for (uint32_t i = 0; i < 40; i++)
		append(f, p, i * 50, 50);
	assert_int_equal(log_checkpoint(f->log, &(struct fault){0}), 0);
	for (int64_t from = 0; from < 2000; from += 37)
		assert_int_equal(check_all(p, from), 2000);
	partition_range(p, &range);
	assert_true(range.bytes > 4 * 4096);
	close_log(f);
	p = open_one(f);
	for (int64_t from = 0; from < 2000; from += 91)
		assert_int_equal(check_all(p, from), 2000);
	log_close(f->log);
}

static void retention_by_bytes_moves_the_start_and_survives_a_restart(void **state)
{
	struct fixture *f = *state;
	struct partition_options some = {.retention_ms = -1, .retention_bytes = 20000, .segment_bytes = 4096};
	struct partition_range range, again;
	struct log_view view;
	struct partition *p;

	f->options.tail_bytes_max = 1;
	open_log(f);
	assert_int_equal(partition_open(f->log, &topic_a, 0, &some, &p), 0);
	start_log(f);
	for (uint32_t i = 0; i < 50; i++)
		append(f, p, i * 100, 100);
	assert_int_equal(log_checkpoint(f->log, &(struct fault){0}), 0);
	partition_range(p, &range);
	assert_true(range.start > 0 && range.end == 5000);
	assert_int_equal(log_read_wait(p, 0, 1000, &view), ERR_CURSOR_GONE);
	assert_int_equal(check_all(p, range.start), 5000);
	close_log(f);
	open_log(f);
	assert_int_equal(partition_open(f->log, &topic_a, 0, &some, &p), 0);
	partition_range(p, &again);
	assert_int_equal(again.start, range.start);
	assert_int_equal(check_all(p, range.start), 5000);
	log_close(f->log);
}

static void a_flipped_bit_in_a_segment_costs_its_batch_only(void **state)
{
	struct fixture *f = *state;
	struct partition *p;
	struct log_view view;
	char path[256];
	int64_t from, gaps, sum = 0;
	int rc;

	p = start_one(f);
	for (uint32_t i = 0; i < 20; i++)
		append(f, p, i * 10, 10);
	close_log(f);
	segment_file(f, 0, path, sizeof(path));
	for (off_t at = 1400; at < 1600; at++) {
		flip(path, at);
		p = open_one(f);
		from = gaps = 0;
		while ((rc = log_read_wait(p, from, 4096, &view)) == LOG_READ_OK) {
			gaps += view.gap.to - view.gap.from;
			from = view.next_offset;
			blob_unref(view.blob);
		}
		assert_int_equal(rc, LOG_READ_END);
		assert_int_equal(from, 200);
		assert_true(gaps <= 10); /* none where it hit the leader epoch, which means nothing */
		sum += gaps;
		log_close(f->log);
		flip(path, at);
	}
	assert_true(sum > 180);
}

/* Twenty batches of eight records in one segment; its path. */
static void make_batches(struct fixture *f, char *path, size_t size)
{
	struct partition *p = start_one(f);

	append_eights(f, p, 20, 8);
	close_log(f);
	segment_file(f, 0, path, size);
}

/* Where the batch that begins with this offset stands. */
static off_t find_batch(const char *path, int64_t base)
{
	static uint8_t bytes[65536];
	int fd = open(path, O_RDONLY);
	ssize_t n = read(fd, bytes, sizeof(bytes));
	struct batch_head head;
	off_t at = 0;

	(void)close(fd);
	while (batch_check(slice_make(bytes + at, (size_t)(n - at)), &head) == 0 && head.base_offset < base)
		at += head.bytes;
	return at;
}

/* Also from within a batch behind it, and where the base offset is what was hit. */
static void damage_costs_no_record_beside_it(void **state)
{
	struct fixture *f = *state;
	struct partition *p;
	struct log_view view;
	int64_t offset;
	char path[256];

	f->options.index_interval_bytes = 1; /* each batch stands in the index that is made anew */
	make_batches(f, path, sizeof(path));
	for (uint32_t round = 0; round < 3; round++) {
		static const off_t hits[] = {6, 7, 70};
		off_t at = find_batch(path, 24) + hits[round];
		flip(path, at);
		for (int64_t from = 0; from < 160; from++) {
			bool hit = from >= 24 && from < 32;
			p = open_one(f); /* no hints from the read before */
			assert_int_equal(log_read_wait(p, from, 4096, &view), LOG_READ_OK);
			assert_int_equal(view.gap.from, hit ? from : 0);
			assert_int_equal(view.gap.to, hit ? 32 : 0);
			blob_unref(view.blob);
			assert_int_equal(log_find_wait(p, 1000 + from, &offset), 0);
			assert_int_equal(offset, hit ? 32 : from);
			log_close(f->log);
		}
		flip(path, at);
	}
}

static void damage_costs_no_record_behind_it(void **state)
{
	struct fixture *f = *state;
	struct partition *p;
	struct log_view view;
	char path[512];

	f->options.segment_bytes = 430; /* three; sealed, with an index that begins at the first */
	p = start_one(f);
	append_eights(f, p, 3, 100);
	append_eights(f, p, 3, 100);
	close_log(f);
	segment_file(f, 0, path, sizeof(path));
	flip(path, 70);
	p = start_one(f);
	/* From within the batch behind: all of it is there. */
	assert_int_equal(log_read_wait(p, 12, 65536, &view), LOG_READ_OK);
	assert_int_equal(view.gap.from, view.gap.to);
	assert_int_equal(view.next_offset, 24);
	blob_unref(view.blob);
	assert_int_equal(log_read_wait(p, 8, 65536, &view), LOG_READ_OK);
	assert_int_equal(view.next_offset, 24);
	blob_unref(view.blob);
	assert_int_equal(log_read_wait(p, 3, 65536, &view), LOG_READ_OK);
	assert_int_equal(view.gap.to, 8);
	blob_unref(view.blob);
	close_log(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(segments_roll_and_cold_reads_find_every_offset),
		TEST(retention_by_bytes_moves_the_start_and_survives_a_restart),
		TEST(a_flipped_bit_in_a_segment_costs_its_batch_only),
		TEST(damage_costs_no_record_beside_it),
		TEST(damage_costs_no_record_behind_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
