/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>

#include "net/net_test.h"

/* Connections: bytes in and out, bounds, and how they end. */

/* ---- echo of whole lines ---- */

static void answers_are_the_same_however_the_bytes_are_cut(void **state)
{
	const char *text = "one\ntwo\n\nthe fourth line\n";
	struct server s;
	int fd;

	(void)state;
	start(&s, 1, &echo, 0);
	fd = dial(&s);
	put(fd, text, strlen(text));
	expect(fd, text);
	await(&seen.drained, 1); /* four writes, one credit */
	for (size_t i = 0; i < strlen(text); i++) {
		put(fd, text + i, 1);
		nap_ms(1);
	}
	expect(fd, text);
	(void)close(fd);
	await(&seen.closed_for[CONN_CLOSED_BY_PEER], 1);
	assert_int_equal(atomic_load(&seen.errors), 0);
	stop(&s);
}

static void stopping_closes_what_is_open(void **state)
{
	struct server s;
	int fds[5];

	(void)state;
	start(&s, 1, &echo, 0);
	for (int i = 0; i < 5; i++)
		fds[i] = dial(&s);
	await(&seen.accepted, 5);
	stop(&s);
	assert_int_equal(atomic_load(&seen.closed_for[CONN_STOPPED]), 5);
	for (int i = 0; i < 5; i++) {
		expect_end(fds[i]);
		(void)close(fds[i]);
	}
}

/* ---- large output ---- */

static void a_slow_reader_gets_all_and_blobs_come_back(void **state)
{
	struct server s;
	int fd;

	(void)state;
	make_big();
	start(&s, 1, &sends_big, 0);
	fd = dial(&s);
	put(fd, "go", 2);
	nap_ms(20);
	assert_true(atomic_load(&big->refs) > 1);
	assert_int_equal(atomic_load(&seen.drained), 0);
	for (int i = 0; i < BIG_PARTS; i++) {
		size_t n = (size_t)(i * 97) * (size_t)(i % 14) % BIG_BLOB;

		if (i % 20 == 0)
			nap_ms(5);
		expect(fd, "[");
		expect_bytes(fd, big->bytes + BIG_BLOB - n, n);
		expect_bytes(fd, big->bytes, n);
		expect(fd, "]");
	}
	await(&seen.drained, 1);
	assert_true(turns_during(s.loops[0], 50) <= 1); /* room to write is no event any more */
	assert_int_equal(atomic_load(&seen.drained), 1);
	assert_int_equal(atomic_load(&seen.errors), 0);
	assert_int_equal(atomic_load(&big->refs), 1);
	put(fd, "go", 2); /* and cut in the middle */
	nap_ms(10);
	(void)close(fd);
	await(&seen.closed_for[CONN_RESET], 1);
	stop(&s);
	assert_int_equal(atomic_load(&big->refs), 1);
	blob_unref(big);
}

/* ---- files ---- */

#define FILE_BYTES (3u << 20)
#define FILE_PARTS 20

static struct file_ref the_file;
static _Atomic int64_t files_held;
static uint8_t *file_bytes;

static void release_file(struct file_ref *file)
{
	(void)file;
	atomic_fetch_sub(&files_held, 1);
}

static void make_file(size_t bytes)
{
	FILE *f = tmpfile();

	assert_non_null(f);
	file_bytes = malloc(FILE_BYTES);
	for (size_t i = 0; i < FILE_BYTES; i++)
		file_bytes[i] = (uint8_t)(i * 7 + i / 4093);
	assert_int_equal(fwrite(file_bytes, 1, bytes, f), bytes);
	assert_int_equal(fflush(f), 0);
	the_file = (struct file_ref){.fd = dup(fileno(f)), .release = release_file};
	(void)fclose(f);
}

static void drop_file(void)
{
	(void)close(the_file.fd);
	free(file_bytes);
}

