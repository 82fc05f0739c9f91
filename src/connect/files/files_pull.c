/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A pull reads pieces into the batch's own memory and points records at them, so a line is copied by the kernel and
 * not again. What is left behind the last whole record goes in front of the next piece.
 */
#include <stdio.h>

#include "base/mem.h"
#include "connect/files/files_inner.h"
#include "json/json.h"
#include "json/pointer.h"

enum { PIECES_MAX = 10 << 20, DEAD_MAX = 64 * 1024 };

struct pulling {
	struct files *files;
	struct source_part *part;
	struct source_batch *batch;
	struct files_reading *reading;
	size_t record_max, taken; /* taken: bytes of pieces */
	uint8_t *room;            /* of the last piece, in the batch's memory */
	size_t room_bytes;
	uint32_t given; /* records and dead letters there were when it was read */
	bool ended;     /* the file has, or what can be read of it */
	bool progress;
	struct fault fault;
};

/* "prices.csv:17" */
static void add_dead(struct pulling *p, int err, uint64_t line, struct slice bytes, const char *text)
{
	char path[4200];
	int n = snprintf(path, sizeof(path), "%s:%llu", p->reading->path, (unsigned long long)line);

	if (bytes.len > DEAD_MAX)
		bytes.len = DEAD_MAX;
	(void)source_add_dead(p->batch, &(struct source_dead){.bytes = bytes,
							      .err = err,
							      .json = p->reading->format != FORMAT_LINES,
							      .path = slice_make(path, (size_t)n),
							      .text = text});
}

static void add_too_large(struct pulling *p, uint64_t line, struct slice bytes)
{
	char text[200];

	(void)snprintf(
		text, sizeof(text),
		"the record is longer than %zu bytes (http.record_bytes_max, at most 4 MiB); here is its beginning",
		p->record_max);
	add_dead(p, ERR_RECORD_TOO_LARGE, line, bytes, text);
}

/* The characters of a string, in memory of the batch; of any other value its bytes. */
static int key_text(struct pulling *p, struct json_value value, struct slice *out)
{
	struct arena arena;
	int rc;

	*out = value.raw;
	if (value.kind != JSON_STRING)
		return 0;
	*out = slice_make(value.raw.ptr + 1, value.raw.len - 2);
	if (!memchr(value.raw.ptr, '\\', value.raw.len))
		return 0;
	arena_init(&arena, 1024, FILES_RECORD_MAX + 65536);
	rc = json_text(value.raw, &arena, out);
	uint8_t *copy = rc ? NULL : source_alloc(p->batch, out->len + 1);
	if (copy)
		memcpy(copy, out->ptr, out->len);
	*out = slice_make(copy, copy ? out->len : 0);
	arena_fini(&arena);
	return rc ? rc : copy ? 0 : ERR_NOMEM;
}

/* False where the record has no key: a dead letter. */
static bool find_key(struct pulling *p, struct slice doc, uint64_t line, struct slice *key)
{
	struct slice pointer = slice_str(p->files->settings->key);
	struct json_value value;
	struct buf text;
	int rc = json_pointer_find(doc, pointer, &value);

	if (rc == 1 && value.kind != JSON_NULL && key_text(p, value, key) == 0)
		return true;
	buf_init(&text, 2000);
	(void)buf_append_str(&text, "it has no key: ");
	if (rc == 1)
		(void)buf_append_str(&text, "it is null, or half a character");
	else
		json_pointer_explain(doc, pointer, &text);
	text.status = 0;
	(void)buf_append_byte(&text, 0);
	add_dead(p, ERR_BAD_RECORD, line, doc, text.ptr ? (const char *)text.ptr : "it has no key");
	buf_fini(&text);
	return false;
}

static void add_value(struct pulling *p, struct slice value, bool stays, uint64_t line)
{
	struct source_record record = SOURCE_RECORD_INIT;

	if (p->files->settings->key && p->reading->format != FORMAT_LINES &&
	    !find_key(p, value, line, &record.key))
		return;
	record.value = value;
	record.stays = stays;
	(void)source_add(p->batch, &record);
}

