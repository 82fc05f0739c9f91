/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_INGEST_BATCH_CHECK_H
#define WEIR_INGEST_BATCH_CHECK_H

#include "proto/batch/batch.h"

/*
 * Is a record batch that a client made one that may be stored as it is: what
 * Kafka's LogValidator and UnifiedLog ask of it, and a few things more, because
 * here every way out reads the same bytes. Knows no topic, producer or log.
 */

/* Records without a key that are named one by one; of more, the count is told. */
#define BATCH_KEYLESS_MAX 16u

struct batch_rules {
	size_t bytes_max;        /* of the batch as it came */
	size_t plain_bytes_max;  /* of its records, inflated */
	size_t record_bytes_max; /* of one record: key, value and headers */
};

struct batch_verdict {
	struct batch_head head;
	int64_t max_timestamp;  /* of the records: what the head should say */
	uint64_t payload_bytes; /* of keys, values and headers */
	uint32_t keyless;       /* records without a key */
	uint32_t keyless_first[BATCH_KEYLESS_MAX];
	char detail[160]; /* of a refusal: what was wrong, and what would be right */
};

/*
 * `batch` (borrowed) begins with a whole batch that ends where it says.
 * `scratch` (bytes_max is set by this) holds the records of a compressed one.
 * 0, with *out whole; or a refusal with out->detail:
 *
 *   ERR_BATCH_TOO_LARGE  the batch, a record, or what it inflates to
 *   ERR_CORRUPT_BATCH    the checksum, or a block that does not inflate
 *   ERR_BAD_BATCH        head and records contradict each other, or a client may not send such
 *   ERR_BAD_ENCODING     no such codec
 *   ERR_BAD_TIMESTAMP    it claims to bear the time of the log
 *   ERR_NOMEM
 */
int batch_verify(struct codec *codec, struct slice batch, const struct batch_rules *rules,
		 struct buf *scratch, struct batch_verdict *out);

#endif
