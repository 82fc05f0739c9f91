/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/wire.h"
#include "log/frame.h"
#include "log/log_world_test.h"
#include "proto/batch/batch.h"
#include "proto/batch/codec_vectors.h"
#include "sys/test_dir.h"

static const struct topic_id topic_a = {{1}};
static const struct partition_options keep_all = {.retention_ms = -1, .retention_bytes = -1};

struct fixture {
	char dir[TEST_DIR_BYTES];
	struct log_options options;
	struct log *log;
	struct log_port *port;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool woken;
	uint32_t done;
};

static void on_wake(void *ctx)
{
	struct fixture *f = ctx;

	(void)pthread_mutex_lock(&f->lock);
	f->woken = true;
	(void)pthread_cond_signal(&f->cond);
	(void)pthread_mutex_unlock(&f->lock);
}

static void pump(struct fixture *f)
{
	(void)pthread_mutex_lock(&f->lock);
	while (!f->woken)
		(void)pthread_cond_wait(&f->cond, &f->lock);
	f->woken = false;
	(void)pthread_mutex_unlock(&f->lock);
	log_port_run(f->port);
}

static void open_log(struct fixture *f)
{
	if (!f->options.sys)
		f->options.sys = sys_kernel();
	f->options.dir = f->dir;
	log_world_open(&f->options, on_wake, f, &f->log, &f->port);
}

static void start_log(struct fixture *f)
{
	assert_int_equal(log_start(f->log, NULL), 0);
}

static void close_log(struct fixture *f)
{
	log_world_close(&f->log, f->port);
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	if (!test_dir_make(f->dir, "log-test"))
		return -1;
	(void)pthread_mutex_init(&f->lock, NULL);
	(void)pthread_cond_init(&f->cond, NULL);
	f->options.journal_file_bytes = 4u << 20;
	f->options.segment_bytes = 1u << 20;
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	(void)test_dir_remove(f->dir);
	free(f);
	return 0;
}

struct request {
	struct log_commit commit;
	struct fixture *f;
	struct log_record records[8];
	char value[64];
};

static void on_done(struct log_commit *c)
{
	struct request *r = (struct request *)c;

	r->f->done++;
}

static void enter(struct fixture *f, struct request *r)
{
	r->f = f;
	r->commit.records = r->records;
	r->commit.port = f->port;
	r->commit.on_done = on_done;
	log_enter_begin(f->log);
	assert_int_equal(log_enter(f->log, &r->commit), 0);
	log_enter_end(f->log);
}

/* Enters `count` commits of one record each, value "n", and waits for all. */
static void append(struct fixture *f, struct partition *p, uint32_t from, uint32_t count)
{
	struct request *all = calloc(count, sizeof(*all));

	f->done = 0;
	for (uint32_t i = 0; i < count; i++) {
		int n = snprintf(all[i].value, sizeof(all[i].value), "%u", from + i);
		all[i].records[0] = (struct log_record){.partition = p,
							.timestamp_ms = -1,
							.value = slice_make(all[i].value, (size_t)n)};
		all[i].commit.record_count = 1;
		enter(f, &all[i]);
	}
	while (f->done < count)
		pump(f);
	for (uint32_t i = 0; i < count; i++)
		assert_int_equal(all[i].records[0].offset, from + i);
	free(all);
}

/* Reads everything and checks that offsets are without gap and values are their offsets. */
static int64_t check_all(struct partition *p, int64_t from)
{
	struct log_view view;
	int rc;

	while ((rc = log_read_wait(p, from, 65536, &view)) == LOG_READ_OK) {
		struct slice rest = view.batches;
		struct batch_head head;
		assert_int_equal(view.gap.from, view.gap.to);
		while (rest.len) {
			struct batch_walk walk;
			struct batch_record r;
			assert_int_equal(batch_check(rest, &head), 0);
			assert_int_equal(batch_walk_start(&walk, rest), 0);
			while (batch_walk_next(&walk, &r) == 1) {
				char text[32];
				if (r.offset < from)
					continue;
				assert_int_equal(r.offset, from);
				(void)snprintf(text, sizeof(text), "%lld", (long long)r.offset);
				assert_true(slice_eq_str(r.value, text));
				from++;
			}
			rest = slice_from(rest, head.bytes);
		}
		assert_int_equal(view.next_offset, from);
		blob_unref(view.blob);
	}
	assert_int_equal(rc, LOG_READ_END);
	return from;
}

static void what_is_answered_is_read_also_after_a_clean_stop(void **state)
{
	struct fixture *f = *state;
	struct partition *p;

	open_log(f);
	assert_int_equal(partition_open(f->log, &topic_a, 0, &keep_all, &p), 0);
	start_log(f);
	append(f, p, 0, 1000);
	assert_int_equal(check_all(p, 0), 1000);
	close_log(f);
	open_log(f);
	assert_int_equal(partition_open(f->log, &topic_a, 0, &keep_all, &p), 0);
	start_log(f);
	assert_int_equal(check_all(p, 0), 1000);
	append(f, p, 1000, 10);
	assert_int_equal(check_all(p, 995), 1010);
	close_log(f);
}

