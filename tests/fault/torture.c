/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A part of every unit test. Without WEIR_TORTURE it does nothing. With it the
 * allocation of that number fails (0: none does), once; how many there were is
 * written to the file WEIR_TORTURE_COUNT; and a crash prints where it was, as offsets in the program, in
 * place of being a failed test, which is what cmocka would make of it.
 *
 * A test that gives up says so at once: cmocka does when it has tidied up, and where that is not the thread that runs
 * the tests, it ends the program and says nothing.
 */
#include <dlfcn.h>
#include <execinfo.h>
#include <link.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"

#define FRAMES 40

static int torturing;
static uintptr_t base_address;

static int note_base(struct dl_phdr_info *info, size_t size, void *ctx)
{
	(void)size;
	(void)ctx;
	base_address = info->dlpi_addr;
	return 1; /* the first is the program */
}

static void say(const char *text)
{
	(void)dprintf(2, "torture: %s\n", text);
}

static void on_crash(int number)
{
	void *frames[FRAMES];
	int count = backtrace(frames, FRAMES);

	if (gettid() != getpid())
		say("not the main thread");
	(void)dprintf(2, "torture: signal %d at", number);
	for (int i = 0; i < count; i++)
		(void)dprintf(2, " %lx", (unsigned long)((uintptr_t)frames[i] - base_address));
	(void)dprintf(2, "\n");
	_exit(99);
}

static int is_crash(int number)
{
	return number == SIGSEGV || number == SIGBUS || number == SIGABRT || number == SIGFPE ||
	       number == SIGILL;
}

/* In place of libc's, so that cmocka does not take crashes for failed tests. */
__sighandler_t signal(int number, __sighandler_t handler);
__sighandler_t signal(int number, __sighandler_t handler)
{
	struct sigaction old = {.sa_handler = SIG_DFL}, new = {.sa_handler = handler, .sa_flags = SA_RESTART};

	if (torturing && is_crash(number))
		return SIG_DFL;
	return sigaction(number, &new, &old) ? SIG_ERR : old.sa_handler;
}

/* In place of libc's, by which cmocka leaves a test whose assertion has failed. */
__attribute__((noreturn)) void __longjmp_chk(struct __jmp_buf_tag *env, int value);
void __longjmp_chk(struct __jmp_buf_tag *env, int value)
{
	__attribute__((noreturn)) void (*jump)(struct __jmp_buf_tag *, int);

	*(void **)&jump = dlsym(RTLD_NEXT, "__longjmp_chk");
	if (torturing)
		say("the test gives up");
	jump(env, value);
}

/* cmocka's end where an assertion has failed in a thread that is not its own: a failed test, which leaves all behind. */
static void on_end(int status, void *ctx)
{
	(void)ctx;
	if (status != -1)
		return;
	say("the test gives up in a thread of its own");
	_exit(1);
}

__attribute__((constructor)) static void begin(void)
{
	static const int crashes[] = {SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL};
	const char *text = getenv("WEIR_TORTURE");
	struct sigaction action = {.sa_handler = on_crash};
	void *frames[2];

	if (!text)
		return;
	torturing = 1;
	(void)dl_iterate_phdr(note_base, NULL);
	(void)backtrace(frames, 2); /* loads what it needs now */
	for (size_t i = 0; i < sizeof(crashes) / sizeof(crashes[0]); i++)
		(void)sigaction(crashes[i], &action, NULL);
	(void)on_exit(on_end, NULL);
	(void)mem_calls();
	mem_fail_at(strtoull(text, NULL, 10));
}

__attribute__((destructor)) static void end(void)
{
	const char *path = getenv("WEIR_TORTURE_COUNT");
	FILE *f = torturing && path ? fopen(path, "w") : NULL;

	if (!f)
		return;
	(void)fprintf(f, "%llu\n", (unsigned long long)mem_calls());
	(void)fclose(f);
}
