/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The walk over a data directory; what is looked at, in which order and why, and
 * what a repair does, is in docs/internals/verify.md. Nothing here shares code with
 * reading for clients but the codecs, and the runs of keys: what checks should
 * not be what it checks. Bytes behind the length that the checkpoint recorded are
 * no part of the data: a start cuts them off, and the journal has them.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "base/wire.h"
#include "log/backup.h"
#include "log/verify_inner.h"

#define WINDOW_BYTES (512u << 10)
#define TELL_BYTES (64u << 20)

/* ---- telling ---- */

void verify_tell(struct verify *v, const char *file, uint64_t position, bool harmless, int64_t from,
		 int64_t to, const char *mend, const char *format, ...)
{
	struct verify_fault f = {.file = file,
				 .position = position,
				 .harmless = harmless,
				 .offset_from = from,
				 .offset_to = to,
				 .mend = mend};
	char text[400];
	va_list args;

	va_start(args, format);
	(void)vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	f.text = text;
	if (harmless)
		v->out->harmless++;
	else
		v->out->faults++;
	v->options->on_fault(v->options->ctx, &f);
}

void verify_progress(struct verify *v, uint64_t bytes)
{
	v->done += bytes;
	if (!v->options->on_progress || v->done - v->told_at < TELL_BYTES)
		return;
	v->told_at = v->done;
	v->options->on_progress(v->options->ctx, v->done < v->total ? v->done : v->total, v->total);
}

/* ---- reading ---- */

int verify_begin_file(struct verify *v, const char *path, uint64_t *bytes)
{
	struct sys_stat st;
	int rc = v->sys->ops->stat(v->sys->self, path, &st);

	*bytes = 0;
	if (rc)
		return rc;
	*bytes = st.bytes;
	v->out->files++;
	v->out->bytes += st.bytes;
	if (v->options->on_file)
		v->options->on_file(v->options->ctx, path, st.bytes);
	return v->sys->ops->open(v->sys->self, path, SYS_READ);
}

static int grow_window(struct verify *v, size_t n)
{
	uint8_t *grown;

	if (n <= v->cap)
		return 0;
	grown = mem_realloc(v->bytes, n);
	if (!grown)
		return -ENOMEM;
	v->bytes = grown;
	v->cap = n;
	return 0;
}

/* What of the window stands at `at` or behind is kept, and filled up. */
static int move_window(struct verify *v, struct verify_window *w, uint64_t at)
{
	size_t kept = at >= w->at && at < w->at + w->len ? (size_t)(w->at + w->len - at) : 0;
	uint64_t left = w->end - at - kept;
	int64_t got;

	if (kept)
		memmove(v->bytes, v->bytes + (at - w->at), kept);
	got = v->sys->ops->pread(v->sys->self, w->fd, v->bytes + kept,
				 left < v->cap - kept ? (size_t)left : v->cap - kept, at + kept);
	w->at = at;
	w->len = kept;
	if (got < 0)
		return (int)got;
	w->len += (size_t)got;
	verify_progress(v, (uint64_t)got);
	return 0;
}

int verify_see(struct verify *v, struct verify_window *w, uint64_t at, size_t n, struct slice *out)
{
	int rc = grow_window(v, n);

	*out = slice_make(v->bytes, 0);
	if (rc || at >= w->end)
		return rc;
	if (n > w->end - at)
		n = (size_t)(w->end - at);
	if (at < w->at || at + n > w->at + w->len) {
		rc = move_window(v, w, at);
		if (rc)
			return rc;
	}
	if (n > w->at + w->len - at)
		n = (size_t)(w->at + w->len - at);
	*out = slice_make(v->bytes + (at - w->at), n);
	return 0;
}

