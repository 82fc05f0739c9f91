/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_INGEST_TXN_WORLD_TEST_H
#define WEIR_INGEST_TXN_WORLD_TEST_H

/* For tests of transactions: a log that moves when it is told to, with state and coordinator over it, and a door that asks it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "base/wire.h"
#include "ingest/txn.h"
#include "log/producers.h"
#include "proto/batch/batch.h"
#include "state/topics_world_test.h"
#include "sys/sim/sim.h"
#include "sys/test_dir.h"

#define PARTITIONS 4u
#define MINUTE 60000
#define DAY_MS (24LL * 3600000)

static const struct topic_config txn_topic_config = {.partitions = PARTITIONS,
						     .retention_ms = -1,
						     .retention_bytes = -1,
						     .max_message_bytes = 1 << 20,
						     .idempotency_ttl_ms = 1000};

struct world {
	char dir[TEST_DIR_BYTES];
	struct sim *sim;  /* the disk and the clock; NULL: the machine's */
	enum sim_cut cut; /* how the next crash is, with a sim */
	struct log *log;
	struct log_port *port;
	struct state *state;
	struct topics *topics;
	struct offsets *offsets;
	struct txns *txns;
	struct topic *topic;
	int64_t now_ms;
	uint32_t unsynced; /* batches whose writer was not told */
	bool is_up;
};

static inline void on_wake(void *ctx)
{
	(void)ctx;
}

static inline void up(struct world *w)
{
	struct log_options log = {.sys = w->sim ? sim_sys(w->sim) : sys_kernel(),
				  .dir = w->dir,
				  .journal_file_bytes = 1u << 20,
				  .steps = true};
	struct txns_options options;
	struct fault fault = {0};

	w->is_up = false;
	topics_world_open(&log, &txn_topic_config, true, &w->log, &w->state, &w->topics);
	assert_int_equal(offsets_new(w->log, w->state, &w->offsets), 0);
	options = (struct txns_options){.log = w->log,
					.state = w->state,
					.topics = w->topics,
					.offsets = w->offsets};
	assert_int_equal(txns_new(&options, &w->txns), 0);
	topics_world_load(w->state, w->topics);
	assert_int_equal(txns_ready(w->txns, &fault), 0);
	assert_int_equal(log_port_new(w->log, on_wake, w, &w->port), 0);
	assert_int_equal(log_start(w->log, &fault), 0);
	txns_start(w->txns, w->port, NULL);
	w->topic = topics_find(w->topics, SLICE_LIT("t"));
	w->is_up = true;
}

/* All that has entered becomes durable. Nothing is told. */
static inline void sync_log(struct world *w)
{
	while (log_step(w->log, LOG_STEP_COMMIT))
		;
}

static inline void settle(struct world *w)
{
	sync_log(w);
	log_port_run(w->port);
}

static inline void down(struct world *w)
{
	settle(w);
	assert_int_equal(log_stop(w->log, NULL), 0);
	log_port_run(w->port);
	txns_free(w->txns);
	offsets_free(w->offsets);
	topics_free(w->topics);
	state_free(w->state);
	log_close(w->log);
}

/* As a kill leaves it: what has entered and was not synced is gone, and nobody hears of what was. */
static inline void crash(struct world *w)
{
	char command[4 * TEST_DIR_BYTES];

	if (w->sim) { /* the memory of this life is left behind, as a crash does it */
		sim_cut(w->sim, w->cut);
		w->unsynced = 0;
		up(w);
		return;
	}
	(void)snprintf(command, sizeof(command), "rm -rf %s-copy; cp -a --sparse=never %s %s-copy", w->dir,
		       w->dir, w->dir);
	assert_int_equal(system(command), 0);
	down(w);
	(void)snprintf(command, sizeof(command), "rm -rf %s; mv %s-copy %s", w->dir, w->dir, w->dir);
	assert_int_equal(system(command), 0);
	up(w);
}

