/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Dead letters: what is in them, what has become of them, and that both are never half: requests with bad
 * records and redrives of what they left, over a log on a simulated disk whose power is cut at random. WEIR_SEED=n runs
 * that seed alone.
 */
#include "ingest/dead.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/rand.h"
#include "base/wire.h"
#include "ingest/ingest.h"
#include "state/dead_marks.h"
#include "sys/sim/sim.h"

#define REQUESTS 400u
#define SEEDS 30u

/* A life that ends without power leaves its memory behind. */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
	return 1;
}

/* ---- what is in a letter ---- */

static struct slice one_header(struct arena *arena, const char *name, const char *value)
{
	struct slice n = slice_str(name), v = slice_str(value);
	uint8_t *at = arena_alloc(arena, batch_header_bytes(n, v));

	return slice_make(at, (size_t)(batch_header_put(at, n, v) - at));
}

static struct batch_record as_read(const struct log_record *r)
{
	return (struct batch_record){.timestamp = 77,
				     .key = r->key,
				     .value = r->value,
				     .headers = r->headers,
				     .header_count = r->header_count};
}

static struct dead_letter full_letter(struct arena *arena)
{
	struct dead_letter d;

	dead_letter_init(&d);
	d.key = SLICE_LIT("k\0k");
	d.value = SLICE_LIT("{\"a\":");
	d.headers = one_header(arena, "trace", "abc");
	d.header_count = 1;
	d.form = SLICE_LIT("application/json");
	d.idempotency_key = SLICE_LIT("id-1");
	d.partition = 3;
	d.timestamp_ms = 1700000000123;
	d.from = DEAD_FROM_SOURCE;
	d.name = SLICE_LIT("shop");
	d.topic = SLICE_LIT("orders");
	d.place = SLICE_LIT("orders.csv:17");
	d.at_ms = 1700000000999;
	d.tries = 2;
	d.code = SLICE_LIT("invalid_json");
	d.path = SLICE_LIT("/a");
	d.text = SLICE_LIT("at byte 6: expected a value");
	return d;
}

static void a_letter_says_what_it_was_told(void **state)
{
	struct log_record record;
	struct batch_record read;
	struct dead_letter d, back;
	struct arena arena;

	(void)state;
	arena_init(&arena, 4096, 1u << 20);
	d = full_letter(&arena);
	assert_int_equal(dead_letter_record(&d, &arena, &record), 0);
	read = as_read(&record);
	dead_letter_read(&read, &back);
	assert_int_equal(back.from, DEAD_FROM_SOURCE);
	assert_true(slice_eq(back.key, d.key) && slice_eq(back.value, d.value));
	assert_true(slice_eq(back.headers, d.headers) && back.header_count == 1);
	assert_true(slice_eq(back.form, d.form) && slice_eq(back.idempotency_key, d.idempotency_key));
	assert_true(slice_eq(back.name, d.name) && slice_eq(back.topic, d.topic));
	assert_true(slice_eq(back.place, d.place) && slice_eq(back.path, d.path));
	assert_true(slice_eq(back.code, d.code) && slice_eq(back.text, d.text));
	assert_true(back.undo.len > 0);
	assert_int_equal(back.partition, 3);
	assert_int_equal(back.timestamp_ms, d.timestamp_ms);
	assert_int_equal(back.at_ms, d.at_ms);
	assert_int_equal(back.tries, 2);
	assert_int_equal(back.edited, -1);
	arena_fini(&arena);
}

static void a_letter_of_a_letter_keeps_the_block_it_came_with(void **state)
{
	struct log_record first, second;
	struct batch_record read;
	struct dead_letter d, back, inner;
	struct arena arena;

	(void)state;
	arena_init(&arena, 4096, 1u << 20);
	d = full_letter(&arena);
	assert_int_equal(dead_letter_record(&d, &arena, &first), 0);
	d.headers = first.headers;
	d.header_count = first.header_count;
	d.code = SLICE_LIT("key_required");
	assert_int_equal(dead_letter_record(&d, &arena, &second), 0);
	read = as_read(&second);
	dead_letter_read(&read, &back);
	assert_true(slice_eq_str(back.code, "key_required"));
	assert_true(slice_eq(back.headers, first.headers) && back.header_count == first.header_count);
	read.headers = back.headers;
	dead_letter_read(&read, &inner);
	assert_true(slice_eq_str(inner.code, "invalid_json"));
	arena_fini(&arena);
}

