/* SPDX-License-Identifier: Apache-2.0 */
/* The type against a server that says what a weir says, or something else, by a script. */
#include "connect/weir/weir.h"

#include "net/web_test.h"

#include <stdio.h>

#include "connect/source_test.h"
#include "connect/weir/page.h"

/* ---- the other weir ---- */

struct act {
	const char *asked; /* must stand in the request's first line */
	const char *status, *body;
};

static bool play(int fd, const char *path, const char *head);

static struct web_test web = {.answer = play};
static struct {
	const struct act *script;
	_Atomic uint32_t at;
	_Atomic bool surprised;
	char line[8192];
} other;

static bool play(int fd, const char *path, const char *head)
{
	const struct act *act = &other.script[atomic_load(&other.at)];
	char answer[4096];
	int n;

	(void)path;
	(void)snprintf(other.line, sizeof(other.line), "%.*s", (int)strcspn(head, "\r"), head);
	if (!act->asked || !strstr(other.line, act->asked)) {
		atomic_store(&other.surprised, true);
		return false;
	}
	atomic_fetch_add(&other.at, 1);
	n = snprintf(answer, sizeof(answer),
		     "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
		     act->status, strlen(act->body), act->body);
	return web_test_put(fd, answer, (size_t)n);
}

static int set_up(void **state)
{
	(void)state;
	atomic_store(&other.at, 0);
	atomic_store(&other.surprised, false);
	web_test_start(&web);
	return 0;
}

static int tear_down(void **state)
{
	(void)state;
	web_test_stop(&web);
	return 0;
}

static void open_it(struct source_test *t, const struct act *script, const char *more)
{
	char yaml[400];

	other.script = script;
	(void)snprintf(yaml, sizeof(yaml), "url: http://127.0.0.1:%u/\nfrom: a.b\nwait: 0\n%s", web.port,
		       more);
	source_test_open(t, &source_weir, yaml);
	assert_int_equal(source_test_plan(t), SOURCE_IDLE);
}

static void check_played(uint32_t count)
{
	if (atomic_load(&other.surprised))
		fail_msg("asked for %s", other.line);
	assert_int_equal(atomic_load(&other.at), count);
}

/* ---- pages ---- */

#define PAGE_1                                                                                            \
	"{\"records\":[{\"topic\":\"a.b\",\"partition\":2,\"offset\":7,\"timestamp\":99,\"key\":\"k\","   \
	"\"headers\":{\"h\":\"v\",\"m\":[\"1\",null],\"b\":{\"base64\":\"/w==\"}},\"value\":{\"n\": 1}}," \
	"{\"topic\":\"a.b\",\"partition\":0,\"offset\":0,\"timestamp\":100,\"key_base64\":\"/w==\","      \
	"\"headers\":{},\"value_text\":\"a\\\"b\"}],\"cursor\":\"C1\",\"caught_up\":false}"
#define PAGE_2                                                                                           \
	"{\"records\":[{\"topic\":\"a.b\",\"partition\":0,\"offset\":1,\"timestamp\":101,\"key\":\"k\"," \
	"\"headers\":{},\"value\":null,\"tombstone\":true}],\"cursor\":\"C2\",\"caught_up\":true}"
#define NOTHING "{\"records\":[],\"cursor\":\"C2\",\"caught_up\":true}"

static void pages_become_records_and_the_cursor_is_the_checkpoint(void **state)
{
	static const struct act script[] = {
		{"/v1/topics/a.b/records?cursor=%40123&limit=3 ", "200 OK", PAGE_1},
		{"cursor=C1&", "200 OK", PAGE_2},
		{"cursor=C2&", "200 OK", NOTHING},
		{NULL, NULL, NULL},
	};
	struct source_test t = {0};

	(void)state;
	open_it(&t, script, "start: '@123'\nlimit: 3\n");
	assert_int_equal(source_test_pull(&t, "", 100), SOURCE_MORE);
	assert_int_equal(t.record_count, 2);
	assert_string_equal(source_test_value(&t, 0), "{\"n\": 1}");
	assert_true(slice_eq_str(t.records[0].key, "k"));
	assert_int_equal(t.records[0].timestamp_ms, 99);
	assert_int_equal(t.records[0].header_count, 4);
	assert_int_equal(t.records[0].partition, -1);
	assert_string_equal(source_test_value(&t, 1), "a\"b");
	assert_true(slice_eq_str(t.records[1].key, "\xff"));
	source_test_crash(&t);
	assert_int_equal(source_test_pull(&t, "", 100), SOURCE_MORE);
	assert_int_equal(t.record_count, 3);
	assert_null(t.records[2].value.ptr);
	assert_int_equal(source_test_pull(&t, "", 100), SOURCE_MORE);
	assert_int_equal(t.record_count, 3);
	check_played(3);
	source_test_close(&t);
}

