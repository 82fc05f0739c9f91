/* SPDX-License-Identifier: Apache-2.0 */
/* Fetches over a real log in a directory of its own; the loop is this thread. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/rand.h"
#include "deliver/inner.h"
#include "deliver/turns_test.h"
#include "log/log_world_test.h"
#include "log/producers.h"
#include "proto/batch/batch.h"
#include "state/topics_world_test.h"
#include "sys/test_dir.h"

#define PARTITIONS 5u
#define BATCHES_MAX 4096u

static const struct topic_config plain = {.partitions = PARTITIONS,
					  .retention_ms = -1,
					  .retention_bytes = -1,
					  .idempotency_ttl_ms = 1000};

/* What a partition holds, batch by batch: the model's knowledge. */
struct shelf {
	uint32_t count;
	struct {
		int64_t base, last;
		size_t bytes;
	} batches[BATCHES_MAX];
};

struct world {
	char dir[TEST_DIR_BYTES];
	struct sys_ops ops;
	struct sys sys;
	struct budget budget;
	struct budget_share share;
	struct log *log;
	struct state *state;
	struct topics *topics;
	struct topic *topic;
	struct log_port *port;
	struct hub *hub;
	struct arena arena;
	struct rand rand;
	sem_t woken;
	struct fetch fetch;
	struct fetch_part parts[PARTITIONS * 2];
	sem_t gates[2];    /* reads from disk that wait for them: gated_pread */
	int done;          /* calls of on_done */
	size_t file_bytes; /* that were given as ranges of files */
	struct shelf shelves[PARTITIONS];
};

/* ---- the world ---- */

static void turn_loop(struct world *w)
{
	turn_run(w->port, w->hub);
}

static void await_turn(struct world *w)
{
	turn_await(&w->woken, w->port, w->hub);
}

static void up(struct world *w)
{
	struct log_options options = {.sys = &w->sys,
				      .dir = w->dir,
				      .journal_file_bytes = 1u << 22,
				      .tail_bytes_max = 1u << 16,
				      .segment_bytes = 1u << 17,
				      .readers = 3};
	struct hub_options hub;
	struct fault fault = {0};

	topics_world_open(&options, &plain, true, &w->log, &w->state, &w->topics);
	topics_world_load(w->state, w->topics);
	assert_int_equal(log_port_new(w->log, turn_wake, &w->woken, &w->port), 0);
	hub = (struct hub_options){.log = w->log, .topics = w->topics, .port = w->port, .share = &w->share};
	assert_int_equal(hub_new(&hub, &w->hub), 0);
	assert_int_equal(log_start(w->log, &fault), 0);
	w->topic = topics_find(w->topics, slice_str("t"));
}

static void down(struct world *w)
{
	assert_int_equal(log_stop(w->log, NULL), 0);
	hub_free(w->hub);
	topics_free(w->topics);
	state_free(w->state);
	log_port_free(w->port);
	log_close(w->log);
}

static int set_up(void **state)
{
	struct world *w = mem_zalloc(1, sizeof(*w));

	assert_true(test_dir_make(w->dir, "fetch-test"));
	w->ops = *sys_kernel()->ops;
	w->sys = (struct sys){.ops = &w->ops, .self = sys_kernel()->self};
	(void)sem_init(&w->woken, 0, 0);
	(void)sem_init(&w->gates[0], 0, 0);
	(void)sem_init(&w->gates[1], 0, 0);
	budget_init(&w->budget, 1 << 30, 1);
	budget_share_init(&w->share, &w->budget);
	arena_init(&w->arena, 4096, 1 << 24);
	rand_seed(&w->rand, 3);
	up(w);
	w->topic = topics_world_create(w->log, w->topics, "t", &plain);
	*state = w;
	return 0;
}

static void open_gates(struct world *w)
{
	for (int i = 0; i < 64; i++) {
		(void)sem_post(&w->gates[0]);
		(void)sem_post(&w->gates[1]);
	}
}

static int tear_down(void **state)
{
	struct world *w = *state;

	open_gates(w);
	assert_int_equal(w->hub->stats.watches, 0);
	assert_int_equal(w->hub->stats.parked, 0);
	down(w);
	arena_fini(&w->arena);
	(void)test_dir_remove(w->dir);
	mem_free(w);
	return 0;
}

