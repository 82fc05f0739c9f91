/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The head and the body of an answer, on their way to the owner.
 *
 *	libcurl ── on_bytes ──┬─ unpacker ─ on_body      a pause stops here: what was taken and not
 *	                      └─ held                    unpacked is held (one read, 16 KiB), and
 *	                                                 libcurl is told to wait with the next piece
 */
#include "net/fetcher_inner.h"

#define DISCARD_BYTES_MAX 65536u

struct slice fetcher_header(struct fetcher_call *c, const char *name, size_t index)
{
	struct curl_header *header;

	if (curl_easy_header(c->easy, name, index, CURLH_HEADER, -1, &header) != CURLHE_OK)
		return slice_null();
	return slice_str(header->value);
}

int call_begin_body(struct fetcher_call *c)
{
	struct unpack_limits limits = {.bytes_max = c->limits.bytes_max, .ratio_max = c->limits.ratio_max};
	int status = call_status(c);
	enum unpack_coding coding;
	curl_off_t length = -1;
	int rc = 0;

	c->begun = true;
	c->discard = (status < 200 || status >= 300) && (!c->bodies || call_is_redirect(status));
	if (c->discard)
		return 0;
	(void)curl_easy_getinfo(c->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
	if (length > 0 && (uint64_t)length > c->limits.bytes_max && strcmp(c->method, "HEAD") != 0) {
		(void)fault_set(&c->fault, ERR_BODY_TOO_LARGE, "the body has %lld bytes, the limit is %llu",
				(long long)length, (unsigned long long)c->limits.bytes_max);
		c->class = FETCHER_FINAL;
		return ERR_BODY_TOO_LARGE;
	}
	if (!unpack_coding_of(fetcher_header(c, "content-encoding", 0), &coding)) {
		call_note(
			c, ERR_BAD_ENCODING, FETCHER_FINAL,
			"the body has a Content-Encoding that was not asked for; expected gzip, zstd or none");
		return ERR_BAD_ENCODING;
	}
	if (coding != UNPACK_NONE)
		rc = unpacker_new(coding, &limits, &c->unpacker);
	if (rc < 0) {
		call_note(c, rc, FETCHER_TRANSIENT, "there is no memory to unpack the body");
		return rc;
	}
	if (c->handler->on_head)
		c->handler->on_head(c->ctx, status);
	return 0;
}

/* Printable bytes of a body that says why there is none. */
static void discard(struct fetcher_call *c, struct slice piece)
{
	for (size_t i = 0; i < piece.len && c->snippet_len < sizeof(c->snippet); i++) {
		bool blank = piece.ptr[i] <= ' ';

		if (blank && (c->snippet_len == 0 || c->snippet[c->snippet_len - 1] == ' '))
			continue;
		c->snippet[c->snippet_len++] = blank ? ' ' : piece.ptr[i] < 0x7f ? (char)piece.ptr[i] : '?';
	}
	c->discarded += piece.len;
}

/* True while the owner takes more. */
static bool is_open(const struct fetcher_call *c)
{
	return !c->paused && c->state != CALL_OVER;
}

int call_deliver(struct fetcher_call *c, struct slice *in)
{
	struct fault why = {0};
	int64_t n;

	if (!c->unpacker) {
		struct slice piece = *in;

		*in = slice_from(*in, in->len);
		c->plain_bytes += piece.len;
		if (piece.len > 0)
			c->handler->on_body(c->ctx, piece);
		return 0;
	}
	while (is_open(c)) {
		n = unpacker_next(c->unpacker, in, c->fetcher->scratch, FETCHER_SCRATCH_BYTES, &why);
		if (n < 0) {
			call_note(c, (int)n, n == ERR_BODY_TOO_LARGE ? FETCHER_FINAL : FETCHER_TRANSIENT,
				  why.text);
			return (int)n;
		}
		c->pending = n > 0;
		if (n == 0)
			return 0;
		c->plain_bytes += (uint64_t)n;
		c->handler->on_body(c->ctx, slice_make(c->fetcher->scratch, (size_t)n));
	}
	return 0;
}

/* Takes a piece that libcurl gives, all of it; 0 or an error that was noted. */
static int take(struct fetcher_call *c, struct slice piece)
{
	int rc;

	c->wire_bytes += piece.len;
	if (!c->discard && c->wire_bytes > c->limits.bytes_max) {
		(void)fault_set(&c->fault, ERR_BODY_TOO_LARGE, "the body is over the limit of %llu bytes",
				(unsigned long long)c->limits.bytes_max);
		c->class = FETCHER_FINAL;
		return ERR_BODY_TOO_LARGE;
	}
	if (c->discard) {
		discard(c, piece);
		return c->discarded > DISCARD_BYTES_MAX ? ERR_LIMIT : 0;
	}
	rc = call_deliver(c, &piece);
	if (rc == 0 && piece.len > 0 && c->state != CALL_OVER && buf_append_slice(&c->held, piece) < 0) {
		call_note(c, ERR_NOMEM, FETCHER_TRANSIENT, "there is no memory to hold the body");
		rc = ERR_NOMEM;
	}
	return rc;
}

size_t call_on_bytes(char *bytes, size_t size, size_t count, void *ctx)
{
	struct fetcher_call *c = ctx;
	size_t len = size * count;

	if (c->state == CALL_OVER || c->fault.err)
		return CURL_WRITEFUNC_ERROR;
	if (c->paused || c->held.len > 0 || c->pending) {
		c->stalled = true;
		return CURL_WRITEFUNC_PAUSE;
	}
	if (!c->begun && call_begin_body(c) < 0)
		return CURL_WRITEFUNC_ERROR;
	if (c->paused) { /* in on_head */
		c->stalled = true;
		return CURL_WRITEFUNC_PAUSE;
	}
	if (c->state == CALL_OVER || take(c, slice_make(bytes, len)) < 0 || c->state == CALL_OVER)
		return CURL_WRITEFUNC_ERROR;
	return len;
}

size_t call_on_head_line(char *bytes, size_t size, size_t count, void *ctx)
{
	struct fetcher_call *c = ctx;
	size_t len = size * count;

	(void)bytes;
	if (len > c->limits.head_bytes_max - c->head_bytes) {
		call_note(c, ERR_HEADER_TOO_LARGE, FETCHER_FINAL, "the head of the answer is over the limit");
		return 0;
	}
	c->head_bytes += (uint32_t)len;
	return len;
}
