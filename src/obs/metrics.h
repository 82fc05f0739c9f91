/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_OBS_METRICS_H
#define WEIR_OBS_METRICS_H

#include <stdatomic.h>

#include "base/buf.h"
#include "base/check.h"
#include "obs/labels.h"
#include "obs/named.h"
#include "sys/sys.h"

/*
 * Numbers about weir, declared in metrics.def. A thread counts in a shard of its
 * own: one add to memory that no other thread writes, no lock, no shared cache
 * line. A scrape adds the shards up, asks the sources for what they keep
 * themselves, and writes the Prometheus text form.
 *
 * Who may not include this (log, net: the same layer) keeps its own numbers and
 * is asked by a source that the daemon registers.
 */
struct metrics;

enum metric_kind {
	METRIC_KIND_COUNTER,
	METRIC_KIND_COUNTER_NS,
	METRIC_KIND_GAUGE,
	METRIC_KIND_GAUGE_NS,
	METRIC_KIND_HISTOGRAM_NS,    /* buckets <= 2^i microseconds */
	METRIC_KIND_HISTOGRAM_BYTES, /* buckets <= 2^i times 64 bytes */
	METRIC_KIND_HISTOGRAM_COUNT, /* buckets <= 2^i */
};

#define METRIC_BUCKETS 24u                           /* with a bound; one more has none */
#define METRIC_HISTOGRAM_WORDS (METRIC_BUCKETS + 2u) /* buckets, the one without a bound, the sum */

enum metric {
#define METRIC(name, text, kind, a, b, help) METRIC_##name,
#include "obs/metrics.def"
#undef METRIC
	METRIC_COUNT
};

