/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/csv/csv.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/rand.h"

/* Events as text: "1[a|b]" a record of line 1, a field in quotes with ' before it; "2!raw(what)" a bad one. */
static void read_text(const char *in, size_t len, size_t piece, size_t max, char *out, size_t room)
{
	struct csv c;
	struct csv_record r;
	enum csv_event e;
	size_t at = 0, n = 0;

	out[0] = 0;
	csv_init(&c, ',', max);
	while ((e = csv_next(&c, &r)) != CSV_END) {
		if (e == CSV_MORE) {
			size_t take = len - at < piece ? len - at : piece;
			assert_int_equal(csv_feed(&c, slice_make(in + at, take)), 0);
			at += take;
			if (at == len)
				csv_finish(&c);
		} else if (e == CSV_BAD) {
			n += (size_t)snprintf(out + n, room - n, "%d!%.*s(%s)", (int)r.line, (int)r.raw.len,
					      r.raw.ptr, r.what);
		} else {
			assert_int_equal(e, CSV_RECORD);
			n += (size_t)snprintf(out + n, room - n, "%d[", (int)r.line);
			for (uint32_t i = 0; i < r.count; i++)
				n += (size_t)snprintf(out + n, room - n, "%s%s%.*s", i ? "|" : "",
						      r.quoted[i] ? "'" : "", (int)r.fields[i].len,
						      r.fields[i].ptr);
			n += (size_t)snprintf(out + n, room - n, "]");
		}
		assert_true(n < room);
	}
	assert_int_equal(c.offset, len);
	csv_fini(&c);
}

static const struct {
	const char *in, *out;
	size_t max;
} rows[] = {
	{"a,b\nc,d\n", "1[a|b]2[c|d]", 100},
	{"a,b\r\nc,d", "1[a|b]2[c|d]", 100},
	{"a,\n,b\n,\n", "1[a|]2[|b]3[|]", 100},
	{"a,", "1[a|]", 100},
	{"\n\r\na\n\n\nb\n", "3[a]6[b]", 100},
	{"\"a\",\"b,c\",\"d\"\"e\"\n", "1['a|'b,c|'d\"e]", 100},
	{"\"\",\"\"\"\"\n", "1['|'\"]", 100},
	{"\"a\nb\r\nc\",1\nd,2\n", "1['a\nb\r\nc|1]4[d|2]", 100},
	{"\"a\"\r\n\"b\"\r\n", "1['a]2['b]", 100},
	{"a \"quoted\" word,5\" pipe\n", "1[a \"quoted\" word|5\" pipe]", 100},
	{"a\rb,c\r\n", "1[a\rb|c]", 100},
	/* What is no record costs its line. */
	{"1\n\"a\"b,c\n2\n", "1[1]2!\"a\"b,c(bytes behind a closing quote)3[2]", 100},
	{"1\n\"open\n2\n3\n", "1[1]2!\"open(a quote is not closed)3[2]4[3]", 100},
	{"1\n\"open\n2\n3", "1[1]2!\"open(a quote is not closed)3[2]4[3]", 100},
	{"\"open", "1!\"open(a quote is not closed)", 100},
	{"\"open\n0123456789\n0123456789\n", "1!\"open(a quote is not closed)2[0123456789]3[0123456789]", 20},
	{"\"x\n\"x\nok\n", "1!\"x(bytes behind a closing quote)2!\"x(a quote is not closed)3[ok]", 100},
	{"0123456789\nab\n", "1!01234(it is longer than a record may be)2[ab]", 5},
	{"\"0123456789\nab\n", "1!\"0123(it is longer than a record may be)2[ab]", 5},
	{"abcde\nab\n", "1[abcde]2[ab]", 5},
	{"abcd,\nab\n", "1[abcd|]2[ab]", 5},
	{"\"a\nb\",cdefghijkl\nxy\n", "1!\"a\nb\",cd(it is longer than a record may be)3[xy]", 8},
};

static void reads_records_however_they_are_cut(void **state)
{
	char out[400];

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		for (size_t piece = strlen(rows[i].in); piece > 0; piece--) {
			read_text(rows[i].in, strlen(rows[i].in), piece, rows[i].max, out, sizeof(out));
			if (strcmp(out, rows[i].out) != 0)
				fail_msg("'%s' in pieces of %zu: %s, not %s", rows[i].in, piece, out,
					 rows[i].out);
		}
	}
}

struct pages {
	char in[1 << 16], want[1 << 16], out[1 << 16];
	size_t in_len, want_len;
};

static void put(char *page, size_t *len, const char *text)
{
	size_t n = strlen(text);

	assert_true(*len + n < 1 << 16);
	memcpy(page + *len, text, n + 1);
	*len += n;
}

