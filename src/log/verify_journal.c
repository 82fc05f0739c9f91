/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The journal in two passes. The first finds the groups: whole ones of a file's own
 * generation, with sequences that follow one another from the checkpoint on. Where
 * they do not, or something that is no group stands between two, is a gap. The second
 * reads them in order, as a start does, and knows from the first batch behind
 * a gap what each partition lacks.
 *
 * Repair writes a file with a gap anew: its groups as they are (their place is not
 * in them) and, in front of the first one behind a gap, one for each that is lost, the
 * first of which says BATCH_LOST for the offsets that are gone.
 */
#include <errno.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/wire.h"
#include "log/frame.h"
#include "log/journal.h"
#include "log/verify_inner.h"

#define MEND_GAP "a group of lost offsets takes their place, the old file is set aside"
#define LOST_GROUPS_MAX (1u << 22)

struct file {
	uint64_t generation, bytes;
	char path[VERIFY_PATH_BYTES];
};

struct group_at {
	uint32_t file;
	uint32_t bytes;
	uint64_t at, sequence;
	int64_t time_ms;
};

struct lost {
	uint32_t known; /* index of the partition */
	int64_t from, to;
};

struct gap {
	uint32_t file;
	uint64_t from, to;                   /* bytes of the file that are no group */
	uint64_t sequence_from, sequence_to; /* groups that are gone: [from, to) */
	uint32_t behind;                     /* index of the first group behind */
	struct lost *lost;
	uint32_t lost_count, lost_cap;
};

struct verify_journal {
	struct verify *v;
	struct file *files;
	uint32_t file_count;
	struct group_at *groups;
	uint32_t group_count, group_cap;
	struct gap *gaps;
	uint32_t gap_count, gap_cap;
	uint64_t expect; /* 0: whatever comes first */
	/* The last place where a group was expected and something that looks like one stands. */
	uint32_t torn_file;
	uint64_t torn_at;
	bool torn;
};

static uint64_t aligned(uint64_t bytes)
{
	return (bytes + FRAME_ALIGN - 1) & ~(uint64_t)(FRAME_ALIGN - 1);
}

/* Grows a list by doubling; false without memory. */
static bool make_room(void **list, uint32_t count, uint32_t *cap, size_t size)
{
	uint32_t grown_cap = *cap ? *cap * 2 : 16;
	void *grown;

	if (count < *cap)
		return true;
	grown = mem_realloc(*list, grown_cap * size);
	if (!grown)
		return false;
	*list = grown;
	*cap = grown_cap;
	return true;
}

static int no_memory(struct verify_journal *s)
{
	return fault_set(s->v->fault, ERR_NOMEM, "no memory to check the journal");
}

/* ---- finding groups ---- */

static bool sections_fit(const struct frame_head *frame_head, struct slice frame)
{
	static struct seen_range ranges[SEEN_RANGES_MAX]; /* one thread verifies */
	struct slice rest = slice_from(frame, FRAME_HEAD_BYTES);
	struct frame_section section;
	struct batch_head head;
	struct seen_key key;
	uint32_t count, sections = 0;
	int rc, keys = 0;

	while ((rc = frame_next(&rest, &section)) == 1) {
		sections++;
		if (section.kind == FRAME_BATCH &&
		    (batch_check(section.body, &head) || head.bytes != section.body.len))
			return false;
		while (section.kind == FRAME_KEYS &&
		       (keys = frame_key_next(&section.body, &key, ranges, &count)) == 1)
			;
		if (keys < 0)
			return false;
	}
	return rc == 0 && sections == frame_head->sections;
}

/* A whole group of this file at `at`: 0, 1 none, -errno. *frame lies in the window. */
static int see_group(struct verify_journal *s, const struct file *f, struct verify_window *w, uint64_t at,
		     struct frame_head *head, struct slice *frame)
{
	int rc = verify_see(s->v, w, at, FRAME_HEAD_BYTES, frame);

	if (rc)
		return rc;
	if (frame_head_read(*frame, head) || head->generation != f->generation || head->bytes > w->end - at)
		return 1;
	rc = verify_see(s->v, w, at, head->bytes, frame);
	if (rc)
		return rc;
	if (frame_check(*frame, head))
		return 1;
	if (s->v->format.version == FORMAT_VERSION && f->generation > s->v->format.unmarked_to &&
	    head->tag != frame_tag(&s->v->format.journal_key, head))
		return 1; /* a record's bytes, made to look like a group */
	*frame = slice_make(frame->ptr, head->bytes);
	return sections_fit(head, *frame) ? 0 : 1;
}

