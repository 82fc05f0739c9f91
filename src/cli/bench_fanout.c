/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One publisher and many WebSocket readers in one thread, so that the times of
 * sending and of receiving are of one clock. What the readers cost is in the
 * latency: with more deliveries a second than a core can take, it measures
 * itself. Then run it with fewer subscribers and let several runs share the load.
 */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "cli/bench_push.h"
#include "cli/bench_ws.h"
#include "cli/commands.h"
#include "cli/say.h"

static int run_bench_fanout(const struct args *args);

static const struct cli_option options[] = {
	{.name = "topic", .value = "TOPIC", .doc = "the topic, bench"},
	{.name = "subscribers", .letter = 's', .value = "N", .doc = "WebSocket readers, 100"},
	{.name = "rate",
	 .value = "N",
	 .doc = "records published a second, 100; 0 is as fast as they are answered"},
	{.name = "bytes", .value = "N", .doc = "bytes a record, 100"},
	{.name = "in-flight", .value = "N", .doc = "published and not yet answered, 64"},
	{.name = "seconds", .value = "N", .doc = "how long, 10"},
	{.name = "raw", .doc = "ask for bare values, format=raw"},
	{.name = "json", .doc = "print the figures as JSON"},
	{0},
};

static const struct cli_example examples[] = {
	{"weir bench fanout --subscribers 1000 --rate 50", "50 000 deliveries a second"},
	{0},
};

const struct command bench_fanout = {
	.name = "fanout",
	.parent = &command_bench,
	.synopsis = "",
	.summary = "Publishes to many WebSocket readers and measures until each has it.",
	.about =
		"Latency is from when a record should have been published to when a reader has it. Errors are deliveries that did not come: "
		"of records that were acknowledged, and of readers that were cut.\n\n"
		"Exit code 1 where nothing was delivered.",
	.options = options,
	.examples = examples,
	.client = true,
	.run = run_bench_fanout,
};

#define SECOND 1000000000
#define GRACE_NS (5ll * SECOND) /* without a delivery, once publishing is over */
#define ROOM_BYTES (256u << 10)
#define PUBLISHER_INDEX 0u
#define FIRST_SUBSCRIBER 1u

struct fanout {
	const struct bench_options *options;
	struct bench_figures figures; /* of deliveries */
	struct bench_figures published;
	struct bench_loop loop;
	struct bench_push push;
	struct bench_ws *subscribers;
	uint32_t made, open;
	uint8_t *room;
	struct buf target, body;
	char run_id[17];
	int64_t now_ns, delivered_ns;
};

/* {"run":"<16>","sent":"<20>","v":"..."}: the run tells our records from others. */
#define BODY_HEAD "{\"run\":\""
#define BODY_SENT "\",\"sent\":\""
#define DIGITS 20u

static void write_body(struct fanout *f)
{
	buf_appendf(&f->body, BODY_HEAD "%s" BODY_SENT "%020d\",\"v\":\"", f->run_id, 0);
	while (f->body.len + 2 < f->options->bytes)
		buf_append_byte(&f->body, (uint8_t)('a' + f->body.len * 7 % 26));
	buf_append_str(&f->body, "\"}");
}

static void on_message(void *ctx, struct slice message)
{
	struct fanout *f = ctx;
	uint64_t sent_ns;

	const uint8_t *run = memmem(message.ptr, message.len, f->run_id, 16);
	size_t skip = 16 + strlen(BODY_SENT);
	if (!run || (size_t)(message.ptr + message.len - run) < skip + DIGITS)
		return;
	if (!slice_to_u64(slice_make(run + skip, DIGITS), &sent_ns))
		return;
	f->figures.records++;
	f->figures.bytes += message.len;
	bench_latency_add(&f->figures.latency, f->now_ns - (int64_t)sent_ns);
	f->delivered_ns = f->now_ns;
}

static void drop(struct fanout *f, uint32_t i, const struct fault *fault)
{
	if (f->figures.problem[0] == 0)
		snprintf(f->figures.problem, sizeof(f->figures.problem), "a subscriber was cut: %s",
			 fault->text);
	client_shut(&f->subscribers[i].conn);
	f->open--;
}

static int subscribe_all(struct fanout *f, struct fault *fault)
{
	uint32_t n = (uint32_t)f->options->subscribers;
	struct buf target;
	int err = 0;

	f->subscribers = mem_zalloc(n, sizeof(*f->subscribers));
	f->room = mem_alloc(ROOM_BYTES);
	if (!f->subscribers || !f->room)
		return fault_set(fault, ERR_NOMEM, "no memory for %u subscribers", n);
	buf_init(&target, 64u << 10);
	bench_target(&target, f->options->topic,
		     f->options->raw ? "/ws?mode=subscribe&cursor=latest&format=raw" :
				       "/ws?mode=subscribe&cursor=latest");
	for (uint32_t i = 0; i < n && !err; i++) {
		struct bench_ws *w = &f->subscribers[i];
		err = bench_ws_open(w, &f->options->url, buf_slice(&target), fault);
		f->made++;
		f->open++;
		if (!err)
			err = bench_ws_begin(w, on_message, f, fault);
		if (!err && bench_loop_watch(&f->loop, w->conn.fd, FIRST_SUBSCRIBER + i, false, false) != 0)
			err = fault_set(fault, ERR_IO, "a connection cannot be watched");
	}
	buf_fini(&target);
	return err;
}

