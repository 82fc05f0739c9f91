/* SPDX-License-Identifier: Apache-2.0 */
#include "ingest/key.h"

#include "base/utf8.h"

int key_check(struct slice key, struct fault *fault)
{
	if (key.len == 0)
		return fault_set(fault, ERR_BAD_KEY, "The idempotency key is empty: expected 1 to 256 bytes");
	if (key.len > KEY_BYTES_MAX)
		return fault_set(fault, ERR_BAD_KEY,
				 "The idempotency key has %zu bytes: at most 256 are allowed", key.len);
	for (size_t i = 0; i < key.len; i++)
		if (key.ptr[i] < 0x20 || key.ptr[i] == 0x7f)
			return fault_set(fault, ERR_BAD_KEY, "The idempotency key holds a control character");
	if (!utf8_valid(key))
		return fault_set(fault, ERR_BAD_KEY, "The idempotency key is not UTF-8");
	return 0;
}

static int undo_quotes(struct slice value, struct arena *arena, struct slice *key, struct fault *fault)
{
	uint8_t *to = arena_alloc(arena, value.len);
	size_t n = 0;

	if (!to)
		return fault_set(fault, ERR_NOMEM, "There is no memory for the idempotency key");
	for (size_t i = 1; i < value.len; i++) {
		uint8_t c = value.ptr[i];
		if (c == '"' && i + 1 == value.len) {
			*key = slice_make(to, n);
			return 0;
		}
		if (c == '"')
			return fault_set(fault, ERR_BAD_KEY,
					 "Idempotency-Key goes on behind its closing quote");
		if (c == '\\') {
			c = ++i < value.len ? value.ptr[i] : 0;
			if (c != '"' && c != '\\')
				return fault_set(
					fault, ERR_BAD_KEY,
					"Idempotency-Key has a backslash that escapes neither quote nor backslash");
		}
		to[n++] = c;
	}
	return fault_set(fault, ERR_BAD_KEY, "Idempotency-Key has no closing quote");
}

int key_from_header(struct slice value, struct arena *arena, struct slice *key, struct fault *fault)
{
	int rc;

	value = slice_trim(value);
	*key = value;
	if (value.len && value.ptr[0] == '"') {
		rc = undo_quotes(value, arena, key, fault);
		if (rc)
			return rc;
	}
	return key_check(*key, fault);
}
