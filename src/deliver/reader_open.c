/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From names, a selection and a cursor to places; and again when topics appear
 * or grow. Both are the same step, lay_out: it lists what is selected now, takes
 * over the places that were there and begins the new ones, at the cursor when
 * the reader opens and at their beginning later. Places stand in the order of
 * the topics asked for, within one by partition.
 */
#include "deliver/inner.h"

#include "base/check.h"
#include "base/hash.h"
#include "base/mem.h"

/* A key's cursor that names no more than this many partitions of a topic selects them too. */
#define KEY_PLACES_MAX 8u

/* ---- partition sets ---- */

static bool take_number(struct slice *s, uint32_t *out)
{
	uint64_t value;
	size_t n = 0;

	while (n < s->len && s->ptr[n] >= '0' && s->ptr[n] <= '9')
		n++;
	if (!slice_to_u64(slice_make(s->ptr, n), &value) || value >= TOPIC_PARTITIONS_MAX)
		return false;
	*out = (uint32_t)value;
	*s = slice_from(*s, n);
	return true;
}

static bool take_range(struct slice *s, struct partition_set *set)
{
	uint32_t first, last;

	if (set->count == PARTITION_RANGES_MAX || !take_number(s, &first))
		return false;
	last = first;
	if (s->len && s->ptr[0] == '-') {
		*s = slice_from(*s, 1);
		if (!take_number(s, &last) || last < first)
			return false;
	}
	if (set->count > 0 && first <= set->ranges[set->count - 1].last)
		return false;
	set->ranges[set->count].first = first;
	set->ranges[set->count++].last = last;
	return true;
}

int partition_set_parse(struct slice text, struct partition_set *out, struct fault *fault)
{
	out->count = 0;
	for (;;) {
		if (!take_range(&text, out))
			break;
		if (text.len == 0)
			return 0;
		if (text.ptr[0] != ',')
			break;
		text = slice_from(text, 1);
	}
	out->count = 0;
	return fault_set(
		fault, ERR_BAD_PARAMETER,
		"partitions holds up to %u numbers and ranges below %u in rising order, such as 0-99 or 0,3,5-7",
		PARTITION_RANGES_MAX, TOPIC_PARTITIONS_MAX);
}

bool partition_set_has(const struct partition_set *set, uint32_t partition)
{
	if (set->count == 0)
		return true;
	for (uint32_t i = 0; i < set->count; i++)
		if (partition >= set->ranges[i].first && partition <= set->ranges[i].last)
			return true;
	return false;
}

/* ---- what is selected ---- */

static const struct cursor_topic *cursor_find_topic(const struct cursor *c, const struct topic_id *id)
{
	if (!c || c->kind != CURSOR_PLACES)
		return NULL;
	for (uint32_t i = 0; i < c->topic_count; i++)
		if (topic_id_eq(&c->topics[i].id, id))
			return &c->topics[i];
	return NULL;
}

static const struct cursor_place *find_place(const struct cursor *c, const struct cursor_topic *t,
					     uint32_t partition)
{
	uint32_t low = t->first, high = t->first + t->count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;
		if (c->places[middle].partition == partition)
			return &c->places[middle];
		if (c->places[middle].partition < partition)
			low = middle + 1;
		else
			high = middle;
	}
	return NULL;
}

static struct reader_place *find_old(struct reader_place *places, uint32_t count, const struct partition *p)
{
	for (uint32_t i = 0; i < count; i++)
		if (places[i].partition == p)
			return &places[i];
	return NULL;
}

/*
 * A key goes to one partition, but when the topic grew it went to another
 * before: what was read so far is read on, and so is what a cursor that names
 * few partitions stands on.
 */
static bool is_selected(const struct reader *r, uint32_t topic, uint32_t partition, uint32_t count,
			const struct cursor *cursor)
{
	const struct reader_extra *e = r->extra;
	const struct cursor_topic *named;

	if (e && e->has_set)
		return partition_set_has(&e->set, partition);
	if (!e || !e->has_key)
		return true;
	if (hash_partition(slice_make(e->key, e->key_len), count) == partition)
		return true;
	named = cursor_find_topic(cursor, &r->topics[topic].topic->id);
	return named && named->count <= KEY_PLACES_MAX && find_place(cursor, named, partition);
}

/* ---- laying out ---- */

struct layout {
	struct reader *reader;
	const struct cursor *cursor; /* NULL: growing */
	struct reader_place *places;
	uint32_t count;
	struct fault *fault;
};

