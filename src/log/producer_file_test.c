/* SPDX-License-Identifier: Apache-2.0 */
/* What is known of producers over a restart: the file of a checkpoint, made, damaged, verified and backed up. */
#include <errno.h>
#include <glob.h>
#include <unistd.h>

#include "log/backup.h"
#include "log/producer_table.h"
#include "log/producers_world_test.h"
#include "log/verify.h"

/* The one file that there is: its path, or "" */
static void find_file(struct fixture *f, char *path, size_t size)
{
	char pattern[TEST_DIR_BYTES + 40];
	glob_t found = {0};

	(void)snprintf(pattern, sizeof(pattern), "%s/PRODUCERS.*", f->dir);
	path[0] = '\0';
	if (glob(pattern, 0, NULL, &found) == 0) {
		assert_int_equal(found.gl_pathc, 1);
		(void)snprintf(path, size, "%s", found.gl_pathv[0]);
	}
	globfree(&found);
}

static void a_checkpoint_takes_along_what_is_known_in_one_file(void **state)
{
	struct fixture *f = *state;
	char first[TEST_DIR_BYTES + 60], second[TEST_DIR_BYTES + 60];

	(void)put(f, (struct wanted){.id = -1, .epoch = -1, .sequence = -1});
	restart(f);
	find_file(f, first, sizeof(first));
	assert_string_equal(first, ""); /* who has no such producers has no such file */
	(void)put(f, (struct wanted){.id = 1});
	restart(f);
	find_file(f, first, sizeof(first));
	assert_string_not_equal(first, "");
	(void)put(f, (struct wanted){.id = -1, .epoch = -1, .sequence = -1});
	restart(f);
	find_file(f, second, sizeof(second));
	assert_string_equal(first, second); /* nothing came that it would have to hold */
	(void)put(f, (struct wanted){.id = 1, .sequence = 1});
	restart(f);
	find_file(f, second, sizeof(second));
	assert_string_not_equal(first, second);
	assert_int_equal(offset_of(f, (struct wanted){.id = 1}), 1);
	assert_int_equal(offset_of(f, (struct wanted){.id = 1, .sequence = 1}), 3);
}

/* What entered between the look at the last durable group and the look at the partition is in both. */
static void a_batch_is_not_counted_twice_by_checkpoint_and_journal(void **state)
{
	struct fixture *f = *state;
	struct fault fault = {0};

	for (int32_t i = 0; i < 3; i++)
		(void)put(f, (struct wanted){.id = 1, .sequence = i});
	assert_int_equal(log_checkpoint(f->log, &fault), 0);
	(void)put(f, in_txn(2, 0));
	for (int32_t i = 3; i < 6; i++)
		(void)put(f, (struct wanted){.id = 1, .sequence = i});
	(void)mark(f, 2, 0, false);
	crash(f);
	crash(f);
	for (int32_t i = 1; i < 3; i++)
		assert_int_equal(offset_of(f, (struct wanted){.id = 1, .sequence = i}), i);
	for (int32_t i = 3; i < 6; i++)
		assert_int_equal(offset_of(f, (struct wanted){.id = 1, .sequence = i}), i + 1);
	assert_int_equal(partition_aborted(f->p, 0, 100, NULL, 0), 1);
	assert_int_equal(stable(f), 8);
}

/* A group that became durable while the checkpoint was being made is in the file and in the journal. */
static void what_the_file_has_is_not_taken_from_the_journal_again(void **state)
{
	static const struct hash_key key = {1, 2};
	struct producer_counts counts = {0};
	struct producer_table table;
	uint8_t bytes[BATCH_BYTES];
	struct batch_head head;
	struct slice batch;

	(void)state;
	producer_table_init(&table, &counts, &key);
	table.from = 11;
	batch = slice_make(bytes, make_batch(bytes, &(struct wanted){.id = 3, .transactional = true}));
	for (int64_t at = 10; at < 12; at++) {
		batch_place(bytes, at);
		assert_int_equal(batch_head_read(batch, &head), 0);
		assert_int_equal(producer_table_apply(&table, &head, batch, 1), 0);
		assert_int_equal(table.count, at == 11);
	}
	assert_int_equal(table.open_first->state.open_offset, 11);
	assert_int_equal(table.open_first->state.batch_count, 1);
	producer_table_fini(&table);
}

