/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The idempotency keys: the secret, and each run from its header to its last
 * page. A run that is damaged is made anew from the pages of it that are whole;
 * the keys of the others are taken from the records that carry them and go into
 * a run of their own beside it.
 */
#include <errno.h>
#include <stdio.h>

#include "base/crc32c.h"
#include "base/mem.h"
#include "base/wire.h"
#include "log/seen_format.h"
#include "log/seen_inner.h"
#include "log/verify_inner.h"

#define MEND_RUN "it is made anew from its whole pages and from the records that carry keys"
#define MEND_SECRET "a new one is made, and the runs from the records that carry keys"

/* A run that is not whole. */
struct broken {
	char path[VERIFY_PATH_BYTES];
	int64_t end_ms;
	uint64_t number;
};

struct keys {
	struct verify *v;
	struct seen_yard yard;
	struct verify_runs runs; /* whole ones */
	struct broken *broken;
	uint32_t broken_count, broken_cap;
	char dir[VERIFY_PATH_BYTES - 100];
	char secret_path[VERIFY_PATH_BYTES];
	bool secret_bad, secret_missing;
	uint32_t run_count;
};

/* ---- checking ---- */

static void check_secret(struct keys *k)
{
	uint8_t secret[SEEN_SECRET_BYTES + 1];
	uint64_t bytes;
	int64_t got;
	int fd;

	(void)snprintf(k->secret_path, sizeof(k->secret_path), "%s/secret", k->dir);
	fd = verify_begin_file(k->v, k->secret_path, &bytes);
	k->secret_missing = fd == -ENOENT;
	if (fd < 0)
		return;
	got = k->v->sys->ops->pread(k->v->sys->self, fd, secret, sizeof(secret), 0);
	k->v->sys->ops->close(k->v->sys->self, fd);
	k->secret_bad = got != SEEN_SECRET_BYTES || memcmp(secret, SEEN_SECRET_MAGIC, 8) != 0 ||
			crc32c(0, secret, 40) != wire_load_u32(secret + 40);
	k->runs.secret = (struct hash_key){wire_load_u64(secret + 8), wire_load_u64(secret + 16)};
	if (k->secret_bad)
		verify_tell(k->v, k->secret_path, 0, false, 0, 0, MEND_SECRET,
			    "the secret of the keys is damaged");
}

static int walk_run(struct keys *k, struct seen_run *r, const char *path)
{
	struct seen_cursor c;
	struct seen_entry e;
	struct hash128 last = {0, 0};
	struct seen_range range;
	uint64_t n = 0;
	int rc = seen_cursor_init(&c, r);

	if (rc)
		return fault_set(k->v->fault, ERR_NOMEM, "no memory to check %s", path);
	while ((rc = seen_cursor_next(&c, &e, k->v->fault)) == 1) {
		if (n++ && seen_fingerprint_cmp(last, e.key.fingerprint) >= 0)
			break;
		if (!seen_filter_test(seen_filter_block(r->filter.bits, r->filter.blocks, e.key.fingerprint),
				      e.key.fingerprint))
			break;
		if (!e.is_inline && e.range_count &&
		    (rc = seen_run_ranges(r, &e, true, &range, 1, k->v->fault)) < 0)
			break;
		last = e.key.fingerprint;
	}
	k->v->out->keys += n;
	verify_progress(k->v, r->file_bytes);
	if (rc == 1)
		verify_tell(k->v, path, (1 + c.page) * SEEN_PAGE_BYTES, false, 0, 0, MEND_RUN,
			    "keys are not in order, or not in the filter");
	else if (rc < 0)
		verify_tell(k->v, path, (1 + c.page) * SEEN_PAGE_BYTES, false, 0, 0, MEND_RUN, "%s",
			    k->v->fault->text);
	k->v->fault->err = 0;
	seen_cursor_fini(&c);
	return rc ? 1 : 0;
}

static int keep_broken(struct keys *k, const char *path, int64_t end_ms, uint64_t number)
{
	if (k->broken_count == k->broken_cap) {
		uint32_t cap = k->broken_cap ? k->broken_cap * 2 : 8;
		struct broken *grown = mem_realloc(k->broken, cap * sizeof(*grown));
		if (!grown)
			return fault_set(k->v->fault, ERR_NOMEM, "no memory to check %s", path);
		k->broken = grown;
		k->broken_cap = cap;
	}
	k->broken[k->broken_count] = (struct broken){.end_ms = end_ms, .number = number};
	(void)snprintf(k->broken[k->broken_count++].path, VERIFY_PATH_BYTES, "%s", path);
	return 0;
}

static int keep_run(struct keys *k, struct seen_run *r)
{
	if (k->runs.count == k->runs.cap) {
		uint32_t cap = k->runs.cap ? k->runs.cap * 2 : 16;
		struct seen_run **grown = mem_realloc(k->runs.list, cap * sizeof(*grown));
		if (!grown) {
			seen_run_unref(r);
			return fault_set(k->v->fault, ERR_NOMEM, "no memory to check the keys");
		}
		k->runs.list = grown;
		k->runs.cap = cap;
	}
	k->runs.list[k->runs.count++] = r;
	return 0;
}

static int check_run(struct keys *k, const char *path, int64_t end_ms, uint64_t number)
{
	struct verify *v = k->v;
	struct seen_run *r;
	uint64_t bytes;
	int rc = verify_begin_file(v, path, &bytes);

	if (rc >= 0)
		v->sys->ops->close(v->sys->self, rc);
	k->run_count++;
	if (number > k->runs.number_max)
		k->runs.number_max = number;
	rc = seen_run_open(v->sys, &k->yard, path, &r, v->fault);
	if (rc == ERR_NOMEM || rc == ERR_BAD_VERSION)
		return rc;
	if (rc) {
		verify_tell(v, path, 0, false, 0, 0, MEND_RUN, "%s", v->fault->text);
		v->fault->err = 0;
		return keep_broken(k, path, end_ms, number);
	}
	if (r->end_ms != end_ms || r->number != number) {
		verify_tell(v, path, 0, false, 0, 0, MEND_RUN, "is another run under this name");
		rc = 1;
	} else {
		rc = walk_run(k, r, path);
	}
	if (rc == 0)
		return keep_run(k, r);
	seen_run_unref(r);
	return rc < 0 ? rc : keep_broken(k, path, end_ms, number);
}

static bool run_number(const char *name, uint64_t *number)
{
	size_t n = strlen(name);

	return n > 4 && strcmp(name + n - 4, ".run") == 0 && slice_to_u64(slice_make(name, n - 4), number);
}

static int check_bucket(struct keys *k, const char *name)
{
	struct verify_names names;
	char dir[VERIFY_PATH_BYTES], path[VERIFY_PATH_BYTES];
	uint64_t number;
	int64_t end_ms;
	int rc;

	(void)snprintf(dir, sizeof(dir), "%.700s/%.200s", k->dir, name);
	if (strcmp(name, "secret") == 0)
		return 0;
	if (!slice_to_i64(slice_str(name), &end_ms)) {
		verify_tell(k->v, dir, 0, true, 0, 0, NULL, "is none of weir's");
		return 0;
	}
	rc = verify_list(k->v, dir, &names);
	if (rc)
		return verify_failed(k->v, "read", dir, rc);
	for (uint32_t i = 0; i < names.count && rc == 0; i++) {
		(void)snprintf(path, sizeof(path), "%.800s/%.200s", dir, names.list[i]);
		if (run_number(names.list[i], &number))
			rc = check_run(k, path, end_ms, number);
		else
			verify_tell(k->v, path, 0, true, 0, 0, NULL, "is no run, or was left by a crash");
	}
	verify_names_free(&names);
	return rc;
}

/* ---- repair ---- */

static bool page_is_whole(const uint8_t *page, uint64_t number, enum seen_page_kind kind, uint32_t max)
{
	return crc32c(0, page + 4, SEEN_PAGE_BYTES - 4) == wire_load_u32(page) &&
	       wire_load_u16(page + 4) == kind && wire_load_u16(page + 6) <= max &&
	       wire_load_u64(page + 8) == number;
}

/* The first page of ranges: those before it are of entries. 0: there is none. */
static uint64_t find_ranges(const uint8_t *file, uint64_t pages)
{
	for (uint64_t i = 1; i < pages; i++)
		if (page_is_whole(file + i * SEEN_PAGE_BYTES, i, SEEN_PAGE_RANGES, SEEN_RANGES_A_PAGE))
			return i;
	return 0;
}

static uint32_t ranges_of(const uint8_t *file, uint64_t pages, uint64_t first_page, uint64_t index,
			  uint32_t count, struct seen_range *ranges)
{
	for (uint32_t i = 0; i < count; i++) {
		uint64_t page = first_page + (index + i) / SEEN_RANGES_A_PAGE;
		const uint8_t *at = file + page * SEEN_PAGE_BYTES + SEEN_PAGE_HEAD +
				    (index + i) % SEEN_RANGES_A_PAGE * SEEN_RANGE_BYTES;
		if (page >= pages ||
		    !page_is_whole(file + page * SEEN_PAGE_BYTES, page, SEEN_PAGE_RANGES, SEEN_RANGES_A_PAGE))
			return 0;
		ranges[i] = (struct seen_range){(int64_t)wire_load_u64(at), wire_load_u32(at + 8),
						wire_load_u32(at + 12)};
	}
	return count;
}

/* An entry whose ranges cannot be had is left to the records. */
static int save_entry(struct keys *k, struct seen_writer *w, const uint8_t *file, uint64_t pages,
		      uint64_t ranges_page, const uint8_t *at, struct hash128 *last, uint64_t *saved,
		      struct seen_range *ranges)
{
	struct seen_key key = {.fingerprint = {.hi = wire_load_u64(at), .lo = wire_load_u64(at + 8)},
			       .payload = wire_load_u64(at + 16),
			       .expires_ms = (int64_t)wire_load_u64(at + 24)};
	uint32_t partition = wire_load_u32(at + 40), count = wire_load_u32(at + 44);

	if (*saved && seen_fingerprint_cmp(*last, key.fingerprint) >= 0)
		return 0;
	ranges[0] = (struct seen_range){(int64_t)wire_load_u64(at + 32), partition, count};
	if (partition == SEEN_PARTITION_ELSEWHERE) {
		if (count == 0 || count > SEEN_RANGES_MAX || !ranges_page ||
		    !ranges_of(file, pages, ranges_page, wire_load_u64(at + 32), count, ranges))
			return 0;
	} else {
		count = 1;
	}
	*last = key.fingerprint;
	(*saved)++;
	return seen_writer_add(w, &key, ranges, count, k->v->fault);
}

static int save_pages(struct keys *k, struct seen_writer *w, const uint8_t *file, uint64_t pages,
		      uint64_t *saved)
{
	struct seen_range *ranges = mem_alloc(SEEN_RANGES_MAX * sizeof(*ranges));
	uint64_t ranges_page = find_ranges(file, pages);
	struct hash128 last = {0, 0};
	int rc = ranges ? 0 : fault_set(k->v->fault, ERR_NOMEM, "no memory to make keys anew");

	/* What stands between the entries and the first whole page of ranges may have been one of ranges. */
	if (ranges_page > 1 && !page_is_whole(file + (ranges_page - 1) * SEEN_PAGE_BYTES, ranges_page - 1,
					      SEEN_PAGE_ENTRIES, SEEN_ENTRIES_A_PAGE))
		ranges_page = 0;
	for (uint64_t i = 1; i < pages && rc == 0; i++) {
		const uint8_t *page = file + i * SEEN_PAGE_BYTES;
		if (!page_is_whole(page, i, SEEN_PAGE_ENTRIES, SEEN_ENTRIES_A_PAGE))
			continue;
		for (uint32_t e = 0; e < wire_load_u16(page + 6) && rc == 0; e++)
			rc = save_entry(k, w, file, pages, ranges_page,
					page + SEEN_PAGE_HEAD + (size_t)e * SEEN_ENTRY_BYTES, &last, saved,
					ranges);
	}
	mem_free(ranges);
	return rc;
}

static int write_saved(struct keys *k, const struct broken *b, const uint8_t *file, uint64_t bytes,
		       uint64_t *saved)
{
	char folder[VERIFY_PATH_BYTES];
	struct seen_writer_options o = {.sys = k->v->sys,
					.yard = &k->yard,
					.folder = folder,
					.path = b->path,
					.end_ms = b->end_ms,
					.number = b->number,
					.keys_max = bytes / SEEN_ENTRY_BYTES + 1};
	struct seen_writer *w;
	struct seen_run *run;
	int rc;

	(void)snprintf(folder, sizeof(folder), "%.*s", (int)(strrchr(b->path, '/') - b->path), b->path);
	rc = seen_writer_open(&o, &w, k->v->fault);
	if (rc)
		return rc;
	rc = save_pages(k, w, file, bytes / SEEN_PAGE_BYTES, saved);
	if (rc || *saved == 0) {
		seen_writer_abort(w);
		return rc;
	}
	rc = seen_writer_finish(w, &run, k->v->fault);
	return rc ? rc : keep_run(k, run);
}

/* The whole pages of a broken run take its place; where there is none it goes: it was set aside. */
static int save_run(struct keys *k, const struct broken *b)
{
	struct verify *v = k->v;
	uint64_t bytes, saved = 0;
	uint8_t *file;
	int64_t got = 0;
	int fd = verify_begin_file(v, b->path, &bytes), rc;

	if (fd < 0)
		return verify_failed(v, "open", b->path, fd);
	file = mem_alloc(bytes + 1);
	if (file)
		got = v->sys->ops->pread(v->sys->self, fd, file, bytes, 0);
	v->sys->ops->close(v->sys->self, fd);
	rc = file ? 0 : fault_set(v->fault, ERR_NOMEM, "no memory to make %s anew", b->path);
	if (rc == 0 && got > 0)
		rc = write_saved(k, b, file, (uint64_t)got, &saved);
	mem_free(file);
	if (rc == 0 && saved == 0)
		(void)v->sys->ops->unlink(v->sys->self, b->path);
	return rc;
}

static int mend_runs(struct keys *k)
{
	struct verify *v = k->v;
	int rc = 0;

	for (uint32_t i = 0; i < k->broken_count && rc == 0; i++) {
		const struct broken *b = &k->broken[i];
		rc = verify_set_aside(v, b->path, false, 0, 0, 0, 0, "keys that cannot be read");
		/* In this order: once the run is whole again nobody sees that keys are missing. */
		if (rc == 0)
			rc = verify_write_keys(v, &k->runs, b->end_ms, ++k->runs.number_max);
		if (rc == 0)
			rc = save_run(k, b);
		v->out->mended++;
	}
	return rc;
}

/* Without the secret nobody can ask a run for anything. The new one comes last: until then all is tried again. */
static int mend_secret(struct keys *k)
{
	struct verify *v = k->v;
	uint8_t secret[SEEN_SECRET_BYTES];
	struct verify_runs none = {.number_max = k->runs.number_max};
	struct verify_new n;
	int rc = k->secret_missing ? 0 : verify_set_aside(v, k->secret_path, true, 0, 0, 0, 0, "damaged");

	for (uint32_t i = 0; i < k->runs.count && rc == 0; i++)
		rc = keep_broken(k, k->runs.list[i]->path, k->runs.list[i]->end_ms, k->runs.list[i]->number);
	for (uint32_t i = 0; i < k->broken_count && rc == 0; i++)
		rc = verify_set_aside(v, k->broken[i].path, false, 0, 0, 0, 0, "its secret is gone");
	if (rc == 0 && (rc = v->sys->ops->random(v->sys->self, secret + 8, 32)) < 0)
		rc = verify_failed(v, "make", k->secret_path, rc);
	memcpy(secret, SEEN_SECRET_MAGIC, 8);
	(void)wire_put_u32(secret + 40, crc32c(0, secret, 40));
	none.secret = (struct hash_key){wire_load_u64(secret + 8), wire_load_u64(secret + 16)};
	if (rc >= 0)
		rc = verify_write_keys(v, &none, 0, none.number_max + 1);
	if (rc == 0)
		rc = verify_new_open(v, &n, k->secret_path);
	if (rc == 0)
		rc = verify_new_write(v, &n, slice_make(secret, sizeof(secret)));
	for (uint32_t i = 0; i < k->broken_count && rc == 0; i++)
		(void)v->sys->ops->unlink(v->sys->self, k->broken[i].path);
	v->out->mended++;
	return rc;
}

/* ---- the whole ---- */

static void free_keys(struct keys *k)
{
	for (uint32_t i = 0; i < k->runs.count; i++)
		seen_run_unref(k->runs.list[i]);
	while (seen_yard_step(&k->yard))
		;
	(void)pthread_mutex_destroy(&k->yard.lock);
	mem_free(k->runs.list);
	mem_free(k->broken);
}

int verify_seen(struct verify *v)
{
	struct keys k = {.v = v};
	struct verify_names names;
	int rc;

	(void)pthread_mutex_init(&k.yard.lock, NULL);
	(void)snprintf(k.dir, sizeof(k.dir), "%.600s/seen", v->options->dir);
	rc = verify_list(v, k.dir, &names);
	if (rc == -ENOENT) {
		verify_tell(v, k.dir, 0, true, 0, 0, NULL, "is missing: a start makes it");
		return 0;
	}
	if (rc)
		return verify_failed(v, "read", k.dir, rc);
	check_secret(&k);
	for (uint32_t i = 0; i < names.count && rc == 0; i++)
		rc = check_bucket(&k, names.list[i]);
	verify_names_free(&names);
	if (rc == 0 && k.secret_missing && k.run_count) {
		k.secret_bad = true;
		verify_tell(v, k.secret_path, 0, false, 0, 0, MEND_SECRET,
			    "the secret is missing, and without it the runs beside it mean nothing");
	}
	if (rc == 0 && v->options->repair)
		rc = k.secret_bad ? mend_secret(&k) : mend_runs(&k);
	if (rc == 0 && v->options->repair && v->keys_hurt && !k.secret_bad && !k.secret_missing)
		rc = verify_write_keys(v, &k.runs, 0, k.runs.number_max + 1);
	free_keys(&k);
	return rc;
}
