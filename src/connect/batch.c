/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A batch while a type fills it. Bytes are copied once, into an arena of large
 * chunks that goes with the batch, or not at all where the type read them into that arena
 * itself. Records are an array of slices, which the door makes a commit of; nothing is allocated for each.
 *
 * The first error sticks, so that a type need not look at every result: a pull in which something
 * could not be added has failed, and only what was marked before it is entered.
 */
#include "base/check.h"
#include "base/mem.h"
#include "connect/inner.h"
#include "conf/redact.h"
#include "proto/batch/batch.h"

#define CHUNK_BYTES ((size_t)256 << 10)
#define ARENA_BYTES_MAX ((size_t)64 << 20)
#define KEPT_BYTES \
	((size_t)4 << 20) /* for the next pull: new pages cost more than what is written into them */
/* What a record costs the log besides its bytes, about. */
#define RECORD_OVERHEAD 16u

int source_batch_init(struct source_batch *b)
{
	struct source_batch_inner *in = mem_zalloc(1, sizeof(*in));

	memset(b, 0, sizeof(*b));
	if (!in)
		return ERR_NOMEM;
	arena_init(&in->arena, CHUNK_BYTES, ARENA_BYTES_MAX);
	buf_init(&in->checkpoint, SOURCE_CHECKPOINT_MAX);
	b->inner = in;
	source_batch_reset(b);
	return 0;
}

void source_batch_fini(struct source_batch *b)
{
	struct source_batch_inner *in = b->inner;

	if (!in)
		return;
	arena_fini(&in->arena);
	buf_fini(&in->checkpoint);
	mem_free(in->items);
	mem_free(in->deads);
	mem_free(in);
	b->inner = NULL;
}

void source_batch_reset(struct source_batch *b)
{
	struct source_batch_inner *in = b->inner;

	arena_reset_keep(&in->arena, KEPT_BYTES);
	buf_clear(&in->checkpoint);
	in->marked = false;
	in->marked_records = in->marked_deads = 0;
	in->marked_bytes = 0;
	in->err = 0;
	b->record_count = b->dead_count = 0;
	b->bytes = 0;
	b->settle = b->unchanged = false;
	b->lag_records = b->lag_ms = -1;
	b->done = b->total = 0;
}

size_t source_batch_held(const struct source_batch *b)
{
	const struct source_batch_inner *in = b->inner;

	return in->arena.bytes + in->item_cap * sizeof(*in->items) + in->dead_cap * sizeof(*in->deads);
}

static int note_error(struct source_batch_inner *in, int err)
{
	if (!in->err)
		in->err = err;
	return err;
}

/* Makes room for one more of an array. */
static int grow(void **array, uint32_t count, uint32_t *cap, size_t size)
{
	uint32_t more = *cap ? *cap * 2 : 256;
	void *bigger;

	if (count < *cap)
		return 0;
	bigger = mem_realloc(*array, more * size);
	if (!bigger)
		return ERR_NOMEM;
	*array = bigger;
	*cap = more;
	return 0;
}

static int admit(const struct source_batch *b, size_t bytes)
{
	uint32_t count = b->record_count + b->dead_count;

	if (b->inner->err)
		return b->inner->err;
	if (count == SOURCE_BATCH_RECORDS_MAX || (count && b->bytes + bytes > SOURCE_BATCH_BYTES_MAX))
		return ERR_LIMIT;
	return 0;
}

/* ---- copying ---- */

static size_t header_bytes(const struct source_header *headers, uint32_t count)
{
	size_t sum = 0;

	for (uint32_t i = 0; i < count; i++)
		sum += batch_header_bytes(headers[i].name, headers[i].value);
	return sum;
}

static struct slice put_headers(uint8_t *at, const struct source_header *headers, uint32_t count)
{
	uint8_t *end = at;

	for (uint32_t i = 0; i < count; i++)
		end = batch_header_put(end, headers[i].name, headers[i].value);
	return count ? slice_make(at, (size_t)(end - at)) : slice_null();
}

static struct slice put(uint8_t **at, struct slice from)
{
	struct slice copy = {.ptr = from.ptr ? *at : NULL, .len = from.len};

	if (from.len)
		memcpy(*at, from.ptr, from.len);
	*at += from.len;
	return copy;
}

/* ---- what types call ---- */

static void set_plain(struct source_item *item, const struct source_record *r)
{
	*item = (struct source_item){.topic = r->topic,
				     .key = r->key,
				     .value = r->value,
				     .idempotency_key = r->idempotency_key,
				     .row = r->row,
				     .timestamp_ms = r->timestamp_ms,
				     .header_count = r->header_count,
				     .partition = r->partition};
}

/* The key stands in the record too: for consumers, and so that what is remembered of it can be made anew. */
static const struct slice key_header = SLICE_LIT("idempotency-key");

static uint8_t *put_key_header(uint8_t *at, struct source_item *item, struct slice headers, struct slice key)
{
	uint8_t *from = headers.ptr ? (uint8_t *)(uintptr_t)headers.ptr : at;

	at = batch_header_put(at, key_header, key);
	item->headers = slice_make(from, (size_t)(at - from));
	item->header_count++;
	return at;
}

