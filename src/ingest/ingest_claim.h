/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_INGEST_INGEST_CLAIM_H
#define WEIR_INGEST_INGEST_CLAIM_H

#include "ingest/ingest_inner.h"

/*
 * The idempotency keys of a request: fingerprints, claims on them, and what the
 * answers of `seen` make of its records. It does not know when a request may wait.
 */

/* seen_claim, or seen_read where waiting for the disk is allowed. */
typedef int claim_ask_fn(struct seen *s, const struct seen_key *key, int64_t now_ms, struct seen_claim *claim,
			 struct seen_answer *answer, struct seen_waiter *waiter);

/* Fingerprints for the topic as it is now. Before the lock where the topic was there, else under it. 0 or a refusal. */
int claim_prepare(struct ingest_queue *q, struct ingest_request *r);

/*
 * Claims every key of the request or none. SEEN_NEW: all are claimed or
 * decided; SEEN_IN_FLIGHT, SEEN_READ, or an error: nothing is held. Who waited
 * for what was given back is added to *woken.
 */
int claim_all(struct ingest_queue *q, struct ingest_request *r, int64_t now_ms, claim_ask_fn *ask,
	      struct seen_waiter *waiter, struct seen_waiter **woken);

/* Gives back what is claimed; those who waited for it are added to *woken. */
void claim_release(struct ingest_queue *q, struct ingest_request *r, struct seen_waiter **woken);

/*
 * The first answer of a unit may have more ranges than this body has records:
 * the same bytes under another Content-Type are the same payload. True where
 * it was cut, with room for all of it; nothing is held then, so the key is asked for again.
 */
bool claim_answer_was_cut(struct ingest_request *r);

/*
 * All keys are known: refuses what used one with another payload, and records without a key
 * of their own for a compacted topic. 0 or a refusal.
 */
int claim_judge(struct ingest_request *r);

#endif
