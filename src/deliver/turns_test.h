/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_DELIVER_TURNS_TEST_H
#define WEIR_DELIVER_TURNS_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <semaphore.h>
#include <time.h>

#include "deliver/hub.h"

/* A loop in miniature, for tests of who reads: the log wakes it, and a turn tells what the log and the hub have to tell. */
#define TURN_WAIT_S 20 /* so long a turn may be in coming */

/* As log_wake_fn; ctx is the semaphore. */
static inline void turn_wake(void *woken)
{
	(void)sem_post(woken);
}

static inline void turn_run(struct log_port *port, struct hub *hub)
{
	log_port_run(port);
	hub_run(hub);
}

static inline void turn_await(sem_t *woken, struct log_port *port, struct hub *hub)
{
	struct timespec until;

	(void)clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += TURN_WAIT_S;
	while (sem_timedwait(woken, &until))
		assert_int_equal(errno, EINTR);
	turn_run(port, hub);
}

#endif
