/* SPDX-License-Identifier: Apache-2.0 */
#include "serve/stream/silence.h"

#include "base/check.h"

static bool is_empty(const struct silence_list *list)
{
	return list->head.next == &list->head;
}

static void unlink_member(struct silence *s)
{
	s->prev->next = s->next;
	s->next->prev = s->prev;
}

static void link_last(struct silence_list *list, struct silence *s)
{
	s->since_ns = loop_now(list->loop);
	s->next = &list->head;
	s->prev = list->head.prev;
	s->prev->next = s;
	list->head.prev = s;
}

/* Those who spoke meanwhile stand further back: the alarm is for whoever is first now. */
static void on_timer(void *ctx)
{
	struct silence_list *list = ctx;
	int64_t now = loop_now(list->loop);

	while (!is_empty(list)) {
		struct silence *s = list->head.next;
		int64_t left = s->since_ns + list->limit_ns - now;
		if (left > 0) {
			loop_timer_set(list->loop, &list->timer, left);
			return;
		}
		unlink_member(s);
		link_last(list, s);
		if (!list->on_silent(list->ctx, s))
			return;
	}
}

void silence_init(struct silence_list *list, struct loop *loop, int64_t limit_ns,
		  bool (*on_silent)(void *ctx, struct silence *s), void *ctx)
{
	CHECK(limit_ns > 0);
	*list = (struct silence_list){.loop = loop, .limit_ns = limit_ns, .on_silent = on_silent, .ctx = ctx};
	list->head.next = list->head.prev = &list->head;
	loop_timer_init(&list->timer, on_timer, list);
}

void silence_fini(struct silence_list *list)
{
	CHECK(is_empty(list));
	loop_timer_stop(list->loop, &list->timer);
}

void silence_start(struct silence_list *list, struct silence *s)
{
	CHECK(!s->next);
	if (is_empty(list))
		loop_timer_set(list->loop, &list->timer, list->limit_ns);
	link_last(list, s);
}

void silence_break(struct silence_list *list, struct silence *s)
{
	CHECK(s->next);
	if (s->next == &list->head) {
		s->since_ns = loop_now(list->loop);
		return;
	}
	unlink_member(s);
	link_last(list, s);
}

void silence_stop(struct silence_list *list, struct silence *s)
{
	if (!s->next)
		return;
	unlink_member(s);
	s->next = s->prev = NULL;
	if (is_empty(list))
		loop_timer_stop(list->loop, &list->timer);
}

struct silence *silence_first(const struct silence_list *list)
{
	return is_empty(list) ? NULL : list->head.next;
}

struct silence *silence_after(const struct silence_list *list, const struct silence *s)
{
	return s->next == &list->head ? NULL : s->next;
}
