/* SPDX-License-Identifier: Apache-2.0 */
/*
 * zlib's raw streams behind two small structs. The bound on the inflated size
 * is kept while inflating: zlib is only ever given room up to the limit, and at
 * the limit one byte of room outside, whose use tells that there is more. So a
 * bomb costs what the limit allows, whatever it would have become.
 *
 * Rejected: inflating into a large scratch buffer and looking at the size
 * afterwards; windows kept between messages (32 KiB a connection, and no frame
 * could be shared).
 */
#include "proto/ws/ws_deflate.h"

#include <zlib.h>

#include "base/check.h"
#include "base/err.h"
#include "base/mem.h"

#define PIECE_MAX (1u << 30) /* zlib counts in 32 bits */
#define STEP_BYTES 1024u     /* the least room asked for before a call */

struct ws_inflater {
	z_stream z;
	bool whole; /* what was read so far ends with a block, no bit over */
};

struct ws_deflater {
	z_stream z;
};

/* What a sync flush ends with; the sender takes it off, the receiver puts it back (section 7.2.1). */
static const uint8_t tail[4] = {0x00, 0x00, 0xff, 0xff};

static void *zlib_alloc(void *ctx, uInt count, uInt size)
{
	(void)ctx;
	return mem_alloc((size_t)count * size);
}

static void zlib_free(void *ctx, void *ptr)
{
	(void)ctx;
	mem_free(ptr);
}

int ws_inflater_new(int window_bits, struct ws_inflater **out)
{
	struct ws_inflater *f = mem_zalloc(1, sizeof(*f));

	CHECK(window_bits >= 9 && window_bits <= 15);
	if (!f)
		return ERR_NOMEM;
	f->z.zalloc = zlib_alloc;
	f->z.zfree = zlib_free;
	if (inflateInit2(&f->z, -window_bits) != Z_OK) {
		mem_free(f);
		return ERR_NOMEM;
	}
	*out = f;
	return 0;
}

void ws_inflater_free(struct ws_inflater *f)
{
	if (!f)
		return;
	(void)inflateEnd(&f->z);
	mem_free(f);
}

/* Gives the stream the free part of `out`, at least STEP_BYTES of it below the limit. */
static int give_room(z_stream *z, struct buf *out)
{
	size_t room = out->bytes_max - out->len;
	int rc = buf_reserve(out, room < STEP_BYTES ? room : STEP_BYTES);

	if (rc)
		return rc;
	room = out->cap - out->len;
	z->next_out = out->ptr + out->len;
	z->avail_out = room < PIECE_MAX ? (uInt)room : PIECE_MAX;
	return 0;
}

static int inflate_within(z_stream *z, struct buf *out, int *zrc)
{
	int rc = give_room(z, out);

	if (rc)
		return rc;
	*zrc = inflate(z, Z_SYNC_FLUSH);
	out->len = (size_t)(z->next_out - out->ptr);
	return 0;
}

static int inflate_past_the_limit(z_stream *z, int *zrc)
{
	uint8_t beyond;

	z->next_out = &beyond;
	z->avail_out = 1;
	*zrc = inflate(z, Z_SYNC_FLUSH);
	return z->avail_out ? 0 : ERR_LIMIT;
}

/* Between two blocks with no bit over, zlib says 128 and nothing else in data_type. */
static int on_inflated(struct ws_inflater *f, int zrc)
{
	f->whole = zrc == Z_STREAM_END || f->z.data_type == 128;
	if (zrc == Z_MEM_ERROR)
		return ERR_NOMEM;
	/* A final block may be followed by others (section 7.2.3.5), as from a new stream. */
	if (zrc == Z_STREAM_END)
		return inflateReset(&f->z) == Z_OK ? 0 : ERR_INTERNAL;
	return zrc == Z_OK || zrc == Z_BUF_ERROR ? 0 : ERR_MALFORMED;
}

static int inflate_once(struct ws_inflater *f, struct buf *out)
{
	uInt before = f->z.avail_in;
	int zrc;
	int rc = out->len < out->bytes_max ? inflate_within(&f->z, out, &zrc) :
					     inflate_past_the_limit(&f->z, &zrc);

	if (rc)
		return rc;
	if (zrc == Z_BUF_ERROR && f->z.avail_in == before)
		return 0; /* nothing was left to do */
	return on_inflated(f, zrc);
}

int ws_inflater_feed(struct ws_inflater *f, struct slice piece, struct buf *out)
{
	z_stream *z = &f->z;

	while (piece.len) {
		uInt given = piece.len < PIECE_MAX ? (uInt)piece.len : PIECE_MAX;
		z->next_in = (z_const Bytef *)piece.ptr;
		z->avail_in = given;
		/* With room left over, zlib has nothing more to give. */
		do {
			int rc = inflate_once(f, out);
			if (rc)
				return rc;
		} while (z->avail_in || z->avail_out == 0);
		piece = slice_from(piece, given);
	}
	return 0;
}

int ws_inflater_end(struct ws_inflater *f, struct buf *out)
{
	int rc = ws_inflater_feed(f, slice_make(tail, sizeof(tail)), out);

	if (rc)
		return rc;
	return f->whole ? 0 : ERR_MALFORMED;
}

int ws_deflater_new(int level, struct ws_deflater **out)
{
	struct ws_deflater *d = mem_zalloc(1, sizeof(*d));

	CHECK(level >= 1 && level <= 9);
	if (!d)
		return ERR_NOMEM;
	d->z.zalloc = zlib_alloc;
	d->z.zfree = zlib_free;
	if (deflateInit2(&d->z, level, Z_DEFLATED, -WS_DEFLATE_BITS, 5, Z_DEFAULT_STRATEGY) != Z_OK) {
		mem_free(d);
		return ERR_NOMEM;
	}
	*out = d;
	return 0;
}

void ws_deflater_free(struct ws_deflater *d)
{
	if (!d)
		return;
	(void)deflateEnd(&d->z);
	mem_free(d);
}

/* Compresses what was given and flushes to a byte; done when zlib leaves room over. */
static int deflate_piece(z_stream *z, int flush, struct buf *out)
{
	do {
		int rc = buf_reserve(out, 1) ? buf_status(out) : give_room(z, out);
		if (rc)
			return rc;
		if (deflate(z, flush) == Z_STREAM_ERROR)
			return ERR_INTERNAL;
		out->len = (size_t)(z->next_out - out->ptr);
	} while (z->avail_out == 0);
	return 0;
}

int ws_deflater_message(struct ws_deflater *d, struct slice message, struct buf *out)
{
	z_stream *z = &d->z;
	int rc;

	CHECK(deflateReset(z) == Z_OK);
	do {
		uInt given = message.len < PIECE_MAX ? (uInt)message.len : PIECE_MAX;
		z->next_in = (z_const Bytef *)message.ptr;
		z->avail_in = given;
		message = slice_from(message, given);
		rc = deflate_piece(z, message.len ? Z_NO_FLUSH : Z_SYNC_FLUSH, out);
	} while (rc == 0 && message.len);
	if (rc)
		return rc;
	CHECK(out->len >= sizeof(tail));
	out->len -= sizeof(tail);
	return 0;
}
