/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Both decompressors run over the whole body into a scratch buffer that doubles
 * up to the limit; the result is copied to the arena once, at its exact size.
 * A bomb costs at most the limit: output stops at bytes_max, and past the
 * first MiB at ratio_max times what was sent. The zstd window is capped, so that a
 * frame of some bytes cannot ask for gigabytes.
 *
 * Several gzip members or zstd frames in a row are one body, as both formats say.
 */
#include "ingest/inflate.h"

#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "base/buf.h"
#include "base/mem.h"

#define SCRATCH_KEPT_MAX (1u << 20)
#define RATIO_FREE_BYTES (1u << 20)
#define STEP_BYTES 65536u
#define GZIP_WINDOW_BITS (16 + 15)

struct inflater {
	z_stream gzip;
	bool gzip_ready;
	ZSTD_DCtx *zstd;
	struct buf scratch;
};

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

int inflater_new(struct inflater **out)
{
	struct inflater *z = mem_zalloc(1, sizeof(*z));

	if (!z)
		return ERR_NOMEM;
	buf_init(&z->scratch, SIZE_MAX / 2);
	*out = z;
	return 0;
}

void inflater_free(struct inflater *z)
{
	if (!z)
		return;
	if (z->gzip_ready)
		(void)inflateEnd(&z->gzip);
	ZSTD_freeDCtx(z->zstd);
	buf_fini(&z->scratch);
	mem_free(z);
}

bool inflate_coding(struct slice content_encoding, enum inflate_coding *out)
{
	struct slice s = slice_trim(content_encoding);

	*out = INFLATE_IDENTITY;
	if (!content_encoding.ptr || s.len == 0 || slice_eq_nocase(s, SLICE_LIT("identity")))
		return true;
	if (slice_eq_nocase(s, SLICE_LIT("gzip")) || slice_eq_nocase(s, SLICE_LIT("x-gzip")))
		*out = INFLATE_GZIP;
	else if (slice_eq_nocase(s, SLICE_LIT("zstd")))
		*out = INFLATE_ZSTD;
	return *out != INFLATE_IDENTITY;
}

/* The bounds of one run. */
struct bounds {
	size_t body_bytes;
	size_t bytes_max;
	uint32_t ratio_max;
	struct fault *fault;
};

/* One byte more than allowed is enough to know that it is too much. */
static int check_bounds(const struct bounds *b, size_t produced)
{
	if (produced > b->bytes_max)
		return fault_set(b->fault, ERR_BODY_TOO_LARGE,
				 "The inflated body is over the limit of %zu bytes", b->bytes_max);
	if (produced > RATIO_FREE_BYTES && produced / b->ratio_max > b->body_bytes)
		return fault_set(b->fault, ERR_BODY_TOO_LARGE,
				 "The body inflates to more than %u times its size", b->ratio_max);
	return 0;
}

/* Room for the next step; the byte past the limit is included, so that going over it shows. */
static int make_room(struct buf *scratch, const struct bounds *b)
{
	size_t left = b->bytes_max + 1 - scratch->len;

	if (buf_reserve(scratch, left < STEP_BYTES ? left : STEP_BYTES))
		return fault_set(b->fault, ERR_NOMEM, "There is no memory to inflate the body");
	return 0;
}

static int ready_gzip(struct inflater *z, const struct bounds *b)
{
	int rc;

	if (z->gzip_ready) {
		rc = inflateReset(&z->gzip);
	} else {
		z->gzip.zalloc = zlib_alloc;
		z->gzip.zfree = zlib_free;
		rc = inflateInit2(&z->gzip, GZIP_WINDOW_BITS);
		z->gzip_ready = rc == Z_OK;
	}
	return rc == Z_OK ? 0 : fault_set(b->fault, ERR_NOMEM, "There is no memory to inflate the body");
}

/* One call of zlib. 1 at the end of a member, 0 to go on, or an error. */
static int gzip_step(struct inflater *z, const struct bounds *b)
{
	struct buf *out = &z->scratch;
	int rc = make_room(out, b);
	size_t room, before;

	if (rc)
		return rc;
	room = out->cap - out->len;
	if (room > b->bytes_max + 1 - out->len)
		room = b->bytes_max + 1 - out->len;
	before = z->gzip.avail_in;
	z->gzip.next_out = out->ptr + out->len;
	z->gzip.avail_out = (uInt)room;
	rc = inflate(&z->gzip, Z_NO_FLUSH);
	out->len += room - z->gzip.avail_out;
	if (rc == Z_STREAM_END || rc == Z_OK) {
		int over = check_bounds(b, out->len);
		return over ? over : rc == Z_STREAM_END;
	}
	if (rc == Z_MEM_ERROR)
		return fault_set(b->fault, ERR_NOMEM, "There is no memory to inflate the body");
	if (rc == Z_BUF_ERROR)
		return fault_set(b->fault, ERR_BAD_ENCODING, "The gzip body ends too early");
	return fault_set(b->fault, ERR_BAD_ENCODING, "The body is not gzip at byte %zu: %s",
			 b->body_bytes - before + 1, z->gzip.msg ? z->gzip.msg : "broken data");
}

