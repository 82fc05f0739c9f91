/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/http/http_chars.h"
#include "proto/http/http_head.h"

/*
 * Bodies (RFC 9112 6 and 7). Data is given as slices of the input; the framing
 * of chunks is read a byte at a time, one state a byte, since it is a few bytes
 * beside the data and may be cut anywhere.
 *
 * Extensions and trailers are checked, counted and forgotten: nobody asks for
 * them, and a trailer that is merged into the fields is how requests are
 * smuggled. Their sum over a body is bounded, so that chunks of one byte with
 * long extensions cannot make a small body cost much.
 */
enum body_state {
	BODY_ENDED,     /* 0: http_body_ended looks for it */
	BODY_PLAIN,     /* by length, or until the peer closes */
	BODY_SIZE,      /* digits of a chunk size */
	BODY_EXTENSION, /* start of an extension's name */
	BODY_EXTENSION_NAME,
	BODY_EXTENSION_VALUE, /* start of its value */
	BODY_EXTENSION_TOKEN,
	BODY_EXTENSION_QUOTED,
	BODY_EXTENSION_ESCAPE,
	BODY_EXTENSION_END, /* behind a quoted value */
	BODY_SIZE_LF,
	BODY_CHUNK,
	BODY_CHUNK_CR,
	BODY_CHUNK_LF,
	BODY_TRAILER, /* start of a trailer line, or the last CR */
	BODY_TRAILER_NAME,
	BODY_TRAILER_VALUE,
	BODY_TRAILER_LF,
	BODY_LAST_LF,
	BODY_FAILED,
};

#define CHUNK_DIGITS_MAX 16u

void http_body_init(struct http_body *b, enum http_body_kind kind, uint64_t content_length)
{
	*b = (struct http_body){.kind = (uint8_t)kind, .state = BODY_PLAIN};
	if (kind == HTTP_BODY_LENGTH)
		b->left = content_length;
	if (kind == HTTP_BODY_CHUNKED)
		b->state = BODY_SIZE;
	if (kind == HTTP_BODY_NONE || (kind == HTTP_BODY_LENGTH && content_length == 0))
		b->state = BODY_ENDED;
}

static int fail(struct http_body *b, const char **detail, const char *why)
{
	b->state = BODY_FAILED;
	return http_refuse(detail, ERR_MALFORMED, why);
}

static int count_framing(struct http_body *b, const char **detail)
{
	if (++b->framing > HTTP_BODY_FRAMING_MAX)
		return fail(b, detail, "The chunk extensions and trailers of the body are over their limit");
	return 0;
}

static int end_of_size(struct http_body *b, uint8_t byte, const char **detail)
{
	if (b->digits == 0)
		return fail(b, detail, "A chunk does not begin with its size in hexadecimal");
	if (byte == '\r') {
		b->state = BODY_SIZE_LF;
		return 0;
	}
	if (byte == ' ' || byte == '\t')
		return fail(b, detail,
			    "A chunk size is followed by a blank; CRLF or an extension must come at once");
	if (byte != ';')
		return fail(b, detail, "A chunk size has a character that is no hexadecimal digit");
	b->state = BODY_EXTENSION;
	return count_framing(b, detail);
}

static int take_size(struct http_body *b, uint8_t byte, const char **detail)
{
	uint8_t digit = http_hex[byte];

	if (digit == 0xff)
		return end_of_size(b, byte, detail);
	if (++b->digits > CHUNK_DIGITS_MAX || b->left > (uint64_t)INT64_MAX >> 4)
		return fail(b, detail, "A chunk size is too large");
	b->left = b->left << 4 | digit;
	return 0;
}

/* Behind a name or a value that is whole. */
static int end_of_extension(struct http_body *b, uint8_t byte, const char **detail)
{
	if (byte == '\r') {
		b->state = BODY_SIZE_LF;
		return 0;
	}
	if (byte != ';')
		return fail(b, detail, "A chunk extension must be ;name or ;name=value, without blanks");
	b->state = BODY_EXTENSION;
	return count_framing(b, detail);
}

