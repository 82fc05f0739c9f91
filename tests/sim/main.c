/* SPDX-License-Identifier: Apache-2.0 */
/* sim: the whole core in one thread over a simulated disk. sim --help. */
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "world.h"

static const char usage[] = "sim [--seed N] [--seeds N] [--seconds N] [--from N] [--list FILE] [--trace]\n"
			    "\n"
			    "Runs the core over a simulated disk, crashes it, and compares what it holds\n"
			    "with what was answered. Ends with 1 at the first seed that fails.\n"
			    "\n"
			    "  --seed N     this seed alone\n"
			    "  --seeds N    so many seeds (default 100; with --seconds no bound)\n"
			    "  --seconds N  until so many seconds have passed; 0: until stopped\n"
			    "  --from N     the first seed (default: from the clock)\n"
			    "  --list FILE  run the seeds in FILE first, one a line, # begins a comment\n"
			    "  --trace      say every step on standard output\n";

static struct world world;
static const char *program;

static void say_command(void)
{
	char text[300];
	int n = snprintf(text, sizeof(text), "repeat it: %s --seed %llu --trace\n", program,
			 (unsigned long long)world.seed);

	(void)fflush(stdout);
	(void)!write(2, text, (size_t)n);
}

_Noreturn void model_fail(const char *format, ...)
{
	va_list args;

	(void)fprintf(stderr, "sim: seed %llu: ", (unsigned long long)world.seed);
	va_start(args, format);
	(void)vfprintf(stderr, format, args);
	va_end(args);
	(void)fprintf(stderr, "\n");
	say_command();
	_exit(1);
}

static void on_signal(int number)
{
	(void)signal(number, SIG_DFL);
	say_command();
	(void)raise(number);
}

struct run {
	uint64_t seeds, seeds_max, from;
	int64_t seconds; /* -1: none given */
	int64_t begun_ns, said_ns;
	const char *list;
	bool only;
};

static volatile sig_atomic_t stopped;

static void on_stop(int number)
{
	(void)number;
	stopped = 1;
}

static void say_sum(const struct run *run, FILE *to)
{
	double seconds = (double)(sys_monotonic_ns(sys_kernel()) - run->begun_ns) / 1e9;
	double busy = (double)clock() / CLOCKS_PER_SEC; /* of one core, which others may want too */

	(void)fprintf(
		to,
		"%llu seeds, %llu crashes, %llu clean stops, %llu fatal errors, %llu starts refused, "
		"%llu bits turned over (%llu starts refused for it, %llu gaps, %llu groups cut off), "
		"%llu allocations failed, %llu times state was tidied, %llu passes of compaction, %llu segments recompressed, %llu assignments told, offsets of a group found %llu times, %llu bits turned in files of producers, %llu rows of sources found, %llu operations in %.0f s "
		"(%.0f crashes, %.0f operations a second of processor time)\n",
		(unsigned long long)run->seeds, (unsigned long long)world.crashes,
		(unsigned long long)world.clean_stops, (unsigned long long)world.fatals,
		(unsigned long long)world.refused_starts, (unsigned long long)world.rot.flips,
		(unsigned long long)world.rot.refusals, (unsigned long long)world.rot.gaps,
		(unsigned long long)world.rot.cuts, (unsigned long long)world.failed_allocs,
		(unsigned long long)world.tidied, (unsigned long long)world.compactions,
		(unsigned long long)world.recompressions, (unsigned long long)world.assignments,
		(unsigned long long)world.offsets_found, (unsigned long long)world.producer_flips,
		(unsigned long long)world.source_rows, (unsigned long long)world.operations, seconds,
		(double)world.crashes / busy, (double)world.operations / busy);
}

static void run_seed(struct run *run, uint64_t seed)
{
	int64_t now;

	world_run(&world, seed);
	run->seeds++;
	now = sys_monotonic_ns(sys_kernel());
	if (now - run->said_ns > 10000000000) {
		run->said_ns = now;
		say_sum(run, stderr);
	}
}

static int run_list(struct run *run)
{
	FILE *file = fopen(run->list, "r");
	char line[200];

	if (!file) {
		(void)fprintf(stderr, "sim: cannot read %s\n", run->list);
		return 2;
	}
	while (fgets(line, sizeof(line), file)) {
		char *end;
		unsigned long long seed = strtoull(line, &end, 10);
		if (end != line)
			run_seed(run, seed);
	}
	(void)fclose(file);
	return 0;
}

static bool is_over(const struct run *run, uint64_t done)
{
	if (stopped)
		return true;
	if (run->seconds > 0)
		return sys_monotonic_ns(sys_kernel()) - run->begun_ns > run->seconds * 1000000000;
	return run->seconds < 0 && done >= run->seeds_max;
}

static bool read_args(struct run *run, int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		bool more = i + 1 < argc;
		if (strcmp(argv[i], "--trace") == 0)
			world.tracing = true;
		else if (more && strcmp(argv[i], "--seed") == 0)
			run->from = strtoull(argv[++i], NULL, 10), run->only = true;
		else if (more && strcmp(argv[i], "--seeds") == 0)
			run->seeds_max = strtoull(argv[++i], NULL, 10);
		else if (more && strcmp(argv[i], "--from") == 0)
			run->from = strtoull(argv[++i], NULL, 10);
		else if (more && strcmp(argv[i], "--seconds") == 0)
			run->seconds = strtoll(argv[++i], NULL, 10);
		else if (more && strcmp(argv[i], "--list") == 0)
			run->list = argv[++i];
		else
			return false;
	}
	return true;
}

int main(int argc, char **argv)
{
	struct run run = {.seeds_max = 100, .seconds = -1};

	program = argv[0];
	run.begun_ns = run.said_ns = sys_monotonic_ns(sys_kernel());
	run.from = (uint64_t)sys_wall_ms(sys_kernel());
	if (!read_args(&run, argc, argv)) {
		(void)fputs(usage, argc == 2 && strcmp(argv[1], "--help") == 0 ? stdout : stderr);
		return argc == 2 && strcmp(argv[1], "--help") == 0 ? 0 : 2;
	}
	(void)signal(SIGABRT, on_signal);
	(void)signal(SIGSEGV, on_signal);
	(void)signal(SIGINT, on_stop);
	(void)signal(SIGTERM, on_stop);
	if (run.only) {
		run_seed(&run, run.from);
	} else {
		if (run.list && run_list(&run))
			return 2;
		for (uint64_t i = 0; !is_over(&run, i); i++)
			run_seed(&run, run.from + i);
	}
	say_sum(&run, stdout);
	return 0;
}