/* What slices of the record point to moves into the batch. False without memory. */
static bool keep(struct source_batch_inner *in, struct source_item *item, const struct source_record *r,
		 size_t encoded)
{
	size_t n = encoded;
	uint8_t *at;

	if (!r->stays)
		n += r->topic.len + r->key.len + r->value.len + r->idempotency_key.len + r->row.len;
	if (n == 0)
		return true;
	at = arena_alloc(&in->arena, n);
	if (!at)
		return false;
	item->headers = put_headers(at, r->headers, r->header_count);
	at += item->headers.len;
	if (r->idempotency_key.ptr)
		at = put_key_header(at, item, item->headers, r->idempotency_key);
	if (r->stays)
		return true;
	item->topic = put(&at, r->topic);
	item->key = put(&at, r->key);
	item->value = put(&at, r->value);
	item->idempotency_key = put(&at, r->idempotency_key);
	item->row = put(&at, r->row);
	return true;
}

int source_add(struct source_batch *b, const struct source_record *r)
{
	struct source_batch_inner *in = b->inner;
	size_t encoded = r->header_count ? header_bytes(r->headers, r->header_count) : 0;
	size_t bytes;
	int rc;

	if (r->idempotency_key.ptr)
		encoded += batch_header_bytes(key_header, r->idempotency_key);
	bytes = RECORD_OVERHEAD + encoded + r->key.len + r->value.len;
	rc = admit(b, bytes);
	if (rc == 0)
		rc = grow((void **)&in->items, b->record_count, &in->item_cap, sizeof(*in->items));
	if (rc)
		return note_error(in, rc);
	set_plain(&in->items[b->record_count], r);
	if (!keep(in, &in->items[b->record_count], r, encoded))
		return note_error(in, ERR_NOMEM);
	b->record_count++;
	b->bytes += bytes;
	return 0;
}

/* In place, in the batch's memory; gives what is left. */
static size_t redact(const struct source *source, struct slice text)
{
	return text.ptr && source ? redact_text(source->secrets, source->secret_count,
						(char *)(uintptr_t)text.ptr, text.len) :
				    text.len;
}

int source_add_dead(struct source_batch *b, const struct source_dead *dead)
{
	struct source_batch_inner *in = b->inner;
	size_t encoded = header_bytes(dead->headers, dead->header_count);
	struct slice text = slice_str(dead->text ? dead->text : "");
	size_t bytes =
		RECORD_OVERHEAD + encoded + dead->key.len + dead->bytes.len + dead->path.len + text.len;
	struct source_dead_item *item;
	uint8_t *at;
	int rc = admit(b, bytes);

	if (rc == 0)
		rc = grow((void **)&in->deads, b->dead_count, &in->dead_cap, sizeof(*in->deads));
	at = rc ? NULL : arena_alloc(&in->arena, bytes + dead->topic.len);
	if (!at)
		return note_error(in, rc ? rc : ERR_NOMEM);
	item = &in->deads[b->dead_count++];
	*item = (struct source_dead_item){.header_count = dead->header_count,
					  .err = dead->err,
					  .json = dead->json || dead->err == ERR_BAD_JSON};
	item->headers = put_headers(at, dead->headers, dead->header_count);
	at += encoded;
	item->topic = put(&at, dead->topic);
	item->bytes = put(&at, dead->bytes);
	item->key = put(&at, dead->key);
	item->path = put(&at, dead->path);
	item->path.len = redact(b->call.source, item->path);
	item->text = (const char *)at;
	text = put(&at, text);
	at[0] = 0;
	((char *)(uintptr_t)item->text)[redact(b->call.source, text)] = 0;
	b->bytes += bytes;
	return 0;
}

void *source_alloc(struct source_batch *b, size_t bytes)
{
	void *memory = b->inner->err ? NULL : arena_alloc(&b->inner->arena, bytes);

	if (!memory)
		note_error(b->inner, ERR_NOMEM);
	return memory;
}

int source_mark(struct source_batch *b, uint8_t version, struct slice checkpoint)
{
	struct source_batch_inner *in = b->inner;

	if (in->err)
		return in->err;
	if (checkpoint.len > SOURCE_CHECKPOINT_MAX)
		return note_error(in, ERR_LIMIT);
	if (in->checkpoint.cap < checkpoint.len &&
	    buf_reserve(&in->checkpoint, checkpoint.len - in->checkpoint.len))
		return note_error(in, ERR_NOMEM);
	buf_clear(&in->checkpoint);
	(void)buf_append_slice(&in->checkpoint, checkpoint);
	in->marked = true;
	in->marked_records = b->record_count;
	in->marked_deads = b->dead_count;
	in->marked_bytes = b->bytes;
	in->version = version;
	return 0;
}

/* ---- the end of a pull ---- */

static void cut_to_mark(struct source_batch *b)
{
	b->record_count = b->inner->marked_records;
	b->dead_count = b->inner->marked_deads;
	b->bytes = b->inner->marked_bytes;
}

enum source_end source_batch_close(struct source_batch *b, enum source_end end)
{
	CHECK(end != SOURCE_LATER);
	if (b->inner->err && end != SOURCE_FAILED)
		end = source_fail(&b->call, SOURCE_TRANSIENT, "a batch of the source does not fit: %s",
				  err_row(b->inner->err)->sentence);
	if (end == SOURCE_FAILED && !b->call.fault.text[0])
		source_fail(&b->call, SOURCE_TRANSIENT, "the source gave no reason");
	if (end == SOURCE_FAILED || source_cancelled(&b->call))
		cut_to_mark(b);
	return end;
}