/* For the first time: there is a topic, t. */
static inline void start(struct world *w)
{
	up(w);
	w->topic = topics_world_create(w->log, w->topics, "t", &txn_topic_config);
	settle(w);
}

static inline int set_up(void **state)
{
	struct world *w = calloc(1, sizeof(*w));

	if (!w || !test_dir_make(w->dir, "txn-test"))
		return -1;
	w->now_ms = 1000000;
	start(w);
	*state = w;
	return 0;
}

static inline int tear_down(void **state)
{
	struct world *w = *state;

	if (w->is_up) /* else an assertion of up() has failed */
		down(w);
	(void)test_dir_remove(w->dir);
	free(w);
	return 0;
}

/* ---- asking, and waiting for the answer ---- */

struct asked {
	struct txn_call call;
	bool done;
};

static inline void on_done(struct txn_call *call)
{
	((struct asked *)call)->done = true;
}

static inline int answer(struct world *w, struct asked *a, int rc)
{
	if (rc != TXN_LATER)
		return rc;
	assert_false(a->done);
	settle(w);
	assert_true(a->done);
	return 0;
}

struct who {
	const char *id;
	int64_t producer_id;
	int16_t epoch;
};

static inline struct txn_who as_who(const struct who *p)
{
	return (struct txn_who){.id = slice_str(p->id), .producer_id = p->producer_id, .epoch = p->epoch};
}

/* With `as` the producer says who it believes to be (KIP-360). */
static inline int init_as(struct world *w, struct who *p, const struct who *as, int32_t timeout_ms)
{
	struct txn_init ask = {.id = slice_str(p->id),
			       .timeout_ms = timeout_ms,
			       .producer_id = as ? as->producer_id : -1,
			       .epoch = as ? as->epoch : -1};
	struct asked a = {.call = {.on_done = on_done}};
	int rc = answer(w, &a, txn_init(w->txns, &a.call, &ask, w->now_ms));

	if (rc == 0) {
		p->producer_id = a.call.producer_id;
		p->epoch = a.call.producer_epoch;
	}
	return rc;
}

static inline struct who init(struct world *w, const char *id)
{
	struct who p = {.id = id};

	assert_int_equal(init_as(w, &p, NULL, MINUTE), 0);
	return p;
}

static inline struct txn_partition at(struct world *w, uint32_t number)
{
	return (struct txn_partition){.topic = w->topic->id, .number = number};
}

static inline int add(struct world *w, const struct who *p, uint32_t number)
{
	struct txn_who who = as_who(p);
	struct txn_partition partition = at(w, number);
	struct asked a = {.call = {.on_done = on_done}};

	return answer(w, &a, txn_add_partitions(w->txns, &a.call, &who, &partition, 1, w->now_ms));
}

static inline int add_group(struct world *w, const struct who *p, const char *group)
{
	struct txn_who who = as_who(p);
	struct asked a = {.call = {.on_done = on_done}};

	return answer(w, &a, txn_add_group(w->txns, &a.call, &who, slice_str(group), w->now_ms));
}

static inline int commit_offset(struct world *w, const struct who *p, const char *group, int64_t offset)
{
	struct txn_who who = as_who(p);
	struct offset_item item = {.topic = w->topic->id,
				   .leader_epoch = -1,
				   .offset = offset,
				   .committed_ms = w->now_ms,
				   .expires_ms = -1,
				   .metadata = SLICE_LIT("")};
	struct asked a = {.call = {.on_done = on_done}};

	return answer(w, &a,
		      txn_commit_offsets(w->txns, &a.call, &who, slice_str(group), &item, 1, w->now_ms));
}

static inline int end(struct world *w, const struct who *p, bool commit)
{
	struct txn_who who = as_who(p);
	struct asked a = {.call = {.on_done = on_done}};

	return answer(w, &a, txn_end(w->txns, &a.call, &who, commit, w->now_ms));
}

