/* SPDX-License-Identifier: Apache-2.0 */
/* What a start finds: after a kill, after a clean stop, and where the journal is damaged. */
#include <errno.h>
#include <glob.h>

#include "base/mem.h"
#include "log/format.h"
#include "log/frame.h"
#include "log/log_dir_world_test.h"

static void what_is_answered_is_read_after_a_kill(void **state)
{
	struct fixture *f = *state, copy;
	struct partition *p, *q;

	p = start_one(f);
	append(f, p, 0, 3000);
	assert_int_equal(log_checkpoint(f->log, &(struct fault){0}), 0);
	append(f, p, 3000, 500);
	for (uint32_t round = 0; round < 2; round++) {
		if (round == 0)
			copy_dir(f, &copy);
		q = open_one(&copy);
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
	struct partition *p;
	char path[2 * TEST_DIR_BYTES];

	own_sys(f);
	f->ops.list = count_list;
	f->ops.pread = count_head;
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

static void take_mark(const struct fixture *f, char *text, size_t size)
{
	char path[2 * TEST_DIR_BYTES];
	FILE *file;
	size_t n;

	(void)snprintf(path, sizeof(path), "%s/CLEAN", f->dir);
	file = fopen(path, "r");
	assert_non_null(file);
	n = fread(text, 1, size - 1, file);
	text[n] = '\0';
	(void)fclose(file);
}

static void give_mark(const struct fixture *f, const char *text)
{
	char path[2 * TEST_DIR_BYTES];
	FILE *file;

	(void)snprintf(path, sizeof(path), "%s/CLEAN", f->dir);
	file = fopen(path, "w");
	assert_non_null(file);
	assert_true(fputs(text, file) >= 0);
	(void)fclose(file);
}

/* It was restored, or its removal came to nothing: the checkpoint that it names is still in force. */
static void the_mark_of_an_older_life_hides_no_damage(void **state)
{
	struct fixture *f = *state, copy;
	struct fault fault = {0};
	char mark[128], path[256];
	struct partition *p;

	p = start_one(f);
	append(f, p, 0, 10);
	close_log(f);
	take_mark(f, mark, sizeof(mark));
	p = start_one(f);
	append(f, p, 10, 1);
	append(f, p, 11, 1);
	copy_dir(f, &copy);
	find_journal(&copy, path, sizeof(path));
	flip(path, 100);
	give_mark(&copy, mark);
	copy.options.dir = copy.dir;
	assert_int_equal(log_open(&copy.options, &copy.log, &fault), ERR_CORRUPT);
	assert_non_null(strstr(fault.text, "is damaged"));
	remove_copy(&copy);
	close_log(f);
}

/* What an older weir wrote, one of another generation, of another checkpoint, one that was cut. */
static void a_mark_that_is_not_the_last_stops_to_the_letter_is_not_believed(void **state)
{
	struct fixture *f = *state;
	char mark[128], others[5][160];
	struct partition *p;

	p = start_one(f);
	append(f, p, 0, 10);
	close_log(f);
	own_sys(f);
	f->ops.list = count_list;
	f->ops.pread = count_head;
	for (size_t i = 0; i <= 5; i++) {
		int last;
		take_mark(f, mark, sizeof(mark));
		last = (int)strlen(mark) - 2; /* of the generation's digits */
		(void)snprintf(others[0], sizeof(others[0]), "%.*s\n", (int)strcspn(mark, " "), mark);
		(void)snprintf(others[1], sizeof(others[1]), "%.*s%c\n", last, mark,
			       mark[last] == '1' ? '2' : '1');
		(void)snprintf(others[2], sizeof(others[2]), "1%s", mark);
		(void)snprintf(others[3], sizeof(others[3]), "%.*s", last + 1, mark);
		others[4][0] = '\0';
		give_mark(f, i < 5 ? others[i] : mark);
		folders_listed = heads_read = 0;
		p = start_one(f);
		assert_int_equal(folders_listed > 0, i < 5);
		assert_int_equal(heads_read > 0, i < 5);
		assert_int_equal(check_all(p, 0), 10);
		close_log(f);
	}
}

static void a_torn_last_group_is_cut_and_damage_before_it_is_refused(void **state)
{
	struct fixture *f = *state, copy;
	struct partition *p, *q;
	struct log_stats stats;
	struct fault fault = {0};
	char path[256];

	p = start_one(f);
	for (uint32_t i = 0; i < 5; i++)
		append(f, p, i, 1); /* a group each: five blocks of 4 KiB */
	copy_dir(f, &copy);
	find_journal(&copy, path, sizeof(path));
	flip(path, 4 * 4096 + 100);
	q = open_one(&copy);
	assert_int_equal(check_all(q, 0), 4);
	log_stats(copy.log, &stats);
	assert_true(stats.truncated_bytes > 0);
	log_close(copy.log);
	q = open_one(&copy); /* and once more, over what the first recovery left */
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

	p = start_one(f);
	append(f, p, 0, 1);
	copy_dir(f, &copy);
	close_log(f);
	p = start_one(&copy); /* the last group is written again, at the beginning of a new file */
	append(&copy, p, 1, 1);
	copy_dir(&copy, &second);
	close_log(&copy);
	find_journal(&second, path, sizeof(path));
	flip(path, 100);
	second.options.dir = second.dir;
	assert_int_equal(log_open(&second.options, &second.log, &fault), ERR_CORRUPT);
	flip(path, 100);
	p = open_one(&second);
	assert_int_equal(check_all(p, 0), 2);
	log_close(second.log);
	remove_copy(&copy);
	remove_copy(&second);
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
	struct partition_options little = {.retention_ms = -1, .retention_bytes = 1};
	struct topic_id deleted = {{2}};
	struct partition *kept, *gone;
	char clean[2 * TEST_DIR_BYTES], left[2 * TEST_DIR_BYTES], first[2 * TEST_DIR_BYTES];

	own_sys(f);
	f->ops.unlink = unlink_segments;
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
			kept = start_one(f);
			assert_int_equal(access(file, F_OK), unlink_fails ? 0 : -1);
			close_log(f);
			assert_int_equal(access(clean, F_OK), unlink_fails ? -1 : 0);
			unlink_fails = false;
		}
	}
}

