/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which parts there are: a file each, named by its identity (files_find.h).
 *
 * A file that grew after it was taken whole (its writer paused for longer than `quiet`) is a new part that begins where the
 * old one ended, named by both: rows are neither lost nor read twice.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "connect/files/files_inner.h"

enum { CHAIN_MAX = 64 };

struct planning {
	struct files *files;
	struct source_plan *plan;
	uint32_t room;
};

static bool is_known(void *ctx, const char *identity)
{
	struct source_checkpoint checkpoint;
	bool done;

	return source_plan_find(((struct planning *)ctx)->plan, slice_str(identity), &checkpoint, &done);
}

static int name_part(struct planning *p, const char *identity, const char *path, uint64_t bytes,
		     struct source_checkpoint checkpoint)
{
	struct files *f = p->files;

	if (f->named_count < p->room) {
		struct files_named *n = &f->named[f->named_count++];
		(void)snprintf(n->identity, sizeof(n->identity), "%s", identity);
		n->path = path;
	}
	return source_plan_add(p->plan, &(struct source_plan_part){.name = slice_str(identity),
								   .title = slice_str(path),
								   .checkpoint = checkpoint,
								   .total = bytes});
}

/* Nothing of it is read, and that is no failure: the others are. */
static void warn_of_rights(struct files *f, const char *path)
{
	source_warn(f->source, "%s cannot be read: %s; let the user read it that weir runs as", path,
		    sys_error_text(-errno));
}

/*
 * Names the part of a file; where that is done and the file has grown since, also the part that goes on
 * behind it, and so on.
 */
static int plan_file(struct planning *p, const struct files_found *file)
{
	char identity[FILES_IDENTITY_BYTES], whole[FILES_NAME_BYTES];
	struct source_checkpoint checkpoint = {0};
	uint8_t begin[FILES_CHECKPOINT_BYTES];
	struct files_place place;
	uint64_t seen;
	bool done = false;
	int rc = 0;

	errno = 0;
	if (!files_identify(file, is_known, p, whole)) {
		if (errno == EACCES || errno == EPERM)
			warn_of_rights(p->files, file->path);
		return 0;
	}
	(void)snprintf(identity, sizeof(identity), "%s", whole);
	for (int link = 0; !rc && link < CHAIN_MAX; link++) {
		bool known = source_plan_find(p->plan, slice_str(identity), &checkpoint, &done);
		bool young = file->modified_ms > sys_wall_ms(p->files->sys) - p->files->settings->quiet_ms;
		if (!known && young && !p->files->settings->follow)
			return 0;
		if (!known && link > 0)
			checkpoint = (struct source_checkpoint){slice_make(begin, sizeof(begin)),
								FILES_CHECKPOINT_VERSION};
		else if (!known)
			checkpoint = (struct source_checkpoint){0};
		rc = name_part(p, identity, file->path, file->bytes, checkpoint);
		if (rc || !known || !done || file->compressed ||
		    !files_load_place(&checkpoint, &place, &seen) || file->bytes <= seen)
			return rc;
		files_save_place(&place, seen, begin);
		(void)snprintf(identity, sizeof(identity), "%s@%llu", whole,
			       (unsigned long long)place.offset);
	}
	return rc;
}

/* Files that fit no path any more are read to their end where they are open. */
static int plan_renamed(struct planning *p)
{
	int rc = 0;

	for (struct files_reading *r = p->files->open; r && !rc; r = r->next)
		if (p->files->settings->follow && r->input && r->idle_polls < FILES_DRAINED_POLLS)
			rc = source_plan_add(p->plan,
					     &(struct source_plan_part){.name = slice_str(r->identity),
									.title = slice_str(r->path)});
	return rc;
}

static int compare_named(const void *a, const void *b)
{
	return strcmp(a, b); /* the identity is the first member */
}

