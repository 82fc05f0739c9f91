/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One segment: batches from byte 0 to the length that the checkpoint says, each
 * beginning with the offset behind the last. What does not fit becomes a bad range,
 * up to the next batch that does; docs/internals/verify.md says how that is
 * found. With repair a segment with bad ranges is written anew.
 */
#include <errno.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/wire.h"
#include "log/verify_inner.h"

#define INDEX_ENTRY_BYTES 8u
#define TIME_ENTRY_BYTES 12u
#define INDEX_INTERVAL 4096u
#define INDEX_BYTES_MAX (256u << 20)
#define MEND_SEGMENT "the segment is written anew without them, the old one set aside"
#define MEND_INDEX "the indexes are made anew"

struct bad_range {
	uint64_t from, to;
	int64_t offset_from, offset_to;
	int64_t max; /* the highest timestamp before */
};

/* Both index files, and how far the scan has compared them. */
struct index {
	uint8_t *places, *times;
	uint32_t count, next;
	bool wrong;
};

struct check {
	struct verify *v;
	const struct checkpoint_segment *s;
	struct verify_window w;
	char path[VERIFY_PATH_BYTES];
	struct index index;
	struct bad_range *bad;
	uint32_t bad_count, bad_cap;
	uint64_t at; /* behind the last batch that counts */
	int64_t max; /* highest timestamp before `at` */
	uint64_t file_bytes;
};

/* ---- batches ---- */

/* The records parse, as many as the head says, with offsets that rise. */
static bool records_fit(struct verify *v, struct slice batch)
{
	struct batch_walk walk;
	struct batch_record r;
	struct slice plain;
	int64_t last = -1;
	int rc = verify_plain(v, batch, &plain);

	if (rc == ERR_NOMEM)
		return true; /* its checksum was right */
	if (rc == 0)
		rc = batch_walk_start(&walk, plain);
	while (rc == 0 && (rc = batch_walk_next(&walk, &r)) == 1) {
		if (r.offset <= last)
			return false;
		last = r.offset;
		rc = 0;
	}
	return rc == 0;
}

int verify_batch(struct verify *v, struct verify_window *w, uint64_t at, struct batch_head *head,
		 struct slice *batch)
{
	int rc = verify_see(v, w, at, BATCH_HEAD_BYTES, batch);

	if (rc)
		return rc;
	if (batch_head_read(*batch, head) || head->bytes > w->end - at)
		return 1;
	rc = verify_see(v, w, at, head->bytes, batch);
	if (rc)
		return rc;
	if (batch_check(*batch, head))
		return 1;
	*batch = slice_make(batch->ptr, head->bytes);
	return records_fit(v, *batch) ? 0 : 2;
}

/* ---- indexes ---- */

static uint8_t *read_file(struct verify *v, const char *path, uint64_t *bytes)
{
	uint8_t *all = NULL;
	int64_t got = -1;
	int fd = verify_begin_file(v, path, bytes);

	if (fd < 0)
		return NULL;
	if (*bytes <= INDEX_BYTES_MAX)
		all = mem_alloc(*bytes + 1);
	if (all)
		got = v->sys->ops->pread(v->sys->self, fd, all, *bytes, 0);
	v->sys->ops->close(v->sys->self, fd);
	if (got != (int64_t)*bytes) {
		mem_free(all);
		return NULL;
	}
	verify_progress(v, *bytes);
	return all;
}

static void tell_index(struct check *c, const char *ending, uint64_t position, bool harmless,
		       const char *what)
{
	char path[VERIFY_PATH_BYTES];

	c->index.wrong = true;
	(void)snprintf(path, sizeof(path), "%.*s.%s", (int)(strlen(c->path) - 4), c->path, ending);
	verify_tell(c->v, path, position, harmless, 0, 0, MEND_INDEX, "%s", what);
}

