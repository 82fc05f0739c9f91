/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <stdlib.h>

#include "base/rand.h"
#include "ingest/txn.h"
#include "log/producers.h"
#include "proto/batch/batch.h"
#include "sys/test_dir.h"

#define PARTITIONS 4u
#define MINUTE 60000
#define DAY_MS (24LL * 3600000)

static const struct topic_config plain = {.partitions = PARTITIONS,
					  .retention_ms = -1,
					  .retention_bytes = -1,
					  .max_message_bytes = 1 << 20,
					  .idempotency_ttl_ms = 1000};

struct world {
	char dir[TEST_DIR_BYTES];
	struct log *log;
	struct log_port *port;
	struct state *state;
	struct topics *topics;
	struct offsets *offsets;
	struct txns *txns;
	struct topic *topic;
	struct arena *arena;
	int64_t now_ms;
};

static void on_wake(void *ctx)
{
	(void)ctx;
}

static void up(struct world *w)
{
	struct log_options log = {.sys = sys_kernel(),
				  .dir = w->dir,
				  .journal_file_bytes = 1u << 20,
				  .steps = true};
	struct txns_options options;
	struct fault fault = {0};

	if (log_open(&log, &w->log, &fault))
		fail_msg("%s", fault.text);
	assert_int_equal(state_new(w->log, &w->state), 0);
	assert_int_equal(topics_new(w->log, w->state, &plain, true, &w->topics), 0);
	assert_int_equal(offsets_new(w->log, w->state, &w->offsets), 0);
	options = (struct txns_options){.log = w->log,
					.state = w->state,
					.topics = w->topics,
					.offsets = w->offsets};
	assert_int_equal(txns_new(&options, &w->txns), 0);
	if (state_load(w->state, &fault))
		fail_msg("%s", fault.text);
	assert_int_equal(topics_ready(w->topics, &fault), 0);
	assert_int_equal(txns_ready(w->txns, &fault), 0);
	assert_int_equal(log_port_new(w->log, on_wake, w, &w->port), 0);
	assert_int_equal(log_start(w->log, &fault), 0);
	txns_start(w->txns, w->port, NULL);
	w->topic = topics_find(w->topics, SLICE_LIT("t"));
}

/* All that has entered becomes durable. Nothing is told. */
static void sync_log(struct world *w)
{
	while (log_step(w->log, LOG_STEP_COMMIT))
		;
}

static void settle(struct world *w)
{
	sync_log(w);
	log_port_run(w->port);
}

static void down(struct world *w)
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
static void crash(struct world *w)
{
	char command[4 * TEST_DIR_BYTES];

	(void)snprintf(command, sizeof(command), "rm -rf %s-copy; cp -a --sparse=never %s %s-copy", w->dir,
		       w->dir, w->dir);
	assert_int_equal(system(command), 0);
	down(w);
	(void)snprintf(command, sizeof(command), "rm -rf %s; mv %s-copy %s", w->dir, w->dir, w->dir);
	assert_int_equal(system(command), 0);
	up(w);
}

