/* SPDX-License-Identifier: Apache-2.0 */
#include "connect/http/position.h"

#include <stddef.h>

#include "json/json.h"
#include "json/json_write.h"

enum member_kind { MEMBER_BOOL, MEMBER_U64, MEMBER_I64, MEMBER_TEXT };

/* The members of the checkpoint. One that is 0, false or null is left out. */
static const struct member {
	const char *name;
	enum member_kind kind;
	size_t offset;
} members[] = {
	{"running", MEMBER_BOOL, offsetof(struct position, running)},
	{"page", MEMBER_U64, offsetof(struct position, page)},
	{"offset", MEMBER_U64, offsetof(struct position, offset)},
	{"pages", MEMBER_U64, offsetof(struct position, pages)},
	{"skip", MEMBER_U64, offsetof(struct position, skip)},
	{"skip_hash", MEMBER_U64, offsetof(struct position, skip_hash)},
	{"body_hash", MEMBER_U64, offsetof(struct position, body_hash)},
	{"loop_hash", MEMBER_U64, offsetof(struct position, loop_hash)},
	{"from_ms", MEMBER_I64, offsetof(struct position, from_ms)},
	{"to_ms", MEMBER_I64, offsetof(struct position, to_ms)},
	{"cursor", MEMBER_TEXT, offsetof(struct position, cursor)},
	{"next", MEMBER_TEXT, offsetof(struct position, next)},
	{"last", MEMBER_TEXT, offsetof(struct position, last)},
	{"last_now", MEMBER_TEXT, offsetof(struct position, last_now)},
	{"etag", MEMBER_TEXT, offsetof(struct position, etag)},
	{"modified", MEMBER_TEXT, offsetof(struct position, modified)},
};

#define MEMBER_COUNT (sizeof(members) / sizeof(members[0]))

static const struct member *find_member(struct slice name)
{
	for (size_t i = 0; i < MEMBER_COUNT; i++)
		if (json_name_is(name, members[i].name))
			return &members[i];
	return NULL;
}

static int read_value(const struct member *m, struct json_value v, struct arena *arena, struct position *out)
{
	void *at = (uint8_t *)out + m->offset;
	struct slice text;
	int rc;

	if (m->kind == MEMBER_BOOL)
		return json_bool(v, at);
	if (m->kind == MEMBER_U64)
		return json_u64(v, at);
	if (m->kind == MEMBER_I64)
		return json_i64(v, at);
	if (v.kind != JSON_STRING)
		return ERR_BAD_JSON;
	rc = json_text(v.raw, arena, &text);
	if (rc < 0)
		return rc;
	text = arena_copy(arena, text);
	*(struct slice *)at = text;
	return text.ptr ? 0 : ERR_NOMEM;
}

int position_read(struct slice bytes, struct arena *arena, struct position *out, struct fault *fault)
{
	struct json_cursor c;
	struct slice name;
	int rc = 0;

	memset(out, 0, sizeof(*out));
	if (bytes.len == 0)
		return 0;
	json_cursor_init(&c, bytes);
	(void)json_object_begin(&c);
	while (rc == 0 && json_object_next(&c, &name)) {
		const struct member *m = find_member(name);
		struct json_value v;

		rc = m ? json_take(&c, &v) : ERR_BAD_JSON;
		if (rc == 0)
			rc = read_value(m, v, arena, out);
	}
	if (rc == 0)
		rc = json_end(&c);
	if (rc == ERR_NOMEM)
		return fault_set(fault, ERR_NOMEM, "There is no memory for the checkpoint");
	return rc == 0 ?
		       0 :
		       fault_set(fault, ERR_CORRUPT,
				 "The checkpoint of this part is none that this version of the type http has "
				 "written; weir source reset begins anew");
}

int position_write(const struct position *p, struct buf *out)
{
	json_put_open(out, '{');
	for (size_t i = 0; i < MEMBER_COUNT; i++) {
		const struct member *m = &members[i];
		const void *at = (const uint8_t *)p + m->offset;

		if (m->kind == MEMBER_BOOL && *(const bool *)at)
			json_put_member_bool(out, m->name, true);
		else if (m->kind == MEMBER_U64 && *(const uint64_t *)at)
			json_put_member_u64(out, m->name, *(const uint64_t *)at);
		else if (m->kind == MEMBER_I64 && *(const int64_t *)at)
			json_put_member_i64(out, m->name, *(const int64_t *)at);
		else if (m->kind == MEMBER_TEXT && ((const struct slice *)at)->ptr)
			json_put_member_string(out, m->name, *(const struct slice *)at);
	}
	json_put_close(out, '}');
	return buf_status(out);
}

bool position_greater(struct slice a, struct slice b)
{
	struct json_value va = {JSON_NUMBER, a}, vb = {JSON_NUMBER, b};
	int64_t ia, ib;
	double da, db;

	if (!a.ptr || !b.ptr)
		return a.ptr != NULL;
	if (json_valid(a, NULL) == 0 && json_valid(b, NULL) == 0) {
		if (json_i64(va, &ia) == 0 && json_i64(vb, &ib) == 0)
			return ia > ib;
		if (json_double(va, &da) == 0 && json_double(vb, &db) == 0)
			return da > db;
	}
	return slice_cmp(a, b) > 0;
}
