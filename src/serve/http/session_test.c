/* SPDX-License-Identifier: Apache-2.0 */
/* Requests and their answers: order, streams, upgrades, peers that go away. */
#include "serve/http/session_test.h"

static void a_request_is_answered(void **state)
{
	(void)state;
	expect("GET /healthz HTTP/1.1\r\n" LAST "\r\n",
	       "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 16\r\nConnection: close\r\n\r\n"
	       "{\"status\":\"ok\"}\n");
	expect("HEAD /healthz HTTP/1.1\r\n" LAST "\r\n",
	       "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 16\r\nConnection: close\r\n\r\n");
	expect("POST /none HTTP/1.1\r\n" LAST "\r\n", "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
	expect("GET /items/a%2Fb/x/c%20d HTTP/1.1\r\n" LAST "\r\n",
	       "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 7\r\nConnection: close\r\nETag: \"1\"\r\n\r\n"
	       "a/b c d");
	expect("GET /none HTTP/1.0\r\n\r\n", "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
}

#define MIXED                                                                              \
	"POST /echo HTTP/1.1\r\n" HOST "Content-Length: 5\r\n\r\nhello"                    \
	"GET /delay?ms=0&text=slow HTTP/1.1\r\n" HOST "\r\n"                               \
	"POST /echo HTTP/1.1\r\n" HOST                                                     \
	"Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\n4\r\ndefg\r\n0\r\nT: u\r\n\r\n" \
	"POST /echo HTTP/1.1\r\n" HOST "Content-Length: 0\r\n\r\n"                         \
	"POST /nowhere HTTP/1.1\r\n" HOST "Content-Length: 4\r\n\r\nlost"                  \
	"PUT /echo HTTP/1.1\r\n" LAST "Content-Length: 3\r\n\r\nend"

static const char mixed_answer[] = ECHOED(
	"5", "hello") "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nslow" ECHOED("7", "abcdefg")
	ECHOED("0",
	       "") "HTTP/1.1 404 Not Found\r\nContent-Type: application/problem+json\r\nContent-Length: 110\r\n\r\n"
		   "{\"title\":\"There is no such resource\",\"status\":404,\"detail\":\"There is nothing at /nowhere\","
		   "\"code\":\"not_found\"}\n"
		   "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 3\r\nConnection: close\r\n\r\nend";

static void answers_come_in_order_however_the_requests_are_cut(void **state)
{
	struct slice all = SLICE_LIT(MIXED);

	(void)state;
	expect(MIXED, mixed_answer);
	for (size_t cut = 1; cut < all.len; cut++) {
		int fd = dial();
		char *got;

		say(fd, slice_make(all.ptr, cut));
		nap();
		say(fd, slice_from(all, cut));
		got = hear(fd, NULL);
		assert_string_equal(got, mixed_answer);
		free(got);
		close(fd);
	}
}

static void a_request_may_come_byte_by_byte(void **state)
{
	struct slice all = SLICE_LIT(MIXED);
	int fd = dial();
	char *got;

	(void)state;
	for (size_t i = 0; i < all.len; i++) {
		say(fd, slice_make(all.ptr + i, 1));
		nap();
	}
	got = hear(fd, NULL);
	assert_string_equal(got, mixed_answer);
	free(got);
	close(fd);
}

static void delayed_answers_keep_their_order(void **state)
{
	(void)state;
	expect("GET /delay?ms=400&text=a HTTP/1.1\r\n" HOST "\r\nGET /delay?ms=200&text=b HTTP/1.1\r\n" HOST
	       "\r\n"
	       "GET /delay?ms=1&text=c HTTP/1.1\r\n" LAST "\r\n",
	       "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na"
	       "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nb"
	       "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nConnection: close\r\n\r\nc");
}

static void more_requests_than_may_be_in_flight_are_all_answered(void **state)
{
	struct buf b;
	char *got, *at;
	int fd = dial(), before = handled, seen = 0;

	(void)state;
	buf_init(&b, 1 << 20);
	for (int i = 0; i < 300; i++)
		buf_appendf(&b, "GET /delay?ms=100&text=n%d. HTTP/1.1\r\n" HOST "%s\r\n", i,
			    i == 299 ? "Connection: close\r\n" : "");
	say(fd, slice_make(b.ptr, b.len - 1));
	nap();
	assert_true(handled - before <= 64);
	say(fd, slice_from(buf_slice(&b), b.len - 1));
	got = hear(fd, NULL);
	at = got;
	for (int i = 0; i < 300; i++) {
		char want[20];

		snprintf(want, sizeof(want), "n%d.", i);
		at = strstr(at, want);
		assert_non_null(at);
		seen++;
	}
	assert_int_equal(seen, 300);
	free(got);
	buf_fini(&b);
	close(fd);
}

static void streams_keep_to_their_credit_and_end(void **state)
{
	char *got = talk("GET /stream?n=2 HTTP/1.1\r\n" HOST "\r\nGET /none HTTP/1.1\r\n" LAST "\r\n");
	char *at;

	(void)state;
	at = strstr(got, "Transfer-Encoding: chunked\r\n\r\n5\r\nbegin\r\n3e8\r\nsss");
	assert_non_null(at);
	at = strstr(at, "s\r\n0\r\n\r\nHTTP/1.1 204 No Content\r\n");
	assert_non_null(at);
	free(got);
	got = talk("GET /stream?n=2000 HTTP/1.1\r\n" HOST "\r\nGET /none HTTP/1.1\r\n" LAST "\r\n");
	assert_true(strlen(got) > 2000 * 1007);
	assert_non_null(strstr(got, "\r\n0\r\n\r\nHTTP/1.1 204"));
	free(got);
	got = talk("GET /stream?n=1&access_token=a HTTP/1.0\r\n\r\n");
	assert_null(strstr(got, "chunked"));
	assert_non_null(strstr(got, "\r\n\r\nbeginsss"));
	free(got);
	expect("HEAD /stream?n=3 HTTP/1.1\r\n" LAST "\r\n",
	       "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n");
	/* Behind a request in flight it waits. */
	got = talk("GET /delay?ms=100&text=x HTTP/1.1\r\n" HOST "\r\nGET /stream?n=0 HTTP/1.1\r\n" LAST
		   "\r\n");
	assert_true(strncmp(got, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 200 OK", 54) == 0);
	free(got);
}

static void owners_are_told_of_peers_that_went_away(void **state)
{
	struct linger reset = {.l_onoff = 1};
	int before = cancelled, started = handled;
	int fd = dial();

	(void)state;
	say(fd, SLICE_LIT("GET /delay?ms=60000 HTTP/1.1\r\n" HOST "\r\nGET /delay?ms=60000 HTTP/1.1\r\n" HOST
			  "\r\n"));
	wait_for(&handled, started + 2);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset)), 0);
	close(fd);
	wait_for(&cancelled, before + 2);
	fd = dial();
	say(fd, SLICE_LIT("GET /stream?n=77 HTTP/1.1\r\n" HOST "\r\n"));
	free(hear(fd, "begin"));
	close(fd);
	wait_for(&cancelled, before + 3);
}

static void a_client_that_has_ended_still_gets_its_answers(void **state)
{
	char *got;
	int fd = dial();

	(void)state;
	say(fd,
	    SLICE_LIT("GET /delay?ms=150&text=x HTTP/1.1\r\n" HOST "\r\nGET /none HTTP/1.1\r\n" HOST "\r\n"));
	shutdown(fd, SHUT_WR);
	got = hear(fd, NULL);
	assert_string_equal(got,
			    "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 204 No Content\r\n\r\n");
	free(got);
	close(fd);
	fd = dial();
	say(fd, SLICE_LIT("POST /echo HTTP/1.1\r\n" HOST "Content-Length: 3\r\n\r\nab"));
	shutdown(fd, SHUT_WR);
	got = hear(fd, NULL);
	assert_non_null(strstr(got, "400 Bad Request"));
	assert_non_null(strstr(got, "ended before the body did"));
	free(got);
	close(fd);
	fd = dial();
	say(fd, SLICE_LIT("GET / HT"));
	shutdown(fd, SHUT_WR);
	got = hear(fd, NULL);
	assert_non_null(strstr(got, "ended within the head"));
	free(got);
	close(fd);
	fd = dial();
	shutdown(fd, SHUT_WR);
	got = hear(fd, NULL);
	assert_string_equal(got, "");
	free(got);
	close(fd);
}

static void an_upgrade_hands_over_what_follows(void **state)
{
	static const char head[] =
		"HTTP/1.1 101 Switching Protocols\r\nUpgrade: upper\r\nConnection: Upgrade\r\n\r\n";
	char *got = talk("GET /upper HTTP/1.1\r\n" HOST "Connection: upgrade\r\nUpgrade: upper\r\n\r\nabc.");
	char want[200];

	(void)state;
	snprintf(want, sizeof(want), "%sABC.", head);
	assert_string_equal(got, want);
	free(got);
	got = talk("GET /delay?ms=100&text=x HTTP/1.1\r\n" HOST "\r\nGET /upper HTTP/1.1\r\n" HOST
		   "\r\nabc.");
	assert_non_null(strstr(got, "\r\n\r\nxHTTP/1.1 101"));
	assert_non_null(strstr(got, "\r\n\r\nABC."));
	free(got);
	wait_for(&connections, 0);
}

static void a_request_allocates_nothing(void **state)
{
	int fd = dial();
	uint64_t before;

	(void)state;
	for (int i = 0; i < 3; i++) {
		before = mem_calls();
		for (int k = 0; k < 50; k++) {
			say(fd, SLICE_LIT("POST /echo HTTP/1.1\r\n" HOST
					  "Content-Type: text/plain\r\nContent-Length: 5\r\n\r\nhello"));
			free(hear(fd, "hello"));
		}
	}
	assert_int_equal(mem_calls() - before, 0);
	close(fd);
}

static void bodies_of_answers_may_be_shared(void **state)
{
	char *got = talk("GET /blob HTTP/1.1\r\n" HOST "\r\nGET /delay?ms=0&text=x HTTP/1.1\r\n" HOST
			 "\r\nGET /blob HTTP/1.1\r\n" LAST "\r\n");
	size_t count = 0;

	(void)state;
	for (const char *at = got; *at; at++)
		count += *at == 'b' && (at[1] == 'b' || at[-1] == 'b');
	assert_int_equal(count, 8000);
	free(got);
	expect("HEAD /blob HTTP/1.1\r\n" LAST "\r\n",
	       "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 4000\r\nConnection: close\r\n\r\n");
	expect_part("GET /members HTTP/1.1\r\n" LAST "\r\n", "422",
		    "\"detail\":\"1 bad\",\"code\":\"invalid_batch\",\"errors\":[]}\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_request_is_answered),
		cmocka_unit_test(a_request_allocates_nothing),
		cmocka_unit_test(answers_come_in_order_however_the_requests_are_cut),
		cmocka_unit_test(a_request_may_come_byte_by_byte),
		cmocka_unit_test(delayed_answers_keep_their_order),
		cmocka_unit_test(more_requests_than_may_be_in_flight_are_all_answered),
		cmocka_unit_test(streams_keep_to_their_credit_and_end),
		cmocka_unit_test(owners_are_told_of_peers_that_went_away),
		cmocka_unit_test(a_client_that_has_ended_still_gets_its_answers),
		cmocka_unit_test(an_upgrade_hands_over_what_follows),
		cmocka_unit_test(bodies_of_answers_may_be_shared),
	};

	return cmocka_run_group_tests(tests, set_up, tear_down);
}
