/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_ARRIVALS_TEST_H
#define WEIR_CONNECT_ARRIVALS_TEST_H

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/rand.h"
#include "connect/adaptive.h"

/*
 * For tests and the bench: arrivals of many kinds, an adaptive poller over them, and
 * the fixed interval that is as stale on average. Deterministic: one seed, one answer.
 */
struct arrivals {
	double *at; /* seconds from the beginning, rising */
	uint64_t count, room;
	double length; /* seconds */
	struct rand rand;
};

struct polling {
	double staleness_s, requests; /* adaptive */
	double fixed_requests;        /* of the best fixed interval with the same staleness */
	double fixed_s;               /* that interval */
};

/* A Thursday midnight, as 1970 began, far from it. */
#define ARRIVALS_EPOCH_MS ((int64_t)20000 * 86400 * 1000)

static inline void arrivals_init(struct arrivals *a, double days, uint64_t seed)
{
	*a = (struct arrivals){.length = days * 86400};
	rand_seed(&a->rand, seed);
}

static inline void arrivals_fini(struct arrivals *a)
{
	free(a->at);
}

static inline void arrivals_add(struct arrivals *a, double at)
{
	if (at >= a->length)
		return;
	if (a->count == a->room) {
		a->room = a->room ? 2 * a->room : 4096;
		a->at = realloc(a->at, a->room * sizeof(a->at[0]));
		if (!a->at)
			abort();
	}
	a->at[a->count++] = at;
}

static inline double arrivals_uniform(struct arrivals *a)
{
	return (double)(rand_next(&a->rand) >> 11) * 0x1p-53;
}

/* The distance to the next arrival of a Poisson stream. */
static inline double arrivals_gap(struct arrivals *a, double per_second)
{
	return -log1p(-arrivals_uniform(a)) / per_second;
}

static inline void arrivals_poisson(struct arrivals *a, double per_second)
{
	for (double t = arrivals_gap(a, per_second); t < a->length; t += arrivals_gap(a, per_second))
		arrivals_add(a, t);
}

static inline void arrivals_steady(struct arrivals *a, double every_s, double phase_s)
{
	for (double t = phase_s; t < a->length; t += every_s)
		arrivals_add(a, t + arrivals_uniform(a) * every_s / 50);
}

/* Office hours of five days a week at `busy`, and a trickle. */
static inline void arrivals_office(struct arrivals *a, double busy, double quiet)
{
	for (double t = arrivals_gap(a, busy); t < a->length; t += arrivals_gap(a, busy)) {
		double hour = fmod(t / 3600, 24);
		bool open = (int)(t / 86400) % 7 < 5 && hour >= 9 && hour < 17;
		if (open || arrivals_uniform(a) < quiet / busy)
			arrivals_add(a, t);
	}
}

/* A smooth day, the peak at 14:00; depth 1.5 is twenty times the night's rate, 3 four hundred times. */
static inline void arrivals_day(struct arrivals *a, double peak, double depth)
{
	for (double t = arrivals_gap(a, peak); t < a->length; t += arrivals_gap(a, peak))
		if (arrivals_uniform(a) < exp(depth * (cos((t / 3600 - 14) * M_PI / 12) - 1)))
			arrivals_add(a, t);
}

static inline int arrivals_order(const void *x, const void *y)
{
	double a = *(const double *)x, b = *(const double *)y;

	return (a > b) - (a < b);
}

/* Bursts of least_s to most_s seconds, `apart_s` apart, over a trickle. */
static inline void arrivals_bursts(struct arrivals *a, double apart_s, double least_s, double most_s,
				   double busy, double quiet)
{
	double t = arrivals_gap(a, 1 / apart_s);

	if (quiet > 0)
		arrivals_poisson(a, quiet);
	while (t < a->length) {
		double end = t + least_s + arrivals_uniform(a) * (most_s - least_s);
		for (t += arrivals_gap(a, busy); t < end; t += arrivals_gap(a, busy))
			arrivals_add(a, t);
		t = end + arrivals_gap(a, 1 / apart_s);
	}
	qsort(a->at, a->count, sizeof(a->at[0]), arrivals_order);
}

static inline void arrivals_clumps(struct arrivals *a, double apart_s, int size)
{
	for (double t = arrivals_gap(a, 1 / apart_s); t < a->length; t += arrivals_gap(a, 1 / apart_s))
		for (int i = 0; i < size; i++)
			arrivals_add(a, t);
}

/* Polls from the beginning, without any knowledge, to the end. */
static inline void poll_adaptively(const struct arrivals *a, int64_t min_ms, int64_t max_ms, bool counted,
				   struct polling *out)
{
	struct adaptive poller;
	int64_t now = ARRIVALS_EPOCH_MS, since = -1, end = now + (int64_t)(a->length * 1000);
	uint64_t next = 0;
	double waited = 0;

	*out = (struct polling){0};
	adaptive_init(&poller, min_ms, max_ms);
	while (now < end) {
		double t = (double)(now - ARRIVALS_EPOCH_MS) / 1000;
		int64_t found = 0;
		for (; next < a->count && a->at[next] <= t; next++, found++)
			waited += t - a->at[next];
		adaptive_found(&poller, now, since, !counted && found ? ADAPTIVE_UNCOUNTED : found);
		since = now;
		now += adaptive_wait(&poller, now);
		out->requests++;
	}
	out->staleness_s = next ? waited / (double)next : 0;
}

/* Mean staleness of a fixed interval, over a few phases. */
static inline double fixed_staleness(const struct arrivals *a, double every_s)
{
	enum { PHASES = 5 };
	double sum = 0;

	for (int phase = 0; phase < PHASES; phase++) {
		double first = every_s * (phase + 0.31) / PHASES;
		for (uint64_t i = 0; i < a->count; i++)
			sum += first + ceil((a->at[i] - first) / every_s) * every_s - a->at[i];
	}
	return sum / PHASES / (double)a->count;
}

/* The longest fixed interval that is not staler. */
static inline void compare_fixed(const struct arrivals *a, struct polling *p)
{
	double low = p->staleness_s, high = 4 * p->staleness_s;

	for (int i = 0; i < 30; i++) {
		double middle = sqrt(low * high);
		if (fixed_staleness(a, middle) > p->staleness_s)
			high = middle;
		else
			low = middle;
	}
	p->fixed_s = low;
	p->fixed_requests = a->length / low;
}

#endif
