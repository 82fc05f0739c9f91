/* SPDX-License-Identifier: Apache-2.0 */
/* Opening, starting, stopping, and what is counted. */
#include "log/core.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "base/blob_pool.h"
#include "base/check.h"
#include "base/mem.h"
#include "log/format.h"

#define CLOCK_HOLD_MS 86400000

void core_say(struct log *l, int level, const char *event, const char *format, ...)
{
	char text[512];
	va_list args;

	if (!l->options.say)
		return;
	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	l->options.say(l->options.say_ctx, level, event, text);
}

void core_fatal(struct log *l, const char *format, ...)
{
	char text[512];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (l->options.say)
		l->options.say(l->options.say_ctx, LOG_ERROR, "fatal", text);
	if (l->options.on_fatal)
		l->options.on_fatal(l->options.say_ctx, text);
	(void)fprintf(stderr, "weir: fatal: %s\n", text);
	_exit(1);
}

void core_wait(pthread_cond_t *cond, pthread_mutex_t *lock, int64_t ms)
{
	struct timespec until;

	(void)clock_gettime(CLOCK_MONOTONIC, &until); /* banned-ok: a thread sleeps, no step does */
	until.tv_sec += ms / 1000;
	until.tv_nsec += (long)(ms % 1000) * 1000000;
	until.tv_sec += until.tv_nsec / 1000000000;
	until.tv_nsec %= 1000000000;
	(void)pthread_cond_clockwait(cond, lock, CLOCK_MONOTONIC, &until);
}

/* ---- opening ---- */

static uint64_t or_default(uint64_t value, uint64_t otherwise)
{
	return value ? value : otherwise;
}

static uint32_t files_allowed(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return 32;
	if (limit.rlim_cur < 256)
		return limit.rlim_cur < 32 ? 8 : (uint32_t)limit.rlim_cur / 4;
	return limit.rlim_cur > 32768 ? 8192 : (uint32_t)limit.rlim_cur / 4;
}

/* Aborted transactions that are remembered, 32 bytes each: past it none begins. */
#define ABORTED_MAX (1u << 20)

static void fill_options(struct log *l, const struct log_options *given)
{
	struct log_options *o = &l->options;
	uint64_t free_bytes = 0, total = UINT64_MAX, file_bytes = 64u << 20;

	*o = *given;
	(void)o->sys->ops->space(o->sys->self, l->dir, &free_bytes, &total);
	while (file_bytes > (4u << 20) && file_bytes > total / 64)
		file_bytes /= 2;
	o->journal_file_bytes = or_default(o->journal_file_bytes, file_bytes);
	o->journal_bytes_max = or_default(o->journal_bytes_max, o->journal_file_bytes * 8);
	o->group_bytes_max = or_default(o->group_bytes_max, 8u << 20);
	o->producers_max = (uint32_t)or_default(o->producers_max, 512u << 10);
	l->producers.producers_max = o->producers_max;
	l->producers.aborted_max = ABORTED_MAX;
	if (o->group_bytes_max > o->journal_file_bytes / 2)
		o->group_bytes_max = o->journal_file_bytes / 2;
	o->entered_bytes_max = or_default(o->entered_bytes_max, 64u << 20);
	o->pinned_bytes_max = or_default(o->pinned_bytes_max, 128u << 20);
	atomic_store(&l->lag_bytes, mover_lag_bytes(l));
	o->tail_bytes_max = or_default(o->tail_bytes_max, 16u << 20);
	o->segment_bytes = or_default(o->segment_bytes, 256u << 20);
	o->direct_bytes_min = (uint32_t)or_default(o->direct_bytes_min, 64u << 10);
	o->index_interval_bytes = o->index_interval_bytes ? o->index_interval_bytes : 4096;
	o->files_max = o->files_max ? o->files_max : files_allowed();
	o->readers = o->readers ? o->readers : 2;
	o->compaction_bytes_max = or_default(o->compaction_bytes_max, 64u << 20);
	if (o->readers > 16)
		o->readers = 16;
}

/*
 * The directory, and its name in the one above: without that a power cut takes
 * all that was ever synced in it. Each time, since whoever made it may have been
 * killed before the name was durable. One above that cannot be opened for
 * reading is not ours to sync.
 */