/* ---- file systems that do not write past the page cache ---- */

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
	static struct sys_ops ops;
	static struct sys sys;
	struct partition *p;

	ops = *sys_kernel()->ops;
	sys = (struct sys){.ops = &ops, .self = sys_kernel()->self};
	ops.set_direct = refuse_direct;
	ops.pwritev = refuse_direct_write;
	f->options.sys = &sys;
	for (uint32_t round = 0; round < 2; round++) {
		direct_accepted = round == 1;
		direct_refused = 0;
		open_log(f);
		assert_int_equal(partition_open(f->log, &topic_a, 0, &keep_all, &p), 0);
		start_log(f);
		append(f, p, round * 100, 100);
		assert_int_equal(check_all(p, 0), round * 100 + 100);
		assert_int_equal(direct_refused, 1); /* asked once */
		close_log(f);
	}
}

/* ---- segments past the page cache ---- */

static uint32_t segments_direct; /* how often a segment was written so */

/* Of an open file; in room that the next call uses again. */
static const char *path_of_fd(int fd)
{
	static _Thread_local char path[512];
	char link[64];
	ssize_t n;

	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	path[n < 0 ? 0 : n] = '\0';
	return path;
}

static int note_segment(void *self, int fd, bool on)
{
	segments_direct += strstr(path_of_fd(fd), ".log") != NULL;
	return sys_kernel()->ops->set_direct(self, fd, on);
}

static void move_all(struct fixture *f)
{
	while (log_step(f->log, LOG_STEP_MOVE) > 0)
		;
}

static void append_in_steps(struct fixture *f, struct partition *p, uint32_t from)
{
	struct request r = {0};
	int n = snprintf(r.value, sizeof(r.value), "%u", from);

	f->done = 0;
	r.records[0] = (struct log_record){.partition = p,
					   .timestamp_ms = -1,
					   .value = slice_make(r.value, (size_t)n)};
	r.commit.record_count = 1;
	enter(f, &r);
	while (f->done == 0) {
		assert_true(log_step(f->log, LOG_STEP_COMMIT) > 0);
		log_port_run(f->port);
	}
	move_all(f);
}

