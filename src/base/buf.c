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

/* 00 to 99: one division for two digits. */
static const char two_digits[] = "0001020304050607080910111213141516171819"
				 "2021222324252627282930313233343536373839"
				 "4041424344454647484950515253545556575859"
				 "6061626364656667686970717273747576777879"
				 "8081828384858687888990919293949596979899";

static size_t count_digits(uint64_t value)
{
	size_t n = 1;

	for (; value >= 10000; value /= 10000)
		n += 4;
	return n + (value >= 10) + (value >= 100) + (value >= 1000);
}

int buf_append_u64(struct buf *b, uint64_t value)
{
	size_t n = count_digits(value);
	uint8_t *at;

	if (buf_reserve(b, n))
		return b->status;
	b->len += n;
	at = b->ptr + b->len;
	for (; value >= 100; value /= 100) {
		at -= 2;
		memcpy(at, two_digits + 2 * (value % 100), 2);
	}
	if (value < 10)
		at[-1] = (uint8_t)('0' + value);
	else
		memcpy(at - 2, two_digits + 2 * value, 2);
	return 0;
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
