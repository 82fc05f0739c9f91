/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One inotify descriptor and one thread a followed source. Files are watched by their descriptor (/proc/self/fd), so by
 * inode: no name is looked up, and renaming changes nothing. Directories are watched for files that come.
 *
 *	file grew, cut           wake its parts
 *	file came, fits          a watch that tells once of its first byte (empty files are no parts), and a plan
 *	the queue overflowed     wake all, plan
 *
 * The thread sleeps GAP_MS after each look, so a writer of a million small writes causes a hundred pulls a second and not a
 * million; what comes after silence is told at once. Plans are rarer the more they cost.
 *
 * Rejected: inotify on the loop (a type that blocks has no hooks there, and closes on another thread); fanotify (wants
 * privileges); only directories (what is renamed to elsewhere goes on growing, and is ours to the end).
 */
#include "connect/files/files_watch.h"

#include <errno.h>
#include <fnmatch.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/mem.h"
#include "connect/files/files_find.h"

#ifndef IN_MASK_CREATE
#define IN_MASK_CREATE 0x10000000
#endif

enum { GAP_MS = 10, PLAN_GAP_MS = 20, EVENTS_BYTES = 64 * 1024 };
#define COUNTS_NS 1000000000ll
enum { DIR_EVENTS = IN_CREATE | IN_MOVED_TO | IN_ONLYDIR };
enum { FILE_EVENTS = IN_MODIFY };

/* A directory that is watched. */
struct dir {
	struct table_node node;
	int id;
	char path[];
};

struct files_watch {
	struct source *source;
	const struct sys *sys;
	const struct conf_list *patterns;
	int events, end; /* inotify; written at the end */
	pthread_t thread;
	pthread_mutex_t lock; /* of all below */
	struct table files, dirs;
	bool warned;
	bool wanted;           /* a plan is to be asked for */
	bool asked;            /* it was, and has not come yet */
	int64_t not_before_ns; /* monotonic: no plan is asked for before */
	int64_t counted_ns;    /* likewise: of the last plan that counted as a poll */
};

static uint64_t hash_of(int id)
{
	static const struct hash_key key = {0x7761746368, 0};

	return hash_sip13(&key, slice_make(&id, sizeof(id)));
}

static struct dir *find_dir(const struct files_watch *w, int id)
{
	struct table_node *node = table_first(&w->dirs, hash_of(id));

	for (; node; node = table_next(node))
		if (((struct dir *)node)->id == id)
			return (struct dir *)node;
	return NULL;
}

/* ---- what the kernel told; under the lock ---- */

/* As a pattern would name it. False: it is too long. */
static bool path_in(const struct dir *dir, const char *name, char *out, size_t size)
{
	const char *slash = strcmp(dir->path, "/") == 0 ? "" : "/";
	int n = strcmp(dir->path, ".") == 0 ? snprintf(out, size, "%s", name) :
					      snprintf(out, size, "%s%s%s", dir->path, slash, name);

	return n < (int)size;
}

/* Is it of a file that one of the patterns means? Whole paths are compared, as a pattern may name directories too. */
static bool may_fit(const struct files_watch *w, const struct dir *dir, const char *name)
{
	char path[4096], within[4096];
	int n;

	if (!path_in(dir, name, path, sizeof(path)) || files_is_unfinished(path))
		return false;
	for (uint32_t i = 0; i < w->patterns->count; i++) {
		const char *pattern = w->patterns->items[i];
		size_t len = strlen(pattern);
		while (len > 1 && pattern[len - 1] == '/')
			len--;
		n = snprintf(within, sizeof(within), "%.*s/*", (int)len, pattern);
		if (fnmatch(pattern, path, FNM_PATHNAME) == 0 ||
		    (n < (int)sizeof(within) && fnmatch(within, path, FNM_PATHNAME) == 0))
			return true;
	}
	return false;
}

/*
 * A new file is empty mostly, and no part yet. Its first byte is told of once, unless it is watched already
 * (IN_MASK_CREATE leaves that as it is); what was written before that watch the plan sees.
 */
static void expect_first_byte(const struct files_watch *w, const struct dir *dir, const char *name)
{
	char path[4096];

	if (path_in(dir, name, path, sizeof(path)))
		(void)inotify_add_watch(w->events, path,
					FILE_EVENTS | IN_ONESHOT | IN_MASK_CREATE | IN_DONT_FOLLOW);
}

