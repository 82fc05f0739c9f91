/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_INGEST_INGEST_LANE_H
#define WEIR_INGEST_INGEST_LANE_H

#include "ingest/ingest_inner.h"

/*
 * Lanes: requests of one sender enter in the order in which they were started. One that waits for its keys
 * (in flight, or on disk) holds its lane; those that come behind it stand there until it is decided. They
 * claim nothing meanwhile, so nobody waits while holding.
 *
 * A lane is known by an address alone, and there is one only while it is held: nothing is to be made for a
 * connection or taken back when it goes, and where another connection gets the address of one that left
 * requests behind, its own wait for those, which does no harm.
 */

/* Does another request hold the lane of r? Then r stands behind it. */
bool lane_wait(struct ingest_queue *q, struct ingest_request *r);

/* r waits for its keys. Also where it has waited before. */
void lane_hold(struct ingest_queue *q, struct ingest_request *r);

/* r is entered or decided: who stands behind it goes to the front of `next`. Also where it never waited. */
void lane_leave(struct ingest_queue *q, struct ingest_request *r, struct fifo *next);

#endif