/* A compressed stream that is broken: what came before is good, the file ends here. */
static void end_broken(struct pulling *p)
{
	add_dead(p, ERR_BAD_ENCODING, p->reading->place.line, slice_make("", 0), p->fault.text);
	p->ended = true;
}

static struct slice without_blanks(struct slice s)
{
	while (s.len && strchr(" \t\r\n", s.ptr[0]) && s.ptr[0])
		s = slice_from(s, 1);
	while (s.len && strchr(" \t\r\n", s.ptr[s.len - 1]) && s.ptr[s.len - 1])
		s.len--;
	return s;
}

static void take_record(struct pulling *p, struct slice bytes, uint64_t line)
{
	struct json_error error;
	char text[200];

	if (p->reading->format == FORMAT_LINES) {
		if (bytes.len)
			add_value(p, bytes, true, line);
		return;
	}
	struct slice doc = without_blanks(bytes);
	if (!doc.len)
		return;
	if (json_valid(doc, &error) == 0) {
		add_value(p, doc, true, line);
		return;
	}
	json_error_text(&error, text, sizeof(text));
	add_dead(p, ERR_BAD_JSON, line, bytes, text);
}

/* Records of a piece; *used: its bytes that are done. */
static void take_piece(struct pulling *p, struct slice piece, bool at_end, size_t *used)
{
	struct files_reading *r = p->reading;
	enum files_form form = r->format == FORMAT_JSON ? FILES_VALUES : FILES_LINES;
	enum files_cut cut = FILES_RECORD;
	struct slice record;
	uint64_t line;
	size_t n = 0;

	*used = 0;
	if (r->place.offset == 0 && piece.len >= 3 && memcmp(piece.ptr, "\xef\xbb\xbf", 3) == 0)
		*used = r->place.offset = 3; /* a byte order mark */
	while (!source_full(p->batch)) {
		cut = files_split(form, &r->place, slice_from(piece, *used), at_end, p->record_max, &record,
				  &line, &n);
		*used += n;
		if (cut == FILES_MORE && !n)
			break;
		if (cut == FILES_RECORD)
			take_record(p, record, line);
		else if (cut == FILES_TOO_LONG)
			add_too_large(p, line, record);
		else if (cut == FILES_STRAY)
			add_dead(p, ERR_BAD_JSON, line, record, "it stands where a value should");
	}
	r->tail_is_part = !source_full(p->batch);
}

/* 0 too where the file is another by now: what came is of its middle, and no record of either. */
static int64_t read_more(struct pulling *p, uint8_t *bytes, size_t n)
{
	int64_t got = files_input_read(p->reading->input, bytes, n, &p->fault);

	return got > 0 && !files_is_still(p->files, p->reading) ? 0 : got;
}

/* Room for a piece. That of the last one is used again where nothing came of it: within a line that is too long nothing does. */
static uint8_t *room_for(struct pulling *p, size_t bytes)
{
	uint32_t given = p->batch->record_count + p->batch->dead_count;

	if (p->room_bytes < bytes || p->given != given) {
		p->room = source_alloc(p->batch, bytes);
		p->room_bytes = p->room ? bytes : 0;
	}
	p->given = given;
	return p->room;
}

/*
 * A piece more: what is left of the last in front, then what is read. False at the end of what is there, or where the batch
 * has had enough.
 */
static bool next_piece(struct pulling *p, struct slice *piece, int64_t *got)
{
	struct files_reading *r = p->reading;
	size_t front = r->tail.len, more = front > FILES_PIECE ? front : FILES_PIECE;

	*got = 0;
	if (p->taken && p->taken + front + more > PIECES_MAX)
		return false;
	uint8_t *bytes = room_for(p, front + more);
	if (!bytes)
		return false;
	p->taken += front + more;
	if (front)
		memcpy(bytes, r->tail.ptr, front);
	if (!front || r->tail_is_part)
		*got = read_more(p, bytes + front, more);
	*piece = slice_make(bytes, front + (*got > 0 ? (size_t)*got : 0));
	return true;
}

