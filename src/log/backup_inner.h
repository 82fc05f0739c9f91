/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_LOG_BACKUP_INNER_H
#define WEIR_LOG_BACKUP_INNER_H

#include "base/buf.h"
#include "log/backup.h"

/* What the files of backups share. */
#define BACKUP_PATH_BYTES 1024u

/* The manifest's name in the backup, how it begins, and the most that it may hold. */
#define BACKUP_MANIFEST "BACKUP"
#define BACKUP_MANIFEST_HEAD "weir backup 1\n"
#define BACKUP_MANIFEST_BYTES_MAX (1u << 30)

enum backup_how { BACKUP_COPY, BACKUP_LINK };

struct backup_file {
	char *path; /* relative to the data directory; owned */
	uint64_t bytes;
	enum backup_how how;
};

struct backup {
	struct backup_options options;
	struct fault *fault;
	struct backup_result result;
	struct backup_file *files; /* still to be taken */
	uint32_t file_count, file_cap;
	struct buf manifest;
	struct buf checkpoint;
	uint8_t *bytes;               /* for copying */
	char made[BACKUP_PATH_BYTES]; /* the folder that was made last */
	uint64_t done, total;
};

/* Memory for it; *b is zero before. */
int backup_init(struct backup *b, const struct backup_options *options, struct fault *fault);
void backup_fini(struct backup *b);

/* Makes the directory, which is not there or empty. ERR_NOT_EMPTY, ERR_IO. */
int backup_make_target(struct backup *b, const char *dir);

/* What a call of the system gave, as b->fault: ERR_DISK_FULL, ERR_NOMEM, ERR_IO. `what` is a verb. */
int backup_io_fault(struct backup *b, const char *what, const char *path, int rc);

/* The folders above dir/path; one that was just made is not asked for again. */
int backup_make_folders(struct backup *b, const char *dir, const char *path);

int backup_write_at(struct backup *b, int fd, const char *path, const void *bytes, size_t n, uint64_t at);

/* The first `bytes` of a file: copied (not synced), or only read; *crc is of them. ERR_CANCELLED where progress says so. */
int backup_copy_file(struct backup *b, const char *from, const char *to, uint64_t bytes, uint32_t *crc);
int backup_sum_file(struct backup *b, const char *path, uint64_t bytes, uint32_t *crc);

/* A line of the manifest; and a file that is made from memory, with its line. `path` is relative to the backup. */
int backup_put_line(struct backup *b, const char *path, uint64_t bytes, uint32_t crc);
int backup_put_file(struct backup *b, const char *path, struct slice bytes);

/*
 * What must be done while nothing may change: takes the journal's groups behind
 * the checkpoint up to `until` (UINT64_MAX: all that follow), and notes the files
 * that the checkpoint names. The same files must be there until backup_take ends.
 */
int backup_plan(struct backup *b, uint64_t until);

/* Takes what was planned, syncs, writes the manifest. */
int backup_take(struct backup *b);

#endif
