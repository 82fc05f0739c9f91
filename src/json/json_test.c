/* SPDX-License-Identifier: Apache-2.0 */
#include "json/json.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rand.h"
#include "base/utf8.h"
#include "json/json_simd.h"

/* A copy of exactly its size, so that a sanitizer sees one byte too far. */
static uint8_t *exact(struct slice s)
{
	uint8_t *copy = malloc(s.len ? s.len : 1);

	assert_non_null(copy);
	if (s.len)
		memcpy(copy, s.ptr, s.len);
	return copy;
}

static int check(struct slice s, struct json_error *e)
{
	uint8_t *copy = exact(s);
	int rc = json_valid(slice_make(copy, s.len), e);

	free(copy);
	return rc;
}

static void accepts_what_the_grammar_allows(void **state)
{
	static const char *const docs[] = {
		"0",
		"-0",
		"1",
		"-1.5e+10",
		"1E5",
		"0.1",
		"\"\"",
		"\"a\"",
		"true",
		"false",
		"null",
		"[]",
		"{}",
		" [ 1 , 2 ] \n",
		"\t{ \"a\" : [ ] , \"a\" : { } }\r\n",
		"\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\"",
		"\"\\ud83d\\ude00\"",
		"\"\\ud800\"",
		"\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\"",
		"[[[[]]],{\"\":0}]",
		"\"a string of more than sixteen bytes without anything in it \x7f\"",
		"1e999",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(docs) / sizeof(docs[0]); i++) {
		struct json_error e = {0};
		if (check(slice_str(docs[i]), &e) != 0)
			fail_msg("%s: at %zu: %s", docs[i], e.at, e.what);
	}
}

struct refusal {
	const char *doc;
	size_t at;
	const char *what;
};