static int set_up(void **state)
{
	struct world *w = calloc(1, sizeof(*w));
	struct fault fault = {0};

	if (!w || !test_dir_make(w->dir, "txn-test"))
		return -1;
	w->now_ms = 1000000;
	up(w);
	log_enter_begin(w->log);
	assert_int_equal(topics_create(w->topics, SLICE_LIT("t"), &plain, false, NULL, &w->topic, &fault), 0);
	log_enter_end(w->log);
	settle(w);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

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

static void on_done(struct txn_call *call)
{
	((struct asked *)call)->done = true;
}

static int answer(struct world *w, struct asked *a, int rc)
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

static struct txn_who as_who(const struct who *p)
{
	return (struct txn_who){.id = slice_str(p->id), .producer_id = p->producer_id, .epoch = p->epoch};
}

/* With `as` the producer says who it believes to be (KIP-360). */
static int init_as(struct world *w, struct who *p, const struct who *as, int32_t timeout_ms)
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

static struct who init(struct world *w, const char *id)
{
	struct who p = {.id = id};

	assert_int_equal(init_as(w, &p, NULL, MINUTE), 0);
	return p;
}

static struct txn_partition at(struct world *w, uint32_t number)
{
	return (struct txn_partition){.topic = w->topic->id, .number = number};
}

static int add(struct world *w, const struct who *p, uint32_t number)
{
	struct txn_who who = as_who(p);
	struct txn_partition partition = at(w, number);
	struct asked a = {.call = {.on_done = on_done}};

	return answer(w, &a, txn_add_partitions(w->txns, &a.call, &who, &partition, 1, w->now_ms));
}

static int add_group(struct world *w, const struct who *p, const char *group)
{
	struct txn_who who = as_who(p);
	struct asked a = {.call = {.on_done = on_done}};

	return answer(w, &a, txn_add_group(w->txns, &a.call, &who, slice_str(group), w->now_ms));
}

static int commit_offset(struct world *w, const struct who *p, const char *group, int64_t offset)
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

static int end(struct world *w, const struct who *p, bool commit)
{
	struct txn_who who = as_who(p);
	struct asked a = {.call = {.on_done = on_done}};

	return answer(w, &a, txn_end(w->txns, &a.call, &who, commit, w->now_ms));
}

static enum txn_state state_of(struct world *w, const char *id)
{
	struct txn_view view;

	return txn_look(w->txns, slice_str(id), &view) ? view.state : TXN_DEAD;
}

/* ---- writing and reading ---- */

struct written {
	struct log_commit commit;
	struct log_record record;
	uint8_t batch[256];
};

static void free_written(struct log_commit *c)
{
	free(c);
}

/* As the door does it: a transactional batch with one record. */
static int write_value(struct world *w, const struct who *p, uint32_t number, uint32_t value,
		       int32_t *sequence)
{
	struct written *e = calloc(1, sizeof(*e));
	struct partition *partition = topic_partition(w->topic, number);
	struct producer_answer ignored;
	struct batch_build b;
	struct batch_head head;
	int rc;

	batch_build_start(&b, e->batch, 0);
	batch_build_put(&b, &(struct batch_record){.timestamp = w->now_ms, .value = slice_make(&value, 4)});
	assert_int_equal(batch_head_read(batch_build_finish(&b), &head), 0);
	head.producer_id = p->producer_id;
	head.producer_epoch = p->epoch;
	head.base_sequence = *sequence;
	head.attributes = BATCH_IS_TRANSACTIONAL;
	batch_head_put(e->batch, &head);
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
		assert_int_equal(producer_check(partition, &head, &ignored, NULL), PRODUCER_NEXT);
		rc = log_enter(w->log, &e->commit);
	}
	log_enter_end(w->log);
	if (rc)
		free(e);
	else
		++*sequence;
	return rc;
}

/* The values that a read_committed reader sees; as `all` every one. */
static uint32_t read_values(struct world *w, uint32_t number, bool all, uint32_t *values, uint32_t max)
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
				memcpy(&values[count++], r.value.ptr, 4);
			}
			rest = slice_from(rest, walk.head.bytes);
		}
		blob_unref(view.blob);
	}
	return count;
}

static uint32_t visible(struct world *w, uint32_t number)
{
	uint32_t values[64];

	return read_values(w, number, false, values, 64);
}

static int64_t committed(struct world *w, const char *group)
{
	struct offset_item item;
	struct arena arena;
	int rc;

	arena_init(&arena, 4096, 4096);
	rc = offsets_find(w->offsets, slice_str(group), &w->topic->id, 0, &arena, &item);
	arena_fini(&arena);
	return rc == 1 ? item.offset : -1;
}

/* ---- InitProducerId ---- */

static void an_id_is_given_once(void **state)
{
	struct world *w = *state;
	int64_t last = -1;

	for (uint32_t round = 0; round < 4; round++) {
		for (uint32_t i = 0; i < 700; i++) {
			struct who p = {.id = NULL, .epoch = 9};
			assert_int_equal(init_as(w, &p, NULL, 0), 0);
			assert_true(p.producer_id > last);
			assert_int_equal(p.epoch, 0);
			last = p.producer_id;
		}
		if (round % 2)
			crash(w);
	}
}

