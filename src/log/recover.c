/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Recovery: the newer whole checkpoint, partitions cut to what it says, files it
 * does not know removed, and everything behind it in the journal entered again
 * the way the committer enters it. Doing it twice gives the same.
 */
#include "log/core.h"

#include <errno.h>
#include <stdio.h>

#include "base/check.h"
#include "base/mem.h"

struct replay {
	struct log *l;
	struct fault *fault;
	uint8_t *last; /* a copy of the last group */
	size_t last_len, last_cap;
};

static int keep_last(struct replay *r, struct slice frame)
{
	if (frame.len > r->last_cap) {
		uint8_t *grown = mem_realloc(r->last, frame.len);
		if (!grown)
			return fault_set(r->fault, ERR_NOMEM, "no memory to recover");
		r->last = grown;
		r->last_cap = frame.len;
	}
	memcpy(r->last, frame.ptr, frame.len);
	r->last_len = frame.len;
	return 0;
}

/* Groups go the usual way: into the rings, and on into segments when enough are pinned. */
static int replay_group(void *ctx, const struct frame_head *head, struct slice frame)
{
	struct replay *r = ctx;
	struct log *l = r->l;
	struct group g;
	int rc = group_from_frame(l, &g, frame, r->fault);

	if (rc)
		return rc;
	l->sequence = head->sequence;
	atomic_store(&l->durable, head->sequence);
	l->recovered_groups++;
	rc = group_publish(l, &g);
	group_free(&g);
	if (rc)
		return fault_set(r->fault, rc, "no memory to recover");
	if (atomic_load(&l->pinned_bytes) > (int64_t)l->options.pinned_bytes_max / 2)
		rc = mover_reach(l, head->sequence);
	if (rc)
		return fault_set(r->fault, rc, "cannot write segments while recovering in %s", l->dir);
	return keep_last(r, frame);
}

/* ---- a clean stop ---- */

#define CLEAN_BYTES 48u

/*
 * The checkpoint that knows everything, and the newest file of the journal that it knows everything of: each start goes
 * on in a file of a new generation, so a mark of an older life fits no longer, wherever it comes from.
 */
static size_t put_clean(const struct log *l, char *text)
{
	return (size_t)snprintf(text, CLEAN_BYTES, "%llu %016llx\n", (unsigned long long)l->checkpoint_number,
				(unsigned long long)journal_newest(l->journal));
}

static int has_files_of_the_dead(void *ctx, struct partition *p)
{
	(void)ctx;
	return atomic_load(&p->dropped) && p->segment_count > 0;
}

static bool is_all_settled(struct log *l)
{
	return atomic_load(&l->durable) == l->checkpoint_sequence && l->expired_count == 0 && !l->litter &&
	       !l->compaction && !l->recompression && !atomic_load(&l->held) &&
	       partitions_each(l, has_files_of_the_dead, NULL) == 0;
}

void recover_note_clean(struct log *l)
{
	char text[CLEAN_BYTES];

	if (is_all_settled(l))
		(void)files_put(l->sys, l->dir, "CLEAN", slice_make(text, put_clean(l, text)));
}

/* What stands in CLEAN, which is gone then; empty where there was none. */
static int take_clean(struct log *l, char *text, struct slice *out, struct fault *fault)
{
	const struct sys *sys = l->sys;
	char path[SEGMENT_PATH_BYTES];
	int64_t got;
	int fd, rc;

	*out = slice_null();
	(void)snprintf(path, sizeof(path), "%s/CLEAN", l->dir);
	fd = sys->ops->open(sys->self, path, SYS_READ);
	if (fd == -ENOENT)
		return 0;
	got = fd < 0 ? fd : sys->ops->pread(sys->self, fd, text, CLEAN_BYTES, 0);
	if (fd >= 0)
		sys->ops->close(sys->self, fd);
	if (got > 0)
		*out = slice_make(text, (size_t)got);
	rc = sys->ops->unlink(sys->self, path);
	if (rc == 0)
		rc = sys->ops->sync_dir(sys->self, l->dir);
	return rc ? fault_set(fault, ERR_IO, "cannot remove %s: %s", path, sys_error_text(rc)) : 0;
}

