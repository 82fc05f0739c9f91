/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where a bit is turned, and what may come of it. The bytes are read here with
 * the codecs of the log (batch, frame, checkpoint), so that exactly the records
 * that are hit are excused, and nothing beside them.
 */
#include "rot.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "base/wire.h"
#include "log/frame.h"
#include "log/journal.h"
#include "world.h"

#define FILES_MAX 1024u
#define FILE_BYTES_MAX (4u << 20)
#define PATH_BYTES 200u

struct files {
	struct world *w;
	char dir[PATH_BYTES];
	char (*paths)[PATH_BYTES];
	uint32_t count;
};

static uint8_t bytes[FILE_BYTES_MAX];
static char paths[FILES_MAX][PATH_BYTES];

/* ---- files ---- */

static int add_file(void *ctx, const char *name)
{
	struct files *f = ctx;
	const struct sys *sys = sim_sys(f->w->sim);
	struct files inner = *f;
	struct sys_stat st;

	(void)snprintf(inner.dir, sizeof(inner.dir), "%.120s/%.70s", f->dir, name);
	if (sys->ops->stat(sys->self, inner.dir, &st))
		return 0;
	if (st.is_dir) {
		(void)sys->ops->list(sys->self, inner.dir, add_file, &inner);
		f->count = inner.count;
	} else if (st.bytes && f->count < FILES_MAX) {
		memcpy(f->paths[f->count++], inner.dir, PATH_BYTES);
	}
	return 0;
}

static uint32_t list_files(struct world *w, const char *dir)
{
	struct files f = {.w = w, .paths = paths};
	const struct sys *sys = sim_sys(w->sim);

	(void)snprintf(f.dir, sizeof(f.dir), "%s", dir);
	(void)sys->ops->list(sys->self, dir, add_file, &f);
	return f.count;
}

static bool ends_with(const char *path, const char *end)
{
	size_t n = strlen(path), m = strlen(end);

	return n >= m && strcmp(path + n - m, end) == 0;
}

/* One of the files there with this ending; NULL where there is none. */
static const char *choose_file(struct world *w, uint32_t count, const char *end)
{
	uint32_t fit = 0, pick;

	for (uint32_t i = 0; i < count; i++)
		fit += ends_with(paths[i], end);
	if (fit == 0)
		return NULL;
	pick = below(w, fit);
	for (uint32_t i = 0; i < count; i++)
		if (ends_with(paths[i], end) && pick-- == 0)
			return paths[i];
	return NULL;
}

static size_t read_file(struct world *w, const char *path)
{
	const struct sys *sys = sim_sys(w->sim);
	int64_t got;
	int fd = sys->ops->open(sys->self, path, SYS_READ);

	if (fd < 0)
		return 0;
	got = sys->ops->pread(sys->self, fd, bytes, sizeof(bytes), 0);
	sys->ops->close(sys->self, fd);
	return got < 0 ? 0 : (size_t)got;
}

/* `bytes` holds the file. */
static void flip(struct world *w, const char *path, uint64_t at)
{
	uint64_t bit = at * 8 + below(w, 8);

	CHECK(sim_flip(w->sim, path, bit) == 0);
	w->rot.flips++;
	w->rot.bit = bit;
	w->rot.byte = bytes[at] ^ (uint8_t)(1u << bit % 8);
	(void)snprintf(w->rot.path, sizeof(w->rot.path), "%s", path);
	world_say(w, "a bit turns over: %s, byte %llu", path, (unsigned long long)at);
}

static void await(struct world *w, bool may_refuse)
{
	w->rot.pending = true;
	w->rot.may_refuse = may_refuse;
}

/* ---- segments ---- */

/* The topic and partition of "data/topics/<uuid>/<number>/..."; false for others. */
static bool place_of(struct world *w, const char *path, struct topic_id *id, int *topic, uint32_t *part)
{
	unsigned number;

	if (strncmp(path, "data/topics/", 12) != 0 || strlen(path) < 12 + 37 ||
	    !topic_id_parse(slice_make(path + 12, 36), id) || sscanf(path + 12 + 37, "%u/", &number) != 1)
		return false;
	*topic = model_topic_of(&w->model, id);
	*part = number;
	return true;
}

/*
 * The whole batch in bytes[0, n) that holds `at`; .ptr NULL where there is none.
 * Behind damage the next whole one is looked for, as readers do.
 */
static struct slice batch_around(size_t n, uint64_t at, int64_t base)
{
	struct batch_head head;
	bool follows = true;

