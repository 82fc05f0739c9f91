/* SPDX-License-Identifier: Apache-2.0 */
#include "connect/websocket/match.h"

#include "json/pointer.h"

static struct slice pointer_of(struct slice text)
{
	const uint8_t *end = text.len ? memchr(text.ptr, '=', text.len) : NULL;

	return end ? slice_make(text.ptr, (size_t)(end - text.ptr)) : text;
}

bool match_valid(struct slice text)
{
	return text.len > 0 && text.ptr[0] == '/' && json_pointer_valid(pointer_of(text));
}

bool match_holds(struct slice text, struct slice doc, struct arena *arena)
{
	struct slice pointer = pointer_of(text), wanted, found;
	struct json_value v;

	if (json_pointer_find(doc, pointer, &v) != 1)
		return false;
	if (pointer.len == text.len)
		return v.kind != JSON_NULL;
	wanted = slice_from(text, pointer.len + 1);
	found = v.raw;
	if (v.kind == JSON_STRING && json_text(v.raw, arena, &found))
		return false;
	return slice_eq(found, wanted);
}
