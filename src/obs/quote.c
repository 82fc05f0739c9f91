/* SPDX-License-Identifier: Apache-2.0 */
#include "obs/quote.h"

#include "base/utf8.h"

/* The well-formed UTF-8 sequence that text begins with: its bytes, or 0. */
static size_t sequence_len(struct slice text)
{
	uint8_t first = text.ptr[0];
	size_t n = first < 0x80 ? 1 : first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;

	if (text.len < n || !utf8_valid(slice_make(text.ptr, n)))
		return 0;
	return n;
}

static size_t put(char *piece, const char *text)
{
	size_t n = strlen(text);

	memcpy(piece, text, n);
	return n;
}

/* Writes what stands for the first character of text (at most 6 bytes), and tells how much of text it is. */
static size_t escape_one(char *piece, struct slice text, size_t *taken)
{
	static const char digits[] = "0123456789abcdef";
	uint8_t c = text.ptr[0];

	*taken = sequence_len(text);
	if (*taken == 0) {
		*taken = 1;
		return put(piece, "\xef\xbf\xbd");
	}
	if (c == '"')
		return put(piece, "\\\"");
	if (c == '\\')
		return put(piece, "\\\\");
	if (c == '\n')
		return put(piece, "\\n");
	if (c == '\t')
		return put(piece, "\\t");
	if (c < 0x20 || c == 0x7f) {
		size_t n = put(piece, "\\u00");

		piece[n] = digits[c >> 4];
		piece[n + 1] = digits[c & 15];
		return n + 2;
	}
	memcpy(piece, text.ptr, *taken);
	return *taken;
}

size_t quote_escape(char *out, size_t room, struct slice text, bool *cut)
{
	size_t len = 0;

	while (text.len > 0) {
		char piece[8];
		size_t taken, n = escape_one(piece, text, &taken);

		if (n > room - len) {
			*cut = true;
			break;
		}
		memcpy(out + len, piece, n);
		len += n;
		text = slice_from(text, taken);
	}
	return len;
}
