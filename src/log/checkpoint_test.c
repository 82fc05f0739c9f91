/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>

#include "base/wire.h"
#include "log/checkpoint.h"
#include "log/log_dir_world_test.h"

static int checkpoint_fd; /* of the copy that was opened last */

static int stat_fails(void *self, const char *path, struct sys_stat *out)
{
	return strstr(path, "/CHECKPOINT.") ? -EIO : sys_kernel()->ops->stat(self, path, out);
}

static int open_is_noted(void *self, const char *path, int flags)
{
	int fd = sys_kernel()->ops->open(self, path, flags);

	if (strstr(path, "/CHECKPOINT."))
		checkpoint_fd = fd;
	return fd;
}

static int open_fails(void *self, const char *path, int flags)
{
	return strstr(path, "/CHECKPOINT.") ? -EIO : sys_kernel()->ops->open(self, path, flags);
}

static int64_t pread_fails(void *self, int fd, void *bytes, size_t n, uint64_t at)
{
	return fd == checkpoint_fd ? -EIO : sys_kernel()->ops->pread(self, fd, bytes, n, at);
}

static void a_checkpoint_that_cannot_be_read_is_not_taken_for_none(void **state)
{
	struct fixture *f = *state;
	struct fault fault = {0};
	struct partition *p;

	p = start_one(f);
	append(f, p, 0, 100);
	close_log(f);
	for (uint32_t round = 0; round < 3; round++) {
		own_sys(f);
		checkpoint_fd = -1;
		if (round == 0)
			f->ops.stat = stat_fails;
		f->ops.open = round == 1 ? open_fails : open_is_noted;
		if (round == 2)
			f->ops.pread = pread_fails;
		fault.err = 0;
		assert_int_equal(log_open(&f->options, &f->log, &fault), ERR_IO);
		assert_non_null(strstr(fault.text, "CHECKPOINT"));
	}
	f->options.sys = sys_kernel();
	p = open_one(f);
	assert_int_equal(check_all(p, 0), 100);
	log_close(f->log);
}

static bool copies_fail;

static int copies_open_fails(void *self, const char *path, int flags)
{
	if (copies_fail && strstr(path, "/CHECKPOINT."))
		return -EIO;
	return sys_kernel()->ops->open(self, path, flags);
}

/* It is told, and does not count: what it would have made free is kept. */
static void a_checkpoint_that_cannot_be_written_frees_nothing(void **state)
{
	struct fixture *f = *state;
	struct log_stats stats;
	struct fault fault = {0};
	struct partition *p;

	own_sys(f);
	f->ops.open = copies_open_fails;
	copies_fail = false;
	p = start_one(f);
	append(f, p, 0, 100);
	copies_fail = true;
	assert_int_equal(log_checkpoint(f->log, &fault), ERR_IO);
	log_stats(f->log, &stats);
	assert_int_equal(stats.checkpoints, 0);
	copies_fail = false;
	assert_int_equal(log_checkpoint(f->log, &fault), 0);
	log_stats(f->log, &stats);
	assert_int_equal(stats.checkpoints, 1);
	close_log(f);
	f->options.sys = sys_kernel();
	p = open_one(f);
	assert_int_equal(check_all(p, 0), 100);
	log_close(f->log);
}

/* The next write enters another record first, which is committed and moved with what is being moved. */
static struct fixture *late_fixture;
static struct request *late_request;

static int write_after_another(void *self, int fd, const struct iovec *iov, int count, uint64_t at)
{
	struct fixture *f = late_fixture;

	late_fixture = NULL;
	if (f) {
		enter(f, late_request);
		assert_int_equal(log_step(f->log, LOG_STEP_COMMIT), 1);
	}
	return sys_kernel()->ops->pwritev(self, fd, iov, count, at);
}

