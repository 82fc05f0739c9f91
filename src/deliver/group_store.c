/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What of the groups stands in the journal, and how it gets there and away.
 *
 * A group is stored when its leader's assignment has come, when a static member has
 * another id, and when it has become empty: what lies between is of no use after a restart. So
 * memory is often ahead of the journal, and when the state is written again, that must be the rows
 * as they were entered, not the group as it is now. Each group keeps them, as its image.
 *
 * Rejected: a row for each heartbeat or join (sessions begin anew after a restart anyway), and all
 * members in one row (it would have no bound).
 */
#include <stdlib.h>

#include "base/check.h"
#include "base/mem.h"
#include "base/wire.h"
#include "deliver/group_inner.h"

#define TIDY_EVERY 1000u
#define CONSUMER SLICE_LIT("consumer")

struct store {
	struct group *group;
	enum group_store_kind kind;
	uint64_t number;
	int32_t generation;
};

/* ---- images ---- */

static struct group_row row_of(const struct group *grp)
{
	return (struct group_row){.group = grp->id,
				  .generation = grp->generation,
				  .since_ms = grp->since_ms,
				  .protocol_type = grp->protocol_type,
				  .protocol = grp->protocol,
				  .leader = grp->leader ? grp->leader->id : slice_null()};
}

static struct group_member_row row_of_member(const struct group_member *m, bool proposed)
{
	const struct group_named *said = member_protocol(m, m->group->protocol);

	return (struct group_member_row){.group = m->group->id,
					 .member = m->id,
					 .session_ms = m->session_ms,
					 .rebalance_ms = m->rebalance_ms,
					 .instance_id = m->instance_id,
					 .client_id = m->client_id,
					 .client_host = m->client_host,
					 .metadata = said ? said->bytes : slice_null(),
					 .assignment = proposed ? m->proposed : m->assignment};
}

static size_t bytes_needed(const struct group *grp, bool proposed)
{
	struct group_row row = row_of(grp);
	size_t bytes = group_row_bytes(&row);

	for (const struct group_member *m = grp->members; m; m = m->next) {
		struct group_member_row of_member = row_of_member(m, proposed);
		bytes += group_member_row_bytes(&of_member);
	}
	for (uint32_t i = 1; grp->image && i < grp->image->count; i++)
		bytes += grp->image->rows[i].key.len;
	return bytes;
}

/* Rows of members that are not in the group any more. */
static void put_gone(const struct group *grp, struct group_image *image, uint8_t *at)
{
	const struct group_image *old = grp->image;

	for (uint32_t i = 1; old && i < old->count; i++) {
		struct group_row row;
		struct group_member_row of_member;
		const struct group_member *m;
		struct slice key = old->rows[i].key;
		(void)group_row_read(key, slice_null(), &row, &of_member);
		m = member_find(grp, of_member.member);
		if (m && !m->pending)
			continue;
		memcpy(at, key.ptr, key.len);
		image->rows[image->total++] = (struct state_row){.table = STATE_GROUPS,
								 .key = slice_make(at, key.len),
								 .frees = true};
		at += key.len;
	}
}

static struct group_image *make_image(const struct group *grp, bool proposed)
{
	uint32_t rows = 1 + grp->member_count + (grp->image ? grp->image->count : 0);
	size_t bytes = bytes_needed(grp, proposed);
	struct group_image *image = mem_zalloc(1, sizeof(*image) + rows * sizeof(struct state_row) + bytes);
	struct group_row row = row_of(grp);
	uint8_t *at;

	if (!image)
		return NULL;
	image->bytes = sizeof(*image) + rows * sizeof(struct state_row) + bytes;
	at = group_row_put(&row, false, (uint8_t *)(image->rows + rows), &image->rows[image->count++]);
	for (const struct group_member *m = grp->members; m; m = m->next) {
		struct group_member_row of_member = row_of_member(m, proposed);
		at = group_member_row_put(&of_member, false, at, &image->rows[image->count++]);
	}
	image->total = image->count;
	put_gone(grp, image, at);
	CHECK(image->total <= rows);
	return image;
}

/* Under the entry lock, like the following. */
void group_drop_image(struct group *grp)
{
	struct group_image *image = grp->image;

	if (!image)
		return;
	*image->prev = image->next;
	if (image->next)
		image->next->prev = image->prev;
	grp->groups->image_rows -= image->count;
	groups_hold(grp->groups, image->bytes, 0);
	grp->image = NULL;
	mem_free(image);
}

