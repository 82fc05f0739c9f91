/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_INGEST_INGEST_COMMIT_H
#define WEIR_INGEST_INGEST_COMMIT_H

#include "ingest/ingest_inner.h"

/* What a request asks of the log: its new records, each with a partition, and the room for what comes of them. */

/* Arrays for keys and commit, whose sizes are known once the body is parsed. 0 or a refusal. */
int commit_reserve(struct ingest_request *r);

/* Puts what is new of the drafts into the commit, each with its partition. 0 or a refusal. */
int commit_fill(struct ingest_request *r);

/* Memory for the result, while the request can still be refused for want of it. 0 or a refusal. */
int commit_reserve_result(struct ingest_request *r);

/* The refusal of a partition that the topic does not have. */
int commit_refuse_partition(struct ingest_request *r);

#endif
