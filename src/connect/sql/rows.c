/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A row becomes a JSON object of its columns, in their order, written straight into memory of the batch; a block
 * takes many rows, so that a row costs no allocation.
 */
#include <stdio.h>

#include "base/hash.h"
#include "connect/sql/sql.h"
#include "connect/sql/value.h"
#include "json/json.h"
#include "json/json_write.h"

#define BLOCK_BYTES (256u << 10)
#define SALVAGED_BYTES 16384u /* of a value in a dead letter */
#define NAME_BYTES_MAX 2000u  /* of a column's name, escaped */

static int make_prefix(struct sql_writer *w, uint32_t i)
{
	struct buf b;

	buf_init(&b, NAME_BYTES_MAX);
	(void)buf_append_byte(&b, i ? ',' : '{');
	json_put_string_lossy(&b, slice_str(w->columns[i].name));
	(void)buf_append_byte(&b, ':');
	w->fixed_bytes += b.len + 32;
	w->prefixes[i] = buf_status(&b) ? slice_null() : arena_copy(&w->arena, buf_slice(&b));
	buf_fini(&b);
	return w->prefixes[i].ptr ? 0 : ERR_NOMEM;
}

int sql_writer_init(struct sql_writer *w, struct sql_source *s, const struct sql_column *columns,
		    uint32_t shown)
{
	int rc = 0;

	*w = (struct sql_writer){.source = s, .columns = columns, .shown = shown, .fixed_bytes = 16};
	arena_init(&w->arena, 4096, 8u << 20);
	w->prefixes = arena_zalloc(&w->arena, shown ? shown : 1, sizeof(*w->prefixes));
	if (!w->prefixes)
		rc = ERR_NOMEM;
	for (uint32_t i = 0; i < shown && !rc; i++)
		rc = make_prefix(w, i);
	if (rc)
		sql_writer_fini(w);
	return rc;
}

void sql_writer_fini(struct sql_writer *w)
{
	arena_fini(&w->arena);
	w->prefixes = NULL;
}

void sql_writer_begin(struct sql_writer *w, struct source_batch *batch)
{
	w->batch = batch;
	w->block = NULL;
	w->used = w->room = 0;
}

/* What the object takes at most: every byte of a text may become six. */
static size_t row_bound(const struct sql_writer *w, const struct sql_row *row)
{
	size_t n = 0;

	for (uint32_t i = 0; i < w->shown; i++)
		n += row->values[i].len;
	return w->fixed_bytes + n * 6;
}

/* Room in the present block, or in a new one. A row that may be large gets a buffer of its own and is copied. */
static uint8_t *room_for(struct sql_writer *w, size_t bytes)
{
	if (bytes <= w->room - w->used)
		return w->block + w->used;
	w->room = bytes > BLOCK_BYTES ? bytes : BLOCK_BYTES;
	w->block = source_alloc(w->batch, w->room);
	w->used = 0;
	if (!w->block)
		w->room = 0;
	return w->block;
}

static int put_object(struct sql_writer *w, struct buf *out, const struct sql_row *row, uint32_t *bad)
{
	bool numbers = w->source->settings->decimals == 1;

	for (uint32_t i = 0; i < w->shown; i++) {
		int rc;
		(void)buf_append(out, w->prefixes[i].ptr, w->prefixes[i].len);
		rc = sql_put_value(out, row->kinds ? row->kinds[i] : w->columns[i].kind, &w->columns[i],
				   row->values[i], numbers);
		*bad = i;
		if (rc)
			return rc;
	}
	(void)buf_append_byte(out, '}');
	return buf_status(out);
}

static bool add_key(struct buf *key, struct sql_writer *w, const struct sql_row *row, const uint32_t *which,
		    uint32_t count)
{
	return count > 0 && sql_put_key(key, w->columns, row->kinds, row->values, which, count) == 0;
}

/* ---- rows that are no records ---- */

/* The whole row, with base64 for what is no text, and only the beginning of what is large. */
static void put_salvaged(struct sql_writer *w, struct buf *out, const struct sql_row *row, bool cut)
{
	bool numbers = w->source->settings->decimals == 1;

	for (uint32_t i = 0; i < w->shown; i++) {
		enum sql_kind kind = row->kinds ? row->kinds[i] : w->columns[i].kind;
		struct slice v = row->values[i];
		size_t before;
		if (cut && v.len > SALVAGED_BYTES) {
			v.len = SALVAGED_BYTES;
			while (v.len && (v.ptr[v.len] & 0xc0) == 0x80)
				v.len--;
			kind = kind == SQL_BYTES ? SQL_BYTES : SQL_TEXT;
		}
		(void)buf_append_slice(out, w->prefixes[i]);
		before = out->len;
		if (sql_put_value(out, kind, &w->columns[i], v, numbers) == 0)
			continue;
		out->len = before;
		(void)sql_put_value(out, SQL_BYTES, &w->columns[i], v, false);
	}
	(void)buf_append_byte(out, '}');
}

/* "orders id=7 column name" */
static void put_place(struct sql_writer *w, struct buf *out, const struct sql_row *row, const uint32_t *key,
		      uint32_t key_count, const char *column)
{
	const char *table = w->source->settings->table;

	(void)buf_append_str(out, table ? table : "query");
	for (uint32_t i = 0; i < key_count; i++) {
		struct slice v = row->values[key[i]];
		if (v.len > 100)
			v = slice_make(v.ptr, 100);
		(void)buf_appendf(out, "%s%s=", i ? "," : " ", w->columns[key[i]].name);
		(void)buf_append_slice(out, v.ptr && json_utf8_valid(v) ? v : SLICE_LIT("?"));
	}
	if (column)
		(void)buf_appendf(out, " column %s", column);
}