/* Then all that the journal has behind the checkpoint stands in segments already; nothing is left to move. */
static void a_checkpoint_may_have_more_than_its_groups(void **state)
{
	struct fixture *f = *state, copy;
	struct request first = {0}, late = {0};
	struct log_stats stats;
	struct partition *p;

	own_sys(f);
	f->ops.pwritev = write_after_another;
	f->options.steps = true;
	p = start_one(f);
	first.records[0] = (struct log_record){.partition = p, .timestamp_ms = -1, .value = SLICE_LIT("0")};
	late.records[0] = (struct log_record){.partition = p, .timestamp_ms = -1, .value = SLICE_LIT("1")};
	first.commit.record_count = late.commit.record_count = 1;
	enter(f, &first);
	assert_int_equal(log_step(f->log, LOG_STEP_COMMIT), 1);
	late_fixture = f;
	late_request = &late;
	assert_int_equal(log_checkpoint(f->log, &(struct fault){0}), 0);
	assert_null(late_fixture);
	log_port_run(f->port);
	copy_dir(f, &copy);
	close_log(f);

	copy.options.sys = sys_kernel();
	copy.options.steps = false;
	open_log(&copy);
	log_stats(copy.log, &stats);
	assert_int_equal(stats.recovered_groups, 1);
	assert_int_equal(partition_open(copy.log, &topic_a, 0, &keep_all, &p), 0);
	start_log(&copy);
	assert_int_equal(log_checkpoint(copy.log, &(struct fault){0}), 0); /* it ends */
	assert_int_equal(check_all(p, 0), 2);
	append(&copy, p, 2, 10);
	assert_int_equal(log_checkpoint(copy.log, &(struct fault){0}), 0);
	assert_int_equal(check_all(p, 0), 12);
	close_log(&copy);
	remove_copy(&copy);
}

static void copy_file(const char *dir, const char *from, const char *to)
{
	char command[400];

	(void)snprintf(command, sizeof(command), "cp %s/%s %s/%s", dir, from, dir, to);
	assert_int_equal(system(command), 0);
}

/* Killed between the two copies; then the newer one rots. */
static void after_a_start_either_copy_of_the_checkpoint_is_enough(void **state)
{
	struct fixture *f = *state, copy;
	struct partition *p;
	char path[256];

	p = start_one(f);
	append(f, p, 0, 100);
	assert_int_equal(log_checkpoint(f->log, &(struct fault){0}), 0);
	copy_file(f->dir, "CHECKPOINT.b", "older");
	append(f, p, 100, 100);
	assert_int_equal(log_checkpoint(f->log, &(struct fault){0}), 0);
	copy_file(f->dir, "older", "CHECKPOINT.b");
	copy_dir(f, &copy);
	close_log(f);
	for (uint32_t round = 0; round < 2; round++) {
		p = open_one(&copy);
		assert_int_equal(check_all(p, 0), 200);
		log_close(copy.log);
		(void)snprintf(path, sizeof(path), "%s/CHECKPOINT.a", copy.dir);
		flip(path, 60);
	}
	remove_copy(&copy);
}

/* ---- which copies are written ---- */

static char written[8]; /* which, in order: "ba" */
static uint32_t synced;
static int write_fails_at; /* the n-th from now on, 0: none */

static char copy_of_fd(int fd)
{
	const char *name = strstr(path_of_fd(fd), "/CHECKPOINT.");

	return name ? name[12] : 0;
}

static int write_is_noted(void *self, int fd, const struct iovec *iov, int count, uint64_t at)
{
	char which = copy_of_fd(fd);

	if (!which)
		return sys_kernel()->ops->pwritev(self, fd, iov, count, at);
	written[strlen(written)] = which;
	if (write_fails_at && --write_fails_at == 0)
		return -EIO;
	return sys_kernel()->ops->pwritev(self, fd, iov, count, at);
}

static int sync_is_noted(void *self, int fd)
{
	synced += copy_of_fd(fd) != 0;
	return sys_kernel()->ops->fsync(self, fd);
}

static void note_writes(struct fixture *f, int fails_at)
{
	own_sys(f);
	f->ops.pwritev = write_is_noted;
	f->ops.fsync = sync_is_noted;
	memset(written, 0, sizeof(written));
	synced = 0;
	write_fails_at = fails_at;
}

/* After a kill they may stand in the page cache alone, and after a sync that failed not on the disk at all. */
static void a_start_writes_both_copies_again_and_the_newer_one_first(void **state)
{
	struct fixture *f = *state, copy;
	struct partition *p;

	p = start_one(f);
	append(f, p, 0, 100);
	assert_int_equal(log_checkpoint(f->log, &(struct fault){0}), 0);
	copy_dir(f, &copy);
	close_log(f);
	note_writes(&copy, 0);
	p = open_one(&copy);
	assert_int_equal(strlen(written), 2);
	assert_true(written[0] != written[1]);
	assert_int_equal(synced, 2);
	assert_int_equal(check_all(p, 0), 100);
	log_close(copy.log);
	remove_copy(&copy);
}

