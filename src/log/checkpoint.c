/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A storage checkpoint says: everything up to group S is in segments and in
 * seen, so the journal before it is not needed. Order: let the mover reach S;
 * take note of every partition; sync the segments and directories that changed;
 * seen; write and sync the checkpoint, one copy after the other; only then let go
 * of journal files and of segments that retention took off.
 *
 * Both copies are written each time, and the journal waits for both: so a copy
 * that is not whole is either the one that was being written when the process
 * ended, and then the journal still has what the other lacks, or it has rotted,
 * and then the other says the same. Were they written in turn, a rotten newer
 * copy would take weir back to the older one without a word.
 */
#include "log/checkpoint.h"

#include "log/checkpoint_merge.h"
#include "log/core.h"

#include <errno.h>
#include <stdio.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "base/mem.h"
#include "base/wire.h"

#define CHECKPOINT_BYTES_MAX (1u << 30)
#define CHECKPOINT_HEAD 40u
#define SYNC_EACH_MAX 64u
#define MAGIC_BYTES 8u
#define AT_PRODUCERS 36u
static const uint8_t magic[MAGIC_BYTES] = {'W', 'E', 'I', 'R', 'C', 'K', 'P', '3'};
/* The same without a file of producers: what an older weir reads, too. */
static const uint8_t magic_second[MAGIC_BYTES] = {'W', 'E', 'I', 'R', 'C', 'K', 'P', '2'};
/* Without revisions, and without what compaction knows. */
static const uint8_t magic_first[MAGIC_BYTES] = {'W', 'E', 'I', 'R', 'C', 'K', 'P', '1'};

static bool has_magic(const uint8_t *bytes, const uint8_t *which)
{
	return memcmp(bytes, which, MAGIC_BYTES) == 0;
}

struct writer {
	struct log *l;
	struct buf out;
	struct segment **dirty; /* shared */
	uint32_t dirty_count, dirty_cap;
	uint32_t partitions;
	int64_t now_ms;
	struct producer_note producers;
};

static int keep(struct segment ***list, uint32_t *count, uint32_t *cap, struct segment *s)
{
	if (*count == *cap) {
		uint32_t grown_cap = *cap ? *cap * 2 : 64;
		struct segment **grown = mem_realloc(*list, grown_cap * sizeof(struct segment *));
		if (!grown)
			return ERR_NOMEM;
		*list = grown;
		*cap = grown_cap;
	}
	(*list)[(*count)++] = s;
	return 0;
}

int checkpoint_reserve_expired(struct log *l, uint32_t count)
{
	uint32_t cap = l->expired_count + count + 64;
	struct segment **grown;

	if (l->expired_count + count <= l->expired_cap)
		return 0;
	grown = mem_realloc(l->expired, cap * sizeof(struct segment *));
	if (!grown)
		return ERR_NOMEM;
	l->expired = grown;
	l->expired_cap = cap;
	return 0;
}

static void put_u32(struct buf *b, uint32_t v)
{
	uint8_t bytes[4];

	(void)wire_put_u32(bytes, v);
	(void)buf_append(b, bytes, sizeof(bytes));
}

static void put_u64(struct buf *b, uint64_t v)
{
	uint8_t bytes[8];

	(void)wire_put_u64(bytes, v);
	(void)buf_append(b, bytes, sizeof(bytes));
}

static void put_segment(struct buf *b, struct segment *s)
{
	put_u64(b, (uint64_t)s->base);
	put_u64(b, atomic_load(&s->bytes));
	put_u64(b, (uint64_t)atomic_load(&s->next_offset));
	put_u64(b, (uint64_t)atomic_load(&s->max_timestamp));
	put_u64(b, (uint64_t)atomic_load(&s->last_append_ms));
	put_u32(b, s->revision);
	put_u32(b, s->packed ? CHECKPOINT_PACKED : 0);
}

/* A start removes its files. */
static void leave(struct log *l, struct segment *s)
{
	l->litter = true;
	segment_unref(s);
}

