/* SPDX-License-Identifier: Apache-2.0 */
/* Polls over plain sockets: a real log, a real loop on a thread of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/mem.h"
#include "base/sanitized.h"
#include "log/log_world_test.h"
#include "serve/http/poll.h"
#include "serve/http/server.h"
#include "state/topics_world_test.h"
#include "sys/test_dir.h"

#define CONNECTIONS 2000

static const struct topic_config plain = {.partitions = 1,
					  .retention_ms = -1,
					  .retention_bytes = -1,
					  .idempotency_ttl_ms = 1000};

struct world {
	char dir[TEST_DIR_BYTES];
	struct app app;
	struct app_loop al;
	struct state *state;
	struct loop *loop;
	struct http_server *server;
	struct listener *listener;
	pthread_t thread;
	int port;
};

static void *run_loop(void *arg)
{
	loop_run(arg);
	return NULL;
}

static void start_log(struct world *w)
{
	struct log_options options = {.sys = sys_kernel(), .dir = w->dir, .journal_file_bytes = 1u << 22};
	struct fault fault = {0};

	topics_world_open(&options, &plain, true, &w->app.log, &w->state, &w->app.topics);
	topics_world_load(w->state, w->app.topics);
	assert_int_equal(log_start(w->app.log, &fault), 0);
}

static int set_up(void **state)
{
	static const struct route *const routes[] = {&route_records_get, &route_partition_get};
	struct world *w = mem_zalloc(1, sizeof(*w));
	struct loop_options loop = {.sys = sys_kernel()};
	struct http_options http = {.sys = sys_kernel(), .routes = routes, .route_count = 2, .app = &w->app};
	struct listener_options listen = {.address = "127.0.0.1:0",
					  .on_accept = http_server_accept,
					  .on_refuse = http_server_refuse};
	struct fault fault = {0};
	char bound[64];

	assert_true(test_dir_make(w->dir, "poll-test"));
	start_log(w);
	w->app.sys = sys_kernel();
	w->app.loops = &w->al;
	w->app.loop_count = 1;
	assert_int_equal(loop_new(&loop, &w->loop), 0);
	assert_int_equal(app_loop_init(&w->app, w->loop, &fault), 0);
	assert_int_equal(http_server_new(&http, &w->server, &fault), 0);
	listen.ctx = w->server;
	assert_int_equal(listener_open(&listen, &w->loop, 1, &w->listener, bound, &fault), 0);
	w->port = atoi(strrchr(bound, ':') + 1);
	assert_int_equal(pthread_create(&w->thread, NULL, run_loop, w->loop), 0);
	*state = w;
	return 0;
}

static int tear_down(void **state)
{
	struct world *w = *state;

	listener_stop(w->listener);
	loop_stop(w->loop);
	(void)pthread_join(w->thread, NULL);
	listener_close(w->listener);
	assert_int_equal(log_stop(w->app.log, NULL), 0);
	app_loop_fini(&w->app, w->loop);
	loop_free(w->loop);
	http_server_free(w->server);
	topics_free(w->app.topics);
	state_free(w->state);
	log_close(w->app.log);
	(void)test_dir_remove(w->dir);
	mem_free(w);
	return 0;
}

/* ---- records ---- */

static struct topic *create(struct world *w, const char *name, uint32_t partitions)
{
	struct topic_config config = plain;

	config.partitions = partitions;
	return topics_world_create(w->app.log, w->app.topics, name, &config);
}

#define PRODUCE_MAX 6000
struct production {
	struct log_commit commit; /* first */
	_Atomic bool done;
	struct log_record records[PRODUCE_MAX];
	char values[PRODUCE_MAX][24];
};

static void on_done(struct log_commit *commit)
{
	((struct production *)(void *)commit)->done = true;
}

