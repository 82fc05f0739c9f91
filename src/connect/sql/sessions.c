/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections of one source: lent to a call or a part, kept for the next for as long as the source is open. A session that
 * failed is not lent again. The lock is held for a list's moment, never while anything waits.
 */
#include "base/mem.h"
#include "connect/sql/sql.h"

#define IDLE_MAX 4u

static void link_held(struct sql_held **list, struct sql_held *h)
{
	h->next = *list;
	h->prev = list;
	if (h->next)
		h->next->prev = &h->next;
	*list = h;
}

static void unlink_held(struct sql_held *h)
{
	*h->prev = h->next;
	if (h->next)
		h->next->prev = h->prev;
}

static struct sql_held *take_idle(struct sql_source *s, struct source_part *part)
{
	struct sql_held *h;

	pthread_mutex_lock(&s->lock);
	h = s->idle;
	if (h) {
		unlink_held(h);
		s->idle_count--;
		h->part = part;
		atomic_store(&h->cancelled, false);
		link_held(&s->busy, h);
	}
	pthread_mutex_unlock(&s->lock);
	return h;
}

static int connect_held(struct sql_source *s, struct sql_held *h, struct sql_failure *why)
{
	const struct sql_settings *o = s->settings;
	struct sql_target target = {.url = o->url,
				    .password = o->password,
				    .ca = o->ca,
				    .guarded = s->setup.guarded,
				    .timeout_ms = o->timeout_ms,
				    .cancelled = &h->cancelled};
	struct sql_session *session;
	int rc = s->driver->connect(&target, o->mode == SQL_CHANGE_LOG, &session, why);

	if (rc)
		return rc;
	pthread_mutex_lock(&s->lock);
	h->session = session;
	h->serial = ++s->serial;
	pthread_mutex_unlock(&s->lock);
	return 0;
}

struct sql_held *sql_take(struct sql_source *s, struct source_part *part, struct sql_failure *why)
{
	struct sql_held *h = take_idle(s, part);

	if (h)
		return h;
	h = mem_zalloc(1, sizeof(*h));
	if (!h) {
		(void)sql_failed(why, ERR_NOMEM, SOURCE_TRANSIENT, true, "", "out of memory");
		return NULL;
	}
	h->part = part;
	pthread_mutex_lock(&s->lock);
	link_held(&s->busy, h);
	pthread_mutex_unlock(&s->lock);
	if (connect_held(s, h, why) == 0)
		return h;
	sql_give(s, h, false);
	return NULL;
}

void sql_give(struct sql_source *s, struct sql_held *h, bool usable)
{
	if (!h)
		return;
	pthread_mutex_lock(&s->lock);
	unlink_held(h);
	usable = usable && s->idle_count < IDLE_MAX;
	if (usable) {
		link_held(&s->idle, h);
		s->idle_count++;
	}
	pthread_mutex_unlock(&s->lock);
	if (usable)
		return;
	if (h->session)
		s->driver->close(h->session);
	mem_free(h);
}

void sql_interrupt(struct sql_source *s, struct source_part *part)
{
	pthread_mutex_lock(&s->lock);
	for (struct sql_held *h = s->busy; h; h = h->next) {
		if (h->part != part)
			continue;
		atomic_store(&h->cancelled, true);
		if (h->session)
			s->driver->interrupt(h->session);
	}
	pthread_mutex_unlock(&s->lock);
}

void sql_end_idle(struct sql_source *s)
{
	struct sql_held *h;

	for (;;) {
		pthread_mutex_lock(&s->lock);
		h = s->idle;
		if (h) {
			unlink_held(h);
			s->idle_count--;
		}
		pthread_mutex_unlock(&s->lock);
		if (!h)
			return;
		s->driver->close(h->session);
		mem_free(h);
	}
}

enum source_end sql_fail(struct source_call *call, const struct sql_source *s, const char *doing,
			 const struct sql_failure *why)
{
	const char *table = s->settings->table;

	if (table)
		return source_fail(call, why->kind, "%s, table %s: %s: %s (%s)", s->driver->name, table,
				   doing, why->text, why->state);
	return source_fail(call, why->kind, "%s: %s: %s (%s)", s->driver->name, doing, why->text, why->state);
}
