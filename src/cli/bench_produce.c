/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <string.h>

#include "cli/bench_push.h"
#include "cli/commands.h"
#include "cli/say.h"

static int run_bench_produce(const struct args *args);

static const struct cli_option options[] = {
	{.name = "topic", .value = "TOPIC", .doc = "the topic to write to, bench"},
	{.name = "connections", .letter = 'c', .value = "N", .doc = "connections, 16"},
	{.name = "in-flight", .value = "N", .doc = "requests sent and not yet answered on each, 1"},
	{.name = "batch",
	 .value = "N",
	 .doc = "records a request, as lines of NDJSON; 1 is a JSON record by itself"},
	{.name = "bytes", .value = "N", .doc = "bytes a record, 100"},
	{.name = "rate",
	 .value = "N",
	 .doc = "records a second, all connections together; 0 is as fast as possible, and the default"},
	{.name = "seconds", .value = "N", .doc = "how long, 10"},
	{.name = "keys", .doc = "give each request an Idempotency-Key of its own"},
	{.name = "json", .doc = "print the figures as JSON"},
	{0},
};

static const struct cli_example examples[] = {
	{"weir bench produce", "single records, each answered before the next, on 16 connections"},
	{"weir bench produce --batch 1000 --in-flight 4", "the most that fits through"},
	{"weir bench produce --rate 5000 --keys --seconds 60",
	 "latency at a rate that is well below the most"},
	{0},
};

const struct command bench_produce = {
	.name = "produce",
	.parent = &command_bench,
	.synopsis = "",
	.summary = "Writes records and measures until each is answered.",
	.about =
		"Latency is from when a request was handed to its socket to its answer, which with fsync is on disk; with --rate from when it "
		"should have been sent, so that a stall counts for all that it kept waiting; what was due in the time is sent, up to 10 s late. Errors are the records of requests that were "
		"refused, or lost with their connection; they are not sent again.\n\n"
		"Exit code 1 where nothing was stored.",
	.options = options,
	.examples = examples,
	.client = true,
	.run = run_bench_produce,
};

#define SECOND 1000000000
#define GRACE_NS (10ll * SECOND) /* for what was due and not sent yet, and then for the last answers */

/* JSON of exactly so many bytes that does not compress to nothing. */
static void append_value(struct buf *body, uint64_t bytes)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	struct rand rand;

	rand_seed(&rand, 1);
	if (bytes >= 8)
		buf_append_str(body, "{\"v\":\"");
	for (uint64_t i = bytes >= 8 ? 8 : 0; i < bytes; i++)
		buf_append_byte(body, (uint8_t)(bytes >= 8 ? letters[rand_below(&rand, 64)] : '1'));
	if (bytes >= 8)
		buf_append_str(body, "\"}");
}

static void write_body(struct buf *body, const struct bench_options *o)
{
	for (uint64_t i = 0; i < o->batch; i++) {
		append_value(body, o->bytes);
		if (o->batch > 1)
			buf_append_byte(body, '\n');
	}
}

/* With a rate, what was due in time is sent, late where the machine or the server was slow. */
static bool is_over(const struct bench_push *p, const struct bench_loop *loop, int64_t end_ns)
{
	int64_t now = bench_now_ns();

	return loop->stopped || now >= end_ns + GRACE_NS || (now >= end_ns && !bench_push_owes(p));
}

static int run_push(struct bench_push *p, struct bench_loop *loop, uint64_t seconds, struct fault *fault)
{
	int64_t end_ns = bench_now_ns() + (int64_t)seconds * SECOND, stop_ns = INT64_MAX;
	int err = 0;

	while (!err && !(p->stopping && p->waiting == 0) && bench_now_ns() < stop_ns) {
		err = bench_push_send(p, fault);
		int64_t until_ns = bench_now_ns() < end_ns ? end_ns : end_ns + GRACE_NS;
		int n = err ? 0 : bench_loop_wait(loop, p->stopping ? stop_ns : bench_push_due(p, until_ns));
		if (n < 0)
			err = fault_set(fault, n, "cannot wait for sockets");
		for (int i = 0; i < n && !err; i++)
			err = bench_push_event(p, (uint32_t)loop->events[i].data.u64, fault);
		if (!p->stopping && is_over(p, loop, end_ns)) {
			bench_push_stop(p);
			stop_ns = bench_now_ns() + GRACE_NS;
		}
	}
	if (p->waiting > 0)
		bench_figures_error(p->figures, (uint64_t)p->waiting * p->options.records, "%s",
				    err ? fault->text : "no answer came");
	return err;
}

static int produce(const struct bench_options *o, struct bench_figures *figures, struct buf *target,
		   struct buf *body)
{
	struct bench_push push = {0};
	struct bench_loop loop;
	struct fault fault;
	char run_id[17], what[300];

	bench_target(target, o->topic, "/records");
	write_body(body, o);
	int err = bench_loop_open(&loop, &fault);
	if (!err)
		err = bench_run_id(run_id, &fault);
	struct bench_push_options options_of = {
		.target = buf_slice(target),
		.body = buf_slice(body),
		.connections = (uint32_t)o->connections,
		.content_type =
			o->batch > 1 ? SLICE_LIT("application/x-ndjson") : SLICE_LIT("application/json"),
		.in_flight = (uint32_t)o->in_flight,
		.records = (uint32_t)o->batch,
		.bytes = o->batch * o->bytes,
		.rate = o->rate,
		.requests_max = (o->rate * o->seconds + o->batch - 1) / o->batch,
		.key = o->keys ? run_id : NULL,
		.stamp_at = SIZE_MAX,
	};
	if (!err)
		err = bench_push_open(&push, &options_of, &o->url, &loop, figures, &fault);
	if (!err)
		err = run_push(&push, &loop, o->seconds, &fault);
	figures->elapsed_ns = push.ended_ns - push.started_ns;
	bench_push_close(&push);
	bench_loop_close(&loop);
	if (err)
		cli_say("%s", fault.text);
	snprintf(what, sizeof(what),
		 "%llu connections, %llu in flight on each, %llu a request, %llu B a record",
		 (unsigned long long)o->connections, (unsigned long long)o->in_flight,
		 (unsigned long long)o->batch, (unsigned long long)o->bytes);
	if (err && figures->records == 0)
		return CLI_FAILED;
	int code =
		bench_report(o, figures, "produce", what, o->rate ? "due to answered" : "sent to answered");
	return err ? CLI_FAILED : code;
}

static int run_bench_produce(const struct args *args)
{
	struct bench_options o = {.connections = 16, .in_flight = 1, .batch = 1, .bytes = 100, .seconds = 10};
	struct bench_figures figures = {0};
	struct buf target, body;
	struct fault fault;

	if (bench_options_take(args, &o, &fault) != 0)
		return cli_misuse("%s", fault.text);
	buf_init(&target, 64u << 10);
	buf_init(&body, 128u << 20);
	int code = produce(&o, &figures, &target, &body);
	buf_fini(&target);
	buf_fini(&body);
	return code;
}
