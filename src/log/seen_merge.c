/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Runs of one size class in one bucket are merged four at a time, so that a key
 * is written again a logarithmic number of times, and a lookup asks few
 * filters. A merge leaves nothing out but what it meets twice: whether a key
 * looks expired depends on a clock, and forgetting is for whole buckets.
 */
#include "log/seen_merge.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/mem.h"

#define CLASS_RUNS 4u
#define MERGED_KEYS_MAX (1ull << 25)
#define COLD_CHECKPOINTS 16u

/* ---- choosing ---- */

/* Runs of one bucket, the smallest first. */
struct bucket {
	struct seen_run **runs;
	uint32_t count;
};

static int by_bucket_and_size(const void *a, const void *b)
{
	const struct seen_run *x = *(struct seen_run *const *)a, *y = *(struct seen_run *const *)b;

	if (x->end_ms != y->end_ms)
		return x->end_ms < y->end_ms ? -1 : 1;
	return x->keys == y->keys ? 0 : x->keys < y->keys ? -1 : 1;
}

static uint32_t class_of(const struct seen_run *r)
{
	uint32_t bits = 64 - (uint32_t)__builtin_clzll(r->keys | 1023);

	return bits / 2;
}

/* Takes runs from the front while they stay within the bound of a merge; true where that is worth a merge. */
static bool take(struct seen_choice *out, struct seen_run **runs, uint32_t count, uint64_t keys_max)
{
	uint64_t keys = 0;

	out->count = 0;
	for (uint32_t i = 0; i < count && i < SEEN_MERGE_RUNS_MAX; i++) {
		keys += runs[i]->keys;
		if (keys > keys_max)
			break;
		out->runs[out->count++] = runs[i];
	}
	out->end_ms = runs[0]->end_ms;
	return out->count > 1;
}

static bool choose_class(const struct bucket *b, struct seen_choice *out)
{
	for (uint32_t i = 0, n; i < b->count; i += n) {
		for (n = 1; i + n < b->count && class_of(b->runs[i + n]) == class_of(b->runs[i]); n++)
			;
		if (n >= CLASS_RUNS && take(out, b->runs + i, n, MERGED_KEYS_MAX))
			return true;
	}
	return false;
}

static bool choose_cold(const struct bucket *b, uint32_t checkpoint, struct seen_choice *out)
{
	for (uint32_t i = 0; i < b->count; i++) {
		if (b->runs[i]->checkpoint + COLD_CHECKPOINTS > checkpoint)
			return false;
	}
	return take(out, b->runs, b->count, MERGED_KEYS_MAX);
}

static struct bucket next_bucket(struct seen_run **runs, uint32_t count, uint32_t from)
{
	struct bucket b = {.runs = runs + from};

	while (from + b.count < count && runs[from + b.count]->end_ms == runs[from]->end_ms)
		b.count++;
	return b;
}

/* Too many files: the smallest of the fullest bucket, whatever their size; else the two buckets that end first. */
static bool choose_any(struct seen_run **runs, uint32_t count, struct seen_choice *out)
{
	struct bucket fullest = {.count = 0}, b;

	for (uint32_t i = 0; i < count; i += b.count) {
		b = next_bucket(runs, count, i);
		if (b.count > fullest.count)
			fullest = b;
	}
	if (fullest.count > 1)
		return take(out, fullest.runs, fullest.count < CLASS_RUNS ? fullest.count : CLASS_RUNS,
			    UINT64_MAX);
	if (count < 2 || !take(out, runs, 2, UINT64_MAX))
		return false;
	out->end_ms = runs[1]->end_ms;
	return true;
}

static bool choose_among(struct seen_run **runs, uint32_t count, uint32_t files_max, uint32_t checkpoint,
			 struct seen_choice *out)
{
	struct bucket b;

	for (uint32_t i = 0; i < count; i += b.count) {
		b = next_bucket(runs, count, i);
		if (choose_class(&b, out))
			return true;
	}
	if (count > files_max)
		return choose_any(runs, count, out);
	for (uint32_t i = 0; i < count; i += b.count) {
		b = next_bucket(runs, count, i);
		if (choose_cold(&b, checkpoint, out))
			return true;
	}
	return false;
}

bool seen_merge_choose(const struct seen_set *set, uint32_t files_max, uint32_t checkpoint,
		       struct seen_choice *out)
{
	struct seen_run **runs;
	uint32_t count = 0;
	bool found;

	if (set->count < 2)
		return false;
	runs = mem_zalloc(set->count, sizeof(struct seen_run *));
	if (!runs)
		return false; /* another time */
	for (uint32_t i = 0; i < set->count; i++) {
		if (!set->runs[i]->damaged)
			runs[count++] = set->runs[i];
	}
	qsort(runs, count, sizeof(struct seen_run *), by_bucket_and_size);
	found = choose_among(runs, count, files_max, checkpoint, out);
	mem_free(runs);
	return found;
}

/* ---- merging ---- */

struct input {
	struct seen_cursor cursor;
	struct seen_entry entry;
	bool has_entry;
};

struct seen_merge {
	struct seen_choice choice;
	struct seen_writer *writer;
	struct seen_range *ranges; /* SEEN_RANGES_MAX, made when first needed */
	struct input inputs[SEEN_MERGE_RUNS_MAX];
};

