/* SPDX-License-Identifier: Apache-2.0 */
/* The type against tests/e2e/feed_server.py: a server of python3-websockets, and one that is wrong byte by byte. */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "connect/source_test.h"
#include "sys/test_dir.h"

#include "connect/websocket/websocket.h"

/* ---- the server ---- */

static struct {
	pid_t pid;
	int out; /* its lines */
	char dir[TEST_DIR_BYTES];
	unsigned plain, tls, raw;
	char lines[1u << 20]; /* all so far */
	size_t len;
} web;

/* Takes what the server says, waiting for more up to so long. */
static bool hear(int timeout_ms)
{
	struct pollfd p = {.fd = web.out, .events = POLLIN};
	ssize_t n;

	if (poll(&p, 1, timeout_ms) < 1)
		return false;
	n = read(web.out, web.lines + web.len, sizeof(web.lines) - 1 - web.len);
	if (n <= 0)
		return false;
	web.len += (size_t)n;
	web.lines[web.len] = '\0';
	return true;
}

/* Waits until the server has said it since `from`. */
static void server_says(const char *text, size_t from)
{
	for (int i = 0; i < 200 && !strstr(web.lines + from, text); i++)
		(void)hear(100);
	if (!strstr(web.lines + from, text))
		fail_msg("the server did not say '%s': %s", text, web.lines + from);
}

static const char *script(char path[4096])
{
	const char *root = getenv("WEIR_SOURCE_ROOT");

	(void)snprintf(path, 4096, "%s/tests/e2e/feed_server.py",
		       root                  ? root :
		       access("tests", F_OK) ? ".." :
					       ".");
	return path;
}

