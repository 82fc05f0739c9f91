/* SPDX-License-Identifier: Apache-2.0 */
/* What is refused, and how: statuses and codes, origins, bodies that go on, want of memory. */
#include "serve/http/session_test.h"

/* A whole request, the connection's last; and one of a page from there. */
#define ASK(line) line " HTTP/1.1\r\n" LAST "\r\n"
#define ASK_FROM(line, origin) line " HTTP/1.1\r\n" LAST "Origin: " origin "\r\n\r\n"

struct refusal {
	const char *request, *status, *part;
};

static const struct refusal refusal_table[] = {
	{ASK("GET /x"), "404", "\"code\":\"not_found\""},
	{ASK("DELETE /echo"), "405", "Allow: POST, PUT\r\n"},
	{ASK("DELETE /healthz"), "405", "Allow: GET, HEAD\r\n"},
	{ASK("BREW /healthz"), "405", "BREW is not allowed here"},
	{ASK("CONNECT h:1"), "404", "not_found"},
	{ASK("DELETE /items/q"), "404", "\"code\":\"unknown_topic\""},
	{ASK("DELETE /items/full"), "503", "Retry-After: 1\r\n"},
	{ASK("DELETE /items/full"), "503", "\"detail\":\"There is no memory for this request\""},
	{ASK("GET /delay?sm=1"), "400", "the nearest that is is 'ms'"},
	{ASK("GET /delay?other=1"), "400", "known are ms and text"},
	{ASK("GET /items/%00"), "400", "malformed_request"},
	{ASK("GET /items/../x"), "400", "malformed_request"},
	{ASK("GET /items/"), "404", "not_found"},
	{ASK("GET /delay?mss=1"), "400", "the nearest that is is 'ms'"},
	{ASK("GET /delay?ms=1&ms=2"), "400", "given more than once"},
	{ASK("GET /delay?ms=%zz"), "400", "malformed_request"},
	{ASK("GET /delay?ms=%22%0a%ff"), "400", "ms must be a number, not '\\\"\\n\xef\xbf\xbd'"},
	{ASK("GET /delay?access_token=x"), "400", "unknown_parameter"},
	{ASK("GET /healthz?a"), "400", "takes none"},
	{ASK("POST /echo"), "411", "length_required"},
	{"POST /none HTTP/1.1\r\n" LAST "Content-Length: 1\r\n\r\nx", "413", "the limit is 0 bytes"},
	{"POST /echo HTTP/1.1\r\n" LAST "Content-Length: 1001\r\n\r\n", "413", "limit of 1000 bytes"},
	{"POST /echo HTTP/1.1\r\n" LAST "Expect: 100-continue\r\nContent-Length: 1001\r\n\r\n", "413",
	 "limit of 1000 bytes"},
	{"POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\nx\r\n", "400",
	 "does not begin with its size"},
	{"GET / HTTP/1.1\nHost: h\r\n\r\n", "400", "LF alone"},
	{"GET / HTTP/1.1\r\n\r\n", "400", "needs a Host"},
	{"GET / HTTP/2.0\r\n", "505", "http_version_not_supported"},
	{"POST / HTTP/1.1\r\n" HOST "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "400",
	 "must not stand together"},
	{"POST /echo HTTP/1.1\r\n" HOST "Expect: x\r\nContent-Length: 1\r\n\r\n", "417",
	 "expectation_failed"},
	{"GET /healthz HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n", "403", "forbidden_host"},
	{"GET /healthz HTTP/1.1\r\nHost: localhost.evil.example\r\nConnection: close\r\n\r\n", "403",
	 "forbidden_host"},
	{"GET /healthz HTTP/1.1\r\nHost: 10.0.0.1\r\nConnection: close\r\n\r\n", "403", "forbidden_host"},
	{ASK_FROM("GET /healthz", "http://evil.example"), "403", "forbidden_origin"},
	{ASK_FROM("GET /healthz", "null"), "403", "forbidden_origin"},
	{ASK_FROM("GET /x", "http://localhost:81"), "403", "forbidden_origin"},
	{"GET /none HTTP/1.1\r\n" LAST "Authorization: Bearer wrong\r\n\r\n", "401",
	 "WWW-Authenticate: Bearer"},
};