/* Readers see it too, and make it anew: indexes are not synced, so a power loss may leave them in part. */
static bool has_form(const struct index *x, uint64_t places_bytes, uint64_t times_bytes)
{
	uint32_t last_place = 0, last_offset = 0;

	if (!x->places || !x->times || places_bytes == 0 || places_bytes % INDEX_ENTRY_BYTES ||
	    times_bytes != places_bytes / INDEX_ENTRY_BYTES * TIME_ENTRY_BYTES)
		return false;
	for (uint32_t i = 0; i < places_bytes / INDEX_ENTRY_BYTES; i++) {
		uint32_t offset = wire_load_u32(x->places + (size_t)i * INDEX_ENTRY_BYTES);
		uint32_t place = wire_load_u32(x->places + (size_t)i * INDEX_ENTRY_BYTES + 4);
		if (wire_load_u32(x->times + (size_t)i * TIME_ENTRY_BYTES + 8) != offset ||
		    (i == 0 ? place != 0 : place <= last_place || offset <= last_offset))
			return false;
		last_place = place;
		last_offset = offset;
	}
	return true;
}

/* Loads what there is: a missing index is made when it is needed. */
static void load_index(struct check *c)
{
	struct index *x = &c->index;
	uint64_t places_bytes = 0, times_bytes = 0;
	char path[VERIFY_PATH_BYTES];

	if (c->s->last)
		return;
	(void)snprintf(path, sizeof(path), "%.*s.index", (int)(strlen(c->path) - 4), c->path);
	x->places = read_file(c->v, path, &places_bytes);
	(void)snprintf(path, sizeof(path), "%.*s.timeindex", (int)(strlen(c->path) - 4), c->path);
	x->times = read_file(c->v, path, &times_bytes);
	if (has_form(x, places_bytes, times_bytes))
		x->count = (uint32_t)(places_bytes / INDEX_ENTRY_BYTES);
	else if (x->places || x->times)
		tell_index(
			c, "index", 0, true,
			"it and the time index do not go together: they are made anew when they are needed");
}

static uint32_t entry_position(const struct index *x, uint32_t i)
{
	return wire_load_u32(x->places + (size_t)i * INDEX_ENTRY_BYTES + 4);
}

static int64_t entry_offset(const struct check *c, uint32_t i)
{
	return c->s->base + wire_load_u32(c->index.places + (size_t)i * INDEX_ENTRY_BYTES);
}

/* What was in a bad range may have been later than all that could be read. */
static bool time_fits(const struct check *c, int64_t time)
{
	return c->bad_count ? time >= c->max : time == c->max;
}

/* The scan has come to a batch at `at`: what do the entries that point here, or before, say? */
static void compare_index(struct check *c, uint64_t at, int64_t offset)
{
	struct index *x = &c->index;

	while (!x->wrong && x->next < x->count && entry_position(x, x->next) <= at) {
		const uint8_t *time = x->times + (size_t)x->next * TIME_ENTRY_BYTES;
		if (entry_position(x, x->next) < at || entry_offset(c, x->next) != offset) {
			tell_index(c, "index", (uint64_t)x->next * INDEX_ENTRY_BYTES, false,
				   "an entry points at no batch of its offset");
		} else if (!time_fits(c, (int64_t)wire_load_u64(time))) {
			tell_index(c, "timeindex", (uint64_t)x->next * TIME_ENTRY_BYTES, false,
				   "an entry has not the highest time before its batch");
		}
		x->next++;
	}
}

/* Entries that point into a bad range say nothing. */
static void skip_index(struct check *c, uint64_t at)
{
	struct index *x = &c->index;

	while (x->next < x->count && entry_position(x, x->next) < at)
		x->next++;
}

