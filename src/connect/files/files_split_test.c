/* SPDX-License-Identifier: Apache-2.0 */
#include "connect/files/files_split.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* Records as text, in pieces of `piece` bytes: "1<a>", too long ones with !, strays with ?. */
static void split(enum files_form form, const char *in, size_t piece, size_t max, char *out, size_t room)
{
	struct files_place place = {.line = 1};
	size_t len = strlen(in), known = 0, used, n = 0;
	struct slice record;
	uint64_t line;

	out[0] = 0;
	for (;;) {
		struct slice bytes = slice_make(in + place.offset, known - place.offset);
		enum files_cut cut =
			files_split(form, &place, bytes, known == len, max, &record, &line, &used);
		if (cut != FILES_MORE)
			n += (size_t)snprintf(out + n, room - n, "%d%s<%.*s>", (int)line,
					      cut == FILES_TOO_LONG ? "!" :
					      cut == FILES_STRAY    ? "?" :
								      "",
					      (int)record.len, record.ptr);
		else if (!used && known == len)
			break;
		else if (!used)
			known = len - known < piece ? len : known + piece;
		assert_true(n < room);
	}
	assert_int_equal(place.offset, len);
}

static const struct {
	enum files_form form;
	const char *in, *out;
	size_t max;
} rows[] = {
	{FILES_LINES, "a\nb\r\n\nc", "1<a>2<b>3<>4<c>", 100},
	{FILES_LINES, "", "", 100},
	{FILES_LINES, "0123456789\nab\n0123456789", "1!<01234>2<ab>3!<01234>", 5},
	{FILES_LINES, "01234\n01234", "1<01234>2<01234>", 5},
	{FILES_VALUES, "[1, {\"a\":[1,2]},\n\"x,]\\\"\" ]\n", "1<1>1<{\"a\":[1,2]}>2<\"x,]\\\"\">", 100},
	{FILES_VALUES, " [\n]", "", 100},
	{FILES_VALUES, "[[1],[2]]", "1<[1]>1<[2]>", 100},
	{FILES_VALUES, "[1,2]\n[3]", "1<1>1<2>2<3>", 100},
	{FILES_VALUES, "{\"a\":1}\n{\"a\":2} 3 [4]", "1<{\"a\":1}>2<{\"a\":2}>2<3>2<[4]>", 100},
	{FILES_VALUES, "[1,{\"a\":", "1<1>1<{\"a\":>", 100},
	{FILES_VALUES, "[1}2]", "1<1>1?<}2>", 100},
	{FILES_VALUES, "[{\"a\":\"0123456789]}\"},2]", "1!<{\"a\":>1<2>", 5},
	{FILES_VALUES, "[01234567,2,\n012345678]", "1!<01234>1<2>2!<01234>", 5},
	{FILES_VALUES, "[\"0123\\\"4\",2]", "1!<\"0123>1<2>", 5},
};

static void gives_the_same_records_however_cut(void **state)
{
	char out[300];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		for (size_t piece = strlen(rows[i].in) + 1; piece > 0; piece--) {
			split(rows[i].form, rows[i].in, piece, rows[i].max, out, sizeof(out));
			if (strcmp(out, rows[i].out) != 0)
				fail_msg("'%s' by %zu: %s, not %s", rows[i].in, piece, out, rows[i].out);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {cmocka_unit_test(gives_the_same_records_however_cut)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
