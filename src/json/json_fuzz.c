/* SPDX-License-Identifier: Apache-2.0 */
/*
 * json_valid and simdjson must agree, but for three things: half a surrogate
 * pair and numbers past 64 bits (grammar for us), and nesting between the two
 * limits. A walk must agree with json_valid, also on the place of the error, and
 * strings read must write back.
 */
#include <stdlib.h>

#include "base/check.h"
#include "base/utf8.h"
#include "json/json.h"
#include "json/json_simd.h"
#include "json/json_write.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct walk_state {
	struct json_cursor c;
	struct arena arena;
	struct buf buf;
	bool odd; /* holds what simdjson refuses though the grammar allows it */
};

static void check_string(struct walk_state *w, struct slice raw)
{
	struct slice text, again;

	if (json_text(raw, &w->arena, &text)) {
		w->odd = true;
		return;
	}
	CHECK(utf8_valid(text));
	buf_clear(&w->buf);
	json_put_string(&w->buf, text);
	CHECK(buf_status(&w->buf) == 0);
	CHECK(json_valid(buf_slice(&w->buf), NULL) == 0);
	CHECK(json_text(buf_slice(&w->buf), &w->arena, &again) == 0 && slice_eq(text, again));
}

static void check_number(struct walk_state *w, struct json_value v)
{
	double d;
	uint64_t u;
	int64_t i;

	if (v.raw.len > 18 || memchr(v.raw.ptr, 'e', v.raw.len) || memchr(v.raw.ptr, 'E', v.raw.len))
		w->odd = true;
	if (json_i64(v, &i) == 0)
		CHECK(json_double(v, &d) == 0);
	if (json_u64(v, &u) == 0 && u <= INT64_MAX)
		CHECK(json_i64(v, &i) == 0 && (uint64_t)i == u);
}

static void walk_value(struct walk_state *w)
{
	struct json_value v;
	struct slice name;
	bool yes;

	switch (json_peek(&w->c)) {
	case JSON_OBJECT:
		json_object_begin(&w->c);
		while (json_object_next(&w->c, &name)) {
			check_string(w, name);
			(void)json_name_is(name, "specversion");
			walk_value(w);
		}
		break;
	case JSON_ARRAY:
		json_array_begin(&w->c);
		while (json_array_next(&w->c))
			walk_value(w);
		break;
	default:
		if (json_take(&w->c, &v))
			break;
		if (v.kind == JSON_STRING)
			check_string(w, v.raw);
		else if (v.kind == JSON_NUMBER)
			check_number(w, v);
		else
			CHECK((json_bool(v, &yes) == 0) == (v.kind == JSON_BOOL));
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *exact = malloc(size ? size : 1);
	uint8_t *padded = calloc(1, size + 64);
	struct walk_state w = {.odd = false};
	struct json_error error = {0};
	int rc;

	CHECK(exact && padded);
	if (size) {
		memcpy(exact, data, size);
		memcpy(padded, data, size);
	}
	rc = json_valid(slice_make(exact, size), &error);
	CHECK(rc == 0 || error.at <= size);
	arena_init(&w.arena, 4096, 64u << 20);
	buf_init(&w.buf, 16u << 20);
	json_cursor_init(&w.c, slice_make(exact, size));
	walk_value(&w);
	CHECK(json_end(&w.c) == rc);
	if (rc)
		CHECK(w.c.error.at == error.at);
	if (rc == 0 && !w.odd)
		CHECK(json_simd_accepts(padded, size));
	if (rc && !strstr(error.what, "nested"))
		CHECK(!json_simd_accepts(padded, size));
	buf_fini(&w.buf);
	arena_fini(&w.arena);
	free(padded);
	free(exact);
	return 0;
}
