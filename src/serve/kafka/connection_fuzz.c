/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "base/check.h"
#include "base/mem.h"
#include "base/wire.h"
#include "ingest/ingest.h"
#include "net/net_memory_fuzz.h"
#include "obs/say.h"
#include "proto/batch/batch.h"
#include "proto/kafka/kafka_api.h"
#include "serve/group_clock.h"
#include "serve/kafka/request_fuzz.h"
#include "serve/kafka/server.h"
#include "serve/txn_clock.h"
#include "sys/sim/sim.h"

/*
 * A whole connection of the Kafka port over the whole core, and only the network
 * and the disk are not real: net is over memory, the log is stepped over a
 * simulated disk. An input is what a client sends: bytes as they are, or requests that are framed here, so that the bodies are what is looked
 * for. It comes whole, or cut. Afterwards the client has gone: every call must have ended, every
 * byte of the budget be given back, and all that was stored be readable; and what was framed here is
 * answered in order, with what its API's answer looks like in that version.
 *
 * Input: a byte of flags (1 framed here, 2 users, 4 cut small, 8 two connections), then the bytes;
 * framed: API (index), version, two bytes of length, body, again and again.
 *
 * --api=NOUN: every input is framed and every request of that API, whatever the input says, in a world
 * where there is something to ask for (request_fuzz.h). --seeds=FOLDER: writes requests of it, in every version, and ends.
 */
enum { FRAMED = 1, USERS = 2, CUT = 4, TWO = 8 };

#define ASKED_MAX 4096u

#define HOUR_NS 3600000000000ll
#define START_NS 1000000000ll
#define STEPS_MAX 100000u

static struct loop the_loop;
static struct sim *sim;
static const struct kafka_api *only; /* --api */
static const char *seeds_folder;
static struct request_fuzz plausible;

/* What was framed here; its correlation is its index. */
static struct kafka_header asked[ASKED_MAX];
static uint32_t asked_count;

/* ---- turns ---- */

static bool run_log(struct log *l)
{
	bool some = false;

	for (int kind = LOG_STEP_COMMIT; kind <= LOG_STEP_READ; kind++)
		if (kind != LOG_STEP_MAINTAIN)
			some |= log_step(l, (enum log_step)kind) > 0;
	return some;
}

static bool run_conn(struct conn *c)
{
	if (c->gone)
		return false;
	if (c->closing) {
		c->gone = true;
		c->session->on_closed(c->ctx, CONN_CLOSED_BY_US);
		return true;
	}
	if (!c->present || c->stopped)
		return false;
	c->present = false;
	if (c->kept.len)
		buf_consume(&c->kept, c->session->on_bytes(c->ctx, buf_slice(&c->kept)));
	return true;
}

static void settle(struct app *app, struct conn *conns)
{
	struct loop *loop = &the_loop;

	for (unsigned steps = 0;; steps++) {
		bool some = loop_memory_run_messages(loop);
		CHECK(steps < STEPS_MAX); /* or it goes in circles */
		some |= loop_memory_run_turns(loop);
		some |= run_log(app->log);
		some |= memory_loop_run_waker(loop);
		some |= run_conn(&conns[0]);
		some |= run_conn(&conns[1]);
		if (!some)
			return;
	}
}

/* Lets so much time pass, and each timer ring in its turn. */
static void pass(struct app *app, struct conn *conns, int64_t ns)
{
	int64_t until = the_loop.now + ns;

	while (memory_loop_ring(&the_loop, until))
		settle(app, conns);
}

/* ---- the world ---- */

struct world {
	struct app app;
	struct app_loop loop;
	struct budget budget;
	struct state *state;
	struct txn_clock *txn_clock;
	struct group_clock *group_clock;
	struct kafka_server *server;
};

static void run_flush(void *ctx)
{
	ingest_flush(((struct app_loop *)ctx)->queue);
}

static void want_flush(void *ctx)
{
	app_flush_later(ctx);
}

static void build_log(struct world *w)
{
	struct log_options o = {.sys = sim_sys(sim),
				.dir = "data",
				.journal_file_bytes = 1 << 20,
				.journal_bytes_max = 4 << 20,
				.segment_bytes = 1 << 20,
				.tail_bytes_max = 1 << 20,
				.steps = true};
	struct topic_config plain = {.partitions = 2,
				     .retention_ms = -1,
				     .retention_bytes = -1,
				     .max_message_bytes = 1 << 20,
				     .idempotency_ttl_ms = 60000,
				     .compaction_dirty_percent = 50,
				     .compaction_max_lag_ms = 1000};
	struct txns_options txns = {0};
	struct groups_options groups = {0};
	struct fault fault = {0};

	CHECK(log_open(&o, &w->app.log, &fault) == 0);
	CHECK(state_new(w->app.log, &w->state) == 0);
	CHECK(topics_new(w->app.log, w->state, &plain, true, &w->app.topics) == 0);
	CHECK(offsets_new(w->app.log, w->state, &w->app.offsets) == 0);
	txns.log = groups.log = w->app.log;
	txns.state = groups.state = w->state;
	txns.topics = groups.topics = w->app.topics;
	txns.offsets = groups.offsets = w->app.offsets;
	CHECK(txns_new(&txns, &w->app.txns) == 0);
	CHECK(groups_new(&groups, &w->app.groups) == 0);
	CHECK(state_load(w->state, &fault) == 0);
	CHECK(topics_ready(w->app.topics, &fault) == 0);
	CHECK(txns_ready(w->app.txns, &fault) == 0);
	CHECK(log_start(w->app.log, &fault) == 0);
}

