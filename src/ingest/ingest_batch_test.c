/* SPDX-License-Identifier: Apache-2.0 */
/* Record batches through the door, over a real log that moves only when the test says so. */
#include "ingest/ingest_batch.h"

#include "base/mem.h"
#include "ingest/ingest_world_test.h"
#include "proto/batch/codec.h"

/* What the queue is given by its loop. */
static struct {
	struct budget budget;
	struct budget_share share;
	int64_t now_ns;
	uint32_t asked_again; /* how often a flush was wanted for later */
	bool no_later;        /* nobody would do that */
} turn;

static const struct topic_config plain = {.partitions = 1,
					  .retention_ms = -1,
					  .retention_bytes = -1,
					  .idempotency_ttl_ms = 600000,
					  .max_message_bytes = 20000};

static void want_flush_later(void *ctx)
{
	(void)ctx;
	turn.asked_again++;
}

static int64_t now_ns(void *ctx)
{
	(void)ctx;
	return turn.now_ns;
}

static struct topic *make_topic(const char *name, const struct topic_config *config)
{
	return topics_world_create(w.log, w.topics, name, config);
}

static void commit(void)
{
	while (log_step(w.log, LOG_STEP_COMMIT) > 0)
		log_port_run(w.port);
	log_port_run(w.port);
}

static void move_all(void)
{
	while (log_step(w.log, LOG_STEP_MOVE) > 0)
		;
}

static void make_queue(void)
{
	world_queue((struct ingest_queue_options){.want_flush_later = turn.no_later ? NULL : want_flush_later,
						  .now_ns = now_ns,
						  .share = &turn.share});
}

static int set_up(void **state)
{
	struct log_options options = {.sys = sys_kernel(), .entered_bytes_max = 100000, .steps = true};
	struct topic_config config = plain;

	(void)state;
	memset(&turn, 0, sizeof(turn));
	turn.now_ns = 1000;
	world_open(options, &plain, &(struct ingest_limits){.body_bytes_max = 100000});
	budget_init(&turn.budget, 1 << 20, 1);
	budget_share_init(&turn.share, &turn.budget);
	make_queue();
	make_topic("t", &plain);
	config.partitions = 100;
	make_topic("many", &config);
	commit();
	move_all();
	return 0;
}

/* ---- batches ---- */

struct made {
	uint32_t count;
	size_t value_bytes;
	bool keyless;
	bool transactional;
	int64_t pid; /* 0: none */
	int16_t epoch;
	int32_t sequence;
	int64_t max_timestamp; /* 0: the right one */
	enum batch_codec codec;
};

static struct slice make_batch(const struct made *m)
{
	static uint8_t zeros[100000];
	uint32_t count = m->count ? m->count : 1;
	size_t room = BATCH_HEAD_BYTES + count * batch_record_bytes_max(3, m->value_bytes, 0);
	uint8_t *bytes = malloc(room);
	struct batch_build b;
	struct batch_head head;
	struct slice batch;

	assert_non_null(bytes);
	batch_build_start(&b, bytes, 0);
	for (uint32_t i = 0; i < count; i++)
		batch_build_put(&b,
				&(struct batch_record){.timestamp = 5000 + i,
						       .key = m->keyless ? slice_null() : SLICE_LIT("key"),
						       .value = slice_make(zeros, m->value_bytes)});
	batch = batch_build_finish(&b);
	assert_int_equal(batch_head_read(batch, &head), 0);
	if (m->pid) {
		head.producer_id = m->pid;
		head.producer_epoch = m->epoch;
		head.base_sequence = m->sequence;
	}
	if (m->transactional)
		head.attributes |= BATCH_IS_TRANSACTIONAL;
	if (m->max_timestamp)
		head.max_timestamp = m->max_timestamp;
	batch_head_put(bytes, &head);
	if (m->codec) {
		struct buf scratch, out;
		struct codec *codec;
		buf_init(&scratch, 1u << 24);
		buf_init(&out, 1u << 24);
		assert_int_equal(codec_new(&codec), 0);
		assert_int_equal(batch_recode(codec, batch, m->codec, 0, &scratch, &out), 0);
		assert_true(out.len <= room);
		memcpy(bytes, out.ptr, out.len);
		batch.len = out.len;
		buf_fini(&scratch);
		buf_fini(&out);
		codec_free(codec);
	}
	return batch;
}

