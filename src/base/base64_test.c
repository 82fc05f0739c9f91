/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/base64.h"
#include "base/err.h"
#include "base/rand.h"

struct pair {
	const char *bytes, *standard, *url;
};

/* RFC 4648 section 10, and bytes whose text has the last two letters. */
static const struct pair pairs[] = {
	{"", "", ""},
	{"f", "Zg==", "Zg"},
	{"fo", "Zm8=", "Zm8"},
	{"foo", "Zm9v", "Zm9v"},
	{"foob", "Zm9vYg==", "Zm9vYg"},
	{"fooba", "Zm9vYmE=", "Zm9vYmE"},
	{"foobar", "Zm9vYmFy", "Zm9vYmFy"},
	{"\xfb\xff\xfe", "+//+", "-__-"},
};

static void assert_text(enum base64_form form, struct slice bytes, const char *text)
{
	char out[16];
	size_t n = base64_encode(form, bytes, out);

	assert_int_equal(n, base64_encoded_len(form, bytes.len));
	assert_true(slice_eq_str(slice_make(out, n), text));
}

static void assert_bytes(enum base64_form form, const char *text, struct slice bytes)
{
	uint8_t out[16];
	size_t n = 99;

	assert_int_equal(base64_decode(form, slice_str(text), out, &n), 0);
	assert_true(slice_eq(slice_make(out, n), bytes));
}

static void known_texts_go_both_ways(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		struct slice bytes = slice_str(pairs[i].bytes);
		assert_text(BASE64_STANDARD, bytes, pairs[i].standard);
		assert_text(BASE64_URL, bytes, pairs[i].url);
		assert_bytes(BASE64_STANDARD, pairs[i].standard, bytes);
		assert_bytes(BASE64_URL, pairs[i].url, bytes);
	}
}

static void what_is_not_canonical_is_refused(void **state)
{
	const char *standard[] = {"Z",     "Zg",   "Zg=",  "Zg===",    "Zh==",      "Zm9=",  "Zm8",
				  "Zm9v=", "====", "=",    "Zg==Zg==", "Zm9v\n",    " Zm9v", "Zm 9",
				  "-__-",  "Z===", "Z=9v", "Zm9vZ===", "\xc3\xbcg="};
	const char *url[] = {"Z", "Zg==", "Zh", "Zm9", "+//+", "Zm9vZ", "Zm9v=", "Zm8=", "Zm9v "};
	uint8_t out[32];
	size_t n = 7;

	(void)state;
	for (size_t i = 0; i < sizeof(standard) / sizeof(standard[0]); i++)
		assert_int_equal(base64_decode(BASE64_STANDARD, slice_str(standard[i]), out, &n),
				 ERR_MALFORMED);
	for (size_t i = 0; i < sizeof(url) / sizeof(url[0]); i++)
		assert_int_equal(base64_decode(BASE64_URL, slice_str(url[i]), out, &n), ERR_MALFORMED);
	assert_int_equal(base64_decode(BASE64_URL, slice_make("Zm\0v", 4), out, &n), ERR_MALFORMED);
	assert_int_equal(n, 7);
}

static void any_bytes_come_back_also_in_place(void **state)
{
	uint8_t bytes[200], text[300];
	struct rand r;

	(void)state;
	rand_seed(&r, 64);
	for (size_t n = 0; n <= sizeof(bytes); n++) {
		for (int form = BASE64_STANDARD; form <= BASE64_URL; form++) {
			size_t len, back;
			for (size_t i = 0; i < n; i++)
				bytes[i] = (uint8_t)rand_next(&r);
			len = base64_encode((enum base64_form)form, slice_make(bytes, n), (char *)text);
			assert_true(base64_decoded_max(len) >= n);
			assert_int_equal(base64_decode((enum base64_form)form, slice_make(text, len), text,
						       &back),
					 0);
			assert_true(slice_eq(slice_make(text, back), slice_make(bytes, n)));
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(known_texts_go_both_ways),
		cmocka_unit_test(what_is_not_canonical_is_refused),
		cmocka_unit_test(any_bytes_come_back_also_in_place),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
