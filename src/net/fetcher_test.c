/* SPDX-License-Identifier: Apache-2.0 */
/* What is asked and what comes of it: heads, bodies, their bounds, pauses, many calls at once. */
#include "net/fetcher_test.h"

static void gives_status_head_and_body(void **state)
{
	struct seen *s = make("/hello");

	(void)state;
	fetch(s);
	assert_int_equal(s->err, 0);
	assert_int_equal(s->status, 200);
	assert_int_equal(s->class, FETCHER_OK);
	assert_int_equal(s->heads, 1);
	assert_int_equal(s->status_at_head, 200);
	assert_string_equal(s->etag, "\"one\"");
	assert_string_equal(s->many, "b");
	assert_true(body_is(s, "hello"));
	assert_int_equal(s->plain_bytes, 5);
	assert_string_equal(s->url, fetched_url);
}

static void connections_are_used_again(void **state)
{
	(void)state;
	for (int i = 0; i < 20; i++) {
		struct seen *s = make("/hello");

		fetch(s);
		assert_int_equal(s->err, 0);
	}
	assert_int_equal(atomic_load(&web.connections), 1);
	assert_int_equal(figures().sockets, 1);
	assert_int_equal(figures().calls, 0);
}

static void await_sessions(int count)
{
	for (int i = 0; i < 20000 && atomic_load(&web.sessions) != count; i++)
		(void)usleep(1000);
	assert_int_equal(atomic_load(&web.sessions), count);
}

struct closing {
	struct loop_msg msg;
	const char *url;
	uint32_t count;
	sem_t done;
};

static void close_kept(struct loop *on, struct loop_msg *msg)
{
	struct closing *c = (struct closing *)msg;

	c->count = fetcher_close_kept(on, slice_str(c->url));
	sem_post(&c->done);
}

static uint32_t close_kept_to(const char *url)
{
	struct closing c = {.msg = {.run = close_kept}, .url = url};

	sem_init(&c.done, 0, 0);
	loop_post(loop, &c.msg);
	while (sem_wait(&c.done) != 0)
		;
	sem_destroy(&c.done);
	return c.count;
}

static void connections_that_are_kept_can_be_closed_and_the_next_call_has_a_new_one(void **state)
{
	char url[100], other[100];
	struct seen *s = make("/hello");

	(void)state;
	(void)snprintf(url, sizeof(url), "http://127.0.0.1:%u/any/path", web.port);
	(void)snprintf(other, sizeof(other), "http://127.0.0.1:%u/", web.port ^ 1u);
	assert_int_equal(close_kept_to(url), 0);
	fetch(s);
	await_sessions(1);
	assert_int_equal(close_kept_to(other), 0);
	assert_int_equal(close_kept_to("nonsense"), 0);
	assert_int_equal(close_kept_to(url), 1);
	await_sessions(0); /* the server has seen it */
	assert_int_equal(close_kept_to(url), 0);
	s = make("/hello");
	fetch(s);
	assert_int_equal(s->err, 0);
	assert_true(body_is(s, "hello"));
	assert_int_equal(atomic_load(&web.connections), 2);
}

static void sends_what_it_was_told(void **state)
{
	const struct fetcher_field fields[] = {
		{SLICE_LIT("X-One"), SLICE_LIT("1"), false},
		{SLICE_LIT("X-Empty"), SLICE_LIT(""), false},
	};
	struct seen *s = make("/echo?a=b");

	(void)state;

	fetch(s);
	assert_int_equal(s->status, 404); /* the query is a part of the path of this server: it was sent */
	assert_non_null(strstr(s->text, "/echo?... was answered with status 404"));
	s = make("/echo");
	s->options.method = "PATCH";
	s->options.body = SLICE_LIT("{\"a\":1}");
	s->options.fields = fields;
	s->options.field_count = 2;
	s->options.auth = FETCHER_AUTH_BASIC;
	s->options.user = SLICE_LIT("Aladdin");
	s->options.secret = SLICE_LIT("open sesame");
	s->options.packed = true;
	fetch(s);
	assert_int_equal(s->err, 0);
	assert_true(body_has(s, "PATCH /echo HTTP/1.1\r\n"));
	assert_true(body_has(s, "\r\nX-One: 1\r\n"));
	assert_true(body_has(s, "\r\nX-Empty:\r\n"));
	assert_true(body_has(s, "\r\nAuthorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==\r\n"));
	assert_true(body_has(s, "\r\nAccept-Encoding: gzip, zstd\r\n"));
	assert_true(body_has(s, "\r\nUser-Agent: weir/"));
	assert_true(body_has(s, "\r\n\r\n{\"a\":1}"));
	assert_false(body_has(s, "Content-Type"));
	assert_false(body_has(s, "Expect"));
	s = make("/echo");
	s->options.method = "POST";
	s->options.auth = FETCHER_AUTH_BEARER;
	s->options.secret = SLICE_LIT("t0ken");
	fetch(s);
	assert_true(body_has(s, "POST /echo"));
	assert_true(body_has(s, "\r\nContent-Length: 0\r\n"));
	assert_true(body_has(s, "\r\nAuthorization: Bearer t0ken\r\n"));
}

