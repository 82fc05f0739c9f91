/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading goes: a hint (where the last reader of this offset stopped) or the
 * index gives a position at or before the batch; batches are read from there,
 * checked, and those before the offset are dropped.
 *
 * After damage the next index entry whose batch holds is where reading goes on
 * in any case; before it, batches are looked for byte by byte, and one counts only
 * if whole batches lead from it to the entry. So a range costs what it hits and
 * at most an index interval, and a value that looks like a batch is not taken for
 * one. The range is told as a gap, and so is a batch that says BATCH_LOST.
 */
#include "log/segment.h"

#include <errno.h>
#include <stdio.h>

#include "base/check.h"
#include "base/mem.h"
#include "base/wire.h"
#include "proto/batch/batch.h"

#define SCAN_BYTES (1u << 20)
#define PIECES_MAX 256u
#define INDEX_ENTRY_BYTES 8u
#define TIME_ENTRY_BYTES 12u

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

static int pin(struct segment *s, bool wait)
{
	char path[SEGMENT_PATH_BYTES];

	if (!wait)
		return files_pin_open(s->place.files, &s->file);
	segment_path(s, SEGMENT_LOG, path);
	return files_pin(s->place.files, &s->file, path, 0);
}

static void unpin(struct segment *s)
{
	files_unpin(s->place.files, &s->file);
}

/* ---- the index in memory ---- */

static int index_add(struct segment_index *x, struct index_entry entry)
{
	if (x->count == x->cap) {
		uint32_t cap = x->cap ? x->cap * 2 : 16;
		struct index_entry *grown = mem_realloc(x->entries, cap * sizeof(*grown));
		if (!grown)
			return ERR_NOMEM;
		x->entries = grown;
		x->cap = cap;
	}
	x->entries[x->count++] = entry;
	x->last_position = entry.position;
	return 0;
}

/* A batch at `position` enters the index where the last entry is an interval behind. A full memory costs only speed. */
static void index_note(struct segment *s, struct segment_index *x, int64_t offset, uint64_t position,
		       int64_t max_before)
{
	if (x->count && position - x->last_position < s->place.index_interval)
		return;
	(void)index_add(x, (struct index_entry){.offset = (uint32_t)(offset - s->base),
						.position = (uint32_t)position,
						.max_timestamp = max_before});
}

/* Where a read begins: a batch at `position` whose base offset must be `offset`. */
struct place {
	uint64_t position;
	int64_t offset;
};

/* The last entry at or before the offset; the beginning where there is none. */
static struct place index_find(const struct segment *s, const struct segment_index *x, uint32_t offset)
{
	uint32_t low = 0, high = x->count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (x->entries[middle].offset <= offset)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0)
		return (struct place){.offset = s->base};
	return (struct place){.position = x->entries[low - 1].position,
			      .offset = s->base + x->entries[low - 1].offset};
}

/* So many entries say that no timestamp before them reaches time_ms. */
static uint32_t index_count_before(const struct segment_index *x, int64_t time_ms)
{
	uint32_t low = 0, high = x->count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (x->entries[middle].max_timestamp < time_ms)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

/* ---- appending ---- */

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
		return pin(s, true);
	rc = make_dirs(s);
	if (rc)
		return rc;
	segment_path(s, SEGMENT_LOG, path);
	fd = files_pin(s->place.files, &s->file, path, SYS_CREATE | (s->uncut ? 0 : SYS_TRUNCATE));
	if (fd >= 0)
		s->created = true;
	return fd;
}

static struct mark mark_at(const struct segment *s, int64_t offset, uint64_t position)
{
	return (struct mark){.offset = (uint32_t)(offset - s->base), .position = (uint32_t)position};
}

/* A batch that says that others are lost is not for readers. Under the lock. */
static void note_right(struct segment *s, struct slice batch, int64_t base, int64_t last, uint64_t position)
{
	struct batch_head head;

	if (batch.len == BATCH_HEAD_BYTES && batch_head_read(batch, &head) == 0 && batch_is_lost(&head))
		return;
	marks_note(&s->marks, mark_at(s, base, position), mark_at(s, last + 1, position + batch.len));
}

