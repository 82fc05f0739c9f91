/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_LOG_LOG_DIR_WORLD_TEST_H
#define WEIR_LOG_LOG_DIR_WORLD_TEST_H

/*
 * A log on a real directory, on the kernel or on a table of the test's own, with its threads or by steps, and a loop
 * that waits for it. A partition's records say their own offsets, so what is read says whether it is right.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/flip_test.h"
#include "log/log_world_test.h"
#include "proto/batch/batch.h"
#include "sys/test_dir.h"

static const struct topic_id topic_a = {{1}};
static const struct partition_options keep_all = {.retention_ms = -1, .retention_bytes = -1};

struct fixture {
	char dir[TEST_DIR_BYTES];
	struct log_options options;
	struct sys_ops ops; /* of own_sys */
	struct sys sys;
	struct log *log;
	struct log_port *port;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool woken;
	uint32_t done;
};

static inline void on_wake(void *ctx)
{
	struct fixture *f = ctx;

	(void)pthread_mutex_lock(&f->lock);
	f->woken = true;
	(void)pthread_cond_signal(&f->cond);
	(void)pthread_mutex_unlock(&f->lock);
}

static inline void pump(struct fixture *f)
{
	(void)pthread_mutex_lock(&f->lock);
	while (!f->woken)
		(void)pthread_cond_wait(&f->cond, &f->lock);
	f->woken = false;
	(void)pthread_mutex_unlock(&f->lock);
	log_port_run(f->port);
}

static inline void open_log(struct fixture *f)
{
	if (!f->options.sys)
		f->options.sys = sys_kernel();
	f->options.dir = f->dir;
	log_world_open(&f->options, on_wake, f, &f->log, &f->port);
}

static inline void start_log(struct fixture *f)
{
	assert_int_equal(log_start(f->log, NULL), 0);
}

static inline void close_log(struct fixture *f)
{
	log_world_close(&f->log, f->port);
}

/* Opens it with its one partition. */
static inline struct partition *open_one(struct fixture *f)
{
	struct partition *p;

	open_log(f);
	assert_int_equal(partition_open(f->log, &topic_a, 0, &keep_all, &p), 0);
	return p;
}

static inline struct partition *start_one(struct fixture *f)
{
	struct partition *p = open_one(f);

	start_log(f);
	return p;
}

/* From the next opening on the log runs on a table of the test's own, which is the kernel's until it is changed. */
static inline void own_sys(struct fixture *f)
{
	f->ops = *sys_kernel()->ops;
	f->sys = (struct sys){.ops = &f->ops, .self = sys_kernel()->self};
	f->options.sys = &f->sys;
}

static inline int set_up(void **state)
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

static inline int tear_down(void **state)
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

static inline void on_done(struct log_commit *c)
{
	struct request *r = (struct request *)c;

	r->f->done++;
}

static inline void enter(struct fixture *f, struct request *r)
{
	r->f = f;
	r->commit.records = r->records;
	r->commit.port = f->port;
	r->commit.on_done = on_done;
	assert_int_equal(log_world_enter(f->log, &r->commit), 0);
}

/* Until so many are done. A log by steps only commits: the mover's are the test's. */
static inline void wait_done(struct fixture *f, uint32_t count)
{
	while (f->done < count) {
		if (!f->options.steps) {
			pump(f);
			continue;
		}
		assert_true(log_step(f->log, LOG_STEP_COMMIT) > 0);
		log_port_run(f->port);
	}
}

/* Enters it, and waits for it alone. */
static inline void enter_and_wait(struct fixture *f, struct request *r)
{
	f->done = 0;
	enter(f, r);
	wait_done(f, 1);
}

/* Enters `count` commits of one record each, value "n", and waits for all. By steps they are one batch. */
static inline void append(struct fixture *f, struct partition *p, uint32_t from, uint32_t count)
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
	wait_done(f, count);
	for (uint32_t i = 0; i < count; i++)
		assert_int_equal(all[i].records[0].offset, from + i);
	free(all);
}

/* Reads everything and checks that offsets are without gap and values are their offsets. */
static inline int64_t check_all(struct partition *p, int64_t from)
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

/* Copies the directory as a kill would leave it, and opens the copy. */
static inline void copy_dir(const struct fixture *f, struct fixture *copy)
{
	char command[4 * TEST_DIR_BYTES];

	*copy = *f;
	(void)snprintf(copy->dir, sizeof(copy->dir), "%.100s-copy", f->dir);
	(void)snprintf(command, sizeof(command), "rm -rf %s; cp -a --sparse=never %s %s", copy->dir, f->dir,
		       copy->dir);
	assert_int_equal(system(command), 0);
}

static inline void remove_copy(const struct fixture *copy)
{
	(void)test_dir_remove(copy->dir);
}

/* The file of the one partition that begins with this offset. */
static inline void segment_file(const struct fixture *f, int64_t base, char *path, size_t size)
{
	(void)snprintf(path, size, "%s/topics/01000000-0000-0000-0000-000000000000/0/%020lld.log", f->dir,
		       (long long)base);
}

static inline void flip(const char *path, off_t at)
{
	flip_in_file(path, at, 1);
}

/* Batches of eight, at 1000 and on in steps of a millisecond, the next batch step_ms behind. */
static inline void append_eights(struct fixture *f, struct partition *p, uint32_t count, int64_t step_ms)
{
	for (int64_t i = 0; i < count; i++) {
		struct request r = {0};
		for (int64_t k = 0; k < 8; k++)
			r.records[k] = (struct log_record){.partition = p,
							   .timestamp_ms = 1000 + i * step_ms + k,
							   .value = SLICE_LIT("x")};
		r.commit.record_count = 8;
		enter_and_wait(f, &r);
	}
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

/* ---- by steps ---- */

static inline void move_all(struct fixture *f)
{
	while (log_step(f->log, LOG_STEP_MOVE) > 0)
		;
}

static inline void append_in_steps(struct fixture *f, struct partition *p, uint32_t from)
{
	append(f, p, from, 1);
	move_all(f);
}

/* Of an open file; in room that the next call uses again. */
static inline const char *path_of_fd(int fd)
{
	static _Thread_local char path[512];
	char link[64];
	ssize_t n;

	(void)snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	n = readlink(link, path, sizeof(path) - 1);
	path[n < 0 ? 0 : n] = '\0';
	return path;
}

#endif
