/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_LOG_FORMAT_H
#define WEIR_LOG_FORMAT_H

#include "base/err.h"
#include "base/hash.h"
#include "sys/sys.h"

/*
 * FORMAT, a text file: which version the data directory is of, and since version
 * 2 the key under which groups of the journal are marked as weir's own
 * (docs/internals/storage.md says why they must be).
 */
#define FORMAT_VERSION 2u

struct format {
	uint32_t version; /* 0: there is no file, or an empty one */
	struct hash_key journal_key;
	uint64_t unmarked_to; /* journal files up to this generation hold groups without a mark */
};

/* 0, ERR_BAD_VERSION, ERR_CORRUPT (it is of version 2 and damaged), ERR_IO, with *fault. */
int format_read(const struct sys *sys, const char *dir, struct format *out, struct fault *fault);

/* Under another name first, then renamed and synced: 0 or -errno. */
int format_write(const struct sys *sys, const char *dir, const struct format *format);

#endif