static void head_has_no_body(void **state)
{
	struct seen *s = make("/unchanged");

	(void)state;
	s->options.method = "HEAD";
	fetch(s);
	assert_int_equal(s->err, 0);
	assert_int_equal(s->status, 304);
	assert_int_equal(s->heads, 0);
}

static void statuses_are_sorted(void **state)
{
	static const struct {
		int status;
		enum fetcher_class class;
	} rows[] = {{400, FETCHER_FINAL},     {401, FETCHER_FINAL},     {403, FETCHER_FINAL},
		    {404, FETCHER_FINAL},     {408, FETCHER_TRANSIENT}, {410, FETCHER_FINAL},
		    {425, FETCHER_TRANSIENT}, {429, FETCHER_TRANSIENT}, {500, FETCHER_TRANSIENT},
		    {502, FETCHER_TRANSIENT}, {503, FETCHER_TRANSIENT}, {302, FETCHER_FINAL}};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char path[30], text[60];
		struct seen *s;

		(void)snprintf(path, sizeof(path), "/status/%d", rows[i].status);
		s = make(path);
		fetch(s);
		assert_int_equal(s->err, ERR_REMOTE_STATUS);
		assert_int_equal(s->status, rows[i].status);
		assert_int_equal(s->class, rows[i].class);
		assert_int_equal(s->retry_after_ms, 7000);
		assert_int_equal(s->heads + s->pieces, 0);
		(void)snprintf(text, sizeof(text), "was answered with status %d: say it well",
			       rows[i].status);
		assert_non_null(strstr(s->text, text));
	}
	assert_int_equal(atomic_load(&web.connections), 1); /* a refusal leaves the connection good */
}

static void chunks_and_trailers_are_a_body(void **state)
{
	struct seen *s = make("/chunked");

	(void)state;
	fetch(s);
	assert_int_equal(s->err, 0);
	assert_true(body_is(s, "hello world"));
}

static void bodies_are_unpacked(void **state)
{
	static const char *const paths[] = {"/gzip", "/zstd"};

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct seen *s = make(paths[i]);

		s->options.packed = true;
		fetch(s);
		assert_string_equal(s->text, "");
		assert_int_equal(s->plain_bytes, 16 * MIB);
		assert_int_equal(s->body.len, 16 * MIB);
		assert_true(s->wire_bytes < 8 * MIB);
		for (size_t k = 0; k < 16 * MIB; k += 4097)
			assert_int_equal(s->body.ptr[k], k % 61 == 60 ? '\n' : letter(k));
	}
}

static void bounds_hold_for_what_is_unpacked(void **state)
{
	struct seen *s = make("/gzip");

	(void)state;
	s->options.limits.bytes_max = 15 * MIB;
	fetch(s);
	assert_int_equal(s->err, ERR_BODY_TOO_LARGE);
	assert_int_equal(s->class, FETCHER_FINAL);
	assert_true(s->bytes <= 15 * MIB);
	s = make("/zstd");
	s->options.limits.ratio_max = 1;
	fetch(s);
	assert_int_equal(s->err, ERR_BODY_TOO_LARGE);
	assert_non_null(strstr(s->text, "more than 1 times"));
}

static void foreign_and_broken_codings_are_told(void **state)
{
	struct seen *s = make("/brotli");

	(void)state;
	fetch(s);
	assert_int_equal(s->err, ERR_BAD_ENCODING);
	assert_int_equal(s->class, FETCHER_FINAL);
	s = make("/half-gzip");
	fetch(s);
	assert_int_equal(s->err, ERR_BAD_ENCODING);
	assert_int_equal(s->class, FETCHER_TRANSIENT);
	assert_non_null(strstr(s->text, "ends too early"));
}

