/* SPDX-License-Identifier: Apache-2.0 */
/*
 * First byte: 1 a small limit, and in the rest the seed of the cuts. What follows
 * is the stream. The events must be the same whole and cut; what they say, written
 * again, must be read as the same.
 */
#include "base/check.h"
#include "base/hash.h"
#include "base/mem.h"
#include "base/rand.h"
#include "proto/sse/sse_parser.h"
#include "proto/sse/sse_writer.h"

#define USE_SMALL 1u
#define STREAM_MAX (1u << 20)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void add(struct hash_key *trace, const void *bytes, size_t len)
{
	trace->k0 = hash_sip13(trace, slice_make(bytes, len));
	trace->k1 += len + 1;
}

static void add_event(struct hash_key *trace, const struct sse_event *e)
{
	add(trace, &e->kind, sizeof(e->kind));
	add(trace, &e->err, sizeof(e->err));
	add(trace, &e->retry_ms, sizeof(e->retry_ms));
	add(trace, e->name.ptr, e->name.len);
	add(trace, e->data.ptr, e->data.len);
	add(trace, e->id.ptr, e->id.len);
}

/* Data and ids may come with CR split off only, so what was read can be written. */
static void write_event(struct buf *to, const struct sse_event *e)
{
	const struct sse_message m = {.id = e->id, .name = e->name, .data = e->data};

	if (e->kind == SSE_EVENT_MESSAGE)
		CHECK(sse_write(to, &m) == 0);
	if (e->kind == SSE_EVENT_RETRY)
		CHECK(sse_write_retry(to, e->retry_ms) == 0);
	if (e->kind == SSE_EVENT_COMMENT)
		CHECK(sse_write_comment(to, e->data) == 0);
}

/* Messages alone, as a number. */
static void feed(struct sse_parser *p, struct slice piece, struct hash_key *trace, struct hash_key *messages,
		 struct buf *to)
{
	uint8_t *copy = mem_alloc(piece.len);
	struct slice left = slice_make(copy, piece.len);
	struct sse_event e;
	size_t taken;

	CHECK(copy);
	if (piece.len)
		memcpy(copy, piece.ptr, piece.len);
	while (sse_parser_next(p, left, &taken, &e) != SSE_EVENT_MORE) {
		left = slice_from(left, taken);
		add_event(trace, &e);
		if (e.kind == SSE_EVENT_MESSAGE)
			add_event(messages, &e);
		if (to)
			write_event(to, &e);
	}
	CHECK(taken == left.len);
	mem_free(copy);
}

static void run(struct slice stream, size_t max, uint32_t seed, struct hash_key *trace,
		struct hash_key *messages, struct buf *to)
{
	struct sse_parser p;
	struct rand r;

	rand_seed(&r, seed);
	sse_parser_init(&p, max);
	while (stream.len) {
		size_t n = seed ? 1 + (size_t)rand_below(&r, 9) : stream.len;
		if (n > stream.len)
			n = stream.len;
		feed(&p, slice_make(stream.ptr, n), trace, messages, to);
		stream = slice_from(stream, n);
	}
	add(trace, sse_parser_last_id(&p).ptr, sse_parser_last_id(&p).len);
	sse_parser_fini(&p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct hash_key whole = {0}, cut = {0}, again = {0};
	struct hash_key sent = {0}, received = {0}, unused = {0};
	struct buf to;
	size_t max;

	if (size < 1)
		return 0;
	max = data[0] & USE_SMALL ? 16 : STREAM_MAX;
	buf_init(&to, 64 * STREAM_MAX);
	run(slice_make(data + 1, size - 1), max, 0, &whole, &sent, &to);
	run(slice_make(data + 1, size - 1), max, 1 + (data[0] >> 1), &cut, &unused, NULL);
	CHECK(whole.k0 == cut.k0 && whole.k1 == cut.k1);
	run(buf_slice(&to), 8 * STREAM_MAX, 0, &again, &received, NULL);
	CHECK(sent.k0 == received.k0 && sent.k1 == received.k1);
	buf_fini(&to);
	return 0;
}
