/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a backup takes: the files that the checkpoint on disk names, and the groups of the journal behind it.
 * Only this must be done while nothing may change.
 */
#include "log/backup_inner.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "log/checkpoint.h"
#include "log/frame.h"
#include "log/journal.h"
#include "log/producer_file.h"
#include "log/segment.h"

static int add_file(struct backup *b, const char *path, uint64_t bytes, enum backup_how how)
{
	if (b->file_count == b->file_cap) {
		uint32_t cap = b->file_cap ? b->file_cap * 2 : 64;
		struct backup_file *grown = mem_realloc(b->files, cap * sizeof(*grown));
		if (!grown)
			return fault_set(b->fault, ERR_NOMEM, "no memory for a backup");
		b->files = grown;
		b->file_cap = cap;
	}
	b->files[b->file_count] = (struct backup_file){.bytes = bytes, .how = how};
	b->files[b->file_count].path = mem_strndup(path, strlen(path));
	if (!b->files[b->file_count].path)
		return fault_set(b->fault, ERR_NOMEM, "no memory for a backup");
	b->file_count++;
	b->total += bytes;
	return 0;
}

/* How long a file of the data directory is; negative where it is not there. */
static int64_t size_of(struct backup *b, const char *path)
{
	char full[BACKUP_PATH_BYTES];
	struct sys_stat st;
	int rc;

	(void)snprintf(full, sizeof(full), "%.600s/%.300s", b->options.data, path);
	rc = b->options.sys->ops->stat(b->options.sys->self, full, &st);
	return rc ? rc : (int64_t)st.bytes;
}

static int add_if_there(struct backup *b, const char *path)
{
	int64_t bytes = size_of(b, path);

	return bytes < 0 ? 0 : add_file(b, path, (uint64_t)bytes, BACKUP_COPY);
}

struct planner {
	struct backup *b;
	struct checkpoint_partition partition;
	char bucket[300];
};

static int plan_partition(void *ctx, const struct checkpoint_partition *p)
{
	struct planner *plan = ctx;

	plan->partition = *p;
	return 0;
}

static int plan_segment(void *ctx, const struct checkpoint_segment *s)
{
	struct planner *plan = ctx;
	struct backup *b = plan->b;
	char path[200], id[37], name[SEGMENT_NAME_BYTES];
	int64_t bytes;
	int rc;

	topic_id_text(&plan->partition.topic, id);
	segment_file_name(s->base, s->revision, SEGMENT_LOG, name);
	(void)snprintf(path, sizeof(path), "topics/%s/%u/%s", id, plan->partition.number, name);
	bytes = size_of(b, path);
	if (bytes < (int64_t)s->bytes)
		return fault_set(b->fault, ERR_CORRUPT,
				 "%s/%s has %lld bytes, the checkpoint says %llu: `weir verify` tells more",
				 b->options.data, path, (long long)(bytes < 0 ? 0 : bytes),
				 (unsigned long long)s->bytes);
	rc = add_file(b, path, s->bytes, s->last || bytes != (int64_t)s->bytes ? BACKUP_COPY : BACKUP_LINK);
	for (int i = 0; i < 2 && rc == 0 && !s->last; i++) {
		segment_file_name(s->base, s->revision, i ? SEGMENT_TIMEINDEX : SEGMENT_INDEX, name);
		(void)snprintf(path, sizeof(path), "topics/%s/%u/%s", id, plan->partition.number, name);
		rc = add_if_there(b, path);
	}
	return rc;
}

static bool ends_with(const char *name, const char *end)
{
	size_t n = strlen(name), m = strlen(end);

	return n > m && strcmp(name + n - m, end) == 0;
}

static int plan_run(void *ctx, const char *name)
{
	struct planner *plan = ctx;
	char path[BACKUP_PATH_BYTES];

	if (!ends_with(name, ".run"))
		return 0;
	(void)snprintf(path, sizeof(path), "seen/%.200s/%.200s", plan->bucket, name);
	return add_if_there(plan->b, path);
}

