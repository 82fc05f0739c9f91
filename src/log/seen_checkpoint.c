/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the table into runs. The shards stand in the order of the fingerprints,
 * so each is copied under its lock, sorted and written, and the runs come out
 * sorted: no copy of the table is made. Two passes: the first marks what will
 * be written and counts it by bucket (a filter must be sized before), the
 * second writes what is marked. Keys leave the table last, when every lookup
 * already asks the new runs.
 */
#include "base/check.h"
#include "base/mem.h"
#include "log/seen_inner.h"

#define HOUR_MS 3600000ll
#define DAY_MS (24 * HOUR_MS)
#define BUCKETS_AHEAD 32

/* What goes into one bucket. */
struct plan {
	int64_t end_ms;
	uint64_t keys;
	struct seen_writer *writer;
	struct seen_run *run;
};

struct checkpoint {
	struct seen *s;
	int64_t now_ms;
	uint64_t sequence;
	struct plan *plans;
	uint32_t count, cap;
	uint32_t last;           /* plan of the key before */
	struct seen_slot *slots; /* copy of one shard */
	uint32_t slots_cap;
};

/* ---- which bucket ---- */

static int64_t bucket_end(const struct checkpoint *c, int64_t expires_ms)
{
	int64_t left = expires_ms > c->now_ms ? expires_ms - c->now_ms : 0;
	int64_t width = c->s->bucket_ms;
	int64_t index;

	if (width <= 0)
		width = left < DAY_MS ? HOUR_MS : DAY_MS;
	while (left / width > BUCKETS_AHEAD)
		width *= 7;
	if (expires_ms <= 0)
		return 0;
	index = expires_ms / width + (expires_ms % width != 0);
	return index > INT64_MAX / width ? INT64_MAX : index * width;
}

/* The plan of a bucket, made where it is missing; NULL without memory. */
static struct plan *plan_of(struct checkpoint *c, int64_t end_ms)
{
	if (c->last < c->count && c->plans[c->last].end_ms == end_ms)
		return &c->plans[c->last];
	for (c->last = 0; c->last < c->count; c->last++) {
		if (c->plans[c->last].end_ms == end_ms)
			return &c->plans[c->last];
	}
	if (c->count == c->cap) {
		uint32_t cap = c->cap ? c->cap * 2 : 16;
		struct plan *more = mem_realloc(c->plans, cap * sizeof(*more));

		if (!more)
			return NULL;
		c->plans = more;
		c->cap = cap;
	}
	c->plans[c->count] = (struct plan){.end_ms = end_ms};
	return &c->plans[c->count++];
}

/* ---- marking ---- */

static bool is_due(const struct checkpoint *c, const struct seen_slot *slot)
{
	return slot->state >= SEEN_SLOT_SETTLED && slot->settled.sequence <= c->sequence;
}

static int mark_shard(struct checkpoint *c, struct seen_shard *shard)
{
	for (uint32_t i = 0; i < shard->cap; i++) {
		struct seen_slot *slot = &shard->slots[i];
		struct plan *p;

		if (!is_due(c, slot))
			continue;
		p = plan_of(c, bucket_end(c, slot->expires_ms));
		if (!p)
			return ERR_NOMEM;
		p->keys++;
		slot->version = c->s->checkpoint;
	}
	return 0;
}

static int mark(struct checkpoint *c)
{
	int err = 0;

	for (uint32_t i = 0; i < SEEN_SHARDS && !err; i++) {
		struct seen_shard *shard = &c->s->table.shards[i];

		pthread_mutex_lock(&shard->lock);
		err = mark_shard(c, shard);
		pthread_mutex_unlock(&shard->lock);
	}
	return err;
}

/* ---- writing ---- */

static int open_writer(struct checkpoint *c, struct plan *p, struct fault *fault)
{
	struct seen_writer_options o;
	struct seen_place place;
	int err = seen_new_run(c->s, p->end_ms, &place, &o, fault);

	if (err)
		return err;
	o.keys_max = p->keys;
	return seen_writer_open(&o, &p->writer, fault);
}

/* Copies the marked slots of a shard; lists come with a reference. Leaves the lock held only for the copy. */
static int copy_shard(struct checkpoint *c, struct seen_shard *shard, uint32_t *count)
{
	uint32_t n = 0;

	pthread_mutex_lock(&shard->lock);
	while (shard->used > c->slots_cap) {
		uint32_t cap = shard->used + shard->used / 4;
		struct seen_slot *more;

		pthread_mutex_unlock(&shard->lock);
		more = mem_realloc(c->slots, cap * sizeof(*more));
		if (!more)
			return ERR_NOMEM;
		c->slots = more;
		c->slots_cap = cap;
		pthread_mutex_lock(&shard->lock);
	}
	for (uint32_t i = 0; i < shard->cap; i++) {
		const struct seen_slot *slot = &shard->slots[i];

		if (slot->state < SEEN_SLOT_SETTLED || slot->version != c->s->checkpoint)
			continue;
		c->slots[n++] = *slot;
		if (slot->state == SEEN_SLOT_MANY)
			(void)seen_list_ref(slot->settled.list);
	}
	pthread_mutex_unlock(&shard->lock);
	*count = n;
	return 0;
}

