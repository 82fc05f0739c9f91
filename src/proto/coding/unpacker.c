/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each call makes one call of zlib or zstd, again while that takes input and
 * gives nothing. Positions in messages count packed bytes from the start.
 *
 * ingest/inflate.h unpacks a whole body at once into an arena and keeps its
 * decompressors between bodies; this one is for streams that are longer than
 * memory, and is made for each. zstd's own memory is bounded by the window.
 */
#include "proto/coding/unpacker.h"

#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "base/check.h"
#include "base/mem.h"

#define RATIO_FREE_BYTES (1u << 20)
#define GZIP_WINDOW_BITS (16 + 15)

struct unpacker {
	enum unpack_coding coding;
	struct unpack_limits limits;
	uint64_t packed, plain; /* bytes so far */
	bool inside;            /* a member or frame has begun and not ended */
	z_stream gzip;
	ZSTD_DCtx *zstd;
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

bool unpack_coding_of(struct slice content_encoding, enum unpack_coding *out)
{
	struct slice s = slice_trim(content_encoding);

	*out = UNPACK_NONE;
	if (!content_encoding.ptr || s.len == 0 || slice_eq_nocase(s, SLICE_LIT("identity")))
		return true;
	if (slice_eq_nocase(s, SLICE_LIT("gzip")) || slice_eq_nocase(s, SLICE_LIT("x-gzip")))
		*out = UNPACK_GZIP;
	else if (slice_eq_nocase(s, SLICE_LIT("zstd")))
		*out = UNPACK_ZSTD;
	return *out != UNPACK_NONE;
}

const char *unpack_coding_text(enum unpack_coding coding)
{
	return coding == UNPACK_GZIP ? "gzip" : coding == UNPACK_ZSTD ? "zstd" : "identity";
}

static bool ready(struct unpacker *u)
{
	if (u->coding == UNPACK_GZIP) {
		u->gzip.zalloc = zlib_alloc;
		u->gzip.zfree = zlib_free;
		return inflateInit2(&u->gzip, GZIP_WINDOW_BITS) == Z_OK;
	}
	u->zstd = ZSTD_createDCtx();
	return u->zstd && !ZSTD_isError(ZSTD_DCtx_setParameter(u->zstd, ZSTD_d_windowLogMax,
							       UNPACK_ZSTD_WINDOW_LOG_MAX));
}

int unpacker_new(enum unpack_coding coding, const struct unpack_limits *limits, struct unpacker **out)
{
	struct unpacker *u = mem_zalloc(1, sizeof(*u));

	CHECK(coding != UNPACK_NONE);
	if (!u)
		return ERR_NOMEM;
	u->coding = coding;
	u->limits = *limits;
	if (!ready(u)) {
		ZSTD_freeDCtx(u->zstd);
		mem_free(u);
		return ERR_NOMEM;
	}
	*out = u;
	return 0;
}

void unpacker_free(struct unpacker *u)
{
	if (!u)
		return;
	if (u->coding == UNPACK_GZIP)
		(void)inflateEnd(&u->gzip);
	ZSTD_freeDCtx(u->zstd);
	mem_free(u);
}

static int check_bounds(const struct unpacker *u, struct fault *fault)
{
	if (u->limits.bytes_max && u->plain > u->limits.bytes_max)
		return fault_set(fault, ERR_BODY_TOO_LARGE, "The unpacked bytes are over the limit of %llu",
				 (unsigned long long)u->limits.bytes_max);
	if (u->limits.ratio_max && u->plain > RATIO_FREE_BYTES && u->plain / u->limits.ratio_max > u->packed)
		return fault_set(fault, ERR_BODY_TOO_LARGE,
				 "The bytes unpack to more than %u times their size", u->limits.ratio_max);
	return 0;
}

static int no_memory(struct fault *fault)
{
	return fault_set(fault, ERR_NOMEM, "There is no memory to unpack");
}

static int gzip_failed(const struct unpacker *u, int rc, struct fault *fault)
{
	if (rc == Z_MEM_ERROR)
		return no_memory(fault);
	return fault_set(fault, ERR_BAD_ENCODING, "What should be gzip is broken at byte %llu: %s",
			 (unsigned long long)u->packed, u->gzip.msg ? u->gzip.msg : "broken data");
}

/* One call of zlib: *took and *gave, or an error. */
static int gzip_step(struct unpacker *u, struct slice in, uint8_t *to, size_t room, size_t *took,
		     size_t *gave, struct fault *fault)
{
	uInt in_len = in.len > UINT32_MAX ? UINT32_MAX : (uInt)in.len;
	uInt out_len = room > UINT32_MAX ? UINT32_MAX : (uInt)room;
	int rc;

	if (!u->inside && in.len > 0) { /* another member, or the first */
		if (inflateReset(&u->gzip) != Z_OK)
			return no_memory(fault);
		u->inside = true;
	}
	u->gzip.next_in = (Bytef *)(uintptr_t)in.ptr;
	u->gzip.avail_in = in_len;
	u->gzip.next_out = to;
	u->gzip.avail_out = out_len;
	rc = u->inside ? inflate(&u->gzip, Z_NO_FLUSH) : Z_OK;
	*took = in_len - u->gzip.avail_in;
	*gave = out_len - u->gzip.avail_out;
	u->packed += *took;
	if (rc == Z_STREAM_END)
		u->inside = false;
	else if (rc != Z_OK && rc != Z_BUF_ERROR)
		return gzip_failed(u, rc, fault);
	return 0;
}

/*
 * The first byte of a frame's magic number, or of a skippable frame's. The library also reads what
 * zstd wrote before its format was settled (0x1e to 0x27), and that depends on how it is cut.
 */
static bool begins_zstd(uint8_t byte)
{
	return byte == 0x28 || (byte & 0xf0) == 0x50;
}

static int zstd_step(struct unpacker *u, struct slice in, uint8_t *to, size_t room, size_t *took,
		     size_t *gave, struct fault *fault)
{
	ZSTD_inBuffer source = {.src = in.ptr, .size = in.len};
	ZSTD_outBuffer sink = {.dst = to, .size = room};
	size_t left;

	*took = 0;
	*gave = 0;
	if (!u->inside && in.len == 0)
		return 0;
	if (!u->inside && !begins_zstd(in.ptr[0]))
		return fault_set(fault, ERR_BAD_ENCODING,
				 "What should be zstd is broken at byte %llu: no frame begins there",
				 (unsigned long long)u->packed + 1);
	left = ZSTD_decompressStream(u->zstd, &sink, &source);
	*took = source.pos;
	*gave = sink.pos;
	u->packed += *took;
	if (ZSTD_getErrorCode(left) == ZSTD_error_memory_allocation)
		return no_memory(fault);
	if (ZSTD_isError(left))
		return fault_set(fault, ERR_BAD_ENCODING, "What should be zstd is broken at byte %llu: %s",
				 (unsigned long long)u->packed, ZSTD_getErrorName(left));
	u->inside = left != 0;
	return 0;
}

int64_t unpacker_next(struct unpacker *u, struct slice *in, uint8_t *to, size_t room, struct fault *fault)
{
	size_t took = 0, gave = 0;
	int rc;

	do {
		rc = u->coding == UNPACK_GZIP ? gzip_step(u, *in, to, room, &took, &gave, fault) :
						zstd_step(u, *in, to, room, &took, &gave, fault);
		if (rc)
			return rc;
		*in = slice_from(*in, took);
		u->plain += gave;
	} while (gave == 0 && (in->len > 0 && took > 0));
	if (gave == 0 && in->len > 0)
		return fault_set(fault, ERR_BAD_ENCODING, "What should be %s makes no progress at byte %llu",
				 unpack_coding_text(u->coding), (unsigned long long)u->packed);
	rc = check_bounds(u, fault);
	return rc ? rc : (int64_t)gave;
}

int unpacker_end(const struct unpacker *u, struct fault *fault)
{
	if (!u->inside && u->packed > 0)
		return 0;
	return fault_set(fault, ERR_BAD_ENCODING, "What should be %s ends too early, after %llu bytes",
			 unpack_coding_text(u->coding), (unsigned long long)u->packed);
}
