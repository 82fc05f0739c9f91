/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"

#include <malloc.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/sanitized.h"

#define BLOCK_BYTES \
	(4 << 20) /* below it a block is used again as it is: fresh pages cost more than the copy into them */

#define FREE_BYTES ((size_t)8 << 20) /* may lie free in the heaps, for the next burst */

/*
 * The two counters are the only globals of base. They are there for tests, and
 * cost one relaxed load each: a call counts only while a test watches.
 */
static _Atomic uint64_t watched_calls;
static _Atomic uint64_t fail_at;
static _Atomic int watching;

static int must_fail(void)
{
	uint64_t call;

	if (!atomic_load_explicit(&watching, memory_order_relaxed))
		return 0;
	call = atomic_fetch_add(&watched_calls, 1) + 1;
	return call == atomic_load(&fail_at);
}

void mem_give_back(void)
{
	(void)mallopt(M_MMAP_THRESHOLD, BLOCK_BYTES);
	(void)mallopt(M_TRIM_THRESHOLD, 2 * BLOCK_BYTES);
}

void mem_trim(void)
{
	struct mallinfo2 info = mallinfo2();

	if (info.fordblks > FREE_BYTES)
		(void)malloc_trim(FREE_BYTES / 4);
}

void *mem_alloc(size_t n)
{
	return must_fail() ? NULL : malloc(n ? n : 1);
}

void *mem_zalloc(size_t count, size_t size)
{
	return must_fail() ? NULL : calloc(count ? count : 1, size ? size : 1);
}

void *mem_realloc(void *ptr, size_t n)
{
	return must_fail() ? NULL : realloc(ptr, n ? n : 1);
}

void *mem_aligned(size_t align, size_t n)
{
	void *ptr;

	if (must_fail() || posix_memalign(&ptr, align, n ? n : 1) != 0)
		return NULL;
	return ptr;
}

void mem_free(void *ptr)
{
	free(ptr);
}

#if SANITIZED_ADDRESS /* which watches the ends of what comes from the allocator alone */
void *mem_pages(size_t n)
{
	return mem_aligned(4096, n);
}

void mem_free_pages(void *ptr, size_t n)
{
	(void)n;
	mem_free(ptr);
}
#else
void *mem_pages(size_t n)
{
	const int access = PROT_READ | PROT_WRITE, kind = MAP_PRIVATE | MAP_ANONYMOUS;
	void *ptr = MAP_FAILED;

	if (!must_fail())
		ptr = mmap(NULL, n, access, kind, -1, 0); /* banned-ok: memory and no file */
	return ptr == MAP_FAILED ? NULL : ptr;
}

void mem_free_pages(void *ptr, size_t n)
{
	if (ptr)
		(void)munmap(ptr, n);
}
#endif

char *mem_strndup(const void *text, size_t n)
{
	char *copy = mem_alloc(n + 1);

	if (!copy)
		return NULL;
	if (n)
		memcpy(copy, text, n);
	copy[n] = '\0';
	return copy;
}

void mem_fail_at(uint64_t nth)
{
	atomic_store(&watching, 1);
	atomic_store(&fail_at, nth ? atomic_load(&watched_calls) + nth : 0);
}

uint64_t mem_calls(void)
{
	atomic_store(&watching, 1);
	return atomic_load(&watched_calls);
}
