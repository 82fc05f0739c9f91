/* SPDX-License-Identifier: Apache-2.0 */
/*
 * All of a stream lives in its exchange's arena; what the streams of a loop
 * share (scratch, the timer of comments) is made with the first of them and
 * freed with the last.
 *
 *	on_ready  the log has more        ─┐
 *	on_room   the socket took it all  ─┴─► pump ──► credit used up, or the end
 *
 * Ending: the peer went (on_gone), weir stops (leave), the reader or a write
 * failed (fail). Each goes through end_stream, once.
 */
#include "serve/sse/sse_stream.h"

#include "base/mem.h"
#include "json/json_write.h"
#include "proto/sse/sse_writer.h"
#include "serve/stream/pump.h"
#include "serve/stream/silence.h"

#define SECOND 1000000000ll
#define COMMENT_NS (15 * SECOND)
#define AGAIN_NS (SECOND / 5)
#define RETRY_MS 1000u /* what a client waits before it comes again */

struct sse_loop {
	struct app_loop *al;
	struct app_guest guest;
	struct silence_list streams; /* all of them */
	struct loop_timer again;     /* armed while a stream waits for memory */
	struct pump_bufs bufs;
	uint32_t count;
};

struct sse_stream {
	struct silence silence; /* first: the list gives its address */
	struct pump pump;
	struct exchange *x;
	struct sse_loop *loop;
	bool again; /* pump it when the timer fires */
};

/* ---- the kind ---- */

static int put_event(struct buf *to, struct slice record, struct slice cursor)
{
	buf_append_str(to, "id: ");
	buf_append_slice(to, cursor);
	buf_append_byte(to, '\n');
	return buf_append_slice(to, record);
}

static int put_gap(struct buf *to, struct slice json, struct slice cursor)
{
	struct sse_message m = {.id = cursor, .name = SLICE_LIT("gap"), .data = json};

	return sse_write(to, &m);
}

static size_t room(const void *ctx)
{
	const struct sse_stream *s = ctx;

	return exchange_stream_room(s->x);
}

static int write_bytes(void *ctx, struct slice bytes)
{
	struct sse_stream *s = ctx;

	silence_break(&s->loop->streams, &s->silence);
	return exchange_stream_write(s->x, bytes);
}

static int write_blob(void *ctx, struct blob *blob, struct slice part)
{
	struct sse_stream *s = ctx;

	silence_break(&s->loop->streams, &s->silence);
	return exchange_stream_write_blob(s->x, blob, part);
}

static const struct pump_kind kind = {
	.way = WAY_SSE,
	.whole = ENCODE_SSE,
	.part = ENCODE_SSE_DATA,
	.put = put_event,
	.put_gap = put_gap,
	.room = room,
	.write = write_bytes,
	.write_blob = write_blob,
};

/* ---- ending ---- */

static void give_back_loop(struct sse_loop *l)
{
	if (l->count > 0)
		return;
	l->al->sse = NULL;
	app_guest_remove(&l->guest);
	loop_timer_stop(l->al->loop, &l->again);
	silence_fini(&l->streams);
	pump_bufs_fini(&l->bufs);
	mem_free(l);
}

/* The stream and, with its last one, what the loop keeps are gone after it. */
static void end_stream(struct sse_stream *s, bool abort)
{
	struct sse_loop *l = s->loop;
	struct exchange *x = s->x;

	pump_stop(&s->pump);
	silence_stop(&l->streams, &s->silence);
	l->count--;
	x->on_cancel = NULL;
	if (abort)
		exchange_stream_abort(x);
	else
		exchange_stream_end(x);
	give_back_loop(l);
}

static void tell_error(struct sse_stream *s, int err)
{
	struct buf *json = &s->loop->bufs.json, *out = &s->loop->bufs.out;
	struct sse_message m = {.name = SLICE_LIT("error")};

	buf_clear(json);
	buf_clear(out);
	json_put_open(json, '{');
	json_put_name(json, "error");
	json_put_open(json, '{');
	json_put_member_string(json, "code", slice_str(err_row(err)->code));
	json_put_member_string(json, "detail", slice_str(pump_error_text(err)));
	json_put_close(json, '}');
	json_put_close(json, '}');
	m.data = buf_slice(json);
	if (buf_status(json) == 0 && sse_write(out, &m) == 0)
		(void)!exchange_stream_write(s->x, buf_slice(out));
	metric_add(s->pump.al->shard, METRIC_REFUSALS, metric_code(err), 1);
}

static void fail(struct sse_stream *s, int err)
{
	if (err != ERR_CANCELLED)
		tell_error(s, err);
	end_stream(s, err == ERR_CANCELLED);
}

static void on_gone(struct exchange *x)
{
	end_stream(x->user, false);
}