static int keep_gap(struct verify_journal *s, uint32_t file, uint64_t from, uint64_t to, uint64_t sequence)
{
	if (!make_room((void **)&s->gaps, s->gap_count, &s->gap_cap, sizeof(*s->gaps)))
		return no_memory(s);
	s->gaps[s->gap_count++] = (struct gap){.file = file,
					       .from = from,
					       .to = to,
					       .sequence_from = s->expect,
					       .sequence_to = sequence,
					       .behind = s->group_count};
	return 0;
}

/* `bad` is where something that is no group began; equal to `at` where nothing stands between. */
static int keep_group(struct verify_journal *s, uint32_t file, uint64_t bad, uint64_t at,
		      const struct frame_head *head)
{
	int rc = 0;

	if (s->expect && head->sequence < s->expect)
		return 0; /* in segments already, or written again after a recovery */
	if (s->expect && (head->sequence > s->expect || bad < at))
		rc = keep_gap(s, file, bad, at, head->sequence);
	if (rc == 0 && !make_room((void **)&s->groups, s->group_count, &s->group_cap, sizeof(*s->groups)))
		rc = no_memory(s);
	if (rc)
		return rc;
	s->groups[s->group_count++] = (struct group_at){.file = file,
							.bytes = head->bytes,
							.at = at,
							.sequence = head->sequence,
							.time_ms = head->time_ms};
	s->expect = head->sequence + 1;
	s->torn = false;
	return 0;
}

/* The next place behind `at` where a group stands that is still to come; the end where there is none. */
static int find_group(struct verify_journal *s, const struct file *f, struct verify_window *w, uint64_t *at,
		      struct frame_head *head)
{
	struct slice frame;

	for (*at += FRAME_ALIGN; *at + FRAME_HEAD_BYTES <= w->end; *at += FRAME_ALIGN) {
		int rc = see_group(s, f, w, *at, head, &frame);
		if (rc < 0)
			return rc;
		if (rc == 0 && head->sequence >= s->expect)
			return 0;
	}
	return 1;
}

/* Of magic, generation and sequence two fit: a group of this file was begun here. */
static void look_at_torn(struct verify_journal *s, uint32_t file, struct verify_window *w, uint64_t at)
{
	struct frame_head head = {0};
	struct slice seen;

	if (verify_see(s->v, w, at, FRAME_HEAD_BYTES, &seen) || seen.len < FRAME_HEAD_BYTES)
		return;
	if (frame_head_guess(seen.ptr, &head) + (head.generation == s->files[file].generation) +
		    (head.sequence == s->expect) <
	    2)
		return;
	s->torn = true;
	s->torn_file = file;
	s->torn_at = at;
}

static int scan_file(struct verify_journal *s, uint32_t number)
{
	struct file *f = &s->files[number];
	struct verify_window w = {0};
	struct frame_head head;
	struct slice frame;
	uint64_t at = 0, bad;
	int rc = 0;

	w.fd = verify_begin_file(s->v, f->path, &f->bytes);
	if (w.fd < 0) {
		verify_tell(s->v, f->path, 0, false, 0, 0, NULL, "cannot be opened: %s",
			    sys_error_text(w.fd));
		return 0;
	}
	w.end = f->bytes;
	if (f->bytes == 0 || f->bytes % FRAME_ALIGN)
		verify_tell(s->v, f->path, f->bytes, true, 0, 0, NULL,
			    "was cut: no file of the journal is made with %llu bytes",
			    (unsigned long long)f->bytes);
	while (at + FRAME_HEAD_BYTES <= f->bytes && rc == 0) {
		bad = at;
		rc = see_group(s, f, &w, at, &head, &frame);
		if (rc == 1) {
			rc = find_group(s, f, &w, &at, &head);
			if (rc == 1)
				look_at_torn(s, number, &w, bad);
		}
		if (rc == 0)
			rc = keep_group(s, number, bad, at, &head);
		at += aligned(head.bytes);
	}
	s->v->sys->ops->close(s->v->sys->self, w.fd);
	if (rc < 0 && !s->v->fault->err)
		verify_tell(s->v, f->path, at, false, 0, 0, NULL, "cannot be read: %s", sys_error_text(rc));
	return s->v->fault->err;
}