/* ---- requests ---- */

#define ITEMS_MAX 100u

struct post {
	struct ingest_batches r;
	struct ingest_batch items[ITEMS_MAX];
	struct slice sent[ITEMS_MAX]; /* copies, as they were */
	struct arena arena;
	uint32_t count;
	bool done;
	uint32_t number; /* in which order it ended */
};

static uint32_t ended;

static void on_done(struct ingest_batches *r)
{
	struct post *p = r->ctx;

	assert_false(p->done);
	p->done = true;
	p->number = ++ended;
}

static struct post *post_new(uint32_t count)
{
	struct post *p = calloc(1, sizeof(*p));

	assert_non_null(p);
	assert_true(count <= ITEMS_MAX);
	arena_init(&p->arena, 4096, 8u << 20);
	ingest_batches_init(&p->r, p->items, count, &p->arena, on_done, p);
	return p;
}

static void add(struct post *p, const char *topic, int32_t partition, const struct made *m)
{
	struct ingest_batch *item = &p->items[p->count];

	item->topic = slice_str(topic);
	item->partition = partition;
	item->bytes = make_batch(m);
	p->sent[p->count++] = item->bytes;
}

static void post_free(struct post *p)
{
	for (uint32_t i = 0; i < p->count; i++)
		free((void *)(uintptr_t)p->sent[i].ptr);
	arena_fini(&p->arena);
	free(p);
}

static void start(struct post *p)
{
	int rc = ingest_batches_start(w.queue, &p->r);

	assert_false(p->done);
	if (rc)
		on_done(&p->r);
}

static void run(struct post *p)
{
	start(p);
	ingest_flush(w.queue);
	commit();
	assert_true(p->done);
}

/* One batch, to its end: the error. */
static int send_one(const char *topic, int32_t partition, const struct made *m, int64_t *offset)
{
	struct post *p = post_new(1);
	int err;

	add(p, topic, partition, m);
	run(p);
	err = p->items[0].err;
	assert_true(!err == !p->items[0].detail);
	assert_true(!err == (p->items[0].base_offset >= 0) && !err == (p->items[0].log_start >= 0));
	if (offset)
		*offset = p->items[0].base_offset;
	post_free(p);
	return err;
}

static uint64_t commits(void)
{
	struct log_stats stats;

	log_stats(w.log, &stats);
	return stats.commits;
}

static uint64_t count_of(enum metric metric, unsigned label)
{
	return (uint64_t)metrics_read(w.metrics, metric, label);
}

/* ---- storing ---- */

static void a_batch_is_stored_as_it_came(void **state)
{
	struct post *p = post_new(2);
	struct log_view view;
	struct batch_head head;

	(void)state;
	add(p, "t", 0, &(struct made){.count = 3, .value_bytes = 10});
	add(p, "t", 0, &(struct made){.count = 2, .value_bytes = 10, .codec = BATCH_LZ4});
	run(p);
	assert_int_equal(p->items[0].base_offset, 0);
	assert_int_equal(p->items[1].base_offset, 3);
	assert_int_equal(p->items[1].log_start, 0);
	assert_int_equal(p->items[1].timestamp_ms, -1);
	assert_int_equal(end_of("t", 0), 5);
	for (uint32_t i = 0; i < 2; i++) {
		struct slice sent = p->items[i].bytes;
		assert_int_equal(log_read_wait(part("t", 0), p->items[i].base_offset, 1u << 20, &view),
				 LOG_READ_OK);
		assert_int_equal(batch_check(view.batches, &head), 0);
		assert_int_equal(head.bytes, sent.len);
		assert_int_equal(head.base_offset, p->items[i].base_offset);
		assert_memory_equal(view.batches.ptr + 16, sent.ptr + 16, sent.len - 16);
		blob_unref(view.blob);
	}
	post_free(p);
}