static void who_reads_of_segments_finds_what_comes_next_in_the_page_cache(void **state)
{
	struct fixture *f = *state;
	struct log_view view;
	static struct sys_ops ops;
	static struct sys sys;
	struct partition *p;

	ops = *sys_kernel()->ops;
	sys = (struct sys){.ops = &ops, .self = sys_kernel()->self};
	ops.set_direct = note_segment;
	f->options.sys = &sys;
	f->options.steps = true;
	f->options.tail_bytes_max = 1;
	f->options.direct_bytes_min = 1;
	segments_direct = 0;
	open_log(f);
	assert_int_equal(partition_open(f->log, &topic_a, 0, &keep_all, &p), 0);
	start_log(f);
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

/* ---- starts after a kill, with files that the checkpoint does not know ---- */

static char cut_path[512];
static uint32_t cuts;
static bool cut_is_synced;

static int note_cut(void *self, int fd, uint64_t bytes)
{
	const char *path = path_of_fd(fd);

	if (strstr(path, ".log")) {
		cuts++;
		cut_is_synced = false;
		(void)snprintf(cut_path, sizeof(cut_path), "%s", path);
	}
	return sys_kernel()->ops->truncate(self, fd, bytes);
}

static int note_sync(void *self, int fd)
{
	cut_is_synced |= strcmp(path_of_fd(fd), cut_path) == 0;
	return sys_kernel()->ops->fdatasync(self, fd);
}

/* What a checkpoint does not know of a segment is cut off, and comes again out of the journal; not into it where it is full. */
static void a_segment_that_was_cut_and_sealed_is_synced(void **state)
{
	struct fixture *f = *state;
	static struct sys_ops ops;
	static struct sys sys;
	struct partition *p;

	ops = *sys_kernel()->ops;
	sys = (struct sys){.ops = &ops, .self = sys_kernel()->self};
	ops.truncate = note_cut;
	ops.fdatasync = note_sync;
	f->options.sys = &sys;
	f->options.steps = true;
	open_log(f);
	assert_int_equal(partition_open(f->log, &topic_a, 0, &keep_all, &p), 0);
	start_log(f);
	append_in_steps(f, p, 0);
	assert_int_equal(log_checkpoint(f->log, &(struct fault){0}), 0);
	append_in_steps(f, p, 1);
	log_close(f->log); /* as if killed */
	f->options.segment_bytes = 1;
	cuts = 0;
	open_log(f);
	assert_int_equal(partition_open(f->log, &topic_a, 0, &keep_all, &p), 0);
	start_log(f);
	assert_int_equal(cuts, 1);
	assert_int_equal(check_all(p, 0), 2);
	move_all(f);
	assert_int_equal(log_checkpoint(f->log, &(struct fault){0}), 0);
	assert_true(cut_is_synced);
	close_log(f);
}

static uint32_t journal_reads, journal_read_fails;

static int64_t read_journal_or_fail(void *self, int fd, void *bytes, size_t n, uint64_t at)
{
	if (strstr(path_of_fd(fd), ".wal") && ++journal_reads == journal_read_fails)
		return -EIO;
	return sys_kernel()->ops->pread(self, fd, bytes, n, at);
}

/* They may be all that there is of records that were answered. */
static void a_start_that_cannot_read_the_journal_removes_nothing(void **state)
{
	struct fixture *f = *state;
	const struct topic_id young = {{7}};
	static struct sys_ops ops;
	static struct sys sys;
	char pattern[TEST_DIR_BYTES + 40];
	struct partition *p;
	glob_t found;

	ops = *sys_kernel()->ops;
	sys = (struct sys){.ops = &ops, .self = sys_kernel()->self};
	ops.pread = read_journal_or_fail;
	f->options.steps = true;
	open_log(f);
	start_log(f);
	assert_int_equal(log_checkpoint(f->log, &(struct fault){0}), 0);
	assert_int_equal(partition_open(f->log, &young, 0, &keep_all, &p), 0);
	append_in_steps(f, p, 0);
	log_close(f->log); /* as if killed */
	(void)snprintf(pattern, sizeof(pattern), "%s/topics/*/0/*.log", f->dir);
	f->options.sys = &sys;
	for (journal_read_fails = 1;; journal_read_fails++) {
		journal_reads = 0;
		if (log_open(&f->options, &f->log, NULL) == 0)
			break;
		assert_int_equal(glob(pattern, 0, NULL, &found), 0);
		globfree(&found);
	}
	assert_true(journal_read_fails > 1);
	assert_int_equal(partition_open(f->log, &young, 0, &keep_all, &p), 0);
	assert_int_equal(check_all(p, 0), 1);
	log_close(f->log);
}

/* ---- a disk that cannot be asked ---- */

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
	static struct sys_ops ops;
	static struct sys sys;
	struct fault fault = {0};
	struct partition *p;

	open_log(f);
	assert_int_equal(partition_open(f->log, &topic_a, 0, &keep_all, &p), 0);
	start_log(f);
	append(f, p, 0, 100);
	close_log(f);
	sys = (struct sys){.ops = &ops, .self = sys_kernel()->self};
	f->options.sys = &sys;
	for (uint32_t round = 0; round < 3; round++) {
		ops = *sys_kernel()->ops;
		checkpoint_fd = -1;
		if (round == 0)
			ops.stat = stat_fails;
		ops.open = round == 1 ? open_fails : open_is_noted;
		if (round == 2)
			ops.pread = pread_fails;
		fault.err = 0;
		assert_int_equal(log_open(&f->options, &f->log, &fault), ERR_IO);
		assert_non_null(strstr(fault.text, "CHECKPOINT"));
	}
	f->options.sys = sys_kernel();
	open_log(f);
	assert_int_equal(partition_open(f->log, &topic_a, 0, &keep_all, &p), 0);
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
	static struct sys_ops ops;
	static struct sys sys;
	struct log_stats stats;
	struct fault fault = {0};
	struct partition *p;

	ops = *sys_kernel()->ops;
	ops.open = copies_open_fails;
	sys = (struct sys){.ops = &ops, .self = sys_kernel()->self};
	f->options.sys = &sys;
	copies_fail = false;
	open_log(f);
	assert_int_equal(partition_open(f->log, &topic_a, 0, &keep_all, &p), 0);
	start_log(f);
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
	open_log(f);
	assert_int_equal(partition_open(f->log, &topic_a, 0, &keep_all, &p), 0);
	assert_int_equal(check_all(p, 0), 100);
	log_close(f->log);
}

/* ---- without threads ---- */