static void note_pieces(struct segment *s, const struct segment_piece *pieces, uint32_t count,
			uint64_t position)
{
	int64_t max = atomic_load(&s->max_timestamp);

	(void)pthread_mutex_lock(&s->lock);
	for (uint32_t i = 0; i < count; i++) {
		index_note(s, &s->index, pieces[i].base_offset, position, max);
		note_right(s, pieces[i].bytes, pieces[i].base_offset, pieces[i].last_offset, position);
		position += pieces[i].bytes.len;
		if (pieces[i].max_timestamp > max)
			max = pieces[i].max_timestamp;
	}
	(void)pthread_mutex_unlock(&s->lock);
	atomic_store(&s->max_timestamp, max);
	/* In this order: whoever takes the offset first finds all bytes before it (read_over_damage). */
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

int segment_append(struct segment *s, const struct segment_piece *pieces, uint32_t count, int64_t now_ms,
		   struct direct *direct)
{
	struct iovec iov[PIECES_MAX];
	uint64_t at = atomic_load(&s->bytes);
	int fd, rc;

	CHECK(count > 0 && count <= PIECES_MAX);
	for (uint32_t i = 0; i < count; i++)
		iov[i] = (struct iovec){.iov_base = (void *)(uintptr_t)pieces[i].bytes.ptr,
					.iov_len = pieces[i].bytes.len};
	fd = pin_for_append(s);
	if (fd < 0)
		return fd;
	rc = write_out(s, fd, iov, (int)count, at, direct);
	unpin(s);
	if (rc)
		return rc;
	note_pieces(s, pieces, count, at);
	atomic_store(&s->last_append_ms, now_ms);
	if (atomic_load(&s->first_append_ms) == 0)
		atomic_store(&s->first_append_ms, now_ms);
	return 0;
}

int segment_sync(struct segment *s)
{
	int fd = pin(s, true);
	int rc;

	if (fd < 0)
		return fd;
	rc = s->place.sys->ops->fdatasync(s->place.sys->self, fd);
	unpin(s);
	return rc;
}

void segment_write_back(struct segment *s, uint64_t at, uint64_t bytes)
{
	const struct sys *sys = s->place.sys;
	int fd = pin(s, true);

	if (fd < 0)
		return;
	(void)sys->ops->write_back(sys->self, fd, at, bytes);
	unpin(s);
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

static int write_file(struct segment *s, enum segment_file kind, const void *bytes, size_t n)
{
	const struct sys *sys = s->place.sys;
	struct iovec iov = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = n};
	char path[SEGMENT_PATH_BYTES];
	int fd, rc;

	segment_path(s, kind, path);
	fd = sys->ops->open(sys->self, path, SYS_CREATE | SYS_TRUNCATE);
	if (fd < 0)
		return fd;
	rc = n ? sys->ops->pwritev(sys->self, fd, &iov, 1, 0) : 0;
	sys->ops->close(sys->self, fd);
	return rc;
}

static void write_index(struct segment *s, const struct segment_index *x)
{
	uint8_t *bytes = mem_alloc((size_t)x->count * TIME_ENTRY_BYTES + 1);
	uint8_t *at = bytes;

	if (!bytes)
		return;
	for (uint32_t i = 0; i < x->count; i++) {
		at = wire_put_u32(at, x->entries[i].offset);
		at = wire_put_u32(at, x->entries[i].position);
	}
	if (write_file(s, SEGMENT_INDEX, bytes, (size_t)(at - bytes)) == 0) {
		at = bytes;
		for (uint32_t i = 0; i < x->count; i++) {
			at = wire_put_u64(at, (uint64_t)x->entries[i].max_timestamp);
			at = wire_put_u32(at, x->entries[i].offset);
		}
		(void)write_file(s, SEGMENT_TIMEINDEX, bytes, (size_t)(at - bytes));
	}
	mem_free(bytes);
}

void segment_seal(struct segment *s)
{
	struct segment_index index;

	(void)pthread_mutex_lock(&s->lock);
	index = s->index;
	s->index = (struct segment_index){0};
	(void)pthread_mutex_unlock(&s->lock);
	if (index.whole)
		write_index(s, &index);
	mem_free(index.entries);
	files_forget(s->place.files, &s->direct);
}

void segment_unlink(struct segment *s)
{
	char path[SEGMENT_PATH_BYTES];

	for (int kind = SEGMENT_LOG; kind <= SEGMENT_TIMEINDEX; kind++) {
		segment_path(s, (enum segment_file)kind, path);
		(void)s->place.sys->ops->unlink(s->place.sys->self, path);
	}
}

/* ---- making an index anew, or reading one ---- */

/* A window over the log file that moves forward. */
struct window {
	struct segment *s;
	int fd;
	uint8_t *bytes;
	size_t cap;
	uint64_t at; /* position of bytes[0] */
	size_t len;
	uint64_t end; /* of the log */
};

/* Makes n bytes at `position` visible, where the log has them: gives how many there are. */
static int64_t window_see(struct window *w, uint64_t position, size_t n, struct slice *out)
{
	const struct sys *sys = w->s->place.sys;
	int64_t got;

	if (n > w->end - position)
		n = (size_t)(w->end - position);
	if (position < w->at || position + n > w->at + w->len) {
		if (n > w->cap) {
			uint8_t *grown = mem_realloc(w->bytes, n);
			if (!grown)
				return ERR_NOMEM;
			w->bytes = grown;
			w->cap = n;
		}
		got = sys->ops->pread(sys->self, w->fd, w->bytes,
				      w->cap < w->end - position ? w->cap : (size_t)(w->end - position),
				      position);
		if (got < 0)
			return ERR_IO;
		w->at = position;
		w->len = (size_t)got;
		if (n > w->len)
			n = w->len;
	}
	*out = slice_make(w->bytes + (position - w->at), n);
	return (int64_t)n;
}

static int window_open(struct window *w, struct segment *s)
{
	*w = (struct window){.s = s, .cap = SCAN_BYTES, .end = atomic_load(&s->bytes)};
	w->bytes = mem_alloc(w->cap);
	if (!w->bytes)
		return ERR_NOMEM;
	w->fd = pin(s, true);
	if (w->fd < 0) {
		mem_free(w->bytes);
		return ERR_IO;
	}
	return 0;
}

static void window_close(struct window *w)
{
	unpin(w->s);
	mem_free(w->bytes);
}

/* The batch at `position`, checked: 0, 1 at the end, ERR_CORRUPT where it is none, ERR_IO, ERR_NOMEM. */
static int window_batch(struct window *w, uint64_t position, struct batch_head *head, struct slice *batch)
{
	int64_t got;
	int rc;

	if (position >= w->end)
		return 1;
	got = window_see(w, position, BATCH_HEAD_BYTES, batch);
	if (got < 0)
		return (int)got;
	if (batch_head_read(*batch, head) || head->bytes > w->end - position)
		return ERR_CORRUPT;
	got = window_see(w, position, head->bytes, batch);
	if (got < 0)
		return (int)got;
	rc = batch_check(*batch, head);
	return rc ? ERR_CORRUPT : 0;
}

static int window_resync(struct window *w, int64_t offset_from, bool indexed, uint64_t *position,
			 struct batch_head *found);

/* ---- all of it, in order ---- */

struct segment_scan {
	struct window window;
	uint64_t at;
	int64_t expect; /* base offset of the next batch: the one field that no checksum covers */
};

int segment_scan_open(struct segment *s, struct segment_scan **out)
{
	struct segment_scan *scan = mem_zalloc(1, sizeof(*scan));
	int rc;

	if (!scan)
		return ERR_NOMEM;
	rc = window_open(&scan->window, s);
	if (rc) {
		mem_free(scan);
		return rc;
	}
	scan->expect = s->base;
	(void)segment_ref(s);
	*out = scan;
	return 0;
}

void segment_scan_close(struct segment_scan *scan)
{
	struct segment *s;

	if (!scan)
		return;
	s = scan->window.s;
	window_close(&scan->window);
	segment_unref(s);
	mem_free(scan);
}

int segment_scan_next(struct segment_scan *scan, struct batch_head *head, struct slice *batch)
{
	int rc = window_batch(&scan->window, scan->at, head, batch);

	if (rc == 1 && scan->expect != atomic_load(&scan->window.s->next_offset))
		return ERR_CORRUPT;
	if (rc)
		return rc;
	if (head->base_offset != scan->expect)
		return ERR_CORRUPT;
	scan->at += head->bytes;
	scan->expect = batch_last_offset(head) + 1;
	*batch = slice_make(batch->ptr, head->bytes);
	return 0;
}

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
	fd = pin(s, true);
	if (fd < 0)
		return fault_set(fault, ERR_IO, "cannot open %s: %s", path, sys_error_text(fd));
	rc = sys->ops->truncate(sys->self, fd, atomic_load(&s->bytes));
	unpin(s);
	if (rc)
		return fault_set(fault, ERR_IO, "cannot cut %s: %s", path, sys_error_text(rc));
	s->uncut = false;
	s->dirty = true;
	return 0;
}