/* A token, of which at least one character must come: the first moves on to `then`. */
static int take_token(struct http_body *b, uint8_t byte, enum body_state then, const char **detail)
{
	if (!http_is(byte, HTTP_TCHAR))
		return end_of_extension(b, b->state == then ? byte : ' ', detail);
	b->state = (uint8_t)then;
	return count_framing(b, detail);
}

/* RFC 9112 7.1.1, without the blanks that it calls bad, and text in ASCII only: as node has it, too. */
static int take_extension(struct http_body *b, uint8_t byte, const char **detail)
{
	switch ((enum body_state)b->state) {
	case BODY_EXTENSION:
		return take_token(b, byte, BODY_EXTENSION_NAME, detail);
	case BODY_EXTENSION_NAME:
		if (byte != '=')
			return take_token(b, byte, BODY_EXTENSION_NAME, detail);
		b->state = BODY_EXTENSION_VALUE;
		return count_framing(b, detail);
	case BODY_EXTENSION_VALUE:
		if (byte != '"')
			return take_token(b, byte, BODY_EXTENSION_TOKEN, detail);
		b->state = BODY_EXTENSION_QUOTED;
		return count_framing(b, detail);
	case BODY_EXTENSION_TOKEN:
		return take_token(b, byte, BODY_EXTENSION_TOKEN, detail);
	default:
		return end_of_extension(b, byte, detail);
	}
}

static int take_quoted(struct http_body *b, uint8_t byte, const char **detail)
{
	bool escaped = b->state == BODY_EXTENSION_ESCAPE;

	if (byte >= 0x7f || byte < 0x20)
		return fail(b, detail, "The text of a chunk extension has a character that is not allowed");
	b->state = BODY_EXTENSION_QUOTED;
	if (!escaped && byte == '"')
		b->state = BODY_EXTENSION_END;
	if (!escaped && byte == '\\')
		b->state = BODY_EXTENSION_ESCAPE;
	return count_framing(b, detail);
}

static int take_size_lf(struct http_body *b, uint8_t byte, const char **detail)
{
	if (byte != '\n')
		return fail(b, detail, "A chunk size has a CR that is not followed by LF");
	b->digits = 0;
	b->state = b->left ? BODY_CHUNK : BODY_TRAILER;
	return 0;
}

/* Of a trailer's name, kept in `left`, which nothing else needs by now. */
static uint64_t name_hash(uint64_t hash, uint8_t byte)
{
	return hash * 0x100000001b3u + (byte | 0x20) + 1;
}

static bool is_name(uint64_t hash, const char *name)
{
	uint64_t want = 0;

	for (; *name; name++)
		want = name_hash(want, (uint8_t)*name);
	return hash == want;
}

static int take_trailer_name(struct http_body *b, uint8_t byte, const char **detail)
{
	if (byte != ':') {
		if (!http_is(byte, HTTP_TCHAR))
			return fail(b, detail, "A trailer field has no colon right behind its name");
		b->left = name_hash(b->left, byte);
		return count_framing(b, detail);
	}
	if (is_name(b->left, "content-length") || is_name(b->left, "transfer-encoding"))
		return fail(b, detail, "A trailer field would change the framing of the body");
	b->left = 0;
	b->state = BODY_TRAILER_VALUE;
	return count_framing(b, detail);
}

static int take_trailer(struct http_body *b, uint8_t byte, const char **detail)
{
	if (byte == '\r') {
		b->state = BODY_LAST_LF;
		return 0;
	}
	if (!http_is(byte, HTTP_TCHAR))
		return fail(b, detail, "A trailer line does not begin with a field name");
	if (++b->trailers > HTTP_BODY_TRAILERS_MAX)
		return fail(b, detail, "The body has too many trailer fields");
	b->state = BODY_TRAILER_NAME;
	return take_trailer_name(b, byte, detail);
}

