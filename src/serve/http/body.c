/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/http/body.h"

#include "serve/http/private.h"

#define FIRST_BODY_BYTES 8192u

bool body_take_whole(struct exchange *x, struct slice bytes)
{
	size_t n = (size_t)x->request.content_length;
	uint8_t *copy;

	if (x->request.body != HTTP_BODY_LENGTH || bytes.len < n)
		return false;
	copy = arena_alloc(x->arena, n + EXCHANGE_BODY_PADDING);
	if (!copy)
		return false;
	memcpy(copy, bytes.ptr, n);
	x->body = slice_make(copy, n);
	return true;
}

/*
 * Makes room for `more` bytes and the padding. A declared length is believed
 * only as far as bytes have come, so that announcing much costs much to send.
 */
static int reserve(struct exchange *x, size_t more)
{
	size_t have = x->collected.len;
	size_t want = 4 * (have + more);
	int r;

	if (want < FIRST_BODY_BYTES)
		want = FIRST_BODY_BYTES;
	if (want > x->body_max)
		want = (size_t)x->body_max;
	if (x->request.body == HTTP_BODY_LENGTH && want > x->request.content_length)
		want = (size_t)x->request.content_length;
	if (want < have + more)
		want = have + more;
	if (more + EXCHANGE_BODY_PADDING <= x->collected.cap - have)
		return 0;
	x->collected.bytes_max = want + EXCHANGE_BODY_PADDING;
	if (!exchange_charge(x, want + EXCHANGE_BODY_PADDING))
		return ERR_OVERLOADED;
	r = buf_reserve(&x->collected, want + EXCHANGE_BODY_PADDING - have);
	return r < 0 ? ERR_NOMEM : 0;
}

int body_collect(struct exchange *x, struct slice piece)
{
	int r;

	if (x->collected.len + piece.len > x->body_max)
		return ERR_BODY_TOO_LARGE;
	r = reserve(x, piece.len);
	return r < 0 ? r : buf_append_slice(&x->collected, piece);
}

void body_end(struct exchange *x)
{
	/* Room for the padding was reserved with every piece. */
	if (x->collected.len)
		x->body = buf_slice(&x->collected);
}
