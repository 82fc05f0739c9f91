/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/check.h"
#include "base/mem.h"
#include "net/net_private.h"

/*
 * One thread, one libuv loop. A turn is: events are taken (reads, writes that
 * were waited for, due timers), then all that they asked for is done in one
 * place, right before the loop sleeps: messages of other threads, the hooks of
 * those who gather, and each connection that has something to write. So a
 * request of sixty-four connections is read sixty-four times, handed over once,
 * and each answer leaves in one call.
 *
 * The end of a turn may ask for more (credit that came back is spent at once).
 * It is repeated once; what is left then waits for the next turn, which looks
 * for events without sleeping: so a fast reader cannot keep the others out.
 */

#define READ_BYTES (64u << 10)
#define ROUNDS 2

int64_t loop_now_fresh(const struct loop *loop)
{
	struct loop *self = (struct loop *)(uintptr_t)loop; /* a loop is never a const object */

	self->now = sys_monotonic_ns(loop->sys);
	return loop->now;
}

int64_t loop_now(const struct loop *loop)
{
	return loop->now ? loop->now : loop_now_fresh(loop);
}

uint64_t loop_turns(const struct loop *loop)
{
	return loop->turns;
}

struct budget_share *loop_share(struct loop *loop)
{
	return &loop->share;
}

uint32_t loop_number(const struct loop *loop)
{
	return loop->number;
}

void loop_set_owner(struct loop *loop, void *owner)
{
	loop->owner = owner;
}

void *loop_owner(const struct loop *loop)
{
	return loop->owner;
}

/*
 * libuv tells epoll of a descriptor right before it sleeps, and ends the process
 * where that fails: for want of memory, or at the limit of watches that a user
 * may have. What is there already it only changes, which needs neither.
 */
int loop_watch(struct loop *loop, int fd)
{
	struct epoll_event none = {.events = 0};

	if (epoll_ctl(uv_backend_fd(&loop->uv), EPOLL_CTL_ADD, fd, &none) < 0 && errno != EEXIST)
		return errno == ENOMEM ? ERR_NOMEM : ERR_IO;
	return 0;
}

/*
 * Not by uv_async_send: it marks the handle before and after its write, and the loop that it has woken spins
 * until it sees the second mark. With both on one core, where who wakes is put aside for who was woken, that
 * is a thousand times pause and a sched_yield each time.
 */
void loop_alert(struct loop *loop)
{
	static const uint64_t one = 1;

	if (!atomic_exchange(&loop->sleeping, 0))
		return;
	while (write(loop->alert_fd, &one, sizeof(one)) < 0 && errno == EINTR)
		;
}

void loop_at_turn_end(struct loop *loop, struct loop_turn *turn)
{
	if (turn->queued)
		return;
	turn->queued = true;
	turn->next = NULL;
	*loop->turn_last = turn;
	loop->turn_last = &turn->next;
}

static void run_hooks(struct loop *loop)
{
	struct loop_turn *turn = loop->turn_first;

	loop->turn_first = NULL;
	loop->turn_last = &loop->turn_first;
	while (turn) {
		struct loop_turn *next = turn->next;

		turn->queued = false;
		turn->run(turn->ctx);
		turn = next;
	}
}

/* Those that are on the list now, in order; a connection that asks again waits for the next round. */
static void run_conns(struct loop *loop)
{
	struct conn *first = loop->todo_first;

	if (!first)
		return;
	first->todo_prev = &first;
	loop->todo_first = NULL;
	loop->todo_last = &loop->todo_first;
	while (first)
		conn_turn(first);
}

static bool has_work(const struct loop *loop)
{
	return loop->todo_first || loop->turn_first || !mailbox_empty((struct loop *)(uintptr_t)loop);
}

static void begin_stop(struct loop *loop)
{
	loop->stopping = true;
	for (struct acceptor *a = loop->acceptors; a; a = acceptor_next(a))
		acceptor_shut(a);
	loop->acceptors = NULL;
	for (struct conn *c = loop->conns; c; c = c->next)
		conn_terminate(c, CONN_STOPPED);
	if (loop->fetcher)
		loop->fetcher->stop(loop->fetcher);
	if (loop->dialer)
		loop->dialer->stop(loop->dialer);
	uv_close((uv_handle_t *)&loop->turn_end, NULL);
	uv_close((uv_handle_t *)&loop->again, NULL);
	uv_close((uv_handle_t *)&loop->alert, NULL);
	uv_close((uv_handle_t *)&loop->wheel.alarm, NULL);
}

static void on_again(uv_idle_t *idle)
{
	(void)idle; /* its being active is what keeps the loop from sleeping */
}

/* Says that it sleeps before it looks for the last time: see mailbox.c. */
static void prepare_to_sleep(struct loop *loop)
{
	atomic_store(&loop->sleeping, 1);
	if (has_work(loop) || atomic_load(&loop->stop)) {
		atomic_store(&loop->sleeping, 0);
		(void)uv_idle_start(&loop->again, on_again);
	} else if (uv_is_active((uv_handle_t *)&loop->again)) {
		(void)uv_idle_stop(&loop->again);
	}
}