static int scan_index(struct segment *s, struct segment_index *x)
{
	struct batch_head head;
	struct slice batch;
	struct window w;
	int64_t max = -1, next = s->base;
	uint64_t at = 0;
	int rc = window_open(&w, s);

	if (rc)
		return rc;
	while ((rc = window_batch(&w, at, &head, &batch)) <= 0) {
		if (rc == ERR_CORRUPT || (rc == 0 && head.base_offset != next)) {
			rc = window_resync(&w, next, false, &at, &head);
			if (rc)
				break;
			if (head.base_offset > next)
				next = head.base_offset;
			continue; /* one that begins before `next` is passed over in the next round */
		}
		if (rc < 0)
			break;
		index_note(s, x, head.base_offset, at, max);
		if (head.max_timestamp > max)
			max = head.max_timestamp;
		next = batch_last_offset(&head) + 1;
		at += head.bytes;
	}
	window_close(&w);
	x->whole = rc >= 0;
	return rc < 0 ? rc : 0;
}

static int64_t read_file(struct segment *s, enum segment_file kind, uint8_t **out)
{
	const struct sys *sys = s->place.sys;
	char path[SEGMENT_PATH_BYTES];
	struct sys_stat st;
	int64_t got;
	int fd;

	segment_path(s, kind, path);
	if (sys->ops->stat(sys->self, path, &st) || st.bytes > (64u << 20))
		return -1;
	fd = sys->ops->open(sys->self, path, SYS_READ);
	if (fd < 0)
		return -1;
	*out = mem_alloc(st.bytes + 1);
	got = *out ? sys->ops->pread(sys->self, fd, *out, st.bytes, 0) : -1;
	sys->ops->close(sys->self, fd);
	return got;
}