/* ---- files that the checkpoint does not know ---- */

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
	struct partition *p;

	own_sys(f);
	f->ops.truncate = note_cut;
	f->ops.fdatasync = note_sync;
	f->options.steps = true;
	p = start_one(f);
	append_in_steps(f, p, 0);
	assert_int_equal(log_checkpoint(f->log, &(struct fault){0}), 0);
	append_in_steps(f, p, 1);
	log_close(f->log); /* as if killed */
	f->options.segment_bytes = 1;
	cuts = 0;
	p = start_one(f);
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
	char pattern[TEST_DIR_BYTES + 40];
	struct partition *p;
	glob_t found;

	f->options.steps = true;
	open_log(f);
	start_log(f);
	assert_int_equal(log_checkpoint(f->log, &(struct fault){0}), 0);
	assert_int_equal(partition_open(f->log, &young, 0, &keep_all, &p), 0);
	append_in_steps(f, p, 0);
	log_close(f->log); /* as if killed */
	(void)snprintf(pattern, sizeof(pattern), "%s/topics/*/0/*.log", f->dir);
	own_sys(f);
	f->ops.pread = read_journal_or_fail;
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

/* The row that named it was lost with the power, while a checkpoint has it; then it is made. */
static void a_partition_that_nobody_opened_may_be_made_later(void **state)
{
	struct fixture *f = *state;
	struct partition_range range;
	struct partition *p;

	f->options.steps = true;
	p = start_one(f);
	append_in_steps(f, p, 0);
	assert_int_equal(log_checkpoint(f->log, &(struct fault){0}), 0);
	log_close(f->log); /* as if killed */
	open_log(f);
	start_log(f);
	assert_int_equal(partition_open(f->log, &topic_a, 0, &keep_all, &p), 0);
	partition_range(p, &range);
	append_in_steps(f, p, (uint32_t)range.end);
	assert_int_equal(check_all(p, range.end), range.end + 1);
	close_log(f);
}

/* The head of the group at `at` says so many sections, with checksum and tag made right again. */
static void say_sections(const struct fixture *f, const char *path, off_t at, uint32_t sections)
{
	struct frame_head head;
	struct format format;
	struct fault fault = {0};
	uint8_t frame[8192];
	int fd = open(path, O_RDWR);

	assert_int_equal(format_read(sys_kernel(), f->dir, &format, &fault), 0);
	assert_int_equal(pread(fd, frame, sizeof(frame), at), sizeof(frame));
	assert_int_equal(frame_check(slice_make(frame, sizeof(frame)), &head), 0);
	head.sections = sections;
	head.tag = frame_tag(&format.journal_key, &head);
	frame_seal(frame, &head);
	assert_int_equal(pwrite(fd, frame, sizeof(frame), at), sizeof(frame));
	(void)close(fd);
}

