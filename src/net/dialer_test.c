/* SPDX-License-Identifier: Apache-2.0 */
/* Dials on a loop against a server of one thread: what is written comes back, or as it is told. */
#include "net/web_test.h"

#include <semaphore.h>
#include <stdio.h>

#include "net/dialer.h"

/* ---- the server: sends back what comes; 'Q' ends the connection, 'F' begins a flood ---- */

static struct {
	int fd;
	uint16_t port;
	pthread_t thread;
	_Atomic bool stop;
	_Atomic int64_t flooded, flood_max;
} web;

/* 0: without end. */
static int64_t flood_max(void)
{
	return atomic_load(&web.flood_max);
}

static void flood(int fd)
{
	static const char piece[65536];

	while (!atomic_load(&web.stop) && (flood_max() == 0 || atomic_load(&web.flooded) < flood_max())) {
		ssize_t did = send(fd, piece, sizeof(piece), MSG_NOSIGNAL | MSG_DONTWAIT);
		struct pollfd p = {.fd = fd, .events = POLLOUT};

		if (did > 0)
			atomic_fetch_add(&web.flooded, did);
		else if (poll(&p, 1, 20) < 0 || (p.revents & (POLLERR | POLLHUP)))
			return;
	}
}

static void serve_one(int fd)
{
	char bytes[65536];

	while (!atomic_load(&web.stop)) {
		struct pollfd p = {.fd = fd, .events = POLLIN};
		ssize_t n;

		if (poll(&p, 1, 20) < 1)
			continue;
		n = recv(fd, bytes, sizeof(bytes), 0);
		if (n <= 0 || bytes[0] == 'Q')
			return;
		if (bytes[0] == 'F') {
			flood(fd);
			return;
		}
		for (ssize_t at = 0, did; at < n; at += did) {
			did = send(fd, bytes + at, (size_t)(n - at), MSG_NOSIGNAL);
			if (did <= 0)
				return;
		}
	}
}

static void *serve(void *arg)
{
	struct pollfd p = {.fd = web.fd, .events = POLLIN};

	(void)arg;
	while (!atomic_load(&web.stop)) {
		int fd = poll(&p, 1, 20) > 0 ? accept(web.fd, NULL, NULL) : -1;

		if (fd < 0)
			continue;
		serve_one(fd);
		(void)close(fd);
	}
	return NULL;
}

/* ---- the client, on its loop ---- */

struct client {
	struct loop *loop;
	pthread_t thread;
	struct dial *dial;
	sem_t told; /* opened, failed, or ended */
	bool open, reading;
	int err, rc;
	char text[300];
	_Atomic uint64_t got;
	uint64_t wanted;
	uint64_t sum;
	struct fault fault;
	struct slice url;
	guard_fn *guard;
};

static void read_on(struct client *c)
{
	static uint8_t bytes[65536];

	while (c->reading) {
		int64_t n = dial_read(c->dial, bytes, sizeof(bytes));

		if (n == 0)
			return;
		if (n < 0) {
			c->err = (int)n;
			c->reading = false;
			sem_post(&c->told);
			return;
		}
		for (int64_t i = 0; i < n; i++)
			c->sum += bytes[i];
		atomic_fetch_add(&c->got, (uint64_t)n);
		if (c->wanted && atomic_load(&c->got) == c->wanted) {
			c->wanted = 0;
			sem_post(&c->told);
		}
	}
}

static void on_open(void *ctx)
{
	struct client *c = ctx;

	c->open = true;
	sem_post(&c->told);
}

static void on_failed(void *ctx, const struct dial_failure *failure)
{
	struct client *c = ctx;

	c->err = failure->err;
	(void)snprintf(c->text, sizeof(c->text), "%s", failure->text);
	sem_post(&c->told);
}

static void on_ready(void *ctx)
{
	read_on(ctx);
}

static const struct dial_handler handler = {.on_open = on_open, .on_failed = on_failed, .on_ready = on_ready};

struct job {
	struct loop_msg msg;
	void (*run)(struct client *c, struct slice arg);
	struct client *client;
	struct slice arg;
	sem_t done;
};

static void run_job(struct loop *loop, struct loop_msg *msg)
{
	struct job *job = (struct job *)msg;

	(void)loop;
	job->run(job->client, job->arg);
	sem_post(&job->done);
}

static void wait_for(sem_t *s)
{
	struct timespec until;

	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 20;
	assert_int_equal(sem_timedwait(s, &until), 0);
}

static void on_loop(struct client *c, void (*run)(struct client *c, struct slice arg), struct slice arg)
{
	struct job job = {.msg = {.run = run_job}, .run = run, .client = c, .arg = arg};

	sem_init(&job.done, 0, 0);
	loop_post(c->loop, &job.msg);
	wait_for(&job.done);
	sem_destroy(&job.done);
}

static void start(struct client *c, struct slice arg)
{
	struct dial_options options = {
		.url = c->url, .guard = c->guard, .handler = &handler, .ctx = c, .connect_ms = 5000};

	(void)arg;
	c->rc = dial_start(c->loop, &options, &c->dial, &c->fault);
}

static void send_it(struct client *c, struct slice bytes)
{
	c->rc = dial_write(c->dial, bytes);
}

static void read_it(struct client *c, struct slice arg)
{
	(void)arg;
	c->reading = true;
	read_on(c);
}

static void close_it(struct client *c, struct slice arg)
{
	(void)arg;
	dial_close(c->dial);
	c->dial = NULL;
}

static void *run_loop(void *loop)
{
	loop_run(loop);
	return NULL;
}