/*
 * The next offset of a partition is that of its last segment, or, where
 * retention took all of them, the log start: what is in the ring and not moved
 * is above both and comes from the journal again.
 */
static int note_partition(void *ctx, struct partition *p)
{
	struct writer *w = ctx;
	struct segment *expired[64];
	uint32_t count, kept = 0;
	int64_t next;
	int rc = 0;

	p->unlisted = atomic_load(&p->dropped);
	if (p->unlisted)
		return 0;
	(void)pthread_mutex_lock(&p->lock);
	count = p == w->l->internal ? 0 : partition_expire(p, w->now_ms, expired, 64);
	next = p->moved < p->ring_count ? p->ring[(p->ring_head + p->moved) & (p->ring_cap - 1)].base :
					  p->end;
	for (uint32_t i = 0; i < p->segment_count; i++)
		kept += atomic_load(&p->segments[i]->bytes) > 0;
	producer_note_add(&w->producers, p);
	(void)buf_append(&w->out, p->topic.bytes, sizeof(p->topic.bytes));
	put_u32(&w->out, p->number);
	put_u64(&w->out, (uint64_t)(p->start < next ? p->start : next));
	put_u64(&w->out, (uint64_t)next);
	put_u64(&w->out, (uint64_t)p->clean);
	put_u64(&w->out, (uint64_t)p->tombstone_ms);
	put_u32(&w->out, kept);
	for (uint32_t i = 0; i < p->segment_count && rc == 0; i++) {
		struct segment *s = p->segments[i];
		if (atomic_load(&s->bytes) == 0)
			continue;
		put_segment(&w->out, s);
		if (!s->dirty)
			continue;
		rc = keep(&w->dirty, &w->dirty_count, &w->dirty_cap, s);
		if (rc == 0) {
			(void)segment_ref(s);
			s->dirty = false;
		}
	}
	(void)pthread_mutex_unlock(&p->lock);
	for (uint32_t i = 0; i < count; i++) {
		if (keep(&w->l->expired, &w->l->expired_count, &w->l->expired_cap, expired[i]))
			leave(w->l, expired[i]);
	}
	w->partitions++;
	return rc ? rc : buf_status(&w->out);
}

static int sync_directories(struct segment *s)
{
	int rc = segment_sync_directories(s);

	if (rc == 0)
		s->created = false;
	return rc;
}

/* Many dirty files: one syncfs takes them all, directories too. */
static int sync_segments(struct writer *w)
{
	const struct sys *sys = w->l->sys;
	int rc = 0;

	if (w->dirty_count > SYNC_EACH_MAX)
		return sys->ops->sync_fs(sys->self, w->l->lock_fd);
	for (uint32_t i = 0; i < w->dirty_count && rc == 0; i++) {
		rc = segment_sync(w->dirty[i]);
		if (rc == 0 && w->dirty[i]->created)
			rc = sync_directories(w->dirty[i]);
	}
	return rc;
}

int checkpoint_write_copy(const struct sys *sys, const char *dir, char which, struct slice checkpoint)
{
	char path[512];
	struct iovec iov = {.iov_base = (void *)(uintptr_t)checkpoint.ptr, .iov_len = checkpoint.len};
	int fd, rc;

	(void)snprintf(path, sizeof(path), "%s/CHECKPOINT.%c", dir, which);
	fd = sys->ops->open(sys->self, path, SYS_CREATE);
	if (fd < 0)
		return fd;
	rc = sys->ops->pwritev(sys->self, fd, &iov, 1, 0);
	if (rc == 0)
		rc = sys->ops->truncate(sys->self, fd, checkpoint.len);
	if (rc == 0)
		rc = sys->ops->fsync(sys->self, fd);
	sys->ops->close(sys->self, fd);
	/* Each time: an old name costs nothing, and who made it may have failed or been killed. */
	if (rc == 0)
		rc = sys->ops->sync_dir(sys->self, dir);
	return rc;
}

