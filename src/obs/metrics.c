/* SPDX-License-Identifier: Apache-2.0 */
#include "obs/metrics.h"

#include <pthread.h>

#include "base/mem.h"
#include "obs/process.h"

/*
 * A shard is an array of words; metrics.def gives each metric its place in it at
 * compile time. Counting is a load, an add and a store by the one thread that
 * owns the shard, relaxed, so that a scrape on another thread sees whole words.
 * What a scrape shows of two metrics need not be of the same instant.
 *
 *   words  | CONNECTIONS http kafka | ... | HTTP_SECONDS route 0: 24 buckets, inf, sum | route 1 ... |
 *
 * Times are kept in nanoseconds and written as decimal seconds without going
 * through floating point: sums stay exact for 580 years.
 *
 * Rejected: one set of counters with locked instructions (the line bounces
 * between cores once a record); shards by processor (a thread may move between
 * the load and the store); quantiles kept inside (they cannot be added up).
 */

#define SOURCES_MAX 16u

struct source {
	metrics_source_fn *fn;
	void *ctx;
};

struct metrics {
	struct metrics_options options;
	int64_t started_ns;
	pthread_mutex_t lock; /* all below */
	struct metrics_shard *shards;
	struct source sources[SOURCES_MAX];
	unsigned source_count;
	named_fn *named;
	void *named_ctx;
};

struct metrics_scrape {
	uint64_t words[METRIC_WORDS];
};

/* ---- the tables ---- */

enum label {
#define LABEL_ENUM(label, text) LABEL_##label,
	METRIC_LABELS(LABEL_ENUM)
#undef LABEL_ENUM
		LABEL_CODE
};

#define VALUE_TEXT(label, name, text) text,
#define VALUES(label, text) \
	static const char *const values_##label[] = {METRIC_VALUES_##label(VALUE_TEXT, label)};
METRIC_LABELS(VALUES)
#undef VALUES
#undef VALUE_TEXT

static const char *const values_CODE[] = {
#define ERR(name, code, http, kafka, retry, sentence) code,
#include "base/err.def"
#undef ERR
};

struct label_row {
	const char *text;
	const char *const *values;
	unsigned count;
};

static const struct label_row label_rows[] = {
#define LABEL_ROW(label, text) [LABEL_##label] = {text, values_##label, METRIC_COUNT_##label},
	METRIC_LABELS(LABEL_ROW)
#undef LABEL_ROW
		[LABEL_CODE] = {"code", values_CODE, METRIC_COUNT_CODE},
};

struct metric_row {
	const char *text;
	const char *help;
	enum label a, b;
};

static const struct metric_row metric_rows[METRIC_COUNT] = {
#define METRIC(name, text, kind, a, b, help) {text, help, LABEL_##a, LABEL_##b},
#include "obs/metrics.def"
#undef METRIC
};

static enum metric_kind kind_of(enum metric metric)
{
	return (enum metric_kind)metric_shapes[metric].kind;
}

static bool is_histogram(enum metric_kind kind)
{
	return kind >= METRIC_KIND_HISTOGRAM_NS;
}

static bool is_ns(enum metric_kind kind)
{
	return kind == METRIC_KIND_COUNTER_NS || kind == METRIC_KIND_GAUGE_NS ||
	       kind == METRIC_KIND_HISTOGRAM_NS;
}

static const char *type_text(enum metric_kind kind)
{
	if (is_histogram(kind))
		return "histogram";
	return kind == METRIC_KIND_COUNTER || kind == METRIC_KIND_COUNTER_NS ? "counter" : "gauge";
}

/* ---- life ---- */

int metrics_new(const struct metrics_options *options, struct metrics **out)
{
	struct metrics *m = mem_zalloc(1, sizeof(*m));

	if (!m)
		return ERR_NOMEM;
	if (pthread_mutex_init(&m->lock, NULL) != 0) {
		mem_free(m);
		return ERR_NOMEM;
	}
	m->options = *options;
	m->started_ns = options->sys->ops->wall_ns(options->sys->self);
	*out = m;
	return 0;
}

void metrics_free(struct metrics *m)
{
	struct metrics_shard *shard, *next;

	if (!m)
		return;
	for (shard = m->shards; shard; shard = next) {
		next = shard->next;
		mem_free(shard);
	}
	(void)pthread_mutex_destroy(&m->lock);
	mem_free(m);
}

struct metrics_shard *metrics_shard_new(struct metrics *m)
{
	struct metrics_shard *shard = mem_aligned(_Alignof(struct metrics_shard), sizeof(*shard));
	size_t i;

	if (!shard)
		return NULL;
	for (i = 0; i < METRIC_WORDS; i++)
		atomic_init(&shard->words[i], 0);
	(void)pthread_mutex_lock(&m->lock);
	shard->next = m->shards;
	m->shards = shard;
	(void)pthread_mutex_unlock(&m->lock);
	return shard;
}

