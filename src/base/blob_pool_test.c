/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <pthread.h>
#include <string.h>

#include "base/blob_pool.h"
#include "base/mem.h"

#define KEPT (1u << 20)

static void bytes_are_whole_pages(void **state)
{
	struct blob_pool *pool = blob_pool_new(KEPT);
	struct blob *b = blob_pool_take(pool, 100001);

	(void)state;
	assert_non_null(b);
	assert_int_equal((uintptr_t)b->bytes % BLOB_PAGE, 0);
	assert_int_equal(b->cap % BLOB_PAGE, 0);
	assert_true(b->cap >= 100001);
	memset(b->bytes, 'x', b->cap);
	blob_unref(b);
	blob_pool_close(pool);
	assert_null(blob_pool_take(pool = blob_pool_new(KEPT), SIZE_MAX - 100));
	blob_pool_close(pool);
}

static void what_fits_is_used_again_and_nothing_much_larger(void **state)
{
	struct blob_pool *pool = blob_pool_new(KEPT);
	struct blob *first = blob_pool_take(pool, 200000), *b;
	uint64_t calls;

	(void)state;
	blob_ref(first);
	blob_unref(first);
	blob_unref(first);
	calls = mem_calls();
	b = blob_pool_take(pool, 150000);
	assert_ptr_equal(b, first);
	assert_int_equal(b->len, 0);
	assert_int_equal(mem_calls(), calls);
	blob_unref(b);
	b = blob_pool_take(pool, 50000);
	assert_ptr_not_equal(b, first);
	blob_unref(b);
	b = blob_pool_take(pool, 300000);
	assert_int_equal(mem_calls(), calls + 2);
	blob_unref(b);
	blob_pool_trim(pool);
	b = blob_pool_take(pool, 150000);
	assert_int_equal(mem_calls(), calls + 3);
	blob_unref(b);
	blob_pool_close(pool);
}

/* With the bound reached, what was given longest ago goes. */
static void no_more_is_kept_than_was_said(void **state)
{
	struct blob_pool *pool = blob_pool_new(KEPT);
	struct blob *b[6];
	uint64_t calls;

	(void)state;
	for (int i = 0; i < 6; i++)
		b[i] = blob_pool_take(pool, KEPT / 4);
	for (int i = 0; i < 6; i++)
		blob_unref(b[i]);
	calls = mem_calls();
	for (int i = 0; i < 6; i++)
		b[i] = blob_pool_take(pool, KEPT / 4);
	assert_int_equal(mem_calls(), calls + 2);
	for (int i = 0; i < 6; i++)
		blob_unref(b[i]);
	b[0] = blob_pool_take(pool, 2 * KEPT); /* never kept */
	blob_unref(b[0]);
	calls = mem_calls();
	b[0] = blob_pool_take(pool, 2 * KEPT);
	b[1] = blob_pool_take(pool, KEPT / 4);
	assert_int_equal(mem_calls(), calls + 1);
	blob_unref(b[0]);
	blob_unref(b[1]);
	blob_pool_close(pool);
}

static void *drop(void *blob)
{
	blob_unref(blob);
	return NULL;
}

static void a_blob_outlives_its_pool(void **state)
{
	struct blob_pool *pool = blob_pool_new(KEPT);
	struct blob *a = blob_pool_take(pool, 70000), *b = blob_pool_take(pool, 70000);
	pthread_t thread;

	(void)state;
	blob_pool_close(pool);
	memset(a->bytes, 'a', a->cap);
	assert_int_equal(pthread_create(&thread, NULL, drop, a), 0);
	assert_int_equal(pthread_join(thread, NULL), 0);
	memset(b->bytes, 'b', b->cap);
	blob_unref(b);
	blob_pool_close(NULL);
}

static void without_memory_there_is_none(void **state)
{
	struct blob_pool *pool = blob_pool_new(KEPT);
	struct blob *b;

	(void)state;
	mem_fail_at(1);
	b = blob_pool_take(pool, 70000);
	mem_fail_at(0);
	assert_null(b);
	b = blob_pool_take(pool, 70000);
	assert_non_null(b);
	blob_pool_close(pool);
	blob_unref(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_are_whole_pages),
		cmocka_unit_test(what_fits_is_used_again_and_nothing_much_larger),
		cmocka_unit_test(no_more_is_kept_than_was_said),
		cmocka_unit_test(a_blob_outlives_its_pool),
		cmocka_unit_test(without_memory_there_is_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
