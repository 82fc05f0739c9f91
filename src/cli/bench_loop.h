/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CLI_BENCH_LOOP_H
#define WEIR_CLI_BENCH_LOOP_H

#include <sys/epoll.h>

#include "base/err.h"

/*
 * One thread waits for many sockets, a point in time and Ctrl-C. The timer is a
 * timerfd: epoll's own waits in milliseconds, which is coarse beside a latency.
 */
#define BENCH_LOOP_EVENTS 256

struct bench_loop {
	int epoll, timer, signals;
	int64_t armed_ns; /* what the timer is set to; 0: nothing */
	bool stopped;     /* SIGINT or SIGTERM came */
	struct epoll_event events[BENCH_LOOP_EVENTS];
};

int64_t bench_now_ns(void); /* monotonic */

/* Raises the limit of open files too, and keeps SIGINT and SIGTERM to itself. ERR_IO with *fault. */
int bench_loop_open(struct bench_loop *l, struct fault *fault);
void bench_loop_close(struct bench_loop *l);

/*
 * Watches a socket for reading and, where asked, for writing; the first time or
 * again. `index` comes back with its events: (uint32_t)event.data.u64. ERR_IO.
 */
int bench_loop_watch(struct bench_loop *l, int fd, uint32_t index, bool again, bool writing);

/*
 * Waits until `until_ns` at most. Gives the number of l->events that are of
 * sockets; the others are the loop's own and were dealt with. ERR_IO.
 */
int bench_loop_wait(struct bench_loop *l, int64_t until_ns);

#endif