/* A start makes room for as many as the head says: so it must not believe it. */
static void a_group_whose_head_counts_sections_wrongly_is_damage_that_names_the_field(void **state)
{
	static const struct {
		uint32_t sections;
		const char *text;
	} wrong[] = {{UINT32_MAX, "sections 4294967295: it has no room"},
		     {1u << 28, "it has no room"},
		     {0, "sections 0: it has more"},
		     {2, "sections 2: it has fewer"}};
	struct fixture *f = *state, copy;
	struct partition *p;
	struct fault fault = {0};
	char path[256];

	p = start_one(f);
	for (uint32_t i = 0; i < 3; i++)
		append(f, p, i, 1); /* a group each, of one section */
	for (uint32_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		copy_dir(f, &copy);
		find_journal(&copy, path, sizeof(path));
		say_sections(&copy, path, 4096, wrong[i].sections);
		copy.options.dir = copy.dir;
		fault.err = 0;
		assert_int_equal(log_open(&copy.options, &copy.log, &fault), ERR_CORRUPT);
		assert_non_null(strstr(fault.text, wrong[i].text));
		assert_non_null(strstr(fault.text, "group 2"));
		remove_copy(&copy);
	}
	close_log(f);
}

/* ---- times ---- */

static int64_t wall_ns;

static int64_t own_wall(void *self)
{
	(void)self;
	return wall_ns;
}

static int64_t own_monotonic(void *self)
{
	(void)self;
	return 1000000000;
}

/* Else a start, which goes by the times of groups, would give earlier times than were given before. */
static void the_time_of_a_group_is_not_before_one_that_was_given_in_it(void **state)
{
	struct fixture *f = *state;
	struct batch_head batch;
	struct frame_head head;
	struct partition *p;
	uint8_t frames[8192];
	char path[256];
	int fd;

	own_sys(f);
	f->ops.wall_ns = own_wall;
	f->ops.monotonic_ns = own_monotonic;
	wall_ns = 1700000000000000000;
	f->options.steps = true;
	p = start_one(f);
	append_in_steps(f, p, 0);
	wall_ns -= 500 * 1000000; /* a small correction: it is followed */
	assert_true(log_now_ms(f->log) < 1700000000000);
	append_in_steps(f, p, 1);
	find_journal(f, path, sizeof(path));
	fd = open(path, O_RDONLY);
	assert_int_equal(pread(fd, frames, sizeof(frames), 0), sizeof(frames));
	(void)close(fd);
	for (int i = 0; i < 2; i++) {
		const uint8_t *at = frames + (size_t)i * 4096;
		assert_int_equal(frame_check(slice_make(at, 4096), &head), 0);
		assert_int_equal(head.sequence, i + 1);
		at += FRAME_HEAD_BYTES + FRAME_BATCH_OVERHEAD;
		assert_int_equal(batch_head_read(slice_make(at, 1024), &batch), 0);
		assert_int_equal(batch.max_timestamp, 1700000000000);
		assert_int_equal(head.time_ms, 1700000000000);
	}
	close_log(f);
}

/* It may be the want of memory that ends the process. */
static void closing_asks_for_no_memory(void **state)
{
	struct fixture *f = *state;
	struct partition *p = start_one(f);
	uint64_t before;

	append(f, p, 0, 100);
	assert_int_equal(log_stop(f->log, NULL), 0);
	log_port_run(f->port);
	before = mem_calls();
	log_close(f->log);
	assert_int_equal(mem_calls(), before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(what_is_answered_is_read_after_a_kill),
		TEST(a_start_after_a_clean_stop_looks_for_nothing_left_over),
		TEST(the_mark_of_an_older_life_hides_no_damage),
		TEST(a_mark_that_is_not_the_last_stops_to_the_letter_is_not_believed),
		TEST(what_could_not_be_removed_goes_with_a_later_start),
		TEST(a_partition_that_nobody_opened_may_be_made_later),
		TEST(a_torn_last_group_is_cut_and_damage_before_it_is_refused),
		TEST(damage_of_a_group_written_again_does_not_take_the_next_one_along),
		TEST(a_segment_that_was_cut_and_sealed_is_synced),
		TEST(a_start_that_cannot_read_the_journal_removes_nothing),
		TEST(the_time_of_a_group_is_not_before_one_that_was_given_in_it),
		TEST(closing_asks_for_no_memory),
		TEST(a_group_whose_head_counts_sections_wrongly_is_damage_that_names_the_field),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