static void damage(const char *path, bool remove)
{
	FILE *file = remove ? NULL : fopen(path, "r+b");

	if (remove) {
		assert_int_equal(unlink(path), 0);
		return;
	}
	assert_non_null(file);
	assert_int_equal(fseek(file, 40, SEEK_SET), 0);
	assert_int_equal(fputc(0x55, file), 0x55);
	assert_int_equal(fclose(file), 0);
}

static void a_file_that_is_gone_or_broken_is_made_anew_from_the_segments(void **state)
{
	struct fixture *f = *state;
	char path[TEST_DIR_BYTES + 60];

	for (int32_t i = 0; i < 7; i++)
		(void)put(f, (struct wanted){.id = 1, .sequence = i});
	(void)put(f, in_txn(2, 0));
	(void)mark(f, 2, 0, false);
	(void)put(f, in_txn(3, 0));
	for (int round = 0; round < 2; round++) {
		stop(f);
		find_file(f, path, sizeof(path));
		damage(path, round);
		open_log(f);
		assert_int_equal(verdict_of(f, (struct wanted){.id = 1, .sequence = 1}),
				 PRODUCER_OUT_OF_ORDER);
		for (int32_t i = 2; i < 7; i++)
			assert_int_equal(offset_of(f, (struct wanted){.id = 1, .sequence = i}), i);
		assert_int_equal(partition_aborted(f->p, 0, 100, NULL, 0), 1);
		assert_int_equal(stable(f), 9);
	}
	restart(f);
	find_file(f, path, sizeof(path));
	assert_string_not_equal(path, "");
	assert_int_equal(stable(f), 9);
}

/* ---- a disk whose n-th read of a segment fails ---- */

#define FDS 1024

static struct {
	bool is_segment[FDS];
	uint32_t reads, fail_at;
} disk;

static int open_noted(void *self, const char *path, int flags)
{
	int fd = sys_kernel()->ops->open(self, path, flags);
	size_t n = strlen(path);

	if (fd >= 0) {
		assert_true(fd < FDS);
		disk.is_segment[fd] = n > 4 && strcmp(path + n - 4, ".log") == 0;
	}
	return fd;
}

static int64_t read_or_fail(void *self, int fd, void *bytes, size_t n, uint64_t at)
{
	if (disk.is_segment[fd] && ++disk.reads == disk.fail_at)
		return -EIO;
	return sys_kernel()->ops->pread(self, fd, bytes, n, at);
}

/* Half of it known would be a repeat stored twice, and a transaction that never ends. */
static void what_cannot_be_read_while_it_is_made_anew_is_not_passed_over(void **state)
{
	static struct sys_ops ops;
	static struct sys sys;
	struct fixture *f = *state;
	char path[TEST_DIR_BYTES + 60];
	uint32_t refused = 0;

	ops = *sys_kernel()->ops;
	sys = (struct sys){.ops = &ops, .self = sys_kernel()->self};
	ops.open = open_noted;
	ops.pread = read_or_fail;
	(void)put(f, in_txn(2, 0));
	(void)put(f, (struct wanted){.id = 1});
	stop(f);
	f->options.sys = &sys;
	for (disk.fail_at = 1, disk.reads = 1; disk.reads >= disk.fail_at; disk.fail_at++) {
		find_file(f, path, sizeof(path));
		if (path[0])
			damage(path, true);
		disk.reads = 0;
		if (log_open(&f->options, &f->log, NULL)) {
			f->log = NULL;
			refused++;
			continue;
		}
		begin_log(f);
		assert_int_equal(offset_of(f, (struct wanted){.id = 1}), 1);
		assert_int_equal(stable(f), 0);
		log_close(f->log);
		f->log = NULL;
	}
	assert_true(refused > 0);
}

