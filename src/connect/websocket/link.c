/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connection, from the dial to its loss:
 *
 *	DIALING ──► UPGRADING ──► ASKING ──► LIVE ──► lost
 *	   TCP, TLS   101          answers     records
 *
 * It is read by pulls alone (link_go_on), as far as their credit goes: what nobody pulls stays in the socket. While it
 * is being made, the pull is under way (SOURCE_LATER), and ends when the connection has brought something or has lasted
 * for PROOF_NS. So a server that takes everybody and throws everybody out again makes pulls that fail one
 * after the other, and the machinery's backoff does its work; nothing of the kind is written here.
 *
 * One timer serves all deadlines: it is set to the nearest. While data waits for a pull (the log refuses, or is slow)
 * the peer is not to blame for silence, and those clocks stand still; what weir itself owes the peer, heartbeats and
 * pings, goes out all the same.
 */
#include <stdarg.h>
#include <stdio.h>

#include "base/mem.h"
#include "base/utf8.h"
#include "connect/websocket/inner.h"
#include "connect/websocket/match.h"

#define MS_NS 1000000LL
#define PROOF_NS (5000 * MS_NS)
#define LASTING_NS (10000 * MS_NS)
#define BLOCKED_NS (30000 * MS_NS)
#define URL_BYTES_MAX 20000u
#define ARENA_BYTES_MAX ((size_t)64 << 20)
#define SENT_BYTES_MAX (1u << 20)

static const struct http_limits head_limits = {.head_bytes_max = 32u << 10, .target_bytes_max = 8u << 10};

static int64_t now(const struct link *l)
{
	return loop_now(l->feed->loop);
}

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

/* ---- templates ---- */

int link_lookup(void *ctx, struct slice name, struct slice *value)
{
	const struct link *l = ctx;
	const struct websocket_settings *s = l->feed->settings;

	if (slice_eq_str(name, "token") && s->token) {
		*value = slice_str(s->token);
		return 1;
	}
	if (!slice_eq_str(name, "last") || !s->last)
		return -1;
	*value = l->place.last.ptr ? l->place.last : slice_str(s->last_initial);
	return 1;
}

static bool looks_like_json(const char *text)
{
	text += strspn(text, " \t\r\n");
	return *text == '{' || *text == '[';
}

/* ---- sending ---- */

static void send_bytes(struct link *l, const struct buf *bytes)
{
	int rc = buf_status(bytes);

	if (rc == 0)
		rc = dial_write(l->dial, buf_slice(bytes));
	if (rc)
		link_lose(l, SOURCE_TRANSIENT, "%s",
			  rc == ERR_LIMIT ? "the server does not read what it is sent" :
					    "there is no memory for what is sent");
	else if (dial_pending(l->dial) == 0)
		l->blocked_ns = 0;
	else if (l->blocked_ns == 0)
		l->blocked_ns = now(l);
}

/* RFC 6455 section 5.3: each frame has a mask of its own that cannot be foretold. */
static bool new_mask(struct link *l, void *bytes, size_t n)
{
	const struct sys *sys = l->feed->sys;

	if (sys->ops->random(sys->self, bytes, n) == 0)
		return true;
	link_lose(l, SOURCE_TRANSIENT, "the system gives no random bytes");
	return false;
}

static void send_frame(struct link *l, enum ws_opcode opcode, struct slice payload)
{
	struct buf frame;
	uint8_t mask[4];

	if (!new_mask(l, mask, sizeof(mask)))
		return;
	buf_init(&frame, SENT_BYTES_MAX + WS_HEADER_MASKED_MAX);
	(void)ws_frame_append_masked(&frame, WS_FIN | (uint32_t)opcode, payload, mask);
	send_bytes(l, &frame);
	buf_fini(&frame);
}

static void send_close(struct link *l, uint16_t code, struct slice reason)
{
	uint8_t frame[WS_CONTROL_FRAME_MAX];
	size_t n = ws_frame_close(frame, code, reason);

	send_frame(l, WS_CLOSE, slice_make(frame + 2, n - 2));
}

static void send_text(struct link *l, const char *template)
{
	struct buf text;

	buf_init(&text, SENT_BYTES_MAX);
	if (template_expand(slice_str(template), looks_like_json(template) ? TEMPLATE_JSON : TEMPLATE_PLAIN,
			    link_lookup, l, &text))
		link_lose(l, SOURCE_FINAL,
			  "a message of subscribe is over 1 MiB, or there is no memory for it");
	else if (!utf8_valid(buf_slice(&text)))
		link_lose(l, SOURCE_FINAL, "a message of subscribe is not UTF-8");
	else
		send_frame(l, WS_TEXT, buf_slice(&text));
	buf_fini(&text);
}