static int write_copy(struct log *l, char which, const struct buf *b)
{
	return checkpoint_write_copy(l->sys, l->dir, which, buf_slice(b));
}

/*
 * Lengths were changed, so what is known of producers may be of fewer batches: that is read from the
 * segments anew. (The first version has no field for it, and no producers.)
 */
void checkpoint_seal_again(struct buf *checkpoint)
{
	if (!has_magic(checkpoint->ptr, magic_first)) {
		(void)wire_put_bytes(checkpoint->ptr, slice_make(magic, MAGIC_BYTES));
		(void)wire_put_u32(checkpoint->ptr + AT_PRODUCERS, CHECKPOINT_PRODUCERS_UNKNOWN);
	}
	(void)wire_put_u64(checkpoint->ptr + 16, wire_load_u64(checkpoint->ptr + 16) + 1);
	(void)wire_put_u32(checkpoint->ptr + 8, crc32c(0, checkpoint->ptr + 12, checkpoint->len - 12));
}

/* The older one first; one that fails is the first of the next time. */
static int write_copies(struct log *l, const struct buf *b)
{
	int rc = 0;

	for (int i = 0; i < 2 && rc == 0; i++) {
		rc = write_copy(l, l->checkpoint_older, b);
		if (rc == 0)
			l->checkpoint_older = l->checkpoint_older == 'a' ? 'b' : 'a';
	}
	return rc;
}

static void seal_head(struct writer *w, uint64_t sequence)
{
	uint8_t *at = w->out.ptr;

	at = wire_put_bytes(at, slice_make(w->producers.number ? magic : magic_second, MAGIC_BYTES));
	at = wire_put_u32(at, 0);
	at = wire_put_u32(at, (uint32_t)w->out.len);
	at = wire_put_u64(at, w->l->checkpoint_number);
	at = wire_put_u64(at, sequence);
	at = wire_put_u32(at, w->partitions);
	at = wire_put_u32(at, w->producers.number);
	CHECK(at == w->out.ptr + CHECKPOINT_HEAD);
	(void)wire_put_u32(w->out.ptr + 8, crc32c(0, w->out.ptr + 12, w->out.len - 12));
}

static void unlink_expired(struct log *l)
{
	for (uint32_t i = 0; i < l->expired_count; i++) {
		l->litter |= !segment_unlink(l->expired[i]);
		segment_unref(l->expired[i]);
	}
	l->expired_count = 0;
	l->replaced_bytes = 0;
}

/* After a failure what retention took off waits for the next time: the checkpoint on disk still names it. */
static void finish(struct writer *w, int rc)
{
	for (uint32_t i = 0; i < w->dirty_count; i++) {
		if (rc)
			w->dirty[i]->dirty = true;
		segment_unref(w->dirty[i]);
	}
	mem_free(w->dirty);
	producer_note_end(w->l, &w->producers, rc == 0);
	if (rc == 0 && !atomic_load(&w->l->held))
		unlink_expired(w->l);
	buf_fini(&w->out);
}

/* Nothing comes after that: its topic was closed before it was dropped. What has not been moved yet comes next time. */
static bool is_empty(struct partition *p)
{
	bool empty;

	(void)pthread_mutex_lock(&p->lock);
	empty = p->segment_count == 0 && p->moved == p->ring_count && p->producers.count == 0;
	(void)pthread_mutex_unlock(&p->lock);
	return empty;
}

/* Files of a deleted topic go once a checkpoint that does not name them is on disk. */
static int drop_if_dead(void *ctx, struct partition *p)
{
	const struct sys *sys = ctx;
	char path[SEGMENT_PATH_BYTES], id[37];
	struct segment *s;

	if (!p->unlisted || !atomic_load(&p->dropped))
		return 0;
	p->unlisted = false;
	rewrites_forget(p->log, p);
	producers_drop(p);
	for (;;) {
		(void)pthread_mutex_lock(&p->lock);
		s = p->moved == p->ring_count && p->segment_count ? p->segments[--p->segment_count] : NULL;
		(void)pthread_mutex_unlock(&p->lock);
		if (!s)
			break;
		p->log->litter |= !segment_unlink(s);
		segment_unref(s);
	}
	topic_id_text(&p->topic, id);
	(void)snprintf(path, sizeof(path), "%s/%s/%u", p->log->topics_dir, id, p->number);
	(void)sys->ops->rmdir(sys->self, path);
	(void)snprintf(path, sizeof(path), "%s/%s", p->log->topics_dir, id);
	(void)sys->ops->rmdir(sys->self, path);
	if (is_empty(p))
		partition_bury(p);
	return 0;
}

