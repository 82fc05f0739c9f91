/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The committer takes what has entered (at most group_bytes_max, in order of
 * arrival), builds a group, writes and syncs it, makes it readable and tells the
 * ports. While it syncs the next group gathers: that is all the batching there
 * is, and no timer takes part.
 */
#include "log/core.h"

#include "base/check.h"

/* Cuts the list after the commits that fit; one commit always does. Under l->entry. */
static struct log_commit *take_open(struct log *l, size_t *bytes, uint32_t *count)
{
	struct log_commit *first = l->open.first;
	struct log_commit *last = NULL;

	*bytes = 0;
	*count = 0;
	for (struct log_commit *c = first; c; c = c->next) {
		if (last && *bytes + c->bytes > l->options.group_bytes_max)
			break;
		*bytes += c->bytes;
		(*count)++;
		last = c;
	}
	if (!last)
		return NULL;
	l->open.first = last->next;
	if (!l->open.first)
		l->open.last = NULL;
	l->open.bytes -= *bytes;
	last->next = NULL;
	return first;
}

/* Takes the commits that asked for no sync out of the list, in order. */
static struct log_commit *split_written(struct log_commit **first)
{
	struct log_commit *written = NULL, **written_end = &written;
	struct log_commit **at = first;

	while (*at) {
		struct log_commit *c = *at;
		if (c->ack == LOG_ACK_WRITTEN && c->key_count == 0) {
			*at = c->next;
			c->next = NULL;
			*written_end = c;
			written_end = &c->next;
		} else {
			at = &c->next;
		}
	}
	return written;
}

static void count_bucket(_Atomic uint64_t *buckets, uint64_t value)
{
	uint32_t i = 0;

	while (i + 1 < LOG_BUCKETS && ((uint64_t)1 << i) < value)
		i++;
	atomic_fetch_add_explicit(&buckets[i], 1, memory_order_relaxed);
}

static void count_time(_Atomic uint64_t *buckets, _Atomic uint64_t *sum, int64_t ns)
{
	count_bucket(buckets, ((uint64_t)ns + 999) / 1000);
	atomic_fetch_add_explicit(sum, (uint64_t)ns, memory_order_relaxed);
}

/*
 * `begun`: before the group was written. A direct write waits for the disk
 * itself and leaves the sync little to do: so both times are told, that of the
 * whole group and that of the sync.
 */
static void sync_journal(struct log *l, int64_t begun)
{
	struct fault fault = {0};
	int64_t before = sys_monotonic_ns(l->sys), after;

	if (journal_sync(l->journal, &fault))
		core_fatal(l, "%s; what was not answered is not stored; restart weir to recover", fault.text);
	after = sys_monotonic_ns(l->sys);
	atomic_fetch_add_explicit(&l->counts.syncs, 1, memory_order_relaxed);
	count_time(l->counts.sync_us, &l->counts.sync_ns_sum, after - before);
	count_time(l->counts.group_us, &l->counts.group_ns_sum, after - begun);
}

static void count_group(struct log *l, const struct group *g, uint32_t commits)
{
	uint64_t padded = (g->head.bytes + FRAME_ALIGN - 1) & ~(uint64_t)(FRAME_ALIGN - 1);

	atomic_fetch_add_explicit(&l->counts.groups, 1, memory_order_relaxed);
	atomic_fetch_add_explicit(&l->counts.commits, commits, memory_order_relaxed);
	atomic_fetch_add_explicit(&l->counts.records, g->records, memory_order_relaxed);
	atomic_fetch_add_explicit(&l->counts.bytes_journal, padded, memory_order_relaxed);
	count_bucket(l->counts.group_commits, commits);
	atomic_store_explicit(&l->active, true, memory_order_relaxed);
}

static void build_or_die(struct log *l, struct group *g, struct log_commit *first)
{
	/* Readers may let go of memory soon; but what has entered must not be refused any more. */
	for (int attempt = 0; group_build(l, g, first); attempt++) {
		if (attempt == 3)
			core_fatal(l, "no memory to build a group");
		tail_evict(l, true);
	}
}

static void wake_maintenance(struct log *l)
{
	if (steady_wants_look(&l->steady) || journal_wants_file(l->journal) ||
	    seen_wants_checkpoint(l->seen) ||
	    journal_live_bytes(l->journal) > l->options.journal_bytes_max / 2)
		maintain_wake(l);
}

int committer_step(struct log *l)
{
	struct fault fault = {0};
	struct log_commit *first, *written;
	struct group g;
	size_t bytes;
	uint32_t count;
	int64_t begun;

	(void)pthread_mutex_lock(&l->entry);
	first = take_open(l, &bytes, &count);
	(void)pthread_mutex_unlock(&l->entry);
	if (!first)
		return 0;
	build_or_die(l, &g, first);
	g.head.sequence = ++l->sequence;
	begun = sys_monotonic_ns(l->sys);
	if (journal_append(l->journal, g.blob->bytes, g.blob->cap, &g.head, &fault))
		core_fatal(l, "%s; what was not answered is not stored", fault.text);
	written = split_written(&first);
	if (written) {
		port_post_commits(l, written);
		ports_wake(l);
	}
	sync_journal(l, begun);
	atomic_store(&l->durable, g.head.sequence);
	count_group(l, &g, count);
	if (group_publish(l, &g))
		core_fatal(l, "no memory to publish a durable group");
	group_settle_keys(l, first, g.head.sequence);
	group_free(&g);
	atomic_fetch_sub(&l->entered_bytes, bytes);
	port_post_commits(l, first);
	ports_wake(l);
	wake_maintenance(l);
	return 1;
}

void *committer_main(void *arg)
{
	struct log *l = arg;
	bool stop = false;

	(void)pthread_setname_np(pthread_self(), "weir-commit");
	while (!stop) {
		if (committer_step(l))
			continue;
		(void)pthread_mutex_lock(&l->entry);
		while (!l->open.first && !l->stopping) {
			l->committer_idle = true;
			(void)pthread_cond_wait(&l->entered, &l->entry);
		}
		l->committer_idle = false;
		stop = l->stopping && !l->open.first;
		(void)pthread_mutex_unlock(&l->entry);
	}
	return NULL;
}