static void a_request_is_one_commit(void **state)
{
	uint64_t before = commits();
	struct post *p = post_new(50);

	(void)state;
	for (int32_t i = 0; i < 50; i++)
		add(p, "many", i, &(struct made){.count = 2});
	run(p);
	for (int32_t i = 0; i < 50; i++)
		assert_int_equal(end_of("many", (uint32_t)i), 2);
	assert_int_equal(commits() - before, 1);
	post_free(p);
}

static void a_bad_batch_is_refused_alone(void **state)
{
	struct post *p = post_new(6);

	(void)state;
	for (int32_t i = 0; i < 6; i++)
		add(p, "many", i, &(struct made){.count = 2});
	((uint8_t *)(uintptr_t)p->items[1].bytes.ptr)[70] ^= 1;
	p->items[2].topic = SLICE_LIT("nowhere");
	p->items[3].partition = 100;
	p->items[4].partition = -1;
	p->items[5].err = ERR_BAD_ACKS;
	p->items[5].detail = "said before";
	run(p);
	assert_int_equal(p->items[0].err, 0);
	assert_int_equal(p->items[0].base_offset, 0);
	assert_int_equal(p->items[1].err, ERR_CORRUPT_BATCH);
	assert_int_equal(p->items[1].base_offset, -1);
	assert_int_equal(p->items[2].err, ERR_UNKNOWN_TOPIC);
	assert_int_equal(p->items[3].err, ERR_UNKNOWN_PARTITION);
	assert_int_equal(p->items[4].err, ERR_UNKNOWN_PARTITION);
	assert_int_equal(p->items[5].err, ERR_BAD_ACKS);
	for (uint32_t i = 1; i < 6; i++) {
		assert_non_null(p->items[i].detail);
		assert_int_equal(end_of("many", i), 0);
	}
	assert_null(topics_find(w.topics, SLICE_LIT("nowhere")));
	post_free(p);
}

static void where_all_is_refused_nothing_is_queued(void **state)
{
	struct post *p = post_new(1);

	(void)state;
	add(p, "nowhere", 0, &(struct made){.count = 2});
	assert_int_equal(ingest_batches_start(w.queue, &p->r), 1);
	assert_int_equal(ingest_in_flight(w.queue), 0);
	assert_int_equal(count_of(METRIC_REFUSALS, metric_code(ERR_UNKNOWN_TOPIC)), 1);
	post_free(p);
}

static void weirs_own_topics_are_not_written(void **state)
{
	struct topic *topic = make_topic("own", &plain);

	(void)state;
	topic->internal = true;
	assert_int_equal(send_one("own", 0, &(struct made){.count = 1}, NULL), ERR_BAD_TOPIC);
}

static void the_topic_says_how_large_a_batch_may_be(void **state)
{
	struct topic_config config = plain;

	(void)state;
	config.max_message_bytes = 1000;
	make_topic("small", &config);
	assert_int_equal(send_one("small", 0, &(struct made){.value_bytes = 900}, NULL), 0);
	assert_int_equal(send_one("small", 0, &(struct made){.value_bytes = 1000}, NULL),
			 ERR_BATCH_TOO_LARGE);
	assert_int_equal(send_one("t", 0, &(struct made){.value_bytes = 1000}, NULL), 0);
}

