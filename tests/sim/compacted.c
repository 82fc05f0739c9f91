/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What compaction may take: a record that a later one of its key has replaced, and a
 * tombstone. So of each key the last record that is known of is there, or it was a
 * tombstone, and then nothing of the key may be left before it: an old value that is
 * there again would be taken for the present one. Nothing can be said of a key behind which a
 * record has gone that nobody was told of: it may have been its tombstone.
 */
#include <inttypes.h>

#include "base/check.h"
#include "machine.h"
#include "model.h"

struct key {
	char text[16];
	int64_t last; /* the highest offset where it is known to have stood */
	bool there;   /* and could be read there */
	bool tombstone;
	int64_t present; /* the highest offset where it could be read, -1: nowhere */
};

static struct key *find_key(struct key *keys, const char *text)
{
	for (uint32_t i = 0; i < MODEL_KEYS; i++) {
		if (keys[i].text[0] == '\0') {
			(void)memcpy(keys[i].text, text, sizeof(keys[i].text));
			keys[i].last = keys[i].present = -1;
		}
		if (strcmp(keys[i].text, text) == 0)
			return &keys[i];
	}
	model_fail("there are more keys than were ever sent");
}

static bool may_have_been_a_tombstone(const struct model *m, const struct model_place *at)
{
	return at->scan != m->scan &&
	       (!at->request || (at->index == UINT16_MAX && m->requests[at->request].tombstones));
}

static void note_place(struct model *m, const struct model_place *at, int64_t offset, struct key *keys)
{
	const struct model_request *r = &m->requests[at->request];
	bool there = at->scan == m->scan;
	char text[16] = "";
	struct key *key;

	/* Which of its records stood there was never told where it was not read. */
	if (!at->request || (at->index == UINT16_MAX && (r->own_keys || r->tombstones)))
		return;
	(void)model_key_at(r, at->index == UINT16_MAX ? 0 : at->index, text);
	key = find_key(keys, text);
	key->last = offset;
	key->there = there;
	key->tombstone = at->index != UINT16_MAX && model_is_tombstone(r, at->index);
	if (there)
		key->present = offset;
}

static void check_order(const struct model *m, const struct model_topic *t, uint32_t part,
			const struct model_place *at, const struct model_place **last)
{
	const struct model_request *r = &m->requests[at->request];

	if (at->scan != m->scan || r->loose)
		return;
	if (*last && (at->request < (*last)->request ||
		      (at->request == (*last)->request && at->index <= (*last)->index)))
		model_fail("record %u of request %u stands behind record %u of request %u in %s/%u",
			   at->index, at->request, (*last)->index, (*last)->request, t->name, part);
	*last = at;
}

void model_scan_compacted(struct model *m, uint32_t topic, uint32_t part, int64_t start, int64_t end)
{
	const struct model_topic *t = &m->topics[topic];
	const struct model_part *p = &t->part[part];
	const struct model_place *last = NULL;
	struct key keys[MODEL_KEYS] = {0};
	int64_t unsure = p->cap < end ? end : -1; /* the last offset that may have been any key's tombstone */

	for (int64_t offset = start; offset < end && offset < p->cap; offset++) {
		if (may_have_been_a_tombstone(m, &p->at[offset]) && unsure < offset)
			unsure = offset;
		note_place(m, &p->at[offset], offset, keys);
		check_order(m, t, part, &p->at[offset], &last);
	}
	for (uint32_t i = 0; i < MODEL_KEYS && keys[i].text[0]; i++) {
		const struct key *k = &keys[i];
		if (k->last < 0 || k->there || p->at[k->last].rotten || p->at[k->last].hidden == m->scan)
			continue;
		if (!k->tombstone && k->last > unsure)
			model_fail("the last record of key %s, at offset %" PRId64 " of %s/%u, is gone",
				   k->text, k->last, t->name, part);
		if (k->tombstone && k->present >= 0)
			model_fail("key %s was deleted at offset %" PRId64 " of %s/%u, and %" PRId64
				   " is there again",
				   k->text, k->last, t->name, part, k->present);
	}
}

int model_walk_start(struct model_walk *w, struct slice batch)
{
	struct batch_head head;
	struct slice plain = batch;
	int rc = batch_head_read(batch, &head);

	machine_spare(true);
	*w = (struct model_walk){0};
	buf_init(&w->plain, BATCH_PLAIN_BYTES_MAX);
	if (rc == 0 && batch_codec(&head) != BATCH_PLAIN)
		rc = codec_new(&w->codec);
	if (rc == 0 && w->codec)
		rc = batch_inflate(w->codec, batch, &w->plain, &plain);
	machine_spare(false);
	return rc ? rc : batch_walk_start(&w->walk, plain);
}

void model_walk_end(struct model_walk *w)
{
	codec_free(w->codec);
	buf_fini(&w->plain);
}
