/* SPDX-License-Identifier: Apache-2.0 */
#include "base/check.h"
#include "proto/http/http_chars.h"
#include "proto/http/http_head.h"

/*
 * Writers. A head is measured by an upper bound first and written without
 * looking at the room again; that is a few copies for a usual answer.
 */
struct reason_row {
	int status;
	const char *text;
};

static const struct reason_row reasons[] = {
	{100, "Continue"},
	{101, "Switching Protocols"},
	{200, "OK"},
	{201, "Created"},
	{202, "Accepted"},
	{204, "No Content"},
	{206, "Partial Content"},
	{301, "Moved Permanently"},
	{302, "Found"},
	{303, "See Other"},
	{304, "Not Modified"},
	{307, "Temporary Redirect"},
	{308, "Permanent Redirect"},
	{400, "Bad Request"},
	{401, "Unauthorized"},
	{403, "Forbidden"},
	{404, "Not Found"},
	{405, "Method Not Allowed"},
	{406, "Not Acceptable"},
	{408, "Request Timeout"},
	{409, "Conflict"},
	{410, "Gone"},
	{411, "Length Required"},
	{412, "Precondition Failed"},
	{413, "Content Too Large"},
	{414, "URI Too Long"},
	{415, "Unsupported Media Type"},
	{417, "Expectation Failed"},
	{422, "Unprocessable Content"},
	{426, "Upgrade Required"},
	{429, "Too Many Requests"},
	{431, "Request Header Fields Too Large"},
	{500, "Internal Server Error"},
	{501, "Not Implemented"},
	{502, "Bad Gateway"},
	{503, "Service Unavailable"},
	{504, "Gateway Timeout"},
	{505, "HTTP Version Not Supported"},
	{507, "Insufficient Storage"},
};

const char *http_reason(int status)
{
	if (status == 200)
		return "OK";
	for (size_t i = 0; i < sizeof(reasons) / sizeof(reasons[0]); i++)
		if (reasons[i].status == status)
			return reasons[i].text;
	return "Unknown";
}

static uint8_t *put(uint8_t *at, struct slice s)
{
	if (s.len)
		memcpy(at, s.ptr, s.len);
	return at + s.len;
}

static uint8_t *put_u64(uint8_t *at, uint64_t value)
{
	uint8_t digits[20];
	size_t n = 0;

	do {
		digits[n++] = (uint8_t)('0' + value % 10);
		value /= 10;
	} while (value);
	while (n)
		*at++ = digits[--n];
	return at;
}

static uint8_t *put_field(uint8_t *at, struct slice name, struct slice value)
{
	at = put(at, name);
	*at++ = ':';
	*at++ = ' ';
	at = put(at, value);
	*at++ = '\r';
	*at++ = '\n';
	return at;
}

/* Status line, Date, Content-Type's name, the longest framing field, Connection and line ends. */
#define ANSWER_FIXED_BYTES 256u

static size_t fields_bytes(const struct http_header *headers, uint32_t count)
{
	size_t n = 0;

	for (uint32_t i = 0; i < count; i++)
		n += headers[i].name.len + headers[i].value.len + 4;
	return n;
}

size_t http_answer_bytes_max(const struct http_answer *a)
{
	return ANSWER_FIXED_BYTES + a->content_type.len + a->date.len + a->lines.len +
	       fields_bytes(a->headers, a->header_count);
}

static uint8_t *put_framing(uint8_t *at, enum http_framing framing, uint64_t length)
{
	if (framing == HTTP_FRAME_CHUNKED)
		return put(at, SLICE_LIT("Transfer-Encoding: chunked\r\n"));
	if (framing != HTTP_FRAME_LENGTH)
		return at;
	at = put(at, SLICE_LIT("Content-Length: "));
	at = put_u64(at, length);
	return put(at, SLICE_LIT("\r\n"));
}

static uint8_t *put_status_line(uint8_t *at, int status)
{
	if (status == 200)
		return put(at, SLICE_LIT("HTTP/1.1 200 OK\r\n"));
	CHECK(status >= 100 && status <= 999);
	at = put(at, SLICE_LIT("HTTP/1.1 "));
	at = put_u64(at, (uint64_t)status);
	*at++ = ' ';
	at = put(at, slice_str(http_reason(status)));
	return put(at, SLICE_LIT("\r\n"));
}

uint8_t *http_answer_put(uint8_t *at, const struct http_answer *a)
{
	at = put_status_line(at, a->status);
	if (a->date.len)
		at = put_field(at, SLICE_LIT("Date"), a->date);
	if (a->content_type.len)
		at = put_field(at, SLICE_LIT("Content-Type"), a->content_type);
	at = put_framing(at, a->framing, a->length);
	if (a->close)
		at = put(at, SLICE_LIT("Connection: close\r\n"));
	else if (a->keep_alive)
		at = put(at, SLICE_LIT("Connection: keep-alive\r\n"));
	at = put(at, a->lines);
	for (uint32_t i = 0; i < a->header_count; i++)
		at = put_field(at, a->headers[i].name, a->headers[i].value);
	return put(at, SLICE_LIT("\r\n"));
}

