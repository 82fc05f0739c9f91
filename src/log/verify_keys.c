/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Idempotency keys out of the records that carry them, for a run that is damaged.
 * The fingerprints are uniform, so the records are gone through once to count
 * and then once for each slice of the fingerprints that fits the memory: each slice
 * is sorted and written behind the one before.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "log/seen_inner.h"
#include "log/verify_inner.h"

#define SLICE_KEYS (1u << 20)
#define DAY_MS 86400000ll

struct gather {
	struct verify *v;
	const struct verify_runs *runs;
	struct seen seen; /* its secret alone */
	int64_t now_ms, end_ms;
	uint64_t low, high; /* of the fingerprints: [low, high] */
	uint64_t count;     /* in the slice, or of all */
	int64_t latest;
	struct verify_key *keys; /* NULL: count alone */
	uint64_t cap;
};

static bool is_known(struct gather *g, struct hash128 fingerprint)
{
	struct seen_entry entry;
	struct fault fault;

	for (uint32_t i = 0; i < g->runs->count; i++) {
		struct seen_run *r = g->runs->list[i];
		if (seen_filter_test(seen_filter_block(r->filter.bits, r->filter.blocks, fingerprint),
				     fingerprint) &&
		    seen_run_find(r, fingerprint, true, &entry, &fault) == 1)
			return true;
	}
	return false;
}

/* The last header of that name is the one that weir put. */
static struct slice key_of(const struct batch_record *r)
{
	struct slice rest = r->headers, name, value, key = slice_null();

	while (batch_header_next(&rest, &name, &value) == 1)
		if (slice_eq_str(name, "idempotency-key"))
			key = value;
	return key;
}

static void take_record(struct gather *g, const struct verify_partition *p, int64_t life_ms,
			const struct batch_record *r)
{
	struct slice key = key_of(r);
	struct hash128 fingerprint;
	int64_t expires;

	if (!key.ptr || __builtin_add_overflow(r->timestamp, life_ms, &expires) || expires <= g->now_ms)
		return;
	fingerprint = seen_fingerprint(&g->seen, slice_make(p->topic.bytes, sizeof(p->topic.bytes)), key);
	if (fingerprint.hi < g->low || fingerprint.hi > g->high)
		return;
	if (g->end_ms && expires > g->end_ms)
		expires = g->end_ms;
	if (expires > g->latest)
		g->latest = expires;
	if (g->keys && g->count < g->cap && !is_known(g, fingerprint))
		g->keys[g->count++] = (struct verify_key){.fingerprint = fingerprint,
							  .expires_ms = expires,
							  .offset = r->offset,
							  .partition = p->number};
	else if (!g->keys)
		g->count++;
}

static int gather_segment(void *ctx, const struct checkpoint_segment *s)
{
	struct gather *g = ctx;
	struct verify *v = g->v;
	const struct verify_known *k = &v->known[v->now];
	int64_t life = v->options->state->key_life_ms(v->options->state->ctx, &k->public.topic);
	struct verify_window w = {.end = s->bytes};
	char path[VERIFY_PATH_BYTES];
	struct batch_head head;
	struct slice batch;

	if (k->internal || s->last_append_ms + life <= g->now_ms)
		return 0;
	verify_segment_path(v, &k->public.topic, k->public.number, s->base, s->revision, path);
	w.fd = v->sys->ops->open(v->sys->self, path, SYS_READ);
	if (w.fd < 0)
		return 0;
	for (uint64_t at = 0; at < w.end && verify_batch(v, &w, at, &head, &batch) == 0; at += head.bytes) {
		struct batch_walk walk;
		struct batch_record r;
		struct slice plain;
		if (verify_plain(v, batch, &plain) || batch_walk_start(&walk, plain))
			continue;
		while (batch_walk_next(&walk, &r) == 1)
			take_record(g, &k->public, life, &r);
	}
	v->sys->ops->close(v->sys->self, w.fd);
	return 0;
}

static int gather_partition(void *ctx, const struct checkpoint_partition *p)
{
	struct gather *g = ctx;
	struct verify_known *k = verify_find(g->v, &p->topic, p->number, false);

	g->v->now = (uint32_t)(k - g->v->known);
	return 0;
}

static int go_through(struct gather *g)
{
	struct checkpoint_sink sink = {.partition = gather_partition, .segment = gather_segment, .ctx = g};
	uint64_t number, sequence;

	g->count = 0;
	return checkpoint_walk(buf_slice(&g->v->checkpoint), &number, &sequence, &sink) ?
		       verify_failed(g->v, "read keys out of", g->v->topics_dir, -EIO) :
		       0;
}

