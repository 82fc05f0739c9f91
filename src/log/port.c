/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A port gathers what a loop is to be told, and wakes it once: the committer
 * posts a whole group's answers and then wakes each port that got something.
 */
#include "log/core.h"

#include "base/check.h"
#include "base/mem.h"

int log_port_new(struct log *l, log_wake_fn *wake, void *ctx, struct log_port **out)
{
	struct log_port *port = mem_zalloc(1, sizeof(*port));

	if (!port)
		return ERR_NOMEM;
	port->log = l;
	port->wake = wake;
	port->ctx = ctx;
	(void)pthread_mutex_init(&port->lock, NULL);
	(void)pthread_mutex_lock(&l->ports_lock);
	port->next = l->ports;
	l->ports = port;
	(void)pthread_mutex_unlock(&l->ports_lock);
	*out = port;
	return 0;
}

void log_port_free(struct log_port *port)
{
	struct log_port **at;

	(void)pthread_mutex_lock(&port->log->ports_lock);
	for (at = &port->log->ports; *at != port;)
		at = &(*at)->next;
	*at = port->next;
	(void)pthread_mutex_unlock(&port->log->ports_lock);
	(void)pthread_mutex_destroy(&port->lock);
	mem_free(port);
}

static bool has_news(const struct log_port *port)
{
	return port->done_first || port->ready_first || port->read_first || port->waiter_first;
}

void log_port_wake(struct log_port *port)
{
	port->wake(port->ctx);
}

void ports_wake(struct log *l)
{
	(void)pthread_mutex_lock(&l->ports_lock);
	for (struct log_port *port = l->ports; port; port = port->next) {
		bool wake;
		(void)pthread_mutex_lock(&port->lock);
		wake = !port->woken && has_news(port);
		if (wake)
			port->woken = true;
		(void)pthread_mutex_unlock(&port->lock);
		if (wake)
			port->wake(port->ctx);
	}
	(void)pthread_mutex_unlock(&l->ports_lock);
}

static void append_commit(struct log_port *port, struct log_commit *c)
{
	c->next = NULL;
	if (port->done_last)
		port->done_last->next = c;
	else
		port->done_first = c;
	port->done_last = c;
}

/* Runs of commits of one port take its lock once. */
void port_post_commits(struct log *l, struct log_commit *first)
{
	struct log_port *locked = NULL;

	(void)l;
	while (first) {
		struct log_commit *next = first->next;
		if (first->port != locked) {
			if (locked)
				(void)pthread_mutex_unlock(&locked->lock);
			locked = first->port;
			if (locked)
				(void)pthread_mutex_lock(&locked->lock);
		}
		if (locked)
			append_commit(locked, first);
		else if (first->on_done)
			first->on_done(first);
		first = next;
	}
	if (locked)
		(void)pthread_mutex_unlock(&locked->lock);
}

void port_post_ready(struct log_watch *w)
{
	struct log_port *port = w->port;

	(void)pthread_mutex_lock(&port->lock);
	if (!w->ready) {
		w->ready = true;
		w->next_ready = NULL;
		if (port->ready_last)
			port->ready_last->next_ready = w;
		else
			port->ready_first = w;
		port->ready_last = w;
	}
	(void)pthread_mutex_unlock(&port->lock);
}

void port_post_read(struct log_read *r)
{
	struct log_port *port = r->port;
	bool wake;

	(void)pthread_mutex_lock(&port->lock);
	r->next = NULL;
	if (port->read_last)
		port->read_last->next = r;
	else
		port->read_first = r;
	port->read_last = r;
	wake = !port->woken;
	port->woken = true;
	(void)pthread_mutex_unlock(&port->lock);
	if (wake)
		port->wake(port->ctx);
}

void log_waiter_init(struct log_waiter *w, struct log_port *port, log_waiter_fn *fn, void *ctx)
{
	*w = (struct log_waiter){.port = port, .on_waiter = fn, .ctx = ctx};
	w->waiter.owner = w;
}