static void an_id_is_told_when_its_block_is_durable(void **state)
{
	struct world *w = *state;
	struct txn_init ask = {.id = slice_null(), .producer_id = -1, .epoch = -1};
	struct asked a[3] = {{.call = {.on_done = on_done}}, {.call = {.on_done = on_done}}};

	assert_int_equal(txn_init(w->txns, &a[0].call, &ask, 0), TXN_LATER);
	assert_int_equal(txn_init(w->txns, &a[1].call, &ask, 0), TXN_LATER);
	log_port_run(w->port);
	assert_false(a[0].done);
	settle(w);
	assert_true(a[0].done && a[1].done);
	assert_int_equal(txn_init(w->txns, &a[2].call, &ask, 0), 0);
	assert_int_equal(a[2].call.producer_id, a[1].call.producer_id + 1);
}

static void a_transactional_id_keeps_its_producer(void **state)
{
	struct world *w = *state;
	struct who a = init(w, "a"), b = init(w, "b"), again;

	assert_int_equal(a.epoch, 0);
	assert_int_not_equal(a.producer_id, b.producer_id);
	crash(w);
	again = init(w, "a");
	assert_int_equal(again.producer_id, a.producer_id);
	assert_int_equal(again.epoch, 1);
	assert_int_equal(add(w, &a, 0), ERR_PRODUCER_FENCED);
	assert_int_equal(add(w, &again, 0), 0);
}

static void what_cannot_be_asked_is_refused(void **state)
{
	struct world *w = *state;
	struct who p = {.id = ""}, half = {.producer_id = 5, .epoch = -1}, nobody = {.id = "nobody"};

	assert_int_equal(init_as(w, &p, NULL, MINUTE), ERR_MALFORMED);
	p.id = "x";
	assert_int_equal(init_as(w, &p, NULL, 0), ERR_TXN_TIMEOUT);
	assert_int_equal(init_as(w, &p, NULL, 15 * MINUTE + 1), ERR_TXN_TIMEOUT);
	assert_int_equal(init_as(w, &p, &half, MINUTE), ERR_MALFORMED);
	assert_int_equal(init_as(w, &p, NULL, 15 * MINUTE), 0);
	assert_int_equal(add(w, &nobody, 0), ERR_PRODUCER_MAPPING);
	assert_int_equal(end(w, &nobody, true), ERR_PRODUCER_MAPPING);
	p.producer_id++;
	assert_int_equal(add_group(w, &p, "g"), ERR_PRODUCER_MAPPING);
	p.producer_id--;
	p.epoch++; /* a later epoch than there is */
	assert_int_equal(add_group(w, &p, "g"), ERR_PRODUCER_FENCED);
	p.id = "";
	assert_int_equal(end(w, &p, true), ERR_MALFORMED);
}

static void a_producer_that_goes_on_says_who_it_was(void **state)
{
	struct world *w = *state;
	struct who first = init(w, "a"), second = first, repeat = first, other;

	assert_int_equal(init_as(w, &second, &first, MINUTE), 0);
	assert_int_equal(second.epoch, first.epoch + 1);
	assert_int_equal(init_as(w, &repeat, &first, MINUTE), 0); /* the answer was lost */
	assert_int_equal(repeat.epoch, second.epoch);
	other = init(w, "a");
	assert_int_equal(other.epoch, second.epoch + 1);
	assert_int_equal(init_as(w, &repeat, &second, MINUTE), ERR_PRODUCER_FENCED);
	second.producer_id += 77;
	second.epoch = other.epoch;
	assert_int_equal(init_as(w, &repeat, &second, MINUTE), ERR_PRODUCER_FENCED);
}

