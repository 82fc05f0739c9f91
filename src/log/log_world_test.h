/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_LOG_LOG_WORLD_TEST_H
#define WEIR_LOG_LOG_WORLD_TEST_H

/* For tests of the log: opened with a port, and closed, each with its checks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "log/log.h"

static inline void log_world_open(const struct log_options *options, void (*on_wake)(void *ctx), void *ctx,
				  struct log **log, struct log_port **port)
{
	struct fault fault = {0};

	*log = NULL;
	*port = NULL;
	if (log_open(options, log, &fault))
		fail_msg("%s", fault.text);
	assert_int_equal(log_port_new(*log, on_wake, ctx, port), 0);
}

/* Enters a commit. What tidies up enters too, so the lock is left before a test gives up over what this gave. */
static inline int log_world_enter(struct log *log, struct log_commit *commit)
{
	log_enter_begin(log);
	int rc = log_enter(log, commit);
	log_enter_end(log);
	return rc;
}

/* Nothing where the log was not opened, or was closed already: a test may have given up in between. */
static inline void log_world_close(struct log **open, struct log_port *port)
{
	struct log *log = *open;
	struct fault fault = {0};

	*open = NULL;
	if (!log)
		return;
	if (log_stop(log, &fault))
		fail_msg("%s", fault.text);
	if (port)
		log_port_run(port);
	log_close(log);
}

#endif
