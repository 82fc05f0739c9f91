/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Nothing here shares code with reading for clients but the codecs: what checks
 * should not be what it checks. Bytes behind the length that the checkpoint
 * recorded are no part of the data: a start cuts them off.
 */
#include "log/verify.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/wire.h"
#include "log/checkpoint.h"
#include "log/format.h"
#include "log/frame.h"
#include "log/journal.h"
#include "log/segment.h"
#include "proto/batch/batch.h"

#define WINDOW_BYTES (4u << 20)

struct verify {
	const struct verify_options *options;
	const struct sys *sys;
	struct verify_result *out;
	struct fault *fault;
	char topic_dir[640];
	struct checkpoint_partition partition;
	int64_t expected; /* next base offset of the partition */
	uint64_t sequence;
	struct format format;
	uint8_t *bytes;
	size_t cap;
};

static void tell(struct verify *v, const char *file, uint64_t position, bool harmless, int64_t from,
		 int64_t to, const char *format, ...) __attribute__((format(printf, 7, 8)));

static void tell(struct verify *v, const char *file, uint64_t position, bool harmless, int64_t from,
		 int64_t to, const char *format, ...)
{
	struct verify_fault f = {.file = file,
				 .position = position,
				 .harmless = harmless,
				 .offset_from = from,
				 .offset_to = to};
	char text[300];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	f.text = text;
	if (harmless)
		v->out->harmless++;
	else
		v->out->faults++;
	v->options->on_fault(v->options->ctx, &f);
}

static int begin_file(struct verify *v, const char *path, uint64_t *bytes)
{
	struct sys_stat st;
	int rc = v->sys->ops->stat(v->sys->self, path, &st);

	*bytes = 0;
	if (rc)
		return rc;
	*bytes = st.bytes;
	v->out->files++;
	v->out->bytes += st.bytes;
	if (v->options->on_file)
		v->options->on_file(v->options->ctx, path, st.bytes);
	return v->sys->ops->open(v->sys->self, path, SYS_READ);
}

/* n bytes at `at` into v->bytes; how many there are, or negative. */
static int64_t read_at(struct verify *v, int fd, uint64_t at, size_t n)
{
	if (n > v->cap) {
		uint8_t *grown = mem_realloc(v->bytes, n);
		if (!grown)
			return -ENOMEM;
		v->bytes = grown;
		v->cap = n;
	}
	return v->sys->ops->pread(v->sys->self, fd, v->bytes, n, at);
}

/* ---- segments ---- */

static void count_records(struct verify *v, const char *path, uint64_t at, struct slice batch,
			  const struct batch_head *head)
{
	struct batch_walk walk;
	struct batch_record r;
	int rc = batch_walk_start(&walk, batch);

	v->out->batches++;
	v->out->records += head->count;
	if (rc == ERR_NOT_IMPLEMENTED)
		return; /* compressed: its checksum was right */
	while (rc == 0 || rc == 1) {
		rc = batch_walk_next(&walk, &r);
		if (rc == 0)
			return;
	}
	tell(v, path, at, false, head->base_offset, batch_last_offset(head) + 1,
	     "a record of the batch cannot be read");
}

/* The next place at or behind `at` where a whole batch begins; end where there is none. */
static uint64_t find_batch(struct verify *v, int fd, uint64_t at, uint64_t end, struct batch_head *head)
{
	for (; at + BATCH_HEAD_BYTES <= end; at++) {
		int64_t got = read_at(v, fd, at, BATCH_HEAD_BYTES);
		if (got < (int64_t)BATCH_HEAD_BYTES)
			return end;
		if (v->bytes[16] != 2 || batch_head_read(slice_make(v->bytes, (size_t)got), head) ||
		    head->bytes > end - at || head->base_offset < v->expected)
			continue;
		got = read_at(v, fd, at, head->bytes);
		if (got == (int64_t)head->bytes && batch_check(slice_make(v->bytes, (size_t)got), head) == 0)
			return at;
	}
	return end;
}

/* Reads ahead in large pieces; a batch that does not fit is read alone. */
static int64_t see_batch(struct verify *v, int fd, uint64_t at, uint64_t end, uint64_t *window_at,
			 size_t *window_len, struct slice *out)
{
	struct batch_head head;
	size_t need = BATCH_HEAD_BYTES;

	for (int attempt = 0; attempt < 2; attempt++) {
		if (at >= *window_at && at + need <= *window_at + *window_len) {
			*out = slice_make(v->bytes + (at - *window_at),
					  *window_len - (size_t)(at - *window_at));
			if (attempt == 1 || batch_head_read(*out, &head) || head.bytes <= out->len)
				return 0;
			need = head.bytes;
		}
		{
			size_t want = need > WINDOW_BYTES ? need : WINDOW_BYTES;
			int64_t got = read_at(v, fd, at, want < end - at ? want : (size_t)(end - at));
			if (got < 0)
				return got;
			*window_at = at;
			*window_len = (size_t)got;
			*out = slice_make(v->bytes, (size_t)got);
			if (batch_head_read(*out, &head) || head.bytes <= out->len)
				return 0;
			need = head.bytes;
		}
	}
	return 0;
}

