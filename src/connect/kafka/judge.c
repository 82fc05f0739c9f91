/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A place that is gone. What may have happened, and how it is told apart:
 *
 *	low > next                   records were deleted before they were read: on at low, with a warning
 *	low <= next <= high          only the record before the place is gone (retention): on at next
 *	high < next                  either the topic was deleted and made anew: all of it is new, on at its beginning
 *	another record before next   or its end was lost by the cluster (an unclean election): on at the lesser of next and high
 *
 * The last two differ in the first record that was read: a topic that lost its end has it still, or has deleted it with age
 * (then its log begins behind it; one made anew begins at 0, as a rule). librdkafka 2.0 does not tell topic ids, and the
 * leader epoch changes with every election, so neither decides.
 *
 * Rejected: to stop until somebody decides. Everything that follows would wait, and what would be decided is one of these.
 */
#include <string.h>

#include "connect/kafka/inner.h"

#define LOOK_MS 1000

enum look { LOOK_SAME, LOOK_OTHER, LOOK_FAILED };

/* What stands at an offset now: through a queue of its own, since the feed is stopped. */
static enum look look_at(struct feed *f, rd_kafka_t *client, struct source_call *call,
			 const struct kafka_sight *sight)
{
	struct kafka_ask ask;
	enum look look = LOOK_FAILED;
	rd_kafka_message_t *m = NULL;
	rd_kafka_resp_err_t err = RD_KAFKA_RESP_ERR__TIMED_OUT;
	rd_kafka_queue_t *queue = rd_kafka_queue_new(client);

	kafka_ask_begin(&ask, f->source, call, client);
	if (!feed_start_at(f, client, call, sight->offset, queue)) {
		rd_kafka_queue_destroy(queue);
		return LOOK_FAILED;
	}
	do {
		m = rd_kafka_consume_queue(queue, LOOK_MS);
	} while (!m && kafka_ask_again(&ask, err, "looking whether a topic is still the same"));
	if (m && m->err && m->err != RD_KAFKA_RESP_ERR__PARTITION_EOF) {
		(void)kafka_fail(f->source, call, m->err, "looking whether a topic is still the same");
		rd_kafka_message_destroy(m);
	} else if (m) {
		bool same = !m->err && m->offset == sight->offset && feed_print(m) == sight->print;
		/* Deleted by compaction: what is there says nothing, and a topic made anew had it. */
		bool passed = !m->err && m->offset > sight->offset;
		look = same || passed ? LOOK_SAME : LOOK_OTHER;
		rd_kafka_message_destroy(m);
	}
	feed_stop(f);
	rd_kafka_queue_destroy(queue);
	return look;
}

static enum look look_at_first(struct feed *f, rd_kafka_t *client, struct source_call *call, int64_t low,
			       int64_t high)
{
	const struct kafka_sight *first = &f->mark.first;

	if (first->offset == KAFKA_NOWHERE || first->offset >= high)
		return LOOK_OTHER;
	if (first->offset < low)
		return LOOK_SAME;
	return look_at(f, client, call, first);
}

static void begin_anew(struct feed *f, int64_t low)
{
	if (f->mark.end != KAFKA_NOWHERE) {
		source_warn(
			f->source->setup.source,
			"%s/%d is another than it was when the run began: the topic was deleted and made anew; the run ends here",
			f->topic, f->partition);
		f->mark.next = f->mark.end;
		f->mark.last = f->mark.first = (struct kafka_sight){KAFKA_NOWHERE, 0};
		return;
	}
	source_warn(
		f->source->setup.source,
		"%s/%d is another than it was: the topic was deleted and made anew; it is read from its beginning",
		f->topic, f->partition);
	f->mark = KAFKA_MARK_INIT;
	f->mark.next = low;
}

static void go_on_shortened(struct feed *f, int64_t high)
{
	source_warn(
		f->source->setup.source,
		"%s/%d has lost its end: offset %lld had been read, and now it ends at %lld; it is read on from there. "
		"Records that took the place of lost ones may be missing here",
		f->topic, f->partition, (long long)f->mark.last.offset, (long long)high);
	if (f->mark.end != KAFKA_NOWHERE) /* the rest of the window is not there any more */
		f->mark.next = f->mark.end;
	else if (f->mark.next > high)
		f->mark.next = high;
	f->mark.last = (struct kafka_sight){KAFKA_NOWHERE, 0};
	if (f->mark.first.offset >= f->mark.next)
		f->mark.first = f->mark.last;
}

static void go_on_behind(struct feed *f, int64_t low)
{
	source_warn(
		f->source->setup.source,
		"records %lld to %lld of %s/%d were deleted there before they were read: its retention is too short, or "
		"this source was away for too long; it goes on behind them",
		(long long)f->mark.next, (long long)low - 1, f->topic, f->partition);
	f->mark.next = low;
	f->mark.last = (struct kafka_sight){KAFKA_NOWHERE, 0};
}

bool judge(struct feed *f, rd_kafka_t *client, struct source_call *call, bool other_record)
{
	struct kafka_ask ask;
	int64_t low, high;
	enum look look;

	kafka_ask_begin(&ask, f->source, call, client);
	if (!kafka_ends(&ask, f->topic, f->partition, &low, &high))
		return false;
	if (!other_record && f->mark.next < low) {
		go_on_behind(f, low);
		return true;
	}
	if (!other_record && f->mark.next <= high) {
		f->mark.last = (struct kafka_sight){KAFKA_NOWHERE, 0};
		return true;
	}
	look = look_at_first(f, client, call, low, high);
	if (look == LOOK_FAILED)
		return false;
	if (look == LOOK_SAME)
		go_on_shortened(f, high);
	else
		begin_anew(f, low);
	return true;
}