static void set_image(struct group *grp, struct group_image *image)
{
	struct groups *g = grp->groups;

	group_drop_image(grp);
	image->next = g->images;
	if (image->next)
		image->next->prev = &image->next;
	g->images = image;
	image->prev = &g->images;
	g->image_rows += image->count;
	groups_hold(g, 0, image->bytes);
	grp->image = image;
}

static void tidy(struct groups *g, uint32_t rows)
{
	g->changed += rows;
	if (g->changed <= TIDY_EVERY || g->changed <= g->image_rows)
		return;
	g->changed = 0;
	state_tidy(g->options.state);
}

/* ---- storing ---- */

static void adopt(struct group *grp)
{
	int64_t now_ns = sys_monotonic_ns(grp->groups->sys);

	group_enter_state(grp, GROUP_STABLE);
	grp->since_ms = sys_wall_ms(grp->groups->sys);
	for (struct group_member *m = grp->members; m; m = m->next) {
		member_adopt(m);
		if (!m->sync)
			continue;
		member_answer_sync(m, 0);
		member_heard(m, now_ns);
	}
}

/* Before version 9 it must not take itself for the leader: it would assign anew, for nobody. */
static void answer_static(struct group *grp, struct group_member *m)
{
	bool leads = m == grp->leader;
	struct group_joined *list = NULL;
	struct group_answer a = {.generation = grp->generation,
				 .protocol_type = grp->protocol_type,
				 .protocol = grp->protocol,
				 .leader = m->skips ? grp->leader->id : m->led_before,
				 .member_id = m->id};

	if (m->skips && leads) {
		a.skip_assignment = true;
		a.members = list = group_list_members(grp);
		a.member_count = list ? grp->member_count : 0;
	}
	member_answer_join(m, &a);
	mem_free(list);
}

static void static_stored(struct group *grp, uint64_t number, int32_t generation)
{
	for (struct group_member *m = grp->members; m; m = m->next) {
		if (!m->join || m->stored_as == 0 || m->stored_as > number)
			continue;
		m->stored_as = 0;
		if (grp->state == GROUP_STABLE && grp->generation == generation)
			answer_static(grp, m);
		/* else a rebalance has begun: it has joined that */
	}
}

static void on_stored(void *ctx)
{
	struct store *store = ctx;
	struct group *grp = store->group;

	grp->stores--;
	if (!grp->dead && !grp->groups->stopped) {
		if (store->kind == STORE_STATIC)
			static_stored(grp, store->number, store->generation);
		else if (store->kind == STORE_SYNC && grp->state == GROUP_COMPLETING &&
			 grp->generation == store->generation && grp->stored == store->number)
			adopt(grp);
	}
	group_release(grp);
	mem_free(store);
}

int group_store(struct group *grp, enum group_store_kind kind)
{
	struct groups *g = grp->groups;
	struct group_image *image = make_image(grp, kind == STORE_SYNC);
	struct store *store = mem_zalloc(1, sizeof(*store));
	struct state_done done = {.port = g->port, .fn = on_stored, .ctx = store};
	int rc = ERR_NOMEM;

	if (image && store) {
		*store = (struct store){.group = grp,
					.kind = kind,
					.number = grp->stored + 1,
					.generation = grp->generation};
		log_enter_begin(g->options.log);
		rc = state_put(g->options.state, image->rows, image->total, &done);
		if (rc == 0) {
			set_image(grp, image);
			tidy(g, image->total);
		}
		log_enter_end(g->options.log);
	}
	if (rc) {
		mem_free(image);
		mem_free(store);
		return rc;
	}
	grp->stored++;
	grp->stores++;
	return 0;
}

/* ---- loading ---- */

static void unload(struct group *grp)
{
	while (grp->members)
		member_remove(grp->members);
	group_kill(grp);
}

static bool set_text(struct slice from, struct slice *to)
{
	struct slice copy = slice_null();

	if (from.len && !text_copy(from, &copy))
		return false;
	text_free(to);
	*to = copy;
	return true;
}

/* The leader is known when all members are: groups_start. Until then its id lies where texts of no use lie. */
static int load_group(struct group *grp, const struct group_row *row)
{
	grp->generation = row->generation;
	grp->since_ms = row->since_ms;
	return set_text(row->protocol_type, &grp->protocol_type) && set_text(row->protocol, &grp->protocol) &&
			       set_text(row->leader, &grp->led_by) ?
		       0 :
		       ERR_NOMEM;
}

