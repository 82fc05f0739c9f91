/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections of one source: lent to a call or a part, kept for the next for as long as the source is open. A session that
 * failed is not lent again. The lock is held for a list's moment, never while anything waits.
 */
#include <stdio.h>

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

/* What would be right, where the database's words tell only what is wrong. */
static const char *advice(const struct sql_failure *why)
{
	static const struct {
		const char *states, *words, *text;
	} rows[] = {
		{"28P01 28000 1045 1698", "authentication failed", "check the user in `url`, and `password`"},
		{"3D000 1049", NULL, "the path of `url` names the database"},
		{"42P01 1146", "no such table",
		 "`table` is NAME or SCHEMA.NAME of a table or view that this user sees"},
		{"42501 1142 1143 1044", NULL, "grant the user what it is refused"},
		{"", "unable to open database file", "the path of `url` must be a file that weir may read"},
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		for (const char *at = rows[i].states; *at; at += strspn(at, " ")) {
			size_t n = strcspn(at, " ");
			if (n == strlen(why->state) && memcmp(at, why->state, n) == 0)
				return rows[i].text;
			at += n;
		}
		if (rows[i].words && strstr(why->text, rows[i].words))
			return rows[i].text;
	}
	return NULL;
}

enum source_end sql_fail(struct source_call *call, struct sql_source *s, const char *doing,
			 const struct sql_failure *why)
{
	const char *table = s->settings->table;
	const char *more = advice(why);
	char state[16] = "";

	if (why->changed) /* once the table is learned anew */
		return SOURCE_MORE;
	sql_doubt_table(s, why);
	if (why->state[0])
		(void)snprintf(state, sizeof(state), " (%s)", why->state);
	return source_fail(call, why->kind, "%s%s%s: %s: %s%s%s%s", s->driver->name, table ? ", table " : "",
			   table ? table : "", doing, why->text, state, more ? "; " : "", more ? more : "");
}