/* Directories that are not there may come; those that may not be listed have to be told of. */
static void look_at_paths(struct files *f)
{
	const struct conf_list *paths = &f->settings->paths;
	char base[4096];

	for (uint32_t i = 0; i < paths->count; i++) {
		size_t n = strcspn(paths->items[i], "*?[");
		bool glob = paths->items[i][n];
		while (glob && n > 0 && paths->items[i][n - 1] != '/')
			n--;
		(void)snprintf(base, sizeof(base), "%.*s", n ? (int)n : 1, n ? paths->items[i] : ".");
		int fd = open(base, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
		if (fd >= 0)
			close(fd);
		else if (errno == EACCES || errno == EPERM)
			warn_of_rights(f, base);
	}
}

/* Before the files are looked for, so that none comes in between. */
static void watch_paths(struct files *f)
{
	const struct conf_list *paths = &f->settings->paths;
	char base[4096];

	if (f->settings->follow && f->settings->watch && !f->test && !f->watch_tried)
		f->watch = files_watch_new(f->source, f->sys, paths);
	f->watch_tried = true;
	for (uint32_t i = 0; f->watch && i < paths->count; i++) {
		struct stat st;
		bool dir = stat(paths->items[i], &st) == 0 && S_ISDIR(st.st_mode);
		size_t fixed = dir ? strlen(paths->items[i]) : strcspn(paths->items[i], "*?[");
		if (snprintf(base, sizeof(base), "%.*s%s", (int)fixed, paths->items[i], dir ? "/" : "") <
		    (int)sizeof(base))
			files_watch_dir(f->watch, base);
	}
}

/* Directories that globs stand for. The files come sorted. */
static void watch_found(struct files *f, const struct files_found *found, uint32_t count)
{
	size_t last = 0;

	for (uint32_t i = 0; f->watch && i < count; i++) {
		const char *slash = strrchr(found[i].path, '/');
		size_t n = slash ? (size_t)(slash - found[i].path) + 1 : 0;
		if (i == 0 || n != last || strncmp(found[i].path, found[i - 1].path, n) != 0)
			files_watch_dir(f->watch, found[i].path);
		last = n;
	}
}

enum source_end files_plan(void *self, struct source_plan *plan)
{
	struct files *f = self;
	struct planning p = {.files = f, .plan = plan};
	struct files_found *found = NULL;
	struct fault fault = {0};
	uint32_t count = 0;

	int64_t began_ns = sys_monotonic_ns(f->sys);

	watch_paths(f);
	look_at_paths(f);
	arena_reset(&f->arena);
	f->named = NULL;
	f->named_count = 0;
	int rc = files_find(&f->settings->paths, &f->arena, &found, &count, &fault);
	if (!rc) {
		p.room = 2 * count + 1;
		f->named = arena_zalloc(&f->arena, p.room, sizeof(f->named[0]));
		rc = f->named ? 0 : ERR_NOMEM;
	}
	for (uint32_t i = 0; !rc && i < count && !source_cancelled(&plan->call); i++)
		if (!f->settings->follow || !found[i].compressed)
			rc = plan_file(&p, &found[i]);
	if (!rc)
		watch_found(f, found, count);
	if (!rc && !count && f->test)
		source_warn(
			f->source,
			"no file fits the paths (%s%s); empty ones, hidden ones and those named .tmp or .part do not count",
			f->settings->paths.items[0], f->settings->paths.count > 1 ? ", ..." : "");
	if (f->named_count)
		qsort(f->named, f->named_count, sizeof(f->named[0]), compare_named);
	if (!rc)
		rc = plan_renamed(&p);
	if (!f->watch || files_watch_planned(f->watch, sys_monotonic_ns(f->sys) - began_ns, f->named_count))
		f->polls++;
	if (rc)
		return source_fail(&plan->call, rc == ERR_LIMIT ? SOURCE_FINAL : SOURCE_TRANSIENT, "%s",
				   fault.text[0] ? fault.text : err_row(rc)->sentence);
	if (source_cancelled(&plan->call))
		return source_fail(&plan->call, SOURCE_TRANSIENT, "the plan was given up");
	return SOURCE_IDLE;
}

const char *files_path_of(const struct files *f, const char *identity)
{
	const struct files_named *found = f->named_count ? bsearch(identity, f->named, f->named_count,
								   sizeof(f->named[0]), compare_named) :
							   NULL;

	return found ? found->path : NULL;
}