static int load_member(struct group *grp, const struct group_member_row *row)
{
	struct group_member *m = member_find(grp, row->member);
	struct group_named said = {.name = grp->protocol, .bytes = row->metadata};
	struct group_join ask = {.client_id = row->client_id,
				 .client_host = row->client_host,
				 .protocols = &said,
				 .protocol_count = 1,
				 .session_ms = row->session_ms,
				 .rebalance_ms = row->rebalance_ms};
	struct slice assignment;

	if (row->instance_id.len)
		ask.instance_id = row->instance_id;
	if (m)
		member_remove(m);
	if (!text_copy(row->assignment, &assignment))
		return ERR_NOMEM;
	m = member_new(grp, row->member, &ask);
	if (!m) {
		text_free(&assignment);
		return ERR_NOMEM;
	}
	member_propose(m, assignment);
	member_adopt(m);
	member_add(m);
	return 0;
}

static int forget_row(struct group *grp, int kind, const struct group_member_row *row)
{
	struct group_member *m;

	if (!grp)
		return 0;
	if (kind == GROUP_ROW_GROUP) {
		unload(grp);
		return 0;
	}
	m = member_find(grp, row->member);
	if (m)
		member_remove(m);
	return 0;
}

static int apply_row(void *ctx, struct slice key, struct slice value)
{
	struct groups *g = ctx;
	struct group_row row;
	struct group_member_row of_member;
	int kind = group_row_read(key, value, &row, &of_member);
	struct group *grp;

	if (kind < 0)
		return ERR_CORRUPT;
	grp = group_find(g, row.group);
	if (!value.ptr)
		return forget_row(grp, kind, &of_member);
	if (!grp)
		grp = group_new(g, row.group);
	if (!grp)
		return ERR_NOMEM;
	return kind == GROUP_ROW_GROUP ? load_group(grp, &row) : load_member(grp, &of_member);
}

/* Before groups_start there are rows and no images yet. The rows of a group are in one part, its own first. */
static int each_row(void *ctx, uint32_t part, uint32_t parts, state_row_fn *fn, void *fn_ctx)
{
	const struct groups *g = ctx;

	if (!g->has_images)
		return ERR_NOMEM;
	for (const struct group_image *image = g->images; image; image = image->next) {
		if ((hash_sip13(&g->key, image->rows[0].key) & (parts - 1)) != part)
			continue;
		for (uint32_t i = 0; i < image->count; i++)
			if (fn(fn_ctx, image->rows[i].key, image->rows[i].value))
				return 1;
	}
	return 0;
}

int groups_table(struct groups *g)
{
	struct state_table table = {
		.id = STATE_GROUPS, .name = "groups", .apply = apply_row, .each_part = each_row, .ctx = g};

	return state_register(g->options.state, &table);
}

int group_loaded(struct group *grp, int64_t now_ns)
{
	struct group_member *leader = grp->led_by.ptr ? member_find(grp, grp->led_by) : NULL;
	struct group_image *image = make_image(grp, false);

	text_free(&grp->led_by);
	if (!image)
		return ERR_NOMEM;
	set_image(grp, image);
	if (leader)
		grp->leader = leader;
	group_enter_state(grp, grp->members ? GROUP_STABLE : GROUP_EMPTY);
	for (struct group_member *m = grp->members; m; m = m->next)
		member_heard(m, now_ns);
	return 0;
}

/* ---- going ---- */

/* The rows of a group and its offsets that go, in one commit. */
static int enter_deletion(struct groups *g, const struct group_image *image, struct offsets_change *change,
			  const struct state_done *done)
{
	uint32_t of_offsets = 0, of_image = image ? image->count : 0;
	const struct state_row *offset_rows = change ? offsets_change_rows(change, &of_offsets) : NULL;
	struct state_row *rows = mem_alloc((of_image + of_offsets) * sizeof(*rows) + 1);
	int rc;

	if (!rows)
		return ERR_NOMEM;
	for (uint32_t i = 0; i < of_image; i++)
		rows[i] = (struct state_row){.table = STATE_GROUPS, .key = image->rows[i].key, .frees = true};
	if (of_offsets)
		memcpy(rows + of_image, offset_rows, of_offsets * sizeof(*rows));
	rc = state_put(g->options.state, rows, of_image + of_offsets, done);
	mem_free(rows);
	return rc;
}