#define METRIC_WORDS_OF(kind) \
	((int)METRIC_KIND_##kind >= (int)METRIC_KIND_HISTOGRAM_NS ? METRIC_HISTOGRAM_WORDS : 1u)
#define METRIC_CELLS_OF(a, b) ((unsigned)METRIC_COUNT_##a * (unsigned)METRIC_COUNT_##b)

/* Where the words of each metric begin in a shard, and behind them METRIC_WORDS. */
enum metric_place {
#define METRIC(name, text, kind, a, b, help) \
	METRIC_AT_##name,                    \
		METRIC_LAST_##name =         \
			METRIC_AT_##name + (int)(METRIC_WORDS_OF(kind) * METRIC_CELLS_OF(a, b)) - 1,
#include "obs/metrics.def"
#undef METRIC
	METRIC_WORDS
};

struct metric_shape {
	uint16_t at;
	uint16_t cells;
	uint8_t kind;
	uint8_t words;
	uint8_t count_b; /* values of the second label */
};

/* In the header, so that the compiler folds it away where the metric is a constant. */
static const struct metric_shape metric_shapes[METRIC_COUNT] = {
#define METRIC(name, text, kind, a, b, help)                                                 \
	{METRIC_AT_##name, METRIC_CELLS_OF(a, b), METRIC_KIND_##kind, METRIC_WORDS_OF(kind), \
	 METRIC_COUNT_##b},
#include "obs/metrics.def"
#undef METRIC
};

struct metrics_shard {
	struct metrics_shard *next;
	_Alignas(64) _Atomic uint64_t words[METRIC_WORDS];
};

struct metrics_options {
	const struct sys *sys; /* keeps; for time and the process metrics */
	const char *version;   /* keeps; for weir_build_info */
};

/* Returns owned. ERR_NOMEM. */
int metrics_new(const struct metrics_options *options, struct metrics **out);

/* Frees the shards too; no thread may count any more. NULL is allowed. */
void metrics_free(struct metrics *m);

/*
 * A shard for one thread to write, borrowed until metrics_free; NULL without
 * memory. It stays in the sums when its thread has ended. Any thread.
 */
struct metrics_shard *metrics_shard_new(struct metrics *m);

/* ---- counting: the owner of the shard alone ---- */

static inline void metric_word_add(_Atomic uint64_t *word, uint64_t n)
{
	/* One writer: a load and a store, no locked instruction. Readers see a whole word. */
	uint64_t now = atomic_load_explicit(word, memory_order_relaxed);

	atomic_store_explicit(word, now + n, memory_order_relaxed);
}

/*
 * Counts n more. `label` is the value of the metric's label, 0 where it has
 * none; metric_labels() makes one of two. Gauges: the sum over all shards is
 * shown, so that a connection may open on one thread and close on another.
 */
static inline void metric_add(struct metrics_shard *s, enum metric metric, unsigned label, uint64_t n)
{
	const struct metric_shape *shape = &metric_shapes[metric];

	CHECK(label < shape->cells && shape->words == 1);
	metric_word_add(&s->words[shape->at + label], n);
}

/* The same for gauges that go up and down. */
static inline void metric_move(struct metrics_shard *s, enum metric metric, unsigned label, int64_t by)
{
	metric_add(s, metric, label, (uint64_t)by);
}

/* The label argument for a metric with two labels. */
static inline unsigned metric_labels(enum metric metric, unsigned a, unsigned b)
{
	CHECK(b < metric_shapes[metric].count_b);
	return a * metric_shapes[metric].count_b + b;
}

/* The bucket of a value: the smallest i with value <= 2^i units, or METRIC_BUCKETS. */
static inline unsigned metric_bucket(enum metric_kind kind, uint64_t value)
{
	uint64_t unit = kind == METRIC_KIND_HISTOGRAM_NS    ? 1000 :
			kind == METRIC_KIND_HISTOGRAM_BYTES ? 64 :
							      1;
	uint64_t units = value / unit + (value % unit != 0);
	unsigned bucket = units <= 1 ? 0 : 64u - (unsigned)__builtin_clzll(units - 1);

	return bucket < METRIC_BUCKETS ? bucket : METRIC_BUCKETS;
}

/* One observation: nanoseconds, bytes or a count, as the metric's kind says. */
static inline void metric_observe(struct metrics_shard *s, enum metric metric, unsigned label, uint64_t value)
{
	const struct metric_shape *shape = &metric_shapes[metric];
	_Atomic uint64_t *words = &s->words[shape->at + label * METRIC_HISTOGRAM_WORDS];

	CHECK(label < shape->cells && shape->words == METRIC_HISTOGRAM_WORDS);
	metric_word_add(&words[metric_bucket((enum metric_kind)shape->kind, value)], 1);
	metric_word_add(&words[METRIC_BUCKETS + 1], value);
}

/* The same value n times: what came together. */
static inline void metric_observe_many(struct metrics_shard *s, enum metric metric, unsigned label,
				       uint64_t value, uint64_t n)
{
	const struct metric_shape *shape = &metric_shapes[metric];
	_Atomic uint64_t *words = &s->words[shape->at + label * METRIC_HISTOGRAM_WORDS];

	CHECK(label < shape->cells && shape->words == METRIC_HISTOGRAM_WORDS);
	metric_word_add(&words[metric_bucket((enum metric_kind)shape->kind, value)], n);
	metric_word_add(&words[METRIC_BUCKETS + 1], value * n);
}

/* ---- sources: who keeps numbers of his own ---- */

struct metrics_scrape;

/*
 * Called at each scrape, on the thread that scrapes and under the lock of m: it
 * must be quick, and call nothing here but metrics_put and metrics_put_histogram.
 */
typedef void metrics_source_fn(void *ctx, struct metrics_scrape *scrape);

/* Keeps ctx until metrics_free or metrics_source_drop. ERR_LIMIT past 16 sources. Any thread. */
int metrics_source_add(struct metrics *m, metrics_source_fn *fn, void *ctx);
void metrics_source_drop(struct metrics *m, metrics_source_fn *fn, void *ctx);

/* Who is asked for things with names (named.h) at each scrape; one, before the first. Keeps ctx until metrics_free. */
void metrics_name(struct metrics *m, named_fn *fn, void *ctx);

/* Adds to a counter or gauge of this scrape (ns for the kinds in ns). */
void metrics_put(struct metrics_scrape *scrape, enum metric metric, unsigned label, int64_t value);

/*
 * Raises a gauge to value where it is below: for a maximum over several sources.
 */
void metrics_put_max(struct metrics_scrape *scrape, enum metric metric, unsigned label, int64_t value);

/*
 * Adds a histogram that somebody kept in buckets of the same bounds (2^i units;
 * a last bucket beyond METRIC_BUCKETS has no bound). `sum` in the kind's unit: ns, bytes, count.
 */
void metrics_put_histogram(struct metrics_scrape *scrape, enum metric metric, unsigned label,
			   const uint64_t *buckets, unsigned count, uint64_t sum);

/* ---- reading ---- */

/*
 * Appends the Prometheus text exposition (version 0.0.4). Series of two labels
 * and labelled histograms are left out while they are zero; all else is always
 * there. ERR_LIMIT or ERR_NOMEM; then *out holds half and is to be thrown away. Any thread.
 */
int metrics_write(struct metrics *m, struct buf *out);

/* The Content-Type that goes with it. */
#define METRICS_CONTENT_TYPE "text/plain; version=0.0.4; charset=utf-8"

/* The sum of a counter or gauge over shards and sources, for the page and for tests. Any thread. */
int64_t metrics_read(struct metrics *m, enum metric metric, unsigned label);

/* Appends docs/reference/metrics.md. */
int metrics_write_reference(struct buf *out);

#endif
