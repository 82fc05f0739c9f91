/* SPDX-License-Identifier: Apache-2.0 */
/* Readers over a real log in a directory of its own; the loop is this thread. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/mem.h"
#include "deliver/inner.h"
#include "log/log_world_test.h"
#include "proto/batch/batch.h"
#include "state/topics_world_test.h"
#include "sys/test_dir.h"

static const struct topic_config plain = {.partitions = 1,
					  .retention_ms = -1,
					  .retention_bytes = -1,
					  .idempotency_ttl_ms = 1000};
static const struct cursor earliest = {.kind = CURSOR_EARLIEST};
static const struct cursor latest = {.kind = CURSOR_LATEST};

/* What a test that failed left open is closed with its world. */
static struct reader *open_readers[2048];
static uint32_t open_count;

static int test_open(struct hub *hub, const struct reader_options *o, struct reader **out,
		     struct fault *fault)
{
	int rc = reader_open(hub, o, out, fault);

	if (rc == 0 && open_count < sizeof(open_readers) / sizeof(open_readers[0]))
		open_readers[open_count++] = *out;
	return rc;
}

static void test_close(struct reader *r)
{
	for (uint32_t i = 0; i < open_count; i++)
		if (open_readers[i] == r) {
			open_readers[i] = open_readers[--open_count];
			break;
		}
	reader_close(r);
}

struct world {
	char dir[TEST_DIR_BYTES];
	struct sys_ops ops;
	struct sys sys;
	struct log *log;
	struct state *state;
	struct topics *topics;
	struct log_port *port;
	struct hub *hub;
	struct arena arena;
	sem_t woken;
	int done;
	int calls; /* of on_ready */
	struct reader *victims[2];
};

/* ---- the world ---- */

static void on_wake(void *ctx)
{
	(void)sem_post(&((struct world *)ctx)->woken);
}

static void turn_loop(struct world *w)
{
	log_port_run(w->port);
	hub_run(w->hub);
}

static void await_turn(struct world *w)
{
	struct timespec until;

	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 20;
	while (sem_timedwait(&w->woken, &until))
		assert_int_equal(errno, EINTR);
	turn_loop(w);
}

static void up(struct world *w)
{
	struct log_options options = {.sys = &w->sys, .dir = w->dir, .journal_file_bytes = 1u << 22};
	struct hub_options hub;
	struct fault fault = {0};

	topics_world_open(&options, &plain, true, &w->log, &w->state, &w->topics);
	topics_world_load(w->state, w->topics);
	assert_int_equal(log_port_new(w->log, on_wake, w, &w->port), 0);
	hub = (struct hub_options){.log = w->log, .topics = w->topics, .port = w->port};
	assert_int_equal(hub_new(&hub, &w->hub), 0);
	assert_int_equal(log_start(w->log, &fault), 0);
}

/* Also of a world that could not begin: what there is of it goes, once. */
static void down(struct world *w)
{
	if (w->log)
		assert_int_equal(log_stop(w->log, NULL), 0);
	if (w->hub)
		hub_free(w->hub);
	if (w->topics)
		topics_free(w->topics);
	if (w->state)
		state_free(w->state);
	if (w->port)
		log_port_free(w->port);
	if (w->log)
		log_close(w->log);
	w->log = NULL;
	w->hub = NULL;
	w->topics = NULL;
	w->state = NULL;
	w->port = NULL;
}

static int set_up(void **state)
{
	struct world *w = mem_zalloc(1, sizeof(*w));

	assert_true(test_dir_make(w->dir, "reader-test"));
	w->ops = *sys_kernel()->ops;
	w->sys = (struct sys){.ops = &w->ops, .self = sys_kernel()->self};
	(void)sem_init(&w->woken, 0, 0);
	arena_init(&w->arena, 4096, 1 << 22);
	up(w);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	while (open_count)
		test_close(open_readers[0]);
	down(w);
	arena_fini(&w->arena);
	(void)test_dir_remove(w->dir);
	mem_free(w);
	return 0;
}

static struct topic *create(struct world *w, const char *name, uint32_t partitions)
{
	struct topic_config config = plain;

	config.partitions = partitions;
	return topics_world_create(w->log, w->topics, name, &config);
}

struct production {
	struct log_commit commit; /* first */
	struct log_record records[64];
	char values[64][24];
	bool done;
};

static void on_done(struct log_commit *commit)
{
	((struct production *)(void *)commit)->done = true;
}

