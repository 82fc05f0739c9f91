/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a segment is: its memory, the names of its files, and what is done to a file as a whole.
 * Around it: segment_index.c (the sparse index and its files), segment_window.c (batches of the file, over damage),
 * segment_scan.c (all of them, an index made anew), segment_write.c (append, seal, cut), segment_read.c,
 * segment_extent.c (ranges of the file), segment_time.c.
 */
#include "log/segment_inner.h"

#include <errno.h>
#include <stdio.h>

#include "base/check.h"
#include "base/mem.h"

int segment_new(const struct segment_place *place, int64_t base, struct segment **out)
{
	struct segment *s = mem_zalloc(1, sizeof(*s));

	if (!s)
		return ERR_NOMEM;
	s->place = *place;
	s->base = base;
	atomic_init(&s->refs, 1);
	atomic_init(&s->next_offset, base);
	atomic_init(&s->max_timestamp, -1);
	atomic_init(&s->last_append_ms, 0);
	file_slot_init(&s->file);
	file_slot_init(&s->direct);
	s->index.whole = true;
	for (uint32_t i = 0; i < SEGMENT_HINTS; i++)
		s->hints[i].offset = -1;
	(void)pthread_mutex_init(&s->lock, NULL);
	*out = s;
	return 0;
}

struct segment *segment_ref(struct segment *s)
{
	CHECK(atomic_fetch_add(&s->refs, 1) > 0);
	return s;
}

void segment_unref(struct segment *s)
{
	if (!s || atomic_fetch_sub(&s->refs, 1) != 1)
		return;
	files_forget(s->place.files, &s->file);
	files_forget(s->place.files, &s->direct);
	mem_free(s->index.entries);
	marks_fini(&s->marks);
	(void)pthread_mutex_destroy(&s->lock);
	mem_free(s);
}

void segment_file_name(int64_t base, uint32_t revision, enum segment_file kind, char *out)
{
	static const char *const endings[] = {"log", "index", "timeindex"};

	if (revision == 0)
		(void)snprintf(out, SEGMENT_NAME_BYTES, "%020lld.%s", (long long)base, endings[kind]);
	else
		(void)snprintf(out, SEGMENT_NAME_BYTES, "%020lld.%u.%s", (long long)base, revision,
			       endings[kind]);
}

void segment_path(const struct segment *s, enum segment_file kind, char *out)
{
	char id[37], name[SEGMENT_NAME_BYTES];

	topic_id_text(&s->place.topic, id);
	segment_file_name(s->base, s->revision, kind, name);
	(void)snprintf(out, SEGMENT_PATH_BYTES, "%s/%s/%u/%s", s->place.topics_dir, id, s->place.number,
		       name);
}

int segment_pin(struct segment *s, bool wait)
{
	char path[SEGMENT_PATH_BYTES];

	if (!wait)
		return files_pin_open(s->place.files, &s->file);
	segment_path(s, SEGMENT_LOG, path);
	return files_pin(s->place.files, &s->file, path, 0);
}

void segment_unpin(struct segment *s)
{
	files_unpin(s->place.files, &s->file);
}

bool segment_is_gone(const struct segment *s)
{
	char path[SEGMENT_PATH_BYTES];
	struct sys_stat st;

	segment_path(s, SEGMENT_LOG, path);
	return s->place.sys->ops->stat(s->place.sys->self, path, &st) == -ENOENT;
}

int64_t segment_read_at(struct segment *s, int fd, void *bytes, size_t n, uint64_t at, bool wait)
{
	const struct sys *sys = s->place.sys;

	return wait ? sys->ops->pread(sys->self, fd, bytes, n, at) :
		      sys->ops->pread_nowait(sys->self, fd, bytes, n, at);
}

int segment_sync(struct segment *s)
{
	int fd = segment_pin(s, true);
	int rc;

	if (fd < 0)
		return fd;
	rc = s->place.sys->ops->fdatasync(s->place.sys->self, fd);
	segment_unpin(s);
	return rc;
}

void segment_write_back(struct segment *s, uint64_t at, uint64_t bytes)
{
	const struct sys *sys = s->place.sys;
	int fd = segment_pin(s, true);

	if (fd < 0)
		return;
	(void)sys->ops->write_back(sys->self, fd, at, bytes);
	segment_unpin(s);
}

int segment_sync_directories(struct segment *s)
{
	const struct sys *sys = s->place.sys;
	char path[SEGMENT_PATH_BYTES];
	int rc = 0;

	segment_path(s, SEGMENT_LOG, path);
	for (int level = 0; level < 3 && rc == 0; level++) {
		char *slash = strrchr(path, '/');
		CHECK(slash);
		*slash = '\0';
		rc = sys->ops->sync_dir(sys->self, path);
	}
	return rc;
}

bool segment_unlink(struct segment *s)
{
	char path[SEGMENT_PATH_BYTES];
	bool gone = true;
	int rc;

	for (int kind = SEGMENT_LOG; kind <= SEGMENT_TIMEINDEX; kind++) {
		segment_path(s, (enum segment_file)kind, path);
		rc = s->place.sys->ops->unlink(s->place.sys->self, path);
		gone = gone && (rc == 0 || rc == -ENOENT);
	}
	return gone;
}

static struct mark mark_at(const struct segment *s, int64_t offset, uint64_t position)
{
	return (struct mark){.offset = (uint32_t)(offset - s->base), .position = (uint32_t)position};
}

/* A batch that says that others are lost is not for readers. Under the lock. */
void segment_note_right(struct segment *s, struct slice batch, int64_t base, int64_t last, uint64_t position)
{
	struct batch_head head;

	if (batch.len == BATCH_HEAD_BYTES && batch_head_read(batch, &head) == 0 && batch_is_lost(&head))
		return;
	marks_note(&s->marks, mark_at(s, base, position), mark_at(s, last + 1, position + batch.len));
}