static void compacted_topics_want_keys(void **state)
{
	struct topic_config config = plain;
	struct post *p = post_new(2);

	(void)state;
	config.cleanup = TOPIC_COMPACT;
	make_topic("compacted", &config);
	add(p, "compacted", 0, &(struct made){.count = 20, .keyless = true});
	add(p, "compacted", 0, &(struct made){.count = 20});
	run(p);
	assert_int_equal(p->items[0].err, ERR_KEY_REQUIRED);
	assert_int_equal(p->items[0].error_count, 16);
	assert_int_equal(p->items[0].errors[15].index, 15);
	assert_non_null(p->items[0].errors[15].what);
	assert_int_equal(p->items[1].err, 0);
	assert_int_equal(end_of("compacted", 0), 20);
	post_free(p);
}

/* The topic's cleanup changes between the check and the entry. */
static void a_topic_that_is_compacted_meanwhile_wants_keys(void **state)
{
	struct topic *topic = topics_find(w.topics, SLICE_LIT("t"));
	struct topic_config config = plain;
	struct post *p = post_new(1);

	(void)state;
	config.cleanup = TOPIC_COMPACT;
	add(p, "t", 0, &(struct made){.count = 2, .keyless = true});
	start(p);
	assert_int_equal(topics_world_change(w.log, w.topics, topic, &config), 0);
	ingest_flush(w.queue);
	commit();
	assert_true(p->done);
	assert_int_equal(p->items[0].err, ERR_KEY_REQUIRED);
	post_free(p);
}

static void a_topic_that_is_deleted_meanwhile_is_unknown(void **state)
{
	struct topic *topic = topics_find(w.topics, SLICE_LIT("t"));
	struct post *p = post_new(2);

	(void)state;
	add(p, "t", 0, &(struct made){.count = 2});
	add(p, "many", 0, &(struct made){.count = 2});
	start(p);
	assert_int_equal(topics_world_delete(w.log, w.topics, topic), 0);
	ingest_flush(w.queue);
	commit();
	assert_true(p->done);
	assert_int_equal(p->items[0].err, ERR_UNKNOWN_TOPIC);
	assert_int_equal(p->items[1].err, 0);
	post_free(p);
}

static void a_wrong_highest_timestamp_is_put_right(void **state)
{
	struct batch_head head;
	struct log_view view;

	(void)state;
	assert_int_equal(send_one("t", 0, &(struct made){.count = 3, .max_timestamp = 1}, NULL), 0);
	assert_int_equal(log_read_wait(part("t", 0), 0, 1u << 20, &view), LOG_READ_OK);
	assert_int_equal(batch_check(view.batches, &head), 0);
	assert_int_equal(head.max_timestamp, 5002);
	blob_unref(view.blob);
}

static void the_log_gives_the_time_where_the_topic_says_so(void **state)
{
	struct topic_config config = plain;
	struct post *p = post_new(2);
	struct batch_record record;
	struct batch_walk walk;
	struct log_view view;

	(void)state;
	config.timestamps = TOPIC_APPEND_TIME;
	make_topic("stamped", &config);
	add(p, "stamped", 0, &(struct made){.count = 2});
	add(p, "t", 0, &(struct made){.count = 2});
	run(p);
	assert_true(p->items[0].timestamp_ms > 1700000000000);
	assert_int_equal(p->items[1].timestamp_ms, -1);
	assert_int_equal(log_read_wait(part("stamped", 0), 0, 1u << 20, &view), LOG_READ_OK);
	assert_int_equal(batch_walk_start(&walk, view.batches), 0);
	assert_int_equal(batch_walk_next(&walk, &record), 1);
	assert_int_equal(record.timestamp, p->items[0].timestamp_ms);
	blob_unref(view.blob);
	post_free(p);
}

static void topics_that_are_acknowledged_otherwise_have_their_own_commit(void **state)
{
	struct topic_config config = plain;
	uint64_t before;
	struct post *p = post_new(4);

	(void)state;
	config.durability = TOPIC_OS;
	make_topic("os", &config);
	commit();
	before = commits();
	add(p, "t", 0, &(struct made){.count = 1});
	add(p, "many", 0, &(struct made){.count = 1});
	add(p, "os", 0, &(struct made){.count = 1});
	add(p, "os", 0, &(struct made){.count = 1});
	run(p);
	assert_int_equal(commits() - before, 2);
	assert_int_equal(end_of("os", 0), 2);
	post_free(p);
}