static int begin_at_cursor(struct reader_place *place, const struct layout *l,
			   const struct partition_range *range)
{
	const struct topic *topic = l->reader->topics[place->topic].topic;
	const struct cursor_topic *named = cursor_find_topic(l->cursor, &topic->id);
	const struct cursor_place *at;
	uint32_t number = partition_number(place->partition);

	/* Not named: it was added after the cursor was made. */
	at = named ? find_place(l->cursor, named, number) : NULL;
	place->offset = at ? at->offset : range->start;
	if (place->offset > range->end)
		return fault_set(
			l->fault, ERR_CURSOR_AHEAD,
			"The cursor stands at offset %lld of partition %u of topic '%s', which ends at %lld",
			(long long)place->offset, number, topic->name, (long long)range->end);
	return 0;
}

/* Where the cursor stood in a partition that was not selected until the topic grew (a key's new home). */
static const struct reader_kept *find_kept(const struct reader *r, const struct reader_place *place)
{
	for (uint32_t i = 0; i < reader_kept_count(r); i++)
		if (r->extra->kept[i].topic == place->topic &&
		    r->extra->kept[i].place.partition == partition_number(place->partition))
			return &r->extra->kept[i];
	return NULL;
}

static int begin_place(struct reader_place *place, const struct layout *l)
{
	const struct reader_kept *kept = find_kept(l->reader, place);
	struct partition_range range;

	partition_range(place->partition, &range);
	place->offset = kept && kept->place.offset <= range.end ? kept->place.offset : range.start;
	if (l->reader->kind == CURSOR_TIME && (l->cursor || l->reader->place_count == 0)) {
		place->unresolved = true;
		l->reader->unresolved++;
	}
	if (!l->cursor)
		return 0;
	if (l->cursor->kind == CURSOR_LATEST)
		place->offset = range.stable; /* what is undecided yet comes later */
	return l->cursor->kind == CURSOR_PLACES ? begin_at_cursor(place, l, &range) : 0;
}

static uint32_t count_selected(const struct reader *r, const struct cursor *cursor)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < r->topic_count; i++)
		for (uint32_t p = 0; p < r->topics[i].count; p++)
			count += is_selected(r, i, p, r->topics[i].count, cursor) ||
				 find_old(r->places, r->place_count, topic_partition(r->topics[i].topic, p));
	return count;
}

/* Takes the old place out of the list it hangs in; the copy is hung up again by put_back. */
static void move_place(struct reader_place *to, struct reader_place *from)
{
	struct reader *r = from->reader;

	if (from->prev)
		hub_unpark(from);
	*to = *from;
	if (r->current == from)
		r->current = to;
	if (r->fetch && r->fetch->place == from)
		r->fetch->place = to;
}

static int lay_topic(struct layout *l, uint32_t topic)
{
	struct reader *r = l->reader;
	const struct reader_topic *t = &r->topics[topic];

	for (uint32_t p = 0; p < t->count; p++) {
		struct partition *partition = topic_partition(t->topic, p);
		struct reader_place *old = find_old(r->places, r->place_count, partition);
		struct reader_place *place = &l->places[l->count];
		int rc;
		if (!old && !is_selected(r, topic, p, t->count, l->cursor))
			continue;
		l->count++;
		if (old) {
			move_place(place, old);
			continue;
		}
		*place = (struct reader_place){.reader = r,
					       .partition = partition,
					       .topic = topic,
					       .state = PLACE_READY};
		rc = begin_place(place, l);
		if (rc)
			return rc;
	}
	return 0;
}

static void put_back(struct reader *r)
{
	r->ready_first = r->ready_last = NULL;
	for (uint32_t i = 0; i < r->place_count; i++) {
		if (r->places[i].state == PLACE_READY)
			reader_push(&r->places[i]);
		else if (r->places[i].state == PLACE_IDLE && r->places[i].watch)
			hub_park(&r->places[i]);
	}
}

static int too_many(const struct reader *r, uint32_t count, struct fault *fault)
{
	return fault_set(
		fault, ERR_TOO_MANY_PARTITIONS,
		"This covers %u partitions; at most %u can be read at once: choose some, such as partitions=0-%u",
		count, r->partitions_max, r->partitions_max - 1u);
}

/* cursor NULL: topics came or grew. On an error of the opening the reader is only good for closing. */
static int lay_out(struct reader *r, const struct cursor *cursor, struct fault *fault)
{
	struct layout l = {.reader = r, .cursor = cursor, .fault = fault};
	struct reader_place *old = r->places;
	uint32_t count = count_selected(r, cursor);
	int rc = 0;

	if (count > r->partitions_max)
		return too_many(r, count, fault);
	if (count == r->place_count)
		return 0;
	l.places = count == 1 ? &r->one : mem_zalloc(count, sizeof(*l.places));
	if (!l.places)
		return ERR_NOMEM;
	for (uint32_t i = 0; i < r->topic_count && rc == 0; i++)
		if (r->topics[i].topic)
			rc = lay_topic(&l, i);
	CHECK(rc || l.count == count);
	r->places = l.places;
	r->place_count = l.count;
	if (old != &r->one)
		mem_free(old);
	put_back(r);
	return rc;
}

