/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pulling. The queue of ready places gives turns: the first is asked for a
 * batch and goes to the back; one that is at its end leaves the queue until its
 * partition moves. So a pull costs the same with one partition and with two
 * hundred of which one is busy.
 *
 * One read from disk at a time: a reader that is behind everywhere goes through
 * its partitions in turn anyway, and what it may hold of memory stays one view.
 * Times are looked up before anything is given, so that a cursor always has an
 * offset for every partition or for none.
 *
 * Readers are read_committed: the end is the last stable offset, and batches that were
 * aborted, and markers, are left out here, so that nobody above knows of transactions.
 */
#include "deliver/inner.h"

#include "base/check.h"
#include "base/mem.h"

#define FETCH_BYTES_MAX (256u << 10)
#define AGAIN 100      /* of settle and start_fetch: nothing for the caller yet */
#define HIDDEN 101     /* of settle: the same, the place has moved over what is not shown */
#define HIDDEN_MAX 64u /* in a row, before others of the loop have their turn */

void reader_push(struct reader_place *place)
{
	struct reader *r = place->reader;

	place->state = PLACE_READY;
	place->next = NULL;
	if (r->ready_last)
		r->ready_last->next = place;
	else
		r->ready_first = place;
	r->ready_last = place;
}

static struct reader_place *pop_ready(struct reader *r)
{
	struct reader_place *place = r->ready_first;

	if (place) {
		r->ready_first = place->next;
		if (!r->ready_first)
			r->ready_last = NULL;
		place->next = NULL;
	}
	return place;
}

/* ---- reads from disk ---- */

static void free_fetch(struct reader_fetch *f)
{
	if (f->done)
		blob_unref(f->read.view.blob);
	mem_free(f);
}

static void take_off(struct reader_fetch *f)
{
	*f->prev = f->next;
	if (f->next)
		f->next->prev = f->prev;
}

static void put_on(struct reader_fetch *f)
{
	f->next = f->hub->fetches;
	if (f->next)
		f->next->prev = &f->next;
	f->hub->fetches = f;
	f->prev = &f->hub->fetches;
}

static void on_read(struct log_read *read)
{
	struct reader_fetch *f = (struct reader_fetch *)read;

	f->done = true;
	take_off(f);
	if (!f->reader) {
		free_fetch(f);
		return;
	}
	reader_push(f->place);
	hub_wake(f->reader);
}

static int submit_fetch(struct reader_fetch *f, const struct reader_place *place)
{
	struct log *l = f->hub->options.log;

	if (!place->unresolved)
		return log_read_start(l, &f->read);
	f->read.time_ms = f->reader->extra->time_ms;
	return log_find_start(l, &f->read);
}

/* The place waits for the disk, in the queue where another place of this reader is there already. */
static int start_fetch(struct reader_place *place, size_t bytes_max)
{
	struct reader *r = place->reader;
	struct reader_fetch *f;
	int rc;

	if (r->fetch) {
		reader_push(place);
		return AGAIN;
	}
	f = mem_zalloc(1, sizeof(*f));
	if (!f) {
		reader_push(place);
		return ERR_NOMEM;
	}
	f->hub = r->hub;
	f->reader = r;
	f->place = place;
	f->read = (struct log_read){
		.partition = place->partition,
		.offset = place->offset,
		.bytes_max = bytes_max < FETCH_BYTES_MAX ? bytes_max : FETCH_BYTES_MAX,
		.stable = true,
		.port = r->hub->options.port,
		.on_read = on_read,
	};
	rc = submit_fetch(f, place);
	if (rc) {
		mem_free(f);
		reader_push(place);
		return rc;
	}
	put_on(f);
	r->fetch = f;
	place->state = PLACE_FETCHING;
	return AGAIN;
}

/* ---- what a read gave ---- */

static void fill_view(struct reader_place *place, struct reader_view *view)
{
	struct reader *r = place->reader;

	*view = (struct reader_view){
		.topic = r->topics[place->topic].topic,
		.partition = place->partition,
		.number = partition_number(place->partition),
		.from = place->offset,
	};
	r->current = place;
}

