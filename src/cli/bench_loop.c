/* SPDX-License-Identifier: Apache-2.0 */
#include "cli/bench_loop.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "base/file_limit.h"

#define OF_TIMER UINT64_MAX
#define OF_SIGNALS (UINT64_MAX - 1)
#define SECOND 1000000000

int64_t bench_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * SECOND + now.tv_nsec;
}

static int watch_own(struct bench_loop *l, int fd, uint64_t name)
{
	struct epoll_event e = {.events = EPOLLIN, .data.u64 = name};

	return epoll_ctl(l->epoll, EPOLL_CTL_ADD, fd, &e);
}

int bench_loop_open(struct bench_loop *l, struct fault *fault)
{
	sigset_t set;

	*l = (struct bench_loop){.epoll = -1, .timer = -1, .signals = -1};
	file_limit_raise();
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigprocmask(SIG_BLOCK, &set, NULL);
	l->epoll = epoll_create1(EPOLL_CLOEXEC);
	l->timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	l->signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (l->epoll < 0 || l->timer < 0 || l->signals < 0 || watch_own(l, l->timer, OF_TIMER) != 0 ||
	    watch_own(l, l->signals, OF_SIGNALS) != 0)
		return fault_set(fault, ERR_IO, "cannot wait for sockets: %s", strerrordesc_np(errno));
	return 0;
}

void bench_loop_close(struct bench_loop *l)
{
	const int fds[] = {l->epoll, l->timer, l->signals};

	for (int i = 0; i < 3; i++)
		if (fds[i] >= 0)
			close(fds[i]);
}

int bench_loop_watch(struct bench_loop *l, int fd, uint32_t index, bool again, bool writing)
{
	struct epoll_event e = {.events = EPOLLIN | (writing ? (uint32_t)EPOLLOUT : 0), .data.u64 = index};

	return epoll_ctl(l->epoll, again ? EPOLL_CTL_MOD : EPOLL_CTL_ADD, fd, &e) == 0 ? 0 : ERR_IO;
}

static int arm(struct bench_loop *l, int64_t until_ns)
{
	const struct itimerspec at = {
		.it_value = {.tv_sec = until_ns / SECOND, .tv_nsec = until_ns % SECOND}};

	if (l->armed_ns == until_ns)
		return 0;
	l->armed_ns = until_ns;
	return timerfd_settime(l->timer, TFD_TIMER_ABSTIME, &at, NULL);
}

static void on_own(struct bench_loop *l, uint64_t name)
{
	uint64_t times;

	if (name == OF_SIGNALS) {
		l->stopped = true;
		return;
	}
	if (read(l->timer, &times, sizeof(times)) > 0)
		l->armed_ns = 0;
}

int bench_loop_wait(struct bench_loop *l, int64_t until_ns)
{
	int kept = 0, n;

	if (until_ns < 1)
		until_ns = 1; /* 0 would switch the timer off */
	if (arm(l, until_ns) != 0)
		return ERR_IO;
	do {
		n = epoll_wait(l->epoll, l->events, BENCH_LOOP_EVENTS, -1);
	} while (n < 0 && errno == EINTR);
	for (int i = 0; i < n; i++) {
		if (l->events[i].data.u64 >= OF_SIGNALS)
			on_own(l, l->events[i].data.u64);
		else
			l->events[kept++] = l->events[i];
	}
	return n < 0 ? ERR_IO : kept;
}
