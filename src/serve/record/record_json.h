/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SERVE_RECORD_RECORD_JSON_H
#define WEIR_SERVE_RECORD_RECORD_JSON_H

#include "base/buf.h"
#include "proto/batch/batch.h"

/*
 * More than any record becomes: the largest that may be configured is 64 MiB,
 * and a byte takes up to six characters (\u0001). What is to hold one is bounded
 * by this, or a reader would stand before such a record for ever.
 */
#define RECORD_JSON_BYTES_MAX ((size_t)448 << 20)

/*
 * A record as JSON, as every way out but Kafka gives it:
 *
 *	{"topic","partition","offset","timestamp","key","headers":{},"value":<JSON>}
 *
 * The value's bytes stand there as they were stored where they are well-formed
 * JSON; else "value_text" (UTF-8) or "value_base64"; a null value is
 * "value":null,"tombstone":true. A key that is not UTF-8 is "key_base64", a repeated
 * header an array, a header value that is not UTF-8 {"base64":"…"}.
 */
struct record_origin {
	struct slice topic; /* its name */
	uint32_t partition;
};

/*
 * Appends the object without its closing brace, so that more members may
 * follow. Errors: ERR_LIMIT, ERR_NOMEM (as they stick in `to`), ERR_MALFORMED
 * where the record's headers are broken.
 */
int record_json_open(struct buf *to, const struct record_origin *origin, const struct batch_record *r);

/* The same with the brace. */
int record_json(struct buf *to, const struct record_origin *origin, const struct batch_record *r);

#endif