/* A field of random atoms in quotes; the lines that it takes. */
static int put_field(struct pages *p, struct rand *r)
{
	static const char *const atoms[] = {"a", "\"", ",", "\n", "\r\n", " ", "\xc3\xa9", "0", "\r", ""};
	int lines = 0;

	put(p->in, &p->in_len, "\"");
	put(p->want, &p->want_len, "'");
	for (uint64_t left = rand_below(r, 5); left; left--) {
		const char *a = atoms[rand_below(r, 10)];
		put(p->in, &p->in_len, *a == '"' ? "\"\"" : a);
		put(p->want, &p->want_len, a);
		lines += strchr(a, '\n') != NULL;
	}
	put(p->in, &p->in_len, "\"");
	return lines;
}

/* What is written by the rules is read back. */
static void reads_what_was_written(void **state)
{
	struct pages *p = malloc(sizeof(*p));
	struct rand r;

	(void)state;
	assert_non_null(p);
	rand_seed(&r, 1);
	for (int round = 0; round < 300; round++) {
		int line = 1;
		p->in_len = p->want_len = 0;
		for (uint64_t records = 1 + rand_below(&r, 20); records; records--) {
			char head[16];
			(void)snprintf(head, sizeof(head), "%d[", line);
			put(p->want, &p->want_len, head);
			line += put_field(p, &r);
			for (uint64_t more = rand_below(&r, 6); more; more--) {
				put(p->in, &p->in_len, ",");
				put(p->want, &p->want_len, "|");
				line += put_field(p, &r);
			}
			put(p->in, &p->in_len, rand_below(&r, 2) ? "\n" : "\r\n");
			put(p->want, &p->want_len, "]");
			line++;
		}
		read_text(p->in, p->in_len, 1 + rand_below(&r, p->in_len), 1 << 16, p->out, sizeof(p->out));
		assert_string_equal(p->out, p->want);
	}
	free(p);
}

/* A quote that is never closed costs one look at each byte more, not one a line; memory is a record and a piece. */
static void an_open_quote_is_bounded(void **state)
{
	enum { MAX = 4096, PIECE = 1000, LINES = 20000 };
	struct csv c;
	struct csv_record r;
	enum csv_event e;
	int fed = 0, good = 0, bad = 0;

	(void)state;
	csv_init(&c, ',', MAX);
	while ((e = csv_next(&c, &r)) != CSV_END) {
		if (e == CSV_MORE && fed++ == LINES) {
			csv_finish(&c);
		} else if (e == CSV_MORE) {
			char line[PIECE];
			memset(line, 'x', PIECE);
			line[0] = fed % 100 == 1 ? '"' : 'y';
			line[PIECE - 1] = '\n';
			assert_int_equal(csv_feed(&c, slice_make(line, PIECE)), 0);
		}
		good += e == CSV_RECORD;
		bad += e == CSV_BAD;
		assert_true(c.raw.cap <= 4 * (MAX + PIECE));
	}
	assert_int_equal(bad, LINES / 100);
	assert_int_equal(good, LINES - LINES / 100);
	csv_fini(&c);
}

static void a_record_has_a_number_of_fields(void **state)
{
	size_t n = CSV_FIELDS_MAX + 2;
	char *in = malloc(2 * n);
	struct csv c;
	struct csv_record r;

	(void)state;
	memset(in, ',', n);
	memcpy(in + n, "\nok\n", 4);
	csv_init(&c, ',', 1 << 20);
	assert_int_equal(csv_feed(&c, slice_make(in, n + 4)), 0);
	assert_int_equal(csv_next(&c, &r), CSV_BAD);
	assert_non_null(strstr(r.what, "more fields"));
	assert_int_equal(csv_next(&c, &r), CSV_RECORD);
	assert_int_equal(r.line, 2);
	csv_fini(&c);
	free(in);
}

/* Every allocation fails once: the call is made again and nothing is lost. */
static void goes_on_after_a_failed_allocation(void **state)
{
	const char *in = "a,\"b\"\"c\",d\n1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18\n,";

	(void)state;
	for (uint64_t nth = 1; nth < 20; nth++) {
		struct csv c;
		struct csv_record r;
		enum csv_event e;
		int records = 0, calls = 0;
		csv_init(&c, ',', 100);
		mem_fail_at(nth);
		while (csv_feed(&c, slice_str(in)))
			;
		csv_finish(&c);
		while ((e = csv_next(&c, &r)) != CSV_END && calls++ < 50) {
			records += e == CSV_RECORD;
			if (e == CSV_RECORD)
				assert_int_equal(r.count, records == 1 ? 3 : records == 2 ? 18 : 2);
		}
		mem_fail_at(0);
		assert_int_equal(records, 3);
		csv_fini(&c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reads_records_however_they_are_cut),
		cmocka_unit_test(reads_what_was_written),
		cmocka_unit_test(an_open_quote_is_bounded),
		cmocka_unit_test(a_record_has_a_number_of_fields),
		cmocka_unit_test(goes_on_after_a_failed_allocation),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