static int say_failure(struct log *l, struct fault *fault, int rc)
{
	core_say(l, LOG_ERROR, "checkpoint_failed", "%s", fault->text);
	return rc;
}

int checkpoint_write(struct log *l, struct fault *fault)
{
	struct writer w = {.l = l, .now_ms = log_now_ms(l)};
	uint64_t sequence = atomic_load(&l->durable);
	int64_t before = sys_monotonic_ns(l->sys);
	static const uint8_t head[CHECKPOINT_HEAD];
	int rc = mover_reach(l, sequence);

	if (rc)
		return say_failure(l, fault,
				   fault_set(fault, rc, "segments cannot be written; the journal is kept"));
	buf_init(&w.out, CHECKPOINT_BYTES_MAX);
	(void)buf_append(&w.out, head, sizeof(head));
	producer_note_begin(l, &w.producers);
	rc = partitions_each(l, note_partition, &w);
	if (rc) {
		finish(&w, rc);
		return say_failure(l, fault, fault_set(fault, rc, "no memory for a storage checkpoint"));
	}
	rc = sync_segments(&w);
	if (rc)
		core_fatal(l, "cannot sync segments: %s; restart weir to recover", sys_error_text(rc));
	rc = seen_checkpoint(l->seen, sequence, fault);
	if (rc) {
		finish(&w, rc);
		return say_failure(l, fault, rc);
	}
	rc = producer_note_write(l, &w.producers);
	if (rc) {
		finish(&w, rc);
		return say_failure(l, fault,
				   fault_set(fault, ERR_IO, "cannot write what is known of producers: %s",
					     sys_error_text(rc)));
	}
	l->checkpoint_number++;
	seal_head(&w, sequence);
	rc = write_copies(l, &w.out);
	if (rc) {
		finish(&w, rc);
		return say_failure(l, fault,
				   fault_set(fault, ERR_IO, "cannot write a checkpoint: %s",
					     sys_error_text(rc)));
	}
	l->checkpoint_sequence = sequence;
	journal_recycle(l->journal, sequence);
	finish(&w, 0);
	if (!atomic_load(&l->held))
		(void)partitions_each(l, drop_if_dead, (void *)(uintptr_t)l->sys);
	atomic_fetch_add(&l->counts.checkpoints, 1);
	l->checkpoint_ended_ns = sys_monotonic_ns(l->sys);
	atomic_store(&l->counts.checkpoint_ns, (uint64_t)(l->checkpoint_ended_ns - before));
	return 0;
}

/* ---- reading ---- */

static int read_failed(struct fault *fault, const char *path, int rc)
{
	return fault_set(fault, ERR_IO, "cannot read %s: %s", path, sys_error_text(rc));
}

/* No checksum covers the magic, and its versions are a bit apart; but only the newest one names a file of producers. */
static bool has_fitting_magic(const uint8_t *bytes)
{
	if (wire_load_u32(bytes + AT_PRODUCERS))
		return has_magic(bytes, magic);
	return has_magic(bytes, magic_second) || has_magic(bytes, magic_first);
}

bool checkpoint_is_whole(struct slice bytes)
{
	if (bytes.len < CHECKPOINT_HEAD || !has_fitting_magic(bytes.ptr))
		return false;
	return wire_load_u32(bytes.ptr + 12) == bytes.len &&
	       crc32c(0, bytes.ptr + 12, bytes.len - 12) == wire_load_u32(bytes.ptr + 8);
}