/* ---- appending ---- */

struct production {
	struct log_commit commit; /* first */
	struct log_record records[8];
	char value[20000];
	bool done;
};

static void on_committed(struct log_commit *commit)
{
	((struct production *)(void *)commit)->done = true;
}

/* One commit, of `count` records, each of `bytes`: a batch in that partition. */
static void append(struct world *w, uint32_t partition, uint32_t count, size_t bytes)
{
	struct production *p = mem_zalloc(1, sizeof(*p));

	p->commit = (struct log_commit){.records = p->records,
					.record_count = count,
					.port = w->port,
					.on_done = on_committed};
	for (uint32_t i = 0; i < count; i++)
		p->records[i] = (struct log_record){.partition = topic_partition(w->topic, partition),
						    .timestamp_ms = -1,
						    .value = slice_make(p->value, bytes)};
	assert_int_equal(log_world_enter(w->log, &p->commit), 0);
	while (!p->done)
		await_turn(w);
	mem_free(p);
}

static void append_some(struct world *w, uint32_t commits)
{
	for (uint32_t i = 0; i < commits; i++)
		append(w, (uint32_t)rand_below(&w->rand, PARTITIONS), 1 + (uint32_t)rand_below(&w->rand, 7),
		       rand_below(&w->rand, rand_below(&w->rand, 8) ? 300 : 20000));
}

static int would_wait(void)
{
	return -EAGAIN;
}

static int64_t never_now(void *self, int fd, void *bytes, size_t n, uint64_t at)
{
	(void)self, (void)fd, (void)bytes, (void)n, (void)at;
	return would_wait();
}

/* ---- the model ---- */

static void put_on_shelf(struct shelf *s, struct slice batches)
{
	struct batch_head head;

	while (batches.len > 0) {
		assert_int_equal(batch_check(batches, &head), 0);
		assert_true(s->count < BATCHES_MAX);
		s->batches[s->count].base = head.base_offset;
		s->batches[s->count].last = batch_last_offset(&head);
		s->batches[s->count++].bytes = head.bytes;
		batches = slice_from(batches, head.bytes);
	}
}

static void look_at_shelf(struct world *w, uint32_t partition)
{
	struct partition *p = topic_partition(w->topic, partition);
	struct shelf *s = &w->shelves[partition];
	struct log_view view;
	int64_t at = s->count ? s->batches[s->count - 1].last + 1 : 0;

	while (log_read_wait(p, at, 1 << 20, &view) == LOG_READ_OK) {
		assert_true(view.gap.from == view.gap.to);
		put_on_shelf(s, view.batches);
		at = view.next_offset;
		blob_unref(view.blob);
	}
}

static void look_at_shelves(struct world *w)
{
	for (uint32_t i = 0; i < PARTITIONS; i++)
		look_at_shelf(w, i);
}

static const struct shelf *shelf_of(struct world *w, const struct fetch_part *part)
{
	return &w->shelves[partition_number(part->partition)];
}

static int64_t end_of(const struct shelf *s)
{
	return s->count ? s->batches[s->count - 1].last + 1 : 0;
}

struct answer {
	size_t bytes, counted;
	bool full, failed;
	struct {
		int64_t first, next; /* equal: nothing */
		size_t bytes;
		int error;
	} parts[PARTITIONS * 2];
};

