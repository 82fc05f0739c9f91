/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A file that is open for a part, at its checkpoint: opened, told apart from what was cut or written anew meanwhile, closed.
 * The checkpoint is the place behind the last record that was taken: after a restart, or when a batch was
 * thrown away, reading begins there.
 */
#include <stdio.h>

#include "base/mem.h"
#include "base/wire.h"
#include "connect/files/files_inner.h"

/* ---- checkpoints ---- */

void files_save_place(const struct files_place *p, uint64_t file_bytes, uint8_t *out)
{
	out = wire_put_u64(out, p->offset);
	out = wire_put_u64(out, p->line);
	out = wire_put_u64(out, file_bytes);
	out = wire_put_u32(out, p->depth);
	(void)wire_put_u8(out, (uint8_t)(p->skipping | p->in_string << 1 | p->escaped << 2 | p->started << 3 |
					 p->arrays << 4 | p->in_array << 5));
}

bool files_load_place(const struct source_checkpoint *c, struct files_place *p, uint64_t *file_bytes)
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
	return !r.bad && !wire_left(&r) && c->version == FILES_CHECKPOINT_VERSION;
}

/* ---- opening a file ---- */

static bool ends_with(struct slice s, const char *end)
{
	size_t n = strlen(end);

	return s.len >= n && slice_eq_nocase(slice_from(s, s.len - n), slice_make(end, n));
}

static enum files_format format_of(const struct files_settings *s, const char *path)
{
	struct slice name = slice_str(path);

	if (s->format != FORMAT_AUTO)
		return (enum files_format)s->format;
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

static void close_reading(struct files *f, struct files_reading *r)
{
	pthread_mutex_lock(&f->lock);
	for (struct files_reading **at = &f->open; *at; at = &(*at)->next) {
		if (*at == r) {
			*at = r->next;
			break;
		}
	}
	pthread_mutex_unlock(&f->lock);
	files_watch_remove(f->watch, &r->watched);
	files_input_close(r->input);
	csv_rows_free(r->rows);
	csv_fini(&r->csv);
	buf_fini(&r->tail);
	mem_free(r);
}

void files_drop(void *self, struct source_part *part)
{
	if (part->state)
		close_reading(self, part->state);
	part->state = NULL;
}

/* Reads the names of the columns, which stand in front of where a restart goes on. */
static int read_header(struct files_reading *r, const struct files_settings *s, struct fault *fault)
{
	struct files_input *in = NULL;
	struct csv csv;
	struct csv_record row;
	uint8_t bytes[4096];
	enum csv_event e;
	int64_t n = 1;
	int rc = files_input_open(r->path, 0, &in, fault);

	csv_init(&csv, s->csv.delimiter[0], FILES_RECORD_MAX);
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
		rc = csv_rows_name(r->rows, &row);
	csv_fini(&csv);
	files_input_close(in);
	return rc;
}

static int open_csv(struct files_reading *r, const struct files_settings *s, struct fault *fault)
{
	int rc = csv_rows_new(&s->csv, &r->rows);

	csv_resume(&r->csv, r->place.offset, r->place.line, r->place.skipping);
	if (!rc && s->csv.header && r->place.offset > 0)
		rc = read_header(r, s, fault);
	return rc;
}

/* Opens the part's file at its checkpoint. */
static int open_reading(struct files *f, struct source_part *part, const struct files_place *place,
			struct fault *fault)
{
	char identity[FILES_IDENTITY_BYTES];
	(void)snprintf(identity, sizeof(identity), "%.*s", (int)part->name.len, part->name.ptr);
	const char *path = files_path_of(f, identity);
	struct files_reading *r = path ? mem_zalloc(1, sizeof(*r)) : NULL;

	if (!path)
		return fault_set(fault, ERR_IO, "%.*s is not there any more", (int)part->title.len,
				 part->title.ptr);
	if (!r)
		return ERR_NOMEM;
	memcpy(r->identity, identity, sizeof(identity));
	(void)snprintf(r->path, sizeof(r->path), "%s", path);
	r->format = format_of(f->settings, path);
	r->place = *place;
	buf_init(&r->tail, 2 * FILES_RECORD_MAX + 2 * FILES_PIECE);
	csv_init(&r->csv, f->settings->csv.delimiter[0], FILES_RECORD_MAX);
	int rc = files_input_open(path, place->offset, &r->input, fault);
	if (!rc && r->format == FORMAT_CSV)
		rc = open_csv(r, f->settings, fault);
	if (rc) {
		close_reading(f, r);
		return rc;
	}
	/* Before it is read: what is written behind that is told. */
	files_watch_add(f->watch, files_input_fd(r->input), part, &r->watched);
	pthread_mutex_lock(&f->lock);
	r->next = f->open;
	f->open = r;
	pthread_mutex_unlock(&f->lock);
	part->state = r;
	return 0;
}

/*
 * A followed file that is shorter than what was read of it has been emptied and written anew. Where its
 * beginning is another the next plan names it as another; where that is the same it is read from the beginning.
 */
static bool was_cut(const struct files *f, const struct files_reading *r)
{
	uint64_t bytes, device, inode;

	return f->settings->follow && !files_input_compressed(r->input) &&
	       files_input_stat(r->input, &bytes, &device, &inode) && bytes < r->place.offset;
}

/* It has another name now, which a plan gives it; once for each size that it is found with. */
static void ask_for_plan(struct files *f, struct files_reading *r)
{
	uint64_t bytes = 0, device, inode;

	(void)files_input_stat(r->input, &bytes, &device, &inode);
	if (f->watch && bytes + 1 != r->cut_bytes)
		source_plan_again(f->source);
	r->cut_bytes = bytes + 1;
}

bool files_is_still(struct files *f, struct files_reading *r)
{
	if (!f->settings->follow || files_input_compressed(r->input) ||
	    files_is_open(files_input_fd(r->input), r->identity))
		return true;
	ask_for_plan(f, r);
	return false;
}

static int begin_anew(struct files *f, struct source_part *part, struct fault *fault)
{
	char identity[FILES_IDENTITY_BYTES];

	(void)snprintf(identity, sizeof(identity), "%.*s", (int)part->name.len, part->name.ptr);
	const char *path = files_path_of(f, identity);
	if (!path || !files_is(path, identity)) {
		ask_for_plan(f, part->state);
		return 1;
	}
	files_drop(f, part);
	return open_reading(f, part, &(struct files_place){.line = 1}, fault);
}

int files_prepare(struct files *f, struct source_part *part, struct fault *fault)
{
	struct files_reading *r = part->state;
	struct files_place place;
	uint64_t seen;
	int rc = 0;

	if (!files_load_place(&part->checkpoint, &place, &seen))
		return fault_set(fault, ERR_BAD_VERSION,
				 "the checkpoint of %.*s is of a later version of weir", (int)part->title.len,
				 part->title.ptr);
	if (r && r->place.offset != place.offset)
		files_drop(f, part);
	if (!part->state)
		rc = open_reading(f, part, &place, fault);
	if (!rc && was_cut(f, part->state))
		rc = begin_anew(f, part, fault);
	return rc;
}
