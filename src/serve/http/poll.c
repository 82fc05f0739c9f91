/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A poll reads until its limit, or the end, and answers; where there is nothing
 * and the client would wait, the exchange is left pending with its reader, one
 * timer and one entry in the loop's list of guests: a few hundred bytes. It
 * watches its partitions from then on only, so that a poll which is answered at
 * once costs the log nothing.
 *
 * What is on disk alone is always waited for, also without `wait`: an answer
 * that says caught_up=false is one that was full. What was gathered before moves
 * out of the loop's scratch meanwhile, if it is small; a large page goes as it is.
 *
 * With a key, or where compaction has taken records away, much may have to be
 * looked through for nothing: a turn looks at SCAN_BYTES_TURN, then others have theirs.
 *
 * A batch that goes out whole comes from the encode cache: of a thousand long
 * polls woken by one commit one encodes. What a limit or a key cuts is encoded
 * record by record, straight into the answer.
 *
 * The ETag is made of the position and of the ends of the partitions, so that
 * 304 and HEAD read no record. It is weak: it changes when records arrive
 * behind the page too.
 */
#include "serve/http/poll.h"

#include "base/base64.h"
#include "conf/value.h"
#include "json/json_write.h"
#include "serve/record/record_json.h"

#define LIMIT_DEFAULT 100u
#define LIMIT_MAX 10000u
#define WAIT_MAX_NS (300 * 1000000000ll)
#define BYTES_MAX ((size_t)16 << 20)
#define PAGES 4 /* of the largest, with what memory is left */
#define DISK_WAIT_NS (30 * 1000000000ll)
#define GAPS_BYTES_MAX (1u << 20)
#define GAPS_BYTES_FULL 32768u
#define PARTITIONS_MAX 1024u /* more, and the cursor would not fit a request target */
#define CACHED_BATCH_MAX (256u << 10)
#define CACHED_PACKED_MAX (32u << 10) /* compressed: how large it is plain is not known yet */
#define KEPT_BYTES_MAX (1u << 20)     /* of a page that waits for the disk */
#define SCAN_BYTES_TURN (256u << 10)
#define VIEW_BYTES_MIN (16u << 10)
#define VIEW_BYTES_MAX (256u << 10)
#define PAGE_BEGIN "{\"records\":["

static struct app_loop *loop_of(const struct poll *p)
{
	return app_loop(p->x->app, p->x->loop);
}

static struct unpacker *unpacker_of(const struct poll *p)
{
	return encode_cache_unpacker(loop_of(p)->cache);
}

static enum metric_WAY way_of(const struct poll *p)
{
	return p->wait_ns > 0 ? WAY_LONGPOLL : WAY_POLL;
}

/* ---- what is asked ---- */

static int read_limit(struct exchange *x, struct poll_options *o, struct fault *fault)
{
	const struct app_limits *limits = &((const struct app *)x->app)->limits;
	uint32_t most = limits->poll_records_max ? limits->poll_records_max : LIMIT_MAX;
	struct slice text;
	uint64_t limit;

	o->limit = limits->poll_records_default ? limits->poll_records_default : LIMIT_DEFAULT;
	if (exchange_query(x, "limit", &text) != 1)
		return 0;
	if (!slice_to_u64(text, &limit) || limit < 1 || limit > most)
		return fault_set(fault, ERR_BAD_PARAMETER,
				 "limit is a number of records from 1 to %u, not '%.*s'", most, (int)text.len,
				 (const char *)text.ptr);
	o->limit = (uint32_t)limit;
	return 0;
}

static int read_wait(struct exchange *x, struct poll_options *o, struct fault *fault)
{
	const struct app_limits *limits = &((const struct app *)x->app)->limits;
	int64_t most = limits->poll_wait_max_ns ? limits->poll_wait_max_ns : WAIT_MAX_NS;
	struct slice text;
	int64_t ms;

	o->wait_ns = 0;
	if (exchange_query(x, "wait", &text) != 1)
		return 0;
	if (!conf_parse_duration(text, &ms) || ms > most / 1000000)
		return fault_set(fault, ERR_BAD_PARAMETER,
				 "wait is a duration of at most %llds, such as 30s or 500ms, not '%.*s'",
				 (long long)(most / 1000000000), (int)text.len, (const char *)text.ptr);
	o->wait_ns = ms * 1000000;
	return 0;
}