static void check_log(struct verify *v, const char *path, int fd, const struct checkpoint_segment *s)
{
	struct batch_head head;
	uint64_t at = 0, window_at = 0;
	size_t window_len = 0;

	while (at < s->bytes) {
		struct slice batch;
		int64_t rc = see_batch(v, fd, at, s->bytes, &window_at, &window_len, &batch);
		uint64_t next;
		if (rc < 0) {
			tell(v, path, at, false, v->expected, s->next_offset, "cannot be read: %s",
			     sys_error_text((int)rc));
			return;
		}
		if (batch_check(batch, &head) == 0 && head.base_offset == v->expected) {
			count_records(v, path, at, slice_make(batch.ptr, head.bytes), &head);
			v->expected = batch_last_offset(&head) + 1;
			at += head.bytes;
			continue;
		}
		next = find_batch(v, fd, at + 1, s->bytes, &head);
		window_len = 0;
		tell(v, path, at, false, v->expected, next < s->bytes ? head.base_offset : s->next_offset,
		     "damaged up to byte %llu", (unsigned long long)next);
		v->expected = next < s->bytes ? head.base_offset : s->next_offset;
		at = next;
	}
}

/* Each entry must point at a batch with that offset. */
static void check_index(struct verify *v, const char *log_path, int log_fd,
			const struct checkpoint_segment *s)
{
	char path[800];
	uint64_t bytes;
	uint8_t *entries;
	int64_t got = 0;
	int fd;

	(void)snprintf(path, sizeof(path), "%.*s.index", (int)(strlen(log_path) - 4),
		       log_path); /* of any revision */
	fd = begin_file(v, path, &bytes);
	if (fd < 0)
		return; /* there is none: it is made when it is needed */
	entries = mem_alloc(bytes + 1);
	if (entries)
		got = v->sys->ops->pread(v->sys->self, fd, entries, bytes, 0);
	v->sys->ops->close(v->sys->self, fd);
	for (int64_t at = 0; entries && at + 8 <= got; at += 8) {
		uint32_t position = wire_load_u32(entries + at + 4);
		uint8_t head[8];
		if (position + 8ull > s->bytes ||
		    v->sys->ops->pread(v->sys->self, log_fd, head, 8, position) != 8 ||
		    wire_load_u64(head) != (uint64_t)s->base + wire_load_u32(entries + at)) {
			tell(v, path, (uint64_t)at, true, 0, 0,
			     "an entry points at no batch; the index will be made anew");
			break;
		}
	}
	mem_free(entries);
}

static int check_segment(void *ctx, const struct checkpoint_segment *s)
{
	struct verify *v = ctx;
	char path[760], id[37], name[SEGMENT_NAME_BYTES];
	uint64_t bytes;
	int fd;

	topic_id_text(&v->partition.topic, id);
	segment_file_name(s->base, s->revision, SEGMENT_LOG, name);
	(void)snprintf(path, sizeof(path), "%s/%s/%u/%s", v->topic_dir, id, v->partition.number, name);
	if (v->expected != s->base && v->expected >= 0)
		tell(v, path, 0, false, v->expected, s->base, "the segment before it ends at offset %lld",
		     (long long)v->expected);
	v->expected = s->base;
	fd = begin_file(v, path, &bytes);
	if (fd < 0) {
		tell(v, path, 0, false, s->base, s->next_offset, "cannot be opened: %s", sys_error_text(fd));
		v->expected = s->next_offset;
		return 0;
	}
	if (bytes < s->bytes)
		tell(v, path, bytes, false, 0, 0, "is %llu bytes long, the checkpoint says %llu",
		     (unsigned long long)bytes, (unsigned long long)s->bytes);
	check_log(v, path, fd, s);
	if (!s->last)
		check_index(v, path, fd, s);
	v->sys->ops->close(v->sys->self, fd);
	if (v->expected != s->next_offset)
		tell(v, path, s->bytes, false, v->expected, s->next_offset,
		     "ends at offset %lld, the checkpoint says %lld", (long long)v->expected,
		     (long long)s->next_offset);
	v->expected = s->next_offset;
	return 0;
}

