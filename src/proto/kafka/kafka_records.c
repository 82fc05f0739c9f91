/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/kafka/kafka_records.h"

#include "base/err.h"
#include "base/wire.h"

/* Both formats agree on the first 17 bytes: offset, length, 4 bytes that differ, magic. */
#define LENGTH_AT 8u
#define OVERHEAD 12u /* that the length does not count */
#define MAGIC_AT 16u
#define ATTRIBUTES_AT 21u /* of a batch of magic 2 */
#define HEAD_BYTES 61u
#define MAGIC 2u
#define CODEC_MASK 7u
#define CODEC_ZSTD 4u
#define ZSTD_VERSION 7 /* of Produce (KIP-110) */

int kafka_records_check(struct slice records, int16_t version)
{
	uint32_t bytes;

	if (records.len == 0)
		return ERR_BAD_RECORD;
	if (records.len <= MAGIC_AT)
		return ERR_CORRUPT;
	if (records.ptr[MAGIC_AT] != MAGIC)
		return ERR_BAD_RECORD;
	bytes = wire_load_u32(records.ptr + LENGTH_AT);
	if (bytes > records.len - OVERHEAD || bytes < HEAD_BYTES - OVERHEAD)
		return ERR_CORRUPT;
	if (bytes < records.len - OVERHEAD)
		return ERR_BAD_RECORD;
	if (version < ZSTD_VERSION && (wire_load_u16(records.ptr + ATTRIBUTES_AT) & CODEC_MASK) == CODEC_ZSTD)
		return ERR_BAD_ENCODING;
	return 0;
}