/* Reads both index files; false where they are missing or do not fit the log: then they are made anew. */
static bool load_index(struct segment *s, struct segment_index *x)
{
	uint8_t *places = NULL, *times = NULL;
	int64_t n = read_file(s, SEGMENT_INDEX, &places);
	int64_t m = read_file(s, SEGMENT_TIMEINDEX, &times);
	bool fits = n > 0 && n % INDEX_ENTRY_BYTES == 0 && m / TIME_ENTRY_BYTES == n / INDEX_ENTRY_BYTES &&
		    m % TIME_ENTRY_BYTES == 0;
	uint32_t count = fits ? (uint32_t)(n / INDEX_ENTRY_BYTES) : 0;
	struct index_entry last = {0};

	for (uint32_t i = 0; fits && i < count; i++) {
		struct index_entry e = {.offset = wire_load_u32(places + i * INDEX_ENTRY_BYTES),
					.position = wire_load_u32(places + i * INDEX_ENTRY_BYTES + 4),
					.max_timestamp =
						(int64_t)wire_load_u64(times + i * TIME_ENTRY_BYTES)};
		fits = wire_load_u32(times + i * TIME_ENTRY_BYTES + 8) == e.offset &&
		       e.position < atomic_load(&s->bytes) &&
		       (i == 0 ? e.position == 0 : e.position > last.position && e.offset > last.offset) &&
		       index_add(x, e) == 0;
		last = e;
	}
	mem_free(places);
	mem_free(times);
	x->whole = fits;
	if (!fits)
		x->count = 0;
	return fits;
}

/* ---- over damage ---- */

/* A place that an index names, behind damage: where its batch holds, reading goes on there. */
struct goal {
	uint64_t position;
	int64_t offset;
};
#define GOALS 16u

/* The next entries behind a position; how many. From the index in memory, else from the files. */
static uint32_t goals_behind(struct segment *s, uint64_t position, struct goal *out)
{
	struct segment_index loaded = {0};
	const struct segment_index *x = &s->index;
	uint32_t count = 0;

	(void)pthread_mutex_lock(&s->lock);
	if (x->count == 0) {
		(void)pthread_mutex_unlock(&s->lock);
		(void)load_index(s, &loaded);
		x = &loaded;
		(void)pthread_mutex_lock(&s->lock);
	}
	for (uint32_t i = 0; i < x->count && count < GOALS; i++)
		if (x->entries[i].position > position)
			out[count++] = (struct goal){.position = x->entries[i].position,
						     .offset = s->base + x->entries[i].offset};
	(void)pthread_mutex_unlock(&s->lock);
	mem_free(loaded.entries);
	return count;
}

/* The first of them whose batch is whole and begins with its offset; false where none does. */
static bool find_goal(struct window *w, uint64_t position, struct goal *goal)
{
	struct goal goals[GOALS];
	struct batch_head head;
	struct slice bytes;
	uint32_t count;

	while ((count = goals_behind(w->s, position, goals)) > 0) {
		for (uint32_t i = 0; i < count; i++) {
			if (goals[i].position < w->end &&
			    window_batch(w, goals[i].position, &head, &bytes) == 0 &&
			    head.base_offset == goals[i].offset) {
				*goal = goals[i];
				return true;
			}
		}
		position = goals[count - 1].position;
	}
	return false;
}

/* Whole batches, one behind the other, from `at` to the goal. */
static bool leads_to(struct window *w, uint64_t at, const struct goal *goal)
{
	struct batch_head head;
	struct slice bytes;
	int64_t expect = -1;

	while (at < goal->position) {
		if (window_batch(w, at, &head, &bytes) || (expect >= 0 && head.base_offset != expect))
			return false;
		expect = batch_last_offset(&head) + 1;
		at += head.bytes;
	}
	return at == goal->position && expect == goal->offset;
}

/* The next place from `at` on, before `end`, where a head may stand: that of its magic byte is looked for. */
static int64_t find_head(struct window *w, uint64_t at, uint64_t end, uint64_t *found)
{
	while (at + BATCH_HEAD_BYTES <= end) {
		struct slice bytes;
		const uint8_t *hit;
		size_t want = end - at < SCAN_BYTES / 4 ? (size_t)(end - at) : SCAN_BYTES / 4;
		int64_t got = window_see(w, at, want, &bytes);
		if (got < 0)
			return got;
		if (bytes.len < BATCH_HEAD_BYTES)
			break; /* the file is shorter than it was */
		hit = memchr(bytes.ptr + 16, 2, bytes.len - BATCH_HEAD_BYTES + 1);
		if (hit) {
			*found = at + (uint64_t)(hit - bytes.ptr) - 16;
			return 0;
		}
		at += bytes.len - BATCH_HEAD_BYTES + 1;
	}
	return 1;
}

/*
 * The next whole batch behind damage that has `offset_from` or later ones: 0, *position and its head;
 * 1 where there is none. indexed: the index says where to go on; not for who makes it.
 */
