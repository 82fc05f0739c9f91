/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_LOG_VERIFY_H
#define WEIR_LOG_VERIFY_H

#include "base/err.h"
#include "sys/sys.h"

/*
 * Reads a whole data directory that no weir is using, changes nothing, and tells
 * every fault: checkpoint, journal, segments and their indexes.
 */
struct verify_fault {
	const char *file;               /* path */
	uint64_t position;              /* byte in it */
	int64_t offset_from, offset_to; /* records lost: [from, to); equal where none are */
	bool harmless; /* an index that will be made anew, a torn tail that a start will cut */
	const char *text;
};

struct verify_options {
	const struct sys *sys;
	const char *dir;
	void (*on_fault)(void *ctx, const struct verify_fault *f);
	void (*on_file)(void *ctx, const char *file, uint64_t bytes); /* before each file; may be NULL */
	void *ctx;
};

struct verify_result {
	uint64_t files, bytes, batches, records, groups;
	uint64_t faults, harmless;
};

/* 0 also where faults were found; ERR_IN_USE, ERR_IO, ERR_NOMEM, ERR_BAD_VERSION with *fault where the check itself cannot be done. */
int log_verify(const struct verify_options *options, struct verify_result *out, struct fault *fault);

#endif
