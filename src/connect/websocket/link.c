/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connection, from the dial to its loss:
 *
 *	DIALING ──► UPGRADING ──► ASKING ──► LIVE ──► lost
 *	   TCP, TLS   101          answers     records
 *
 * It is read by pulls alone (link_go_on), as far as their credit goes: what nobody pulls stays in the socket. While it
 * is being made, the pull is under way (SOURCE_LATER), and ends when the connection has brought something or has lasted
 * for LINK_PROOF_NS. So a server that takes everybody and throws everybody out again makes pulls that fail one
 * after the other, and the machinery's backoff does its work; nothing of the kind is written here.
 *
 * link_dial.c makes the connection, link_send.c writes to it, link_time.c holds its deadlines.
 */
#include <stdarg.h>
#include <stdio.h>

#include "base/mem.h"
#include "connect/websocket/inner.h"

#define LASTING_NS (10000 * LINK_MS_NS)
#define ARENA_BYTES_MAX ((size_t)64 << 20)

static const struct http_limits head_limits = {.head_bytes_max = 32u << 10, .target_bytes_max = 8u << 10};

void link_lose(struct link *l, enum source_failure failure, const char *format, ...)
{
	va_list args;

	if (l->lost)
		return;
	l->lost = true;
	l->failure = failure;
	l->fault.err = ERR_UNREACHABLE;
	va_start(args, format);
	(void)vsnprintf(l->fault.text, sizeof(l->fault.text), format, args);
	va_end(args);
}

/* ---- the states ---- */

static void begin_live(struct link *l)
{
	l->state = LINK_LIVE;
	l->opened_ns = l->live_ns = l->beaten_ns = link_now(l);
	l->gap_to_ms = sys_wall_ms(l->feed->sys);
	if (l->feed->settings->heartbeat_message)
		link_send_text(l, l->feed->settings->heartbeat_message);
}

/* Sends what is to be sent until one is waited for. */
static void ask_next(struct link *l)
{
	const struct websocket_settings *s = l->feed->settings;

	l->state = LINK_ASKING;
	l->opened_ns = link_now(l);
	while (!l->lost && l->asked < s->subscribe.count) {
		link_send_text(l, s->subscribe.items[l->asked++]);
		if (l->asked <= s->answers.count && s->answers.items[l->asked - 1][0])
			return;
	}
	begin_live(l);
}

void link_answered(struct link *l)
{
	ask_next(l);
}

static void show_head(struct link *l, const struct http_response *res)
{
	const struct http_header *after = http_header_find(&res->headers, SLICE_LIT("retry-after"));
	int status = res->status;
	bool passing = status == 408 || status == 425 || status == 429 || status >= 500;
	uint64_t seconds;

	if (after && slice_to_u64(slice_trim(after->value), &seconds) && seconds < 366ull * 86400)
		l->retry_after_ms = (int64_t)seconds * 1000;
	if (status != 101)
		link_lose(l, passing ? SOURCE_TRANSIENT : SOURCE_FINAL,
			  "it was answered with status %d, and not 101: %s", status,
			  status >= 300 && status < 400  ? "redirects are not followed" :
			  status == 401 || status == 403 ? "are the credentials right?" :
							   "is there a WebSocket at this URL?");
}

/* The head of the answer, once it is whole: 1; 0: there is more to come. */
static int read_answer(struct link *l)
{
	struct ws_parser_options options = {.client = true,
					    .message_bytes_max =
						    (size_t)l->feed->settings->message_bytes_max};
	struct http_header list[HTTP_HEADERS_MAX];
	struct http_response res = {.headers = {.list = list, .max = HTTP_HEADERS_MAX}};
	const char *detail = "";
	int rc = http_response_parse(&res, &l->scan, &head_limits, HTTP_GET,
				     slice_make(l->input + l->at, l->end - l->at), &detail);

	if (rc < 0)
		link_lose(l, SOURCE_TRANSIENT, "the answer is not HTTP: %s", detail);
	if (rc <= 0)
		return rc ? 1 : 0;
	l->at += res.head_bytes;
	if (res.status >= 100 && res.status < 200 && res.status != 101)
		return 1; /* 103 and the like come before the answer */
	show_head(l, &res);
	for (uint32_t i = 0; i < res.headers.count; i++)
		ws_client_header(&l->client, list[i].name, list[i].value);
	if (!l->lost && ws_client_finish(&l->client, res.status))
		link_lose(l, SOURCE_FINAL, "%s", l->client.detail);
	if (!l->lost && l->feed->settings->protocol && !l->client.protocol_seen)
		source_warn(l->feed->source, "the server did not agree to the subprotocol %s",
			    l->feed->settings->protocol);
	ws_parser_init(&l->parser, &options);
	if (!l->lost)
		ask_next(l);
	return 1;
}

/* ---- frames ---- */

static bool is_within_message(const struct ws_parser *p)
{
	return p->state != WS_PARSER_HEADER || p->header_len > 0 || p->message_opcode != WS_CONTINUATION;
}

