/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A line ends at its LF. A value ends where its brackets are closed outside of strings, or, of
 * a bare word or number, before a byte that can not be in one. Whether it is JSON is asked
 * later, of the record; here only its end counts, so one broken value costs itself as
 * long as its brackets are right.
 *
 * A record that is too long is given at once, by its beginning, and the rest is passed over with
 * the state of the scan in the place, so that neither memory nor a restart depends on its length.
 */
#include "connect/files/files_split.h"

static bool is_blank(uint8_t c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static void move(struct files_place *place, struct slice bytes, size_t from, size_t to)
{
	for (size_t i = from; i < to; i++)
		place->line += bytes.ptr[i] == '\n';
	place->offset += to - from;
}

/* ---- lines ---- */

static enum files_cut split_line(struct files_place *place, struct slice bytes, bool at_end,
				 size_t record_max, struct slice *record, size_t *used)
{
	const uint8_t *end = memchr(bytes.ptr, '\n', bytes.len);
	size_t n = end ? (size_t)(end - bytes.ptr) : bytes.len, taken = n + (end != NULL);

	if (place->skipping) {
		place->skipping = !end;
		place->offset += taken;
		place->line += end != NULL;
		*used += taken;
		return FILES_MORE; /* the caller comes again with what is left */
	}
	if (n > record_max) {
		*record = slice_make(bytes.ptr, record_max);
		place->skipping = true;
		place->offset += record_max;
		*used += record_max;
		return FILES_TOO_LONG;
	}
	if (!end && !at_end)
		return FILES_MORE;
	*record = slice_make(bytes.ptr, n && bytes.ptr[n - 1] == '\r' ? n - 1 : n);
	place->offset += taken;
	place->line += end != NULL;
	*used += taken;
	return FILES_RECORD;
}

/* ---- values ---- */

/* The scan of one value: what of it is open. */
struct scan {
	uint32_t depth;
	bool in_string, escaped;
};

static bool ends_word(uint8_t c)
{
	return is_blank(c) || c == ',' || c == ']' || c == '}' || c == '[' || c == '{' || c == '"' ||
	       c == ':';
}

static void scan_string(struct scan *s, uint8_t c)
{
	if (s->escaped)
		s->escaped = false;
	else if (c == '\\')
		s->escaped = true;
	else if (c == '"')
		s->in_string = false;
}

/*
 * From `at` to behind the value's end. False where the end is not there; *at is the end of the bytes then. Of a
 * value that begins at `at`, *s is zero.
 */
static bool scan_value(struct scan *s, struct slice bytes, size_t *at)
{
	bool open = s->depth || s->in_string;
	size_t i = *at;

	if (!open && bytes.ptr[i] != '{' && bytes.ptr[i] != '[' && bytes.ptr[i] != '"') {
		do
			i++;
		while (i < bytes.len && !ends_word(bytes.ptr[i]));
		*at = i;
		return i < bytes.len;
	}
	for (; i < bytes.len; i++) {
		uint8_t c = bytes.ptr[i];
		if (s->in_string)
			scan_string(s, c);
		else if (c == '"')
			s->in_string = true;
		else if (c == '{' || c == '[')
			s->depth++;
		else if ((c == '}' || c == ']') && s->depth)
			s->depth--;
		if (!s->depth && !s->in_string) {
			*at = i + 1;
			return true;
		}
	}
	*at = i;
	return false;
}

/* Passes over blanks, commas and the brackets of the array that a file is. */
static size_t skip_between(struct files_place *place, struct slice bytes)
{
	size_t i = 0;

	for (; i < bytes.len; i++) {
		uint8_t c = bytes.ptr[i];
		if (is_blank(c) || (c == ',' && place->in_array))
			continue;
		if (!place->started) {
			place->started = true;
			place->arrays = c == '[';
		}
		if (c == '[' && place->arrays && !place->in_array)
			place->in_array = true;
		else if (c == ']' && place->in_array)
			place->in_array = false;
		else
			break;
	}
	return i;
}

static void skip_value(struct files_place *place, struct slice bytes, size_t *used)
{
	struct scan s = {place->depth, place->in_string, place->escaped};
	size_t at = 0;
	bool word_is_over = !s.depth && !s.in_string && ends_word(bytes.ptr[0]);

	place->skipping = !word_is_over && !scan_value(&s, bytes, &at);
	move(place, bytes, 0, at);
	place->depth = s.depth;
	place->in_string = s.in_string;
	place->escaped = s.escaped;
	*used = at;
}

static enum files_cut split_value(struct files_place *place, struct slice bytes, bool at_end,
				  size_t record_max, struct slice *record, uint64_t *line, size_t *used)
{
	struct scan s = {0};
	size_t begin = 0, at;

	if (place->skipping)
		skip_value(place, bytes, used);
	if (*used)
		return FILES_MORE; /* the caller comes again with what is left */
	begin = skip_between(place, bytes);
	move(place, bytes, 0, begin);
	*used += begin;
	*line = place->line;
	bytes = slice_from(bytes, begin);
	if (!bytes.len)
		return FILES_MORE;
	at = 0;
	struct slice most = slice_make(bytes.ptr, bytes.len > record_max + 1 ? record_max + 1 : bytes.len);
	bool whole = scan_value(&s, most, &at);
	if (at > record_max) {
		s = (struct scan){0};
		at = 0;
		(void)scan_value(&s, slice_make(bytes.ptr, record_max), &at);
		*record = slice_make(bytes.ptr, record_max);
		place->skipping = true;
		place->depth = s.depth;
		place->in_string = s.in_string;
		place->escaped = s.escaped;
		move(place, bytes, 0, record_max);
		*used += record_max;
		return FILES_TOO_LONG;
	}
	if (!whole && !at_end)
		return FILES_MORE;
	*record = slice_make(bytes.ptr, at);
	move(place, bytes, 0, at);
	*used += at;
	uint8_t c = bytes.ptr[0];
	return c == '}' || c == ']' || c == ':' || c == ',' ? FILES_STRAY : FILES_RECORD;
}

enum files_cut files_split(enum files_form form, struct files_place *place, struct slice bytes, bool at_end,
			   size_t record_max, struct slice *record, uint64_t *line, size_t *used)
{
	*used = 0;
	*line = place->line;
	if (!bytes.len)
		return FILES_MORE;
	return form == FILES_LINES ? split_line(place, bytes, at_end, record_max, record, used) :
				     split_value(place, bytes, at_end, record_max, record, line, used);
}
