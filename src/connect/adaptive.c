/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Eight experts each hold a rate of arrivals as a Gamma distribution, which a poll that
 * found n in d seconds updates in closed form, and which foretells n as a negative
 * binomial. How well each foretold what was found gives it its weight; a small share
 * of all weight is spread anew each time, so that any of them can take over
 * within a few polls. The mixture's rate is where the next poll comes from: as soon as
 * the staleness that is expected to have gathered since the last poll is worth a request.
 * docs/internals/adaptive.md derives both and says what was rejected.
 */
#include "connect/adaptive.h"

#include <math.h>
#include <string.h>

#include "base/check.h"
#include "base/wire.h"

/* How many arrivals an expert of few remembers; the first remembers one poll. */
static const double memory[ADAPTIVE_SHORT] = {0, 2, 6, 20, 80, 400};

#define PRIOR 0.5                  /* arrivals that a first belief counts as */
#define HOUR_PRIOR 2.0             /* the same, of one hour of the day */
#define SHARE 0.03                 /* of the weight, spread anew each time */
#define ALL_SECONDS (14 * 86400.0) /* memory of the expert of long memory, */
#define HOUR_SECONDS (14 * 3600.0) /* and of each hour: both two weeks */
#define COUNT_MAX 1e12
#define SAVED_VERSION 1u
#define SAVED_DOUBLES 74

struct belief {
	double shape, seconds; /* of a Gamma distribution: its mean is shape / seconds */
};

void adaptive_init(struct adaptive *a, int64_t min_ms, int64_t max_ms)
{
	CHECK(min_ms > 0 && min_ms <= max_ms);
	double seconds = PRIOR * sqrt((double)min_ms * (double)max_ms) / 1000;

	*a = (struct adaptive){.min_ms = min_ms, .max_ms = max_ms, .clump = 1};
	a->not_before_ms = a->spread_until_ms = INT64_MIN;
	a->all = (struct adaptive_evidence){PRIOR, seconds};
	for (int i = 0; i < ADAPTIVE_SHORT; i++)
		a->recent[i] = a->all;
	for (int i = 0; i < ADAPTIVE_EXPERTS; i++)
		a->weights[i] = 1.0 / ADAPTIVE_EXPERTS;
}

/* ---- what is believed ---- */

/* Clumps a second, over two weeks: what the price of a request is made of. */
static double usual_rate(const struct adaptive *a)
{
	return a->all.count / a->clump / a->all.seconds;
}

static int hour_of(double at)
{
	double hour = fmod(floor(at / 3600), ADAPTIVE_HOURS);

	return (int)(hour < 0 ? hour + ADAPTIVE_HOURS : hour);
}

/* How long an hour lasts from a moment on. */
static double left_of_hour(double at)
{
	double left = (floor(at / 3600) + 1) * 3600 - at;

	return left > 0 ? left : 3600;
}

/* An hour that is not known yet is as all of them are. */
static struct belief hour_belief(const struct adaptive *a, int hour)
{
	const struct adaptive_evidence *e = &a->hours[hour];

	return (struct belief){e->count / a->clump + HOUR_PRIOR, e->seconds + HOUR_PRIOR / usual_rate(a)};
}

/* What the hours say of a stretch of time; past a day it is all the same. */
static struct belief profile_belief(const struct adaptive *a, double from, double seconds)
{
	double left = seconds < 86400 ? seconds : 86400, whole = left, mean = 0, shape = 0;

	for (double at = from; left > 1e-6;) {
		double part = fmin(left_of_hour(at), left);
		struct belief b = hour_belief(a, hour_of(at));
		mean += b.shape / b.seconds * part;
		shape += b.shape * part / whole;
		at += part;
		left -= part;
	}
	return (struct belief){shape, shape * whole / mean};
}

