/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A plan while a type makes it: parts by name, in the order in which they are named.
 */
#include "base/hash.h"
#include "base/mem.h"
#include "connect/inner.h"

#define PLAN_BYTES_MAX ((size_t)64 << 20)

/* Names come from settings and from the source, and a plan of one source harms nobody else. */
static const struct hash_key name_key = {.k0 = 0x736f75726365, .k1 = 0x70617274};

int source_plan_init(struct source_plan_inner *p)
{
	memset(p, 0, sizeof(*p));
	arena_init(&p->arena, 4096, PLAN_BYTES_MAX);
	return table_init(&p->table);
}

void source_plan_fini(struct source_plan_inner *p)
{
	table_fini(&p->table);
	arena_fini(&p->arena);
	mem_free(p->items);
	p->items = NULL;
}

static struct source_plan_inner *inner_of(struct source_plan *plan)
{
	return (struct source_plan_inner *)plan;
}

static int note_error(struct source_plan_inner *p, int err)
{
	if (err && !p->err)
		p->err = err;
	return err;
}

const struct source_plan_item *source_plan_has(const struct source_plan_inner *p, struct slice name)
{
	struct table_node *node = table_first(&p->table, hash_sip13(&name_key, name));

	for (; node; node = table_next(node)) {
		const struct source_plan_item *item = (const struct source_plan_item *)(const void *)node;
		if (slice_eq(item->name, name))
			return item;
	}
	return NULL;
}

static int make_room(struct source_plan_inner *p)
{
	uint32_t cap = p->cap ? p->cap * 2 : 16;
	struct source_plan_item **more;

	if (p->count < p->cap)
		return 0;
	more = mem_realloc(p->items, cap * sizeof(struct source_plan_item *));
	if (!more)
		return ERR_NOMEM;
	p->items = more;
	p->cap = cap;
	return 0;
}

static int copy_item(struct source_plan_inner *p, const struct source_plan_part *part)
{
	struct source_plan_item *item = arena_zalloc(&p->arena, 1, sizeof(*item));

	if (!item || make_room(p))
		return ERR_NOMEM;
	item->name = arena_copy(&p->arena, part->name);
	item->title = arena_copy(&p->arena, part->title.ptr ? part->title : part->name);
	if (part->checkpoint.bytes.ptr)
		item->checkpoint = arena_copy(&p->arena, part->checkpoint.bytes);
	item->version = part->checkpoint.version;
	item->total = part->total;
	if (!item->name.ptr || !item->title.ptr || (part->checkpoint.bytes.ptr && !item->checkpoint.ptr))
		return ERR_NOMEM;
	p->items[p->count++] = item;
	table_add(&p->table, &item->node, hash_sip13(&name_key, item->name));
	return 0;
}

int source_plan_add(struct source_plan *plan, const struct source_plan_part *part)
{
	struct source_plan_inner *p = inner_of(plan);

	if (part->name.len > SOURCE_PART_NAME_MAX || part->checkpoint.bytes.len > SOURCE_CHECKPOINT_MAX ||
	    p->count == SOURCE_PARTS_MAX)
		return note_error(p, ERR_LIMIT);
	return source_plan_has(p, part->name) ? 0 : note_error(p, copy_item(p, part));
}

bool source_plan_find(const struct source_plan *plan, struct slice name, struct source_checkpoint *checkpoint,
		      bool *done)
{
	const struct source_plan_inner *p = (const struct source_plan_inner *)plan;

	return p->find && p->find(p->find_ctx, name, checkpoint, done);
}

int source_plan_mark(struct source_plan *plan, uint8_t version, struct slice bytes)
{
	struct source_plan_inner *p = inner_of(plan);

	if (bytes.len > SOURCE_CHECKPOINT_MAX)
		return note_error(p, ERR_LIMIT);
	p->checkpoint = arena_copy(&p->arena, bytes);
	if (!p->checkpoint.ptr)
		return note_error(p, ERR_NOMEM);
	p->version = version;
	p->marked = true;
	return 0;
}

enum source_end source_plan_close(struct source_plan_inner *p, enum source_end end)
{
	if (p->err && end != SOURCE_FAILED)
		end = source_fail(&p->plan.call, SOURCE_FINAL, "a plan of %u parts does not fit: %s",
				  p->count, err_row(p->err)->sentence);
	if (end == SOURCE_FAILED && !p->plan.call.fault.text[0])
		source_fail(&p->plan.call, SOURCE_TRANSIENT, "the source gave no reason");
	return end;
}