	for (size_t from = 0; from <= at && from + BATCH_HEAD_BYTES <= n;) {
		if (batch_check(slice_make(bytes + from, n - from), &head) ||
		    (follows && head.base_offset != base)) {
			follows = false;
			from++;
			continue;
		}
		if (at < from + head.bytes)
			return slice_make(bytes + from, head.bytes);
		from += head.bytes;
		base = batch_last_offset(&head) + 1;
		follows = true;
	}
	return slice_null();
}

/*
 * Whether `at` is of a batch that the file does not hold whole: it is being written, in
 * several pieces, and what will be read of it nobody knows yet.
 */
static bool is_unfinished(size_t n, uint64_t at)
{
	struct batch_head head;
	size_t behind = 0; /* the last whole batch */

	for (size_t from = 0; from + BATCH_HEAD_BYTES <= n;) {
		if (batch_check(slice_make(bytes + from, n - from), &head)) {
			from++;
			continue;
		}
		from += head.bytes;
		behind = from;
	}
	if (at < behind)
		return false;
	return n - behind < BATCH_HEAD_BYTES ||
	       (batch_head_read(slice_make(bytes + behind, n - behind), &head) == 0 &&
		head.bytes > n - behind);
}

static void excuse(struct world *w, struct slice batch, int topic, uint32_t part)
{
	struct batch_record record;
	struct batch_head head;
	struct model_walk walk;

	if (!batch.ptr || topic < 0 || batch_head_read(batch, &head))
		return;
	world_say(w, "which may cost offsets %lld to %lld of %s/%u", (long long)head.base_offset,
		  (long long)batch_last_offset(&head), w->model.topics[topic].name, part);
	model_rotten_range(&w->model, (uint32_t)topic, part, head.base_offset, batch_last_offset(&head) + 1);
	CHECK(model_walk_start(&walk, batch) == 0);
	while (batch_walk_next(&walk.walk, &record) == 1)
		model_rotten(&w->model, (uint32_t)topic, part, &record);
	model_walk_end(&walk);
}

/*
 * No checksum covers the base offset of a batch; that it follows from the one
 * before does. Where that one is damaged too nothing can tell, neither weir nor
 * this: so a file has either flips elsewhere or one in a base offset.
 */
static bool may_strike(struct world *w, const char *path, bool in_base)
{
	struct rot_file *f = w->rot.files, *end = f + w->rot.file_count;

	while (f < end && strcmp(f->path, path) != 0)
		f++;
	if (f < end)
		return !in_base && !f->in_base;
	if (w->rot.file_count == ROT_FILES_MAX)
		return false;
	(void)snprintf(f->path, sizeof(f->path), "%s", path);
	f->in_base = in_base;
	w->rot.file_count++;
	return true;
}

static void strike_segment(struct world *w, const char *path)
{
	size_t n = read_file(w, path);
	uint64_t at = n ? rand_below(&w->rand, n) : 0;
	static const struct topic_id internal = {{0}};
	struct topic_id id;
	struct slice batch;
	bool is_state;
	uint32_t part;
	int topic;

	if (n == 0 || !place_of(w, path, &id, &topic, &part))
		return;
	is_state = topic_id_eq(&id, &internal);
	if (topic < 0 && !is_state)
		return; /* made on use, and nobody knows yet */
	if (is_unfinished(n, at))
		return;
	batch = batch_around(n, at, atoll(strrchr(path, '/') + 1));
	if (!may_strike(w, path, batch.ptr && bytes + at < batch.ptr + 8))
		return;
	excuse(w, batch, topic, part);
	flip(w, path, at);
	if (is_state)
		await(w, true);
}

void rot_strike_live(struct world *w)
{
	uint32_t count = list_files(w, "data/topics");
	const char *path = choose_file(w, count, ".log");
	struct topic_id id;
	uint32_t part;
	int topic;

	if (path && place_of(w, path, &id, &topic, &part) && topic >= 0)
		strike_segment(w, path);
}

/* ---- the journal ---- */

/* Whole groups of one file that were written to it. */
struct group {
	char path[PATH_BYTES];
	uint64_t at, sequence;
	uint32_t bytes;
};

static uint64_t generation_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return journal_generation_of(slash ? slash + 1 : path);
}

