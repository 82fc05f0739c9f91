/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_LOG_BACKUP_H
#define WEIR_LOG_BACKUP_H

#include "base/err.h"
#include "sys/sys.h"

/*
 * Consistent copies of a data directory, and back. docs/internals/backup.md says
 * what is in one and why. Paths are the caller's; nothing here knows HTTP.
 */
struct log;

struct backup_options {
	const struct sys *sys;
	const char *data; /* the data directory */
	const char *dir;  /* the backup */
	/* So many bytes of so many; may be NULL. Non-zero ends it with ERR_CANCELLED. */
	int (*on_progress)(void *ctx, uint64_t done, uint64_t total);
	void *ctx;
};

struct backup_result {
	uint64_t files, linked, bytes;
	uint64_t sequence; /* of the last group in it */
};

/*
 * Backs up a directory that no weir is using. ERR_NOT_EMPTY (dir holds something),
 * ERR_IN_USE, ERR_CORRUPT (verify says more), ERR_IO, ERR_DISK_FULL, ERR_NOMEM, with *fault.
 */
int backup_offline(const struct backup_options *options, struct backup_result *out, struct fault *fault);

/* The other way: dir is checked against its manifest and copied to data, which is not there or empty. Errors as above. */
int backup_restore(const struct backup_options *options, struct backup_result *out, struct fault *fault);

/*
 * For verification: is everything that a manifest in `dir` names there, as long as it says? tell() gets what is not;
 * also that the manifest is damaged. 0, also where there is no manifest; ERR_IO, ERR_NOMEM with *fault.
 */
int backup_check(const struct sys *sys, const char *dir,
		 void (*tell)(void *ctx, const char *path, const char *text), void *ctx, struct fault *fault);

/* ---- of a running log ---- */

enum log_backup_state { LOG_BACKUP_NONE, LOG_BACKUP_RUNNING, LOG_BACKUP_DONE, LOG_BACKUP_FAILED };

#define LOG_BACKUP_DIR_BYTES 512u

struct log_backup_status {
	enum log_backup_state state;
	char dir[LOG_BACKUP_DIR_BYTES];
	uint64_t done, total;        /* bytes */
	struct backup_result result; /* of one that is done */
	struct fault fault;          /* of one that failed */
	int64_t began_ms, ended_ms;  /* wall clock; ended_ms 0: it runs */
};

/* Begins one in the background. 0; ERR_BACKUP_RUNNING, ERR_BAD_PARAMETER (the path), ERR_SHUTTING_DOWN, ERR_NOMEM with *fault. Any thread. */
int log_backup_start(struct log *l, const char *dir, struct fault *fault);

/* The one under way, or the last. Any thread. */
void log_backup_status(struct log *l, struct log_backup_status *out);

#endif