static void build(struct world *w, bool users)
{
	static const struct kafka_user list[] = {{"ann", "secret"}};
	struct ingest_options ingest = {0};
	struct ingest_queue_options queue = {.want_flush = want_flush, .ctx = &w->loop};
	struct kafka_server_options o = {.app = &w->app,
					 .home = &the_loop,
					 .users = list,
					 .user_count = users,
					 .request_bytes_max = 1 << 20};
	struct fault fault = {0};

	memset(w, 0, sizeof(*w));
	memory_loop_init(&the_loop, START_NS);
	budget_init(&w->budget, 64 << 20, 1);
	budget_share_init(&the_loop.share, &w->budget);
	w->app.sys = sim_sys(sim);
	w->app.loops = &w->loop;
	w->app.loop_count = 1;
	w->app.budget = &w->budget;
	build_log(w);
	ingest = (struct ingest_options){.log = w->app.log, .topics = w->app.topics, .sys = w->app.sys};
	CHECK(ingest_new(&ingest, &w->app.ingest) == 0);
	CHECK(app_loop_init(&w->app, &the_loop, &fault) == 0);
	w->loop.flush = (struct loop_turn){.run = run_flush, .ctx = &w->loop};
	queue.ingest = w->app.ingest;
	queue.port = w->loop.port;
	queue.share = &the_loop.share;
	CHECK(ingest_queue_new(&queue, &w->loop.queue) == 0);
	w->app.home = &the_loop;
	CHECK(txn_clock_new(&w->app, &the_loop, &w->txn_clock) == 0);
	CHECK(group_clock_new(&w->app, &the_loop, &w->group_clock) == 0);
	CHECK(kafka_server_new(&o, &w->server, &fault) == 0);
}

static bool read_topic(void *ctx, struct topic *topic)
{
	(void)ctx;
	for (uint32_t i = 0; i < atomic_load(&topic->partition_count); i++) {
		struct partition *p = topic_partition(topic, i);
		struct partition_range range;
		struct log_view view;
		partition_range(p, &range);
		for (int64_t at = range.start; at < range.end; at = view.next_offset) {
			struct batch_head head;
			CHECK(log_read_wait(p, at, 1 << 20, &view) == 0 && view.next_offset > at);
			CHECK(view.gap.from == view.gap.to);
			for (struct slice rest = view.batches; rest.len; rest = slice_from(rest, head.bytes))
				CHECK(batch_check(rest, &head) == 0);
			blob_unref(view.blob);
		}
	}
	return true;
}

static void take_down(struct world *w)
{
	struct fault fault = {0};

	topics_each(w->app.topics, slice_str(""), read_topic, NULL);
	kafka_server_free(w->server);
	CHECK(log_stop(w->app.log, &fault) == 0);
	app_loop_fini(&w->app, &the_loop);
	ingest_queue_free(w->loop.queue);
	ingest_free(w->app.ingest);
	txn_clock_free(w->txn_clock);
	group_clock_free(w->group_clock);
	txns_free(w->app.txns);
	groups_free(w->app.groups);
	offsets_free(w->app.offsets);
	topics_free(w->app.topics);
	state_free(w->state);
	log_close(w->app.log);
}

/* ---- the client ---- */

/* As net does it: while nothing is kept, where the session wants them. Gives how many it had room for. */
static size_t put_in_place(struct conn *c, struct slice bytes)
{
	uint8_t *to;
	size_t n;

	if (c->closing || c->gone || c->stopped || c->kept.len)
		return 0;
	n = c->session->on_room(c->ctx, &to);
	if (n > bytes.len)
		n = bytes.len;
	if (n == 0)
		return 0;
	memcpy(to, bytes.ptr, n);
	CHECK(c->session->on_bytes(c->ctx, slice_make(to, n)) == n);
	return n;
}