static void long_texts_are_cut_between_characters(void **state)
{
	char text[3 * DEAD_TEXT_MAX];
	struct log_record record;
	struct batch_record read;
	struct dead_letter d, back;
	struct arena arena;

	(void)state;
	arena_init(&arena, 4096, 1u << 20);
	dead_letter_init(&d);
	d.from = DEAD_FROM_DOOR;
	d.code = SLICE_LIT("x");
	for (size_t i = 0; i < sizeof(text); i += 3)
		memcpy(text + i, "\xe2\x82\xac", 3);
	d.text = slice_make(text, sizeof(text));
	assert_int_equal(dead_letter_record(&d, &arena, &record), 0);
	read = as_read(&record);
	dead_letter_read(&read, &back);
	assert_int_equal(back.from, DEAD_FROM_DOOR);
	assert_int_equal(back.text.len, DEAD_TEXT_MAX / 3 * 3);
	arena_fini(&arena);
}

static void what_is_no_letter_is_unknown(void **state)
{
	struct batch_record r = {.timestamp = 77, .value = SLICE_LIT("v")};
	struct dead_letter d;
	struct arena arena;

	(void)state;
	arena_init(&arena, 4096, 1u << 20);
	dead_letter_read(&r, &d);
	assert_int_equal(d.from, DEAD_FROM_UNKNOWN);
	assert_int_equal(d.at_ms, 77);
	r.headers = one_header(&arena, "dead-letter", "1"); /* a block that says nothing */
	r.header_count = 1;
	dead_letter_read(&r, &d);
	assert_int_equal(d.from, DEAD_FROM_UNKNOWN);
	assert_int_equal(d.header_count, 1);
	r.headers = SLICE_LIT("\x7f\x01");
	dead_letter_read(&r, &d);
	assert_int_equal(d.from, DEAD_FROM_UNKNOWN);
	arena_fini(&arena);
}

/* ---- a world that dies ---- */

static const struct topic_config plain = {.partitions = 1,
					  .retention_ms = -1,
					  .retention_bytes = -1,
					  .idempotency_ttl_ms = 600000,
					  .dead_retention_ms = -1,
					  .dead_max_bytes = -1};

struct world {
	struct sim *sim;
	struct log *log;
	struct log_port *port;
	struct state *state;
	struct topics *topics;
	struct dead_marks *marks;
	struct ingest *ingest;
	struct ingest_queue *queue;
	struct rand rand;
	bool told[REQUESTS]; /* that it is stored */
	uint32_t redriven;   /* told so */
};

static void on_wake(void *ctx)
{
	(void)ctx;
}

static void up(struct world *w)
{
	struct log_options log = {.sys = sim_sys(w->sim),
				  .dir = "d",
				  .journal_file_bytes = 1u << 20,
				  .steps = true};
	struct ingest_options ingest = {.sys = sim_sys(w->sim)};
	struct ingest_queue_options queue = {0};
	struct fault fault = {0};

	if (log_open(&log, &w->log, &fault))
		fail_msg("%s", fault.text);
	assert_int_equal(state_new(w->log, &w->state), 0);
	state_set_slack(w->state, 20);
	assert_int_equal(topics_new(w->log, w->state, &plain, true, &w->topics), 0);
	assert_int_equal(dead_marks_new(w->log, w->state, w->topics, &w->marks), 0);
	if (state_load(w->state, &fault))
		fail_msg("%s", fault.text);
	assert_int_equal(topics_ready(w->topics, &fault), 0);
	assert_int_equal(log_port_new(w->log, on_wake, w, &w->port), 0);
	assert_int_equal(log_start(w->log, &fault), 0);
	ingest.log = w->log;
	ingest.topics = w->topics;
	assert_int_equal(ingest_new(&ingest, &w->ingest), 0);
	queue.ingest = w->ingest;
	queue.port = w->port;
	assert_int_equal(ingest_queue_new(&queue, &w->queue), 0);
}

static void down(struct world *w)
{
	while (log_step(w->log, LOG_STEP_COMMIT))
		;
	log_port_run(w->port);
	ingest_queue_free(w->queue);
	ingest_free(w->ingest);
	assert_int_equal(log_stop(w->log, NULL), 0);
	log_port_free(w->port);
	dead_marks_free(w->marks);
	topics_free(w->topics);
	state_free(w->state);
	log_close(w->log);
}

