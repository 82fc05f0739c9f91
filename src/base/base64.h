/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BASE_BASE64_H
#define WEIR_BASE_BASE64_H

#include "base/slice.h"

/*
 * Base64 as RFC 4648 has it: the standard alphabet always padded (section 4),
 * the URL-safe one never (section 5). Decoding is strict, so that one value has
 * one text: no line breaks, no blanks, no missing or extra padding, and the bits
 * past the last byte are zero (section 3.5).
 */
enum base64_form {
	BASE64_STANDARD, /* "+/", padded */
	BASE64_URL,      /* "-_", not padded */
};

/* Characters that base64_encode writes for n bytes; n is at most SIZE_MAX / 2. */
size_t base64_encoded_len(enum base64_form form, size_t n);

/*
 * Writes the text of `bytes` to `text`, which has room for base64_encoded_len
 * characters, without a NUL; gives the count. Borrows both.
 */
size_t base64_encode(enum base64_form form, struct slice bytes, char *text);

/* The most bytes that base64_decode writes for a text of n characters. */
size_t base64_decoded_max(size_t n);

/*
 * Decodes a whole text into `bytes`, which has room for base64_decoded_max, and
 * sets *len. `bytes` may be the memory of the text itself. Errors: ERR_MALFORMED,
 * then what `bytes` holds is undefined and *len untouched.
 */
int base64_decode(enum base64_form form, struct slice text, uint8_t *bytes, size_t *len);

#endif