static void each_refusal_has_its_status_and_code(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(refusal_table) / sizeof(refusal_table[0]); i++) {
		const struct refusal *r = &refusal_table[i];
		int before = refusals;

		expect_part(r->request, r->status, r->part);
		expect_part(r->request, r->status, "Content-Type: application/problem+json\r\n");
		assert_int_equal(refusals - before, 2);
	}
}

static void hosts_and_origins_that_are_allowed(void **state)
{
	static const char *const good[] = {
		"Host: localhost:8080\r\n",
		"Host: LOCALHOST\r\n",
		"Host: a.localhost\r\n",
		"Host: 127.9.9.9:1\r\n",
		"Host: [::1]:1\r\n",
		"Host: Weir.example:80\r\n",
		"Host: localhost\r\nOrigin: http://localhost\r\n",
		"Host: localhost:80\r\nOrigin: http://LocalHost\r\n",
		"Host: localhost\r\nOrigin: https://localhost:443\r\n",
	};
	char request[300];

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		snprintf(request, sizeof(request), "GET /healthz HTTP/1.1\r\n%sConnection: close\r\n\r\n",
			 good[i]);
		expect_part(request, "200", "ok");
	}
	expect("OPTIONS /echo HTTP/1.1\r\n" LAST "Origin: https://app.example\r\n"
	       "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: content-type\r\n\r\n",
	       "HTTP/1.1 204 No Content\r\nConnection: close\r\nAccess-Control-Allow-Methods: POST, PUT\r\n"
	       "Access-Control-Allow-Headers: content-type\r\nAccess-Control-Max-Age: 600\r\n"
	       "Access-Control-Allow-Origin: https://app.example\r\n"
	       "Access-Control-Expose-Headers: ETag, Retry-After, Idempotent-Replayed\r\nVary: Origin\r\n\r\n");
	expect_part(ASK_FROM("GET /none", "https://app.example"), "204",
		    "Access-Control-Allow-Origin: https://app.example\r\n");
	expect_part(ASK("OPTIONS /echo"), "405", "Allow: POST, PUT");
}

/* What is answered to a request whose body is too large; lets go of it. */
static char *refusal_of(struct buf *request)
{
	int fd = dial();
	char *got;

	say(fd, buf_slice(request));
	got = hear(fd, NULL);
	assert_non_null(strstr(got, "HTTP/1.1 413 "));
	buf_fini(request);
	close(fd);
	return got;
}

