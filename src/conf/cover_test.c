/* SPDX-License-Identifier: Apache-2.0 */
/* What a line of a configuration shows, and what it does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "conf/conf.h"
#include "conf/cover.h"
#include "conf/problem.h"
#include "conf/setting.h"
#include "conf/world.h"

struct things {
	const char *url, *user, *password, *key;
	struct conf_list tokens;
	struct conf_map headers;
	int64_t rows;
};

#define ROW(member) SETTING_MEMBER(struct things, member)

/* The whole URL is secret here, as that of a database; of the other kind it is shown. */
static const struct setting hidden_rows[] = {
	{"url", NULL, "", .type = SETTING_STRING, .max = 500, .flags = SETTING_SECRET, ROW(url)},
	{"auth.password", NULL, "", .type = SETTING_STRING, .min = 3, .max = 20, .flags = SETTING_SECRET,
	 ROW(password)},
	{"tokens", NULL, "", .type = SETTING_LIST, .max = 20, .flags = SETTING_SECRET, ROW(tokens)},
	{"rows", "1", "", .type = SETTING_INT, .min = 1, .max = 9, ROW(rows)},
};

static const struct setting open_rows[] = {
	{"url", NULL, "", .type = SETTING_STRING, .max = 40, ROW(url)},
	{"auth.user", NULL, "", .type = SETTING_STRING, .max = 500, ROW(user)},
	{"key", NULL, "", .type = SETTING_STRING, .max = 500, ROW(key)},
	{"headers", NULL, "", .type = SETTING_MAP, .max = 500, ROW(headers)},
	{"rows", "1", "", .type = SETTING_INT, .min = 1, .max = 9, ROW(rows)},
};

static const struct conf_kind hidden = {.name = "hidden",
					.settings = hidden_rows,
					.setting_count = sizeof(hidden_rows) / sizeof(hidden_rows[0]),
					.settings_bytes = sizeof(struct things)};
static const struct conf_kind open_kind = {.name = "open",
					   .settings = open_rows,
					   .setting_count = sizeof(open_rows) / sizeof(open_rows[0]),
					   .settings_bytes = sizeof(struct things)};
static const struct conf_kind *const list[] = {&hidden, &open_kind};
static const struct conf_kinds kinds = {.list = list, .count = 2};

/* ---- lines, without a tree ---- */