/* ---- producers ---- */

static void a_repeat_is_answered_with_the_first_offset(void **state)
{
	struct made m = {.count = 2, .pid = 7, .sequence = 0};
	struct post *p = post_new(1);
	int64_t offset;

	(void)state;
	assert_int_equal(send_one("t", 0, &(struct made){.count = 5}, NULL), 0);
	assert_int_equal(send_one("t", 0, &m, &offset), 0);
	assert_int_equal(offset, 5);
	add(p, "t", 0, &m);
	run(p);
	assert_int_equal(p->items[0].err, 0);
	assert_true(p->items[0].repeated);
	assert_int_equal(p->items[0].base_offset, 5);
	assert_int_equal(end_of("t", 0), 7);
	assert_int_equal(count_of(METRIC_INGEST_DUPLICATES, ENTRY_KAFKA), 2);
	assert_int_equal(count_of(METRIC_INGEST_RECORDS, ENTRY_KAFKA), 7);
	post_free(p);
}

static void a_gap_and_an_old_epoch_are_refused(void **state)
{
	(void)state;
	assert_int_equal(send_one("t", 0, &(struct made){.count = 2, .pid = 7}, NULL), 0);
	assert_int_equal(send_one("t", 0, &(struct made){.pid = 7, .sequence = 3}, NULL), ERR_OUT_OF_ORDER);
	assert_int_equal(send_one("t", 0, &(struct made){.pid = 7, .sequence = 2}, NULL), 0);
	assert_int_equal(send_one("t", 0, &(struct made){.pid = 7, .epoch = 1}, NULL), 0);
	assert_int_equal(send_one("t", 0, &(struct made){.pid = 7, .sequence = 3}, NULL), ERR_PRODUCER_EPOCH);
	assert_int_equal(end_of("t", 0), 4);
}

static void a_repeat_waits_for_the_first_in_flight(void **state)
{
	struct made m = {.count = 2, .pid = 7};
	struct post *first = post_new(1), *second = post_new(2);

	(void)state;
	add(first, "t", 0, &m);
	add(second, "t", 0, &m);
	add(second, "many", 0, &(struct made){.count = 1});
	start(first);
	start(second);
	ingest_flush(w.queue);
	assert_int_equal(count_of(METRIC_INGEST_WAITING, 0), 1);
	assert_int_equal(count_of(METRIC_INGEST_IN_FLIGHT, ENTRY_KAFKA), 2);
	commit();
	assert_true(first->done && !second->done); /* woken, and asks again with the next flush */
	ingest_flush(w.queue);
	assert_true(second->done);
	assert_true(second->items[0].repeated);
	assert_int_equal(second->items[0].base_offset, first->items[0].base_offset);
	assert_int_equal(second->items[1].base_offset, 0);
	assert_int_equal(end_of("t", 0), 2);
	assert_int_equal(count_of(METRIC_INGEST_WAITING, 0), 0);
	assert_int_equal(count_of(METRIC_INGEST_IN_FLIGHT, ENTRY_KAFKA), 0);
	post_free(first);
	post_free(second);
}