static int add_name(void *ctx, const char *name)
{
	struct verify_names *n = ctx;

	if (n->count == n->cap) {
		uint32_t cap = n->cap ? n->cap * 2 : 32;
		char **grown = mem_realloc(n->list, cap * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		n->list = grown;
		n->cap = cap;
	}
	n->list[n->count] = mem_strndup(name, strlen(name));
	return n->list[n->count++] ? 0 : -ENOMEM;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

int verify_list(struct verify *v, const char *dir, struct verify_names *out)
{
	int rc;

	*out = (struct verify_names){0};
	rc = v->sys->ops->list(v->sys->self, dir, add_name, out);
	if (rc == 0 && out->count > 1)
		qsort(out->list, out->count, sizeof(*out->list), by_name);
	return rc;
}

void verify_names_free(struct verify_names *n)
{
	for (uint32_t i = 0; i < n->count; i++)
		mem_free(n->list[i]);
	mem_free(n->list);
	*n = (struct verify_names){0};
}

int verify_plain(struct verify *v, struct slice batch, struct slice *plain)
{
	struct batch_head head;
	int rc = batch_head_read(batch, &head);

	*plain = batch;
	if (rc || batch_codec(&head) == BATCH_PLAIN)
		return rc;
	if (!v->codec)
		rc = codec_new(&v->codec);
	return rc ? rc : batch_inflate(v->codec, batch, &v->plain, plain);
}

/* ---- partitions ---- */

static uint32_t slot_of(const struct verify *v, const struct topic_id *topic, uint32_t number)
{
	uint64_t mixed = wire_load_u64(topic->bytes) ^ wire_load_u64(topic->bytes + 8) * 0x9e3779b97f4a7c15u;

	mixed = (mixed ^ number) * 0x9e3779b97f4a7c15u;
	return (uint32_t)(mixed >> 32) & (v->slot_count - 1);
}

static int grow_known(struct verify *v)
{
	uint32_t cap = v->known_cap ? v->known_cap * 2 : 64;
	struct verify_known *grown = mem_realloc(v->known, cap * sizeof(*grown));
	uint32_t *slots;

	if (!grown)
		return ERR_NOMEM;
	v->known = grown;
	slots = mem_zalloc((size_t)cap * 2, sizeof(*slots));
	if (!slots)
		return ERR_NOMEM;
	mem_free(v->slots);
	v->slots = slots;
	v->known_cap = cap;
	v->slot_count = cap * 2;
	for (uint32_t i = 0; i < v->known_count; i++) {
		uint32_t at = slot_of(v, &v->known[i].public.topic, v->known[i].public.number);
		while (v->slots[at])
			at = (at + 1) & (v->slot_count - 1);
		v->slots[at] = i + 1;
	}
	return 0;
}

struct verify_known *verify_find(struct verify *v, const struct topic_id *topic, uint32_t number, bool make)
{
	static const struct topic_id internal = {{0}};
	struct verify_known *k;
	uint32_t at;

	if (v->known_count == v->known_cap && grow_known(v))
		return NULL;
	for (at = slot_of(v, topic, number); v->slots[at]; at = (at + 1) & (v->slot_count - 1)) {
		k = &v->known[v->slots[at] - 1];
		if (k->public.number == number && topic_id_eq(&k->public.topic, topic))
			return k;
	}
	if (!make)
		return NULL;
	k = &v->known[v->known_count++];
	*k = (struct verify_known){.public = {.topic = *topic, .number = number},
				   .internal = topic_id_eq(topic, &internal)};
	v->slots[at] = v->known_count;
	return k;
}

void verify_segment_path(const struct verify *v, const struct topic_id *topic, uint32_t number, int64_t base,
			 uint32_t revision, char *path)
{
	char id[37], name[SEGMENT_NAME_BYTES];

	topic_id_text(topic, id);
	segment_file_name(base, revision, SEGMENT_LOG, name);
	(void)snprintf(path, VERIFY_PATH_BYTES, "%s/%s/%u/%s", v->topics_dir, id, number, name);
}

void verify_rows(struct verify *v, const char *path, uint64_t at, struct slice batch, int64_t from)
{
	const struct verify_state *state = v->options->state;
	struct batch_walk walk;
	struct batch_record r;

	if (!state || batch_walk_start(&walk, batch))
		return;
	while (batch_walk_next(&walk, &r) == 1) {
		const char *wrong = r.offset < from ? NULL : state->row(state->ctx, r.key, r.value);
		if (wrong)
			verify_tell(v, path, at, false, r.offset, r.offset + 1, NULL, "a row of state: %s",
				    wrong);
	}
}

static int begin_partition(void *ctx, const struct checkpoint_partition *p)
{
	struct verify *v = ctx;
	struct verify_known *k = verify_find(v, &p->topic, p->number, true);

	if (!k)
		return fault_set(v->fault, ERR_NOMEM, "no memory for a partition");
	k->public.in_checkpoint = true;
	k->public.start = p->start;
	k->public.end = p->next_offset;
	k->beyond = p->next_offset;
	k->next_behind = p->behind;
	v->now = (uint32_t)(k - v->known);
	v->expected = -1;
	if (p->start > p->next_offset || p->start < 0) {
		char path[VERIFY_PATH_BYTES];
		verify_segment_path(v, &p->topic, p->number, 0, 0, path);
		verify_tell(v, path, 0, false, 0, 0, NULL,
			    "the checkpoint says it begins at %lld and ends at %lld", (long long)p->start,
			    (long long)p->next_offset);
	}
	return 0;
}

static int each_segment(void *ctx, const struct checkpoint_segment *s)
{
	struct verify *v = ctx;
	struct verify_known *k = &v->known[v->now];
	int rc = verify_segment(v, s);

	if (rc == 0 && s->last && s->next_offset != k->public.end) {
		char path[VERIFY_PATH_BYTES];
		verify_segment_path(v, &k->public.topic, k->public.number, s->base, s->revision, path);
		verify_tell(v, path, s->bytes, false, s->next_offset, k->public.end, NULL,
			    "ends at offset %lld, the checkpoint says that its partition ends at %lld",
			    (long long)s->next_offset, (long long)k->public.end);
	}
	return rc;
}

/* ---- the checkpoint ---- */

static int sum_partition(void *ctx, const struct checkpoint_partition *p)
{
	(void)ctx;
	(void)p;
	return 0;
}

static int sum_segment(void *ctx, const struct checkpoint_segment *s)
{
	struct verify *v = ctx;

	v->total += s->bytes;
	return 0;
}

static void copy_path(const struct verify *v, char which, char *path)
{
	(void)snprintf(path, VERIFY_PATH_BYTES, "%s/CHECKPOINT.%c", v->options->dir, which);
}

/*
 * Both are written before anything else is mended: torn meanwhile, a copy has right bytes where it had wrong
 * ones, and the next repair makes the same of them. Were lengths in it changed first, it would not.
 */
static int write_merged(struct verify *v)
{
	char path[VERIFY_PATH_BYTES];
	struct sys_stat st;
	int rc = 0;

	for (char each = 'a'; each <= 'b' && rc == 0; each++) {
		copy_path(v, each, path);
		rc = v->sys->ops->stat(v->sys->self, path, &st);
		rc = rc ? verify_failed(v, "look at", path, rc) :
			  verify_set_aside(v, path, false, 0, st.bytes, 0, 0,
					   "not whole, nor is the other one");
	}
	for (char each = 'a'; each <= 'b' && rc == 0; each++) {
		copy_path(v, each, path);
		rc = checkpoint_write_copy(v->sys, v->options->dir, each, buf_slice(&v->checkpoint));
		if (rc)
			rc = verify_failed(v, "write", path, rc);
	}
	v->out->mended += rc == 0;
	return rc;
}

/* Neither copy is whole. */
static int put_together(struct verify *v)
{
	char path[VERIFY_PATH_BYTES];
	int rc;

	v->fault->err = 0;
	buf_fini(&v->checkpoint);
	rc = checkpoint_read_merged(v->sys, v->options->dir, &v->checkpoint, v->fault);
	if (rc < 0)
		return rc;
	v->has_checkpoint = v->checkpoint_merged = rc == 0;
	v->checkpoint_unknown = rc == 1;
	v->copies.broken = 0;
	copy_path(v, 'a', path);
	if (rc == 0)
		verify_tell(
			v, path, 0, false, 0, 0, "both are written again from what is right of each",
			"neither this copy of the checkpoint nor .b is whole; they are damaged in different places");
	else
		verify_tell(v, path, 0, false, 0, 0, NULL,
			    "neither this copy of the checkpoint nor .b is whole");
	return 0;
}

static int look_at_copies(struct verify *v, int found)
{
	char path[VERIFY_PATH_BYTES];
	struct sys_stat st;

	if (found == ERR_CORRUPT)
		return put_together(v);
	if (found < 0)
		return found;
	if (v->copies.broken) {
		copy_path(v, v->copies.broken, path);
		verify_tell(v, path, 0, true, 0, 0, "it is written again from the other one",
			    "this copy of the checkpoint is not whole: damage, or a write that was cut short");
	}
	for (char which = 'a'; found == 0 && which <= 'b'; which++) {
		copy_path(v, which, path);
		if (v->sys->ops->stat(v->sys->self, path, &st) == -ENOENT)
			verify_tell(v, path, 0, true, 0, 0, "it is written again from the other one",
				    "there is no second copy of the checkpoint");
	}
	v->has_checkpoint = found == 0 && v->checkpoint.len > 0;
	return 0;
}

static int check_partitions(struct verify *v)
{
	struct checkpoint_sink sum = {.partition = sum_partition, .segment = sum_segment, .ctx = v};
	struct checkpoint_sink sink = {.partition = begin_partition, .segment = each_segment, .ctx = v};
	char path[VERIFY_PATH_BYTES];
	uint64_t number;
	int rc = checkpoint_read(v->sys, v->options->dir, &v->checkpoint, &v->copies, v->fault);

	rc = look_at_copies(v, rc);
	v->fault->err = 0;
	if (rc < 0 || !v->has_checkpoint)
		return rc;
	rc = checkpoint_walk(buf_slice(&v->checkpoint), &number, &v->sequence, &sum);
	if (rc == 0 && v->checkpoint_merged && v->options->repair)
		rc = write_merged(v);
	if (rc == 0)
		rc = checkpoint_walk(buf_slice(&v->checkpoint), &number, &v->sequence, &sink);
	if (rc && !v->fault->err) {
		copy_path(v, 'a', path);
		verify_tell(v, path, 0, false, 0, 0, NULL, "the checkpoint cannot be read");
		return 0;
	}
	return rc;
}

/* Both copies, the one that is not to be leaned on first. */
int verify_mend_checkpoint(struct verify *v)
{
	char path[VERIFY_PATH_BYTES];
	struct sys_stat st;
	int rc = 0;
	char which = v->copies.broken ? v->copies.broken : v->copies.older;

	if (!v->has_checkpoint)
		return 0;
	copy_path(v, 'b', path);
	if (!v->checkpoint_changed && !v->copies.broken && v->sys->ops->stat(v->sys->self, path, &st) == 0)
		return 0;
	for (char each = 'a'; each <= 'b' && rc == 0; each++) {
		copy_path(v, each, path);
		if (v->sys->ops->stat(v->sys->self, path, &st) == 0)
			rc = verify_set_aside(v, path, false, 0, st.bytes, 0, 0,
					      each == v->copies.broken ? "not whole" : "says other lengths");
	}
	if (v->checkpoint_changed)
		checkpoint_seal_again(&v->checkpoint);
	else
		v->out->mended++;
	for (int i = 0; i < 2 && rc == 0; i++) {
		copy_path(v, which, path);
		rc = checkpoint_write_copy(v->sys, v->options->dir, which, buf_slice(&v->checkpoint));
		if (rc)
			rc = verify_failed(v, "write", path, rc);
		which = which == 'a' ? 'b' : 'a';
	}
	v->checkpoint_changed = false;
	v->copies.broken = 0;
	return rc;
}

/* ---- state ---- */

static void tell_state(void *ctx, const char *text)
{
	struct verify *v = ctx;

	verify_tell(v, v->options->dir, 0, false, 0, 0, NULL, "state: %s", text);
}

static int check_state(struct verify *v)
{
	const struct verify_state *state = v->options->state;
	char path[VERIFY_PATH_BYTES];

	if (!state)
		return 0;
	for (uint32_t i = 0; i < v->known_count; i++) {
		const struct verify_known *k = &v->known[i];
		const char *wrong = k->internal ? NULL : state->partition(state->ctx, &k->public);
		if (!wrong)
			continue;
		verify_segment_path(v, &k->public.topic, k->public.number, k->public.start, 0, path);
		verify_tell(v, path, 0, false, 0, 0, NULL, "%s", wrong);
	}
	state->end(state->ctx, !v->journal_has_more && v->has_checkpoint, tell_state, v);
	return 0;
}

/* ---- files that nothing names ---- */

struct listed {
	struct topic_id topic;
	uint32_t number;
};

/* <base>.log, <base>.<revision>.log, and likewise the indexes. */
static bool is_segment(const char *name)
{
	const char *rest = name + 20;
	uint64_t base;

	if (strlen(name) < 24 || !slice_to_u64(slice_make(name, 20), &base))
		return false;
	if (rest[1] >= '0' && rest[1] <= '9')
		rest += 1 + strspn(rest + 1, "0123456789");
	return strcmp(rest, ".log") == 0 || strcmp(rest, ".index") == 0 || strcmp(rest, ".timeindex") == 0;
}

/* A topic that state does not know: what becomes of its files at a start, and with repair, where state was hurt. */
static int keep_orphan(struct verify *v, const struct listed *in, const char *path, bool *told)
{
	const struct verify_state *state = v->options->state;
	int rc = 0;

	if (!state || topic_id_eq(&in->topic, &(struct topic_id){{0}}) ||
	    state->knows(state->ctx, &in->topic))
		return 0;
	if (v->state_hurt && !*told)
		verify_tell(v, path, 0, false, 0, 0, "its files are linked into the quarantine",
			    "state does not name its topic, and rows of state are lost: a start removes it");
	else if (!*told)
		verify_tell(v, path, 0, true, 0, 0, NULL,
			    "state does not name its topic: a start removes it");
	*told = true;
	if (v->state_hurt && v->options->repair) {
		rc = verify_set_aside(v, path, true, 0, 0, 0, 0, "of a topic that state lost");
		v->out->mended++;
	}
	return rc;
}

/* Begun after the checkpoint: a start makes it anew from the journal, and what stands in it now goes. */
static bool is_later(const struct verify_known *k, const char *name)
{
	uint64_t base;

	return k && is_segment(name) && slice_to_u64(slice_make(name, 20), &base) &&
	       (!k->active_behind || (int64_t)base > k->active_base);
}

static int sweep_partition(struct verify *v, const struct listed *in, const char *dir)
{
	const struct verify_known *k = verify_find(v, &in->topic, in->number, false);
	struct verify_names names;
	char path[VERIFY_PATH_BYTES];
	bool told = false;
	int rc = verify_list(v, dir, &names);

	if (rc)
		return verify_failed(v, "read", dir, rc);
	for (uint32_t i = 0; i < names.count && rc == 0; i++) {
		(void)snprintf(path, sizeof(path), "%.700s/%.300s", dir, names.list[i]);
		if (!is_segment(names.list[i]))
			verify_tell(v, path, 0, true, 0, 0, NULL, "is none of weir's: a start removes it");
		else if (!k || !k->public.in_checkpoint)
			verify_tell(
				v, path, 0, true, 0, 0, NULL,
				"belongs to no partition of the checkpoint: a start makes it anew from the journal, or removes it");
		if (is_segment(names.list[i]))
			rc = keep_orphan(v, in, path, &told);
		if (rc == 0 && is_later(k, names.list[i]) && v->keys_hurt && v->options->repair)
			rc = verify_set_aside(
				v, path, true, 0, 0, 0, 0,
				"of the time after the checkpoint: it may hold what the journal lost");
	}
	verify_names_free(&names);
	return rc;
}

static int sweep_topic(struct verify *v, const char *name)
{
	struct listed in = {0};
	struct verify_names names;
	char dir[VERIFY_PATH_BYTES], path[VERIFY_PATH_BYTES];
	uint64_t number;
	int rc;

	(void)snprintf(dir, sizeof(dir), "%s/%.200s", v->topics_dir, name);
	if (!topic_id_parse(slice_str(name), &in.topic)) {
		verify_tell(v, dir, 0, true, 0, 0, NULL, "is none of weir's");
		return 0;
	}
	rc = verify_list(v, dir, &names);
	if (rc)
		return verify_failed(v, "read", dir, rc);
	for (uint32_t i = 0; i < names.count && rc == 0; i++) {
		(void)snprintf(path, sizeof(path), "%.700s/%.200s", dir, names.list[i]);
		if (!slice_to_u64(slice_str(names.list[i]), &number) || number > UINT32_MAX) {
			verify_tell(v, path, 0, true, 0, 0, NULL, "is none of weir's");
			continue;
		}
		in.number = (uint32_t)number;
		rc = sweep_partition(v, &in, path);
	}
	verify_names_free(&names);
	return rc;
}

static int check_strangers(struct verify *v)
{
	struct verify_names names;
	int rc = verify_list(v, v->topics_dir, &names);

	if (rc == -ENOENT)
		return 0;
	if (rc)
		return verify_failed(v, "read", v->topics_dir, rc);
	for (uint32_t i = 0; i < names.count && rc == 0; i++)
		rc = sweep_topic(v, names.list[i]);
	verify_names_free(&names);
	return rc;
}

/* ---- the whole ---- */

static int lock_dir(struct verify *v, int *fd)
{
	char path[VERIFY_PATH_BYTES];
	int holder = 0, rc;

	(void)snprintf(path, sizeof(path), "%s/LOCK", v->options->dir);
	*fd = v->sys->ops->open(v->sys->self, path, 0);
	if (*fd < 0)
		return fault_set(v->fault, ERR_IO, "%s is no data directory: cannot open %s: %s",
				 v->options->dir, path, sys_error_text(*fd));
	rc = v->sys->ops->lock(v->sys->self, *fd, &holder);
	if (rc == -EWOULDBLOCK)
		return fault_set(v->fault, ERR_IN_USE, "%s is in use by process %d: stop it first",
				 v->options->dir, holder);
	return rc ? fault_set(v->fault, ERR_IO, "cannot lock %s: %s", path, sys_error_text(rc)) : 0;
}

static int check_format(struct verify *v)
{
	char path[VERIFY_PATH_BYTES];
	int rc = format_read(v->sys, v->options->dir, &v->format, v->fault);

	(void)snprintf(path, sizeof(path), "%s/FORMAT", v->options->dir);
	v->out->files++;
	if (rc == ERR_CORRUPT) {
		verify_tell(
			v, path, 0, false, 0, 0, NULL,
			"is damaged: its key and checksum do not fit, and without it nobody can tell groups of the journal from their imitation");
		v->format = (struct format){0};
		v->fault->err = rc = 0;
	} else if (rc == 0 && v->format.version == 0) {
		verify_tell(v, path, 0, true, 0, 0, NULL, "is missing or empty: a start writes it");
	}
	return rc;
}

static void tell_backup(void *ctx, const char *path, const char *text)
{
	verify_tell(ctx, path, 0, false, 0, 0, NULL, "%s", text);
}

static int check_all(struct verify *v)
{
	int rc = check_format(v);

	if (rc == 0)
		rc = backup_check(v->sys, v->options->dir, tell_backup, v, v->fault);
	if (rc == 0)
		rc = check_partitions(v);
	if (rc == 0)
		rc = verify_producers(v);
	if (rc == 0 && v->options->repair)
		rc = verify_mend_checkpoint(v);
	if (rc == 0)
		rc = verify_journal(v);
	if (rc == 0)
		rc = check_state(v);
	if (rc == 0)
		rc = verify_seen(v);
	if (rc == 0)
		rc = check_strangers(v);
	/* Each of these takes away what tells that the ones before are needed. */
	if (rc == 0 && v->options->repair)
		rc = verify_mend_checkpoint(v);
	if (rc == 0 && v->options->repair)
		rc = verify_journal_mend(v);
	verify_journal_end(v);
	return rc;
}

int log_verify(const struct verify_options *options, struct verify_result *out, struct fault *fault)
{
	struct verify v = {
		.options = options, .sys = options->sys, .out = out, .fault = fault, .cap = WINDOW_BYTES};
	int fd = -1, rc;

	*out = (struct verify_result){0};
	fault->err = 0;
	(void)snprintf(v.topics_dir, sizeof(v.topics_dir), "%s/topics", options->dir);
	buf_init(&v.checkpoint, 1);
	buf_init(&v.manifest, 1);
	buf_init(&v.plain, BATCH_PLAIN_BYTES_MAX);
	v.bytes = mem_alloc(v.cap);
	rc = v.bytes ? lock_dir(&v, &fd) : fault_set(fault, ERR_NOMEM, "no memory");
	if (rc == 0)
		rc = check_all(&v);
	if (fd >= 0)
		v.sys->ops->close(v.sys->self, fd);
	buf_fini(&v.checkpoint);
	buf_fini(&v.manifest);
	buf_fini(&v.plain);
	codec_free(v.codec);
	mem_free(v.known);
	mem_free(v.slots);
	mem_free(v.bytes);
	return rc;
}