static int give_gap(struct reader_place *place, int64_t to, bool damage, struct reader_view *view)
{
	fill_view(place, view);
	view->next_offset = to;
	view->damage = damage;
	place->offset = to;
	reader_push(place);
	return READER_GAP;
}

/* The retained log begins behind this place. */
static int on_gone(struct reader_place *place, struct reader_view *view)
{
	struct partition_range range;

	partition_range(place->partition, &range);
	return give_gap(place, range.start > place->offset ? range.start : place->offset, false, view);
}

/*
 * Batches at the front that a committed reader does not see are left out, and so is everything from the
 * next such one on; next_offset moves with that. As if they had been compacted away: nobody is told.
 */
static void keep_committed(struct partition *p, struct log_view *found)
{
	struct slice rest = found->batches;
	struct batch_head head;

	while (rest.len && batch_head_read(rest, &head) == 0 && partition_hides(p, &head))
		rest = slice_from(rest, head.bytes);
	found->batches = rest;
	while (rest.len && batch_head_read(rest, &head) == 0) {
		if (partition_hides(p, &head)) {
			found->next_offset = head.base_offset;
			break;
		}
		rest = slice_from(rest, head.bytes);
	}
	found->batches.len -= rest.len;
}

static int on_view(struct reader_place *place, struct log_view *found, struct reader_view *view)
{
	if (found->gap.from < found->gap.to) {
		blob_unref(found->blob);
		return give_gap(place, found->gap.to, true, view);
	}
	keep_committed(place->partition, found);
	if (found->batches.len == 0) {
		blob_unref(found->blob);
		place->offset = found->next_offset;
		reader_push(place);
		return HIDDEN;
	}
	fill_view(place, view);
	view->blob = found->blob;
	view->batches = found->batches;
	view->next_offset = found->next_offset;
	view->entered_ns = found->entered_ns;
	reader_push(place);
	return READER_BATCH;
}

static void rest(struct reader_place *place)
{
	place->state = PLACE_IDLE;
	if (place->watch)
		hub_park(place);
}

/* What log_read's result means for the place, and for the caller. */
static int settle(struct reader_place *place, int rc, struct log_view *found, size_t bytes_max,
		  struct reader_view *view)
{
	switch (rc) {
	case LOG_READ_OK:
		return on_view(place, found, view);
	case LOG_READ_END:
		rest(place);
		return AGAIN;
	case LOG_READ_WAIT:
		return start_fetch(place, bytes_max);
	case ERR_CURSOR_GONE:
		return on_gone(place, view);
	default:
		reader_push(place);
		return rc;
	}
}

/* ---- one place's turn ---- */

static bool has_fetched(const struct reader_place *place)
{
	const struct reader_fetch *f = place->reader->fetch;

	return f && f->done && f->place == place;
}

static int resolve(struct reader_place *place)
{
	struct reader *r = place->reader;
	struct reader_fetch *f = r->fetch;
	struct partition_range range;
	int rc;

	if (!has_fetched(place))
		return start_fetch(place, 0);
	rc = f->read.result;
	if (rc == 0) {
		/* What is not decided yet has no time for this reader: it may come later than what is behind it. */
		partition_range(place->partition, &range);
		place->offset = f->read.offset < range.stable ? f->read.offset : range.stable;
		place->unresolved = false;
		r->unresolved--;
	}
	r->fetch = NULL;
	free_fetch(f);
	reader_push(place);
	return rc ? rc : AGAIN;
}

static int take_fetched(struct reader_place *place, size_t bytes_max, struct reader_view *view)
{
	struct reader_fetch *f = place->reader->fetch;
	struct log_view found = f->read.view;
	int rc = f->read.result;
	bool fresh = f->read.offset == place->offset;

	f->read.view.blob = NULL; /* taken */
	place->reader->fetch = NULL;
	free_fetch(f);
	if (fresh && rc != LOG_READ_END)
		return settle(place, rc, &found, bytes_max, view);
	/* The end it saw is old news: asked again, so that nothing falls between. */
	blob_unref(rc == LOG_READ_OK ? found.blob : NULL);
	reader_push(place);
	return AGAIN;
}