static int begin_partition(void *ctx, const struct checkpoint_partition *p)
{
	struct verify *v = ctx;

	v->partition = *p;
	v->expected = -1;
	return 0;
}

/* ---- the journal ---- */

struct names {
	uint64_t *list;
	uint32_t count, cap;
};

static int note_generation(void *ctx, const char *name)
{
	struct names *n = ctx;
	uint64_t generation = journal_generation_of(name);

	if (generation == 0)
		return 0;
	if (n->count == n->cap) {
		uint32_t cap = n->cap ? n->cap * 2 : 16;
		uint64_t *grown = mem_realloc(n->list, cap * sizeof(*grown));
		if (!grown)
			return ERR_NOMEM;
		n->list = grown;
		n->cap = cap;
	}
	n->list[n->count++] = generation;
	return 0;
}

static int by_number(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* The frame at `at`, whole and of this generation: its length, or 0. */
static uint64_t see_frame(struct verify *v, int fd, uint64_t at, uint64_t generation, struct frame_head *head)
{
	int64_t got = read_at(v, fd, at, FRAME_ALIGN);

	if (got < (int64_t)FRAME_HEAD_BYTES || frame_head_read(slice_make(v->bytes, (size_t)got), head) ||
	    head->generation != generation)
		return 0;
	got = read_at(v, fd, at, head->bytes);
	if (got < (int64_t)head->bytes || frame_check(slice_make(v->bytes, (size_t)got), head))
		return 0;
	if (v->format.version == FORMAT_VERSION && generation > v->format.unmarked_to &&
	    head->tag != frame_tag(&v->format.journal_key, head))
		return 0; /* a record's bytes, made to look like a group */
	return head->bytes;
}

static void check_sections(struct verify *v, const char *path, uint64_t at, const struct frame_head *head)
{
	struct slice rest = slice_make(v->bytes + FRAME_HEAD_BYTES, head->bytes - FRAME_HEAD_BYTES);
	struct frame_section s;
	struct batch_head batch;
	int rc;

	v->out->groups++;
	while ((rc = frame_next(&rest, &s)) == 1)
		if (s.kind == FRAME_BATCH && batch_check(s.body, &batch))
			tell(v, path, at, false, 0, 0, "group %llu holds a batch that is not whole",
			     (unsigned long long)head->sequence);
	if (rc < 0)
		tell(v, path, at, false, 0, 0, "group %llu cannot be read",
		     (unsigned long long)head->sequence);
}

static uint64_t aligned(uint64_t bytes)
{
	return (bytes + FRAME_ALIGN - 1) & ~(uint64_t)(FRAME_ALIGN - 1);
}

/* Behind the last whole group: nothing, a torn one, or damage that a later group proves. */
static void check_rest(struct verify *v, const char *path, int fd, uint64_t at, uint64_t bytes,
		       uint64_t generation, uint64_t expect)
{
	struct frame_head head;
	uint8_t first[FRAME_HEAD_BYTES];

	for (uint64_t later = at + FRAME_ALIGN; later < bytes; later += FRAME_ALIGN) {
		if (v->sys->ops->pread(v->sys->self, fd, first, sizeof(first), later) !=
		    (int64_t)sizeof(first))
			break;
		if (frame_head_read(slice_make(first, sizeof(first)), &head) ||
		    head.generation != generation || head.durable < expect ||
		    !see_frame(v, fd, later, generation, &head))
			continue;
		tell(v, path, at, false, 0, 0,
		     "group %llu is damaged; group %llu at byte %llu proves that it was durable",
		     (unsigned long long)expect, (unsigned long long)head.sequence,
		     (unsigned long long)later);
		return;
	}
	if (v->sys->ops->pread(v->sys->self, fd, first, sizeof(first), at) == (int64_t)sizeof(first) &&
	    frame_head_read(slice_make(first, sizeof(first)), &head) == 0 && head.generation == generation)
		tell(v, path, at, true, 0, 0,
		     "group %llu was not written whole and not answered; a start cuts it off",
		     (unsigned long long)head.sequence);
}

static void check_journal_file(struct verify *v, const char *path, uint64_t generation, uint64_t *expect)
{
	struct frame_head head;
	uint64_t bytes, at = 0, length;
	int fd = begin_file(v, path, &bytes);

	if (fd < 0) {
		tell(v, path, 0, false, 0, 0, "cannot be opened: %s", sys_error_text(fd));
		return;
	}
	while (at < bytes && (length = see_frame(v, fd, at, generation, &head)) > 0) {
		if (head.sequence > *expect)
			tell(v, path, at, false, 0, 0, "group %llu stands where %llu was expected",
			     (unsigned long long)head.sequence, (unsigned long long)*expect);
		if (head.sequence >= *expect) {
			check_sections(v, path, at, &head);
			*expect = head.sequence + 1;
		}
		at += aligned(length);
	}
	if (at < bytes)
		check_rest(v, path, fd, at, bytes, generation, *expect);
	v->sys->ops->close(v->sys->self, fd);
}

static int check_journal(struct verify *v)
{
	struct names names = {0};
	char dir[512], path[600];
	uint64_t expect = v->sequence + 1;
	int rc;

	(void)snprintf(dir, sizeof(dir), "%s/journal", v->options->dir);
	rc = v->sys->ops->list(v->sys->self, dir, note_generation, &names);
	if (rc)
		return fault_set(v->fault, ERR_IO, "cannot read %s", dir);
	if (names.count)
		qsort(names.list, names.count, sizeof(*names.list), by_number);
	for (uint32_t i = 0; i < names.count; i++) {
		(void)snprintf(path, sizeof(path), "%s/%016llx.wal", dir, (unsigned long long)names.list[i]);
		check_journal_file(v, path, names.list[i], &expect);
	}
	mem_free(names.list);
	return 0;
}

/* ---- the whole ---- */

static int lock_dir(struct verify *v, int *fd)
{
	char path[512];
	int holder = 0, rc;

	(void)snprintf(path, sizeof(path), "%s/LOCK", v->options->dir);
	*fd = v->sys->ops->open(v->sys->self, path, 0);
	if (*fd < 0)
		return fault_set(v->fault, ERR_IO, "%s is no data directory: cannot open %s: %s",
				 v->options->dir, path, sys_error_text(*fd));
	rc = v->sys->ops->lock(v->sys->self, *fd, &holder);
	if (rc == -EWOULDBLOCK)
		return fault_set(v->fault, ERR_IN_USE, "%s is in use by process %d: stop it first",
				 v->options->dir, holder);
	return rc ? fault_set(v->fault, ERR_IO, "cannot lock %s: %s", path, sys_error_text(rc)) : 0;
}

static int check_format(struct verify *v)
{
	struct fault fault = {0};
	char path[512];
	int rc = format_read(v->sys, v->options->dir, &v->format, &fault);

	if (rc != ERR_CORRUPT)
		return rc ? fault_set(v->fault, rc, "%s", fault.text) : 0;
	(void)snprintf(path, sizeof(path), "%s/FORMAT", v->options->dir);
	tell(v, path, 0, false, 0, 0, "damaged: its key and checksum do not fit");
	v->format.version = 0;
	return 0;
}

static int check_partitions(struct verify *v)
{
	struct checkpoint_sink sink = {.partition = begin_partition, .segment = check_segment, .ctx = v};
	struct checkpoint_found found = {0};
	struct buf checkpoint;
	uint64_t number;
	char path[512];
	int rc = checkpoint_read(v->sys, v->options->dir, &checkpoint, &found, v->fault);

	(void)snprintf(path, sizeof(path), "%s/CHECKPOINT.%c", v->options->dir,
		       found.broken ? found.broken : 'a');
	if (rc == ERR_CORRUPT) {
		tell(v, path, 0, false, 0, 0, "neither copy of the checkpoint is whole");
		rc = 0;
	} else if (rc >= 0 && found.broken) {
		tell(v, path, 0, true, 0, 0,
		     "this copy of the checkpoint is not whole: damage, or a write that was cut short");
	}
	if (rc == 0 && checkpoint.len &&
	    checkpoint_walk(buf_slice(&checkpoint), &number, &v->sequence, &sink))
		tell(v, path, 0, false, 0, 0, "neither copy of the checkpoint can be read");
	buf_fini(&checkpoint);
	return rc < 0 ? rc : 0;
}

int log_verify(const struct verify_options *options, struct verify_result *out, struct fault *fault)
{
	struct verify v = {
		.options = options, .sys = options->sys, .out = out, .fault = fault, .cap = WINDOW_BYTES};
	int fd = -1, rc;

	*out = (struct verify_result){0};
	(void)snprintf(v.topic_dir, sizeof(v.topic_dir), "%s/topics", options->dir);
	v.bytes = mem_alloc(v.cap);
	rc = v.bytes ? lock_dir(&v, &fd) : fault_set(fault, ERR_NOMEM, "no memory");
	if (rc == 0)
		rc = check_format(&v);
	if (rc == 0)
		rc = check_partitions(&v);
	if (rc == 0)
		rc = check_journal(&v);
	if (fd >= 0)
		v.sys->ops->close(v.sys->self, fd);
	mem_free(v.bytes);
	return rc;
}
