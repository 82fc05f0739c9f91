/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A part is a file, named by its identity (files_find.h). A pull reads pieces into the batch's own memory and
 * points records at them, so a line is copied by the kernel and not again. What is left behind the last whole record goes in front of
 * the next piece. The checkpoint is the place behind the last record that was taken: after a restart, or when a
 * batch was thrown away, reading begins there.
 *
 * A file that grew after it was taken whole (its writer paused for longer than `quiet`) is a new part that begins where the
 * old one ended, named by both: rows are neither lost nor read twice.
 */
#include "connect/files/files.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/wire.h"
#include "connect/files/files_find.h"
#include "connect/files/files_input.h"
#include "connect/files/files_rows.h"
#include "connect/files/files_split.h"
#include "json/json.h"
#include "json/pointer.h"

enum {
	PIECE = 256 * 1024,
	PIECES_MAX = 10 << 20,
	RECORD_MAX = 4 << 20,
	DEAD_MAX = 64 * 1024,
	CHAIN_MAX = 64
};
enum { CHECKPOINT_BYTES = 29, VERSION = 1 };
enum { IDENTITY_BYTES = FILES_NAME_BYTES + 24 }; /* with @PLACE behind it */
enum { DRAINED_POLLS = 3 };

enum format { FORMAT_AUTO, FORMAT_NDJSON, FORMAT_CSV, FORMAT_JSON, FORMAT_LINES };
enum after { AFTER_KEEP, AFTER_MOVE, AFTER_DELETE };

struct settings {
	struct conf_list paths;
	int64_t format;
	bool follow;
	int64_t quiet_ms;
	int64_t after;
	const char *move_to;
	const char *key; /* NULL: none */
	const char *csv_delimiter;
	bool csv_header;
	int64_t csv_types;
	struct conf_list csv_columns;
};

/* A file that is open for a part. */
struct reading {
	struct reading *next;
	char identity[IDENTITY_BYTES]; /* the part's name */
	char path[4096];
	enum format format;
	struct files_input *input;
	struct files_place place;
	struct buf tail;   /* behind the last record: not whole, or not taken yet */
	bool tail_is_part; /* nothing whole is in it */
	struct csv csv;
	struct files_rows *rows;
	bool at_end; /* CSV: the end was told */
	uint32_t idle_polls;
};

struct named_file {
	char identity[IDENTITY_BYTES];
	const char *path;
};

struct files {
	const struct settings *settings;
	const struct sys *sys;
	struct source *source;
	/* Of the last plan; only a plan changes them, and it runs alone. */
	struct arena arena;
	struct named_file *named;
	uint32_t named_count;
	pthread_mutex_t lock; /* of the list: pulls of several parts open and close at once */
	struct reading *open;
};

/* ---- settings ---- */

static const char *const formats[] = {"auto", "ndjson", "csv", "json", "lines", NULL};
static const char *const afters[] = {"keep", "move", "delete", NULL};
static const char *const typings[] = {"infer", "text", NULL};

static bool is_delimiter(struct slice text)
{
	return text.len == 1 && text.ptr[0] != '"' && text.ptr[0] != '\n' && text.ptr[0] != '\r';
}