/* Pipelined requests, and even one request, carry batches of one producer for one partition. */
static void batches_in_a_row_enter_in_one_turn(void **state)
{
	struct post *a = post_new(2), *b = post_new(2);

	(void)state;
	add(a, "t", 0, &(struct made){.count = 2, .pid = 7, .sequence = 0});
	add(a, "t", 0, &(struct made){.count = 3, .pid = 7, .sequence = 2});
	add(b, "t", 0, &(struct made){.count = 1, .pid = 7, .sequence = 5});
	add(b, "t", 0, &(struct made){.count = 1, .pid = 7, .sequence = 7});
	start(a);
	start(b);
	ingest_flush(w.queue);
	commit();
	assert_int_equal(a->items[0].base_offset, 0);
	assert_int_equal(a->items[1].base_offset, 2);
	assert_int_equal(b->items[0].base_offset, 5);
	assert_int_equal(b->items[1].err, ERR_OUT_OF_ORDER);
	assert_int_equal(end_of("t", 0), 6);
	post_free(a);
	post_free(b);
}

static void a_producer_may_write_to_many_partitions_at_once(void **state)
{
	uint64_t before = commits();
	struct post *p = post_new(100);

	(void)state;
	for (int32_t i = 0; i < 100; i++)
		add(p, "many", i, &(struct made){.count = 1, .pid = 7});
	run(p);
	for (uint32_t i = 0; i < 100; i++)
		assert_int_equal(end_of("many", i), 1);
	assert_int_equal(commits() - before, 2);
	post_free(p);
}

/* ---- transactions ---- */

static struct {
	int answer;
	uint32_t asked;
	int64_t producer_id;
	int16_t epoch;
	const struct partition *partition;
} coordinator;

static int may_write(const void *ctx, int64_t producer_id, int16_t epoch, const struct partition *p)
{
	assert_ptr_equal(ctx, &coordinator);
	coordinator.asked++;
	coordinator.producer_id = producer_id;
	coordinator.epoch = epoch;
	coordinator.partition = p;
	return coordinator.answer;
}

static void the_coordinator_is_asked_before_a_transaction_begins(void **state)
{
	struct made m = {.count = 2, .pid = 7, .epoch = 3, .transactional = true};

	(void)state;
	assert_int_equal(send_one("many", 4, &m, NULL), ERR_TXN_STATE); /* nobody is there to ask */
	memset(&coordinator, 0, sizeof(coordinator));
	ingest_set_transactions(w.ingest, may_write, &coordinator);
	coordinator.answer = ERR_PRODUCER_MAPPING;
	assert_int_equal(send_one("many", 4, &m, NULL), ERR_PRODUCER_MAPPING);
	assert_int_equal(end_of("many", 4), 0);
	coordinator.answer = 0;
	assert_int_equal(send_one("many", 4, &m, NULL), 0);
	assert_int_equal(coordinator.asked, 2);
	assert_int_equal(coordinator.producer_id, 7);
	assert_int_equal(coordinator.epoch, 3);
	assert_ptr_equal(coordinator.partition, part("many", 4));
	coordinator.answer = ERR_TXN_STATE; /* once it is open here nobody is asked */
	m.sequence = 2;
	assert_int_equal(send_one("many", 4, &m, NULL), 0);
	assert_int_equal(coordinator.asked, 2);
	assert_int_equal(end_of("many", 4), 4);
	m.sequence = 4;
	m.transactional = false; /* while its transaction is open */
	assert_int_equal(send_one("many", 4, &m, NULL), ERR_TXN_STATE);
}

/* ---- bounds ---- */

/* Entered and not committed: half of entered_bytes_max in one partition is all that may be. */
static void fill_log(struct post *p)
{
	for (uint32_t i = 0; i < 3; i++)
		add(p, "many", (int32_t)i, &(struct made){.value_bytes = 19000});
	for (uint32_t i = 3; i < 5; i++)
		add(p, "many", (int32_t)i, &(struct made){.value_bytes = 18000});
	start(p);
	ingest_flush(w.queue);
	assert_int_equal(p->r.undecided, 5);
}