/* One commit of a record to each of `partitions` from `first` on; the value is the number given. */
static void produce_to(struct world *w, struct topic *topic, uint32_t first, uint32_t partitions, int number,
		       struct slice key, int64_t timestamp_ms)
{
	struct production p = {.commit = {.record_count = partitions, .port = w->port, .on_done = on_done}};

	p.commit.records = p.records;
	for (uint32_t i = 0; i < partitions; i++) {
		int n = snprintf(p.values[i], sizeof(p.values[i]), "%d", number);
		p.records[i] = (struct log_record){.partition = topic_partition(topic, first + i),
						   .timestamp_ms = timestamp_ms,
						   .key = key,
						   .value = slice_make(p.values[i], (size_t)n)};
	}
	assert_int_equal(log_world_enter(w->log, &p.commit), 0);
	while (!p.done)
		await_turn(w);
}

static void produce(struct world *w, struct topic *topic, uint32_t partition, int number)
{
	produce_to(w, topic, partition, 1, number, slice_null(), -1);
}

static void on_ready(void *ctx, struct reader *r)
{
	struct world *w = ctx;

	(void)r;
	w->calls++;
}

static struct reader_options options_for(struct world *w, const struct slice *topics, uint32_t count,
					 const struct cursor *cursor)
{
	return (struct reader_options){.topics = topics,
				       .topic_count = count,
				       .cursor = cursor,
				       .watch = true,
				       .wait_for_topics = true,
				       .on_ready = on_ready,
				       .ctx = w};
}

static struct reader *open_at(struct world *w, const char *topic, const struct cursor *cursor)
{
	struct slice name = slice_str(topic);
	struct reader_options o = options_for(w, &name, 1, cursor);
	struct fault fault = {0};
	struct reader *r = NULL;
	int rc = test_open(w->hub, &o, &r, &fault);

	if (rc)
		fail_msg("%d %s", rc, fault.text);
	return r;
}

static int open_fails(struct world *w, const struct reader_options *o, struct fault *fault)
{
	struct reader *r = NULL;

	*fault = (struct fault){0};
	return test_open(w->hub, o, &r, fault);
}

static int number_of(struct slice value)
{
	char text[24] = {0};

	assert_true(value.len < sizeof(text));
	memcpy(text, value.ptr, value.len);
	return atoi(text);
}

/* The numbers in a view from view->from on, into out; gives their count. */
static int numbers_of(const struct reader *r, const struct reader_view *view, int *out)
{
	struct slice batches = view->batches;
	int count = 0;

	while (batches.len) {
		struct batch_walk walk;
		struct batch_record record;
		assert_int_equal(batch_walk_start(&walk, batches), 0);
		while (batch_walk_next(&walk, &record) == 1)
			if (record.offset >= view->from && reader_wants(r, record.key))
				out[count++] = number_of(record.value);
		batches = slice_from(batches, walk.head.bytes);
	}
	return count;
}

/* Pulls until END, a gap or an error; numbers to out. Waits for the disk. */
static int pull_all(struct world *w, struct reader *r, int *out, int *count)
{
	struct reader_view view;

	*count = 0;
	for (;;) {
		int rc = reader_next(r, 1 << 20, &view);
		if (rc == READER_WAIT) {
			await_turn(w);
			continue;
		}
		if (rc != READER_BATCH)
			return rc;
		*count += numbers_of(r, &view, out + *count);
		reader_consumed(r, view.next_offset);
		reader_view_release(&view);
	}
}

static void assert_pulls(struct world *w, struct reader *r, int first, int last)
{
	int numbers[4096], count;

	assert_int_equal(pull_all(w, r, numbers, &count), READER_END);
	assert_int_equal(count, last - first + 1);
	for (int i = 0; i < count; i++)
		assert_int_equal(numbers[i], first + i);
}

static struct cursor cursor_of(struct world *w, struct reader *r)
{
	struct buf text;
	struct cursor c;
	struct slice kept;

	buf_init(&text, 1 << 20);
	assert_int_equal(reader_cursor(r, &text), 0);
	kept = arena_copy(&w->arena, buf_slice(&text));
	assert_int_equal(cursor_parse(kept, &w->arena, &c, NULL), 0);
	buf_fini(&text);
	return c;
}

/* ---- tests ---- */

