/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_DELIVER_READER_WORLD_TEST_H
#define WEIR_DELIVER_READER_WORLD_TEST_H

/* For the tests of readers: over a real log in a directory of its own; the loop is this thread. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "deliver/inner.h"
#include "deliver/turns_test.h"
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

static inline int test_open(struct hub *hub, const struct reader_options *o, struct reader **out,
			    struct fault *fault)
{
	int rc = reader_open(hub, o, out, fault);

	if (rc == 0 && open_count < sizeof(open_readers) / sizeof(open_readers[0]))
		open_readers[open_count++] = *out;
	return rc;
}

static inline void test_close(struct reader *r)
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

static inline void turn_loop(struct world *w)
{
	turn_run(w->port, w->hub);
}

static inline void await_turn(struct world *w)
{
	turn_await(&w->woken, w->port, w->hub);
}

static inline void up(struct world *w)
{
	struct log_options options = {.sys = &w->sys, .dir = w->dir, .journal_file_bytes = 1u << 22};
	struct hub_options hub;
	struct fault fault = {0};

	topics_world_open(&options, &plain, true, &w->log, &w->state, &w->topics);
	topics_world_load(w->state, w->topics);
	assert_int_equal(log_port_new(w->log, turn_wake, &w->woken, &w->port), 0);
	hub = (struct hub_options){.log = w->log, .topics = w->topics, .port = w->port};
	assert_int_equal(hub_new(&hub, &w->hub), 0);
	assert_int_equal(log_start(w->log, &fault), 0);
}

/* Also of a world that could not begin: what there is of it goes, once. */
static inline void down(struct world *w)
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

static inline int set_up(void **state)
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

static inline int tear_down(void **state)
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

static inline struct topic *create(struct world *w, const char *name, uint32_t partitions)
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

static inline void on_done(struct log_commit *commit)
{
	((struct production *)(void *)commit)->done = true;
}

static inline void enter_and_wait(struct world *w, struct production *p)
{
	p->commit.records = p->records;
	p->commit.port = w->port;
	p->commit.on_done = on_done;
	assert_int_equal(log_world_enter(w->log, &p->commit), 0);
	while (!p->done)
		await_turn(w);
}

/* One commit of a record to each of `partitions` from `first` on; the value is the number given. */
static inline void produce_to(struct world *w, struct topic *topic, uint32_t first, uint32_t partitions,
			      int number, struct slice key, int64_t timestamp_ms)
{
	struct production p = {.commit = {.record_count = partitions}};

	for (uint32_t i = 0; i < partitions; i++) {
		int n = snprintf(p.values[i], sizeof(p.values[i]), "%d", number);
		p.records[i] = (struct log_record){.partition = topic_partition(topic, first + i),
						   .timestamp_ms = timestamp_ms,
						   .key = key,
						   .value = slice_make(p.values[i], (size_t)n)};
	}
	enter_and_wait(w, &p);
}

static inline void produce(struct world *w, struct topic *topic, uint32_t partition, int number)
{
	produce_to(w, topic, partition, 1, number, slice_null(), -1);
}

static inline void on_ready(void *ctx, struct reader *r)
{
	struct world *w = ctx;

	(void)r;
	w->calls++;
}

static inline struct reader_options options_for(struct world *w, const struct slice *topics, uint32_t count,
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

static inline struct reader *open_at(struct world *w, const char *topic, const struct cursor *cursor)
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

static inline int number_of(struct slice value)
{
	char text[24] = {0};

	assert_true(value.len < sizeof(text));
	memcpy(text, value.ptr, value.len);
	return atoi(text);
}

/* The numbers in a view from view->from on, into out; gives their count. */
static inline int numbers_of(const struct reader *r, const struct reader_view *view, int *out)
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
static inline int pull_all(struct world *w, struct reader *r, int *out, int *count)
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

static inline void assert_pulls(struct world *w, struct reader *r, int first, int last)
{
	int numbers[4096], count;

	assert_int_equal(pull_all(w, r, numbers, &count), READER_END);
	assert_int_equal(count, last - first + 1);
	for (int i = 0; i < count; i++)
		assert_int_equal(numbers[i], first + i);
}

static inline struct cursor cursor_of(struct world *w, struct reader *r)
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