static int make_directory(struct log *l)
{
	const struct sys *sys = l->sys;
	char above[sizeof(l->dir)];
	char *slash;
	int rc;

	rc = sys->ops->mkdir(sys->self, l->dir);
	if (rc)
		return rc;
	(void)snprintf(above, sizeof(above), "%s", l->dir);
	slash = strrchr(above, '/');
	if (slash && slash != above)
		*slash = '\0';
	else
		(void)snprintf(above, sizeof(above), "%s", slash ? "/" : ".");
	rc = sys->ops->sync_dir(sys->self, above);
	return rc == -EACCES ? 0 : rc;
}

static int lock_directory(struct log *l, struct fault *fault)
{
	char path[512];
	int holder = 0, rc;

	rc = make_directory(l);
	if (rc)
		return fault_set(fault, ERR_IO, "cannot make the data directory %s: %s", l->dir,
				 sys_error_text(rc));
	(void)snprintf(path, sizeof(path), "%s/LOCK", l->dir);
	l->lock_fd = l->sys->ops->open(l->sys->self, path, SYS_CREATE);
	if (l->lock_fd < 0)
		return fault_set(fault, ERR_IO, "cannot open %s: %s (is the directory yours?)", path,
				 sys_error_text(l->lock_fd));
	rc = l->sys->ops->lock(l->sys->self, l->lock_fd, &holder);
	if (rc == -EWOULDBLOCK)
		return fault_set(fault, ERR_IN_USE, "the data directory %s is in use by process %d", l->dir,
				 holder);
	if (rc)
		return fault_set(fault, ERR_IO, "cannot lock %s: %s", path, sys_error_text(rc));
	return 0;
}

static void init_locks(struct log *l)
{
	pthread_mutex_t *const locks[] = {&l->entry,     &l->table,      &l->tail_lock,  &l->maintain_lock,
					  &l->read_lock, &l->ports_lock, &l->backup_lock};
	pthread_cond_t *const conds[] = {&l->entered, &l->movable, &l->moved, &l->maintain, &l->read_cond};

	for (size_t i = 0; i < sizeof(locks) / sizeof(locks[0]); i++)
		(void)pthread_mutex_init(locks[i], NULL);
	for (size_t i = 0; i < sizeof(conds) / sizeof(conds[0]); i++)
		(void)pthread_cond_init(conds[i], NULL);
}

/* One of version 1, or none: what is there bears no tags. */
static int make_format(struct log *l, struct format *format, struct fault *fault)
{
	int rc = format_read(l->sys, l->dir, format, fault);

	if (rc || format->version == FORMAT_VERSION)
		return rc;
	format->unmarked_to = UINT64_MAX;
	rc = l->sys->ops->random(l->sys->self, &format->journal_key, sizeof(format->journal_key));
	return rc ? fault_set(fault, ERR_IO, "no random bytes for a key: %s", sys_error_text(rc)) : 0;
}

/*
 * Only once everything has been read: until then an older weir could take the
 * directory back. It need not be there before the first group with a tag, since
 * without it a start asks for none. On a full disk that is left to the next start.
 */
static int keep_format(struct log *l, struct format *format, struct fault *fault)
{
	char path[512];
	int rc;

	if (format->version == FORMAT_VERSION)
		return 0;
	format->unmarked_to = journal_unmarked_to(l->journal);
	rc = format_write(l->sys, l->dir, format);
	if (rc == 0 || (rc == -ENOSPC && format->version))
		return 0;
	(void)snprintf(path, sizeof(path), "%s/FORMAT", l->dir);
	return fault_set(fault, rc == -ENOSPC ? ERR_DISK_FULL : ERR_IO, "cannot write %s: %s", path,
			 sys_error_text(rc));
}

static int64_t clock_hold(int64_t ms)
{
	if (ms == 0)
		return CLOCK_HOLD_MS;
	return ms < 0 ? 0 : ms;
}

static int later_of(void *ctx, struct partition *p)
{
	int64_t *last_ms = ctx, ms = atomic_load(&p->last_time_ms);

	if (ms > *last_ms)
		*last_ms = ms;
	return 0;
}

static void start_clock(struct log *l)
{
	int64_t last_ms = steady_kept_ms(l->sys, l->dir);
	bool doubted = last_ms > 0;

	if (!doubted)
		(void)partitions_each(l, later_of, &last_ms);
	l->clock_kept_ns = doubted;
	steady_init(&l->steady, l->sys, clock_hold(l->options.clock_hold_ms), last_ms, doubted);
}

