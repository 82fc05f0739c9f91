/* SPDX-License-Identifier: Apache-2.0 */
#include "json/json_pointer.h"

int json_pointer_check(struct slice pointer, struct fault *fault)
{
	if (pointer.len && pointer.ptr[0] != '/')
		return fault_set(fault, ERR_BAD_PARAMETER,
				 "a JSON pointer is empty or begins with /, as in /order/id");
	for (size_t i = 0; i < pointer.len; i++)
		if (pointer.ptr[i] == '~' &&
		    (i + 1 == pointer.len || (pointer.ptr[i + 1] != '0' && pointer.ptr[i + 1] != '1')))
			return fault_set(fault, ERR_BAD_PARAMETER,
					 "in a JSON pointer ~ is written ~0, and / within a name ~1");
	return 0;
}

/* The reference token at the front, taken off with its slash. */
static struct slice take_token(struct slice *pointer)
{
	struct slice rest = slice_from(*pointer, 1);
	size_t n = 0;

	while (n < rest.len && rest.ptr[n] != '/')
		n++;
	*pointer = slice_from(rest, n);
	return slice_make(rest.ptr, n);
}

static bool is_token(struct slice token, struct slice name)
{
	size_t at = 0;

	for (size_t i = 0; i < token.len; i++) {
		uint8_t c = token.ptr[i];
		if (c == '~')
			c = token.ptr[++i] == '0' ? '~' : '/';
		if (at == name.len || name.ptr[at++] != c)
			return false;
	}
	return at == name.len;
}

/* 1 with the cursor in front of the value, 0, or an error. */
static int enter_member(struct json_cursor *c, struct slice token, struct arena *arena)
{
	struct slice raw, name;

	json_object_begin(c);
	while (json_object_next(c, &raw)) {
		int rc = json_text(raw, arena, &name);
		if (rc == ERR_NOMEM)
			return rc;
		if (rc == 0 && is_token(token, name))
			return 1;
		json_skip(c);
	}
	return c->status;
}

static int enter_item(struct json_cursor *c, struct slice token)
{
	uint64_t index;

	if (!slice_to_u64(token, &index) || (token.len > 1 && token.ptr[0] == '0'))
		return 0;
	json_array_begin(c);
	for (uint64_t i = 0; json_array_next(c); i++) {
		if (i == index)
			return 1;
		json_skip(c);
	}
	return c->status;
}

int json_pointer_find(struct slice doc, struct slice pointer, struct arena *arena, struct json_value *out)
{
	struct json_cursor c;

	json_cursor_init(&c, doc);
	while (pointer.len) {
		struct slice token = take_token(&pointer);
		enum json_kind kind = json_peek(&c);
		int rc = c.status;
		if (rc == 0 && kind == JSON_OBJECT)
			rc = enter_member(&c, token, arena);
		else if (rc == 0 && kind == JSON_ARRAY)
			rc = enter_item(&c, token);
		if (rc != 1)
			return rc;
	}
	return json_take(&c, out) ? ERR_BAD_JSON : 1;
}
