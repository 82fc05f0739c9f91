/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "log/format.h"
#include "log/journal.h"
#include "sys/test_dir.h"

/*
 * Somebody sends records that are made of groups: heads of a generation and a
 * sequence to come, with a right checksum, on each 4 KiB boundary. All that he
 * cannot know is the key.
 */
#define FILE_BYTES (1u << 20)
#define BLOCKS 100u
#define GROUP_BYTES (FRAME_ALIGN * BLOCKS)

struct fixture {
	char dir[TEST_DIR_BYTES];
	struct journal_options options;
	struct journal *journal;
	uint8_t *group;
	uint64_t sequence;
	uint64_t found[64]; /* sequences that a scan gave */
	uint32_t count, forged;
};

static int note_group(void *ctx, const struct frame_head *head, struct slice frame)
{
	struct fixture *f = ctx;

	assert_true(f->count < 64);
	f->found[f->count++] = head->sequence;
	f->forged += frame.len == FRAME_HEAD_BYTES; /* none that is written here is so short */
	return 0;
}

/* A forged group in each block but the first, as if it stood in the file `generation`. */
static void fill_with_forgeries(uint8_t *group, uint64_t generation, uint64_t sequence)
{
	memset(group, 'x', GROUP_BYTES);
	for (uint32_t i = 1; i < BLOCKS; i++) {
		struct frame_head head = {.generation = generation,
					  .sequence = sequence,
					  .durable = sequence - 1,
					  .bytes = FRAME_HEAD_BYTES,
					  .tag = (uint64_t)rand()};
		frame_seal(group + (size_t)i * FRAME_ALIGN, &head);
	}
}

static void append(struct fixture *f, uint32_t bytes)
{
	struct frame_head head = {.sequence = ++f->sequence, .bytes = bytes};
	struct fault fault = {0};

	if (journal_append(f->journal, f->group, GROUP_BYTES, &head, &fault) ||
	    journal_sync(f->journal, &fault))
		fail_msg("%s", fault.text);
}

/* Nothing where it is closed: a test may have given up in between. */
static void close_journal(struct fixture *f)
{
	if (f->journal)
		journal_close(f->journal);
	f->journal = NULL;
}

static void open_journal(struct fixture *f)
{
	struct fault fault = {0};

	if (journal_open(&f->options, &f->journal, &fault))
		fail_msg("%s", fault.text);
}

static int scan(struct fixture *f, uint64_t after, struct journal_scan *out, struct fault *fault)
{
	f->count = f->forged = 0;
	*fault = (struct fault){0};
	return journal_scan(f->journal, after, note_group, f, out, fault);
}

static int set_up(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));
	struct journal_scan out = {0};
	struct fault fault = {0};

	if (!test_dir_make(f->dir, "journal-test"))
		return -1;
	f->options = (struct journal_options){.sys = sys_kernel(),
					      .dir = f->dir,
					      .file_bytes = FILE_BYTES,
					      .bytes_max = 4 * FILE_BYTES,
					      .key = {.k0 = 0x1234567890abcdef, .k1 = 0xfedcba0987654321}};
	f->group = calloc(1, GROUP_BYTES);
	open_journal(f);
	assert_int_equal(scan(f, 0, &out, &fault), 0);
	assert_int_equal(journal_begin(f->journal, slice_null(), &fault), 0);
	*state = f;
	return 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	close_journal(f);
	(void)test_dir_remove(f->dir);
	free(f->group);
	free(f);
	return 0;
}

/* Overwrites bytes of the file of that generation. */
static void damage(const struct fixture *f, uint64_t generation, off_t at, const void *bytes, size_t n)
{
	char path[2 * TEST_DIR_BYTES];
	int fd;

	(void)snprintf(path, sizeof(path), "%s/%016llx.wal", f->dir, (unsigned long long)generation);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, bytes, n, at), n);
	(void)close(fd);
}

static void what_a_used_again_file_held_is_not_taken_for_groups(void **state)
{
	struct fixture *f = *state;
	struct journal_scan out = {0};
	struct fault fault;

	/* Two files full of groups of generation 3, with the sequence that will be the fifth. */
	fill_with_forgeries(f->group, 3, 6);
	for (int i = 0; i < 4; i++)
		append(f, GROUP_BYTES);
	journal_recycle(f->journal, f->sequence);
	assert_true(journal_prepare(f->journal, &fault) >= 0);
	memset(f->group, 'y', GROUP_BYTES);
	append(f,
	       GROUP_BYTES -
		       FRAME_ALIGN); /* the fifth, in file 1, which is generation 3 now: a block behind it stands the sixth */
	close_journal(f);
	open_journal(f);
	assert_int_equal(scan(f, 4, &out, &fault), 0);
	assert_int_equal(f->count, 1);
	assert_int_equal(f->found[0], 5);
	assert_int_equal(f->forged, 0);
}