/* Whole batches from `at` to the end: their places and times. */
static int make_index(struct verify *v, const char *path, int64_t base)
{
	struct verify_window w = {0};
	struct batch_head head;
	struct verify_new n;
	struct slice batch;
	struct buf places, times;
	char index_path[VERIFY_PATH_BYTES];
	uint64_t at = 0, last = 0;
	int64_t max = -1;
	int rc = 0;

	w.fd = v->sys->ops->open(v->sys->self, path, SYS_READ);
	if (w.fd < 0)
		return verify_failed(v, "open", path, w.fd);
	{
		struct sys_stat st;
		rc = v->sys->ops->stat(v->sys->self, path, &st);
		w.end = rc ? 0 : st.bytes;
	}
	buf_init(&places, INDEX_BYTES_MAX);
	buf_init(&times, INDEX_BYTES_MAX);
	while (at < w.end && verify_batch(v, &w, at, &head, &batch) == 0) {
		if (at == 0 || at - last >= INDEX_INTERVAL) {
			uint8_t entry[TIME_ENTRY_BYTES];
			uint8_t *to = wire_put_u32(entry, (uint32_t)(head.base_offset - base));
			(void)wire_put_u32(to, (uint32_t)at);
			(void)buf_append(&places, entry, INDEX_ENTRY_BYTES);
			to = wire_put_u64(entry, (uint64_t)max);
			(void)wire_put_u32(to, (uint32_t)(head.base_offset - base));
			(void)buf_append(&times, entry, TIME_ENTRY_BYTES);
			last = at;
		}
		if (head.max_timestamp > max)
			max = head.max_timestamp;
		at += head.bytes;
	}
	v->sys->ops->close(v->sys->self, w.fd);
	if (buf_status(&places) || buf_status(&times))
		rc = verify_failed(v, "make an index of", path, -ENOMEM);
	for (int i = 0; i < 2 && rc == 0; i++) {
		(void)snprintf(index_path, sizeof(index_path), "%.*s.%s", (int)(strlen(path) - 4), path,
			       i ? "timeindex" : "index");
		rc = verify_new_open(v, &n, index_path);
		if (rc == 0)
			rc = verify_new_write(v, &n, i ? buf_slice(&times) : buf_slice(&places));
	}
	buf_fini(&places);
	buf_fini(&times);
	return rc;
}

static int mend_index(struct check *c, const char *reason)
{
	static const char *const endings[] = {"index", "timeindex"};
	char path[VERIFY_PATH_BYTES];
	int rc = 0;

	for (int i = 0; i < 2 && rc == 0; i++) {
		(void)snprintf(path, sizeof(path), "%.*s.%s", (int)(strlen(c->path) - 4), c->path,
			       endings[i]);
		rc = verify_set_aside(c->v, path, true, 0, 0, 0, 0, reason);
	}
	if (rc == 0)
		rc = make_index(c->v, c->path, c->s->base);
	c->v->out->mended++;
	return rc;
}

/* ---- finding the way again ---- */

static bool batch_holds(struct check *c, uint64_t at, int64_t from, struct batch_head *head)
{
	struct slice batch;

	return verify_batch(c->v, &c->w, at, head, &batch) == 0 && head->base_offset >= from &&
	       head->base_offset < c->s->next_offset;
}

/* The next index entry behind `at` whose batch is whole and has its offset; false where there is none. */
static bool next_entry(struct check *c, uint64_t at, uint64_t *position)
{
	struct index *x = &c->index;
	struct batch_head head;

	for (uint32_t i = x->next; i < x->count; i++) {
		uint32_t place = entry_position(x, i);
		if (place > at && place < c->w.end && batch_holds(c, place, c->v->expected, &head) &&
		    head.base_offset == entry_offset(c, i)) {
			*position = place;
			return true;
		}
	}
	return false;
}

static bool leads_to(struct check *c, uint64_t at, uint64_t goal)
{
	struct batch_head head;
	int64_t expected = -1;

	while (at < goal) {
		if (!batch_holds(c, at, c->v->expected, &head) ||
		    (expected >= 0 && head.base_offset != expected))
			return false;
		expected = batch_last_offset(&head) + 1;
		at += head.bytes;
	}
	return at == goal;
}

