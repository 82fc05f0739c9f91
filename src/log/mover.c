/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The mover writes durable batches into segments, a partition at a time, with
 * one write for all that a partition has waiting. It lags a little on purpose:
 * with many partitions each write then carries many batches. Until a batch is
 * moved its group is pinned in memory; past the bound, entry refuses.
 *
 * Nothing here is synced: that is the storage checkpoint's affair.
 */
#include "log/core.h"

#include <errno.h>
#include <sched.h>

#include "base/check.h"
#include "base/mem.h"

#define PIECES_MAX 256u
/*
 * The most in one write. A write of a megabyte keeps a core for two milliseconds,
 * and on a busy one the committer waits that long to hear of its sync.
 */
#define MOVE_BYTES (128 << 10)
#define READER_NS \
	(10 * 1000000000LL) /* so long after somebody has read of it a segment is kept in the page cache */

/* A partition's records are worth a write when there are several: with many partitions that takes longer. */
#define LAG_MS 50
#define LAG_MS_MAX 2000
#define LAG_PARTITIONS_A_MS 5
#define LAG_BYTES (4 << 20)
#define LAG_BYTES_A_PARTITION (6 << 10)
#define FAILURE_MS 200

/* Under tail_lock. */
static void put_last(struct fifo *queue, struct partition *p)
{
	if (p->queued)
		return;
	p->queued = true;
	p->log->queued_count++;
	fifo_put(queue, &p->turn);
}

void mover_enqueue(struct log *l, struct partition *p)
{
	put_last(&l->queue, p);
}

/* A turn is over when its queue is empty: those that rested come first in the next. Under tail_lock. */
static void begin_turn(struct log *l)
{
	fifo_put_before(&l->queue, &l->resting);
	l->move_turn++;
}

/* Nothing may be left for another turn: somebody waits for it, or there is none. Under tail_lock. */
static bool is_hurried(const struct log *l)
{
	return l->mover_stop || l->move_wanted > l->moved_sequence;
}

static struct partition *take_queued(struct log *l, bool *hurried)
{
	struct partition *p;

	(void)pthread_mutex_lock(&l->tail_lock);
	*hurried = is_hurried(l);
	p = fifo_take(&l->queue);
	if (p) {
		p->queued = false;
		l->queued_count--;
	}
	(void)pthread_mutex_unlock(&l->tail_lock);
	return p;
}

static void put_back(struct log *l, struct partition *p, struct fifo *queue)
{
	(void)pthread_mutex_lock(&l->tail_lock);
	put_last(queue, p);
	(void)pthread_mutex_unlock(&l->tail_lock);
}

/* What one write carries. */
struct load {
	struct segment_piece pieces[PIECES_MAX];
	struct tail_group *groups[PIECES_MAX]; /* that hold the pieces */
	struct segment_load of;
	uint64_t bytes; /* still to be written of the pieces */
};

/* Batches that wait, as many as fit: always the first, of which the segment has begun so much. */
static void gather(struct partition *p, uint64_t begun, uint64_t bytes_max, struct load *load)
{
	uint32_t count = 0;
	uint64_t sum = 0;

	while (p->moved + count < p->ring_count && count < PIECES_MAX) {
		const struct tail_ref *ref = &p->ring[(p->ring_head + p->moved + count) & (p->ring_cap - 1)];
		if (count && sum + ref->bytes > bytes_max)
			break;
		sum += ref->bytes;
		load->pieces[count] = (struct segment_piece){
			.bytes = slice_make(ref->group->blob->bytes + ref->at, ref->bytes),
			.base_offset = ref->base,
			.last_offset = ref->last,
			.max_timestamp = ref->max_timestamp,
		};
		load->groups[count++] = ref->group;
	}
	load->of = (struct segment_load){.pieces = load->pieces, .count = count};
	load->bytes = sum - begun;
}

