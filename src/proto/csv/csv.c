/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bytes gather in `raw`; a record is scanned once, however it is cut, by a
 * machine of six states that notes where fields begin and end. Only when the record
 * is whole are fields made of the marks; those with doubled quotes are copied without.
 *
 *	raw   |done|record ...........|not yet scanned|
 *	          at     first_line   scan
 *
 * A quote that nobody closes would take the rest of the input with it. So the end of its
 * first line is remembered, and when the record's limit or the end of input comes first,
 * that line alone is bad and scanning begins anew behind it. It is done again only over bytes without a
 * quote, so the whole costs at most twice the input.
 */
#include "proto/csv/csv.h"

#include "base/mem.h"

enum state {
	FIELD_START,
	PLAIN,
	QUOTED,
	QUOTE,  /* a quote within quotes: the end, or the first of two */
	CLOSED, /* behind a CR behind the closing quote */
	BROKEN, /* to the end of the line */
};

/* What scanning has come to. */
enum scanned { SCANNED_MORE, SCANNED_RECORD, SCANNED_BROKEN, SCANNED_LIMIT, SCANNED_NOMEM };

void csv_init(struct csv *c, char delimiter, size_t record_bytes_max)
{
	*c = (struct csv){.line = 1, .delimiter = (uint8_t)delimiter, .record_bytes_max = record_bytes_max};
	buf_init(&c->raw, SIZE_MAX / 2);
	buf_init(&c->text, SIZE_MAX / 2);
}

void csv_fini(struct csv *c)
{
	buf_fini(&c->raw);
	buf_fini(&c->text);
	mem_free(c->marks);
	mem_free(c->fields);
	mem_free(c->quoted);
	c->marks = NULL;
	c->fields = NULL;
	c->quoted = NULL;
	c->room = 0;
}

void csv_resume(struct csv *c, uint64_t offset, uint64_t line, bool skipping)
{
	c->offset = offset;
	c->line = line;
	c->skipping = skipping;
}

/* Scanning begins at raw[at]. */
static void begin_record(struct csv *c)
{
	c->scan = c->at;
	c->first_line = 0;
	c->count = 0;
	c->state = FIELD_START;
}

int csv_feed(struct csv *c, struct slice bytes)
{
	buf_consume(&c->raw, c->at);
	c->scan -= c->at;
	if (c->first_line)
		c->first_line -= c->at;
	for (uint32_t i = 0; i < c->count; i++) {
		c->marks[i].from -= c->at;
		c->marks[i].to -= c->at;
	}
	c->at = 0;
	int rc = buf_append_slice(&c->raw, bytes);
	c->raw.status = 0;
	return rc;
}

void csv_finish(struct csv *c)
{
	c->finished = true;
}

/* Room for one more mark; the other arrays follow. */
static bool grow_marks(struct csv *c)
{
	uint32_t room = c->room ? 2 * c->room : 16;
	void *marks = mem_realloc(c->marks, room * sizeof(c->marks[0]));

	if (!marks)
		return false;
	c->marks = marks;
	void *fields = mem_realloc(c->fields, room * sizeof(c->fields[0]));
	if (!fields)
		return false;
	c->fields = fields;
	void *quoted = mem_realloc(c->quoted, room * sizeof(c->quoted[0]));
	if (!quoted)
		return false;
	c->quoted = quoted;
	c->room = room;
	return true;
}

static bool open_field(struct csv *c, size_t from, bool quoted)
{
	if (c->count == c->room && !grow_marks(c))
		return false;
	c->marks[c->count++] = (struct csv_mark){.from = from, .to = from, .quoted = quoted};
	return true;
}

/* A byte where a field begins. False without memory: nothing has moved. */
static bool start_field(struct csv *c, uint8_t byte)
{
	if (c->count == CSV_FIELDS_MAX) {
		c->state = BROKEN;
		return true;
	}
	if (byte == '"') {
		if (!open_field(c, c->scan + 1, true))
			return false;
		c->state = QUOTED;
		c->scan++;
		return true;
	}
	if (!open_field(c, c->scan, false))
		return false;
	c->state = PLAIN; /* which looks at the byte itself */
	return true;
}

/* Moves over bytes that mean nothing in this state. */
static void run_over(struct csv *c, size_t end)
{
	const uint8_t *p = c->raw.ptr;
	size_t i = c->scan;

	if (c->state == QUOTED) {
		while (i < end && p[i] != '"' && p[i] != '\n')
			i++;
	} else if (c->state == PLAIN) {
		while (i < end && p[i] != c->delimiter && p[i] != '\n')
			i++;
	} else if (c->state == BROKEN) {
		const uint8_t *found = memchr(p + i, '\n', end - i);
		i = found ? (size_t)(found - p) : end;
	}
	c->scan = i;
}