static int set_aside(struct sql_writer *w, const struct sql_row *row, const uint32_t *key, uint32_t key_count,
		     uint32_t bad, int err)
{
	bool large = err == ERR_RECORD_TOO_LARGE;
	struct source_dead dead = {.err = large ? err : ERR_BAD_RECORD, .json = true};
	struct buf path, bytes, k;
	int rc;

	buf_init(&path, 8192);
	buf_init(&bytes, 16u << 20);
	buf_init(&k, 1024);
	put_place(w, &path, row, key, key_count, large ? NULL : w->columns[bad].name);
	put_salvaged(w, &bytes, row, large);
	if (large)
		dead.text =
			"the row is longer than a record may be: leave out columns with `columns`, or raise "
			"http.record_bytes_max. The letter has the beginnings of its values";
	else if (err == ERR_MALFORMED)
		dead.text = "the array is not well formed; the letter has it as base64";
	else
		dead.text =
			"the text is not UTF-8, and stands in the letter as base64: give the column another "
			"type or encoding, or leave it out with `columns`";
	dead.path = buf_slice(&path);
	dead.bytes = buf_slice(&bytes);
	if (add_key(&k, w, row, key, key_count))
		dead.key = buf_slice(&k);
	rc = buf_status(&bytes) == ERR_NOMEM ? ERR_NOMEM : source_add_dead(w->batch, &dead);
	buf_fini(&path);
	buf_fini(&bytes);
	buf_fini(&k);
	return rc;
}

int sql_write_row(struct sql_writer *w, const struct sql_row *row, const uint32_t *key, uint32_t key_count,
		  struct slice idempotency_key)
{
	struct source_record record = SOURCE_RECORD_INIT;
	size_t bound = row_bound(w, row);
	uint8_t key_bytes[1024];
	struct buf out = {.bytes_max = bound, .cap = bound},
		   k = {.ptr = key_bytes, .cap = sizeof(key_bytes), .bytes_max = sizeof(key_bytes)};
	uint32_t bad = 0;
	int rc;

	if (bound > w->batch->value_bytes_max * 6) /* far past what the door takes: not even looked at */
		return set_aside(w, row, key, key_count, 0, ERR_RECORD_TOO_LARGE);
	out.ptr = room_for(w, bound);
	if (!out.ptr)
		return ERR_NOMEM;
	rc = put_object(w, &out, row, &bad);
	if (rc)
		return set_aside(w, row, key, key_count, bad, rc);
	w->used += out.len;
	record.value = buf_slice(&out);
	record.stays = true;
	record.idempotency_key = idempotency_key;
	if (add_key(&k, w, row, key, key_count)) {
		if (!room_for(w, k.len + idempotency_key.len))
			return ERR_NOMEM;
		memcpy(w->block + w->used, k.ptr, k.len);
		record.key = slice_make(w->block + w->used, k.len);
		w->used += k.len;
	}
	if (idempotency_key.len) {
		if (!room_for(w, idempotency_key.len))
			return ERR_NOMEM;
		memcpy(w->block + w->used, idempotency_key.ptr, idempotency_key.len);
		record.idempotency_key = slice_make(w->block + w->used, idempotency_key.len);
		w->used += idempotency_key.len;
	}
	if (w->batch->test)
		record.row = record.value;
	return source_add(w->batch, &record);
}

/* ---- identities ---- */

/* Lengths stand before values, so that no two rows have the same bytes. */
static struct hash128 mix(struct hash128 h, struct slice v, bool null)
{
	struct hash_key key = {.k0 = h.lo, .k1 = h.hi + v.len * 2 + null};

	return hash_sip24_128(&key, v);
}

static struct hash128 mix_value(struct hash128 h, struct slice v)
{
	return mix(h, v.ptr ? v : slice_make("", 0), !v.ptr);
}

struct slice sql_row_id(const struct sql_source *s, const struct sql_row *row, const uint32_t *key,
			uint32_t key_count, struct slice version, struct sql_row_id *out)
{
	struct hash128 h = {.lo = 0x7765697220737100, .hi = 1};
	int n;

	h = mix_value(h, slice_str(s->setup.name));
	h = mix_value(h, slice_str(s->settings->table ? s->settings->table : ""));
	for (uint32_t i = 0; i < key_count; i++)
		h = mix_value(h, row->values[key[i]]);
	h = mix_value(h, version);
	n = snprintf(out->text, sizeof(out->text), "%016llx%016llx", (unsigned long long)h.hi,
		     (unsigned long long)h.lo);
	return slice_make(out->text, (size_t)n);
}

void sql_row_print(const struct sql_row *row, const uint32_t *columns, uint32_t count, uint8_t out[16])
{
	struct hash128 h = {.lo = 0x7765697220726f77, .hi = 2};

	for (uint32_t i = 0; i < count; i++)
		h = mix_value(h, row->values[columns ? columns[i] : i]);
	memcpy(out, &h.lo, 8);
	memcpy(out + 8, &h.hi, 8);
}
