/* SPDX-License-Identifier: Apache-2.0 */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/check.h"
#include "base/err.h"
#include "base/mem.h"

#define BUF_FIRST_CAP 256u

void buf_init(struct buf *b, size_t bytes_max)
{
	*b = (struct buf){.bytes_max = bytes_max};
}

void buf_fini(struct buf *b)
{
	mem_free(b->ptr);
	buf_init(b, b->bytes_max);
}

void buf_clear(struct buf *b)
{
	b->len = 0;
	b->status = 0;
}

static int fail(struct buf *b, int status)
{
	b->status = status;
	return status;
}

static int grow(struct buf *b, size_t need)
{
	size_t cap = b->cap ? b->cap : BUF_FIRST_CAP;
	uint8_t *ptr;

	while (cap < need)
		cap *= 2;
	if (cap > b->bytes_max)
		cap = b->bytes_max;
	ptr = mem_realloc(b->ptr, cap);
	if (!ptr)
		return fail(b, ERR_NOMEM);
	b->ptr = ptr;
	b->cap = cap;
	return 0;
}

int buf_reserve_slowly(struct buf *b, size_t n)
{
	if (b->status)
		return b->status;
	if (n <= b->cap - b->len)
		return 0;
	if (n > b->bytes_max || b->len > b->bytes_max - n)
		return fail(b, ERR_LIMIT);
	return grow(b, b->len + n);
}

int buf_append_slice(struct buf *b, struct slice s)
{
	return buf_append(b, s.ptr, s.len);
}

int buf_append_str(struct buf *b, const char *text)
{
	return buf_append(b, text, strlen(text));
}

int buf_append_u64(struct buf *b, uint64_t value)
{
	char digits[20];
	size_t at = sizeof(digits);

	if (value < 10)
		return buf_append_byte(b, (uint8_t)('0' + value));
	do {
		digits[--at] = (char)('0' + value % 10);
		value /= 10;
	} while (value);
	return buf_append(b, digits + at, sizeof(digits) - at);
}

int buf_append_i64(struct buf *b, int64_t value)
{
	if (value >= 0)
		return buf_append_u64(b, (uint64_t)value);
	if (buf_append_byte(b, '-'))
		return b->status;
	return buf_append_u64(b, 0 - (uint64_t)value);
}

int buf_appendf(struct buf *b, const char *format, ...)
{
	va_list args;
	int len;

	va_start(args, format);
	len = vsnprintf(NULL, 0, format, args);
	va_end(args);
	if (len < 0)
		return fail(b, ERR_INTERNAL);
	if (buf_reserve(b, (size_t)len + 1))
		return b->status;
	va_start(args, format);
	(void)vsnprintf((char *)b->ptr + b->len, (size_t)len + 1, format, args);
	va_end(args);
	b->len += (size_t)len;
	return 0;
}

void buf_consume(struct buf *b, size_t n)
{
	CHECK(n <= b->len);
	if (n && n < b->len)
		memmove(b->ptr, b->ptr + n, b->len - n);
	b->len -= n;
}
