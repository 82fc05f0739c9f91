/* SPDX-License-Identifier: Apache-2.0 */
#include "connect/runner_box.h"

#include "base/mem.h"

/* Few, as only those are taken out that are being filled or are on their way to the disk; large ones are not kept. */
#define KEPT_MAX 4u
#define KEPT_BYTES ((size_t)1 << 20)

struct runner_boxes {
	struct box_list kept;
	/* The crowd. */
	uint32_t begun; /* since then, and not ended */
	int64_t since_ns;
};

/* ---- a box ---- */

static void free_box(struct box *b)
{
	row_changes_fini(&b->changes);
	source_checkpoint_free(&b->checkpoint);
	ingest_rows_fini(&b->entry);
	source_batch_fini(&b->batch);
	buf_fini(&b->scratch);
	mem_free(b->rows);
	mem_free(b);
}

static struct box *make_box(void)
{
	struct box *b = mem_zalloc(1, sizeof(*b));

	if (!b)
		return NULL;
	buf_init(&b->scratch, STATE_ROW_BYTES_MAX);
	if (source_batch_init(&b->batch) == 0 && row_changes_reserve(&b->changes, 2) == 0)
		return b;
	free_box(b);
	return NULL;
}

static void empty(struct box *b)
{
	row_changes_clear(&b->changes);
	source_checkpoint_free(&b->checkpoint);
	source_batch_reset(&b->batch);
	b->part = NULL;
}

size_t box_bytes(const struct box *b)
{
	return source_batch_held(&b->batch) + b->row_cap * sizeof(*b->rows) +
	       b->entry.record_cap * sizeof(*b->entry.records);
}

void box_count_held(struct box *b, size_t held, _Atomic int64_t *sum)
{
	if (sum)
		atomic_fetch_add(sum, (int64_t)held - (int64_t)b->held);
	b->held = held;
}

/* ---- where they wait ---- */

static void push(struct box_list *list, struct box *b)
{
	b->next = list->first;
	list->first = b;
	list->count++;
}

static struct box *pop(struct box_list *list)
{
	struct box *b = list->first;

	if (b) {
		list->first = b->next;
		list->count--;
	}
	return b;
}

static void keep_or_free(struct box *b, struct runner_boxes *boxes)
{
	if (!boxes || boxes->kept.count == KEPT_MAX || source_batch_held(&b->batch) > KEPT_BYTES)
		free_box(b);
	else
		push(&boxes->kept, b);
}

struct box *box_take(struct box_list *spare, struct runner_boxes *boxes)
{
	struct box *b = pop(spare);

	if (!b && boxes)
		b = pop(&boxes->kept);
	return b ? b : make_box();
}

void box_give_back(struct box *b, struct box_list *spare, uint32_t most, struct runner_boxes *boxes)
{
	empty(b);
	if (spare->count < most)
		push(spare, b);
	else
		keep_or_free(b, boxes);
}

void box_list_empty(struct box_list *spare, struct runner_boxes *boxes)
{
	for (struct box *b = pop(spare); b; b = pop(spare))
		keep_or_free(b, boxes);
}

struct runner_boxes *runner_boxes_new(void)
{
	return mem_zalloc(1, sizeof(struct runner_boxes));
}

void runner_boxes_free(struct runner_boxes *boxes)
{
	if (boxes)
		box_list_empty(&boxes->kept, NULL);
	mem_free(boxes);
}

/* ---- the crowd ---- */

bool runner_boxes_crowded(struct runner_boxes *boxes, int64_t now_ns)
{
	if (boxes && now_ns - boxes->since_ns >= BOXES_CROWD_NS) {
		boxes->since_ns = now_ns;
		boxes->begun = 0;
	}
	return boxes && boxes->begun >= BOXES_CROWD;
}

void runner_boxes_began(struct runner_boxes *boxes)
{
	if (boxes)
		boxes->begun++;
}

void runner_boxes_ended(struct runner_boxes *boxes, int64_t began_ns)
{
	if (boxes && boxes->begun && began_ns >= boxes->since_ns)
		boxes->begun--;
}
