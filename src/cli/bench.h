/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CLI_BENCH_H
#define WEIR_CLI_BENCH_H

#include "cli/bench_latency.h"
#include "cli/client.h"

/* What the members of `weir bench` share: their options and the page they print. */

struct bench_options {
	struct client_url url;
	const char *topic;
	uint64_t connections, bytes, seconds, rate, batch, in_flight, subscribers, limit;
	bool keys, raw, json;
};

/* Fills *o, which holds the defaults. ERR_BAD_PARAMETER with *fault. */
int bench_options_take(const struct args *args, struct bench_options *o, struct fault *fault);

/* What was measured. */
struct bench_figures {
	uint64_t records; /* acknowledged, read or delivered */
	uint64_t bytes;   /* of their payload */
	uint64_t errors;  /* what each command says they are */
	int64_t elapsed_ns;
	struct bench_latency latency;
	char problem[700]; /* the first error, or empty */
};

/* Notes an error; the first one's text is kept. */
void bench_figures_error(struct bench_figures *f, uint64_t count, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/*
 * Prints the figures to stdout, the first error to stderr. `what` is one line on
 * the load, `of` what the latency is of. CLI_FAILED where there are no records.
 */
int bench_report(const struct bench_options *o, const struct bench_figures *f, const char *name,
		 const char *what, const char *of);

/* Appends /v1/topics/TOPIC and what is behind. */
void bench_target(struct buf *target, const char *topic, const char *behind);

/* 16 hexadecimal digits, other ones for each run. ERR_IO with *fault. */
int bench_run_id(char out[17], struct fault *fault);

/* Writes `value` as 20 digits. */
void bench_put_digits(uint8_t *at, uint64_t value);

extern const struct command bench_produce;
extern const struct command bench_consume;
extern const struct command bench_fanout;

#endif