static int watch_place(struct reader_place *place)
{
	if (!place->reader->watching || place->watch)
		return 0;
	return hub_watch_take(place->reader->hub, place->partition, &place->watch);
}

static int turn(struct reader_place *place, size_t bytes_max, struct reader_view *view)
{
	struct log_view found;
	int rc;

	if (place->unresolved)
		return resolve(place);
	if (place->reader->unresolved) {
		reader_push(place);
		return AGAIN;
	}
	if (has_fetched(place))
		return take_fetched(place, bytes_max, view);
	rc = watch_place(place);
	if (rc) {
		reader_push(place);
		return rc;
	}
	rc = log_read_stable(place->partition, place->offset, bytes_max, &found);
	return settle(place, rc, &found, bytes_max, view);
}

int reader_next(struct reader *r, size_t bytes_max, struct reader_view *view)
{
	/* Each place twice: the last time that is looked up makes all others readable, an old fetch is asked again. */
	uint32_t turns = 2 * r->place_count + 1, hidden = 0;

	*view = (struct reader_view){0};
	r->current = NULL;
	if (r->status)
		return r->status;
	while (r->ready_first && turns-- > 0) {
		int rc = turn(pop_ready(r), bytes_max, view);
		if (rc == HIDDEN) {
			turns++;
			if (++hidden < HIDDEN_MAX)
				continue;
			reader_again(r);
			return READER_WAIT;
		}
		if (rc != AGAIN)
			return rc;
	}
	return r->fetch ? READER_WAIT : READER_END;
}

void reader_again(struct reader *r)
{
	hub_wake(r);
	log_port_wake(r->hub->options.port);
}

void reader_consumed(struct reader *r, int64_t offset)
{
	CHECK(r->current);
	if (offset > r->current->offset)
		r->current->offset = offset;
}

void reader_view_release(struct reader_view *view)
{
	blob_unref(view->blob);
	view->blob = NULL;
	view->batches = slice_null();
}

int reader_watch(struct reader *r)
{
	if (r->watching)
		return 0;
	r->watching = true;
	for (uint32_t i = 0; i < r->place_count; i++)
		if (r->places[i].state == PLACE_IDLE)
			reader_push(&r->places[i]);
	return 0;
}

/* ---- what it stands on ---- */

bool reader_filters(const struct reader *r)
{
	return r->extra && r->extra->has_key;
}

bool reader_wants(const struct reader *r, struct slice key)
{
	if (!reader_filters(r))
		return true;
	return key.ptr && slice_eq(key, slice_make(r->extra->key, r->extra->key_len));
}

uint32_t reader_kept_count(const struct reader *r)
{
	return r->extra ? r->extra->kept_count : 0;
}

bool reader_single(const struct reader *r)
{
	return r->topic_count == 1 && r->place_count == 1 && reader_kept_count(r) == 0;
}

bool reader_waits(const struct reader *r)
{
	return r->waiting > 0;
}

bool reader_caught_up(const struct reader *r)
{
	for (uint32_t i = 0; i < r->place_count; i++) {
		const struct reader_place *place = &r->places[i];
		struct partition_range range;
		if (place->unresolved)
			return false;
		if (place->state == PLACE_IDLE)
			continue;
		partition_range(place->partition, &range);
		if (place->offset < range.stable)
			return false;
	}
	return true;
}

/* ---- its cursor ---- */

static int64_t offset_of(const struct reader *r, const struct reader_place *place, int64_t current)
{
	return place == r->current && current >= 0 ? current : place->offset;
}

/* What a cursor is gathered in: the reader's places and the ones that are kept, both rising. */
struct gathering {
	const struct reader *reader;
	int64_t current;
	struct cursor_place *to;
	uint32_t count;     /* gathered */
	uint32_t place;     /* next to take */
	uint32_t kept;      /* likewise */
	uint32_t kept_room; /* of kept ones that still fit */
};

static const struct reader_kept *next_kept(const struct gathering *g, uint32_t topic)
{
	if (g->kept == reader_kept_count(g->reader) || g->reader->extra->kept[g->kept].topic != topic)
		return NULL;
	return &g->reader->extra->kept[g->kept];
}