static void a_reader_gets_what_is_there_and_is_called_for_more(void **state)
{
	struct world *w = *state;
	struct topic *t = create(w, "t", 1);
	struct reader *old, *fresh;

	for (int i = 0; i < 10; i++)
		produce(w, t, 0, i);
	old = open_at(w, "t", &earliest);
	fresh = open_at(w, "t", &latest);
	assert_pulls(w, old, 0, 9);
	assert_pulls(w, fresh, 0, -1);
	assert_int_equal(w->calls, 0);
	produce(w, t, 0, 10);
	assert_int_equal(w->calls, 2);
	assert_pulls(w, old, 10, 10);
	assert_pulls(w, fresh, 10, 10);
	turn_loop(w);
	assert_int_equal(w->calls, 2);
	test_close(old);
	test_close(fresh);
}

/* ---- transactions of Kafka's producers ---- */

/* A batch of one record, the number, of this producer, in a transaction where it has an id. */
static void produce_batch(struct world *w, struct topic *topic, int64_t producer, int32_t sequence,
			  int number)
{
	struct production p = {.commit = {.record_count = 1, .port = w->port, .on_done = on_done}};
	int n = snprintf(p.values[0], sizeof(p.values[0]), "%d", number);
	uint8_t bytes[256];
	struct batch_build b;
	struct batch_head head;

	batch_build_start(&b, bytes, 0);
	batch_build_put(&b, &(struct batch_record){.timestamp = 1000 + number,
						   .value = slice_make(p.values[0], (size_t)n)});
	assert_int_equal(batch_head_read(batch_build_finish(&b), &head), 0);
	head.producer_id = producer;
	head.producer_epoch = 0;
	head.base_sequence = sequence;
	head.attributes = BATCH_IS_TRANSACTIONAL;
	batch_head_put(bytes, &head);
	p.commit.records = p.records;
	p.records[0] = (struct log_record){.partition = topic_partition(topic, 0),
					   .value = slice_make(bytes, head.bytes),
					   .batch_records = 1};
	assert_int_equal(log_world_enter(w->log, &p.commit), 0);
	while (!p.done)
		await_turn(w);
}

static void end_transaction(struct world *w, struct topic *topic, int64_t producer, bool commit)
{
	struct production p = {.commit = {.record_count = 1, .port = w->port, .on_done = on_done}};
	struct batch_marker m = {.producer_id = producer, .commit = commit};
	uint8_t bytes[BATCH_MARKER_BYTES];

	(void)batch_put_marker(bytes, &m);
	p.commit.records = p.records;
	p.records[0] = (struct log_record){.partition = topic_partition(topic, 0),
					   .value = slice_make(bytes, sizeof(bytes)),
					   .batch_records = 1};
	assert_int_equal(log_world_enter(w->log, &p.commit), 0);
	while (!p.done)
		await_turn(w);
}

static int64_t stands_at(const struct reader *r)
{
	struct reader_position at;

	assert_int_equal(reader_position(r, &at), 0);
	return at.offset;
}

static void a_reader_waits_for_what_is_undecided_and_never_sees_what_was_aborted(void **state)
{
	struct world *w = *state;
	struct topic *t = create(w, "t", 1);
	struct reader *old = open_at(w, "t", &earliest), *fresh, *timed;
	struct cursor at = {.kind = CURSOR_TIME, .time_ms = 1003};
	struct hash128 before, after;
	int calls;

	produce_batch(w, t, -1, -1, 0);
	produce_batch(w, t, 1, 0, 1);  /* to be committed */
	produce_batch(w, t, 2, 0, 99); /* to be aborted */
	produce_batch(w, t, -1, -1, 2);
	assert_pulls(w, old, 0, 0);
	assert_true(reader_caught_up(old));
	assert_int_equal(stands_at(old), 1);
	fresh = open_at(w, "t", &latest);
	assert_pulls(w, fresh, 0, -1);
	timed = open_at(w, "t", &at);
	assert_pulls(w, timed, 0, -1);
	assert_int_equal(stands_at(timed), 1);
	assert_int_equal(reader_stamp(old, &before), 0);
	calls = w->calls;
	end_transaction(w, t, 1, true);
	assert_int_equal(w->calls, calls + 3);
	assert_int_equal(reader_stamp(old, &after), 0);
	assert_true(before.lo != after.lo);
	assert_pulls(w, old, 1, 1); /* the other one is open still */
	assert_int_equal(stands_at(old), 2);
	end_transaction(w, t, 2, false);
	assert_false(reader_caught_up(old));
	assert_pulls(w, old, 2, 2);
	assert_pulls(w, fresh, 1, 2);
	assert_int_equal(stands_at(old), 6); /* behind the markers */
	assert_true(reader_caught_up(old));
	for (int round = 0; round < 2; round++) {
		struct reader *again = open_at(w, "t", &earliest);
		assert_pulls(w, again, 0, 2);
		test_close(again);
		if (round)
			break;
		test_close(old);
		test_close(fresh);
		test_close(timed);
		down(w); /* and from segments, several batches in a view */
		up(w);
	}
}