static int list_files(struct verify_journal *s)
{
	struct verify *v = s->v;
	struct verify_names names;
	char dir[VERIFY_PATH_BYTES];
	int rc;

	(void)snprintf(dir, sizeof(dir), "%.600s/journal", v->options->dir);
	rc = verify_list(v, dir, &names); /* by name is by generation */
	if (rc == -ENOENT) {
		verify_tell(v, dir, 0, true, 0, 0, NULL, "is missing: a start makes it");
		return 0;
	}
	if (rc)
		return verify_failed(v, "read", dir, rc);
	s->files = mem_zalloc((size_t)names.count + 1, sizeof(*s->files));
	for (uint32_t i = 0; s->files && i < names.count; i++) {
		struct file *f = &s->files[s->file_count];
		(void)snprintf(f->path, sizeof(f->path), "%.700s/%.300s", dir, names.list[i]);
		f->generation = journal_generation_of(names.list[i]);
		if (f->generation)
			s->file_count++;
		else
			verify_tell(v, f->path, 0, true, 0, 0, NULL,
				    "is none of weir's, or was left by a crash");
	}
	verify_names_free(&names);
	return s->files ? 0 : no_memory(s);
}

/* ---- what is in them ---- */

static int keep_lost(struct verify_journal *s, struct gap *g, uint32_t known, int64_t from, int64_t to)
{
	if (!make_room((void **)&g->lost, g->lost_count, &g->lost_cap, sizeof(*g->lost)))
		return no_memory(s);
	g->lost[g->lost_count++] = (struct lost){.known = known, .from = from, .to = to};
	return 0;
}

static struct gap *gap_before(struct verify_journal *s, uint32_t group)
{
	for (uint32_t i = s->gap_count; i-- > 0;)
		if (s->gaps[i].behind <= group)
			return &s->gaps[i];
	return NULL;
}

static int take_hole(struct verify_journal *s, uint32_t group, uint32_t known, int64_t base)
{
	struct verify *v = s->v;
	struct verify_known *k = &v->known[known];
	const struct group_at *at = &s->groups[group];
	struct gap *g = gap_before(s, group);

	if (base > k->public.end && g)
		return keep_lost(s, g, known, k->public.end, base);
	verify_tell(v, s->files[at->file].path, at->at, false, k->public.end < base ? k->public.end : base,
		    k->public.end < base ? base : base, NULL,
		    "group %llu continues a partition at offset %lld, which ends at %lld",
		    (unsigned long long)at->sequence, (long long)base, (long long)k->public.end);
	return 0;
}

static int take_batch(struct verify_journal *s, uint32_t group, const struct frame_section *section)
{
	struct verify *v = s->v;
	const struct group_at *at = &s->groups[group];
	struct verify_known *k;
	struct batch_head head;
	int rc = 0;

	if (batch_check(section->body, &head))
		return 0; /* cannot be: the first pass looked */
	k = verify_find(v, &section->topic, section->partition, head.base_offset == 0);
	if (!k)
		return head.base_offset == 0 ? no_memory(s) : 0; /* of a topic that was deleted */
	if (batch_last_offset(&head) < k->public.end)
		return 0; /* in a segment already */
	if (head.base_offset != k->public.end)
		rc = take_hole(s, group, (uint32_t)(k - v->known), head.base_offset);
	if (batch_is_lost(&head)) {
		v->out->lost += (uint64_t)head.last_offset_delta + 1;
		verify_tell(v, s->files[at->file].path, at->at, true, head.base_offset,
			    batch_last_offset(&head) + 1, NULL,
			    "set aside by an earlier repair; readers are told of the gap");
	}
	if (k->internal)
		verify_rows(v, s->files[at->file].path, at->at, section->body, k->public.start);
	k->public.end = batch_last_offset(&head) + 1;
	return rc;
}

static int read_group(struct verify_journal *s, uint32_t number, struct verify_window *w)
{
	const struct group_at *at = &s->groups[number];
	struct frame_section section;
	struct slice frame, rest;
	int rc = verify_see(s->v, w, at->at, at->bytes, &frame);

	if (rc || frame.len < at->bytes)
		return verify_failed(s->v, "read", s->files[at->file].path, rc ? rc : -EIO);
	rest = slice_make(frame.ptr + FRAME_HEAD_BYTES, at->bytes - FRAME_HEAD_BYTES);
	while (rc == 0 && frame_next(&rest, &section) == 1)
		if (section.kind == FRAME_BATCH)
			rc = take_batch(s, number, &section);
	s->v->out->groups++;
	return rc;
}