#define MEMBER(member) SETTING_MEMBER(struct settings, member)
static const struct setting table[] = {
	{"paths", NULL,
	 "Files to read: paths, globs such as /in/*.csv, or directories, which stand for the files in them.",
	 .type = SETTING_LIST, .min = 1, .max = 4000, .flags = SETTING_REQUIRED, MEMBER(paths)},
	{"format", "auto",
	 "What a file holds: ndjson (a JSON text a line), csv, json (an array, each element a record, or JSON texts one behind the other), or lines, which are taken as they are. auto goes by the name: .ndjson, .jsonl, .csv, .json, any other is lines. gzip and zstd are recognised whatever the name.",
	 .type = SETTING_ENUM, .names = formats, MEMBER(format)},
	{"follow", "false",
	 "Whether files are read as they grow, and on after they were renamed or cut; otherwise each is taken whole, once.",
	 .type = SETTING_BOOL, MEMBER(follow)},
	{"quiet", "5s",
	 "How long a file that is taken whole must not have changed; so one that is being written is left alone.",
	 .type = SETTING_DURATION, .min = 0, .max = 86400000, MEMBER(quiet_ms)},
	{"after", "keep", "What becomes of a file when all of it is stored.", .type = SETTING_ENUM,
	 .names = afters, MEMBER(after)},
	{"move_to", NULL, "Directory that files are moved to with after: move. On the same file system.",
	 .type = SETTING_STRING, .min = 1, .max = 4000, MEMBER(move_to)},
	{"key", NULL,
	 "JSON pointer to the key in each record, such as /customer/id; a record that has none there is a dead letter. Rows of CSV are objects by then: /NAME is a column.",
	 .type = SETTING_STRING, .min = 1, .max = 1000, .shape = json_pointer_valid,
	 .shape_text = "a JSON pointer, such as /id", MEMBER(key)},
	{"csv.delimiter", ",", "Byte between the fields of a row.", .type = SETTING_STRING, .min = 1,
	 .max = 1, .shape = is_delimiter, .shape_text = "one byte, such as , or ;", MEMBER(csv_delimiter)},
	{"csv.header", "true", "Whether the first row of a file names its columns.", .type = SETTING_BOOL,
	 MEMBER(csv_header)},
	{"csv.types", "infer",
	 "How fields of columns that are not in csv.columns become JSON: infer takes numbers as JSON writes them, true, false and nothing (null) for what they are; text takes all as text. What stands in quotes is text.",
	 .type = SETTING_ENUM, .names = typings, MEMBER(csv_types)},
	{"csv.columns", NULL,
	 "Types of columns, NAME:TYPE each, of text, integer, number, boolean or infer; without a header also their names, in order. A field that does not fit makes its row a dead letter.",
	 .type = SETTING_LIST, .min = 3, .max = 300, .shape = files_rows_is_column,
	 .shape_text = "NAME:TYPE, such as price:number", MEMBER(csv_columns)},
};

static void check_settings(const void *given, struct conf_check *check)
{
	const struct settings *s = given;

	if (s->after == AFTER_MOVE && !s->move_to)
		conf_check_fail(check, "after", "after: move needs move_to, the directory to move to");
	if (s->after != AFTER_MOVE && s->move_to)
		conf_check_fail(check, "move_to", "move_to is for after: move");
	if (s->key && s->format == FORMAT_LINES)
		conf_check_fail(check, "key", "lines are taken as they are and have no key");
	if (s->follow && s->after != AFTER_KEEP)
		conf_check_fail(check, "after",
				"a file that is followed has no end; after is for files that are taken whole");
	if (s->follow && (s->format == FORMAT_JSON))
		conf_check_fail(check, "format",
				"a JSON array is taken whole; follow is for ndjson, csv and lines");
}

static int open_source(const struct source_setup *setup, void **self, struct fault *fault)
{
	if (setup->guarded)
		return fault_set(
			fault, ERR_BAD_CONFIG,
			"a source of files is for the configuration file: over the API it would read this machine's files");
	struct files *f = mem_zalloc(1, sizeof(*f));
	if (!f)
		return ERR_NOMEM;
	f->settings = setup->settings;
	f->sys = setup->sys;
	f->source = setup->source;
	arena_init(&f->arena, 65536, 64u << 20);
	pthread_mutex_init(&f->lock, NULL);
	*self = f;
	return 0;
}

static void close_source(void *self)
{
	struct files *f = self;

	arena_fini(&f->arena);
	pthread_mutex_destroy(&f->lock);
	mem_free(f);
}

/* ---- checkpoints ---- */

static void save_place(const struct files_place *p, uint64_t file_bytes, uint8_t *out)
{
	out = wire_put_u64(out, p->offset);
	out = wire_put_u64(out, p->line);
	out = wire_put_u64(out, file_bytes);
	out = wire_put_u32(out, p->depth);
	(void)wire_put_u8(out, (uint8_t)(p->skipping | p->in_string << 1 | p->escaped << 2 | p->started << 3 |
					 p->arrays << 4 | p->in_array << 5));
}