static void epochs_that_are_used_up_give_a_new_producer(void **state)
{
	struct world *w = *state;
	struct who p = init(w, "a"), next = p, repeat = p;
	struct asked a = {.call = {.on_done = on_done}};
	struct txn_init ask = {.id = slice_str("a"), .timeout_ms = MINUTE, .producer_id = -1, .epoch = -1};

	for (uint32_t i = 1; i < INT16_MAX; i++) {
		assert_int_equal(txn_init(w->txns, &a.call, &ask, w->now_ms), TXN_LATER);
		assert_int_equal(a.call.producer_epoch, i);
		if (i % 500 == 0 || i == INT16_MAX - 1)
			settle(w);
	}
	p.epoch = a.call.producer_epoch;
	assert_int_equal(p.epoch, INT16_MAX - 1);
	assert_int_equal(add(w, &p, 0), 0);
	assert_int_equal(end(w, &p, true), 0);
	assert_int_equal(init_as(w, &next, &p, MINUTE), 0);
	assert_int_not_equal(next.producer_id, p.producer_id);
	assert_int_equal(next.epoch, 0);
	assert_int_equal(init_as(w, &repeat, &p, MINUTE), 0);
	assert_int_equal(repeat.producer_id, next.producer_id);
	assert_int_equal(repeat.epoch, 0);
	assert_int_equal(add(w, &p, 0), ERR_PRODUCER_MAPPING);
	assert_int_equal(add(w, &next, 0), 0);
}

/* ---- transactions ---- */

static void what_is_committed_is_seen_and_only_then(void **state)
{
	struct world *w = *state;
	struct who p = init(w, "a");
	int32_t sequence[2] = {0};

	assert_int_equal(write_value(w, &p, 0, 1, &sequence[0]), ERR_TXN_STATE);
	assert_int_equal(add(w, &p, 0), 0);
	assert_int_equal(add(w, &p, 1), 0);
	assert_int_equal(add(w, &p, 1), 0); /* again */
	assert_int_equal(state_of(w, "a"), TXN_ONGOING);
	assert_int_equal(write_value(w, &p, 2, 1, &sequence[0]), ERR_TXN_STATE);
	assert_int_equal(write_value(w, &p, 0, 1, &sequence[0]), 0);
	assert_int_equal(write_value(w, &p, 1, 2, &sequence[1]), 0);
	settle(w);
	assert_int_equal(visible(w, 0) + visible(w, 1), 0);
	assert_int_equal(end(w, &p, true), 0);
	assert_int_equal(visible(w, 0), 1);
	assert_int_equal(visible(w, 1), 1);
	assert_int_equal(end(w, &p, true), 0); /* again */
	assert_int_equal(end(w, &p, false), ERR_TXN_STATE);
	assert_int_equal(write_value(w, &p, 0, 3, &sequence[0]), ERR_TXN_STATE);
	assert_int_equal(add(w, &p, 0), 0);
	assert_int_equal(write_value(w, &p, 0, 3, &sequence[0]), 0);
	assert_int_equal(end(w, &p, false), 0);
	assert_int_equal(end(w, &p, false), 0);
	assert_int_equal(end(w, &p, true), ERR_TXN_STATE);
	assert_int_equal(visible(w, 0), 1);
	crash(w);
	assert_int_equal(state_of(w, "a"), TXN_COMPLETE_ABORT);
	assert_int_equal(visible(w, 0), 1);
}

static void an_end_is_told_when_it_is_durable_a_repeat_too(void **state)
{
	struct world *w = *state;
	struct who p = init(w, "a");
	struct txn_who who = as_who(&p);
	struct asked a = {.call = {.on_done = on_done}}, b = a;

	assert_int_equal(add(w, &p, 0), 0);
	assert_int_equal(txn_end(w->txns, &a.call, &who, true, w->now_ms), TXN_LATER);
	assert_int_equal(state_of(w, "a"), TXN_PREPARE_COMMIT);
	assert_int_equal(txn_end(w->txns, &b.call, &who, true, w->now_ms), TXN_LATER);
	log_port_run(w->port);
	assert_false(a.done || b.done);
	settle(w);
	assert_true(a.done && b.done);
	assert_int_equal(state_of(w, "a"), TXN_COMPLETE_COMMIT);
}

