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
	ADAPTIVE_SHORT = 6,                   /* experts that remember so much and no more ... */
	ADAPTIVE_LONG = ADAPTIVE_SHORT,       /* ... one that remembers two weeks ... */
	ADAPTIVE_PROFILE = ADAPTIVE_LONG + 1, /* ... and one that knows the hours of the day */
	ADAPTIVE_EXPERTS = ADAPTIVE_PROFILE + 1,
	ADAPTIVE_HOURS = 24,
};

/* Evidence of a rate: so many arrivals in so many seconds. */
struct adaptive_evidence {
	double count, seconds;
};

/* For the functions below alone. */
struct adaptive {
	int64_t min_ms, max_ms;
	int64_t not_before_ms;                           /* the source said so */
	int64_t spread_ms, spread_until_ms;              /* its quota: the least distance, until then */
	struct adaptive_evidence recent[ADAPTIVE_SHORT]; /* in clumps */
	struct adaptive_evidence all;                    /* in records, as below */
	struct adaptive_evidence hours[ADAPTIVE_HOURS];  /* of a day in UTC */
	struct adaptive_evidence last;                   /* the last poll */
	double weights[ADAPTIVE_EXPERTS];                /* add up to 1 */
	double clump;                                    /* records that come together, 1 or more */
	double pairs;                                    /* of polls that `clump` rests on */
};

/* Bounds in ms, 0 < min <= max. What is expected at first is one arrival in the geometric mean of both. */
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
 * adaptive_load takes only what adaptive_save gave (false, and the state as it
 * was, for anything else); the bounds are those of adaptive_init.
 */
#define ADAPTIVE_STATE_BYTES 600u
void adaptive_save(const struct adaptive *a, uint8_t *out);
bool adaptive_load(struct adaptive *a, const uint8_t *bytes, uint64_t count);

#endif