int poll_read_options(struct exchange *x, struct poll_options *o, struct fault *fault)
{
	int rc = read_limit(x, o, fault);

	if (rc == 0)
		rc = read_wait(x, o, fault);
	if (exchange_query(x, "key", &o->key) != 1)
		o->key = slice_null();
	else if (!o->key.ptr)
		o->key = SLICE_LIT("");
	return rc;
}

/* ---- gathering ---- */

/* Of a page that begins now: what a client takes its time for is small where memory is. One record always goes. */
static size_t find_bytes_max(const struct poll *p)
{
	const struct app_limits *limits = &((const struct app *)p->x->app)->limits;
	size_t most = limits->poll_bytes_max ? limits->poll_bytes_max : BYTES_MAX;
	int64_t left = budget_left(loop_share(p->x->loop)) / PAGES;

	return left <= 1 ? 1 : (uint64_t)left < most ? (size_t)left : most;
}

static bool is_full(const struct poll *p)
{
	return p->count >= p->limit || p->out->len >= p->bytes_max;
}

static void put_comma(struct poll *p)
{
	if (p->count > 0)
		(void)buf_append_byte(p->out, ',');
}

static void put_gap(struct poll *p, uint32_t partition, int64_t from, int64_t to)
{
	(void)buf_appendf(&p->gaps, "%s{\"partition\":%u,\"from\":%lld,\"to\":%lld}", p->gaps.len ? "," : "",
			  partition, (long long)from, (long long)to);
	p->gap_count++;
}

/* The whole rest of a batch, shared with whoever else reads it in this turn. 1 where it was taken. */
static int take_encoded(struct poll *p, struct reader_view *view, const struct batch_head *head)
{
	uint32_t bytes_max_here = batch_codec(head) == BATCH_PLAIN ? CACHED_BATCH_MAX : CACHED_PACKED_MAX;
	struct encoded e;
	uint32_t first;
	int rc;

	if (reader_filters(p->reader) || head->bytes > bytes_max_here || head->count > p->limit - p->count)
		return 0;
	rc = encode_cache_get(loop_of(p)->cache, view, ENCODE_JSON, &e);
	if (rc)
		return rc;
	if (e.batch_bytes == 0) { /* a part of it */
		encoded_release(&e);
		return 0;
	}
	if (e.made)
		p->encoded += e.count;
	first = encoded_find(&e, view->from);
	if (encoded_run(&e, first, e.count - first).len > p->bytes_max - p->out->len) {
		encoded_release(&e);
		return 0;
	}
	if (e.broken)
		put_gap(p, view->number, view->from > e.base ? view->from : e.base, e.next);
	if (first < e.count) {
		put_comma(p);
		rc = buf_append_slice(p->out, encoded_run(&e, first, e.count - first));
		p->count += e.count - first;
	}
	encoded_release(&e);
	if (rc == 0)
		reader_consumed(p->reader, batch_last_offset(head) + 1);
	return rc ? rc : 1;
}

static int put_record(struct poll *p, const struct reader_view *view, const struct batch_record *r)
{
	struct record_origin origin = {.topic = slice_str(view->topic->name), .partition = view->number};
	size_t before = p->out->len;
	int rc;

	put_comma(p);
	rc = record_json(p->out, &origin, r);
	if (rc == ERR_MALFORMED) {
		p->out->len = before;
		put_gap(p, view->number, r->offset, r->offset + 1);
		rc = 0;
	} else if (rc == 0) {
		p->count++;
		p->encoded++;
	}
	if (rc == 0)
		reader_consumed(p->reader, r->offset + 1);
	return rc;
}