/* Ranges between other output, of all sizes. */
static size_t write_files(void *ctx, struct slice bytes)
{
	int rc = 0;

	conn_set_output_max(ctx, SIZE_MAX / 2);
	for (uint32_t i = 0; i < FILE_PARTS && rc == 0; i++) {
		rc = conn_write(ctx, SLICE_LIT("<"));
		atomic_fetch_add(&files_held, 1);
		if (rc == 0)
			rc = conn_write_file(ctx, &the_file, i * 1000, 1 + i * i * 5000);
		if (rc == 0)
			rc = conn_write(ctx, SLICE_LIT(">"));
	}
	if (rc)
		atomic_fetch_add(&seen.errors, 1);
	return bytes.len;
}

static void on_drained_files(void *ctx)
{
	(void)ctx;
	atomic_fetch_add(&seen.drained, 1);
}

static const struct conn_session sends_files = {.on_bytes = write_files,
						.on_drained = on_drained_files,
						.on_closed = on_closed};

static void ranges_of_files_leave_in_order_and_come_back(void **state)
{
	struct server s;
	int fd;

	(void)state;
	make_file(FILE_BYTES);
	start(&s, 1, &sends_files, 0);
	fd = dial(&s);
	put(fd, "go", 2);
	for (uint32_t i = 0; i < FILE_PARTS; i++) {
		if (i % 5 == 0)
			nap_ms(5);
		expect(fd, "<");
		for (uint32_t at = 0, n, all = 1 + i * i * 5000; at < all; at += n) {
			n = all - at < 4096 ? all - at : 4096;
			expect_bytes(fd, file_bytes + i * 1000 + at, n);
		}
		expect(fd, ">");
	}
	await(&seen.drained, 1);
	assert_int_equal(atomic_load(&files_held), 0);
	assert_int_equal(atomic_load(&seen.errors), 0);
	put(fd, "go", 2); /* and cut in the middle */
	nap_ms(10);
	(void)close(fd);
	await(&seen.closed_for[CONN_RESET], 1);
	stop(&s);
	assert_int_equal(atomic_load(&files_held), 0);
	drop_file();
}

static void a_file_that_is_shorter_than_promised_cuts_the_connection(void **state)
{
	struct server s;
	uint8_t byte;
	int fd;

	(void)state;
	make_file(100000);
	start(&s, 1, &sends_files, 0);
	fd = dial(&s);
	put(fd, "go", 2);
	while (recv(fd, &byte, 1, 0) > 0)
		;
	await(&seen.closed, 1);
	(void)close(fd);
	stop(&s);
	assert_int_equal(atomic_load(&files_held), 0);
	drop_file();
}

static size_t write_until_refused(void *ctx, struct slice bytes)
{
	static uint8_t piece[64 << 10];
	int rc = 0;

	while (rc == 0) {
		rc = conn_write(ctx, slice_make(piece, sizeof(piece)));
		if (rc == 0)
			atomic_fetch_add(&seen.bytes, (int64_t)sizeof(piece));
	}
	if (rc != ERR_LIMIT)
		atomic_fetch_add(&seen.errors, 1);
	atomic_store(&seen.largest, (int64_t)conn_pending(ctx));
	conn_abort(ctx);
	if (conn_write(ctx, slice_make(piece, 1)) != ERR_CANCELLED)
		atomic_fetch_add(&seen.errors, 1);
	return bytes.len;
}

static void output_is_bounded(void **state)
{
	const struct conn_session session = {.on_bytes = write_until_refused, .on_closed = on_closed};
	struct server s;
	int fd;

	(void)state;
	start(&s, 1, &session, 0);
	fd = dial(&s);
	put(fd, "go", 2);
	await(&seen.closed_for[CONN_CLOSED_BY_US], 1);
	assert_int_equal(atomic_load(&seen.errors), 0);
	assert_true(atomic_load(&seen.largest) > 1 << 20);
	assert_true(atomic_load(&seen.largest) <= (1 << 20) + (64 << 10));
	assert_true(atomic_load(&seen.bytes) >
		    atomic_load(&seen.largest)); /* the kernel was asked at the bound */
	(void)close(fd);
	stop(&s);
}

/* A session that writes again with each credit must not keep another from its turn. */
static void write_more(void *ctx)
{
	atomic_fetch_add(&seen.drained, 1);
	(void)conn_write(ctx, SLICE_LIT("more and more and more and more\n"));
}

