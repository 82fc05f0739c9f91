/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_STATE_TOPICS_WORLD_TEST_H
#define WEIR_STATE_TOPICS_WORLD_TEST_H

/*
 * For tests that need a log with topics: what opens it and makes a topic, each with its checks. What else
 * keeps rows in state is made between open and load; log_start comes after.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "state/topics.h"

static inline void topics_world_open(const struct log_options *options, const struct topic_config *defaults,
				     bool auto_create, struct log **log, struct state **state,
				     struct topics **topics)
{
	struct fault fault = {0};

	if (log_open(options, log, &fault))
		fail_msg("%s", fault.text);
	assert_int_equal(state_new(*log, state), 0);
	assert_int_equal(topics_new(*log, *state, defaults, auto_create, topics), 0);
}

static inline void topics_world_load(struct state *state, struct topics *topics)
{
	struct fault fault = {0};

	if (state_load(state, &fault) || topics_ready(topics, &fault))
		fail_msg("%s", fault.text);
}

static inline struct topic *topics_world_create(struct log *log, struct topics *topics, const char *name,
						const struct topic_config *config)
{
	struct topic *topic = NULL;
	struct fault fault = {0};
	int rc;

	log_enter_begin(log);
	rc = topics_create(topics, slice_str(name), config, false, NULL, &topic, &fault);
	log_enter_end(log); /* before the test gives up: what tidies up enters too */
	if (rc)
		fail_msg("%s", fault.text);
	return topic;
}

/* Changes and deletes with the entry lock held for that alone. */
static inline int topics_world_change(struct log *log, struct topics *topics, struct topic *topic,
				      const struct topic_config *config)
{
	log_enter_begin(log);
	int rc = topics_change(topics, topic, config, false, NULL, NULL);
	log_enter_end(log);
	return rc;
}

static inline int topics_world_delete(struct log *log, struct topics *topics, struct topic *topic)
{
	log_enter_begin(log);
	int rc = topics_delete(topics, topic, NULL);
	log_enter_end(log);
	return rc;
}

#endif