static void on_turn_end(uv_prepare_t *prepare)
{
	struct loop *loop = prepare->data;
	bool stop = atomic_load(&loop->stop);

	loop_is_awake(loop);
	loop->turns++;
	for (int round = 0; round < ROUNDS; round++) {
		mailbox_run(loop);
		run_hooks(loop);
		run_conns(loop);
		if (!has_work(loop))
			break;
	}
	wheel_before_sleep(loop);
	loop->now = 0;
	if (stop)
		begin_stop(loop);
	else
		prepare_to_sleep(loop);
}

static void on_alert(uv_poll_t *alert, int status, int events)
{
	struct loop *loop = alert->data;
	uint64_t count;

	(void)status;
	(void)events;
	loop_is_awake(loop); /* the mailbox is emptied at the end of the turn */
	(void)!read(loop->alert_fd, &count, sizeof(count));
}

static int open_alert(struct loop *loop)
{
	loop->alert_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (loop->alert_fd < 0)
		return ERR_IO;
	if (uv_poll_init(&loop->uv, &loop->alert, loop->alert_fd) == 0) {
		loop->alert.data = loop;
		CHECK(uv_poll_start(&loop->alert, UV_READABLE, on_alert) == 0);
		if (loop_watch(loop, loop->alert_fd) == 0)
			return 0;
		uv_close((uv_handle_t *)&loop->alert, NULL);
		(void)uv_run(&loop->uv, UV_RUN_DEFAULT);
	}
	(void)close(loop->alert_fd);
	return ERR_IO;
}

static int init_handles(struct loop *loop)
{
	if (open_alert(loop) < 0) {
		CHECK(uv_loop_close(&loop->uv) == 0);
		return ERR_IO;
	}
	CHECK(uv_prepare_init(&loop->uv, &loop->turn_end) == 0);
	loop->turn_end.data = loop;
	CHECK(uv_prepare_start(&loop->turn_end, on_turn_end) == 0);
	CHECK(uv_idle_init(&loop->uv, &loop->again) == 0);
	wheel_init(loop);
	return 0;
}

static int init_loop(struct loop *loop, const struct loop_options *options)
{
	loop->sys = options->sys;
	loop->number = options->number;
	budget_share_init(&loop->share, options->budget);
	loop->read_bytes = options->read_bytes ? options->read_bytes : READ_BYTES;
	loop->turn_last = &loop->turn_first;
	loop->todo_last = &loop->todo_first;
	loop->read_buf = mem_alloc(loop->read_bytes);
	if (!loop->read_buf)
		return ERR_NOMEM;
	if (uv_loop_init(&loop->uv) != 0)
		return ERR_IO;
	/* The two that libuv keeps for itself: for other threads, and for signals. */
	if (loop_watch(loop, loop->uv.async_io_watcher.fd) < 0 ||
	    loop_watch(loop, loop->uv.signal_io_watcher.fd) < 0) {
		(void)uv_loop_close(&loop->uv);
		return ERR_IO;
	}
	return init_handles(loop);
}

int loop_new(const struct loop_options *options, struct loop **out)
{
	struct loop *loop = mem_aligned(64, sizeof(*loop));
	int rc;

	if (!loop)
		return ERR_NOMEM;
	memset(loop, 0, sizeof(*loop));
	rc = init_loop(loop, options);
	if (rc < 0) {
		mem_free(loop->read_buf);
		mem_free(loop);
		return rc;
	}
	*out = loop;
	return 0;
}

void loop_run(struct loop *loop)
{
	CHECK(!loop->ended);
	(void)uv_run(&loop->uv, UV_RUN_DEFAULT); /* returns when begin_stop's handles are closed */
	CHECK(loop->stopping && !loop->conns);
	loop->ended = true;
	mailbox_run(loop);
	run_hooks(loop);
}

void loop_stop(struct loop *loop)
{
	atomic_store(&loop->stop, true);
	loop_alert(loop);
}

void loop_free(struct loop *loop)
{
	if (!loop)
		return;
	if (!loop->ended) { /* never run: the handles still have to be closed */
		loop->ended = true;
		begin_stop(loop);
		(void)uv_run(&loop->uv, UV_RUN_DEFAULT);
	}
	while (!mailbox_empty(loop))
		mailbox_run(loop);
	CHECK(uv_loop_close(&loop->uv) == 0);
	(void)close(loop->alert_fd);
	if (loop->fetcher)
		loop->fetcher->free(loop->fetcher);
	if (loop->dialer)
		loop->dialer->free(loop->dialer);
	out_pool_fini(&loop->pool);
	budget_sub(&loop->share, (size_t)loop->share.used); /* who outlives the loop is counted no more */
	budget_settle(&loop->share);
	mem_free(loop->read_buf);
	mem_free(loop);
}