static int window_resync(struct window *w, int64_t offset_from, bool indexed, uint64_t *position,
			 struct batch_head *found)
{
	struct goal goal = {.position = w->end, .offset = atomic_load(&w->s->next_offset)};
	struct batch_head head;
	struct slice bytes;
	uint64_t at = *position + 1;
	int64_t got;

	indexed = indexed && find_goal(w, *position, &goal);
	for (; (got = find_head(w, at, goal.position, &at)) == 0; at++) {
		got = window_see(w, at, BATCH_HEAD_BYTES, &bytes);
		if (got < 0)
			break;
		if (batch_head_read(bytes, &head) || head.base_offset < w->s->base ||
		    batch_last_offset(&head) < offset_from || batch_last_offset(&head) >= goal.offset ||
		    (indexed && !leads_to(w, at, &goal)))
			continue;
		if (window_batch(w, at, &head, &bytes) == 0) {
			*position = at;
			*found = head;
			return 0;
		}
	}
	if (got < 0)
		return (int)got;
	*position = goal.position;
	return indexed ? (window_batch(w, goal.position, found, &bytes) ? ERR_IO : 0) : 1;
}

/*
 * Gives an index for a lookup that may wait: the one in memory where it is
 * whole, else the files', else one made by reading the log. *own says that the
 * caller frees it.
 */
static int index_get(struct segment *s, struct segment_index *x)
{
	bool active;
	int rc;

	*x = (struct segment_index){0};
	(void)pthread_mutex_lock(&s->lock);
	active = s->index.cap > 0 || s->index.whole;
	(void)pthread_mutex_unlock(&s->lock);
	if (load_index(s, x))
		return 0;
	x->count = 0;
	rc = scan_index(s, x);
	if (rc == 0 && !active)
		write_index(s, x);
	return rc;
}

/* ---- reading ---- */

static void give_hint(struct segment *s, int64_t offset, uint64_t position)
{
	uint32_t slot;

	(void)pthread_mutex_lock(&s->lock);
	for (slot = 0; slot < SEGMENT_HINTS; slot++)
		if (s->hints[slot].offset == offset)
			break;
	if (slot == SEGMENT_HINTS)
		slot = s->hint_next++ % SEGMENT_HINTS;
	s->hints[slot].offset = offset;
	s->hints[slot].position = position;
	(void)pthread_mutex_unlock(&s->lock);
}

/* Every batch of what was read has been checked. */
static void note_read(struct segment *s, struct slice batches, uint64_t position)
{
	struct batch_head head;

	(void)pthread_mutex_lock(&s->lock);
	while (batch_head_read(batches, &head) == 0) {
		note_right(s, slice_make(batches.ptr, head.bytes), head.base_offset, batch_last_offset(&head),
			   position);
		position += head.bytes;
		batches = slice_from(batches, head.bytes);
	}
	(void)pthread_mutex_unlock(&s->lock);
}

/* A place at or before the batch of this offset, without waiting: 0 or -EAGAIN. */
static int find_quickly(struct segment *s, int64_t offset, struct place *place)
{
	struct mark known;
	int rc = -EAGAIN;

	(void)pthread_mutex_lock(&s->lock);
	for (uint32_t i = 0; i < SEGMENT_HINTS && rc; i++) {
		if (s->hints[i].offset == offset) {
			*place = (struct place){.position = s->hints[i].position, .offset = offset};
			rc = 0;
		}
	}
	if (rc && marks_before(&s->marks, (uint32_t)(offset - s->base), &known)) {
		*place = (struct place){.position = known.position, .offset = s->base + known.offset};
		rc = 0;
	}
	if (rc && s->index.count &&
	    (s->index.whole || offset - s->base >= (int64_t)s->index.entries[0].offset)) {
		*place = index_find(s, &s->index, (uint32_t)(offset - s->base));
		rc = 0;
	}
	(void)pthread_mutex_unlock(&s->lock);
	if (rc && offset == s->base) {
		*place = (struct place){.offset = offset};
		rc = 0;
	}
	return rc;
}

static int find_place(struct segment *s, int64_t offset, bool wait, struct place *place)
{
	struct segment_index x;
	int rc = find_quickly(s, offset, place);

	if (rc == 0 || !wait)
		return rc;
	rc = index_get(s, &x);
	if (rc == 0)
		*place = index_find(s, &x, (uint32_t)(offset - s->base));
	mem_free(x.entries);
	return rc;
}

static int64_t read_at(struct segment *s, int fd, void *bytes, size_t n, uint64_t at, bool wait)
{
	const struct sys *sys = s->place.sys;

	return wait ? sys->ops->pread(sys->self, fd, bytes, n, at) :
		      sys->ops->pread_nowait(sys->self, fd, bytes, n, at);
}