/* Kafka's rules, over a list of batches. */
static void predict(struct world *w, const struct fetch_options *o, struct answer *a)
{
	*a = (struct answer){0};
	for (uint32_t i = 0; i < o->part_count; i++) {
		const struct fetch_part *part = &o->parts[i];
		const struct shelf *s = shelf_of(w, part);
		uint32_t at = 0;
		bool part_full = false;
		size_t there;
		a->parts[i].first = a->parts[i].next = part->offset;
		if (part->offset > end_of(s)) {
			a->parts[i].error = ERR_CURSOR_AHEAD;
			a->failed = true;
			continue;
		}
		while (at < s->count && s->batches[at].last < part->offset)
			at++;
		if (at < s->count)
			a->parts[i].first = s->batches[at].base;
		for (; at < s->count; at++) {
			size_t bytes = s->batches[at].bytes;
			bool first = a->bytes == 0;
			part_full = a->parts[i].bytes + bytes > part->bytes_max;
			if (!first && a->bytes + bytes > o->bytes_max &&
			    o->bytes_max - (a->bytes < o->bytes_max ? a->bytes : o->bytes_max) <=
				    part->bytes_max - (a->parts[i].bytes < part->bytes_max ?
							       a->parts[i].bytes :
							       part->bytes_max))
				a->full = true;
			if (!first && (part_full || a->bytes + bytes > o->bytes_max))
				break;
			a->bytes += bytes;
			a->parts[i].bytes += bytes;
			a->parts[i].next = s->batches[at].last + 1;
		}
		for (there = a->parts[i].bytes; at < s->count; at++)
			there += s->batches[at].bytes;
		a->counted += there < part->bytes_max ? there : part->bytes_max;
	}
}

static void assert_part(struct world *w, const struct fetch_part *part, const struct answer *a, uint32_t i)
{
	int64_t expect = a->parts[i].first;
	size_t bytes = 0;

	assert_int_equal(part->error, a->parts[i].error);
	for (const struct fetch_piece *piece = part->first; piece; piece = piece->next) {
		uint8_t *copy = piece->file ? mem_alloc(piece->part.len) : NULL;
		struct slice rest = copy ? slice_make(copy, piece->part.len) : piece->part;
		struct batch_head head;
		if (copy)
			assert_int_equal(pread(piece->file->fd, copy, rest.len, (off_t)piece->file_at),
					 rest.len);
		bytes += rest.len;
		w->file_bytes += copy ? rest.len : 0;
		for (; rest.len > 0; rest = slice_from(rest, head.bytes)) {
			assert_int_equal(batch_check(rest, &head), 0);
			assert_int_equal(head.base_offset, expect);
			expect = batch_last_offset(&head) + 1;
		}
		mem_free(copy);
	}
	assert_int_equal(bytes, part->bytes);
	assert_int_equal(bytes, a->parts[i].bytes);
	if (bytes > 0)
		assert_int_equal(expect, a->parts[i].next);
}

static void assert_answer(struct world *w, const struct fetch_options *o)
{
	struct answer a;

	look_at_shelves(w);
	predict(w, o, &a);
	for (uint32_t i = 0; i < o->part_count; i++) {
		assert_part(w, &o->parts[i], &a, i);
		assert_int_equal(o->parts[i].end, end_of(shelf_of(w, &o->parts[i])));
		assert_int_equal(o->parts[i].start, 0);
	}
	assert_int_equal(w->fetch.bytes, a.bytes);
	fetch_drop(&w->fetch);
}

/* `read`: what is given counts whole, as in the first look, before anything waits. */
static bool is_due(struct world *w, const struct fetch_options *o, bool read)
{
	size_t wanted = o->bytes_min < o->bytes_max ? o->bytes_min : o->bytes_max;
	struct answer a;

	look_at_shelves(w);
	predict(w, o, &a);
	return a.failed || a.counted >= wanted || (read && (a.full || a.bytes >= wanted));
}

/* ---- asking ---- */

static void on_done(void *ctx, struct fetch *f)
{
	struct world *w = ctx;

	assert_ptr_equal(f, &w->fetch);
	w->done++;
}

static struct fetch_options ask(struct world *w, uint32_t count)
{
	return (struct fetch_options){.hub = w->hub,
				      .parts = w->parts,
				      .part_count = count,
				      .wait = true,
				      .bytes_min = 1,
				      .bytes_max = 1 << 20,
				      .arena = &w->arena,
				      .on_done = on_done,
				      .ctx = w};
}

static void ask_part(struct world *w, uint32_t i, uint32_t partition, int64_t offset, uint32_t bytes_max)
{
	w->parts[i] = (struct fetch_part){.partition = topic_partition(w->topic, partition),
					  .offset = offset,
					  .bytes_max = bytes_max};
}

static void finish_reads(struct world *w, enum fetch_result rc)
{
	int before = w->done;

	while (rc == FETCH_LATER && w->done == before)
		await_turn(w);
}

