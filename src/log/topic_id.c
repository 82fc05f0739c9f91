/* SPDX-License-Identifier: Apache-2.0 */
#include "log/topic_id.h"

static bool is_dash(size_t at)
{
	return at == 8 || at == 13 || at == 18 || at == 23;
}

void topic_id_text(const struct topic_id *id, char *out)
{
	static const char digits[] = "0123456789abcdef";
	size_t at = 0;

	for (size_t i = 0; i < sizeof(id->bytes); i++) {
		if (is_dash(at))
			out[at++] = '-';
		out[at++] = digits[id->bytes[i] >> 4];
		out[at++] = digits[id->bytes[i] & 15];
	}
	out[at] = '\0';
}

static int digit_value(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

bool topic_id_parse(struct slice text, struct topic_id *out)
{
	size_t at = 0;

	if (text.len != 36)
		return false;
	for (size_t i = 0; i < sizeof(out->bytes); i++) {
		int high, low;
		if (is_dash(at) && text.ptr[at++] != '-')
			return false;
		high = digit_value(text.ptr[at++]);
		low = digit_value(text.ptr[at++]);
		if (high < 0 || low < 0)
			return false;
		out->bytes[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}