static int start_server(void **state)
{
	int ends[2];
	char path[4096];

	(void)state;
	assert_true(test_dir_make(web.dir, "websocket"));
	assert_int_equal(pipe(ends), 0);
	web.pid = fork();
	if (web.pid == 0) {
		(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
		(void)dup2(ends[1], 1);
		(void)close(ends[0]);
		(void)execl("/usr/bin/python3", "python3", script(path), web.dir, (char *)NULL);
		_exit(127);
	}
	(void)close(ends[1]);
	web.out = ends[0];
	while (!strchr(web.lines, '\n'))
		if (!hear(20000))
			break;
	return 0;
}

static int stop_server(void **state)
{
	(void)state;
	(void)kill(web.pid, SIGKILL);
	(void)waitpid(web.pid, NULL, 0);
	(void)close(web.out);
	test_dir_remove(web.dir);
	return 0;
}

/* Where there is no such library, nothing can be tested. */
static void need_server(void)
{
	char *at = web.lines;

	web.plain = (unsigned)strtoul(at, &at, 10);
	web.tls = (unsigned)strtoul(at, &at, 10);
	web.raw = (unsigned)strtoul(at, &at, 10);
	if (!web.raw)
		skip();
}

/* ---- the source ---- */

static struct source_test t;

/* In the settings: $ is the plain server, % the one with TLS, # the raw one, @ the directory. */
static const char *settings(const char *yaml)
{
	static char text[8192];
	size_t n = 0;

	for (; *yaml; yaml++)
		if (*yaml == '$')
			n += (size_t)snprintf(text + n, sizeof(text) - n, "ws://127.0.0.1:%u", web.plain);
		else if (*yaml == '%')
			n += (size_t)snprintf(text + n, sizeof(text) - n, "wss://localhost:%u", web.tls);
		else if (*yaml == '#')
			n += (size_t)snprintf(text + n, sizeof(text) - n, "ws://127.0.0.1:%u", web.raw);
		else if (*yaml == '@')
			n += (size_t)snprintf(text + n, sizeof(text) - n, "%s", web.dir);
		else
			text[n++] = *yaml;
	text[n] = '\0';
	return text;
}

static void open_source(const char *yaml)
{
	need_server();
	source_test_open(&t, &source_websocket, settings(yaml));
	(void)source_test_plan(&t);
}

/* A pull, and the wait for what it waits for. */
static enum source_end pull(uint32_t credit)
{
	struct source_test_part *p = t.parts[0];
	uint32_t woken = atomic_load(&p->woken);
	enum source_end end = source_test_pull(&t, "", credit);

	if (end == SOURCE_WAIT)
		source_test_await(p, woken + 1);
	return end;
}

/* Pulls until there are so many records and dead letters. Losses are no failures: the next pull connects again. */
static void collect(uint32_t count, uint32_t credit)
{
	for (int i = 0; t.record_count + t.dead_count < count; i++) {
		struct source_test_part *p = t.parts[0];
		uint32_t woken = atomic_load(&p->woken);
		enum source_end end = source_test_pull(&t, "", credit);

		assert_true(i < 100000);
		if (end == SOURCE_WAIT && t.record_count + t.dead_count < count)
			source_test_await(p, woken + 1);
	}
}

static void fails(const char *text)
{
	enum source_end end = SOURCE_MORE;

	while (end != SOURCE_FAILED)
		end = pull(0);
	if (!strstr(t.fault.text, text))
		fail_msg("'%s' has not '%s'", t.fault.text, text);
}

static void value_is(uint32_t i, const char *part)
{
	if (!strstr(source_test_value(&t, i), part))
		fail_msg("record %u is %s, which has no %s", i, source_test_value(&t, i), part);
}

#define TWELVE                                                                                     \
	"subscribe: ['{\"action\":\"subscribe\",\"params\":{\"symbols\":\"BTC/USD,ETH/USD\"}}']\n" \
	"answers: [/event=subscribe-status]\nrefused: /status=error\n"                             \
	"filter: [/event=price]\nkey: '{/symbol}'\nid: '{/symbol}-{/seq}'\ntimestamp: /timestamp\n"

/* ---- feeds ---- */

static void prices_are_subscribed_to_and_stored(void **state)
{
	size_t from = web.len;

	(void)state;
	open_source("url: $/prices?n=5\n" TWELVE);
	collect(5, 0);
	assert_int_equal(t.record_count, 5);
	assert_int_equal(t.dead_count, 0);
	for (uint32_t i = 0; i < 5; i++) {
		char id[40];

		(void)snprintf(id, sizeof(id), "BTC/USD-%u", i + 1);
		assert_string_equal(source_test_key(&t, i), "BTC/USD");
		assert_string_equal((const char *)t.records[i].idempotency_key.ptr, id);
		assert_int_equal(t.records[i].timestamp_ms, (1700000001 + (int64_t)i) * 1000);
		value_is(i, "\"price\"");
	}
	server_says("got {\"action\":\"subscribe\",\"params\":{\"symbols\":\"BTC/USD,ETH/USD\"}}", from);
	source_test_close(&t);
	server_says("close 1001 /prices", from);
}

static void heartbeats_are_sent(void **state)
{
	size_t from = web.len;

	(void)state;
	open_source(
		"url: $/prices?n=0\nheartbeat: {message: '{\"action\":\"heartbeat\"}', every: 100ms}\n" TWELVE);
	collect(3, 0);
	server_says("got {\"action\":\"heartbeat\"}", from);
	source_test_close(&t);
}

static void a_refusal_is_shown_without_secrets(void **state)
{
	(void)state;
	open_source("url: $/prices?status=error\n" TWELVE);
	fails("the server refuses: {\"event\": \"subscribe-status\"");
	source_test_close(&t);
	open_source("url: $/login\ntoken: wrong-s3cret\n"
		    "subscribe: ['{\"action\":\"auth\",\"key\":\"{token}\"}']\n"
		    "answers: [/0/T=success]\nrefused: /0/T=error\n");
	fails("the server refuses: [{\"T\": \"error\"");
	source_test_close(&t);
}

static void messages_wait_for_their_answers(void **state)
{
	size_t from = web.len;

	(void)state;
	open_source("url: $/login\ntoken: s3cret\nfilter: [/T=t]\nkey: '{/S}'\n"
		    "subscribe: ['{\"action\":\"auth\",\"key\":\"{token}\"}', "
		    "'{\"action\":\"subscribe\",\"trades\":[\"A\",\"B\"]}']\n"
		    "answers: [/0/T=success]\nrefused: /0/T=error\n");
	collect(2, 0);
	assert_int_equal(t.record_count, 2);
	assert_string_equal(source_test_key(&t, 1), "B");
	server_says("got {\"action\":\"subscribe\",\"trades\":[\"A\",\"B\"]}", from);
	source_test_close(&t);
}

static void an_answer_that_does_not_come_is_a_failure(void **state)
{
	(void)state;
	open_source("url: $/quiet\nsubscribe: [hello]\nanswers: [/ok=true]\nanswer_timeout: 200ms\n");
	fails("message 1 of subscribe was not answered with /ok=true within answer_timeout, 200 ms");
	source_test_close(&t);
}

/* ---- loss ---- */

static void a_feed_that_can_goes_on_where_it_was(void **state)
{
	(void)state;
	open_source("url: $/since?n=20&step=4\nlast: /seq\nlast_initial: '0'\nid: '{/seq}'\n"
		    "subscribe: ['{\"since\": {last}}']\n");
	collect(9, 2);
	source_test_crash(&t);
	collect(20, 3);
	assert_int_equal(t.record_count, 20);
	for (uint32_t i = 0; i < 20; i++) {
		char seq[20];

		(void)snprintf(seq, sizeof(seq), "\"seq\": %u,", i + 1);
		value_is(i, seq);
	}
	source_test_close(&t);
}

static void a_gap_is_told_where_it_cannot(void **state)
{
	uint32_t count;

	(void)state;
	open_source("url: $/prices?n=2&drop=1\n" TWELVE);
	collect(5, 0);
	value_is(2, "{\"gap\":{\"source\":\"test\",\"from\":\"20");
	value_is(2, "the server closed the connection with 1012: again, please");
	assert_int_equal(t.records[2].header_count, 1);
	assert_null(t.records[2].key.ptr);
	value_is(3, "\"seq\": 1");
	source_test_crash(&t);
	count = t.record_count;
	collect(count + 3, 0);
	value_is(count, "weir was not connected");
	source_test_close(&t);
	open_source("url: $/prices?n=2&drop=1\ngap_topic: gaps\n" TWELVE);
	collect(5, 0);
	value_is(2, "again, please");
	assert_string_equal((const char *)t.records[2].topic.ptr, "gaps");
	source_test_close(&t);
	open_source("url: $/prices?n=2&drop=1\ngap: false\n" TWELVE);
	collect(6, 0);
	for (uint32_t i = 0; i < 6; i++)
		value_is(i, "\"seq\"");
	source_test_close(&t);
}

static void a_server_that_throws_everybody_out_is_a_failure_each_time(void **state)
{
	(void)state;
	open_source("url: $/drop?code=1013\n");
	for (int i = 0; i < 5; i++) {
		assert_int_equal(source_test_pull(&t, "", 0), SOURCE_FAILED);
		assert_int_equal(t.failure, SOURCE_TRANSIENT);
		assert_non_null(strstr(t.fault.text, "1013: not now"));
		assert_in_range(t.not_before_ms, (500 << i) / 2, 500 << i);
	}
	source_test_close(&t);
}

static void statuses_say_whether_to_come_again(void **state)
{
	(void)state;
	open_source("url: $/503\n");
	assert_int_equal(source_test_pull(&t, "", 0), SOURCE_FAILED);
	assert_int_equal(t.failure, SOURCE_TRANSIENT);
	assert_int_equal(t.not_before_ms, 7000);
	source_test_close(&t);
	open_source("url: $/token\ntoken: nobody\nheaders: {Authorization: 'Bearer {token}'}\n");
	fails("status 401");
	assert_int_equal(t.failure, SOURCE_FINAL);
	source_test_close(&t);
	open_source("url: ws://127.0.0.1:1/?key={token}\ntoken: hidden\n");
	fails("source test: ws://127.0.0.1:1/?...: ");
	assert_null(strstr(t.fault.text, "hidden"));
	source_test_close(&t);
}

/* ---- bad input ---- */

static void bad_messages_are_dead_letters_and_the_rest_goes_on(void **state)
{
	(void)state;
	open_source("url: $/mixed\nrecords: /seq\n");
	collect(7, 0);
	assert_int_equal(t.record_count, 4);
	assert_int_equal(t.dead_count, 3);
	assert_int_equal(t.deads[0].err, ERR_BAD_JSON);
	assert_string_equal((const char *)t.deads[0].bytes.ptr, "{\"seq\": ");
	assert_string_equal((const char *)t.deads[0].path.ptr, "message 2 of the connection");
	assert_int_equal(t.deads[1].err, ERR_BAD_JSON);
	assert_non_null(strstr(t.deads[2].text, "records: '/seq'"));
	source_test_close(&t);
	open_source("url: $/mixed\nfilter: [/seq]\ntimestamp: /timestamp\n");
	collect(6, 0);
	assert_int_equal(t.deads[2].err, ERR_BAD_TIMESTAMP);
	source_test_close(&t);
	open_source("url: $/mixed\nformat: whole\n");
	collect(7, 0);
	assert_int_equal(t.dead_count, 0);
	source_test_close(&t);
}

static void fails_with(const char *url, const char *text, const char *server)
{
	char yaml[400];
	size_t from = web.len;

	(void)snprintf(
		yaml, sizeof(yaml),
		"url: %s\nconnect_timeout: 300ms\nmessage_timeout: 400ms\nping: 100ms\nsilence: 300ms\n",
		url);
	open_source(yaml);
	fails(text);
	if (server)
		server_says(server, from);
	source_test_close(&t);
}

static void what_is_no_websocket_ends_the_connection(void **state)
{
	(void)state;
	fails_with("#/masked", "the connection was closed with 1002", "raw close 1002");
	fails_with("#/reserved", "the connection was closed with 1002", "raw close 1002");
	fails_with("#/latin", "the connection was closed with 1007", "raw close 1007");
	fails_with("#/wrong", "Sec-WebSocket-Accept does not answer the key", NULL);
	fails_with("#/nothing", "no answer came within 300 ms", NULL);
	fails_with("#/cut", "the connection was lost", NULL);
	fails_with("#/mute", "nothing came for 300 ms, no pong either", NULL);
	fails_with("#/drip", "a message had not come whole after message_timeout, 400 ms", NULL);
}

static void a_message_that_is_too_large_ends_the_connection(void **state)
{
	size_t from = web.len;

	(void)state;
	open_source("url: $/big?bytes=3000000\nmax_message: 1MiB\n");
	fails("a message is larger than max_message, 1048576 bytes");
	assert_int_equal(t.record_count, 1);
	server_says("close 1009 /big", from);
	source_test_close(&t);
	open_source("url: $/big?bytes=3000000\n");
	collect(2, 0);
	assert_true(t.records[1].value.len > 3000000);
	source_test_close(&t);
}

static void a_message_of_many_records_is_stored_in_several_batches(void **state)
{
	(void)state;
	open_source("url: $/array?n=25000\nrecords: /data\nkey: '{/seq}'\n");
	collect(25000, 1000);
	assert_int_equal(t.record_count, 25000);
	for (uint32_t i = 0; i < 25000; i++)
		assert_int_equal(strtoul(source_test_key(&t, i), NULL, 10), i);
	source_test_close(&t);
	open_source("url: $/array?n=12&size=1300000\nrecords: /data\nkey: '{/seq}'\n");
	collect(12, 0);
	assert_int_equal(t.record_count, 12);
	source_test_close(&t);
}

static void a_record_larger_than_a_batch_has_one_of_its_own(void **state)
{
	(void)state;
	open_source("url: $/uneven\nrecords: /data\nkey: '{/seq}'\nmax_message: 64MiB\n");
	collect(3, 0);
	assert_int_equal(t.record_count, 3);
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(strtoul(source_test_key(&t, i), NULL, 10), i);
	source_test_close(&t);
}

static void a_flood_comes_whole_and_in_order(void **state)
{
	(void)state;
	open_source("url: $/flood?n=30000\nkey: '{/seq}'\n");
	collect(30000, 700);
	assert_int_equal(t.record_count, 30000);
	for (uint32_t i = 0; i < 30000; i++)
		assert_int_equal(strtoul(source_test_key(&t, i), NULL, 10), i + 1);
	source_test_close(&t);
}

static void who_is_held_back_is_not_silent(void **state)
{
	size_t from = web.len;

	(void)state;
	open_source(
		"url: $/flood?held=1\nping: 50ms\nsilence: 200ms\nmessage_timeout: 200ms\nkey: '{/seq}'\n");
	for (uint32_t i = 0; i < 5; i++) {
		collect(t.record_count + 10, 10);
		(void)usleep(500000); /* the log refuses */
	}
	for (uint32_t i = 0; i < t.record_count; i++)
		assert_int_equal(strtoul(source_test_key(&t, i), NULL, 10), i + 1);
	source_test_close(&t);
	server_says("open /flood?held=1", from);
	(void)hear(200);
	assert_null(strstr(strstr(web.lines + from, "open /flood?held=1") + 1, "open /flood?held=1"));
}

/* ---- connections ---- */

static void certificates_are_looked_at(void **state)
{
	(void)state;
	open_source("url: %/prices\ntls: {ca: @/ca.pem}\n" TWELVE);
	collect(3, 0);
	source_test_close(&t);
	open_source("url: %/flood?n=20000\ntls: {ca: @/ca.pem}\nkey: '{/seq}'\n");
	collect(20000, 900); /* what TLS holds already is read too */
	source_test_close(&t);
	open_source("url: %/prices\n" TWELVE);
	fails("certificate");
	assert_int_equal(t.failure, SOURCE_FINAL);
	source_test_close(&t);
}

static void private_addresses_are_guarded(void **state)
{
	(void)state;
	need_server();
	source_test_setup(&t);
	t.guarded = true;
	assert_int_equal(source_test_try(&t, &source_websocket, settings("url: $/prices\n" TWELVE)), 0);
	(void)source_test_plan(&t);
	fails("may not be connected to");
	source_test_close(&t);
}

static void a_subprotocol_and_headers_are_sent(void **state)
{
	size_t from = web.len;

	(void)state;
	open_source("url: $/prices\nprotocol: prices\n" TWELVE);
	collect(3, 0);
	server_says("open /prices prices", from);
	source_test_close(&t);
}

static void a_test_ends_with_the_first_records(void **state)
{
	(void)state;
	need_server();
	source_test_setup(&t);
	t.test = true;
	assert_int_equal(source_test_try(&t, &source_websocket, settings("url: $/prices\n" TWELVE)), 0);
	(void)source_test_plan(&t);
	assert_int_equal(source_test_pull(&t, "", 2), SOURCE_MORE);
	assert_int_equal(t.record_count, 2);
	assert_non_null(strstr((const char *)t.records[0].row.ptr, "price"));
	source_test_close(&t);
}

static void *cancel_soon(void *ctx)
{
	(void)ctx;
	(void)usleep(200000);
	source_test_cancel(&t, t.parts[0]);
	return NULL;
}

static void a_pull_that_waits_can_be_given_up(void **state)
{
	pthread_t thread;

	(void)state;
	open_source("url: $/quiet\n");
	assert_int_equal(pthread_create(&thread, NULL, cancel_soon, NULL), 0);
	assert_int_equal(source_test_pull(&t, "", 0), SOURCE_MORE);
	(void)pthread_join(thread, NULL);
	source_test_close(&t);
}

/* ---- settings ---- */

static void refuses(const char *yaml, const char *text)
{
	char *found = source_test_check(&source_websocket, yaml);

	if (!strstr(found, text))
		fail_msg("'%s' has not '%s'", found, text);
	free(found);
}

static void settings_that_cannot_be_are_refused(void **state)
{
	(void)state;
	refuses("url: http://x\n", "ws://… or wss://…");
	refuses("url: ws://x\nsubscribe: ['{last}']\n", "{last} needs last");
	refuses("url: ws://x\nlast: /a\nlast_initial: ''\n", "it needs {last}");
	refuses("url: 'ws://x?a={last}'\nlast: /a\n", "it needs last_initial");
	refuses("url: 'ws://x?a={token}'\n", "{token} needs it");
	refuses("url: ws://x\nanswers: [/a]\n", "more of them than messages");
	refuses("url: ws://x\nfilter: [event=price]\n", "POINTER=VALUE");
	refuses("url: ws://x\nformat: whole\nkey: '{/a}'\n", "pointers find something in JSON alone");
	refuses("url: ws://x\nreconnect: {max: 1ms}\n", "expected at most reconnect.max");
	refuses("url: ws://x\nping: 60s\n", "expected more than ping");
	refuses("url: ws://x\ngap: false\ngap_topic: a\n", "there are no such records");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(prices_are_subscribed_to_and_stored),
		cmocka_unit_test(heartbeats_are_sent),
		cmocka_unit_test(a_refusal_is_shown_without_secrets),
		cmocka_unit_test(messages_wait_for_their_answers),
		cmocka_unit_test(an_answer_that_does_not_come_is_a_failure),
		cmocka_unit_test(a_feed_that_can_goes_on_where_it_was),
		cmocka_unit_test(a_gap_is_told_where_it_cannot),
		cmocka_unit_test(a_server_that_throws_everybody_out_is_a_failure_each_time),
		cmocka_unit_test(statuses_say_whether_to_come_again),
		cmocka_unit_test(bad_messages_are_dead_letters_and_the_rest_goes_on),
		cmocka_unit_test(what_is_no_websocket_ends_the_connection),
		cmocka_unit_test(a_message_that_is_too_large_ends_the_connection),
		cmocka_unit_test(a_message_of_many_records_is_stored_in_several_batches),
		cmocka_unit_test(a_record_larger_than_a_batch_has_one_of_its_own),
		cmocka_unit_test(a_flood_comes_whole_and_in_order),
		cmocka_unit_test(who_is_held_back_is_not_silent),
		cmocka_unit_test(certificates_are_looked_at),
		cmocka_unit_test(private_addresses_are_guarded),
		cmocka_unit_test(a_subprotocol_and_headers_are_sent),
		cmocka_unit_test(a_test_ends_with_the_first_records),
		cmocka_unit_test(a_pull_that_waits_can_be_given_up),
		cmocka_unit_test(settings_that_cannot_be_are_refused),
	};

	return cmocka_run_group_tests(tests, start_server, stop_server);
}
