/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_SERVE_RECORD_ENCODE_CACHE_H
#define WEIR_SERVE_RECORD_ENCODE_CACHE_H

#include "base/blob.h"
#include "deliver/reader.h"
#include "proto/batch/batch.h"
#include "serve/record/unpack.h"

/*
 * What many subscribers need in the same form is made once a loop: a batch in
 * one form is a blob with all its records, one behind the other, and a table
 * of where each begins. A thousand subscribers share the blob; who is a cursor
 * for itself takes records out of it and adds its own.
 *
 * One cache a loop, bounded in bytes; what was longest unused goes first.
 * A blob lives on while somebody holds it.
 */
struct encode_cache;

enum encode_form {
	ENCODE_JSON,     /* {record}, with a comma between records: a run of them is the inside of an array */
	ENCODE_SSE,      /* id: <cursor of the one partition>, data: {record}, empty line */
	ENCODE_SSE_DATA, /* data: {record}, empty line: the reader writes its own id before it */
	ENCODE_WS,       /* text frame of {record,"cursor":"<of the one partition>"} */
	ENCODE_WS_V1,    /* text frame of {"record":{record,"cursor":"…"}} (subprotocol weir.v1) */
	ENCODE_WS_RAW,   /* frame of the value's bytes: text where UTF-8, else binary; null as empty text */
	ENCODE_FORMS,
};

struct encode_mark {
	uint32_t at;    /* where the record begins in the blob */
	uint32_t delta; /* its offset - base */
};

struct encoded {
	struct blob *blob;               /* shared with the caller: encoded_release */
	const struct encode_mark *marks; /* count + 1; the last says where the bytes end. In the blob */
	uint32_t count;                  /* records; 0 for a batch without any (control, damage) */
	enum encode_form form;
	int64_t base;         /* base offset of the batch, or where its part begins */
	int64_t next;         /* offset behind the batch, or behind its part */
	uint32_t batch_bytes; /* of the batch itself: the next one begins so far on. 0: the batch goes on at `next` */
	bool made;            /* by this call: nobody had asked for it before */
	bool broken;          /* records were left out that could not be read: tell a gap of the batch */
};

/*
 * bytes_max 0: 32 MiB. `gauge` (NULL: none) counts the blobs as long as anybody
 * holds them, each once (blob.h). Returns owned; ERR_NOMEM.
 */
int encode_cache_new(size_t bytes_max, _Atomic int64_t *gauge, struct encode_cache **out);
void encode_cache_free(struct encode_cache *cache);

/*
 * The batch at the front of view->batches (not empty) in a form, compressed or not. Of one
 * that is large when it is plain only a part, from view->from on (batch_bytes 0), so that no
 * reader holds on to more than it can take. 0 and *out;
 * ERR_LIMIT (a record that grows past 448 MiB), ERR_NOMEM, ERR_MALFORMED (no batch).
 *
 *	while (view.batches.len) {
 *		encode_cache_get(cache, &view, form, &e);
 *		i = encoded_find(&e, view.from);
 *		n = encoded_fit(&e, i, room);
 *		conn_write_blob(conn, e.blob, encoded_run(&e, i, n));
 *		reader_consumed(r, encoded_after(&e, i + n));
 *		view.from = e.next;
 *		view.batches = slice_from(view.batches, e.batch_bytes);
 *		encoded_release(&e);
 *	}
 */
int encode_cache_get(struct encode_cache *cache, const struct reader_view *view, enum encode_form form,
		     struct encoded *out);
void encoded_release(struct encoded *e);

/* For who goes over batches one by one: unpacker_walk, and unpacker_trim when it is done. */
struct unpacker *encode_cache_unpacker(struct encode_cache *cache);

/* The first record at or after an offset; count where there is none. */
uint32_t encoded_find(const struct encoded *e, int64_t offset);

/* How many records from `first` on fit bytes_max; at least one while first < count. */
uint32_t encoded_fit(const struct encoded *e, uint32_t first, size_t bytes_max);

/* The bytes of `count` records, contiguous in the blob. ENCODE_JSON: without the last comma. */
struct slice encoded_run(const struct encoded *e, uint32_t first, uint32_t count);

/* ENCODE_JSON: one record without its closing brace, for a reader that adds its own cursor. */
struct slice encoded_open(const struct encoded *e, uint32_t i);

/* The offset of record i. */
static inline int64_t encoded_offset(const struct encoded *e, uint32_t i)
{
	return e->base + e->marks[i].delta;
}

/* Where a reader stands that is done with the first i records: behind record i - 1, behind the batch at the end. */
static inline int64_t encoded_after(const struct encoded *e, uint32_t i)
{
	return i >= e->count ? e->next : i == 0 ? e->base : encoded_offset(e, i - 1) + 1;
}

/*
 * For readers with a key (reader_filters): looks at the keys of the batch at the
 * front of view->batches, beside its encoding. Plain memory: nothing to free.
 *
 *	encode_filter_start(&f, cache, reader, &view);
 *	for (i = encoded_find(&e, view.from); i < e.count; i++)
 *		if (encode_filter_wants(&f, encoded_offset(&e, i)))
 *			conn_write_blob(conn, e.blob, encoded_run(&e, i, 1));
 */
struct encode_filter {
	struct batch_walk walk;
	const struct reader *reader;
};
/* 0, or ERR_CORRUPT (then the encoding has no records either), ERR_NOMEM. Borrows all, as unpacker_walk does. */
int encode_filter_start(struct encode_filter *f, struct encode_cache *cache, const struct reader *r,
			const struct reader_view *view);
/* Is the record at this offset wanted? Offsets must rise from call to call. */
bool encode_filter_wants(struct encode_filter *f, int64_t offset);

struct encode_stats {
	uint64_t hits, misses, evicted, bytes;
};
void encode_cache_stats(const struct encode_cache *cache, struct encode_stats *out);

#endif