static void much_that_was_aborted_does_not_hold_up_the_loop(void **state)
{
	struct world *w = *state;
	struct topic *t = create(w, "t", 1);
	struct reader *r = open_at(w, "t", &earliest);
	struct reader_view view;
	int waits = 0, rc;

	for (int i = 0; i < 300; i++)
		produce_batch(w, t, 1, i, i);
	end_transaction(w, t, 1, false);
	produce_batch(w, t, -1, -1, 7);
	while ((rc = reader_next(r, 1 << 20, &view)) == READER_WAIT) {
		waits++;
		await_turn(w);
	}
	assert_int_equal(rc, READER_BATCH);
	assert_true(waits > 2);
	assert_int_equal(view.from, 301);
	reader_view_release(&view);
	test_close(r);
}

static void a_thousand_readers_stand_behind_one_watch(void **state)
{
	struct world *w = *state;
	struct topic *t = create(w, "t", 4);
	static struct reader *readers[1000];
	struct hub_stats stats;

	for (int i = 0; i < 1000; i++) {
		readers[i] = open_at(w, "t", &latest);
		assert_pulls(w, readers[i], 0, -1);
	}
	hub_stats(w->hub, &stats);
	assert_int_equal(stats.watches, 4);
	assert_int_equal(stats.readers, 1000);
	produce_to(w, t, 0, 4, 7, slice_null(), -1);
	assert_int_equal(w->calls, 1000);
	for (int i = 0; i < 1000; i++) {
		int numbers[8], count;
		assert_int_equal(pull_all(w, readers[i], numbers, &count), READER_END);
		assert_int_equal(count, 4);
		test_close(readers[i]);
	}
	hub_stats(w->hub, &stats);
	assert_int_equal(stats.watches, 0);
	assert_int_equal(stats.readers, 0);
}

static void a_reader_is_small(void **state)
{
	struct world *w = *state;
	struct reader *r;

	(void)create(w, "t", 1);
	r = open_at(w, "t", &latest);
	assert_pulls(w, r, 0, -1);
	assert_null(r->extra);
	assert_null(r->fetch);
	assert_true(r->places == &r->one);
	assert_true(sizeof(struct reader) <= 224);
	assert_true(sizeof(struct reader_place) <= 64);
	test_close(r);
}

static void what_was_not_consumed_comes_again(void **state)
{
	struct world *w = *state;
	struct topic *t = create(w, "t", 1);
	struct reader_view view;
	struct reader *r;
	int numbers[64];

	for (int i = 0; i < 3; i++)
		produce_to(w, t, 0, 1, i, slice_null(), -1);
	r = open_at(w, "t", &earliest);
	assert_int_equal(reader_next(r, 1 << 20, &view), READER_BATCH);
	reader_view_release(&view);
	assert_int_equal(reader_next(r, 1 << 20, &view), READER_BATCH);
	assert_int_equal(view.from, 0);
	assert_int_equal(numbers_of(r, &view, numbers), view.next_offset);
	reader_consumed(r, 1);
	reader_view_release(&view);
	assert_false(reader_caught_up(r));
	assert_int_equal(cursor_of(w, r).places[0].offset, 1);
	assert_pulls(w, r, 1, 2);
	assert_true(reader_caught_up(r));
	test_close(r);
}

static void partitions_take_turns(void **state)
{
	struct world *w = *state;
	struct topic *t = create(w, "t", 3);
	struct reader_view view;
	struct reader *r;
	uint32_t seen[6];

	for (int i = 0; i < 20; i++)
		produce(w, t, 0, i);
	produce(w, t, 1, 100);
	produce(w, t, 2, 200);
	r = open_at(w, "t", &earliest);
	for (int i = 0; i < 4; i++) {
		assert_int_equal(reader_next(r, 1, &view), READER_BATCH);
		seen[i] = view.number;
		reader_consumed(r, view.next_offset);
		reader_view_release(&view);
	}
	assert_int_equal(seen[0], 0);
	assert_int_equal(seen[1], 1);
	assert_int_equal(seen[2], 2);
	assert_int_equal(seen[3], 0);
	test_close(r);
}