static int take_trailer_value(struct http_body *b, uint8_t byte, const char **detail)
{
	if (byte == '\r') {
		b->state = BODY_TRAILER_LF;
		return 0;
	}
	if (http_is(byte, HTTP_FORBIDDEN))
		return fail(b, detail, "A trailer field has a control character");
	return count_framing(b, detail);
}

static int take_exactly(struct http_body *b, uint8_t byte, uint8_t want, enum body_state then,
			const char **detail)
{
	if (byte != want)
		return fail(b, detail, "A chunk or a trailer line does not end in CRLF in its place");
	b->state = (uint8_t)then;
	return 0;
}

static int take_framing(struct http_body *b, uint8_t byte, const char **detail)
{
	switch ((enum body_state)b->state) {
	case BODY_SIZE:
		return take_size(b, byte, detail);
	case BODY_EXTENSION:
	case BODY_EXTENSION_NAME:
	case BODY_EXTENSION_VALUE:
	case BODY_EXTENSION_TOKEN:
	case BODY_EXTENSION_END:
		return take_extension(b, byte, detail);
	case BODY_EXTENSION_QUOTED:
	case BODY_EXTENSION_ESCAPE:
		return take_quoted(b, byte, detail);
	case BODY_SIZE_LF:
		return take_size_lf(b, byte, detail);
	case BODY_CHUNK_CR:
		return take_exactly(b, byte, '\r', BODY_CHUNK_LF, detail);
	case BODY_CHUNK_LF:
		return take_exactly(b, byte, '\n', BODY_SIZE, detail);
	case BODY_TRAILER:
		return take_trailer(b, byte, detail);
	case BODY_TRAILER_NAME:
		return take_trailer_name(b, byte, detail);
	case BODY_TRAILER_VALUE:
		return take_trailer_value(b, byte, detail);
	case BODY_TRAILER_LF:
		return take_exactly(b, byte, '\n', BODY_TRAILER, detail);
	case BODY_LAST_LF:
		return take_exactly(b, byte, '\n', BODY_ENDED, detail);
	case BODY_ENDED:
	case BODY_PLAIN:
	case BODY_CHUNK:
	case BODY_FAILED:
		break;
	}
	return fail(b, detail, "The body was refused before");
}

static int give_data(struct http_body *b, struct slice *bytes, struct slice *data)
{
	size_t n = bytes->len;

	if (b->kind != HTTP_BODY_TO_END) {
		if (n > b->left)
			n = (size_t)b->left;
		b->left -= n;
		if (b->left == 0)
			b->state = b->kind == HTTP_BODY_CHUNKED ? BODY_CHUNK_CR : BODY_ENDED;
	}
	b->bytes += n;
	*data = slice_make(bytes->ptr, n);
	*bytes = slice_from(*bytes, n);
	return HTTP_BODY_DATA;
}

int http_body_next(struct http_body *b, struct slice *bytes, struct slice *data, const char **detail)
{
	while (b->state != BODY_ENDED && bytes->len > 0) {
		int r;

		if (b->state == BODY_PLAIN || b->state == BODY_CHUNK)
			return give_data(b, bytes, data);
		r = take_framing(b, bytes->ptr[0], detail);
		if (r < 0)
			return r;
		*bytes = slice_from(*bytes, 1);
	}
	return b->state == BODY_ENDED ? HTTP_BODY_END : HTTP_BODY_MORE;
}

int http_body_eof(struct http_body *b, const char **detail)
{
	if (b->state == BODY_PLAIN && b->kind == HTTP_BODY_TO_END)
		b->state = BODY_ENDED;
	if (b->state == BODY_ENDED)
		return HTTP_BODY_END;
	return fail(b, detail, "The connection ended before the body did");
}