/* weir stops: the final chunk tells the client that this was all, for now. */
static void leave(void *ctx)
{
	struct sse_loop *l = ctx;
	struct silence *s = silence_first(&l->streams);

	while (s) {
		struct silence *next = silence_after(&l->streams, s);
		end_stream((struct sse_stream *)(void *)s, false); /* l is gone with the last */
		s = next;
	}
}

/* ---- pumping ---- */

static void run(struct sse_stream *s)
{
	int rc = pump_run(&s->pump);

	s->again = rc == PUMP_AGAIN;
	if (s->again)
		loop_timer_set(s->pump.al->loop, &s->loop->again, AGAIN_NS);
	else if (rc < 0)
		fail(s, rc);
}

static void on_ready(void *ctx, struct reader *r)
{
	(void)r;
	run(ctx);
}

static void on_room(struct exchange *x)
{
	run(x->user);
}

static void on_again(void *ctx)
{
	struct sse_loop *l = ctx;
	struct silence *at = silence_first(&l->streams);

	while (at) {
		struct sse_stream *s = (struct sse_stream *)(void *)at;
		struct silence *next = silence_after(&l->streams, at);
		/* Running moves a stream to the end, where it is met again: not marked any more. */
		if (s->again)
			run(s);
		at = next;
	}
}

/* A comment keeps what stands between from taking the connection for dead. Not behind bytes that nobody takes. */
static bool on_silent(void *ctx, struct silence *at)
{
	struct sse_stream *s = (struct sse_stream *)(void *)at;
	struct sse_loop *l = ctx;
	bool last = l->count == 1;

	if (s->pump.blocked || exchange_stream_write(s->x, SLICE_LIT(":\n\n")) == 0)
		return true;
	fail(s, ERR_CANCELLED);
	return !last;
}

/* ---- beginning ---- */

static int64_t comment_ns(const struct app *app)
{
	return app->limits.sse_comment_ns ? app->limits.sse_comment_ns : COMMENT_NS;
}

/* What the streams of a loop share. NULL without memory. */
static struct sse_loop *take_loop(const struct app *app, struct app_loop *al)
{
	struct sse_loop *l = al->sse;

	if (l)
		return l;
	l = mem_zalloc(1, sizeof(*l));
	if (!l)
		return NULL;
	l->al = al;
	l->guest.leave = leave;
	l->guest.ctx = l;
	app_guest_add(al, &l->guest);
	silence_init(&l->streams, al->loop, comment_ns(app), on_silent, l);
	loop_timer_init(&l->again, on_again, l);
	pump_bufs_init(&l->bufs);
	al->sse = l;
	return l;
}

static int start_body(struct exchange *x)
{
	(void)exchange_add_header(x, SLICE_LIT("Cache-Control"), SLICE_LIT("no-cache"));
	(void)exchange_add_header(x, SLICE_LIT("X-Accel-Buffering"), SLICE_LIT("no"));
	return exchange_stream_start(x, 200, "text/event-stream", on_room);
}

static int write_retry(struct sse_loop *l, struct exchange *x)
{
	buf_clear(&l->bufs.out);
	if (sse_write_retry(&l->bufs.out, RETRY_MS))
		return ERR_NOMEM;
	return exchange_stream_write(x, buf_slice(&l->bufs.out));
}

/* The reader is there: from here on only cutting the connection is left to tell of an error. */
static int begin(struct sse_stream *s, struct reader *reader, const struct stream_ask *ask)
{
	struct exchange *x = s->x;
	const struct pump pump = {
		.kind = &kind,
		.ctx = s,
		.sys = ((const struct app *)x->app)->sys,
		.al = s->loop->al,
		.bufs = &s->loop->bufs,
		.reader = reader,
		.names_topic = ask->topic_count > 1,
	};
	int rc;

	pump_start(&s->pump, &pump);
	s->loop->count++;
	silence_start(&s->loop->streams, &s->silence);
	rc = start_body(x);
	if (rc == 0 && x->request.method != HTTP_HEAD)
		rc = write_retry(s->loop, x);
	if (rc || x->request.method == HTTP_HEAD) {
		end_stream(s, rc != 0);
		return 0;
	}
	x->on_cancel = on_gone;
	run(s);
	return EXCHANGE_PENDING;
}

int sse_stream_start(struct exchange *x, const struct stream_ask *ask)
{
	struct app_loop *al = app_loop(x->app, x->loop);
	struct sse_stream *s;
	struct reader *reader;
	struct fault fault = {0};
	int rc;

	if (al->draining)
		return ERR_SHUTTING_DOWN;
	s = arena_zalloc(x->arena, 1, sizeof(*s));
	if (!s)
		return ERR_NOMEM;
	rc = stream_ask_open(ask, x, WAY_SSE, on_ready, s, &reader, &fault);
	if (rc)
		return stream_ask_refuse(x, rc, &fault);
	s->loop = take_loop(x->app, al);
	if (!s->loop) {
		reader_close(reader);
		return ERR_NOMEM;
	}
	s->x = x;
	x->user = s;
	return begin(s, reader, ask);
}