/* ---- what is not selected ---- */

static uint32_t list_kept(const struct reader *r, const struct cursor *c, struct reader_kept *out)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < r->topic_count; i++) {
		const struct reader_topic *t = &r->topics[i];
		const struct cursor_topic *named = t->topic ? cursor_find_topic(c, &t->topic->id) : NULL;
		for (uint32_t j = 0; named && j < named->count; j++) {
			struct cursor_place at = c->places[named->first + j];
			if (at.partition >= t->count || is_selected(r, i, at.partition, t->count, c))
				continue;
			if (out)
				out[count] = (struct reader_kept){.topic = i, .place = at};
			count++;
		}
	}
	return count;
}

/* So that who changes his selection finds the others where he left them. */
static int keep_unselected(struct reader *r, const struct cursor *c)
{
	struct reader_extra *e = r->extra;
	uint32_t count;

	if (!e || c->kind != CURSOR_PLACES || (!e->has_set && !e->has_key))
		return 0;
	count = list_kept(r, c, NULL);
	if (count == 0)
		return 0;
	e->kept = mem_alloc(count * sizeof(*e->kept));
	if (!e->kept)
		return ERR_NOMEM;
	e->kept_count = list_kept(r, c, e->kept);
	return 0;
}

/* ---- topics ---- */

static int check_selection(const struct reader *r, const struct topic *topic, uint32_t count,
			   struct fault *fault)
{
	const struct partition_set *set = &r->extra->set;
	uint32_t last = set->ranges[set->count - 1].last;

	if (last < count)
		return 0;
	return fault_set(fault, ERR_PARTITION_RANGE,
			 "Topic '%s' has %u partitions, 0 to %u; %u was asked for", topic->name, count,
			 count - 1, last);
}

/* Learns of a topic, or of its growth: 1 where anything changed, 0, ERR_PARTITION_RANGE. */
static int look_at(struct reader *r, uint32_t i, struct slice name, struct fault *fault)
{
	struct reader_topic *t = &r->topics[i];
	uint32_t count;
	int rc = 0;

	if (!t->topic) {
		t->topic = topics_find(r->hub->options.topics, name);
		if (!t->topic)
			return 0;
	}
	count = atomic_load(&t->topic->partition_count);
	if (count == t->count)
		return 0;
	if (t->count == 0 && r->extra && r->extra->has_set)
		rc = check_selection(r, t->topic, count, fault);
	t->count = count;
	return rc ? rc : 1;
}

static int wait_for(struct reader *r, uint32_t i, struct slice name)
{
	if (!r->extra->names)
		r->extra->names = mem_zalloc(CURSOR_TOPICS_MAX, sizeof(char *));
	if (!r->extra->names)
		return ERR_NOMEM;
	r->extra->names[i] = mem_strndup(name.ptr, name.len);
	if (!r->extra->names[i])
		return ERR_NOMEM;
	r->waiting++;
	return 0;
}

static int find_topic(struct reader *r, const struct reader_options *o, uint32_t i, struct fault *fault)
{
	struct slice name = o->topics[i];
	struct topic_config defaults;
	bool auto_create;
	int rc = topic_name_check(name, fault);

	if (rc)
		return rc;
	for (uint32_t j = 0; j < i; j++)
		if (slice_eq(o->topics[j], name))
			return fault_set(fault, ERR_BAD_PARAMETER, "Topic '%.*s' is named twice",
					 (int)name.len, (const char *)name.ptr);
	rc = look_at(r, i, name, fault);
	if (rc < 0 || r->topics[i].topic)
		return rc < 0 ? rc : 0;
	topics_defaults(r->hub->options.topics, &defaults, &auto_create);
	if (o->wait_for_topics && auto_create)
		return wait_for(r, i, name);
	return fault_set(fault, ERR_UNKNOWN_TOPIC, "There is no topic '%.*s'", (int)name.len,
			 (const char *)name.ptr);
}

/* Does the cursor belong to these topics? One in common is enough: others were added, or are not asked for. */
static int match_cursor(const struct reader *r, const struct reader_options *o, struct fault *fault)
{
	const struct cursor *c = o->cursor;
	bool common = false;

	if (c->kind != CURSOR_PLACES)
		return 0;
	for (uint32_t i = 0; i < r->topic_count; i++) {
		const struct topic *topic = r->topics[i].topic;
		uint32_t hash = cursor_name_hash(o->topics[i]);
		if (topic && cursor_find_topic(c, &topic->id)) {
			common = true;
			continue;
		}
		for (uint32_t j = 0; j < c->topic_count; j++)
			if (c->topics[j].name_hash == hash)
				return fault_set(
					fault, ERR_CURSOR_GONE,
					"Topic '%.*s' was deleted after the cursor was made; 'earliest' begins "
					"with its successor",
					(int)o->topics[i].len, (const char *)o->topics[i].ptr);
	}
	if (common)
		return 0;
	return fault_set(fault, ERR_CURSOR_MISMATCH, "The cursor was made for another topic than '%.*s'%s",
			 (int)o->topics[0].len, (const char *)o->topics[0].ptr,
			 r->topic_count > 1 ? " and the others" : "");
}