/* 0 and what stands there, 1 cannot be one, 2 not there, ERR_*. */
static int read_bytes(const struct sys *sys, const char *dir, char which, struct buf *out,
		      struct fault *fault)
{
	char path[512];
	struct sys_stat st;
	int64_t got = 0;
	int fd, rc;

	(void)snprintf(path, sizeof(path), "%s/CHECKPOINT.%c", dir, which);
	rc = sys->ops->stat(sys->self, path, &st);
	if (rc)
		return rc == -ENOENT ? 2 : read_failed(fault, path, rc);
	if (st.bytes < CHECKPOINT_HEAD || st.bytes > CHECKPOINT_BYTES_MAX)
		return 1;
	fd = sys->ops->open(sys->self, path, SYS_READ);
	if (fd < 0)
		return read_failed(fault, path, fd);
	if (buf_reserve(out, st.bytes) == 0)
		got = sys->ops->pread(sys->self, fd, out->ptr, st.bytes, 0);
	sys->ops->close(sys->self, fd);
	if (buf_status(out))
		return fault_set(fault, ERR_NOMEM, "no memory to read %s", path);
	if (got < (int64_t)CHECKPOINT_HEAD)
		return got < 0 ? read_failed(fault, path, (int)got) : 1;
	out->len = (size_t)got;
	return 0;
}

/* 0 whole, 1 broken, 2 not there, ERR_*. */
static int read_copy(const struct sys *sys, const char *dir, char which, struct buf *out, uint64_t *number,
		     struct fault *fault)
{
	int rc = read_bytes(sys, dir, which, out, fault);

	if (rc)
		return rc;
	if (!checkpoint_is_whole(buf_slice(out)))
		return 1;
	*number = wire_load_u64(out->ptr + 16);
	return 0;
}

int checkpoint_read_merged(const struct sys *sys, const char *dir, struct buf *out, struct fault *fault)
{
	struct buf a, b;
	int rc;

	buf_init(out, 1);
	buf_init(&a, CHECKPOINT_BYTES_MAX);
	buf_init(&b, CHECKPOINT_BYTES_MAX);
	rc = read_bytes(sys, dir, 'a', &a, fault);
	if (rc == 0)
		rc = read_bytes(sys, dir, 'b', &b, fault);
	if (rc == 0) {
		rc = checkpoint_merge(buf_slice(&a), buf_slice(&b), out);
		if (rc < 0)
			(void)fault_set(fault, rc, "no memory to put the copies of the checkpoint together");
	}
	buf_fini(&a);
	buf_fini(&b);
	return rc < 0 ? rc : rc > 0;
}

int checkpoint_read(const struct sys *sys, const char *dir, struct buf *out, struct checkpoint_found *found,
		    struct fault *fault)
{
	uint64_t number_a = 0, number_b = 0;
	struct buf other;
	int rc_a, rc_b;

	buf_init(out, CHECKPOINT_BYTES_MAX);
	buf_init(&other, CHECKPOINT_BYTES_MAX);
	rc_a = read_copy(sys, dir, 'a', out, &number_a, fault);
	rc_b = read_copy(sys, dir, 'b', &other, &number_b, fault);
	if (number_b > number_a) {
		struct buf swap = *out;
		*out = other;
		other = swap;
	}
	buf_fini(&other);
	if (rc_a < 0 || rc_b < 0)
		return rc_a < 0 ? rc_a : rc_b;
	found->older = rc_b || (rc_a == 0 && number_b < number_a) ? 'b' : 'a';
	found->broken = 0;
	if (rc_a == 1 || rc_b == 1)
		found->broken = rc_a == 1 ? 'a' : 'b';
	if (rc_a == 0 || rc_b == 0)
		return 0;
	/* The first one of all is written to b, before there is an a. */
	if (rc_a != 2)
		return fault_set(fault, ERR_CORRUPT, "%s/CHECKPOINT.a and .b: neither is a whole checkpoint",
				 dir);
	return 1;
}

