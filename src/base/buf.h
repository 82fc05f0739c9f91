/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_BASE_BUF_H
#define WEIR_BASE_BUF_H

#include "base/slice.h"

/*
 * A growing byte buffer with a maximum. Appending past the maximum, or without
 * memory, fails with ERR_LIMIT or ERR_NOMEM and leaves the content as it was.
 *
 * To keep long runs of appends readable the first error sticks: later appends
 * do nothing and give the same error, so that a writer may check once at its
 * end with buf_status().
 */
struct buf {
	uint8_t *ptr;
	size_t len;
	size_t cap;
	size_t bytes_max;
	int status; /* 0, or the first error */
};

/* An empty buffer that will never hold more than bytes_max. Allocates nothing. */
void buf_init(struct buf *b, size_t bytes_max);

/* Frees the bytes; the buffer is as after buf_init. */
void buf_fini(struct buf *b);

/* Forgets the content and the error, keeps the memory. */
void buf_clear(struct buf *b);

/* What buf_reserve does where there is no room yet, or an error. */
int buf_reserve_slowly(struct buf *b, size_t n);

/* Makes room for n more bytes, or ERR_LIMIT, ERR_NOMEM. */
static inline int buf_reserve(struct buf *b, size_t n)
{
	return !b->status && n <= b->cap - b->len ? 0 : buf_reserve_slowly(b, n);
}

/* Copies bytes to the end; 0, ERR_LIMIT, ERR_NOMEM. Inline: answers are made of short pieces. */
static inline int buf_append(struct buf *b, const void *bytes, size_t n)
{
	int rc = buf_reserve(b, n);

	if (rc == 0 && n) {
		memcpy(b->ptr + b->len, bytes, n);
		b->len += n;
	}
	return rc;
}

static inline int buf_append_byte(struct buf *b, uint8_t byte)
{
	int rc = buf_reserve(b, 1);

	if (rc == 0)
		b->ptr[b->len++] = byte;
	return rc;
}

int buf_append_slice(struct buf *b, struct slice s);
int buf_append_str(struct buf *b, const char *text);

/* Appends a decimal number. */
int buf_append_u64(struct buf *b, uint64_t value);
int buf_append_i64(struct buf *b, int64_t value);

/* Appends formatted text (cold paths only). */
int buf_appendf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Drops the first n bytes and moves the rest to the front. */
void buf_consume(struct buf *b, size_t n);

static inline int buf_status(const struct buf *b)
{
	return b->status;
}

/* The content, borrowed until the next change. */
static inline struct slice buf_slice(const struct buf *b)
{
	return (struct slice){.ptr = b->ptr, .len = b->len};
}

#endif
