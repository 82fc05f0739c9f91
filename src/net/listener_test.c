/* SPDX-License-Identifier: Apache-2.0 */
#include <fcntl.h>
#include <sys/resource.h>

#include "net/net_test.h"

/* Listeners: addresses, the cap, descriptors, and what they count. */

/* Bytes are the session's; but while a connection lingers its filters are gone, and what still comes counts as it is. */
static void expect_traffic(const struct listener_figures *f, uint64_t received, uint64_t sent)
{
	if (veils) {
		assert_true(f->bytes_received >= received && f->bytes_sent == sent);
	} else {
		assert_int_equal(f->bytes_received, received);
		assert_int_equal(f->bytes_sent, sent);
	}
}

static void past_the_cap_one_answer_and_the_end(void **state)
{
	struct listener_figures figures;
	struct server s;
	int a, b, c;

	(void)state;
	start(&s, 1, &echo, 2);
	a = dial(&s);
	b = dial(&s);
	await(&seen.accepted, 2);
	c = dial(&s);
	expect(c, "busy\n");
	expect_end(c);
	(void)close(c);
	assert_int_equal(atomic_load(&seen.refused), 1);
	listener_figures(s.listener, &figures);
	assert_int_equal(figures.refused, 1);
	expect_traffic(&figures, 0, 5);
	assert_false(listener_has_room(s.listener));
	(void)close(a);
	await(&seen.closed, 1);
	for (int i = 0; i < 5000 && listener_connections(s.listener) > 1; i++)
		nap_ms(1);
	a = dial(&s);
	put(a, "x\n", 2);
	expect(a, "x\n");
	(void)close(a);
	(void)close(b);
	await(&seen.closed, 3);
	listener_figures(s.listener, &figures);
	expect_traffic(&figures, 2, 7);
	assert_true(listener_has_room(s.listener));
	stop(&s);
}

static void two_loops_share_a_port(void **state)
{
	struct server s;
	int fds[64];

	(void)state;
	start(&s, 2, &echo, 0);
	for (int i = 0; i < 64; i++)
		fds[i] = dial(&s);
	await(&seen.accepted, 64);
	assert_true(atomic_load(&seen.accepted_on[0]) > 0);
	assert_true(atomic_load(&seen.accepted_on[1]) > 0);
	for (int i = 0; i < 64; i++)
		(void)close(fds[i]);
	await(&seen.closed, 64);
	stop(&s);
}

static void try_address(struct server *s, const char *address, uint32_t loops, int wanted)
{
	struct listener_options options = {.address = address, .on_accept = on_accept};
	struct listener *l = NULL;
	struct fault fault = {0};
	char bound[64];
	int rc = listener_open(&options, s->loops, loops, &l, bound, &fault);

	assert_int_equal(rc, wanted);
	if (rc < 0)
		assert_true(fault.text[0] != '\0');
	else
		listener_close(l); /* its loops have not run yet: the messages are taken back */
}

static void an_address_in_use_is_refused(void **state)
{
	struct server s, second;

	(void)state;
	start(&s, 2, &echo, 0);
	for (uint32_t i = 0; i < 2; i++) {
		struct loop_options options = {.sys = sys_kernel(), .number = i};

		assert_int_equal(loop_new(&options, &second.loops[i]), 0);
	}
	try_address(&second, s.bound, 1, ERR_IN_USE);
	try_address(&second, s.bound, 2, ERR_IN_USE);
	stop(&s);
	try_address(&second, s.bound, 2, 0);
	for (uint32_t i = 0; i < 2; i++)
		loop_free(second.loops[i]);
}

static void addresses_come_in_three_forms(void **state)
{
	static const char *const bad[] = {"",
					  "8080",
					  "127.0.0.1",
					  "127.0.0.1:",
					  "127.0.0.1:65536",
					  "127.0.0.1:x",
					  "::1:80",
					  "[]:80",
					  "no.such.host.invalid:80"};
	struct server s;

	(void)state;
	make_loops(&s, 1);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		try_address(&s, bad[i], 1, ERR_BAD_PARAMETER);
	try_address(&s, ":0", 1, 0);
	try_address(&s, "localhost:0", 1, 0);
	try_address(&s, "192.0.2.1:0", 1, ERR_IO); /* a documentation address: nobody's */
	if (access("/proc/net/if_inet6", F_OK) == 0)
		try_address(&s, "[::]:0", 1, 0);
	loop_free(s.loops[0]);
}

static void a_stopped_listener_takes_no_more(void **state)
{
	struct server s;
	uint64_t turns;
	int fd, late;

	(void)state;
	start(&s, 1, &echo, 0);
	fd = dial(&s);
	await(&seen.accepted, 1);
	listener_stop(s.listener);
	listener_stop(s.listener);
	on_loop(s.loops[0], read_turns, &turns);
	late = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	{
		struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(s.port)};

		to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		assert_int_equal(connect(late, (struct sockaddr *)&to, sizeof(to)), -1);
		assert_int_equal(errno, ECONNREFUSED);
	}
	put(fd, "x\n", 2);
	expect(fd, "x\n");
	(void)close(fd);
	(void)close(late);
	stop(&s);
}

static int lowest_free_fd(void)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	(void)close(fd);
	return fd;
}

static void out_of_descriptors_is_no_busy_loop(void **state)
{
	struct rlimit old, low;
	struct server s;
	int64_t began;
	uint64_t turns, after;
	int first, second, third;

	(void)state;
	start(&s, 1, &echo, 0);
	first = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	second = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
	low = old;
	low.rlim_cur = (rlim_t)lowest_free_fd();
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
	on_loop(s.loops[0], read_turns, &turns);
	began = sys_monotonic_ns(sys_kernel());
	(void)dial_socket(first, s.port);
	expect_end(first);
	assert_true(sys_monotonic_ns(sys_kernel()) - began >=
		    100 * MS); /* one pause, then told by the reserve */
	on_loop(s.loops[0], read_turns, &after);
	assert_true(after - turns <= 12);
	assert_int_equal(atomic_load(&seen.exhausted), 1); /* once a second */
	assert_int_equal(atomic_load(&seen.accepted), 0);
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
	(void)dial_socket(second, s.port);
	put(second, "x\n", 2);
	expect(second, "x\n");
	third = dial(&s);
	put(third, "y\n", 2);
	expect(third, "y\n");
	(void)close(first);
	(void)close(second);
	(void)close(third);
	stop(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(past_the_cap_one_answer_and_the_end),
		cmocka_unit_test(two_loops_share_a_port),
		cmocka_unit_test(an_address_in_use_is_refused),
		cmocka_unit_test(addresses_come_in_three_forms),
		cmocka_unit_test(a_stopped_listener_takes_no_more),
		cmocka_unit_test(out_of_descriptors_is_no_busy_loop),
		VEILED(past_the_cap_one_answer_and_the_end),
		VEILED(two_loops_share_a_port),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