static void a_torn_group_that_holds_groups_is_torn_and_no_damage(void **state)
{
	struct fixture *f = *state;
	struct journal_scan out = {0};
	struct fault fault;
	uint8_t zeros[512] = {0};

	append(f, FRAME_HEAD_BYTES + 100);
	fill_with_forgeries(f->group, 1, 3);
	append(f, GROUP_BYTES);
	/* All of it reached the disk but one sector: within, and where the head is. */
	for (off_t at = 8192; at >= 4096; at -= 4096) {
		damage(f, 1, at + 1024 * (at == 8192), zeros, sizeof(zeros));
		close_journal(f);
		open_journal(f);
		if (scan(f, 0, &out, &fault))
			fail_msg("refused: %s", fault.text);
		assert_int_equal(f->count, 1);
		assert_int_equal(f->forged, 0);
	}
}

static void groups_of_another_key_are_refused_and_not_lost(void **state)
{
	struct fixture *f = *state;
	struct journal_scan out = {0};
	struct fault fault;

	append(f, FRAME_HEAD_BYTES + 100);
	close_journal(f);
	f->options.key.k0++;
	open_journal(f);
	assert_int_equal(scan(f, 0, &out, &fault), ERR_CORRUPT);
	assert_non_null(strstr(fault.text, "FORMAT"));
}

static void files_of_version_1_are_read_without_tags_and_later_ones_are_not(void **state)
{
	struct fixture *f = *state;
	struct journal_scan out = {0};
	struct fault fault;

	append(f, FRAME_HEAD_BYTES + 100);
	close_journal(f);
	f->options.key.k0++;
	f->options.unmarked_to = UINT64_MAX;
	open_journal(f);
	assert_int_equal(journal_unmarked_to(f->journal), 1);
	assert_int_equal(scan(f, 0, &out, &fault), 0);
	assert_int_equal(f->count, 1);
	assert_int_equal(journal_begin(f->journal, slice_null(), &fault), 0); /* generation 2 */
	append(f, FRAME_HEAD_BYTES + 100);
	close_journal(f);
	f->options.unmarked_to = 1;
	open_journal(f);
	assert_int_equal(scan(f, 0, &out, &fault), 0);
	assert_int_equal(f->count, 2);
	close_journal(f);
	f->options.key.k0++;
	open_journal(f);
	assert_int_equal(scan(f, 0, &out, &fault), ERR_CORRUPT);
}

/* The last group is written again by the next start: then both copies are hit, and one follows. */
static void each_place_where_a_missing_group_may_have_stood_is_named(void **state)
{
	struct fixture *f = *state;
	struct journal_scan out = {0};
	struct fault fault;
	struct slice last = slice_make(f->group, FRAME_HEAD_BYTES + 100);

	append(f, FRAME_HEAD_BYTES + 100);
	append(f, FRAME_HEAD_BYTES + 100);
	close_journal(f);
	open_journal(f);
	assert_int_equal(scan(f, 0, &out, &fault), 0);
	assert_int_equal(journal_begin(f->journal, last, &fault), 0); /* generation 2 */
	close_journal(f);
	open_journal(f);
	assert_int_equal(scan(f, 0, &out, &fault), 0);
	assert_int_equal(journal_begin(f->journal, slice_null(), &fault), 0); /* 3 */
	append(f, FRAME_HEAD_BYTES + 100);
	close_journal(f);
	f->journal = NULL;
	damage(f, 1, 4096 + FRAME_HEAD_BYTES + 5, "x", 1);
	damage(f, 2, FRAME_HEAD_BYTES + 5, "x", 1);
	open_journal(f);
	assert_int_equal(scan(f, 0, &out, &fault), ERR_CORRUPT);
	assert_non_null(strstr(fault.text, "0000000000000003.wal: group 3"));
	assert_non_null(strstr(fault.text, "0000000000000001.wal at byte 4096"));
	assert_non_null(strstr(fault.text, "0000000000000002.wal at byte 0"));
}

static int64_t third_group_cannot_be_read(void *self, int fd, void *bytes, size_t n, uint64_t at)
{
	return at == 8192 && n > FRAME_HEAD_BYTES ? -EIO : sys_kernel()->ops->pread(self, fd, bytes, n, at);
}

/* What cannot be read may be the proof: nothing is cut off. */
static void a_later_group_that_cannot_be_read_is_not_taken_for_none(void **state)
{
	struct fixture *f = *state;
	struct journal_scan out = {0};
	struct fault fault;
	static struct sys_ops ops; /* the journal is closed later */
	static struct sys sys;

	for (int i = 0; i < 3; i++)
		append(f, FRAME_HEAD_BYTES + 100);
	close_journal(f);
	damage(f, 1, 4096 + FRAME_HEAD_BYTES + 5, "x", 1);
	ops = *sys_kernel()->ops;
	sys = (struct sys){.ops = &ops, .self = sys_kernel()->self};
	f->options.sys = &sys;
	open_journal(f);
	assert_int_equal(scan(f, 0, &out, &fault), ERR_CORRUPT);
	assert_non_null(strstr(fault.text, "a later one at byte 8192"));
	ops.pread = third_group_cannot_be_read;
	assert_int_equal(scan(f, 0, &out, &fault), ERR_IO);
}