static void lines_are_covered_where_names_say_so(void **state)
{
	static const struct {
		const char *line, *shown;
	} rows[] = {
		{"    password: hunter2", "    password: ***"},
		{"    password: \"hun\\\"ter2\"", "    password: \"***\""},
		{"    password: 'it''s' # mine", "    password: '***' # mine"},
		{"    password: a,b}c", "    password: ***"},
		{"{ password: hunter2, key: /id, rows: 0 }", "{ password: ***, key: /id, rows: 0 }"},
		{"{\"auth\": {\"password\": \"hunter2\", \"user\": \"me\"}}",
		 "{\"auth\": {\"password\": \"***\", \"user\": \"me\"}}"},
		{"  - { name: a, tokens: [ab, \"cd\"], key: x }", "  - { name: a, tokens: ***, key: x }"},
		{"pasword: hunter2", "pasword: ***"},
		{"  url: https://me:hunter2@host/x?page=1", "  url: https://***@host/x?page=1"},
		{"  url: https://host/x?api_key=hunter2&page=1", "  url: https://host/x?api_key=***&page=1"},
		{"  headers: { Authorization: Bearer hunter2, Accept: a/b }",
		 "  headers: { Authorization: ***, Accept: a/b }"},
		{"  headers: { X-My: \"Bearer hunter2\" }", "  headers: { X-My: \"Bearer ***\" }"},
		{"  subscribe: ['{\"action\":\"in\",\"token\":\"hunter2\",\"n\":1}']",
		 "  subscribe: ['{\"action\":\"in\",\"token\":\"***\",\"n\":1}']"},
		{"# password: hunter2", "# password: ***"},
		{"  password: ${env:SECRET}", "  password: ${env:SECRET}"},
		{"{ password: \"${file:/run/x}\", rows: 0 }", "{ password: \"${file:/run/x}\", rows: 0 }"},
		{"{ password: ${env:SECRET}, rows: 0 }", "{ password: ${env:SECRET}, rows: 0 }"},
		{"  password: x${env:SECRET}", "  password: ***"},
		{"  key: /id", "  key: /id"},
		{"  auth: { user: me }", "  auth: { user: me }"},
		{"  password:", "  password:"},
		{"  password: |", "  password: |"},
		{"http: { listen: 127.0.0.1:80 }", "http: { listen: 127.0.0.1:80 }"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct cover c = {.kinds = &kinds, .text = slice_str(rows[i].line)};
		uint32_t column = 1;
		char out[204];
		(void)cover_line(&c, 1, out, sizeof(out), &column);
		assert_string_equal(out, rows[i].shown);
	}
}

static void lines_below_a_secret_name_are_covered(void **state)
{
	static const char text[] = "sources:\n"
				   "  - name: a\n"
				   "    tokens:\n"
				   "      # one\n"
				   "      - ab\n"
				   "\n"
				   "      - \"hunter2\"\n"
				   "    key: x\n"
				   "    password: |\n"
				   "      hunter2\n"
				   "      more\n"
				   "  - name: b\n"
				   "    tokens:\n"
				   "    - hunter2\n"
				   "    rows: 5\n";
	static const char *const shown[] = {"sources:",        "  - name: a", "    tokens:", NULL,
					    "      - ***",     NULL,          "      - ***", "    key: x",
					    "    password: |", "      ***",   "      ***",   "  - name: b",
					    "    tokens:",     "    - ***",   "    rows: 5"};
	struct cover c = {.kinds = &kinds, .text = slice_str(text)};

	(void)state;
	for (uint32_t i = 0; i < sizeof(shown) / sizeof(shown[0]); i++) {
		uint32_t column = 1;
		char out[204];
		if (!shown[i])
			continue;
		(void)cover_line(&c, i + 1, out, sizeof(out), &column);
		assert_string_equal(out, shown[i]);
	}
}

static void the_caret_follows_what_it_stands_below(void **state)
{
	static const struct {
		const char *line;
		uint32_t from, to;
	} rows[] = {
		{"{ password: hunter22, rows: x }", 23, 18},
		{"{ password: h, rows: x }", 16, 18},
		{"{ password: hunter22, rows: x }", 13, 13},
		{"{ password: hunter22, rows: x }", 16, 13},
		{"{ password: hunter22, rows: x }", 3, 3},
		{"password: ä, ö", 15, 14},
		{"rows: äö", 8, 8},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct cover c = {.kinds = &kinds, .text = slice_str(rows[i].line)};
		uint32_t column = rows[i].from;
		char out[204];
		(void)cover_line(&c, 1, out, sizeof(out), &column);
		assert_int_equal(column, rows[i].to);
	}
}

static void a_long_line_is_cut_after_it_was_covered(void **state)
{
	char text[6000], out[204];
	uint32_t column = 1;
	struct cover c = {.kinds = &kinds};

	(void)state;
	(void)snprintf(text, sizeof(text), "{ key: %0180d, password: hunter2, url: %05000d }", 0, 0);
	c.text = slice_str(text);
	assert_int_equal(cover_line(&c, 1, out, sizeof(out), &column), 203);
	assert_null(strstr(out, "hunter2"));
	assert_null(strstr(out, "hunt"));
	assert_int_equal(cover_line(&c, 2, out, sizeof(out), &column), 0);
}

/* ---- whole files ---- */

static void problems_of(const char *text, struct buf *out)
{
	struct conf_world world = *conf_world_process();
	struct conf_problems problems;
	struct conf *conf;

	world.kinds = &kinds;
	buf_init(out, 1u << 20);
	conf_problems_init(&problems);
	if (conf_load_text(slice_str(text), "f", &world, &conf, &problems) == 0)
		conf_free(conf);
	assert_int_equal(conf_problems_text(&problems, true, out), 0);
	assert_int_equal(conf_problems_json(&problems, out), 0);
	(void)buf_append_byte(out, 0);
	conf_problems_fini(&problems);
}

static void expect(const char *text, const char *shown)
{
	struct buf out;

	problems_of(text, &out);
	if (!strstr((const char *)out.ptr, shown) || strstr((const char *)out.ptr, "hunter2"))
		fail_msg("%s\n---\n%s", text, (const char *)out.ptr);
	buf_fini(&out);
}

static void no_problem_shows_a_secret(void **state)
{
	(void)state;
	/* beside what is wrong, in one line with it */
	expect("sources:\n  - { name: a, type: hidden, topic: t, url: \"db://hunter2/x\", rows: 77 }\n",
	       "url: \"***\", rows: 77 }\n");
	expect("sources:\n  - { name: a, type: open, topic: t, url: \"db://me:hunter2@x\", rows: 77 }\n",
	       "url: \"db://***@x\", rows: 77 }\n");
	/* what is wrong is the secret */
	expect("sources:\n  - { name: a, type: hidden, topic: t, auth: { password: \"hunter2hunter2hunter2\" } }\n",
	       "sources[a].auth.password: \"***\"");
	expect("sources:\n  - { name: a, type: hidden, topic: t, auth: { password: [hunter2] } }\n",
	       "password: ***");
	expect("sources:\n  - name: a\n    type: hidden\n    topic: t\n    tokens:\n      - good\n      - hunter2hunter2hunter2\n",
	       "      - ***\n");
	expect("sources:\n  - { name: a, type: open, topic: t, url: \"https://me:hunter2@host/with/a/path/that/is/far/too/long\" }\n",
	       "url: \"https://***@host/with");
	expect("sources:\n  - { name: a, type: open, topic: t, headers: { Authorization: [hunter2] } }\n",
	       "Authorization: ***");
	/* what an alias in a later line makes a secret of */
	expect("sources:\n  - { name: a, type: open, topic: t, headers: &h { A: hunter2 }, rows: 77 }\n"
	       "  - { name: b, type: hidden, topic: t, auth: { password: *h } }\n",
	       "headers: &h { A: *** }, rows: 77 }\n");
	/* names that nobody knows, values that are no value, lines that are no YAML */
	expect("sources:\n  - { name: a, type: hidden, topic: t, auth: { pasword: hunter2 } }\n",
	       "pasword: ***");
	expect("sources:\n  - { name: a, type: none, topic: t, auth: { password: hunter2 } }\n",
	       "password: ***");
	expect("sources:\n  - { name: a, type: hidden, topic: t, auth: { password: \"${nope:hunter2}\" } }\n",
	       "password: \"");
	expect("sources:\n  - { name: a, type: hidden, topic: t, auth: { password: hunter2 } ]\n",
	       "password: ***");
	expect("sources:\n  - { name: a, type: hidden, topic: t, auth: { password: 'hunter2 } }\n",
	       "password: '***");
	expect("http: { listen: x, pass: hunter2 }\n", "pass: ***");
}

static void references_are_shown(void **state)
{
	struct buf out;

	(void)state;
	problems_of(
		"sources:\n  - { name: a, type: hidden, topic: t, auth: { password: \"${env:NOBODY_HAS_THIS}\" }, rows: 0 }\n",
		&out);
	assert_non_null(strstr((const char *)out.ptr, "password: \"${env:NOBODY_HAS_THIS}\""));
	buf_fini(&out);
}

static void pages_say_which_settings_are_secret(void **state)
{
	struct buf out;

	(void)state;
	buf_init(&out, 1u << 20);
	assert_int_equal(conf_page_sources(&kinds, &out), 0);
	(void)buf_append_byte(&out, 0);
	assert_non_null(
		strstr((const char *)out.ptr,
		       "`sources[].auth.password` | text | `none` | reload |  Secret: it is shown nowhere."));
	buf_fini(&out);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(lines_are_covered_where_names_say_so),
		cmocka_unit_test(lines_below_a_secret_name_are_covered),
		cmocka_unit_test(the_caret_follows_what_it_stands_below),
		cmocka_unit_test(a_long_line_is_cut_after_it_was_covered),
		cmocka_unit_test(no_problem_shows_a_secret),
		cmocka_unit_test(references_are_shown),
		cmocka_unit_test(pages_say_which_settings_are_secret),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