static bool load_place(const struct source_checkpoint *c, struct files_place *p, uint64_t *file_bytes)
{
	struct wire_reader r = wire_reader_make(c->bytes);

	*p = (struct files_place){.line = 1};
	*file_bytes = 0;
	if (!c->bytes.ptr)
		return true;
	p->offset = wire_u64(&r);
	p->line = wire_u64(&r);
	*file_bytes = wire_u64(&r);
	p->depth = wire_u32(&r);
	uint8_t flags = wire_u8(&r);
	p->skipping = flags & 1;
	p->in_string = flags & 2;
	p->escaped = flags & 4;
	p->started = flags & 8;
	p->arrays = flags & 16;
	p->in_array = flags & 32;
	return !r.bad && !wire_left(&r) && c->version == VERSION;
}

static void show_checkpoint(uint8_t version, struct slice bytes, struct buf *json)
{
	struct source_checkpoint c = {bytes, version};
	struct files_place p;
	uint64_t file_bytes;

	if (!load_place(&c, &p, &file_bytes))
		(void)buf_append_str(json, "null");
	else
		(void)buf_appendf(json, "{\"offset\":%llu,\"line\":%llu}", (unsigned long long)p.offset,
				  (unsigned long long)p.line);
}

/* ---- plan ---- */

struct planning {
	struct files *files;
	struct source_plan *plan;
	uint32_t room;
};

static bool is_known(void *ctx, const char *identity)
{
	struct source_checkpoint checkpoint;
	bool done;

	return source_plan_find(((struct planning *)ctx)->plan, slice_str(identity), &checkpoint, &done);
}

static int name_part(struct planning *p, const char *identity, const char *path, uint64_t bytes,
		     struct source_checkpoint checkpoint)
{
	struct files *f = p->files;

	if (f->named_count < p->room) {
		struct named_file *n = &f->named[f->named_count++];
		(void)snprintf(n->identity, sizeof(n->identity), "%s", identity);
		n->path = path;
	}
	return source_plan_add(p->plan, &(struct source_plan_part){.name = slice_str(identity),
								   .title = slice_str(path),
								   .checkpoint = checkpoint,
								   .total = bytes});
}

/*
 * Names the part of a file; where that is done and the file has grown since, also the part that goes on
 * behind it, and so on.
 */
static int plan_file(struct planning *p, const struct files_found *file)
{
	char identity[IDENTITY_BYTES], whole[FILES_NAME_BYTES];
	struct source_checkpoint checkpoint = {0};
	uint8_t begin[CHECKPOINT_BYTES];
	struct files_place place;
	uint64_t seen;
	bool done = false;
	int rc = 0;

	if (!files_identify(file, is_known, p, whole))
		return 0;
	(void)snprintf(identity, sizeof(identity), "%s", whole);
	for (int link = 0; !rc && link < CHAIN_MAX; link++) {
		bool known = source_plan_find(p->plan, slice_str(identity), &checkpoint, &done);
		bool young = file->modified_ms > sys_wall_ms(p->files->sys) - p->files->settings->quiet_ms;
		if (!known && young && !p->files->settings->follow)
			return 0;
		if (!known && link > 0)
			checkpoint = (struct source_checkpoint){slice_make(begin, sizeof(begin)), VERSION};
		else if (!known)
			checkpoint = (struct source_checkpoint){0};
		rc = name_part(p, identity, file->path, file->bytes, checkpoint);
		if (rc || !known || !done || file->compressed || !load_place(&checkpoint, &place, &seen) ||
		    file->bytes <= seen)
			return rc;
		save_place(&place, seen, begin);
		(void)snprintf(identity, sizeof(identity), "%s@%llu", whole,
			       (unsigned long long)place.offset);
	}
	return rc;
}