/* Everything that is random about one question. */
static struct fetch_options ask_anything(struct world *w)
{
	struct fetch_options o = ask(w, 1 + (uint32_t)rand_below(&w->rand, PARTITIONS * 2));

	o.bytes_max = 1 + rand_below(&w->rand, rand_below(&w->rand, 2) ? 3000 : 100000);
	o.committed = rand_below(&w->rand, 2);
	o.files = rand_below(&w->rand, 2);
	if (rand_below(&w->rand, 8) == 0)
		o.bytes_max = 1 << 20;
	for (uint32_t i = 0; i < o.part_count; i++) {
		uint32_t partition = (uint32_t)rand_below(&w->rand, PARTITIONS);
		int64_t end = end_of(&w->shelves[partition]);
		int64_t offset = (int64_t)rand_below(&w->rand, (uint64_t)end + 1);
		if (rand_below(&w->rand, 3) == 0)
			offset = end;
		if (rand_below(&w->rand, 60) == 0)
			offset = end + 1;
		ask_part(w, i, partition, offset,
			 1 + (uint32_t)rand_below(&w->rand, rand_below(&w->rand, 2) ? 2000 : 400000));
	}
	return o;
}

static void answers_are_those_of_the_model(struct world *w, int rounds)
{
	for (int i = 0; i < rounds; i++) {
		struct fetch_options o;
		look_at_shelves(w);
		o = ask_anything(w);
		o.wait = false;
		finish_reads(w, fetch_start(&w->fetch, &o));
		assert_answer(w, &o);
		arena_reset(&w->arena);
	}
}

static void any_question_gets_what_the_model_says(void **state)
{
	struct world *w = *state;

	rand_seed(&w->rand, 7);
	for (int i = 0; i < 12; i++) {
		append_some(w, 40);
		if (i % 2 == 1) /* all of it is in segments then */
			assert_int_equal(log_checkpoint(w->log, NULL), 0);
		answers_are_those_of_the_model(w, 150);
	}
	assert_true(w->file_bytes > 0);
	w->ops.pread_nowait = never_now; /* all that is not in memory comes from the pool */
	answers_are_those_of_the_model(w, 600);
	down(w);
	up(w);
	answers_are_those_of_the_model(w, 600);
}

/* Waits by the minimum while records come, now here, now there: it must end in the step in which the model says so. */
static void wait_as_the_model(struct world *w)
{
	struct fetch_options o;
	enum fetch_result rc;

	look_at_shelves(w);
	o = ask_anything(w);
	o.bytes_min = rand_below(&w->rand, 4000);
	for (uint32_t i = 0; i < o.part_count; i++)
		if (rand_below(&w->rand, 4))
			o.parts[i].offset = end_of(shelf_of(w, &o.parts[i]));
	w->done = 0;
	rc = fetch_start(&w->fetch, &o);
	for (int step = 0; step < 12; step++) {
		while (w->hub->reads)
			await_turn(w);
		turn_loop(w);
		if (rc == FETCH_DONE || w->done)
			break;
		assert_false(is_due(w, &o, false));
		append(w, (uint32_t)rand_below(&w->rand, PARTITIONS), 1, rand_below(&w->rand, 900));
	}
	if (rc != FETCH_DONE && !w->done)
		finish_reads(w, fetch_expire(&w->fetch));
	else
		assert_true(is_due(w, &o, true));
	assert_answer(w, &o);
	arena_reset(&w->arena);
}

static void waiting_ends_when_the_model_says_so(void **state)
{
	struct world *w = *state;

	rand_seed(&w->rand, 11);
	append_some(w, 60);
	for (int i = 0; i < 400; i++)
		wait_as_the_model(w);
	w->ops.pread_nowait = never_now;
	for (int i = 0; i < 200; i++)
		wait_as_the_model(w);
}

/* ---- one thing at a time ---- */

