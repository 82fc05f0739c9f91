/* SPDX-License-Identifier: Apache-2.0 */
#include "ingest/ingest_lane.h"

static uint64_t hash_of(const void *lane)
{
	return (uint64_t)(uintptr_t)lane * 0x9e3779b97f4a7c15u >> 16; /* addresses are even */
}

static struct ingest_request *request_of(struct table_node *node)
{
	return (struct ingest_request *)(void *)((uint8_t *)node -
						 offsetof(struct ingest_request, lane_node));
}

static struct ingest_request *holder_of(const struct ingest_queue *q, const void *lane)
{
	struct table_node *node = table_first(&q->lanes, hash_of(lane));

	while (node && request_of(node)->lane != lane)
		node = table_next(node);
	return node ? request_of(node) : NULL;
}

bool lane_wait(struct ingest_queue *q, struct ingest_request *r)
{
	struct ingest_request *holder;

	if (!r->lane || r->holds_lane || !q->lanes.count)
		return false;
	holder = holder_of(q, r->lane);
	if (!holder)
		return false;
	fifo_put(&holder->behind, &r->node);
	return true;
}

void lane_hold(struct ingest_queue *q, struct ingest_request *r)
{
	if (!r->lane || r->holds_lane)
		return;
	r->holds_lane = true;
	fifo_init(&r->behind);
	table_add(&q->lanes, &r->lane_node, hash_of(r->lane));
}

void lane_leave(struct ingest_queue *q, struct ingest_request *r, struct fifo *next)
{
	if (!r->holds_lane)
		return;
	r->holds_lane = false;
	table_remove(&q->lanes, &r->lane_node);
	fifo_put_before(next, &r->behind);
}
