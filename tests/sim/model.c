/* SPDX-License-Identifier: Apache-2.0 */
#include "model.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"

/* ---- memory ---- */

void model_reset(struct model *m)
{
	for (uint32_t i = 0; i < MODEL_TOPICS_MAX; i++)
		for (uint32_t p = 0; p < MODEL_PARTS_MAX; p++)
			free(m->topics[i].part[p].at);
	free(m->requests);
	*m = (struct model){.request_count = 1};
}

uint32_t model_topic_new(struct model *m, const char *name, uint32_t parts)
{
	struct model_topic *t = &m->topics[m->topic_count];

	CHECK(m->topic_count < MODEL_TOPICS_MAX);
	*t = (struct model_topic){.parts = parts, .parts_asked = parts};
	(void)snprintf(t->name, sizeof(t->name), "%s", name);
	return m->topic_count++;
}

int model_topic_of(const struct model *m, const struct topic_id *id)
{
	static const struct topic_id none = {{0}}; /* weir's own state, and topics not made yet */

	if (topic_id_eq(id, &none))
		return -1;
	for (uint32_t i = 0; i < m->topic_count; i++)
		if (memcmp(&m->topics[i].id, id, sizeof(*id)) == 0)
			return (int)i;
	return -1;
}

/* Requests never move: clients keep their numbers, and pointers within one call. */
struct model_request *model_request_new(struct model *m, uint32_t topic, uint32_t other, uint32_t count)
{
	struct model_request *r;

	if (m->request_count == m->request_cap || !m->requests) {
		m->request_cap = m->request_cap ? m->request_cap * 2 : 1024;
		m->requests = realloc(m->requests, m->request_cap * sizeof(*r));
		CHECK(m->requests);
		m->requests[0] = (struct model_request){0};
	}
	r = &m->requests[m->request_count];
	*r = (struct model_request){.id = m->request_count++,
				    .topic = (uint8_t)topic,
				    .other = (uint8_t)other,
				    .count = (uint8_t)count,
				    .row = -1};
	CHECK(count > 0 && count <= MODEL_RECORDS_MAX);
	return r;
}

static struct model_place *place_at(struct model_part *p, int64_t offset)
{
	CHECK(offset >= 0);
	if (offset >= p->cap) {
		int64_t cap = p->cap ? p->cap : 256;
		while (cap <= offset)
			cap *= 2;
		p->at = realloc(p->at, (size_t)cap * sizeof(*p->at));
		CHECK(p->at);
		for (int64_t i = p->cap; i < cap; i++)
			p->at[i] = (struct model_place){.index = UINT16_MAX, .time_ms = INT64_MIN};
		p->cap = cap;
	}
	return &p->at[offset];
}

/* ---- what records hold ---- */

static uint32_t spread(uint32_t v)
{
	v = (v ^ 61) ^ (v >> 16);
	v *= 9;
	v ^= v >> 4;
	v *= 0x27d4eb2d;
	return v ^ v >> 15;
}

struct slice model_value(const struct model_request *r, uint32_t index, char *bytes)
{
	uint32_t h = spread(r->id * 16 + index);
	uint32_t fill = h % 64 == 0 ? 200 + h % 7001 : h % 120;
	int n = snprintf(bytes, MODEL_VALUE_MAX, "{\"r\":%u,\"i\":%u,\"n\":%u,\"f\":\"", r->id, index,
			 r->count);

	for (uint32_t i = 0; i < fill; i++)
		bytes[n++] = (char)('a' + (h >> i % 24 & 15));
	bytes[n++] = '"';
	bytes[n++] = '}';
	return slice_make(bytes, (size_t)n);
}

size_t model_key(const struct model_request *r, char *bytes)
{
	return (size_t)snprintf(bytes, 16, "p%u", spread(r->id) % MODEL_KEYS);
}

size_t model_key_at(const struct model_request *r, uint32_t index, char *bytes)
{
	if (!r->own_keys)
		return model_key(r, bytes);
	return (size_t)snprintf(bytes, 16, "p%u", spread(r->id * 16 + index) % MODEL_KEYS);
}