static uint32_t list_groups(struct world *w, uint32_t count, struct group *groups, uint32_t max)
{
	uint32_t found = 0;

	for (uint32_t i = 0; i < count; i++) {
		uint64_t generation = generation_of(paths[i]);
		size_t n = generation ? read_file(w, paths[i]) : 0;
		for (size_t at = 0; at + FRAME_HEAD_BYTES <= n; at += FRAME_ALIGN) {
			struct frame_head head;
			if (frame_check(slice_make(bytes + at, n - at), &head) ||
			    head.generation != generation || found == max)
				continue;
			memcpy(groups[found].path, paths[i], PATH_BYTES);
			groups[found].at = at;
			groups[found].bytes = head.bytes;
			groups[found++].sequence = head.sequence;
		}
	}
	return found;
}

/* The model cannot forget rows of state, and does not tell apart what is damaged twice. */
static bool can_be_unlearnt(struct world *w, struct slice frame)
{
	struct slice rest = slice_from(frame, FRAME_HEAD_BYTES);
	static const struct topic_id internal = {{0}};
	struct frame_section s;

	while (frame_next(&rest, &s) == 1) {
		bool state = s.kind == FRAME_BATCH && topic_id_eq(&s.topic, &internal);
		int topic = s.kind == FRAME_BATCH ? model_topic_of(&w->model, &s.topic) : -1;
		struct batch_record record;
		struct batch_walk walk;
		if ((!state && topic < 0) || batch_walk_start(&walk, s.body))
			continue;
		while (batch_walk_next(&walk, &record) == 1)
			if (state || model_is_rotten(&w->model, (uint32_t)topic, s.partition, record.offset,
						     record.offset + 1))
				return false;
	}
	return true;
}

/* Its requests may be there or not, as if they had never been answered. */
static void unlearn(struct world *w, struct slice frame)
{
	struct slice rest = slice_from(frame, FRAME_HEAD_BYTES);
	struct frame_section s;

	while (frame_next(&rest, &s) == 1) {
		int topic = s.kind == FRAME_BATCH ? model_topic_of(&w->model, &s.topic) : -1;
		struct batch_record record;
		struct batch_walk walk;
		if (topic < 0 || batch_walk_start(&walk, s.body))
			continue;
		while (batch_walk_next(&walk, &record) == 1)
			model_unlearn(&w->model, (uint32_t)topic, s.partition, &record);
	}
	consumers_reset(w);
	w->rot.cut_off = true;
	w->rot.told_torn = false;
}

/* Gives the group that holds the byte; and whether it is the newest, of which there is no second copy. */
static const struct group *group_at(const struct group *groups, uint32_t count, const char *path, uint64_t at,
				    bool *last)
{
	const struct group *hit = NULL;

	*last = true;
	for (uint32_t i = 0; i < count; i++)
		if (strcmp(groups[i].path, path) == 0 && at >= groups[i].at &&
		    at < groups[i].at + groups[i].bytes)
			hit = &groups[i];
	for (uint32_t i = 0; hit && i < count; i++)
		if (&groups[i] != hit && groups[i].sequence >= hit->sequence)
			*last = false;
	return hit;
}

/*
 * Damage of a group must be told by a later one, or made good by a copy. Where these are in
 * the page cache alone they may go with the power before weir looks, and then the damaged one
 * is the last: what is right would depend on chance.
 */
static void sync_others(struct world *w, const struct group *hit, const struct group *groups, uint32_t count)
{
	const struct sys *sys = sim_sys(w->sim);

	for (uint32_t i = 0; i < count; i++) {
		int fd;
		if (groups[i].sequence < hit->sequence)
			continue;
		fd = sys->ops->open(sys->self, groups[i].path, SYS_READ);
		CHECK(fd >= 0 && sys->ops->fsync(sys->self, fd) == 0);
		sys->ops->close(sys->self, fd);
	}
	CHECK(sys->ops->sync_dir(sys->self, "data/journal") == 0);
}

static void strike_journal(struct world *w)
{
	static struct group groups[2048];
	uint32_t files = list_files(w, "data/journal");
	uint32_t count = list_groups(w, files, groups, 2048);
	const char *path = choose_file(w, files, ".wal");
	const struct group *hit;
	uint64_t at = 0;
	size_t n;
	bool last;

	if (!path)
		return;
	if (count && !chance(w, 4)) {
		const struct group *g = &groups[chance(w, 2) ? count - 1 : below(w, count)];
		path = g->path;
		at = g->at + (chance(w, 3) ? below(w, FRAME_HEAD_BYTES) : below(w, g->bytes));
	}
	n = read_file(w, path);
	if (at == 0)
		at = rand_below(&w->rand, n);
	hit = group_at(groups, count, path, at, &last);
	if (hit && last) {
		struct slice frame = slice_make(bytes + hit->at, hit->bytes);
		if (!can_be_unlearnt(w, frame))
			return;
		unlearn(w, frame);
	} else if (hit) {
		sync_others(w, hit, groups, count);
	}
	flip(w, path, at);
	await(w, hit != NULL);
}