int metrics_source_add(struct metrics *m, metrics_source_fn *fn, void *ctx)
{
	int err = ERR_LIMIT;

	(void)pthread_mutex_lock(&m->lock);
	if (m->source_count < SOURCES_MAX) {
		m->sources[m->source_count++] = (struct source){fn, ctx};
		err = 0;
	}
	(void)pthread_mutex_unlock(&m->lock);
	return err;
}

void metrics_source_drop(struct metrics *m, metrics_source_fn *fn, void *ctx)
{
	unsigned i;

	(void)pthread_mutex_lock(&m->lock);
	for (i = 0; i < m->source_count; i++) {
		if (m->sources[i].fn == fn && m->sources[i].ctx == ctx) {
			m->sources[i] = m->sources[--m->source_count];
			break;
		}
	}
	(void)pthread_mutex_unlock(&m->lock);
}

void metrics_name(struct metrics *m, named_fn *fn, void *ctx)
{
	(void)pthread_mutex_lock(&m->lock);
	m->named = fn;
	m->named_ctx = ctx;
	(void)pthread_mutex_unlock(&m->lock);
}

/* ---- what sources say ---- */

void metrics_put(struct metrics_scrape *scrape, enum metric metric, unsigned label, int64_t value)
{
	const struct metric_shape *shape = &metric_shapes[metric];

	CHECK(label < shape->cells && shape->words == 1);
	scrape->words[shape->at + label] += (uint64_t)value;
}

void metrics_put_max(struct metrics_scrape *scrape, enum metric metric, unsigned label, int64_t value)
{
	const struct metric_shape *shape = &metric_shapes[metric];

	CHECK(label < shape->cells && shape->words == 1);
	if ((int64_t)scrape->words[shape->at + label] < value)
		scrape->words[shape->at + label] = (uint64_t)value;
}

void metrics_put_histogram(struct metrics_scrape *scrape, enum metric metric, unsigned label,
			   const uint64_t *buckets, unsigned count, uint64_t sum)
{
	const struct metric_shape *shape = &metric_shapes[metric];
	uint64_t *words = &scrape->words[shape->at + label * METRIC_HISTOGRAM_WORDS];
	unsigned i;

	CHECK(label < shape->cells && shape->words == METRIC_HISTOGRAM_WORDS);
	for (i = 0; i < count; i++)
		words[i < METRIC_BUCKETS ? i : METRIC_BUCKETS] += buckets[i];
	words[METRIC_BUCKETS + 1] += sum;
}

static void put_process(const struct metrics *m, struct metrics_scrape *scrape)
{
	struct process_numbers now;

	process_read(m->options.sys, &now);
	metrics_put(scrape, METRIC_PROCESS_CPU, 0, now.cpu_ns);
	metrics_put(scrape, METRIC_PROCESS_RSS, 0, now.resident_bytes);
	metrics_put(scrape, METRIC_PROCESS_VIRTUAL, 0, now.virtual_bytes);
	metrics_put(scrape, METRIC_PROCESS_FDS, 0, now.fds);
	metrics_put(scrape, METRIC_PROCESS_FDS_MAX, 0, now.fds_max);
	metrics_put(scrape, METRIC_PROCESS_THREADS, 0, now.threads);
	metrics_put(scrape, METRIC_PROCESS_START, 0, m->started_ns);
}

/* Adds all up. Returns owned, or NULL without memory. */
static struct metrics_scrape *gather(struct metrics *m)
{
	struct metrics_scrape *scrape = mem_zalloc(1, sizeof(*scrape));
	struct metrics_shard *shard;
	unsigned i;

	if (!scrape)
		return NULL;
	(void)pthread_mutex_lock(&m->lock);
	for (shard = m->shards; shard; shard = shard->next)
		for (i = 0; i < METRIC_WORDS; i++)
			scrape->words[i] += atomic_load_explicit(&shard->words[i], memory_order_relaxed);
	for (i = 0; i < m->source_count; i++)
		m->sources[i].fn(m->sources[i].ctx, scrape);
	(void)pthread_mutex_unlock(&m->lock);
	return scrape;
}

int64_t metrics_read(struct metrics *m, enum metric metric, unsigned label)
{
	const struct metric_shape *shape = &metric_shapes[metric];
	struct metrics_scrape *scrape;
	int64_t value = 0;

	CHECK(label < shape->cells && shape->words == 1);
	scrape = gather(m);
	if (scrape)
		value = (int64_t)scrape->words[shape->at + label];
	mem_free(scrape);
	return value;
}

/* ---- the exposition ---- */