/* Out of the key, which nobody can guess from it. */
static void name_directory(struct log *l, const struct format *format)
{
	struct hash128 h = hash_sip24_128(&format->journal_key, SLICE_LIT("identity"));

	memcpy(l->identity.bytes, &h, sizeof(l->identity.bytes));
}

void log_identity(const struct log *l, struct topic_id *out)
{
	*out = l->identity;
}

static int open_parts(struct log *l, struct format *format, struct fault *fault)
{
	struct journal_options journal = {.sys = l->sys,
					  .file_bytes = l->options.journal_file_bytes,
					  .bytes_max = l->options.journal_bytes_max,
					  .key = format->journal_key,
					  .unmarked_to = format->unmarked_to};
	struct seen_options seen = {.sys = l->sys};
	static const struct topic_id internal = {{0}};
	char path[512], seen_path[512];
	int rc;

	name_directory(l, format);
	rc = l->sys->ops->mkdir(l->sys->self, l->topics_dir);
	if (rc)
		return fault_set(fault, ERR_IO, "cannot make %s: %s", l->topics_dir, sys_error_text(rc));
	rc = files_new(l->sys, l->options.files_max, &l->files);
	l->blobs = blob_pool_new(l->options.tail_bytes_max / 2);
	if (rc || !l->blobs)
		return fault_set(fault, ERR_NOMEM, "no memory for the log");
	(void)snprintf(path, sizeof(path), "%s/journal", l->dir);
	journal.dir = path;
	rc = journal_open(&journal, &l->journal, fault);
	if (rc)
		return rc;
	(void)snprintf(seen_path, sizeof(seen_path), "%s/seen", l->dir);
	seen.dir = seen_path;
	rc = seen_open(&seen, &l->seen, fault);
	if (rc)
		return rc;
	rc = partition_get(l, &internal, 0, true, &l->internal);
	if (rc)
		return fault_set(fault, rc, "no memory for the log");
	l->internal->opened = true;
	l->internal->options.segment_bytes = 64u << 20;
	rc = recover(l, fault);
	start_clock(l);
	return rc ? rc : keep_format(l, format, fault);
}

int log_open(const struct log_options *options, struct log **out, struct fault *fault)
{
	struct fault local = {0};
	struct format format;
	struct log *l = mem_zalloc(1, sizeof(*l));
	int rc;

	if (!fault)
		fault = &local;
	if (!l)
		return fault_set(fault, ERR_NOMEM, "no memory for the log");
	fault->err = 0;
	l->sys = options->sys;
	l->lock_fd = -1;
	(void)snprintf(l->dir, sizeof(l->dir), "%s", options->dir);
	(void)snprintf(l->topics_dir, sizeof(l->topics_dir), "%s/topics", l->dir);
	init_locks(l);
	fifo_init(&l->queue);
	fifo_init(&l->resting);
	l->bucket_count = 64;
	l->buckets = mem_zalloc(l->bucket_count, sizeof(struct partition *));
	l->ranges = mem_alloc(SEEN_RANGES_MAX * sizeof(*l->ranges));
	(void)l->sys->ops->random(l->sys->self, &l->table_key, sizeof(l->table_key));
	rc = l->buckets && l->ranges ? 0 : fault_set(fault, ERR_NOMEM, "no memory for the log");
	if (rc == 0)
		rc = lock_directory(l, fault);
	if (rc == 0)
		fill_options(l, options);
	if (rc == 0)
		rc = make_format(l, &format, fault);
	if (rc == 0)
		rc = open_parts(l, &format, fault);
	if (rc) {
		log_close(l);
		return rc;
	}
	maintain_look_at_space(l);
	*out = l;
	return 0;
}

/* Not by partitions_each: that needs memory, and who closes may be short of it. */
static void free_partitions(struct log *l)
{
	for (uint32_t i = 0; l->buckets && i < l->bucket_count; i++) {
		while (l->buckets[i]) {
			struct partition *next = l->buckets[i]->next_hash;
			partition_free(l->buckets[i]);
			l->buckets[i] = next;
		}
	}
	while (l->buried) {
		struct partition *next = l->buried->next_hash;
		partition_free(l->buried);
		l->buried = next;
	}
}