uint32_t checkpoint_producers(struct slice checkpoint)
{
	return has_magic(checkpoint.ptr, magic) ? wire_load_u32(checkpoint.ptr + AT_PRODUCERS) : 0;
}

static int walk_partition(struct wire_reader *r, bool first_version, const struct checkpoint_sink *sink)
{
	struct checkpoint_partition p = {.tombstone_ms = INT64_MAX};
	struct slice id = wire_bytes(r, sizeof(p.topic.bytes));
	int rc;

	if (!id.ptr)
		return ERR_CORRUPT;
	memcpy(p.topic.bytes, id.ptr, id.len);
	p.number = wire_u32(r);
	p.start = (int64_t)wire_u64(r);
	p.behind = wire_left(r);
	p.next_offset = (int64_t)wire_u64(r);
	if (!first_version) {
		p.clean = (int64_t)wire_u64(r);
		p.tombstone_ms = (int64_t)wire_u64(r);
	}
	p.segments = wire_u32(r);
	rc = r->bad ? ERR_CORRUPT : sink->partition(sink->ctx, &p);
	for (uint32_t i = 0; i < p.segments && rc == 0; i++) {
		struct checkpoint_segment s = {.last = i + 1 == p.segments};
		s.base = (int64_t)wire_u64(r);
		s.behind = wire_left(r);
		s.bytes = wire_u64(r);
		s.next_offset = (int64_t)wire_u64(r);
		s.max_timestamp = (int64_t)wire_u64(r);
		s.last_append_ms = (int64_t)wire_u64(r);
		if (!first_version) {
			s.revision = wire_u32(r);
			s.flags = wire_u32(r);
		}
		rc = r->bad ? ERR_CORRUPT : sink->segment(sink->ctx, &s);
	}
	return rc;
}

int checkpoint_walk(struct slice checkpoint, uint64_t *number, uint64_t *sequence,
		    const struct checkpoint_sink *sink)
{
	struct wire_reader r = wire_reader_make(slice_from(checkpoint, 16));
	bool first_version = has_magic(checkpoint.ptr, magic_first);
	uint32_t partitions;
	int rc = 0;

	*number = wire_u64(&r);
	*sequence = wire_u64(&r);
	partitions = wire_u32(&r);
	(void)wire_u32(&r);
	for (uint32_t i = 0; i < partitions && rc == 0; i++)
		rc = walk_partition(&r, first_version, sink);
	return rc;
}

/* ---- loading ---- */

struct loader {
	struct log *l;
	struct partition *p;
	struct fault *fault;
};

/* Nothing behind it would notice: such a partition gives offsets that stand before its start. */
static int check_range(const struct loader *load, const struct checkpoint_partition *from)
{
	char id[37];

	if (from->start >= 0 && from->start <= from->next_offset)
		return 0;
	topic_id_text(&from->topic, id);
	return fault_set(
		load->fault, ERR_CORRUPT,
		"the checkpoint in %s is damaged: the log start of partition %u of %s is %lld, its next offset %lld",
		load->l->dir, from->number, id, (long long)from->start, (long long)from->next_offset);
}

static int load_partition(void *ctx, const struct checkpoint_partition *from)
{
	struct loader *load = ctx;
	int rc = check_range(load, from);

	if (rc)
		return rc;

	if (partition_get(load->l, &from->topic, from->number, true, &load->p))
		return fault_set(load->fault, ERR_NOMEM, "no memory for a partition");
	load->p->start = from->start;
	load->p->end = load->p->next_offset = from->next_offset;
	load->p->clean = from->clean;
	load->p->tombstone_ms = from->tombstone_ms;
	return 0;
}

static int keep_segment(struct partition *p, struct segment *s)
{
	if (p->segment_count == p->segment_cap) {
		uint32_t cap = p->segment_cap ? p->segment_cap * 2 : 2;
		struct segment **grown = mem_realloc(p->segments, cap * sizeof(struct segment *));
		if (!grown)
			return ERR_NOMEM;
		p->segments = grown;
		p->segment_cap = cap;
	}
	p->segments[p->segment_count++] = s;
	return 0;
}

