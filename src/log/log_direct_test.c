/* SPDX-License-Identifier: Apache-2.0 */
/* The log past the page cache: where the file system takes it, and where not. */
#include <errno.h>

#include "log/log_dir_world_test.h"

static bool direct_accepted; /* the flag is taken; the writes are refused */
static int direct_fd = -1;
static uint32_t direct_refused;

static int refuse_direct(void *self, int fd, bool on)
{
	(void)self;
	if (!direct_accepted) {
		direct_refused++;
		return -EINVAL;
	}
	direct_fd = on ? fd : -1;
	return 0;
}

static int refuse_direct_write(void *self, int fd, const struct iovec *iov, int count, uint64_t at)
{
	if (fd == direct_fd) {
		direct_refused++;
		return -EINVAL;
	}
	return sys_kernel()->ops->pwritev(self, fd, iov, count, at);
}

static void a_journal_that_cannot_write_past_the_cache_writes_through_it(void **state)
{
	struct fixture *f = *state;
	struct partition *p;

	own_sys(f);
	f->ops.set_direct = refuse_direct;
	f->ops.pwritev = refuse_direct_write;
	for (uint32_t round = 0; round < 2; round++) {
		direct_accepted = round == 1;
		direct_refused = 0;
		p = start_one(f);
		append(f, p, round * 100, 100);
		assert_int_equal(check_all(p, 0), round * 100 + 100);
		assert_int_equal(direct_refused, 1); /* asked once */
		close_log(f);
	}
}

static uint32_t segments_direct; /* how often a segment was written so */

static int note_segment(void *self, int fd, bool on)
{
	segments_direct += strstr(path_of_fd(fd), ".log") != NULL;
	return sys_kernel()->ops->set_direct(self, fd, on);
}

static void who_reads_of_segments_finds_what_comes_next_in_the_page_cache(void **state)
{
	struct fixture *f = *state;
	struct log_view view;
	struct partition *p;

	own_sys(f);
	f->ops.set_direct = note_segment;
	f->options.steps = true;
	f->options.tail_bytes_max = 1;
	f->options.direct_bytes_min = 1;
	segments_direct = 0;
	p = start_one(f);
	for (uint32_t i = 0; i < 100; i++)
		append_in_steps(f, p, i);
	assert_true(segments_direct == 100 || segments_direct == 1); /* 1: the file system refuses */
	assert_int_equal(log_read(p, 100, 1000, &view), LOG_READ_END);
	append_in_steps(f, p, 100);
	assert_true(segments_direct == 101 || segments_direct == 1);
	assert_int_equal(check_all(p, 0), 101);
	append_in_steps(f, p, 101);
	assert_true(segments_direct == 101 || segments_direct == 1);
	assert_int_equal(check_all(p, 0), 102);
	close_log(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_journal_that_cannot_write_past_the_cache_writes_through_it),
		TEST(who_reads_of_segments_finds_what_comes_next_in_the_page_cache),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