static void take_dir_event(struct files_watch *w, const struct dir *dir, const struct inotify_event *e)
{
	if (e->mask & IN_ISDIR) {
		w->wanted = true;
		return;
	}
	if (!e->len || !may_fit(w, dir, e->name))
		return;
	if (e->mask & IN_CREATE)
		expect_first_byte(w, dir, e->name);
	w->wanted = true;
}

static void wake_all(struct files_watch *w)
{
	struct table_node *node = NULL;

	while ((node = table_walk(&w->files, node)) != NULL)
		source_wake(((struct files_watched *)node)->part);
	w->wanted = true;
}

static void forget_dir(struct files_watch *w, int id)
{
	struct dir *dir = find_dir(w, id);

	if (!dir)
		return;
	table_remove(&w->dirs, &dir->node);
	mem_free(dir);
}

static void take_event(struct files_watch *w, const struct inotify_event *e)
{
	struct table_node *node = table_first(&w->files, hash_of(e->wd));
	bool known = false;

	if (e->mask & IN_Q_OVERFLOW) {
		wake_all(w);
		return;
	}
	if (e->mask & IN_IGNORED) {
		forget_dir(w, e->wd);
		return;
	}
	for (; node; node = table_next(node)) {
		struct files_watched *file = (struct files_watched *)node;
		if (file->id != e->wd)
			continue;
		source_wake(file->part);
		known = true;
	}
	const struct dir *dir = find_dir(w, e->wd);
	if (dir)
		take_dir_event(w, dir, e);
	else if (!known && e->mask & IN_MODIFY)
		w->wanted = true; /* the first byte of a new file */
}

/* Gives how long to wait until a plan may be asked for, ms; -1: none is wanted. */
static int ask_for_plan(struct files_watch *w)
{
	int64_t left;

	if (!w->wanted)
		return -1;
	left = w->not_before_ns - sys_monotonic_ns(w->sys);
	if (left > 0)
		return (int)(left / 1000000 + 1);
	w->wanted = false;
	w->asked = true;
	/* Until that plan says what it took. */
	w->not_before_ns = sys_monotonic_ns(w->sys) + PLAN_GAP_MS * 1000000ll;
	source_plan_again(w->source);
	return -1;
}

/* ---- the thread ---- */

static int take_events(struct files_watch *w)
{
	_Alignas(struct inotify_event) char bytes[EVENTS_BYTES];
	ssize_t n = read(w->events, bytes, sizeof(bytes));
	int wait;

	pthread_mutex_lock(&w->lock);
	for (ssize_t at = 0; at < n;) {
		const struct inotify_event *e = (const void *)(bytes + at);
		take_event(w, e);
		at += (ssize_t)(sizeof(*e) + e->len);
	}
	wait = ask_for_plan(w);
	pthread_mutex_unlock(&w->lock);
	return wait;
}

static void *watch_main(void *arg)
{
	struct files_watch *w = arg;
	struct pollfd fds[2] = {{.fd = w->end, .events = POLLIN}, {.fd = w->events, .events = POLLIN}};
	int wait = -1;

	(void)pthread_setname_np(pthread_self(), "weir-watch");
	for (;;) {
		if (poll(fds, 2, wait) < 0 && errno != EINTR)
			break;
		if (fds[0].revents)
			break;
		wait = take_events(w);
		if (fds[1].revents && poll(fds, 1, GAP_MS) > 0)
			break;
	}
	return NULL;
}

/* ---- life ---- */

static void fini(struct files_watch *w)
{
	struct table_node *node = NULL, *next;

	for (node = table_walk(&w->dirs, NULL); node; node = next) {
		next = table_walk(&w->dirs, node);
		table_remove(&w->dirs, node);
		mem_free(node);
	}
	table_fini(&w->dirs);
	table_fini(&w->files);
	if (w->events >= 0)
		close(w->events);
	if (w->end >= 0)
		close(w->end);
	pthread_mutex_destroy(&w->lock);
	mem_free(w);
}

