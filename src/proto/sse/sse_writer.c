/* SPDX-License-Identifier: Apache-2.0 */
#include "proto/sse/sse_writer.h"

#include "base/err.h"

/* Where the first CR or LF stands, or the length. */
static size_t line_len(struct slice s)
{
	const uint8_t *lf = s.len ? memchr(s.ptr, '\n', s.len) : NULL;
	size_t n = lf ? (size_t)(lf - s.ptr) : s.len;
	const uint8_t *cr = n ? memchr(s.ptr, '\r', n) : NULL;

	return cr ? (size_t)(cr - s.ptr) : n;
}

/* Bytes of the line end that `s` begins with: 1, 2 for CRLF. */
static size_t line_end_len(struct slice s)
{
	return s.len > 1 && s.ptr[0] == '\r' && s.ptr[1] == '\n' ? 2 : 1;
}

static void put_line(struct buf *to, const char *field, struct slice line)
{
	buf_append_str(to, field);
	buf_append_slice(to, line);
	buf_append_byte(to, '\n');
}

/* A line each, at least one: text that ends with a line end has an empty line behind it. */
static void put_lines(struct buf *to, const char *field, struct slice text)
{
	for (;;) {
		size_t n = line_len(text);
		put_line(to, field, slice_make(text.ptr, n));
		if (n == text.len)
			return;
		text = slice_from(text, n);
		text = slice_from(text, line_end_len(text));
	}
}

/* All of it or nothing: takes back what was appended before the error. */
static int settle(struct buf *to, size_t before)
{
	if (buf_status(to))
		to->len = before;
	return buf_status(to);
}

static bool is_one_line(struct slice s)
{
	return line_len(s) == s.len;
}

int sse_write(struct buf *to, const struct sse_message *m)
{
	size_t before = to->len;

	if (!is_one_line(m->id) || !is_one_line(m->name) || (m->id.len && memchr(m->id.ptr, 0, m->id.len)))
		return ERR_MALFORMED;
	if (m->id.ptr)
		put_line(to, "id: ", m->id);
	if (m->name.ptr)
		put_line(to, "event: ", m->name);
	if (m->data.ptr)
		put_lines(to, "data: ", m->data);
	buf_append_byte(to, '\n');
	return settle(to, before);
}

int sse_write_retry(struct buf *to, uint64_t retry_ms)
{
	size_t before = to->len;

	buf_append_str(to, "retry: ");
	buf_append_u64(to, retry_ms);
	buf_append_str(to, "\n\n");
	return settle(to, before);
}

int sse_write_comment(struct buf *to, struct slice text)
{
	size_t before = to->len;

	put_lines(to, text.len ? ": " : ":", text);
	buf_append_byte(to, '\n');
	return settle(to, before);
}