static void step(struct world *w)
{
	static const enum log_step kinds[] = {LOG_STEP_COMMIT, LOG_STEP_COMMIT, LOG_STEP_MOVE,
					      LOG_STEP_MAINTAIN};

	(void)log_step(w->log, kinds[rand_below(&w->rand, 4)]);
	if (rand_below(&w->rand, 2))
		log_port_run(w->port);
}

/* Calls fn for every record of partition 0 of a topic. */
static void each(struct world *w, const char *name, void (*fn)(void *ctx, const struct batch_record *r),
		 void *ctx)
{
	struct topic *topic = topics_find(w->topics, slice_str(name));
	struct partition_range range = {0};
	struct log_view view;

	if (topic)
		partition_range(topic_partition(topic, 0), &range);
	for (int64_t at = range.start; at < range.end; at = view.next_offset) {
		assert_int_equal(log_read_wait(topic_partition(topic, 0), at, 1u << 20, &view), 0);
		for (struct slice rest = view.batches; rest.len;) {
			struct batch_walk walk;
			struct batch_record r;
			assert_int_equal(batch_walk_start(&walk, rest), 0);
			while (batch_walk_next(&walk, &r) == 1)
				if (r.offset >= at)
					fn(ctx, &r);
			rest = slice_from(rest, walk.head.bytes);
		}
		blob_unref(view.blob);
	}
}

/* ---- requests: three lines, of which the second is bad ---- */

struct post {
	struct ingest_request r;
	struct arena arena;
	struct world *world;
	uint32_t number;
	char body[96];
	struct ingest_rider rider;
	struct dead_change change;
	struct topic_id dead;
	int64_t letter;
};

static void on_posted(struct ingest_request *r)
{
	struct post *p = r->ctx;

	assert_int_equal(r->result.err, 0);
	assert_int_equal(r->result.accepted, 2);
	assert_int_equal(r->result.rejected, 1);
	assert_int_equal(r->result.dead_count, 1);
	p->world->told[p->number] = true;
	arena_fini(&p->arena);
	free(p);
}

static struct post *new_post(struct world *w, ingest_fn *on_done)
{
	struct post *p = calloc(1, sizeof(*p));

	assert_non_null(p);
	p->world = w;
	arena_init(&p->arena, 4096, 1u << 20);
	ingest_request_init(&p->r, &p->arena, on_done, p);
	p->r.topic = SLICE_LIT("t");
	return p;
}

static void post_lines(struct world *w, uint32_t number)
{
	struct post *p = new_post(w, on_posted);

	p->number = number;
	(void)snprintf(p->body, sizeof(p->body), "{\"n\":%u}\n%u bad\n{\"m\":%u}\n", number, number, number);
	p->r.content_type = SLICE_LIT("application/x-ndjson");
	p->r.body = slice_str(p->body);
	p->r.on_error = INGEST_DEAD;
	assert_int_equal(ingest_start(w->queue, &p->r), 0);
	ingest_flush(w->queue);
}

/* ---- redriving, as bytes, so that it works ---- */

static int board(struct ingest_rider *rider, struct log_record *record, struct fault *fault)
{
	struct post *p = (struct post *)((char *)rider - offsetof(struct post, rider));
	int rc = dead_marks_change(p->world->marks, &p->dead, p->letter, DEAD_REDRIVEN, &p->change);

	if (rc)
		return fault_set(fault, rc, "the letter is not open");
	dead_marks_record(p->world->marks, &p->change, record);
	return 0;
}

static void landed(struct ingest_rider *rider, bool entered)
{
	struct post *p = (struct post *)((char *)rider - offsetof(struct post, rider));

	if (entered)
		dead_marks_apply(p->world->marks, &p->change);
	else
		dead_marks_forget(&p->change);
}

static void on_redriven(struct ingest_request *r)
{
	struct post *p = r->ctx;

	if (r->result.err)
		assert_int_equal(r->result.err, ERR_CONFLICT);
	else
		p->world->redriven++;
	arena_fini(&p->arena);
	free(p);
}

struct pick {
	struct world *w;
	int64_t letter;
	char value[32];
};

static void pick_one(void *ctx, const struct batch_record *r)
{
	struct pick *k = ctx;

	if (k->letter >= 0 && rand_below(&k->w->rand, 4))
		return;
	k->letter = r->offset;
	(void)snprintf(k->value, sizeof(k->value), "%.*s", (int)r->value.len, (const char *)r->value.ptr);
}