/* The next of a topic in the order of partitions; false behind the last. One that is read stands before what was kept of it. */
static bool gather_place(struct gathering *g, uint32_t topic)
{
	const struct reader *r = g->reader;
	const struct reader_place *place = NULL;
	const struct reader_kept *kept = next_kept(g, topic);

	if (g->place < r->place_count && r->places[g->place].topic == topic)
		place = &r->places[g->place];
	if (!place && !kept)
		return false;
	if (!place || (kept && kept->place.partition < partition_number(place->partition))) {
		g->kept++;
		if (g->kept_room == 0)
			return true;
		g->kept_room--;
		g->to[g->count++] = kept->place;
		return true;
	}
	if (kept && kept->place.partition == partition_number(place->partition))
		g->kept++;
	g->place++;
	g->to[g->count].partition = partition_number(place->partition);
	g->to[g->count++].offset = offset_of(r, place, g->current);
	return true;
}

/* Topics that are waited for have no name in the cursor: they will start at their beginning. */
static uint32_t list_topics(struct reader *r, int64_t current, uint32_t *places)
{
	struct hub *hub = r->hub;
	struct gathering g = {.reader = r,
			      .current = current,
			      .to = (struct cursor_place *)(void *)hub->places.ptr,
			      .kept_room = CURSOR_PLACES_MAX - r->place_count};
	uint32_t count = 0;

	for (uint32_t i = 0; i < r->topic_count; i++) {
		const struct topic *topic = r->topics[i].topic;
		struct cursor_topic *t = &hub->topics[count];
		if (!topic)
			continue;
		*t = (struct cursor_topic){.id = topic->id,
					   .name_hash = cursor_name_hash(slice_str(topic->name)),
					   .first = g.count};
		while (gather_place(&g, i))
			;
		t->count = g.count - t->first;
		count++;
	}
	CHECK(g.place == r->place_count && g.kept == reader_kept_count(r));
	*places = g.count;
	return count;
}

static size_t places_to_name(const struct reader *r)
{
	size_t n = (size_t)r->place_count + reader_kept_count(r);

	return n < CURSOR_PLACES_MAX ? n : CURSOR_PLACES_MAX;
}

static int put_single(const struct reader *r, int64_t current, struct buf *to)
{
	const struct topic *topic = r->topics[0].topic;
	struct cursor_stem stem;
	int rc = buf_reserve(to, CURSOR_ONE_MAX);

	if (rc)
		return rc;
	cursor_stem_init(&stem, &topic->id, cursor_name_hash(slice_str(topic->name)),
			 partition_number(r->places[0].partition));
	to->len += cursor_one(&stem, offset_of(r, &r->places[0], current), (char *)to->ptr + to->len);
	return 0;
}

static int put_cursor(struct reader *r, int64_t current, struct buf *to)
{
	struct hub *hub = r->hub;
	struct cursor c = {.kind = CURSOR_EARLIEST};
	int rc;

	if (r->unresolved || (r->kind == CURSOR_TIME && r->place_count == 0)) {
		c.kind = CURSOR_TIME;
		c.time_ms = r->extra->time_ms;
	} else if (r->place_count > 0) {
		if (reader_single(r))
			return put_single(r, current, to);
		buf_clear(&hub->places);
		rc = buf_reserve(&hub->places, places_to_name(r) * sizeof(struct cursor_place));
		if (rc)
			return rc;
		c = (struct cursor){.kind = CURSOR_PLACES, .topics = hub->topics};
		c.topic_count = list_topics(r, current, &c.place_count);
		c.places = (const struct cursor_place *)(const void *)hub->places.ptr;
	}
	return cursor_put(&c, &hub->bytes, to);
}

int reader_cursor(struct reader *r, struct buf *to)
{
	return put_cursor(r, -1, to);
}

int reader_cursor_at(struct reader *r, int64_t offset, struct buf *to)
{
	return put_cursor(r, offset, to);
}

int reader_position(const struct reader *r, struct reader_position *out)
{
	struct partition_range range;

	if (r->place_count != 1)
		return ERR_NOT_FOUND;
	partition_range(r->places[0].partition, &range);
	out->partition = partition_number(r->places[0].partition);
	out->offset = r->places[0].offset;
	out->start = range.start;
	out->end = range.end;
	return 0;
}