/* Fills a blob from `position` on. */
static int fill_blob(struct segment *s, int fd, uint64_t position, size_t n, bool wait, struct blob **out)
{
	uint64_t end = atomic_load(&s->bytes);
	struct blob *blob;
	int64_t got;

	if (n > end - position)
		n = (size_t)(end - position);
	blob = blob_new(n, s->place.gauge);
	if (!blob)
		return ERR_NOMEM;
	got = read_at(s, fd, blob->bytes, n, position, wait);
	if (got < 0 || (!wait && (size_t)got < n)) {
		blob_unref(blob);
		return got >= 0 || got == -EAGAIN ? -EAGAIN : ERR_IO;
	}
	blob->len = (size_t)got;
	*out = blob;
	return 0;
}

/*
 * Whole, right batches in `bytes`: steps over those before `offset`, then takes
 * as many as there are. *used is where it stopped, *need what the batch there
 * wants. ERR_CORRUPT where that batch is damaged, or does not begin with
 * *expect: the base offset is the one field that no checksum covers. *lost is
 * the offset behind the batch there where it stands for lost records, else -1.
 */
static int take_batches(struct slice bytes, int64_t offset, int64_t *expect, size_t *from, size_t *used,
			size_t *need, int64_t *next, int64_t *lost)
{
	struct batch_head head;
	int rc = 0;

	*lost = *next = -1;
	*from = *used = 0;
	*need = BATCH_HEAD_BYTES;
	while (*used < bytes.len) {
		rc = batch_check(slice_from(bytes, *used), &head);
		if (rc == 1 && bytes.len - *used >= BATCH_HEAD_BYTES)
			*need = head.bytes;
		if (rc == 0 && head.base_offset != *expect)
			rc = ERR_CORRUPT;
		if (rc)
			break;
		if (batch_is_lost(&head) && batch_last_offset(&head) >= offset) {
			*lost = *next < 0 ? batch_last_offset(&head) + 1 : -1;
			return 0; /* what stands before it first */
		}
		*expect = batch_last_offset(&head) + 1;
		*used += head.bytes;
		if (batch_last_offset(&head) < offset)
			*from = *used;
		else
			*next = batch_last_offset(&head) + 1;
	}
	return rc < 0 ? ERR_CORRUPT : 0;
}

static int read_from(struct segment *s, int fd, struct place place, int64_t offset, size_t bytes_max,
		     uint32_t how, struct segment_read *out);

/* Where the next whole batch holds `offset`, or begins with it, nothing of what is asked for is lost. */
static int read_over_damage(struct segment *s, int fd, uint64_t position, int64_t offset, size_t bytes_max,
			    struct segment_read *out)
{
	int64_t end = atomic_load(&s->next_offset); /* of what the window shows: it may grow meanwhile */
	struct batch_head head;
	struct window w;
	int rc = window_open(&w, s);

	if (rc)
		return rc;
	rc = window_resync(&w, offset, true, &position, &head);
	window_close(&w);
	if (rc < 0)
		return rc;
	if (rc == 0 && head.base_offset <= offset)
		return read_from(s, fd, (struct place){.position = position, .offset = head.base_offset},
				 offset, bytes_max, SEGMENT_WAIT, out);
	out->gap_from = offset;
	out->gap_to = rc == 1 ? end : head.base_offset;
	out->next_offset = out->gap_to;
	give_hint(s, out->gap_to, position);
	return 0;
}

/* A batch that stands for lost records: the same gap as the damage was that it took the place of. */
static int tell_lost(struct segment *s, int64_t offset, int64_t next, uint64_t position,
		     struct segment_read *out)
{
	out->gap_from = offset;
	out->gap_to = out->next_offset = next;
	out->lost = true;
	give_hint(s, next, position);
	return 0;
}

static int read_from(struct segment *s, int fd, struct place place, int64_t offset, size_t bytes_max,
		     uint32_t how, struct segment_read *out)
{
	uint64_t position = place.position;
	int64_t expect = place.offset;
	size_t want = bytes_max < BATCH_HEAD_BYTES ? BATCH_HEAD_BYTES : bytes_max;
	bool wait = how & SEGMENT_WAIT;

	while (position < atomic_load(&s->bytes)) {
		size_t from, used, need;
		int64_t next, lost;
		bool cut_off;
		int rc = fill_blob(s, fd, position, want, wait, &out->blob);
		if (rc)
			return rc;
		rc = take_batches(blob_slice(out->blob), offset, &expect, &from, &used, &need, &next, &lost);
		if (next >= 0) {
			out->batches = slice_make(out->blob->bytes + from, used - from);
			out->next_offset = next;
			give_hint(s, next, position + used);
			note_read(s, out->batches, position + from);
			return 0;
		}
		cut_off = out->blob->len < want &&
			  out->blob->len < atomic_load(&s->bytes) - position; /* nothing more will come */
		blob_unref(out->blob);
		out->blob = NULL;
		if (lost >= 0)
			return tell_lost(s, offset, lost, position + used + BATCH_HEAD_BYTES, out);
		if (rc == ERR_CORRUPT || cut_off)
			return wait ? read_over_damage(s, fd, position + used, offset, bytes_max, out) :
				      -EAGAIN;
		if (used == 0 && need > atomic_load(&s->bytes) - position)
			return wait ? read_over_damage(s, fd, position, offset, bytes_max, out) : -EAGAIN;
		if (need > want && expect == offset && (how & SEGMENT_FIT))
			return 2;
		if (need > want)
			want = need;
		position += used;
	}
	return 1;
}