static void a_cursor_goes_on_where_it_stood(void **state)
{
	struct world *w = *state;
	struct slice names[2] = {SLICE_LIT("a"), SLICE_LIT("b")};
	struct topic *a = create(w, "a", 2), *b = create(w, "b", 1);
	struct reader_options o = options_for(w, names, 2, &earliest);
	struct reader *r;
	struct cursor c;
	int numbers[64], count, sum = 0;

	for (int i = 0; i < 4; i++) {
		produce_to(w, a, 0, 2, i, slice_null(), -1);
		produce(w, b, 0, i);
	}
	assert_int_equal(test_open(w->hub, &o, &r, NULL), 0);
	assert_int_equal(pull_all(w, r, numbers, &count), READER_END);
	assert_int_equal(count, 12);
	c = cursor_of(w, r);
	assert_int_equal(c.topic_count, 2);
	assert_int_equal(c.place_count, 3);
	test_close(r);
	for (int i = 10; i < 12; i++) {
		produce_to(w, a, 0, 2, i, slice_null(), -1);
		produce(w, b, 0, i);
	}
	down(w);
	up(w);
	o = options_for(w, names, 2, &c);
	assert_int_equal(test_open(w->hub, &o, &r, NULL), 0);
	assert_int_equal(pull_all(w, r, numbers, &count), READER_END);
	for (int i = 0; i < count; i++)
		sum += numbers[i];
	assert_int_equal(count, 6);
	assert_int_equal(sum, 3 * 10 + 3 * 11);
	test_close(r);
	/* One of the topics alone. */
	o = options_for(w, &names[1], 1, &c);
	assert_int_equal(test_open(w->hub, &o, &r, NULL), 0);
	assert_pulls(w, r, 10, 11);
	test_close(r);
}

static void a_selection_reads_what_it_names(void **state)
{
	struct world *w = *state;
	struct topic *t = create(w, "t", 8);
	struct slice name = SLICE_LIT("t");
	struct reader_options o = options_for(w, &name, 1, &earliest);
	struct partition_set set;
	struct fault fault;
	struct reader *r;
	int numbers[64], count;
	uint32_t home = hash_partition(SLICE_LIT("k"), 8);

	produce_to(w, t, 0, 8, 1, slice_null(), -1);
	assert_int_equal(partition_set_parse(SLICE_LIT("0,3,5-7"), &set, NULL), 0);
	o.partitions = &set;
	assert_int_equal(test_open(w->hub, &o, &r, NULL), 0);
	assert_int_equal(pull_all(w, r, numbers, &count), READER_END);
	assert_int_equal(count, 5);
	assert_false(reader_single(r));
	test_close(r);
	assert_int_equal(partition_set_parse(SLICE_LIT("4-8"), &set, NULL), 0);
	assert_int_equal(open_fails(w, &o, &fault), ERR_PARTITION_RANGE);
	assert_non_null(strstr(fault.text, "0 to 7"));
	o.partitions = NULL;
	o.partitions_max = 7;
	assert_int_equal(open_fails(w, &o, &fault), ERR_TOO_MANY_PARTITIONS);
	o.key = SLICE_LIT("k");
	produce_to(w, t, home, 1, 5, SLICE_LIT("k"), -1);
	produce_to(w, t, home, 1, 6, SLICE_LIT("other"), -1);
	assert_int_equal(test_open(w->hub, &o, &r, NULL), 0);
	assert_true(reader_single(r));
	assert_true(reader_filters(r));
	assert_int_equal(pull_all(w, r, numbers, &count), READER_END);
	assert_int_equal(count, 1);
	assert_int_equal(numbers[0], 5);
	test_close(r);
}

/* Partition p of the cursor; -1 where it is not named. */
static int64_t place_in(const struct cursor *c, uint32_t p)
{
	for (uint32_t i = 0; i < c->place_count; i++)
		if (c->places[i].partition == p)
			return c->places[i].offset;
	return -1;
}

