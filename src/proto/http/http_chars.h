/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_PROTO_HTTP_HTTP_CHARS_H
#define WEIR_PROTO_HTTP_HTTP_CHARS_H

#include "base/slice.h"

/*
 * Classes of bytes, for the files of this folder alone. One table, a bit a
 * class: a lookup is a load and a test.
 */
enum http_char {
	HTTP_TCHAR = 1,      /* of a token: RFC 9110 5.6.2 */
	HTTP_TARGET = 2,     /* of a request target */
	HTTP_UNRESERVED = 4, /* RFC 3986 2.3 */
	HTTP_HOST = 8,       /* of a registered name or IPv4 address */
	HTTP_DIGIT = 16,
	HTTP_FORBIDDEN = 32, /* in a line: all controls but tab */
};

extern const uint8_t http_chars[256];

/* Value of a hexadecimal digit, 0xff for any other byte. */
extern const uint8_t http_hex[256];

static inline bool http_is(uint8_t byte, enum http_char kind)
{
	return (http_chars[byte] & kind) != 0;
}

/*
 * The first control character other than tab in [at, end), or end. Sixteen
 * bytes a step where the processor has SSE2 (all x86-64), eight elsewhere.
 */
const uint8_t *http_find_control(const uint8_t *at, const uint8_t *end);

#endif