static void end_by_peer(struct link *l, const struct ws_event *ev)
{
	link_send_close(l, ev->code, slice_null());
	link_lose(l, SOURCE_TRANSIENT, "the server closed the connection with %u%s%.*s", ev->code,
		  ev->bytes.len ? ": " : "", (int)ev->bytes.len, (const char *)ev->bytes.ptr);
}

static void end_by_us(struct link *l, const struct ws_event *ev)
{
	link_send_close(l, ev->code, ev->bytes);
	if (ev->code == WS_CODE_TOO_BIG)
		link_lose(
			l, SOURCE_TRANSIENT,
			"a message is larger than max_message, %lld bytes; the connection was closed with 1009",
			(long long)l->feed->settings->message_bytes_max);
	else
		link_lose(l, SOURCE_TRANSIENT, "%.*s; the connection was closed with %u", (int)ev->bytes.len,
			  (const char *)ev->bytes.ptr, ev->code);
}

/* One event of what was read; 0: all of it is used. */
static int read_frame(struct link *l)
{
	struct ws_event ev;
	size_t taken = 0;
	enum ws_event_kind kind = ws_parser_next(&l->parser, l->input + l->at, l->end - l->at, &taken, &ev);

	l->at += taken;
	if (kind == WS_EVENT_MORE) {
		if (l->begun_ns == 0 && is_within_message(&l->parser))
			l->begun_ns = link_now(l);
		return 0;
	}
	l->begun_ns = 0;
	if (kind == WS_EVENT_MESSAGE)
		message_take(l, ev.bytes);
	else if (kind == WS_EVENT_PING)
		link_send_frame(l, WS_PONG, ev.bytes);
	else if (kind == WS_EVENT_CLOSE)
		end_by_peer(l, &ev);
	else if (kind == WS_EVENT_FAIL)
		end_by_us(l, &ev);
	return 1;
}

/* 1: there is more to parse; 0: nothing has come. */
static int read_more(struct link *l)
{
	int64_t n;

	if (l->at == l->end)
		l->at = l->end = 0;
	if (l->end == LINK_INPUT_BYTES) { /* only while the head of the answer has not ended */
		link_lose(l, SOURCE_TRANSIENT, "the head of the answer is over 32 KiB");
		return 1;
	}
	n = dial_read(l->dial, l->input + l->end, LINK_INPUT_BYTES - l->end);
	if (n < 0)
		link_lose(l, SOURCE_TRANSIENT, "%s",
			  n == ERR_CANCELLED     ? "weir is stopping" :
			  l->state < LINK_ASKING ? "the server closed the connection instead of an answer" :
						   "the connection was lost");
	if (n <= 0)
		return n < 0;
	l->end += (size_t)n;
	l->heard_ns = link_now(l);
	l->batch->call.bytes_read += (uint64_t)n;
	return 1;
}

/* ---- pulls ---- */

static bool has_enough(const struct link *l)
{
	return l->row.ptr || source_full(l->batch);
}

static void read_all(struct link *l)
{
	while (!l->lost && l->state != LINK_DIALING && !has_enough(l)) {
		int did = 0;

		if (l->has_array) {
			message_go_on(l);
			continue;
		}
		if (l->at < l->end)
			did = l->state == LINK_UPGRADING ? read_answer(l) : read_frame(l);
		if (did == 0 && !l->lost && read_more(l) == 0)
			return;
	}
}

/* All of the batch belongs to where the feed is now. */
static void mark(struct link *l)
{
	struct buf text;
	int rc;

	if (l->batch->test)
		return;
	if (l->batch->record_count + l->batch->dead_count > 0 || l->place.at_ms == 0 || l->gap_told)
		l->place.at_ms = l->feed->heard_ms ? l->feed->heard_ms : sys_wall_ms(l->feed->sys);
	l->gap_told = false;
	buf_init(&text, SOURCE_CHECKPOINT_MAX);
	rc = place_write(&l->place, &text);
	if (rc == 0) /* also where it is the same as before: what stands before no mark goes with a loss */
		rc = source_mark(l->batch, PLACE_VERSION, buf_slice(&text));
	buf_fini(&text);
	if (rc)
		link_lose(l, SOURCE_TRANSIENT, "there is no memory for the checkpoint");
}

/*
 * How long to stay away. A feed that brings something and ends soon, again and again, makes no failures in a row, and
 * the machinery would come back at once each time.
 */
static int64_t pause_ms(struct link *l)
{
	const struct websocket_settings *s = l->feed->settings;
	struct feed *f = l->feed;
	int64_t wait = s->reconnect_min_ms;

	if (l->live_ns && link_now(l) - l->live_ns >= LASTING_NS) {
		f->brief = 0;
		return 0;
	}
	for (uint32_t i = 0; i < f->brief && wait < s->reconnect_max_ms; i++)
		wait *= 2;
	if (wait > s->reconnect_max_ms)
		wait = s->reconnect_max_ms;
	f->brief++;
	return wait - (int64_t)rand_below(&f->rand, (uint64_t)wait / 2 + 1);
}

