/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/http/spare.h"

#include "serve/http/session.h"

#define SPARED_MAX 16u
#define FRESH_NS 1000000000LL /* time to send what one came for */
#define IDLE_NS 10000000000LL /* a client between two requests comes back sooner, mostly */

static bool can_be_spared(const struct session *s, int64_t now_ns)
{
	return !s->closing && !s->queue.first && intake_is_idle(&s->intake) &&
	       now_ns - s->intake.since_ns >= (s->intake.fresh ? FRESH_NS : IDLE_NS);
}

/* Those that never asked anything are let go before those that did. */
static bool is_sooner(const struct session *a, const struct session *b)
{
	if (a->intake.fresh != b->intake.fresh)
		return a->intake.fresh;
	return a->intake.since_ns < b->intake.since_ns;
}

static void keep_place(struct session **chosen, uint32_t *count, struct session *s)
{
	uint32_t at = *count < SPARED_MAX ? (*count)++ : SPARED_MAX;

	for (; at > 0 && is_sooner(s, chosen[at - 1]); at--)
		if (at < SPARED_MAX)
			chosen[at] = chosen[at - 1];
	if (at < SPARED_MAX)
		chosen[at] = s;
}

uint32_t spare_connections(struct http_loop *ctx, int64_t now_ns)
{
	struct session *chosen[SPARED_MAX];
	uint32_t count = 0;

	for (struct session *s = ctx->sessions; s; s = s->next)
		if (can_be_spared(s, now_ns))
			keep_place(chosen, &count, s);
	for (uint32_t i = 0; i < count; i++)
		session_cut(chosen[i]);
	return count;
}