/* Files that fit no path any more are read to their end where they are open. */
static int plan_renamed(struct planning *p)
{
	int rc = 0;

	for (struct reading *r = p->files->open; r && !rc; r = r->next)
		if (p->files->settings->follow && r->input && r->idle_polls < DRAINED_POLLS)
			rc = source_plan_add(p->plan,
					     &(struct source_plan_part){.name = slice_str(r->identity),
									.title = slice_str(r->path)});
	return rc;
}

static int compare_named(const void *a, const void *b)
{
	return strcmp(a, b); /* the identity is the first member */
}

static enum source_end plan_parts(void *self, struct source_plan *plan)
{
	struct files *f = self;
	struct planning p = {.files = f, .plan = plan};
	struct files_found *found = NULL;
	struct fault fault = {0};
	uint32_t count = 0;

	arena_reset(&f->arena);
	f->named = NULL;
	f->named_count = 0;
	int rc = files_find(&f->settings->paths, &f->arena, &found, &count, &fault);
	if (!rc) {
		p.room = 2 * count + 1;
		f->named = arena_zalloc(&f->arena, p.room, sizeof(f->named[0]));
		rc = f->named ? 0 : ERR_NOMEM;
	}
	for (uint32_t i = 0; !rc && i < count && !source_cancelled(&plan->call); i++)
		if (!f->settings->follow || !found[i].compressed)
			rc = plan_file(&p, &found[i]);
	if (f->named_count)
		qsort(f->named, f->named_count, sizeof(f->named[0]), compare_named);
	if (!rc)
		rc = plan_renamed(&p);
	if (rc)
		return source_fail(&plan->call, rc == ERR_LIMIT ? SOURCE_FINAL : SOURCE_TRANSIENT, "%s",
				   fault.text[0] ? fault.text : err_row(rc)->sentence);
	if (source_cancelled(&plan->call))
		return source_fail(&plan->call, SOURCE_TRANSIENT, "the plan was given up");
	return SOURCE_IDLE;
}

static const char *path_of(const struct files *f, const char *identity)
{
	const struct named_file *found = f->named_count ? bsearch(identity, f->named, f->named_count,
								  sizeof(f->named[0]), compare_named) :
							  NULL;

	return found ? found->path : NULL;
}

/* ---- opening a file ---- */

static bool ends_with(struct slice s, const char *end)
{
	size_t n = strlen(end);

	return s.len >= n && slice_eq_nocase(slice_from(s, s.len - n), slice_make(end, n));
}

static enum format format_of(const struct settings *s, const char *path)
{
	struct slice name = slice_str(path);

	if (s->format != FORMAT_AUTO)
		return (enum format)s->format;
	if (ends_with(name, ".gz"))
		name.len -= 3;
	else if (ends_with(name, ".zst"))
		name.len -= 4;
	if (ends_with(name, ".ndjson") || ends_with(name, ".jsonl"))
		return FORMAT_NDJSON;
	if (ends_with(name, ".csv"))
		return FORMAT_CSV;
	return ends_with(name, ".json") ? FORMAT_JSON : FORMAT_LINES;
}

static void close_reading(struct files *f, struct reading *r)
{
	pthread_mutex_lock(&f->lock);
	for (struct reading **at = &f->open; *at; at = &(*at)->next) {
		if (*at == r) {
			*at = r->next;
			break;
		}
	}
	pthread_mutex_unlock(&f->lock);
	files_input_close(r->input);
	files_rows_free(r->rows);
	csv_fini(&r->csv);
	buf_fini(&r->tail);
	mem_free(r);
}

static void drop_part(void *self, struct source_part *part)
{
	if (part->state)
		close_reading(self, part->state);
	part->state = NULL;
}