static bool read_number(struct slice *s, const char *before, uint32_t *out)
{
	size_t n = strlen(before);
	uint32_t v = 0;

	if (s->len < n || memcmp(s->ptr, before, n) != 0)
		return false;
	*s = slice_from(*s, n);
	for (; s->len && *s->ptr >= '0' && *s->ptr <= '9'; *s = slice_from(*s, 1))
		v = v * 10 + *s->ptr - '0';
	*out = v;
	return true;
}

static struct model_request *parse(struct model *m, struct slice value, uint32_t *index)
{
	uint32_t id;

	if (!read_number(&value, "{\"r\":", &id) || !read_number(&value, ",\"i\":", index) || id == 0 ||
	    id >= m->request_count || *index >= m->requests[id].count)
		return NULL;
	return &m->requests[id];
}

/* A tombstone says in a header what it is. */
static struct slice header_of(const struct batch_record *record)
{
	struct slice rest = record->headers, name, value;

	while (batch_header_next(&rest, &name, &value) == 1)
		if (slice_eq_str(name, "what"))
			return value;
	return slice_null();
}

/* ---- told ---- */

static void claim_place(struct model *m, struct model_request *r, uint32_t topic, uint32_t part,
			int64_t offset, uint16_t index)
{
	struct model_topic *t = &m->topics[topic];
	struct model_part *p = &t->part[part];
	struct model_place *at = place_at(p, offset);

	if (at->request && at->request != r->id)
		model_fail("offset %" PRId64 " of %s/%u was request %u and is now request %u", offset,
			   t->name, part, at->request, r->id);
	if (at->request && index != UINT16_MAX && at->index != UINT16_MAX && at->index != index)
		model_fail("offset %" PRId64 " of %s/%u was record %u of request %u and is now record %u",
			   offset, t->name, part, at->index, r->id, index);
	at->request = r->id;
	if (index != UINT16_MAX)
		at->index = index;
	if (offset >= p->end)
		p->end = offset + 1;
	t->created = true;
}

void model_moved(struct model *m, struct model_request *r, uint32_t topic)
{
	bool may = r->topic == r->other && strcmp(m->topics[r->topic].name, m->topics[topic].name) == 0;

	if (topic != r->topic && !may)
		model_fail("request %u went to %s", r->id, m->topics[topic].name);
	if (topic != r->topic)
		r->topic = r->other = (uint8_t)topic;
}

void model_range(struct model *m, struct model_request *r, uint32_t topic, uint32_t part, int64_t first,
		 int64_t last)
{
	CHECK(part < MODEL_PARTS_MAX);
	if (first < 0 || last < first || last - first >= r->count)
		model_fail("request %u of %u records was answered with offsets %" PRId64 " to %" PRId64,
			   r->id, r->count, first, last);
	for (int64_t offset = first; offset <= last; offset++)
		claim_place(m, r, topic, part, offset, UINT16_MAX);
}

void model_answered(struct model *m, struct model_request *r, bool first, bool durable)
{
	bool sure = m->wall_max_ms < r->sure_until_ms;

	if (first && (r->taken || r->was_present) && sure)
		model_fail("request %u was there already and was taken again", r->id);
	if (!first && r->tries == 1)
		model_fail("request %u is called a duplicate and is not there", r->id);
	m->acked += first;
	m->duplicates += !first;
	if (!durable)
		return;
	r->acked = true;
	r->taken |= first;
	r->fate = FATE_PRESENT;
	m->topics[r->topic].created = m->topics[r->other].created = true;
}

void model_refused(struct model *m, struct model_request *r)
{
	(void)m;
	if (r->fate == FATE_UNKNOWN && r->in_flight == 0)
		r->fate = FATE_ABSENT;
}