static void refuses_with_place_and_sentence(void **state)
{
	static const struct refusal rows[] = {
		{"", 0, "expected a value"},
		{" ", 1, "expected a value"},
		{"{", 1, "expected a member name in quotes"},
		{"{\"a\"", 4, "expected ':' after a member name"},
		{"{\"a\":", 5, "expected a value"},
		{"{\"a\":1", 6, "expected ',' or '}' after a member"},
		{"{\"a\":1,}", 7, "expected a member name in quotes"},
		{"{\"a\" 1}", 5, "expected ':' after a member name"},
		{"{a:1}", 1, "expected a member name in quotes"},
		{"{\"a\":1 \"b\":2}", 7, "expected ',' or '}' after a member"},
		{"[1", 2, "expected ',' or ']' after an item"},
		{"[1,]", 3, "expected a value"},
		{"[,1]", 1, "expected a value"},
		{"[1}", 2, "expected ',' or ']' after an item"},
		{"{\"a\":[1,2}}", 9, "expected ',' or ']' after an item"},
		{"01", 1, "a number must not begin with 0"},
		{"-", 1, "expected a digit"},
		{"+1", 0, "expected a value"},
		{"1.", 2, "expected a digit"},
		{".5", 0, "expected a value"},
		{"1e", 2, "expected a digit"},
		{"1e+", 3, "expected a digit"},
		{"0x10", 1, "expected nothing after the document"},
		{"1 2", 2, "expected nothing after the document"},
		{"NaN", 0, "expected a value"},
		{"nul", 0, "expected true, false or null"},
		{"truE", 0, "expected true, false or null"},
		{"nulll", 4, "expected nothing after the document"},
		{"\"abc", 4, "the string is not ended"},
		{"\"abc\\", 5, "the string is not ended"},
		{"\"a\\x\"", 2, "expected one of \" \\ / b f n r t u after a backslash"},
		{"\"a\\u12g4\"", 2, "expected four hexadecimal digits after \\u"},
		{"\"a\\u12", 2, "expected four hexadecimal digits after \\u"},
		{"\"a\nb\"", 2, "a control character in a string must be escaped"},
		{"\"0123456789abcdef\tb\"", 17, "a control character in a string must be escaped"},
		{"\"\xff\"", 1, "the bytes are not UTF-8"},
		{"[\"\xc3\xa9\",\"\xc3\"]", 7, "the bytes are not UTF-8"},
		{"\"\xed\xa0\x80\"", 1, "the bytes are not UTF-8"},
		{"\"\xc0\xaf\"", 1, "the bytes are not UTF-8"},
		{"\"\xf4\x90\x80\x80\"", 1, "the bytes are not UTF-8"},
		{"\"\xf0\x9f\x98", 1, "the bytes are not UTF-8"},
		{"\xef\xbb\xbf{}", 0, "expected a value"},
		{"{}\xc3\xa9", 2, "expected nothing after the document"},
		{"[1]\f", 3, "expected nothing after the document"},
		{"// no\n1", 0, "expected a value"},
		{"'a'", 0, "expected a value"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct json_error e = {0};
		int rc = check(slice_str(rows[i].doc), &e);
		if (rc != ERR_BAD_JSON || e.at != rows[i].at || strcmp(e.what, rows[i].what) != 0)
			fail_msg("%s: rc %d at %zu: %s", rows[i].doc, rc, e.at, e.what ? e.what : "");
	}
	assert_int_equal(json_valid(SLICE_LIT("{"), NULL), ERR_BAD_JSON);
	assert_int_equal(check(slice_make("\"a\0b\"", 5), NULL), ERR_BAD_JSON);
	assert_int_equal(check(slice_make("1\0", 2), NULL), ERR_BAD_JSON);
	assert_int_equal(json_valid(slice_null(), NULL), ERR_BAD_JSON);
}

static void nests_to_the_limit(void **state)
{
	char doc[4 * JSON_DEPTH_MAX];
	struct json_error e;

	(void)state;
	for (size_t depth = JSON_DEPTH_MAX - 1; depth <= JSON_DEPTH_MAX + 1; depth++) {
		memset(doc, '[', depth);
		memset(doc + depth, ']', depth);
		if (depth <= JSON_DEPTH_MAX) {
			assert_int_equal(check(slice_make(doc, 2 * depth), &e), 0);
		} else {
			assert_int_equal(check(slice_make(doc, 2 * depth), &e), ERR_BAD_JSON);
			assert_int_equal(e.at, JSON_DEPTH_MAX);
		}
	}
}

static void limits_depth_on_the_walk_too(void **state)
{
	char doc[4 * JSON_DEPTH_MAX];
	struct json_cursor c;

	(void)state;
	memset(doc, '[', sizeof(doc));
	json_cursor_init(&c, slice_make(doc, sizeof(doc)));
	while (json_array_begin(&c) == 0)
		assert_true(json_array_next(&c));
	assert_int_equal(json_offset(&c), JSON_DEPTH_MAX);
	json_cursor_init(&c, slice_make(doc, sizeof(doc)));
	assert_int_equal(json_array_begin(&c), 0);
	assert_true(json_array_next(&c));
	assert_int_equal(json_skip(&c), ERR_BAD_JSON);
	assert_int_equal(c.error.at, JSON_DEPTH_MAX);
}

static void refuses_every_prefix(void **state)
{
	static const char doc[] =
		"{\"k\":[1.5e3,true,null,\"\\u00e9\\ud83d\\ude00\xf0\x9f\x98\x80 and some more\"],"
		"\"m\":{\"n\":{},\"o\":[[],-0]}}";
	struct slice whole = slice_str(doc);

	(void)state;
	assert_int_equal(check(whole, NULL), 0);
	for (size_t n = 0; n < whole.len; n++) {
		struct json_error e;
		assert_int_equal(check(slice_make(doc, n), &e), ERR_BAD_JSON);
		assert_true(e.at <= n);
	}
}

/* One byte of a good document is changed at random: simdjson and json_valid agree. */
static void agrees_with_another_parser(void **state)
{
	static const char doc[] =
		"{\"id\":\"evt_1\",\"n\":[1,-2.5 ,0],\"t\":\"caf\xc3\xa9 \\n \\\"x\\\" \\u0041\","
		"\"o\":{\"a\":null,\"b\":true,\"c\":[{},[]]}}";
	static const char bytes[] = "{}[]:,\"\\0123456789eE+-.tfn \n\x01\xc3\xa9\xff";
	uint8_t padded[sizeof(doc) + 64] = {0};
	struct rand r;
	uint32_t bad = 0;

	(void)state;
	rand_seed(&r, 7);
	for (int i = 0; i < 200000; i++) {
		memcpy(padded, doc, sizeof(doc));
		for (uint64_t edits = 1 + rand_below(&r, 2); edits; edits--)
			padded[rand_below(&r, sizeof(doc) - 1)] =
				(uint8_t)bytes[rand_below(&r, sizeof(bytes) - 1)];
		bool other = json_simd_accepts(padded, sizeof(doc) - 1);
		bool ours = json_valid(slice_make(padded, sizeof(doc) - 1), NULL) == 0;
		if (other != ours)
			fail_msg("simdjson %d, json_valid %d: %s", other, ours, (char *)padded);
		bad += !ours;
	}
	assert_in_range(bad, 50000, 199000);
}

static void walks_members_and_keeps_their_bytes(void **state)
{
	struct slice doc = SLICE_LIT(
		" { \"a\" : 1.50 , \"b\":{ \"x\" : [1, 2] },\"c\":[ \"p\" ,{} , [] ],\"\\u0064\":null } ");
	struct json_cursor c;
	struct json_value v;
	struct slice name;

	(void)state;
	json_cursor_init(&c, doc);
	assert_int_equal(json_peek(&c), JSON_OBJECT);
	assert_int_equal(json_object_begin(&c), 0);
	assert_true(json_object_next(&c, &name) && json_name_is(name, "a"));
	assert_int_equal(json_take(&c, &v), 0);
	assert_true(v.kind == JSON_NUMBER && slice_eq_str(v.raw, "1.50"));
	assert_true(json_object_next(&c, &name) && json_name_is(name, "b"));
	assert_int_equal(json_take(&c, &v), 0);
	assert_true(v.kind == JSON_OBJECT && slice_eq_str(v.raw, "{ \"x\" : [1, 2] }"));
	assert_true(json_object_next(&c, &name) && json_name_is(name, "c"));
	assert_int_equal(json_array_begin(&c), 0);
	assert_true(json_array_next(&c) && json_take(&c, &v) == 0 && slice_eq_str(v.raw, "\"p\""));
	assert_true(json_array_next(&c) && json_peek(&c) == JSON_OBJECT && json_object_begin(&c) == 0);
	assert_false(json_object_next(&c, &name));
	assert_true(json_array_next(&c) && json_array_begin(&c) == 0);
	assert_false(json_array_next(&c));
	assert_false(json_array_next(&c));
	assert_true(json_object_next(&c, &name) && json_name_is(name, "d") && !json_name_is(name, "e"));
	assert_int_equal(json_take(&c, &v), 0);
	assert_int_equal(v.kind, JSON_NULL);
	assert_false(json_object_next(&c, &name));
	assert_int_equal(json_end(&c), 0);
}

static void walk(const char *doc, size_t *at)
{
	struct json_cursor c;
	struct slice name;

	json_cursor_init(&c, slice_str(doc));
	json_object_begin(&c);
	while (json_object_next(&c, &name)) {
		if (json_peek(&c) == JSON_ARRAY) {
			json_array_begin(&c);
			while (json_array_next(&c))
				json_skip(&c);
		} else {
			json_skip(&c);
		}
	}
	assert_int_equal(json_end(&c), ERR_BAD_JSON);
	assert_int_equal(json_skip(&c), ERR_BAD_JSON);
	*at = c.error.at;
}

static void a_walk_keeps_the_first_error(void **state)
{
	static const struct refusal rows[] = {
		{"[]", 0, ""},
		{"{\"a\":[1,]}", 8, ""},
		{"{\"a\":[,1]}", 6, ""},
		{"{\"a\":[1 2]}", 8, ""},
		{"{\"a\":1,}", 7, ""},
		{"{\"a\":1 \"b\":2}", 7, ""},
		{"{\"a\"}", 4, ""},
		{"{\"a\":1}x", 7, ""},
		{"{,}", 1, ""},
		{"{\"a\":[1", 7, ""},
		{"{\"a\":[1}", 7, ""},
		{"", 0, ""},
		{"{", 1, ""},
		{"{\"a\":[\"\xff\"]}", 7, ""},
		{"{\"\xff\":1}", 2, ""},
		{"{\"a\":tru}", 5, ""},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct json_error e = {0};
		size_t at;
		walk(rows[i].doc, &at);
		if (at != rows[i].at)
			fail_msg("%s: at %zu", rows[i].doc, at);
		if (i > 0) {
			assert_int_equal(check(slice_str(rows[i].doc), &e), ERR_BAD_JSON);
			assert_int_equal(e.at, at);
		}
	}
}

static void undoes_escapes_into_the_arena(void **state)
{
	struct slice plain = SLICE_LIT("\"caf\xc3\xa9\"");
	struct arena arena;
	struct slice out;

	(void)state;
	arena_init(&arena, 256, 4096);
	assert_int_equal(json_text(plain, &arena, &out), 0);
	assert_ptr_equal(out.ptr, plain.ptr + 1);
	assert_int_equal(arena.bytes, 0);
	assert_int_equal(json_text(SLICE_LIT("\"\""), &arena, &out), 0);
	assert_true(out.ptr && out.len == 0);
	assert_int_equal(json_text(SLICE_LIT("\"x\\\"\\\\\\/\\b\\f\\n\\r\\ty\""), &arena, &out), 0);
	assert_true(slice_eq_str(out, "x\"\\/\b\f\n\r\ty"));
	assert_int_equal(json_text(SLICE_LIT("\"\\u0041\\u00E9\\u20ac\\uD83D\\uDE00\\u0000z\""), &arena,
				   &out),
			 0);
	assert_true(slice_eq(out, slice_make("A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\0z", 12)));
	assert_true(utf8_valid(out));
	assert_int_equal(json_text(SLICE_LIT("\"\\ud83d\""), &arena, &out), ERR_BAD_JSON);
	assert_int_equal(json_text(SLICE_LIT("\"\\ude00\\ud83d\""), &arena, &out), ERR_BAD_JSON);
	assert_int_equal(json_text(SLICE_LIT("\"\\ud83dabcdefgh\""), &arena, &out), ERR_BAD_JSON);
	assert_int_equal(json_text(SLICE_LIT("\"\\ud83d\\u0041\""), &arena, &out), ERR_BAD_JSON);
	arena_fini(&arena);
	mem_fail_at(1);
	assert_int_equal(json_text(SLICE_LIT("\"\\n\""), &arena, &out), ERR_NOMEM);
	mem_fail_at(0);
	arena_fini(&arena);
}

static struct json_value value_of(const char *text)
{
	struct json_cursor c;
	struct json_value v;

	json_cursor_init(&c, slice_str(text));
	assert_int_equal(json_take(&c, &v), 0);
	assert_int_equal(json_end(&c), 0);
	return v;
}

static void reads_numbers_strictly(void **state)
{
	int64_t i;
	uint64_t u;
	double d;
	bool b;

	(void)state;
	assert_true(json_i64(value_of("-9223372036854775808"), &i) == 0 && i == INT64_MIN);
	assert_int_equal(json_i64(value_of("9223372036854775808"), &i), ERR_BAD_JSON);
	assert_int_equal(json_i64(value_of("1.0"), &i), ERR_BAD_JSON);
	assert_int_equal(json_i64(value_of("1e3"), &i), ERR_BAD_JSON);
	assert_int_equal(json_i64(value_of("\"1\""), &i), ERR_BAD_JSON);
	assert_true(json_u64(value_of("18446744073709551615"), &u) == 0 && u == UINT64_MAX);
	assert_int_equal(json_u64(value_of("-1"), &u), ERR_BAD_JSON);
	assert_int_equal(json_u64(value_of("18446744073709551616"), &u), ERR_BAD_JSON);
	assert_true(json_double(value_of("0.1"), &d) == 0 && d == 0.1);
	assert_true(json_double(value_of("-1E+2"), &d) == 0 && d == -100.0);
	assert_int_equal(json_double(value_of("1e999"), &d), ERR_BAD_JSON);
	assert_int_equal(json_double(value_of("null"), &d), ERR_BAD_JSON);
	assert_true(json_bool(value_of("true"), &b) == 0 && b);
	assert_true(json_bool(value_of("false"), &b) == 0 && !b);
	assert_int_equal(json_bool(value_of("1"), &b), ERR_BAD_JSON);
}

static void says_where(void **state)
{
	struct json_error e;
	char text[128];

	(void)state;
	assert_int_equal(json_valid(SLICE_LIT("{\"a\":}"), &e), ERR_BAD_JSON);
	json_error_text(&e, text, sizeof(text));
	assert_string_equal(text, "at byte 6: expected a value");
}

static void finds_utf8_as_the_table_does(void **state)
{
	struct rand r;
	uint8_t bytes[80];

	(void)state;
	rand_seed(&r, 3);
	for (int i = 0; i < 50000; i++) {
		size_t n = rand_below(&r, sizeof(bytes));
		for (size_t k = 0; k < n; k++)
			bytes[k] = (uint8_t)(rand_below(&r, 3) ? 'a' : rand_next(&r));
		if (n >= 4 && rand_below(&r, 2))
			memcpy(bytes + rand_below(&r, n - 3), "\xf0\x9f\x98\x80", 4);
		assert_int_equal(json_utf8_valid(slice_make(bytes, n)), utf8_valid(slice_make(bytes, n)));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(accepts_what_the_grammar_allows),
		cmocka_unit_test(refuses_with_place_and_sentence),
		cmocka_unit_test(nests_to_the_limit),
		cmocka_unit_test(limits_depth_on_the_walk_too),
		cmocka_unit_test(refuses_every_prefix),
		cmocka_unit_test(agrees_with_another_parser),
		cmocka_unit_test(walks_members_and_keeps_their_bytes),
		cmocka_unit_test(a_walk_keeps_the_first_error),
		cmocka_unit_test(undoes_escapes_into_the_arena),
		cmocka_unit_test(reads_numbers_strictly),
		cmocka_unit_test(says_where),
		cmocka_unit_test(finds_utf8_as_the_table_does),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