struct files_watch *files_watch_new(struct source *source, const struct sys *sys,
				    const struct conf_list *patterns)
{
	struct files_watch *w = mem_zalloc(1, sizeof(*w));
	int error = 0;

	if (!w)
		return NULL;
	w->source = source;
	w->sys = sys;
	w->patterns = patterns;
	pthread_mutex_init(&w->lock, NULL);
	w->end = -1;
	w->events = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (w->events >= 0)
		w->end = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (w->end < 0)
		error = errno;
	else if (table_init(&w->files) || table_init(&w->dirs))
		error = ENOMEM;
	else
		error = pthread_create(&w->thread, NULL, watch_main, w);
	if (!error)
		return w;
	source_warn(
		source,
		"the kernel does not tell when files grow (inotify: %s%s); they are looked at as often as `every` says",
		sys_error_text(-error),
		error == EMFILE ? ", fs.inotify.max_user_instances may be too low" : "");
	fini(w);
	return NULL;
}

void files_watch_free(struct files_watch *w)
{
	uint64_t one = 1;

	if (!w)
		return;
	while (write(w->end, &one, sizeof(one)) < 0 && errno == EINTR)
		;
	(void)pthread_join(w->thread, NULL);
	fini(w);
}

/* ---- files and directories ---- */

/* Under the lock; once, as thousands of files would say the same. */
static void warn(struct files_watch *w, const char *path, int error)
{
	if (w->warned)
		return;
	w->warned = true;
	if (error == ENOSPC)
		source_warn(
			w->source,
			"the kernel watches no more files for this user (fs.inotify.max_user_watches); from %s on they are looked at as often as `every` says",
			path);
	else
		source_warn(
			w->source,
			"the kernel does not tell when %s grows (inotify: %s); it is looked at as often as `every` says",
			path, sys_error_text(-error));
}

void files_watch_add(struct files_watch *w, int fd, struct source_part *part, struct files_watched *file)
{
	char path[64], title[256];

	file->part = part;
	file->id = -1;
	if (!w)
		return;
	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	(void)snprintf(title, sizeof(title), "%.*s", (int)(part->title.len < 200 ? part->title.len : 200),
		       part->title.ptr);
	pthread_mutex_lock(&w->lock);
	file->id = inotify_add_watch(w->events, path, FILE_EVENTS);
	if (file->id >= 0)
		table_add(&w->files, &file->node, hash_of(file->id));
	else
		warn(w, title, errno);
	pthread_mutex_unlock(&w->lock);
}

void files_watch_remove(struct files_watch *w, struct files_watched *file)
{
	bool shared = false;

	if (!w || !file->part || file->id < 0)
		return;
	pthread_mutex_lock(&w->lock);
	table_remove(&w->files, &file->node);
	/* A file that was written anew is watched for its old part and its new one. */
	for (struct table_node *node = table_first(&w->files, file->node.hash); node; node = table_next(node))
		shared = shared || ((struct files_watched *)node)->id == file->id;
	if (!shared)
		(void)inotify_rm_watch(w->events, file->id);
	pthread_mutex_unlock(&w->lock);
	file->id = -1;
}

void files_watch_dir(struct files_watch *w, const char *path)
{
	const char *slash = strrchr(path, '/');
	struct slice name = slash ? slice_make(path, (size_t)(slash - path) + 1) : SLICE_LIT(".");

	while (name.len > 1 && name.ptr[name.len - 1] == '/')
		name.len--;
	struct dir *dir = mem_zalloc(1, sizeof(*dir) + name.len + 1);
	if (!dir)
		return;
	memcpy(dir->path, name.ptr, name.len);
	pthread_mutex_lock(&w->lock);
	dir->id = inotify_add_watch(w->events, dir->path, DIR_EVENTS);
	if (dir->id < 0 && errno != ENOENT && errno != ENOTDIR)
		warn(w, dir->path, errno);
	if (dir->id >= 0 && !find_dir(w, dir->id)) {
		table_add(&w->dirs, &dir->node, hash_of(dir->id));
		dir = NULL;
	}
	pthread_mutex_unlock(&w->lock);
	mem_free(dir);
}

bool files_watch_planned(struct files_watch *w, int64_t took_ns, uint32_t parts)
{
	int64_t now = sys_monotonic_ns(w->sys);
	bool poll = true;

	pthread_mutex_lock(&w->lock);
	bool asked = w->asked;
	w->asked = false;
	w->not_before_ns = now + PLAN_GAP_MS * 1000000ll + 10 * took_ns + parts * 500000ll;
	if (asked && now - w->counted_ns < COUNTS_NS)
		poll = false;
	else
		w->counted_ns = now;
	pthread_mutex_unlock(&w->lock);
	return poll;
}
