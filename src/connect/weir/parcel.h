/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_WEIR_PARCEL_H
#define WEIR_CONNECT_WEIR_PARCEL_H

#include "base/buf.h"
#include "proto/batch/batch.h"

/*
 * Records as the body of a request of application/vnd.weir.batch+json, each with an idempotency key of
 * its own: "<prefix><offset>". The bytes come out at the other side as they are here.
 */
void parcel_begin(struct buf *out);
/* Errors stick in the buffer. prefix: of ASCII that needs no escapes. */
void parcel_add(struct buf *out, const struct batch_record *record, const char *prefix);
void parcel_end(struct buf *out);

#endif
