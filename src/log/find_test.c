/* SPDX-License-Identifier: Apache-2.0 */
#include <sys/stat.h>

#include "base/wire.h"
#include "log/log_dir_world_test.h"
#include "proto/batch/codec_vectors.h"

/* Twenty batches of one record: at 1000, 1000 + step_ms and so on. */
static void append_times(struct fixture *f, struct partition *p, int64_t step_ms)
{
	for (int64_t i = 0; i < 20; i++) {
		struct request r = {0};
		r.records[0] = (struct log_record){.partition = p,
						   .timestamp_ms = 1000 + i * step_ms,
						   .value = SLICE_LIT("x")};
		r.commit.record_count = 1;
		enter_and_wait(f, &r);
	}
}

static void times_are_found(void **state)
{
	struct fixture *f = *state;
	struct partition *p;
	int64_t offset;

	f->options.segment_bytes = 300;
	f->options.tail_bytes_max = 1;
	p = start_one(f);
	append_times(f, p, 10);
	for (uint32_t round = 0; round < 2; round++) {
		for (int i = 0; i < 20; i++) {
			assert_int_equal(log_find_wait(p, 1000 + i * 10 - 5, &offset), 0);
			assert_int_equal(offset, i);
		}
		assert_int_equal(log_find_wait(p, 5000, &offset), 0);
		assert_int_equal(offset, 20);
		assert_int_equal(log_checkpoint(f->log, &(struct fault){0}), 0);
	}
	close_log(f);
}

/* Nothing in an index of times can be checked by a sum, nor by the batch that it names. */
static void a_damaged_index_of_times_misleads_nobody(void **state)
{
	struct fixture *f = *state;
	struct partition *p;
	struct stat st;
	int64_t offset;
	char path[256];

	f->options.segment_bytes = 900;
	f->options.tail_bytes_max = 1;
	f->options.index_interval_bytes = 1;
	p = start_one(f);
	append_times(f, p, 3);
	close_log(f);
	segment_file(f, 0, path, sizeof(path));
	memcpy(strrchr(path, '.'), ".timeindex", 11);
	assert_int_equal(stat(path, &st), 0);
	assert_true(st.st_size >= 6 * 12);
	for (off_t at = 0; at < st.st_size; at++) {
		if (at % 12 >= 8)
			continue; /* where the offset stands: the whole index would be made anew */
		flip(path, at);
		p = open_one(f);
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
	segment_file(f, 0, path, sizeof(path));
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
		p = start_one(f);
		if (!damage)
			for (uint32_t i = 0; i < 60; i++)
				append(f, p, i, 1); /* a batch each */
		close_log(f);
		put_vectors(f, damage);
		p = start_one(f);
		for (int i = 0; i < 12; i++) {
			assert_int_equal(log_find_wait(p, 1700000000000 + i * 10 - 3, &offset), 0);
			assert_int_equal(offset, i);
		}
		assert_int_equal(log_find_wait(p, 1700000000111, &offset), 0);
		assert_int_equal(offset, 48); /* what this machine's clock gave */
		close_log(f);
	}
}

static void a_time_is_looked_for_past_what_is_gone_or_wrong(void **state)
{
	struct fixture *f = *state;
	struct partition *p;
	char path[512];
	int64_t offset;

	f->options.segment_bytes = 100; /* one each */
	f->options.tail_bytes_max = 1;
	p = start_one(f);
	append_eights(f, p, 3, 100);
	close_log(f);
	segment_file(f, 0, path, sizeof(path));
	flip(path, 1); /* the base offset, which no checksum covers */
	p = start_one(f);
	assert_int_equal(log_find_wait(p, 1003, &offset), 0);
	assert_int_equal(offset, 8);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(log_find_wait(p, 1003, &offset), 0);
	assert_int_equal(offset, 8);
	assert_int_equal(log_find_wait(p, 1105, &offset), 0);
	assert_int_equal(offset, 13);
	close_log(f);
	p = start_one(f);
	assert_int_equal(log_find_wait(p, 1003, &offset), 0);
	assert_int_equal(offset, 8);
	close_log(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(times_are_found),
		TEST(a_damaged_index_of_times_misleads_nobody),
		TEST(a_time_is_looked_for_past_what_is_gone_or_wrong),
		TEST(times_are_found_in_compressed_batches_and_past_damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