static void steps_do_what_threads_do(void **state)
{
	struct fixture *f = *state;
	struct request r = {0};
	struct partition *p;

	f->options.steps = true;
	open_log(f);
	assert_int_equal(partition_open(f->log, &topic_a, 0, &keep_all, &p), 0);
	start_log(f);
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

/* Copies the directory as a kill would leave it, and opens the copy. */
static void copy_dir(const struct fixture *f, struct fixture *copy)
{
	char command[4 * TEST_DIR_BYTES];

	*copy = *f;
	(void)snprintf(copy->dir, sizeof(copy->dir), "%.100s-copy", f->dir);
	(void)snprintf(command, sizeof(command), "rm -rf %s; cp -a --sparse=never %s %s", copy->dir, f->dir,
		       copy->dir);
	assert_int_equal(system(command), 0);
}

static void remove_copy(const struct fixture *copy)
{
	(void)test_dir_remove(copy->dir);
}

static void what_is_answered_is_read_after_a_kill(void **state)
{
	struct fixture *f = *state, copy;
	struct partition *p, *q;

	open_log(f);
	assert_int_equal(partition_open(f->log, &topic_a, 0, &keep_all, &p), 0);
	start_log(f);
	append(f, p, 0, 3000);
	assert_int_equal(log_checkpoint(f->log, &(struct fault){0}), 0);
	append(f, p, 3000, 500);
	for (uint32_t round = 0; round < 2; round++) {
		if (round == 0)
			copy_dir(f, &copy);
		open_log(&copy);
		assert_int_equal(partition_open(copy.log, &topic_a, 0, &keep_all, &q), 0);
		assert_int_equal(check_all(q, 0), 3500);
		log_close(copy.log); /* as if killed again at once */
	}
	remove_copy(&copy);
	close_log(f);
}

static uint32_t folders_listed, heads_read;

static int count_list(void *self, const char *path, sys_list_fn *fn, void *ctx)
{
	folders_listed += strstr(path, "/topics") != NULL;
	return sys_kernel()->ops->list(self, path, fn, ctx);
}

static int64_t count_head(void *self, int fd, void *bytes, size_t n, uint64_t at)
{
	heads_read += n == FRAME_HEAD_BYTES;
	return sys_kernel()->ops->pread(self, fd, bytes, n, at);
}

/* With ten thousand partitions and gigabytes of journal that is most of a start. */
static void a_start_after_a_clean_stop_looks_for_nothing_left_over(void **state)
{
	struct fixture *f = *state, copy;
	static struct sys_ops ops;
	static struct sys sys;
	struct partition *p;
	char path[2 * TEST_DIR_BYTES];

	ops = *sys_kernel()->ops;
	sys = (struct sys){.ops = &ops, .self = sys_kernel()->self};
	ops.list = count_list;
	ops.pread = count_head;
	f->options.sys = &sys;
	for (uint32_t round = 0; round < 3; round++) {
		folders_listed = heads_read = 0;
		open_log(f);
		if (round > 0) /* the first one finds nothing at all */
			assert_int_equal(folders_listed + heads_read, 0);
		(void)snprintf(path, sizeof(path), "%s/CLEAN", f->dir);
		assert_int_equal(access(path, F_OK), -1);
		assert_int_equal(partition_open(f->log, &topic_a, 0, &keep_all, &p), 0);
		start_log(f);
		append(f, p, round * 100, 100);
		if (round == 1)
			copy_dir(f, &copy);
		close_log(f);
		assert_int_equal(access(path, F_OK), 0);
	}
	/* And one that was killed, even with the word of the stop before it. */
	(void)snprintf(path, sizeof(path), "echo 1 > %s/CLEAN", copy.dir);
	assert_int_equal(system(path), 0);
	open_log(&copy);
	assert_true(folders_listed > 0);
	assert_true(heads_read > 0);
	assert_int_equal(partition_open(copy.log, &topic_a, 0, &keep_all, &p), 0);
	assert_int_equal(check_all(p, 0), 200);
	log_close(copy.log);
	remove_copy(&copy);
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
	static struct sys_ops ops;
	static struct sys sys;
	struct log_stats stats;
	struct partition *p;

	ops = *sys_kernel()->ops;
	ops.pwritev = write_after_another;
	sys = (struct sys){.ops = &ops, .self = sys_kernel()->self};
	f->options.sys = &sys;
	f->options.steps = true;
	open_log(f);
	assert_int_equal(partition_open(f->log, &topic_a, 0, &keep_all, &p), 0);
	start_log(f);
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

static void find_journal(const struct fixture *f, char *path, size_t size)
{
	char command[256];
	FILE *pipe;

	(void)snprintf(command, sizeof(command), "ls %s/journal/*.wal | tail -1", f->dir);
	pipe = popen(command, "r");
	assert_non_null(pipe);
	assert_non_null(fgets(path, (int)size, pipe));
	path[strcspn(path, "\n")] = '\0';
	(void)pclose(pipe);
}

static void flip(const char *path, off_t at)
{
	int fd = open(path, O_RDWR);
	uint8_t byte;

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, at), 1);
	byte ^= 1;
	assert_int_equal(pwrite(fd, &byte, 1, at), 1);
	(void)close(fd);
}

