/* SPDX-License-Identifier: Apache-2.0 */
#include "base/rand.h"
#include "net/net_test.h"

/* Connections: input into the session's own room. */

#define BLOCK_BYTES 150000u
#define BLOCK_HEAD 1000u /* of a block, which comes from anywhere */
#define BLOCKS 24u

/* A session that puts blocks together, with the bytes of each where they belong. */
static struct {
	uint8_t bytes[BLOCK_BYTES];
	size_t have;
	int64_t had; /* all blocks */
	bool left;   /* something, with the last call */
	uint32_t calls;
	const uint8_t *room; /* that was given last; NULL: none */
	size_t room_len;
	_Atomic int64_t straight, rooms, largest, sent;
} block;

static uint8_t byte_at(int64_t i)
{
	return (uint8_t)(i * 31 + i / 4099);
}

static size_t give_room(void *ctx, uint8_t **to)
{
	static const size_t sizes[] = {1, BLOCK_BYTES, 70000, 13, 4096, BLOCK_BYTES};
	size_t room = sizes[block.calls % 6], rest = BLOCK_BYTES - block.have;

	(void)ctx;
	if (block.left) /* those come first */
		atomic_fetch_add(&seen.errors, 1);
	block.room = NULL;
	if (block.have < BLOCK_HEAD)
		return 0;
	*to = block.bytes + block.have;
	block.room = *to;
	block.room_len = room < rest ? room : rest;
	atomic_fetch_add(&block.rooms, 1);
	return block.room_len;
}

/* Takes what belongs to this block; what is in place already costs nothing. */
static size_t put_together(struct slice bytes)
{
	size_t n = BLOCK_BYTES - block.have;

	n = n < bytes.len ? n : bytes.len;
	if (bytes.ptr == block.room) {
		if (bytes.len > block.room_len)
			atomic_fetch_add(&seen.errors, 1);
		if (block.calls % 5 == 0 && n > 1)
			n /= 2; /* the rest is to be shown again */
		atomic_fetch_add(&block.straight, (int64_t)n);
		if ((int64_t)n > atomic_load(&block.largest))
			atomic_store(&block.largest, (int64_t)n);
	} else {
		memcpy(block.bytes + block.have, bytes.ptr, n);
	}
	block.room = NULL;
	block.have += n;
	return n;
}

static void check_block(void)
{
	for (size_t i = 0; i < BLOCK_BYTES; i++)
		if (block.bytes[i] != byte_at(block.had + (int64_t)i)) {
			atomic_fetch_add(&seen.errors, 1);
			break;
		}
	block.had += BLOCK_BYTES;
	block.have = 0;
	memset(block.bytes, 0, sizeof(block.bytes));
}

static size_t take_blocks(void *ctx, struct slice bytes)
{
	bool straight = bytes.ptr == block.room;
	size_t took = 0;

	block.calls++;
	do {
		took += put_together(slice_from(bytes, took));
		if (block.have == BLOCK_BYTES)
			check_block();
	} while (took < bytes.len && !straight);
	block.left = took < bytes.len;
	if (block.left && (block.calls % 2 || conn_bytes_in(ctx) == (uint64_t)atomic_load(&block.sent)))
		conn_read_start(ctx); /* else it comes with what comes next */
	atomic_fetch_add(&seen.bytes, (int64_t)took);
	return took;
}

static void note_end(void *ctx)
{
	atomic_fetch_add(&seen.ended, 1);
	conn_close(ctx, 0);
}

static void put_blocks(int fd, int64_t from, int64_t to)
{
	static uint8_t bytes[BLOCK_BYTES];
	struct rand r;

	atomic_store(&block.sent, to);
	rand_seed(&r, 7);
	while (from < to) {
		size_t n = 1 + (size_t)rand_below(&r, rand_below(&r, 2) ? sizeof(bytes) : 3000);
		n = n < (size_t)(to - from) ? n : (size_t)(to - from);
		for (size_t i = 0; i < n; i++)
			bytes[i] = byte_at(from + (int64_t)i);
		put(fd, bytes, n);
		from += (int64_t)n;
	}
}

static const struct conn_session takes_blocks = {
	.on_bytes = take_blocks,
	.on_room = give_room,
	.on_end = note_end,
	.on_closed = on_closed,
};

static int begin(struct server *s, const struct conn_session *session)
{
	memset((void *)&block, 0, sizeof(block));
	start(s, 1, session, 0);
	return dial(s);
}

static void bytes_go_where_the_session_wants_them(void **state)
{
	const int64_t all = (int64_t)BLOCKS * BLOCK_BYTES, more = all + BLOCK_BYTES / 2;
	struct server s;
	int fd;

	(void)state;
	fd = begin(&s, &takes_blocks);
	put_blocks(fd, 0, all);
	await(&seen.bytes, all);
	assert_true(atomic_load(&block.straight) > all / 4);
	assert_true(atomic_load(&block.rooms) > BLOCKS);
	assert_true(veils || atomic_load(&block.largest) > 64 << 10); /* more than the loop's buffer holds */
	put_blocks(fd, all, more);
	assert_int_equal(shutdown(fd, SHUT_WR), 0); /* in the middle of a block, with room at hand */
	await(&seen.ended, 1);
	await(&seen.bytes, more);
	expect_end(fd);
	await(&seen.closed_for[CONN_CLOSED_BY_PEER], 1);
	assert_int_equal(atomic_load(&seen.errors), 0);
	(void)close(fd);
	stop(&s);
}

static size_t close_inside(void *ctx, struct slice bytes)
{
	if (bytes.ptr == block.room) {
		memset(block.bytes, 0, sizeof(block.bytes));
		conn_close(ctx, 2000 * MS);
		return bytes.len / 2;
	}
	return take_blocks(ctx, bytes);
}

/* What is left then is nobody's, and what comes is discarded elsewhere. */
static void room_is_not_written_once_the_session_has_closed(void **state)
{
	const struct conn_session session = {.on_bytes = close_inside,
					     .on_room = give_room,
					     .on_closed = on_closed};
	struct server s;
	int fd;

	(void)state;
	fd = begin(&s, &session);
	put_blocks(fd, 0, (int64_t)BLOCK_BYTES);
	expect_end(fd);
	(void)close(fd);
	await(&seen.closed, 1);
	for (size_t i = 0; i < BLOCK_BYTES; i++)
		assert_int_equal(block.bytes[i], 0);
	assert_int_equal(atomic_load(&block.rooms), 1);
	stop(&s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(bytes_go_where_the_session_wants_them),
		cmocka_unit_test(room_is_not_written_once_the_session_has_closed),
		VEILED(bytes_go_where_the_session_wants_them),
		TWICE_VEILED(bytes_go_where_the_session_wants_them),
		VEILED(room_is_not_written_once_the_session_has_closed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
