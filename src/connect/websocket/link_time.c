/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One timer serves all deadlines: it is set to the nearest. While data waits for a pull (the log refuses, or is slow)
 * the peer is not to blame for silence, and those clocks stand still; what weir itself owes the peer, heartbeats and
 * pings, goes out all the same.
 */
#include "connect/websocket/inner.h"

#define BLOCKED_NS (30000 * LINK_MS_NS)

/* The nearer of two moments, 0 being never. */
static int64_t nearer(int64_t a, int64_t b)
{
	return a == 0 || (b && b < a) ? b : a;
}

static int64_t after(int64_t since_ns, int64_t ms)
{
	return since_ns && ms > 0 ? since_ns + ms * LINK_MS_NS : 0;
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
	return l->state == LINK_LIVE && !l->proven && l->batch ? l->live_ns + LINK_PROOF_NS : 0;
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

void link_set_timer(struct link *l)
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
	wait = at - link_now(l);
	loop_timer_set(l->feed->loop, &l->timer, wait > 0 ? wait : 0);
}

static bool is_past(const struct link *l, int64_t at)
{
	return at && link_now(l) >= at;
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
		link_send_close(l, WS_CODE_POLICY, SLICE_LIT("a message took too long"));
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

void link_on_timer(void *ctx)
{
	struct link *l = ctx;
	bool proof = false;

	(void)loop_now_fresh(l->feed->loop);
	check_deadlines(l);
	if (!l->lost && is_past(l, ping_at(l))) {
		l->pinged_ns = link_now(l);
		link_send_frame(l, WS_PING, slice_null());
	}
	if (!l->lost && is_past(l, beat_at(l))) {
		l->beaten_ns = link_now(l);
		link_send_text(l, l->feed->settings->heartbeat_message);
	}
	proof = l->state == LINK_LIVE && l->batch && is_past(l, state_at(l));
	if (l->lost || proof)
		link_stir(l);
	else
		link_set_timer(l);
}
