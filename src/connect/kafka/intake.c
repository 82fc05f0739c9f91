/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the client has fetched, on its way to the feeds. All partitions are fetched into one queue, since librdkafka measures by the
 * length of a partition's queue whether to fetch it: with a queue each, one whose records come quickly is left out of the next request as
 * soon as an answer fills its share, and that request then waits at the broker for the idle ones (fetch.wait.max.ms). With one queue
 * either all may be fetched or none, and whoever has records may use all of the memory.
 *
 * A pull whose feed has nothing takes a few messages out of the queue and hands each to its feed, under a lock, so that each feed gets
 * them in their order; parts that had none are woken. Where more than so much waits in feeds nothing more is taken: then somebody who has some was woken, and goes on
 * taking once he has used it. The queue calls back when it is no longer empty, which wakes the part that was pulled last.
 */
#include "base/hash.h"
#include "base/mem.h"
#include "connect/kafka/inner.h"

#define TAKEN_AT_ONCE 256u
#define COME_FIRST 256u

static uint64_t hash_of(const rd_kafka_topic_t *topic, int32_t partition)
{
	static const struct hash_key key = {.k0 = 0x696e74616b65, .k1 = 0x66656564};
	uint64_t both[2] = {(uint64_t)(uintptr_t)topic, (uint64_t)(uint32_t)partition};

	return hash_sip13(&key, slice_make((const uint8_t *)both, sizeof(both)));
}

static struct feed *feed_of(const struct kafka_source *s, const rd_kafka_message_t *m)
{
	struct table_node *node = table_first(&s->reading, hash_of(m->rkt, m->partition));

	for (; node; node = table_next(node)) {
		struct feed *f = (struct feed *)(void *)((uint8_t *)node - offsetof(struct feed, node));
		if (f->topic_handle == m->rkt && f->partition == m->partition)
			return f;
	}
	return NULL;
}

static void destroy_all(rd_kafka_message_t **list, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		rd_kafka_message_destroy(list[i]);
}

/* Under the lock: somebody who reads takes what the queue has. */
static void wake_one(struct kafka_source *s)
{
	struct table_node *any = s->pulled_last ? NULL : table_walk(&s->reading, NULL);

	if (any)
		s->pulled_last = (struct feed *)(void *)((uint8_t *)any - offsetof(struct feed, node));
	if (s->pulled_last)
		source_wake(s->pulled_last->part);
}

void kafka_intake_on_messages(rd_kafka_t *client, void *opaque)
{
	struct kafka_source *s = opaque;

	(void)client;
	(void)pthread_mutex_lock(&s->lock);
	wake_one(s);
	(void)pthread_mutex_unlock(&s->lock);
}

/* ---- who reads ---- */

void kafka_intake_add(struct feed *f)
{
	struct kafka_source *s = f->source;

	(void)pthread_mutex_lock(&s->lock);
	table_add(&s->reading, &f->node, hash_of(f->topic_handle, f->partition));
	f->reading = true;
	f->lost = false;
	(void)pthread_mutex_unlock(&s->lock);
}

/* Under the lock: nothing has come for it. Gives how many there were, which are the caller's, from the front of f->come. */
static uint32_t forget_what_came(struct feed *f)
{
	uint32_t count = f->come_count;

	f->source->come_count -= count;
	f->source->come_bytes -= f->come_bytes;
	f->come_count = 0;
	f->come_bytes = 0;
	return count;
}

void kafka_intake_remove(struct feed *f)
{
	struct kafka_source *s = f->source;
	uint32_t count;

	/* Whoever takes has handed out what it holds: none of it comes later, when the feed may have begun elsewhere. */
	(void)pthread_mutex_lock(&s->intake);
	(void)pthread_mutex_lock(&s->lock);
	if (f->reading)
		table_remove(&s->reading, &f->node);
	f->reading = false;
	count = forget_what_came(f);
	if (s->pulled_last == f)
		s->pulled_last = NULL;
	(void)pthread_mutex_unlock(&s->lock);
	(void)pthread_mutex_unlock(&s->intake);
	destroy_all(f->come, count);
	/* There is room now, and perhaps nobody else was to take. */
	if (rd_kafka_queue_length(s->queue) > 0)
		kafka_intake_on_messages(NULL, s);
}

