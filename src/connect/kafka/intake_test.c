/* SPDX-License-Identifier: Apache-2.0 */
/* Messages on their way from the client's queue to the feeds, without a cluster. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include "base/sanitized.h"
#include "connect/kafka/inner.h"

struct removal {
	struct feed *feed;
	pthread_t thread;
	_Atomic bool over;
};

static void *remove_feed(void *arg)
{
	struct removal *r = arg;

	kafka_intake_remove(r->feed);
	atomic_store(&r->over, true);
	return NULL;
}

/* Else they would come to it when it has begun elsewhere, and be taken for what stands there. */
static void a_feed_is_not_let_go_while_somebody_holds_messages_of_it(void **state)
{
	char why[200];
	rd_kafka_t *client = rd_kafka_new(RD_KAFKA_CONSUMER, rd_kafka_conf_new(), why, sizeof(why));
	struct kafka_source s;
	struct feed f;
	struct removal r = {.feed = &f};

	(void)state;
	assert_non_null(client);
	memset(&s, 0, sizeof(s));
	memset(&f, 0, sizeof(f));
	assert_int_equal(table_init(&s.reading), 0);
	assert_int_equal(pthread_mutex_init(&s.intake, NULL), 0);
	assert_int_equal(pthread_mutex_init(&s.lock, NULL), 0);
	s.queue = rd_kafka_queue_new(client);
	f.source = &s;
	f.topic_handle = rd_kafka_topic_new(client, "a", NULL);
	kafka_intake_add(&f);

	(void)pthread_mutex_lock(&s.intake); /* as who takes does, around taking and handing out */
	assert_int_equal(pthread_create(&r.thread, NULL, remove_feed, &r), 0);
	for (int i = 0; i < 50; i++) {
		(void)usleep(1000);
		assert_false(atomic_load(&r.over));
		assert_true(f.reading);
	}
	(void)pthread_mutex_unlock(&s.intake);
	assert_int_equal(pthread_join(r.thread, NULL), 0);
	assert_false(f.reading);
	assert_null(table_walk(&s.reading, NULL));

	rd_kafka_topic_destroy(f.topic_handle);
	rd_kafka_queue_destroy(s.queue);
	rd_kafka_destroy(client);
	table_fini(&s.reading);
	(void)pthread_mutex_destroy(&s.intake);
	(void)pthread_mutex_destroy(&s.lock);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_feed_is_not_let_go_while_somebody_holds_messages_of_it),
	};

	/* As in kafka_test.c: ThreadSanitizer of gcc 12 ends in librdkafka's first thread. */
	return SANITIZED_THREAD ? 77 : cmocka_run_group_tests(tests, NULL, NULL);
}