/* ---- the rest ---- */

static bool is_whole_checkpoint(size_t n)
{
	return n >= 40 && wire_load_u32(bytes + 12) == n && memcmp(bytes, "WEIRCKP", 7) == 0 &&
	       crc32c(0, bytes + 12, n - 12) == wire_load_u32(bytes + 8);
}

/*
 * While one of two is whole weir starts. The other one must be that on the disk,
 * too, and not in the page cache alone; after a sync that failed nobody knows.
 */
static void strike_checkpoint(struct world *w)
{
	const struct sys *sys = sim_sys(w->sim);
	int fd;

	static const char *const names[] = {"data/CHECKPOINT.a", "data/CHECKPOINT.b"};
	uint32_t which = below(w, 2);
	bool other = is_whole_checkpoint(read_file(w, names[!which]));
	size_t n = read_file(w, names[which]);

	if (n == 0)
		return;
	fd = other ? sys->ops->open(sys->self, names[!which], SYS_READ) : -1;
	if (fd >= 0) {
		CHECK(sys->ops->fsync(sys->self, fd) == 0 && sys->ops->sync_dir(sys->self, "data") == 0);
		sys->ops->close(sys->self, fd);
	}
	flip(w, names[which], rand_below(&w->rand, n));
	await(w, !other || w->profile.faults.fail_one_in);
}

static void strike_any(struct world *w, const char *dir, const char *end, bool may_refuse)
{
	const char *path = choose_file(w, list_files(w, dir), end);
	size_t n = path ? read_file(w, path) : 0;

	if (n == 0)
		return;
	flip(w, path, rand_below(&w->rand, n));
	await(w, may_refuse);
}

void rot_strike(struct world *w)
{
	const char *path;

	if (w->rot.pending || w->rot.cut_off)
		return;
	switch (below(w, 12)) {
	case 0:
	case 1:
	case 2:
		strike_journal(w);
		break;
	case 3:
		strike_checkpoint(w);
		break;
	case 4:
		strike_any(w, "data/topics", "index", false); /* both kinds */
		break;
	case 5:
	case 6:
		strike_any(w, "data/seen", ".run", true);
		break;
	case 7:
		if (chance(w, 4))
			strike_any(w, "data", chance(w, 2) ? "/secret" : "/FORMAT", true);
		break;
	default:
		path = choose_file(w, list_files(w, "data/topics"), ".log");
		if (path)
			strike_segment(w, path);
	}
}

/* ---- what weir makes of it ---- */

static const char *name_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

/* The file itself is named, or, for state, its folder. */
static bool names_file(const struct rot *rot, const char *text)
{
	return strstr(text, name_of(rot->path)) ||
	       (ends_with(rot->path, ".log") && strstr(text, "the state")) ||
	       (strstr(rot->path, "CHECKPOINT") && strstr(text, "CHECKPOINT"));
}

static void turn_back(struct world *w)
{
	uint64_t at = w->rot.bit / 8;

	w->crash_in = 0;
	faults_set(w, false);
	if (read_file(w, w->rot.path) > at && bytes[at] == w->rot.byte)
		(void)sim_flip(w->sim, w->rot.path, w->rot.bit);
	w->rot.pending = false;
	w->rot.undone = true;
	w->rot.refusals++;
}

bool rot_explains(struct world *w, const char *text)
{
	if (!w->rot.pending || !w->rot.may_refuse)
		return false;
	if (!names_file(&w->rot, text))
		model_fail("weir does not start for damage of %s, and names something else: %s", w->rot.path,
			   text);
	turn_back(w);
	return true;
}

void rot_hear(struct world *w, const char *event)
{
	if (strcmp(event, "torn_tail") == 0 || strcmp(event, "records_lost") == 0)
		w->rot.told_torn = true;
	if (strcmp(event, "segment_damaged") == 0)
		w->rot.told_gap = true;
}

void rot_settle(struct world *w, bool lost)
{
	if (lost && w->rot.cut_off && !w->rot.told_torn)
		model_fail("the last group is lost by damage, and nobody was told");
	w->rot.cuts += lost && w->rot.cut_off;
	w->rot.cut_off = false;
}