static struct belief belief_of(const struct adaptive *a, int expert, double from, double seconds)
{
	if (expert == ADAPTIVE_PROFILE)
		return profile_belief(a, from, seconds);
	if (expert == ADAPTIVE_LONG)
		return (struct belief){a->all.count / a->clump, a->all.seconds};
	return (struct belief){a->recent[expert].count, a->recent[expert].seconds};
}

/* Clumps a second by all but the profile, which goes with the hour. */
static double steady_rate(const struct adaptive *a)
{
	double rate = a->weights[ADAPTIVE_LONG] * usual_rate(a);

	for (int i = 0; i < ADAPTIVE_SHORT; i++)
		rate += a->weights[i] * a->recent[i].count / a->recent[i].seconds;
	return rate;
}

static double rate_at(const struct adaptive *a, double steady, double at)
{
	struct belief b = hour_belief(a, hour_of(at));

	return steady + a->weights[ADAPTIVE_PROFILE] * b.shape / b.seconds;
}

/* ---- learning ---- */

static double log_gamma(double x)
{
	int sign; /* lgamma() would write a global */

	return lgamma_r(x, &sign);
}

/* ln P(count in seconds) of a belief: negative binomial, but for what is the same for all. */
static double likelihood(struct belief b, double count, double seconds)
{
	double both = b.seconds + seconds;

	return log_gamma(b.shape + count) - log_gamma(b.shape) + b.shape * log(b.seconds / both) +
	       count * log(seconds / both);
}

static void weigh(struct adaptive *a, double from, double seconds, double count)
{
	double said[ADAPTIVE_EXPERTS], best = -INFINITY, sum = 0;

	for (int i = 0; i < ADAPTIVE_EXPERTS; i++) {
		said[i] = likelihood(belief_of(a, i, from, seconds), count, seconds);
		best = fmax(best, said[i]);
	}
	for (int i = 0; i < ADAPTIVE_EXPERTS; i++) {
		a->weights[i] *= exp(said[i] - best);
		sum += a->weights[i];
	}
	for (int i = 0; i < ADAPTIVE_EXPERTS; i++)
		a->weights[i] = (1 - SHARE) * a->weights[i] / sum + SHARE / ADAPTIVE_EXPERTS;
}

/* The count goes to the hours of the stretch as they expected it. */
static void learn_hours(struct adaptive *a, double from, double seconds, double count)
{
	struct belief whole = profile_belief(a, from, seconds);
	double left = seconds < 86400 ? seconds : 86400, share = count / (whole.shape / whole.seconds * left);

	if (seconds > 86400)
		share *= 86400 / seconds;
	for (double at = from; left > 1e-6;) {
		double part = fmin(left_of_hour(at), left);
		int hour = hour_of(at);
		struct belief b = hour_belief(a, hour);
		struct adaptive_evidence *e = &a->hours[hour];
		e->count += share * b.shape / b.seconds * part;
		e->seconds += part;
		if (e->seconds > HOUR_SECONDS) {
			e->count *= HOUR_SECONDS / e->seconds;
			e->seconds = HOUR_SECONDS;
		}
		at += part;
		left -= part;
	}
}

/*
 * Records that come in clumps (a file of a thousand rows) are one arrival each. Two polls in a row
 * tell: their difference, squared, over their sum is about 1 where records come singly, whatever the rate and
 * however it changes slowly, and about the size of a clump where they do not. The median of it is
 * followed in steps that grow small.
 */
static void learn_clump(struct adaptive *a, double count, double seconds)
{
	double n = a->last.count, d = a->last.seconds;

	a->last = (struct adaptive_evidence){count, seconds};
	if (d <= 0 || n + count <= 0)
		return;
	double difference = count * d - n * seconds;
	double spread = difference / (n + count) * difference / (d * seconds);
	a->pairs++;
	double step = exp(0.02 + 3 / a->pairs);
	a->clump = fmin(fmax(1, spread > a->clump ? a->clump * step : a->clump / step), COUNT_MAX);
}