/* Is it the word of the stop that this directory saw last? Behind the checkpoint that was loaded, before a file is made. */
static bool is_clean(const struct log *l, struct slice mark)
{
	char text[CLEAN_BYTES];

	return slice_eq(mark, slice_make(text, put_clean(l, text)));
}

/* ---- files nobody knows ---- */

struct sweep {
	struct log *l;
	struct topic_id topic;
	struct partition *partition; /* NULL: unknown */
	char path[SEGMENT_PATH_BYTES];
};

/* Files of other revisions of a known segment are as little known as any: a rewrite that was not finished, or what it replaced. */
static bool is_known(const struct partition *p, const char *name)
{
	char known[SEGMENT_NAME_BYTES];
	uint64_t base;

	if (strlen(name) <= 20 || !slice_to_u64(slice_make(name, 20), &base))
		return false;
	for (uint32_t i = 0; p && i < p->segment_count; i++) {
		const struct segment *s = p->segments[i];
		if (s->base != (int64_t)base)
			continue;
		for (int kind = SEGMENT_LOG; kind < SEGMENT_FILES; kind++) {
			segment_file_name(s->base, s->revision, (enum segment_file)kind, known);
			if (strcmp(known, name) == 0)
				return true;
		}
	}
	return false;
}

static int sweep_file(void *ctx, const char *name)
{
	struct sweep *s = ctx;
	char path[SEGMENT_PATH_BYTES + 300];

	if (is_known(s->partition, name))
		return 0;
	(void)snprintf(path, sizeof(path), "%s/%s", s->path, name);
	if (s->l->sys->ops->unlink(s->l->sys->self, path))
		s->l->litter = true;
	return 0;
}

static int sweep_partition(void *ctx, const char *name)
{
	struct sweep *s = ctx;
	struct sweep inner = {.l = s->l, .topic = s->topic};
	uint64_t number;

	if (!slice_to_u64(slice_str(name), &number) || number > UINT32_MAX)
		return 0;
	(void)partition_get(s->l, &s->topic, (uint32_t)number, false, &inner.partition);
	(void)snprintf(inner.path, sizeof(inner.path), "%.500s/%.20s", s->path, name);
	return s->l->sys->ops->list(s->l->sys->self, inner.path, sweep_file, &inner);
}

static int sweep_topic(void *ctx, const char *name)
{
	struct log *l = ctx;
	struct sweep s = {.l = l};

	if (!topic_id_parse(slice_str(name), &s.topic))
		return 0;
	(void)snprintf(s.path, sizeof(s.path), "%s/%.40s", l->topics_dir, name);
	return l->sys->ops->list(l->sys->self, s.path, sweep_partition, &s);
}

static int find_file(void *ctx, const char *name)
{
	(void)ctx;
	(void)name;
	return 1;
}

static int find_in_topic(void *ctx, const char *name)
{
	struct sweep *s = ctx;
	char path[SEGMENT_PATH_BYTES];

	(void)snprintf(path, sizeof(path), "%.500s/%.20s", s->path, name);
	return s->l->sys->ops->list(s->l->sys->self, path, find_file, s) > 0;
}

static int find_topic(void *ctx, const char *name)
{
	struct log *l = ctx;
	struct sweep s = {.l = l};

	(void)snprintf(s.path, sizeof(s.path), "%s/%.40s", l->topics_dir, name);
	return l->sys->ops->list(l->sys->self, s.path, find_in_topic, &s) > 0;
}

/* No checkpoint and no journal, but segments: something is gone, and starting empty would remove the rest. */
static int refuse_orphans(struct log *l, struct fault *fault)
{
	if (l->sys->ops->list(l->sys->self, l->topics_dir, find_topic, l) <= 0)
		return 0;
	return fault_set(fault, ERR_CORRUPT,
			 "%s holds records, but there is no whole CHECKPOINT in %s and nothing in its journal",
			 l->topics_dir, l->dir);
}

