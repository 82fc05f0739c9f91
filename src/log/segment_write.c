/* SPDX-License-Identifier: Apache-2.0 */
/* A segment grows, is sealed, and is cut by recovery. */
#include "log/segment_inner.h"

#include <errno.h>
#include <stdio.h>

#include "base/check.h"
#include "base/mem.h"

#define PIECES_MAX 256u

static int make_dirs(struct segment *s)
{
	const struct sys *sys = s->place.sys;
	char path[SEGMENT_PATH_BYTES];
	char id[37];
	int rc;

	topic_id_text(&s->place.topic, id);
	(void)snprintf(path, sizeof(path), "%s/%s", s->place.topics_dir, id);
	rc = sys->ops->mkdir(sys->self, path);
	if (rc)
		return rc;
	(void)snprintf(path, sizeof(path), "%s/%s/%u", s->place.topics_dir, id, s->place.number);
	return sys->ops->mkdir(sys->self, path);
}

static int pin_for_append(struct segment *s)
{
	char path[SEGMENT_PATH_BYTES];
	int fd, rc;

	if (atomic_load(&s->bytes) > 0 || s->created)
		return segment_pin(s, true);
	rc = make_dirs(s);
	if (rc)
		return rc;
	segment_path(s, SEGMENT_LOG, path);
	fd = files_pin(s->place.files, &s->file, path, SYS_CREATE | (s->uncut ? 0 : SYS_TRUNCATE));
	if (fd >= 0)
		s->created = true;
	return fd;
}

static void note_pieces(struct segment *s, const struct segment_piece *pieces, uint32_t count,
			uint64_t position)
{
	int64_t max = atomic_load(&s->max_timestamp);

	(void)pthread_mutex_lock(&s->lock);
	for (uint32_t i = 0; i < count; i++) {
		segment_index_note(s, &s->index, pieces[i].base_offset, position, max);
		segment_note_right(s, pieces[i].bytes, pieces[i].base_offset, pieces[i].last_offset,
				   position);
		position += pieces[i].bytes.len;
		if (pieces[i].max_timestamp > max)
			max = pieces[i].max_timestamp;
	}
	(void)pthread_mutex_unlock(&s->lock);
	atomic_store(&s->max_timestamp, max);
	/* In this order: whoever takes the offset first finds all bytes before it (segment_read.c). */
	atomic_store(&s->bytes, position);
	atomic_store(&s->next_offset, pieces[count - 1].last_offset + 1);
}

static int write_out(struct segment *s, int fd, const struct iovec *iov, int count, uint64_t at,
		     struct direct *direct)
{
	const struct sys *sys = s->place.sys;
	char path[SEGMENT_PATH_BYTES];
	int rc = -EOPNOTSUPP;

	if (direct) {
		segment_path(s, SEGMENT_LOG, path);
		rc = direct_write(direct, s->place.files, &s->direct, path, fd, iov, count, at);
	}
	return rc == -EOPNOTSUPP ? sys->ops->pwritev(sys->self, fd, iov, count, at) : rc;
}

static uint64_t bytes_of(const struct segment_piece *pieces, uint32_t count)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < count; i++)
		sum += pieces[i].bytes.len;
	return sum;
}

/*
 * How many bytes of the pieces are written now, of which `skip` were before: all, or past the page cache up to
 * the last edge of a page, where anything stands before it.
 */
static uint64_t bytes_to_write(const struct segment_load *load, uint64_t at, uint64_t skip)
{
	uint64_t sum = bytes_of(load->pieces, load->count), edge;

	CHECK(sum > skip);
	sum -= skip;
	edge = direct_edge(at + sum);
	return load->direct && edge > at ? edge - at : sum;
}

/* The next `n` bytes of the pieces behind the first `skip`. Gives how many entries; *whole: pieces of which no byte is left. */
static int fill_vector(const struct segment_load *load, uint64_t skip, uint64_t n, struct iovec *iov,
		       uint32_t *whole)
{
	int count = 0;

	for (*whole = 0; n && *whole < load->count; skip = 0) {
		struct slice rest = slice_from(load->pieces[*whole].bytes, skip);
		size_t some = rest.len < n ? rest.len : n;

		iov[count++] = (struct iovec){.iov_base = (void *)(uintptr_t)rest.ptr, .iov_len = some};
		n -= some;
		if (some < rest.len)
			break;
		(*whole)++;
	}
	return count;
}