static void send_bytes(struct world *w, struct conn *conns, struct conn *c, struct slice bytes)
{
	if (c->closing || c->gone)
		return;
	for (size_t n; bytes.len && (n = put_in_place(c, bytes)) > 0; bytes = slice_from(bytes, n))
		settle(&w->app, conns);
	if (c->closing || c->gone || bytes.len == 0)
		return;
	CHECK(buf_append_slice(&c->kept, bytes) == 0);
	c->present = true;
	settle(&w->app, conns);
}

static void send_cut(struct world *w, struct conn *conns, struct conn *c, struct slice bytes, unsigned flags)
{
	size_t piece = flags & CUT ? 7 : bytes.len;

	while (bytes.len) {
		size_t n = piece < bytes.len ? piece : bytes.len;
		send_bytes(w, conns, c, slice_make(bytes.ptr, n));
		bytes = slice_from(bytes, n);
	}
}

static void send_request(struct world *w, struct conn *conns, struct conn *c, const struct kafka_api *api,
			 int16_t version, struct slice body, unsigned flags)
{
	struct kafka_header *header = &asked[asked_count];
	uint8_t head[4 + 8 + 3] = {0};
	size_t head_len = version >= api->flexible ? sizeof(head) : sizeof(head) - 1;
	struct buf frame;

	*header = (struct kafka_header){.api = api,
					.key = api->key,
					.version = version,
					.correlation = (int32_t)asked_count};
	asked_count++;
	wire_put_u32(head, (uint32_t)(head_len - 4 + body.len));
	wire_put_u16(head + 4, (uint16_t)api->key);
	wire_put_u16(head + 6, (uint16_t)version);
	wire_put_u32(head + 8, (uint32_t)header->correlation);
	head[12] = head[13] = 0xff; /* no client id, and no tags */
	buf_init(&frame, 1 << 20);
	CHECK(buf_append(&frame, head, head_len) == 0);
	CHECK(buf_append_slice(&frame, body) == 0);
	send_cut(w, conns, c, buf_slice(&frame), flags);
	buf_fini(&frame);
}

/* API, version, length and body become a frame with a header that is right. */
static void send_framed(struct world *w, struct conn *conns, struct slice in, unsigned flags)
{
	while (in.len >= 4 && asked_count < ASKED_MAX) {
		const struct kafka_api *api = only ? only : &kafka_apis[in.ptr[0] % KAFKA_APIS_COUNT];
		struct conn *c = &conns[flags & TWO ? in.ptr[0] / KAFKA_APIS_COUNT % 2 : 0];
		int16_t version = (int16_t)(api->served + in.ptr[1] % (api->to - api->served + 1));
		size_t n = (size_t)in.ptr[2] << 8 | in.ptr[3];
		in = slice_from(in, 4);
		if (n > in.len)
			n = in.len;
		send_request(w, conns, c, api, version, slice_make(in.ptr, n), flags);
		in = slice_from(in, n);
	}
}

/* ---- what it is answered ---- */

/* One answer; true where what follows has no header any more. */
static bool check_answer(struct slice frame, int64_t *last, bool learn)
{
	_Alignas(16) uint8_t response[REQUEST_FUZZ_STRUCT_BYTES];
	const struct kafka_header *header;
	struct arena arena;
	uint32_t number;

	CHECK(frame.len >= 4);
	number = wire_load_u32(frame.ptr);
	CHECK(number < asked_count && number > *last);
	*last = number;
	header = &asked[number];
	CHECK(header->api->response->bytes <= sizeof(response));
	arena_init(&arena, 4096, 1u << 28);
	CHECK(kafka_response_read(header, frame, &arena, response) == 0);
	if (learn)
		request_fuzz_learn(&plausible, header->key, response);
	arena_fini(&arena);
	return header->key == KAFKA_SASL_HANDSHAKE && header->version == 0;
}

/* Whole answers in order, perhaps not to all: Produce may want none, and a connection may end. */
static void check_answers(struct conn *c, bool learn)
{
	struct slice rest = buf_slice(&c->written);
	int64_t last = -1;
	bool raw = false;

	CHECK(buf_status(&c->written) == 0);
	while (rest.len && !raw) {
		uint32_t bytes;
		CHECK(rest.len >= 4);
		bytes = wire_load_u32(rest.ptr);
		CHECK(bytes <= rest.len - 4);
		raw = check_answer(slice_make(rest.ptr + 4, bytes), &last, learn);
		rest = slice_from(rest, 4 + (size_t)bytes);
	}
}

/* ---- one API ---- */