/* One by one, up to the limit. 1 where the batch was taken to its end, 0 where it was cut. */
static int take_records(struct poll *p, const struct reader_view *view, const struct batch_head *head)
{
	struct batch_walk walk;
	struct batch_record r;
	int rc = unpacker_walk(unpacker_of(p), view, &walk);

	if (head->attributes & BATCH_IS_CONTROL)
		rc = 1;
	while (rc == 0 && (rc = batch_walk_next(&walk, &r)) == 1) {
		rc = 0;
		if (r.offset < view->from || !reader_wants(p->reader, r.key))
			continue;
		if (is_full(p))
			return 0;
		rc = put_record(p, view, &r);
	}
	if (rc == ERR_NOMEM || rc == ERR_LIMIT)
		return rc;
	if (rc < 0)
		put_gap(p, view->number, view->from > head->base_offset ? view->from : head->base_offset,
			batch_last_offset(head) + 1);
	reader_consumed(p->reader, batch_last_offset(head) + 1);
	return 1;
}

/* Offsets whose records are gone: stepped over, also behind the last record that fits, so that the end is seen. */
static bool pass_empty(struct poll *p, struct reader_view *view)
{
	struct batch_head head;

	if (batch_head_read(view->batches, &head) || !batch_is_empty(&head) || head.bytes > view->batches.len)
		return false;
	reader_consumed(p->reader, batch_last_offset(&head) + 1);
	view->batches = slice_from(view->batches, head.bytes);
	return true;
}

static int take_view(struct poll *p, struct reader_view *view)
{
	uint64_t before = unpacker_of(p)->inflated;
	int rc = 0;

	while (pass_empty(p, view))
		;
	while (view->batches.len && rc == 0 && !is_full(p) &&
	       unpacker_of(p)->inflated - before < UNPACK_BYTES_TURN) {
		struct batch_head head;
		if (batch_head_read(view->batches, &head) || head.bytes > view->batches.len)
			return ERR_CORRUPT;
		rc = take_encoded(p, view, &head);
		if (rc == 0)
			rc = take_records(p, view, &head);
		if (rc != 1)
			return rc;
		rc = 0;
		view->batches = slice_from(view->batches, head.bytes);
		while (pass_empty(p, view))
			;
	}
	if (rc == 0 && view->batches.len == 0 && !is_full(p))
		reader_consumed(p->reader, view->next_offset);
	return rc;
}

/*
 * How much to read at once: history is read in pieces of this size, and what the
 * page does not take of one is read for nothing. A record is guessed at a KiB.
 */
static size_t view_bytes(const struct poll *p)
{
	size_t guess = (size_t)(p->limit - p->count) * 1024;

	if (reader_filters(p->reader) || guess > VIEW_BYTES_MAX)
		return VIEW_BYTES_MAX;
	return guess < VIEW_BYTES_MIN ? VIEW_BYTES_MIN : guess;
}

/* Until the page is full: READER_BATCH then, else READER_END, READER_WAIT (it will be called) or an error. */
static int gather_page(struct poll *p)
{
	uint64_t inflated = unpacker_of(p)->inflated;
	size_t scanned = 0;

	while (!is_full(p) && p->gaps.len < GAPS_BYTES_FULL) {
		struct reader_view view;
		uint32_t before = p->count;
		size_t scan;
		int rc;
		if (scanned >= SCAN_BYTES_TURN) {
			reader_again(p->reader);
			return READER_WAIT;
		}
		rc = reader_next(p->reader, view_bytes(p), &view);
		if (rc == READER_GAP) {
			put_gap(p, view.number, view.from, view.next_offset);
			continue;
		}
		if (rc != READER_BATCH)
			return rc;
		scan = view.batches.len;
		rc = take_view(p, &view);
		scanned += reader_filters(p->reader) || p->count == before ? scan : 0;
		scanned +=
			(size_t)(unpacker_of(p)->inflated - inflated) / (UNPACK_BYTES_TURN / SCAN_BYTES_TURN);
		inflated = unpacker_of(p)->inflated;
		app_observe_delivery(loop_of(p), way_of(p), p->waited ? view.entered_ns : 0,
				     p->count - before);
		reader_view_release(&view);
		if (rc)
			return rc;
	}
	return READER_BATCH;
}