static void a_second_producer_aborts_and_fences_the_first(void **state)
{
	struct world *w = *state;
	struct who first = init(w, "a"), second;
	int32_t sequence = 0, fresh = 0;

	assert_int_equal(add(w, &first, 0), 0);
	assert_int_equal(write_value(w, &first, 0, 1, &sequence), 0);
	second = init(w, "a");
	assert_int_equal(second.producer_id, first.producer_id);
	assert_int_equal(second.epoch, first.epoch + 1);
	assert_int_equal(write_value(w, &first, 0, 2, &sequence), ERR_PRODUCER_EPOCH);
	assert_int_equal(add(w, &first, 1), ERR_PRODUCER_FENCED);
	assert_int_equal(end(w, &first, true), ERR_PRODUCER_FENCED);
	assert_int_equal(commit_offset(w, &first, "g", 1), ERR_PRODUCER_EPOCH);
	assert_int_equal(end(w, &second, true), ERR_TXN_STATE);
	assert_int_equal(add(w, &second, 0), 0);
	assert_int_equal(write_value(w, &second, 0, 3, &fresh), 0);
	assert_int_equal(end(w, &second, true), 0);
	assert_int_equal(visible(w, 0), 1);
}

static void a_transaction_that_takes_too_long_is_aborted(void **state)
{
	struct world *w = *state;
	struct who p = init(w, "a"), again = p;
	struct txns_stats stats;
	int32_t sequence = 0;

	txns_tick(w->txns, w->now_ms);
	assert_int_equal(add(w, &p, 0), 0);
	assert_int_equal(write_value(w, &p, 0, 1, &sequence), 0);
	assert_int_equal(add_group(w, &p, "g"), 0);
	assert_int_equal(commit_offset(w, &p, "g", 5), 0);
	assert_int_equal(txns_deadline_ms(w->txns), w->now_ms + MINUTE + 1);
	w->now_ms += MINUTE / 2;
	crash(w); /* the time goes on from when it began */
	assert_true(offsets_pending(w->offsets, SLICE_LIT("g"), &w->topic->id, 0));
	assert_int_equal(txns_deadline_ms(w->txns), w->now_ms + MINUTE / 2 + 1);
	w->now_ms += MINUTE / 2;
	txns_tick(w->txns, w->now_ms);
	settle(w);
	assert_int_equal(state_of(w, "a"), TXN_ONGOING);
	w->now_ms += 1;
	txns_tick(w->txns, w->now_ms);
	settle(w);
	assert_int_equal(state_of(w, "a"), TXN_COMPLETE_ABORT);
	assert_int_equal(visible(w, 0), 0);
	assert_false(offsets_pending(w->offsets, SLICE_LIT("g"), &w->topic->id, 0));
	assert_int_equal(committed(w, "g"), -1);
	assert_int_equal(end(w, &p, true), ERR_PRODUCER_FENCED);
	assert_int_equal(end(w, &p, false), ERR_PRODUCER_FENCED);
	assert_int_equal(write_value(w, &p, 0, 1, &sequence), ERR_PRODUCER_EPOCH);
	assert_int_equal(init_as(w, &again, &p, MINUTE), ERR_PRODUCER_FENCED);
	again = init(w, "a");
	assert_int_equal(again.epoch, p.epoch + 2); /* nobody was given the one between */
	txns_stats(w->txns, &stats);
	assert_int_equal(stats.timed_out, 1);
	assert_int_equal(stats.ongoing, 0);
}

static void offsets_go_with_the_transaction(void **state)
{
	struct world *w = *state;
	struct who p = init(w, "a");

	assert_int_equal(commit_offset(w, &p, "g", 7), ERR_TXN_STATE);
	assert_int_equal(add_group(w, &p, "g"), 0);
	assert_int_equal(add_group(w, &p, "g"), 0);
	assert_int_equal(commit_offset(w, &p, "h", 7), ERR_TXN_STATE);
	assert_int_equal(commit_offset(w, &p, "g", 7), 0);
	assert_int_equal(commit_offset(w, &p, "g", 8), 0);
	assert_int_equal(committed(w, "g"), -1);
	crash(w);
	assert_true(offsets_pending(w->offsets, SLICE_LIT("g"), &w->topic->id, 0));
	assert_int_equal(end(w, &p, true), 0);
	assert_int_equal(committed(w, "g"), 8);
	assert_false(offsets_pending(w->offsets, SLICE_LIT("g"), &w->topic->id, 0));
	assert_int_equal(add_group(w, &p, "g"), 0);
	assert_int_equal(commit_offset(w, &p, "g", 9), 0);
	assert_int_equal(end(w, &p, false), 0);
	crash(w);
	assert_int_equal(committed(w, "g"), 8);
}