static enum source_end fail(struct link *l)
{
	const char *token = l->feed->settings->token;
	int64_t pause = pause_ms(l);

	l->batch->call.not_before_ms = l->retry_after_ms > pause ? l->retry_after_ms : pause;
	l->feed->reason = l->fault;
	if (token && strstr(l->fault.text, token)) /* it would stand in the topic */
		(void)fault_set(&l->feed->reason, ERR_UNREACHABLE, "the server refuses");
	return source_fail(&l->batch->call, l->failure, "%s: %s", l->place_text, l->fault.text);
}

enum source_end link_go_on(struct link *l)
{
	uint32_t had;

	if (l->ready && l->begun_ns) /* it was weir that was slow */
		l->begun_ns += link_now(l) - l->ready_ns;
	if (l->ready)
		l->heard_ns = link_now(l);
	l->ready = false;
	if (l->row.ptr)
		message_go_on(l);
	read_all(l);
	had = l->batch->record_count + l->batch->dead_count;
	l->proven = l->proven || (had > 0 && !l->batch->test) ||
		    (l->state == LINK_LIVE && link_now(l) - l->live_ns >= LINK_PROOF_NS);
	if (l->proven && !l->lost && l->gap_due && l->state == LINK_LIVE && !has_enough(l))
		message_add_gap(l);
	if (l->batch->record_count + l->batch->dead_count > 0 || (l->proven && l->place.at_ms == 0))
		mark(l);
	link_set_timer(l);
	if (l->lost)
		return fail(l);
	if (has_enough(
		    l)) { /* it may be long until the next pull: the log refuses, or the source is held back */
		l->ready = true;
		l->ready_ns = link_now(l);
		link_set_timer(l);
		return SOURCE_MORE;
	}
	if (l->batch->test && l->proven)
		return SOURCE_IDLE;
	return l->proven ? SOURCE_WAIT : SOURCE_LATER;
}

/* Something has happened: the pull under way goes on, or one is asked for. */
void link_stir(struct link *l)
{
	struct source_batch *batch = l->batch;
	enum source_end end;

	if (!batch) {
		if (!l->ready)
			l->ready_ns = link_now(l);
		l->ready = true;
		source_wake(l->part);
		return;
	}
	end = link_go_on(l);
	if (end == SOURCE_LATER)
		return;
	l->batch = NULL;
	if (end == SOURCE_FAILED) {
		l->part->state = NULL;
		link_free(l);
	}
	source_done(&batch->call, end);
}

/* ---- its life ---- */

static int read_place(struct link *l, struct fault *fault)
{
	const struct source_checkpoint *c = &l->part->checkpoint;
	const struct feed *f = l->feed;
	int rc;

	if (c->bytes.ptr && c->version != PLACE_VERSION)
		return fault_set(fault, ERR_BAD_VERSION, "the checkpoint is of a later version of weir: %u",
				 c->version);
	rc = place_read(c->bytes, &l->kept, &l->place, fault);
	if (rc == 0 && l->place.at_ms) {
		l->gap_due = f->settings->gap && !f->settings->last;
		l->gap_from_ms = f->heard_ms > l->place.at_ms ? f->heard_ms : l->place.at_ms;
	}
	return rc;
}

struct link *link_new(struct feed *feed, struct source_part *part, struct fault *fault)
{
	struct link *l = mem_zalloc(1, sizeof(*l));
	int rc;

	if (l)
		l->input = mem_alloc(LINK_INPUT_BYTES);
	if (!l || !l->input) {
		mem_free(l);
		(void)fault_set(fault, ERR_NOMEM, "there is no memory for the connection");
		return NULL;
	}
	l->feed = feed;
	l->part = part;
	arena_init(&l->arena, 16384, ARENA_BYTES_MAX);
	arena_init(&l->kept, 1024, 1u << 20);
	buf_init(&l->last, PLACE_LAST_MAX);
	buf_init(&l->scratch, 32768);
	buf_init(&l->id, 32768);
	loop_timer_init(&l->timer, link_on_timer, l);
	rc = read_place(l, fault);
	if (rc == 0)
		rc = link_dial(l, fault);
	if (rc == 0)
		return l;
	link_free(l);
	return NULL;
}

void link_free(struct link *l)
{
	if (l->dial && !l->lost && l->state >= LINK_ASKING)
		link_send_close(l, WS_CODE_GOING_AWAY, slice_null());
	loop_timer_stop(l->feed->loop, &l->timer);
	dial_close(l->dial);
	if (l->state >= LINK_ASKING)
		ws_parser_fini(&l->parser);
	arena_fini(&l->arena);
	arena_fini(&l->kept);
	buf_fini(&l->last);
	buf_fini(&l->scratch);
	buf_fini(&l->id);
	mem_free(l->input);
	mem_free(l);
}
