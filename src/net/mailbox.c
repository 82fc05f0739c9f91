/* SPDX-License-Identifier: Apache-2.0 */
#include "base/mem.h"
#include "net/net_private.h"

/*
 * Messages between threads: a stack that many push with compare-and-swap and
 * one takes whole, turned round. No lock, no memory, safe in a signal handler.
 *
 * Waking costs a write and a read of an eventfd, so it is done only where the
 * loop sleeps. Before it polls the loop says `sleeping`, then looks at the
 * stack once more; whoever pushes does so first and then takes `sleeping` back.
 * Both in one total order (seq_cst): either the loop sees the message or the
 * sender sees the sleeper.
 */

void loop_post(struct loop *loop, struct loop_msg *msg)
{
	struct loop_msg *head = atomic_load_explicit(&loop->mail, memory_order_relaxed);

	do
		msg->next = head;
	while (!atomic_compare_exchange_weak(&loop->mail, &head, msg));
	if (!head) /* otherwise whoever made it non-empty sees to the alert */
		loop_alert(loop);
}

void mailbox_run(struct loop *loop)
{
	struct loop_msg *newest, *first = NULL;

	if (!atomic_load_explicit(&loop->mail, memory_order_relaxed))
		return;
	newest = atomic_exchange(&loop->mail, NULL);
	while (newest) {
		struct loop_msg *next = newest->next;

		newest->next = first;
		first = newest;
		newest = next;
	}
	while (first) {
		struct loop_msg *msg = first;

		first = msg->next; /* the message may be gone after it ran */
		msg->run(loop, msg);
	}
}

void mailbox_remove(struct loop *loop, struct loop_msg *msg)
{
	struct loop_msg *at = atomic_load(&loop->mail);

	if (at == msg) {
		atomic_store(&loop->mail, msg->next);
		return;
	}
	while (at && at->next != msg)
		at = at->next;
	if (at)
		at->next = msg->next;
}

struct loop_waker {
	struct loop_msg msg; /* first */
	_Atomic bool queued;
	struct loop *loop;
	loop_wake_fn *fn; /* NULL: freed while it was queued */
	void *ctx;
};

static void run_waker(struct loop *loop, struct loop_msg *msg)
{
	struct loop_waker *w = (struct loop_waker *)msg;

	if (!w->fn) {
		mem_free(w);
		return;
	}
	/* Before the call: a wake that comes during it must run it again. */
	atomic_store(&w->queued, false);
	if (!loop->ended)
		w->fn(w->ctx);
}

int loop_waker_new(struct loop *loop, loop_wake_fn *fn, void *ctx, struct loop_waker **out)
{
	struct loop_waker *w = mem_zalloc(1, sizeof(*w));

	if (!w)
		return ERR_NOMEM;
	w->msg.run = run_waker;
	w->loop = loop;
	w->fn = fn;
	w->ctx = ctx;
	*out = w;
	return 0;
}

void loop_waker_wake(struct loop_waker *w)
{
	if (!atomic_exchange(&w->queued, true))
		loop_post(w->loop, &w->msg);
}

void loop_waker_free(struct loop_waker *w)
{
	if (!w)
		return;
	if (atomic_load(&w->queued))
		w->fn = NULL; /* it stands in the mailbox: freed when it comes out */
	else
		mem_free(w);
}