static bool is_read(struct partition *p)
{
	int64_t at = atomic_load_explicit(&p->read_ns, memory_order_relaxed);

	return at && sys_monotonic_ns(p->log->sys) - at < READER_NS;
}

/*
 * What comes with the next write, and which way it goes: past the page cache where it is much, unless
 * somebody reads this partition out of segments. Who keeps up is served from memory, and who does
 * not will want the cache. What goes past the cache ends at a page's edge: the page that the end of each write
 * would leave in the cache alone keeps who reads the segment later from reading ahead in large pieces. The rest
 * comes with the next write, and with the next turn where that is not much and nobody hurries: then it goes
 * through the cache. False: not in this turn. Under p->lock.
 */
static bool choose(struct log *l, struct partition *p, const struct segment *s, uint64_t room, bool hurried,
		   struct load *load)
{
	if (!l->direct.refused && !is_read(p)) {
		gather(p, s->begun, room < DIRECT_BYTES ? room : DIRECT_BYTES, load);
		if (load->bytes >= l->options.direct_bytes_min) {
			load->of.direct = &l->direct;
			return true;
		}
		if (!hurried && p->rested_turn == l->move_turn)
			return false;
	}
	gather(p, s->begun, room < MOVE_BYTES ? room : MOVE_BYTES, load);
	return true;
}

static int add_segment(struct partition *p, int64_t base)
{
	struct segment_place place = {.sys = p->log->sys,
				      .files = p->log->files,
				      .topics_dir = p->log->topics_dir,
				      .topic = p->topic,
				      .number = p->number,
				      .index_interval = p->log->options.index_interval_bytes,
				      .gauge = p->log->options.read_gauge};
	struct segment *s;
	int rc;

	if (p->segment_count == p->segment_cap) {
		uint32_t cap = p->segment_cap ? p->segment_cap * 2 : 2;
		struct segment **grown = mem_realloc(p->segments, cap * sizeof(struct segment *));
		if (!grown)
			return -ENOMEM;
		p->segments = grown;
		p->segment_cap = cap;
	}
	rc = segment_new(&place, base, &s);
	if (rc)
		return -ENOMEM;
	s->uncut = p->log->recovering;
	p->segments[p->segment_count++] = s;
	return 0;
}

/* The segment to append to, which may be a new one; shares. Under p->lock; *sealed is one to seal afterwards. */
static int segment_to_append(struct partition *p, int64_t base, uint32_t first_bytes, struct segment **out,
			     struct segment **sealed)
{
	uint64_t limit = p->options.segment_bytes ? p->options.segment_bytes : p->log->options.segment_bytes;
	struct segment *last = p->segment_count ? p->segments[p->segment_count - 1] : NULL;
	int rc = 0;

	*sealed = NULL;
	if (last && last->begun) {
		*out = segment_ref(last);
		return 0;
	}
	if (last && (p->last_sealed ||
		     (atomic_load(&last->bytes) > 0 && atomic_load(&last->bytes) + first_bytes > limit) ||
		     base - last->base > INT32_MAX)) {
		*sealed = segment_ref(last);
		last = NULL;
	}
	if (!last)
		rc = add_segment(p, base);
	if (rc) {
		segment_unref(*sealed);
		return rc;
	}
	p->last_sealed = false;
	*out = segment_ref(p->segments[p->segment_count - 1]);
	return 0;
}

int mover_roll(struct partition *p)
{
	struct segment *last, *sealed = NULL;
	int rc = 0;

	(void)pthread_mutex_lock(&p->lock);
	last = p->segment_count ? p->segments[p->segment_count - 1] : NULL;
	if (last && atomic_load(&last->bytes) > 0 && p->moved < p->ring_count) {
		p->last_sealed = true;
	} else if (last && atomic_load(&last->bytes) > 0) {
		rc = add_segment(p, p->end);
		if (rc == 0) {
			p->last_sealed = false;
			sealed = segment_ref(last);
			atomic_store(&p->segments[p->segment_count - 1]->last_append_ms,
				     atomic_load(&last->last_append_ms));
		}
	}
	(void)pthread_mutex_unlock(&p->lock);
	if (sealed)
		segment_seal(sealed);
	segment_unref(sealed);
	return rc ? ERR_NOMEM : 0;
}