static int read_groups(struct verify_journal *s)
{
	struct verify *v = s->v;
	struct verify_window w = {.fd = -1};
	uint32_t open = UINT32_MAX;
	int rc = 0;

	for (uint32_t i = 0; i < s->group_count && rc == 0; i++) {
		if (s->groups[i].file != open) {
			if (w.fd >= 0)
				v->sys->ops->close(v->sys->self, w.fd);
			open = s->groups[i].file;
			w = (struct verify_window){.end = s->files[open].bytes};
			w.fd = v->sys->ops->open(v->sys->self, s->files[open].path, SYS_READ);
			if (w.fd < 0)
				return verify_failed(v, "open", s->files[open].path, w.fd);
		}
		rc = read_group(s, i, &w);
	}
	if (w.fd >= 0)
		v->sys->ops->close(v->sys->self, w.fd);
	return rc;
}

/* ---- telling ---- */

static void tell_gap(struct verify_journal *s, const struct gap *g)
{
	struct verify *v = s->v;
	const struct group_at *behind = &s->groups[g->behind];
	const char *path = s->files[g->file].path;
	char where[VERIFY_PATH_BYTES];

	if (g->sequence_from == g->sequence_to)
		verify_tell(v, path, g->from, false, 0, 0, "the file is written anew without that",
			    "is damaged up to byte %llu, where group %llu stands", (unsigned long long)g->to,
			    (unsigned long long)behind->sequence);
	else
		verify_tell(
			v, path, g->from, false, 0, 0, MEND_GAP,
			"groups %llu to %llu are damaged or missing; group %llu at byte %llu proves that they were durable",
			(unsigned long long)g->sequence_from, (unsigned long long)g->sequence_to - 1,
			(unsigned long long)behind->sequence, (unsigned long long)behind->at);
	for (uint32_t i = 0; i < g->lost_count; i++) {
		const struct verify_known *k = &v->known[g->lost[i].known];
		verify_segment_path(v, &k->public.topic, k->public.number,
				    k->active_behind ? k->active_base : g->lost[i].from, k->active_revision,
				    where);
		if (k->internal)
			v->state_hurt = true;
		verify_tell(v, where, 0, false, g->lost[i].from, g->lost[i].to, MEND_GAP,
			    "lacks %s that were in groups %llu to %llu of the journal",
			    k->internal ? "rows of state" : "records", (unsigned long long)g->sequence_from,
			    (unsigned long long)g->sequence_to - 1);
	}
}

static void tell_torn(struct verify_journal *s)
{
	if (s->torn)
		verify_tell(s->v, s->files[s->torn_file].path, s->torn_at, true, 0, 0, NULL,
			    "group %llu was not written whole and not answered; a start cuts it off",
			    (unsigned long long)s->expect);
}

/* Whole batches behind what the checkpoint says, of which the journal should know. */
static void tell_beyond(struct verify_journal *s)
{
	struct verify *v = s->v;
	char path[VERIFY_PATH_BYTES];

	for (uint32_t i = 0; i < v->known_count; i++) {
		struct verify_known *k = &v->known[i];
		if (k->beyond <= k->public.end || !k->active_behind)
			continue;
		verify_segment_path(v, &k->public.topic, k->public.number, k->active_base, k->active_revision,
				    path);
		verify_tell(
			v, path, 0, false, k->public.end, k->beyond, "the checkpoint takes them in",
			"stand here, but neither the checkpoint nor the journal has them: a start cuts them off");
		k->public.end = k->beyond;
	}
}

/* ---- repair ---- */

/* The checkpoint takes in what stands whole behind its lengths. It is written when the keys in that are safe. */
static void take_in_beyond(struct verify_journal *s)
{
	struct verify *v = s->v;
	bool changed = false;

	for (uint32_t i = 0; i < v->known_count; i++) {
		const struct verify_known *k = &v->known[i];
		uint8_t *end = v->checkpoint.ptr + v->checkpoint.len;
		uint8_t *at;
		if (!k->active_behind || (int64_t)wire_load_u64(end - k->next_behind) >= k->beyond)
			continue;
		(void)wire_put_u64(end - k->next_behind, (uint64_t)k->beyond);
		at = wire_put_u64(end - k->active_behind, k->beyond_bytes);
		at = wire_put_u64(at, (uint64_t)k->beyond);
		(void)wire_put_u64(at, (uint64_t)k->beyond_timestamp);
		changed = true;
		v->out->mended++;
	}
	if (changed)
		v->checkpoint_changed = true;
}

