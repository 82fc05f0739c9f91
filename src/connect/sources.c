/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which sources there are. A source of the configuration is an entry, for as long as weir runs; what is at work for it comes and goes
 * (sources_entry.c), and there is never more than one.
 *
 * The list and the pointer to the runner are under `lock`, so that anybody may look; a runner is made and freed on its loop.
 */
#include "connect/sources_inner.h"

#include <stdio.h>

#include "base/check.h"
#include "base/hash.h"
#include "base/mem.h"
#include "connect/made.h"
#include "obs/say.h"

int sources_new(struct state *state, struct sources **out)
{
	struct sources *s = mem_zalloc(1, sizeof(*s));
	int rc = s ? table_init(&s->names) : ERR_NOMEM;

	if (rc == 0)
		rc = source_rows_new(state, &s->rows);
	if (rc) {
		if (s)
			table_fini(&s->names);
		mem_free(s);
		return rc;
	}
	s->state = state;
	(void)pthread_mutex_init(&s->lock, NULL);
	*out = s;
	return 0;
}

void sources_free(struct sources *s)
{
	struct entry *next;

	if (!s)
		return;
	for (struct entry *e = s->first; e; e = next) {
		next = e->next;
		conf_source_unref(e->conf);
		conf_source_unref(e->file);
		conf_source_unref(e->made);
		runner_free(e->runner);
		runs_free(e->runs);
		mem_free(e);
	}
	for (uint32_t i = 0; i < s->home_count; i++)
		runner_boxes_free(s->homes[i].boxes);
	table_fini(&s->names);
	source_rows_free(s->rows);
	(void)pthread_mutex_destroy(&s->lock);
	mem_free(s);
}

int sources_begin(struct sources *s, const struct runner_shared *shared, const struct runner_loop *home,
		  uint32_t loops)
{
	CHECK(loops > 0 && loops <= LOOPS_MAX);
	s->shared = *shared;
	s->shared.state = s->state;
	s->shared.rows = s->rows;
	memcpy(s->homes, home, loops * sizeof(*home));
	s->home_count = loops;
	for (uint32_t i = 0; i < loops; i++) {
		s->homes[i].boxes = runner_boxes_new();
		if (!s->homes[i].boxes)
			return ERR_NOMEM;
	}
	return 0;
}

/* ---- entries ---- */

/* Names come from the configuration and from users who may make sources. */
static uint64_t hash_of(struct slice name)
{
	static const struct hash_key key = {.k0 = 0x736f75726365, .k1 = 0x6e616d65};

	return hash_sip13(&key, name);
}

struct entry *entry_find(struct sources *s, struct slice name)
{
	struct table_node *node = table_first(&s->names, hash_of(name));

	for (; node; node = table_next(node)) {
		struct entry *e = (struct entry *)(void *)((uint8_t *)node - offsetof(struct entry, named));
		if (slice_eq_str(name, e->name))
			return e;
	}
	return NULL;
}

/* Merges two lists that are in order of their names. */
static struct entry *merge(struct entry *a, struct entry *b)
{
	struct entry *first = NULL, **end = &first;

	while (a && b) {
		struct entry **from = strcmp(a->name, b->name) <= 0 ? &a : &b;
		*end = *from;
		end = &(*from)->next;
		*from = *end;
	}
	*end = a ? a : b;
	return first;
}

/* In runs of 1, 2, 4 …: one list is there for each bit of the number that was taken. */
static struct entry *in_order(struct entry *list)
{
	struct entry *runs[32] = {NULL}, *next, *sorted = NULL;
	uint32_t i;

	for (; list; list = next) {
		struct entry *run = list;
		next = list->next;
		run->next = NULL;
		for (i = 0; runs[i]; i++) {
			run = merge(runs[i], run);
			runs[i] = NULL;
		}
		runs[i] = run;
	}
	for (i = 0; i < 32; i++)
		sorted = merge(runs[i], sorted);
	return sorted;
}

/* At the front: who has added all puts them in_order. */
static struct entry *add_unordered(struct sources *s, const char *name)
{
	static const struct hash_key key = {.k0 = 0x736f75726365, .k1 = 0x6c6f6f70};
	size_t n = strlen(name) + 1;
	struct entry *e = mem_zalloc(1, sizeof(*e) + n);

	if (!e)
		return NULL;
	memcpy(e->name, name, n);
	e->sources = s;
	e->home = &s->homes[hash_sip13(&key, slice_str(name)) % s->home_count];
	e->runs = runs_new(&s->shared, e->home, e->name);
	if (!e->runs) {
		mem_free(e);
		return NULL;
	}
	entry_init(e);
	table_add(&s->names, &e->named, hash_of(slice_str(name)));
	e->next = s->first;
	s->first = e;
	return e;
}