static void redrive_any(struct world *w)
{
	struct pick k = {.w = w, .letter = -1};
	struct post *p;

	each(w, "t.dead", pick_one, &k);
	if (k.letter < 0)
		return;
	p = new_post(w, on_redriven);
	p->letter = k.letter;
	p->dead = topics_find(w->topics, SLICE_LIT("t.dead"))->id;
	(void)snprintf(p->body, sizeof(p->body), "%s", k.value);
	p->r.body = slice_str(p->body);
	p->rider = (struct ingest_rider){.board = board, .landed = landed};
	p->r.rider = &p->rider;
	assert_int_equal(ingest_start(w->queue, &p->r), 0);
	ingest_flush(w->queue);
}

/* ---- what must hold ---- */

struct tally {
	struct world *w;
	uint8_t first[REQUESTS], second[REQUESTS], bad[REQUESTS], redriven[REQUESTS];
	struct topic_id dead;
	uint8_t marked[REQUESTS];
	uint32_t marks;
};

/* A number below REQUESTS between two texts. */
static bool number_in(struct slice value, const char *before, const char *behind, uint64_t *n)
{
	size_t b = strlen(before), e = strlen(behind);

	return value.len > b + e && memcmp(value.ptr, before, b) == 0 &&
	       memcmp(value.ptr + value.len - e, behind, e) == 0 &&
	       slice_to_u64(slice_make(value.ptr + b, value.len - b - e), n) && *n < REQUESTS;
}

static void tally_good(void *ctx, const struct batch_record *r)
{
	struct tally *t = ctx;
	uint64_t n = 0;

	if (number_in(r->value, "{\"n\":", "}", &n))
		t->first[n]++;
	else if (number_in(r->value, "{\"m\":", "}", &n))
		t->second[n]++;
	else if (number_in(r->value, "", " bad", &n))
		t->redriven[n]++;
	else
		fail_msg("what is %.*s?", (int)r->value.len, (const char *)r->value.ptr);
}

static void tally_dead(void *ctx, const struct batch_record *r)
{
	struct tally *t = ctx;
	struct dead_letter d;
	uint64_t n = 0;

	dead_letter_read(r, &d);
	assert_int_equal(d.from, DEAD_FROM_DOOR);
	assert_true(slice_eq_str(d.code, "invalid_json") && slice_eq_str(d.place, "line 2 of the request"));
	assert_true(number_in(d.value, "", " bad", &n));
	t->bad[n]++;
	if (dead_marks_get(t->w->marks, &t->dead, r->offset).state == DEAD_REDRIVEN) {
		t->marked[n]++;
		t->marks++;
	}
}

static void check(struct world *w)
{
	struct topic *dead = topics_find(w->topics, SLICE_LIT("t.dead"));
	struct tally t = {.w = w};
	struct partition_range range = {0};

	if (dead)
		t.dead = dead->id;
	each(w, "t", tally_good, &t);
	each(w, "t.dead", tally_dead, &t);
	for (uint32_t n = 0; n < REQUESTS; n++) {
		assert_true(t.first[n] <= 1 && t.first[n] == t.second[n] && t.first[n] == t.bad[n]);
		assert_int_equal(t.redriven[n], t.marked[n]);
		if (w->told[n])
			assert_int_equal(t.first[n], 1);
	}
	assert_true(t.marks >= w->redriven);
	if (!dead)
		return;
	partition_range(topic_partition(dead, 0), &range);
	assert_int_equal(dead_marks_open(w->marks, &dead->id, range.start, range.end).count,
			 (uint64_t)(range.end - range.start) - t.marks);
}

static void live(struct world *w, uint32_t *next)
{
	uint64_t steps = 5 + rand_below(&w->rand, 60);

	for (uint64_t i = 0; i < steps; i++) {
		uint64_t what = rand_below(&w->rand, 10);
		if (what < 3 && *next < REQUESTS)
			post_lines(w, (*next)++);
		else if (what < 5)
			redrive_any(w);
		else
			step(w);
	}
}