static size_t write_once(void *ctx, struct slice bytes)
{
	write_more(ctx);
	return bytes.len;
}

static void *read_for_ever(void *arg)
{
	static char bytes[1 << 16];
	int fd = *(int *)arg;

	while (recv(fd, bytes, sizeof(bytes), 0) > 0)
		;
	return NULL;
}

static void a_reader_that_is_always_drained_does_not_starve_others(void **state)
{
	const struct conn_session session = {.on_bytes = write_once,
					     .on_drained = write_more,
					     .on_closed = on_closed};
	struct server s;
	pthread_t reader;
	uint64_t turns;
	int fd;

	(void)state;
	start(&s, 1, &session, 0);
	fd = dial(&s);
	assert_int_equal(pthread_create(&reader, NULL, read_for_ever, &fd), 0);
	put(fd, "go", 2);
	nap_ms(50);
	for (int i = 0; i < 10; i++)
		on_loop(s.loops[0], read_turns, &turns); /* returns only if turns go on */
	assert_true(atomic_load(&seen.drained) > 10);
	stop(&s);
	assert_int_equal(pthread_join(reader, NULL), 0);
	(void)close(fd);
}

/* ---- input bounds and stopping ---- */

static _Atomic bool take_input;

static size_t take_if_told(void *ctx, struct slice bytes)
{
	(void)ctx;
	if ((int64_t)bytes.len > atomic_load(&seen.largest))
		atomic_store(&seen.largest, (int64_t)bytes.len);
	if (!atomic_load(&take_input))
		return 0;
	atomic_fetch_add(&seen.bytes, (int64_t)bytes.len);
	return bytes.len;
}

static void resume(struct loop *loop, void *arg)
{
	(void)loop;
	(void)arg;
	atomic_store(&take_input, true);
	conn_read_start(seen.conn);
}

static void pause_reading(struct loop *loop, void *arg)
{
	(void)loop;
	(void)arg;
	conn_read_stop(seen.conn);
}

static const struct conn_session takes_if_told = {.on_bytes = take_if_told, .on_closed = on_closed};

static size_t send_until_full(int fd)
{
	static char bytes[64 << 10];
	size_t sent = 0;

	for (int idle = 0; idle < 20;) {
		ssize_t did = send(fd, bytes, sizeof(bytes), MSG_NOSIGNAL | MSG_DONTWAIT);

		if (did > 0) {
			sent += (size_t)did;
			idle = 0;
		} else {
			assert_int_equal(errno, EAGAIN);
			idle++;
			nap_ms(5);
		}
	}
	return sent;
}

static void input_nobody_takes_stops_the_sender(void **state)
{
	struct server s;
	size_t sent;
	int fd;

	(void)state;
	atomic_store(&take_input, false);
	start(&s, 1, &takes_if_told, 0);
	input_max = 100000;
	fd = dial(&s);
	sent = send_until_full(fd);
	assert_int_equal(atomic_load(&seen.largest), 100000);
	assert_true(turns_during(s.loops[0], 100) <= 1); /* full: epoll is silent */
	on_loop(s.loops[0], resume, NULL);
	await(&seen.bytes, (int64_t)sent);
	(void)close(fd);
	await(&seen.closed, 1);
	stop(&s);
}

static void stopped_reading_is_silent_and_resumes(void **state)
{
	struct server s;
	int fd;

	(void)state;
	atomic_store(&take_input, false);
	start(&s, 1, &takes_if_told, 0);
	fd = dial(&s);
	put(fd, "abc", 3);
	await(&seen.largest, 3);
	on_loop(s.loops[0], pause_reading, NULL);
	put(fd, "def", 3);
	nap_ms(20);
	assert_true(turns_during(s.loops[0], 100) <= 1);
	assert_int_equal(atomic_load(&seen.largest), 3);
	on_loop(s.loops[0], resume, NULL);
	await(&seen.bytes, 6);
	(void)close(fd);
	await(&seen.closed, 1);
	stop(&s);
}

/* ---- closing ---- */