static int gather(struct poll *p)
{
	int rc = gather_page(p);

	unpacker_trim(unpacker_of(p));
	return rc;
}

/* ---- validators ---- */

#define ETAG_BYTES 28u

static int make_etag(struct poll *p, char *text)
{
	struct hash128 stamp;
	uint8_t bytes[16];
	int rc = reader_stamp(p->reader, &stamp);

	memcpy(bytes, &stamp.lo, 8);
	memcpy(bytes + 8, &stamp.hi, 8);
	memcpy(text, "W/\"", 3);
	text[3 + base64_encode(BASE64_URL, slice_make(bytes, sizeof(bytes)), text + 3)] = '"';
	return rc;
}

/* RFC 9110 13.1.2: weak comparison with each of the list. */
static bool is_known(struct exchange *x, struct slice etag)
{
	struct slice list, item;

	if (exchange_header(x, SLICE_LIT("if-none-match"), &list) != 1)
		return false;
	while (http_list_next(&list, &item) == 1) {
		if (slice_eq_str(item, "*"))
			return true;
		if (slice_starts(item, SLICE_LIT("W/")))
			item = slice_from(item, 2);
		if (slice_eq(item, slice_from(etag, 2)))
			return true;
	}
	return false;
}

/* ---- answering ---- */

static void count_reader(const struct poll *p, int by)
{
	if (loop_of(p)->shard)
		metric_move(loop_of(p)->shard, METRIC_READERS, way_of(p), by);
}

static void let_go(struct poll *p)
{
	loop_timer_stop(p->x->loop, &p->timer);
	app_guest_remove(&p->guest);
	reader_close(p->reader);
	p->reader = NULL;
	buf_fini(&p->gaps);
	count_reader(p, -1);
}

static void count_delivered(const struct poll *p, size_t bytes)
{
	struct metrics_shard *shard = loop_of(p)->shard;

	if (!shard)
		return;
	metric_add(shard, METRIC_DELIVERED_RECORDS, way_of(p), p->count);
	metric_add(shard, METRIC_DELIVERED_BYTES, way_of(p), bytes);
	metric_add(shard, METRIC_ENCODED_RECORDS, way_of(p), p->encoded);
	metric_add(shard, METRIC_READER_GAPS, way_of(p), p->gap_count);
}

static int fail(struct poll *p, int err)
{
	struct exchange *x = p->x;

	let_go(p);
	buf_fini(&p->kept);
	if (err == ERR_UNKNOWN_TOPIC)
		return exchange_problem(x, err, "The topic was deleted");
	return exchange_problem(x, err, NULL);
}

static int answer_page(struct poll *p)
{
	struct exchange *x = p->x;
	size_t bytes = p->count ? p->out->len - (sizeof(PAGE_BEGIN) - 1) : 0;
	struct buf kept;
	int rc;

	(void)buf_append_byte(p->out, ']');
	if (p->gaps.len) {
		(void)buf_append_str(p->out, ",\"gaps\":[");
		(void)buf_append_slice(p->out, buf_slice(&p->gaps));
		(void)buf_append_byte(p->out, ']');
	}
	(void)p->put_end(p, p->out);
	(void)buf_append_str(p->out, "}\n");
	if (buf_status(p->out) || buf_status(&p->gaps))
		return fail(p, ERR_NOMEM);
	count_delivered(p, bytes);
	let_go(p);
	kept = p->kept; /* p may be gone with the answer */
	rc = exchange_answer(x, 200, "application/json", buf_slice(p->out == &p->kept ? &kept : p->out));
	buf_fini(&kept);
	return rc;
}