static void run_seed(uint64_t seed)
{
	struct sim_options options = {.seed = seed};
	struct world *w = calloc(1, sizeof(*w));
	uint32_t next = 0;

	assert_non_null(w);
	print_message("seed %llu\n", (unsigned long long)seed);
	rand_seed(&w->rand, seed);
	assert_int_equal(sim_new(&options, &w->sim), 0);
	for (int life = 0; life < 12; life++) {
		up(w);
		check(w);
		live(w, &next);
		sim_cut(w->sim, (enum sim_cut)rand_below(&w->rand, 3));
	}
	up(w);
	check(w);
	assert_true(next > 20 && w->redriven > 0);
	down(w);
	sim_free(w->sim);
	free(w);
}

static void power_may_go_at_any_time(void **state)
{
	const char *seed = getenv("WEIR_SEED");

	(void)state;
	if (seed) {
		run_seed(strtoull(seed, NULL, 10));
		return;
	}
	for (uint64_t i = 1; i <= SEEDS; i++)
		run_seed(i);
}

/* ---- marks ---- */

static int put(struct world *w, const struct topic_id *id, int64_t offset, enum dead_state to)
{
	int rc;

	log_enter_begin(w->log);
	rc = dead_marks_put(w->marks, id, offset, to, NULL);
	log_enter_end(w->log);
	return rc;
}

static void only_what_is_open_can_be_marked(void **state)
{
	struct sim_options options = {.seed = 1};
	struct world w = {0};
	struct topic_id id = {.bytes = "0123456789abcde"};
	struct dead_open open;

	(void)state;
	assert_int_equal(sim_new(&options, &w.sim), 0);
	rand_seed(&w.rand, 1);
	up(&w);
	assert_int_equal(put(&w, &id, 5, DEAD_OPEN), 0);
	assert_int_equal(put(&w, &id, 5, DEAD_OPEN), 0);
	assert_int_equal(dead_marks_get(w.marks, &id, 5).failed, 2);
	assert_int_equal(put(&w, &id, 5, DEAD_DROPPED), 0);
	assert_int_equal(put(&w, &id, 5, DEAD_REDRIVEN), ERR_CONFLICT);
	assert_int_equal(put(&w, &id, 255, DEAD_REDRIVEN), 0);
	assert_int_equal(put(&w, &id, 256, DEAD_EDITED), 0);
	open = dead_marks_open(w.marks, &id, 5, 1000);
	assert_int_equal(open.count, 1000 - 5 - 3);
	assert_int_equal(open.first, 6);
	open = dead_marks_open(w.marks, &id, 255, 257);
	assert_int_equal(open.count, 0);
	assert_int_equal(open.first, 257);
	down(&w);
	up(&w);
	assert_int_equal(dead_marks_get(w.marks, &id, 5).state, DEAD_DROPPED);
	assert_int_equal(dead_marks_get(w.marks, &id, 5).failed, 2);
	assert_int_equal(dead_marks_get(w.marks, &id, 255).state, DEAD_REDRIVEN);
	assert_int_equal(dead_marks_get(w.marks, &id, 256).state, DEAD_EDITED);
	assert_int_equal(dead_marks_get(w.marks, &id, 257).state, DEAD_OPEN);
	down(&w);
	sim_free(w.sim);
}

static void marks_of_a_topic_that_is_gone_go(void **state)
{
	struct sim_options options = {.seed = 1};
	struct world w = {0};
	struct topic_id id = {.bytes = "0123456789abcde"};

	(void)state;
	assert_int_equal(sim_new(&options, &w.sim), 0);
	rand_seed(&w.rand, 1);
	up(&w);
	for (int64_t i = 0; i < 1000; i++) { /* as many as make it look */
		assert_int_equal(put(&w, &id, i, DEAD_DROPPED), 0);
		while (log_step(w.log, LOG_STEP_COMMIT))
			;
	}
	assert_int_equal(dead_marks_get(w.marks, &id, 0).state, DEAD_OPEN);
	assert_int_equal(dead_marks_get(w.marks, &id, 999).state, DEAD_OPEN);
	down(&w);
	up(&w);
	assert_int_equal(dead_marks_get(w.marks, &id, 0).state, DEAD_OPEN);
	down(&w);
	sim_free(w.sim);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_letter_says_what_it_was_told),
		cmocka_unit_test(a_letter_of_a_letter_keeps_the_block_it_came_with),
		cmocka_unit_test(long_texts_are_cut_between_characters),
		cmocka_unit_test(what_is_no_letter_is_unknown),
		cmocka_unit_test(only_what_is_open_can_be_marked),
		cmocka_unit_test(marks_of_a_topic_that_is_gone_go),
		cmocka_unit_test(power_may_go_at_any_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