static void unpin_groups(struct log *l, struct tail_group **groups, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		if (atomic_fetch_sub(&groups[i]->unmoved, 1) == 1)
			atomic_fetch_sub(&l->pinned_bytes, (int64_t)groups[i]->blob->len);
}

/*
 * Never before a timestamp that was given, wherever the clock has gone since: a
 * start takes it for the one below which none is given.
 */
static int64_t append_time(struct partition *p)
{
	int64_t now_ms = sys_wall_ms(p->log->sys), given_ms = atomic_load(&p->last_time_ms);

	return now_ms > given_ms ? now_ms : given_ms;
}

enum next { NEXT_NONE, NEXT_SOON, NEXT_TURN };

/* Bytes that were written, 0 where nothing was, -errno; *next: when to come by again. */
static int64_t move_some(struct log *l, struct partition *p, bool hurried, enum next *next)
{
	struct load load;
	struct segment *s, *sealed;
	const struct tail_ref *ref;
	uint64_t limit, used;
	bool now = true;
	bool tells = false; /* maintenance: a segment to be rewritten one day was closed, or begun */
	int rc;

	*next = NEXT_NONE;
	(void)pthread_mutex_lock(&p->lock);
	if (p->moved == p->ring_count) {
		(void)pthread_mutex_unlock(&p->lock);
		return 0;
	}
	*next = NEXT_SOON;
	ref = &p->ring[(p->ring_head + p->moved) & (p->ring_cap - 1)];
	rc = segment_to_append(p, ref->base, ref->bytes, &s, &sealed);
	if (rc == 0) {
		limit = p->options.segment_bytes ? p->options.segment_bytes : l->options.segment_bytes;
		used = atomic_load(&s->bytes);
		if (p->last_sealed) /* what is begun, and no more */
			limit = 0;
		limit = limit > used ? limit - used : 0;
		now = choose(l, p, s, limit, hurried, &load);
		tells = (p->options.compact || p->options.recompress_ms) &&
			(sealed || atomic_load(&s->first_append_ms) == 0);
	}
	(void)pthread_mutex_unlock(&p->lock);
	if (rc)
		return rc;
	if (sealed)
		segment_seal(sealed);
	segment_unref(sealed);
	if (!now) {
		segment_unref(s);
		*next = NEXT_TURN;
		return 0;
	}
	rc = segment_append(s, &load.of, append_time(p));
	(void)pthread_mutex_lock(&p->lock);
	if (rc == 0) {
		p->moved += load.of.whole;
		s->dirty = true;
		if (load.of.whole < load.of.count)
			p->rested_turn = l->move_turn;
		else if (p->moved == p->ring_count)
			*next = NEXT_NONE;
	}
	(void)pthread_mutex_unlock(&p->lock);
	segment_unref(s);
	if (rc)
		return rc;
	unpin_groups(l, load.groups, load.of.whole);
	if (tells)
		maintain_wake(l);
	return (int64_t)load.of.written;
}

static void advance_moved(struct log *l)
{
	(void)pthread_mutex_lock(&l->tail_lock);
	while (l->first_unmoved && atomic_load(&l->first_unmoved->unmoved) == 0) {
		l->moved_sequence = l->first_unmoved->sequence;
		l->first_unmoved = l->first_unmoved->next;
	}
	(void)pthread_cond_broadcast(&l->moved);
	(void)pthread_mutex_unlock(&l->tail_lock);
}