struct entry *entry_add(struct sources *s, const char *name)
{
	struct entry *e = add_unordered(s, name);

	s->first = in_order(s->first);
	return e;
}

/* ---- the configuration ---- */

/* Under the lock. What the file names belongs to the file; what was made over the API waits behind it. */
static void set_conf(struct entry *e)
{
	struct conf_source *before = e->conf, *source = e->file ? e->file : e->made;

	if (before == source || (before && source && conf_source_same(before, source)))
		return;
	e->conf = source ? conf_source_ref(source) : NULL;
	conf_source_unref(before);
	entry_apply(e);
}

struct loading {
	struct sources *sources;
	int err;
};

/* A run's row has the name SOURCE/NUMBER. */
static int load_run(void *ctx, struct slice key, struct slice value)
{
	struct loading *l = ctx;
	struct source_row_key name;
	struct entry *e;
	size_t n;

	if (source_row_read_key(key, &name))
		return 0;
	for (n = name.source.len; n > 0 && name.source.ptr[n - 1] != '/';)
		n--;
	e = n ? entry_find(l->sources, slice_make(name.source.ptr, n - 1)) : NULL;
	if (e)
		l->err = runs_load(e->runs, slice_from(name.source, n), value);
	return l->err;
}

/* Of sources that are new here. Under the lock. */
static int load_runs(struct sources *s)
{
	struct loading l = {.sources = s};

	log_enter_begin(s->shared.log);
	(void)source_rows_each(s->rows, SLICE_LIT("r"), load_run, &l);
	log_enter_end(s->shared.log);
	return l.err;
}

static void swap(struct conf_source **at, struct conf_source *source)
{
	struct conf_source *before = *at;

	*at = source ? conf_source_ref(source) : NULL;
	conf_source_unref(before);
}

/* What was made over the API in an earlier life. What this weir cannot read stays as a row, and is told. */
static int load_made(void *ctx, struct slice name, struct slice text)
{
	struct loading *l = ctx;
	struct conf_source *conf = NULL;
	struct entry *e;
	struct buf why;
	char key[256];

	snprintf(key, sizeof(key), "%.*s", (int)name.len, (const char *)name.ptr);
	buf_init(&why, 65536);
	l->err = l->sources->shared.kinds ? made_read(l->sources->shared.kinds, key, text, &conf, &why) :
					    ERR_BAD_CONFIG;
	if (l->err == ERR_BAD_CONFIG) {
		say(SAY_ERROR, "source_unreadable", "%.*s source=%s", (int)why.len, (const char *)why.ptr,
		    key);
		l->err = 0;
	}
	buf_fini(&why);
	if (!conf)
		return l->err;
	e = entry_find(l->sources, name);
	if (!e)
		e = add_unordered(l->sources, key);
	if (!e)
		l->err = ERR_NOMEM;
	else
		swap(&e->made, conf);
	conf_source_unref(conf);
	return l->err;
}

static int add_all(struct sources *s, struct conf_source *const *list, uint32_t count)
{
	struct loading l = {.sources = s};
	bool added = false;

	if (!s->loaded) {
		(void)made_each(&s->shared, load_made, &l);
		added = s->loaded = true;
	}
	for (uint32_t i = 0; i < count; i++) {
		struct entry *e = entry_find(s, slice_str(list[i]->name));
		added = added || !e;
		if (!e)
			e = add_unordered(s, list[i]->name);
		if (e)
			e->listed = list[i];
		else
			l.err = ERR_NOMEM;
	}
	s->first = in_order(s->first);
	return l.err == 0 && added ? load_runs(s) : l.err;
}

int sources_apply(struct sources *s, struct conf_source *const *list, uint32_t count)
{
	int rc;

	sources_lock(s);
	rc = add_all(s, list, count);
	for (struct entry *e = s->first; e; e = e->next) {
		struct conf_source *file = e->listed;
		e->listed = NULL;
		if (file && !e->file && e->made)
			say(SAY_WARNING, "source_shadowed",
			    "the configuration file names a source that was made over the API: the file's counts source=%s",
			    e->name);
		swap(&e->file, file);
		set_conf(e);
	}
	sources_unlock(s);
	return rc;
}

void entry_set_made(struct entry *e, struct conf_source *made)
{
	sources_lock(e->sources);
	swap(&e->made, made);
	set_conf(e);
	sources_unlock(e->sources);
}

void sources_stop(struct sources *s)
{
	sources_lock(s);
	s->closing = true;
	for (struct entry *e = s->first; e; e = e->next)
		entry_apply(e);
	sources_unlock(s);
}

bool sources_stopped(struct sources *s)
{
	bool all = true;

	sources_lock(s);
	for (struct entry *e = s->first; e; e = e->next)
		all = all && e->closed && !atomic_load(&e->applying) && !runs_busy(e->runs);
	sources_unlock(s);
	return all;
}