static void a_torn_last_group_is_cut_and_damage_before_it_is_refused(void **state)
{
	struct fixture *f = *state, copy;
	struct partition *p, *q;
	struct log_stats stats;
	struct fault fault = {0};
	char path[256];

	open_log(f);
	assert_int_equal(partition_open(f->log, &topic_a, 0, &keep_all, &p), 0);
	start_log(f);
	for (uint32_t i = 0; i < 5; i++)
		append(f, p, i, 1); /* a group each: five blocks of 4 KiB */
	copy_dir(f, &copy);
	find_journal(&copy, path, sizeof(path));
	flip(path, 4 * 4096 + 100);
	open_log(&copy);
	assert_int_equal(partition_open(copy.log, &topic_a, 0, &keep_all, &q), 0);
	assert_int_equal(check_all(q, 0), 4);
	log_stats(copy.log, &stats);
	assert_true(stats.truncated_bytes > 0);
	log_close(copy.log);
	open_log(&copy); /* and once more, over what the first recovery left */
	assert_int_equal(partition_open(copy.log, &topic_a, 0, &keep_all, &q), 0);
	assert_int_equal(check_all(q, 0), 4);
	log_close(copy.log);
	copy_dir(f, &copy);
	find_journal(&copy, path, sizeof(path));
	flip(path, 2 * 4096 + 100);
	copy.options.dir = copy.dir;
	assert_int_equal(log_open(&copy.options, &copy.log, &fault), ERR_CORRUPT);
	assert_non_null(strstr(fault.text, ".wal"));
	remove_copy(&copy);
	close_log(f);
}

static void damage_of_a_group_written_again_does_not_take_the_next_one_along(void **state)
{
	struct fixture *f = *state, copy, second;
	struct fault fault = {0};
	struct partition *p;
	char path[256];

	open_log(f);
	assert_int_equal(partition_open(f->log, &topic_a, 0, &keep_all, &p), 0);
	start_log(f);
	append(f, p, 0, 1);
	copy_dir(f, &copy);
	close_log(f);
	open_log(&copy); /* the last group is written again, at the beginning of a new file */
	assert_int_equal(partition_open(copy.log, &topic_a, 0, &keep_all, &p), 0);
	start_log(&copy);
	append(&copy, p, 1, 1);
	copy_dir(&copy, &second);
	close_log(&copy);
	find_journal(&second, path, sizeof(path));
	flip(path, 100);
	second.options.dir = second.dir;
	assert_int_equal(log_open(&second.options, &second.log, &fault), ERR_CORRUPT);
	flip(path, 100);
	open_log(&second);
	assert_int_equal(partition_open(second.log, &topic_a, 0, &keep_all, &p), 0);
	assert_int_equal(check_all(p, 0), 2);
	log_close(second.log);
	remove_copy(&copy);
	remove_copy(&second);
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

	open_log(f);
	assert_int_equal(partition_open(f->log, &topic_a, 0, &keep_all, &p), 0);
	start_log(f);
	append(f, p, 0, 100);
	assert_int_equal(log_checkpoint(f->log, &(struct fault){0}), 0);
	copy_file(f->dir, "CHECKPOINT.b", "older");
	append(f, p, 100, 100);
	assert_int_equal(log_checkpoint(f->log, &(struct fault){0}), 0);
	copy_file(f->dir, "older", "CHECKPOINT.b");
	copy_dir(f, &copy);
	close_log(f);
	for (uint32_t round = 0; round < 2; round++) {
		open_log(&copy);
		assert_int_equal(partition_open(copy.log, &topic_a, 0, &keep_all, &p), 0);
		assert_int_equal(check_all(p, 0), 200);
		log_close(copy.log);
		(void)snprintf(path, sizeof(path), "%s/CHECKPOINT.a", copy.dir);
		flip(path, 60);
	}
	remove_copy(&copy);
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
	f->done = 0;
	enter(f, &r);
	while (f->done < 1)
		pump(f);
	log_stats(f->log, &after);
	assert_int_equal(after.syncs - before.syncs, 1);
	for (uint32_t i = 0; i < 8; i++)
		assert_int_equal(check_all(p[i], 0), 1);
	close_log(f);
}