/* One byte of QUOTED, QUOTE and CLOSED. */
static void step_quoted(struct csv *c, uint8_t byte)
{
	struct csv_mark *m = &c->marks[c->count - 1];

	if (c->state == QUOTED) {
		if (byte == '"')
			c->state = QUOTE;
		else if (byte == '\n' && !c->first_line)
			c->first_line = c->scan + 1;
	} else if (c->state == QUOTE && byte == '"') {
		m->doubled = true;
		c->state = QUOTED;
	} else if (c->state == QUOTE && byte == c->delimiter) {
		m->to = c->scan - 1;
		c->state = FIELD_START;
	} else if (c->state == QUOTE && byte == '\r') {
		m->to = c->scan - 1;
		c->state = CLOSED;
	} else {
		c->state = BROKEN;
	}
	c->scan++;
}

/* A byte that ends a record where it stands: an LF outside of quotes. */
static enum scanned end_line(struct csv *c)
{
	struct csv_mark *m = c->count ? &c->marks[c->count - 1] : NULL;

	if (c->state == BROKEN)
		return SCANNED_BROKEN;
	if (c->state == QUOTE)
		m->to = c->scan - 1;
	if (c->state == PLAIN)
		m->to = c->scan > m->from && c->raw.ptr[c->scan - 1] == '\r' ? c->scan - 1 : c->scan;
	return SCANNED_RECORD;
}

/* From `scan` to the end of the record, or of what is there; the LF is not passed. */
static enum scanned scan_record(struct csv *c)
{
	size_t limit = c->at + c->record_bytes_max, end = c->raw.len < limit ? c->raw.len : limit;

	for (;;) {
		if (c->state == BROKEN && c->first_line)
			return SCANNED_BROKEN;
		if (c->scan < end)
			run_over(c, end);
		if (c->scan == c->raw.len)
			return SCANNED_MORE;
		uint8_t byte = c->raw.ptr[c->scan];
		if (byte == '\n' && c->state != QUOTED && c->state != FIELD_START)
			return end_line(c);
		if (c->scan == limit && (byte != '\n' || c->state == QUOTED))
			return SCANNED_LIMIT;
		if (c->state == FIELD_START) {
			if (!start_field(c, byte))
				return SCANNED_NOMEM;
		} else if (c->state == PLAIN) {
			c->marks[c->count - 1].to = c->scan++;
			c->state = FIELD_START;
		} else if (c->state == BROKEN) {
			c->scan++;
		} else {
			step_quoted(c, byte);
		}
	}
}

/* Takes `bytes` of the input as done; the next record begins behind them. */
static void pass(struct csv *c, size_t bytes, uint64_t lines)
{
	c->at += bytes;
	c->offset += bytes;
	c->line += lines;
	begin_record(c);
}

/* The content of a field in quotes without doubled ones. The room is there. */
static struct slice unquote(struct csv *c, const uint8_t *from, size_t n)
{
	size_t begin = c->text.len;

	for (size_t i = 0; i < n; i++) {
		c->text.ptr[c->text.len++] = from[i];
		i += from[i] == '"';
	}
	return slice_make(c->text.ptr + begin, c->text.len - begin);
}

static uint64_t count_lines(struct slice s)
{
	uint64_t n = 0;

	for (size_t i = 0; i < s.len; i++)
		n += s.ptr[i] == '\n';
	return n;
}

static enum csv_event give_record(struct csv *c, size_t end, size_t with_line_end, struct csv_record *out)
{
	const uint8_t *p = c->raw.ptr;

	buf_clear(&c->text);
	if (buf_reserve(&c->text, end - c->at + 1)) {
		c->text.status = 0;
		return CSV_NOMEM;
	}
	for (uint32_t i = 0; i < c->count; i++) {
		const struct csv_mark *m = &c->marks[i];
		c->fields[i] = m->doubled ? unquote(c, p + m->from, m->to - m->from) :
					    slice_make(p + m->from, m->to - m->from);
		c->quoted[i] = m->quoted;
	}
	size_t stop = end > c->at && with_line_end && p[end - 1] == '\r' ? end - 1 : end;
	*out = (struct csv_record){.fields = c->fields,
				   .quoted = c->quoted,
				   .count = c->count,
				   .line = c->line};
	out->raw = slice_make(p + c->at, stop - c->at);
	pass(c, end + with_line_end - c->at, (c->first_line ? count_lines(out->raw) : 0) + with_line_end);
	return CSV_RECORD;
}