static size_t answer_and_close(void *ctx, struct slice bytes)
{
	(void)bytes;
	if (conn_write(ctx, SLICE_LIT("413 too large\n")) < 0)
		atomic_fetch_add(&seen.errors, 1);
	conn_close(ctx, 2000 * MS);
	return 0;
}

static void lingering_lets_the_answer_through(void **state)
{
	const struct conn_session session = {.on_bytes = answer_and_close, .on_closed = on_closed};
	static char body[8 << 20];
	struct server s;
	int fd;

	(void)state;
	start(&s, 1, &session, 0);
	fd = dial(&s);
	put(fd, body, sizeof(body)); /* all of it before the answer is looked at */
	expect(fd, "413 too large\n");
	expect_end(fd);
	(void)close(fd);
	await(&seen.closed_for[CONN_CLOSED_BY_US], 1);
	assert_int_equal(atomic_load(&seen.errors), 0);
	stop(&s);
}

static size_t close_shortly(void *ctx, struct slice bytes)
{
	conn_close(ctx, 100 * MS);
	return bytes.len;
}

static void lingering_ends_in_time(void **state)
{
	const struct conn_session session = {.on_bytes = close_shortly, .on_closed = on_closed};
	struct server s;
	int fd;

	(void)state;
	start(&s, 1, &session, 0);
	fd = dial(&s);
	put(fd, "x", 1);
	expect_end(fd);
	await(&seen.closed_for[CONN_CLOSED_BY_US], 1); /* though the peer never ends */
	(void)close(fd);
	stop(&s);
}

static char plenty[4 << 20];

static size_t finish(void *ctx, struct slice bytes)
{
	if (conn_write(ctx, slice_make(plenty, sizeof(plenty))) < 0)
		atomic_fetch_add(&seen.errors, 1);
	conn_finish(ctx, 3600 * 1000 * MS);
	return bytes.len;
}

/* The peer neither ends nor reads at first: what it has not got stays, and then there is no waiting for its end. */
static void finishing_waits_until_the_peer_has_everything(void **state)
{
	const struct conn_session session = {.on_bytes = finish, .on_closed = on_closed};
	static char got[sizeof(plenty)];
	struct server s;
	size_t n = 0;
	int fd;

	(void)state;
	start(&s, 1, &session, 0);
	fd = dial(&s);
	put(fd, "x", 1);
	nap_ms(300);
	assert_int_equal(atomic_load(&seen.closed), 0);
	while (n < sizeof(got)) {
		ssize_t more = recv(fd, got + n, sizeof(got) - n, 0);
		assert_true(more > 0);
		n += (size_t)more;
	}
	expect_end(fd);
	await(&seen.closed_for[CONN_CLOSED_BY_US], 1); /* await has less patience than the linger */
	assert_int_equal(atomic_load(&seen.errors), 0);
	(void)close(fd);
	stop(&s);
}

static void count_end(void *ctx)
{
	atomic_fetch_add(&seen.ended, 1);
	(void)conn_write(ctx, SLICE_LIT("after your end\n"));
	conn_close(ctx, 0);
}

static void half_a_close_still_gets_its_answer(void **state)
{
	const struct conn_session session = {.on_bytes = echo_lines,
					     .on_end = count_end,
					     .on_closed = on_closed};
	struct server s;
	int fd;

	(void)state;
	atomic_store(&veil_met.cut_short, 0);
	start(&s, 1, &session, 0);
	fd = dial(&s);
	put(fd, "x\n", 2);
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	expect(fd, "x\nafter your end\n");
	expect_end(fd);
	assert_int_equal(atomic_load(&veil_met.cut_short), 0);
	await(&seen.closed_for[CONN_CLOSED_BY_PEER], 1);
	assert_int_equal(atomic_load(&seen.ended), 1);
	(void)close(fd);
	stop(&s);
}

static void only_count_end(void *ctx)
{
	(void)ctx;
	atomic_fetch_add(&seen.ended, 1);
}