static void a_parked_fetch_is_woken_once_by_a_commit(void **state)
{
	struct world *w = *state;
	struct fetch_options o = ask(w, 2);
	uint64_t wakes;

	ask_part(w, 0, 0, 0, 1 << 20);
	ask_part(w, 1, 1, 0, 1 << 20);
	assert_int_equal(fetch_start(&w->fetch, &o), FETCH_LATER);
	assert_int_equal(w->hub->stats.parked, 1);
	assert_int_equal(w->hub->stats.watches, 2);
	append(w, 2, 1, 10); /* not one of its own */
	turn_loop(w);
	assert_int_equal(w->done, 0);
	wakes = w->hub->stats.wakes;
	append(w, 1, 1, 10);
	turn_loop(w);
	assert_int_equal(w->done, 1);
	assert_int_equal(w->hub->stats.wakes, wakes + 1);
	assert_int_equal(w->hub->stats.watches, 0);
	assert_answer(w, &o);
}

static void an_answer_that_is_there_takes_no_watch(void **state)
{
	struct world *w = *state;
	struct fetch_options o = ask(w, 1);

	append(w, 0, 3, 10);
	ask_part(w, 0, 0, 1, 1 << 20);
	assert_int_equal(fetch_start(&w->fetch, &o), FETCH_DONE);
	assert_int_equal(w->hub->stats.watches, 0);
	assert_answer(w, &o); /* the batch from its beginning, which holds the offset */
	fetch_cut(&w->fetch); /* and nothing happens to it any more */
}

static void time_is_up_with_nothing(void **state)
{
	struct world *w = *state;
	struct fetch_options o = ask(w, 1);

	ask_part(w, 0, 0, 0, 1 << 20);
	assert_int_equal(fetch_start(&w->fetch, &o), FETCH_LATER);
	assert_int_equal(fetch_expire(&w->fetch), FETCH_DONE);
	assert_null(w->parts[0].first);
	assert_int_equal(w->parts[0].error, 0);
	assert_int_equal(w->parts[0].end, 0);
	append(w, 0, 1, 10);
	turn_loop(w);
	assert_int_equal(w->done, 0);
}

static void an_error_of_one_answers_for_all(void **state)
{
	struct world *w = *state;
	struct fetch_options o = ask(w, 3);

	append(w, 1, 2, 10);
	ask_part(w, 0, 0, 5, 1 << 20); /* past the end */
	ask_part(w, 1, 1, 0, 1 << 20);
	w->parts[2] = (struct fetch_part){.error = ERR_UNKNOWN_TOPIC};
	o.bytes_min = 1 << 20;
	assert_int_equal(fetch_start(&w->fetch, &o), FETCH_DONE);
	assert_int_equal(w->parts[0].error, ERR_CURSOR_AHEAD);
	assert_int_equal(w->parts[0].end, 0);
	assert_true(w->parts[1].bytes > 0);
	assert_int_equal(w->parts[2].error, ERR_UNKNOWN_TOPIC);
	assert_int_equal(w->parts[2].end, -1);
	fetch_drop(&w->fetch);
}

static void a_trim_behind_a_waiting_fetch_ends_it(void **state)
{
	struct world *w = *state;
	struct fetch_options o = ask(w, 1);

	append(w, 0, 5, 10);
	ask_part(w, 0, 0, 0, 1 << 20);
	o.bytes_min = 1 << 20;
	assert_int_equal(fetch_start(&w->fetch, &o), FETCH_LATER);
	partition_trim(topic_partition(w->topic, 0), 3);
	turn_loop(w);
	assert_int_equal(w->done, 1);
	assert_int_equal(w->parts[0].error, ERR_CURSOR_GONE);
	assert_int_equal(w->parts[0].start, 3);
}

static void a_deleted_topic_ends_it(void **state)
{
	struct world *w = *state;
	struct fetch_options o = ask(w, 2);

	ask_part(w, 0, 0, 0, 1 << 20);
	ask_part(w, 1, 1, 0, 1 << 20);
	assert_int_equal(fetch_start(&w->fetch, &o), FETCH_LATER);
	assert_int_equal(topics_world_delete(w->log, w->topics, w->topic), 0);
	while (!w->done)
		await_turn(w);
	assert_int_equal(w->parts[0].error, ERR_UNKNOWN_TOPIC);
}