/* Takes the references of one group out of the rings; its batches are the oldest there. */
static void forget_group(struct log *l, struct tail_group *t)
{
	for (uint32_t i = 0; i < t->count; i++) {
		struct partition *p = t->partitions[i];
		(void)pthread_mutex_lock(&p->lock);
		CHECK(p->ring_count > 0 && p->ring[p->ring_head].group == t && p->moved > 0);
		p->ring_head = (p->ring_head + 1) & (p->ring_cap - 1);
		p->ring_count--;
		p->moved--;
		if (p->ring_count == 0) {
			mem_free(p->ring);
			p->ring = NULL;
			p->ring_cap = p->ring_head = 0;
		}
		(void)pthread_mutex_unlock(&p->lock);
	}
	atomic_fetch_sub(&l->tail_bytes, (int64_t)t->blob->cap);
	blob_unref(t->blob);
	mem_free(t);
}

void tail_evict(struct log *l, bool all)
{
	for (;;) {
		struct tail_group *t;
		(void)pthread_mutex_lock(&l->tail_lock);
		t = l->tail_first;
		if (t == l->first_unmoved ||
		    (!all && atomic_load(&l->tail_bytes) <= (int64_t)l->options.tail_bytes_max))
			t = NULL;
		if (t) {
			l->tail_first = t->next;
			if (!l->tail_first)
				l->tail_last = NULL;
		}
		(void)pthread_mutex_unlock(&l->tail_lock);
		if (!t)
			return;
		forget_group(l, t);
	}
}

/* Some of one partition's batches: bytes, at least 1, 0 where none waited in this turn, -errno where the disk refused. */
static int64_t step(struct log *l)
{
	enum next next;
	bool hurried;
	struct partition *p = take_queued(l, &hurried);
	int64_t rc;

	if (!p)
		return 0;
	rc = move_some(l, p, hurried, &next);
	if (next != NEXT_NONE)
		put_back(l, p, next == NEXT_TURN ? &l->resting : &l->queue);
	if (rc < 0) {
		if (!atomic_exchange(&l->move_failing, (int)rc))
			core_say(l, LOG_ERROR, "segment_write_failed",
				 "%s; ingest is refused until it works again", sys_error_text((int)rc));
		return rc;
	}
	if (atomic_exchange(&l->move_failing, 0))
		core_say(l, LOG_INFO, "segment_write_works", "segments are written again");
	return rc ? rc : 1;
}

static void tell_of_room(struct log *l)
{
	if (atomic_load(&l->pinned_bytes) >= 2 * atomic_load(&l->lag_bytes) ||
	    !atomic_exchange(&l->held_back, false))
		return;
	(void)pthread_mutex_lock(&l->ports_lock);
	for (struct log_port *port = l->ports; port; port = port->next)
		log_port_wake(port);
	(void)pthread_mutex_unlock(&l->ports_lock);
}

int64_t mover_turn(struct log *l)
{
	int64_t rc = step(l);

	if (rc == 0) {
		(void)pthread_mutex_lock(&l->tail_lock);
		begin_turn(l);
		(void)pthread_mutex_unlock(&l->tail_lock);
		rc = step(l);
	}
	advance_moved(l);
	tail_evict(l, false);
	tell_of_room(l);
	return rc;
}

/* True once enough waits, somebody asked, or the log stops. Under tail_lock. */
static bool is_due(const struct log *l)
{
	return l->mover_stop || l->move_wanted > l->moved_sequence ||
	       atomic_load(&l->pinned_bytes) >= mover_lag_bytes(l);
}

int64_t mover_lag_bytes(const struct log *l)
{
	int64_t bytes = LAG_BYTES + (int64_t)l->queued_count * LAG_BYTES_A_PARTITION;
	int64_t most = (int64_t)l->options.pinned_bytes_max / 2;

	return bytes < most ? bytes : most;
}

bool log_lags(struct log *l)
{
	if (atomic_load(&l->pinned_bytes) < 2 * atomic_load(&l->lag_bytes))
		return false;
	atomic_store(&l->held_back, true);
	return atomic_load(&l->pinned_bytes) >=
	       2 * atomic_load(&l->lag_bytes); /* or the mover has not seen it */
}

