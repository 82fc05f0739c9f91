/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines are copied into one buffer and read when they are whole, wherever the
 * input was cut; a line ends at its CR, and the LF that may follow is passed
 * over later, so that an event is never held back for a byte that may not come.
 */
#include "proto/sse/sse_parser.h"

#include "base/err.h"

void sse_parser_init(struct sse_parser *p, size_t event_bytes_max)
{
	*p = (struct sse_parser){0};
	buf_init(&p->line, event_bytes_max);
	/* Its last LF is taken off again. */
	buf_init(&p->data, event_bytes_max < SIZE_MAX ? event_bytes_max + 1 : SIZE_MAX);
	buf_init(&p->name, event_bytes_max);
	buf_init(&p->id, event_bytes_max);
	buf_init(&p->last_id, event_bytes_max);
}

void sse_parser_fini(struct sse_parser *p)
{
	buf_fini(&p->line);
	buf_fini(&p->data);
	buf_fini(&p->name);
	buf_fini(&p->id);
	buf_fini(&p->last_id);
	p->ended = true;
}

static int copy(struct buf *to, struct slice from)
{
	buf_clear(to);
	return buf_append_slice(to, from);
}

void sse_parser_reset(struct sse_parser *p)
{
	buf_clear(&p->line);
	buf_clear(&p->data);
	buf_clear(&p->name);
	p->after_cr = p->begun = p->given = p->line_given = false;
	/* last_id was in `id` before, so there is room for it. */
	p->ended = copy(&p->id, buf_slice(&p->last_id)) != 0;
}

struct slice sse_parser_last_id(const struct sse_parser *p)
{
	return buf_slice(&p->last_id);
}

static bool fail(struct sse_parser *p, int err, struct sse_event *event)
{
	p->ended = true;
	*event = (struct sse_event){.kind = SSE_EVENT_FAIL, .err = err};
	return true;
}

static bool fail_if(struct sse_parser *p, int err, struct sse_event *event)
{
	return err && fail(p, err, event);
}

/* An empty line: the id becomes the last one; an event without data is none. */
static bool dispatch(struct sse_parser *p, struct sse_event *event)
{
	int rc = copy(&p->last_id, buf_slice(&p->id));

	if (rc)
		return fail(p, rc, event);
	p->given = true;
	if (p->data.len == 0)
		return false;
	*event = (struct sse_event){
		.kind = SSE_EVENT_MESSAGE,
		.name = p->name.len ? buf_slice(&p->name) : SLICE_LIT("message"),
		.data = slice_make(p->data.ptr, p->data.len - 1),
		.id = buf_slice(&p->last_id),
	};
	return true;
}

static bool on_retry(struct slice value, struct sse_event *event)
{
	uint64_t ms;

	if (!slice_to_u64(value, &ms))
		return false;
	*event = (struct sse_event){.kind = SSE_EVENT_RETRY, .retry_ms = ms};
	return true;
}

static bool on_data(struct sse_parser *p, struct slice value, struct sse_event *event)
{
	buf_append_slice(&p->data, value);
	return fail_if(p, buf_append_byte(&p->data, '\n'), event);
}

static bool on_field(struct sse_parser *p, struct slice name, struct slice value, struct sse_event *event)
{
	if (slice_eq_str(name, "data"))
		return on_data(p, value, event);
	if (slice_eq_str(name, "event"))
		return fail_if(p, copy(&p->name, value), event);
	if (slice_eq_str(name, "retry"))
		return on_retry(value, event);
	if (!slice_eq_str(name, "id") || (value.len && memchr(value.ptr, 0, value.len)))
		return false;
	return fail_if(p, copy(&p->id, value), event);
}

static bool on_comment(struct slice text, struct sse_event *event)
{
	*event = (struct sse_event){.kind = SSE_EVENT_COMMENT, .data = text};
	return true;
}

/* A colon divides; one space behind it does not count; no colon means an empty value. */
static bool on_line(struct sse_parser *p, struct slice line, struct sse_event *event)
{
	const uint8_t *colon;
	struct slice name, value;

	if (line.len == 0)
		return dispatch(p, event);
	colon = memchr(line.ptr, ':', line.len);
	name = slice_make(line.ptr, colon ? (size_t)(colon - line.ptr) : line.len);
	value = slice_from(line, name.len + 1);
	if (value.len && value.ptr[0] == ' ')
		value = slice_from(value, 1);
	if (colon && name.len == 0)
		return on_comment(value, event);
	return on_field(p, name, value, event);
}

static size_t to_line_end(struct slice s)
{
	size_t n = 0;

	while (n < s.len && s.ptr[n] != '\n' && s.ptr[n] != '\r')
		n++;
	return n;
}

static struct slice without_bom(struct sse_parser *p, struct slice line)
{
	if (!p->begun && slice_starts(line, SLICE_LIT("\xef\xbb\xbf")))
		line = slice_from(line, 3);
	p->begun = true;
	return line;
}

/* Takes the rest of a line, or what is there of it; true with an event. */
static bool step(struct sse_parser *p, struct slice *in, struct sse_event *event)
{
	size_t n;

	if (p->after_cr && in->ptr[0] == '\n') {
		p->after_cr = false;
		*in = slice_from(*in, 1);
		return false;
	}
	p->after_cr = false;
	n = to_line_end(*in);
	if (buf_append(&p->line, in->ptr, n))
		return fail(p, buf_status(&p->line), event);
	*in = slice_from(*in, n);
	if (in->len == 0)
		return false;
	p->after_cr = in->ptr[0] == '\r';
	*in = slice_from(*in, 1);
	p->line_given = true;
	return on_line(p, without_bom(p, buf_slice(&p->line)), event);
}

static void drop_given(struct sse_parser *p)
{
	if (p->line_given)
		buf_clear(&p->line);
	if (p->given) {
		buf_clear(&p->data);
		buf_clear(&p->name);
	}
	p->line_given = p->given = false;
}

enum sse_event_kind sse_parser_next(struct sse_parser *p, struct slice bytes, size_t *taken,
				    struct sse_event *event)
{
	struct slice in = bytes;
	bool done = false;

	*event = (struct sse_event){.kind = SSE_EVENT_MORE};
	while (!done && !p->ended && in.len) {
		drop_given(p);
		done = step(p, &in, event);
	}
	*taken = p->ended ? bytes.len : bytes.len - in.len;
	return event->kind;
}