static void what_finds_no_room_waits_in_order(void **state)
{
	struct post *full = post_new(5), *a = post_new(2), *b = post_new(1);

	(void)state;
	fill_log(full);
	add(a, "t", 0, &(struct made){.count = 2, .value_bytes = 3000, .pid = 7, .sequence = 0});
	add(a, "many", 9, &(struct made){.count = 2, .value_bytes = 3000});
	add(b, "t", 0, &(struct made){.count = 1, .pid = 7, .sequence = 2});
	a->r.deadline_ns = b->r.deadline_ns = 5000;
	start(a);
	start(b);
	ingest_flush(w.queue);
	assert_int_equal(turn.asked_again, 1);
	ingest_flush(w.queue);
	assert_int_equal(turn.asked_again, 2);
	assert_true(!a->done && !b->done);
	assert_int_equal(end_of("t", 0), 0);
	commit();
	assert_true(full->done);
	ingest_flush(w.queue);
	assert_int_equal(turn.asked_again, 2);
	commit();
	assert_true(a->done && b->done);
	assert_int_equal(a->items[0].base_offset, 0);
	assert_int_equal(a->items[1].err, 0);
	assert_int_equal(b->items[0].base_offset, 2); /* not before the one that waited */
	post_free(full);
	post_free(a);
	post_free(b);
}

static void it_does_not_wait_for_ever(void **state)
{
	struct post *full = post_new(5), *a = post_new(1), *b = post_new(1);

	(void)state;
	fill_log(full);
	add(a, "t", 0, &(struct made){.value_bytes = 12000});
	add(b, "t", 0, &(struct made){.value_bytes = 12000});
	a->r.deadline_ns = 5000;
	start(a);
	ingest_flush(w.queue);
	assert_false(a->done);
	turn.now_ns = 5000;
	start(b); /* will not wait at all */
	ingest_flush(w.queue);
	assert_true(a->done && b->done);
	assert_int_equal(a->items[0].err, ERR_OVERLOADED);
	assert_int_equal(b->items[0].err, ERR_OVERLOADED);
	assert_int_equal(count_of(METRIC_REFUSALS, metric_code(ERR_OVERLOADED)), 2);
	commit();
	assert_int_equal(end_of("t", 0), 0);
	post_free(full);
	post_free(a);
	post_free(b);
}

static void without_a_clock_for_it_nothing_waits(void **state)
{
	struct post *full = post_new(5), *a = post_new(1);

	(void)state;
	ingest_queue_free(w.queue);
	turn.no_later = true;
	make_queue();
	fill_log(full);
	add(a, "t", 0, &(struct made){.value_bytes = 12000});
	a->r.deadline_ns = 5000;
	start(a);
	ingest_flush(w.queue);
	assert_true(a->done);
	assert_int_equal(a->items[0].err, ERR_OVERLOADED);
	commit();
	post_free(full);
	post_free(a);
}

static void what_one_request_inflates_to_is_bounded(void **state)
{
	struct topic_config config = plain;
	struct post *p = post_new(100);
	uint32_t taken = 0;

	(void)state;
	config.max_message_bytes = 2u << 20;
	config.partitions = 100;
	make_topic("large", &config);
	for (int32_t i = 0; i < 100; i++)
		add(p, "large", i, &(struct made){.count = 20, .value_bytes = 50000, .codec = BATCH_ZSTD});
	run(p);
	for (uint32_t i = 0; i < 100; i++) {
		assert_true(p->items[i].err == (i < 68 ? 0 : ERR_OVERLOADED));
		taken += p->items[i].err == 0;
	}
	assert_int_equal(taken, 68); /* 64 MiB of a million bytes each */
	post_free(p);
}

static void with_the_budget_full_nothing_is_inflated(void **state)
{
	struct post *p = post_new(2);

	(void)state;
	budget_add(&turn.share, 1 << 20);
	add(p, "t", 0, &(struct made){.count = 2, .codec = BATCH_LZ4});
	add(p, "t", 0, &(struct made){.count = 2});
	run(p);
	assert_int_equal(p->items[0].err, ERR_OVERLOADED);
	assert_int_equal(p->items[1].err, 0);
	budget_sub(&turn.share, 1 << 20);
	assert_int_equal(send_one("t", 0, &(struct made){.count = 2, .codec = BATCH_LZ4}, NULL), 0);
	assert_true(turn.share.used > 0); /* the scratch that is kept */
	post_free(p);
}