static void without_memory_there_is_less_but_no_loop(void **state)
{
	struct world *w = *state;
	struct fetch_options o = ask(w, PARTITIONS);
	uint64_t calls;

	append_some(w, 50);
	look_at_shelves(w);
	for (uint32_t i = 0; i < PARTITIONS; i++)
		ask_part(w, i, i, i % 2 ? 0 : end_of(&w->shelves[i]), 1 << 20);
	o.bytes_min = 1 << 21;
	o.bytes_max = 1 << 22;
	w->ops.pread_nowait = never_now;
	calls = mem_calls();
	finish_reads(w, fetch_start(&w->fetch, &o) == FETCH_LATER ? fetch_expire(&w->fetch) : FETCH_DONE);
	calls = mem_calls() - calls;
	fetch_drop(&w->fetch);
	for (uint64_t n = 1; n <= calls; n++) {
		enum fetch_result rc;
		mem_fail_at(n);
		w->done = 0;
		rc = fetch_start(&w->fetch, &o);
		while (w->hub->reads)
			await_turn(w);
		mem_fail_at(0);
		if (rc == FETCH_LATER && !w->done)
			finish_reads(w, fetch_expire(&w->fetch));
		fetch_drop(&w->fetch);
	}
}

/* ---- transactions ---- */

static void enter_batch(struct world *w, uint32_t partition, struct slice batch)
{
	struct production *p = mem_zalloc(1, sizeof(*p));
	struct producer_answer answer;
	struct batch_head head;
	int verdict = PRODUCER_NEXT;

	assert_int_equal(batch_head_read(batch, &head), 0);
	p->records[0] = (struct log_record){.partition = topic_partition(w->topic, partition),
					    .timestamp_ms = -1,
					    .value = batch,
					    .batch_records = (uint32_t)head.last_offset_delta + 1};
	p->commit = (struct log_commit){.records = p->records,
					.record_count = 1,
					.port = w->port,
					.on_done = on_committed};
	log_enter_begin(w->log);
	if (!batch_is_control(&head))
		verdict = producer_check(p->records[0].partition, &head, &answer, NULL);
	int err = log_enter(w->log, &p->commit);
	log_enter_end(w->log);
	assert_int_equal(verdict, PRODUCER_NEXT);
	assert_int_equal(err, 0);
	while (!p->done)
		await_turn(w);
	mem_free(p);
}

static void write_in_transaction(struct world *w, uint32_t partition, int64_t producer, int32_t sequence)
{
	uint8_t bytes[256];
	struct batch_build b;
	struct batch_head head;
	struct slice batch;

	batch_build_start(&b, bytes, 0);
	batch_build_put(&b, &(struct batch_record){.timestamp = 1000, .value = SLICE_LIT("x")});
	batch = batch_build_finish(&b);
	assert_int_equal(batch_head_read(batch, &head), 0);
	head.attributes = BATCH_IS_TRANSACTIONAL;
	head.producer_id = producer;
	head.producer_epoch = 0;
	head.base_sequence = sequence;
	batch_head_put(bytes, &head);
	enter_batch(w, partition, batch);
}

static void end_transaction(struct world *w, uint32_t partition, int64_t producer, bool commit)
{
	struct batch_marker m = {.producer_id = producer, .timestamp_ms = 1000, .commit = commit};
	uint8_t bytes[BATCH_MARKER_BYTES];

	(void)batch_put_marker(bytes, &m);
	enter_batch(w, partition, slice_make(bytes, sizeof(bytes)));
}