static enum source_end pull_pieces(struct pulling *p)
{
	struct files_reading *r = p->reading;
	bool follow = p->files->settings->follow;
	struct slice piece;
	int64_t got;
	size_t used;

	while (!p->ended && !source_full(p->batch) && !source_cancelled(&p->batch->call)) {
		bool read = !r->tail.len || r->tail_is_part;
		if (!next_piece(p, &piece, &got))
			break;
		if (got < 0 && got != ERR_BAD_ENCODING)
			return source_fail(&p->batch->call, SOURCE_TRANSIENT, "%s: %s", r->path,
					   p->fault.text);
		if (got < 0)
			end_broken(p);
		p->batch->call.bytes_read += got > 0 ? (uint64_t)got : 0;
		bool at_end = read && got <= 0 && !follow;
		take_piece(p, piece, at_end, &used);
		p->progress = p->progress || used || got > 0;
		buf_clear(&r->tail);
		if (buf_append_slice(&r->tail, slice_from(piece, used)))
			return source_fail(&p->batch->call, SOURCE_TRANSIENT,
					   "there is no memory for the rest of %s", r->path);
		if (read && got == 0) {
			p->ended = !follow && r->tail.len == 0;
			if (follow)
				return SOURCE_IDLE;
		}
	}
	return SOURCE_MORE;
}

static void warn_of_header(const struct pulling *p)
{
	char room[CSV_ROWS_DOUBT_BYTES];
	const char *doubt = csv_rows_doubt(p->reading->rows, room);

	if (doubt)
		source_warn(p->files->source, "%s %s", p->reading->path, doubt);
}

static void add_dead_row(struct pulling *p, const struct csv_record *row)
{
	char text[200];

	(void)snprintf(text, sizeof(text), "%s%s", row->what,
		       strstr(row->what, "quote") ? "; a quote within quotes is written twice" : "");
	add_dead(p, ERR_BAD_RECORD, row->line, row->raw, text);
}

static void take_row(struct pulling *p, const struct csv_record *row)
{
	struct files_reading *r = p->reading;
	struct fault fault = {0};
	struct buf json;
	int rc = 0;

	if (!csv_rows_named(r->rows)) {
		bool header = p->files->settings->csv.header;
		rc = header ? csv_rows_name(r->rows, row) : csv_rows_number(r->rows, row->count);
		if (header && !rc)
			warn_of_header(p);
		if (header || rc)
			return;
	}
	buf_init(&json, 16u << 20);
	rc = csv_rows_put(r->rows, row, &json, &fault);
	if (rc == ERR_BAD_RECORD)
		add_dead(p, rc, row->line, row->raw, fault.text);
	else if (!rc && json.len > p->record_max)
		add_too_large(p, row->line, row->raw);
	else if (!rc)
		add_value(p, buf_slice(&json), false, row->line);
	buf_fini(&json);
}

/* Feeds the reader of rows. False at the end of what is there. */
static bool feed_rows(struct pulling *p, enum source_end *end)
{
	struct files_reading *r = p->reading;
	uint8_t *bytes = mem_alloc(FILES_PIECE);
	int64_t n = bytes ? read_more(p, bytes, FILES_PIECE) : ERR_NOMEM;
	size_t bom =
		r->csv.offset == 0 && r->csv.raw.len == 0 && n >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0 ?
			3 :
			0;

	if (bom)
		csv_resume(&r->csv, 3, 1, false);
	if (n > 0 && csv_feed(&r->csv, slice_make(bytes + bom, (size_t)n - bom)))
		n = ERR_NOMEM;
	mem_free(bytes);
	p->batch->call.bytes_read += n > 0 ? (uint64_t)n : 0;
	if (n == ERR_BAD_ENCODING)
		end_broken(p);
	else if (n < 0)
		*end = source_fail(&p->batch->call, SOURCE_TRANSIENT, "%s: %s", r->path,
				   p->fault.text[0] ? p->fault.text : err_row((int)n)->sentence);
	p->progress = p->progress || n > 0;
	if (n == 0 && p->files->settings->follow)
		*end = SOURCE_IDLE;
	else if (n == 0 || p->ended)
		csv_finish(&r->csv);
	return n > 0 || n == ERR_BAD_ENCODING || (n == 0 && !p->files->settings->follow);
}