static void an_end_that_is_not_answered_is_silent(void **state)
{
	const struct conn_session session = {.on_bytes = echo_lines,
					     .on_end = only_count_end,
					     .on_closed = on_closed};
	struct server s;
	int fd;

	(void)state;
	start(&s, 1, &session, 0);
	fd = dial(&s);
	assert_int_equal(shutdown(fd, SHUT_WR), 0);
	await(&seen.ended, 1);
	assert_true(turns_during(s.loops[0], 100) <= 1); /* an end stays readable for ever */
	assert_int_equal(atomic_load(&seen.ended), 1);
	stop(&s);
	expect_end(fd);
	(void)close(fd);
}

static void present_again(struct loop *loop, void *arg)
{
	(void)loop;
	(void)arg;
	conn_read_start(seen.conn);
}

static void credit_is_told_once(void **state)
{
	uint64_t turns;
	struct server s;
	int fd;

	(void)state;
	start(&s, 1, &echo, 0);
	fd = dial(&s);
	put(fd, "x\nhalf a line", 13);
	expect(fd, "x\n");
	await(&seen.drained, 1);
	for (int i = 0; i < 3; i++) /* work for the connection, and nothing written */
		on_loop(s.loops[0], present_again, NULL);
	on_loop(s.loops[0], read_turns, &turns);
	assert_int_equal(atomic_load(&seen.drained), 1);
	put(fd, "\n", 1);
	expect(fd, "half a line\n");
	await(&seen.drained, 2);
	(void)close(fd);
	stop(&s);
}

static void a_reset_is_told_from_an_end(void **state)
{
	struct linger hard = {.l_onoff = 1, .l_linger = 0};
	struct server s;
	int fd;

	(void)state;
	start(&s, 1, &echo, 0);
	fd = dial(&s);
	put(fd, "x\n", 2);
	expect(fd, "x\n");
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof(hard)), 0);
	(void)close(fd);
	await(&seen.closed_for[CONN_RESET], 1);
	stop(&s);
}

static void ask_peer(struct loop *loop, void *arg)
{
	(void)loop;
	conn_peer(seen.conn, arg);
}

static void the_peer_is_named(void **state)
{
	struct conn_peer peer;
	struct sockaddr_in self;
	socklen_t n = sizeof(self);
	char text[64];
	struct server s;
	int fd;

	(void)state;
	start(&s, 1, &echo, 0);
	fd = dial(&s);
	await(&seen.accepted, 1);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&self, &n), 0);
	(void)snprintf(text, sizeof(text), "127.0.0.1:%u", ntohs(self.sin_port));
	on_loop(s.loops[0], ask_peer, &peer);
	assert_string_equal(peer.text, text);
	assert_true(peer.loopback);
	(void)close(fd);
	await(&seen.closed, 1);
	stop(&s);
}

/* ---- memory ---- */

static void no_memory_refuses_one_connection_only(void **state)
{
	struct server s;
	int fd;

	(void)state;
	start(&s, 1, &echo, 0);
	mem_fail_at(1);
	fd = dial(&s);
	expect_end(fd); /* there was none for the connection */
	(void)close(fd);
	fd = dial(&s);
	await(&seen.accepted, 1);
	mem_fail_at(1);
	put(fd, "x\n", 2);
	await(&seen.errors, 1); /* none for its output: conn_write said so */
	mem_fail_at(0);
	put(fd, "y\n", 2);
	expect(fd, "y\n");
	mem_fail_at(1);
	put(fd, "half a line", 11);
	expect_end(fd); /* none to keep its input */
	mem_fail_at(0);
	(void)close(fd);
	fd = dial(&s);
	put(fd, "x\n", 2);
	expect(fd, "x\n");
	(void)close(fd);
	stop(&s);
}

static size_t stop_until_told(void *ctx, struct slice bytes)
{
	size_t took = take_if_told(ctx, bytes);

	if (took < bytes.len)
		conn_read_stop(ctx);
	return took;
}

static const struct conn_session stops_until_told = {.on_bytes = stop_until_told, .on_closed = on_closed};