static int run_gzip(struct inflater *z, struct slice body, const struct bounds *b)
{
	int rc = ready_gzip(z, b);

	z->gzip.next_in = (Bytef *)(uintptr_t)body.ptr;
	z->gzip.avail_in = (uInt)body.len;
	while (rc == 0) {
		rc = gzip_step(z, b);
		if (rc == 1 && z->gzip.avail_in > 0)
			rc = inflateReset(&z->gzip) == Z_OK ? 0 : ERR_INTERNAL;
	}
	return rc == 1 ? 0 : rc;
}

static int ready_zstd(struct inflater *z, const struct bounds *b)
{
	if (!z->zstd)
		z->zstd = ZSTD_createDCtx();
	if (!z->zstd)
		return fault_set(b->fault, ERR_NOMEM, "There is no memory to inflate the body");
	(void)ZSTD_DCtx_reset(z->zstd, ZSTD_reset_session_only);
	(void)ZSTD_DCtx_setParameter(z->zstd, ZSTD_d_windowLogMax, INFLATE_ZSTD_WINDOW_LOG_MAX);
	return 0;
}

/* 1 where all input is used and a frame has ended, 0 to go on. */
static int zstd_step(struct inflater *z, ZSTD_inBuffer *in, const struct bounds *b)
{
	struct buf *scratch = &z->scratch;
	ZSTD_outBuffer out;
	size_t before = in->pos;
	size_t left;
	int rc = make_room(scratch, b);

	if (rc)
		return rc;
	out = (ZSTD_outBuffer){.dst = scratch->ptr + scratch->len, .size = scratch->cap - scratch->len};
	if (out.size > b->bytes_max + 1 - scratch->len)
		out.size = b->bytes_max + 1 - scratch->len;
	left = ZSTD_decompressStream(z->zstd, &out, in);
	scratch->len += out.pos;
	if (ZSTD_getErrorCode(left) == ZSTD_error_memory_allocation)
		return fault_set(b->fault, ERR_NOMEM, "There is no memory to inflate the body");
	if (ZSTD_isError(left))
		return fault_set(b->fault, ERR_BAD_ENCODING, "The body is not zstd at byte %zu: %s",
				 in->pos + 1, ZSTD_getErrorName(left));
	rc = check_bounds(b, scratch->len);
	if (rc)
		return rc;
	if (left == 0 && in->pos == in->size)
		return 1;
	if (in->pos == before && out.pos == 0)
		return fault_set(b->fault, ERR_BAD_ENCODING, "The zstd body ends too early");
	return 0;
}

static int run_zstd(struct inflater *z, struct slice body, const struct bounds *b)
{
	ZSTD_inBuffer in = {.src = body.ptr, .size = body.len};
	int rc = ready_zstd(z, b);

	while (rc == 0)
		rc = zstd_step(z, &in, b);
	return rc == 1 ? 0 : rc;
}

int inflate_body(struct inflater *z, enum inflate_coding coding, struct slice body, size_t bytes_max,
		 uint32_t ratio_max, struct arena *arena, struct slice *out, struct fault *fault)
{
	struct bounds b = {
		.body_bytes = body.len,
		.bytes_max = bytes_max,
		.ratio_max = ratio_max ? ratio_max : 1,
		.fault = fault,
	};
	int rc;

	if (body.len == 0)
		return fault_set(fault, ERR_BAD_ENCODING, "The body is empty: expected %s data",
				 coding == INFLATE_GZIP ? "gzip" : "zstd");
	if (body.len > UINT32_MAX)
		return fault_set(fault, ERR_BODY_TOO_LARGE, "The body is over 4 GiB");
	buf_clear(&z->scratch);
	rc = coding == INFLATE_GZIP ? run_gzip(z, body, &b) : run_zstd(z, body, &b);
	if (rc == 0) {
		*out = arena_copy(arena, buf_slice(&z->scratch));
		if (!out->ptr)
			rc = fault_set(fault, ERR_NOMEM, "There is no memory for the inflated body");
	}
	if (z->scratch.cap > SCRATCH_KEPT_MAX)
		buf_fini(&z->scratch);
	return rc;
}