/* Where it goes on behind a bad batch at `at`; the end where it does not. */
static uint64_t find_batch(struct check *c, uint64_t at)
{
	uint64_t goal = c->w.end;
	bool indexed = next_entry(c, at, &goal);
	struct batch_head head;
	struct slice seen;

	for (at++; at + BATCH_HEAD_BYTES <= goal; at++) {
		if (verify_see(c->v, &c->w, at, BATCH_HEAD_BYTES, &seen) || seen.len < BATCH_HEAD_BYTES)
			return c->w.end;
		if (seen.ptr[16] != 2 || batch_head_read(seen, &head) || head.bytes > goal - at ||
		    head.base_offset < c->v->expected || head.base_offset >= c->s->next_offset)
			continue;
		if (indexed ? leads_to(c, at, goal) : batch_holds(c, at, c->v->expected, &head))
			return at;
	}
	return goal;
}

static int keep_bad(struct check *c, uint64_t to, int64_t offset_to)
{
	if (c->bad_count == c->bad_cap) {
		uint32_t cap = c->bad_cap ? c->bad_cap * 2 : 8;
		struct bad_range *grown = mem_realloc(c->bad, cap * sizeof(*grown));
		if (!grown)
			return verify_failed(c->v, "note damage of", c->path, -ENOMEM);
		c->bad = grown;
		c->bad_cap = cap;
	}
	c->bad[c->bad_count++] = (struct bad_range){.from = c->at,
						    .to = to,
						    .offset_from = c->v->expected,
						    .offset_to = offset_to,
						    .max = c->max > 0 ? c->max : 0};
	return 0;
}

/* From c->at on it is bad; *head is that of the batch where it goes on. */
static int tell_damage(struct check *c, int64_t error)
{
	uint64_t to = error ? c->w.end : find_batch(c, c->at);
	struct batch_head head = {0};
	int64_t offset = c->s->next_offset;

	if (to < c->w.end && batch_holds(c, to, c->v->expected, &head))
		offset = head.base_offset;
	if (error)
		verify_tell(c->v, c->path, c->at, false, c->v->expected, offset, NULL, "cannot be read: %s",
			    sys_error_text((int)error));
	else
		verify_tell(c->v, c->path, c->at, false, c->v->expected, offset, MEND_SEGMENT,
			    "damaged up to byte %llu", (unsigned long long)to);
	if (keep_bad(c, to, offset))
		return c->v->fault->err;
	skip_index(c, to);
	c->v->expected = offset;
	c->at = to;
	return 0;
}

/* ---- the scan ---- */

static void count_batch(struct check *c, const struct batch_head *head, struct slice batch)
{
	struct verify *v = c->v;
	struct verify_known *k = &v->known[v->now];

	v->out->batches++;
	v->out->records += head->count;
	if (batch_is_lost(head)) {
		v->out->lost += (uint64_t)head->last_offset_delta + 1;
		verify_tell(v, c->path, c->at, true, head->base_offset, batch_last_offset(head) + 1, NULL,
			    "set aside by an earlier repair; readers are told of the gap");
	}
	if (k->internal)
		verify_rows(v, c->path, c->at, batch, k->public.start);
}

static int scan(struct check *c)
{
	struct verify *v = c->v;
	struct batch_head head;
	struct slice batch;
	int rc = 0;

	while (c->at < c->w.end && v->expected < c->s->next_offset && rc == 0) {
		int got = verify_batch(v, &c->w, c->at, &head, &batch);
		if (got == 0 && head.base_offset == v->expected) {
			compare_index(c, c->at, head.base_offset);
			count_batch(c, &head, batch);
			if (head.max_timestamp > c->max)
				c->max = head.max_timestamp;
			v->expected = batch_last_offset(&head) + 1;
			c->at += head.bytes;
		} else {
			rc = tell_damage(c, got < 0 ? got : 0);
		}
	}
	return rc;
}