static void a_body_that_is_cut_is_transient(void **state)
{
	static const char *const paths[] = {"/cut", "/silent", "/noise"};

	(void)state;
	for (int i = 0; i < 3; i++) {
		struct seen *s = make(paths[i]);

		fetch(s);
		assert_true(s->err == ERR_UNREACHABLE || s->err == ERR_PROTOCOL);
		assert_int_equal(s->class, FETCHER_TRANSIENT);
	}
}

static void nobody_listens(void **state)
{
	struct seen *s = make("http://127.0.0.1:1/");

	(void)state;
	fetch(s);
	assert_int_equal(s->err, ERR_UNREACHABLE);
	assert_int_equal(s->class, FETCHER_TRANSIENT);
	assert_int_equal(s->status, 0);
	s = make("http://no-such-host.invalid/");
	fetch(s);
	assert_int_equal(s->err, ERR_UNREACHABLE);
	assert_non_null(strstr(s->text, "no-such-host.invalid"));
}

static void ten_gigabytes_are_not_read(void **state)
{
	struct seen *s = make("/huge");

	(void)state;
	fetch(s);
	assert_int_equal(s->err, ERR_BODY_TOO_LARGE);
	assert_int_equal(s->class, FETCHER_FINAL);
	assert_non_null(strstr(s->text, "10737418240"));
	assert_int_equal(s->bytes, 0);
	s = make("/endless");
	s->options.limits.bytes_max = 3 * MIB;
	fetch(s);
	assert_int_equal(s->err, ERR_BODY_TOO_LARGE);
	assert_true(s->bytes <= 3 * MIB);
	assert_non_null(strstr(s->text, "the limit of 3145728 bytes"));
}

static void a_byte_now_and_then_is_too_slow(void **state)
{
	struct seen *s = make("/slow");

	(void)state;
	s->options.limits.slow_bytes = 1000;
	s->options.limits.slow_seconds = 1;
	fetch(s);
	assert_int_equal(s->err, ERR_UNREACHABLE);
	assert_int_equal(s->class, FETCHER_TRANSIENT);
	assert_non_null(strstr(s->text, "too slow"));
	s = make("/slow");
	s->options.limits.total_ms = 300;
	fetch(s);
	assert_int_equal(s->err, ERR_UNREACHABLE);
	assert_non_null(strstr(s->text, "not done within 300 ms"));
}

static void long_heads_and_long_refusals_are_cut(void **state)
{
	struct seen *s = make("/long-head");

	(void)state;
	fetch(s);
	assert_int_equal(s->err, ERR_HEADER_TOO_LARGE);
	s = make("/endless-refusal");
	fetch(s);
	assert_int_equal(s->err, ERR_REMOTE_STATUS);
}

static void resume_one(struct loop *on, struct loop_msg *msg)
{
	(void)on;
	fetcher_resume(((struct seen *)msg)->call);
}

static void await_pause(struct seen *s)
{
	for (int i = 0; i < 20000 && atomic_load(&s->paused_with) == 0; i++)
		(void)usleep(1000);
	assert_true(atomic_load(&s->paused_with) > 0);
}

static void a_pause_holds_the_peer_back(void **state)
{
	struct seen *s = make("/endless");
	int64_t sent = 0, before = -1;

	(void)state;
	s->keep = false;
	s->pause_at = 100000;
	s->options.limits.bytes_max = 64 * MIB;
	loop_post(loop, &s->msg);
	await_pause(s);
	while (sent != before) { /* until the buffers on the way are full */
		before = sent;
		(void)usleep(300000);
		sent = atomic_load(&web_sent);
	}
	assert_true(sent < 32 * (int64_t)MIB);
	assert_int_equal(s->bytes, atomic_load(&s->paused_with));
	s->msg.run = resume_one;
	loop_post(loop, &s->msg);
	await(s);
	assert_int_equal(s->err, ERR_BODY_TOO_LARGE);
	assert_true(s->bytes > 63 * MIB);
}

static void a_packed_body_is_paused_and_resumed(void **state)
{
	static const char *const paths[] = {"/gzip", "/zstd"};

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct seen *s = make(paths[i]);

		for (int k = 0; k < 10; k++) {
			s->pause_at = k == 0 ? 1 : s->bytes + MIB;
			atomic_store(&s->paused_with, 0);
			loop_post(loop, &s->msg);
			await_pause(s);
			s->msg.run = resume_one;
		}
		loop_post(loop, &s->msg);
		await(s);
		assert_string_equal(s->text, "");
		assert_int_equal(s->body.len, 16 * MIB);
	}
}