static int by_key(const void *a, const void *b)
{
	const struct verify_key *x = a, *y = b;
	int order = seen_fingerprint_cmp(x->fingerprint, y->fingerprint);

	if (order)
		return order;
	if (x->partition != y->partition)
		return x->partition < y->partition ? -1 : 1;
	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

/* Records of one key: a range where their offsets are in a row. */
static uint32_t to_ranges(const struct verify_key *keys, uint64_t count, struct seen_range *ranges,
			  int64_t *expires)
{
	uint32_t n = 0;

	*expires = 0;
	for (uint64_t i = 0; i < count; i++) {
		struct seen_range *last = n ? &ranges[n - 1] : NULL;
		if (keys[i].expires_ms > *expires)
			*expires = keys[i].expires_ms;
		if (last && last->partition == keys[i].partition &&
		    last->first + last->count == keys[i].offset)
			last->count++;
		else if (n < SEEN_RANGES_MAX)
			ranges[n++] = (struct seen_range){keys[i].offset, keys[i].partition, 1};
	}
	return n;
}

static int write_slice(struct gather *g, struct seen_writer *w, struct seen_range *ranges, uint64_t *written)
{
	int rc = 0;

	if (g->count > 1)
		qsort(g->keys, g->count, sizeof(*g->keys), by_key);
	for (uint64_t i = 0, to; i < g->count && rc == 0; i = to) {
		struct seen_key key = {.fingerprint = g->keys[i].fingerprint};
		uint32_t n;
		for (to = i + 1;
		     to < g->count && seen_fingerprint_cmp(g->keys[to].fingerprint, key.fingerprint) == 0;)
			to++;
		n = to_ranges(g->keys + i, to - i, ranges, &key.expires_ms);
		rc = seen_writer_add(w, &key, ranges, n, g->v->fault);
		(*written)++;
	}
	return rc;
}

static int write_slices(struct gather *g, struct seen_writer *w, uint64_t slices, uint64_t *written)
{
	struct seen_range *ranges = mem_alloc(SEEN_RANGES_MAX * sizeof(*ranges));
	int rc = 0;

	g->cap = SLICE_KEYS * 2; /* the slices are of nearly the same size */
	g->keys = mem_alloc(g->cap * sizeof(*g->keys));
	if (!ranges || !g->keys)
		rc = fault_set(g->v->fault, ERR_NOMEM, "no memory to make keys anew");
	for (uint64_t i = 0; i < slices && rc == 0; i++) {
		uint64_t width = slices == 1 ? UINT64_MAX : UINT64_MAX / slices;
		g->low = i * width;
		g->high = i + 1 == slices ? UINT64_MAX : g->low + width - 1;
		rc = go_through(g);
		if (rc == 0)
			rc = write_slice(g, w, ranges, written);
	}
	mem_free(g->keys);
	mem_free(ranges);
	g->keys = NULL;
	return rc;
}

static int write_run(struct gather *g, uint64_t number, uint64_t count)
{
	struct verify *v = g->v;
	struct seen_yard yard = {.dead = NULL};
	char folder[VERIFY_PATH_BYTES], path[VERIFY_PATH_BYTES + 40];
	struct seen_writer_options o = {.sys = v->sys,
					.yard = &yard,
					.folder = folder,
					.path = path,
					.end_ms = g->end_ms,
					.number = number,
					.keys_max = count};
	struct seen_writer *w;
	struct seen_run *run;
	uint64_t written = 0;
	int rc;

	(void)snprintf(folder, sizeof(folder), "%.600s/seen/%lld", v->options->dir, (long long)g->end_ms);
	rc = v->sys->ops->mkdir(v->sys->self, folder);
	if (rc == 0) {
		(void)snprintf(path, sizeof(path), "%.600s/seen", v->options->dir);
		rc = v->sys->ops->sync_dir(v->sys->self, path);
	}
	(void)snprintf(path, sizeof(path), "%s/%llu.run", folder, (unsigned long long)number);
	if (rc)
		return verify_failed(v, "make", folder, rc);
	rc = seen_writer_open(&o, &w, v->fault);
	if (rc)
		return rc;
	rc = write_slices(g, w, count / SLICE_KEYS + 1, &written);
	if (rc || written == 0) {
		seen_writer_abort(w);
		return rc;
	}
	(void)pthread_mutex_init(&yard.lock, NULL);
	rc = seen_writer_finish(w, &run, v->fault);
	if (rc == 0)
		seen_run_unref(run);
	while (seen_yard_step(&yard))
		;
	(void)pthread_mutex_destroy(&yard.lock);
	return rc;
}

int verify_write_keys(struct verify *v, const struct verify_runs *runs, int64_t end_ms, uint64_t number)
{
	struct gather g = {.v = v,
			   .runs = runs,
			   .seen = {.fingerprint_key = runs->secret},
			   .now_ms = sys_wall_ms(v->sys),
			   .end_ms = end_ms,
			   .high = UINT64_MAX};
	int rc;

	if (!v->has_checkpoint || !v->options->state || (end_ms && end_ms <= g.now_ms))
		return 0;
	rc = go_through(&g);
	if (rc || g.count == 0)
		return rc;
	if (end_ms == 0)
		g.end_ms = (g.latest / DAY_MS + 1) * DAY_MS;
	return write_run(&g, number, g.count);
}