static int plan_bucket(void *ctx, const char *name)
{
	struct planner *plan = ctx;
	struct planner inner = {.b = plan->b};
	char full[BACKUP_PATH_BYTES];
	int64_t end_ms;
	int rc;

	if (!slice_to_i64(slice_str(name), &end_ms))
		return 0;
	(void)snprintf(inner.bucket, sizeof(inner.bucket), "%.200s", name);
	(void)snprintf(full, sizeof(full), "%.600s/seen/%.200s", plan->b->options.data, name);
	rc = plan->b->options.sys->ops->list(plan->b->options.sys->self, full, plan_run, &inner);
	return rc == -ENOTDIR ? 0 : rc;
}

static int plan_seen(struct backup *b)
{
	struct planner plan = {.b = b};
	char full[BACKUP_PATH_BYTES];
	int rc = add_if_there(b, "FORMAT"); /* the journal's key is in it */

	(void)snprintf(full, sizeof(full), "%.600s/seen", b->options.data);
	if (rc == 0)
		rc = add_if_there(b, "seen/secret");
	if (rc == 0)
		rc = b->options.sys->ops->list(b->options.sys->self, full, plan_bucket, &plan);
	if (rc && !b->fault->err)
		return backup_io_fault(b, "read", full, rc);
	return rc;
}

/* Where it is gone a start makes it anew from the segments. */
static int plan_producers(struct backup *b, uint32_t number)
{
	char name[PRODUCER_FILE_NAME_BYTES];

	producer_file_name(number, name);
	return number && number != CHECKPOINT_PRODUCERS_UNKNOWN ? add_if_there(b, name) : 0;
}

static int plan_segments(struct backup *b, uint64_t *sequence)
{
	struct planner plan = {.b = b};
	struct checkpoint_sink sink = {.partition = plan_partition, .segment = plan_segment, .ctx = &plan};
	struct checkpoint_found found = {0};
	uint64_t number;
	int rc;

	buf_fini(&b->checkpoint);
	rc = checkpoint_read(b->options.sys, b->options.data, &b->checkpoint, &found, b->fault);
	*sequence = 0;
	if (rc == 1) {
		buf_clear(&b->checkpoint);
		return 0; /* there is none yet: the journal has everything */
	}
	if (rc == 0)
		rc = checkpoint_walk(buf_slice(&b->checkpoint), &number, sequence, &sink);
	if (rc == 0)
		rc = plan_producers(b, checkpoint_producers(buf_slice(&b->checkpoint)));
	if (rc && !b->fault->err)
		return fault_set(b->fault, ERR_CORRUPT, "the checkpoint in %s cannot be read",
				 b->options.data);
	return rc;
}

/* ---- the journal ---- */

struct generations {
	uint64_t list[4096];
	uint32_t count;
};

static int add_generation(void *ctx, const char *name)
{
	struct generations *g = ctx;
	uint64_t generation = journal_generation_of(name);

	if (generation && g->count < 4096)
		g->list[g->count++] = generation;
	return 0;
}

static int by_number(const void *x, const void *y)
{
	const uint64_t *a = x, *b = y;

	return *a < *b ? -1 : *a > *b;
}

struct groups {
	struct backup *b;
	struct buf file; /* of the one that is read: its groups up to the last wanted */
	struct buf frame;
	uint64_t expect, until;
	bool wanted; /* the file holds one */
};

/* The group at `at`, whole and of this generation, into g->frame: 0, 1 none, ERR_*. */
static int read_group(struct groups *g, int fd, const char *path, uint64_t generation, uint64_t at,
		      struct frame_head *head)
{
	const struct sys *sys = g->b->options.sys;
	int64_t got;