void kafka_intake_pulled(struct feed *f)
{
	(void)pthread_mutex_lock(&f->source->lock);
	f->source->pulled_last = f;
	(void)pthread_mutex_unlock(&f->source->lock);
}

/* ---- handing out ---- */

static bool make_room(struct feed *f)
{
	uint32_t cap = f->come_cap ? f->come_cap * 2 : COME_FIRST;
	rd_kafka_message_t **list;

	if (f->come_count < f->come_cap)
		return true;
	list = mem_realloc(f->come, cap * sizeof(*list));
	if (!list)
		return false;
	f->come = list;
	f->come_cap = cap;
	return true;
}

/* Under the lock: true where the feed has it now. What a feed has no memory for it fetches again: nothing behind it may be taken before. */
static bool hand(struct kafka_source *s, struct feed *f, rd_kafka_message_t *m)
{
	if (!f || f->lost)
		return false;
	if (!make_room(f)) {
		f->lost = true;
		source_wake(f->part);
		return false;
	}
	if (f->come_count == 0)
		source_wake(f->part);
	f->come[f->come_count++] = m;
	s->come_count++;
	f->come_bytes += m->len + m->key_len;
	s->come_bytes += m->len + m->key_len;
	return true;
}

/*
 * Messages of one partition mostly come together. What nobody wants is freed without the lock: it may be the last that holds a
 * partition of the client's, whose end takes the lock of the queue, under which the client calls for ours.
 */
static void hand_out(struct kafka_source *s, rd_kafka_message_t **list, ssize_t count)
{
	struct feed *f = NULL;
	uint32_t left = 0;

	(void)pthread_mutex_lock(&s->lock);
	for (ssize_t i = 0; i < count; i++) {
		if (!f || f->topic_handle != list[i]->rkt || f->partition != list[i]->partition)
			f = feed_of(s, list[i]);
		if (!hand(s, f, list[i]))
			list[left++] = list[i];
	}
	(void)pthread_mutex_unlock(&s->lock);
	destroy_all(list, left);
}

/* Under the lock: what came goes to the pull, whose own list is empty. */
static bool swap(struct feed *f)
{
	rd_kafka_message_t **list = f->held;
	uint32_t cap = f->held_cap;

	if (f->come_count == 0)
		return false;
	f->held = f->come;
	f->held_cap = f->come_cap;
	f->at = 0;
	f->count = forget_what_came(f);
	f->come = list;
	f->come_cap = cap;
	return true;
}

static bool has_room(const struct kafka_source *s)
{
	size_t most = (size_t)s->settings->memory_bytes / 8;

	return s->come_bytes < most && s->come_count < most / KAFKA_MESSAGE_COST;
}

bool kafka_intake_take(struct feed *f, int patience_ms)
{
	struct kafka_source *s = f->source;
	rd_kafka_message_t *list[TAKEN_AT_ONCE];
	ssize_t n = 1;
	bool got, room;

	(void)pthread_mutex_lock(&s->intake); /* so that two do not mix up what comes */
	do {
		(void)pthread_mutex_lock(&s->lock);
		got = swap(f);
		room = has_room(s) && !f->lost;
		(void)pthread_mutex_unlock(&s->lock);
		if (got || !room || n <= 0)
			break;
		n = rd_kafka_consume_batch_queue(s->queue, patience_ms, list, TAKEN_AT_ONCE);
		hand_out(s, list, n);
	} while (true);
	(void)pthread_mutex_unlock(&s->intake);
	return got;
}