/* Reads the names of the columns, which stand in front of where a restart goes on. */
static int read_header(struct reading *r, const struct settings *s, struct fault *fault)
{
	struct files_input *in = NULL;
	struct csv csv;
	struct csv_record row;
	uint8_t bytes[4096];
	enum csv_event e;
	int64_t n = 1;
	int rc = files_input_open(r->path, 0, &in, fault);

	csv_init(&csv, s->csv_delimiter[0], RECORD_MAX);
	while (!rc && (e = csv_next(&csv, &row)) != CSV_RECORD && e != CSV_END) {
		if (e != CSV_MORE)
			continue;
		n = files_input_read(in, bytes, sizeof(bytes), fault);
		size_t bom = csv.offset == 0 && n >= 3 && memcmp(bytes, "\xef\xbb\xbf", 3) == 0 ? 3 : 0;
		if (n <= 0)
			rc = n ? (int)n : fault_set(fault, ERR_IO, "%s has no header any more", r->path);
		else
			rc = csv_feed(&csv, slice_make(bytes + bom, (size_t)n - bom));
	}
	if (!rc && e == CSV_RECORD)
		rc = files_rows_name(r->rows, &row);
	csv_fini(&csv);
	files_input_close(in);
	return rc;
}

static int open_csv(struct reading *r, const struct settings *s, struct fault *fault)
{
	int rc = files_rows_new((enum files_types)s->csv_types, &s->csv_columns, &r->rows);

	csv_resume(&r->csv, r->place.offset, r->place.line, r->place.skipping);
	if (!rc && s->csv_header && r->place.offset > 0)
		rc = read_header(r, s, fault);
	return rc;
}

/* Opens the part's file at its checkpoint. */
static int open_reading(struct files *f, struct source_part *part, const struct files_place *place,
			struct fault *fault)
{
	char identity[IDENTITY_BYTES];
	(void)snprintf(identity, sizeof(identity), "%.*s", (int)part->name.len, part->name.ptr);
	const char *path = path_of(f, identity);
	struct reading *r = path ? mem_zalloc(1, sizeof(*r)) : NULL;

	if (!path)
		return fault_set(fault, ERR_IO, "%.*s is not there any more", (int)part->title.len,
				 part->title.ptr);
	if (!r)
		return ERR_NOMEM;
	memcpy(r->identity, identity, sizeof(identity));
	(void)snprintf(r->path, sizeof(r->path), "%s", path);
	r->format = format_of(f->settings, path);
	r->place = *place;
	buf_init(&r->tail, 2 * RECORD_MAX + 2 * PIECE);
	csv_init(&r->csv, f->settings->csv_delimiter[0], RECORD_MAX);
	int rc = files_input_open(path, place->offset, &r->input, fault);
	if (!rc && r->format == FORMAT_CSV)
		rc = open_csv(r, f->settings, fault);
	if (rc) {
		close_reading(f, r);
		return rc;
	}
	pthread_mutex_lock(&f->lock);
	r->next = f->open;
	f->open = r;
	pthread_mutex_unlock(&f->lock);
	part->state = r;
	return 0;
}

/* ---- pulling ---- */

struct pulling {
	struct files *files;
	struct source_part *part;
	struct source_batch *batch;
	struct reading *reading;
	size_t record_max, taken; /* taken: memory of the batch */
	bool ended;               /* the file has, or what can be read of it */
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
							      .path = slice_make(path, (size_t)n),
							      .text = text});
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
	arena_init(&arena, 1024, RECORD_MAX + 65536);
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
	struct reading *r = p->reading;
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
			add_dead(p, ERR_RECORD_TOO_LARGE, line, record,
				 "the record is longer than a record may be");
		else if (cut == FILES_STRAY)
			add_dead(p, ERR_BAD_JSON, line, record, "it stands where a value should");
	}
	r->tail_is_part = !source_full(p->batch);
}

/*
 * A piece more: what is left of the last in front, then what is read. False at the end of what is there, or where the batch
 * has memory enough.
 */
static bool next_piece(struct pulling *p, struct slice *piece, int64_t *got)
{
	struct reading *r = p->reading;
	size_t front = r->tail.len, more = front > PIECE ? front : PIECE;

	*got = 0;
	if (p->taken && p->taken + front + more > PIECES_MAX)
		return false;
	uint8_t *bytes = source_alloc(p->batch, front + more);
	if (!bytes)
		return false;
	p->taken += front + more;
	if (front)
		memcpy(bytes, r->tail.ptr, front);
	if (!front || r->tail_is_part)
		*got = files_input_read(r->input, bytes + front, more, &p->fault);
	*piece = slice_make(bytes, front + (*got > 0 ? (size_t)*got : 0));
	return true;
}