	buf_clear(&g->frame);
	if (buf_reserve(&g->frame, FRAME_ALIGN))
		return fault_set(g->b->fault, ERR_NOMEM, "no memory for a group");
	got = sys->ops->pread(sys->self, fd, g->frame.ptr, FRAME_ALIGN, at);
	if (got < 0)
		return backup_io_fault(g->b, "read", path, (int)got);
	if (frame_head_read(slice_make(g->frame.ptr, (size_t)got), head) || head->generation != generation)
		return 1;
	if (buf_reserve(&g->frame, head->bytes))
		return fault_set(g->b->fault, ERR_NOMEM, "no memory for a group");
	got = sys->ops->pread(sys->self, fd, g->frame.ptr, head->bytes, at);
	if (got < 0)
		return backup_io_fault(g->b, "read", path, (int)got);
	g->frame.len = (size_t)got;
	return frame_check(buf_slice(&g->frame), head) ? 1 : 0;
}

/* All its groups up to the last that is wanted; the file is made only where there is one. */
static int take_groups(struct groups *g, uint64_t generation)
{
	const struct sys *sys = g->b->options.sys;
	static const uint8_t zeros[FRAME_ALIGN];
	char path[BACKUP_PATH_BYTES], name[40];
	struct frame_head head;
	uint64_t at = 0;
	int fd, rc;

	(void)snprintf(name, sizeof(name), "journal/%016llx.wal", (unsigned long long)generation);
	(void)snprintf(path, sizeof(path), "%.600s/%s", g->b->options.data, name);
	fd = sys->ops->open(sys->self, path, SYS_READ);
	if (fd == -ENOENT)
		return 0; /* it has another name now: none of its groups was wanted, or one will be missed */
	if (fd < 0)
		return backup_io_fault(g->b, "open", path, fd);
	buf_clear(&g->file);
	g->wanted = false;
	while ((rc = read_group(g, fd, path, generation, at, &head)) == 0 && head.sequence <= g->until &&
	       head.sequence <= g->expect) {
		size_t padding = (size_t)(FRAME_ALIGN - head.bytes % FRAME_ALIGN) % FRAME_ALIGN;
		if (head.sequence == g->expect) {
			g->expect++;
			g->wanted = true;
		}
		(void)buf_append_slice(&g->file, buf_slice(&g->frame));
		if (buf_append(&g->file, zeros, padding))
			rc = fault_set(g->b->fault, ERR_NOMEM, "no memory for a backup of the journal");
		at += head.bytes + padding;
		if (rc)
			break;
	}
	sys->ops->close(sys->self, fd);
	if (rc < 0)
		return rc;
	return g->wanted ? backup_put_file(g->b, name, buf_slice(&g->file)) : 0;
}

static int take_journal(struct backup *b, uint64_t after, uint64_t until)
{
	struct generations *g = mem_zalloc(1, sizeof(*g));
	struct groups groups = {.b = b, .expect = after + 1, .until = until};
	char full[BACKUP_PATH_BYTES];
	int rc;

	if (!g)
		return fault_set(b->fault, ERR_NOMEM, "no memory for a backup");
	buf_init(&groups.file, 1u << 31);
	buf_init(&groups.frame, FRAME_BYTES_MAX + FRAME_ALIGN);
	(void)snprintf(full, sizeof(full), "%.600s/journal", b->options.data);
	rc = b->options.sys->ops->list(b->options.sys->self, full, add_generation, g);
	if (rc)
		rc = backup_io_fault(b, "read", full, rc);
	if (g->count > 1)
		qsort(g->list, g->count, sizeof(*g->list), by_number);
	for (uint32_t i = 0; i < g->count && rc == 0; i++)
		rc = take_groups(&groups, g->list[i]);
	if (rc == 0 && until != UINT64_MAX && groups.expect <= until)
		rc = fault_set(b->fault, ERR_CORRUPT, "%s: group %llu is not there, though it is durable",
			       full, (unsigned long long)groups.expect);
	b->result.sequence = groups.expect - 1;
	buf_fini(&groups.file);
	buf_fini(&groups.frame);
	mem_free(g);
	return rc;
}

int backup_plan(struct backup *b, uint64_t until)
{
	uint64_t sequence;
	int rc = plan_segments(b, &sequence);

	(void)buf_append_str(&b->manifest, BACKUP_MANIFEST_HEAD);
	if (rc == 0)
		rc = take_journal(b, sequence, until);
	if (rc == 0)
		rc = plan_seen(b);
	return rc;
}
