/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The entry: the one place where a commit is taken or refused, under one lock, against all that has entered
 * before. What is refused has changed nothing; what has entered becomes durable, or the process dies.
 */
#include "log/core.h"

#define JOURNAL_SPARE_BYTES 16384u

void log_enter_begin(struct log *l)
{
	int64_t now = sys_monotonic_ns(l->sys);

	(void)pthread_mutex_lock(&l->entry);
	l->entering_ns = now;
}

void log_enter_end(struct log *l)
{
	bool wake = l->open.first && l->committer_idle;

	if (wake)
		l->committer_idle = false;
	(void)pthread_mutex_unlock(&l->entry);
	if (wake)
		(void)pthread_cond_signal(&l->entered);
}

size_t log_commit_bytes(const struct log_commit *c)
{
	size_t sum = 64 + (size_t)c->key_count * (FRAME_KEY_BYTES + FRAME_RANGE_BYTES);

	for (uint32_t i = 0; i < c->record_count; i++)
		sum += group_record_bytes(&c->records[i]);
	return sum;
}

static bool is_short_of_room(struct log *l)
{
	return atomic_load_explicit(&l->full, memory_order_relaxed) ||
	       atomic_load_explicit(&l->room, memory_order_relaxed) <= 0 ||
	       atomic_load_explicit(&l->move_failing, memory_order_relaxed);
}

/* What has entered must not die of a journal that cannot grow: not even what gives room back. */
static bool has_journal_for(struct log *l, size_t bytes)
{
	return journal_room(l->journal) > (bytes + atomic_load(&l->entered_bytes)) * 2 + JOURNAL_SPARE_BYTES;
}

static int refusal(struct log *l, size_t bytes, bool frees)
{
	if (l->stopping)
		return ERR_SHUTTING_DOWN;
	if (is_short_of_room(l) && !(frees && has_journal_for(l, bytes))) {
		maintain_wake(l); /* it looks whether there is room again */
		return ERR_DISK_FULL;
	}
	if (bytes > LOG_COMMIT_BYTES_MAX)
		return ERR_LIMIT;
	if (atomic_load(&l->entered_bytes) + bytes > l->options.entered_bytes_max &&
	    atomic_load(&l->entered_bytes) > 0)
		return ERR_OVERLOADED;
	if (atomic_load(&l->pinned_bytes) > (int64_t)l->options.pinned_bytes_max)
		return ERR_OVERLOADED;
	return 0;
}

bool log_accepts(struct log *l, int *err)
{
	(void)pthread_mutex_lock(&l->entry);
	*err = l->stopping ? ERR_SHUTTING_DOWN : is_short_of_room(l) ? ERR_DISK_FULL : 0;
	if (*err == 0 && atomic_load(&l->pinned_bytes) > (int64_t)l->options.pinned_bytes_max)
		*err = ERR_OVERLOADED;
	(void)pthread_mutex_unlock(&l->entry);
	return *err == 0;
}

/* A partition takes its share of what may wait, so that one alone does not shut the others out. */
static int refuse_partition(const struct log *l, const struct partition *p)
{
	if (atomic_load_explicit(&p->closed, memory_order_relaxed))
		return ERR_UNKNOWN_TOPIC;
	if (atomic_load_explicit(&p->waiting_bytes, memory_order_relaxed) > l->options.entered_bytes_max / 2)
		return ERR_OVERLOADED;
	return 0;
}

static void count_waiting(const struct log_commit *c)
{
	for (uint32_t i = 0; i < c->record_count;) {
		struct partition *p = c->records[i].partition;
		size_t sum = 0;
		for (; i < c->record_count && c->records[i].partition == p; i++)
			sum += group_record_bytes(&c->records[i]);
		atomic_fetch_add_explicit(&p->waiting_bytes, sum, memory_order_relaxed);
	}
}

int log_enter(struct log *l, struct log_commit *c)
{
	const struct partition *looked_at = NULL;
	int rc = 0;

	for (uint32_t i = 0; i < c->record_count && rc == 0; i++) {
		if (c->records[i].partition != looked_at)
			rc = refuse_partition(l, c->records[i].partition);
		looked_at = c->records[i].partition;
	}
	if (rc)
		return rc;
	c->bytes = log_commit_bytes(c);
	rc = refusal(l, c->bytes, c->frees);
	if (rc)
		return rc;
	rc = producers_reserve(c);
	if (rc)
		return rc;
	producers_note(c);
	count_waiting(c);
	c->entered_ns = l->entering_ns;
	c->next = NULL;
	if (l->open.last)
		l->open.last->next = c;
	else
		l->open.first = c;
	l->open.last = c;
	l->open.bytes += c->bytes;
	atomic_fetch_add(&l->entered_bytes, c->bytes);
	atomic_fetch_sub(&l->room, (int64_t)c->bytes * 2);
	atomic_fetch_add_explicit(&l->counts.bytes_entered, c->bytes, memory_order_relaxed);
	return 0;
}