static void a_cursor_keeps_what_is_not_selected(void **state)
{
	struct world *w = *state;
	struct topic *t = create(w, "t", 4);
	struct slice name = SLICE_LIT("t");
	struct partition_set set;
	struct reader *r = open_at(w, "t", &earliest);
	struct reader_options o;
	struct cursor c;
	int numbers[64], count;

	produce_to(w, t, 0, 4, 0, slice_null(), -1);
	assert_int_equal(pull_all(w, r, numbers, &count), READER_END);
	c = cursor_of(w, r);
	test_close(r);
	for (int i = 1; i < 4; i++)
		produce_to(w, t, 0, 4, i, slice_null(), -1);
	o = options_for(w, &name, 1, &c);
	o.partitions = &set;
	for (uint32_t p = 0; p < 3; p += 2) {
		assert_int_equal(partition_set_parse(p ? SLICE_LIT("2") : SLICE_LIT("0"), &set, NULL), 0);
		assert_int_equal(test_open(w->hub, &o, &r, NULL), 0);
		assert_false(reader_single(r));
		assert_int_equal(pull_all(w, r, numbers, &count), READER_END);
		assert_int_equal(count, 3);
		assert_true(reader_caught_up(r));
		c = cursor_of(w, r);
		test_close(r);
	}
	assert_int_equal(c.place_count, 4);
	for (uint32_t p = 0; p < 4; p++)
		assert_int_equal(place_in(&c, p), p % 2 ? 1 : 4);
}

static void bad_partition_sets_are_refused(void **state)
{
	static const char *const bad[] = {"",    ",",       "1,", "-1", "3-1",     "1,1",
					  "5,2", "0-10000", "a",  "1 ", "0-4,4-5", "99999999999999999999"};
	struct partition_set set;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(partition_set_parse(slice_str(bad[i]), &set, NULL), ERR_BAD_PARAMETER);
	assert_int_equal(partition_set_parse(SLICE_LIT("0-9999"), &set, NULL), 0);
	assert_true(partition_set_has(&set, 9999));
}

static void count_gap(void *ctx, const struct reader_view *gap)
{
	assert_int_equal(gap->from, 0);
	assert_int_equal(gap->next_offset, 3);
	assert_false(gap->damage);
	(*(int *)ctx)++;
}

static void what_was_trimmed_is_told_as_a_gap(void **state)
{
	struct world *w = *state;
	struct topic *t = create(w, "t", 1);
	struct cursor begin;
	struct reader_view view;
	struct reader *r = open_at(w, "t", &earliest);
	int gaps = 0;

	begin = cursor_of(w, r);
	test_close(r);
	for (int i = 0; i < 5; i++)
		produce(w, t, 0, i);
	partition_trim(topic_partition(t, 0), 3);
	r = open_at(w, "t", &begin);
	assert_int_equal(reader_next(r, 1 << 20, &view), READER_GAP);
	assert_int_equal(view.from, 0);
	assert_int_equal(view.next_offset, 3);
	assert_false(view.damage);
	assert_pulls(w, r, 3, 4);
	test_close(r);
	r = open_at(w, "t", &begin);
	assert_int_equal(reader_skip_gone(r, count_gap, &gaps), 1);
	assert_int_equal(gaps, 1);
	assert_int_equal(cursor_of(w, r).places[0].offset, 3);
	assert_pulls(w, r, 3, 4);
	assert_int_equal(reader_skip_gone(r, NULL, NULL), 0);
	test_close(r);
	r = open_at(w, "t", &earliest);
	assert_pulls(w, r, 3, 4);
	test_close(r);
}

static void a_cursor_that_does_not_fit_is_refused(void **state)
{
	struct world *w = *state;
	struct topic *t = create(w, "t", 1), *other = create(w, "other", 1);
	struct slice name = SLICE_LIT("t");
	struct cursor_place place = {.partition = 0, .offset = 2};
	struct cursor_topic named = {.id = t->id, .name_hash = cursor_name_hash(name), .count = 1};
	struct cursor c = {.kind = CURSOR_PLACES,
			   .topics = &named,
			   .places = &place,
			   .topic_count = 1,
			   .place_count = 1};
	struct reader_options o = options_for(w, &name, 1, &c);
	struct fault fault;
	struct slice twice[2] = {SLICE_LIT("t"), SLICE_LIT("t")};

	produce(w, t, 0, 0);
	assert_int_equal(open_fails(w, &o, &fault), ERR_CURSOR_AHEAD);
	assert_non_null(strstr(fault.text, "offset 2"));
	place.offset = 1;
	place.partition = 0;
	test_close(open_at(w, "t", &c));
	named.id = other->id;
	named.name_hash = cursor_name_hash(SLICE_LIT("other"));
	assert_int_equal(open_fails(w, &o, &fault), ERR_CURSOR_MISMATCH);
	named.id.bytes[3] ^= 1;
	named.name_hash = cursor_name_hash(name);
	assert_int_equal(open_fails(w, &o, &fault), ERR_CURSOR_GONE);
	o.cursor = &earliest;
	o.topics = twice;
	o.topic_count = 2;
	assert_int_equal(open_fails(w, &o, &fault), ERR_BAD_PARAMETER);
	name = SLICE_LIT("no/name");
	o.topics = &name;
	o.topic_count = 1;
	assert_int_equal(open_fails(w, &o, &fault), ERR_BAD_TOPIC);
	name = SLICE_LIT("missing");
	o.wait_for_topics = false;
	assert_int_equal(open_fails(w, &o, &fault), ERR_UNKNOWN_TOPIC);
	o.wait_for_topics = true;
	topics_set_defaults(w->topics, &plain, false);
	assert_int_equal(open_fails(w, &o, &fault), ERR_UNKNOWN_TOPIC);
}