/* Nanoseconds as decimal seconds, exactly, without zeros at the end. */
static void write_ns(struct buf *out, int64_t ns)
{
	uint64_t left = ns < 0 ? 0 - (uint64_t)ns : (uint64_t)ns;
	uint64_t part = left % 1000000000u;
	char digits[10];
	size_t n = 9, i;

	if (ns < 0)
		(void)buf_append_byte(out, '-');
	(void)buf_append_u64(out, left / 1000000000u);
	if (part == 0)
		return;
	for (i = n; i > 0; i--) {
		digits[i - 1] = (char)('0' + part % 10);
		part /= 10;
	}
	while (digits[n - 1] == '0')
		n--;
	(void)buf_append_byte(out, '.');
	(void)buf_append(out, digits, n);
}

static void write_value(struct buf *out, enum metric_kind kind, uint64_t value)
{
	if (is_ns(kind))
		write_ns(out, (int64_t)value);
	else if (kind == METRIC_KIND_GAUGE)
		(void)buf_append_i64(out, (int64_t)value);
	else
		(void)buf_append_u64(out, value);
}

static void write_label(struct buf *out, enum label label, unsigned value, const char **before)
{
	if (label == LABEL_NONE)
		return;
	(void)buf_append_str(out, *before);
	(void)buf_append_str(out, label_rows[label].text);
	(void)buf_append_str(out, "=\"");
	(void)buf_append_str(out, label_rows[label].values[value]);
	(void)buf_append_byte(out, '"');
	*before = ",";
}

/* name<suffix>{a="..",b=".." — the brace is left open where there is a label: *before tells. */
static const char *write_name(struct buf *out, enum metric metric, const char *suffix, unsigned cell)
{
	const struct metric_row *row = &metric_rows[metric];
	unsigned count_b = metric_shapes[metric].count_b;
	const char *before = "{";

	(void)buf_append_str(out, row->text);
	(void)buf_append_str(out, suffix);
	write_label(out, row->a, cell / count_b, &before);
	write_label(out, row->b, cell % count_b, &before);
	return before;
}

static void write_sample(struct buf *out, enum metric metric, const char *suffix, unsigned cell,
			 enum metric_kind kind, uint64_t value)
{
	const char *before = write_name(out, metric, suffix, cell);

	(void)buf_append_str(out, *before == ',' ? "} " : " ");
	write_value(out, kind, value);
	(void)buf_append_byte(out, '\n');
}

static void write_bound(struct buf *out, enum metric_kind kind, unsigned bucket)
{
	uint64_t units = UINT64_C(1) << bucket;

	if (bucket == METRIC_BUCKETS)
		(void)buf_append_str(out, "+Inf");
	else if (kind == METRIC_KIND_HISTOGRAM_NS)
		write_ns(out, (int64_t)(units * 1000));
	else
		(void)buf_append_u64(out, kind == METRIC_KIND_HISTOGRAM_BYTES ? units * 64 : units);
}

static uint64_t observations(const uint64_t *words)
{
	uint64_t count = 0;
	unsigned i;

	for (i = 0; i <= METRIC_BUCKETS; i++)
		count += words[i];
	return count;
}

static void write_histogram(struct buf *out, enum metric metric, unsigned cell, const uint64_t *words)
{
	enum metric_kind kind = kind_of(metric);
	uint64_t count = 0;
	unsigned i;

	for (i = 0; i <= METRIC_BUCKETS; i++) {
		count += words[i];
		(void)buf_append_str(out, write_name(out, metric, "_bucket", cell));
		(void)buf_append_str(out, "le=\"");
		write_bound(out, kind, i);
		(void)buf_append_str(out, "\"} ");
		(void)buf_append_u64(out, count);
		(void)buf_append_byte(out, '\n');
	}
	write_sample(out, metric, "_sum", cell, is_ns(kind) ? METRIC_KIND_COUNTER_NS : METRIC_KIND_COUNTER,
		     words[METRIC_BUCKETS + 1]);
	write_sample(out, metric, "_count", cell, METRIC_KIND_COUNTER, count);
}

static void write_head(struct buf *out, const char *text, const char *help, const char *type)
{
	(void)buf_append_str(out, "# HELP ");
	(void)buf_append_str(out, text);
	(void)buf_append_byte(out, ' ');
	(void)buf_append_str(out, help);
	(void)buf_append_str(out, "\n# TYPE ");
	(void)buf_append_str(out, text);
	(void)buf_append_byte(out, ' ');
	(void)buf_append_str(out, type);
	(void)buf_append_byte(out, '\n');
}

/* What the process could not learn is not shown: a gauge of -1 would be a lie. */
static bool is_unknown(enum metric metric, uint64_t value)
{
	return metric >= METRIC_PROCESS_CPU && (int64_t)value == -1;
}