/*
 * Damage was met where an index pointed: perhaps it is the index. One made from
 * the log itself decides.
 */
static int read_again(struct segment *s, int fd, struct place place, int64_t offset, size_t bytes_max,
		      struct segment_read *out)
{
	struct segment_index x = {0};
	struct place right;
	int rc = scan_index(s, &x);

	right = index_find(s, &x, (uint32_t)(offset - s->base));
	mem_free(x.entries);
	if (rc || (right.position == place.position && right.offset == place.offset))
		return 0;
	*out = (struct segment_read){0};
	return read_from(s, fd, right, offset, bytes_max, SEGMENT_WAIT, out);
}

static bool is_gone(const struct segment *s)
{
	char path[SEGMENT_PATH_BYTES];
	struct sys_stat st;

	segment_path(s, SEGMENT_LOG, path);
	return s->place.sys->ops->stat(s->place.sys->self, path, &st) == -ENOENT;
}

/* A file that somebody removed costs its records and nothing else. */
static int read_nothing(struct segment *s, int64_t offset, struct segment_read *out)
{
	if (!is_gone(s))
		return ERR_IO;
	out->gap_from = offset;
	out->gap_to = out->next_offset = atomic_load(&s->next_offset);
	return 0;
}

int segment_read(struct segment *s, int64_t offset, size_t bytes_max, uint32_t how, struct segment_read *out)
{
	bool wait = how & SEGMENT_WAIT;
	struct place place;
	int fd, rc;

	*out = (struct segment_read){0};
	if (offset < s->base)
		offset = s->base;
	if (offset >= atomic_load(&s->next_offset))
		return 1;
	rc = find_place(s, offset, wait, &place);
	if (rc)
		return rc == ERR_IO ? read_nothing(s, offset, out) : rc;
	fd = pin(s, wait);
	if (fd < 0)
		return fd == -EAGAIN ? fd : read_nothing(s, offset, out);
	rc = read_from(s, fd, place, offset, bytes_max, how, out);
	if (rc == 0 && out->gap_from != out->gap_to && !out->lost && place.position > 0)
		rc = read_again(s, fd, place, offset, bytes_max, out);
	unpin(s);
	return rc;
}

/* ---- ranges of the file ---- */

#define EXTENT_BYTES_MIN (32u << 10) /* below it reading is as cheap */
#define PROBE_STRIDE (64u << 10)

struct open_extent {
	struct file_ref file; /* first: release gets its address */
	struct segment *segment;
};

static void release_extent(struct file_ref *file)
{
	struct open_extent *e = (struct open_extent *)(void *)file;

	unpin(e->segment);
	segment_unref(e->segment);
	mem_free(e);
}

/* A page here and there: what was written or read together is let go of together. */
static bool is_resident(struct segment *s, int fd, uint64_t at, size_t bytes)
{
	uint8_t byte;

	for (uint64_t probe = at; probe < at + bytes; probe += PROBE_STRIDE)
		if (read_at(s, fd, &byte, 1, probe, false) != 1)
			return false;
	return read_at(s, fd, &byte, 1, at + bytes - 1, false) == 1;
}

static int open_extent(struct segment *s, uint64_t at, size_t bytes, struct file_ref **out)
{
	struct open_extent *e = mem_alloc(sizeof(*e));
	int fd;

	if (!e)
		return ERR_NOMEM;
	fd = pin(s, false);
	if (fd >= 0 && !is_resident(s, fd, at, bytes)) {
		unpin(s);
		fd = -EAGAIN;
	}
	if (fd < 0) {
		mem_free(e);
		return fd;
	}
	e->file = (struct file_ref){.fd = fd, .release = release_extent};
	e->segment = segment_ref(s);
	*out = &e->file;
	return 0;
}

int segment_extent(struct segment *s, int64_t offset, int64_t limit, size_t bytes_max,
		   struct segment_extent *out)
{
	int64_t far = limit - s->base;
	struct mark from, to;
	uint32_t next;
	bool found;

	*out = (struct segment_extent){.next_offset = INT64_MAX};
	if (offset < s->base || offset - s->base > UINT32_MAX)
		return 1;
	(void)pthread_mutex_lock(&s->lock);
	found = marks_find(&s->marks, (uint32_t)(offset - s->base),
			   far < UINT32_MAX ? (uint32_t)far : UINT32_MAX, bytes_max, &from, &to, &next);
	(void)pthread_mutex_unlock(&s->lock);
	if (!found && next != UINT32_MAX)
		out->next_offset = s->base + next;
	if (!found || to.position - from.position < EXTENT_BYTES_MIN ||
	    open_extent(s, from.position, to.position - from.position, &out->file))
		return 1;
	out->at = from.position;
	out->bytes = to.position - from.position;
	out->next_offset = s->base + to.offset;
	return 0;
}