static void a_topic_is_waited_for_and_grows_and_goes(void **state)
{
	struct world *w = *state;
	struct reader *r = open_at(w, "later", &latest);
	struct topic_config config = plain;
	struct topic *t;
	struct buf text;
	struct reader_view view;

	buf_init(&text, 100);
	assert_true(reader_waits(r));
	assert_pulls(w, r, 0, -1);
	assert_int_equal(reader_cursor(r, &text), 0);
	assert_true(slice_eq_str(buf_slice(&text), "earliest"));
	t = create(w, "later", 1);
	produce(w, t, 0, 1);
	assert_false(reader_waits(r));
	assert_true(reader_single(r));
	assert_pulls(w, r, 1, 1);
	config.partitions = 3;
	assert_int_equal(topics_world_change(w->log, w->topics, t, &config), 0);
	produce(w, t, 2, 2);
	assert_false(reader_single(r));
	assert_pulls(w, r, 2, 2);
	produce(w, t, 0, 3);
	assert_pulls(w, r, 3, 3);
	assert_int_equal(cursor_of(w, r).place_count, 3);
	w->calls = 0;
	assert_int_equal(topics_world_delete(w->log, w->topics, t), 0);
	while (w->calls == 0)
		await_turn(w);
	assert_int_equal(reader_next(r, 100, &view), ERR_UNKNOWN_TOPIC);
	test_close(r);
	buf_fini(&text);
}

static int64_t would_wait(void *self, int fd, void *bytes, size_t n, uint64_t at)
{
	(void)self;
	(void)fd;
	(void)bytes;
	(void)n;
	(void)at;
	return -EAGAIN;
}

static void a_time_is_looked_up_before_anything_is_read(void **state)
{
	struct world *w = *state;
	struct topic *t = create(w, "t", 2);
	struct cursor at = {.kind = CURSOR_TIME, .time_ms = 5000};
	struct reader_view view;
	struct reader *r;
	int numbers[64], count;

	for (int i = 0; i < 10; i++)
		produce_to(w, t, 0, 2, i, slice_null(), 1000 * (int64_t)i);
	for (int round = 0; round < 2; round++) {
		r = open_at(w, "t", &at);
		assert_int_equal(reader_next(r, 1 << 20, &view), READER_WAIT);
		assert_int_equal(cursor_of(w, r).kind, CURSOR_TIME);
		assert_int_equal(pull_all(w, r, numbers, &count), READER_END);
		assert_int_equal(count, 10);
		for (int i = 0; i < count; i++)
			assert_true(numbers[i] >= 5);
		test_close(r);
		down(w);
		up(w);
	}
}

static void cold_records_come_from_disk_without_waiting(void **state)
{
	struct world *w = *state;
	struct topic *t = create(w, "t", 2);
	struct reader_view view;
	struct reader *r;
	int numbers[4096], count;

	for (int i = 0; i < 50; i++)
		produce_to(w, t, 0, 2, i, slice_null(), -1);
	down(w);
	w->ops.pread_nowait = would_wait;
	up(w);
	r = open_at(w, "t", &earliest);
	assert_int_equal(reader_next(r, 1 << 20, &view), READER_WAIT);
	assert_int_equal(pull_all(w, r, numbers, &count), READER_END);
	assert_int_equal(count, 100);
	test_close(r);
	/* Closed while the disk works: its read comes to nobody. */
	r = open_at(w, "t", &earliest);
	assert_int_equal(reader_next(r, 1 << 20, &view), READER_WAIT);
	test_close(r);
	r = open_at(w, "t", &earliest);
	assert_int_equal(reader_next(r, 1 << 20, &view), READER_WAIT);
	while (w->hub->fetches)
		await_turn(w);
	test_close(r);
	/* And the hub goes with one that nobody took. */
	r = open_at(w, "t", &earliest);
	assert_int_equal(reader_next(r, 1 << 20, &view), READER_WAIT);
	test_close(r);
}