static void committed_ends_where_a_transaction_is_open(void **state)
{
	struct world *w = *state;
	struct fetch_options o = ask(w, 1);

	append(w, 0, 2, 10);
	write_in_transaction(w, 0, 7, 0); /* offset 2 */
	append(w, 0, 1, 10);
	ask_part(w, 0, 0, 0, 1 << 20);
	assert_int_equal(fetch_start(&w->fetch, &o), FETCH_DONE);
	assert_int_equal(w->parts[0].next, 4);
	assert_int_equal(w->parts[0].stable, 2);
	assert_null(w->parts[0].aborted);
	fetch_drop(&w->fetch);
	o.committed = true;
	assert_int_equal(fetch_start(&w->fetch, &o), FETCH_DONE);
	assert_int_equal(w->parts[0].next, 2);
	assert_int_equal(w->parts[0].end, 4);
	fetch_drop(&w->fetch);
	/* At the last stable offset it waits, though there is more; the end of the transaction wakes it. */
	ask_part(w, 0, 0, 2, 1 << 20);
	assert_int_equal(fetch_start(&w->fetch, &o), FETCH_LATER);
	append(w, 0, 1, 10);
	turn_loop(w);
	assert_int_equal(w->done, 0);
	end_transaction(w, 0, 7, false); /* offset 5 */
	turn_loop(w);
	assert_int_equal(w->done, 1);
	assert_int_equal(w->parts[0].next, 6);
	assert_int_equal(w->parts[0].stable, 6);
	assert_int_equal(w->parts[0].aborted_count, 1);
	assert_int_equal(w->parts[0].aborted[0].producer_id, 7);
	assert_int_equal(w->parts[0].aborted[0].first_offset, 2);
	fetch_drop(&w->fetch);
	/* Who begins behind what was aborted is not told of it. */
	write_in_transaction(w, 0, 7, 1);
	end_transaction(w, 0, 7, true);
	ask_part(w, 0, 0, 6, 1 << 20);
	assert_int_equal(fetch_start(&w->fetch, &o), FETCH_DONE);
	assert_int_equal(w->parts[0].next, 8);
	assert_int_equal(w->parts[0].aborted_count, 0);
	fetch_drop(&w->fetch);
}

static void more_aborted_transactions_than_a_few(void **state)
{
	struct world *w = *state;
	struct fetch_options o = ask(w, 1);

	for (int i = 0; i < 40; i++) {
		write_in_transaction(w, 0, 100 + i, 0);
		end_transaction(w, 0, 100 + i, i % 2);
	}
	ask_part(w, 0, 0, 0, 1 << 20);
	o.committed = true;
	assert_int_equal(fetch_start(&w->fetch, &o), FETCH_DONE);
	assert_int_equal(w->parts[0].aborted_count, 20);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(w->parts[0].aborted[i].producer_id, 100 + 2 * i);
		assert_int_equal(w->parts[0].aborted[i].first_offset, 4 * i);
	}
	fetch_drop(&w->fetch);
}

/* A budget that is full gives one batch, whatever was asked for. */
static void a_full_budget_gives_one_batch(void **state)
{
	struct world *w = *state;
	struct fetch_options o = ask(w, 2);

	for (int i = 0; i < 10; i++)
		append(w, 0, 1, 100), append(w, 1, 1, 100);
	ask_part(w, 0, 0, 0, 1 << 20);
	ask_part(w, 1, 1, 0, 1 << 20);
	atomic_fetch_add(&w->budget.used, 1 << 30);
	assert_int_equal(fetch_start(&w->fetch, &o), FETCH_DONE);
	atomic_fetch_sub(&w->budget.used, 1 << 30);
	assert_non_null(w->parts[0].first);
	assert_null(w->parts[0].first->next);
	assert_null(w->parts[1].first);
	fetch_drop(&w->fetch);
}

static void a_fetch_that_is_cut_leaves_its_reads(void **state)
{
	struct world *w = *state;
	struct fetch_options o = ask(w, 2);

	append_some(w, 200);
	ask_part(w, 0, 0, 0, 1 << 20);
	ask_part(w, 1, 1, 0, 1 << 20);
	o.bytes_max = 1 << 22;
	down(w);
	w->ops.pread_nowait = never_now;
	up(w);
	o.hub = w->hub;
	for (int i = 0; i < 2; i++)
		w->parts[i].partition = topic_partition(w->topic, (uint32_t)i);
	assert_int_equal(fetch_start(&w->fetch, &o), FETCH_LATER);
	assert_int_equal(w->fetch.read_count, 2);
	fetch_cut(&w->fetch);
	while (w->hub->reads)
		await_turn(w);
	assert_int_equal(w->done, 0);
	/* And the hub goes with those that nobody took. */
	assert_int_equal(fetch_start(&w->fetch, &o), FETCH_LATER);
	fetch_cut(&w->fetch);
}

static struct world *gated; /* whose gates: the files' functions do not know */

/* Reads of 90 and of 100 bytes wait until they are let through. */
static int64_t gated_pread(void *self, int fd, void *bytes, size_t n, uint64_t at)
{
	if (n == 90 || n == 100)
		while (sem_wait(&gated->gates[n == 100]))
			;
	return sys_kernel()->ops->pread(self, fd, bytes, n, at);
}