static inline enum txn_state state_of(struct world *w, const char *id)
{
	struct txn_view view;

	return txn_look(w->txns, slice_str(id), &view) ? view.state : TXN_DEAD;
}

/* ---- writing and reading ---- */

struct written {
	struct log_commit commit; /* first */
	struct world *world;
	struct log_record record;
	uint8_t batch[256];
};

static inline void free_written(struct log_commit *c)
{
	((struct written *)c)->world->unsynced--;
	free(c);
}

/* As the door does it: a transactional batch with one record. */
static inline int write_value(struct world *w, const struct who *p, uint32_t number, uint32_t value,
			      int32_t *sequence)
{
	struct written *e = calloc(1, sizeof(*e));
	uint8_t bytes[4];
	struct partition *partition = topic_partition(w->topic, number);
	struct producer_answer ignored;
	struct batch_build b;
	struct batch_head head;
	int rc, verdict = PRODUCER_NEXT;

	(void)wire_put_u32(bytes, value);
	batch_build_start(&b, e->batch, 0);
	batch_build_put(&b, &(struct batch_record){.timestamp = w->now_ms, .value = slice_make(bytes, 4)});
	assert_int_equal(batch_head_read(batch_build_finish(&b), &head), 0);
	head.producer_id = p->producer_id;
	head.producer_epoch = p->epoch;
	head.base_sequence = *sequence;
	head.attributes = BATCH_IS_TRANSACTIONAL;
	batch_head_put(e->batch, &head);
	e->world = w;
	e->record = (struct log_record){.partition = partition,
					.timestamp_ms = -1,
					.value = slice_make(e->batch, head.bytes),
					.batch_records = 1};
	e->commit = (struct log_commit){.records = &e->record,
					.record_count = 1,
					.port = w->port,
					.on_done = free_written};
	log_enter_begin(w->log);
	rc = txn_may_write(w->txns, p->producer_id, p->epoch, partition);
	if (rc == 0) {
		verdict = producer_check(partition, &head, &ignored, NULL);
		rc = log_enter(w->log, &e->commit);
	}
	log_enter_end(w->log);
	assert_int_equal(verdict, PRODUCER_NEXT);
	if (rc)
		free(e);
	if (rc)
		return rc;
	++*sequence;
	w->unsynced++;
	return 0;
}

/* The values that a read_committed reader sees; as `all` every one. */
static inline uint32_t read_values(struct world *w, uint32_t number, bool all, uint32_t *values, uint32_t max)
{
	struct partition *p = topic_partition(w->topic, number);
	struct partition_range range;
	struct log_view view;
	uint32_t count = 0;

	partition_range(p, &range);
	for (int64_t next = range.start; next < (all ? range.end : range.stable); next = view.next_offset) {
		assert_int_equal(log_read_wait(p, next, 1 << 20, &view), 0);
		for (struct slice rest = view.batches; rest.len;) {
			struct batch_walk walk;
			struct batch_record r;
			assert_int_equal(batch_walk_start(&walk, rest), 0);
			while (walk.head.base_offset < range.stable && !batch_is_control(&walk.head) &&
			       (all || !partition_hides(p, &walk.head)) && batch_walk_next(&walk, &r) == 1) {
				assert_true(count < max && r.value.len == 4);
				values[count++] = wire_load_u32(r.value.ptr);
			}
			rest = slice_from(rest, walk.head.bytes);
		}
		blob_unref(view.blob);
	}
	return count;
}

static inline uint32_t visible(struct world *w, uint32_t number)
{
	uint32_t values[64];

	return read_values(w, number, false, values, 64);
}

static inline int64_t committed(struct world *w, const char *group)
{
	struct offset_item item;
	struct arena arena;
	int rc;

	arena_init(&arena, 4096, 4096);
	rc = offsets_find(w->offsets, slice_str(group), &w->topic->id, 0, &arena, &item);
	arena_fini(&arena);
	return rc == 1 ? item.offset : -1;
}

#endif