static int setup(void **state)
{
	struct loop_options options = {.sys = sys_kernel()};
	static struct client c;
	static char url[64];

	memset(&c, 0, sizeof(c));
	memset(&web, 0, sizeof(web));
	web.fd = web_test_listen(&web.port);
	assert_int_equal(pthread_create(&web.thread, NULL, serve, NULL), 0);
	(void)snprintf(url, sizeof(url), "http://127.0.0.1:%u/path?x", web.port);
	c.url = slice_str(url);
	assert_int_equal(loop_new(&options, &c.loop), 0);
	assert_int_equal(pthread_create(&c.thread, NULL, run_loop, c.loop), 0);
	sem_init(&c.told, 0, 0);
	*state = &c;
	return 0;
}

static int teardown(void **state)
{
	struct client *c = *state;

	if (c->dial)
		on_loop(c, close_it, slice_null());
	loop_stop(c->loop);
	pthread_join(c->thread, NULL);
	loop_free(c->loop);
	sem_destroy(&c->told);
	atomic_store(&web.stop, true);
	(void)pthread_join(web.thread, NULL);
	(void)close(web.fd);
	return 0;
}

static void open_it(struct client *c)
{
	on_loop(c, start, slice_null());
	assert_int_equal(c->rc, 0);
	wait_for(&c->told);
	if (!c->open)
		fail_msg("%s", c->text);
}

/* ---- tests ---- */

static void what_is_written_comes_back(void **state)
{
	static uint8_t bytes[600000];
	struct client *c = *state;
	uint64_t sum = 0;

	for (size_t i = 0; i < sizeof(bytes); i++)
		sum += bytes[i] = (uint8_t)(i * 7 % 50);
	open_it(c);
	c->wanted = sizeof(bytes);
	on_loop(c, send_it, slice_make(bytes, sizeof(bytes)));
	assert_int_equal(c->rc, 0);
	on_loop(c, read_it, slice_null());
	wait_for(&c->told);
	assert_int_equal(c->sum, sum);
}

static void the_end_of_the_peer_is_told_to_who_reads(void **state)
{
	struct client *c = *state;

	open_it(c);
	on_loop(c, send_it, SLICE_LIT("Q"));
	on_loop(c, read_it, slice_null());
	wait_for(&c->told);
	assert_int_equal(c->err, ERR_UNREACHABLE);
}

static void what_nobody_reads_stays_with_the_peer(void **state)
{
	struct client *c = *state;
	int64_t before = -1, now = 0;
	uint64_t turns;

	open_it(c);
	on_loop(c, send_it, SLICE_LIT("F"));
	while (now != before || now == 0) { /* until the sockets are full */
		before = now;
		(void)usleep(200000);
		now = atomic_load(&web.flooded);
	}
	turns = loop_turns(c->loop);
	(void)usleep(100000);
	assert_true(loop_turns(c->loop) - turns < 5);
	c->wanted = 0;
	atomic_store(&web.flood_max,
		     now + 1000000); /* a reader that never finds the socket empty never comes back */
	on_loop(c, read_it, slice_null());
	while (atomic_load(&c->got) < (uint64_t)now + 1000000)
		(void)usleep(1000);
}

static bool guard_none(void *ctx, const uint8_t ip[16], uint16_t port)
{
	(void)ctx;
	(void)ip;
	(void)port;
	return false;
}

static void an_address_that_is_not_allowed_is_not_connected_to(void **state)
{
	struct client *c = *state;

	c->guard = guard_none;
	on_loop(c, start, slice_null());
	wait_for(&c->told);
	assert_false(c->open);
	assert_int_equal(c->err, ERR_ADDRESS_FORBIDDEN);
	assert_non_null(strstr(c->text, "127.0.0.1"));
}

static void a_port_without_anybody_is_an_error(void **state)
{
	struct client *c = *state;

	c->url = SLICE_LIT("http://127.0.0.1:1/");
	on_loop(c, start, slice_null());
	wait_for(&c->told);
	assert_int_equal(c->err, ERR_UNREACHABLE);
}

static void too_much_to_send_is_refused_whole(void **state)
{
	static uint8_t bytes[(1u << 20) + 1];
	struct client *c = *state;

	open_it(c);
	on_loop(c, send_it, slice_make(bytes, sizeof(bytes)));
	assert_int_equal(c->rc, ERR_LIMIT);
	c->wanted = 2;
	on_loop(c, send_it, SLICE_LIT("ab"));
	on_loop(c, read_it, slice_null());
	wait_for(&c->told);
	assert_int_equal(c->sum, 'a' + 'b');
}

static void closing_while_it_connects_calls_nobody(void **state)
{
	struct client *c = *state;

	on_loop(c, start, slice_null());
	on_loop(c, close_it, slice_null());
	assert_false(c->open && c->err);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(what_is_written_comes_back, setup, teardown),
		cmocka_unit_test_setup_teardown(the_end_of_the_peer_is_told_to_who_reads, setup, teardown),
		cmocka_unit_test_setup_teardown(what_nobody_reads_stays_with_the_peer, setup, teardown),
		cmocka_unit_test_setup_teardown(an_address_that_is_not_allowed_is_not_connected_to, setup,
						teardown),
		cmocka_unit_test_setup_teardown(a_port_without_anybody_is_an_error, setup, teardown),
		cmocka_unit_test_setup_teardown(too_much_to_send_is_refused_whole, setup, teardown),
		cmocka_unit_test_setup_teardown(closing_while_it_connects_calls_nobody, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
