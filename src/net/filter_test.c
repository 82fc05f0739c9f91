/* SPDX-License-Identifier: Apache-2.0 */
#include "net/net_test.h"

/* What filters do to a connection, and it to them: see veil_test.h. */

/* ---- filters ---- */

static void expect_big(int fd)
{
	for (int i = 0; i < BIG_PARTS; i++) {
		size_t n = (size_t)(i * 97) * (size_t)(i % 14) % BIG_BLOB;

		expect(fd, "[");
		expect_bytes(fd, big->bytes + BIG_BLOB - n, n);
		expect_bytes(fd, big->bytes, n);
		expect(fd, "]");
	}
}

/* Until a filter could not read because it could not write. */
static void *put_without_reading(void *arg)
{
	static const char line[1000];
	int64_t *sent = arg;
	int fd = (int)*sent;

	for (*sent = 0; *sent < 1 << 30 && !atomic_load(&veil_met.read_waited_to_write);
	     *sent += (int64_t)sizeof(line))
		put(fd, line, sizeof(line));
	return NULL;
}

static size_t send_big_once(void *ctx, struct slice bytes)
{
	if (atomic_fetch_add(&seen.bytes, (int64_t)bytes.len) == 0)
		(void)send_big(ctx, bytes);
	return bytes.len;
}

/* A sender that does not look at what it gets: reading and sending wait for each other, and both get there. */
static void each_direction_may_wait_for_the_other(void **state)
{
	const struct conn_session session = {.on_bytes = send_big_once,
					     .on_drained = count_drained,
					     .on_closed = on_closed};
	struct server s;
	pthread_t writer;
	int64_t sent;
	int fd;

	(void)state;
	make_big();
	memset((void *)&veil_met, 0, sizeof(veil_met));
	start(&s, 1, &session, 0);
	fd = dial(&s);
	sent = fd;
	assert_int_equal(pthread_create(&writer, NULL, put_without_reading, &sent), 0);
	for (int i = 0; i < 20000 && !atomic_load(&veil_met.read_waited_to_write); i++)
		nap_ms(1);
	expect_big(fd);
	assert_int_equal(pthread_join(writer, NULL), 0);
	await(&seen.bytes, sent);
	await(&seen.drained, 1);
	assert_true(turns_during(s.loops[0], 50) <= 1);
	assert_true(atomic_load(&veil_met.read_waited_to_write) > 0);
	assert_true(atomic_load(&veil_met.send_waited_to_read) > 0);
	assert_true(atomic_load(&veil_met.held) > 0);
	assert_true(atomic_load(&veil_met.cut_frames) > 0);
	(void)close(fd);
	await(&seen.closed_for[CONN_CLOSED_BY_PEER], 1);
	stop(&s);
	blob_unref(big);
}

static void filters_that_are_refused_close_the_connection(void **state)
{
	struct server s;
	int fd;

	(void)state;
	refuse_filters = true;
	start(&s, 1, &echo, 0);
	fd = dial_bare(&s);
	expect_end(fd);
	assert_int_equal(atomic_load(&seen.accepted), 0);
	(void)close(fd);
	stop(&s);
	refuse_filters = false;
}

static void expect_frame(int fd, char type)
{
	uint8_t head[VEIL_HEAD];

	assert_int_equal(recv(fd, head, sizeof(head), MSG_WAITALL), sizeof(head));
	assert_int_equal(head[0], type);
}

static void who_speaks_another_protocol_is_told(void **state)
{
	static char more[1 << 20];
	struct server s;
	int fd;

	(void)state;
	start(&s, 1, &echo, 0);
	fd = dial_bare(&s);
	put(fd, "GET / HTTP/1.1\r\n", 16);
	put(fd, more, sizeof(more)); /* unread, it would turn the end into a reset */
	expect_frame(fd, 'X');
	expect_end(fd);
	(void)close(fd);
	await(&seen.closed_for[CONN_RESET], 1);
	stop(&s);
}

static void ask_direct(struct loop *loop, void *arg)
{
	(void)loop;
	*(bool *)arg = conn_is_direct(seen.conn);
	(void)conn_write(seen.conn, SLICE_LIT("x"));
	if (conn_is_direct(seen.conn)) /* not past what is queued */
		atomic_fetch_add(&seen.errors, 1);
}

static void output_that_waits_for_the_peer_is_silent(void **state)
{
	struct server s;
	bool direct;
	int fd;

	(void)state;
	start(&s, 1, &echo, 0);
	fd = dial_bare(&s);
	await(&seen.accepted, 1);
	on_loop(s.loops[0], ask_direct, &direct);        /* writes before there was a hello */
	assert_true(turns_during(s.loops[0], 100) <= 1); /* room to write is no reason to try */
	put(fd, "H\0\0", 3);
	expect_frame(fd, 'H');
	expect_frame(fd, 'D');
	(void)close(fd);
	await(&seen.closed, 1);
	stop(&s);
}

static void an_end_that_the_filter_was_not_told_of_is_a_reset(void **state)
{
	struct server s;
	int fd;

	(void)state;
	start(&s, 1, &echo, 0);
	fd = dial_bare(&s);
	put(fd, "H\0\0", 3);
	expect_frame(fd, 'H');
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	await(&seen.closed_for[CONN_RESET], 1);
	(void)close(fd);
	stop(&s);
}

static void a_filter_says_whether_the_socket_may_be_written(void **state)
{
	struct server s;
	bool direct;
	int fd;

	(void)state;
	for (veils = 0; veils < 2; veils++) {
		start(&s, 1, &echo, 0);
		fd = dial(&s);
		await(&seen.accepted, 1);
		on_loop(s.loops[0], ask_direct, &direct);
		assert_int_equal(direct, veils == 0);
		expect(fd, "x");
		(void)close(fd);
		await(&seen.closed, 1);
		assert_int_equal(atomic_load(&seen.errors), 0);
		stop(&s);
	}
	veils = 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(filters_that_are_refused_close_the_connection),
		cmocka_unit_test(a_filter_says_whether_the_socket_may_be_written),
		VEILED(each_direction_may_wait_for_the_other),
		VEILED(output_that_waits_for_the_peer_is_silent),
		VEILED(who_speaks_another_protocol_is_told),
		VEILED(an_end_that_the_filter_was_not_told_of_is_a_reset),
		TWICE_VEILED(each_direction_may_wait_for_the_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
