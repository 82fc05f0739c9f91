/* SPDX-License-Identifier: Apache-2.0 */
/* What is bounded, each on a server of its own: time, memory, connections, the end. */
#include "serve/http/session_test.h"

static void deadlines_cut_the_silent_and_the_slow(void **state)
{
	struct http_options o = {.head_timeout_ns = 600 * MS,
				 .body_grace_ns = 300 * MS,
				 .body_rate = 1000000,
				 .idle_timeout_ns = 300 * MS,
				 .small_body_max = 1000,
				 .in_flight_max = 2};
	char *got;
	int fd;

	(void)state;
	start_server(&o);
	expect("", "");
	expect("GET /none HTTP/1.1\r\n" HOST "\r\n", "HTTP/1.1 204 No Content\r\n\r\n");
	expect_part("GET /none HTTP/1.1\r\n", "408", "head of the request did not come in time");
	expect_part("POST /echo HTTP/1.1\r\n" HOST "Content-Length: 10\r\n\r\nab", "408",
		    "more slowly than allowed");
	expect_part("POST /echo HTTP/1.1\r\n" HOST "Transfer-Encoding: chunked\r\n\r\n5\r\na", "408",
		    "request_timeout");
	/* A request in flight has no deadline, and bytes behind it have theirs from when they came. */
	fd = dial();
	say(fd, SLICE_LIT("GET /delay?ms=1500&text=x HTTP/1.1\r\n" HOST "\r\n"));
	usleep(900000);
	say(fd, SLICE_LIT("GET /none HTTP/1.1\r\n"));
	usleep(200000);
	say(fd, SLICE_LIT(LAST "\r\n"));
	got = hear(fd, NULL);
	assert_string_equal(got, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nxHTTP/1.1 204 No Content\r\n"
				 "Connection: close\r\n\r\n");
	free(got);
	close(fd);
	/* So do bytes that had to wait until there was room for another request. */
	fd = dial();
	say(fd, SLICE_LIT("GET /delay?ms=1000&text=x HTTP/1.1\r\n" HOST
			  "\r\nGET /delay?ms=2000&text=y HTTP/1.1\r\n" HOST "\r\nGET /none HTTP/1.1\r\n"));
	free(hear(fd, "\r\n\r\nx"));
	usleep(200000);
	say(fd, SLICE_LIT(LAST "\r\n"));
	got = hear(fd, NULL);
	assert_string_equal(got, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nyHTTP/1.1 204 No Content\r\n"
				 "Connection: close\r\n\r\n");
	free(got);
	close(fd);
	stop_server();
}

struct ask_turns {
	struct loop_msg msg; /* first */
	atomic_int done;
	uint64_t turns;
};

static void tell_turns(struct loop *l, struct loop_msg *msg)
{
	struct ask_turns *ask = (struct ask_turns *)msg;

	ask->turns = loop_turns(l);
	ask->done = 1;
}

static uint64_t count_turns(void)
{
	struct ask_turns ask = {.msg.run = tell_turns};

	loop_post(loop, &ask.msg);
	wait_for(&ask.done, 1);
	return ask.turns;
}