/* What is told of the truncation behind it is not told of the write. */
static void a_checkpoint_of_which_a_write_fails_has_failed(void **state)
{
	struct fixture *f = *state;
	struct fault fault = {0};
	struct partition *p;

	note_writes(f, 0);
	p = start_one(f);
	append(f, p, 0, 100);
	for (int which = 1; which <= 2; which++) {
		write_fails_at = which;
		assert_int_equal(log_checkpoint(f->log, &fault), ERR_IO);
	}
	assert_int_equal(log_checkpoint(f->log, &fault), 0);
	close_log(f);
	f->options.sys = sys_kernel();
	p = open_one(f);
	assert_int_equal(check_all(p, 0), 100);
	log_close(f->log);
}

/* Else a second failure could leave no whole copy. */
static void after_a_failure_the_copy_that_failed_is_written_first_again(void **state)
{
	struct fixture *f = *state;
	struct fault fault = {0};
	struct partition *p;
	char failed;

	note_writes(f, 0);
	p = start_one(f);
	append(f, p, 0, 10);
	assert_int_equal(log_checkpoint(f->log, &fault), 0);
	for (int which = 1; which <= 2; which++) {
		append(f, p, (uint32_t)which * 10, 10);
		memset(written, 0, sizeof(written));
		write_fails_at = which;
		assert_int_equal(log_checkpoint(f->log, &fault), ERR_IO);
		assert_int_equal(strlen(written), which);
		failed = written[which - 1];
		memset(written, 0, sizeof(written));
		assert_int_equal(log_checkpoint(f->log, &fault), 0);
		assert_int_equal(written[0], failed);
	}
	close_log(f);
}

/* ---- what it says ---- */

static size_t start_behind; /* bytes of the checkpoint from the log start of topic_a on */

static int find_start(void *ctx, const struct checkpoint_partition *p)
{
	(void)ctx;
	if (memcmp(p->topic.bytes, topic_a.bytes, sizeof(topic_a.bytes)) == 0)
		start_behind = p->behind + 8;
	return 0;
}

static int pass_over(void *ctx, const struct checkpoint_segment *s)
{
	(void)ctx;
	(void)s;
	return 0;
}

/* In both copies, with a right checksum. */
static void change_start(const struct fixture *f, int64_t start)
{
	struct checkpoint_sink sink = {.partition = find_start, .segment = pass_over};
	struct checkpoint_found found;
	struct fault fault = {0};
	uint64_t number, sequence;
	struct buf b;

	assert_int_equal(checkpoint_read(sys_kernel(), f->dir, &b, &found, &fault), 0);
	assert_int_equal(checkpoint_walk(buf_slice(&b), &number, &sequence, &sink), 0);
	(void)wire_put_u64(b.ptr + b.len - start_behind, (uint64_t)start);
	checkpoint_seal_again(&b);
	assert_int_equal(checkpoint_write_copy(sys_kernel(), f->dir, 'a', buf_slice(&b)), 0);
	assert_int_equal(checkpoint_write_copy(sys_kernel(), f->dir, 'b', buf_slice(&b)), 0);
	buf_fini(&b);
}

static void a_partition_that_begins_behind_its_end_is_damage_that_names_the_field(void **state)
{
	struct fixture *f = *state, copy;
	struct fault fault = {0};
	struct partition *p;
	struct partition_range range;

	p = start_one(f);
	append(f, p, 0, 100);
	assert_int_equal(log_checkpoint(f->log, &(struct fault){0}), 0);
	copy_dir(f, &copy);
	close_log(f);
	for (uint32_t round = 0; round < 2; round++) {
		change_start(&copy, round ? INT64_MIN : 101);
		copy.options.dir = copy.dir;
		fault.err = 0;
		assert_int_equal(log_open(&copy.options, &copy.log, &fault), ERR_CORRUPT);
		assert_non_null(strstr(fault.text, "log start of partition 0"));
		assert_non_null(strstr(fault.text, "next offset 100"));
	}
	change_start(&copy, 100); /* all of it was trimmed: that may be */
	p = open_one(&copy);
	partition_range(p, &range);
	assert_true(range.start == 100 && range.end == 100);
	log_close(copy.log);
	remove_copy(&copy);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_checkpoint_that_cannot_be_read_is_not_taken_for_none),
		TEST(a_checkpoint_that_cannot_be_written_frees_nothing),
		TEST(a_checkpoint_may_have_more_than_its_groups),
		TEST(after_a_start_either_copy_of_the_checkpoint_is_enough),
		TEST(a_start_writes_both_copies_again_and_the_newer_one_first),
		TEST(a_checkpoint_of_which_a_write_fails_has_failed),
		TEST(after_a_failure_the_copy_that_failed_is_written_first_again),
		TEST(a_partition_that_begins_behind_its_end_is_damage_that_names_the_field),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