/* ---- the states ---- */

static void begin_live(struct link *l)
{
	l->state = LINK_LIVE;
	l->opened_ns = l->live_ns = l->beaten_ns = now(l);
	l->gap_to_ms = sys_wall_ms(l->feed->sys);
	if (l->feed->settings->heartbeat_message)
		send_text(l, l->feed->settings->heartbeat_message);
}

/* Sends what is to be sent until one is waited for. */
static void ask_next(struct link *l)
{
	const struct websocket_settings *s = l->feed->settings;

	l->state = LINK_ASKING;
	l->opened_ns = now(l);
	while (!l->lost && l->asked < s->subscribe.count) {
		send_text(l, s->subscribe.items[l->asked++]);
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
	send_close(l, ev->code, slice_null());
	link_lose(l, SOURCE_TRANSIENT, "the server closed the connection with %u%s%.*s", ev->code,
		  ev->bytes.len ? ": " : "", (int)ev->bytes.len, (const char *)ev->bytes.ptr);
}

static void end_by_us(struct link *l, const struct ws_event *ev)
{
	send_close(l, ev->code, ev->bytes);
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
			l->begun_ns = now(l);
		return 0;
	}
	l->begun_ns = 0;
	if (kind == WS_EVENT_MESSAGE)
		message_take(l, ev.bytes);
	else if (kind == WS_EVENT_PING)
		send_frame(l, WS_PONG, ev.bytes);
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
	l->heard_ns = now(l);
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

static void set_timer(struct link *l);

/*
 * How long to stay away. A feed that brings something and ends soon, again and again, makes no failures in a row, and
 * the machinery would come back at once each time.
 */
static int64_t pause_ms(struct link *l)
{
	const struct websocket_settings *s = l->feed->settings;
	struct feed *f = l->feed;
	int64_t wait = s->reconnect_min_ms;

	if (l->live_ns && now(l) - l->live_ns >= LASTING_NS) {
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
		l->begun_ns += now(l) - l->ready_ns;
	if (l->ready)
		l->heard_ns = now(l);
	l->ready = false;
	if (l->row.ptr)
		message_go_on(l);
	read_all(l);
	had = l->batch->record_count + l->batch->dead_count;
	l->proven = l->proven || (had > 0 && !l->batch->test) ||
		    (l->state == LINK_LIVE && now(l) - l->live_ns >= PROOF_NS);
	if (l->proven && !l->lost && l->gap_due && l->state == LINK_LIVE && !has_enough(l))
		message_add_gap(l);
	if (l->batch->record_count + l->batch->dead_count > 0 || (l->proven && l->place.at_ms == 0))
		mark(l);
	set_timer(l);
	if (l->lost)
		return fail(l);
	if (has_enough(
		    l)) { /* it may be long until the next pull: the log refuses, or the source is held back */
		l->ready = true;
		l->ready_ns = now(l);
		set_timer(l);
		return SOURCE_MORE;
	}
	if (l->batch->test && l->proven)
		return SOURCE_IDLE;
	return l->proven ? SOURCE_WAIT : SOURCE_LATER;
}

/* Something has happened: the pull under way goes on, or one is asked for. */
static void stir(struct link *l)
{
	struct source_batch *batch = l->batch;
	enum source_end end;

	if (!batch) {
		if (!l->ready)
			l->ready_ns = now(l);
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

/* ---- time ---- */

/* The nearer of two moments, 0 being never. */
static int64_t nearer(int64_t a, int64_t b)
{
	return a == 0 || (b && b < a) ? b : a;
}

static int64_t after(int64_t since_ns, int64_t ms)
{
	return since_ns && ms > 0 ? since_ns + ms * MS_NS : 0;
}

static int64_t silence_at(const struct link *l)
{
	return l->ready || l->state < LINK_ASKING ? 0 : after(l->heard_ns, l->feed->settings->silence_ms);
}

static int64_t message_at(const struct link *l)
{
	return l->ready ? 0 : after(l->begun_ns, l->feed->settings->message_timeout_ms);
}

static int64_t state_at(const struct link *l)
{
	const struct websocket_settings *s = l->feed->settings;

	if (l->state == LINK_UPGRADING)
		return after(l->opened_ns, s->connect_timeout_ms);
	if (l->state == LINK_ASKING && !l->ready)
		return after(l->opened_ns, s->answer_timeout_ms);
	return l->state == LINK_LIVE && !l->proven && l->batch ? l->live_ns + PROOF_NS : 0;
}

static int64_t ping_at(const struct link *l)
{
	return l->state < LINK_ASKING ? 0 : after(l->pinged_ns, l->feed->settings->ping_ms);
}

static int64_t beat_at(const struct link *l)
{
	return l->state == LINK_LIVE && l->feed->settings->heartbeat_message ?
		       after(l->beaten_ns, l->feed->settings->heartbeat_every_ms) :
		       0;
}

static void set_timer(struct link *l)
{
	int64_t at = 0, wait;

	if (l->lost)
		return;
	at = nearer(silence_at(l), message_at(l));
	at = nearer(at, state_at(l));
	at = nearer(at, nearer(ping_at(l), beat_at(l)));
	at = nearer(at, l->blocked_ns ? l->blocked_ns + BLOCKED_NS : 0);
	if (at == 0) {
		loop_timer_stop(l->feed->loop, &l->timer);
		return;
	}
	wait = at - now(l);
	loop_timer_set(l->feed->loop, &l->timer, wait > 0 ? wait : 0);
}

static bool is_past(const struct link *l, int64_t at)
{
	return at && now(l) >= at;
}

/* What is late. */
static void check_deadlines(struct link *l)
{
	const struct websocket_settings *s = l->feed->settings;

	if (dial_pending(l->dial) == 0)
		l->blocked_ns = 0;
	if (l->blocked_ns && is_past(l, l->blocked_ns + BLOCKED_NS))
		link_lose(l, SOURCE_TRANSIENT, "the server has not read what it was sent for 30 s");
	if (is_past(l, silence_at(l)))
		link_lose(l, SOURCE_TRANSIENT, "nothing came for %lld ms, no pong either",
			  (long long)s->silence_ms);
	if (is_past(l, message_at(l))) {
		send_close(l, WS_CODE_POLICY, SLICE_LIT("a message took too long"));
		link_lose(l, SOURCE_TRANSIENT, "a message had not come whole after message_timeout, %lld ms",
			  (long long)s->message_timeout_ms);
	}
	if (l->state == LINK_UPGRADING && is_past(l, state_at(l)))
		link_lose(l, SOURCE_TRANSIENT, "no answer came within %lld ms",
			  (long long)s->connect_timeout_ms);
	if (l->state == LINK_ASKING && is_past(l, state_at(l)))
		link_lose(l, SOURCE_TRANSIENT,
			  "message %u of subscribe was not answered with %s within answer_timeout, %lld ms",
			  l->asked, s->answers.items[l->asked - 1], (long long)s->answer_timeout_ms);
}

static void on_timer(void *ctx)
{
	struct link *l = ctx;
	bool proof = false;

	(void)loop_now_fresh(l->feed->loop);
	check_deadlines(l);
	if (!l->lost && is_past(l, ping_at(l))) {
		l->pinged_ns = now(l);
		send_frame(l, WS_PING, slice_null());
	}
	if (!l->lost && is_past(l, beat_at(l))) {
		l->beaten_ns = now(l);
		send_text(l, l->feed->settings->heartbeat_message);
	}
	proof = l->state == LINK_LIVE && l->batch && is_past(l, state_at(l));
	if (l->lost || proof)
		stir(l);
	else
		set_timer(l);
}

/* ---- the dial ---- */

/* The URL's authority and its path with the query, for the request. */
static void split_url(struct slice url, struct slice *host, struct buf *target)
{
	struct slice rest = slice_from(url, slice_starts(url, SLICE_LIT("wss")) ? 6 : 5);
	size_t n = 0, m;

	while (n < rest.len && !strchr("/?#", rest.ptr[n]))
		n++;
	*host = slice_make(rest.ptr, n);
	for (m = n; m < rest.len && rest.ptr[m] != '#';)
		m++;
	if (n == m || rest.ptr[n] != '/')
		(void)buf_append_byte(target, '/');
	(void)buf_append(target, rest.ptr + n, m - n);
}

static int put_headers(struct link *l, struct buf *extra)
{
	const struct conf_map *h = &l->feed->settings->headers;
	struct buf value;
	int rc = buf_append_str(extra, "User-Agent: weir/" WEIR_VERSION "\r\n");

	for (uint32_t i = 0; i < h->count && rc == 0; i++) {
		buf_init(&value, 32768);
		rc = template_expand(slice_str(h->values[i]), TEMPLATE_PLAIN, link_lookup, l, &value);
		if (rc == 0 &&
		    (!http_token_valid(slice_str(h->names[i])) || !http_value_valid(buf_slice(&value))))
			rc = ERR_BAD_HEADER;
		(void)buf_append_str(extra, h->names[i]);
		(void)buf_append_str(extra, ": ");
		(void)buf_append_slice(extra, buf_slice(&value));
		(void)buf_append_str(extra, "\r\n");
		buf_fini(&value);
		rc = rc ? rc : buf_status(extra);
		if (rc)
			link_lose(l, SOURCE_FINAL,
				  "the header %.60s has a line break, a control character, or is too long",
				  h->names[i]);
	}
	return rc;
}

static void on_open(void *ctx)
{
	struct link *l = ctx;
	struct ws_client_options options = {.protocol = l->feed->settings->protocol};
	struct buf request, extra, target;
	uint8_t nonce[16];

	buf_init(&request, 1u << 17);
	buf_init(&extra, 1u << 16);
	buf_init(&target, URL_BYTES_MAX);
	split_url(buf_slice(&l->id), &options.host, &target);
	options.target = buf_slice(&target);
	if (new_mask(l, nonce, sizeof(nonce)) && put_headers(l, &extra) == 0) {
		(void)ws_client_request(&l->client, &options, nonce, buf_slice(&extra), &request);
		send_bytes(l, &request);
	}
	buf_fini(&request);
	buf_fini(&extra);
	buf_fini(&target);
	l->state = LINK_UPGRADING;
	l->opened_ns = l->heard_ns = l->pinged_ns = now(l);
	stir(l);
}

static void on_failed(void *ctx, const struct dial_failure *failure)
{
	struct link *l = ctx;

	link_lose(l, failure->class == FETCHER_FINAL ? SOURCE_FINAL : SOURCE_TRANSIENT, "%s", failure->text);
	stir(l);
}

static void on_ready(void *ctx)
{
	stir(ctx);
}

static const struct dial_handler handler = {.on_open = on_open, .on_failed = on_failed, .on_ready = on_ready};

/* As bytes that may stand in a request, without credentials. */
static bool is_sound(struct slice url)
{
	for (size_t i = 0; i < url.len; i++)
		if (url.ptr[i] <= ' ' || url.ptr[i] >= 0x7f)
			return false;
	for (size_t i = 5; i < url.len && !(i > 6 && strchr("/?#", url.ptr[i])); i++)
		if (url.ptr[i] == '@')
			return false;
	return true;
}

static int dial(struct link *l, struct fault *fault)
{
	const struct websocket_settings *s = l->feed->settings;
	struct dial_options options = {.tls = {.ca_file = s->tls_ca,
					       .cert_file = s->tls_cert,
					       .key_file = s->tls_key,
					       .insecure = !s->tls_verify},
				       .connect_ms = s->connect_timeout_ms,
				       .output_bytes_max = 2 * SENT_BYTES_MAX,
				       .guard = l->feed->guard,
				       .handler = &handler,
				       .ctx = l};
	struct slice url, host;
	struct buf plain, target;
	size_t cut;
	int rc = template_expand(slice_str(s->url), TEMPLATE_URL, link_lookup, l, &l->id);

	if (rc)
		return fault_set(fault, rc, "the URL is too long, or there is no memory for it");
	url = buf_slice(&l->id);
	for (cut = 0; cut < url.len && url.ptr[cut] != '?' && url.ptr[cut] != '#';)
		cut++;
	(void)snprintf(l->place_text, sizeof(l->place_text), "source %s: %.*s%s", l->feed->name,
		       (int)(cut < 200 ? cut : 200), (const char *)url.ptr, cut < url.len ? "?..." : "");
	if (!is_sound(url))
		return fault_set(
			fault, ERR_BAD_PARAMETER,
			"the URL has blanks, other than ASCII, or credentials; expected wss://HOST/PATH, and "
			"credentials in headers or as {token}");
	buf_init(&plain, URL_BYTES_MAX);
	buf_init(&target, URL_BYTES_MAX);
	split_url(url, &host, &target);
	(void)buf_append_str(&plain, slice_starts(url, SLICE_LIT("wss")) ? "https://" : "http://");
	(void)buf_append_slice(&plain, host);
	options.url = buf_slice(&plain);
	rc = buf_status(&plain) ? fault_set(fault, ERR_NOMEM, "there is no memory for the URL") :
				  dial_start(l->feed->loop, &options, &l->dial, fault);
	buf_fini(&plain);
	buf_fini(&target);
	return rc;
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
	loop_timer_init(&l->timer, on_timer, l);
	rc = read_place(l, fault);
	if (rc == 0)
		rc = dial(l, fault);
	if (rc == 0)
		return l;
	link_free(l);
	return NULL;
}

void link_free(struct link *l)
{
	if (l->dial && !l->lost && l->state >= LINK_ASKING)
		send_close(l, WS_CODE_GOING_AWAY, slice_null());
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
