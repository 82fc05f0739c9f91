/* SPDX-License-Identifier: Apache-2.0 */
#ifndef WEIR_LOG_SEEN_RUN_H
#define WEIR_LOG_SEEN_RUN_H

#include <pthread.h>
#include <stdatomic.h>

#include "log/seen.h"
#include "log/seen_filter.h"

/*
 * A run: an immutable file of remembered keys, sorted by fingerprint. This
 * room knows the file format (docs/internals/seen.md), how to write, search and
 * walk a run, and nothing of tables, buckets or when to do any of it.
 */

/* Runs that nobody holds any more, until the maintenance thread closes them. */
struct seen_yard {
	pthread_mutex_t lock;
	struct seen_run *dead;
};

struct seen_run {
	_Atomic uint32_t refs;
	const struct sys *sys;
	struct seen_yard *yard;
	struct seen_run *next_dead;
	char *path;
	int fd;
	bool unlinked;       /* set by maintenance; the file's blocks are freed piecewise */
	bool damaged;        /* set by maintenance; left out of merges */
	uint32_t checkpoint; /* the newest one that a key of it comes from; 0 after a start */
	int64_t end_ms;
	uint64_t number;
	uint64_t keys;
	uint64_t pages; /* of entries */
	uint64_t ranges;
	uint64_t ranges_page;
	uint64_t file_bytes;
	struct seen_filter filter;
	uint8_t *fences; /* 4 bytes big-endian a page, owned */
};

struct seen_entry {
	struct seen_key key;
	uint32_t range_count;
	bool is_inline; /* one range, in `range` */
	struct seen_range range;
	uint64_t ranges_at; /* otherwise: index of the first */
};

/*
 * Opens a run and reads header, filter and fences. The run comes with one
 * reference. Keeps sys and yard. Errors: ERR_IO, ERR_NOMEM, ERR_CORRUPT,
 * ERR_BAD_VERSION, with *fault naming the file.
 */
int seen_run_open(const struct sys *sys, struct seen_yard *yard, const char *path, struct seen_run **out,
		  struct fault *fault);

/* Shares. */
struct seen_run *seen_run_ref(struct seen_run *r);
/* Takes a reference. The last one only hands the run to the yard: cheap on any thread. */
void seen_run_unref(struct seen_run *r);

/* One bounded piece of closing dead runs. True where there may be more. Maintenance thread. */
bool seen_yard_step(struct seen_yard *yard);

/* Bytes of memory that the run takes. */
uint64_t seen_run_memory(const struct seen_run *r);

#define SEEN_RUN_AGAIN 2 /* the page is not in memory */

/*
 * Looks a fingerprint up: 1 and *out, 0 where it is not there, SEEN_RUN_AGAIN
 * where it would have to wait and must not, ERR_IO, ERR_CORRUPT with *fault.
 */
int seen_run_find(struct seen_run *r, struct hash128 fingerprint, bool may_wait, struct seen_entry *out,
		  struct fault *fault);

/* Copies up to `max` ranges of an entry of this run. Results as above, 0 for done. */
int seen_run_ranges(struct seen_run *r, const struct seen_entry *e, bool may_wait, struct seen_range *ranges,
		    uint32_t max, struct fault *fault);

/* Walks a run from front to back. Borrows the run. */
struct seen_cursor {
	struct seen_run *run;
	uint8_t *pages;      /* owned buffer */
	uint64_t page_first; /* of the buffer, counted from the first entry page */
	uint32_t page_count;
	uint64_t page;
	uint32_t at; /* entry within the page */
};
int seen_cursor_init(struct seen_cursor *c, struct seen_run *run);
void seen_cursor_fini(struct seen_cursor *c);
/* 1 and the next entry, 0 at the end, or ERR_IO, ERR_CORRUPT. */
int seen_cursor_next(struct seen_cursor *c, struct seen_entry *out, struct fault *fault);

/*
 * Writes a run under `path` + ".tmp". Entries are added in ascending order of
 * fingerprints, at most keys_max of them. finish syncs and renames the file,
 * syncs the folder and gives the run; it and abort free the writer, abort also
 * the file. After an error only abort may follow.
 */
struct seen_writer;
struct seen_writer_options {
	const struct sys *sys;
	struct seen_yard *yard;
	const char *folder;
	const char *path;
	int64_t end_ms;
	uint64_t number;
	uint64_t keys_max;
};
int seen_writer_open(const struct seen_writer_options *options, struct seen_writer **out,
		     struct fault *fault);
int seen_writer_add(struct seen_writer *w, const struct seen_key *key, const struct seen_range *ranges,
		    uint32_t count, struct fault *fault);
/* Takes w, also on error. */
int seen_writer_finish(struct seen_writer *w, struct seen_run **out, struct fault *fault);
/* Takes w; NULL is allowed. */
void seen_writer_abort(struct seen_writer *w);

static inline int seen_fingerprint_cmp(struct hash128 a, struct hash128 b)
{
	if (a.hi != b.hi)
		return a.hi < b.hi ? -1 : 1;
	return a.lo == b.lo ? 0 : a.lo < b.lo ? -1 : 1;
}

#endif