/* ---- times ---- */

static int walk_to_time(struct slice plain, int64_t from, int64_t time_ms, int64_t *offset)
{
	struct batch_record r;
	struct batch_walk walk;

	if (batch_walk_start(&walk, plain))
		return 1;
	while (batch_walk_next(&walk, &r) == 1) {
		if (r.offset >= from && r.timestamp >= time_ms) {
			*offset = r.offset;
			return 0;
		}
	}
	return 1;
}

/* Memory for the one call: such a search is rare, and meets one such batch as a rule. */
static int inflate_to_time(struct slice batch, int64_t from, int64_t time_ms, int64_t *offset)
{
	struct codec *codec;
	struct slice plain;
	struct buf bytes;
	int rc = codec_new(&codec);

	if (rc)
		return rc;
	buf_init(&bytes, BATCH_PLAIN_BYTES_MAX);
	rc = batch_inflate(codec, batch, &bytes, &plain);
	if (rc == 0)
		rc = walk_to_time(plain, from, time_ms, offset);
	else if (rc != ERR_NOMEM)
		rc = 1;
	buf_fini(&bytes);
	codec_free(codec);
	return rc;
}

int segment_batch_find_time(struct slice batch, int64_t from, int64_t time_ms, int64_t *offset)
{
	struct batch_head head;

	if (batch_head_read(batch, &head))
		return 1;
	if (batch_codec(&head) == BATCH_PLAIN)
		return walk_to_time(batch, from, time_ms, offset);
	return inflate_to_time(batch, from, time_ms, offset);
}

/*
 * Batch by batch. One that does not follow is damage, as for readers: its base
 * offset may be what is damaged. The first one may be a wrong index's fault.
 */
static int find_time_from(struct window *w, struct place place, int64_t from, int64_t time_ms,
			  int64_t *offset)
{
	uint64_t at = place.position;
	int64_t next = place.offset;
	struct batch_head head;
	struct slice batch;
	int rc;

	while ((rc = window_batch(w, at, &head, &batch)) <= 0) {
		if (rc == ERR_CORRUPT || (rc == 0 && head.base_offset != next)) {
			if (at > 0 && at == place.position)
				return find_time_from(w, (struct place){.offset = w->s->base}, from, time_ms,
						      offset);
			rc = window_resync(w, next, true, &at, &head);
			if (rc)
				break;
			if (head.base_offset > next)
				next = head.base_offset;
			continue;
		}
		if (rc)
			break;
		rc = head.max_timestamp < time_ms ? 1 : segment_batch_find_time(batch, from, time_ms, offset);
		if (rc <= 0)
			break;
		next = batch_last_offset(&head) + 1;
		at += head.bytes;
	}
	return rc;
}

/* Do the one before and the batches between show that entry `i` is right, and that no time before it is later than it says? */
static bool is_borne_out(struct window *w, const struct segment_index *x, uint32_t i)
{
	const struct index_entry *entry = &x->entries[i], *before = entry - 1;
	int64_t max = before->max_timestamp, next = w->s->base + before->offset;
	uint64_t at = before->position;

	while (at < entry->position) {
		struct batch_head head;
		struct slice batch;
		if (window_batch(w, at, &head, &batch) || head.base_offset != next)
			return false;
		if (!batch_is_empty(&head) && head.max_timestamp > max)
			max = head.max_timestamp;
		next = batch_last_offset(&head) + 1;
		at += head.bytes;
	}
	return at == entry->position && next == w->s->base + entry->offset && max <= entry->max_timestamp;
}

/*
 * The last place before which no timestamp reaches time_ms. An index is a hint: no batch shows
 * that a time in it is wrong, so an entry counts if the log bears it out; else an earlier one.
 */
static struct place find_time_place(struct window *w, const struct segment_index *x, int64_t time_ms)
{
	for (uint32_t n = index_count_before(x, time_ms); n-- > 1;)
		if (x->entries[n].max_timestamp < time_ms && is_borne_out(w, x, n))
			return (struct place){.position = x->entries[n].position,
					      .offset = w->s->base + x->entries[n].offset};
	return (struct place){.offset = w->s->base};
}

static int find_time(struct segment *s, int64_t from, int64_t time_ms, int64_t *offset)
{
	struct segment_index x;
	struct window w;
	int rc = index_get(s, &x);

	if (rc == 0)
		rc = window_open(&w, s);
	if (rc == 0) {
		rc = find_time_from(&w, find_time_place(&w, &x, time_ms), from, time_ms, offset);
		window_close(&w);
	}
	mem_free(x.entries);
	return rc;
}

int segment_find_time(struct segment *s, int64_t from, int64_t time_ms, int64_t *offset)
{
	int rc = find_time(s, from, time_ms, offset);

	return rc == ERR_IO && is_gone(s) ? 1 : rc; /* as read_nothing has it */
}