/* Nearly sorted already: each slot is at most a few places from where it belongs. */
static void sort_slots(struct seen_slot *slots, uint32_t count)
{
	for (uint32_t i = 1; i < count; i++) {
		struct seen_slot slot = slots[i];
		uint32_t j = i;

		for (; j > 0 && seen_fingerprint_cmp(slots[j - 1].fingerprint, slot.fingerprint) > 0; j--)
			slots[j] = slots[j - 1];
		slots[j] = slot;
	}
}

static int write_slot(struct checkpoint *c, const struct seen_slot *slot, struct fault *fault)
{
	struct seen_key key = {slot->fingerprint, slot->payload, slot->expires_ms};
	struct plan *p = plan_of(c, bucket_end(c, slot->expires_ms));
	struct seen_range one;
	int err = 0;

	CHECK(p && p->keys > 0); /* counted when it was marked */
	if (!p->writer)
		err = open_writer(c, p, fault);
	if (err)
		return err;
	if (slot->state == SEEN_SLOT_MANY)
		return seen_writer_add(p->writer, &key, slot->settled.list->ranges, slot->settled.list->count,
				       fault);
	one = (struct seen_range){slot->settled.first, slot->partition, slot->count};
	return seen_writer_add(p->writer, &key, &one, 1, fault);
}

static int write_shards(struct checkpoint *c, struct fault *fault)
{
	int err = 0;

	for (uint32_t i = 0; i < SEEN_SHARDS && !err; i++) {
		uint32_t count = 0;

		err = copy_shard(c, &c->s->table.shards[i], &count);
		if (err)
			return fault_set(fault, err, "%s: no memory for a checkpoint", c->s->dir);
		sort_slots(c->slots, count);
		for (uint32_t j = 0; j < count; j++) {
			if (!err)
				err = write_slot(c, &c->slots[j], fault);
			if (c->slots[j].state == SEEN_SLOT_MANY)
				seen_list_unref(&c->s->table, c->slots[j].settled.list);
		}
	}
	return err;
}

static int finish_writers(struct checkpoint *c, struct fault *fault)
{
	for (uint32_t i = 0; i < c->count; i++) {
		struct plan *p = &c->plans[i];
		struct seen_writer *w = p->writer;
		int err;

		p->writer = NULL;
		if (!w)
			continue; /* all its keys were claimed anew since they were marked */
		err = seen_writer_finish(w, &p->run, fault);
		if (err)
			return err;
		p->run->checkpoint = c->s->checkpoint;
	}
	return 0;
}

/* ---- publishing ---- */

static int publish(struct checkpoint *c, struct fault *fault)
{
	struct seen_set *old = atomic_load(&c->s->set), *set;
	struct seen_run **runs = mem_zalloc(c->count, sizeof(struct seen_run *));
	uint32_t count = 0;

	for (uint32_t i = 0; runs && i < c->count; i++) {
		if (c->plans[i].run)
			runs[count++] = c->plans[i].run;
	}
	set = runs ? seen_set_new(old, NULL, 0, runs, count) : NULL;
	mem_free(runs);
	if (!set)
		return fault_set(fault, ERR_NOMEM, "%s: no memory for a checkpoint", c->s->dir);
	seen_publish(c->s, set);
	return 0;
}

static void sweep(struct checkpoint *c)
{
	for (uint32_t i = 0; i < SEEN_SHARDS; i++) {
		struct seen_shard *shard = &c->s->table.shards[i];

		pthread_mutex_lock(&shard->lock);
		seen_shard_sweep(&c->s->table, shard, c->s->checkpoint);
		pthread_mutex_unlock(&shard->lock);
	}
}

/* Lets go of all. Runs of a checkpoint that failed are removed: the next one writes their keys again. */
static void end_checkpoint(struct checkpoint *c, bool failed)
{
	const struct sys *sys = c->s->sys;

	for (uint32_t i = 0; i < c->count; i++) {
		seen_writer_abort(c->plans[i].writer);
		if (!c->plans[i].run)
			continue;
		if (failed)
			c->plans[i].run->unlinked = sys->ops->unlink(sys->self, c->plans[i].run->path) == 0;
		seen_run_unref(c->plans[i].run);
	}
	mem_free(c->plans);
	mem_free(c->slots);
}

static int run_checkpoint(struct checkpoint *c, struct fault *fault)
{
	int err = mark(c);

	if (err)
		return fault_set(fault, err, "%s: no memory for a checkpoint", c->s->dir);
	if (c->count == 0)
		return 0;
	err = write_shards(c, fault);
	if (!err)
		err = finish_writers(c, fault);
	if (!err)
		err = publish(c, fault);
	if (!err)
		sweep(c);
	return err;
}

int seen_checkpoint(struct seen *s, uint64_t sequence, struct fault *fault)
{
	struct checkpoint c = {.s = s, .now_ms = sys_wall_ms(s->sys), .sequence = sequence};
	int err;

	pthread_mutex_lock(&s->maintenance);
	if (++s->checkpoint == 0)
		s->checkpoint = 1;
	err = run_checkpoint(&c, fault);
	end_checkpoint(&c, err != 0);
	pthread_mutex_unlock(&s->maintenance);
	return err;
}