static void who_waits_long_wakes_nobody(void **state)
{
	struct http_options o = {.head_timeout_ns = 500 * MS, .idle_timeout_ns = 500 * MS};
	int fds[6], before = handled;
	uint64_t turns;
	char *got;

	(void)state;
	start_server(&o);
	for (int i = 0; i < 6; i++) {
		fds[i] = dial();
		if (i % 2 == 0) {
			say(fds[i], SLICE_LIT("GET /stream?n=77 HTTP/1.1\r\n" HOST "\r\n"));
			free(hear(fds[i], "begin"));
		} else { /* behind the answer of another, and its head in two pieces */
			say(fds[i], SLICE_LIT("GET /none HTTP/1.1\r\n" HOST "\r\nGET /delay?ms=060000 HT"));
			free(hear(fds[i], "\r\n\r\n"));
			say(fds[i], SLICE_LIT("TP/1.1\r\n" HOST "\r\n"));
		}
	}
	wait_for(&handled, before + 3);
	turns = count_turns();
	usleep(800000);
	assert_int_equal(count_turns() - turns, 1); /* that of asking: no deadline of before rings */
	for (int i = 0; i < 6; i++)
		close(fds[i]);
	fds[0] = dial(); /* afterwards deadlines count again */
	say(fds[0], SLICE_LIT("GET /delay?ms=0800&text=x HTTP/1.1\r\n" HOST "\r\n"));
	got = hear(fds[0], NULL);
	assert_string_equal(got, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx");
	free(got);
	close(fds[0]);
	stop_server();
}

static void memory_in_flight_is_bounded_and_comes_back(void **state)
{
	struct http_options o = {.small_body_max = 1000, .in_flight_bytes_max = 10000};
	int before = handled;
	struct buf b;
	char *got;
	int fd;

	(void)state;
	start_server(&o);
	fd = dial();
	buf_init(&b, 1 << 20);
	for (int i = 0; i < 40; i++)
		buf_append_str(&b, "GET /delay?ms=100&text=x HTTP/1.1\r\n" HOST "\r\n");
	buf_append_str(&b, "GET /none HTTP/1.1\r\n" LAST "\r\n");
	say(fd, buf_slice(&b));
	got = hear(fd, "\r\n\r\nx");
	assert_true(handled - before <= 10);
	free(got);
	got = hear(fd, NULL);
	assert_non_null(strstr(got, "204 No Content"));
	free(got);
	buf_fini(&b);
	close(fd);
	stop_server();
}

static void bodies_on_their_way_have_a_budget(void **state)
{
	struct http_options o = {.small_body_max = 100000};
	int one, other;
	char *got;

	(void)state;
	budget_max = 16000; /* two connections, their requests and one body */
	start_server(&o);
	one = dial();
	say(one, SLICE_LIT("POST /echo HTTP/1.1\r\n" HOST "Content-Length: 8000\r\n\r\na"));
	usleep(50000);
	other = dial();
	say(other, SLICE_LIT("POST /echo HTTP/1.1\r\n" HOST "Content-Length: 8000\r\n\r\na"));
	got = hear(other, "}\n");
	assert_non_null(strstr(got, "HTTP/1.1 503 "));
	assert_non_null(strstr(got, "Retry-After: 1\r\n"));
	assert_non_null(strstr(got, "\"overloaded\""));
	free(got);
	close(one);
	close(other);
	wait_for(&connections, 0);
	/* What was charged has come back. */
	one = dial();
	say(one, SLICE_LIT("POST /echo HTTP/1.1\r\n" LAST "Content-Length: 7500\r\n\r\n"));
	usleep(50000);
	for (int i = 0; i < 75; i++)
		say(one, SLICE_LIT("0123456789012345678901234567890123456789012345678901234567890123456789"
				   "012345678901234567890123456789"));
	got = hear(one, NULL);
	assert_int_equal(strncmp(got, "HTTP/1.1 200", 12), 0);
	free(got);
	close(one);
	stop_server();
}

static void a_draining_server_closes_with_its_answers(void **state)
{
	struct http_options o = {.small_body_max = 1000};
	struct loop_msg msg = {.run = close_idle};
	char *got;
	int fd, idle;

	(void)state;
	start_server(&o);
	idle = dial();
	fd = dial();
	say(fd, SLICE_LIT("GET /none HTTP/1.1\r\n" HOST "\r\n"));
	got = hear(fd, "\r\n\r\n");
	assert_null(strstr(got, "close"));
	free(got);
	http_server_drain(server);
	say(fd, SLICE_LIT("GET /no"));
	usleep(50000);
	loop_post(loop, &msg);
	got = hear(idle, NULL);
	assert_string_equal(got, "");
	free(got);
	close(idle);
	say(fd, SLICE_LIT("ne HTTP/1.1\r\n" HOST "\r\n"));
	got = hear(fd, NULL);
	assert_string_equal(got, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
	free(got);
	close(fd);
	stop_server();
}

static void a_connection_too_many_is_told(void **state)
{
	struct http_options o = {.small_body_max = 1000};
	char *got;
	int one, other;

	(void)state;
	connections_max = 1;
	start_server(&o);
	connections_max = 0;
	one = dial();
	say(one, SLICE_LIT("GET /none HTTP/1.1\r\n" HOST "\r\n"));
	free(hear(one, "\r\n\r\n"));
	other = dial();
	got = hear(other, "}");
	assert_non_null(strstr(got, "HTTP/1.1 503 "));
	assert_non_null(strstr(got, "too_many_connections"));
	free(got);
	close(one);
	close(other);
	stop_server();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(deadlines_cut_the_silent_and_the_slow),
		cmocka_unit_test(who_waits_long_wakes_nobody),
		cmocka_unit_test(a_connection_too_many_is_told),
		cmocka_unit_test(memory_in_flight_is_bounded_and_comes_back),
		cmocka_unit_test(bodies_on_their_way_have_a_budget),
		cmocka_unit_test(a_draining_server_closes_with_its_answers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