/* Under the entry lock. `grp` is NULL for one of offsets alone; without `whole` only the offsets go. Takes the change. */
static int delete_rows(struct groups *g, struct group *grp, bool whole, struct offsets_change *change,
		       const struct state_done *done)
{
	struct group_image *image = grp && whole ? grp->image : NULL;
	uint32_t rows = image ? image->count : 0;
	int rc = image || change ? enter_deletion(g, image, change, done) : 0;

	if (rc) {
		offsets_change_free(change);
		return rc;
	}
	if (image)
		group_drop_image(grp);
	if (change)
		offsets_change_apply(g->options.offsets, change);
	tidy(g, rows);
	offsets_tidy(g->options.offsets);
	return 0;
}

int groups_delete(struct groups *g, struct slice group, const struct state_done *done)
{
	struct group *grp = group_find(g, group);
	struct offsets_change *change = NULL;
	int rc = groups_check(g, group);

	if (rc)
		return rc;
	if (grp && grp->state != GROUP_EMPTY)
		return ERR_GROUP_ACTIVE;
	log_enter_begin(g->options.log);
	rc = offsets_drop(g->options.offsets, group, NULL, NULL, &change);
	if (rc == 0 && !change && !(grp && grp->image))
		rc = ERR_UNKNOWN_GROUP;
	if (rc == 0)
		rc = delete_rows(g, grp, true, change, done);
	log_enter_end(g->options.log);
	if (rc == 0 && grp)
		group_kill(grp);
	return rc;
}

/* ---- what a consumer reads ---- */

/* ConsumerProtocolSubscription: version i16, topics [string], and more. */
static bool subscription_has(struct slice metadata, struct slice topic)
{
	struct wire_reader r = wire_reader_make(metadata);
	uint32_t count;

	(void)wire_u16(&r);
	count = wire_u32(&r);
	for (uint32_t i = 0; i < count && !r.bad; i++)
		if (slice_eq(wire_bytes(&r, wire_u16(&r)), topic) && !r.bad)
			return true;
	return r.bad; /* who cannot be understood might */
}

bool group_reads(const struct group *grp, struct slice topic)
{
	for (const struct group_member *m = grp->members; m; m = m->next)
		for (uint32_t i = 0; i < m->protocol_count; i++)
			if (subscription_has(m->protocols[i].bytes, topic))
				return true;
	return false;
}

/* ---- deleting offsets ---- */

/* Those to be deleted, in order. */
struct selection {
	struct offset_item *items;
	uint32_t count;
};

static int order_items(const void *a, const void *b)
{
	const struct offset_item *x = a, *y = b;
	int order = memcmp(x->topic.bytes, y->topic.bytes, sizeof(x->topic.bytes));

	return order ? order : (x->partition > y->partition) - (x->partition < y->partition);
}

static bool is_selected(void *ctx, const struct offset_item *item, int64_t producer_id)
{
	const struct selection *s = ctx;

	return producer_id < 0 && bsearch(item, s->items, s->count, sizeof(*item), order_items) != NULL;
}

/* An error for each, and those without one in order. */
static int select_items(struct groups *g, const struct group *grp, const struct offset_item *items,
			uint32_t count, int *errors, struct selection *s)
{
	s->items = mem_alloc(count * sizeof(*s->items) + 1);
	if (!s->items)
		return ERR_NOMEM;
	for (uint32_t i = 0; i < count; i++) {
		const struct topic *topic = topics_find_id(g->options.topics, &items[i].topic);
		errors[i] = 0;
		if (grp && grp->state != GROUP_EMPTY && topic && group_reads(grp, slice_str(topic->name)))
			errors[i] = ERR_GROUP_SUBSCRIBED;
		else
			s->items[s->count++] = items[i];
	}
	qsort(s->items, s->count, sizeof(*s->items), order_items);
	return 0;
}

