/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Maintenance does what may take its time: the next journal file, storage
 * checkpoints with retention, runs of seen, and the look at free space. It sleeps
 * until somebody wakes it or the first retention is due; after activity it looks
 * again a second later, so that an idle daemon does not wake at all.
 */
#include "log/core.h"

#include "base/blob_pool.h"
#include "base/mem.h"

#define LOOK_MS 1000
#define RESERVE_BYTES (16 << 20)
#define IDLE_MS 3600000
#define REPLACED_BYTES_MAX \
	(512u << 20) /* of segments that were rewritten and wait for a checkpoint to let go of them */
#define CHECKPOINT_SHARE 10
#define CHECKPOINT_APART_NS (2 * 1000000000LL)
#define CLOCK_KEEP_NS (600 * 1000000000LL)
#define GIVE_BACK_NS (2 * 1000000000LL)

void maintain_wake(struct log *l)
{
	(void)pthread_mutex_lock(&l->maintain_lock);
	l->maintain_asked = true;
	(void)pthread_cond_signal(&l->maintain);
	(void)pthread_mutex_unlock(&l->maintain_lock);
}

/*
 * Room for ingest: what is free, less what is needed to move everything that is
 * in memory, to write a checkpoint, one more journal file and 16 MiB for
 * deletes, acknowledgements and state.
 */
void maintain_look_at_space(struct log *l)
{
	uint64_t free_bytes = 0, total = 0;
	int64_t needed = RESERVE_BYTES + atomic_load(&l->pinned_bytes) +
			 (int64_t)atomic_load(&l->entered_bytes) * 2 + (int64_t)l->partition_count * 256;
	bool full;

	if (journal_wants_file(l->journal))
		needed += (int64_t)l->options.journal_file_bytes;
	if (l->sys->ops->space(l->sys->self, l->dir, &free_bytes, &total))
		return;
	full = (int64_t)free_bytes <= needed;
	atomic_store(&l->room, (int64_t)free_bytes - needed);
	if (atomic_exchange(&l->full, full) != full)
		core_say(l, full ? LOG_WARN : LOG_INFO, full ? "disk_full" : "disk_has_room",
			 full ? "%llu MiB free in %s: records are refused with 507 until there is room" :
				"%llu MiB free in %s: records are taken again",
			 (unsigned long long)(free_bytes >> 20), l->dir);
}

static int64_t least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int earlier_expiry(void *ctx, struct partition *p)
{
	int64_t *first = ctx;

	*first = least(*first, partition_expiry(p));
	return 0;
}

/* When the first retention is due. Walks over all partitions. */
static int64_t look_for_expiry(struct log *l)
{
	int64_t first = INT64_MAX;

	(void)partitions_each(l, earlier_expiry, &first);
	l->expiry_ms = first;
	l->expiry_looked_ns = sys_monotonic_ns(l->sys);
	return first;
}

/*
 * Between the pieces of a rewrite what was found within a second does, unless it is due: with many
 * partitions the walk takes longer than a piece.
 */
static bool is_between_pieces(const struct log *l, int64_t now_ms)
{
	return (l->compaction || l->recompression) && l->expiry_ms > now_ms &&
	       sys_monotonic_ns(l->sys) - l->expiry_looked_ns < LOOK_MS * 1000000LL;
}

static bool journal_is_long(struct log *l)
{
	return journal_live_bytes(l->journal) > l->options.journal_bytes_max / 2;
}

static bool take_wish(struct log *l, uint64_t *wanted)
{
	bool wish;

	(void)pthread_mutex_lock(&l->maintain_lock);
	*wanted = l->checkpoint_wanted;
	wish = l->checkpoint_wanted > l->checkpoint_done;
	(void)pthread_mutex_unlock(&l->maintain_lock);
	return wish;
}

static int run_checkpoint(struct log *l, uint64_t wanted)
{
	struct fault fault = {0};
	int rc = checkpoint_write(l, &fault);

	(void)pthread_mutex_lock(&l->maintain_lock);
	l->checkpoint_done = wanted;
	l->checkpoint_result = rc;
	l->checkpoint_fault = fault;
	(void)pthread_cond_broadcast(&l->maintain);
	(void)pthread_mutex_unlock(&l->maintain_lock);
	return rc;
}

struct maintain_call {
	struct maintain_call *next;
	int (*fn)(void *ctx, struct log *l);
	void *ctx;
	int result;
	bool done;
};

static void run_call(struct log *l, bool refuse)
{
	struct maintain_call *call;
	int rc;

	(void)pthread_mutex_lock(&l->maintain_lock);
	call = l->call;
	if (call)
		l->call = call->next;
	(void)pthread_mutex_unlock(&l->maintain_lock);
	if (!call)
		return;
	rc = refuse ? ERR_SHUTTING_DOWN : call->fn(call->ctx, l);
	(void)pthread_mutex_lock(&l->maintain_lock);
	call->result = rc;
	call->done = true;
	(void)pthread_cond_broadcast(&l->maintain);
	(void)pthread_mutex_unlock(&l->maintain_lock);
}

