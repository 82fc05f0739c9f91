/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/rand.h"
#include "log/direct.h"
#include "sys/test_dir.h"

/*
 * A kernel whose direct writes are watched: each must be of whole pages at whole
 * pages out of whole pages, and no page may be written both ways by one call.
 */
#define FILE_BYTES (4u << 20)
#define PAGES (FILE_BYTES / DIRECT_ALIGN)

struct fixture {
	char dir[TEST_DIR_BYTES], path[TEST_DIR_BYTES + 16];
	struct sys_ops ops;
	struct sys sys;
	struct files *files;
	struct file_slot plain, past;
	struct direct direct;
	struct rand rand;
	uint8_t *want;
	uint64_t bytes;
};

static struct {
	int fd; /* of the direct handle, -1: none yet */
	int fail, fail_flag;
	uint32_t direct_writes, cached_writes, flags;
	uint8_t ways[PAGES]; /* of one call: 1 past the cache, 2 through it */
} seen;

static int watch_flag(void *self, int fd, bool on)
{
	seen.flags++;
	assert_true(on);
	if (seen.fail_flag)
		return seen.fail_flag;
	seen.fd = fd;
	return sys_kernel()->ops->set_direct(self, fd, on);
}

static int watch_write(void *self, int fd, const struct iovec *iov, int count, uint64_t at)
{
	uint8_t way = fd == seen.fd ? 1 : 2;

	for (int i = 0; i < count; i++) {
		uint64_t end = at + iov[i].iov_len;

		if (way == 1)
			assert_int_equal(((uintptr_t)iov[i].iov_base | iov[i].iov_len | at) % DIRECT_ALIGN,
					 0);
		for (uint64_t page = at / DIRECT_ALIGN; page * DIRECT_ALIGN < end; page++) {
			assert_int_not_equal(seen.ways[page], 3 - way);
			seen.ways[page] = way;
		}
		at = end;
	}
	seen.direct_writes += way == 1;
	seen.cached_writes += way == 2;
	if (way == 1 && seen.fail)
		return seen.fail;
	for (int i = 0; i < count; i++)
		at -= iov[i].iov_len;
	return sys_kernel()->ops->pwritev(self, fd, iov, count, at);
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	int fd;

	if (!f || !test_dir_make(f->dir, "direct-test"))
		return -1;
	(void)snprintf(f->path, sizeof(f->path), "%s/file", f->dir);
	memset(&seen, 0, sizeof(seen));
	seen.fd = -1;
	f->ops = *sys_kernel()->ops;
	f->ops.set_direct = watch_flag;
	f->ops.pwritev = watch_write;
	f->sys = (struct sys){.ops = &f->ops, .self = sys_kernel()->self};
	rand_seed(&f->rand, 7);
	f->want = calloc(1, FILE_BYTES);
	file_slot_init(&f->plain);
	file_slot_init(&f->past);
	if (!f->want || files_new(&f->sys, 4, &f->files))
		return -1;
	fd = f->ops.open(f->sys.self, f->path, SYS_CREATE);
	if (fd < 0)
		return -1;
	f->ops.close(f->sys.self, fd);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	direct_fini(&f->direct);
	files_forget(f->files, &f->plain);
	files_forget(f->files, &f->past);
	files_free(f->files);
	(void)test_dir_remove(f->dir);
	free(f->want);
	free(f);
	return 0;
}

/* Some bytes behind what is there, in pieces of any length. */
static int append(struct fixture *f, uint64_t bytes)
{
	struct iovec iov[8];
	uint64_t at = f->bytes;
	int fd = files_pin(f->files, &f->plain, f->path, 0), rc;

	assert_true(fd >= 0);
	for (uint64_t i = 0; i < bytes; i++)
		f->want[at + i] = (uint8_t)rand_below(&f->rand, 256);
	for (uint32_t i = 0; i < 8; i++) {
		uint64_t some = i == 7 ? bytes : rand_below(&f->rand, bytes + 1);

		iov[i] = (struct iovec){.iov_base = f->want + at, .iov_len = some};
		at += some;
		bytes -= some;
	}
	memset(seen.ways, 0, sizeof(seen.ways));
	rc = direct_write(&f->direct, f->files, &f->past, f->path, fd, iov, 8, f->bytes);
	if (rc == 0)
		f->bytes = at;
	files_unpin(f->files, &f->plain);
	return rc;
}

static void compare(struct fixture *f)
{
	uint8_t *got = calloc(1, FILE_BYTES);
	int fd = files_pin(f->files, &f->plain, f->path, 0);

	assert_int_equal(f->ops.pread(f->sys.self, fd, got, FILE_BYTES, 0), f->bytes);
	assert_memory_equal(got, f->want, f->bytes);
	files_unpin(f->files, &f->plain);
	free(got);
}

static void the_file_holds_what_was_written_wherever_the_pages_end(void **state)
{
	static const uint32_t most[] = {1, 3, 4096, 5000, 8192, 20000, 3u << 18};
	struct fixture *f = *state;
	int rc = 0;

	for (uint32_t i = 0; rc == 0 && f->bytes + (1u << 20) < FILE_BYTES; i++) {
		rc = append(f, 1 + rand_below(&f->rand, most[i % 7]));
		if (i % 16 == 0)
			compare(f);
	}
	if (rc == -EOPNOTSUPP) {
		print_message(
			"%s is on a file system without direct writes: only what it leaves is looked at\n",
			f->dir);
		assert_true(f->direct.refused);
		return;
	}
	assert_int_equal(rc, 0);
	compare(f);
	assert_true(seen.direct_writes > 5 && seen.cached_writes > 5);
}

static void who_refuses_is_asked_once(void **state)
{
	struct fixture *f = *state;

	for (int round = 0; round < 2; round++) {
		seen.fail_flag = round == 0 ? -EINVAL : 0;
		seen.fail = round == 1 ? -EINVAL : 0;
		f->direct.refused = false;
		seen.flags = 0;
		assert_int_equal(append(f, 20000), -EOPNOTSUPP);
		assert_true(f->direct.refused);
		assert_int_equal(append(f, 20000), -EOPNOTSUPP);
		assert_int_equal(seen.flags, 1);
	}
	f->direct.refused = false;
	f->ops.set_direct = NULL;
	assert_int_equal(append(f, 20000), -EOPNOTSUPP);
}

static void a_disk_that_fails_is_told_and_written_over_later(void **state)
{
	struct fixture *f = *state;
	int rc = append(f, 5000);

	if (rc == -EOPNOTSUPP)
		return; /* no such writes here */
	assert_int_equal(rc, 0);
	seen.fail = -ENOSPC;
	assert_int_equal(append(f, 50000), -ENOSPC);
	assert_false(f->direct.refused);
	seen.fail = 0;
	assert_int_equal(append(f, 70000), 0);
	compare(f);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
	const struct CMUnitTest tests[] = {
		TEST(the_file_holds_what_was_written_wherever_the_pages_end),
		TEST(who_refuses_is_asked_once),
		TEST(a_disk_that_fails_is_told_and_written_over_later),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