static enum source_end pull_rows(struct pulling *p)
{
	struct files_reading *r = p->reading;
	enum source_end end = SOURCE_MORE;
	struct csv_record row;

	p->ended = false;
	while (end == SOURCE_MORE && !source_full(p->batch) && !source_cancelled(&p->batch->call)) {
		enum csv_event e = csv_next(&r->csv, &row);
		if (e == CSV_NOMEM)
			end = source_fail(&p->batch->call, SOURCE_TRANSIENT,
					  "there is no memory for a row of %s", r->path);
		else if (e == CSV_RECORD)
			take_row(p, &row);
		else if (e == CSV_BAD)
			add_dead_row(p, &row);
		else if (e == CSV_END) {
			p->ended = true;
			break;
		} else if (!feed_rows(p, &end))
			break;
	}
	p->ended = p->ended || (r->csv.finished && r->csv.at == r->csv.raw.len);
	p->progress = p->progress || r->place.offset != r->csv.offset;
	r->place.offset = r->csv.offset;
	r->place.line = r->csv.line;
	r->place.skipping = r->csv.skipping;
	return end;
}

static void mark(struct pulling *p)
{
	uint8_t bytes[FILES_CHECKPOINT_BYTES];
	uint64_t size = 0, device, inode;

	(void)files_input_stat(p->reading->input, &size, &device, &inode);
	files_save_place(&p->reading->place, size, bytes);
	(void)source_mark(p->batch, FILES_CHECKPOINT_VERSION, slice_make(bytes, sizeof(bytes)));
	p->batch->done = p->reading->place.offset;
	if (!files_input_compressed(p->reading->input))
		p->batch->total = size;
}

/* Half a line is nothing to store a checkpoint for, however often some bytes of it come. */
static bool has_moved(const struct pulling *p)
{
	uint8_t now[FILES_CHECKPOINT_BYTES];
	struct files_place before;
	uint64_t seen;

	if (!p->part->checkpoint.bytes.ptr)
		return p->reading->place.offset > 0;
	(void)files_load_place(&p->part->checkpoint, &before, &seen);
	files_save_place(&p->reading->place, seen, now);
	return !slice_eq(p->part->checkpoint.bytes, slice_make(now, sizeof(now)));
}

/* A pull that the kernel's word caused is none: a renamed file is given the time of some polls to end. */
static void count_poll(struct pulling *p)
{
	struct files_reading *r = p->reading;

	if (p->progress)
		r->idle_polls = 0;
	else if (r->poll != p->files->polls)
		r->idle_polls++;
	r->poll = p->files->polls;
}

enum source_end files_pull(void *self, struct source_part *part, struct source_batch *batch)
{
	struct pulling p = {.files = self, .part = part, .batch = batch};
	int rc = files_prepare(p.files, part, &p.fault);

	if (rc == 1)
		return SOURCE_IDLE;
	if (rc)
		return source_fail(&batch->call, rc == ERR_BAD_VERSION ? SOURCE_FINAL : SOURCE_TRANSIENT,
				   "%s", p.fault.text[0] ? p.fault.text : err_row(rc)->sentence);
	p.reading = part->state;
	p.record_max = batch->value_bytes_max < FILES_RECORD_MAX ? batch->value_bytes_max : FILES_RECORD_MAX;
	enum source_end end = p.reading->format == FORMAT_CSV ? pull_rows(&p) : pull_pieces(&p);
	if (end == SOURCE_FAILED)
		return end;
	count_poll(&p);
	if (has_moved(&p) || p.ended)
		mark(&p);
	if (!p.ended)
		return end;
	batch->settle = p.files->settings->after != AFTER_KEEP;
	files_drop(self, part); /* it is not asked for again */
	return SOURCE_DONE;
}
