/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table has one row, with an empty key: the first number of the next block.
 * When a block is used up, the row of the one behind the next enters, and numbers are taken from
 * it at once; only telling them waits for the sync. So a storm of new producers costs one
 * small commit each thousand, and none of them waits twice.
 *
 * Rejected: numbers from the transactions' rows (the highest and one more): idempotent producers leave no
 * row, and rows of transactional ids expire.
 */
#include "ingest/producer_ids.h"

#include "base/mem.h"
#include "base/wire.h"

#define ROW_VERSION 1u
#define ROW_BYTES 9u

struct producer_ids {
	struct state *state;
	struct log_port *port;
	int64_t next;    /* the number to give */
	int64_t entered; /* numbers below this are covered by a row that has entered */
	int64_t durable; /* and below this by one that is durable */
	struct producer_ids_waiter *first, *last;
};

/* A block under way to the disk. */
struct block {
	struct producer_ids *ids;
	int64_t end;
};

static bool read_row(struct slice key, struct slice value, int64_t *next)
{
	struct wire_reader r = wire_reader_make(value);
	uint8_t version = wire_u8(&r);

	*next = (int64_t)wire_u64(&r);
	return !r.bad && key.len == 0 && version == ROW_VERSION && wire_left(&r) == 0 && *next >= 0;
}

int producer_ids_row_check(struct slice key, struct slice value)
{
	int64_t next;

	return read_row(key, value, &next) ? 0 : ERR_CORRUPT;
}

static int apply_row(void *ctx, struct slice key, struct slice value)
{
	struct producer_ids *p = ctx;
	int64_t next;

	if (!read_row(key, value, &next))
		return ERR_CORRUPT;
	if (next > p->durable)
		p->next = p->entered = p->durable = next;
	return 0;
}

static struct slice write_row(int64_t next, uint8_t bytes[ROW_BYTES])
{
	(void)wire_put_u64(wire_put_u8(bytes, ROW_VERSION), (uint64_t)next);
	return slice_make(bytes, ROW_BYTES);
}

static int each_row(void *ctx, state_row_fn *fn, void *fn_ctx)
{
	const struct producer_ids *p = ctx;
	uint8_t bytes[ROW_BYTES];

	return p->entered ? fn(fn_ctx, SLICE_LIT(""), write_row(p->entered, bytes)) : 0;
}

int producer_ids_new(struct state *state, struct producer_ids **out)
{
	struct producer_ids *p = mem_zalloc(1, sizeof(*p));
	struct state_table table = {.id = STATE_PRODUCER_IDS,
				    .name = "producer ids",
				    .apply = apply_row,
				    .each = each_row,
				    .ctx = p};
	int rc;

	if (!p)
		return ERR_NOMEM;
	p->state = state;
	rc = state_register(state, &table);
	if (rc) {
		mem_free(p);
		return rc;
	}
	*out = p;
	return 0;
}

void producer_ids_free(struct producer_ids *p)
{
	mem_free(p);
}

void producer_ids_start(struct producer_ids *p, struct log_port *port)
{
	p->port = port;
}

/* Blocks become durable in the order in which they entered, and waiters stand in the order of their numbers. */
static void on_durable(void *ctx)
{
	struct block *b = ctx;
	struct producer_ids *p = b->ids;
	struct producer_ids_waiter *w;

	p->durable = b->end;
	mem_free(b);
	while ((w = p->first) && w->id < p->durable) {
		p->first = w->next;
		if (!p->first)
			p->last = NULL;
		w->on_durable(w);
	}
}

static int enter_block(struct producer_ids *p)
{
	uint8_t bytes[ROW_BYTES];
	int64_t end = p->entered + PRODUCER_IDS_BLOCK;
	struct state_row row = {.table = STATE_PRODUCER_IDS,
				.key = SLICE_LIT(""),
				.value = write_row(end, bytes)};
	struct block *b = mem_alloc(sizeof(*b));
	int rc;

	if (!b)
		return ERR_NOMEM;
	*b = (struct block){.ids = p, .end = end};
	rc = state_put(p->state, &row, 1, &(struct state_done){.port = p->port, .fn = on_durable, .ctx = b});
	if (rc) {
		mem_free(b);
		return rc;
	}
	p->entered = end;
	return 0;
}

int producer_ids_take(struct producer_ids *p, struct producer_ids_waiter *waiter, int64_t *id)
{
	int rc = p->next == p->entered ? enter_block(p) : 0;

	if (rc)
		return rc;
	*id = p->next++;
	if (*id < p->durable)
		return 0;
	if (!waiter)
		return 1;
	waiter->id = *id;
	waiter->next = NULL;
	if (p->last)
		p->last->next = waiter;
	else
		p->first = waiter;
	p->last = waiter;
	return 1;
}