/* What a session leaves for later must not cost it the connection: so much of it is not read. */
static void without_memory_what_waits_is_not_read(void **state)
{
	static char bytes[200000];
	struct budget full;
	struct server s;
	int fds[5];

	(void)state;
	budget_init(&full, 1, 1);
	bounded = &full;
	atomic_store(&take_input, false);
	start(&s, 1, &stops_until_told, 0);
	for (int i = 0; i < 5; i++) {
		fds[i] = dial(&s);
		put(fds[i], bytes, sizeof(bytes));
		await(&seen.accepted, i + 1);
	}
	nap_ms(20);
	assert_true(atomic_load(&seen.largest) > 0);
	assert_true(atomic_load(&seen.largest) <= 2048);
	assert_true(budget_used(&full) < 5 * 8192);
	assert_int_equal(atomic_load(&seen.closed), 0);
	on_loop(s.loops[0], resume, NULL); /* the last of them */
	await(&seen.bytes, (int64_t)sizeof(bytes));
	for (int i = 0; i < 5; i++)
		(void)close(fds[i]);
	stop(&s);
	bounded = NULL;
}

/* A session that wants more of what it does not take is refused, as nobody else can be asked to wait. */
static void without_memory_a_long_line_is_refused(void **state)
{
	static char line[100000];
	struct budget full;
	struct server s;
	int fd;

	(void)state;
	budget_init(&full, 1, 1);
	bounded = &full;
	memset(line, 'x', sizeof(line));
	start(&s, 1, &echo, 0);
	fd = dial(&s);
	put(fd, line, 2000);
	put(fd, "\n", 1);
	for (size_t had = 0, n; had < 2001; had += n) {
		n = (size_t)recv(fd, line, sizeof(line), 0);
		assert_true(n > 0 && n <= 2001 - had);
	}
	(void)send(fd, line, sizeof(line), MSG_NOSIGNAL);
	await(&seen.closed_for[CONN_CLOSED_BY_US], 1);
	(void)close(fd);
	stop(&s);
	bounded = NULL;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(answers_are_the_same_however_the_bytes_are_cut),
		cmocka_unit_test(stopping_closes_what_is_open),
		cmocka_unit_test(a_slow_reader_gets_all_and_blobs_come_back),
		cmocka_unit_test(output_is_bounded),
		cmocka_unit_test(a_reader_that_is_always_drained_does_not_starve_others),
		cmocka_unit_test(input_nobody_takes_stops_the_sender),
		cmocka_unit_test(stopped_reading_is_silent_and_resumes),
		cmocka_unit_test(lingering_lets_the_answer_through),
		cmocka_unit_test(lingering_ends_in_time),
		cmocka_unit_test(finishing_waits_until_the_peer_has_everything),
		cmocka_unit_test(half_a_close_still_gets_its_answer),
		cmocka_unit_test(an_end_that_is_not_answered_is_silent),
		cmocka_unit_test(credit_is_told_once),
		cmocka_unit_test(a_reset_is_told_from_an_end),
		cmocka_unit_test(the_peer_is_named),
		cmocka_unit_test(no_memory_refuses_one_connection_only),
		cmocka_unit_test(without_memory_what_waits_is_not_read),
		cmocka_unit_test(without_memory_a_long_line_is_refused),
		VEILED(answers_are_the_same_however_the_bytes_are_cut),
		VEILED(stopping_closes_what_is_open),
		VEILED(a_slow_reader_gets_all_and_blobs_come_back),
		VEILED(ranges_of_files_leave_in_order_and_come_back),
		cmocka_unit_test(a_file_that_is_shorter_than_promised_cuts_the_connection),
		VEILED(output_is_bounded),
		VEILED(a_reader_that_is_always_drained_does_not_starve_others),
		VEILED(input_nobody_takes_stops_the_sender),
		VEILED(stopped_reading_is_silent_and_resumes),
		VEILED(lingering_lets_the_answer_through),
		VEILED(lingering_ends_in_time),
		VEILED(half_a_close_still_gets_its_answer),
		VEILED(an_end_that_is_not_answered_is_silent),
		VEILED(credit_is_told_once),
		TWICE_VEILED(answers_are_the_same_however_the_bytes_are_cut),
		TWICE_VEILED(a_slow_reader_gets_all_and_blobs_come_back),
		TWICE_VEILED(half_a_close_still_gets_its_answer),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
