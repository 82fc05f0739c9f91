/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_INGEST_INGEST_DEAD_H
#define WEIR_INGEST_INGEST_DEAD_H

#include "ingest/dead.h"
#include "ingest/ingest_inner.h"

/* What on_error=dead makes of the records of a request that were refused. */

/* A refusal of a body that is one record becomes an error of that record. 0, or the refusal again. */
int dead_take_refusal(struct ingest_request *r, int err);

/* The body is read: dead letters of its errors, in the arena. 0 or a refusal. */
int dead_prepare(struct ingest_queue *q, struct ingest_request *r);

/* Under the entry lock, behind commit_fill: the letters, also those of keys, behind the records of the commit. 0 or a refusal. */
int dead_fill(struct ingest_queue *q, struct ingest_request *r);

#endif