int groups_delete_offsets(struct groups *g, struct slice group, const struct offset_item *items,
			  uint32_t count, int *errors, const struct state_done *done, bool *entered)
{
	struct selection s = {0};
	struct group *grp = group_find(g, group);
	struct offsets_change *change = NULL;
	int rc = groups_check(g, group);

	*entered = false;
	if (rc)
		return rc;
	if (!grp && offsets_of(g->options.offsets, group).committed == 0)
		return ERR_UNKNOWN_GROUP;
	if (grp && grp->state != GROUP_EMPTY && !slice_eq(grp->protocol_type, CONSUMER))
		return ERR_GROUP_ACTIVE;
	rc = select_items(g, grp, items, count, errors, &s);
	if (rc)
		return rc;
	log_enter_begin(g->options.log);
	rc = offsets_drop(g->options.offsets, group, is_selected, &s, &change);
	if (rc == 0 && change) {
		rc = offsets_change_enter(g->options.offsets, change, done);
		*entered = rc == 0;
	}
	log_enter_end(g->options.log);
	mem_free(s.items);
	return rc;
}

/* ---- expiry ---- */

struct expiry {
	struct groups *g;
	const struct group *grp; /* NULL: offsets alone */
	struct slice id;
	int64_t now_ms;
	uint32_t expired;
};

/* GroupMetadata.removeExpiredOffsets. */
static bool is_over(const struct expiry *e, const struct offset_item *item, const struct topic *topic)
{
	const struct group *grp = e->grp;
	int64_t base_ms = item->committed_ms;

	if (item->expires_ms >= 0)
		return e->now_ms >= item->expires_ms;
	if (grp && grp->state == GROUP_EMPTY && grp->protocol_type.ptr)
		base_ms = grp->since_ms;
	else if (grp && grp->state != GROUP_EMPTY &&
		 (grp->state != GROUP_STABLE || !slice_eq(grp->protocol_type, CONSUMER) ||
		  group_reads(grp, slice_str(topic->name))))
		return false;
	return e->now_ms - base_ms >= e->g->settings.offsets_retention_ms;
}

static bool is_expired(void *ctx, const struct offset_item *item, int64_t producer_id)
{
	struct expiry *e = ctx;
	const struct topic *topic = topics_find_id(e->g->options.topics, &item->topic);

	if (topic && (producer_id >= 0 || !is_over(e, item, topic) ||
		      offsets_pending(e->g->options.offsets, e->id, &item->topic, item->partition)))
		return false;
	e->expired++;
	return true;
}

static void sweep_group(struct groups *g, struct slice id)
{
	struct group *grp = group_find(g, id);
	struct expiry e = {.g = g, .grp = grp, .id = id, .now_ms = log_now_ms(g->options.log)};
	struct offsets_change *change = NULL;
	struct offsets_count left;
	bool whole = false;
	int rc;

	log_enter_begin(g->options.log);
	rc = offsets_drop(g->options.offsets, id, is_expired, &e, &change);
	if (rc == 0)
		rc = delete_rows(g, grp, false, change, NULL);
	left = offsets_of(g->options.offsets, id);
	if (rc == 0 && grp && grp->state == GROUP_EMPTY && !grp->pending && !left.committed &&
	    !left.pending) {
		rc = delete_rows(g, grp, true, NULL, NULL);
		whole = rc == 0;
	}
	log_enter_end(g->options.log);
	g->stats.expired_offsets +=
		change ? e.expired / 2 : 0; /* each was asked about twice: to count, to take */
	if (whole)
		group_kill(grp);
}

struct names {
	struct slice *list;
	uint32_t count, cap;
};

static bool note_name(struct names *names, struct slice id)
{
	if (names->count == names->cap) {
		uint32_t cap = names->cap ? names->cap * 2 : 64;
		struct slice *grown = mem_realloc(names->list, cap * sizeof(*grown));
		if (!grown)
			return false;
		names->list = grown;
		names->cap = cap;
	}
	if (!text_copy(id, &names->list[names->count]))
		return false;
	names->count++;
	return true;
}

static bool note_offsets(void *ctx, struct slice id, struct offsets_count count)
{
	(void)count;
	return note_name(ctx, id);
}

void groups_sweep(struct groups *g)
{
	struct names names = {0};
	struct table_node *node;

	/* Who is in both lists is looked at twice: the second time there is nothing to do. Without memory the rest waits. */
	offsets_each_group(g->options.offsets, note_offsets, &names);
	for (node = table_walk(&g->table, NULL); node; node = table_walk(&g->table, node))
		if (!note_name(&names, ((struct group *)node)->id))
			break;
	for (uint32_t i = 0; i < names.count; i++) {
		sweep_group(g, names.list[i]);
		text_free(&names.list[i]);
	}
	mem_free(names.list);
}
