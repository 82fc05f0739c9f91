/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The order is that of cost: the head first, then the checksum over all bytes,
 * then the records, inflated where they are compressed. Nothing is believed that
 * stands in the head alone, since every reader later goes by it: count, last
 * offset and highest timestamp are compared with the records.
 *
 * As in Kafka: base offset 0, count and offsets agree, no control batch, a
 * sequence where there is a producer (LogValidator.validateBatch). Beyond it:
 * offsets of the records are 0, 1, 2 … also where they are plain (Kafka asks
 * that of compressed ones only), unknown attributes are refused, and a record
 * inflates to no more than a batch may hold, so that every reader can take it.
 *
 * Rejected: to believe records that are compressed and inflate them when they are
 * read. One batch of four kilobytes that becomes four gigabytes would then stop
 * every reader of the partition for ever.
 */
#include "ingest/batch_check.h"

#include <stdarg.h>
#include <stdio.h>

#define KNOWN_ATTRIBUTES (BATCH_CODEC_MASK | BATCH_TIME_IS_APPEND | BATCH_IS_TRANSACTIONAL | BATCH_IS_CONTROL)

static int refuse(struct batch_verdict *out, int err, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

static int refuse(struct batch_verdict *out, int err, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	(void)vsnprintf(out->detail, sizeof(out->detail), format, args);
	va_end(args);
	return err;
}

static int check_producer(struct batch_verdict *out)
{
	const struct batch_head *h = &out->head;

	if (h->producer_id >= 0 && (h->producer_epoch < 0 || h->base_sequence < 0))
		return refuse(out, ERR_BAD_BATCH,
			      "a batch of producer %lld has no epoch or no sequence (%d, %d)",
			      (long long)h->producer_id, h->producer_epoch, h->base_sequence);
	if (h->producer_id < 0 && (h->attributes & BATCH_IS_TRANSACTIONAL))
		return refuse(out, ERR_BAD_BATCH, "a transactional batch has no producer id");
	return 0;
}

static int check_head(struct slice batch, const struct batch_rules *rules, struct batch_verdict *out)
{
	const struct batch_head *h = &out->head;

	if (batch.len > rules->bytes_max)
		return refuse(out, ERR_BATCH_TOO_LARGE,
			      "the batch has %zu bytes, more than the %zu that one may have", batch.len,
			      rules->bytes_max);
	if (batch_head_read(batch, &out->head) || h->bytes != batch.len)
		return refuse(out, ERR_BAD_BATCH, "the head of the batch contradicts itself");
	if (h->base_offset != 0)
		return refuse(out, ERR_BAD_BATCH, "the base offset is %lld: a client sends 0",
			      (long long)h->base_offset);
	if (h->count == 0 || h->count != (uint32_t)h->last_offset_delta + 1)
		return refuse(out, ERR_BAD_BATCH, "%u records with offsets up to %d", h->count,
			      h->last_offset_delta);
	if (h->attributes & BATCH_IS_CONTROL)
		return refuse(out, ERR_BAD_BATCH, "clients may not write control records");
	if (h->attributes & (uint16_t)~KNOWN_ATTRIBUTES)
		return refuse(out, ERR_BAD_BATCH,
			      "attributes 0x%04x: only codec and transactional are a client's",
			      h->attributes);
	if (h->attributes & BATCH_TIME_IS_APPEND)
		return refuse(out, ERR_BAD_TIMESTAMP, "a client may not say that the log gave the time");
	if (!codec_name(batch_codec(h)))
		return refuse(out, ERR_BAD_ENCODING, "there is no codec %d", batch_codec(h));
	return check_producer(out);
}

static int check_record(const struct batch_record *r, uint32_t index, const struct batch_rules *rules,
			struct batch_verdict *out)
{
	size_t bytes = r->key.len + r->value.len + r->headers.len;

	if (r->offset != (int64_t)index)
		return refuse(out, ERR_BAD_BATCH, "record %u has the offset %lld", index,
			      (long long)r->offset);
	if (bytes > rules->record_bytes_max)
		return refuse(out, ERR_BATCH_TOO_LARGE,
			      "record %u has %zu bytes, more than the %zu that one may have", index, bytes,
			      rules->record_bytes_max);
	if (r->timestamp > out->max_timestamp)
		out->max_timestamp = r->timestamp;
	if (!r->key.ptr) {
		if (out->keyless < BATCH_KEYLESS_MAX)
			out->keyless_first[out->keyless] = index;
		out->keyless++;
	}
	out->payload_bytes += bytes;
	return 0;
}

static int check_records(struct slice plain, const struct batch_rules *rules, struct batch_verdict *out)
{
	struct batch_record record;
	struct batch_walk walk;
	uint32_t index = 0;
	int rc = batch_walk_start(&walk, plain);

	while (rc == 0) {
		int found = batch_walk_next(&walk, &record);
		if (found == 0)
			return 0;
		if (found < 0)
			return refuse(out, ERR_BAD_BATCH, "%s %u cannot be read",
				      index == out->head.count ? "what stands behind record" : "record",
				      index);
		rc = check_record(&record, index++, rules, out);
	}
	return rc;
}

static int inflate(struct codec *codec, struct slice batch, const struct batch_rules *rules,
		   struct buf *scratch, struct slice *plain, struct batch_verdict *out)
{
	int rc;

	scratch->bytes_max = rules->plain_bytes_max + BATCH_HEAD_BYTES;
	rc = batch_inflate(codec, batch, scratch, plain);
	if (rc == ERR_LIMIT)
		return refuse(out, ERR_BATCH_TOO_LARGE,
			      "the records inflate to more than the %zu bytes that a batch may hold",
			      rules->plain_bytes_max);
	if (rc == ERR_NOMEM)
		return refuse(out, ERR_NOMEM, "there is no memory to inflate the records");
	if (rc)
		return refuse(out, ERR_CORRUPT_BATCH, "the block of %s does not inflate",
			      codec_name(batch_codec(&out->head)));
	return 0;
}

int batch_verify(struct codec *codec, struct slice batch, const struct batch_rules *rules,
		 struct buf *scratch, struct batch_verdict *out)
{
	struct slice plain;
	int rc;

	out->keyless = 0;
	out->payload_bytes = 0;
	out->max_timestamp = -1;
	rc = check_head(batch, rules, out);
	if (rc)
		return rc;
	if (batch_check(batch, &out->head))
		return refuse(out, ERR_CORRUPT_BATCH, "the batch does not match its checksum");
	rc = inflate(codec, batch, rules, scratch, &plain, out);
	return rc ? rc : check_records(plain, rules, out);
}