uint32_t reader_skip_gone(struct reader *r, void (*fn)(void *ctx, const struct reader_view *gap), void *ctx)
{
	uint32_t gone = 0;

	if (r->unresolved) /* its cursor is a time still, and would be looked up anew: a gap told now could be told wrong */
		return 0;
	for (uint32_t i = 0; i < r->place_count; i++) {
		struct reader_place *place = &r->places[i];
		struct partition_range range;
		struct reader_view gap;
		partition_range(place->partition, &range);
		if (place->offset >= range.start)
			continue;
		fill_view(place, &gap);
		gap.next_offset = place->offset = range.start;
		if (fn)
			fn(ctx, &gap);
		gone++;
	}
	r->current = NULL;
	return gone;
}

/* Fixed: the same position has the same stamp after a restart. */
static const struct hash_key stamp_key = {0x776569722d737461, 0x6d702d6b65792d31};

int reader_stamp(struct reader *r, struct hash128 *out)
{
	struct buf *to = &r->hub->bytes;
	int64_t time_ms = r->kind == CURSOR_TIME ? r->extra->time_ms : 0;

	buf_clear(to);
	(void)buf_append(to, &time_ms, sizeof(time_ms));
	for (uint32_t i = 0; i < r->place_count; i++) {
		struct reader_place *place = &r->places[i];
		struct partition_range range;
		int64_t numbers[4];
		partition_range(place->partition, &range);
		numbers[0] = partition_number(place->partition);
		numbers[1] = place->unresolved ? -1 : place->offset;
		numbers[2] = range.end;
		numbers[3] = range.stable;
		(void)buf_append(to, partition_topic(place->partition), sizeof(struct topic_id));
		(void)buf_append(to, numbers, sizeof(numbers));
	}
	for (uint32_t i = 0; i < reader_kept_count(r); i++) {
		const struct reader_kept *kept = &r->extra->kept[i];
		(void)buf_append(to, &kept->place.partition, sizeof(kept->place.partition));
		(void)buf_append(to, &kept->place.offset, sizeof(kept->place.offset));
	}
	*out = hash_sip24_128(&stamp_key, buf_slice(to));
	return buf_status(to);
}

static void free_extra(struct reader_extra *e)
{
	for (uint32_t i = 0; e->names && i < CURSOR_TOPICS_MAX; i++)
		mem_free(e->names[i]);
	mem_free(e->names);
	mem_free(e->kept);
	mem_free(e->key);
	mem_free(e);
}

static size_t bytes_held(const struct reader *r)
{
	size_t bytes = sizeof(*r) + 16; /* with the allocator's own */

	if (r->extra)
		bytes += sizeof(*r->extra) + r->extra->key_len +
			 r->extra->kept_count * sizeof(*r->extra->kept);
	if (r->topics != &r->one_topic)
		bytes += r->topic_count * sizeof(*r->topics);
	if (r->places != &r->one)
		bytes += r->place_count * sizeof(*r->places);
	return bytes;
}

void reader_charge(struct reader *r)
{
	struct budget_share *share = r->hub->options.share;

	if (!share)
		return;
	budget_sub(share, r->charged);
	r->charged = (uint32_t)bytes_held(r);
	budget_add(share, r->charged);
}

void reader_close(struct reader *r)
{
	if (!r)
		return;
	for (uint32_t i = 0; i < r->place_count; i++) {
		struct reader_place *place = &r->places[i];
		if (place->prev)
			hub_unpark(place);
		if (place->watch)
			hub_watch_give(place->watch);
	}
	if (r->fetch && r->fetch->done)
		free_fetch(r->fetch);
	else if (r->fetch)
		r->fetch->reader = NULL;
	hub_remove(r->hub, r);
	if (r->charged)
		budget_sub(r->hub->options.share, r->charged);
	if (r->extra)
		free_extra(r->extra);
	if (r->topics != &r->one_topic)
		mem_free(r->topics);
	if (r->places != &r->one)
		mem_free(r->places);
	mem_free(r);
}