static void a_topic_that_goes_does_not_hold_up_the_end(void **state)
{
	struct world *w = *state;
	struct who p = init(w, "a");
	struct topic *gone;
	struct fault fault = {0};

	assert_int_equal(add(w, &p, 0), 0);
	log_enter_begin(w->log);
	assert_int_equal(topics_create(w->topics, SLICE_LIT("u"), &plain, false, NULL, &gone, &fault), 0);
	log_enter_end(w->log);
	w->topic = gone;
	assert_int_equal(add(w, &p, 3), 0);
	log_enter_begin(w->log);
	assert_int_equal(topics_delete(w->topics, gone, NULL), 0);
	log_enter_end(w->log);
	assert_int_equal(end(w, &p, true), 0);
	assert_int_equal(state_of(w, "a"), TXN_COMPLETE_COMMIT);
}

static void an_id_that_is_not_used_is_forgotten(void **state)
{
	struct world *w = *state;
	struct who a = init(w, "a"), c = init(w, "c"), b;

	assert_int_equal(add(w, &c, 0), 0);
	w->now_ms += 6 * DAY_MS;
	b = init(w, "b");
	crash(w);
	w->now_ms += DAY_MS;
	assert_true(txns_deadline_ms(w->txns) <= w->now_ms);
	txns_tick(w->txns, w->now_ms); /* this ends the transaction of c, for good */
	settle(w);
	assert_int_equal(state_of(w, "a"), TXN_DEAD);
	assert_int_equal(state_of(w, "b"), TXN_EMPTY);
	assert_int_equal(state_of(w, "c"), TXN_COMPLETE_ABORT);
	crash(w);
	assert_int_equal(state_of(w, "a"), TXN_DEAD);
	assert_int_equal(add(w, &a, 0), ERR_PRODUCER_MAPPING);
	assert_int_equal(add(w, &b, 0), 0);
	a = init(w, "a");
	assert_int_equal(a.epoch, 0);
	assert_true(a.producer_id > b.producer_id);
}

static void a_long_state_is_written_again(void **state)
{
	struct world *w = *state;
	struct who p = init(w, "a"), q = init(w, "b");
	struct partition_range range;

	state_set_slack(w->state, 40);
	assert_int_equal(add(w, &q, 1), 0);
	assert_int_equal(add(w, &q, 3), 0);
	assert_int_equal(add_group(w, &q, "g"), 0);
	for (uint32_t i = 0; i < 100; i++) {
		assert_int_equal(add(w, &p, i % PARTITIONS), 0);
		assert_int_equal(end(w, &p, i % 3), 0);
	}
	partition_range(log_internal(w->log), &range);
	assert_true(range.end - range.start < 100);
	crash(w);
	assert_int_equal(end(w, &p, 99 % 3), 0);
	assert_int_equal(commit_offset(w, &q, "g", 4), 0);
	assert_int_equal(txn_may_write(w->txns, q.producer_id, q.epoch, topic_partition(w->topic, 3)), 0);
	assert_int_equal(txn_may_write(w->txns, q.producer_id, q.epoch, topic_partition(w->topic, 2)),
			 ERR_TXN_STATE);
	assert_int_equal(init(w, "n").producer_id, 1000); /* behind the block that was begun */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
		TEST(an_id_is_given_once),
		TEST(an_id_is_told_when_its_block_is_durable),
		TEST(a_transactional_id_keeps_its_producer),
		TEST(what_cannot_be_asked_is_refused),
		TEST(a_producer_that_goes_on_says_who_it_was),
		TEST(epochs_that_are_used_up_give_a_new_producer),
		TEST(what_is_committed_is_seen_and_only_then),
		TEST(an_end_is_told_when_it_is_durable_a_repeat_too),
		TEST(a_second_producer_aborts_and_fences_the_first),
		TEST(a_transaction_that_takes_too_long_is_aborted),
		TEST(offsets_go_with_the_transaction),
		TEST(a_topic_that_goes_does_not_hold_up_the_end),
		TEST(an_id_that_is_not_used_is_forgotten),
		TEST(a_long_state_is_written_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