static void cancelled_calls_are_silent(void **state)
{
	struct seen *s = make("/endless");

	(void)state;
	s->keep = false;
	s->cancel_at = 100000;
	fetch(s);
	for (int i = 0; i < 20000 && figures().calls > 0; i++)
		(void)usleep(1000);
	assert_int_equal(figures().calls, 0);
	assert_int_equal(s->text[0], 0);
}

static void many_at_once(void **state)
{
	enum { COUNT = 200 };
	static struct seen all[COUNT];
	static char urls[COUNT][300];

	(void)state;
	for (int i = 0; i < COUNT; i++) {
		init_seen(&all[i], i % 3 ? "/hello" : "/status/503", urls[i]);
		loop_post(loop, &all[i].msg);
	}
	for (int i = 0; i < COUNT; i++) {
		await(&all[i]);
		assert_int_equal(all[i].status, i % 3 ? 200 : 503);
		buf_fini(&all[i].body);
	}
	assert_true(atomic_load(&web.connections) <= 32);
}

static void what_is_no_request_is_refused_at_once(void **state)
{
	static const struct {
		const char *url, *method;
		struct fetcher_field field;
	} rows[] = {
		{"ftp://host/", NULL, {{0}, {0}, false}},
		{"http://user:secret@host/", NULL, {{0}, {0}, false}},
		{"http://host/a b", NULL, {{0}, {0}, false}},
		{"http://host/\xc3\xa4", NULL, {{0}, {0}, false}},
		{"http://", NULL, {{0}, {0}, false}},
		{"", NULL, {{0}, {0}, false}},
		{"host", NULL, {{0}, {0}, false}},
		{"http://host/", "GET /", {{0}, {0}, false}},
		{"http://host/", NULL, {SLICE_LIT("X"), SLICE_LIT("a\r\nY: b"), false}},
		{"http://host/", NULL, {SLICE_LIT("X:"), SLICE_LIT("a"), false}},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct seen *s = make("x");

		s->options.url = slice_str(rows[i].url);
		s->options.method = rows[i].method;
		s->options.fields = &rows[i].field;
		s->options.field_count = rows[i].field.name.ptr ? 1 : 0;
		fetch(s);
		assert_int_equal(s->start_rc, ERR_BAD_PARAMETER);
		assert_true(s->fault.text[0]);
	}
	assert_int_equal(figures().calls, 0);
}

/* The loop ends with calls in every state: each is told once. */
static void stopping_tells_everyone(void **state)
{
	static const char *const paths[] = {"/endless", "/slow", "/gzip", "http://no-such-host.invalid/",
					    "/endless"};
	static struct seen all[5];
	static char urls[5][300];

	(void)state;
	for (int i = 0; i < 5; i++) {
		init_seen(&all[i], paths[i], urls[i]);
		all[i].keep = false;
		all[i].pause_at = i == 0 || i == 2 ? 1 : 0;
		all[i].options.limits.bytes_max = 1ull << 50;
		loop_post(loop, &all[i].msg);
	}
	await_pause(&all[0]);
	await_pause(&all[2]);
	loop_stop(loop);
	for (int i = 0; i < 5; i++) {
		await(&all[i]);
		if (i != 3)
			assert_int_equal(all[i].err, ERR_CANCELLED);
		buf_fini(&all[i].body);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		CASE(gives_status_head_and_body),
		CASE(connections_are_used_again),
		CASE(connections_that_are_kept_can_be_closed_and_the_next_call_has_a_new_one),
		CASE(sends_what_it_was_told),
		CASE(head_has_no_body),
		CASE(statuses_are_sorted),
		CASE(chunks_and_trailers_are_a_body),
		CASE(bodies_are_unpacked),
		CASE(bounds_hold_for_what_is_unpacked),
		CASE(foreign_and_broken_codings_are_told),
		CASE(a_body_that_is_cut_is_transient),
		CASE(nobody_listens),
		CASE(ten_gigabytes_are_not_read),
		CASE(a_byte_now_and_then_is_too_slow),
		CASE(long_heads_and_long_refusals_are_cut),
		CASE(a_pause_holds_the_peer_back),
		CASE(a_packed_body_is_paused_and_resumed),
		CASE(cancelled_calls_are_silent),
		CASE(many_at_once),
		CASE(what_is_no_request_is_refused_at_once),
		CASE(stopping_tells_everyone),
	};

	(void)signal(SIGPIPE, SIG_IGN);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
