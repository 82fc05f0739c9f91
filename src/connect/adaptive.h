/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_ADAPTIVE_H
#define WEIR_CONNECT_ADAPTIVE_H

#include <stdbool.h>
#include <stdint.h>

/*
 * How long to wait until the next poll, from what the polls before it found:
 * short where records come often, long where they do not, between two bounds.
 * Arithmetic alone: no clock, no memory but the struct, one caller.
 * docs/internals/adaptive.md derives it.
 *
 *   adaptive_init(&a, min_ms, max_ms)
 *   adaptive_found(&a, now_ms, since_ms, count)   after each poll that was answered
 *   adaptive_limited(&a, now_ms, ...)             where the source named a limit
 *   wait = adaptive_wait(&a, now_ms)              from now until the next poll
 *
 * A poll that failed is not told (it says nothing of arrivals; the retry is the
 * caller's), but since_ms of the next one goes back to the last that did not.
 */
enum {
	ADAPTIVE_EXPERTS = 6,
	ADAPTIVE_BINS = 24, /* of a day */
};

/* What one expert believes: `shape` arrivals in `span_s` seconds. */
struct adaptive_expert {
	double shape, span_s;
	double weight;
};

/* For the functions below alone. About 700 bytes. */
struct adaptive {
	int64_t min_ms, max_ms;
	int64_t not_before_ms;   /* the source said so */
	int64_t spread_ms;       /* least distance while its quota lasts ... */
	int64_t spread_until_ms; /* ... until then */
	struct adaptive_expert experts[ADAPTIVE_EXPERTS];
	double bin_count[ADAPTIVE_BINS], bin_span_s[ADAPTIVE_BINS];
	double profile_weight;
	double clump; /* records that come together, at least 1 */
	double last_count, last_span_s;
	uint64_t polls;
};

/* Bounds in ms, 0 < min <= max. Before the first poll the wait is min. */
void adaptive_init(struct adaptive *a, int64_t min_ms, int64_t max_ms);

#define ADAPTIVE_UNCOUNTED INT64_MAX

/*
 * A poll was answered: `count` new records since since_ms, the time of the last
 * poll that was (since_ms < 0, or not before now_ms: there was none; what came
 * then is no evidence). 0 where it was unchanged; ADAPTIVE_UNCOUNTED where
 * there was something and nobody knows how many. Wall times in ms.
 */
void adaptive_found(struct adaptive *a, int64_t now_ms, int64_t since_ms, int64_t count);

/*
 * The source named a limit; each argument below 0 where it did not.
 * retry_after_ms: no poll before it is over (Retry-After). remaining, reset_ms:
 * so many polls are left until the quota is new (RateLimit: r, t): they are
 * spread over that time.
 */
void adaptive_limited(struct adaptive *a, int64_t now_ms, int64_t retry_after_ms, int64_t remaining,
		      int64_t reset_ms);

/* Milliseconds from now_ms, the time of the last poll, to the next one; above max only where the source said so. */
int64_t adaptive_wait(const struct adaptive *a, int64_t now_ms);

/* Arrivals a second that are expected at now_ms, and how sure that is: arrivals that it rests on. For showing. */
double adaptive_rate(const struct adaptive *a, int64_t now_ms, double *confidence);

/*
 * To the checkpoint and back, so that a restart knows the source's habits.
 * adaptive_load takes only what adaptive_save gave (false, and the state as
 * after adaptive_init, for anything else).
 */
#define ADAPTIVE_STATE_BYTES 600u
void adaptive_save(const struct adaptive *a, uint8_t *out);
bool adaptive_load(struct adaptive *a, const uint8_t *bytes, uint64_t count);

#endif