static int put_padded(struct verify *v, struct verify_new *n, struct slice frame)
{
	static const uint8_t zeros[FRAME_ALIGN];
	int rc = verify_new_put(v, n, frame);

	return rc ? rc : verify_new_put(v, n, slice_make(zeros, aligned(frame.len) - frame.len));
}

static size_t put_lost_batches(struct verify_journal *s, const struct gap *g, uint8_t *frame, int64_t time_ms,
			       uint32_t *sections)
{
	uint8_t *at = frame + FRAME_HEAD_BYTES;

	for (uint32_t i = 0; i < g->lost_count; i++) {
		const struct verify_known *k = &s->v->known[g->lost[i].known];
		at = frame_put_batch_head(at, &k->public.topic, k->public.number, BATCH_HEAD_BYTES);
		at = batch_put_empty(at, g->lost[i].from, g->lost[i].to - 1, BATCH_LOST, time_ms);
		(*sections)++;
	}
	return (size_t)(at - frame);
}

/* One group for each that is gone, the first with what is lost. */
static int put_gap(struct verify_journal *s, struct verify_new *n, const struct gap *g)
{
	size_t bytes = FRAME_HEAD_BYTES + (size_t)g->lost_count * (FRAME_BATCH_OVERHEAD + BATCH_HEAD_BYTES);
	int64_t time_ms = s->groups[g->behind].time_ms;
	uint8_t *frame = mem_alloc(bytes);
	int rc = 0;

	if (!frame)
		return no_memory(s);
	for (uint64_t sequence = g->sequence_from; sequence < g->sequence_to && rc == 0; sequence++) {
		struct frame_head head = {.generation = s->files[g->file].generation,
					  .sequence = sequence,
					  .durable = sequence - 1,
					  .time_ms = time_ms,
					  .bytes = FRAME_HEAD_BYTES};
		if (sequence == g->sequence_from)
			head.bytes = (uint32_t)put_lost_batches(s, g, frame, time_ms, &head.sections);
		if (s->v->format.version == FORMAT_VERSION && head.generation > s->v->format.unmarked_to)
			head.tag = frame_tag(&s->v->format.journal_key, &head);
		frame_seal(frame, &head);
		rc = put_padded(s->v, n, slice_make(frame, head.bytes));
	}
	mem_free(frame);
	return rc;
}

static int copy_groups(struct verify_journal *s, uint32_t number, struct verify_new *n, int from)
{
	int rc = 0;

	for (uint32_t i = 0; i < s->group_count && rc == 0; i++) {
		if (s->groups[i].file != number)
			continue;
		for (uint32_t g = 0; g < s->gap_count && rc == 0; g++)
			if (s->gaps[g].behind == i)
				rc = put_gap(s, n, &s->gaps[g]);
		if (rc == 0)
			rc = verify_new_copy(s->v, n, from, s->groups[i].at, s->groups[i].bytes);
		if (rc == 0 && n->bytes % FRAME_ALIGN) {
			static const uint8_t zeros[FRAME_ALIGN];
			rc = verify_new_put(s->v, n, slice_make(zeros, FRAME_ALIGN - n->bytes % FRAME_ALIGN));
		}
	}
	return rc;
}

static int fill_up(struct verify_journal *s, struct verify_new *n, uint64_t bytes)
{
	static const uint8_t zeros[64 << 10];
	int rc = 0;

	while (n->bytes < bytes && rc == 0) {
		uint64_t left = bytes - n->bytes;
		rc = verify_new_put(s->v, n, slice_make(zeros, left < sizeof(zeros) ? left : sizeof(zeros)));
	}
	return rc;
}

static int write_anew(struct verify_journal *s, uint32_t number)
{
	struct verify *v = s->v;
	struct file *f = &s->files[number];
	struct verify_new n;
	int fd = v->sys->ops->open(v->sys->self, f->path, SYS_READ);
	int rc;

	if (fd < 0)
		return verify_failed(v, "open", f->path, fd);
	rc = verify_new_open(v, &n, f->path);
	if (rc == 0) {
		rc = copy_groups(s, number, &n, fd);
		if (rc == 0)
			rc = fill_up(s, &n, aligned(f->bytes));
		if (rc)
			verify_new_drop(v, &n);
		else
			rc = verify_new_finish(v, &n);
	}
	v->sys->ops->close(v->sys->self, fd);
	return rc;
}