static void close_victim(void *ctx, struct reader *r)
{
	struct world *w = ctx;

	w->calls++;
	test_close(r == w->victims[0] ? w->victims[1] : w->victims[0]);
	test_close(r);
}

static void a_reader_that_is_called_may_close_another(void **state)
{
	struct world *w = *state;
	struct topic *t = create(w, "t", 1);
	struct slice name = SLICE_LIT("t");
	struct reader_options o = options_for(w, &name, 1, &latest);

	o.on_ready = close_victim;
	for (int i = 0; i < 2; i++) {
		assert_int_equal(test_open(w->hub, &o, &w->victims[i], NULL), 0);
		assert_pulls(w, w->victims[i], 0, -1);
	}
	produce(w, t, 0, 1);
	assert_int_equal(w->calls, 1);
	assert_int_equal(w->hub->stats.readers, 0);
	assert_int_equal(w->hub->stats.watches, 0);
}

static void a_poll_starts_no_watch_until_it_waits(void **state)
{
	struct world *w = *state;
	struct topic *t = create(w, "t", 1);
	struct slice name = SLICE_LIT("t");
	struct reader_options o = options_for(w, &name, 1, &earliest);
	struct reader *r;
	struct hub_stats stats;

	o.watch = false;
	assert_int_equal(test_open(w->hub, &o, &r, NULL), 0);
	assert_pulls(w, r, 0, -1);
	produce(w, t, 0, 0);
	hub_stats(w->hub, &stats);
	assert_int_equal(stats.watches, 0);
	assert_int_equal(w->calls, 0);
	assert_int_equal(reader_watch(r), 0);
	assert_pulls(w, r, 0, 0);
	hub_stats(w->hub, &stats);
	assert_int_equal(stats.watches, 1);
	produce(w, t, 0, 1);
	assert_int_equal(w->calls, 1);
	assert_pulls(w, r, 1, 1);
	test_close(r);
}

static void without_memory_an_opening_fails_whole(void **state)
{
	struct world *w = *state;
	struct slice names[2] = {SLICE_LIT("t"), SLICE_LIT("missing")};
	struct reader_options o = options_for(w, names, 2, &earliest);
	struct hub_stats stats;
	struct reader *r;
	int rc = ERR_NOMEM;

	(void)create(w, "t", 4);
	o.key = SLICE_LIT("k");
	for (uint64_t nth = 1; rc == ERR_NOMEM; nth++) {
		assert_true(nth < 20);
		mem_fail_at(nth);
		rc = test_open(w->hub, &o, &r, NULL);
		mem_fail_at(0);
		hub_stats(w->hub, &stats);
		assert_int_equal(stats.readers, rc == 0);
	}
	assert_int_equal(rc, 0);
	test_close(r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_reader_gets_what_is_there_and_is_called_for_more, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(
			a_reader_waits_for_what_is_undecided_and_never_sees_what_was_aborted, set_up,
			tear_down),
		cmocka_unit_test_setup_teardown(much_that_was_aborted_does_not_hold_up_the_loop, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_thousand_readers_stand_behind_one_watch, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_reader_is_small, set_up, tear_down),
		cmocka_unit_test_setup_teardown(what_was_not_consumed_comes_again, set_up, tear_down),
		cmocka_unit_test_setup_teardown(partitions_take_turns, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_cursor_goes_on_where_it_stood, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_selection_reads_what_it_names, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_cursor_keeps_what_is_not_selected, set_up, tear_down),
		cmocka_unit_test(bad_partition_sets_are_refused),
		cmocka_unit_test_setup_teardown(what_was_trimmed_is_told_as_a_gap, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_cursor_that_does_not_fit_is_refused, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_topic_is_waited_for_and_grows_and_goes, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_time_is_looked_up_before_anything_is_read, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(cold_records_come_from_disk_without_waiting, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_reader_that_is_called_may_close_another, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_poll_starts_no_watch_until_it_waits, set_up, tear_down),
		cmocka_unit_test_setup_teardown(without_memory_an_opening_fails_whole, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
