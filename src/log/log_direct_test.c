/* SPDX-License-Identifier: Apache-2.0 */
/* The log past the page cache: where the file system takes it, and where not. */
#include <errno.h>

#include "base/rand.h"
#include "log/core.h"
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
	uint32_t before;

	own_sys(f);
	f->ops.set_direct = note_segment;
	f->options.steps = true;
	f->options.tail_bytes_max = 1;
	f->options.direct_bytes_min = 1;
	segments_direct = 0;
	p = start_one(f);
	for (uint32_t i = 0; i < 100; i++)
		append_in_steps(f, p, i);
	assert_true(segments_direct >= 100 || segments_direct == 1); /* 1: the file system refuses */
	assert_int_equal(log_read(p, 100, 1000, &view), LOG_READ_END);
	before = segments_direct;
	append_in_steps(f, p, 100);
	assert_true(segments_direct > before || segments_direct == 1);
	assert_int_equal(check_all(p, 0), 101);
	before = segments_direct;
	append_in_steps(f, p, 101);
	assert_int_equal(segments_direct, before);
	assert_int_equal(check_all(p, 0), 102);
	close_log(f);
}

/* ---- what goes past the cache ends at a page's edge ---- */

/* Writes to segments, as the log asked for them; both ways go through the cache here. */
static struct {
	int direct_fds[64];
	uint32_t direct_fd_count;
	uint32_t past, through; /* writes, each way */
	uint64_t edge_left;     /* bytes of the last one behind its last page's edge */
	int fail;
} writes;

static int take_flag(void *self, int fd, bool on)
{
	(void)self;
	if (strstr(path_of_fd(fd), ".log") == NULL)
		return -EINVAL;
	assert_true(on && writes.direct_fd_count < 64);
	writes.direct_fds[writes.direct_fd_count++] = fd;
	return 0;
}

static bool is_past(int fd)
{
	for (uint32_t i = 0; i < writes.direct_fd_count; i++)
		if (writes.direct_fds[i] == fd)
			return true;
	return false;
}

static int note_write(void *self, int fd, const struct iovec *iov, int count, uint64_t at)
{
	uint64_t end = at;

	if (strstr(path_of_fd(fd), ".log")) {
		for (int i = 0; i < count; i++)
			end += iov[i].iov_len;
		writes.past += is_past(fd);
		writes.through += !is_past(fd);
		writes.edge_left = end % DIRECT_ALIGN;
		if (writes.fail)
			return writes.fail;
	}
	return sys_kernel()->ops->pwritev(self, fd, iov, count, at);
}

/* By steps, with 16 KiB and more at once past the cache, and nothing kept in memory that is in a segment. */
static struct partition *start_at_edges(struct fixture *f)
{
	memset(&writes, 0, sizeof(writes));
	own_sys(f);
	f->ops.set_direct = take_flag;
	f->ops.pwritev = note_write;
	f->options.steps = true;
	f->options.tail_bytes_max = 1;
	f->options.direct_bytes_min = 16u << 10;
	return start_one(f);
}

/* The first write of a batch that is larger than a page goes up to an edge, and the rest is left. */
static void begin_batch(struct fixture *f, struct partition *p, uint32_t from)
{
	append(f, p, from, 4000);
	atomic_store(&p->read_ns, 0); /* a test that has read of segments has done so long ago */
	assert_true(log_step(f->log, LOG_STEP_MOVE) > 0);
	assert_int_equal(writes.edge_left, 0);
	assert_int_equal(p->moved, p->ring_count - 1);
	assert_true(p->segments[p->segment_count - 1]->begun > 0);
}

static uint32_t begun_in(const struct partition *p)
{
	return p->segments[p->segment_count - 1]->begun > 0;
}

static void a_write_ends_at_an_edge_and_the_next_goes_on_there(void **state)
{
	struct fixture *f = *state;
	struct partition *p = start_at_edges(f);

	for (uint32_t i = 0; i < 6; i++) {
		begin_batch(f, p, i * 4000);
		assert_int_equal(check_all(p, 0), (i + 1) * 4000); /* what is begun is read from memory */
	}
	assert_true(writes.past >= 6);
	assert_int_equal(writes.through, 0);
	move_all(f);
	assert_int_equal(writes.through, 1); /* the rest of the last */
	assert_int_equal(p->moved, p->ring_count);
	assert_int_equal(begun_in(p), 0);
	assert_int_equal(check_all(p, 0), 24000);
	close_log(f);
	p = start_one(f);
	assert_int_equal(check_all(p, 0), 24000);
	close_log(f);
}

static void a_rest_waits_for_the_next_turn_and_no_longer(void **state)
{
	struct fixture *f = *state;
	struct partition *p = start_at_edges(f);

	begin_batch(f, p, 0);
	append(f, p, 4000, 1); /* not much */
	assert_true(log_step(f->log, LOG_STEP_MOVE) > 0);
	assert_int_equal(writes.through, 0);
	assert_true(f->log->resting.first == &p->turn && !f->log->queue.first);
	assert_true(log_step(f->log, LOG_STEP_MOVE) > 0); /* the next turn */
	assert_int_equal(writes.through, 1);
	assert_int_equal(begun_in(p), 0);
	assert_int_equal(p->moved, p->ring_count);
	assert_int_equal(log_step(f->log, LOG_STEP_MOVE), 0);
	assert_int_equal(check_all(p, 0), 4001);
	close_log(f);
}