/* Of an expert of few arrivals: what is over its memory goes, count and time alike. */
static void remember(struct adaptive_evidence *e, double count, double seconds, double most)
{
	e->count += count;
	e->seconds += seconds;
	if (e->count > most) {
		e->seconds *= most / e->count;
		e->count = most;
	}
}

/* How many are to be expected where it is known that there were some. */
static double expected_of_some(const struct adaptive *a, double at, double seconds)
{
	double mean = rate_at(a, steady_rate(a), at) * a->clump * seconds;

	return mean < 1e-9 ? 1 : fmin(mean / -expm1(-mean), COUNT_MAX);
}

void adaptive_found(struct adaptive *a, int64_t now_ms, int64_t since_ms, int64_t count)
{
	if (since_ms < 0 || since_ms >= now_ms || count < 0)
		return;
	double seconds = (double)(now_ms - since_ms) / 1000, from = (double)since_ms / 1000;
	double records = count == ADAPTIVE_UNCOUNTED ? expected_of_some(a, from, seconds) :
						       fmin((double)count, COUNT_MAX);

	learn_clump(a, records, seconds);
	double clumps = records / a->clump;
	weigh(a, from, seconds, clumps);
	double usual = usual_rate(a);
	a->recent[0] = (struct adaptive_evidence){clumps + PRIOR, seconds + PRIOR / usual};
	for (int i = 1; i < ADAPTIVE_SHORT; i++)
		remember(&a->recent[i], clumps, seconds, memory[i]);
	learn_hours(a, from, seconds, records);
	a->all.count += records;
	a->all.seconds += seconds;
	if (a->all.seconds > ALL_SECONDS) {
		a->all.count *= ALL_SECONDS / a->all.seconds;
		a->all.seconds = ALL_SECONDS;
	}
	if (a->all.count < PRIOR) /* two weeks of nothing are no proof of never */
		a->all.count = PRIOR;
}

void adaptive_limited(struct adaptive *a, int64_t now_ms, int64_t retry_after_ms, int64_t remaining,
		      int64_t reset_ms)
{
	int64_t until;

	if (retry_after_ms >= 0 && !__builtin_add_overflow(now_ms, retry_after_ms, &until) &&
	    until > a->not_before_ms)
		a->not_before_ms = until;
	if (remaining < 0 || reset_ms < 0 || __builtin_add_overflow(now_ms, reset_ms, &a->spread_until_ms))
		return;
	a->spread_ms = remaining > 0 ? reset_ms / remaining : reset_ms;
}

/* ---- the next poll ---- */

/* Seconds until the staleness that is expected to have gathered is worth a request. */
static double seconds_to_price(const struct adaptive *a, double now, double most)
{
	double left = 1 / (2 * usual_rate(a)), steady = steady_rate(a), waiting = 0, passed = 0;

	while (passed < most) {
		double part = left_of_hour(now + passed), rate = rate_at(a, steady, now + passed);
		double due = (sqrt(waiting * waiting + 2 * rate * left) - waiting) / rate;
		if (due <= part)
			return passed + due;
		left -= (waiting + rate * part / 2) * part;
		waiting += rate * part;
		passed += part;
		if (passed > 30 * 86400.0)
			break;
	}
	return most;
}

int64_t adaptive_wait(const struct adaptive *a, int64_t now_ms)
{
	double most = (double)a->max_ms / 1000, seconds = seconds_to_price(a, (double)now_ms / 1000, most);
	int64_t wait = seconds < most ? (int64_t)(seconds * 1000) : a->max_ms;

	if (wait < a->min_ms)
		wait = a->min_ms;
	if (now_ms < a->spread_until_ms && wait < a->spread_ms)
		wait = a->spread_ms < a->spread_until_ms - now_ms ? a->spread_ms :
								    a->spread_until_ms - now_ms;
	if (wait < a->min_ms)
		wait = a->min_ms;
	if (a->not_before_ms > now_ms && wait < a->not_before_ms - now_ms)
		wait = a->not_before_ms - now_ms;
	return wait;
}