int segment_append(struct segment *s, struct segment_load *load, int64_t now_ms)
{
	struct iovec iov[PIECES_MAX];
	uint64_t whole_at = atomic_load(&s->bytes), at = whole_at + s->begun, n;
	int fd, rc, entries;

	CHECK(load->count > 0 && load->count <= PIECES_MAX);
	n = bytes_to_write(load, at, s->begun);
	entries = fill_vector(load, s->begun, n, iov, &load->whole);
	fd = pin_for_append(s);
	if (fd < 0)
		return fd;
	rc = write_out(s, fd, iov, entries, at, load->direct);
	segment_unpin(s);
	if (rc)
		return rc;
	load->written = n;
	s->begun = at + n - whole_at - bytes_of(load->pieces, load->whole);
	if (load->whole == 0)
		return 0;
	note_pieces(s, load->pieces, load->whole, whole_at);
	atomic_store(&s->last_append_ms, now_ms);
	if (atomic_load(&s->first_append_ms) == 0)
		atomic_store(&s->first_append_ms, now_ms);
	return 0;
}

void segment_seal(struct segment *s)
{
	struct segment_index index;

	(void)pthread_mutex_lock(&s->lock);
	index = s->index;
	s->index = (struct segment_index){0};
	(void)pthread_mutex_unlock(&s->lock);
	if (index.whole)
		segment_index_write(s, &index);
	mem_free(index.entries);
	files_forget(s->place.files, &s->direct);
}

/* ---- recovery ---- */

/* Follows whole batches from `from` on, of which the checkpoint does not know: gives the offset behind the last. */
static int64_t look_beyond(struct segment *s, uint64_t from, uint64_t end)
{
	int64_t next = atomic_load(&s->next_offset);
	struct batch_head head;
	struct slice batch;
	struct window w;

	atomic_store(&s->bytes, end); /* for the window; nobody else has the segment yet */
	if (window_open(&w, s) == 0) {
		while (window_batch(&w, from, &head, &batch) == 0 && head.base_offset == next) {
			next = batch_last_offset(&head) + 1;
			from += head.bytes;
		}
		window_close(&w);
	}
	return next;
}

int segment_cut(struct segment *s, uint64_t bytes, struct fault *fault)
{
	const struct sys *sys = s->place.sys;
	char path[SEGMENT_PATH_BYTES];
	struct sys_stat st;
	int rc;

	segment_path(s, SEGMENT_LOG, path);
	rc = sys->ops->stat(sys->self, path, &st);
	if (rc && rc != -ENOENT)
		return fault_set(fault, ERR_IO, "cannot look at %s: %s", path, sys_error_text(rc));
	if (rc)
		return fault_set(fault, ERR_CORRUPT, "%s is missing; the checkpoint says it holds %llu bytes",
				 path, (unsigned long long)bytes);
	if (st.bytes < bytes)
		return fault_set(fault, ERR_CORRUPT, "%s has %llu bytes; the checkpoint says %llu", path,
				 (unsigned long long)st.bytes, (unsigned long long)bytes);
	s->index.whole = bytes == 0;
	s->created = true;
	if (st.bytes > bytes)
		s->beyond = look_beyond(s, bytes, st.bytes);
	atomic_store(&s->bytes, bytes);
	s->uncut = st.bytes > bytes;
	return 0;
}

int segment_cut_rest(struct segment *s, struct fault *fault)
{
	const struct sys *sys = s->place.sys;
	char path[SEGMENT_PATH_BYTES];
	int fd, rc;

	if (!s->uncut)
		return 0;
	segment_path(s, SEGMENT_LOG, path);
	fd = segment_pin(s, true);
	if (fd < 0)
		return fault_set(fault, ERR_IO, "cannot open %s: %s", path, sys_error_text(fd));
	rc = sys->ops->truncate(sys->self, fd, atomic_load(&s->bytes));
	segment_unpin(s);
	if (rc)
		return fault_set(fault, ERR_IO, "cannot cut %s: %s", path, sys_error_text(rc));
	s->uncut = false;
	s->dirty = true;
	return 0;
}