static bool is_empty(const struct poll *p)
{
	return p->count == 0 && p->gaps.len == 0;
}

/* A page that has something is gone on with where it was moved to; else it begins in the scratch. */
static void begin_page(struct poll *p)
{
	if (!is_empty(p))
		return;
	p->out = &loop_of(p)->scratch;
	if (p->out->cap > APP_SCRATCH_KEPT)
		buf_fini(p->out);
	buf_clear(p->out);
	(void)buf_append_str(p->out, PAGE_BEGIN);
	p->bytes_max = find_bytes_max(p) + p->out->len;
}

/* The scratch is somebody else's until the disk has answered. False: no memory, or the page is too large for that. */
static bool keep_page(struct poll *p)
{
	if (is_empty(p))
		return true;
	if (p->out->len > KEPT_BYTES_MAX)
		return false;
	if (p->out == &p->kept)
		return true;
	if (buf_append_slice(&p->kept, buf_slice(p->out))) {
		buf_fini(&p->kept);
		return false;
	}
	p->out = &p->kept;
	return true;
}

/* Gathers what there is; where there is nothing, again with the partitions watched. */
static int gather_or_watch(struct poll *p)
{
	int rc = gather(p);

	if (rc != READER_END || !is_empty(p) || p->over || p->watching || loop_of(p)->draining)
		return rc;
	p->watching = true;
	p->waited = true;
	rc = reader_watch(p->reader);
	return rc ? rc : gather(p);
}

/* True where the answer was given; else the reader will call. `last`: now or never. */
static bool attempt(struct poll *p, bool last)
{
	int rc;

	begin_page(p);
	rc = gather_or_watch(p);
	if (rc < 0 && is_empty(p)) {
		(void)fail(p, rc);
		return true;
	}
	if (!last && rc == READER_WAIT && keep_page(p))
		return false;
	if (!last && rc == READER_END && is_empty(p) && p->watching && !p->over)
		return false;
	(void)answer_page(p);
	return true;
}

static void on_ready(void *ctx, struct reader *r)
{
	struct poll *p = ctx;

	(void)r;
	if (p->watching)
		exchange_waited(p->x);
	/* One commit may wake thousands of them, and each would hold a page of its own. */
	if (budget_is_full(loop_share(p->x->loop)))
		(void)fail(p, ERR_OVERLOADED);
	else
		(void)attempt(p, false);
}

/* The time is up for new records. What stands on disk may take as long as it does without `wait`. */
static void on_late(void *ctx)
{
	struct poll *p = ctx;
	struct loop *loop = p->x->loop;
	int64_t left = p->since_ns + DISK_WAIT_NS - loop_now(loop);

	exchange_waited(p->x);
	p->over = true;
	if (!attempt(p, left <= 0))
		loop_timer_set(loop, &p->timer, left);
}

static void on_leave(void *ctx)
{
	(void)attempt(ctx, true);
}

static void on_cancel(struct exchange *x)
{
	struct poll *p = x->user;

	let_go(p);
	buf_fini(&p->kept);
	exchange_forget(x);
}

/* A client that closes its side is most likely gone; the rare one that still reads gets what there is. */
static void on_end(struct exchange *x)
{
	struct poll *p = x->user;

	p->over = true;
	(void)attempt(p, false);
}

static int park(struct poll *p)
{
	struct exchange *x = p->x;

	if (p->wait_ns)
		exchange_park(x);
	x->user = p;
	x->on_cancel = on_cancel;
	x->on_end = on_end;
	loop_timer_set(x->loop, &p->timer, p->wait_ns ? p->wait_ns : DISK_WAIT_NS);
	app_guest_add(loop_of(p), &p->guest);
	return EXCHANGE_PENDING;
}

/* ---- starting ---- */

static void add_gone(void *ctx, const struct reader_view *gap)
{
	put_gap(ctx, gap->number, gap->from, gap->next_offset);
}