void model_read(struct model *m, uint32_t topic, uint32_t part, const struct batch_record *record)
{
	const struct model_topic *t = &m->topics[topic];
	char bytes[MODEL_VALUE_MAX], key[16];
	struct model_request *r;
	struct model_place *at;
	uint32_t index;

	m->records_read++;
	r = parse(m, record->value.ptr ? record->value : header_of(record), &index);
	if (!r)
		model_fail("offset %" PRId64 " of %s/%u holds what nobody sent: %.*s", record->offset,
			   t->name, part, (int)record->value.len, (const char *)record->value.ptr);
	if (model_topic_at(r, index) != topic)
		model_moved(m, r, topic);
	if (model_is_tombstone(r, index) ? record->value.ptr != NULL :
					   !slice_eq(record->value, model_value(r, index, bytes)))
		model_fail("record %u of request %u was altered (offset %" PRId64 " of %s/%u)", index, r->id,
			   record->offset, t->name, part);
	if (r->with_key != (record->key.ptr != NULL) ||
	    (r->with_key && !slice_eq(record->key, slice_make(key, model_key_at(r, index, key)))))
		model_fail("record %u of request %u has another key", index, r->id);
	if (r->fate == FATE_ABSENT)
		model_fail("request %u was refused or gone, and is there (offset %" PRId64 " of %s/%u)",
			   r->id, record->offset, t->name, part);
	claim_place(m, r, topic, part, record->offset, (uint16_t)index);
	at = place_at(&m->topics[topic].part[part], record->offset);
	if (at->time_ms != INT64_MIN && at->time_ms != record->timestamp)
		model_fail("the timestamp of request %u changed from %" PRId64 " to %" PRId64, r->id,
			   at->time_ms, record->timestamp);
	at->time_ms = record->timestamp;
	at->scan = m->scan;
	r->fate = FATE_PRESENT;
}

void model_rotten(struct model *m, uint32_t topic, uint32_t part, const struct batch_record *record)
{
	struct model_place *at;
	uint32_t index;
	int64_t end;
	struct model_request *r = parse(m, record->value.ptr ? record->value : header_of(record), &index);

	CHECK(r); /* what is on disk was sent */
	if (part >= MODEL_PARTS_MAX)
		return;
	at = place_at(&m->topics[topic].part[part], record->offset);
	if (at->request && at->request != r->id)
		return; /* what a former life left in the file: the journal has what is known to be there */
	end = m->topics[topic].part[part].end;
	if (!at->request && record->offset >= end) {
		r->rotten =
			true; /* as likely that, and nobody has seen it: the place is given anew, maybe to another */
		return;
	}
	claim_place(m, r, topic, part, record->offset, (uint16_t)index);
	m->topics[topic].part[part].end =
		end; /* a segment may still hold what the journal lost: nobody saw it */
	r->rotten = true;
	r->fate = FATE_PRESENT;
}

void model_rotten_range(struct model *m, uint32_t topic, uint32_t part, int64_t from, int64_t to)
{
	for (int64_t offset = from; offset < to && part < MODEL_PARTS_MAX; offset++)
		place_at(&m->topics[topic].part[part], offset)->rotten = true;
	if (part < MODEL_PARTS_MAX)
		m->topics[topic].part[part].rotten = true;
}

bool model_is_rotten(const struct model *m, uint32_t topic, uint32_t part, int64_t from, int64_t to)
{
	const struct model_part *p = &m->topics[topic].part[part];

	int64_t at = from;

	while (at < to && at < p->cap && p->at[at].rotten)
		at++;
	if (at == to)
		return true;
	if (to < 1 || to > p->cap || !p->at[to - 1].rotten)
		return false;
	for (at = to - 1; at > 0 && p->at[at - 1].rotten;)
		at--;
	while (at > 0 && !p->at[at - 1].rotten)
		at--;
	return at > 0;
}

void model_hide(struct model *m, uint32_t topic, uint32_t part, int64_t from, int64_t to)
{
	for (int64_t offset = from; offset < to; offset++) {
		struct model_place *at = place_at(&m->topics[topic].part[part], offset);
		at->hidden = m->scan;
		m->hiding |= !at->rotten;
		if (!at->rotten && at->request)
			m->requests[at->request].rotten = true;
	}
}

void model_unlearn(struct model *m, uint32_t topic, uint32_t part, const struct batch_record *record)
{
	uint32_t index;
	struct model_request *r = parse(m, record->value.ptr ? record->value : header_of(record), &index);
	struct model_part *p = &m->topics[topic].part[part];

	CHECK(r);
	if (record->offset < p->end)
		p->end = record->offset;
	if (record->offset < p->cap)
		p->at[record->offset] = (struct model_place){.index = UINT16_MAX, .time_ms = INT64_MIN};
	r->unlearnt = r->unlearnt || r->acked || r->fate == FATE_PRESENT; /* then its loss is told */
	r->in_part = true;
	r->keyed = false; /* never sent again */
	r->fate = FATE_UNKNOWN;
	r->acked = r->taken = r->was_present = false;
}