static int open_publisher(struct fanout *f, struct fault *fault)
{
	bench_target(&f->target, f->options->topic, "/records");
	write_body(f);
	const struct bench_push_options push = {
		.target = buf_slice(&f->target),
		.body = buf_slice(&f->body),
		.content_type = SLICE_LIT("application/json"),
		.connections = 1,
		.in_flight = (uint32_t)f->options->in_flight,
		.records = 1,
		.bytes = f->body.len,
		.rate = f->options->rate,
		.stamp_at = strlen(BODY_HEAD) + 16 + strlen(BODY_SENT),
		.index = PUBLISHER_INDEX,
	};
	return bench_push_open(&f->push, &push, &f->options->url, &f->loop, &f->published, fault);
}

static int on_event(struct fanout *f, uint32_t index, struct fault *fault)
{
	if (index == PUBLISHER_INDEX)
		return bench_push_event(&f->push, index, fault);
	struct bench_ws *w = &f->subscribers[index - FIRST_SUBSCRIBER];
	f->now_ns = bench_now_ns();
	if (w->conn.fd >= 0 && bench_ws_read(w, f->room, ROOM_BYTES, on_message, f, fault) != 0)
		drop(f, index - FIRST_SUBSCRIBER, fault);
	return 0;
}

static bool all_delivered(const struct fanout *f)
{
	return f->push.stopping && f->push.waiting == 0 &&
	       f->figures.records >= f->published.records * f->open;
}

static int run_fanout(struct fanout *f, struct fault *fault)
{
	int64_t end_ns = bench_now_ns() + (int64_t)f->options->seconds * SECOND;
	int err = 0;

	while (!err && !all_delivered(f) && f->open > 0) {
		int64_t last_ns = f->delivered_ns > end_ns ? f->delivered_ns : end_ns;
		err = bench_push_send(&f->push, fault);
		int n = err ? 0 :
			      bench_loop_wait(&f->loop, f->push.stopping ? last_ns + GRACE_NS :
									   bench_push_due(&f->push, end_ns));
		if (n < 0)
			err = fault_set(fault, n, "cannot wait for sockets");
		for (int i = 0; i < n && !err; i++)
			err = on_event(f, (uint32_t)f->loop.events[i].data.u64, fault);
		if (f->loop.stopped || bench_now_ns() >= end_ns)
			bench_push_stop(&f->push);
		if (f->push.stopping && (f->loop.stopped || bench_now_ns() >= last_ns + GRACE_NS))
			break;
	}
	return err;
}

static int report(struct fanout *f)
{
	uint64_t wanted = f->published.records * f->options->subscribers;
	char what[300];

	if (wanted > f->figures.records)
		bench_figures_error(&f->figures, wanted - f->figures.records, "%s",
				    *f->published.problem ? f->published.problem : "deliveries are missing");
	f->figures.elapsed_ns = (f->delivered_ns > f->push.ended_ns ? f->delivered_ns : f->push.ended_ns) -
				f->push.started_ns;
	snprintf(what, sizeof(what), "%llu subscribers, %llu records published, %zu B each",
		 (unsigned long long)f->options->subscribers, (unsigned long long)f->published.records,
		 f->body.len);
	return bench_report(f->options, &f->figures, "fanout", what, "due to received");
}

static int fanout(struct fanout *f)
{
	struct fault fault;

	int err = bench_loop_open(&f->loop, &fault);
	if (!err)
		err = bench_run_id(f->run_id, &fault);
	if (!err)
		err = subscribe_all(f, &fault);
	if (!err)
		err = open_publisher(f, &fault);
	if (!err)
		err = run_fanout(f, &fault);
	if (err)
		cli_say("%s", fault.text);
	if (err && f->figures.records == 0)
		return CLI_FAILED;
	int code = report(f);
	return err ? CLI_FAILED : code;
}

static int run_bench_fanout(const struct args *args)
{
	struct bench_options o = {.connections = 1,
				  .in_flight = 64,
				  .batch = 1,
				  .bytes = 100,
				  .seconds = 10,
				  .rate = 100,
				  .subscribers = 100};
	struct fanout f = {.options = &o};
	struct fault fault;

	if (bench_options_take(args, &o, &fault) != 0)
		return cli_misuse("%s", fault.text);
	buf_init(&f.target, 64u << 10);
	buf_init(&f.body, 32u << 20);
	int code = fanout(&f);
	for (uint32_t i = 0; i < f.made; i++)
		bench_ws_close(&f.subscribers[i]);
	mem_free(f.subscribers);
	mem_free(f.room);
	bench_push_close(&f.push);
	bench_loop_close(&f.loop);
	buf_fini(&f.target);
	buf_fini(&f.body);
	return code;
}