/* Under tail_lock; the queue grows meanwhile, so it is looked at again. */
static void let_gather(struct log *l)
{
	for (int64_t waited = 0; l->queue.first && !is_due(l); waited += LAG_MS) {
		int64_t lag = LAG_MS + l->queued_count / LAG_PARTITIONS_A_MS;

		if (waited >= (lag < LAG_MS_MAX ? lag : LAG_MS_MAX))
			return;
		core_wait(&l->movable, &l->tail_lock, LAG_MS);
	}
}

/* Sleeps without a clock while nothing waits; then lets a little gather. False when it is time to end. */
static bool wait_for_work(struct log *l)
{
	bool go_on;

	(void)pthread_mutex_lock(&l->tail_lock);
	begin_turn(l);
	while (!l->queue.first && !l->mover_stop) {
		l->mover_idle = true;
		(void)pthread_cond_wait(&l->movable, &l->tail_lock);
	}
	l->mover_idle = false;
	let_gather(l);
	go_on = l->queue.first || !l->mover_stop;
	(void)pthread_mutex_unlock(&l->tail_lock);
	return go_on;
}

static void pause_after_failure(struct log *l)
{
	(void)pthread_mutex_lock(&l->tail_lock);
	core_wait(&l->movable, &l->tail_lock, FAILURE_MS);
	(void)pthread_mutex_unlock(&l->tail_lock);
}

/*
 * What waits now: what comes meanwhile gathers again. After each MOVE_BYTES it
 * steps aside, because nobody waits for the mover and all wait for the others.
 */
static int64_t move_what_waits(struct log *l)
{
	int64_t left = atomic_load(&l->pinned_bytes), stretch = 0, rc;

	while ((rc = step(l)) > 0) {
		left -= rc;
		stretch += rc;
		if (left <= 0 && atomic_load(&l->pinned_bytes) > 0)
			break;
		if (stretch < MOVE_BYTES)
			continue;
		stretch = 0;
		advance_moved(l);
		tail_evict(l, false);
		tell_of_room(l);
		(void)sched_yield();
	}
	advance_moved(l);
	tail_evict(l, false);
	tell_of_room(l);
	return rc;
}

void *mover_main(void *arg)
{
	struct log *l = arg;

	(void)pthread_setname_np(pthread_self(), "weir-move");
	while (wait_for_work(l)) {
		if (move_what_waits(l) < 0) {
			bool stop;
			pause_after_failure(l);
			(void)pthread_mutex_lock(&l->tail_lock);
			stop = l->mover_stop;
			(void)pthread_mutex_unlock(&l->tail_lock);
			if (stop)
				break;
		}
	}
	return NULL;
}

static int reach_error(int64_t rc)
{
	return rc == -ENOSPC || rc == -EDQUOT ? ERR_DISK_FULL : ERR_IO;
}

int mover_reach(struct log *l, uint64_t sequence)
{
	int rc = 0;

	if (!l->started) {
		int64_t moved;
		(void)pthread_mutex_lock(&l->tail_lock);
		l->move_wanted = UINT64_MAX;
		begin_turn(l);
		(void)pthread_mutex_unlock(&l->tail_lock);
		while ((moved = step(l)) > 0)
			;
		l->move_wanted = 0;
		advance_moved(l);
		tail_evict(l, false);
		return moved < 0 ? reach_error(moved) : 0;
	}
	(void)pthread_mutex_lock(&l->tail_lock);
	if (sequence > l->move_wanted)
		l->move_wanted = sequence;
	(void)pthread_cond_signal(&l->movable);
	while (l->first_unmoved && l->moved_sequence < sequence && rc == 0) {
		(void)pthread_cond_wait(&l->moved, &l->tail_lock);
		if (atomic_load(&l->move_failing))
			rc = reach_error(atomic_load(&l->move_failing));
	}
	(void)pthread_mutex_unlock(&l->tail_lock);
	return rc;
}