void model_power_cut(struct model *m)
{
	for (uint32_t i = 1; i < m->request_count; i++)
		m->requests[i].in_flight = 0;
}

/* ---- the whole log ---- */

void model_scan_start(struct model *m)
{
	m->scan++;
}

static void count_found(struct model *m, struct model_request *r)
{
	if (r->stamp != m->scan)
		r->found = 0;
	r->stamp = m->scan;
	r->found++;
}

/* Records of clients that wait for nothing stand in the order in which they were sent. */
void model_scan_part(struct model *m, uint32_t topic, uint32_t part, int64_t start, int64_t end)
{
	struct model_topic *t = &m->topics[topic];
	struct model_part *p = &t->part[part];
	uint32_t last = 0, last_index = 0;
	int64_t last_ms = INT64_MIN;

	if (end < p->end)
		model_fail("%s/%u ends at %" PRId64 ", and %" PRId64 " was answered or shown", t->name, part,
			   end, p->end - 1);
	if (start < p->trim_sure)
		model_fail("%s/%u starts at %" PRId64 " again and was trimmed to %" PRId64, t->name, part,
			   start, p->trim_sure);
	if (!t->frees && start > p->trim_asked)
		model_fail("%s/%u starts at %" PRId64 ", and nobody asked for more than %" PRId64, t->name,
			   part, start, p->trim_asked);
	p->start = start;
	if (t->compacted) {
		model_scan_compacted(m, topic, part, start, end);
		return;
	}
	for (int64_t offset = start; offset < end; offset++) {
		struct model_place *at = place_at(p, offset);
		struct model_request *r = &m->requests[at->request];
		if ((at->rotten || at->hidden == m->scan) && at->scan != m->scan)
			continue;
		if (!at->request || at->scan != m->scan)
			model_fail("offset %" PRId64 " of %s/%u was not read", offset, t->name, part);
		count_found(m, r);
		if (at->request == last && at->index <= last_index)
			model_fail("records of request %u are out of order in %s/%u", last, t->name, part);
		if (!r->loose && at->request < last)
			model_fail("request %u stands behind %u in %s/%u", r->id, last, t->name, part);
		if (!r->own_time && at->time_ms < last_ms)
			model_fail("the time that weir gave at offset %" PRId64
				   " of %s/%u goes back by %" PRId64 " ms",
				   offset, t->name, part, last_ms - at->time_ms);
		if (!r->own_time)
			last_ms = at->time_ms;
		if (!r->loose) {
			last = at->request;
			last_index = at->index;
		}
	}
}

/* Is every record that the request may have had still there to be seen? */
static bool is_whole(const struct model *m, const struct model_request *r)
{
	return m->topics[r->topic].pure && m->topics[r->other].pure;
}

static void decide(struct model *m, struct model_request *r, uint32_t rows[MODEL_ROWS])
{
	uint32_t found = r->stamp == m->scan ? r->found : 0;

	if (r->rotten)
		found = r->count; /* by what is known */
	m->unlearnt_lost += r->unlearnt && !found && is_whole(m, r);
	r->unlearnt = false;
	if (!is_whole(m, r))
		return;
	if (found != 0 && found != r->count && !r->in_part && (r->acked || !m->hiding))
		model_fail("%u of the %u records of request %u are there", found, r->count, r->id);
	if (found == 0 && r->fate == FATE_PRESENT)
		model_fail("request %u is lost%s", r->id,
			   r->acked ? ", and was answered" : ", and was shown");
	r->fate = found ? FATE_PRESENT : FATE_ABSENT;
	if (!found)
		r->tries = 0;
	if (found && r->row >= 0 && r->entered > m->requests[rows[r->row]].entered)
		rows[r->row] = r->id;
}

void model_scan_end(struct model *m, const uint32_t rows[MODEL_ROWS])
{
	uint32_t expected[MODEL_ROWS] = {0};

	m->unlearnt_lost = 0;
	for (uint32_t i = 1; i < m->request_count; i++)
		decide(m, &m->requests[i], expected);
	for (uint32_t i = 0; i < MODEL_ROWS; i++)
		if (rows[i] != expected[i])
			model_fail("row %u of state is %u, and the last request that set it is %u", i,
				   rows[i], expected[i]);
}