static void on_fault(void *ctx, const struct verify_fault *fault)
{
	uint32_t *named = ctx;

	if (!fault->harmless && strstr(fault->file, "PRODUCERS."))
		(*named)++;
}

static struct verify_result verify(struct fixture *f, bool repair, uint32_t *named)
{
	struct verify_options o = {
		.sys = sys_kernel(), .dir = f->dir, .repair = repair, .on_fault = on_fault, .ctx = named};
	struct verify_result result;
	struct fault fault = {0};

	*named = 0;
	if (log_verify(&o, &result, &fault))
		fail_msg("%s", fault.text);
	return result;
}

static void verify_names_the_file_and_repair_has_it_made_anew(void **state)
{
	struct fixture *f = *state;
	struct verify_result result;
	char path[TEST_DIR_BYTES + 60];
	uint32_t named;

	(void)put(f, in_txn(2, 0));
	(void)mark(f, 2, 0, false);
	(void)put(f, (struct wanted){.id = 1, .sequence = 4});
	stop(f);
	assert_int_equal(verify(f, false, &named).faults, 0);
	find_file(f, path, sizeof(path));
	damage(path, false);
	result = verify(f, false, &named);
	assert_int_equal(result.faults, 1);
	assert_int_equal(named, 1);
	result = verify(f, true, &named);
	assert_int_equal(named, 1);
	assert_int_equal(result.mended, 1);
	assert_int_equal(verify(f, false, &named).faults, 0);
	open_log(f);
	assert_int_equal(offset_of(f, (struct wanted){.id = 1, .sequence = 4}), 2);
	assert_int_equal(partition_aborted(f->p, 0, 100, NULL, 0), 1);
	restart(f);
	assert_int_equal(partition_aborted(f->p, 0, 100, NULL, 0), 1);
}

static void a_backup_takes_the_file_along(void **state)
{
	struct fixture *f = *state;
	char backup[TEST_DIR_BYTES + 20], restored[TEST_DIR_BYTES + 20], was[TEST_DIR_BYTES];
	struct backup_options o = {.sys = sys_kernel(), .data = f->dir, .dir = backup};
	struct backup_result result;
	struct fault fault = {0};

	(void)snprintf(backup, sizeof(backup), "%s/backup", f->dir);
	(void)snprintf(restored, sizeof(restored), "%s/restored", f->dir);
	(void)put(f, (struct wanted){.id = 1, .sequence = 4});
	(void)put(f, in_txn(2, 0));
	stop(f);
	if (backup_offline(&o, &result, &fault))
		fail_msg("%s", fault.text);
	o.data = restored;
	if (backup_restore(&o, &result, &fault))
		fail_msg("%s", fault.text);
	memcpy(was, f->dir, sizeof(was));
	memcpy(f->dir, restored, sizeof(f->dir));
	open_log(f);
	find_file(f, restored, sizeof(restored));
	assert_string_not_equal(restored, "");
	assert_int_equal(offset_of(f, (struct wanted){.id = 1, .sequence = 4}), 0);
	assert_int_equal(stable(f), 1);
	stop(f);
	memcpy(f->dir, was, sizeof(was));
	open_log(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_checkpoint_takes_along_what_is_known_in_one_file),
		TEST(a_batch_is_not_counted_twice_by_checkpoint_and_journal),
		cmocka_unit_test(what_the_file_has_is_not_taken_from_the_journal_again),
		TEST(a_file_that_is_gone_or_broken_is_made_anew_from_the_segments),
		TEST(what_cannot_be_read_while_it_is_made_anew_is_not_passed_over),
		TEST(verify_names_the_file_and_repair_has_it_made_anew),
		TEST(a_backup_takes_the_file_along),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
