/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/kafka/kafka_frame.h"

#include "base/err.h"
#include "base/wire.h"

void kafka_framer_init(struct kafka_framer *f, size_t frame_bytes_max)
{
	*f = (struct kafka_framer){.frame_bytes_max = frame_bytes_max};
	buf_init(&f->gathered, frame_bytes_max);
}

void kafka_framer_fini(struct kafka_framer *f)
{
	buf_fini(&f->gathered);
}

size_t kafka_framer_held(const struct kafka_framer *f)
{
	return f->gathered.cap;
}

int kafka_framer_take(struct kafka_framer *f, struct slice frame, struct buf *out)
{
	if (!f->given)
		return buf_append_slice(out, frame);
	f->given = false;
	*out = f->gathered;
	buf_init(&f->gathered, f->frame_bytes_max);
	return 0;
}

/* The frame that was given is done with: so is its memory, if it was a large one. */
static void let_go(struct kafka_framer *f)
{
	f->given = false;
	if (f->gathered.cap > KAFKA_FRAME_KEEP)
		buf_fini(&f->gathered);
	else
		buf_clear(&f->gathered);
	f->gathered.bytes_max = f->frame_bytes_max;
}

static enum kafka_frame_event fail(struct kafka_framer *f, int error)
{
	f->error = error;
	buf_fini(&f->gathered);
	return KAFKA_FRAME_FAIL;
}

/* Gives how many bytes it took of the length; the last one is where it is judged. */
static size_t read_length(struct kafka_framer *f, struct slice bytes)
{
	size_t n = sizeof(f->head) - f->head_len;

	if (n > bytes.len)
		n = bytes.len;
	memcpy(f->head + f->head_len, bytes.ptr, n);
	f->head_len = (uint8_t)(f->head_len + n);
	if (f->head_len < sizeof(f->head))
		return n;
	f->claimed = wire_load_u32(f->head);
	if (f->claimed == 0 || f->claimed > INT32_MAX)
		f->error = ERR_MALFORMED;
	else if (f->claimed > f->frame_bytes_max)
		f->error = ERR_LIMIT;
	return n;
}

/* The last step of growth goes no further than the frame. */
static void bound_growth(struct kafka_framer *f)
{
	if (f->gathered.cap <= f->claimed)
		f->gathered.bytes_max = f->claimed;
}

/* Four times what there is, or to the frame's end: what has come is copied each time. */
static void make_room(struct kafka_framer *f, size_t least)
{
	struct buf *b = &f->gathered;
	size_t cap = 4 * b->cap < f->claimed ? 4 * b->cap : f->claimed;

	if (cap <= b->cap || cap - b->len < least)
		return;
	bound_growth(f);
	if (buf_reserve(b, cap - b->len))
		b->status = 0; /* no memory: whoever appends will meet that */
}

size_t kafka_framer_room(struct kafka_framer *f, size_t least, uint8_t **to)
{
	struct buf *b = &f->gathered;
	size_t rest, room;

	if (b->len == 0)
		return 0;
	rest = f->claimed - b->len;
	if (rest < least)
		return 0;
	if (b->cap - b->len < least)
		make_room(f, least);
	room = b->cap - b->len;
	if (room < least)
		return 0;
	*to = b->ptr + b->len;
	return room < rest ? room : rest;
}

bool kafka_framer_in_place(const struct kafka_framer *f, struct slice bytes)
{
	const struct buf *b = &f->gathered;

	return b->len && bytes.ptr == b->ptr + b->len && bytes.len <= b->cap - b->len;
}

static int add(struct kafka_framer *f, struct slice bytes)
{
	if (!kafka_framer_in_place(f, bytes)) {
		bound_growth(f);
		return buf_append_slice(&f->gathered, bytes);
	}
	f->gathered.len += bytes.len;
	return 0;
}

/* Adds what there is to the frame that was cut. */
static enum kafka_frame_event gather(struct kafka_framer *f, struct slice bytes, size_t *taken,
				     struct slice *frame)
{
	size_t n = f->claimed - f->gathered.len;

	if (n > bytes.len)
		n = bytes.len;
	if (add(f, slice_make(bytes.ptr, n)))
		return fail(f, ERR_NOMEM);
	*taken += n;
	if (f->gathered.len < f->claimed)
		return KAFKA_FRAME_MORE;
	f->head_len = 0;
	f->given = true;
	*frame = buf_slice(&f->gathered);
	return KAFKA_FRAME_GIVEN;
}

enum kafka_frame_event kafka_framer_next(struct kafka_framer *f, struct slice bytes, size_t *taken,
					 struct slice *frame)
{
	*frame = slice_null();
	*taken = bytes.len;
	if (f->error || bytes.len == 0)
		return KAFKA_FRAME_MORE;
	if (f->given)
		let_go(f);
	*taken = 0;
	if (f->head_len < sizeof(f->head)) {
		*taken = read_length(f, bytes);
		if (f->error)
			return fail(f, f->error);
		if (f->head_len < sizeof(f->head))
			return KAFKA_FRAME_MORE;
		bytes = slice_from(bytes, *taken);
	}
	if (f->gathered.len || bytes.len < f->claimed)
		return gather(f, bytes, taken, frame);
	f->head_len = 0;
	*taken += f->claimed;
	*frame = slice_make(bytes.ptr, f->claimed);
	return KAFKA_FRAME_GIVEN;
}

const char *kafka_framer_stranger(const struct kafka_framer *f)
{
	static const char methods[][5] = {"GET ", "HEAD", "POST", "PUT ", "DELE",
					  "OPTI", "PATC", "CONN", "PRI ", "TRAC"};

	if (f->head[0] == 0x16 && f->head[1] == 0x03) /* a record with a handshake, of TLS 1.0 to 1.3 */
		return "TLS";
	for (size_t i = 0; i < sizeof(methods) / sizeof(methods[0]); i++)
		if (memcmp(f->head, methods[i], sizeof(f->head)) == 0)
			return "HTTP";
	return NULL;
}
