/* SPDX-License-Identifier: Apache-2.0 */
#define ZSTD_STATIC_LINKING_ONLY /* ZSTD_createDCtx_advanced */
#include "machine.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
#include <zstd.h>

#include "base/check.h"
#include "base/mem.h"

#define STACK_BYTES (1u << 20)

/* ---- memory ---- */

struct block {
	struct block *next, *prev; /* NULL: not the machine's */
	void *memory;
	size_t bytes;
};

static struct block blocks = {.next = &blocks, .prev = &blocks};
static uint64_t block_count, fail_in, failed;
static bool is_on, is_spared;

static void *new_block(size_t align, size_t n, bool zero)
{
	size_t head = align > sizeof(struct block) ? align : sizeof(struct block);
	uint8_t *memory = NULL;
	struct block *b;

	if (is_on && !is_spared && fail_in && --fail_in == 0) {
		failed++;
		return NULL;
	}
	if (align > 16 ? posix_memalign((void **)&memory, align, head + n) != 0 :
			 !(memory = zero ? calloc(1, head + n) : malloc(head + n)))
		return NULL;
	b = (struct block *)(void *)(memory + head) - 1;
	*b = (struct block){.memory = memory, .bytes = n};
	if (is_on) {
		b->next = blocks.next;
		b->prev = &blocks;
		b->next->prev = b;
		blocks.next = b;
		block_count++;
	}
	return b + 1;
}

static void free_block(struct block *b)
{
	if (b->next) {
		b->next->prev = b->prev;
		b->prev->next = b->next;
		block_count--;
	}
	free(b->memory);
}

void *mem_alloc(size_t n)
{
	return new_block(16, n, false);
}

void *mem_zalloc(size_t count, size_t size)
{
	return new_block(16, count * size, true);
}

void *mem_aligned(size_t align, size_t n)
{
	return new_block(align, n, false);
}

void *mem_pages(size_t n)
{
	return new_block(4096, n, false);
}

void mem_free_pages(void *ptr, size_t n)
{
	(void)n;
	mem_free(ptr);
}

void mem_trim(void)
{
}

void mem_free(void *ptr)
{
	if (ptr)
		free_block((struct block *)ptr - 1);
}

void *mem_realloc(void *ptr, size_t n)
{
	void *grown = new_block(16, n, false);
	size_t had = ptr ? ((struct block *)ptr - 1)->bytes : 0;

	if (grown && had)
		memcpy(grown, ptr, had < n ? had : n);
	if (grown)
		mem_free(ptr);
	return grown;
}

char *mem_strndup(const void *text, size_t n)
{
	char *copy = mem_alloc(n + 1);

	if (!copy)
		return NULL;
	memcpy(copy, text, n);
	copy[n] = '\0';
	return copy;
}

void mem_fail_at(uint64_t nth)
{
	(void)nth;
}

uint64_t mem_calls(void)
{
	return 0;
}

uint64_t machine_blocks(void)
{
	return block_count;
}

void machine_fail_alloc(uint64_t nth)
{
	fail_in = nth;
}

void machine_spare(bool spared)
{
	is_spared = spared;
}

uint64_t machine_failed_allocs(void)
{
	return failed;
}

/* zstd takes its memory here too: it is gone with the power, and it may fail. */
static void *zstd_alloc(void *ctx, size_t n)
{
	(void)ctx;
	return mem_alloc(n);
}

static void zstd_free(void *ctx, void *ptr)
{
	(void)ctx;
	mem_free(ptr);
}

ZSTD_DCtx *ZSTD_createDCtx(void)
{
	return ZSTD_createDCtx_advanced((ZSTD_customMem){zstd_alloc, zstd_free, NULL});
}

/* ---- beliefs ---- */

static void (*on_check)(void *ctx, const char *cond);
static void *on_check_ctx;

void machine_set_on_check(void (*fn)(void *ctx, const char *cond), void *ctx)
{
	on_check = fn;
	on_check_ctx = ctx;
}

void check_failed(const char *file, int line, const char *func, const char *cond)
{
	if (is_on && on_check)
		on_check(on_check_ctx, cond);
	(void)fprintf(stderr, "weir: check failed at %s:%d in %s: %s\n", file, line, func, cond);
	(void)fflush(stderr);
	abort();
}

/* ---- stacks ---- */

static struct {
	ucontext_t context;
	void *stack;
	void (*fn)(void *ctx);
	void *ctx;
	bool busy;
} tasks[TASK_COUNT]; /* the first is the machine itself */
static ucontext_t outside;
static enum task current;

static void enter_task(void)
{
	enum task task = current;

	tasks[task].fn(tasks[task].ctx);
	tasks[task].busy = false;
	current = TASK_NONE;
	(void)setcontext(task == TASK_NONE ? &outside : &tasks[TASK_NONE].context);
}

static void prepare(enum task task, void (*fn)(void *ctx), void *ctx)
{
	if (!tasks[task].stack) {
		tasks[task].stack = mmap(NULL, STACK_BYTES, PROT_READ | PROT_WRITE,
					 MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
		CHECK(tasks[task].stack != MAP_FAILED);
	}
	CHECK(getcontext(&tasks[task].context) == 0);
	tasks[task].context.uc_stack.ss_sp = tasks[task].stack;
	tasks[task].context.uc_stack.ss_size = STACK_BYTES;
	tasks[task].fn = fn;
	tasks[task].ctx = ctx;
	tasks[task].busy = true;
	makecontext(&tasks[task].context, enter_task, 0);
}

void machine_run(void (*fn)(void *ctx), void *ctx)
{
	prepare(TASK_NONE, fn, ctx);
	current = TASK_NONE;
	is_on = true;
	CHECK(swapcontext(&outside, &tasks[TASK_NONE].context) == 0);
	is_on = false;
	fail_in = 0;
	for (int i = 0; i < TASK_COUNT; i++)
		tasks[i].busy = false;
	while (blocks.next != &blocks)
		free_block(blocks.next);
}

_Noreturn void machine_off(void)
{
	current = TASK_NONE;
	(void)setcontext(&outside);
	abort();
}

void task_resume(enum task task)
{
	CHECK(current == TASK_NONE && tasks[task].busy);
	current = task;
	CHECK(swapcontext(&tasks[TASK_NONE].context, &tasks[task].context) == 0);
}

void task_start(enum task task, void (*fn)(void *ctx), void *ctx)
{
	CHECK(task != TASK_NONE && !tasks[task].busy);
	prepare(task, fn, ctx);
	task_resume(task);
}

bool task_busy(enum task task)
{
	return tasks[task].busy;
}

enum task task_current(void)
{
	return current;
}

void task_yield(void)
{
	enum task task = current;

	if (task == TASK_NONE)
		return;
	current = TASK_NONE;
	CHECK(swapcontext(&tasks[task].context, &tasks[TASK_NONE].context) == 0);
}

/* ---- locks ---- */

/* The holder is a task that was interrupted, or who resumed this one. */
static void let_holder_run(void)
{
	if (current != TASK_NONE) {
		task_yield();
	} else {
		for (enum task task = TASK_COMMIT; task < TASK_COUNT; task++)
			if (tasks[task].busy)
				task_resume(task);
	}
}

int pthread_mutex_lock(pthread_mutex_t *lock)
{
	for (uint32_t turns = 0; pthread_mutex_trylock(lock) == EBUSY; turns++) {
		CHECK(turns < 1000000); /* two that wait for each other */
		let_holder_run();
	}
	return 0;
}