void log_wake_waiters(struct seen_waiter *list)
{
	while (list) {
		struct log_waiter *w = list->owner;
		struct log_port *port = w->port;
		bool wake;
		list = list->next;
		(void)pthread_mutex_lock(&port->lock);
		w->next = NULL;
		if (port->waiter_last)
			port->waiter_last->next = w;
		else
			port->waiter_first = w;
		port->waiter_last = w;
		wake = !port->woken;
		port->woken = true;
		(void)pthread_mutex_unlock(&port->lock);
		if (wake)
			port->wake(port->ctx);
	}
}

/* ---- on the loop ---- */

static void run_commits(struct log_commit *c)
{
	while (c) {
		struct log_commit *next = c->next;
		c->on_done(c);
		c = next;
	}
}

static void run_waiters(struct log_waiter *w)
{
	while (w) {
		struct log_waiter *next = w->next;
		w->on_waiter(w->ctx, &w->waiter);
		w = next;
	}
}

static void run_reads(struct log_read *r)
{
	while (r) {
		struct log_read *next = r->next;
		r->on_read(r);
		r = next;
	}
}

/* One at a time: a callback may stop any watch, also one that stands in the list. Bounded by what stood there at first. */
static void run_ready(struct log_port *port)
{
	struct log_watch *last, *w = NULL;

	(void)pthread_mutex_lock(&port->lock);
	last = port->ready_last;
	(void)pthread_mutex_unlock(&port->lock);
	while (last && w != last) {
		(void)pthread_mutex_lock(&port->lock);
		w = port->ready_first;
		if (w) {
			port->ready_first = w->next_ready;
			if (!port->ready_first)
				port->ready_last = NULL;
			w->ready = false;
		}
		(void)pthread_mutex_unlock(&port->lock);
		if (!w)
			return;
		w->fn(w->ctx, w->partition);
	}
}

void log_port_run(struct log_port *port)
{
	struct log_commit *commits;
	struct log_waiter *waiters;
	struct log_read *reads;

	(void)pthread_mutex_lock(&port->lock);
	port->woken = false;
	commits = port->done_first;
	waiters = port->waiter_first;
	reads = port->read_first;
	port->done_first = port->done_last = NULL;
	port->waiter_first = port->waiter_last = NULL;
	port->read_first = port->read_last = NULL;
	(void)pthread_mutex_unlock(&port->lock);
	run_commits(commits);
	run_waiters(waiters);
	run_ready(port);
	run_reads(reads);
}

int log_watch_start(struct log_port *port, struct partition *p, log_ready_fn *fn, void *ctx,
		    struct log_watch **out)
{
	struct log_watch *w = mem_zalloc(1, sizeof(*w));

	if (!w)
		return ERR_NOMEM;
	w->port = port;
	w->partition = p;
	w->fn = fn;
	w->ctx = ctx;
	(void)pthread_mutex_lock(&p->lock);
	w->next = p->watches;
	p->watches = w;
	(void)pthread_mutex_unlock(&p->lock);
	*out = w;
	return 0;
}

static void take_off_ready(struct log_port *port, struct log_watch *w)
{
	struct log_watch **at = &port->ready_first;

	while (*at != w)
		at = &(*at)->next_ready;
	*at = w->next_ready;
	port->ready_last = NULL;
	for (struct log_watch *each = port->ready_first; each; each = each->next_ready)
		port->ready_last = each;
}

void log_watch_stop(struct log_watch *w)
{
	struct partition *p = w->partition;
	struct log_watch **at;

	(void)pthread_mutex_lock(&p->lock);
	for (at = &p->watches; *at != w;)
		at = &(*at)->next;
	*at = w->next;
	(void)pthread_mutex_unlock(&p->lock);
	(void)pthread_mutex_lock(&w->port->lock);
	if (w->ready)
		take_off_ready(w->port, w);
	(void)pthread_mutex_unlock(&w->port->lock);
	mem_free(w);
}