/* Cut off, or missing: what the checkpoint says and the file has not. */
static int tell_short(struct check *c)
{
	struct verify *v = c->v;
	int rc = 0;

	if (c->w.fd < 0) {
		verify_tell(v, c->path, 0, false, v->expected, c->s->next_offset, MEND_SEGMENT, "is missing");
		rc = keep_bad(c, 0, c->s->next_offset);
	} else if (v->expected < c->s->next_offset) {
		verify_tell(v, c->path, c->at, false, v->expected, c->s->next_offset, MEND_SEGMENT,
			    "ends with offset %lld, the checkpoint says %lld", (long long)v->expected - 1,
			    (long long)c->s->next_offset - 1);
		rc = keep_bad(c, c->at, c->s->next_offset);
	} else if (c->at != c->s->bytes && c->bad_count == 0) {
		verify_tell(v, c->path, c->at, false, 0, 0, "the checkpoint is corrected",
			    "its records end at byte %llu, the checkpoint says %llu",
			    (unsigned long long)c->at, (unsigned long long)c->s->bytes);
	}
	v->expected = c->s->next_offset;
	return rc;
}

/* Batches behind the length that the checkpoint says: the mover's, and in the journal too. */
static void look_beyond(struct check *c)
{
	struct verify_known *k = &c->v->known[c->v->now];
	struct batch_head head;
	struct slice batch;

	k->active_behind = c->s->behind;
	k->active_base = c->s->base;
	k->active_revision = c->s->revision;
	k->beyond_bytes = c->at;
	k->beyond = c->s->next_offset;
	k->beyond_timestamp = c->s->max_timestamp;
	c->w.end = c->file_bytes;
	while (k->beyond_bytes < c->w.end && verify_batch(c->v, &c->w, k->beyond_bytes, &head, &batch) == 0 &&
	       head.base_offset == k->beyond) {
		k->beyond = batch_last_offset(&head) + 1;
		k->beyond_bytes += head.bytes;
		if (head.max_timestamp > k->beyond_timestamp)
			k->beyond_timestamp = head.max_timestamp;
	}
}

/* ---- repair ---- */

static int put_lost(struct verify *v, struct verify_new *n, int64_t from, int64_t to, int64_t timestamp)
{
	uint8_t batch[BATCH_HEAD_BYTES];
	int rc = 0;

	while (from < to && rc == 0) {
		int64_t last = to - from > BATCH_OFFSETS_MAX ? from + BATCH_OFFSETS_MAX - 1 : to - 1;
		(void)batch_put_empty(batch, from, last, BATCH_LOST, timestamp);
		rc = verify_new_put(v, n, slice_make(batch, sizeof(batch)));
		from = last + 1;
	}
	return rc;
}

static void correct_length(struct check *c, uint64_t bytes)
{
	struct verify *v = c->v;

	(void)wire_put_u64(v->checkpoint.ptr + v->checkpoint.len - c->s->behind, bytes);
	v->checkpoint_changed = true;
}

static int set_ranges_aside(struct check *c)
{
	int rc = 0;

	for (uint32_t i = 0; i < c->bad_count && rc == 0; i++)
		rc = verify_set_aside(c->v, c->path, !c->s->last, c->bad[i].from,
				      c->bad[i].to - c->bad[i].from, c->bad[i].offset_from,
				      c->bad[i].offset_to, "records that cannot be read");
	return rc;
}

static int write_anew(struct check *c)
{
	struct verify *v = c->v;
	struct verify_known *k = &v->known[v->now];
	struct verify_new n;
	uint64_t from = 0, length;
	int rc = verify_new_open(v, &n, c->path);

	for (uint32_t i = 0; i < c->bad_count && rc == 0; i++) {
		rc = c->w.fd < 0 ? 0 : verify_new_copy(v, &n, c->w.fd, from, c->bad[i].from - from);
		if (rc == 0)
			rc = put_lost(v, &n, c->bad[i].offset_from, c->bad[i].offset_to, c->bad[i].max);
		from = c->bad[i].to;
	}
	if (rc == 0 && from < c->at)
		rc = verify_new_copy(v, &n, c->w.fd, from, c->at - from);
	length = n.bytes;
	if (rc == 0 && c->s->last && c->file_bytes > c->at) { /* the journal may lack what stands there */
		rc = verify_new_copy(v, &n, c->w.fd, c->at, c->file_bytes - c->at);
		k->beyond_bytes = length + (k->beyond_bytes - c->at);
	} else {
		k->beyond_bytes = length;
	}
	if (rc == 0)
		rc = verify_new_finish(v, &n);
	else if (n.fd >= 0)
		verify_new_drop(v, &n);
	c->at = length;
	v->out->mended += c->bad_count;
	return rc;
}