/* One commit of `count` records {"n":first}, {"n":first+1} … */
static void produce(struct world *w, struct topic *topic, uint32_t partition, int first, uint32_t count,
		    const char *key)
{
	struct production *p = mem_zalloc(1, sizeof(*p));

	p->commit = (struct log_commit){.records = p->records, .record_count = count, .on_done = on_done};
	for (uint32_t i = 0; i < count; i++) {
		int n = snprintf(p->values[i], sizeof(p->values[i]), "{\"n\":%d}", first + (int)i);
		p->records[i] = (struct log_record){.partition = topic_partition(topic, partition),
						    .timestamp_ms = 1000 + i,
						    .key = slice_str(key),
						    .value = slice_make(p->values[i], (size_t)n)};
	}
	assert_int_equal(log_world_enter(w->app.log, &p->commit), 0);
	while (!p->done)
		(void)usleep(100);
	mem_free(p);
}

/* ---- the client ---- */

static int dial(const struct world *w)
{
	struct sockaddr_in to = {.sin_family = AF_INET,
				 .sin_port = htons((uint16_t)w->port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
	return fd;
}

static void ask_on(int fd, const char *method, const char *target, const char *field)
{
	char text[4096];
	int n = snprintf(text, sizeof(text), "%s %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n", method, target,
			 field);

	assert_int_equal(send(fd, text, (size_t)n, MSG_NOSIGNAL), n);
}

static char answer[1 << 22];

static bool is_whole(size_t n, bool head_only)
{
	const char *end, *length;

	answer[n] = '\0';
	end = strstr(answer, "\r\n\r\n");
	if (!end)
		return false;
	length = strstr(answer, "Content-Length: ");
	if (head_only || !length || length > end)
		return true;
	return n >= (size_t)(end - answer) + 4 + (size_t)atol(length + 16);
}

/* Reads one answer; gives its status. */
static int read_answer(int fd, bool head_only)
{
	struct timeval patience = {.tv_sec = 30};
	size_t n = 0;

	(void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	while (!is_whole(n, head_only)) {
		ssize_t got = recv(fd, answer + n, sizeof(answer) - 1 - n, 0);
		if (got <= 0)
			fail_msg("no whole answer: %s", answer);
		n += (size_t)got;
	}
	return atoi(answer + 9);
}

static const char *body(void)
{
	return strstr(answer, "\r\n\r\n") + 4;
}

static int ask_with(struct world *w, const char *method, const char *target, const char *field)
{
	int fd = dial(w);
	int status;

	ask_on(fd, method, target, field);
	status = read_answer(fd, strcmp(method, "HEAD") == 0);
	(void)close(fd);
	return status;
}

static int ask(struct world *w, const char *target)
{
	return ask_with(w, "GET", target, "");
}

static bool is_silent(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	return poll(&p, 1, 60) == 0;
}

static void copy_between(const char *before, char end, char *out, size_t out_bytes)
{
	const char *at = strstr(answer, before);
	size_t n;

	assert_non_null(at);
	at += strlen(before);
	n = (size_t)(strchr(at, end) - at);
	assert_true(n < out_bytes);
	memcpy(out, at, n);
	out[n] = '\0';
}

static int count_of(const char *text, const char *part)
{
	int n = 0;

	for (const char *at = text; (at = strstr(at, part)); at++)
		n++;
	return n;
}

/* What only the loop's thread may look at. */
struct look {
	struct loop_msg msg; /* first */
	struct world *w;
	struct hub_stats stats;
	_Atomic bool done;
	bool drain;
};

static void on_look(struct loop *loop, struct loop_msg *msg)
{
	struct look *l = (struct look *)msg;

	if (l->drain)
		app_loop_drain(&l->w->app, loop);
	hub_stats(l->w->al.hub, &l->stats);
	l->done = true;
}

static struct hub_stats look(struct world *w, bool drain)
{
	struct look l = {.msg = {.run = on_look}, .w = w, .drain = drain};

	loop_post(w->loop, &l.msg);
	while (!l.done)
		(void)usleep(100);
	return l.stats;
}

static void await_readers(struct world *w, uint32_t count)
{
	for (int i = 0; look(w, false).readers != count; i++) {
		assert_true(i < 30000);
		(void)usleep(1000);
	}
}

/* ---- tests ---- */

static void a_poll_goes_through_a_topic_by_cursor(void **state)
{
	struct world *w = *state;
	struct topic *t = create(w, "t", 1);
	char cursor[200], target[400];

	produce(w, t, 0, 0, 5, NULL);
	produce(w, t, 0, 5, 5, "k\"");
	assert_int_equal(ask(w, "/v1/topics/t/records?limit=3"), 200);
	assert_non_null(strstr(
		body(),
		"{\"records\":[{\"topic\":\"t\",\"partition\":0,\"offset\":0,\"timestamp\":1000,\"key\":null,"
		"\"headers\":{},\"value\":{\"n\":0}},"));
	assert_non_null(strstr(body(), "{\"n\":2}}],\"cursor\":\""));
	assert_non_null(strstr(body(), ",\"caught_up\":false}\n"));
	copy_between("\"cursor\":\"", '"', cursor, sizeof(cursor));
	assert_true(strlen(cursor) < 48);
	(void)snprintf(target, sizeof(target), "/v1/topics/t/records?cursor=%s", cursor);
	assert_int_equal(ask(w, target), 200);
	assert_int_equal(count_of(body(), "\"offset\":"), 7);
	assert_null(strstr(body(), "\"gaps\""));
	assert_non_null(strstr(body(), "\"records\":[{\"topic\":\"t\",\"partition\":0,\"offset\":3,"));
	assert_non_null(strstr(body(), "\"key\":\"k\\\"\",\"headers\":{},\"value\":{\"n\":9}}],"));
	assert_non_null(strstr(body(), ",\"caught_up\":true}\n"));
	copy_between("\"cursor\":\"", '"', cursor, sizeof(cursor));
	(void)snprintf(target, sizeof(target), "/v1/topics/t/records?cursor=%s&wait=50ms", cursor);
	assert_int_equal(ask(w, target), 200);
	assert_non_null(strstr(body(), "{\"records\":[],\"cursor\":\""));
	assert_int_equal(ask(w, "/v1/topics/t/records?cursor=latest"), 200);
	assert_non_null(strstr(body(), "{\"records\":[],\"cursor\":\""));
	assert_non_null(strstr(body(), cursor));
	assert_int_equal(ask(w, "/v1/topics/t/records?cursor=@1003"), 200);
	assert_int_equal(count_of(body(), "\"offset\":"), 7);
}

static void a_large_batch_is_cut_at_the_limit(void **state)
{
	struct world *w = *state;
	struct topic *t = create(w, "t", 1);

	produce(w, t, 0, 0, 5000, NULL);
	assert_int_equal(ask(w, "/v1/topics/t/records?limit=10000"), 200);
	assert_int_equal(count_of(body(), "\"offset\":"), 5000);
	assert_int_equal(ask(w, "/v1/topics/t/records"), 200);
	assert_int_equal(count_of(body(), "\"offset\":"), 100);
	assert_int_equal(ask(w, "/v1/topics/t/partitions/0/records?offset=4990&limit=4"), 200);
	assert_int_equal(count_of(body(), "\"offset\":"), 4);
	assert_non_null(strstr(body(), "{\"n\":4993}}],\"next_offset\":4994,\"high_watermark\":5000}\n"));
	w->app.limits.poll_bytes_max = 1000;
	assert_int_equal(ask(w, "/v1/topics/t/records?limit=10000"), 200);
	assert_true(count_of(body(), "\"offset\":") < 20);
}

static void validators_save_the_reading(void **state)
{
	struct world *w = *state;
	struct topic *t = create(w, "t", 2);
	char etag[64], field[128], again[64];

	produce(w, t, 1, 0, 5, NULL);
	assert_int_equal(ask(w, "/v1/topics/t/records"), 200);
	copy_between("ETag: ", '\r', etag, sizeof(etag));
	assert_int_equal(ask_with(w, "HEAD", "/v1/topics/t/records", ""), 200);
	copy_between("ETag: ", '\r', again, sizeof(again));
	assert_string_equal(etag, again);
	assert_null(strstr(answer, "Content-Length"));
	(void)snprintf(field, sizeof(field), "If-None-Match: \"x\", %s\r\n", etag);
	assert_int_equal(ask_with(w, "GET", "/v1/topics/t/records", field), 304);
	assert_int_equal(ask_with(w, "HEAD", "/v1/topics/t/records", field), 304);
	assert_int_equal(ask_with(w, "GET", "/v1/topics/t/records?cursor=latest", field), 200);
	produce(w, t, 0, 5, 1, NULL);
	assert_int_equal(ask_with(w, "GET", "/v1/topics/t/records", field), 200);
}

static void a_long_poll_wakes_with_the_commit(void **state)
{
	struct world *w = *state;
	struct topic *t = create(w, "t", 2);
	int fd = dial(w);

	for (int round = 0; round < 3; round++) {
		ask_on(fd, "GET", "/v1/topics/t/records?cursor=latest&wait=5m", "");
		await_readers(w, 1);
		assert_true(is_silent(fd));
		produce(w, t, (uint32_t)round % 2, round, 2, NULL);
		assert_int_equal(read_answer(fd, false), 200);
		assert_int_equal(count_of(body(), "\"offset\":"), 2);
		await_readers(w, 0);
	}
	assert_int_equal(look(w, false).watches, 0);
	/* One that holds for a key stays while others come. */
	ask_on(fd, "GET", "/v1/topics/t/records?cursor=latest&wait=5m&key=mine", "");
	await_readers(w, 1);
	produce(w, t, hash_partition(SLICE_LIT("mine"), 2), 10, 1, "other");
	assert_true(is_silent(fd));
	produce(w, t, hash_partition(SLICE_LIT("mine"), 2), 11, 1, "mine");
	assert_int_equal(read_answer(fd, false), 200);
	assert_int_equal(count_of(body(), "\"offset\":"), 1);
	/* One for a topic that is not there yet. */
	ask_on(fd, "GET", "/v1/topics/later/records?wait=5m", "");
	await_readers(w, 1);
	produce(w, create(w, "later", 1), 0, 5, 1, NULL);
	assert_int_equal(read_answer(fd, false), 200);
	assert_non_null(strstr(body(), "{\"n\":5}"));
	(void)close(fd);
}

static void who_goes_leaves_nothing_behind(void **state)
{
	struct world *w = *state;
	int fd = dial(w);

	(void)create(w, "t", 1);
	ask_on(fd, "GET", "/v1/topics/t/records?wait=5m", "");
	await_readers(w, 1);
	(void)close(fd);
	await_readers(w, 0);
	assert_int_equal(look(w, false).watches, 0);
	/* Left parked for the end of the loop. */
	fd = dial(w);
	ask_on(fd, "GET", "/v1/topics/t/records?wait=5m", "");
	await_readers(w, 1);
	(void)close(fd);
}

static void a_drain_answers_the_parked(void **state)
{
	struct world *w = *state;
	int fd = dial(w);

	(void)create(w, "t", 1);
	ask_on(fd, "GET", "/v1/topics/t/records?wait=5m", "");
	await_readers(w, 1);
	assert_int_equal(look(w, true).readers, 0);
	assert_int_equal(read_answer(fd, false), 200);
	assert_non_null(strstr(body(), "\"records\":[]"));
	ask_on(fd, "GET", "/v1/topics/t/records?wait=5m", "");
	assert_int_equal(read_answer(fd, false), 200);
	(void)close(fd);
}

static void a_cursor_that_fell_behind_is_410_and_goes_on(void **state)
{
	struct world *w = *state;
	struct topic *t = create(w, "t", 1);
	char cursor[200], target[400];

	assert_int_equal(ask(w, "/v1/topics/t/records"), 200);
	copy_between("\"cursor\":\"", '"', cursor, sizeof(cursor));
	produce(w, t, 0, 0, 9, NULL);
	partition_trim(topic_partition(t, 0), 7);
	(void)snprintf(target, sizeof(target), "/v1/topics/t/records?cursor=%s", cursor);
	assert_int_equal(ask(w, target), 410);
	assert_non_null(strstr(body(), "\"code\":\"cursor_gone\""));
	assert_non_null(strstr(body(), "\"gaps\":[{\"partition\":0,\"from\":0,\"to\":7}]"));
	copy_between("\"cursor\":\"", '"', cursor, sizeof(cursor));
	(void)snprintf(target, sizeof(target), "/v1/topics/t/records?cursor=%s", cursor);
	assert_int_equal(ask(w, target), 200);
	assert_int_equal(count_of(body(), "\"offset\":"), 2);
	assert_int_equal(ask(w, "/v1/topics/t/partitions/0/records?offset=3"), 410);
	assert_non_null(strstr(body(), "\"next_offset\":7,\"high_watermark\":9"));
	assert_int_equal(ask(w, "/v1/topics/t/partitions/0/records"), 200);
	assert_int_equal(count_of(body(), "\"offset\":"), 2);
	/* Deleted and made anew. */
	assert_int_equal(topics_world_delete(w->app.log, w->app.topics, t), 0);
	assert_int_equal(ask(w, target), 404);
	(void)create(w, "t", 1);
	assert_int_equal(ask(w, target), 410);
	assert_non_null(strstr(body(), "\"cursor\":\"earliest\""));
	(void)create(w, "other", 1);
	(void)snprintf(target, sizeof(target), "/v1/topics/other/records?cursor=%s", cursor);
	assert_int_equal(ask(w, target), 400);
	assert_non_null(strstr(body(), "\"code\":\"cursor_mismatch\""));
}

static void what_is_wrong_is_said(void **state)
{
	struct world *w = *state;
	static const struct {
		const char *target;
		int status;
		const char *code, *says;
	} cases[] = {
		{"/v1/topics/no/records", 404, "unknown_topic", "'no'"},
		{"/v1/topics/a%20b/records", 400, "invalid_topic", "letters"},
		{"/v1/topics/t/records?cursor=nonsense", 400, "invalid_cursor", "earliest"},
		{"/v1/topics/t/records?cursor=@yesterday", 400, "invalid_cursor", "RFC 3339"},
		{"/v1/topics/t/records?limit=0", 400, "invalid_parameter", "1 to 10000"},
		{"/v1/topics/t/records?limit=10001", 400, "invalid_parameter", "1 to 10000"},
		{"/v1/topics/t/records?wait=6m", 400, "invalid_parameter", "300s"},
		{"/v1/topics/t/records?wait=soon", 400, "invalid_parameter", "30s"},
		{"/v1/topics/t/records?partitions=9-3", 400, "invalid_parameter", "0-99"},
		{"/v1/topics/t/records?partitions=0-4", 400, "partition_out_of_range", "0 to 3"},
		{"/v1/topics/t/records?limi=4", 400, "unknown_parameter", ""},
		{"/v1/topics/t/partitions/4/records", 404, "unknown_partition", "0 to 3"},
		{"/v1/topics/t/partitions/x/records", 404, "unknown_partition", "'x'"},
		{"/v1/topics/t/partitions/0/records?offset=-1", 400, "invalid_parameter", "'-1'"},
		{"/v1/topics/t/partitions/0/records?offset=1", 409, "cursor_ahead", "offset 1"},
		{"/v1/topics/no/partitions/0/records", 404, "unknown_topic", "'no'"},
	};

	(void)create(w, "t", 4);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char code[100];
		int status = ask(w, cases[i].target);
		(void)snprintf(code, sizeof(code), "\"code\":\"%s\"", cases[i].code);
		if (status != cases[i].status || !strstr(body(), code) || !strstr(body(), cases[i].says))
			fail_msg("%s: %s", cases[i].target, answer);
	}
	assert_int_equal(look(w, false).readers, 0);
}

static void a_selection_is_kept(void **state)
{
	struct world *w = *state;
	struct topic *t = create(w, "t", 4);

	for (uint32_t p = 0; p < 4; p++)
		produce(w, t, p, (int)p * 10, 3, p == 2 ? "two" : NULL);
	assert_int_equal(ask(w, "/v1/topics/t/records"), 200);
	assert_int_equal(count_of(body(), "\"offset\":"), 12);
	assert_int_equal(ask(w, "/v1/topics/t/records?partitions=1,3"), 200);
	assert_int_equal(count_of(body(), "\"offset\":"), 6);
	assert_int_equal(ask(w, "/v1/topics/t/records?partitions=0-3&key=two"), 200);
	assert_int_equal(count_of(body(), "\"offset\":"), 3);
	assert_int_equal(ask(w, "/v1/topics/t/partitions/2/records?offset=1"), 200);
	assert_int_equal(count_of(body(), "\"offset\":"), 2);
	assert_non_null(strstr(body(), "\"next_offset\":3,\"high_watermark\":3}"));
}

static long resident_bytes(void)
{
	char text[200] = {0};
	FILE *f = fopen("/proc/self/statm", "r");

	assert_non_null(f);
	assert_non_null(fgets(text, sizeof(text), f));
	(void)fclose(f);
	return atol(strchr(text, ' ') + 1) * sysconf(_SC_PAGESIZE); /* the second number */
}

static void a_parked_poll_costs_little(void **state)
{
	struct world *w = *state;
	struct rlimit files;
	static int fds[CONNECTIONS];
	struct topic *t = create(w, "t", 1);
	long before;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &files), 0);
	files.rlim_cur = files.rlim_max;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &files), 0);
	if (files.rlim_max < 2 * CONNECTIONS + 100)
		skip();
	assert_int_equal(ask(w, "/v1/topics/t/records?wait=1ms"), 200);
	before = resident_bytes();
	for (int i = 0; i < CONNECTIONS; i++) {
		fds[i] = dial(w);
		ask_on(fds[i], "GET", "/v1/topics/t/records?cursor=latest&wait=5m", "");
	}
	await_readers(w, CONNECTIONS);
	assert_int_equal(look(w, false).watches, 1);
	print_message("%ld bytes a parked poll\n", (resident_bytes() - before) / CONNECTIONS);
	if (!SANITIZED_ADDRESS && !SANITIZED_THREAD)
		assert_true(resident_bytes() - before <= 6144l * CONNECTIONS);
	produce(w, t, 0, 1, 1, NULL);
	for (int i = 0; i < CONNECTIONS; i++) {
		assert_int_equal(read_answer(fds[i], false), 200);
		assert_int_equal(count_of(body(), "\"offset\":"), 1);
		(void)close(fds[i]);
	}
	{
		struct encode_stats stats;
		encode_cache_stats(w->al.cache, &stats);
		assert_true(stats.misses <= 1);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(a_poll_goes_through_a_topic_by_cursor, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_large_batch_is_cut_at_the_limit, set_up, tear_down),
		cmocka_unit_test_setup_teardown(validators_save_the_reading, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_long_poll_wakes_with_the_commit, set_up, tear_down),
		cmocka_unit_test_setup_teardown(who_goes_leaves_nothing_behind, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_drain_answers_the_parked, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_cursor_that_fell_behind_is_410_and_goes_on, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(what_is_wrong_is_said, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_selection_is_kept, set_up, tear_down),
		cmocka_unit_test_setup_teardown(a_parked_poll_costs_little, set_up, tear_down),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
