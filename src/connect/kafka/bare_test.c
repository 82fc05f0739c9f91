/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "connect/kafka/bare.h"
#include "proto/batch/batch.h"

#define RECORDS 4

static uint8_t room[4096], headers[64];

static struct batch_record record(struct slice key, struct slice value)
{
	return (struct batch_record){.timestamp = 1700000000000, .key = key, .value = value};
}

static struct batch_record with_header(struct batch_record r)
{
	uint8_t *end = batch_header_put(headers, SLICE_LIT("h"), SLICE_LIT("v"));

	r.headers = slice_make(headers, (size_t)(end - headers));
	r.header_count = 1;
	return r;
}

/* One batch of them at `at`, and then where its keys and values stand; gives its end. */
static uint8_t *build(uint8_t *at, struct batch_record *records, uint32_t count)
{
	struct batch_build b;
	struct batch_walk w;
	struct slice whole;

	batch_build_start(&b, at, 0);
	for (uint32_t i = 0; i < count; i++)
		batch_build_put(&b, &records[i]);
	whole = batch_build_finish(&b);
	assert_int_equal(batch_walk_start(&w, whole), 0);
	for (uint32_t i = 0; i < count; i++)
		assert_int_equal(batch_walk_next(&w, &records[i]), 1);
	return at + whole.len;
}

static bool is_bare(const struct batch_record *r)
{
	return kafka_is_bare(r[0].value, r[1].key, r[1].value);
}

static void a_record_without_headers_is_known_by_the_one_behind_it(void **state)
{
	static uint8_t long_key[300];
	struct batch_record r[RECORDS + 1];

	(void)state;
	for (int keys = 0; keys < 4; keys++) {
		struct slice key = slice_null();
		if (keys)
			key = slice_make(long_key, keys == 1 ? 0 : keys == 2 ? 5 : sizeof(long_key));
		for (int i = 0; i <= RECORDS; i++)
			r[i] = record(key, SLICE_LIT("a value"));
		r[2].timestamp += INT64_MAX / 4; /* as long as the field can be */
		r[3].value = SLICE_LIT("");
		(void)build(room, r, RECORDS + 1);
		for (int i = 0; i < RECORDS; i++)
			assert_true(is_bare(&r[i]));
	}
}

static void of_a_record_with_headers_nothing_is_known(void **state)
{
	struct batch_record r[3];

	(void)state;
	r[0] = record(slice_null(), SLICE_LIT("one"));
	r[1] = with_header(record(slice_null(), SLICE_LIT("two")));
	r[2] = record(slice_null(), SLICE_LIT("three"));
	(void)build(room, r, 3);
	assert_true(is_bare(&r[0]));
	assert_false(is_bare(&r[1]));
}

static void nor_of_one_that_is_null_or_last_or_of_another_batch(void **state)
{
	struct batch_record r[4];
	uint8_t *second;

	(void)state;
	r[0] = record(SLICE_LIT("k"), slice_null());
	r[1] = record(SLICE_LIT("k"), SLICE_LIT("two"));
	second = build(room, r, 2);
	r[2] = record(SLICE_LIT("k"), slice_null());
	r[3] = record(slice_null(), SLICE_LIT("four"));
	(void)build(second, r + 2, 2);
	assert_false(is_bare(&r[0]));
	assert_false(is_bare(&r[1]));
	assert_false(is_bare(&r[2]));
	assert_false(kafka_is_bare(r[1].value, slice_null(), slice_null()));
	assert_false(kafka_is_bare(r[1].value, r[0].key, r[0].value)); /* it stands before */
}

/* Whatever else lies between: copies that end in a zero, an older format, any change of a length. */
static void what_does_not_stand_in_a_batch_is_not_believed(void **state)
{
	struct batch_record r[2], other[2];
	uint8_t copy[64] = "one\0two";
	uint8_t *end;
	size_t gap;

	(void)state;
	assert_false(kafka_is_bare(slice_make(copy, 3), slice_null(), slice_make(copy + 4, 3)));
	assert_false(kafka_is_bare(slice_make(copy, 3), slice_null(), slice_make(copy + 3, 3)));
	for (int keys = 0; keys < 2; keys++) {
		r[0] = record(slice_null(), SLICE_LIT("one"));
		r[1] = record(keys ? SLICE_LIT("key") : slice_null(), SLICE_LIT("two"));
		(void)build(room, r, 2);
		assert_true(is_bare(r));
		end = (uint8_t *)(uintptr_t)r[0].value.ptr + r[0].value.len;
		gap = (size_t)((keys ? r[1].key.ptr : r[1].value.ptr) - end);
		end[0] = 2; /* a header */
		assert_false(is_bare(r));
		end[0] = 0;
		end[gap - 1] += 2; /* the last length */
		assert_false(is_bare(r));
		end[gap - 1] -= 2;
		end[1] |= 0x80; /* the next record's length has a byte more, the fields behind it one less */
		assert_false(is_bare(r));
		end[1] &= 0x7f;
		memcpy(other, r, sizeof(r));
		other[1].value.len++;
		other[1].key.len++;
		assert_false(is_bare(other));
		memcpy(other, r, sizeof(r));
		other[1].value.ptr++; /* a byte that is of neither */
		other[1].key.ptr += keys;
		assert_false(is_bare(other));
		assert_true(is_bare(r));
	}
}

/* The page between must not be touched. */
static void what_is_far_from_each_other_is_not_looked_at(void **state)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	uint8_t *pages = mmap(NULL, 3 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	(void)state;
	assert_true(pages != MAP_FAILED);
	assert_int_equal(mprotect(pages + page, page, PROT_NONE), 0);
	assert_false(kafka_is_bare(slice_make(pages + page - 3, 3), slice_null(),
				   slice_make(pages + 2 * page, 3)));
	assert_int_equal(munmap(pages, 3 * page), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_record_without_headers_is_known_by_the_one_behind_it),
		cmocka_unit_test(of_a_record_with_headers_nothing_is_known),
		cmocka_unit_test(nor_of_one_that_is_null_or_last_or_of_another_batch),
		cmocka_unit_test(what_does_not_stand_in_a_batch_is_not_believed),
		cmocka_unit_test(what_is_far_from_each_other_is_not_looked_at),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
