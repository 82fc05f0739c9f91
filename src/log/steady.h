/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_LOG_STEADY_H
#define WEIR_LOG_STEADY_H

#include <stdatomic.h>

#include "sys/sys.h"

/*
 * The time by which weir forgets: records past their retention, idempotency
 * keys past their life. It is the wall clock, as long as that goes on as time
 * does. Where it jumps ahead it is doubted for a while, and until it is believed
 * time goes on from where it was. docs/internals/clock.md has the reasons.
 */
struct steady {
	const struct sys *sys;
	_Atomic int64_t offset_ms; /* the wall clock that is believed, less what has elapsed */
	_Atomic int64_t hold_ms;   /* how long a jump is doubted; 0: not at all */
	_Atomic int64_t ahead_ms;  /* where it is doubted: how far it is off. 0: it is believed */
	/* steady_look's caller's: */
	int64_t doubted_offset_ms, doubted_since_ms;
	bool doubting;
	bool just_started; /* the first correction may be as large as a stop is long */
};

/*
 * `last_ms`: the latest time that is known from before the start, 0: none.
 * `doubted`: the run before was doubting, and last_ms is what it believed in.
 */
void steady_init(struct steady *s, const struct sys *sys, int64_t hold_ms, int64_t last_ms, bool doubted);

/* Any thread. Ms since 1970. */
int64_t steady_now_ms(const struct steady *s);

/* What has become of the clock since the last look. One thread. */
enum steady_news {
	STEADY_NONE,
	STEADY_DOUBTED,  /* it jumped: ahead_ms tells how far, less than 0: back */
	STEADY_RETURNED, /* it is where it should be */
	STEADY_BELIEVED, /* it has stayed there long enough */
};
enum steady_news steady_look(struct steady *s);

/* Any thread: steady_look would find something new. */
bool steady_wants_look(const struct steady *s);

/* Ms until steady_look has something to do though nothing jumps; INT64_MAX: never. */
int64_t steady_wait_ms(const struct steady *s);

/*
 * The file CLOCK in the data directory: what is believed in while the wall clock
 * is ahead of it; there only then. Without it a restart would take the doubted time,
 * which the newest records bear by then, for what was known before.
 */
int steady_keep(const struct steady *s, const char *dir);       /* 0 or -errno */
int64_t steady_kept_ms(const struct sys *sys, const char *dir); /* 0: there is none */

#endif