static void what_was_gone_is_warned_of_and_gone_on_behind(void **state)
{
	static const struct act script[] = {
		{"cursor=earliest&", "410 Gone",
		 "{\"status\":410,\"code\":\"cursor_gone\",\"detail\":\"x\",\"cursor\":\"C1\"}"},
		{"cursor=C1&", "200 OK", PAGE_2},
		{NULL, NULL, NULL},
	};
	struct source_test t = {0};

	(void)state;
	open_it(&t, script, "keep_partitions: true\n");
	assert_int_equal(source_test_pull(&t, "", 100), SOURCE_MORE);
	assert_int_equal(t.record_count, 0);
	assert_int_equal(t.warning_count, 1);
	assert_int_equal(source_test_pull(&t, "", 100), SOURCE_MORE);
	assert_int_equal(t.record_count, 1);
	assert_int_equal(t.records[0].partition, 0);
	check_played(2);
	source_test_close(&t);
}

static void failures_are_sorted_and_change_nothing(void **state)
{
	static const struct act script[] = {
		{"cursor=earliest&", "503 Busy", "{\"code\":\"overloaded\",\"detail\":\"no room\"}"},
		{"cursor=earliest&", "404 Not Found",
		 "{\"code\":\"unknown_topic\",\"detail\":\"there is no topic\"}"},
		{"cursor=earliest&", "401 Unauthorized", "{\"code\":\"unauthorized\",\"detail\":\"who?\"}"},
		{"cursor=earliest&", "200 OK", "<html>hello</html>"},
		{"cursor=earliest&", "200 OK", "{\"records\":[]}"},
		{"cursor=earliest&", "200 OK",
		 "{\"records\":[{\"value\":1},{\"valu\":2}],\"cursor\":\"C1\"}"},
		{"cursor=earliest&", "200 OK", PAGE_2},
		{NULL, NULL, NULL},
	};
	static const enum source_failure failures[] = {SOURCE_TRANSIENT, SOURCE_TRANSIENT, SOURCE_FINAL,
						       SOURCE_FINAL,     SOURCE_FINAL,     SOURCE_FINAL};
	static const char *const texts[] = {"no room", "there is no topic", "who?",
					    "<html>",  "no cursor",         "valu"};
	struct source_test t = {0};

	(void)state;
	open_it(&t, script, "");
	for (int i = 0; i < 6; i++) {
		assert_int_equal(source_test_pull(&t, "", 100), SOURCE_FAILED);
		assert_int_equal(t.failure, failures[i]);
		if (!strstr(t.fault.text, texts[i]))
			fail_msg("%d: %s", i, t.fault.text);
		assert_int_equal(t.record_count, 0);
	}
	assert_int_equal(source_test_pull(&t, "", 100), SOURCE_MORE);
	assert_int_equal(t.record_count, 1);
	check_played(7);
	source_test_close(&t);
}

static void sources_of_the_api_name_no_files(void **state)
{
	static const struct source_type *const types[] = {&source_weir, &source_weir_push};

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct source_test t;
		source_test_setup(&t);
		t.guarded = true;
		assert_int_equal(source_test_try(&t, types[i], "url: http://x/\nfrom: a\nca: /etc/passwd\n"),
				 -1);
		assert_string_equal(t.fault.text,
				    "ca names a file of this machine: only the configuration file may");
		source_test_close(&t);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(pages_become_records_and_the_cursor_is_the_checkpoint, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(what_was_gone_is_warned_of_and_gone_on_behind, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(failures_are_sorted_and_change_nothing, set_up, tear_down),
		cmocka_unit_test(sources_of_the_api_name_no_files),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
