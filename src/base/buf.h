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

/* Makes room for n more bytes, or ERR_LIMIT, ERR_NOMEM. */
int buf_reserve(struct buf *b, size_t n);

/* Copies bytes to the end; 0, ERR_LIMIT, ERR_NOMEM. */
int buf_append(struct buf *b, const void *bytes, size_t n);
int buf_append_slice(struct buf *b, struct slice s);
int buf_append_str(struct buf *b, const char *text);
int buf_append_byte(struct buf *b, uint8_t byte);

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
