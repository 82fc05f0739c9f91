/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_LOG_BACKUP_INNER_H
#define WEIR_LOG_BACKUP_INNER_H

#include "base/buf.h"
#include "log/backup.h"

/* What the files of backups share. */
#define BACKUP_PATH_BYTES 1024u

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

/*
 * What must be done while nothing may change: takes the journal's groups behind
 * the checkpoint up to `until` (UINT64_MAX: all that follow), and notes the files
 * that the checkpoint names. The same files must be there until backup_take ends.
 */
int backup_plan(struct backup *b, uint64_t until);

/* Takes what was planned, syncs, writes the manifest. */
int backup_take(struct backup *b);

#endif
