/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The type: its settings, its life, and what becomes of a file that is stored. A part is a file.
 */
#include "connect/files/files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "connect/files/files_inner.h"
#include "json/pointer.h"

/* ---- settings ---- */

static const char *const formats[] = {"auto", "ndjson", "csv", "json", "lines", NULL};
static const char *const afters[] = {"keep", "move", "delete", NULL};

#define MEMBER(member) SETTING_MEMBER(struct files_settings, member)
static const struct setting table[] = {
	{"paths", NULL,
	 "Files to read: paths, globs such as /in/*.csv, or directories, which stand for the files in them.",
	 .type = SETTING_LIST, .min = 1, .max = 4000, .flags = SETTING_REQUIRED, MEMBER(paths)},
	{"format", "auto",
	 "What a file holds: ndjson (a JSON text a line), csv, json (an array, each element a record, or JSON texts one behind the other), or lines, which are taken as they are. auto goes by the name: .ndjson, .jsonl, .csv, .json, any other is lines. gzip and zstd are recognised whatever the name.",
	 .type = SETTING_ENUM, .names = formats, MEMBER(format)},
	{"follow", "false",
	 "Whether files are read as they grow, and on after they were renamed or cut; otherwise each is taken whole, once.",
	 .type = SETTING_BOOL, MEMBER(follow)},
	{"watch", "true",
	 "Whether the kernel is asked to tell when followed files grow (inotify), so that they are read within milliseconds; every stays the time after which they are looked at in any case, as network file systems do not tell what other machines write.",
	 .type = SETTING_BOOL, MEMBER(watch)},
	{"quiet", "5s",
	 "How long a file that is taken whole must not have changed; so one that is being written is left alone.",
	 .type = SETTING_DURATION, .min = 0, .max = 86400000, MEMBER(quiet_ms)},
	{"after", "keep", "What becomes of a file when all of it is stored.", .type = SETTING_ENUM,
	 .names = afters, MEMBER(after)},
	{"move_to", NULL, "Directory that files are moved to with after: move. On the same file system.",
	 .type = SETTING_STRING, .min = 1, .max = 4000, MEMBER(move_to)},
	{"key", NULL,
	 "JSON pointer to the key in each record, such as /customer/id; a record that has none there is a dead letter. Rows of CSV are objects by then: /NAME is a column.",
	 .type = SETTING_STRING, .min = 1, .max = 1000, .shape = json_pointer_valid,
	 .shape_text = "a JSON pointer, such as /id", MEMBER(key)},
	CSV_ROWS_SETTINGS(struct files_settings, csv),
};

static void check_settings(const void *given, struct conf_check *check)
{
	const struct files_settings *s = given;

	if (s->after == AFTER_MOVE && !s->move_to)
		conf_check_fail(check, "after", "after: move needs move_to, the directory to move to");
	if (s->after != AFTER_MOVE && s->move_to)
		conf_check_fail(check, "move_to", "move_to is for after: move");
	if (s->key && s->format == FORMAT_LINES)
		conf_check_fail(check, "key", "lines are taken as they are and have no key");
	if (s->follow && s->after != AFTER_KEEP)
		conf_check_fail(check, "after",
				"a file that is followed has no end; after is for files that are taken whole");
	if (s->follow && (s->format == FORMAT_JSON))
		conf_check_fail(check, "format",
				"a JSON array is taken whole; follow is for ndjson, csv and lines");
}

static int open_source(const struct source_setup *setup, void **self, struct fault *fault)
{
	if (setup->guarded)
		return fault_set(
			fault, ERR_BAD_CONFIG,
			"a source of files is for the configuration file: over the API it would read this machine's files");
	struct files *f = mem_zalloc(1, sizeof(*f));
	if (!f)
		return ERR_NOMEM;
	f->settings = setup->settings;
	f->sys = setup->sys;
	f->source = setup->source;
	f->test = setup->test;
	arena_init(&f->arena, 65536, 64u << 20);
	pthread_mutex_init(&f->lock, NULL);
	*self = f;
	return 0;
}

static void close_source(void *self)
{
	struct files *f = self;

	files_watch_free(f->watch);
	arena_fini(&f->arena);
	pthread_mutex_destroy(&f->lock);
	mem_free(f);
}

static void show_checkpoint(uint8_t version, struct slice bytes, struct buf *json)
{
	struct source_checkpoint c = {bytes, version};
	struct files_place p;
	uint64_t file_bytes;

	if (!files_load_place(&c, &p, &file_bytes))
		(void)buf_append_str(json, "null");
	else
		(void)buf_appendf(json, "{\"offset\":%llu,\"line\":%llu}", (unsigned long long)p.offset,
				  (unsigned long long)p.line);
}

/* ---- when all of it is stored ---- */

static enum source_end move_file(struct files *f, const char *path, struct source_settle *settle)
{
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	char to[4400];
	int rc = 0;

	for (int i = 0; i < 1000; i++) {
		rc = i ? snprintf(to, sizeof(to), "%s/%s.%d", f->settings->move_to, name, i) :
			 snprintf(to, sizeof(to), "%s/%s", f->settings->move_to, name);
		if (rc >= (int)sizeof(to))
			break;
		if (renameat2(AT_FDCWD, path, AT_FDCWD, to, RENAME_NOREPLACE) == 0 || errno == ENOENT)
			return SOURCE_IDLE;
		if (errno != EEXIST)
			break;
	}
	return source_fail(&settle->call, SOURCE_TRANSIENT, "%s cannot be moved to %s: %s", path,
			   f->settings->move_to, sys_error_text(-errno));
}

static enum source_end settle_part(void *self, struct source_part *part, struct source_settle *settle)
{
	struct files *f = self;
	char identity[FILES_IDENTITY_BYTES], title[4096];
	struct files_place place;
	struct stat st;
	uint64_t seen;

	(void)snprintf(identity, sizeof(identity), "%.*s", (int)part->name.len, part->name.ptr);
	(void)snprintf(title, sizeof(title), "%.*s", (int)part->title.len, part->title.ptr);
	const char *path = files_path_of(f, identity);
	if (!path)
		path = title;
	identity[files_identity_bytes(identity)] = 0;
	/* It is gone, is another by now, or has grown since: then the next plan knows. */
	if (!files_load_place(&settle->checkpoint, &place, &seen) || !files_is(path, identity) ||
	    stat(path, &st) != 0 || (uint64_t)st.st_size != seen)
		return SOURCE_IDLE;
	if (f->settings->after == AFTER_MOVE)
		return move_file(f, path, settle);
	if (f->settings->after == AFTER_DELETE && unlink(path) != 0 && errno != ENOENT)
		return source_fail(&settle->call, SOURCE_TRANSIENT, "%s cannot be deleted: %s", path,
				   sys_error_text(-errno));
	return SOURCE_IDLE;
}

const struct source_type source_files = {
	.kind = {.name = "files",
		 .summary = "Files of a directory, each whole and once, or followed as they grow",
		 .settings = table,
		 .setting_count = sizeof(table) / sizeof(table[0]),
		 .settings_bytes = sizeof(struct files_settings),
		 .check = check_settings},
	.flags = SOURCE_BLOCKS,
	.every_ms = 1000,
	.open = open_source,
	.close = close_source,
	.plan = files_plan,
	.pull = files_pull,
	.settle = settle_part,
	.drop = files_drop,
	.show = show_checkpoint,
};
