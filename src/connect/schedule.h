/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_SCHEDULE_H
#define WEIR_CONNECT_SCHEDULE_H

#include "connect/zone.h"

/*
 * When a source runs next. Arithmetic alone: the time comes in, a time comes
 * out; no clock, no timer, no thread. docs/internals/schedule.md has the rules.
 *
 * A *slot* is a time at which a run is due by the schedule itself; jitter and
 * blackout windows move the run, not the slot. A slot is taken once: late ones
 * are run once for all that were missed, and a slot that was taken does not
 * come again when the clock is put back or the daemon starts anew.
 *
 * The schedule is immutable (any thread); the state belongs to one caller.
 * How to use it:
 *
 *   schedule_start(s, &state, saved, now)      once at start, saved: of the checkpoint or empty
 *   wait = schedule_wait(s, &state, now)       sleep so long, ask again when it is over,
 *                                              and when schedule_clock_moved() says so
 *   wait == 0: schedule_begin(s, &state, now)  take the slot, pull
 *   schedule_end(s, &state, now)               when the run is over
 *   schedule_save(s, &state, bytes)               into the commit that ends the run: after a
 *                                              crash before it the slot is run again
 */
enum schedule_kind {
	SCHEDULE_MANUAL,   /* runs when it is told to */
	SCHEDULE_EVERY,    /* at a fixed distance */
	SCHEDULE_ADAPTIVE, /* at a distance that schedule_set_interval() gives */
	SCHEDULE_CRON,
};

/* What becomes of slots that come while a run is under way. */
enum schedule_overlap {
	SCHEDULE_SKIP,  /* they are over with that run */
	SCHEDULE_QUEUE, /* one more run follows at once, whatever their number */
};

#define SCHEDULE_BLACKOUTS_MAX 32u
#define SCHEDULE_STATE_BYTES 25u
#define SCHEDULE_NEVER INT64_MAX

struct schedule_options {
	enum schedule_kind kind;
	int64_t every_ms;        /* SCHEDULE_EVERY: above 0 */
	int64_t every_min_ms;    /* SCHEDULE_ADAPTIVE: above 0 ... */
	int64_t every_max_ms;    /* ... and not below */
	struct slice cron;       /* SCHEDULE_CRON, borrowed */
	const struct zone *zone; /* for cron and blackouts, kept; NULL: UTC */
	int64_t jitter_ms;       /* each slot is run up to so much later, by its own draw */
	enum schedule_overlap overlap;
	/* "Mon-Fri 09:00-17:00", "Sat,Sun", "22:00-06:00": days and times, either may be missing. Borrowed. */
	const struct slice *blackouts;
	uint32_t blackout_count;
	bool at_start; /* a run at each start, too */
	uint64_t seed; /* of jitter and of the first slot: a hash of the source's name */
};

/* Both clocks of one moment. */
struct schedule_now {
	int64_t wall_ms;    /* since 1970; may jump */
	int64_t elapsed_ms; /* since anything; never jumps, goes on while the machine sleeps */
};

/* The caller's, by value; for the functions below alone. */
struct schedule_state {
	int64_t taken_ms;    /* wall time up to which slots are taken */
	int64_t taken_at_ms; /* elapsed time when they were */
	int64_t due_at_ms;   /* EVERY, ADAPTIVE: elapsed time of the next slot */
	int64_t start_at_ms; /* elapsed time of a run that the start itself brings, or SCHEDULE_NEVER */
	int64_t interval_ms; /* ADAPTIVE: in force */
	bool running;
};

struct schedule;

/*
 * Checks and builds. 0; ERR_BAD_CONFIG with *fault (may be NULL), ERR_NOMEM.
 * Returns owned; keeps options->zone.
 */
int schedule_new(const struct schedule_options *options, struct schedule **out, struct fault *fault);

/* Takes; NULL is allowed. */
void schedule_free(struct schedule *s);

/* Begins with what schedule_save gave in an earlier life; empty, or what is no such: as new. */
void schedule_start(const struct schedule *s, struct schedule_state *state, struct slice saved,
		    struct schedule_now now);

/* Milliseconds until the next run; 0: it is due. SCHEDULE_NEVER: none, or one is under way. */
int64_t schedule_wait(const struct schedule *s, const struct schedule_state *state, struct schedule_now now);

/* A run begins: takes the slots that are due, if any are. Not while one is under way. */
void schedule_begin(const struct schedule *s, struct schedule_state *state, struct schedule_now now);

/* The run is over; applies the overlap policy. */
void schedule_end(const struct schedule *s, struct schedule_state *state, struct schedule_now now);

/*
 * SCHEDULE_ADAPTIVE: the distance from the beginning of the last run to the
 * next, not below every_min_ms; above every_max_ms where the source itself asked
 * for that. Before schedule_end(). For another kind nothing happens.
 */
void schedule_set_interval(const struct schedule *s, struct schedule_state *state, int64_t interval_ms);

/* Writes the state, SCHEDULE_STATE_BYTES, to be kept in the commit. */
void schedule_save(const struct schedule *s, const struct schedule_state *state, uint8_t *out);

/*
 * True where the wall clock was set between two moments (by a second or more):
 * then every schedule_wait() is to be asked again.
 */
bool schedule_clock_moved(struct schedule_now before, struct schedule_now after);

/*
 * SCHEDULE_CRON: the wall time in ms of the run of the first slot after a wall
 * time, for showing what will be. SCHEDULE_NEVER for others.
 */
int64_t schedule_run_after(const struct schedule *s, int64_t wall_ms);

#endif
