/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BASE_TABLE_H
#define WEIR_BASE_TABLE_H

#include "base/err.h"

#include <stdint.h>

/*
 * A hash table whose nodes are embedded in what is found: the owner makes the
 * hash (keyed, where peers choose the key: hash_sip13) and compares. It grows with
 * its content; where there is no memory to grow it gets slower, and nothing fails.
 *
 *	for (node = table_first(t, hash); node; node = table_next(node))
 *		if (... is it ...)
 */
struct table_node {
	struct table_node *next;
	uint64_t hash;
};

struct table {
	struct table_node **buckets;
	uint32_t bucket_count; /* a power of two */
	uint32_t count;
};

/* ERR_NOMEM. */
int table_init(struct table *t);

/* Frees the buckets; the nodes are their owner's. Also of a zeroed table. */
void table_fini(struct table *t);

void table_add(struct table *t, struct table_node *node, uint64_t hash);
void table_remove(struct table *t, struct table_node *node); /* must be in it */

/* Those of one hash, newest first; NULL: no more. */
struct table_node *table_first(const struct table *t, uint64_t hash);
struct table_node *table_next(const struct table_node *node);

/* All, in no order: after NULL comes the first. The one given may be removed before the next is asked for only if that was asked before. */
struct table_node *table_walk(const struct table *t, const struct table_node *after);

/*
 * Likewise those of a part, of `parts` (a power of two): each node is in exactly one, which its hash says
 * alone, so it stays there however the table changes. Walking all parts costs no more than table_walk.
 */
struct table_node *table_walk_part(const struct table *t, const struct table_node *after, uint32_t part,
				   uint32_t parts);

#endif
