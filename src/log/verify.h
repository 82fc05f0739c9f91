/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_LOG_VERIFY_H
#define WEIR_LOG_VERIFY_H

#include "base/err.h"
#include "log/topic_id.h"
#include "sys/sys.h"

/*
 * Reads a whole data directory that no weir is using and tells every fault:
 * checkpoint, journal, segments, indexes, keys, state. With `repair` it mends what
 * can be mended and sets aside what it replaces (docs/internals/verify.md);
 * without, it changes nothing.
 */
struct verify_fault {
	const char *file;               /* path */
	uint64_t position;              /* byte in it */
	int64_t offset_from, offset_to; /* records lost: [from, to); equal where none are */
	bool harmless;                  /* a note: a start mends it, or it was told and set aside before */
	const char *text;
	const char *mend; /* what a repair does (has done); NULL: nothing */
};

/* A partition, once segments and journal have been read. */
struct verify_partition {
	struct topic_id topic;
	uint32_t number;
	bool in_checkpoint;
	int64_t start, end;
};

/*
 * What state may know: the log hands it the rows of the internal partition and
 * the partitions, and does not know what is in them. `row` and `partition` give
 * NULL, or what is wrong. `end` tells its faults itself.
 */
struct verify_state {
	const char *(*row)(void *ctx, struct slice key, struct slice value);
	const char *(*partition)(void *ctx, const struct verify_partition *p);
	/* Everything was given. checkpoint_is_all: the journal holds no group behind it. tell(tell_ctx, text) is a fault. */
	void (*end)(void *ctx, bool checkpoint_is_all, void (*tell)(void *tell_ctx, const char *text),
		    void *tell_ctx);
	/* Is the topic in state? */
	bool (*knows)(void *ctx, const struct topic_id *topic);
	/* How long keys of the topic are remembered, ms. */
	int64_t (*key_life_ms)(void *ctx, const struct topic_id *topic);
	void *ctx;
};

struct verify_options {
	const struct sys *sys;
	const char *dir;
	bool repair;
	const struct verify_state *state; /* may be NULL: rows are not looked at */
	void (*on_fault)(void *ctx, const struct verify_fault *f);
	void (*on_file)(void *ctx, const char *file, uint64_t bytes); /* before each file; may be NULL */
	/* So much of so much was read: about every 64 MiB; may be NULL. */
	void (*on_progress)(void *ctx, uint64_t done, uint64_t total);
	void *ctx;
};

#define VERIFY_QUARANTINE_BYTES 640u

struct verify_result {
	uint64_t files, bytes, batches, records, groups, keys;
	uint64_t faults, harmless;
	uint64_t mended;                          /* by this repair */
	uint64_t lost;                            /* offsets that earlier repairs had told and set aside */
	char quarantine[VERIFY_QUARANTINE_BYTES]; /* where this repair has put what it replaced; empty: nothing */
};

/*
 * 0 also where faults were found; ERR_IN_USE, ERR_IO, ERR_NOMEM, ERR_DISK_FULL,
 * ERR_BAD_VERSION with *fault where the check itself, or the repair, cannot be done.
 */
int log_verify(const struct verify_options *options, struct verify_result *out, struct fault *fault);

#endif