static int load_segment(void *ctx, const struct checkpoint_segment *from)
{
	struct loader *load = ctx;
	struct log *l = load->l;
	struct partition *p = load->p;
	struct segment_place place = {.sys = l->sys,
				      .files = l->files,
				      .topics_dir = l->topics_dir,
				      .topic = p->topic,
				      .number = p->number,
				      .index_interval = l->options.index_interval_bytes,
				      .gauge = l->options.read_gauge};
	struct segment *s;

	if (segment_new(&place, from->base, &s))
		return fault_set(load->fault, ERR_NOMEM, "no memory for a segment");
	if (keep_segment(p, s)) {
		segment_unref(s);
		return fault_set(load->fault, ERR_NOMEM, "no memory for a segment");
	}
	s->revision = from->revision;
	s->packed = from->flags & CHECKPOINT_PACKED;
	atomic_store(&s->next_offset, from->next_offset);
	atomic_store(&s->max_timestamp, from->max_timestamp);
	atomic_store(&s->last_append_ms, from->last_append_ms);
	p->last_time_ms = from->last_append_ms;
	if (from->last)
		return segment_cut(s, from->bytes, load->fault);
	atomic_store(&s->bytes, from->bytes);
	s->index.whole = false;
	s->created = true;
	return 0;
}

/*
 * After a kill the newer copy may be in the page cache alone, and what recovery
 * does next (journal files are used again) leans on it. It is written again, not
 * only synced: a sync that failed has left pages that no other sync would write.
 * Then the other copy, which may be older: until this one is durable it is the one
 * to fall back on, and afterwards both must say the same, or damage of the newer
 * would go back to what the journal has let go of. Where that fails (a full disk)
 * the journal lets go of nothing.
 */
static int make_sure(struct log *l, const struct buf *b, struct fault *fault)
{
	char newer = l->checkpoint_older == 'a' ? 'b' : 'a';
	int rc = write_copy(l, newer, b);

	if (rc)
		return fault_set(fault, ERR_IO, "cannot write %s/CHECKPOINT.%c again: %s", l->dir, newer,
				 sys_error_text(rc));
	rc = write_copy(l, l->checkpoint_older, b);
	l->checkpoint_alone = rc != 0;
	if (rc)
		core_say(l, LOG_WARN, "checkpoint_failed", "cannot write %s/CHECKPOINT.%c: %s", l->dir,
			 l->checkpoint_older, sys_error_text(rc));
	return 0;
}

int checkpoint_load(struct log *l, uint64_t *sequence, struct fault *fault)
{
	struct loader load = {.l = l, .fault = fault};
	struct checkpoint_sink sink = {.partition = load_partition, .segment = load_segment, .ctx = &load};
	struct checkpoint_found found = {.older = 'b'};
	struct buf newest;
	int rc = checkpoint_read(l->sys, l->dir, &newest, &found, fault);

	l->checkpoint_older = found.older;
	if (rc >= 0 && found.broken)
		core_say(l, LOG_WARN, "checkpoint_broken",
			 "%s/CHECKPOINT.%c is not whole (a write that was cut short, or damage): %s", l->dir,
			 found.broken, rc ? "the journal must have everything" : "the other copy is used");
	if (rc == 0) {
		rc = checkpoint_walk(buf_slice(&newest), &l->checkpoint_number, sequence, &sink);
		l->checkpoint_sequence = *sequence;
		if (rc && !fault->err)
			rc = fault_set(fault, ERR_CORRUPT, "the checkpoint in %s cannot be read", l->dir);
		if (rc == 0)
			rc = producers_load(l, checkpoint_producers(buf_slice(&newest)), fault);
		if (rc == 0)
			rc = make_sure(l, &newest, fault);
	}
	buf_fini(&newest);
	return rc;
}
