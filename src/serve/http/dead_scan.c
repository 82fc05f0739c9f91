/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/http/dead_scan.h"

#include "base/mem.h"
#include "json/pointer.h"
#include "log/producers.h"

#define READ_BYTES (1u << 20)

/* A page that is being filled. */
struct page {
	struct dead_scan *s;
	struct codec *codec; /* made with the first compressed batch */
	struct buf plain;
	struct arena scratch; /* of one record */
	size_t bytes, looked;
	uint32_t next_id;
	int64_t at; /* to be looked at next */
	bool full;
};

void dead_scan_init(struct dead_scan *s, size_t arena_bytes_max)
{
	*s = (struct dead_scan){.after = -1, .last = -1};
	s->filter = (struct dead_filter){.state = -1, .to_ms = INT64_MAX};
	arena_init(&s->arena, 65536, arena_bytes_max);
}

void dead_scan_fini(struct dead_scan *s)
{
	arena_fini(&s->arena);
}

/* ---- which ---- */

/* A string by its characters, all else by its bytes as they are written. */
static bool has_value(struct page *p, const struct dead_letter *d)
{
	const struct dead_filter *f = &p->s->filter;
	struct json_value found;
	struct slice text;

	if (!f->has_pointer)
		return !f->value.ptr || slice_eq(d->value, f->value);
	if (!d->value.ptr || json_pointer_find(d->value, f->pointer, &found) != 1)
		return false;
	if (!f->value.ptr)
		return true;
	text = found.raw;
	if (found.kind == JSON_STRING && json_text(found.raw, &p->scratch, &text))
		return false;
	return slice_eq(text, f->value);
}

static bool is_meant(struct page *p, int64_t offset, const struct dead_letter *d,
		     const struct dead_mark *mark)
{
	const struct dead_filter *f = &p->s->filter;

	if (f->ids) {
		while (p->next_id < f->id_count && f->ids[p->next_id] < offset)
			p->next_id++;
		if (p->next_id == f->id_count || f->ids[p->next_id] != offset)
			return false;
	}
	if (f->state >= 0 && mark->state != (enum dead_state)f->state)
		return false;
	if (f->code.ptr && !slice_eq(d->code, f->code))
		return false;
	return d->at_ms >= f->from_ms && d->at_ms < f->to_ms && has_value(p, d);
}

/* ---- taking ---- */

static int take(struct page *p, const struct batch_record *r, const struct dead_mark *mark)
{
	struct dead_scan *s = p->s;
	struct dead_found *f = &s->found[s->count];
	struct batch_record copy = *r;

	copy.key = r->key.ptr ? arena_copy(&s->arena, r->key) : slice_null();
	copy.value = r->value.ptr ? arena_copy(&s->arena, r->value) : slice_null();
	copy.headers = r->headers.len ? arena_copy(&s->arena, r->headers) : slice_null();
	if ((r->key.ptr && !copy.key.ptr) || (r->value.ptr && !copy.value.ptr) ||
	    (r->headers.len && !copy.headers.ptr))
		return ERR_NOMEM;
	*f = (struct dead_found){.offset = r->offset,
				 .timestamp_ms = r->timestamp,
				 .mark = *mark,
				 .headers = copy.headers,
				 .header_count = copy.header_count};
	dead_letter_read(&copy, &f->letter);
	s->count++;
	return 0;
}

/* One record: 0; an error; the page may be full then. */
static int look_at(struct page *p, const struct batch_record *r)
{
	struct dead_scan *s = p->s;
	struct dead_mark mark = dead_marks_get(s->marks, &s->topic->id, r->offset);
	size_t bytes = r->key.len + r->value.len + r->headers.len;
	struct dead_letter letter;
	int rc;

	dead_letter_read(r, &letter);
	arena_reset(&p->scratch);
	if (!is_meant(p, r->offset, &letter, &mark)) {
		s->last = r->offset;
		return 0;
	}
	if (s->count == s->limit || (s->count && p->bytes + bytes > DEAD_SCAN_BYTES)) {
		p->full = true;
		return 0;
	}
	rc = take(p, r, &mark);
	p->bytes += bytes;
	s->last = r->offset;
	return rc;
}

static int plain_of(struct page *p, struct slice batch, const struct batch_head *head, struct slice *plain)
{
	*plain = batch;
	if (batch_codec(head) == 0)
		return 0;
	if (!p->codec && codec_new(&p->codec))
		return ERR_NOMEM;
	return batch_inflate(p->codec, batch, &p->plain, plain);
}

static int look_at_batch(struct page *p, struct slice batch, const struct batch_head *head)
{
	struct partition *partition = topic_partition(p->s->topic, 0);
	struct batch_record r;
	struct batch_walk walk;
	struct slice plain;
	int rc;

	if (batch_is_empty(head) || batch_is_control(head) || partition_hides(partition, head))
		return 0;
	rc = plain_of(p, batch, head, &plain);
	if (rc == 0)
		rc = batch_walk_start(&walk, plain);
	while (rc == 0 && !p->full && (rc = batch_walk_next(&walk, &r)) == 1)
		rc = r.offset < p->at ? 0 : look_at(p, &r);
	return rc == ERR_NOMEM ? rc : 0; /* what cannot be read is passed over, as readers do */
}

static int look_at_view(struct page *p, struct slice batches)
{
	while (batches.len && !p->full) {
		struct batch_head head;
		int rc = batch_head_read(batches, &head);
		if (rc)
			return 0;
		rc = look_at_batch(p, batches, &head);
		if (rc)
			return rc;
		batches = slice_from(batches, head.bytes);
	}
	return 0;
}

/* Where nothing before can be meant. */
static int64_t skip_to(const struct page *p, int64_t at)
{
	const struct dead_filter *f = &p->s->filter;

	for (uint32_t i = p->next_id; f->ids && i < f->id_count; i++)
		if (f->ids[i] >= at)
			return f->ids[i];
	return f->ids ? INT64_MAX : at;
}

static int fill(struct page *p, int64_t end)
{
	struct log_view view;
	int rc = 0;

	while (rc == 0 && !p->full && p->at < end) {
		rc = log_read_wait(topic_partition(p->s->topic, 0), p->at, READ_BYTES, &view);
		if (rc == LOG_READ_END)
			return 0;
		if (rc)
			return rc;
		rc = look_at_view(p, view.batches);
		p->looked += view.batches.len;
		if (!p->full)
			p->s->last = view.next_offset - 1;
		p->at = skip_to(p, view.next_offset);
		blob_unref(view.blob);
		if (p->looked > DEAD_SCAN_LOOK && p->at < end)
			p->full = true;
	}
	return rc;
}

void dead_scan_run(struct dead_scan *s)
{
	struct partition *partition = topic_partition(s->topic, 0);
	struct page p = {.s = s};
	struct partition_range range;

	partition_range(partition, &range);
	p.at = skip_to(&p, s->after + 1 > range.start ? s->after + 1 : range.start);
	buf_init(&p.plain, BATCH_PLAIN_BYTES_MAX);
	arena_init(&p.scratch, 4096, BATCH_PLAIN_BYTES_MAX);
	s->found = arena_alloc(&s->arena, s->limit * sizeof(*s->found));
	s->err = s->found ? fill(&p, range.stable) : ERR_NOMEM;
	s->more = p.full;
	buf_fini(&p.plain);
	arena_fini(&p.scratch);
	codec_free(p.codec);
}