/* What a kill now would leave has so many records. */
static void check_copy(const struct fixture *f, int64_t count)
{
	struct fixture copy;
	struct partition *p;

	copy_dir(f, &copy);
	p = start_one(&copy);
	assert_int_equal(check_all(p, 0), count);
	close_log(&copy);
	remove_copy(&copy);
}

static void who_waits_for_the_mover_finds_nothing_begun(void **state)
{
	struct fixture *f = *state;
	struct partition *p = start_at_edges(f);
	struct fault fault;

	begin_batch(f, p, 0);
	assert_int_equal(log_checkpoint(f->log, &fault), 0);
	assert_int_equal(begun_in(p), 0);
	assert_int_equal(p->moved, p->ring_count);
	append(f, p, 4000, 4000);
	assert_int_equal(log_checkpoint(f->log, &fault), 0); /* nothing of it was moved before */
	assert_int_equal(begun_in(p), 0);
	check_copy(f, 8000);
	close_log(f);
}

static void a_kill_behind_a_part_of_a_batch_loses_nothing(void **state)
{
	struct fixture *f = *state;
	struct partition *p = start_at_edges(f);
	struct fault fault;

	begin_batch(f, p, 0);
	assert_int_equal(log_checkpoint(f->log, &fault), 0);
	begin_batch(f, p, 4000);
	check_copy(f, 8000);
	close_log(f);
}

static void what_is_begun_is_ended_in_its_own_segment(void **state)
{
	struct fixture *f = *state;
	struct partition *p = start_at_edges(f);
	struct segment *begun;

	begin_batch(f, p, 0);
	move_all(f);
	begin_batch(f, p, 4000);
	begun = p->segments[0];
	assert_int_equal(mover_roll(p), 0); /* the batch behind it begins a segment */
	append(f, p, 8000, 4000);
	move_all(f);
	assert_int_equal(p->segment_count, 2);
	assert_ptr_equal(p->segments[0], begun);
	assert_int_equal(atomic_load(&begun->next_offset), 8000);
	assert_int_equal(p->segments[1]->base, 8000);
	assert_int_equal(check_all(p, 0), 12000);
	close_log(f);
}

static void a_rest_that_the_disk_refuses_is_written_again(void **state)
{
	struct fixture *f = *state;
	struct partition *p = start_at_edges(f);
	uint64_t begun;

	begin_batch(f, p, 0);
	begun = p->segments[0]->begun;
	writes.fail = -ENOSPC;
	assert_true(log_step(f->log, LOG_STEP_MOVE) > 0); /* it rests */
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(log_step(f->log, LOG_STEP_MOVE), -ENOSPC);
	assert_int_equal(p->segments[0]->begun, begun);
	assert_int_equal(p->moved, 0);
	writes.fail = 0;
	move_all(f);
	assert_int_equal(begun_in(p), 0);
	assert_int_equal(check_all(p, 0), 4000);
	close_log(f);
}

/* Batches of all sizes, each written in as many turns as comes, segments that are full in the middle of a page. */
static void any_sizes_are_read_as_they_were_written(void **state)
{
	struct fixture *f = *state;
	struct partition *p;
	struct rand rand;
	uint32_t end = 0, begun = 0;

	f->options.segment_bytes = 200000;
	p = start_at_edges(f);
	rand_seed(&rand, 3);
	for (uint32_t i = 0; i < 120; i++) {
		uint32_t count = 1 + (uint32_t)rand_below(&rand, i % 3 ? 5000 : 50);

		append(f, p, end, count);
		end += count;
		for (uint64_t n = rand_below(&rand, 4); n; n--)
			(void)log_step(f->log, LOG_STEP_MOVE);
		begun += p->segment_count && begun_in(p);
		if (i % 10 == 0)
			assert_int_equal(check_all(p, 0), end);
		atomic_store(&p->read_ns, 0);
	}
	assert_true(begun > 20);
	assert_true(p->segment_count > 5);
	move_all(f);
	assert_int_equal(check_all(p, 0), end);
	close_log(f);
	p = start_one(f);
	assert_int_equal(check_all(p, 0), end);
	close_log(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_journal_that_cannot_write_past_the_cache_writes_through_it),
		TEST(who_reads_of_segments_finds_what_comes_next_in_the_page_cache),
		TEST(a_write_ends_at_an_edge_and_the_next_goes_on_there),
		TEST(a_rest_waits_for_the_next_turn_and_no_longer),
		TEST(who_waits_for_the_mover_finds_nothing_begun),
		TEST(a_kill_behind_a_part_of_a_batch_loses_nothing),
		TEST(what_is_begun_is_ended_in_its_own_segment),
		TEST(a_rest_that_the_disk_refuses_is_written_again),
		TEST(any_sizes_are_read_as_they_were_written),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