/* What was in a segment was durable: if the journal has not brought it back, the journal is damaged or gone. */
static int tell_lost(void *ctx, struct partition *p)
{
	struct log *l = ctx;
	char path[SEGMENT_PATH_BYTES];

	for (uint32_t i = 0; i < p->segment_count; i++) {
		struct segment *s = p->segments[i];
		if (s->beyond <= p->end)
			continue;
		segment_path(s, SEGMENT_LOG, path);
		core_say(
			l, LOG_ERROR, "records_lost",
			"offsets %lld to %lld stood in %s, but neither the checkpoint nor the journal has them: part of %s/journal is damaged or missing",
			(long long)p->end, (long long)s->beyond - 1, path, l->dir);
	}
	return 0;
}

struct cutting {
	struct fault *fault;
	int rc;
};

/* A segment that was sealed meanwhile is cut too. */
static int cut_rest(void *ctx, struct partition *p)
{
	struct cutting *c = ctx;

	for (uint32_t i = 0; i < p->segment_count && c->rc == 0; i++)
		c->rc = segment_cut_rest(p->segments[i], c->fault);
	return c->rc;
}

/* Files are shortened, and removed, only when everything has been read. */
static int clear_away(struct log *l, bool clean, struct fault *fault)
{
	struct cutting c = {.fault = fault};
	int rc = partitions_each(l, cut_rest, &c);

	if (rc)
		return fault->err ? fault->err : fault_set(fault, rc, "no memory to recover");
	if (clean)
		return 0;
	/* Only now: files that a broken checkpoint does not know are still somebody's records. */
	if (l->sys->ops->list(l->sys->self, l->topics_dir, sweep_topic, l))
		l->litter = true;
	return 0;
}

/* Before its file is used again: who is killed then has told it. */
static void tell_scan(struct log *l, const struct journal_scan *scan, int64_t began)
{
	if (scan->groups || scan->torn_bytes)
		core_say(
			l, LOG_INFO, "recovered",
			"%llu groups (%llu bytes) behind the checkpoint were read from the journal in %lld ms",
			(unsigned long long)scan->groups, (unsigned long long)scan->bytes,
			(long long)((sys_monotonic_ns(l->sys) - began) / 1000000));
	if (scan->torn_bytes)
		core_say(
			l, LOG_WARN, "torn_tail",
			"the last group (%llu bytes) is not whole: cut off at byte %llu of %s; unless the disk changed it, nobody had an answer",
			(unsigned long long)scan->torn_bytes, (unsigned long long)scan->torn_at,
			scan->torn_file);
}

int recover(struct log *l, struct fault *fault)
{
	struct replay r = {.l = l, .fault = fault};
	struct journal_scan scan;
	int64_t began = sys_monotonic_ns(l->sys);
	uint64_t sequence = 0;
	char text[CLEAN_BYTES];
	struct slice mark;
	bool none;
	int rc = take_clean(l, text, &mark, fault);

	if (rc == 0)
		rc = checkpoint_load(l, &sequence, fault);
	if (rc < 0)
		return rc;
	none = rc == 1;
	scan = (struct journal_scan){.ended = !none && is_clean(l, mark)};
	l->sequence = sequence;
	atomic_store(&l->durable, sequence);
	l->recovering = true;
	rc = journal_scan(l->journal, sequence, replay_group, &r, &scan, fault);
	l->recovering = false;
	if (rc == 0 && none && scan.groups == 0)
		rc = refuse_orphans(l, fault);
	if (rc == 0) {
		tell_scan(l, &scan, began);
		(void)partitions_each(l, tell_lost, l);
		rc = producers_loaded(l, fault);
	}
	if (rc == 0) {
		rc = clear_away(l, scan.ended && scan.groups == 0, fault);
	}
	if (rc == 0) {
		if (!l->checkpoint_alone)
			journal_recycle(l->journal, sequence);
		rc = journal_begin(l->journal, slice_make(r.last, r.last_len), fault);
	}
	mem_free(r.last);
	if (rc)
		return rc;
	l->moved_sequence = l->first_unmoved ? sequence : l->sequence;
	l->truncated_bytes = scan.torn_bytes;
	return 0;
}