static uint32_t reads, failing_read;

static int64_t read_or_fail(void *self, int fd, void *bytes, size_t n, uint64_t at)
{
	return ++reads == failing_read ? -EIO : sys_kernel()->ops->pread(self, fd, bytes, n, at);
}

/* Neither of a head nor of what stands behind the first page: it would be cut off as a torn write. */
static void a_read_that_fails_is_never_the_end_of_the_journal(void **state)
{
	struct fixture *f = *state;
	struct journal_scan out = {0};
	struct fault fault;
	static struct sys_ops ops; /* the journal is closed later */
	static struct sys sys;

	for (int i = 0; i < 3; i++)
		append(f, 3 * FRAME_ALIGN);
	close_journal(f);
	ops = *sys_kernel()->ops;
	ops.pread = read_or_fail;
	sys = (struct sys){.ops = &ops, .self = sys_kernel()->self};
	f->options.sys = &sys;
	open_journal(f);
	reads = failing_read = 0;
	assert_int_equal(scan(f, 0, &out, &fault), 0);
	assert_int_equal(f->count, 3);
	assert_true(reads >= 6);
	for (uint32_t n = reads; n > 0; n--) {
		reads = 0;
		failing_read = n;
		assert_int_equal(scan(f, 0, &out, &fault), ERR_IO);
	}
}

static uint64_t written_at;
static uint32_t writes;

static int nothing_can_be_made(void *self, const char *path, int flags)
{
	return flags & SYS_CREATE ? -ENOSPC : sys_kernel()->ops->open(self, path, flags);
}

static int note_write(void *self, int fd, const struct iovec *iov, int count, uint64_t at)
{
	written_at = at;
	writes++;
	return sys_kernel()->ops->pwritev(self, fd, iov, count, at);
}

/* The sync of the copy may have failed, and the kernel takes its page for clean then. */
static void on_a_full_disk_a_copy_of_the_last_group_is_settled_too(void **state)
{
	struct fixture *f = *state;
	struct journal_scan out = {0};
	struct fault fault;
	struct slice last = slice_make(f->group, FRAME_HEAD_BYTES + 100);
	static struct sys_ops ops; /* the journal is closed later */
	static struct sys sys;

	ops = *sys_kernel()->ops;
	sys = (struct sys){.ops = &ops, .self = sys_kernel()->self};
	append(f, FRAME_HEAD_BYTES + 100);
	append(f, FRAME_HEAD_BYTES + 100);
	close_journal(f);
	open_journal(f);
	assert_int_equal(scan(f, 0, &out, &fault), 0);
	assert_int_equal(journal_begin(f->journal, last, &fault), 0); /* generation 2 */
	close_journal(f);
	ops.open = nothing_can_be_made;
	ops.pwritev = note_write;
	f->options.sys = &sys;
	open_journal(f);
	assert_int_equal(scan(f, 0, &out, &fault), 0);
	writes = 0;
	assert_int_equal(journal_begin(f->journal, last, &fault), 0); /* the group of generation 1 */
	assert_int_equal(writes, 1);
	assert_int_equal(written_at, 0);
	append(f, FRAME_HEAD_BYTES + 100);
	assert_int_equal(written_at, 4096);
	close_journal(f);
	open_journal(f);
	assert_int_equal(scan(f, 0, &out, &fault), 0);
	assert_int_equal(f->count, 3);
}

static void a_format_comes_back_as_it_was_and_a_flipped_bit_is_told(void **state)
{
	struct fixture *f = *state;
	struct format out,
		in = {.version = 2, .journal_key = {.k0 = 7, .k1 = UINT64_MAX}, .unmarked_to = 0x1f};
	struct fault fault = {0};
	char path[2 * TEST_DIR_BYTES], text[128];
	ssize_t n;
	int fd;

	assert_int_equal(format_read(sys_kernel(), f->dir, &out, &fault), 0);
	assert_int_equal(out.version, 0);
	assert_int_equal(format_write(sys_kernel(), f->dir, &in), 0);
	assert_int_equal(format_read(sys_kernel(), f->dir, &out, &fault), 0);
	assert_int_equal(out.version, 2);
	assert_memory_equal(&out.journal_key, &in.journal_key, sizeof(in.journal_key));
	assert_int_equal(out.unmarked_to, in.unmarked_to);
	(void)snprintf(path, sizeof(path), "%s/FORMAT", f->dir);
	fd = open(path, O_RDWR | O_CLOEXEC);
	n = pread(fd, text, sizeof(text), 0);
	assert_true(n > 60);
	for (ssize_t at = 0; at < n; at++) {
		for (int bit = 0; bit < 8; bit++) {
			char other = (char)(text[at] ^ (1 << bit));
			int rc;
			assert_int_equal(pwrite(fd, &other, 1, at), 1);
			rc = format_read(sys_kernel(), f->dir, &out, &fault);
			assert_true(rc == ERR_CORRUPT || rc == ERR_BAD_VERSION);
		}
		assert_int_equal(pwrite(fd, text + at, 1, at), 1);
	}
	for (ssize_t left = n - 1; left > 0; left--) {
		assert_int_equal(ftruncate(fd, left), 0);
		assert_int_not_equal(format_read(sys_kernel(), f->dir, &out, &fault), 0);
	}
	(void)close(fd);
}