static void free_tail(struct log *l)
{
	while (l->tail_first) {
		struct tail_group *next = l->tail_first->next;
		blob_unref(l->tail_first->blob);
		mem_free(l->tail_first);
		l->tail_first = next;
	}
}

void log_close(struct log *l)
{
	CHECK(!l->started);
	rewrites_forget(l, NULL);
	free_tail(l);
	for (uint32_t i = 0; i < l->expired_count; i++)
		segment_unref(l->expired[i]);
	mem_free(l->expired);
	free_partitions(l);
	producers_free(l);
	while (l->ports)
		log_port_free(l->ports);
	if (l->seen)
		seen_close(l->seen);
	if (l->journal)
		journal_close(l->journal);
	direct_fini(&l->direct);
	files_free(l->files);
	blob_pool_close(l->blobs);
	if (l->lock_fd >= 0)
		l->sys->ops->close(l->sys->self, l->lock_fd);
	mem_free(l->buckets);
	mem_free(l->ranges);
	mem_free(l->backup);
	mem_free(l);
}

struct seen *log_seen(struct log *l)
{
	return l->seen;
}

uint64_t log_segment_bytes(const struct log *l)
{
	return l->options.segment_bytes;
}

uint32_t log_files_max(const struct log *l)
{
	return l->options.files_max;
}

const struct sys *log_sys(const struct log *l)
{
	return l->sys;
}

int64_t log_now_ms(const struct log *l)
{
	return steady_now_ms(&l->steady);
}

void log_set_clock_hold(struct log *l, int64_t ms)
{
	atomic_store(&l->steady.hold_ms, clock_hold(ms));
	maintain_wake(l);
}

struct partition *log_internal(struct log *l)
{
	return l->internal;
}

/* ---- starting and stopping ---- */

static int drop_unopened(void *ctx, struct partition *p)
{
	(void)ctx;
	if (!p->opened) {
		atomic_store(&p->closed, true);
		atomic_store(&p->dropped, true);
	}
	return 0;
}

static int start_threads(struct log *l)
{
	l->started = true;
	if (pthread_create(&l->committer_thread, NULL, committer_main, l) ||
	    pthread_create(&l->mover_thread, NULL, mover_main, l) ||
	    pthread_create(&l->maintain_thread, NULL, maintain_main, l))
		return ERR_NOMEM;
	for (uint32_t i = 0; i < l->options.readers; i++) {
		if (pthread_create(&l->read_threads[i], NULL, reads_main, l))
			return ERR_NOMEM;
		l->read_thread_count++;
	}
	return 0;
}

int log_start(struct log *l, struct fault *fault)
{
	(void)partitions_each(l, drop_unopened, NULL);
	if (l->options.steps)
		return 0;
	if (start_threads(l))
		core_fatal(l, "cannot start the threads of the log");
	(void)fault;
	return 0;
}

static void stop_maintenance(struct log *l)
{
	(void)pthread_mutex_lock(&l->maintain_lock);
	l->maintain_stop = true;
	(void)pthread_cond_broadcast(&l->maintain);
	(void)pthread_mutex_unlock(&l->maintain_lock);
	(void)pthread_join(l->maintain_thread, NULL);
}

static void stop_mover(struct log *l)
{
	(void)pthread_mutex_lock(&l->tail_lock);
	l->mover_stop = true;
	(void)pthread_cond_broadcast(&l->movable);
	(void)pthread_mutex_unlock(&l->tail_lock);
	(void)pthread_join(l->mover_thread, NULL);
}

static void stop_readers(struct log *l)
{
	(void)pthread_mutex_lock(&l->read_lock);
	l->read_stop = true;
	(void)pthread_cond_broadcast(&l->read_cond);
	(void)pthread_mutex_unlock(&l->read_lock);
	for (uint32_t i = 0; i < l->read_thread_count; i++)
		(void)pthread_join(l->read_threads[i], NULL);
}

int64_t log_step(struct log *l, enum log_step step)
{
	int64_t wait_ms;

	CHECK(l->options.steps);
	switch (step) {
	case LOG_STEP_COMMIT:
		return committer_step(l);
	case LOG_STEP_MOVE:
		return mover_turn(l);
	case LOG_STEP_MAINTAIN:
		return maintain_step(l, &wait_ms);
	case LOG_STEP_READ:
		return reads_step(l);
	}
	return 0;
}