int http_answer_append(struct buf *b, const struct http_answer *a)
{
	int r = buf_reserve(b, http_answer_bytes_max(a));

	if (r < 0)
		return r;
	b->len = (size_t)(http_answer_put(b->ptr + b->len, a) - b->ptr);
	return 0;
}

uint8_t *http_chunk_head_put(uint8_t *at, uint64_t n)
{
	static const char hex[] = "0123456789abcdef";
	unsigned digits = n ? (67u - (unsigned)__builtin_clzll(n)) / 4 : 1;

	while (digits--)
		*at++ = (uint8_t)hex[n >> (digits * 4) & 15];
	*at++ = '\r';
	*at++ = '\n';
	return at;
}

struct civil {
	int64_t year;
	unsigned month, day; /* from 1 */
};

/* Days since 1970 to a date of the proleptic Gregorian calendar; after Howard Hinnant's `civil_from_days`. */
static struct civil civil_of(int64_t days)
{
	int64_t z = days + 719468;
	int64_t era = (z >= 0 ? z : z - 146096) / 146097;
	unsigned doe = (unsigned)(z - era * 146097);
	unsigned yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	unsigned doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	unsigned mp = (5 * doy + 2) / 153;
	struct civil c = {.day = doy - (153 * mp + 2) / 5 + 1, .month = mp < 10 ? mp + 3 : mp - 9};

	c.year = era * 400 + yoe + (c.month <= 2);
	return c;
}

static uint8_t *put_2(uint8_t *at, unsigned v)
{
	*at++ = (uint8_t)('0' + v / 10 % 10);
	*at++ = (uint8_t)('0' + v % 10);
	return at;
}

void http_date_put(uint8_t *at, int64_t unix_seconds)
{
	static const char days[] = "ThuFriSatSunMonTueWed"; /* 1970 began on a Thursday */
	static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
	int64_t day = unix_seconds / 86400 - (unix_seconds % 86400 < 0);
	unsigned second = (unsigned)(unix_seconds - day * 86400);
	struct civil c = civil_of(day);

	at = put(at, slice_make(days + ((day % 7 + 7) % 7) * 3, 3));
	at = put(at, SLICE_LIT(", "));
	at = put_2(at, c.day);
	*at++ = ' ';
	at = put(at, slice_make(months + (c.month - 1) * 3, 3));
	*at++ = ' ';
	at = put_2(at, (unsigned)(c.year / 100));
	at = put_2(at, (unsigned)(c.year % 100));
	*at++ = ' ';
	at = put_2(at, second / 3600);
	*at++ = ':';
	at = put_2(at, second / 60 % 60);
	*at++ = ':';
	at = put_2(at, second % 60);
	put(at, SLICE_LIT(" GMT"));
}

static bool target_valid(struct slice s)
{
	for (size_t i = 0; i < s.len; i++)
		if (!http_is(s.ptr[i], HTTP_TARGET))
			return false;
	return s.len > 0;
}

static bool ask_valid(const struct http_ask *ask)
{
	struct slice host;
	int port;

	if (!http_token_valid(ask->method) || !target_valid(ask->target) ||
	    !http_authority_split(ask->host, &host, &port))
		return false;
	for (uint32_t i = 0; i < ask->header_count; i++)
		if (!http_token_valid(ask->headers[i].name) || !http_value_valid(ask->headers[i].value))
			return false;
	return true;
}

int http_ask_append(struct buf *b, const struct http_ask *ask)
{
	uint8_t *at;
	int r;

	if (!ask_valid(ask))
		return ERR_BAD_HEADER;
	r = buf_reserve(b, ask->method.len + ask->target.len + ask->host.len + 128 +
				   fields_bytes(ask->headers, ask->header_count));
	if (r < 0)
		return r;
	at = put(b->ptr + b->len, ask->method);
	*at++ = ' ';
	at = put(at, ask->target);
	at = put(at, SLICE_LIT(" HTTP/1.1\r\n"));
	at = put_field(at, SLICE_LIT("Host"), ask->host);
	at = put_framing(at, ask->framing, ask->length);
	for (uint32_t i = 0; i < ask->header_count; i++)
		at = put_field(at, ask->headers[i].name, ask->headers[i].value);
	at = put(at, SLICE_LIT("\r\n"));
	b->len = (size_t)(at - b->ptr);
	return 0;
}

int http_percent_append(struct buf *b, struct slice text)
{
	static const char hex[] = "0123456789ABCDEF";

	for (size_t i = 0; i < text.len; i++) {
		uint8_t byte = text.ptr[i];
		uint8_t escape[3] = {'%', (uint8_t)hex[byte >> 4], (uint8_t)hex[byte & 15]};

		if (http_is(byte, HTTP_UNRESERVED))
			buf_append_byte(b, byte);
		else
			buf_append(b, escape, sizeof(escape));
	}
	return buf_status(b);
}