static int mend_file(struct verify_journal *s, uint32_t number)
{
	struct verify *v = s->v;
	bool hurt = false;
	int rc = 0;

	for (uint32_t i = 0; i < s->gap_count && rc == 0; i++) {
		const struct gap *g = &s->gaps[i];
		char reason[200];
		if (g->file != number)
			continue;
		hurt = true;
		v->out->mended++;
		(void)snprintf(reason, sizeof(reason), "groups %llu to %llu of the journal are gone",
			       (unsigned long long)g->sequence_from, (unsigned long long)g->sequence_to - 1);
		if (g->sequence_to - g->sequence_from > LOST_GROUPS_MAX)
			return fault_set(v->fault, ERR_CORRUPT, "%s: %s: too many to be mended",
					 s->files[number].path, reason);
		rc = verify_set_aside(v, s->files[number].path, false, g->from, g->to - g->from, 0, 0,
				      reason);
		for (uint32_t j = 0; j < g->lost_count && rc == 0; j++) {
			const struct verify_known *k = &v->known[g->lost[j].known];
			char id[37], lost[300];
			topic_id_text(&k->public.topic, id);
			(void)snprintf(lost, sizeof(lost), "%s: of topics/%s/%u", reason, id,
				       k->public.number);
			rc = verify_set_aside(v, s->files[number].path, false, g->from, g->to - g->from,
					      g->lost[j].from, g->lost[j].to, lost);
		}
	}
	return rc || !hurt ? rc : write_anew(s, number);
}

/* Files of the journal that are bad but hold nothing that goes on are kept too: their bytes may be looked at by hand. */
static int keep_neighbours(struct verify_journal *s)
{
	int rc = 0;

	for (uint32_t i = 0; i < s->gap_count && rc == 0; i++)
		if (s->gaps[i].file > 0)
			rc = verify_set_aside(s->v, s->files[s->gaps[i].file - 1].path, false, 0,
					      s->files[s->gaps[i].file - 1].bytes, 0, 0,
					      "the file before one in which groups are missing");
	return rc;
}

int verify_journal_mend(struct verify *v)
{
	struct verify_journal *s = v->journal;
	int rc = s->gap_count ? keep_neighbours(s) : 0;

	for (uint32_t i = 0; i < s->file_count && rc == 0; i++)
		rc = mend_file(s, i);
	return rc;
}

/* ---- the whole ---- */

/* What segments hold already of lost groups is not lost. */
static void count_beyond(struct verify *v)
{
	for (uint32_t i = 0; i < v->known_count; i++)
		if (v->known[i].active_behind && v->known[i].beyond > v->known[i].public.end)
			v->known[i].public.end = v->known[i].beyond;
}

void verify_journal_end(struct verify *v)
{
	struct verify_journal *s = v->journal;

	if (!s)
		return;
	v->journal = NULL;
	for (uint32_t i = 0; i < s->gap_count; i++)
		mem_free(s->gaps[i].lost);
	mem_free(s->gaps);
	mem_free(s->groups);
	mem_free(s->files);
	mem_free(s);
}

static bool has_beyond(const struct verify *v)
{
	for (uint32_t i = 0; i < v->known_count; i++)
		if (v->known[i].active_behind && v->known[i].beyond > v->known[i].public.end)
			return true;
	return false;
}

int verify_journal(struct verify *v)
{
	struct verify_journal *s = mem_zalloc(1, sizeof(*s));
	int rc;

	if (!s)
		return fault_set(v->fault, ERR_NOMEM, "no memory to check the journal");
	v->journal = s;
	s->v = v;
	rc = list_files(s);
	/* Without a whole checkpoint nobody knows where it should begin. */
	s->expect = v->checkpoint_unknown ? 0 : v->sequence + 1;
	for (uint32_t i = 0; i < s->file_count && rc == 0; i++)
		rc = scan_file(s, i);
	if (rc == 0 && s->gap_count)
		count_beyond(v);
	if (rc == 0)
		rc = read_groups(s);
	v->journal_has_more = s->group_count > 0;
	for (uint32_t i = 0; i < s->gap_count && rc == 0; i++)
		tell_gap(s, &s->gaps[i]);
	if (rc)
		return rc;
	tell_torn(s);
	/* The keys of groups that are gone stand in the records that segments have of them. */
	v->keys_hurt = s->gap_count > 0 || has_beyond(v);
	tell_beyond(s);
	if (v->options->repair && v->has_checkpoint && v->keys_hurt)
		take_in_beyond(s);
	return 0;
}