static void write_metric(struct buf *out, enum metric metric, const struct metrics_scrape *scrape)
{
	const struct metric_row *row = &metric_rows[metric];
	const struct metric_shape *shape = &metric_shapes[metric];
	enum metric_kind kind = kind_of(metric);
	unsigned cell;

	write_head(out, row->text, row->help, type_text(kind));
	for (cell = 0; cell < shape->cells; cell++) {
		const uint64_t *words = &scrape->words[shape->at + cell * shape->words];

		if (is_histogram(kind)) {
			if (shape->cells == 1 || observations(words) > 0)
				write_histogram(out, metric, cell, words);
		} else if ((row->b == LABEL_NONE || words[0] != 0) && !is_unknown(metric, words[0])) {
			write_sample(out, metric, "", cell, kind, words[0]);
		}
	}
}

#define BUILD_INFO "weir_build_info"
#define BUILD_INFO_HELP "1; the label has the version."

int metrics_write(struct metrics *m, struct buf *out)
{
	struct metrics_scrape *scrape = gather(m);
	unsigned i;

	if (!scrape)
		return ERR_NOMEM;
	put_process(m, scrape);
	write_head(out, BUILD_INFO, BUILD_INFO_HELP, "gauge");
	(void)buf_append_str(out, BUILD_INFO "{version=\"");
	(void)buf_append_str(out, m->options.version);
	(void)buf_append_str(out, "\"} 1\n");
	for (i = 0; i < METRIC_COUNT; i++)
		write_metric(out, (enum metric)i, scrape);
	mem_free(scrape);
	return named_write(m->named, m->named_ctx, out);
}

/* ---- the reference page ---- */

static void write_reference_label(struct buf *out, enum label label, const char **before)
{
	if (label == LABEL_NONE)
		return;
	(void)buf_append_str(out, *before);
	(void)buf_append_byte(out, '`');
	(void)buf_append_str(out, label_rows[label].text);
	(void)buf_append_byte(out, '`');
	*before = ", ";
}

static void write_reference_row(struct buf *out, enum metric metric)
{
	const struct metric_row *row = &metric_rows[metric];
	const char *before = "";

	(void)buf_append_str(out, "| `");
	(void)buf_append_str(out, row->text);
	(void)buf_append_str(out, "` | ");
	(void)buf_append_str(out, type_text(kind_of(metric)));
	(void)buf_append_str(out, " | ");
	write_reference_label(out, row->a, &before);
	write_reference_label(out, row->b, &before);
	(void)buf_append_str(out, " | ");
	(void)buf_append_str(out, row->help);
	(void)buf_append_str(out, " |\n");
}

static void write_reference_values(struct buf *out, enum label label)
{
	unsigned i;

	(void)buf_append_str(out, "| `");
	(void)buf_append_str(out, label_rows[label].text);
	(void)buf_append_str(out, "` | ");
	if (label == LABEL_CODE) {
		(void)buf_append_str(out, "the codes of [errors.md](errors.md) |\n");
		return;
	}
	for (i = 0; i < label_rows[label].count; i++) {
		(void)buf_append_str(out, i ? ", `" : "`");
		(void)buf_append_str(out, label_rows[label].values[i]);
		(void)buf_append_byte(out, '`');
	}
	(void)buf_append_str(out, " |\n");
}

int metrics_write_reference(struct buf *out)
{
	unsigned i;

	(void)buf_append_str(
		out,
		"<!-- Written by `make docs` from src/obs/metrics.def and named.def; do not edit. -->\n"
		"# Metrics\n\n"
		"`GET /metrics` gives them in the Prometheus text form. Every label has a bounded set of values;\n"
		"topics, keys and addresses are never labels. Names of sources are: the first 1000, in order of name, have\n"
		"series of their own, the others share one, `(other)`. Counters of a source begin anew when its settings change.\n"
		"Series with two labels, and histograms with a label,\n"
		"appear when they first count; all others are there from the start.\n\n"
		"Buckets of histograms grow by two: in seconds from 0.000001 to 8.388608, in bytes from 64 to\n"
		"536870912, in counts from 1 to 8388608.\n\n"
		"| metric | type | labels | what |\n|---|---|---|---|\n"
		"| `" BUILD_INFO "` | gauge | `version` | " BUILD_INFO_HELP " |\n");
	for (i = 0; i < METRIC_COUNT; i++)
		write_reference_row(out, (enum metric)i);
	named_write_reference(out);
	(void)buf_append_str(out, "\n## Labels\n\n| label | values |\n|---|---|\n");
	for (i = LABEL_NONE + 1; i <= LABEL_CODE; i++)
		write_reference_values(out, (enum label)i);
	(void)buf_append_str(out, "| `source` | names of sources, at most 1000, and `" NAMED_REST "` |\n");
	return buf_status(out);
}
