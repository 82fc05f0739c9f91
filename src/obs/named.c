/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A scrape gathers rows first, since the exposition has all series of one metric together. What does not
 * fit NAMED_MAX is folded as it comes, so the memory is bounded too.
 */
#include "obs/named.h"

#include "base/err.h"
#include "base/mem.h"

#define STATES_MAX 16u
#define NAME_BYTES 256u

enum kind { KIND_COUNTER, KIND_GAUGE, KIND_GAUGE_NS, KIND_STATE };
enum fold { FOLD_SUM, FOLD_MIN, FOLD_MAX };

static const struct {
	const char *text;
	enum kind kind;
	enum fold fold;
	const char *help;
} metrics[NAMED_COUNT] = {
#define NAMED(name, text, kind, fold, help) {text, KIND_##kind, FOLD_##fold, help},
#include "obs/named.def"
#undef NAMED
};

struct named_row {
	char name[NAME_BYTES];
	const char *state;
	int64_t values[NAMED_COUNT];
};

struct named {
	struct named_row *rows;
	uint32_t count, cap, rest_count;
	struct named_row rest;
	struct {
		const char *state;
		uint64_t count;
	} rest_states[STATES_MAX];
	bool no_memory;
};

/* ---- gathering ---- */

static int64_t folded(enum fold fold, int64_t a, int64_t b)
{
	if (a == NAMED_UNKNOWN || b == NAMED_UNKNOWN)
		return a == NAMED_UNKNOWN ? b : a;
	switch (fold) {
	case FOLD_SUM:
		return a + b;
	case FOLD_MIN:
		return a < b ? a : b;
	case FOLD_MAX:
		break;
	}
	return a > b ? a : b;
}

static void fold_in(struct named *n, const char *state, const int64_t *values)
{
	uint32_t i = 0;

	for (uint32_t m = 0; m < NAMED_COUNT; m++)
		n->rest.values[m] =
			n->rest_count ? folded(metrics[m].fold, n->rest.values[m], values[m]) : values[m];
	n->rest_count++;
	while (i < STATES_MAX && n->rest_states[i].state && strcmp(n->rest_states[i].state, state) != 0)
		i++;
	if (i == STATES_MAX)
		return;
	n->rest_states[i].state = state;
	n->rest_states[i].count++;
}

static bool make_room(struct named *n)
{
	uint32_t cap = n->cap ? n->cap * 2 : 16;
	struct named_row *rows;

	if (n->count < n->cap)
		return true;
	rows = mem_realloc(n->rows, cap * sizeof(*rows));
	if (!rows)
		return false;
	n->rows = rows;
	n->cap = cap;
	return true;
}

void named_put(struct named *n, struct slice name, const char *state, const int64_t values[NAMED_COUNT])
{
	struct named_row *row;

	if (n->count == NAMED_MAX) {
		fold_in(n, state, values);
		return;
	}
	if (name.len >= NAME_BYTES || !make_room(n)) {
		n->no_memory = true;
		return;
	}
	row = &n->rows[n->count++];
	memcpy(row->name, name.ptr, name.len);
	row->name[name.len] = 0;
	row->state = state;
	memcpy(row->values, values, sizeof(row->values));
}

/* ---- writing ---- */

static void write_name(struct buf *out, uint32_t metric, const char *name, const char *state)
{
	(void)buf_appendf(out, "%s{source=\"%s\"", metrics[metric].text, name);
	if (state)
		(void)buf_appendf(out, ",state=\"%s\"", state);
	(void)buf_append_str(out, "} ");
}

static void write_value(struct buf *out, enum kind kind, int64_t value)
{
	if (kind == KIND_GAUGE_NS)
		(void)buf_appendf(out, "%lld.%03lld\n", (long long)(value / 1000000000),
				  (long long)(value % 1000000000 / 1000000));
	else
		(void)buf_appendf(out, "%lld\n", (long long)value);
}

static void write_row(struct buf *out, uint32_t metric, const struct named_row *row)
{
	if (metrics[metric].kind == KIND_STATE) {
		write_name(out, metric, row->name, row->state);
		write_value(out, KIND_GAUGE, 1);
	} else if (row->values[metric] != NAMED_UNKNOWN) {
		write_name(out, metric, row->name, NULL);
		write_value(out, metrics[metric].kind, row->values[metric]);
	}
}

static void write_rest(struct buf *out, uint32_t metric, const struct named *n)
{
	if (metrics[metric].kind != KIND_STATE) {
		write_row(out, metric, &n->rest);
		return;
	}
	for (uint32_t i = 0; i < STATES_MAX && n->rest_states[i].state; i++) {
		write_name(out, metric, NAMED_REST, n->rest_states[i].state);
		write_value(out, KIND_GAUGE, (int64_t)n->rest_states[i].count);
	}
}

static const char *type_text(enum kind kind)
{
	return kind == KIND_COUNTER ? "counter" : "gauge";
}

int named_write(named_fn *fn, void *ctx, struct buf *out)
{
	struct named n = {.rest = {.name = NAMED_REST}};

	if (fn)
		fn(ctx, &n);
	for (uint32_t m = 0; m < NAMED_COUNT; m++) {
		(void)buf_appendf(out, "# HELP %s %s\n# TYPE %s %s\n", metrics[m].text, metrics[m].help,
				  metrics[m].text, type_text(metrics[m].kind));
		for (uint32_t i = 0; i < n.count; i++)
			write_row(out, m, &n.rows[i]);
		if (n.rest_count)
			write_rest(out, m, &n);
	}
	mem_free(n.rows);
	return n.no_memory ? ERR_NOMEM : buf_status(out);
}

void named_write_reference(struct buf *out)
{
	for (uint32_t m = 0; m < NAMED_COUNT; m++)
		(void)buf_appendf(out, "| `%s` | %s | `source`%s | %s |\n", metrics[m].text,
				  type_text(metrics[m].kind),
				  metrics[m].kind == KIND_STATE ? ", `state`" : "", metrics[m].help);
}