/* The folders may be gone with the file. */
static int make_folders(struct check *c)
{
	char path[VERIFY_PATH_BYTES];
	char *slash;
	int rc = 0;

	for (int up = 2; up > 0 && rc == 0; up--) {
		(void)snprintf(path, sizeof(path), "%s", c->path);
		for (int i = 0; i < up; i++) {
			slash = strrchr(path, '/');
			if (slash)
				*slash = '\0';
		}
		rc = c->v->sys->ops->mkdir(c->v->sys->self, path);
	}
	return rc ? verify_failed(c->v, "make the folder of", c->path, rc) : 0;
}

static int mend(struct check *c)
{
	int rc = 0;

	if (c->bad_count) {
		rc = set_ranges_aside(c);
		if (rc == 0 && c->w.fd < 0)
			rc = make_folders(c);
		if (rc == 0)
			rc = write_anew(c);
	}
	if (rc == 0 && c->at != c->s->bytes) {
		correct_length(c, c->at);
		c->v->out->mended += c->bad_count == 0;
	}
	if (rc == 0 && !c->s->last && (c->bad_count || c->index.wrong))
		rc = mend_index(c, c->bad_count ? "its segment was written anew" :
						  "it does not fit its segment");
	return rc;
}

/* ---- one segment ---- */

static int run(struct check *c)
{
	struct verify *v = c->v;
	int rc;

	c->w.fd = verify_begin_file(v, c->path, &c->file_bytes);
	c->w.end = c->w.fd < 0 ? 0 : c->file_bytes < c->s->bytes ? c->file_bytes : c->s->bytes;
	if (c->w.fd < 0 && c->w.fd != -ENOENT) {
		verify_tell(v, c->path, 0, false, c->s->base, c->s->next_offset, NULL, "cannot be opened: %s",
			    sys_error_text(c->w.fd));
		v->expected = c->s->next_offset;
		return 0;
	}
	load_index(c);
	rc = scan(c);
	if (rc == 0 && !c->index.wrong && c->index.next < c->index.count)
		tell_index(c, "index", (uint64_t)c->index.next * INDEX_ENTRY_BYTES, false,
			   "an entry points behind the records");
	if (rc == 0)
		rc = tell_short(c);
	if (rc == 0 && c->s->last)
		look_beyond(c);
	if (v->known[v->now].internal && c->bad_count)
		v->state_hurt = true;
	if (rc == 0 && v->options->repair && (c->bad_count || c->index.wrong || c->at != c->s->bytes))
		rc = mend(c);
	if (c->w.fd >= 0)
		v->sys->ops->close(v->sys->self, c->w.fd);
	return rc;
}

int verify_segment(struct verify *v, const struct checkpoint_segment *s)
{
	struct check c = {.v = v, .s = s, .max = -1};
	const struct verify_partition *p = &v->known[v->now].public;
	int rc;

	verify_segment_path(v, &p->topic, p->number, s->base, s->revision, c.path);
	if (v->expected != s->base && v->expected >= 0)
		verify_tell(v, c.path, 0, false, v->expected, s->base, NULL,
			    "the segment before it ends at offset %lld", (long long)v->expected);
	v->expected = s->base;
	rc = run(&c);
	mem_free(c.index.places);
	mem_free(c.index.times);
	mem_free(c.bad);
	return rc;
}
