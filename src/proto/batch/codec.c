/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each codec is a function from a slice to the end of a buffer whose maximum is
 * the bound: libraries are only ever given room below it, and at it one byte of
 * room outside, whose use tells that there is more. A length that a stream
 * claims is refused where it is too much, and believed for the first
 * allocation only as far as the codec could make that much of the input.
 *
 * zstd is inflated in one call into the buffer: the output is its own window,
 * so that no frame can ask for memory beside it. Where a frame does not say its
 * length (Java's do not), the room is doubled until it is enough: at most twice the work.
 * Rejected: streaming, which allocates the window a frame asks for (up to
 * 128 MiB for what a client at level 22 sends) and copies everything once more.
 *
 * What is written is what the narrowest reader takes: lz4 in independent blocks
 * of 64 KiB without the content's size (the Java clients take no other), snappy in
 * the framing of Java's, blocks of 32 KiB.
 */
#include "proto/batch/codec.h"

#include <lz4frame.h>
#include <snappy-c.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "base/check.h"
#include "base/mem.h"
#include "base/wire.h"

#define STEP_BYTES 16384u /* the least room asked for before a call */
#define GZIP_BITS (16 + 15)
#define GZIP_LEAST 18u       /* head and trailer */
#define GZIP_RATIO_MAX 1032u /* deflate cannot do more */
#define SNAPPY_RATIO_MAX 22u /* 64 bytes for a copy of 3 */
#define XERIAL_HEAD 16u
#define XERIAL_BLOCK 32768u
#define LZ4_BLOCK 65536u
#define ZSTD_LEVEL_MAX 19
#define ZSTD_GUESS 4u /* of a frame that does not tell: so many times its size at first */

struct codec {
	z_stream gunzip, gzip;
	bool gunzip_ready, gzip_ready;
	int gzip_level;
	LZ4F_dctx *unlz4;
	LZ4F_cctx *lz4;
	ZSTD_DCtx *unzstd;
	ZSTD_CCtx *zstd;
};

int codec_new(struct codec **out)
{
	*out = mem_zalloc(1, sizeof(struct codec));
	return *out ? 0 : ERR_NOMEM;
}

void codec_free(struct codec *c)
{
	if (!c)
		return;
	if (c->gunzip_ready)
		(void)inflateEnd(&c->gunzip);
	if (c->gzip_ready)
		(void)deflateEnd(&c->gzip);
	(void)LZ4F_freeDecompressionContext(c->unlz4);
	(void)LZ4F_freeCompressionContext(c->lz4);
	(void)ZSTD_freeDCtx(c->unzstd);
	(void)ZSTD_freeCCtx(c->zstd);
	mem_free(c);
}

const char *codec_name(enum batch_codec kind)
{
	static const char *const names[] = {"none", "gzip", "snappy", "lz4", "zstd"};

	return (size_t)kind < sizeof(names) / sizeof(names[0]) ? names[kind] : NULL;
}

/* ---- room ---- */

static size_t left(const struct buf *b)
{
	return b->bytes_max - b->len;
}

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

/* Where a library writes next: the free part of `out`, or `beyond` where that is full. */
struct room {
	uint8_t *at;
	size_t bytes;
	uint8_t beyond;
};

static int room_make(struct room *r, struct buf *out)
{
	int rc = buf_reserve(out, least(left(out), STEP_BYTES));

	if (rc)
		return rc;
	r->bytes = least(out->cap - out->len, 1u << 30); /* zlib counts in 32 bits */
	if (r->bytes == 0)
		*r = (struct room){.at = &r->beyond, .bytes = 1};
	else
		r->at = out->ptr + out->len;
	return 0;
}

static int room_used(const struct room *r, struct buf *out, size_t n)
{
	if (r->at == &r->beyond)
		return n ? ERR_LIMIT : 0;
	out->len += n;
	return 0;
}

/* Asks at once for what a stream says it becomes. */
static int expect(struct buf *out, uint64_t claimed)
{
	return claimed > left(out) ? ERR_LIMIT : buf_reserve(out, (size_t)claimed);
}

/* ---- gzip ---- */

static voidpf zlib_alloc(voidpf ctx, uInt items, uInt size)
{
	(void)ctx;
	return mem_zalloc(items, size);
}

static void zlib_free(voidpf ctx, voidpf ptr)
{
	(void)ctx;
	mem_free(ptr);
}

static int ready_gunzip(struct codec *c)
{
	if (c->gunzip_ready)
		return inflateReset(&c->gunzip) == Z_OK ? 0 : ERR_INTERNAL;
	c->gunzip.zalloc = zlib_alloc;
	c->gunzip.zfree = zlib_free;
	if (inflateInit2(&c->gunzip, GZIP_BITS) != Z_OK)
		return ERR_NOMEM;
	c->gunzip_ready = true;
	return 0;
}

/* 1 at the end of a member, 0 to go on. */
static int gunzip_step(z_stream *z, struct buf *out)
{
	struct room room;
	int rc = room_make(&room, out), zrc;

	if (rc)
		return rc;
	z->next_out = room.at;
	z->avail_out = (uInt)room.bytes;
	zrc = inflate(z, Z_NO_FLUSH);
	rc = room_used(&room, out, room.bytes - z->avail_out);
	if (rc)
		return rc;
	if (zrc == Z_MEM_ERROR)
		return ERR_NOMEM;
	return zrc == Z_OK ? 0 : zrc == Z_STREAM_END ? 1 : ERR_MALFORMED;
}

/* The last four bytes are the length of the last member, modulo 4 GiB: never more than what is to come. */
static int gunzip_expect(struct slice in, struct buf *out)
{
	uint32_t last;

	if (in.len < GZIP_LEAST)
		return ERR_MALFORMED;
	last = __builtin_bswap32(wire_load_u32(in.ptr + in.len - 4));
	if (last > left(out))
		return ERR_LIMIT;
	return last / GZIP_RATIO_MAX > in.len ? ERR_MALFORMED : buf_reserve(out, last);
}

/* Several members in a row are one stream (RFC 1952 2.2). */
static int gunzip(struct codec *c, struct slice in, struct buf *out)
{
	z_stream *z = &c->gunzip;
	int rc = gunzip_expect(in, out);

	if (rc == 0)
		rc = ready_gunzip(c);
	z->next_in = (z_const Bytef *)in.ptr;
	z->avail_in = (uInt)in.len;
	while (rc == 0) {
		rc = gunzip_step(z, out);
		if (rc == 1 && z->avail_in > 0)
			rc = inflateReset(z) == Z_OK ? 0 : ERR_INTERNAL;
	}
	return rc == 1 ? 0 : rc;
}

static int ready_gzip(struct codec *c, int level)
{
	if (c->gzip_ready && c->gzip_level == level)
		return deflateReset(&c->gzip) == Z_OK ? 0 : ERR_INTERNAL;
	if (c->gzip_ready)
		(void)deflateEnd(&c->gzip);
	c->gzip_ready = false;
	c->gzip = (z_stream){.zalloc = zlib_alloc, .zfree = zlib_free};
	if (deflateInit2(&c->gzip, level, Z_DEFLATED, GZIP_BITS, 8, Z_DEFAULT_STRATEGY) != Z_OK)
		return ERR_NOMEM;
	c->gzip_ready = true;
	c->gzip_level = level;
	return 0;
}

static int gzip(struct codec *c, int level, struct slice in, struct buf *out)
{
	z_stream *z = &c->gzip;
	int rc = ready_gzip(c, level == 0 ? Z_DEFAULT_COMPRESSION : level > 9 ? 9 : level), zrc = Z_OK;

	z->next_in = (z_const Bytef *)in.ptr;
	z->avail_in = (uInt)in.len;
	while (rc == 0 && zrc != Z_STREAM_END) {
		struct room room;
		rc = room_make(&room, out);
		if (rc)
			break;
		z->next_out = room.at;
		z->avail_out = (uInt)room.bytes;
		zrc = deflate(z, Z_FINISH);
		rc = room_used(&room, out, room.bytes - z->avail_out);
	}
	return rc;
}

/* ---- snappy ---- */

static const uint8_t xerial_head[XERIAL_HEAD] = {0x82, 'S', 'N', 'A', 'P', 'P', 'Y', 0,
						 0,    0,   0,   1,   0,   0,   0,   1};

static int unsnappy_raw(struct slice in, struct buf *out)
{
	size_t n;
	int rc;

	if (snappy_uncompressed_length((const char *)in.ptr, in.len, &n) != SNAPPY_OK)
		return ERR_MALFORMED;
	if (n > left(out))
		return ERR_LIMIT;
	if (n / SNAPPY_RATIO_MAX > in.len)
		return ERR_MALFORMED;
	if (n == 0)
		return in.len == 1 ? 0 : ERR_MALFORMED;
	rc = buf_reserve(out, n);
	if (rc)
		return rc;
	if (snappy_uncompress((const char *)in.ptr, in.len, (char *)out->ptr + out->len, &n) != SNAPPY_OK)
		return ERR_MALFORMED;
	out->len += n;
	return 0;
}

/* Blocks, each behind its length. No raw stream begins as this does: it would begin with a copy of nothing. */
static int unsnappy_xerial(struct slice in, struct buf *out)
{
	struct wire_reader r = wire_reader_make(slice_from(in, 8));
	int rc = wire_u32(&r) < 1 ? ERR_MALFORMED : 0; /* version; that of the oldest reader follows */

	(void)wire_u32(&r);
	while (rc == 0 && wire_left(&r) > 0) {
		struct slice block = wire_bytes(&r, wire_u32(&r));
		rc = r.bad ? ERR_MALFORMED : unsnappy_raw(block, out);
	}
	return rc;
}

static int unsnappy(struct slice in, struct buf *out)
{
	if (in.len >= XERIAL_HEAD && memcmp(in.ptr, xerial_head, 8) == 0)
		return unsnappy_xerial(in, out);
	return unsnappy_raw(in, out);
}

static int snappy_block(struct slice block, struct buf *out)
{
	size_t n = snappy_max_compressed_length(block.len);

	if (n + 4 > left(out))
		return ERR_LIMIT;
	if (buf_reserve(out, n + 4))
		return buf_status(out);
	if (snappy_compress((const char *)block.ptr, block.len, (char *)out->ptr + out->len + 4, &n) !=
	    SNAPPY_OK)
		return ERR_INTERNAL;
	(void)wire_put_u32(out->ptr + out->len, (uint32_t)n);
	out->len += n + 4;
	return 0;
}

static int snappy(struct slice in, struct buf *out)
{
	int rc = left(out) < XERIAL_HEAD ? ERR_LIMIT : buf_append(out, xerial_head, XERIAL_HEAD);

	for (size_t at = 0; rc == 0 && at < in.len; at += XERIAL_BLOCK)
		rc = snappy_block(slice_make(in.ptr + at, least(in.len - at, XERIAL_BLOCK)), out);
	return rc;
}

/* ---- lz4 ---- */

static int lz4_error(size_t code)
{
	return strstr(LZ4F_getErrorName(code), "allocation") ? ERR_NOMEM : ERR_MALFORMED;
}

static int ready_unlz4(struct codec *c)
{
	if (!c->unlz4 && LZ4F_isError(LZ4F_createDecompressionContext(&c->unlz4, LZ4F_VERSION))) {
		c->unlz4 = NULL;
		return ERR_NOMEM;
	}
	return 0;
}

/*
 * After a frame that was not read to its end: its reset leaves, in lz4 1.9.4, what was still to come of a
 * frame that told its length, and the next one that does not tell is refused for it.
 */
static void drop_unlz4(struct codec *c)
{
	(void)LZ4F_freeDecompressionContext(c->unlz4);
	c->unlz4 = NULL;
}

/* Reads the frame's head off the front; the content's size, where it is told, is known before a byte is inflated. */
static int unlz4_head(struct codec *c, struct slice *in, struct buf *out)
{
	LZ4F_frameInfo_t info;
	size_t n = in->len;
	size_t hint = LZ4F_getFrameInfo(c->unlz4, &info, in->ptr, &n);

	if (LZ4F_isError(hint))
		return lz4_error(hint);
	if (info.frameType != LZ4F_frame || info.dictID)
		return ERR_MALFORMED;
	*in = slice_from(*in, n);
	return info.contentSize / 255 > in->len ? ERR_MALFORMED : expect(out, info.contentSize);
}

/* 1 at the end of the frame, 0 to go on. */
static int unlz4_step(LZ4F_dctx *ctx, struct slice *in, struct buf *out)
{
	struct room room;
	size_t taken = in->len, given, hint;
	int rc = room_make(&room, out);

	if (rc)
		return rc;
	given = room.bytes;
	hint = LZ4F_decompress(ctx, room.at, &given, in->ptr, &taken, NULL);
	if (LZ4F_isError(hint))
		return lz4_error(hint);
	rc = room_used(&room, out, given);
	if (rc)
		return rc;
	*in = slice_from(*in, taken);
	if (hint == 0)
		return 1;
	return taken == 0 && given == 0 ? ERR_MALFORMED : 0;
}

static int unlz4(struct codec *c, struct slice in, struct buf *out)
{
	int rc = ready_unlz4(c);

	if (rc == 0)
		rc = unlz4_head(c, &in, out);
	while (rc == 0)
		rc = unlz4_step(c->unlz4, &in, out);
	if (rc != 1)
		drop_unlz4(c);
	else
		rc = in.len ? ERR_MALFORMED : 0;
	return rc;
}

/* What the library gave as bytes written or an error. */
static int lz4_wrote(size_t n, struct buf *out)
{
	if (LZ4F_isError(n))
		return ERR_NOMEM; /* room and order are right */
	out->len += n;
	return 0;
}

static int lz4_room(struct buf *out, size_t n)
{
	return n > left(out) ? ERR_LIMIT : buf_reserve(out, n);
}

static int lz4_blocks(struct codec *c, const LZ4F_preferences_t *how, struct slice in, struct buf *out)
{
	int rc = 0;

	while (rc == 0 && in.len) {
		size_t n = least(in.len, LZ4_BLOCK);
		rc = lz4_room(out, LZ4F_compressBound(n, how));
		if (rc)
			break;
		rc = lz4_wrote(LZ4F_compressUpdate(c->lz4, out->ptr + out->len, out->cap - out->len, in.ptr,
						   n, NULL),
			       out);
		in = slice_from(in, n);
	}
	return rc;
}

static int lz4(struct codec *c, int level, struct slice in, struct buf *out)
{
	const LZ4F_preferences_t how = {
		.frameInfo = {.blockSizeID = LZ4F_max64KB, .blockMode = LZ4F_blockIndependent},
		.compressionLevel = level,
		.autoFlush = 1,
	};
	int rc = lz4_room(out, LZ4F_HEADER_SIZE_MAX);

	if (rc == 0 && !c->lz4 && LZ4F_isError(LZ4F_createCompressionContext(&c->lz4, LZ4F_VERSION))) {
		c->lz4 = NULL;
		rc = ERR_NOMEM;
	}
	if (rc == 0)
		rc = lz4_wrote(LZ4F_compressBegin(c->lz4, out->ptr + out->len, LZ4F_HEADER_SIZE_MAX, &how),
			       out);
	if (rc == 0)
		rc = lz4_blocks(c, &how, in, out);
	if (rc == 0)
		rc = lz4_room(out, LZ4F_compressBound(0, &how));
	if (rc == 0)
		rc = lz4_wrote(LZ4F_compressEnd(c->lz4, out->ptr + out->len, out->cap - out->len, NULL), out);
	return rc;
}

/* ---- zstd ---- */

static int ready_unzstd(struct codec *c)
{
	if (!c->unzstd)
		c->unzstd = ZSTD_createDCtx();
	return c->unzstd ? 0 : ERR_NOMEM;
}

/* Into `room` bytes. 1 where they are not enough. */
static int unzstd_into(struct codec *c, struct slice in, size_t room, struct buf *out)
{
	size_t n = ZSTD_decompressDCtx(c->unzstd, out->ptr + out->len, room, in.ptr, in.len);

	if (!ZSTD_isError(n)) {
		out->len += n;
		return 0;
	}
	switch (ZSTD_getErrorCode(n)) {
	case ZSTD_error_dstSize_tooSmall:
		return 1;
	case ZSTD_error_memory_allocation:
		return ERR_NOMEM;
	default:
		return ERR_MALFORMED;
	}
}

/* Several frames in a row are one stream. */
static int unzstd(struct codec *c, struct slice in, struct buf *out)
{
	unsigned long long told = ZSTD_getFrameContentSize(in.ptr, in.len);
	size_t room = left(out);
	size_t want = in.len * ZSTD_GUESS + STEP_BYTES;
	int rc = ready_unzstd(c);

	if (rc)
		return rc;
	if (told == ZSTD_CONTENTSIZE_ERROR)
		return ERR_MALFORMED;
	if (told != ZSTD_CONTENTSIZE_UNKNOWN && told > room)
		return ERR_LIMIT;
	if (told != ZSTD_CONTENTSIZE_UNKNOWN && told > 0)
		want = (size_t)told;
	if (room == 0)
		return ERR_LIMIT;
	for (;; want *= 2) {
		want = least(want, room);
		rc = buf_reserve(out, want);
		if (rc == 0)
			rc = unzstd_into(c, in, want, out);
		if (rc != 1)
			return rc;
		if (want == room)
			return ERR_LIMIT;
	}
}

static int zstd(struct codec *c, int level, struct slice in, struct buf *out)
{
	size_t room = least(ZSTD_compressBound(in.len), left(out)), n;
	int rc = buf_reserve(out, room);

	if (rc == 0 && !c->zstd) {
		c->zstd = ZSTD_createCCtx();
		rc = c->zstd ? 0 : ERR_NOMEM;
	}
	if (rc == 0 && room == 0)
		rc = ERR_LIMIT;
	if (rc)
		return rc;
	n = ZSTD_compressCCtx(c->zstd, out->ptr + out->len, room, in.ptr, in.len,
			      level == 0 ? ZSTD_CLEVEL_DEFAULT : (int)least((size_t)level, ZSTD_LEVEL_MAX));
	if (ZSTD_isError(n))
		return ZSTD_getErrorCode(n) == ZSTD_error_dstSize_tooSmall ? ERR_LIMIT : ERR_NOMEM;
	out->len += n;
	return 0;
}

/* ---- by kind ---- */

static int plain(struct slice in, struct buf *out)
{
	return in.len > left(out) ? ERR_LIMIT : buf_append_slice(out, in);
}

static int inflate_as(struct codec *c, enum batch_codec kind, struct slice in, struct buf *out)
{
	switch (kind) {
	case BATCH_PLAIN:
		return plain(in, out);
	case BATCH_GZIP:
		return gunzip(c, in, out);
	case BATCH_SNAPPY:
		return unsnappy(in, out);
	case BATCH_LZ4:
		return unlz4(c, in, out);
	case BATCH_ZSTD:
		return unzstd(c, in, out);
	}
	return ERR_NOT_IMPLEMENTED;
}

static int deflate_as(struct codec *c, enum batch_codec kind, int level, struct slice in, struct buf *out)
{
	switch (kind) {
	case BATCH_PLAIN:
		return plain(in, out);
	case BATCH_GZIP:
		return gzip(c, level, in, out);
	case BATCH_SNAPPY:
		return snappy(in, out);
	case BATCH_LZ4:
		return lz4(c, level, in, out);
	case BATCH_ZSTD:
		return zstd(c, level, in, out);
	}
	return ERR_NOT_IMPLEMENTED;
}

int codec_inflate(struct codec *c, enum batch_codec kind, struct slice in, struct buf *out)
{
	size_t before = out->len;
	int rc = in.len > INT32_MAX ? ERR_LIMIT : inflate_as(c, kind, in, out);

	if (rc)
		out->len = before;
	return rc;
}

int codec_deflate(struct codec *c, enum batch_codec kind, int level, struct slice in, struct buf *out)
{
	size_t before = out->len;
	int rc = in.len > INT32_MAX ? ERR_LIMIT : deflate_as(c, kind, level < 0 ? 0 : level, in, out);

	if (rc)
		out->len = before;
	return rc;
}