static void a_log_that_stops_says_so(void **state)
{
	struct post *p = post_new(1);
	struct fault fault;

	(void)state;
	add(p, "t", 0, &(struct made){.count = 2});
	p->r.deadline_ns = INT64_MAX;
	start(p);
	assert_int_equal(log_stop(w.log, &fault), 0);
	ingest_flush(w.queue);
	assert_true(p->done);
	assert_int_equal(p->items[0].err, ERR_SHUTTING_DOWN);
	post_free(p);
}

static void what_comes_in_is_counted(void **state)
{
	struct post *p = post_new(3);

	(void)state;
	add(p, "t", 0, &(struct made){.count = 3, .value_bytes = 10});
	add(p, "t", 0, &(struct made){.count = 2, .value_bytes = 10, .codec = BATCH_GZIP});
	add(p, "nowhere", 0, &(struct made){.count = 2});
	start(p);
	turn.now_ns += 5000000;
	ingest_flush(w.queue);
	assert_int_equal(count_of(METRIC_INGEST_IN_FLIGHT, ENTRY_KAFKA), 1);
	commit();
	assert_int_equal(count_of(METRIC_INGEST_IN_FLIGHT, ENTRY_KAFKA), 0);
	assert_int_equal(count_of(METRIC_INGEST_REQUESTS, ENTRY_KAFKA), 1);
	assert_int_equal(count_of(METRIC_INGEST_RECORDS, ENTRY_KAFKA), 5);
	assert_int_equal(count_of(METRIC_INGEST_BYTES, ENTRY_KAFKA), 5 * 13);
	assert_int_equal(count_of(METRIC_REFUSALS, metric_code(ERR_UNKNOWN_TOPIC)), 1);
	assert_int_equal(w.shard->words[METRIC_AT_INGEST_SECONDS + ENTRY_KAFKA * METRIC_HISTOGRAM_WORDS +
					METRIC_BUCKETS + 1],
			 5000000);
	assert_int_equal(w.shard->words[METRIC_AT_INGEST_BODY_BYTES + METRIC_BUCKETS + 1],
			 p->items[0].bytes.len + p->items[1].bytes.len);
	post_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(a_batch_is_stored_as_it_came),
		CASE(a_request_is_one_commit),
		CASE(a_bad_batch_is_refused_alone),
		CASE(where_all_is_refused_nothing_is_queued),
		CASE(weirs_own_topics_are_not_written),
		CASE(the_topic_says_how_large_a_batch_may_be),
		CASE(compacted_topics_want_keys),
		CASE(a_topic_that_is_compacted_meanwhile_wants_keys),
		CASE(a_topic_that_is_deleted_meanwhile_is_unknown),
		CASE(a_wrong_highest_timestamp_is_put_right),
		CASE(the_log_gives_the_time_where_the_topic_says_so),
		CASE(topics_that_are_acknowledged_otherwise_have_their_own_commit),
		CASE(a_repeat_is_answered_with_the_first_offset),
		CASE(a_gap_and_an_old_epoch_are_refused),
		CASE(a_repeat_waits_for_the_first_in_flight),
		CASE(batches_in_a_row_enter_in_one_turn),
		CASE(a_producer_may_write_to_many_partitions_at_once),
		CASE(the_coordinator_is_asked_before_a_transaction_begins),
		CASE(what_finds_no_room_waits_in_order),
		CASE(it_does_not_wait_for_ever),
		CASE(without_a_clock_for_it_nothing_waits),
		CASE(what_one_request_inflates_to_is_bounded),
		CASE(with_the_budget_full_nothing_is_inflated),
		CASE(a_log_that_stops_says_so),
		CASE(what_comes_in_is_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