int maintain_call(struct log *l, int (*fn)(void *ctx, struct log *l), void *ctx)
{
	struct maintain_call call = {.fn = fn, .ctx = ctx};

	(void)pthread_mutex_lock(&l->maintain_lock);
	if (l->maintain_stop) {
		(void)pthread_mutex_unlock(&l->maintain_lock);
		return ERR_SHUTTING_DOWN;
	}
	call.next = l->call;
	l->call = &call;
	l->maintain_asked = true;
	(void)pthread_cond_broadcast(&l->maintain);
	while (!call.done)
		(void)pthread_cond_wait(&l->maintain, &l->maintain_lock);
	(void)pthread_mutex_unlock(&l->maintain_lock);
	return call.result;
}

/* What can be given back at once: journal files that a checkpoint makes unnecessary. */
static void make_room(struct log *l)
{
	struct fault fault = {0};

	if (atomic_load(&l->durable) > l->checkpoint_sequence && !atomic_load(&l->move_failing))
		(void)checkpoint_write(l, &fault);
	journal_shrink(l->journal);
	maintain_look_at_space(l);
}

static void say_clock(struct log *l, enum steady_news news)
{
	long long ahead_s = atomic_load(&l->steady.ahead_ms) / 1000;

	if (news == STEADY_DOUBTED && ahead_s > 0)
		core_say(
			l, LOG_WARN, "clock_jumped",
			"the clock is %lld s ahead of what it should be: retention and keys go by the time before until it has stayed so for %lld s, or log.clock_hold is 0",
			ahead_s, (long long)atomic_load(&l->steady.hold_ms) / 1000);
	else if (news == STEADY_DOUBTED)
		core_say(l, LOG_WARN, "clock_jumped",
			 "the clock went back by %lld s: retention and keys wait for it", -ahead_s);
	else
		core_say(l, LOG_INFO, "clock_believed",
			 news == STEADY_RETURNED ? "the clock is back where it should be" :
						   "retention and keys go by the clock as it is now");
}

/* Before anything is forgotten. */
static void look_at_clock(struct log *l)
{
	enum steady_news news = steady_look(&l->steady);
	bool ahead = atomic_load(&l->steady.ahead_ms) > 0;
	int64_t now_ns = sys_monotonic_ns(l->sys);
	int rc;

	if (news != STEADY_NONE)
		say_clock(l, news);
	if (ahead ? l->clock_kept_ns && now_ns - l->clock_kept_ns < CLOCK_KEEP_NS : !l->clock_kept_ns)
		return;
	rc = steady_keep(&l->steady, l->dir);
	l->clock_kept_ns = ahead || rc ? now_ns : 0;
	if (rc)
		core_say(l, LOG_WARN, "clock_not_kept", "cannot write %s/CLOCK: %s", l->dir,
			 sys_error_text(rc));
}

/*
 * Ingest waits for the disk behind the syncs of a checkpoint. So those that are
 * not needed for the journal's sake take a tenth of the time at most, and come
 * two seconds apart at most.
 */
int maintain_ask_checkpoint(struct log *l, int64_t *due_ms)
{
	int64_t apart_ns = (int64_t)atomic_load(&l->counts.checkpoint_ns) * CHECKPOINT_SHARE;
	int64_t ahead_ns = l->checkpoint_ended_ns - sys_monotonic_ns(l->sys);

	ahead_ns += least(apart_ns, CHECKPOINT_APART_NS);
	if (l->checkpoint_ended_ns && ahead_ns > 0) {
		*due_ms = least(*due_ms, log_now_ms(l) + ahead_ns / 1000000 + 1);
		return 0;
	}
	atomic_store(&l->let_go, true);
	return 1;
}

/*
 * A piece of what writes segments again, as the I/O budget allows: after so many
 * bytes as take so long, the next one comes so much later. Moves *due_ms to when there will be more.
 */
static int rewrite_some(struct log *l, int64_t now_ms, int64_t *due_ms)
{
	int64_t now_ns = sys_monotonic_ns(l->sys), ahead_ns = l->rewrite_ready_ns - now_ns, due = INT64_MAX;
	uint64_t bytes = 0, rate = l->options.rewrite_rate;
	int rc = 0;

	if (ahead_ns > 0) {
		due = now_ms + ahead_ns / 1000000;
	} else if (atomic_load(&l->held)) { /* what a backup holds would pile up beside its successors */
		due = now_ms + LOOK_MS;
	} else if (!atomic_load(&l->full)) {
		if (!l->recompression)
			rc = compact_step(l, &bytes, &due);
		if (rc == 0)
			rc = recompress_step(l, &bytes, &due);
		if (rc == 0 && l->replaced_bytes > 0)
			rc = maintain_ask_checkpoint(l, &due);
		if (l->replaced_bytes > REPLACED_BYTES_MAX) {
			atomic_store(&l->let_go, true);
			rc = 1;
		}
		if (rate)
			l->rewrite_ready_ns = now_ns + (int64_t)(bytes * 1000000 / rate) * 1000;
	}
	if (due < *due_ms)
		*due_ms = due;
	return rc;
}