/* A topic with records, a group with a member, a transaction: unless it is the login that is looked at. */
static void make_something(struct world *w, struct conn *conns, bool users)
{
	plausible.items = 1;
	plausible.producer_id = -1;
	plausible.member_id[0] = 0;
	for (size_t i = 0; i < sizeof(request_fuzz_world) / sizeof(request_fuzz_world[0]); i++) {
		const struct request_fuzz_step *step = &request_fuzz_world[i];
		const struct kafka_api *api = kafka_api_find(step->key);
		if (step->login && !users)
			continue;
		if (step->login && only == api)
			return;
		send_request(w, conns, &conns[0], api, step->version,
			     request_fuzz_body(&plausible, api, step->version), 0);
		pass(&w->app, conns, HOUR_NS / 3600);
		check_answers(&conns[0], true);
	}
	CHECK(plausible.producer_id >= 0 && plausible.member_id[0]); /* or the table is wrong */
	CHECK(topics_find(w->app.topics, slice_str("orders")));
}

static void write_seed(uint32_t items, int16_t version)
{
	uint8_t head[5] = {FRAMED, 0, (uint8_t)(version - only->served)};
	struct slice body;
	char path[300];
	FILE *f;

	plausible.items = items;
	body = request_fuzz_body(&plausible, only, version);
	wire_put_u16(head + 3, (uint16_t)body.len);
	(void)snprintf(path, sizeof(path), "%s/v%d_%u", seeds_folder, version, items);
	f = fopen(path, "w");
	CHECK(f && fwrite(head, sizeof(head), 1, f) == 1 && fwrite(body.ptr, 1, body.len, f) == body.len);
	CHECK(fclose(f) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

static void write_seeds(void)
{
	static const uint8_t nothing = FRAMED;

	CHECK(mkdir(seeds_folder, 0777) == 0 || errno == EEXIST);
	(void)LLVMFuzzerTestOneInput(&nothing, 1); /* for ids */
	for (int16_t version = only->served; version <= only->to; version++)
		for (uint32_t items = 0; items <= 2; items++)
			write_seed(items, version);
	arena_fini(&plausible.arena);
	exit(0);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const char *const nouns[KAFKA_APIS_COUNT] = {
#define API(symbol, number, title, noun, ...) #noun,
#include "proto/kafka/kafka_api.def"
#undef API
	};
	const char *name = NULL;

	for (int i = 1; i < *argc; i++) {
		if (strncmp((*argv)[i], "--api=", 6) == 0)
			name = (*argv)[i] + 6;
		if (strncmp((*argv)[i], "--seeds=", 8) == 0)
			seeds_folder = (*argv)[i] + 8;
	}
	for (size_t i = 0; name && i < KAFKA_APIS_COUNT; i++)
		if (strcmp(nouns[i], name) == 0)
			only = &kafka_apis[i];
	if ((name || seeds_folder) && !only) {
		(void)fprintf(stderr, "connection_fuzz: no such API: %s\n", name ? name : "");
		exit(2);
	}
	if (seeds_folder)
		write_seeds();
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct world w;
	struct conn conns[2];
	unsigned flags = (size ? data[0] : 0) | (only ? FRAMED : 0);
	struct slice in = size ? slice_make(data + 1, size - 1) : slice_str("");
	struct txns_stats txns;
	struct groups_stats groups;
	int64_t held;

	if (!sim) {
		CHECK(sim_new(&(struct sim_options){.seed = 1}, &sim) == 0);
		say_start(&(struct say_options){.sys = sim_sys(sim), .level = SAY_ERROR});
	}
	sim_reset(sim, 1);
	asked_count = 0;
	arena_init(&plausible.arena, 4096, 1 << 24);
	build(&w, flags & USERS);
	held = the_loop.share.used;
	for (int i = 0; i < 2; i++) {
		conns[i] = (struct conn){.loop = &the_loop};
		buf_init(&conns[i].kept, 4 << 20);
		buf_init(&conns[i].written, 1u << 28);
		CHECK(kafka_server_accept(w.server, &conns[i]) == 0);
	}
	if (only)
		make_something(&w, conns, flags & USERS);
	if (flags & FRAMED)
		send_framed(&w, conns, in, flags);
	else
		send_cut(&w, conns, &conns[0], in, flags);
	pass(&w.app, conns, HOUR_NS / 60);
	app_loop_drain(&w.app, &the_loop);
	settle(&w.app, conns);
	for (int i = 0; i < 2; i++) {
		if (!conns[i].gone && !conns[i].closing)
			conns[i].session->on_end(conns[i].ctx);
		settle(&w.app, conns);
		CHECK(conns[i].gone);
		if (flags & FRAMED)
			check_answers(&conns[i], false);
		buf_fini(&conns[i].kept);
		buf_fini(&conns[i].written);
	}
	pass(&w.app, conns, HOUR_NS);
	CHECK(ingest_in_flight(w.loop.queue) == 0);
	/* Transactional ids and groups are known longer than their connections. */
	txns_stats(w.app.txns, &txns);
	groups_stats(w.app.groups, &groups);
	CHECK(the_loop.share.used == held + (int64_t)(txns.bytes + groups.held));
	take_down(&w);
	arena_fini(&plausible.arena);
	return 0;
}