void reader_look_at_topics(struct reader *r)
{
	bool changed = false;
	int rc = 0;

	if (!r->watching || r->status)
		return;
	for (uint32_t i = 0; i < r->topic_count && rc >= 0; i++) {
		bool waited = !r->topics[i].topic;
		rc = look_at(r, i, waited ? slice_str(r->extra->names[i]) : slice_null(), NULL);
		if (waited && r->topics[i].topic)
			r->waiting--;
		changed = changed || rc > 0;
	}
	if (rc >= 0 && !changed)
		return;
	r->status = rc < 0 ? rc : lay_out(r, NULL, NULL);
	reader_charge(r);
	hub_wake(r);
}

/* ---- opening ---- */

static bool needs_extra(const struct reader_options *o)
{
	return o->key.ptr || (o->partitions && o->partitions->count) || o->cursor->kind == CURSOR_TIME ||
	       o->wait_for_topics;
}

static int make_extra(struct reader *r, const struct reader_options *o)
{
	struct reader_extra *e;

	if (!needs_extra(o))
		return 0;
	e = r->extra = mem_zalloc(1, sizeof(*e));
	if (!e)
		return ERR_NOMEM;
	e->time_ms = o->cursor->time_ms;
	if (o->partitions && o->partitions->count) {
		e->set = *o->partitions;
		e->has_set = true;
	}
	if (!o->key.ptr)
		return 0;
	e->key = (uint8_t *)mem_strndup(o->key.ptr, o->key.len);
	e->key_len = o->key.len;
	e->has_key = true;
	return e->key ? 0 : ERR_NOMEM;
}

/* A selection lifts the bound that guards streams from topics with very many partitions. */
static uint32_t places_allowed(const struct reader_options *o)
{
	bool selected = o->key.ptr || (o->partitions && o->partitions->count);

	return selected || o->partitions_max == 0 || o->partitions_max > CURSOR_PLACES_MAX ?
		       CURSOR_PLACES_MAX :
		       o->partitions_max;
}

static int begin(struct reader *r, const struct reader_options *o, struct fault *fault)
{
	int rc = make_extra(r, o);

	if (rc)
		return rc;
	r->topics = o->topic_count == 1 ? &r->one_topic : mem_zalloc(o->topic_count, sizeof(*r->topics));
	if (!r->topics)
		return ERR_NOMEM;
	for (uint32_t i = 0; i < o->topic_count && rc == 0; i++) {
		r->topic_count = (uint8_t)(i + 1);
		rc = find_topic(r, o, i, fault);
	}
	if (rc == 0)
		rc = match_cursor(r, o, fault);
	if (rc == 0)
		rc = keep_unselected(r, o->cursor);
	return rc ? rc : lay_out(r, o->cursor, fault);
}

/* A plain reader of topics that are all there does without the extra. */
static void drop_extra(struct reader *r, const struct reader_options *o)
{
	struct reader_options plain = *o;

	plain.wait_for_topics = false;
	if (r->waiting || needs_extra(&plain))
		return;
	mem_free(r->extra);
	r->extra = NULL;
}

int reader_open(struct hub *hub, const struct reader_options *options, struct reader **out,
		struct fault *fault)
{
	struct reader *r;
	int rc;

	CHECK(options->cursor);
	if (options->topic_count == 0 || options->topic_count > CURSOR_TOPICS_MAX)
		return fault_set(fault, ERR_BAD_PARAMETER, "1 to %u topics can be read at once",
				 CURSOR_TOPICS_MAX);
	r = mem_zalloc(1, sizeof(*r));
	if (!r)
		return ERR_NOMEM;
	r->hub = hub;
	r->on_ready = options->on_ready;
	r->ctx = options->ctx;
	r->topics = &r->one_topic;
	r->places = &r->one;
	r->kind = (uint8_t)options->cursor->kind;
	r->watching = options->watch;
	r->tag = options->tag;
	CHECK(r->tag < HUB_TAGS);
	r->partitions_max = (uint16_t)places_allowed(options);
	hub_add(hub, r);
	rc = begin(r, options, fault);
	if (rc) {
		reader_close(r);
		return rc;
	}
	drop_extra(r, options);
	reader_charge(r);
	*out = r;
	return 0;
}
