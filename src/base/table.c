/* SPDX-License-Identifier: Apache-2.0 */
#include "base/table.h"

#include "base/mem.h"

#define BUCKETS_FIRST 16u

int table_init(struct table *t)
{
	*t = (struct table){.bucket_count = BUCKETS_FIRST};
	t->buckets = mem_zalloc(t->bucket_count, sizeof(*t->buckets));
	return t->buckets ? 0 : ERR_NOMEM;
}

void table_fini(struct table *t)
{
	mem_free(t->buckets);
	*t = (struct table){0};
}

static struct table_node **bucket_of(const struct table *t, uint64_t hash)
{
	return &t->buckets[hash & (t->bucket_count - 1)];
}

static void grow(struct table *t)
{
	struct table old = *t;
	struct table_node **buckets;

	if (t->bucket_count > UINT32_MAX / 4)
		return;
	buckets = mem_zalloc(t->bucket_count * 2, sizeof(*buckets));
	if (!buckets)
		return;
	t->buckets = buckets;
	t->bucket_count *= 2;
	for (uint32_t i = 0; i < old.bucket_count; i++) {
		struct table_node *node = old.buckets[i];
		while (node) {
			struct table_node *next = node->next;
			struct table_node **at = bucket_of(t, node->hash);
			node->next = *at;
			*at = node;
			node = next;
		}
	}
	mem_free(old.buckets);
}

void table_add(struct table *t, struct table_node *node, uint64_t hash)
{
	struct table_node **at;

	if (t->count >= t->bucket_count)
		grow(t);
	at = bucket_of(t, hash);
	node->hash = hash;
	node->next = *at;
	*at = node;
	t->count++;
}

void table_remove(struct table *t, struct table_node *node)
{
	struct table_node **at = bucket_of(t, node->hash);

	while (*at != node)
		at = &(*at)->next;
	*at = node->next;
	node->next = NULL;
	t->count--;
}

static struct table_node *of_hash(struct table_node *node, uint64_t hash)
{
	while (node && node->hash != hash)
		node = node->next;
	return node;
}

struct table_node *table_first(const struct table *t, uint64_t hash)
{
	return of_hash(*bucket_of(t, hash), hash);
}

struct table_node *table_next(const struct table_node *node)
{
	return of_hash(node->next, node->hash);
}

struct table_node *table_walk(const struct table *t, const struct table_node *after)
{
	uint32_t i = 0;

	if (after) {
		if (after->next)
			return after->next;
		i = (uint32_t)(after->hash & (t->bucket_count - 1)) + 1;
	}
	for (; i < t->bucket_count; i++)
		if (t->buckets[i])
			return t->buckets[i];
	return NULL;
}

static struct table_node *of_part(struct table_node *node, uint32_t part, uint32_t parts)
{
	while (node && (node->hash & (parts - 1)) != part)
		node = node->next;
	return node;
}

/* Nodes of a part lie in each bucket whose number ends with its own; where there are fewer buckets than parts, in one, with others. */
struct table_node *table_walk_part(const struct table *t, const struct table_node *after, uint32_t part,
				   uint32_t parts)
{
	uint32_t step = parts < t->bucket_count ? parts : t->bucket_count;
	uint32_t i = part & (step - 1);
	struct table_node *found;

	if (after) {
		found = of_part(after->next, part, parts);
		if (found)
			return found;
		i = (uint32_t)(after->hash & (t->bucket_count - 1)) + step;
	}
	for (; i < t->bucket_count; i += step) {
		found = of_part(t->buckets[i], part, parts);
		if (found)
			return found;
	}
	return NULL;
}