static void segments_roll_and_cold_reads_find_every_offset(void **state)
{
	struct fixture *f = *state;
	struct partition *p;
	struct partition_range range;

	f->options.tail_bytes_max = 1;
	f->options.segment_bytes = 4096;
	open_log(f);
	assert_int_equal(partition_open(f->log, &topic_a, 0, &keep_all, &p), 0);
	start_log(f);
	for (uint32_t i = 0; i < 40; i++)
		append(f, p, i * 50, 50);
	assert_int_equal(log_checkpoint(f->log, &(struct fault){0}), 0);
	for (int64_t from = 0; from < 2000; from += 37)
		assert_int_equal(check_all(p, from), 2000);
	partition_range(p, &range);
	assert_true(range.bytes > 4 * 4096);
	close_log(f);
	open_log(f);
	assert_int_equal(partition_open(f->log, &topic_a, 0, &keep_all, &p), 0);
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
	char path[256], id[37];
	int64_t from, gaps, sum = 0;
	int rc;

	open_log(f);
	assert_int_equal(partition_open(f->log, &topic_a, 0, &keep_all, &p), 0);
	start_log(f);
	for (uint32_t i = 0; i < 20; i++)
		append(f, p, i * 10, 10);
	close_log(f);
	topic_id_text(&topic_a, id);
	(void)snprintf(path, sizeof(path), "%s/topics/%s/0/%020d.log", f->dir, id, 0);
	for (off_t at = 1400; at < 1600; at++) {
		flip(path, at);
		open_log(f);
		assert_int_equal(partition_open(f->log, &topic_a, 0, &keep_all, &p), 0);
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

/* Twenty batches of ten records, a segment; and the bytes of one of them. */
static void make_batches(struct fixture *f, char *path, size_t size)
{
	struct partition *p;
	char id[37];

	open_log(f);
	assert_int_equal(partition_open(f->log, &topic_a, 0, &keep_all, &p), 0);
	start_log(f);
	for (uint32_t i = 0; i < 20; i++) {
		struct request r = {0};
		for (uint32_t k = 0; k < 8; k++)
			r.records[k] = (struct log_record){.partition = p,
							   .timestamp_ms = 1000 + i * 8 + k,
							   .value = SLICE_LIT("x")};
		r.commit.record_count = 8;
		f->done = 0;
		enter(f, &r);
		while (!f->done)
			pump(f);
	}
	close_log(f);
	topic_id_text(&topic_a, id);
	(void)snprintf(path, size, "%s/topics/%s/0/%020d.log", f->dir, id, 0);
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
			open_log(f); /* no hints from the read before */
			assert_int_equal(partition_open(f->log, &topic_a, 0, &keep_all, &p), 0);
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

static void times_are_found(void **state)
{
	struct fixture *f = *state;
	struct partition *p;
	struct request *r = calloc(20, sizeof(*r));
	int64_t offset;

	f->options.segment_bytes = 300;
	f->options.tail_bytes_max = 1;
	open_log(f);
	assert_int_equal(partition_open(f->log, &topic_a, 0, &keep_all, &p), 0);
	start_log(f);
	for (int i = 0; i < 20; i++) {
		f->done = 0;
		r[i].records[0] = (struct log_record){.partition = p,
						      .timestamp_ms = 1000 + i * 10,
						      .value = SLICE_LIT("x")};
		r[i].commit.record_count = 1;
		enter(f, &r[i]);
		while (!f->done)
			pump(f);
	}
	for (uint32_t round = 0; round < 2; round++) {
		for (int i = 0; i < 20; i++) {
			assert_int_equal(log_find_wait(p, 1000 + i * 10 - 5, &offset), 0);
			assert_int_equal(offset, i);
		}
		assert_int_equal(log_find_wait(p, 5000, &offset), 0);
		assert_int_equal(offset, 20);
		assert_int_equal(log_checkpoint(f->log, &(struct fault){0}), 0);
	}
	free(r);
	close_log(f);
}

/* Nothing in an index of times can be checked by a sum, nor by the batch that it names. */
static void a_damaged_index_of_times_misleads_nobody(void **state)
{
	struct fixture *f = *state;
	struct partition *p;
	struct stat st;
	int64_t offset;
	char path[256], id[37];

	f->options.segment_bytes = 900;
	f->options.tail_bytes_max = 1;
	f->options.index_interval_bytes = 1;
	open_log(f);
	assert_int_equal(partition_open(f->log, &topic_a, 0, &keep_all, &p), 0);
	start_log(f);
	for (uint32_t i = 0; i < 20; i++) {
		struct request r = {0};
		r.records[0] = (struct log_record){.partition = p,
						   .timestamp_ms = 1000 + i * 3,
						   .value = SLICE_LIT("x")};
		r.commit.record_count = 1;
		f->done = 0;
		enter(f, &r);
		while (!f->done)
			pump(f);
	}
	close_log(f);
	topic_id_text(&topic_a, id);
	(void)snprintf(path, sizeof(path), "%s/topics/%s/0/%020d.timeindex", f->dir, id, 0);
	assert_int_equal(stat(path, &st), 0);
	assert_true(st.st_size >= 6 * 12);
	for (off_t at = 0; at < st.st_size; at++) {
		if (at % 12 >= 8)
			continue; /* where the offset stands: the whole index would be made anew */
		flip(path, at);
		open_log(f);
		assert_int_equal(partition_open(f->log, &topic_a, 0, &keep_all, &p), 0);
		for (uint32_t i = 0; i < 20; i++) {
			assert_int_equal(log_find_wait(p, 1000 + i * 3, &offset), 0);
			assert_int_equal(offset, i);
		}
		log_close(f->log);
		flip(path, at);
	}
}

static uint8_t digit(char c)
{
	return (uint8_t)(c <= '9' ? c - '0' : c - 'a' + 10);
}

/* Batches of others (codec_vectors.h) lie in a sealed segment; the last one is damaged at times. */
static void put_vectors(struct fixture *f, bool damage)
{
	char path[512];
	uint8_t bytes[4096];
	size_t n = 0;
	int fd;

	for (size_t i = 0; i < 4; i++) {
		const char *hex = codec_vectors[i].hex;
		(void)wire_put_u64(bytes + n, i * 12);
		for (size_t k = 16; hex[k]; k += 2)
			bytes[n + k / 2] = (uint8_t)(digit(hex[k]) << 4 | digit(hex[k + 1]));
		n += strlen(hex) / 2;
	}
	bytes[n - 1] ^= damage;
	(void)snprintf(path, sizeof(path), "%s/topics/01000000-0000-0000-0000-000000000000/0/%020d.log",
		       f->dir, 0);
	fd = open(path, O_WRONLY | O_TRUNC);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, bytes, n), n);
	(void)close(fd);
	memcpy(strrchr(path, '.'), ".index", 7);
	(void)unlink(path);
	memcpy(strrchr(path, '.'), ".timeindex", 11);
	(void)unlink(path);
}

static void times_are_found_in_compressed_batches_and_past_damage(void **state)
{
	struct fixture *f = *state;
	struct partition *p;
	int64_t offset;

	f->options.segment_bytes = 3350; /* ends behind 48 batches of 69 and 70 bytes */
	for (int damage = 0; damage < 2; damage++) {
		open_log(f);
		assert_int_equal(partition_open(f->log, &topic_a, 0, &keep_all, &p), 0);
		start_log(f);
		if (!damage)
			for (uint32_t i = 0; i < 60; i++)
				append(f, p, i, 1); /* a batch each */
		close_log(f);
		put_vectors(f, damage);
		open_log(f);
		assert_int_equal(partition_open(f->log, &topic_a, 0, &keep_all, &p), 0);
		start_log(f);
		for (int i = 0; i < 12; i++) {
			assert_int_equal(log_find_wait(p, 1700000000000 + i * 10 - 3, &offset), 0);
			assert_int_equal(offset, i);
		}
		assert_int_equal(log_find_wait(p, 1700000000111, &offset), 0);
		assert_int_equal(offset, 48); /* what this machine's clock gave */
		close_log(f);
	}
}

static void segment_file(const struct fixture *f, int64_t base, char *path, size_t size)
{
	(void)snprintf(path, size, "%s/topics/01000000-0000-0000-0000-000000000000/0/%020lld.log", f->dir,
		       (long long)base);
}

/* Three batches of eight. */
static void append_eights(struct fixture *f, struct partition *p)
{
	struct request r[3] = {0};

	f->done = 0;
	for (int i = 0; i < 3; i++) {
		for (int k = 0; k < 8; k++)
			r[i].records[k] = (struct log_record){.partition = p,
							      .timestamp_ms = 1000 + i * 100 + k,
							      .value = SLICE_LIT("x")};
		r[i].commit.record_count = 8;
		enter(f, &r[i]);
		while ((int)f->done <= i)
			pump(f);
	}
}

static void damage_costs_no_record_behind_it(void **state)
{
	struct fixture *f = *state;
	struct partition *p;
	struct log_view view;
	char path[512];

	f->options.segment_bytes = 430; /* three; sealed, with an index that begins at the first */
	open_log(f);
	assert_int_equal(partition_open(f->log, &topic_a, 0, &keep_all, &p), 0);
	start_log(f);
	append_eights(f, p);
	append_eights(f, p);
	close_log(f);
	segment_file(f, 0, path, sizeof(path));
	flip(path, 70);
	open_log(f);
	assert_int_equal(partition_open(f->log, &topic_a, 0, &keep_all, &p), 0);
	start_log(f);
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

static void a_time_is_looked_for_past_what_is_gone_or_wrong(void **state)
{
	struct fixture *f = *state;
	struct partition *p;
	char path[512];
	int64_t offset;

	f->options.segment_bytes = 100; /* one each */
	f->options.tail_bytes_max = 1;
	open_log(f);
	assert_int_equal(partition_open(f->log, &topic_a, 0, &keep_all, &p), 0);
	start_log(f);
	append_eights(f, p);
	close_log(f);
	segment_file(f, 0, path, sizeof(path));
	flip(path, 1); /* the base offset, which no checksum covers */
	open_log(f);
	assert_int_equal(partition_open(f->log, &topic_a, 0, &keep_all, &p), 0);
	start_log(f);
	assert_int_equal(log_find_wait(p, 1003, &offset), 0);
	assert_int_equal(offset, 8);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(log_find_wait(p, 1003, &offset), 0);
	assert_int_equal(offset, 8);
	assert_int_equal(log_find_wait(p, 1105, &offset), 0);
	assert_int_equal(offset, 13);
	close_log(f);
	open_log(f);
	assert_int_equal(partition_open(f->log, &topic_a, 0, &keep_all, &p), 0);
	start_log(f);
	assert_int_equal(log_find_wait(p, 1003, &offset), 0);
	assert_int_equal(offset, 8);
	close_log(f);
}

static bool unlink_fails;
static int unlink_segments(void *self, const char *path)
{
	return unlink_fails && strstr(path, "/topics/") ? -EIO : sys_kernel()->ops->unlink(self, path);
}

/* Of a deleted topic and of retention; then the sweep itself cannot remove them either. */
static void what_could_not_be_removed_goes_with_a_later_start(void **state)
{
	struct fixture *f = *state;
	static struct sys_ops ops;
	static struct sys sys;
	struct partition_options little = {.retention_ms = -1, .retention_bytes = 1};
	struct topic_id deleted = {{2}};
	struct partition *kept, *gone;
	char clean[2 * TEST_DIR_BYTES], left[2 * TEST_DIR_BYTES], first[2 * TEST_DIR_BYTES];

	ops = *sys_kernel()->ops;
	sys = (struct sys){.ops = &ops, .self = sys_kernel()->self};
	ops.unlink = unlink_segments;
	f->options.sys = &sys;
	f->options.segment_bytes = 100; /* one batch each */
	(void)snprintf(clean, sizeof(clean), "%s/CLEAN", f->dir);
	(void)snprintf(left, sizeof(left), "%s/topics/02000000-0000-0000-0000-000000000000/0/%020d.log",
		       f->dir, 0);
	segment_file(f, 0, first, sizeof(first));
	for (uint32_t of_retention = 0; of_retention < 2; of_retention++) {
		const char *file = of_retention ? first : left;
		open_log(f);
		assert_int_equal(partition_open(f->log, &topic_a, 0, of_retention ? &little : &keep_all,
						&kept),
				 0);
		start_log(f);
		append(f, kept, of_retention, 1);
		if (!of_retention) {
			assert_int_equal(partition_open(f->log, &deleted, 0, &keep_all, &gone), 0);
			append(f, gone, 0, 1);
			assert_int_equal(log_checkpoint(f->log, &(struct fault){0}), 0);
			log_enter_begin(f->log);
			partition_close(gone);
			log_enter_end(f->log);
			partition_drop(gone);
		}
		unlink_fails = true;
		assert_int_equal(log_checkpoint(f->log, &(struct fault){0}), 0);
		assert_int_equal(log_checkpoint(f->log, &(struct fault){0}), 0);
		close_log(f);
		assert_int_equal(access(file, F_OK), 0);
		assert_int_equal(access(clean, F_OK), -1);
		for (int again = 0; again < 2; again++) {
			open_log(f);
			assert_int_equal(partition_open(f->log, &topic_a, 0, &keep_all, &kept), 0);
			start_log(f);
			assert_int_equal(access(file, F_OK), unlink_fails ? 0 : -1);
			close_log(f);
			assert_int_equal(access(clean, F_OK), unlink_fails ? -1 : 0);
			unlink_fails = false;
		}
	}
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

	open_log(f);
	assert_int_equal(partition_open(f->log, &topic_a, 0, &keep_all, &p), 0);
	start_log(f);
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

	open_log(f);
	assert_int_equal(partition_open(f->log, &topic_a, 0, &keep_all, &kept), 0);
	start_log(f);
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
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(what_is_answered_is_read_also_after_a_clean_stop),
		TEST(what_is_answered_is_read_after_a_kill),
		TEST(a_start_after_a_clean_stop_looks_for_nothing_left_over),
		TEST(what_could_not_be_removed_goes_with_a_later_start),
		TEST(a_checkpoint_that_cannot_be_read_is_not_taken_for_none),
		TEST(a_checkpoint_that_cannot_be_written_frees_nothing),
		TEST(steps_do_what_threads_do),
		TEST(a_checkpoint_may_have_more_than_its_groups),
		TEST(a_journal_that_cannot_write_past_the_cache_writes_through_it),
		TEST(who_reads_of_segments_finds_what_comes_next_in_the_page_cache),
		TEST(a_segment_that_was_cut_and_sealed_is_synced),
		TEST(a_start_that_cannot_read_the_journal_removes_nothing),
		TEST(a_torn_last_group_is_cut_and_damage_before_it_is_refused),
		TEST(damage_of_a_group_written_again_does_not_take_the_next_one_along),
		TEST(after_a_start_either_copy_of_the_checkpoint_is_enough),
		TEST(a_second_log_on_the_directory_is_refused),
		TEST(one_commit_over_many_partitions_is_one_group),
		TEST(segments_roll_and_cold_reads_find_every_offset),
		TEST(retention_by_bytes_moves_the_start_and_survives_a_restart),
		TEST(a_flipped_bit_in_a_segment_costs_its_batch_only),
		TEST(damage_costs_no_record_beside_it),
		TEST(times_are_found),
		TEST(a_damaged_index_of_times_misleads_nobody),
		TEST(damage_costs_no_record_behind_it),
		TEST(a_time_is_looked_for_past_what_is_gone_or_wrong),
		TEST(times_are_found_in_compressed_batches_and_past_damage),
		TEST(watches_tell_a_loop_once),
		TEST(what_was_deleted_is_walked_over_no_more),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
