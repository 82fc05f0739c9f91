/* SPDX-License-Identifier: Apache-2.0 */
#include "obs/health.h"

#include <pthread.h>

#include "base/mem.h"
#include "obs/quote.h"

struct component {
	enum health_state state;
	char reason[HEALTH_REASON_MAX];
	health_probe_fn *probe;
	void *ctx;
};

struct health {
	pthread_mutex_t lock;
	struct component components[METRIC_COUNT_COMPONENT];
};

#define COMPONENT_TEXT(label, name, text) text,
static const char *const component_texts[] = {METRIC_VALUES_COMPONENT(COMPONENT_TEXT, COMPONENT)};
#undef COMPONENT_TEXT

static const char *const state_texts[] = {
	[HEALTH_OK] = "ok",
	[HEALTH_WARNING] = "warning",
	[HEALTH_READ_ONLY] = "read_only",
	[HEALTH_DOWN] = "down",
};

static void copy_reason(char *to, const char *reason)
{
	size_t n = reason ? strnlen(reason, HEALTH_REASON_MAX - 1) : 0;

	if (n > 0)
		memcpy(to, reason, n);
	to[n] = '\0';
}

int health_new(struct health **out)
{
	struct health *h = mem_zalloc(1, sizeof(*h));

	if (!h)
		return ERR_NOMEM;
	if (pthread_mutex_init(&h->lock, NULL) != 0) {
		mem_free(h);
		return ERR_NOMEM;
	}
	h->components[COMPONENT_START].state = HEALTH_DOWN;
	copy_reason(h->components[COMPONENT_START].reason, "starting");
	*out = h;
	return 0;
}

void health_free(struct health *h)
{
	if (!h)
		return;
	(void)pthread_mutex_destroy(&h->lock);
	mem_free(h);
}

void health_set(struct health *h, enum metric_COMPONENT component, enum health_state state,
		const char *reason)
{
	struct component *c = &h->components[component];

	CHECK(component < METRIC_COUNT_COMPONENT);
	(void)pthread_mutex_lock(&h->lock);
	c->state = state;
	copy_reason(c->reason, state == HEALTH_OK ? NULL : reason);
	(void)pthread_mutex_unlock(&h->lock);
}

void health_probe(struct health *h, enum metric_COMPONENT component, health_probe_fn *fn, void *ctx)
{
	CHECK(component < METRIC_COUNT_COMPONENT);
	(void)pthread_mutex_lock(&h->lock);
	h->components[component].probe = fn;
	h->components[component].ctx = ctx;
	(void)pthread_mutex_unlock(&h->lock);
}

/* The state of one component now, the worse of what was set and what its probe says. Under the lock. */
static enum health_state ask(struct component *c, char *reason)
{
	char asked[HEALTH_REASON_MAX] = "";
	enum health_state state = c->probe ? c->probe(c->ctx, asked) : HEALTH_OK;

	if (state > c->state) {
		copy_reason(reason, asked);
		return state;
	}
	copy_reason(reason, c->reason);
	return c->state;
}

bool health_ready(struct health *h, bool for_read)
{
	char reason[HEALTH_REASON_MAX];
	enum health_state worst = HEALTH_OK;
	size_t i;

	(void)pthread_mutex_lock(&h->lock);
	for (i = 0; i < METRIC_COUNT_COMPONENT; i++) {
		enum health_state state = ask(&h->components[i], reason);

		if (state > worst)
			worst = state;
	}
	(void)pthread_mutex_unlock(&h->lock);
	return worst <= HEALTH_WARNING || (for_read && worst == HEALTH_READ_ONLY);
}

static void write_component(struct buf *out, size_t i, enum health_state state, const char *reason)
{
	char escaped[HEALTH_REASON_MAX * 6];
	bool cut = false;

	(void)buf_append_str(out, i ? ",\"" : "\"");
	(void)buf_append_str(out, component_texts[i]);
	(void)buf_append_str(out, "\":{\"state\":\"");
	(void)buf_append_str(out, state_texts[state]);
	if (state != HEALTH_OK) {
		(void)buf_append_str(out, "\",\"reason\":\"");
		(void)buf_append(out, escaped,
				 quote_escape(escaped, sizeof(escaped), slice_str(reason), &cut));
	}
	(void)buf_append_str(out, "\"}");
}

int health_write(struct health *h, struct buf *out, enum health_state *worst)
{
	enum health_state states[METRIC_COUNT_COMPONENT];
	char reasons[METRIC_COUNT_COMPONENT][HEALTH_REASON_MAX];
	size_t i;

	*worst = HEALTH_OK;
	(void)pthread_mutex_lock(&h->lock);
	for (i = 0; i < METRIC_COUNT_COMPONENT; i++) {
		states[i] = ask(&h->components[i], reasons[i]);
		if (states[i] > *worst)
			*worst = states[i];
	}
	(void)pthread_mutex_unlock(&h->lock);
	(void)buf_append_str(out, "{\"status\":\"");
	(void)buf_append_str(out, *worst == HEALTH_OK ? "ready" : state_texts[*worst]);
	(void)buf_append_str(out, "\",\"components\":{");
	for (i = 0; i < METRIC_COUNT_COMPONENT; i++)
		write_component(out, i, states[i], reasons[i]);
	(void)buf_append_str(out, "}}\n");
	return buf_status(out);
}

void health_metrics(void *ctx, struct metrics_scrape *scrape)
{
	struct health *h = ctx;
	char reason[HEALTH_REASON_MAX];
	unsigned i;

	(void)pthread_mutex_lock(&h->lock);
	for (i = 0; i < METRIC_COUNT_COMPONENT; i++)
		metrics_put(scrape, METRIC_READY, i, ask(&h->components[i], reason) <= HEALTH_WARNING);
	(void)pthread_mutex_unlock(&h->lock);
}