int maintain_step(struct log *l, int64_t *wait_ms)
{
	struct fault fault = {0};
	int64_t now_ms, expiry;
	uint64_t wanted;
	bool wish = take_wish(l, &wanted), between_pieces;
	int rc;

	run_call(l, false);
	look_at_clock(l);
	now_ms = log_now_ms(l);
	maintain_look_at_space(l);
	if (atomic_load(&l->full))
		make_room(l);
	*wait_ms = 0;
	rc = journal_prepare(l->journal, &fault);
	if (rc < 0 && rc != ERR_DISK_FULL)
		core_say(l, LOG_ERROR, "journal_file_failed", "%s", fault.text);
	if (rc > 0)
		return 1;
	between_pieces = is_between_pieces(l, now_ms);
	expiry = between_pieces ? l->expiry_ms : look_for_expiry(l);
	if (wish || journal_is_long(l) || seen_wants_checkpoint(l->seen) || expiry <= now_ms ||
	    atomic_exchange(&l->let_go, false)) {
		/* What fails now fails again at once: the next attempt comes with the next look. */
		return run_checkpoint(l, wanted) == 0;
	}
	rc = atomic_load(&l->held) ? 0 : seen_step(l->seen, now_ms, &fault);
	if (rc < 0)
		core_say(l, LOG_ERROR, "seen_failed", "%s", fault.text);
	if (rc > 0)
		return 1;
	rc = rewrite_some(l, now_ms, &expiry);
	if (rc > 0 || (between_pieces && look_for_expiry(l) <= now_ms))
		return 1;
	expiry = least(expiry, l->expiry_ms);
	producers_look(l, now_ms, &expiry);
	*wait_ms = expiry == INT64_MAX || expiry - now_ms > IDLE_MS ? IDLE_MS : expiry - now_ms + 1;
	*wait_ms = least(*wait_ms, steady_wait_ms(&l->steady));
	if (atomic_exchange(&l->active, false) || atomic_load(&l->full) || atomic_load(&l->move_failing))
		*wait_ms = least(*wait_ms, LOOK_MS);
	return 0;
}

void rewrites_forget(struct log *l, const struct partition *p)
{
	compact_forget(l, p);
	recompress_forget(l, p);
}

static bool sleep_for(struct log *l, int64_t ms)
{
	bool stop;

	(void)pthread_mutex_lock(&l->maintain_lock);
	if (!l->maintain_asked && !l->maintain_stop)
		core_wait(&l->maintain, &l->maintain_lock, ms);
	l->maintain_asked = false;
	stop = l->maintain_stop;
	(void)pthread_mutex_unlock(&l->maintain_lock);
	return !stop;
}

/*
 * What a burst took of memory is not kept for ever. Where it is too early for that it is owed: *wait_ms is cut short, since
 * behind the end of the burst nothing else may wake us for a long time.
 */
static void give_back(struct log *l, int64_t *last_ns, int64_t *wait_ms)
{
	int64_t now = sys_monotonic_ns(l->sys), early_ns = *last_ns + GIVE_BACK_NS - now;

	if (*last_ns && early_ns > 0) {
		*wait_ms = least(*wait_ms, early_ns / 1000000 + 1);
		return;
	}
	*last_ns = now;
	blob_pool_trim(l->blobs);
	mem_trim();
}

void *maintain_main(void *arg)
{
	struct log *l = arg;
	int64_t wait_ms = 0, given_back_ns = 0;

	(void)pthread_setname_np(pthread_self(), "weir-maintain");
	do {
		int idle = 0;
		while (maintain_step(l, &wait_ms) > 0 && idle++ < 1000)
			;
		if (wait_ms <= 0)
			wait_ms = LOOK_MS;
		give_back(l, &given_back_ns, &wait_ms);
	} while (sleep_for(l, wait_ms));
	run_call(l, true);
	return NULL;
}

int log_checkpoint(struct log *l, struct fault *fault)
{
	uint64_t ticket;
	int rc;

	if (!l->started)
		return checkpoint_write(l, fault);
	(void)pthread_mutex_lock(&l->maintain_lock);
	ticket = ++l->checkpoint_wanted;
	l->maintain_asked = true;
	(void)pthread_cond_broadcast(&l->maintain);
	while (l->checkpoint_done < ticket)
		(void)pthread_cond_wait(&l->maintain, &l->maintain_lock);
	rc = l->checkpoint_result;
	if (fault)
		*fault = l->checkpoint_fault;
	(void)pthread_mutex_unlock(&l->maintain_lock);
	return rc;
}
