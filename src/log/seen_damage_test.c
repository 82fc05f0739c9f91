/* SPDX-License-Identifier: Apache-2.0 */
/* Runs that are damaged or left over, and what fails on the way. */
#include "base/flip_test.h"
#include "base/mem.h"
#include "log/seen_world_test.h"

static void leftovers_of_a_crash_are_removed(void **state)
{
	struct fixture *f = *state;
	char path[600];
	FILE *file;

	remember(f, 1, f->soon, 1);
	checkpoint(f, 1);
	seen_close(f->seen);
	assert_int_equal(files_ending(f, ".run"), 1);
	(void)snprintf(path, sizeof(path), "%s.tmp", found_path);
	file = fopen(path, "w");
	assert_non_null(file);
	(void)fputs("half a run", file);
	(void)fclose(file);
	(void)snprintf(path, sizeof(path), "%s/123456", f->dir);
	assert_int_equal(mkdir(path, 0700), 0);
	(void)snprintf(path, sizeof(path), "%s/notes", f->dir);
	assert_int_equal(mkdir(path, 0700), 0);
	open_seen(f);
	assert_int_equal(files_ending(f, ".tmp"), 0);
	assert_int_equal(access(path, F_OK), 0); /* not weir's: left alone */
	(void)snprintf(path, sizeof(path), "%s/123456", f->dir);
	assert_int_not_equal(access(path, F_OK), 0);
	expect_remembered(f, 1);
}

static void damage_is_named_and_never_a_wrong_answer(void **state)
{
	struct fixture *f = *state;
	/* Somewhere in the header, the entries, the filter, the fences. */
	static const struct {
		long at;
		bool at_open;
	} places[] = {
		{20, true},           {39, true}, /* 116 keys in place of 100: so many would fit as well */
		{4096 + 1000, false}, {3 * 4096 + 3, true}, {4 * 4096 + 1, true},
	};
	struct fault fault;
	struct seen_claim claim;
	struct seen_key k;
	char path[512];

	for (uint64_t i = 0; i < 100; i++)
		remember(f, i, f->soon, 1);
	checkpoint(f, 1);
	assert_int_equal(files_ending(f, ".run"), 1);
	(void)snprintf(path, sizeof(path), "%s", found_path);
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		int err;

		seen_close(f->seen);
		f->seen = NULL;
		flip_in_file(path, places[i].at, 0x10);
		memset(&fault, 0, sizeof(fault));
		err = seen_open(&f->options, &f->seen, &fault);
		if (places[i].at_open) {
			assert_int_equal(err, ERR_CORRUPT);
			assert_non_null(strstr(fault.text, path));
		} else {
			uint32_t damaged = 0;

			assert_int_equal(err, 0);
			for (uint64_t j = 0; j < 100; j++) {
				k = key_of(f, j, now() + DAY);
				if (seen_claim(f->seen, &k, now(), &claim, NULL, NULL) == SEEN_DUPLICATE)
					continue; /* on the other page */
				assert_int_equal(seen_read(f->seen, &k, now(), &claim, NULL, NULL),
						 ERR_CORRUPT);
				damaged++;
			}
			assert_int_equal(damaged, 85);
			seen_fault(f->seen, &fault);
			assert_non_null(strstr(fault.text, path));
		}
		flip_in_file(path, places[i].at, 0x10);
		if (err)
			open_seen(f);
	}
	for (uint64_t i = 0; i < 100; i++)
		expect_remembered(f, i);
}

static void a_run_without_its_secret_is_refused(void **state)
{
	struct fixture *f = *state;
	struct fault fault;

	remember(f, 1, f->soon, 1);
	checkpoint(f, 1);
	seen_close(f->seen);
	f->seen = NULL;
	assert_int_equal(files_ending(f, "secret"), 1);
	flip_in_file(found_path, 12, 0x10);
	assert_int_equal(seen_open(&f->options, &f->seen, &fault), ERR_CORRUPT);
	assert_int_equal(unlink(found_path), 0);
	assert_int_equal(seen_open(&f->options, &f->seen, &fault), ERR_CORRUPT);
	assert_non_null(strstr(fault.text, "secret"));
}

static void a_damaged_run_is_left_out_of_merges(void **state)
{
	struct fixture *f = *state;
	struct fault fault;

	for (uint64_t i = 0; i < 4; i++) {
		remember(f, i, f->soon, i);
		checkpoint(f, i);
	}
	assert_int_equal(files_ending(f, ".run"), 4);
	flip_in_file(found_path, 4096 + 20, 0x10);
	while (seen_step(f->seen, now(), &fault) > 0)
		;
	assert_int_equal(fault.err, ERR_CORRUPT);
	assert_non_null(strstr(fault.text, found_path));
	step_until_idle(f, now());
	assert_int_equal(files_ending(f, ".tmp"), 0);
	flip_in_file(found_path, 4096 + 20, 0x10);
	for (uint64_t i = 0; i < 4; i++)
		expect_remembered(f, i);
}

static int failing_fsync(void *self, int fd)
{
	(void)self;
	(void)fd;
	return -EIO;
}

static void a_checkpoint_that_fails_changes_nothing(void **state)
{
	struct fixture *f = *state;
	struct fault fault;

	for (uint64_t i = 0; i < 100; i++)
		remember(f, i, f->soon, 1);
	f->ops.fsync = failing_fsync;
	assert_int_equal(seen_checkpoint(f->seen, 1, &fault), ERR_IO);
	assert_int_equal(files_ending(f, ".tmp"), 0);
	f->ops.fsync = sys_kernel()->ops->fsync;
	assert_int_equal(stats(f).keys_table, 100);
	assert_int_equal(stats(f).runs, 0);
	for (uint64_t n = 1;; n++) {
		mem_fail_at(n);
		int err = seen_checkpoint(f->seen, 1, &fault);

		mem_fail_at(0);
		if (err == 0)
			break;
		assert_int_equal(err, ERR_NOMEM);
		assert_int_equal(files_ending(f, ".run") + files_ending(f, ".tmp"), 0);
		for (uint64_t i = 0; i < 100; i++)
			expect_remembered(f, i);
	}
	assert_int_equal(stats(f).keys_table, 0);
	reopen(f);
	for (uint64_t i = 0; i < 100; i++)
		expect_remembered(f, i);
}

static void opening_without_memory_fails_clean(void **state)
{
	struct fixture *f = *state;
	struct fault fault;

	remember(f, 1, f->soon, 1);
	checkpoint(f, 1);
	seen_close(f->seen);
	f->seen = NULL;
	for (uint64_t n = 1;; n++) {
		mem_fail_at(n);
		int err = seen_open(&f->options, &f->seen, &fault);

		mem_fail_at(0);
		if (err == 0)
			break;
		assert_int_equal(err, ERR_NOMEM);
	}
	expect_remembered(f, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(leftovers_of_a_crash_are_removed),        TEST(damage_is_named_and_never_a_wrong_answer),
		TEST(a_run_without_its_secret_is_refused),     TEST(a_damaged_run_is_left_out_of_merges),
		TEST(a_checkpoint_that_fails_changes_nothing), TEST(opening_without_memory_fails_clean),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
