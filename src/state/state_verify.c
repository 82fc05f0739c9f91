/* SPDX-License-Identifier: Apache-2.0 */
/* A table of its own of topics and trims: what checks should not be what it checks. Only the rows are read by the same code. */
#include "state/state_verify.h"

#include <stdio.h>

#include "base/mem.h"
#include "base/wire.h"
#include "state/dead_marks.h"
#include "state/group_row.h"
#include "state/offsets.h"
#include "state/source_rows.h"
#include "state/topics.h"

#define KEY_LIFE_MS (7 * 86400000ll)

struct known {
	struct topic_id id;
	bool live;
	char name[TOPIC_NAME_MAX + 1];
	uint32_t partitions, found;
	int64_t key_life_ms;
	int64_t *trims;
	uint32_t trim_count;
};

struct tables {
	struct known *list;
	uint32_t count, cap;
	uint32_t *slots; /* 1 + index; cap * 2 of them */
	int64_t *trims;  /* scratch for a row */
	char text[400];
};

/* ---- the table ---- */

static uint32_t slot_of(const struct tables *t, const struct topic_id *id)
{
	uint64_t mixed = (wire_load_u64(id->bytes) ^ wire_load_u64(id->bytes + 8)) * 0x9e3779b97f4a7c15u;

	return (uint32_t)(mixed >> 32) & (t->cap * 2 - 1);
}

static bool grow(struct tables *t)
{
	uint32_t cap = t->cap ? t->cap * 2 : 64;
	struct known *list = mem_realloc(t->list, cap * sizeof(*list));
	uint32_t *slots;

	if (!list)
		return false;
	t->list = list;
	slots = mem_zalloc((size_t)cap * 2, sizeof(*slots));
	if (!slots)
		return false;
	mem_free(t->slots);
	t->slots = slots;
	t->cap = cap;
	for (uint32_t i = 0; i < t->count; i++) {
		uint32_t at = slot_of(t, &t->list[i].id);
		while (t->slots[at])
			at = (at + 1) & (t->cap * 2 - 1);
		t->slots[at] = i + 1;
	}
	return true;
}

static struct known *find(struct tables *t, const struct topic_id *id, bool make)
{
	uint32_t at;

	if (t->count == t->cap && !grow(t))
		return NULL;
	for (at = slot_of(t, id); t->slots[at]; at = (at + 1) & (t->cap * 2 - 1))
		if (topic_id_eq(&t->list[t->slots[at] - 1].id, id))
			return &t->list[t->slots[at] - 1];
	if (!make)
		return NULL;
	t->list[t->count] = (struct known){.id = *id};
	t->slots[at] = ++t->count;
	return &t->list[t->count - 1];
}

/* ---- rows ---- */

static const char *topic_row(struct tables *t, struct slice key, struct slice value)
{
	struct topic_config config;
	struct topic_id id;
	struct slice name;
	struct known *k;

	if (topic_row_read(key, value, &id, &name, &config))
		return "a topic cannot be read";
	k = find(t, &id, name.ptr != NULL);
	if (!k)
		return name.ptr ? "no memory for a topic" : NULL;
	k->live = name.ptr != NULL;
	if (!k->live)
		return NULL;
	(void)snprintf(k->name, sizeof(k->name), "%.*s", (int)name.len, (const char *)name.ptr);
	k->partitions = config.partitions;
	k->key_life_ms = config.idempotency_ttl_ms;
	return NULL;
}

static const char *trim_row(struct tables *t, struct slice key, struct slice value)
{
	struct topic_id id;
	struct known *k;
	uint32_t count;
	int64_t *copy;

	if (topic_trims_read(key, value, &id, t->trims, &count))
		return "a trim cannot be read";
	k = find(t, &id, false);
	if (!k || !value.ptr)
		return NULL;
	copy = mem_alloc(count * sizeof(*copy) + 1);
	if (!copy)
		return "no memory for a trim";
	memcpy(copy, t->trims, count * sizeof(*copy));
	mem_free(k->trims);
	k->trims = copy;
	k->trim_count = count;
	return NULL;
}