/* The line up to `end` is bad; line_end: of how many bytes its end is. */
static enum csv_event give_bad(struct csv *c, size_t end, size_t line_end, const char *what,
			       struct csv_record *out)
{
	const uint8_t *p = c->raw.ptr;
	size_t stop = end > c->at && line_end && p[end - 1] == '\r' ? end - 1 : end;

	*out = (struct csv_record){.raw = slice_make(p + c->at, stop - c->at), .line = c->line, .what = what};
	pass(c, end + line_end - c->at, line_end);
	return CSV_BAD;
}

/* The beginning is given, the rest of its line left out. */
static enum csv_event give_too_long(struct csv *c, size_t end, struct csv_record *out)
{
	uint64_t line = c->line;

	c->skipping = true;
	c->line += count_lines(slice_make(c->raw.ptr + c->at, end - c->at));
	(void)give_bad(c, end, 0, "it is longer than a record may be", out);
	out->line = line;
	return CSV_BAD;
}

/* A quote was not closed in time: its first line is bad, or all of it where there is but one. */
static enum csv_event give_unclosed(struct csv *c, size_t end, bool at_end, struct csv_record *out)
{
	static const char *const what = "a quote is not closed";

	if (c->first_line)
		return give_bad(c, c->first_line - 1, 1, what, out);
	return at_end ? give_bad(c, end, 0, what, out) : give_too_long(c, end, out);
}

/* The end of input is the end of the record. */
static enum csv_event finish_record(struct csv *c, struct csv_record *out)
{
	if (c->at == c->raw.len)
		return CSV_END;
	if (c->state == QUOTED)
		return give_unclosed(c, c->raw.len, true, out);
	if (c->state == BROKEN && c->first_line)
		return give_bad(c, c->first_line - 1, 1, "bytes behind a closing quote", out);
	if (c->state == BROKEN || c->state == CLOSED)
		return give_bad(c, c->raw.len, 0, "bytes behind a closing quote", out);
	if (c->state == FIELD_START) { /* behind the last delimiter */
		if (!open_field(c, c->scan, false))
			return CSV_NOMEM;
		c->state = PLAIN;
	}
	(void)end_line(c);
	return give_record(c, c->raw.len, 0, out);
}

/* Drops the rest of a line that was too long. True when it is over. */
static bool skip_line(struct csv *c)
{
	size_t left = c->raw.len - c->at;
	const uint8_t *from = left ? c->raw.ptr + c->at : NULL,
		      *found = left ? memchr(from, '\n', left) : NULL;

	if (!found) {
		pass(c, left, 0);
		return false;
	}
	pass(c, (size_t)(found - from) + 1, 1);
	c->skipping = false;
	return true;
}

/* Leaves out empty lines. A CR alone may be the first half of a line end. */
static void skip_empty(struct csv *c)
{
	const uint8_t *p = c->raw.ptr;

	while (c->scan == c->at && c->at < c->raw.len) {
		size_t n = p[c->at] == '\n'                                                   ? 1 :
			   p[c->at] == '\r' && c->at + 1 < c->raw.len && p[c->at + 1] == '\n' ? 2 :
												0;
		if (!n)
			return;
		pass(c, n, 1);
	}
}

enum csv_event csv_next(struct csv *c, struct csv_record *out)
{
	if (c->skipping && !skip_line(c))
		return c->finished ? CSV_END : CSV_MORE;
	skip_empty(c);
	if (!c->finished && c->scan == c->at && c->raw.len - c->at == 1 && c->raw.ptr[c->at] == '\r')
		return CSV_MORE;
	switch (scan_record(c)) {
	case SCANNED_RECORD:
		return give_record(c, c->scan, 1, out);
	case SCANNED_BROKEN:
		return c->first_line ?
			       give_bad(c, c->first_line - 1, 1, "bytes behind a closing quote", out) :
			       give_bad(c, c->scan, 1,
					c->count == CSV_FIELDS_MAX ? "more fields than a record may have" :
								     "bytes behind a closing quote",
					out);
	case SCANNED_LIMIT:
		return c->state == QUOTED ? give_unclosed(c, c->scan, false, out) :
					    give_too_long(c, c->scan, out);
	case SCANNED_NOMEM:
		return CSV_NOMEM;
	default:
		return c->finished ? finish_record(c, out) : CSV_MORE;
	}
}