double adaptive_rate(const struct adaptive *a, int64_t now_ms, double *confidence)
{
	double at = (double)now_ms / 1000, sure = 0;

	for (int i = 0; i < ADAPTIVE_EXPERTS; i++)
		sure += a->weights[i] * belief_of(a, i, at, 1).shape;
	*confidence = sure;
	return rate_at(a, steady_rate(a), at) * a->clump;
}

/* ---- the checkpoint ---- */

/* Every number that is learnt, in one order for both ways. */
static int list_numbers(struct adaptive *a, double **out)
{
	int n = 0;

	for (int i = 0; i < ADAPTIVE_SHORT; i++) {
		out[n++] = &a->recent[i].count;
		out[n++] = &a->recent[i].seconds;
	}
	for (int i = 0; i < ADAPTIVE_HOURS; i++) {
		out[n++] = &a->hours[i].count;
		out[n++] = &a->hours[i].seconds;
	}
	for (int i = 0; i < ADAPTIVE_EXPERTS; i++)
		out[n++] = &a->weights[i];
	out[n++] = &a->all.count;
	out[n++] = &a->all.seconds;
	out[n++] = &a->last.count;
	out[n++] = &a->last.seconds;
	out[n++] = &a->clump;
	out[n++] = &a->pairs;
	return n;
}

void adaptive_save(const struct adaptive *a, uint8_t *out)
{
	struct adaptive copy = *a;
	double *numbers[SAVED_DOUBLES];
	int n = list_numbers(&copy, numbers);

	out = wire_put_u64(out, SAVED_VERSION);
	for (int i = 0; i < n; i++)
		out = wire_put_f64(out, *numbers[i]);
}

/* What no series of polls leaves behind is not taken. */
static bool is_sane(const struct adaptive *a)
{
	double sum = 0;

	for (int i = 0; i < ADAPTIVE_EXPERTS; i++) {
		if (!(a->weights[i] >= SHARE / ADAPTIVE_EXPERTS / 2 && a->weights[i] <= 1))
			return false;
		sum += a->weights[i];
	}
	for (int i = 0; i < ADAPTIVE_SHORT; i++)
		if (!(a->recent[i].count >= PRIOR / 2 && a->recent[i].count < COUNT_MAX &&
		      a->recent[i].seconds > 1e-12 && a->recent[i].seconds < 1e12))
			return false;
	for (int i = 0; i < ADAPTIVE_HOURS; i++)
		if (!(a->hours[i].count >= 0 && a->hours[i].count < COUNT_MAX * 1e6 &&
		      a->hours[i].seconds >= 0 && a->hours[i].seconds <= HOUR_SECONDS))
			return false;
	return sum > 0.99 && sum < 1.01 && a->all.count >= PRIOR && a->all.count < COUNT_MAX * 1e6 &&
	       a->all.seconds > 1e-6 && a->all.seconds <= ALL_SECONDS * 1e6 && a->last.count >= 0 &&
	       a->last.count <= COUNT_MAX && a->last.seconds >= 0 && a->last.seconds < 1e12 &&
	       a->clump >= 1 && a->clump <= COUNT_MAX && a->pairs >= 0 && a->pairs < 1e18;
}

bool adaptive_load(struct adaptive *a, const uint8_t *bytes, uint64_t count)
{
	struct wire_reader r = wire_reader_make(slice_make(bytes, count));
	struct adaptive loaded = *a;
	double *numbers[SAVED_DOUBLES];
	int n = list_numbers(&loaded, numbers);

	if (wire_u64(&r) != SAVED_VERSION)
		return false;
	for (int i = 0; i < n; i++)
		*numbers[i] = wire_f64(&r);
	if (r.bad || wire_left(&r) || !is_sane(&loaded))
		return false;
	*a = loaded;
	return true;
}
