/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_INNER_H
#define WEIR_CONNECT_INNER_H

#include "base/arena.h"
#include "base/table.h"
#include "connect/source.h"

/*
 * The machinery's side of source.h: what a batch and a plan hold, and what a source
 * answers with. Shared by the machinery and by source_test.h; no type includes it.
 */

/* ---- a source ---- */

struct source_ops {
	void (*wake)(struct source_part *part);
	void (*plan_again)(struct source *source);
	void (*warn)(struct source *source, const char *text); /* without secrets, cut to 500 bytes */
};

/* The first member of whatever stands for a source. */
struct source {
	const struct source_ops *ops;
	const char *const *secrets; /* of redact_secrets: they never stand in a text */
	uint32_t secret_count;
	_Atomic uint32_t cut; /* source_cut, since that was looked at */
};

/* Takes what may not be shown out of a text (redact.h), in place. */
void source_redact(const struct source *source, char *text);

/* Of a type with `absent`: says so. ERR_NOT_IMPLEMENTED. */
int source_refuse_absent(const struct source_type *type, struct fault *fault);

/* Opens a source of the type, or says why none of it can be opened: which library is absent. As source_type.open. */
int source_open(const struct source_type *type, const struct source_setup *setup, void **self,
		struct fault *fault);

/* A call begins: everything as if never made. */
void source_call_init(struct source_call *call, struct source *source,
		      void (*on_done)(struct source_call *call, enum source_end end));

/* ---- a checkpoint that somebody owns ---- */

/* A copy with memory of its own; of none, none. *out is overwritten. ERR_NOMEM: *out is none. */
int source_checkpoint_copy(struct source_checkpoint *out, struct source_checkpoint from);
void source_checkpoint_free(struct source_checkpoint *c); /* it is none */

/* Frees what stood in `to`; takes what stands in `from`, which is none. Never fails. */
void source_checkpoint_move(struct source_checkpoint *to, struct source_checkpoint *from);

/* ---- a batch ---- */

#define SOURCE_BATCH_BYTES_MAX (16u << 20)
#define SOURCE_BATCH_RECORDS_MAX 1000000u

/* A record that was added: as source_record, headers encoded as the batch format has them. */
struct source_item {
	struct slice topic, key, value, headers, idempotency_key, row;
	int64_t timestamp_ms;
	uint32_t header_count;
	int32_t partition;
};

struct source_dead_item {
	struct slice topic, bytes, key, headers, path;
	const char *text;
	uint32_t header_count;
	int err;
	bool json;
};

struct source_batch_inner {
	struct arena arena; /* what slices point to */
	struct source_item *items;
	struct source_dead_item *deads;
	uint32_t item_cap, dead_cap;
	/* The last mark: so much stands before it. */
	bool marked;
	uint32_t marked_records, marked_deads;
	size_t marked_bytes;
	uint8_t version;
	struct buf checkpoint;
	int err; /* the first of source_add and the others; 0: none */
};

/* ERR_NOMEM. Counts what it holds nowhere; see source_batch_held. */
int source_batch_init(struct source_batch *b);
void source_batch_fini(struct source_batch *b);

/* Empty, for the next pull; keeps memory of a usual size. */
void source_batch_reset(struct source_batch *b);

/* Bytes of memory that it holds. */
size_t source_batch_held(const struct source_batch *b);

/*
 * A pull has ended: decides what of the batch is entered, everything or what stands before the mark.
 * Gives the end as the machinery sees it: SOURCE_FAILED also where something could not be added.
 */
enum source_end source_batch_close(struct source_batch *b, enum source_end end);

/* ---- a plan ---- */

#define SOURCE_PARTS_MAX 100000u

struct source_plan_item {
	struct table_node node;
	struct slice name, title, checkpoint;
	uint64_t total;
	uint8_t version;
};

/* What the machinery keeps of a plan; struct source_plan is its first member. */
struct source_plan_inner {
	struct source_plan plan;
	struct arena arena;
	struct table table;
	struct source_plan_item **items; /* in order of naming */
	uint32_t count, cap;
	bool marked;
	uint8_t version;
	struct slice checkpoint;
	int err;
	bool (*find)(void *ctx, struct slice name, struct source_checkpoint *checkpoint, bool *done);
	void *find_ctx;
};

int source_plan_init(struct source_plan_inner *p);
void source_plan_fini(struct source_plan_inner *p);

/* Is a part of this name in the plan? */
const struct source_plan_item *source_plan_has(const struct source_plan_inner *p, struct slice name);

/* The end as the machinery sees it. */
enum source_end source_plan_close(struct source_plan_inner *p, enum source_end end);

#endif