static enum source_end pull_pieces(struct pulling *p)
{
	struct reading *r = p->reading;
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

static void take_row(struct pulling *p, const struct csv_record *row)
{
	struct reading *r = p->reading;
	struct fault fault = {0};
	struct buf json;
	int rc = 0;

	if (!files_rows_named(r->rows)) {
		bool header = p->files->settings->csv_header;
		rc = header ? files_rows_name(r->rows, row) : files_rows_number(r->rows, row->count);
		if (header || rc)
			return;
	}
	buf_init(&json, 16u << 20);
	rc = files_rows_put(r->rows, row, &json, &fault);
	if (rc == ERR_BAD_RECORD)
		add_dead(p, rc, row->line, row->raw, fault.text);
	else if (!rc && json.len > p->record_max)
		add_dead(p, ERR_RECORD_TOO_LARGE, row->line, row->raw,
			 "the row is longer than a record may be");
	else if (!rc)
		add_value(p, buf_slice(&json), false, row->line);
	buf_fini(&json);
}

/* Feeds the reader of rows. False at the end of what is there. */
static bool feed_rows(struct pulling *p, enum source_end *end)
{
	struct reading *r = p->reading;
	uint8_t *bytes = mem_alloc(PIECE);
	int64_t n = bytes ? files_input_read(r->input, bytes, PIECE, &p->fault) : ERR_NOMEM;
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
	struct reading *r = p->reading;
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
			add_dead(p, ERR_BAD_RECORD, row.line, row.raw, row.what);
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

/*
 * A followed file that is shorter than what was read of it has been emptied and written anew. Where its
 * beginning is another the next plan names it as another; where that is the same it is read from the beginning.
 */
static bool was_cut(const struct pulling *p)
{
	uint64_t bytes, device, inode;
	const struct reading *r = p->reading;

	return p->files->settings->follow && !files_input_compressed(r->input) &&
	       files_input_stat(r->input, &bytes, &device, &inode) && bytes < r->place.offset;
}

static int begin_anew(struct pulling *p)
{
	char identity[IDENTITY_BYTES];

	(void)snprintf(identity, sizeof(identity), "%.*s", (int)p->part->name.len, p->part->name.ptr);
	const char *path = path_of(p->files, identity);
	if (!path || !files_is(path, identity))
		return 1;
	drop_part(p->files, p->part);
	return open_reading(p->files, p->part, &(struct files_place){.line = 1}, &p->fault);
}

/* The file is open at the checkpoint. 0, 1: there is nothing to read now, or ERR_*. */
static int prepare(struct pulling *p)
{
	struct files_place place;
	uint64_t seen;
	int rc = 0;

	if (!load_place(&p->part->checkpoint, &place, &seen))
		return fault_set(&p->fault, ERR_BAD_VERSION,
				 "the checkpoint of %.*s is of a later version of weir",
				 (int)p->part->title.len, p->part->title.ptr);
	p->reading = p->part->state;
	if (p->reading && p->reading->place.offset != place.offset)
		drop_part(p->files, p->part);
	if (!p->part->state)
		rc = open_reading(p->files, p->part, &place, &p->fault);
	p->reading = p->part->state;
	if (!rc && was_cut(p)) {
		rc = begin_anew(p);
		p->reading = p->part->state;
	}
	return rc;
}

static void mark(struct pulling *p)
{
	uint8_t bytes[CHECKPOINT_BYTES];
	uint64_t size = 0, device, inode;

	(void)files_input_stat(p->reading->input, &size, &device, &inode);
	save_place(&p->reading->place, size, bytes);
	(void)source_mark(p->batch, VERSION, slice_make(bytes, sizeof(bytes)));
	p->batch->done = p->reading->place.offset;
	if (!files_input_compressed(p->reading->input))
		p->batch->total = size;
}

static enum source_end pull_part(void *self, struct source_part *part, struct source_batch *batch)
{
	struct pulling p = {.files = self, .part = part, .batch = batch};
	int rc = prepare(&p);

	if (rc == 1)
		return SOURCE_IDLE;
	if (rc)
		return source_fail(&batch->call, rc == ERR_BAD_VERSION ? SOURCE_FINAL : SOURCE_TRANSIENT,
				   "%s", p.fault.text[0] ? p.fault.text : err_row(rc)->sentence);
	p.record_max = batch->value_bytes_max < RECORD_MAX ? batch->value_bytes_max : RECORD_MAX;
	enum source_end end = p.reading->format == FORMAT_CSV ? pull_rows(&p) : pull_pieces(&p);
	if (end == SOURCE_FAILED)
		return end;
	p.reading->idle_polls = p.progress ? 0 : p.reading->idle_polls + 1;
	if (p.progress || p.ended)
		mark(&p);
	if (!p.ended)
		return end;
	batch->settle = p.files->settings->after != AFTER_KEEP;
	drop_part(self, part); /* it is not asked for again */
	return SOURCE_DONE;
}

/* ---- when all of it is stored ---- */

static enum source_end move_file(struct files *f, const char *path, struct source_settle *settle)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	char to[4400];
	int rc = 0;

	for (int i = 0; i < 1000; i++) {
		rc = i ? snprintf(to, sizeof(to), "%s/%s.%d", f->settings->move_to, name, i) :
			 snprintf(to, sizeof(to), "%s/%s", f->settings->move_to, name);
		if (rc >= (int)sizeof(to))
			break;
		if (renameat2(AT_FDCWD, path, AT_FDCWD, to, RENAME_NOREPLACE) == 0 || errno == ENOENT)
			return SOURCE_IDLE;
		if (errno != EEXIST)
			break;
	}
	return source_fail(&settle->call, SOURCE_TRANSIENT, "%s cannot be moved to %s: %s", path,
			   f->settings->move_to, sys_error_text(-errno));
}

static enum source_end settle_part(void *self, struct source_part *part, struct source_settle *settle)
{
	struct files *f = self;
	char identity[IDENTITY_BYTES], title[4096];
	struct files_place place;
	struct stat st;
	uint64_t seen;

