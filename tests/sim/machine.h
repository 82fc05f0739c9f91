/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_TESTS_SIM_MACHINE_H
#define WEIR_TESTS_SIM_MACHINE_H

#include <stdbool.h>
#include <stdint.h>

/*
 * What is lost when the power goes: memory and stacks. Everything that the core
 * allocates (mem.h is replaced here) while the machine is on is freed when it
 * goes off, wherever the core is at that moment; no destructor runs.
 *
 * The core's steps may run as tasks on stacks of their own, so that others get
 * their turn while one is inside a call of the disk. A lock that is held makes
 * way for its holder (pthread_mutex_lock is replaced too). One thread.
 */
enum task { TASK_NONE, TASK_COMMIT, TASK_BACK, TASK_READ, TASK_COUNT };

/* Runs fn until it returns or somebody calls machine_off. */
void machine_run(void (*fn)(void *ctx), void *ctx);
_Noreturn void machine_off(void);

/* Starts a task; it runs until it yields or ends. Must not be busy. */
void task_start(enum task task, void (*fn)(void *ctx), void *ctx);
bool task_busy(enum task task);
void task_resume(enum task task);
enum task task_current(void);
/* In a task: back to who resumed it. Elsewhere nothing. */
void task_yield(void);

/* Allocations of the machine: so many now. */
uint64_t machine_blocks(void);
/* The n-th from now fails, once; 0: none. So many have failed. */
void machine_fail_alloc(uint64_t nth);
uint64_t machine_failed_allocs(void);
/* Those of the oracle do not fail and are not counted, as long as it is spared. */
void machine_spare(bool spared);

/*
 * CHECK fails: asked whether that is the loud end of a process that has no
 * memory for what it has promised. Who thinks so does not return.
 */
void machine_set_on_check(void (*fn)(void *ctx, const char *cond), void *ctx);

#endif
