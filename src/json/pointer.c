/* SPDX-License-Identifier: Apache-2.0 */
#include "json/pointer.h"

#define NAMES_TOLD_MAX 8u
#define NAME_BYTES_MAX 256u

bool json_pointer_valid(struct slice pointer)
{
	if (pointer.len > 0 && pointer.ptr[0] != '/')
		return false;
	for (size_t i = 0; i < pointer.len; i++)
		if (pointer.ptr[i] == '~' &&
		    (i + 1 == pointer.len || (pointer.ptr[i + 1] != '0' && pointer.ptr[i + 1] != '1')))
			return false;
	return true;
}

/* Takes the next token off the pointer, escapes undone, NUL behind it. False where it is too long for any name. */
static bool next_token(struct slice *pointer, char name[NAME_BYTES_MAX])
{
	size_t n = 0, i = 1;

	for (; i < pointer->len && pointer->ptr[i] != '/'; i++) {
		char c = (char)pointer->ptr[i];

		if (c == '~' && i + 1 < pointer->len)
			c = pointer->ptr[++i] == '1' ? '/' : '~';
		if (n + 1 == NAME_BYTES_MAX)
			return false;
		name[n++] = c;
	}
	name[n] = '\0';
	*pointer = slice_from(*pointer, i);
	return true;
}

/* 1, 0, ERR_BAD_JSON. */
static int find_member(struct slice object, const char *wanted, struct json_value *out)
{
	struct json_cursor c;
	struct slice name;

	json_cursor_init(&c, object);
	(void)json_object_begin(&c);
	while (json_object_next(&c, &name)) {
		if (json_name_is(name, wanted))
			return json_take(&c, out) == 0 ? 1 : ERR_BAD_JSON;
		(void)json_skip(&c);
	}
	return c.status;
}

static int find_item(struct slice array, const char *wanted, struct json_value *out)
{
	struct json_cursor c;
	uint64_t index;

	if (!slice_to_u64(slice_str(wanted), &index) || (wanted[0] == '0' && wanted[1]))
		return 0;
	json_cursor_init(&c, array);
	(void)json_array_begin(&c);
	for (uint64_t i = 0; json_array_next(&c); i++) {
		if (i == index)
			return json_take(&c, out) == 0 ? 1 : ERR_BAD_JSON;
		(void)json_skip(&c);
	}
	return c.status;
}

/* One step down. */
static int step(struct json_value *v, const char *name)
{
	if (v->kind == JSON_OBJECT)
		return find_member(v->raw, name, v);
	return v->kind == JSON_ARRAY ? find_item(v->raw, name, v) : 0;
}

int json_pointer_find(struct slice doc, struct slice pointer, struct json_value *out)
{
	char name[NAME_BYTES_MAX];
	struct json_cursor c;
	int rc = 1;

	json_cursor_init(&c, doc);
	out->kind = json_peek(&c);
	out->raw = slice_from(doc, json_offset(&c));
	if (pointer.len == 0)
		return json_take(&c, out) == 0 ? 1 : ERR_BAD_JSON;
	if (out->kind != JSON_OBJECT && out->kind != JSON_ARRAY)
		return json_take(&c, out) == 0 ? 0 : ERR_BAD_JSON;
	while (rc == 1 && pointer.len > 0)
		rc = next_token(&pointer, name) ? step(out, name) : 0;
	return rc;
}

static void tell_names(struct slice object, struct buf *out)
{
	struct json_cursor c;
	struct slice name;
	uint32_t n = 0;

	json_cursor_init(&c, object);
	(void)json_object_begin(&c);
	while (json_object_next(&c, &name) && n < NAMES_TOLD_MAX) {
		size_t len = name.len > 2 ? name.len - 2 : 0;

		(void)buf_append_str(out, n++ ? ", " : " with ");
		(void)buf_append(out, name.ptr + 1, len < 40 ? len : 40);
		(void)json_skip(&c);
	}
	if (n == NAMES_TOLD_MAX)
		(void)buf_append_str(out, ", ...");
	if (n == 0)
		(void)buf_append_str(out, " without members");
}

static uint64_t count_items(struct slice array)
{
	struct json_cursor c;
	uint64_t n = 0;

	json_cursor_init(&c, array);
	(void)json_array_begin(&c);
	for (; json_array_next(&c); n++)
		(void)json_skip(&c);
	return n;
}

static void tell_value(const struct json_value *v, struct buf *out)
{
	static const char *const kinds[] = {"null",     "a boolean", "a number",
					    "a string", "an array",  "an object"};

	(void)buf_append_str(out, kinds[v->kind]);
	if (v->kind == JSON_OBJECT)
		tell_names(v->raw, out);
	else if (v->kind == JSON_ARRAY)
		(void)buf_appendf(out, " of %llu", (unsigned long long)count_items(v->raw));
}

void json_pointer_explain(struct slice doc, struct slice pointer, struct buf *out)
{
	struct slice rest = pointer;
	char name[NAME_BYTES_MAX] = "";
	struct json_value v, next;
	size_t passed = 0;

	if (json_pointer_find(doc, slice_null(), &v) != 1)
		return;
	while (rest.len > 0 && next_token(&rest, name)) {
		next = v;
		if (step(&next, name) != 1)
			break;
		v = next;
		passed = pointer.len - rest.len;
	}
	if (passed == 0)
		(void)buf_append_str(out, "the document is ");
	else
		(void)buf_appendf(out, "at '%.*s' is ", (int)(passed < 200 ? passed : 200),
				  (const char *)pointer.ptr);
	tell_value(&v, out);
	(void)buf_appendf(out, "; no '%.60s'", name);
}