/* A body the client insists on sending must not hide the answer, nor be taken for a request. */
static void an_early_refusal_is_seen_although_the_body_goes_on(void **state)
{
	struct buf b;
	char *got;

	(void)state;
	buf_init(&b, 1 << 23);
	buf_append_str(&b, "POST /echo HTTP/1.1\r\n" HOST "Content-Length: 4000000\r\n\r\n");
	while (b.len < 4000000)
		buf_append_str(&b, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
	got = refusal_of(&b);
	assert_non_null(strstr(got, "Connection: close\r\n"));
	assert_null(strstr(got, "\"ok\""));
	free(got);
}

static void chunks_over_the_limit_are_refused_on_the_way(void **state)
{
	struct buf b;
	char *got;

	(void)state;
	buf_init(&b, 1 << 20);
	buf_append_str(&b, "POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n");
	for (int i = 0; i < 101; i++)
		buf_append_str(&b, "a\r\n0123456789\r\n");
	got = refusal_of(&b);
	assert_non_null(strstr(got, "body_too_large"));
	free(got);
}

static void continue_is_sent_when_it_is_wanted(void **state)
{
	int fd = dial();
	char *got;

	(void)state;
	say(fd,
	    SLICE_LIT("POST /echo HTTP/1.1\r\n" HOST "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n"));
	got = hear(fd, "\r\n\r\n");
	assert_string_equal(got, "HTTP/1.1 100 Continue\r\n\r\n");
	free(got);
	say(fd, SLICE_LIT("abc"));
	got = hear(fd, "abc");
	assert_string_equal(got, ECHOED("3", "abc"));
	free(got);
	/* Behind a request in flight it waits for that one's answer. */
	say(fd,
	    SLICE_LIT("GET /delay?ms=100&text=x HTTP/1.1\r\n" HOST "\r\n"
		      "POST /echo HTTP/1.1\r\n" LAST "Expect: 100-continue\r\nContent-Length: 3\r\n\r\n"));
	got = hear(fd, "100 Continue\r\n\r\n");
	assert_string_equal(got,
			    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 100 Continue\r\n\r\n");
	free(got);
	say(fd, SLICE_LIT("abc"));
	got = hear(fd, NULL);
	assert_non_null(strstr(got, "\r\n\r\nabc"));
	free(got);
	close(fd);
}

static void limits_of_the_head_are_named(void **state)
{
	char *request = malloc(40000);

	(void)state;
	assert_non_null(request);
	memset(request, 'a', 39999);
	memcpy(request, "GET /", 5);
	request[9000] = '\0';
	expect_part(request, "414", "the limit is 8192 bytes");
	request[9000] = 'a';
	memcpy(request, "GET / HTTP/1.1\r\nA: ", 19);
	request[39999] = '\0';
	expect_part(request, "431", "the limit is 32768 bytes");
	free(request);
}

static void what_cannot_be_told_ends_the_connection(void **state)
{
	(void)state;
	expect("DELETE /items/mute HTTP/1.1\r\n" HOST "\r\nGET /none HTTP/1.1\r\n" LAST "\r\n", "");
	expect("GET /delay?ms=100&text=a HTTP/1.1\r\n" HOST "\r\nDELETE /items/mute HTTP/1.1\r\n" HOST
	       "\r\nGET /none HTTP/1.1\r\n" LAST "\r\n",
	       "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na");
}

/* Whichever allocation fails, it costs that request or connection, and nothing else. */
static void an_allocation_that_fails_costs_one_request(void **state)
{
	(void)state;
	for (uint64_t nth = 1; nth < 40; nth++) {
		int fd = dial();

		mem_fail_at(nth);
		say(fd, SLICE_LIT("POST /echo HTTP/1.1\r\n" HOST "Content-Length: 900\r\n\r\nabc"));
		nap();
		say(fd, SLICE_LIT("GET /delay?ms=0&text=%20 HTTP/1.1\r\n" HOST
				  "\r\nGET /none HTTP/1.1\r\n" LAST "\r\n"));
		shutdown(fd, SHUT_WR);
		free(hear(fd, NULL));
		close(fd);
		mem_fail_at(0);
		expect_part(ASK("GET /healthz"), "200", "ok");
	}
}

static void routes_that_clash_are_refused(void **state)
{
	static const struct route other = {.methods = HTTP_BIT(HTTP_HEAD),
					   .pattern = "/healthz",
					   .handle = on_none};
	static const struct route *const clash[] = {&route_healthz, &other};
	struct route_table *t;
	struct fault fault;

	(void)state;
	assert_int_equal(route_table_new(clash, 2, &t, &fault), ERR_BAD_PARAMETER);
	assert_non_null(strstr(fault.text, "/healthz"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(each_refusal_has_its_status_and_code),
		cmocka_unit_test(hosts_and_origins_that_are_allowed),
		cmocka_unit_test(an_early_refusal_is_seen_although_the_body_goes_on),
		cmocka_unit_test(chunks_over_the_limit_are_refused_on_the_way),
		cmocka_unit_test(continue_is_sent_when_it_is_wanted),
		cmocka_unit_test(limits_of_the_head_are_named),
		cmocka_unit_test(what_cannot_be_told_ends_the_connection),
		cmocka_unit_test(an_allocation_that_fails_costs_one_request),
		cmocka_unit_test(routes_that_clash_are_refused),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