	(void)snprintf(identity, sizeof(identity), "%.*s", (int)part->name.len, part->name.ptr);
	(void)snprintf(title, sizeof(title), "%.*s", (int)part->title.len, part->title.ptr);
	const char *path = path_of(f, identity);
	if (!path)
		path = title;
	identity[strcspn(identity, "@")] = 0;
	/* It is gone, is another by now, or has grown since: then the next plan knows. */
	if (!load_place(&settle->checkpoint, &place, &seen) || !files_is(path, identity) ||
	    stat(path, &st) != 0 || (uint64_t)st.st_size != seen)
		return SOURCE_IDLE;
	if (f->settings->after == AFTER_MOVE)
		return move_file(f, path, settle);
	if (f->settings->after == AFTER_DELETE && unlink(path) != 0 && errno != ENOENT)
		return source_fail(&settle->call, SOURCE_TRANSIENT, "%s cannot be deleted: %s", path,
				   sys_error_text(-errno));
	return SOURCE_IDLE;
}

const struct source_type source_files = {
	.kind = {.name = "files",
		 .summary = "Files of a directory, each whole and once, or followed as they grow",
		 .settings = table,
		 .setting_count = sizeof(table) / sizeof(table[0]),
		 .settings_bytes = sizeof(struct settings),
		 .check = check_settings},
	.flags = SOURCE_BLOCKS,
	.every_ms = 1000,
	.open = open_source,
	.close = close_source,
	.plan = plan_parts,
	.pull = pull_part,
	.settle = settle_part,
	.drop = drop_part,
	.show = show_checkpoint,
};