static const char *on_row(void *ctx, struct slice key, struct slice value)
{
	struct tables *t = ctx;

	switch (key.len ? key.ptr[0] : 0) {
	case STATE_TOPICS:
		return topic_row(t, slice_from(key, 1), value);
	case STATE_TRIMS:
		return trim_row(t, slice_from(key, 1), value);
	case STATE_OFFSETS:
		return offsets_row_check(slice_from(key, 1), value) ? "an offset cannot be read" : NULL;
	case STATE_GROUPS:
		return group_row_read(slice_from(key, 1), value, &(struct group_row){0},
				      &(struct group_member_row){0}) < 0 ?
			       "a consumer group cannot be read" :
			       NULL;
	case STATE_SOURCES:
		return source_row_check(slice_from(key, 1), value) ? "a row of a source cannot be read" :
								     NULL;
	case STATE_DEAD:
		return dead_marks_row_check(slice_from(key, 1), value) ?
			       "marks of dead letters cannot be read" :
			       NULL;
	case STATE_TRANSACTIONS:
	case STATE_PRODUCER_IDS:
		return NULL; /* what they hold is known to rooms above this one, and read at the start */
	default:
		return "its table is not known to this weir";
	}
}

/* ---- against the log ---- */

static const char *on_partition(void *ctx, const struct verify_partition *p)
{
	struct tables *t = ctx;
	struct known *k = find(t, &p->topic, false);

	if (!k || !k->live)
		return NULL; /* deleted: its files go */
	k->found++;
	if (p->number >= k->partitions) {
		(void)snprintf(t->text, sizeof(t->text), "topic %s has %u partitions, this is number %u",
			       k->name, k->partitions, p->number);
		return t->text;
	}
	if (p->number < k->trim_count && k->trims[p->number] > p->end) {
		(void)snprintf(t->text, sizeof(t->text),
			       "topic %s: partition %u was trimmed to offset %lld and ends at %lld", k->name,
			       p->number, (long long)k->trims[p->number], (long long)p->end);
		return t->text;
	}
	return NULL;
}

static void on_end(void *ctx, bool checkpoint_is_all, void (*tell)(void *tell_ctx, const char *text),
		   void *tell_ctx)
{
	struct tables *t = ctx;

	for (uint32_t i = 0; checkpoint_is_all && i < t->count; i++) {
		const struct known *k = &t->list[i];
		if (!k->live || k->found >= k->partitions)
			continue;
		(void)snprintf(t->text, sizeof(t->text), "topic %s has %u partitions, the log has %u of them",
			       k->name, k->partitions, k->found);
		tell(tell_ctx, t->text);
	}
}

static bool knows(void *ctx, const struct topic_id *topic)
{
	const struct known *k = find(ctx, topic, false);

	return k && k->live;
}

static int64_t key_life_ms(void *ctx, const struct topic_id *topic)
{
	const struct known *k = find(ctx, topic, false);

	return k && k->live ? k->key_life_ms : KEY_LIFE_MS;
}

int state_verify(const struct verify_options *options, struct verify_result *out, struct fault *fault)
{
	struct tables t = {0};
	struct verify_state state = {.row = on_row,
				     .partition = on_partition,
				     .end = on_end,
				     .knows = knows,
				     .key_life_ms = key_life_ms,
				     .ctx = &t};
	struct verify_options with_state = *options;
	int rc;

	t.trims = mem_alloc(TOPIC_PARTITIONS_MAX * sizeof(*t.trims));
	with_state.state = &state;
	rc = t.trims && grow(&t) ? log_verify(&with_state, out, fault) :
				   fault_set(fault, ERR_NOMEM, "no memory to verify %s", options->dir);
	for (uint32_t i = 0; i < t.count; i++)
		mem_free(t.list[i].trims);
	mem_free(t.list);
	mem_free(t.slots);
	mem_free(t.trims);
	return rc;
}
