/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_CONNECT_FILES_FILES_WATCH_H
#define WEIR_CONNECT_FILES_FILES_WATCH_H

#include "base/table.h"
#include "connect/source.h"

/*
 * What the kernel tells of followed files (inotify): a file that grew has its part woken, a directory where a file came has the
 * plan asked for. It only makes things faster: all of it is found by the next poll too, and must be, as
 * network file systems tell nothing of what other machines do, and queues overflow. Knows no formats and no checkpoints.
 */
struct files_watch;

/* A file that is watched for a part. Embedded in what is open for it. */
struct files_watched {
	struct table_node node;
	struct source_part *part;
	int id; /* of the kernel; -1: it is not watched */
};

/*
 * Starts its thread. NULL where the kernel gives none: the source has been warned then, and goes on without.
 * The patterns stay until files_watch_free. Returns owned.
 */
struct files_watch *files_watch_new(struct source *source, const struct sys *sys,
				    const struct conf_list *patterns);

/* Its thread has ended behind this, so nothing is woken any more. Takes; NULL is allowed. */
void files_watch_free(struct files_watch *w);

/*
 * The file that is open as fd, whatever it is called later. Where the kernel refuses (fs.inotify.max_user_watches) the source is
 * warned, once, and the file is left to the polls. w NULL: nothing. Any thread.
 */
void files_watch_add(struct files_watch *w, int fd, struct source_part *part, struct files_watched *file);

/* The part is not woken any more behind this. Of one that was never added too. Any thread. */
void files_watch_remove(struct files_watch *w, struct files_watched *file);

/* The directory that a path is in, where files of the patterns may come. Again is harmless. */
void files_watch_dir(struct files_watch *w, const char *path);

/*
 * A plan has ended that took so long, and named so many parts: the next is asked for after a while that is in proportion, however much
 * happens in the directories. True: it counts as a poll; false: it was asked for by what the kernel told.
 */
bool files_watch_planned(struct files_watch *w, int64_t took_ns, uint32_t parts);

#endif
