/* SPDX-License-Identifier: Apache-2.0 */
/* Copies that are damaged at random: what is put together is what they were, or nothing is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/crc32c.h"
#include "base/rand.h"
#include "base/wire.h"
#include "log/checkpoint.h"
#include "log/checkpoint_merge.h"

#define BYTES_MAX 6000u

static struct rand dice;

static uint32_t roll(uint32_t below)
{
	return (uint32_t)(rand_next(&dice) % below);
}

/* Sealed as a checkpoint; what it says does not matter here. */
static size_t make(uint8_t *bytes)
{
	size_t n = 300 + roll(BYTES_MAX - 300);

	for (size_t i = 0; i < n; i++)
		bytes[i] = roll(3) ? 0 : (uint8_t)roll(256); /* much of a real one is zeros */
	memcpy(bytes, "WEIRCKP3", 8);
	bytes[36] = 1; /* it names a file of producers, as only this version does */
	(void)wire_put_u32(bytes + 12, (uint32_t)n);
	(void)wire_put_u32(bytes + 8, crc32c(0, bytes + 12, n - 12));
	assert_true(checkpoint_is_whole(slice_make(bytes, n)));
	return n;
}

/* A bit, or a sector: of zeros or of anything. */
static void damage(uint8_t *bytes, size_t from, size_t to)
{
	size_t at = from + roll((uint32_t)(to - from)), n = roll(2) ? 1 : 1 + roll(512);
	bool zeros = roll(2);

	for (size_t i = at; i < at + n && i < to; i++)
		bytes[i] = n == 1 ? bytes[i] ^ 16 : zeros ? 0 : (uint8_t)roll(256);
}

static void damage_in_different_places_is_made_up_for(void **state)
{
	uint8_t was[BYTES_MAX], a[BYTES_MAX], b[BYTES_MAX];

	(void)state;
	for (uint32_t round = 0; round < 2000; round++) {
		size_t n = make(was), middle = n / 2 - n / 4 + roll((uint32_t)n / 4);
		size_t b_bytes = roll(4) ? n : middle + 64 + roll((uint32_t)(n - middle - 64)) + 1;
		struct buf out;
		memcpy(a, was, n);
		memcpy(b, was, n);
		damage(a, 0, middle);
		damage(b, middle + 64, n);
		assert_int_equal(checkpoint_merge(slice_make(a, n), slice_make(b, b_bytes), &out), 0);
		assert_int_equal(out.len, n);
		assert_memory_equal(out.ptr, was, n);
		buf_fini(&out);
	}
}

static void bits_that_are_close_are_told_apart(void **state)
{
	uint8_t was[BYTES_MAX], a[BYTES_MAX], b[BYTES_MAX];

	(void)state;
	for (uint32_t round = 0; round < 500; round++) {
		size_t n = make(was), at = roll((uint32_t)n - 2);
		struct buf out;
		memcpy(a, was, n);
		memcpy(b, was, n);
		a[at] ^= 1;
		b[at + 2] ^= 1;
		assert_int_equal(checkpoint_merge(slice_make(a, n), slice_make(b, n), &out), 0);
		assert_memory_equal(out.ptr, was, n);
		buf_fini(&out);
	}
}

static void damage_anywhere_is_made_up_for_or_refused(void **state)
{
	uint8_t was[BYTES_MAX], a[BYTES_MAX], b[BYTES_MAX];
	uint32_t refused = 0;

	(void)state;
	for (uint32_t round = 0; round < 2000; round++) {
		size_t n = make(was);
		struct buf out;
		int rc;
		memcpy(a, was, n);
		memcpy(b, was, n);
		for (uint32_t i = 1 + roll(5); i > 0; i--) {
			damage(a, 0, n);
			damage(b, 0, n);
		}
		rc = checkpoint_merge(slice_make(a, n), slice_make(b, n), &out);
		assert_true(rc == 0 || rc == 1);
		if (rc == 0)
			assert_memory_equal(out.ptr, was, n);
		refused += rc == 1;
		buf_fini(&out);
	}
	assert_true(refused > 100 && refused < 1900);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(damage_in_different_places_is_made_up_for),
		cmocka_unit_test(bits_that_are_close_are_told_apart),
		cmocka_unit_test(damage_anywhere_is_made_up_for_or_refused),
	};

	rand_seed(&dice, 7);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