/* The cursor is behind: where to go on, and what is lost. 0 where it is not, 1 where that was answered. */
static int refuse_gone(struct poll *p, poll_put_fn *put_moved)
{
	struct exchange *x = p->x;
	struct buf *out = &loop_of(p)->scratch;

	if (reader_skip_gone(p->reader, add_gone, p) == 0)
		return 0;
	buf_clear(out);
	(void)buf_append_str(out, "\"gaps\":[");
	(void)buf_append_slice(out, buf_slice(&p->gaps));
	(void)buf_append_byte(out, ']');
	(void)put_moved(p, out);
	if (loop_of(p)->shard)
		metric_add(loop_of(p)->shard, METRIC_READER_GAPS, way_of(p), p->gap_count);
	let_go(p);
	(void)exchange_problem_with(
		x, ERR_CURSOR_GONE, buf_slice(out),
		"Records in front of it were removed by retention or a trim; go on where this answer says");
	return 1;
}

/* 304 and HEAD, without reading a record. 1 where that was the answer. */
static int answer_unread(struct poll *p)
{
	struct exchange *x = p->x;
	char etag[ETAG_BYTES];
	struct slice text = slice_make(etag, 26);
	int status = 200;

	if (make_etag(p, etag))
		return 0;
	(void)exchange_add_header(x, SLICE_LIT("ETag"), text);
	(void)exchange_add_header(x, SLICE_LIT("Cache-Control"), SLICE_LIT("no-cache"));
	if (is_known(x, text))
		status = 304;
	else if (x->request.method != HTTP_HEAD)
		return 0;
	let_go(p);
	(void)exchange_answer(x, status, status == 200 ? "application/json" : NULL, slice_null());
	return 1;
}

static int refuse_open(struct exchange *x, int err, const struct fault *fault)
{
	/* Of a topic that was made anew nothing can be said but where it begins. */
	if (err == ERR_CURSOR_GONE)
		return exchange_problem_with(x, err, SLICE_LIT("\"cursor\":\"earliest\""), "%s", fault->text);
	return fault->text[0] ? exchange_problem(x, err, "%s", fault->text) : exchange_problem(x, err, NULL);
}

int poll_start(struct exchange *x, const struct poll_options *o)
{
	struct poll *p = arena_zalloc(x->arena, 1, sizeof(*p));
	struct reader_options reader = {
		.topics = &o->topic,
		.topic_count = 1,
		.cursor = &o->cursor,
		.partitions = &o->partitions,
		.key = o->key,
		.partitions_max = PARTITIONS_MAX,
		.wait_for_topics = o->wait_ns > 0,
		.on_ready = on_ready,
		.ctx = p,
		.tag = o->wait_ns > 0 ? WAY_LONGPOLL : WAY_POLL,
	};
	struct fault fault = {0};
	bool unread;
	int rc;

	if (!p)
		return ERR_NOMEM;
	*p = (struct poll){.x = x,
			   .put_end = o->put_end,
			   .wait_ns = o->wait_ns,
			   .since_ns = loop_now(x->loop),
			   .limit = o->limit,
			   .over = o->wait_ns == 0 || exchange_ended(x)};
	buf_init(&p->kept, RECORD_JSON_BYTES_MAX + APP_SCRATCH_KEPT);
	buf_init(&p->gaps, GAPS_BYTES_MAX);
	loop_timer_init(&p->timer, on_late, p);
	p->guest.leave = on_leave;
	p->guest.ctx = p;
	rc = reader_open(app_loop(x->app, x->loop)->hub, &reader, &p->reader, &fault);
	if (rc)
		return refuse_open(x, rc, &fault);
	count_reader(p, 1);
	if (refuse_gone(p, o->put_moved))
		return 0;
	/* Who waits for the next record has seen all that is there: 304 would end the wait at once. */
	unread = o->wait_ns == 0 || x->request.method == HTTP_HEAD || !reader_caught_up(p->reader);
	if (unread && answer_unread(p))
		return 0;
	return attempt(p, false) ? 0 : park(p);
}
