/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>
#include <unistd.h>

#include "cli/client.h"
#include "cli/lines.h"

static void urls_are_strict(void **state)
{
	static const struct {
		const char *text, *host, *port, *authority;
	} good[] = {
		{"http://127.0.0.1:8080", "127.0.0.1", "8080", "127.0.0.1:8080"},
		{"http://localhost/", "localhost", "80", "localhost"},
		{"http://[::1]:9", "::1", "9", "[::1]:9"},
	};
	static const char *const bad[] = {"",           "127.0.0.1:8080", "https://a",      "http://",
					  "http://a:b", "http://a/b",     "http://a:99999", "http://u@a",
					  "ftp://a"};
	struct client_url url;
	struct fault fault;

	(void)state;
	for (size_t i = 0; i < 3; i++) {
		assert_int_equal(client_url_parse(good[i].text, &url, &fault), 0);
		assert_string_equal(url.host, good[i].host);
		assert_string_equal(url.port, good[i].port);
		assert_string_equal(url.authority, good[i].authority);
	}
	for (size_t i = 0; i < 9; i++)
		if (client_url_parse(bad[i], &url, &fault) != ERR_BAD_PARAMETER)
			fail_msg("\"%s\" was taken", bad[i]);
}

/* Three answers, one of them interim and one chunked, cut at every place. */
static void answers_are_the_same_however_they_are_cut(void **state)
{
	static const char bytes[] =
		"HTTP/1.1 100 Continue\r\n\r\n"
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nIdempotent-Replayed: true\r\n\r\nab"
		"HTTP/1.1 503 No\r\nRetry-After: 7\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ncde\r\n1\r\nf\r\n0\r\n\r\n"
		"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n";
	struct client_conn conn;
	struct client_reply r;
	struct fault fault;
	struct buf seen;

	(void)state;
	buf_init(&seen, 100);
	client_conn_init(&conn);
	client_reply_init(&r, 100);
	for (size_t cut = 1; cut < sizeof(bytes); cut++) {
		buf_clear(&seen);
		for (size_t at = 0; at < sizeof(bytes) - 1; at += cut) {
			size_t n = sizeof(bytes) - 1 - at < cut ? sizeof(bytes) - 1 - at : cut;
			buf_append(&conn.in, bytes + at, n);
			int got;
			while ((got = client_reply_whole(&r, &conn, HTTP_POST, &fault)) == 1) {
				buf_appendf(&seen, "%d ", r.status);
				buf_append_slice(&seen, buf_slice(&r.content));
				buf_appendf(&seen, " %d %d %d;", r.replayed, (int)r.retry_after_ms,
					    r.keep_alive);
			}
			assert_int_equal(got, 0);
		}
		assert_true(slice_eq_str(buf_slice(&seen), "200 ab 1 -1 1;503 cdef 0 7000 1;204  0 -1 0;"));
		assert_int_equal(conn.in.len, 0);
	}
	conn.ended = true;
	assert_int_equal(client_reply_whole(&r, &conn, HTTP_POST, &fault), ERR_IO);
	buf_append_str(&conn.in, "nonsense\r\n\r\n");
	assert_int_equal(client_reply_whole(&r, &conn, HTTP_POST, &fault), ERR_PROTOCOL);
	client_reply_fini(&r);
	client_conn_fini(&conn);
	buf_fini(&seen);
}

static void problems_are_read(void **state)
{
	struct client_problem p;

	(void)state;
	client_problem_of(
		SLICE_LIT(
			"{\"status\":413,\"title\":\"T\",\"detail\":\"too \\\"big\\\"\\n\",\"code\":\"record_too_large\"}"),
		&p);
	assert_string_equal(p.code, "record_too_large");
	assert_string_equal(p.detail, "too \"big\" ");
	client_problem_of(
		SLICE_LIT(
			"{\"code\":\"invalid_batch\",\"detail\":\"d\",\"errors\":[{\"code\":\"invalid_record\",\"detail\":\"e\"},{\"code\":\"x\"}]}"),
		&p);
	assert_string_equal(p.code, "invalid_record");
	assert_string_equal(p.detail, "e");
	client_problem_of(SLICE_LIT("{\"code\":7,\"title\":\"T\"}"), &p);
	assert_string_equal(p.code, "");
	assert_string_equal(p.detail, "T");
	client_problem_of(SLICE_LIT("<html>"), &p);
	assert_string_equal(p.detail, "");
	client_problem_of(SLICE_LIT("[{\"code\":\"x\"}]"), &p);
	assert_string_equal(p.code, "");
}

/* Lines through a pipe, cut at every place. */
static void lines_are_the_same_however_they_are_cut(void **state)
{
	static const char bytes[] = "one\n\ntwo\r\nthree";
	struct lines l;
	struct slice line;
	struct fault fault;
	struct buf seen;
	int fds[2];

	(void)state;
	buf_init(&seen, 100);
	for (size_t cut = 1; cut < sizeof(bytes); cut++) {
		buf_clear(&seen);
		assert_int_equal(pipe(fds), 0);
		assert_int_equal(lines_open(&l, NULL, &fault), 0);
		l.fd = fds[0];
		for (size_t at = 0; !lines_done(&l); at += cut) {
			size_t left = at < sizeof(bytes) - 1 ? sizeof(bytes) - 1 - at : 0;
			if (left > 0)
				assert_true(write(fds[1], bytes + at, left < cut ? left : cut) > 0);
			else if (fds[1] >= 0) {
				close(fds[1]);
				fds[1] = -1;
			}
			assert_int_equal(lines_read(&l, &fault), 0);
			while (lines_next(&l, &line)) {
				buf_append_slice(&seen, line);
				buf_append_byte(&seen, '|');
			}
		}
		assert_true(slice_eq_str(buf_slice(&seen), "one||two\r|three|"));
		assert_int_equal(l.count, 4);
		lines_close(&l);
	}
	buf_fini(&seen);
}

static void waits_double_up_to_a_bound(void **state)
{
	struct client_backoff b;
	int64_t delay = 0;

	(void)state;
	client_backoff_init(&b);
	for (int i = 0; i < 20; i++) {
		delay = client_backoff_next(&b);
		assert_true(delay >= 50 && delay <= 5000);
	}
	assert_true(delay >= 2500);
	client_backoff_reset(&b);
	assert_true(client_backoff_next(&b) <= 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(urls_are_strict),
		cmocka_unit_test(answers_are_the_same_however_they_are_cut),
		cmocka_unit_test(problems_are_read),
		cmocka_unit_test(lines_are_the_same_however_they_are_cut),
		cmocka_unit_test(waits_double_up_to_a_bound),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