static int advance(struct input *in, struct fault *fault)
{
	int got = seen_cursor_next(&in->cursor, &in->entry, fault);

	in->has_entry = got > 0;
	if (got == ERR_CORRUPT || got == ERR_IO)
		in->cursor.run->damaged = true; /* or the same merge would fail for ever */
	return got < 0 ? got : 0;
}

const struct seen_choice *seen_merge_choice(const struct seen_merge *m)
{
	return &m->choice;
}

void seen_merge_abort(struct seen_merge *m)
{
	if (!m)
		return;
	seen_writer_abort(m->writer);
	for (uint32_t i = 0; i < m->choice.count; i++) {
		seen_cursor_fini(&m->inputs[i].cursor);
		seen_run_unref(m->choice.runs[i]);
	}
	mem_free(m->ranges);
	mem_free(m);
}

static int start_inputs(struct seen_merge *m, struct fault *fault)
{
	int err = 0;

	for (uint32_t i = 0; i < m->choice.count && !err; i++) {
		struct input *in = &m->inputs[i];

		err = seen_cursor_init(&in->cursor, m->choice.runs[i]);
		if (!err)
			err = advance(in, fault);
	}
	return err;
}

int seen_merge_start(const struct seen_choice *choice, struct seen_writer_options *options,
		     struct seen_merge **out, struct fault *fault)
{
	struct seen_merge *m = mem_zalloc(1, sizeof(*m));
	int err;

	if (!m)
		return fault_set(fault, ERR_NOMEM, "no memory to merge runs of seen");
	m->choice = *choice;
	options->keys_max = 0;
	for (uint32_t i = 0; i < choice->count; i++) {
		(void)seen_run_ref(choice->runs[i]);
		options->keys_max += choice->runs[i]->keys;
	}
	err = start_inputs(m, fault);
	if (!err)
		err = seen_writer_open(options, &m->writer, fault);
	if (err) {
		seen_merge_abort(m);
		return err;
	}
	*out = m;
	return 0;
}

/* The input whose entry comes next: the least fingerprint, of equal ones the latest to expire. */
static struct input *least(struct seen_merge *m)
{
	struct input *best = NULL;

	for (uint32_t i = 0; i < m->choice.count; i++) {
		struct input *in = &m->inputs[i];
		int order;

		if (!in->has_entry)
			continue;
		order = best ? seen_fingerprint_cmp(in->entry.key.fingerprint, best->entry.key.fingerprint) :
			       -1;
		if (order < 0 || (order == 0 && in->entry.key.expires_ms > best->entry.key.expires_ms))
			best = in;
	}
	return best;
}

static int copy_entry(struct seen_merge *m, struct input *in, struct fault *fault)
{
	const struct seen_entry *e = &in->entry;
	int err;

	if (e->is_inline)
		return seen_writer_add(m->writer, &e->key, &e->range, 1, fault);
	if (!m->ranges)
		m->ranges = mem_zalloc(SEEN_RANGES_MAX, sizeof(*m->ranges));
	if (!m->ranges)
		return fault_set(fault, ERR_NOMEM, "no memory to merge runs of seen");
	err = seen_run_ranges(in->cursor.run, e, true, m->ranges, SEEN_RANGES_MAX, fault);
	if (err == ERR_CORRUPT || err == ERR_IO)
		in->cursor.run->damaged = true;
	return err ? err : seen_writer_add(m->writer, &e->key, m->ranges, e->range_count, fault);
}

static int skip(struct seen_merge *m, struct hash128 fingerprint, struct fault *fault)
{
	int err = 0;

	for (uint32_t i = 0; i < m->choice.count && !err; i++) {
		struct input *in = &m->inputs[i];

		if (!in->has_entry || seen_fingerprint_cmp(in->entry.key.fingerprint, fingerprint) != 0)
			continue;
		err = advance(in, fault);
		/* A file can be made that does not ascend; the writer holds that none does. */
		if (!err && in->has_entry &&
		    seen_fingerprint_cmp(in->entry.key.fingerprint, fingerprint) <= 0) {
			in->cursor.run->damaged = true;
			err = fault_set(fault, ERR_CORRUPT, "%s: entries are not in order",
					in->cursor.run->path);
		}
	}
	return err;
}

int seen_merge_step(struct seen_merge *m, uint32_t entries, struct fault *fault)
{
	for (uint32_t i = 0; i < entries; i++) {
		struct input *in = least(m);
		struct hash128 fingerprint;
		int err;

		if (!in)
			return 0;
		fingerprint = in->entry.key.fingerprint;
		err = copy_entry(m, in, fault);
		if (!err)
			err = skip(m, fingerprint, fault);
		if (err)
			return err;
	}
	return 1;
}

int seen_merge_finish(struct seen_merge *m, struct seen_run **out, struct fault *fault)
{
	uint32_t checkpoint = 0;
	int err = seen_writer_finish(m->writer, out, fault);

	m->writer = NULL;
	for (uint32_t i = 0; i < m->choice.count; i++) {
		if (m->choice.runs[i]->checkpoint > checkpoint)
			checkpoint = m->choice.runs[i]->checkpoint;
	}
	if (!err)
		(*out)->checkpoint = checkpoint;
	seen_merge_abort(m);
	return err;
}
