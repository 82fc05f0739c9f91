/* SPDX-License-Identifier: Apache-2.0 */
/* Compaction over damage, and where the disk or the memory gives out. */
#include "log/compact_world_test.h"

static void write_at(struct fixture *f, const struct segment *s, uint64_t at, const void *bytes, size_t n)
{
	char path[SEGMENT_PATH_BYTES];
	int fd;

	(void)f;
	segment_path(s, SEGMENT_LOG, path);
	fd = open(path, O_RDWR);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, bytes, n, (off_t)at), (ssize_t)n);
	close(fd);
}

static void damage_is_left_where_it_is(void **state)
{
	struct fixture *f = *state;
	static struct seen_offsets seen;
	int64_t base, gaps;

	append_one(f, 77, false);
	append_many(f, 600, 20);
	append_one(f, 77, true);
	roll(f);
	base = f->p->segments[2]->base;
	write_at(f, f->p->segments[2], 70, "\xff", 1);
	read_all(f, 0, &seen);
	gaps = seen.gaps;
	assert_true(gaps > 0);
	maintain(f);
	clock_ns += 2 * DAY_MS * 1000000;
	maintain(f);
	assert_int_equal(f->p->segments[1]->base, base);
	assert_int_equal(f->p->segments[1]->revision, 0);
	read_all(f, 0, &seen);
	assert_int_equal(seen.gaps, gaps);
	for (int32_t key = 0; key < 20; key++)
		assert_true(seen.there[last_of(f, key)]);
	assert_true(seen.there[last_of(f, 77)]); /* what it hides may be in what cannot be read */
}

/* As a repair writes them: a gap for readers, kept by compaction, and no line that calls it damage again. */
static void lost_records_are_told_as_a_gap_and_stay_lost(void **state)
{
	struct fixture *f = *state;
	static struct seen_offsets seen;
	uint8_t bytes[BATCH_HEAD_BYTES];
	struct segment *s;
	struct batch_head head;
	struct slice batch;
	struct segment_scan *scan;
	uint64_t at = 0;
	uint32_t lost = 0;

	for (int i = 0; i < 60; i++)
		append_one(f, i % 7, false);
	roll(f);
	s = f->p->segments[0];
	/* Every record is a batch here, of more than a head: what is behind the head would be damage. */
	assert_int_equal(segment_scan_open(s, &scan), 0);
	while (segment_scan_next(scan, &head, &batch) == 0 && head.base_offset < 3)
		at += head.bytes;
	segment_scan_close(scan);
	(void)batch_put_empty(bytes, 3, 3, BATCH_LOST, 5);
	{ /* the rest moves up */
		char path[SEGMENT_PATH_BYTES], rest[4096];
		ssize_t n;
		int fd;
		segment_path(s, SEGMENT_LOG, path);
		fd = open(path, O_RDWR);
		n = pread(fd, rest, sizeof(rest), (off_t)(at + head.bytes));
		assert_int_equal(pwrite(fd, bytes, sizeof(bytes), (off_t)at), (ssize_t)sizeof(bytes));
		assert_int_equal(pwrite(fd, rest, (size_t)n, (off_t)(at + sizeof(bytes))), n);
		assert_int_equal(ftruncate(fd, (off_t)(at + sizeof(bytes)) + n), 0);
		close(fd);
		atomic_store(&s->bytes, at + sizeof(bytes) + (uint64_t)n);
		segment_path(s, SEGMENT_INDEX, path);
		(void)unlink(path);
	}
	for (int pass = 0; pass < 3; pass++) {
		read_all(f, 0, &seen);
		assert_int_equal(seen.gaps, 1);
		assert_false(seen.there[3]);
		maintain(f);
		lost += f->p->segments[0]->revision;
	}
	assert_true(lost > 0);
	verify(f);
	read_all(f, 0, &seen);
	assert_int_equal(seen.gaps, 1);
	read_all(f, 3, &seen);
	assert_int_equal(seen.gaps, 1);
	read_all(f, 4, &seen);
	assert_int_equal(seen.gaps, 0);
}

static int no_room(void *self, int fd, const struct iovec *iov, int count, uint64_t at)
{
	(void)self;
	(void)fd;
	(void)iov;
	(void)count;
	(void)at;
	return -ENOSPC;
}

static uint32_t files_in(const struct fixture *f)
{
	char command[200], text[32] = "";
	FILE *out;

	(void)snprintf(command, sizeof(command), "find %s/topics -name '*.log' | wc -l", f->dir);
	out = popen(command, "r");
	assert_non_null(out);
	assert_non_null(fgets(text, sizeof(text), out));
	(void)pclose(out);
	return (uint32_t)atoi(text);
}

static void a_failure_leaves_what_was_and_is_tried_again(void **state)
{
	struct fixture *f = *state;
	uint32_t files;

	append_many(f, 600, 20);
	assert_int_equal(log_checkpoint(f->log, &(struct fault){0}), 0);
	while (!f->log->compaction)
		assert_true(log_step(f->log, LOG_STEP_MAINTAIN) > 0);
	files = files_in(f);
	f->ops.pwritev = no_room;
	while (log_step(f->log, LOG_STEP_MAINTAIN) > 0)
		;
	f->ops.pwritev = sys_kernel()->ops->pwritev;
	assert_null(f->log->compaction);
	assert_int_equal(files_in(f), files);
	assert_int_equal(check(f, false), 0);
	f->p->retry_ns = 0;
	maintain(f);
	assert_true(check(f, false) > 350);
	/* One file a segment, and none for the empty one that is written to next. */
	assert_true(files_in(f) <= f->p->segment_count);
}

static void without_memory_nothing_is_lost(void **state)
{
	struct fixture *f = *state;

	for (uint64_t nth = 1; nth < 120; nth++) {
		append_many(f, 30, 5);
		roll(f);
		f->p->retry_ns = 0;
		mem_fail_at(nth);
		for (int i = 0; i < 20; i++)
			(void)log_step(f->log, LOG_STEP_MAINTAIN);
		mem_fail_at(0);
		if (nth % 20 == 0)
			(void)check(f, false);
	}
	f->p->retry_ns = 0;
	maintain(f);
	assert_int_equal(keys_twice(f), 0);
	verify(f);
	(void)check(f, false);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(damage_is_left_where_it_is),
		TEST(lost_records_are_told_as_a_gap_and_stay_lost),
		TEST(a_failure_leaves_what_was_and_is_tried_again),
		TEST(without_memory_nothing_is_lost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