/* Those from disk that are under way come down to so many. */
static void await_reads(struct world *w, int count)
{
	for (int turns = 0;; turns++) {
		int left = 0;
		for (const struct fetch_read *r = w->hub->reads; r; r = r->next)
			left++;
		if (left <= count)
			return;
		assert_true(turns < 1000); /* the same read again and again */
		await_turn(w);
	}
}

/*
 * The first batch is larger than its part may be, and comes last: what later parts took of its room is given
 * back. The second part is then in the midst of a read for the end of its room, and still comes before the third.
 */
static void a_large_first_batch_that_comes_late_keeps_the_order(void **state)
{
	struct world *w = *state;
	struct fetch_options o = ask(w, 3);

	append(w, 0, 1, 1000);
	for (uint32_t i = 0; i < 6; i++)
		append(w, 1 + i % 2, 1, 600);
	down(w);
	w->ops.pread_nowait = never_now;
	up(w);
	look_at_shelves(w);
	gated = w;
	w->ops.pread = gated_pread;
	o.hub = w->hub;
	o.bytes_max = 3000;
	ask_part(w, 0, 0, 0, 90);
	ask_part(w, 1, 1, 0, 100 + 2 * (uint32_t)w->shelves[1].batches[0].bytes);
	ask_part(w, 2, 2, 0, 1 << 20);
	assert_int_equal(fetch_start(&w->fetch, &o), FETCH_LATER);
	while (w->parts[1].bytes == 0)
		await_turn(w);
	await_reads(w, 2); /* the first of part 0, and of part 1 what is behind two batches */
	assert_int_equal(w->parts[0].bytes, 0);
	assert_true(w->parts[1].bytes > 0 && w->parts[2].bytes > 0);
	(void)sem_post(&w->gates[0]);
	await_reads(w, 1);
	open_gates(w);
	while (!w->done)
		await_turn(w);
	assert_int_equal(w->parts[2].bytes, 0);
	assert_answer(w, &o);
}

static size_t nowait_bytes;

/* As if everything were in the page cache; counts what is asked for. */
static int64_t counted_pread(void *self, int fd, void *bytes, size_t n, uint64_t at)
{
	nowait_bytes += n;
	return sys_kernel()->ops->pread(self, fd, bytes, n, at);
}

static void what_has_no_room_is_not_read_for_nothing(void **state)
{
	struct world *w = *state;
	struct fetch_options o = ask(w, 1);

	append(w, 0, 1, 20000);
	append(w, 0, 1, 20000);
	down(w);
	w->ops.pread_nowait = counted_pread;
	up(w);
	o.hub = w->hub;
	look_at_shelves(w); /* where batches begin is known then */
	nowait_bytes = 0;
	ask_part(w, 0, 0, 0, 35000);
	assert_int_equal(fetch_start(&w->fetch, &o), FETCH_DONE);
	assert_int_equal(nowait_bytes, 35000 + BATCH_HEAD_BYTES);
	assert_answer(w, &o);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(any_question_gets_what_the_model_says, set_up, tear_down),
		cmocka_unit_test_setup_teardown(waiting_ends_when_the_model_says_so, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_parked_fetch_is_woken_once_by_a_commit, set_up, tear_down),
		cmocka_unit_test_setup_teardown(an_answer_that_is_there_takes_no_watch, set_up, tear_down),
		cmocka_unit_test_setup_teardown(time_is_up_with_nothing, set_up, tear_down),
		cmocka_unit_test_setup_teardown(an_error_of_one_answers_for_all, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_trim_behind_a_waiting_fetch_ends_it, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_deleted_topic_ends_it, set_up, tear_down),
		cmocka_unit_test_setup_teardown(without_memory_there_is_less_but_no_loop, set_up, tear_down),
		cmocka_unit_test_setup_teardown(committed_ends_where_a_transaction_is_open, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(more_aborted_transactions_than_a_few, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_full_budget_gives_one_batch, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_fetch_that_is_cut_leaves_its_reads, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_has_no_room_is_not_read_for_nothing, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_large_first_batch_that_comes_late_keeps_the_order, set_up,
						tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
