/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_INGEST_INGEST_WORLD_TEST_H
#define WEIR_INGEST_INGEST_WORLD_TEST_H

/* For the tests of ingest alone: the door and its queue over a real log in a temporary directory. */
#include "ingest/ingest.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "state/topics_world_test.h"
#include "sys/test_dir.h"

struct world {
	char dir[TEST_DIR_BYTES];
	struct metrics *metrics;
	struct metrics_shard *shard;
	struct log *log;
	struct state *state;
	struct topics *topics;
	struct log_port *port;
	struct ingest *ingest;
	struct ingest_queue *queue;
};

static struct world w;

static inline void on_wake(void *ctx)
{
	(void)ctx; /* the tests run the port all the time */
}

/* Makes the queue; what it stands on is put in. */
static inline void world_queue(struct ingest_queue_options queue)
{
	queue.ingest = w.ingest;
	queue.port = w.port;
	queue.shard = w.shard;
	assert_int_equal(ingest_queue_new(&queue, &w.queue), 0);
}

/* All but the queue. */
static inline void world_open(struct log_options options, const struct topic_config *defaults,
			      const struct ingest_limits *limits)
{
	struct metrics_options metrics = {.sys = sys_kernel(), .version = "test"};
	struct ingest_options ingest = {.sys = sys_kernel(), .limits = *limits};
	struct fault fault = {0};

	w = (struct world){0};
	assert_true(test_dir_make(w.dir, "ingest-test"));
	options.dir = w.dir;
	options.journal_file_bytes = 1u << 22;
	topics_world_open(&options, defaults, true, &w.log, &w.state, &w.topics);
	topics_world_load(w.state, w.topics);
	assert_int_equal(log_start(w.log, &fault), 0);
	assert_int_equal(log_port_new(w.log, on_wake, NULL, &w.port), 0);
	ingest.log = w.log;
	ingest.topics = w.topics;
	assert_int_equal(ingest_new(&ingest, &w.ingest), 0);
	assert_int_equal(metrics_new(&metrics, &w.metrics), 0);
	w.shard = metrics_shard_new(w.metrics);
}

static inline int tear_down(void **state)
{
	struct fault fault;

	(void)state;
	ingest_queue_free(w.queue);
	ingest_free(w.ingest);
	metrics_free(w.metrics);
	assert_int_equal(log_stop(w.log, &fault), 0);
	log_port_free(w.port);
	topics_free(w.topics);
	state_free(w.state);
	log_close(w.log);
	return test_dir_remove(w.dir) ? 0 : -1;
}

static inline struct partition *part(const char *topic, uint32_t number)
{
	return topic_partition(topics_find(w.topics, slice_str(topic)), number);
}

static inline int64_t end_of(const char *topic, uint32_t number)
{
	struct partition_range range;

	partition_range(part(topic, number), &range);
	return range.end;
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif
