/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening and closing: the folder, the secret, the runs that are there. What a
 * crash left (temporary names, empty buckets) is removed; what weir did not
 * write is left alone.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/crc32c.h"
#include "base/mem.h"
#include "base/wire.h"
#include "log/seen_format.h"
#include "log/seen_inner.h"

#define FILES_MAX 64u
#define TABLE_BYTES_MAX (96ull << 20)
#define SECRET_MAGIC SEEN_SECRET_MAGIC
#define SECRET_BYTES SEEN_SECRET_BYTES
#define NAMES_MAX 65536u

/* ---- paths ---- */

static bool fits(int printed)
{
	return printed > 0 && (uint32_t)printed < SEEN_PATH_MAX;
}

bool seen_bucket_path(const struct seen *s, int64_t end_ms, char *path)
{
	return fits(snprintf(path, SEEN_PATH_MAX, "%s/%" PRId64, s->dir, end_ms));
}

bool seen_run_path(const struct seen *s, int64_t end_ms, uint64_t number, char *path)
{
	return fits(snprintf(path, SEEN_PATH_MAX, "%s/%" PRId64 "/%" PRIu64 ".run", s->dir, end_ms, number));
}

static int say(struct fault *fault, const char *path, const char *doing, int got)
{
	return fault_set(fault, ERR_IO, "%s: %s: %s", path, doing, sys_error_text(got));
}

int seen_bucket_make(struct seen *s, int64_t end_ms, struct fault *fault)
{
	char path[SEEN_PATH_MAX];
	int got;

	if (!seen_bucket_path(s, end_ms, path))
		return fault_set(fault, ERR_LIMIT, "%s: the path is too long", s->dir);
	got = s->sys->ops->mkdir(s->sys->self, path);
	if (got == 0)
		got = s->sys->ops->sync_dir(s->sys->self, s->dir);
	return got < 0 ? say(fault, path, "making the folder", got) : 0;
}

int seen_new_run(struct seen *s, int64_t end_ms, struct seen_place *place, struct seen_writer_options *o,
		 struct fault *fault)
{
	int err = seen_bucket_make(s, end_ms, fault);

	*o = (struct seen_writer_options){
		.sys = s->sys,
		.yard = &s->yard,
		.folder = place->folder,
		.path = place->path,
		.end_ms = end_ms,
		.number = s->next_number++,
	};
	if (err)
		return err;
	if (!seen_bucket_path(s, end_ms, place->folder) || !seen_run_path(s, end_ms, o->number, place->path))
		return fault_set(fault, ERR_LIMIT, "%s: the path is too long", s->dir);
	return 0;
}

static int make_folder(struct seen *s, struct fault *fault)
{
	char above[SEEN_PATH_MAX];
	char *slash;
	int got = s->sys->ops->mkdir(s->sys->self, s->dir);

	if (!fits(snprintf(above, sizeof(above), "%s", s->dir)))
		return fault_set(fault, ERR_LIMIT, "%s: the path is too long", s->dir);
	slash = strrchr(above, '/');
	if (!slash)
		(void)snprintf(above, sizeof(above), ".");
	else if (slash == above)
		above[1] = '\0';
	else
		*slash = '\0';
	if (got == 0)
		got = s->sys->ops->sync_dir(s->sys->self, above);
	return got < 0 ? say(fault, s->dir, "making the folder", got) : 0;
}

/* ---- lists of names ---- */

struct names {
	char **names;
	uint32_t count, cap;
	int err;
};

static int add_name(void *ctx, const char *name)
{
	struct names *n = ctx;

	if (n->count == n->cap) {
		uint32_t cap = n->cap ? n->cap * 2 : 64;
		char **more = cap > NAMES_MAX ? NULL : mem_realloc(n->names, cap * sizeof(*more));

		n->err = cap > NAMES_MAX ? ERR_LIMIT : ERR_NOMEM;
		if (!more)
			return 1;
		n->err = 0;
		n->names = more;
		n->cap = cap;
	}
	n->names[n->count] = mem_strndup(name, strlen(name));
	if (!n->names[n->count]) {
		n->err = ERR_NOMEM;
		return 1;
	}
	n->count++;
	return 0;
}

static void free_names(struct names *n)
{
	for (uint32_t i = 0; i < n->count; i++)
		mem_free(n->names[i]);
	mem_free(n->names);
}

static int list_names(struct seen *s, const char *path, struct names *n, struct fault *fault)
{
	int got = s->sys->ops->list(s->sys->self, path, add_name, n);

	if (n->err)
		return fault_set(fault, n->err,
				 n->err == ERR_NOMEM ? "%s: no memory to open it" :
						       "%s: too many names to open it",
				 path);
	return got < 0 ? say(fault, path, "listing", got) : 0;
}

static bool ends_with(const char *name, const char *end)
{
	size_t n = strlen(name), m = strlen(end);

	return n > m && strcmp(name + n - m, end) == 0;
}

/* ---- runs ---- */

/* Runs found so far; the references are held here. */
struct found {
	struct seen_run **runs;
	uint32_t count, cap;
};

static int keep_run(struct found *f, struct seen_run *r)
{
	if (f->count == f->cap) {
		uint32_t cap = f->cap ? f->cap * 2 : 64;
		struct seen_run **more = mem_realloc(f->runs, cap * sizeof(*more));

		if (!more) {
			seen_run_unref(r);
			return ERR_NOMEM;
		}
		f->runs = more;
		f->cap = cap;
	}
	f->runs[f->count++] = r;
	return 0;
}

static int open_run(struct seen *s, int64_t end_ms, const char *name, struct found *f, struct fault *fault)
{
	char path[SEEN_PATH_MAX];
	struct seen_run *r;
	uint64_t number;
	int err;

	if (!slice_to_u64(slice_make(name, strlen(name) - strlen(".run")), &number))
		return 0;
	if (!seen_run_path(s, end_ms, number, path))
		return fault_set(fault, ERR_LIMIT, "%s: the path is too long", s->dir);
	err = seen_run_open(s->sys, &s->yard, path, &r, fault);
	if (err)
		return err;
	if (r->end_ms != end_ms || r->number != number) {
		seen_run_unref(r);
		return fault_set(fault, ERR_CORRUPT, "%s: is another run under this name", path);
	}
	if (number >= s->next_number)
		s->next_number = number + 1;
	err = keep_run(f, r);
	return err ? fault_set(fault, err, "%s: no memory to open it", path) : 0;
}

static int open_or_remove(struct seen *s, const char *folder, int64_t end_ms, const char *name,
			  struct found *f, struct fault *fault)
{
	char path[SEEN_PATH_MAX];
	int got;

	if (ends_with(name, ".run"))
		return open_run(s, end_ms, name, f, fault);
	if (!ends_with(name, ".run.tmp"))
		return 0;
	if (!fits(snprintf(path, sizeof(path), "%s/%s", folder, name)))
		return fault_set(fault, ERR_LIMIT, "%s: the path is too long", folder);
	got = s->sys->ops->unlink(s->sys->self, path);
	return got < 0 ? say(fault, path, "removing what a crash left", got) : 0;
}

static int open_bucket(struct seen *s, const char *name, struct found *f, struct fault *fault)
{
	char folder[SEEN_PATH_MAX], canonical[SEEN_PATH_MAX];
	struct names n = {.count = 0};
	uint32_t before = f->count;
	int64_t end_ms;
	int err;

	if (!slice_to_i64(slice_str(name), &end_ms) || !seen_bucket_path(s, end_ms, canonical) ||
	    !fits(snprintf(folder, sizeof(folder), "%s/%s", s->dir, name)) || strcmp(folder, canonical) != 0)
		return 0; /* nothing of weir's */
	err = list_names(s, folder, &n, fault);
	for (uint32_t i = 0; i < n.count && !err; i++)
		err = open_or_remove(s, folder, end_ms, n.names[i], f, fault);
	free_names(&n);
	if (!err && f->count == before)
		(void)s->sys->ops->rmdir(s->sys->self, folder); /* empty, or somebody's */
	return err;
}

static int newest_first(const void *a, const void *b)
{
	const struct seen_run *x = *(struct seen_run *const *)a, *y = *(struct seen_run *const *)b;

	return x->number < y->number ? 1 : x->number > y->number ? -1 : 0;
}

static int open_runs(struct seen *s, struct fault *fault)
{
	struct found f = {.count = 0};
	struct names n = {.count = 0};
	struct seen_set *set = NULL;
	int err = list_names(s, s->dir, &n, fault);

	for (uint32_t i = 0; i < n.count && !err; i++)
		err = open_bucket(s, n.names[i], &f, fault);
	free_names(&n);
	if (f.count > 1)
		qsort(f.runs, f.count, sizeof(struct seen_run *), newest_first);
	if (!err) {
		set = seen_set_new(NULL, NULL, 0, f.runs, f.count);
		err = set ? 0 : fault_set(fault, ERR_NOMEM, "%s: no memory for its runs", s->dir);
	}
	for (uint32_t i = 0; i < f.count; i++)
		seen_run_unref(f.runs[i]);
	mem_free(f.runs);
	atomic_store(&s->set, set);
	return err;
}

/* ---- the secret ---- */

static void use_secret(struct seen *s, const uint8_t *secret)
{
	s->fingerprint_key = (struct hash_key){wire_load_u64(secret + 8), wire_load_u64(secret + 16)};
	s->payload_key = (struct hash_key){wire_load_u64(secret + 24), wire_load_u64(secret + 32)};
}

static int write_secret(struct seen *s, int fd, uint8_t *secret)
{
	struct iovec iov = {.iov_base = secret, .iov_len = SECRET_BYTES};
	int got = s->sys->ops->random(s->sys->self, secret + 8, 32);

	memcpy(secret, SECRET_MAGIC, 8);
	(void)wire_put_u32(secret + 40, crc32c(0, secret, 40));
	if (got >= 0)
		got = s->sys->ops->pwritev(s->sys->self, fd, &iov, 1, 0);
	if (got >= 0)
		got = s->sys->ops->fsync(s->sys->self, fd);
	return got < 0 ? got : 0;
}

static int make_secret(struct seen *s, const char *path, struct fault *fault)
{
	char temp[SEEN_PATH_MAX + 8];
	uint8_t secret[SECRET_BYTES];
	int fd, got;

	(void)snprintf(temp, sizeof(temp), "%s.tmp", path);
	fd = s->sys->ops->open(s->sys->self, temp, SYS_CREATE | SYS_TRUNCATE);
	if (fd < 0)
		return say(fault, temp, "creating", fd);
	got = write_secret(s, fd, secret);
	s->sys->ops->close(s->sys->self, fd);
	if (got == 0)
		got = s->sys->ops->rename(s->sys->self, temp, path);
	if (got == 0)
		got = s->sys->ops->sync_dir(s->sys->self, s->dir);
	if (got < 0)
		return say(fault, path, "writing", got);
	use_secret(s, secret);
	return 0;
}

static int load_secret(struct seen *s, struct fault *fault)
{
	uint8_t secret[SECRET_BYTES + 1];
	char path[SEEN_PATH_MAX];
	int64_t got;
	int fd;

	if (!fits(snprintf(path, sizeof(path), "%s/secret", s->dir)))
		return fault_set(fault, ERR_LIMIT, "%s: the path is too long", s->dir);
	fd = s->sys->ops->open(s->sys->self, path, SYS_READ);
	if (fd == -ENOENT && atomic_load(&s->set)->count == 0)
		return make_secret(s, path, fault);
	if (fd == -ENOENT)
		return fault_set(fault, ERR_CORRUPT,
				 "%s: is missing, and without it the runs beside it mean nothing", path);
	if (fd < 0)
		return say(fault, path, "opening", fd);
	got = s->sys->ops->pread(s->sys->self, fd, secret, sizeof(secret), 0);
	s->sys->ops->close(s->sys->self, fd);
	if (got < 0)
		return say(fault, path, "reading", (int)got);
	if (got != SECRET_BYTES || memcmp(secret, SECRET_MAGIC, 8) != 0 ||
	    crc32c(0, secret, 40) != wire_load_u32(secret + 40))
		return fault_set(fault, ERR_CORRUPT, "%s: is damaged", path);
	/* Whoever made it may have been killed before its name was durable. */
	got = s->sys->ops->sync_dir(s->sys->self, s->dir);
	if (got < 0)
		return say(fault, path, "syncing", (int)got);
	use_secret(s, secret);
	return 0;
}

/* ---- opening and closing ---- */

static int fill_seen(struct seen *s, const struct seen_options *o)
{
	s->sys = o->sys;
	s->bucket_ms = o->bucket_ms;
	s->files_max = o->files_max ? o->files_max : FILES_MAX;
	s->next_number = 1;
	s->checkpoint = 1;
	pthread_mutex_init(&s->yard.lock, NULL);
	pthread_mutex_init(&s->fault_lock, NULL);
	pthread_mutex_init(&s->maintenance, NULL);
	s->dir = mem_strndup(o->dir, strlen(o->dir));
	if (!s->dir)
		return ERR_NOMEM;
	return seen_table_init(&s->table, o->table_bytes_max ? o->table_bytes_max : TABLE_BYTES_MAX);
}

int seen_open(const struct seen_options *options, struct seen **out, struct fault *fault)
{
	struct seen *s = mem_zalloc(1, sizeof(*s));
	int err;

	if (!s)
		return fault_set(fault, ERR_NOMEM, "%s: no memory to open it", options->dir);
	err = fill_seen(s, options);
	if (err)
		(void)fault_set(fault, err, "%s: no memory to open it", options->dir);
	if (!err)
		err = make_folder(s, fault);
	if (!err)
		err = open_runs(s, fault);
	if (!err)
		err = load_secret(s, fault);
	if (err) {
		seen_close(s);
		return err;
	}
	*out = s;
	return 0;
}

void seen_close(struct seen *s)
{
	struct seen_set *set;

	if (!s)
		return;
	seen_merge_abort(s->merge);
	set = atomic_load(&s->set);
	if (set)
		seen_set_unref(set);
	while (seen_yard_step(&s->yard))
		;
	seen_table_fini(&s->table);
	pthread_mutex_destroy(&s->maintenance);
	pthread_mutex_destroy(&s->fault_lock);
	pthread_mutex_destroy(&s->yard.lock);
	mem_free(s->dir);
	mem_free(s);
}
