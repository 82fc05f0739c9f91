/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/bench.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "cli/commands.h"
#include "cli/say.h"
#include "json/json_write.h"

static const struct command *const children[] = {&bench_produce, &bench_consume, &bench_fanout, NULL};

const struct command command_bench = {
	.name = "bench",
	.synopsis = "",
	.summary = "Loads a running weir and prints rate and latency.",
	.about =
		"One thread, so that on a machine of its own it costs weir one core at most. What it writes stays in the topic until it is deleted "
		"or retention takes it.",
	.children = children,
};

/* ---- options ---- */

int bench_options_take(const struct args *args, struct bench_options *o, struct fault *fault)
{
	const struct {
		const char *name;
		uint64_t min, max, *out;
	} numbers[] = {
		{"connections", 1, 100000, &o->connections},
		{"bytes", 1, 16u << 20, &o->bytes},
		{"seconds", 1, 86400, &o->seconds},
		{"rate", 0, 100000000, &o->rate},
		{"batch", 1, 100000, &o->batch},
		{"in-flight", 1, 4096, &o->in_flight},
		{"subscribers", 1, 1000000, &o->subscribers},
		{"limit", 1, 10000, &o->limit},
	};
	int err = 0;

	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]) && !err; i++)
		err = args_number(args, numbers[i].name, numbers[i].min, numbers[i].max, numbers[i].out,
				  fault);
	const char *topic = args_value(args, "topic");
	o->topic = topic ? topic : "bench";
	o->keys = args_has(args, "keys");
	o->raw = args_has(args, "raw");
	o->json = args_has(args, "json");
	if (!err && o->batch * (o->bytes + 1) > 64u << 20)
		err = fault_set(fault, ERR_BAD_PARAMETER,
				"--batch times --bytes: expected at most 64 MiB a request");
	return err ? err : client_url_of(args, &o->url, fault);
}

/* ---- small things ---- */

void bench_target(struct buf *target, const char *topic, const char *behind)
{
	buf_append_str(target, "/v1/topics/");
	http_percent_append(target, slice_str(topic));
	buf_append_str(target, behind);
}

int bench_run_id(char out[17], struct fault *fault)
{
	uint8_t random[8];

	if (getrandom(random, sizeof(random), 0) != (ssize_t)sizeof(random))
		return fault_set(fault, ERR_IO, "no random bytes: %s", strerrordesc_np(errno));
	for (size_t i = 0; i < sizeof(random); i++)
		snprintf(out + 2 * i, 3, "%02x", random[i]);
	return 0;
}

void bench_put_digits(uint8_t *at, uint64_t value)
{
	for (int i = 19; i >= 0; i--, value /= 10)
		at[i] = (uint8_t)('0' + value % 10);
}

/* ---- figures ---- */

void bench_figures_error(struct bench_figures *f, uint64_t count, const char *format, ...)
{
	va_list args;

	if (f->errors == 0 && !*f->problem) {
		va_start(args, format);
		vsnprintf(f->problem, sizeof(f->problem), format, args);
		va_end(args);
	}
	f->errors += count;
}

static const struct {
	const char *name, *json_name;
	uint32_t of_100000;
} percentiles[] = {
	{"p50", "p50", 50000},    {"p90", "p90", 90000},  {"p99", "p99", 99000},
	{"p99.9", "p999", 99900}, {"max", "max", 100000},
};

static double milliseconds(int64_t ns)
{
	return (double)ns / 1e6;
}

static double per_second(uint64_t n, const struct bench_figures *f)
{
	return f->elapsed_ns > 0 ? (double)n * 1e9 / (double)f->elapsed_ns : 0;
}

static void print_text(const struct bench_figures *f, const char *name, const char *what, const char *of)
{
	printf("%s: %s\n", name, what);
	printf("records    %llu in %.1f s\n", (unsigned long long)f->records, (double)f->elapsed_ns / 1e9);
	printf("rate       %.0f records/s, %.1f MB/s\n", per_second(f->records, f),
	       per_second(f->bytes, f) / 1e6);
	if (f->latency.count > 0) {
		printf("latency   ");
		for (size_t i = 0; i < sizeof(percentiles) / sizeof(percentiles[0]); i++)
			printf(" %s %.3f ms%s", percentiles[i].name,
			       milliseconds(bench_latency_at(&f->latency, percentiles[i].of_100000)),
			       i < 4 ? "," : "");
		printf(" (%s)\n", of);
	}
	printf("errors     %llu\n", (unsigned long long)f->errors);
}

static void print_json(const struct bench_figures *f, const char *name)
{
	printf("{\"bench\":\"%s\",\"records\":%llu,\"seconds\":%.3f,\"records_per_second\":%.1f,\"mb_per_second\":%.3f,"
	       "\"errors\":%llu,\"latency_ms\":",
	       name, (unsigned long long)f->records, (double)f->elapsed_ns / 1e9, per_second(f->records, f),
	       per_second(f->bytes, f) / 1e6, (unsigned long long)f->errors);
	for (size_t i = 0; i < sizeof(percentiles) / sizeof(percentiles[0]); i++)
		printf("%c\"%s\":%.3f", i ? ',' : '{', percentiles[i].json_name,
		       milliseconds(bench_latency_at(&f->latency, percentiles[i].of_100000)));
	printf("}}\n");
}

int bench_report(const struct bench_options *o, const struct bench_figures *f, const char *name,
		 const char *what, const char *of)
{
	if (*f->problem)
		cli_say("the first error: %s", f->problem);
	if (o->json)
		print_json(f, name);
	else
		print_text(f, name, what, of);
	return cli_flush() && f->records > 0 ? CLI_DONE : CLI_FAILED;
}