static void refuse_entry(struct log *l)
{
	(void)pthread_mutex_lock(&l->entry);
	l->stopping = true;
	(void)pthread_cond_broadcast(&l->entered);
	(void)pthread_mutex_unlock(&l->entry);
}

static int stop_by_steps(struct log *l, struct fault *fault)
{
	int rc;

	refuse_entry(l);
	while (committer_step(l))
		;
	while (reads_step(l))
		;
	rc = log_checkpoint(l, fault);
	if (rc == 0)
		recover_note_clean(l);
	return rc;
}

int log_stop(struct log *l, struct fault *fault)
{
	struct fault local = {0};
	int rc;

	if (l->options.steps)
		return stop_by_steps(l, fault ? fault : &local);
	if (!l->started)
		return 0;
	backup_stop(l);
	refuse_entry(l);
	(void)pthread_join(l->committer_thread, NULL);
	rc = log_checkpoint(l, fault ? fault : &local);
	stop_maintenance(l);
	stop_mover(l);
	stop_readers(l);
	l->started = false;
	if (rc == 0)
		recover_note_clean(l);
	return rc;
}

/* ---- figures ---- */

static int64_t least_zero(int64_t n)
{
	return n > 0 ? n : 0;
}

void log_stats(struct log *l, struct log_stats *out)
{
	if (steady_wants_look(&l->steady))
		maintain_wake(l);
	*out = (struct log_stats){
		.commits = atomic_load(&l->counts.commits),
		.groups = atomic_load(&l->counts.groups),
		.records = atomic_load(&l->counts.records),
		.bytes_entered = atomic_load(&l->counts.bytes_entered),
		.bytes_journal = atomic_load(&l->counts.bytes_journal),
		.syncs = atomic_load(&l->counts.syncs),
		.sync_ns_sum = atomic_load(&l->counts.sync_ns_sum),
		.group_ns_sum = atomic_load(&l->counts.group_ns_sum),
		.checkpoints = atomic_load(&l->counts.checkpoints),
		.entered_bytes = atomic_load(&l->entered_bytes),
		.pinned_bytes = (uint64_t)atomic_load(&l->pinned_bytes),
		.tail_bytes = (uint64_t)atomic_load(&l->tail_bytes),
		.partitions = l->partition_count,
		.files_open = files_open_count(l->files),
		.reads_disk = atomic_load(&l->counts.reads_disk),
		.reads_tail = atomic_load(&l->counts.reads_tail),
		.recovered_groups = l->recovered_groups,
		.damaged_ranges = atomic_load(&l->counts.damaged_ranges),
		.damaged_offsets = atomic_load(&l->counts.damaged_offsets),
		.truncated_bytes = l->truncated_bytes,
		.clock_ahead_ms = least_zero(atomic_load(&l->steady.ahead_ms)),
		.last_checkpoint_ns = atomic_load(&l->counts.checkpoint_ns),
		.compactions = atomic_load(&l->counts.compactions),
		.compacted_records = atomic_load(&l->counts.compacted_records),
		.compacted_tombstones = atomic_load(&l->counts.compacted_tombstones),
		.rewritten_segments = atomic_load(&l->counts.rewritten_segments),
		.rewrite_read_bytes = atomic_load(&l->counts.rewrite_read_bytes),
		.rewrite_written_bytes = atomic_load(&l->counts.rewrite_written_bytes),
		.dirty_bytes = atomic_load(&l->counts.dirty_bytes),
		.producers = atomic_load(&l->producers.producers),
		.open_transactions = atomic_load(&l->producers.open),
		.aborted_transactions = atomic_load(&l->producers.aborted),
	};
	for (size_t i = 0; i < LOG_BUCKETS; i++) {
		out->sync_us_buckets[i] = atomic_load(&l->counts.sync_us[i]);
		out->group_us_buckets[i] = atomic_load(&l->counts.group_us[i]);
		out->group_commits_buckets[i] = atomic_load(&l->counts.group_commits[i]);
	}
	(void)l->sys->ops->space(l->sys->self, l->dir, &out->free_bytes, &(uint64_t){0});
}