static struct {
	bool direct;
	uint32_t direct_writes, cached_writes;
} watched;

static int watch_flag(void *self, int fd, bool on)
{
	int rc = sys_kernel()->ops->set_direct(self, fd, on);

	watched.direct = rc == 0 && on;
	return rc;
}

static int watch_write(void *self, int fd, const struct iovec *iov, int count, uint64_t at)
{
	if (watched.direct)
		watched.direct_writes++;
	else
		watched.cached_writes++;
	return sys_kernel()->ops->pwritev(self, fd, iov, count, at);
}

/* The same group, out of any memory and out of pages: the file holds the same, and zeros behind it. */
static void a_large_group_in_pages_is_written_past_the_cache_as_it_stands(void **state)
{
	static struct sys_ops ops;
	struct fixture *f = *state;
	struct sys sys = {.ops = &ops, .self = sys_kernel()->self};
	uint8_t *pages = aligned_alloc(FRAME_ALIGN, GROUP_BYTES + FRAME_ALIGN), *apart = f->group;
	uint8_t *got = calloc(1, 2 * GROUP_BYTES), zeros[FRAME_ALIGN] = {0};
	uint32_t bytes = GROUP_BYTES - FRAME_ALIGN - 100;
	struct journal_scan out = {0};
	struct fault fault = {0};
	char path[2 * TEST_DIR_BYTES];
	int fd;

	assert_non_null(pages);
	assert_non_null(got);
	close_journal(f);
	ops = *sys_kernel()->ops;
	ops.set_direct = watch_flag;
	ops.pwritev = watch_write;
	f->options.sys = &sys;
	open_journal(f);
	assert_int_equal(scan(f, 0, &out, &fault), 0);
	assert_int_equal(journal_begin(f->journal, slice_null(), &fault), 0);
	memset(&watched.direct_writes, 0, 2 * sizeof(uint32_t));
	f->group = pages + 64; /* in no allocator's way of placing things */
	memset(f->group, 'z', GROUP_BYTES);
	append(f, bytes);
	assert_int_equal(watched.cached_writes, 1);
	f->group = pages;
	memset(f->group, 'z', GROUP_BYTES);
	append(f, bytes);
	f->group = apart;
	assert_int_equal(watched.direct_writes + watched.cached_writes,
			 2); /* cached: not on this file system */
	(void)snprintf(path, sizeof(path), "%s/%016llx.wal", f->dir, 2ull);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, got, 2 * GROUP_BYTES, 0), 2 * GROUP_BYTES);
	(void)close(fd);
	for (size_t at = 0; at < 2 * (GROUP_BYTES - FRAME_ALIGN); at += GROUP_BYTES - FRAME_ALIGN) {
		struct frame_head head;

		assert_int_equal(frame_check(slice_make(got + at, bytes), &head), 0);
		for (size_t i = FRAME_HEAD_BYTES; i < bytes; i++)
			assert_int_equal(got[at + i], 'z');
		assert_memory_equal(got + at + bytes, zeros, 100);
	}
	free(pages);
	free(got);
	close_journal(f);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_a_used_again_file_held_is_not_taken_for_groups),
		TEST(a_torn_group_that_holds_groups_is_torn_and_no_damage),
		TEST(groups_of_another_key_are_refused_and_not_lost),
		TEST(files_of_version_1_are_read_without_tags_and_later_ones_are_not),
		TEST(each_place_where_a_missing_group_may_have_stood_is_named),
		TEST(a_later_group_that_cannot_be_read_is_not_taken_for_none),
		TEST(a_read_that_fails_is_never_the_end_of_the_journal),
		TEST(on_a_full_disk_a_copy_of_the_last_group_is_settled_too),
		TEST(a_large_group_in_pages_is_written_past_the_cache_as_it_stands),
		TEST(a_format_comes_back_as_it_was_and_a_flipped_bit_is_told),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
